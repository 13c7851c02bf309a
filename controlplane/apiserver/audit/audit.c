// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/audit/audit.h"
#include "controlplane/apiserver/audit/policy.h"
#include "controlplane/apiserver/audit/sink.h"
#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/write.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define POLICY_MAX (1024 * 1024)
#define OBJECT_MAX ((size_t)1024 * 1024) /* bytes of a body in an event */
#define NOTES_MAX  64
#define TEXT_MAX   4096 /* of what clients can make long: URI, agent */

struct audit {
	struct audit_policy *policy;
	struct sink *sink;
	bool blocking;
};

/* What is known of one request. */
struct audit_note {
	struct audit_verdict v;
	struct timespec received;
	bool decided, allowed, started, truncated, too_large;
	char *why;              /* of the decision */
	char *reason, *message; /* of a refusal */
	struct annotation {
		char *key, *value;
	} * notes;
	size_t nr_notes;
	char *name;      /* of what was created */
	struct buf sent; /* of the answer, as it was */
	struct buf request, response;
};

static const char default_policy[] =
	"{\"apiVersion\":\"audit.k8s.io/v1\",\"kind\":\"Policy\","
	"\"omitStages\":[\"RequestReceived\"],\"rules\":[{\"level\":"
	"\"Metadata\"}]}";

/* --- the ID --- */

/* Told to clients, and to be unique: no secret. */
static void make_id(char out[37])
{
	static __thread uint64_t state[2];
	uint64_t v[2];

	if (!state[0] && RAND_bytes((void *)state, sizeof(state)) != 1)
		state[0] = (uint64_t)(uintptr_t)out;
	for (int i = 0; i < 2; i++) {
		uint64_t z = state[i] += 0x9e3779b97f4a7c15 + 2 * i;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
		v[i] = z ^ (z >> 31);
	}
	snprintf(out, 37, "%08x-%04x-4%03x-%04x-%012llx",
		 (unsigned int)(v[0] >> 32),
		 (unsigned int)(v[0] >> 16) & 0xffff,
		 (unsigned int)v[0] & 0xfff,
		 ((unsigned int)(v[1] >> 48) & 0x3fff) | 0x8000,
		 (unsigned long long)(v[1] & 0xffffffffffff));
}

/* The client's own field, if it has one that is fit to be repeated. */
static bool take_id(struct req *r)
{
	const char *p = strcasestr(buf_str(&r->fields), "audit-id: ");
	size_t n;

	if (!p || (p != buf_str(&r->fields) && p[-1] != '\n'))
		return false;
	p += strlen("audit-id: ");
	n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		      "0123456789-_.");
	if (!n || n >= sizeof(r->audit_id) || p[n] != '\r')
		return false;
	memcpy(r->audit_id, p, n);
	r->audit_id[n] = '\0';
	return true;
}

void audit_identify(struct req *r)
{
	if (!take_id(r))
		make_id(r->audit_id);
	reply_field(r, "Audit-ID", r->audit_id);
}

/* --- events --- */

