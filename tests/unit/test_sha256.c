/* tests/unit/test_sha256.c: SHA-256 against FIPS 180-4's published examples, in pieces of every size, both ways to hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/kernel.h"
#include "runtime/hash/sha256.h"
#include "tests/host/host.h"

static void check(const void *data, size_t size_bytes, size_t piece, const char *expected)
{
    struct sha256 sha;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    sha256_start(&sha);
    for (size_t at = 0; at < size_bytes; at += piece)
        sha256_add(&sha, (const uint8_t *)data + at,
                   size_bytes - at < piece ? size_bytes - at : piece);
    sha256_end(&sha, digest);
    sha256_hex(digest, hex);
    assert_string_equal(hex, expected);
}

static void test_published(void **state)
{
    check("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check("abc", 3, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    const char *two_digest = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
    for (size_t piece = 1; piece <= strlen(two); piece++)
        check(two, strlen(two), piece, two_digest);
    const size_t million = 1000000;
    char *as = malloc(million);
    memset(as, 'a', million);
    const char *as_digest = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    check(as, million, million, as_digest);
    check(as, million, 63, as_digest);
    check(as, million, 65, as_digest);
    free(as);
}

/* Lengths around a block's end, where the padding needs one block or two: the digest must not depend on the pieces. */
static void test_lengths(void **state)
{
    uint8_t data[200];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 37);
    for (size_t size = 0; size <= sizeof(data); size++) {
        struct sha256 whole, bytewise;
        uint8_t a[SHA256_BYTES], b[SHA256_BYTES];
        sha256_start(&whole);
        sha256_add(&whole, data, size);
        sha256_end(&whole, a);
        sha256_start(&bytewise);
        for (size_t i = 0; i < size; i++)
            sha256_add(&bytewise, data + i, 1);
        sha256_end(&bytewise, b);
        assert_memory_equal(a, b, sizeof(a));
    }
}

/* The two compression functions, on random states and blocks. Without the instructions the second cannot run. */
static void test_both_ways(void **state)
{
    if (!cpu_features()->sha_ni) {
        print_message("this CPU has no SHA instructions: that way cannot be run here\n");
        return;
    }
    for (int i = 0; i < 1000; i++) {
        uint32_t a[8], b[8];
        uint8_t blocks[64 * 3];
        random_bytes(a, sizeof(a));
        memcpy(b, a, sizeof(b));
        random_bytes(blocks, sizeof(blocks));
        sha256_blocks_portable(a, blocks, 3);
        sha256_blocks_sha_ni(b, blocks, 3);
        assert_memory_equal(a, b, sizeof(a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
