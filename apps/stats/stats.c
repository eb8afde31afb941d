/*
 * apps/stats/stats.c: count, minimum, maximum, mean, standard deviation and NaN count of a model's tensors, by kernels on
 * the device that holds them.
 *
 * Minimum, maximum, mean and standard deviation (of the population) are over the finite elements; the others are counted.
 */
#include <math.h>
#include <string.h>

#include "apps/tensors.h"
#include "gpu/compute.h"
#include "kernel/kernel.h"

static bool add_number(yyjson_mut_doc *doc, yyjson_mut_val *entry, const char *key, bool exists,
                       double value)
{
    return yyjson_mut_obj_add_val(doc, entry, key,
                                  exists ? yyjson_mut_real(doc, value) : yyjson_mut_null(doc));
}

static bool report(struct job *job, yyjson_mut_val *list, const struct tensor *tensor,
                   const struct stats_partial *stats)
{
    yyjson_mut_doc *doc = job_document(job);
    yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, list);
    bool is_good = yyjson_mut_obj_add_strcpy(doc, entry, "name", tensor->name);
    is_good &= yyjson_mut_obj_add_str(doc, entry, "dtype", weights_type_info(tensor->type)->name);
    is_good &= yyjson_mut_obj_add_uint(doc, entry, "count", tensor->element_count);
    if (stats == NULL)
        return is_good && yyjson_mut_obj_add_str(doc, entry, "skipped", "no kernel for this type");
    bool is_finite = stats->finite_count > 0;
    is_good &= add_number(doc, entry, "min", is_finite, stats->minimum);
    is_good &= add_number(doc, entry, "max", is_finite, stats->maximum);
    is_good &= add_number(doc, entry, "mean", is_finite, stats->mean);
    is_good &= add_number(doc, entry, "stddev", is_finite,
                          is_finite ? sqrt(stats->m2 / (double)stats->finite_count) : 0.0);
    is_good &= yyjson_mut_obj_add_uint(doc, entry, "nan_count", stats->nan_count);
    is_good &= yyjson_mut_obj_add_uint(doc, entry, "infinite_count", stats->infinite_count);
    return is_good;
}

/* One warning that names each type without a kernel once. */
static void warn_skipped(struct job *job, const bool skipped[WEIGHTS_TYPE_COUNT], unsigned count)
{
    char names[256] = "";
    size_t used = 0;
    for (unsigned type = 0; type < WEIGHTS_TYPE_COUNT && used < sizeof(names); type++) {
        if (skipped[type])
            used +=
                (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used > 0 ? ", " : "",
                                 weights_type_info((enum weights_type)type)->name);
    }
    if (count > 0)
        job_warn(job, "%u tensors were skipped: no kernel for %s", count, names);
}

static int compute(struct job *job, const struct model *model, const char *only,
                   yyjson_mut_val *list)
{
    struct compute compute;
    int error = compute_open(&compute, model->device);
    if (error != 0)
        return job_fail_gpu(job, error);
    compute.is_cancelled = tensor_job_cancelled;
    compute.cancel_arg = job;

    bool skipped[WEIGHTS_TYPE_COUNT] = {false};
    unsigned skipped_count = 0;
    uint64_t done_bytes = 0;
    const struct weights *weights = model->weights;
    for (uint32_t i = 0; error == 0 && i < weights->tensor_count; i++) {
        const struct tensor *tensor = &weights->tensors[i];
        if (only != NULL && strcmp(tensor->name, only) != 0)
            continue;
        job_progress(job, "computing", done_bytes, weights->file_bytes);
        if (job_cancelled(job)) {
            error = job_fail(job, -ECANCELED, NULL, "cancelled");
            break;
        }
        char type[16];
        tensor_kernel_type(tensor->type, type);
        struct stats_partial stats;
        struct compute_span span = {model->buffer, tensor->file_offset};
        error =
            compute_stats(&compute, type, span, tensor->size_bytes, tensor->element_count, &stats);
        bool has_kernel = error != -ENOENT;
        if (!has_kernel) {
            skipped[tensor->type] = true;
            skipped_count++;
            error = 0;
        }
        if (error != 0)
            error = job_fail(job, error, "model", "tensor %s: %s", tensor->name, gpu_error());
        else if (!report(job, list, tensor, has_kernel ? &stats : NULL))
            error = job_fail(job, -ENOMEM, NULL, "no memory for the result");
        done_bytes += tensor->size_bytes;
    }
    compute_close(&compute);
    if (error == 0)
        warn_skipped(job, skipped, skipped_count);
    return error;
}

static int run(struct job *job)
{
    struct model *model = model_acquire(job_string(job, "model"));
    if (model == NULL)
        return job_fail(job, -ENOENT, "model", "model %s was unloaded meanwhile",
                        job_string(job, "model"));
    int error = 0;
    const char *only = job_string(job, "tensor");
    if (only != NULL && weights_find(model->weights, only) == NULL)
        error =
            job_fail(job, -ENOENT, "tensor", "model %s has no tensor \"%s\"", model->handle, only);

    yyjson_mut_doc *doc = job_document(job);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    struct gpu_device_info info;
    gpu_device_info(model->device, &info);
    uint64_t started_ns = time_ns();
    if (error == 0)
        error = compute(job, model, only, list);
    if (error == 0) {
        bool is_good = yyjson_mut_obj_add_strcpy(doc, job_result(job), "model", model->handle);
        is_good &= yyjson_mut_obj_add_strcpy(doc, job_result(job), "device", info.name);
        is_good &= yyjson_mut_obj_add_real(doc, job_result(job), "seconds",
                                           (double)(time_ns() - started_ns) / 1e9);
        is_good &= yyjson_mut_obj_add_val(doc, job_result(job), "tensors", list);
        if (!is_good)
            error = job_fail(job, -ENOMEM, NULL, "no memory for the result");
    }
    model_release(model);
    return error;
}

INGOT_APP(stats,
          "Count, min, max, mean, standard deviation and NaN count of a loaded model's tensors",
          run, APP_ON_DEVICE,
          ARG_STRING("model", "its handle, such as m1", .is_required = true, .length_max = 23,
                     .names_model = true),
          ARG_STRING("tensor", "only the tensor of this name", .length_max = 1023));
