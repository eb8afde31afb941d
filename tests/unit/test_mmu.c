/*
 * tests/unit/test_mmu.c: the GPU's page tables against a walker of its own, and the VRAM allocator.
 *
 * The walker knows the tables from the published headers alone (dev_mmu.h of gp100, tu102 and gh100), with its own numbers:
 * it shares nothing with mmu.c but the bytes in "VRAM".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/mmu.h"
#include "gpu/nvidia/gsp/vram.h"
#include "kernel/kernel.h"

/* ---- a GPU: memory, invalidations, and allocations that can be made to fail --------------------------------------- */

#define TABLE_MEMORY (4u << 20)
#define TABLE_BASE   UINT64_C(0x12340000) /* tables do not begin at 0 */

struct fake {
    uint64_t *memory;
    uint8_t used[TABLE_MEMORY / 4096];
    unsigned in_use, allocations, fail_at; /* fail_at: which allocation fails, counting from 1 */
    unsigned invalidations, writes_since;
    int invalidate_error;
    uint64_t root;
};

static int fake_table_alloc(void *arg, uint64_t size_bytes, uint64_t *pa)
{
    struct fake *fake = arg;
    assert_int_equal(size_bytes, 4096);
    if (++fake->allocations == fake->fail_at)
        return -ENOMEM;
    for (unsigned i = 0; i < ARRAY_COUNT(fake->used); i++)
        if (!fake->used[i]) {
            fake->used[i] = 1;
            fake->in_use++;
            memset((uint8_t *)fake->memory + i * 4096, 0, 4096);
            *pa = TABLE_BASE + i * 4096;
            return 0;
        }
    return -ENOMEM;
}

static void fake_table_free(void *arg, uint64_t pa, uint64_t size_bytes)
{
    struct fake *fake = arg;
    assert_int_equal(size_bytes, 4096);
    unsigned page = (unsigned)((pa - TABLE_BASE) / 4096);
    assert_true(pa >= TABLE_BASE && page < ARRAY_COUNT(fake->used) && fake->used[page]);
    if (fake->root != 0)
        assert_int_equal(fake->writes_since,
                         0); /* nothing goes before the hardware has forgotten it */
    fake->used[page] = 0;
    fake->in_use--;
    memset((uint8_t *)fake->memory + (pa - TABLE_BASE), 0xee,
           4096); /* a walk that still comes here is noticed */
}

static void fake_write64(void *arg, uint64_t pa, uint64_t value)
{
    struct fake *fake = arg;
    assert_true(pa >= TABLE_BASE && pa % 8 == 0 && pa - TABLE_BASE < TABLE_MEMORY);
    assert_true(fake->used[(pa - TABLE_BASE) / 4096]);
    fake->memory[(pa - TABLE_BASE) / 8] = value;
    fake->writes_since++;
}

static int fake_invalidate(void *arg, uint64_t root_pa)
{
    struct fake *fake = arg;
    if (fake->root != 0)
        assert_int_equal(root_pa, fake->root);
    fake->invalidations++;
    if (fake->invalidate_error)
        return fake->invalidate_error;
    fake->writes_since = 0;
    return 0;
}

static const struct mmu_ops fake_ops = {fake_table_alloc, fake_table_free, fake_write64,
                                        fake_invalidate};

static uint64_t fake_read64(struct fake *fake, uint64_t pa)
{
    if (pa < TABLE_BASE || pa - TABLE_BASE >= TABLE_MEMORY || !fake->used[(pa - TABLE_BASE) / 4096])
        fail_msg("the walk reads 0x%llx, where there is no table", (unsigned long long)pa);
    return fake->memory[(pa - TABLE_BASE) / 8];
}

static void fake_open(struct fake *fake, struct mmu *mmu, unsigned version)
{
    memset(fake, 0, sizeof(*fake));
    fake->memory = calloc(1, TABLE_MEMORY);
    assert_non_null(fake->memory);
    assert_int_equal(mmu_init(mmu, version, &fake_ops, fake), 0);
    fake->root = mmu_root(mmu);
}

