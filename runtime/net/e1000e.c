/*
 * runtime/net/e1000e.c: Intel's 82574L, which QEMU's `-device e1000e` models. Follows the Intel
 * 82574 GbE Controller Family Datasheet, revision 3.4; section numbers are that document's. What only
 * Linux's e1000e driver shows says so.
 *
 * Driven: 82574L (8086:10d3) and 82574LA (8086:10f6). Their relatives 82571, 82572, 82573 and
 * 82583V have the same rings and descriptors but other reset and interrupt rules and no (or other)
 * MSI-X; the I217 to I219 of PC chipsets need their PHY set up by the driver. They are left alone.
 * Seen working in QEMU 7.2 only; no real card was at hand.
 *
 * One receive ring with legacy descriptors, one transmit ring with extended ones, each 256 entries.
 * MSI-X vector 0 is the receive ring, vector 1 the link. Left out: segmentation offload, VLANs,
 * flow control, wake-up, the second queue pair.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/net/e1000e_regs.h"
#include "runtime/net/nic.h"

#define RING_COUNT    NIC_RING_MAX /* RDLEN and TDLEN are multiples of 128 bytes: 8 descriptors */
#define RING_MASK     (RING_COUNT - 1)
#define RING_BYTES    (RING_COUNT * 16)
#define REFILL_BATCH  32 /* receive descriptors per write of the tail register */
#define VECTOR_QUEUES 0
#define VECTOR_LINK   1

/* Indices count up forever; the ring position is index & RING_MASK. */
struct e1000e {
    volatile uint8_t *regs;
    volatile struct e1000_rx_desc *rx;
    uint16_t rx_buffer[RING_COUNT];
    uint32_t rx_next; /* next descriptor to look at */
    uint32_t rx_told; /* rx_next when the tail register was last written */
    volatile struct e1000_tx_desc *tx;
    uint32_t tx_tail, tx_told;   /* next free; what the tail register says */
    uint32_t tx_clean;           /* first that is not collected */
    uint8_t tx_span[RING_COUNT]; /* at a frame's first descriptor: how many it has */
    void *tx_cookie[RING_COUNT];
    uint64_t tx_context; /* checksum context that the device has; 0: none */
};

static uint32_t reg_read(const struct e1000e *dev, unsigned reg)
{
    return mmio_read32(dev->regs + reg);
}

static void reg_write(struct e1000e *dev, unsigned reg, uint64_t value)
{
    mmio_write32(dev->regs + reg, (uint32_t)value);
}

static bool e1000e_matches(const struct pci_device *pci)
{
    return pci->vendor_id == 0x8086 && (pci->device_id == 0x10d3 || pci->device_id == 0x10f6);
}

/* ---- receive (7.1) --------------------------------------------------------------------------- */

static void post_buffer(struct nic *nic, struct e1000e *dev, unsigned slot, unsigned buffer)
{
    dev->rx_buffer[slot] = (uint16_t)buffer;
    dev->rx[slot].address = nic_buffer_dma(nic, buffer);
    dev->rx[slot].status = 0;
}

static unsigned receive_frames(struct nic *nic, struct e1000e *dev, unsigned budget)
{
    unsigned count = 0;
    for (; count < budget; count++, dev->rx_next++) {
        unsigned slot = dev->rx_next & RING_MASK;
        volatile struct e1000_rx_desc *desc = &dev->rx[slot];
        uint8_t status = desc->status;
        if (!(status & E1000_RXD_STATUS_DD))
            break;
        dma_rmb(); /* the rest of the descriptor is read after DD */
        unsigned size_bytes = desc->size_bytes;
        uint8_t errors = desc->errors;
        unsigned buffer = dev->rx_buffer[slot];
        /* A frame over several buffers is longer than we ever accept; each of its parts lacks EOP
         * or is too short. */
        if (!(status & E1000_RXD_STATUS_EOP) || (errors & E1000_RXD_ERROR_FRAME) != 0 ||
            size_bytes < NIC_HEADER_BYTES || size_bytes > NIC_BUFFER_BYTES) {
            nic->counters.rx_errors++;
            post_buffer(nic, dev, slot, buffer);
            continue;
        }
        bool is_good = !(status & E1000_RXD_STATUS_IXSM) &&
                       (status & (E1000_RXD_STATUS_TCPCS | E1000_RXD_STATUS_UDPCS)) != 0 &&
                       (errors & (E1000_RXD_ERROR_TCPE | E1000_RXD_ERROR_IPE)) == 0;
        nic->counters.rx_frames++;
        nic->counters.rx_bytes += size_bytes;
        nic->receive(nic, buffer, 0, size_bytes, is_good);
        int fresh = nic_buffer_take(nic);
        assert(fresh >= 0); /* the stack holds at most NIC_BUFFER_LOAN_MAX */
        post_buffer(nic, dev, slot, (unsigned)fresh);
    }
    return count;
}

