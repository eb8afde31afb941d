/*
 * runtime/volume/sort.h: heap sort, for tables that come from disks and files.
 *
 * In place and never worse than n log n: the C library's qsort() may be quadratic, and whoever wrote the file chooses
 * the order. Not stable, so compare() breaks ties itself where they matter.
 */
#ifndef INGOT_VOLUME_SORT_H
#define INGOT_VOLUME_SORT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void sort_swap(uint8_t *a, uint8_t *b, size_t size)
{
    for (size_t i = 0; i < size; i += 8) {
        uint64_t x, y;
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        memcpy(a + i, &y, 8);
        memcpy(b + i, &x, 8);
    }
}

/* Sort count items of size bytes, a multiple of 8, so that compare(a, b) <= 0 for each a before b. */
static inline void heap_sort(void *items, size_t count, size_t size, int (*compare)(const void *a, const void *b))
{
    assert(size % 8 == 0);
    uint8_t *base = items;
    size_t unsorted = count, root_next = count / 2;
    while (unsorted > 1) {
        size_t root;
        if (root_next > 0) {
            root = --root_next; /* still building the heap */
        } else {
            unsorted--; /* the largest goes behind the heap */
            sort_swap(base, base + unsorted * size, size);
            root = 0;
        }
        for (size_t child; (child = 2 * root + 1) < unsorted; root = child) {
            if (child + 1 < unsorted && compare(base + child * size, base + (child + 1) * size) < 0)
                child++;
            if (compare(base + root * size, base + child * size) >= 0)
                break;
            sort_swap(base + root * size, base + child * size, size);
        }
    }
}

#endif
