// SPDX-License-Identifier: Apache-2.0
/*
 * Processes of the pod, from the request to the last byte of their output.
 *
 *	clone -> STARTING -> (report socket closes: exec went through) RUNNING
 *	      -> SIGCHLD: EXITED -> ack: forgotten
 *
 * The report socket and SIGCHLD race; whoever comes first, sockets are read to
 * their end before a death is judged.
 */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <yyjson.h>

#include "agent/supervisor/sup.h"
#include "agent/supervisor/sys.h"
#include "lib/buf.h"
#include "lib/fs.h"
#include "lib/str.h"

#define SWEEPS_MAX      100
#define CGROUP_TEXT_MAX 8192

struct proc *proc_find(struct sup *sup, const char *name)
{
	for (struct proc *p = sup->procs; p; p = p->next)
		if (str_eq(p->name, name))
			return p;
	return NULL;
}

uint64_t oom_count(int fd)
{
	char text[1024];
	const char *s;
	uint64_t n = 0;
	ssize_t len = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, 0);

	if (len <= 0)
		return 0;
	text[len] = '\0';
	s = strstr(text, "oom_kill ");
	if (!s)
		return 0;
	for (s += strlen("oom_kill "); *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (uint64_t)(*s - '0');
	return n;
}

static void close_slot(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void out_close(struct proc *p)
{
	for (int i = 0; i < 2; i++) {
		watch_del(p->sup, &p->out[i].watch);
		stream_finish(&p->out[i].stream, &p->log);
		taps_end(&p->out[i]);
	}
	log_idle();
}

static void proc_free(struct proc *p)
{
	int status = p->status.fd;

	out_close(p);
	watch_del(p->sup, &p->status);
	close_slot(&status);
	close_slot(&p->pidfd);
	close_slot(&p->oom_fd);
	close_slot(&p->tty_fd);
	close_slot(&p->stdin_fd);
	close_slot(&p->exit_fd);
	close_slot(&p->cgroup_dir);
	for (size_t i = 0; i < p->nr_cgroups; i++)
		close_slot(&p->cgroups[i]);
	logfile_close(&p->log);
	free(p);
}

void proc_forget(struct proc *p)
{
	struct proc **at = &p->sup->procs;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->sup->nr_procs--;
	proc_free(p);
}

/* --- output --------------------------------------------------------------- */

static bool out_tee(struct stream *s, const char *data, size_t len)
{
	struct out *o = watch_owner(s, struct out, stream);
	bool behind = taps_write(o, data, len);

	if (behind && !s->last)
		watch_del(o->proc->sup, &o->watch);
	return behind;
}

static void out_ready(struct watch *w)
{
	struct out *o = watch_owner(w, struct out, watch);
	int r = stream_pump(&o->stream, &o->proc->log);

	if (r == 0)
		log_idle();
	if (r >= 0)
		return;
	watch_del(o->proc->sup, w);
	stream_finish(&o->stream, &o->proc->log);
	taps_end(o);
	log_idle();
}

void out_resume(struct out *o)
{
	if (o->watch.fd < 0 && o->stream.fd >= 0)
		(void)watch_add(o->proc->sup, &o->watch, o->stream.fd,
				out_ready);
}

static int out_add(struct proc *p, int i, int fd, const char *tag)
{
	struct out *o = &p->out[i];

	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	o->proc = p;
	o->stream.tag = tag;
	o->stream.tee = out_tee;
	o->stream.fd = fd;
	return watch_add(p->sup, &o->watch, fd, out_ready);
}

/* Where out-of-memory kills of @pid's cgroup are counted; -1 if nobody knows.
 * For who was given no descriptor of it. */
static int oom_open(pid_t pid)
{
	auto_buf struct buf b = BUF_INIT;
	auto_free char *file = NULL;
	char path[64];
	char *line, *save = NULL, *name, *group;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (fs_read(AT_FDCWD, path, CGROUP_TEXT_MAX, &b, NULL) < 0)
		return -1;
	for (line = strtok_r(b.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		name = strchr(line, ':');
		group = name ? strchr(name + 1, ':') : NULL;
		if (!group)
			continue;
		*group++ = '\0';
		if (!str_eq(name, ":memory") && !str_eq(name, ":"))
			continue;
		free(file);
		file = name[1] ? str_printf("/sys/fs/cgroup/memory%s/"
					    "memory.oom_control",
					    group)
			       : str_printf("/sys/fs/cgroup%s/memory.events",
					    group);
		if (name[1])
			break; /* on a hybrid host v2 counts nothing */
	}
	return file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
}

/* --- being started -------------------------------------------------------- */

static void started(struct proc *p)
{
	struct client *c = p->waiter;
	char path[64];
	struct stat st;
	yyjson_mut_doc *doc;

	p->state = STATE_RUNNING;
	p->waiter = NULL;
	time_text(p->started);
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)p->host_pid);
	if (p->kind != KIND_EXEC && stat(path, &st) == 0)
		p->mntns = st.st_ino;
	if (p->kind != KIND_EXEC && p->oom_fd < 0 &&
	    (p->nr_cgroups || p->cgroup_dir >= 0)) {
		p->oom_fd = oom_open(p->host_pid);
		p->oom_before = oom_count(p->oom_fd);
	}
	if (!c)
		return;
	doc = reply_ok(p->request_id);
	reply_add_proc(doc, yyjson_mut_doc_get_root(doc), "process", p);
	client_send(c, doc, p->kind == KIND_EXEC ? p->tty_fd : -1);
}

