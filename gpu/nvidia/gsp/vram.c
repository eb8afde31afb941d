/*
 * gpu/nvidia/gsp/vram.c: an allocator over physical offsets of VRAM. See vram.h.
 *
 * Free ranges are kept in an array, ascending and merged. Each allocation can split one range in two, each free can undo
 * that; the array therefore grows when something is taken, so that giving back never needs memory.
 */
#include "gpu/nvidia/gsp/vram.h"

#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"

/* Room for two more ranges than there are. */
static int reserve(struct vram *vram)
{
    unsigned wanted = vram->count + vram->taken + 3;
    if (wanted <= vram->capacity)
        return 0;
    unsigned capacity = wanted * 2;
    struct vram_extent *grown = realloc(vram->free, capacity * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    vram->free = grown;
    vram->capacity = capacity;
    return 0;
}

static void insert_at(struct vram *vram, unsigned at, struct vram_extent range)
{
    assert(vram->count < vram->capacity);
    memmove(&vram->free[at + 1], &vram->free[at], (vram->count - at) * sizeof(*vram->free));
    vram->free[at] = range;
    vram->count++;
}

static void remove_at(struct vram *vram, unsigned at)
{
    vram->count--;
    memmove(&vram->free[at], &vram->free[at + 1], (vram->count - at) * sizeof(*vram->free));
}

int vram_init(struct vram *vram, uint64_t visible_bytes)
{
    *vram = (struct vram){.visible_bytes = visible_bytes};
    return reserve(vram);
}

void vram_fini(struct vram *vram)
{
    free(vram->free);
    *vram = (struct vram){0};
}

/* Put a range back; it must not overlap a free one: false. */
static bool give(struct vram *vram, uint64_t offset, uint64_t size_bytes)
{
    unsigned at = 0;
    while (at < vram->count && vram->free[at].offset < offset)
        at++;
    struct vram_extent *before = at > 0 ? &vram->free[at - 1] : NULL;
    struct vram_extent *after = at < vram->count ? &vram->free[at] : NULL;
    if ((before && before->offset + before->size_bytes > offset) ||
        (after && offset + size_bytes > after->offset))
        return false;
    bool joins_before = before && before->offset + before->size_bytes == offset;
    bool joins_after = after && offset + size_bytes == after->offset;
    if (joins_before && joins_after) {
        before->size_bytes += size_bytes + after->size_bytes;
        remove_at(vram, at);
    } else if (joins_before) {
        before->size_bytes += size_bytes;
    } else if (joins_after) {
        after->offset = offset;
        after->size_bytes += size_bytes;
    } else {
        insert_at(vram, at, (struct vram_extent){offset, size_bytes});
    }
    vram->free_bytes += size_bytes;
    return true;
}

int vram_add(struct vram *vram, uint64_t offset, uint64_t size_bytes)
{
    if ((offset | size_bytes) % PAGE_SIZE != 0 || size_bytes == 0 ||
        offset > UINT64_MAX - size_bytes)
        return -EINVAL;
    int error = reserve(vram);
    if (error)
        return error;
    if (!give(vram, offset, size_bytes))
        return -EINVAL;
    vram->total_bytes += size_bytes;
    return 0;
}

/* Take [offset, offset + size_bytes) out of range `at`, which holds it. reserve() has been called. */
static void take(struct vram *vram, unsigned at, uint64_t offset, uint64_t size_bytes)
{
    struct vram_extent range = vram->free[at];
    uint64_t head = offset - range.offset,
             tail = range.offset + range.size_bytes - offset - size_bytes;
    remove_at(vram, at);
    if (tail > 0)
        insert_at(vram, at, (struct vram_extent){offset + size_bytes, tail});
    if (head > 0)
        insert_at(vram, at, (struct vram_extent){range.offset, head});
    vram->taken++;
    vram->free_bytes -= size_bytes;
}

/* The first place from the bottom that ends at or below limit. */
static bool find_low(const struct vram *vram, uint64_t size_bytes, uint64_t align, uint64_t limit,
                     unsigned *at, uint64_t *offset)
{
    for (unsigned i = 0; i < vram->count; i++) {
        const struct vram_extent *range = &vram->free[i];
        uint64_t start = align_up(range->offset, align),
                 end = min_u64(range->offset + range->size_bytes, limit);
        if (start >= range->offset && start < end && end - start >= size_bytes) {
            *at = i;
            *offset = start;
            return true;
        }
    }
    return false;
}

/* The first place from the top. */
static bool find_high(const struct vram *vram, uint64_t size_bytes, uint64_t align, unsigned *at,
                      uint64_t *offset)
{
    for (unsigned i = vram->count; i-- > 0;) {
        const struct vram_extent *range = &vram->free[i];
        if (range->size_bytes < size_bytes)
            continue;
        uint64_t start = align_down(range->offset + range->size_bytes - size_bytes, align);
        if (start >= range->offset) {
            *at = i;
            *offset = start;
            return true;
        }
    }
    return false;
}

int vram_alloc(struct vram *vram, enum vram_place place, uint64_t size_bytes, uint64_t align,
               uint64_t *offset)
{
    assert(align >= PAGE_SIZE && (align & (align - 1)) == 0 && size_bytes % PAGE_SIZE == 0);
    unsigned at = 0;
    if (size_bytes == 0 || reserve(vram) != 0)
        return -ENOMEM;
    if (place == VRAM_VISIBLE ? !find_low(vram, size_bytes, align, vram->visible_bytes, &at, offset)
                              : !find_high(vram, size_bytes, align, &at, offset))
        return -ENOMEM;
    take(vram, at, *offset, size_bytes);
    return 0;
}

/* The longest aligned piece, of at most wanted bytes, that the place allows; 0 when there is none. */
static uint64_t longest_piece(const struct vram *vram, enum vram_place place, uint64_t wanted,
                              uint64_t align, unsigned *at, uint64_t *offset)
{
    uint64_t limit = place == VRAM_VISIBLE ? vram->visible_bytes : UINT64_MAX, best = 0;
    for (unsigned i = 0; i < vram->count; i++) {
        const struct vram_extent *range = &vram->free[i];
        uint64_t start = align_up(range->offset, align);
        uint64_t end = align_down(min_u64(range->offset + range->size_bytes, limit), align);
        if (start < range->offset || start >= end || end - start <= best)
            continue;
        best = end - start;
        *at = i;
        *offset = start;
    }
    return min_u64(best, wanted);
}

int vram_alloc_extents(struct vram *vram, enum vram_place place, uint64_t size_bytes,
                       uint64_t align, struct vram_extent *out, unsigned max, unsigned *count)
{
    assert(size_bytes % align == 0);
    *count = 0;
    if (max == 0)
        return -ENOMEM;
    if (vram_alloc(vram, place, size_bytes, align, &out[0].offset) == 0) {
        out[0].size_bytes = size_bytes;
        *count = 1;
        return 0;
    }
    for (uint64_t done = 0; done < size_bytes;) {
        unsigned at = 0;
        uint64_t offset = 0, piece = 0;
        if (*count < max && reserve(vram) == 0)
            piece = longest_piece(vram, place, size_bytes - done, align, &at, &offset);
        if (piece == 0) {
            while (*count > 0) {
                --*count;
                vram_free(vram, out[*count].offset, out[*count].size_bytes);
            }
            return -ENOMEM;
        }
        take(vram, at, offset, piece);
        out[(*count)++] = (struct vram_extent){offset, piece};
        done += piece;
    }
    return 0;
}

void vram_free(struct vram *vram, uint64_t offset, uint64_t size_bytes)
{
    bool was_taken = give(vram, offset, size_bytes);
    assert(was_taken);
    vram->taken--;
}
