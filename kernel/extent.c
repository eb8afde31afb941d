/*
 * kernel/extent.c: see extent.h. Treaps after Seidel and Aragon, "Randomized Search Trees" (1996): heap order by
 * priority, search order by base, both kept by split and merge. Depth is O(log n) with n nodes whatever the order of
 * the calls.
 */
#include "kernel/extent.h"

static uint64_t check_seed;
static uint64_t random_state;

void extent_seed(uint64_t seed)
{
    check_seed = seed;
    random_state = seed | 1;
}

/* xorshift64* (Vigna 2016): balance needs no better. */
static uint64_t next_priority(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t check_word(const struct extent *extent)
{
    return (extent->base ^ check_seed) * UINT64_C(0x9e3779b97f4a7c15) + extent->pages;
}

static void verify(const struct extent *extent)
{
    if (extent->check != check_word(extent))
        panic("page allocator: node %p (base %#llx, %llu pages) was overwritten",
              (const void *)extent, (unsigned long long)extent->base,
              (unsigned long long)extent->pages);
}

void extent_set_range(struct extent *extent, uint64_t base, uint64_t pages)
{
    extent->base = base;
    extent->pages = pages;
    extent->check = check_word(extent);
}

static uint64_t largest_of(const struct extent *extent)
{
    return extent != NULL ? extent->largest : 0;
}

static void update(struct extent *extent)
{
    uint64_t largest = extent->pages;
    if (largest_of(extent->left) > largest)
        largest = largest_of(extent->left);
    if (largest_of(extent->right) > largest)
        largest = largest_of(extent->right);
    extent->largest = largest;
}

/* Everything below `base` goes to *left, the rest to *right. */
static void split(struct extent *root, uint64_t base, struct extent **left, struct extent **right)
{
    if (root == NULL) {
        *left = *right = NULL;
        return;
    }
    verify(root);
    if (root->base < base) {
        split(root->right, base, &root->right, right);
        *left = root;
    } else {
        split(root->left, base, left, &root->left);
        *right = root;
    }
    update(root);
}

/* All of left lies below all of right. */
static struct extent *merge(struct extent *left, struct extent *right)
{
    if (left == NULL || right == NULL)
        return left != NULL ? left : right;
    struct extent *root;
    if (left->priority > right->priority) {
        root = left;
        root->right = merge(left->right, right);
    } else {
        root = right;
        root->left = merge(left, right->left);
    }
    verify(root);
    update(root);
    return root;
}

static struct extent *insert(struct extent *root, struct extent *extent)
{
    if (root == NULL || extent->priority > root->priority) {
        split(root, extent->base, &extent->left, &extent->right);
        root = extent;
    } else if (extent->base < root->base) {
        root->left = insert(root->left, extent);
    } else {
        root->right = insert(root->right, extent);
    }
    verify(root);
    update(root);
    return root;
}

int extent_insert(struct extent_set *set, struct extent *extent)
{
    /* The one that starts below our end is the only one that can overlap us. */
    const struct extent *before = extent_floor(set, extent_end(extent) - 1);
    if (before != NULL && extent_end(before) > extent->base)
        return -EEXIST;
    extent->priority = next_priority();
    set->root = insert(set->root, extent);
    return 0;
}

static struct extent *remove_from(struct extent *root, struct extent *extent)
{
    assert(root != NULL); /* else the extent is not in this set */
    verify(root);
    if (root == extent)
        return merge(root->left, root->right);
    if (extent->base < root->base)
        root->left = remove_from(root->left, extent);
    else
        root->right = remove_from(root->right, extent);
    update(root);
    return root;
}

void extent_remove(struct extent_set *set, struct extent *extent)
{
    set->root = remove_from(set->root, extent);
    extent->left = extent->right = NULL;
}

struct extent *extent_floor(const struct extent_set *set, uint64_t address)
{
    struct extent *best = NULL;
    for (struct extent *at = set->root; at != NULL;) {
        verify(at);
        if (at->base <= address) {
            best = at;
            at = at->right;
        } else {
            at = at->left;
        }
    }
    return best;
}

static struct extent *fit_lowest(struct extent *root, uint64_t pages, uint64_t align, uint64_t from,
                                 uint64_t *at)
{
    if (largest_of(root) < pages)
        return NULL;
    verify(root);
    if (root->base > from) {
        struct extent *lower = fit_lowest(root->left, pages, align, from, at);
        if (lower != NULL)
            return lower;
    }
    uint64_t lowest = root->base > from ? root->base : from;
    uint64_t start = align_up(lowest, align), end = extent_end(root);
    if (start >= lowest && start < end && end - start >= pages * PAGE_SIZE) {
        *at = start;
        return root;
    }
    return fit_lowest(root->right, pages, align, from, at);
}

struct extent *extent_fit_lowest(const struct extent_set *set, uint64_t pages, uint64_t align,
                                 uint64_t from, uint64_t *at)
{
    return fit_lowest(set->root, pages, align, from, at);
}

static struct extent *fit_highest(struct extent *root, uint64_t pages, uint64_t align, uint64_t *at)
{
    if (largest_of(root) < pages)
        return NULL;
    verify(root);
    struct extent *higher = fit_highest(root->right, pages, align, at);
    if (higher != NULL)
        return higher;
    if (root->pages >= pages) {
        uint64_t start = align_down(extent_end(root) - pages * PAGE_SIZE, align);
        if (start >= root->base) {
            *at = start;
            return root;
        }
    }
    return fit_highest(root->left, pages, align, at);
}

struct extent *extent_fit_highest(const struct extent_set *set, uint64_t pages, uint64_t align,
                                  uint64_t *at)
{
    return fit_highest(set->root, pages, align, at);
}
