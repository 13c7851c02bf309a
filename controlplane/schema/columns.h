/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that fill cells of tables. */
#ifndef CONTROLPLANE_SCHEMA_COLUMNS_H
#define CONTROLPLANE_SCHEMA_COLUMNS_H

#include <string.h>

#include "controlplane/schema/types.h"
#include "lib/json.h"

static inline yyjson_val *at(yyjson_val *v, const char *path)
{
	return json_path_get(v, path);
}

static inline const char *str_at(yyjson_val *v, const char *path)
{
	return yyjson_get_str(at(v, path));
}

static inline long long int_at(yyjson_val *v, const char *path)
{
	return yyjson_get_sint(at(v, path));
}

static inline void put(struct buf *b, const char *s)
{
	if (!s)
		s = "<none>";
	json_escape(b, s, strlen(s));
}

static inline void put_buf(struct buf *b, const struct buf *text)
{
	put(b, text->len ? buf_str(text) : NULL);
}

/* Seconds since 1970 of an RFC 3339 time; -1 when it is none. */
int64_t col_parse_time(const char *text);
/* As kubectl writes a duration: "5s", "3m12s", "2d3h". */
void col_put_duration(struct buf *b, int64_t s);
void col_age_of(yyjson_val *v, int64_t now, struct buf *b);
/* Append one string of each item. */
void col_join(struct buf *text, yyjson_val *list, const char *path);
void col_put_pair(struct buf *b, const char *kind, const char *name);

/* columns_types.c: those of the smaller groups. */
type_column_fn type_column_find_more(const char *name);

void col_pod_gates(yyjson_val *o, int64_t now, struct buf *b);
void col_pod_ready(yyjson_val *o, int64_t now, struct buf *b);
void col_pod_restarts(yyjson_val *o, int64_t now, struct buf *b);
void col_pod_status(yyjson_val *o, int64_t now, struct buf *b);
void col_service_ip(yyjson_val *o, int64_t now, struct buf *b);
void col_service_external_ip(yyjson_val *o, int64_t now, struct buf *b);
void col_service_ports(yyjson_val *o, int64_t now, struct buf *b);
void col_endpoints(yyjson_val *o, int64_t now, struct buf *b);
void col_event_last_seen(yyjson_val *o, int64_t now, struct buf *b);
void col_event_first_seen(yyjson_val *o, int64_t now, struct buf *b);
void col_event_object(yyjson_val *o, int64_t now, struct buf *b);
void col_job_status(yyjson_val *o, int64_t now, struct buf *b);
void col_job_completions(yyjson_val *o, int64_t now, struct buf *b);
void col_job_duration(yyjson_val *o, int64_t now, struct buf *b);
void col_cron_last(yyjson_val *o, int64_t now, struct buf *b);
void col_cron_zone(yyjson_val *o, int64_t now, struct buf *b);
void col_expansion(yyjson_val *o, int64_t now, struct buf *b);
void col_global_default(yyjson_val *o, int64_t now, struct buf *b);
void col_pdb_min(yyjson_val *o, int64_t now, struct buf *b);
void col_pdb_max(yyjson_val *o, int64_t now, struct buf *b);
void col_quota_request(yyjson_val *o, int64_t now, struct buf *b);
void col_quota_limit(yyjson_val *o, int64_t now, struct buf *b);
void col_ingress_class(yyjson_val *o, int64_t now, struct buf *b);
void col_ingress_hosts(yyjson_val *o, int64_t now, struct buf *b);
void col_ingress_address(yyjson_val *o, int64_t now, struct buf *b);
void col_ingress_ports(yyjson_val *o, int64_t now, struct buf *b);
void col_none(yyjson_val *o, int64_t now, struct buf *b);

#endif /* CONTROLPLANE_SCHEMA_COLUMNS_H */
