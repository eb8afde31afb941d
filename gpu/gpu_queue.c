/*
 * gpu/gpu_queue.c: queues, their commands and timelines. Every command is checked before it reaches a backend's ring.
 *
 * The order of the checks is that of the reader's questions: is the handle alive, does it belong to this device, is the
 * queue in order, are the numbers right. A refused command changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gpu/gpu_backend.h"
#include "gpu/gpu_handle.h"

/* ---- checks ---------------------------------------------------------------------------------------------------- */

static int check_queue(struct gpu_queue *queue)
{
    if (!gpu_handle_is_live(queue, GPU_HANDLE_QUEUE))
        return gpu_fail(-EINVAL, "%s", queue == NULL ? "no queue given" : "the queue is destroyed");
    int status = atomic_load(&queue->status);
    if (status != 0)
        return gpu_fail(status, "%s: the queue stopped: %s", queue->device->info.name,
                        queue->fault);
    return 0;
}

static int check_buffer(const struct gpu_queue *queue, const struct gpu_buffer *buffer,
                        const char *role)
{
    if (!gpu_handle_is_live(buffer, GPU_HANDLE_BUFFER))
        return gpu_fail(-EINVAL, "the %s buffer is %s", role, buffer == NULL ? "missing" : "freed");
    if (buffer->device != queue->device)
        return gpu_fail(-EINVAL, "the %s buffer belongs to %s, the queue to %s", role,
                        buffer->device->info.name, queue->device->info.name);
    return 0;
}

static int check_range(const struct gpu_buffer *buffer, const char *role, uint64_t offset,
                       uint64_t size_bytes)
{
    if (offset > buffer->size_bytes || size_bytes > buffer->size_bytes - offset)
        return gpu_fail(
            -ERANGE, "%llu bytes at offset %llu reach past the end of the %s buffer of %llu bytes",
            (unsigned long long)size_bytes, (unsigned long long)offset, role,
            (unsigned long long)buffer->size_bytes);
    return 0;
}

static int check_timeline(const struct gpu_queue *queue, const struct gpu_timeline *timeline)
{
    if (!gpu_handle_is_live(timeline, GPU_HANDLE_TIMELINE))
        return gpu_fail(-EINVAL, "the timeline is %s", timeline == NULL ? "missing" : "destroyed");
    if (timeline->device != queue->device)
        return gpu_fail(-EINVAL, "the timeline belongs to %s, the queue to %s",
                        timeline->device->info.name, queue->device->info.name);
    return 0;
}

static int check_launch(const struct gpu_device *device, const struct gpu_kernel *kernel,
                        const struct gpu_launch *launch)
{
    static const char axis_name[3] = {'x', 'y', 'z'};
    uint64_t threads = 1;
    for (int axis = 0; axis < 3; axis++) {
        if (launch->grid[axis] == 0 || launch->grid[axis] > device->info.grid_max[axis])
            return gpu_fail(-EINVAL, "%s: grid.%c is %u, allowed are 1 to %llu", kernel->name,
                            axis_name[axis], launch->grid[axis],
                            (unsigned long long)device->info.grid_max[axis]);
        if (launch->block[axis] == 0 || launch->block[axis] > device->block_max[axis])
            return gpu_fail(-EINVAL, "%s: block.%c is %u, allowed are 1 to %u", kernel->name,
                            axis_name[axis], launch->block[axis], device->block_max[axis]);
        threads *=
            launch->block
                [axis]; /* each at most 2^32 - 1, and the first two are at most 1024 on every device */
        if (threads > device->info.block_threads_max)
            break;
    }
    uint32_t threads_max = device->info.block_threads_max;
    if (kernel->threads_max != 0 && kernel->threads_max < threads_max)
        threads_max = kernel->threads_max;
    if (threads > threads_max)
        return gpu_fail(-EINVAL, "%s: more than %u threads per block", kernel->name, threads_max);
    if ((uint64_t)launch->shared_bytes + kernel->shared_bytes > device->info.shared_bytes_max)
        return gpu_fail(-EINVAL, "%s: %u + %u bytes of shared memory, the device has %u per block",
                        kernel->name, launch->shared_bytes, kernel->shared_bytes,
                        device->info.shared_bytes_max);
    if (launch->args_bytes != kernel->args_bytes)
        return gpu_fail(-EINVAL, "%s takes %u bytes of arguments, %u were given", kernel->name,
                        kernel->args_bytes, launch->args_bytes);
    if (launch->args == NULL && launch->args_bytes != 0)
        return gpu_fail(-EINVAL, "%s: no arguments given", kernel->name);
    return 0;
}

/* The bytes that rows of row_bytes with this pitch span, or UINT64_MAX when that does not fit in 64 bits. */
static uint64_t span_bytes(uint64_t pitch, uint64_t row_bytes, uint64_t rows)
{
    uint64_t span;
    if (__builtin_mul_overflow(pitch, rows - 1, &span) ||
        __builtin_add_overflow(span, row_bytes, &span))
        return UINT64_MAX;
    return span;
}

