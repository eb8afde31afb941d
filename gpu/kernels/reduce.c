/*
 * gpu/kernels/reduce.c: sums and checksums. Two launches: each block leaves one partial, then one block merges them.
 *
 * Within a block each thread adds up its share, then a tree adds the threads' sums. The order depends on nothing but the
 * element count, so results are the same from run to run and on every device.
 */
#include "gpu/kernels/kernel.h"
#include "gpu/kernels/kernels.h"

KERNEL(sum)
{
    SHARED(double, total, REDUCE_THREADS);
    uint64_t begin = BLOCK_INDEX_X * ARGS->block_elements;
    uint64_t end = smaller_u64(begin + ARGS->block_elements, ARGS->count);
    const float *x = ARGS->x;
    FOR_THREADS (t)
        total[t] = 0.0;
    FOR_RANGE (t, i, begin, end)
        total[t] += (double)x[i];
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        FOR_THREADS (t) {
            if (t < half)
                total[t] += total[t + half];
        }
    }
    FOR_THREADS (t) {
        if (t == 0)
            ARGS->partials[BLOCK_INDEX_X] = total[0];
    }
}

KERNEL(sum_merge)
{
    SHARED(double, total, REDUCE_THREADS);
    const double *partials = ARGS->partials;
    FOR_THREADS (t)
        total[t] = 0.0;
    FOR_RANGE (t, i, 0, ARGS->count)
        total[t] += partials[i];
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        FOR_THREADS (t) {
            if (t < half)
                total[t] += total[t + half];
        }
    }
    FOR_THREADS (t) {
        if (t == 0)
            ARGS->out[0] = total[0];
    }
}

/* Word i of the data, the last one padded with zero bytes. */
static inline uint64_t word_at(const uint8_t *data, uint64_t i, uint64_t size_bytes)
{
    if (size_bytes - i * 8 >= 8)
        return load_u64(data + i * 8);
    uint64_t word = 0;
    for (uint64_t byte = i * 8; byte < size_bytes; byte++)
        word |= (uint64_t)data[byte] << (byte % 8 * 8);
    return word;
}

KERNEL(checksum)
{
    SHARED(uint64_t, total, REDUCE_THREADS);
    uint64_t size_bytes = ARGS->size_bytes;
    uint64_t words = size_bytes / 8 + (size_bytes % 8 != 0);
    uint64_t begin = BLOCK_INDEX_X * ARGS->block_elements;
    uint64_t end = smaller_u64(begin + ARGS->block_elements, words);
    const uint8_t *data = ARGS->data;
    FOR_THREADS (t)
        total[t] = 0;
    FOR_RANGE (t, i, begin, end)
        total[t] += mix64(word_at(data, i, size_bytes) + (i + 1) * MIX64_STEP);
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        FOR_THREADS (t) {
            if (t < half)
                total[t] += total[t + half];
        }
    }
    FOR_THREADS (t) {
        if (t == 0)
            ARGS->partials[BLOCK_INDEX_X] = total[0];
    }
}

KERNEL(checksum_merge)
{
    SHARED(uint64_t, total, REDUCE_THREADS);
    const uint64_t *partials = ARGS->partials;
    FOR_THREADS (t)
        total[t] = 0;
    FOR_RANGE (t, i, 0, ARGS->count)
        total[t] += partials[i];
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        FOR_THREADS (t) {
            if (t < half)
                total[t] += total[t + half];
        }
    }
    FOR_THREADS (t) {
        if (t == 0)
            ARGS->out[0] = total[0];
    }
}
