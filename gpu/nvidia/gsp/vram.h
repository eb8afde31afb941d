/*
 * gpu/nvidia/gsp/vram.h: who owns which bytes of a GPU's memory: a first-fit allocator over physical offsets.
 *
 * The CPU (and NVMe drives) reach VRAM through BAR1 in physical mode: offset x is bus address BAR1 + x, as far as the BAR
 * goes. On cards or boards with a small BAR only the first 256 MiB are visible, so what needs no CPU access is taken from
 * the top, and what the CPU must reach from the bottom.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_VRAM_H
#define INGOT_GPU_NVIDIA_GSP_VRAM_H

#include <stdbool.h>
#include <stdint.h>

struct vram_extent {
    uint64_t offset, size_bytes;
};

struct vram {
    struct vram_extent *free; /* ascending, none touches the next */
    unsigned count, capacity;
    unsigned taken;           /* pieces given out */
    uint64_t visible_bytes; /* offsets below it are in BAR1 */
    uint64_t total_bytes, free_bytes;
};

enum vram_place {
    VRAM_VISIBLE,  /* within BAR1; -ENOMEM when that is full */
    VRAM_ANYWHERE, /* from the top, so that the visible part lasts */
};

/* An allocator that owns nothing yet; vram_add() gives it ranges that firmware does not use. 0 or -ENOMEM. */
int vram_init(struct vram *vram, uint64_t visible_bytes);
int vram_add(struct vram *vram, uint64_t offset, uint64_t size_bytes); /* -EINVAL when it overlaps or is not 4 KiB-aligned */
void vram_fini(struct vram *vram);

/* One piece; size and align are multiples of 4096, align a power of two. 0 or -ENOMEM. */
int vram_alloc(struct vram *vram, enum vram_place place, uint64_t size_bytes, uint64_t align, uint64_t *offset);
/*
 * Pieces that add up to size_bytes, each starting at and measuring a multiple of align; at most max of them. *count gets
 * how many. One piece where there is one. 0 or -ENOMEM, then nothing is taken.
 */
int vram_alloc_extents(struct vram *vram, enum vram_place place, uint64_t size_bytes, uint64_t align,
                       struct vram_extent *out, unsigned max, unsigned *count);
void vram_free(struct vram *vram, uint64_t offset, uint64_t size_bytes);

#endif
