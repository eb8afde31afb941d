/*
 * gpu/kernels/stats.c: stats_TYPE and stats_merge: count, minimum, maximum, mean and spread of a tensor.
 *
 * A block goes through its elements in steps, which it converts to double in shared memory: first minimum, maximum and
 * sum, then, with the step's mean known, the squared distances from it. Steps, threads and blocks are joined by the pairwise
 * update of Chan, Golub and LeVeque (1979), so no small difference of large sums is ever formed. All in double.
 */
#include "gpu/kernels/elements.h"
#include "gpu/kernels/kernel.h"
#include "gpu/kernels/kernels.h"

#define STATS_STEP_ELEMENTS 4096u /* 32 KiB of shared memory: GPUs have 48 KiB for every block */

static const double INFINITE = __builtin_inf();

static inline bool is_finite(double x)
{
    return __builtin_fabs(x) < INFINITE; /* false for NaN */
}

static inline struct stats_partial stats_nothing(void)
{
    return (struct stats_partial){.minimum = INFINITE, .maximum = -INFINITE};
}

/* What is known of two sets together. */
static inline struct stats_partial stats_join(struct stats_partial a, struct stats_partial b)
{
    struct stats_partial both = {
        .finite_count = a.finite_count + b.finite_count,
        .nan_count = a.nan_count + b.nan_count,
        .infinite_count = a.infinite_count + b.infinite_count,
        .minimum = a.minimum < b.minimum ? a.minimum : b.minimum,
        .maximum = a.maximum > b.maximum ? a.maximum : b.maximum,
    };
    if (both.finite_count == 0)
        return both;
    double delta = b.mean - a.mean;
    double share = (double)b.finite_count / (double)both.finite_count;
    both.mean = a.finite_count == 0 ? b.mean : a.mean + delta * share;
    both.m2 = a.m2 + b.m2 + delta * delta * (double)a.finite_count * share;
    if (a.finite_count == 0)
        both.m2 = b.m2;
    return both;
}

/* Room for one step's elements as numbers, and for what each thread knows of them. */
struct stats_scratch {
    double value[STATS_STEP_ELEMENTS];
    double minimum[REDUCE_THREADS], maximum[REDUCE_THREADS], sum[REDUCE_THREADS],
        m2[REDUCE_THREADS];
    uint32_t finite[REDUCE_THREADS], nans[REDUCE_THREADS];
};

/* The phases that look at the `count` numbers of a step; the outcome is joined to thread 0's *joined. On a CPU
 * one copy serves all types. */
KERNEL_FUNCTION void stats_step(const struct kernel_block *block_,
                                SHARED_POINTER(struct stats_scratch) s, uint32_t count,
                                struct stats_partial *joined)
{
    (void)block_;
    FOR_THREADS (t) {
        s->minimum[t] = INFINITE;
        s->maximum[t] = -INFINITE;
        s->sum[t] = s->m2[t] = 0.0;
        s->finite[t] = s->nans[t] = 0;
    }
    FOR_RANGE (t, i, 0, count) {
        double x = s->value[i];
        bool good = is_finite(x);
        s->minimum[t] = good && x < s->minimum[t] ? x : s->minimum[t];
        s->maximum[t] = good && x > s->maximum[t] ? x : s->maximum[t];
        s->sum[t] += good ? x : 0.0;
        s->finite[t] += good;
        s->nans[t] += x != x;
    }
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        FOR_THREADS (t) {
            if (t < half) {
                s->minimum[t] =
                    s->minimum[t + half] < s->minimum[t] ? s->minimum[t + half] : s->minimum[t];
                s->maximum[t] =
                    s->maximum[t + half] > s->maximum[t] ? s->maximum[t + half] : s->maximum[t];
                s->sum[t] += s->sum[t + half];
                s->finite[t] += s->finite[t + half];
                s->nans[t] += s->nans[t + half];
            }
        }
    }
    double mean = s->finite[0] == 0 ? 0.0 : s->sum[0] / (double)s->finite[0];
    FOR_RANGE (t, i, 0, count) {
        double x = s->value[i];
        double distance = is_finite(x) ? x - mean : 0.0;
        s->m2[t] += distance * distance;
    }
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        FOR_THREADS (t) {
            if (t < half)
                s->m2[t] += s->m2[t + half];
        }
    }
    FOR_THREADS (t) {
        if (t == 0) {
            struct stats_partial step = {
                .finite_count = s->finite[0],
                .nan_count = s->nans[0],
                .infinite_count = count - s->finite[0] - s->nans[0],
                .minimum = s->minimum[0],
                .maximum = s->maximum[0],
                .mean = mean,
                .m2 = s->m2[0],
            };
            *joined = stats_join(*joined, step);
        }
    }
}

#define STATS_KERNEL(type, unused) \
    KERNEL_WITH(stats_##type, struct stats_args) \
    { \
        SHARED(struct stats_scratch, scratch, 1); \
        const void *data = ARGS->data; \
        uint64_t block_begin = BLOCK_INDEX_X * ARGS->block_elements; \
        uint64_t block_end = smaller_u64(block_begin + ARGS->block_elements, ARGS->count); \
        struct stats_partial joined = stats_nothing(); \
        for (uint64_t begin = block_begin; begin < block_end; begin += STATS_STEP_ELEMENTS) { \
            uint64_t end = smaller_u64(begin + STATS_STEP_ELEMENTS, block_end); \
            FOR_RANGE (t, i, begin, end) \
                scratch[0].value[i - begin] = (double)value_##type(data, i); \
            stats_step(BLOCK, scratch, (uint32_t)(end - begin), &joined); \
        } \
        FOR_THREADS (t) { \
            if (t == 0) \
                ARGS->partials[BLOCK_INDEX_X] = joined; \
        } \
    }

ELEMENT_TYPES(STATS_KERNEL, )

KERNEL(stats_merge)
{
    SHARED(struct stats_partial, joined, REDUCE_THREADS);
    const struct stats_partial *partials = ARGS->partials;
    FOR_THREADS (t)
        joined[t] = stats_nothing();
    FOR_RANGE (t, i, 0, ARGS->count)
        joined[t] = stats_join(joined[t], partials[i]);
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        FOR_THREADS (t) {
            if (t < half)
                joined[t] = stats_join(joined[t], joined[t + half]);
        }
    }
    FOR_THREADS (t) {
        if (t == 0)
            ARGS->out[0] = joined[0];
    }
}
