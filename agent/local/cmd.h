/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the host's CLI, and what they share. */
#ifndef AGENT_LOCAL_CMD_H
#define AGENT_LOCAL_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/http/client.h"

extern const struct cli_program *cmd_program; /* for completion */

#define CMD(name)                                        \
	extern const struct cli_option name##_options[]; \
	int cmd_##name(const struct cli_command *c, int argc, char **argv)

CMD(apply);
CMD(ps);
CMD(describe);
CMD(logs);
CMD(exec);
CMD(console);
CMD(delete);
CMD(resize);
CMD(image);
CMD(reboot);
CMD(snapshot);
CMD(restore);
CMD(doctor);
CMD(top);
CMD(net);
CMD(node);
CMD(completion);
CMD(version);
CMD(complete);

/* --- shared -----------------------------------------------------------------
 */

#define CMD_SOCKET "/run/arktos/node.sock" /* or $ARKTOS_NODE_SOCKET */

/* The first member of every command's arguments. */
struct cmd_common {
	const char *socket;
	const char *namespace, *tenant; /* of the pods that are named */
};

#define CMD_COMMON_OPTIONS                                                  \
	{                                                                   \
		"socket", 0, CLI_STR, offsetof(struct cmd_common, socket),  \
			"PATH", "the agent's socket (" CMD_SOCKET ")", NULL \
	}

/* Of commands about pods. */
#define CMD_POD_OPTIONS                                          \
	{ "namespace", 'n',                                      \
	  CLI_STR,     offsetof(struct cmd_common, namespace),   \
	  "NAME",      "the pod's namespace (default)",          \
	  NULL },                                                \
		{ "tenant", 0,                                   \
		  CLI_STR,  offsetof(struct cmd_common, tenant), \
		  "NAME",   "the pod's tenant (system)",         \
		  NULL },                                        \
		CMD_COMMON_OPTIONS

/* POD on the command line: name, namespace/name or tenant/namespace/name, or
 * with --namespace and --tenant. */
struct pod_ref {
	char tenant[64];
	char namespace[64];
	char name[254];
};

/* --namespace and --tenant, where no pod is named. */
int cmd_check_place(const struct cmd_common *c, struct err *e);

int pod_ref_parse(const struct cmd_common *c, const char *text,
		  struct pod_ref *ret, struct err *e);

/* The same, and a bare NAME that no pod of the default tenant and namespace has
 * is that of the one pod on this node that has it. -ENOTUNIQ when several have:
 * @e names them. */
int pod_ref_find(const struct cmd_common *c, const char *text,
		 struct pod_ref *ret, struct err *e);

/* "/api/v1/namespaces/default/pods/web" + @sub. */
void pod_ref_target(const struct pod_ref *ref, const char *sub, struct buf *b);

/**
 * cmd_connect() - Connect to the agent.
 * @c:   For its socket.
 * @ret: Close with http_client_close().
 * @e:   Says how to start the agent when it does not run.
 */
int cmd_connect(const struct cmd_common *c, struct http_client **ret,
		struct err *e);

/* A call whose answer is wanted in @out (appended). A Status becomes -errno and
 * its message. @timeout_ms 0: 30 s. */
int cmd_call(struct http_client *c, const char *method, const char *target,
	     const char *body, int timeout_ms, struct buf *out, struct err *e);

/* The same; @told: the whole message of a Status, of which @e has only so much.
 */
int cmd_call_told(struct http_client *c, const char *method, const char *target,
		  const char *body, struct buf *out, struct buf *told,
		  struct err *e);

/* What a Status with HTTP status @status says: -errno and the message. */
int cmd_status(int status, const struct buf *body, struct err *e);

/* The usual beginning of a command: options, @nr operands at least and at most.
 * Returns the index of the first, or -(exit code) - 1 when it is over. */
int cmd_begin(const struct cli_command *c, int argc, char **argv, void *args,
	      int min, int max);
#define CMD_EXIT(r) (-(r)-1)

/* Write all of it to stdout; 0 or 1 (an exit code). */
int cmd_print(const struct buf *b);

#endif /* AGENT_LOCAL_CMD_H */
