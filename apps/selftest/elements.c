/*
 * apps/selftest/elements.c: fill, vector_add, saxpy, random, sum, checksum, and all element types' dequant_ and stats_.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "apps/selftest/selftest.h"
#include "kernel/kernel.h"

/* One element, around a block of threads, around BLOCK_ELEMENTS, and several blocks with a rest. */
static const uint64_t sizes[] = {1, 2, 31, 255, 256, 257, 16383, 16384, 16385, 50001};

#define OUT_OFFSET 20 /* outputs start at an odd place, with poison in front */

static void fill_floats(struct selftest *test, float *out, uint64_t count, double low, double high)
{
    for (uint64_t i = 0; i < count; i++)
        out[i] = (float)selftest_uniform(test, low, high);
}

/* Compare the output in buffer 0 with expected floats: the largest difference relative to the larger of them and 1. */
static int compare_floats(struct selftest *test, uint64_t count, double tolerance)
{
    const uint8_t *got = selftest_download(test, 0, OUT_OFFSET, count * sizeof(float));
    if (got == NULL)
        return -EIO;
    const float *expected = (const float *)test->expected;
    double worst = 0.0;
    uint64_t worst_at = 0;
    for (uint64_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, got + i * sizeof(value), sizeof(value));
        if (value == expected[i] || (isnan(value) && isnan(expected[i])))
            continue;
        double error =
            fabs((double)value - (double)expected[i]) / fmax(1.0, fabs((double)expected[i]));
        if (!(error <= worst)) {
            worst = isnan(error) ? INFINITY : error;
            worst_at = i;
        }
    }
    int error = selftest_case(test, worst, tolerance, "%llu elements, element %llu",
                              (unsigned long long)count, (unsigned long long)worst_at);
    return error != 0 ? error : selftest_check_poison(test, 0, OUT_OFFSET, count * sizeof(float));
}

static int finish(struct selftest *test, int error)
{
    if (error == 0)
        error = compute_finish(&test->compute);
    return error != 0 ? selftest_gpu_failed(test, error) : 0;
}

/* ---- plain kernels --------------------------------------------------------------------------------------------- */

static struct compute_span out_span(struct selftest *test)
{
    return (struct compute_span){test->buffer[0], OUT_OFFSET};
}

static int test_fill(struct selftest *test, uint64_t count)
{
    float *expected = (float *)test->expected;
    for (uint64_t i = 0; i < count; i++)
        expected[i] = 1.5f;
    int error = selftest_poison(test, 0);
    if (error == 0)
        error = finish(test, compute_fill(&test->compute, out_span(test), count, 0x3fc00000));
    return error != 0 ? error : compare_floats(test, count, 0.0);
}

static int test_vector_add(struct selftest *test, uint64_t count)
{
    float *a = (float *)test->input, *b = a + count, *expected = (float *)test->expected;
    fill_floats(test, a, 2 * count, -100.0, 100.0);
    for (uint64_t i = 0; i < count; i++)
        expected[i] = a[i] + b[i];
    int error = selftest_upload(test, 1, 4, a, count * sizeof(float));
    if (error == 0)
        error = selftest_upload(test, 2, 8, b, count * sizeof(float));
    if (error == 0)
        error = selftest_poison(test, 0);
    if (error == 0)
        error = finish(test, compute_vector_add(
                                 &test->compute, (struct compute_span){test->buffer[1], 4},
                                 (struct compute_span){test->buffer[2], 8}, out_span(test), count));
    return error != 0 ? error : compare_floats(test, count, 0.0);
}

static int test_saxpy(struct selftest *test, uint64_t count)
{
    float *x = (float *)test->input, *y = x + count, *expected = (float *)test->expected;
    float a = (float)selftest_uniform(test, -3.0, 3.0);
    fill_floats(test, x, 2 * count, -100.0, 100.0);
    for (uint64_t i = 0; i < count; i++)
        expected[i] = (float)((double)a * (double)x[i] + (double)y[i]);
    int error = selftest_upload(test, 1, 4, x, count * sizeof(float));
    if (error == 0)
        error = selftest_poison(test, 0);
    if (error == 0)
        error = finish(test, 0); /* the upload below is another copy into the poisoned buffer */
    if (error == 0)
        error = selftest_upload(test, 0, OUT_OFFSET, y, count * sizeof(float));
    if (error == 0)
        error =
            finish(test, compute_saxpy(&test->compute, a, (struct compute_span){test->buffer[1], 4},
                                       out_span(test), count));
    return error != 0 ? error
                      : compare_floats(test, count,
                                       0x1p-15); /* one rounding of a product up to 300, or two */
}

