// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <yyjson.h>

#include "agent/container/message.h"
#include "agent/container/reply.h"
#include "agent/container/sandbox.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define ANSWER_MS 10000

struct sandbox {
	char *run_dir;
	int requests; /* guarded by lock */
	int events;   /* the loop's */
	int pidfd;
	pid_t pid;
	pthread_mutex_t lock;
	uint64_t last_id; /* guarded by lock */
	atomic_uint execs;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* --- requests ------------------------------------------------------------- */

static int gone(struct err *e)
{
	return err_set(e, -EPIPE, "the pod's supervisor has ended");
}

static int wait_answer(struct sandbox *sb, uint64_t id, struct message *m,
		       struct sandbox_reply *ret, struct err *e)
{
	int64_t end = now_ms() + ANSWER_MS;
	int r;

	for (;;) {
		struct pollfd p = { .fd = sb->requests, .events = POLLIN };
		int64_t left = end - now_ms();

		r = left > 0 ? poll(&p, 1, (int)left) : 0;
		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			return err_set(e, -ETIMEDOUT,
				       "the pod's supervisor has not answered "
				       "within %d s",
				       ANSWER_MS / 1000);
		r = message_receive(sb->requests, m);
		if (r == -EAGAIN)
			continue;
		if (r == -EPIPE || r == -ECONNRESET)
			return gone(e);
		if (r < 0)
			return err_set(e, r, "supervisor: unreadable answer");
		r = sandbox_reply_parse(m->text, m->len, ret, e);
		if (r < 0)
			return r;
		if (!ret->is_event && ret->id == id)
			return 0;
		/* The answer to something we had given up on. */
		sandbox_reply_clear(ret);
		message_clear(m);
	}
}

/* @members: JSON after the op, beginning with a comma; or "". @ret_fd may be
 * NULL. */
static int call(struct sandbox *sb, const char *op, const char *members,
		const int *fds, size_t nr_fds, struct sandbox_reply *ret,
		int *ret_fd, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct message m = { .fd = -1 };
	uint64_t id;
	int r;

	pthread_mutex_lock(&sb->lock);
	id = ++sb->last_id;
	buf_printf(&b, "{\"id\":%llu,\"op\":\"%s\"", (unsigned long long)id,
		   op);
	buf_puts(&b, members);
	buf_puts(&b, "}");
	r = buf_error(&b);
	if (r == 0)
		r = message_send(sb->requests, &b, fds, nr_fds);
	if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
		r = gone(e);
	else if (r < 0)
		r = err_set(e, r, "supervisor: %s cannot be sent: %s", op,
			    strerrordesc_np(-r));
	if (r == 0)
		r = wait_answer(sb, id, &m, ret, e);
	pthread_mutex_unlock(&sb->lock);
	if (r == 0 && ret_fd) {
		*ret_fd = m.fd;
		m.fd = -1;
	}
	message_clear(&m);
	return r;
}

/* As call(), for what needs no more than "done". */
static int simple(struct sandbox *sb, const char *op, const char *members,
		  struct err *e)
{
	struct sandbox_reply rep;
	int r = call(sb, op, members, NULL, 0, &rep, NULL, e);

	if (r < 0)
		return r;
	r = rep.ok ? 0 : err_set(e, rep.code, "%s", rep.failure.message);
	sandbox_reply_clear(&rep);
	return r;
}

static int named(struct sandbox *sb, const char *op, const char *name,
		 struct err *e)
{
	char members[128];

