/*
 * tests/host/fake_nvme.c: see fake_nvme.h. Sections are of NVM Express Base 1.4.
 *
 * All of the device's accesses to host memory go through dma(): the command register must allow them, and memory that
 * the driver has freed is caught by the address sanitizer. One lock for all devices: cores are threads here.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/host/fake_nvme.h"
#include "tests/host/host.h"

#define BAR_BYTES_DEFAULT (16 * 1024)
#define DEVICES_MAX       8

struct fake_nvme_block {
    struct fake_nvme_block *next;
    uint32_t nsid;
    uint64_t lba;
    uint8_t data[4096];
};

static struct fake_nvme *devices[DEVICES_MAX];
static unsigned device_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void violation(struct fake_nvme *dev, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void violation(struct fake_nvme *dev, const char *fmt, ...)
{
    if (dev->violation[0] != '\0')
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(dev->violation, sizeof(dev->violation), fmt, args);
    va_end(args);
}

/* ---- memory of the host ---------------------------------------------------------------------------------------- */

static void *dma(struct fake_nvme *dev, uint64_t address)
{
    if (!host_pci_is_bus_master(dev->pci))
        violation(dev, "DMA without bus mastering");
    return (void *)(uintptr_t)address;
}

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

static const struct fake_nvme_namespace *namespace_find(const struct fake_nvme *dev, uint32_t nsid)
{
    for (unsigned i = 0; i < FAKE_NVME_NAMESPACES; i++)
        if (nsid != 0 && dev->namespaces[i].nsid == nsid)
            return &dev->namespaces[i];
    return NULL;
}

static unsigned shift_of(const struct fake_nvme_namespace *ns)
{
    return ns->block_shift != 0 ? ns->block_shift : 9;
}

static struct fake_nvme_block *block_find(struct fake_nvme *dev, uint32_t nsid, uint64_t lba)
{
    for (struct fake_nvme_block *b = dev->blocks[lba % FAKE_NVME_BUCKETS]; b != NULL; b = b->next)
        if (b->nsid == nsid && b->lba == lba)
            return b;
    return NULL;
}

void fake_nvme_block_get(struct fake_nvme *dev, uint32_t nsid, uint64_t lba, void *block)
{
    unsigned bytes = 1u << shift_of(namespace_find(dev, nsid));
    const struct fake_nvme_block *written = block_find(dev, nsid, lba);
    if (written != NULL) {
        memcpy(block, written->data, bytes);
        return;
    }
    for (unsigned i = 0; i < bytes; i += 8) {
        uint64_t word = (lba + 1) * UINT64_C(0x9e3779b97f4a7c15) + ((uint64_t)nsid << 32) + i;
        memcpy((uint8_t *)block + i, &word, 8);
    }
}

static void block_put(struct fake_nvme *dev, uint32_t nsid, uint64_t lba, const void *data,
                      unsigned bytes)
{
    struct fake_nvme_block *b = block_find(dev, nsid, lba);
    if (b == NULL) {
        b = calloc(1, sizeof(*b));
        assert(b != NULL);
        struct fake_nvme_block **bucket = &dev->blocks[lba % FAKE_NVME_BUCKETS];
        *b = (struct fake_nvme_block){.next = *bucket, .nsid = nsid, .lba = lba};
        *bucket = b;
    }
    if (data != NULL)
        memcpy(b->data, data, bytes);
    else
        memset(b->data, 0, bytes);
}

/* ---- data pointers (4.3, 4.4) ---------------------------------------------------------------------------------- */

static void page_move(struct fake_nvme *dev, uint64_t address, uint8_t *data, uint64_t bytes,
                      bool to_host)
{
    void *host = dma(dev, address);
    if (to_host)
        memcpy(host, data, bytes);
    else
        memcpy(data, host, bytes);
}

