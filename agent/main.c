// SPDX-License-Identifier: Apache-2.0
/* arktos-node: the agent ('run'), and the host's CLI for it (all else). */
#include "agent/local/cmd.h"
#include "agent/run.h"

#define POD(name, operands, help, more)                                  \
	{                                                                \
#name, operands, help, more, name##_options, cmd_##name, \
			"pods"                                           \
	}
#define ANY(name, operands, help, more)                                       \
	{                                                                     \
#name, operands, help, more, name##_options, cmd_##name, NULL \
	}

static const struct cli_command commands[] = {
	ANY(run, "", "serve this node", NULL),
	{ "join", "https://HOST:PORT", "become a node of that API server",
	  "Then: arktos-node run --kubeconfig FILE", join_options, cmd_join,
	  NULL },
	ANY(apply, "-f FILE", "create or change what files say", NULL),
	ANY(ps, "", "list pods", NULL),
	POD(describe, "POD", "all about one pod", NULL),
	POD(logs, "POD", "what a container wrote", NULL),
	POD(exec, "POD -- CMD...", "run a command in a container or VM", NULL),
	POD(console, "POD", "a VM's serial console", "Ctrl-] leaves it."),
	POD(delete, "POD...", "remove pods", NULL),
	POD(resize, "POD", "change CPU and memory without restart", NULL),
	POD(reboot, "POD", "reboot a VM", NULL),
	POD(snapshot, "POD", "keep a VM's disk and memory as they are",
	    "It is kept with the pod, and goes with it."),
	POD(restore, "POD", "take a VM back to a snapshot", NULL),
	{ "image", "ls|pull|import|rm [IMAGE...]", "images on this node", NULL,
	  image_options, cmd_image, "image-verbs" },
	ANY(top, "", "what pods use, as it changes", NULL),
	ANY(net, "", "networks, endpoints and dropped packets", NULL),
	ANY(node, "", "capacity and condition of this node", NULL),
	ANY(doctor, "", "check whether this host can run pods", NULL),
	ANY(down, "", "remove all that a stopped agent left running", NULL),
	{ "completion", "bash|zsh|fish", "a script for your shell",
	  "For bash: source <(arktos-node completion bash)", completion_options,
	  cmd_completion, "shells" },
	ANY(version, "", "of this program and of the running agent", NULL),
	{ "__complete", "KIND", NULL, NULL, complete_options, cmd_complete,
	  NULL },
	{ 0 }
};

static const struct cli_program program = {
	"arktos-node",
	ARKTOS_VERSION,
	"runs container pods and VM pods on this host",
	commands,
};
const struct cli_program *cmd_program = &program;

int main(int argc, char **argv)
{
	return cli_main(&program, argc, argv);
}
