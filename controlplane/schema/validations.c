// SPDX-License-Identifier: Apache-2.0
/*
 * x-kubernetes-validations: rules in CEL about a value (self) and what it was
 * before (oldSelf). A rule that looks at oldSelf holds only for what has been
 * there before: it is found by its name or keys, never by its place in a list.
 */
#include <stdio.h>

#include "controlplane/schema/load.h"
#include "lib/cel/cel.h"
#include "lib/str.h"

#define RULES_MEM_MAX  (4 * 1024 * 1024) /* of one definition, compiled */
#define RULES_COST_MAX 1000000           /* steps for one object; some 50 ms */

struct schema_rule {
	const char *text, *message, *field_path, *reason;
	struct cel *cel, *message_cel; /* borrowed of the set */
	bool transition, optional_old;
	char *wrong, *message_wrong; /* why they cannot be evaluated */
};

enum { SELF, OLD_SELF };

/* --- what CEL is told of a schema --- */

static enum cel_kind shape_kind(const void *shape)
{
	const struct schema *s = shape;

	switch (s->type) {
	case SCHEMA_OBJECT:
		return s->additional && !s->nr_fields ? CEL_MAP : CEL_OBJECT;
	case SCHEMA_ARRAY:
		return CEL_LIST;
	case SCHEMA_STRING:
		return str_eq(s->format, "date-time") ||
				       str_eq(s->format, "date")
			       ? CEL_TIMESTAMP
		       : str_eq(s->format, "duration") ? CEL_DURATION
		       : str_eq(s->format, "byte")     ? CEL_BYTES
						       : CEL_STRING;
	case SCHEMA_INTEGER:
		return CEL_INT;
	case SCHEMA_NUMBER:
		return CEL_DOUBLE;
	case SCHEMA_BOOLEAN:
		return CEL_BOOL;
	default:
		return CEL_DYN;
	}
}

/* Of its metadata a rule sees but the name, as in Kubernetes. */
static bool shape_field(const void *shape, const char *name, const void **ret)
{
	const struct schema *s = shape;
	const struct schema_field *f = schema_field(s, name);

	*ret = NULL;
	if (!s->custom &&
	    str_eq(s->name, "io.k8s.apimachinery.pkg.apis.meta."
			    "v1.ObjectMeta") &&
	    strcmp(name, "name") != 0 && strcmp(name, "generateName") != 0)
		return false;
	if (f)
		*ret = f->schema;
	return f || (s->embedded && (strcmp(name, "apiVersion") == 0 ||
				     strcmp(name, "kind") == 0 ||
				     strcmp(name, "metadata") == 0));
}

static const void *shape_item(const void *shape)
{
	const struct schema *s = shape;

	return s->type == SCHEMA_ARRAY ? s->items : s->additional;
}

static bool shape_is_set(const void *shape, const char *const **ret_keys)
{
	const struct schema *s = shape;

	*ret_keys = s->list == LIST_MAP ? (const char *const *)s->keys : NULL;
	return s->list != LIST_ATOMIC;
}

static const struct cel_shapes shapes = {
	.kind = shape_kind,
	.field = shape_field,
	.item = shape_item,
	.is_set = shape_is_set,
};

/* --- compiling --- */

static int keep_cel(struct type_set *set, struct cel *c)
{
	struct cel **more =
		realloc(set->exprs, (set->nr_exprs + 1) * sizeof(*more));

	if (!more) {
		cel_free(c);
		return -ENOMEM;
	}
	set->exprs = more;
	set->exprs[set->nr_exprs++] = c;
	set->expr_bytes += cel_size(c);
	return 0;
}

static int keep_text(struct type_set *set, const char *text, char **ret)
{
	char *copy = loader_keep(set, strlen(text) + 1, 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, strlen(text));
	*ret = copy;
	return 0;
}

/* One expression; what is wrong with it is kept. */
static int compile(struct type_set *set, const struct schema *s,
		   const char *text, enum cel_kind want, bool optional_old,
		   struct cel **ret, char **ret_wrong)
{
	struct cel_var vars[] = {
		[SELF] = { .name = "self", .shape = s },
		[OLD_SELF] = { .name = "oldSelf",
			       .shape = s,
			       .optional = optional_old },
	};
	struct cel_env env = { .vars = vars, .nr_vars = 2, .shapes = &shapes };
	struct cel *cel = NULL;
	struct err e = { 0 };
	char why[ERR_MSG_SIZE + 32];

