// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/internal.h"

int etcd_backend_open(const struct store_opts *opts, struct store_backend **ret,
		      struct err *e)
{
	(void)opts, (void)ret;
	return err_set(e, -ENOTSUP, "not yet");
}
