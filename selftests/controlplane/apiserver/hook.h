/* SPDX-License-Identifier: Apache-2.0 */
/* A webhook's server: TLS, one question after the other. */
#ifndef SELFTESTS_APISERVER_HOOK_H
#define SELFTESTS_APISERVER_HOOK_H

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "controlplane/apiserver/authn/pki.h"
#include "selftests/controlplane/apiserver/world.h"

/* What is asked at /mute is never answered. */
struct hook {
	pthread_t thread;
	SSL_CTX *ctx;
	int fd;
	uint16_t port;
	char *ca;
	/* The JSON to answer with. */
	void (*answer)(const char *path, const char *body, struct buf *json);
	pthread_mutex_t lock;
	struct buf asked; /* all requests' bodies */
	int nr;
};

static void hook_answer(struct hook *h, const char *path, const char *body,
			struct buf *out)
{
	auto_buf struct buf json = BUF_INIT;

	h->answer(path, body, &json);
	buf_printf(out,
		   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		   "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
		   json.len, buf_str(&json));
	pthread_mutex_lock(&h->lock);
	buf_puts(&h->asked, body);
	h->nr++;
	pthread_mutex_unlock(&h->lock);
}

static void serve_one(struct hook *h, int fd)
{
	SSL *ssl = SSL_new(h->ctx);
	auto_buf struct buf in = BUF_INIT, out = BUF_INIT;
	char path[64] = "", *body = NULL;
	size_t want = 0;

	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		for (;;) {
			char *p = buf_reserve(&in, 65536);
			int n = SSL_read(ssl, p, 65535);

			if (n <= 0)
				break;
			buf_commit(&in, n);
			body = strstr(buf_str(&in), "\r\n\r\n");
			if (body && !want) {
				char *l = strstr(buf_str(&in),
						 "Content-Length: ");

				want = l ? strtoul(l + 16, NULL, 10) : 0;
				sscanf(buf_str(&in), "POST %63s", path);
			}
			if (body && strlen(body + 4) >= want)
				break;
		}
		/* Held open until the other side gives up. */
		if (strcmp(path, "/mute") == 0)
			SSL_read(ssl, path, sizeof(path));
		else if (body) {
			hook_answer(h, path, body + 4, &out);
			SSL_write(ssl, buf_str(&out), (int)out.len);
			SSL_shutdown(ssl);
		}
	}
	SSL_free(ssl);
	close(fd);
}

static void *serve(void *arg)
{
	struct hook *h = arg;
	int fd;

	while ((fd = accept(h->fd, NULL, NULL)) >= 0)
		serve_one(h, fd);
	return NULL;
}

static bool hook_start(struct hook *h,
		       void (*answer)(const char *path, const char *body,
				      struct buf *json))
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct cert_request req = { .common_name = "hook",
				    .alt_names = "IP:127.0.0.1",
				    .days = 1 };
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT, b64 = BUF_INIT;
	socklen_t len = sizeof(sa);
	struct ca *ca = NULL;
	BIO *bio;
	X509 *x;
	EVP_PKEY *k;

	memset(h, 0, sizeof(*h));
	h->answer = answer;
	pthread_mutex_init(&h->lock, NULL);
	if (mkdir("hookca", 0700) || ca_open("hookca", &ca, NULL) ||
	    ca_issue(ca, &req, &cert, &key, NULL))
		return false;
	base64_put(&b64, ca_cert_pem(ca), strlen(ca_cert_pem(ca)));
	h->ca = buf_take(&b64);
	ca_free(ca);
	h->ctx = SSL_CTX_new(TLS_server_method());
	bio = BIO_new_mem_buf(cert.data, (int)cert.len);
	x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	bio = BIO_new_mem_buf(key.data, (int)key.len);
	k = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	SSL_CTX_use_certificate(h->ctx, x);
	SSL_CTX_use_PrivateKey(h->ctx, k);
	X509_free(x);
	EVP_PKEY_free(k);
	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(h->fd, (void *)&sa, sizeof(sa)) || listen(h->fd, 16) ||
	    getsockname(h->fd, (void *)&sa, &len))
		return false;
	h->port = ntohs(sa.sin_port);
	return pthread_create(&h->thread, NULL, serve, h) == 0;
}

/* When nobody asks any more. */
static __attribute__((unused)) void hook_end(struct hook *h)
{
	shutdown(h->fd, SHUT_RDWR);
	pthread_join(h->thread, NULL);
	close(h->fd);
	SSL_CTX_free(h->ctx);
	free(h->ca);
	buf_clear(&h->asked);
}

#endif /* SELFTESTS_APISERVER_HOOK_H */
