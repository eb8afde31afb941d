/*
 * runtime/net/virtio.c: virtio over PCI: capabilities, features, split virtqueues. Follows
 * VIRTIO 1.2 (OASIS 2022), chapters 2.7 (split virtqueues), 3.1 (initialisation) and 4.1 (PCI).
 * Left out: legacy devices, packed rings, indirect descriptors.
 */
#include <string.h>

#include "runtime/net/virtio.h"

#define RESET_DEADLINE_NS \
    NS_PER_S /* the specification names none; QEMU and vhost reset at once                         \
              */

/* ---- capabilities (4.1.4) -------------------------------------------------------------------- */

struct window {
    volatile uint8_t *va;
    uint32_t bytes;
    unsigned capability; /* offset in configuration space */
};

/* Find the first usable capability of this type. What it says is checked against the BAR's size. */
static int find_window(struct virtio *virtio, uint8_t type, uint32_t bytes_min, struct window *out)
{
    struct pci_device *pci = virtio->pci;
    for (unsigned at = pci_find_capability(pci, 0x09, 0); at != 0;
         at = pci_find_capability(pci, 0x09, at)) {
        if (at + VIRTIO_PCI_CAP_NOTIFY_MULTIPLIER > 256 ||
            pci_read8(pci, at + VIRTIO_PCI_CAP_CFG_TYPE) != type)
            continue;
        unsigned bar = pci_read8(pci, at + VIRTIO_PCI_CAP_BAR);
        uint32_t offset = pci_read32(pci, at + VIRTIO_PCI_CAP_OFFSET);
        uint32_t length = pci_read32(pci, at + VIRTIO_PCI_CAP_LENGTH);
        if (bar >= 6 || offset % 4 != 0 || length < bytes_min ||
            pci->bar[bar].size_bytes < length || offset > pci->bar[bar].size_bytes - length)
            continue;
        if (virtio->bar[bar] == NULL)
            virtio->bar[bar] = pci_map_bar(pci, bar, CACHE_UNCACHED);
        if (virtio->bar[bar] == NULL)
            continue;
        *out = (struct window){(volatile uint8_t *)virtio->bar[bar] + offset, length, at};
        return 0;
    }
    log_error("virtio %s: no usable capability of type %u", pci->name, type);
    return -ENOTSUP;
}

static int map_windows(struct virtio *virtio)
{
    struct window common = {0}, notify = {0}, config = {0};
    int error = find_window(virtio, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_COMMON_BYTES, &common);
    if (error == 0)
        error = find_window(virtio, VIRTIO_PCI_CAP_NOTIFY_CFG, 2, &notify);
    if (error == 0)
        error = find_window(virtio, VIRTIO_PCI_CAP_DEVICE_CFG, 8, &config);
    if (error == 0 && notify.capability + VIRTIO_PCI_CAP_NOTIFY_MULTIPLIER + 4 > 256)
        error = -ENOTSUP;
    if (error != 0)
        return error;
    virtio->common = common.va;
    virtio->notify = notify.va;
    virtio->notify_bytes = notify.bytes;
    virtio->notify_multiplier =
        pci_read32(virtio->pci, notify.capability + VIRTIO_PCI_CAP_NOTIFY_MULTIPLIER);
    virtio->config = config.va;
    virtio->config_bytes = config.bytes;
    return 0;
}

/* ---- status and features (3.1.1) ------------------------------------------------------------- */

uint8_t virtio_status(const struct virtio *virtio)
{
    return mmio_read8(virtio->common + VIRTIO_DEVICE_STATUS);
}

static void set_status(struct virtio *virtio, uint64_t bits)
{
    mmio_write8(virtio->common + VIRTIO_DEVICE_STATUS, virtio_status(virtio) | (uint8_t)bits);
}

int virtio_reset(struct virtio *virtio)
{
    uint64_t deadline_ns = time_ns() + RESET_DEADLINE_NS;
    mmio_write8(virtio->common + VIRTIO_DEVICE_STATUS, 0);
    for (;;) {
        uint8_t status = virtio_status(virtio);
        if (status == 0)
            return 0;
        if (status == 0xff)
            return -ENODEV;
        if (time_ns() >= deadline_ns)
            return -ETIMEDOUT;
        task_yield();
    }
}