	if (set->expr_bytes >= RULES_MEM_MAX)
		return keep_text(set,
				 "the rules of the definition are more "
				 "than fit into 4 MiB",
				 ret_wrong);
	if (cel_compile(text, &env, want, &cel, &e) < 0) {
		snprintf(why, sizeof(why), "%s%s",
			 str_starts(e.msg, "ERROR") ? "compilation failed: "
						    : "",
			 e.msg);
		return keep_text(set, why, ret_wrong);
	}
	*ret = cel;
	return keep_cel(set, cel);
}

static const char *text_of(yyjson_val *v, const char *key)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, key));

	return s && *s ? s : NULL;
}

static int compile_rule(struct type_set *set, const struct schema *s,
			yyjson_val *v, bool traceable, struct schema_rule *rule)
{
	const char *expression = text_of(v, "messageExpression");
	int r;

	rule->text = text_of(v, "rule");
	rule->message = text_of(v, "message");
	rule->reason = text_of(v, "reason");
	rule->field_path = text_of(v, "fieldPath");
	rule->optional_old =
		yyjson_is_true(yyjson_obj_get(v, "optionalOldSelf"));
	if (!rule->text)
		return keep_text(set, "rule is not specified", &rule->wrong);
	r = compile(set, s, rule->text, CEL_BOOL, rule->optional_old,
		    &rule->cel, &rule->wrong);
	if (r == 0 && expression)
		r = compile(set, s, expression, CEL_STRING, rule->optional_old,
			    &rule->message_cel, &rule->message_wrong);
	if (r < 0 || !rule->cel)
		return r;
	rule->transition = cel_uses(rule->cel, "oldSelf");
	if (rule->transition && !traceable)
		return keep_text(set,
				 "oldSelf cannot be used on the "
				 "uncorrelatable portion of the schema",
				 &rule->wrong);
	return 0;
}

static int compile_below(struct type_set *set, struct schema *s, bool traceable,
			 int depth);

static int compile_own(struct type_set *set, struct schema *s, bool traceable)
{
	yyjson_val *v;
	size_t i, max;
	int r;

	s->rules = loader_keep(set, yyjson_arr_size(s->rules_text) + 1,
			       sizeof(*s->rules));
	if (!s->rules)
		return -ENOMEM;
	yyjson_arr_foreach(s->rules_text, i, max, v)
	{
		r = compile_rule(set, s, v, traceable,
				 &s->rules[s->nr_rules++]);
		if (r < 0)
			return r;
	}
	s->rules_below = true;
	return 0;
}

static int compile_kid(struct type_set *set, struct schema *s,
		       struct schema *kid, bool traceable, int depth)
{
	int r = kid && kid->custom
			? compile_below(set, kid, traceable, depth + 1)
			: 0;

	s->rules_below |= kid && kid->rules_below;
	return r;
}

static int compile_below(struct type_set *set, struct schema *s, bool traceable,
			 int depth)
{
	bool below = traceable && !s->map_atomic;
	int r = 0;

	if (depth > SCHEMA_DEPTH_MAX)
		return 0;
	if (s->rules_text)
		r = compile_own(set, s, traceable);
	for (size_t i = 0; r == 0 && i < s->nr_fields; i++)
		r = compile_kid(set, s, s->fields[i].schema, below, depth);
	if (r == 0)
		r = compile_kid(set, s, s->additional, below, depth);
	if (r == 0)
		r = compile_kid(set, s, s->items,
				traceable && s->list == LIST_MAP, depth);
	return r;
}

int loader_rules(struct type_set *set, struct schema *s)
{
	return compile_below(set, s, true, 0);
}

/* --- what is wrong with the rules themselves --- */

static void check_own(const struct schema *s, struct path *at,
		      struct field_errors *errs)
{
	size_t cut = path_field(at, "x-kubernetes-validations");

