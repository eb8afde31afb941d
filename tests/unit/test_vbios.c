/*
 * tests/unit/test_vbios.c: the VBIOS parser: FWSEC found in images of every form, the signature chosen by version, its
 * command put in; and images that lie about offsets, lengths and counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/vbios.h"
#include "tests/unit/vbios_image.h"

static struct vbios_image image;
static struct vbios vbios;
static char error[160];

static const struct vbios_recipe turing = {.desc_version = 2, .application = 0x85};
static const struct vbios_recipe ampere = {
    .desc_version = 3, .signature_versions = 0x0016, .application = 0x85};

/* From a copy of just that size, so that the sanitizer sees a byte too many. What `vbios` points at stays until the next. */
static int parse_cut(uint32_t size, bool is_debug)
{
    static uint8_t *copy;
    free(copy);
    copy = malloc(size == 0 ? 1 : size);
    assert_non_null(copy);
    memcpy(copy, image.bytes, size);
    error[0] = '\0';
    int result = vbios_parse(copy, size, is_debug, &vbios, error);
    assert_true(result == 0 || (result == -EINVAL && error[0] != '\0'));
    return result;
}

static int parse(void)
{
    return parse_cut(image.size, false);
}

static void make(const struct vbios_recipe *recipe, unsigned ifr_version)
{
    struct vbios_recipe r = *recipe;
    r.ifr_version = ifr_version;
    vbios_make(&image, &r);
}

static void test_version_3(void **state)
{
    (void)state;
    for (unsigned ifr = 0; ifr <= 3; ifr++) {
        make(&ampere, ifr);
        if (parse() != 0)
            fail_msg("IFR %u: %s", ifr, error);
        const struct vbios_fwsec *f = &vbios.fwsec;
        assert_string_equal(vbios.version, "94.02.42.00.02");
        assert_int_equal(f->version, 3);
        assert_int_equal(f->code_bytes, VBIOS_CODE_BYTES);
        assert_memory_equal(f->code, image.bytes + image.code, VBIOS_CODE_BYTES);
        assert_int_equal(f->data_bytes, VBIOS_DATA_BYTES);
        assert_memory_equal(f->data, image.bytes + image.data, VBIOS_DATA_BYTES);
        assert_int_equal(f->interface_offset, VBIOS_INTERFACE_AT);
        assert_int_equal(f->imem_address, 0x100);
        assert_int_equal(f->imem_tag, 0x200);
        assert_int_equal(f->dmem_address, 0x400);
        assert_int_equal(f->signature_dmem, VBIOS_SIGNATURE_AT);
        assert_int_equal(f->engine_id_mask, 0x400);
        assert_int_equal(f->ucode_id, 9);
        assert_int_equal(f->signature_count, 3);
    }
}

static void test_version_2(void **state)
{
    (void)state;
    make(&turing, 0);
    assert_int_equal(parse(), 0);
    const struct vbios_fwsec *f = &vbios.fwsec;
    assert_int_equal(f->version, 2);
    assert_memory_equal(f->code, image.bytes + image.code, VBIOS_CODE_BYTES);
    assert_memory_equal(f->data, image.bytes + image.data, VBIOS_DATA_BYTES);
    assert_int_equal(f->secure_address, 0x200);
    assert_int_equal(f->secure_bytes, 0x3f0);
}

/* Signatures lie in ascending order of the versions that there are: 1, 2 and 4. */
static void test_signature_by_version(void **state)
{
    (void)state;
    make(&ampere, 0);
    assert_int_equal(parse(), 0);
    static const int index[] = {-1, 0,  1,  -1, 2,  -1, -1, -1, -1,
                                -1, -1, -1, -1, -1, -1, -1, -1, -1};
    for (unsigned version = 0; version < ARRAY_COUNT(index); version++) {
        const uint8_t *signature = vbios_signature(&vbios.fwsec, version);
        if (index[version] < 0) {
            assert_null(signature);
            continue;
        }
        assert_non_null(signature);
        for (unsigned n = 0; n < 384; n++)
            assert_int_equal(signature[n], vbios_signature_byte((unsigned)index[version], n));
    }
    /* Versions that the descriptor names but has no bytes for. */
    vbios_put(&image, image.desc + 40, 0x00f6, 2);
    assert_int_equal(parse(), 0);
    assert_non_null(vbios_signature(&vbios.fwsec, 4));
    assert_null(vbios_signature(&vbios.fwsec, 5));
}

