// SPDX-License-Identifier: Apache-2.0
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tools/ctl/ctl.h"

static const char usage[] =
	"usage: arktosctl [--kubeconfig FILE] tenant create NAME [--out FILE]\n"
	"                 [--storagecluster ID]\n"
	"       arktosctl [--kubeconfig FILE] tenant delete NAME\n"
	"       arktosctl [--kubeconfig FILE] tenant kubeconfig NAME "
	"[--user USER] [--group GROUP]... [--out FILE]\n"
	"       arktosctl [--kubeconfig FILE] tenant list\n"
	"       arktosctl [--kubeconfig FILE] node token\n"
	"       arktosctl [--kubeconfig FILE] node drain NAME [--force] "
	"[--timeout TIME]\n"
	"       arktosctl [--kubeconfig FILE] reboot POD [--delay TIME]\n"
	"       arktosctl [--kubeconfig FILE] snapshot POD [--name NAME | "
	"--delete NAME]\n"
	"       arktosctl [--kubeconfig FILE] restore POD --snapshot NAME\n"
	"           each with [-n NAMESPACE] [-t TENANT] [--timeout TIME]\n"
	"       arktosctl [--kubeconfig FILE] doctor [-o json]\n"
	"       arktosctl [--kubeconfig FILE] raw METHOD PATH [-f FILE|-] "
	"[--type MEDIA-TYPE] [--timeout SECONDS]\n\n"
	"Makes tenants and the kubeconfigs of their users. Without --out, the\n"
	"kubeconfig goes to NAME.kubeconfig. A node's token is good for a "
	"day;\nits drain evicts pods of all tenants, kubectl's those of system.\n"
	"doctor looks for what is wrong with the control plane and its nodes, "
	"and\nsays what to do; it exits with 1 if something is. raw sends one "
	"request,\nwith a file (JSON or YAML) for its body, and prints the "
	"answer: for\nscripts where there is no kubectl.\n"
	"reboot, snapshot and restore are for VM pods, and wait for the end.\n";

static const struct {
	const char *name;
	int (*run)(const char *kubeconfig, int argc, char **argv);
} commands[] = {
	{ "tenant", cmd_tenant },  { "node", cmd_node },
	{ "doctor", cmd_doctor },  { "raw", cmd_raw },
	{ "reboot", cmd_action },  { "snapshot", cmd_action },
	{ "restore", cmd_action },
};

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kubeconfig", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	const char *kubeconfig = ctl_take_kubeconfig(&argc, argv);
	int c;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		} else if (c == 'v') {
			printf("arktosctl %s\n", ARKTOS_VERSION);
			return 0;
		} else {
			fputs(usage, stderr);
			return 2;
		}
	}
	for (size_t i = 0;
	     optind < argc && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[optind], commands[i].name) == 0)
			return commands[i].run(kubeconfig, argc - optind,
					       argv + optind);
	if (optind < argc)
		fprintf(stderr,
			"arktosctl: no command '%s'; see arktosctl --help\n",
			argv[optind]);
	else
		fputs(usage, stderr);
	return 2;
}
