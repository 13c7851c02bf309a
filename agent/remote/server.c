// SPDX-License-Identifier: Apache-2.0
/*
 * The node's own server, what a kubelet has on port 10250: logs, exec, attach,
 * port-forward and figures, over TLS, for the API server alone. It has asked
 * its user's rights; here only its certificate counts.
 */
#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/remote/certs.h"
#include "agent/remote/server.h"
#include "lib/http/tls.h"
#include "lib/log.h"
#include "lib/str.h"

#define CLIENT_NAME  "arktos-apiserver"
#define CLIENT_GROUP "system:apiservers"
#define PROMETHEUS   "text/plain; version=0.0.4; charset=utf-8"

/* --- jobs --- */

static void job_done(void *arg)
{
	struct job_thread *j = arg;
	struct server *s = j->s;

	j->done(j);
	atomic_fetch_sub(&s->jobs, 1);
}

static void *job_run(void *arg)
{
	struct job_thread *j = arg;

	pthread_setname_np(pthread_self(), "arktos-serve");
	j->run(j);
	/* Out of memory for a moment: it must not be lost. */
	while (ev_post(j->s->loop, job_done, j) < 0)
		(void)remote_pause(j->s->r, 10);
	return NULL;
}

int serve_job(struct server *s, struct job_thread *j)
{
	pthread_attr_t attr;
	pthread_t t;
	int rc;

	j->s = s;
	if (s->stopping)
		return -ESHUTDOWN;
	atomic_fetch_add(&s->jobs, 1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	rc = pthread_create(&t, &attr, job_run, j);
	pthread_attr_destroy(&attr);
	if (rc)
		atomic_fetch_sub(&s->jobs, 1);
	return -rc;
}

/* --- answers --- */

void serve_error(struct http_req *req, int code, const struct err *e)
{
	static const struct {
		int code, status;
	} table[] = {
		{ -ENOENT, 404 },     { -EINVAL, 400 },    { -EBADMSG, 400 },
		{ -EOPNOTSUPP, 501 }, { -ESTALE, 409 },    { -EBUSY, 409 },
		{ -EAGAIN, 503 },     { -ESHUTDOWN, 503 }, { -EACCES, 403 },
	};
	int status = 500;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].code == code)
			status = table[i].status;
	http_reply(req, status, "text/plain; charset=utf-8", e->msg,
		   strlen(e->msg));
}

static void reply_text(struct http_req *req, int status, const char *text)
{
	http_reply(req, status, "text/plain; charset=utf-8", text,
		   strlen(text));
}

/* --- figures --- */

struct figures {
	struct job_thread job;
	struct http_req *req;
	int (*get)(void *arg, struct buf *out, struct err *e);
	const char *type;
	struct buf out;
	struct err e;
	int code;
};

static void figures_run(struct job_thread *j)
{
	struct figures *f = (struct figures *)j;

	f->code = f->get(j->s->r->o.backend_arg, &f->out, &f->e);
}

static void figures_done(struct job_thread *j)
{
	struct figures *f = (struct figures *)j;

	if (f->code < 0)
		serve_error(f->req, f->code, &f->e);
	else
		http_reply(f->req, 200, f->type, buf_str(&f->out), f->out.len);
	http_req_unref(f->req);
	buf_clear(&f->out);
	free(f);
}

static void serve_figures(struct server *s, struct http_req *req,
			  int (*get)(void *arg, struct buf *out, struct err *e),
			  const char *type)
{
	struct figures *f = calloc(1, sizeof(*f));

	if (!f) {
		reply_text(req, 500, "out of memory");
		return;
	}
	f->job =
		(struct job_thread){ .run = figures_run, .done = figures_done };
	f->req = http_req_ref(req);
	f->get = get;
	f->type = type;
	if (serve_job(s, &f->job) == 0)
		return;
	reply_text(req, 503, "stopping");
	http_req_unref(f->req);
	free(f);
}

/* --- requests --- */

void serve_path_clear(struct serve_path *p)
{
	url_clear(&p->url);
	free(p->here);
}

