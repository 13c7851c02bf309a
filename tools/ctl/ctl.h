/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_CTL_CTL_H
#define TOOLS_CTL_CTL_H

struct rest;
struct err;

/* Take --kubeconfig out of the arguments, wherever it stands, as kubectl's
 * users expect it. NULL: it is not there; a lack of its value getopt tells. */
const char *ctl_take_kubeconfig(int *argc, char **argv);
/* Of the host's admin: what 'make up' leaves there. */
#define ADMIN_KUBECONFIG "/etc/arktos/admin.kubeconfig"

/* The one given, $KUBECONFIG, ~/.kube/config, or else the host's admin's, if it
 * may be read. Owned by the caller. */
char *ctl_kubeconfig(const char *given);
int ctl_open(const char *kubeconfig, struct rest **ret, struct err *e);

/* Each returns an exit code. */
int cmd_doctor(const char *kubeconfig, int argc, char **argv);
int cmd_drain(const char *kubeconfig, int argc, char **argv);
int cmd_node(const char *kubeconfig, int argc, char **argv);
int cmd_raw(const char *kubeconfig, int argc, char **argv);
int cmd_action(const char *kubeconfig, int argc, char **argv);
int cmd_tenant(const char *kubeconfig, int argc, char **argv);

#endif /* TOOLS_CTL_CTL_H */
