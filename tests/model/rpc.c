/*
 * tests/model/rpc.c: the GSP's end of the two message queues.
 *
 * Both lie in guest memory, one behind the other, and are reached through a page table there: 4 KiB pages, their bus
 * addresses as 8-byte words. Each queue begins with a transmit header (its writer's) and a receive header, which
 * holds the read pointer of the other queue; elements of 4 KiB follow. A record is an element header, a message
 * header and the payload, in 1 to 16 elements; the xor of all its 32-bit words is zero. Longer payloads go on in
 * CONTINUATION_RECORDs.
 *
 * Sources (OGKM 570.144): message_queue_priv.h (element, checksum, sizes), message_queue_cpu.c (page table, order),
 * msgq.c and msgq_priv.h (headers, what msgqRxLink checks), g_rpc-message-header.h, rpc.c (_issueRpcLarge: which
 * records follow).
 *
 * The checks are the firmware's own and those of the drivers' protocol: a record with a wrong checksum, number or
 * length is dropped (GSP-RM logs and goes on), a broken pointer ends the queue.
 */
#include <stdlib.h>

#include "tests/model/gsp.h"

/* MESSAGE_QUEUE_INIT_ARGUMENTS, gsp_init_args.h */
#define ARGUMENT_SHARED   0
#define ARGUMENT_PAGES    8
#define ARGUMENT_COMMAND  16
#define ARGUMENT_STATUS   24
/* msgqTxHeader, msgq_priv.h */
#define TX_VERSION        0
#define TX_SIZE           4
#define TX_MESSAGE_BYTES  8
#define TX_MESSAGE_COUNT  12
#define TX_WRITE          16
#define TX_FLAGS          20
#define TX_RX_OFFSET      24
#define TX_ENTRY_OFFSET   28
#define TX_BYTES          32
#define FLAGS_SWAP_RX     1
#define RX_OFFSET         32 /* sizeof(msgqTxHeader), aligned to 1 << GSP_MSG_QUEUE_HEADER_ALIGN */
#define ELEMENT_BYTES     4096u
/* GSP_MSG_QUEUE_ELEMENT, message_queue_priv.h */
#define ELEMENT_CHECKSUM  32
#define ELEMENT_SEQUENCE  36
#define ELEMENT_COUNT     40
/* rpc_message_header_v, g_rpc-message-header.h */
#define MESSAGE_VERSION   (ELEMENT_HEADER_BYTES + 0)
#define MESSAGE_SIGNATURE (ELEMENT_HEADER_BYTES + 4)
#define MESSAGE_LENGTH    (ELEMENT_HEADER_BYTES + 8)
#define MESSAGE_FUNCTION  (ELEMENT_HEADER_BYTES + 12)
#define MESSAGE_RESULT    (ELEMENT_HEADER_BYTES + 16)
#define MESSAGE_PRIVATE   (ELEMENT_HEADER_BYTES + 20)
#define MESSAGE_SEQUENCE  (ELEMENT_HEADER_BYTES + 24)
#define MESSAGE_SPARE     (ELEMENT_HEADER_BYTES + 28)
#define HEADERS_BYTES     (ELEMENT_HEADER_BYTES + MESSAGE_HEADER_BYTES)
#define VERSION_3_0       UINT32_C(0x03000000) /* NV_VGPU_MSG_HEADER_VERSION: major 3 in bits 31:24 */
#define SIGNATURE         UINT32_C(0x43505256) /* NV_VGPU_MSG_SIGNATURE_VALID, "VRPC" */

#define RECORD_BYTES_MAX  (RECORD_ELEMENTS_MAX * ELEMENT_BYTES)
#define WAITING_MAX       64

struct record {
    struct record *next;
    unsigned elements;
    uint8_t data[RECORD_BYTES_MAX];
};

static void flush(struct model *m, void *arg);

