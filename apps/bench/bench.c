/*
 * apps/bench/bench.c: how fast this machine is: a disk's reads, the device's memory, the launch of a kernel.
 */
#include <stdlib.h>
#include <string.h>

#include "apps/bench/bench.h"
#include "apps/tensors.h"
#include "gpu/compute.h"
#include "kernel/kernel.h"
#include "runtime/volume/volume.h"

#define MEMORY_BYTES \
    (UINT64_C(64) \
     << 20) /* of each of two buffers: larger than most caches; less where memory is short */
#define MEMORY_BYTES_MIN (UINT64_C(1) << 20)
#define LAUNCH_MAX       10000
#define BATCH            100 /* launches per submit when counting launches per second */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t bench_percentile(uint64_t *values, unsigned count, double share)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), compare);
    unsigned index = (unsigned)(share * count);
    return values[index < count ? index : count - 1];
}

static int fail(struct job *job, int error)
{
    return error == -ECANCELED ? job_fail(job, error, NULL, "cancelled") : job_fail_gpu(job, error);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

enum memory_work { MEMORY_FILL, MEMORY_COPY };

/* Bytes per second: written by fills, read plus written by copies. */
static int measure_memory(struct job *job, struct compute *compute, enum memory_work work,
                          struct gpu_buffer *a, struct gpu_buffer *b, double seconds, double *rate)
{
    uint64_t size = a->size_bytes, moved = 0, started_ns = time_ns();
    uint64_t end_ns = started_ns + (uint64_t)(seconds * 1e9);
    int error = 0;
    while (error == 0 && time_ns() < end_ns) {
        if (work == MEMORY_FILL)
            error = gpu_fill(compute->queue, a, 0, size, (uint32_t)moved);
        else
            error = gpu_copy(compute->queue, b, 0, a, 0, size);
        if (error == 0)
            error = compute_finish(compute);
        moved += work == MEMORY_FILL ? size : 2 * size;
        job_progress(job, "memory", (time_ns() - started_ns) / NS_PER_MS,
                     (end_ns - started_ns) / NS_PER_MS);
    }
    *rate = (double)moved * 1e9 / (double)(time_ns() - started_ns + 1);
    return error != 0 ? fail(job, error) : 0;
}

static int bench_memory(struct job *job, struct compute *compute, double seconds,
                        yyjson_mut_val **out)
{
    struct gpu_buffer *a = NULL, *b = NULL;
    uint64_t size = MEMORY_BYTES;
    int error;
    for (;; size /= 2) {
        error = gpu_alloc(compute->device, GPU_MEMORY_VRAM, size, &a);
        if (error == 0)
            error = gpu_alloc(compute->device, GPU_MEMORY_VRAM, size, &b);
        if (error != -ENOMEM || size / 2 < MEMORY_BYTES_MIN)
            break;
        gpu_free(a);
        a = NULL;
    }
    double fill = 0.0, copy = 0.0;
    if (error != 0)
        job_fail_gpu(job, error);
    if (error == 0)
        error = measure_memory(job, compute, MEMORY_FILL, a, b, seconds, &fill);
    if (error == 0)
        error = measure_memory(job, compute, MEMORY_COPY, a, b, seconds, &copy);
    gpu_free(a);
    gpu_free(b);
    if (error != 0)
        return error;
    yyjson_mut_doc *doc = job_document(job);
    *out = yyjson_mut_obj(doc);
    bool is_good = yyjson_mut_obj_add_uint(doc, *out, "buffer_bytes", size);
    is_good &= yyjson_mut_obj_add_real(doc, *out, "fill_bytes_per_second", fill);
    is_good &=
        yyjson_mut_obj_add_real(doc, *out, "copy_bytes_per_second", copy); /* read plus written */
    return is_good ? 0 : job_fail(job, -ENOMEM, NULL, "no memory for the result");
}

/* ---- launches -------------------------------------------------------------------------------------------------- */

static const struct empty_args nothing = {0};

static int launch_empty(struct compute *compute)
{
    return compute_launch(compute, "empty", 1, 1, 1, &nothing, sizeof(nothing));
}

static int bench_launch(struct job *job, struct compute *compute, double seconds,
                        yyjson_mut_val **out)
{
    uint64_t *samples = calloc(LAUNCH_MAX, sizeof(*samples));
    if (samples == NULL)
        return job_fail(job, -ENOMEM, NULL, "no memory for %d samples", LAUNCH_MAX);
    unsigned count = 0;
    uint64_t end_ns = time_ns() + (uint64_t)(seconds * 1e9);
    int error = 0;
    while (error == 0 && count < LAUNCH_MAX && time_ns() < end_ns) {
        uint64_t started_ns = time_ns();
        error = launch_empty(compute);
        if (error == 0)
            error = compute_finish(compute);
        samples[count++] = time_ns() - started_ns;
        if (count % 64 == 0)
            job_progress(job, "launches", count, LAUNCH_MAX);
    }
    uint64_t launched = 0, started_ns = time_ns();
    end_ns = started_ns + (uint64_t)(seconds * 1e9);
    while (error == 0 && time_ns() < end_ns) {
        for (int i = 0; i < BATCH && error == 0; i++)
            error = launch_empty(compute);
        if (error == 0)
            error = compute_finish(compute);
        launched += BATCH;
    }
    double elapsed = (double)(time_ns() - started_ns + 1) / 1e9;
    if (error != 0) {
        free(samples);
        return fail(job, error);
    }
    yyjson_mut_doc *doc = job_document(job);
    *out = yyjson_mut_obj(doc);
    bool is_good = yyjson_mut_obj_add_uint(doc, *out, "latency_ns_median",
                                           bench_percentile(samples, count, 0.5));
    is_good &= yyjson_mut_obj_add_uint(doc, *out, "latency_ns_best",
                                       bench_percentile(samples, count, 0.0));
    is_good &= yyjson_mut_obj_add_uint(doc, *out, "latency_ns_p99",
                                       bench_percentile(samples, count, 0.99));
    is_good &= yyjson_mut_obj_add_uint(doc, *out, "samples", count);
    is_good &=
        yyjson_mut_obj_add_real(doc, *out, "launches_per_second", (double)launched / elapsed);
    free(samples);
    return is_good ? 0 : job_fail(job, -ENOMEM, NULL, "no memory for the result");
}

/* ---- the app --------------------------------------------------------------------------------------------------- */

static bool wanted(const struct job *job, const char *test)
{
    const char *which = job_string(job, "test");
    return strcmp(which, "all") == 0 || strcmp(which, test) == 0;
}

static int bench_device(struct job *job, double seconds)
{
    struct compute compute;
    int error = compute_open(&compute, job_device(job));
    if (error != 0)
        return job_fail_gpu(job, error);
    compute.is_cancelled = tensor_job_cancelled;
    compute.cancel_arg = job;
    yyjson_mut_val *memory = NULL, *launch = NULL;
    if (wanted(job, "memory"))
        error = bench_memory(job, &compute, seconds, &memory);
    if (error == 0 && wanted(job, "launch"))
        error = bench_launch(job, &compute, seconds, &launch);
    compute_close(&compute);
    if (error != 0)
        return error;
    yyjson_mut_doc *doc = job_document(job);
    struct gpu_device_info info;
    gpu_device_info(job_device(job), &info);
    bool is_good = yyjson_mut_obj_add_strcpy(doc, job_result(job), "device", info.name);
    if (memory != NULL)
        is_good &= yyjson_mut_obj_add_val(doc, job_result(job), "memory", memory);
    if (launch != NULL)
        is_good &= yyjson_mut_obj_add_val(doc, job_result(job), "launch", launch);
    return is_good ? 0 : job_fail(job, -ENOMEM, NULL, "no memory for the result");
}

static int run(struct job *job)
{
    double seconds = job_number(job, "seconds");
    if (!(seconds >= 0.01 && seconds <= 60.0))
        return job_fail(job, -ERANGE, "seconds", "\"seconds\" must be from 0.01 to 60");
    int error = 0;
    bool is_all = strcmp(job_string(job, "test"), "all") == 0;
    if (is_all && disk_get(0) == NULL && !job_has_arg(job, "disk")) {
        job_warn(job, "no disk was found: only device and memory are measured");
    } else if (wanted(job, "nvme")) {
        yyjson_mut_val *disk = NULL;
        error = bench_disk(job, seconds, &disk);
        if (error == 0 && !yyjson_mut_obj_add_val(job_document(job), job_result(job), "nvme", disk))
            error = job_fail(job, -ENOMEM, NULL, "no memory for the result");
    }
    if (error == 0 && (wanted(job, "memory") || wanted(job, "launch")))
        error = bench_device(job, seconds);
    return error;
}

static const char *const tests[] = {"all", "nvme", "memory", "launch", NULL};

INGOT_APP(bench, "Measure a disk's reads, the device's memory and the launch of a kernel", run,
          APP_ON_DEVICE,
          ARG_STRING("test", "what to measure", .choices = tests, .fallback_string = "all"),
          ARG_STRING("disk", "which disk, such as nvme0n1; left out: the first", .length_max = 23),
          ARG_NUMBER("seconds", "for each measurement, 0.01 to 60", .fallback_number = 2.0));
