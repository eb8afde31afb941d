/*
 * kernel/pci_config.c: PCI configuration space: through ECAM, a window of memory with 4096 bytes per function (PCI
 * Express Base 5.0, 7.2.2), whose places ACPI's MCFG table names (PCI Firmware Specification 3.3, 4.1.2); else
 * through ports. And what lies in that space for every function: the lists of capabilities.
 */
#include <string.h>

#include "kernel/machine.h"
#include "kernel/pci.h"

#define MCFG_FIRST_ENTRY    44 /* header of 36 bytes, 8 reserved */
#define MCFG_ENTRY_BYTES    16
#define WINDOW_MAX          16 /* segments; seen: 1, on large servers up to 8 */

#define CAPABILITY_FIRST    0x40 /* behind the header that all functions have */
#define CAPABILITY_MAX      ((256 - CAPABILITY_FIRST) / 4)
#define EXT_CAPABILITY_MAX  ((PCI_CONFIG_BYTES - PCI_EXT_CAPABILITIES) / 8)
#define EXT_CAPABILITY_ID   BITS(15, 0)
#define EXT_CAPABILITY_NEXT BITS(31, 20)

static struct window {
    volatile uint8_t *va; /* of first_bus */
    uint16_t segment;
    uint8_t first_bus, last_bus;
} windows[WINDOW_MAX];
static unsigned window_count;

static bool is_window_taken(uint16_t segment, uint8_t first_bus, uint8_t last_bus)
{
    for (unsigned i = 0; i < window_count; i++)
        if (windows[i].segment == segment && first_bus <= windows[i].last_bus &&
            last_bus >= windows[i].first_bus)
            return true;
    return false;
}

static void window_add(const uint8_t *entry)
{
    uint64_t base;
    uint16_t segment;
    memcpy(&base, entry, sizeof(base)); /* of bus 0, even if first_bus is another */
    memcpy(&segment, entry + 8, sizeof(segment));
    uint8_t first_bus = entry[10], last_bus = entry[11];
    uint64_t bytes = ((uint64_t)last_bus - first_bus + 1) << 20;
    uint64_t pa = base + ((uint64_t)first_bus << 20);
    if (base == 0 || base % PAGE_SIZE != 0 || pa < base || last_bus < first_bus ||
        is_window_taken(segment, first_bus, last_bus) || window_count == WINDOW_MAX) {
        log_warn("PCI: MCFG entry ignored: base %#llx, segment %u, buses %u to %u",
                 (unsigned long long)base, segment, first_bus, last_bus);
        return;
    }
    volatile uint8_t *va = mmio_map(pa, bytes, CACHE_UNCACHED);
    if (va == NULL) {
        log_warn("PCI: cannot map configuration space of segment %u at %#llx", segment,
                 (unsigned long long)pa);
        return;
    }
    windows[window_count++] = (struct window){va, segment, first_bus, last_bus};
}

void pci_config_start(void (*found)(uint16_t segment, uint8_t first_bus, uint8_t last_bus))
{
    window_count = 0;
    const uint8_t *mcfg = acpi_table_find("MCFG", 0);
    uint32_t bytes = 0;
    if (mcfg != NULL)
        memcpy(&bytes, mcfg + 4, sizeof(bytes));
    for (uint32_t at = MCFG_FIRST_ENTRY; at + MCFG_ENTRY_BYTES <= bytes; at += MCFG_ENTRY_BYTES)
        window_add(mcfg + at);
    for (unsigned i = 0; i < window_count; i++)
        found(windows[i].segment, windows[i].first_bus, windows[i].last_bus);
    if (window_count == 0) {
        log_warn("PCI: no ECAM window; configuration space through ports, 256 bytes of it");
        found(0, 0, 255);
    }
}

volatile uint8_t *pci_config_window(uint16_t segment, uint8_t bus, uint8_t device, uint8_t function)
{
    for (unsigned i = 0; i < window_count; i++)
        if (windows[i].segment == segment && bus >= windows[i].first_bus &&
            bus <= windows[i].last_bus)
            return windows[i].va + ((uint64_t)(bus - windows[i].first_bus) << 20 |
                                    (uint64_t)device << 15 | (uint64_t)function << 12);
    return NULL;
}

