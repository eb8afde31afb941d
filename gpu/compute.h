/*
 * gpu/compute.h: the built-in kernels as calls. A struct compute is a queue with a timeline and room for results; each call
 * checks its ranges, works out the grid and records a launch, or two for a reduction.
 *
 * Calls that give a number back wait for it; the others are recorded and run until compute_finish(). Waiting looks at
 * is_cancelled every 20 ms: then what has not started is dropped, -ECANCELED comes back, and the struct can only be closed.
 * Errors are those of gpu.h, with gpu_error() set.
 */
#ifndef INGOT_GPU_COMPUTE_H
#define INGOT_GPU_COMPUTE_H

#include <stdbool.h>

#include "gpu/gpu.h"
#include "gpu/kernels/kernels.h"

struct compute {
    struct gpu_device *device;
    struct gpu_queue *queue;
    struct gpu_timeline *timeline;
    uint64_t timeline_value;      /* of the last signal recorded */
    struct gpu_buffer *result;    /* host memory that the last kernel of a reduction writes */
    struct gpu_buffer *partials;  /* grows as needed */
    bool (*is_cancelled)(const void *arg); /* NULL: never */
    const void *cancel_arg;
};

/* Bytes of a buffer from offset on; how many, the call's element count says. */
struct compute_span {
    struct gpu_buffer *buffer;
    uint64_t offset;
};

/* A row-major matrix of floats in a buffer, 4-byte aligned. stride: elements from one row to the next. is_transposed: the
 * matrix is the transpose of what lies there. */
struct compute_matrix {
    struct compute_span at;
    uint32_t rows, columns; /* of the matrix, after transposing */
    uint64_t stride;
    bool is_transposed;
};

int compute_open(struct compute *compute, struct gpu_device *device);
void compute_close(struct compute *compute);
/* Submit what is recorded and wait until it is done. */
int compute_finish(struct compute *compute);
/* Any built-in kernel, in blocks of `threads` along x. */
int compute_launch(struct compute *compute, const char *kernel, uint64_t blocks_x, uint64_t blocks_y, uint32_t threads,
                   const void *args, uint32_t args_bytes);

int compute_fill(struct compute *compute, struct compute_span out, uint64_t count, uint32_t pattern);
int compute_vector_add(struct compute *compute, struct compute_span a, struct compute_span b, struct compute_span out,
                       uint64_t count);
int compute_saxpy(struct compute *compute, float a, struct compute_span x, struct compute_span y, uint64_t count);
/* Uniform in [low, high): element i depends on seed and i alone, and is the same on every device. */
int compute_random(struct compute *compute, struct compute_span out, uint64_t count, uint64_t seed, float low, float high);
/* type as in ELEMENT_TYPES; data_bytes are its size. -ENOENT when there is no kernel for it. */
int compute_dequant(struct compute *compute, const char *type, struct compute_span data, uint64_t data_bytes,
                    struct compute_span out, uint64_t count);

int compute_sum(struct compute *compute, struct compute_span x, uint64_t count, double *sum);
int compute_checksum(struct compute *compute, struct compute_span data, uint64_t size_bytes, uint64_t *checksum);
int compute_stats(struct compute *compute, const char *type, struct compute_span data, uint64_t data_bytes,
                  uint64_t count, struct stats_partial *stats);

/* c = a * b, in steps along k that keep a block's time short; calls progress(arg, k done) between steps (may be NULL). */
int compute_sgemm(struct compute *compute, const struct compute_matrix *a, const struct compute_matrix *b,
                  const struct compute_matrix *c, void (*progress)(void *arg, uint32_t k_done), void *arg);
/* The largest |c - a * b|, against sums in double. */
int compute_sgemm_error(struct compute *compute, const struct compute_matrix *a, const struct compute_matrix *b,
                        const struct compute_matrix *c, double *error);

#endif
