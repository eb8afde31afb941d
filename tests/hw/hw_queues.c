/*
 * tests/hw/hw_queues.c: many queues at once, waits between them, timelines on both sides, CPU waits with deadlines.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "tests/hw/device/kernels.h"
#include "tests/hw/hw.h"

#define QUEUES 64

/*
 * A ring of queues, compute and copy mixed: each waits for its left neighbour's signal, adds to or copies the one buffer that
 * goes round, and signals its right neighbour. Submitted in random order, so that most of them really wait.
 */
static bool cross_waits(struct hw *hw)
{
    struct hw_stream streams[QUEUES];
    struct gpu_buffer *token, *one, *spare;
    const uint64_t words = 1000;
    const unsigned rounds = hw->is_quick ? 3 : 20;
    if (!hw_alloc(hw, GPU_MEMORY_VRAM, words * 4, &token) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, words * 4, &one) ||
        !hw_alloc(hw, GPU_MEMORY_VRAM, words * 4, &spare))
        return false;
    for (uint64_t i = 0; i < words; i++)
        ((uint32_t *)one->cpu)[i] = 1;
    for (unsigned q = 0; q < QUEUES; q++)
        if (!hw_stream_open(hw, q % 4 == 3 ? GPU_QUEUE_COPY : GPU_QUEUE_COMPUTE, &streams[q]))
            return false;
    HW_OK(gpu_fill(streams[3].queue, token, 0, words * 4, 0));
    HW_OK(gpu_signal(streams[3].queue, streams[QUEUES - 1].timeline, 1));
    HW_OK(gpu_submit(streams[3].queue));

    uint32_t added = 0;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned order[QUEUES] = {0};
        for (unsigned i = 0; i < QUEUES; i++) {
            unsigned j = (unsigned)(hw_random(hw) % (i + 1));
            order[i] = order[j];
            order[j] = i;
        }
        for (unsigned i = 0; i < QUEUES; i++) {
            unsigned q = order[i];
            struct hw_stream *left = &streams[(q + QUEUES - 1) % QUEUES], *mine = &streams[q];
            HW_OK(gpu_wait(mine->queue, left->timeline, q == 0 ? round + 1 : round + 2));
            if (q % 4 == 3) {
                HW_OK(gpu_copy(mine->queue, spare, 0, token, 0, words * 4));
                HW_OK(gpu_copy(mine->queue, token, 0, spare, 0, words * 4));
            } else {
                struct add_words_args add = {(void *)one->gva, (void *)token->gva, words};
                if (!hw_launch(hw, mine, "add_words", 4, 256, 0, &add, sizeof(add)))
                    return false;
                added++;
            }
            HW_OK(gpu_signal(mine->queue, mine->timeline, round + 2));
            HW_OK(gpu_submit(mine->queue));
        }
    }
    HW_OK(gpu_timeline_wait(streams[QUEUES - 1].timeline, rounds + 1, time_ns() + 60 * NS_PER_S));
    uint32_t *got = malloc(words * 4);
    assert(got != NULL);
    if (!hw_download(hw, got, token, 0, words * 4))
        return false;
    for (uint64_t i = 0; i < words; i++)
        HW_CHECK(got[i] == added, "word %llu went round as %u, not %u", (unsigned long long)i,
                 got[i], added);
    free(got);
    for (unsigned q = 0; q < QUEUES; q++)
        hw_stream_close(&streams[q]);
    gpu_free(token);
    gpu_free(one);
    gpu_free(spare);
    return true;
}

/* A queue that waits for the CPU does not run ahead; the CPU's signal lets it go. */
static bool cpu_signals(struct hw *hw)
{
    struct hw_stream compute, copy;
    struct gpu_timeline *go;
    struct gpu_buffer *out;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &compute) ||
        !hw_stream_open(hw, GPU_QUEUE_COPY, &copy) || !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &out))
        return false;
    HW_OK(gpu_timeline_create(hw->device, &go));
    volatile uint32_t *word = out->cpu;
    for (uint64_t i = 1; i <= 200; i++) {
        struct hw_stream *stream = i % 2 ? &compute : &copy;
        *word = 0;
        HW_OK(gpu_wait(stream->queue, go, i));
        HW_OK(gpu_fill(stream->queue, out, 0, 4, (uint32_t)i));
        HW_OK(gpu_signal(stream->queue, stream->timeline, ++stream->value));
        HW_OK(gpu_submit(stream->queue));
        HW_REFUSED(gpu_timeline_wait(stream->timeline, stream->value, time_ns() + 200 * NS_PER_US),
                   -ETIMEDOUT, "has not reached");
        HW_CHECK(*word == 0, "a queue ran past its wait");
        gpu_timeline_signal(go, i);
        HW_OK(gpu_timeline_wait(stream->timeline, stream->value, time_ns() + 5 * NS_PER_S));
        HW_CHECK(*word == i, "round %llu wrote %u", (unsigned long long)i, *word);
    }
    gpu_timeline_signal(go, 7); /* lower: a timeline never falls */
    HW_CHECK(gpu_timeline_value(go) == 200, "the timeline fell to %llu",
             (unsigned long long)gpu_timeline_value(go));
    gpu_timeline_destroy(go);
    hw_stream_close(&compute);
    hw_stream_close(&copy);
    gpu_free(out);
    return true;
}

