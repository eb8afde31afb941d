/*
 * apps/selftest/selftest.c: every kernel of a device against its reference, on odd sizes and with fresh random inputs.
 *
 * Outputs are poisoned before each launch, and what lies around them is checked afterwards. The seed is in the result and
 * in every failure: the same seed gives the same inputs.
 */
#include "apps/selftest/selftest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/tensors.h"
#include "kernel/kernel.h"

/* ---- random numbers, memory ------------------------------------------------------------------------------------ */

uint64_t selftest_random(struct selftest *test)
{
    return mix64(test->seed + ++test->counter * MIX64_STEP);
}

double selftest_uniform(struct selftest *test, double low, double high)
{
    return low + (high - low) * (double)(selftest_random(test) >> 11) * 0x1p-53;
}

int selftest_gpu_failed(struct selftest *test, int error)
{
    if (error == -ECANCELED)
        return job_fail(test->job, error, NULL, "cancelled");
    return job_fail(test->job, error, NULL, "%s: %s (seed %llu)",
                    test->kernel != NULL ? test->kernel : "preparing", gpu_error(),
                    (unsigned long long)test->seed);
}

int selftest_upload(struct selftest *test, unsigned buffer, uint64_t offset, const void *data,
                    uint64_t size_bytes)
{
    memcpy(test->host->cpu, data, size_bytes);
    int error =
        gpu_copy(test->compute.queue, test->buffer[buffer], offset, test->host, 0, size_bytes);
    if (error == 0)
        error = compute_finish(&test->compute);
    return error != 0 ? selftest_gpu_failed(test, error) : 0;
}

const uint8_t *selftest_download(struct selftest *test, unsigned buffer, uint64_t offset,
                                 uint64_t size_bytes)
{
    int error =
        gpu_copy(test->compute.queue, test->host, 0, test->buffer[buffer], offset, size_bytes);
    if (error == 0)
        error = compute_finish(&test->compute);
    if (error == 0)
        return test->host->cpu;
    selftest_gpu_failed(test, error);
    return NULL;
}

int selftest_poison(struct selftest *test, unsigned buffer)
{
    int error = gpu_fill(test->compute.queue, test->buffer[buffer], 0, SELFTEST_BYTES,
                         SELFTEST_POISON * 0x01010101u);
    return error != 0 ? selftest_gpu_failed(test, error) : 0;
}

int selftest_check_poison(struct selftest *test, unsigned buffer, uint64_t offset,
                          uint64_t size_bytes)
{
    const uint8_t *data = selftest_download(test, buffer, 0, SELFTEST_BYTES);
    if (data == NULL)
        return -EIO;
    for (uint64_t i = 0; i < SELFTEST_BYTES; i++) {
        bool is_output = i >= offset && i < offset + size_bytes;
        if (!is_output && data[i] != SELFTEST_POISON)
            return job_fail(test->job, -EDOM, NULL,
                            "%s wrote to byte %llu of a buffer, outside its output at %llu of %llu "
                            "bytes (seed %llu)",
                            test->kernel, (unsigned long long)i, (unsigned long long)offset,
                            (unsigned long long)size_bytes, (unsigned long long)test->seed);
    }
    return 0;
}

/* ---- cases ----------------------------------------------------------------------------------------------------- */

int selftest_kernel(struct selftest *test, const char *kernel)
{
    yyjson_mut_doc *doc = job_document(test->job);
    bool is_good = true;
    if (test->kernel != NULL) {
        yyjson_mut_val *list = yyjson_mut_obj_get(job_result(test->job), "kernels");
        yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, list);
        is_good &= yyjson_mut_obj_add_strcpy(doc, entry, "kernel", test->kernel);
        is_good &= yyjson_mut_obj_add_uint(doc, entry, "cases", test->cases);
        is_good &= yyjson_mut_obj_add_real(doc, entry, "max_error", test->max_error);
    }
    test->kernel = kernel;
    test->cases = 0;
    test->max_error = 0.0;
    if (!is_good)
        return job_fail(test->job, -ENOMEM, NULL, "no memory for the result");
    if (job_cancelled(test->job))
        return job_fail(test->job, -ECANCELED, NULL, "cancelled");
    if (kernel != NULL)
        job_progress(test->job, "testing",
                     yyjson_mut_arr_size(yyjson_mut_obj_get(job_result(test->job), "kernels")), 0);
    return 0;
}

int selftest_case(struct selftest *test, double error, double tolerance, const char *fmt, ...)
{
    test->cases++;
    if (!(error <= test->max_error))
        test->max_error = error;
    if (error <= tolerance) /* false for NaN */
        return 0;
    char what[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return job_fail(test->job, -EDOM, NULL, "%s is wrong: %s: off by %g, allowed is %g (seed %llu)",
                    test->kernel, what, error, tolerance, (unsigned long long)test->seed);
}

/* ---- the app --------------------------------------------------------------------------------------------------- */

static int prepare(struct selftest *test)
{
    struct gpu_device *device = job_device(test->job);
    int error = compute_open(&test->compute, device);
    if (error == 0) {
        test->compute.is_cancelled = tensor_job_cancelled;
        test->compute.cancel_arg = test->job;
        error = gpu_alloc(device, GPU_MEMORY_HOST, SELFTEST_BYTES, &test->host);
    }
    for (unsigned i = 0; i < SELFTEST_BUFFERS && error == 0; i++)
        error = gpu_alloc(device, GPU_MEMORY_VRAM, SELFTEST_BYTES, &test->buffer[i]);
    if (error != 0)
        return selftest_gpu_failed(test, error);
    test->expected = malloc(SELFTEST_BYTES);
    test->input = malloc(SELFTEST_BYTES);
    if (test->expected == NULL || test->input == NULL)
        return job_fail(test->job, -ENOMEM, NULL, "no memory for the references");
    return 0;
}

static int run(struct job *job)
{
    struct selftest test = {.job = job};
    random_bytes(&test.seed, sizeof(test.seed));
    test.seed &= (UINT64_C(1) << 53) - 1;
    if (job_has_arg(job, "seed"))
        test.seed = job_uint(job, "seed");
    yyjson_mut_doc *doc = job_document(job);
    struct gpu_device_info info;
    gpu_device_info(job_device(job), &info);
    bool is_good = yyjson_mut_obj_add_strcpy(doc, job_result(job), "device", info.name);
    is_good &= yyjson_mut_obj_add_strcpy(doc, job_result(job), "architecture", info.architecture);
    is_good &= yyjson_mut_obj_add_uint(doc, job_result(job), "seed", test.seed);
    is_good &= yyjson_mut_obj_add_val(doc, job_result(job), "kernels", yyjson_mut_arr(doc));
    if (!is_good)
        return job_fail(job, -ENOMEM, NULL, "no memory for the result");

    int error = prepare(&test);
    if (error == 0)
        error = selftest_elements(&test);
    if (error == 0)
        error = selftest_types(&test);
    if (error == 0)
        error = selftest_matrices(&test);
    if (error == 0)
        error = selftest_kernel(&test, NULL);
    compute_close(&test.compute);
    gpu_free(test.host);
    for (unsigned i = 0; i < SELFTEST_BUFFERS; i++)
        gpu_free(test.buffer[i]);
    free(test.expected);
    free(test.input);
    return error;
}

INGOT_APP(selftest, "Compare every kernel of a device with its reference", run, APP_ON_DEVICE,
          ARG_UINT("seed", "of the random inputs; left out: a fresh one"));