static void fake_close(struct fake *fake, struct mmu *mmu)
{
    fake->root = 0;
    mmu_fini(mmu);
    assert_int_equal(fake->in_use, 0);
    free(fake->memory);
}

/* ---- the walker ----------------------------------------------------------------------------------------------------- */

struct seen {
    bool valid, is_system, is_privileged, is_uncached;
    unsigned kind;
    uint64_t pa, page_bytes;
};

static uint64_t bits(uint64_t value, unsigned hi, unsigned lo)
{
    return value << (63 - hi) >> (63 - hi) >> lo;
}

static struct seen page_v2(uint64_t pte, uint64_t gva, uint64_t page_bytes)
{
    if (!(pte & 1))
        return (struct seen){0};
    unsigned aperture = (unsigned)bits(pte, 2, 1);
    assert_true(aperture == 0 || aperture == 2);
    assert_int_equal(bits(pte, 4, 4), 0); /* encrypted */
    assert_int_equal(bits(pte, 7, 6), 0); /* read-only, no atomics */
    if (aperture == 0)
        assert_int_equal(bits(pte, 55, 33), 0); /* above the VID address: peer and compression */
    else
        assert_int_equal(bits(pte, 55, 54), 0);
    uint64_t pa = bits(pte, 53, 8) << 12;
    assert_int_equal(pa % page_bytes, 0);
    return (struct seen){.valid = true,
                         .is_system = aperture == 2,
                         .is_privileged = bits(pte, 5, 5),
                         .is_uncached = bits(pte, 3, 3),
                         .kind = (unsigned)bits(pte, 63, 56),
                         .pa = pa + gva % page_bytes,
                         .page_bytes = page_bytes};
}

static struct seen walk_v2(struct fake *fake, uint64_t gva)
{
    static const unsigned hi[] = {48, 46, 37}, lo[] = {47, 38, 29};
    uint64_t table = fake->root;
    for (unsigned level = 0; level < 3; level++) {
        uint64_t pde = fake_read64(fake, table + bits(gva, hi[level], lo[level]) * 8);
        if (bits(pde, 2, 1) == 0)
            return (struct seen){0};
        assert_int_equal(pde & 1, 0);         /* not a page */
        assert_int_equal(bits(pde, 2, 1), 1); /* VRAM */
        assert_int_equal(bits(pde, 7, 3), 0);
        table = bits(pde, 53, 8) << 12;
    }
    uint64_t low = fake_read64(fake, table + bits(gva, 28, 21) * 16);
    uint64_t high = fake_read64(fake, table + bits(gva, 28, 21) * 16 + 8);
    if (low & 1) {
        assert_int_equal(high, 0);
        return page_v2(low, gva, 2u << 20);
    }
    if (bits(low, 2, 1) != 0) {
        assert_int_equal(bits(low, 2, 1), 1);
        struct seen big =
            page_v2(fake_read64(fake, (bits(low, 53, 4) << 8) + bits(gva, 20, 16) * 8), gva, 65536);
        if (big.valid)
            return big;
    }
    if (bits(high, 2, 1) == 0)
        return (struct seen){0};
    assert_int_equal(bits(high, 2, 1), 1);
    return page_v2(fake_read64(fake, (bits(high, 53, 8) << 12) + bits(gva, 20, 12) * 8), gva, 4096);
}

static struct seen page_v3(uint64_t pte, uint64_t gva, uint64_t page_bytes)
{
    if (!(pte & 1))
        return (struct seen){0};
    unsigned aperture = (unsigned)bits(pte, 2, 1), pcf = (unsigned)bits(pte, 7, 3);
    assert_true(aperture == 0 || aperture == 2);
    assert_true(pcf <=
                3); /* read-write, atomic, access counted: bit 0 uncached, bit 1 privileged */
    assert_int_equal(bits(pte, 63, 52), 0);
    uint64_t pa = bits(pte, 51, 12) << 12;
    assert_int_equal(pa % page_bytes, 0);
    return (struct seen){.valid = true,
                         .is_system = aperture == 2,
                         .is_privileged = pcf >> 1,
                         .is_uncached = pcf & 1,
                         .kind = (unsigned)bits(pte, 11, 8),
                         .pa = pa + gva % page_bytes,
                         .page_bytes = page_bytes};
}

