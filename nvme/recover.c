/*
 * nvme/recover.c: commands that do not come back. Follows NVM Express Base 1.4: 5.1 (Abort), 7.3.2 (controller reset).
 *
 *   1. a poll finds a command past its deadline, or CSTS fatal or all ones, and wakes the controller's task
 *   2. the task aborts what has expired, and gives it NVME_ABORT_TIMEOUT_NS to come back
 *   3. else it parks the queues and disables the controller: from here on no memory of a request is touched
 *   4. expired commands end their requests with -ETIMEDOUT; reads that were merely in the way start over, once; other
 *      commands end with -EIO, as nobody knows whether they took effect
 *   5. the controller starts again with the same queues; namespaces are compared with what they were
 *   6. where 3 or 5 fails the controller is buried: bus mastering off, everything ends with -ENODEV
 *
 * Finished requests are handed back by their own cores, in nvme_poll(), as ever.
 */
#include "nvme/nvme_internal.h"

#define ABORTS_MAX \
    4 /* a controller that has lost more than this is past aborting (ACL allows 4 on most drives) */

/* ---- noticing -------------------------------------------------------------------------------------------------- */

void nvme_recovery_request(struct nvme_controller *c)
{
    if (!atomic_exchange(&c->is_recovery_wanted, true))
        event_signal(&c->work);
}

static uint64_t command_deadline(const struct nvme_request *request, uint64_t now)
{
    uint64_t timeout =
        request->operation <= NVME_WRITE ? NVME_DATA_TIMEOUT_NS : NVME_SLOW_TIMEOUT_NS;
    return request->deadline_ns != 0 ? request->deadline_ns : now + timeout;
}

static bool is_in_trouble(uint32_t csts)
{
    return csts == UINT32_MAX || csts & NVME_CSTS_CFS;
}

void nvme_queue_check_clock(struct nvme_queue *q)
{
    struct nvme_controller *c = q->controller;
    uint64_t now = time_ns();
    bool is_busy = false, is_recovery_wanted = false;
    for (unsigned i = 0; i < q->slot_count; i++) {
        struct nvme_slot *slot = &q->slots[i];
        if (slot->request == NULL)
            continue;
        is_busy = true;
        if (slot->deadline_ns == 0)
            slot->deadline_ns = command_deadline(slot->request, now);
        if (now < slot->deadline_ns || slot->is_expired)
            continue;
        slot->is_expired = true;
        is_recovery_wanted = true;
        atomic_fetch_add(&c->timeouts, 1);
    }
    if (is_busy && now >= q->next_look_ns) {
        q->next_look_ns = now + NVME_LOOK_NS;
        is_recovery_wanted |= is_in_trouble(mmio_read32(c->regs + NVME_CSTS));
    }
    if (is_recovery_wanted)
        nvme_recovery_request(c);

    /* Nothing of these has been sent, or what was sent expires above. */
    bool has_failed = false;
    for (struct nvme_request *request = q->waiting.first; request != NULL;
         request = request->next) {
        if (request->deadline_ns == 0 || now < request->deadline_ns || request->error != 0)
            continue;
        nvme_request_fail(q, request, -ETIMEDOUT, 0);
        has_failed = true;
    }
    if (has_failed)
        nvme_queue_drop_failed(q);
}

/* ---- aborting -------------------------------------------------------------------------------------------------- */

/* Take completions, and count the expired commands that are still in flight. */
static unsigned expired_count(struct nvme_controller *c)
{
    unsigned count = 0;
    for (unsigned i = 0; i < c->queue_count; i++) {
        struct nvme_queue *q = c->queues[i];
        nvme_queue_lock(q);
        nvme_queue_reap(q);
        for (unsigned s = 0; s < q->slot_count; s++)
            count += q->slots[s].request != NULL && q->slots[s].is_expired;
        nvme_queue_unlock(q);
    }
    return count;
}

/* The next expired command that has not been aborted yet. */
static bool expired_next(struct nvme_controller *c, uint16_t *sq_id, uint16_t *cid)
{
    for (unsigned i = 0; i < c->queue_count; i++) {
        struct nvme_queue *q = c->queues[i];
        bool is_found = false;
        nvme_queue_lock(q);
        for (unsigned s = 0; s < q->slot_count && !is_found; s++) {
            struct nvme_slot *slot = &q->slots[s];
            if (slot->request == NULL || !slot->is_expired || slot->is_abort_sent)
                continue;
            slot->is_abort_sent = is_found = true;
            *sq_id = q->id;
            *cid = slot->cid;
        }
        nvme_queue_unlock(q);
        if (is_found)
            return true;
    }
    return false;
}

