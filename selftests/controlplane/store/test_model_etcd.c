// SPDX-License-Identifier: Apache-2.0
/*
 * The model checker on etcd: two processes share one store, while processes and
 * etcd members are killed, stopped (SIGSTOP) and go on, on one member, on
 * three, and on three clusters between which the keys are divided.
 * MODEL_SECONDS=N runs each kind for N seconds (8), MODEL_SERVERS=3 with three
 * processes. LANE: native SECONDS: 200
 */
#include <poll.h>

#include "selftests/controlplane/store/etcd_server.h"
#include "selftests/controlplane/store/model_check.h"
#include "selftests/controlplane/store/model_child.h"
#include "selftests/controlplane/store/shards.h"
#include "selftests/harness.h"

#define CHILDREN_MAX 3

/* @endpoints: of one cluster, or of three with ';' in between. */
static struct store_etcd where(const char *endpoints)
{
	static char text[3][256];
	static const char *clusters[3];
	struct store_etcd o = { .endpoints = text[0], .timeout_ms = 2000 };

	if (sscanf(endpoints, "%255[^;];%255[^;];%255s", text[0], text[1],
		   text[2]) == 3) {
		clusters[0] = text[1];
		clusters[1] = text[2];
		o.clusters = clusters;
		o.place = shards_by_key;
	}
	return o;
}

static int child_main(char **a)
{
	struct store_etcd etcd = where(a[4]);
	struct model_child c = {
		.opts = { .etcd = &etcd, .history_bytes = 256 << 20 },
		.fd = (int)strtol(a[0], NULL, 10),
		.child = strtoul(a[1], NULL, 10),
		.seed = strtoull(a[2], NULL, 10),
		.watch_from = strtoull(a[3], NULL, 10),
		.threads = 3,
		.shared = true,
		.compact = true,
	};

	model_child(&c);
}

struct runner {
	pid_t pid;
	int fd;
	bool stopped;
};

struct run {
	struct etcd_servers *servers; /* of each cluster */
	int nr;
	char endpoints[800];
	struct model_history h;
	struct runner r[CHILDREN_MAX];
	int nr_runners;
	uint32_t children;
	uint64_t random, from;
	int kills, stops, member_kills, member_stops;
	int bad;
	pid_t stopped_member; /* 0: none */
};

static void spawn(struct run *t, struct runner *r)
{
	char args[4][32];
	int fds[2];

	if (pipe(fds))
		exit(1);
	snprintf(args[0], 32, "%d", fds[1]);
	snprintf(args[1], 32, "%u", t->children++);
	snprintf(args[2], 32, "%llu", LL(rnd(&t->random)));
	snprintf(args[3], 32, "%llu", LL(t->from));
	fflush(stdout);
	r->pid = fork();
	if (r->pid == 0) {
		for (int k = 3; k < 64; k++)
			if (k != fds[1])
				close(k);
		execl("/proc/self/exe", "model", "--child", args[0], args[1],
		      args[2], args[3], t->endpoints, NULL);
		_exit(9);
	}
	close(fds[1]);
	r->fd = fds[0];
	r->stopped = false;
}

static bool take(struct run *t, struct runner *r)
{
	struct model_rec rec;

	if (read(r->fd, &rec, sizeof(rec)) != sizeof(rec))
		return false;
	model_add(&t->h, &rec);
	if (rec.type == M_EVENT && rec.stream == 0 && rec.revision > t->from)
		t->from = rec.revision;
	return true;
}

static void end_child(struct run *t, struct runner *r)
{
	int status = 0;

	kill(r->pid, SIGKILL);
	while (take(t, r))
		;
	close(r->fd);
	waitpid(r->pid, &status, 0);
	/* It may also have given up since etcd was away when it began. */
	if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 2) {
		printf("# child ended with %x\n", status);
		t->bad++;
	} else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
		printf("# child died of %s\n", strsignal(WTERMSIG(status)));
		t->bad++;
	}
}

