/*
 * gpu/cpu/cpu_queue.c: recording commands into a queue's ring, and the life of queues.
 *
 * Recording fills the next free place and counts it; submitting makes the count visible and wakes the workers. A full ring
 * is submitted and waited for.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/cpu/cpu.h"

#define RING_TIMEOUT_NS \
    (30 * NS_PER_S) /* a ring that stays full for so long waits for something that never comes */
#define COPY_CHUNK_BYTES \
    (UINT64_C(256) << 10)    /* a fraction of L2, and well under a millisecond's work */
#define CHUNKS_PER_WORKER 16 /* of a launch: small enough to even out, large enough to be cheap */

/* ---- queues ---------------------------------------------------------------------------------------------------- */

int cpu_queue_create(struct gpu_queue *base)
{
    struct cpu_queue *queue = (struct cpu_queue *)base;
    for (unsigned slot = 0; slot < CPU_QUEUE_MAX; slot++) {
        struct cpu_queue *none = NULL;
        if (!atomic_compare_exchange_strong(&cpu_device.queue[slot], &none, queue))
            continue;
        queue->slot = slot;
        unsigned slots = atomic_load(&cpu_device.queue_slots);
        while (slots < slot + 1 &&
               !atomic_compare_exchange_weak(&cpu_device.queue_slots, &slots, slot + 1))
            ;
        return 0;
    }
    return gpu_fail(-ENOSPC, "cpu0: %d queues are in use", CPU_QUEUE_MAX);
}

/* Wait until the first `count` commands are complete. */
static int wait_completed(struct cpu_queue *queue, uint64_t count, uint64_t deadline_ns)
{
    for (;;) {
        uint32_t seen = event_read(&cpu_device.done);
        if (atomic_load(&queue->completed) >= count)
            return 0;
        if (time_ns() >= deadline_ns)
            return -ETIMEDOUT;
        event_wait(&cpu_device.done, seen, deadline_ns);
    }
}

void cpu_queue_destroy(struct gpu_queue *base)
{
    struct cpu_queue *queue = (struct cpu_queue *)base;
    if (wait_completed(queue, atomic_load(&queue->submitted), time_ns() + RING_TIMEOUT_NS) != 0) {
        log_warn("cpu0: a queue is destroyed whose commands wait for a timeline that nobody "
                 "raises; they are dropped");
        cpu_queue_cancel(base);
        wait_completed(queue, atomic_load(&queue->submitted),
                       DEADLINE_NEVER); /* what runs is a chunk per worker */
    }
    atomic_store(&cpu_device.queue[queue->slot], NULL);
    while (atomic_load(&cpu_device.queue_users[queue->slot]) != 0)
        task_yield();
}

void cpu_queue_cancel(struct gpu_queue *base)
{
    int none = 0;
    atomic_compare_exchange_strong(&base->status, &none, -ECANCELED);
    cpu_queue_advance((struct cpu_queue *)base);
}

int cpu_idle(struct gpu_device *device, uint64_t deadline_ns)
{
    for (unsigned slot = 0; slot < atomic_load(&cpu_device.queue_slots); slot++) {
        int error = 0;
        atomic_fetch_add(&cpu_device.queue_users[slot], 1);
        struct cpu_queue *queue = atomic_load(&cpu_device.queue[slot]);
        if (queue != NULL)
            error = wait_completed(queue, atomic_load(&queue->submitted), deadline_ns);
        atomic_fetch_sub(&cpu_device.queue_users[slot], 1);
        if (error != 0)
            return error;
    }
    return 0;
}

int cpu_submit(struct gpu_queue *base)
{
    struct cpu_queue *queue = (struct cpu_queue *)base;
    atomic_store(&queue->submitted, queue->recorded);
    cpu_queue_advance(queue);
    return 0;
}

/* ---- recording ------------------------------------------------------------------------------------------------- */

/* The next free place, after submitting and waiting when there is none. NULL with *error set. */
static struct cpu_command *next_command(struct cpu_queue *queue, int *error)
{
    if (queue->recorded - atomic_load(&queue->completed) == CPU_QUEUE_DEPTH) {
        cpu_submit(&queue->base);
        if (wait_completed(queue, queue->recorded - CPU_QUEUE_DEPTH + 1,
                           time_ns() + RING_TIMEOUT_NS) != 0) {
            *error = gpu_fail(-EAGAIN, "cpu0: the queue's %d places stay taken", CPU_QUEUE_DEPTH);
            return NULL;
        }
    }
    struct cpu_command *command = &queue->ring[queue->recorded % CPU_QUEUE_DEPTH];
    memset(command, 0, offsetof(struct cpu_command, launch));
    return command;
}

