// SPDX-License-Identifier: Apache-2.0
/* --help and shell completion, both from the tables. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cli.h"

void cli_print_help(const struct cli_program *p, struct buf *b)
{
	int width = 0;

	buf_printf(b, "%s: %s\n\nusage: %s COMMAND [OPTIONS]\n\ncommands:\n",
		   p->name, p->help, p->name);
	for (const struct cli_command *c = p->commands; c->name; c++)
		if (c->help && (int)strlen(c->name) > width)
			width = (int)strlen(c->name);
	for (const struct cli_command *c = p->commands; c->name; c++)
		if (c->help)
			buf_printf(b, "  %-*s  %s\n", width, c->name, c->help);
	buf_printf(b, "\n'%s COMMAND --help' tells more about one.\n", p->name);
}

static int option_head(const struct cli_option *o, char *buf, size_t size)
{
	char letter[8] = "    ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	return snprintf(buf, size, "%s--%s%s%s", letter, o->name,
			o->value_name ? " " : "",
			o->value_name ? o->value_name : "");
}

void cli_print_command_help(const char *program, const struct cli_command *c,
			    struct buf *b)
{
	char head[100];
	int width = 0;

	if (!program)
		program = program_invocation_short_name;
	buf_printf(b, "usage: %s %s%s%s%s\n\n%s\n", program, c->name,
		   c->options && c->options->type ? " [OPTIONS]" : "",
		   c->operands[0] ? " " : "", c->operands,
		   c->help ? c->help : "");
	if (c->options && c->options->type)
		buf_puts(b, "\noptions:\n");
	for (const struct cli_option *o = c->options; o && o->type; o++) {
		int len = option_head(o, head, sizeof(head));

		width = len > width ? len : width;
	}
	for (const struct cli_option *o = c->options; o && o->type; o++) {
		option_head(o, head, sizeof(head));
		buf_printf(b, "  %-*s  %s", width, head, o->help);
		if (o->words)
			buf_printf(b, " (%s)", o->words);
		buf_putc(b, '\n');
	}
	if (c->more)
		buf_printf(b, "\n%s\n", c->more);
}

/* --- completion ----------------------------------------------------------- */

static void put_identifier(struct buf *b, const char *name)
{
	for (; *name; name++)
		buf_putc(b, *name == '-' ? '_' : *name);
}

static void put_words(struct buf *b, const char *words)
{
	for (; *words; words++)
		buf_putc(b, *words == '|' ? ' ' : *words);
}

static void put_options(const struct cli_command *c, struct buf *b)
{
	for (const struct cli_option *o = c->options; o && o->type; o++)
		buf_printf(b, " --%s", o->name);
	buf_puts(b, " --help");
}

static void bash_values(const struct cli_command *c, struct buf *b)
{
	for (const struct cli_option *o = c->options; o && o->type; o++) {
		if (o->type == CLI_BOOL)
			continue;
		buf_printf(b, "\t\t--%s%s%c%s", o->name, o->letter ? "|-" : "",
			   o->letter ? o->letter : ')', o->letter ? ")" : "");
		if (o->words) {
			buf_puts(b, " COMPREPLY=($(compgen -W '");
			put_words(b, o->words);
			buf_puts(b, "' -- \"$cur\"));;\n");
		} else {
			buf_puts(b, " COMPREPLY=($(compgen -f -- \"$cur\"));;"
				    "\n");
		}
	}
}

static void bash_command(const struct cli_program *p,
			 const struct cli_command *c, struct buf *b)
{
	buf_printf(b, "\t%s) case $prev in\n", c->name);
	bash_values(c, b);
	buf_puts(b, "\t\t*) if [[ $cur == -* ]]; then\n"
		    "\t\t\tCOMPREPLY=($(compgen -W '");
	put_options(c, b);
	buf_puts(b, "' -- \"$cur\"))\n\t\telse\n\t\t\tCOMPREPLY=($(compgen ");
	if (c->complete)
		buf_printf(b, "-W \"$(%s __complete %s 2>/dev/null)\"", p->name,
			   c->complete);
	else
		buf_puts(b, "-f");
	buf_puts(b, " -- \"$cur\"))\n\t\tfi;;\n\tesac;;\n");
}

static void completion_bash(const struct cli_program *p, struct buf *b)
{
	buf_puts(b, "_");
	put_identifier(b, p->name);
	buf_puts(b, "()\n{\n\tlocal cur=${COMP_WORDS[COMP_CWORD]}\n"
		    "\tlocal prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		    "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
		    "\t\tCOMPREPLY=($(compgen -W '");
	for (const struct cli_command *c = p->commands; c->name; c++)
		if (c->help)
			buf_printf(b, "%s ", c->name);
	buf_puts(b, "help' -- \"$cur\"))\n\t\treturn\n\tfi\n"
		    "\tcase ${COMP_WORDS[1]} in\n");
	for (const struct cli_command *c = p->commands; c->name; c++)
		if (c->help)
			bash_command(p, c, b);
	buf_puts(b, "\tesac\n}\ncomplete -F _");
	put_identifier(b, p->name);
	buf_printf(b, " %s\n", p->name);
}

/* zsh runs the bash function through its own compatibility layer. */
static void completion_zsh(const struct cli_program *p, struct buf *b)
{
	buf_printf(b,
		   "#compdef %s\nautoload -U +X bashcompinit && "
		   "bashcompinit\n",
		   p->name);
	completion_bash(p, b);
}

/* Inside single quotes for fish. */
static void put_quoted(struct buf *b, const char *s)
{
	buf_putc(b, '\'');
	for (; *s; s++) {
		if (*s == '\'' || *s == '\\')
			buf_putc(b, '\\');
		buf_putc(b, *s);
	}
	buf_putc(b, '\'');
}

static void fish_option(const struct cli_program *p,
			const struct cli_command *c, const struct cli_option *o,
			struct buf *b)
{
	buf_printf(b,
		   "complete -c %s -n '__fish_seen_subcommand_from %s' -l %s",
		   p->name, c->name, o->name);
	if (o->letter)
		buf_printf(b, " -s %c", o->letter);
	if (o->type != CLI_BOOL)
		buf_puts(b, o->words ? " -x -a '" : " -r");
	if (o->type != CLI_BOOL && o->words) {
		put_words(b, o->words);
		buf_putc(b, '\'');
	}
	buf_puts(b, " -d ");
	put_quoted(b, o->help);
	buf_putc(b, '\n');
}

static void completion_fish(const struct cli_program *p, struct buf *b)
{
	for (const struct cli_command *c = p->commands; c->name; c++) {
		if (!c->help)
			continue;
		buf_printf(b,
			   "complete -c %s -n __fish_use_subcommand -f -a %s"
			   " -d ",
			   p->name, c->name);
		put_quoted(b, c->help);
		buf_putc(b, '\n');
		if (c->complete)
			buf_printf(b,
				   "complete -c %s -n "
				   "'__fish_seen_subcommand_from %s' -f -a "
				   "'(%s __complete %s)'\n",
				   p->name, c->name, p->name, c->complete);
		for (const struct cli_option *o = c->options; o && o->type; o++)
			fish_option(p, c, o, b);
	}
}

int cli_completion(const struct cli_program *p, const char *shell,
		   struct buf *b)
{
	if (strcmp(shell, "bash") == 0)
		completion_bash(p, b);
	else if (strcmp(shell, "zsh") == 0)
		completion_zsh(p, b);
	else if (strcmp(shell, "fish") == 0)
		completion_fish(p, b);
	else
		return -EINVAL;
	return buf_error(b);
}
