/*
 * apps/selftest/reference.h: what kernels are compared with: plain C, one element at a time, in double, written from the
 * formats' definitions and not from the kernels.
 */
#ifndef INGOT_SELFTEST_REFERENCE_H
#define INGOT_SELFTEST_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/kernels/kernels.h"

/* An element type of gpu/kernels, by name. */
struct reference_type {
    const char *name;
    uint32_t block_elements, block_bytes;
    double (*value)(const uint8_t *block, uint32_t j); /* element j of a block */
    bool is_wide; /* a float of wide range: random bits would overflow sums */
};
/* All of them; NULL past the end. */
const struct reference_type *reference_type_get(unsigned index);
double reference_value(const struct reference_type *type, const uint8_t *data, uint64_t i);
struct stats_partial reference_stats(const struct reference_type *type, const uint8_t *data, uint64_t count);
uint64_t reference_checksum(const uint8_t *data, uint64_t size_bytes);

#endif
