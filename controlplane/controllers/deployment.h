/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_CONTROLLERS_DEPLOYMENT_H
#define CONTROLPLANE_CONTROLLERS_DEPLOYMENT_H

#include "controlplane/controllers/deployment_plan.h"
#include "controlplane/controllers/framework.h"

#define DEP_REVISION "deployment.kubernetes.io/revision"
#define DEP_DESIRED  "deployment.kubernetes.io/desired-replicas"
#define DEP_MAX      "deployment.kubernetes.io/max-replicas"
#define DEP_HISTORY  "deployment.kubernetes.io/revision-history"

/* A replica set as the deployment sees it. */
struct dep_set {
	struct informer_object *obj; /* borrowed from the list */
	yyjson_doc *doc;
	yyjson_val *root;
	int64_t revision;
	bool going;
	struct dep_rs n;
};

/* One deployment during a sync. */
struct dep {
	struct informer_object *obj;
	yyjson_val *root, *template;
	struct dep_want want;
	int64_t generation, deadline_s, min_ready_s, now_s;
	struct informer_list list;
	struct dep_set *sets; /* by creation */
	size_t nr;
	struct dep_set *new;   /* of the present template */
	int64_t last_revision; /* of the others */
	uint32_t hash;
	char new_name[256];
	bool going, made; /* made: the new set, in this round */
};

/* Counts and conditions (deployment_status.c). */
int dep_status(struct ctl *c, struct dep *d, bool *ret_complete, struct err *e);

extern const struct controller deployment_controller;

#endif /* CONTROLPLANE_CONTROLLERS_DEPLOYMENT_H */
