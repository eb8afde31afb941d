/*
 * tests/unit/test_cubin.c: cubin loader, the unpacker of built-in cubins, and the GPU address allocator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gpu/nvidia/builtin.h"
#include "gpu/nvidia/cubin.h"
#include "gpu/nvidia/va.h"
#include "kernel/kernel.h"
#include "tests/host/cubin_file.h"

#define GVA UINT64_C(0x1234500000)

static const struct cubin_file plain = {.sm = 90,
                                        .abi_version = 8,
                                        .register_count = 40,
                                        .stack_bytes = 256,
                                        .barrier_count = 2,
                                        .shared_bytes = 512};

struct opened {
    uint8_t bytes[CUBIN_FILE_MAX];
    struct cubin cubin;
    struct cubin_kernel kernels[4];
};

static void write_file(struct opened *o, const struct cubin_file *file, size_t *size)
{
    *size = cubin_file_write(file, o->bytes);
}

static int reopen(struct opened *o, size_t size)
{
    return cubin_open(&o->cubin, o->bytes, size, o->kernels, ARRAY_COUNT(o->kernels));
}

static void test_kernel(void **state)
{
    struct opened o;
    size_t size;
    write_file(&o, &plain, &size);
    assert_int_equal(reopen(&o, size), 0);
    assert_int_equal(o.cubin.sm, 90);
    assert_int_equal(o.cubin.kernel_count, 1);
    const struct cubin_kernel *k = &o.kernels[0];
    assert_string_equal(k->name, "k");
    assert_int_equal(k->register_count, 40);
    assert_int_equal(k->stack_bytes, 256);
    assert_int_equal(k->barrier_count, 2);
    assert_int_equal(k->shared_bytes, 512);
    assert_int_equal(k->args_offset, CUBIN_FILE_ARGS_OFFSET);
    assert_int_equal(k->args_bytes, CUBIN_FILE_ARGS_BYTES);
    assert_int_equal(k->bank0_bytes, CUBIN_FILE_ARGS_OFFSET + CUBIN_FILE_ARGS_BYTES);
    assert_int_equal(k->text_bytes, 256);
    assert_int_equal(k->text_offset % 128, 0);
    assert_int_equal(k->constant_bytes[4], 8);

    uint8_t *image = malloc(o.cubin.image_bytes);
    assert_int_equal(cubin_image(&o.cubin, image, GVA), 0);
    uint32_t first;
    memcpy(&first, image + k->text_offset, 4);
    assert_int_equal(first, 0x11110000);
    uint64_t address; /* of "table" plus 4, as the relocation asks */
    memcpy(&address, image + k->constant_offset[4], 8);
    assert_true(address >= GVA && address - GVA + 12 <= o.cubin.image_bytes);
    assert_memory_equal(image + (address - GVA) - 4, "0123456789abcdef", 16);
    free(image);
}

static void test_older_abi(void **state)
{
    struct cubin_file file = plain;
    struct opened o;
    size_t size;
    file.abi_version = 7;
    file.sm = 86;
    write_file(&o, &file, &size);
    assert_int_equal(reopen(&o, size), 0);
    assert_int_equal(o.cubin.sm, 86);
}

