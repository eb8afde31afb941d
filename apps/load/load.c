/*
 * apps/load/load.c: a weight file from a disk into a device's memory, where it stays under a handle.
 *
 *   1  open the file and read its header: which tensors are where
 *   2  take device memory for the whole file
 *   3  stream the file into it (stream.c), hashing on the way where asked (hash.c)
 *   4  enter the model under a handle, report
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/load/stream.h"
#include "kernel/kernel.h"
#include "runtime/job/job.h"

struct header_source {
    struct job *job;
    struct file *file;
    char reason[160];
};

static int read_header(void *arg, uint64_t offset, void *out, uint64_t size_bytes)
{
    struct header_source *source = arg;
    if (job_cancelled(source->job))
        return -ECANCELED;
    return file_read(source->file, offset, out, size_bytes, source->reason, sizeof(source->reason));
}

static int parse(struct job *job, struct file *file, struct weights **weights)
{
    struct header_source source = {.job = job, .file = file};
    char reason[200] = "";
    job_progress(job, "reading the header", 0, file->info.size_bytes);
    int error =
        weights_parse(read_header, &source, file->info.size_bytes, weights, reason, sizeof(reason));
    if (error == 0)
        return 0;
    const char *path = job_string(job, "file");
    if (source.reason[0] != '\0')
        return job_fail(job, error, "file", "%s: %s", path, source.reason);
    return job_fail(job, error, "file", "%s: %s", path, reason);
}

/* ---- the report ------------------------------------------------------------------------------------------------ */

static bool report_tensor(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct tensor *tensor,
                          const uint8_t *digest)
{
    yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, list), *shape = yyjson_mut_arr(doc);
    bool is_good = yyjson_mut_obj_add_strcpy(doc, entry, "name", tensor->name);
    is_good &= yyjson_mut_obj_add_str(doc, entry, "dtype", weights_type_info(tensor->type)->name);
    for (uint32_t i = 0; i < tensor->dimension_count; i++)
        is_good &= yyjson_mut_arr_add_uint(doc, shape, tensor->shape[i]);
    is_good &= yyjson_mut_obj_add_val(doc, entry, "shape", shape);
    is_good &= yyjson_mut_obj_add_uint(doc, entry, "bytes", tensor->size_bytes);
    if (digest != NULL) {
        char hex[SHA256_HEX_BYTES];
        sha256_hex(digest, hex);
        is_good &= yyjson_mut_obj_add_strcpy(doc, entry, "sha256", hex);
    }
    return is_good;
}

/* Fills in the result but for the handle, which comes last, when nothing can fail any more. */
static int report(struct job *job, const struct model *model, const struct load_digests *digests,
                  uint64_t elapsed_ns)
{
    yyjson_mut_doc *doc = job_document(job);
    yyjson_mut_val *result = job_result(job), *tensors = yyjson_mut_arr(doc);
    const struct weights *weights = model->weights;
    struct gpu_device_info info;
    gpu_device_info(model->device, &info);
    double seconds = (double)elapsed_ns / 1e9;
    bool is_good = yyjson_mut_obj_add_strcpy(doc, result, "file", model->file);
    is_good &= yyjson_mut_obj_add_strcpy(doc, result, "device", info.name);
    is_good &= yyjson_mut_obj_add_str(doc, result, "format",
                                      weights->format == WEIGHTS_GGUF ? "gguf" : "safetensors");
    is_good &= yyjson_mut_obj_add_uint(doc, result, "bytes", weights->file_bytes);
    is_good &= yyjson_mut_obj_add_real(doc, result, "seconds", seconds);
    is_good &= yyjson_mut_obj_add_real(doc, result, "bytes_per_second",
                                       (double)weights->file_bytes / seconds);
    is_good &= yyjson_mut_obj_add_str(doc, result, "verify", digests != NULL ? "sha256" : "none");
    is_good &= yyjson_mut_obj_add_val(doc, result, "sha256",
                                      digests != NULL ? yyjson_mut_strcpy(doc, model->sha256)
                                                      : yyjson_mut_null(doc));
    is_good &= yyjson_mut_obj_add_uint(doc, result, "tensor_count", weights->tensor_count);
    for (uint32_t i = 0; i < weights->tensor_count; i++)
        is_good &= report_tensor(doc, tensors, &weights->tensors[i],
                                 digests != NULL ? digests->tensor[i] : NULL);
    is_good &= yyjson_mut_obj_add_val(doc, result, "tensors", tensors);
    return is_good ? 0 : job_fail(job, -ENOMEM, NULL, "no memory for the result");
}

