/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can this host run pods? Every requirement is tried out, not looked up: a BPF
 * program is loaded, a veth is made (in a network namespace of its own), a
 * guest instruction is run. Nothing is left behind.
 */
#ifndef AGENT_LOCAL_DOCTOR_H
#define AGENT_LOCAL_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

enum doctor_verdict {
	DOCTOR_OK,
	DOCTOR_WARN, /* works, but something is lost: detail says what */
	DOCTOR_FAIL, /* required, and missing */
};

#define DOCTOR_CHECKS_MAX 32
#define DOCTOR_TEXT_MAX   256

struct doctor_check {
	const char *name;
	enum doctor_verdict verdict;
	char detail[DOCTOR_TEXT_MAX];
	char remedy[DOCTOR_TEXT_MAX]; /* "" when there is nothing to do */
};

struct doctor {
	const char *state_dir;
	const char *qemu; /* NULL: qemu-system-x86_64 */
	struct doctor_check checks[DOCTOR_CHECKS_MAX];
	size_t nr;
};

/* Run all checks: takes about a second. */
void doctor_run(struct doctor *d);

/* Is nothing required missing? */
bool doctor_passed(const struct doctor *d);

void doctor_put_text(const struct doctor *d, struct buf *b);
void doctor_put_json(const struct doctor *d, struct buf *b);

/* For doctor_*.c: note a verdict. */
void doctor_note(struct doctor *d, const char *name,
		 enum doctor_verdict verdict, const char *remedy,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void doctor_kernel(struct doctor *d);
void doctor_network(struct doctor *d);

#endif /* AGENT_LOCAL_DOCTOR_H */