static struct seen walk_v3(struct fake *fake, uint64_t gva)
{
    static const unsigned hi[] = {56, 55, 46, 37}, lo[] = {56, 47, 38, 29};
    uint64_t table = fake->root;
    for (unsigned level = 0; level < 4; level++) {
        uint64_t pde = fake_read64(fake, table + bits(gva, hi[level], lo[level]) * 8);
        if (bits(pde, 2, 1) == 0)
            return (struct seen){0};
        assert_int_equal(pde & 1, 0);
        assert_int_equal(bits(pde, 2, 1), 1);
        assert_int_equal(bits(pde, 5, 3), 2); /* cached, no address translation service */
        assert_int_equal(bits(pde, 11, 6) | bits(pde, 63, 52), 0);
        table = bits(pde, 51, 12) << 12;
    }
    uint64_t low = fake_read64(fake, table + bits(gva, 28, 21) * 16);
    uint64_t high = fake_read64(fake, table + bits(gva, 28, 21) * 16 + 8);
    if (low & 1) {
        assert_int_equal(high, 0);
        return page_v3(low, gva, 2u << 20);
    }
    if (bits(low, 2, 1) != 0) {
        assert_int_equal(bits(low, 5, 1), 2 << 2 | 1);
        struct seen big =
            page_v3(fake_read64(fake, (bits(low, 51, 8) << 8) + bits(gva, 20, 16) * 8), gva, 65536);
        if (big.valid)
            return big;
    }
    if (bits(high, 2, 1) == 0)
        return (struct seen){0};
    assert_int_equal(bits(high, 5, 1), 2 << 2 | 1);
    return page_v3(fake_read64(fake, (bits(high, 51, 12) << 12) + bits(gva, 20, 12) * 8), gva,
                   4096);
}

static struct seen walk(struct fake *fake, unsigned version, uint64_t gva)
{
    return version == 2 ? walk_v2(fake, gva) : walk_v3(fake, gva);
}

static void check_mapped(struct fake *fake, unsigned version, uint64_t gva, uint64_t pa,
                         uint64_t page_bytes)
{
    struct seen seen = walk(fake, version, gva);
    if (!seen.valid || seen.pa != pa || seen.page_bytes != page_bytes || seen.kind != 6)
        fail_msg("version %u: 0x%llx gives 0x%llx in a page of %llu (valid %d, kind %u), not "
                 "0x%llx in one of %llu",
                 version, (unsigned long long)gva, (unsigned long long)seen.pa,
                 (unsigned long long)seen.page_bytes, seen.valid, seen.kind, (unsigned long long)pa,
                 (unsigned long long)page_bytes);
}

static void check_unmapped(struct fake *fake, unsigned version, uint64_t gva)
{
    assert_false(walk(fake, version, gva).valid);
}

/* ---- page tables ---------------------------------------------------------------------------------------------------- */

#define GVA UINT64_C(0x200000000)
#define MIB (UINT64_C(1) << 20)
#define KIB UINT64_C(1024)

