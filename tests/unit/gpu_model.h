/*
 * tests/unit/gpu_model.h: the GPU model (tests/model) as a PCI device of the hosted twin, for tests that include this file: its
 * registers are behind the mmio functions, memory is shared, interrupts call the handler, and it takes the twin's clock.
 *
 * The test defines no mmio functions of its own. With the fake clock a bring-up takes no time but what its code takes.
 */
#ifndef INGOT_TESTS_UNIT_GPU_MODEL_H
#define INGOT_TESTS_UNIT_GPU_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/host/host.h"
#include "tests/model/embed.h"

struct gpu_model {
    struct model *model;
    struct embed_facts facts;
    struct pci_device *pci;
    uint8_t *bar0; /* addresses only: nothing is mapped there */
    bool stops, has_stopped;
};
static struct gpu_model gpu_model;

/* ---- registers ---- */

static bool gpu_model_has(const volatile void *reg, uint64_t *offset)
{
    const struct gpu_model *g = &gpu_model;
    *offset = (uint64_t)((const volatile uint8_t *)reg - g->bar0);
    return g->bar0 != NULL && (const volatile uint8_t *)reg >= g->bar0 && *offset < g->facts.bar0_bytes;
}

/* The command register is plain memory in the twin; the model hears of it when it next matters. After a reset it is 0 in the model. */
static uint16_t gpu_model_last_command;
static void gpu_model_command(void)
{
    uint16_t command = pci_read16(gpu_model.pci, 4);
    if (command != gpu_model_last_command)
        embed_command(gpu_model.model, command);
    gpu_model_last_command = command;
}

uint32_t mmio_read32(const volatile void *reg)
{
    uint64_t offset;
    if (!gpu_model_has(reg, &offset))
        return *(const volatile uint32_t *)reg;
    gpu_model_command();
    return embed_read32(gpu_model.model, offset);
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    uint64_t offset;
    if (!gpu_model_has(reg, &offset)) {
        *(volatile uint32_t *)reg = value;
        return;
    }
    gpu_model_command();
    embed_write32(gpu_model.model, offset, value);
}

uint8_t mmio_read8(const volatile void *reg)
{
    return *(const volatile uint8_t *)reg;
}
uint16_t mmio_read16(const volatile void *reg)
{
    return *(const volatile uint16_t *)reg;
}
uint64_t mmio_read64(const volatile void *reg)
{
    return *(const volatile uint64_t *)reg;
}
void mmio_write8(volatile void *reg, uint8_t value)
{
    *(volatile uint8_t *)reg = value;
}
void mmio_write16(volatile void *reg, uint16_t value)
{
    *(volatile uint16_t *)reg = value;
}
void mmio_write64(volatile void *reg, uint64_t value)
{
    *(volatile uint64_t *)reg = value;
}

/* ---- the device ---- */

static int gpu_model_reset(void *arg, enum pci_reset how)
{
    if (how == PCI_RESET_FUNCTION && !gpu_model.facts.has_function_reset)
        return -ENOTSUP;
    embed_reset(gpu_model.model);
    gpu_model_last_command = 0;
    task_sleep_until(time_ns() + 100 * NS_PER_MS);
    return 0;
}

static void gpu_model_interrupt(void *arg)
{
    if (gpu_model.facts.has_msix)
        host_pci_msix_raise(gpu_model.pci, 0);
    else
        host_pci_msi_raise(gpu_model.pci);
}

/* Time passes for the model while the driver waits. */
static void gpu_model_task(void *arg)
{
    while (!gpu_model.stops) {
        gpu_model_command();
        embed_pump(gpu_model.model);
        task_sleep_until(time_ns() + 100 * NS_PER_US);
    }
    gpu_model.has_stopped = true;
}

static struct pci_device *gpu_model_open(const char *chip, uint64_t vram_mib, const char *firmware, const char *trace)
{
    struct gpu_model *g = &gpu_model;
    *g = (struct gpu_model){0};
    gpu_model_last_command = 0;
    g->model = embed_open(chip, vram_mib, firmware, trace, time_ns, &g->facts);
    g->bar0 = mmap(NULL, g->facts.bar0_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(g->bar0 != MAP_FAILED);
    unsigned bar1 = g->facts.bar1_index;
    struct pci_device device = {
        .bus = 1,
        .vendor_id = 0x10de,
        .subsystem_vendor_id = 0x10de,
        .subsystem_id = g->facts.subsystem_id,
        .revision = g->facts.revision,
        .device_id = g->facts.device_id,
        .base_class = 3,
        .bar[0] = {.pa = g->facts.bar0_bus, .size_bytes = g->facts.bar0_bytes, .is_64 = bar1 == 2},
    };
    const struct pci_bar memory_bar = {.is_64 = true, .is_prefetchable = true};
    device.bar[bar1] = device.bar[bar1 + 2] = memory_bar;
    device.bar[bar1].pa = g->facts.bar1_bus;
    device.bar[bar1].size_bytes = g->facts.bar1_bytes;
    device.bar[bar1 + 2].pa = g->facts.bar3_bus;
    device.bar[bar1 + 2].size_bytes = 32 << 20;
    void *memory[6] = {g->bar0};
    memory[bar1] = g->facts.vram;
    g->pci = host_pci_add(&device, memory);
    host_pci_on_reset(g->pci, gpu_model_reset, NULL);
    if (g->facts.has_msix)
        host_pci_msix_entries(g->pci, 9);
    else
        host_pci_msi(g->pci, true);
    embed_on_interrupt(g->model, gpu_model_interrupt, NULL);
    assert(task_create("gpu model", 0, 0, gpu_model_task, NULL) == 0);
    return g->pci;
}

static void gpu_model_close(void)
{
    struct gpu_model *g = &gpu_model;
    g->stops = true;
    while (!g->has_stopped)
        task_sleep_until(time_ns() + NS_PER_MS);
    embed_close(g->model);
    munmap(g->bar0, g->facts.bar0_bytes);
    host_pci_clear();
    *g = (struct gpu_model){0};
}

/* ---- firmware ---------------------------------------------------------------------------------------------------- */

#define GPU_MODEL_FIRMWARE "build/deps/firmware"
static const char *const gpu_model_chips[] = {"ga102", "ad102", "tu102", "gh100", "gb202"};

/* One file of Debian's package onto the boot disk; not every chip has every kind. */
static void gpu_model_file_add(const char *chip, const char *kind)
{
    char path[256], name[64];
    snprintf(name, sizeof(name), "nvidia/%s/gsp/%s-570.144.bin", chip, kind);
    snprintf(path, sizeof(path), GPU_MODEL_FIRMWARE "/%s", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return;
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    void *data = malloc(bytes);
    if (data == NULL || fread(data, 1, bytes, file) != bytes)
        abort();
    fclose(file);
    host_boot_file_add(name, data, bytes);
    free(data);
}

/* The boot disk holds what `make image GPU=chip` puts there, but for the kernels. */
static void gpu_model_firmware_add(const char *chip)
{
    static const char *last;
    static const char *const kinds[] = {"booter_load",    "booter_unload", "bootloader",
                                        "gen_bootloader", "gsp",           "fmc"};
    if (last != NULL && strcmp(chip, last) == 0)
        return;
    last = chip;
    host_boot_files_clear();
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++)
        gpu_model_file_add(chip, kinds[i]);
    if (strcmp(chip, "ga102") != 0)
        gpu_model_file_add("ga102", "gsp"); /* one for all from GA102 on */
}

#endif