static void test_which_program(void **state)
{
    (void)state;
    static const struct {
        unsigned application;
        bool is_debug, is_found;
    } cases[] = {{0x85, false, true},  {0x85, true, false}, {0x45, true, true},
                 {0x45, false, false}, {0x05, true, true},  {0x05, false, true},
                 {0x84, false, false}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct vbios_recipe r = ampere;
        r.application = cases[i].application;
        vbios_make(&image, &r);
        assert_int_equal(parse_cut(image.size, cases[i].is_debug), cases[i].is_found ? 0 : -EINVAL);
    }
}

/* Every length that is too short is refused, and nothing behind it is read. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    for (unsigned ifr = 0; ifr <= 3; ifr += 3) {
        make(&ampere, ifr);
        for (uint32_t size = 0; size < image.size; size += size < 0x500 ? 1 : 61)
            assert_int_equal(parse_cut(size, false), -EINVAL);
        assert_int_equal(parse_cut(image.size + 512, false), 0); /* more of the window is no harm */
    }
}

static void test_lies(void **state)
{
    (void)state;
    /* What is put where, in an image with data before it (IFR 3) or none; version 3 unless the text says 2. */
    static const struct {
        const char *what;
        enum { WINDOW, X86, BIT_HEADER, TOKEN, POINTER, TABLE, ENTRY, DESC, DESC_V2 } base;
        uint32_t at, value;
        unsigned bytes;
    } lies[] = {
        {"no image", X86, 0, 0x0000, 2},
        {"PCIR out of the window", X86, 0x18, 0xffff, 2},
        {"no PCIR", X86, 0x40, 0x12345678, 4},
        {"no length", X86, 0x68, 0, 2},
        {"a length past the window", X86, 0x68, 0xffff, 2},
        {"a length into nothing", X86, 0x68, 5, 2},
        {"IFR version 4", WINDOW, 5, 4, 1},
        {"IFR data past the window", WINDOW, 8, 0xfffff, 4},
        {"flash status past the window", WINDOW, 0x700, 0xfffffffc, 4},
        {"no directory", WINDOW, 0x2000, 0, 4},
        {"odd start", WINDOW, 0x2008, 0x2401, 4},
        {"start past the window", WINDOW, 0x2008, 0xfffffffc, 4},
        {"no BIT", BIT_HEADER, 2, 0, 1},
        {"wrong sum", BIT_HEADER, 11, 0x77, 1},
        {"BIT with a short header", BIT_HEADER, 8, 4, 1},
        {"no falcon token", TOKEN, 0, 0x71, 1},
        {"falcon token of version 1", TOKEN, 1, 1, 1},
        {"falcon token too short", TOKEN, 2, 3, 2},
        {"falcon token into nothing", TOKEN, 4, 0xffff, 2},
        {"table past the end", POINTER, 0, 0x7fffffff, 4},
        {"table wraps", POINTER, 0, 0xffffffff, 4},
        {"table of version 2", TABLE, 0, 2, 1},
        {"table with a short header", TABLE, 1, 5, 1},
        {"table with short entries", TABLE, 2, 5, 1},
        {"table without entries", TABLE, 3, 0, 1},
        {"descriptor past the end", ENTRY, 2, 0x7fffffff, 4},
        {"descriptor wraps", ENTRY, 2, 0xfffffff0, 4},
        {"descriptor without version", DESC, 0, 0, 1},
        {"descriptor of version 4", DESC, 1, 4, 1},
        {"descriptor too short", DESC, 2, 43, 2},
        {"descriptor past the end", DESC, 2, 0xffff, 2},
        {"stored size past the end", DESC, 4, 0x100000, 4},
        {"stored size wraps", DESC, 4, 0xffffffff, 4},
        {"more code than stored", DESC, 20, 0xc00, 4},
        {"no code", DESC, 20, 0, 4},
        {"code wraps", DESC, 20, 0xfffffff0, 4},
        {"more data than stored", DESC, 32, VBIOS_DATA_BYTES + 1, 4},
        {"data wraps", DESC, 32, 0xffffffff, 4},
        {"signature past the data", DESC, 8, VBIOS_DATA_BYTES - 383, 4},
        {"signature wraps", DESC, 8, 0xffffffff, 4},
        {"data without room for a signature", DESC, 32, 383, 4},
        {"2: code past the end", DESC_V2, 24, 0x100000, 4},
        {"2: data past the end", DESC_V2, 40, 0x100000, 4},
        {"2: data wraps", DESC_V2, 40, 0xffffff00, 4},
        {"2: data too long", DESC_V2, 48, 0xffffffff, 4},
        {"2: more secure code than code", DESC_V2, 36, VBIOS_CODE_BYTES + 1, 4},
        {"2: secure code past the code", DESC_V2, 32, 0x300, 4},
        {"2: secure code before the code", DESC_V2, 28, 0x300, 4},
        {"2: no code", DESC_V2, 24, 0, 4},
        {"2: descriptor too short", DESC_V2, 2, 59, 2},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(lies); i++) {
        make(lies[i].base == DESC_V2 ? &turing : &ampere, lies[i].base == WINDOW ? 3 : 0);
        assert_int_equal(parse(), 0);
        const uint32_t bases[] = {
            0,           image.start, image.bit,  image.token_falcon, image.falcon_pointer,
            image.table, image.entry, image.desc, image.desc};
        vbios_put(&image, bases[lies[i].base] + lies[i].at, lies[i].value, lies[i].bytes);
        if (lies[i].base == BIT_HEADER && lies[i].at < 11 && lies[i].at != 2)
            vbios_checksum(&image);
        if (parse() != -EINVAL)
            fail_msg("%s: taken", lies[i].what);
        assert_null(vbios.fwsec.code);
    }
}

