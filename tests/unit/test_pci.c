/*
 * tests/unit/test_pci.c: the PCI code against made-up hardware: functions with configuration space whose registers
 * behave (BARs size, read-only bits stay, D3 forgets), reached through an ECAM window or through ports, and devices
 * that lie about bridges, BARs, capability lists and MSI-X tables, resets that forget the configuration and may never
 * end, BARs that grow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/pci.c"
#include "kernel/pci_config.c"
#include "kernel/pci_msi.c"
#include "kernel/pci_msix.c"
#include "kernel/pci_reset.c"
#include "kernel/pci_resize.c"
#include "tests/host/host.h"

/* ---- the hardware ---- */

#define ECAM_PA UINT64_C(0xb0000000)
#define MSIX_PA UINT64_C(0xfe800000)

struct fake_function {
    uint16_t segment;
    uint8_t bus, device, function;
    uint8_t config[4096];
    uint32_t bar_mask[6]; /* bits of the BAR that can be written */
    bool is_stuck_in_d3;
    unsigned power_at; /* of the power management capability */
    unsigned express_at, resizable_at;
    uint8_t power_on[4096]; /* what a reset leaves */
    unsigned reset_count;
    uint64_t reset_ms; /* how long it does not answer after a reset */
    uint64_t ones_until_ms, not_yet_until_ms;
    bool keeps_size; /* its resizable BAR does not take a new size */
};

static struct fake_function fakes[64];
static unsigned fake_count;
static bool has_ecam;
static bool dies; /* everything reads all ones */
static unsigned config_accesses;
static uint8_t msix_memory[4096];

static uint64_t msi_address_high;

static struct {
    unsigned core;
    irq_handler handler;
    void *arg;
    bool is_used;
} vectors[8];

static void put(struct fake_function *f, unsigned at, uint32_t value, unsigned bytes)
{
    memcpy(f->config + at, &value, bytes);
}

static uint32_t get(const struct fake_function *f, unsigned at, unsigned bytes)
{
    uint32_t value = 0;
    memcpy(&value, f->config + at, bytes);
    return value;
}

static struct fake_function *add(uint8_t bus, uint8_t device, uint8_t function, uint32_t id,
                                 uint32_t class)
{
    struct fake_function *f = &fakes[fake_count++];
    *f = (struct fake_function){.bus = bus, .device = device, .function = function};
    put(f, PCI_VENDOR_ID, id, 4);
    put(f, PCI_REVISION_ID, class << 8, 4);
    put(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER, 2); /* as firmware leaves it */
    return f;
}

static struct fake_function *add_bridge(uint8_t bus, uint8_t device, uint8_t secondary)
{
    struct fake_function *f = add(bus, device, 0, 0x00011b36, 0x060400);
    put(f, PCI_HEADER_TYPE, 1, 1);
    put(f, PCI_COMMAND, 0, 2);
    put(f, PCI_SECONDARY_BUS, secondary, 1);
    return f;
}

static void set_bar(struct fake_function *f, unsigned index, uint32_t value, uint32_t mask)
{
    put(f, PCI_BAR0 + 4 * index, value, 4);
    f->bar_mask[index] = mask;
}

static struct fake_function *fake_at(uint16_t segment, uint8_t bus, uint8_t device,
                                     uint8_t function)
{
    for (unsigned i = 0; i < fake_count; i++)
        if (fakes[i].segment == segment && fakes[i].bus == bus && fakes[i].device == device &&
            fakes[i].function == function)
            return &fakes[i];
    return NULL;
}

static uint32_t config_read(uint16_t segment, uint8_t bus, unsigned devfn, unsigned at,
                            unsigned bytes)
{
    config_accesses++;
    const struct fake_function *f = fake_at(segment, bus, (uint8_t)(devfn >> 3), devfn & 7);
    uint32_t all_ones = bytes == 4 ? UINT32_MAX : (1u << 8 * bytes) - 1;
    if (f == NULL || dies || host_clock_ms() < f->ones_until_ms)
        return all_ones;
    if (host_clock_ms() < f->not_yet_until_ms)
        return at == PCI_VENDOR_ID && bytes == 2 ? 1 : all_ones;
    return get(f, at, bytes);
}

/* For the first half of its time it is not there, then it says "not yet". */
static void fake_reset(struct fake_function *f)
{
    memcpy(f->config, f->power_on, sizeof(f->config));
    f->reset_count++;
    f->ones_until_ms = host_clock_ms() + f->reset_ms / 2;
    f->not_yet_until_ms = host_clock_ms() + f->reset_ms;
}

/* What a write does beside being kept. */
static void side_effects(struct fake_function *f, unsigned at, uint32_t value)
{
    if (f->express_at != 0 && at == f->express_at + PCI_EXPRESS_DEVICE_CONTROL &&
        (value & PCI_EXPRESS_DEVICE_RESET))
        fake_reset(f);
    bool is_bridge = get(f, PCI_HEADER_TYPE, 1) & 1;
    if (is_bridge && at == PCI_BRIDGE_CONTROL && (value & PCI_BRIDGE_BUS_RESET))
        for (unsigned i = 0; i < fake_count; i++)
            if (fakes[i].bus == get(f, PCI_SECONDARY_BUS, 1))
                fake_reset(&fakes[i]);
    if (f->resizable_at != 0 && at == f->resizable_at + PCI_RESIZABLE_CONTROL) {
        unsigned bar = value & 7;
        uint64_t mask = ~((UINT64_C(1) << (20 + (value >> 8 & 0x3f))) - 1);
        f->bar_mask[bar] = (uint32_t)mask;
        f->bar_mask[bar + 1] = (uint32_t)(mask >> 32);
        unsigned bar_at = PCI_BAR0 + 4 * bar; /* address bits below the size are zero */
        put(f, bar_at, get(f, bar_at, 4) & (f->bar_mask[bar] | 0xf), 4);
        put(f, bar_at + 4, get(f, bar_at + 4, 4) & f->bar_mask[bar + 1], 4);
    }
}

