/*
 * kernel/pci_msix.c: interrupts of PCI functions by MSI-X (PCI Local Bus 3.0, 6.8.2): a table in one of the
 * function's BARs, with an address, a word and a mask for each interrupt. The device raises one by writing the word
 * to the address.
 */
#include <stdlib.h>

#include "kernel/machine.h"
#include "kernel/pci.h"

#define ENTRY_BYTES          16
#define ENTRY_ADDRESS_LOW    0x0
#define ENTRY_ADDRESS_HIGH   0x4
#define ENTRY_DATA           0x8
#define ENTRY_CONTROL        0xc
#define ENTRY_CONTROL_MASKED BIT(0)

static volatile uint8_t *entry_at(const struct pci_function *f, unsigned entry)
{
    return f->msix_table + (size_t)entry * ENTRY_BYTES;
}

static void entry_mask(const struct pci_function *f, unsigned entry, bool is_masked)
{
    volatile uint8_t *control = entry_at(f, entry) + ENTRY_CONTROL;
    uint32_t value = mmio_read32(control) & ~(uint32_t)ENTRY_CONTROL_MASKED;
    mmio_write32(control, is_masked ? value | ENTRY_CONTROL_MASKED : value);
    mmio_read32(control); /* it has arrived before the caller goes on */
}

/* Map the table, mask every entry, and switch the function from INTx to MSI-X. */
static int msix_start(struct pci_device *pci)
{
    struct pci_function *f = pci_function_of(pci);
    unsigned capability = pci_find_capability(pci, PCI_CAP_MSIX, 0);
    if (capability == 0)
        return -ENOTSUP;
    uint16_t control = pci_read16(pci, capability + PCI_MSIX_CONTROL);
    uint32_t place = pci_read32(pci, capability + PCI_MSIX_TABLE);
    unsigned count = (unsigned)field_get(PCI_MSIX_TABLE_SIZE, control) + 1;
    unsigned index = (unsigned)field_get(PCI_MSIX_TABLE_BAR, place);
    uint64_t offset = place & ~PCI_MSIX_TABLE_BAR;
    uint64_t bytes = (uint64_t)count * ENTRY_BYTES;
    const struct pci_bar *bar = index < 6 ? &pci->bar[index] : NULL;
    if (bar == NULL || bar->is_io || bar->pa == 0 || offset > bar->size_bytes ||
        bytes > bar->size_bytes - offset) {
        log_warn("%s: MSI-X table with %u entries at %#llx of BAR %u does not lie in it", pci->name,
                 count, (unsigned long long)offset, index);
        return -ENOTSUP;
    }
    f->msix_routes = calloc(count, sizeof(*f->msix_routes));
    if (f->msix_routes == NULL)
        return -ENOMEM;
    f->msix_table = mmio_map(bar->pa + offset, bytes, CACHE_UNCACHED);
    if (f->msix_table == NULL) {
        free(f->msix_routes);
        f->msix_routes = NULL;
        return -ENOMEM;
    }
    f->msix_count = count;

    pci_write16(pci, capability + PCI_MSIX_CONTROL, control | PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
    for (unsigned i = 0; i < count; i++)
        entry_mask(f, i, true);
    pci_write16(pci, PCI_COMMAND, pci_read16(pci, PCI_COMMAND) | PCI_COMMAND_INTX_OFF);
    pci_write16(pci, capability + PCI_MSIX_CONTROL,
                (uint16_t)((control | PCI_MSIX_ENABLE) & ~PCI_MSIX_MASK_ALL));
    return 0;
}

int pci_msix_enable(struct pci_device *pci, unsigned entry, unsigned core, irq_handler handler,
                    void *arg)
{
    struct pci_function *f = pci_function_of(pci);
    if (f->msix_table == NULL) {
        int error = msix_start(pci);
        if (error != 0)
            return error;
    }
    if (entry >= f->msix_count)
        return -ENOSPC;

    struct pci_msix_route route = {.is_used = true};
    int error = irq_alloc(core, handler, arg, &route.address, &route.data);
    if (error != 0)
        return error;
    entry_mask(f, entry, true); /* address and data change only while masked (6.8.2.9) */
    struct pci_msix_route old = f->msix_routes[entry];
    if (old.is_used)
        irq_free(old.address, old.data);
    f->msix_routes[entry] = route;
    volatile uint8_t *at = entry_at(f, entry);
    mmio_write32(at + ENTRY_ADDRESS_LOW, (uint32_t)route.address);
    mmio_write32(at + ENTRY_ADDRESS_HIGH, (uint32_t)(route.address >> 32));
    mmio_write32(at + ENTRY_DATA, route.data);
    entry_mask(f, entry, false);
    return 0;
}

void pci_msix_mask(struct pci_device *pci, unsigned entry, bool masked)
{
    const struct pci_function *f = pci_function_of(pci);
    assert(entry < f->msix_count);
    entry_mask(f, entry, masked);
}

void pci_msix_disable(struct pci_device *pci)
{
    struct pci_function *f = pci_function_of(pci);
    unsigned capability = pci_find_capability(pci, PCI_CAP_MSIX, 0);
    if (capability != 0)
        pci_write16(pci, capability + PCI_MSIX_CONTROL,
                    pci_read16(pci, capability + PCI_MSIX_CONTROL) & (uint16_t)~PCI_MSIX_ENABLE);
    if (f->msix_table == NULL)
        return;
    for (unsigned i = 0; i < f->msix_count; i++)
        if (f->msix_routes[i].is_used)
            irq_free(f->msix_routes[i].address, f->msix_routes[i].data);
    mmio_unmap(f->msix_table, (uint64_t)f->msix_count * ENTRY_BYTES);
    free(f->msix_routes);
    f->msix_table = NULL;
    f->msix_routes = NULL;
    f->msix_count = 0;
}
