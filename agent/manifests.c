// SPDX-License-Identifier: Apache-2.0
/*
 * Static pods: every *.yaml, *.yml and *.json in the manifests folder is a pod
 * that should be here. A changed file changes its pod, a removed one removes
 * it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent/internal.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lib/yaml.h"

#define SETTLE_MS 100  /* editors write a file in several steps */
#define RETRY_MS  5000 /* a pod that is still going, or a bad file */

struct entry {
	char *keys; /* of the pods it made, one a line */
	bool seen;
};

struct manifests {
	struct agent *agent;
	char *dir, *memory;
	int fd;
	struct ev_io io;
	struct ev_timer timer;
	struct map files; /* name -> struct entry */
	bool scanning;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool dirty, stop;
};

static bool is_manifest(const char *name)
{
	return name[0] != '.' &&
	       (str_ends(name, ".yaml") || str_ends(name, ".yml") ||
		str_ends(name, ".json"));
}

static void entry_free(void *p)
{
	struct entry *en = p;

	free(en->keys);
	free(en);
}

static void remove_pods(struct manifests *m, const char *keys, const char *but)
{
	auto_free char *copy = strdup(keys ? keys : "");
	char *rest = copy, *key;

	while (copy && (key = strsep(&rest, "\n"))) {
		struct pod *pod;

		if (!key[0] || (but && strstr(but, key)))
			continue;
		pod = pods_find(m->agent, key);
		if (!pod)
			continue;
		log_info("pod %s: its manifest is gone from '%s'", key, m->dir);
		pod_note_remove(pod, pod->grace_s);
		pod_unref(pod);
	}
}

/* One line of the log each. */
static void log_faults(const struct manifests *m, const char *name,
		       const char *lines)
{
	size_t n;

	for (; *lines; lines += n + (lines[n] != '\0')) {
		n = strcspn(lines, "\n");
		log_error("manifest '%s/%s': %.*s", m->dir, name, (int)n,
			  lines);
	}
}

/* One document; returns false when it should be tried again. */
static bool apply_doc(struct manifests *m, const char *name, const char *json,
		      size_t len, struct buf *keys)
{
	auto_buf struct buf told = BUF_INIT;
	const char *what = "";
	char *key = NULL;
	struct err e = { 0 };
	int r;

	r = network_manifest(m->agent, json, len, &e);
	if (r == -ENOENT) {
		e = (struct err){ 0 };
		r = agent_apply_manifest(m->agent, json, len, &what, &key,
					 &told, &e);
	}
	if (r < 0) {
		log_faults(m, name, told.len ? buf_str(&told) : e.msg);
		return r != -EBUSY && r != -EAGAIN;
	}
	if (key) {
		if (!str_eq(what, "unchanged"))
			log_info("pod %s: %s by manifest '%s'", key, what,
				 name);
		buf_printf(keys, "%s\n", key);
	}
	free(key);
	return true;
}

static bool apply_file(struct manifests *m, const char *name, struct buf *keys)
{
	auto_buf struct buf text = BUF_INIT;
	auto_free char *path = str_printf("%s/%s", m->dir, name);
	struct yaml_docs docs = { 0 };
	struct err e = { 0 };
	bool ok = true;
	int r;

	r = path ? fs_read(AT_FDCWD, path, SPEC_MANIFEST_MAX, &text, &e)
		 : -ENOMEM;
	if (r == 0)
		r = yaml_to_json(buf_str(&text), text.len, &docs, &e);
	if (r < 0) {
		log_error("manifest '%s/%s': %s", m->dir, name, e.msg);
		return true;
	}
	for (size_t i = 0; i < docs.nr; i++)
		ok &= apply_doc(m, name, docs.v[i].json, docs.v[i].len, keys);
	yaml_docs_clear(&docs);
	return ok;
}

/* Which file made which pods: so that a file removed while no agent ran still
 * takes its pods with it. Lines of "name<TAB>key". */
static void remember(struct manifests *m)
{
	auto_buf struct buf b = BUF_INIT;
	struct map_iter it = MAP_ITER_INIT;
	struct err e = { 0 };

	while (map_next(&m->files, &it)) {
		struct entry *en = it.value;
		const char *key = en->keys, *end;

		for (; key && (end = strchr(key, '\n')); key = end + 1)
			buf_printf(&b, "%s\t%.*s\n", it.key, (int)(end - key),
				   key);
	}
	if (fs_write_atomic(AT_FDCWD, m->memory, buf_str(&b), b.len, 0600, &e) <
	    0)
		log_warn("%s", e.msg);
}

