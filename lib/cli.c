// SPDX-License-Identifier: Apache-2.0
/* Options and commands. Help and completion are in cli_help.c, tables in
 * cli_table.c. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define EXIT_USAGE 2

/* --- values --------------------------------------------------------------- */

static const struct {
	const char *name;
	uint64_t ms;
} units[] = {
	{ "ms", 1 },      { "s", 1000 },     { "m", 60000 },
	{ "h", 3600000 }, { "d", 86400000 },
};

int cli_parse_duration(const char *text, uint64_t *ret_ms)
{
	uint64_t total = 0;
	const char *s = text;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	while (*s) {
		uint64_t v = 0, unit = 0;
		size_t len;

		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		for (; isdigit((unsigned char)*s); s++)
			if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
			    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
				return -ERANGE;
		len = strcspn(s, "0123456789");
		for (size_t i = 0; i < ARRAY_LEN(units); i++)
			if (strlen(units[i].name) == len &&
			    strncmp(s, units[i].name, len) == 0)
				unit = units[i].ms;
		if (!len && s - text == (ptrdiff_t)strlen(text))
			unit = 1000; /* a bare number: seconds */
		if (!unit)
			return -EINVAL;
		if (__builtin_mul_overflow(v, unit, &v) ||
		    __builtin_add_overflow(total, v, &total))
			return -ERANGE;
		s += len;
		if (!len && strpbrk(text, "smhd"))
			return -EINVAL; /* "1m30" */
	}
	*ret_ms = total;
	return 0;
}

static bool one_of(const char *word, const char *words)
{
	size_t len = strlen(word);

	for (const char *w = words;; w += strcspn(w, "|") + 1) {
		if (strcspn(w, "|") == len && strncmp(w, word, len) == 0)
			return true;
		if (!w[strcspn(w, "|")])
			return false;
	}
}

static int set_bool(const struct cli_option *o, void *to, const char *text,
		    struct err *e)
{
	bool *b = to;

	if (!text || strcmp(text, "true") == 0)
		*b = true;
	else if (strcmp(text, "false") == 0)
		*b = false;
	else
		return err_set(e, -EINVAL, "--%s: '%s' is not true or false",
			       o->name, text);
	return 0;
}

static int add_str(const struct cli_option *o, struct cli_strs *list,
		   const char *text, struct err *e)
{
	if (list->nr == CLI_STRS_MAX)
		return err_set(e, -EINVAL, "--%s: more than %d times", o->name,
			       CLI_STRS_MAX);
	list->v[list->nr++] = text;
	return 0;
}

static int set_value(const struct cli_option *o, void *args, const char *text,
		     struct err *e)
{
	void *to = (char *)args + o->offset;
	int r = 0;

	if (o->words && text && !one_of(text, o->words))
		return err_set(e, -EINVAL, "--%s: '%s' is not one of %s",
			       o->name, text, o->words);
	switch (o->type) {
	case CLI_BOOL:
		return set_bool(o, to, text, e);
	case CLI_STR:
		*(const char **)to = text;
		return 0;
	case CLI_STRS:
		return add_str(o, to, text, e);
	case CLI_INT:
		if (str_to_i64(text, to) < 0)
			return err_set(e, -EINVAL,
				       "--%s: '%s' is not a whole number",
				       o->name, text);
		return 0;
	case CLI_DURATION:
		if (cli_parse_duration(text, to) < 0)
			return err_set(e, -EINVAL,
				       "--%s: '%s' is not a duration like 30s,"
				       " 5m or 1h30m",
				       o->name, text);
		return 0;
	case CLI_CPU:
		r = quantity_parse_cpu(text, to, e);
		break;
	case CLI_MEM:
		r = quantity_parse_mem(text, to, e);
		break;
	case CLI_NONE:
		break;
	}
	return r < 0 ? err_wrap(e, r, "--%s", o->name) : 0;
}

/* --- options -------------------------------------------------------------- */

struct parser {
	const struct cli_command *c;
	int argc;
	char **argv;
	void *args;
	int at;       /* next argument to look at */
	int operands; /* argv[operands..at) are operands already seen */
	struct err *e;
};