/* Cut `units` of work into chunks of at least chunk_units each. */
static void set_chunks(struct cpu_command *command, uint64_t units, uint64_t chunk_units)
{
    uint64_t least = units / CPU_CHUNK_COUNT_MAX + 1;
    if (chunk_units < least)
        chunk_units = least;
    command->units = units;
    command->chunk_units = chunk_units;
    command->chunk_count = (uint32_t)(units / chunk_units + (units % chunk_units != 0));
}

int cpu_launch(struct gpu_queue *base, struct gpu_kernel *kernel, const struct gpu_launch *launch)
{
    struct cpu_queue *queue = (struct cpu_queue *)base;
    int error = 0;
    struct cpu_command *command = next_command(queue, &error);
    if (command == NULL)
        return error;
    command->kind = CPU_LAUNCH;
    command->launch.function = ((struct cpu_kernel *)kernel)->function;
    for (int axis = 0; axis < 3; axis++)
        command->launch.grid[axis] = launch->grid[axis];
    command->launch.threads = launch->block[0];
    memcpy(command->launch.args, launch->args, launch->args_bytes);
    uint64_t blocks; /* at most 2^31 * 2^16 * 2^16 */
    if (__builtin_mul_overflow((uint64_t)launch->grid[0] * launch->grid[1], launch->grid[2],
                               &blocks))
        return gpu_fail(-EINVAL, "%s: more than 2^64 blocks", kernel->name);
    set_chunks(command, blocks, blocks / (cpu_device.worker_count * CHUNKS_PER_WORKER));
    queue->recorded++;
    return 0;
}

int cpu_copy(struct gpu_queue *base, struct gpu_buffer *dst, uint64_t dst_offset,
             uint64_t dst_pitch, const struct gpu_buffer *src, uint64_t src_offset,
             uint64_t src_pitch, uint64_t row_bytes, uint64_t rows)
{
    struct cpu_queue *queue = (struct cpu_queue *)base;
    int error = 0;
    struct cpu_command *command = next_command(queue, &error);
    if (command == NULL)
        return error;
    command->kind = CPU_COPY;
    command->copy.dst = (uint8_t *)(uintptr_t)(dst->gva + dst_offset);
    command->copy.src = (const uint8_t *)(uintptr_t)(src->gva + src_offset);
    command->copy.dst_pitch = dst_pitch;
    command->copy.src_pitch = src_pitch;
    if (rows == 1 || (dst_pitch == row_bytes && src_pitch == row_bytes)) {
        command->copy.row_bytes = 0;
        set_chunks(command, rows * row_bytes, COPY_CHUNK_BYTES);
    } else {
        command->copy.row_bytes = row_bytes;
        set_chunks(command, rows, COPY_CHUNK_BYTES / row_bytes);
    }
    queue->recorded++;
    return 0;
}

int cpu_fill(struct gpu_queue *base, struct gpu_buffer *dst, uint64_t offset, uint64_t size_bytes,
             uint32_t pattern)
{
    struct cpu_queue *queue = (struct cpu_queue *)base;
    int error = 0;
    struct cpu_command *command = next_command(queue, &error);
    if (command == NULL)
        return error;
    command->kind = CPU_FILL;
    command->fill.dst = (uint32_t *)(uintptr_t)(dst->gva + offset);
    command->fill.pattern = pattern;
    set_chunks(command, size_bytes / 4, COPY_CHUNK_BYTES / 4);
    queue->recorded++;
    return 0;
}

static int record_sync(struct gpu_queue *base, enum cpu_command_kind kind,
                       struct gpu_timeline *timeline, uint64_t value)
{
    struct cpu_queue *queue = (struct cpu_queue *)base;
    int error = 0;
    struct cpu_command *command = next_command(queue, &error);
    if (command == NULL)
        return error;
    command->kind = kind;
    command->sync.timeline = (struct cpu_timeline *)timeline;
    command->sync.value = value;
    queue->recorded++;
    return 0;
}

int cpu_signal(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value)
{
    return record_sync(queue, CPU_SIGNAL, timeline, value);
}

int cpu_wait(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value)
{
    return record_sync(queue, CPU_WAIT, timeline, value);
}
