// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/remote/actions.c agent/remote/content.c agent/remote/mirror.c
// FUZZ: agent/remote/objects.c agent/remote/objwatch.c agent/remote/remote.c
// FUZZ: agent/remote/pull_secrets.c agent/remote/status.c agent/remote/sync.c
// FUZZ: agent/remote/watch.c agent/image/keyring.c agent/volume/payload*.c
// FUZZ: lib/base64.c lib/buf.c lib/err.c lib/fs.c lib/json.c lib/json_out.c
// FUZZ: lib/log.c lib/map.c lib/quantity.c lib/str.c lib/http/url.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/*
 * What an API server may say to a node, and what the node does about it: pods
 * and Actions as they are listed and watched, ConfigMaps, Secrets and tokens,
 * and the answers to what the node writes. NUL bytes divide: the list, the
 * watch's lines, the pod as it is here, then one answer after the other. The
 * first byte chooses the feed.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "agent/remote/internal.h"
#include "agent/remote/objects.h"
#include "agent/volume/internal.h"
#include "agent/volume/payload.h"
#include "controlplane/client/rest.h"
#include "controlplane/client/target.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/log.h"

#define PARTS_MAX 32
#define ASKED_MAX 200 /* by one input */
#define KEYS_MAX  64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct {
	const char *part[PARTS_MAX];
	size_t len[PARTS_MAX];
	size_t nr, next, asked;
	char *lines;  /* of the watch, not given yet */
	char *answer; /* the line that is lent */
	char *keys[KEYS_MAX];
	size_t nr_keys;
	struct remote *r;
	bool feeding;
	struct client_call *call;
} in;

/* --- the queue: keys are looked at when everything has come --- */

int wq_add(struct wq *q, const char *key)
{
	(void)q;
	assert(strlen(key) < KEY_MAX);
	for (size_t i = 0; i < in.nr_keys; i++)
		if (strcmp(in.keys[i], key) == 0)
			return 0;
	if (in.nr_keys < KEYS_MAX)
		in.keys[in.nr_keys++] = strdup(key);
	return 0;
}

int wq_add_after(struct wq *q, const char *key, uint64_t ms)
{
	(void)q, (void)ms;
	assert(strlen(key) < KEY_MAX);
	return 0;
}

int wq_backoff(struct wq *q, const char *key)
{
	return wq_add_after(q, key, 0);
}

void wq_forget(struct wq *q, const char *key)
{
	(void)q, (void)key;
}

unsigned wq_failures(struct wq *q, const char *key)
{
	(void)q, (void)key;
	return 0;
}

int wq_new(const struct wq_opts *opts, struct wq **ret, struct err *e)
{
	(void)opts, (void)ret, (void)e;
	abort();
}

void wq_free(struct wq *q)
{
	(void)q;
}

/* --- the API --- */

static struct rest *rest(void)
{
	return (struct rest *)&in;
}

int rest_open(const char *kubeconfig, struct rest **ret, struct err *e)
{
	(void)kubeconfig, (void)e;
	*ret = rest();
	return 0;
}

void rest_close(struct rest *c)
{
	(void)c;
}

void rest_cancel(struct rest *c)
{
	(void)c;
}

const char *rest_server(const struct rest *c)
{
	(void)c;
	return "https://127.0.0.1:1";
}

/* What is written must be JSON, whatever it was made from. */
static void check_body(const char *body)
{
	yyjson_doc *doc = body ? yyjson_read(body, strlen(body), 0) : NULL;

	assert(!body || doc);
	yyjson_doc_free(doc);
}

/* The next part in turn: its first byte says how it ends. */
int rest_call(struct rest *c, const char *method, const char *path,
	      const char *body, const char *type, struct buf *answer,
	      struct err *e)
{
	static const int status[] = { 200, 200, 200, 404, 409, 500, 405, -EIO };
	size_t first = in.nr > 3 ? 3 : in.nr, i;

	(void)c, (void)type;
	assert(*path == '/' && method);
	if (in.feeding) /* one list, one watch */
		atomic_store(&in.r->stopping, true);
	check_body(body);
	buf_reset(answer);
	if (in.nr <= first || in.asked++ >= ASKED_MAX)
		return err_set(e, -EIO, "no answer");
	i = first + in.next++ % (in.nr - first);
	if (!in.len[i])
		return err_set(e, -EIO, "an answer that is not one");
	buf_add(answer, in.part[i] + 1, in.len[i] - 1);
	i = (unsigned char)*in.part[i] & 7;
	return status[i] < 0 ? err_set(e, status[i], "no answer") : status[i];
}

