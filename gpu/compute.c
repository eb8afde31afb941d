/*
 * gpu/compute.c: the built-in kernels as calls: ranges, grids, the two launches of a reduction, the steps of a product.
 */
#include "gpu/compute.h"

#include <stdio.h>
#include <string.h>

#include "gpu/gpu_backend.h"

#define WAIT_SLICE_NS (20 * NS_PER_MS) /* between looks at is_cancelled */
#define WAIT_LIMIT_NS \
    (300 * NS_PER_S) /* what is submitted in one go takes minutes at most, also under emulation */
#define STEP_NS \
    (5 * NS_PER_MS) /* what a block of a product should take at most: blocks are not interrupted */
#define STEP_DEPTH_FIRST 32 /* under emulation a block takes 30 ms for these */
#define STEP_DEPTH_MAX   4096
#define ERROR_THREADS    128
#define ERROR_BLOCKS_MAX 32768 /* of one launch of sgemm_error */

/* ---- life ------------------------------------------------------------------------------------------------------ */

int compute_open(struct compute *compute, struct gpu_device *device)
{
    *compute = (struct compute){.device = device};
    int error = gpu_queue_create(device, GPU_QUEUE_COMPUTE, &compute->queue);
    if (error == 0)
        error = gpu_timeline_create(device, &compute->timeline);
    if (error == 0)
        error = gpu_alloc(device, GPU_MEMORY_HOST, PAGE_SIZE, &compute->result);
    if (error != 0)
        compute_close(compute);
    return error;
}

void compute_close(struct compute *compute)
{
    gpu_queue_destroy(compute->queue);
    gpu_timeline_destroy(compute->timeline);
    gpu_free(compute->result);
    gpu_free(compute->partials);
    *compute = (struct compute){0};
}

int compute_finish(struct compute *compute)
{
    int error = gpu_signal(compute->queue, compute->timeline, compute->timeline_value + 1);
    if (error != 0)
        return error;
    compute->timeline_value++;
    error = gpu_submit(compute->queue);
    uint64_t limit_ns = time_ns() + WAIT_LIMIT_NS;
    while (error == 0) {
        error = gpu_timeline_wait(compute->timeline, compute->timeline_value,
                                  min_u64(time_ns() + WAIT_SLICE_NS, limit_ns));
        if (error == 0)
            return gpu_queue_status(compute->queue);
        if (compute->is_cancelled != NULL && compute->is_cancelled(compute->cancel_arg)) {
            gpu_queue_cancel(compute->queue);
            return gpu_fail(-ECANCELED, "cancelled");
        }
        if (error == -ETIMEDOUT && time_ns() < limit_ns)
            error = 0;
    }
    return error;
}

/* ---- checks and launches --------------------------------------------------------------------------------------- */

/* The address of `size_bytes` at the span, or 0 with *error set. */
static uint64_t address(struct compute_span span, uint64_t size_bytes, uint32_t align, int *error)
{
    if (*error != 0)
        return 0;
    if (span.buffer == NULL) {
        *error = gpu_fail(-EINVAL, "no buffer given");
        return 0;
    }
    if (span.offset > span.buffer->size_bytes ||
        size_bytes > span.buffer->size_bytes - span.offset) {
        *error = gpu_fail(-ERANGE,
                          "%llu bytes at offset %llu reach past the end of a buffer of %llu bytes",
                          (unsigned long long)size_bytes, (unsigned long long)span.offset,
                          (unsigned long long)span.buffer->size_bytes);
        return 0;
    }
    if (span.offset % align != 0) {
        *error = gpu_fail(-EINVAL, "offset %llu is not a multiple of %u",
                          (unsigned long long)span.offset, align);
        return 0;
    }
    return span.buffer->gva + span.offset;
}

