// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>

#include "lib/buf.h"
#include "lib/http/h1.h"

const char *h1_reason(int status)
{
	switch (status) {
	case 100:
		return "Continue";
	case 101:
		return "Switching Protocols";
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 301:
		return "Moved Permanently";
	case 304:
		return "Not Modified";
	case 307:
		return "Temporary Redirect";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 406:
		return "Not Acceptable";
	case 408:
		return "Request Timeout";
	case 409:
		return "Conflict";
	case 410:
		return "Gone";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 415:
		return "Unsupported Media Type";
	case 422:
		return "Unprocessable Entity";
	case 426:
		return "Upgrade Required";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Unknown";
	}
}

void h1_put_request(struct buf *b, const char *method, const char *target,
		    const char *host)
{
	buf_printf(b, "%s %s HTTP/1.1\r\n", method, target);
	h1_put_field(b, "Host", host);
}

void h1_put_status(struct buf *b, int status)
{
	buf_printf(b, "HTTP/1.1 %d %s\r\n", status, h1_reason(status));
}

void h1_put_field(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "%s: %s\r\n", name, value);
}

void h1_put_length(struct buf *b, uint64_t len)
{
	buf_printf(b, "Content-Length: %" PRIu64 "\r\n", len);
}

void h1_put_end(struct buf *b)
{
	buf_puts(b, "\r\n");
}

void h1_put_chunk(struct buf *b, const void *data, size_t len)
{
	buf_printf(b, "%zx\r\n", len);
	buf_add(b, data, len);
	buf_puts(b, "\r\n");
}

void h1_put_last_chunk(struct buf *b)
{
	buf_puts(b, "0\r\n\r\n");
}
