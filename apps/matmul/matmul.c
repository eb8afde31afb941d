/*
 * apps/matmul/matmul.c: C = A x B, for two tensors of a loaded model or for seeded random matrices.
 *
 * A tensor is used as it lies in the model's memory when it is F32 and aligned; otherwise its values are converted into a
 * matrix of F32 first. Only the product is timed.
 */
#include <math.h>
#include <string.h>

#include "apps/tensors.h"
#include "gpu/compute.h"
#include "kernel/kernel.h"

#define SIZE_MAX_EACH 65536

struct product {
    struct job *job;
    struct compute compute;
    struct model *model; /* NULL: random matrices */
    struct compute_matrix a, b, c;
    struct gpu_buffer *owned_a, *owned_b, *owned_c; /* what is to be freed */
};

static int fail(struct product *product, int error, const char *field, const char *what)
{
    if (error == -ECANCELED)
        return job_fail(product->job, error, NULL, "cancelled");
    return job_fail(product->job, error, field, "%s: %s", what, gpu_error());
}

/* ---- operands -------------------------------------------------------------------------------------------------- */

static int random_matrix(struct product *product, const char *name, uint32_t rows, uint32_t columns,
                         uint64_t seed, struct compute_matrix *out, struct gpu_buffer **owned)
{
    uint64_t count = (uint64_t)rows * columns; /* at most 2^32 */
    int error = gpu_alloc(product->compute.device, GPU_MEMORY_VRAM, count * sizeof(float), owned);
    if (error == 0)
        error = compute_random(&product->compute, (struct compute_span){*owned, 0}, count, seed,
                               -1.0f, 1.0f);
    *out = (struct compute_matrix){
        .at = {*owned, 0}, .rows = rows, .columns = columns, .stride = columns};
    return error != 0 ? fail(product, error, NULL, name) : 0;
}

static int tensor_matrix(struct product *product, const char *field, bool is_transposed,
                         struct compute_matrix *out, struct gpu_buffer **owned)
{
    const char *name = job_string(product->job, field);
    const struct tensor *tensor = weights_find(product->model->weights, name);
    if (tensor == NULL)
        return job_fail(product->job, -ENOENT, field, "model %s has no tensor \"%s\"",
                        product->model->handle, name);
    if (tensor->dimension_count != 2 || tensor->shape[0] == 0 || tensor->shape[1] == 0)
        return job_fail(product->job, -EINVAL, field,
                        "tensor %s is no matrix: it has %u dimensions, or is empty", name,
                        tensor->dimension_count);
    if (tensor->shape[0] > UINT32_MAX || tensor->shape[1] > UINT32_MAX)
        return job_fail(product->job, -ERANGE, field, "tensor %s is too large a matrix", name);
    uint32_t rows = (uint32_t)tensor->shape[0], columns = (uint32_t)tensor->shape[1];
    *out = (struct compute_matrix){
        .at = {product->model->buffer, tensor->file_offset},
        .rows = is_transposed ? columns : rows,
        .columns = is_transposed ? rows : columns,
        .stride = columns,
        .is_transposed = is_transposed,
    };
    if (tensor->type == WEIGHTS_F32 && tensor->file_offset % sizeof(float) == 0)
        return 0;

    char type[16];
    tensor_kernel_type(tensor->type, type);
    uint64_t bytes;
    if (__builtin_mul_overflow(tensor->element_count, (uint64_t)sizeof(float), &bytes))
        return job_fail(product->job, -ERANGE, field, "tensor %s is too large a matrix", name);
    int error = gpu_alloc(product->compute.device, GPU_MEMORY_VRAM, bytes, owned);
    if (error == 0)
        error = compute_dequant(&product->compute, type, out->at, tensor->size_bytes,
                                (struct compute_span){*owned, 0}, tensor->element_count);
    if (error == -ENOENT)
        return job_fail(product->job, -ENOTSUP, field,
                        "tensor %s is of type %s, which no kernel converts to F32", name,
                        weights_type_info(tensor->type)->name);
    if (error != 0)
        return fail(product, error, field, name);
    out->at = (struct compute_span){*owned, 0};
    return 0;
}

static int random_operands(struct product *product)
{
    struct job *job = product->job;
    uint32_t m = (uint32_t)job_uint(job, "m"), n = (uint32_t)job_uint(job, "n"),
             k = (uint32_t)job_uint(job, "k");
    uint64_t seed = job_uint(job, "seed");
    int error = random_matrix(product, "A", m, k, seed, &product->a, &product->owned_a);
    if (error == 0)
        error = random_matrix(product, "B", k, n, seed + 1, &product->b, &product->owned_b);
    return error;
}

static int tensor_operands(struct product *product)
{
    struct job *job = product->job;
    static const char *const sizes[] = {"m", "n", "k", "seed"};
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        if (job_has_arg(job, sizes[i]))
            return job_fail(job, -EINVAL, sizes[i],
                            "\"%s\" is for random matrices; the tensors have their own sizes",
                            sizes[i]);
    }
    if (!job_has_arg(job, "a") || !job_has_arg(job, "b"))
        return job_fail(job, -EINVAL, job_has_arg(job, "a") ? "b" : "a",
                        "with a model, \"a\" and \"b\" name its tensors");
    int error =
        tensor_matrix(product, "a", job_bool(job, "transpose_a"), &product->a, &product->owned_a);
    if (error == 0)
        error = tensor_matrix(product, "b", job_bool(job, "transpose_b"), &product->b,
                              &product->owned_b);
    if (error == 0 && product->a.columns != product->b.rows)
        error = job_fail(job, -EINVAL, "b",
                         "A is %u x %u and B is %u x %u: A's columns must be as many as B's rows; "
                         "transpose_a and transpose_b turn them",
                         product->a.rows, product->a.columns, product->b.rows, product->b.columns);
    return error;
}