static uint64_t floats(uint64_t count, int *error)
{
    uint64_t size_bytes;
    if (__builtin_mul_overflow(count, (uint64_t)sizeof(float), &size_bytes)) {
        if (*error == 0)
            *error = gpu_fail(-ERANGE, "%llu elements", (unsigned long long)count);
        return 0;
    }
    return size_bytes;
}

int compute_launch(struct compute *compute, const char *name, uint64_t blocks_x, uint64_t blocks_y,
                   uint32_t threads, const void *args, uint32_t args_bytes)
{
    struct gpu_kernel *kernel;
    int error = gpu_kernel_find(gpu_module_builtin(compute->device), name, &kernel);
    if (error != 0)
        return error;
    if (blocks_x > UINT32_MAX || blocks_y > UINT32_MAX)
        return gpu_fail(-EINVAL, "%s: a grid of %llu x %llu blocks", name,
                        (unsigned long long)blocks_x, (unsigned long long)blocks_y);
    const struct gpu_launch launch = {
        .grid = {(uint32_t)blocks_x, (uint32_t)blocks_y, 1},
        .block = {threads, 1, 1},
        .args = args,
        .args_bytes = args_bytes,
    };
    return gpu_launch(compute->queue, kernel, &launch);
}

static uint64_t blocks_for(uint64_t count, uint64_t per_block)
{
    return count / per_block + (count % per_block != 0);
}

/* One element-wise launch; nothing to do for no elements. */
static int launch_elements(struct compute *compute, const char *name, uint64_t count,
                           const void *args, uint32_t args_bytes, int error)
{
    if (error != 0 || count == 0)
        return error;
    return compute_launch(compute, name, blocks_for(count, BLOCK_ELEMENTS), 1, REDUCE_THREADS, args,
                          args_bytes);
}

/* ---- element by element ---------------------------------------------------------------------------------------- */

int compute_fill(struct compute *compute, struct compute_span out, uint64_t count, uint32_t pattern)
{
    int error = 0;
    const struct fill_args args = {
        .out = (uint32_t *)address(out, floats(count, &error), 4, &error),
        .count = count,
        .pattern = pattern,
    };
    return launch_elements(compute, "fill", count, &args, sizeof(args), error);
}

int compute_vector_add(struct compute *compute, struct compute_span a, struct compute_span b,
                       struct compute_span out, uint64_t count)
{
    int error = 0;
    const struct vector_add_args args = {
        .a = (const float *)address(a, floats(count, &error), 4, &error),
        .b = (const float *)address(b, floats(count, &error), 4, &error),
        .out = (float *)address(out, floats(count, &error), 4, &error),
        .count = count,
    };
    return launch_elements(compute, "vector_add", count, &args, sizeof(args), error);
}

int compute_saxpy(struct compute *compute, float a, struct compute_span x, struct compute_span y,
                  uint64_t count)
{
    int error = 0;
    const struct saxpy_args args = {
        .x = (const float *)address(x, floats(count, &error), 4, &error),
        .y = (float *)address(y, floats(count, &error), 4, &error),
        .count = count,
        .a = a,
    };
    return launch_elements(compute, "saxpy", count, &args, sizeof(args), error);
}

int compute_random(struct compute *compute, struct compute_span out, uint64_t count, uint64_t seed,
                   float low, float high)
{
    int error = 0;
    const struct random_args args = {
        .out = (float *)address(out, floats(count, &error), 4, &error),
        .count = count,
        .seed = seed,
        .low = low,
        .high = high,
    };
    return launch_elements(compute, "random", count, &args, sizeof(args), error);
}

int compute_dequant(struct compute *compute, const char *type, struct compute_span data,
                    uint64_t data_bytes, struct compute_span out, uint64_t count)
{
    int error = 0;
    char name[40];
    snprintf(name, sizeof(name), "dequant_%.24s", type);
    const struct dequant_args args = {
        .data = (const void *)address(data, data_bytes, 1, &error),
        .out = (float *)address(out, floats(count, &error), 4, &error),
        .count = count,
    };
    return launch_elements(compute, name, count, &args, sizeof(args), error);
}