static void data_move(struct fake_nvme *dev, const struct nvme_sqe *sqe, uint8_t *data,
                      uint64_t bytes, bool to_host)
{
    if (sqe->flags != 0) { /* PSDT */
        if (sqe->flags != 0x40 || !dev->has_sgl)
            violation(dev, "flags 0x%02x", sqe->flags);
        if (sqe->dptr[1] != bytes) /* type 0 data block: 32 bits of length, then zeros */
            violation(dev, "SGL descriptor 0x%llx for %llu bytes", (unsigned long long)sqe->dptr[1],
                      (unsigned long long)bytes);
        page_move(dev, sqe->dptr[0], data, bytes, to_host);
        return;
    }
    uint64_t at = sqe->dptr[0];
    if (at & 3)
        violation(dev, "PRP1 0x%llx is not dword-aligned", (unsigned long long)at);
    uint64_t piece = min_u64(bytes, 4096 - (at & 4095)), done = piece;
    page_move(dev, at, data, piece, to_host);
    if (done == bytes) {
        if (sqe->dptr[1] != 0)
            violation(dev, "PRP2 is reserved here, and set");
        return;
    }
    if (bytes - done <= 4096) {
        if (sqe->dptr[1] & 4095)
            violation(dev, "PRP2 0x%llx has an offset", (unsigned long long)sqe->dptr[1]);
        page_move(dev, sqe->dptr[1], data + done, bytes - done, to_host);
        return;
    }
    uint64_t list = sqe->dptr[1];
    if (list & 7)
        violation(dev, "PRP list at 0x%llx", (unsigned long long)list);
    for (; done < bytes; done += piece, list += 8) {
        if ((list & 4095) == 4088)
            violation(dev, "the last entry of a page of PRP entries holds data, or a pointer to "
                           "the next list");
        memcpy(&at, dma(dev, list), 8);
        if (at & 4095)
            violation(dev, "PRP list entry 0x%llx has an offset", (unsigned long long)at);
        piece = min_u64(bytes - done, 4096);
        page_move(dev, at, data + done, piece, to_host);
    }
}

/* ---- completions (4.6) ----------------------------------------------------------------------------------------- */

static void shadow_sync(struct fake_nvme *dev, unsigned index);

static void cqe_post(struct fake_nvme *dev, unsigned index, uint16_t sq_id, uint16_t cid,
                     uint16_t status, uint32_t result, bool is_stale)
{
    struct fake_nvme_queue *q = &dev->queues[index];
    unsigned next = (q->cq_tail + 1) % q->cq_entries;
    shadow_sync(dev, index);
    if (next == q->cq_head)
        violation(dev, "completion queue %u is full", index);
    struct nvme_cqe cqe = {
        .result = result,
        .sq_head = (uint16_t)q->sq_head,
        .sq_id = sq_id,
        .cid = cid,
        .status = (uint16_t)(status << 1 | (q->phase ^ is_stale)),
    };
    memcpy(dma(dev, q->cq_dma + q->cq_tail * sizeof(cqe)), &cqe, sizeof(cqe));
    if (is_stale)
        return; /* as if it had not been written: the place is used again */
    q->cq_tail = next;
    q->phase ^= next == 0;
}

static void complete(struct fake_nvme *dev, unsigned index, const struct nvme_sqe *sqe,
                     uint16_t status, uint32_t result, enum fake_nvme_fault fault)
{
    const uint16_t wrong =
        NVME_STATUS(0, 0x06); /* so that somebody who takes it for his own notices */
    if (fault == FAULT_WRONG_CID)
        cqe_post(dev, index, (uint16_t)index, sqe->cid ^ 0x4000, wrong, 0, false);
    if (fault == FAULT_WRONG_QUEUE)
        cqe_post(dev, index, (uint16_t)(index + 1), sqe->cid, wrong, 0, false);
    cqe_post(dev, index, (uint16_t)index, sqe->cid, status, result, fault == FAULT_STALE_PHASE);
    if (fault == FAULT_TWICE)
        cqe_post(dev, index, (uint16_t)index, sqe->cid, status, result, false);
    if (fault == FAULT_STALE_PHASE)
        return;
    dev->queues[index].in_flight--;
    if (index != 0)
        dev->in_flight--;
}

/* ---- I/O commands (6) ------------------------------------------------------------------------------------------ */

