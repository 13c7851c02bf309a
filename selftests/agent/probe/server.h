/* SPDX-License-Identifier: Apache-2.0 */
/* Servers to probe: each listens on a port of its own and does one thing. */
#ifndef SELFTESTS_AGENT_PROBE_SERVER_H
#define SELFTESTS_AGENT_PROBE_SERVER_H

#include <signal.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
	const char *answer;        /* sent once a request has come */
	const char *const *script; /* or: one answer after the other; the last
				    * one for ever. NULL-terminated */
	bool hang;                 /* never answer */
	bool drip;                 /* answer a byte every 100 ms */
	bool flood;                /* a header without end */
	bool tls;
	int family;
	uint16_t port;
	int fd, served;
	SSL_CTX *ctx;
};

/* Servers are detached threads: they may still write, and use OpenSSL, while
 * the test's process ends. */
__attribute__((constructor)) static void server_outlives_main(void)
{
	signal(SIGPIPE, SIG_IGN);
	OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

static inline SSL_CTX *server_tls(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN",
				   MBSTRING_ASC,
				   (const unsigned char *)"nobody", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_sign(cert, key, EVP_sha256());
	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

static inline void server_send(SSL *ssl, int fd, const char *s, size_t n)
{
	if (ssl)
		(void)SSL_write(ssl, s, (int)n);
	else
		(void)send(fd, s, n, MSG_NOSIGNAL);
}

struct server_conn {
	struct server *s;
	int fd, number;
};

static inline void server_answer(struct server *s, SSL *ssl, int fd, int number)
{
	static const char filler[] = "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
	const char *answer = s->answer;

	if (s->hang)
		poll(NULL, 0, 60000);
	if (s->flood) {
		server_send(ssl, fd, "HTTP/1.1 200 OK\r\n", 17);
		for (int i = 0; i < 2000; i++)
			server_send(ssl, fd, filler, strlen(filler));
	}
	for (int i = 0; s->script && s->script[i] && i <= number; i++)
		answer = s->script[i];
	for (size_t i = 0; s->drip && answer[i]; i++) {
		server_send(ssl, fd, answer + i, 1);
		poll(NULL, 0, 100);
	}
	if (answer && !s->drip)
		server_send(ssl, fd, answer, strlen(answer));
}

static inline void *server_conn(void *arg)
{
	struct server_conn c = *(struct server_conn *)arg;
	SSL *ssl = NULL;
	char text[4096];

	free(arg);
	if (c.s->tls) {
		ssl = SSL_new(c.s->ctx);
		SSL_set_fd(ssl, c.fd);
		if (SSL_accept(ssl) == 1 && SSL_read(ssl, text, 4096) > 0)
			server_answer(c.s, ssl, c.fd, c.number);
		SSL_free(ssl);
	} else if (recv(c.fd, text, sizeof(text), 0) > 0) {
		server_answer(c.s, NULL, c.fd, c.number);
	}
	shutdown(c.fd, SHUT_WR);
	(void)recv(c.fd, text, sizeof(text), 0); /* let it read all first */
	close(c.fd);
	return NULL;
}

static inline void *server_loop(void *arg)
{
	struct server *s = arg;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (;;) {
		struct server_conn *c = malloc(sizeof(*c));
		pthread_t t;

		c->s = s;
		c->fd = accept(s->fd, NULL, NULL);
		c->number = s->served++;
		if (c->fd < 0 || pthread_create(&t, &attr, server_conn, c)) {
			free(c);
			return NULL;
		}
	}
}

/* Start it; returns its port. */
static inline uint16_t server_start(struct server *s)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_storage got;
	socklen_t len = sizeof(got);
	pthread_t t;

	if (!s->family)
		s->family = AF_INET;
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	v6.sin6_addr = in6addr_loopback;
	s->fd = socket(s->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->family == AF_INET)
		(void)!bind(s->fd, (struct sockaddr *)&v4, sizeof(v4));
	else
		(void)!bind(s->fd, (struct sockaddr *)&v6, sizeof(v6));
	listen(s->fd, 4096);
	getsockname(s->fd, (struct sockaddr *)&got, &len);
	s->port = ntohs(s->family == AF_INET
				? ((struct sockaddr_in *)&got)->sin_port
				: ((struct sockaddr_in6 *)&got)->sin6_port);
	if (s->tls)
		s->ctx = server_tls();
	if (pthread_create(&t, NULL, server_loop, s) == 0)
		pthread_detach(t);
	return s->port;
}

#endif /* SELFTESTS_AGENT_PROBE_SERVER_H */
