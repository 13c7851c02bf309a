// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/image/oci.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"

#define LIST_MAX 4096

void image_config_clear(struct image_config *c)
{
	strlist_clear(&c->entrypoint);
	strlist_clear(&c->cmd);
	strlist_clear(&c->env);
	strlist_clear(&c->ports);
	strlist_clear(&c->volumes);
	keylist_clear(&c->labels);
	free(c->user);
	free(c->working_dir);
	free(c->stop_signal);
	free(c->os);
	free(c->architecture);
	*c = (struct image_config){ .user = NULL };
}

void oci_config_clear(struct oci_config *c)
{
	image_config_clear(&c->config);
	free(c->diff_ids);
	*c = (struct oci_config){ .diff_ids = NULL };
}

int64_t oci_time(const char *text)
{
	int year, month, day, hour, minute, second, used = 0;
	int zone_h = 0, zone_m = 0;
	struct tm tm = { 0 };
	char sign = 'Z';

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day,
		   &hour, &minute, &second, &used) != 6 ||
	    !used)
		return 0;
	text += used;
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	if ((*text == '+' || *text == '-') &&
	    sscanf(text, "%c%2d:%2d", &sign, &zone_h, &zone_m) != 3)
		return 0;
	if (year < 1900 || month < 1 || month > 12 || day < 1 || day > 31 ||
	    hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
	    second > 60 || zone_h < 0 || zone_h > 23 || zone_m < 0 ||
	    zone_m > 59)
		return 0;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = day;
	tm.tm_hour = hour;
	tm.tm_min = minute;
	tm.tm_sec = second;
	return (int64_t)timegm(&tm) -
	       (sign == '-' ? -1 : 1) * (zone_h * 3600 + zone_m * 60);
}

int image_get_list(const struct json_ref *at, const char *key, size_t max,
		   struct strv *ret, struct err *e)
{
	struct json_ref list = json_get(at, key);
	int r = json_want_array(&list, max, e);

	if (r < 0)
		return r;
	json_for_each (it, &list) {
		const char *s;

		r = json_str(&it.item, &s, e);
		if (r < 0)
			return r;
		if (strlist_add(ret, s) < 0)
			return err_set(e, -ENOMEM, "out of memory");
	}
	return 0;
}

static int parse_list(const struct json_ref *at, const char *key,
		      struct strv *ret, struct err *e)
{
	return image_get_list(at, key, LIST_MAX, ret, e);
}

/* A set, as Go writes one: {"80/tcp": {}}. */
static int parse_set(const struct json_ref *at, const char *key,
		     struct strv *ret, struct err *e)
{
	struct json_ref set = json_get(at, key);
	int r = json_want_object(&set, e);

	if (r < 0)
		return r;
	if (json_len(&set) > LIST_MAX)
		return json_err(&set, -E2BIG, e, "has too many entries");
	json_for_each (it, &set)
		if (strlist_add(ret, it.item.key) < 0)
			return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

static int parse_labels(const struct json_ref *at, struct key_values *ret,
			struct err *e)
{
	struct json_ref map = json_get(at, "Labels");
	int r = json_want_object(&map, e);

	if (r < 0)
		return r;
	if (json_len(&map) > LIST_MAX)
		return json_err(&map, -E2BIG, e, "has too many entries");
	json_for_each (it, &map) {
		const char *value;

		r = json_str(&it.item, &value, e);
		if (r < 0)
			return r;
		if (keylist_add(ret, it.item.key, value) < 0)
			return err_set(e, -ENOMEM, "out of memory");
	}
	return 0;
}

static int parse_text(const struct json_ref *at, const char *key, char **ret,
		      struct err *e)
{
	struct json_ref value = json_get(at, key);
	const char *s = "";
	int r = json_opt_str(&value, &s, e);

	if (r < 0)
		return r;
	*ret = strdup(s);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int parse_config(const struct json_ref *root, struct image_config *c,
			struct err *e)
{
	struct json_ref at = json_get(root, "config");
	int r = json_want_object(&at, e);

	if (r == 0)
		r = parse_list(&at, "Entrypoint", &c->entrypoint, e);
	if (r == 0)
		r = parse_list(&at, "Cmd", &c->cmd, e);
	if (r == 0)
		r = parse_list(&at, "Env", &c->env, e);
	if (r == 0)
		r = parse_text(&at, "User", &c->user, e);
	if (r == 0)
		r = parse_text(&at, "WorkingDir", &c->working_dir, e);
	if (r == 0)
		r = parse_text(&at, "StopSignal", &c->stop_signal, e);
	if (r == 0)
		r = parse_set(&at, "ExposedPorts", &c->ports, e);
	if (r == 0)
		r = parse_set(&at, "Volumes", &c->volumes, e);
	if (r == 0)
		r = parse_labels(&at, &c->labels, e);
	if (r == 0)
		r = parse_text(root, "os", &c->os, e);
	if (r == 0)
		r = parse_text(root, "architecture", &c->architecture, e);
	return r;
}

static int parse_rootfs(const struct json_ref *root, struct oci_config *ret,
			struct err *e)
{
	struct json_ref rootfs = json_get(root, "rootfs");
	struct json_ref ids = json_get(&rootfs, "diff_ids");
	int r = json_want_array(&ids, IMAGE_LAYERS_MAX, e);

	if (r < 0)
		return r;
	ret->diff_ids = calloc(json_len(&ids) + 1, sizeof(*ret->diff_ids));
	if (!ret->diff_ids)
		return err_set(e, -ENOMEM, "out of memory");
	json_for_each (it, &ids) {
		const char *s;

		r = json_str(&it.item, &s, e);
		if (r < 0)
			return r;
		if (!digest_is_valid(s))
			return json_err(&it.item, -EINVAL, e,
					"must be sha256:<64 hex>");
		memcpy(ret->diff_ids[ret->nr_diff_ids++], s, DIGEST_TEXT_MAX);
	}
	return 0;
}

static int check_machine(const struct image_config *c, struct err *e)
{
	if (*c->os && !str_eq(c->os, "linux"))
		return err_set(e, -EINVAL, "is for %.20s, not for linux",
			       c->os);
	if (*c->architecture && !str_eq(c->architecture, oci_architecture()))
		return err_set(e, -EINVAL, "is for %.20s; this machine is %s",
			       c->architecture, oci_architecture());
	return 0;
}

int oci_config_parse(const char *text, size_t len, struct oci_config *ret,
		     struct err *e)
{
	struct json_limits limits = { .len = OCI_CONFIG_MAX };
	struct oci_config c = { .diff_ids = NULL };
	struct json_ref root, created;
	const char *when = "";
	yyjson_doc *doc;
	int r = json_parse_within(text, len, &limits, &doc, e);

	if (r < 0)
		return oci_blame(r, "image configuration", e);
	root = json_root(doc);
	created = json_get(&root, "created");
	r = parse_config(&root, &c.config, e);
	if (r == 0)
		r = check_machine(&c.config, e);
	if (r == 0)
		r = parse_rootfs(&root, &c, e);
	if (r == 0)
		r = json_opt_str(&created, &when, e);
	c.created_s = oci_time(when);
	yyjson_doc_free(doc);
	if (r < 0) {
		oci_config_clear(&c);
		return oci_blame(r, "image configuration", e);
	}
	*ret = c;
	return 0;
}
