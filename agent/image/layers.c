// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define NUMBER_MAX 24

/* What arktos-unpack has said. */
struct verdict {
	char diff_id[DIGEST_TEXT_MAX];
	uint64_t bytes;
	bool ok;
};

/* Take "at N" lines out; what stays is the verdict. */
static void take_progress(void *arg, struct buf *out)
{
	struct transfer *t = arg;
	char *end;

	while (out->len && (end = memchr(out->data, '\n', out->len)) &&
	       str_starts(out->data, "at ")) {
		uint64_t bytes;

		*end = '\0';
		if (str_to_u64(out->data + 3, &bytes) == 0)
			t->now.bytes = bytes;
		buf_consume(out, (size_t)(end + 1 - out->data));
		transfer_tell(t);
	}
}

static int parse_verdict(struct buf *out, struct verdict *v, struct err *e)
{
	char digest[DIGEST_TEXT_MAX] = "", *end;
	const char *text = buf_str(out);
	uint64_t entries, skipped;
	long code;

	if (sscanf(text, "ok %71s %" SCNu64 " %" SCNu64 " %" SCNu64 " %71s",
		   v->diff_id, &v->bytes, &entries, &skipped, digest) == 5 &&
	    digest_is_valid(v->diff_id)) {
		v->ok = true;
		return 0;
	}
	if (!str_starts(text, "error "))
		return err_set(e, -EIO, "arktos-unpack ended without a word");
	code = strtol(text + 6, &end, 10);
	if (code <= 0 || code > 4095 || *end != ' ')
		return err_set(e, -EIO, "arktos-unpack: '%.100s'", text);
	end[strcspn(end, "\n")] = '\0';
	return err_set(e, (int)-code, "%s", end + 1);
}

static int run_unpacker(struct transfer *t, int fd, char **argv,
			struct verdict *v, struct err *e)
{
	auto_buf struct buf out = BUF_INIT, errors = BUF_INIT;
	struct child c = { .argv = argv,
			   .in = fd,
			   .cancel = t->cancel,
			   .tick = take_progress,
			   .arg = t };
	int status = 0;
	int r = child_run(&c, &out, &errors, &status, e);

	if (r == -ENOENT)
		return err_set(e, r,
			       "'%s' is missing: it belongs beside arktos-node",
			       argv[0]);
	if (r < 0)
		return r;
	take_progress(t, &out);
	if (!out.len)
		return err_set(e, -EIO, "arktos-unpack failed (status %d): %s",
			       status, buf_str(&errors));
	return parse_verdict(&out, v, e);
}

static int unpack(struct transfer *t, int fd, const char *kind,
		  const char *folder, const char *digest, struct verdict *v,
		  struct err *e)
{
	const struct image_store_opts *o = &t->s->opts;
	char max_bytes[NUMBER_MAX], max_entries[NUMBER_MAX];
	char max_ratio[NUMBER_MAX], cpu_s[NUMBER_MAX];
	char verb[] = "layer";
	char *argv[10];

	(void)snprintf(max_bytes, NUMBER_MAX, "%" PRIu64, o->layer_max_bytes);
	(void)snprintf(max_entries, NUMBER_MAX, "%" PRIu64,
		       o->layer_max_entries);
	(void)snprintf(max_ratio, NUMBER_MAX, "%" PRIu32, o->layer_max_ratio);
	(void)snprintf(cpu_s, NUMBER_MAX, "%" PRIu32, o->unpack_timeout_s);
	/* execve() does not write to its arguments. */
	argv[0] = t->s->unpacker;
	argv[1] = verb;
	argv[2] = (char *)kind;
	argv[3] = (char *)folder;
	argv[4] = (char *)digest;
	argv[5] = max_bytes;
	argv[6] = max_entries;
	argv[7] = max_ratio;
	argv[8] = cpu_s;
	argv[9] = NULL;
	return run_unpacker(t, fd, argv, v, e);
}