static int negotiate(struct virtio *virtio, uint64_t wanted, uint64_t required)
{
    uint64_t offered = 0;
    for (unsigned half = 0; half < 2; half++) {
        mmio_write32(virtio->common + VIRTIO_DEVICE_FEATURE_SELECT, half);
        offered |= (uint64_t)mmio_read32(virtio->common + VIRTIO_DEVICE_FEATURE) << (32 * half);
    }
    if ((offered & required) != required) {
        log_error("virtio %s: features 0x%llx are offered, 0x%llx are needed", virtio->pci->name,
                  (unsigned long long)offered, (unsigned long long)required);
        return -ENOTSUP;
    }
    virtio->features = offered & (wanted | required);
    for (unsigned half = 0; half < 2; half++) {
        mmio_write32(virtio->common + VIRTIO_DRIVER_FEATURE_SELECT, half);
        mmio_write32(virtio->common + VIRTIO_DRIVER_FEATURE,
                     (uint32_t)(virtio->features >> (32 * half)));
    }
    set_status(virtio, VIRTIO_STATUS_FEATURES_OK);
    if (!(virtio_status(virtio) & VIRTIO_STATUS_FEATURES_OK)) {
        log_error("virtio %s: features 0x%llx were refused", virtio->pci->name,
                  (unsigned long long)virtio->features);
        return -ENOTSUP;
    }
    return 0;
}

int virtio_start(struct virtio *virtio, struct pci_device *pci, uint64_t wanted, uint64_t required)
{
    *virtio = (struct virtio){.pci = pci};
    int error = map_windows(virtio);
    if (error == 0)
        error = virtio_reset(virtio);
    if (error != 0)
        return error;
    set_status(virtio, VIRTIO_STATUS_ACKNOWLEDGE);
    set_status(virtio, VIRTIO_STATUS_DRIVER);
    return negotiate(virtio, wanted, required);
}

void virtio_close(struct virtio *virtio)
{
    for (unsigned i = 0; i < ARRAY_COUNT(virtio->bar); i++)
        if (virtio->bar[i] != NULL)
            mmio_unmap(virtio->bar[i], virtio->pci->bar[i].size_bytes);
}

int virtio_set_config_vector(struct virtio *virtio, uint16_t vector)
{
    mmio_write16(virtio->common + VIRTIO_CONFIG_MSIX_VECTOR, vector);
    return mmio_read16(virtio->common + VIRTIO_CONFIG_MSIX_VECTOR) == vector ? 0 : -ENOSPC;
}

void virtio_driver_ok(struct virtio *virtio)
{
    set_status(virtio, VIRTIO_STATUS_DRIVER_OK);
}

/* ---- queues (2.7, 4.1.5.1.3) ----------------------------------------------------------------- */

static void write_address(volatile uint8_t *reg, uint64_t address)
{
    mmio_write32(reg, (uint32_t)address); /* 64-bit fields are written in halves (4.1.3.1) */
    mmio_write32(reg + 4, (uint32_t)(address >> 32));
}

