// SPDX-License-Identifier: Apache-2.0
/* Replies: pieces of output, by reference where they are stored objects; and
 * failures as Kubernetes' Status. */
#include <stdarg.h>
#include <stdio.h>

#include "controlplane/apiserver/listing.h"
#include "lib/json.h"
#include "lib/str.h"

#define WARNING_MAX  2048  /* a line */
#define WARNINGS_MAX 16384 /* all of a head */

static struct piece *piece_new(struct req *r)
{
	if (r->out_at == r->out_nr)
		r->out_at = r->out_nr = r->out_off = 0;
	if (r->out_nr == r->out_size) {
		size_t size = r->out_size ? r->out_size * 2 : 8;
		struct piece *v = realloc(r->out, size * sizeof(*v));

		if (!v)
			return NULL;
		r->out = v;
		r->out_size = size;
	}
	memset(&r->out[r->out_nr], 0, sizeof(*r->out));
	return &r->out[r->out_nr++];
}

void reply_begin(struct req *r, int code, const char *type)
{
	r->started = true;
	r->code = code;
	r->type = type;
	audit_started(r);
}

void reply_add(struct req *r, struct buf *b)
{
	struct piece *p = b->len ? piece_new(r) : NULL;

	if (p) {
		p->len = b->len;
		p->own = buf_take(b);
		p->data = p->own;
		r->out_bytes += p->len;
	}
	buf_clear(b);
}

void reply_text(struct req *r, const char *s, size_t len)
{
	struct buf b = BUF_INIT;

	buf_add(&b, s, len);
	reply_add(r, &b);
}

void reply_static(struct req *r, const char *s, size_t len)
{
	struct piece *p = piece_new(r);

	if (!p)
		return;
	p->data = s;
	p->len = len;
	r->out_bytes += len;
}

/* Text that is somebody else's. */
static void drop_last(struct req *r, size_t nr)
{
	while (nr--)
		r->out_bytes -= r->out[--r->out_nr].len;
}

void reply_taken(struct req *r, struct object_bytes *o)
{
	struct object_piece v[OBJECT_PIECES_MAX];
	size_t nr = object_pieces(o, v);
	struct piece *p = NULL;

	for (size_t i = 0; i < nr; i++) {
		p = piece_new(r);
		if (!p) {
			drop_last(r, i);
			break;
		}
		p->data = v[i].data;
		p->len = v[i].len;
		r->out_bytes += p->len;
	}
	/* The last one holds all. */
	if (p)
		p->object = o;
	else
		object_unref(o);
}

void reply_object(struct req *r, struct object_bytes *o)
{
	reply_taken(r, object_ref(o));
}

void piece_clear(struct piece *p)
{
	object_unref(p->object);
	free(p->own);
	listing_free(p->list);
	p->list = NULL;
}

void reply_listing(struct req *r, struct listing *l)
{
	struct piece *p = listing_is_out(l) ? NULL : piece_new(r);

	if (p)
		p->list = l;
	else
		listing_free(l);
}

void reply_field(struct req *r, const char *name, const char *value)
{
	buf_printf(&r->lines, "%s: %s\r\n", name, value);
}

void reply_end(struct req *r)
{
	r->finished = true;
	req_flush(r);
}

void reply_json(struct req *r, int code, struct buf *b)
{
	reply_begin(r, code, "application/json");
	reply_add(r, b);
	reply_end(r);
}

/* Once: what is tried again warns again. */
void reply_warning(struct req *r, const char *text)
{
	auto_buf struct buf line = BUF_INIT;

	buf_puts(&line, "Warning: 299 - ");
	json_escape(&line, text, strlen(text));
	buf_puts(&line, "\r\n");
	if (buf_error(&line) || line.len > WARNING_MAX ||
	    r->lines.len > WARNINGS_MAX ||
	    (r->lines.len &&
	     memmem(r->lines.data, r->lines.len, line.data, line.len)))
		return;
	buf_add(&r->lines, line.data, line.len);
}

void status_begin(struct json_out *o, const char *status, const char *msg)
{
	json_put_object(o, NULL);
	json_put_str(o, "kind", "Status");
	json_put_str(o, "apiVersion", "v1");
	json_put_object(o, "metadata");
	json_put_end(o);
	json_put_str(o, "status", status);
	if (msg)
		json_put_str(o, "message", msg);
}

