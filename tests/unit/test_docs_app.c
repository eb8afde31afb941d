/*
 * tests/unit/test_docs_app.c: the app that docs/APPS.md shows is, line for line, the one below, and it works.
 */
#include "apps/tensors.h"
#include "gpu/compute.h"

static int run(struct job *job)
{
    struct model *model = model_acquire(job_string(job, "model"));
    if (model == NULL)
        return job_fail(job, -ENOENT, "model", "model %s was unloaded", job_string(job, "model"));
    const struct tensor *tensor = weights_find(model->weights, job_string(job, "tensor"));
    struct compute compute;
    double sum = 0.0;
    int error = 0;
    if (tensor == NULL || tensor->type != WEIGHTS_F32 || tensor->file_offset % 4 != 0) {
        error = job_fail(job, -EINVAL, "tensor", "no aligned F32 tensor of that name");
    } else if ((error = compute_open(&compute, job_device(job))) != 0) {
        job_fail_gpu(job, error);
    } else {
        struct compute_span data = {model->buffer, tensor->file_offset};
        if ((error = compute_sum(&compute, data, tensor->element_count, &sum)) != 0)
            job_fail_gpu(job, error);
        compute_close(&compute);
    }
    model_release(model);
    yyjson_mut_obj_add_real(job_document(job), job_result(job), "sum", sum);
    return error;
}

INGOT_APP(total, "Add up an F32 tensor of a loaded model", run, APP_ON_DEVICE,
          ARG_STRING("model", "its handle", .is_required = true, .names_model = true),
          ARG_STRING("tensor", "which tensor", .is_required = true));

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/kernel.h"
#include "tests/host/host.h"

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s cannot be opened; unit tests run in the repository's root", path);
    char *text = calloc(1, 1 << 16);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

/* From `first` on, up to and with `last`. */
static char *section(char *text, const char *first, const char *last)
{
    char *begin = strstr(text, first), *end = begin != NULL ? strstr(begin, last) : NULL;
    assert_non_null(end);
    end[strlen(last)] = '\0';
    return begin;
}

static void test_same_text(void **state)
{
    const char *first = "#include \"apps/tensors.h\"",
               *last = "\"which tensor\", .is_required = true));";
    char *page = read_file("docs/APPS.md"), *source = read_file("tests/unit/test_docs_app.c");
    assert_string_equal(section(page, first, last), section(source, first, last));
    free(page);
    free(source);
}

static const char *run_app(const char *arguments, yyjson_mut_doc *doc, double *sum)
{
    struct job_problem problem;
    uint64_t id;
    yyjson_doc *parsed = yyjson_read(arguments, strlen(arguments), 0);
    assert_int_equal(job_submit("total", yyjson_doc_get_root(parsed), &id, &problem), 0);
    yyjson_doc_free(parsed);
    while (!job_has_ended(id)) {
        uint32_t seen = event_read(job_event());
        if (!job_has_ended(id))
            event_wait(job_event(), seen, time_ns() + NS_PER_S);
    }
    yyjson_mut_val *job = job_describe(id, doc);
    const char *result = yyjson_mut_get_raw(yyjson_mut_obj_get(job, "result"));
    if (result != NULL) {
        yyjson_doc *inner = yyjson_read(result, strlen(result), 0);
        *sum = yyjson_get_num(yyjson_doc_ptr_get(inner, "/sum"));
        yyjson_doc_free(inner);
    }
    return yyjson_mut_get_str(yyjson_mut_obj_get(job, "state"));
}

/* A safetensors file of one tensor "x", 0.0 to 999.0. */
static uint8_t file[8192];

static int read_bytes(void *arg, uint64_t offset, void *out, uint64_t size_bytes)
{
    memcpy(out, file + offset, size_bytes);
    return 0;
}

static void test_it_works(void **state)
{
    static const char header[] =
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[1000],\"data_offsets\":[0,4000]}}";
    const uint64_t header_bytes = sizeof(header) - 1, file_bytes = 8 + header_bytes + 4000;
    assert_int_equal(header_bytes % 4, 0);
    assert_true(file_bytes <= sizeof(file));
    memcpy(file, &header_bytes, 8);
    memcpy(file + 8, header, header_bytes);
    for (int i = 0; i < 1000; i++) {
        float value = (float)i;
        memcpy(file + 8 + header_bytes + 4 * i, &value, 4);
    }
    assert_int_equal(gpu_start(), 0);
    assert_int_equal(job_start(), 0);
    struct model model = {.device = gpu_device_best()};
    char reason[200] = "";
    if (weights_parse(read_bytes, NULL, file_bytes, &model.weights, reason, sizeof(reason)) != 0)
        fail_msg("%s", reason);
    assert_int_equal(gpu_alloc(model.device, GPU_MEMORY_VRAM, file_bytes, &model.buffer), 0);
    memcpy(model.buffer->cpu, file, file_bytes);
    char handle[24], arguments[80];
    assert_int_equal(model_add(&model, handle), 0);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    double sum = 0.0;
    snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\",\"tensor\":\"x\"}", handle);
    assert_string_equal(run_app(arguments, doc, &sum), "succeeded");
    assert_true(sum == 499500.0);
    snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\",\"tensor\":\"y\"}", handle);
    assert_string_equal(run_app(arguments, doc, &sum), "failed");
    yyjson_mut_doc_free(doc);
    job_stop();
    gpu_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_text),
        cmocka_unit_test(test_it_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