const char *function_name(uint32_t function)
{
    static const struct {
        uint32_t function;
        const char *name;
    } names[] = {
        {FN_ALLOC_MEMORY, "ALLOC_MEMORY"},
        {FN_FREE, "FREE"},
        {FN_DUP_OBJECT, "DUP_OBJECT"},
        {FN_UNLOADING_GUEST_DRIVER, "UNLOADING_GUEST_DRIVER"},
        {FN_SET_PAGE_DIRECTORY, "SET_PAGE_DIRECTORY"},
        {FN_GET_GSP_STATIC_INFO, "GET_GSP_STATIC_INFO"},
        {FN_UPDATE_BAR_PDE, "UPDATE_BAR_PDE"},
        {FN_CONTINUATION_RECORD, "CONTINUATION_RECORD"},
        {FN_SET_SYSTEM_INFO, "GSP_SET_SYSTEM_INFO"},
        {FN_SET_REGISTRY, "SET_REGISTRY"},
        {FN_RM_CONTROL, "GSP_RM_CONTROL"},
        {FN_UNSET_PAGE_DIRECTORY, "UNSET_PAGE_DIRECTORY"},
        {FN_RM_ALLOC, "GSP_RM_ALLOC"},
        {FN_INVALIDATE_TLB, "INVALIDATE_TLB"},
        {FN_ECC_NOTIFIER_WRITE_ACK, "ECC_NOTIFIER_WRITE_ACK"},
        {EVENT_GSP_INIT_DONE, "GSP_INIT_DONE"},
        {EVENT_RUN_CPU_SEQUENCER, "GSP_RUN_CPU_SEQUENCER"},
        {EVENT_POST_EVENT, "POST_EVENT"},
        {EVENT_RC_TRIGGERED, "RC_TRIGGERED"},
        {EVENT_MMU_FAULT_QUEUED, "MMU_FAULT_QUEUED"},
        {EVENT_OS_ERROR_LOG, "OS_ERROR_LOG"},
        {EVENT_PERF_BRIDGELESS_INFO_UPDATE, "PERF_BRIDGELESS_INFO_UPDATE"},
        {EVENT_LOCKDOWN_NOTICE, "GSP_LOCKDOWN_NOTICE"},
        {EVENT_POST_NOCAT_RECORD, "GSP_POST_NOCAT_RECORD"},
    };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].function == function)
            return names[i].name;
    return "unknown function";
}

/* ---- shared memory ----------------------------------------------------------------------------------------------- */

static bool shared(struct model *m, uint64_t offset, void *data, size_t bytes, bool is_write)
{
    struct queues *q = &m->rm->queues;
    uint8_t *at = data;
    while (bytes > 0) {
        uint64_t page = offset / PAGE, in = offset % PAGE;
        size_t here = bytes < PAGE - in ? bytes : PAGE - in;
        if (page >= q->page_count)
            return false;
        if (!(is_write ? bus_write(m, q->page[page] + in, at, here)
                       : bus_read(m, q->page[page] + in, at, here)))
            return false;
        offset += here;
        at += here;
        bytes -= here;
    }
    return true;
}

static bool shared_read(struct model *m, uint64_t offset, void *out, size_t bytes)
{
    return shared(m, offset, out, bytes, false);
}

static bool shared_write(struct model *m, uint64_t offset, const void *data, size_t bytes)
{
    return shared(m, offset, (void *)(uintptr_t)data, bytes, true);
}

static bool shared_read32(struct model *m, uint64_t offset, uint32_t *out)
{
    return shared_read(m, offset, out, 4);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static bool pages_open(struct model *m, uint64_t table_bus, uint32_t count)
{
    struct queues *q = &m->rm->queues;
    if (count < 4 || count > QUEUE_PAGES_MAX) {
        refuse(m, "queues: a page table of %u entries", count);
        return false;
    }
    if (table_bus == 0 || table_bus % PAGE != 0) {
        refuse(m, "queues: the shared memory is at 0x%llx, not on a page",
               (unsigned long long)table_bus);
        return false;
    }
    /* The table's own pages come first, so its second page is known once its first was read. */
    q->page[0] = table_bus;
    q->page_count = 1;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t page;
        if (!shared_read(m, i * 8ull, &page, 8)) {
            refuse(m, "queues: entry %u of the page table cannot be read", i);
            return false;
        }
        if (page == 0 || page % PAGE != 0 || (i == 0 && page != table_bus)) {
            refuse(m, "queues: entry %u of the page table is 0x%llx", i, (unsigned long long)page);
            return false;
        }
        q->page[i] = page;
        if (i + 1 > q->page_count)
            q->page_count = i + 1;
    }
    q->page_count = count;
    return true;
}

