/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules as in crontab(5): "5-55/10 9-17 * * mon-fri", "@hourly". */
#ifndef CONTROLPLANE_CONTROLLERS_CRON_H
#define CONTROLPLANE_CONTROLLERS_CRON_H

#include <stdbool.h>
#include <stdint.h>

struct err;

struct cron {
	uint64_t minutes; /* a bit per value */
	uint32_t hours, days, months;
	uint8_t weekdays;          /* 0 is Sunday */
	bool any_day, any_weekday; /* written as a star */
};

/* -EINVAL and the reason. */
int cron_parse(const char *text, struct cron *ret, struct err *e);

/* The first time after @after_s (Unix seconds), in UTC plus @offset_s; 0: there
 * is none within five years (30 February). */
int64_t cron_next(const struct cron *c, int64_t after_s, int64_t offset_s);

#endif /* CONTROLPLANE_CONTROLLERS_CRON_H */
