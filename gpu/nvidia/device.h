/*
 * gpu/nvidia/device.h: what the files of gpu/nvidia share: the device, its memory, channels, queues, modules and kernels.
 *
 * Reading order: rm.h (objects), va.h and memory.c (memory), channel.c (groups, rings, doorbell), push.h and qmd.h (what
 * is put into the rings), queue.c (commands), timeline.c, cubin.h and module.c (code), fault.c, check.c, nvidia.c (start and
 * the ops).
 */
#ifndef INGOT_GPU_NVIDIA_DEVICE_H
#define INGOT_GPU_NVIDIA_DEVICE_H

#include "gpu/gpu_backend.h"
#include "gpu/nvidia/cubin.h"
#include "gpu/nvidia/push.h"
#include "gpu/nvidia/qmd.h"
#include "gpu/nvidia/rm.h"
#include "gpu/nvidia/va.h"

struct nvidia_device;

/* ---- architectures (chip.c) ------------------------------------------------------------------------------------ */

struct nvidia_chip {
    uint32_t compute_class, copy_class, channel_class, usermode_class;
    enum qmd_version qmd_version;
    bool has_copy_release_64;     /* copy engines release 64-bit semaphores themselves */
    uint32_t shared_block_max;    /* shared memory that one block may have, without what the system reserves */
    uint32_t shared_reserved;     /* bytes per block that the system takes */
    uint16_t shared_config_kib[12]; /* splits of an SM's memory, ascending, 0-terminated */
    /* Where kernels of this architecture look for things in constant bank 0 (bytes): */
    uint16_t bank0_block_dim, bank0_grid_dim, bank0_shared_window, bank0_local_window, bank0_stack_top;
};
/* The chip whose compute class is among the classes that the device has; NULL when we know none of them. */
const struct nvidia_chip *nvidia_chip_find(const uint32_t *classes, unsigned count);
/* engines.c: info->engines from NV2080_ENGINE_TYPE_ numbers; those without a name of ours are left out */
void nvidia_engines_name(struct gpu_device_info *info, const uint32_t *types, uint32_t count);

/* ---- memory (memory.c) ----------------------------------------------------------------------------------------- */

enum nvidia_memory_kind {
    NVIDIA_VRAM,        /* reached by the GPU only */
    NVIDIA_VRAM_MAPPED, /* also by the CPU, through the BAR, write-combined: write it, do not read it */
    NVIDIA_HOST,        /* pages of ours, cached; the GPU snoops */
    NVIDIA_HOST_RM,     /* pages that RM allocates, cached, mapped for both; for what RM itself writes */
};

struct nvidia_memory {
    uint32_t handle;
    enum nvidia_memory_kind kind;
    uint64_t size_bytes; /* rounded up to whole pages */
    uint64_t gva;
    void *cpu;           /* NULL for NVIDIA_VRAM */
    bool owns_pages;     /* NVIDIA_HOST: page_free() them with it */
    struct rm_cpu_map map;
};

/* 0, -ENOMEM, -EIO; gpu_error() says why. Contents undefined, except host memory: zero. */
int nvidia_memory_create(struct nvidia_device *device, enum nvidia_memory_kind kind, uint64_t size_bytes,
                         struct nvidia_memory *out);
/* Make pages that the program owns visible to the GPU; va and size_bytes are multiples of 4096. They stay the caller's. */
int nvidia_memory_import(struct nvidia_device *device, void *va, uint64_t size_bytes, struct nvidia_memory *out);
void nvidia_memory_destroy(struct nvidia_device *device, struct nvidia_memory *memory);

/* ---- semaphores (timeline.c) ----------------------------------------------------------------------------------- */

/* One 64-bit value in host memory that both sides read and write, on a cache line of its own. */
struct nvidia_semaphore {
    _Atomic uint64_t *value;
    uint64_t gva;
};
int nvidia_semaphore_create(struct nvidia_device *device, struct nvidia_semaphore *out); /* value 0 */
void nvidia_semaphore_destroy(struct nvidia_device *device, struct nvidia_semaphore *semaphore);

/* ---- channels (channel.c) -------------------------------------------------------------------------------------- */

#define NVIDIA_GPFIFO_ENTRIES 1024
#define NVIDIA_PUSH_BYTES     (256 * 1024)
#define NVIDIA_LAUNCH_BYTES   (1024 * 1024)
/* Launch data comes in slots: the QMD, then constant bank 0. A launch with many arguments takes several in a row. */
#define NVIDIA_SLOT_BYTES     2048
#define NVIDIA_SLOT_BANK0     512
#define NVIDIA_SLOTS          (NVIDIA_LAUNCH_BYTES / NVIDIA_SLOT_BYTES)

/* Channels that are scheduled together and die together. */
struct nvidia_group {
    struct nvidia_group *next;
    uint32_t engine_type;
    uint32_t handle, context_share;
    unsigned channel_count;
    bool is_dead; /* a channel faulted: no new channels; freed with the last queue */
};

