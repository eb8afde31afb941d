/*
 * tests/bench/gpu_ingot.c: Ingot's half of `make hw-bench`: latency, launches, copies, through gpu.h on nvidia0.
 *
 *     gpu-ingot           all figures
 *     gpu-ingot --first   one vector_add and exit: timed from outside for "process start to first result"
 */
#include "tests/bench/gpu_bench.h"

#include <string.h>

#include "gpu/gpu.h"
#include "gpu/kernels/kernels.h"
#include "gpu/nvidia/builtin.h"
#include "gpu/nvidia/hosted/rm_ioctl.h"
#include "gpu/nvidia/nvidia.h"
#include "kernel/kernel.h"
#include "tests/host/host.h"
#include "tests/hw/device/kernels.h"

extern const struct nvidia_builtin hw_builtins[];
extern const uint32_t hw_builtin_count;

static struct gpu_device *device;

static void check(int error, const char *what)
{
    if (error != 0) {
        fprintf(stderr, "gpu-ingot: %s: %d, %s\n", what, error, gpu_error());
        exit(1);
    }
}
#define OK(call) check((call), #call)

struct stream {
    struct gpu_queue *queue;
    struct gpu_timeline *timeline;
    uint64_t value;
};

static struct stream stream_open(enum gpu_queue_kind kind)
{
    struct stream stream = {0};
    OK(gpu_timeline_create(device, &stream.timeline));
    OK(gpu_queue_create(device, kind, &stream.queue));
    return stream;
}

static void finish(struct stream *stream)
{
    OK(gpu_signal(stream->queue, stream->timeline, ++stream->value));
    OK(gpu_submit(stream->queue));
    OK(gpu_timeline_wait(stream->timeline, stream->value, time_ns() + 60 * NS_PER_S));
}

static struct gpu_kernel *find(struct gpu_module *module, const char *name)
{
    struct gpu_kernel *kernel;
    OK(gpu_kernel_find(module, name, &kernel));
    return kernel;
}

static struct gpu_buffer *alloc(enum gpu_memory memory, uint64_t size_bytes)
{
    struct gpu_buffer *buffer;
    OK(gpu_alloc(device, memory, size_bytes, &buffer));
    return buffer;
}

static void first_result(void)
{
    struct stream stream = stream_open(GPU_QUEUE_COMPUTE);
    struct gpu_buffer *a = alloc(GPU_MEMORY_HOST, 4096), *out = alloc(GPU_MEMORY_HOST, 4096);
    for (int i = 0; i < 1024; i++)
        ((float *)a->cpu)[i] = (float)i;
    struct vector_add_args args = {(float *)a->gva, (float *)a->gva, (float *)out->gva, 1024};
    OK(gpu_launch(
        stream.queue, find(gpu_module_builtin(device), "vector_add"),
        &(struct gpu_launch){
            .grid = {1, 1, 1}, .block = {256, 1, 1}, .args = &args, .args_bytes = sizeof(args)}));
    finish(&stream);
    for (int i = 0; i < 1024; i++)
        if (((float *)out->cpu)[i] != 2.0f * (float)i)
            check(-EIO, "vector_add is wrong");
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    fflush(stdout);
    gpu_queue_destroy(stream.queue);
}

static void launches(void)
{
    struct stream stream = stream_open(GPU_QUEUE_COMPUTE);
    struct gpu_kernel *empty = find(gpu_module_builtin(device), "empty");
    struct empty_args args = {0};
    struct gpu_launch launch = {
        .grid = {1, 1, 1}, .block = {32, 1, 1}, .args = &args, .args_bytes = sizeof(args)};
    for (int i = 0; i < LATENCY_LAUNCHES + 200; i++) {
        double start = now_s();
        OK(gpu_launch(stream.queue, empty, &launch));
        finish(&stream);
        if (i >= 200)
            sample(1e6 * (now_s() - start));
    }
    report("empty kernel, launch to completion", "us");
    for (int round = 0; round < STREAM_ROUNDS; round++) {
        double start = now_s();
        for (int i = 0; i < STREAM_LAUNCHES; i++) {
            OK(gpu_launch(stream.queue, empty, &launch));
            OK(gpu_submit(stream.queue));
        }
        finish(&stream);
        sample(1e6 * (now_s() - start) / STREAM_LAUNCHES);
    }
    report("launches back to back, each submitted", "us each");
    for (int round = 0; round < STREAM_ROUNDS; round++) {
        double start = now_s();
        for (int i = 0; i < STREAM_LAUNCHES; i++) {
            OK(gpu_launch(stream.queue, empty, &launch));
            if (i % 16 == 15)
                OK(gpu_submit(stream.queue));
        }
        finish(&stream);
        sample(1e6 * (now_s() - start) / STREAM_LAUNCHES);
    }
    report("launches back to back, 16 to a submit", "us each");
    for (int round = 0; round < BATCH_ROUNDS; round++) {
        double start = now_s();
        for (int i = 0; i < BATCH_LAUNCHES; i++)
            OK(gpu_launch(stream.queue, empty, &launch));
        finish(&stream);
        sample(1e6 * (now_s() - start));
    }
    report("batch of 100 empty kernels", "us");
    gpu_queue_destroy(stream.queue);
    gpu_timeline_destroy(stream.timeline);
}

