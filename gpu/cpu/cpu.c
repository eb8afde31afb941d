/*
 * gpu/cpu/cpu.c: the device "cpu0": the worker cores, with the machine's memory. The default where there is no GPU, and the
 * reference that tests compare GPUs with.
 *
 * VRAM and host memory are the same here, and a buffer's GPU address is its CPU address. Kernels are ordinary functions, so
 * a wrong pointer in a kernel's arguments is a wrong pointer of the machine's: no fault can be told apart and survived.
 */
#include "gpu/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

/* What stays free for the network, jobs and JSON when buffers have taken the rest. */
#define RESERVE_BYTES (UINT64_C(16) << 20)

struct cpu_device cpu_device;
kernel_function *cpu_fill_kernel;
static const struct cpu_kernel_entry *kernels;

static uint64_t cpu_memory_used(struct gpu_device *device)
{
    return atomic_load(&cpu_device.memory_used);
}

static void cpu_stop(struct gpu_device *device)
{
    cpu_idle(device, time_ns() + NS_PER_S);
    cpu_workers_stop();
}

/* ---- buffers --------------------------------------------------------------------------------------------------- */

static int cpu_buffer_alloc(struct gpu_buffer *buffer)
{
    struct memory_stats stats;
    memory_stats(&stats);
    if (buffer->size_bytes > UINT64_MAX - 2 * PAGE_SIZE)
        return gpu_fail(-ENOMEM, "cpu0: %llu bytes asked for",
                        (unsigned long long)buffer->size_bytes);
    uint64_t size_bytes = align_up(buffer->size_bytes, PAGE_SIZE);
    uint64_t available = stats.free_bytes > RESERVE_BYTES ? stats.free_bytes - RESERVE_BYTES : 0;
    if (stats.largest_bytes < available)
        available = stats.largest_bytes;
    buffer->cpu = size_bytes <= available ? page_alloc_dirty(size_bytes, 0) : NULL;
    if (buffer->cpu == NULL)
        return gpu_fail(-ENOMEM, "cpu0: %llu bytes asked for, %llu bytes are free in one piece",
                        (unsigned long long)buffer->size_bytes, (unsigned long long)available);
    buffer->gva = (uintptr_t)buffer->cpu;
    buffer->is_dma_ready = true;
    atomic_fetch_add(&cpu_device.memory_used, size_bytes);
    return 0;
}

static void cpu_buffer_free(struct gpu_buffer *buffer)
{
    uint64_t size_bytes = align_up(buffer->size_bytes, PAGE_SIZE);
    page_free((void *)(uintptr_t)buffer->gva, size_bytes);
    atomic_fetch_sub(&cpu_device.memory_used, size_bytes);
}

static uint64_t cpu_buffer_dma(const struct gpu_buffer *buffer, uint64_t offset,
                               uint64_t *run_bytes)
{
    *run_bytes = buffer->size_bytes - offset;
    return dma_addr((const uint8_t *)(uintptr_t)(buffer->gva + offset));
}

/* ---- kernels --------------------------------------------------------------------------------------------------- */

void cpu_kernels_use(const char *instruction_set)
{
    kernels = cpu_kernels_for(instruction_set);
    assert(kernels != NULL);
    for (const struct cpu_kernel_entry *entry = kernels; entry->name != NULL; entry++) {
        if (strcmp(entry->name, "fill") == 0)
            cpu_fill_kernel = entry->function;
    }
    snprintf(cpu_device.base.info.architecture, sizeof(cpu_device.base.info.architecture), "%s",
             instruction_set);
    /* Those that were looked up before move over as well. */
    for (struct gpu_kernel *known = cpu_device.base.builtin->kernels; known != NULL;
         known = known->next) {
        for (const struct cpu_kernel_entry *entry = kernels; entry->name != NULL; entry++) {
            if (strcmp(entry->name, known->name) == 0)
                ((struct cpu_kernel *)known)->function = entry->function;
        }
    }
}

static int cpu_kernel_find(struct gpu_kernel *kernel)
{
    for (const struct cpu_kernel_entry *entry = kernels; entry->name != NULL; entry++) {
        if (strcmp(entry->name, kernel->name) == 0) {
            ((struct cpu_kernel *)kernel)->function = entry->function;
            kernel->args_bytes = entry->args_bytes;
            kernel->threads_max = KERNEL_BLOCK_THREADS_MAX;
            return 0;
        }
    }
    return -ENOENT;
}

