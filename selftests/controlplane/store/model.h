/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model checker's two halves. model_child() drives a store with random
 * operations from several threads and reports each one twice, when it begins
 * and when it ends, and every event its watches deliver, through a pipe that
 * survives its kill -9. model_check() replays what all children reported.
 */
#ifndef SELFTESTS_CONTROLPLANE_STORE_MODEL_H
#define SELFTESTS_CONTROLPLANE_STORE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/store/admin.h"

#define MODEL_KEYS     12
#define MODEL_TENANTS  3
#define MODEL_OPS      3 /* changes in one transaction */
#define MODEL_TEXT_MAX 10000

enum model_type { M_INVOKE, M_DONE, M_EVENT, M_WATCH, M_OPENING, M_OPEN };
enum model_kind {
	M_PUT,
	M_CREATE,
	M_UPDATE,
	M_DELETE,
	M_TXN,
	M_GET,
	M_LIST,
	M_COMPACT,
};

struct model_change {
	uint32_t key;
	uint32_t remove;
	uint64_t expect; /* 0: any, 1: absent, else that revision */
	uint64_t value;  /* what is written: unique in the whole run */
};

struct model_rec {
	uint32_t type, kind;
	uint32_t child, stream; /* stream: thread, or watch */
	uint64_t id;            /* of the operation, unique in the run */
	uint64_t ns;            /* CLOCK_MONOTONIC */
	int32_t result;
	uint32_t nr;
	uint64_t revision;
	uint64_t value; /* of the object read, or of the event */
	uint32_t key, deleted;
	union {
		struct model_change change[MODEL_OPS];
		uint64_t seen[MODEL_KEYS]; /* a list: revision of each key */
	};
};

struct model_child {
	struct store_opts opts;
	int fd;
	uint32_t child;
	uint32_t threads;
	uint64_t seed;
	uint64_t watch_from; /* revision up to which events are known; 0: now */
	bool faults;         /* the disk shim is loaded: let it fail */
	bool compact;
	bool shared; /* others write to the same store: sync before reads */
};

/* Never returns: ends by a signal, or exits with a status that says why. */
void model_child(const struct model_child *c) __attribute__((noreturn));

struct model_history {
	struct model_rec *v;
	size_t nr, size;
};

int model_add(struct model_history *h, const struct model_rec *r);

/* Report the history that @s still has and what it holds now, as if a child
 * had watched and read it. */
int model_add_final(struct model_history *h, struct store *s, uint64_t from);

struct model_verdict {
	/* Refused: for sure; unknown: it may have happened. */
	size_t ops, writes, reads, refused, unknown, events, failures;
};

/* Is there an order that explains all of it? Prints what is wrong. */
struct model_verdict model_check(struct model_history *h);

#endif /* SELFTESTS_CONTROLPLANE_STORE_MODEL_H */
