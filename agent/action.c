// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/action.h"
#include "agent/internal.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define LOOK_MS 50                             /* at the cancel flag */
#define KEEP_US (24 * 3600 * INT64_C(1000000)) /* longer than Actions */

static const char *const op_names[] = {
	[ACTION_REBOOT] = "reboot",
	[ACTION_SNAPSHOT] = "snapshot",
	[ACTION_RESTORE] = "restore",
	[ACTION_DELETE_SNAPSHOT] = "deleteSnapshot",
};

int action_op_parse(const char *text, enum action_op *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(op_names); i++)
		if (str_eq(text, op_names[i])) {
			*ret = (enum action_op)i;
			return 0;
		}
	return -EINVAL;
}

const char *action_op_name(enum action_op op)
{
	return op_names[op];
}

bool action_name_ok(const char *name)
{
	size_t n = strnlen(name, ACTION_NAME_MAX);

	if (!n || n == ACTION_NAME_MAX || !isalnum((unsigned char)name[0]) ||
	    !isalnum((unsigned char)name[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
			return false;
	return true;
}

bool action_has_ended(const struct action *a)
{
	return a->state == ACTION_DONE || a->state == ACTION_FAILED;
}

static struct action *find(struct action_set *s, const char *id)
{
	for (size_t i = 0; s && i < s->nr; i++)
		if (strcmp(s->v[i].id, id) == 0)
			return &s->v[i];
	return NULL;
}

struct pod_snapshot *action_find_snapshot(struct action_set *s,
					  const char *name)
{
	for (size_t i = 0; s && i < s->nr_snapshots; i++)
		if (strcmp(s->snapshots[i].name, name) == 0)
			return &s->snapshots[i];
	return NULL;
}

/* --- asking --- */

/* Room for more: the oldest that have ended go, but not as long as an Action
 * may ask for them. Only the worker takes away: it alone keeps pointers. */
void actions_make_room(struct action_set *s)
{
	int64_t now = time_us();

	for (size_t i = 0; i < s->nr && s->nr > ACTIONS_MAX / 2;) {
		const struct action *a = &s->v[i];

		if (!action_has_ended(a) ||
		    (a->remote && !a->told && now - a->ended_us < KEEP_US)) {
			i++;
			continue;
		}
		memmove(&s->v[i], &s->v[i + 1],
			(s->nr - i - 1) * sizeof(s->v[0]));
		s->nr--;
	}
}

/* Snapshots there will be, when all is done that was asked. */
static size_t snapshots_coming(const struct action_set *s)
{
	size_t nr = s ? s->nr_snapshots : 0;

	for (size_t i = 0; s && i < s->nr; i++)
		if (!action_has_ended(&s->v[i])) {
			nr += s->v[i].op == ACTION_SNAPSHOT;
			nr -= s->v[i].op == ACTION_DELETE_SNAPSHOT && nr;
		}
	return nr;
}

static bool is_coming(const struct action_set *s, const char *name)
{
	for (size_t i = 0; s && i < s->nr; i++)
		if (!action_has_ended(&s->v[i]) &&
		    s->v[i].op == ACTION_SNAPSHOT &&
		    strcmp(s->v[i].name, name) == 0)
			return true;
	return false;
}

static int check_name(struct pod *pod, const struct action *want, struct err *e)
{
	struct action_set *s = pod->actions;
	bool there =
		action_find_snapshot(s, want->name) || is_coming(s, want->name);

	if (want->op == ACTION_REBOOT)
		return 0;
	if (!action_name_ok(want->name))
		return err_set(e, -EINVAL,
			       "'%s' is no name for a snapshot: letters, "
			       "digits, '-', '_' and '.', at most %d",
			       want->name, ACTION_NAME_MAX - 1);
	if (want->op != ACTION_SNAPSHOT)
		return there ? 0
			     : err_set(e, -ENOENT,
				       "pod %s has no snapshot '%s'",
				       pod->spec->name, want->name);
	if (there)
		return err_set(e, -EEXIST,
			       "pod %s has a snapshot '%s' already: choose "
			       "another name",
			       pod->spec->name, want->name);
	if (snapshots_coming(s) >= ACTION_SNAPSHOTS_MAX)
		return err_set(e, -EDQUOT,
			       "pod %s has %d snapshots, which is the most: "
			       "delete one first",
			       pod->spec->name, ACTION_SNAPSHOTS_MAX);
	return 0;
}

static int check_pod(const struct pod *pod, struct err *e)
{
	const char *name = pod->spec->name;

	if (!pod->spec->vm)
		return err_set(e, -EINVAL,
			       "pod %s runs containers: reboot, snapshot and "
			       "restore are for virtual machines",
			       name);
	if (pod->inbox.remove ||
	    __atomic_load_n(&pod->deleting, __ATOMIC_ACQUIRE))
		return err_set(e, -ESTALE, "pod %s is being deleted", name);
	if (pod->unknown)
		return err_set(e, -EAGAIN, "pod %s was not looked at yet",
			       name);
	if (pod->ctrs[0].phase != CTR_RUNNING ||
	    pod->spec->vm->power == POWER_SHUTDOWN)
		return err_set(e, -ESTALE, "pod %s is not running", name);
	return 0;
}

static int append(struct pod *pod, const struct action *want,
		  struct action **ret, struct err *e)
{
	struct action_set *s = pod->actions;

	if (!s) {
		s = pod->actions = calloc(1, sizeof(*s));
		if (!s)
			return err_set(e, -ENOMEM, "out of memory");
	}
	if (s->nr == ACTIONS_MAX)
		return err_set(e, -EAGAIN,
			       "pod %s has %d actions to do already",
			       pod->spec->name, ACTIONS_MAX);
	*ret = &s->v[s->nr++];
	**ret = *want;
	(*ret)->state = ACTION_WAITING;
	return 0;
}

int action_ask(struct pod *pod, const struct action *want, struct action *ret,
	       struct err *e)
{
	struct action *a;
	int r = 0;

	pthread_mutex_lock(&pod->lock);
	a = find(pod->actions, want->id);
	if (!a) {
		r = check_pod(pod, e);
		if (r == 0)
			r = check_name(pod, want, e);
		if (r == 0)
			r = append(pod, want, &a, e);
		if (r == 0)
			(void)wq_add(pod->agent->queue, pod->key);
	}
	if (r == 0)
		*ret = *a;
	pthread_mutex_unlock(&pod->lock);
	return r;
}

int action_wait(struct pod *pod, const char *id, uint32_t timeout_ms,
		const atomic_bool *cancel, struct action *ret)
{
	uint64_t end = ev_clock_ms() + timeout_ms, now;
	struct action *a;
	int r = -ETIMEDOUT;

	pthread_mutex_lock(&pod->lock);
	while ((a = find(pod->actions, id)) && !action_has_ended(a) &&
	       !pod->gone && (now = ev_clock_ms()) < end &&
	       !(cancel && atomic_load(cancel))) {
		uint64_t until = now + LOOK_MS < end ? now + LOOK_MS : end;
		struct timespec ts = { .tv_sec = (time_t)(until / 1000),
				       .tv_nsec =
					       (long)(until % 1000) * 1000000 };

		(void)pthread_cond_timedwait(&pod->changed, &pod->lock, &ts);
	}
	if (a) {
		*ret = *a;
		r = action_has_ended(a) ? 0 : pod->gone ? -ENOENT : -ETIMEDOUT;
	}
	pthread_mutex_unlock(&pod->lock);
	return r;
}

void action_told(struct pod *pod, const char *id)
{
	struct action *a;

	pthread_mutex_lock(&pod->lock);
	a = find(pod->actions, id);
	if (a)
		a->told = true;
	pthread_mutex_unlock(&pod->lock);
}

/* --- on disk --- */

static void put_shape(struct json_out *o, const struct vm_shape *s)
{
	json_put_object(o, "shape");
	json_put_u64(o, "cpus", s->cpus);
	json_put_u64(o, "dimms", s->dimms);
	json_put_u64(o, "base", s->mem_base);
	json_put_u64(o, "memory", s->mem_bytes);
	json_put_end(o);
}

static void put_action(struct json_out *o, const struct action *a)
{
	json_put_object(o, NULL);
	json_put_str(o, "id", a->id);
	json_put_str(o, "operation", op_names[a->op]);
	json_put_u64(o, "state", a->state);
	json_put_str(o, "name", a->name);
	json_put_bool(o, "remote", a->remote);
	json_put_bool(o, "told", a->told);
	json_put_u64(o, "attempt", a->attempt);
	json_put_i64(o, "begun", a->begun_us);
	json_put_i64(o, "ended", a->ended_us);
	json_put_str(o, "error", a->error);
	put_shape(o, &a->shape);
	json_put_end(o);
}

void actions_save(const struct pod *pod, struct json_out *o)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&pod->lock;
	const struct action_set *s;

	pthread_mutex_lock(lock);
	s = pod->actions;
	if (s) {
		json_put_array(o, "actions");
		for (size_t i = 0; i < s->nr; i++)
			if (s->v[i].state != ACTION_WAITING)
				put_action(o, &s->v[i]);
		json_put_end(o);
		json_put_array(o, "snapshots");
		for (size_t i = 0; i < s->nr_snapshots; i++) {
			json_put_object(o, NULL);
			json_put_str(o, "name", s->snapshots[i].name);
			json_put_i64(o, "taken", s->snapshots[i].taken_us);
			put_shape(o, &s->snapshots[i].shape);
			json_put_end(o);
		}
		json_put_end(o);
	}
	pthread_mutex_unlock(lock);
}

static uint64_t num(yyjson_val *v, const char *key)
{
	return yyjson_get_uint(yyjson_obj_get(v, key));
}

static void get_text(yyjson_val *v, const char *key, char *buf, size_t size)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, key));

	snprintf(buf, size, "%s", s ? s : "");
}