/* ---- queues ---------------------------------------------------------------------------------------------------- */

int gpu_queue_create(struct gpu_device *device, enum gpu_queue_kind kind, struct gpu_queue **out)
{
    *out = NULL;
    if (device == NULL)
        return gpu_fail(-EINVAL, "no device given");
    if (!device->info.is_usable)
        return gpu_fail(-ENODEV, "%s cannot be used: %s", device->info.name, device->info.why_not);
    if (kind != GPU_QUEUE_COMPUTE && kind != GPU_QUEUE_COPY)
        return gpu_fail(-EINVAL, "%s: no such kind of queue: %d", device->info.name, (int)kind);
    struct gpu_queue *queue = calloc(1, device->ops->queue_bytes);
    if (queue == NULL)
        return gpu_fail(-ENOMEM, "%s: no memory for a queue", device->info.name);
    queue->device = device;
    queue->kind = kind;
    int error = device->ops->queue_create(queue);
    if (error != 0)
        goto free_queue;
    error = gpu_handle_add(queue, GPU_HANDLE_QUEUE);
    if (error != 0) {
        gpu_fail(error, "%s: no memory for a queue", device->info.name);
        goto destroy_queue;
    }
    *out = queue;
    return 0;

destroy_queue:
    device->ops->queue_destroy(queue);
free_queue:
    free(queue);
    return error;
}

void gpu_queue_destroy(struct gpu_queue *queue)
{
    if (queue == NULL)
        return;
    if (!gpu_handle_remove(queue, GPU_HANDLE_QUEUE)) {
        log_error("gpu: gpu_queue_destroy() of a queue that is destroyed");
        return;
    }
    queue->device->ops->queue_destroy(queue);
    free(queue);
}

int gpu_launch(struct gpu_queue *queue, struct gpu_kernel *kernel, const struct gpu_launch *launch)
{
    int error = check_queue(queue);
    if (error != 0)
        return error;
    if (!gpu_handle_is_live(kernel, GPU_HANDLE_KERNEL))
        return gpu_fail(-EINVAL, "%s",
                        kernel == NULL ? "no kernel given" : "the kernel's module is unloaded");
    struct gpu_device *device = queue->device;
    if (kernel->module->device != device)
        return gpu_fail(-EINVAL, "kernel %s belongs to %s, the queue to %s", kernel->name,
                        kernel->module->device->info.name, device->info.name);
    if (queue->kind != GPU_QUEUE_COMPUTE)
        return gpu_fail(-EINVAL, "%s: a copy queue runs no kernels", kernel->name);
    error = check_launch(device, kernel, launch);
    if (error != 0)
        return error;
    return device->ops->launch(queue, kernel, launch);
}

int gpu_copy_2d(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset,
                uint64_t dst_pitch, const struct gpu_buffer *src, uint64_t src_offset,
                uint64_t src_pitch, uint64_t row_bytes, uint64_t rows)
{
    int error = check_queue(queue);
    if (error == 0)
        error = check_buffer(queue, dst, "destination");
    if (error == 0)
        error = check_buffer(queue, src, "source");
    if (error != 0)
        return error;
    if (row_bytes == 0 || rows == 0)
        return gpu_fail(-EINVAL, "a copy of 0 bytes");
    if (rows > 1 && (dst_pitch < row_bytes || src_pitch < row_bytes))
        return gpu_fail(-EINVAL, "rows of %llu bytes overlap: the pitches are %llu and %llu",
                        (unsigned long long)row_bytes, (unsigned long long)dst_pitch,
                        (unsigned long long)src_pitch);
    uint64_t dst_span = span_bytes(dst_pitch, row_bytes, rows);
    uint64_t src_span = span_bytes(src_pitch, row_bytes, rows);
    error = check_range(dst, "destination", dst_offset, dst_span);
    if (error == 0)
        error = check_range(src, "source", src_offset, src_span);
    if (error != 0)
        return error;
    if (dst == src && dst_offset < src_offset + src_span && src_offset < dst_offset + dst_span)
        return gpu_fail(-EINVAL, "source and destination of the copy overlap");
    return queue->device->ops->copy(queue, dst, dst_offset, dst_pitch, src, src_offset, src_pitch,
                                    row_bytes, rows);
}

int gpu_copy(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset,
             const struct gpu_buffer *src, uint64_t src_offset, uint64_t size_bytes)
{
    return gpu_copy_2d(queue, dst, dst_offset, size_bytes, src, src_offset, size_bytes, size_bytes,
                       1);
}

int gpu_fill(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t offset, uint64_t size_bytes,
             uint32_t pattern)
{
    int error = check_queue(queue);
    if (error == 0)
        error = check_buffer(queue, dst, "destination");
    if (error != 0)
        return error;
    if (size_bytes == 0)
        return gpu_fail(-EINVAL, "a fill of 0 bytes");
    if (offset % 4 != 0 || size_bytes % 4 != 0)
        return gpu_fail(-EINVAL, "a fill of %llu bytes at offset %llu: both must be multiples of 4",
                        (unsigned long long)size_bytes, (unsigned long long)offset);
    error = check_range(dst, "destination", offset, size_bytes);
    if (error != 0)
        return error;
    return queue->device->ops->fill(queue, dst, offset, size_bytes, pattern);
}

