/*
 * runtime/job/args.c: the list of apps, the reading of requests, and the checking of a job's arguments.
 *
 * Requests are input from strangers. Their JSON is bounded in depth before it is parsed; arguments are a flat object whose
 * names, types and ranges are checked against the app's list, so that an app sees only what it asked for. Each refusal
 * names the field and what is allowed.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/job/job_private.h"
#include "runtime/volume/text.h"

#define UINT_MAX_JSON \
    ((UINT64_C(1) << 53) - \
     1) /* beyond it JSON numbers are not exact everywhere (RFC 8259, section 6) */
#define STRING_MAX_DEFAULT 255

/* ---- apps ------------------------------------------------------------------------------------------------------ */

/* The bounds that the linker gives the section; weak, for a program without apps. */
extern const struct app *const __start_ingot_apps[] __attribute__((weak));
extern const struct app *const __stop_ingot_apps[] __attribute__((weak));

const struct app *app_get(unsigned index)
{
    /* The app with exactly `index` names before its own. */
    for (const struct app *const *app = __start_ingot_apps; app < __stop_ingot_apps; app++) {
        unsigned before = 0;
        for (const struct app *const *other = __start_ingot_apps; other < __stop_ingot_apps;
             other++)
            before += strcmp((*other)->name, (*app)->name) < 0;
        if (before == index)
            return *app;
    }
    return NULL;
}

const struct app *app_find(const char *name)
{
    for (const struct app *const *app = __start_ingot_apps; app < __stop_ingot_apps; app++) {
        if (strcmp((*app)->name, name) == 0)
            return *app;
    }
    return NULL;
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

int job_refuse(struct job_problem *problem, int error, int status, const char *field,
               const char *fmt, ...)
{
    problem->status = status;
    snprintf(problem->field, sizeof(problem->field), "%s", field);
    text_mend(problem->field);
    va_list args;
    va_start(args, fmt);
    vsnprintf(problem->detail, sizeof(problem->detail), fmt, args);
    va_end(args);
    text_mend(problem->detail);
    return error;
}

/* The deepest nesting in the text, brackets in strings left out. What is not JSON the parser will say. */
static unsigned depth_of(const char *text, size_t size_bytes)
{
    unsigned depth = 0, deepest = 0;
    bool is_string = false;
    for (size_t i = 0; i < size_bytes; i++) {
        char c = text[i];
        if (is_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                is_string = false;
        } else if (c == '"') {
            is_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest)
                deepest = depth;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

int json_parse(const char *text, size_t size_bytes, yyjson_doc **out, struct job_problem *problem)
{
    *out = NULL;
    if (size_bytes == 0)
        return job_refuse(problem, -EINVAL, 400, "", "the request has no body; JSON is expected");
    if (depth_of(text, size_bytes) > JSON_DEPTH_MAX)
        return job_refuse(problem, -EINVAL, 400, "", "the JSON is nested more than %d levels deep",
                          JSON_DEPTH_MAX);
    yyjson_read_err error;
    /* Without YYJSON_READ_INSITU the text is not written to, whatever the parameter's type says. */
    yyjson_doc *doc =
        yyjson_read_opts((char *)(uintptr_t)text, size_bytes, YYJSON_READ_NOFLAG, NULL, &error);
    if (doc == NULL && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return job_refuse(problem, -ENOMEM, 503, "", "no memory to read the request");
    if (doc == NULL)
        return job_refuse(problem, -EINVAL, 400, "", "not JSON: %s at byte %zu", error.msg,
                          error.pos);
    *out = doc;
    return 0;
}

/* ---- arguments ------------------------------------------------------------------------------------------------- */

static const struct app_arg *arg_find(const struct app *app, const char *name)
{
    for (unsigned i = 0; i < app->arg_count; i++) {
        if (strcmp(app->args[i].name, name) == 0)
            return &app->args[i];
    }
    return NULL;
}

/* "file, verify, device" */
static void list_names(const struct app *app, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < app->arg_count && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", i > 0 ? ", " : "",
                                 app->args[i].name);
    if (app->placement == APP_ON_DEVICE && used < out_bytes)
        snprintf(out + used, out_bytes - used, "%sdevice", used > 0 ? ", " : "");
}

static const char *type_of(yyjson_val *value)
{
    const char *name = yyjson_get_type_desc(value);
    if (strcmp(name, "uint") == 0 || strcmp(name, "sint") == 0 || strcmp(name, "real") == 0)
        return "a number";
    if (strcmp(name, "string") == 0)
        return "a string";
    if (strcmp(name, "object") == 0)
        return "an object";
    if (strcmp(name, "array") == 0)
        return "an array";
    return name; /* true, false, null */
}

static int check_string(const struct app_arg *arg, yyjson_val *value, struct job_problem *problem)
{
    if (!yyjson_is_str(value))
        return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" must be a string, not %s",
                          arg->name, type_of(value));
    const char *text = yyjson_get_str(value);
    size_t length = yyjson_get_len(value),
           length_max = arg->length_max != 0 ? arg->length_max : STRING_MAX_DEFAULT;
    if (strlen(text) != length)
        return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" contains a NUL character",
                          arg->name);
    if (length == 0 && arg->is_required)
        return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" must not be empty: %s",
                          arg->name, arg->help);
    if (length > length_max)
        return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" has %zu bytes, allowed are %zu",
                          arg->name, length, length_max);
    if (arg->choices == NULL)
        return 0;
    char allowed[160];
    size_t used = 0;
    for (unsigned i = 0; arg->choices[i] != NULL; i++) {
        if (strcmp(arg->choices[i], text) == 0)
            return 0;
        if (used < sizeof(allowed))
            used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s\"%s\"",
                                     i > 0 ? ", " : "", arg->choices[i]);
    }
    return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" must be one of %s, not \"%.40s\"",
                      arg->name, allowed, text);
}