/* ---- timelines ------------------------------------------------------------------------------------------------- */

static int cpu_timeline_create(struct gpu_timeline *timeline)
{
    return 0;
}

static void cpu_timeline_destroy(struct gpu_timeline *timeline)
{
}

static uint64_t cpu_timeline_value(const struct gpu_timeline *timeline)
{
    return atomic_load(&((const struct cpu_timeline *)timeline)->value);
}

void cpu_timeline_raise(struct cpu_timeline *timeline, uint64_t value)
{
    uint64_t before = atomic_load(&timeline->value);
    while (before < value && !atomic_compare_exchange_weak(&timeline->value, &before, value))
        ;
    event_signal(&cpu_device.done);
    event_signal(&cpu_device.work); /* queues that wait for it */
}

static void cpu_timeline_signal(struct gpu_timeline *timeline, uint64_t value)
{
    cpu_timeline_raise((struct cpu_timeline *)timeline, value);
}

static int cpu_timeline_wait(struct gpu_timeline *timeline, uint64_t value, uint64_t deadline_ns)
{
    for (;;) {
        uint32_t seen = event_read(&cpu_device.done);
        if (cpu_timeline_value(timeline) >= value)
            return 0;
        if (time_ns() >= deadline_ns)
            return -ETIMEDOUT;
        event_wait(&cpu_device.done, seen, deadline_ns);
    }
}

/* ---- start ----------------------------------------------------------------------------------------------------- */

static const struct gpu_ops ops = {
    .buffer_bytes = sizeof(struct gpu_buffer),
    .module_bytes = sizeof(struct gpu_module),
    .kernel_bytes = sizeof(struct cpu_kernel),
    .queue_bytes = sizeof(struct cpu_queue),
    .timeline_bytes = sizeof(struct cpu_timeline),
    .memory_used = cpu_memory_used,
    .idle = cpu_idle,
    .stop = cpu_stop,
    .buffer_alloc = cpu_buffer_alloc,
    .buffer_free = cpu_buffer_free,
    .buffer_dma = cpu_buffer_dma,
    .kernel_find = cpu_kernel_find,
    .queue_create = cpu_queue_create,
    .queue_destroy = cpu_queue_destroy,
    .launch = cpu_launch,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .signal = cpu_signal,
    .wait = cpu_wait,
    .submit = cpu_submit,
    .queue_cancel = cpu_queue_cancel,
    .timeline_create = cpu_timeline_create,
    .timeline_destroy = cpu_timeline_destroy,
    .timeline_value = cpu_timeline_value,
    .timeline_signal = cpu_timeline_signal,
    .timeline_wait = cpu_timeline_wait,
};

int gpu_cpu_start(void)
{
    struct memory_stats stats;
    memory_stats(&stats);
    unsigned cores = core_count();
    cpu_device.worker_count = cores > 1 ? cores - 1 : 1;
    cpu_device.base = (struct gpu_device){
        .ops = &ops,
        .info =
            {
                .name = "cpu0",
                .memory_bytes =
                    stats.free_bytes > RESERVE_BYTES ? stats.free_bytes - RESERVE_BYTES : 0,
                .multiprocessors = cpu_device.worker_count,
                .block_threads_max = KERNEL_BLOCK_THREADS_MAX,
                .shared_bytes_max = 0, /* kernels declare theirs; nothing is dynamic here */
                .grid_max = {0x7fffffff, 65535,
                             65535}, /* as on NVIDIA GPUs, so that a launch is good on both */
                .is_usable = true,
            },
        .block_max = {KERNEL_BLOCK_THREADS_MAX, 1, 1},
    };
    snprintf(cpu_device.base.info.model, sizeof(cpu_device.base.info.model), "%s",
             cpu_features()->brand);
    if (gpu_module_add_builtin(&cpu_device.base) == NULL)
        return -ENOMEM;
    cpu_kernels_use(cpu_kernels_best());
    int error = cpu_workers_start();
    if (error != 0)
        return error;
    return gpu_device_add(&cpu_device.base);
}
