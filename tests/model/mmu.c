/*
 * tests/model/mmu.c: the GPU's memory management unit: page tables of version 2 (Turing to Ada) and 3 (Hopper, Blackwell),
 * and TLBs.
 *
 * Version 2 translates 49 bits through levels of 2, 9, 9, 8 bits and a page table; version 3 has 57 bits and one more level
 * of 1 bit, then 9, on top. The lowest directory, one entry per 2 MiB, has entries of 16 bytes for two tables, one of 64 KiB
 * pages and one of 4 KiB pages; the former is looked at first. An entry with its valid bit set where a directory is expected is a
 * huge page (2 MiB; 512 MiB from Ampere on; 256 GiB on Blackwell).
 *
 * A translation stays in the TLB until it is invalidated or displaced. Nothing is remembered of what did not translate.
 *
 * Sources: open-gpu-doc manuals/turing/tu104/dev_mmu.ref.txt (NV_MMU_VER2_*); OGKM
 * src/common/inc/swref/published/hopper/gh100/dev_mmu.h (NV_MMU_VER3_*), turing/tu102/dev_mmu.h (kinds);
 * kernel-open/nvidia-uvm/uvm_pascal_mmu.c and uvm_hopper_mmu.c for which bits of an address each level uses.
 */
#include "tests/model/engines.h"

#include <stdlib.h>
#include <string.h>

/* Directory entries: apertures */
#define PDE_APERTURE_INVALID 0
#define PDE_APERTURE_VIDEO   1
#define PDE_APERTURE_SYSTEM  2 /* coherent; 3: not coherent */
/* Page table entries */
#define PTE_APERTURE_VIDEO   0
#define PTE_APERTURE_PEER    1

#define KIND_PITCH           0 /* NV_MMU_PTE_KIND_PITCH */
#define KIND_GENERIC_MEMORY  6 /* NV_MMU_PTE_KIND_GENERIC_MEMORY */

#define TLB_ENTRIES          4096

struct tlb_entry {
    bool is_valid;
    struct space space;
    uint64_t gva; /* of the page */
    unsigned shift;
    struct translation page; /* address and bytes are the whole page's */
};
struct mmu {
    struct tlb_entry tlb[TLB_COUNT][TLB_ENTRIES];
    unsigned used[TLB_COUNT]
                 [64]; /* entries by shift, so that a lookup tries only sizes that are there */
    uint64_t hits, walks, invalidations;
};

struct level {
    unsigned hi, lo, entry_bytes;
};
/* From the root down; the last one is the directory of dual entries. */
static const struct level levels_v2[] = {{48, 47, 8}, {46, 38, 8}, {37, 29, 8}, {28, 21, 16}};
static const struct level levels_v3[] = {
    {56, 56, 8}, {55, 47, 8}, {46, 38, 8}, {37, 29, 8}, {28, 21, 16}};

int mmu_init(struct model *m)
{
    m->mmu = calloc(1, sizeof(*m->mmu));
    return m->mmu ? 0 : -1;
}

const char *mmu_fault_name(enum mmu_fault fault)
{
    static const char *const names[] = {
        [MMU_OK] = "none",
        [MMU_FAULT_PDE] = "FAULT_PDE",
        [MMU_FAULT_PDE_SIZE] = "FAULT_PDE_SIZE",
        [MMU_FAULT_PTE] = "FAULT_PTE",
        [MMU_FAULT_RO_VIOLATION] = "FAULT_RO_VIOLATION",
        [MMU_FAULT_APERTURE] = "FAULT_UNSUPPORTED_APERTURE",
        [MMU_FAULT_KIND] = "FAULT_UNSUPPORTED_KIND",
        [MMU_FAULT_VA_LIMIT] = "FAULT_VA_LIMIT_VIOLATION",
    };
    return names[fault];
}

/* ---- entries --------------------------------------------------------------------------------------------------- */

struct pointer { /* a decoded directory entry, or one half of a dual one */
    bool is_valid;
    enum aperture aperture;
    uint64_t address;
};

static void reserved(struct model *m, uint64_t entry, uint64_t must_be_zero, const char *what,
                     uint64_t gva)
{
    if (entry & must_be_zero)
        refuse(m, "mmu: %s for 0x%llx is 0x%016llx: reserved bits 0x%llx are set", what,
               (unsigned long long)gva, (unsigned long long)entry,
               (unsigned long long)(entry & must_be_zero));
}

