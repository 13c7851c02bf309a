// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 20 */
/* What many objects say is in memory once, and every reader sees all of it. */
#include <pthread.h>

#include "controlplane/store/internal.h"
#include "lib/buf.h"
#include "selftests/controlplane/store/text.h"
#include "selftests/harness.h"

#define SET_NAME "\"fieldsV1\":{"
#define NEXT     "},{\"manager\":"
#define THREADS  4

static struct store *open_store(void)
{
	struct store_opts opts = { .dir = "db", .history_bytes = 1 << 16 };
	struct store *s = NULL;
	struct err e = { 0 };

	if (store_open(&opts, &s, &e) < 0)
		printf("# open: %s\n", e.msg);
	return s;
}

/* The new version, which is the caller's. */
static struct object_bytes *put(struct store *s, const char *key,
				const char *text, size_t len, uint32_t rv_off)
{
	struct store_op op = {
		.key = key, .data = text, .len = len, .rv_off = rv_off
	};
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };

	return store_commit(s, &txn, NULL) == 0 ? op.ret : NULL;
}

static struct object_bytes *del(struct store *s, const char *key)
{
	struct store_op op = { .key = key, .remove = true };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };

	return store_commit(s, &txn, NULL) == 0 ? op.ret : NULL;
}

/* A pod's text, with sets of fields of two managers. */
static void put_pod(struct buf *b, const char *name, const char *ip)
{
	buf_printf(b, "{\"metadata\":{\"name\":\"%s\",\"managedFields\":[",
		   name);
	buf_puts(b, "{\"manager\":\"one\",\"time\":\"2026-01-01T00:00:00Z\","
		    "\"fieldsType\":\"FieldsV1\"," SET_NAME "\"f:spec\":{");
	for (int i = 0; i < 20; i++)
		buf_printf(b, "%s\"f:field%02d\":{}", i ? "," : "", i);
	buf_puts(b,
		 "}}},{\"manager\":\"agent\",\"time\":\"2026-01-02T00:00:00Z"
		 "\",\"fieldsType\":\"FieldsV1\"," SET_NAME "\"f:status\":{");
	for (int i = 0; i < 20; i++)
		buf_printf(b, "%s\"f:state%02d\":{}", i ? "," : "", i);
	buf_printf(b, ",\"f:podIPs\":{\".\":{},\"k:{\\\"ip\\\":\\\"%s\\\"}\":{",
		   ip);
	for (int i = 0; i < 20; i++)
		buf_printf(b, "%s\"f:of%02d\":{}", i ? "," : "", i);
	buf_puts(b,
		 "}}}},\"subresource\":\"status\"}],\"resourceVersion\":\"\"}"
		 ",\"spec\":{}}");
}

static bool says(const struct object_bytes *o, const char *text, size_t len,
		 uint32_t rv_off)
{
	auto_buf struct buf want = BUF_INIT, pieces = BUF_INIT;
	struct object_piece v[OBJECT_PIECES_MAX];
	size_t nr = object_pieces(o, v), at, n;
	bool good;
	char *part;

	if (rv_off == STORE_NO_RV) {
		buf_add(&want, text, len);
	} else {
		buf_add(&want, text, rv_off);
		buf_printf(&want, "%llu", (unsigned long long)o->revision);
		buf_add(&want, text + rv_off, len - rv_off);
	}
	for (size_t i = 0; i < nr; i++) {
		if (!v[i].len)
			return false;
		buf_add(&pieces, v[i].data, v[i].len);
	}
	good = o->len == want.len && pieces.len == want.len &&
	       memcmp(buf_str(&pieces), buf_str(&want), want.len) == 0 &&
	       memcmp(text_of(o), buf_str(&want), want.len + 1) == 0;
	/* Any part of it. */
	part = malloc(want.len + 1);
	for (int i = 0; i < 20 && good && want.len; i++) {
		at = (size_t)rand() % want.len;
		n = (size_t)rand() % (want.len - at + 1);
		object_copy(o, at, part, n);
		good = memcmp(part, want.data + at, n) == 0;
		part[n] = '\0';
		good = good &&
		       (!n || memchr(part, 0, n) || object_has(o, part));
	}
	free(part);
	if (good && o->rv_len) {
		char digits[32] = "", rv[32];

		object_copy(o, o->rv_off, digits, o->rv_len);
		snprintf(rv, sizeof(rv), "%llu",
			 (unsigned long long)o->revision);
		good = strcmp(digits, rv) == 0;
	}
	return good;
}