/* Page sizes follow from addresses and sizes: one below, at and above each boundary. */
static void test_page_sizes(void **state)
{
    static const struct {
        uint64_t gva, pa, size, probe, page;
    } cases[] = {
        {GVA, 0x5000, 4 * KIB, 0, 4 * KIB},
        {GVA, 0x10000, 64 * KIB, 0xffff, 64 * KIB},
        {GVA, 0x11000, 64 * KIB, 0xffff, 4 * KIB},     /* VRAM not at a multiple of 64 KiB */
        {GVA + 0x1000, 0x10000, 64 * KIB, 0, 4 * KIB}, /* nor the address */
        {GVA, 0x10000, 60 * KIB, 0, 4 * KIB},          /* too small */
        {GVA, 0x10000, 68 * KIB, 64 * KIB, 4 * KIB},   /* the rest of a bigger piece */
        {GVA, 4 * MIB, 2 * MIB, 2 * MIB - 1, 2 * MIB},
        {GVA, 4 * MIB + 64 * KIB, 2 * MIB, 2 * MIB - 1, 64 * KIB},
        {GVA, 4 * MIB, 2 * MIB - 64 * KIB, 0, 64 * KIB},
        {GVA, 4 * MIB, 2 * MIB + 4 * KIB, 2 * MIB, 4 * KIB},
        {GVA + 64 * KIB, 4 * MIB + 64 * KIB, 6 * MIB, 2 * MIB - 64 * KIB,
         2 * MIB}, /* head in small pages, then big */
        {GVA + 64 * KIB, 4 * MIB + 64 * KIB, 6 * MIB, 2 * MIB - 64 * KIB - 1, 64 * KIB},
    };
    for (unsigned version = 2; version <= 3; version++)
        for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
            struct fake fake;
            struct mmu mmu;
            fake_open(&fake, &mmu, version);
            struct mmu_extent extent = {cases[i].pa, cases[i].size};
            assert_int_equal(mmu_map(&mmu, cases[i].gva, &extent, 1, MMU_VRAM), 0);
            assert_int_equal(fake.writes_since, 0);
            check_mapped(&fake, version, cases[i].gva + cases[i].probe,
                         cases[i].pa + cases[i].probe, cases[i].page);
            for (uint64_t at = 0; at < cases[i].size; at += 4 * KIB)
                assert_int_equal(walk(&fake, version, cases[i].gva + at).pa, cases[i].pa + at);
            check_unmapped(&fake, version, cases[i].gva - 1);
            check_unmapped(&fake, version, cases[i].gva + cases[i].size);
            assert_int_equal(mmu_unmap(&mmu, cases[i].gva, cases[i].size), 0);
            for (uint64_t at = 0; at < cases[i].size; at += 4 * KIB)
                check_unmapped(&fake, version, cases[i].gva + at);
            assert_int_equal(fake.in_use, 1); /* the root alone is left */
            fake_close(&fake, &mmu);
        }
}

static void test_attributes(void **state)
{
    for (unsigned version = 2; version <= 3; version++) {
        struct fake fake;
        struct mmu mmu;
        fake_open(&fake, &mmu, version);
        /* Host memory above 64 GiB, the last VRAM page that version 2 can name, and the last addresses of the space. */
        uint64_t last = (UINT64_C(1) << (version == 2 ? 49 : 57)) - 4 * KIB;
        struct mmu_extent host = {UINT64_C(0x123456789000), 8 * KIB},
                          vram = {(UINT64_C(1) << 37) - 4 * KIB, 4 * KIB};
        assert_int_equal(mmu_map(&mmu, GVA, &host, 1, MMU_SYSTEM), 0);
        assert_int_equal(mmu_map(&mmu, last, &vram, 1, MMU_VRAM | MMU_PRIVILEGED), 0);
        struct seen seen = walk(&fake, version, GVA + 4 * KIB);
        assert_true(seen.valid && seen.is_system && seen.is_uncached && !seen.is_privileged);
        assert_int_equal(seen.pa, UINT64_C(0x12345678a000));
        seen = walk(&fake, version, last);
        assert_true(seen.valid && !seen.is_system && !seen.is_uncached && seen.is_privileged);
        assert_int_equal(seen.pa, vram.pa);
        check_unmapped(&fake, version, last - 1);
        fake_close(&fake, &mmu); /* with mappings left */
    }
}

static void test_extents(void **state)
{
    struct fake fake;
    struct mmu mmu;
    fake_open(&fake, &mmu, 2);
    struct mmu_extent extents[] = {
        {2 * MIB, 4 * MIB}, {10 * MIB, 64 * KIB}, {77 * 4 * KIB, 4 * KIB}};
    assert_int_equal(mmu_map(&mmu, GVA, extents, 3, MMU_VRAM), 0);
    check_mapped(&fake, 2, GVA + 2 * MIB, 4 * MIB, 2 * MIB);
    check_mapped(&fake, 2, GVA + 4 * MIB, 10 * MIB, 64 * KIB);
    check_mapped(&fake, 2, GVA + 4 * MIB + 64 * KIB, 77 * 4 * KIB, 4 * KIB);
    fake_close(&fake, &mmu);
}

