/*
 * tests/unit/test_gsp_firmware.c: NVIDIA's real firmware files, of all chips, taken apart (gpu/nvidia/gsp/firmware.c), booter
 * images as SEC2 gets them, radix3 tables walked as the GSP walks them; and damaged files refused.
 *
 * The files are those that setup/firmware unpacks; the numbers below were read from them with other tools (readelf, xxd).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gpu/nvidia/gsp/booter.h"
#include "gpu/nvidia/gsp/firmware.h"
#include "tests/host/host.h"

#define FIRMWARE_FOLDER "build/deps/firmware"

/* One chip of each family; by BOOT_42's architecture and implementation. */
static const struct {
    uint16_t chip_id;
    uint64_t program_bytes;
    struct {
        uint64_t image_bytes;
        unsigned signature_count, signature_bytes, signature_at, ucode_id, data_bytes, code_bytes;
    } load, unload;
    unsigned boot_loader_bytes, boot_loader_code, boot_loader_data;
    unsigned fmc_bytes, key_bytes, signature_bytes;
    uint8_t hash_start[4]; /* of SHA-384 over the FMC's image */
} chips[] = {
    {0x162,
     0x1b34ea0,
     {0xe700, 1, 16, 0x8700, 13, 0x6200, 0x8400},
     {0x9900, 1, 16, 0x4e00, 13, 0x4d00, 0x4b00},
     0x1000,
     0,
     0,
     0,
     0,
     0,
     {0}},
    {0x168,
     0x1b34ea0,
     {0xe600, 1, 16, 0x8600, 13, 0x6200, 0x8300},
     {0x9800, 1, 16, 0x4d00, 13, 0x4d00, 0x4a00},
     0x1000,
     0,
     0,
     0,
     0,
     0,
     {0}},
    {0x170,
     0x1b34ea0,
     {0xeb00, 1, 384, 0x8900, 3, 0x6400, 0x8600},
     {0x9c00, 1, 384, 0x4f00, 3, 0x4f00, 0x4c00},
     0x1000,
     0,
     0,
     0,
     0,
     0,
     {0}},
    {0x172,
     0x3c99000,
     {0xec00, 2, 384, 0x8a10, 3, 0x6200, 0x8900},
     {0x9d00, 2, 384, 0x5010, 3, 0x4d00, 0x4f00},
     0x6000,
     0x1800,
     0x800,
     0,
     0,
     0,
     {0}},
    {0x192,
     0x3c99000,
     {0xde00, 2, 384, 0x7e10, 3, 0x6000, 0x7d00},
     {0x9f00, 2, 384, 0x5010, 3, 0x4e00, 0x4f00},
     0x9000,
     0x4800,
     0x800,
     0,
     0,
     0,
     {0}},
    {0x180,
     0x3c99000,
     {0},
     {0},
     0x29000,
     0xb100,
     0xa00,
     165448,
     384,
     384,
     {0xf3, 0x10, 0x5e, 0x5c}},
    {0x1a0, 0x3c99000, {0}, {0}, 0x31000, 0xb100, 0xa00, 197448, 97, 96, {0x65, 0xd5, 0x1e, 0x1b}},
    {0x1b2, 0x3c99000, {0}, {0}, 0x31000, 0xb200, 0xa00, 199240, 97, 96, {0xce, 0xd6, 0x92, 0x54}},
};

static int setup(void **state)
{
    host_boot_folder(FIRMWARE_FOLDER);
    return 0;
}

static int teardown(void **state)
{
    host_boot_files_clear();
    return 0;
}

static struct hw hw_of(uint16_t chip_id)
{
    struct hw hw = {.chip = hw_chip_find(chip_id)};
    assert_non_null(hw.chip);
    return hw;
}

/* ---- whole sets --------------------------------------------------------------------------------------------------- */