/* ---- transmit (7.2) -------------------------------------------------------------------------- */

static void collect_sent(struct nic *nic, struct e1000e *dev)
{
    while (dev->tx_clean != dev->tx_tail) {
        unsigned first = dev->tx_clean & RING_MASK, span = dev->tx_span[first];
        if (!(dev->tx[(first + span - 1) & RING_MASK].status & E1000_TXD_STATUS_DD))
            return;
        dev->tx_clean += span;
        nic->sent(nic, dev->tx_cookie[first]);
    }
}

static void put_descriptor(struct e1000e *dev, uint64_t address, uint64_t command, uint64_t status)
{
    volatile struct e1000_tx_desc *desc = &dev->tx[dev->tx_tail++ & RING_MASK];
    desc->address = address;
    desc->command = (uint32_t)(command | E1000_TXD_DEXT);
    desc->status = (uint32_t)status;
}

static int e1000e_transmit(struct nic *nic, const struct nic_frame *frame, void *cookie)
{
    struct e1000e *dev = nic->driver_data;
    if (nic->is_failed)
        return -EIO;
    assert(frame->chunk_count > 0 && frame->chunk_count <= NIC_CHUNK_MAX);
    /* One descriptor stays free, so a full ring differs from an empty one; one may be the context.
     */
    if (dev->tx_tail - dev->tx_clean + frame->chunk_count + 2 > RING_COUNT)
        return -EAGAIN;

    unsigned first = dev->tx_tail & RING_MASK;
    uint64_t options = 0;
    if (frame->checksum_start != 0) {
        uint64_t context =
            field_put(E1000_TXC_IPCSS, NIC_HEADER_BYTES) |
            field_put(E1000_TXC_TUCSS, frame->checksum_start) |
            field_put(E1000_TXC_TUCSO, (uint64_t)frame->checksum_start + frame->checksum_offset);
        if (context != dev->tx_context)
            put_descriptor(dev, context, field_put(E1000_TXD_DTYP, E1000_TXD_DTYP_CONTEXT), 0);
        dev->tx_context = context;
        options = E1000_TXD_POPTS_TXSM;
    }
    for (unsigned i = 0; i < frame->chunk_count; i++) {
        uint64_t last = i + 1 == frame->chunk_count ? E1000_TXD_EOP | E1000_TXD_RS : 0;
        nic->counters.tx_bytes += frame->chunks[i].size_bytes;
        put_descriptor(dev, frame->chunks[i].dma,
                       field_put(E1000_TXD_DTALEN, frame->chunks[i].size_bytes) |
                           field_put(E1000_TXD_DTYP, E1000_TXD_DTYP_DATA) | E1000_TXD_IFCS | last,
                       options);
    }
    dev->tx_span[first] = (uint8_t)((dev->tx_tail - first) & RING_MASK);
    dev->tx_cookie[first] = cookie;
    nic->counters.tx_frames++;
    return 0;
}

/* ---- poll and interrupts (7.4) --------------------------------------------------------------- */

static unsigned e1000e_poll(struct nic *nic, unsigned budget)
{
    struct e1000e *dev = nic->driver_data;
    if (nic->is_failed)
        return 0;
    collect_sent(nic, dev);
    return receive_frames(nic, dev, budget);
}

