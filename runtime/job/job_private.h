/* runtime/job/job_private.h: what the files of runtime/job share. */
#ifndef INGOT_JOB_PRIVATE_H
#define INGOT_JOB_PRIVATE_H

#include "kernel/kernel.h"
#include "runtime/job/job.h"

#define JOB_WARNINGS_MAX 16

struct job {
    uint64_t id;
    const struct app *app;
    yyjson_doc *args; /* checked; NULL: none given */
    struct gpu_device *device;
    struct runner *runner;

    _Atomic int state; /* enum job_state; changes under the lock */
    _Atomic bool is_cancelled;
    uint64_t created_ns, started_ns, ended_ns; /* 0: not yet */
    _Atomic(const char *) phase;
    _Atomic uint64_t done, total;
    uint64_t progress_signal_ns; /* when job_event() was last signalled for progress */

    yyjson_mut_doc *document; /* while it runs */
    yyjson_mut_val *result;
    char *result_text;        /* as JSON, once it has succeeded */
    size_t result_bytes;
    int error;
    char error_field[64], error_detail[512];
    char *warnings[JOB_WARNINGS_MAX];
    unsigned warning_count;

    struct job *next;       /* all jobs, by id */
    struct job *queue_next; /* in its runner's queue */
};

/*
 * Check args against the app's list. 0 and *out, a copy (NULL when there are none), with *device as the arguments choose
 * it; or -EINVAL, -ENOMEM with *problem.
 */
int job_args_check(const struct app *app, yyjson_val *args, yyjson_doc **out, struct gpu_device **device,
                   struct job_problem *problem);
/* Fill in *problem; returns error. */
int job_refuse(struct job_problem *problem, int error, int status, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* The job as JSON; call with the lock held. */
yyjson_mut_val *job_describe_locked(const struct job *job, yyjson_mut_doc *doc);
const char *job_error_title(int error);
struct gpu_device *model_device(const char *handle); /* NULL if unknown */
void models_free_all(void);

#endif
