/*
 * runtime/job/job.c: jobs: their queues, the tasks that run them, and the history of those that ended.
 *
 * One runner task per device, and one for apps that need no device, each with a first-in first-out queue. All jobs are in
 * one list, ordered by id; ended ones stay until HISTORY_MAX newer ones have ended or their results take HISTORY_BYTES_MAX.
 * One lock guards list, queues and states; run() is called without it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config/config.h"
#include "runtime/job/job_private.h"
#include "runtime/volume/text.h"

#define HISTORY_MAX        256
#define HISTORY_BYTES_MAX  (UINT64_C(16) << 20) /* of results, as JSON text */
#define RUNNER_MAX         17                   /* gpu.c's devices, and one without */
#define RUNNER_STACK_BYTES (256 * 1024)
#define PROGRESS_SIGNAL_NS (100 * NS_PER_MS)

struct runner {
    struct gpu_device *device; /* NULL: the one for apps that need none */
    char name[24];
    struct event event;
    struct job *first, *last;
};

static struct {
    struct mutex lock;
    struct event event; /* job_event() */
    struct runner runners[RUNNER_MAX];
    unsigned runner_count;
    _Atomic unsigned runners_alive;
    _Atomic bool is_stopping;

    struct job *first, *last;
    uint64_t next_id;
    unsigned queued_count, ended_count;
    uint64_t history_bytes;
} jobs = {.next_id = 1};

/* Totals per app, by its place in app_get() order, and [APP_MAX] for all. */
#define APP_MAX 64
static struct job_totals totals[APP_MAX + 1];

/* ---- the list, under the lock ---------------------------------------------------------------------------------- */

static bool has_ended(const struct job *job)
{
    int state = atomic_load(&job->state);
    return state != JOB_QUEUED && state != JOB_RUNNING;
}

static struct job *find(uint64_t id)
{
    struct job *job = jobs.first;
    while (job != NULL && job->id < id)
        job = job->next;
    return job != NULL && job->id == id ? job : NULL;
}

static void job_free(struct job *job)
{
    yyjson_doc_free(job->args);
    yyjson_mut_doc_free(job->document);
    free(job->result_text);
    for (unsigned i = 0; i < job->warning_count; i++)
        free(job->warnings[i]);
    free(job);
}

/* Drop the oldest ended jobs that are over the limits; never `keep`, the one that just ended. */
static void history_trim(const struct job *keep)
{
    struct job **link = &jobs.first, *before = NULL;
    while (*link != NULL &&
           (jobs.ended_count > HISTORY_MAX || jobs.history_bytes > HISTORY_BYTES_MAX)) {
        struct job *job = *link;
        if (!has_ended(job) || job == keep) {
            before = job;
            link = &job->next;
            continue;
        }
        *link = job->next;
        if (jobs.last == job)
            jobs.last = before;
        jobs.ended_count--;
        jobs.history_bytes -= job->result_bytes;
        job_free(job);
    }
}

/* The two totals that a job counts in. */
static void totals_of(const struct app *app, struct job_totals *out[2])
{
    unsigned index = 0;
    while (index < APP_MAX - 1 && app_get(index) != NULL && app_get(index) != app)
        index++;
    out[0] = &totals[index];
    out[1] = &totals[APP_MAX];
}

static void set_state(struct job *job, enum job_state state)
{
    struct job_totals *count[2];
    totals_of(job->app, count);
    int before = atomic_load(&job->state);
    for (int i = 0; i < 2; i++) {
        count[i]->queued += (state == JOB_QUEUED) - (before == JOB_QUEUED);
        count[i]->running += (state == JOB_RUNNING) - (before == JOB_RUNNING);
        if (state != JOB_QUEUED && state != JOB_RUNNING)
            count[i]->ended[state]++;
    }
    atomic_store(&job->state, state);
}

