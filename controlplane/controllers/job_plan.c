// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/job_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"

/* --- indexes --- */

int index_set_init(struct index_set *s, int64_t size)
{
	if (size < 0 || size > JOB_INDEXES_MAX)
		return -ERANGE;
	*s = (struct index_set){ .size = size };
	s->bits = calloc((size_t)size / 8 + 1, 1);
	return s->bits ? 0 : -ENOMEM;
}

void index_set_clear(struct index_set *s)
{
	free(s->bits);
	*s = (struct index_set){ 0 };
}

bool index_set_has(const struct index_set *s, int64_t i)
{
	return i >= 0 && i < s->size && (s->bits[i / 8] >> (i % 8) & 1);
}

void index_set_add(struct index_set *s, int64_t i)
{
	if (i < 0 || i >= s->size || index_set_has(s, i))
		return;
	s->bits[i / 8] |= (uint8_t)(1 << (i % 8));
	s->count++;
}

int index_set_parse(struct index_set *s, const char *text)
{
	while (*text) {
		char *end;
		long long from = strtoll(text, &end, 10), to = from;

		if (end == text)
			return -EINVAL;
		text = end;
		if (*text == '-') {
			to = strtoll(text + 1, &end, 10);
			if (end == text + 1)
				return -EINVAL;
			text = end;
		}
		for (long long i = from < 0 ? 0 : from; i <= to && i < s->size;
		     i++)
			index_set_add(s, i);
		if (*text && *text != ',')
			return -EINVAL;
		text += *text == ',';
	}
	return 0;
}

void index_set_format(const struct index_set *s, struct buf *b)
{
	const char *comma = "";

	for (int64_t i = 0; i < s->size; i++) {
		int64_t from = i;

		if (!index_set_has(s, i))
			continue;
		while (index_set_has(s, i + 1))
			i++;
		buf_printf(b, "%s%lld", comma, (long long)from);
		/* Two in a row are no range. */
		if (i > from)
			buf_printf(b, "%c%lld", i > from + 1 ? '-' : ',',
				   (long long)i);
		comma = ",";
	}
}

/* --- plan --- */

int64_t job_backoff_s(int64_t failures)
{
	int64_t s = 10;

	for (int64_t i = 1; i < failures && s < 360; i++)
		s *= 2;
	return failures <= 0 ? 0 : s < 360 ? s : 360;
}

static int64_t min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool is_done(const struct job_want *w, const struct job_have *h)
{
	if (w->completions >= 0)
		return h->succeeded >= w->completions;
	/* Without a number, the first success ends it, once all have ended. */
	return h->succeeded > 0 && h->active == 0;
}

static enum job_end end_of(const struct job_want *w, const struct job_have *h)
{
	int64_t over = h->succeeded + h->failed_indexes;

	if (h->decided != JOB_RUNS)
		return h->decided;
	if (h->pod_failure)
		return JOB_POD_FAILURE;
	if (h->failed > w->backoff_limit ||
	    (w->on_failure && h->restarts && h->restarts >= w->backoff_limit))
		return JOB_BACKOFF;
	if (w->deadline_s && w->start_s && !w->suspended &&
	    w->now_s >= w->start_s + w->deadline_s)
		return JOB_DEADLINE;
	if (w->max_failed_indexes >= 0 &&
	    h->failed_indexes > w->max_failed_indexes)
		return JOB_MAX_FAILED_INDEXES;
	if (h->failed_indexes && over >= w->completions)
		return JOB_FAILED_INDEXES;
	if (h->enough)
		return JOB_SUCCESS_POLICY;
	return is_done(w, h) ? JOB_COMPLETE : JOB_RUNS;
}

void job_plan(const struct job_want *w, const struct job_have *h,
	      struct job_plan *ret)
{
	int64_t want, busy = h->active;

	*ret = (struct job_plan){ .end = end_of(w, h) };
	if (ret->end != JOB_RUNS || w->suspended) {
		ret->remove = h->active;
		return;
	}
	if (w->deadline_s && w->start_s)
		ret->again_s = w->start_s + w->deadline_s;
	want = w->parallelism;
	if (w->completions >= 0)
		want = min(want,
			   w->completions - h->succeeded - h->failed_indexes);
	else if (h->succeeded)
		want = h->active;
	if (w->replace_failed)
		busy += h->terminating;
	if (h->active > want)
		ret->remove = h->active - want;
	else if (want > busy)
		ret->create = want - busy;
}