/* Is the only entry of that kind this very text? */
static bool subject_is(const X509_NAME *subject, int nid, const char *want)
{
	int at = X509_NAME_get_index_by_NID(subject, nid, -1);
	const ASN1_STRING *s;

	if (at < 0 || X509_NAME_get_index_by_NID(subject, nid, at) >= 0)
		return false;
	s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
	return (size_t)ASN1_STRING_length(s) == strlen(want) &&
	       memcmp(ASN1_STRING_get0_data(s), want, strlen(want)) == 0;
}

/* Anybody may have a user of that name; the organization is the API server's
 * own, which it signs for nobody else. */
static bool is_api_server(struct http_req *req)
{
	X509 *cert = http_req_cert(req);
	const X509_NAME *subject;
	bool yes;

	if (!cert)
		return false;
	subject = X509_get_subject_name(cert);
	yes = subject_is(subject, NID_commonName, CLIENT_NAME) &&
	      subject_is(subject, NID_organizationName, CLIENT_GROUP);
	X509_free(cert);
	return yes;
}

static void of_pod(struct server *s, struct http_req *req, struct serve_path *p)
{
	const char *word = p->url.segment[0];
	size_t nr = p->url.nr_segments;

	p->pod = (struct api_pod_id){ p->url.segment[1], p->url.segment[2],
				      p->url.segment[3] };
	p->here = mirror_name_here(s->r, p->pod.tenant, p->pod.namespace,
				   p->pod.name);
	if (p->here)
		p->pod.name = p->here;
	p->container = nr == 5 ? p->url.segment[4] : NULL;
	if (str_eq(word, "containerLogs") && nr == 5) {
		serve_logs(s, req, p);
	} else if ((str_eq(word, "exec") || str_eq(word, "attach")) &&
		   nr == 5) {
		serve_exec(s, req, p, *word == 'a');
	} else if (str_eq(word, "portForward") && nr == 4) {
		serve_forward(s, req, p);
	} else if (str_eq(word, "dial") && nr == 5) {
		serve_dial(s, req, p);
	} else {
		reply_text(req, 404, "404 page not found\n");
		serve_path_clear(p);
	}
}

static bool wants_usage_only(const struct http_req *req)
{
	const char *query = strchr(req->head->target, '?');

	return query && strstr(query, "only_cpu_and_memory=true");
}

static void plain(struct server *s, struct http_req *req,
		  const struct serve_path *p)
{
	const struct api_backend *b = s->r->o.backend;
	const char *one = p->url.nr_segments ? p->url.segment[0] : "";
	const char *two = p->url.nr_segments > 1 ? p->url.segment[1] : "";

	if (str_eq(one, "healthz"))
		reply_text(req, 200, "ok");
	else if (str_eq(one, "stats") && str_eq(two, "summary"))
		serve_figures(s, req,
			      wants_usage_only(req) ? b->usage : b->stats,
			      "application/json");
	else if (str_eq(one, "metrics") && !*two)
		serve_figures(s, req, b->metrics, PROMETHEUS);
	else if (str_eq(one, "metrics") && str_eq(two, "cadvisor"))
		serve_figures(s, req, b->cadvisor, PROMETHEUS);
	else if (str_eq(one, "metrics") && str_eq(two, "resource"))
		serve_figures(s, req, b->resource, PROMETHEUS);
	else
		reply_text(req, 404, "404 page not found\n");
}

static void handle(void *arg, struct http_req *req)
{
	struct server *s = arg;
	struct serve_path p = { .container = NULL };
	struct err e = { 0 };
	int r;

	if (!is_api_server(req)) {
		reply_text(req, 401,
			   "this server is for the API server; use kubectl");
		return;
	}
	r = url_parse(req->head->target, &p.url, &e);
	if (r < 0) {
		serve_error(req, r, &e);
		return;
	}
	if (p.url.nr_segments >= 4) {
		of_pod(s, req, &p);
		return;
	}
	plain(s, req, &p);
	serve_path_clear(&p);
}