/* True when every expired command has come back, one way or the other. */
static bool expired_abort(struct nvme_controller *c)
{
    uint32_t csts = mmio_read32(c->regs + NVME_CSTS);
    if (is_in_trouble(csts)) {
        log_error("%s: CSTS 0x%x: %s", c->name, csts,
                  csts == UINT32_MAX ? "the controller is gone" : "fatal status");
        return false;
    }
    unsigned count = expired_count(c);
    if (count > 0)
        log_error("%s: %u commands past their deadlines, CSTS 0x%x", c->name, count, csts);
    if (count > ABORTS_MAX || c->admin.is_stuck)
        return false;

    uint16_t sq_id, cid;
    while (expired_next(c, &sq_id, &cid)) {
        /* Refused or not: what counts is whether the command comes back. */
        nvme_admin_abort(c, sq_id, cid);
        if (c->admin.is_stuck)
            return false;
    }
    uint64_t deadline = time_ns() + NVME_ABORT_TIMEOUT_NS;
    while (expired_count(c) > 0) {
        if (time_ns() >= deadline)
            return false;
        task_yield();
    }
    return true;
}

/* ---- resetting ------------------------------------------------------------------------------------------------- */

void nvme_queues_park(struct nvme_controller *c)
{
    for (unsigned i = 0; i < c->queue_count; i++) {
        nvme_queue_lock(c->queues[i]);
        c->queues[i]->is_parked = true;
        nvme_queue_unlock(c->queues[i]);
    }
}

/* The device no longer knows our commands. Decide what becomes of the requests they belong to (steps 4 and 6). */
static void queue_settle(struct nvme_queue *q, bool is_dead)
{
    nvme_queue_lock(q);
    nvme_queue_reap(q); /* what came back before the device was disabled has come back */
    for (unsigned i = 0; i < q->slot_count; i++) {
        struct nvme_slot *slot = &q->slots[i];
        struct nvme_request *request = slot->request;
        if (request == NULL)
            continue;
        slot->request = NULL;
        request->in_flight--;
        int error = slot->is_expired                                        ? -ETIMEDOUT
                    : is_dead                                               ? -ENODEV
                    : request->operation == NVME_READ && !request->is_retry ? 0
                                                                            : -EIO;
        if (error != 0 || request->error != 0) {
            q->commands[request->operation][1]++;
            nvme_request_fail(q, request, error, NVME_SC_ABORTED_BY_HOST);
        } else if (request->in_flight == 0) {
            nvme_request_restart(q, request);
        }
    }
    if (is_dead) {
        q->is_parked = q->is_dead = true;
        for (struct nvme_request *request = q->waiting.first; request != NULL;
             request = request->next)
            nvme_request_fail(q, request, -ENODEV, 0);
    }
    nvme_queue_drop_failed(q);
    nvme_queue_unlock(q);
}

void nvme_controller_bury(struct nvme_controller *c)
{
    atomic_store(&c->state, NVME_DEAD);
    pci_disable(c->pci);
    for (unsigned i = 0; i < c->queue_count; i++)
        queue_settle(c->queues[i], true);
}

static void controller_reset(struct nvme_controller *c)
{
    atomic_fetch_add(&c->resets, 1);
    log_warn("%s: resetting the controller", c->name);
    nvme_queues_park(c);
    int error = nvme_controller_disable(c);
    if (!error) {
        for (unsigned i = 0; i < c->queue_count; i++)
            queue_settle(c->queues[i], false);
        error = nvme_controller_bring_up(c);
    }
    if (!error)
        error = nvme_namespaces_recheck(c);
    if (error) {
        log_error("%s: given up after a failed reset: error %d; its namespaces are gone", c->name,
                  -error);
        nvme_controller_disable(c);
        nvme_controller_bury(c);
        return;
    }
    atomic_store(&c->state, NVME_RUNNING);
    for (unsigned i = 0; i < c->queue_count; i++) {
        nvme_queue_lock(c->queues[i]);
        nvme_queue_resume(c->queues[i]);
        nvme_queue_unlock(c->queues[i]);
    }
    log_info("%s: running again", c->name);
}

void nvme_recover(struct nvme_controller *c)
{
    if (atomic_load(&c->state) != NVME_RUNNING)
        return;
    atomic_store(&c->state, NVME_RECOVERING);
    if (expired_abort(c))
        atomic_store(&c->state, NVME_RUNNING);
    else
        controller_reset(c);
}
