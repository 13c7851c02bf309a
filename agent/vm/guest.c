// SPDX-License-Identifier: Apache-2.0
/* Asking the guest, a request at a time, never waiting for it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/vm/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

#define MEMINFO_PATH  "/proc/meminfo"
#define MEMINFO_BYTES 1024 /* the first lines are what matters */
#define MUTE_NS       (2 * 1000000000LL)

static uint64_t meminfo_value(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line;) {
		if (strncmp(line, key, len) == 0) {
			uint64_t kib = strtoull(line + len, NULL, 10);

			return kib < UINT64_MAX >> 20 ? kib << 10 : 0;
		}
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return 0;
}

void vm_parse_meminfo(const char *text, uint64_t *ret_total,
		      uint64_t *ret_available)
{
	*ret_total = meminfo_value(text, "MemTotal:");
	*ret_available = meminfo_value(text, "MemAvailable:");
}

static void ask_stop(struct ask *ask)
{
	qga_request_free(ask->rq);
	ask->rq = NULL;
	ask->state = ASK_NOTHING;
}

void vm_ask_again(struct vm *vm)
{
	vm->ask.fresh = false;
	/* What is under way may tell of before the change. */
	vm->ask.stale = vm->ask.state != ASK_NOTHING;
}

void vm_ask_drop(struct vm *vm)
{
	ask_stop(&vm->ask);
	free(vm->ask.cpus);
	vm->ask = (struct ask){ 0 };
}

static int ask_cpus(struct vm *vm)
{
	return qga_submit(vm_qga(vm), "guest-get-vcpus", NULL, VM_AGENT_CALL_MS,
			  &vm->ask.rq, &vm->ask.story);
}

static int ask_open(struct vm *vm)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "path", MEMINFO_PATH);
	qmp_arg_str(&args, "mode", "r");
	return qga_submit(vm_qga(vm), "guest-file-open", &args,
			  VM_AGENT_CALL_MS, &vm->ask.rq, &vm->ask.story);
}

static int ask_read(struct vm *vm, const char *command)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_val(&args, "handle",
		    yyjson_mut_sint(qmp_args_doc(&args), vm->ask.handle));
	if (strcmp(command, "guest-file-read") == 0)
		qmp_arg_u64(&args, "count", MEMINFO_BYTES);
	return qga_submit(vm_qga(vm), command, &args, VM_AGENT_CALL_MS,
			  &vm->ask.rq, &vm->ask.story);
}

static int take_cpus(struct ask *ask, const struct qmp_reply *reply)
{
	struct qga_vcpu *cpus = NULL;
	size_t nr = 0;
	int r = qga_parse_vcpus(reply, &cpus, &nr, &ask->story);

	if (r < 0)
		return r;
	free(ask->cpus);
	ask->cpus = cpus;
	ask->nr_cpus = nr;
	return 0;
}

static int take_handle(struct ask *ask, const struct qmp_reply *reply)
{
	if (!yyjson_is_int(reply->value))
		return err_set(&ask->story, -EBADMSG,
			       "guest-file-open: no handle");
	ask->handle = yyjson_get_sint(reply->value);
	return 0;
}

static int take_meminfo(struct ask *ask, const struct qmp_reply *reply)
{
	auto_buf struct buf b = BUF_INIT;
	int r = qga_parse_file(reply, &b, &ask->story);

	if (r < 0)
		return r;
	vm_parse_meminfo(buf_str(&b), &ask->mem_total, &ask->mem_available);
	return 0;
}

/* The answer to what was asked is there: take it, ask the next. An agent that
 * cannot read files still tells of CPUs. */
static int ask_next(struct vm *vm, int code, const struct qmp_reply *reply)
{
	struct ask *ask = &vm->ask;
	int r = code;

	qga_request_free(ask->rq);
	ask->rq = NULL;
	switch (ask->state) {
	case ASK_CPUS:
		if (r == 0)
			r = take_cpus(ask, reply);
		ask->state = ASK_OPEN;
		return r < 0 ? r : ask_open(vm);
	case ASK_OPEN:
		if (r == 0)
			r = take_handle(ask, reply);
		if (r < 0)
			break;
		ask->state = ASK_READ;
		return ask_read(vm, "guest-file-read");
	case ASK_READ:
		if (r == 0)
			r = take_meminfo(ask, reply);
		ask->state = ASK_CLOSE;
		ask->fresh = !ask->stale;
		return ask_read(vm, "guest-file-close");
	case ASK_CLOSE:
	case ASK_NOTHING:
		ask->state = ASK_NOTHING;
		return 0;
	}
	/* No file could be opened: so it tells of CPUs only. */
	ask->fresh = !ask->stale;
	ask->state = ASK_NOTHING;
	return code == -ETIMEDOUT ? code : 0;
}

static int ask_start(struct vm *vm)
{
	int r;

	vm->ask.mem_total = vm->ask.mem_available = 0;
	vm->ask.stale = false;
	vm->ask.state = ASK_CPUS;
	r = ask_cpus(vm);
	if (r < 0)
		vm->ask.state = ASK_NOTHING;
	return r;
}

static int ask_go_on(struct vm *vm)
{
	struct ask *ask = &vm->ask;
	int r = 0;

	while (r == 0 && ask->state != ASK_NOTHING) {
		auto_qmp_reply struct qmp_reply reply = { 0 };

		r = qga_poll(ask->rq, 0, &reply, &ask->story);
		if (r == -EAGAIN)
			return r;
		r = ask_next(vm, r, &reply);
	}
	return r;
}

bool vm_ask(struct vm *vm)
{
	struct ask *ask = &vm->ask;
	int64_t now_ns = vm_now_ns();
	int r = 0;

	if (!vm_qga(vm) || !vm->agent) {
		ask_stop(ask);
		ask->fresh = false;
		return false;
	}
	r = ask_go_on(vm);
	if (r == 0 && !ask->fresh && now_ns >= vm->agent_mute_ns) {
		r = ask_start(vm);
		if (r == 0)
			r = ask_go_on(vm);
	}
	if (r < 0 && r != -EAGAIN) {
		ask_stop(ask);
		ask->failed = true;
		ask->fresh = false;
		vm->agent_mute_ns = now_ns + MUTE_NS;
	} else if (ask->fresh) {
		ask->failed = false;
	}
	return ask->fresh;
}
