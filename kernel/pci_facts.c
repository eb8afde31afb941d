/*
 * kernel/pci_facts.c: what the configuration space of a function says, for people: class, power, link, interrupts,
 * BARs, capabilities. Reads only, so any core may look at a device that somebody else drives; a device that is gone
 * reads as ones and has no facts but its name.
 *
 * Registers: PCI Express Base Specification 5.0, 7.5 (configuration space, PCI Express capability) and 7.7 (MSI,
 * MSI-X). Capability numbers and class codes: PCI Code and ID Assignment Specification 1.11, chapters 1 to 3.
 */
#include <stdio.h>
#include <string.h>

#include "kernel/pci.h"

#define CAPABILITY_FIRST    0x40u
#define EXPRESS_LINK_CAP    0x0c /* 32-bit (7.5.3.6) */
#define EXPRESS_LINK_STATUS 0x12 /* 16-bit (7.5.3.8) */
#define EXPRESS_LINK_SPEED  BITS(3, 0)
#define EXPRESS_LINK_WIDTH  BITS(9, 4)
#define MSI_CAPABLE         BITS(3, 1) /* log2 of the vectors that the function asks for (7.7.1.2) */

struct number_name {
    uint16_t number;
    const char *name;
};

static const struct number_name capability_names[] = {
    {0x01, "power management"},
    {0x02, "AGP"},
    {0x03, "vital product data"},
    {0x04, "slot identification"},
    {0x05, "MSI"},
    {0x06, "CompactPCI hot swap"},
    {0x07, "PCI-X"},
    {0x08, "HyperTransport"},
    {0x09, "vendor specific"},
    {0x0a, "debug port"},
    {0x0c, "hot plug"},
    {0x0d, "bridge subsystem"},
    {0x0e, "AGP 8x"},
    {0x10, "PCI Express"},
    {0x11, "MSI-X"},
    {0x12, "SATA"},
    {0x13, "advanced features"},
    {0x14, "enhanced allocation"},
};

static const struct number_name extended_names[] = {
    {0x0001, "advanced error reporting"},
    {0x0002, "virtual channel"},
    {0x0003, "serial number"},
    {0x0004, "power budgeting"},
    {0x0008, "multi-function virtual channel"},
    {0x000b, "vendor specific"},
    {0x000d, "access control services"},
    {0x000e, "alternative routing"},
    {0x000f, "address translation"},
    {0x0010, "virtual functions"},
    {0x0012, "multicast"},
    {0x0013, "page requests"},
    {0x0015, "resizable BAR"},
    {0x0016, "dynamic power allocation"},
    {0x0017, "TPH requester"},
    {0x0018, "latency tolerance"},
    {0x0019, "secondary PCI Express"},
    {0x001b, "process address space"},
    {0x001d, "downstream port containment"},
    {0x001e, "L1 substates"},
    {0x001f, "precision time"},
    {0x0023, "designated vendor specific"},
    {0x0024, "resizable BAR of virtual functions"},
    {0x0025, "data link features"},
    {0x0026, "physical layer 16 GT/s"},
    {0x0027, "lane margining"},
    {0x002a, "physical layer 32 GT/s"},
    {0x002b, "alternate protocols"},
    {0x002e, "data object exchange"},
    {0x0031, "physical layer 64 GT/s"},
};

/* Base class and sub class. */
static const struct number_name class_names[] = {
    {0x0100, "SCSI controller"},
    {0x0101, "IDE controller"},
    {0x0104, "RAID controller"},
    {0x0106, "SATA controller"},
    {0x0107, "SAS controller"},
    {0x0108, "NVMe controller"},
    {0x0180, "mass storage"},
    {0x0200, "Ethernet controller"},
    {0x0207, "InfiniBand controller"},
    {0x0280, "network controller"},
    {0x0300, "VGA controller"},
    {0x0302, "3D controller"},
    {0x0380, "display controller"},
    {0x0401, "audio device"},
    {0x0403, "HD audio device"},
    {0x0500, "RAM"},
    {0x0580, "memory controller"},
    {0x0600, "host bridge"},
    {0x0601, "ISA bridge"},
    {0x0604, "PCI bridge"},
    {0x0680, "bridge"},
    {0x0700, "serial controller"},
    {0x0780, "communication controller"},
    {0x0800, "interrupt controller"},
    {0x0801, "DMA controller"},
    {0x0805, "SD host controller"},
    {0x0806, "IOMMU"},
    {0x0880, "system peripheral"},
    {0x0c03, "USB controller"},
    {0x0c05, "SMBus controller"},
    {0x0c80, "serial bus controller"},
    {0x1080, "encryption controller"},
    {0x1101, "performance counters"},
    {0x1180, "signal processing controller"},
    {0x1200, "processing accelerator"},
};

static const char *name_of(const struct number_name *names, size_t count, uint16_t number)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].number == number)
            return names[i].name;
    return NULL;
}

const char *pci_class_name(const struct pci_device *pci)
{
    const char *name = name_of(class_names, ARRAY_COUNT(class_names),
                               (uint16_t)(pci->base_class << 8 | pci->sub_class));
    return name ? name : "device";
}

/* Lane rates in units of 10^6 transfers a second (7.5.3.6, Max Link Speed); 0: a code that is not assigned. */
static uint32_t link_rate(uint64_t code)
{
    static const uint32_t rates[] = {0, 2500, 5000, 8000, 16000, 32000, 64000};
    return code < ARRAY_COUNT(rates) ? rates[code] : 0;
}