static void check_booter(const struct gsp_secure_code *code, enum hw_falcon kind,
                         uint64_t image_bytes, unsigned count, unsigned bytes, unsigned at,
                         unsigned ucode_id, unsigned data_bytes, unsigned code_bytes)
{
    assert_int_equal(code->image.bytes, image_bytes);
    assert_int_equal(code->signature_count, count);
    assert_int_equal(code->signature_bytes, bytes);
    assert_int_equal(code->signature_at, at);
    assert_int_equal(code->engine_id_mask, 1); /* SEC2 */
    assert_int_equal(code->ucode_id, ucode_id);
    assert_int_equal(code->os_code_offset, 0);
    assert_int_equal(code->os_code_bytes, 0x100);
    assert_int_equal(code->app_code_offset, 0x100);
    assert_int_equal(code->app_code_bytes, code_bytes);
    assert_int_equal(code->data_offset, 0x100 + code_bytes);
    assert_int_equal(code->data_bytes, data_bytes);
    assert_true(code->data_offset + code->data_bytes <= image_bytes);

    /* The image that SEC2 gets differs from the file's in the signature only. */
    uint8_t *image = malloc(image_bytes);
    assert_non_null(image);
    for (unsigned version = 0; version < count; version++) {
        struct falcon_image parts;
        assert_int_equal(booter_image(code, kind, version, image, &parts), 0);
        const uint8_t *signature = code->signatures + (size_t)(count - 1 - version) * bytes;
        assert_memory_equal(image + at, signature, bytes);
        assert_memory_equal(image, code->image.data, at);
        assert_memory_equal(image + at + bytes, code->image.data + at + bytes,
                            image_bytes - at - bytes);
        assert_int_equal(parts.size_bytes, image_bytes);
        assert_int_equal(parts.imem.offset, 0x100);
        assert_int_equal(parts.imem.tag, 0x100);
        assert_int_equal(parts.dmem.offset, code->data_offset);
        if (kind ==
            HW_FALCON_TU102) { /* the secure part is behind the other one, and entered through it */
            assert_int_equal(parts.imem_nonsecure.size_bytes, 0x100);
            assert_int_equal(parts.imem.address, 0x100);
            assert_int_equal(parts.boot_vector, 0);
        } else {
            assert_int_equal(parts.imem_nonsecure.size_bytes, 0);
            assert_int_equal(parts.imem.address, 0);
            assert_int_equal(parts.boot_vector, 0x100);
            assert_int_equal(parts.signature_dmem, at - code->data_offset);
            assert_int_equal(parts.engine_id_mask, 1);
            assert_int_equal(parts.ucode_id, ucode_id);
        }
    }
    struct falcon_image parts;
    assert_int_equal(booter_image(code, kind, count, image, &parts), count == 1 ? 0 : -EINVAL);
    free(image);
}

