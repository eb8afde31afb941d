/* tests/unit/test_checksum.c: the Internet checksum against RFC 1071's own words, 16 bits at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernel/kernel.h"
#include "runtime/net/checksum.c"

/* RFC 1071, 4.1, with words in memory order. */
static uint16_t reference(const uint8_t *data, int size_bytes)
{
    uint32_t sum = 0;
    for (int i = 0; i < size_bytes; i++)
        sum += i % 2 ? (uint32_t)data[i] << 8 : data[i];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void test_rfc_example(void **state)
{
    (void)state;
    static const uint8_t example[] = {0x00, 0x01, 0xf2, 0x03,
                                      0xf4, 0xf5, 0xf6, 0xf7}; /* section 3 */
    assert_int_equal(__builtin_bswap16(internet_checksum(example, 8)), 0xddf2);
    assert_int_equal(internet_checksum(example, 0), 0);
    assert_int_equal(internet_checksum(example, -1), 0);
}

/* Every length to 200 at every alignment, of random bytes, of zeros and of ones, where carries pile up. */
static void test_lengths_and_alignments(void **state)
{
    (void)state;
    static uint8_t data[256];
    const char *given = getenv("INGOT_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time_ns();
    printf("seed %u (INGOT_SEED repeats it)\n", seed);
    srand(seed);
    for (unsigned fill = 0; fill < 10; fill++) {
        for (unsigned i = 0; i < sizeof(data); i++)
            data[i] = fill == 0 ? 0 : fill == 1 ? 0xff : (uint8_t)(rand() >> 4);
        for (int offset = 0; offset < 8; offset++)
            for (int bytes = 0; bytes <= 200; bytes++)
                assert_int_equal(internet_checksum(data + offset, bytes),
                                 reference(data + offset, bytes));
    }
}

/* The longest frame of ones: the 64-bit sum wraps many times. */
static void test_long_data(void **state)
{
    (void)state;
    static uint8_t data[65535];
    memset(data, 0xff, sizeof(data));
    assert_int_equal(internet_checksum(data, sizeof(data)), reference(data, sizeof(data)));
    data[40000] = 1;
    assert_int_equal(internet_checksum(data, sizeof(data)), reference(data, sizeof(data)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_example),
        cmocka_unit_test(test_lengths_and_alignments),
        cmocka_unit_test(test_long_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
