/*
 * gpu/nvidia/check.c: whether a GPU that was just brought up computes: the last step of its start on bare metal.
 *
 *   compute   a kernel fills a page of VRAM, another copies it to host memory, where the CPU compares it
 *   copy      a copy engine takes a page from host memory to VRAM and back
 *
 * So page tables, channels, doorbell, semaphores, context buffers and code have all worked once before the first job, and a
 * GPU where one of them does not says so in /v1/devices instead of keeping a job waiting.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"

#define CHECK_TIMEOUT_NS (5 * NS_PER_S) /* for microseconds of work */
#define CHECK_BYTES      4096
#define CHECK_PATTERN    UINT32_C(0x5eed1e55)

struct check {
    struct nvidia_device *device;
    struct nvidia_queue *queue;
    struct nvidia_buffer vram, from, to; /* VRAM, and two pages of host memory */
    char *why;
    size_t why_bytes;
};

static int fail(struct check *check, int error, const char *what, const char *problem)
{
    snprintf(check->why, check->why_bytes, "%s: %s", what, problem);
    return error;
}

static int buffer_make(struct check *check, enum gpu_memory memory, struct nvidia_buffer *buffer)
{
    int error =
        nvidia_memory_create(check->device, memory == GPU_MEMORY_VRAM ? NVIDIA_VRAM : NVIDIA_HOST,
                             CHECK_BYTES, &buffer->memory);
    buffer->base = (struct gpu_buffer){.device = &check->device->base,
                                       .memory = memory,
                                       .size_bytes = CHECK_BYTES,
                                       .gva = buffer->memory.gva,
                                       .cpu = buffer->memory.cpu};
    return error;
}

static int copy(struct check *check, struct nvidia_buffer *dst, const struct nvidia_buffer *src)
{
    return nvidia_queue_copy(&check->queue->base, &dst->base, 0, CHECK_BYTES, &src->base, 0,
                             CHECK_BYTES, CHECK_BYTES, 1);
}

static int compute(struct check *check)
{
    int error =
        nvidia_queue_fill(&check->queue->base, &check->vram.base, 0, CHECK_BYTES, CHECK_PATTERN);
    return error ? error : copy(check, &check->to, &check->vram);
}

static int transfer(struct check *check)
{
    int error = copy(check, &check->vram, &check->from);
    return error ? error : copy(check, &check->to, &check->vram);
}

/* Record on a queue of this kind, submit, wait, compare what has arrived in `to` with `wanted`. */
static int run(struct check *check, enum gpu_queue_kind kind, const char *what,
               int (*record)(struct check *check), const void *wanted)
{
    struct nvidia_queue *queue = calloc(1, sizeof(*queue));
    if (!queue)
        return fail(check, -ENOMEM, what, "no memory for a queue");
    queue->base.device = &check->device->base;
    queue->base.kind = kind;
    check->queue = queue;
    memset(check->to.memory.cpu, 0, CHECK_BYTES);
    int error = nvidia_queue_create(&queue->base);
    if (error) {
        fail(check, error, what, gpu_error());
        goto free_queue;
    }
    error = record(check);
    if (!error)
        error = nvidia_queue_submit(&queue->base);
    if (error)
        fail(check, error, what, gpu_error());
    else
        error =
            nvidia_queue_wait_fence(queue, queue->fence_submitted, time_ns() + CHECK_TIMEOUT_NS);
    if (error == -ETIMEDOUT) {
        char problem[80];
        snprintf(problem, sizeof(problem), "not done within %u s (the fence is %llu, not %llu)",
                 (unsigned)(CHECK_TIMEOUT_NS / NS_PER_S),
                 (unsigned long long)atomic_load(queue->fence.value),
                 (unsigned long long)queue->fence_submitted);
        fail(check, error, what, problem);
        gpu_queue_fault(&queue->base, -EIO, "%s",
                        check->why); /* it is not waited for a second time */
    } else if (error == -EIO && atomic_load(&queue->base.status) != 0) {
        fail(check, error, what, queue->base.fault);
    } else if (!error && memcmp(check->to.memory.cpu, wanted, CHECK_BYTES) != 0) {
        error = fail(check, -EIO, what, "what has arrived is not what was sent");
    }
    nvidia_queue_destroy(&queue->base);
free_queue:
    free(queue);
    return error;
}

int nvidia_check(struct nvidia_device *device, char *why, size_t why_bytes)
{
    struct check check = {.device = device, .why = why, .why_bytes = why_bytes};
    uint32_t *wanted = malloc(CHECK_BYTES);
    why[0] = 0;
    int error = wanted ? 0 : gpu_fail(-ENOMEM, "no memory");
    if (!error)
        error = buffer_make(&check, GPU_MEMORY_VRAM, &check.vram);
    if (!error)
        error = buffer_make(&check, GPU_MEMORY_HOST, &check.from);
    if (!error)
        error = buffer_make(&check, GPU_MEMORY_HOST, &check.to);
    if (error) {
        fail(&check, error, "check", gpu_error());
        goto free_buffers;
    }
    for (unsigned i = 0; i < CHECK_BYTES / 4; i++) {
        ((uint32_t *)check.from.memory.cpu)[i] = i * UINT32_C(2654435761); /* no two alike */
        wanted[i] = CHECK_PATTERN;
    }
    error = run(&check, GPU_QUEUE_COMPUTE, "checking a kernel", compute, wanted);
    if (!error)
        error =
            run(&check, GPU_QUEUE_COPY, "checking a copy engine", transfer, check.from.memory.cpu);

free_buffers:
    nvidia_memory_destroy(device, &check.to.memory);
    nvidia_memory_destroy(device, &check.from.memory);
    nvidia_memory_destroy(device, &check.vram.memory);
    free(wanted);
    return error;
}