/* ---- the product ----------------------------------------------------------------------------------------------- */

static void progress(void *arg, uint32_t k_done)
{
    struct product *product = arg;
    job_progress(product->job, "multiplying", k_done, product->a.columns);
}

static int multiply(struct product *product)
{
    struct compute *compute = &product->compute;
    struct compute_matrix *c = &product->c;
    *c = (struct compute_matrix){
        .rows = product->a.rows, .columns = product->b.columns, .stride = product->b.columns};
    uint64_t count = (uint64_t)c->rows * c->columns;
    if (count > UINT64_MAX / 8)
        return job_fail(product->job, -ERANGE, NULL, "the product is %u x %u, too large", c->rows,
                        c->columns);
    int error =
        gpu_alloc(compute->device, GPU_MEMORY_VRAM, count * sizeof(float), &product->owned_c);
    if (error != 0)
        return fail(product, error, NULL, "C");
    c->at = (struct compute_span){product->owned_c, 0};

    job_progress(product->job, "preparing", 0, 0);
    error = compute_finish(compute); /* random numbers and conversions are not part of the time */
    uint64_t started_ns = time_ns();
    if (error == 0)
        error = compute_sgemm(compute, &product->a, &product->b, c, progress, product);
    double seconds = (double)(time_ns() - started_ns + 1) / 1e9;
    double sum = 0.0, worst = 0.0;
    uint64_t fingerprint = 0;
    if (error == 0)
        error = compute_sum(compute, c->at, count, &sum);
    if (error == 0)
        error = compute_checksum(compute, c->at, count * sizeof(float), &fingerprint);
    if (error == 0 && job_bool(product->job, "check")) {
        job_progress(product->job, "checking", 0, 0);
        error = compute_sgemm_error(compute, &product->a, &product->b, c, &worst);
    }
    if (error != 0)
        return fail(product, error, NULL, "the product");

    yyjson_mut_doc *doc = job_document(product->job);
    yyjson_mut_val *result = job_result(product->job);
    struct gpu_device_info info;
    gpu_device_info(compute->device, &info);
    char text[24];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)fingerprint);
    bool is_good = yyjson_mut_obj_add_strcpy(doc, result, "device", info.name);
    is_good &= yyjson_mut_obj_add_uint(doc, result, "m", c->rows);
    is_good &= yyjson_mut_obj_add_uint(doc, result, "n", c->columns);
    is_good &= yyjson_mut_obj_add_uint(doc, result, "k", product->a.columns);
    is_good &= yyjson_mut_obj_add_real(doc, result, "seconds", seconds);
    is_good &= yyjson_mut_obj_add_real(doc, result, "flops",
                                       2.0 * c->rows * c->columns * product->a.columns / seconds);
    is_good &= yyjson_mut_obj_add_real(doc, result, "checksum", sum);
    is_good &= yyjson_mut_obj_add_strcpy(doc, result, "fingerprint", text);
    if (job_bool(product->job, "check"))
        is_good &= yyjson_mut_obj_add_real(doc, result, "max_error", worst);
    return is_good ? 0 : job_fail(product->job, -ENOMEM, NULL, "no memory for the result");
}

static int run(struct job *job)
{
    struct product product = {.job = job};
    if (!job_has_arg(job, "model") && (job_has_arg(job, "a") || job_has_arg(job, "b")))
        return job_fail(job, -EINVAL, "model",
                        "\"a\" and \"b\" name tensors of a loaded model: \"model\" must say which");
    if (job_has_arg(job, "model")) {
        product.model = model_acquire(job_string(job, "model"));
        if (product.model == NULL)
            return job_fail(job, -ENOENT, "model", "model %s was unloaded meanwhile",
                            job_string(job, "model"));
    }
    int error = compute_open(&product.compute, job_device(job));
    if (error != 0) {
        job_fail_gpu(job, error);
    } else {
        product.compute.is_cancelled = tensor_job_cancelled;
        product.compute.cancel_arg = job;
        error = product.model != NULL ? tensor_operands(&product) : random_operands(&product);
        if (error == 0)
            error = multiply(&product);
        compute_close(&product.compute);
    }
    gpu_free(product.owned_a);
    gpu_free(product.owned_b);
    gpu_free(product.owned_c);
    if (product.model != NULL)
        model_release(product.model);
    return error;
}

INGOT_APP(matmul, "C = A x B, for tensors of a loaded model or for seeded random matrices", run,
          APP_ON_DEVICE,
          ARG_UINT("m", "rows of A", .minimum = 1, .maximum = SIZE_MAX_EACH, .fallback_uint = 1024),
          ARG_UINT("n", "columns of B", .minimum = 1, .maximum = SIZE_MAX_EACH,
                   .fallback_uint = 1024),
          ARG_UINT("k", "columns of A, rows of B", .minimum = 1, .maximum = SIZE_MAX_EACH,
                   .fallback_uint = 1024),
          ARG_UINT("seed", "of the random matrices, uniform in [-1, 1)", .fallback_uint = 0),
          ARG_STRING("model", "instead of random matrices: tensors of this model", .length_max = 23,
                     .names_model = true),
          ARG_STRING("a", "the model's tensor that is A", .length_max = 1023),
          ARG_STRING("b", "the model's tensor that is B", .length_max = 1023),
          ARG_BOOL("transpose_a", "A is the transpose of the tensor"),
          ARG_BOOL("transpose_b", "B is the transpose of the tensor"),
          ARG_BOOL("check", "also compute the largest error against sums in double precision"));