static int check_value(const struct app_arg *arg, yyjson_val *value, struct job_problem *problem)
{
    uint64_t maximum = arg->maximum != 0 ? arg->maximum : UINT_MAX_JSON;
    switch (arg->type) {
    case ARG_TYPE_STRING:
        return check_string(arg, value, problem);
    case ARG_TYPE_UINT:
        if (yyjson_is_uint(value) && yyjson_get_uint(value) >= arg->minimum &&
            yyjson_get_uint(value) <= maximum)
            return 0;
        return job_refuse(
            problem, -EINVAL, 400, arg->name, "\"%s\" must be a whole number from %llu to %llu%s%s",
            arg->name, (unsigned long long)arg->minimum, (unsigned long long)maximum,
            yyjson_is_num(value) ? "" : ", not ", yyjson_is_num(value) ? "" : type_of(value));
    case ARG_TYPE_NUMBER:
        if (yyjson_is_num(value) && isfinite(yyjson_get_num(value)))
            return 0;
        return job_refuse(problem, -EINVAL, 400, arg->name,
                          "\"%s\" must be a finite number, not %s", arg->name, type_of(value));
    case ARG_TYPE_BOOL:
        if (yyjson_is_bool(value))
            return 0;
        return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" must be true or false, not %s",
                          arg->name, type_of(value));
    }
    return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" has an unknown type", arg->name);
}

/* The device of an app that runs on one: named, or the model's, or the best. */
static int choose_device(const char *name, const struct app_arg *model_arg, const char *handle,
                         struct gpu_device **device, struct job_problem *problem)
{
    struct gpu_device *of_model = NULL;
    if (handle != NULL) {
        of_model = model_device(handle);
        if (of_model == NULL)
            return job_refuse(problem, -EINVAL, 400, model_arg->name,
                              "no model \"%.24s\" is loaded; /v1/models lists them", handle);
    }
    if (name == NULL) {
        *device = of_model != NULL ? of_model : gpu_device_best();
        if (*device == NULL)
            return job_refuse(problem, -EINVAL, 503, "device",
                              "no device can be used; /v1/devices says why");
        return 0;
    }
    *device = gpu_device_find(name);
    struct gpu_device_info info;
    if (*device == NULL) {
        char names[160] = "";
        size_t used = 0;
        struct gpu_device *known;
        for (unsigned i = 0; (known = gpu_device_get(i)) != NULL && used < sizeof(names); i++) {
            gpu_device_info(known, &info);
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "",
                                     info.name);
        }
        return job_refuse(problem, -EINVAL, 400, "device",
                          "there is no device \"%.24s\"; there are: %s", name, names);
    }
    gpu_device_info(*device, &info);
    if (!info.is_usable)
        return job_refuse(problem, -EINVAL, 400, "device", "%s cannot be used: %s", info.name,
                          info.why_not);
    if (of_model != NULL && of_model != *device) {
        struct gpu_device_info other;
        gpu_device_info(of_model, &other);
        return job_refuse(problem, -EINVAL, 400, "device",
                          "model %.24s is on %s, not on %s; leave \"device\" out", handle,
                          other.name, info.name);
    }
    return 0;
}