struct nvidia_channel {
    struct nvidia_group *group;
    uint32_t handle, object, debugger;
    uint32_t token;                /* what the doorbell wants */
    struct nvidia_memory rings;    /* GPFIFO, USERD, push buffer, launch data, in VRAM */
    struct nvidia_memory notifier; /* where RM reports the channel's death */
    uint64_t *gpfifo;
    uint32_t *gp_put_register;
    uint32_t gp_put;               /* counts up forever */
    uint8_t *push_cpu, *launch_cpu;
    uint64_t push_gva, launch_gva;
};

/* A run of push buffer words, for one GPFIFO entry. */
struct nvidia_segment {
    uint64_t gva;
    unsigned dwords;
};
#define NVIDIA_SEGMENTS_MAX 8

int nvidia_channel_create(struct nvidia_device *device, uint32_t engine_type, struct nvidia_channel *channel);
/* kill: take the whole group off the GPU, whatever it is running. */
void nvidia_channel_destroy(struct nvidia_device *device, struct nvidia_channel *channel, bool kill);
/* Put entries into the GPFIFO and ring the doorbell once; the caller has made sure that there is room. */
void nvidia_channel_submit(struct nvidia_device *device, struct nvidia_channel *channel,
                           const struct nvidia_segment *segments, unsigned count);
/* The ROBUST_CHANNEL_ code of the channel's death, or 0 while it lives. */
uint32_t nvidia_channel_error(const struct nvidia_channel *channel);

/* ---- modules (module.c) ---------------------------------------------------------------------------------------- */

struct nvidia_module {
    struct gpu_module base;
    uint8_t *bytes; /* the file */
    struct cubin cubin;
    struct cubin_kernel *kernels;
    struct nvidia_memory code; /* image in VRAM, mapped */
};

struct nvidia_kernel {
    struct gpu_kernel base;
    uint32_t bank0_bytes, args_offset;
    uint32_t shared_static, local_bytes, register_count;
    uint32_t qmd[QMD_DWORDS_MAX]; /* everything that does not depend on the launch */
};

/* ---- queues (queue.c) ------------------------------------------------------------------------------------------ */

enum nvidia_work { NVIDIA_WORK_NONE, NVIDIA_WORK_COMPUTE, NVIDIA_WORK_COPY };

struct nvidia_submission {
    uint64_t fence;                        /* complete when the queue's fence has this value ... */
    uint64_t push_end, launch_end, gp_end; /* ... and then the rings are free up to here */
};

struct nvidia_queue {
    struct gpu_queue base;
    struct nvidia_queue *next;
    struct nvidia_channel channel;
    struct nvidia_semaphore fence;  /* counts completed groups of commands */
    uint64_t fence_next;            /* last value that was asked for */
    uint64_t fence_submitted;
    bool needs_fence;               /* there are commands behind the last fence */
    enum nvidia_work last_work;     /* what ran last and has not been waited for */
    uint64_t local_generation;      /* local memory that the channel was told of */
    uint64_t code_generation;       /* loads of code that its instruction caches have been cleared after */
    bool is_set_up;

    /* Rings; positions count bytes forever. */
    uint64_t push_head, push_start, push_tail; /* free from, start of what is not submitted, end */
    uint64_t launch_head, launch_tail;
    uint16_t slot_header[NVIDIA_SLOTS]; /* bytes of bank 0 before the arguments that are as they should be; 0: garbage */
    uint64_t gp_put, gp_done;       /* GPFIFO entries written, and known to be done */
    struct nvidia_segment segments[NVIDIA_SEGMENTS_MAX]; /* recorded, not submitted */
    unsigned segment_count;
    struct nvidia_submission submissions[NVIDIA_GPFIFO_ENTRIES];
    uint64_t submission_put, submission_get;

    /* The launch whose QMD may still be changed: it is in the push buffer or chained, but not submitted. */
    uint32_t open_qmd[QMD_DWORDS_MAX];
    uint64_t open_qmd_position;
    unsigned open_releases;
    bool has_open_qmd;

    const struct gpu_kernel *last_kernel; /* for fault messages */
};

int nvidia_queue_wait_fence(struct nvidia_queue *queue, uint64_t fence, uint64_t deadline_ns);

struct nvidia_timeline {
    struct gpu_timeline base;
    struct nvidia_semaphore semaphore;
};

/* ---- faults (fault.c) ------------------------------------------------------------------------------------------ */

/* Look whether RM has taken channels down; marks their queues. Cheap: reads memory only unless something happened. */
void nvidia_fault_poll(struct nvidia_device *device);
/* Look whether the device is still there; one that is not becomes unusable. Call with the device locked. */
void nvidia_look(struct nvidia_device *device);

