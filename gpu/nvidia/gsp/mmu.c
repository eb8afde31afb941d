/*
 * gpu/nvidia/gsp/mmu.c: page tables of version 2 (Turing to Ada) and 3 (Hopper on). See mmu.h.
 *
 * A tree of struct mmu_table mirrors the tables in VRAM: which entries are pages, which are tables. Steps of an unmapping:
 * clear entries, then the entries of tables that are empty now, invalidate, and only then give the tables' memory back.
 *
 * Where a PD0 entry has both tables, the hardware looks into the one of 64 KiB pages first and, where that has no valid
 * entry, into the one of 4 KiB pages (open-gpu-kernel-modules 570.144, kernel-open/nvidia-uvm/uvm_pascal_mmu.c, where a big
 * entry must be marked to prevent that). So pages of both sizes can share 2 MiB.
 *
 * Sources: regs/mmu.h; levels: kern_gmmu_fmt_gp10x.c and kern_gmmu_fmt_gh10x.c; which bits a plain mapping has: tinygrad
 * runtime/support/nv/nvdev.py, run on GA10x, AD10x and GB20x.
 */
#include "gpu/nvidia/gsp/mmu.h"

#include <stdlib.h>

#include "gpu/nvidia/gsp/regs/mmu.h"
#include "kernel/kernel.h"

#define TABLE_BYTES   UINT64_C(4096) /* what the biggest table takes; the others get a page as well */
#define ENTRIES_MAX   512
#define PD0_ENTRIES   256
#define BIG_ENTRIES   32
#define PD0_SHIFT     21
#define PD1_SHIFT     29
#define LEAF_OF_SMALL 0 /* which child of a PD0 entry is which */
#define LEAF_OF_BIG   1

enum table_kind { DIRECTORY, PD0, BIG_PAGES, SMALL_PAGES };

struct mmu_table {
    enum table_kind kind;
    unsigned shift, entries; /* VA bits below the index, and how many entries there are */
    uint64_t pa;
    unsigned used; /* children and pages, and 1 when pinned */
    bool is_pinned;
    uint64_t pages[ENTRIES_MAX / 64]; /* one bit each: the entry is a page */
    struct mmu_table *parent, *next;  /* next: on the list of tables to free */
    unsigned parent_index, parent_leaf;
    struct mmu_table *child[]; /* one for each entry, two in PD0, none in tables of pages */
};

/* ---- entries --------------------------------------------------------------------------------------------------- */

static uint64_t page_entry(const struct mmu *mmu, uint64_t pa, unsigned flags)
{
    uint64_t aperture = flags & MMU_SYSTEM ? NV_MMU_PTE_APERTURE_SYSTEM_COHERENT_MEMORY
                                           : NV_MMU_PTE_APERTURE_VIDEO_MEMORY;
    if (mmu->version == 2)
        return NV_MMU_VER2_PTE_VALID | field_put(NV_MMU_VER2_PTE_APERTURE, aperture) |
               (flags & MMU_SYSTEM ? NV_MMU_VER2_PTE_VOL : 0) |
               (flags & MMU_PRIVILEGED ? NV_MMU_VER2_PTE_PRIVILEGE : 0) |
               field_put(NV_MMU_VER2_PTE_ADDRESS_SYS, pa >> 12) |
               field_put(NV_MMU_VER2_PTE_KIND, NV_MMU_PTE_KIND_GENERIC_MEMORY);
    static const uint8_t pcf[] = {
        [MMU_VRAM] = NV_MMU_VER3_PTE_PCF_REGULAR_RW_ATOMIC_CACHED_ACE,
        [MMU_SYSTEM] = NV_MMU_VER3_PTE_PCF_REGULAR_RW_ATOMIC_UNCACHED_ACE,
        [MMU_PRIVILEGED] = NV_MMU_VER3_PTE_PCF_PRIVILEGE_RW_ATOMIC_CACHED_ACE,
        [MMU_SYSTEM | MMU_PRIVILEGED] = NV_MMU_VER3_PTE_PCF_PRIVILEGE_RW_ATOMIC_UNCACHED_ACE,
    };
    return NV_MMU_VER3_PTE_VALID | field_put(NV_MMU_VER3_PTE_APERTURE, aperture) |
           field_put(NV_MMU_VER3_PTE_PCF, pcf[flags]) |
           field_put(NV_MMU_VER3_PTE_ADDRESS, pa >> 12) |
           field_put(NV_MMU_VER3_PTE_KIND, NV_MMU_PTE_KIND_GENERIC_MEMORY);
}

