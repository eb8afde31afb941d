/*
 * kernel/stack.c: stacks for tasks, cores and exceptions, in a window of addresses of their own.
 *
 * Each stack is mapped between two pages that never are, so that running over its end (or its start) faults. A
 * new mapping needs no TLB work; a freed stack keeps its mapping and waits for the next task of that size, and
 * only beyond STACKS_KEPT of them is one unmapped on every core. Addresses are not used a second time after
 * that: the window is large.
 */
#include "kernel/paging.h"

#define STACKS_KEPT     64 /* per size */
#define SIZES_MAX       8  /* different sizes that are kept */
#define STACK_BYTES_MAX (UINT64_C(64) << 20)

SEALED uint64_t stack_window;

struct kept_stack {
    struct kept_stack *next; /* stored in the free stack itself */
};
static struct {
    size_t size_bytes;
    unsigned count;
    struct kept_stack *first;
} kept[SIZES_MAX];
static uint64_t window_used;
static struct spinlock lock;

/*
 * The window is one of the 64 top-level entries below the middle of the address space, far above any physical
 * address (47 bits of physical address would reach there: kernel/mmio.c refuses those), and starts at a random
 * page in it.
 */
void stack_window_choose(uint64_t random)
{
    stack_window = (192 + random % 63) * STACK_WINDOW_BYTES +
                   (random >> 8) % (STACK_WINDOW_BYTES / 2 / PAGE_SIZE) * PAGE_SIZE;
}

static void *kept_take(size_t size_bytes)
{
    void *stack = NULL;
    uint64_t flags = spin_lock(&lock);
    for (unsigned i = 0; i < SIZES_MAX; i++) {
        if (kept[i].size_bytes == size_bytes && kept[i].first != NULL) {
            stack = kept[i].first;
            kept[i].first = kept[i].first->next;
            kept[i].count--;
            break;
        }
    }
    spin_unlock(&lock, flags);
    return stack;
}

static bool kept_put(void *stack, size_t size_bytes)
{
    bool done = false;
    uint64_t flags = spin_lock(&lock);
    for (unsigned i = 0; i < SIZES_MAX && !done; i++) {
        if (kept[i].size_bytes == 0)
            kept[i].size_bytes = size_bytes;
        if (kept[i].size_bytes == size_bytes && kept[i].count < STACKS_KEPT) {
            struct kept_stack *free_stack = stack;
            free_stack->next = kept[i].first;
            kept[i].first = free_stack;
            kept[i].count++;
            done = true;
        }
    }
    spin_unlock(&lock, flags);
    return done;
}

void *stack_alloc(size_t size_bytes)
{
    if (size_bytes == 0 || size_bytes > STACK_BYTES_MAX)
        return NULL;
    size_bytes = align_up(size_bytes, PAGE_SIZE);
    void *stack = kept_take(size_bytes);
    if (stack != NULL)
        return stack;

    void *memory = page_alloc_dirty(size_bytes, 0);
    if (memory == NULL)
        return NULL;
    uint64_t flags = spin_lock(&lock);
    uint64_t offset = window_used + PAGE_SIZE; /* the guard */
    bool fits = offset + size_bytes + PAGE_SIZE <= STACK_WINDOW_BYTES / 2;
    if (fits)
        window_used = offset + size_bytes;
    spin_unlock(&lock, flags);
    if (!fits ||
        paging_map(stack_window + offset, (uint64_t)memory, size_bytes, PAGE_RIGHT_WRITE) < 0) {
        page_free(memory, size_bytes);
        return NULL;
    }
    return (void *)(stack_window + offset);
}

void stack_free(void *stack, size_t size_bytes)
{
    size_bytes = align_up(size_bytes, PAGE_SIZE);
    if (stack == NULL || kept_put(stack, size_bytes))
        return;
    uint64_t pa = va_to_pa(stack);
    assert(pa != UINT64_MAX);
    paging_unmap((uint64_t)stack, size_bytes);
    page_free((void *)pa, size_bytes);
}
