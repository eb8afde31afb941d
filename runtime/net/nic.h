/*
 * runtime/net/nic.h: one Ethernet port, between its driver (virtio_net.c, e1000e.c) and the stack
 * above it (link.c).
 *
 * Everything here runs on core 0. Frames are Ethernet frames without preamble and FCS. Received
 * frames lie in a pool of page_alloc()ed buffers: the stack keeps a buffer as long as it likes and
 * gives it back with nic_buffer_put(); at most NIC_BUFFER_LOAN_MAX at a time, so that the receive
 * ring can always be refilled.
 */
#ifndef INGOT_NET_NIC_H
#define INGOT_NET_NIC_H

#include "kernel/kernel.h"
#include "nvme/nvme.h" /* struct dma_segment */

#define NIC_RING_MAX     256  /* descriptors that a driver puts into one ring */
#define NIC_BUFFER_BYTES 2048 /* a full frame, a VLAN tag and virtio's header fit */
#define NIC_BUFFER_LOAN_MAX \
    512 /* received frames that the stack may hold: 8 full TCP windows of 64 connections */
#define NIC_BUFFER_COUNT (NIC_RING_MAX + NIC_BUFFER_LOAN_MAX)
#define NIC_CHUNK_MAX    8    /* pieces of one frame to send */
#define NIC_HEADER_BYTES 14   /* destination, source, type */
#define NIC_FRAME_MAX    1514 /* largest frame to send */

/* What to send. With checksum_start > 0 the device sums the frame from there to its end and stores
 * the complement at checksum_start + checksum_offset, where the pseudo-header's sum already is. */
struct nic_frame {
    const struct dma_segment *chunks;
    unsigned chunk_count;
    uint16_t checksum_start, checksum_offset;
};

struct nic_counters {
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
    uint64_t rx_errors; /* frames that the device marked bad or described wrongly */
};

struct nic;

struct nic_driver {
    const char *name;
    bool (*matches)(const struct pci_device *pci);
    /* Bring nic->pci up: fills in mac, has_link, the offloads and driver_data. On error nothing is
     * left running. */
    int (*start)(struct nic *nic);
    void (*stop)(struct nic *nic); /* resets the device; it touches no memory afterwards */
    /* Queue a frame; the pieces stay untouched until sent(cookie) is called. -EAGAIN: the ring is
     * full. -EIO: failed. */
    int (*transmit)(struct nic *nic, const struct nic_frame *frame, void *cookie);
    /* sent() for frames that have left, receive() for at most `budget` that came, refill. Returns
     * frames received. */
    unsigned (*poll)(struct nic *nic, unsigned budget);
    void (*kick)(struct nic *nic); /* tell the device of everything queued since the last kick */
    /* Ask for an interrupt when the next frame comes. True: one is there already, poll instead of
     * sleeping. */
    bool (*arm)(struct nic *nic);
    void (*disarm)(struct nic *nic);
    void (*check)(struct nic *nic); /* look at the link and whether the device still answers; costs
                                       register reads */
};

struct nic {
    const struct nic_driver *driver;
    struct pci_device *pci;
    uint8_t mac[6];
    bool has_link;
    bool is_failed;      /* broke its protocol or is gone; driver and device are stopped */
    bool has_interrupts; /* false: no MSI-X, so polling must go on */
    bool tx_checksum, rx_checksum; /* TCP and UDP over IPv4 */
    _Atomic bool link_changed;     /* set by the interrupt: call check() */
    struct event *event;           /* signalled by the interrupt */
    struct nic_counters counters;
    void *driver_data;

    /* The stack's side, set before start. receive() owns the buffer: size_bytes at offset in it. */
    void (*receive)(struct nic *nic, unsigned buffer, unsigned offset, unsigned size_bytes,
                    bool checksum_is_good);
    void (*sent)(struct nic *nic, void *cookie);

    /* The pool. */
    uint8_t *buffer_memory;
    uint64_t buffer_memory_dma;
    uint16_t buffer_free[NIC_BUFFER_COUNT];
    unsigned buffer_free_count;
};

extern const struct nic_driver virtio_net_driver, e1000e_driver;

int nic_start(struct nic *nic, struct pci_device *pci,
              const struct nic_driver *driver); /* pool and driver */
void nic_stop(struct nic *nic);
/* For drivers: say once what went wrong and stop the device. */
void nic_fail(struct nic *nic, const char *what, uint32_t value);
/* For drivers: the event that the interrupt handlers of both drivers signal. */
void nic_interrupt(void *nic);
void nic_link_interrupt(void *nic);
bool nic_mac_is_valid(const uint8_t mac[6]); /* not zero, not a group address */

static inline uint8_t *nic_buffer_va(const struct nic *nic, unsigned buffer)
{
    return nic->buffer_memory + (size_t)buffer * NIC_BUFFER_BYTES;
}

static inline uint64_t nic_buffer_dma(const struct nic *nic, unsigned buffer)
{
    return nic->buffer_memory_dma + (uint64_t)buffer * NIC_BUFFER_BYTES;
}

/* A free buffer's index, or -EAGAIN. */
static inline int nic_buffer_take(struct nic *nic)
{
    return nic->buffer_free_count > 0 ? nic->buffer_free[--nic->buffer_free_count] : -EAGAIN;
}

static inline void nic_buffer_put(struct nic *nic, unsigned buffer)
{
    assert(buffer < NIC_BUFFER_COUNT && nic->buffer_free_count < NIC_BUFFER_COUNT);
    nic->buffer_free[nic->buffer_free_count++] = (uint16_t)buffer;
}

#endif
