/*
 * kernel/paging.c: page tables (Intel SDM 3A, chapter 4; memory types chapter 12.12).
 *
 * 1. RAM is mapped at its physical address, write-back, not executable, with the largest pages that fit; the
 *    first 64 KiB, reserved memory and the firmware's runtime code are not mapped at all
 * 2. the image gets its sections' rights: text executable, constants read-only, data writable
 * 3. device memory is added by mmio_map() (kernel/mmio.c), stacks by stack_alloc() (kernel/stack.c)
 *
 * Table pages come from one pool, which is mapped read-only once the machine is up; paging_map() lifts write
 * protection for its own core while it works. Tables are never freed, so the pool bounds them.
 */
#include "kernel/paging.h"

#include <string.h>

#include "boot/boot.h"
#include "kernel/apic.h"
#include "kernel/core.h"
#include "kernel/image.h"
#include "kernel/x86.h"

#define ENTRY_PRESENT      BIT(0)
#define ENTRY_WRITE        BIT(1)
#define ENTRY_PWT          BIT(3)
#define ENTRY_PCD          BIT(4)
#define ENTRY_ACCESSED     BIT(5)
#define ENTRY_DIRTY        BIT(6)
#define ENTRY_LARGE        BIT(7)
#define ENTRY_ADDRESS      BITS(51, 12)
#define ENTRY_NX           BIT(63)

/*
 * Memory types by (PCD, PWT): write-back, write-combining, uncached unless an MTRR says WC, uncached; twice
 * (12.12.4).
 */
#define PAT_VALUE          UINT64_C(0x0007010600070106)

#define LARGE_2M           (UINT64_C(1) << 21)
#define LARGE_1G           (UINT64_C(1) << 30)
#define TABLE_ENTRIES      512
#define LOW_BYTES_UNMAPPED UINT64_C(0x10000)
#define TABLES_SPARE \
    384 /* beyond those for RAM: device memory, stacks, pages that get split. Big BARs need few */

SEALED static uint64_t *root;   /* level 4 */
SEALED static uint64_t root_pa; /* what CR3 gets: level 4, or the single-entry level 5 above it */
static uint64_t *pool;
static uint64_t pool_pages, pool_used;
static struct spinlock lock;
static bool is_sealed;
static bool has_replaced; /* by the range_set() that holds the lock */

/* ---- entries --------------------------------------------------------------------------------------------------- */

static uint64_t *table_take(void)
{
    if (pool_used == pool_pages)
        return NULL;
    uint64_t *table = pool + TABLE_ENTRIES * pool_used++;
    memset(table, 0, PAGE_SIZE);
    return table;
}

static uint64_t entry_rights(unsigned flags)
{
    uint64_t bits = ENTRY_PRESENT | ENTRY_ACCESSED;
    if (flags & PAGE_RIGHT_WRITE)
        bits |= ENTRY_WRITE | ENTRY_DIRTY;
    if (!(flags & PAGE_RIGHT_EXECUTE))
        bits |= ENTRY_NX;
    if (flags & PAGE_WRITE_COMBINE)
        bits |= ENTRY_PWT;
    if (flags & PAGE_UNCACHED)
        bits |= ENTRY_PWT | ENTRY_PCD;
    return bits;
}

/* The table below *entry, made if there is none; a large page there is split into one with the same effect. */
static uint64_t *table_below(uint64_t *entry, uint64_t entry_bytes)
{
    if (*entry & ENTRY_PRESENT && !(*entry & ENTRY_LARGE))
        return (uint64_t *)(*entry & ENTRY_ADDRESS);
    uint64_t *table = table_take();
    if (table == NULL)
        return NULL;
    if (*entry & ENTRY_PRESENT) {
        has_replaced = true;
        uint64_t step = entry_bytes / TABLE_ENTRIES;
        uint64_t bits = *entry & ~ENTRY_LARGE;
        if (step != PAGE_SIZE)
            bits |= ENTRY_LARGE;
        for (unsigned i = 0; i < TABLE_ENTRIES; i++)
            table[i] = bits + i * step;
    }
    /* Rights are decided at the last level only, so tables allow everything. */
    *entry = (uint64_t)table | ENTRY_PRESENT | ENTRY_WRITE | ENTRY_ACCESSED;
    return table;
}

