/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission webhooks. They are the system's (the configurations are
 * cluster-scoped), and are asked about all tenants, or those that the
 * configuration's annotation arktos.futurewei.com/tenants names.
 *
 * A loop never waits for them: a write that some are to be asked about is set
 * aside, a small pool of threads asks, and the write is attempted again with
 * the answers at hand. When somebody has changed the object meanwhile, the
 * answers are void and it is asked again.
 */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_H
#define CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_H

#include <stdbool.h>
#include <stdint.h>

struct admission;
struct api;
struct err;
struct hook_memo;

int webhooks_start(struct api *api, struct err *e);
void webhooks_stop(struct api *api);

/**
 * webhooks_admit() - Ask those that are to be asked.
 * @a:        The request; its object is replaced by what the mutating ones
 *            made of it.
 * @mutating: Which half; a delete has the other one only.
 * @revision: Of the object that is to be changed; 0: there is none.
 *
 * Return: 0 (no objection), 1 (none, and the object is another one now),
 * -EINPROGRESS (set aside: do nothing more, the write comes again), or -EACCES
 * (the verdict is in @a).
 */
int webhooks_admit(struct admission *a, bool mutating, uint64_t revision);

/* Who is to be asked, of both halves, about what is no write (a connection, one
 * of a collection): 0, and whoever called asks them, or -EACCES. */
struct hook_question;
int webhooks_question(struct admission *a, struct hook_question *q);

void hook_memo_free(struct hook_memo *m);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_H */
