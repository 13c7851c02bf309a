/* SPDX-License-Identifier: Apache-2.0 */
/* The other life of the guest lane's init: see hold.c. */
#ifndef ARKTOS_SELFTESTS_GUEST_HOLD_H
#define ARKTOS_SELFTESTS_GUEST_HOLD_H

int hold(const char *cgroup);

#endif
