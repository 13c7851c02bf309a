// SPDX-License-Identifier: Apache-2.0
/*
 * Pulling and importing: an answer of lines, each a JSON object. {"progress":
 * {...}} as often as there is some; at last {"result":{...}}, or a Status.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/local/internal.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

#define UNSENT_MAX (256 * 1024) /* of progress; a slow client misses some */

struct job {
	struct task t;
	struct api_image_job job;
	yyjson_doc *doc; /* what job points into */
	bool pull;
	bool begun;
};

struct line {
	struct message m;
	struct job *job;
	size_t len;
	char text[];
};

static void send_line(struct message *m)
{
	struct line *l = (struct line *)m;
	struct http_req *req = l->job->t.req;

	if (!l->job->begun && http_stream(req, 200, "application/json") == 0)
		l->job->begun = true;
	if (l->job->begun && http_backlog(req) < UNSENT_MAX)
		(void)http_stream_write(req, l->text, l->len);
	free(l);
}

/* In the thread that works; it comes before the task's end in the queue. */
static void tell(void *arg, const char *json, size_t len)
{
	static const char head[] = "{\"progress\":", tail[] = "}\n";
	struct job *j = arg;
	struct line *l = malloc(sizeof(*l) + sizeof(head) + len + sizeof(tail));
	char *to;

	if (!l)
		return; /* the next one may come through */
	*l = (struct line){ .m.fn = send_line, .job = j };
	to = mempcpy(l->text, head, sizeof(head) - 1);
	to = mempcpy(to, json, len);
	to = mempcpy(to, tail, sizeof(tail) - 1);
	l->len = (size_t)(to - l->text);
	api_send(j->t.api, &l->m);
}

static void run(struct task *t)
{
	const struct api_backend *b = t->api->o.backend;
	struct job *j = (struct job *)t;

	t->r = j->pull ? b->image_pull(t->api->o.arg, &j->job, &t->out, &t->err)
		       : b->image_import(t->api->o.arg, &j->job, &t->out,
					 &t->err);
}

static void finish(struct task *t)
{
	struct job *j = (struct job *)t;
	auto_buf struct buf b = BUF_INIT;

	if (t->r < 0 && !j->begun) {
		task_finish(t);
		return;
	}
	if (t->r < 0)
		put_status(&b, t->r, t->err.msg);
	else
		buf_printf(&b, "{\"result\":%s}", buf_str(&t->out));
	buf_putc(&b, '\n');
	http_on_end(t->req, NULL, NULL);
	if (j->begun || http_stream(t->req, 200, "application/json") == 0) {
		(void)http_stream_write(t->req, buf_str(&b), b.len);
		http_stream_end(t->req);
	}
	task_free(t);
}

static void release(struct task *t)
{
	struct job *j = (struct job *)t;

	if (j->doc)
		yyjson_doc_free(j->doc);
}

static int read_job(struct job *j, struct err *e)
{
	static const char *const known[] = { "pull",     "import", "name",
					     "kind",     "format", "username",
					     "password", "always", "insecure",
					     NULL };
	struct api_image_job *job = &j->job;
	struct json_ref root = json_root(j->doc);
	const char *pull = NULL, *import = NULL;
	int r = json_only(&root, known, e);
	const struct {
		const char *key;
		const char **to;
	} texts[] = {
		{ "pull", &pull },
		{ "import", &import },
		{ "name", &job->name },
		{ "kind", &job->kind },
		{ "format", &job->format },
		{ "username", &job->username },
		{ "password", &job->password },
	};

	for (size_t i = 0; i < ARRAY_LEN(texts) && r == 0; i++) {
		struct json_ref f = json_get(&root, texts[i].key);

		r = json_opt_str(&f, texts[i].to, e);
	}
	if (r == 0) {
		struct json_ref f = json_get(&root, "always");

		r = json_opt_bool(&f, &job->always, e);
	}
	if (r == 0) {
		struct json_ref f = json_get(&root, "insecure");

		r = json_opt_bool(&f, &job->insecure, e);
	}
	if (r < 0)
		return -EBADMSG;
	if (!pull == !import || (pull && !*pull) || (import && !*import))
		return err_set(e, -EBADMSG,
			       "give either pull or import, and what");
	j->pull = pull != NULL;
	job->ref = pull ? pull : import;
	return 0;
}

static int begin(struct job *j, struct err *e)
{
	const struct api_backend *b = j->t.api->o.backend;
	int r;

	r = json_parse(j->t.req->body, j->t.req->body_len, &j->doc, e);
	if (r == 0)
		r = read_job(j, e);
	if (r < 0)
		return r;
	if (j->pull ? !b->image_pull : !b->image_import)
		return err_set(e, -EOPNOTSUPP, "this agent cannot do that");
	j->job.progress = (struct api_progress){ tell, j };
	j->job.cancel = &j->t.cancel;
	return 0;
}

void handle_images(struct api *api, struct http_req *req, struct route *r)
{
	struct job *j = (struct job *)task_new(api, req, r, sizeof(*j));

	if (!j)
		return;
	j->t.run = run;
	j->t.release = release;
	j->t.r = begin(j, &j->t.err);
	if (j->t.r < 0) {
		task_finish(&j->t);
		return;
	}
	j->t.finish = finish;
	task_start_long(&j->t);
}
