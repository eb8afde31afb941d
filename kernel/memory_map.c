/*
 * kernel/memory_map.c: which RAM is ours: the free ranges of boot_info without what is kept, and without the
 * first 64 KiB.
 *
 * Until the page allocator gets them, and as long as the firmware's stack and page tables are in use, early_alloc()
 * cuts pieces from the top of the largest one below 4 GiB, where processors that start in 32-bit mode can reach them.
 */
#include "boot/boot.h"
#include "kernel/paging.h"

#define LOWEST_PA   UINT64_C(0x10000)
#define EARLY_BELOW (UINT64_C(1) << 32)

static struct {
    uint64_t start, end;
} spans[BOOT_RANGES_MAX + BOOT_KEPT_MAX];
static unsigned span_count;
static bool is_handed_over;

/* Add [start, end) without the kept ranges from number `kept` on. */
static void span_add(uint64_t start, uint64_t end, uint32_t kept)
{
    for (; kept < boot_info->kept_count; kept++) {
        uint64_t kept_start = boot_info->kept[kept].pa,
                 kept_end = kept_start + boot_info->kept[kept].size_bytes;
        if (kept_start >= end || kept_end <= start)
            continue;
        if (kept_start > start)
            span_add(start, kept_start, kept + 1);
        if (kept_end >= end)
            return;
        start = kept_end;
    }
    if (start < end && span_count < ARRAY_COUNT(spans)) {
        spans[span_count].start = start;
        spans[span_count].end = end;
        span_count++;
    }
}

static void spans_collect(enum boot_range_kind kind)
{
    for (uint32_t i = 0; i < boot_info->range_count; i++) {
        const struct boot_range *range = &boot_info->ranges[i];
        uint64_t start = range->pa < LOWEST_PA ? LOWEST_PA : range->pa;
        if (range->kind == kind && start < range->pa + range->size_bytes)
            span_add(start, range->pa + range->size_bytes, 0);
    }
}

void *early_alloc(uint64_t size_bytes, uint64_t align)
{
    assert(!is_handed_over);
    if (span_count == 0)
        spans_collect(BOOT_RANGE_FREE);
    unsigned best = span_count;
    uint64_t best_bytes = 0;
    for (unsigned i = 0; i < span_count; i++) {
        uint64_t end = min_u64(spans[i].end, EARLY_BELOW);
        if (end > spans[i].start && end - spans[i].start > best_bytes &&
            spans[i].end <= EARLY_BELOW) {
            best = i;
            best_bytes = end - spans[i].start;
        }
    }
    size_bytes = align_up(size_bytes, PAGE_SIZE);
    uint64_t pa = best_bytes >= size_bytes ? align_down(spans[best].end - size_bytes, align) : 0;
    if (best_bytes < size_bytes || pa < spans[best].start)
        panic("no %llu free bytes of memory below 4 GiB to start with",
              (unsigned long long)size_bytes);
    /* What lies above an aligned piece is a span of its own. */
    if (pa + size_bytes < spans[best].end && span_count < ARRAY_COUNT(spans)) {
        spans[span_count].start = pa + size_bytes;
        spans[span_count].end = spans[best].end;
        span_count++;
    }
    spans[best].end = pa;
    return (void *)pa;
}

uint64_t memory_map_total(void)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < boot_info->range_count; i++) {
        enum boot_range_kind kind = boot_info->ranges[i].kind;
        if (kind != BOOT_RANGE_RESERVED && kind != BOOT_RANGE_RUNTIME_MMIO)
            total += boot_info->ranges[i].size_bytes;
    }
    return total;
}

void memory_map_hand_over(void)
{
    memory_set_totals(memory_map_total(), boot_info->image_bytes);
    is_handed_over = true;
    spans_collect(BOOT_RANGE_RECLAIM);
    for (unsigned i = 0; i < span_count; i++) {
        if (spans[i].end > spans[i].start)
            memory_add_range(spans[i].start, spans[i].end - spans[i].start);
    }
}

bool memory_map_is_ram(uint64_t pa, uint64_t size_bytes)
{
    for (uint32_t i = 0; i < boot_info->range_count; i++) {
        const struct boot_range *range = &boot_info->ranges[i];
        bool is_ram = range->kind != BOOT_RANGE_RESERVED && range->kind != BOOT_RANGE_RUNTIME_MMIO;
        if (is_ram && range->pa < pa + size_bytes && pa < range->pa + range->size_bytes)
            return true;
    }
    return false;
}
