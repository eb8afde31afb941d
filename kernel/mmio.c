/*
 * kernel/mmio.c: device registers: the accesses, the mappings (at their physical addresses), and waiting for a value.
 */
#include "kernel/paging.h"

#define MAPPINGS_MAX 256
#define PA_LIMIT     (UINT64_C(192) * STACK_WINDOW_BYTES) /* the stack window lies above */

static struct mapping {
    uint64_t pa, size_bytes; /* whole pages; size 0: free */
    unsigned flags;
} mappings[MAPPINGS_MAX];
static struct spinlock lock;

uint8_t mmio_read8(const volatile void *reg)
{
    return *(const volatile uint8_t *)reg;
}

uint16_t mmio_read16(const volatile void *reg)
{
    return *(const volatile uint16_t *)reg;
}

uint32_t mmio_read32(const volatile void *reg)
{
    return *(const volatile uint32_t *)reg;
}

uint64_t mmio_read64(const volatile void *reg)
{
    return *(const volatile uint64_t *)reg;
}

void mmio_write8(volatile void *reg, uint8_t value)
{
    *(volatile uint8_t *)reg = value;
}

void mmio_write16(volatile void *reg, uint16_t value)
{
    *(volatile uint16_t *)reg = value;
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    *(volatile uint32_t *)reg = value;
}

void mmio_write64(volatile void *reg, uint64_t value)
{
    *(volatile uint64_t *)reg = value;
}

int wait_reg32(const volatile void *reg, uint32_t mask, uint32_t want, uint64_t deadline_ns)
{
    for (;;) {
        bool is_late =
            time_ns() >= deadline_ns; /* taken first: a slow yield must not cost the last look */
        uint32_t value = mmio_read32(reg);
        if ((value & mask) == want)
            return 0;
        if (value == UINT32_MAX)
            return -ENODEV;
        if (is_late)
            return -ETIMEDOUT;
        task_yield();
    }
}

/* The table entry for a new mapping, or NULL: no room, or the same page is mapped with another cache mode already. */
static struct mapping *mapping_add(uint64_t start, uint64_t size_bytes, unsigned flags)
{
    struct mapping *free_one = NULL;
    for (unsigned i = 0; i < MAPPINGS_MAX; i++) {
        struct mapping *m = &mappings[i];
        if (m->size_bytes == 0)
            free_one = free_one != NULL ? free_one : m;
        else if (m->pa < start + size_bytes && start < m->pa + m->size_bytes && m->flags != flags)
            return NULL;
    }
    if (free_one != NULL)
        *free_one = (struct mapping){start, size_bytes, flags};
    return free_one;
}

volatile void *mmio_map(uint64_t pa, uint64_t size_bytes, enum cache_mode mode)
{
    if (size_bytes == 0 || pa >= PA_LIMIT || size_bytes > PA_LIMIT - pa ||
        memory_map_is_ram(pa, size_bytes))
        return NULL;
    uint64_t start = align_down(pa, PAGE_SIZE),
             bytes = align_up(pa + size_bytes, PAGE_SIZE) - start;
    unsigned flags =
        PAGE_RIGHT_WRITE | (mode == CACHE_WRITE_COMBINING ? PAGE_WRITE_COMBINE : PAGE_UNCACHED);
    uint64_t saved = spin_lock(&lock);
    struct mapping *mapping = mapping_add(start, bytes, flags);
    spin_unlock(&lock, saved);
    if (mapping == NULL)
        return NULL;
    if (paging_map(start, start, bytes, flags) < 0) {
        mapping->size_bytes = 0;
        return NULL;
    }
    return (volatile void *)pa;
}

void mmio_unmap(volatile void *va, uint64_t size_bytes)
{
    uint64_t pa = (uint64_t)va;
    uint64_t start = align_down(pa, PAGE_SIZE), end = align_up(pa + size_bytes, PAGE_SIZE);
    uint64_t saved = spin_lock(&lock);
    bool was_found = false, is_shared = false;
    for (unsigned i = 0; i < MAPPINGS_MAX; i++) {
        struct mapping *m = &mappings[i];
        if (!was_found && m->size_bytes == end - start && m->pa == start) {
            m->size_bytes = 0;
            was_found = true;
        } else if (m->size_bytes != 0 && m->pa < end && start < m->pa + m->size_bytes) {
            is_shared = true; /* small BARs may share a page: it stays until the last one goes */
        }
    }
    spin_unlock(&lock, saved);
    assert(was_found);
    if (!is_shared)
        paging_unmap(start, end - start);
}

const void *firmware_map(uint64_t pa, uint64_t size_bytes)
{
    if (size_bytes == 0 || pa == 0 || pa >= PA_LIMIT || size_bytes > PA_LIMIT - pa)
        return NULL;
    if (paging_root() == 0) /* still on the firmware's page tables, which map all its tables */
        return (const void *)pa;
    for (uint64_t page = align_down(pa, PAGE_SIZE); page < pa + size_bytes; page += PAGE_SIZE) {
        if (paging_lookup(page, NULL) == UINT64_MAX && paging_map(page, page, PAGE_SIZE, 0) < 0)
            return NULL;
    }
    return (const void *)pa;
}

uint64_t dma_addr(const volatile void *va)
{
    /* Memory is mapped where it is, but for stacks, whose addresses mean nothing to a device. */
    assert(!stack_window_has((uint64_t)va) && va_to_pa(va) == (uint64_t)va);
    return (uint64_t)va;
}
