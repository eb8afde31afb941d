/*
 * gpu/cpu/cpu.h: the worker cores as a device, private to gpu/cpu.
 *
 *   cpu.c          the device, its memory, its timelines
 *   cpu_queue.c    queues: rings of commands, and the recording of them
 *   cpu_worker.c   who runs the commands: one worker task per core, blocks spread over them
 *   cpu_kernels.c  the built-in kernels, one table per instruction set
 */
#ifndef INGOT_GPU_CPU_H
#define INGOT_GPU_CPU_H

#include "gpu/gpu_backend.h"
#include "gpu/kernels/kernel.h"

#define CPU_QUEUE_MAX 256      /* queues alive at a time */
#define CPU_QUEUE_DEPTH 128    /* commands recorded and not yet complete, per queue */
#define CPU_ARGS_BYTES_MAX 128 /* of a kernel's arguments */

struct cpu_kernel_entry {
    const char *name;
    kernel_function *function;
    uint32_t args_bytes;
};
/* The best instruction set that the CPU has: "sse2", "avx2" or "avx512"; and the table of one set, NULL if unknown. */
const char *cpu_kernels_best(void);
const struct cpu_kernel_entry *cpu_kernels_for(const char *instruction_set);
/* Run the device's kernels from this set, which the CPU must have (tests compare them). Not while anything runs. */
void cpu_kernels_use(const char *instruction_set);

/* The set's `fill`, for gpu_fill(). */
extern kernel_function *cpu_fill_kernel;

struct cpu_kernel {
    struct gpu_kernel base;
    kernel_function *function;
};

struct cpu_timeline {
    struct gpu_timeline base;
    _Atomic uint64_t value;
};

enum cpu_command_kind { CPU_LAUNCH, CPU_COPY, CPU_FILL, CPU_SIGNAL, CPU_WAIT };

/* One command. Launches, copies and fills are done in chunk_count chunks of chunk_units (blocks, bytes or rows, words). */
struct cpu_command {
    enum cpu_command_kind kind;
    uint32_t chunk_count;
    uint64_t chunk_units, units;
    union {
        struct {
            kernel_function *function;
            uint32_t grid[3], threads;
            _Alignas(16) uint8_t args[CPU_ARGS_BYTES_MAX];
        } launch;
        struct {
            uint8_t *dst;
            const uint8_t *src;
            uint64_t dst_pitch, src_pitch, row_bytes; /* row_bytes 0: one run, units are bytes; else units are rows */
        } copy;
        struct {
            uint32_t *dst;
            uint32_t pattern;
        } fill;
        struct {
            struct cpu_timeline *timeline;
            uint64_t value;
        } sync;
    };
};

/*
 * A queue. Counters count commands since creation; a command's place in the ring is its number modulo the depth.
 * recorded >= submitted >= completed. The command numbered `completed` is the current one; when is_running, its chunks are
 * handed out through `claim`, which holds the low bits of the command's number, its chunk count, and the next chunk, so
 * that a worker that read it late can never take a chunk of another command.
 */
struct cpu_queue {
    struct gpu_queue base;
    unsigned slot; /* in device.queue[] */
    uint64_t recorded;
    _Atomic uint64_t submitted, completed;
    _Atomic uint64_t claim;
    _Atomic uint32_t chunks_done;
    struct spinlock lock; /* the setting of is_running, completed and claim */
    _Atomic bool is_running;
    struct cpu_command ring[CPU_QUEUE_DEPTH];
};
#define CPU_CLAIM_NEXT BITS(19, 0)
#define CPU_CLAIM_COUNT BITS(39, 20)
#define CPU_CLAIM_NUMBER BITS(63, 40)
#define CPU_CHUNK_COUNT_MAX 0x7ffffu

struct cpu_device {
    struct gpu_device base;
    unsigned worker_count;
    _Atomic uint64_t memory_used;
    /* A worker that looks at queue[i] is counted in queue_users[i] meanwhile, so that the queue is not freed under it. */
    _Atomic(struct cpu_queue *) queue[CPU_QUEUE_MAX];
    _Atomic uint32_t queue_users[CPU_QUEUE_MAX];
    _Atomic unsigned queue_slots; /* slots ever used: where a scan ends */
    struct event work;            /* something may have become runnable */
    struct event done;            /* a command completed or a timeline moved */
    _Atomic bool is_stopping;
    _Atomic unsigned workers_alive;
};
extern struct cpu_device cpu_device;

int cpu_queue_create(struct gpu_queue *queue);
void cpu_queue_destroy(struct gpu_queue *queue);
int cpu_launch(struct gpu_queue *queue, struct gpu_kernel *kernel, const struct gpu_launch *launch);
int cpu_copy(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset, uint64_t dst_pitch,
             const struct gpu_buffer *src, uint64_t src_offset, uint64_t src_pitch, uint64_t row_bytes, uint64_t rows);
int cpu_fill(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t offset, uint64_t size_bytes, uint32_t pattern);
int cpu_signal(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
int cpu_wait(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value);
int cpu_submit(struct gpu_queue *queue);
void cpu_queue_cancel(struct gpu_queue *queue);
int cpu_idle(struct gpu_device *device, uint64_t deadline_ns);

int cpu_workers_start(void);
void cpu_workers_stop(void);
/* Start the queue's next command, or carry out the signals and met waits at its head. Any core. */
void cpu_queue_advance(struct cpu_queue *queue);
/* Raise a timeline and let everything that waits look again. */
void cpu_timeline_raise(struct cpu_timeline *timeline, uint64_t value);

#endif
