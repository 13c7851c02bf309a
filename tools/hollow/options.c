// SPDX-License-Identifier: Apache-2.0
#include <getopt.h>

#include "lib/str.h"
#include "tools/hollow/hollow.h"

int hollow_usage(FILE *to)
{
	fputs("usage: arktos-hollow --kubeconfig FILE [--nodes N] [--prefix "
	      "NAME]\n"
	      "         [--cpu N] [--memory N] [--pods N] [--zones N] "
	      "[--lease-seconds N]\n\n"
	      "Simulated nodes for scale tests: pods bound to them become "
	      "Running at once,\nand nothing is run. All it makes carries the "
	      "label " HOLLOW_LABEL "=true.\n",
	      to);
	return to == stdout ? 0 : 2;
}

static bool number(const char *text, unsigned *ret)
{
	int n;

	if (str_to_int(text, &n) < 0 || n < 1 || n > 1000000)
		return false;
	*ret = (unsigned)n;
	return true;
}

bool hollow_parse(int argc, char **argv, struct hollow_opts *o)
{
	static const struct option options[] = {
		{ "kubeconfig", required_argument, NULL, 'k' },
		{ "nodes", required_argument, NULL, 'n' },
		{ "prefix", required_argument, NULL, 'p' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "memory", required_argument, NULL, 'm' },
		{ "pods", required_argument, NULL, 'd' },
		{ "zones", required_argument, NULL, 'z' },
		{ "lease-seconds", required_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	bool ok = true;
	int c;

	while (ok && (c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'k':
			o->kubeconfig = optarg;
			break;
		case 'p':
			o->prefix = optarg;
			break;
		case 'c':
			o->cpu = optarg;
			break;
		case 'm':
			o->memory = optarg;
			break;
		case 'z':
			o->zones = optarg;
			break;
		case 'n':
			ok = number(optarg, &o->nodes);
			break;
		case 'd':
			ok = number(optarg, &o->pods);
			break;
		case 'l':
			ok = number(optarg, &o->lease_s);
			break;
		default:
			ok = false;
		}
	return ok && o->kubeconfig && optind == argc;
}
