// SPDX-License-Identifier: Apache-2.0
/*
 * What of a pod must survive the agent: <state>/pods/<uid>/pod.json.
 *
 * What need not survive the machine yet is in pod.json.late, and takes the
 * other's place when it is on the disk: a power cut may leave nothing or half
 * of it, and costs no more than what is newer than the other.
 *
 * Written before the act that depends on it: the manifest before anything is
 * made, what was allocated before it is given, an attempt's number before it is
 * started, an exit before the supervisor may forget it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/action.h"
#include "agent/internal.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define CHECKPOINT_FILE    "pod.json"
#define LATE_FILE          CHECKPOINT_FILE ".late"
#define CHECKPOINT_MAX     (4 * 1024 * 1024)
#define CHECKPOINT_VERSION 1
#define SYNC_LATER_MS      5000

static void put_set(struct json_out *o, const char *key,
		    const struct quantity_set *q)
{
	json_put_object(o, key);
	if (q->has_cpu)
		json_put_u64(o, "cpuMilli", q->cpu_milli);
	if (q->has_mem)
		json_put_u64(o, "memoryBytes", q->mem_bytes);
	if (q->has_disk)
		json_put_u64(o, "diskBytes", q->disk_bytes);
	json_put_end(o);
}

static void put_exit(struct json_out *o, const char *key,
		     const struct ctr_exit *x)
{
	if (!x->valid)
		return;
	json_put_object(o, key);
	json_put_i64(o, "code", x->code);
	json_put_i64(o, "signal", x->signal);
	json_put_bool(o, "oom", x->oom);
	json_put_str(o, "reason", x->reason);
	json_put_str(o, "message", x->message);
	json_put_i64(o, "started", x->started_us);
	json_put_i64(o, "finished", x->finished_us);
	json_put_end(o);
}

static void put_ctr(struct json_out *o, const struct ctr *c)
{
	json_put_object(o, NULL);
	json_put_str(o, "name", c->name);
	json_put_u64(o, "attempt", c->attempt);
	json_put_bool(o, "startedOnce", c->started_once);
	json_put_i64(o, "started", c->started_us);
	json_put_u64(o, "phase", c->phase);
	json_put_u64(o, "reboots", c->attempt_reboots);
	/* What waits for its start takes the image its spec names then. */
	if (c->phase != CTR_WAITING && c->image_ref)
		json_put_str(o, "image", c->image_ref);
	if (stop_is_restart(c->stop_why))
		json_put_u64(o, "stopWhy", c->stop_why);
	json_put_object(o, "allocated");
	put_set(o, "requests", &c->res.allocated.requests);
	put_set(o, "limits", &c->res.allocated.limits);
	json_put_end(o);
	put_exit(o, "exit", &c->exit);
	put_exit(o, "last", &c->last);
	json_put_end(o);
}

/* What the API server has told us it tells again, should the machine crash; the
 * agent alone may crash at any time. A VM's disk is its user's, and is not to
 * lose its owner. */
static bool may_be_late(const struct pod *pod)
{
	return pod->remote && !pod->spec->vm;
}