/* ---- the device (nvidia.c) ------------------------------------------------------------------------------------- */

struct nvidia_buffer {
    struct gpu_buffer base;
    struct nvidia_memory memory;
};

#define NVIDIA_COPY_ENGINES_MAX 20

struct nvidia_device {
    struct gpu_device base;
    unsigned index; /* the transport's */
    struct rm rm;
    struct mutex lock; /* RM calls, lists, address space */
    const struct nvidia_chip *chip;
    uint32_t sm_version; /* 0x900 for sm_90 */
    uint32_t gpc_count, tpc_per_gpc, sm_per_tpc, warps_per_sm; /* what the architecture has at most ... */
    uint32_t tpc_count;                                        /* ... and what this device has */
    uint32_t vaspace, address_space, usermode;
    struct rm_cpu_map usermode_map;
    volatile uint32_t *doorbell;
    struct va_space va;
    uint32_t copy_engines[NVIDIA_COPY_ENGINES_MAX]; /* NV2080_ENGINE_TYPE of those with a runlist of their own */
    unsigned copy_engine_count, copy_engine_next;
    struct gpu_kernel *copy_kernel, *fill_kernel; /* faster than a copy engine inside the device, and for small pieces */
    struct nvidia_group *groups;
    struct nvidia_queue *queues;
    struct nvidia_semaphore_block *semaphore_blocks;
    uint64_t memory_used_bytes;

    /* Local memory of all threads that can be resident; only grows. */
    struct nvidia_memory local;
    struct nvidia_memory local_old[16]; /* smaller ones before; queues may still run with them */
    unsigned local_old_count;
    uint32_t local_bytes_per_thread;
    uint64_t local_bytes_per_tpc, local_generation;
    uint64_t code_generation; /* counts loads of code */
};

extern const struct gpu_ops nvidia_ops;

/* 86 for sm_86. RM numbers GB20x 10.4, what everybody else calls 12.0 (tinygrad, runtime/ops_nv.py). */
static inline uint32_t nvidia_device_sm(const struct nvidia_device *device)
{
    return device->sm_version == 0xa04 ? 120 : (device->sm_version >> 8 & 0xff) * 10 + (device->sm_version & 0xf);
}

/* Where generic addresses mean shared and local memory: 16 MiB windows above everything that va_space gives out. */
#define NVIDIA_SHARED_WINDOW_GVA UINT64_C(0x729400000000)
#define NVIDIA_LOCAL_WINDOW_GVA  UINT64_C(0x729300000000)
/* Where a thread's stack begins in the local window; what lies above it is the hardware's. */
#define NVIDIA_STACK_TOP      UINT32_C(0xfffdc0)
#define NVIDIA_STACK_RESERVED (UINT32_C(0x1000000) - NVIDIA_STACK_TOP)

/* check.c: run a kernel and a copy; 0, or a negative errno and why, for people. */
int nvidia_check(struct nvidia_device *device, char *why, size_t why_bytes);

/* Make local memory for kernels with this much per thread; 0 or -ENOMEM. */
int nvidia_local_ensure(struct nvidia_device *device, uint32_t bytes_per_thread);

int nvidia_queue_create(struct gpu_queue *queue);
void nvidia_queue_destroy(struct gpu_queue *queue);
int nvidia_queue_launch(struct gpu_queue *queue, struct gpu_kernel *kernel, const struct gpu_launch *launch);
int nvidia_queue_copy(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset, uint64_t dst_pitch,
                      const struct gpu_buffer *src, uint64_t src_offset, uint64_t src_pitch, uint64_t row_bytes,
                      uint64_t rows);
int nvidia_queue_fill(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t offset, uint64_t size_bytes,
                      uint32_t pattern);
int nvidia_queue_signal(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
int nvidia_queue_wait(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
int nvidia_queue_submit(struct gpu_queue *queue);
int nvidia_queue_status(struct gpu_queue *queue);
bool nvidia_queue_is_idle(struct nvidia_queue *queue);

int nvidia_timeline_create(struct gpu_timeline *timeline);
void nvidia_timeline_destroy(struct gpu_timeline *timeline);
uint64_t nvidia_timeline_value(const struct gpu_timeline *timeline);
void nvidia_timeline_signal(struct gpu_timeline *timeline, uint64_t value);
int nvidia_timeline_wait(struct gpu_timeline *timeline, uint64_t value, uint64_t deadline_ns);
void nvidia_semaphore_blocks_free(struct nvidia_device *device);

int nvidia_module_load(struct gpu_module *module, const void *image, size_t size_bytes);
void nvidia_module_unload(struct gpu_module *module);
int nvidia_kernel_find(struct gpu_kernel *kernel);
/* The kernels of gpu/kernels for this device's architecture; -ENOEXEC when they were not built. */
int nvidia_module_load_builtin(struct nvidia_device *device);

#endif
