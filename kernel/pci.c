/*
 * kernel/pci.c: finds the PCI functions of the machine and hands them to drivers (PCI Express Base 5.0, 7.5.1).
 *
 * The firmware has numbered the buses and placed the BARs; we read what it did and change neither. Buses are walked
 * from the first bus of a segment through the bridges; further root buses (more sockets) show by a function 0 on
 * their device 0. At start every function that is not a bridge loses bus mastering and its interrupts, so that no
 * device which the firmware left running writes to memory that is ours now; a driver turns its own on again.
 *
 * Not here: hot plug, resource assignment, SR-IOV, ARI (functions above 7), CardBus.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernel/machine.h"
#include "kernel/pci.h"

#define FUNCTION_MAX 1024
#define D3_TO_D0_NS  (10 * NS_PER_MS) /* PCI Power Management 1.2, 5.4.1 */

static struct pci_function *functions[FUNCTION_MAX]; /* in bus order */
static unsigned function_count;

/* ---- BARs ---- */

static uint32_t bar_read(const struct pci_device *pci, unsigned index)
{
    return pci_read32(pci, PCI_BAR0 + 4 * index);
}

static void bar_write(struct pci_device *pci, unsigned index, uint32_t value)
{
    pci_write32(pci, PCI_BAR0 + 4 * index, value);
}

/* What reads back after writing all ones: zeroes below the size, which is a power of two (7.5.1.2.1). */
static uint32_t bar_probe(struct pci_device *pci, unsigned index)
{
    uint32_t value = bar_read(pci, index);
    bar_write(pci, index, UINT32_MAX);
    uint32_t mask = bar_read(pci, index);
    bar_write(pci, index, value);
    return mask;
}

/* Fill in BAR `index`; returns how many registers it takes. Decoding is off. */
static unsigned bar_find(struct pci_device *pci, unsigned index)
{
    struct pci_bar *bar = &pci->bar[index];
    uint32_t value = bar_read(pci, index), mask = bar_probe(pci, index);
    uint64_t size;
    if (mask == 0 || mask == UINT32_MAX)
        return 1;
    if (value & PCI_BAR_IO) {
        bar->is_io = true;
        bar->pa = value & ~UINT64_C(3);
        size = -(uint64_t)(mask & ~UINT32_C(3)) & 0xffff; /* the upper half may be zeroes */
    } else {
        bar->is_prefetchable = value & PCI_BAR_PREFETCHABLE;
        bar->is_64 = field_get(PCI_BAR_TYPE, value) == 2;
        bar->pa = value & ~UINT64_C(0xf);
        uint64_t wide_mask = (mask & ~UINT64_C(0xf)) | UINT64_C(0xffffffff00000000);
        if (bar->is_64 && index == 5) {
            log_warn("%s: BAR 5 says it has 64 bits; ignored", pci->name);
            *bar = (struct pci_bar){0};
            return 1;
        }
        if (bar->is_64) {
            bar->pa |= (uint64_t)bar_read(pci, index + 1) << 32;
            wide_mask = (mask & ~UINT64_C(0xf)) | (uint64_t)bar_probe(pci, index + 1) << 32;
        }
        size = -wide_mask;
    }
    unsigned registers = bar->is_64 ? 2 : 1;
    if ((size & (size - 1)) != 0 || bar->pa % (size == 0 ? 1 : size) != 0) {
        log_warn("%s: BAR %u at %#llx has odd size %#llx; ignored", pci->name, index,
                 (unsigned long long)bar->pa, (unsigned long long)size);
        *bar = (struct pci_bar){0};
        return registers;
    }
    bar->size_bytes = size;
    if (size != 0 && bar->pa == 0)
        log_warn("%s: BAR %u, %llu KiB, was given no address by the firmware", pci->name, index,
                 (unsigned long long)(size >> 10));
    return registers;
}

/*
 * Leaves decoding off. Only for a device that gets a driver: the console may be writing to a BAR of one that does not,
 * and each BAR that goes and comes costs an emulated machine up to a millisecond.
 */
