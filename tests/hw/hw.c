/*
 * tests/hw/hw.c: main program of the hardware tests: starts the devices, runs the tests, prints a table.
 *
 *     build/hw/hw-test [--only WORD] [--seed N] [--quick] [--list]
 */
#include "tests/hw/hw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/nvidia/builtin.h"
#include "gpu/nvidia/device.h"
#include "gpu/nvidia/hosted/rm_ioctl.h"
#include "gpu/nvidia/nvidia.h"
#include "tests/host/host.h"

#define WAIT_NS (30 * NS_PER_S)

extern const struct nvidia_builtin hw_builtins[]; /* tests/hw/device, per architecture */
extern const uint32_t hw_builtin_count;

bool hw_test_fail(struct hw *hw, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(hw->why, sizeof(hw->why), fmt, args);
    va_end(args);
    return false;
}

bool hw_contains(const char *text, const char *word)
{
    return strstr(text, word) != NULL;
}

/* SplitMix64 */
uint64_t hw_random(struct hw *hw)
{
    uint64_t x = hw->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void hw_fill_random(struct hw *hw, void *data, uint64_t size_bytes)
{
    uint8_t *bytes = data;
    uint64_t at = 0;
    for (; at + 8 <= size_bytes; at += 8) {
        uint64_t word = hw_random(hw);
        memcpy(bytes + at, &word, 8);
    }
    uint64_t word = hw_random(hw);
    memcpy(bytes + at, &word, size_bytes - at);
}

/* ---- streams --------------------------------------------------------------------------------- */

bool hw_stream_open(struct hw *hw, enum gpu_queue_kind kind, struct hw_stream *out)
{
    *out = (struct hw_stream){0};
    HW_OK(gpu_timeline_create(hw->device, &out->timeline));
    HW_OK(gpu_queue_create(hw->device, kind, &out->queue));
    return true;
}

void hw_stream_close(struct hw_stream *stream)
{
    gpu_queue_destroy(stream->queue);
    gpu_timeline_destroy(stream->timeline);
    *stream = (struct hw_stream){0};
}

int hw_stream_wait(struct hw_stream *stream, uint64_t timeout_ns)
{
    int error = gpu_signal(stream->queue, stream->timeline, ++stream->value);
    if (error == 0)
        error = gpu_submit(stream->queue);
    if (error == 0)
        error = gpu_timeline_wait(stream->timeline, stream->value, time_ns() + timeout_ns);
    return error;
}

bool hw_stream_finish(struct hw *hw, struct hw_stream *stream)
{
    HW_OK(hw_stream_wait(stream, WAIT_NS));
    return true;
}

bool hw_alloc(struct hw *hw, enum gpu_memory memory, uint64_t size_bytes, struct gpu_buffer **out)
{
    HW_OK(gpu_alloc(hw->device, memory, size_bytes, out));
    return true;
}

bool hw_launch(struct hw *hw, struct hw_stream *stream, const char *name, uint32_t grid,
               uint32_t block, uint32_t shared_bytes, const void *args, uint32_t args_bytes)
{
    struct gpu_kernel *kernel;
    HW_OK(gpu_kernel_find(hw->module, name, &kernel));
    HW_OK(gpu_launch(stream->queue, kernel,
                     &(struct gpu_launch){.grid = {grid, 1, 1},
                                          .block = {block, 1, 1},
                                          .shared_bytes = shared_bytes,
                                          .args = args,
                                          .args_bytes = args_bytes}));
    return true;
}

static bool transfer(struct hw *hw, void *data, struct gpu_buffer *buffer, uint64_t offset,
                     uint64_t size_bytes, bool is_upload)
{
    struct hw_stream stream;
    struct gpu_buffer *staging;
    if (!hw_stream_open(hw, GPU_QUEUE_COPY, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, size_bytes, &staging))
        return false;
    if (is_upload) {
        memcpy(staging->cpu, data, size_bytes);
        HW_OK(gpu_copy(stream.queue, buffer, offset, staging, 0, size_bytes));
    } else {
        HW_OK(gpu_copy(stream.queue, staging, 0, buffer, offset, size_bytes));
    }
    bool is_done = hw_stream_finish(hw, &stream);
    if (is_done && !is_upload)
        memcpy(data, staging->cpu, size_bytes);
    hw_stream_close(&stream);
    gpu_free(staging);
    return is_done;
}

bool hw_upload(struct hw *hw, struct gpu_buffer *dst, uint64_t offset, const void *data,
               uint64_t size_bytes)
{
    return transfer(hw, (void *)(uintptr_t)data, dst, offset, size_bytes, true);
}

bool hw_download(struct hw *hw, void *data, const struct gpu_buffer *src, uint64_t offset,
                 uint64_t size_bytes)
{
    return transfer(hw, data, (struct gpu_buffer *)(uintptr_t)src, offset, size_bytes, false);
}

struct hw_usage hw_usage(struct hw *hw)
{
    struct nvidia_device *device = (struct nvidia_device *)hw->device;
    return (struct hw_usage){
        .rm_objects = rm_object_count(&device->rm),
        .device_bytes = device->memory_used_bytes,
        .host_bytes = host_page_live_bytes(),
        .free_addresses = va_free_bytes(&device->va),
    };
}

bool hw_usage_is(struct hw *hw, const struct hw_usage *before)
{
    struct hw_usage now = hw_usage(hw);
    HW_CHECK(
        now.rm_objects == before->rm_objects && now.device_bytes == before->device_bytes &&
            now.host_bytes == before->host_bytes && now.free_addresses == before->free_addresses,
        "left over: %d RM objects, %lld bytes of the device, %lld of the host, %lld of addresses",
        (int)(now.rm_objects - before->rm_objects),
        (long long)(now.device_bytes - before->device_bytes),
        (long long)(now.host_bytes - before->host_bytes),
        (long long)(before->free_addresses - now.free_addresses));
    return true;
}

/* ---- main ------------------------------------------------------------------------------------ */

static const struct {
    const char *group;
    const struct hw_test *tests;
} groups[] = {
    {"copies", hw_copy_tests},   {"launches", hw_launch_tests}, {"queues", hw_queue_tests},
    {"memory", hw_memory_tests}, {"input", hw_input_tests},     {"faults", hw_fault_tests},
};

static int open_device(struct hw *hw)
{
    nvidia_transport_set(&rm_ioctl_transport);
    if (gpu_start() != 0) {
        printf("cannot start: %s\n", gpu_error());
        return 1;
    }
    hw->device = gpu_device_find("nvidia0");
    hw->reference = gpu_device_find("cpu0");
    struct gpu_device_info info = {0};
    if (hw->device != NULL)
        gpu_device_info(hw->device, &info);
    if (hw->device == NULL || !info.is_usable) {
        printf("nvidia0: %s\n", hw->device ? info.why_not : "no such device");
        return 1;
    }
    printf("%s: %s, %s, %llu MiB, driver %s\n", info.name, info.model, info.architecture,
           (unsigned long long)(info.memory_bytes >> 20),
           ((struct nvidia_device *)hw->device)->rm.version);
    for (unsigned i = 0; i < hw_builtin_count && hw->module == NULL; i++) {
        const struct nvidia_builtin *builtin = &hw_builtins[i];
        uint8_t *cubin = malloc(builtin->bytes);
        assert(cubin != NULL);
        int error =
            nvidia_builtin_unpack(builtin->packed, builtin->packed_bytes, cubin, builtin->bytes);
        assert(error == 0);
        if (gpu_module_load(hw->device, cubin, builtin->bytes, &hw->module) != 0)
            hw->module = NULL; /* for another architecture */
        free(cubin);
    }
    if (hw->module == NULL) {
        printf("no test kernels for %s are built in\n", info.architecture);
        return 1;
    }
    return 0;
}

static bool matches(const char *group, const char *name, const char *only)
{
    return only == NULL || strstr(name, only) != NULL || strstr(group, only) != NULL;
}

int main(int argc, char **argv)
{
    struct hw hw = {0};
    const char *only = NULL;
    uint64_t seed = (uint64_t)wall_clock_ns();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            hw.is_quick = true;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 0);
        } else {
            printf("usage: hw-test [--only WORD] [--seed N] [--quick]\n");
            return 2;
        }
    }
    host_log_level(getenv("INGOT_LOG") ? LOG_DEBUG : LOG_ERROR + 0);
    hw.random = seed;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (open_device(&hw) != 0)
        return 1;
    printf("seed %llu\n", (unsigned long long)seed);
    struct hw_stream stream; /* what the device keeps once it has had it: a page of semaphores */
    if (!hw_stream_open(&hw, GPU_QUEUE_COMPUTE, &stream)) {
        printf("%s\n", hw.why);
        return 1;
    }
    hw_stream_close(&stream);

    unsigned passed = 0, failed = 0;
    for (size_t g = 0; g < ARRAY_COUNT(groups); g++) {
        for (const struct hw_test *test = groups[g].tests; test->name != NULL; test++) {
            if (!matches(groups[g].group, test->name, only))
                continue;
            hw.why[0] = 0;
            uint64_t start_ns = time_ns();
            bool is_good = test->run(&hw);
            printf("%-9s  %-66s %s %8.2f s\n", groups[g].group, test->name,
                   is_good ? "ok  " : "FAIL", (double)(time_ns() - start_ns) / 1e9);
            if (!is_good)
                printf("           %s\n", hw.why);
            passed += is_good;
            failed += !is_good;
        }
    }
    gpu_module_unload(hw.module);
    gpu_stop();
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0 || passed == 0;
}
