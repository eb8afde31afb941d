/*
 * tests/host/memory.c: pages of the hosted twin. Small blocks come from the C library, so that AddressSanitizer sees
 * every byte past their end; large ones from mmap(), which zeroes them only when touched. Each block is remembered:
 * freeing one twice or with another size stops the program, and a test can ask what is still allocated.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "tests/host/host.h"

#define MMAP_MIN_BYTES (UINT64_C(16) << 20)

struct block {
    struct block *next;
    void *va;
    uint64_t size_bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks; /* live ones, newest first */
static uint64_t live_bytes;
static int allocations_left = -1; /* before page_alloc() fails; negative: no limit */

static void *large_alloc(uint64_t size_bytes, uint64_t align)
{
    uint8_t *base = mmap(NULL, size_bytes + align, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    uint8_t *va = (uint8_t *)align_up((uint64_t)base, align);
    if (va > base)
        munmap(base, (size_t)(va - base));
    munmap(va + size_bytes, align - (size_t)(va - base));
    return va;
}

void *page_alloc(uint64_t size_bytes, uint64_t align)
{
    void *va = page_alloc_dirty(size_bytes, align);
    if (va != NULL && align_up(size_bytes, PAGE_SIZE) < MMAP_MIN_BYTES)
        memset(va, 0, align_up(size_bytes, PAGE_SIZE));
    return va;
}

void *page_alloc_dirty(uint64_t size_bytes, uint64_t align)
{
    if (align < PAGE_SIZE)
        align = PAGE_SIZE;
    assert((align & (align - 1)) == 0);
    if (size_bytes == 0 || size_bytes > INT64_MAX - align)
        return NULL;
    size_bytes = align_up(size_bytes, PAGE_SIZE);

    pthread_mutex_lock(&lock);
    bool is_out = allocations_left == 0;
    if (allocations_left > 0)
        allocations_left--;
    pthread_mutex_unlock(&lock);
    if (is_out)
        return NULL;

    struct block *block = malloc(sizeof(*block));
    if (block == NULL)
        return NULL;
    void *va = size_bytes >= MMAP_MIN_BYTES ? large_alloc(size_bytes, align)
                                            : aligned_alloc(align, align_up(size_bytes, align));
    if (va == NULL) {
        free(block);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    *block = (struct block){.next = blocks, .va = va, .size_bytes = size_bytes};
    blocks = block;
    live_bytes += size_bytes;
    pthread_mutex_unlock(&lock);
    return va;
}

void page_free(void *va, uint64_t size_bytes)
{
    if (va == NULL)
        return;
    size_bytes = align_up(size_bytes, PAGE_SIZE);

    pthread_mutex_lock(&lock);
    struct block **link = &blocks;
    while (*link != NULL && (*link)->va != va)
        link = &(*link)->next;
    struct block *block = *link;
    if (block == NULL)
        panic("page_free(%p): not allocated", va);
    if (block->size_bytes != size_bytes)
        panic("page_free(%p): %#llx bytes, allocated with %#llx", va,
              (unsigned long long)size_bytes, (unsigned long long)block->size_bytes);
    *link = block->next;
    live_bytes -= size_bytes;
    pthread_mutex_unlock(&lock);

    free(block);
    if (size_bytes >= MMAP_MIN_BYTES)
        munmap(va, size_bytes);
    else
        free(va);
}

void memory_stats(struct memory_stats *out)
{
    struct sysinfo info = {0};
    if (sysinfo(&info) != 0)
        panic("sysinfo: errno %d", errno);
    uint64_t free_bytes = (uint64_t)info.freeram * info.mem_unit;
    *out = (struct memory_stats){
        .total_bytes = (uint64_t)info.totalram * info.mem_unit,
        .free_bytes = free_bytes,
        .largest_bytes = free_bytes,
        .heap_bytes = host_page_live_bytes(),
    };
}

uint64_t dma_addr(const volatile void *va)
{
    return (uint64_t)(uintptr_t)va;
}

void host_page_alloc_fail_after(int count)
{
    pthread_mutex_lock(&lock);
    allocations_left = count;
    pthread_mutex_unlock(&lock);
}

uint64_t host_page_live_bytes(void)
{
    pthread_mutex_lock(&lock);
    uint64_t bytes = live_bytes;
    pthread_mutex_unlock(&lock);
    return bytes;
}