static void e1000e_kick(struct nic *nic)
{
    struct e1000e *dev = nic->driver_data;
    if (nic->is_failed)
        return;
    if (dev->tx_told != dev->tx_tail) {
        dev->tx_told = dev->tx_tail;
        dma_wmb(); /* the descriptors must be in memory before the device hears of them */
        reg_write(dev, E1000_TDT, dev->tx_tail & RING_MASK);
    }
    if (dev->rx_next - dev->rx_told >= REFILL_BATCH) {
        dev->rx_told = dev->rx_next;
        dma_wmb();
        reg_write(dev, E1000_RDT, (dev->rx_next - 1) & RING_MASK);
    }
}

static bool e1000e_arm(struct nic *nic)
{
    struct e1000e *dev = nic->driver_data;
    if (nic->is_failed)
        return false;
    reg_write(dev, E1000_ICR,
              E1000_INT_RXQ0); /* what polling has handled must not interrupt again */
    reg_write(dev, E1000_IMS, E1000_INT_RXQ0);
    dma_mb();
    return (dev->rx[dev->rx_next & RING_MASK].status & E1000_RXD_STATUS_DD) != 0;
}

/* The message masks its own cause (IAM), so this costs a register write only when no interrupt
 * came. */
static void e1000e_disarm(struct nic *nic)
{
    struct e1000e *dev = nic->driver_data;
    if (!nic->is_failed)
        reg_write(dev, E1000_IMC, E1000_INT_RXQ0);
}

static void e1000e_check(struct nic *nic)
{
    struct e1000e *dev = nic->driver_data;
    if (nic->is_failed)
        return;
    reg_write(dev, E1000_ICR, E1000_INT_LSC | E1000_INT_OTHER);
    uint32_t status = reg_read(dev, E1000_STATUS);
    if (status == UINT32_MAX) {
        nic_fail(nic, "the device is gone", status);
        return;
    }
    nic->has_link = (status & E1000_STATUS_LU) != 0;
    if (nic->has_interrupts)
        reg_write(dev, E1000_IMS, E1000_INT_LSC | E1000_INT_OTHER);
}

/* ---- start and stop (4.6) -------------------------------------------------------------------- */

static int e1000e_reset(struct e1000e *dev)
{
    reg_write(dev, E1000_IMC, E1000_INT_ALL);
    reg_write(dev, E1000_RCTL, 0);
    reg_write(dev, E1000_TCTL, E1000_TCTL_PSP);
    /* Requests under way must end first; a reset that cuts one short may hang the bus. 10
     * ms: ours. */
    reg_write(dev, E1000_CTRL, reg_read(dev, E1000_CTRL) | E1000_CTRL_GIO_MASTER_DISABLE);
    int error = wait_reg32(dev->regs + E1000_STATUS, E1000_STATUS_GIO_MASTER_ENABLE, 0,
                           time_ns() + 10 * NS_PER_MS);
    if (error == -ENODEV)
        return error;

    reg_write(dev, E1000_CTRL, reg_read(dev, E1000_CTRL) | E1000_CTRL_RST);
    time_spin_ns(10 * NS_PER_US); /* ours: the first access must not come too soon */
    error = wait_reg32(dev->regs + E1000_CTRL, E1000_CTRL_RST, 0, time_ns() + 10 * NS_PER_MS);
    if (error == 0)
        error = wait_reg32(dev->regs + E1000_EECD, E1000_EECD_AUTO_RD, E1000_EECD_AUTO_RD,
                           time_ns() + 100 * NS_PER_MS);
    reg_write(dev, E1000_IMC, E1000_INT_ALL);
    return error;
}

