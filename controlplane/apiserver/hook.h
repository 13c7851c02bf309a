/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One question to somebody's webhook, by HTTPS, on a thread that may wait.
 *
 * Where it is, a clientConfig says: a URL, or a service, which is looked up
 * (nothing routes service addresses to us). A tenant's is a service of its own
 * at an address where extension servers of tenants may be: nobody has us ask
 * what he could not ask himself; see aggregator/place.h.
 */
#ifndef CONTROLPLANE_APISERVER_HOOK_H
#define CONTROLPLANE_APISERVER_HOOK_H

#include <yyjson.h>

#include "lib/auto.h"
#include "lib/buf.h"

struct api;
struct err;
struct hook_caller;

int hook_callers_start(struct api *api, struct err *e);
/* From now on all that ask, and will ask, fail. */
void hook_callers_stop(struct api *api);
void hook_callers_free(struct api *api);

struct hook_caller *hook_caller_new(struct api *api);
/* From any thread: what it is waiting for fails, and so does all that comes. */
void hook_caller_cancel(struct hook_caller *c);
void hook_caller_free(struct hook_caller *c);
DEFINE_AUTO_PTR(hook_caller, hook_caller_free)

/* What @config is called in messages: the URL that is asked, with @seconds. */
void hook_url(yyjson_val *config, int seconds, struct buf *b);

/**
 * hook_post() - Ask one.
 * @c:       Who asks; one question at a time.
 * @tenant:  Whose webhook it is.
 * @config:  Its clientConfig.
 * @seconds: To wait without any progress.
 * @body:    JSON.
 * @answer:  Reset and filled; its max holds.
 * @e:       Filled on error.
 *
 * Return: 0, or a negative errno when it could not be asked, or answered with
 * another status than 200.
 */
int hook_post(struct hook_caller *c, const char *tenant, yyjson_val *config,
	      int seconds, const char *body, struct buf *answer, struct err *e);

#endif /* CONTROLPLANE_APISERVER_HOOK_H */
