// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/internal.h"
#include "controlplane/store/pin.h"

void store_pin(struct store *s, struct store_pin *p)
{
	pthread_mutex_lock(&s->pin_lock);
	/* A compaction that was planned before this goes no further than what
	 * was published then. */
	p->revision = atomic_load(&s->revision);
	p->s = s;
	p->next = s->pins;
	p->link = &s->pins;
	if (p->next)
		p->next->link = &p->next;
	s->pins = p;
	pthread_mutex_unlock(&s->pin_lock);
}

void store_unpin(struct store_pin *p)
{
	struct store *s = p->s;

	if (!s)
		return;
	pthread_mutex_lock(&s->pin_lock);
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	p->s = NULL;
	pthread_mutex_unlock(&s->pin_lock);
}

uint64_t pin_oldest(struct store *s)
{
	uint64_t oldest = UINT64_MAX;

	pthread_mutex_lock(&s->pin_lock);
	for (const struct store_pin *p = s->pins; p; p = p->next)
		if (p->revision < oldest)
			oldest = p->revision;
	pthread_mutex_unlock(&s->pin_lock);
	return oldest;
}
