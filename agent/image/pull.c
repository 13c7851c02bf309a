// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image/internal.h"
#include "agent/image/keyring.h"
#include "agent/image/names.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"

struct pull {
	struct transfer t;
	const struct image_pull_opts *opts;
	struct image_name name;
	char full[IMAGE_REF_SIZE]; /* the name, or the URL */
	bool url;
};

const char *image_reason(enum pull_policy policy, int code)
{
	switch (code) {
	case -EINVAL:
		return IMAGE_REASON_NAME;
	case -EKEYREJECTED:
		return IMAGE_REASON_VERIFY;
	case -ENOENT:
		return policy == PULL_NEVER ? IMAGE_REASON_NEVER
					    : IMAGE_REASON_PULL;
	default:
		return IMAGE_REASON_PULL;
	}
}

static bool is_url(const char *ref)
{
	return str_starts(ref, "http://") || str_starts(ref, "https://");
}

static int begin(struct pull *p, struct image_store *s, const char *ref,
		 struct err *e)
{
	static const struct image_pull_opts none = {
		.policy = PULL_IF_NOT_PRESENT
	};

	if (!p->opts)
		p->opts = &none;
	p->t = (struct transfer){ .s = s,
				  .kind = p->opts->kind,
				  .cancel = p->opts->cancel,
				  .progress = p->opts->progress,
				  .progress_arg = p->opts->progress_arg };
	p->t.name = p->full;
	p->url = is_url(ref);
	if (!p->url) {
		int r = image_name_parse(ref, &p->name, e);

		if (r == 0)
			image_name_format(&p->name, p->full);
		return r;
	}
	if (strlen(ref) > IMAGE_NAME_MAX || strpbrk(ref, " \t\n\r\"'\\"))
		return err_set(e, -EINVAL, "the URL of the image is malformed");
	memcpy(p->full, ref, strlen(ref) + 1);
	return 0;
}

/* Is it here, as the policy wants it? 1: yes, 0: pull, or -errno. */
static int look(struct pull *p, const char *ref, bool waited,
		struct image **ret, struct err *e)
{
	struct stored *img = NULL;
	const char *name;
	bool here, local;

	here = table_find(p->t.s, ref, &img, NULL) == 0;
	/* A name that is an import's own is not asked for elsewhere. */
	name = here ? image_name_meant(&img->names, ref) : NULL;
	local = name && !str_eq(name, p->full);
	if (here && (local || waited || p->opts->policy != PULL_ALWAYS)) {
		if (ret)
			*ret = stored_use(p->t.s, img);
		return 1;
	}
	if (p->opts->policy == PULL_NEVER)
		return err_set(e, -ENOENT,
			       "image '%s' is not here, and may not be pulled: "
			       "import it, or change imagePullPolicy",
			       ref);
	return 0;
}

/* What the registry has under the name: digest, and what to copy. */
static int resolve(struct pull *p, struct skopeo *k,
		   char asked[DIGEST_TEXT_MAX], struct image_name *ret,
		   struct err *e)
{
	struct oci_want want = { .architecture = oci_architecture() };
	auto_free struct oci_manifest *m = malloc(sizeof(*m));
	auto_buf struct buf text = BUF_INIT;
	auto_free char *source = str_printf("docker://%s", p->full);
	int r;

	if (!m || !source)
		return err_set(e, -ENOMEM, "out of memory");
	r = skopeo_inspect(k, source, &text, e);
	if (r == 0)
		r = digest_of(buf_str(&text), text.len, asked);
	if (r == 0)
		r = oci_manifest_parse(buf_str(&text), text.len, &want, m, e);
	if (r < 0)
		return r;
	*ret = p->name;
	memcpy(ret->digest, m->is_index ? m->pick.digest : asked,
	       DIGEST_TEXT_MAX);
	for (size_t i = 0; !m->is_index && i < m->nr_layers; i++)
		p->t.now.total_bytes += m->layers[i].size;
	return 0;
}

static int copy_and_build(struct pull *p, struct skopeo *k,
			  const struct image_name *from, int stage,
			  struct image **ret, struct err *e)
{
	char full[IMAGE_REF_SIZE];
	auto_free char *source = NULL;
	auto_close int dir = -EBADF;
	int r;

	image_name_format(from, full);
	source = str_printf("docker://%s", full);
	if (!source)
		return err_set(e, -ENOMEM, "out of memory");
	r = skopeo_copy(k, source, "image", e);
	if (r < 0)
		return r;
	dir = openat(stage, "image", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "open the copied image");
	return build_from_dir(&p->t, dir, ret, e);
}

/* What is to be said beside skopeo's words, which do not know why. */
static int refused(const struct pull *p, size_t tried, int r, struct err *e)
{
	const char *repo = p->name.repo;
	int host = (int)strcspn(repo, "/");

	if (r == -EPROTO)
		return err_set(e, r,
			       "registry %.*s speaks plain HTTP: let it have a "
			       "certificate, or allow that: --insecure of "
			       "'image pull', or for pods 'insecure = true' of "
			       "it in /etc/containers/registries.conf",
			       host, repo);
	if (r == -ENOKEY)
		return err_set(e, r,
			       "registry %.*s has a certificate of an "
			       "authority that this host does not know: put "
			       "that one's into /etc/containers/certs.d/%.*s/"
			       "ca.crt",
			       host, repo, host, repo);
	if (r != -EACCES)
		return r;
	if (tried)
		return err_wrap(e, r,
				"registry %.*s refuses the credentials of the "
				"imagePullSecrets (%zu tried)",
				host, repo, tried);
	if (p->opts->keyring)
		return err_wrap(e, r,
				"registry %.*s wants credentials, and the "
				"imagePullSecrets have none for it",
				host, repo);
	return r;
}

