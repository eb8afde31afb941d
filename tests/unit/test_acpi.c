/*
 * tests/unit/test_acpi.c: the ACPI table reader on a made-up physical memory of 64 KiB at 0xf0000, with each field
 * of each table made wrong in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/acpi.c"

#define BASE UINT64_C(0xf0000)
static uint8_t firmware[65536];

const void *firmware_map(uint64_t pa, uint64_t size_bytes)
{
    if (pa < BASE || pa - BASE > sizeof(firmware) || size_bytes > sizeof(firmware) - (pa - BASE))
        return NULL;
    return firmware + (pa - BASE);
}

enum { RSDP = 0x10, RSDT = 0x100, XSDT = 0x200, MADT = 0x400, SSDT1 = 0x500, SSDT2 = 0x600 };

static void put(unsigned at, uint64_t value, unsigned bytes)
{
    memcpy(firmware + at, &value, bytes);
}

static void fix_sum(unsigned at, unsigned sum_at, unsigned bytes)
{
    firmware[at + sum_at] = 0;
    uint8_t sum = 0;
    for (unsigned i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + firmware[at + i]);
    firmware[at + sum_at] = (uint8_t)-sum;
}

static void put_table(unsigned at, const char *signature, unsigned bytes)
{
    memcpy(firmware + at, signature, 4);
    put(at + 4, bytes, 4);
    fix_sum(at, 9, bytes);
}

static void fix_rsdp(void)
{
    fix_sum(RSDP, 8, 20);
    fix_sum(RSDP, 32, 36);
}

/* A good set: MADT only in the RSDT, MADT and two SSDTs in the XSDT, a zero entry between. */
static int setup(void **state)
{
    (void)state;
    memset(firmware, 0, sizeof(firmware));
    memcpy(firmware + RSDP, "RSD PTR ", 8);
    firmware[RSDP + 15] = 2;
    put(RSDP + 16, BASE + RSDT, 4);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, BASE + XSDT, 8);
    fix_rsdp();
    put(RSDT + 36, BASE + MADT, 4);
    put_table(RSDT, "RSDT", 40);
    put(XSDT + 36, BASE + MADT, 8);
    put(XSDT + 44, 0, 8);
    put(XSDT + 52, BASE + SSDT1, 8);
    put(XSDT + 60, BASE + SSDT2, 8);
    put_table(XSDT, "XSDT", 68);
    put_table(MADT, "APIC", 44);
    put_table(SSDT1, "SSDT", 36);
    put_table(SSDT2, "SSDT", 200);
    return 0;
}

static void test_tables_are_found(void **state)
{
    (void)state;
    acpi_start(BASE + RSDP);
    assert_ptr_equal(acpi_table_find("APIC", 0), firmware + MADT);
    assert_null(acpi_table_find("APIC", 1));
    assert_ptr_equal(acpi_table_find("SSDT", 0), firmware + SSDT1);
    assert_ptr_equal(acpi_table_find("SSDT", 1), firmware + SSDT2);
    assert_null(acpi_table_find("HPET", 0));
}

static void test_old_firmware_has_an_rsdt(void **state)
{
    (void)state;
    firmware[RSDP + 15] = 0;
    fix_rsdp();
    acpi_start(BASE + RSDP);
    assert_ptr_equal(acpi_table_find("APIC", 0), firmware + MADT);
    assert_null(acpi_table_find("SSDT", 0));
}

static void test_rsdp_must_check_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) { /* any byte of the first part */
        firmware[RSDP + i] ^= 1;
        acpi_start(BASE + RSDP);
        assert_null(acpi_table_find("APIC", 0));
        firmware[RSDP + i] ^= 1;
    }
    for (unsigned i = 20; i < 36; i++) { /* any byte of the second: the RSDT is left */
        firmware[RSDP + i] ^= 1;
        acpi_start(BASE + RSDP);
        assert_ptr_equal(acpi_table_find("APIC", 0), firmware + MADT);
        assert_null(acpi_table_find("SSDT", 0));
        firmware[RSDP + i] ^= 1;
    }
    acpi_start(0);
    assert_null(acpi_table_find("APIC", 0));
    acpi_start(BASE + sizeof(firmware) - 10);
    assert_null(acpi_table_find("APIC", 0));
}

static void test_damaged_xsdt_leaves_the_rsdt(void **state)
{
    (void)state;
    firmware[XSDT + 40] ^= 1; /* checksum */
    acpi_start(BASE + RSDP);
    assert_non_null(acpi_table_find("APIC", 0));
    assert_null(acpi_table_find("SSDT", 0));
    firmware[RSDT + 38] ^= 1;
    acpi_start(BASE + RSDP);
    assert_null(acpi_table_find("APIC", 0));
}

static void test_damaged_tables_are_absent(void **state)
{
    (void)state;
    firmware[SSDT1 + 20] ^= 1;
    acpi_start(BASE + RSDP);
    assert_ptr_equal(acpi_table_find("SSDT", 0), firmware + SSDT2);
    assert_null(acpi_table_find("SSDT", 1));

    static const uint32_t lengths[] = {0, 1, 35, 0x10000, 16 << 20, (16 << 20) + 1, UINT32_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(lengths); i++) {
        put(SSDT2 + 4, lengths[i], 4);
        assert_null(acpi_table_find("SSDT", 0));
    }
    static const uint64_t places[] = {1, BASE + 65536 - 35, BASE - 1, UINT64_MAX, UINT64_MAX - 35};
    for (unsigned i = 0; i < ARRAY_COUNT(places); i++) {
        put(XSDT + 36, places[i], 8);
        put_table(XSDT, "XSDT", 68);
        acpi_start(BASE + RSDP);
        assert_null(acpi_table_find("APIC", 0));
    }
}

/* Half an entry at the end of the list is no entry, and the list's length is bounded. */
static void test_odd_root_lengths(void **state)
{
    (void)state;
    put_table(XSDT, "XSDT", 36 + 7);
    acpi_start(BASE + RSDP);
    assert_null(acpi_table_find("APIC", 0));

    memmove(firmware + 0x8000, firmware + XSDT, 36);
    for (unsigned i = 0; i < 1000; i++)
        put(0x8000 + 36 + 8 * i, BASE + SSDT1, 8);
    put_table(0x8000, "XSDT", 36 + 8 * 1000);
    put(RSDP + 24, BASE + 0x8000, 8);
    fix_rsdp();
    acpi_start(BASE + RSDP);
    assert_non_null(acpi_table_find("SSDT", ENTRY_MAX - 1));
    assert_null(acpi_table_find("SSDT", ENTRY_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tables_are_found, setup),
        cmocka_unit_test_setup(test_old_firmware_has_an_rsdt, setup),
        cmocka_unit_test_setup(test_rsdp_must_check_out, setup),
        cmocka_unit_test_setup(test_damaged_xsdt_leaves_the_rsdt, setup),
        cmocka_unit_test_setup(test_damaged_tables_are_absent, setup),
        cmocka_unit_test_setup(test_odd_root_lengths, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