/* ---- loading --------------------------------------------------------------------------------------------------- */

static int check_digest(struct job *job, struct model *model, const struct load_digests *digests)
{
    sha256_hex(digests->file, model->sha256);
    const char *expected = job_string(job, "sha256");
    if (expected != NULL && strcmp(expected, model->sha256) != 0)
        return job_fail(
            job, -EUCLEAN, "sha256",
            "the file's SHA-256 is %s, not the expected one: it is damaged, or another file",
            model->sha256);
    return 0;
}

/* Steps 2 to 4, with the file open and its header known. *weights becomes NULL when the model has taken it over. */
static int load(struct job *job, struct file *file, struct weights **header)
{
    struct gpu_device *device = job_device(job);
    struct weights *weights = *header;
    struct model model = {.device = device, .weights = weights};
    snprintf(model.file, sizeof(model.file), "%s", job_string(job, "file"));

    bool is_verified =
        job_has_arg(job, "sha256") || strcmp(job_string(job, "verify"), "sha256") == 0;
    struct load_digests digests = {.tensor = NULL};
    if (is_verified) {
        digests.tensor = calloc(weights->tensor_count + 1, SHA256_BYTES);
        if (digests.tensor == NULL)
            return job_fail(job, -ENOMEM, NULL, "no memory for the digests of %u tensors",
                            weights->tensor_count);
    }
    uint64_t buffer_bytes = align_up(file->info.size_bytes, file->volume->disk->block_bytes);
    int error = gpu_alloc(device, GPU_MEMORY_VRAM, buffer_bytes, &model.buffer);
    if (error != 0) {
        job_fail(job, error, "file",
                 "the file has %llu bytes, too many for the device: %s; unload a model or choose a "
                 "smaller one",
                 (unsigned long long)file->info.size_bytes, gpu_error());
        goto free_digests;
    }
    uint64_t started_ns = time_ns();
    error = load_stream(job, file, weights, model.buffer, is_verified ? &digests : NULL);
    uint64_t elapsed_ns = time_ns() - started_ns + 1;
    if (error == 0 && is_verified)
        error = check_digest(job, &model, &digests);
    if (error == 0)
        error = report(job, &model, is_verified ? &digests : NULL, elapsed_ns);
    if (error != 0)
        goto free_buffer;

    char handle[24];
    error = model_add(&model, handle);
    if (error != 0) {
        job_fail(job, error, NULL,
                 error == -ENOSPC ? "64 models are loaded, which is the limit; unload one"
                                  : "no memory to enter the model");
        goto free_buffer;
    }
    *header = NULL;
    model.buffer = NULL;
    if (!yyjson_mut_obj_add_strcpy(job_document(job), job_result(job), "model", handle)) {
        model_remove(handle);
        error = job_fail(job, -ENOMEM, NULL, "no memory for the result");
    }

free_buffer:
    gpu_free(model.buffer);
free_digests:
    free(digests.tensor);
    return error;
}

static int run(struct job *job)
{
    const char *path = job_string(job, "file");
    char reason[200] = "";
    struct file *file;
    int error = file_open(path, &file, reason, sizeof(reason));
    if (error != 0)
        return job_fail(job, error, "file", "%s: %s", path, reason);
    struct weights *weights = NULL;
    error = parse(job, file, &weights);
    if (error == 0) {
        error = load(job, file, &weights);
        weights_free(weights);
    }
    file_close(file);
    return error;
}

static const char *const verify_choices[] = {"none", "sha256", NULL};

INGOT_APP(load, "Load a weight file (safetensors, GGUF) from a disk into a device's memory", run,
          APP_ON_DEVICE,
          ARG_STRING("file", "which file, such as nvme0n1p1:/model.safetensors",
                     .is_required = true, .length_max = 511),
          ARG_STRING("verify", "sha256: hash the file and every tensor while loading",
                     .choices = verify_choices, .fallback_string = "none"),
          ARG_STRING("sha256",
                     "the file's expected SHA-256 in hexadecimal: another one fails the job",
                     .length_max = 64));
