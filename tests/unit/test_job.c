/* tests/unit/test_job.c: apps and jobs: what requests are refused and with which words, order, cancelling, history, models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/config/config.h"
#include "runtime/job/job.h"
#include "runtime/weights/weights.h"
#include "tests/host/host.h"

/* ---- apps for the tests ---------------------------------------------------------------------------------------- */

static _Atomic unsigned runs;
static char order[4096]; /* what ran, in order */

static int run_echo(struct job *job)
{
    runs++;
    yyjson_mut_doc *doc = job_document(job);
    yyjson_mut_val *result = job_result(job);
    yyjson_mut_obj_add_strcpy(doc, result, "text", job_string(job, "text"));
    yyjson_mut_obj_add_uint(doc, result, "count", job_uint(job, "count"));
    yyjson_mut_obj_add_real(doc, result, "factor", job_number(job, "factor"));
    yyjson_mut_obj_add_bool(doc, result, "flag", job_bool(job, "flag"));
    yyjson_mut_obj_add_strcpy(doc, result, "color", job_string(job, "color"));
    yyjson_mut_obj_add_bool(doc, result, "has_note", job_has_arg(job, "note"));
    yyjson_mut_obj_add_real(doc, result, "infinite", __builtin_inf()); /* no JSON: becomes null */
    strcat(order, job_string(job, "text"));
    return 0;
}

static const char *const colors[] = {"red", "blue", NULL};
INGOT_APP(t_echo, "Says what it was told", run_echo, APP_ON_DEVICE,
          ARG_STRING("text", "what to say", .is_required = true, .length_max = 10),
          ARG_UINT("count", "a number", .minimum = 2, .maximum = 9, .fallback_uint = 5),
          ARG_NUMBER("factor", "another", .fallback_number = 0.5),
          ARG_BOOL("flag", "yes or no", .fallback_bool = true),
          ARG_STRING("color", "of two", .choices = colors, .fallback_string = "red"),
          ARG_STRING("note", "anything"));

static int run_fail(struct job *job)
{
    runs++;
    job_warn(job, "about to fail with %d", 42);
    if (job_bool(job, "speechless"))
        return -EIO;
    job_fail(job, -EUCLEAN, "file", "it is %s", "broken");
    return job_fail(job, -EINVAL, "other", "too late: the first reason counts");
}
INGOT_APP(t_fail, "Fails", run_fail, APP_ON_DEVICE, ARG_BOOL("speechless", "without a reason"));

/* Runs until it is cancelled or let go. */
static _Atomic bool let_go;
static int run_wait(struct job *job)
{
    runs++;
    for (uint64_t i = 0; !let_go; i++) {
        job_progress(job, "waiting", i, 1000);
        if (job_cancelled(job))
            return job_fail(job, -ECANCELED, NULL, "cancelled");
        task_sleep_until(time_ns() + NS_PER_MS);
    }
    return 0;
}
INGOT_APP(t_wait, "Waits", run_wait, APP_ON_DEVICE, ARG_UINT("n", "nothing"));

static int run_now(struct job *job)
{
    runs++;
    return job_device(job) == NULL ? 0 : -EINVAL;
}
INGOT_APP(t_now, "Runs at once", run_now, APP_IMMEDIATE, ARG_UINT("n", "nothing"));

static int run_large(struct job *job)
{
    char text[1001];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    yyjson_mut_val *list = yyjson_mut_arr(job_document(job));
    for (unsigned i = 0; i < 5000; i++)
        yyjson_mut_arr_add_strcpy(job_document(job), list, text);
    yyjson_mut_obj_add_val(job_document(job), job_result(job), "list", list);
    return 0;
}
INGOT_APP(t_large, "Has a result of 5 MB", run_large, APP_ON_DEVICE, ARG_UINT("n", "nothing"));

/* ---- helpers --------------------------------------------------------------------------------------------------- */

static int start(void **state)
{
    host_log_level(LOG_ERROR);
    host_cores_start(3);
    assert_int_equal(gpu_start(), 0);
    assert_int_equal(job_start(), 0);
    return 0;
}

static int stop(void **state)
{
    job_stop();
    gpu_stop();
    return 0;
}

static int submit(const char *app, const char *arguments, uint64_t *id, struct job_problem *problem)
{
    yyjson_doc *parsed = yyjson_read(arguments, strlen(arguments), 0);
    assert_non_null(parsed);
    memset(problem, 0, sizeof(*problem));
    int error = job_submit(app, yyjson_doc_get_root(parsed), id, problem);
    yyjson_doc_free(parsed);
    return error;
}

