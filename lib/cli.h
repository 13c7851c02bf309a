/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines as data: one table of commands, one table of options each.
 * Parsing, --help, "did you mean" and shell completion all come from them.
 *
 *	struct logs_args { bool follow; int64_t tail; };
 *	static const struct cli_option logs_options[] = {
 *		{ "follow", 'f', CLI_BOOL, offsetof(struct logs_args, follow),
 *		  NULL, "keep on printing" },
 *		{ "tail", 0, CLI_INT, offsetof(struct logs_args, tail),
 *		  "N", "only the last N lines" },
 *		CLI_END
 *	};
 *	static const struct cli_command commands[] = {
 *		{ "logs", "POD", "print a container's log", NULL, logs_options,
 *		  cmd_logs },
 *		{ 0 }
 *	};
 *
 *	int main(int argc, char **argv)
 *	{
 *		return cli_main(&program, argc, argv);
 *	}
 *
 * Only programs use this: it prints. Exit codes: 0, 1 failed, 2 wrong usage.
 */
#ifndef LIB_CLI_H
#define LIB_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

enum cli_type {
	CLI_NONE,     /* end of the table */
	CLI_BOOL,     /* bool: --x, --x=true, --x=false, --no-x */
	CLI_STR,      /* const char *, borrowed from argv */
	CLI_INT,      /* int64_t */
	CLI_DURATION, /* uint64_t milliseconds: "30s", "1m30s", "250ms", "2h" */
	CLI_CPU,      /* uint64_t thousandths: "2", "250m" */
	CLI_MEM,      /* uint64_t bytes: "512Mi" */
	CLI_STRS,     /* struct cli_strs: may be given several times */
};

#define CLI_STRS_MAX 64

struct cli_strs {
	const char *v[CLI_STRS_MAX];
	size_t nr;
};

struct cli_option {
	const char *name; /* without "--" */
	char letter;      /* 0: none */
	enum cli_type type;
	size_t offset;          /* of its value in the command's arguments */
	const char *value_name; /* in --help; NULL for CLI_BOOL */
	const char *help;
	const char *words; /* allowed values, "wide|json|yaml"; NULL: any */
};

#define CLI_END                  \
	{                        \
		.type = CLI_NONE \
	}

struct cli_command {
	const char *name;
	const char *operands; /* "POD [-- CMD...]"; "" when it takes none */
	const char *help;     /* one line */
	const char *more;     /* further text of --help; may be NULL */
	const struct cli_option *options; /* may be NULL */
	int (*run)(const struct cli_command *c, int argc, char **argv);
	/* What completes an operand: words printed by 'PROGRAM __complete
	 * KIND'; NULL: files. */
	const char *complete;
};

struct cli_program {
	const char *name;
	const char *version;
	const char *help; /* one line */
	const struct cli_command *commands;
};

/* Find the command in argv[1] and run it; serves --help, help and --version.
 * Returns the exit code. */
int cli_main(const struct cli_program *p, int argc, char **argv);

/**
 * cli_parse() - Parse a command's own arguments.
 * @c:    The command, for its options.
 * @argc: As given to @c->run: argv[0] is the command's name.
 * @argv: Re-ordered: operands come last, as with getopt_long(3). What follows
 *        "--" is an operand, whatever it looks like.
 * @args: The struct the options' offsets are meant for, holding the defaults.
 * @e:    Filled on error: "unknown option '--tial' (did you mean '--tail'?)".
 *
 * Return: index of the first operand (argc when there is none); -EINVAL;
 * -ECANCELED when --help was asked for and has been printed: exit with 0.
 */
int cli_parse(const struct cli_command *c, int argc, char **argv, void *args,
	      struct err *e);

/* Exit code for what cli_parse() returned below 0: prints e->msg and a hint. */
int cli_usage(const struct cli_command *c, int code, const struct err *e);

/* Print "error: ..." to stderr and return 1. */
int cli_fail(const struct err *e);

/* Durations: "90", "30s", "1m30s", "250ms", "2h"; 0, -EINVAL or -ERANGE. */
int cli_parse_duration(const char *text, uint64_t *ret_ms);
/* As kubectl prints an age: "42s", "3m10s", "5h", "12d". */
void cli_format_age(uint64_t seconds, char *buf, size_t size);

/* The completion script for "bash", "zsh" or "fish". 0 or -EINVAL. */
int cli_completion(const struct cli_program *p, const char *shell,
		   struct buf *b);

void cli_print_help(const struct cli_program *p, struct buf *b);
void cli_print_command_help(const char *program, const struct cli_command *c,
			    struct buf *b);

/* --- tables, as kubectl prints them -------------------------------------- */

#define CLI_COLUMNS_MAX 24

struct cli_table {
	size_t nr_columns;
	size_t nr_rows; /* the heading included */
	size_t size;
	char **cells; /* nr_rows * nr_columns, owned */
	int error;
};

#define CLI_TABLE_INIT          \
	{                       \
		.nr_columns = 0 \
	}

/* The cells of one row, NULL-terminated; the first row is the heading and says
 * how many columns there are. NULL cells are not possible: pass "". */
int cli_row(struct cli_table *t, ...) __attribute__((sentinel));
int cli_rowv(struct cli_table *t, const char *const *cells, size_t nr);
/* Append the table: columns padded to their widest cell, three blanks apart,
 * empty cells shown as "<none>", control characters as '?'. */
int cli_table_print(const struct cli_table *t, struct buf *b);
void cli_table_clear(struct cli_table *t);

#endif /* LIB_CLI_H */