static void start_failed(struct proc *p)
{
	struct client *c = p->waiter;
	struct err e = { 0 };

	if (!p->failed) {
		snprintf(p->report.reason, sizeof(p->report.reason), "%s",
			 PROTO_RUN_ERROR);
		snprintf(p->report.message, sizeof(p->report.message),
			 "'%s' was killed while it was being set up: too "
			 "little memory for its cgroup, or a kill",
			 p->name);
		p->report.exit_code = PROTO_EXIT_NO_START;
		p->report.code = -ECHILD;
	}
	err_set(&e, p->report.code, "%s", p->report.message);
	if (c)
		client_send(c,
			    reply_error(p->request_id, p->report.reason,
					p->report.exit_code, &e),
			    -1);
	proc_forget(p);
}

static void take_pty(struct proc *p, int fd)
{
	int copy;

	if (p->tty_fd >= 0) {
		close(fd);
		return;
	}
	p->tty_fd = fd;
	if (p->kind == KIND_EXEC)
		return;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy >= 0 && out_add(p, 0, copy, "stdout") < 0)
		close(copy);
}

static void take_child(struct proc *p, pid_t pid)
{
	p->pid = pid;
	close_slot(&p->pidfd);
	p->pidfd = pidfd_open(pid, 0);
	p->host_pid = pidfd_host_pid(p->pidfd);
}

/* One report. 1: there was one, 0: none now, -1: end. */
static int read_report(struct proc *p)
{
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int)) +
			   CMSG_SPACE(sizeof(struct ucred))];
	} u;
	struct child_report rep = { .type = 0 };
	struct iovec iov = { .iov_base = &rep, .iov_len = sizeof(rep) };
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.bytes,
		.msg_controllen = sizeof(u.bytes),
	};
	struct ucred who = { .pid = 0 };
	int fd = -1;
	ssize_t n;

	n = recvmsg(p->status.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET)
			continue;
		if (h->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(h), sizeof(fd));
		else if (h->cmsg_type == SCM_CREDENTIALS)
			memcpy(&who, CMSG_DATA(h), sizeof(who));
	}
	switch ((enum child_msg)rep.type) {
	case CHILD_HELLO:
		take_child(p, who.pid);
		break;
	case CHILD_PTY:
		if (fd >= 0)
			take_pty(p, fd);
		break;
	case CHILD_EXEC:
		p->exec_next = true;
		break;
	case CHILD_FAILED:
		p->failed = true;
		p->report = rep;
		break;
	}
	return 1;
}

