/*
 * gpu/gpu.h: the one device-neutral compute API. gpu/cpu (worker cores) and gpu/nvidia stand behind it.
 *
 * Four pillars: devices, buffers, modules with kernels, and queues with timelines. Commands are recorded into a queue
 * and start at gpu_submit(), or earlier when they fill the queue. Within one queue they take effect in order, each seeing
 * the memory effects of those before. Across queues only timelines order. Every command is validated when it is recorded:
 * a bad one returns a negative errno, is logged with the reason in gpu_error(), and leaves the queue as it was.
 *
 * A queue is used by one task at a time. Different queues may be used from different cores. Waiting yields.
 */
#ifndef INGOT_GPU_H
#define INGOT_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gpu_device;
struct gpu_module;
struct gpu_kernel;
struct gpu_queue;
struct gpu_timeline;

/* ---- devices --------------------------------------------------------------------------------------------------- */

#define GPU_ENGINES_MAX 40

struct gpu_device_info {
    char name[16];            /* "cpu0", "nvidia0" */
    char model[64];           /* what people call it */
    char architecture[16];    /* "avx512", "sm_90" */
    uint64_t memory_bytes;    /* memory for buffers in all */
    uint64_t memory_used_bytes;
    uint32_t multiprocessors; /* cores for the CPU device */
    uint32_t block_threads_max;
    uint32_t shared_bytes_max; /* per block */
    uint64_t grid_max[3];
    bool is_usable;           /* false: why_not says the reason and what to do */
    bool is_starting;         /* not usable yet: gpu_start_wait() */
    char why_not[240];

    /* What the device is made of, for people, as far as it is known also of one that cannot be used; "" or 0: not
     * known, or there is none. BARs and link: pci_facts() of the function with this name. */
    char pci_name[16];        /* "0000:01:00.0" */
    char chip[16];            /* "ga102" */
    char firmware[24];        /* version of the firmware that runs on the device: "570.144" */
    uint64_t vram_bytes;      /* all of its memory; memory_bytes is what is left for buffers */
    uint64_t start_ns;        /* how long it took to bring up; 0: somebody else did */
    uint32_t engine_count;
    char engines[GPU_ENGINES_MAX][12]; /* "graphics0", "copy2" */
};

/* Readings that the hardware gives; a NaN or UINT64_MAX says that it has none. */
struct gpu_health {
    double temperature_celsius, power_watts;
    uint64_t core_clock_hz, memory_clock_hz, ecc_corrected, ecc_uncorrected;
};

int gpu_start(void);          /* find every device; cpu0 runs, GPUs may still be starting when it returns */
void gpu_start_wait(void);    /* until none is starting any more; each has its own deadlines */
void gpu_stop(void);          /* idle and reset every device before the machine restarts */
struct gpu_device *gpu_device_get(unsigned index); /* NULL past the end */
struct gpu_device *gpu_device_find(const char *name);
struct gpu_device *gpu_device_best(void);          /* the one a job gets that names none */
void gpu_device_info(struct gpu_device *device, struct gpu_device_info *out);
void gpu_device_health(struct gpu_device *device, struct gpu_health *out);

/* A register that was read: block and name as in the device's manual, offset from the start of its registers. */
struct gpu_register {
    const char *block;
    char name[64];
    uint32_t offset, value;
    bool is_error; /* the value is what the device answers where it does not let us read */
};
typedef void (*gpu_register_each)(void *arg, const struct gpu_register *reg);
/*
 * Read, and only read, the registers of a device that are known by name and safe to read; also of one that cannot be used.
 * block NULL: all of them. 0; -ENOTSUP (a device without such registers), -ENOENT (no such block; gpu_error() lists them),
 * -ENODEV or -EIO (it does not answer).
 */
int gpu_registers(struct gpu_device *device, const char *block, gpu_register_each each, void *arg);

/* Why the last failing call failed, in words, with names and values; "" if nothing failed. Kept per core: read it before
 * anything that yields. */
const char *gpu_error(void);

/* ---- buffers --------------------------------------------------------------------------------------------------- */

enum gpu_memory {
    GPU_MEMORY_VRAM, /* the device's own */
    GPU_MEMORY_HOST, /* host memory that the device reads and writes coherently */
};

struct gpu_buffer {
    struct gpu_device *device;
    enum gpu_memory memory;
    uint64_t size_bytes;
    uint64_t gva;      /* address that kernels use, at least 4096-aligned */
    void *cpu;         /* CPU pointer to all of it, or NULL */
    bool is_dma_ready; /* PCI devices can reach it: gpu_buffer_dma() works */
};