static void copies(void)
{
    struct stream copy = stream_open(GPU_QUEUE_COPY), compute = stream_open(GPU_QUEUE_COMPUTE);
    struct gpu_buffer *host = alloc(GPU_MEMORY_HOST, MEMORY_BYTES),
                      *a = alloc(GPU_MEMORY_VRAM, MEMORY_BYTES),
                      *b = alloc(GPU_MEMORY_VRAM, MEMORY_BYTES);
    for (uint64_t i = 0; i < MEMORY_BYTES; i += 4096)
        *(uint64_t *)((uint8_t *)host->cpu + i) = i * UINT64_C(0x9e3779b97f4a7c15);
    char name[64];
    for (size_t s = 0; s < sizeof(copy_sizes) / sizeof(copy_sizes[0]); s++) {
        for (int direction = 0; direction < 2; direction++) {
            for (int round = -2; round < copy_rounds(copy_sizes[s]); round++) {
                double start = now_s();
                OK(gpu_copy(copy.queue, direction ? host : a, 0, direction ? a : host, 0,
                            copy_sizes[s]));
                finish(&copy);
                if (round >= 0)
                    sample((double)copy_sizes[s] / (now_s() - start) / 1e9);
            }
            snprintf(name, sizeof(name), "%s, %s", direction ? "device to host" : "host to device",
                     copy_names[s]);
            report(name, "GB/s");
        }
    }
    struct gpu_module *module = NULL;
    for (unsigned i = 0; i < hw_builtin_count && module == NULL; i++) {
        uint8_t *cubin = malloc(hw_builtins[i].bytes);
        if (cubin == NULL ||
            nvidia_builtin_unpack(hw_builtins[i].packed, hw_builtins[i].packed_bytes, cubin,
                                  hw_builtins[i].bytes) != 0)
            exit(1);
        if (gpu_module_load(device, cubin, hw_builtins[i].bytes, &module) != 0)
            module = NULL;
        free(cubin);
    }
    struct gpu_kernel *kernel = module ? find(module, "stream") : NULL;
    struct stream_args args = {(void *)a->gva, (void *)b->gva, (1ull << 30) / 16};
    for (int kind = 0; kind < 3; kind++) {
        struct stream *stream = kind == 0 ? &copy : &compute;
        for (int round = -2; round < 30; round++) {
            double start = now_s();
            if (kind < 2)
                OK(gpu_copy(stream->queue, b, 0, a, 0, 1ull << 30));
            else
                OK(gpu_launch(
                    stream->queue, kernel,
                    &(struct gpu_launch){.grid = {(uint32_t)((args.count + 127) / 128), 1, 1},
                                         .block = {128, 1, 1},
                                         .args = &args,
                                         .args_bytes = sizeof(args)}));
            finish(stream);
            if (round >= 0)
                sample(2.0 * (1ull << 30) / (now_s() - start) / 1e9);
        }
        report(kind == 0   ? "device copy 1 GiB, copy queue, read + written"
               : kind == 1 ? "device copy 1 GiB, read + written"
                           : "streaming kernel 1 GiB, read + written",
               "GB/s");
    }
}

int main(int argc, char **argv)
{
    host_log_level(LOG_ERROR);
    nvidia_transport_set(&rm_ioctl_transport);
    OK(gpu_start());
    device = gpu_device_find("nvidia0");
    struct gpu_device_info info = {0};
    if (device != NULL)
        gpu_device_info(device, &info);
    if (!info.is_usable) {
        fprintf(stderr, "gpu-ingot: no usable nvidia0: %s\n", info.why_not);
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "--first") == 0) {
        first_result();
    } else {
        launches();
        copies();
    }
    gpu_stop();
    return 0;
}
