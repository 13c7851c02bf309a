/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_STORE_BACKEND_H
#define CONTROLPLANE_STORE_BACKEND_H

#include "controlplane/store/admin.h"
#include "controlplane/store/keys.h"

/* --- back end: what makes changes durable --- */

struct store_backend {
	const struct store_backend_ops *ops;
	struct store_keys *keys; /* borrowed; NULL: nothing is encrypted */
	/* Of a back end that others write, too: call when there is news. */
	void (*wake)(void *arg);
	void *wake_arg;
};

/* Called in order of revision while loading. Takes the reference. */
typedef int (*backend_record)(void *arg, struct object_bytes *o);

struct store_backend_ops {
	int (*load)(struct store_backend *b, backend_record fn, void *arg,
		    uint64_t *ret_revision, uint64_t *ret_compacted,
		    struct err *e);
	/*
	 * Make @nr new versions durable, drop the @nr_dead versions, and
	 * remember @compacted and @revision; all or nothing. -EUNATCH: it is
	 * not known which, settle() tells. -EAGAIN: nothing was changed, since
	 * somebody else has written: tail() has news.
	 */
	int (*commit)(struct store_backend *b, struct object_bytes **v,
		      size_t nr, struct object_bytes **dead, size_t nr_dead,
		      uint64_t compacted, uint64_t revision, struct err *e);
	/* After -EUNATCH: find out whether that commit happened. When this has
	 * returned 0 it cannot happen later any more; -ENODATA: nor that, but
	 * whether it had happened nobody can tell any more. */
	int (*settle)(struct store_backend *b, bool *ret_happened,
		      struct err *e);
	/* All versions newer than @after, in order. @force: ask, do not rely
	 * on having been told. -ESTALE: they are gone, load again. */
	int (*tail)(struct store_backend *b, uint64_t after, bool force,
		    backend_record fn, void *arg, uint64_t *ret_revision,
		    struct err *e);
	/* Between two commits: keep what is occupied near @live_bytes.
	 * Returns whether something was made smaller. */
	bool (*tidy)(struct store_backend *b, uint64_t live_bytes);
	/* Of a back end that drops versions by itself, or NULL: nobody can ask
	 * for this one any more, the compaction before that is durable. There
	 * is a newer one, and nobody has told of this one. */
	void (*dead)(struct store_backend *b, const struct object_bytes *o);
	void (*outlived)(struct store_backend *b, const struct object_bytes *o);
	int (*reencrypt)(struct store_backend *b, uint64_t *ret_nr,
			 struct err *e);
	/*
	 * Of a back end in which keys are in several clusters; NULL with
	 * others. may(): -EINPROGRESS: this key cannot be written yet, wake()
	 * will tell; -EHOSTUNREACH: it cannot be. Write lock held. seen(): this
	 * version is visible now. Write lock held. whole(): is all below
	 * @prefix in memory? *ret_floor: the first snapshot that is. attach():
	 * the versions of a cluster that memory has not yet, if there is one
	 * that has come (1), in order. When they are in, attached().
	 */
	int (*may)(struct store_backend *b, const char *key, struct err *e);
	void (*seen)(struct store_backend *b, const struct object_bytes *o);
	int (*whole)(struct store_backend *b, const char *prefix,
		     uint64_t *ret_floor, struct err *e);
	int (*place)(struct store_backend *b, const char *key);
	int (*cluster)(struct store_backend *b, int id,
		       struct store_cluster *ret);
	int (*attach)(struct store_backend *b, backend_record fn, void *arg,
		      int *ret_id, struct err *e);
	void (*attached)(struct store_backend *b, int id, uint64_t floor);
	bool (*lost)(struct store_backend *b); /* since asked before */
	uint64_t (*file_bytes)(struct store_backend *b);
	void (*close)(struct store_backend *b);
	size_t batch_bytes; /* aim of one commit; 0: the writer's own */
	bool shared;        /* others may write: reads need a barrier */
};

#endif /* CONTROLPLANE_STORE_BACKEND_H */