static uint64_t submitted(const char *app, const char *arguments)
{
    struct job_problem problem;
    uint64_t id = 0;
    int error = submit(app, arguments, &id, &problem);
    if (error != 0)
        fail_msg("%s %s: %d: %s", app, arguments, error, problem.detail);
    return id;
}

static void wait_ended(uint64_t id)
{
    uint64_t deadline = time_ns() + 20 * NS_PER_S;
    while (!job_has_ended(id)) {
        assert_true(time_ns() < deadline);
        uint32_t seen = event_read(job_event());
        if (!job_has_ended(id))
            event_wait(job_event(), seen, time_ns() + 100 * NS_PER_MS);
    }
}

/* The job as parsed JSON; "" keys and types are then easy to look at. */
static yyjson_doc *described(uint64_t id)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = job_describe(id, doc);
    assert_non_null(root);
    yyjson_mut_doc_set_root(doc, root);
    size_t length;
    char *text = yyjson_mut_write(doc, 0, &length);
    assert_non_null(text);
    yyjson_doc *parsed = yyjson_read(text, length, 0);
    assert_non_null(parsed);
    free(text);
    yyjson_mut_doc_free(doc);
    return parsed;
}

static const char *text_at(yyjson_doc *doc, const char *pointer)
{
    const char *text = yyjson_get_str(yyjson_doc_ptr_get(doc, pointer));
    return text != NULL ? text : "(none)";
}

static void assert_state(uint64_t id, const char *state)
{
    yyjson_doc *doc = described(id);
    assert_string_equal(text_at(doc, "/state"), state);
    yyjson_doc_free(doc);
}

static void wait_running(uint64_t id)
{
    uint64_t deadline = time_ns() + 20 * NS_PER_S;
    for (bool runs_now = false; !runs_now;) {
        assert_true(time_ns() < deadline);
        yyjson_doc *doc = described(id);
        runs_now = yyjson_is_obj(yyjson_doc_ptr_get(doc, "/progress"));
        yyjson_doc_free(doc);
        task_sleep_until(time_ns() + NS_PER_MS);
    }
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static void test_json(void **state)
{
    const struct {
        const char *text, *says;
    } bad[] = {
        {"", "no body"},
        {"{", "not JSON"},
        {"{\"a\":1}}", "not JSON"},
        {"{\"a\":1,}", "not JSON"},
        {"nul", "not JSON"},
        {"\xff", "not JSON"},
        {"{\"a\":\"\x01\"}", "not JSON"},
    };
    struct job_problem problem;
    yyjson_doc *doc;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(json_parse(bad[i].text, strlen(bad[i].text), &doc, &problem), -EINVAL);
        assert_null(doc);
        assert_int_equal(problem.status, 400);
        assert_non_null(strstr(problem.detail, bad[i].says));
    }
    char deep[JSON_DEPTH_MAX * 2 + 3];
    for (int levels = JSON_DEPTH_MAX; levels <= JSON_DEPTH_MAX + 1; levels++) {
        memset(deep, '[', (size_t)levels);
        memset(deep + levels, ']', (size_t)levels);
        int error = json_parse(deep, (size_t)levels * 2, &doc, &problem);
        assert_int_equal(error, levels <= JSON_DEPTH_MAX ? 0 : -EINVAL);
        yyjson_doc_free(doc);
    }
    assert_non_null(strstr(problem.detail, "32 levels"));
    const char *brackets =
        "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[\"}"; /* in a string they are text */
    assert_int_equal(json_parse(brackets, strlen(brackets), &doc, &problem), 0);
    yyjson_doc_free(doc);
}