static int test_random(struct selftest *test, uint64_t count)
{
    float *expected = (float *)test->expected;
    uint64_t seed = selftest_random(test);
    for (uint64_t i = 0; i < count; i++)
        expected[i] =
            (float)(-2.0 + 4.0 * (double)random_bits(seed, i) * 0x1p-24); /* exact in float */
    int error = selftest_poison(test, 0);
    if (error == 0)
        error =
            finish(test, compute_random(&test->compute, out_span(test), count, seed, -2.0f, 2.0f));
    return error != 0 ? error : compare_floats(test, count, 0.0);
}

static int test_sum(struct selftest *test, uint64_t count)
{
    float *x = (float *)test->input;
    fill_floats(test, x, count, -1.0, 1.0);
    double expected = 0.0, sum = 0.0, again = 0.0;
    for (uint64_t i = 0; i < count; i++)
        expected += (double)x[i];
    struct compute_span span = {test->buffer[1], 4};
    int error = selftest_upload(test, 1, 4, x, count * sizeof(float));
    if (error == 0)
        error = compute_sum(&test->compute, span, count, &sum) != 0 ? -EIO : 0;
    if (error == 0)
        error = compute_sum(&test->compute, span, count, &again) != 0 ? -EIO : 0;
    if (error != 0)
        return selftest_gpu_failed(test, error);
    if (sum != again)
        return selftest_case(test, INFINITY, 0.0, "%llu elements: the second time it is another",
                             (unsigned long long)count);
    return selftest_case(test, fabs(sum - expected), (double)count * 0x1p-50, "%llu elements",
                         (unsigned long long)count);
}

static int test_checksum(struct selftest *test, uint64_t size_bytes)
{
    for (uint64_t i = 0; i < size_bytes; i++)
        test->input[i] = (uint8_t)selftest_random(test);
    uint64_t expected = reference_checksum(test->input, size_bytes), got = 0;
    uint64_t offset = selftest_random(test) % 8;
    int error = selftest_upload(test, 1, offset, test->input, size_bytes);
    if (error == 0 &&
        compute_checksum(&test->compute, (struct compute_span){test->buffer[1], offset}, size_bytes,
                         &got) != 0)
        error = selftest_gpu_failed(test, -EIO);
    if (error != 0)
        return error;
    return selftest_case(test, got == expected ? 0.0 : INFINITY, 0.0, "%llu bytes at offset %llu",
                         (unsigned long long)size_bytes, (unsigned long long)offset);
}

int selftest_elements(struct selftest *test)
{
    static const struct {
        const char *name;
        int (*run)(struct selftest *test, uint64_t count);
    } tests[] = {
        {"fill", test_fill},   {"vector_add", test_vector_add},
        {"saxpy", test_saxpy}, {"random", test_random},
        {"sum", test_sum},     {"checksum", test_checksum},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(tests); i++) {
        int error = selftest_kernel(test, tests[i].name);
        for (unsigned j = 0; j < ARRAY_COUNT(sizes) && error == 0; j++)
            error = tests[i].run(test, sizes[j]);
        if (error != 0)
            return error;
    }
    return 0;
}

/* ---- element types --------------------------------------------------------------------------------------------- */

/* Random data of a type: any bits where all bits make sense, else numbers, with NaN and infinities among them. */
static void fill_type(struct selftest *test, const struct reference_type *type, uint64_t count)
{
    uint64_t bytes = count / type->block_elements * type->block_bytes;
    if (!type->is_wide) {
        for (uint64_t i = 0; i < bytes; i++)
            test->input[i] = (uint8_t)selftest_random(test);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t special = selftest_random(test) % 50;
        double value = special == 0   ? NAN
                       : special == 1 ? -INFINITY
                                      : selftest_uniform(test, 900.0, 1100.0);
        float single = (float)value;
        if (type->block_bytes == 8)
            memcpy(test->input + i * 8, &value, 8);
        else
            memcpy(test->input + i * type->block_bytes,
                   (const uint8_t *)&single + 4 - type->block_bytes,
                   type->block_bytes); /* BF16 is the upper half */
    }
}

