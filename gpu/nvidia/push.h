/*
 * gpu/nvidia/push.h: the words of a push buffer: methods for the host engine, the compute engine and the copy engines.
 *
 * A push buffer is a run of method headers, each followed by its data; a GPFIFO entry points at it. These are pure encoders:
 * each appends one whole command to a struct push. Every command is a typed struct; what is wrong with one is an assertion
 * here, because gpu.c and queue.c have checked what users gave.
 */
#ifndef INGOT_GPU_NVIDIA_PUSH_H
#define INGOT_GPU_NVIDIA_PUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/nvidia/qmd.h"

#define PUSH_DWORDS_MAX 128 /* more than the longest sequence that queue.c puts together at once */

struct push {
    uint32_t dword[PUSH_DWORDS_MAX];
    unsigned count;
};

/* GPFIFO entry: run `dwords` push buffer words at gva (4-byte aligned). */
uint64_t push_gpfifo_entry(uint64_t gva, unsigned dwords);
#define GPFIFO_ENTRY_DWORDS_MAX ((1u << 21) - 1)

void push_set_object(struct push *push, unsigned subchannel, uint32_t class_id);
#define PUSH_SUBCHANNEL_COMPUTE 1
#define PUSH_SUBCHANNEL_COPY    4 /* where the driver expects copy objects */

/* ---- semaphores in memory, by the host engine ---- */

enum push_payload { PUSH_PAYLOAD_32, PUSH_PAYLOAD_64 };
struct push_release {
    uint64_t gva, value;
    enum push_payload payload; /* a 64-bit address is 8-byte aligned, 16 with a time stamp */
    bool wait_idle;            /* first wait until the engine has finished what came before */
    bool timestamp;            /* also write the GPU's time in ns, 8 bytes after the address */
};
void push_semaphore_release(struct push *push, const struct push_release *release);
/* The host engine interrupts the CPU when it comes to this: behind a release that waits for idle, when all is done. */
void push_notify(struct push *push);
/* Wait until *gva >= value, unsigned; meanwhile other channels of the group run. */
void push_semaphore_acquire(struct push *push, uint64_t gva, uint64_t value, enum push_payload payload);

/* ---- compute ---- */

struct push_compute_setup {
    uint32_t class_id;
    uint64_t shared_window_gva, local_window_gva; /* where generic addresses mean shared and local memory; 16 MiB each */
};
void push_compute_setup(struct push *push, const struct push_compute_setup *setup);
void push_local_memory(struct push *push, uint64_t gva, uint64_t bytes_per_tpc);
void push_launch(struct push *push, enum qmd_version version, uint64_t qmd_gva);
void push_wait_for_idle(struct push *push);
void push_invalidate_shader_caches(struct push *push); /* instructions, data and constants */

/* ---- copy ---- */

struct push_copy {
    uint64_t src_gva, dst_gva;
    uint64_t src_pitch, dst_pitch; /* below 2^32; used when rows > 1 */
    uint32_t row_bytes, rows;
    bool is_pipelined; /* may overlap with the copy before it */
};
#define PUSH_COPY_ROW_BYTES_MAX (UINT32_C(1) << 31)
void push_copy(struct push *push, const struct push_copy *copy);
/* dst_gva 4-byte aligned; count words */
void push_fill(struct push *push, uint64_t dst_gva, uint32_t count, uint32_t pattern);
/* The copy engine's own release: after everything before it is complete and visible. */
void push_copy_release(struct push *push, uint64_t gva, uint64_t value);

#endif