/* is_big: the half of a dual entry that points to a table of 64 KiB pages, whose address has 4 bits more. */
static struct pointer decode_pde(struct model *m, uint64_t entry, bool is_big, uint64_t gva)
{
    unsigned aperture = (unsigned)bits(entry, 2, 1);
    struct pointer p = {.is_valid = aperture != PDE_APERTURE_INVALID,
                        .aperture =
                            aperture == PDE_APERTURE_VIDEO ? APERTURE_VRAM : APERTURE_SYSTEM};
    if (!p.is_valid)
        return p;
    if (m->chip->mmu_version >= 3) { /* address in place: bits 51..12, or 51..8 */
        reserved(m, entry, mask(63, 52) | (is_big ? mask(7, 6) : mask(11, 6)), "PDE", gva);
        p.address = entry & (is_big ? mask(51, 8) : mask(51, 12));
    } else { /* address >> 12 from bit 8, or >> 8 from bit 4 */
        unsigned lo = is_big ? 4 : 8;
        unsigned hi = p.aperture == APERTURE_VRAM ? 32 : 53;
        reserved(m, entry, mask(63, hi + 1) | (is_big ? 0 : mask(7, 6) | mask(4, 4)), "PDE", gva);
        p.address = bits(entry, hi, lo) << (is_big ? 8 : 12);
    }
    return p;
}

static enum mmu_fault decode_pte(struct model *m, uint64_t entry, unsigned shift, uint64_t gva,
                                 bool is_write, struct translation *out)
{
    unsigned aperture = (unsigned)bits(entry, 2, 1);
    bool is_video = aperture == PTE_APERTURE_VIDEO;
    if (aperture == PTE_APERTURE_PEER)
        return MMU_FAULT_APERTURE;
    out->aperture = is_video ? APERTURE_VRAM : APERTURE_SYSTEM;
    uint64_t page;
    if (m->chip->mmu_version >= 3) {
        reserved(m, entry, mask(63, is_video ? 40 : 52), "PTE", gva);
        page = entry & mask(is_video ? 39 : 51, 12);
        out->is_volatile = bits(entry, 3, 3);
        out->is_read_only = bits(entry, 5, 5);
        out->kind = (unsigned)bits(entry, 11, 8);
    } else {
        reserved(m, entry, mask(4, 4) | (is_video ? mask(35, 33) : mask(55, 54)), "PTE", gva);
        page = bits(entry, is_video ? 32 : 53, 8) << 12;
        out->is_volatile = bits(entry, 3, 3);
        out->is_read_only = bits(entry, 6, 6);
        out->kind = (unsigned)bits(entry, 63, 56);
    }
    if (page & mask(shift - 1, 0))
        refuse(m, "mmu: PTE for 0x%llx: a page of %llu KiB at 0x%llx is not aligned to its size",
               (unsigned long long)gva, 1ull << (shift - 10), (unsigned long long)page);
    if (out->kind != KIND_PITCH && out->kind != KIND_GENERIC_MEMORY)
        return MMU_FAULT_KIND; /* compressed and depth kinds are not for buffers */
    if (!is_video && out->kind != KIND_PITCH && out->kind != KIND_GENERIC_MEMORY)
        return MMU_FAULT_KIND;
    out->bytes = UINT64_C(1) << shift;
    out->address = page & ~mask(shift - 1, 0);
    return is_write && out->is_read_only ? MMU_FAULT_RO_VIOLATION : MMU_OK;
}

