/*
 * gpu/nvidia/va.c: GPU virtual address allocator. See va.h.
 *
 * Each allocation can split one free range into two, and each later free can undo that, so the array keeps room for one
 * more range than there are allocations: va_alloc() grows it, va_free() never needs to.
 */
#include "gpu/nvidia/va.h"

#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"

int va_init(struct va_space *va, uint64_t base, uint64_t size_bytes)
{
    *va = (struct va_space){.capacity = 64};
    va->free = calloc(va->capacity, sizeof(*va->free));
    if (!va->free)
        return -ENOMEM;
    va->free[va->count++] = (struct va_range){base, size_bytes};
    return 0;
}

void va_fini(struct va_space *va)
{
    free(va->free);
    *va = (struct va_space){0};
}

static void insert_at(struct va_space *va, unsigned index, struct va_range range)
{
    assert(va->count < va->capacity);
    memmove(&va->free[index + 1], &va->free[index], (va->count - index) * sizeof(*va->free));
    va->free[index] = range;
    va->count++;
}

static void remove_at(struct va_space *va, unsigned index)
{
    va->count--;
    memmove(&va->free[index], &va->free[index + 1], (va->count - index) * sizeof(*va->free));
}

int va_alloc(struct va_space *va, uint64_t size_bytes, uint64_t align, uint64_t *base)
{
    assert(size_bytes > 0 && size_bytes % PAGE_SIZE == 0 && align >= PAGE_SIZE &&
           (align & (align - 1)) == 0);
    if (va->count + 2 >
        va->capacity / 2) { /* a split now, and as many again when everything around is freed */
        struct va_range *grown = realloc(va->free, va->capacity * 2 * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        va->free = grown;
        va->capacity *= 2;
    }
    for (unsigned i = 0; i < va->count; i++) {
        struct va_range *range = &va->free[i];
        uint64_t start = align_up(range->base, align);
        uint64_t skipped = start - range->base;
        if (skipped > range->size_bytes || size_bytes > range->size_bytes - skipped)
            continue;
        uint64_t rest = range->size_bytes - skipped - size_bytes;
        if (skipped == 0 && rest == 0) {
            remove_at(va, i);
        } else if (skipped == 0) {
            range->base += size_bytes;
            range->size_bytes = rest;
        } else {
            range->size_bytes = skipped;
            if (rest > 0)
                insert_at(va, i + 1, (struct va_range){start + size_bytes, rest});
        }
        *base = start;
        return 0;
    }
    return -ENOMEM;
}

void va_free(struct va_space *va, uint64_t base, uint64_t size_bytes)
{
    unsigned at = 0; /* the first free range above */
    while (at < va->count && va->free[at].base < base)
        at++;
    assert(at == 0 || va->free[at - 1].base + va->free[at - 1].size_bytes <= base);
    assert(at == va->count || base + size_bytes <= va->free[at].base);
    bool joins_below = at > 0 && va->free[at - 1].base + va->free[at - 1].size_bytes == base;
    bool joins_above = at < va->count && base + size_bytes == va->free[at].base;
    if (joins_below && joins_above) {
        va->free[at - 1].size_bytes += size_bytes + va->free[at].size_bytes;
        remove_at(va, at);
    } else if (joins_below) {
        va->free[at - 1].size_bytes += size_bytes;
    } else if (joins_above) {
        va->free[at].base = base;
        va->free[at].size_bytes += size_bytes;
    } else {
        insert_at(va, at, (struct va_range){base, size_bytes});
    }
}

uint64_t va_free_bytes(const struct va_space *va)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < va->count; i++)
        bytes += va->free[i].size_bytes;
    return bytes;
}
