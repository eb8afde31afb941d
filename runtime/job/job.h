/*
 * runtime/job/job.h: apps and jobs. An app is a function with a described argument list, registered by one macro; a job
 * is one run of it. Jobs queue per device and run in order, one per device; an app that needs no device runs at once.
 *
 *     static int run(struct job *job) { ... job_result_int(job, "answer", 42); return 0; }
 *     INGOT_APP(answer, "Gives the answer", run, APP_ON_DEVICE,
 *         ARG_STRING("question", "what to answer", .is_required = true),
 *         ARG_UINT("repeat", "how often", .minimum = 1, .maximum = 10, .fallback_uint = 1));
 *
 * run() is called in a task of its own on a worker core (core 0 when there is only one). It must look at job_cancelled()
 * at least every 50 ms of work and yield while it waits. What it allocates it frees before it returns, on every path.
 * Arguments are checked against the list before run() is called: unknown names, wrong types and values out of range never
 * reach it. JSON is yyjson's; a result is a yyjson_mut_val of job_document().
 */
#ifndef INGOT_JOB_H
#define INGOT_JOB_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "gpu/gpu.h"

struct job;

enum arg_type { ARG_TYPE_STRING, ARG_TYPE_UINT, ARG_TYPE_NUMBER, ARG_TYPE_BOOL };

struct app_arg {
    const char *name, *help;
    enum arg_type type;
    bool is_required;
    uint64_t minimum, maximum;     /* ARG_TYPE_UINT; maximum 0: 2^53 - 1 */
    uint32_t length_max;           /* ARG_TYPE_STRING; 0: 255 bytes */
    const char *const *choices;    /* ARG_TYPE_STRING: NULL-terminated list of allowed values, or NULL */
    bool names_model;              /* ARG_TYPE_STRING: a model's handle; the job runs on that model's device */
    const char *fallback_string;
    uint64_t fallback_uint;
    double fallback_number;
    bool fallback_bool;
};
#define ARG_STRING(name_, help_, ...) { .name = name_, .help = help_, .type = ARG_TYPE_STRING, ##__VA_ARGS__ }
#define ARG_UINT(name_, help_, ...)   { .name = name_, .help = help_, .type = ARG_TYPE_UINT, ##__VA_ARGS__ }
#define ARG_NUMBER(name_, help_, ...) { .name = name_, .help = help_, .type = ARG_TYPE_NUMBER, ##__VA_ARGS__ }
#define ARG_BOOL(name_, help_, ...)   { .name = name_, .help = help_, .type = ARG_TYPE_BOOL, ##__VA_ARGS__ }

enum app_placement {
    APP_ON_DEVICE,    /* takes a "device" argument by itself (best one if left out) and that device's turn */
    APP_IMMEDIATE,    /* runs at once, needs no device (unload) */
};

struct app {
    const char *name, *help;
    int (*run)(struct job *job);
    enum app_placement placement;
    const struct app_arg *args;
    unsigned arg_count;
};

