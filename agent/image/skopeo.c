// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "agent/image/keyring.h"
#include "lib/auto.h"
#include "lib/base64.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/str.h"

#define ARGS_MAX        32
#define HOST_POLICY     "/etc/containers/policy.json"
#define NOT_FOUND       127 /* of arktos-unpack tether */
#define CREDENTIALS_MAX 4096

struct args {
	char *v[ARGS_MAX];
	size_t nr;
	int error;
};

static void add(struct args *a, const char *s)
{
	if (a->nr == ARGS_MAX - 1)
		a->error = -E2BIG;
	if (a->error)
		return;
	a->v[a->nr] = strdup(s);
	if (!a->v[a->nr])
		a->error = -ENOMEM;
	else
		a->nr++;
}

static void args_clear(struct args *a)
{
	while (a->nr)
		free(a->v[--a->nr]);
}

/* What skopeo's words mean. In order: the first that fits counts. */
static const struct meaning {
	const char *words;
	int code;
} meanings[] = {
	{ "no space left on device", -ENOSPC },
	{ "Source image rejected", -EKEYREJECTED },
	{ "signature", -EKEYREJECTED },
	{ "unauthorized", -EACCES },
	{ "authentication required", -EACCES },
	{ "denied", -EACCES },
	{ "invalid username/password", -EACCES },
	{ "manifest unknown", -ENOENT },
	{ "name unknown", -ENOENT },
	{ "not found", -ENOENT },
	{ "no such file", -ENOENT },
	{ "invalid reference format", -EINVAL },
	{ "does not match", -EBADMSG },
	{ "did not match", -EBADMSG },
	{ "verification failed", -EBADMSG },
	{ "no image found in manifest list", -ENOENT },
	{ "connection refused", -ECONNREFUSED },
	{ "no such host", -EHOSTUNREACH },
	{ "network is unreachable", -ENETUNREACH },
	{ "timeout", -ETIMEDOUT },
	{ "HTTP response to HTTPS client", -EPROTO },
	{ "x509: certificate signed by unknown authority", -ENOKEY },
	/* curl's */
	{ "Couldn't connect to server", -ECONNREFUSED },
	{ "Could not resolve host", -EHOSTUNREACH },
	{ "returned error: 404", -ENOENT },
	{ "returned error: 40", -EACCES },
	{ "Maximum file size exceeded", -EFBIG },
};

/* The text of the last 'msg="..."', or else the last line. */
static char *last_words(const char *log)
{
	const char *at = NULL, *next = log;
	auto_buf struct buf b = BUF_INIT;

	while ((next = strstr(next, "msg=\""))) {
		next += 5;
		at = next;
	}
	if (!at) {
		size_t len = strlen(log);

		while (len && log[len - 1] == '\n')
			len--;
		at = memrchr(log, '\n', len);
		at = at ? at + 1 : log;
		return strndup(at, len - (size_t)(at - log));
	}
	for (; *at && *at != '"'; at++) {
		if (*at == '\\' && at[1])
			at++;
		buf_putc(&b, *at >= ' ' ? *at : ' ');
	}
	return buf_take(&b);
}

static int explain(const char *program, const char *log, int status,
		   struct err *e)
{
	auto_free char *words = last_words(log);

	if (!words)
		return err_set(e, -ENOMEM, "out of memory");
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND)
		return err_set(e, -ENOPKG,
			       "%s could not be run: install it (make deps)",
			       program);
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (strcasestr(words, meanings[i].words))
			return err_set(e, meanings[i].code, "%s: %s", program,
				       words);
	return err_set(e, -EIO, "%s: %s", program,
		       *words ? words : "failed without a word");
}

/* What has arrived so far. */
struct watch {
	struct transfer *t;
	char *folder;
};

