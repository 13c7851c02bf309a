/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of arktos-control. Each returns an exit code. */
#ifndef CONTROLPLANE_CONTROL_H
#define CONTROLPLANE_CONTROL_H

#include <stdbool.h>
#include <stdio.h>

#include "controlplane/store/admin.h"

/* Serve until SIGTERM or SIGINT. */
int control_run(int argc, char **argv);
/* Copy the store of a data folder, also while it is served. */
int control_backup(int argc, char **argv);
/* Make the store of a data folder from such a copy. */
int control_restore(int argc, char **argv);
/* A new encryption key, and everything sealed with the newest one. */
int control_rotate_key(int argc, char **argv);
int control_reencrypt(int argc, char **argv);
int control_wrong(const char *msg);
int control_failed(const struct err *e);

/* The options that say where objects are kept, for getopt_long(). */
#define CONTROL_STORE_OPTIONS                                                 \
	{ "store", required_argument, NULL, 'S' },                            \
		{ "etcd-cafile", required_argument, NULL, 'C' },              \
		{ "etcd-certfile", required_argument, NULL, 'X' },            \
		{ "etcd-keyfile", required_argument, NULL, 'K' },             \
		{ "etcd-prefix", required_argument, NULL, 'P' },              \
		{ "etcd-compaction-interval", required_argument, NULL, 'H' }, \
	{                                                                     \
		"encryption-key-file", required_argument, NULL, 'E'           \
	}

struct control_store {
	struct store_opts opts;
	struct store_etcd etcd;
};

/* Take option @c; false: it is none of these, or has a wrong value. */
bool control_store_option(struct control_store *s, int c, const char *value);
void control_help(FILE *to);

#endif /* CONTROLPLANE_CONTROL_H */