static bool read_entry(struct model *m, enum aperture aperture, uint64_t address, uint64_t *entry,
                       size_t bytes)
{
    return memory_read(m, aperture, address, entry, bytes);
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

static bool allows_huge(const struct model *m, unsigned shift)
{
    return shift == 21 || (shift == 29 && m->chip->family >= AMPERE) ||
           (shift == 38 && m->chip->family >= BLACKWELL);
}

/* The two tables below a dual entry: 64 KiB pages first, then 4 KiB. */
static enum mmu_fault walk_tables(struct model *m, const uint64_t dual[2], uint64_t gva,
                                  bool is_write, struct translation *out, unsigned *shift)
{
    struct pointer big = decode_pde(m, dual[0], true, gva),
                   small = decode_pde(m, dual[1], false, gva);
    uint64_t entry = 0;
    if (big.is_valid) {
        if (!read_entry(m, big.aperture, big.address + bits(gva, 20, 16) * 8, &entry, 8))
            return MMU_FAULT_PDE;
        *shift = 16;
        if (entry & 1)
            return decode_pte(m, entry, 16, gva, is_write, out);
        /* Not valid: there may be small pages below it, unless the entry says that there are none. */
        bool has_none = m->chip->mmu_version >= 3 ? bits(entry, 7, 3) == 3 : bits(entry, 5, 5);
        if (has_none)
            return MMU_FAULT_PTE;
    }
    if (!small.is_valid)
        return big.is_valid ? MMU_FAULT_PTE : MMU_FAULT_PDE;
    if (!read_entry(m, small.aperture, small.address + bits(gva, 20, 12) * 8, &entry, 8))
        return MMU_FAULT_PDE;
    *shift = 12;
    return entry & 1 ? decode_pte(m, entry, 12, gva, is_write, out) : MMU_FAULT_PTE;
}

/* out describes the whole page. */
static enum mmu_fault walk(struct model *m, const struct space *space, uint64_t gva, bool is_write,
                           struct translation *out, unsigned *shift)
{
    bool is_v3 = m->chip->mmu_version >= 3;
    const struct level *levels = is_v3 ? levels_v3 : levels_v2;
    unsigned count = is_v3 ? 5 : 4;
    m->mmu->walks++;
    if (gva >> (levels[0].hi + 1))
        return MMU_FAULT_VA_LIMIT;
    struct pointer table = {true, space->aperture, space->directory};
    for (unsigned i = 0; i < count; i++) {
        uint64_t entry[2] = {0};
        uint64_t index = bits(gva, levels[i].hi, levels[i].lo);
        if (!read_entry(m, table.aperture, table.address + index * levels[i].entry_bytes, entry,
                        levels[i].entry_bytes))
            return MMU_FAULT_PDE;
        if (entry[0] & 1) { /* IS_PTE: a huge page */
            *shift = levels[i].lo;
            if (!allows_huge(m, *shift))
                return MMU_FAULT_PDE_SIZE;
            return decode_pte(m, entry[0], *shift, gva, is_write, out);
        }
        if (i + 1 == count)
            return walk_tables(m, entry, gva, is_write, out, shift);
        table = decode_pde(m, entry[0], false, gva);
        if (!table.is_valid)
            return MMU_FAULT_PDE;
    }
    return MMU_FAULT_PDE;
}

enum mmu_fault mmu_translate(struct model *m, enum aperture directory_aperture,
                             uint64_t page_directory, uint64_t gva, bool is_write,
                             struct translation *out)
{
    unsigned shift;
    struct space space = {directory_aperture, page_directory};
    enum mmu_fault fault = walk(m, &space, gva, is_write, out, &shift);
    if (fault == MMU_OK) {
        uint64_t offset = gva & (out->bytes - 1);
        out->address += offset;
        out->bytes -= offset;
    }
    return fault;
}

/* ---- TLBs ------------------------------------------------------------------------------------------------------ */

static struct tlb_entry *tlb_slot(struct mmu *mmu, enum tlb tlb, const struct space *space,
                                  uint64_t gva, unsigned shift)
{
    uint64_t key = (gva >> shift ^ space->directory >> 12 ^ (uint64_t)shift << 56) *
                   UINT64_C(0x9e3779b97f4a7c15);
    return &mmu->tlb[tlb][key >> 32 & (TLB_ENTRIES - 1)];
}

static void tlb_drop(struct mmu *mmu, enum tlb tlb, struct tlb_entry *entry)
{
    mmu->used[tlb][entry->shift]--;
    entry->is_valid = false;
}

static enum mmu_fault tlb_translate(struct model *m, enum tlb tlb, const struct space *space,
                                    uint64_t gva, bool is_write, struct translation *out)
{
    static const uint8_t shifts[] = {21, 12, 16, 29, 38};
    struct mmu *mmu = m->mmu;
    for (unsigned i = 0; i < sizeof(shifts); i++) {
        unsigned shift = shifts[i];
        if (mmu->used[tlb][shift] == 0)
            continue;
        struct tlb_entry *entry = tlb_slot(mmu, tlb, space, gva, shift);
        if (!entry->is_valid || entry->shift != shift || entry->gva != gva >> shift << shift ||
            entry->space.directory != space->directory || entry->space.aperture != space->aperture)
            continue;
        mmu->hits++;
        *out = entry->page;
        return is_write && out->is_read_only ? MMU_FAULT_RO_VIOLATION : MMU_OK;
    }
    unsigned shift = 0;
    enum mmu_fault fault = walk(m, space, gva, is_write, out, &shift);
    if (fault != MMU_OK)
        return fault;
    struct tlb_entry *entry = tlb_slot(mmu, tlb, space, gva, shift);
    if (entry->is_valid)
        tlb_drop(mmu, tlb, entry);
    *entry = (struct tlb_entry){true, *space, gva >> shift << shift, shift, *out};
    mmu->used[tlb][shift]++;
    return MMU_OK;
}

#define INVALIDATE_HUBTLB_ONLY (1u << 2) /* NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_HUBTLB_ONLY */

void mmu_invalidate(struct model *m, enum aperture directory_aperture, uint64_t page_directory,
                    uint32_t flags)
{
    struct mmu *mmu = m->mmu;
    mmu->invalidations++;
    bool is_hub_only = flags & INVALIDATE_HUBTLB_ONLY;
    for (unsigned tlb = 0; tlb < TLB_COUNT; tlb++) {
        if (tlb == TLB_GPC && is_hub_only)
            continue;
        for (unsigned i = 0; i < TLB_ENTRIES; i++) {
            struct tlb_entry *entry = &mmu->tlb[tlb][i];
            if (entry->is_valid &&
                (page_directory == 0 || (entry->space.directory == page_directory &&
                                         entry->space.aperture == directory_aperture)))
                tlb_drop(mmu, (enum tlb)tlb, entry);
        }
    }
    if (!is_hub_only)
        sm_unmap();
}

/* ---- access ---------------------------------------------------------------------------------------------------- */

bool gpu_page(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva, bool is_write,
              struct translation *page, uint64_t *page_gva, struct violation *why)
{
    *why = (struct violation){.gva = gva, .is_write = is_write};
    why->fault = tlb_translate(m, tlb, space, gva, is_write, page);
    if (why->fault != MMU_OK)
        return false;
    *page_gva = gva & ~(page->bytes - 1);
    return true;
}

uint8_t *gpu_map(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva,
                 bool is_write, uint64_t *bytes, struct violation *why)
{
    struct translation page;
    uint64_t page_gva;
    if (!gpu_page(m, tlb, space, gva, is_write, &page, &page_gva, why))
        return NULL;
    uint64_t offset = gva - page_gva;
    *bytes = page.bytes - offset;
    uint8_t *memory = memory_map(m, page.aperture, page.address + offset, *bytes);
    if (!memory) { /* a page may be larger than what QEMU has in one piece */
        *bytes = 4096 - (gva & 4095);
        memory = memory_map(m, page.aperture, page.address + offset, *bytes);
    }
    if (!memory)
        why->fault = MMU_FAULT_APERTURE;
    return memory;
}

bool gpu_read(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva, void *out,
              uint64_t bytes, struct violation *why)
{
    for (uint64_t done = 0; done < bytes;) {
        uint64_t part;
        const uint8_t *memory = gpu_map(m, tlb, space, gva + done, false, &part, why);
        if (!memory)
            return false;
        if (part > bytes - done)
            part = bytes - done;
        memcpy((uint8_t *)out + done, memory, part);
        done += part;
    }
    return true;
}

bool gpu_write(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva,
               const void *data, uint64_t bytes, struct violation *why)
{
    for (uint64_t done = 0; done < bytes;) {
        uint64_t part;
        uint8_t *memory = gpu_map(m, tlb, space, gva + done, true, &part, why);
        if (!memory)
            return false;
        if (part > bytes - done)
            part = bytes - done;
        memcpy(memory, (const uint8_t *)data + done, part);
        done += part;
    }
    return true;
}