static bool command_open(struct model *m)
{
    struct queues *q = &m->rm->queues;
    uint8_t tx[TX_BYTES];
    uint32_t count = (q->command.bytes - ELEMENT_BYTES) / ELEMENT_BYTES;
    if (!shared_read(m, q->command.offset, tx, sizeof(tx)))
        return false;
    if (GET32(tx, TX_VERSION) != 0 || GET32(tx, TX_SIZE) != q->command.bytes ||
        GET32(tx, TX_MESSAGE_BYTES) != ELEMENT_BYTES || GET32(tx, TX_MESSAGE_COUNT) != count ||
        GET32(tx, TX_FLAGS) != FLAGS_SWAP_RX || GET32(tx, TX_RX_OFFSET) != RX_OFFSET ||
        GET32(tx, TX_ENTRY_OFFSET) != ELEMENT_BYTES || GET32(tx, TX_WRITE) >= count) {
        refuse(
            m,
            "command queue header: version %u, size 0x%x, message %u bytes x %u, write %u, flags "
            "%u, receive header at %u, entries at %u; wanted 0, 0x%x, %u x %u, below %u, %u, "
            "%u, %u",
            GET32(tx, TX_VERSION), GET32(tx, TX_SIZE), GET32(tx, TX_MESSAGE_BYTES),
            GET32(tx, TX_MESSAGE_COUNT), GET32(tx, TX_WRITE), GET32(tx, TX_FLAGS),
            GET32(tx, TX_RX_OFFSET), GET32(tx, TX_ENTRY_OFFSET), q->command.bytes, ELEMENT_BYTES,
            count, count, FLAGS_SWAP_RX, RX_OFFSET, ELEMENT_BYTES);
        return false;
    }
    q->command.count = count;
    return true;
}

static bool status_create(struct model *m)
{
    struct queues *q = &m->rm->queues;
    uint8_t tx[TX_BYTES] = {0};
    q->status.count = (q->status.bytes - ELEMENT_BYTES) / ELEMENT_BYTES;
    PUT32(tx, TX_SIZE, q->status.bytes);
    PUT32(tx, TX_MESSAGE_BYTES, ELEMENT_BYTES);
    PUT32(tx, TX_MESSAGE_COUNT, q->status.count);
    PUT32(tx, TX_FLAGS, FLAGS_SWAP_RX);
    PUT32(tx, TX_RX_OFFSET, RX_OFFSET);
    PUT32(tx, TX_ENTRY_OFFSET, ELEMENT_BYTES);
    enum fault_mode mode;
    if (fault(m, "gsp.status-queue", &mode)) {
        if (mode == FAULT_HANG)
            return false;
        PUT32(tx, TX_MESSAGE_COUNT, 0x7fffffff);
        PUT32(tx, TX_ENTRY_OFFSET, 0xdeadbeef);
        PUT32(tx, TX_WRITE, 0xffffffff);
    }
    uint32_t zero = 0;
    return shared_write(m, q->status.offset + RX_OFFSET, &zero, 4) &&
           shared_write(m, q->status.offset, tx, sizeof(tx));
}

bool queues_open(struct model *m, const uint8_t *arguments)
{
    struct queues *q = &m->rm->queues;
    memset(q, 0, sizeof(*q));
    uint32_t pages = GET32(arguments, ARGUMENT_PAGES);
    uint64_t command = GET64(arguments, ARGUMENT_COMMAND),
             status = GET64(arguments, ARGUMENT_STATUS);
    if (!pages_open(m, GET64(arguments, ARGUMENT_SHARED), pages))
        return false;
    uint64_t table = (pages * 8ull + PAGE - 1) & ~(PAGE - 1), end = pages * PAGE;
    if (command % PAGE != 0 || status % PAGE != 0 || command < table ||
        status < command + 2 * ELEMENT_BYTES || end < status + 2 * ELEMENT_BYTES) {
        refuse(m,
               "queues: command at 0x%llx, status at 0x%llx, in 0x%llx bytes of which 0x%llx are "
               "the page table",
               (unsigned long long)command, (unsigned long long)status, (unsigned long long)end,
               (unsigned long long)table);
        return false;
    }
    q->command.offset = command;
    q->command.bytes = (uint32_t)(status - command);
    q->status.offset = status;
    q->status.bytes = (uint32_t)(end - status);
    q->partial = malloc(MESSAGE_PAYLOAD_MAX);
    return q->partial != NULL && command_open(m) && status_create(m);
}

void queue_stop(struct model *m)
{
    timer_cancel(m, flush, NULL);
    while (m->rm->queues.waiting != NULL) {
        struct record *record = m->rm->queues.waiting;
        m->rm->queues.waiting = record->next;
        free(record);
    }
    free(m->rm->queues.partial);
    memset(&m->rm->queues, 0, sizeof(m->rm->queues));
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static uint32_t checksum(const uint8_t *data, size_t bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i += 4) /* the sender pads to 8 bytes with zeros */
        sum ^= GET32(data, i);
    return sum;
}

