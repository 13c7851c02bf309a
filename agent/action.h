/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Actions on a VM: reboot, snapshot, restore, deletion of a snapshot. Whoever
 * asks gives an id; what was asked under one id is done once, whoever dies
 * meanwhile.
 *
 *	waiting	known to this process alone: forgotten with it
 *	begun	in the checkpoint, before QEMU is told: with the id as the name
 *		of QEMU's job, so that a later agent asks that very QEMU for it.
 *		Has it no such job, it was never told, and is told now. If QEMU
 *		has gone, or it was a reboot (which is no job), nobody can tell:
 *		it has failed, and says so
 *	ended	in the checkpoint, before anybody is told and before QEMU may
 *		forget the job
 */
#ifndef AGENT_ACTION_H
#define AGENT_ACTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "agent/pod.h"
#include "agent/vm/vm.h"

struct err;
struct json_out;

#define ACTIONS_MAX          64 /* of one pod, those that have ended included */
#define ACTION_SNAPSHOTS_MAX 8
#define ACTION_DELAY_MAX_S   600
#define ACTION_ID_MAX        64
#define ACTION_NAME_MAX      64 /* of a snapshot, with its NUL */

enum action_op {
	ACTION_REBOOT,
	ACTION_SNAPSHOT,
	ACTION_RESTORE,
	ACTION_DELETE_SNAPSHOT,
};

enum action_state { ACTION_WAITING, ACTION_BEGUN, ACTION_DONE, ACTION_FAILED };

struct action {
	char id[ACTION_ID_MAX];
	enum action_op op;
	enum action_state state;
	char name[ACTION_NAME_MAX]; /* of the snapshot; "" for a reboot */
	bool remote;                /* asked for by an Action of the API */
	bool told;                  /* and that one says what came of it */
	bool here; /* begun by this process: what it knows is all there is */
	uint32_t attempt; /* which QEMU */
	int64_t due_us;   /* not earlier */
	int64_t begun_us, ended_us;
	struct vm_shape shape;       /* as it was begun */
	char error[POD_MESSAGE_MAX]; /* of ACTION_FAILED */
};

struct pod_snapshot {
	char name[ACTION_NAME_MAX];
	int64_t taken_us;
	struct vm_shape shape;
};

/* Of one pod. Only the worker changes it; under the pod's lock, as it is read
 * by others: but for new ones, which anybody may append under that lock. */
struct action_set {
	struct action v[ACTIONS_MAX];
	size_t nr;
	struct pod_snapshot snapshots[ACTION_SNAPSHOTS_MAX];
	size_t nr_snapshots;
};

/* "reboot", "snapshot", "restore", "deleteSnapshot"; -EINVAL. */
int action_op_parse(const char *text, enum action_op *ret);
const char *action_op_name(enum action_op op);
bool action_name_ok(const char *name);

/**
 * action_ask() - Have something done.
 * @pod:  With a reference. Locked by this function.
 * @want: id, op, name, remote, due_us. What is asked again is not done again.
 * @ret:  How far it is, also when it is known already.
 * @e:    Filled on error: nothing will be done.
 *
 * Return: 0 accepted, or known; -EINVAL it never can be, -ESTALE not as the pod
 * is now, -EEXIST, -ENOENT a snapshot is there or is not, -EDQUOT too many of
 * them, -EAGAIN later.
 */
int action_ask(struct pod *pod, const struct action *want, struct action *ret,
	       struct err *e);
/* Wait until it has ended: 0; -ETIMEDOUT when the time is over or the client
 * has gone, -ENOENT when the pod has. */
int action_wait(struct pod *pod, const char *id, uint32_t timeout_ms,
		const atomic_bool *cancel, struct action *ret);
/* The Action says what came of it: it may be forgotten. */
void action_told(struct pod *pod, const char *id);

/* Why @snap cannot be restored in a machine of shape @now; false: it can. */
bool action_misfit(const struct pod_snapshot *snap, const struct vm_shape *now,
		   char *why, size_t size);

/* Between action.c and action_do.c. */
bool action_has_ended(const struct action *a);
struct pod_snapshot *action_find_snapshot(struct action_set *s,
					  const char *name);
/* Forget what nobody asks for any more; the worker's, under the lock. */
void actions_make_room(struct action_set *s);

/* Worker: the next step. 0; <0 try again later, told in @e. */
int actions_step(struct pod *pod, uint64_t *wake_ms, struct err *e);
/* One is being done right now: QEMU does not answer, which means nothing. */
bool actions_busy(struct pod *pod);

/* checkpoint.c */
void actions_save(const struct pod *pod, struct json_out *o);
int actions_load(struct pod *pod, yyjson_val *v);
/* render.c: the field "snapshots", when there are any. */
void actions_render(const struct pod *pod, struct json_out *o);

#endif /* AGENT_ACTION_H */
