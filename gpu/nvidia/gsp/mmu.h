/*
 * gpu/nvidia/gsp/mmu.h: the GPU's page tables (version 2: Turing to Ada, version 3: Hopper on), kept by us.
 *
 * Levels from the root, as the firmware counts them: version 3 begins with PD4 (VA bit 56); both go on with PD3 (bits 55..47,
 * only 48..47 in version 2), PD2 (46..38), PD1 (37..29) and PD0 (28..21). An entry of PD0 has 16 bytes: a 2 MiB page, or the
 * addresses of a table of 64 KiB pages and of a table of 4 KiB pages side by side.
 *
 * Tables lie in VRAM inside BAR1. They are written only, never read back: what is where is kept in host memory.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_MMU_H
#define INGOT_GPU_NVIDIA_GSP_MMU_H

#include <stdbool.h>
#include <stdint.h>

struct mmu_table;

/* Where tables live and how the hardware hears of changes: the driver's is BAR1 and BAR0, a unit test's an array. */
struct mmu_ops {
    int (*table_alloc)(void *arg, uint64_t size_bytes, uint64_t *pa); /* zeroed, aligned to its size; 0 or -ENOMEM */
    void (*table_free)(void *arg, uint64_t pa, uint64_t size_bytes);
    void (*write64)(void *arg, uint64_t pa, uint64_t value);
    /* Everything written is visible and cached translations of the tree at root_pa are gone. 0, -ETIMEDOUT, -ENODEV. */
    int (*invalidate)(void *arg, uint64_t root_pa);
};

struct mmu {
    const struct mmu_ops *ops;
    void *arg;
    unsigned version; /* 2 or 3 */
    struct mmu_table *root;
    struct mmu_table *dead; /* unlinked, to be freed once no walk can reach them */
};

/* What mmu_map() takes, together: */
#define MMU_VRAM       0u
#define MMU_SYSTEM     1u /* memory of the host, coherent: the GPU snoops the CPU's caches */
#define MMU_PRIVILEGED 2u /* for the engines' own use; kernels and pushed methods fault on it */

struct mmu_extent {
    uint64_t pa, size_bytes; /* VRAM offset, or the address as a PCI device sees it */
};

#define MMU_PAGE_4K  UINT64_C(0x1000)
#define MMU_PAGE_64K UINT64_C(0x10000)
#define MMU_PAGE_2M  UINT64_C(0x200000)

/* Address bits that the tables translate. */
#define MMU_V2_ADDRESS_BITS 49
#define MMU_V3_ADDRESS_BITS 57

int mmu_init(struct mmu *mmu, unsigned version, const struct mmu_ops *ops, void *arg); /* 0, -ENOMEM */
void mmu_fini(struct mmu *mmu);                                                        /* frees every table */
uint64_t mmu_root(const struct mmu *mmu);
unsigned mmu_root_entries(const struct mmu *mmu); /* 4 in version 2, 2 in version 3 */

/*
 * Map the extents one behind the other from gva on, with the largest pages that addresses and sizes allow; everything a
 * multiple of 4 KiB. On failure nothing is mapped: -EINVAL, -EEXIST (some page is mapped already), -ENOMEM, or what
 * invalidate() said.
 */
int mmu_map(struct mmu *mmu, uint64_t gva, const struct mmu_extent *extents, unsigned count, unsigned flags);
/* Unmap whole mappings. Pages that are not mapped are ignored; a 2 MiB or 64 KiB page is never split: -EINVAL. */
int mmu_unmap(struct mmu *mmu, uint64_t gva, uint64_t size_bytes);

/*
 * Make the tables above gva, down to PD1, and tell their addresses from the root on; they stay until mmu_fini(). The GSP
 * puts an entry of its own into that PD1 (SERVER_RESERVED in transport.c), so nothing may be mapped in those 512 MiB.
 * Returns their number (3 in version 2, 4 in version 3), -EINVAL or -ENOMEM.
 */
struct mmu_level {
    uint64_t pa, size_bytes;
    unsigned page_shift; /* VA bits below this level's index */
};
#define MMU_LEVELS_MAX 4
int mmu_levels(struct mmu *mmu, uint64_t gva, struct mmu_level out[MMU_LEVELS_MAX]);

#endif
