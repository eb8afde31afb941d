/*
 * gpu/gpu_backend.h: what stands behind gpu.h. gpu/gpu.c checks every call and keeps the lists; a backend does the work.
 *
 * A backend fills in one struct gpu_ops, and per device found a struct gpu_device, and hands that to gpu_device_add() from
 * its start function (gpu_cpu_start(), nvidia_start()), which gpu_start() calls. The *_bytes members of the ops give the sizes
 * of the backend's own structs, whose first member is the struct gpu_... below: gpu.c allocates them zeroed, fills in the
 * common part, and calls the op to do the rest. An op that fails has undone what it did; gpu.c frees the struct.
 *
 * What gpu.c has checked before an op is called: handles are live, of one device and of the right kind; ranges lie inside
 * their buffers and do not overlap; offsets and sizes are aligned as gpu.h says; grid, block, shared memory and argument
 * size are within the device's and the kernel's limits; the queue has not failed. What it cannot check is what pointers
 * inside kernel arguments refer to.
 */
#ifndef INGOT_GPU_BACKEND_H
#define INGOT_GPU_BACKEND_H

#include "gpu/gpu.h"
#include "kernel/kernel.h"

struct gpu_ops {
    size_t buffer_bytes, module_bytes, kernel_bytes, queue_bytes, timeline_bytes;

    /* ---- device; ops marked (optional) may be NULL ---- */
    uint64_t (*memory_used)(struct gpu_device *device);
    void (*health)(struct gpu_device *device, struct gpu_health *out); /* (optional) out holds "has none" everywhere */
    /* (optional) See gpu_registers(); called for any device, whether it can be used or not. */
    int (*registers)(struct gpu_device *device, const char *block, gpu_register_each each, void *arg);
    /* Wait until every command submitted so far, on all queues, is complete or dropped: 0, or -ETIMEDOUT. */
    int (*idle)(struct gpu_device *device, uint64_t deadline_ns);
    /* Idle, reset, bus mastering off; the device is not used afterwards. Not called while it is starting. */
    void (*stop)(struct gpu_device *device);

    /* ---- buffers: device, memory and size_bytes are set; the op sets gva, cpu, is_dma_ready ---- */
    int (*buffer_alloc)(struct gpu_buffer *buffer);
    void (*buffer_free)(struct gpu_buffer *buffer); /* the device is idle as far as this buffer goes */
    uint64_t (*buffer_dma)(const struct gpu_buffer *buffer, uint64_t offset, uint64_t *run_bytes);
    void (*buffer_dma_done)(const struct gpu_buffer *buffer); /* (optional) */

    /* ---- modules ---- */
    int (*module_load)(struct gpu_module *module, const void *image, size_t size_bytes); /* (optional: -ENOTSUP) */
    void (*module_unload)(struct gpu_module *module);
    /* Fills in args_bytes, threads_max, shared_bytes; -ENOENT. Called once per name: gpu.c keeps what was found. */
    int (*kernel_find)(struct gpu_kernel *kernel);

    /* ---- queues: a full ring is waited for, never overwritten ---- */
    int (*queue_create)(struct gpu_queue *queue);
    /* Waits for what was submitted (drops it after a fault or cancel), drops what was not, frees the backend's part. */
    void (*queue_destroy)(struct gpu_queue *queue);
    int (*launch)(struct gpu_queue *queue, struct gpu_kernel *kernel, const struct gpu_launch *launch);
    int (*copy)(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset, uint64_t dst_pitch,
                const struct gpu_buffer *src, uint64_t src_offset, uint64_t src_pitch, uint64_t row_bytes,
                uint64_t rows); /* rows 1: a plain run of row_bytes */
    int (*fill)(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t offset, uint64_t size_bytes, uint32_t pattern);
    int (*signal)(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
    int (*wait)(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
    int (*submit)(struct gpu_queue *queue);
    int (*queue_status)(struct gpu_queue *queue); /* (optional) looks at the hardware, may call gpu_queue_fault() */
    void (*queue_cancel)(struct gpu_queue *queue); /* (optional) drop what has not started */

    /* ---- timelines ---- */
    int (*timeline_create)(struct gpu_timeline *timeline);
    void (*timeline_destroy)(struct gpu_timeline *timeline);
    uint64_t (*timeline_value)(const struct gpu_timeline *timeline);
    void (*timeline_signal)(struct gpu_timeline *timeline, uint64_t value);
    /* 0, -ETIMEDOUT, or -EIO when device->fault_count moved while waiting. */
    int (*timeline_wait)(struct gpu_timeline *timeline, uint64_t value, uint64_t deadline_ns);
};

struct gpu_device {
    const struct gpu_ops *ops;
    struct gpu_device_info info;  /* set by the backend; memory_used_bytes is asked for */
    uint32_t block_max[3];        /* threads per block along each axis */
    struct gpu_module *builtin;   /* set by the backend through gpu_module_add_builtin() */
    unsigned rank;                /* gpu_device_best() takes the usable device with the highest: cpu 0, GPUs from 100 */
    _Atomic uint32_t fault_count; /* gpu_queue_fault() raises it */
    char last_fault[200];         /* the text of the latest one */
};

struct gpu_kernel {
    struct gpu_module *module;
    char name[96];
    uint32_t args_bytes, threads_max; /* threads_max 0: the device's limit */
    uint32_t shared_bytes;            /* static shared memory */
    struct gpu_kernel *next;          /* gpu.c's list in the module */
};

struct gpu_module {
    struct gpu_device *device;
    struct gpu_kernel *kernels;
    bool is_builtin;
};

struct gpu_queue {
    struct gpu_device *device;
    enum gpu_queue_kind kind;
    _Atomic int status;  /* 0, or the first error: sticks until the queue is destroyed */
    char fault[200];     /* why */
};

struct gpu_timeline {
    struct gpu_device *device;
};

/* The device lives on from here; a second device of the same name is refused with -EEXIST. */
int gpu_device_add(struct gpu_device *device);
/* The start of a device that was added with info.is_starting has ended: what it is now; says so in the log. Any task. */
void gpu_device_started(struct gpu_device *device, const struct gpu_device_info *info);
/* A usable device is none any more, until the next start of the machine; the first reason stays. Any task. */
void gpu_device_broken(struct gpu_device *device, const char *why_not);
/* The device's own kernels; allocates module_bytes of ops. NULL without memory. */
struct gpu_module *gpu_module_add_builtin(struct gpu_device *device);
/* What gpu_error() returns on this core from now on; returns error for `return`. */
int gpu_fail(int error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The queue is dead: sets its status and text (the first call wins), raises fault_count, logs. */
void gpu_queue_fault(struct gpu_queue *queue, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Start functions of the backends. Each adds the devices it finds and returns 0, also when it finds none. */
int gpu_cpu_start(void);
int nvidia_start(void);

#endif
