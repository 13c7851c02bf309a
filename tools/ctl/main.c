// SPDX-License-Identifier: Apache-2.0
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tools/ctl/ctl.h"

static const char usage[] =
	"usage: arktosctl [--kubeconfig FILE] tenant create NAME [--out FILE]\n"
	"       arktosctl [--kubeconfig FILE] tenant delete NAME\n"
	"       arktosctl [--kubeconfig FILE] tenant kubeconfig NAME "
	"[--user USER] [--group GROUP]... [--out FILE]\n"
	"       arktosctl [--kubeconfig FILE] tenant list\n"
	"       arktosctl [--kubeconfig FILE] node token\n"
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
	"day.\n"
	"doctor looks for what is wrong with the control plane and its nodes, "
	"and\nsays what to do; it exits with 1 if something is. raw sends one "
	"request,\nwith a file (JSON or YAML) for its body, and prints the "
	"answer: for\nscripts where there is no kubectl.\n"
	"reboot, snapshot and restore are for VM pods, and wait for the end.\n";

/* Takes --kubeconfig out of the arguments, wherever it stands, as kubectl's
 * users expect it. NULL: it is not there; what it lacks getopt tells. */
static const char *take_kubeconfig(int *argc, char **argv)
{
	static const char option[] = "--kubeconfig";
	const char *found = NULL;
	int n = 0;

	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (i < *argc)
				argv[n++] = argv[i++];
			break;
		}
		if (strcmp(argv[i], option) == 0 && i + 1 < *argc)
			found = argv[++i];
		else if (strncmp(argv[i], "--kubeconfig=", sizeof(option)) == 0)
			found = argv[i] + sizeof(option);
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	*argc = n;
	return found;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kubeconfig", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	const char *kubeconfig = take_kubeconfig(&argc, argv);
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
	if (optind < argc && strcmp(argv[optind], "tenant") == 0)
		return cmd_tenant(kubeconfig, argc - optind, argv + optind);
	if (optind < argc && strcmp(argv[optind], "node") == 0)
		return cmd_node(kubeconfig, argc - optind, argv + optind);
	if (optind < argc && strcmp(argv[optind], "doctor") == 0)
		return cmd_doctor(kubeconfig, argc - optind, argv + optind);
	if (optind < argc && strcmp(argv[optind], "raw") == 0)
		return cmd_raw(kubeconfig, argc - optind, argv + optind);
	if (optind < argc && (strcmp(argv[optind], "reboot") == 0 ||
			      strcmp(argv[optind], "snapshot") == 0 ||
			      strcmp(argv[optind], "restore") == 0))
		return cmd_action(kubeconfig, argc - optind, argv + optind);
	fputs(usage, stderr);
	return 2;
}
