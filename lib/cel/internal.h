/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of an expression, and values. */
#ifndef LIB_CEL_INTERNAL_H
#define LIB_CEL_INTERNAL_H

#include <string.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/cel/cel.h"
#include "lib/cel/pool.h"
#include "lib/err.h"
#include "lib/re.h"

/* --- values --- */

struct cel_ip {
	uint8_t bytes[16];
	int family; /* AF_INET or AF_INET6 */
	int bits;   /* of a CIDR's prefix */
};

struct cel_text {
	const char *s;
	size_t len;
};

struct cel_decision {
	bool allowed, errored;
	struct cel_text text; /* the reason, or the error */
};

struct cel_value {
	uint8_t kind; /* enum cel_kind, never CEL_DYN or CEL_OBJECT */
	bool json;    /* a list or map that is still JSON */
	union {
		bool b;
		int64_t i; /* CEL_DURATION: nanoseconds */
		uint64_t u;
		double d;
		struct cel_text text; /* CEL_STRING, CEL_BYTES, CEL_URL */
		struct {
			yyjson_mut_val *v;
			const void *shape;
		} in;
		struct {
			struct cel_value *v; /* of a map: key, value, ... */
			size_t nr;
		} seq;
		struct {
			int64_t s;
			int32_t ns;
		} time;
		enum cel_kind type;
		struct cel_value *opt; /* NULL: optional.none() */
		__int128 nano;         /* CEL_QUANTITY */
		const struct cel_ip *ip;
		const struct cel_check *check; /* and CEL_AUTHORIZER */
		const struct cel_decision *decision;
	};
};

/* --- the tree --- */

enum node_type {
	N_LITERAL,
	N_IDENT, /* until check.c has seen it */
	N_VAR,
	N_LOCAL,
	N_NAMED, /* variables.x */
	N_SELECT,
	N_HAS,
	N_INDEX,
	N_CALL,
	N_NOT,
	N_NEG,
	N_AND,
	N_OR,
	N_COND,
	N_BINARY,
	N_LIST,
	N_MAP,
	N_FOLD,
	N_BIND,
	N_OPT_MAP,
};

enum cel_op {
	OP_ADD,
	OP_SUB,
	OP_MUL,
	OP_DIV,
	OP_MOD,
	OP_EQ,
	OP_NE,
	OP_LT,
	OP_LE,
	OP_GT,
	OP_GE,
	OP_IN,
};

enum fold {
	FOLD_ALL,
	FOLD_EXISTS,
	FOLD_ONE,
	FOLD_MAP,
	FOLD_FILTER,
	FOLD_LIST,    /* transformList */
	FOLD_ENTRIES, /* transformMap */
};

struct cel_fn;

struct node {
	uint8_t type, op;
	bool opt;        /* ?. and [?]; of N_CALL: it is a method */
	uint8_t kind;    /* enum cel_kind, as far as it is known */
	uint8_t nr_vars; /* of N_FOLD */
	uint32_t at;     /* offset in the text */
	uint32_t slot;   /* of N_VAR, N_LOCAL, N_NAMED; the first of N_FOLD */
	uint32_t nr;     /* of kids */
	const void *shape;
	const char *name; /* of N_IDENT, N_SELECT, N_CALL; a loop's variable */
	const char *name2;
	struct node **kids;
	bool *opts; /* of N_LIST, N_MAP: which are optional; NULL: none */
	struct cel_value value;
	struct re *re; /* the pattern, when it is a literal */
	const struct cel_fn **fns;
	struct node *next; /* of all nodes */
};

struct cel {
	struct pool pool;
	struct node *root, *all;
	const struct cel_env *env; /* a copy of the caller's */
	const char *text;
	size_t nr_nodes;
	size_t depth; /* of the tree, with those of what it names */
	enum cel_kind want;
};

/* The line and a mark below @at, as cel-go shows it. Returns -EINVAL. */
int cel_complain(const struct cel *c, size_t at, struct err *e, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));
int cel_parse(struct cel *c, struct err *e);
int cel_check(struct cel *c, struct err *e);
struct node *node_new(struct cel *c, enum node_type type, size_t at,
		      size_t nr_kids);