static void put_time(struct json_out *o, const char *key,
		     const struct timespec *t)
{
	struct tm tm;
	char text[32];

	gmtime_r(&t->tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	json_put_fmt(o, key, "%s.%06ldZ", text, t->tv_nsec / 1000);
}

static void put_extra(struct json_out *o, const struct user *u)
{
	json_put_object(o, "extra");
	for (size_t i = 0; i < u->nr_extra; i++) {
		bool seen = false;

		for (size_t k = 0; k < i; k++)
			seen |= str_eq(u->extra[k].key, u->extra[i].key);
		if (seen)
			continue;
		json_put_array(o, u->extra[i].key);
		for (size_t k = i; k < u->nr_extra; k++)
			if (str_eq(u->extra[k].key, u->extra[i].key))
				json_put_str(o, NULL, u->extra[k].value);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_user(struct json_out *o, const char *key, const struct user *u)
{
	static const struct user nobody = {
		.name = (char *)"system:anonymous",
		.tenant = (char *)SYSTEM,
		.groups = { (char *)"system:unauthenticated" },
		.nr_groups = 1,
	};

	u = u ? u : &nobody;
	json_put_object(o, key);
	json_put_str(o, "username", u->name);
	if (u->uid)
		json_put_str(o, "uid", u->uid);
	json_put_array(o, "groups");
	for (size_t i = 0; i < u->nr_groups; i++)
		json_put_str(o, NULL, u->groups[i]);
	json_put_end(o);
	if (u->nr_extra)
		put_extra(o, u);
	json_put_str(o, "tenant", u->tenant);
	json_put_end(o);
}

static void put_source(struct json_out *o, const struct req *r)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char ip[INET6_ADDRSTRLEN] = "";

	json_put_array(o, "sourceIPs");
	if (r->conn && getpeername(r->conn->fd, (void *)&sa, &len) == 0) {
		if (sa.ss_family == AF_INET)
			inet_ntop(AF_INET,
				  &((struct sockaddr_in *)&sa)->sin_addr, ip,
				  sizeof(ip));
		else if (sa.ss_family == AF_INET6)
			inet_ntop(AF_INET6,
				  &((struct sockaddr_in6 *)&sa)->sin6_addr, ip,
				  sizeof(ip));
		else if (sa.ss_family == AF_UNIX) /* from this process */
			snprintf(ip, sizeof(ip), "127.0.0.1");
		if (*ip)
			json_put_str(o, NULL, ip);
	}
	json_put_end(o);
}

static void put_some(struct json_out *o, const char *key, const char *s)
{
	if (s && *s)
		json_put_str(o, key, s);
}

static void put_object_ref(struct json_out *o, const struct req *r)
{
	const struct route *rt = &r->route;
	const char *name = rt->name ? rt->name : r->audit->name;

	if (!rt->resource)
		return;
	json_put_object(o, "objectRef");
	json_put_str(o, "resource", rt->plural);
	put_some(o, "tenant", r->tenant);
	put_some(o, "namespace", rt->namespace);
	put_some(o, "name", name);
	put_some(o, "apiGroup", rt->group);
	json_put_str(o, "apiVersion", rt->version);
	put_some(o, "subresource", rt->subresource);
	json_put_end(o);
}

static void put_status(struct json_out *o, const struct req *r)
{
	const struct audit_note *n = r->audit;

	if (!r->code)
		return;
	json_put_object(o, "responseStatus");
	json_put_object(o, "metadata");
	json_put_end(o);
	if (r->code >= 400) {
		json_put_str(o, "status", "Failure");
		put_some(o, "message", n->message);
		put_some(o, "reason", n->reason);
	}
	json_put_i64(o, "code", r->code);
	json_put_end(o);
}

static void put_annotations(struct json_out *o, const struct req *r,
			    enum audit_stage stage)
{
	const struct audit_note *n = r->audit;
	bool gone = stage == STAGE_COMPLETE && !r->code;

	if (!n->decided && !n->truncated && !gone && !n->nr_notes)
		return;
	json_put_object(o, "annotations");
	if (n->decided) {
		json_put_str(o, "authorization.k8s.io/decision",
			     n->allowed ? "allow" : "forbid");
		json_put_str(o, "authorization.k8s.io/reason",
			     n->why ? n->why : "");
	}
	for (size_t i = 0; i < n->nr_notes; i++)
		json_put_str(o, n->notes[i].key,
			     n->notes[i].value ? n->notes[i].value : "");
	if (n->truncated)
		json_put_str(o, "audit.k8s.io/truncated", "true");
	if (gone)
		json_put_str(o, "arktos.futurewei.com/unanswered",
			     "the client went before it was answered");
	json_put_end(o);
}

static void put_verb(struct json_out *o, const struct req *r)
{
	char method[16];
	size_t i;

	if (r->route.resource && r->route.verb) {
		json_put_str(o, "verb", r->route.verb);
		return;
	}
	for (i = 0; r->method[i] && i < sizeof(method) - 1; i++)
		method[i] = r->method[i] | 0x20;
	method[i] = '\0';
	json_put_str(o, "verb", method);
}

static void put_body(struct json_out *o, struct buf *b, const char *key,
		     const struct buf *body)
{
	if (!body->len)
		return;
	(void)o;
	buf_printf(b, ",\"%s\":", key);
	buf_add(b, body->data, body->len);
}

static void emit(struct req *r, enum audit_stage stage)
{
	struct audit_note *n = r->audit;
	struct audit *a = r->api->audit;
	bool acts = r->impersonator != NULL;
	auto_buf struct buf b = BUF_INIT, rest = BUF_INIT;
	struct json_out o = JSON_OUT(&b), o2 = JSON_OUT(&rest);
	struct timespec now;

	if (n->v.omit & 1u << stage)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "Event");
	json_put_str(&o, "apiVersion", "audit.k8s.io/v1");
	json_put_str(&o, "level", audit_levels[n->v.level]);
	json_put_str(&o, "auditID", r->audit_id);
	json_put_str(&o, "stage", audit_stages[stage]);
	json_put_fmt(&o, "requestURI", "%.*s%s%.*s", TEXT_MAX, r->path,
		     r->query && *r->query ? "?" : "", TEXT_MAX,
		     r->query ? r->query : "");
	put_verb(&o, r);
	put_user(&o, "user", acts ? r->real_user : r->user);
	if (acts)
		put_user(&o, "impersonatedUser", r->user);
	put_source(&o, r);
	if (r->user_agent)
		json_put_fmt(&o, "userAgent", "%.*s", TEXT_MAX, r->user_agent);
	put_object_ref(&o, r);
	if (stage != STAGE_RECEIVED)
		put_status(&o, r);
	json_put_end(&o);
	/* Bodies are JSON already: behind what there is, then the rest. */
	b.len--;
	if (stage == STAGE_COMPLETE) {
		put_body(&o, &b, "requestObject", &n->request);
		put_body(&o, &b, "responseObject", &n->response);
	}
	json_put_object(&o2, NULL);
	put_time(&o2, "requestReceivedTimestamp", &n->received);
	put_time(&o2, "stageTimestamp", &now);
	put_annotations(&o2, r, stage);
	json_put_end(&o2);
	buf_putc(&b, ',');
	buf_add(&b, rest.data + 1, rest.len - 1);
	buf_putc(&b, '\n');
	if (!buf_error(&b) && !buf_error(&rest))
		sink_put(a->sink, b.data, b.len);
}

/* --- what comes by --- */

void audit_begin(struct req *r)
{
	struct audit *a = r->api->audit;
	const struct route *rt = &r->route;
	struct audit_attrs at = { .user = r->user, .verb = rt->verb };
	struct audit_verdict v;
	char method[16] = "";

	if (!a || r->audit)
		return;
	if (rt->resource) {
		at.tenant = rt->tenant ? rt->tenant
			    : r->user  ? r->user->tenant
				       : NULL;
		at.group = rt->group;
		at.resource = rt->plural;
		at.subresource = rt->subresource;
		at.namespace = rt->namespace;
		at.name = rt->name;
	} else {
		for (size_t i = 0; r->method[i] && i < sizeof(method) - 1; i++)
			method[i] = r->method[i] | 0x20;
		at.verb = method;
		at.tenant = r->user ? r->user->tenant : NULL;
		at.path = r->path;
	}
	v = audit_policy_ask(a->policy, &at);
	if (v.level == AUDIT_NONE)
		return;
	r->audit = calloc(1, sizeof(*r->audit));
	if (!r->audit)
		return;
	r->audit->v = v;
	clock_gettime(CLOCK_REALTIME, &r->audit->received);
	emit(r, STAGE_RECEIVED);
}

bool audit_wants_reason(const struct req *r)
{
	return r->audit != NULL;
}

void audit_decided(struct req *r, bool allowed, const char *reason)
{
	if (!r->audit)
		return;
	r->audit->decided = true;
	r->audit->allowed = allowed;
	(void)str_set(&r->audit->why, reason);
}

void audit_annotate(struct req *r, const char *key, const char *value)
{
	struct audit_note *n = r->audit;
	struct annotation *more;
	size_t i = 0;

	while (n && i < n->nr_notes && strcmp(n->notes[i].key, key) != 0)
		i++;
	if (!n || i == NOTES_MAX)
		return;
	if (i == n->nr_notes) {
		more = realloc(n->notes, (i + 1) * sizeof(*more));
		if (!more)
			return;
		n->notes = more;
		more[i] = (struct annotation){ .key = strdup(key) };
		if (!more[i].key)
			return;
		n->nr_notes++;
	}
	(void)str_set(&n->notes[i].value, value);
}

void audit_failed(struct req *r, const char *reason, const char *msg)
{
	if (!r->audit)
		return;
	(void)str_set(&r->audit->reason, reason);
	(void)str_set(&r->audit->message, msg);
}

/* managedFields of an object, or of those of a list. */
static void drop_managed(yyjson_mut_val *v)
{
	yyjson_mut_val *item;
	size_t i, max;

	mut_remove(v, "metadata.managedFields");
	yyjson_mut_arr_foreach(mut_get(v, "items"), i, max, item)
	{
		mut_remove(item, "metadata.managedFields");
	}
}

/* @v as one line of JSON. */
static void keep_value(struct audit_note *n, yyjson_val *v, struct buf *b)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *copy = doc ? yyjson_val_mut_copy(doc, v) : NULL;

	if (copy && n->v.omit_managed_fields)
		drop_managed(copy);
	buf_reset(b);
	if (!copy || json_write_mut(copy, false, b) < 0 ||
	    b->len > OBJECT_MAX) {
		n->truncated = true;
		buf_clear(b);
	}
	yyjson_mut_doc_free(doc);
}

