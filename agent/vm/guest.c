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
	ask->what = ASK_NOTHING;
}

/* What is under way may tell of before the change. */
void vm_ask_cpus_again(struct vm *vm)
{
	if (vm->ask.cpus_fresh)
		vm->cpus_asked_ns = vm_now_ns();
	vm->ask.cpus_fresh = false;
	vm->ask.cpus_stale = vm->ask.what == ASK_CPUS;
}

void vm_ask_memory_again(struct vm *vm)
{
	if (vm->ask.mem_fresh)
		vm->mem_asked_ns = vm_now_ns();
	vm->ask.mem_fresh = false;
	vm->ask.mem_stale = vm->ask.what == ASK_READ;
}

void vm_ask_drop(struct vm *vm)
{
	ask_stop(&vm->ask);
	free(vm->ask.cpus);
	vm->ask = (struct ask){ 0 };
}

static void add_handle(struct qmp_args *args, const struct ask *ask)
{
	qmp_arg_val(args, "handle",
		    yyjson_mut_sint(qmp_args_doc(args), ask->handle));
}

static int ask_submit(struct vm *vm, enum ask_what what)
{
	static const char *const commands[] = {
		[ASK_CPUS] = "guest-get-vcpus",
		[ASK_OPEN] = "guest-file-open",
		[ASK_READ] = "guest-file-read",
		[ASK_CLOSE] = "guest-file-close",
	};
	auto_qmp_args struct qmp_args args = { 0 };
	struct ask *ask = &vm->ask;
	int r;

	if (what == ASK_OPEN) {
		qmp_arg_str(&args, "path", MEMINFO_PATH);
		qmp_arg_str(&args, "mode", "r");
	} else if (what != ASK_CPUS) {
		add_handle(&args, ask);
	}
	if (what == ASK_READ)
		qmp_arg_u64(&args, "count", MEMINFO_BYTES);
	r = qga_submit(vm_qga(vm), commands[what], args.doc ? &args : NULL,
		       VM_AGENT_CALL_MS, &ask->rq, &ask->story);
	if (r == 0)
		ask->what = what;
	return r;
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
	ask->cpus_fresh = !ask->cpus_stale;
	ask->cpus_stale = false;
	return 0;
}

static int take_handle(struct ask *ask, int code, const struct qmp_reply *reply)
{
	if (code == 0 && !yyjson_is_int(reply->value))
		code = err_set(&ask->story, -EBADMSG,
			       "guest-file-open: no handle");
	if (code == 0) {
		ask->handle = yyjson_get_sint(reply->value);
		ask->opened = true;
		ask->used = false;
		return 0;
	}
	/* An agent that may not read files still tells of CPUs. */
	ask->mem_total = ask->mem_available = 0;
	ask->mem_fresh = code != -ETIMEDOUT;
	return code == -ETIMEDOUT ? code : 0;
}

static int take_meminfo(struct ask *ask, const struct qmp_reply *reply)
{
	auto_buf struct buf b = BUF_INIT;
	int r = qga_parse_file(reply, &b, &ask->story);

	if (r < 0)
		return r;
	vm_parse_meminfo(buf_str(&b), &ask->mem_total, &ask->mem_available);
	ask->mem_fresh = !ask->mem_stale;
	ask->mem_stale = false;
	return 0;
}

/* The answer to what was asked is there. */
static int ask_take(struct ask *ask, int code, const struct qmp_reply *reply)
{
	enum ask_what what = ask->what;

	ask_stop(ask);
	switch (what) {
	case ASK_CPUS:
		return code < 0 ? code : take_cpus(ask, reply);
	case ASK_OPEN:
		return take_handle(ask, code, reply);
	case ASK_READ:
		ask->used = true;
		return code < 0 ? code : take_meminfo(ask, reply);
	case ASK_CLOSE:
	case ASK_NOTHING:
		break;
	}
	ask->opened = false;
	return code == -ETIMEDOUT ? code : 0;
}

/* A file of the kernel's is made up when it is read for the first time: it is
 * opened ahead, and read when the memory has settled. */
static enum ask_what ask_what_next(const struct ask *ask, bool hold)
{
	if (!ask->cpus_fresh)
		return ASK_CPUS;
	if (ask->opened && ask->used)
		return ASK_CLOSE;
	if (ask->mem_fresh)
		return ASK_NOTHING;
	if (!ask->opened)
		return ASK_OPEN;
	return hold ? ASK_NOTHING : ASK_READ;
}

static int ask_go_on(struct vm *vm, bool hold)
{
	struct ask *ask = &vm->ask;

	for (;;) {
		auto_qmp_reply struct qmp_reply reply = { 0 };
		enum ask_what next;
		int r = 0;

		if (ask->what != ASK_NOTHING) {
			r = qga_poll(ask->rq, 0, &reply, &ask->story);
			if (r == -EAGAIN)
				return 0;
			r = ask_take(ask, r, &reply);
		}
		next = ask_what_next(ask, hold);
		if (r == 0 && next == ASK_NOTHING)
			return 0;
		if (r == 0)
			r = ask_submit(vm, next);
		if (r < 0)
			return r;
	}
}

void vm_ask(struct vm *vm, bool hold)
{
	struct ask *ask = &vm->ask;
	int64_t now_ns = vm_now_ns();

	if (!vm_qga(vm) || !vm->agent) {
		vm_ask_drop(vm);
		return;
	}
	if (now_ns < vm->agent_mute_ns)
		return;
	if (ask_go_on(vm, hold) < 0) {
		vm_ask_drop(vm);
		ask->failed = true;
		vm->agent_mute_ns = now_ns + MUTE_NS;
	} else if (ask->cpus_fresh) {
		ask->failed = false;
	}
}
