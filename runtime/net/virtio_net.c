/*
 * runtime/net/virtio_net.c: the virtio network device. Follows VIRTIO 1.2 (OASIS 2022),
 * section 5.1; chapter numbers are that document's.
 *
 * One receive and one transmit queue. Every receive descriptor is one buffer of the pool, long
 * enough for a header and a full frame, so frames never span buffers and VIRTIO_NET_F_MRG_RXBUF is
 * not needed. A frame to send is a chain of a header and its pieces. With VIRTIO_F_EVENT_IDX
 * neither side disturbs the other while both are busy. Transmit interrupts are never asked for:
 * finished frames are collected at every poll. Left out: segmentation offload, control queue (QEMU
 * and vhost accept all multicast frames without it), several queue pairs.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/net/nic.h"
#include "runtime/net/virtio.h"

#define DEVICE_ID_TRANSITIONAL 0x1000 /* 4.1.2.1; usable when it offers VIRTIO_F_VERSION_1 */
#define DEVICE_ID_MODERN       0x1041

/* Feature bits (5.1.3). */
#define VIRTIO_NET_F_CSUM      BIT(0) /* the device completes checksums of frames we send */
#define VIRTIO_NET_F_GUEST_CSUM \
    BIT(1) /* the device may hand us frames whose checksum it vouches for */
#define VIRTIO_NET_F_MAC         BIT(5)
#define VIRTIO_NET_F_STATUS      BIT(16) /* link state in the configuration */

/* Device configuration (5.1.4). */
#define VIRTIO_NET_CONFIG_MAC    0
#define VIRTIO_NET_CONFIG_STATUS 6
#define VIRTIO_NET_LINK_UP       BIT(0)

/* In front of every frame (5.1.6); with VERSION_1 it is always 12 bytes long. */
struct virtio_net_header {
    uint8_t flags, gso_type;
    uint16_t header_bytes, gso_bytes, checksum_start, checksum_offset, buffer_count;
};
static_assert(sizeof(struct virtio_net_header) == 12, "VIRTIO 1.2, 5.1.6");
#define VIRTIO_NET_HDR_NEEDS_CSUM \
    BIT(0) /* the checksum is to be completed; on receive: the data is intact */
#define VIRTIO_NET_HDR_DATA_VALID BIT(1) /* receive: the checksum was checked */

#define RECEIVE_QUEUE             0
#define TRANSMIT_QUEUE            1
#define VECTOR_CONFIG             0 /* MSI-X table entries */
#define VECTOR_QUEUES             1
#define PLAIN_HEADER \
    NIC_RING_MAX /* the header in headers[] that says nothing, for frames without offload */

struct virtio_net {
    struct virtio virtio;
    struct virtq rx, tx;
    uint16_t rx_buffer[NIC_RING_MAX]; /* by descriptor: the buffer the device has */
    uint16_t tx_free[NIC_RING_MAX];   /* stack of free descriptors */
    unsigned tx_free_count;
    uint16_t tx_next[NIC_RING_MAX];  /* by descriptor: the next of its chain; our copy, which the
                                        device cannot change */
    uint8_t tx_length[NIC_RING_MAX]; /* by head: descriptors in its chain; 0: not with the device */
    void *tx_cookie[NIC_RING_MAX];
    struct virtio_net_header *headers; /* by head, and PLAIN_HEADER */
    uint64_t headers_dma;
};
#define HEADERS_BYTES ((NIC_RING_MAX + 1) * sizeof(struct virtio_net_header))

static bool virtio_net_matches(const struct pci_device *pci)
{
    return pci->vendor_id == VIRTIO_PCI_VENDOR &&
           (pci->device_id == DEVICE_ID_MODERN || pci->device_id == DEVICE_ID_TRANSITIONAL);
}

/* ---- receive --------------------------------------------------------------------------------- */