static uint16_t io_execute(struct fake_nvme *dev, const struct nvme_sqe *sqe)
{
    const struct fake_nvme_namespace *ns = namespace_find(dev, sqe->nsid);
    if (ns == NULL)
        return NVME_STATUS(0, 0x0b);
    unsigned shift = shift_of(ns);
    uint64_t lba = sqe->cdw10 | (uint64_t)sqe->cdw11 << 32, count = (sqe->cdw12 & 0xffff) + 1;
    if (sqe->opcode == 0x00) {
        dev->flushes++;
        return 0;
    }
    if (sqe->opcode == 0x09) {
        if (sqe->cdw10 != 0 || sqe->cdw11 != 4)
            violation(dev, "Dataset Management CDW10 0x%x CDW11 0x%x", sqe->cdw10, sqe->cdw11);
        struct {
            uint32_t attributes, blocks;
            uint64_t lba;
        } range;
        data_move(dev, sqe, (uint8_t *)&range, sizeof(range), false);
        lba = range.lba;
        count = range.blocks;
    }
    if (lba >= ns->block_count || count > ns->block_count - lba)
        return NVME_STATUS(0, 0x80);
    uint64_t bytes = count << shift;
    if (sqe->opcode == 0x09 || sqe->opcode == 0x08) {
        if (ns->nsattr & 1)
            return NVME_STATUS(0, 0x20);
        dev->writes++;
        for (uint64_t i = 0; i < count && count <= 4096; i++)
            block_put(dev, sqe->nsid, lba + i, NULL, 1u << shift);
        return 0;
    }
    if (sqe->opcode != 0x01 && sqe->opcode != 0x02)
        return NVME_STATUS(0, 0x01);
    if (dev->mdts != 0 && bytes > UINT64_C(4096) << dev->mdts)
        violation(dev, "%llu bytes in one command", (unsigned long long)bytes);
    uint8_t *data = malloc(bytes);
    assert(data != NULL);
    if (sqe->opcode == 0x02) {
        for (uint64_t i = 0; i < count; i++)
            fake_nvme_block_get(dev, sqe->nsid, lba + i, data + (i << shift));
        data_move(dev, sqe, data, bytes, true);
    } else {
        dev->writes++;
        data_move(dev, sqe, data, bytes, false);
        for (uint64_t i = 0; i < count; i++)
            block_put(dev, sqe->nsid, lba + i, data + (i << shift), 1u << shift);
    }
    free(data);
    return 0;
}

static void io_run(struct fake_nvme *dev, unsigned index, const struct nvme_sqe *sqe)
{
    enum fake_nvme_fault fault = FAULT_NONE;
    if (dev->fault != FAULT_NONE) {
        if (dev->fault_skip > 0) {
            dev->fault_skip--;
        } else {
            fault = dev->fault;
            if (dev->fault_count > 0 && --dev->fault_count == 0)
                dev->fault = FAULT_NONE;
        }
    }
    if (fault == FAULT_LOST) {
        assert(dev->lost_count < FAKE_NVME_HELD);
        dev->lost[dev->lost_count++] = (struct fake_nvme_held){.command = *sqe, .queue = index};
        return;
    }
    uint16_t status = fault == FAULT_STATUS ? dev->fault_status : io_execute(dev, sqe);
    complete(dev, index, sqe, status, 0, fault);
}

static void io_command(struct fake_nvme *dev, unsigned index, const struct nvme_sqe *sqe)
{
    dev->io_commands++;
    dev->log[dev->log_count++ % FAKE_NVME_LOG] = *sqe;
    if (++dev->in_flight > dev->in_flight_peak)
        dev->in_flight_peak = dev->in_flight;
    if (dev->gone_after_io > 0 && --dev->gone_after_io == 0)
        dev->is_gone = true;
    if (dev->is_gone)
        return;
    if (!dev->holds_io) {
        io_run(dev, index, sqe);
        return;
    }
    assert(dev->held_count < FAKE_NVME_HELD);
    dev->held[dev->held_count++] = (struct fake_nvme_held){.command = *sqe, .queue = index};
}

void fake_nvme_release(struct fake_nvme *dev, unsigned index)
{
    pthread_mutex_lock(&lock);
    assert(index < dev->held_count);
    struct fake_nvme_held held = dev->held[index];
    dev->held[index] = dev->held[--dev->held_count];
    io_run(dev, held.queue, &held.command);
    pthread_mutex_unlock(&lock);
}