static void test_refusals(void **state)
{
    for (unsigned version = 2; version <= 3; version++) {
        struct fake fake;
        struct mmu mmu;
        fake_open(&fake, &mmu, version);
        uint64_t end = UINT64_C(1) << (version == 2 ? 49 : 57);
        struct mmu_extent page = {0, 4 * KIB}, big = {0, 64 * KIB}, huge = {0, 4 * MIB};
        assert_int_equal(mmu_map(&mmu, GVA + 1, &page, 1, MMU_VRAM), -EINVAL);
        assert_int_equal(mmu_map(&mmu, end, &page, 1, MMU_VRAM), -EINVAL);
        assert_int_equal(mmu_map(&mmu, end - 4 * KIB, &big, 1, MMU_VRAM), -EINVAL);
        assert_int_equal(mmu_map(&mmu, GVA, &page, 0, MMU_VRAM), -EINVAL);
        assert_int_equal(mmu_map(&mmu, GVA, &page, 1, 4), -EINVAL);
        assert_int_equal(mmu_map(&mmu, GVA, &(struct mmu_extent){1, 4 * KIB}, 1, MMU_VRAM),
                         -EINVAL);
        assert_int_equal(mmu_map(&mmu, GVA, &(struct mmu_extent){0, 5}, 1, MMU_VRAM), -EINVAL);
        assert_int_equal(
            mmu_map(&mmu, GVA, &(struct mmu_extent){UINT64_C(1) << 52, 4 * KIB}, 1, MMU_VRAM),
            -EINVAL);
        assert_int_equal(fake.in_use, 1);

        assert_int_equal(mmu_map(&mmu, GVA, &huge, 1, MMU_VRAM), 0);
        assert_int_equal(mmu_map(&mmu, GVA + 2 * MIB + 4 * KIB, &page, 1, MMU_VRAM), -EEXIST);
        assert_int_equal(mmu_map(&mmu, GVA - 4 * KIB, &huge, 1, MMU_VRAM), -EEXIST);
        assert_int_equal(mmu_unmap(&mmu, GVA + 64 * KIB, 2 * MIB),
                         -EINVAL); /* would split two pages of 2 MiB */
        assert_int_equal(mmu_unmap(&mmu, GVA, 64 * KIB), -EINVAL);
        assert_int_equal(mmu_unmap(&mmu, GVA, 2 * MIB), 0);
        check_unmapped(&fake, version, GVA);
        check_mapped(&fake, version, GVA + 2 * MIB, 2 * MIB, 2 * MIB);

        assert_int_equal(mmu_map(&mmu, GVA, &big, 1, MMU_VRAM), 0); /* both sizes in one entry */
        assert_int_equal(mmu_map(&mmu, GVA + 64 * KIB, &page, 1, MMU_VRAM), 0);
        assert_int_equal(mmu_map(&mmu, GVA + 60 * KIB, &page, 1, MMU_VRAM), -EEXIST);
        assert_int_equal(mmu_map(&mmu, GVA, &(struct mmu_extent){0, 2 * MIB}, 1, MMU_VRAM),
                         -EEXIST);
        check_mapped(&fake, version, GVA, 0, 64 * KIB);
        check_mapped(&fake, version, GVA + 64 * KIB, 0, 4 * KIB);
        assert_int_equal(mmu_unmap(&mmu, GVA + 4 * KIB, 64 * KIB), -EINVAL);
        assert_int_equal(mmu_unmap(&mmu, GVA, 64 * KIB), 0);
        check_unmapped(&fake, version, GVA);
        check_mapped(&fake, version, GVA + 64 * KIB, 0, 4 * KIB);
        assert_int_equal(mmu_unmap(&mmu, GVA, 4 * MIB), 0); /* what is not mapped is ignored */
        assert_int_equal(fake.in_use, 1);
        fake_close(&fake, &mmu);
    }
}

