/*
 * gpu/cpu/cpu_worker.c: the tasks that run commands: one per worker core, or one on core 0 when that is alone.
 *
 * A worker looks through the queues for a command that runs, takes a chunk of it, does that, and looks again. Who finishes
 * a command's last chunk starts the queue's next one. Between blocks, at least every millisecond, a worker lets the other
 * tasks of its core run: job code, disk polling and, on a single core, the network.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/cpu/cpu.h"
#include "gpu/kernels/kernels.h"

/* Kernels keep their shared memory and private variables on this stack: sgemm's are the largest, about 320 KiB. */
#define WORKER_STACK_BYTES (640 * 1024)
#define YIELD_AFTER_NS     (500 * NS_PER_US)
#define SPIN_NS \
    (20 * NS_PER_US) /* look on for this long before sleeping: a wake-up from sleep costs more */

void cpu_queue_advance(struct cpu_queue *queue)
{
    bool has_started = false, has_completed = false;
    uint64_t flags = spin_lock(&queue->lock);
    uint64_t number;
    while (!atomic_load(&queue->is_running) &&
           (number = atomic_load(&queue->completed)) != atomic_load(&queue->submitted)) {
        struct cpu_command *command = &queue->ring[number % CPU_QUEUE_DEPTH];
        if (atomic_load(&queue->base.status) == 0) { /* else: drop */
            if (command->kind == CPU_WAIT) {
                if (atomic_load(&command->sync.timeline->value) < command->sync.value)
                    break;
            } else if (command->kind == CPU_SIGNAL) {
                cpu_timeline_raise(command->sync.timeline, command->sync.value);
            } else {
                has_started = true;
                atomic_store(&queue->is_running, true);
                atomic_store(&queue->chunks_done, 0);
                atomic_store(&queue->claim, field_put(CPU_CLAIM_NUMBER, number & 0xffffff) |
                                                field_put(CPU_CLAIM_COUNT, command->chunk_count));
                break;
            }
        }
        atomic_store(&queue->completed, number + 1);
        has_completed = true;
    }
    spin_unlock(&queue->lock, flags);
    if (has_started)
        event_signal(&cpu_device.work);
    if (has_completed)
        event_signal(&cpu_device.done);
}

/* ---- chunks ---------------------------------------------------------------------------------------------------- */

/* Let others run when it is time to. *since is when this task last did. */
static void yield_when_due(uint64_t *since_ns)
{
    if (time_ns() - *since_ns < YIELD_AFTER_NS)
        return;
    task_yield();
    *since_ns = time_ns();
}

static void run_blocks(const struct cpu_command *command, uint64_t begin, uint64_t end,
                       const _Atomic int *status, uint64_t *since_ns)
{
    const uint32_t *grid = command->launch.grid;
    struct kernel_block block = {
        .index_x = (uint32_t)(begin % grid[0]),
        .index_y = (uint32_t)(begin / grid[0] % grid[1]),
        .index_z = (uint32_t)(begin / grid[0] / grid[1]),
        .grid_x = grid[0],
        .grid_y = grid[1],
        .threads = command->launch.threads,
    };
    for (uint64_t i = begin; i < end && atomic_load(status) == 0; i++) {
        command->launch.function(command->launch.args, &block);
        if (++block.index_x == grid[0]) {
            block.index_x = 0;
            if (++block.index_y == grid[1]) {
                block.index_y = 0;
                block.index_z++;
            }
        }
        yield_when_due(since_ns);
    }
}

static void run_chunk(const struct cpu_command *command, uint32_t chunk, const _Atomic int *status,
                      uint64_t *since_ns)
{
    uint64_t begin = chunk * command->chunk_units;
    uint64_t end = min_u64(begin + command->chunk_units, command->units);
    if (command->kind == CPU_LAUNCH) {
        run_blocks(command, begin, end, status, since_ns);
    } else if (command->kind == CPU_FILL) {
        const struct fill_args args = {command->fill.dst + begin, end - begin,
                                       command->fill.pattern};
        struct kernel_block block = {.grid_x = 1, .grid_y = 1, .threads = KERNEL_BLOCK_THREADS_MAX};
        for (; block.index_x * (uint64_t)BLOCK_ELEMENTS < args.count; block.index_x++)
            cpu_fill_kernel(&args, &block);
    } else if (command->copy.row_bytes == 0) {
        memcpy(command->copy.dst + begin, command->copy.src + begin, end - begin);
    } else {
        for (uint64_t row = begin; row < end; row++)
            memcpy(command->copy.dst + row * command->copy.dst_pitch,
                   command->copy.src + row * command->copy.src_pitch, command->copy.row_bytes);
    }
}