	/* Also keeps quotes out of the JSON. */
	if (strlen(name) > PROTO_NAME_MAX || !str_is_dns_label(name))
		return err_set(e, -ENOENT, "no process '%.80s'", name);
	snprintf(members, sizeof(members), ",\"name\":\"%s\"", name);
	return simple(sb, op, members, e);
}

/* --- connections ---------------------------------------------------------- */

static int connect_to(const char *run_dir, int *ret_fd, struct err *e)
{
	auto_close int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int fd = -EBADF;
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (dir < 0)
		return err_sys(e, "open '%s'", run_dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir,
		 PROTO_SOCKET);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		if (errno == ECONNREFUSED)
			errno = ENOENT;
		return err_sys(e, "no supervisor at '%s/%s'", run_dir,
			       PROTO_SOCKET);
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

static int subscribe(const char *run_dir, int *ret_fd, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	auto_close int fd = -EBADF;
	struct message m = { .fd = -1 };
	struct pollfd p = { .events = POLLIN };
	int r = connect_to(run_dir, &fd, e);

	if (r < 0)
		return r;
	buf_puts(&text, "{\"id\":1,\"op\":\"subscribe\"}");
	r = buf_error(&text);
	if (r == 0)
		r = message_send(fd, &text, NULL, 0);
	if (r < 0)
		return gone(e);
	/* The first message is the answer: events follow only upon it. */
	p.fd = fd;
	if (poll(&p, 1, ANSWER_MS) <= 0)
		return err_set(e, -ETIMEDOUT, "the pod's supervisor is stuck");
	r = message_receive(fd, &m);
	message_clear(&m);
	if (r < 0)
		return gone(e);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int open_all(struct sandbox *sb, struct err *e)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int r;

	r = connect_to(sb->run_dir, &sb->requests, e);
	if (r < 0)
		return r;
	if (getsockopt(sb->requests, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return err_sys(e, "supervisor's pid");
	sb->pid = peer.pid;
	sb->pidfd = pidfd_open(peer.pid, 0);
	if (sb->pidfd < 0)
		return errno == ESRCH ? err_set(e, -ENOENT,
						"the supervisor of '%s' is "
						"dead",
						sb->run_dir)
				      : err_sys(e, "pidfd_open");
	/* It answers, so it lives, so the pidfd is its own. */
	r = simple(sb, "hello", "", e);
	if (r == -EPIPE)
		return err_set(e, -ENOENT, "the supervisor of '%s' is dead",
			       sb->run_dir);
	return r < 0 ? r : subscribe(sb->run_dir, &sb->events, e);
}

int sandbox_open(const char *run_dir, struct sandbox **ret, struct err *e)
{
	auto_ptr(sandbox) sb = calloc(1, sizeof(*sb));
	int r;

	if (!sb)
		return err_set(e, -ENOMEM, "out of memory");
	sb->requests = sb->events = sb->pidfd = -1;
	pthread_mutex_init(&sb->lock, NULL);
	sb->run_dir = strdup(run_dir);
	if (!sb->run_dir)
		return err_set(e, -ENOMEM, "out of memory");
	r = open_all(sb, e);
	if (r < 0)
		return r;
	*ret = take_ptr(sb);
	return 0;
}

void sandbox_close(struct sandbox *sb)
{
	if (!sb)
		return;
	if (sb->requests >= 0)
		close(sb->requests);
	if (sb->events >= 0)
		close(sb->events);
	if (sb->pidfd >= 0)
		close(sb->pidfd);
	pthread_mutex_destroy(&sb->lock);
	free(sb->run_dir);
	free(sb);
}

int sandbox_fd(const struct sandbox *sb)
{
	return sb->events;
}

int sandbox_pidfd(const struct sandbox *sb)
{
	return sb->pidfd;
}

pid_t sandbox_pid(const struct sandbox *sb)
{
	return sb->pid;
}

static bool is_dead(const struct sandbox *sb, int wait_ms)
{
	struct pollfd p = { .fd = sb->pidfd, .events = POLLIN };
	int64_t end = now_ms() + wait_ms;
	int r;

	do {
		int64_t left = end - now_ms();

		r = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

/* --- events --------------------------------------------------------------- */

int sandbox_next_event(struct sandbox *sb, struct sandbox_event *ret,
		       struct err *e)
{
	struct sandbox_reply rep;
	struct message m = { .fd = -1 };
	int fd, r;

	r = sb->events < 0 ? -EPIPE : message_receive(sb->events, &m);
	if (r == -EAGAIN)
		return 0;
	if (r == -EPIPE || r == -ECONNRESET) {
		if (is_dead(sb, 0))
			return gone(e);
		/* We had been too slow, and were cut off. */
		r = subscribe(sb->run_dir, &fd, e);
		if (r < 0)
			return r == -ENOENT ? gone(e) : r;
		if (sb->events >= 0)
			close(sb->events);
		sb->events = fd;
		return err_set(e, -ENOBUFS, "events were lost: list anew");
	}
	if (r == 0)
		r = sandbox_reply_parse(m.text, m.len, &rep, e);
	message_clear(&m);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->kind = rep.is_event && rep.nr_procs == 1 ? SANDBOX_EXIT
						      : SANDBOX_OTHER;
	if (rep.nr_procs)
		ret->proc = rep.procs[0];
	sandbox_reply_clear(&rep);
	return 1;
}

/* --- processes ------------------------------------------------------------ */

void sandbox_spec_clear(struct sandbox_spec *spec)
{
	free(spec->json);
	memset(spec, 0, sizeof(*spec));
}

/* What a start or exec was answered with. */
static int judge(const struct sandbox_reply *rep, struct sandbox_proc *ret,
		 struct sandbox_failure *ret_fail, struct err *e)
{
	if (rep->ok && rep->nr_procs == 1) {
		if (ret)
			*ret = rep->procs[0];
		return 0;
	}
	if (rep->ok)
		return err_set(e, -EBADMSG, "supervisor: no process started?");
	if (!rep->has_failure)
		return err_set(e, rep->code, "%s", rep->failure.message);
	if (ret_fail)
		*ret_fail = rep->failure;
	return err_set(e, -EREMOTEIO, "%s: %.280s", rep->failure.reason,
		       rep->failure.message);
}

int sandbox_start(struct sandbox *sb, const struct sandbox_spec *spec,
		  struct sandbox_proc *ret, struct sandbox_failure *ret_fail,
		  struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct sandbox_reply rep;
	int r;

	buf_puts(&b, ",\"spec\":");
	buf_add(&b, spec->json, spec->len);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	r = call(sb, "start", buf_str(&b), spec->fds, spec->nr_fds, &rep, NULL,
		 e);
	if (r < 0)
		return r;
	r = judge(&rep, ret, ret_fail, e);
	sandbox_reply_clear(&rep);
	return r;
}

/* The spec with what only the caller of an exec knows. */
static int exec_members(const struct sandbox_exec_opts *o, const char *name,
			size_t first_fd, struct buf *ret)
{
	yyjson_doc *doc = yyjson_read(o->spec->json, o->spec->len, 0);
	yyjson_mut_doc *mut = yyjson_doc_mut_copy(doc, NULL);
	yyjson_mut_val *s = yyjson_mut_doc_get_root(mut), *list;
	auto_free char *text = NULL;

	yyjson_doc_free(doc);
	yyjson_mut_obj_remove_key(s, "name");
	yyjson_mut_obj_remove_key(s, "tty");
	yyjson_mut_obj_add_strcpy(mut, s, "name", name);
	yyjson_mut_obj_add_bool(mut, s, "tty", o->tty);
	yyjson_mut_obj_add_uint(mut, s, "exit", first_fd);
	if (o->tty && o->rows && o->cols) {
		yyjson_mut_obj_add_uint(mut, s, "rows", o->rows);
		yyjson_mut_obj_add_uint(mut, s, "cols", o->cols);
	}
	if (!o->tty) {
		list = yyjson_mut_obj_add_arr(mut, s, "stdio");
		for (size_t i = 1; i <= 3; i++)
			yyjson_mut_arr_add_uint(mut, list, first_fd + i);
	}
	text = yyjson_mut_write(mut, 0, NULL);
	yyjson_mut_doc_free(mut);
	if (!text)
		return -EINVAL;
	buf_printf(ret, ",\"container\":\"%s\",\"spec\":", o->container);
	buf_puts(ret, text);
	return buf_error(ret);
}

static int exec_call(struct sandbox *sb, const struct sandbox_exec_opts *o,
		     struct sandbox_exec *ret, int exit_fd, int null_fd,
		     struct sandbox_failure *ret_fail, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	int fds[PROTO_FDS_MAX], r;
	struct sandbox_reply rep;
	size_t nr = o->spec->nr_fds;

	if (nr + 4 > PROTO_FDS_MAX)
		return err_set(e, -E2BIG, "too many descriptors");
	memcpy(fds, o->spec->fds, nr * sizeof(*fds));
	r = exec_members(o, ret->name, nr, &b);
	if (r < 0)
		return err_set(e, r, "the spec of the exec is not usable");
	fds[nr++] = exit_fd;
	for (int i = 0; i < 3 && !o->tty; i++)
		fds[nr++] = o->stdio[i] < 0 ? null_fd : o->stdio[i];
	r = call(sb, "exec", buf_str(&b), fds, nr, &rep, &ret->tty_fd, e);
	if (r < 0)
		return r;
	r = judge(&rep, NULL, ret_fail, e);
	sandbox_reply_clear(&rep);
	return r;
}

int sandbox_exec(struct sandbox *sb, const struct sandbox_exec_opts *opts,
		 struct sandbox_exec *ret, struct sandbox_failure *ret_fail,
		 struct err *e)
{
	struct sandbox_exec x = { .tty_fd = -1, .exit_fd = -1 };
	auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	auto_close int near = -EBADF;
	auto_close int far = -EBADF;
	int p[2], r;

	if (!str_is_dns_label(opts->container) ||
	    (opts->name && !str_is_dns_label(opts->name)))
		return err_set(e, -ENOENT, "no container '%.80s'",
			       opts->container);
	if (opts->name)
		snprintf(x.name, sizeof(x.name), "%.*s", PROTO_NAME_MAX,
			 opts->name);
	else
		snprintf(x.name, sizeof(x.name), "exec-%x-%x",
			 (unsigned int)getpid(),
			 atomic_fetch_add(&sb->execs, 1));
	if (null < 0 || pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	near = p[0];
	far = p[1];
	r = exec_call(sb, opts, &x, far, null, ret_fail, e);
	if (r < 0 || (opts->tty && x.tty_fd < 0)) {
		if (x.tty_fd >= 0)
			close(x.tty_fd);
		return r < 0 ? r
			     : err_set(e, -EBADMSG, "supervisor: no terminal");
	}
	x.exit_fd = take_fd(&near);
	*ret = x;
	return 0;
}

int sandbox_resize_tty(struct sandbox *sb, const char *name, uint16_t rows,
		       uint16_t cols, struct err *e)
{
	char members[160];

	if (strlen(name) > PROTO_NAME_MAX || !str_is_dns_label(name))
		return err_set(e, -ENOENT, "no process '%.80s'", name);
	snprintf(members, sizeof(members),
		 ",\"name\":\"%s\",\"rows\":%u,\"cols\":%u", name, rows, cols);
	return simple(sb, "resize", members, e);
}

int sandbox_kill(struct sandbox *sb, const char *name, int signo, struct err *e)
{
	char members[160];

	if (strlen(name) > PROTO_NAME_MAX || !str_is_dns_label(name))
		return err_set(e, -ENOENT, "no process '%.80s'", name);
	snprintf(members, sizeof(members), ",\"name\":\"%s\",\"signal\":%d",
		 name, signo);
	return simple(sb, "kill", members, e);
}

int sandbox_list(struct sandbox *sb, struct sandbox_proc **ret, size_t *ret_nr,
		 struct err *e)
{
	struct sandbox_reply rep;
	int r = call(sb, "list", "", NULL, 0, &rep, NULL, e);

	if (r < 0)
		return r;
	if (!rep.ok) {
		r = err_set(e, rep.code, "%s", rep.failure.message);
		sandbox_reply_clear(&rep);
		return r;
	}
	*ret_nr = rep.nr_procs;
	*ret = take_ptr(rep.procs);
	return 0;
}

int sandbox_ack(struct sandbox *sb, const char *name, struct err *e)
{
	return named(sb, "ack", name, e);
}

int sandbox_reopen_log(struct sandbox *sb, const char *name, struct err *e)
{
	return named(sb, "reopen", name, e);
}

int sandbox_attach(struct sandbox *sb, const char *name,
		   const struct sandbox_attach *at, int *ret_in, struct err *e)
{
	size_t nr = at->out[0] < 0 ? 0 : at->out[1] < 0 ? 1 : 2;
	static const char *const outs[] = { "", "0", "0,1" };
	struct sandbox_reply rep;
	char members[192];
	int fd = -1, r;

	if (strlen(name) > PROTO_NAME_MAX || !str_is_dns_label(name))
		return err_set(e, -ENOENT, "no process '%.80s'", name);
	snprintf(members, sizeof(members),
		 ",\"name\":\"%s\",\"out\":[%s],\"in\":%s,\"once\":%s", name,
		 outs[nr], at->in ? "true" : "false",
		 at->once ? "true" : "false");
	r = call(sb, "attach", members, at->out, nr, &rep, &fd, e);
	if (r < 0)
		return r;
	if (!rep.ok)
		r = err_set(e, rep.code, "%s", rep.failure.message);
	sandbox_reply_clear(&rep);
	if (r == 0)
		*ret_in = fd;
	else if (fd >= 0)
		close(fd);
	return r;
}

int sandbox_shutdown(struct sandbox *sb, struct err *e)
{
	struct err first = { 0 };
	int r = simple(sb, "shutdown", "", &first);

	if (is_dead(sb, r == 0 ? ANSWER_MS : 0))
		return 0;
	/* PID 1 takes the whole pod with it. */
	if (pidfd_send_signal(sb->pidfd, SIGKILL, NULL, 0) < 0 &&
	    errno != ESRCH)
		return err_sys(e, "kill the supervisor");
	if (is_dead(sb, ANSWER_MS))
		return 0;
	return err_set(e, -ETIMEDOUT,
		       "the pod's processes do not die (in uninterruptible "
		       "sleep on a dead disk or mount?) %s",
		       first.msg);
}

int sandbox_read_exits(const char *state_dir, struct sandbox_proc **ret,
		       size_t *ret_nr, struct err *e)
{
	auto_free char *path = str_printf("%s/" PROTO_EXITS, state_dir);
	auto_buf struct buf b = BUF_INIT;
	struct sandbox_reply rep;
	int r;

	*ret = NULL;
	*ret_nr = 0;
	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_read(AT_FDCWD, path, PROTO_BODY_MAX, &b, e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = sandbox_reply_parse(buf_str(&b), b.len, &rep, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", path);
	*ret_nr = rep.nr_procs;
	*ret = take_ptr(rep.procs);
	sandbox_reply_clear(&rep);
	return 0;
}