int checkpoint_write(struct pod *pod, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	char path[PATH_MAX];
	int r;

	json_put_object(&o, NULL);
	json_put_u64(&o, "version", CHECKPOINT_VERSION);
	json_put_str(&o, "uid", pod->uid);
	json_put_bool(&o, "remote", pod->remote);
	json_put_i64(&o, "created", pod->created_us);
	json_put_i64(&o, "start", pod->start_us);
	json_put_u64(&o, "userns", pod->userns_slot);
	json_put_bool(&o, "admitted", pod->admitted);
	json_put_bool(&o, "deleting", pod->deleting);
	json_put_i64(&o, "deleted", pod->deleted_us);
	json_put_u64(&o, "grace", pod->grace_s);
	json_put_bool(&o, "failed", pod->failed);
	json_put_str(&o, "reason", pod->reason);
	json_put_str(&o, "message", pod->message);
	json_put_array(&o, "containers");
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		put_ctr(&o, &pod->ctrs[i]);
	json_put_end(&o);
	actions_save(pod, &o);
	json_put_raw(&o, "manifest", pod->spec->json, pod->spec->json_len);
	json_put_end(&o);
	if (buf_error(&b))
		return err_set(e, buf_error(&b), "out of memory");

	r = fs_mkdirs(pod->state_dir, 0700, e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/%s", pod->state_dir,
		 may_be_late(pod) ? LATE_FILE : CHECKPOINT_FILE);
	if (may_be_late(pod)) {
		r = fs_write_quick(AT_FDCWD, path, b.data, b.len, 0600, e);
		if (r == 0 && !pod->sync_due_ms)
			pod->sync_due_ms = ev_clock_ms() + SYNC_LATER_MS;
	} else {
		r = fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
	}
	/* On a full disk deleting is what frees space. After a crash before its
	 * end it has to be asked for again, no more. */
	if (pod->deleting && (r == -ENOSPC || r == -EDQUOT)) {
		log_warn("pod %s: is deleted without a note of it: no space "
			 "left for '%s'",
			 pod->key, path);
		r = 0;
	}
	return r;
}

void checkpoint_sync(struct pod *pod, uint64_t *wake_ms)
{
	uint64_t now = ev_clock_ms();
	char late[PATH_MAX], path[PATH_MAX];
	struct err e = { 0 };

	if (!pod->sync_due_ms)
		return;
	if (now >= pod->sync_due_ms) {
		snprintf(late, sizeof(late), "%s/" LATE_FILE, pod->state_dir);
		snprintf(path, sizeof(path), "%s/" CHECKPOINT_FILE,
			 pod->state_dir);
		pod->sync_due_ms = 0;
		if (fs_settle(AT_FDCWD, late, path, &e) == 0)
			return;
		log_warn("pod %s: %s, retrying in %d ms", pod->key, e.msg,
			 SYNC_LATER_MS);
		pod->sync_due_ms = now + SYNC_LATER_MS;
	}
	if (!*wake_ms || pod->sync_due_ms < *wake_ms)
		*wake_ms = pod->sync_due_ms;
}

int checkpoint_remove(const struct pod *pod, struct err *e)
{
	char path[PATH_MAX];
	int r;

	/* The checkpoint goes last: until then a new agent cleans up again. */
	snprintf(path, sizeof(path), "%s/containers", pod->state_dir);
	r = fs_remove_tree(AT_FDCWD, path, e);
	if (r < 0)
		return r;
	return fs_remove_tree(AT_FDCWD, pod->state_dir, e);
}

static uint64_t get_u64(yyjson_val *v, const char *key)
{
	return yyjson_get_uint(yyjson_obj_get(v, key));
}

static void get_set(yyjson_val *v, struct quantity_set *q)
{
	yyjson_val *cpu = yyjson_obj_get(v, "cpuMilli");
	yyjson_val *mem = yyjson_obj_get(v, "memoryBytes");
	yyjson_val *disk = yyjson_obj_get(v, "diskBytes");

	q->has_cpu = cpu != NULL;
	q->has_mem = mem != NULL;
	q->cpu_milli = yyjson_get_uint(cpu);
	q->mem_bytes = yyjson_get_uint(mem);
	q->has_disk = disk != NULL;
	q->disk_bytes = yyjson_get_uint(disk);
}

static void get_text(yyjson_val *v, const char *key, char *buf, size_t size)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, key));

	snprintf(buf, size, "%s", s ? s : "");
}

static void get_exit(yyjson_val *v, struct ctr_exit *x)
{
	if (!yyjson_is_obj(v))
		return;
	x->valid = true;
	x->code = yyjson_get_int(yyjson_obj_get(v, "code"));
	x->signal = yyjson_get_int(yyjson_obj_get(v, "signal"));
	x->oom = yyjson_get_bool(yyjson_obj_get(v, "oom"));
	get_text(v, "reason", x->reason, sizeof(x->reason));
	get_text(v, "message", x->message, sizeof(x->message));
	x->started_us = yyjson_get_sint(yyjson_obj_get(v, "started"));
	x->finished_us = yyjson_get_sint(yyjson_obj_get(v, "finished"));
}

