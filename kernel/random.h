/* kernel/random.h: random_bytes() of kernel/kernel.h works from random_start() on. */
#ifndef INGOT_RANDOM_H
#define INGOT_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_start(const uint8_t *seed, size_t size_bytes);

#endif