/* ---- admin commands (5) ---------------------------------------------------------------------------------------- */

static void answer_put(struct fake_nvme *dev, const struct nvme_sqe *sqe, void *page,
                       uint64_t bytes)
{
    data_move(dev, sqe, page, bytes, true);
}

static void text_put(uint8_t *at, size_t bytes, const char *text)
{
    memset(at, ' ', bytes);
    memcpy(at, text, strlen(text));
}

static uint16_t identify(struct fake_nvme *dev, const struct nvme_sqe *sqe)
{
    uint8_t page[4096] = {0};
    const struct fake_nvme_namespace *ns = namespace_find(dev, sqe->nsid);
    switch (sqe->cdw10 & 0xff) {
    case 0x00: {
        if (ns == NULL && sqe->nsid > FAKE_NVME_NAMESPACES)
            return NVME_STATUS(0, 0x0b);
        if (ns == NULL || ns->is_inactive)
            break;
        uint32_t format = ns->metadata_bytes | shift_of(ns) << 16;
        memcpy(page, &ns->block_count, 8);
        memcpy(page + 8, &ns->block_count, 8);
        page[25] = ns->nlbaf;
        page[26] = (uint8_t)((ns->format & 15) | (ns->format >> 4) << 5);
        page[99] = ns->nsattr;
        memcpy(page + 128 + 4 * (ns->format & 63), &format, 4);
        break;
    }
    case 0x01: {
        uint16_t oncs = dev->oncs != 0 ? dev->oncs : 0x0c,
                 oacs = dev->has_shadow_doorbells ? 0x100 : 0;
        uint32_t nn = dev->namespace_id_max != 0 ? dev->namespace_id_max : FAKE_NVME_NAMESPACES;
        uint32_t sgls = dev->has_sgl ? 1 : 0;
        text_put(page + 4, 20, dev->serial != NULL ? dev->serial : "FAKE0001");
        text_put(page + 24, 40, "Fake\tNVMe");
        text_put(page + 64, 8, "1.0");
        page[77] = dev->mdts;
        page[111] = dev->cntrltype;
        memcpy(page + 256, &oacs, 2);
        page[258] = 3;
        page[512] = dev->sqes != 0 ? dev->sqes : 0x66;
        page[513] = dev->cqes != 0 ? dev->cqes : 0x44;
        memcpy(page + 516, &nn, 4);
        memcpy(page + 520, &oncs, 2);
        memcpy(page + 536, &sgls, 4);
        break;
    }
    case 0x02: {
        if (dev->has_no_namespace_list)
            return NVME_STATUS(0, 0x02);
        uint32_t last = sqe->nsid, *list = (uint32_t *)page;
        for (unsigned n = 0; n < 1024; n++) { /* the smallest id above the last, and so on */
            uint32_t next = 0;
            for (unsigned i = 0; i < FAKE_NVME_NAMESPACES; i++) {
                uint32_t nsid = dev->namespaces[i].nsid;
                if (nsid > last && (next == 0 || nsid < next))
                    next = nsid;
            }
            list[n] = last = next;
            if (next == 0)
                break;
        }
        if (dev->list_is_unsorted)
            list[1] = list[0];
        break;
    }
    default:
        return NVME_STATUS(0, 0x02);
    }
    answer_put(dev, sqe, page, sizeof(page));
    return 0;
}

