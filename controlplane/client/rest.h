/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the API, one request at a time, blocking.
 *
 *	rest_open("acme.kubeconfig", &c, e);
 *	r = rest_call(c, "GET", "/api/v1/namespaces", NULL, 0, &answer, e);
 *
 * Reads a kubeconfig (current context; certificates inline or as files) and
 * keeps one connection, which it opens anew when the server has closed it.
 */
#ifndef CONTROLPLANE_CLIENT_REST_H
#define CONTROLPLANE_CLIENT_REST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"
#include "lib/buf.h"

struct err;
struct rest;

#define REST_ANSWER_MAX (256 * 1024 * 1024) /* bytes of one answer */
#define REST_TIMEOUT_S  30                  /* without any progress */

/* -ENOENT, -EBADMSG: the kubeconfig; else what connecting may return. */
int rest_open(const char *kubeconfig, struct rest **ret, struct err *e);
/* The same from a kubeconfig's text; @address: connect there instead (the
 * server's name is verified all the same); NULL: to the server. @seconds: how
 * long to wait without any progress. */
int rest_open_text(const char *text, const char *address, int seconds,
		   struct rest **ret, struct err *e);
/* Wait that long, not REST_TIMEOUT_S, for any progress of what is asked next.
 */
void rest_set_patience(struct rest *c, int seconds);
void rest_close(struct rest *c);
DEFINE_AUTO_PTR(rest, rest_close)

/**
 * rest_call() - One request and its whole answer.
 * @c:      Client.
 * @method: "GET", "POST", ...
 * @path:   With its query.
 * @body:   JSON, or NULL. @type is its media type; NULL: application/json.
 * @answer: Reset, then filled with the body.
 * @e:      Filled on error.
 *
 * Return: the HTTP status, whatever it is, or a negative errno when there was
 * no answer. rest_check() turns a status of 400 and above into an error.
 */
int rest_call(struct rest *c, const char *method, const char *path,
	      const char *body, const char *type, struct buf *answer,
	      struct err *e);

/**
 * rest_stream() - Begin an answer that does not end: a watch, a log.
 * @c:      Client. Nothing else may be asked of it until rest_stream_end().
 * @path:   With its query; the method is GET.
 * @answer: Filled with the whole body when the status is not 200.
 *
 * Return: the HTTP status, or a negative errno when there was no answer.
 */
int rest_stream(struct rest *c, const char *path, struct buf *answer,
		struct err *e);

/* The next line, without its newline: a watch's event. Borrowed until the next
 * call. 1; 0 at the end; -ETIMEDOUT after REST_SILENCE_S without a byte (ask
 * for bookmarks); -ECANCELED; else as rest_call(). */
#define REST_SILENCE_S 150
int rest_stream_line(struct rest *c, const char **ret, size_t *ret_len,
		     struct err *e);
void rest_stream_end(struct rest *c);

/* From any thread: whatever waits for the server now, or asks it anything
 * later, fails at once. */
void rest_cancel(struct rest *c);

/* 0 for a @status below 400; else the Status' message goes to @e: -ENOENT 404,
 * -EEXIST 409, -EACCES 401 and 403, -EINVAL 400 and 422, else -EIO. */
int rest_check(int status, const struct buf *answer, struct err *e);

/* Until when the certificates are good, unix seconds; 0: unknown. Of the server
 * as it was shown on the connection that is open, the CA, and our own. */
struct rest_expiry {
	int64_t server_s, ca_s, client_s;
};
void rest_expiry(const struct rest *c, struct rest_expiry *ret);

/* Was what it tried to connect to last an address of this host? */
bool rest_is_near(const struct rest *c);

/* Where it leads: "https://HOST:PORT". Borrowed. */
const char *rest_server(const struct rest *c);

#endif /* CONTROLPLANE_CLIENT_REST_H */