void audit_request(struct req *r, yyjson_val *body)
{
	struct audit_note *n = r->audit;
	const char *name =
		yyjson_get_str(yyjson_ptr_get(body, "/metadata/name"));

	if (!n)
		return;
	if (name && !n->name)
		(void)str_set(&n->name, name);
	if (n->v.level >= AUDIT_REQUEST)
		keep_value(n, body, &n->request);
}

/* Bodies that are ours, and have an end. */
static bool wants_response(const struct req *r)
{
	return r->audit->v.level >= AUDIT_REQUEST_RESPONSE &&
	       r->route.resource && !r->extension && !route_is_long_running(r);
}

void audit_sent(struct req *r, const char *data, size_t len)
{
	struct audit_note *n = r->audit;

	if (!n || n->too_large || !wants_response(r))
		return;
	n->sent.max = OBJECT_MAX;
	if (buf_add(&n->sent, data, len) == 0)
		return;
	n->too_large = true;
	buf_clear(&n->sent);
}

static void keep_response(struct audit_note *n)
{
	yyjson_doc *doc = NULL;

	if (n->too_large)
		n->truncated = true;
	else if (n->sent.len)
		doc = yyjson_read(buf_str(&n->sent), n->sent.len, 0);
	if (doc)
		keep_value(n, yyjson_doc_get_root(doc), &n->response);
	yyjson_doc_free(doc);
	buf_clear(&n->sent);
}