static void post_buffer(struct nic *nic, struct virtio_net *dev, uint16_t descriptor,
                        unsigned buffer)
{
    dev->rx_buffer[descriptor] = (uint16_t)buffer;
    dev->rx.desc[descriptor].address = nic_buffer_dma(nic, buffer);
    dev->rx.desc[descriptor].size_bytes = NIC_BUFFER_BYTES;
    dev->rx.desc[descriptor].flags = VIRTQ_DESC_WRITE;
    virtq_publish(&dev->rx, descriptor);
}

/* The pool is larger than the ring by what the stack may hold, so a buffer is always there. */
static void fill_receive_ring(struct nic *nic, struct virtio_net *dev)
{
    for (uint16_t i = 0; i < dev->rx.size; i++) {
        int buffer = nic_buffer_take(nic);
        assert(buffer >= 0);
        post_buffer(nic, dev, i, (unsigned)buffer);
    }
}

static unsigned receive_frames(struct nic *nic, struct virtio_net *dev, unsigned budget)
{
    unsigned count = 0;
    uint16_t id;
    uint32_t size_bytes;
    int found = 0;
    while (count < budget && (found = virtq_next_used(&dev->rx, &id, &size_bytes)) > 0) {
        unsigned buffer = dev->rx_buffer[id];
        count++;
        struct virtio_net_header *header = (struct virtio_net_header *)nic_buffer_va(nic, buffer);
        if (size_bytes < sizeof(*header) + NIC_HEADER_BYTES || size_bytes > NIC_BUFFER_BYTES ||
            header->gso_type != 0) {
            nic->counters.rx_errors++;
            post_buffer(nic, dev, id, buffer);
            continue;
        }
        bool is_good =
            nic->rx_checksum &&
            (header->flags & (VIRTIO_NET_HDR_NEEDS_CSUM | VIRTIO_NET_HDR_DATA_VALID)) != 0;
        nic->counters.rx_frames++;
        nic->counters.rx_bytes += size_bytes - sizeof(*header);
        nic->receive(nic, buffer, sizeof(*header), size_bytes - sizeof(*header), is_good);
        int fresh = nic_buffer_take(nic);
        assert(fresh >= 0); /* the stack holds at most NIC_BUFFER_LOAN_MAX */
        post_buffer(nic, dev, id, (unsigned)fresh);
    }
    if (found < 0)
        nic_fail(nic, "the receive queue's used ring makes no sense, index", *dev->rx.used_index);
    return count;
}

/* ---- transmit -------------------------------------------------------------------------------- */

static void collect_sent(struct nic *nic, struct virtio_net *dev)
{
    uint16_t id;
    uint32_t size_bytes;
    int found;
    while ((found = virtq_next_used(&dev->tx, &id, &size_bytes)) > 0) {
        if (dev->tx_length[id] == 0) {
            nic_fail(nic, "sent frame completed twice", id);
            return;
        }
        uint16_t at = id;
        for (unsigned left = dev->tx_length[id]; left > 0; left--, at = dev->tx_next[at])
            dev->tx_free[dev->tx_free_count++] = at;
        dev->tx_length[id] = 0;
        nic->sent(nic, dev->tx_cookie[id]);
    }
    if (found < 0)
        nic_fail(nic, "the transmit queue's used ring makes no sense, index", *dev->tx.used_index);
}

