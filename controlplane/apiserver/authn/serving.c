// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "controlplane/apiserver/authn/serving.h"
#include "controlplane/apiserver/internal.h"
#include "lib/fs.h"
#include "lib/http/tls.h"
#include "lib/str.h"

#define SERVER_DAYS 365
#define PEM_MAX     (1024 * 1024)

static const char *const names[] = { "tls.crt", "tls.key", "client-ca.crt" };

struct stamp {
	bool there;
	struct timespec changed;
	off_t size;
	ino_t inode;
};

struct serving {
	pthread_mutex_t lock; /* @ctx */
	SSL_CTX *ctx;
	int64_t renew_s; /* when the own certificate is to be replaced */
	struct stamp stamps[ARRAY_LEN(names)];
};

static bool is_ip(const char *host)
{
	unsigned char ip[16];

	return inet_pton(AF_INET, host, ip) == 1 ||
	       inet_pton(AF_INET6, host, ip) == 1;
}

static int issue(struct api *api, struct buf *cert, struct buf *key,
		 struct err *e)
{
	auto_buf struct buf alt = BUF_INIT;
	struct cert_request req = { .common_name = "arktos-control",
				    .days = SERVER_DAYS };
	const char *colon = strrchr(api->advertise, ':');
	char host[256] = "";

	(void)gethostname(host, sizeof(host) - 1); /* one name less, then */
	buf_puts(&alt, "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,"
		       "DNS:kubernetes.default.svc,DNS:kubernetes.default.svc."
		       "cluster.local,IP:127.0.0.1,IP:::1");
	if (str_is_dns_subdomain(host))
		buf_printf(&alt, ",DNS:%s", host);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - api->advertise),
		 api->advertise);
	if (is_ip(host))
		buf_printf(&alt, ",IP:%s", host);
	else if (str_is_dns_subdomain(host))
		buf_printf(&alt, ",DNS:%s", host);
	req.alt_names = buf_str(&alt);
	return ca_issue(api->ca, &req, cert, key, e);
}

static char *path_of(struct api *api, const char *name)
{
	return str_printf("%s/%s", api->data_dir, name);
}

static struct stamp stamp_of(struct api *api, const char *name)
{
	auto_free char *path = path_of(api, name);
	struct stat st;

	if (!path || stat(path, &st) != 0)
		return (struct stamp){ .there = false };
	return (struct stamp){ .there = true,
			       .changed = st.st_mtim,
			       .size = st.st_size,
			       .inode = st.st_ino };
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->there == b->there && a->size == b->size &&
	       a->inode == b->inode && a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec;
}

static int read_file(struct api *api, const char *name, struct buf *b,
		     struct err *e)
{
	auto_free char *path = path_of(api, name);

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	return fs_read(AT_FDCWD, path, PEM_MAX, b, e);
}

static int make_ctx(struct api *api, const struct stamp *stamps, SSL_CTX **ret,
		    struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT, ca = BUF_INIT;
	struct tls_server_opts opts = { .h2 = true };
	int r = 0;

	if (stamps[0].there && stamps[1].there) {
		r = read_file(api, names[0], &cert, e);
		if (r == 0)
			r = read_file(api, names[1], &key, e);
	} else {
		r = issue(api, &cert, &key, e);
		/* Who joins knows only the hash of the root: it must see it. */
		buf_puts(&cert, ca_cert_pem(api->ca));
	}
	buf_puts(&ca, ca_cert_pem(api->ca));
	if (r == 0 && stamps[2].there)
		r = read_file(api, names[2], &ca, e);
	if (r < 0)
		return r;
	opts.cert_pem = buf_str(&cert);
	opts.key_pem = buf_str(&key);
	opts.client_ca_pem = buf_str(&ca);
	return tls_server_new(&opts, ret, e);
}

int serving_refresh(struct api *api, int64_t now_s, struct err *e)
{
	struct serving *s = api->serving;
	struct stamp stamps[ARRAY_LEN(names)];
	bool changed = !s->ctx || now_s >= s->renew_s;
	SSL_CTX *ctx = NULL, *old;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		stamps[i] = stamp_of(api, names[i]);
		changed |= !same_stamp(&stamps[i], &s->stamps[i]);
	}
	if (!changed)
		return 0;
	r = make_ctx(api, stamps, &ctx, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	old = s->ctx;
	s->ctx = ctx;
	pthread_mutex_unlock(&s->lock);
	SSL_CTX_free(old);
	memcpy(s->stamps, stamps, sizeof(stamps));
	s->renew_s = now_s + (int64_t)SERVER_DAYS * 86400 * 2 / 3;
	return 1;
}

int serving_open(struct api *api, struct err *e)
{
	int r;

	api->serving = calloc(1, sizeof(*api->serving));
	if (!api->serving)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&api->serving->lock, NULL);
	r = serving_refresh(api, time(NULL), e);
	return r < 0 ? r : 0;
}

void serving_close(struct api *api)
{
	if (!api->serving)
		return;
	SSL_CTX_free(api->serving->ctx);
	pthread_mutex_destroy(&api->serving->lock);
	free(api->serving);
	api->serving = NULL;
}

SSL *serving_session(struct api *api)
{
	SSL *ssl;

	pthread_mutex_lock(&api->serving->lock);
	ssl = SSL_new(api->serving->ctx);
	pthread_mutex_unlock(&api->serving->lock);
	return ssl;
}
