/*
 * tests/unit/test_pci_facts.c: what pci_facts() reads out of configuration spaces: an ordinary NVIDIA card, a device
 * that is gone, and spaces whose capability lists run in circles or out of the space.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/pci.h"
#include "tests/host/host.h"

static struct pci_device *device;
static uint8_t *config;

static void put(unsigned at, uint32_t value, unsigned bytes)
{
    memcpy(config + at, &value, bytes);
}

/* A card as it lies behind a slot: BAR0 16 MiB, BAR1 256 MiB with 64 bits, BAR3, an I/O BAR5. */
static int setup(void **state)
{
    static const struct pci_device card = {
        .bus = 1,
        .vendor_id = 0x10de,
        .device_id = 0x2204,
        .base_class = 3,
        .revision = 0xa1,
        .bar = {{.pa = 0xfc000000, .size_bytes = 16 << 20},
                {.pa = UINT64_C(0x7000000000),
                 .size_bytes = 256 << 20,
                 .is_64 = true,
                 .is_prefetchable = true},
                {0},
                {.pa = UINT64_C(0x7010000000), .is_64 = true, .is_prefetchable = true}},
    };
    void *none[6] = {0};
    device = host_pci_add(&card, none);
    config = host_pci_config(device);
    put(0x1c, 0x1000000c, 4); /* BAR3: an address, but nobody has found out its size */
    put(0x20, 0x70, 4);
    put(0x24, 0xe001, 4); /* BAR5: I/O */
    put(PCI_COMMAND, 6, 2);
    put(PCI_STATUS, PCI_STATUS_CAPABILITIES, 2);
    put(PCI_CAPABILITIES, 0x60, 1);
    put(0x60, 0x6801, 2); /* power management, D3hot */
    put(0x64, 3, 2);
    put(0x68, 0x7805, 2); /* MSI, 4 vectors, on */
    put(0x6a, 2 << 1 | 1, 2);
    put(0x78, 0xb410, 2); /* PCI Express: could be 16 GT/s x16, is 2.5 GT/s x8 */
    put(0x78 + 0x0c, 0x104, 4);
    put(0x78 + 0x12, 0x81, 2);
    put(0xb4, 0x0011, 2); /* MSI-X, 9 vectors, off; the last one */
    put(0xb6, 8, 2);
    put(0x100, 0x25010019, 4); /* secondary PCI Express */
    put(0x250, 0x00010015, 4); /* resizable BAR, the last one */
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    host_pci_clear();
    (void)state;
    return 0;
}

static void test_card(void **state)
{
    struct pci_facts facts;
    assert_true(pci_facts(device, &facts));
    assert_true(facts.is_decoding && facts.is_bus_master);
    assert_int_equal(facts.power_state, 3);
    assert_int_equal(facts.link_rate_max, 16000);
    assert_int_equal(facts.link_width_max, 16);
    assert_int_equal(facts.link_rate, 2500);
    assert_int_equal(facts.link_width, 8);
    assert_int_equal(facts.msi_vectors, 4);
    assert_true(facts.is_msi_on);
    assert_int_equal(facts.msix_vectors, 9);
    assert_false(facts.is_msix_on);

    static const bool has_bar[6] = {true, true, false, true, false, true};
    assert_memory_equal(facts.has_bar, has_bar, sizeof(has_bar));
    assert_int_equal(facts.bars[0].pa, 0xfc000000);
    assert_int_equal(facts.bars[0].size_bytes, 16 << 20);
    assert_false(facts.bars[0].is_prefetchable);
    assert_int_equal(facts.bars[1].pa, UINT64_C(0x7000000000));
    assert_true(facts.bars[1].is_64 && facts.bars[1].is_prefetchable);
    assert_int_equal(facts.bars[3].pa, UINT64_C(0x7010000000));
    assert_int_equal(facts.bars[3].size_bytes, 0);
    assert_true(facts.bars[5].is_io);
    assert_int_equal(facts.bars[5].pa, 0xe000);

    static const struct {
        uint16_t id, offset;
        const char *name;
    } wanted[] = {{0x01, 0x60, "power management"},
                  {0x05, 0x68, "MSI"},
                  {0x10, 0x78, "PCI Express"},
                  {0x11, 0xb4, "MSI-X"},
                  {0x19, 0x100, "secondary PCI Express"},
                  {0x15, 0x250, "resizable BAR"}};
    assert_int_equal(facts.capability_count, ARRAY_COUNT(wanted));
    for (unsigned i = 0; i < ARRAY_COUNT(wanted); i++) {
        assert_int_equal(facts.capabilities[i].id, wanted[i].id);
        assert_int_equal(facts.capabilities[i].offset, wanted[i].offset);
        assert_string_equal(facts.capabilities[i].name, wanted[i].name);
        assert_int_equal(facts.capabilities[i].is_extended, i >= 4);
    }
    assert_string_equal(pci_class_name(device), "VGA controller");
    (void)state;
}

static void test_gone(void **state)
{
    struct pci_facts facts;
    memset(config, 0xff, 4096);
    assert_false(pci_facts(device, &facts));
    assert_int_equal(facts.capability_count, 0);
    assert_int_equal(facts.power_state, -1);
    (void)state;
}

static void test_no_list(void **state)
{
    struct pci_facts facts;
    put(PCI_STATUS, 0, 2);
    assert_true(pci_facts(device, &facts));
    assert_int_equal(facts.capability_count, 0);
    assert_int_equal(facts.link_width_max, 0);
    assert_int_equal(facts.msix_vectors, 0);
    (void)state;
}

static void test_lists_in_circles(void **state)
{
    struct pci_facts facts;
    put(0xb5, 0x60, 1);        /* back to the first */
    put(0x250, 0x10010015, 4); /* to itself and back */
    assert_true(pci_facts(device, &facts));
    assert_int_equal(facts.capability_count, ARRAY_COUNT(facts.capabilities));
    assert_int_equal(facts.msix_vectors, 9);
    (void)state;
}

/* Capabilities whose registers would lie beyond the first 256 bytes, and whose codes nobody has assigned. */
static void test_nonsense(void **state)
{
    struct pci_facts facts;
    put(PCI_CAPABILITIES, 0xfe, 1); /* the low bits do not count */
    put(0xfc, 0x8010, 2);
    put(0x80, 0x00ee, 2);
    put(0x100, UINT32_MAX, 4);
    assert_true(pci_facts(device, &facts));
    assert_int_equal(facts.capability_count, 2);
    assert_int_equal(facts.link_width_max, 0);
    assert_string_equal(facts.capabilities[1].name, "unknown");
    put(PCI_CAPABILITIES, 0x78, 1);
    put(0x78 + 0x12, 0xf, 2);
    assert_true(pci_facts(device, &facts));
    assert_int_equal(facts.link_rate, 0);
    (void)state;
}

static void test_bridge_has_two_bars(void **state)
{
    struct pci_facts facts;
    put(PCI_HEADER_TYPE, 1, 1);
    assert_true(pci_facts(device, &facts));
    assert_true(facts.has_bar[0] && facts.has_bar[1]);
    assert_false(facts.bars[1].is_64); /* there is no register for its upper half */
    for (unsigned i = 2; i < 6; i++)
        assert_false(facts.has_bar[i]);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_card, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists_in_circles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bridge_has_two_bars, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
