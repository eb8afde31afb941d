/* The machine layer's printf (kernel/format.c) against the C library's, and what differs on purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>

#include "kernel/format.c"

#define CHECK(...) \
    do { \
        char ours[512], theirs[512]; \
        size_t length = format_print(ours, sizeof(ours), __VA_ARGS__); \
        int expected = snprintf(theirs, sizeof(theirs), __VA_ARGS__); \
        assert_string_equal(ours, theirs); \
        assert_int_equal(length, expected); \
    } while (0)

static void test_integers(void **state)
{
    (void)state;
    static const int values[] = {0, 1, -1, 9, 10, 42, -12345, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        int v = values[i];
        CHECK("%d|%5d|%-5d|%05d|%+d|% d|%.3d|%8.3d|%x|%#x|%X|%08x|%o|%u", v, v, v, v, v, v, v, v,
              (unsigned)v, (unsigned)v, (unsigned)v, (unsigned)v, (unsigned)v, (unsigned)v);
    }
    CHECK("%lld %llu %llx %#018llx", (long long)INT64_MIN, (unsigned long long)UINT64_MAX,
          (unsigned long long)UINT64_MAX, 0xabcULL);
    CHECK("%ld %lu %zu %jd %td", -5L, 5UL, (size_t)7, (intmax_t)-8, (ptrdiff_t)9);
    static const int wide[] = {300, 200, 70000, 40000}; /* cut to the narrow types */
    CHECK("%hhu %hhd %hu %hd", (unsigned char)wide[0], (signed char)wide[1],
          (unsigned short)wide[2], (short)wide[3]);
    CHECK("%*d|%-*d|%.*d", 6, 42, 6, 42, 4, 42);
    CHECK("%p", (void *)0x1234);
    CHECK("100%%");
    CHECK("%.0d|", 0);
}

static void test_strings(void **state)
{
    (void)state;
    CHECK("%s|%10s|%-10s|%.2s|%c|%3c|%-3c", "text", "right", "left", "cut", 'c', 'd', 'e');
    char not_terminated[3] = {'a', 'b', 'c'};
    CHECK("%.3s", not_terminated);
    char out[16];
    const char *volatile nothing = NULL;
    format_print(out, sizeof(out), "%s", nothing);
    assert_string_equal(out, "(null)");
}

static void test_doubles(void **state)
{
    (void)state;
    CHECK("%f %.1f %.0f %8.3f %-8.2f| %08.2f %+.2f", 3.14159, 2.26, 7.0, -1.5, 1.005, 2.5, 3.25);
    CHECK("%.2f %.3f", 0.999, 0.9996);
    CHECK("%f %f", (double)INFINITY, (double)NAN);
    char out[32];
    format_print(out, sizeof(out), "%f", 1e300); /* no digits that nobody reads */
    assert_string_equal(out, "huge");
}

/* Whatever the size, the text is cut and terminated and nothing behind it is touched. */
static void test_bounds(void **state)
{
    (void)state;
    char full[64], cut[64];
    size_t length = format_print(full, sizeof(full), "%s %d %20s", "some text", 12345, "and more");
    for (size_t size = 1; size <= length + 1; size++) {
        memset(cut, '#', sizeof(cut));
        assert_int_equal(format_print(cut, size, "%s %d %20s", "some text", 12345, "and more"),
                         size - 1);
        assert_memory_equal(cut, full, size - 1);
        assert_int_equal(cut[size - 1], '\0');
        assert_int_equal(cut[size], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
