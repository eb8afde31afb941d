/*
 * kernel/pci.h: what the parts of the PCI code share (pci.c finds functions, pci_config.c reaches their
 * configuration space, pci_msix.c and pci_msi.c route their interrupts); kernel/kernel.h has the door. Register names and
 * offsets: PCI Express Base Specification 5.0, chapter 7.5, and PCI Local Bus Specification 3.0, chapter 6.
 */
#ifndef INGOT_PCI_H
#define INGOT_PCI_H

#include "kernel/kernel.h"

/* ---- configuration space --------------------------------------------------------------------------------------- */

#define PCI_VENDOR_ID           0x00
#define PCI_DEVICE_ID           0x02
#define PCI_COMMAND             0x04 /* 16-bit */
#define   PCI_COMMAND_IO         BIT(0)
#define   PCI_COMMAND_MEMORY     BIT(1)
#define   PCI_COMMAND_BUS_MASTER BIT(2)
#define   PCI_COMMAND_INTX_OFF   BIT(10)
#define PCI_STATUS              0x06 /* 16-bit */
#define   PCI_STATUS_CAPABILITIES BIT(4)
#define PCI_REVISION_ID         0x08
#define PCI_CLASS_PROG_IF       0x09
#define PCI_CLASS_SUB           0x0a
#define PCI_CLASS_BASE          0x0b
#define   PCI_CLASS_BRIDGE       0x06
#define PCI_CACHE_LINE          0x0c
#define PCI_HEADER_TYPE         0x0e
#define   PCI_HEADER_LAYOUT       BITS(6, 0) /* 0: device, 1: bridge */
#define   PCI_HEADER_MULTI_FUNCTION BIT(7)
#define PCI_BAR0                0x10
#define   PCI_BAR_IO             BIT(0)
#define   PCI_BAR_TYPE           BITS(2, 1)  /* 0: 32-bit, 2: 64-bit */
#define   PCI_BAR_PREFETCHABLE   BIT(3)
#define PCI_SECONDARY_BUS       0x19         /* bridges, up to PCI_BRIDGE_CONTROL */
#define PCI_PREFETCH_BASE       0x24         /* 16-bit each: window of prefetchable memory */
#define PCI_PREFETCH_LIMIT      0x26
#define   PCI_PREFETCH_TYPE      BITS(3, 0)   /* 0: 32-bit, 1: 64-bit */
#define   PCI_PREFETCH_ADDRESS   BITS(15, 4)  /* bits 31:20 */
#define PCI_PREFETCH_BASE_HIGH  0x28
#define PCI_PREFETCH_LIMIT_HIGH 0x2c
#define PCI_BRIDGE_CONTROL      0x3e         /* 16-bit */
#define   PCI_BRIDGE_BUS_RESET   BIT(6)
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID        0x2e
#define PCI_ROM                 0x30
#define PCI_CAPABILITIES        0x34
#define PCI_INTERRUPT_LINE      0x3c
#define PCI_EXT_CAPABILITIES    0x100

#define PCI_CAP_POWER           0x01         /* PCI Power Management 1.2, 3.2 */
#define   PCI_POWER_CONTROL      0x04        /* PMCSR, 16-bit */
#define     PCI_POWER_STATE       BITS(1, 0) /* 0: D0, 3: D3hot */
#define PCI_CAP_MSI             0x05
#define   PCI_MSI_CONTROL        0x02         /* PCI 3.0, 6.8.1 */
#define     PCI_MSI_ENABLE        BIT(0)
#define     PCI_MSI_MESSAGES      BITS(6, 4)  /* messages that the function may send: 2 to that power */
#define     PCI_MSI_64            BIT(7)      /* the address has 64 bits */
#define     PCI_MSI_MASKS         BIT(8)      /* there are mask bits */
#define   PCI_MSI_ADDRESS        0x04
#define   PCI_MSI_ADDRESS_HIGH   0x08         /* with 64 bits; the rest moves by 4 */
#define   PCI_MSI_DATA_32        0x08         /* 16-bit */
#define   PCI_MSI_DATA_64        0x0c
#define   PCI_MSI_MASK_32        0x0c
#define   PCI_MSI_MASK_64        0x10
#define PCI_CAP_EXPRESS         0x10         /* 7.5.3; 16-bit unless it says otherwise */
#define   PCI_EXPRESS_FLAGS       0x02
#define     PCI_EXPRESS_VERSION    BITS(3, 0)
#define   PCI_EXPRESS_DEVICE_CAPABILITIES 0x04 /* 32-bit */
#define     PCI_EXPRESS_DEVICE_CAN_RESET   BIT(28)
#define   PCI_EXPRESS_DEVICE_CONTROL 0x08
#define     PCI_EXPRESS_DEVICE_RESET       BIT(15)
#define   PCI_EXPRESS_DEVICE_STATUS 0x0a
#define     PCI_EXPRESS_DEVICE_PENDING     BIT(5)
#define   PCI_EXPRESS_LINK_CAPABILITIES 0x0c /* 32-bit */
#define     PCI_EXPRESS_LINK_REPORTS_ACTIVE BIT(20)
#define   PCI_EXPRESS_LINK_CONTROL 0x10
#define   PCI_EXPRESS_LINK_STATUS 0x12
#define     PCI_EXPRESS_LINK_SPEED         BITS(3, 0) /* 1: 2.5 GT/s, 2: 5, 3: 8, 4: 16, 5: 32 */
#define     PCI_EXPRESS_LINK_WIDTH         BITS(9, 4)
#define     PCI_EXPRESS_LINK_ACTIVE        BIT(13)
#define   PCI_EXPRESS_DEVICE_CONTROL_2 0x28
#define   PCI_EXPRESS_LINK_CONTROL_2 0x30
#define PCI_CAP_MSIX            0x11         /* PCI 3.0, 6.8.2 */
#define   PCI_MSIX_CONTROL       0x02
#define     PCI_MSIX_TABLE_SIZE   BITS(10, 0) /* entries, minus 1 */
#define     PCI_MSIX_MASK_ALL     BIT(14)
#define     PCI_MSIX_ENABLE       BIT(15)
#define   PCI_MSIX_TABLE         0x04        /* 32-bit: offset, and in the low bits which BAR */
#define     PCI_MSIX_TABLE_BAR    BITS(2, 0)