/* ---- reductions ------------------------------------------------------------------------------------------------ */

/* Room for the partials of `blocks` blocks. What uses the old room is done: every reduction waits. */
static int reserve_partials(struct compute *compute, uint64_t blocks, uint64_t partial_bytes)
{
    uint64_t size_bytes = blocks * partial_bytes; /* a few MiB at most */
    if (compute->partials != NULL && compute->partials->size_bytes >= size_bytes)
        return 0;
    gpu_free(compute->partials);
    return gpu_alloc(compute->device, GPU_MEMORY_VRAM, size_bytes, &compute->partials);
}

/* The merge's arguments have one shape for all reductions: partials, out, count. */
struct merge_args {
    uint64_t partials, out, count;
};
static_assert(sizeof(struct merge_args) == sizeof(struct sum_merge_args), "merge arguments");
static_assert(sizeof(struct merge_args) == sizeof(struct checksum_merge_args), "merge arguments");
static_assert(sizeof(struct merge_args) == sizeof(struct stats_merge_args), "merge arguments");

/* Merge `blocks` partials, wait, and copy the outcome out. */
static int merge(struct compute *compute, const char *kernel, uint64_t blocks, void *out,
                 uint64_t out_bytes)
{
    const struct merge_args args = {compute->partials->gva, compute->result->gva, blocks};
    int error = compute_launch(compute, kernel, 1, 1, REDUCE_THREADS, &args, sizeof(args));
    if (error == 0)
        error = compute_finish(compute);
    if (error == 0)
        memcpy(out, compute->result->cpu, out_bytes);
    return error;
}

int compute_sum(struct compute *compute, struct compute_span x, uint64_t count, double *sum)
{
    int error = 0;
    *sum = 0.0;
    struct sum_args args = {
        .x = (const float *)address(x, floats(count, &error), 4, &error),
        .count = count,
        .block_elements = reduce_block_elements(count),
    };
    if (error != 0 || count == 0)
        return error;
    uint64_t blocks = blocks_for(count, args.block_elements);
    error = reserve_partials(compute, blocks, sizeof(double));
    if (error != 0)
        return error;
    args.partials = (double *)compute->partials->gva;
    error = compute_launch(compute, "sum", blocks, 1, REDUCE_THREADS, &args, sizeof(args));
    return error != 0 ? error : merge(compute, "sum_merge", blocks, sum, sizeof(*sum));
}

int compute_checksum(struct compute *compute, struct compute_span data, uint64_t size_bytes,
                     uint64_t *checksum)
{
    int error = 0;
    *checksum = 0;
    uint64_t words = blocks_for(size_bytes, 8);
    struct checksum_args args = {
        .data = (const void *)address(data, size_bytes, 1, &error),
        .size_bytes = size_bytes,
        .block_elements = reduce_block_elements(words),
    };
    if (error != 0 || size_bytes == 0)
        return error;
    uint64_t blocks = blocks_for(words, args.block_elements);
    error = reserve_partials(compute, blocks, sizeof(uint64_t));
    if (error != 0)
        return error;
    args.partials = (uint64_t *)compute->partials->gva;
    error = compute_launch(compute, "checksum", blocks, 1, REDUCE_THREADS, &args, sizeof(args));
    return error != 0 ? error
                      : merge(compute, "checksum_merge", blocks, checksum, sizeof(*checksum));
}

