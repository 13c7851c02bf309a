// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/event.h"

static uint64_t event_time_us(yyjson_val *root)
{
	yyjson_val *stamp = yyjson_obj_get(root, "timestamp");
	uint64_t s, us;

	if (!msg_u64(stamp, "seconds", &s) ||
	    !msg_u64(stamp, "microseconds", &us) || s > UINT32_MAX * 16ULL ||
	    us >= 1000000)
		return 0;
	return s * 1000000 + us;
}

static void drop_first(struct event_queue *eq)
{
	unsigned int lost = eq->v[eq->first].lost + 1;

	qmp_event_clear(&eq->v[eq->first]);
	eq->first = (eq->first + 1) % QMP_EVENTS_MAX;
	eq->nr--;
	/* Whoever is first now comes right after the gap. */
	if (eq->nr)
		eq->v[eq->first].lost += lost;
	else
		eq->lost += lost;
}

void event_queue_push(struct event_queue *eq, yyjson_doc *doc)
{
	yyjson_val *root = yyjson_doc_get_root(doc);
	struct qmp_event *slot;

	if (!eq->v)
		eq->v = calloc(QMP_EVENTS_MAX, sizeof(*eq->v));
	if (!eq->v || !doc) {
		eq->lost++;
		yyjson_doc_free(doc);
		return;
	}
	if (eq->nr == QMP_EVENTS_MAX)
		drop_first(eq);
	slot = &eq->v[(eq->first + eq->nr++) % QMP_EVENTS_MAX];
	*slot = (struct qmp_event){ .doc = doc,
				    .name = msg_str(root, "event"),
				    .data = yyjson_obj_get(root, "data"),
				    .time_us = event_time_us(root),
				    .lost = eq->lost };
	eq->lost = 0;
}

int event_queue_pop(struct event_queue *eq, struct qmp_event *ret)
{
	if (!eq->nr)
		return -EAGAIN;
	*ret = eq->v[eq->first];
	eq->v[eq->first] = (struct qmp_event){ 0 };
	eq->first = (eq->first + 1) % QMP_EVENTS_MAX;
	eq->nr--;
	return 0;
}

void event_queue_clear(struct event_queue *eq)
{
	while (eq->nr)
		drop_first(eq);
	free(eq->v);
	*eq = (struct event_queue){ 0 };
}

static bool name_is_listed(const char *name, const char *names)
{
	size_t len = strlen(name);

	while (*names) {
		size_t n = strcspn(names, ",");

		if (n == len && memcmp(names, name, n) == 0)
			return true;
		names += n + (names[n] == ',');
	}
	return false;
}

bool event_matches(const char *name, yyjson_val *data, const char *names,
		   const char *key, const char *value)
{
	if (!name_is_listed(name, names))
		return false;
	return !key || str_eq(msg_str(data, key), value);
}
