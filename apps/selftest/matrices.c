/*
 * apps/selftest/matrices.c: sgemm and sgemm_error: odd shapes, strides, transposes; C's surroundings must stay as they are.
 */
#include <math.h>
#include <string.h>

#include "apps/selftest/selftest.h"
#include "kernel/kernel.h"

struct shape {
    uint32_t m, n, k;
    bool is_a_transposed, is_b_transposed;
};
/* One element, less and more than a tile of each instruction set along every side, and more than one step along k. */
static const struct shape shapes[] = {
    {1, 1, 1, false, false},      {1, 300, 2, false, false},    {3, 5, 7, true, false},
    {17, 33, 129, false, true},   {97, 129, 128, true, true},   {113, 257, 131, false, false},
    {130, 260, 300, false, true}, {200, 100, 515, true, false},
};
#define ROW_PADDING 3 /* elements between rows, not part of the matrix */
#define C_OFFSET    64

/* A random matrix in buffer `buffer`, and in `host` as it lies there. */
static int make(struct selftest *test, unsigned buffer, uint32_t rows, uint32_t columns,
                bool is_transposed, float *host, struct compute_matrix *out)
{
    uint32_t lying_rows = is_transposed ? columns : rows,
             lying_columns = is_transposed ? rows : columns;
    *out = (struct compute_matrix){
        .at = {test->buffer[buffer], 12},
        .rows = rows,
        .columns = columns,
        .stride = lying_columns + ROW_PADDING,
        .is_transposed = is_transposed,
    };
    uint64_t count = (uint64_t)lying_rows * out->stride;
    for (uint64_t i = 0; i < count; i++)
        host[i] = (float)selftest_uniform(test, -1.0, 1.0);
    return selftest_upload(test, buffer, out->at.offset, host, count * sizeof(float));
}

static double element(const struct compute_matrix *x, const float *host, uint32_t row,
                      uint32_t column)
{
    return (double)(x->is_transposed ? host[column * x->stride + row]
                                     : host[row * x->stride + column]);
}

/* Only the rows of C may have been written, not what lies between and around them. */
static int check_surroundings(struct selftest *test, const struct compute_matrix *c)
{
    const uint8_t *data = selftest_download(test, 0, 0, SELFTEST_BYTES);
    if (data == NULL)
        return -EIO;
    for (uint64_t i = 0; i < SELFTEST_BYTES; i++) {
        uint64_t row = i < C_OFFSET ? c->rows : (i - C_OFFSET) / sizeof(float) / c->stride;
        uint64_t column = i < C_OFFSET ? 0 : (i - C_OFFSET) / sizeof(float) % c->stride;
        if ((row >= c->rows || column >= c->columns) && data[i] != SELFTEST_POISON)
            return selftest_case(test, INFINITY, 0.0, "%u x %u: byte %llu outside of C was written",
                                 c->rows, c->columns, (unsigned long long)i);
    }
    return 0;
}

static int test_product(struct selftest *test, const struct shape *shape)
{
    float *a_host = (float *)test->input, *b_host = (float *)test->expected;
    struct compute_matrix a, b,
        c = {
            .at = {test->buffer[0], C_OFFSET},
            .rows = shape->m,
            .columns = shape->n,
            .stride = shape->n + ROW_PADDING,
        };
    int error = make(test, 1, shape->m, shape->k, shape->is_a_transposed, a_host, &a);
    if (error == 0)
        error = make(test, 2, shape->k, shape->n, shape->is_b_transposed, b_host, &b);
    if (error == 0)
        error = selftest_poison(test, 0);
    double claimed = 0.0;
    if (error == 0 && (compute_sgemm(&test->compute, &a, &b, &c, NULL, NULL) != 0 ||
                       compute_sgemm_error(&test->compute, &a, &b, &c, &claimed) != 0))
        error = selftest_gpu_failed(test, -EIO);
    if (error == 0)
        error = check_surroundings(test, &c);
    if (error != 0)
        return error;

    const uint8_t *data = selftest_download(test, 0, C_OFFSET, c.stride * c.rows * sizeof(float));
    if (data == NULL)
        return -EIO;
    double worst = 0.0, worst_share = 0.0;
    for (uint32_t i = 0; i < c.rows; i++) {
        for (uint32_t j = 0; j < c.columns; j++) {
            double sum = 0.0, magnitude = 0.0;
            for (uint32_t k = 0; k < a.columns; k++) {
                double term = element(&a, a_host, i, k) * element(&b, b_host, k, j);
                sum += term;
                magnitude += fabs(term);
            }
            float got;
            memcpy(&got, data + (i * c.stride + j) * sizeof(got), sizeof(got));
            double off = fabs((double)got - sum);
            /* Higham, section 3.5: each of the k terms is rounded at most k + 1 times by 2^-24 of the sum of magnitudes. */
            double share = off / ((a.columns + 1) * 0x1p-24 * magnitude);
            worst = off <= worst ? worst : off;
            worst_share = share <= worst_share ? worst_share : share;
        }
    }
    error = selftest_case(test, worst_share, 1.0, "%u x %u x %u (share of the rounding bound)",
                          shape->m, shape->n, shape->k);
    if (error != 0)
        return error;
    /* What the device finds as the largest error must be what we find. */
    return selftest_case(test, fabs(claimed - worst), 1e-12 * shape->k, "%u x %u x %u: sgemm_error",
                         shape->m, shape->n, shape->k);
}

int selftest_matrices(struct selftest *test)
{
    int error = selftest_kernel(test, "sgemm");
    for (unsigned i = 0; i < ARRAY_COUNT(shapes) && error == 0; i++)
        error = test_product(test, &shapes[i]);
    return error;
}