/* Read what the child has said so far. True when it has said all. */
static bool reports_done(struct proc *p)
{
	int fd = p->status.fd, r;

	if (fd < 0)
		return true;
	while ((r = read_report(p)) > 0)
		;
	if (r == 0)
		return false;
	watch_del(p->sup, &p->status);
	close(fd);
	return true;
}

/* Everything that could still report is gone: draw the conclusion. */
static void conclude(struct proc *p)
{
	if (p->state != STATE_STARTING || !reports_done(p))
		return;
	if (p->exec_next && !p->failed)
		started(p);
	else if (!p->pid && !p->helper)
		start_failed(p);
}

static void status_ready(struct watch *w)
{
	conclude(watch_owner(w, struct proc, status));
}

/* --- starting ------------------------------------------------------------- */

struct ends {
	int out[2], in; /* the child's; -1 where it has /dev/null */
	bool owned;     /* ours to close after the fork */
	int status;
};

static void ends_close(struct ends *x)
{
	if (x->owned) {
		close_slot(&x->out[0]);
		close_slot(&x->out[1]);
		close_slot(&x->in);
	}
	close_slot(&x->status);
}

static int make_pipe(int *ret_read, int *ret_write, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	*ret_read = p[0];
	*ret_write = p[1];
	return 0;
}

static int make_output(struct proc *p, const struct spec *s, struct ends *x,
		       struct err *e)
{
	static const char *const tags[] = { "stdout", "stderr" };
	int r;

	x->owned = true;
	r = logfile_open(&p->log, s->log, s->log_max, s->log_keep, e);
	for (int i = 0; r == 0 && i < 2 && !s->tty; i++) {
		int fd = -1;

		r = make_pipe(&fd, &x->out[i], e);
		if (r == 0)
			r = out_add(p, i, fd, tags[i]);
	}
	if (r == 0 && s->with_stdin && !s->tty)
		r = make_pipe(&x->in, &p->stdin_fd, e);
	return r;
}

static int make_status(struct proc *p, struct ends *x, struct err *e)
{
	int pair[2], on = 1, r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	x->status = pair[1];
	(void)setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	r = watch_add(p->sup, &p->status, pair[0], status_ready);
	if (r < 0) {
		close(pair[0]);
		return err_set(e, r, "watch the child");
	}
	return 0;
}

static int keep_fd(int *slot, const int *fds, int index)
{
	if (index == FD_NONE)
		return 0;
	*slot = fcntl(fds[index], F_DUPFD_CLOEXEC, 3);
	return *slot < 0 ? -errno : 0;
}

static int make_ends(struct proc *p, const struct spec *s, const int *fds,
		     struct ends *x, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->cgroups.nr; i++) {
		p->cgroups[i] = -1;
		p->nr_cgroups = i + 1;
		r = keep_fd(&p->cgroups[i], fds, s->cgroups.v[i]);
	}
	if (r == 0)
		r = keep_fd(&p->cgroup_dir, fds, s->cgroup_dir);
	if (r == 0)
		r = keep_fd(&p->oom_fd, fds, s->oom);
	if (r == 0)
		r = keep_fd(&p->exit_fd, fds, s->exit_fd);
	if (r < 0)
		return err_set(e, r, "keep a descriptor");
	p->oom_before = oom_count(p->oom_fd);
	if (s->kind != KIND_EXEC) {
		r = make_output(p, s, x, e);
	} else if (!s->tty && s->stdio[0] != FD_NONE) {
		x->in = fds[s->stdio[0]];
		x->out[0] = fds[s->stdio[1]];
		x->out[1] = fds[s->stdio[2]];
	}
	return r < 0 ? r : make_status(p, x, e);
}

