/* SPDX-License-Identifier: Apache-2.0 */
/* The address this host is reached at. */
#ifndef AGENT_ADDRESS_H
#define AGENT_ADDRESS_H

#include <stddef.h>

/* @given; if NULL, the IPv4 address of the default route's interface, or
 * 127.0.0.1 when there is none. 0 or -errno. */
int host_address(const char *given, char *buf, size_t size);

#endif /* AGENT_ADDRESS_H */
