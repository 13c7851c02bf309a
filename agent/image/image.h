/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's image store: content-addressed, under <state>/images/.
 *
 *	images/<sha256>/	an image: manifest; a VM's disk or kernel
 *	layers/<sha256>/	an unpacked layer, shared by its images
 *	index.json		names of images
 *	staging/		what is half done; emptied at open
 *
 * Everything arrives in staging, is verified and flushed there, and is renamed
 * into place: after a crash or on a full disk an image is there, or it is not.
 * Foreign bytes are only ever unpacked by arktos-unpack, a child without
 * network, privileges over the host, or anything but its own empty root.
 *
 * All functions may be called from any thread. image_pull() and image_import()
 * block for as long as the network and the disk take; everything else answers
 * from memory, except image_remove() and image_gc(), which delete files.
 */
#ifndef AGENT_IMAGE_IMAGE_H
#define AGENT_IMAGE_IMAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spec.h"
#include "lib/auto.h"

struct err;
struct image_store;
struct keyring;

#define IMAGE_LAYERS_MAX 127 /* overlayfs stops a little above 500 */
#define IMAGE_NAME_MAX   255

enum image_kind {
	IMAGE_AUTO, /* only as a wish: decide by what is in it */
	IMAGE_CONTAINER,
	IMAGE_DISK,  /* a VM's disk */
	IMAGE_KERNEL /* a VM's kernel, initrd and command line */
};

/* What the image wants its process to be; the pod's spec overrides it. */
struct image_config {
	struct strv entrypoint, cmd;
	struct strv env;     /* NAME=value */
	char *user;          /* "", "1000", "1000:1000", "name[:group]" */
	char *working_dir;   /* "" when not given */
	char *stop_signal;   /* "" when not given; "SIGTERM", "15" */
	struct strv ports;   /* "80/tcp" */
	struct strv volumes; /* paths */
	struct key_values labels;
	char *os, *architecture; /* "linux", "amd64" */
};

struct image_vm {
	char *disk;             /* absolute; NULL without one. Read only! */
	char *format;           /* of @disk: "qcow2" or "raw" */
	uint64_t virtual_bytes; /* size of @disk as the guest sees it */
	char *kernel, *initrd;  /* absolute; NULL for IMAGE_DISK */
	char *cmdline;          /* "" when not given */
};

/* One image. Immutable, and shared: never write to it. */
struct image {
	char *id;             /* "sha256:<64 hex>", of config, disk or bundle */
	enum image_kind kind; /* never IMAGE_AUTO */
	char *manifest_digest; /* "" for imports without one */
	int64_t created_s;  /* Unix time the image says it was made; 0: none */
	int64_t stored_s;   /* since when it is here */
	uint64_t bytes;     /* on disk, shared layers included */
	struct strv layers; /* absolute directories, lowest first */
	struct image_config config; /* IMAGE_CONTAINER */
	struct image_vm vm;         /* IMAGE_DISK, IMAGE_KERNEL */
};

/* A line of image_list(). */
struct image_item {
	struct image *image; /* shared */
	struct strv names;   /* none for an image whose names all moved on */
};

struct image_store_opts {
	const char *libexec; /* folder of arktos-unpack; NULL: our program's */
	const char *policy;  /* signature policy of skopeo; NULL: the host's */
	uint64_t layer_max_bytes;   /* unpacked; 0: 16 GiB */
	uint64_t layer_max_entries; /* 0: 1 million */
	uint32_t layer_max_ratio;   /* unpacked : packed, beyond the first
				     * 64 MiB; 0: 200 */
	uint64_t disk_max_bytes;    /* a VM disk's file; 0: 256 GiB */
	uint32_t unpack_timeout_s;  /* CPU seconds of one unpack; 0: 900 */
};

enum image_phase {
	IMAGE_DOWNLOADING,
	IMAGE_UNPACKING,
	IMAGE_FLUSHING,
	IMAGE_DONE
};

struct image_progress {
	enum image_phase phase;
	uint64_t bytes;       /* so far */
	uint64_t total_bytes; /* 0: not known */
	uint32_t layer, nr_layers;
};

/* Called now and then from the thread that pulls; must not block. */
typedef void image_progress_fn(const struct image_progress *p, void *arg);

struct image_pull_opts {
	enum pull_policy policy;
	enum image_kind kind; /* IMAGE_DISK insists on a VM's disk */
	const char *username; /* both or none */
	const char *password;
	/* Tried in turn where they fit the name; NULL: none. */
	const struct keyring *keyring;
	uint64_t keyring_id; /* others' pulls are waited for if it is theirs */
	const char *auth_file; /* docker's config.json; NULL: the host's */
	bool insecure_tls;     /* plain HTTP or any certificate will do */
	image_progress_fn *progress;
	void *progress_arg;
	const atomic_bool *cancel; /* set it to give up: -ECANCELED */
};

struct image_import_opts {
	const char *name; /* NULL: as the file or folder */
	enum image_kind kind;
	const char *format; /* of a disk: "qcow2", "raw"; NULL: look */
	char **ret_name;    /* set to the name it got, owned; may be NULL */
	image_progress_fn *progress;
	void *progress_arg;
	const atomic_bool *cancel;
};