static int fork_child(struct proc *p, const struct proc *target,
		      const struct spec *s, const int *fds, struct ends *x,
		      struct err *e)
{
	struct child c = {
		.env = &p->sup->env,
		.spec = s,
		.fds = fds,
		.cgroups = target ? target->cgroups : p->cgroups,
		.nr_cgroups = target ? target->nr_cgroups : p->nr_cgroups,
		.status = x->status,
		.out = { x->out[0], x->out[1] },
		.in = x->in,
		.nofile = p->sup->nofile,
		.init_pidfd = target ? target->pidfd : -1,
		.own_pidns = target && target->own_pidns,
	};
	uint64_t flags = 0;
	pid_t pid;

	if (!target)
		flags = CLONE_NEWNS | (p->own_pidns ? CLONE_NEWPID : 0);
	pid = sys_clone(flags, &p->pidfd, (target ? target : p)->cgroup_dir);
	if (pid < 0)
		return err_sys(e, "clone: limits of processes or memory?");
	if (pid == 0) {
		if (target)
			child_exec(&c);
		child_container(&c);
	}
	if (target) {
		p->helper = pid;
	} else {
		p->pid = pid;
		p->host_pid = pidfd_host_pid(p->pidfd);
	}
	return 0;
}

static struct proc *proc_new(struct sup *sup, const struct request *req)
{
	const struct spec *s = req->spec;
	struct proc *p = calloc(1, sizeof(*p)), **at = &sup->procs;

	if (!p)
		return NULL;
	p->sup = sup;
	snprintf(p->name, sizeof(p->name), "%s", s->name);
	if (s->kind == KIND_EXEC)
		snprintf(p->container, sizeof(p->container), "%s",
			 req->container);
	p->kind = s->kind;
	p->attempt = s->attempt;
	p->own_pidns =
		s->kind != KIND_EXEC && !s->share_pid && !sup->opts->host_pid;
	p->pidfd = p->cgroup_dir = p->oom_fd = -1;
	p->tty_fd = p->stdin_fd = p->exit_fd = -1;
	p->status.fd = p->log.fd = -1;
	for (int i = 0; i < 2; i++)
		p->out[i].watch.fd = p->out[i].stream.fd = -1;
	while (*at)
		at = &(*at)->next;
	*at = p;
	sup->nr_procs++;
	return p;
}

int proc_start(struct sup *sup, struct client *c, const struct request *req,
	       const int *fds, struct err *e)
{
	const struct spec *s = req->spec;
	struct ends x = { .out = { -1, -1 }, .in = -1, .status = -1 };
	struct proc *p, *target = NULL;
	int r;

	if (proc_find(sup, s->name))
		return err_set(e, -EEXIST,
			       "'%s' is there already: running, or its exit "
			       "not yet acked",
			       s->name);
	if (sup->nr_procs >= PROTO_PROCS_MAX)
		return err_set(e, -EAGAIN, "%d processes in this pod already",
			       PROTO_PROCS_MAX);
	if (s->kind == KIND_EXEC) {
		target = proc_find(sup, req->container);
		if (!target || target->state != STATE_RUNNING ||
		    target->kind == KIND_EXEC)
			return err_set(e, -ENOENT,
				       "container '%s' is not running",
				       req->container);
	}
	p = proc_new(sup, req);
	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->waiter = c;
	p->request_id = req->id;
	r = make_ends(p, s, fds, &x, e);
	if (r == 0)
		r = fork_child(p, target, s, fds, &x, e);
	ends_close(&x);
	if (r < 0)
		proc_forget(p);
	return r;
}

/* --- the end -------------------------------------------------------------- */

void proc_signal(struct proc *p, int signo)
{
	if (p->pid && p->pidfd >= 0)
		(void)pidfd_send_signal(p->pidfd, signo, NULL, 0);
	/* A command nobody waits for any more goes with what it has started: it
	 * leads a session, and its number is ours until it is reaped. */
	if (p->kind == KIND_EXEC && signo == SIGKILL && p->pid > 1)
		(void)kill(-p->pid, SIGKILL);
	if (p->helper)
		(void)kill(p->helper, signo);
}

