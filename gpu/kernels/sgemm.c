/*
 * gpu/kernels/sgemm.c: single-precision matrix product, and its check against sums in double.
 *
 * A block computes one tile of C, in steps along k. A step copies a tile of A and one of B into shared memory, zeros where
 * the matrices end, then every thread adds the products to its micro tile, which lives in registers for the whole step.
 * Sizes are in kernels.h: on a CPU "shared memory" is L2 cache, a thread is one turn of a loop, and the micro tile's rows
 * are vectors as wide as the machine's. On a GPU a vector is the 16 bytes that one load brings.
 */
#include "gpu/kernels/kernel.h"
#include "gpu/kernels/kernels.h"

#if defined(__NVPTX__)
#define GEOMETRY      SGEMM_GPU
#define VECTOR_FLOATS 4
#elif defined( \
    KERNEL_TILES_OF_GPU) /* the device model of the tests: launches are laid out for a GPU */
#define GEOMETRY SGEMM_GPU
#if defined(__AVX2__)
#define VECTOR_FLOATS 8
#else
#define VECTOR_FLOATS 4
#endif
#elif defined(__AVX512F__)
#define GEOMETRY      SGEMM_AVX512
#define VECTOR_FLOATS 16
#elif defined(__AVX2__)
#define GEOMETRY      SGEMM_AVX2
#define VECTOR_FLOATS 8
#else
#define GEOMETRY      SGEMM_SSE2
#define VECTOR_FLOATS 4
#endif
#define GEOMETRY_ROWS_(rows, columns, along_m, along_n, depth)    rows
#define GEOMETRY_COLUMNS_(rows, columns, along_m, along_n, depth) columns
#define GEOMETRY_ALONG_M_(rows, columns, along_m, along_n, depth) along_m
#define GEOMETRY_ALONG_N_(rows, columns, along_m, along_n, depth) along_n
#define GEOMETRY_DEPTH_(rows, columns, along_m, along_n, depth)   depth
#define APPLY(macro, ...)                                         macro(__VA_ARGS__)
#define MICRO_M                                                   APPLY(GEOMETRY_ROWS_, GEOMETRY)
#define MICRO_N                                                   APPLY(GEOMETRY_COLUMNS_, GEOMETRY)
#define THREADS_M                                                 APPLY(GEOMETRY_ALONG_M_, GEOMETRY)
#define THREADS_N                                                 APPLY(GEOMETRY_ALONG_N_, GEOMETRY)
#define TILE_K                                                    APPLY(GEOMETRY_DEPTH_, GEOMETRY)
#define TILE_M                                                    (MICRO_M * THREADS_M)
#define TILE_N                                                    (MICRO_N * THREADS_N)
#define MICRO_VECTORS                                             (MICRO_N / VECTOR_FLOATS)

typedef float vector __attribute__((vector_size(VECTOR_FLOATS * 4), aligned(VECTOR_FLOATS * 4)));
typedef float vector_unaligned __attribute__((vector_size(VECTOR_FLOATS * 4), aligned(4)));

struct micro_tile {
    vector row[MICRO_M][MICRO_VECTORS];
};

#if defined(__NVPTX__)
/* A lies by columns: the threads of a warp read neighbouring words. A thread copies single elements, neighbours in step. */
#define A_ROW_STRIDE    1
#define A_COLUMN_STRIDE (TILE_M + 4)
#define A_FLOATS        (A_COLUMN_STRIDE * TILE_K)
#define COPY_FLOATS     1
#define THREAD_M(t)     ((t) / THREADS_N)
#define THREAD_N(t)     ((t) % THREADS_N)
#else
/* A lies by rows: copies are runs, and the micro kernel broadcasts from rows a constant stride apart. The padding keeps
 * rows out of one another's cache sets. Threads go down the columns, so that B's columns stay in L1. */
#define A_ROW_STRIDE    (TILE_K + 16)
#define A_COLUMN_STRIDE 1
#define A_FLOATS        (A_ROW_STRIDE * TILE_M)
#define COPY_FLOATS     TILE_K
#define THREAD_M(t)     ((t) % THREADS_M)
#define THREAD_N(t)     ((t) / THREADS_M)
#endif
#define B_ROW_STRIDE (TILE_N + 16)

