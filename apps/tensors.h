/*
 * apps/tensors.h: what apps that compute on a loaded model's tensors share.
 */
#ifndef INGOT_APPS_TENSORS_H
#define INGOT_APPS_TENSORS_H

#include <stdio.h>

#include "runtime/job/job.h"
#include "runtime/weights/weights.h"

/* The kernels' name for an element type, "f16" for F16 (gpu/kernels/kernels.h, ELEMENT_TYPES). */
static inline void tensor_kernel_type(enum weights_type type, char out[16])
{
    const char *name = type == WEIGHTS_BOOL ? "BOOL8" : weights_type_info(type)->name;
    unsigned i = 0;
    for (; i < 15 && name[i] != '\0'; i++)
        out[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    out[i] = '\0';
}

/* For struct compute's is_cancelled. */
static inline bool tensor_job_cancelled(const void *job)
{
    return job_cancelled(job);
}

#endif