/* An entry that points at a table of 4 KiB pages or at a directory: the same form. */
static uint64_t table_entry(const struct mmu *mmu, uint64_t pa)
{
    if (mmu->version == 2)
        return field_put(NV_MMU_VER2_PDE_APERTURE, NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY) |
               field_put(NV_MMU_VER2_PDE_ADDRESS_SYS, pa >> 12);
    return field_put(NV_MMU_VER3_PDE_APERTURE, NV_MMU_VER3_PDE_APERTURE_VIDEO_MEMORY) |
           field_put(NV_MMU_VER3_PDE_PCF, NV_MMU_VER3_PDE_PCF_VALID_CACHED_ATS_NOT_ALLOWED) |
           field_put(NV_MMU_VER3_PDE_ADDRESS, pa >> 12);
}

static uint64_t big_table_entry(const struct mmu *mmu, uint64_t pa)
{
    if (mmu->version == 2)
        return field_put(NV_MMU_VER2_DUAL_PDE_APERTURE_BIG, NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY) |
               field_put(NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG_SYS, pa >> 8);
    return field_put(NV_MMU_VER3_DUAL_PDE_APERTURE_BIG, NV_MMU_VER3_PDE_APERTURE_VIDEO_MEMORY) |
           field_put(NV_MMU_VER3_DUAL_PDE_PCF_BIG,
                     NV_MMU_VER3_PDE_PCF_VALID_CACHED_ATS_NOT_ALLOWED) |
           field_put(NV_MMU_VER3_DUAL_PDE_ADDRESS_BIG, pa >> 8);
}

/* ---- tables ---------------------------------------------------------------------------------------------------- */

static unsigned index_of(const struct mmu_table *table, uint64_t gva)
{
    return (unsigned)(gva >> table->shift) & (table->entries - 1);
}

static bool is_page(const struct mmu_table *table, unsigned index)
{
    return table->pages[index / 64] >> index % 64 & 1;
}

static struct mmu_table **child_of(struct mmu_table *table, unsigned index, unsigned leaf)
{
    return &table->child[table->kind == PD0 ? 2 * index + leaf : index];
}

static int table_new(struct mmu *mmu, enum table_kind kind, unsigned shift, unsigned entries,
                     struct mmu_table **out)
{
    unsigned children = kind == DIRECTORY ? entries : kind == PD0 ? 2 * entries : 0;
    struct mmu_table *table = calloc(1, sizeof(*table) + children * sizeof(table->child[0]));
    if (!table)
        return -ENOMEM;
    int error = mmu->ops->table_alloc(mmu->arg, TABLE_BYTES, &table->pa);
    if (error) {
        free(table);
        return error;
    }
    table->kind = kind;
    table->shift = shift;
    table->entries = entries;
    *out = table;
    return 0;
}

static void table_delete(struct mmu *mmu, struct mmu_table *table)
{
    mmu->ops->table_free(mmu->arg, table->pa, TABLE_BYTES);
    free(table);
}

/* Write what the parent says about its entry `index`; in PD0 about one of the two tables. */
static void write_link(struct mmu *mmu, struct mmu_table *parent, unsigned index, unsigned leaf,
                       uint64_t value)
{
    uint64_t pa = parent->pa + index * UINT64_C(8);
    if (parent->kind == PD0)
        pa = parent->pa + index * UINT64_C(16) + (leaf == LEAF_OF_SMALL ? 8 : 0);
    mmu->ops->write64(mmu->arg, pa, value);
}