/* ---- accesses ---- */

/* Where an access goes: the place in ECAM, or NULL for the ports. Offsets are ours, so a bad one is our mistake. */
static volatile uint8_t *place(const struct pci_device *pci, unsigned offset, unsigned bytes)
{
    assert(offset % bytes == 0 && offset + bytes <= PCI_CONFIG_BYTES);
    const struct pci_function *f = pci_function_of(pci);
    return f->config != NULL ? f->config + offset : NULL;
}

/* Beyond the ports' reach there is nothing, which reads as all ones. */
static uint32_t port_read(const struct pci_device *pci, unsigned offset, unsigned bytes)
{
    return offset < PCI_CONFIG_BYTES_PORTS
               ? pci_port_read(pci->bus, pci->device, pci->function, offset, bytes)
               : UINT32_MAX;
}

static void port_write(struct pci_device *pci, unsigned offset, unsigned bytes, uint32_t value)
{
    if (offset < PCI_CONFIG_BYTES_PORTS)
        pci_port_write(pci->bus, pci->device, pci->function, offset, bytes, value);
}

uint8_t pci_read8(const struct pci_device *pci, unsigned offset)
{
    volatile uint8_t *at = place(pci, offset, 1);
    return at != NULL ? mmio_read8(at) : (uint8_t)port_read(pci, offset, 1);
}

uint16_t pci_read16(const struct pci_device *pci, unsigned offset)
{
    volatile uint8_t *at = place(pci, offset, 2);
    return at != NULL ? mmio_read16(at) : (uint16_t)port_read(pci, offset, 2);
}

uint32_t pci_read32(const struct pci_device *pci, unsigned offset)
{
    volatile uint8_t *at = place(pci, offset, 4);
    return at != NULL ? mmio_read32(at) : port_read(pci, offset, 4);
}

void pci_write8(struct pci_device *pci, unsigned offset, uint8_t value)
{
    volatile uint8_t *at = place(pci, offset, 1);
    if (at != NULL)
        mmio_write8(at, value);
    else
        port_write(pci, offset, 1, value);
}

void pci_write16(struct pci_device *pci, unsigned offset, uint16_t value)
{
    volatile uint8_t *at = place(pci, offset, 2);
    if (at != NULL)
        mmio_write16(at, value);
    else
        port_write(pci, offset, 2, value);
}

void pci_write32(struct pci_device *pci, unsigned offset, uint32_t value)
{
    volatile uint8_t *at = place(pci, offset, 4);
    if (at != NULL)
        mmio_write32(at, value);
    else
        port_write(pci, offset, 4, value);
}

/* ---- capabilities: lists made by the device, so their length is bounded by what fits ---- */

unsigned pci_find_capability(const struct pci_device *pci, uint8_t id, unsigned prev)
{
    uint16_t status = pci_read16(pci, PCI_STATUS);
    if (status == UINT16_MAX || !(status & PCI_STATUS_CAPABILITIES))
        return 0;
    unsigned at = pci_read8(pci, prev == 0 ? PCI_CAPABILITIES : prev + 1) & ~3u;
    for (unsigned i = 0; at >= CAPABILITY_FIRST && i < CAPABILITY_MAX; i++) {
        if (pci_read8(pci, at) == id)
            return at;
        at = pci_read8(pci, at + 1) & ~3u;
    }
    return 0;
}

unsigned pci_find_ext_capability(const struct pci_device *pci, uint16_t id)
{
    unsigned at = PCI_EXT_CAPABILITIES;
    for (unsigned i = 0; at >= PCI_EXT_CAPABILITIES && i < EXT_CAPABILITY_MAX; i++) {
        uint32_t header = pci_read32(pci, at);
        if (header == 0 || header == UINT32_MAX)
            return 0;
        if (field_get(EXT_CAPABILITY_ID, header) == id)
            return at;
        at = (unsigned)field_get(EXT_CAPABILITY_NEXT, header) & ~3u;
    }
    return 0;
}
