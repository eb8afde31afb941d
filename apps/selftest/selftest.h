/* apps/selftest/selftest.h: what the files of the selftest app share. */
#ifndef INGOT_SELFTEST_H
#define INGOT_SELFTEST_H

#include "apps/selftest/reference.h"
#include "gpu/compute.h"
#include "runtime/job/job.h"

#define SELFTEST_BYTES (UINT64_C(1) << 20) /* of each of the device's buffers, and of the one that data goes through */
#define SELFTEST_BUFFERS 3
#define SELFTEST_POISON 0xa5 /* every byte of an output before a kernel runs */

struct selftest {
    struct job *job;
    struct compute compute;
    struct gpu_buffer *host;                     /* uploads and downloads */
    struct gpu_buffer *buffer[SELFTEST_BUFFERS]; /* on the device */
    uint8_t *expected, *input;                   /* SELFTEST_BYTES each, ordinary memory */
    uint64_t seed, counter;                      /* of the random numbers */

    const char *kernel;                          /* being tested */
    unsigned cases;
    double max_error;
};

uint64_t selftest_random(struct selftest *test);
double selftest_uniform(struct selftest *test, double low, double high);
int selftest_upload(struct selftest *test, unsigned buffer, uint64_t offset, const void *data, uint64_t size_bytes);
/* The bytes of a device buffer, valid until the next upload or download; NULL after job_fail(). */
const uint8_t *selftest_download(struct selftest *test, unsigned buffer, uint64_t offset, uint64_t size_bytes);
int selftest_poison(struct selftest *test, unsigned buffer);
/* All of the buffer but size_bytes at offset must still be poison. */
int selftest_check_poison(struct selftest *test, unsigned buffer, uint64_t offset, uint64_t size_bytes);
/* A finished case; error is how far off it was, tolerance how far it may be. Fails the job when that is exceeded. */
int selftest_case(struct selftest *test, double error, double tolerance, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Start a kernel's cases; the ones before are reported. NULL: only that. */
int selftest_kernel(struct selftest *test, const char *kernel);
/* A gpu.h error as the job's. */
int selftest_gpu_failed(struct selftest *test, int error);

int selftest_elements(struct selftest *test); /* fill, vector_add, saxpy, random, sum, checksum */
int selftest_types(struct selftest *test);    /* dequant_*, stats_* */
int selftest_matrices(struct selftest *test); /* sgemm, sgemm_error */

#endif