static void config_write(uint16_t segment, uint8_t bus, unsigned devfn, unsigned at, unsigned bytes,
                         uint32_t value)
{
    config_accesses++;
    struct fake_function *f = fake_at(segment, bus, (uint8_t)(devfn >> 3), devfn & 7);
    if (f == NULL || dies || host_clock_ms() < f->not_yet_until_ms)
        return;
    if (f->keeps_size && at == f->resizable_at + PCI_RESIZABLE_CONTROL)
        return;
    if (at >= PCI_BAR0 && at < PCI_BAR0 + 24) {
        assert_int_equal(bytes, 4);
        bool is_bridge = get(f, PCI_HEADER_TYPE, 1) & 1;
        if (!is_bridge) { /* sizing with decoding on would be seen on the bus */
            assert_int_equal(get(f, PCI_COMMAND, 2) & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY), 0);
            uint32_t mask = f->bar_mask[(at - PCI_BAR0) / 4];
            value = (get(f, at, 4) & ~mask) | (value & mask);
        }
    }
    if (f->power_at != 0 && at == f->power_at + 4) {
        if (f->is_stuck_in_d3)
            return;
        if ((get(f, at, 2) & 3) == 3 && (value & 3) == 0)
            for (unsigned i = 0; i < 6; i++) /* what D3hot may cost */
                put(f, PCI_BAR0 + 4 * i, get(f, PCI_BAR0 + 4 * i, 4) & ~f->bar_mask[i], 4);
    }
    put(f, at, value, bytes);
    side_effects(f, at, value);
}

/* ---- what the rest of the kernel would do ---- */

static uint8_t mcfg[44 + 4 * 16];
static bool map_fails;

const void *acpi_table_find(const char *signature, unsigned index)
{
    return has_ecam && index == 0 && strcmp(signature, "MCFG") == 0 ? mcfg : NULL;
}

volatile void *mmio_map(uint64_t pa, uint64_t size_bytes, enum cache_mode mode)
{
    (void)size_bytes;
    (void)mode;
    return map_fails ? NULL : (volatile void *)(uintptr_t)pa;
}

void mmio_unmap(volatile void *va, uint64_t size_bytes)
{
    (void)va;
    (void)size_bytes;
}

int irq_alloc(unsigned core, irq_handler handler, void *arg, uint64_t *msi_address,
              uint32_t *msi_data)
{
    for (unsigned i = 0; i < ARRAY_COUNT(vectors); i++) {
        if (vectors[i].is_used)
            continue;
        vectors[i].core = core;
        vectors[i].handler = handler;
        vectors[i].arg = arg;
        vectors[i].is_used = true;
        *msi_address = (msi_address_high << 32) + 0xfee00000 + (core << 12);
        *msi_data = 0x40 + i;
        return 0;
    }
    return -ENOSPC;
}

void irq_free(uint64_t msi_address, uint32_t msi_data)
{
    (void)msi_address;
    assert_true(vectors[msi_data - 0x40].is_used);
    vectors[msi_data - 0x40].is_used = false;
}

static unsigned vectors_used(void)
{
    unsigned used = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(vectors); i++)
        used += vectors[i].is_used;
    return used;
}

static uint32_t access(const volatile void *reg, unsigned bytes, bool is_write, uint32_t value)
{
    uint64_t pa = (uint64_t)(uintptr_t)reg;
    assert_int_equal(pa % bytes, 0);
    if (pa >= MSIX_PA && pa < MSIX_PA + sizeof(msix_memory)) {
        if (is_write)
            memcpy(msix_memory + (pa - MSIX_PA), &value, bytes);
        else
            memcpy(&value, msix_memory + (pa - MSIX_PA), bytes);
        return value;
    }
    /* Two ECAM windows, 256 MiB apart: segments 0 and 1. */
    uint64_t at = pa - ECAM_PA;
    assert_true(pa >= ECAM_PA && at < UINT64_C(512) << 20);
    uint16_t segment = (uint16_t)(at >> 28);
    uint8_t bus = (uint8_t)(at >> 20);
    if (is_write)
        config_write(segment, bus, at >> 12 & 0xff, at & 0xfff, bytes, value);
    else
        value = config_read(segment, bus, at >> 12 & 0xff, at & 0xfff, bytes);
    return value;
}

uint8_t mmio_read8(const volatile void *reg)
{
    return (uint8_t)access(reg, 1, false, 0);
}

uint16_t mmio_read16(const volatile void *reg)
{
    return (uint16_t)access(reg, 2, false, 0);
}

uint32_t mmio_read32(const volatile void *reg)
{
    return access(reg, 4, false, 0);
}

uint64_t mmio_read64(const volatile void *reg)
{
    fail_msg("a 64-bit read at %p", (const void *)(uintptr_t)reg);
    return 0;
}

void mmio_write8(volatile void *reg, uint8_t value)
{
    access(reg, 1, true, value);
}

void mmio_write16(volatile void *reg, uint16_t value)
{
    access(reg, 2, true, value);
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    access(reg, 4, true, value);
}

void mmio_write64(volatile void *reg, uint64_t value)
{
    fail_msg("a 64-bit write of %llx at %p", (unsigned long long)value, (void *)(uintptr_t)reg);
}

uint32_t pci_port_read(uint8_t bus, uint8_t device, uint8_t function, unsigned offset,
                       unsigned bytes)
{
    assert_true(offset + bytes <= 256);
    return config_read(0, bus, device << 3 | function, offset, bytes);
}

void pci_port_write(uint8_t bus, uint8_t device, uint8_t function, unsigned offset, unsigned bytes,
                    uint32_t value)
{
    assert_true(offset + bytes <= 256);
    config_write(0, bus, device << 3 | function, offset, bytes, value);
}

/* ---- the tests ---- */

static void put_mcfg(unsigned index, uint64_t base, uint16_t segment, uint8_t first_bus,
                     uint8_t last_bus)
{
    uint8_t *entry = mcfg + 44 + 16 * index;
    memcpy(entry, &base, 8);
    memcpy(entry + 8, &segment, 2);
    entry[10] = first_bus;
    entry[11] = last_bus;
    mcfg[4] = (uint8_t)(44 + 16 * (index + 1));
}

