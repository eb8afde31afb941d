/*
 * tests/bench/gpu_bench.h: what tests/bench/gpu_ingot.c and gpu_cuda.cu share: samples and how they are reported.
 *
 * Each line: name, unit, median, smallest, largest, separated by tabs. tests/bench/gpu.py sets the two side by side.
 */
#ifndef INGOT_TESTS_BENCH_GPU_BENCH_H
#define INGOT_TESTS_BENCH_GPU_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SAMPLES_MAX 20000

struct samples {
    double value[SAMPLES_MAX];
    int count;
};
static struct samples samples;

static inline double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void sample(double value)
{
    if (samples.count < SAMPLES_MAX)
        samples.value[samples.count++] = value;
}

static inline int compare_samples(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static inline void report(const char *name, const char *unit)
{
    qsort(samples.value, (size_t)samples.count, sizeof(double), compare_samples);
    printf("%s\t%s\t%.4f\t%.4f\t%.4f\n", name, unit, samples.value[samples.count / 2], samples.value[0],
           samples.value[samples.count - 1]);
    fflush(stdout);
    samples.count = 0;
}

#define LATENCY_LAUNCHES 5000
#define STREAM_LAUNCHES  100000
#define STREAM_ROUNDS    7
#define BATCH_LAUNCHES   100
#define BATCH_ROUNDS     300
#define MEMORY_BYTES     (4ull << 30)
static const unsigned long long copy_sizes[] = {1ull << 20, 16ull << 20, 256ull << 20, 1ull << 30, 4ull << 30};
static const char *const copy_names[] = {"1 MiB", "16 MiB", "256 MiB", "1 GiB", "4 GiB"};
static inline int copy_rounds(unsigned long long bytes)
{
    return bytes <= 16ull << 20 ? 200 : bytes <= 1ull << 30 ? 15 : 5;
}

#endif
