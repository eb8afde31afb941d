/*
 * tests/unit/test_dump.c: the register dump of NVIDIA GPUs against 16 MiB that stand in for BAR0: what is read lies in
 * the block that is named, each register comes once, nothing is written, and a GPU that is gone, off or unknown is
 * looked at no further than it answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/nvidia/gsp/dump.h"
#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/regs/pmc.h"
#include "tests/host/host.h"

#define BAR0_BYTES (16u << 20)

static uint8_t *bar0, *config;
static struct gpu_device device;

static void chip_set(uint16_t chip_id)
{
    uint32_t boot_42 = (uint32_t)field_put(NV_PMC_BOOT_42_CHIP_ID, chip_id);
    memcpy(bar0 + NV_PMC_BOOT_42, &boot_42, 4);
}

static int setup(void **state)
{
    bar0 = malloc(BAR0_BYTES);
    for (uint32_t at = 0; at < BAR0_BYTES; at += 4) {
        uint32_t value = at * 2654435761u | 1; /* no two registers alike */
        if (value >> 20 == 0xbad)
            value ^= 1u << 31;
        memcpy(bar0 + at, &value, 4);
    }
    static const struct pci_device card = {
        .bus = 1,
        .vendor_id = 0x10de,
        .device_id = 0x2204,
        .base_class = 3,
        .bar = {{.pa = 0xfc000000, .size_bytes = BAR0_BYTES}},
    };
    void *memory[6] = {bar0};
    struct pci_device *pci = host_pci_add(&card, memory);
    config = host_pci_config(pci);
    assert_int_equal(pci_enable(pci), 0);
    device = (struct gpu_device){.info.name = "nvidia0"};
    snprintf(device.info.pci_name, sizeof(device.info.pci_name), "%s", pci->name);
    chip_set(0x172);
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    host_pci_clear();
    free(bar0);
    (void)state;
    return 0;
}

struct seen {
    unsigned count, errors;
    struct gpu_register list[512];
};

static void each(void *arg, const struct gpu_register *reg)
{
    struct seen *seen = arg;
    assert_true(seen->count < ARRAY_COUNT(seen->list));
    seen->list[seen->count++] = *reg;
    seen->errors += reg->is_error;
    uint32_t value;
    memcpy(&value, bar0 + reg->offset, 4);
    assert_int_equal(reg->value, value);
}

static void dump(const char *block, struct seen *seen)
{
    static uint8_t space[4096];
    uint8_t *before = malloc(BAR0_BYTES);
    memcpy(before, bar0, BAR0_BYTES);
    memcpy(space, config, sizeof(space));
    memset(seen, 0, sizeof(*seen));
    assert_int_equal(nvidia_registers(&device, block, each, seen), 0);
    assert_memory_equal(before, bar0, BAR0_BYTES);
    assert_memory_equal(space, config, sizeof(space));
    free(before);
}

static void test_every_chip(void **state)
{
    static struct seen seen;
    for (uint16_t id = 0x160; id <= 0x1bf; id++) {
        if (!hw_chip_find(id))
            continue;
        unsigned family = dump_family(id);
        assert_int_not_equal(family, 0);
        chip_set(id);
        dump(NULL, &seen);
        assert_true(seen.count > 50);
        for (unsigned i = 0; i < seen.count; i++) {
            const struct gpu_register *reg = &seen.list[i];
            bool is_inside = false;
            const struct dump_block *block;
            for (unsigned b = 0; (block = dump_block_get(b)); b++)
                is_inside |= strcmp(block->name, reg->block) == 0 && block->families & family &&
                             reg->offset >= block->base && reg->offset - block->base < block->bytes;
            assert_true(is_inside);
            for (unsigned j = 0; j < i; j++) {
                assert_int_not_equal(seen.list[j].offset, reg->offset);
                assert_false(strcmp(seen.list[j].name, reg->name) == 0 &&
                             strcmp(seen.list[j].block, reg->block) == 0 &&
                             (seen.list[j].offset & ~0xfffu) == (reg->offset & ~0xfffu));
            }
            /* memory ports move on when they are read, and the ROM takes a millisecond */
            assert_null(strstr(reg->name, "IMEMD"));
            assert_null(strstr(reg->name, "DMEMD"));
            assert_null(strstr(reg->name, "EMEMD"));
            assert_null(strstr(reg->name, "PROM"));
        }
    }
    (void)state;
}

static void test_one_block(void **state)
{
    static struct seen seen;
    dump("pmc", &seen);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.list[2].name, "NV_PMC_BOOT_42");
    assert_int_equal(seen.list[2].offset, 0xa00);
    dump("fsp", &seen); /* a block that other chips have */
    assert_int_equal(seen.count, 0);
    chip_set(0x180);
    dump("fsp", &seen);
    assert_true(seen.count > 0);
    assert_int_equal(nvidia_registers(&device, "nvlink", each, &seen), -ENOENT);
    assert_non_null(strstr(gpu_error(), "nvlink"));
    assert_non_null(strstr(gpu_error(), "pmc pbus therm fuse pfb gc6 gsp sec2 fsp interrupts mmu"));
    (void)state;
}

static void test_unknown_chip(void **state)
{
    static struct seen seen;
    static const uint16_t ids[] = {0, 0x136, 0x140, 0x1c2, 0x200, 0x3ff};
    for (unsigned i = 0; i < ARRAY_COUNT(ids); i++) {
        chip_set(ids[i]);
        dump(NULL, &seen);
        assert_int_equal(seen.count, 3);
    }
    (void)state;
}

static void test_locked_registers_are_marked(void **state)
{
    static struct seen seen;
    static const uint32_t locked = 0xbadf5040;
    memcpy(bar0 + 0x110040, &locked, 4);
    dump("gsp", &seen);
    assert_int_equal(seen.errors, 1);
    (void)state;
}

static void test_does_not_answer(void **state)
{
    static struct seen seen;
    config[4] = 0; /* memory decoding off */
    assert_int_equal(nvidia_registers(&device, NULL, each, &seen), -EIO);
    memset(config, 0xff, 4096);
    assert_int_equal(nvidia_registers(&device, NULL, each, &seen), -ENODEV);
    assert_non_null(strstr(gpu_error(), "gone"));
    device.info.pci_name[0] = '\0'; /* Linux's driver has it */
    assert_int_equal(nvidia_registers(&device, NULL, each, &seen), -ENOTSUP);
    assert_int_equal(seen.count, 0);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_chip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_block, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_chip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locked_registers_are_marked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_does_not_answer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
