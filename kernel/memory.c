/*
 * kernel/memory.c: the page allocator. Physical memory is identity-mapped, so a page's address is its pointer.
 *
 * Free memory and live blocks are two sets of ranges (kernel/extent.c). Any number of pages can be one block, a
 * model of tens of gigabytes as well as one page, and neighbours join as soon as they are free. Small blocks come
 * from below, beginning at a random place, large ones from above, so that small ones do not cut up what large ones
 * need.
 *
 * Every live block has a node: freeing an address that is not one, twice, or with another size is a panic that says
 * which.
 */
#include <string.h>

#include "kernel/extent.h"
#include "kernel/heap.h"
#include "kernel/machine.h"

#define LOWEST_PA \
    (UINT64_C(64) \
     << 10) /* never handed out: 0 is NULL, and what lies near it is a NULL plus an offset */
#define LARGE_PAGES      512 /* 2 MiB: from here on a block comes from above */
#define START_RANDOM_MAX (UINT64_C(1) << 30)

static struct spinlock lock;
static struct extent_set free_set, live_set;
static uint64_t free_pages;
static uint64_t total_bytes, image_bytes;
static uint64_t small_start; /* where the search for small blocks begins */

/* Nodes not in use, linked through `left`. A few are in the image, so that the first pages can be described at all. */
static struct extent first_nodes[32];
static struct extent *spare_nodes;
static unsigned spare_count;
#define SPARE_MIN \
    4 /* nodes that one allocation may need: the rest of a range on either side, the block, and one in hand */

static void node_give(struct extent *node)
{
    node->left = spare_nodes;
    spare_nodes = node;
    spare_count++;
}

static struct extent *node_take(uint64_t base, uint64_t pages)
{
    struct extent *node = spare_nodes;
    assert(node != NULL); /* nodes_reserve() was called for what is going on */
    spare_nodes = node->left;
    spare_count--;
    *node = (struct extent){0};
    extent_set_range(node, base, pages);
    return node;
}

/* Turn a page into nodes. */
static void nodes_add_page(uint64_t pa)
{
    struct extent *nodes = (struct extent *)(uintptr_t)pa;
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*nodes); i++)
        node_give(&nodes[i]);
}

/* Keep SPARE_MIN nodes in hand, with a page from the free ranges if need be. False: memory is full. */
static bool nodes_reserve(void)
{
    if (spare_count >= SPARE_MIN)
        return true;
    uint64_t at;
    struct extent *extent = extent_fit_lowest(&free_set, 1, PAGE_SIZE, 0, &at);
    if (extent == NULL)
        return false;
    extent_remove(&free_set, extent);
    if (extent->pages == 1) {
        node_give(extent);
    } else {
        extent_set_range(extent, at + PAGE_SIZE, extent->pages - 1);
        extent_insert(&free_set, extent);
    }
    free_pages--;
    nodes_add_page(at);
    return true;
}

/* Add a range to the free set, joined with the neighbours it touches. -EEXIST: some of it is free already. */
static int free_insert(struct extent *node)
{
    struct extent *before = extent_floor(&free_set, node->base);
    struct extent *after = extent_floor(&free_set, extent_end(node));
    if (after == before || (after != NULL && after->base != extent_end(node)))
        after = NULL;
    uint64_t base = node->base, pages = node->pages;
    if (before != NULL && extent_end(before) == base) {
        base = before->base;
        pages += before->pages;
    } else {
        before = NULL;
    }
    if (after != NULL)
        pages += after->pages;

    int error = extent_insert(&free_set, node); /* alone first: it alone could overlap */
    if (error != 0)
        return error;
    free_pages += node->pages;
    if (before == NULL && after == NULL)
        return 0;
    extent_remove(&free_set, node);
    if (before != NULL) {
        extent_remove(&free_set, before);
        node_give(before);
    }
    if (after != NULL) {
        extent_remove(&free_set, after);
        node_give(after);
    }
    extent_set_range(node, base, pages);
    return extent_insert(&free_set, node);
}

void memory_set_totals(uint64_t total, uint64_t image)
{
    total_bytes = total;
    image_bytes = image;
}

/* A random place in the first sixteenth of the largest range: addresses of small blocks differ from boot to boot. */
static void choose_small_start(void)
{
    uint64_t at, random;
    const struct extent *largest =
        free_set.root == NULL
            ? NULL
            : extent_fit_lowest(&free_set, free_set.root->largest, PAGE_SIZE, 0, &at);
    if (largest == NULL)
        return;
    random_bytes(&random, sizeof(random));
    uint64_t span = min_u64(largest->pages / 16 * PAGE_SIZE, START_RANDOM_MAX);
    small_start = largest->base + (span == 0 ? 0 : align_down(random % span, PAGE_SIZE));
}

