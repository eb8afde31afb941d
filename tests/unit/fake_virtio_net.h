/*
 * tests/unit/fake_virtio_net.h: a modern virtio network device on PCI, written from VIRTIO 1.2 (OASIS 2022),
 * chapters 2.7, 4.1 and 5.1. BAR 4 holds its registers; the mmio functions below are this device. It can be told to
 * misbehave.
 */
#ifndef INGOT_TEST_FAKE_VIRTIO_NET_H
#define INGOT_TEST_FAKE_VIRTIO_NET_H

#include "runtime/net/virtio.h" /* struct virtq_desc */
#include "tests/unit/nic_fixture.h"

#define FAKE_BAR_BYTES 0x4000
#define FAKE_COMMON    0x0000
#define FAKE_NOTIFY    0x1000
#define FAKE_CONFIG    0x3000
#define FAKE_HEADER    12

struct fake_queue {
    uint16_t size, enabled, vector;
    uint64_t desc, driver, device;
    uint16_t seen;      /* available entries taken */
    uint16_t used;      /* used entries written */
    uint16_t signalled; /* `used` at the last interrupt decision */
    unsigned kicks;
};

static struct fake_virtio_net {
    struct pci_device *pci;
    uint8_t *bar;
    uint64_t offered, accepted;
    uint32_t feature_select, driver_feature_select;
    uint16_t queue_select, config_vector;
    uint8_t status, mac[6];
    uint16_t link_status;
    struct fake_queue queue[2];
    unsigned interrupts;
    /* misbehaviour */
    bool never_resets, refuses_features, is_gone, refuses_vectors;
    uint16_t queue_size, queue_count;
} fake;

/* ---- registers ------------------------------------------------------------------------------- */

static uint64_t fake_read(unsigned offset, unsigned bytes)
{
    struct fake_queue *queue = &fake.queue[fake.queue_select & 1];
    if (fake.is_gone)
        return UINT64_MAX;
    if (offset >= FAKE_CONFIG) {
        offset -= FAKE_CONFIG;
        assert_true(offset + bytes <= 8);
        return offset < 6 ? fake.mac[offset] : fake.link_status;
    }
    switch (offset - FAKE_COMMON) {
    case 0x04:
        return fake.feature_select < 2 ? (uint32_t)(fake.offered >> (32 * fake.feature_select)) : 0;
    case 0x10:
        return fake.refuses_vectors ? 0xffff : fake.config_vector;
    case 0x12:
        return fake.queue_count;
    case 0x14:
        assert_int_equal(bytes, 1);
        return fake.status;
    case 0x18:
        return fake.queue_select < fake.queue_count ? queue->size : 0;
    case 0x1a:
        return fake.refuses_vectors ? 0xffff : queue->vector;
    case 0x1e:
        return fake.queue_select;
    }
    fail_msg("read of 0x%x", offset);
    return 0;
}

static void fake_reset(void)
{
    uint16_t size = fake.queue_size;
    memset(fake.queue, 0, sizeof(fake.queue));
    fake.queue[0].size = fake.queue[1].size = size;
    fake.accepted = 0;
}

static void put32(uint64_t *field, bool is_high, uint32_t value)
{
    *field = is_high ? (*field & UINT32_MAX) | (uint64_t)value << 32
                     : (*field & ~(uint64_t)UINT32_MAX) | value;
}

