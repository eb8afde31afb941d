/*
 * kernel/extent.h: sets of ranges of pages, for kernel/memory.c. A set is a treap (a binary search tree by address
 * that random priorities keep balanced) in which every node knows the largest range below it, so that finding a
 * place for n pages costs a walk down the tree. Nodes lie apart from the pages they describe and carry a check word
 * over their contents: a stray write into either is found rather than followed.
 */
#ifndef INGOT_EXTENT_H
#define INGOT_EXTENT_H

#include "kernel/kernel.h"

struct extent {
    uint64_t base, pages; /* address, count; changed only outside a set, through extent_set_range() */
    uint64_t largest;     /* pages of the largest range in this subtree */
    uint64_t check;
    uint64_t priority;
    struct extent *left, *right;
};

struct extent_set {
    struct extent *root;
};

/* Before anything else; the check words depend on it. */
void extent_seed(uint64_t seed);

void extent_set_range(struct extent *extent, uint64_t base, uint64_t pages);
static inline uint64_t extent_end(const struct extent *extent)
{
    return extent->base + extent->pages * PAGE_SIZE;
}

/* The range must not overlap one of the set; -EEXIST when it does, with nothing changed. */
int extent_insert(struct extent_set *set, struct extent *extent);
void extent_remove(struct extent_set *set, struct extent *extent);
/* The extent with the greatest base that is at most `address`, or NULL. */
struct extent *extent_floor(const struct extent_set *set, uint64_t address);

/*
 * Where `pages` pages aligned to `align` bytes fit: the lowest such place at or above `from`, or the highest of all.
 * The extent that holds it, with the address in *at, or NULL.
 */
struct extent *extent_fit_lowest(const struct extent_set *set, uint64_t pages, uint64_t align,
                                 uint64_t from, uint64_t *at);
struct extent *extent_fit_highest(const struct extent_set *set, uint64_t pages, uint64_t align,
                                  uint64_t *at);

#endif