/* Each of these has one thing wrong and is refused with a reason. */
static void test_lies(void **state)
{
    static const struct {
        int section; /* -1: the ELF header */
        unsigned offset, bytes;
        uint64_t value;
    } lies[] = {
        {-1, 0, 1, 0},                                 /* not ELF */
        {-1, 4, 1, 1},                                 /* 32-bit */
        {-1, 18, 2, 62},                               /* for x86-64 */
        {-1, 40, 8, UINT64_MAX},                       /* section table past the end */
        {-1, 60, 2, 0},                                /* no sections */
        {-1, 60, 2, 0xffff},                           /* more than fit */
        {-1, 62, 2, CUBIN_FILE_SECTION_COUNT},         /* names beyond the last section */
        {CUBIN_FILE_TEXT, 24, 8, UINT64_MAX - 8},      /* code outside the file */
        {CUBIN_FILE_TEXT, 32, 8, UINT64_MAX},          /* code of absurd size */
        {CUBIN_FILE_TEXT, 32, 8, 0},                   /* no code */
        {CUBIN_FILE_TEXT, 48, 8, 3},                   /* alignment that is no power of two */
        {CUBIN_FILE_TEXT, 0, 4, 0xffffff},             /* name outside the names */
        {CUBIN_FILE_TEXT, 4, 4, 8},                    /* code without bytes: then no kernel */
        {CUBIN_FILE_SYMBOLS, 40, 4, 99},               /* symbols with no strings */
        {CUBIN_FILE_INFO, 32, 8, 7},                   /* a record cut off */
        {CUBIN_FILE_KERNEL_INFO, 32, 8, 13},           /* the same */
        {CUBIN_FILE_SHARED, 32, 8, 64 << 20},          /* too much shared memory */
        {CUBIN_FILE_CONSTANT0, 32, 8, 0x214},          /* parameters outside bank 0 */
        {CUBIN_FILE_GLOBAL, 32, 8, UINT64_C(1) << 40}, /* an image of absurd size */
    };
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        struct opened o;
        size_t size;
        write_file(&o, &plain, &size);
        size_t at = lies[i].section < 0
                        ? 0
                        : cubin_file_section(o.bytes, (enum cubin_file_section)lies[i].section);
        memcpy(o.bytes + at + lies[i].offset, &lies[i].value, lies[i].bytes);
        int error = reopen(&o, size);
        if (error != -ENOEXEC)
            fail_msg("lie %zu gave %d", i, error);
        assert_non_null(o.cubin.problem);
    }
}

/* Lies that show only when the image is made. */
static void test_relocation_lies(void **state)
{
    static const struct {
        unsigned offset, bytes; /* in the relocation */
        uint64_t value;
    } lies[] = {{0, 8, 1}, {0, 8, UINT64_MAX}, {8, 4, 0x77}, {12, 4, 3}, {12, 4, UINT32_MAX}};
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        struct opened o;
        size_t size;
        write_file(&o, &plain, &size);
        uint64_t rela;
        memcpy(&rela, o.bytes + cubin_file_section(o.bytes, CUBIN_FILE_RELA) + 24, 8);
        memcpy(o.bytes + rela + lies[i].offset, &lies[i].value, lies[i].bytes);
        assert_int_equal(reopen(&o, size), 0);
        uint8_t *image = malloc(o.cubin.image_bytes);
        assert_int_equal(cubin_image(&o.cubin, image, GVA), -ENOEXEC);
        free(image);
    }
}

/* Cut off anywhere, and with every single byte changed: refused or loaded, and never read outside (sanitizers watch). */
static void test_every_cut_and_byte(void **state)
{
    struct opened o;
    size_t size;
    write_file(&o, &plain, &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut > 0 ? cut : 1);
        memcpy(exact, o.bytes, cut);
        assert_int_equal(cubin_open(&o.cubin, exact, cut, o.kernels, 4), -ENOEXEC);
        free(exact);
    }
    for (size_t at = 0; at < size; at++) {
        for (unsigned change = 1; change < 256; change *= 2) {
            uint8_t *exact = malloc(size);
            memcpy(exact, o.bytes, size);
            exact[at] ^= (uint8_t)change;
            if (cubin_open(&o.cubin, exact, size, o.kernels, 4) == 0) {
                uint8_t *image = malloc(o.cubin.image_bytes);
                if (image != NULL)
                    cubin_image(&o.cubin, image, GVA);
                free(image);
            }
            free(exact);
        }
    }
}

static void test_more_kernels_than_room(void **state)
{
    struct opened o;
    size_t size;
    write_file(&o, &plain, &size);
    assert_int_equal(cubin_open(&o.cubin, o.bytes, size, o.kernels, 0), -ENOSPC);
}

/* ---- packed cubins --------------------------------------------------------------------------- */

