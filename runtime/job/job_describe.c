/*
 * runtime/job/job_describe.c: jobs and apps as JSON, for the HTTP API and the hosted program.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "runtime/job/job_private.h"

const char *job_error_title(int error)
{
    switch (error) {
    case -EINVAL:
        return "Invalid argument";
    case -ENOENT:
        return "Not found";
    case -ENOTDIR:
        return "Not a directory";
    case -EISDIR:
        return "Is a directory";
    case -ENOMEM:
        return "Not enough memory";
    case -ENOSPC:
        return "No space left";
    case -EIO:
        return "Input/output error";
    case -EUCLEAN:
        return "Damaged data";
    case -ENOTSUP:
        return "Not supported";
    case -ETIMEDOUT:
        return "Timed out";
    case -ENODEV:
        return "Device not available";
    case -EBUSY:
        return "In use";
    case -EROFS:
        return "Read only";
    case -ERANGE:
        return "Out of range";
    case -ECANCELED:
        return "Cancelled";
    case -EDOM:
        return "Wrong result";
    default:
        return "Internal error";
    }
}

/* A time since boot as RFC 3339 with milliseconds, or null: not yet, or nobody has told us the time of day. */
static yyjson_mut_val *rfc3339(yyjson_mut_doc *doc, uint64_t boot_ns)
{
    int64_t wall_ns = wall_clock_ns();
    if (boot_ns == 0 || wall_ns == 0)
        return yyjson_mut_null(doc);
    int64_t then_ns = wall_ns - (int64_t)(time_ns() - boot_ns);
    time_t seconds = (time_t)(then_ns / (int64_t)NS_PER_S);
    struct tm utc;
    if (gmtime_r(&seconds, &utc) == NULL)
        return yyjson_mut_null(doc);
    char text[48];
    snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900,
             utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
             (int)(then_ns / (int64_t)NS_PER_MS % 1000));
    return yyjson_mut_strcpy(doc, text);
}

static yyjson_mut_val *seconds(yyjson_mut_doc *doc, uint64_t boot_ns)
{
    return boot_ns == 0 ? yyjson_mut_null(doc) : yyjson_mut_real(doc, (double)boot_ns / 1e9);
}

static yyjson_mut_val *string_or_null(yyjson_mut_doc *doc, const char *text)
{
    return text[0] == '\0' ? yyjson_mut_null(doc) : yyjson_mut_strcpy(doc, text);
}

static yyjson_mut_val *describe_progress(const struct job *job, yyjson_mut_doc *doc)
{
    const char *phase = atomic_load(&job->phase);
    if (phase == NULL)
        return yyjson_mut_null(doc);
    yyjson_mut_val *progress = yyjson_mut_obj(doc);
    yyjson_mut_obj_add_str(doc, progress, "phase", phase);
    yyjson_mut_obj_add_uint(doc, progress, "done", atomic_load(&job->done));
    yyjson_mut_obj_add_uint(doc, progress, "total", atomic_load(&job->total));
    return progress;
}

static yyjson_mut_val *describe_error(const struct job *job, yyjson_mut_doc *doc)
{
    yyjson_mut_val *error = yyjson_mut_obj(doc);
    yyjson_mut_obj_add_str(doc, error, "title", job_error_title(job->error));
    yyjson_mut_obj_add_strcpy(doc, error, "detail", job->error_detail);
    yyjson_mut_obj_add_val(doc, error, "field", string_or_null(doc, job->error_field));
    return error;
}