static void test_bad_arguments(void **state)
{
    const struct {
        const char *app, *arguments, *field, *says;
        int error;
    } bad[] = {
        {"nope", "{}", "app", "no app \"nope\"", -ENOENT},
        {"t_echo", "[]", "args", "must be an object, not an array", -EINVAL},
        {"t_echo", "7", "args", "not a number", -EINVAL},
        {"t_echo", "{}", "text", "\"text\" is required: what to say", -EINVAL},
        {"t_echo", "{\"text\":null}", "text", "not null", -EINVAL},
        {"t_echo", "{\"text\":5}", "text", "must be a string, not a number", -EINVAL},
        {"t_echo", "{\"text\":[\"a\"]}", "text", "not an array", -EINVAL},
        {"t_echo", "{\"text\":\"\"}", "text", "must not be empty", -EINVAL},
        {"t_echo", "{\"text\":\"12345678901\"}", "text", "11 bytes, allowed are 10", -EINVAL},
        {"t_echo", "{\"text\":\"a\\u0000b\"}", "text", "NUL", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"text\":\"b\"}", "text", "twice", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"txet\":1}", "txet",
         "it takes: text, count, factor, flag, color, note, device", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"\":1}", "", "has no argument \"\"", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"count\":1}", "count", "from 2 to 9", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"count\":10}", "count", "from 2 to 9", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"count\":-3}", "count", "from 2 to 9", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"count\":2.5}", "count", "whole number", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"count\":18446744073709551615}", "count", "from 2 to 9",
         -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"count\":\"3\"}", "count", "not a string", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"factor\":\"x\"}", "factor", "finite number", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"flag\":1}", "flag", "true or false", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"color\":\"green\"}", "color",
         "one of \"red\", \"blue\", not \"green\"", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"device\":\"gpu9\"}", "device", "there are: cpu0", -EINVAL},
        {"t_echo", "{\"text\":\"a\",\"device\":{}}", "device", "not an object", -EINVAL},
        {"t_now", "{\"device\":\"cpu0\"}", "device",
         "t_now has no argument \"device\"; it takes: n", -EINVAL},
        {"t_now", "{\"n\":9007199254740992}", "n", "from 0 to 9007199254740991", -EINVAL},
        {"stats", "{\"model\":\"m77\"}", "model", "no model \"m77\" is loaded", -EINVAL},
        {"unload", "{}", "model", "required", -EINVAL},
    };
    unsigned before = runs;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct job_problem problem;
        uint64_t id = 0;
        int error = submit(bad[i].app, bad[i].arguments, &id, &problem);
        if (error != bad[i].error || strcmp(problem.field, bad[i].field) != 0 ||
            strstr(problem.detail, bad[i].says) == NULL || problem.status != 400 || id != 0)
            fail_msg("%s %s: %d, field \"%s\", \"%s\"", bad[i].app, bad[i].arguments, error,
                     problem.field, problem.detail);
    }
    assert_int_equal(runs, before);
}

static void test_good_arguments(void **state)
{
    uint64_t id = submitted("t_echo", "{\"text\":\"hello\"}");
    wait_ended(id);
    yyjson_doc *doc = described(id);
    assert_string_equal(text_at(doc, "/state"), "succeeded");
    assert_string_equal(text_at(doc, "/app"), "t_echo");
    assert_string_equal(text_at(doc, "/device"), "cpu0");
    assert_string_equal(text_at(doc, "/args/text"), "hello");
    assert_string_equal(text_at(doc, "/result/text"), "hello");
    assert_string_equal(text_at(doc, "/result/color"), "red");
    assert_int_equal(yyjson_get_uint(yyjson_doc_ptr_get(doc, "/result/count")), 5);
    assert_true(yyjson_get_real(yyjson_doc_ptr_get(doc, "/result/factor")) == 0.5);
    assert_true(yyjson_get_bool(yyjson_doc_ptr_get(doc, "/result/flag")));
    assert_false(yyjson_get_bool(yyjson_doc_ptr_get(doc, "/result/has_note")));
    assert_true(yyjson_is_null(yyjson_doc_ptr_get(doc, "/result/infinite")));
    assert_null(yyjson_doc_ptr_get(doc, "/error"));
    double created = yyjson_get_real(yyjson_doc_ptr_get(doc, "/created_seconds"));
    assert_true(created > 0 &&
                yyjson_get_real(yyjson_doc_ptr_get(doc, "/ended_seconds")) >= created);
    yyjson_doc_free(doc);

    id = submitted(
        "t_echo",
        "{\"text\":\"1234567890\",\"count\":9,\"factor\":3,\"flag\":false,\"color\":\"blue\","
        "\"note\":\"\",\"device\":\"cpu0\"}");
    wait_ended(id);
    doc = described(id);
    assert_int_equal(yyjson_get_uint(yyjson_doc_ptr_get(doc, "/result/count")), 9);
    assert_true(yyjson_get_real(yyjson_doc_ptr_get(doc, "/result/factor")) == 3.0);
    assert_false(yyjson_get_bool(yyjson_doc_ptr_get(doc, "/result/flag")));
    assert_true(yyjson_get_bool(yyjson_doc_ptr_get(doc, "/result/has_note")));
    yyjson_doc_free(doc);

    /* No arguments at all, and null for none. */
    struct job_problem problem;
    assert_int_equal(job_submit("t_now", NULL, &id, &problem), 0);
    wait_ended(id);
    assert_state(id, "succeeded");
    id = submitted("t_now", "null");
    wait_ended(id);
    doc = described(id);
    assert_true(yyjson_is_null(yyjson_doc_ptr_get(doc, "/device")));
    yyjson_doc_free(doc);
}

