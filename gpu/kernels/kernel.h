/*
 * gpu/kernels/kernel.h: the dialect in which device code is written, one C source for every backend.
 *
 * A kernel describes what one block of threads does, as a sequence of phases. A phase, FOR_THREADS (t) { ... }, runs its
 * body once for each thread of the block; all threads finish a phase before the next one starts. On a GPU each thread runs
 * the body with its own t and a barrier ends the phase; on a CPU the phase is a loop over t that the compiler vectorises,
 * so a kernel needs no barrier and no threads there. What a thread keeps from one phase to the next lives in a PRIVATE
 * variable or in SHARED memory. Code outside a phase must be the same for every thread (no side effects).
 *
 *     struct saxpy_args { const float *x; float *y; uint64_t count; float a; };
 *     KERNEL(saxpy)
 *     {
 *         uint64_t begin = (uint64_t)BLOCK_INDEX_X * BLOCK_ELEMENTS;
 *         uint64_t end = smaller_u64(begin + BLOCK_ELEMENTS, ARGS->count);
 *         FOR_RANGE (t, i, begin, end)
 *             ARGS->y[i] += ARGS->a * ARGS->x[i];
 *     }
 *
 * FOR_RANGE (t, i, begin, end) is a phase, too: it runs its body for every i of the range, neighbouring i on neighbouring
 * threads, each thread's in rising order. So every device adds up a thread's share in the same order, and a sum is the
 * same on all of them.
 *
 * A KERNEL_FUNCTION may have phases, too: it takes `const struct kernel_block *block_` first, and is called with BLOCK. What
 * points to SHARED memory is a SHARED_POINTER(type).
 *
 * The argument struct is the kernel's only parameter. Pointers in it are GPU virtual addresses (gpu_buffer.gva). It has the
 * C layout, which x86-64 and nvptx64 share. Data that comes from files may lie at any address: read it with load_u8() to
 * load_u64(). Blocks have one dimension of threads.
 */
#ifndef INGOT_GPU_KERNEL_H
#define INGOT_GPU_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#define KERNEL_BLOCK_THREADS_MAX 256 /* our own kernels' limit: PRIVATE is an array of so many on
                                        a CPU; PRIVATE_FOR says that fewer threads will do */

#define KERNEL(name) KERNEL_WITH(name, struct name##_args)

#if defined(__NVPTX__)

struct kernel_block;
/* A kernel whose argument struct has another name than its own. */
#define KERNEL_WITH(name, args_type)                                                               \
    __attribute__((nvptx_kernel)) void name(const args_type args_by_value);                        \
    __attribute__((nvptx_kernel)) void name(const args_type args_by_value)
#define ARGS (&args_by_value)
#define BLOCK_INDEX_X ((uint32_t)__nvvm_read_ptx_sreg_ctaid_x())
#define BLOCK_INDEX_Y ((uint32_t)__nvvm_read_ptx_sreg_ctaid_y())
#define BLOCK_INDEX_Z ((uint32_t)__nvvm_read_ptx_sreg_ctaid_z())
#define GRID_BLOCKS_X ((uint32_t)__nvvm_read_ptx_sreg_nctaid_x())
#define GRID_BLOCKS_Y ((uint32_t)__nvvm_read_ptx_sreg_nctaid_y())
#define BLOCK_THREADS ((uint32_t)__nvvm_read_ptx_sreg_ntid_x())
#define FOR_THREADS(t)                                                                             \
    for (__attribute__((unused)) uint32_t t = (uint32_t)__nvvm_read_ptx_sreg_tid_x(),              \
                                          phase_done_ = 0;                                         \
         !phase_done_; phase_done_ = 1, __nvvm_bar_sync(0))
#define FOR_RANGE(t, i, begin, end)                                                                \
    FOR_THREADS (t)                                                                                \
        for (uint64_t i = (begin) + t; i < (end); i += BLOCK_THREADS)
#define PRIVATE_FOR(threads, type, name) type name##_private
#define P(name, t) name##_private
#define KERNEL_FUNCTION __attribute__((always_inline)) static inline
#define BLOCK ((const struct kernel_block *)0)
#define SHARED_POINTER(type) __attribute__((address_space(3))) type *
/* Not zeroed, as shared memory is: hence loader_uninitialized. */
#define SHARED(type, name, count)                                                                  \
    static __attribute__((address_space(3), loader_uninitialized)) type name[count]

