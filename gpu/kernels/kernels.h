/*
 * gpu/kernels/kernels.h: every built-in kernel, its arguments and its geometry. Shared by device code and host code.
 *
 * Kernels are found by these names in gpu_module_builtin(). gpu/compute.h wraps the ones that apps use. All take blocks of
 * up to KERNEL_BLOCK_THREADS_MAX threads, a power of two; those that reduce need exactly REDUCE_THREADS.
 */
#ifndef INGOT_GPU_KERNELS_H
#define INGOT_GPU_KERNELS_H

#include <stdint.h>

/* Elements of one block of an element-wise kernel, and of one step of a reduction. */
#define BLOCK_ELEMENTS 16384u
#define REDUCE_THREADS 256u
#define REDUCE_BLOCKS_MAX 65536u

/* Elements per block for a reduction over count elements: the same on every device, so results are, too. */
static inline uint64_t reduce_block_elements(uint64_t count)
{
    uint64_t blocks = count / BLOCK_ELEMENTS + (count % BLOCK_ELEMENTS != 0);
    return (blocks / REDUCE_BLOCKS_MAX + (blocks % REDUCE_BLOCKS_MAX != 0)) * BLOCK_ELEMENTS;
}

/* Does nothing: for launch latency. */
struct empty_args {
    uint64_t unused;
};

/* out[i] = pattern, i < count */
struct fill_args {
    uint32_t *out;
    uint64_t count;
    uint32_t pattern;
};

/* out[i] = in[i], units of 16, 4 or 1 bytes, both aligned to that; one unit per thread of COPY_THREADS */
struct copy_args {
    const void *in;
    void *out;
    uint64_t count;
    uint32_t unit_bytes;
};
#define COPY_THREADS 128u

/* out[i] = a[i] + b[i] */
struct vector_add_args {
    const float *a, *b;
    float *out;
    uint64_t count;
};

/* y[i] += a * x[i] */
struct saxpy_args {
    const float *x;
    float *y;
    uint64_t count;
    float a;
};

/* partials[block] = sum over the block's elements, in double */
struct sum_args {
    const float *x;
    double *partials;
    uint64_t count, block_elements;
};

/* out[0] = sum of partials, one block */
struct sum_merge_args {
    const double *partials;
    double *out;
    uint64_t count;
};

/* out[i] = low + (high - low) * u, u uniform in [0, 1) with 24 bits from (seed, first + i); see random_bits() */
struct random_args {
    float *out;
    uint64_t count, seed, first;
    float low, high;
};

/* partials[block] = sum mod 2^64 of mix64(word i + (i + 1) * MIX64_STEP) over 8-byte words, the last padded with zeros */
struct checksum_args {
    const void *data;
    uint64_t *partials;
    uint64_t size_bytes, block_elements; /* block_elements counts words */
};

/* out[0] = sum mod 2^64 of partials, one block */
struct checksum_merge_args {
    const uint64_t *partials;
    uint64_t *out;
    uint64_t count;
};

/* out[i] = data's element i as F32; count is a multiple of the type's block size */
struct dequant_args {
    const void *data;
    float *out;
    uint64_t count;
};

/* What is known of a set of numbers. Mean and m2 (sum of squared distances from the mean) are over finite elements. */
struct stats_partial {
    uint64_t finite_count, nan_count, infinite_count;
    double minimum, maximum, mean, m2; /* minimum > maximum when nothing was finite */
};

/* partials[block] describes the block's elements of data */
struct stats_args {
    const void *data;
    struct stats_partial *partials;
    uint64_t count, block_elements;
};

/* out[0] = all partials merged, one block */
struct stats_merge_args {
    const struct stats_partial *partials;
    struct stats_partial *out;
    uint64_t count;
};

/*
 * c (m, n) = a (m, k) * b (k, n), or c += with accumulate. Element (i, j) of a is a[i * a_row + j * a_column], strides in
 * elements; so a transposed operand is one with its strides swapped. Grid: x over tiles along n, y along m. Tile and block
 * size differ by device: sgemm_geometry().
 */
struct sgemm_args {
    const float *a, *b;
    float *c;
    uint64_t a_row, a_column, b_row, b_column, c_row; /* c_column is 1 */
    uint32_t m, n, k, accumulate;
};

/* errors[block] = largest |c - a * b| of the block's elements, against sums in double. Blocks along x: row-major over
 * (m, ceil(n / block threads)). */
struct sgemm_error_args {
    const float *a, *b, *c;
    double *errors;
    uint64_t a_row, a_column, b_row, b_column, c_row;
    uint32_t m, n, k;
};

/*
 * The tile of C that a block computes, by instruction set: rows and columns of the part of one thread (its micro tile),
 * threads along m and along n, depth of a step along k.
 * Micro tiles fill the registers: 6 x 2 vectors of 16 registers, 14 x 2 of 32. The CPU's tiles of A and B stay within its
 * L2 cache, a micro tile's columns of B within L1; the GPU's within shared memory.
 */
#define SGEMM_SSE2   6, 8, 16, 16, 128
#define SGEMM_AVX2   6, 16, 16, 16, 128
#define SGEMM_AVX512 14, 32, 8, 8, 128
#define SGEMM_GPU    8, 8, 16, 16, 16

/* kernel name, argument struct */
#define KERNEL_LIST(x)                                                                             \
    x(empty, empty_args) x(fill, fill_args) x(copy, copy_args) x(vector_add, vector_add_args) x(saxpy, saxpy_args)    \
    x(sum, sum_args) x(sum_merge, sum_merge_args) x(random, random_args)                           \
    x(checksum, checksum_args) x(checksum_merge, checksum_merge_args) x(sgemm, sgemm_args)         \
    x(sgemm_error, sgemm_error_args) x(stats_merge, stats_merge_args)                              \
    ELEMENT_TYPES(DEQUANT_ENTRY_, x) ELEMENT_TYPES(STATS_ENTRY_, x)
#define DEQUANT_ENTRY_(type, x) x(dequant_##type, dequant_args)
#define STATS_ENTRY_(type, x) x(stats_##type, stats_args)

/* Every element type with a reader in gpu/kernels/elements.h: for each there are dequant_TYPE and stats_TYPE. */
#define ELEMENT_TYPES(y, x)                                                                        \
    y(f64, x) y(f32, x) y(f16, x) y(bf16, x) y(f8_e4m3, x) y(f8_e5m2, x) y(f8_e8m0, x) y(i64, x)   \
    y(i32, x) y(i16, x) y(i8, x) y(u64, x) y(u32, x) y(u16, x) y(u8, x) y(bool8, x) y(q4_0, x)      \
    y(q4_1, x) y(q5_0, x) y(q5_1, x) y(q8_0, x)

/* ---- the counter-based generator and hash that device and host code share ---- */

#define MIX64_STEP UINT64_C(0x9e3779b97f4a7c15) /* 2^64 / golden ratio, odd: SplitMix64's increment */

/* SplitMix64's output function (Steele, Lea, Flood 2014; constants are Stafford's mix 13). */
static inline uint64_t mix64(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* 24 uniform bits for element i of stream seed. */
static inline uint32_t random_bits(uint64_t seed, uint64_t i)
{
    return (uint32_t)(mix64(mix64(seed) + (i + 1) * MIX64_STEP) >> 40);
}

#endif