static int setup(void **state)
{
    (void)state;
    while (function_count > 0) {
        pci_msi_disable(&functions[function_count - 1]->device);
        pci_msix_disable(&functions[function_count - 1]->device);
        free(functions[--function_count]);
    }
    fake_count = 0;
    memset(vectors, 0, sizeof(vectors));
    msi_address_high = 1;
    memset(msix_memory, 0, sizeof(msix_memory));
    has_ecam = true;
    map_fails = dies = false;
    put_mcfg(0, ECAM_PA, 0, 0, 255);
    add(0, 0, 0, 0x29c08086, 0x060000);
    return 0;
}

static struct pci_device *find(const char *name)
{
    struct pci_device *pci;
    for (unsigned i = 0; (pci = pci_device_get(i)) != NULL; i++)
        if (strcmp(pci->name, name) == 0)
            return pci;
    return NULL;
}

static void test_buses_are_walked(void **state)
{
    (void)state;
    add_bridge(0, 3, 5);
    add_bridge(5, 0, 6);
    add(6, 0, 0, 0x00101b36, 0x010802);
    struct fake_function *multi = add(0, 31, 0, 0x29188086, 0x060100);
    put(multi, PCI_HEADER_TYPE, 0x80, 1);
    add(0, 31, 2, 0x29228086, 0x010601);
    add(0, 31, 7, 0x29308086, 0x0c0500);
    add(0, 4, 1, 0x12345678, 0x020000);    /* no function 0: not there */
    add(0x40, 0, 0, 0x14801022, 0x060000); /* another root bus */
    add_bridge(0x40, 1, 0x41);
    struct fake_function *gpu = add(0x41, 0, 0, 0x233010de, 0x030200);
    put(gpu, PCI_SUBSYSTEM_VENDOR_ID, 0x16c110de, 4);

    assert_int_equal(pci_start(), 10);
    static const char *const order[] = {
        "0000:00:00.0", "0000:00:03.0", "0000:00:1f.0", "0000:00:1f.2", "0000:00:1f.7",
        "0000:05:00.0", "0000:06:00.0", "0000:40:00.0", "0000:40:01.0", "0000:41:00.0"};
    for (unsigned i = 0; i < ARRAY_COUNT(order); i++)
        assert_string_equal(pci_device_get(i)->name, order[i]);
    assert_null(pci_device_get(10));
    const struct pci_device *pci = find("0000:41:00.0");
    assert_int_equal(pci->vendor_id, 0x10de);
    assert_int_equal(pci->device_id, 0x2330);
    assert_int_equal(pci->subsystem_id, 0x16c1);
    assert_int_equal(pci->base_class << 16 | pci->sub_class << 8 | pci->prog_if, 0x030200);

    /* Quiet from the start, but bridges and host bridges as they were. */
    assert_int_equal(get(gpu, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_OFF);
    assert_int_equal(get(fake_at(0, 0, 0, 0), PCI_COMMAND, 2),
                     PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);

    /* The bridges above open when the device is enabled. */
    assert_int_equal(pci_enable(find("0000:06:00.0")), 0);
    assert_int_equal(get(fake_at(0, 0, 3, 0), PCI_COMMAND, 2),
                     PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);
    assert_int_equal(get(fake_at(0, 5, 0, 0), PCI_COMMAND, 2),
                     PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);
    assert_int_equal(get(fake_at(0, 0x40, 1, 0), PCI_COMMAND, 2), 0);
    assert_int_equal(pci_enable(find("0000:00:03.0")), -EINVAL);
    assert_int_equal(pci_enable(find("0000:00:00.0")), -EINVAL);
}

/* Bridges to themselves, upwards, to one another, to a bus twice: the walk ends and nothing is found twice. */
static void test_lying_bridges(void **state)
{
    (void)state;
    add_bridge(0, 1, 0);
    add_bridge(0, 2, 7);
    add_bridge(0, 3, 7);
    add_bridge(7, 0, 7);
    add_bridge(7, 1, 0);
    add_bridge(7, 2, 255);
    add_bridge(255, 0, 1);
    add(7, 3, 0, 0x00101b36, 0x010802);
    assert_int_equal(pci_start(), 9);

    setup(state);
    put_mcfg(0, ECAM_PA, 0, 0, 31); /* a bus past the window */
    add_bridge(0, 1, 32);
    add(32, 0, 0, 0x00101b36, 0x010802);
    assert_int_equal(pci_start(), 2);
}

static void test_ecam_windows(void **state)
{
    (void)state;
    struct fake_function *other = add(0x10, 0, 0, 0x00101b36, 0x010802);
    other->segment = 1;
    put_mcfg(1, ECAM_PA + (256 << 20), 1, 0x10, 0x1f);
    put_mcfg(2, ECAM_PA, 0, 100, 200); /* overlaps the first */
    put_mcfg(3, ECAM_PA, 2, 9, 8);     /* backwards */
    assert_int_equal(pci_start(), 2);
    assert_non_null(find("0001:10:00.0"));
    put(other, 0x100, 0x0001000b, 4);
    assert_int_equal(pci_find_ext_capability(find("0001:10:00.0"), 0x0b), 0x100);

    setup(state);
    put_mcfg(0, 0, 0, 0, 255);
    assert_int_equal(pci_start(), 1); /* through the ports */
    setup(state);
    mcfg[4] = 44 + 15; /* half an entry */
    assert_int_equal(pci_start(), 1);
    assert_null((void *)(uintptr_t)pci_config_window(0, 0, 0, 0));
}

static void test_ports_reach_256_bytes(void **state)
{
    (void)state;
    has_ecam = false;
    struct fake_function *f = add(0, 2, 0, 0x00101b36, 0x010802);
    set_bar(f, 0, 0xfe000004, 0xffffc000);
    set_bar(f, 1, 0, 0xffffffff);
    put(f, 0x100, 0x0001000b, 4);
    assert_int_equal(pci_start(), 2);
    struct pci_device *pci = find("0000:00:02.0");
    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(pci->bar[0].size_bytes, 0x4000);
    assert_int_equal(pci_read32(pci, 0x100), UINT32_MAX);
    assert_int_equal(pci_find_ext_capability(pci, 0x0b), 0);
    pci_write32(pci, 0x100, 0);
    assert_int_equal(get(f, 0x100, 4), 0x0001000b);
}

static void test_bars(void **state)
{
    (void)state;
    struct fake_function *f = add(0, 1, 0, 0x233010de, 0x030200);
    set_bar(f, 0, 0xfd000000, 0xff000000); /* 32-bit, 16 MiB */
    set_bar(f, 1, 0x0000000c, 0);          /* 64-bit prefetchable, 128 GiB at 56 TiB */
    set_bar(f, 2, 0x00003800, 0xffffffe0);
    set_bar(f, 3, 0x00000004, 0xfe000000); /* 64-bit, 32 MiB, no address */
    set_bar(f, 4, 0, 0xffffffff);
    set_bar(f, 5, 0x0000c001, 0x0000ff80); /* I/O, 128 ports */
    struct fake_function *odd = add(0, 2, 0, 0x11112222, 0x020000);
    set_bar(odd, 0, 0xfe800000, 0xfff0f000);          /* a size with holes */
    set_bar(odd, 1, 0xfe804000, 0xffff0000 | 0x4000); /* not where its size says */
    set_bar(odd, 5, 0x4, 0xfffff000);                 /* 64-bit with no upper half */
    assert_int_equal(pci_start(), 3);

    struct pci_device *pci = find("0000:00:01.0");
    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(pci_enable(find("0000:00:02.0")), 0);
    const struct pci_bar *bar = pci->bar;
    assert_int_equal(bar[0].pa, 0xfd000000);
    assert_int_equal(bar[0].size_bytes, 16 << 20);
    assert_false(bar[0].is_64 || bar[0].is_io || bar[0].is_prefetchable);
    assert_int_equal(bar[1].pa, UINT64_C(0x380000000000));
    assert_int_equal(bar[1].size_bytes, UINT64_C(128) << 30);
    assert_true(bar[1].is_64 && bar[1].is_prefetchable);
    assert_int_equal(bar[2].size_bytes, 0);
    assert_int_equal(bar[3].pa, 0);
    assert_int_equal(bar[3].size_bytes, 32 << 20);
    assert_int_equal(bar[5].pa, 0xc000);
    assert_int_equal(bar[5].size_bytes, 128);
    assert_true(bar[5].is_io);

    assert_int_equal((uintptr_t)pci_map_bar(pci, 0, CACHE_UNCACHED), 0xfd000000);
    for (unsigned i = 2; i < 8; i++)
        assert_null((void *)(uintptr_t)pci_map_bar(pci, i, CACHE_UNCACHED));
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(find("0000:00:02.0")->bar[i].size_bytes, 0);
    /* Registers as the firmware left them, decoding on again. */
    assert_int_equal(get(f, PCI_BAR0, 4), 0xfd000000);
    assert_int_equal(get(f, PCI_BAR0 + 8, 4), 0x3800);
    assert_true(get(f, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY);
}

static void test_capabilities(void **state)
{
    (void)state;
    struct fake_function *f = add(0, 1, 0, 0x10411af4, 0x020000);
    put(f, PCI_STATUS, PCI_STATUS_CAPABILITIES, 2);
    put(f, PCI_CAPABILITIES, 0x98, 1);
    put(f, 0x98, 0x8409, 2);
    put(f, 0x84, 0x7009, 2);
    put(f, 0x70, 0x0011, 2);
    put(f, 0x100, 0x14810001, 4);
    put(f, 0x148, 0x15010003, 4);
    put(f, 0x150, 0x14810010, 4); /* back: a loop */
    assert_int_equal(pci_start(), 2);
    const struct pci_device *pci = find("0000:00:01.0");
    assert_int_equal(pci_find_capability(pci, 0x09, 0), 0x98);
    assert_int_equal(pci_find_capability(pci, 0x09, 0x98), 0x84);
    assert_int_equal(pci_find_capability(pci, 0x09, 0x84), 0);
    assert_int_equal(pci_find_capability(pci, 0x11, 0), 0x70);
    assert_int_equal(pci_find_ext_capability(pci, 0x10), 0x150);
    assert_int_equal(pci_find_ext_capability(pci, 0x99), 0);

    put(f, 0x70, 0x9811, 2); /* a loop here too, and a pointer into the header */
    assert_int_equal(pci_find_capability(pci, 0x05, 0), 0);
    put(f, 0x70, 0x1011, 2);
    assert_int_equal(pci_find_capability(pci, 0x05, 0), 0);
    put(f, PCI_STATUS, 0, 2);
    assert_int_equal(pci_find_capability(pci, 0x09, 0), 0);
    dies = true;
    assert_int_equal(pci_find_capability(pci, 0x09, 0), 0);
    assert_int_equal(pci_find_ext_capability(pci, 0x10), 0);
}

static void test_power(void **state)
{
    (void)state;
    host_clock_fake(true);
    struct fake_function *f = add(0, 1, 0, 0x00101b36, 0x010802);
    set_bar(f, 0, 0xfe000000, 0xffff0000);
    put(f, PCI_STATUS, PCI_STATUS_CAPABILITIES, 2);
    put(f, PCI_CAPABILITIES, 0x40, 1);
    put(f, 0x40, PCI_CAP_POWER, 2);
    put(f, 0x44, 0x8003, 2); /* D3hot */
    f->power_at = 0x40;
    assert_int_equal(pci_start(), 2);
    put(f, PCI_COMMAND, 0, 2); /* what D3hot costs too */
    struct pci_device *pci = find("0000:00:01.0");

    f->is_stuck_in_d3 = true;
    assert_int_equal(pci_enable(pci), -EIO);
    assert_int_equal(host_clock_ms(), 10);
    assert_false(get(f, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY);

    f->is_stuck_in_d3 = false;
    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(get(f, PCI_BAR0, 4), 0xfe000000);
    assert_int_equal(get(f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
    pci_bus_master(pci, true);
    assert_int_equal(get(f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);
    pci_disable(pci);
    assert_int_equal(get(f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);

    dies = true;
    assert_int_equal(pci_enable(pci), -ENODEV);
    host_clock_fake(false);
}

static void handler(void *arg)
{
    (void)arg;
}

static struct fake_function *add_msix(unsigned entries, uint32_t place)
{
    struct fake_function *f = add(0, 1, 0, 0x00101b36, 0x010802);
    set_bar(f, 0, (uint32_t)MSIX_PA, 0xfffff000);
    put(f, PCI_STATUS, PCI_STATUS_CAPABILITIES, 2);
    put(f, PCI_CAPABILITIES, 0x50, 1);
    put(f, 0x50, PCI_CAP_MSIX, 2);
    put(f, 0x52, (entries - 1) | PCI_MSIX_ENABLE, 2); /* the firmware's driver left it on */
    put(f, 0x54, place, 4);
    return f;
}

static uint32_t table(unsigned entry, unsigned at)
{
    uint32_t value;
    memcpy(&value, msix_memory + 0x800 + 16 * entry + at, 4);
    return value;
}

static void test_msix(void **state)
{
    (void)state;
    struct fake_function *f = add_msix(4, 0x800);
    assert_int_equal(pci_start(), 2);
    assert_int_equal(get(f, 0x52, 2), 3); /* off at start */
    struct pci_device *pci = find("0000:00:01.0");

    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(pci_msix_enable(pci, 4, 0, handler, NULL), -ENOSPC);
    assert_int_equal(pci_msix_enable(pci, 1, 2, handler, f), 0);
    assert_int_equal(get(f, 0x52, 2), 3 | PCI_MSIX_ENABLE);
    assert_int_equal(table(1, 0), 0xfee02000);
    assert_int_equal(table(1, 4), 1);
    assert_int_equal(table(1, 8), 0x40);
    assert_int_equal(table(1, 12), 0);
    assert_int_equal(table(0, 12), 1);
    assert_int_equal(table(3, 12), 1);
    assert_ptr_equal(vectors[0].arg, f);

    pci_msix_mask(pci, 1, true);
    assert_int_equal(table(1, 12), 1);
    pci_msix_mask(pci, 1, false);
    /* Moved to another core: the old vector is free. */
    assert_int_equal(pci_msix_enable(pci, 1, 3, handler, NULL), 0);
    assert_int_equal(table(1, 0), 0xfee03000);
    assert_int_equal(vectors_used(), 1);

    for (unsigned i = 0; i < 7; i++)
        vectors[i].is_used = true;
    unsigned used = vectors_used();
    assert_int_equal(pci_msix_enable(pci, 2, 0, handler, NULL), used == 8 ? -ENOSPC : 0);
    vectors[7].is_used = true;
    assert_int_equal(pci_msix_enable(pci, 3, 0, handler, NULL), -ENOSPC);
    pci_disable(pci);
    assert_int_equal(get(f, 0x52, 2), 3);
}

static void test_msix_table_must_lie_in_its_bar(void **state)
{
    (void)state;
    static const struct {
        unsigned entries;
        uint32_t place;
    } lies[] = {{4, 0x1000}, {257, 0}, {2, 0xff0}, {1, 0xfffffff8},
                {4, 1},      {4, 6},   {4, 7},     {2048, 0}};
    for (unsigned i = 0; i < ARRAY_COUNT(lies); i++) {
        setup(state);
        add_msix(lies[i].entries, lies[i].place);
        assert_int_equal(pci_start(), 2);
        assert_int_equal(pci_enable(find("0000:00:01.0")), 0);
        assert_int_equal(pci_msix_enable(find("0000:00:01.0"), 0, 0, handler, NULL), -ENOTSUP);
    }
    setup(state);
    add_msix(256, 0); /* exactly fits */
    add(0, 2, 0, 0x00101b36, 0x010802);
    assert_int_equal(pci_start(), 3);
    assert_int_equal(pci_enable(find("0000:00:01.0")), 0);
    map_fails = true;
    assert_int_equal(pci_msix_enable(find("0000:00:01.0"), 255, 0, handler, NULL), -ENOMEM);
    map_fails = false;
    assert_int_equal(pci_msix_enable(find("0000:00:01.0"), 255, 0, handler, NULL), 0);
    assert_int_equal(pci_msix_enable(find("0000:00:02.0"), 0, 0, handler, NULL), -ENOTSUP);
    assert_int_equal(vectors_used(), 1);
}

/* Plain MSI, with each form of the capability: 32-bit or 64-bit address, with and without mask bits. */
static void test_msi(void **state)
{
    static const struct {
        uint16_t control;
        unsigned data_at, mask_at;
    } forms[] = {{0, 0x58, 0},
                 {PCI_MSI_64, 0x5c, 0},
                 {PCI_MSI_MASKS, 0x58, 0x5c},
                 {PCI_MSI_64 | PCI_MSI_MASKS, 0x5c, 0x60}};
    for (unsigned i = 0; i < ARRAY_COUNT(forms); i++) {
        setup(state);
        msi_address_high = forms[i].control & PCI_MSI_64 ? 1 : 0;
        struct fake_function *f = add(0, 1, 0, 0x220610de, 0x030000);
        put(f, PCI_STATUS, PCI_STATUS_CAPABILITIES, 2);
        put(f, PCI_CAPABILITIES, 0x50, 1);
        put(f, 0x50, PCI_CAP_MSI, 2);
        /* Asks for 8 messages, was given 4 and left on by the firmware. */
        put(f, 0x52, forms[i].control | 0x26 | PCI_MSI_ENABLE, 2);
        put(f, 0x58, 0xffffffff, 4);
        put(f, 0x5c, 0xffffffff, 4);
        put(f, 0x60, 0xffffffff, 4);
        assert_int_equal(pci_start(), 2);
        assert_int_equal(get(f, 0x52, 2), forms[i].control | 0x26); /* off at start */
        struct pci_device *pci = find("0000:00:01.0");
        assert_int_equal(pci_enable(pci), 0);

        assert_int_equal(pci_msi_enable(pci, 2, handler, f), 0);
        assert_int_equal(get(f, 0x52, 2), forms[i].control | 0x06 | PCI_MSI_ENABLE);
        assert_int_equal(get(f, 0x54, 4), 0xfee02000);
        if (forms[i].control & PCI_MSI_64)
            assert_int_equal(get(f, 0x58, 4), 1);
        assert_int_equal(get(f, forms[i].data_at, 2), 0x40);
        if (forms[i].mask_at != 0)
            assert_int_equal(get(f, forms[i].mask_at, 4), 0);
        assert_true(get(f, PCI_COMMAND, 2) & PCI_COMMAND_INTX_OFF);
        assert_ptr_equal(vectors[0].arg, f);

        assert_int_equal(pci_msi_enable(pci, 3, handler, NULL), 0); /* moved: the old one is free */
        assert_int_equal(get(f, 0x54, 4), 0xfee03000);
        assert_int_equal(vectors_used(), 1);
        pci_disable(pci);
        assert_int_equal(vectors_used(), 0);
        assert_int_equal(get(f, 0x52, 2), forms[i].control | 0x06);
    }
    setup(state);
    struct fake_function *f = add(0, 1, 0, 0x220610de, 0x030000);
    assert_int_equal(pci_start(), 2);
    struct pci_device *pci = find("0000:00:01.0");
    assert_int_equal(pci_msi_enable(pci, 0, handler, NULL), -ENOTSUP);
    put(f, PCI_STATUS, PCI_STATUS_CAPABILITIES, 2);
    put(f, PCI_CAPABILITIES, 0x50, 1);
    put(f, 0x50, PCI_CAP_MSI, 2);
    assert_int_equal(pci_msi_enable(pci, 0, handler, NULL), -ENOTSUP); /* 64-bit address wanted */
    assert_int_equal(vectors_used(), 0);
    for (unsigned i = 0; i < ARRAY_COUNT(vectors); i++)
        vectors[i].is_used = true;
    assert_int_equal(pci_msi_enable(pci, 0, handler, NULL), -ENOSPC);
    assert_int_equal(get(f, 0x52, 2), 0);
}

/* ---- reset ---- */

/* A GPU behind a port, as firmware left it: everything that a reset forgets has a value. */
static struct fake_function *add_gpu(uint8_t bus, uint8_t function)
{
    struct fake_function *f = add(bus, 0, function, 0x220610de, 0x030000);
    put(f, PCI_HEADER_TYPE, 0x80, 1);
    put(f, PCI_STATUS, PCI_STATUS_CAPABILITIES, 2);
    put(f, PCI_CAPABILITIES, 0x60, 1);
    put(f, 0x60, 0x0002 << 16 | PCI_CAP_EXPRESS, 4);
    put(f, 0x64, PCI_EXPRESS_DEVICE_CAN_RESET, 4);
    put(f, 0x100, 0x140 << 20 | 1 << 16 | PCI_EXT_CAP_LATENCY, 4);
    put(f, 0x140, 1 << 16 | PCI_EXT_CAP_RESIZABLE, 4);
    put(f, 0x144, 0x3ff << 4, 4); /* 1 MiB to 512 MiB */
    put(f, 0x148, 1 | 1 << 5 | 6 << 8, 4);
    f->express_at = 0x60;
    f->resizable_at = 0x140;
    f->reset_ms = 150;
    set_bar(f, 0, 0, 0xff000000);
    set_bar(f, 1, 0x0000000c, 0xfc000000);
    set_bar(f, 2, 0, UINT32_MAX);
    put(f, PCI_COMMAND, 0, 2);
    memcpy(f->power_on, f->config, sizeof(f->config));

    put(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    put(f, PCI_CACHE_LINE, 0x10, 1);
    put(f, PCI_BAR0, 0xfd000000, 4);
    put(f, 0x148, 1 | 1 << 5 | 8 << 8, 4);
    f->bar_mask[1] = 0xf0000000;
    put(f, PCI_BAR0 + 4, 0xe000000c, 4);
    put(f, PCI_BAR0 + 8, 0x38, 4);
    put(f, PCI_ROM, 0xfe000001, 4);
    put(f, PCI_INTERRUPT_LINE, 11, 1);
    put(f, 0x68, 0x2930, 2);
    put(f, 0x70, 0x0140, 2);
    put(f, 0x88, 0x0400, 2);
    put(f, 0x90, 0x0004, 2);
    put(f, 0x104, 0x10031003, 4);
    return f;
}

static void check_restored(const struct fake_function *f, const uint8_t *before)
{
    for (unsigned at = 0; at < 4096; at += 2)
        if (at != PCI_COMMAND && memcmp(f->config + at, before + at, 2) != 0)
            fail_msg("register %#x: %#x, was %#x", at, get(f, at, 2), before[at]);
    assert_int_equal(get(f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_OFF);
}

static void test_function_reset(void **state)
{
    (void)state;
    host_clock_fake(true);
    add_bridge(0, 1, 1);
    struct fake_function *gpu = add_gpu(1, 0), *audio = add_gpu(1, 1);
    put(audio, 0x64, 0, 4); /* this one cannot */
    assert_int_equal(pci_start(), 4);
    struct pci_device *pci = find("0000:01:00.0");
    assert_int_equal(pci_reset(pci, PCI_RESET_FUNCTION), -EINVAL); /* not enabled */
    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(pci_enable(find("0000:01:00.1")), 0);
    assert_int_equal(pci->bar[1].size_bytes, 256 << 20);
    pci_bus_master(pci, true);
    uint8_t before[4096];
    memcpy(before, gpu->config, sizeof(before));

    assert_int_equal(pci_reset(find("0000:01:00.1"), PCI_RESET_FUNCTION), -ENOTSUP);
    assert_int_equal(pci_reset(pci, PCI_RESET_FUNCTION), 0);
    assert_int_equal(gpu->reset_count, 1);
    assert_int_equal(audio->reset_count, 0);
    assert_int_equal(host_clock_ms(), 150);
    check_restored(gpu, before);

    /* Requests that never end delay it, no more. */
    put(gpu, 0x6a, PCI_EXPRESS_DEVICE_PENDING, 2);
    memcpy(before, gpu->config, sizeof(before));
    put(gpu, 0x6a, PCI_EXPRESS_DEVICE_PENDING, 2);
    uint64_t start_ms = host_clock_ms();
    gpu->power_on[0x6a] = PCI_EXPRESS_DEVICE_PENDING;
    assert_int_equal(pci_reset(pci, PCI_RESET_FUNCTION), 0);
    assert_int_equal(host_clock_ms() - start_ms, 250);
    check_restored(gpu, before);

    gpu->reset_ms = 100000;
    start_ms = host_clock_ms();
    assert_int_equal(pci_reset(pci, PCI_RESET_FUNCTION), -ETIMEDOUT);
    assert_in_range(host_clock_ms() - start_ms, 10000, 10400);
    host_clock_fake(false);
}

static void test_bus_reset(void **state)
{
    (void)state;
    host_clock_fake(true);
    struct fake_function *port = add_bridge(0, 1, 1);
    put(port, PCI_BRIDGE_CONTROL, 0x0003, 2);
    struct fake_function *gpu = add_gpu(1, 0), *audio = add_gpu(1, 1);
    add_gpu(0, 0)->device = 9; /* on the root bus */
    assert_int_equal(pci_start(), 5);
    struct pci_device *pci = find("0000:01:00.0"), *sibling = find("0000:01:00.1");
    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(pci_enable(sibling), 0);
    assert_int_equal(pci_enable(find("0000:00:09.0")), 0);
    uint8_t before[4096];
    memcpy(before, gpu->config, sizeof(before));

    assert_int_equal(pci_reset(find("0000:00:09.0"), PCI_RESET_BUS), -ENOTSUP);
    pci_bus_master(sibling, true);
    assert_int_equal(pci_reset(pci, PCI_RESET_BUS), -EBUSY);
    assert_int_equal(gpu->reset_count + audio->reset_count, 0);
    pci_bus_master(sibling, false);
    pci_bus_master(pci, true);
    assert_int_equal(pci_reset(pci, PCI_RESET_BUS), 0);
    assert_int_equal(gpu->reset_count, 1);
    assert_int_equal(audio->reset_count, 1);
    assert_int_equal(get(port, PCI_BRIDGE_CONTROL, 2), 3);
    check_restored(gpu, before);
    check_restored(audio, before);

    /* The one that was asked for decides. */
    audio->reset_ms = 1000000;
    assert_int_equal(pci_reset(pci, PCI_RESET_BUS), 0);
    check_restored(gpu, before);
    gpu->reset_ms = 1000000;
    audio->ones_until_ms = audio->not_yet_until_ms = 0;
    assert_int_equal(pci_reset(pci, PCI_RESET_BUS), -ETIMEDOUT);
    host_clock_fake(false);
}

/* ---- BARs that grow ---- */

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

static struct fake_function *big_gpu, *big_port;

/* Behind a port with a window of this much at 224 GiB: BAR 3 of 32 MiB at its start, BAR 1 of 256 MiB behind it. */
static void big_gpu_add(uint64_t window_bytes, uint32_t sizes_register)
{
    struct fake_function *port = add_bridge(0, 1, 1);
    big_port = port;
    uint64_t start = 224 * GIB, last = start + window_bytes - MIB;
    put(port, PCI_PREFETCH_BASE, (uint32_t)(start >> 16 & 0xfff0) | 1, 2);
    put(port, PCI_PREFETCH_BASE_HIGH, (uint32_t)(start >> 32), 4);
    put(port, PCI_PREFETCH_LIMIT, (uint32_t)(last >> 16 & 0xfff0) | 1, 2);
    put(port, PCI_PREFETCH_LIMIT_HIGH, (uint32_t)(last >> 32), 4);
    big_gpu = add_gpu(1, 0);
    put(big_gpu, 0x144, sizes_register, 4);
    set_bar(big_gpu, 1, 0x1000000c, 0xf0000000);
    set_bar(big_gpu, 2, 0x38, UINT32_MAX);
    set_bar(big_gpu, 3, 0x0000000c, 0xfe000000);
    set_bar(big_gpu, 4, 0x38, UINT32_MAX);
}

static struct pci_device *big_gpu_start(void)
{
    assert_in_range(pci_start(), 3, 4);
    struct pci_device *pci = find("0000:01:00.0");
    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(pci->bar[1].pa, 224 * GIB + 256 * MIB);
    assert_int_equal(pci->bar[1].size_bytes, 256 * MIB);
    assert_int_equal(pci->bar[3].size_bytes, 32 * MIB);
    return pci;
}

static struct pci_device *big_gpu_with(uint64_t window_bytes, uint32_t sizes_register)
{
    big_gpu_add(window_bytes, sizes_register);
    return big_gpu_start();
}

#define TO_32_GIB (0xffffu << 4)

static void test_bar_grows(void **state)
{
    static const struct {
        uint64_t window_bytes;
        uint32_t sizes;
        uint64_t want_bytes, got_bytes, got_pa;
    } cases[] = {
        {64 * GIB, TO_32_GIB, 24 * GIB, 32 * GIB, 256 * GIB},
        {64 * GIB, TO_32_GIB, 8 * GIB, 8 * GIB, 232 * GIB},
        {64 * GIB, TO_32_GIB, 8 * GIB + 1, 16 * GIB, 240 * GIB},
        {64 * GIB, TO_32_GIB, 80 * GIB, 32 * GIB, 256 * GIB}, /* as large as it goes */
        {32 * GIB, TO_32_GIB, 24 * GIB, 16 * GIB, 240 * GIB}, /* BAR 3 is in the way of 32 */
        {32 * GIB, 0x8100 << 4, 24 * GIB, 256 * MIB,
         224 * GIB + 256 * MIB}, /* only 256 MiB, 32 GiB */
        {512 * MIB, TO_32_GIB, 24 * GIB, 256 * MIB, 224 * GIB + 256 * MIB},
        {1 * GIB, TO_32_GIB, 24 * GIB, 512 * MIB, 224 * GIB + 512 * MIB},
        {64 * GIB, TO_32_GIB, 256 * MIB, 256 * MIB, 224 * GIB + 256 * MIB}, /* enough already */
        {64 * GIB, TO_32_GIB, 1, 256 * MIB, 224 * GIB + 256 * MIB},         /* never shrinks */
        {64 * GIB, 0, 24 * GIB, 256 * MIB, 224 * GIB + 256 * MIB},
    };
    char report[200];
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        setup(state);
        struct pci_device *pci = big_gpu_with(cases[i].window_bytes, cases[i].sizes);
        pci_bus_master(pci, true);
        int grew = pci_bar_resize(pci, 1, cases[i].want_bytes, report, sizeof(report));
        if (grew != (cases[i].got_bytes != 256 * MIB) ||
            pci->bar[1].size_bytes != cases[i].got_bytes || pci->bar[1].pa != cases[i].got_pa)
            fail_msg("case %u: %s", i, report);
        assert_int_equal(get(big_gpu, PCI_BAR0 + 4, 4) & ~0xfu, (uint32_t)cases[i].got_pa);
        assert_int_equal(get(big_gpu, PCI_BAR0 + 8, 4), cases[i].got_pa >> 32);
        assert_int_equal(MIB << (get(big_gpu, 0x148, 4) >> 8 & 0x3f), cases[i].got_bytes);
        assert_int_equal(get(big_gpu, PCI_COMMAND, 2),
                         PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER | PCI_COMMAND_INTX_OFF);
        assert_non_null(strstr(report, grew ? "grown from 256 MiB to" : "256 MiB"));
    }
}

static void test_bar_stays(void **state)
{
    char report[200];
    struct pci_device *pci = big_gpu_with(64 * GIB, TO_32_GIB);
    big_gpu->keeps_size = true;
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 0);
    assert_non_null(strstr(report, "does not take another size"));
    assert_int_equal(get(big_gpu, PCI_BAR0 + 4, 4), 0x1000000c);
    assert_int_equal(get(big_gpu, PCI_BAR0 + 8, 4), 0x38);
    /* What an emulated machine makes of a real card: only the size that it has. */
    put(big_gpu, 0x144, 0x100 << 4, 4);
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 0);
    assert_non_null(strstr(report, "no larger size"));
    /* A BAR that is smaller than the smallest size there is. */
    big_gpu->keeps_size = true;
    put(big_gpu, 0x144, 1 << 4, 4);
    pci->bar[1].size_bytes = 4096;
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 0);
    pci->bar[1].size_bytes = 256 * MIB;
    assert_int_equal(pci->bar[1].size_bytes, 256 * MIB);

    /* Another function's BAR in the window, at 227.75 GiB: nobody knows how far it reaches. */
    setup(state);
    big_gpu_add(64 * GIB, TO_32_GIB);
    struct fake_function *audio = add_gpu(1, 1);
    put(audio, PCI_BAR0, 0, 4);
    put(audio, PCI_BAR0 + 4, 0xf000000c, 4);
    put(audio, PCI_BAR0 + 8, 0x38, 4);
    pci = big_gpu_start();
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 1);
    assert_int_equal(pci->bar[1].size_bytes, GIB);
    assert_int_equal(pci->bar[1].pa, 225 * GIB);

    /* No window, or one of 32 bits; no place from the firmware; no bridge. */
    setup(state);
    big_gpu_add(64 * GIB, TO_32_GIB);
    put(big_port, PCI_PREFETCH_BASE, 0xfff1, 2);
    put(big_port, PCI_PREFETCH_BASE_HIGH, UINT32_MAX, 4);
    pci = big_gpu_start();
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 0);
    put(big_port, PCI_PREFETCH_BASE, 0x0000, 2);
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 0);
    assert_non_null(strstr(report, "no 64-bit window"));
    pci->bar[1].pa = 0;
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 0);
    assert_int_equal(pci_bar_resize(pci, 0, 24 * GIB, report, sizeof(report)), 0);
    assert_non_null(strstr(report, "cannot be resized"));
    setup(state);
    struct fake_function *alone = add_gpu(0, 0);
    alone->device = 9;
    assert_int_equal(pci_start(), 2);
    pci = find("0000:00:09.0");
    assert_int_equal(pci_enable(pci), 0);
    assert_int_equal(pci_bar_resize(pci, 1, 24 * GIB, report, sizeof(report)), 0);
    assert_int_equal(pci->bar[1].size_bytes, 256 * MIB);
}

/* A machine where every access reads ones: found nothing, and it did not take long. */
static void test_dead_configuration_space(void **state)
{
    (void)state;
    dies = true;
    config_accesses = 0;
    assert_int_equal(pci_start(), 0);
    assert_in_range(config_accesses, 256, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_buses_are_walked, setup),
        cmocka_unit_test_setup(test_lying_bridges, setup),
        cmocka_unit_test_setup(test_ecam_windows, setup),
        cmocka_unit_test_setup(test_ports_reach_256_bytes, setup),
        cmocka_unit_test_setup(test_bars, setup),
        cmocka_unit_test_setup(test_capabilities, setup),
        cmocka_unit_test_setup(test_power, setup),
        cmocka_unit_test_setup(test_msix, setup),
        cmocka_unit_test_setup(test_msix_table_must_lie_in_its_bar, setup),
        cmocka_unit_test_setup(test_msi, setup),
        cmocka_unit_test_setup(test_function_reset, setup),
        cmocka_unit_test_setup(test_bus_reset, setup),
        cmocka_unit_test_setup(test_bar_grows, setup),
        cmocka_unit_test_setup(test_bar_stays, setup),
        cmocka_unit_test_setup(test_dead_configuration_space, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    setup(NULL); /* frees what the last test left */
    return failed;
}