/* Reasons Kubernetes shows for a container that waits for its image. */
#define IMAGE_REASON_PULL    "ErrImagePull"
#define IMAGE_REASON_BACKOFF "ImagePullBackOff" /* the caller's, in between */
#define IMAGE_REASON_NEVER   "ErrImageNeverPull"
#define IMAGE_REASON_NAME    "InvalidImageName"
#define IMAGE_REASON_VERIFY  "ErrImageVerify"
/* The caller's: it is here, and of no use for this pod. */
#define IMAGE_REASON_INSPECT "ImageInspectError"

/**
 * image_store_open() - Open, or create, the store of a state directory.
 * @state_dir: Absolute. Borrowed. The store is its subfolder images/.
 * @opts:      Borrowed; NULL for the defaults.
 * @ret:       Set to the store; image_store_close() it.
 * @e:         Filled on error. May be NULL.
 *
 * Removes what a crash left in staging and layers no image uses, and drops
 * images that lost a file. A damaged index.json is kept as index.json.damaged,
 * and made anew from the images.
 *
 * Return: 0, or
 *   -EBUSY  another process has this store open
 *   -errno  of the file system otherwise
 */
int image_store_open(const char *state_dir, const struct image_store_opts *opts,
		     struct image_store **ret, struct err *e);

/* All images must have been given back, and no call be under way. */
void image_store_close(struct image_store *s);

/**
 * image_find() - Look an image up.
 * @ref: A name ("busybox", "web", "r.io/a/b:tag", "name@sha256:..."), an id,
 *       or at least 12 hex digits that begin exactly one id.
 * @ret: Set to the image; image_unref() it.
 *
 * "web", "web:latest" and "docker.io/library/web:latest" are one name, however
 * it was given.
 *
 * Return: 0, -ENOENT, -EINVAL (no such name can exist), or -ENOTUNIQ.
 */
int image_find(struct image_store *s, const char *ref, struct image **ret,
	       struct err *e);
struct image *image_ref(struct image *img);
void image_unref(struct image *img); /* NULL is fine */

/**
 * image_pull() - Make sure an image is here, as its policy says. Blocks.
 * @ref:  A name, "docker://NAME", or "http(s)://..." of a VM's disk.
 * @opts: Borrowed; NULL: IfNotPresent, no credentials.
 * @ret:  Set to the image; image_unref() it. May be NULL.
 *
 * PULL_ALWAYS asks the registry, and downloads only what has changed there.
 * Two threads pulling the same thing unpack each layer once.
 *
 * Return: 0, or (see image_reason())
 *   -EINVAL       @ref is no image name
 *   -ENOENT       the registry has it not, or policy Never and it is not here
 *   -EACCES       the registry wants (other) credentials
 *   -EKEYREJECTED the signature policy does not allow it
 *   -EBADMSG      what arrived is damaged or not an image for this machine
 *   -EPERM        a layer tried something hostile; the story names the entry
 *   -EFBIG        a limit of struct image_store_opts
 *   -ENOSPC       the disk is full; nothing is left behind
 *   -ECANCELED    @opts->cancel
 */
int image_pull(struct image_store *s, const char *ref,
	       const struct image_pull_opts *opts, struct image **ret,
	       struct err *e);

/* The Kubernetes reason for what image_pull() returned. */
const char *image_reason(enum pull_policy policy, int code);

/**
 * image_import() - Take an image from this machine. Blocks.
 * @source: "oci:DIR[:TAG]", "dir:DIR", "docker-archive:TAR[:NAME]",
 *          "oci-archive:TAR[:TAG]", "docker-daemon:NAME"; or the path of a
 *          qcow2 or raw disk, of a kernel bundle (a folder or tar file with an
 *          arktos-vm.json, see Documentation/images.md), or of an OCI folder.
 * @opts:   Borrowed; may be NULL. opts->name is kept as given; without one, the
 *          image is called as its file or folder.
 * @ret:    Set to the image; image_unref() it. May be NULL.
 *
 * The source is copied and never needed again. A name that belonged to another
 * image moves here.
 *
 * Return: as image_pull(); -EINVAL also for an unknown kind of source.
 */
int image_import(struct image_store *s, const char *source,
		 const struct image_import_opts *opts, struct image **ret,
		 struct err *e);

/* All images, by name. Free with image_list_free(). 0 or -ENOMEM. */
int image_list(struct image_store *s, struct image_item **ret, size_t *ret_nr);
void image_list_free(struct image_item *items, size_t nr);

/**
 * image_remove() - Remove a name; with its last name goes the image.
 * @ref:  As for image_find(). An id removes the image with all its names.
 * @used: Ids that pods use. Borrowed.
 *
 * Layers go with the last image that uses them.
 *
 * Return: 0, -ENOENT, or -EBUSY when a pod uses it and this is its last name.
 */
int image_remove(struct image_store *s, const char *ref,
		 const struct strv *used, struct err *e);

/**
 * image_gc() - Make room.
 * @used:       Ids that pods use; they stay. Borrowed.
 * @keep_bytes: Images without a name always go; then those not used for the
 *              longest time, until no more than this is stored.
 * @ret_freed:  Bytes freed. May be NULL.
 */
int image_gc(struct image_store *s, const struct strv *used,
	     uint64_t keep_bytes, uint64_t *ret_freed, struct err *e);

DEFINE_AUTO_PTR(image, image_unref)
DEFINE_AUTO_PTR(image_store, image_store_close)

#endif /* AGENT_IMAGE_IMAGE_H */