static void test_unpack(void **state)
{
    /* "abcd", then 8 bytes from 4 back, then 20 literals of which 15 are in the token */
    static const uint8_t packed[] = {0x44, 'a', 'b', 'c', 'd', 4,   0,   0xf0, 5,   '0',
                                     '1',  '2', '3', '4', '5', '6', '7', '8',  '9', '0',
                                     '1',  '2', '3', '4', '5', '6', '7', '8',  '9'};
    uint8_t out[32];
    assert_int_equal(nvidia_builtin_unpack(packed, sizeof(packed), out, 32), 0);
    assert_memory_equal(out, "abcdabcdabcd01234567890123456789", 32);
    assert_int_equal(nvidia_builtin_unpack(packed, sizeof(packed), out, 31), -EINVAL);
    for (size_t cut = 1; cut < sizeof(packed); cut++)
        assert_int_equal(nvidia_builtin_unpack(packed, cut, out, 32), -EINVAL);
    static const uint8_t too_far[] = {0x10, 'a', 2, 0, 0x00};
    assert_int_equal(nvidia_builtin_unpack(too_far, sizeof(too_far), out, 5), -EINVAL);
}

/* What this program was built with unpacks, and loads. */
static void test_builtins(void **state)
{
    static struct cubin_kernel kernels[CUBIN_KERNELS_MAX];
    for (uint32_t i = 0; i < nvidia_builtin_count; i++) {
        const struct nvidia_builtin *b = &nvidia_builtins[i];
        uint8_t *bytes = malloc(b->bytes);
        assert_int_equal(nvidia_builtin_unpack(b->packed, b->packed_bytes, bytes, b->bytes), 0);
        struct cubin cubin;
        assert_int_equal(cubin_open(&cubin, bytes, b->bytes, kernels, CUBIN_KERNELS_MAX), 0);
        assert_int_equal(cubin.sm, b->sm);
        uint8_t *image = malloc(cubin.image_bytes);
        assert_int_equal(cubin_image(&cubin, image, GVA), 0);
        free(image);
        free(bytes);
    }
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* Random allocations and frees against a map of pages: aligned, apart, all back in one piece at the end. */
static void test_addresses(void **state)
{
    enum { PAGES = 4096, LIVE = 300 };
    static uint8_t map[PAGES];
    struct va_range live[LIVE] = {{0}};
    struct va_space va;
    const uint64_t base = UINT64_C(0x200000000);
    uint64_t seed = 12345;
    memset(map, 0, sizeof(map));
    assert_int_equal(va_init(&va, base, PAGES * PAGE_SIZE), 0);
    for (unsigned step = 0; step < 20000; step++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        struct va_range *slot = &live[(seed >> 33) % LIVE];
        if (slot->size_bytes != 0) {
            va_free(&va, slot->base, slot->size_bytes);
            memset(map + (slot->base - base) / PAGE_SIZE, 0, slot->size_bytes / PAGE_SIZE);
            slot->size_bytes = 0;
            continue;
        }
        uint64_t size = (1 + (seed >> 40) % 40) * PAGE_SIZE, align = PAGE_SIZE << (seed >> 20) % 6;
        uint64_t at;
        if (va_alloc(&va, size, align, &at) != 0)
            continue;
        assert_true(at >= base && at + size <= base + PAGES * PAGE_SIZE && at % align == 0);
        for (uint64_t page = (at - base) / PAGE_SIZE; page < (at - base + size) / PAGE_SIZE;
             page++) {
            assert_int_equal(map[page], 0);
            map[page] = 1;
        }
        *slot = (struct va_range){at, size};
    }
    for (unsigned i = 0; i < LIVE; i++)
        if (live[i].size_bytes != 0)
            va_free(&va, live[i].base, live[i].size_bytes);
    assert_int_equal(va.count, 1);
    assert_true(va_free_bytes(&va) == PAGES * PAGE_SIZE);
    uint64_t all;
    assert_int_equal(va_alloc(&va, PAGES * PAGE_SIZE, PAGE_SIZE, &all), 0);
    assert_int_equal(va_alloc(&va, PAGE_SIZE, PAGE_SIZE, &all), -ENOMEM);
    va_fini(&va);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel),
        cmocka_unit_test(test_older_abi),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_relocation_lies),
        cmocka_unit_test(test_every_cut_and_byte),
        cmocka_unit_test(test_more_kernels_than_room),
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_builtins),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