static void end(struct job *job, enum job_state state)
{
    job->ended_ns = time_ns();
    set_state(job, state);
    jobs.ended_count++;
    jobs.history_bytes += job->result_bytes;
    history_trim(job);
    event_signal(&jobs.event);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

/* What run() left behind becomes the job's outcome. */
static void finish(struct job *job, int error)
{
    char *text = NULL;
    size_t bytes = 0;
    if (error == 0) {
        /* JSON has no infinities and no NaN. */
        text = yyjson_mut_val_write(job->result, YYJSON_WRITE_INF_AND_NAN_AS_NULL, &bytes);
        if (text == NULL)
            error = job_fail(job, -ENOMEM, NULL, "no memory for the result");
    }
    mutex_lock(&jobs.lock);
    yyjson_mut_doc_free(job->document);
    job->document = NULL;
    job->result = NULL;
    job->result_text = text;
    job->result_bytes = bytes;
    if (error != 0 && job->error == 0)
        job->error = error;
    if (error == 0)
        job->error = 0;
    bool is_cancelled = error != 0 && atomic_load(&job->is_cancelled);
    if (is_cancelled) {
        job->error = -ECANCELED;
        job->error_field[0] = '\0';
        snprintf(job->error_detail, sizeof(job->error_detail),
                 "The job was cancelled while it ran.");
    }
    uint64_t id = job->id, ran_ms = (time_ns() - job->started_ns) / NS_PER_MS;
    const char *app = job->app->name;
    char detail[sizeof(job->error_detail)];
    memcpy(detail, job->error_detail, sizeof(detail));
    end(job, error == 0 ? JOB_SUCCEEDED : is_cancelled ? JOB_CANCELLED : JOB_FAILED);
    mutex_unlock(&jobs.lock);

    if (error == 0)
        log_info("job %llu: %s: done in %llu ms", (unsigned long long)id, app,
                 (unsigned long long)ran_ms);
    else
        log_warn("job %llu: %s: %s", (unsigned long long)id, app, detail);
}

static void run(struct job *job)
{
    job->document = yyjson_mut_doc_new(NULL);
    job->result = job->document != NULL ? yyjson_mut_obj(job->document) : NULL;
    int error = job->result == NULL ? job_fail(job, -ENOMEM, NULL, "no memory for a result")
                                    : job->app->run(job);
    assert(error <= 0);
    if (error != 0 && job->error == 0)
        job_fail(job, error, NULL, "%s failed: %s", job->app->name, job_error_title(error));
    finish(job, error);
}

static struct job *take_next(struct runner *runner)
{
    mutex_lock(&jobs.lock);
    struct job *job = runner->first;
    if (job != NULL) {
        runner->first = job->queue_next;
        if (runner->first == NULL)
            runner->last = NULL;
        jobs.queued_count--;
        job->started_ns = time_ns();
        set_state(job, JOB_RUNNING);
        event_signal(&jobs.event);
    }
    mutex_unlock(&jobs.lock);
    return job;
}

static void runner_task(void *arg)
{
    struct runner *runner = arg;
    while (!atomic_load(&jobs.is_stopping)) {
        uint32_t seen = event_read(&runner->event);
        struct job *job = take_next(runner);
        if (job != NULL)
            run(job);
        else if (!atomic_load(&jobs.is_stopping))
            event_wait(&runner->event, seen, DEADLINE_NEVER);
    }
    atomic_fetch_sub(&jobs.runners_alive, 1);
    event_signal(&jobs.event);
}

static int runner_add(struct gpu_device *device, const char *name)
{
    struct runner *runner = &jobs.runners[jobs.runner_count];
    assert(jobs.runner_count < RUNNER_MAX);
    *runner = (struct runner){.device = device};
    snprintf(runner->name, sizeof(runner->name), "job-%s", name);
    /* Runners share out the worker cores; where core 0 is alone, they are there. */
    unsigned core = core_count() == 1 ? 0 : 1 + jobs.runner_count % (core_count() - 1);
    int error = task_create(runner->name, core, RUNNER_STACK_BYTES, runner_task, runner);
    if (error != 0)
        return error;
    jobs.runner_count++;
    atomic_fetch_add(&jobs.runners_alive, 1);
    return 0;
}

int job_start(void)
{
    atomic_store(&jobs.is_stopping, false);
    struct gpu_device *device;
    for (unsigned i = 0; (device = gpu_device_get(i)) != NULL; i++) {
        struct gpu_device_info info;
        gpu_device_info(device, &info);
        int error = info.is_usable || info.is_starting ? runner_add(device, info.name) : 0;
        if (error != 0)
            return error;
    }
    return runner_add(NULL, "immediate");
}

void job_stop(void)
{
    for (uint64_t id = job_id_next(0); id != 0; id = job_id_next(id))
        job_cancel(id);
    atomic_store(&jobs.is_stopping, true);
    uint64_t deadline_ns = time_ns() + 2 * NS_PER_S; /* apps look at job_cancelled() every 50 ms */
    for (;;) {
        uint32_t seen = event_read(&jobs.event);
        if (atomic_load(&jobs.runners_alive) == 0)
            break;
        if (time_ns() >= deadline_ns) {
            log_warn("job: %u runners do not stop", atomic_load(&jobs.runners_alive));
            return; /* their jobs may still be in use */
        }
        for (unsigned i = 0; i < jobs.runner_count; i++)
            event_signal(&jobs.runners[i].event);
        event_wait(&jobs.event, seen, deadline_ns);
    }
    jobs.runner_count = 0;
    mutex_lock(&jobs.lock);
    while (jobs.first != NULL) {
        struct job *job = jobs.first;
        jobs.first = job->next;
        job_free(job);
    }
    jobs.last = NULL;
    jobs.queued_count = jobs.ended_count = 0;
    jobs.history_bytes = 0;
    mutex_unlock(&jobs.lock);
    models_free_all();
}

/* ---- submitting, cancelling, looking --------------------------------------------------------------------------- */

static struct runner *runner_for(struct gpu_device *device)
{
    for (unsigned i = 0; i < jobs.runner_count; i++) {
        if (jobs.runners[i].device == device)
            return &jobs.runners[i];
    }
    return NULL;
}

int job_submit(const char *app_name, yyjson_val *args, uint64_t *id, struct job_problem *problem)
{
    const struct app *app = app_find(app_name);
    if (app == NULL)
        return job_refuse(problem, -ENOENT, 400, "app",
                          "there is no app \"%.64s\"; /v1/apps lists what there is", app_name);
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return job_refuse(problem, -ENOMEM, 503, "", "no memory for another job");
    job->app = app;
    int error = job_args_check(app, args, &job->args, &job->device, problem);
    if (error != 0)
        goto free_job;
    job->runner = runner_for(job->device);
    if (job->runner == NULL) {
        error = job_refuse(problem, -ENODEV, 503, "device", "jobs are not being run (any more)");
        goto free_job;
    }

    mutex_lock(&jobs.lock);
    if (jobs.queued_count >= config.queue_jobs_max) {
        error = job_refuse(problem, -EAGAIN, 503, "",
                           "%u jobs are waiting, which is the limit; try again later",
                           jobs.queued_count);
        mutex_unlock(&jobs.lock);
        goto free_job;
    }
    job->id = jobs.next_id++;
    job->created_ns = time_ns();
    struct job_totals *count[2];
    totals_of(app, count);
    count[0]->queued++;
    count[1]->queued++;
    jobs.queued_count++;
    if (jobs.last != NULL)
        jobs.last->next = job;
    else
        jobs.first = job;
    jobs.last = job;
    if (job->runner->last != NULL)
        job->runner->last->queue_next = job;
    else
        job->runner->first = job;
    job->runner->last = job;
    *id = job->id;
    struct runner *runner = job->runner;
    mutex_unlock(&jobs.lock);
    event_signal(&jobs.event);
    event_signal(&runner->event);
    return 0;

free_job:
    job_free(job);
    return error;
}

/* Take a queued job out of its runner's queue. Call with the lock held. */
static void unqueue(struct job *job)
{
    struct runner *runner = job->runner;
    struct job **link = &runner->first, *before = NULL;
    while (*link != job) {
        before = *link;
        link = &before->queue_next;
    }
    *link = job->queue_next;
    if (runner->last == job)
        runner->last = before;
    jobs.queued_count--;
}

int job_cancel(uint64_t id)
{
    int error = 0;
    mutex_lock(&jobs.lock);
    struct job *job = find(id);
    if (job == NULL) {
        error = -ENOENT;
    } else if (has_ended(job)) {
        error = -EALREADY;
    } else {
        atomic_store(&job->is_cancelled, true);
        if (atomic_load(&job->state) == JOB_QUEUED) {
            unqueue(job);
            job->error = -ECANCELED;
            snprintf(job->error_detail, sizeof(job->error_detail),
                     "The job was cancelled before it started.");
            end(job, JOB_CANCELLED);
        }
    }
    mutex_unlock(&jobs.lock);
    return error;
}

yyjson_mut_val *job_describe(uint64_t id, yyjson_mut_doc *doc)
{
    mutex_lock(&jobs.lock);
    const struct job *job = find(id);
    yyjson_mut_val *described = job != NULL ? job_describe_locked(job, doc) : NULL;
    mutex_unlock(&jobs.lock);
    return described;
}

bool job_has_ended(uint64_t id)
{
    mutex_lock(&jobs.lock);
    const struct job *job = find(id);
    bool ended = job == NULL || has_ended(job);
    mutex_unlock(&jobs.lock);
    return ended;
}

struct event *job_event(void)
{
    return &jobs.event;
}

uint64_t job_id_next(uint64_t after)
{
    mutex_lock(&jobs.lock);
    const struct job *job = jobs.first;
    while (job != NULL && job->id <= after)
        job = job->next;
    uint64_t id = job != NULL ? job->id : 0;
    mutex_unlock(&jobs.lock);
    return id;
}

void job_totals(const struct app *app, struct job_totals *out)
{
    mutex_lock(&jobs.lock);
    struct job_totals *count[2];
    totals_of(app, count);
    *out = *count[app == NULL ? 1 : 0];
    mutex_unlock(&jobs.lock);
}

/* ---- what an app calls ----------------------------------------------------------------------------------------- */

struct gpu_device *job_device(struct job *job)
{
    return job->device;
}

bool job_cancelled(const struct job *job)
{
    return atomic_load(&job->is_cancelled);
}

void job_progress(struct job *job, const char *phase, uint64_t done, uint64_t total)
{
    const char *before = atomic_exchange(&job->phase, phase);
    atomic_store(&job->done, done);
    atomic_store(&job->total, total);
    uint64_t now = time_ns();
    if (before == phase && now - job->progress_signal_ns < PROGRESS_SIGNAL_NS)
        return;
    job->progress_signal_ns = now;
    event_signal(&jobs.event);
}

int job_fail(struct job *job, int error, const char *field, const char *fmt, ...)
{
    if (job->error != 0)
        return error;
    va_list args;
    va_start(args, fmt);
    vsnprintf(job->error_detail, sizeof(job->error_detail), fmt, args);
    va_end(args);
    text_mend(job->error_detail);
    snprintf(job->error_field, sizeof(job->error_field), "%s", field != NULL ? field : "");
    job->error = error;
    return error;
}

int job_fail_gpu(struct job *job, int error)
{
    return job_fail(job, error, NULL, "%s", gpu_error());
}

void job_warn(struct job *job, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    text_mend(text);
    log_warn("job %llu: %s: %s", (unsigned long long)job->id, job->app->name, text);
    char *copy = strdup(text);
    if (copy == NULL)
        return; /* it is in the log */
    mutex_lock(&jobs.lock);
    bool has_room = job->warning_count < JOB_WARNINGS_MAX;
    if (has_room)
        job->warnings[job->warning_count++] = copy;
    mutex_unlock(&jobs.lock);
    if (!has_room)
        free(copy);
}

yyjson_mut_doc *job_document(struct job *job)
{
    return job->document;
}

yyjson_mut_val *job_result(struct job *job)
{
    return job->result;
}
