/*
 * gpu/nvidia/gsp/rpc_queue.c: the shared memory between the CPU and the GSP: two rings of 4 KiB elements.
 *
 * Source: open-gpu-kernel-modules 570.144, message_queue_cpu.c (GspMsgQueuesInit, GspMsgQueueSendCommand,
 * GspMsgQueueReceiveStatus), msgq.c (msgqTxCreate, msgqRxLink and the index arithmetic). Layout: rpc_abi.h.
 *
 * Indexes run from 0 to the element count minus one; equal ones mean empty, so one element always stays free. The GSP makes
 * its queue's header when it starts; until that header makes sense there is nothing to read, and its read pointer counts
 * as 0. What it writes is checked here and nowhere else: the header once, the write and read pointers at every look, each
 * record in our private copy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/regs/pgsp.h"
#include "gpu/nvidia/gsp/rpc_queue.h"

/* Where the receive header goes: behind the transmit header, 16-byte aligned (GSP_MSG_QUEUE_HEADER_ALIGN). */
#define RX_HEADER_OFFSET 32u

#define TAKE_ATTEMPTS \
    4 /* looks at one bad record: the GSP may publish an index before its data has arrived */
#define TAKE_RETRY_NS (100 * NS_PER_US)

static uint32_t load32(const uint8_t *shared)
{
    uint32_t value = *(const volatile uint32_t *)shared;
    dma_rmb(); /* what the index covers is read after the index */
    return value;
}

static void store32(uint8_t *shared, uint32_t value)
{
    *(volatile uint32_t *)shared = value;
}

static int broken(struct rpc *rpc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int broken(struct rpc *rpc, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(rpc->error, sizeof(rpc->error), fmt, args);
    va_end(args);
    rpc->broken = true;
    return -EPROTO;
}

/* Xor all of it into *sum; n may end anywhere: what is missing to 8 bytes counts as zeros. */
static void sum_add(uint64_t *sum, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        *sum ^= word;
    }
    if (n > 0) {
        uint64_t word = 0;
        memcpy(&word, p, n);
        *sum ^= word;
    }
}

static uint32_t sum_fold(uint64_t sum)
{
    return (uint32_t)(sum >> 32) ^ (uint32_t)sum;
}

uint32_t rpc_checksum(const void *bytes, size_t n)
{
    uint64_t sum = 0;
    assert(n % 8 == 0);
    sum_add(&sum, bytes, n);
    return sum_fold(sum);
}

int rpc_queue_create(struct rpc *rpc)
{
    /* The table has an entry for each page of the area, its own included (_getMsgQueueParams). */
    uint64_t queue_pages = 2 * RPC_QUEUE_BYTES / RPC_PAGE_BYTES;
    uint64_t table_pages = (queue_pages * 8 + RPC_PAGE_BYTES - 1) / RPC_PAGE_BYTES;
    rpc->page_count = (uint32_t)(queue_pages + table_pages);
    rpc->command_offset = align_up(rpc->page_count * UINT64_C(8), RPC_PAGE_BYTES);
    rpc->status_offset = rpc->command_offset + RPC_QUEUE_BYTES;
    rpc->shared_bytes = rpc->status_offset + RPC_QUEUE_BYTES;

    rpc->record = malloc(RPC_RECORD_ELEMENTS_MAX * RPC_ELEMENT_BYTES);
    rpc->shared = page_alloc(rpc->shared_bytes, RPC_PAGE_BYTES);
    if (rpc->record == NULL || rpc->shared == NULL) {
        rpc_queue_destroy(rpc);
        return -ENOMEM;
    }
    rpc->shared_dma = dma_addr(rpc->shared);
    for (uint32_t i = 0; i < rpc->page_count; i++) {
        uint64_t bus = rpc->shared_dma + i * UINT64_C(4096);
        memcpy(rpc->shared + i * UINT64_C(8), &bus, sizeof(bus));
    }

    rpc->element_count = (RPC_QUEUE_BYTES - RPC_PAGE_BYTES) / RPC_ELEMENT_BYTES;
    struct msgq_tx_header header = {
        .version = MSGQ_VERSION,
        .size_bytes = RPC_QUEUE_BYTES,
        .element_bytes = RPC_ELEMENT_BYTES,
        .element_count = rpc->element_count,
        .flags = MSGQ_FLAGS_SWAP_RX,
        .rx_header_offset = RX_HEADER_OFFSET,
        .entry_offset = RPC_PAGE_BYTES,
    };
    memcpy(rpc->shared + rpc->command_offset, &header, sizeof(header));
    return 0;
}

void rpc_queue_destroy(struct rpc *rpc)
{
    if (rpc->shared != NULL)
        page_free(rpc->shared, rpc->shared_bytes);
    free(rpc->record);
    rpc->shared = NULL;
    rpc->record = NULL;
}

