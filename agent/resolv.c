// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/resolv.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/str.h"

#define BLANKS          " \t\r"
#define NAMESERVERS_MAX 3 /* what resolvers look at */
#define WORDS_MAX       64

/* Each word once; borrowed. */
struct words {
	const char *v[WORDS_MAX];
	size_t nr;
};

static void add(struct words *w, const char *word)
{
	for (size_t i = 0; i < w->nr; i++)
		if (str_eq(w->v[i], word))
			return;
	if (w->nr < WORDS_MAX)
		w->v[w->nr++] = word;
}

static void add_line(struct words *w, char *rest)
{
	char *word;

	while ((word = strsep(&rest, BLANKS)))
		if (*word)
			add(w, word);
}

struct resolv {
	struct words nameservers, searches, options;
};

/* Cuts @text up. Of several 'search' lines the last one counts. */
static void read_host(struct resolv *r, char *text)
{
	char *line, *key;

	while ((line = strsep(&text, "\n"))) {
		line[strcspn(line, "#;")] = '\0';
		line += strspn(line, BLANKS);
		key = strsep(&line, BLANKS);
		if (!line)
			continue;
		if (str_eq(key, "nameserver")) {
			add_line(&r->nameservers, line);
		} else if (str_eq(key, "search")) {
			r->searches.nr = 0;
			add_line(&r->searches, line);
		} else if (str_eq(key, "options")) {
			add_line(&r->options, line);
		}
	}
}

static void put_line(struct buf *out, const char *key, const struct words *w)
{
	if (!w->nr)
		return;
	buf_puts(out, key);
	for (size_t i = 0; i < w->nr; i++)
		buf_printf(out, " %s", w->v[i]);
	buf_puts(out, "\n");
}

static bool is_option(const char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, name, len) == 0 &&
	       (word[len] == ':' || !word[len]);
}

/* What the pod does not say itself stays. */
static void put_options(struct buf *out, const struct words *host,
			const struct key_values *own)
{
	struct words left = { .nr = 0 };

	for (size_t i = 0; i < host->nr; i++) {
		bool own_one = false;

		for (size_t k = 0; k < own->nr; k++)
			own_one |= is_option(host->v[i], own->v[k].key);
		if (!own_one)
			add(&left, host->v[i]);
	}
	if (!left.nr && !own->nr)
		return;
	buf_puts(out, "options");
	for (size_t i = 0; i < left.nr; i++)
		buf_printf(out, " %s", left.v[i]);
	for (size_t i = 0; i < own->nr; i++)
		buf_printf(out, *own->v[i].value ? " %s:%s" : " %s%s",
			   own->v[i].key, own->v[i].value);
	buf_puts(out, "\n");
}

int resolv_conf(const struct dns_spec *dns, const char *host, struct buf *out)
{
	auto_free char *text = strdup(dns->none ? "" : host);
	struct resolv r = { .nameservers = { .nr = 0 } };

	if (!text)
		return -ENOMEM;
	if (!dns->none && !dns->nameservers.nr && !dns->searches.nr &&
	    !dns->options.nr) {
		buf_puts(out, host);
		return buf_error(out);
	}
	read_host(&r, text);
	for (size_t i = 0; i < dns->nameservers.nr; i++)
		add(&r.nameservers, dns->nameservers.v[i]);
	for (size_t i = 0; i < dns->searches.nr; i++)
		add(&r.searches, dns->searches.v[i]);
	for (size_t i = 0; i < r.nameservers.nr && i < NAMESERVERS_MAX; i++)
		buf_printf(out, "nameserver %s\n", r.nameservers.v[i]);
	put_line(out, "search", &r.searches);
	put_options(out, &r.options, &dns->options);
	return buf_error(out);
}
