/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors are two things, and they travel separately.
 *
 *  - The code is the return value: 0 or a negative errno. Callers branch on it.
 *  - The story is a struct err: one line for whoever finally reports it, built
 *    outwards from the cause: "pod web-0: cpu.max: write: Invalid argument".
 *
 * A struct err lives on the caller's stack and never allocates, so it can also
 * carry -ENOMEM. Every function takes e == NULL from callers who want only the
 * code. Libraries fill it; only the outermost layer prints it.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#define ERR_MSG_SIZE 320

struct err {
	int code;               /* negative errno, 0 while nothing has failed */
	char msg[ERR_MSG_SIZE]; /* NUL-terminated, outermost context first */
};

/* Report errno, in words and with its text. Returns -errno. */
int err_sys(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Report a verdict of our own: no errno text is added. Returns @code. */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Prefix "context: " to what failed below with @code. Returns @code. */
int err_wrap(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif /* LIB_ERR_H */
