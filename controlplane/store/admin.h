/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator does with a store: where it is, copies, keys. */
#ifndef CONTROLPLANE_STORE_ADMIN_H
#define CONTROLPLANE_STORE_ADMIN_H

#include "controlplane/store/store.h"

/* Where an etcd store is; several processes may use one at a time. */
struct store_etcd {
	const char *endpoints; /* https://HOST:PORT or http://, by commas */
	const char *prefix;    /* of all keys; NULL: "/arktos/" */
	const char *ca_file, *cert_file, *key_file; /* PEM; NULL: none */
	uint32_t timeout_ms; /* of one request; 0: 5000 */
	/* Where the further clusters are and what is in them, without
	 * StorageCluster and Tenant objects: of tests. By number from 1 on. */
	const char *const *clusters; /* until NULL */
	int (*place)(const char *key);
};

/*
 * Further clusters hold the objects of those tenants that say so
 * (spec.storageClusterId), by StorageCluster objects. The store follows both
 * kinds by itself.
 */
#define STORE_CLUSTERS_MAX 64

struct store_cluster {
	int id;
	char name[256];         /* of its StorageCluster */
	char address[256];      /* as that has it */
	bool ready;             /* takes writes */
	bool asked;             /* and has not answered yet */
	bool whole;             /* memory has all of it: it can be read */
	char why[ERR_MSG_SIZE]; /* if not */
};

/* -ENOENT: there is no such cluster; -ENOTSUP: the store is embedded. */
int store_cluster(struct store *s, int id, struct store_cluster *ret);

/* Is all below @prefix known here? -EHOSTUNREACH, with words: not what is in a
 * cluster that has not been reached since we began. */
int store_whole(struct store *s, const char *prefix, struct err *e);

/* Forget history up to @revision. -ERANGE beyond the newest. */
int store_compact(struct store *s, uint64_t revision, struct err *e);

/* Write a consistent copy of the store, while it runs, as a new store folder
 * @dir (which must be empty or missing). Also of an etcd store. */
int store_backup(struct store *s, const char *dir, struct err *e);

/* Copy the store folder @dir, also while another process serves it, and verify
 * the copy. */
int store_backup_folder(const char *dir, const char *to, const char *key_file,
			uint64_t *ret_objects, uint64_t *ret_revision,
			struct err *e);

/* Read every record of the store folder @dir. -EBADMSG: damaged. */
int store_verify(const char *dir, const char *key_file, uint64_t *ret_objects,
		 uint64_t *ret_revision, struct err *e);

/*
 * Make the store folder @dir (empty or missing) from the backup @from,
 * verified. Revisions go on far beyond any that was ever given out after the
 * backup, and the history before is gone: who holds something newer than the
 * backup is told to start again (410) instead of being shown the past as the
 * present.
 */
int store_restore(const char *from, const char *dir, const char *key_file,
		  struct err *e);

/* Read the key file again, and rewrite what is not sealed with its first key.
 * While it runs, and while others read and write. */
int store_reencrypt(struct store *s, uint64_t *ret_rewritten, struct err *e);

#endif /* CONTROLPLANE_STORE_ADMIN_H */