void memory_add_range(uint64_t pa, uint64_t size_bytes)
{
    uint64_t flags = spin_lock(&lock);
    if (spare_nodes == NULL && free_set.root == NULL) {
        uint64_t seed;
        random_bytes(&seed, sizeof(seed));
        extent_seed(seed);
        for (unsigned i = 0; i < ARRAY_COUNT(first_nodes); i++)
            node_give(&first_nodes[i]);
    }
    uint64_t end = align_down(pa + size_bytes, PAGE_SIZE);
    pa = align_up(pa < LOWEST_PA ? LOWEST_PA : pa, PAGE_SIZE);
    if (end > pa) {
        bool has_nodes = nodes_reserve();
        assert(has_nodes); /* from the first ranges, described by first_nodes */
        if (free_insert(node_take(pa, (end - pa) / PAGE_SIZE)) != 0)
            panic("memory: range %#llx..%#llx was added twice", (unsigned long long)pa,
                  (unsigned long long)end);
    }
    choose_small_start();
    spin_unlock(&lock, flags);
}

/* Cut `pages` pages at `at` out of a free range; returns the node for them. At most two nodes are taken. */
static struct extent *carve(struct extent *extent, uint64_t at, uint64_t pages)
{
    uint64_t base = extent->base, end = extent_end(extent), block_end = at + pages * PAGE_SIZE;
    extent_remove(&free_set, extent);
    free_pages -= pages;
    if (base < at) {
        struct extent *before = node_take(base, (at - base) / PAGE_SIZE);
        extent_insert(&free_set, before);
    }
    if (block_end < end) {
        struct extent *after = node_take(block_end, (end - block_end) / PAGE_SIZE);
        extent_insert(&free_set, after);
    }
    extent_set_range(extent, at, pages);
    return extent;
}

void *page_alloc_dirty(uint64_t size_bytes, uint64_t align)
{
    if (align < PAGE_SIZE)
        align = PAGE_SIZE;
    assert((align & (align - 1)) == 0);
    if (size_bytes == 0 || size_bytes > INT64_MAX)
        return NULL;
    uint64_t pages = align_up(size_bytes, PAGE_SIZE) / PAGE_SIZE;

    uint64_t flags = spin_lock(&lock);
    void *va = NULL;
    if (nodes_reserve()) {
        uint64_t at;
        struct extent *extent;
        if (pages >= LARGE_PAGES) {
            extent = extent_fit_highest(&free_set, pages, align, &at);
        } else {
            extent = extent_fit_lowest(&free_set, pages, align, small_start, &at);
            if (extent == NULL)
                extent = extent_fit_lowest(&free_set, pages, align, 0, &at);
        }
        if (extent != NULL) {
            struct extent *block = carve(extent, at, pages);
            if (extent_insert(&live_set, block) != 0)
                panic("page allocator: %#llx is both free and in use", (unsigned long long)at);
            va = (void *)(uintptr_t)at;
        }
    }
    spin_unlock(&lock, flags);
    return va;
}

void *page_alloc(uint64_t size_bytes, uint64_t align)
{
    void *va = page_alloc_dirty(size_bytes, align);
    if (va != NULL)
        memset(va, 0, align_up(size_bytes, PAGE_SIZE));
    return va;
}

void page_free(void *va, uint64_t size_bytes)
{
    if (va == NULL)
        return;
    uint64_t pa = (uint64_t)(uintptr_t)va, pages = align_up(size_bytes, PAGE_SIZE) / PAGE_SIZE;
    uint64_t flags = spin_lock(&lock);
    struct extent *block = extent_floor(&live_set, pa);
    if (block == NULL || block->base != pa)
        panic("page_free(%p): not an allocated block, or freed already", va);
    if (block->pages != pages)
        panic("page_free(%p): %llu pages, allocated with %llu", va, (unsigned long long)pages,
              (unsigned long long)block->pages);
    extent_remove(&live_set, block);
    if (free_insert(block) != 0)
        panic("page_free(%p): part of it is free already", va);
    spin_unlock(&lock, flags);
}

void memory_stats(struct memory_stats *out)
{
    uint64_t flags = spin_lock(&lock);
    *out = (struct memory_stats){
        .total_bytes = total_bytes,
        .free_bytes = free_pages * PAGE_SIZE,
        .largest_bytes = free_set.root != NULL ? free_set.root->largest * PAGE_SIZE : 0,
        .image_bytes = image_bytes,
    };
    spin_unlock(&lock, flags);
    out->heap_bytes = heap_used_bytes();
}
