/*
 * gpu/kernels/stats.c: stats_TYPE and stats_merge: count, minimum, maximum, mean and spread of a tensor.
 *
 * A block goes through its elements in steps of BLOCK_ELEMENTS, which stay in a cache: first minimum, maximum and sum,
 * then, with the step's mean known, the squared distances from it. Steps, threads and blocks are joined by the pairwise
 * update of Chan, Golub and LeVeque (1979), so no small difference of large sums is ever formed. All in double.
 */
#include "gpu/kernels/elements.h"
#include "gpu/kernels/kernel.h"
#include "gpu/kernels/kernels.h"

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

/* The phases of one step over elements begin..end of data; thread 0 joins the outcome to joined[0]. */
#define STATS_STEP(type) \
    FOR_THREADS (t) { \
        minimum[t] = INFINITE; \
        maximum[t] = -INFINITE; \
        sum[t] = m2[t] = 0.0; \
        finite[t] = nans[t] = 0; \
    } \
    FOR_RANGE (t, i, begin, end) { \
        double x = (double)value_##type(data, i); \
        bool good = is_finite(x); \
        minimum[t] = good && x < minimum[t] ? x : minimum[t]; \
        maximum[t] = good && x > maximum[t] ? x : maximum[t]; \
        sum[t] += good ? x : 0.0; \
        finite[t] += good; \
        nans[t] += x != x; \
    } \
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) { \
        FOR_THREADS (t) { \
            if (t < half) { \
                minimum[t] = minimum[t + half] < minimum[t] ? minimum[t + half] : minimum[t]; \
                maximum[t] = maximum[t + half] > maximum[t] ? maximum[t + half] : maximum[t]; \
                sum[t] += sum[t + half]; \
                finite[t] += finite[t + half]; \
                nans[t] += nans[t + half]; \
            } \
        } \
    } \
    double step_mean = finite[0] == 0 ? 0.0 : sum[0] / (double)finite[0]; \
    FOR_RANGE (t, i, begin, end) { \
        double x = (double)value_##type(data, i); \
        double distance = is_finite(x) ? x - step_mean : 0.0; \
        m2[t] += distance * distance; \
    } \
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) { \
        FOR_THREADS (t) { \
            if (t < half) \
                m2[t] += m2[t + half]; \
        } \
    } \
    FOR_THREADS (t) { \
        if (t == 0) { \
            struct stats_partial step = { \
                .finite_count = finite[0], \
                .nan_count = nans[0], \
                .infinite_count = end - begin - finite[0] - nans[0], \
                .minimum = minimum[0], \
                .maximum = maximum[0], \
                .mean = step_mean, \
                .m2 = m2[0], \
            }; \
            joined = stats_join(joined, step); \
        } \
    }

#define STATS_KERNEL(type, unused) \
    KERNEL_WITH(stats_##type, struct stats_args) \
    { \
        SHARED(double, minimum, REDUCE_THREADS); \
        SHARED(double, maximum, REDUCE_THREADS); \
        SHARED(double, sum, REDUCE_THREADS); \
        SHARED(double, m2, REDUCE_THREADS); \
        SHARED(uint32_t, finite, REDUCE_THREADS); \
        SHARED(uint32_t, nans, REDUCE_THREADS); \
        const void *data = ARGS->data; \
        uint64_t block_begin = BLOCK_INDEX_X * ARGS->block_elements; \
        uint64_t block_end = smaller_u64(block_begin + ARGS->block_elements, ARGS->count); \
        struct stats_partial joined = stats_nothing(); /* thread 0's */ \
        for (uint64_t begin = block_begin; begin < block_end; begin += BLOCK_ELEMENTS) { \
            uint64_t end = smaller_u64(begin + BLOCK_ELEMENTS, block_end); \
            STATS_STEP(type) \
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
