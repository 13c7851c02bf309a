/* SPDX-License-Identifier: Apache-2.0 */
/* A heap of pods, each knowing its place, so that any can be taken out. */
#ifndef CONTROLPLANE_SCHEDULER_QUEUE_H
#define CONTROLPLANE_SCHEDULER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sclass;

enum spod_state {
	SPOD_IDLE,
	SPOD_READY,
	SPOD_DELAYED,
	SPOD_WAITING,
	SPOD_BINDING
};

struct spod {
	char *key;
	struct sclass *class;
	int64_t priority;
	uint64_t serial; /* in the order they came */
	uint64_t due_ms;
	struct spod *next, *prev; /* that wait with the class */
	size_t place;
	uint32_t row;  /* the node it is charged to, or NODE_NONE */
	uint32_t told; /* hash of the last refusal */
	uint32_t uid;  /* hash of it: the same name may be another pod */
	uint16_t attempts;
	uint8_t state; /* enum spod_state */
};

struct queue {
	struct spod **v;
	size_t nr, room;
	bool (*before)(const struct spod *a, const struct spod *b);
};

bool queue_by_priority(const struct spod *a, const struct spod *b);
bool queue_by_time(const struct spod *a, const struct spod *b);

int queue_add(struct queue *q, struct spod *p);
void queue_del(struct queue *q, struct spod *p);
void queue_clear(struct queue *q);

static inline struct spod *queue_first(const struct queue *q)
{
	return q->nr ? q->v[0] : NULL;
}

#endif /* CONTROLPLANE_SCHEDULER_QUEUE_H */
