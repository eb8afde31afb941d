/*
 * gpu/kernels/kernel.h: the dialect in which device code is written, one C source for every backend.
 *
 * A kernel describes what one block of threads does, as a sequence of phases. A phase, FOR_THREADS(t) { ... }, runs its body
 * once for each thread of the block; all threads finish a phase before the next one starts. On a GPU each thread runs the
 * body with its own t and a barrier ends the phase; on a CPU the phase is a loop over t that the compiler vectorises, so a
 * kernel needs no barrier and no threads there. What a thread keeps from one phase to the next lives in a PRIVATE variable
 * or in SHARED memory. Code outside a phase must be the same for every thread (no side effects).
 *
 *     struct saxpy_args { uint64_t n; const float *x; float *y; float a; };
 *     KERNEL(saxpy)
 *     {
 *         uint64_t base = (uint64_t)BLOCK_INDEX_X * BLOCK_THREADS;
 *         FOR_THREADS (t) {
 *             if (base + t < ARGS->n)
 *                 ARGS->y[base + t] += ARGS->a * ARGS->x[base + t];
 *         }
 *     }
 *
 * The argument struct is the kernel's only parameter. Pointers in it are GPU virtual addresses (gpu_buffer.gva). It has the C
 * layout, which x86-64 and nvptx64 share.
 */
#ifndef INGOT_GPU_KERNEL_H
#define INGOT_GPU_KERNEL_H

#include <stdint.h>

#define KERNEL_BLOCK_THREADS_MAX 1024

#if defined(__NVPTX__)

#define KERNEL(name)                                                                                                \
    __attribute__((nvptx_kernel)) void name(const struct name##_args args_by_value);                                 \
    __attribute__((nvptx_kernel)) void name(const struct name##_args args_by_value)
#define ARGS (&args_by_value)
#define BLOCK_INDEX_X __nvvm_read_ptx_sreg_ctaid_x()
#define BLOCK_INDEX_Y __nvvm_read_ptx_sreg_ctaid_y()
#define BLOCK_INDEX_Z __nvvm_read_ptx_sreg_ctaid_z()
#define GRID_BLOCKS_X __nvvm_read_ptx_sreg_nctaid_x()
#define GRID_BLOCKS_Y __nvvm_read_ptx_sreg_nctaid_y()
#define BLOCK_THREADS __nvvm_read_ptx_sreg_ntid_x()
#define FOR_THREADS(t)                                                                                              \
    for (uint32_t t = __nvvm_read_ptx_sreg_tid_x(), phase_done_ = 0; !phase_done_; phase_done_ = 1, __syncthreads_())
#define __syncthreads_() __nvvm_bar_sync(0)
#define PRIVATE(type, name) type name##_private
#define P(name, t) name##_private
#define SHARED(type, name, count) static __attribute__((address_space(3))) type name[count]

#else

struct kernel_block {
    uint32_t index_x, index_y, index_z, grid_x, grid_y, threads;
};
#define KERNEL(name)                                                                                                \
    void KERNEL_SYMBOL(name)(const struct name##_args *args_, const struct kernel_block *block_);                    \
    void KERNEL_SYMBOL(name)(const struct name##_args *args_, const struct kernel_block *block_)
/* KERNEL_SYMBOL is set per instruction-set build: kernel_saxpy_avx2 and so on. */
#define ARGS args_
#define BLOCK_INDEX_X block_->index_x
#define BLOCK_INDEX_Y block_->index_y
#define BLOCK_INDEX_Z block_->index_z
#define GRID_BLOCKS_X block_->grid_x
#define GRID_BLOCKS_Y block_->grid_y
#define BLOCK_THREADS block_->threads
#define FOR_THREADS(t) for (uint32_t t = 0; t < block_->threads; t++)
#define PRIVATE(type, name) type name##_private[KERNEL_BLOCK_THREADS_MAX]
#define P(name, t) name##_private[t]
#define SHARED(type, name, count) type name[count] /* on the worker's stack: keep below 64 KiB */

#endif

#endif
