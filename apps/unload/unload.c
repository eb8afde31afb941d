/*
 * apps/unload/unload.c: give a loaded model's memory back.
 */
#include "kernel/kernel.h"
#include "runtime/job/job.h"

static int run(struct job *job)
{
    const char *handle = job_string(job, "model");
    int error = model_remove(handle);
    if (error == -EBUSY)
        return job_fail(job, error, "model",
                        "model %s is in use by a running job; wait for it or cancel it", handle);
    if (error != 0)
        return job_fail(job, error, "model", "no model \"%s\" is loaded; /v1/models lists them",
                        handle);
    if (!yyjson_mut_obj_add_strcpy(job_document(job), job_result(job), "model", handle))
        return job_fail(job, -ENOMEM, NULL,
                        "the model is unloaded, but there is no memory for the result");
    return 0;
}

INGOT_APP(unload, "Free the memory of a loaded model", run, APP_IMMEDIATE,
          ARG_STRING("model", "its handle, such as m1", .is_required = true, .length_max = 23));
