/* SPDX-License-Identifier: Apache-2.0 */
/* Where tests put keys when there are three clusters. */
#ifndef SELFTESTS_CONTROLPLANE_STORE_SHARDS_H
#define SELFTESTS_CONTROLPLANE_STORE_SHARDS_H

#include <string.h>

/* By the third part, or the last one there is; -1: it ends in '/' before. */
static inline int shards_by_key(const char *key)
{
	const char *p = strchr(key, '/');
	unsigned int sum = 0;

	if (p && strchr(p + 1, '/'))
		p = strchr(p + 1, '/');
	if (!p || !p[1])
		return -1;
	for (p++; *p && *p != '/'; p++)
		sum += (unsigned char)*p;
	return (int)(sum % 3);
}

#endif /* SELFTESTS_CONTROLPLANE_STORE_SHARDS_H */