int unpack_tar(struct transfer *t, int fd, const char *folder, struct err *e)
{
	struct verdict v = { .ok = false };

	return unpack(t, fd, "tar", folder, "-", &v, e);
}

/* Unpack into staging and move into place. Not flushed here: until an image
 * is committed, which flushes first, a crash throws the layer away. */
static int make_layer(struct transfer *t, const struct layer_source *src,
		      struct layer_record *ret, struct err *e)
{
	const char *hex = digest_hex(src->blob->digest);
	char stage[STAGE_NAME_MAX], to[DIGEST_TEXT_MAX + 16];
	struct verdict v = { .ok = false };
	auto_free char *folder = NULL;
	int r = stage_new(t->s, stage, NULL, e);

	if (r < 0)
		return r;
	folder = stage_path(t->s, stage);
	r = folder ? unpack(t, src->fd, "oci", folder, src->blob->digest, &v, e)
		   : -ENOMEM;
	if (r == 0 && !str_eq(v.diff_id, src->diff_id))
		r = err_set(e, -EBADMSG, "damaged: unpacked it is %s, not %s",
			    v.diff_id, src->diff_id);
	(void)snprintf(to, sizeof(to), "layers/%s", hex);
	if (r == 0)
		r = stage_place(t->s, stage, to, e);
	if (r < 0) {
		stage_drop(t->s, stage);
		return err_wrap(e, r, "layer %.12s", hex);
	}
	memcpy(ret->digest, src->blob->digest, DIGEST_TEXT_MAX);
	memcpy(ret->diff_id, v.diff_id, DIGEST_TEXT_MAX);
	ret->bytes = v.bytes;
	return 0;
}

/* Somebody has the layer: is it what we were promised? Under the lock. */
static int use_layer(struct layer *l, const struct layer_source *src,
		     struct err *e)
{
	if (!str_eq(l->diff_id, src->diff_id))
		return err_set(e, -EBADMSG,
			       "layer %.12s: damaged: unpacked it is %s, not "
			       "%s",
			       digest_hex(l->digest), l->diff_id, src->diff_id);
	l->refs++;
	return 0;
}

int layer_acquire(struct transfer *t, const struct layer_source *src,
		  struct err *e)
{
	struct layer_record rec = { .bytes = 0 };
	struct image_store *s = t->s;
	struct flight f;
	struct layer *l;
	bool waited;
	int r;

	pthread_mutex_lock(&s->lock);
	r = flight_begin(t, &f, src->blob->digest, &waited, e);
	if (r < 0)
		goto out;
	l = table_layer(s, src->blob->digest);
	if (l) {
		r = use_layer(l, src, e);
	} else {
		pthread_mutex_unlock(&s->lock);
		r = make_layer(t, src, &rec, e);
		pthread_mutex_lock(&s->lock);
		l = r == 0 ? table_layer_add(s, &rec) : NULL;
		if (l)
			l->refs = 1;
		else if (r == 0)
			r = err_set(e, -ENOMEM, "out of memory");
	}
	flight_end(s, &f);
out:
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Drop a reference; the last takes the files along. */
void layer_release(struct image_store *s, const char *digest)
{
	char stage[STAGE_NAME_MAX] = "";
	struct layer **at, *gone = NULL;

	pthread_mutex_lock(&s->lock);
	for (at = &s->layers; *at; at = &(*at)->next) {
		if (!str_eq((*at)->digest, digest))
			continue;
		if (--(*at)->refs)
			break;
		gone = *at;
		*at = gone->next;
		/* Out of the way under the lock, so that it cannot meet one
		 * being made anew. What cannot be moved is not in the table,
		 * and goes at the next open. */
		(void)stage_retire(s, "layers", digest_hex(digest), stage,
				   NULL);
		break;
	}
	pthread_mutex_unlock(&s->lock);
	if (gone && stage[0])
		stage_drop(s, stage);
	free(gone);
}