static int child_make(struct mmu *mmu, struct mmu_table *parent, unsigned index, unsigned leaf,
                      struct mmu_table **out)
{
    struct mmu_table **slot = child_of(parent, index, leaf);
    if (*slot) {
        *out = *slot;
        return 0;
    }
    int error;
    if (parent->kind == PD0)
        error = leaf == LEAF_OF_BIG ? table_new(mmu, BIG_PAGES, 16, BIG_ENTRIES, slot)
                                    : table_new(mmu, SMALL_PAGES, 12, ENTRIES_MAX, slot);
    else if (parent->shift == PD1_SHIFT)
        error = table_new(mmu, PD0, PD0_SHIFT, PD0_ENTRIES, slot);
    else
        error = table_new(mmu, DIRECTORY, parent->shift - 9, ENTRIES_MAX, slot);
    if (error)
        return error;
    struct mmu_table *child = *slot;
    child->parent = parent;
    child->parent_index = index;
    child->parent_leaf = leaf;
    parent->used++;
    write_link(mmu, parent, index, leaf,
               child->kind == BIG_PAGES ? big_table_entry(mmu, child->pa)
                                        : table_entry(mmu, child->pa));
    *out = child;
    return 0;
}

/* Unlink tables that have become empty, upwards; their memory is given back after the next invalidation. */
static void prune(struct mmu *mmu, struct mmu_table *table)
{
    while (table->used == 0 && table->parent) {
        struct mmu_table *parent = table->parent;
        write_link(mmu, parent, table->parent_index, table->parent_leaf, 0);
        *child_of(parent, table->parent_index, table->parent_leaf) = NULL;
        parent->used--;
        table->next = mmu->dead;
        mmu->dead = table;
        table = parent;
    }
}

static void bury(struct mmu *mmu)
{
    while (mmu->dead) {
        struct mmu_table *table = mmu->dead;
        mmu->dead = table->next;
        table_delete(mmu, table);
    }
}

static int flush(struct mmu *mmu)
{
    int error = mmu->ops->invalidate(mmu->arg, mmu->root->pa);
    if (!error)
        bury(mmu); /* otherwise the hardware may still walk them */
    return error;
}

/* The table above gva with this shift. create: make what is missing, else NULL in *out where there is none. */
static int table_find(struct mmu *mmu, uint64_t gva, unsigned shift, bool create,
                      struct mmu_table **out)
{
    struct mmu_table *table = mmu->root;
    while (table->shift != shift) {
        struct mmu_table *next = *child_of(table, index_of(table, gva), 0);
        if (!next) {
            if (!create) {
                *out = NULL;
                return 0;
            }
            int error = child_make(mmu, table, index_of(table, gva), 0, &next);
            if (error) {
                prune(mmu, table);
                return error;
            }
        }
        table = next;
    }
    *out = table;
    return 0;
}

/* ---- pages ----------------------------------------------------------------------------------------------------- */

static bool leaf_has_page(const struct mmu_table *leaf, uint64_t gva, uint64_t size_bytes)
{
    if (!leaf)
        return false;
    unsigned last = index_of(leaf, gva + size_bytes - 1);
    for (unsigned i = index_of(leaf, gva); i <= last; i++)
        if (is_page(leaf, i))
            return true;
    return false;
}

/* Whether any byte of the range, which lies in one PD0 entry, is mapped. */
static bool entry_has_page(struct mmu_table *pd0, uint64_t gva, uint64_t size_bytes)
{
    unsigned index = index_of(pd0, gva);
    return is_page(pd0, index) ||
           leaf_has_page(*child_of(pd0, index, LEAF_OF_BIG), gva, size_bytes) ||
           leaf_has_page(*child_of(pd0, index, LEAF_OF_SMALL), gva, size_bytes);
}

static bool range_has_page(struct mmu *mmu, uint64_t gva, uint64_t size_bytes)
{
    for (uint64_t part; size_bytes > 0; gva += part, size_bytes -= part) {
        part = min_u64(size_bytes, MMU_PAGE_2M - gva % MMU_PAGE_2M);
        struct mmu_table *pd0;
        table_find(mmu, gva, PD0_SHIFT, false, &pd0);
        if (pd0 && entry_has_page(pd0, gva, part))
            return true;
    }
    return false;
}

static uint64_t largest_page(uint64_t gva, uint64_t pa, uint64_t size_bytes)
{
    uint64_t both = gva | pa;
    if (both % MMU_PAGE_2M == 0 && size_bytes >= MMU_PAGE_2M)
        return MMU_PAGE_2M;
    return both % MMU_PAGE_64K == 0 && size_bytes >= MMU_PAGE_64K ? MMU_PAGE_64K : MMU_PAGE_4K;
}