/* Set one leaf as large as possible; bits 0 unmaps. Returns the bytes it covers, 0 when out of table pages. */
static uint64_t leaf_set(uint64_t va, uint64_t pa, uint64_t size_bytes, uint64_t bits)
{
    uint64_t *table = root;
    uint64_t bytes = UINT64_C(1) << 39; /* what an entry of this level spans */
    for (;;) {
        uint64_t *entry = &table[va / bytes % TABLE_ENTRIES];
        bool fits = va % bytes == 0 && pa % bytes == 0 && size_bytes >= bytes;
        bool is_leaf_level = bytes == PAGE_SIZE || bytes == LARGE_2M ||
                             (bytes == LARGE_1G && cpu_facts.has_1g_pages);
        bool has_table = bytes != PAGE_SIZE && *entry & ENTRY_PRESENT && !(*entry & ENTRY_LARGE);
        if (bits == 0 && !(*entry & ENTRY_PRESENT))
            return min_u64(size_bytes, bytes - va % bytes);
        if (fits && is_leaf_level && !has_table) {
            has_replaced |= *entry & ENTRY_PRESENT;
            *entry = bits == 0 ? 0 : pa | bits | (bytes != PAGE_SIZE ? ENTRY_LARGE : 0);
            return bytes;
        }
        table = table_below(entry, bytes);
        if (table == NULL)
            return 0;
        bytes /= TABLE_ENTRIES;
    }
}

/*
 * *replaced (may be NULL) tells whether anything was mapped there before: if not, no TLB can know of it
 * (4.10.2.3).
 */
static int range_set(uint64_t va, uint64_t pa, uint64_t size_bytes, uint64_t bits, bool *replaced)
{
    uint64_t flags = spin_lock(&lock);
    uint64_t cr0 = cr0_read();
    if (is_sealed)
        cr0_write(cr0 & ~CR0_WP);
    has_replaced = false;
    int result = 0;
    while (size_bytes > 0) {
        uint64_t done = leaf_set(va, pa, size_bytes, bits);
        if (done == 0) {
            result = -ENOMEM;
            break;
        }
        va += done;
        pa += done;
        size_bytes -= done;
    }
    if (replaced != NULL)
        *replaced = has_replaced;
    if (is_sealed)
        cr0_write(cr0);
    spin_unlock(&lock, flags);
    return result;
}

int paging_map(uint64_t va, uint64_t pa, uint64_t size_bytes, unsigned flags)
{
    assert((va | pa | size_bytes) % PAGE_SIZE == 0);
    bool replaced;
    int result = range_set(va, pa, size_bytes, entry_rights(flags), &replaced);
    if (replaced)
        tlb_drop_everywhere(va, size_bytes);
    return result;
}

void paging_unmap(uint64_t va, uint64_t size_bytes)
{
    assert((va | size_bytes) % PAGE_SIZE == 0);
    /*
     * pa = va keeps both aligned alike, so that whole large pages go at once; splitting one may fail and then
     * stays mapped
     */
    if (range_set(va, va, size_bytes, 0, NULL) < 0)
        log_warn("paging: %#llx bytes at %#llx stay mapped: no table pages left",
                 (unsigned long long)size_bytes, (unsigned long long)va);
    tlb_drop_everywhere(va, size_bytes);
}

uint64_t paging_lookup(uint64_t va, unsigned *flags)
{
    const uint64_t *table = root;
    if (table == NULL || va >> 47 != 0)
        return UINT64_MAX;
    for (uint64_t bytes = UINT64_C(1) << 39;; bytes /= TABLE_ENTRIES) {
        uint64_t entry = ((const volatile uint64_t *)table)[va / bytes % TABLE_ENTRIES];
        if (!(entry & ENTRY_PRESENT))
            return UINT64_MAX;
        if (bytes == PAGE_SIZE || entry & ENTRY_LARGE) {
            if (flags != NULL)
                *flags = (entry & ENTRY_WRITE ? PAGE_RIGHT_WRITE : 0) |
                         (entry & ENTRY_NX ? 0 : PAGE_RIGHT_EXECUTE) |
                         (entry & ENTRY_PCD   ? PAGE_UNCACHED
                          : entry & ENTRY_PWT ? PAGE_WRITE_COMBINE
                                              : 0);
            return (entry & ENTRY_ADDRESS & ~(bytes - 1)) + va % bytes;
        }
        table = (const uint64_t *)(entry & ENTRY_ADDRESS);
    }
}

uint64_t va_to_pa(const volatile void *va)
{
    return paging_lookup((uint64_t)va, NULL);
}

