/* tests/model/embed.c: see embed.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/model/embed.h"
#include "tests/model/parts.h"

/* What a machine's firmware would do; nothing of a process lies there. */
#define BAR0_BUS UINT64_C(0xe0000000)
#define BAR1_BUS UINT64_C(0x1000000000)
#define BAR3_BUS UINT64_C(0x3000000000)

static void address_set(struct model *m, unsigned index, uint64_t bus, bool is_64)
{
    uint32_t low = (uint32_t)bus, high = (uint32_t)(bus >> 32);
    pci_config_write(m, 0x10 + 4 * index, &low, 4);
    if (is_64)
        pci_config_write(m, 0x14 + 4 * index, &high, 4);
}

static void addresses_set(struct model *m)
{
    address_set(m, 0, BAR0_BUS, m->chip->is_3d_controller);
    address_set(m, pci_bar1_index(m), BAR1_BUS, true);
    address_set(m, pci_bar3_index(m), BAR3_BUS, true);
}

/* Closed models' parts stay allocated: the program of which they are a part ends soon. Known here, they are not leaks. */
#define MODELS_MAX 256
static struct model *opened[MODELS_MAX];
static unsigned opened_count;

struct model *embed_open(const char *chip, uint64_t vram_mib, const char *firmware,
                         const char *trace, uint64_t (*clock)(void), struct embed_facts *facts)
{
    struct model *m = calloc(1, sizeof(*m));
    if (m == NULL)
        die("no memory");
    if (opened_count == MODELS_MAX)
        die("more than %d models in one program", MODELS_MAX);
    opened[opened_count++] = m;
    loop_clock = clock;
    m->chip = chip_find(chip);
    if (m->chip == NULL)
        die("no chip %s", chip);
    m->vram_bytes = vram_mib << 20;
    m->firmware_folder = firmware;
    m->is_quiet = true;
    if (trace_open(m, trace) != 0)
        die("%s cannot be written", trace);
    uint64_t bar1_bytes = UINT64_C(64) << 20;
    while (bar1_bytes < m->vram_bytes)
        bar1_bytes *= 2;
    model_open(m, bar1_bytes, NULL);
    bus_identity_map(m);
    addresses_set(m);
    unsigned index = pci_bar1_index(m);
    *facts = (struct embed_facts){
        .device_id = m->chip->device_id,
        .subsystem_id = m->chip->subsystem_id,
        .revision = m->chip->revision,
        .bar0_bus = BAR0_BUS,
        .bar1_bus = BAR1_BUS,
        .bar3_bus = BAR3_BUS,
        .bar0_bytes = m->chip->bar0_bytes,
        .vram_bytes = m->vram_bytes,
        .bar1_bytes = bar1_bytes,
        .bar1_index = index,
        .has_msix = m->chip->has_msix,
        .has_function_reset = m->chip->family != TURING,
        .vram = m->vram,
    };
    return m;
}

void embed_close(struct model *m)
{
    model_reset(m, "end");
    munmap(m->vram, m->vram_bytes);
    trace_close(m);
}

uint32_t embed_read32(struct model *m, uint64_t offset)
{
    uint32_t value;
    bus_bar0_read(m, offset, &value, 4);
    loop_run(m);
    return value;
}

void embed_write32(struct model *m, uint64_t offset, uint32_t value)
{
    bus_bar0_write(m, offset, &value, 4);
    loop_run(m);
}

void embed_command(struct model *m, uint16_t command)
{
    pci_config_write(m, 4, &command, 2);
}

void embed_reset(struct model *m)
{
    model_reset(m, "reset by the test");
    addresses_set(m);
}

void embed_left_running(struct model *m)
{
    fb_left_running(m);
}

void embed_pump(struct model *m)
{
    loop_run(m);
}

void embed_on_interrupt(struct model *m, void (*fn)(void *arg), void *arg)
{
    m->on_interrupt = fn;
    m->on_interrupt_arg = arg;
}

void embed_fault(const char *text)
{
    if (text == NULL)
        fault_disarm_all();
    else
        fault_arm(text);
}

const char *embed_fault_get(struct model *m, unsigned index)
{
    return fault_get(m->chip, index);
}

unsigned embed_refusals(const struct model *m)
{
    return trace_refusals(m);
}

const char *embed_last_refusal(const struct model *m)
{
    return trace_last_refusal(m);
}

bool embed_was_refused(const struct model *m, const char *text)
{
    return trace_was_refused(m, text);
}

uint32_t embed_config_read32(struct model *m, unsigned offset)
{
    uint32_t value;
    pci_config_read(m, offset, &value, 4);
    return value;
}

void embed_config_write32(struct model *m, unsigned offset, uint32_t value)
{
    pci_config_write(m, offset, &value, 4);
}

uint64_t embed_bar1_bytes(struct model *m)
{
    return pci_region_get(m, pci_bar1_index(m)).bytes;
}
