// SPDX-License-Identifier: Apache-2.0
#include "controlplane/client/recorder.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "controlplane/client/client.h"
#include "controlplane/client/object.h"
#include "lib/json.h"
#include "lib/map.h"
#include "lib/str.h"

struct seen {
	char *name; /* of the Event */
	unsigned count;
};

struct recorder {
	struct client *client;
	char *component;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct map seen; /* "uid reason message": struct seen */
	unsigned pending;
	unsigned serial;
};

struct post {
	struct client_call call;
	struct recorder *r;
	struct buf path, body;
};

int recorder_new(struct client *c, const char *component, struct recorder **ret,
		 struct err *e)
{
	struct recorder *r = calloc(1, sizeof(*r));

	if (r)
		r->component = strdup(component);
	if (!r || !r->component) {
		free(r);
		return err_set(e, -ENOMEM, "out of memory");
	}
	r->client = c;
	r->serial = (unsigned)time_now_us();
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->cond, NULL);
	*ret = r;
	return 0;
}

static void free_seen(void *arg)
{
	struct seen *s = arg;

	free(s->name);
	free(s);
}

void recorder_free(struct recorder *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	while (r->pending)
		pthread_cond_wait(&r->cond, &r->lock);
	pthread_mutex_unlock(&r->lock);
	map_clear(&r->seen, free_seen);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->cond);
	free(r->component);
	free(r);
}

static void posted(struct client_call *call)
{
	struct post *p = call->arg;
	struct recorder *r = p->r;

	client_call_clear(call);
	buf_clear(&p->path);
	buf_clear(&p->body);
	free(p);
	pthread_mutex_lock(&r->lock);
	r->pending--;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static void put_event(struct recorder *r, struct buf *b, enum kind k,
		      const struct informer_object *o, bool warning,
		      const char *reason, const char *msg, const char *name)
{
	const char *ns = *o->namespace ? o->namespace : "default";
	struct json_out j = JSON_OUT(b);
	char now[OBJ_TIME_SIZE];

	time_format(time_now(), now);
	json_put_object(&j, NULL);
	json_put_str(&j, "apiVersion", "v1");
	json_put_str(&j, "kind", "Event");
	json_put_object(&j, "metadata");
	json_put_str(&j, "name", name);
	json_put_str(&j, "namespace", ns);
	json_put_end(&j);
	json_put_object(&j, "involvedObject");
	json_put_str(&j, "apiVersion", kinds[k].api_version);
	json_put_str(&j, "kind", kinds[k].name);
	json_put_str(&j, "name", o->name);
	if (*o->namespace)
		json_put_str(&j, "namespace", o->namespace);
	json_put_str(&j, "uid", o->uid);
	json_put_fmt(&j, "resourceVersion", "%llu",
		     (unsigned long long)o->revision);
	json_put_end(&j);
	json_put_str(&j, "type", warning ? "Warning" : "Normal");
	json_put_str(&j, "reason", reason);
	json_put_str(&j, "message", msg);
	json_put_object(&j, "source");
	json_put_str(&j, "component", r->component);
	json_put_end(&j);
	json_put_str(&j, "reportingComponent", r->component);
	json_put_str(&j, "firstTimestamp", now);
	json_put_str(&j, "lastTimestamp", now);
	json_put_u64(&j, "count", 1);
	json_put_end(&j);
}

/* The event of this content, counted; NULL when there is no memory. Locked. */
static struct seen *remember(struct recorder *r,
			     const struct informer_object *o,
			     const char *reason, const char *msg)
{
	auto_free char *key = str_printf("%s %s %s", o->uid, reason, msg);
	struct seen *s = key ? map_get(&r->seen, key) : NULL;

	if (!key || s)
		return s;
	if (map_len(&r->seen) >= RECORDER_KEPT) {
		struct map_iter it = MAP_ITER_INIT;

		map_next(&r->seen, &it); /* the oldest */
		free_seen(map_del(&r->seen, it.key));
	}
	s = calloc(1, sizeof(*s));
	if (s)
		s->name = str_printf("%.200s.%08x%08x", o->name,
				     fnv32(key, strlen(key)), r->serial++);
	if (!s || !s->name || map_set(&r->seen, key, s, NULL) < 0) {
		if (s)
			free_seen(s);
		return NULL;
	}
	return s;
}

void recorder_event(struct recorder *r, enum kind k,
		    const struct informer_object *about, bool warning,
		    const char *reason, const char *fmt, ...)
{
	struct post *p = calloc(1, sizeof(*p));
	char msg[1024], now[OBJ_TIME_SIZE];
	struct seen *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&r->lock);
	if (p && r->pending < RECORDER_PENDING)
		s = remember(r, about, reason, msg);
	if (!s) {
		pthread_mutex_unlock(&r->lock);
		free(p);
		return;
	}
	r->pending++;
	s->count++;
	kind_path(KIND_EVENT, *about->tenant ? about->tenant : "system",
		  *about->namespace ? about->namespace : "default",
		  s->count > 1 ? s->name : NULL, NULL, &p->path);
	if (s->count == 1)
		put_event(r, &p->body, k, about, warning, reason, msg, s->name);
	else
		buf_printf(&p->body, "{\"count\":%u,\"lastTimestamp\":\"%s\"}",
			   s->count, time_format(time_now(), now));
	p->call.method = s->count > 1 ? "PATCH" : "POST";
	p->call.type = s->count > 1 ? "application/merge-patch+json" : NULL;
	pthread_mutex_unlock(&r->lock);
	p->r = r;
	p->call.path = buf_str(&p->path);
	p->call.body = buf_str(&p->body);
	p->call.done = posted;
	p->call.arg = p;
	client_start(r->client, &p->call);
}
