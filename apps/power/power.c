/* apps/power/power.c: restart the machine or switch it off, after everything was put to rest. */
#include "kernel/kernel.h"
#include "runtime/job/job.h"
#include "runtime/runtime.h"

#include <string.h>

#define REPLY_NS NS_PER_S /* for the reply to reach the client before the network stops */

static void restart(void *arg)
{
    task_sleep_until(time_ns() + REPLY_NS);
    runtime_stop();
    machine_restart();
}

static void power_off(void *arg)
{
    task_sleep_until(time_ns() + REPLY_NS);
    runtime_stop();
    machine_power_off();
}

static int run(struct job *job)
{
    const char *action = job_string(job, "action");
    /* The network may be stopped from core 0 alone. */
    int error =
        task_create("power", 0, 0, strcmp(action, "restart") == 0 ? restart : power_off, NULL);
    if (error)
        return job_fail(job, error, NULL,
                        "no memory to start the shutdown; unload a model and try again");
    yyjson_mut_obj_add_strcpy(job_document(job), job_result(job), "action", action);
    yyjson_mut_obj_add_uint(job_document(job), job_result(job), "in_seconds", REPLY_NS / NS_PER_S);
    return 0;
}

static const char *const actions[] = {"restart", "off", NULL};
INGOT_APP(power, "Restart the machine, or switch it off", run, APP_IMMEDIATE,
          ARG_STRING("action", "what to do", .is_required = true, .choices = actions));