void status_json(struct buf *b, int code, const char *reason, const char *msg)
{
	struct json_out o = JSON_OUT(b);

	status_begin(&o, "Failure", msg);
	json_put_str(&o, "reason", reason);
	json_put_i64(&o, "code", code);
	json_put_end(&o);
}

static void put_cause(struct json_out *o, const char *reason, const char *msg,
		      const char *field)
{
	json_put_object(o, NULL);
	json_put_str(o, "reason", reason);
	json_put_str(o, "message", msg);
	json_put_str(o, "field", field);
	json_put_end(o);
}

/* The field that @msg begins with, "spec.x: why"; 0: none. */
static size_t field_len(const char *msg)
{
	size_t n = strspn(msg, "abcdefghijklmnopqrstuvwxyz"
			       "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.[]");

	return str_starts(msg + n, ": ") ? n : 0;
}

/* Of what is invalid kubectl says the causes alone whatever the
 * message: one that names no field is about @whole. */
static void put_only_cause(struct json_out *o, const char *msg,
			   const char *whole)
{
	size_t n = field_len(msg);
	auto_free char *field = n ? strndup(msg, n) : strdup(whole);

	json_put_array(o, "causes");
	put_cause(o, "FieldValueInvalid", n ? msg + n + 2 : msg,
		  field ? field : "");
	json_put_end(o);
}

static void put_details(struct json_out *o, const char *name, const char *group,
			const char *kind, const struct field_errors *errs,
			const char *why, const char *cause)
{
	json_put_object(o, "details");
	if (name && *name)
		json_put_str(o, "name", name);
	if (group && *group)
		json_put_str(o, "group", group);
	if (kind)
		json_put_str(o, "kind", kind);
	if (errs && errs->nr) {
		json_put_array(o, "causes");
		for (size_t i = 0; i < errs->nr; i++)
			put_cause(o, field_error_reason(errs->v[i].type),
				  errs->v[i].message, errs->v[i].path);
		json_put_end(o);
	} else if (cause) {
		json_put_array(o, "causes");
		json_put_object(o, NULL);
		json_put_str(o, "message", cause);
		json_put_end(o);
		json_put_end(o);
	} else if (why) {
		put_only_cause(o, why, "object");
	}
	json_put_end(o);
}

static void reply_status(struct req *r, int code, const char *reason,
			 const char *msg, const char *name, const char *kind,
			 const struct field_errors *errs, const char *cause)
{
	struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	audit_failed(r, reason, msg);
	status_begin(&o, "Failure", msg);
	if (reason)
		json_put_str(&o, "reason", reason);
	if (kind && !errs && !cause && str_eq(reason, "Invalid") &&
	    !field_len(msg)) {
		/* The request itself, and no object's field. */
		json_put_object(&o, "details");
		put_only_cause(&o, msg,
			       str_eq(r->method, "PATCH") ? "patch"
							  : "request");
		json_put_end(&o);
	} else if (kind) {
		put_details(&o, name, r->route.group, kind, errs,
			    str_eq(reason, "Invalid") ? msg : NULL, cause);
	}
	json_put_i64(&o, "code", code);
	json_put_end(&o);
	reply_json(r, code, &b);
}

void reply_error(struct req *r, int code, const char *reason, const char *fmt,
		 ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply_status(r, code, reason, text, r->route.name,
		     r->route.resource ? r->route.plural : NULL, NULL, NULL);
}

void reply_refused(struct req *r, int code, const char *reason, const char *msg,
		   const char *name, const char *cause)
{
	reply_status(r, code, reason, msg, name, r->route.plural, NULL, cause);
}

const char *group_resource(const struct route *rt, char *buf, size_t size)
{
	snprintf(buf, size, "%s%s%s", rt->plural, *rt->group ? "." : "",
		 rt->group);
	return buf;
}