/* Look whether the GSP has made its queue. False until its header is whole: it is not written in one piece. */
static bool link_status(struct rpc *rpc)
{
    if (rpc->status_linked)
        return true;
    struct msgq_tx_header header;
    dma_mb();
    memcpy(&header, rpc->shared + rpc->status_offset, sizeof(header));
    dma_rmb(); /* used from the copy only */
    if (header.size_bytes == 0)
        return false;
    bool is_good =
        header.version == MSGQ_VERSION && header.size_bytes == RPC_QUEUE_BYTES &&
        header.element_bytes == RPC_ELEMENT_BYTES && (header.flags & MSGQ_FLAGS_SWAP_RX) != 0 &&
        header.rx_header_offset >= sizeof(header) && header.rx_header_offset % 4 == 0 &&
        header.rx_header_offset <= RPC_PAGE_BYTES && header.entry_offset % 16 == 0 &&
        header.entry_offset >= header.rx_header_offset + sizeof(struct msgq_rx_header) &&
        header.entry_offset <= RPC_QUEUE_BYTES - RPC_ELEMENT_BYTES &&
        header.element_count == (RPC_QUEUE_BYTES - header.entry_offset) / RPC_ELEMENT_BYTES;
    if (!is_good) {
        snprintf(
            rpc->error, sizeof(rpc->error),
            "the GSP's status queue has a strange header: version %u, %u bytes, %u elements of %u, "
            "flags %#x, offsets %#x %#x",
            header.version, header.size_bytes, header.element_count, header.element_bytes,
            header.flags, header.rx_header_offset, header.entry_offset);
        return false;
    }
    rpc->status_element_count = header.element_count;
    rpc->status_entry_offset = header.entry_offset;
    rpc->status_rx_offset = header.rx_header_offset;
    rpc->status_linked = true;
    rpc->error[0] = '\0';
    return true;
}

/* Copy `count` elements from the read index on. */
static void copy_elements(struct rpc *rpc, uint32_t first, uint32_t count)
{
    const uint8_t *entries = rpc->shared + rpc->status_offset + rpc->status_entry_offset;
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t slot = (rpc->status_read + i) % rpc->status_element_count;
        memcpy(rpc->record + (size_t)i * RPC_ELEMENT_BYTES,
               entries + (size_t)slot * RPC_ELEMENT_BYTES, RPC_ELEMENT_BYTES);
    }
    dma_rmb(); /* from here on the copy alone is looked at */
}

const struct rpc_message_header *rpc_queue_message(const struct rpc *rpc)
{
    return (const struct rpc_message_header *)(rpc->record + sizeof(struct rpc_element_header));
}

const uint8_t *rpc_queue_payload(const struct rpc *rpc)
{
    return rpc->record + RPC_HEADERS_BYTES;
}

size_t rpc_queue_payload_bytes(const struct rpc *rpc)
{
    return rpc_queue_message(rpc)->length_bytes - sizeof(struct rpc_message_header);
}

/*
 * Copy the record at the read index and check all but its sequence number. Returns its elements, 0 when the queue is empty, or
 * -EAGAIN with rpc->error filled in: it may look better in a moment.
 */
static int read_record(struct rpc *rpc)
{
    uint32_t write =
        load32(rpc->shared + rpc->status_offset + offsetof(struct msgq_tx_header, write_index));
    uint32_t count = rpc->status_element_count;
    if (write >= count)
        return broken(rpc, "the GSP's write index %u is past its queue's %u elements", write,
                      count);
    uint32_t available = (write + count - rpc->status_read) % count;
    if (available == 0)
        return 0;

    const struct rpc_element_header *element = (const struct rpc_element_header *)rpc->record;
    copy_elements(rpc, 0, 1);
    uint32_t elements = element->element_count;
    if (elements == 0 || elements > RPC_RECORD_ELEMENTS_MAX || elements > available) {
        snprintf(
            rpc->error, sizeof(rpc->error),
            "a record of %u elements in the GSP's queue, where %u are filled and %u are the most",
            elements, available, RPC_RECORD_ELEMENTS_MAX);
        return -EAGAIN;
    }
    copy_elements(rpc, 1, elements - 1);

    uint32_t length = rpc_queue_message(rpc)->length_bytes;
    size_t room = (size_t)elements * RPC_ELEMENT_BYTES - sizeof(*element);
    if (length < sizeof(struct rpc_message_header) || length > room) {
        snprintf(rpc->error, sizeof(rpc->error),
                 "a message of %u bytes in a record of %u elements of the GSP's queue", length,
                 elements);
        return -EAGAIN;
    }
    if (rpc_queue_message(rpc)->signature != NV_VGPU_MSG_SIGNATURE_VALID) {
        snprintf(rpc->error, sizeof(rpc->error),
                 "a record of the GSP's queue begins with %#x, not with a message's signature",
                 rpc_queue_message(rpc)->signature);
        return -EAGAIN;
    }
    uint32_t sum = rpc_checksum(rpc->record, align_up(sizeof(*element) + length, 8));
    if (sum != 0) {
        snprintf(rpc->error, sizeof(rpc->error),
                 "bad checksum in the GSP's queue: record %u, function %#x, %u bytes, off by %#x",
                 element->sequence, rpc_queue_message(rpc)->function, length, sum);
        return -EAGAIN;
    }
    return (int)elements;
}

