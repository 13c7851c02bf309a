/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to the API server as bytes, by certificate. */
#ifndef SELFTESTS_APISERVER_LINE_H
#define SELFTESTS_APISERVER_LINE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "lib/http/tls.h"
#include "selftests/controlplane/apiserver/world.h"

struct line {
	SSL_CTX *ctx;
	SSL *ssl;
	bool h2; /* say so in the handshake */
};

static char *field_of(const char *kubeconfig, const char *name)
{
	const char *p = strstr(kubeconfig, name);
	struct buf pem = BUF_INIT;

	p = p ? p + strlen(name) + strspn(p + strlen(name), ": \"") : "";
	base64_get(p, strcspn(p, "\"\n "), &pem);
	return buf_take(&pem);
}

static bool line_open_from(struct world *w, const char *tenant,
			   const char *user, const char *groups,
			   const char *address, struct line *l)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(api_port(w->api)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
	struct timeval patience = { .tv_sec = 20 };
	auto_buf struct buf text = BUF_INIT;
	struct tls_client_opts o = { 0 };

	if (api_kubeconfig(w->api, tenant, user, groups, &text, NULL) < 0)
		return false;
	auto_free char *ca =
		field_of(buf_str(&text), "certificate-authority-data");
	auto_free char *cert =
		field_of(buf_str(&text), "client-certificate-data");
	auto_free char *key = field_of(buf_str(&text), "client-key-data");

	if (inet_pton(AF_INET, address, &from.sin_addr) != 1 ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		return false;
	o.h2 = l->h2;
	o.server_ca_pem = ca;
	o.cert_pem = cert;
	o.key_pem = key;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (tls_client_new(&o, &l->ctx, NULL) < 0)
		return false;
	l->ssl = SSL_new(l->ctx);
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	       SSL_set_fd(l->ssl, fd) == 1 && SSL_connect(l->ssl) == 1;
}

static __attribute__((unused)) bool
line_open(struct world *w, const char *tenant, struct line *l)
{
	return line_open_from(w, tenant, "admin", NULL, "127.0.0.1", l);
}

static __attribute__((unused)) void line_close(struct line *l)
{
	int fd = l->ssl ? SSL_get_fd(l->ssl) : -1;

	SSL_free(l->ssl);
	SSL_CTX_free(l->ctx);
	if (fd >= 0)
		close(fd);
	*l = (struct line){ .h2 = l->h2 };
}

static __attribute__((unused)) bool line_say(struct line *l, const char *text)
{
	return SSL_write(l->ssl, text, (int)strlen(text)) > 0;
}

/* Read until @want has come. */
static __attribute__((unused)) bool line_hears(struct line *l, const char *want)
{
	auto_buf struct buf got = BUF_INIT;
	char data[16384];
	int n;

	while (!strstr(buf_str(&got), want)) {
		n = SSL_read(l->ssl, data, sizeof(data));
		if (n <= 0) {
			printf("# want '%s', got '%.300s'\n", want,
			       buf_str(&got));
			return false;
		}
		buf_add(&got, data, (size_t)n);
	}
	return true;
}

#endif /* SELFTESTS_APISERVER_LINE_H */