static uint16_t queue_create(struct fake_nvme *dev, const struct nvme_sqe *sqe, bool is_cq)
{
    unsigned id = sqe->cdw10 & 0xffff, entries = (sqe->cdw10 >> 16) + 1;
    unsigned entries_max = dev->entries_max != 0 ? dev->entries_max : 2048;
    if (id == 0 || id >= FAKE_NVME_QUEUES || id > dev->queues_granted)
        return NVME_STATUS(1, 0x01);
    if (entries < 2 || entries > entries_max)
        return NVME_STATUS(1, 0x02);
    if (!(sqe->cdw11 & 1) || sqe->dptr[0] & 4095)
        violation(dev, "queue %u: CDW11 0x%x at 0x%llx", id, sqe->cdw11,
                  (unsigned long long)sqe->dptr[0]);
    struct fake_nvme_queue *q = &dev->queues[id];
    if (is_cq) {
        if (q->has_cq)
            return NVME_STATUS(1, 0x01);
        *q = (struct fake_nvme_queue){
            .has_cq = true, .cq_dma = sqe->dptr[0], .cq_entries = entries, .phase = true};
        return 0;
    }
    if (!q->has_cq || sqe->cdw11 >> 16 != id)
        return NVME_STATUS(1, 0x00);
    if (q->has_sq)
        return NVME_STATUS(1, 0x01);
    q->has_sq = true;
    q->sq_dma = sqe->dptr[0];
    q->sq_entries = entries;
    return 0;
}

/* Bit 0 of the result: not aborted. */
static uint32_t abort_run(struct fake_nvme *dev, uint16_t sq_id, uint16_t cid)
{
    dev->aborts++;
    if (!dev->abort_works && !dev->abort_completes)
        return 1;
    struct fake_nvme_held *lists[] = {dev->held, dev->lost};
    unsigned *counts[] = {&dev->held_count, &dev->lost_count};
    for (unsigned l = 0; l < 2; l++) {
        for (unsigned i = 0; i < *counts[l]; i++) {
            struct fake_nvme_held held = lists[l][i];
            if (held.queue != sq_id || held.command.cid != cid)
                continue;
            lists[l][i] = lists[l][--*counts[l]];
            uint16_t status =
                dev->abort_completes ? io_execute(dev, &held.command) : NVME_STATUS(0, 0x07);
            complete(dev, held.queue, &held.command, status, 0, FAULT_NONE);
            return 0;
        }
    }
    return 1;
}

static uint16_t admin_execute(struct fake_nvme *dev, const struct nvme_sqe *sqe, uint32_t *result)
{
    switch (sqe->opcode) {
    case 0x01:
        return queue_create(dev, sqe, false);
    case 0x05:
        return queue_create(dev, sqe, true);
    case 0x02: {
        uint8_t page[512] = {[0] = 4, [1] = 0x2c, [2] = 0x01, [3] = 97, [4] = 10, [5] = 3};
        if ((sqe->cdw10 & 0xff) != 2 || sqe->cdw10 >> 16 != 127 || sqe->nsid != UINT32_MAX)
            return NVME_STATUS(1, 0x09);
        for (unsigned i = 0; i < 10; i++) /* the 128-bit numbers, from data units read on */
            page[32 + 16 * i] = (uint8_t)(i + 1);
        page[48 + 8] = 1; /* data units written do not fit 64 bits */
        answer_put(dev, sqe, page, sizeof(page));
        return 0;
    }
    case 0x06:
        return identify(dev, sqe);
    case 0x08:
        *result = abort_run(dev, sqe->cdw10 & 0xffff, (uint16_t)(sqe->cdw10 >> 16));
        return 0;
    case 0x09: {
        if ((sqe->cdw10 & 0xff) != 7)
            return NVME_STATUS(0, 0x02);
        unsigned most = dev->queues_max != 0 ? dev->queues_max : FAKE_NVME_QUEUES - 1;
        dev->queues_granted = (unsigned)min_u64((sqe->cdw11 & 0xffff) + 1, most);
        *result = (dev->queues_granted - 1) << 16 | (dev->queues_granted - 1);
        return 0;
    }
    case 0x7c:
        if (!dev->has_shadow_doorbells)
            return NVME_STATUS(0, 0x01);
        if ((sqe->dptr[0] | sqe->dptr[1]) & 4095)
            violation(dev, "shadow doorbells are not page-aligned");
        dev->shadow_dma = sqe->dptr[0];
        dev->event_dma = sqe->dptr[1];
        return 0;
    default:
        return NVME_STATUS(0, 0x01);
    }
}