static void capability_add(struct pci_facts *out, unsigned offset, uint16_t id, bool is_extended)
{
    if (out->capability_count == ARRAY_COUNT(out->capabilities))
        return;
    const char *name = is_extended ? name_of(extended_names, ARRAY_COUNT(extended_names), id)
                                   : name_of(capability_names, ARRAY_COUNT(capability_names), id);
    out->capabilities[out->capability_count++] =
        (struct pci_capability){.id = id,
                                .offset = (uint16_t)offset,
                                .is_extended = is_extended,
                                .name = name ? name : "unknown"};
}

/* The lists are the device's, so their length is bounded by what fits into the space. */
static void capabilities_read(const struct pci_device *pci, struct pci_facts *out)
{
    if (!(pci_read16(pci, PCI_STATUS) & PCI_STATUS_CAPABILITIES))
        return;
    bool has_express = false;
    unsigned at = pci_read8(pci, PCI_CAPABILITIES) & ~3u;
    for (unsigned i = 0; at >= CAPABILITY_FIRST && i < (256 - CAPABILITY_FIRST) / 4; i++) {
        uint8_t id = pci_read8(pci, at);
        has_express |= id == PCI_CAP_EXPRESS;
        capability_add(out, at, id, false);
        at = pci_read8(pci, at + 1) & ~3u;
    }
    at = has_express ? PCI_EXT_CAPABILITIES : 0;
    for (unsigned i = 0; at >= PCI_EXT_CAPABILITIES && i < (4096 - 256) / 8; i++) {
        uint32_t header = pci_read32(pci, at);
        if (header == 0 || header == UINT32_MAX)
            break;
        capability_add(out, at, (uint16_t)header, true);
        at = header >> 20 & ~3u;
    }
}

static void link_read(const struct pci_device *pci, unsigned express, struct pci_facts *out)
{
    uint32_t can = pci_read32(pci, express + EXPRESS_LINK_CAP);
    uint16_t is = pci_read16(pci, express + EXPRESS_LINK_STATUS);
    out->link_rate_max = link_rate(field_get(EXPRESS_LINK_SPEED, can));
    out->link_width_max = (unsigned)field_get(EXPRESS_LINK_WIDTH, can);
    out->link_rate = link_rate(field_get(EXPRESS_LINK_SPEED, is));
    out->link_width = (unsigned)field_get(EXPRESS_LINK_WIDTH, is);
}

/* Sizes only where a driver has found them out: that takes writes. */
static void bars_read(const struct pci_device *pci, struct pci_facts *out)
{
    unsigned layout = (unsigned)field_get(PCI_HEADER_LAYOUT, pci_read8(pci, PCI_HEADER_TYPE));
    unsigned count = layout == 0 ? 6 : layout == 1 ? 2 : 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t low = pci_read32(pci, PCI_BAR0 + 4 * i);
        if (low == 0 || low == UINT32_MAX)
            continue;
        struct pci_bar bar = {.size_bytes = pci->bar[i].size_bytes};
        unsigned index = i;
        if (low & PCI_BAR_IO) {
            bar.is_io = true;
            bar.pa = low & ~UINT64_C(3);
        } else {
            bar.is_prefetchable = low & PCI_BAR_PREFETCHABLE;
            bar.is_64 = field_get(PCI_BAR_TYPE, low) == 2 && i + 1 < count;
            bar.pa = low & ~UINT64_C(0xf);
            if (bar.is_64)
                bar.pa |= (uint64_t)pci_read32(pci, PCI_BAR0 + 4 * ++i) << 32;
        }
        out->bars[index] = bar;
        out->has_bar[index] = true;
    }
}

bool pci_facts(const struct pci_device *pci, struct pci_facts *out)
{
    *out = (struct pci_facts){.power_state = -1};
    if (pci_read16(pci, PCI_VENDOR_ID) != pci->vendor_id)
        return false;
    uint16_t command = pci_read16(pci, PCI_COMMAND);
    out->is_decoding = command & PCI_COMMAND_MEMORY;
    out->is_bus_master = command & PCI_COMMAND_BUS_MASTER;
    bars_read(pci, out);
    capabilities_read(pci, out);
    for (unsigned i = 0; i < out->capability_count; i++) {
        const struct pci_capability *c = &out->capabilities[i];
        if (c->is_extended)
            continue;
        if (c->id == PCI_CAP_POWER && out->power_state < 0)
            out->power_state =
                (int)field_get(PCI_POWER_STATE, pci_read16(pci, c->offset + PCI_POWER_CONTROL));
        if (c->id == PCI_CAP_EXPRESS && !out->link_width_max && c->offset <= 256 - 0x14)
            link_read(pci, c->offset, out);
        if (c->id == PCI_CAP_MSI && !out->msi_vectors) {
            uint16_t control = pci_read16(pci, c->offset + PCI_MSI_CONTROL);
            out->msi_vectors = 1u << field_get(MSI_CAPABLE, control);
            out->is_msi_on = control & PCI_MSI_ENABLE;
        }
        if (c->id == PCI_CAP_MSIX && !out->msix_vectors) {
            uint16_t control = pci_read16(pci, c->offset + PCI_MSIX_CONTROL);
            out->msix_vectors = 1 + (unsigned)field_get(PCI_MSIX_TABLE_SIZE, control);
            out->is_msix_on = control & PCI_MSIX_ENABLE;
        }
    }
    return true;
}