TEST(sets_of_fields_are_found_and_addresses_are_not_in_them)
{
	struct share_span v[OBJECT_SHARES_MAX];
	auto_buf struct buf b = BUF_INIT;
	size_t n;

	put_pod(&b, "a", "10.1.2.3");
	n = share_spans(b.data, b.len, STORE_NO_RV, 0, v);
	ASSERT_EQ(n, 3);
	EXPECT_EQ(strncmp(b.data + v[0].at, "\"f:spec\":{", 10), 0);
	EXPECT_EQ(strncmp(b.data + v[0].at + v[0].len, ",{\"manager\"", 11), 0);
	EXPECT_EQ(strncmp(b.data + v[1].at, "\"f:status\":{", 12), 0);
	EXPECT_EQ(strncmp(b.data + v[1].at + v[1].len, "10.1.2.3", 8), 0);
	EXPECT_EQ(strncmp(b.data + v[2].at, "\\\"}\":{", 6), 0);
	EXPECT_EQ(strncmp(b.data + v[2].at + v[2].len, "}],\"res", 7), 0);
	for (size_t i = 0; i < n; i++) {
		size_t at = v[i].at, end = at + v[i].len;
		struct share_span w[OBJECT_SHARES_MAX];

		/* At its edges something may be inserted, not within. */
		EXPECT_EQ(share_spans(b.data, b.len, at, 0, w), 3);
		EXPECT_EQ(share_spans(b.data, b.len, end, 0, w), 3);
		EXPECT_EQ(share_spans(b.data, b.len, at + 1, 0, w), 2);
		EXPECT_EQ(share_spans(b.data, b.len, end - 1, 0, w), 2);
		EXPECT_EQ(share_spans(b.data, b.len, at - 2, 2, w), 3);
		EXPECT_EQ(share_spans(b.data, b.len, at - 2, 3, w), 2);
	}
	EXPECT_EQ(share_spans("", 0, 0, 0, v), 0);
	EXPECT_EQ(share_spans(SET_NAME "}]", strlen(SET_NAME "}]"), 0, 0, v),
		  0);
}

TEST(what_is_said_twice_is_there_once_and_goes_with_the_last)
{
	auto_ptr(store) s = open_store();
	struct object_bytes *o[4];
	struct buf b[4] = { 0 };
	char key[4][32];
	uint32_t rv_off;

	ASSERT_EQ(s != NULL, 1);
	for (int i = 0; i < 4; i++) {
		char name[16], ip[16];

		snprintf(name, sizeof(name), "pod-%d", i);
		snprintf(ip, sizeof(ip), "10.0.0.%d", i);
		snprintf(key[i], sizeof(key[i]), "core/pods/t/n/%d", i);
		put_pod(&b[i], name, ip);
		rv_off = (uint32_t)(strstr(b[i].data, "Version\":\"") + 10 -
				    b[i].data);
		o[i] = put(s, key[i], b[i].data, b[i].len, rv_off);
		ASSERT_EQ(o[i] != NULL, 1);
		EXPECT_EQ(o[i]->nr_shares, i ? 3 : 0);
		EXPECT_EQ(says(o[i], b[i].data, b[i].len, rv_off), 1);
		EXPECT_EQ(share_count(s->shares), i ? 3 : 0);
		object_unref(o[i]);
	}
	/* A deleted object says the same at another revision. */
	for (int i = 0; i < 4; i++) {
		o[i] = del(s, key[i]);
		ASSERT_EQ(o[i] != NULL, 1);
		EXPECT_EQ(o[i]->nr_shares, i ? 3 : 0);
		EXPECT_EQ(says(o[i], b[i].data, b[i].len, rv_off), 1);
		object_unref(o[i]);
		buf_clear(&b[i]);
	}
	EXPECT_EQ(share_count(s->shares), 3);
	EXPECT_EQ(store_compact(s, store_revision(s), NULL), 0);
	EXPECT_EQ(share_count(s->shares), 0);
}