/* A chain without an end, and images that are all the smallest. */
static void test_endless_chain(void **state)
{
    (void)state;
    static uint8_t window[VBIOS_BYTES_MAX];
    for (uint32_t at = 0; at < sizeof(window); at += 512) {
        window[at] = 0x55;
        window[at + 1] = 0xaa;
        window[at + 0x18] = 0x40;
        memcpy(window + at + 0x40, "PCIR", 4);
        window[at + 0x50] = 1;
    }
    assert_int_equal(vbios_parse(window, sizeof(window), false, &vbios, error), -EINVAL);
    assert_non_null(strstr(error, "images"));
}

/* A table that names tokens behind the image has those that are there. */
static void test_more_tokens_than_there_are(void **state)
{
    (void)state;
    make(&ampere, 0);
    image.bytes[image.bit + 10] = 255;
    image.bytes[image.bit + 9] = 255;
    vbios_checksum(&image);
    assert_int_equal(parse(), -EINVAL);
    make(&ampere, 0);
    image.bytes[image.bit + 10] = 255;
    vbios_checksum(&image);
    assert_int_equal(parse(), 0);
    /* Tokens of 8 bytes have pointers of 32 bits. */
    make(&ampere, 0);
    image.bytes[image.bit + 9] = 8;
    image.bytes[image.bit + 10] = 1;
    vbios_put(&image, image.bit + 12, 0x0270 | 4 << 16, 4);
    vbios_put(&image, image.bit + 16, image.falcon_pointer, 4);
    vbios_checksum(&image);
    assert_int_equal(parse(), 0);
}

/* ---- the command ---- */

static uint32_t word(const uint8_t *data, uint32_t at)
{
    uint32_t value;
    memcpy(&value, data + at, 4);
    return value;
}

