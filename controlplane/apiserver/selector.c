// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/selector.h"
#include "controlplane/schema/types.h"
#include "controlplane/store/store.h"
#include "lib/str.h"

static char *skip(char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

static char *word_end(char *p)
{
	return p + strcspn(p, " \t,=!()<>");
}

static int bad(struct err *e, const char *text)
{
	return err_set(e, -EINVAL, "unable to parse requirement: '%s'", text);
}

static int add_value(struct selector_term *t, const char *value)
{
	const char **v = realloc(t->values, (t->nr_values + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	t->values = v;
	t->values[t->nr_values++] = value;
	return 0;
}

/* "(a, b)" behind in / notin. Returns what follows, or NULL. */
static char *parse_set(struct selector_term *t, char *p)
{
	p = skip(p);
	if (*p != '(')
		return NULL;
	do {
		char *end;

		p = skip(p + 1);
		end = word_end(p);
		if (add_value(t, p))
			return NULL;
		p = skip(end);
		if (*p != ',' && *p != ')')
			return NULL;
		if (end != p)
			*end = '\0';
		if (*p == ')') {
			*p = '\0';
			return p + 1;
		}
		*p = '\0';
	} while (true);
}

/* One term at @p; its tag (@kind and key) goes to *@tags. Returns what follows,
 * or NULL. */
static char *parse_term(struct selector *s, char *p, const char *kind,
			char **tags)
{
	struct selector_term *t = &s->terms[s->nr];
	bool not = false;
	char *key, *end, *op;

	memset(t, 0, sizeof(*t));
	t->group = *kind == 'f' ? s->groups : -1;
	p = skip(p);
	if (*p == '!') {
		not = true;
		p = skip(p + 1);
	}
	key = p;
	end = word_end(p);
	if (end == key)
		return NULL;
	op = skip(end);
	t->tag = *tags;
	memcpy(*tags, kind, 2);
	memcpy(*tags + 2, key, end - key);
	(*tags)[2 + (end - key)] = '\0';
	*tags += 3 + (end - key);
	s->nr++;
	if (not || *op == ',' || !*op) {
		t->op = not ? SEL_NOT_EXISTS : SEL_EXISTS;
		return *op && *op != ',' ? NULL : op;
	}
	if (*op == '<' || *op == '>') {
		t->op = *op == '<' ? SEL_LT : SEL_GT;
		p = skip(op + 1);
	} else if (*op == '=' || (*op == '!' && op[1] == '=')) {
		t->op = *op == '!' ? SEL_NOT_IN : SEL_IN;
		p = skip(op + (op[1] == '=' ? 2 : 1));
	} else if (str_starts(op, "notin")) {
		t->op = SEL_NOT_IN;
		return parse_set(t, op + 5);
	} else if (str_starts(op, "in")) {
		t->op = SEL_IN;
		return parse_set(t, op + 2);
	} else {
		return NULL;
	}
	/* A value: up to the comma. Field values may hold most characters. */
	end = *kind == 'f' ? p + strcspn(p, ",;") : word_end(p);
	if (add_value(t, p))
		return NULL;
	p = *kind == 'f' ? end : skip(end);
	if (*p == ',' || (*p == ';' && *kind == 'f')) {
		s->groups += *p == ';';
		*end = '\0';
		if (end != p)
			*p = '\0';
		return p + 1 > end ? p + 1 : end + 1;
	}
	if (*p)
		return NULL;
	*end = '\0';
	return p;
}

/* For one term more. Most requests have none. */
static int make_room(struct selector *s)
{
	size_t room = s->room ? s->room * 2 : 4;
	struct selector_term *v;

	if (s->nr < s->room)
		return 0;
	v = reallocarray(s->terms, room, sizeof(*v));
	if (!v)
		return -ENOMEM;
	s->terms = v;
	s->room = room;
	return 0;
}

static int parse(struct selector *s, const char *text, const char *kind,
		 char **slot, struct err *e)
{
	size_t len = strlen(text), room = len * 4 + 256;
	char *p, *tags;

	if (len > SELECTOR_LEN_MAX)
		return err_set(e, -EINVAL,
			       "selector of %zu bytes, the limit "
			       "is %d",
			       len, SELECTOR_LEN_MAX);
	free(*slot);
	*slot = malloc(len + 2 + room);
	if (!*slot)
		return err_set(e, -ENOMEM, "selector: out of memory");
	memcpy(*slot, text, len + 1);
	tags = *slot + len + 2;
	for (p = skip(*slot); *p;) {
		if (s->nr == SELECTOR_TERMS_MAX)
			return err_set(e, -EINVAL,
				       "selector of more than %d "
				       "terms",
				       SELECTOR_TERMS_MAX);
		if (make_room(s) < 0)
			return err_set(e, -ENOMEM, "selector: out of memory");
		p = parse_term(s, p, kind, &tags);
		if (!p)
			return bad(e, text);
		if (*p == ',')
			p++;
		p = skip(p);
	}
	return 0;
}

int selector_parse_labels(struct selector *s, const char *text, struct err *e)
{
	return parse(s, text, "l:", &s->text[0], e);
}

static bool is_hash(const char *field)
{
	return strcmp(field, "metadata.hashkey") == 0 ||
	       str_starts(field, "metadata.ownerReferences.hashkey.");
}

/* "gt:5" and the like. Plain numbers are compared as text. */
static int parse_range(struct selector_term *t)
{
	static const struct {
		const char *head;
		enum selector_op op;
	} all[] = {
		{ "gte:", SEL_GTE },
		{ "lte:", SEL_LTE },
		{ "gt:", SEL_GT },
		{ "lt:", SEL_LT },
	};
	int64_t n;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (t->op != SEL_IN || !str_starts(t->values[0], all[i].head))
			continue;
		t->op = all[i].op;
		t->values[0] += strlen(all[i].head);
		return str_to_i64(t->values[0], &n);
	}
	return 0;
}

/* The tag that @tag, of a field, is stored as; NULL: not selectable. */
static const char *stored_tag(const struct type *t, const char *tag)
{
	const char *field = tag + 2;

	if (strcmp(field, "metadata.name") == 0 ||
	    strcmp(field, "metadata.tenant") == 0 ||
	    strcmp(field, "metadata.namespace") == 0 || is_hash(field))
		return tag;
	for (size_t i = 0; t->selectable[i]; i++)
		if (strcmp(t->selectable[i], field) == 0)
			return t->selected ? t->selected[i] : tag;
	return NULL;
}

int selector_parse_fields(struct selector *s, const struct type *t,
			  const char *text, struct err *e)
{
	size_t first = s->nr;
	int r = parse(s, text, "f:", &s->text[1], e);

	if (r < 0)
		return r;
	for (size_t i = first; i < s->nr; i++) {
		const char *tag = stored_tag(t, s->terms[i].tag);
		const char *field = s->terms[i].tag + 2;

		if (s->groups)
			s->name = NULL;
		if (!tag)
			return err_set(e, -EINVAL,
				       "field label not supported: %s", field);
		if (s->terms[i].op != SEL_IN && s->terms[i].op != SEL_NOT_IN)
			return err_set(e, -EINVAL,
				       "invalid selector: '%s'; can't "
				       "understand '%s'",
				       text, field);
		s->terms[i].tag = tag;
		if (is_hash(field) && parse_range(&s->terms[i]))
			return err_set(e, -EINVAL,
				       "invalid selector: '%s'; want a number "
				       "behind lt:, lte:, gt:, gte:",
				       text);
		if (strcmp(field, "metadata.name") == 0 && !s->groups &&
		    s->terms[i].op == SEL_IN)
			s->name = s->terms[i].values[0];
	}
	return 0;
}

/* Segment @n of the key: 2 tenant, 3 namespace, 4 name. */
static bool key_part_is(const struct object_bytes *o, int n, const char *want)
{
	const char *p = o->key, *end;

	while (n-- && p)
		p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL;
	if (!p)
		return false;
	end = strchrnul(p, '/');
	return strlen(want) == (size_t)(end - p) &&
	       memcmp(p, want, end - p) == 0;
}

static bool term_has(const struct selector_term *t,
		     const struct object_bytes *o, const char *value)
{
	int part = strcmp(t->tag, "f:metadata.name") == 0        ? 4
		   : strcmp(t->tag, "f:metadata.namespace") == 0 ? 3
		   : strcmp(t->tag, "f:metadata.tenant") == 0    ? 2
								 : 0;

	for (size_t i = 0; i < t->nr_values; i++) {
		if (part ? key_part_is(o, part, t->values[i])
			 : str_eq(t->values[i], value))
			return true;
	}
	return false;
}

static bool term_holds(const struct selector_term *t,
		       const struct object_bytes *o)
{
	const char *value = object_tag(o, t->tag);
	int64_t a, b;

	if (!value && t->tag[0] == 'f')
		value = "";
	switch (t->op) {
	case SEL_IN:
		return term_has(t, o, value);
	case SEL_NOT_IN:
		return !term_has(t, o, value);
	case SEL_EXISTS:
		return value != NULL;
	case SEL_NOT_EXISTS:
		return value == NULL;
	case SEL_GT:
	case SEL_LT:
		if (!value || str_to_i64(value, &a) ||
		    str_to_i64(t->values[0], &b))
			return false;
		return t->op == SEL_GT ? a > b : a < b;
	case SEL_GTE:
	case SEL_LTE:
		if (!value || str_to_i64(value, &a) ||
		    str_to_i64(t->values[0], &b))
			return false;
		return t->op == SEL_GTE ? a >= b : a <= b;
	}
	return false;
}

bool selector_match(const struct selector *s, const struct object_bytes *o)
{
	bool all = true;

	if (!s->groups) {
		for (size_t i = 0; i < s->nr; i++)
			if (!term_holds(&s->terms[i], o))
				return false;
		return true;
	}
	for (size_t i = 0; i < s->nr; i++)
		if (s->terms[i].group < 0 && !term_holds(&s->terms[i], o))
			return false;
	/* The terms of a group follow each other. */
	for (int g = 0, i = 0; g <= s->groups; g++) {
		while (i < (int)s->nr && s->terms[i].group < g)
			i++;
		for (all = true; i < (int)s->nr && s->terms[i].group == g; i++)
			all = all && term_holds(&s->terms[i], o);
		if (all)
			return true;
	}
	return false;
}

void selector_clear(struct selector *s)
{
	for (size_t i = 0; i < s->nr; i++)
		free(s->terms[i].values);
	free(s->terms);
	free(s->text[0]);
	free(s->text[1]);
	memset(s, 0, sizeof(*s));
}