TEST(a_restart_shares_again)
{
	struct store *s = open_store();
	struct object_bytes *o;
	char key[32], name[16];
	auto_buf struct buf b = BUF_INIT;

	ASSERT_EQ(s != NULL, 1);
	for (int i = 0; i < 50; i++) {
		snprintf(key, sizeof(key), "core/pods/t/n/%02d", i);
		snprintf(name, sizeof(name), "pod-%d", i);
		buf_reset(&b);
		put_pod(&b, name, name);
		o = put(s, key, b.data, b.len, (uint32_t)b.len - 13);
		object_unref(o);
	}
	store_close(s);
	s = open_store();
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(share_count(s->shares), 3);
	o = store_get(s, key);
	ASSERT_EQ(o != NULL, 1);
	EXPECT_EQ(o->nr_shares, 3);
	EXPECT_EQ(says(o, b.data, b.len, (uint32_t)b.len - 13), 1);
	/* It is good for longer than its store. */
	store_close(s);
	EXPECT_EQ(says(o, b.data, b.len, (uint32_t)b.len - 13), 1);
	object_unref(o);
}

/* Bits and pieces of what sets of fields are found by. */
static void put_odd(struct buf *b, bool *ret_has_nul)
{
	static const char *const parts[] = {
		SET_NAME,
		SET_NAME,
		NEXT,
		"}]",
		"}],\"",
		",{\"manager\":",
		"\"k:{\\\"ip\\\":\\\"",
		"\\\"}\":{",
		"{",
		"}",
		"\"",
		"\\",
	};
	int nr = rand() % 24;

	*ret_has_nul = rand() % 50 == 0;
	for (int i = 0; i < nr; i++) {
		int kind = rand() % 20;

		if (kind < (int)ARRAY_SIZE(parts)) {
			buf_puts(b, parts[kind]);
		} else {
			/* Few kinds, so that they come again. */
			int n = rand() % 3 * 150, c = 'a' + rand() % 2;

			if (n && rand() % 2)
				buf_puts(b, SET_NAME);

			for (int k = 0; k < n; k++)
				buf_putc(b, (char)c);
			if (n && rand() % 2)
				buf_puts(b, rand() % 2 ? NEXT : "}]");
		}
	}
	if (*ret_has_nul)
		buf_add(b, "\0", 1);
}

