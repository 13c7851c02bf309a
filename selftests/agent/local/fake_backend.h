/* SPDX-License-Identifier: Apache-2.0 */
/* Its functions, included by the one file of each test program. */
#ifndef SELFTESTS_AGENT_LOCAL_FAKE_BACKEND_H
#define SELFTESTS_AGENT_LOCAL_FAKE_BACKEND_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/local/action.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/spawn.h"
#include "selftests/agent/local/fake.h"

#define FAKE_POD                                                          \
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":" \
	"\"web\",\"namespace\":\"default\",\"tenant\":\"system\"},"       \
	"\"spec\":{\"containers\":[{\"name\":\"main\",\"image\":\"i\","   \
	"\"resources\":{\"limits\":{\"cpu\":0.5,\"memory\":"              \
	"\"64Mi\"}}}]},\"status\":{\"phase\":\"Running\",\"podIP\":"      \
	"\"10.88.0.2\",\"startTime\":\"2020-01-01T00:00:00Z\","           \
	"\"containerStatuses\":[{\"name\":\"main\",\"ready\":true,"       \
	"\"restartCount\":3,\"state\":{\"running\":{}},"                  \
	"\"allocatedResources\":{\"cpu\":\"500m\"},\"resources\":"        \
	"{\"limits\":{\"cpu\":\"250m\"}}}]}}"

static char fake_asked[256];       /* the pod of the last call */
static const char *fake_more = ""; /* of the list: ",{...}" */

static int fake_known(const struct api_pod_id *id, struct err *e)
{
	snprintf(fake_asked, sizeof(fake_asked), "%s/%s/%s", id->tenant,
		 id->namespace, id->name);
	if (strcmp(id->name, "web") == 0 ||
	    (strcmp(id->name, "lone") == 0 && strcmp(id->tenant, "acme") == 0))
		return 0;
	return err_set(e, -ENOENT, "pods \"%s\" not found", id->name);
}

static int fake_list(void *arg, const struct api_scope *scope, struct buf *out,
		     struct err *e)
{
	(void)arg, (void)e;
	buf_puts(out, "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\""
		      ":{\"resourceVersion\":\"5\"},\"items\":[");
	if (!scope->namespace || strcmp(scope->namespace, "default") == 0)
		buf_puts(out, FAKE_POD);
	if (!scope->namespace)
		buf_puts(out, fake_more);
	return buf_puts(out, "]}");
}

static int fake_get(void *arg, const struct api_pod_id *id, struct buf *out,
		    struct err *e)
{
	int r = fake_known(id, e);

	(void)arg;
	return r < 0 ? r : buf_puts(out, FAKE_POD);
}

static int fake_apply(void *arg, const char *json, size_t len,
		      enum api_outcome *ret, struct buf *out, struct err *e)
{
	struct fake *f = arg;

	if (strstr(json, "\"bad\""))
		return err_set(e, -EINVAL, "spec.bad: unknown field");
	snprintf(f->last_apply, sizeof(f->last_apply), "%s", json);
	*ret = API_CREATED;
	return buf_add(out, json, len);
}

static int fake_delete(void *arg, const struct api_pod_id *id, int64_t grace,
		       struct err *e)
{
	((struct fake *)arg)->last_grace = grace;
	return fake_known(id, e);
}

static int fake_resize(void *arg, const struct api_resize *rs,
		       struct api_resize_result *ret, struct err *e)
{
	struct fake *f = arg;
	int r = fake_known(&rs->pod, e);

	if (r < 0)
		return r;
	f->last_resize = *rs;
	snprintf(f->last_container, sizeof(f->last_container), "%s",
		 rs->container ? rs->container : "");
	*ret = (struct api_resize_result){ .state = API_RESIZE_DONE,
					   .took_ms = 214,
					   .by_guest = true };
	ret->before = (struct quantity_set){ .has_cpu = true,
					     .has_mem = true,
					     .cpu_milli = 500,
					     .mem_bytes = 64 << 20 };
	ret->after = rs->want.limits;
	if (rs->timeout_ms == 1000) { /* it is powered off */
		ret->state = API_RESIZE_ACCEPTED;
		snprintf(ret->why, sizeof(ret->why),
			 "takes effect when the VM is powered on");
	}
	return 0;
}

static int fake_action(void *arg, const struct api_action *a,
		       struct api_action_result *ret, struct err *e)
{
	(void)arg;
	if (strcmp(a->operation, "explode") == 0)
		return err_set(e, -EBADMSG, "Unsupported operation '%s'",
			       a->operation);
	ret->state = strcmp(a->operation, "restore") == 0 ? API_ACTION_FAILED
							  : API_ACTION_DONE;
	ret->took_ms = 7 + a->delay_s;
	snprintf(ret->snapshot, sizeof(ret->snapshot), "%s",
		 a->snapshot ? a->snapshot : "");
	snprintf(ret->why, sizeof(ret->why), "%s",
		 ret->state == API_ACTION_FAILED ? "there is none" : "");
	return fake_known(&a->pod, e);
}