/* How many payload bytes a message has in all, by what its first record says. */
static uint64_t payload_total(uint32_t function, const uint8_t *payload, uint32_t bytes)
{
    switch (function) {
    case FN_RM_CONTROL: /* rpc_gsp_rm_control: paramsSize at 16, params at 24 */
        return bytes < 24 ? bytes : 24ull + GET32(payload, 16);
    case FN_SET_REGISTRY: /* PACKED_REGISTRY_TABLE: size first */
        return bytes < 8 ? bytes : GET32(payload, 0);
    case FN_ALLOC_MEMORY: /* rpc_alloc_memory: pageCount at 40, 8 bytes each from 56 on */
        return bytes < 56 ? bytes : 56ull + 8ull * GET32(payload, 40);
    default:
        return bytes;
    }
}

/* One record from the queue into data: its elements, 0 when there is none, -1 when the queue is broken. */
static int record_read(struct model *m, uint8_t *data)
{
    struct queue *q = &m->rm->queues.command;
    uint32_t write;
    if (!shared_read32(m, q->offset + TX_WRITE, &write))
        return -1;
    if (write >= q->count) {
        refuse(m, "command queue: write pointer %u of %u elements", write, q->count);
        return -1;
    }
    uint32_t available = write >= q->index ? write - q->index : write + q->count - q->index;
    if (available == 0)
        return 0;
    uint64_t entries = q->offset + ELEMENT_BYTES;
    if (!shared_read(m, entries + (uint64_t)q->index * ELEMENT_BYTES, data, ELEMENT_BYTES))
        return -1;
    uint32_t elements = GET32(data, ELEMENT_COUNT);
    if (elements == 0 || elements > RECORD_ELEMENTS_MAX || elements > available) {
        refuse(m, "command queue: element %u begins a record of %u elements, %u are there",
               q->index, elements, available);
        return -1;
    }
    for (uint32_t i = 1; i < elements; i++)
        if (!shared_read(m, entries + (uint64_t)((q->index + i) % q->count) * ELEMENT_BYTES,
                         data + (size_t)i * ELEMENT_BYTES, ELEMENT_BYTES))
            return -1;
    q->index = (q->index + elements) % q->count;
    /* The CPU finds our read pointer behind our own queue's header: both sides set the swap flag. */
    if (!shared_write(m, m->rm->queues.status.offset + RX_OFFSET, &q->index, 4))
        return -1;
    return (int)elements;
}

/* Everything in the headers that GSP-RM or the protocol fixes. */
static bool record_check(struct model *m, const uint8_t *data, uint32_t elements)
{
    struct queue *q = &m->rm->queues.command;
    uint32_t function = GET32(data, MESSAGE_FUNCTION), length = GET32(data, MESSAGE_LENGTH);
    if (length < MESSAGE_HEADER_BYTES || length > RECORD_BYTES_MAX - ELEMENT_HEADER_BYTES ||
        (ELEMENT_HEADER_BYTES + length + ELEMENT_BYTES - 1) / ELEMENT_BYTES != elements) {
        refuse(m, "record %u (%s): a message of %u bytes in %u elements", q->sequence,
               function_name(function), length, elements);
        return false;
    }
    if (checksum(data, (ELEMENT_HEADER_BYTES + length + 7) & ~7u) != 0) {
        refuse(m, "record %u (%s): wrong checksum", q->sequence, function_name(function));
        return false;
    }
    if (GET32(data, ELEMENT_SEQUENCE) != q->sequence) {
        refuse(m, "record %u (%s): numbered %u", q->sequence, function_name(function),
               GET32(data, ELEMENT_SEQUENCE));
        return false;
    }
    if (GET32(data, MESSAGE_SIGNATURE) != SIGNATURE ||
        GET32(data, MESSAGE_VERSION) != VERSION_3_0) {
        refuse(m, "record %u: signature 0x%08x, version 0x%08x", q->sequence,
               GET32(data, MESSAGE_SIGNATURE), GET32(data, MESSAGE_VERSION));
        return false;
    }
    if (GET32(data, MESSAGE_RESULT) != RESULT_PENDING ||
        GET32(data, MESSAGE_PRIVATE) != RESULT_PENDING || GET32(data, MESSAGE_SPARE) != 0) {
        refuse(m,
               "record %u (%s): result 0x%x, private 0x%x, spare 0x%x: a request has all ones, "
               "all ones, 0",
               q->sequence, function_name(function), GET32(data, MESSAGE_RESULT),
               GET32(data, MESSAGE_PRIVATE), GET32(data, MESSAGE_SPARE));
        return false;
    }
    for (unsigned i = 0; i < 32; i++)
        if (data[i] != 0) {
            refuse(m, "record %u: authentication fields without confidential computing",
                   q->sequence);
            return false;
        }
    return true;
}