static int test_dequant(struct selftest *test, const struct reference_type *type, uint64_t count,
                        uint64_t offset)
{
    uint64_t bytes = count / type->block_elements * type->block_bytes;
    float *expected = (float *)test->expected;
    fill_type(test, type, count);
    for (uint64_t i = 0; i < count; i++)
        expected[i] = (float)reference_value(type, test->input, i);
    int error = selftest_upload(test, 1, offset, test->input, bytes);
    if (error == 0)
        error = selftest_poison(test, 0);
    if (error == 0)
        error = finish(test, compute_dequant(&test->compute, type->name,
                                             (struct compute_span){test->buffer[1], offset}, bytes,
                                             out_span(test), count));
    /* Exact, but for the formats that add a minimum: product and sum may round once or twice. */
    bool has_minimum = strcmp(type->name, "q4_1") == 0 || strcmp(type->name, "q5_1") == 0;
    return error != 0 ? error : compare_floats(test, count, has_minimum ? 0x1p-3 : 0.0);
}

static double relative(double got, double expected, double scale)
{
    return got == expected ? 0.0 : fabs(got - expected) / scale;
}

static int test_stats(struct selftest *test, const struct reference_type *type, uint64_t count,
                      uint64_t offset)
{
    uint64_t bytes = count / type->block_elements * type->block_bytes;
    fill_type(test, type, count);
    struct stats_partial expected = reference_stats(type, test->input, count), got;
    int error = selftest_upload(test, 1, offset, test->input, bytes);
    if (error == 0 &&
        compute_stats(&test->compute, type->name, (struct compute_span){test->buffer[1], offset},
                      bytes, count, &got) != 0)
        error = selftest_gpu_failed(test, -EIO);
    if (error != 0)
        return error;
    if (got.finite_count != expected.finite_count || got.nan_count != expected.nan_count ||
        got.infinite_count != expected.infinite_count)
        return selftest_case(
            test, INFINITY, 0.0, "%llu elements: %llu finite, %llu NaN, not %llu and %llu",
            (unsigned long long)count, (unsigned long long)got.finite_count,
            (unsigned long long)got.nan_count, (unsigned long long)expected.finite_count,
            (unsigned long long)expected.nan_count);
    if (expected.finite_count == 0)
        return selftest_case(test, 0.0, 0.0, "nothing finite");
    double scale = fmax(fabs(expected.minimum), fabs(expected.maximum));
    double worst = relative(got.minimum, expected.minimum, scale);
    worst = fmax(worst, relative(got.maximum, expected.maximum, scale));
    worst = fmax(worst, relative(got.mean, expected.mean, scale));
    /* q4_1 and q5_1 add a minimum in single precision: next to a large one, a small spread drowns in
     * the rounding. */
    bool has_minimum = strcmp(type->name, "q4_1") == 0 || strcmp(type->name, "q5_1") == 0;
    double spread = fmax(expected.m2, 1e-300);
    if (has_minimum)
        spread += (double)count * scale * scale;
    worst = fmax(worst, relative(got.m2, expected.m2, spread));
    return selftest_case(test, worst, has_minimum ? 1e-6 : 1e-10, "%llu elements at offset %llu",
                         (unsigned long long)count, (unsigned long long)offset);
}

int selftest_types(struct selftest *test)
{
    static int (*const runs[])(struct selftest *, const struct reference_type *, uint64_t,
                               uint64_t) = {test_dequant, test_stats};
    static const char *const prefixes[] = {"dequant_", "stats_"};
    const struct reference_type *type;
    for (unsigned i = 0; (type = reference_type_get(i)) != NULL; i++) {
        for (unsigned j = 0; j < ARRAY_COUNT(runs); j++) {
            char name[40];
            snprintf(name, sizeof(name), "%s%s", prefixes[j], type->name);
            int error = selftest_kernel(test, name);
            for (unsigned k = 0; k < ARRAY_COUNT(sizes) && error == 0; k++) {
                uint64_t count = (sizes[k] + type->block_elements - 1) / type->block_elements *
                                 type->block_elements;
                error = runs[j](test, type, count, k % 5); /* 0 to 4: aligned and not */
            }
            if (error == 0)
                error = selftest_kernel(test, NULL);
            test->kernel = NULL; /* the name is ours */
            if (error != 0)
                return error;
        }
    }
    return 0;
}