/* 0, -ENOMEM (the device has not that much left), -EINVAL (size 0). Contents are undefined. */
int gpu_alloc(struct gpu_device *device, enum gpu_memory memory, uint64_t size_bytes, struct gpu_buffer **out);
/* Frees once the device is done with every command submitted so far. A command recorded but not yet submitted must not
 * name the buffer. NULL is ignored. */
void gpu_free(struct gpu_buffer *buffer);
/* Bus address of byte `offset`; *run_bytes gets how many bytes from there on are contiguous. 0 when not reachable. */
uint64_t gpu_buffer_dma(const struct gpu_buffer *buffer, uint64_t offset, uint64_t *run_bytes);
/* Other PCI devices have completed their writes to the buffer: work submitted from now on sees them. */
void gpu_buffer_dma_done(const struct gpu_buffer *buffer);

/* ---- modules and kernels --------------------------------------------------------------------------------------- */

/* The kernels of gpu/kernels, built for this device. Lives as long as the device. */
struct gpu_module *gpu_module_builtin(struct gpu_device *device);
/* A code object for this device (cubin on NVIDIA); the bytes are checked and copied. -ENOEXEC names what is wrong. */
int gpu_module_load(struct gpu_device *device, const void *image, size_t size_bytes, struct gpu_module **out);
void gpu_module_unload(struct gpu_module *module); /* waits for the device; NULL and the builtin module are ignored */
/* -ENOENT when the module has no such kernel. */
int gpu_kernel_find(struct gpu_module *module, const char *name, struct gpu_kernel **out);
uint32_t gpu_kernel_args_bytes(const struct gpu_kernel *kernel);

/* ---- queues ---------------------------------------------------------------------------------------------------- */

enum gpu_queue_kind { GPU_QUEUE_COMPUTE, GPU_QUEUE_COPY };

struct gpu_launch {
    uint32_t grid[3];      /* blocks, each at least 1 */
    uint32_t block[3];     /* threads, product 1 .. block_threads_max */
    uint32_t shared_bytes; /* dynamic shared memory on top of the kernel's own */
    const void *args;      /* the kernel's argument struct; gpu_launch() copies it */
    uint32_t args_bytes;   /* must equal gpu_kernel_args_bytes() */
};

int gpu_queue_create(struct gpu_device *device, enum gpu_queue_kind kind, struct gpu_queue **out);
void gpu_queue_destroy(struct gpu_queue *queue); /* waits for or, after a fault, drops what is in flight */
int gpu_launch(struct gpu_queue *queue, struct gpu_kernel *kernel, const struct gpu_launch *launch);
int gpu_copy(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset, const struct gpu_buffer *src,
             uint64_t src_offset, uint64_t size_bytes);
/* rows of row_bytes each, from and to pitches in bytes (each at least row_bytes) */
int gpu_copy_2d(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset, uint64_t dst_pitch,
                const struct gpu_buffer *src, uint64_t src_offset, uint64_t src_pitch, uint64_t row_bytes, uint64_t rows);
/* offset and size are multiples of 4; pattern repeats. Copies and fills of 0 bytes and overlapping copies are refused. */
int gpu_fill(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t offset, uint64_t size_bytes, uint32_t pattern);
int gpu_signal(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
int gpu_wait(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
int gpu_submit(struct gpu_queue *queue);
/* Drop whatever has not started yet, for a job that ends early; what runs may finish. Only gpu_queue_status() (then
 * -ECANCELED) and gpu_queue_destroy() make sense afterwards. */
void gpu_queue_cancel(struct gpu_queue *queue);
/* 0, or the error that stopped the queue (a fault: gpu_error() names kernel, address and kind). Cleared by destroying it. */
int gpu_queue_status(struct gpu_queue *queue);

/* ---- timelines ------------------------------------------------------------------------------------------------- */

/* A 64-bit value in memory, starting at 0, that queues and the CPU raise and wait for. */
int gpu_timeline_create(struct gpu_device *device, struct gpu_timeline **out);
void gpu_timeline_destroy(struct gpu_timeline *timeline); /* after the queues whose commands name it, or once they are done */
uint64_t gpu_timeline_value(const struct gpu_timeline *timeline);
void gpu_timeline_signal(struct gpu_timeline *timeline, uint64_t value); /* from the CPU; never lowers it */
/* Until value is reached: 0, -ETIMEDOUT at deadline_ns, -EIO when a queue of this device faulted meanwhile. */
int gpu_timeline_wait(struct gpu_timeline *timeline, uint64_t value, uint64_t deadline_ns);

#endif
