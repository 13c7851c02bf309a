// SPDX-License-Identifier: Apache-2.0
/* spec.virtualMachine, as in Arktos; its userData is decoded once, not twice.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "agent/vm/vm.h"
#include "lib/err.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define USER_DATA_MAX 65535

static int power(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "Running", "Paused", "Suspended",
					     "Shutdown" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(enum power_spec *)out = (enum power_spec)i;
	if (r == 0 && i == POWER_SUSPENDED)
		return spec_unsupported(c, v, out);
	return r;
}

static int user_data(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct vm_spec *vm = out;
	const char *text = yyjson_get_str(v);
	size_t len = yyjson_get_len(v);
	size_t pad = 0;
	int n;

	if (!text)
		return spec_fail(c, -EINVAL, "must be base64 text");
	if (len % 4 || len / 4 * 3 > USER_DATA_MAX + 2)
		return spec_fail(c, -EINVAL,
				 "must be base64 of at most %d bytes",
				 USER_DATA_MAX);
	free(vm->user_data);
	vm->user_data = malloc(len / 4 * 3 + 1);
	if (!vm->user_data)
		return spec_fail(c, -ENOMEM, "out of memory");
	n = EVP_DecodeBlock((unsigned char *)vm->user_data,
			    (const unsigned char *)text, (int)len);
	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	if (n < (int)pad)
		return spec_fail(c, -EINVAL, "is not base64");
	vm->user_data_len = (size_t)n - pad;
	vm->user_data[vm->user_data_len] = '\0';
	return 0;
}

static int ports(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct vm_spec *vm = out;

	return spec_ports(c, v, &vm->ports, &vm->nr_ports);
}

static int shutdown_behavior(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "stop" };
	int i;

	(void)out;
	return spec_choice(c, v, words, ARRAY_LEN(words), &i);
}

int spec_virtual_machine(struct spec_ctx *c, yyjson_val *v, struct vm_spec *ret)
{
#define F(json, fn, member) SPEC_FIELD(struct vm_spec, json, fn, member)
	static const struct spec_field fields[] = {
		F("name", spec_str, name),
		F("image", spec_str, image),
		F("imagePullPolicy", spec_pull_policy, pull_policy),
		F("resources", spec_resources, resources),
		F("resizePolicy", spec_resize_policy, resize),
		F("volumeMounts", spec_unsupported, mounts),
		F("keyPairName", spec_str, key_pair_name),
		F("publicKey", spec_str, public_key),
		F("userData", user_data, name) /* the whole struct */,
		F("ports", ports, name) /* the whole struct */,
		F("cloudInitUserDataScript", spec_str, cloud_init_script),
		F("powerSpec", power, power),
		F("livenessProbe", spec_probe, liveness),
		F("readinessProbe", spec_probe, readiness),
		F("startupProbe", spec_probe, startup),
		F("shutdownBehavior", shutdown_behavior, power),
		SPEC_IGNORED("resourcesAllocated"),
		SPEC_UNSUPPORTED("volumeDevices"),
		SPEC_UNSUPPORTED("trustedImageCertificate"),
		SPEC_UNSUPPORTED("bootVolume"),
	};
#undef F
	const struct quantity_set *lim = &ret->resources.limits;
	char is[QUANTITY_TEXT_SIZE], least[QUANTITY_TEXT_SIZE];
	int r;

	_Static_assert(offsetof(struct vm_spec, name) == 0,
		       "userData and ports are read into the whole struct");
	r = spec_read_object(c, v, fields, ARRAY_LEN(fields), ret);
	if (!yyjson_is_obj(v))
		return r;
	if (!ret->name && !spec_faulty(c, "name"))
		spec_fault(c, &r, "name", "is required");
	if (ret->name && !str_is_dns_label(ret->name))
		spec_fault(c, &r, "name", "'%.80s' is not a DNS label",
			   ret->name);
	if ((!ret->image || !ret->image[0]) && !spec_faulty(c, "image"))
		spec_fault(c, &r, "image", "is required");
	if (lim->has_mem && lim->mem_bytes >= 4096 &&
	    lim->mem_bytes < VM_MEM_MIN_BYTES)
		spec_fault(c, &r, "resources.limits.memory",
			   "%s is less than a VM boots with: give at "
			   "least %s",
			   quantity_format_mem(lim->mem_bytes, is),
			   quantity_format_mem(VM_MEM_MIN_BYTES, least));
	if (ret->user_data && ret->cloud_init_script)
		spec_fault(c, &r, NULL,
			   "has both userData and "
			   "cloudInitUserDataScript; keep one");
	if (ret->public_key && strpbrk(ret->public_key, "\r\n"))
		spec_fault(c, &r, "publicKey", "must be one line");
	return r;
}

void spec_vm_free(struct vm_spec *vm)
{
	if (!vm)
		return;
	free(vm->name);
	free(vm->image);
	free(vm->key_pair_name);
	free(vm->public_key);
	free(vm->user_data);
	free(vm->cloud_init_script);
	free(vm->kernel_args);
	spec_ports_free(vm->ports, vm->nr_ports);
	spec_probe_clear(&vm->liveness);
	spec_probe_clear(&vm->readiness);
	spec_probe_clear(&vm->startup);
	free(vm);
}
