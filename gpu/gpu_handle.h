/*
 * gpu/gpu_handle.h: which handles of gpu.h are alive. Private to gpu/.
 *
 * Buffers, modules, kernels, queues and timelines are pointers to their users. Every live one is in this table, so that a
 * freed or foreign pointer is answered with an error instead of being followed.
 */
#ifndef INGOT_GPU_HANDLE_H
#define INGOT_GPU_HANDLE_H

#include <stdbool.h>

enum gpu_handle_kind {
    GPU_HANDLE_BUFFER = 1,
    GPU_HANDLE_MODULE,
    GPU_HANDLE_KERNEL,
    GPU_HANDLE_QUEUE,
    GPU_HANDLE_TIMELINE,
};

int gpu_handle_add(const void *handle, enum gpu_handle_kind kind); /* 0 or -ENOMEM */
bool gpu_handle_remove(const void *handle, enum gpu_handle_kind kind); /* false: was not there */
bool gpu_handle_is_live(const void *handle, enum gpu_handle_kind kind);
unsigned gpu_handle_count(enum gpu_handle_kind kind); /* for leak checks */

#endif