/* Work that is not submitted does not run; submitted once, all of it does. */
static bool nothing_before_submit(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *in, *out;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &in) || !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &out))
        return false;
    *(uint32_t *)in->cpu = 5;
    for (unsigned round = 0; round < 500;
         round++) { /* often enough that the rings wrap in between */
        *(volatile uint32_t *)out->cpu = 0;
        struct add_words_args add = {(void *)in->gva, (void *)out->gva, 1};
        for (unsigned i = 0; i < 8; i++)
            if (!hw_launch(hw, &stream, "add_words", 1, 32, 0, &add, sizeof(add)))
                return false;
        time_spin_ns(20 * NS_PER_US);
        HW_CHECK(*(volatile uint32_t *)out->cpu == 0, "round %u ran before it was submitted",
                 round);
        if (!hw_stream_finish(hw, &stream))
            return false;
        HW_CHECK(*(volatile uint32_t *)out->cpu == 40, "round %u: %u", round,
                 *(uint32_t *)out->cpu);
    }
    hw_stream_close(&stream);
    gpu_free(in);
    gpu_free(out);
    return true;
}

/* 32-bit semaphores and time stamps of the host engine, straight through a channel. */
static bool host_semaphores(struct hw *hw)
{
    struct nvidia_device *device = (struct nvidia_device *)hw->device;
    struct hw_stream stream;
    struct gpu_buffer *words;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &words))
        return false;
    struct nvidia_queue *queue = (struct nvidia_queue *)stream.queue;
    volatile uint32_t *w = words->cpu;
    volatile uint64_t *quad = words->cpu;
    w[3] = 0x55555555;
    struct push push = {0};
    push_semaphore_release(&push, &(struct push_release){.gva = words->gva + 8,
                                                         .value = 0x12345678,
                                                         .payload = PUSH_PAYLOAD_32,
                                                         .wait_idle = true});
    push_semaphore_acquire(&push, words->gva + 8, 0x12345678, PUSH_PAYLOAD_32);
    for (unsigned i = 0; i < 2; i++)
        push_semaphore_release(&push,
                               &(struct push_release){.gva = words->gva + 64 + i * 64,
                                                      .value = UINT64_C(0xfedcba9876543210) + i,
                                                      .payload = PUSH_PAYLOAD_64,
                                                      .timestamp = true});
    memcpy(queue->channel.push_cpu, push.dword, push.count * 4);
    struct nvidia_segment segment = {queue->channel.push_gva, push.count};
    nvidia_channel_submit(device, &queue->channel, &segment, 1);
    uint64_t deadline_ns = time_ns() + 2 * NS_PER_S;
    while (quad[16] != UINT64_C(0xfedcba9876543211) && time_ns() < deadline_ns)
        task_yield();
    HW_CHECK(w[2] == 0x12345678 && w[3] == 0x55555555, "32-bit release wrote %08x and %08x", w[2],
             w[3]);
    HW_CHECK(quad[8] == UINT64_C(0xfedcba9876543210) && quad[16] == UINT64_C(0xfedcba9876543211),
             "64-bit releases wrote %llx, %llx", (unsigned long long)quad[8],
             (unsigned long long)quad[16]);
    HW_CHECK(quad[9] != 0 && quad[17] >= quad[9] && quad[17] - quad[9] < NS_PER_MS,
             "time stamps %llu and %llu", (unsigned long long)quad[9],
             (unsigned long long)quad[17]);
    hw_stream_close(&stream);
    gpu_free(words);
    return true;
}

const struct hw_test hw_queue_tests[] = {
    {"nothing runs before it is submitted", nothing_before_submit},
    {"queues wait for the CPU, the CPU waits with deadlines", cpu_signals},
    {"semaphores of 32 and 64 bits, time stamps", host_semaphores},
    {"64 queues in a ring of waits", cross_waits},
    {NULL, NULL},
};
