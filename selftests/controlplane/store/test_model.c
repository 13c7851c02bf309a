// SPDX-License-Identifier: Apache-2.0
/*
 * The model checker on the embedded store: random concurrent histories, cut off
 * by kill -9, by power cuts (what was written and not synced is lost or torn,
 * sector by sector), and disturbed by EIO and ENOSPC. MODEL_SECONDS=N runs each
 * kind for N seconds (5).
 * LANE: native
 * SECONDS: 120
 */
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <sys/stat.h>

#include "selftests/controlplane/store/model_check.h"
#include "selftests/controlplane/store/model_child.h"
#include "selftests/harness.h"

/* As in shims/disk.c. */
struct journal_head {
	uint64_t off;
	uint64_t len;
	uint64_t had;
};

struct plan {
	const char *name;
	bool faults, power_cut, compact;
	uint32_t threads;
};

/* The library of a sanitizer (SAN=), which wants to be the first of all. */
static int sanitizer(struct dl_phdr_info *info, size_t size, void *to)
{
	(void)size;
	if (!strstr(info->dlpi_name, "/libasan.so") &&
	    !strstr(info->dlpi_name, "/libtsan.so"))
		return 0;
	snprintf(to, 256, "%.254s ", info->dlpi_name);
	return 1;
}

static const char *preload(void)
{
	static char both[4096 + 256];
	char first[256] = "", path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

	if (n < 0)
		return NULL;
	path[n] = '\0';
	*strstr(path, "/selftests/") = '\0';
	dl_iterate_phdr(sanitizer, first);
	snprintf(both, sizeof(both), "%s%s/selftests/shims/disk.so", first,
		 path);
	return both;
}

static uint64_t seed_of_run(void)
{
	const char *text = getenv("MODEL_SEED");

	return text ? strtoull(text, NULL, 10) : mono_ns();
}

/* Undo a random part of what had not been synced, newest first. */
static int cut_power(uint64_t *random)
{
	int j = open("journal", O_RDWR), fd = open("db/data.mdb", O_RDWR);
	off_t at = 0, starts[4096];
	struct journal_head h;
	int nr = 0, undone = 0;

	while (j >= 0 && nr < 4096 &&
	       pread(j, &h, sizeof(h), at) == sizeof(h)) {
		if (!h.len)
			break; /* killed before it was written */
		starts[nr++] = at;
		at += sizeof(h) + h.len;
	}
	while (nr--) {
		char sector[512];

		if (pread(j, &h, sizeof(h), starts[nr]) != sizeof(h))
			break;
		for (uint64_t i = 0; i < h.len; i += sizeof(sector)) {
			size_t n = h.len - i < 512 ? h.len - i : 512;

			if (rnd(random) % 2)
				continue;
			memset(sector, 0, sizeof(sector));
			if (pread(j, sector, n, starts[nr] + sizeof(h) + i) <
				    0 ||
			    pwrite(fd, sector, n, h.off + i) < 0)
				undone = -1000000;
			undone++;
		}
	}
	if (j >= 0 && ftruncate(j, 0))
		undone = -1;
	close(j);
	close(fd);
	return undone;
}

static void run_child(const struct plan *p, int fd, uint32_t child,
		      uint64_t seed, uint64_t from)
{
	char args[6][32];

	snprintf(args[0], 32, "%d", fd);
	snprintf(args[1], 32, "%u", child);
	snprintf(args[2], 32, "%llu", LL(seed));
	snprintf(args[3], 32, "%llu", LL(from));
	snprintf(args[4], 32, "%u", p->threads);
	snprintf(args[5], 32, "%d", p->faults * 2 + p->compact);
	setenv("LD_PRELOAD", preload(), 1);
	if (p->power_cut)
		setenv("SHIM_DISK_JOURNAL", "journal", 1);
	execl("/proc/self/exe", "model", "--child", args[0], args[1], args[2],
	      args[3], args[4], args[5], NULL);
	_exit(9);
}

static int child_main(char **a)
{
	struct model_child c = {
		.opts = { .dir = "db", .history_bytes = 256 << 20 },
		.fd = strtol(a[0], NULL, 10),
		.child = strtoul(a[1], NULL, 10),
		.seed = strtoull(a[2], NULL, 10),
		.watch_from = strtoull(a[3], NULL, 10),
		.threads = strtoul(a[4], NULL, 10),
	};
	long flags = strtol(a[5], NULL, 10);

	c.faults = flags & 2;
	c.compact = flags & 1;
	model_child(&c);
}