int rest_check(int status, const struct buf *answer, struct err *e)
{
	(void)answer;
	return status < 400 ? 0 : err_set(e, -EIO, "status %d", status);
}

int rest_stream(struct rest *c, const char *path, struct buf *answer,
		struct err *e)
{
	(void)c, (void)path, (void)answer, (void)e;
	return 200;
}

int rest_stream_line(struct rest *c, const char **ret, size_t *ret_len,
		     struct err *e)
{
	char *nl;

	(void)c;
	if (!in.lines || !*in.lines)
		return err_set(e, -ECANCELED, "the end");
	nl = strchrnul(in.lines, '\n');
	free(in.answer);
	*ret_len = (size_t)(nl - in.lines);
	*ret = in.answer = strndup(in.lines, *ret_len);
	in.lines = nl + (*nl == '\n');
	return 1;
}

void rest_stream_end(struct rest *c)
{
	(void)c;
}

/* --- the watches of objects: what they say comes from the same parts --- */

int client_open(const struct client_opts *o, struct client **ret, struct err *e)
{
	(void)o, (void)e;
	*ret = (struct client *)&in;
	return 0;
}

void client_close(struct client *c)
{
	(void)c;
}

void client_start(struct client *c, struct client_call *call)
{
	(void)c;
	in.call = call;
}

void client_cancel(struct client *c, struct client_call *call)
{
	(void)c, (void)call;
}

void client_call_clear(struct client_call *call)
{
	buf_clear(&call->answer);
}

struct ev *client_loop(const struct client *c)
{
	(void)c;
	return NULL;
}

int ev_post(struct ev *ev, void (*fn)(void *arg), void *arg)
{
	(void)ev, (void)fn, (void)arg;
	return -ENOMEM;
}

uint64_t ev_clock_ms(void)
{
	return 1000;
}

/* In two pieces, and then its end. */
static void watch_speaks(void)
{
	struct client_call *call = in.call;
	size_t i, half;

	in.call = NULL;
	if (!call || in.nr < 4)
		return;
	i = 3 + in.next++ % (in.nr - 3);
	half = in.len[i] / 2;
	call->data(call, in.part[i], half);
	call->data(call, in.part[i] + half, in.len[i] - half);
	call->data(call, "\n", 1);
	call->status = 200;
	call->done(call);
}

/* --- what is not under test --- */

int target_open(const char *kubeconfig, struct target **ret, struct err *e)
{
	(void)kubeconfig, (void)ret;
	return err_set(e, -ENOENT, "none");
}

void target_free(struct target *t)
{
	(void)t;
}

int volume_tmpfs(const struct volume_set *set, const char *path, mode_t mode,
		 uint64_t bytes, struct err *e)
{
	(void)set, (void)path, (void)mode, (void)bytes, (void)e;
	abort();
}

int facts_address(const struct remote *r, char *buf, size_t size)
{
	(void)r, (void)buf, (void)size;
	return -ENOENT;
}

int events_new(struct remote *r)
{
	(void)r;
	return 0;
}

void events_free(struct remote *r)
{
	(void)r;
}

int server_start(struct remote *r, struct err *e)
{
	(void)r, (void)e;
	return 0;
}

void server_stop(struct remote *r)
{
	(void)r;
}

void *node_run(void *arg)
{
	return arg;
}

void *events_run(void *arg)
{
	return arg;
}

void remote_event(struct remote *r, const struct remote_event *ev)
{
	(void)r;
	assert(ev->reason && ev->message);
}

/* --- the agent --- */

static int op_apply(void *arg, const char *json, size_t len, struct err *e)
{
	(void)arg;
	check_body(json);
	return len % 3 ? 0 : err_set(e, -EINVAL, "cannot be run");
}

static int op_remove(void *arg, const char *key, uint32_t grace_s)
{
	(void)arg, (void)key, (void)grace_s;
	return 0;
}