int rpc_queue_take(struct rpc *rpc)
{
    if (rpc->broken)
        return -EPROTO;
    if (!link_status(rpc))
        return 0;
    for (unsigned attempt = 1;; attempt++) {
        int elements = read_record(rpc);
        if (elements == 0 || elements == -EPROTO)
            return elements;
        if (elements == -EAGAIN) {
            if (attempt == TAKE_ATTEMPTS) {
                rpc->broken = true;
                return -EPROTO;
            }
            rpc->retries++;
            task_sleep_until(time_ns() + TAKE_RETRY_NS);
            continue;
        }

        uint32_t sequence = ((const struct rpc_element_header *)rpc->record)->sequence;
        dma_mb(); /* the elements are copied before they are given back */
        rpc->status_read = (rpc->status_read + (uint32_t)elements) % rpc->status_element_count;
        store32(rpc->shared + rpc->command_offset + RX_HEADER_OFFSET, rpc->status_read);
        if (sequence != rpc->status_sequence)
            return broken(rpc, "record %u came from the GSP where %u was next", sequence,
                          rpc->status_sequence);
        rpc->status_sequence++;
        if (attempt > 1)
            rpc->error[0] = '\0';
        return 1;
    }
}

unsigned rpc_queue_elements(size_t payload_bytes)
{
    return (unsigned)((RPC_HEADERS_BYTES + payload_bytes + RPC_ELEMENT_BYTES - 1) /
                      RPC_ELEMENT_BYTES);
}

int rpc_queue_room(struct rpc *rpc)
{
    if (rpc->broken)
        return -EPROTO;
    uint32_t read = 0;
    if (link_status(rpc)) {
        read = load32(rpc->shared + rpc->status_offset + rpc->status_rx_offset);
        if (read >= rpc->element_count)
            return broken(rpc, "the GSP's read index %u is past the command queue's %u elements",
                          read, rpc->element_count);
    }
    return (int)((read + rpc->element_count - rpc->command_write - 1) % rpc->element_count);
}

/* Copy n bytes into the record that starts at the write index; the record's bytes wrap with the ring. */
static void put_bytes(struct rpc *rpc, size_t at, const void *bytes, size_t n)
{
    uint8_t *entries = rpc->shared + rpc->command_offset + RPC_PAGE_BYTES;
    size_t ring = (size_t)rpc->element_count * RPC_ELEMENT_BYTES;
    size_t offset = ((size_t)rpc->command_write * RPC_ELEMENT_BYTES + at) % ring;
    size_t first = min_u64(n, ring - offset);
    if (bytes == NULL) {
        memset(entries + offset, 0, first);
        memset(entries, 0, n - first);
    } else if (n > 0) {
        memcpy(entries + offset, bytes, first);
        memcpy(entries, (const uint8_t *)bytes + first, n - first);
    }
}

void rpc_queue_put(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes)
{
    assert(bytes <= RPC_RECORD_PAYLOAD_MAX);
    struct rpc_element_header element = {
        .sequence = rpc->command_sequence++,
        .element_count = rpc_queue_elements(bytes),
    };
    struct rpc_message_header message = {
        .header_version = NV_VGPU_MSG_HEADER_VERSION,
        .signature = NV_VGPU_MSG_SIGNATURE_VALID,
        .length_bytes = (uint32_t)(sizeof(message) + bytes),
        .function = function,
        .result = NV_VGPU_MSG_RESULT_RPC_PENDING,
        .result_private = NV_VGPU_MSG_RESULT_RPC_PENDING,
    };
    uint64_t sum = 0;
    sum_add(&sum, &element, sizeof(element));
    sum_add(&sum, &message, sizeof(message));
    if (bytes > 0)
        sum_add(&sum, payload, bytes);
    element.checksum = sum_fold(sum);

    put_bytes(rpc, 0, &element, sizeof(element));
    put_bytes(rpc, sizeof(element), &message, sizeof(message));
    if (bytes > 0)
        put_bytes(rpc, RPC_HEADERS_BYTES, payload, bytes);
    size_t end = RPC_HEADERS_BYTES + bytes;
    put_bytes(rpc, end, NULL, (size_t)element.element_count * RPC_ELEMENT_BYTES - end);

    rpc->command_write = (rpc->command_write + element.element_count) % rpc->element_count;
    dma_wmb(); /* the record must be in memory before the index says so */
    store32(rpc->shared + rpc->command_offset + offsetof(struct msgq_tx_header, write_index),
            rpc->command_write);
    dma_mb(); /* and the index before the GSP hears of it */
    hw_write32(rpc->hw, NV_PGSP_QUEUE_HEAD(0), 0);
}
