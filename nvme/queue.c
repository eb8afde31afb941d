/*
 * nvme/queue.c: I/O queue pairs, the hot path. Follows NVM Express Base 1.4: 4.1 (queues), 4.6 (completions), 6 (NVM
 * commands), 7.2.1 (command processing) and Annex B.5 (shadow doorbells).
 *
 * A request is split into commands where it stands: each command takes a free slot, is written straight into the ring
 * with its PRP list in the slot's own memory, and its cid leads back to the slot. No more than depth - 1 slots exist,
 * so neither ring can overflow. The submission doorbell tells of many commands at once (is_time_to_ring). The
 * completion doorbell is rung only when acknowledging matters: the completion ring is deeper than the commands in
 * flight, and as long as what is unacknowledged and what is in flight fit into it together, the controller needs no
 * news.
 *
 * The clock is read once in NVME_CLOCK_POLLS polls; what expires is recover.c's business.
 */
#include <string.h>

#include "nvme/nvme_internal.h"

/* ---- life ------------------------------------------------------------------------------------------------------ */

static uint64_t ring_bytes(const struct nvme_queue *q)
{
    return align_up((q->sq_mask + 1) * sizeof(struct nvme_sqe), PAGE_SIZE) +
           align_up((q->cq_mask + 1) * sizeof(struct nvme_cqe), PAGE_SIZE) +
           align_up((uint64_t)q->slot_count * NVME_LIST_BYTES, PAGE_SIZE);
}

struct nvme_queue *nvme_queue_create(struct nvme_controller *c, uint16_t id)
{
    struct nvme_queue *q = page_alloc(sizeof(*q), 0);
    if (q == NULL)
        return NULL;
    q->controller = c;
    q->id = id;
    q->sq_mask = c->sq_depth - 1;
    q->cq_mask = c->cq_depth - 1;
    q->cq_shift = (unsigned)__builtin_ctz(c->cq_depth);
    q->slot_count = (uint16_t)min_u64(q->sq_mask, q->cq_mask);
    if (c->quirks & NVME_QUIRK_DEPTH_ONE)
        q->slot_count = 1;
    q->cq_slack = q->cq_mask - q->slot_count;

    uint8_t *memory = page_alloc(ring_bytes(q), 0);
    if (memory == NULL) {
        page_free(q, sizeof(*q));
        return NULL;
    }
    q->sq = (struct nvme_sqe *)memory;
    memory += align_up((q->sq_mask + 1) * sizeof(struct nvme_sqe), PAGE_SIZE);
    q->cq = (struct nvme_cqe *)memory;
    memory += align_up((q->cq_mask + 1) * sizeof(struct nvme_cqe), PAGE_SIZE);
    q->lists = (uint64_t *)memory;
    q->lists_dma = dma_addr(memory);

    q->sq_doorbell = c->regs + NVME_DOORBELLS + (2u * id) * c->doorbell_stride;
    q->cq_doorbell = c->regs + NVME_DOORBELLS + (2u * id + 1) * c->doorbell_stride;
    nvme_queue_reset(q);
    return q;
}

void nvme_queue_destroy(struct nvme_queue *q)
{
    page_free(q->sq, ring_bytes(q));
    page_free(q, sizeof(*q));
}

void nvme_queue_reset(struct nvme_queue *q)
{
    struct nvme_controller *c = q->controller;
    q->sq_tail = q->sq_tail_rung = q->cq_head = q->cq_head_rung = 0;
    memset((void *)q->cq, 0,
           (q->cq_mask + 1) * sizeof(struct nvme_cqe)); /* phase 0: no entry is new */
    q->free_count = 0;
    for (unsigned i = q->slot_count; i-- > 0;) {
        assert(q->slots[i].request == NULL);
        q->free_slots[q->free_count++] = (uint8_t)i;
    }

    bool has_shadow = c->has_doorbell_buffer;
    size_t sq_at = (2u * q->id) * c->doorbell_stride, cq_at = (2u * q->id + 1) * c->doorbell_stride;
    uint8_t *shadow = c->shadow_doorbells, *event_index = c->event_indexes;
    q->sq_shadow = has_shadow ? (uint32_t *)(shadow + sq_at) : NULL;
    q->cq_shadow = has_shadow ? (uint32_t *)(shadow + cq_at) : NULL;
    q->sq_event_index = has_shadow ? (uint32_t *)(event_index + sq_at) : NULL;
    q->cq_event_index = has_shadow ? (uint32_t *)(event_index + cq_at) : NULL;
}