/* What is here is our own: always JSON. */
static int op_get(void *arg, const char *key, struct remote_pod *ret)
{
	yyjson_doc *doc =
		in.nr > 2 ? yyjson_read(in.part[2], in.len[2], 0) : NULL;
	const char *uid;

	(void)arg, (void)key;
	if (!doc)
		return -ENOENT;
	uid = yyjson_get_str(
		yyjson_ptr_get(yyjson_doc_get_root(doc), "/metadata/uid"));
	memset(ret, 0, sizeof(*ret));
	snprintf(ret->uid, sizeof(ret->uid), "%s", uid ? uid : "");
	ret->ours = in.len[2] % 2;
	ret->json = strndup(in.part[2], in.len[2]);
	ret->len = in.len[2];
	yyjson_doc_free(doc);
	return 0;
}

static void op_content(void *arg, const char *key, const char *uid,
		       struct payload_set *set)
{
	(void)arg, (void)key, (void)uid;
	for (size_t i = 0; i < set->nr; i++)
		assert(set->v[i].name);
	payload_set_free(set);
}

static int op_each(void *arg, void (*fn)(void *to, const char *key, bool ours),
		   void *to)
{
	(void)arg;
	fn(to, "system/default/here", true);
	return 0;
}

static int op_act(void *arg, const char *key, const struct remote_action *want,
		  struct remote_action_result *ret, struct err *e)
{
	(void)arg, (void)key;
	assert(want->id && want->operation);
	ret->begun_us = want->asked_us;
	ret->ended_us = want->asked_us + 1;
	ret->failed = want->delay_s % 2;
	return want->snapshot ? 0 : err_set(e, -EINVAL, "no");
}

static void op_told(void *arg, const char *key, const char *id)
{
	(void)arg, (void)key, (void)id;
}

static int op_node(void *arg, struct buf *out, struct err *e)
{
	(void)arg, (void)e;
	return buf_puts(out, "{\"status\":{\"allocatable\":{\"cpu\":\"2\","
			     "\"memory\":\"1Gi\"}}}");
}

static const struct remote_ops ops = {
	.apply = op_apply,
	.remove = op_remove,
	.get = op_get,
	.content = op_content,
	.each = op_each,
	.act = op_act,
	.told = op_told,
	.node = op_node,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_CRIT);
	return 0;
}

static void split(const char *text, size_t len)
{
	while (len && in.nr < PARTS_MAX) {
		const char *nul = memchr(text, '\0', len);
		size_t n = nul ? (size_t)(nul - text) : len;

		in.part[in.nr] = text;
		in.len[in.nr++] = n;
		text += n + !!nul;
		len -= n + !!nul;
	}
}

/* The list and the watch, as watch.c takes them: the list is the first answer,
 * so it is put in front of them. */
static void feed(unsigned int which)
{
	const char *list = in.nr ? in.part[0] : "";
	size_t len = in.nr ? in.len[0] : 0, nr = in.nr;
	char *answer = malloc(len + 1);
	char *lines = in.nr > 1 ? strndup(in.part[1], in.len[1]) : NULL;
	const char *old = nr > 3 ? in.part[3] : NULL;
	size_t old_len = nr > 3 ? in.len[3] : 0;

	if (nr < 3)
		in.part[0] = in.part[1] = in.part[2] = "", in.nr = 3;
	answer[0] = 0;
	memcpy(answer + 1, list, len);
	in.part[3] = answer;
	in.len[3] = len + 1;
	if (in.nr < 4)
		in.nr = 4;
	in.lines = lines;
	in.feeding = true;
	(which ? actions_run : watch_run)(in.r);
	in.feeding = false;
	free(in.answer);
	in.answer = NULL;
	in.nr = nr;
	in.part[3] = old;
	in.len[3] = old_len;
	free(lines);
	free(answer);
	atomic_store(&in.r->stopping, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct remote_opts o = { .node_name = "n1",
				       .kubeconfig = "/",
				       .ops = &ops };

	if (size < 1 || size > 65536)
		return 0;
	memset(&in, 0, sizeof(in));
	split((const char *)data + 1, size - 1);
	in.r = remote_bare(&o);
	in.r->synced = true;
	feed(data[0] & 1);
	for (size_t i = 0; i < in.nr_keys; i++) {
		remote_sync(in.r, in.keys[i]);
		watch_speaks();
		remote_sync(in.r, in.keys[i]);
	}
	objects_sweep(in.r);
	for (size_t i = 0; i < in.nr_keys; i++)
		free(in.keys[i]);
	remote_stop(in.r);
	return 0;
}