/* With the first credentials that are not refused. */
static int resolve_any(struct pull *p, struct skopeo *k,
		       char asked[DIGEST_TEXT_MAX], struct image_name *from,
		       struct err *e)
{
	const struct keyring *ring = p->opts->keyring;
	const struct keyring_entry *with =
		ring ? keyring_find(ring, 0, p->name.repo) : NULL;
	size_t tried = 0;
	int r;

	do {
		r = skopeo_login(k, p->name.repo, with, e);
		if (r < 0)
			return r;
		r = resolve(p, k, asked, from, e);
		tried += with != NULL;
		with = with ? keyring_find(ring, (size_t)(with - ring->v) + 1,
					   p->name.repo)
			    : NULL;
	} while ((r == -EACCES || r == -ENOENT) && with);
	return refused(p, tried, r, e);
}

static int pull_registry(struct pull *p, const char *stage, int dir,
			 struct image **ret, struct err *e)
{
	struct skopeo k = { .t = &p->t,
			    .opts = p->opts,
			    .stage = stage,
			    .auth_fd = -1,
			    .insecure = p->opts->insecure_tls ||
					image_name_is_loopback(&p->name) };
	struct image_store *s = p->t.s;
	char asked[DIGEST_TEXT_MAX];
	struct image_name from;
	struct stored *img;
	int r = resolve_any(p, &k, asked, &from, e);

	if (r == 0) {
		p->t.asked = asked;
		pthread_mutex_lock(&s->lock);
		img = table_by_digest(s, asked);
		if (img) /* nothing has changed there */
			r = build_alias(&p->t, img, ret, e);
		pthread_mutex_unlock(&s->lock);
		if (!img)
			r = copy_and_build(p, &k, &from, dir, ret, e);
	}
	skopeo_logout(&k);
	return r;
}

static int pull_url(struct pull *p, const char *stage, int dir,
		    struct image **ret, struct err *e)
{
	auto_free char *path = stage_path(p->t.s, stage);
	auto_free char *file = path ? str_printf("%s/file", path) : NULL;
	auto_close int fd = -EBADF;
	int r;

	if (!file)
		return err_set(e, -ENOMEM, "out of memory");
	r = url_fetch(&p->t, p->full, file, e);
	if (r < 0)
		return r;
	fd = openat(dir, "file", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open the downloaded disk");
	return disk_import(&p->t, fd, ret, e);
}

static int pull(struct pull *p, struct image **ret, struct err *e)
{
	char stage[STAGE_NAME_MAX];
	auto_close int dir = -EBADF;
	int r = stage_new(p->t.s, stage, &dir, e);

	if (r < 0)
		return r;
	p->t.now.phase = IMAGE_DOWNLOADING;
	transfer_tell(&p->t);
	r = p->url ? pull_url(p, stage, dir, ret, e)
		   : pull_registry(p, stage, dir, ret, e);
	stage_drop(p->t.s, stage);
	return r < 0 ? err_wrap(e, r, "pull '%s'", p->full) : 0;
}

int image_pull(struct image_store *s, const char *ref,
	       const struct image_pull_opts *opts, struct image **ret,
	       struct err *e)
{
	struct pull p = { .opts = opts };
	char key[IMAGE_REF_SIZE + 32];
	bool waited = false;
	struct flight f;
	int here, r;

	if (str_starts(ref, "docker://"))
		ref += strlen("docker://");
	r = begin(&p, s, ref, NULL);
	pthread_mutex_lock(&s->lock);
	here = r < 0 && !image_name_is_fine(ref) ? 0
						 : look(&p, ref, false, ret, e);
	pthread_mutex_unlock(&s->lock);
	if (here)
		return here < 0 ? here : 0;
	if (r < 0)
		return begin(&p, s, ref, e); /* once more, to be told why */
	pthread_mutex_lock(&s->lock);
	/* What others may pull says nothing of what these credentials may. */
	snprintf(key, sizeof(key), "%s %" PRIx64, p.full, p.opts->keyring_id);
	r = flight_begin(&p.t, &f, key, &waited, e);
	if (r == 0) {
		here = look(&p, ref, waited, ret, e);
		pthread_mutex_unlock(&s->lock);
		r = here ? (here < 0 ? here : 0) : pull(&p, ret, e);
		pthread_mutex_lock(&s->lock);
		flight_end(s, &f);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int pull_archive(struct transfer *t, const char *source, struct image **ret,
		 struct err *e)
{
	char stage[STAGE_NAME_MAX];
	struct skopeo k = { .t = t, .stage = stage, .auth_fd = -1 };
	auto_close int dir = -EBADF, image = -EBADF;
	int r = stage_new(t->s, stage, &dir, e);

	if (r < 0)
		return r;
	t->now.phase = IMAGE_DOWNLOADING;
	transfer_tell(t);
	r = skopeo_copy(&k, source, "image", e);
	if (r == 0) {
		image = openat(dir, "image",
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = image < 0 ? err_sys(e, "open the copied image")
			      : build_from_dir(t, image, ret, e);
	}
	stage_drop(t->s, stage);
	return r;
}