static void admin_command(struct fake_nvme *dev, const struct nvme_sqe *sqe)
{
    dev->admin_commands++;
    enum fake_nvme_fault fault = FAULT_NONE;
    if (dev->admin_fault != FAULT_NONE &&
        (dev->admin_opcode == 0xff || dev->admin_opcode == sqe->opcode)) {
        if (dev->admin_skip > 0) {
            dev->admin_skip--;
        } else {
            fault = dev->admin_fault;
            if (dev->admin_count > 0 && --dev->admin_count == 0)
                dev->admin_fault = FAULT_NONE;
        }
    }
    if (fault == FAULT_LOST)
        return;
    uint32_t result = 0;
    uint16_t status = fault == FAULT_STATUS ? dev->fault_status : admin_execute(dev, sqe, &result);
    complete(dev, 0, sqe, status, result, fault);
}

/* ---- queues and doorbells (3.1.24, 4.1, Annex B.5) ------------------------------------------------------------- */

static void sq_run(struct fake_nvme *dev, unsigned index)
{
    struct fake_nvme_queue *q = &dev->queues[index];
    while (q->sq_head != q->sq_tail) {
        struct nvme_sqe sqe;
        memcpy(&sqe, dma(dev, q->sq_dma + q->sq_head * sizeof(sqe)), sizeof(sqe));
        q->sq_head = (q->sq_head + 1) % q->sq_entries;
        if (++q->in_flight > q->sq_entries - 1)
            violation(dev, "queue %u: %u commands in flight in %u entries", index, q->in_flight,
                      q->sq_entries);
        if (index == 0)
            admin_command(dev, &sqe);
        else
            io_command(dev, index, &sqe);
        if (dev->is_gone)
            return;
    }
}

static uint32_t *shadow_at(struct fake_nvme *dev, uint64_t base, unsigned index, unsigned is_cq)
{
    return dma(dev, base + ((2 * index + is_cq) * (UINT64_C(4) << dev->stride_shift)));
}

static void sq_tail_set(struct fake_nvme *dev, unsigned index, uint32_t tail)
{
    struct fake_nvme_queue *q = &dev->queues[index];
    if (tail >= q->sq_entries) {
        violation(dev, "queue %u: tail %u of %u entries", index, tail, q->sq_entries);
        return;
    }
    q->sq_tail = tail;
    sq_run(dev, index);
}

static void cq_head_set(struct fake_nvme *dev, unsigned index, uint32_t head)
{
    struct fake_nvme_queue *q = &dev->queues[index];
    unsigned used = (q->cq_tail + q->cq_entries - q->cq_head) % q->cq_entries;
    if (head >= q->cq_entries || (head + q->cq_entries - q->cq_head) % q->cq_entries > used)
        violation(dev, "queue %u: head %u passes tail %u", index, head, q->cq_tail);
    else
        q->cq_head = head;
}

/* What the host has put into memory instead of the registers. */
static void shadow_sync(struct fake_nvme *dev, unsigned index)
{
    if (dev->shadow_dma != 0 && index != 0)
        cq_head_set(dev, index, *shadow_at(dev, dev->shadow_dma, index, 1));
}

static void shadow_run(struct fake_nvme *dev, unsigned index)
{
    struct fake_nvme_queue *q = &dev->queues[index];
    for (;;) { /* say first from where on we want to hear, then look once more */
        if (!dev->is_lazy)
            *shadow_at(dev, dev->event_dma, index, 0) = q->sq_tail;
        uint32_t tail = *(volatile uint32_t *)shadow_at(dev, dev->shadow_dma, index, 0);
        if (tail == q->sq_tail || dev->is_gone)
            return;
        sq_tail_set(dev, index, tail);
    }
}

void fake_nvme_pump(struct fake_nvme *dev)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 1; i < FAKE_NVME_QUEUES; i++) {
        if (!dev->queues[i].has_sq || dev->shadow_dma == 0)
            continue;
        bool was_lazy = dev->is_lazy;
        dev->is_lazy = false;
        shadow_run(dev, i);
        dev->is_lazy = was_lazy;
    }
    pthread_mutex_unlock(&lock);
}

