/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a manifest by tables: each object is a list of {name, reader, where},
 * so that a field is one line, and an unknown one is always noticed.
 */
#ifndef AGENT_SPEC_FIELDS_H
#define AGENT_SPEC_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "agent/spec.h"

struct buf;

/* Where in the manifest we are, for messages: "spec.containers[0].image". */
struct spec_ctx {
	char path[256];
	size_t len;
	struct err *e;
	/* What is wrong so far, one a line: reading goes on, so that all is
	 * told at once. */
	struct buf *told;
	unsigned int nr_told, nr_untold;
	bool pending;      /* what @e tells is not in @told yet */
	yyjson_val *ports; /* of the container being read: probes name them */
	bool standalone;   /* nothing comes from an API server */
};

typedef int spec_read_fn(struct spec_ctx *c, yyjson_val *v, void *out);

struct spec_field {
	const char *name;
	spec_read_fn *read; /* NULL: read elsewhere, or of no meaning here */
	size_t offset;      /* of the value in the object's struct */
};

#define SPEC_FIELD(type, json, fn, member)       \
	{                                        \
		json, fn, offsetof(type, member) \
	}
/* Known to Kubernetes and read elsewhere or without a meaning on one node. */
#define SPEC_IGNORED(json)    \
	{                     \
		json, NULL, 0 \
	}
/* Known to Kubernetes, and not to be ignored silently. */
#define SPEC_UNSUPPORTED(json)            \
	{                                 \
		json, spec_unsupported, 0 \
	}

size_t spec_push(struct spec_ctx *c, const char *name);
size_t spec_push_index(struct spec_ctx *c, size_t i);
void spec_pop(struct spec_ctx *c, size_t mark);

/* Fail at the current path. Returns @code. */
int spec_fail(struct spec_ctx *c, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Fail at field @name below the current path. */
int spec_fail_at(struct spec_ctx *c, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Note what has failed with @r, if it is not noted yet, and go on at @mark.
 * @first: keeps the first code. */
void spec_note(struct spec_ctx *c, size_t mark, int r, int *first);
/* Note a fault of the current object, or of field @name of it, and go on. */
void spec_fault(struct spec_ctx *c, int *first, const char *name,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Was one noted at or below field @name? Then it says nothing about others. */
bool spec_faulty(struct spec_ctx *c, const char *name);
/* Put what was noted into the ctx' error, as far as it fits. Returns @r. */
int spec_tell(struct spec_ctx *c, int r);

/* Reads all fields, also when one fails: see spec_note(). */
int spec_read_object(struct spec_ctx *c, yyjson_val *v,
		     const struct spec_field *fields, size_t nr, void *out);

/* Read an array of at most @max objects of @size bytes into fresh memory. */
int spec_read_array(struct spec_ctx *c, yyjson_val *v, size_t size, size_t max,
		    spec_read_fn *each, void *ret_items, size_t *ret_nr);

spec_read_fn spec_unsupported;
spec_read_fn spec_name_value;   /* struct key_value: {name, value} */
spec_read_fn spec_str;          /* char * */
spec_read_fn spec_bool;         /* bool */
spec_read_fn spec_u32;          /* uint32_t */
spec_read_fn spec_u64;          /* uint64_t */
spec_read_fn spec_port;         /* uint16_t, 1..65535 */
spec_read_fn spec_port_or_none; /* the same, or 0 */
spec_read_fn spec_strv;         /* struct strv */
spec_read_fn spec_key_values;   /* struct key_values, from an object */
spec_read_fn spec_quantity_mem; /* uint64_t bytes */
spec_read_fn spec_quantity_cpu; /* uint64_t thousandths */

/* Choose one of a list of words; *(int *)out is its index. */
int spec_choice(struct spec_ctx *c, yyjson_val *v, const char *const *words,
		size_t nr, int *out);

/* Shared between containers and virtual machines. */
spec_read_fn spec_resources;     /* struct resources */
spec_read_fn spec_resize_policy; /* struct resize_policy */
spec_read_fn spec_pull_policy;   /* enum pull_policy */
spec_read_fn spec_mounts;        /* struct mount_spec *, size_t follows */
spec_read_fn spec_probe;         /* struct probe_spec */
spec_read_fn spec_hook;          /* struct hook_spec */
spec_read_fn spec_volumes;       /* struct pod_spec */
spec_read_fn spec_dns_policy;    /* struct dns_spec */
spec_read_fn spec_dns_config;    /* struct dns_spec */

/* One container; @pod's securityContext, already read, is merged in. */
struct security_spec;
int spec_container(struct spec_ctx *c, yyjson_val *v,
		   const struct security_spec *pod, struct container_spec *ret);
int spec_virtual_machine(struct spec_ctx *c, yyjson_val *v,
			 struct vm_spec *ret);
int spec_security(struct spec_ctx *c, yyjson_val *v,
		  struct security_spec *inout);
int spec_security_copy(struct security_spec *to,
		       const struct security_spec *from);

/* Does a container add SYS_ADMIN, or all, in a pod without privileged ones? */
bool pod_spec_may_mount(const struct pod_spec *spec);

/* Names are unique, probes and policies make sense; at "spec". Copes with what
 * could be read of one with faults. */
int spec_check_workload(struct spec_ctx *c, const struct pod_spec *pod);

/* Every mount names a volume that exists, paths are absolute and unique; at the
 * container. */
int spec_check_mounts(struct spec_ctx *c, const struct pod_spec *pod,
		      const struct mount_spec *mounts, size_t nr);

void spec_container_clear(struct container_spec *c);
void spec_vm_free(struct vm_spec *vm);
int spec_ports(struct spec_ctx *c, yyjson_val *v, struct port_spec **ret,
	       size_t *ret_nr);
void spec_ports_free(struct port_spec *ports, size_t nr);
void spec_strv_clear(struct strv *s);
void spec_key_values_clear(struct key_values *kv);
void spec_security_clear(struct security_spec *s);
void spec_probe_clear(struct probe_spec *p);

#endif /* AGENT_SPEC_FIELDS_H */