static void page_set(struct mmu *mmu, struct mmu_table *table, unsigned index, uint64_t value)
{
    uint64_t pa = table->pa + index * (table->kind == PD0 ? UINT64_C(16) : UINT64_C(8));
    mmu->ops->write64(mmu->arg, pa, value);
    table->pages[index / 64] |= BIT(index % 64);
    table->used++;
}

static void page_clear(struct mmu *mmu, struct mmu_table *table, unsigned index)
{
    if (!is_page(table, index))
        return;
    uint64_t pa = table->pa + index * (table->kind == PD0 ? UINT64_C(16) : UINT64_C(8));
    mmu->ops->write64(mmu->arg, pa, 0);
    table->pages[index / 64] &= ~BIT(index % 64);
    table->used--;
}

static int page_map(struct mmu *mmu, uint64_t gva, uint64_t pa, uint64_t page_bytes, unsigned flags)
{
    struct mmu_table *pd0, *leaf;
    int error = table_find(mmu, gva, PD0_SHIFT, true, &pd0);
    if (error)
        return error;
    unsigned index = index_of(pd0, gva);
    if (page_bytes == MMU_PAGE_2M) {
        page_set(mmu, pd0, index, page_entry(mmu, pa, flags));
        return 0;
    }
    error = child_make(mmu, pd0, index, page_bytes == MMU_PAGE_64K ? LEAF_OF_BIG : LEAF_OF_SMALL,
                       &leaf);
    if (error) {
        prune(mmu, pd0);
        return error;
    }
    page_set(mmu, leaf, index_of(leaf, gva), page_entry(mmu, pa, flags));
    return 0;
}

static void leaf_unmap(struct mmu *mmu, struct mmu_table *leaf, uint64_t gva, uint64_t size_bytes)
{
    if (!leaf)
        return;
    unsigned last = index_of(leaf, gva + size_bytes - 1);
    for (unsigned i = index_of(leaf, gva); i <= last; i++)
        page_clear(mmu, leaf, i);
    prune(mmu, leaf);
}

static void range_unmap(struct mmu *mmu, uint64_t gva, uint64_t size_bytes)
{
    for (uint64_t part; size_bytes > 0; gva += part, size_bytes -= part) {
        part = min_u64(size_bytes, MMU_PAGE_2M - gva % MMU_PAGE_2M);
        struct mmu_table *pd0;
        table_find(mmu, gva, PD0_SHIFT, false, &pd0);
        if (!pd0)
            continue;
        unsigned index = index_of(pd0, gva);
        struct mmu_table *big = *child_of(pd0, index, LEAF_OF_BIG);
        struct mmu_table *small = *child_of(pd0, index, LEAF_OF_SMALL);
        page_clear(mmu, pd0, index);
        pd0->used++; /* both leaves are looked at before it may go */
        leaf_unmap(mmu, big, gva, part);
        leaf_unmap(mmu, small, gva, part);
        pd0->used--;
        prune(mmu, pd0);
    }
}

/* A range must not end inside a bigger page. */
static bool splits_page(struct mmu *mmu, uint64_t gva)
{
    struct mmu_table *pd0;
    table_find(mmu, gva, PD0_SHIFT, false, &pd0);
    if (!pd0)
        return false;
    unsigned index = index_of(pd0, gva);
    const struct mmu_table *big = *child_of(pd0, index, LEAF_OF_BIG);
    return (gva % MMU_PAGE_2M != 0 && is_page(pd0, index)) ||
           (gva % MMU_PAGE_64K != 0 && big && is_page(big, index_of(big, gva)));
}

/* ---- the door -------------------------------------------------------------------------------------------------- */

static bool range_is_valid(const struct mmu *mmu, uint64_t gva, uint64_t size_bytes)
{
    uint64_t end = BIT(mmu->version == 2 ? MMU_V2_ADDRESS_BITS : MMU_V3_ADDRESS_BITS);
    return size_bytes > 0 && (gva | size_bytes) % MMU_PAGE_4K == 0 && gva < end &&
           size_bytes <= end - gva;
}