/*
 * The part of thread t in copying a tile: rows x columns elements to `to`, element (r, c) at to[r * to_row + c * to_column],
 * from from[r * from_row + c * from_column]; zeros past the valid rows and columns. Runs go along the columns.
 */
static inline __attribute__((always_inline)) void
copy_tile(SHARED_POINTER(float) to, uint32_t to_row, uint32_t to_column, const float *from,
          uint64_t from_row, uint64_t from_column, uint32_t rows, uint32_t columns,
          uint32_t valid_rows, uint32_t valid_columns, uint32_t t, uint32_t threads)
{
    const uint32_t run = COPY_FLOATS < columns ? COPY_FLOATS : columns;
    for (uint32_t piece = t; piece < rows * (columns / run); piece += threads) {
        uint32_t row = piece / (columns / run), column = piece % (columns / run) * run;
        SHARED_POINTER(float) out = to + row * to_row + column * to_column;
        const float *in = from + row * from_row + column * from_column;
        uint32_t valid = row >= valid_rows || column >= valid_columns ? 0 : valid_columns - column;
        valid = valid < run ? valid : run;
        if (from_column == 1) {
            for (uint32_t i = 0; i < valid; i++)
                out[i * to_column] = in[i];
        } else {
            for (uint32_t i = 0; i < valid; i++)
                out[i * to_column] = in[i * from_column];
        }
        for (uint32_t i = valid; i < run; i++)
            out[i * to_column] = 0.0f;
    }
}

/* acc += a (MICRO_M, depth) * b (depth, MICRO_N), both in shared memory. */
static inline __attribute__((always_inline)) void multiply(struct micro_tile *acc,
                                                           SHARED_POINTER(const float) a,
                                                           SHARED_POINTER(const float) b,
                                                           uint32_t depth)
{
    struct micro_tile c = *acc;
    for (uint32_t k = 0; k < depth; k++) {
        vector b_row[MICRO_VECTORS];
#pragma GCC unroll 16
        for (int j = 0; j < MICRO_VECTORS; j++)
            b_row[j] = *(SHARED_POINTER(const vector))(b + k * B_ROW_STRIDE + j * VECTOR_FLOATS);
#pragma GCC unroll 16
        for (int i = 0; i < MICRO_M; i++) {
            float a_value = a[i * A_ROW_STRIDE + k * A_COLUMN_STRIDE];
#pragma GCC unroll 16
            for (int j = 0; j < MICRO_VECTORS; j++)
                c.row[i][j] += a_value * b_row[j];
        }
    }
    *acc = c;
}

/*
 * Bring a micro tile from C, or back to C, as much of it as lies inside: rows x columns from its corner on. Going on with
 * what C holds, not adding to it at the end, makes the sum's order, and so its rounding, independent of how a product is
 * cut along k.
 */
static inline __attribute__((always_inline)) void move_tile(struct micro_tile *acc, float *c,
                                                            uint64_t c_row, uint32_t rows,
                                                            uint32_t columns, bool is_store)
{
#pragma GCC unroll 16
    for (int i = 0; i < MICRO_M; i++) {
        if ((uint32_t)i >= rows)
            break;
        float *out = c + (uint64_t)i * c_row;
#if !defined(__NVPTX__)
        if (columns >= MICRO_N) {
            vector_unaligned *whole = (vector_unaligned *)out;
            for (int j = 0; j < MICRO_VECTORS; j++) {
                if (is_store)
                    whole[j] = acc->row[i][j];
                else
                    acc->row[i][j] = whole[j];
            }
            continue;
        }
#endif
        float *row = (float *)acc->row[i];
#if defined(__NVPTX__)
#pragma unroll
#endif
        for (uint32_t column = 0; column < MICRO_N; column++) {
            if (column < columns && is_store)
                out[column] = row[column];
            else if (column < columns)
                row[column] = out[column];
        }
    }
}

