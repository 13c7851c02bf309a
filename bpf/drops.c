// SPDX-License-Identifier: Apache-2.0
#include "bpf/datapath.h"

const char *dp_drop_name(unsigned int reason)
{
	static const char *const names[] = {
#define X(id, name, text) [DP_DROP_##id] = name,
		DP_DROPS(X)
#undef X
	};

	return reason < DP_DROP_NR ? names[reason] : "unknown";
}
