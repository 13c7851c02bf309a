// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "agent/image/internal.h"
#include "lib/err.h"

void transfer_tell(struct transfer *t)
{
	if (t->progress)
		t->progress(&t->now, t->progress_arg);
}

int transfer_check(const struct transfer *t, struct err *e)
{
	if (t->cancel && atomic_load(t->cancel))
		return err_set(e, -ECANCELED, "cancelled");
	return 0;
}