static void test_every_chip(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(chips); i++) {
        struct hw hw = hw_of(chips[i].chip_id);
        struct gsp_firmware firmware;
        print_message("%s\n", hw.chip->name);
        if (gsp_firmware_load(&hw, &firmware) != 0)
            fail_msg("%s", hw.error);
        assert_int_equal(firmware.program.image.bytes, chips[i].program_bytes);
        assert_int_equal(firmware.program.signature.bytes, PAGE_SIZE);
        assert_int_equal(firmware.boot_loader.image.bytes, chips[i].boot_loader_bytes);
        assert_int_equal(firmware.boot_loader.code_offset, chips[i].boot_loader_code);
        assert_int_equal(firmware.boot_loader.data_offset, chips[i].boot_loader_data);
        assert_int_equal(firmware.boot_loader.manifest_offset, 0);
        bool has_loader = hw.chip->falcon == HW_FALCON_TU102;
        assert_int_equal(firmware.fwsec_loader.size_bytes, has_loader ? 0x200 : 0);
        assert_int_equal(firmware.fwsec_loader.start_tag, has_loader ? 0xfd : 0);
        if (hw.chip->boot == HW_BOOT_SEC2) {
            assert_int_equal(firmware.fmc.image.bytes, 0);
            check_booter(&firmware.booter_load, hw.chip->falcon, chips[i].load.image_bytes,
                         chips[i].load.signature_count, chips[i].load.signature_bytes,
                         chips[i].load.signature_at, chips[i].load.ucode_id,
                         chips[i].load.data_bytes, chips[i].load.code_bytes);
            check_booter(&firmware.booter_unload, hw.chip->falcon, chips[i].unload.image_bytes,
                         chips[i].unload.signature_count, chips[i].unload.signature_bytes,
                         chips[i].unload.signature_at, chips[i].unload.ucode_id,
                         chips[i].unload.data_bytes, chips[i].unload.code_bytes);
        } else {
            assert_int_equal(firmware.booter_load.image.bytes, 0);
            assert_int_equal(firmware.fmc.image.bytes, chips[i].fmc_bytes);
            assert_int_equal(firmware.fmc.hash.bytes, 48);
            assert_memory_equal(firmware.fmc.hash.data, chips[i].hash_start, 4);
            assert_int_equal(firmware.fmc.public_key.bytes, chips[i].key_bytes);
            assert_int_equal(firmware.fmc.signature.bytes, chips[i].signature_bytes);
        }
    }
}

/* Each family has a signature of its own in the program that it shares. */
static void test_signatures_differ(void **state)
{
    static const char *const families[2][5] = {{"tu102", "tu116", "ga100", NULL},
                                               {"ga102", "ad102", "gh100", "gb100", "gb202"}};
    const char *problem;
    for (unsigned set = 0; set < 2; set++) {
        struct gsp_bytes file;
        struct hw hw = hw_of(set == 0 ? 0x162 : 0x172);
        assert_int_equal(gsp_firmware_file(&hw, "gsp", &file), 0);
        struct gsp_program programs[5];
        for (unsigned i = 0; i < 5 && families[set][i] != NULL; i++) {
            assert_int_equal(gsp_program_parse(file, families[set][i], &programs[i], &problem), 0);
            for (unsigned j = 0; j < i; j++) {
                assert_ptr_equal(programs[i].image.data, programs[j].image.data);
                assert_memory_not_equal(programs[i].signature.data, programs[j].signature.data,
                                        PAGE_SIZE);
            }
        }
        assert_int_equal(gsp_program_parse(file, families[1 - set][0], &programs[0], &problem),
                         -EINVAL);
        assert_string_equal(problem, "it has no signature for this chip");
    }
}

/* ---- radix3 ----------------------------------------------------------------------------------------------------------- */

/* The page of the program with this index, found through the tables alone. */
static const uint8_t *radix3_page(const void *level_0, uint64_t index)
{
    const uint64_t *level_1 = (const uint64_t *)((const uint64_t *)level_0)[0];
    const uint64_t *level_2 = (const uint64_t *)level_1[index / 512];
    return (const uint8_t *)level_2[index % 512];
}

/* In place, as gsp_start() does it: through the tables every page is that of the file; a part of one comes from elsewhere. */
static void check_round_trip(uint16_t chip_id, unsigned level_2_pages)
{
    struct hw hw = hw_of(chip_id);
    struct gsp_firmware firmware;
    assert_int_equal(gsp_firmware_load(&hw, &firmware), 0);
    struct gsp_bytes image = firmware.program.image;
    uint64_t bytes = gsp_radix3_bytes(image.bytes), whole = image.bytes / PAGE_SIZE;
    assert_int_equal(bytes, (2 + level_2_pages) * PAGE_SIZE);
    void *tables = page_alloc(bytes, 0);
    uint8_t *tail = page_alloc(PAGE_SIZE, 0);
    assert_non_null(tables);
    assert_non_null(tail);
    memcpy(tail, image.data + whole * PAGE_SIZE, image.bytes % PAGE_SIZE);
    gsp_radix3_build(tables, dma_addr(tables), dma_addr(image.data), image.bytes, dma_addr(tail));
    for (uint64_t page = 0; page < whole; page++)
        assert_ptr_equal(radix3_page(tables, page), image.data + page * PAGE_SIZE);
    if (image.bytes % PAGE_SIZE != 0)
        assert_ptr_equal(radix3_page(tables, whole++), tail);
    /* Nothing behind the last page. */
    const uint64_t *level_1 = (const uint64_t *)*(uint64_t *)tables;
    assert_int_equal(level_1[level_2_pages], 0);
    assert_int_equal(((const uint64_t *)level_1[level_2_pages - 1])[whole % 512], 0);
    page_free(tables, bytes);
    page_free(tail, PAGE_SIZE);
}

