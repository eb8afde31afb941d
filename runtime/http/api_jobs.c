/*
 * runtime/http/api_jobs.c: /v1/jobs: submit, list, look, wait, cancel, follow.
 *
 * Following is a stream of server-sent events (WHATWG HTML, section 9.2): `progress` when a job moved, at most ten a
 * second, `end` with the whole job, comments in silence.
 */
#include "runtime/http/connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/job/job.h"

#define LIST_LIMIT       100
#define LIST_LIMIT_MAX   1000
#define EVENT_SPACING_NS (100 * NS_PER_MS)

/* {id} as a number; 0, which is no job's, when it is none. */
static uint64_t captured_id(const struct http_connection *c)
{
    uint64_t id = 0;
    size_t length = strlen(c->captured);
    if (length > 19)
        return 0;
    for (size_t i = 0; i < length; i++) {
        if (c->captured[i] < '0' || c->captured[i] > '9')
            return 0;
        id = id * 10 + (uint64_t)(c->captured[i] - '0');
    }
    return id;
}

static void reply_no_job(struct http_connection *c)
{
    reply_problem(c, 404, "id",
                  "There is no such job (any more). GET /v1/jobs lists those that are kept.");
}

/* A document with the job as its root; NULL without such a job or without memory. */
static yyjson_mut_doc *job_document_new(uint64_t id)
{
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    yyjson_mut_val *job = doc ? job_describe(id, doc) : NULL;
    if (!job) {
        yyjson_mut_doc_free(doc);
        return NULL;
    }
    yyjson_mut_doc_set_root(doc, job);
    return doc;
}