/* tail=N: N lines. follow: lines until the client goes. */
static int fake_logs(void *arg, const struct api_logs *l, int out_fd,
		     struct err *e)
{
	struct fake *f = arg;
	int r = fake_known(&l->pod, e);
	int64_t nr = l->follow ? INT64_MAX : l->tail >= 0 ? l->tail : 3;

	for (int64_t i = 0; r == 0 && i < nr; i++) {
		char line[64];
		int len = snprintf(line, sizeof(line), "line %lld\n",
				   (long long)i);

		if (l->cancel && atomic_load(l->cancel)) {
			f->cancelled++;
			return 0;
		}
		if (write(out_fd, line, (size_t)len) < 0) {
			f->log_broken++;
			return -EPIPE;
		}
	}
	return r;
}

struct fake_session {
	struct spawn_child child;
	int code;
};

/* A real process on real pipes. */
static int fake_exec(void *arg, const struct api_exec *x,
		     struct api_session *ret, struct err *e)
{
	struct fake_session *s;
	int in[2], out[2], err[2], r;
	struct spawn_fd map[3];
	struct spawn_opts o = { .argv = x->argv.v, .fds = map, .nr_fds = 3 };

	(void)arg;
	r = fake_known(&x->pod, e);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ||
	    pipe2(err, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	map[0] = (struct spawn_fd){ in[0], 0 };
	map[1] = (struct spawn_fd){ out[1], 1 };
	map[2] = (struct spawn_fd){ err[1], 2 };
	r = spawn_start(&o, &s->child, e);
	close(in[0]);
	close(out[1]);
	close(err[1]);
	if (r < 0) {
		close(in[1]);
		close(out[0]);
		close(err[0]);
		free(s);
		return r;
	}
	if (!x->in) {
		close(in[1]);
		in[1] = -1;
	}
	*ret = (struct api_session){ in[1], out[0], err[0], dup(s->child.pidfd),
				     false, s };
	return 0;
}

static int fake_result(void *arg, void *cookie, int *ret_code, struct err *e)
{
	struct fake_session *s = cookie;
	int status = 0, r;

	(void)arg;
	r = spawn_wait(&s->child, 5000, &status, e);
	*ret_code = WIFEXITED(status) ? WEXITSTATUS(status)
				      : 128 + WTERMSIG(status);
	return r;
}

static void fake_close(void *arg, void *cookie)
{
	struct fake_session *s = cookie;

	spawn_kill(&s->child);
	free(s);
	((struct fake *)arg)->closed++;
}

static int fake_images(void *arg, struct buf *out, struct err *e)
{
	(void)arg, (void)e;
	return buf_puts(out, "{\"items\":[{\"ref\":\"demo/web\",\"id\":"
			     "\"sha256:0123456789abcdef\",\"kind\":"
			     "\"container\",\"size\":1048576,\"created\":"
			     "\"2020-01-01T00:00:00Z\",\"usedBy\":1}]}");
}

/* "slow" waits to be cancelled, "missing" fails at once, "torn" half-way. */
static int fake_pull(void *arg, const struct api_image_job *job,
		     struct buf *out, struct err *e)
{
	static const char p[] = "{\"phase\":\"downloading\",\"bytes\":1}";
	struct fake *f = arg;

	if (strcmp(job->ref, "missing") == 0)
		return err_set(e, -ENOENT, "no image 'missing'");
	job->progress.tell(job->progress.arg, p, strlen(p));
	if (strcmp(job->ref, "torn") == 0)
		return err_set(e, -ENOSPC, "no space left");
	while (strcmp(job->ref, "slow") == 0) {
		if (atomic_load(job->cancel)) {
			f->cancelled++;
			return err_set(e, -ECANCELED, "cancelled");
		}
		usleep(1000);
	}
	return buf_puts(out, "{\"ref\":\"x\"}");
}

static int fake_import(void *arg, const struct api_image_job *job,
		       struct buf *out, struct err *e)
{
	(void)arg, (void)e;
	return buf_printf(out, "{\"ref\":\"%s\"}", job->name ? job->name : "");
}

const struct api_backend fake_backend = {
	.pod_list = fake_list,
	.pod_get = fake_get,
	.pod_apply = fake_apply,
	.pod_delete = fake_delete,
	.pod_resize = fake_resize,
	.pod_action = fake_action,
	.pod_logs = fake_logs,
	.pod_exec = fake_exec,
	.session_result = fake_result,
	.session_close = fake_close,
	.image_list = fake_images,
	.image_pull = fake_pull,
	.image_import = fake_import,
};

#endif /* SELFTESTS_AGENT_LOCAL_FAKE_BACKEND_H */
