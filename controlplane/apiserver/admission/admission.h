/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission: what is asked of every change between authorization and the
 * store, beside the type's own rules.
 *
 * A plug-in is one file with one struct admission_plugin, named in the table
 * of chain.c. All mutating halves run first, in the table's order, on the
 * object as it was sent (pruned and defaulted); then the object is defaulted
 * and validated; then all validating halves run. A plug-in may run several
 * times for one request, as the change is tried again when somebody else
 * changed the object: it must not have effects of its own, but for what it
 * undoes in .settle.
 *
 * Plug-ins run on a loop's thread: they must not wait for anything. Some run
 * on another one, without a req: for what is deleted as a collection.
 */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_ADMISSION_H
#define CONTROLPLANE_APISERVER_ADMISSION_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

struct api;
struct req;
struct type;
struct type_set;
struct user;
struct write;

enum admission_op {
	ADMIT_CREATE = 1 << 0,
	ADMIT_UPDATE = 1 << 1,
	ADMIT_DELETE = 1 << 2,
	ADMIT_CONNECT = 1 << 3,
};

/* One request as admission sees it. Everything is borrowed. */
struct admission {
	struct api *api;
	struct req *req;     /* NULL: no client's, e.g. emptying a namespace */
	struct write *write; /* NULL: nothing is stored */
	const struct user *user;
	enum admission_op op;
	const struct type *type;
	const struct type_set *types; /* of a custom @type; NULL: built in */
	const char *kind; /* of @obj, when it is none of @type's; or NULL */
	const char *subresource;               /* "" for the object itself */
	const char *tenant, *namespace, *name; /* "" where there is none */
	bool dry_run;
	yyjson_mut_doc *doc;
	yyjson_mut_val *obj; /* NULL for a delete */
	yyjson_mut_val *old; /* NULL for a create */

	/* The verdict of the one who refuses. */
	int code;
	const char *reason;
	char msg[2048];
	const char *cause; /* the part of it that explains; NULL: all of it */
	char field[64];    /* of an Invalid: what @cause is about; "": none */
};

struct admission_plugin {
	const char *name;
	unsigned int ops; /* which of enum admission_op it looks at */
	/* Each returns 0, or what admission_refuse() returned. */
	int (*mutate)(struct admission *a);
	int (*validate)(struct admission *a);
};

/* Is @a about this resource (its subresources included)? */
bool admission_is(const struct admission *a, const char *group,
		  const char *plural);

/* Refuse with any code and reason. Returns -EACCES. */
int admission_refuse(struct admission *a, int code, const char *reason,
		     const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The usual: 403 Forbidden, `pods "web" is forbidden: ` in front. */
int admission_forbid(struct admission *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Run the chain's halves. 0, or negative: the verdict is in @a. */
int admission_mutate(struct admission *a);
int admission_validate(struct admission *a);

/* Answer a->req with the verdict. */
void admission_reply(struct admission *a);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_ADMISSION_H */