int mmu_map(struct mmu *mmu, uint64_t gva, const struct mmu_extent *extents, unsigned count,
            unsigned flags)
{
    /* What the address fields hold: in version 2 the upper bits of VRAM's are the peer's number and compression. */
    const uint64_t pa_end = BIT(mmu->version == 3 ? 52 : flags & MMU_SYSTEM ? 58 : 37);
    uint64_t size_bytes = 0;
    if (flags & ~(MMU_SYSTEM | MMU_PRIVILEGED))
        return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        const struct mmu_extent *e = &extents[i];
        if ((e->pa | e->size_bytes) % MMU_PAGE_4K != 0 || e->size_bytes == 0 || e->pa >= pa_end ||
            e->size_bytes > pa_end - e->pa || size_bytes + e->size_bytes < size_bytes)
            return -EINVAL;
        size_bytes += e->size_bytes;
    }
    if (!range_is_valid(mmu, gva, size_bytes))
        return -EINVAL;
    if (range_has_page(mmu, gva, size_bytes))
        return -EEXIST;

    int error = 0;
    uint64_t mapped = 0;
    for (unsigned i = 0; i < count && !error; i++)
        for (uint64_t done = 0, page; done < extents[i].size_bytes; done += page, mapped += page) {
            page = largest_page(gva + mapped, extents[i].pa + done, extents[i].size_bytes - done);
            error = page_map(mmu, gva + mapped, extents[i].pa + done, page, flags);
            if (error)
                break;
        }
    if (!error)
        error = flush(mmu);
    if (error) {
        range_unmap(mmu, gva, mapped);
        flush(
            mmu); /* what was never handed out is not reached; the first error is the one to tell */
    }
    return error;
}

int mmu_unmap(struct mmu *mmu, uint64_t gva, uint64_t size_bytes)
{
    if (!range_is_valid(mmu, gva, size_bytes) || splits_page(mmu, gva) ||
        splits_page(mmu, gva + size_bytes))
        return -EINVAL;
    range_unmap(mmu, gva, size_bytes);
    return flush(mmu);
}

int mmu_levels(struct mmu *mmu, uint64_t gva, struct mmu_level out[MMU_LEVELS_MAX])
{
    struct mmu_table *table;
    if (!range_is_valid(mmu, align_down(gva, MMU_PAGE_4K), MMU_PAGE_4K))
        return -EINVAL;
    int error = table_find(mmu, gva, PD1_SHIFT, true, &table);
    if (error)
        return error;
    if (!table->is_pinned)
        table->used++;
    table->is_pinned = true;
    unsigned count = 0;
    for (struct mmu_table *t = table; t; t = t->parent)
        count++;
    unsigned at = count;
    for (struct mmu_table *t = table; t; t = t->parent)
        out[--at] = (struct mmu_level){
            .pa = t->pa, .size_bytes = t->entries * UINT64_C(8), .page_shift = t->shift};
    return (int)count;
}

int mmu_init(struct mmu *mmu, unsigned version, const struct mmu_ops *ops, void *arg)
{
    assert(version == 2 || version == 3);
    *mmu = (struct mmu){.ops = ops, .arg = arg, .version = version};
    return version == 2 ? table_new(mmu, DIRECTORY, 47, 4, &mmu->root)
                        : table_new(mmu, DIRECTORY, 56, 2, &mmu->root);
}

static void subtree_free(struct mmu *mmu, struct mmu_table *table)
{
    unsigned children = table->kind == DIRECTORY ? table->entries
                        : table->kind == PD0     ? 2 * table->entries
                                                 : 0;
    for (unsigned i = 0; i < children; i++)
        if (table->child[i])
            subtree_free(mmu, table->child[i]); /* at most six levels deep */
    table_delete(mmu, table);
}

void mmu_fini(struct mmu *mmu)
{
    if (!mmu->root)
        return;
    bury(mmu);
    subtree_free(mmu, mmu->root);
    *mmu = (struct mmu){0};
}

uint64_t mmu_root(const struct mmu *mmu)
{
    return mmu->root->pa;
}

unsigned mmu_root_entries(const struct mmu *mmu)
{
    return mmu->root->entries;
}
