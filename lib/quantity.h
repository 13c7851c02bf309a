/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes quantities: "100m", "1.5", "64Mi", "1e3", "128974848".
 *
 * Read exactly (no floating point) and rounded up to a thousandth of a CPU or
 * to a byte, as Kubernetes rounds. Suffixes: n u m (none) k M G T P E, Ki Mi Gi
 * Ti Pi Ei, and decimal exponents.
 */
#ifndef LIB_QUANTITY_H
#define LIB_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

struct err;

#define QUANTITY_TEXT_SIZE 24 /* holds any formatted quantity */
#define QUANTITY_LEN_MAX   64 /* of a quantity that is read */

/**
 * quantity_parse_cpu() - CPUs to thousandths ("1.5" is 1500, "1n" is 1).
 * @text: Borrowed.
 * @ret:  Set on success.
 * @e:    Filled on error: "'1.5.2' is not a quantity: ...".
 *
 * Return: 0, -EINVAL (not a quantity, or negative), or -ERANGE (beyond
 * INT64_MAX thousandths).
 */
int quantity_parse_cpu(const char *text, uint64_t *ret_milli, struct err *e);

/* The same for bytes ("64Mi" is 67108864, "1500m" is 2). */
int quantity_parse_mem(const char *text, uint64_t *ret_bytes, struct err *e);

/* Canonical text as Kubernetes writes it: 500 is "500m", 2000 is "2"; 67108864
 * bytes are "64Mi". Both return @buf. */
const char *quantity_format_cpu(uint64_t milli, char buf[QUANTITY_TEXT_SIZE]);
const char *quantity_format_mem(uint64_t bytes, char buf[QUANTITY_TEXT_SIZE]);

/* For people: bytes with at most one decimal, "1.2Gi", "734Mi", "12Ki", "0". */
const char *quantity_format_human(uint64_t bytes, char buf[QUANTITY_TEXT_SIZE]);

#endif /* LIB_QUANTITY_H */
