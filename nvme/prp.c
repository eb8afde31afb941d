/*
 * nvme/prp.c: data pointers. A command names its memory by Physical Region Pages (Base 1.4, section 4.3): PRP1 is any
 * dword-aligned address, everything after the end of its page is whole pages; PRP2 is the second page where there are
 * two, else the address of a list of pages.
 *
 * Pure functions, no state. Lists are never chained: a slot's list holds all that a command may move, and its last
 * place stays free (see NVME_LIST_ENTRIES).
 */
#include "nvme/nvme_internal.h"

#define PAGE_MASK (PAGE_SIZE - 1)

bool nvme_segments_valid(const struct dma_segment *segments, unsigned count, uint64_t size_bytes)
{
    uint64_t left = size_bytes;
    for (unsigned i = 0; i < count; i++) {
        uint64_t first = segments[i].dma, size = segments[i].size_bytes;
        if (size == 0 || size > left || first + size - 1 < first)
            return false;
        /* Only the very first byte and the very last may lie inside a page. */
        if (i == 0 ? first & 3 : first & PAGE_MASK)
            return false;
        if (i + 1 < count && (first + size) & PAGE_MASK)
            return false;
        left -= size;
    }
    return left == 0;
}

static void cursor_advance(const struct dma_segment *segments, struct dma_cursor *cursor,
                           uint64_t bytes)
{
    cursor->offset += bytes;
    if (cursor->offset == segments[cursor->index].size_bytes)
        *cursor = (struct dma_cursor){.index = cursor->index + 1};
}

unsigned nvme_prp_encode(const struct dma_segment *segments, struct dma_cursor *cursor,
                         uint64_t size_bytes, uint64_t *list, uint64_t list_dma, uint64_t prp[2])
{
    uint64_t dma = segments[cursor->index].dma + cursor->offset;
    uint64_t in_first_page = min_u64(size_bytes, PAGE_SIZE - (dma & PAGE_MASK));
    prp[0] = dma;
    prp[1] = 0;
    cursor_advance(segments, cursor, in_first_page);
    uint64_t left = size_bytes - in_first_page;
    if (left == 0)
        return 0;

    if (left <= PAGE_SIZE) {
        prp[1] = segments[cursor->index].dma + cursor->offset;
        cursor_advance(segments, cursor, left);
        return 0;
    }

    unsigned count = 0;
    while (left > 0) {
        uint64_t page = segments[cursor->index].dma + cursor->offset;
        uint64_t run = min_u64(left, segments[cursor->index].size_bytes - cursor->offset);
        for (uint64_t done = 0; done < run; done += PAGE_SIZE)
            list[count++] = page + done;
        cursor_advance(segments, cursor, run);
        left -= run;
    }
    assert(count <= NVME_LIST_ENTRIES);
    prp[1] = list_dma;
    return count;
}
