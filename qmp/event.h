/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded queue of QMP events, for this folder only. */
#ifndef QMP_EVENT_H
#define QMP_EVENT_H

#include <stdbool.h>

#include "qmp/qmp.h"

struct event_queue {
	struct qmp_event *v; /* ring of QMP_EVENTS_MAX, made when first used */
	unsigned int first, nr;
	unsigned int lost; /* since the last one that went in */
};

/* Takes @doc over in any case (NULL counts as lost). */
void event_queue_push(struct event_queue *eq, yyjson_doc *doc);
int event_queue_pop(struct event_queue *eq, struct qmp_event *ret);
void event_queue_clear(struct event_queue *eq);

/* Is @name one of the comma-separated @names, and is @key of @data @value? */
bool event_matches(const char *name, yyjson_val *data, const char *names,
		   const char *key, const char *value);

#endif /* QMP_EVENT_H */