/* --- the thread --- */

static void *serve_run(void *arg)
{
	struct server *s = arg;

	(void)ev_run(s->loop);
	s->stopping = true;
	/* Drops the clients; what works for them is told to end. */
	http_server_free(s->http);
	s->http = NULL;
	serve_dials_end(s);
	while (atomic_load(&s->jobs))
		(void)ev_step(s->loop, 50);
	return NULL;
}

static int open_server(struct server *s, struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	struct tls_server_opts tls = { .client_ca_pem = s->r->ca_pem };
	struct http_server_opts o = { .handle = handle, .arg = s };
	int r = ev_new(&s->loop, e);

	if (r == 0)
		r = certs_first(s->r, &cert, &key, e);
	if (r < 0)
		return r;
	tls.cert_pem = buf_str(&cert);
	tls.key_pem = buf_str(&key);
	r = tls_server_new(&tls, &s->tls, e);
	if (r < 0)
		return r;
	o.loop = s->loop;
	o.tls = s->tls;
	r = http_server_new(&o, &s->http, e);
	if (r == 0)
		r = http_listen_tcp(s->http, s->r->host_ip, s->r->o.port,
				    &s->port, e);
	/* Taken by another one: any other port will do, the Node tells it. */
	if (r == -EADDRINUSE)
		r = http_listen_tcp(s->http, s->r->host_ip, 0, &s->port, e);
	return r;
}

int server_start(struct remote *r, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->r = r;
	r->serving = s;
	s->chunk = malloc(SERVE_CHUNK);
	if (!s->chunk)
		return err_set(e, -ENOMEM, "out of memory");
	rc = open_server(s, e);
	if (rc < 0)
		return err_wrap(e, rc, "the node's server");
	rc = pthread_create(&s->thread, NULL, serve_run, s);
	if (rc)
		return err_set(e, -rc, "start a thread: %s", strerror(rc));
	pthread_setname_np(s->thread, "arktos-serve");
	s->runs = true;
	log_info("serving logs and exec on %s:%u", r->host_ip, s->port);
	return 0;
}

uint16_t server_port(const struct remote *r)
{
	return r->serving ? r->serving->port : 0;
}

/* A newer certificate, on the loop: connections from now on get it. */
struct swap {
	struct server *s;
	struct buf cert, key;
};

static void swap_cert(void *arg)
{
	struct swap *w = arg;
	BIO *cb = BIO_new_mem_buf(w->cert.data, (int)w->cert.len);
	BIO *kb = BIO_new_mem_buf(w->key.data, (int)w->key.len);
	X509 *x = cb ? PEM_read_bio_X509(cb, NULL, NULL, NULL) : NULL;
	EVP_PKEY *k = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, NULL) : NULL;

	if (!x || !k || SSL_CTX_use_cert_and_key(w->s->tls, x, k, NULL, 1) != 1)
		log_error("the node's server: its new certificate does not "
			  "load, the old one stays");
	X509_free(x);
	EVP_PKEY_free(k);
	BIO_free(cb);
	BIO_free(kb);
	buf_clear(&w->cert);
	buf_clear(&w->key);
	free(w);
}

int server_swap_cert(struct remote *r, const struct buf *cert,
		     const struct buf *key)
{
	struct swap *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->s = r->serving;
	if (buf_add(&w->cert, cert->data, cert->len) == 0 &&
	    buf_add(&w->key, key->data, key->len) == 0 &&
	    ev_post(w->s->loop, swap_cert, w) == 0)
		return 0;
	buf_clear(&w->cert);
	buf_clear(&w->key);
	free(w);
	return -ENOMEM;
}

void server_stop(struct remote *r)
{
	struct server *s = r->serving;

	if (!s)
		return;
	if (s->runs) {
		ev_stop(s->loop);
		pthread_join(s->thread, NULL);
	}
	if (s->http)
		http_server_free(s->http);
	ev_free(s->loop);
	SSL_CTX_free(s->tls);
	free(s->chunk);
	free(s);
	r->serving = NULL;
}
