/*
 * nvme/admin.c: the admin queue and the admin commands that the driver uses. Follows NVM Express Base 1.4, section 5.
 *
 * One command at a time, polled. Data goes through one page that belongs to the driver, so a command that answers after
 * its time has run out harms nobody. Such a command leaves the queue stuck: nothing more is sent before the controller
 * has been reset. Asynchronous events are not asked for; what a drive wants to say is in its status and its health log.
 */
#include <string.h>

#include "nvme/nvme_internal.h"

int nvme_admin_create(struct nvme_controller *c)
{
    struct nvme_admin_queue *a = &c->admin;
    a->sq = page_alloc(NVME_ADMIN_SQ_DEPTH * sizeof(*a->sq), 0);
    a->cq = page_alloc(NVME_ADMIN_CQ_DEPTH * sizeof(*a->cq), 0);
    a->buffer = page_alloc(PAGE_SIZE, 0);
    if (a->sq != NULL && a->cq != NULL && a->buffer != NULL)
        return 0;
    nvme_admin_destroy(c);
    return -ENOMEM;
}

void nvme_admin_destroy(struct nvme_controller *c)
{
    struct nvme_admin_queue *a = &c->admin;
    if (a->sq != NULL)
        page_free(a->sq, NVME_ADMIN_SQ_DEPTH * sizeof(*a->sq));
    if (a->cq != NULL)
        page_free((void *)a->cq, NVME_ADMIN_CQ_DEPTH * sizeof(*a->cq));
    if (a->buffer != NULL)
        page_free(a->buffer, PAGE_SIZE);
    *a = (struct nvme_admin_queue){0};
}

void nvme_admin_reset(struct nvme_controller *c)
{
    struct nvme_admin_queue *a = &c->admin;
    a->sq_tail = a->cq_head = 0;
    a->is_stuck = false;
    memset((void *)a->cq, 0, NVME_ADMIN_CQ_DEPTH * sizeof(*a->cq));
    mmio_write32(c->regs + NVME_AQA, (uint32_t)(field_put(NVME_AQA_ASQS, NVME_ADMIN_SQ_DEPTH - 1) |
                                                field_put(NVME_AQA_ACQS, NVME_ADMIN_CQ_DEPTH - 1)));
    mmio_write64(c->regs + NVME_ASQ, dma_addr(a->sq));
    mmio_write64(c->regs + NVME_ACQ, dma_addr(a->cq));
}

/*
 * Take completions until the one of cid comes. 1 when it has; 0 when there is none yet. Others are answers to nothing
 * we asked, or asked so long ago that the controller has been reset since.
 */
static int completion_take(struct nvme_controller *c, uint16_t cid, struct nvme_completion *out)
{
    struct nvme_admin_queue *a = &c->admin;
    for (unsigned budget = NVME_ADMIN_CQ_DEPTH; budget > 0; budget--) {
        volatile struct nvme_cqe *cqe = &a->cq[a->cq_head % NVME_ADMIN_CQ_DEPTH];
        uint16_t status = cqe->status;
        if ((status & 1) == (a->cq_head / NVME_ADMIN_CQ_DEPTH & 1))
            return 0;
        dma_rmb(); /* the rest of the entry is read after its phase bit */
        bool is_ours = cqe->cid == cid && cqe->sq_id == 0;
        *out = (struct nvme_completion){.result = cqe->result, .status = status >> 1};
        a->cq_head++;
        mmio_write32(c->regs + NVME_DOORBELLS + c->doorbell_stride,
                     a->cq_head % NVME_ADMIN_CQ_DEPTH);
        if (is_ours)
            return 1;
        if (atomic_fetch_add(&c->bad_admin_completions, 1) == 0)
            log_warn("%s: a completion names an admin command that is not in flight", c->name);
    }
    return 0;
}

int nvme_admin_run(struct nvme_controller *c, struct nvme_sqe *command, const char *what,
                   uint64_t timeout_ns, struct nvme_completion *completion)
{
    struct nvme_admin_queue *a = &c->admin;
    struct nvme_completion ignored;
    if (completion == NULL)
        completion = &ignored;
    *completion = (struct nvme_completion){0};
    if (a->is_stuck)
        return -EBUSY;

    command->cid = a->next_cid;
    a->next_cid = (a->next_cid + 1) & NVME_CID_MASK;
    a->sq[a->sq_tail++ % NVME_ADMIN_SQ_DEPTH] = *command;
    dma_wmb(); /* the entry must reach memory before the controller hears of it */
    mmio_write32(c->regs + NVME_DOORBELLS, a->sq_tail % NVME_ADMIN_SQ_DEPTH);

    uint64_t start = time_ns(), now = start, next_look = start + NVME_LOOK_NS;
    while (!completion_take(c, command->cid, completion)) {
        now = time_ns();
        uint32_t csts = 0;
        if (now >= next_look || now - start >= timeout_ns) {
            next_look = now + NVME_LOOK_NS;
            csts = mmio_read32(c->regs + NVME_CSTS);
        }
        int error = csts == UINT32_MAX          ? -ENODEV
                    : now - start >= timeout_ns ? -ETIMEDOUT
                    : csts & NVME_CSTS_CFS      ? -EIO
                                                : 0;
        if (error) {
            a->is_stuck = true;
            log_error("%s: %s (admin opcode %02xh) got no answer for %llu ms, CSTS 0x%x%s", c->name,
                      what != NULL ? what : "a command", command->opcode,
                      (unsigned long long)((now - start) / NS_PER_MS), csts,
                      error == -ENODEV ? ": the controller is gone" : "");
            return error;
        }
        task_yield();
    }
    if (completion->status == 0)
        return 0;
    char text[80];
    if (what != NULL)
        log_error("%s: %s refused: %s", c->name, what,
                  nvme_status_text(completion->status, text, sizeof(text)));
    return -EIO;
}