static void test_failures(void **state)
{
    uint64_t id = submitted("t_fail", "{}");
    wait_ended(id);
    yyjson_doc *doc = described(id);
    assert_string_equal(text_at(doc, "/state"), "failed");
    assert_string_equal(text_at(doc, "/error/title"), "Damaged data");
    assert_string_equal(text_at(doc, "/error/detail"), "it is broken");
    assert_string_equal(text_at(doc, "/error/field"), "file");
    assert_string_equal(text_at(doc, "/warnings/0"), "about to fail with 42");
    assert_null(yyjson_doc_ptr_get(doc, "/result"));
    yyjson_doc_free(doc);
    id = submitted("t_fail", "{\"speechless\":true}");
    wait_ended(id);
    doc = described(id);
    assert_string_equal(text_at(doc, "/error/detail"), "t_fail failed: Input/output error");
    assert_true(yyjson_is_null(yyjson_doc_ptr_get(doc, "/error/field")));
    yyjson_doc_free(doc);
}

static void test_apps_are_listed(void **state)
{
    const char *before = "";
    const struct app *app;
    unsigned count = 0;
    for (; (app = app_get(count)) != NULL; count++) {
        assert_true(strcmp(before, app->name) < 0);
        before = app->name;
        assert_ptr_equal(app_find(app->name), app);
    }
    assert_true(count >= 10);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = app_describe_all(doc);
    assert_int_equal(yyjson_mut_arr_size(list), count);
    char *text = yyjson_mut_val_write(list, 0, NULL);
    assert_non_null(strstr(text, "\"name\":\"t_echo\""));
    assert_non_null(strstr(text, "\"choices\":[\"red\",\"blue\"]"));
    free(text);
    yyjson_mut_doc_free(doc);
}

/* ---- queues ---------------------------------------------------------------------------------------------------- */

static void test_order_and_parallel(void **state)
{
    let_go = false;
    order[0] = '\0';
    uint64_t first = submitted("t_wait", "{}"), id = 0;
    for (char c = 'a'; c <= 'h'; c++) {
        char arguments[32];
        snprintf(arguments, sizeof(arguments), "{\"text\":\"%c\"}", c);
        id = submitted("t_echo", arguments);
    }
    assert_state(id, "queued");
    uint64_t now = submitted("t_now", "{}"); /* needs no device: does not wait for its turn */
    wait_ended(now);
    assert_state(now, "succeeded");
    assert_false(job_has_ended(first));
    struct job_totals totals;
    job_totals(NULL, &totals);
    assert_int_equal(totals.queued, 8);
    assert_int_equal(totals.running, 1);
    job_totals(app_find("t_wait"), &totals);
    assert_int_equal(totals.running, 1);
    let_go = true;
    wait_ended(id);
    assert_string_equal(order, "abcdefgh");
    job_totals(NULL, &totals);
    assert_int_equal(totals.queued, 0);
    assert_int_equal(totals.running, 0);
}

static void test_queue_full(void **state)
{
    let_go = false;
    uint64_t first = submitted("t_wait", "{}");
    wait_running(first);
    uint32_t limit = config.queue_jobs_max;
    config.queue_jobs_max = 2;
    uint64_t second = submitted("t_echo", "{\"text\":\"x\"}"),
             third = submitted("t_echo", "{\"text\":\"y\"}"), id;
    struct job_problem problem;
    assert_int_equal(submit("t_echo", "{\"text\":\"z\"}", &id, &problem), -EAGAIN);
    assert_int_equal(problem.status, 503);
    assert_non_null(strstr(problem.detail, "2 jobs are waiting"));
    assert_int_equal(job_cancel(second), 0); /* makes room */
    id = submitted("t_echo", "{\"text\":\"z\"}");
    config.queue_jobs_max = limit;
    let_go = true;
    wait_ended(id);
    assert_state(third, "succeeded");
    assert_state(second, "cancelled");
}