/* Each table allocation fails once, in turn; then nothing is mapped and nothing is lost. */
static void test_allocation_failures(void **state)
{
    struct mmu_extent extents[] = {{4 * MIB, 2 * MIB}, {64 * KIB, 64 * KIB}, {4 * KIB, 4 * KIB}};
    uint64_t gva = (UINT64_C(1) << 38) - 2 * MIB; /* over the edge of PD1 and PD2 */
    for (unsigned version = 2; version <= 3; version++)
        for (unsigned fail_at = 1;; fail_at++) {
            struct fake fake;
            struct mmu mmu;
            fake_open(&fake, &mmu, version);
            fake.fail_at = 1 + fail_at; /* the first was the root */
            int error = mmu_map(&mmu, gva, extents, 3, MMU_VRAM);
            if (error) {
                assert_int_equal(error, -ENOMEM);
                assert_int_equal(fake.in_use, 1);
                check_unmapped(&fake, version, gva);
                check_unmapped(&fake, version, gva + 2 * MIB);
            } else {
                check_mapped(&fake, version, gva + 2 * MIB + 64 * KIB, 4 * KIB, 4 * KIB);
            }
            fake_close(&fake, &mmu);
            if (!error) {
                /* 2 MiB needs PD2 (version 3: PD3), PD1 and PD0; beyond the edge another PD1, PD0 and two of pages */
                assert_int_equal(fail_at, version == 2 ? 8 : 9);
                break;
            }
        }
    struct fake fake = {.fail_at = 1};
    struct mmu mmu;
    assert_int_equal(mmu_init(&mmu, 2, &fake_ops, &fake), -ENOMEM);
    mmu_fini(&mmu);
}

/* The hardware does not answer: tables that it may still walk are kept, and go once it does. */
static void test_invalidate_fails(void **state)
{
    struct fake fake;
    struct mmu mmu;
    fake_open(&fake, &mmu, 2);
    struct mmu_extent page = {0, 4 * KIB};
    fake.invalidate_error = -ETIMEDOUT;
    assert_int_equal(mmu_map(&mmu, GVA, &page, 1, MMU_VRAM), -ETIMEDOUT);
    check_unmapped(&fake, 2, GVA);
    assert_int_equal(fake.in_use, 5);
    fake.invalidate_error = 0;
    assert_int_equal(mmu_map(&mmu, GVA, &page, 1, MMU_VRAM), 0);
    assert_int_equal(fake.in_use, 5);
    fake.invalidate_error = -ENODEV;
    assert_int_equal(mmu_unmap(&mmu, GVA, 4 * KIB), -ENODEV);
    assert_int_equal(fake.in_use, 5);
    fake_close(&fake, &mmu); /* frees them at the latest */
}

static void test_levels(void **state)
{
    for (unsigned version = 2; version <= 3; version++) {
        struct fake fake;
        struct mmu mmu;
        fake_open(&fake, &mmu, version);
        struct mmu_level level[MMU_LEVELS_MAX];
        int count = mmu_levels(&mmu, UINT64_C(0x100000000), level);
        assert_int_equal(count, version == 2 ? 3 : 4);
        assert_int_equal(level[0].pa, mmu_root(&mmu));
        assert_int_equal(level[0].size_bytes, version == 2 ? 32 : 16);
        assert_int_equal(level[0].page_shift, version == 2 ? 47 : 56);
        assert_int_equal(mmu_root_entries(&mmu), version == 2 ? 4 : 2);
        assert_int_equal(level[count - 1].size_bytes, 4096);
        assert_int_equal(level[count - 1].page_shift, 29);
        /* What the GSP writes there survives mappings that come and go beside it. */
        uint64_t entry = level[count - 1].pa + bits(UINT64_C(0x100000000), 37, 29) * 8;
        fake_write64(&fake, entry, 0x1122334455667788);
        struct mmu_extent page = {0, 4 * KIB};
        assert_int_equal(mmu_map(&mmu, GVA, &page, 1, MMU_VRAM), 0);
        assert_int_equal(mmu_unmap(&mmu, GVA, 4 * KIB), 0);
        assert_int_equal(fake_read64(&fake, entry), 0x1122334455667788);
        assert_int_equal(mmu_levels(&mmu, UINT64_C(0x100000000), level), count);
        assert_int_equal(mmu_levels(&mmu, UINT64_C(1) << 57, level), -EINVAL);
        fake_close(&fake, &mmu);
    }
}