static void reply_job(struct http_connection *c, int status, uint64_t id)
{
    yyjson_mut_doc *doc = job_document_new(id);
    if (doc)
        reply_json(c, status, doc);
    else if (job_id_next(id - 1) != id)
        reply_no_job(c);
    else
        reply_out_of_memory(c);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

static void wait_abandon(struct http_connection *c)
{
    job_watch(-1);
}

static void wait_resume(struct http_connection *c)
{
    uint64_t id = c->work.job.id;
    bool has_ended = job_has_ended(id);
    if (!has_ended && time_ns() < c->work.job.deadline_ns)
        return;
    c->abandon = NULL;
    job_watch(-1);
    /* A submission that is still under way is accepted (202); so is a look at it, which then just shows how far it
     * is. */
    bool is_submission = c->method == METHOD_POST;
    if (is_submission)
        reply_header(c, "Location: /v1/jobs/%" PRIu64, id);
    reply_job(c, is_submission && !has_ended ? 202 : 200, id);
}

static void reply_when_ended(struct http_connection *c, uint64_t id, uint64_t wait_seconds)
{
    c->work.job.id = id;
    c->work.job.deadline_ns = time_ns() + wait_seconds * NS_PER_S;
    job_watch(+1);
    reply_later(c, wait_resume, wait_abandon);
    wait_resume(c); /* it may have ended already */
}

/* ?wait=; false after refusing it. */
static bool wait_get(struct http_connection *c, uint64_t *seconds)
{
    *seconds = 0;
    if (query_uint(c, "wait", 0, HTTP_WAIT_SECONDS, seconds) >= 0)
        return true;
    reply_problem(c, 400, "wait", "wait must be a whole number of seconds from 0 to %d.",
                  HTTP_WAIT_SECONDS);
    return false;
}

/* ---- POST /v1/jobs --------------------------------------------------------------------------------------------- */

/* JSON, or what curl and others call a body when nobody told them: a page of another origin is kept out by its
 * Origin. */
static bool content_type_is_fine(const struct http_connection *c)
{
    static const char *const accepted[] = {"application/json", "text/json",
                                           "application/x-www-form-urlencoded"};
    const char *type = c->headers[HEADER_CONTENT_TYPE].text;
    size_t length = strcspn(type, "; \t");
    if (length == 0)
        return true;
    for (unsigned i = 0; i < ARRAY_COUNT(accepted); i++)
        if (strlen(accepted[i]) == length && strncasecmp(type, accepted[i], length) == 0)
            return true;
    return false;
}

/* app and args out of the request object; false after refusing it. */
static bool submission_read(struct http_connection *c, yyjson_val *root, const char **app,
                            yyjson_val **args)
{
    yyjson_val *key, *app_value = NULL, *args_value = NULL;
    yyjson_obj_iter iter = yyjson_obj_iter_with(root);
    if (!yyjson_is_obj(root)) {
        reply_problem(c, 400, NULL,
                      "The body must be a JSON object: {\"app\": \"...\", \"args\": {...}}.");
        return false;
    }
    while ((key = yyjson_obj_iter_next(&iter))) {
        yyjson_val **slot = yyjson_equals_str(key, "app")    ? &app_value
                            : yyjson_equals_str(key, "args") ? &args_value
                                                             : NULL;
        if (!slot) {
            reply_problem(c, 400, yyjson_get_str(key),
                          "A job has \"app\" and \"args\", nothing else.");
            return false;
        }
        if (*slot) {
            reply_problem(c, 400, yyjson_get_str(key), "This member is given twice.");
            return false;
        }
        *slot = yyjson_obj_iter_get_val(key);
    }
    if (!yyjson_is_str(app_value) ||
        strlen(yyjson_get_str(app_value)) != yyjson_get_len(app_value)) {
        reply_problem(c, 400, "app", "app must be the name of an app. GET /v1/apps lists them.");
        return false;
    }
    if (args_value && !yyjson_is_obj(args_value) && !yyjson_is_null(args_value)) {
        reply_problem(c, 400, "args", "args must be an object.");
        return false;
    }
    *app = yyjson_get_str(app_value);
    *args = yyjson_is_obj(args_value) ? args_value : NULL;
    return true;
}

static void submit(struct http_connection *c, yyjson_val *root, uint64_t wait_seconds)
{
    const char *app;
    yyjson_val *args;
    uint64_t id;
    struct job_problem problem = {0};
    if (!submission_read(c, root, &app, &args))
        return;
    int error = job_submit(app, args, &id, &problem);
    if (error) {
        int status = problem.status                         ? problem.status
                     : error == -EAGAIN || error == -ENOMEM ? 503
                     : error == -ENOENT                     ? 404
                                                            : 400;
        reply_problem(c, status, problem.field[0] ? problem.field : NULL, "%s", problem.detail);
        return;
    }
    if (wait_seconds > 0) {
        reply_when_ended(c, id, wait_seconds);
        return;
    }
    reply_header(c, "Location: /v1/jobs/%" PRIu64, id);
    reply_job(c, 202, id);
}

void api_job_submit(struct http_connection *c)
{
    uint64_t wait_seconds;
    yyjson_doc *doc;
    struct job_problem problem = {0};
    if (!wait_get(c, &wait_seconds))
        return;
    if (!content_type_is_fine(c)) {
        reply_problem(c, 415, "Content-Type", "Send Content-Type: application/json.");
        return;
    }
    if (json_parse(c->body, c->body_bytes, &doc, &problem) != 0) {
        reply_problem(c, problem.status, NULL, "%s", problem.detail);
        return;
    }
    submit(c, yyjson_doc_get_root(doc), wait_seconds);
    yyjson_doc_free(doc);
}

/* ---- GET and DELETE -------------------------------------------------------------------------------------------- */

void api_jobs(struct http_connection *c)
{
    uint64_t after = 0, limit = LIST_LIMIT;
    char unused[8];
    if (query_uint(c, "after", 0, INT64_MAX, &after) < 0) {
        reply_problem(c, 400, "after", "after must be the number of a job.");
        return;
    }
    if (query_uint(c, "limit", 1, LIST_LIMIT_MAX, &limit) < 0) {
        reply_problem(c, 400, "limit", "limit must be a whole number from 1 to %d.",
                      LIST_LIMIT_MAX);
        return;
    }
    if (query_get(c, "wait", unused, sizeof(unused)) != 0) {
        reply_problem(c, 400, "wait", "wait belongs to POST /v1/jobs and GET /v1/jobs/ID.");
        return;
    }
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "jobs");
    uint64_t id = job_id_next(after);
    for (; id && limit > 0; limit--, after = id, id = job_id_next(id)) {
        yyjson_mut_val *job = job_describe(id, doc);
        yyjson_mut_obj_remove_key(job, "result"); /* of any size; GET /v1/jobs/ID has it */
        yyjson_mut_arr_append(list, job);
    }
    if (id)
        yyjson_mut_obj_add_uint(doc, root, "next_after", after);
    else
        yyjson_mut_obj_add_null(doc, root, "next_after");
    reply_json(c, 200, doc);
}

void api_job(struct http_connection *c)
{
    uint64_t id = captured_id(c), wait_seconds;
    if (!wait_get(c, &wait_seconds))
        return;
    if (id == 0)
        reply_no_job(c);
    else if (wait_seconds > 0 && job_id_next(id - 1) == id)
        reply_when_ended(c, id, wait_seconds);
    else
        reply_job(c, 200, id);
}

