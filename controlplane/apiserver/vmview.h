/* SPDX-License-Identifier: Apache-2.0 */
/* VM pods as kubectl's exec, attach, logs and cp need to see them. */
#ifndef CONTROLPLANE_APISERVER_VMVIEW_H
#define CONTROLPLANE_APISERVER_VMVIEW_H

#include <stdbool.h>

struct object_bytes;
struct req;

/* Does who asks look for a container before it asks for more? */
bool vm_view_wanted(const struct req *r);

/* Replace *@slot, if it is a VM pod, by one that shows the VM as its container,
 * too. Return: 0, -ENOMEM. */
int vm_view(struct object_bytes **slot);

#endif /* CONTROLPLANE_APISERVER_VMVIEW_H */
