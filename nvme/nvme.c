/*
 * nvme/nvme.c: the door: finds the controllers on PCI, starts them side by side, and answers for what runs.
 *
 * Each controller has a task on the core that called nvme_start(). It starts the controller, then sleeps until a
 * command is late (recover.c) or the driver stops. Controllers that run are listed in bus order; the list changes
 * only in nvme_start(), so pointers from it stay valid: after nvme_stop() they lead to controllers that refuse
 * everything.
 */
#include <stdio.h>

#include "nvme/nvme_internal.h"

#define STOP_WAIT_NS NS_PER_S

static struct {
    struct nvme_controller *controllers[NVME_CONTROLLERS_MAX];
    _Atomic unsigned count;
    struct event changed; /* a controller's task has finished starting, or ended */
} nvme;

/* ---- start and stop -------------------------------------------------------------------------------------------- */

static void controller_task(void *arg)
{
    struct nvme_controller *c = arg;
    bool is_running = nvme_controller_start(c) == 0;
    atomic_store(&c->state, is_running ? NVME_RUNNING : NVME_DEAD);
    atomic_store(&c->has_started, true);
    event_signal(&nvme.changed);
    while (is_running) {
        uint32_t seen = event_read(&c->work);
        if (atomic_load(&c->is_stop_wanted))
            break;
        if (atomic_exchange(&c->is_recovery_wanted, false)) {
            mutex_lock(&c->admin_lock);
            nvme_recover(c);
            mutex_unlock(&c->admin_lock);
        } else {
            event_wait(&c->work, seen, DEADLINE_NEVER);
        }
    }
    atomic_store(&c->is_task_running, false);
    event_signal(&nvme.changed);
}

/* Wait until a flag of a controller has the value. 0 or -ETIMEDOUT. */
static int flag_wait(_Atomic bool *flag, bool value, uint64_t deadline_ns)
{
    for (;;) {
        uint32_t seen = event_read(&nvme.changed);
        if (atomic_load(flag) == value)
            return 0;
        if (event_wait(&nvme.changed, seen, deadline_ns) != 0)
            return -ETIMEDOUT;
    }
}

static struct nvme_controller *controller_create(struct pci_device *pci, unsigned index)
{
    struct nvme_controller *c = page_alloc(sizeof(*c), 0);
    if (c == NULL) {
        log_error("nvme%u: no memory for the controller at %s", index, pci->name);
        return NULL;
    }
    c->pci = pci;
    c->index = index;
    snprintf(c->name, sizeof(c->name), "nvme%u", index);
    atomic_store(&c->is_task_running, true);
    int error = task_create(c->name, core_current(), 0, controller_task, c);
    if (error) {
        log_error("%s: cannot start a task for the controller at %s: error %d", c->name, pci->name,
                  -error);
        page_free(c, sizeof(*c));
        return NULL;
    }
    return c;
}

static void controllers_free(void)
{
    unsigned count = atomic_exchange(&nvme.count, 0);
    for (unsigned i = 0; i < count; i++)
        if (!atomic_load(&nvme.controllers[i]->is_task_running)) /* else its task still needs it */
            nvme_controller_free(nvme.controllers[i]);
}

int nvme_start(void)
{
    controllers_free(); /* what an earlier nvme_stop() left for late callers */

    struct nvme_controller *started[NVME_CONTROLLERS_MAX];
    unsigned found = 0, count = 0;
    struct pci_device *pci;
    for (unsigned i = 0; (pci = pci_device_get(i)) != NULL; i++) {
        if (pci->base_class != NVME_PCI_BASE_CLASS || pci->sub_class != NVME_PCI_SUB_CLASS ||
            pci->prog_if != NVME_PCI_PROG_IF)
            continue;
        if (found == NVME_CONTROLLERS_MAX) {
            log_warn("nvme: more than %u controllers; the one at %s and what follows are left out",
                     NVME_CONTROLLERS_MAX, pci->name);
            break;
        }
        started[count] = controller_create(pci, found++);
        count += started[count] != NULL;
    }

    unsigned running = 0;
    for (unsigned i = 0; i < count; i++) {
        struct nvme_controller *c = started[i];
        /* Every step of a start has its own deadline, and the task is on this core. */
        flag_wait(&c->has_started, true, DEADLINE_NEVER);
        if (atomic_load(&c->state) == NVME_RUNNING) {
            nvme.controllers[running++] = c;
            continue;
        }
        flag_wait(&c->is_task_running, false, DEADLINE_NEVER);
        log_error("%s at %s did not start and is left out", c->name, c->pci->name);
        nvme_controller_free(c);
    }
    atomic_store(&nvme.count, running);
    return (int)running;
}

