/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers, as pieces of output: text of their own, and stored objects by
 * reference.
 *
 * reply_end(), and whatever ends a reply, may send it at once: the request may
 * be gone afterwards.
 */
#ifndef CONTROLPLANE_APISERVER_REPLY_H
#define CONTROLPLANE_APISERVER_REPLY_H

#include <stddef.h>

struct buf;
struct err;
struct json_out;
struct field_errors;
struct listing;
struct object_bytes;
struct req;
struct store_list;

/* One piece of output: owned text, an object by reference, or a listing. */
struct piece {
	struct object_bytes *object;
	struct listing *list;
	char *own;
	const char *data;
	size_t len;
};

void reply_begin(struct req *r, int code, const char *type);
void reply_add(struct req *r, struct buf *b);                /* takes it */
void reply_text(struct req *r, const char *s, size_t len);   /* copies */
void reply_static(struct req *r, const char *s, size_t len); /* borrows */
void reply_object(struct req *r, struct object_bytes *o);    /* refs */
void reply_taken(struct req *r, struct object_bytes *o);     /* takes it */
/* The objects of a list, with commas between them; takes it. */
void reply_listing(struct req *r, struct listing *l);
void piece_clear(struct piece *p);
/* One more field of the head. Before the reply ends or streams. */
void reply_field(struct req *r, const char *name, const char *value);
void reply_end(struct req *r);
/* A whole reply of one buffer. */
void reply_json(struct req *r, int code, struct buf *b);
/* A Status. @reason "NotFound"...; details from the route. */
void reply_error(struct req *r, int code, const char *reason, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));
/* The same of the object @name, with what clients show of it: @cause. */
void reply_refused(struct req *r, int code, const char *reason, const char *msg,
		   const char *name, const char *cause);
void reply_not_found(struct req *r);
void reply_invalid(struct req *r, const char *kind, const char *name,
		   const struct field_errors *errs);
/* read.c: an object as the request wants to see it; a list of objects that are
 * not stored, all of them: takes what is in @l. */
void reply_one(struct req *r, int code, struct object_bytes *o);
void reply_made_list(struct req *r, struct store_list *l);
void reply_success(struct req *r, struct object_bytes *o);
void reply_warning(struct req *r, const char *text);
/* How a failure of the store is told. */
void reply_store_error(struct req *r, int code, const struct err *e);
/* Begin a Status: up to its message (NULL: none); the caller goes on and ends
 * the object. */
void status_begin(struct json_out *o, const char *status, const char *msg);
/* Append the JSON of a Status to @b. */
void status_json(struct buf *b, int code, const char *reason, const char *msg);

#endif /* CONTROLPLANE_APISERVER_REPLY_H */
