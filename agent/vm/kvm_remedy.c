// SPDX-License-Identifier: Apache-2.0
/* From what a probe of KVM has found to what to do about it. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "agent/vm/kvm_probe.h"
#include "lib/str.h"

/* Is @flag one of the blank-separated words of @line? */
static bool has_word(const char *line, const char *flag)
{
	size_t n = strlen(flag);

	for (const char *s = line; (s = strstr(s, flag)); s += n)
		if (s != line && isspace((unsigned char)s[-1]) &&
		    (!s[n] || isspace((unsigned char)s[n])))
			return true;
	return false;
}

static void read_flags(struct kvm_host *h)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];

	while (f && fgets(line, sizeof(line), f)) {
		if (!str_starts(line, "flags"))
			continue;
		h->cpu_can = has_word(line, "vmx") || has_word(line, "svm");
		h->virtual = has_word(line, "hypervisor");
		break;
	}
	if (f)
		fclose(f);
}

void kvm_host_look(struct kvm_host *ret)
{
	DIR *d = opendir("/sys/module");
	const struct dirent *ent;

	*ret = (struct kvm_host){ 0 };
	read_flags(ret);
	/* Without one of them kvm.ko alone makes no device. */
	while (d && (ent = readdir(d)))
		ret->module |= str_starts(ent->d_name, "kvm_");
	if (d)
		closedir(d);
}

#define NESTED                                                               \
	"this machine is virtual: let its hypervisor offer nested "          \
	"virtualization (kvm_intel.nested=1 or kvm_amd.nested=1 there, and " \
	"a CPU type like host-passthrough)"

const char *kvm_remedy(const struct kvm_verdict *v, const struct kvm_host *h)
{
	switch (v->lack) {
	case KVM_LACKS_ACCESS:
		return "run the agent as root, or let it open /dev/kvm";
	case KVM_LACKS_API:
		return "remove what is there, and load kvm_intel or kvm_amd: "
		       "it makes the device";
	case KVM_LACKS_LIFE:
	case KVM_LACKS_MACHINE:
		if (h->virtual)
			return NESTED ", or have VM pods on a physical host; "
				      "nothing on this machine itself helps";
		return "see what dmesg says of kvm; bring the firmware, its "
		       "virtualization settings and the kernel up to date";
	case KVM_LACKS_DEVICE:
		break;
	}
	if (h->module)
		return "its module is loaded: make the device (mknod /dev/kvm "
		       "c 10 232), or give the host's one to this container";
	if (h->cpu_can)
		return "load kvm_intel or kvm_amd";
	if (h->virtual)
		return NESTED ", then load kvm_intel or kvm_amd";
	return "enable virtualization in the firmware, then load kvm_intel or "
	       "kvm_amd";
}
