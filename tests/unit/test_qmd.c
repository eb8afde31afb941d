/*
 * tests/unit/test_qmd.c: QMD encoder: a launch that ran on an H200, and every field of every version against its edges.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "gpu/nvidia/qmd.h"
#include "kernel/kernel.h"

/*
 * vector_add of 1000 elements on an H200 (driver 580.159.04, 2026-11-21), right result: one block of 256 threads, arguments at
 * 0x200093200, releases of 1 to the timeline at 0x200040000 and to the queue's fence at 0x200040040.
 */
static const uint32_t captured[64] = {
    0x013f0000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
    0x00000000, 0x00000000, 0x10051005, 0x00000000, 0x00000000, 0x00000009, 0x00000000, 0x00000000,
    0x90000000, 0x03000000, 0x3c040040, 0x00003e83, 0x00040000, 0x00000002, 0x00000001, 0x00000000,
    0x00040040, 0x00000002, 0x00000001, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
    0x00000001, 0x00000001, 0x00000001, 0x00010000, 0x00010100, 0x08140001, 0x0002fd00, 0x00000002,
    0x00000000, 0x00000000, 0x020002fd, 0x00080000, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
    0x080024c8, 0x01180000,
};

static void test_captured_launch(void **state)
{
    uint32_t qmd[QMD_DWORDS_MAX];
    memset(qmd, 0xff, sizeof(qmd));
    qmd_program_encode(&(struct qmd_program){.version = QMD_V4,
                                             .program_gva = 0x20002fd00,
                                             .program_bytes = 1024,
                                             .sass_version = 0x90,
                                             .register_count = 20,
                                             .barrier_count = 1,
                                             .shared_config_max_kib = 228},
                       qmd);
    qmd_launch_encode(QMD_V4,
                      &(struct qmd_launch){.grid = {1, 1, 1},
                                           .block = {256, 1, 1},
                                           .shared_bytes = 1024,
                                           .shared_min_kib = 8,
                                           .shared_target_kib = 8,
                                           .constant_gva = 0x200093200,
                                           .constant_bytes = 560},
                      qmd);
    qmd_release_encode(QMD_V4, qmd, 0, 0x200040000, 1);
    qmd_release_encode(QMD_V4, qmd, 1, 0x200040040, 1);
    for (unsigned i = 0; i < QMD_DWORDS_MAX; i++)
        assert_int_equal(qmd[i], i < 64 ? captured[i] : 0);
}

/* Each field takes 0 and its largest value, reads back the same, and touches no bit of another. */
static void test_fields(void **state)
{
    for (enum qmd_version version = QMD_V2; version <= QMD_V5; version++) {
        uint8_t owner[QMD_DWORDS_MAX * 32] = {0};
        for (enum qmd_field field = 0; field < QMD_FIELD_COUNT; field++) {
            assert_non_null(qmd_field_name(field));
            if (!qmd_has(version, field))
                continue;
            unsigned count = field >= QMD_RELEASE_ENABLE          ? qmd_release_count(version)
                             : field >= QMD_CONSTANT_BUFFER_VALID ? 8
                                                                  : 1;
            uint64_t max = qmd_max(version, field);
            assert_true(max > 0);
            for (unsigned index = 0; index < count; index++) {
                uint32_t zeros[QMD_DWORDS_MAX] = {0}, ones[QMD_DWORDS_MAX];
                memset(ones, 0xff, sizeof(ones));
                qmd_set(version, zeros, field, index, max);
                qmd_set(version, ones, field, index, 0);
                assert_true(qmd_get(version, zeros, field, index) == max);
                assert_true(qmd_get(version, ones, field, index) == 0);
                for (unsigned bit = 0; bit < QMD_DWORDS_MAX * 32; bit++) {
                    unsigned set = zeros[bit / 32] >> bit % 32 & 1;
                    assert_int_equal(set, !(ones[bit / 32] >> bit % 32 & 1));
                    if (set == 0)
                        continue;
                    assert_true(bit < qmd_dwords(version) * 32 && bit < QMD_DWORDS_USED * 32);
                    if (owner[bit] != 0)
                        fail_msg("version %d: %s and %s share bit %u", version,
                                 qmd_field_name(field), qmd_field_name(owner[bit] - 1), bit);
                    owner[bit] = (uint8_t)(field + 1);
                }
            }
        }
    }
}

/* Bits as NVIDIA's headers place them, one of each kind of field per version. */
static void test_places(void **state)
{
    static const struct {
        enum qmd_version version;
        enum qmd_field field;
        unsigned index;
        uint64_t value;
        unsigned dword;
        uint32_t wanted;
    } cases[] = {
        {QMD_V2, QMD_MAJOR_VERSION, 0, 2, 18, 0x20},                        /* MW(583:580) */
        {QMD_V2, QMD_SHADER_LOCAL_MEMORY_HIGH_SIZE, 0, 0x1230, 30, 0x1230}, /* MW(983:960) */
        {QMD_V3, QMD_REGISTER_COUNT, 0, 0x1ff, 20, 0x1ff00},                /* MW(656:648) */
        {QMD_V3, QMD_CONSTANT_BUFFER_VALID, 5, 1, 20, 0x20},                /* MW(640 + i) */
        {QMD_V3, QMD_CONSTANT_BUFFER_SIZE, 1, 0x230, 35,
         0x23 << 19}, /* MW(1087:1075) + 64, in units of 16 */
        {QMD_V3, QMD_RELEASE_ADDR, 1, 0xab12345678, 28, 0x12345678}, /* MW(935:896) */
        {QMD_V3, QMD_RELEASE_ADDR, 1, 0xab12345678, 29, 0xab},
        {QMD_V4, QMD_CONSTANT_BUFFER_ADDR, 3, 0x123456789abc0, 54,
         0x159e26af}, /* MW(1567:1536) + 192, shifted by 6 */
        {QMD_V4, QMD_DEPENDENT_QMD0_POINTER, 0, 0x89abcdef, 14, 0x89abcdef}, /* MW(479:448) */
        {QMD_V5, QMD_PROGRAM_ADDRESS, 0, 0x1234567890, 32,
         0x23456789},                                      /* MW(1055:1024), shifted by 4 */
        {QMD_V5, QMD_SHARED_MEMORY_SIZE, 0, 0x480, 36, 9}, /* MW(1162:1152), shifted by 7 */
        {QMD_V5, QMD_RELEASE_PAYLOAD, 1, 0x1122334455667788, 27, 0x11223344}, /* MW(895:864) */
        {QMD_V5, QMD_GRID_WIDTH, 0, 0x7fffffff, 39, 0x7fffffff},              /* MW(1279:1248) */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint32_t qmd[QMD_DWORDS_MAX] = {0};
        qmd_set(cases[i].version, qmd, cases[i].field, cases[i].index, cases[i].value);
        assert_int_equal(qmd[cases[i].dword], cases[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captured_launch),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