static int virtio_net_transmit(struct nic *nic, const struct nic_frame *frame, void *cookie)
{
    struct virtio_net *dev = nic->driver_data;
    if (nic->is_failed)
        return -EIO;
    assert(frame->chunk_count > 0 && frame->chunk_count <= NIC_CHUNK_MAX);
    if (dev->tx_free_count < frame->chunk_count + 1)
        return -EAGAIN;

    uint16_t head = dev->tx_free[--dev->tx_free_count];
    unsigned header = PLAIN_HEADER;
    if (frame->checksum_start != 0) {
        header = head;
        dev->headers[head] = (struct virtio_net_header){.flags = VIRTIO_NET_HDR_NEEDS_CSUM,
                                                        .checksum_start = frame->checksum_start,
                                                        .checksum_offset = frame->checksum_offset};
    }
    volatile struct virtq_desc *desc = &dev->tx.desc[head];
    desc->address = dev->headers_dma + header * sizeof(struct virtio_net_header);
    desc->size_bytes = sizeof(struct virtio_net_header);
    uint16_t last = head;
    for (unsigned i = 0; i < frame->chunk_count; i++) {
        uint16_t next = dev->tx_free[--dev->tx_free_count];
        nic->counters.tx_bytes += frame->chunks[i].size_bytes;
        desc->flags = VIRTQ_DESC_NEXT;
        desc->next = next;
        dev->tx_next[last] = next;
        desc = &dev->tx.desc[next];
        desc->address = frame->chunks[i].dma;
        desc->size_bytes = (uint32_t)frame->chunks[i].size_bytes;
        last = next;
    }
    desc->flags = 0;
    dev->tx_length[head] = (uint8_t)(frame->chunk_count + 1);
    dev->tx_cookie[head] = cookie;
    virtq_publish(&dev->tx, head);
    nic->counters.tx_frames++;
    return 0;
}

/* ---- poll and interrupts --------------------------------------------------------------------- */

static unsigned virtio_net_poll(struct nic *nic, unsigned budget)
{
    struct virtio_net *dev = nic->driver_data;
    if (!nic->is_failed)
        collect_sent(nic, dev);
    return nic->is_failed ? 0 : receive_frames(nic, dev, budget);
}

static void virtio_net_kick(struct nic *nic)
{
    struct virtio_net *dev = nic->driver_data;
    if (nic->is_failed)
        return;
    virtq_kick(&dev->tx);
    virtq_kick(&dev->rx);
}

static bool virtio_net_arm(struct nic *nic)
{
    struct virtio_net *dev = nic->driver_data;
    return !nic->is_failed && virtq_arm(&dev->rx);
}

static void virtio_net_disarm(struct nic *nic)
{
    struct virtio_net *dev = nic->driver_data;
    if (!nic->is_failed)
        virtq_disarm(&dev->rx);
}

static void virtio_net_check(struct nic *nic)
{
    struct virtio_net *dev = nic->driver_data;
    if (nic->is_failed)
        return;
    uint8_t status = virtio_status(&dev->virtio);
    if (status == 0xff || (status & VIRTIO_STATUS_NEEDS_RESET)) {
        nic_fail(nic, status == 0xff ? "the device is gone" : "the device wants a reset", status);
        return;
    }
    nic->has_link =
        !(dev->virtio.features & VIRTIO_NET_F_STATUS) ||
        (mmio_read16(dev->virtio.config + VIRTIO_NET_CONFIG_STATUS) & VIRTIO_NET_LINK_UP) != 0;
}

/* ---- start and stop -------------------------------------------------------------------------- */

static void read_mac(struct nic *nic, struct virtio_net *dev)
{
    for (unsigned i = 0; i < 6; i++)
        nic->mac[i] = mmio_read8(dev->virtio.config + VIRTIO_NET_CONFIG_MAC + i);
    if (!(dev->virtio.features & VIRTIO_NET_F_MAC) || !nic_mac_is_valid(nic->mac)) {
        random_bytes(nic->mac, 6);
        nic->mac[0] =
            (uint8_t)((nic->mac[0] & ~1u) | 2); /* one address, locally administered (IEEE 802) */
    }
}

static int enable_interrupts(struct nic *nic, struct virtio_net *dev)
{
    int error = pci_msix_enable(nic->pci, VECTOR_CONFIG, 0, nic_link_interrupt, nic);
    if (error == 0)
        error = pci_msix_enable(nic->pci, VECTOR_QUEUES, 0, nic_interrupt, nic);
    if (error == 0)
        error = virtio_set_config_vector(&dev->virtio, VECTOR_CONFIG);
    nic->has_interrupts = error == 0;
    return error;
}

static void virtio_net_free(struct virtio_net *dev)
{
    virtq_destroy(&dev->rx);
    virtq_destroy(&dev->tx);
    if (dev->headers != NULL)
        page_free(dev->headers, HEADERS_BYTES);
    virtio_close(&dev->virtio);
    free(dev);
}