void audit_started(struct req *r)
{
	if (!r->audit || r->audit->started || !route_is_long_running(r))
		return;
	r->audit->started = true;
	emit(r, STAGE_STARTED);
}

void audit_end(struct req *r)
{
	struct audit_note *n = r->audit;

	if (!n)
		return;
	if (r->write && r->write->key.len && !n->name)
		(void)str_set(&n->name,
			      strrchr(buf_str(&r->write->key), '/') + 1);
	keep_response(n);
	emit(r, STAGE_COMPLETE);
	free(n->why);
	free(n->reason);
	free(n->message);
	free(n->name);
	for (size_t i = 0; i < n->nr_notes; i++) {
		free(n->notes[i].key);
		free(n->notes[i].value);
	}
	free(n->notes);
	buf_clear(&n->request);
	buf_clear(&n->response);
	free(n);
	r->audit = NULL;
}

/* --- life --- */

static int load_policy(struct audit *a, const char *path, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	int r = 0;

	if (!path)
		return audit_policy_parse(default_policy,
					  strlen(default_policy), &a->policy,
					  e);
	r = fs_read(AT_FDCWD, path, POLICY_MAX, &text, e);
	if (r == 0)
		r = audit_policy_parse(buf_str(&text), text.len, &a->policy, e);
	return r < 0 ? err_wrap(e, r, "audit policy '%s'", path) : 0;
}

int audit_open(struct api *api, const struct audit_opts *o, struct err *e)
{
	struct sink_opts so = {
		.path = o->path,
		.blocking = o->blocking,
		.max_bytes = (uint64_t)(o->max_size_mb ? o->max_size_mb : 100)
			     << 20,
		.max_age_s = (uint64_t)o->max_age_days * 86400,
		.max_backups = o->max_backups,
	};
	struct audit *a;
	int r;

	if (!o->path && o->policy_file)
		return err_set(e, -EINVAL,
			       "an audit policy needs --audit-log-path");
	if (!o->path)
		return 0;
	a = calloc(1, sizeof(*a));
	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	api->audit = a;
	a->blocking = o->blocking;
	r = load_policy(a, o->policy_file, e);
	return r < 0 ? r : sink_open(&so, &a->sink, e);
}

void audit_close(struct api *api)
{
	if (!api->audit)
		return;
	sink_close(api->audit->sink);
	audit_policy_free(api->audit->policy);
	free(api->audit);
	api->audit = NULL;
}

void audit_reopen(struct api *api)
{
	if (api->audit)
		sink_reopen(api->audit->sink);
}

void audit_metrics(struct api *api, struct buf *b)
{
	struct sink_stats st;

	if (!api->audit)
		return;
	sink_stats(api->audit->sink, &st);
	buf_printf(b,
		   "# HELP apiserver_audit_event_total Audit events written.\n"
		   "# TYPE apiserver_audit_event_total counter\n"
		   "apiserver_audit_event_total %llu\n"
		   "# HELP apiserver_audit_error_total Audit events lost.\n"
		   "# TYPE apiserver_audit_error_total counter\n"
		   "apiserver_audit_error_total{plugin=\"log\"} %llu\n",
		   (unsigned long long)st.written,
		   (unsigned long long)st.dropped);
}