static void get_ctr(struct pod *pod, yyjson_val *v)
{
	const char *name = yyjson_get_str(yyjson_obj_get(v, "name"));
	struct ctr *c = name ? pod_ctr(pod, name) : NULL;
	yyjson_val *allocated = yyjson_obj_get(v, "allocated");
	const char *image = yyjson_get_str(yyjson_obj_get(v, "image"));

	if (!c)
		return;
	(void)str_set(&c->image_ref, image);
	c->stop_why = (enum stop_why)get_u64(v, "stopWhy");
	if (!stop_is_restart(c->stop_why))
		c->stop_why = STOP_NONE;
	c->attempt = (uint32_t)get_u64(v, "attempt");
	c->attempt_reboots = (uint32_t)get_u64(v, "reboots");
	c->started_once = yyjson_get_bool(yyjson_obj_get(v, "startedOnce"));
	c->started_us = yyjson_get_sint(yyjson_obj_get(v, "started"));
	c->phase = (enum ctr_phase)get_u64(v, "phase");
	if (c->phase > CTR_EXITED)
		c->phase = CTR_WAITING;
	get_set(yyjson_obj_get(allocated, "requests"),
		&c->res.allocated.requests);
	get_set(yyjson_obj_get(allocated, "limits"), &c->res.allocated.limits);
	get_exit(yyjson_obj_get(v, "exit"), &c->exit);
	get_exit(yyjson_obj_get(v, "last"), &c->last);
	if (c->phase == CTR_EXITED && !c->exit.valid)
		c->phase = CTR_WAITING;
}

static void get_pod(struct pod *pod, yyjson_val *v)
{
	yyjson_val *list = yyjson_obj_get(v, "containers"), *item;
	size_t i, max;

	pod->remote = yyjson_get_bool(yyjson_obj_get(v, "remote"));
	pod->created_us = yyjson_get_sint(yyjson_obj_get(v, "created"));
	pod->start_us = yyjson_get_sint(yyjson_obj_get(v, "start"));
	pod->userns_slot = (uint32_t)get_u64(v, "userns");
	pod->deleting = yyjson_get_bool(yyjson_obj_get(v, "deleting"));
	pod->deleted_us = yyjson_get_sint(yyjson_obj_get(v, "deleted"));
	pod->grace_s = (uint32_t)get_u64(v, "grace");
	pod->failed = yyjson_get_bool(yyjson_obj_get(v, "failed"));
	get_text(v, "reason", pod->reason, sizeof(pod->reason));
	get_text(v, "message", pod->message, sizeof(pod->message));
	yyjson_arr_foreach(list, i, max, item) get_ctr(pod, item);
	pod->admitted = yyjson_get_bool(yyjson_obj_get(v, "admitted"));
	/* Its grace period starts anew: the monotonic clock may have, too. */
	if (pod->deleting)
		pod->delete_due_ms =
			ev_clock_ms() + (uint64_t)pod->grace_s * 1000;
	/* A resize that had to wait goes on waiting; how long it had is not
	 * known any more. */
	if (pod->admitted && !pod_resize_allocated(pod)) {
		pod->resize.generation = pod->resize_seq = 1;
		pod->resize.began_ms = ev_clock_ms();
	}
	pod->saved = true;
}