static const struct cli_option *find_name(const struct cli_command *c,
					  const char *name, size_t len)
{
	for (const struct cli_option *o = c->options; o && o->type; o++)
		if (strlen(o->name) == len && strncmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

static const struct cli_option *find_letter(const struct cli_command *c,
					    char letter)
{
	for (const struct cli_option *o = c->options; o && o->type; o++)
		if (o->letter == letter)
			return o;
	return NULL;
}

static int unknown(struct parser *p, const char *name, size_t len)
{
	auto_free char *word = strndup(name, len);
	const char *names[64], *near;
	size_t nr = 0;

	if (!word)
		return err_set(p->e, -ENOMEM, "out of memory");
	for (const struct cli_option *o = p->c->options;
	     o && o->type && nr < ARRAY_LEN(names) - 1; o++)
		names[nr++] = o->name;
	names[nr] = NULL;
	near = str_nearest(word, names, sizeof(*names));
	if (near)
		return err_set(p->e, -EINVAL,
			       "unknown option '--%s' (did you mean '--%s'?)",
			       word, near);
	return err_set(p->e, -EINVAL, "unknown option '--%s'", word);
}

/* The next argument, as the value of @o. */
static int take_value(struct parser *p, const struct cli_option *o,
		      const char **ret)
{
	if (p->at >= p->argc)
		return err_set(p->e, -EINVAL, "--%s needs a value", o->name);
	*ret = p->argv[p->at++];
	return 0;
}

static int parse_long(struct parser *p, const char *arg)
{
	size_t len = strcspn(arg, "=");
	const char *value = arg[len] ? arg + len + 1 : NULL;
	const struct cli_option *o = find_name(p->c, arg, len);
	int r;

	if (!o && !value && str_starts(arg, "no-")) {
		o = find_name(p->c, arg + 3, len - 3);
		if (o && o->type == CLI_BOOL)
			return set_value(o, p->args, "false", p->e);
		o = NULL;
	}
	if (!o)
		return unknown(p, arg, len);
	if (o->type != CLI_BOOL && !value) {
		r = take_value(p, o, &value);
		if (r < 0)
			return r;
	}
	return set_value(o, p->args, value, p->e);
}

/* "-f", "-it", "-cNAME", "-c NAME" */
static int parse_letters(struct parser *p, const char *arg)
{
	for (; *arg; arg++) {
		const struct cli_option *o = find_letter(p->c, *arg);
		const char *value = NULL;
		int r = 0;

		if (!o)
			return err_set(p->e, -EINVAL, "unknown option '-%c'",
				       *arg);
		if (o->type == CLI_BOOL) {
			r = set_value(o, p->args, NULL, p->e);
			if (r < 0)
				return r;
			continue;
		}
		if (arg[1])
			value = arg[1] == '=' ? arg + 2 : arg + 1;
		else
			r = take_value(p, o, &value);
		return r < 0 ? r : set_value(o, p->args, value, p->e);
	}
	return 0;
}

/* Move argv[from..at), an option and its value, before the operands. */
static void move_before_operands(struct parser *p, int from)
{
	for (int i = from; i < p->at; i++) {
		char *word = p->argv[i];

		memmove(&p->argv[p->operands + 1], &p->argv[p->operands],
			(size_t)(i - p->operands) * sizeof(*p->argv));
		p->argv[p->operands++] = word;
	}
}

int cli_parse(const struct cli_command *c, int argc, char **argv, void *args,
	      struct err *e)
{
	struct parser p = { c, argc, argv, args, 1, 1, e };
	int r = 0;

	while (r == 0 && p.at < argc) {
		const char *arg = argv[p.at];
		int from = p.at++;

		if (arg[0] != '-' || !arg[1])
			continue; /* an operand; "-" is one, too */
		if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
			auto_buf struct buf b = BUF_INIT;

			cli_print_command_help(NULL, c, &b);
			fputs(buf_str(&b), stdout);
			return -ECANCELED;
		}
		if (strcmp(arg, "--") == 0) {
			move_before_operands(&p, from);
			break;
		}
		r = arg[1] == '-' ? parse_long(&p, arg + 2)
				  : parse_letters(&p, arg + 1);
		move_before_operands(&p, from);
	}
	return r < 0 ? r : p.operands;
}

/* --- commands ------------------------------------------------------------- */

int cli_usage(const struct cli_command *c, int code, const struct err *e)
{
	if (code == -ECANCELED)
		return 0;
	fprintf(stderr, "error: %s\n", e->msg);
	fprintf(stderr, "usage: %s %s%s%s\n", program_invocation_short_name,
		c->name, c->operands[0] ? " " : "", c->operands);
	fprintf(stderr, "see '%s %s --help'\n", program_invocation_short_name,
		c->name);
	return EXIT_USAGE;
}

int cli_fail(const struct err *e)
{
	fprintf(stderr, "error: %s\n", e->msg);
	return 1;
}

static const struct cli_command *find_command(const struct cli_program *p,
					      const char *name)
{
	for (const struct cli_command *c = p->commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int unknown_command(const struct cli_program *p, const char *name)
{
	const char *near = str_nearest(name, p->commands, sizeof(*p->commands));

	fprintf(stderr, "error: unknown command '%s'", name);
	if (near)
		fprintf(stderr, " (did you mean '%s'?)", near);
	fprintf(stderr, "\nsee '%s --help'\n", p->name);
	return EXIT_USAGE;
}

static int print_help(const struct cli_program *p, const char *of)
{
	auto_buf struct buf b = BUF_INIT;

	if (of) {
		const struct cli_command *c = find_command(p, of);

		if (!c)
			return unknown_command(p, of);
		cli_print_command_help(p->name, c, &b);
	} else {
		cli_print_help(p, &b);
	}
	fputs(buf_str(&b), stdout);
	return 0;
}

int cli_main(const struct cli_program *p, int argc, char **argv)
{
	const struct cli_command *c;
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		print_help(p, NULL);
		return EXIT_USAGE;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return print_help(p, NULL);
	if (strcmp(name, "help") == 0)
		return print_help(p, argc > 2 ? argv[2] : NULL);
	if (strcmp(name, "--version") == 0) {
		printf("%s %s\n", p->name, p->version);
		return 0;
	}
	c = find_command(p, name);
	if (!c)
		return unknown_command(p, name);
	return c->run(c, argc - 1, argv + 1);
}