int compute_stats(struct compute *compute, const char *type, struct compute_span data,
                  uint64_t data_bytes, uint64_t count, struct stats_partial *stats)
{
    int error = 0;
    *stats = (struct stats_partial){.minimum = __builtin_inf(), .maximum = -__builtin_inf()};
    char name[40];
    snprintf(name, sizeof(name), "stats_%.24s", type);
    struct stats_args args = {
        .data = (const void *)address(data, data_bytes, 1, &error),
        .count = count,
        .block_elements = reduce_block_elements(count),
    };
    if (error != 0 || count == 0)
        return error;
    uint64_t blocks = blocks_for(count, args.block_elements);
    error = reserve_partials(compute, blocks, sizeof(struct stats_partial));
    if (error != 0)
        return error;
    args.partials = (struct stats_partial *)compute->partials->gva;
    error = compute_launch(compute, name, blocks, 1, REDUCE_THREADS, &args, sizeof(args));
    return error != 0 ? error : merge(compute, "stats_merge", blocks, stats, sizeof(*stats));
}

/* ---- matrix product -------------------------------------------------------------------------------------------- */

struct geometry {
    uint32_t tile_m, tile_n, threads;
};
#define GEOMETRY(rows, columns, along_m, along_n, depth) \
    {rows * along_m, columns * along_n, along_m * along_n}
#define GEOMETRY_OF(...) GEOMETRY(__VA_ARGS__)

static struct geometry geometry_for(const struct gpu_device_info *info)
{
    static const struct geometry sse2 = GEOMETRY_OF(SGEMM_SSE2), avx2 = GEOMETRY_OF(SGEMM_AVX2),
                                 avx512 = GEOMETRY_OF(SGEMM_AVX512), gpu = GEOMETRY_OF(SGEMM_GPU);
    if (strcmp(info->architecture, "avx512") == 0)
        return avx512;
    if (strcmp(info->architecture, "avx2") == 0)
        return avx2;
    return strcmp(info->architecture, "sse2") == 0 ? sse2 : gpu;
}

/* Elements from row to row, and from column to column. */
static uint64_t row_stride(const struct compute_matrix *x)
{
    return x->is_transposed ? 1 : x->stride;
}

static uint64_t column_stride(const struct compute_matrix *x)
{
    return x->is_transposed ? x->stride : 1;
}

static uint64_t matrix_address(const struct compute_matrix *x, const char *name, int *error)
{
    if (*error != 0)
        return 0;
    uint64_t rows = x->is_transposed ? x->columns : x->rows,
             columns = x->is_transposed ? x->rows : x->columns, span;
    if (rows == 0 || columns == 0 || x->stride < columns) {
        *error = gpu_fail(-EINVAL, "matrix %s: %u x %u with a stride of %llu", name, x->rows,
                          x->columns, (unsigned long long)x->stride);
        return 0;
    }
    if (__builtin_mul_overflow(rows - 1, x->stride, &span) ||
        __builtin_add_overflow(span, columns, &span)) {
        *error = gpu_fail(-ERANGE, "matrix %s: too large", name);
        return 0;
    }
    uint64_t size_bytes = floats(span, error);
    return address(x->at, size_bytes, 4, error);
}

static int check_product(const struct compute_matrix *a, const struct compute_matrix *b,
                         const struct compute_matrix *c)
{
    if (a->columns != b->rows || c->rows != a->rows || c->columns != b->columns)
        return gpu_fail(-EINVAL, "a product of %u x %u by %u x %u into %u x %u", a->rows,
                        a->columns, b->rows, b->columns, c->rows, c->columns);
    if (c->is_transposed)
        return gpu_fail(-EINVAL, "the result of a product cannot be transposed");
    return 0;
}