static struct vm_shape get_shape(yyjson_val *v)
{
	yyjson_val *s = yyjson_obj_get(v, "shape");

	return (struct vm_shape){ .cpus = (unsigned int)num(s, "cpus"),
				  .dimms = (unsigned int)num(s, "dimms"),
				  .mem_base = num(s, "base"),
				  .mem_bytes = num(s, "memory") };
}

static void get_action(struct action_set *s, yyjson_val *v)
{
	struct action *a = &s->v[s->nr];

	*a = (struct action){
		.remote = yyjson_get_bool(yyjson_obj_get(v, "remote")),
		.told = yyjson_get_bool(yyjson_obj_get(v, "told")),
		.state = (enum action_state)num(v, "state"),
		.attempt = (uint32_t)num(v, "attempt"),
		.begun_us = yyjson_get_sint(yyjson_obj_get(v, "begun")),
		.ended_us = yyjson_get_sint(yyjson_obj_get(v, "ended")),
		.shape = get_shape(v),
	};
	get_text(v, "id", a->id, sizeof(a->id));
	get_text(v, "name", a->name, sizeof(a->name));
	get_text(v, "error", a->error, sizeof(a->error));
	if (a->id[0] && a->state >= ACTION_BEGUN && a->state <= ACTION_FAILED &&
	    action_op_parse(yyjson_get_str(yyjson_obj_get(v, "operation")),
			    &a->op) == 0)
		s->nr++;
}

