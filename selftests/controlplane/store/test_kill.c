// SPDX-License-Identifier: Apache-2.0
/*
 * kill -9 in the middle of concurrent writes, again and again. What was
 * acknowledged before the kill (over a pipe) must be there afterwards, at its
 * revision or overwritten by a newer one; revisions only grow; and the history
 * replayed by a watch has neither a gap nor a repetition.
 * LANE: both
 * SECONDS: 120
 */
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <time.h>

#include "controlplane/store/store.h"
#include "selftests/controlplane/store/text.h"
#include "selftests/harness.h"

#define ROUNDS  25
#define WRITERS 4
#define KEYS    16

struct ack {
	uint32_t writer, key;
	uint64_t seq;
	uint64_t revision;
	uint64_t deleted;
};

struct writer {
	struct store *s;
	uint32_t id;
	uint64_t seq;
	int fd;
};

/* Each writer owns its keys; every third change deletes. */
static void *writer_run(void *arg)
{
	struct writer *w = arg;

	for (;; w->seq++) {
		uint32_t k = w->seq % KEYS;
		char key[64], value[512];
		struct store_op op = { .key = key, .rv_off = STORE_NO_RV };
		struct store_txn txn = { .ops = &op, .nr_ops = 1 };
		struct ack ack = { .writer = w->id, .key = k, .seq = w->seq };
		int r;

		snprintf(key, sizeof(key), "core/pods/t%u/ns/%u", w->id, k);
		snprintf(value, sizeof(value), "%llu %0*d",
			 (unsigned long long)w->seq, (int)(w->seq % 300), 0);
		op.data = value;
		op.len = strlen(value);
		if (w->seq % 3 == 2)
			op.remove = true;
		r = store_commit(w->s, &txn, NULL);
		object_unref(op.ret);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			exit(3);
		ack.revision = txn.revision;
		ack.deleted = op.remove;
		if (write(w->fd, &ack, sizeof(ack)) != sizeof(ack))
			exit(4);
	}
	return NULL;
}

static void child(int fd, uint64_t seq)
{
	struct store_opts opts = { .dir = "db", .history_bytes = 1 << 20 };
	struct store *s = NULL;
	struct writer w[WRITERS];
	pthread_t t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (store_open(&opts, &s, NULL))
		_exit(2);
	for (uint32_t i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ s, i, seq, fd };
		pthread_create(&t, NULL, writer_run, &w[i]);
	}
	for (;;)
		pause();
}

struct model {
	struct ack last[WRITERS][KEYS];
	uint64_t newest;
	uint64_t seq;
	size_t acks;
};

static void read_acks(struct model *m, int fd)
{
	struct ack a;

	while (read(fd, &a, sizeof(a)) == sizeof(a)) {
		if (m->last[a.writer][a.key].revision < a.revision)
			m->last[a.writer][a.key] = a;
		if (a.revision > m->newest)
			m->newest = a.revision;
		if (a.seq >= m->seq)
			m->seq = a.seq + 1;
		m->acks++;
	}
}

static int check_key(struct store *s, const struct ack *a)
{
	unsigned long long seq = 0;
	struct object_bytes *o;
	char key[64];
	int bad = 0;

	snprintf(key, sizeof(key), "core/pods/t%u/ns/%u", a->writer, a->key);
	o = store_get(s, key);
	/* One change may have been durable and not yet acknowledged. */
	if (o && sscanf(text_of(o), "%llu", &seq) == 1)
		bad = o->revision < a->revision || seq < a->seq;
	else if (!a->deleted)
		bad = store_revision(s) <= a->revision;
	if (bad)
		printf("# lost: %s seq %llu revision %llu\n", key,
		       (unsigned long long)a->seq,
		       (unsigned long long)a->revision);
	object_unref(o);
	return bad;
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Revisions are given out one by one, so a history without a gap counts up. */
static int check_history(struct store *s)
{
	uint64_t at = store_compacted(s), newest = store_revision(s);
	struct store_watch *w = NULL;
	struct store_event ev[64];
	int n, bad = 0;

	if (!at)
		at = 1;
	if (store_watch_open(s, "core/pods/", at, nothing, NULL, &w, NULL))
		return 1;
	while ((n = store_watch_read(w, ev, 64)) > 0)
		for (int i = 0; i < n; i++) {
			bad += ev[i].obj->revision != ++at;
			store_event_clear(&ev[i]);
		}
	store_watch_close(w);
	if (bad || at != newest)
		printf("# history: %d gaps, ends at %llu of %llu\n", bad,
		       (unsigned long long)at, (unsigned long long)newest);
	return bad || at != newest;
}

TEST(kill_9_loses_nothing_that_was_acknowledged)
{
	struct model *m = calloc(1, sizeof(*m));
	struct store_opts opts = { .dir = "db", .history_bytes = 1 << 20 };

	srandom(time(NULL));
	for (int round = 0; round < ROUNDS; round++) {
		struct timespec ts = { 0, 5000000 + random() % 150000000 };
		struct store *s = NULL;
		struct err e = { 0 };
		int fds[2], status;
		uint64_t before;
		pid_t pid;

		ASSERT_EQ(pipe(fds), 0);
		pid = fork();
		if (pid == 0) {
			close(fds[0]);
			child(fds[1], m->seq);
		}
		close(fds[1]);
		/* The moment of the kill is the random input of this test. */
		poll(NULL, 0, ts.tv_nsec / 1000000);
		kill(pid, SIGKILL);
		read_acks(m, fds[0]);
		close(fds[0]);
		waitpid(pid, &status, 0);
		ASSERT_EQ(WIFSIGNALED(status), 1);

		before = m->newest;
		if (store_open(&opts, &s, &e) < 0) {
			FAIL("round %d: %s", round, e.msg);
			return;
		}
		EXPECT_GE(store_revision(s), before);
		m->newest = store_revision(s);
		for (int i = 0; i < WRITERS; i++)
			for (int k = 0; k < KEYS; k++)
				if (m->last[i][k].revision)
					EXPECT_EQ(check_key(s, &m->last[i][k]),
						  0);
		EXPECT_EQ(check_history(s), 0);
		store_close(s);
	}
	printf("# %zu acknowledged changes over %d kills\n", m->acks, ROUNDS);
	EXPECT_GE(m->acks, ROUNDS);
	free(m);
}

TEST_MAIN()