int virtq_create(struct virtq *queue, struct virtio *virtio, uint16_t number, uint16_t size_max,
                 uint16_t vector)
{
    volatile uint8_t *common = virtio->common;
    *queue = (struct virtq){.number = number,
                            .has_event_index = (virtio->features & VIRTIO_F_EVENT_IDX) != 0};
    if (number >= mmio_read16(common + VIRTIO_NUM_QUEUES))
        return -ENODEV;
    mmio_write16(common + VIRTIO_QUEUE_SELECT, number);
    uint16_t size = mmio_read16(common + VIRTIO_QUEUE_SIZE);
    uint32_t doorbell = mmio_read16(common + VIRTIO_QUEUE_NOTIFY_OFF);
    if (size == 0 || (size & (size - 1)) != 0 || size > 32768 ||
        doorbell * (uint64_t)virtio->notify_multiplier > virtio->notify_bytes - 2) {
        log_error("virtio %s: queue %u has size %u and doorbell %u", virtio->pci->name, number,
                  size, doorbell);
        return -ENOTSUP;
    }
    queue->size = size = size < size_max ? size : size_max;
    queue->doorbell = virtio->notify + doorbell * virtio->notify_multiplier;

    /* Descriptors, available ring (2.7.6) and used ring (2.7.8) behind one another; all have even
     * sizes. */
    uint64_t avail_at = 16u * size, used_at = align_up(avail_at + 6 + 2u * size, 4);
    queue->memory_bytes = used_at + 6 + 8u * size;
    uint8_t *memory = queue->memory = page_alloc(queue->memory_bytes, 0);
    if (memory == NULL)
        return -ENOMEM;
    queue->desc = (volatile struct virtq_desc *)memory;
    queue->avail_flags = (volatile uint16_t *)(memory + avail_at);
    queue->avail_index = queue->avail_flags + 1;
    queue->avail_ring = queue->avail_flags + 2;
    queue->used_event = queue->avail_ring + size;
    queue->used_flags = (volatile uint16_t *)(memory + used_at);
    queue->used_index = queue->used_flags + 1;
    queue->used_ring = (volatile struct virtq_used_element *)(memory + used_at + 4);
    queue->avail_event = (volatile uint16_t *)(queue->used_ring + size);
    virtq_disarm(queue);

    uint64_t dma = dma_addr(memory);
    mmio_write16(common + VIRTIO_QUEUE_SIZE, size);
    write_address(common + VIRTIO_QUEUE_DESC, dma);
    write_address(common + VIRTIO_QUEUE_DRIVER, dma + avail_at);
    write_address(common + VIRTIO_QUEUE_DEVICE, dma + used_at);
    mmio_write16(common + VIRTIO_QUEUE_MSIX_VECTOR, vector);
    if (mmio_read16(common + VIRTIO_QUEUE_MSIX_VECTOR) != vector) {
        virtq_destroy(queue);
        return -ENOSPC;
    }
    mmio_write16(common + VIRTIO_QUEUE_ENABLE, 1);
    return 0;
}

void virtq_destroy(struct virtq *queue)
{
    if (queue->memory != NULL)
        page_free(queue->memory, queue->memory_bytes);
    queue->memory = NULL;
}

/* True when going from index `old` to `new` passes `event` (2.7.10.1). */
static bool passes(uint16_t event, uint16_t new, uint16_t old)
{
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void virtq_kick(struct virtq *queue)
{
    uint16_t old = queue->kicked, new = queue->available;
    if (new == old)
        return;
    dma_wmb(); /* descriptors and ring entries before the index that uncovers them */
    *queue->avail_index = new;
    queue->kicked = new;
    dma_mb(); /* the index must be out before we read whether the device still looks by itself */
    bool is_wanted = queue->has_event_index ? passes(*queue->avail_event, new, old)
                                            : !(*queue->used_flags & VIRTQ_USED_NO_NOTIFY);
    if (is_wanted)
        mmio_write16(queue->doorbell, queue->number);
}

int virtq_next_used(struct virtq *queue, uint16_t *id, uint32_t *size_bytes)
{
    uint16_t pending = (uint16_t)(*queue->used_index - queue->used);
    if (pending == 0)
        return 0;
    dma_rmb(); /* the entry is read after the index that covers it */
    const volatile struct virtq_used_element *entry =
        &queue->used_ring[queue->used & (queue->size - 1)];
    uint32_t head = entry->id;
    if (pending > queue->size || head >= queue->size)
        return -EIO;
    *id = (uint16_t)head;
    *size_bytes = entry->size_bytes;
    queue->used++;
    return 1;
}

bool virtq_arm(struct virtq *queue)
{
    if (queue->has_event_index)
        *queue->used_event = queue->used;
    else
        *queue->avail_flags = 0;
    dma_mb(); /* the wish must be visible before we look whether it came too late */
    return *queue->used_index != queue->used;
}

/* With event indices: an index that was just passed comes round again only after 65535 entries. */
void virtq_disarm(struct virtq *queue)
{
    if (queue->has_event_index)
        *queue->used_event = (uint16_t)(queue->used - 1);
    else
        *queue->avail_flags = VIRTQ_AVAIL_NO_INTERRUPT;
}