static void test_radix3_round_trip(void **state)
{
    check_round_trip(0x172, 31); /* 15513 pages */
    check_round_trip(0x162, 14); /* 6964 pages and a part of one */
}

static void test_radix3_sizes(void **state)
{
    uint64_t page = PAGE_SIZE, gib = UINT64_C(1) << 30;
    assert_int_equal(gsp_radix3_bytes(0), 0);
    assert_int_equal(gsp_radix3_bytes(1), 3 * page);
    assert_int_equal(gsp_radix3_bytes(512 * page), 3 * page);
    assert_int_equal(gsp_radix3_bytes(512 * page + 1), 4 * page);
    assert_int_equal(gsp_radix3_bytes(gib), 514 * page);
    assert_int_equal(gsp_radix3_bytes(gib + 1), 0);
    assert_int_equal(gsp_radix3_bytes(UINT64_MAX), 0);
}

/* ---- missing and wrong files -------------------------------------------------------------------------------------------- */

static void test_missing(void **state)
{
    host_boot_files_clear();
    struct hw hw = hw_of(0x174);
    struct gsp_firmware firmware;
    assert_int_equal(gsp_firmware_load(&hw, &firmware), -ENOENT);
    assert_string_equal(hw.error, "/firmware/nvidia/ga102/gsp/gsp-570.144.bin is not on the boot "
                                  "disk: `make image GPU=ga104` puts it there");
}

/* A copy of a real file, for damage. */
static uint8_t *copy_of(uint16_t chip_id, const char *kind, uint64_t *bytes)
{
    struct hw hw = hw_of(chip_id);
    struct gsp_bytes file;
    assert_int_equal(gsp_firmware_file(&hw, kind, &file), 0);
    uint8_t *copy = malloc(file.bytes);
    assert_non_null(copy);
    memcpy(copy, file.data, file.bytes);
    *bytes = file.bytes;
    return copy;
}

static void test_wrong_is_named(void **state)
{
    uint64_t bytes;
    uint8_t *file = copy_of(0x172, "booter_load", &bytes);
    host_boot_file_add("NVIDIA/GA102/GSP/BOOTER_LOAD-570.144.BIN", file, bytes / 2);
    struct hw hw = hw_of(0x172);
    struct gsp_firmware firmware;
    assert_int_equal(gsp_firmware_load(&hw, &firmware), -EINVAL);
    assert_string_equal(hw.error, "/firmware/nvidia/ga102/gsp/booter_load-570.144.bin: it ends "
                                  "before its data does; `make image GPU=ga102` puts a good one on "
                                  "the boot disk");
    free(file);
}

