/*
 * tests/hw/hw_memory.c: allocation sizes, coherence of each kind of memory, imported pages, handles that come and go.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "gpu/nvidia/hosted/rm_ioctl.h"
#include "tests/hw/device/kernels.h"
#include "tests/hw/hw.h"

#define GIB (UINT64_C(1) << 30)

/* Each size twice, so that both lie somewhere; first and last word written by the engine and read back. */
static bool sizes(struct hw *hw)
{
    struct hw_usage before = hw_usage(hw);
    struct hw_stream stream;
    if (!hw_stream_open(hw, GPU_QUEUE_COPY, &stream))
        return false;
    static const uint64_t wanted[] = {
        1,       4095,          4096,    4097,          65535,     65536, 65537,
        1 << 20, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 100 << 20, GIB,   3 * GIB + 12345};
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        for (int memory = 0; memory < 2; memory++) {
            struct gpu_buffer *buffer[2], *word;
            if (!hw_alloc(hw, GPU_MEMORY_HOST, 4096, &word))
                return false;
            for (int b = 0; b < 2; b++) {
                if (!hw_alloc(hw, memory ? GPU_MEMORY_HOST : GPU_MEMORY_VRAM, wanted[i],
                              &buffer[b]))
                    return false;
                HW_CHECK(buffer[b]->gva % 4096 == 0 && buffer[b]->gva != 0, "address %llx",
                         (unsigned long long)buffer[b]->gva);
                if (wanted[i] < 8)
                    continue;
                uint64_t last = (wanted[i] - 4) & ~UINT64_C(3);
                HW_OK(gpu_fill(stream.queue, buffer[b], 0, 4, 0x1000 + b));
                HW_OK(gpu_fill(stream.queue, buffer[b], last, 4, 0x2000 + b));
            }
            for (int b = 0; b < 2 && wanted[i] >= 8; b++) {
                uint64_t last = (wanted[i] - 4) & ~UINT64_C(3);
                HW_OK(gpu_copy(stream.queue, word, 0, buffer[b], 0, 4));
                HW_OK(gpu_copy(stream.queue, word, 4, buffer[b], last, 4));
                if (!hw_stream_finish(hw, &stream))
                    return false;
                uint32_t *got = word->cpu;
                HW_CHECK(got[0] == 0x1000u + b && got[1] == 0x2000u + b, "%llu bytes: %x %x",
                         (unsigned long long)wanted[i], got[0], got[1]);
            }
            gpu_free(buffer[0]);
            gpu_free(buffer[1]);
            gpu_free(word);
        }
    }
    hw_stream_close(&stream);
    if (!hw_usage_is(hw, &before))
        return false;
    return true;
}

/* Most of the card in one piece, and the refusal of more than there is. */
static bool most_of_the_card(struct hw *hw)
{
    struct gpu_device_info info;
    gpu_device_info(hw->device, &info);
    uint64_t most = (info.memory_bytes - info.memory_used_bytes) / 16 * 15;
    struct gpu_buffer *big, *more;
    struct hw_stream stream;
    if (!hw_stream_open(hw, GPU_QUEUE_COPY, &stream) || !hw_alloc(hw, GPU_MEMORY_VRAM, most, &big))
        return false;
    HW_OK(gpu_fill(stream.queue, big, most / 8 * 8 - 4096, 4096, 0x600d600d));
    if (!hw_stream_finish(hw, &stream))
        return false;
    uint32_t got;
    if (!hw_download(hw, &got, big, most / 8 * 8 - 4, 4))
        return false;
    HW_CHECK(got == 0x600d600d, "the last word is %08x", got);
    struct hw_usage before = hw_usage(hw);
    HW_REFUSED(gpu_alloc(hw->device, GPU_MEMORY_VRAM, info.memory_bytes / 4, &more), -ENOMEM,
               "NV_ERR_NO_MEMORY");
    HW_REFUSED(gpu_alloc(hw->device, GPU_MEMORY_VRAM, UINT64_C(1) << 50, &more), -ENOMEM, "bytes");
    if (!hw_usage_is(hw, &before))
        return false;
    gpu_free(big);
    hw_stream_close(&stream);
    return true;
}

/*
 * The CPU writes, the GPU adds, the CPU reads, many rounds without any other synchronisation than the timeline; through host
 * memory, RM's host memory, imported pages, and VRAM behind the BAR (which the CPU reads slowly, so less of it).
 */