static void measure(void *arg, struct buf *out)
{
	struct watch *w = arg;
	uint64_t sum = 0;
	struct dirent *ent;
	struct stat st;
	DIR *d;

	(void)out;
	if (!w->t->progress)
		return;
	d = opendir(w->folder);
	while (d && (ent = readdir(d)))
		if (fstatat(dirfd(d), ent->d_name, &st, AT_SYMLINK_NOFOLLOW) ==
			    0 &&
		    S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	if (d)
		closedir(d);
	w->t->now.bytes = sum;
	transfer_tell(w->t);
}

static int run(struct transfer *t, struct args *a, struct watch *w,
	       struct buf *out, struct err *e)
{
	auto_buf struct buf errors = BUF_INIT;
	struct child c = { .argv = a->v, .in = -EBADF, .cancel = t->cancel };
	int status = 0, r;

	if (a->error)
		return err_wrap(e, a->error, "arguments");
	if (w) {
		c.tick = measure;
		c.arg = w;
	}
	r = child_run(&c, out, &errors, &status, e);
	if (r < 0)
		return r;
	return status ? explain(a->v[2], buf_str(&errors), status, e) : 0;
}

static void begin(struct skopeo *k, struct args *a)
{
	struct image_store *s = k->t->s;
	auto_free char *tmp =
		str_printf("--tmpdir=%s/staging/%s", s->dir, k->stage);

	add(a, s->unpacker);
	add(a, "tether");
	add(a, "skopeo");
	add(a, tmp ? tmp : "");
	if (s->policy) {
		add(a, "--policy");
		add(a, s->policy);
	} else if (!fs_exists(AT_FDCWD, HOST_POLICY)) {
		add(a, "--insecure-policy"); /* a host without an opinion */
	}
	add(a, "--override-os=linux");
	add(a, "--override-arch");
	add(a, oci_architecture());
}

static void add_access(const struct skopeo *k, struct args *a, bool copy)
{
	const struct image_pull_opts *o = k->opts;
	auto_free char *own = NULL;

	if (k->insecure)
		add(a, copy ? "--src-tls-verify=false" : "--tls-verify=false");
	if (k->auth_fd >= 0)
		own = str_printf("/proc/%d/fd/%d", (int)getpid(), k->auth_fd);
	if (!own && (!o || !o->auth_file))
		return;
	add(a, copy ? "--src-authfile" : "--authfile");
	add(a, own ? own : o->auth_file);
}

static int login_with(struct skopeo *k, const struct buf *file, struct err *e)
{
	auto_close int fd = memfd_create("arktos-auth", MFD_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "memory for credentials");
	if (fchmod(fd, 0600) < 0 ||
	    write(fd, file->data, file->len) != (ssize_t)file->len)
		return err_sys(e, "write credentials into memory");
	k->auth_fd = take_fd(&fd);
	return 0;
}

/* On a command line everybody could read them, on a disk they would stay. */
int skopeo_login(struct skopeo *k, const char *repo,
		 const struct keyring_entry *with, struct err *e)
{
	const struct image_pull_opts *o = k->opts;
	auto_buf struct buf plain = BUF_INIT, b64 = BUF_INIT, b = BUF_INIT;
	struct keyring_entry own = { 0 };
	int r = 0;

	skopeo_logout(k);
	if (!with && o && o->username && o->password) {
		if (strlen(o->username) + strlen(o->password) > CREDENTIALS_MAX)
			return err_set(e, -EINVAL,
				       "user name and password: too long");
		buf_printf(&plain, "%s:%s", o->username, o->password);
		r = base64_put(&b64, plain.data, plain.len);
		own.auth = b64.data;
		with = &own;
	}
	if (!with)
		return 0;
	if (r == 0)
		r = keyring_put(with, repo, &b);
	r = r < 0 ? err_set(e, r, "out of memory") : login_with(k, &b, e);
	buf_wipe(&plain);
	buf_wipe(&b64);
	buf_wipe(&b);
	return r;
}

void skopeo_logout(struct skopeo *k)
{
	if (k->auth_fd >= 0)
		close(k->auth_fd);
	k->auth_fd = -1;
}

int skopeo_inspect(struct skopeo *k, const char *source, struct buf *manifest,
		   struct err *e)
{
	struct args a = { .nr = 0 };
	int r;

	begin(k, &a);
	add(&a, "inspect");
	add(&a, "--raw");
	add_access(k, &a, false);
	add(&a, source);
	r = run(k->t, &a, NULL, manifest, e);
	args_clear(&a);
	return r;
}

int skopeo_copy(struct skopeo *k, const char *source, const char *to,
		struct err *e)
{
	auto_free char *folder =
		str_printf("%s/staging/%s/%s", k->t->s->dir, k->stage, to);
	auto_free char *target = folder ? str_printf("dir:%s", folder) : NULL;
	struct watch w = { .t = k->t, .folder = folder };
	auto_buf struct buf out = BUF_INIT;
	struct args a = { .nr = 0 };
	int r;

	if (!target)
		return err_set(e, -ENOMEM, "out of memory");
	begin(k, &a);
	add(&a, "copy");
	add(&a, "--quiet");
	add_access(k, &a, true);
	add(&a, source);
	add(&a, target);
	r = run(k->t, &a, &w, &out, e);
	args_clear(&a);
	return r;
}

int url_fetch(struct transfer *t, const char *url, const char *file,
	      struct err *e)
{
	auto_buf struct buf out = BUF_INIT;
	struct args a = { .nr = 0 };
	char max[32];
	int r;

	(void)snprintf(max, sizeof(max), "%" PRIu64, t->s->opts.disk_max_bytes);
	add(&a, t->s->unpacker);
	add(&a, "tether");
	add(&a, "curl");
	add(&a, "--disable"); /* root's own settings are not for us */
	add(&a, "--fail");
	add(&a, "--silent");
	add(&a, "--show-error");
	add(&a, "--location");
	add(&a, "--max-redirs");
	add(&a, "5");
	add(&a, "--proto");
	add(&a, "=http,https");
	add(&a, "--max-filesize");
	add(&a, max);
	add(&a, "--output");
	add(&a, file);
	add(&a, "--");
	add(&a, url);
	r = run(t, &a, NULL, &out, e);
	args_clear(&a);
	return r;
}
