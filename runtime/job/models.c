/*
 * runtime/job/models.c: models that stay loaded, under handles "m1", "m2" ... that are never used twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/job/job_private.h"
#include "runtime/weights/weights.h"

#define MODEL_MAX 64

static struct {
    struct mutex lock;
    struct model *model[MODEL_MAX]; /* in order of loading, without gaps */
    unsigned count;
    uint64_t next;
} models = {.next = 1};

/* The index, or models.count. Call with the lock held. */
static unsigned find(const char *handle)
{
    unsigned i = 0;
    while (i < models.count && strcmp(models.model[i]->handle, handle) != 0)
        i++;
    return i;
}

static void model_free(struct model *model)
{
    gpu_free(model->buffer);
    weights_free(model->weights);
    free(model);
}

int model_add(const struct model *model, char handle_out[24])
{
    struct model *copy = malloc(sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    *copy = *model;
    copy->users = 0;
    mutex_lock(&models.lock);
    int error = models.count == MODEL_MAX ? -ENOSPC : 0;
    if (error == 0) {
        snprintf(copy->handle, sizeof(copy->handle), "m%llu", (unsigned long long)models.next++);
        memcpy(handle_out, copy->handle, sizeof(copy->handle));
        models.model[models.count++] = copy;
    }
    mutex_unlock(&models.lock);
    if (error != 0)
        free(copy);
    return error;
}

struct model *model_acquire(const char *handle)
{
    mutex_lock(&models.lock);
    unsigned i = find(handle);
    struct model *model = i < models.count ? models.model[i] : NULL;
    if (model != NULL)
        model->users++;
    mutex_unlock(&models.lock);
    return model;
}

void model_release(struct model *model)
{
    mutex_lock(&models.lock);
    assert(model->users > 0);
    model->users--;
    mutex_unlock(&models.lock);
}

int model_remove(const char *handle)
{
    struct model *model = NULL;
    int error = 0;
    mutex_lock(&models.lock);
    unsigned i = find(handle);
    if (i == models.count) {
        error = -ENOENT;
    } else if (models.model[i]->users > 0) {
        error = -EBUSY;
    } else {
        model = models.model[i];
        memmove(&models.model[i], &models.model[i + 1],
                (models.count - i - 1) * sizeof(models.model[0]));
        models.count--;
    }
    mutex_unlock(&models.lock);
    if (model != NULL)
        model_free(model); /* waits for the device: not under the lock */
    return error;
}

struct gpu_device *model_device(const char *handle)
{
    mutex_lock(&models.lock);
    unsigned i = find(handle);
    struct gpu_device *device = i < models.count ? models.model[i]->device : NULL;
    mutex_unlock(&models.lock);
    return device;
}

void models_free_all(void)
{
    mutex_lock(&models.lock);
    while (models.count > 0)
        model_free(models.model[--models.count]);
    mutex_unlock(&models.lock);
}

/* ---- as JSON --------------------------------------------------------------------------------------------------- */

static bool describe_tensors(const struct model *model, yyjson_mut_doc *doc, yyjson_mut_val *list)
{
    bool is_good = true;
    for (uint32_t i = 0; i < model->weights->tensor_count; i++) {
        const struct tensor *tensor = &model->weights->tensors[i];
        yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, list), *shape = yyjson_mut_arr(doc);
        is_good &= yyjson_mut_obj_add_strcpy(doc, entry, "name", tensor->name);
        is_good &=
            yyjson_mut_obj_add_str(doc, entry, "dtype", weights_type_info(tensor->type)->name);
        for (uint32_t j = 0; j < tensor->dimension_count; j++)
            is_good &= yyjson_mut_arr_add_uint(doc, shape, tensor->shape[j]);
        is_good &= yyjson_mut_obj_add_val(doc, entry, "shape", shape);
        is_good &= yyjson_mut_obj_add_uint(doc, entry, "bytes", tensor->size_bytes);
    }
    return is_good;
}

static bool describe_model(const struct model *model, yyjson_mut_doc *doc, yyjson_mut_val *entry)
{
    struct gpu_device_info info;
    gpu_device_info(model->device, &info);
    bool is_good = yyjson_mut_obj_add_strcpy(doc, entry, "model", model->handle);
    is_good &= yyjson_mut_obj_add_strcpy(doc, entry, "file", model->file);
    is_good &= yyjson_mut_obj_add_strcpy(doc, entry, "device", info.name);
    is_good &= yyjson_mut_obj_add_str(
        doc, entry, "format", model->weights->format == WEIGHTS_GGUF ? "gguf" : "safetensors");
    is_good &= yyjson_mut_obj_add_uint(doc, entry, "bytes", model->buffer->size_bytes);
    is_good &= yyjson_mut_obj_add_uint(doc, entry, "tensor_count", model->weights->tensor_count);
    is_good &= yyjson_mut_obj_add_val(
        doc, entry, "sha256",
        model->sha256[0] != '\0' ? yyjson_mut_strcpy(doc, model->sha256) : yyjson_mut_null(doc));
    is_good &= yyjson_mut_obj_add_bool(doc, entry, "in_use", model->users > 0);
    return is_good;
}

yyjson_mut_val *model_describe_all(yyjson_mut_doc *doc)
{
    yyjson_mut_val *out = yyjson_mut_arr(doc);
    bool is_good = out != NULL;
    mutex_lock(&models.lock);
    for (unsigned i = 0; i < models.count; i++)
        is_good &= describe_model(models.model[i], doc, yyjson_mut_arr_add_obj(doc, out));
    mutex_unlock(&models.lock);
    return is_good ? out : NULL;
}

int model_describe(const char *handle, yyjson_mut_doc *doc, yyjson_mut_val *out)
{
    int error = -ENOENT;
    mutex_lock(&models.lock);
    for (unsigned i = 0; i < models.count && error == -ENOENT; i++) {
        if (strcmp(models.model[i]->handle, handle) != 0)
            continue;
        yyjson_mut_val *tensors = yyjson_mut_arr(doc);
        bool is_good = describe_model(models.model[i], doc, out);
        is_good &= yyjson_mut_obj_add_val(doc, out, "tensors", tensors) &&
                   describe_tensors(models.model[i], doc, tensors);
        error = is_good ? 0 : -ENOMEM;
    }
    mutex_unlock(&models.lock);
    return error;
}
