/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading API objects: fields by path, times, labels and selectors, and one
 * text for all ways to write the same object.
 */
#ifndef CONTROLPLANE_CLIENT_OBJECT_H
#define CONTROLPLANE_CLIENT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

struct buf;

/* The value at "spec.template.metadata"; NULL when missing. Keys with dots or
 * slashes are not to be had this way. */
yyjson_val *obj_at(yyjson_val *obj, const char *path);
const char *obj_str(yyjson_val *obj, const char *path); /* "" when missing */
int64_t obj_int(yyjson_val *obj, const char *path, int64_t missing);
bool obj_bool(yyjson_val *obj, const char *path, bool missing);
/* Unix seconds; 0 when missing or malformed. */
int64_t obj_time(yyjson_val *obj, const char *path);

/* A label or annotation; NULL when missing. */
const char *obj_label(yyjson_val *obj, const char *key);
const char *obj_annotation(yyjson_val *obj, const char *key);

/* The item of an array of objects whose @key is @value. */
yyjson_val *obj_item(yyjson_val *list, const char *key, const char *value);
/* status.conditions[type]: its status, "" when missing. */
const char *obj_condition(yyjson_val *obj, const char *type);

/* A number, or a percentage of @of, rounded up or down ("25%", 3). */
int64_t obj_int_or_percent(yyjson_val *v, int64_t of, bool up, int64_t missing);

#define OBJ_TIME_SIZE 32
int64_t time_parse(const char *text); /* 0: malformed */
const char *time_format(int64_t unix_s, char buf[OBJ_TIME_SIZE]);
const char *time_format_us(int64_t unix_us, char buf[OBJ_TIME_SIZE]);
int64_t time_now(void);
int64_t time_now_us(void);

/* A LabelSelector (matchLabels and matchExpressions). An empty one matches
 * everything, a missing one nothing. */
bool selector_matches_labels(yyjson_val *selector, yyjson_val *labels);
/* Does every pair of @want appear in @labels? */
bool labels_include(yyjson_val *labels, yyjson_val *want);
/* One term of matchExpressions, with the operators of nodes, too (Gt, Lt):
 * @value NULL when there is no such label. */
bool expression_matches(yyjson_val *expr, const char *value);

/* The same text for the same content, whatever the order of keys. */
void obj_canonical(yyjson_val *v, struct buf *b);
uint32_t fnv32(const char *data, size_t len);
/* A hash as Kubernetes writes it in names: no vowels, no misreadings. */
const char *safe_hash(uint32_t hash, char buf[16]);

#endif /* CONTROLPLANE_CLIENT_OBJECT_H */