#define PCI_EXT_CAP_RESIZABLE   0x15         /* 7.8.6: an entry of 8 bytes per BAR */
#define   PCI_RESIZABLE_CAPABILITY 0x04      /* 32-bit */
#define     PCI_RESIZABLE_SIZES   BITS(31, 4)  /* bit n: 1 MiB << n */
#define   PCI_RESIZABLE_CONTROL  0x08        /* 32-bit */
#define     PCI_RESIZABLE_BAR     BITS(2, 0)
#define     PCI_RESIZABLE_COUNT   BITS(7, 5)   /* entries; in the first one */
#define     PCI_RESIZABLE_SIZE    BITS(13, 8)  /* 1 MiB << this */
#define     PCI_RESIZABLE_SIZES_HIGH BITS(31, 16) /* sizes from 28 on */
#define   PCI_RESIZABLE_ENTRY_BYTES 8u
#define PCI_EXT_CAP_LATENCY     0x18         /* 7.8.2 */
#define   PCI_LATENCY_MAX        0x04        /* 32-bit */

#define PCI_CONFIG_BYTES 4096u
#define PCI_CONFIG_BYTES_PORTS 256u /* as much as the ports reach */

/* ---- functions ------------------------------------------------------------------------------------------------- */

struct pci_msix_route {
    uint64_t address;
    uint32_t data;
    bool is_used;
};

/* A device as we keep it; its private_data points here. */
struct pci_function {
    struct pci_device device;
    volatile uint8_t *config;    /* in the ECAM window; NULL: through the ports */
    struct pci_function *bridge; /* the one above it, NULL on a root bus */
    uint32_t bar_value[6];       /* BARs as the firmware set them, for after D3hot */
    bool is_bridge, has_bars;    /* has_bars: device.bar[] is filled in */
    volatile uint8_t *msix_table;
    struct pci_msix_route *msix_routes;
    unsigned msix_count;
    struct pci_msix_route msi_route;
};

static inline struct pci_function *pci_function_of(const struct pci_device *pci)
{
    return pci->private_data;
}

/* ---- pci_config.c ---------------------------------------------------------------------------------------------- */

/*
 * Find the ways to configuration space: every ECAM window in MCFG that can be mapped; without any, the ports. Calls
 * found(segment, first_bus, last_bus) for each.
 */
void pci_config_start(void (*found)(uint16_t segment, uint8_t first_bus, uint8_t last_bus));
/* Configuration space of a function, or NULL where only the ports reach it. */
volatile uint8_t *pci_config_window(uint16_t segment, uint8_t bus, uint8_t device, uint8_t function);

/* ---- pci_port.c: configuration mechanism 1 (PCI 3.0, 3.2.2.3.2); tests have their own ---------------------------- */

/* bytes: 1, 2 or 4, naturally aligned; offset below PCI_CONFIG_BYTES_PORTS. */
uint32_t pci_port_read(uint8_t bus, uint8_t device, uint8_t function, unsigned offset, unsigned bytes);
void pci_port_write(uint8_t bus, uint8_t device, uint8_t function, unsigned offset, unsigned bytes,
                    uint32_t value);

/* ---- pci_msix.c ------------------------------------------------------------------------------------------------ */

void pci_msix_disable(struct pci_device *pci); /* and give its vectors back */

/* ---- pci_msi.c ------------------------------------------------------------------------------------------------- */

void pci_msi_disable(struct pci_device *pci); /* and give its vector back */

#endif
