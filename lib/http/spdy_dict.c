// SPDX-License-Identifier: Apache-2.0
/*
 * The dictionary of SPDY/3's header compression. It has words, each behind its
 * length in four bytes, and then text.
 */
#include <string.h>

#include "lib/http/spdy_internal.h"

static const char *const words[] = {
	"options",
	"head",
	"post",
	"put",
	"delete",
	"trace",
	"accept",
	"accept-charset",
	"accept-encoding",
	"accept-language",
	"accept-ranges",
	"age",
	"allow",
	"authorization",
	"cache-control",
	"connection",
	"content-base",
	"content-encoding",
	"content-language",
	"content-length",
	"content-location",
	"content-md5",
	"content-range",
	"content-type",
	"date",
	"etag",
	"expect",
	"expires",
	"from",
	"host",
	"if-match",
	"if-modified-since",
	"if-none-match",
	"if-range",
	"if-unmodified-since",
	"last-modified",
	"location",
	"max-forwards",
	"pragma",
	"proxy-authenticate",
	"proxy-authorization",
	"range",
	"referer",
	"retry-after",
	"server",
	"te",
	"trailer",
	"transfer-encoding",
	"upgrade",
	"user-agent",
	"vary",
	"via",
	"warning",
	"www-authenticate",
	"method",
	"get",
	"status",
	"200 OK",
	"version",
	"HTTP/1.1",
	"url",
	"public",
	"set-cookie",
	"keep-alive",
	"origin",
};

static const char text[] =
	"10010120120220520630030230330430530630740240540640740840941041"
	"1412413414415416417502504505203 Non-Authoritative Information2"
	"04 No Content301 Moved Permanently400 Bad Request401 Unauthori"
	"zed403 Forbidden404 Not Found500 Internal Server Error501 Not "
	"Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul "
	"Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Su"
	"n, GMTchunked,text/html,image/png,image/jpg,image/gif,applicat"
	"ion/xml,application/xhtml+xml,text/plain,text/javascript,publi"
	"cprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859"
	"-1,utf-,*,enq=0.";

void spdy_dictionary(struct buf *b)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		size_t len = strlen(words[i]);

		buf_add(b, "\0\0\0", 3);
		buf_putc(b, (char)len);
		buf_add(b, words[i], len);
	}
	buf_puts(b, text);
}
