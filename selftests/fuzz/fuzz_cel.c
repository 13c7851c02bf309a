// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c lib/json.c lib/json_out.c lib/re.c
// FUZZ: lib/re_match.c lib/err.c lib/str.c lib/buf.c
/* Any expression about a fixed object: within memory and its budget, and the
 * same twice. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cel/cel.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char json[] =
	"{\"n\":3,\"s\":\"web-1\",\"l\":[1,2,3],\"m\":{\"a\":1,\"b\":{}},"
	"\"d\":0.5,\"z\":null,\"w\":[\"a\",\"b\"]}";

static int decide(void *arg, const struct cel_check *c, struct buf *reason,
		  struct err *e)
{
	(void)arg;
	assert(c->verb && (c->path || c->resource));
	buf_puts(reason, c->verb);
	return *c->verb == 'e' ? err_set(e, -EIO, "%s", c->verb)
			       : *c->verb == 'g';
}

/* "variables.a", ... that an input may use. */
static size_t make_named(struct cel_env *env, struct cel_named *named)
{
	static const char *const texts[][2] = {
		{ "a", "self.l.map(x, string(x))" },
		{ "b", "self.nothing" },
		{ "c", "variables.a + variables.a" },
		{ "d", "authorizer.group('')" },
	};

	env->named = named;
	for (size_t i = 0; i < 4; i++) {
		struct cel *cel = NULL;

		assert(cel_compile(texts[i][1], env, CEL_DYN, &cel, NULL) == 0);
		named[i] = (struct cel_named){ texts[i][0], cel };
		env->nr_named = i + 1;
	}
	return 4;
}

static int run(const struct cel *cel, const struct cel_env *env,
	       yyjson_mut_val *const *in, yyjson_mut_doc *doc, struct err *e)
{
	struct cel_authorizer who = {
		.request = { .group = "", .resource = "r", .name = "n" },
		.decide = decide,
	};
	struct cel_session *s =
		cel_session_new(env->named, env->nr_named, in, &who);
	yyjson_mut_val *out = NULL;
	uint64_t budget = 100000;
	int r;

	assert(s);
	r = cel_session_json(s, cel, &budget, doc, &out, e);
	/* Again, with what is known now. */
	(void)cel_session_json(s, cel, &budget, doc, &out, NULL);
	cel_session_free(s);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cel_var vars[] = { { .name = "self" },
				  { .name = "o", .optional = true },
				  { .name = "authorizer",
				    .authorizer = true } };
	struct cel_env env = { .vars = vars, .nr_vars = 3 };
	struct cel_named named[4];
	size_t nr_named = make_named(&env, named);
	yyjson_mut_val *in[3] = { NULL };
	char *text = malloc(len + 1);
	struct cel *cel = NULL;
	struct err e = { 0 };
	int r, again;

	memcpy(text, data, len);
	text[len] = '\0';
	r = cel_compile(text, &env, CEL_DYN, &cel, &e);
	assert(r == 0 || r == -EINVAL || r == -E2BIG);
	assert(r == 0 || e.msg[0]);
	if (r == 0) {
		yyjson_doc *doc = yyjson_read(json, sizeof(json) - 1, 0);
		yyjson_mut_doc *mut = yyjson_doc_mut_copy(doc, NULL);

		in[0] = in[1] = yyjson_mut_doc_get_root(mut);
		r = run(cel, &env, in, mut, &e);
		assert(r == 0 || r == -EINVAL || r == -E2BIG);
		assert(r == 0 || e.msg[0]);
		again = run(cel, &env, in, mut, &e);
		assert(again == r);
		yyjson_mut_doc_free(mut);
		yyjson_doc_free(doc);
	}
	cel_free(cel);
	while (nr_named)
		cel_free((struct cel *)named[--nr_named].cel);
	free(text);
	return 0;
}