void api_job_cancel(struct http_connection *c)
{
    uint64_t id = captured_id(c);
    int error = id ? job_cancel(id) : -ENOENT;
    if (error == -ENOENT)
        reply_no_job(c);
    else if (error == -EALREADY)
        reply_problem(c, 409, "id", "The job has already ended.");
    else
        reply_job(c, 202, id);
}

/* ---- GET /v1/jobs/ID/events ------------------------------------------------------------------------------------ */

static uint64_t text_digest(const char *text, size_t size_bytes)
{
    uint64_t digest = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size_bytes; i++)
        digest = (digest ^ (uint8_t)text[i]) * 1099511628211u;
    return digest;
}

static void event_begin(struct http_connection *c, struct text *text, const char *name)
{
    text_print(text, "event: %s\nid: %" PRIu64 "\ndata: ", name, ++c->work.job.sequence);
}

/* The last event: the whole job, or why it cannot be shown. */
static void event_end(struct http_connection *c, yyjson_mut_doc *doc)
{
    struct text text = {0};
    size_t size_bytes = 0;
    char *json = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &size_bytes);
    if (json) {
        event_begin(c, &text, "end");
        text_add(&text, json, size_bytes);
    } else {
        char problem[1300];
        event_begin(c, &text, "error");
        text_add(&text, problem,
                 problem_format(c, problem, sizeof(problem), doc ? 503 : 404, NULL,
                                doc ? "There is not enough memory to show the job."
                                    : "The job is not kept any more."));
    }
    text_add(&text, "\n\n", 2);
    free(json);
    stream_end(c, &text);
}

/* A progress event, unless it would say what the last one said. False when there was not enough room or memory. */
static bool event_progress(struct http_connection *c, yyjson_mut_doc *doc)
{
    static const char *const left_out[] = {"args", "result", "warnings"};
    struct text text = {.limit = stream_room(c)};
    for (unsigned i = 0; i < ARRAY_COUNT(left_out); i++)
        yyjson_mut_obj_remove_key(yyjson_mut_doc_get_root(doc), left_out[i]);
    size_t size_bytes = 0;
    char *json = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &size_bytes);
    uint64_t digest = json ? text_digest(json, size_bytes) : 0;
    bool is_new = json && digest != c->work.job.digest;
    if (is_new) {
        event_begin(c, &text, "progress");
        text_add(&text, json, size_bytes);
        text_add(&text, "\n\n", 2);
        if (!text.has_failed) {
            stream_write(c, text.data, text.size_bytes);
            c->work.job.digest = digest;
        }
    }
    free(json);
    text_free(&text);
    return is_new;
}

static void events_abandon(struct http_connection *c)
{
    job_watch(-1);
}

static bool events_more(struct http_connection *c)
{
    uint64_t now = time_ns(), id = c->work.job.id;
    bool has_ended = job_has_ended(id);
    if (!has_ended && now < c->work.job.next_ns)
        return true;
    if (stream_room(c) < 1024)
        return true; /* the peer is behind: what it missed is in the next one */
    yyjson_mut_doc *doc = job_document_new(id);
    if (has_ended || !doc) {
        event_end(c, doc);
        yyjson_mut_doc_free(doc);
        c->abandon = NULL;
        job_watch(-1);
        return false;
    }
    c->work.job.next_ns = now + EVENT_SPACING_NS;
    if (event_progress(c, doc)) {
        c->work.job.ping_ns = now + HTTP_PING_SECONDS * NS_PER_S;
    } else if (now >= c->work.job.ping_ns) {
        stream_write(c, ": ping\n\n", 8);
        c->work.job.ping_ns = now + HTTP_PING_SECONDS * NS_PER_S;
    }
    yyjson_mut_doc_free(doc);
    return true;
}

void api_job_events(struct http_connection *c)
{
    uint64_t id = captured_id(c);
    if (id == 0 || job_id_next(id - 1) != id) {
        reply_no_job(c);
        return;
    }
    c->work.job.id = id;
    c->work.job.next_ns = c->work.job.digest = c->work.job.sequence = 0;
    c->work.job.ping_ns = time_ns() + HTTP_PING_SECONDS * NS_PER_S;
    if (c->method != METHOD_HEAD) {
        job_watch(+1);
        c->abandon = events_abandon;
    }
    reply_stream(c, 200, "text/event-stream", events_more);
}