static int read_mac(struct nic *nic, struct e1000e *dev)
{
    uint32_t low = reg_read(dev, E1000_RAL0), high = reg_read(dev, E1000_RAH0);
    for (unsigned i = 0; i < 6; i++)
        nic->mac[i] = (uint8_t)(i < 4 ? low >> (8 * i) : high >> (8 * (i - 4)));
    if ((high & E1000_RAH_AV) && nic_mac_is_valid(nic->mac))
        return 0;
    log_error("e1000e %s: no valid address in RAL/RAH (0x%08x 0x%08x)", nic->pci->name, low, high);
    return -ENODEV;
}

/* Active-state power management hangs this part: Linux's e1000e driver turns L0s and L1 off for it,
 * and so do we. */
static void disable_aspm(struct pci_device *pci)
{
    unsigned express = pci_find_capability(pci, 0x10, 0);
    if (express != 0 && express + 0x12 <= 256)
        pci_write16(pci, express + 0x10,
                    pci_read16(pci, express + 0x10) & (uint16_t)~3u); /* Link Control */
}

static void enable_interrupts(struct nic *nic, struct e1000e *dev)
{
    int error = pci_msix_enable(nic->pci, VECTOR_QUEUES, 0, nic_interrupt, nic);
    if (error == 0)
        error = pci_msix_enable(nic->pci, VECTOR_LINK, 0, nic_link_interrupt, nic);
    nic->has_interrupts = error == 0;
    if (error != 0)
        return;
    reg_write(dev, E1000_IVAR,
              field_put(E1000_IVAR_RXQ0, VECTOR_QUEUES) | E1000_IVAR_RXQ0_VALID |
                  field_put(E1000_IVAR_OTHER, VECTOR_LINK) | E1000_IVAR_OTHER_VALID);
    reg_write(dev, E1000_EITR(VECTOR_QUEUES), 0);
    reg_write(dev, E1000_EITR(VECTOR_LINK), 0);
    reg_write(dev, E1000_EIAC, E1000_INT_RXQ0);
    reg_write(dev, E1000_IAM, E1000_INT_RXQ0);
    reg_write(dev, E1000_CTRL_EXT,
              reg_read(dev, E1000_CTRL_EXT) | E1000_CTRL_EXT_EIAME | E1000_CTRL_EXT_PBA);
}

static void start_receive(struct nic *nic, struct e1000e *dev)
{
    for (unsigned i = 0; i < E1000_MTA_COUNT; i++)
        reg_write(dev, E1000_MTA + 4 * i, 0);
    for (unsigned i = 0; i < RING_COUNT; i++) {
        int buffer = nic_buffer_take(nic);
        assert(buffer >= 0);
        post_buffer(nic, dev, i, (unsigned)buffer);
    }
    uint64_t dma = dma_addr(dev->rx);
    reg_write(dev, E1000_RDBAL, dma);
    reg_write(dev, E1000_RDBAH, dma >> 32);
    reg_write(dev, E1000_RDLEN, RING_BYTES);
    reg_write(dev, E1000_RDH, 0);
    reg_write(dev, E1000_RDT, 0);
    reg_write(dev, E1000_RDTR, 0);
    reg_write(dev, E1000_RADV, 0);
    reg_write(dev, E1000_RXCSUM, E1000_RXCSUM_IPOFLD | E1000_RXCSUM_TUOFLD);
    reg_write(dev, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_MPE | E1000_RCTL_BAM | E1000_RCTL_SECRC);
    dma_wmb();
    reg_write(dev, E1000_RDT,
              RING_COUNT - 1); /* after RCTL.EN; head == tail would be an empty ring */
}

static void start_transmit(struct e1000e *dev)
{
    uint64_t dma = dma_addr(dev->tx);
    reg_write(dev, E1000_TDBAL, dma);
    reg_write(dev, E1000_TDBAH, dma >> 32);
    reg_write(dev, E1000_TDLEN, RING_BYTES);
    reg_write(dev, E1000_TDH, 0);
    reg_write(dev, E1000_TDT, 0);
    reg_write(dev, E1000_TXDCTL, E1000_TXDCTL_GRAN | E1000_TXDCTL_ONE);
    /* Linux's e1000e driver sets these gaps for copper. */
    reg_write(dev, E1000_TIPG,
              field_put(E1000_TIPG_IPGT, 8) | field_put(E1000_TIPG_IPGR1, 8) |
                  field_put(E1000_TIPG_IPGR2, 6));
    reg_write(dev, E1000_TCTL,
              E1000_TCTL_EN | E1000_TCTL_PSP | field_put(E1000_TCTL_CT, 0x0f) |
                  field_put(E1000_TCTL_COLD, 0x3f));
}