/* Take and do one chunk of the queue's current command. False: there is none to take. */
static bool run_some(struct cpu_queue *queue, uint64_t *since_ns)
{
    uint64_t claim = atomic_load(&queue->claim);
    do {
        if (field_get(CPU_CLAIM_NEXT, claim) >= field_get(CPU_CLAIM_COUNT, claim))
            return false;
    } while (!atomic_compare_exchange_weak(&queue->claim, &claim, claim + 1));

    /* A chunk of it is ours, so the command stays current until we count it as done. */
    uint64_t number = atomic_load(&queue->completed);
    const struct cpu_command *command = &queue->ring[number % CPU_QUEUE_DEPTH];
    if (atomic_load(&queue->base.status) == 0)
        run_chunk(command, (uint32_t)field_get(CPU_CLAIM_NEXT, claim), &queue->base.status,
                  since_ns);

    if (atomic_fetch_add(&queue->chunks_done, 1) + 1 == field_get(CPU_CLAIM_COUNT, claim)) {
        uint64_t flags = spin_lock(&queue->lock);
        atomic_store(&queue->is_running, false);
        atomic_store(&queue->completed, number + 1);
        spin_unlock(&queue->lock, flags);
        event_signal(&cpu_device.done);
        cpu_queue_advance(queue);
    }
    return true;
}

/* One look at every queue. True if there was anything to do. */
static bool scan(uint64_t *since_ns)
{
    bool has_worked = false;
    for (unsigned slot = 0; slot < atomic_load(&cpu_device.queue_slots); slot++) {
        if (atomic_load(&cpu_device.queue[slot]) == NULL)
            continue;
        atomic_fetch_add(&cpu_device.queue_users[slot], 1);
        struct cpu_queue *queue = atomic_load(&cpu_device.queue[slot]);
        if (queue != NULL) {
            if (run_some(queue, since_ns))
                has_worked = true;
            else if (!atomic_load(&queue->is_running) &&
                     atomic_load(&queue->completed) != atomic_load(&queue->submitted))
                cpu_queue_advance(queue); /* it may wait for a timeline that has moved */
        }
        atomic_fetch_sub(&cpu_device.queue_users[slot], 1);
    }
    return has_worked;
}

static void worker(void *arg)
{
    uint64_t since_ns = time_ns(), busy_ns = 0;
    while (!atomic_load(&cpu_device.is_stopping)) {
        uint32_t seen = event_read(&cpu_device.work);
        if (scan(&since_ns)) {
            busy_ns = time_ns();
            yield_when_due(&since_ns);
            continue;
        }
        if (time_ns() - busy_ns < SPIN_NS) {
            task_yield();
        } else {
            event_wait(&cpu_device.work, seen, DEADLINE_NEVER);
        }
        since_ns = time_ns();
    }
    atomic_fetch_sub(&cpu_device.workers_alive, 1);
    event_signal(&cpu_device.done);
}

int cpu_workers_start(void)
{
    unsigned cores = core_count();
    atomic_store(&cpu_device.is_stopping, false);
    for (unsigned core = cores > 1 ? 1 : 0; core < cores; core++) {
        char name[24];
        snprintf(name, sizeof(name), "compute%u", core);
        int error = task_create(name, core, WORKER_STACK_BYTES, worker, NULL);
        if (error != 0) {
            cpu_workers_stop();
            return gpu_fail(error, "cpu0: no memory for the worker of core %u", core);
        }
        atomic_fetch_add(&cpu_device.workers_alive, 1);
    }
    return 0;
}

void cpu_workers_stop(void)
{
    atomic_store(&cpu_device.is_stopping, true);
    uint64_t deadline_ns = time_ns() + NS_PER_S;
    while (time_ns() < deadline_ns) {
        uint32_t seen = event_read(&cpu_device.done);
        if (atomic_load(&cpu_device.workers_alive) == 0)
            return;
        event_signal(&cpu_device.work);
        event_wait(&cpu_device.done, seen, deadline_ns);
    }
    log_warn("cpu0: %u workers do not stop", atomic_load(&cpu_device.workers_alive));
}
