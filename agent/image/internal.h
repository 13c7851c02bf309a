/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the image store. */
#ifndef AGENT_IMAGE_INTERNAL_H
#define AGENT_IMAGE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent/image/image.h"
#include "agent/image/oci.h"
#include "agent/image/vmfile.h"
#include "lib/buf.h"

#define STAGE_NAME_MAX 32
#define RECORD_FILE    "image.json"
#define INDEX_FILE     "index.json"

/* An unpacked layer below layers/. */
struct layer {
	struct layer *next;
	char digest[DIGEST_TEXT_MAX]; /* as it was packed: its folder's name */
	char diff_id[DIGEST_TEXT_MAX];
	uint64_t bytes;
	unsigned int refs; /* images, and pulls under way */
};

/* What an image's record says of one of its layers. */
struct layer_record {
	char digest[DIGEST_TEXT_MAX];
	char diff_id[DIGEST_TEXT_MAX];
	uint64_t bytes;
};

/* An image, in the table and in its folder below images/. @img and what comes
 * with it never change once it is in the table; the rest is under the lock. */
struct stored {
	struct image img;
	atomic_uint refs;            /* the table's one, and everybody's */
	struct layer_record *layers; /* each once, lowest first */
	size_t nr_layers;
	uint64_t own_bytes;

	struct stored *next;
	struct strv names;
	struct strv digests; /* of manifests and indexes that led here */
	uint64_t used;       /* tick of the last use */
};

/* Something only one thread shall do at a time; lives on its stack. */
struct flight {
	struct flight *next;
	const char *key;
};

struct image_store {
	char *dir; /* <state>/images */
	int fd;    /* of it */
	int lock_fd;
	char *unpacker; /* path of arktos-unpack */
	char *policy;
	struct image_store_opts opts; /* numbers only, defaults filled in */
	atomic_uint serial;

	pthread_mutex_t lock;
	pthread_cond_t landed;
	struct flight *flights;
	struct stored *images;
	struct layer *layers;
	uint64_t tick;
};

/* How one pull or import goes on. */
struct transfer {
	struct image_store *s;
	enum image_kind kind;
	const char *format; /* of a disk, or NULL */
	const char *name;   /* to be given, or NULL */
	const char *asked;  /* digest of the index or manifest asked for */
	const atomic_bool *cancel;
	image_progress_fn *progress;
	void *progress_arg;
	struct image_progress now;
};

/* transfer.c */
void transfer_tell(struct transfer *t);
int transfer_check(const struct transfer *t, struct err *e); /* -ECANCELED */

/* stage.c: folders of things half done, below staging/ */
int stage_new(struct image_store *s, char name[STAGE_NAME_MAX], int *ret_fd,
	      struct err *e);
void stage_drop(struct image_store *s, const char *name); /* best effort */
char *stage_path(struct image_store *s, const char *name);
/* Move @folder/@name out of the way into staging; "" when it was not there. */
int stage_retire(struct image_store *s, const char *folder, const char *name,
		 char stage[STAGE_NAME_MAX], struct err *e);
int stage_place(struct image_store *s, const char *stage, const char *to,
		struct err *e);
int stage_discard(struct image_store *s, const char *folder, const char *name,
		  struct err *e); /* retire and remove */

/* table.c: all under the lock */
struct stored *table_by_id(struct image_store *s, const char *id);
struct stored *table_by_name(struct image_store *s, const char *name);
struct stored *table_by_digest(struct image_store *s, const char *digest);
int table_find(struct image_store *s, const char *ref, struct stored **ret,
	       struct err *e);
void table_add(struct image_store *s, struct stored *img);
void table_del(struct image_store *s, struct stored *img);
struct layer *table_layer(struct image_store *s, const char *digest);
struct layer *table_layer_add(struct image_store *s,
			      const struct layer_record *rec);
struct stored *stored_new(void);
struct stored *stored_of(struct image *img);
struct image *stored_use(struct image_store *s, struct stored *img);
/* Be the one who does @key, after whoever does it now. */
int flight_begin(struct transfer *t, struct flight *f, const char *key,
		 bool *ret_waited, struct err *e);
void flight_end(struct image_store *s, struct flight *f);

/* record.c */
int record_write(int dirfd, const struct stored *img, struct err *e);
int record_read(struct image_store *s, const char *hex, struct stored **ret,
		struct err *e);