	for (size_t i = 0; i < s->nr_rules; i++) {
		const struct schema_rule *rule = &s->rules[i];
		yyjson_mut_val value;
		size_t in = path_index(at, i), end;

		yyjson_mut_set_str(&value, rule->text ? rule->text : "");
		end = path_field(at, "rule");
		if (!rule->text)
			field_error_add(errs, FIELD_REQUIRED, at->text, NULL,
					"%s", rule->wrong);
		else if (rule->wrong)
			field_error_add(errs, FIELD_INVALID, at->text, &value,
					"%s", rule->wrong);
		path_cut(at, end);
		path_field(at, "messageExpression");
		if (rule->message_wrong)
			field_error_add(errs, FIELD_INVALID, at->text, &value,
					"messageExpression %s",
					rule->message_wrong);
		path_cut(at, in);
	}
	path_cut(at, cut);
}

void schema_rules_check(const struct schema *s, struct path *at,
			struct field_errors *errs)
{
	size_t cut = at->len;

	if (!s->rules_below)
		return;
	if (s->nr_rules)
		check_own(s, at, errs);
	for (size_t i = 0; i < s->nr_fields; i++) {
		if (!s->fields[i].schema->rules_below)
			continue;
		path_field(at, "properties");
		path_key(at, s->fields[i].name);
		schema_rules_check(s->fields[i].schema, at, errs);
		path_cut(at, cut);
	}
	if (s->additional && s->additional->rules_below) {
		path_field(at, "additionalProperties");
		schema_rules_check(s->additional, at, errs);
		path_cut(at, cut);
	}
	if (s->items && s->items->rules_below) {
		path_field(at, "items");
		schema_rules_check(s->items, at, errs);
		path_cut(at, cut);
	}
}

/* --- values --- */

struct judge {
	struct field_errors *errs;
	struct path *at;
	uint64_t budget;
};

static enum field_error_type reason_of(const struct schema_rule *rule)
{
	const char *reason = rule->reason;

	return str_eq(reason, "FieldValueForbidden")   ? FIELD_FORBIDDEN
	       : str_eq(reason, "FieldValueRequired")  ? FIELD_REQUIRED
	       : str_eq(reason, "FieldValueDuplicate") ? FIELD_DUPLICATE
						       : FIELD_INVALID;
}

static const char *type_name(const struct schema *s)
{
	static const char *const names[] = {
		[SCHEMA_OBJECT] = "object", [SCHEMA_ARRAY] = "array",
		[SCHEMA_STRING] = "string", [SCHEMA_INTEGER] = "integer",
		[SCHEMA_NUMBER] = "number", [SCHEMA_BOOLEAN] = "boolean",
	};

	return s->type < ARRAY_LEN(names) && names[s->type] ? names[s->type]
							    : "";
}

/* ".spec.x['a.b']" behind the path of the value. */
static void append_path(struct path *at, const char *p)
{
	char part[256];

	while (*p) {
		size_t n;

		if (str_starts(p, "['")) {
			n = strcspn(p + 2, "'");
			snprintf(part, sizeof(part), "%.*s", (int)n, p + 2);
			path_key(at, part);
			p += 2 + n;
			p += strspn(p, "']");
		} else {
			p += *p == '.';
			n = strcspn(p, ".[");
			snprintf(part, sizeof(part), "%.*s", (int)n, p);
			path_field(at, part);
			p += n ? n : !!*p;
		}
	}
}

/* The rule is broken: in its own words, or ours. */
static void tell(struct judge *j, const struct schema *s,
		 const struct schema_rule *rule, yyjson_mut_val *const *vars)
{
	auto_buf struct buf b = BUF_INIT;
	yyjson_mut_val value;
	size_t cut = j->at->len;

	yyjson_mut_set_str(&value, type_name(s));
	if (rule->message_cel &&
	    (cel_eval_string(rule->message_cel, vars, &j->budget, &b, NULL) ||
	     strchr(buf_str(&b), '\n') || !b.len))
		buf_reset(&b);
	if (!b.len && rule->message)
		buf_puts(&b, rule->message);
	if (!b.len)
		buf_printf(&b, "failed rule: %s", rule->text);
	if (rule->field_path)
		append_path(j->at, rule->field_path);
	field_error_add(j->errs, reason_of(rule), j->at->text, &value, "%s",
			buf_str(&b));
	path_cut(j->at, cut);
}