#define CEL_NR_KINDS (CEL_DECISION + 1)
const char *cel_kind_name(enum cel_kind kind); /* as type() shows it */

/* --- evaluation --- */

struct run {
	const struct cel *cel;
	yyjson_mut_val *const *vars;
	struct cel_session *session; /* NULL: none */
	uint64_t *budget;
	struct pool pool;
	struct cel_value locals[2 * CEL_DEPTH_MAX];
	struct re *re; /* of the call in hand */
	char msg[256];
};

/* Why it cannot be evaluated. Returns -EINVAL. */
int run_fail(struct run *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int run_no_overload(struct run *r); /* the same: "no such overload" */
/* Take @steps from the budget: 0 or -E2BIG. */
int run_spend(struct run *r, uint64_t steps);
void *run_get(struct run *r, size_t size); /* NULL: tell run_full() */
int run_full(struct run *r);

/* Of an expression: 0, or -errno with run.msg. */
int run_eval(struct run *r, struct cel_value *ret);

/* --- session.c --- */

/* What the named expression comes to, or has come to. */
int session_named(struct run *r, uint32_t slot, struct cel_value *ret);
/* NULL: there is nobody to be asked. */
const struct cel_authorizer *session_authorizer(const struct run *r);

/* --- value.c --- */

int value_of_json(struct run *r, yyjson_mut_val *v, const void *shape,
		  struct cel_value *ret);
/* JSON of a value. NULL: it has none, and run_fail() has been called. */
yyjson_mut_val *value_to_json(struct run *r, const struct cel_value *v,
			      yyjson_mut_doc *doc, int depth);
size_t value_size(const struct cel_value *v); /* of a list or map */
int value_item(struct run *r, const struct cel_value *v, size_t i,
	       struct cel_value *ret);
/* A list's items as they are needed one after the other, or a map's keys and
 * values. */
struct walk {
	const struct cel_value *of;
	size_t i;
	yyjson_mut_arr_iter arr;
	yyjson_mut_obj_iter obj;
	struct cel_value key, value; /* key: of a list, its index */
};
void walk_init(struct walk *w, const struct cel_value *v);
int walk_next(struct run *r, struct walk *w); /* 1, 0: the end, -errno */
/* 1, 0: not there, or -errno. */
int value_find(struct run *r, const struct cel_value *map,
	       const struct cel_value *key, struct cel_value *ret);
int value_field(struct run *r, const struct cel_value *map, const char *name,
		struct cel_value *ret);
int value_equal(struct run *r, const struct cel_value *a,
		const struct cel_value *b); /* 1, 0, -errno */
/* *@ret is below, at or above 0. -EINVAL: not to be compared. */
int value_compare(struct run *r, const struct cel_value *a,
		  const struct cel_value *b, int *ret);
int value_in(struct run *r, const struct cel_value *v,
	     const struct cel_value *list); /* 1, 0, -errno */
int value_binary(struct run *r, enum cel_op op, const struct cel_value *a,
		 const struct cel_value *b, struct cel_value *ret);
bool value_is_zero(const struct cel_value *v);

static inline struct cel_value value_bool(bool b)
{
	return (struct cel_value){ .kind = CEL_BOOL, .b = b };
}

static inline struct cel_value value_int(int64_t i)
{
	return (struct cel_value){ .kind = CEL_INT, .i = i };
}

static inline struct cel_value value_double(double d)
{
	return (struct cel_value){ .kind = CEL_DOUBLE, .d = d };
}

static inline struct cel_value value_text(const char *s, size_t len)
{
	return (struct cel_value){ .kind = CEL_STRING, .text = { s, len } };
}

/* Text that is copied. 0, or no memory. */
int value_copy_text(struct run *r, const char *s, size_t len,
		    struct cel_value *ret);
/* A list with room for @nr items. */
int value_new_list(struct run *r, size_t nr, struct cel_value *ret);

#endif /* LIB_CEL_INTERNAL_H */