#else

struct kernel_block {
    uint32_t index_x, index_y, index_z, grid_x, grid_y, threads;
};
typedef void kernel_function(const void *args, const struct kernel_block *block);

/* The Makefile compiles every file once per instruction set, with KERNEL_ISA set to sse2, avx2 or avx512. */
#define KERNEL_SYMBOL_(name, isa) kernel_##name##_##isa
#define KERNEL_SYMBOL__(name, isa) KERNEL_SYMBOL_(name, isa)
#define KERNEL_SYMBOL(name) KERNEL_SYMBOL__(name, KERNEL_ISA)

#define KERNEL_WITH(name, args_type)                                                               \
    static inline __attribute__((always_inline)) void name##_body(                                 \
        const args_type *args_, const struct kernel_block *block_);                                \
    kernel_function KERNEL_SYMBOL(name);                                                           \
    void KERNEL_SYMBOL(name)(const void *args, const struct kernel_block *block)                   \
    {                                                                                              \
        name##_body(args, block);                                                                  \
    }                                                                                              \
    static inline void name##_body(const args_type *args_, const struct kernel_block *block_)
#define ARGS args_
#define BLOCK_INDEX_X block_->index_x
#define BLOCK_INDEX_Y block_->index_y
#define BLOCK_INDEX_Z block_->index_z
#define GRID_BLOCKS_X block_->grid_x
#define GRID_BLOCKS_Y block_->grid_y
#define BLOCK_THREADS block_->threads
#define FOR_THREADS(t) for (uint32_t t = 0, threads_ = BLOCK_THREADS; t < threads_; t++)
#define FOR_RANGE(t, i, begin, end)                                                                \
    for (uint64_t base_ = (begin), end_ = (end), threads_ = BLOCK_THREADS; base_ < end_;           \
         base_ += threads_)                                                                        \
        for (uint32_t t = 0, left_ = (uint32_t)smaller_u64(end_ - base_, threads_); t < left_; t++)    \
            for (uint64_t i = base_ + t, once_ = 0; once_ == 0; once_ = 1)
#define PRIVATE_FOR(threads, type, name) type name##_private[threads]
#define KERNEL_FUNCTION __attribute__((noinline)) static
#define BLOCK block_
#define SHARED_POINTER(type) type *
#define P(name, t) name##_private[t]
#define SHARED(type, name, count) type name[count] /* on the worker's stack (gpu/cpu: 640 KiB) */

#endif

#define PRIVATE(type, name) PRIVATE_FOR(KERNEL_BLOCK_THREADS_MAX, type, name)

static inline uint64_t smaller_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- little-endian loads from any address ---------------------------------------------------------------------- */

static inline uint8_t load_u8(const void *at)
{
    return *(const uint8_t *)at;
}

#if defined(__NVPTX__)

/* A GPU faults on a misaligned access, so these go by bytes where they must. */
static inline uint16_t load_u16(const void *at)
{
    if (((uintptr_t)at & 1) == 0)
        return *(const uint16_t *)at;
    const uint8_t *byte = at;
    return (uint16_t)(byte[0] | byte[1] << 8);
}

static inline uint32_t load_u32(const void *at)
{
    if (((uintptr_t)at & 3) == 0)
        return *(const uint32_t *)at;
    return load_u16(at) | (uint32_t)load_u16((const uint8_t *)at + 2) << 16;
}

static inline uint64_t load_u64(const void *at)
{
    if (((uintptr_t)at & 7) == 0)
        return *(const uint64_t *)at;
    return load_u32(at) | (uint64_t)load_u32((const uint8_t *)at + 4) << 32;
}

#else

static inline uint16_t load_u16(const void *at)
{
    uint16_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint32_t load_u32(const void *at)
{
    uint32_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t load_u64(const void *at)
{
    uint64_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}

#endif

static inline float float_of_bits(uint32_t bits)
{
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline double double_of_bits(uint64_t bits)
{
    double value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
}

#endif
