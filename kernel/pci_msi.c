/*
 * kernel/pci_msi.c: one interrupt of a PCI function by MSI (PCI Local Bus 3.0, 6.8.1): the address and the word to write
 * lie in configuration space. For devices without MSI-X, such as consumer NVIDIA cards; of the up to 32 messages that
 * a function may ask for it gets one.
 */
#include "kernel/machine.h"
#include "kernel/pci.h"

int pci_msi_enable(struct pci_device *pci, unsigned core, irq_handler handler, void *arg)
{
    struct pci_function *f = pci_function_of(pci);
    unsigned capability = pci_find_capability(pci, PCI_CAP_MSI, 0);
    if (capability == 0)
        return -ENOTSUP;
    uint16_t control = pci_read16(pci, capability + PCI_MSI_CONTROL);
    bool is_64 = control & PCI_MSI_64;
    struct pci_msix_route route = {.is_used = true};
    int error = irq_alloc(core, handler, arg, &route.address, &route.data);
    if (error != 0)
        return error;
    if ((!is_64 && route.address >> 32 != 0) || route.data > UINT16_MAX) {
        irq_free(route.address, route.data);
        return -ENOTSUP;
    }

    /* Off while it changes; one message. */
    control &= (uint16_t)~(PCI_MSI_ENABLE | PCI_MSI_MESSAGES);
    pci_write16(pci, capability + PCI_MSI_CONTROL, control);
    if (f->msi_route.is_used)
        irq_free(f->msi_route.address, f->msi_route.data);
    f->msi_route = route;
    pci_write32(pci, capability + PCI_MSI_ADDRESS, (uint32_t)route.address);
    if (is_64)
        pci_write32(pci, capability + PCI_MSI_ADDRESS_HIGH, (uint32_t)(route.address >> 32));
    pci_write16(pci, capability + (is_64 ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32),
                (uint16_t)route.data);
    if (control & PCI_MSI_MASKS)
        pci_write32(pci, capability + (is_64 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32), 0);
    pci_write16(pci, PCI_COMMAND, pci_read16(pci, PCI_COMMAND) | PCI_COMMAND_INTX_OFF);
    pci_write16(pci, capability + PCI_MSI_CONTROL, control | PCI_MSI_ENABLE);
    return 0;
}

void pci_msi_disable(struct pci_device *pci)
{
    struct pci_function *f = pci_function_of(pci);
    unsigned capability = pci_find_capability(pci, PCI_CAP_MSI, 0);
    if (capability != 0)
        pci_write16(pci, capability + PCI_MSI_CONTROL,
                    pci_read16(pci, capability + PCI_MSI_CONTROL) & (uint16_t)~PCI_MSI_ENABLE);
    if (f->msi_route.is_used)
        irq_free(f->msi_route.address, f->msi_route.data);
    f->msi_route.is_used = false;
}