/* Random mappings and unmappings against a plain array of what should be there. */
static void test_random(void **state)
{
    enum { PAGES = 4096, OPERATIONS = 600 };
    for (unsigned version = 2; version <= 3; version++) {
        const char *given = getenv("SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 20261121 + version;
        printf("seed %u\n", seed);
        srand(seed);
        struct fake fake;
        struct mmu mmu;
        fake_open(&fake, &mmu, version);
        struct {
            uint64_t pages, pa;
        } *live = calloc(PAGES, sizeof(*live)); /* by first page */
        assert_non_null(live);
        for (unsigned i = 0; i < OPERATIONS; i++) {
            unsigned first = (unsigned)rand() % PAGES;
            static const unsigned sizes[] = {1, 3, 16, 17, 512, 1024, 700};
            unsigned pages = sizes[(unsigned)rand() % ARRAY_COUNT(sizes)],
                     align = 1u << rand() % 10;
            first = first / align * align;
            if (first + pages > PAGES)
                continue;
            bool overlaps = false;
            for (unsigned p = 0; p < PAGES; p++)
                overlaps |= p < first + pages && live[p].pages > 0 && p + live[p].pages > first;
            struct mmu_extent extent = {((uint64_t)rand() % 100000) / align * align * 4096,
                                        pages * 4096ull};
            int error = mmu_map(&mmu, GVA + first * 4096ull, &extent, 1, MMU_VRAM);
            assert_int_equal(error, overlaps ? -EEXIST : 0);
            if (!error) {
                live[first].pages = pages;
                live[first].pa = extent.pa;
            }
            unsigned victim = (unsigned)rand() % PAGES;
            if (live[victim].pages > 0) {
                assert_int_equal(mmu_unmap(&mmu, GVA + victim * 4096ull, live[victim].pages * 4096),
                                 0);
                live[victim].pages = 0;
            }
        }
        uint64_t until = 0, pa = 0;
        for (unsigned p = 0; p < PAGES; p++) {
            if (live[p].pages > 0) {
                until = p + live[p].pages;
                pa = live[p].pa;
            }
            struct seen seen = walk(&fake, version, GVA + p * 4096ull);
            assert_int_equal(seen.valid, p < until);
            if (p < until)
                assert_int_equal(seen.pa, pa);
            pa += 4096;
        }
        free(live);
        fake_close(&fake, &mmu);
    }
}

/* ---- VRAM ------------------------------------------------------------------------------------------------------------- */

static void test_vram_places(void **state)
{
    struct vram vram;
    uint64_t at;
    assert_int_equal(vram_init(&vram, 256 * MIB), 0);
    assert_int_equal(vram_alloc(&vram, VRAM_VISIBLE, 4096, 4096, &at),
                     -ENOMEM); /* nothing in it yet */
    assert_int_equal(vram_add(&vram, MIB, 1023 * MIB), 0);
    assert_int_equal(vram_add(&vram, 512 * MIB, MIB), -EINVAL);
    assert_int_equal(vram_add(&vram, 0, 5), -EINVAL);
    assert_int_equal(vram_add(&vram, UINT64_MAX - 4095, 8192), -EINVAL);

    assert_int_equal(vram_alloc(&vram, VRAM_VISIBLE, 4096, 4096, &at), 0);
    assert_int_equal(at, MIB);
    assert_int_equal(vram_alloc(&vram, VRAM_VISIBLE, 2 * MIB, 2 * MIB, &at), 0);
    assert_int_equal(at, 2 * MIB);
    assert_int_equal(vram_alloc(&vram, VRAM_ANYWHERE, 2 * MIB, 2 * MIB, &at), 0);
    assert_int_equal(at, 1022 * MIB);
    assert_int_equal(vram_alloc(&vram, VRAM_VISIBLE, 255 * MIB, 4096, &at),
                     -ENOMEM); /* there is, but not in BAR1 */
    assert_int_equal(vram_alloc(&vram, VRAM_VISIBLE, 252 * MIB, 4096, &at), 0);
    assert_int_equal(at, 4 * MIB);
    assert_int_equal(vram.free_bytes, 1023 * MIB - 4096 - 256 * MIB);

    vram_free(&vram, MIB, 4096);
    vram_free(&vram, 2 * MIB, 2 * MIB);
    vram_free(&vram, 4 * MIB, 252 * MIB);
    vram_free(&vram, 1022 * MIB, 2 * MIB);
    assert_int_equal(vram.free_bytes, vram.total_bytes);
    assert_int_equal(vram.count, 1);
    vram_fini(&vram);
}

static void test_vram_extents(void **state)
{
    struct vram vram;
    struct vram_extent got[8];
    unsigned count;
    assert_int_equal(vram_init(&vram, UINT64_MAX), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(vram_add(&vram, i * 16 * MIB, (i + 1) * 2 * MIB),
                         0); /* 2, 4, 6 and 8 MiB with gaps */
    assert_int_equal(vram_alloc_extents(&vram, VRAM_ANYWHERE, 8 * MIB, 2 * MIB, got, 8, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(got[0].offset, 48 * MIB);
    vram_free(&vram, got[0].offset, got[0].size_bytes);

    assert_int_equal(vram_alloc_extents(&vram, VRAM_ANYWHERE, 18 * MIB, 2 * MIB, got, 2, &count),
                     -ENOMEM);
    assert_int_equal(vram.free_bytes, 20 * MIB);
    assert_int_equal(vram_alloc_extents(&vram, VRAM_ANYWHERE, 18 * MIB, 2 * MIB, got, 8, &count),
                     0);
    assert_int_equal(count, 3); /* the longest first */
    assert_int_equal(got[0].size_bytes, 8 * MIB);
    assert_int_equal(got[2].size_bytes, 4 * MIB);
    assert_int_equal(vram_alloc_extents(&vram, VRAM_ANYWHERE, 4 * MIB, 2 * MIB, got + 3, 5, &count),
                     -ENOMEM);
    assert_int_equal(count, 0);
    for (unsigned i = 0; i < 3; i++)
        vram_free(&vram, got[i].offset, got[i].size_bytes);
    assert_int_equal(vram.free_bytes, 20 * MIB);
    assert_int_equal(vram.taken, 0);
    vram_fini(&vram);
}

static void test_vram_random(void **state)
{
    enum { PAGES = 2048, LIVE = 200 };
    static uint8_t owner[PAGES];
    struct vram_extent live[LIVE] = {{0, 0}};
    struct vram vram;
    memset(owner, 0, sizeof(owner));
    srand(7);
    assert_int_equal(vram_init(&vram, PAGES / 2 * 4096), 0);
    assert_int_equal(vram_add(&vram, 0, PAGES * 4096), 0);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned slot = (unsigned)rand() % LIVE;
        if (live[slot].size_bytes > 0) {
            memset(owner + live[slot].offset / 4096, 0, live[slot].size_bytes / 4096);
            vram_free(&vram, live[slot].offset, live[slot].size_bytes);
            live[slot].size_bytes = 0;
            continue;
        }
        uint64_t size = (1 + (uint64_t)rand() % 32) * 4096, align = UINT64_C(4096) << rand() % 5;
        enum vram_place place = rand() % 2 ? VRAM_VISIBLE : VRAM_ANYWHERE;
        uint64_t at;
        if (vram_alloc(&vram, place, size, align, &at) != 0)
            continue;
        assert_int_equal(at % align, 0);
        assert_true(at + size <= (place == VRAM_VISIBLE ? PAGES / 2 : PAGES) * UINT64_C(4096));
        for (uint64_t page = at / 4096; page < (at + size) / 4096; page++) {
            assert_int_equal(owner[page], 0);
            owner[page] = 1;
        }
        live[slot] = (struct vram_extent){at, size};
    }
    for (unsigned slot = 0; slot < LIVE; slot++)
        if (live[slot].size_bytes > 0)
            vram_free(&vram, live[slot].offset, live[slot].size_bytes);
    assert_int_equal(vram.count, 1);
    assert_int_equal(vram.free_bytes, PAGES * 4096);
    vram_fini(&vram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_sizes),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_invalidate_fails),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_vram_places),
        cmocka_unit_test(test_vram_extents),
        cmocka_unit_test(test_vram_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