int record_paths(struct image_store *s, struct stored *img);

/* index.c: under the lock */
int index_load(struct image_store *s, struct err *e);
int index_save(struct image_store *s, struct err *e);
/* Give @img the name, taking it from whoever has it; durable on return. */
int index_name(struct image_store *s, struct stored *img, const char *name,
	       struct err *e);
int index_unname(struct image_store *s, struct stored *img, const char *name,
		 struct err *e);

/* child.c */
struct child {
	char *const *argv;
	int in; /* its stdin; -1: /dev/null */
	const atomic_bool *cancel;
	void (*tick)(void *arg, struct buf *out); /* some times a second */
	void *arg;
};

/* Run it to its end. Return: 0, whatever the exit status, or -errno. */
int child_run(const struct child *c, struct buf *out, struct buf *errors,
	      int *ret_status, struct err *e);

/* layers.c */
struct layer_source {
	const struct oci_blob *blob;
	const char *diff_id;
	int fd;
};

/* Make the layer be there, and take a reference. */
int layer_acquire(struct transfer *t, const struct layer_source *src,
		  struct err *e);
void layer_release(struct image_store *s, const char *digest);
int unpack_tar(struct transfer *t, int fd, const char *folder, struct err *e);

/* build.c */
struct blobs {
	int dirfd;
	bool oci; /* blobs/sha256/<hex>, or just <hex> as in "dir:" */
};

/* An image from its manifest and blobs. @ret may be NULL. */
int build_image(struct transfer *t, const struct blobs *b, const char *manifest,
		size_t len, struct image **ret, struct err *e);
int build_from_dir(struct transfer *t, int dirfd, struct image **ret,
		   struct err *e);
int build_from_oci(struct transfer *t, int dirfd, const char *tag,
		   struct image **ret, struct err *e);
/* Put a staged image in place, unless it is there already. Takes @img. */
int build_commit(struct transfer *t, const char *stage, struct stored *img,
		 struct image **ret, struct err *e);
int build_alias(struct transfer *t, struct stored *img, struct image **ret,
		struct err *e); /* under the lock */

/* A file of a folder that may be hostile: nothing leads out of it. */
int open_inside(int dirfd, const char *path, int flags);

/* disk.c */
int disk_import(struct transfer *t, int fd, struct image **ret, struct err *e);
/* The same as part of a staged image: copy @fd to "disk.<format>". */
int disk_stage(struct transfer *t, int fd, int stage, struct stored *img,
	       char digest[DIGEST_TEXT_MAX], struct err *e);
int file_stage(struct transfer *t, int fd, int stage, const char *name,
	       char digest[DIGEST_TEXT_MAX], uint64_t *ret_bytes,
	       struct err *e);
/* Does the image carry a VM's disk as its only file below /disk? Its fd, or
 * -ENOENT, or -EBADMSG (several). */
int disk_in_layers(struct image_store *s, const struct layer_record *layers,
		   size_t nr, struct err *e);

/* kernel.c */
int kernel_import(struct transfer *t, int dirfd, struct image **ret,
		  struct err *e);

/* skopeo.c: what comes over the network, or from formats we do not read */
struct skopeo {
	struct transfer *t;
	const struct image_pull_opts *opts; /* NULL: local sources */
	int auth_fd;                        /* of ours, in memory; -1: none */
	const char *stage;                  /* its scratch space */
	bool insecure; /* TLS first, then also without, or any certificate */
};

/* Use these credentials from now on; NULL: those of the options, if any. */
struct keyring_entry;
int skopeo_login(struct skopeo *k, const char *repo,
		 const struct keyring_entry *with, struct err *e);
void skopeo_logout(struct skopeo *k);
int skopeo_inspect(struct skopeo *k, const char *source, struct buf *manifest,
		   struct err *e);
/* Into the folder @to below the stage, in the form of "dir:". */
int skopeo_copy(struct skopeo *k, const char *source, const char *to,
		struct err *e);
int url_fetch(struct transfer *t, const char *url, const char *file,
	      struct err *e);

/* pull.c */
int pull_archive(struct transfer *t, const char *source, struct image **ret,
		 struct err *e);

#endif /* AGENT_IMAGE_INTERNAL_H */