/* Puts a pointer to the app into the linker section "ingot_apps", which app_get() walks. */
#define INGOT_APP(name_, help_, run_, placement_, ...)                                                              \
    static const struct app_arg name_##_args[] = {__VA_ARGS__};                                                     \
    static const struct app name_##_app = {#name_, help_, run_, placement_, name_##_args,                           \
                                           sizeof(name_##_args) / sizeof(name_##_args[0])};                         \
    __attribute__((used, section("ingot_apps"))) static const struct app *const name_##_app_entry = &name_##_app

const struct app *app_get(unsigned index); /* by name order; NULL past the end */
const struct app *app_find(const char *name);

/* ---- what an app calls ----------------------------------------------------------------------------------------- */

struct gpu_device *job_device(struct job *job);
bool job_has_arg(const struct job *job, const char *name);            /* given by the caller */
const char *job_string(const struct job *job, const char *name);      /* NULL when neither given nor a fallback */
uint64_t job_uint(const struct job *job, const char *name);
double job_number(const struct job *job, const char *name);
bool job_bool(const struct job *job, const char *name);

bool job_cancelled(const struct job *job);
/* done of total units, e.g. bytes; phase is a static string such as "reading". Cheap: call it often. */
void job_progress(struct job *job, const char *phase, uint64_t done, uint64_t total);
/* Say why the job fails, in words for people, naming the field or file and what to do; returns error for `return`. The
 * first call counts. field may be NULL. */
int job_fail(struct job *job, int error, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same with gpu_error() as the words. */
int job_fail_gpu(struct job *job, int error);
/* A remark in the reply and the log: a slower path was taken, verification was skipped ... */
void job_warn(struct job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
yyjson_mut_doc *job_document(struct job *job);
yyjson_mut_val *job_result(struct job *job); /* the object the reply carries as "result" */

/* ---- what the HTTP side and the hosted program call ------------------------------------------------------------- */

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED };

/* A refusal, for problem+json: which field, what to do; status is the HTTP status that fits. */
struct job_problem {
    int status;
    char field[64];
    char detail[320];
};

/* Parse a request's JSON: at most JSON_DEPTH_MAX levels, no junk behind it. -EINVAL (problem says where and why), -ENOMEM. */
#define JSON_DEPTH_MAX 32
int json_parse(const char *text, size_t size_bytes, yyjson_doc **out, struct job_problem *problem);

int job_start(void); /* once, after gpu_start(): the runner tasks */
void job_stop(void); /* cancels everything, waits for it to end, frees all jobs and models; before gpu_stop() */
/* args may be NULL (no arguments). 0 and *id, or -EINVAL (problem says why), -EAGAIN (queue full), -ENOENT (no app). */
int job_submit(const char *app_name, yyjson_val *args, uint64_t *id, struct job_problem *problem);
/*
 * The job as the JSON object of GET /v1/jobs/ID, allocated in doc. NULL when there is no such job (any more) or no memory.
 *
 *     {"id", "app", "args", "state": "queued" | "running" | "succeeded" | "failed" | "cancelled", "device" (or null),
 *      "created", "started", "ended": RFC 3339, null before the event or while the wall clock is not known,
 *      "created_seconds", "started_seconds", "ended_seconds": since boot, null before the event,
 *      "progress": {"phase", "done", "total"} (or null), "warnings": [...],
 *      "result": {...} once succeeded, "error": {"title", "detail", "field" (or null)} once failed or cancelled}
 */
yyjson_mut_val *job_describe(uint64_t id, yyjson_mut_doc *doc);
int job_cancel(uint64_t id); /* 0, -ENOENT, -EALREADY when it has ended */
/* Apps as the JSON array of GET /v1/apps, allocated in doc. NULL without memory. */
yyjson_mut_val *app_describe_all(yyjson_mut_doc *doc);
bool job_has_ended(uint64_t id); /* true also when there is no such job (any more) */
/* Changes whenever any job changes state or progress: wait on it, then look. */
struct event *job_event(void);
uint64_t job_id_next(uint64_t after); /* ids in order, 0 when there is none after */
struct job_totals {
    uint64_t queued, running, ended[5]; /* ended by job_state */
};
void job_totals(const struct app *app, struct job_totals *out); /* app NULL: all */

/* ---- models that stay loaded ------------------------------------------------------------------------------------ */

struct weights;

struct model {
    char handle[24];              /* "m1" */
    char file[512];
    struct gpu_device *device;
    struct weights *weights;
    struct gpu_buffer *buffer;    /* the whole file: byte 0 of the buffer is byte 0 of the file */
    char sha256[65];              /* "" when not verified */
    uint32_t users;
};

/* Takes over weights and buffer on success. -ENOSPC when the table of 64 is full. */
int model_add(const struct model *model, char handle_out[24]);
struct model *model_acquire(const char *handle); /* NULL if unknown; keeps it from being unloaded */
void model_release(struct model *model);
int model_remove(const char *handle);            /* 0, -ENOENT, -EBUSY while in use */
/* Models as the JSON array of GET /v1/models, allocated in doc. NULL without memory. */
yyjson_mut_val *model_describe_all(yyjson_mut_doc *doc);
/* One model with its tensors, as GET /v1/models/HANDLE has it, into the object out. 0, -ENOENT, or -ENOMEM. */
int model_describe(const char *handle, yyjson_mut_doc *doc, yyjson_mut_val *out);

#endif
