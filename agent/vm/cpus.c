// SPDX-License-Identifier: Apache-2.0
/* Places for vCPUs, and vCPUs put there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/vm/internal.h"
#include "lib/err.h"

int vm_read_slots(struct vm *vm, struct err *e)
{
	struct qmp_cpu_slot *slots = NULL;
	size_t nr = 0;
	int r;

	if (vm->slots_fresh)
		return 0;
	r = qmp_query_cpu_slots(vm->qmp, VM_QMP_MS, &slots, &nr, e);
	if (r < 0)
		return r;
	free(vm->slots);
	vm->slots = slots;
	vm->nr_slots = nr;
	vm->slots_fresh = true;
	return 0;
}

int vm_plug_cpus(struct vm *vm, uint64_t nr, struct err *e)
{
	vm->slots_fresh = false;
	/* QEMU lists the last slot first; fill them from the other end. */
	for (size_t i = vm->nr_slots; i-- > 0 && nr > 0;) {
		const struct qmp_cpu_slot *slot = &vm->slots[i];
		char id[QMP_NAME_MAX];
		int r;

		if (slot->plugged)
			continue;
		snprintf(id, sizeof(id), VM_CPU_PREFIX "%zu",
			 vm->nr_slots - i - 1);
		r = qmp_cpu_add(vm->qmp, slot, id, VM_QMP_MS, e);
		if (r < 0)
			return r;
		nr--;
	}
	vm_ask_cpus_again(vm);
	return vm_place_threads(vm, e);
}

int vm_plug_cpus_for(struct vm *vm, unsigned int nr, struct err *e)
{
	unsigned int have = 0, most = 0;
	int r;

	vm->slots_fresh = false;
	r = vm_connect(vm, e);
	if (r == 0)
		r = vm_read_slots(vm, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < vm->nr_slots; i++) {
		most += vm->slots[i].vcpus;
		have += vm->slots[i].plugged ? vm->slots[i].vcpus : 0;
	}
	if (nr > most)
		return err_set(e, -ERANGE,
			       "%u CPUs wanted, this VM was started with room "
			       "for %u",
			       nr, most);
	return nr > have ? vm_plug_cpus(vm, nr - have, e) : 0;
}