/* yyjson's functions take the NULL that another returned for want of memory, and return false or NULL in turn. */
yyjson_mut_val *job_describe_locked(const struct job *job, yyjson_mut_doc *doc)
{
    static const char *const state_names[] = {"queued", "running", "succeeded", "failed",
                                              "cancelled"};
    enum job_state state = (enum job_state)atomic_load(&job->state);
    yyjson_mut_val *out = yyjson_mut_obj(doc);
    bool is_good = yyjson_mut_obj_add_uint(doc, out, "id", job->id);
    is_good &= yyjson_mut_obj_add_str(doc, out, "app", job->app->name);
    is_good &= yyjson_mut_obj_add_val(doc, out, "args",
                                      job->args != NULL
                                          ? yyjson_val_mut_copy(doc, yyjson_doc_get_root(job->args))
                                          : yyjson_mut_obj(doc));
    is_good &= yyjson_mut_obj_add_str(doc, out, "state", state_names[state]);
    struct gpu_device_info info = {.name = ""};
    if (job->device != NULL)
        gpu_device_info(job->device, &info);
    is_good &= yyjson_mut_obj_add_val(doc, out, "device", string_or_null(doc, info.name));
    is_good &= yyjson_mut_obj_add_val(doc, out, "created", rfc3339(doc, job->created_ns));
    is_good &= yyjson_mut_obj_add_val(doc, out, "started", rfc3339(doc, job->started_ns));
    is_good &= yyjson_mut_obj_add_val(doc, out, "ended", rfc3339(doc, job->ended_ns));
    is_good &= yyjson_mut_obj_add_val(doc, out, "created_seconds", seconds(doc, job->created_ns));
    is_good &= yyjson_mut_obj_add_val(doc, out, "started_seconds", seconds(doc, job->started_ns));
    is_good &= yyjson_mut_obj_add_val(doc, out, "ended_seconds", seconds(doc, job->ended_ns));
    is_good &= yyjson_mut_obj_add_val(doc, out, "progress", describe_progress(job, doc));
    yyjson_mut_val *warnings = yyjson_mut_arr(doc);
    for (unsigned i = 0; i < job->warning_count; i++)
        is_good &= yyjson_mut_arr_add_strcpy(doc, warnings, job->warnings[i]);
    is_good &= yyjson_mut_obj_add_val(doc, out, "warnings", warnings);
    if (state == JOB_SUCCEEDED)
        is_good &= yyjson_mut_obj_add_val(
            doc, out, "result", yyjson_mut_rawncpy(doc, job->result_text, job->result_bytes));
    if (state == JOB_FAILED || state == JOB_CANCELLED)
        is_good &= yyjson_mut_obj_add_val(doc, out, "error", describe_error(job, doc));
    return is_good ? out : NULL;
}

/* ---- apps ------------------------------------------------------------------------------------------------------ */

static yyjson_mut_val *describe_arg(const struct app_arg *arg, yyjson_mut_doc *doc)
{
    static const char *const type_names[] = {"string", "uint", "number", "bool"};
    yyjson_mut_val *out = yyjson_mut_obj(doc);
    yyjson_mut_obj_add_str(doc, out, "name", arg->name);
    yyjson_mut_obj_add_str(doc, out, "help", arg->help);
    yyjson_mut_obj_add_str(doc, out, "type", type_names[arg->type]);
    yyjson_mut_obj_add_bool(doc, out, "required", arg->is_required);
    if (arg->type == ARG_TYPE_UINT) {
        yyjson_mut_obj_add_uint(doc, out, "minimum", arg->minimum);
        if (arg->maximum != 0)
            yyjson_mut_obj_add_uint(doc, out, "maximum", arg->maximum);
    }
    if (arg->choices != NULL) {
        yyjson_mut_val *choices = yyjson_mut_arr(doc);
        for (unsigned i = 0; arg->choices[i] != NULL; i++)
            yyjson_mut_arr_add_str(doc, choices, arg->choices[i]);
        yyjson_mut_obj_add_val(doc, out, "choices", choices);
    }
    if (arg->is_required)
        return out;
    if (arg->type == ARG_TYPE_STRING && arg->fallback_string != NULL)
        yyjson_mut_obj_add_str(doc, out, "default", arg->fallback_string);
    else if (arg->type == ARG_TYPE_UINT)
        yyjson_mut_obj_add_uint(doc, out, "default", arg->fallback_uint);
    else if (arg->type == ARG_TYPE_NUMBER)
        yyjson_mut_obj_add_real(doc, out, "default", arg->fallback_number);
    else if (arg->type == ARG_TYPE_BOOL)
        yyjson_mut_obj_add_bool(doc, out, "default", arg->fallback_bool);
    return out;
}

yyjson_mut_val *app_describe_all(yyjson_mut_doc *doc)
{
    static const struct app_arg device_arg =
        ARG_STRING("device", "device to run on; left out: the model's, else the best one");
    yyjson_mut_val *out = yyjson_mut_arr(doc);
    bool is_good = out != NULL;
    const struct app *app;
    for (unsigned i = 0; (app = app_get(i)) != NULL; i++) {
        yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, out), *args = yyjson_mut_arr(doc);
        is_good &= yyjson_mut_obj_add_str(doc, entry, "name", app->name);
        is_good &= yyjson_mut_obj_add_str(doc, entry, "help", app->help);
        is_good &=
            yyjson_mut_obj_add_bool(doc, entry, "on_device", app->placement == APP_ON_DEVICE);
        for (unsigned j = 0; j < app->arg_count; j++)
            is_good &= yyjson_mut_arr_append(args, describe_arg(&app->args[j], doc));
        if (app->placement == APP_ON_DEVICE)
            is_good &= yyjson_mut_arr_append(args, describe_arg(&device_arg, doc));
        is_good &= yyjson_mut_obj_add_val(doc, entry, "args", args);
    }
    return is_good ? out : NULL;
}