/* The first record of a message, or all of it. */
static void message_begin(struct model *m, const uint8_t *data, uint32_t elements, uint32_t bytes)
{
    struct queues *q = &m->rm->queues;
    uint32_t function = GET32(data, MESSAGE_FUNCTION);
    uint64_t total = payload_total(function, data + HEADERS_BYTES, bytes);
    q->partial_available = elements * ELEMENT_BYTES - HEADERS_BYTES;
    memcpy(q->partial, data + HEADERS_BYTES, q->partial_available);
    q->partial_function = function;
    q->partial_sequence = GET32(data, MESSAGE_SEQUENCE);
    q->partial_bytes = bytes;
    q->partial_records = 1;
    /* Only a full record is continued; a short one that claims more is judged by the function itself. */
    q->partial_total = bytes == RECORD_PAYLOAD_MAX && total > bytes && total <= MESSAGE_PAYLOAD_MAX
                           ? (uint32_t)total
                           : bytes;
}

int queue_receive(struct model *m, struct message *message)
{
    static uint8_t data[RECORD_BYTES_MAX];
    struct queues *q = &m->rm->queues;
    for (;;) {
        int elements = record_read(m, data);
        if (elements <= 0)
            return elements;
        bool is_good = record_check(m, data, (uint32_t)elements);
        if (!is_good)
            continue; /* GSP-RM keeps its number: what follows is refused, too, until the guest resets it */
        q->command.sequence++;
        uint32_t bytes = GET32(data, MESSAGE_LENGTH) - MESSAGE_HEADER_BYTES;
        if (GET32(data, MESSAGE_FUNCTION) == FN_CONTINUATION_RECORD) {
            uint32_t missing = q->partial_total - q->partial_bytes;
            if (missing == 0 || bytes > missing ||
                (bytes < missing && bytes != RECORD_PAYLOAD_MAX)) {
                refuse(m, "record %u: a continuation of %u bytes, %u are missing",
                       q->command.sequence - 1, bytes, missing);
                q->partial_total = q->partial_bytes = 0;
                continue;
            }
            memcpy(q->partial + q->partial_bytes, data + HEADERS_BYTES, bytes);
            q->partial_bytes += bytes;
            q->partial_records++;
        } else {
            if (q->partial_bytes < q->partial_total)
                refuse(m, "record %u (%s) came before the rest of %s", q->command.sequence - 1,
                       function_name(GET32(data, MESSAGE_FUNCTION)),
                       function_name(q->partial_function));
            message_begin(m, data, (uint32_t)elements, bytes);
        }
        if (q->partial_bytes < q->partial_total)
            continue;
        message->function = q->partial_function;
        message->sequence = q->partial_sequence;
        message->bytes = q->partial_bytes;
        message->available = q->partial_records > 1 ? q->partial_bytes : q->partial_available;
        memcpy(message->payload, q->partial,
               message->available > message->bytes ? message->available : message->bytes);
        q->partial_total = q->partial_bytes = 0;
        return 1;
    }
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* Elements free in the status queue; -1 when the CPU's read pointer is nonsense. */
static int status_room(struct model *m)
{
    struct queue *q = &m->rm->queues.status;
    uint32_t read;
    if (!shared_read32(m, m->rm->queues.command.offset + RX_OFFSET, &read))
        return -1;
    if (read >= q->count) {
        refuse(m, "status queue: read pointer %u of %u elements", read, q->count);
        return -1;
    }
    return (int)((read + q->count - q->index - 1) % q->count);
}

static bool record_write(struct model *m, const struct record *record)
{
    struct queue *q = &m->rm->queues.status;
    for (unsigned i = 0; i < record->elements; i++)
        if (!shared_write(m,
                          q->offset + ELEMENT_BYTES +
                              (uint64_t)((q->index + i) % q->count) * ELEMENT_BYTES,
                          record->data + (size_t)i * ELEMENT_BYTES, ELEMENT_BYTES))
            return false;
    q->index = (q->index + record->elements) % q->count;
    return shared_write(m, q->offset + TX_WRITE, &q->index, 4);
}

static void flush(struct model *m, void *arg)
{
    struct queues *q = &m->rm->queues;
    bool is_sent = false;
    while (q->waiting != NULL) {
        int room = status_room(m);
        if (room < 0) {
            rm_die(m);
            return;
        }
        if ((unsigned)room < q->waiting->elements) {
            timer_add(m, 1000 * 1000, flush, NULL); /* until the CPU has read some */
            break;
        }
        struct record *record = q->waiting;
        q->waiting = record->next;
        q->waiting_count--;
        bool is_written = record_write(m, record);
        free(record);
        if (!is_written) {
            rm_die(m);
            return;
        }
        is_sent = true;
    }
    if (is_sent)
        rm_interrupt(m);
}

/* Faults in what the record itself says. */
static void record_spoil(struct model *m, uint8_t *data)
{
    if (fault(m, "rpc.sequence", NULL))
        PUT32(data, ELEMENT_SEQUENCE, GET32(data, ELEMENT_SEQUENCE) + 7);
    if (fault(m, "rpc.signature", NULL))
        PUT32(data, MESSAGE_SIGNATURE, 0x21212121);
    if (fault(m, "rpc.function", NULL))
        PUT32(data, MESSAGE_FUNCTION, 0x7ff);
    if (fault(m, "rpc.length", NULL))
        PUT32(data, MESSAGE_LENGTH, 0xfffffff0);
    if (fault(m, "rpc.elements", NULL))
        PUT32(data, ELEMENT_COUNT, 200);
}

static struct record *record_make(struct model *m, uint32_t function, uint32_t result,
                                  uint32_t sequence, const uint8_t *payload, uint32_t bytes)
{
    struct record *record = calloc(1, sizeof(*record));
    if (record == NULL)
        return NULL;
    uint8_t *data = record->data;
    uint32_t total = HEADERS_BYTES + bytes;
    record->elements = (total + ELEMENT_BYTES - 1) / ELEMENT_BYTES;
    PUT32(data, ELEMENT_SEQUENCE, m->rm->queues.status.sequence++);
    PUT32(data, ELEMENT_COUNT, record->elements);
    PUT32(data, MESSAGE_VERSION, VERSION_3_0);
    PUT32(data, MESSAGE_SIGNATURE, SIGNATURE);
    PUT32(data, MESSAGE_LENGTH, MESSAGE_HEADER_BYTES + bytes);
    PUT32(data, MESSAGE_FUNCTION, function);
    PUT32(data, MESSAGE_RESULT, result);
    PUT32(data, MESSAGE_PRIVATE, result);
    PUT32(data, MESSAGE_SEQUENCE, sequence);
    if (bytes > 0)
        memcpy(data + HEADERS_BYTES, payload, bytes);
    record_spoil(m, data);
    uint32_t sum = checksum(data, (total + 7) & ~7u);
    PUT32(data, ELEMENT_CHECKSUM, sum);
    if (fault(m, "rpc.checksum", NULL))
        PUT32(data, ELEMENT_CHECKSUM, sum ^ 0x00010000);
    return record;
}

bool queue_send(struct model *m, uint32_t function, uint32_t result, uint32_t sequence,
                const void *payload, size_t bytes)
{
    const uint8_t *at = payload;
    struct queues *q = &m->rm->queues;
    if (q->status.count == 0 || bytes > MESSAGE_PAYLOAD_MAX)
        return false;
    bool is_first = q->waiting == NULL;
    do {
        uint32_t here = bytes > RECORD_PAYLOAD_MAX ? RECORD_PAYLOAD_MAX : (uint32_t)bytes;
        struct record *record = q->waiting_count < WAITING_MAX
                                    ? record_make(m, function, result, sequence, at, here)
                                    : NULL;
        if (record == NULL) {
            refuse(m, "status queue: full, and %u records wait for the CPU to read it",
                   q->waiting_count);
            rm_die(m);
            return false;
        }
        struct record **end = &q->waiting;
        while (*end != NULL)
            end = &(*end)->next;
        *end = record;
        q->waiting_count++;
        at += here;
        bytes -= here;
        function = FN_CONTINUATION_RECORD;
    } while (bytes > 0);
    if (is_first)
        flush(m, NULL);
    return true;
}
