/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log: who did what when, as audit.k8s.io/v1 events, one a line.
 *
 *   audit.c   events of a request     policy.c  which are wanted
 *   sink.c    the file: a thread, a bounded queue, rotation
 *
 * A request is looked up in the policy once it is known who asks; what of it
 * is wanted is noted as it comes by, and the events go to the queue as text.
 * Writing them never holds up a request, unless that is asked for.
 */
#ifndef CONTROLPLANE_APISERVER_AUDIT_AUDIT_H
#define CONTROLPLANE_APISERVER_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

struct api;
struct audit_note;
struct buf;
struct err;
struct req;

struct audit_opts {
	const char *path;         /* NULL: no log; "-": stdout */
	const char *policy_file;  /* NULL: Metadata of everything */
	bool blocking;            /* requests wait for their events' writing */
	unsigned int max_size_mb; /* of a file; 0: 100 */
	unsigned int max_age_days, max_backups; /* of old ones; 0: all stay */
};

int audit_open(struct api *api, const struct audit_opts *o, struct err *e);
/* Writes what is queued. */
void audit_close(struct api *api);
/* The file has been moved away, say: open it anew. */
void audit_reopen(struct api *api);
void audit_metrics(struct api *api, struct buf *b);

/* The ID goes into the answer's head. First of all. */
void audit_identify(struct req *r);
/* Who asks for what is known now: RequestReceived. */
void audit_begin(struct req *r);
/* Authorization's verdict; @reason may be NULL. */
void audit_decided(struct req *r, bool allowed, const char *reason);
/* Is the reason wanted? */
bool audit_wants_reason(const struct req *r);
/* Something that is to be known of it; the last word on @key counts. */
void audit_annotate(struct req *r, const char *key, const char *value);
/* The body, parsed. */
void audit_request(struct req *r, yyjson_val *body);
/* It is refused. */
void audit_failed(struct req *r, const char *reason, const char *msg);
/* The answer's head is known: ResponseStarted, of what goes on for long. */
void audit_started(struct req *r);
/* This much more of the answer's body goes out. */
void audit_sent(struct req *r, const char *data, size_t len);
/* The request is over: ResponseComplete. */
void audit_end(struct req *r);

#endif /* CONTROLPLANE_APISERVER_AUDIT_AUDIT_H */
