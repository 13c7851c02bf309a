/* SPDX-License-Identifier: Apache-2.0 */
/* One question to webhooks: put together on a loop, asked on a thread. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_CALL_H
#define CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

#include "controlplane/apiserver/hook.h"
#include "lib/buf.h"

struct admission;
struct api;
struct json_out;
struct type;

#define HOOKS_MAX 64 /* asked about one request */

struct hook_question {
	yyjson_doc *hooks[HOOKS_MAX];
	size_t nr;
	struct buf head; /* "request" without the objects and the last brace */
	char *object, *old; /* JSON, or NULL */
	bool dry_run;
};

struct hook_verdict {
	int code; /* 0: no objection */
	char reason[64];
	char msg[900];
	struct buf warnings; /* strings, each with its NUL */
};

/* Begin an AdmissionRequest: all but the objects and the last brace. @as: the
 * version in which objects are shown. */
void hook_put_request(struct json_out *o, const struct admission *a,
		      const struct type *as);
int hook_question_add(struct hook_question *q, yyjson_val *hook);
int hook_question_fill(struct hook_question *q, struct admission *a);
void hook_question_clear(struct hook_question *q);

/* Ask one after the other. *ret_object: what the mutating ones made of the
 * object, owned by the caller; NULL: nothing was changed. */
void hook_ask_all(struct hook_caller *c, struct hook_question *q, bool mutating,
		  char **ret_object, struct hook_verdict *v);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_CALL_H */