KERNEL(sgemm)
{
    SHARED(vector, a_shared, A_FLOATS / VECTOR_FLOATS);
    SHARED(vector, b_shared, TILE_K * B_ROW_STRIDE / VECTOR_FLOATS);
    PRIVATE_FOR(THREADS_M * THREADS_N, struct micro_tile, acc);
    SHARED_POINTER(float) a_tile = (SHARED_POINTER(float))a_shared;
    SHARED_POINTER(float) b_tile = (SHARED_POINTER(float))b_shared;
    const uint32_t threads = THREADS_M * THREADS_N;
    const uint32_t first_row = BLOCK_INDEX_Y * TILE_M, first_column = BLOCK_INDEX_X * TILE_N;
    const uint32_t rows = ARGS->m - first_row,
                   columns = ARGS->n - first_column; /* left from the tile's corner */
    const float *a = ARGS->a + first_row * ARGS->a_row;
    const float *b = ARGS->b + first_column * ARGS->b_column;
    float *c = ARGS->c + first_row * ARGS->c_row + first_column;

    FOR_THREADS (t) {
        uint32_t row = THREAD_M(t) * MICRO_M, column = THREAD_N(t) * MICRO_N;
        P(acc, t) = (struct micro_tile){0};
        if (ARGS->accumulate && row < rows && column < columns)
            move_tile(&P(acc, t), c + row * ARGS->c_row + column, ARGS->c_row, rows - row,
                      columns - column, false);
    }
    for (uint32_t k = 0; k < ARGS->k; k += TILE_K) {
        uint32_t depth = ARGS->k - k < TILE_K ? ARGS->k - k : TILE_K;
        FOR_THREADS (t) {
            copy_tile(a_tile, A_ROW_STRIDE, A_COLUMN_STRIDE, a + k * ARGS->a_column, ARGS->a_row,
                      ARGS->a_column, TILE_M, TILE_K, rows, depth, t, threads);
            if (ARGS->b_column == 1)
                copy_tile(b_tile, B_ROW_STRIDE, 1, b + k * ARGS->b_row, ARGS->b_row, 1, TILE_K,
                          TILE_N, depth, columns, t, threads);
            else /* B is transposed: its runs go along k */
                copy_tile(b_tile, 1, B_ROW_STRIDE, b + k * ARGS->b_row, ARGS->b_column, ARGS->b_row,
                          TILE_N, TILE_K, columns, depth, t, threads);
        }
        FOR_THREADS (t) {
            if (THREAD_M(t) * MICRO_M < rows && THREAD_N(t) * MICRO_N < columns)
                multiply(&P(acc, t), a_tile + THREAD_M(t) * MICRO_M * A_ROW_STRIDE,
                         b_tile + THREAD_N(t) * MICRO_N, depth);
        }
    }
    FOR_THREADS (t) {
        uint32_t row = THREAD_M(t) * MICRO_M, column = THREAD_N(t) * MICRO_N;
        if (row < rows && column < columns)
            move_tile(&P(acc, t), c + row * ARGS->c_row + column, ARGS->c_row, rows - row,
                      columns - column, true);
    }
}

KERNEL(sgemm_error)
{
    SHARED(double, sum, KERNEL_BLOCK_THREADS_MAX);
    uint32_t n = ARGS->n, across = (n - 1) / BLOCK_THREADS + 1;
    uint32_t row = BLOCK_INDEX_X / across, first_column = BLOCK_INDEX_X % across * BLOCK_THREADS;
    const float *a = ARGS->a + row * ARGS->a_row, *b = ARGS->b;
    FOR_THREADS (t)
        sum[t] = 0.0;
    for (uint32_t k = 0; k < ARGS->k; k++) {
        double a_value = (double)a[k * ARGS->a_column];
        FOR_THREADS (t) {
            uint32_t column = first_column + t < n ? first_column + t : n - 1;
            sum[t] += a_value * (double)b[k * ARGS->b_row + column * ARGS->b_column];
        }
    }
    FOR_THREADS (t) {
        uint32_t column = first_column + t;
        double c = column < n ? (double)ARGS->c[row * ARGS->c_row + column] : sum[t];
        sum[t] = __builtin_fabs(c - sum[t]);
    }
    FOR_THREADS (t) {
        if (t == 0) {
            double worst = 0.0;
            for (uint32_t i = 0; i < BLOCK_THREADS;
                 i++) /* a NaN sticks: it fails the comparison from then on */
                worst = sum[i] <= worst ? worst : sum[i];
            ARGS->errors[BLOCK_INDEX_X] = worst;
        }
    }
}
