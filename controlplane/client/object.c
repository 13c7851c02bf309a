// SPDX-License-Identifier: Apache-2.0
#include "controlplane/client/object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "lib/str.h"

yyjson_val *obj_at(yyjson_val *obj, const char *path)
{
	while (obj && *path) {
		size_t n = strcspn(path, ".");

		obj = yyjson_obj_getn(obj, path, n);
		path += n + (path[n] == '.');
	}
	return yyjson_is_null(obj) ? NULL : obj;
}

const char *obj_str(yyjson_val *obj, const char *path)
{
	const char *s = yyjson_get_str(obj_at(obj, path));

	return s ? s : "";
}

int64_t obj_int(yyjson_val *obj, const char *path, int64_t missing)
{
	yyjson_val *v = obj_at(obj, path);

	return yyjson_is_int(v) ? yyjson_get_sint(v) : missing;
}

bool obj_bool(yyjson_val *obj, const char *path, bool missing)
{
	yyjson_val *v = obj_at(obj, path);

	return yyjson_is_bool(v) ? yyjson_get_bool(v) : missing;
}

int64_t obj_time(yyjson_val *obj, const char *path)
{
	return time_parse(obj_str(obj, path));
}

const char *obj_label(yyjson_val *obj, const char *key)
{
	return yyjson_get_str(
		yyjson_obj_get(obj_at(obj, "metadata.labels"), key));
}

const char *obj_annotation(yyjson_val *obj, const char *key)
{
	return yyjson_get_str(
		yyjson_obj_get(obj_at(obj, "metadata.annotations"), key));
}

yyjson_val *obj_item(yyjson_val *list, const char *key, const char *value)
{
	yyjson_val *item;
	size_t i, max;

	yyjson_arr_foreach(list, i, max,
			   item) if (str_eq(yyjson_get_str(yyjson_obj_get(item,
									  key)),
					    value)) return item;
	return NULL;
}

const char *obj_condition(yyjson_val *obj, const char *type)
{
	return obj_str(obj_item(obj_at(obj, "status.conditions"), "type", type),
		       "status");
}

int64_t obj_int_or_percent(yyjson_val *v, int64_t of, bool up, int64_t missing)
{
	const char *s = yyjson_get_str(v);
	char *end;
	long long n;

	if (yyjson_is_int(v))
		return yyjson_get_sint(v);
	if (!s)
		return missing;
	n = strtoll(s, &end, 10);
	if (end == s || (*end && strcmp(end, "%") != 0))
		return missing;
	if (!*end)
		return n;
	return (n * of + (up ? 99 : 0)) / 100;
}

/* --- times --- */

int64_t time_parse(const char *text)
{
	struct tm tm = { 0 };
	int zone_h = 0, zone_m = 0, n = 0;
	int64_t t;
	char sign = '+';

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon,
		   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6)
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	t = timegm(&tm);
	text += n;
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	if ((*text == '+' || *text == '-') &&
	    sscanf(text, "%c%2d:%2d", &sign, &zone_h, &zone_m) == 3)
		t -= (sign == '-' ? -1 : 1) * (zone_h * 3600 + zone_m * 60);
	return t;
}

const char *time_format(int64_t unix_s, char buf[OBJ_TIME_SIZE])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, OBJ_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf;
}

const char *time_format_us(int64_t unix_us, char buf[OBJ_TIME_SIZE])
{
	time_t t = (time_t)(unix_us / 1000000);
	struct tm tm;
	size_t n;

	gmtime_r(&t, &tm);
	n = strftime(buf, OBJ_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, OBJ_TIME_SIZE - n, ".%06dZ",
		 (int)(unix_us % 1000000));
	return buf;
}

int64_t time_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t time_now(void)
{
	return time_now_us() / 1000000;
}

/* --- selectors --- */

bool labels_include(yyjson_val *labels, yyjson_val *want)
{
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (want, i, max, key, val) {
		yyjson_val *have = yyjson_obj_get(labels, yyjson_get_str(key));

		if (!have || !str_eq(yyjson_get_str(have), yyjson_get_str(val)))
			return false;
	}
	return true;
}

bool expression_matches(yyjson_val *expr, const char *value)
{
	const char *op = obj_str(expr, "operator");
	yyjson_val *values = yyjson_obj_get(expr, "values"), *v;
	int64_t have, limit;
	bool in = false;
	size_t i, max;

	if (strcmp(op, "Exists") == 0)
		return value != NULL;
	if (strcmp(op, "DoesNotExist") == 0)
		return value == NULL;
	if (strcmp(op, "Gt") == 0 || strcmp(op, "Lt") == 0) {
		const char *text = yyjson_get_str(yyjson_arr_get_first(values));

		return value && text && str_to_i64(value, &have) == 0 &&
		       str_to_i64(text, &limit) == 0 &&
		       (*op == 'G' ? have > limit : have < limit);
	}
	yyjson_arr_foreach(values, i, max, v) in =
		in || (value && str_eq(yyjson_get_str(v), value));
	if (strcmp(op, "In") == 0)
		return in;
	return strcmp(op, "NotIn") == 0 && !in;
}

bool selector_matches_labels(yyjson_val *selector, yyjson_val *labels)
{
	yyjson_val *exprs = yyjson_obj_get(selector, "matchExpressions"), *x;
	size_t i, max;

	if (!yyjson_is_obj(selector))
		return false;
	if (!labels_include(labels, yyjson_obj_get(selector, "matchLabels")))
		return false;
	yyjson_arr_foreach(exprs, i, max, x) if (
		!expression_matches(x,
				    yyjson_get_str(yyjson_obj_get(
					    labels,
					    obj_str(x, "key"))))) return false;
	return true;
}

/* --- one text --- */

struct pair {
	yyjson_val *key, *val;
};

static int by_key(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return strcmp(yyjson_get_str(x->key), yyjson_get_str(y->key));
}

static void canonical_object(yyjson_val *v, struct buf *b)
{
	size_t nr = yyjson_obj_size(v), i, max;
	struct pair *pairs = calloc(nr ? nr : 1, sizeof(*pairs));
	yyjson_val *key, *val;

	if (!pairs) {
		b->error = -ENOMEM;
		return;
	}
	json_obj_foreach (v, i, max, key, val)
		pairs[i] = (struct pair){ key, val };
	qsort(pairs, nr, sizeof(*pairs), by_key);
	buf_putc(b, '{');
	for (i = 0; i < nr; i++) {
		if (i)
			buf_putc(b, ',');
		json_escape(b, yyjson_get_str(pairs[i].key),
			    yyjson_get_len(pairs[i].key));
		buf_putc(b, ':');
		obj_canonical(pairs[i].val, b);
	}
	buf_putc(b, '}');
	free(pairs);
}

void obj_canonical(yyjson_val *v, struct buf *b)
{
	yyjson_val *item;
	size_t i, max;

	if (yyjson_is_obj(v)) {
		canonical_object(v, b);
		return;
	}
	if (!yyjson_is_arr(v)) {
		json_write(v, false, b);
		return;
	}
	buf_putc(b, '[');
	yyjson_arr_foreach(v, i, max, item)
	{
		if (i)
			buf_putc(b, ',');
		obj_canonical(item, b);
	}
	buf_putc(b, ']');
}

uint32_t fnv32(const char *data, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)data[i]) * 16777619u;
	return h;
}

const char *safe_hash(uint32_t hash, char buf[16])
{
	static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", hash);

	for (int i = 0; i <= n; i++)
		buf[i] = text[i] ? letters[text[i] % (sizeof(letters) - 1)]
				 : '\0';
	return buf;
}