/* ---- start ----------------------------------------------------------------------------------------------------- */

static void map_or_panic(uint64_t pa, uint64_t size_bytes, unsigned flags)
{
    if (range_set(pa, pa, size_bytes, entry_rights(flags), NULL) < 0)
        panic("page tables: the pool of %llu pages is too small for this machine's memory map",
              (unsigned long long)pool_pages);
}

static void map_range(const struct boot_range *range)
{
    uint64_t start = range->pa < LOW_BYTES_UNMAPPED ? LOW_BYTES_UNMAPPED : range->pa;
    uint64_t end = range->pa + range->size_bytes;
    if (end <= start)
        return;
    switch (range->kind) {
    case BOOT_RANGE_FREE:
    case BOOT_RANGE_RECLAIM:
    case BOOT_RANGE_ACPI_NVS:
        map_or_panic(start, end - start, PAGE_RIGHT_WRITE);
        break;
    case BOOT_RANGE_ACPI:
        map_or_panic(start, end - start, 0);
        break;
    default: /* runtime services get their mapping when they are called, at the very end (kernel/power.c) */
        break;
    }
}

/* Table pages: one for each GiB of RAM where 1 GiB pages are missing, and a few for the edges of ranges. */
static uint64_t tables_needed(void)
{
    uint64_t count = TABLES_SPARE;
    for (uint32_t i = 0; i < boot_info->range_count; i++) {
        const struct boot_range *range = &boot_info->ranges[i];
        if (range->kind == BOOT_RANGE_FREE && !cpu_facts.has_1g_pages)
            count += range->size_bytes / LARGE_1G + 1;
    }
    return align_up(count * PAGE_SIZE, LARGE_2M) / PAGE_SIZE;
}

void paging_start(void)
{
    pool_pages = tables_needed();
    pool = early_alloc(pool_pages * PAGE_SIZE, LARGE_2M);
    root = table_take();
    for (uint32_t i = 0; i < boot_info->range_count; i++)
        map_range(&boot_info->ranges[i]);

    uint64_t base = (uint64_t)image_base, text = (uint64_t)image_text,
             text_end = (uint64_t)image_text_end;
    uint64_t data = (uint64_t)image_data, data_end = (uint64_t)image_data_end;
    map_or_panic(base, text - base, 0);
    map_or_panic(text, text_end - text, PAGE_RIGHT_EXECUTE);
    map_or_panic(text_end, data - text_end, 0);
    map_or_panic(data, data_end - data, PAGE_RIGHT_WRITE);
    map_or_panic(data_end, base + image_facts.size_bytes - data_end, 0);
    /* The log may lie in memory that the map calls something else than free. */
    if (boot_info->log_pa != 0)
        map_or_panic(boot_info->log_pa, BOOT_LOG_BYTES, PAGE_RIGHT_WRITE);

    root_pa = (uint64_t)root;
    if (cr4_read() & CR4_LA57) {
        uint64_t *top = table_take();
        top[0] = (uint64_t)root | ENTRY_PRESENT | ENTRY_WRITE | ENTRY_ACCESSED;
        root_pa = (uint64_t)top;
    }
    paging_start_core();
}

void paging_start_core(void)
{
    msr_write(MSR_PAT, PAT_VALUE);
    cr3_write(root_pa);
}

uint64_t paging_root(void)
{
    return root_pa;
}

static void seal(uint64_t pa, uint64_t size_bytes)
{
    uint64_t start = align_down(pa, PAGE_SIZE),
             bytes = align_up(pa + size_bytes, PAGE_SIZE) - start;
    map_or_panic(start, bytes, 0);
    tlb_drop_everywhere(start, bytes);
}

void paging_seal(void)
{
    is_sealed = true; /* first: the tables below become read-only while they are being changed */
    if (boot_info->config_bytes != 0)
        seal((uint64_t)boot_info->config, boot_info->config_bytes + 1);
    for (uint32_t i = 0; i < boot_info->firmware_count; i++)
        seal((uint64_t)boot_info->firmware[i].data, boot_info->firmware[i].size_bytes);
    seal((uint64_t)boot_info, sizeof(*boot_info));
    seal((uint64_t)pool, pool_pages * PAGE_SIZE);
}

void machine_seal(void)
{
    seal((uint64_t)image_sealed, (uint64_t)(image_sealed_end - image_sealed));
}