int actions_load(struct pod *pod, yyjson_val *v)
{
	yyjson_val *actions = yyjson_obj_get(v, "actions"), *item;
	yyjson_val *snapshots = yyjson_obj_get(v, "snapshots");
	struct action_set *s;
	size_t i, max;

	if (!yyjson_arr_size(actions) && !yyjson_arr_size(snapshots))
		return 0;
	s = pod->actions = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	yyjson_arr_foreach(actions, i, max, item)
	{
		if (s->nr < ACTIONS_MAX)
			get_action(s, item);
	}
	yyjson_arr_foreach(snapshots, i, max, item)
	{
		struct pod_snapshot *snap = &s->snapshots[s->nr_snapshots];

		if (s->nr_snapshots == ACTION_SNAPSHOTS_MAX)
			break;
		get_text(item, "name", snap->name, sizeof(snap->name));
		snap->taken_us = yyjson_get_sint(yyjson_obj_get(item, "taken"));
		snap->shape = get_shape(item);
		s->nr_snapshots += action_name_ok(snap->name);
	}
	return 0;
}

void actions_render(const struct pod *pod, struct json_out *o)
{
	const struct action_set *s = pod->actions;
	char text[QUANTITY_TEXT_SIZE], when[40];

	if (!s || !s->nr_snapshots)
		return;
	json_put_array(o, "snapshots");
	for (size_t i = 0; i < s->nr_snapshots; i++) {
		const struct pod_snapshot *snap = &s->snapshots[i];

		rfc3339(snap->taken_us, when);
		json_put_object(o, NULL);
		json_put_str(o, "name", snap->name);
		json_put_str(o, "creationTimestamp", when);
		json_put_str(o, "memory",
			     quantity_format_mem(snap->shape.mem_bytes, text));
		json_put_u64(o, "cpus", snap->shape.cpus);
		json_put_end(o);
	}
	json_put_end(o);
}