static void e1000e_free(struct nic *nic, struct e1000e *dev)
{
    if (dev->rx != NULL)
        page_free((void *)(uintptr_t)dev->rx, RING_BYTES);
    if (dev->tx != NULL)
        page_free((void *)(uintptr_t)dev->tx, RING_BYTES);
    if (dev->regs != NULL)
        mmio_unmap(dev->regs, nic->pci->bar[0].size_bytes);
    free(dev);
}

/* The rings stay allocated when the device does not confirm its reset: it may still use them. */
static void e1000e_stop(struct nic *nic)
{
    struct e1000e *dev = nic->driver_data;
    int error = e1000e_reset(dev);
    pci_disable(nic->pci);
    for (unsigned i = 0; i < RING_COUNT; i++)
        nic_buffer_put(nic, dev->rx_buffer[i]);
    for (uint32_t at = dev->tx_clean; at != dev->tx_tail; at += dev->tx_span[at & RING_MASK])
        nic->sent(nic, dev->tx_cookie[at & RING_MASK]);
    if (error != 0) {
        log_warn("e1000e %s: no answer to the reset (%d)", nic->pci->name, error);
        dev->rx = NULL;
        dev->tx = NULL;
    }
    e1000e_free(nic, dev);
    nic->driver_data = NULL;
}

static int e1000e_start(struct nic *nic)
{
    struct e1000e *dev = calloc(1, sizeof(*dev));
    if (dev == NULL)
        return -ENOMEM;

    /* 1. Registers. */
    int error = pci_enable(nic->pci);
    if (error != 0)
        goto stop;
    error = -ENODEV;
    if (nic->pci->bar[0].size_bytes < E1000_REGISTER_BYTES)
        goto stop;
    dev->regs = pci_map_bar(nic->pci, 0, CACHE_UNCACHED);
    if (dev->regs == NULL)
        goto stop;

    /* 2. Memory. */
    error = -ENOMEM;
    dev->rx = page_alloc(RING_BYTES, 0);
    dev->tx = page_alloc(RING_BYTES, 0);
    if (dev->rx == NULL || dev->tx == NULL)
        goto stop;

    /* 3. Reset; the address comes from the NVM by itself. */
    disable_aspm(nic->pci);
    error = e1000e_reset(dev);
    if (error == 0)
        error = read_mac(nic, dev);
    if (error != 0)
        goto stop;

    /* 4. Link, rings, interrupts. */
    nic->driver_data = dev;
    nic->tx_checksum = nic->rx_checksum = true;
    pci_bus_master(nic->pci, true);
    reg_write(dev, E1000_CTRL,
              (reg_read(dev, E1000_CTRL) | E1000_CTRL_SLU | E1000_CTRL_ASDE) &
                  ~(E1000_CTRL_FRCSPD | E1000_CTRL_FRCDPLX | E1000_CTRL_GIO_MASTER_DISABLE));
    enable_interrupts(nic, dev);
    start_receive(nic, dev);
    start_transmit(dev);
    e1000e_check(nic);
    return nic->is_failed ? -ENODEV : 0;

stop:
    pci_disable(nic->pci);
    e1000e_free(nic, dev);
    return error;
}

const struct nic_driver e1000e_driver = {
    .name = "e1000e",
    .matches = e1000e_matches,
    .start = e1000e_start,
    .stop = e1000e_stop,
    .transmit = e1000e_transmit,
    .poll = e1000e_poll,
    .kick = e1000e_kick,
    .arm = e1000e_arm,
    .disarm = e1000e_disarm,
    .check = e1000e_check,
};