/* Whatever a file is cut to, it is refused, and nothing behind its end is read (the sanitizer watches). */
static void test_cut(void **state)
{
    static const struct {
        uint16_t chip_id;
        const char *kind;
    } files[] = {{0x172, "booter_load"},
                 {0x162, "booter_unload"},
                 {0x172, "bootloader"},
                 {0x180, "fmc"},
                 {0x162, "gen_bootloader"}};
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        uint64_t bytes;
        uint8_t *whole = copy_of(files[i].chip_id, files[i].kind, &bytes);
        for (uint64_t cut = 0; cut < bytes; cut = cut < 1200 ? cut + 1 : cut + 997) {
            uint8_t *part = malloc(cut + 1);
            memcpy(part, whole, cut);
            struct gsp_bytes file = {part, cut};
            struct gsp_secure_code code;
            struct gsp_boot_loader boot_loader;
            struct gsp_fmc fmc;
            struct fwsec_loader loader;
            const char *problem = NULL;
            int error = i < 2    ? gsp_secure_code_parse(file, &code, &problem)
                        : i == 2 ? gsp_boot_loader_parse(file, &boot_loader, &problem)
                        : i == 3 ? gsp_fmc_parse(file, &fmc, &problem)
                                 : gsp_loader_parse(file, &loader, &problem);
            assert_int_equal(error, -EINVAL);
            assert_non_null(problem);
            free(part);
        }
        free(whole);
    }
}

static void set32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void test_damaged_booter(void **state)
{
    static const struct {
        unsigned at;
        uint32_t value;
        const char *problem;
    } damages[] = {
        {0, 0x10df, "it is not a firmware container"},
        {4, 2, "it is a firmware container of another version"},
        {12, UINT32_MAX, "it ends before its data does"},
        {20, UINT32_MAX, "it ends before its data does"},
        {0x18, UINT32_MAX, "a part of its header lies outside of it"},
        {0x20, UINT32_MAX - 2, "a part of its header lies outside of it"},
        {0x2c, 11, "a part of its header lies outside of it"},
        {0x38, 35, "a part of its header lies outside of it"},
        {0x350, 0, "its signatures have no size"},
        {0x350, 5, "its signatures have no size"},
        {0x340, 4, "its signatures do not begin where they should"},
        {0x33c, 0x8900, "its signature's place is not in its data"},
        {0x33c, 0xebff, "its signature's place is not in its data"},
        {0x354 + 0, 0xec01, "a part of its image lies outside of it"},
        {0x354 + 12, 0x6201, "a part of its image lies outside of it"},
        {0x354 + 16, 2, "it has not exactly one application"},
        {0x354 + 24, 0, "a part of its image lies outside of it"},
        {0x344 + 8, 256, "its identifiers are too large"},
    };
    uint64_t bytes;
    uint8_t *whole = copy_of(0x172, "booter_load", &bytes);
    struct gsp_secure_code code;
    const char *problem = NULL;
    assert_int_equal(gsp_secure_code_parse((struct gsp_bytes){whole, bytes}, &code, &problem), 0);
    uint8_t *damaged = malloc(bytes);
    for (size_t i = 0; i < ARRAY_COUNT(damages); i++) {
        memcpy(damaged, whole, bytes);
        set32(damaged + damages[i].at, damages[i].value);
        assert_int_equal(gsp_secure_code_parse((struct gsp_bytes){damaged, bytes}, &code, &problem),
                         -EINVAL);
        if (strcmp(problem, damages[i].problem) != 0)
            fail_msg("%#x: %s, expected: %s", damages[i].at, problem, damages[i].problem);
    }
    free(damaged);
    free(whole);
}

/* One bit of the FMC's image, hash, key or signature: its own checksum tells before the FSP does. */
static void test_damaged_fmc(void **state)
{
    uint64_t bytes;
    uint8_t *file = copy_of(0x1b2, "fmc", &bytes);
    struct gsp_fmc fmc;
    const char *problem;
    assert_int_equal(gsp_fmc_parse((struct gsp_bytes){file, bytes}, &fmc, &problem), 0);
    for (uint64_t at = 0x150; at < bytes; at += at < 0x300 ? 13 : 20011) {
        if (at >= 0x241 && at < 0x244)
            continue; /* between two sections */
        file[at] ^= 0x10;
        assert_int_equal(gsp_fmc_parse((struct gsp_bytes){file, bytes}, &fmc, &problem), -EINVAL);
        file[at] ^= 0x10;
    }
    free(file);
}