static void doorbell_write(struct fake_nvme *dev, unsigned number, uint32_t value)
{
    unsigned index = number / 2;
    bool is_cq = number & 1;
    if (!(dev->csts & 1)) {
        violation(dev, "doorbell %u of a controller that is not ready", number);
        return;
    }
    if (index >= FAKE_NVME_QUEUES ||
        !(is_cq ? dev->queues[index].has_cq : dev->queues[index].has_sq)) {
        violation(dev, "doorbell %u of a queue that does not exist", number);
        return;
    }
    if (index != 0) {
        dev->sq_doorbells += !is_cq;
        dev->cq_doorbells += is_cq;
        if (dev->shadow_dma != 0) {
            if (*shadow_at(dev, dev->shadow_dma, index, is_cq) != value)
                violation(dev, "doorbell %u: register and shadow differ", number);
            if (!is_cq)
                shadow_run(dev, index);
            else
                shadow_sync(dev, index);
            return;
        }
    }
    if (is_cq)
        cq_head_set(dev, index, value);
    else
        sq_tail_set(dev, index, value);
}

/* ---- registers (3.1) ------------------------------------------------------------------------------------------- */

static void cc_write(struct fake_nvme *dev, uint32_t cc)
{
    bool is_on = cc & 1, was_on = dev->cc & 1;
    if (is_on != was_on && (dev->csts & 1) != was_on && !(dev->csts & 2) && !dev->never_ready &&
        !dev->never_stops)
        violation(dev, "CC.EN changed while CSTS.RDY was %u", dev->csts & 1);
    dev->cc = cc;
    if (is_on && !was_on) {
        dev->enables++;
        if ((cc >> 4 & 7) != 0 || (cc >> 7 & 15) != dev->mps_min || (cc >> 16 & 15) != 6 ||
            (cc >> 20 & 15) != 4)
            violation(dev, "CC 0x%08x", cc);
        if ((dev->asq | dev->acq) & 4095 || dev->asq == 0 || dev->acq == 0)
            violation(dev, "ASQ 0x%llx, ACQ 0x%llx", (unsigned long long)dev->asq,
                      (unsigned long long)dev->acq);
        if (!host_pci_is_bus_master(dev->pci))
            violation(dev, "enabled without bus mastering");
        dev->enabled_ns = time_ns();
        dev->queues[0] = (struct fake_nvme_queue){
            .has_cq = true,
            .has_sq = true,
            .sq_dma = dev->asq,
            .cq_dma = dev->acq,
            .phase = true,
            .sq_entries = (dev->aqa & 0xfff) + 1,
            .cq_entries = (dev->aqa >> 16 & 0xfff) + 1,
        };
        if (dev->is_fatal_when_enabled)
            dev->csts |= 2;
    }
    if (!is_on && was_on &&
        !dev->never_stops) { /* controller reset (7.3.2): queues and commands are forgotten */
        dev->resets++;
        dev->csts = 0;
        dev->held_count = dev->lost_count = dev->in_flight = 0;
        dev->shadow_dma = dev->event_dma = 0;
        dev->is_fatal = false;
        memset(dev->queues, 0, sizeof(dev->queues));
    }
    if ((cc >> 14 & 3) == 1 && !dev->never_shuts_down) {
        dev->shutdowns++;
        dev->csts = (dev->csts & ~0xcu) | 2 << 2;
    }
}

static uint32_t csts_read(struct fake_nvme *dev)
{
    if (dev->cc & 1 && !dev->never_ready && !(dev->csts & 2) &&
        time_ns() - dev->enabled_ns >= dev->ready_delay_ms * NS_PER_MS)
        dev->csts |= 1;
    return dev->csts | (dev->is_fatal ? 2 : 0);
}

static uint64_t register_read(struct fake_nvme *dev, uint64_t offset)
{
    switch (offset) {
    case 0x00:
        return ((dev->entries_max != 0 ? dev->entries_max : 2048) - 1) | UINT64_C(1) << 16 |
               (uint64_t)dev->cap_to << 24 | (uint64_t)dev->stride_shift << 32 |
               (uint64_t)(dev->css != 0 ? dev->css : 1) << 37 | (uint64_t)dev->mps_min << 48 |
               UINT64_C(4) << 52;
    case 0x08:
        return dev->version != 0 ? dev->version : 0x10400;
    case 0x0c:
        return dev->intms;
    case 0x14:
        return dev->cc;
    case 0x1c:
        return csts_read(dev);
    case 0x24:
        return dev->aqa;
    case 0x28:
        return dev->asq;
    case 0x30:
        return dev->acq;
    default:
        violation(dev, "read of register 0x%llx", (unsigned long long)offset);
        return 0;
    }
}