static void bars_find(struct pci_device *pci)
{
    uint16_t command = pci_read16(pci, PCI_COMMAND);
    pci_write16(pci, PCI_COMMAND, command & (uint16_t)~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
    for (unsigned i = 0; i < 6;)
        i += bar_find(pci, i);
    pci_function_of(pci)->has_bars = true;
}

/* ---- finding functions ---- */

/* Bus mastering, MSI, MSI-X and INTx off. */
static void quiet(struct pci_device *pci)
{
    uint16_t command = pci_read16(pci, PCI_COMMAND);
    pci_write16(pci, PCI_COMMAND,
                (uint16_t)((command | PCI_COMMAND_INTX_OFF) & ~PCI_COMMAND_BUS_MASTER));
    pci_msi_disable(pci);
    pci_msix_disable(pci);
}

/* One function. NULL when there is none, or no room. */
static struct pci_function *function_find(uint16_t segment, uint8_t bus, uint8_t device,
                                          uint8_t function, struct pci_function *bridge)
{
    struct pci_function probe = {.config = pci_config_window(segment, bus, device, function),
                                 .bridge = bridge};
    struct pci_device *pci = &probe.device;
    pci->private_data = &probe;
    pci->segment = segment;
    pci->bus = bus;
    pci->device = device;
    pci->function = function;
    uint32_t id = pci_read32(pci, PCI_VENDOR_ID);
    if ((id & 0xffff) == 0xffff || id == 0)
        return NULL;
    struct pci_function *f = function_count < FUNCTION_MAX ? malloc(sizeof(*f)) : NULL;
    if (f == NULL) {
        log_error("PCI: no room for %04x:%02x:%02x.%x", segment, bus, device, function);
        return NULL;
    }
    *f = probe;
    functions[function_count++] = f;
    pci = &f->device;
    pci->private_data = f;
    snprintf(pci->name, sizeof(pci->name), "%04x:%02x:%02x.%x", segment, bus, device & 31u,
             function & 7u);
    pci->vendor_id = (uint16_t)id;
    pci->device_id = (uint16_t)(id >> 16);
    pci->revision = pci_read8(pci, PCI_REVISION_ID);
    pci->prog_if = pci_read8(pci, PCI_CLASS_PROG_IF);
    pci->sub_class = pci_read8(pci, PCI_CLASS_SUB);
    pci->base_class = pci_read8(pci, PCI_CLASS_BASE);

    uint64_t layout = field_get(PCI_HEADER_LAYOUT, pci_read8(pci, PCI_HEADER_TYPE));
    f->is_bridge = layout == 1;
    if (layout == 0) {
        pci->subsystem_vendor_id = pci_read16(pci, PCI_SUBSYSTEM_VENDOR_ID);
        pci->subsystem_id = pci_read16(pci, PCI_SUBSYSTEM_ID);
        if (pci->base_class != PCI_CLASS_BRIDGE) /* host bridges have this layout too */
            quiet(pci);
    }
    return f;
}

/* Buses seen of the segment that is being walked; each is walked once, so that no wiring of bridges makes a loop. */
struct walk {
    uint16_t segment;
    uint8_t first_bus, last_bus;
    bool is_seen[256];
    uint8_t queue[256]; /* buses to walk, and the bridges that lead there */
    struct pci_function *bridges[256];
    unsigned queue_head, queue_tail;
};

static void walk_add(struct walk *walk, uint8_t bus, struct pci_function *bridge)
{
    walk->is_seen[bus] = true;
    walk->queue[walk->queue_tail] = bus;
    walk->bridges[walk->queue_tail++] = bridge;
}

static void walk_bridge(struct walk *walk, struct pci_function *f)
{
    uint8_t secondary = pci_read8(&f->device, PCI_SECONDARY_BUS);
    if (secondary <= f->device.bus || secondary < walk->first_bus || secondary > walk->last_bus ||
        walk->is_seen[secondary])
        log_warn(
            "%s: bridge to bus %u, which is no bus of its own; what lies behind it is not used",
            f->device.name, secondary);
    else
        walk_add(walk, secondary, f);
}

static void walk_bus(struct walk *walk, uint8_t bus, struct pci_function *bridge)
{
    for (uint8_t device = 0; device < 32; device++) {
        struct pci_function *f = function_find(walk->segment, bus, device, 0, bridge);
        if (f == NULL)
            continue;
        bool has_more = pci_read8(&f->device, PCI_HEADER_TYPE) & PCI_HEADER_MULTI_FUNCTION;
        if (f->is_bridge)
            walk_bridge(walk, f);
        for (uint8_t function = 1; has_more && function < 8; function++) {
            f = function_find(walk->segment, bus, device, function, bridge);
            if (f != NULL && f->is_bridge)
                walk_bridge(walk, f);
        }
    }
}

static bool is_there(uint16_t segment, uint8_t bus)
{
    struct pci_function probe = {.config = pci_config_window(segment, bus, 0, 0)};
    probe.device.private_data = &probe;
    probe.device.bus = bus;
    uint16_t vendor = pci_read16(&probe.device, PCI_VENDOR_ID);
    return vendor != 0xffff && vendor != 0;
}

static void walk_segment(uint16_t segment, uint8_t first_bus, uint8_t last_bus)
{
    struct walk walk = {.segment = segment, .first_bus = first_bus, .last_bus = last_bus};
    walk_add(&walk, first_bus, NULL);
    for (unsigned root = first_bus;; root++) {
        while (walk.queue_head < walk.queue_tail) {
            unsigned next = walk.queue_head++;
            walk_bus(&walk, walk.queue[next], walk.bridges[next]);
        }
        /* More root buses: those that no bridge leads to. */
        while (root <= last_bus && (walk.is_seen[root] || !is_there(segment, (uint8_t)root)))
            root++;
        if (root > last_bus)
            return;
        walk_add(&walk, (uint8_t)root, NULL);
    }
}

static int compare_places(const void *a, const void *b)
{
    const struct pci_device *x = &(*(struct pci_function *const *)a)->device;
    const struct pci_device *y = &(*(struct pci_function *const *)b)->device;
    uint32_t place_x = (uint32_t)x->segment << 16 | x->bus << 8 | x->device << 3 | x->function;
    uint32_t place_y = (uint32_t)y->segment << 16 | y->bus << 8 | y->device << 3 | y->function;
    return place_x < place_y ? -1 : place_x > place_y;
}

int pci_start(void)
{
    pci_config_start(walk_segment);
    qsort(functions, function_count, sizeof(functions[0]), compare_places);
    log_info("PCI: %u functions", function_count);
    for (unsigned i = 0; i < function_count; i++) {
        const struct pci_device *pci = &functions[i]->device;
        log_debug("%s: %04x:%04x class %02x%02x%02x", pci->name, pci->vendor_id, pci->device_id,
                  pci->base_class, pci->sub_class, pci->prog_if);
    }
    return (int)function_count;
}

/* ---- the door ---- */

struct pci_device *pci_device_get(unsigned index)
{
    return index < function_count ? &functions[index]->device : NULL;
}

/* To D0. A function that was in D3hot may have lost its BARs on the way (PCI Power Management 1.2, 5.4.1). */
static int power_up(struct pci_device *pci)
{
    unsigned power = pci_find_capability(pci, PCI_CAP_POWER, 0);
    if (power == 0)
        return 0;
    uint16_t control = pci_read16(pci, power + PCI_POWER_CONTROL);
    if (field_get(PCI_POWER_STATE, control) == 0)
        return 0;
    pci_write16(pci, power + PCI_POWER_CONTROL, control & (uint16_t)~PCI_POWER_STATE);
    task_sleep_until(time_ns() + D3_TO_D0_NS);
    control = pci_read16(pci, power + PCI_POWER_CONTROL);
    if (field_get(PCI_POWER_STATE, control) != 0) {
        log_error("%s: stays in power state D%u", pci->name,
                  (unsigned)field_get(PCI_POWER_STATE, control));
        return -EIO;
    }
    for (unsigned i = 0; i < 6; i++)
        bar_write(pci, i, pci_function_of(pci)->bar_value[i]);
    return 0;
}

/* Bridges above the function let its memory and its bus mastering through. */
static void bridges_open(const struct pci_device *pci)
{
    for (struct pci_function *f = pci_function_of(pci)->bridge; f != NULL; f = f->bridge) {
        uint16_t command = pci_read16(&f->device, PCI_COMMAND);
        pci_write16(&f->device, PCI_COMMAND, command | PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);
    }
}

int pci_enable(struct pci_device *pci)
{
    struct pci_function *f = pci_function_of(pci);
    if (pci_read16(pci, PCI_VENDOR_ID) != pci->vendor_id)
        return -ENODEV;
    if (f->is_bridge || pci->base_class == PCI_CLASS_BRIDGE)
        return -EINVAL;
    if (!f->has_bars)
        for (unsigned i = 0; i < 6; i++)
            f->bar_value[i] = bar_read(pci, i);
    int error = power_up(pci);
    if (error != 0)
        return error;
    if (!f->has_bars)
        bars_find(pci);
    bridges_open(pci);
    pci_write16(pci, PCI_COMMAND, pci_read16(pci, PCI_COMMAND) | PCI_COMMAND_MEMORY);
    return pci_read16(pci, PCI_COMMAND) == UINT16_MAX ? -ENODEV : 0;
}

void pci_bus_master(struct pci_device *pci, bool on)
{
    uint16_t command = pci_read16(pci, PCI_COMMAND) & (uint16_t)~PCI_COMMAND_BUS_MASTER;
    pci_write16(pci, PCI_COMMAND, on ? command | PCI_COMMAND_BUS_MASTER : command);
}

void pci_disable(struct pci_device *pci)
{
    pci_bus_master(pci, false);
    pci_msi_disable(pci);
    pci_msix_disable(pci);
}

volatile void *pci_map_bar(struct pci_device *pci, unsigned index, enum cache_mode mode)
{
    if (index >= 6)
        return NULL;
    const struct pci_bar *bar = &pci->bar[index];
    if (bar->size_bytes == 0 || bar->is_io || bar->pa == 0)
        return NULL;
    return mmio_map(bar->pa, bar->size_bytes, mode);
}