static void test_cancel(void **state)
{
    let_go = false;
    uint64_t running = submitted("t_wait", "{}"), queued = submitted("t_wait", "{}"),
             last = submitted("t_now", "{}");
    wait_running(running);
    assert_int_equal(job_cancel(queued), 0);
    assert_true(job_has_ended(queued)); /* at once */
    uint64_t before = time_ns();
    assert_int_equal(job_cancel(running), 0);
    wait_ended(running);
    assert_true(time_ns() - before < 100 * NS_PER_MS);
    yyjson_doc *doc = described(running);
    assert_string_equal(text_at(doc, "/state"), "cancelled");
    assert_string_equal(text_at(doc, "/error/title"), "Cancelled");
    assert_string_equal(text_at(doc, "/progress/phase"), "waiting");
    yyjson_doc_free(doc);
    assert_int_equal(job_cancel(running), -EALREADY);
    assert_int_equal(job_cancel(queued), -EALREADY);
    assert_int_equal(job_cancel(UINT64_MAX), -ENOENT);
    assert_int_equal(job_cancel(0), -ENOENT);
    wait_ended(last);
    let_go = true;
}

/* The queue's links survive cancels at its head, in its middle and at its end. */
static void test_cancel_anywhere(void **state)
{
    let_go = false;
    order[0] = '\0';
    uint64_t first = submitted("t_wait", "{}"), ids[5];
    wait_running(first);
    for (int i = 0; i < 5; i++) {
        char arguments[32];
        snprintf(arguments, sizeof(arguments), "{\"text\":\"%d\"}", i);
        ids[i] = submitted("t_echo", arguments);
    }
    assert_int_equal(job_cancel(ids[0]), 0);
    assert_int_equal(job_cancel(ids[2]), 0);
    assert_int_equal(job_cancel(ids[4]), 0);
    uint64_t last = submitted("t_echo", "{\"text\":\"9\"}");
    let_go = true;
    wait_ended(last);
    assert_string_equal(order, "139");
}

static unsigned jobs_known(void)
{
    unsigned count = 0;
    for (uint64_t id = job_id_next(0); id != 0; id = job_id_next(id))
        count++;
    return count;
}

static void test_history(void **state)
{
    uint64_t first = submitted("t_now", "{}"), id = 0;
    for (int i = 0; i < 300; i++) {
        id = submitted("t_now", "{}");
        wait_ended(id);
    }
    assert_int_equal(jobs_known(), 256);
    assert_true(job_has_ended(first)); /* forgotten counts as ended */
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    assert_null(job_describe(first, doc));
    yyjson_mut_doc_free(doc);
    assert_state(id, "succeeded");
    for (int i = 0; i < 5; i++) { /* 5 MB each, 16 MiB are kept */
        id = submitted("t_large", "{}");
        wait_ended(id);
    }
    assert_int_equal(jobs_known(), 3);
    assert_state(id, "succeeded");
}

/* ---- models ---------------------------------------------------------------------------------------------------- */

static struct model make_model(void)
{
    struct model model = {.device = gpu_device_find("cpu0"),
                          .file = "x:/y",
                          .weights = calloc(1, sizeof(struct weights))};
    assert_int_equal(gpu_alloc(model.device, GPU_MEMORY_VRAM, 4096, &model.buffer), 0);
    return model;
}

/* weights_free() takes what weights_parse() made; these are bare ones, freed here before the model goes. */
static void remove_model(const char *handle)
{
    struct model *model = model_acquire(handle);
    assert_non_null(model);
    free(model->weights);
    model->weights = NULL;
    assert_int_equal(model_remove(handle), -EBUSY);
    model_release(model);
    assert_int_equal(model_remove(handle), 0);
    assert_int_equal(model_remove(handle), -ENOENT);
    assert_null(model_acquire(handle));
}

static void test_models(void **state)
{
    char handles[64][24], one_more[24];
    for (int i = 0; i < 64; i++) {
        struct model model = make_model();
        assert_int_equal(model_add(&model, handles[i]), 0);
    }
    struct model model = make_model();
    assert_int_equal(model_add(&model, one_more), -ENOSPC); /* stays ours */
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    assert_int_equal(yyjson_mut_arr_size(model_describe_all(doc)), 64);
    yyjson_mut_doc_free(doc);
    remove_model(handles[63]);
    assert_int_equal(model_add(&model, one_more), 0);
    assert_string_not_equal(one_more, handles[63]); /* a handle is never used twice */
    remove_model(one_more);
    for (int i = 0; i < 63; i++)
        remove_model(handles[i]);
    struct gpu_device_info info;
    gpu_device_info(gpu_device_find("cpu0"), &info);
    assert_int_equal(info.memory_used_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_good_arguments),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_apps_are_listed),
        cmocka_unit_test(test_order_and_parallel),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_anywhere),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_models),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
