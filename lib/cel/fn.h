/* SPDX-License-Identifier: Apache-2.0 */
/* The head of every function that expressions can call. */
#ifndef LIB_CEL_FN_H
#define LIB_CEL_FN_H

#include "lib/cel/internal.h"

#define FN(fn_name)                                                           \
	static int fn_name(struct run *r __attribute__((unused)),             \
			   const struct cel_value *a __attribute__((unused)), \
			   size_t nr __attribute__((unused)),                 \
			   struct cel_value *ret)

#endif /* LIB_CEL_FN_H */