static bool coherence_of(struct hw *hw, enum nvidia_memory_kind kind, const char *name)
{
    struct nvidia_device *device = (struct nvidia_device *)hw->device;
    struct hw_stream stream;
    struct nvidia_memory memory;
    void *pages = NULL;
    const uint32_t words = 1024;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream))
        return false;
    if (kind == NVIDIA_HOST) {
        pages = page_alloc(words * 8, 0);
        HW_CHECK(pages != NULL, "no pages");
        HW_OK(nvidia_memory_import(device, pages, words * 8, &memory));
    } else {
        HW_OK(nvidia_memory_create(device, kind, words * 8, &memory));
    }
    volatile uint32_t *in = memory.cpu, *out = in + words;
    struct add_words_args add = {(void *)memory.gva, (void *)(memory.gva + words * 4), words};
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t a = (uint32_t)hw_random(hw), b = (uint32_t)hw_random(hw);
        for (uint32_t i = 0; i < words; i++) {
            in[i] = a * i;
            out[i] = b + i;
        }
        if (kind == NVIDIA_VRAM_MAPPED)
            __builtin_ia32_sfence(); /* write-combined stores have to leave the CPU */
        if (!hw_launch(hw, &stream, "add_words", words / 256, 256, 0, &add, sizeof(add)) ||
            !hw_stream_finish(hw, &stream))
            return false;
        for (uint32_t i = 0; i < words; i++)
            HW_CHECK(out[i] == a * i + b + i, "%s, round %u: word %u is %08x, not %08x", name,
                     round, i, out[i], a * i + b + i);
    }
    hw_stream_close(&stream);
    nvidia_memory_destroy(device, &memory);
    if (pages != NULL)
        page_free(pages, words * 8);
    return true;
}

static bool coherence(struct hw *hw)
{
    return coherence_of(hw, NVIDIA_HOST, "imported pages") &&
           coherence_of(hw, NVIDIA_HOST_RM, "RM's host memory") &&
           coherence_of(hw, NVIDIA_VRAM_MAPPED, "VRAM behind the BAR");
}

/* The GPU raises a word while it runs; the CPU sees it, answers, and the running kernel sees the answer. */
static bool while_running(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *flag;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &flag))
        return false;
    for (unsigned round = 0; round < 100; round++) {
        *(volatile uint32_t *)flag->cpu = 0;
        struct spin_args args = {(void *)flag->gva};
        if (!hw_launch(hw, &stream, "spin", 1, 32, 0, &args, sizeof(args)))
            return false;
        HW_OK(gpu_signal(stream.queue, stream.timeline, ++stream.value));
        HW_OK(gpu_submit(stream.queue));
        HW_REFUSED(gpu_timeline_wait(stream.timeline, stream.value, time_ns() + 100 * NS_PER_US),
                   -ETIMEDOUT, "has not reached");
        *(volatile uint32_t *)flag->cpu = 1;
        HW_OK(gpu_timeline_wait(stream.timeline, stream.value, time_ns() + 2 * NS_PER_S));
    }
    hw_stream_close(&stream);
    gpu_free(flag);
    return true;
}

/* What a device needs, for two devices' worth of handles, a thousand times. */
static bool open_and_close(struct hw *hw)
{
    struct hw_usage before = hw_usage(hw);
    for (unsigned round = 0; round < (hw->is_quick ? 20u : 1000u); round++) {
        struct rm clients[2];
        for (int c = 0; c < 2; c++) {
            int error = rm_open(&clients[c], &rm_ioctl_transport, 0);
            HW_CHECK(error == 0, "round %u: %d, %s", round, error, clients[c].error);
        }
        rm_close(&clients[0]);
        rm_close(&clients[1]);

        struct hw_stream stream;
        struct gpu_buffer *buffer;
        enum gpu_queue_kind kind = round % 2 ? GPU_QUEUE_COPY : GPU_QUEUE_COMPUTE;
        if (!hw_stream_open(hw, kind, &stream) || !hw_alloc(hw, GPU_MEMORY_VRAM, 123456, &buffer))
            return false;
        HW_OK(gpu_fill(stream.queue, buffer, 0, 4096, round));
        if (!hw_stream_finish(hw, &stream))
            return false;
        gpu_free(buffer);
        hw_stream_close(&stream);
    }
    if (!hw_usage_is(hw, &before))
        return false;
    return true;
}

static bool health(struct hw *hw)
{
    struct gpu_health health;
    gpu_device_health(hw->device, &health);
    HW_CHECK(health.temperature_celsius > 5 && health.temperature_celsius < 110, "temperature %f",
             health.temperature_celsius);
    HW_CHECK(health.ecc_uncorrected != UINT64_MAX && health.ecc_corrected != UINT64_MAX,
             "no ECC counts");
    struct gpu_device_info info;
    gpu_device_info(hw->device, &info);
    HW_CHECK(info.memory_used_bytes > 0 && info.memory_used_bytes < info.memory_bytes,
             "memory in use: %llu", (unsigned long long)info.memory_used_bytes);
    return true;
}

const struct hw_test hw_memory_tests[] = {
    {"1 byte to 3 GiB, device and host", sizes},
    {"most of the card, and more than the card", most_of_the_card},
    {"coherence of each kind of memory, both ways", coherence},
    {"a running kernel sees what the CPU writes", while_running},
    {"temperature, ECC counts, memory in use", health},
    {"handles of two devices open and closed 1,000 times", open_and_close},
    {NULL, NULL},
};
