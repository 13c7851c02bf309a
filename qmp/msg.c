// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/qmp.h"

static bool depth_is_fine(const char *text, size_t len)
{
	bool quoted = false;
	unsigned int depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']') && depth)
			depth--;
		if (depth > QMP_DEPTH_MAX)
			return false;
	}
	return true;
}

yyjson_doc *msg_read_object(const char *text, size_t len)
{
	yyjson_doc *doc;

	if (!depth_is_fine(text, len))
		return NULL;
	doc = yyjson_read(text, len, YYJSON_READ_NOFLAG);
	if (doc && !yyjson_is_obj(yyjson_doc_get_root(doc))) {
		yyjson_doc_free(doc);
		return NULL;
	}
	return doc;
}

static yyjson_mut_doc *build_command(const char *command,
				     const struct qmp_args *args, uint64_t id)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_val *copy = NULL;
	bool ok;

	ok = root && yyjson_mut_obj_add_str(doc, root, "execute", command);
	if (ok && args && args->doc) {
		copy = yyjson_mut_val_mut_copy(doc, yyjson_mut_doc_get_root(
							    args->doc));
		ok = copy &&
		     yyjson_mut_obj_add_val(doc, root, "arguments", copy);
	}
	if (ok && id)
		ok = yyjson_mut_obj_add_uint(doc, root, "id", id);
	if (!ok) {
		yyjson_mut_doc_free(doc);
		return NULL;
	}
	yyjson_mut_doc_set_root(doc, root);
	return doc;
}

int msg_command(const char *command, const struct qmp_args *args, uint64_t id,
		struct buf *out, struct err *e)
{
	yyjson_mut_doc *doc;
	auto_free char *text = NULL;
	yyjson_write_err we;
	size_t len = 0;
	int r;

	if (args && args->error)
		return err_set(e, args->error, "%s: arguments: %s", command,
			       strerror(-args->error));
	doc = build_command(command, args, id);
	if (!doc)
		return err_set(e, -ENOMEM, "%s: out of memory", command);
	text = yyjson_mut_write_opts(doc, YYJSON_WRITE_NOFLAG, NULL, &len, &we);
	yyjson_mut_doc_free(doc);
	if (!text)
		return err_set(e, -EINVAL, "%s: arguments are not UTF-8: %s",
			       command, we.msg ? we.msg : "");
	if (len >= QMP_MESSAGE_MAX)
		return err_set(e, -EMSGSIZE, "%s: command of %zu bytes",
			       command, len);
	r = buf_add(out, text, len);
	if (r == 0)
		r = buf_putc(out, '\n');
	if (r < 0)
		return err_set(e, r, "%s: out of memory", command);
	return 0;
}

/* One printable line out of foreign text. */
static void make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = ' ';
}

int msg_remote_error(yyjson_val *error, const char *command, struct err *e)
{
	const char *class = msg_str(error, "class");
	char desc[ERR_MSG_SIZE];
	bool unknown;

	msg_copy(error, "desc", desc, sizeof(desc));
	make_printable(desc);
	unknown = str_eq(class, "CommandNotFound") ||
		  strstr(desc, "has been disabled");
	return err_set(e, unknown ? -EOPNOTSUPP : -EREMOTEIO, "%s: %s", command,
		       desc[0] ? desc : "refused without a reason");
}

bool msg_u64(yyjson_val *obj, const char *key, uint64_t *ret)
{
	yyjson_val *v = yyjson_obj_get(obj, key);

	if (!yyjson_is_uint(v))
		return false;
	*ret = yyjson_get_uint(v);
	return true;
}

bool msg_i64(yyjson_val *obj, const char *key, int64_t *ret)
{
	yyjson_val *v = yyjson_obj_get(obj, key);

	if (!yyjson_is_int(v))
		return false;
	if (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX)
		return false;
	*ret = yyjson_get_sint(v);
	return true;
}