TEST(every_text_reads_back_whatever_it_looks_like)
{
	enum { ROUNDS = 1500, KEYS = 100 };
	struct buf texts[KEYS] = { 0 };
	uint32_t rv_offs[KEYS];
	bool there[KEYS] = { false }, has_nul;
	struct store *s = open_store();
	size_t shared = 0;
	char key[32];

	srand(7);
	ASSERT_EQ(s != NULL, 1);
	for (int i = 0; i < ROUNDS; i++) {
		int k = rand() % KEYS;
		struct object_bytes *o;

		snprintf(key, sizeof(key), "p/t/n/%02d", k);
		if (there[k] && rand() % 4 == 0) {
			o = del(s, key);
		} else {
			struct share_span v[OBJECT_SHARES_MAX];
			size_t n;

			buf_reset(&texts[k]);
			put_odd(&texts[k], &has_nul);
			n = share_spans(buf_str(&texts[k]), texts[k].len,
					STORE_NO_RV, 0, v);
			rv_offs[k] = STORE_NO_RV;
			if (n && rand() % 2) {
				struct share_span at = v[rand() % (int)n];

				rv_offs[k] = at.at + (rand() % 2 ? at.len : 0);
			} else if (rand() % 2) {
				rv_offs[k] = (uint32_t)rand() %
					     (uint32_t)(texts[k].len + 1);
			}
			o = put(s, key, buf_str(&texts[k]), texts[k].len,
				rv_offs[k]);
		}
		ASSERT_EQ(o != NULL, 1);
		there[k] = !o->deleted;
		shared += o->nr_shares;
		if (!says(o, buf_str(&texts[k]), texts[k].len, rv_offs[k])) {
			printf("# round %d: %s\n", i, buf_str(&texts[k]));
			EXPECT_EQ(i, -1);
		}
		object_unref(o);
		if (i % 500 == 499) {
			store_close(s);
			s = open_store();
			ASSERT_EQ(s != NULL, 1);
		}
	}
	EXPECT_GE(shared, 500);
	for (int k = 0; k < KEYS; k++) {
		struct object_bytes *o;

		snprintf(key, sizeof(key), "p/t/n/%02d", k);
		o = store_get(s, key);
		EXPECT_EQ(o != NULL, there[k]);
		if (o)
			EXPECT_EQ(says(o, buf_str(&texts[k]), texts[k].len,
				       rv_offs[k]),
				  1);
		object_unref(o);
		buf_clear(&texts[k]);
	}
	store_close(s);
}

TEST(what_only_one_says_takes_no_place)
{
	enum { NR = 20000 };
	struct share_table *t = share_table_new();
	struct share **v = calloc(NR, sizeof(*v));
	size_t found = 0;
	char text[SHARE_MIN + 1];

	ASSERT_EQ(t && v, 1);
	for (int i = 0; i < NR; i++) {
		snprintf(text, sizeof(text), "%0*d", SHARE_MIN, i);
		EXPECT_EQ(share_find(t, text, SHARE_MIN) == NULL, 1);
	}
	EXPECT_EQ(share_count(t), 0);
	for (int i = 0; i < NR; i++) {
		snprintf(text, sizeof(text), "%0*d", SHARE_MIN, i);
		v[i] = share_find(t, text, SHARE_MIN);
		v[i] = v[i] ? v[i] : share_find(t, text, SHARE_MIN);
		found += v[i] != NULL;
	}
	/* Long chains are not made. */
	EXPECT_GE(found, NR - 100);
	EXPECT_EQ(share_count(t), found);
	for (int i = 0; i < NR; i++)
		if (v[i])
			share_unref(v[i]);
	EXPECT_EQ(share_count(t), 0);
	free(v);
	share_table_unref(t);
}

struct worker {
	struct share_table *t;
	unsigned int seed;
	int bad;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct share *have[8] = { NULL };
	char text[SHARE_MIN + 1];

	for (int i = 0; i < 20000; i++) {
		int k = rand_r(&w->seed) % 8;

		if (have[k]) {
			snprintf(text, sizeof(text), "%0*d", SHARE_MIN, k);
			w->bad += memcmp(have[k]->text, text, SHARE_MIN) != 0;
			share_unref(have[k]);
			have[k] = NULL;
		} else {
			snprintf(text, sizeof(text), "%0*d", SHARE_MIN, k);
			have[k] = share_find(w->t, text, SHARE_MIN);
		}
	}
	for (int k = 0; k < 8; k++)
		if (have[k])
			share_unref(have[k]);
	return NULL;
}

TEST(threads_take_and_give_up_the_same)
{
	struct share_table *t = share_table_new();
	struct worker w[THREADS];
	pthread_t threads[THREADS];

	ASSERT_EQ(t != NULL, 1);
	for (unsigned int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ t, i + 1, 0 };
		ASSERT_EQ(pthread_create(&threads[i], NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(w[i].bad, 0);
	}
	EXPECT_EQ(share_count(t), 0);
	share_table_unref(t);
}

TEST_MAIN()