/* Takes in what a child reports for @ms, kills it, and reads the rest. */
static void follow(struct model_history *h, int fd, pid_t pid, uint64_t ms,
		   uint64_t *newest_event)
{
	uint64_t until = mono_ns() + ms * 1000000;
	struct pollfd p = { fd, POLLIN, 0 };
	bool killed = false;
	struct model_rec r;

	for (;;) {
		uint64_t now = mono_ns();

		if (!killed && now >= until) {
			kill(pid, SIGKILL);
			killed = true;
		}
		if (poll(&p, 1,
			 killed ? -1 : (int)((until - now) / 1000000) + 1) <= 0)
			continue;
		if (read(fd, &r, sizeof(r)) != sizeof(r))
			break;
		model_add(h, &r);
		if (r.type == M_EVENT && r.stream == 0 &&
		    r.revision > *newest_event)
			*newest_event = r.revision;
	}
}

static bool open_after(struct model_history *h, uint32_t child, uint64_t from)
{
	struct store_opts opts = { .dir = "db", .history_bytes = 256 << 20 };
	struct model_rec r = { .type = M_OPEN, .child = child };
	struct store_watch *w = NULL;
	struct store_event ev[64];
	struct store *s = NULL;
	struct err e = { 0 };
	int n;

	if (store_open(&opts, &s, &e)) {
		printf("# cannot open: %s\n", e.msg);
		return false;
	}
	r.revision = store_revision(s);
	r.ns = mono_ns();
	model_add(h, &r);
	r.type = M_WATCH;
	r.key = MODEL_TENANTS;
	r.revision = from;
	r.result = store_watch_open(s, "core/pods/", r.revision, on_event,
				    &(struct watcher){ .c = NULL }, &w, &e);
	model_add(h, &r);
	while (w && (n = store_watch_read(w, ev, 64)) > 0)
		for (int i = 0; i < n; i++) {
			r = (struct model_rec){ .type = M_EVENT,
						.child = child };
			r.revision = ev[i].obj->revision;
			r.value = value_of(ev[i].obj);
			r.key = key_index(ev[i].obj->key);
			r.deleted = ev[i].obj->deleted;
			r.id = ev[i].prev ? ev[i].prev->revision : 0;
			r.ns = mono_ns();
			model_add(h, &r);
			store_event_clear(&ev[i]);
		}
	store_watch_close(w);
	store_close(s);
	if (!w)
		printf("# cannot watch from %llu: %s\n", LL(from), e.msg);
	return w != NULL;
}

static bool explore(const struct plan *p)
{
	const char *text = getenv("MODEL_SECONDS");
	uint64_t end = mono_ns() +
		       (text ? strtoull(text, NULL, 10) : 5) * 1000000000ull;
	uint64_t seed = seed_of_run(), random = seed | 1, from = 1;
	struct model_history h = { 0 };
	struct model_verdict v;
	uint32_t child = 0;
	int undone = 0;
	bool ok = true;

	test_alarm((unsigned int)((end - mono_ns()) / 1000000000 * 2 + 60));
	for (; ok && mono_ns() < end && h.nr < 3000000; child++) {
		int fds[2], status;
		pid_t pid;

		if (pipe(fds))
			return false;
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			close(fds[0]);
			run_child(p, fds[1], child, rnd(&random), from);
		}
		close(fds[1]);
		follow(&h, fds[0], pid, 50 + rnd(&random) % 400, &from);
		close(fds[0]);
		waitpid(pid, &status, 0);
		ok = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		if (!ok)
			printf("# child %u ended with %x\n", child, status);
		if (p->power_cut)
			undone += cut_power(&random);
	}
	ok = ok && open_after(&h, child, from);
	v = model_check(&h);
	printf("# %s: seed %llu, %u kills, %zu operations (%zu writes, %zu in "
	       "doubt), %zu events, %d sectors undone\n",
	       p->name, LL(seed), child, v.ops, v.writes, v.unknown, v.events,
	       undone);
	free(h.v);
	return ok && !v.failures && v.events > 20 && v.reads > 20;
}

TEST(histories_with_kill_9_are_linearizable)
{
	EXPECT_EQ(explore(&(struct plan){ "kill -9", .threads = 4,
					  .compact = true }),
		  true);
}

TEST(histories_with_power_cuts_are_linearizable)
{
	EXPECT_EQ(explore(&(struct plan){ "power cut", .power_cut = true,
					  .threads = 6, .compact = true }),
		  true);
}

TEST(histories_with_eio_and_enospc_are_linearizable)
{
	EXPECT_EQ(explore(&(struct plan){ "faults", .faults = true,
					  .threads = 4, .compact = true }),
		  true);
}

TEST(histories_with_faults_and_power_cuts_are_linearizable)
{
	EXPECT_EQ(explore(&(struct plan){ "faults and power cuts",
					  .faults = true, .power_cut = true,
					  .threads = 8, .compact = true }),
		  true);
}

int main(int argc, char **argv)
{
	if (argc == 8 && strcmp(argv[1], "--child") == 0)
		return child_main(argv + 2);
	return test_main();
}