static void recall(struct manifests *m)
{
	auto_buf struct buf b = BUF_INIT;
	char *rest, *line;

	if (fs_read(AT_FDCWD, m->memory, SPEC_MANIFEST_MAX, &b, NULL) < 0)
		return; /* the first run */
	rest = b.data;
	while (rest && (line = strsep(&rest, "\n"))) {
		char *key = strchr(line, '\t'), *all;
		struct entry *en;

		if (!key)
			continue;
		*key++ = '\0';
		en = map_get(&m->files, line);
		if (!en) {
			en = calloc(1, sizeof(*en));
			if (!en || map_set(&m->files, line, en, NULL) < 0) {
				free(en);
				return;
			}
		}
		all = str_printf("%s%s\n", en->keys ? en->keys : "", key);
		free(en->keys);
		en->keys = all;
	}
}

static bool scan_file(struct manifests *m, const char *name)
{
	auto_buf struct buf keys = BUF_INIT;
	struct entry *en = map_get(&m->files, name);
	bool ok = apply_file(m, name, &keys);

	if (!en) {
		en = calloc(1, sizeof(*en));
		if (!en || map_set(&m->files, name, en, NULL) < 0) {
			free(en);
			return false;
		}
	}
	en->seen = true;
	/* A file that has become unreadable keeps the pods it had made. */
	if (!keys.len)
		return ok;
	remove_pods(m, en->keys, buf_str(&keys));
	free(en->keys);
	en->keys = buf_take(&keys);
	return ok;
}

static bool scan(struct manifests *m)
{
	struct map_iter it = MAP_ITER_INIT;
	DIR *d = opendir(m->dir);
	struct dirent *ent;
	bool ok = true;

	if (!d)
		return false;
	while (map_next(&m->files, &it))
		((struct entry *)it.value)->seen = false;
	while ((ent = readdir(d)))
		if (is_manifest(ent->d_name))
			ok &= scan_file(m, ent->d_name);
	closedir(d);
	it = (struct map_iter)MAP_ITER_INIT;
	while (map_next(&m->files, &it)) {
		struct entry *en = it.value;

		if (en->seen)
			continue;
		remove_pods(m, en->keys, NULL);
		map_del(&m->files, it.key);
		entry_free(en);
	}
	return ok;
}

static void *scan_thread(void *arg)
{
	struct manifests *m = arg;

	pthread_setname_np(pthread_self(), "arktos-static");
	pthread_mutex_lock(&m->lock);
	while (!m->stop) {
		bool ok;

		if (!m->dirty) {
			pthread_cond_wait(&m->wake, &m->lock);
			continue;
		}
		m->dirty = false;
		pthread_mutex_unlock(&m->lock);
		ok = scan(m);
		remember(m);
		pthread_mutex_lock(&m->lock);
		if (!ok && !m->stop && !m->dirty) {
			struct timespec ts;

			clock_gettime(CLOCK_REALTIME, &ts);
			ts.tv_sec += RETRY_MS / 1000;
			pthread_cond_timedwait(&m->wake, &m->lock, &ts);
			m->dirty = true;
		}
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static void wake_scan(void *arg)
{
	struct manifests *m = arg;

	pthread_mutex_lock(&m->lock);
	m->dirty = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
}

static void changed(void *arg, uint32_t events)
{
	struct manifests *m = arg;
	char scrap[4096];

	(void)events;
	while (read(m->fd, scrap, sizeof(scrap)) > 0)
		;
	(void)ev_timer_set(m->agent->loop, &m->timer, SETTLE_MS, wake_scan, m);
}

int manifests_start(struct agent *a, const char *dir, struct manifests **ret,
		    struct err *e)
{
	struct manifests *m;
	int r = fs_mkdirs(dir, 0700, e);

	if (r < 0)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, -ENOMEM, "out of memory");
	m->agent = a;
	m->dir = strdup(dir);
	m->memory = str_printf("%s/static-pods", a->opts.state_dir);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->wake, NULL);
	m->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (m->fd < 0 || !m->dir || !m->memory ||
	    inotify_add_watch(m->fd, dir,
			      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM |
				      IN_DELETE) < 0) {
		r = err_sys(e, "watch '%s'", dir);
		goto undo_open;
	}
	r = ev_io_add(a->loop, &m->io, m->fd, EPOLLIN, changed, m, e);
	if (r < 0)
		goto undo_open;
	recall(m);
	m->dirty = true;
	r = -pthread_create(&m->thread, NULL, scan_thread, m);
	if (r < 0) {
		err_set(e, r, "start a thread: %s", strerror(-r));
		goto undo_watch;
	}
	*ret = m;
	return 0;

undo_watch:
	ev_io_del(&m->io);
undo_open:
	if (m->fd >= 0)
		close(m->fd);
	free(m->dir);
	free(m->memory);
	free(m);
	return r;
}

void manifests_stop(struct manifests *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->stop = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	ev_io_del(&m->io);
	ev_timer_del(&m->timer);
	close(m->fd);
	map_clear(&m->files, entry_free);
	free(m->dir);
	free(m->memory);
	free(m);
}
