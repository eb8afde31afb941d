/*
 * runtime/http/helper.c: the server's two tasks besides the transport's own, and how they tell it that something
 * happened.
 *
 * Directories and health readings wait for devices, and the transport's task must never wait: it would hold up every
 * connection. They are read in a task of their own, one at a time.
 */
#include "runtime/http/connection.h"

#include "runtime/job/job.h"
#include "runtime/net/net.h"

#define WATCH_PAUSE_NS (2 * NS_PER_MS) /* jobs may report progress thousands of times a second */

static struct event helper_event, watch_event;
static unsigned watcher_count, news_count;

void http_announce(void)
{
    news_count++;
    net_wake();
}

bool http_has_news(void)
{
    static unsigned seen;
    bool is_new = seen != news_count;
    seen = news_count;
    return is_new;
}

void helper_wake(void)
{
    event_signal(&helper_event);
}

bool helper_step(void)
{
    return listing_step() || health_step();
}

static void helper_run(void *arg)
{
    for (;;) {
        uint32_t seen = event_read(&helper_event);
        if (!helper_step())
            event_wait(&helper_event, seen, DEADLINE_NEVER);
    }
}

void job_watch(int change)
{
    watcher_count += (unsigned)change;
    if (change > 0)
        event_signal(&watch_event);
}

static void watch_run(void *arg)
{
    for (;;) {
        uint32_t seen = event_read(&watch_event);
        if (watcher_count == 0) {
            event_wait(&watch_event, seen, DEADLINE_NEVER);
            continue;
        }
        uint32_t jobs_seen = event_read(job_event());
        http_announce();
        event_wait(job_event(), jobs_seen, time_ns() + NS_PER_S);
        task_sleep_until(time_ns() + WATCH_PAUSE_NS);
    }
}

int helper_start(void)
{
    int error = task_create("http-helper", 0, 0, helper_run, NULL);
    return error ? error : task_create("http-jobs", 0, 0, watch_run, NULL);
}

int http_start(void)
{
    return helper_start();
}