bool msg_bool(yyjson_val *obj, const char *key, bool *ret)
{
	yyjson_val *v = yyjson_obj_get(obj, key);

	if (!yyjson_is_bool(v))
		return false;
	*ret = yyjson_get_bool(v);
	return true;
}

const char *msg_str(yyjson_val *obj, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(obj, key));
}

void msg_copy(yyjson_val *obj, const char *key, char *to, size_t size)
{
	const char *s = msg_str(obj, key);
	size_t len = s ? strnlen(s, size - 1) : 0;

	if (len)
		memcpy(to, s, len);
	to[len] = '\0';
}

int msg_list(const struct qmp_reply *reply, size_t max, const char *command,
	     size_t *ret_nr, struct err *e)
{
	if (!yyjson_is_arr(reply->value))
		return err_set(e, -EBADMSG, "%s: the answer is not a list",
			       command);
	if (yyjson_arr_size(reply->value) > max)
		return err_set(e, -E2BIG, "%s: %zu entries, at most %zu",
			       command, yyjson_arr_size(reply->value), max);
	*ret_nr = yyjson_arr_size(reply->value);
	return 0;
}

int msg_array(yyjson_val *list, const char *command, size_t size,
	      int (*parse)(yyjson_val *v, void *to), void **ret, size_t *ret_nr,
	      struct err *e)
{
	size_t i, max, nr = yyjson_arr_size(list);
	auto_free char *items = calloc(nr + 1, size);
	yyjson_val *v;

	if (!items)
		return err_set(e, -ENOMEM, "out of memory");
	yyjson_arr_foreach(list, i, max, v)
	{
		if (parse(v, items + i * size) < 0)
			return err_set(e, -EBADMSG, "%s: entry %zu is odd",
				       command, i);
	}
	*ret_nr = nr;
	*ret = take_ptr(items);
	return 0;
}

int msg_query_array(struct qmp *q, const char *command, int timeout_ms,
		    size_t max, size_t size,
		    int (*parse)(yyjson_val *v, void *to), void **ret,
		    size_t *ret_nr, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	size_t nr;
	int r;

	r = qmp_call(q, command, NULL, timeout_ms, &reply, e);
	if (r == 0)
		r = msg_list(&reply, max, command, &nr, e);
	if (r < 0)
		return r;
	return msg_array(reply.value, command, size, parse, ret, ret_nr, e);
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, struct buf *out)
{
	unsigned int pad = 0;
	uint32_t bits = 0;
	unsigned char *to;
	size_t n = 0;

	if (len % 4)
		return -EBADMSG;
	while (pad < 2 && len > pad && text[len - 1 - pad] == '=')
		pad++;
	to = buf_reserve(out, len / 4 * 3);
	if (!to)
		return buf_error(out);
	for (size_t i = 0; i < len; i++) {
		int v = i >= len - pad ? 0 : base64_value(text[i]);

		if (v < 0)
			return -EBADMSG;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 != 3)
			continue;
		to[n++] = (unsigned char)(bits >> 16);
		to[n++] = (unsigned char)(bits >> 8);
		to[n++] = (unsigned char)bits;
	}
	buf_commit(out, n - pad);
	return 0;
}

int base64_encode(const void *data, size_t len, struct buf *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *from = data;
	size_t groups = len / 3 + (len % 3 != 0);
	char *to = buf_reserve(out, groups * 4);

	if (!to)
		return buf_error(out);
	for (size_t i = 0; i < len; i += 3, to += 4) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)from[i] << 16;

		if (n > 1)
			bits |= (uint32_t)from[i + 1] << 8;
		if (n > 2)
			bits |= from[i + 2];
		to[0] = digits[bits >> 18];
		to[1] = digits[bits >> 12 & 63];
		to[2] = '=';
		if (n > 1)
			to[2] = digits[bits >> 6 & 63];
		to[3] = '=';
		if (n > 2)
			to[3] = digits[bits & 63];
	}
	buf_commit(out, groups * 4);
	return 0;
}