static void fake_write(unsigned offset, uint32_t value)
{
    struct fake_queue *queue = &fake.queue[fake.queue_select & 1];
    if (fake.is_gone)
        return;
    if (offset >= FAKE_NOTIFY && offset < FAKE_CONFIG) {
        unsigned number = (offset - FAKE_NOTIFY) / 4;
        assert_true(number < 2 && value == number);
        fake.queue[number & 1].kicks++;
        return;
    }
    switch (offset - FAKE_COMMON) {
    case 0x00:
        fake.feature_select = value;
        return;
    case 0x08:
        fake.driver_feature_select = value;
        return;
    case 0x0c:
        put32(&fake.accepted, fake.driver_feature_select == 1, value);
        return;
    case 0x10:
        fake.config_vector = (uint16_t)value;
        return;
    case 0x14:
        if (value == 0)
            fake_reset();
        if (value == 0 && fake.never_resets)
            return;
        fake.status = (uint8_t)value;
        if (fake.refuses_features)
            fake.status &= (uint8_t)~8u;
        return;
    case 0x16:
        fake.queue_select = (uint16_t)value;
        return;
    case 0x18:
        queue->size = (uint16_t)value;
        return;
    case 0x1a:
        queue->vector = (uint16_t)value;
        return;
    case 0x1c:
        queue->enabled = (uint16_t)value;
        return;
    case 0x20:
    case 0x24:
        put32(&queue->desc, offset & 4, value);
        return;
    case 0x28:
    case 0x2c:
        put32(&queue->driver, offset & 4, value);
        return;
    case 0x30:
    case 0x34:
        put32(&queue->device, offset & 4, value);
        return;
    }
    fail_msg("write of 0x%x", offset);
}

static bool fake_owns(const volatile void *reg, unsigned *offset)
{
    uintptr_t at = (uintptr_t)reg - (uintptr_t)fake.bar;
    *offset = (unsigned)at;
    return fake.bar != NULL && at < FAKE_BAR_BYTES;
}

