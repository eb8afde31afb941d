/*
 * tests/fuzz/fuzz_job_args.c: the JSON of POST /v1/jobs: {"app": NAME, "args": {...}}, for every app there is. An app must
 * see only arguments that its list allows, and each refusal must be text that a reply can carry.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/job/job_private.h"
#include "runtime/volume/text.h"
#include "tests/host/host.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_problem(const struct job_problem *problem, int error)
{
    check(error < 0 && problem->status >= 400 && problem->status < 600);
    check(strnlen(problem->detail, sizeof(problem->detail)) < sizeof(problem->detail));
    check(strnlen(problem->field, sizeof(problem->field)) < sizeof(problem->field));
    check(problem->detail[0] != 0);
    check(utf8_is_valid(problem->detail, strlen(problem->detail)));
    check(utf8_is_valid(problem->field, strlen(problem->field)));
}

/* What was let through is what the list describes. */
static void check_accepted(const struct app *app, yyjson_doc *args)
{
    yyjson_val *root = args ? yyjson_doc_get_root(args) : NULL;
    for (unsigned i = 0; i < app->arg_count; i++) {
        const struct app_arg *arg = &app->args[i];
        yyjson_val *value = yyjson_obj_get(root, arg->name);
        check(value || !arg->is_required);
        if (!value)
            continue;
        switch (arg->type) {
        case ARG_TYPE_STRING:
            check(yyjson_is_str(value) && strlen(yyjson_get_str(value)) == yyjson_get_len(value));
            check(yyjson_get_len(value) <= (arg->length_max ? arg->length_max : 255));
            break;
        case ARG_TYPE_UINT:
            check(yyjson_is_uint(value) && yyjson_get_uint(value) >= arg->minimum);
            check(yyjson_get_uint(value) <= (arg->maximum ? arg->maximum : UINT64_C(1) << 53));
            break;
        case ARG_TYPE_NUMBER:
            check(yyjson_is_num(value));
            break;
        case ARG_TYPE_BOOL:
            check(yyjson_is_bool(value));
            break;
        }
    }
    check(yyjson_obj_size(root) <= app->arg_count + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    if (!is_started) {
        host_log_level(LOG_ERROR);
        gpu_start();
        is_started = true;
    }
    struct job_problem problem = {0};
    yyjson_doc *request;
    int error = json_parse((const char *)data, size, &request, &problem);
    if (error != 0) {
        check_problem(&problem, error);
        return 0;
    }
    yyjson_val *root = yyjson_doc_get_root(request);
    const char *name = yyjson_get_str(yyjson_obj_get(root, "app"));
    const struct app *app;
    for (unsigned i = 0; (app = app_get(i)) != NULL; i++) {
        if (name && app_find(name) && app != app_find(name))
            continue;
        yyjson_doc *args;
        struct gpu_device *device;
        error = job_args_check(app, yyjson_obj_get(root, "args"), &args, &device, &problem);
        if (error != 0) {
            check_problem(&problem, error);
            check(args == NULL);
        } else {
            check_accepted(app, args);
            check(app->placement != APP_ON_DEVICE || device != NULL);
            yyjson_doc_free(args);
        }
    }
    yyjson_doc_free(request);
    return 0;
}