int nvme_admin_identify(struct nvme_controller *c, uint8_t cns, uint32_t nsid, const char *what,
                        struct nvme_completion *completion)
{
    memset(c->admin.buffer, 0,
           PAGE_SIZE); /* what a short answer leaves out reads as zero, not as the last answer */
    struct nvme_sqe command = {
        .opcode = NVME_ADMIN_IDENTIFY,
        .nsid = nsid,
        .dptr = {dma_addr(c->admin.buffer)},
        .cdw10 = cns,
    };
    return nvme_admin_run(c, &command, what, NVME_ADMIN_TIMEOUT_NS, completion);
}

int nvme_admin_queue_count(struct nvme_controller *c, unsigned wanted)
{
    uint32_t count = wanted - 1;
    struct nvme_sqe command = {
        .opcode = NVME_ADMIN_SET_FEATURES,
        .cdw10 = NVME_FEATURE_QUEUE_COUNT,
        .cdw11 = count << 16 | count, /* completion and submission queues, minus 1 */
    };
    struct nvme_completion completion;
    int error = nvme_admin_run(c, &command, "Set Features (Number of Queues)",
                               NVME_ADMIN_TIMEOUT_NS, &completion);
    if (error)
        return error;
    uint32_t granted = (uint32_t)min_u64(completion.result >> 16, completion.result & 0xffff) + 1;
    return (int)min_u64(granted, wanted);
}

int nvme_admin_doorbell_buffer(struct nvme_controller *c)
{
    memset(c->shadow_doorbells, 0, PAGE_SIZE);
    memset(c->event_indexes, 0, PAGE_SIZE);
    struct nvme_sqe command = {
        .opcode = NVME_ADMIN_DOORBELL_BUFFER,
        .dptr = {dma_addr(c->shadow_doorbells), dma_addr(c->event_indexes)},
    };
    return nvme_admin_run(c, &command, "Doorbell Buffer Config", NVME_ADMIN_TIMEOUT_NS, NULL);
}

int nvme_admin_create_queue(struct nvme_controller *c, const struct nvme_queue *q)
{
    struct nvme_sqe create_cq = {
        .opcode = NVME_ADMIN_CREATE_CQ,
        .dptr = {dma_addr(q->cq)},
        .cdw10 = q->cq_mask << 16 | q->id,
        .cdw11 = NVME_CREATE_QUEUE_CONTIGUOUS, /* no interrupts: polled */
    };
    int error =
        nvme_admin_run(c, &create_cq, "Create I/O Completion Queue", NVME_ADMIN_TIMEOUT_NS, NULL);
    if (error)
        return error;
    struct nvme_sqe create_sq = {
        .opcode = NVME_ADMIN_CREATE_SQ,
        .dptr = {dma_addr(q->sq)},
        .cdw10 = q->sq_mask << 16 | q->id,
        .cdw11 = (uint32_t)q->id << 16 | NVME_CREATE_QUEUE_CONTIGUOUS,
    };
    return nvme_admin_run(c, &create_sq, "Create I/O Submission Queue", NVME_ADMIN_TIMEOUT_NS,
                          NULL);
}

int nvme_admin_abort(struct nvme_controller *c, uint16_t sq_id, uint16_t cid)
{
    struct nvme_sqe command = {
        .opcode = NVME_ADMIN_ABORT,
        .cdw10 = (uint32_t)cid << 16 | sq_id,
    };
    atomic_fetch_add(&c->aborts, 1);
    return nvme_admin_run(c, &command, "Abort", NVME_ABORT_TIMEOUT_NS, NULL);
}

/* A 128-bit count; no drive of today passes 2^64. */
static uint64_t saturate(const uint64_t halves[2])
{
    return halves[1] != 0 ? UINT64_MAX : halves[0];
}

int nvme_admin_health(struct nvme_controller *c, struct nvme_health *out)
{
    memset(c->admin.buffer, 0, PAGE_SIZE);
    struct nvme_sqe command = {
        .opcode = NVME_ADMIN_GET_LOG_PAGE,
        .nsid = NVME_NSID_ALL,
        .dptr = {dma_addr(c->admin.buffer)},
        .cdw10 = (sizeof(struct nvme_health_log) / 4 - 1) << 16 | NVME_LOG_HEALTH,
    };
    int error = nvme_admin_run(c, &command, "Get Log Page (SMART)", NVME_ADMIN_TIMEOUT_NS, NULL);
    if (error)
        return error;
    const struct nvme_health_log *log = c->admin.buffer;
    *out = (struct nvme_health){
        .critical_warning = log->critical_warning,
        .available_spare_percent = log->available_spare,
        .available_spare_threshold_percent = log->available_spare_threshold,
        .percentage_used = log->percentage_used,
        .temperature_celsius =
            (log->temperature_kelvin[0] | log->temperature_kelvin[1] << 8) - 273.15,
        .data_units_read = saturate(log->data_units_read),
        .data_units_written = saturate(log->data_units_written),
        .host_reads = saturate(log->host_reads),
        .host_writes = saturate(log->host_writes),
        .power_cycles = saturate(log->power_cycles),
        .power_on_hours = saturate(log->power_on_hours),
        .unsafe_shutdowns = saturate(log->unsafe_shutdowns),
        .media_errors = saturate(log->media_errors),
    };
    return 0;
}