/* Every argument that is given: is it one of the app's, once, and of the right type and range? */
static int check_given(const struct app *app, yyjson_val *args, struct job_problem *problem)
{
    static const struct app_arg device_arg = ARG_STRING("device", "device to run on");
    size_t index, count;
    yyjson_val *key, *value;
    yyjson_obj_foreach(args, index, count, key, value)
    {
        const char *name = yyjson_get_str(key);
        const struct app_arg *arg = arg_find(app, name);
        if (arg == NULL && app->placement == APP_ON_DEVICE && strcmp(name, "device") == 0)
            arg = &device_arg;
        if (arg == NULL || strlen(name) != yyjson_get_len(key)) {
            char names[200];
            list_names(app, names, sizeof(names));
            return job_refuse(problem, -EINVAL, 400, name,
                              "%s has no argument \"%.40s\"; it takes: %s", app->name, name,
                              names[0] != '\0' ? names : "none");
        }
        if (yyjson_obj_get(args, name) != value) /* which finds the first of that name */
            return job_refuse(problem, -EINVAL, 400, name, "\"%s\" is given twice", name);
        int error = check_value(arg, value, problem);
        if (error != 0)
            return error;
    }
    return 0;
}

int job_args_check(const struct app *app, yyjson_val *args, yyjson_doc **out,
                   struct gpu_device **device, struct job_problem *problem)
{
    *out = NULL;
    *device = NULL;
    if (args != NULL && yyjson_is_null(args))
        args = NULL;
    if (args != NULL && !yyjson_is_obj(args))
        return job_refuse(problem, -EINVAL, 400, "args", "\"args\" must be an object, not %s",
                          type_of(args));

    int given_error = args != NULL ? check_given(app, args, problem) : 0;
    if (given_error != 0)
        return given_error;
    const struct app_arg *model_arg = NULL;
    for (unsigned i = 0; i < app->arg_count; i++) {
        const struct app_arg *arg = &app->args[i];
        if (arg->is_required && yyjson_obj_get(args, arg->name) == NULL)
            return job_refuse(problem, -EINVAL, 400, arg->name, "\"%s\" is required: %s", arg->name,
                              arg->help);
        if (arg->names_model && yyjson_obj_get(args, arg->name) != NULL)
            model_arg = arg;
    }
    if (app->placement == APP_ON_DEVICE) {
        const char *handle =
            model_arg != NULL ? yyjson_get_str(yyjson_obj_get(args, model_arg->name)) : NULL;
        int error = choose_device(yyjson_get_str(yyjson_obj_get(args, "device")), model_arg, handle,
                                  device, problem);
        if (error != 0)
            return error;
    }
    if (args == NULL)
        return 0;

    yyjson_mut_doc *copy = yyjson_mut_doc_new(NULL);
    if (copy != NULL) {
        yyjson_mut_doc_set_root(copy, yyjson_val_mut_copy(copy, args));
        *out = yyjson_mut_doc_imut_copy(copy, NULL);
    }
    yyjson_mut_doc_free(copy);
    return *out != NULL ? 0 : job_refuse(problem, -ENOMEM, 503, "", "no memory for another job");
}

/* ---- reading them ---------------------------------------------------------------------------------------------- */

static yyjson_val *given(const struct job *job, const char *name)
{
    return job->args != NULL ? yyjson_obj_get(yyjson_doc_get_root(job->args), name) : NULL;
}

/* The app's own description; asking for an argument that it does not have is our mistake. */
static const struct app_arg *described(const struct job *job, const char *name)
{
    const struct app_arg *arg = arg_find(job->app, name);
    assert(arg != NULL);
    return arg;
}

bool job_has_arg(const struct job *job, const char *name)
{
    return given(job, name) != NULL;
}

const char *job_string(const struct job *job, const char *name)
{
    yyjson_val *value = given(job, name);
    return value != NULL ? yyjson_get_str(value) : described(job, name)->fallback_string;
}

uint64_t job_uint(const struct job *job, const char *name)
{
    yyjson_val *value = given(job, name);
    return value != NULL ? yyjson_get_uint(value) : described(job, name)->fallback_uint;
}

double job_number(const struct job *job, const char *name)
{
    yyjson_val *value = given(job, name);
    return value != NULL ? yyjson_get_num(value) : described(job, name)->fallback_number;
}

bool job_bool(const struct job *job, const char *name)
{
    yyjson_val *value = given(job, name);
    return value != NULL ? yyjson_get_bool(value) : described(job, name)->fallback_bool;
}