int gpu_signal(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value)
{
    int error = check_queue(queue);
    if (error == 0)
        error = check_timeline(queue, timeline);
    return error != 0 ? error : queue->device->ops->signal(queue, timeline, value);
}

int gpu_wait(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value)
{
    int error = check_queue(queue);
    if (error == 0)
        error = check_timeline(queue, timeline);
    return error != 0 ? error : queue->device->ops->wait(queue, timeline, value);
}

int gpu_submit(struct gpu_queue *queue)
{
    int error = check_queue(queue);
    return error != 0 ? error : queue->device->ops->submit(queue);
}

void gpu_queue_cancel(struct gpu_queue *queue)
{
    if (!gpu_handle_is_live(queue, GPU_HANDLE_QUEUE))
        return;
    int none = 0;
    if (!atomic_compare_exchange_strong(&queue->status, &none, -ECANCELED))
        return;
    snprintf(queue->fault, sizeof(queue->fault), "cancelled");
    if (queue->device->ops->queue_cancel != NULL)
        queue->device->ops->queue_cancel(queue);
}

int gpu_queue_status(struct gpu_queue *queue)
{
    int error = check_queue(queue);
    if (error != 0 || queue->device->ops->queue_status == NULL)
        return error;
    return queue->device->ops->queue_status(queue);
}

void gpu_queue_fault(struct gpu_queue *queue, int error, const char *fmt, ...)
{
    int none = 0;
    if (atomic_load(&queue->status) != 0)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(queue->fault, sizeof(queue->fault), fmt, args);
    va_end(args);
    if (!atomic_compare_exchange_strong(&queue->status, &none, error))
        return;
    snprintf(queue->device->last_fault, sizeof(queue->device->last_fault), "%s", queue->fault);
    atomic_fetch_add(&queue->device->fault_count, 1);
    log_error("gpu: %s: %s", queue->device->info.name, queue->fault);
}

/* ---- timelines ------------------------------------------------------------------------------------------------- */

int gpu_timeline_create(struct gpu_device *device, struct gpu_timeline **out)
{
    *out = NULL;
    if (device == NULL || !device->info.is_usable)
        return gpu_fail(-ENODEV, "%s", device == NULL ? "no device given" : device->info.why_not);
    struct gpu_timeline *timeline = calloc(1, device->ops->timeline_bytes);
    if (timeline == NULL)
        return gpu_fail(-ENOMEM, "%s: no memory for a timeline", device->info.name);
    timeline->device = device;
    int error = device->ops->timeline_create(timeline);
    if (error != 0)
        goto free_timeline;
    error = gpu_handle_add(timeline, GPU_HANDLE_TIMELINE);
    if (error != 0) {
        gpu_fail(error, "%s: no memory for a timeline", device->info.name);
        goto destroy_timeline;
    }
    *out = timeline;
    return 0;

destroy_timeline:
    device->ops->timeline_destroy(timeline);
free_timeline:
    free(timeline);
    return error;
}

void gpu_timeline_destroy(struct gpu_timeline *timeline)
{
    if (timeline == NULL)
        return;
    if (!gpu_handle_remove(timeline, GPU_HANDLE_TIMELINE)) {
        log_error("gpu: gpu_timeline_destroy() of a timeline that is destroyed");
        return;
    }
    timeline->device->ops->timeline_destroy(timeline);
    free(timeline);
}

uint64_t gpu_timeline_value(const struct gpu_timeline *timeline)
{
    if (!gpu_handle_is_live(timeline, GPU_HANDLE_TIMELINE))
        return 0;
    return timeline->device->ops->timeline_value(timeline);
}

void gpu_timeline_signal(struct gpu_timeline *timeline, uint64_t value)
{
    if (gpu_handle_is_live(timeline, GPU_HANDLE_TIMELINE))
        timeline->device->ops->timeline_signal(timeline, value);
}

int gpu_timeline_wait(struct gpu_timeline *timeline, uint64_t value, uint64_t deadline_ns)
{
    if (!gpu_handle_is_live(timeline, GPU_HANDLE_TIMELINE))
        return gpu_fail(-EINVAL, "the timeline is %s", timeline == NULL ? "missing" : "destroyed");
    int error = timeline->device->ops->timeline_wait(timeline, value, deadline_ns);
    if (error == -ETIMEDOUT)
        return gpu_fail(error, "%s: the timeline is at %llu and has not reached %llu",
                        timeline->device->info.name,
                        (unsigned long long)timeline->device->ops->timeline_value(timeline),
                        (unsigned long long)value);
    if (error == -EIO)
        return gpu_fail(error, "%s: %s", timeline->device->info.name, timeline->device->last_fault);
    return error;
}