/* False: it is too costly to go on. */
static bool judge_own(struct judge *j, const struct schema *s,
		      yyjson_mut_val *v, yyjson_mut_val *old)
{
	yyjson_mut_val *vars[] = { [SELF] = v, [OLD_SELF] = old };
	yyjson_mut_val value = { 0 };

	yyjson_mut_set_str(&value, type_name(s));
	for (size_t i = 0; i < s->nr_rules; i++) {
		const struct schema_rule *rule = &s->rules[i];
		struct err e = { 0 };
		int r = -EINVAL;

		if (rule->transition && !old && !rule->optional_old)
			continue;
		if (rule->cel)
			r = cel_eval_bool(rule->cel, vars, &j->budget, &e);
		if (r == 0) {
			tell(j, s, rule, vars);
		} else if (r == -E2BIG) {
			field_error_add(j->errs, FIELD_INVALID, j->at->text,
					&value,
					"%s: validation failed due to running "
					"out of cost budget, no further "
					"validation rules will be run",
					e.msg);
			return false;
		} else if (r < 0) {
			field_error_add(j->errs, FIELD_INVALID, j->at->text,
					&value, "%s evaluating rule: %s",
					rule->cel ? e.msg : rule->wrong,
					rule->message ? rule->message
						      : rule->text);
		}
	}
	return true;
}

/* The item of @old with the same keys as @item; NULL: there was none. */
static yyjson_mut_val *same_item(const struct schema *s, yyjson_mut_val *item,
				 yyjson_mut_val *old)
{
	yyjson_mut_val *other;
	size_t i, max;

	if (s->list != LIST_MAP || !s->keys)
		return NULL;
	yyjson_mut_arr_foreach(old, i, max, other)
	{
		const char **k = s->keys;

		while (*k && mut_equal(yyjson_mut_obj_get(item, *k),
				       yyjson_mut_obj_get(other, *k)))
			k++;
		if (!*k)
			return other;
	}
	return NULL;
}

static bool judge_value(struct judge *j, const struct schema *s,
			yyjson_mut_val *v, yyjson_mut_val *old);

static bool judge_items(struct judge *j, const struct schema *s,
			yyjson_mut_val *v, yyjson_mut_val *old)
{
	size_t nr = yyjson_mut_arr_size(old), i, max;
	yyjson_mut_val *item;
	bool go_on = true;

	yyjson_mut_arr_foreach(v, i, max, item)
	{
		size_t cut = path_index(j->at, i);

		/* Finding the old one is not for nothing. */
		j->budget -= j->budget < nr ? j->budget : nr;
		go_on = judge_value(j, s->items, item, same_item(s, item, old));
		path_cut(j->at, cut);
		if (!go_on)
			break;
	}
	return go_on;
}

static bool judge_fields(struct judge *j, const struct schema *s,
			 yyjson_mut_val *v, yyjson_mut_val *old)
{
	yyjson_mut_val *key, *val;
	bool go_on = true;
	size_t i, max;

	yyjson_mut_obj_foreach(v, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);
		const struct schema_field *f = schema_field(s, name);
		const struct schema *sub = f ? f->schema : s->additional;
		size_t cut;

		if (!sub || !sub->rules_below)
			continue;
		cut = f ? path_field(j->at, name) : path_key(j->at, name);
		go_on = judge_value(j, sub, val,
				    s->map_atomic
					    ? NULL
					    : yyjson_mut_obj_get(old, name));
		path_cut(j->at, cut);
		if (!go_on)
			break;
	}
	return go_on;
}

static bool judge_value(struct judge *j, const struct schema *s,
			yyjson_mut_val *v, yyjson_mut_val *old)
{
	if (!s->rules_below || (yyjson_mut_is_null(v) && s->nullable))
		return true;
	if (s->nr_rules && !judge_own(j, s, v, old))
		return false;
	if (yyjson_mut_is_obj(v))
		return judge_fields(j, s, v, old);
	return !yyjson_mut_is_arr(v) || !s->items || !s->items->rules_below ||
	       judge_items(j, s, v, old);
}

void schema_validate_rules(const struct schema *s, yyjson_mut_val *v,
			   yyjson_mut_val *old, struct path *at,
			   struct field_errors *errs)
{
	struct judge j = { .errs = errs, .at = at, .budget = RULES_COST_MAX };

	if (!s->rules_below)
		return;
	if (errs->nr)
		field_error_add(
			errs, FIELD_INVALID, "<nil>", NULL,
			"\"null\": some validation rules were not checked "
			"because the object was invalid; correct the "
			"existing errors to complete validation");
	else
		judge_value(&j, s, v, old);
}
