/*
 * gpu/nvidia/va.h: which GPU virtual addresses are free. Pure bookkeeping: first fit in an ordered list of free ranges.
 */
#ifndef INGOT_GPU_NVIDIA_VA_H
#define INGOT_GPU_NVIDIA_VA_H

#include <stdint.h>

struct va_range {
    uint64_t base, size_bytes;
};

struct va_space {
    struct va_range *free; /* ordered, apart from one another */
    unsigned count, capacity;
};

int va_init(struct va_space *va, uint64_t base, uint64_t size_bytes);
void va_fini(struct va_space *va);
/* size_bytes and align are multiples of 4096, align a power of two. 0 or -ENOMEM. */
int va_alloc(struct va_space *va, uint64_t size_bytes, uint64_t align, uint64_t *base);
/* A range that va_alloc() gave; freeing anything else is an assertion. Never fails: room for it is kept. */
void va_free(struct va_space *va, uint64_t base, uint64_t size_bytes);
uint64_t va_free_bytes(const struct va_space *va);

#endif