void nvme_queue_lock(struct nvme_queue *q)
{
    while (atomic_exchange_explicit(&q->lock, 1, memory_order_acquire) != 0)
        __builtin_ia32_pause();
}

void nvme_queue_unlock(struct nvme_queue *q)
{
    atomic_store_explicit(&q->lock, 0, memory_order_release);
}

/* ---- doorbells ------------------------------------------------------------------------------------------------- */

/*
 * Tell the controller that a ring position moved from old to new. With shadow doorbells the value goes to memory, and
 * the register is written only when the controller asked to be woken at a position in (old, new].
 */
static void doorbell_ring(volatile void *doorbell, volatile uint32_t *shadow,
                          const volatile uint32_t *event_index, uint32_t old, uint32_t new)
{
    dma_wmb(); /* entries must reach memory before the controller hears of them */
    if (shadow != NULL) {
        *shadow = new;
        dma_mb(); /* the controller writes the event index, then reads the shadow; we must do the opposite in order */
        uint16_t wanted = (uint16_t)*event_index;
        if ((uint16_t)(new - wanted - 1) >= (uint16_t)(new - old))
            return;
    }
    mmio_write32(doorbell, new);
}

static void sq_ring(struct nvme_queue *q)
{
    if (q->sq_tail == q->sq_tail_rung)
        return;
    doorbell_ring(q->sq_doorbell, q->sq_shadow, q->sq_event_index, q->sq_tail_rung & q->sq_mask,
                  q->sq_tail & q->sq_mask);
    q->sq_tail_rung = q->sq_tail;
}

