/*
 * kernel/pci_port.c: PCI configuration space through I/O ports 0xcf8 and 0xcfc (PCI Local Bus 3.0, 3.2.2.3.2), for
 * machines whose firmware names no ECAM window. Segment 0 and the first 256 bytes only.
 */
#include "kernel/pci.h"
#include "kernel/x86.h"

#define CONFIG_ADDRESS          0xcf8
#define CONFIG_ADDRESS_ENABLE   BIT(31)
#define CONFIG_ADDRESS_BUS      BITS(23, 16)
#define CONFIG_ADDRESS_DEVICE   BITS(15, 11)
#define CONFIG_ADDRESS_FUNCTION BITS(10, 8)
#define CONFIG_ADDRESS_OFFSET   BITS(7, 0)
#define CONFIG_DATA             0xcfc

static struct spinlock lock; /* the two ports belong together */

/* Selects the double word; returns the port of the wanted byte in it. */
static uint16_t select(uint8_t bus, uint8_t device, uint8_t function, unsigned offset)
{
    uint64_t address = CONFIG_ADDRESS_ENABLE | field_put(CONFIG_ADDRESS_BUS, bus) |
                       field_put(CONFIG_ADDRESS_DEVICE, device) |
                       field_put(CONFIG_ADDRESS_FUNCTION, function) |
                       field_put(CONFIG_ADDRESS_OFFSET, offset & ~3u);
    port_write32(CONFIG_ADDRESS, (uint32_t)address);
    return (uint16_t)(CONFIG_DATA + (offset & 3));
}

uint32_t pci_port_read(uint8_t bus, uint8_t device, uint8_t function, unsigned offset,
                       unsigned bytes)
{
    uint64_t flags = spin_lock(&lock);
    uint16_t port = select(bus, device, function, offset);
    uint32_t value = bytes == 1   ? port_read8(port)
                     : bytes == 2 ? port_read16(port)
                                  : port_read32(port);
    spin_unlock(&lock, flags);
    return value;
}

void pci_port_write(uint8_t bus, uint8_t device, uint8_t function, unsigned offset, unsigned bytes,
                    uint32_t value)
{
    uint64_t flags = spin_lock(&lock);
    uint16_t port = select(bus, device, function, offset);
    if (bytes == 1)
        port_write8(port, (uint8_t)value);
    else if (bytes == 2)
        port_write16(port, (uint16_t)value);
    else
        port_write32(port, value);
    spin_unlock(&lock, flags);
}