void nvme_stop(void)
{
    unsigned count = atomic_load(&nvme.count);
    for (unsigned i = 0; i < count; i++) { /* all are told before the first is waited for */
        struct nvme_controller *c = nvme.controllers[i];
        mutex_lock(&c->admin_lock);
        if (atomic_load(&c->state) != NVME_DEAD) {
            nvme_queues_park(c);
            nvme_controller_shutdown_begin(c);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        struct nvme_controller *c = nvme.controllers[i];
        if (atomic_load(&c->state) != NVME_DEAD) {
            nvme_controller_shutdown_finish(c);
            nvme_controller_bury(c);
        }
        mutex_unlock(&c->admin_lock);
        atomic_store(&c->is_stop_wanted, true);
        event_signal(&c->work);
        /* A core that computes without a yield must not keep the machine from its restart. */
        flag_wait(&c->is_task_running, false, time_ns() + STOP_WAIT_NS);
    }
}

/* ---- what runs ------------------------------------------------------------------------------------------------- */

struct nvme_controller *nvme_controller_get(unsigned index)
{
    return index < atomic_load_explicit(&nvme.count, memory_order_acquire) ? nvme.controllers[index]
                                                                           : NULL;
}

struct nvme_namespace *nvme_namespace_get(unsigned index)
{
    struct nvme_controller *c;
    for (unsigned i = 0; (c = nvme_controller_get(i)) != NULL; i++) {
        if (index < c->namespace_count)
            return &c->namespaces[index];
        index -= c->namespace_count;
    }
    return NULL;
}

void nvme_controller_info(struct nvme_controller *c, struct nvme_controller_info *out)
{
    *out = (struct nvme_controller_info){
        .vendor_id = c->pci->vendor_id,
        .queue_count = c->queue_count,
        .queue_depth = c->sq_depth,
        .namespace_count = c->namespace_count,
        .is_alive = atomic_load(&c->state) != NVME_DEAD,
    };
    snprintf(out->name, sizeof(out->name), "%s", c->name);
    snprintf(out->model, sizeof(out->model), "%s", c->model);
    snprintf(out->serial, sizeof(out->serial), "%s", c->serial);
    snprintf(out->firmware, sizeof(out->firmware), "%s", c->firmware);
    snprintf(out->pci_name, sizeof(out->pci_name), "%s", c->pci->name);
}

int nvme_controller_health(struct nvme_controller *c, struct nvme_health *out)
{
    mutex_lock(&c->admin_lock);
    int error = atomic_load(&c->state) == NVME_DEAD ? -ENODEV : nvme_admin_health(c, out);
    if (c->admin.is_stuck)
        nvme_recovery_request(c);
    mutex_unlock(&c->admin_lock);
    return error;
}

void nvme_controller_counters(struct nvme_controller *c, struct nvme_counters *out)
{
    static const uint8_t opcodes[NVME_OPERATION_COUNT] = {
        NVME_CMD_READ, NVME_CMD_WRITE, NVME_CMD_FLUSH, NVME_CMD_WRITE_ZEROES, NVME_CMD_DEALLOCATE};
    *out = (struct nvme_counters){
        .timeouts = atomic_load(&c->timeouts),
        .aborts = atomic_load(&c->aborts),
        .resets = atomic_load(&c->resets),
        .bad_completions = atomic_load(&c->bad_admin_completions),
    };
    for (unsigned i = 0; i < c->queue_count; i++) {
        struct nvme_queue *q = c->queues[i];
        nvme_queue_lock(q);
        for (unsigned op = 0; op < NVME_OPERATION_COUNT; op++) {
            out->commands[opcodes[op]][0] += q->commands[op][0];
            out->commands[opcodes[op]][1] += q->commands[op][1];
        }
        out->read_bytes += q->read_bytes;
        out->written_bytes += q->written_bytes;
        out->bad_completions += q->bad_completions;
        nvme_queue_unlock(q);
    }
}