#define FAKE_ACCESS(bits) \
    uint##bits##_t mmio_read##bits(const volatile void *reg) \
    { \
        unsigned offset; \
        return fake_owns(reg, &offset) ? (uint##bits##_t)fake_read(offset, bits / 8) \
                                       : *(const volatile uint##bits##_t *)reg; \
    } \
    void mmio_write##bits(volatile void *reg, uint##bits##_t value) \
    { \
        unsigned offset; \
        assert_true(fake_owns(reg, &offset)); \
        fake_write(offset, (uint32_t)value); \
    }
FAKE_ACCESS(8)
FAKE_ACCESS(16)
FAKE_ACCESS(32)
FAKE_ACCESS(64)

/* ---- rings: the device's side ---------------------------------------------------------------- */

static void *fake_dma(uint64_t address)
{
    assert_true(host_pci_is_bus_master(fake.pci));
    return (void *)(uintptr_t)address;
}

static bool fake_has_event_index(void)
{
    return (fake.accepted >> 29 & 1) != 0;
}

/* The next available chain's head, or -1. */
static int fake_take(struct fake_queue *queue)
{
    uint16_t *avail = fake_dma(queue->driver);
    assert_true(queue->enabled && (uint16_t)(avail[1] - queue->seen) <= queue->size);
    if (avail[1] == queue->seen)
        return -1;
    uint16_t head = avail[2 + (queue->seen++ & (queue->size - 1))];
    assert_true(head < queue->size);
    return head;
}

/* Report a chain as done, and interrupt if the driver asked for it (2.7.7.1, 2.7.10). */
static void fake_used(struct fake_queue *queue, uint32_t id, uint32_t bytes)
{
    uint16_t *avail = fake_dma(queue->driver), *used = fake_dma(queue->device);
    uint32_t *element = (uint32_t *)(used + 2) + 2 * (queue->used & (queue->size - 1));
    element[0] = id;
    element[1] = bytes;
    uint16_t old = queue->used++;
    used[1] = queue->used;
    bool wanted = fake_has_event_index() ? avail[2 + queue->size] == old : (avail[0] & 1) == 0;
    if (wanted && queue->vector != 0xffff) {
        fake.interrupts++;
        host_pci_msix_raise(fake.pci, queue->vector);
    }
}

/* Where the device wants the next kick: after the entry with this index. Without event indices: on or off. */
static void fake_want_kick(struct fake_queue *queue, bool wanted)
{
    uint16_t *used = fake_dma(queue->device);
    if (fake_has_event_index())
        *(uint16_t *)((uint32_t *)(used + 2) + 2 * queue->size) =
            (uint16_t)(wanted ? queue->seen : queue->seen - 1);
    else
        used[0] = !wanted;
}

/* A frame arrives: false when the ring is empty. claimed_bytes: what the used element says, 0: the truth. */
static bool fake_deliver(const void *frame, unsigned bytes, uint8_t flags, uint8_t gso_type,
                         uint32_t claimed_bytes)
{
    struct fake_queue *queue = &fake.queue[0];
    int head = fake_take(queue);
    if (head < 0)
        return false;
    struct virtq_desc *desc = (struct virtq_desc *)fake_dma(queue->desc) + head;
    assert_int_equal(desc->flags, 2);
    assert_true(desc->size_bytes >= FAKE_HEADER + bytes);
    uint8_t *at = fake_dma(desc->address);
    memset(at, 0, FAKE_HEADER);
    at[0] = flags;
    at[1] = gso_type;
    memcpy(at + FAKE_HEADER, frame, bytes);
    fake_used(queue, (uint32_t)head, claimed_bytes != 0 ? claimed_bytes : FAKE_HEADER + bytes);
    return true;
}

/* Take a frame to send: header and data go to out; returns the bytes, or -1. *head is not yet reported as done. */
static int fake_fetch(uint8_t *out, unsigned *head)
{
    struct fake_queue *queue = &fake.queue[1];
    int at = fake_take(queue);
    if (at < 0)
        return -1;
    *head = (unsigned)at;
    const struct virtq_desc *table = fake_dma(queue->desc);
    unsigned bytes = 0;
    for (unsigned i = 0;; i++) {
        const struct virtq_desc *desc = &table[at];
        assert_true(i < queue->size && (desc->flags & 2) == 0);
        memcpy(out + bytes, fake_dma(desc->address), desc->size_bytes);
        bytes += desc->size_bytes;
        if ((desc->flags & 1) == 0)
            return (int)bytes;
        at = desc->next;
        assert_true(at < queue->size);
    }
}

/* ---- configuration space --------------------------------------------------------------------- */

static void fake_capability(unsigned at, unsigned next, uint8_t type, uint8_t bar, uint32_t offset,
                            uint32_t length)
{
    uint8_t *config = host_pci_config(fake.pci) + at;
    config[0] = 0x09;
    config[1] = (uint8_t)next;
    config[2] = type == 2 ? 20 : 16;
    config[3] = type;
    config[4] = bar;
    memcpy(config + 8, &offset, 4);
    memcpy(config + 12, &length, 4);
    if (type == 2)
        memcpy(config + 16, &(uint32_t){4}, 4);
}

static void fake_attach(void)
{
    fixture_init();
    uint8_t *bar = calloc(1, FAKE_BAR_BYTES);
    fake = (struct fake_virtio_net){.bar = bar,
                                    .offered = BIT(0) | BIT(1) | BIT(5) | BIT(15) | BIT(16) |
                                               BIT(17) | BIT(28) | BIT(29) | BIT(32),
                                    .mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56},
                                    .link_status = 1,
                                    .status = 0x0f,
                                    .queue_size = 256,
                                    .queue_count = 2};
    struct pci_device device = {.vendor_id = 0x1af4, .device_id = 0x1041, .base_class = 2};
    device.bar[4] = (struct pci_bar){.pa = 0xfe000000, .size_bytes = FAKE_BAR_BYTES, .is_64 = true};
    fake.pci = host_pci_add(&device, (void *[6]){[4] = bar});
    host_pci_msix_entries(fake.pci, 3);
    uint8_t *config = host_pci_config(fake.pci);
    config[0x06] |= 0x10;
    config[0x34] = 0x40;
    fake_capability(0x40, 0x54, 1, 4, FAKE_COMMON, 0x1000);
    fake_capability(0x54, 0x70, 3, 4, 0x2000, 4); /* ISR status, which the driver does not use */
    fake_capability(0x70, 0x80, 4, 4, FAKE_CONFIG, 0x1000);
    fake_capability(0x80, 0, 2, 4, FAKE_NOTIFY, 0x1000);
}

static void fake_detach(void)
{
    fixture_finish();
    free(fake.bar);
    fake.bar = NULL;
}

#endif