/* Take in what is reported, for @ms. */
static void listen_for(struct run *t, uint64_t ms)
{
	uint64_t until = mono_ns() + ms * 1000000;
	struct pollfd p[CHILDREN_MAX];

	while (mono_ns() < until) {
		for (int i = 0; i < t->nr_runners; i++)
			p[i] = (struct pollfd){ t->r[i].fd, POLLIN, 0 };
		if (poll(p, (nfds_t)t->nr_runners, 10) <= 0)
			continue;
		for (int i = 0; i < t->nr_runners; i++) {
			if (!p[i].revents || take(t, &t->r[i]))
				continue;
			end_child(t, &t->r[i]);
			spawn(t, &t->r[i]);
		}
	}
}

static void disturb(struct run *t)
{
	uint64_t x = rnd(&t->random);
	/* One of them is left alone more than the others, and so collects. */
	struct runner *r =
		&t->r[x / 16 % 4 ? 1 + x / 4096 % (uint64_t)(t->nr_runners - 1)
				 : 0];
	struct etcd_servers *servers = &t->servers[x / 256 % (uint64_t)t->nr];
	int m = (int)(x / 64 % (uint64_t)servers->nr);

	if (t->stopped_member) {
		kill(t->stopped_member, SIGCONT);
		t->stopped_member = 0;
	}
	if (r->stopped) {
		kill(r->pid, SIGCONT);
		r->stopped = false;
		return;
	}
	switch (x % 5) {
	case 0:
		end_child(t, r);
		spawn(t, r);
		t->kills++;
		break;
	case 1:
		kill(r->pid, SIGSTOP);
		r->stopped = true;
		t->stops++;
		break;
	case 2:
		etcd_kill_member(servers, m);
		etcd_start_member(servers, m);
		t->member_kills++;
		break;
	case 3:
		t->stopped_member = servers->pid[m];
		kill(t->stopped_member, SIGSTOP);
		t->member_stops++;
		break;
	default:
		break;
	}
}

/* What is there, as a read of its own. */
static void list_at_the_end(struct run *t, struct store *s)
{
	struct model_rec r = { .type = M_INVOKE,
			       .kind = M_LIST,
			       .child = t->children,
			       .id = (uint64_t)t->children << 40 | 1,
			       .key = MODEL_TENANTS };
	struct store_range range = { .prefix = "core/pods/", .whole = true };
	struct store_list l = { 0 };

	r.ns = mono_ns();
	model_add(&t->h, &r);
	r.result = store_list(s, &range, &l, NULL);
	r.revision = l.revision;
	for (size_t i = 0; i < l.nr; i++)
		r.seen[key_index(l.v[i]->key)] = l.v[i]->revision;
	store_list_clear(&l);
	r.type = M_DONE;
	r.ns = mono_ns();
	model_add(&t->h, &r);
}

static bool look_at_the_end(struct run *t)
{
	struct store_etcd etcd = where(t->endpoints);
	struct store_opts opts = { .etcd = &etcd, .history_bytes = 256 << 20 };
	struct model_rec r = { .type = M_WATCH, .child = t->children };
	struct store_watch *w = NULL;
	struct store_event ev[64];
	struct watcher dummy = { 0 };
	struct store *s = NULL;
	struct err e = { 0 };
	int n, tries = 0;

	while (store_open(&opts, &s, &e) && tries++ < 10)
		;
	while (s && store_whole(s, "core/pods/", &e) && tries++ < 400)
		poll(NULL, 0, 50);
	if (!s) {
		printf("# cannot open: %s\n", e.msg);
		return false;
	}
	r.key = MODEL_TENANTS;
	r.revision = t->from;
	r.ns = mono_ns();
	r.result = store_watch_open(s, "core/pods/", t->from, on_event, &dummy,
				    &w, &e);
	model_add(&t->h, &r);
	while (w && (n = store_watch_read(w, ev, 64)) > 0)
		for (int i = 0; i < n; i++) {
			r.type = M_EVENT;
			r.revision = ev[i].obj->revision;
			r.value = value_of(ev[i].obj);
			r.key = key_index(ev[i].obj->key);
			r.deleted = ev[i].obj->deleted;
			r.id = ev[i].prev ? ev[i].prev->revision : 0;
			r.ns = mono_ns();
			model_add(&t->h, &r);
			store_event_clear(&ev[i]);
		}
	list_at_the_end(t, s);
	if (!w)
		printf("# cannot watch from %llu: %s\n", LL(t->from), e.msg);
	store_watch_close(w);
	store_close(s);
	return r.result == 0;
}

