/* SPDX-License-Identifier: Apache-2.0 */
/* The unix sockets QEMU serves beside QMP: consoles and other chardevs. */
#ifndef QMP_UNIX_H
#define QMP_UNIX_H

struct err;

/* Connect, also where the path is too long for sun_path. Returns the
 * non-blocking socket, owned by the caller, or -errno. */
int qmp_unix_connect(const char *path, struct err *e);

#endif /* QMP_UNIX_H */