static void test_command(void **state)
{
    (void)state;
    make(&ampere, 0);
    const char *problem;
    uint8_t data[VBIOS_DATA_BYTES], before[VBIOS_DATA_BYTES];
    memcpy(data, image.bytes + image.data, sizeof(data));
    memcpy(before, data, sizeof(data));
    assert_int_equal(fwsec_patch(data, sizeof(data), VBIOS_INTERFACE_AT, FWSEC_COMMAND_FRTS,
                                 UINT64_C(0x5ffe00000), FWSEC_FRTS_BYTES, &problem),
                     0);
    assert_string_equal(problem, "");
    assert_int_equal(word(data, VBIOS_MAPPER_AT + 44), 0x15);
    static const uint32_t frts[11] = {1, 24, 0, 0, 0, 2, 1, 20, 0x5ffe00, 0x100, 2};
    for (unsigned i = 0; i < 11; i++)
        assert_int_equal(word(data, VBIOS_COMMAND_AT + 4 * i), frts[i]);
    /* Nothing else has changed. */
    for (uint32_t at = 0; at < sizeof(data); at++)
        if ((at < VBIOS_MAPPER_AT + 44 || at >= VBIOS_MAPPER_AT + 48) &&
            (at < VBIOS_COMMAND_AT || at >= VBIOS_COMMAND_AT + 44))
            assert_int_equal(data[at], before[at]);

    memcpy(data, before, sizeof(data));
    assert_int_equal(
        fwsec_patch(data, sizeof(data), VBIOS_INTERFACE_AT, FWSEC_COMMAND_SB, 0, 0, &problem), 0);
    assert_int_equal(word(data, VBIOS_MAPPER_AT + 44), 0x19);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(word(data, VBIOS_COMMAND_AT + 4 * i), frts[i]);
    assert_int_equal(data[VBIOS_COMMAND_AT + 24], before[VBIOS_COMMAND_AT + 24]);
}

static void test_command_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t interface_at, at, value;
        unsigned bytes;
    } lies[] = {
        {VBIOS_DATA_BYTES, 0, 0, 0},
        {VBIOS_DATA_BYTES - 3, 0, 0, 0},
        {UINT32_MAX, 0, 0, 0},
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT, 2, 1},     /* version */
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT + 1, 3, 1}, /* header */
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT + 2, 7, 1}, /* entries */
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT + 3, 1, 1}, /* count: without the mapper */
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT + 3, 0, 1},
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT + 12, 5, 4}, /* another entry */
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT + 16, VBIOS_DATA_BYTES - 63, 4},
        {VBIOS_INTERFACE_AT, VBIOS_INTERFACE_AT + 16, UINT32_MAX, 4},
        {VBIOS_INTERFACE_AT, VBIOS_MAPPER_AT + 8, VBIOS_DATA_BYTES - 43, 4},
        {VBIOS_INTERFACE_AT, VBIOS_MAPPER_AT + 8, UINT32_MAX, 4},
        {VBIOS_INTERFACE_AT, VBIOS_MAPPER_AT + 12, 43, 4},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(lies); i++) {
        make(&ampere, 0);
        uint8_t *data = malloc(VBIOS_DATA_BYTES);
        assert_non_null(data);
        if (lies[i].bytes != 0)
            vbios_put(&image, image.data + lies[i].at, lies[i].value, lies[i].bytes);
        memcpy(data, image.bytes + image.data, VBIOS_DATA_BYTES);
        const char *problem = "";
        if (fwsec_patch(data, VBIOS_DATA_BYTES, lies[i].interface_at, FWSEC_COMMAND_FRTS, 0x100000,
                        FWSEC_FRTS_BYTES, &problem) != -EINVAL ||
            problem[0] == '\0')
            fail_msg("lie %u was taken", i);
        assert_memory_equal(data, image.bytes + image.data, VBIOS_DATA_BYTES);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_3),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_signature_by_version),
        cmocka_unit_test(test_which_program),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_endless_chain),
        cmocka_unit_test(test_more_tokens_than_there_are),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_command_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    parse_cut(0, false); /* frees what the last test left */
    return failed;
}