static void cq_ring(struct nvme_queue *q)
{
    if (q->cq_head - q->cq_head_rung <= q->cq_slack)
        return;
    doorbell_ring(q->cq_doorbell, q->cq_shadow, q->cq_event_index, q->cq_head_rung & q->cq_mask,
                  q->cq_head & q->cq_mask);
    q->cq_head_rung = q->cq_head;
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

/* Changed with the lock held only, so it needs no atomic addition. */
static void outstanding_add(struct nvme_queue *q, int change)
{
    uint32_t count = atomic_load_explicit(&q->outstanding, memory_order_relaxed);
    atomic_store_explicit(&q->outstanding, count + (uint32_t)change, memory_order_relaxed);
}

/* A core's own requests count from the moment it submits them, so it cannot miss them without the lock. */
static bool has_outstanding(const struct nvme_queue *q)
{
    return atomic_load_explicit(&q->outstanding, memory_order_relaxed) > 0;
}

static void list_append(struct nvme_request_list *list, struct nvme_request *request)
{
    request->next = NULL;
    if (list->first == NULL)
        list->first = request;
    else
        list->last->next = request;
    list->last = request;
}

static void request_rewind(struct nvme_request *request)
{
    request->next_lba = request->lba;
    request->blocks_left = request->operation == NVME_FLUSH ? 1 : request->block_count;
    request->cursor = (struct dma_cursor){0};
}

void nvme_request_fail(struct nvme_queue *q, struct nvme_request *request, int error,
                       uint16_t status)
{
    if (request->error == 0) {
        request->error = error;
        request->status = status;
    }
    request->blocks_left = 0;
    if (request->in_flight == 0 && !request->is_waiting)
        list_append(&q->finished, request);
}

void nvme_request_restart(struct nvme_queue *q, struct nvme_request *request)
{
    request_rewind(request);
    request->is_retry = true;
    if (request->is_waiting)
        return; /* it is the first already: only the first has commands in flight */
    request->is_waiting = true;
    request->next = q->waiting.first;
    q->waiting.first = request;
    if (request->next == NULL)
        q->waiting.last = request;
}

void nvme_queue_drop_failed(struct nvme_queue *q)
{
    struct nvme_request_list kept = {0};
    for (struct nvme_request *r = q->waiting.first, *next; r != NULL; r = next) {
        next = r->next;
        if (r->blocks_left > 0) {
            list_append(&kept, r);
            continue;
        }
        r->is_waiting = false;
        if (r->in_flight == 0)
            list_append(&q->finished, r);
    }
    q->waiting = kept;
}

/* ---- submission ------------------------------------------------------------------------------------------------ */

/* Point a read or write at as much of the request's memory as one command may move. Returns its bytes, whole blocks. */
static uint32_t data_describe(struct nvme_queue *q, struct nvme_request *request,
                              struct nvme_sqe *sqe, uint64_t *list, uint64_t list_dma)
{
    const struct nvme_namespace *ns = request->namespace;
    const struct dma_segment *segment = &request->segments[request->cursor.index];
    uint64_t dma = segment->dma + request->cursor.offset;
    uint64_t run = segment->size_bytes - request->cursor.offset;
    uint64_t limit = min_u64(ns->transfer_bytes_max, nvme_prp_limit(dma));
    uint64_t bytes = min_u64(request->blocks_left << ns->block_shift, limit);

    if (!q->controller->has_sgl || bytes <= 2 * PAGE_SIZE || bytes > run) {
        nvme_prp_encode(request->segments, &request->cursor, bytes, list, list_dma, sqe->dptr);
        return (uint32_t)bytes;
    }
    /* One run of memory: a single descriptor says in 16 bytes what takes a list of pages otherwise. */
    sqe->flags = NVME_FLAGS_SGL;
    sqe->dptr[0] = dma;
    sqe->dptr[1] = NVME_SGL_DATA_BLOCK | bytes;
    request->cursor.offset += bytes;
    if (bytes == run)
        request->cursor = (struct dma_cursor){.index = request->cursor.index + 1};
    return (uint32_t)bytes;
}

/* The next command of the request, into the ring. There is a free slot. */
static void command_issue(struct nvme_queue *q, struct nvme_request *request)
{
    static const uint8_t opcodes[NVME_OPERATION_COUNT] = {
        [NVME_READ] = NVME_CMD_READ,
        [NVME_WRITE] = NVME_CMD_WRITE,
        [NVME_FLUSH] = NVME_CMD_FLUSH,
        [NVME_WRITE_ZEROES] = NVME_CMD_WRITE_ZEROES,
        [NVME_DEALLOCATE] = NVME_CMD_DEALLOCATE,
    };
    const struct nvme_namespace *ns = request->namespace;
    unsigned index = q->free_slots[--q->free_count];
    struct nvme_slot *slot = &q->slots[index];
    slot->cid = (uint16_t)(((slot->cid + NVME_CID_USE) & NVME_CID_MASK & ~NVME_CID_INDEX) | index);
    slot->request = request;
    slot->deadline_ns = 0;
    slot->data_bytes = 0;
    slot->is_expired = slot->is_abort_sent = false;

    struct nvme_sqe *sqe = &q->sq[q->sq_tail++ & q->sq_mask];
    *sqe = (struct nvme_sqe){
        .opcode = opcodes[request->operation], .cid = slot->cid, .nsid = ns->nsid};
    uint64_t blocks = request->blocks_left;
    uint64_t *list = q->lists + index * (NVME_LIST_BYTES / 8);
    uint64_t list_dma = q->lists_dma + index * NVME_LIST_BYTES;

    switch (request->operation) {
    case NVME_READ:
    case NVME_WRITE:
        slot->data_bytes = data_describe(q, request, sqe, list, list_dma);
        blocks = slot->data_bytes >> ns->block_shift;
        sqe->cdw12 = (uint32_t)blocks - 1;
        break;
    case NVME_WRITE_ZEROES:
        /* No data moves, yet some drives hold the command to MDTS all the same. */
        blocks = min_u64(blocks, ns->transfer_bytes_max >> ns->block_shift);
        sqe->cdw12 = (uint32_t)blocks - 1;
        break;
    case NVME_DEALLOCATE: {
        blocks = min_u64(blocks, NVME_DEALLOCATE_BLOCKS_MAX);
        struct nvme_dsm_range *range = (struct nvme_dsm_range *)list;
        *range = (struct nvme_dsm_range){.block_count = (uint32_t)blocks, .lba = request->next_lba};
        sqe->dptr[0] = list_dma;
        sqe->cdw11 = NVME_DSM_DEALLOCATE; /* CDW10: number of ranges, minus 1 */
        break;
    }
    default: /* flush: no blocks */
        break;
    }
    if (request->operation <= NVME_WRITE || request->operation == NVME_WRITE_ZEROES) {
        sqe->cdw10 = (uint32_t)request->next_lba;
        sqe->cdw11 = (uint32_t)(request->next_lba >> 32);
    }
    request->next_lba += blocks;
    request->blocks_left -= blocks;
    request->in_flight++;
}

/* Turn waiting requests into commands while there are free slots. */
static void queue_fill(struct nvme_queue *q)
{
    struct nvme_request *request;
    while ((request = q->waiting.first) != NULL) {
        while (request->blocks_left > 0 && q->free_count > 0)
            command_issue(q, request);
        if (request->blocks_left > 0)
            return;
        q->waiting.first = request->next;
        request->is_waiting = false;
        if (request->in_flight == 0) /* it failed while it waited for the rest of its commands */
            list_append(&q->finished, request);
    }
}

void nvme_queue_resume(struct nvme_queue *q)
{
    for (struct nvme_request *request = q->waiting.first; request != NULL; request = request->next)
        if (request->namespace->is_gone)
            nvme_request_fail(q, request, -ENODEV, 0);
    nvme_queue_drop_failed(q);
    q->is_parked = false;
    queue_fill(q);
    sq_ring(q);
}

static int request_check(const struct nvme_request *request)
{
    const struct nvme_namespace *ns = request->namespace;
    if (ns->is_gone ||
        atomic_load_explicit(&ns->controller->state, memory_order_relaxed) == NVME_DEAD)
        return -ENODEV;
    switch (request->operation) {
    case NVME_FLUSH:
        return request->block_count == 0 && request->segment_count == 0 ? 0 : -EINVAL;
    case NVME_READ:
    case NVME_WRITE:
        if (request->block_count > ns->block_count)
            return -ERANGE;
        if (!nvme_segments_valid(request->segments, request->segment_count,
                                 request->block_count << ns->block_shift))
            return -EINVAL;
        break;
    case NVME_WRITE_ZEROES:
        if (!ns->can_write_zeroes)
            return -ENOTSUP;
        break;
    case NVME_DEALLOCATE:
        if (!ns->can_deallocate)
            return -ENOTSUP;
        break;
    default:
        return -EINVAL;
    }
    if (request->block_count == 0 ||
        (request->operation > NVME_WRITE && request->segment_count != 0))
        return -EINVAL;
    if (request->lba >= ns->block_count || request->block_count > ns->block_count - request->lba)
        return -ERANGE;
    return request->operation != NVME_READ && ns->is_read_only ? -EROFS : 0;
}

int nvme_submit(struct nvme_request *request)
{
    int error = request_check(request);
    if (error)
        return error;
    request->done = false;
    request->error = 0;
    request->status = 0;
    request->in_flight = 0;
    request->is_retry = false;
    request_rewind(request);

    struct nvme_queue *q = request->namespace->controller->queue_of_core[core_current()];
    nvme_queue_lock(q);
    if (q->is_dead ||
        request->namespace->is_gone) { /* looked at again, as the lock may have been recovery's */
        nvme_queue_unlock(q);
        return -ENODEV;
    }
    outstanding_add(q, 1);
    request->is_waiting = true;
    list_append(&q->waiting, request);
    if (!q->is_parked)
        queue_fill(q);
    nvme_queue_unlock(q);
    return 0;
}

/* ---- completion ------------------------------------------------------------------------------------------------ */

static void command_complete(struct nvme_queue *q, struct nvme_slot *slot, uint16_t status)
{
    struct nvme_request *request = slot->request;
    slot->request = NULL;
    q->free_slots[q->free_count++] = (uint8_t)(slot - q->slots);
    q->commands[request->operation][status != 0]++;
    request->in_flight--;
    if (status != 0) {
        nvme_log_failure(q->controller, request, status);
        nvme_request_fail(q, request, slot->is_expired ? -ETIMEDOUT : nvme_status_errno(status),
                          status);
        return;
    }
    if (request->operation == NVME_READ)
        q->read_bytes += slot->data_bytes;
    else
        q->written_bytes += slot->data_bytes;
    if (request->in_flight == 0 && !request->is_waiting)
        list_append(&q->finished, request);
}

unsigned nvme_queue_reap(struct nvme_queue *q)
{
    /* A controller that keeps answering what was not asked must not keep us here. */
    unsigned taken;
    for (taken = 0; taken < q->slot_count; taken++) {
        volatile struct nvme_cqe *cqe = &q->cq[q->cq_head & q->cq_mask];
        uint16_t status = cqe->status;
        if ((status & 1) == (q->cq_head >> q->cq_shift & 1))
            break;
        dma_rmb(); /* the rest of the entry is read after its phase bit */
        q->cq_head++;

        uint16_t cid = cqe->cid;
        struct nvme_slot *slot = &q->slots[cid & NVME_CID_INDEX & (NVME_SQ_DEPTH_MAX - 1)];
        if (slot->request == NULL || slot->cid != cid || cqe->sq_id != q->id) {
            if (q->bad_completions++ == 0)
                log_warn("%s: queue %u: a completion names command 0x%04x of queue %u, which is "
                         "not in flight",
                         q->controller->name, q->id, cid, cqe->sq_id);
            continue;
        }
        command_complete(q, slot, status >> 1);
    }
    return taken;
}

/* Hand finished requests back to their callers, with no lock held: on_done may submit. */
static int requests_deliver(struct nvme_request *first)
{
    int count = 0;
    for (struct nvme_request *request = first, *next; request != NULL; request = next) {
        next = request->next; /* once done, the memory is the caller's */
        void (*on_done)(struct nvme_request *) = request->on_done;
        __atomic_store_n(&request->done, true, __ATOMIC_RELEASE);
        if (on_done != NULL)
            on_done(request);
        count++;
    }
    return count;
}

/*
 * While completions keep coming, what is submitted gathers, and one doorbell tells of it all: at the latest when the
 * controller has no more to do than what it has not heard of. A doorbell is a trip to the device, or out of a virtual
 * machine; at depth 1 nothing changes.
 */
static bool is_time_to_ring(const struct nvme_queue *q, unsigned reaped)
{
    unsigned in_flight = q->slot_count - q->free_count, unheard = q->sq_tail - q->sq_tail_rung;
    return reaped == 0 || 2 * unheard >= in_flight;
}

static int queue_poll(struct nvme_queue *q)
{
    nvme_queue_lock(q);
    if (!q->is_parked) {
        unsigned reaped = nvme_queue_reap(q);
        cq_ring(q);
        queue_fill(q);
        if (is_time_to_ring(q, reaped))
            sq_ring(q);
        if (++q->polls % NVME_CLOCK_POLLS == 0)
            nvme_queue_check_clock(q);
    }
    struct nvme_request *finished = q->finished.first;
    q->finished.first = NULL;
    for (struct nvme_request *request = finished; request != NULL; request = request->next)
        outstanding_add(q, -1);
    nvme_queue_unlock(q);
    return requests_deliver(finished);
}

int nvme_poll(void)
{
    unsigned core = core_current();
    int count = 0;
    struct nvme_controller *c;
    for (unsigned i = 0; (c = nvme_controller_get(i)) != NULL; i++) {
        struct nvme_queue *q = c->queue_of_core[core];
        if (has_outstanding(q))
            count += queue_poll(q);
    }
    return count;
}

void nvme_kick(void)
{
    unsigned core = core_current();
    struct nvme_controller *c;
    for (unsigned i = 0; (c = nvme_controller_get(i)) != NULL; i++) {
        struct nvme_queue *q = c->queue_of_core[core];
        if (!has_outstanding(q))
            continue;
        nvme_queue_lock(q);
        if (!q->is_parked)
            sq_ring(q);
        nvme_queue_unlock(q);
    }
}

int nvme_run(struct nvme_request *request)
{
    int error = nvme_submit(request);
    if (error)
        return error;
    nvme_kick();
    for (;;) {
        nvme_poll();
        if (__atomic_load_n(&request->done, __ATOMIC_ACQUIRE))
            return request->error;
        task_yield();
    }
}
