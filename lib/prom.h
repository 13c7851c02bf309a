/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures in Prometheus' text format, and histograms for them.
 *
 *	prom_observe(&h, &bounds, 1200);	by one thread; costs an addition
 *	prom_collect(&sum, &h);			by any other
 *	prom_head(b, "x_seconds", "histogram", "How long x took.");
 *	prom_put_histogram(b, "x_seconds", "verb=\"GET\"", &bounds, &sum);
 */
#ifndef LIB_PROM_H
#define LIB_PROM_H

#include <stdatomic.h>
#include <stdint.h>

struct buf;

#define PROM_BOUNDS_MAX 24

struct prom_bounds {
	unsigned nr;
	uint64_t unit; /* as many of the numbers below are one of the text */
	uint64_t v[PROM_BOUNDS_MAX]; /* ascending */
};

/* Counters that one thread writes, or who holds a lock; any may read. */
typedef atomic_uint_fast64_t prom_counter;

static inline void prom_add(prom_counter *c, uint64_t n)
{
	/* No other writer: no locked instruction. */
	atomic_store_explicit(c,
			      atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline uint64_t prom_get(prom_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

struct prom_histogram {
	prom_counter counts[PROM_BOUNDS_MAX + 1]; /* the last: beyond all */
	prom_counter sum;
};

struct prom_sum {
	uint64_t counts[PROM_BOUNDS_MAX + 1], sum;
};

void prom_observe(struct prom_histogram *h, const struct prom_bounds *b,
		  uint64_t value);
/* Add what @h has to @to. */
void prom_collect(struct prom_sum *to, struct prom_histogram *h);

void prom_head(struct buf *b, const char *name, const char *type,
	       const char *help);
/* @labels: "a=\"b\",c=\"d\"", or "". */
void prom_put(struct buf *b, const char *name, const char *labels,
	      uint64_t value);
void prom_put_histogram(struct buf *b, const char *name, const char *labels,
			const struct prom_bounds *bounds,
			const struct prom_sum *sum);
/* process_*: of this process, which began at @start_s (Unix seconds). */
void prom_put_process(struct buf *b, double start_s);

#endif /* LIB_PROM_H */