/* An ELF header's offsets and counts, one by one. The real file is large: a small one is made. */
static void test_damaged_program(void **state)
{
    static const char names[] = "\0.fwimage\0.fwversion\0.fwsignature_ga10x\0.names";
    static const struct {
        unsigned name_at, offset, bytes;
    } sections[5] = {{0, 0, 0},
                     {1, 0x40, 0x1000},
                     {10, 0x1040, 8},
                     {21, 0x1048, 0x100},
                     {40, 0x1148, sizeof(names)}};
    static uint8_t file[0x1180 + 5 * 64];
    uint8_t *header = file + 0x1180;
    memcpy(file,
           "\x7f"
           "ELF\x02\x01\x01",
           7);
    set32(file + 0x28, 0x1180);
    file[0x3a] = 64;
    file[0x3c] = 5;
    file[0x3e] = 4;
    memcpy(file + 0x1040, "570.144", 8);
    memcpy(file + 0x1148, names, sizeof(names));
    for (unsigned i = 0; i < 5; i++) {
        set32(header + 64 * i, sections[i].name_at);
        set32(header + 64 * i + 0x18, sections[i].offset);
        set32(header + 64 * i + 0x20, sections[i].bytes);
    }
    struct gsp_bytes whole = {file, sizeof(file)};
    struct gsp_program program;
    const char *problem = "";
    assert_int_equal(gsp_program_parse(whole, "ga102", &program, &problem), 0);
    assert_int_equal(program.image.bytes, 0x1000);
    assert_int_equal(program.signature.bytes, 0x100);
    assert_int_equal(gsp_program_parse(whole, "ad102", &program, &problem), -EINVAL);

    static const struct {
        unsigned at;
        uint8_t value;
        const char *problem;
    } damages[] = {
        {1, 'e', "it is not an ELF file"},
        {4, 1, "it is an ELF file of another class"},
        {5, 2, "it is an ELF file of another class"},
        {0x2f, 0xff, "it ends before its section headers do"},
        {0x3a, 63, "it ends before its section headers do"},
        {0x3c, 6, "it ends before its section headers do"},
        {0x3c, 0, "its sections have no names"},
        {0x3e, 5, "its sections have no names"},
        {0x1180 + 4 * 64 + 0x1f, 1, "its section names lie outside of it"},
        {0x1180 + 4 * 64 + 0x20, 1, "it is not of release 570.144"},
        {0x1180 + 4 * 64 + 0x20, 2, "its section names lie outside of it"},
        {0x1180 + 4 * 64 + 0x20, 0, "its section names lie outside of it"},
        {0x1046, '5', "it is not of release 570.144"},
        {0x1180 + 1 * 64 + 0x27, 0x80, "it has no section .fwimage"},
        {0x1180 + 1 * 64 + 3, 0x80, "it has no section .fwimage"},
        {0x1180 + 3 * 64 + 0x21, 0x11, "it has no signature for this chip"},
        {0x1180 + 1 * 64 + 0x18, 0x48, "its image does not begin behind its header"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(damages); i++) {
        uint8_t good = file[damages[i].at];
        file[damages[i].at] = damages[i].value;
        assert_int_equal(gsp_program_parse(whole, "ga102", &program, &problem), -EINVAL);
        if (strcmp(problem, damages[i].problem) != 0)
            fail_msg("%#x: %s, expected: %s", damages[i].at, problem, damages[i].problem);
        file[damages[i].at] = good;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_chip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signatures_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(test_radix3_round_trip, setup, teardown),
        cmocka_unit_test(test_radix3_sizes),
        cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_booter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_fmc, setup, teardown),
        cmocka_unit_test(test_damaged_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
