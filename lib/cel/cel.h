/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CEL, the Common Expression Language, in which Kubernetes' users write
 * validation rules and match conditions: compiled once, evaluated often, at a
 * cost that is bounded whoever wrote them.
 *
 *	struct cel_var vars[] = { { .name = "self", .shape = schema } };
 *	struct cel_env env = { .vars = vars, .nr_vars = 1, .shapes = &shapes };
 *	struct cel *cel;
 *
 *	r = cel_compile("self.replicas <= self.max", &env, CEL_BOOL, &cel, e);
 *	...
 *	holds = cel_eval_bool(cel, &object, &budget, e);
 *	cel_free(cel);
 *
 * The language is that of github.com/google/cel-spec with what Kubernetes
 * adds: optional values, strings, lists, sets, regex (matches only), url,
 * quantity, ip, cidr, authorizer. Not here: find() and findAll(), format(),
 *time zones by name. Values come from JSON; what is known of them beforehand
 *(an OpenAPI schema) is asked through struct cel_shapes.
 *
 * Expressions that belong together are evaluated in a session: some of them
 * have names that the others may use, and each of those is evaluated when it is
 * first asked for, and once.
 */
#ifndef LIB_CEL_CEL_H
#define LIB_CEL_CEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

struct buf;
struct cel;
struct err;

#define CEL_LEN_MAX   (16 * 1024) /* bytes of an expression */
#define CEL_DEPTH_MAX 64          /* nesting of it, and of loops' variables */
#define CEL_NODES_MAX 4096
#define CEL_MEM_MAX   (4 * 1024 * 1024) /* that one evaluation may take */

/* Of a value; CEL_DYN: not known before it is there. CEL_OBJECT is a map whose
 * fields are declared. */
enum cel_kind {
	CEL_DYN,
	CEL_NULL,
	CEL_BOOL,
	CEL_INT,
	CEL_UINT,
	CEL_DOUBLE,
	CEL_STRING,
	CEL_BYTES,
	CEL_LIST,
	CEL_MAP,
	CEL_OBJECT,
	CEL_TIMESTAMP,
	CEL_DURATION,
	CEL_TYPE,
	CEL_OPTIONAL,
	CEL_QUANTITY,
	CEL_URL,
	CEL_IP,
	CEL_CIDR,
	CEL_AUTHORIZER, /* these are asked of struct cel_authorizer */
	CEL_PATH_CHECK,
	CEL_GROUP_CHECK,
	CEL_RESOURCE_CHECK,
	CEL_DECISION,
};

/* What is known of values: a shape is whatever the caller has for a schema;
 * NULL is one of which nothing is known. */
struct cel_shapes {
	enum cel_kind (*kind)(const void *shape);
	/* The field of a CEL_OBJECT; false: it has none of that name. */
	bool (*field)(const void *shape, const char *name, const void **ret);
	/* Of a list's items, or of the values of a CEL_MAP. */
	const void *(*item)(const void *shape);
	/* Of a list: whether its order does not count, and its items' keys
	 * (NULL-ended; NULL: they are compared as a whole). */
	bool (*is_set)(const void *shape, const char *const **ret_keys);
};

struct cel_var {
	const char *name; /* "": there is none of that place */
	const void *shape;
	bool optional;   /* what is given is wrapped; NULL is optional.none() */
	bool authorizer; /* it is no JSON, but struct cel_authorizer */
};

/* An expression that others call "variables.NAME". */
struct cel_named {
	const char *name;
	const struct cel *cel; /* its variables are at the same places */
};

struct cel_env {
	const struct cel_var *vars;
	size_t nr_vars;
	const struct cel_shapes *shapes; /* NULL: nothing is known of any */
	const struct cel_named *named;   /* each knows those before it */
	size_t nr_named;
};

/**
 * cel_compile() - Parse an expression and check it.
 * @text: The expression. Borrowed.
 * @env:  Its variables. Names and shapes are borrowed until cel_free().
 * @want: What it is to come to: %CEL_BOOL, %CEL_STRING, or %CEL_DYN for all.
 * @ret:  Owned by the caller; may be used by many threads at once.
 * @e:    Filled on error: "ERROR: <input>:1:6: undefined field 'foo'\n | ..."
 *
 * Return: 0, -EINVAL, -E2BIG beyond a limit, -ENOMEM.
 */
int cel_compile(const char *text, const struct cel_env *env, enum cel_kind want,
		struct cel **ret, struct err *e);
void cel_free(struct cel *c);
size_t cel_size(const struct cel *c); /* bytes it takes */

/* What it comes to, as far as that is known. */
enum cel_kind cel_result(const struct cel *c);
/* Whether the expression looks at the variable. */
bool cel_uses(const struct cel *c, const char *var);

/**
 * cel_eval_bool() - Evaluate an expression that is true or false.
 * @c:      Compiled with %CEL_BOOL.
 * @vars:   One value for each variable; NULL: there is none. Borrowed.
 * @budget: Steps that are left, taken from; NULL: %CEL_MEM_MAX alone limits it.
 * @e:      Filled on error: "no such key: max".
 *
 * Return: 1, 0, -EINVAL for an expression that fails, -E2BIG when it costs too
 * much, -ENOMEM.
 */
int cel_eval_bool(const struct cel *c, yyjson_mut_val *const *vars,
		  uint64_t *budget, struct err *e);
/* The same for text, appended to @b. */
int cel_eval_string(const struct cel *c, yyjson_mut_val *const *vars,
		    uint64_t *budget, struct buf *b, struct err *e);
/* The same for anything that JSON can say, copied into @doc. */
int cel_eval_json(const struct cel *c, yyjson_mut_val *const *vars,
		  uint64_t *budget, yyjson_mut_doc *doc, yyjson_mut_val **ret,
		  struct err *e);

/* --- sessions --- */

/* What authorizer...check() asks. */
struct cel_check {
	const char *account_ns,
		*account; /* NULL: about who makes the request */
	const char *path; /* NULL: about a resource */
	const char *group, *resource, *subresource, *ns, *name;
	const char *fields, *labels; /* selectors, as they were given */
	const char *verb;
};

struct cel_authorizer {
	struct cel_check request; /* authorizer.requestResource */
	/* Whether it is allowed, and why (appended): 1, 0, or -errno. */
	int (*decide)(void *arg, const struct cel_check *check,
		      struct buf *reason, struct err *e);
	void *arg;
};

#define CEL_CHECK_COST 20000 /* steps that one question takes */

struct cel_session;

/**
 * cel_session_new() - Begin to evaluate expressions of one environment.
 * @named: As in its struct cel_env; @nr of them. Borrowed, as all of it.
 * @vars:  One value for each variable.
 * @who:   Answers the authorizer's questions; NULL: there is none.
 *
 * Return: the session, of one thread; NULL when out of memory.
 */
struct cel_session *cel_session_new(const struct cel_named *named, size_t nr,
				    yyjson_mut_val *const *vars,
				    const struct cel_authorizer *who);
void cel_session_free(struct cel_session *s);

/* As cel_eval_bool() and the others; what a named expression costs is taken
 * from who asks for it first. */
int cel_session_bool(struct cel_session *s, const struct cel *c,
		     uint64_t *budget, struct err *e);
int cel_session_string(struct cel_session *s, const struct cel *c,
		       uint64_t *budget, struct buf *b, struct err *e);
int cel_session_json(struct cel_session *s, const struct cel *c,
		     uint64_t *budget, yyjson_mut_doc *doc,
		     yyjson_mut_val **ret, struct err *e);

#endif /* LIB_CEL_CEL_H */