int compute_sgemm(struct compute *compute, const struct compute_matrix *a,
                  const struct compute_matrix *b, const struct compute_matrix *c,
                  void (*progress)(void *arg, uint32_t k_done), void *arg)
{
    int error = check_product(a, b, c);
    struct sgemm_args args = {
        .a = (const float *)matrix_address(a, "A", &error),
        .b = (const float *)matrix_address(b, "B", &error),
        .c = (float *)matrix_address(c, "C", &error),
        .a_row = row_stride(a),
        .a_column = column_stride(a),
        .b_row = row_stride(b),
        .b_column = column_stride(b),
        .c_row = c->stride,
        .m = c->rows,
        .n = c->columns,
    };
    struct gpu_device_info info;
    gpu_device_info(compute->device, &info);
    const struct geometry geometry = geometry_for(&info);
    uint64_t blocks_x = blocks_for(c->columns, geometry.tile_n),
             blocks_y = blocks_for(c->rows, geometry.tile_m);
    /* A GPU's blocks do not keep anybody waiting; a CPU's do, and how long depends on the machine: try a short step first. */
    bool is_cpu = strcmp(info.name, "cpu0") == 0;
    uint32_t depth = is_cpu ? STEP_DEPTH_FIRST : a->columns;
    uint64_t rounds = blocks_for(blocks_x * blocks_y, info.multiprocessors);
    for (uint32_t k = 0; error == 0 && k < a->columns; k += args.k) {
        args.k = a->columns - k < depth ? a->columns - k : depth;
        args.accumulate = k > 0;
        uint64_t started_ns = time_ns();
        error = compute_launch(compute, "sgemm", blocks_x, blocks_y, geometry.threads, &args,
                               sizeof(args));
        if (error == 0)
            error = compute_finish(compute);
        if (is_cpu) {
            uint64_t block_ns = (time_ns() - started_ns) / rounds + 1;
            depth = (uint32_t)min_u64(args.k * STEP_NS / block_ns, STEP_DEPTH_MAX) /
                    STEP_DEPTH_FIRST * STEP_DEPTH_FIRST;
            if (depth < STEP_DEPTH_FIRST)
                depth = STEP_DEPTH_FIRST;
        }
        args.a += args.k * args.a_column; /* device addresses: only ever added to */
        args.b += args.k * args.b_row;
        if (progress != NULL)
            progress(arg, k + args.k);
    }
    return error;
}

int compute_sgemm_error(struct compute *compute, const struct compute_matrix *a,
                        const struct compute_matrix *b, const struct compute_matrix *c, double *out)
{
    *out = 0.0;
    int error = check_product(a, b, c);
    struct sgemm_error_args args = {
        .a = (const float *)matrix_address(a, "A", &error),
        .b = (const float *)matrix_address(b, "B", &error),
        .c = (const float *)matrix_address(c, "C", &error),
        .a_row = row_stride(a),
        .a_column = column_stride(a),
        .b_row = row_stride(b),
        .b_column = column_stride(b),
        .c_row = c->stride,
        .n = c->columns,
        .k = a->columns,
    };
    uint64_t across = blocks_for(c->columns, ERROR_THREADS);
    uint32_t rows_max = (uint32_t)(ERROR_BLOCKS_MAX / across > 0 ? ERROR_BLOCKS_MAX / across : 1);
    for (uint32_t row = 0; error == 0 && row < c->rows; row += args.m) {
        args.m = c->rows - row < rows_max ? c->rows - row : rows_max;
        uint64_t blocks = across * args.m;
        error = reserve_partials(compute, blocks, sizeof(double));
        if (error != 0)
            return error;
        args.errors = (double *)compute->partials->gva;
        error =
            compute_launch(compute, "sgemm_error", blocks, 1, ERROR_THREADS, &args, sizeof(args));
        const struct stats_args stats_args = {
            .data = args.errors,
            .partials = (struct stats_partial *)compute->result->gva,
            .count = blocks,
            .block_elements = blocks,
        };
        if (error == 0)
            error = compute_launch(compute, "stats_f64", 1, 1, REDUCE_THREADS, &stats_args,
                                   sizeof(stats_args));
        if (error == 0)
            error = compute_finish(compute);
        if (error != 0)
            return error;
        const struct stats_partial *stats = compute->result->cpu;
        if (stats->nan_count + stats->infinite_count > 0)
            *out = __builtin_nan("");
        else if (!(stats->maximum <= *out))
            *out = stats->maximum;
        args.a += args.m * args.a_row;
        args.c += args.m * args.c_row;
    }
    return error;
}