/* Kill what lives in mount namespace @mntns. How many were there. */
static size_t sweep(int procfd, uint64_t mntns)
{
	DIR *d = fdopendir(
		openat(procfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *ent;
	struct stat st;
	char path[64];
	size_t n = 0;
	int pid;

	while (d && (ent = readdir(d))) {
		if (str_to_int(ent->d_name, &pid) < 0)
			continue;
		snprintf(path, sizeof(path), "%d/ns/mnt", pid);
		if (fstatat(procfd, path, &st, 0) == 0 && st.st_ino == mntns) {
			n++;
			(void)kill(pid, SIGKILL);
		}
	}
	if (d)
		closedir(d);
	return n;
}

/* Without a pid namespace of its own, a container's other processes do not end
 * with its first. */
static void kill_leftovers(const struct proc *p)
{
	auto_close int procfd = -EBADF;

	if (p->own_pidns || p->kind == KIND_EXEC || !p->mntns)
		return;
	procfd = rootfs_fsmount("proc", NULL, 0, NULL);
	/* Zombies have no namespaces any more: who is counted is alive. */
	for (int i = 0; procfd >= 0 && i < SWEEPS_MAX; i++) {
		if (!sweep(procfd, p->mntns))
			break;
		sched_yield();
	}
}

static void exited(struct proc *p, int status)
{
	struct proto_exit x;

	p->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	p->exit_code = p->signal ? 128 + p->signal : WEXITSTATUS(status);
	p->oom_killed = oom_count(p->oom_fd) > p->oom_before;
	p->state = STATE_EXITED;
	p->host_pid = 0;
	time_text(p->finished);
	out_close(p);
	close_slot(&p->tty_fd);
	close_slot(&p->stdin_fd);
	if (p->kind == KIND_EXEC) {
		x = (struct proto_exit){ p->exit_code, p->signal };
		if (p->exit_fd >= 0)
			(void)!write(p->exit_fd, &x, sizeof(x));
		proc_forget(p);
		return;
	}
	/* First to the disk, then to the world. A full disk costs the safety
	 * net, not the result. */
	(void)exits_write(p->sup, NULL);
	event_exit(p->sup, p);
}

static struct proc *by_pid(struct sup *sup, pid_t pid)
{
	for (struct proc *p = sup->procs; p; p = p->next)
		if (p->pid == pid || p->helper == pid)
			return p;
	return NULL;
}

/* The child of an exec may have said who it is, and died, since we looked. */
static struct proc *by_pid_heard(struct sup *sup, pid_t pid)
{
	struct proc *p = by_pid(sup, pid);

	for (struct proc *q = sup->procs; q && !p; q = q->next) {
		if (q->state != STATE_STARTING || q->status.fd < 0)
			continue;
		while (read_report(q) > 0)
			;
		if (q->pid == pid)
			p = q;
	}
	return p;
}

static void reaped(struct sup *sup, pid_t pid, int status)
{
	struct proc *p = by_pid_heard(sup, pid);

	if (!p)
		return; /* an orphan of a container */
	if (p->helper == pid) {
		p->helper = 0;
		conclude(p);
		return;
	}
	if (p->state == STATE_STARTING) {
		(void)reports_done(p);
		if (!p->exec_next || p->failed) {
			p->pid = 0;
			if (!p->helper)
				start_failed(p);
			return;
		}
		started(p);
	}
	p->pid = 0;
	kill_leftovers(p);
	exited(p, status);
}

void procs_reap(struct sup *sup)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		reaped(sup, pid, status);
}

void proc_kill_all(struct sup *sup)
{
	for (struct proc *p = sup->procs; p; p = p->next)
		proc_signal(p, SIGKILL);
	/* PID 1: all of the pod and nothing else. */
	if (!sup->opts->host_pid)
		(void)kill(-1, SIGKILL);
}