/* Rings and headers stay allocated when the device does not confirm its reset: it may still use
 * them. */
static void virtio_net_stop(struct nic *nic)
{
    struct virtio_net *dev = nic->driver_data;
    int error = virtio_reset(&dev->virtio);
    pci_disable(nic->pci);
    for (unsigned i = 0; i < dev->rx.size; i++)
        nic_buffer_put(nic, dev->rx_buffer[i]);
    for (unsigned i = 0; i < dev->tx.size; i++)
        if (dev->tx_length[i] != 0)
            nic->sent(nic, dev->tx_cookie[i]);
    if (error != 0) {
        log_warn("virtio-net %s: no answer to the reset (%d)", nic->pci->name, error);
        dev->rx.memory = dev->tx.memory = NULL;
        dev->headers = NULL;
    }
    virtio_net_free(dev);
    nic->driver_data = NULL;
}

static int virtio_net_start(struct nic *nic)
{
    struct virtio_net *dev = calloc(1, sizeof(*dev));
    if (dev == NULL)
        return -ENOMEM;

    /* 1. Windows, reset, features. */
    int error = pci_enable(nic->pci);
    if (error == 0)
        error = virtio_start(&dev->virtio, nic->pci,
                             VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_MAC |
                                 VIRTIO_NET_F_STATUS | VIRTIO_F_EVENT_IDX |
                                 VIRTIO_F_ACCESS_PLATFORM | VIRTIO_F_ORDER_PLATFORM,
                             VIRTIO_F_VERSION_1);
    if (error != 0)
        goto stop;

    /* 2. Interrupts; without MSI-X the net task polls. */
    uint16_t vector = enable_interrupts(nic, dev) == 0 ? VECTOR_QUEUES : VIRTIO_NO_VECTOR;

    /* 3. Queues and the memory behind them. */
    error = -ENOMEM;
    dev->headers = page_alloc(HEADERS_BYTES, 0);
    if (dev->headers == NULL)
        goto stop;
    dev->headers_dma = dma_addr(dev->headers);
    error = virtq_create(&dev->rx, &dev->virtio, RECEIVE_QUEUE, NIC_RING_MAX, vector);
    if (error == 0)
        error =
            virtq_create(&dev->tx, &dev->virtio, TRANSMIT_QUEUE, NIC_RING_MAX, VIRTIO_NO_VECTOR);
    if (error == 0 && dev->tx.size < NIC_CHUNK_MAX + 1)
        error = -ENOTSUP; /* a frame in many pieces would never fit */
    if (error != 0)
        goto stop;
    while (dev->tx_free_count < dev->tx.size) {
        dev->tx_free[dev->tx_free_count] = (uint16_t)dev->tx_free_count;
        dev->tx_free_count++;
    }

    /* 4. Go. */
    nic->driver_data = dev;
    nic->tx_checksum = (dev->virtio.features & VIRTIO_NET_F_CSUM) != 0;
    nic->rx_checksum = (dev->virtio.features & VIRTIO_NET_F_GUEST_CSUM) != 0;
    read_mac(nic, dev);
    pci_bus_master(nic->pci, true);
    fill_receive_ring(nic, dev);
    virtio_driver_ok(&dev->virtio);
    virtio_net_kick(nic);
    virtio_net_check(nic);
    return nic->is_failed ? -ENODEV : 0;

stop:
    if (dev->virtio.common != NULL)
        virtio_reset(&dev->virtio);
    pci_disable(nic->pci);
    virtio_net_free(dev);
    return error;
}

const struct nic_driver virtio_net_driver = {
    .name = "virtio-net",
    .matches = virtio_net_matches,
    .start = virtio_net_start,
    .stop = virtio_net_stop,
    .transmit = virtio_net_transmit,
    .poll = virtio_net_poll,
    .kick = virtio_net_kick,
    .arm = virtio_net_arm,
    .disarm = virtio_net_disarm,
    .check = virtio_net_check,
};
