// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/control.h"
#include "controlplane/store/store.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

void control_help(FILE *to)
{
	fputs("usage: arktos-control run --data-dir DIR [--listen "
	      "ADDRESS:PORT]\n"
	      "                          [--advertise HOST] [--threads N]\n"
	      "       arktos-control backup --data-dir DIR --to DIR\n\n"
	      "run serves the Kubernetes API from an embedded store. A fresh "
	      "DIR gets a CA\nand DIR/admin.kubeconfig.\n",
	      to);
}

static int wrong(const char *msg)
{
	fprintf(stderr, "arktos-control: %s\n\n", msg);
	control_help(stderr);
	return 2;
}

static int failed(const struct err *e)
{
	fprintf(stderr, "arktos-control: %s\n", e->msg);
	return 1;
}

int control_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "data-dir", required_argument, NULL, 'd' },
		{ "listen", required_argument, NULL, 'l' },
		{ "advertise", required_argument, NULL, 'a' },
		{ "threads", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	struct api_opts opts = { .listen = "127.0.0.1:6443" };
	struct api *api = NULL;
	struct err e = { 0 };
	sigset_t set;
	int c, n, sig;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'd')
			opts.data_dir = optarg;
		else if (c == 'l')
			opts.listen = optarg;
		else if (c == 'a')
			opts.advertise = optarg;
		else if (c == 't' && str_to_int(optarg, &n) == 0 && n > 0 &&
			 n <= 64)
			opts.threads = n;
		else
			return wrong("wrong option");
	}
	if (!opts.data_dir || optind != argc)
		return wrong("--data-dir is required");
	/* Blocked before there are threads, which inherit it. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (api_start(&opts, &api, &e) < 0)
		return failed(&e);
	log_info("serving on port %u, kubeconfig %s/admin.kubeconfig",
		 api_port(api), opts.data_dir);
	while (sigwait(&set, &sig) != 0)
		;
	log_info("stopping on signal %d", sig);
	api_stop(api);
	return 0;
}

int control_backup(int argc, char **argv)
{
	static const struct option options[] = {
		{ "data-dir", required_argument, NULL, 'd' },
		{ "to", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	const char *dir = NULL, *to = NULL;
	auto_free char *db = NULL;
	auto_ptr(store) s = NULL;
	struct store_opts opts = { 0 };
	struct err e = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'd')
			dir = optarg;
		else if (c == 't')
			to = optarg;
		else
			return wrong("wrong option");
	}
	if (!dir || !to || optind != argc)
		return wrong("--data-dir and --to are required");
	db = str_printf("%s/store", dir);
	opts.dir = db;
	/* Opening would make one. */
	if (db && !fs_exists(AT_FDCWD, db)) {
		err_set(&e, -ENOENT, "%s holds no store", dir);
		return failed(&e);
	}
	if (!db || store_open(&opts, &s, &e) < 0 || store_backup(s, to, &e) < 0)
		return failed(&e);
	return 0;
}