static void register_write(struct fake_nvme *dev, uint64_t offset, uint64_t value)
{
    if ((offset == 0x24 || offset == 0x28 || offset == 0x30) && dev->cc & 1)
        violation(dev, "register 0x%llx written while enabled", (unsigned long long)offset);
    if (offset >= 0x1000) {
        uint64_t stride = UINT64_C(4) << dev->stride_shift;
        if ((offset - 0x1000) % stride != 0)
            violation(dev, "write between doorbells, at 0x%llx", (unsigned long long)offset);
        doorbell_write(dev, (unsigned)((offset - 0x1000) / stride), (uint32_t)value);
    } else if (offset == 0x0c) {
        dev->intms |= (uint32_t)value;
    } else if (offset == 0x14) {
        cc_write(dev, (uint32_t)value);
    } else if (offset == 0x24) {
        dev->aqa = (uint32_t)value;
    } else if (offset == 0x28) {
        dev->asq = value;
    } else if (offset == 0x30) {
        dev->acq = value;
    } else {
        violation(dev, "write of register 0x%llx", (unsigned long long)offset);
    }
}

static struct fake_nvme *device_at(const volatile void *reg, uint64_t *offset)
{
    for (unsigned i = 0; i < device_count; i++) {
        struct fake_nvme *dev = devices[i];
        *offset = (uint64_t)((const volatile uint8_t *)reg - dev->bar);
        if (*offset < dev->pci->bar[0].size_bytes)
            return dev;
    }
    return NULL;
}

bool fake_nvme_read(const volatile void *reg, unsigned bytes, uint64_t *value)
{
    pthread_mutex_lock(&lock);
    uint64_t offset;
    struct fake_nvme *dev = device_at(reg, &offset);
    if (dev != NULL)
        *value = dev->is_gone ? UINT64_MAX : register_read(dev, offset);
    pthread_mutex_unlock(&lock);
    return dev != NULL;
}

bool fake_nvme_write(volatile void *reg, unsigned bytes, uint64_t value)
{
    pthread_mutex_lock(&lock);
    uint64_t offset;
    struct fake_nvme *dev = device_at(reg, &offset);
    if (dev != NULL && !dev->is_gone)
        register_write(dev, offset, value);
    pthread_mutex_unlock(&lock);
    return dev != NULL;
}

/* ---- PCI ------------------------------------------------------------------------------------------------------- */

void fake_nvme_attach(struct fake_nvme *dev)
{
    assert(device_count < DEVICES_MAX);
    uint64_t bytes = dev->bar_bytes != 0 ? dev->bar_bytes : BAR_BYTES_DEFAULT;
    dev->bar = malloc(bytes); /* only its addresses are used */
    assert(dev->bar != NULL);
    struct pci_device pci = {
        .bus = 1,
        .device = (uint8_t)device_count,
        .vendor_id = dev->vendor_id != 0 ? dev->vendor_id : 0x1b36,
        .device_id = dev->device_id != 0 ? dev->device_id : 0x0010,
        .base_class = 0x01,
        .sub_class = 0x08,
        .prog_if = 0x02,
        .bar[0] = {.pa = 0xfe000000 + device_count * 0x10000, .size_bytes = bytes, .is_64 = true},
    };
    dev->pci = host_pci_add(&pci, (void *[6]){dev->bar});
    devices[device_count++] = dev;
}

void fake_nvme_detach_all(void)
{
    while (device_count > 0) {
        struct fake_nvme *dev = devices[--device_count];
        free(dev->bar);
        for (unsigned i = 0; i < FAKE_NVME_BUCKETS; i++) {
            for (struct fake_nvme_block *next; dev->blocks[i] != NULL; dev->blocks[i] = next) {
                next = dev->blocks[i]->next;
                free(dev->blocks[i]);
            }
        }
    }
    host_pci_clear();
}
