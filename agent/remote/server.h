/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the node's own server. */
#ifndef AGENT_REMOTE_SERVER_H
#define AGENT_REMOTE_SERVER_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "agent/local/api.h"
#include "agent/remote/internal.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/server.h"
#include "lib/http/url.h"

#define SERVE_CHUNK ((size_t)64 * 1024)
#define SERVE_HIGH  ((size_t)256 * 1024) /* unread bytes of a client */

struct server {
	struct remote *r;
	struct ev *loop;
	struct http_server *http;
	SSL_CTX *tls;
	pthread_t thread;
	bool runs;
	atomic_uint jobs;
	bool stopping; /* on the loop */
	uint16_t port;
	char *chunk; /* [SERVE_CHUNK], the loop's, for what is passed on */
	struct dial *dials;
};

/* Something that may block: @run in a thread of its own, then @done on the
 * loop, which may free it. */
struct job_thread {
	struct server *s;
	void (*run)(struct job_thread *j);
	void (*done)(struct job_thread *j);
};
/* 0 or -errno; then neither is called. */
int serve_job(struct server *s, struct job_thread *j);

/* "/word/TENANT/NAMESPACE/POD[/CONTAINER]" of a request. */
struct serve_path {
	struct url url;
	struct api_pod_id pod; /* borrowed from the url */
	const char *container; /* NULL: none */
	char *here;            /* what a mirror's pod is called here, or NULL */
};
void serve_path_clear(struct serve_path *p);

/* A failure as text, as kubelet does, with the status that fits. */
void serve_error(struct http_req *req, int code, const struct err *e);

/* Each takes @p over, and answers. */
void serve_logs(struct server *s, struct http_req *req, struct serve_path *p);
void serve_exec(struct server *s, struct http_req *req, struct serve_path *p,
		bool attach);
void serve_forward(struct server *s, struct http_req *req,
		   struct serve_path *p);
/* p->container is a port. */
void serve_dial(struct server *s, struct http_req *req, struct serve_path *p);
void serve_dials_end(struct server *s);

#endif /* AGENT_REMOTE_SERVER_H */