static int load_file(struct agent *a, const char *dir, const char *file,
		     struct pod **ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT, text = BUF_INIT;
	char path[PATH_MAX];
	struct pod_spec *spec = NULL;
	struct pod *pod = NULL;
	yyjson_doc *doc = NULL;
	yyjson_val *root;
	int r;

	snprintf(path, sizeof(path), "%s/pods/%s/%s", a->opts.state_dir, dir,
		 file);
	r = fs_read(AT_FDCWD, path, CHECKPOINT_MAX, &b, e);
	if (r < 0)
		return r;
	r = json_parse(b.data ? b.data : "", b.len, &doc, e);
	if (r < 0)
		return err_wrap(e, r, "%s", path);
	root = yyjson_doc_get_root(doc);
	if (get_u64(root, "version") != CHECKPOINT_VERSION) {
		r = err_set(e, -EBADMSG, "%s: not of version %d", path,
			    CHECKPOINT_VERSION);
		goto out;
	}
	r = json_write(yyjson_obj_get(root, "manifest"), false, &text);
	if (r == 0)
		r = pod_spec_parse(buf_str(&text), text.len, &spec, e);
	if (r == 0 && !str_eq(spec->uid, dir))
		r = str_set(&spec->uid, dir);
	if (r == 0)
		r = pod_new(a, spec, &pod, e);
	if (r < 0) {
		pod_spec_free(spec);
		r = err_wrap(e, r, "%s", path);
		goto out;
	}
	get_pod(pod, root);
	r = actions_load(pod, root);
	if (r == 0)
		r = pod_remember_wish(pod);
	pod->saved_seq = pod->wish_seq;
	if (r < 0) {
		pod_unref(pod);
		r = err_wrap(e, r, "%s", path);
		goto out;
	}
	*ret = pod;
out:
	yyjson_doc_free(doc);
	return r;
}

static int load_one(struct agent *a, const char *dir, struct err *e)
{
	char path[PATH_MAX];
	struct err why = { 0 };
	struct pod *pod = NULL;
	int r;

	snprintf(path, sizeof(path), "%s/pods/%s/" LATE_FILE, a->opts.state_dir,
		 dir);
	r = load_file(a, dir, LATE_FILE, &pod, &why);
	if (r == 0) {
		/* Whether it is on the disk nobody knows. */
		pod->sync_due_ms = ev_clock_ms() + SYNC_LATER_MS;
	} else {
		if (r != -ENOENT) {
			log_warn("%s: it was not on the disk yet; the API "
				 "server knows better",
				 why.msg);
			(void)unlink(path);
		}
		r = load_file(a, dir, CHECKPOINT_FILE, &pod, e);
	}
	if (r < 0)
		return r;
	userns_slot_claim(a, pod->userns_slot);
	r = pods_add(a, pod, e);
	pod_unref(pod);
	return r;
}

/* A checkpoint that cannot be read must not cost the pods beside it. */
static void set_aside(struct agent *a, const char *dir, const struct err *why)
{
	char from[PATH_MAX], to[PATH_MAX + 16];

	snprintf(from, sizeof(from), "%s/pods/%s/" CHECKPOINT_FILE,
		 a->opts.state_dir, dir);
	snprintf(to, sizeof(to), "%s.damaged", from);
	log_error("%s: the pod is not taken over; the file is kept as "
		  "" CHECKPOINT_FILE ".damaged",
		  why->msg);
	if (rename(from, to) < 0)
		log_error("rename %s: %s", from, strerror(errno));
}

int checkpoint_load_all(struct agent *a, struct err *e)
{
	char path[PATH_MAX];
	struct dirent *ent;
	DIR *d;
	int r;

	snprintf(path, sizeof(path), "%s/pods", a->opts.state_dir);
	r = fs_mkdirs(path, 0700, e);
	if (r < 0)
		return r;
	d = opendir(path);
	if (!d)
		return err_sys(e, "read '%s'", path);
	while ((ent = readdir(d))) {
		struct err why = { 0 };

		if (ent->d_name[0] == '.')
			continue;
		r = load_one(a, ent->d_name, &why);
		if (r == -ENOENT)
			/* Made, but never written: nothing depends on it. */
			(void)fs_remove_tree(dirfd(d), ent->d_name, NULL);
		else if (r < 0)
			set_aside(a, ent->d_name, &why);
	}
	closedir(d);
	return 0;
}
