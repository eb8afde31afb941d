/*
 * runtime/net/virtio.h: a virtio device on PCI and its split virtqueues. Source: Virtual I/O Device
 * (VIRTIO) 1.2, OASIS 2022; section numbers are that document's. Only modern devices
 * (VIRTIO_F_VERSION_1); fields are little-endian, as x86 is.
 */
#ifndef INGOT_NET_VIRTIO_H
#define INGOT_NET_VIRTIO_H

#include "kernel/kernel.h"

#define VIRTIO_PCI_VENDOR                0x1af4

/* PCI vendor capability (4.1.4). */
#define VIRTIO_PCI_CAP_CFG_TYPE          3
#define VIRTIO_PCI_CAP_BAR               4
#define VIRTIO_PCI_CAP_OFFSET            8
#define VIRTIO_PCI_CAP_LENGTH            12
#define VIRTIO_PCI_CAP_NOTIFY_MULTIPLIER 16 /* behind the notify capability only */
#define VIRTIO_PCI_CAP_COMMON_CFG        1
#define VIRTIO_PCI_CAP_NOTIFY_CFG        2
#define VIRTIO_PCI_CAP_DEVICE_CFG        4

/* Common configuration structure (4.1.4.3). */
#define VIRTIO_DEVICE_FEATURE_SELECT     0x00
#define VIRTIO_DEVICE_FEATURE            0x04
#define VIRTIO_DRIVER_FEATURE_SELECT     0x08
#define VIRTIO_DRIVER_FEATURE            0x0c
#define VIRTIO_CONFIG_MSIX_VECTOR        0x10
#define VIRTIO_NUM_QUEUES                0x12
#define VIRTIO_DEVICE_STATUS             0x14
#define   VIRTIO_STATUS_ACKNOWLEDGE      BIT(0)
#define   VIRTIO_STATUS_DRIVER           BIT(1)
#define   VIRTIO_STATUS_DRIVER_OK        BIT(2)
#define   VIRTIO_STATUS_FEATURES_OK      BIT(3)
#define   VIRTIO_STATUS_NEEDS_RESET      BIT(6)
#define   VIRTIO_STATUS_FAILED           BIT(7)
#define VIRTIO_CONFIG_GENERATION         0x15
#define VIRTIO_QUEUE_SELECT              0x16
#define VIRTIO_QUEUE_SIZE                0x18
#define VIRTIO_QUEUE_MSIX_VECTOR         0x1a
#define VIRTIO_QUEUE_ENABLE              0x1c
#define VIRTIO_QUEUE_NOTIFY_OFF          0x1e
#define VIRTIO_QUEUE_DESC                0x20
#define VIRTIO_QUEUE_DRIVER              0x28
#define VIRTIO_QUEUE_DEVICE              0x30
#define VIRTIO_COMMON_BYTES              0x38
#define VIRTIO_NO_VECTOR                 0xffff

/* Feature bits of every device (6). */
#define VIRTIO_F_EVENT_IDX               BIT(29)
#define VIRTIO_F_VERSION_1               BIT(32)
#define VIRTIO_F_ACCESS_PLATFORM         BIT(33)
#define VIRTIO_F_ORDER_PLATFORM          BIT(36)

/* Split virtqueue (2.7). */
struct virtq_desc {
    uint64_t address;
    uint32_t size_bytes;
    uint16_t flags, next;
};
static_assert(sizeof(struct virtq_desc) == 16, "VIRTIO 1.2, 2.7.5");
#define VIRTQ_DESC_NEXT  BIT(0) /* next is valid */
#define VIRTQ_DESC_WRITE BIT(1) /* the device writes */

struct virtq_used_element {
    uint32_t id, size_bytes; /* head of the chain; bytes written into it */
};
#define VIRTQ_AVAIL_NO_INTERRUPT 1 /* flags of the available ring, without VIRTIO_F_EVENT_IDX */
#define VIRTQ_USED_NO_NOTIFY     1 /* flags of the used ring, without VIRTIO_F_EVENT_IDX */

struct virtio {
    struct pci_device *pci;
    volatile uint8_t *common, *notify, *config;
    uint32_t notify_bytes, notify_multiplier, config_bytes;
    uint64_t features;     /* negotiated */
    volatile void *bar[6]; /* what is mapped */
};

/* Indices count up forever, wrapping at 2^16; the queue size is a power of two. */
struct virtq {
    uint16_t size;
    bool has_event_index;
    uint16_t available; /* index that the next entry goes to */
    uint16_t kicked;    /* `available` at the last kick */
    uint16_t used;      /* next used entry to look at */
    volatile struct virtq_desc *desc;
    volatile uint16_t *avail_flags, *avail_index, *avail_ring, *used_event; /* ours to write */
    volatile uint16_t *used_flags, *used_index, *avail_event;               /* the device's */
    volatile struct virtq_used_element *used_ring;
    volatile uint8_t *doorbell;
    uint16_t number;
    void *memory;
    uint64_t memory_bytes;
};

/* Map the capabilities, reset, and agree on features: `wanted` and offered, all of `required` or
 * -ENOTSUP. */
int virtio_start(struct virtio *virtio, struct pci_device *pci, uint64_t wanted, uint64_t required);
void virtio_close(struct virtio *virtio); /* unmap */
int virtio_reset(struct virtio *virtio);  /* 0, -ETIMEDOUT or -ENODEV */
uint8_t virtio_status(const struct virtio *virtio);
/* Set up queue `number` with up to size_max entries (rounded down to what the device has). vector:
 * VIRTIO_NO_VECTOR for none. */
int virtq_create(struct virtq *queue, struct virtio *virtio, uint16_t number, uint16_t size_max,
                 uint16_t vector);
void virtq_destroy(struct virtq *queue); /* after virtio_reset() */
int virtio_set_config_vector(struct virtio *virtio, uint16_t vector);
void virtio_driver_ok(struct virtio *virtio);

void virtq_kick(struct virtq *queue); /* notify the device, if it asked for that, of what
                                         virtq_publish() added */
/* The next chain that the device is done with. 1, 0: none, -EIO: the ring makes no sense. *id is
 * below the queue's size. */
int virtq_next_used(struct virtq *queue, uint16_t *id, uint32_t *size_bytes);
bool virtq_arm(
    struct virtq *queue); /* interrupt at the next used entry; true: one is there already */
void virtq_disarm(struct virtq *queue);

/* Hand the chain that starts at descriptor head to the device. */
static inline void virtq_publish(struct virtq *queue, uint16_t head)
{
    queue->avail_ring[queue->available & (queue->size - 1)] = head;
    queue->available++;
}

#endif
