// SPDX-License-Identifier: Apache-2.0
/* 'arktos-node join': options to join_run(). */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/remote/join.h"
#include "agent/run.h"
#include "lib/err.h"
#include "lib/str.h"

struct args {
	const char *token, *ca_hash, *node_name, *out;
};

#define OPT(name, member, value, help)                                        \
	{                                                                     \
		name, 0, CLI_STR, offsetof(struct args, member), value, help, \
			NULL                                                  \
	}

const struct cli_option join_options[] = {
	OPT("token", token, "ID.SECRET", "of 'arktosctl node token'"),
	OPT("ca-hash", ca_hash, "sha256:HEX", "of the CA's public key"),
	OPT("node-name", node_name, "NAME", "(the host's name)"),
	OPT("out", out, "FILE", "(/etc/arktos/node.kubeconfig)"), CLI_END
};

int cmd_join(const struct cli_command *c, int argc, char **argv)
{
	struct args args = { .out = "/etc/arktos/node.kubeconfig" };
	struct join_opts o;
	struct err e = { 0 };
	char host[65] = "";
	int r = cli_parse(c, argc, argv, &args, &e);

	if (r == -ECANCELED)
		return 0;
	if (r >= 0 && r + 1 != argc)
		r = err_set(&e, -EINVAL, "want the API server's address");
	if (r < 0)
		return cli_usage(c, r, &e);
	(void)gethostname(host, sizeof(host) - 1);
	str_lower(host);
	o = (struct join_opts){ .server = argv[r],
				.token = args.token,
				.ca_hash = args.ca_hash,
				.node_name =
					args.node_name ? args.node_name : host,
				.out = args.out };
	if (join_run(&o, &e) < 0)
		return cli_fail(&e);
	printf("node %s may join: arktos-node run --kubeconfig %s\n",
	       o.node_name, o.out);
	return 0;
}