static bool start_all(struct run *t, int members)
{
	char dir[16];

	for (int i = 0; i < t->nr; i++) {
		snprintf(dir, sizeof(dir), "etcd%d", i);
		if (!etcd_start(&t->servers[i], dir, members, NULL))
			return false;
		snprintf(t->endpoints + strlen(t->endpoints),
			 sizeof(t->endpoints) - strlen(t->endpoints), "%s%s",
			 i ? ";" : "", t->servers[i].endpoints);
	}
	return true;
}

static void stop_all(struct run *t)
{
	for (int i = 0; i < t->nr; i++)
		etcd_stop(&t->servers[i]);
}

static bool explore(int clusters, int members)
{
	const char *text = getenv("MODEL_SECONDS"),
		   *seed = getenv("MODEL_SEED"),
		   *three = getenv("MODEL_SERVERS");
	uint64_t seconds = text ? strtoull(text, NULL, 10) : 8;
	uint64_t begin = seed ? strtoull(seed, NULL, 10) : mono_ns();
	struct etcd_servers servers[3] = { 0 };
	struct run t = { .random = begin | 1,
			 .from = 1,
			 .nr_runners = three && *three == '3' ? 3 : 2,
			 .servers = servers,
			 .nr = clusters };
	struct model_verdict v;
	uint64_t end;
	bool ok;

	test_alarm((unsigned int)seconds * 2 + 120);
	if (!start_all(&t, members)) {
		stop_all(&t);
		printf("# etcd does not start\n");
		return false;
	}
	for (int i = 0; i < t.nr_runners; i++)
		spawn(&t, &t.r[i]);
	/* On a busy machine its first election alone may take that long. */
	end = mono_ns() + 60000000000;
	while (mono_ns() < end && t.from < 50)
		listen_for(&t, 50);
	end = mono_ns() + seconds * 1000000000;
	while (mono_ns() < end && t.h.nr < 3000000) {
		listen_for(&t, 100 + rnd(&t.random) % 600);
		disturb(&t);
	}
	for (int i = 0; i < t.nr_runners; i++)
		end_child(&t, &t.r[i]);
	if (t.stopped_member)
		kill(t.stopped_member, SIGCONT);
	ok = look_at_the_end(&t);
	stop_all(&t);
	v = model_check(&t.h);
	printf("# %d processes, %d cluster(s) of %d member(s): seed %llu, %d kills and %d stops of processes, "
	       "%d and %d of members, %zu operations (%zu writes, %zu refused, "
	       "%zu in doubt), %zu events\n",
	       t.nr_runners, clusters, members, LL(begin), t.kills, t.stops,
	       t.member_kills, t.member_stops, v.ops, v.writes, v.refused,
	       v.unknown, v.events);
	free(t.h.v);
	/* What the servers had to say is the other half of the story. */
	if (v.failures)
		(void)!system("tail -n 200 etcd?/*.log >&2");
	return ok && !t.bad && !v.failures && v.events > 20 && v.reads > 20;
}

TEST(histories_of_two_processes_on_one_member_are_linearizable)
{
	if (!etcd_present())
		SKIP("no /usr/bin/etcd: package etcd-server");
	EXPECT_EQ(explore(1, 1), true);
}

TEST(histories_of_two_processes_on_three_members_are_linearizable)
{
	if (!etcd_present())
		SKIP("no /usr/bin/etcd: package etcd-server");
	EXPECT_EQ(explore(1, 3), true);
}

TEST(histories_of_two_processes_on_three_clusters_are_linearizable)
{
	if (!etcd_present())
		SKIP("no /usr/bin/etcd: package etcd-server");
	EXPECT_EQ(explore(3, 1), true);
}

int main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "--child") == 0)
		return child_main(argv + 2);
	return test_main();
}
