/*
 * tests/host/pci.c: PCI devices of the hosted twin. A device is 4096 bytes of configuration space (PCI Express Base
 * 5.0, 7.5) and BARs that are memory of the test. Enabling, bus mastering and capability lists work on those bytes
 * like on real ones; MSI-X keeps handlers for host_pci_msix_raise() instead of a table in a BAR.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/host/host.h"

#define CONFIG_BYTES        4096
#define COMMAND             0x04
#define COMMAND_MEMORY      BIT(1)
#define COMMAND_BUS_MASTER  BIT(2)
#define STATUS              0x06
#define STATUS_CAPABILITIES BIT(4)
#define CAPABILITY_POINTER  0x34
#define DEVICE_MAX          64
#define MSIX_MAX            64

struct msix_entry {
    irq_handler handler;
    void *arg;
    bool is_masked, is_pending;
};

struct fake_device {
    struct pci_device pci;
    _Alignas(8) uint8_t config[CONFIG_BYTES];
    void *bar_memory[6];
    struct msix_entry msix[MSIX_MAX];
    unsigned msix_count;
    struct msix_entry msi;
    bool has_msi;
    int (*on_reset)(void *arg, enum pci_reset how);
    void *on_reset_arg;
    uint64_t bar_max_bytes[6];
};

static struct fake_device *devices[DEVICE_MAX];
static unsigned device_count;

static struct fake_device *fake(const struct pci_device *pci)
{
    return pci->private_data;
}

static void config_put(struct pci_device *pci, unsigned offset, uint32_t value, unsigned bytes)
{
    memcpy(fake(pci)->config + offset, &value, bytes);
}

struct pci_device *host_pci_add(const struct pci_device *device, void *const bar_memory[6])
{
    assert(device_count < DEVICE_MAX);
    struct fake_device *dev = calloc(1, sizeof(*dev));
    assert(dev != NULL);
    dev->pci = *device;
    memcpy(dev->bar_memory, bar_memory, sizeof(dev->bar_memory));

    struct pci_device *pci = &dev->pci;
    pci->private_data = dev;
    snprintf(pci->name, sizeof(pci->name), "%04x:%02x:%02x.%x", pci->segment, pci->bus,
             pci->device & 31u, pci->function & 7u);
    config_put(pci, 0x00, pci->vendor_id, 2);
    config_put(pci, 0x02, pci->device_id, 2);
    config_put(pci, 0x08, pci->revision, 1);
    config_put(pci, 0x09, pci->prog_if, 1);
    config_put(pci, 0x0a, pci->sub_class, 1);
    config_put(pci, 0x0b, pci->base_class, 1);
    config_put(pci, 0x2c, pci->subsystem_vendor_id, 2);
    config_put(pci, 0x2e, pci->subsystem_id, 2);
    for (unsigned i = 0; i < 6; i++) {
        const struct pci_bar *bar = &pci->bar[i];
        if (bar->size_bytes == 0)
            continue;
        uint32_t flags = bar->is_io ? 1 : (bar->is_64 ? 4 : 0) | (bar->is_prefetchable ? 8 : 0);
        config_put(pci, 0x10 + 4 * i, (uint32_t)bar->pa | flags, 4);
        if (bar->is_64)
            config_put(pci, 0x14 + 4 * i, (uint32_t)(bar->pa >> 32), 4);
    }
    devices[device_count++] = dev;
    return pci;
}

void host_pci_clear(void)
{
    while (device_count > 0)
        free(devices[--device_count]);
}

uint8_t *host_pci_config(struct pci_device *pci)
{
    return fake(pci)->config;
}

bool host_pci_is_bus_master(const struct pci_device *pci)
{
    return pci_read16(pci, COMMAND) & COMMAND_BUS_MASTER;
}

bool host_pci_is_enabled(const struct pci_device *pci)
{
    return pci_read16(pci, COMMAND) & COMMAND_MEMORY;
}

void host_pci_msix_entries(struct pci_device *pci, unsigned count)
{
    assert(count <= MSIX_MAX);
    fake(pci)->msix_count = count;
}

bool host_pci_msix_raise(struct pci_device *pci, unsigned entry)
{
    assert(entry < MSIX_MAX);
    struct msix_entry *msix = &fake(pci)->msix[entry];
    if (msix->handler == NULL)
        return false;
    if (msix->is_masked)
        msix->is_pending = true;
    else
        msix->handler(msix->arg);
    return true;
}

void host_pci_msi(struct pci_device *pci, bool has_msi)
{
    fake(pci)->has_msi = has_msi;
}

bool host_pci_msi_raise(struct pci_device *pci)
{
    const struct msix_entry *msi = &fake(pci)->msi;
    if (msi->handler == NULL)
        return false;
    msi->handler(msi->arg);
    return true;
}

void host_pci_on_reset(struct pci_device *pci, int (*hook)(void *arg, enum pci_reset how),
                       void *arg)
{
    fake(pci)->on_reset = hook;
    fake(pci)->on_reset_arg = arg;
}

void host_pci_resizable(struct pci_device *pci, unsigned index, uint64_t max_bytes)
{
    assert(index < 6);
    fake(pci)->bar_max_bytes[index] = max_bytes;
}

struct pci_device *pci_device_get(unsigned index)
{
    return index < device_count ? &devices[index]->pci : NULL;
}

static uint32_t config_get(const struct pci_device *pci, unsigned offset, unsigned bytes)
{
    assert(offset % bytes == 0 && offset + bytes <= CONFIG_BYTES);
    uint32_t value = 0;
    memcpy(&value, fake(pci)->config + offset, bytes);
    return value;
}

uint8_t pci_read8(const struct pci_device *pci, unsigned offset)
{
    return (uint8_t)config_get(pci, offset, 1);
}

uint16_t pci_read16(const struct pci_device *pci, unsigned offset)
{
    return (uint16_t)config_get(pci, offset, 2);
}

uint32_t pci_read32(const struct pci_device *pci, unsigned offset)
{
    return config_get(pci, offset, 4);
}

void pci_write8(struct pci_device *pci, unsigned offset, uint8_t value)
{
    assert(offset < CONFIG_BYTES);
    config_put(pci, offset, value, 1);
}

void pci_write16(struct pci_device *pci, unsigned offset, uint16_t value)
{
    assert(offset % 2 == 0 && offset + 2 <= CONFIG_BYTES);
    config_put(pci, offset, value, 2);
}

void pci_write32(struct pci_device *pci, unsigned offset, uint32_t value)
{
    assert(offset % 4 == 0 && offset + 4 <= CONFIG_BYTES);
    config_put(pci, offset, value, 4);
}

unsigned pci_find_capability(const struct pci_device *pci, uint8_t id, unsigned prev)
{
    if (!(pci_read16(pci, STATUS) & STATUS_CAPABILITIES))
        return 0;
    unsigned at = pci_read8(pci, prev == 0 ? CAPABILITY_POINTER : prev + 1) & 0xfc;
    for (unsigned i = 0; at >= 0x40 && i < 48; i++, at = pci_read8(pci, at + 1) & 0xfc)
        if (pci_read8(pci, at) == id)
            return at;
    return 0;
}

unsigned pci_find_ext_capability(const struct pci_device *pci, uint16_t id)
{
    unsigned at = 0x100;
    for (unsigned i = 0; at >= 0x100 && i < 960; i++) {
        uint32_t header = pci_read32(pci, at);
        if (header == 0 || header == UINT32_MAX)
            return 0;
        if ((header & 0xffff) == id)
            return at;
        at = header >> 20 & 0xffc;
    }
    return 0;
}

int pci_enable(struct pci_device *pci)
{
    pci_write16(pci, COMMAND, pci_read16(pci, COMMAND) | COMMAND_MEMORY);
    return 0;
}

void pci_bus_master(struct pci_device *pci, bool on)
{
    uint16_t command = pci_read16(pci, COMMAND) & (uint16_t)~COMMAND_BUS_MASTER;
    pci_write16(pci, COMMAND, on ? command | COMMAND_BUS_MASTER : command);
}

void pci_disable(struct pci_device *pci)
{
    pci_bus_master(pci, false);
    memset(fake(pci)->msix, 0, sizeof(fake(pci)->msix));
    fake(pci)->msi = (struct msix_entry){0};
}

int pci_reset(struct pci_device *pci, enum pci_reset how)
{
    struct fake_device *dev = fake(pci);
    if (dev->on_reset == NULL)
        return -ENOTSUP;
    pci_bus_master(pci, false);
    return dev->on_reset(dev->on_reset_arg, how);
}

int pci_bar_resize(struct pci_device *pci, unsigned index, uint64_t want_bytes, char *report,
                   size_t report_bytes)
{
    assert(index < 6);
    struct pci_bar *bar = &pci->bar[index];
    uint64_t max_bytes = fake(pci)->bar_max_bytes[index];
    bool grows = bar->size_bytes < want_bytes && max_bytes > bar->size_bytes;
    if (grows)
        bar->size_bytes = max_bytes;
    snprintf(report, report_bytes, "BAR %u %s %llu MiB", index, grows ? "grown to" : "stays at",
             (unsigned long long)(bar->size_bytes >> 20));
    return grows;
}

volatile void *pci_map_bar(struct pci_device *pci, unsigned index, enum cache_mode mode)
{
    (void)mode;
    if (index >= 6 || pci->bar[index].size_bytes == 0 || pci->bar[index].is_io)
        return NULL;
    return fake(pci)->bar_memory[index];
}

int pci_msix_enable(struct pci_device *pci, unsigned entry, unsigned core, irq_handler handler,
                    void *arg)
{
    struct fake_device *dev = fake(pci);
    if (dev->msix_count == 0)
        return -ENOTSUP;
    if (entry >= dev->msix_count)
        return -ENOSPC;
    if (core >= core_count())
        return -EINVAL;
    dev->msix[entry] = (struct msix_entry){.handler = handler, .arg = arg};
    return 0;
}

int pci_msi_enable(struct pci_device *pci, unsigned core, irq_handler handler, void *arg)
{
    struct fake_device *dev = fake(pci);
    if (!dev->has_msi)
        return -ENOTSUP;
    if (core >= core_count())
        return -EINVAL;
    dev->msi = (struct msix_entry){.handler = handler, .arg = arg};
    return 0;
}

void pci_msix_mask(struct pci_device *pci, unsigned entry, bool masked)
{
    assert(entry < MSIX_MAX);
    struct msix_entry *msix = &fake(pci)->msix[entry];
    msix->is_masked = masked;
    if (!masked && msix->is_pending) {
        msix->is_pending = false;
        msix->handler(msix->arg);
    }
}
