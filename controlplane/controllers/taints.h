/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes' taints: which ones a node's conditions call for, and when a pod has to
 * go because of one. */
#ifndef CONTROLPLANE_CONTROLLERS_TAINTS_H
#define CONTROLPLANE_CONTROLLERS_TAINTS_H

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

struct buf;

#define TAINT_NOT_READY   "node.kubernetes.io/not-ready"
#define TAINT_UNREACHABLE "node.kubernetes.io/unreachable"
/* What a pod that says nothing of these two is granted. */
#define TAINT_GRACE_S     300

/* Write spec.taints as they should be, as JSON. True: that is a change. */
bool taints_plan(yyjson_val *node, int64_t now_s, struct buf *b);

/* When @pod has to leave @node: Unix seconds, 0 at once, INT64_MAX never. */
int64_t taints_leave_at(yyjson_val *node, yyjson_val *pod, int64_t now_s);

/* Does @node have a taint with effect NoExecute? */
bool taints_evict(yyjson_val *node);

#endif /* CONTROLPLANE_CONTROLLERS_TAINTS_H */