void reply_not_found(struct req *r)
{
	char text[256];

	if (!r->route.resource || !r->route.type) {
		reply_error(r, 404, "NotFound",
			    "the server could not find the requested resource");
		return;
	}
	reply_error(r, 404, "NotFound", "%s \"%s\" not found",
		    group_resource(&r->route, text, sizeof(text)),
		    r->route.name ? r->route.name : "");
}

void reply_invalid(struct req *r, const char *kind, const char *name,
		   const struct field_errors *errs)
{
	auto_buf struct buf msg = BUF_INIT;

	buf_puts(&msg, kind);
	if (*r->route.group)
		buf_printf(&msg, ".%s", r->route.group);
	buf_printf(&msg, " \"%s\" is invalid: ", name ? name : "");
	if (errs->nr > 1)
		buf_putc(&msg, '[');
	for (size_t i = 0; i < errs->nr; i++)
		buf_printf(&msg, "%s%s: %s", i ? ", " : "", errs->v[i].path,
			   errs->v[i].message);
	if (errs->nr > 1)
		buf_putc(&msg, ']');
	reply_status(r, 422, "Invalid", buf_str(&msg), name, kind, errs, NULL);
}

void reply_success(struct req *r, struct object_bytes *o)
{
	struct buf b = BUF_INIT;
	struct json_out out = JSON_OUT(&b);
	yyjson_mut_doc *doc = o ? object_tree(o) : NULL;
	const char *uid =
		doc ? mut_str(yyjson_mut_doc_get_root(doc), "metadata.uid")
		    : NULL;

	status_begin(&out, "Success", NULL);
	json_put_object(&out, "details");
	if (r->route.name)
		json_put_str(&out, "name", r->route.name);
	if (*r->route.group)
		json_put_str(&out, "group", r->route.group);
	json_put_str(&out, "kind", r->route.plural);
	if (uid)
		json_put_str(&out, "uid", uid);
	json_put_end(&out);
	json_put_end(&out);
	yyjson_mut_doc_free(doc);
	reply_json(r, 200, &b);
}

/* What the store says of where a tenant is to be. */
static void reply_place(struct req *r, const struct err *e)
{
	struct field_errors errs = { 0 };

	field_error_add(&errs, FIELD_FORBIDDEN,
			strcmp(r->route.plural, "tenants") == 0
				? "spec.storageClusterId"
				: "storageClusterId",
			NULL, "%s", e->msg);
	reply_invalid(r, r->route.type->kind, r->route.name, &errs);
	field_errors_clear(&errs);
}

void reply_store_error(struct req *r, int code, const struct err *e)
{
	char text[256];

	switch (code) {
	case -EEXIST:
		reply_error(r, 409, "AlreadyExists", "%s \"%s\" already exists",
			    group_resource(&r->route, text, sizeof(text)),
			    r->route.name ? r->route.name : "");
		return;
	case -ENOENT:
		reply_not_found(r);
		return;
	case -ESTALE:
		reply_error(r, 409, "Conflict",
			    "Operation cannot be fulfilled on %s \"%s\": the "
			    "object has been modified; please apply your "
			    "changes to the latest version and try again",
			    group_resource(&r->route, text, sizeof(text)),
			    r->route.name ? r->route.name : "");
		return;
	case -EFBIG:
		reply_error(r, 413, "RequestEntityTooLarge",
			    "the object is too large for the store: %s",
			    e->msg);
		return;
	case -ENOSPC:
		reply_error(r, 507, "InsufficientStorage",
			    "the disk of the control plane is full, nothing "
			    "was changed: %s",
			    e->msg);
		return;
	case -EHOSTUNREACH:
		reply_error(r, 503, "ServiceUnavailable",
			    "%s; nothing was changed", e->msg);
		return;
	case -ETIMEDOUT:
		reply_error(r, 504, "Timeout", "%s", e->msg);
		return;
	case -EBUSY:
		reply_error(r, 409, "Conflict",
			    "Operation cannot be fulfilled on %s \"%s\": %s",
			    group_resource(&r->route, text, sizeof(text)),
			    r->route.name ? r->route.name : "", e->msg);
		return;
	case -ENOTSUP:
		reply_place(r, e);
		return;
	default:
		reply_error(r, 500, "InternalError",
			    "Internal error occurred: %s", e->msg);
	}
}
