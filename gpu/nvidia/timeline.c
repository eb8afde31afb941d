/*
 * gpu/nvidia/timeline.c: 64-bit values in host memory that channels and the CPU raise and wait for.
 *
 * The GPU writes them through the semaphore methods and waits with "acquire if greater or equal", unsigned. The CPU reads
 * them from its cache, so polling costs nothing until the GPU's write arrives. They come from blocks of 4 KiB, 64 bytes each.
 */
#include <stdlib.h>

#include "gpu/nvidia/device.h"

#define SEMAPHORE_BYTES      64
#define SEMAPHORES_PER_BLOCK (PAGE_SIZE / SEMAPHORE_BYTES)

/* Between looks at the channels' notifiers while waiting. */
#define FAULT_POLL_NS        (20 * NS_PER_US)
/* After this long of spinning a waiter lets other tasks run; below it, the wake-up itself would be most of the latency. */
#define SPIN_NS              (50 * NS_PER_US)
/* A lost interrupt costs this much, no more. */
#define NAP_NS               NS_PER_MS

struct nvidia_semaphore_block {
    struct nvidia_semaphore_block *next;
    struct nvidia_memory memory;
    uint64_t used; /* one bit each */
};
static_assert(SEMAPHORES_PER_BLOCK == 64, "one bit each in a uint64_t");

static int take(struct nvidia_device *device, struct nvidia_semaphore *out)
{
    for (struct nvidia_semaphore_block *block = device->semaphore_blocks; block;
         block = block->next) {
        if (block->used == UINT64_MAX)
            continue;
        unsigned slot = (unsigned)__builtin_ctzll(~block->used);
        block->used |= BIT(slot);
        *out = (struct nvidia_semaphore){
            .value = (_Atomic uint64_t *)((uint8_t *)block->memory.cpu + slot * SEMAPHORE_BYTES),
            .gva = block->memory.gva + slot * SEMAPHORE_BYTES,
        };
        atomic_store(out->value, 0);
        return 0;
    }
    return -EAGAIN;
}

int nvidia_semaphore_create(struct nvidia_device *device, struct nvidia_semaphore *out)
{
    mutex_lock(&device->lock);
    int error = take(device, out);
    mutex_unlock(&device->lock);
    if (error != -EAGAIN)
        return error;

    struct nvidia_semaphore_block *block = calloc(1, sizeof(*block));
    if (!block)
        return gpu_fail(-ENOMEM, "%s: no memory for a timeline", device->base.info.name);
    error = nvidia_memory_create(device, NVIDIA_HOST, PAGE_SIZE, &block->memory);
    if (error) {
        free(block);
        return error;
    }
    mutex_lock(&device->lock);
    block->next = device->semaphore_blocks;
    device->semaphore_blocks = block;
    error = take(device, out);
    mutex_unlock(&device->lock);
    return error;
}

void nvidia_semaphore_destroy(struct nvidia_device *device, struct nvidia_semaphore *semaphore)
{
    mutex_lock(&device->lock);
    for (struct nvidia_semaphore_block *block = device->semaphore_blocks; block;
         block = block->next)
        if (semaphore->gva >= block->memory.gva && semaphore->gva < block->memory.gva + PAGE_SIZE)
            block->used &= ~BIT((semaphore->gva - block->memory.gva) / SEMAPHORE_BYTES);
    mutex_unlock(&device->lock);
    *semaphore = (struct nvidia_semaphore){0};
}

void nvidia_semaphore_blocks_free(struct nvidia_device *device)
{
    while (device->semaphore_blocks) {
        struct nvidia_semaphore_block *block = device->semaphore_blocks;
        device->semaphore_blocks = block->next;
        nvidia_memory_destroy(device, &block->memory);
        free(block);
    }
}

/* ---- the ops --------------------------------------------------------------------------------------------------- */

static struct nvidia_timeline *timeline_of(const struct gpu_timeline *timeline)
{
    return (struct nvidia_timeline *)timeline;
}

int nvidia_timeline_create(struct gpu_timeline *timeline)
{
    return nvidia_semaphore_create((struct nvidia_device *)timeline->device,
                                   &timeline_of(timeline)->semaphore);
}

void nvidia_timeline_destroy(struct gpu_timeline *timeline)
{
    nvidia_semaphore_destroy((struct nvidia_device *)timeline->device,
                             &timeline_of(timeline)->semaphore);
}

uint64_t nvidia_timeline_value(const struct gpu_timeline *timeline)
{
    return atomic_load_explicit(timeline_of(timeline)->semaphore.value, memory_order_acquire);
}

void nvidia_timeline_signal(struct gpu_timeline *timeline, uint64_t value)
{
    _Atomic uint64_t *current = timeline_of(timeline)->semaphore.value;
    uint64_t seen = atomic_load(current);
    while (seen < value && !atomic_compare_exchange_weak(current, &seen, value))
        ;
}

/* Where the transport tells of completions: sleep until the next one, or NAP_NS, or when the deadline is nearer, until that. */
static void nap(struct nvidia_device *device, _Atomic uint64_t *value, uint64_t wanted,
                uint64_t deadline_ns)
{
    struct event *completion = device->rm.transport->completion
                                   ? device->rm.transport->completion(device->rm.context)
                                   : NULL;
    if (!completion) {
        task_yield();
        return;
    }
    uint32_t seen = event_read(completion);
    if (atomic_load_explicit(value, memory_order_acquire) < wanted)
        event_wait(completion, seen, min_u64(deadline_ns, time_ns() + NAP_NS));
}

/*
 * Spin until *value reaches `wanted`; after SPIN_NS sleep, or yield where nothing would wake us. 0, -ETIMEDOUT, or -EIO when
 * a queue of the device faulted meanwhile and the value was not reached all the same.
 */
static int wait_value(struct nvidia_device *device, _Atomic uint64_t *value, uint64_t wanted,
                      uint64_t deadline_ns)
{
    if (atomic_load_explicit(value, memory_order_acquire) >= wanted)
        return 0;
    uint32_t faults = atomic_load(&device->base.fault_count);
    uint64_t start_ns = time_ns(), fault_poll_ns = start_ns + FAULT_POLL_NS;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(value, memory_order_acquire) >= wanted)
                return 0;
            __builtin_ia32_pause();
        }
        uint64_t now_ns = time_ns();
        if (now_ns >= fault_poll_ns) {
            nvidia_fault_poll(device);
            fault_poll_ns = now_ns + FAULT_POLL_NS;
            if (atomic_load(&device->base.fault_count) != faults)
                return atomic_load_explicit(value, memory_order_acquire) >= wanted ? 0 : -EIO;
        }
        if (now_ns >= deadline_ns)
            return atomic_load_explicit(value, memory_order_acquire) >= wanted ? 0 : -ETIMEDOUT;
        if (now_ns - start_ns >= SPIN_NS)
            nap(device, value, wanted, deadline_ns);
    }
}

int nvidia_timeline_wait(struct gpu_timeline *timeline, uint64_t value, uint64_t deadline_ns)
{
    return wait_value((struct nvidia_device *)timeline->device,
                      timeline_of(timeline)->semaphore.value, value, deadline_ns);
}

int nvidia_queue_wait_fence(struct nvidia_queue *queue, uint64_t fence, uint64_t deadline_ns)
{
    return wait_value((struct nvidia_device *)queue->base.device, queue->fence.value, fence,
                      deadline_ns);
}
