/*
 * tests/hw/device/kernels.c: kernels that only the hardware tests use. Device code only: there is no CPU build of them.
 */
#include "gpu/kernels/kernel.h"
#include "tests/hw/device/kernels.h"

KERNEL(count_blocks)
{
    uint64_t index = BLOCK_INDEX_X + (uint64_t)ARGS->grid_x *
                                         (BLOCK_INDEX_Y + (uint64_t)ARGS->grid_y * BLOCK_INDEX_Z);
    FOR_THREADS (t) {
        if (t == 0) {
            __atomic_fetch_add(&ARGS->count[0], 1, __ATOMIC_RELAXED);
            __atomic_fetch_add(&ARGS->count[1], index + 1, __ATOMIC_RELAXED);
        }
    }
}

SHARED(uint32_t, mirror_words, 1024);
KERNEL(mirror)
{
    uint64_t base = (uint64_t)BLOCK_INDEX_X * BLOCK_THREADS;
    FOR_THREADS (t) {
        mirror_words[t] = ARGS->in[base + t];
    }
    uint32_t word = 0;
    for (uint32_t round = 0; round < ARGS->rounds; round++) {
        FOR_THREADS (t) {
            word = mirror_words[BLOCK_THREADS - 1 - t];
        }
        FOR_THREADS (t) {
            mirror_words[t] = word;
        }
    }
    FOR_THREADS (t) {
        ARGS->out[base + t] = mirror_words[t];
    }
}

extern __attribute__((address_space(3))) uint32_t dynamic_words[];
KERNEL(dynamic_shared)
{
    FOR_THREADS (t) {
        for (uint32_t i = t; i < ARGS->words; i += BLOCK_THREADS)
            dynamic_words[i] = i * 2654435761u + BLOCK_INDEX_X;
    }
    FOR_THREADS (t) {
        uint64_t sum = 0;
        for (uint32_t i = t; i < ARGS->words; i += BLOCK_THREADS)
            sum += dynamic_words[ARGS->words - 1 - i];
        __atomic_fetch_add(&ARGS->out[BLOCK_INDEX_X], sum, __ATOMIC_RELAXED);
    }
}

#define LOCAL_WALK(words) \
    uint64_t base = (uint64_t)BLOCK_INDEX_X * BLOCK_THREADS; \
    FOR_THREADS (t) { \
        volatile uint32_t local[words]; \
        for (uint32_t i = 0; i < (words); i++) \
            local[i] = i * 2654435761u ^ (ARGS->seed + (uint32_t)(base + t)); \
        uint32_t at = ARGS->seed % (words); \
        for (uint32_t i = 0; i < ARGS->steps; i++) { \
            uint32_t next = local[at]; \
            local[at] = next * 1664525u + i; \
            at = next % (words); \
        } \
        ARGS->out[base + t] = local[at]; \
    }
KERNEL_WITH(local_walk_256, struct local_walk_args){
    LOCAL_WALK(256)} KERNEL_WITH(local_walk_4096, struct local_walk_args){LOCAL_WALK(4096)}

#define ARGUMENT_KERNEL(size) \
    KERNEL(arguments_##size) \
    { \
        FOR_THREADS (t) { \
            uint64_t sum = 0; \
            for (uint32_t i = t; i < (size); i += BLOCK_THREADS) \
                sum += (uint64_t)(i + 1) * ARGS->data[i]; \
            __atomic_fetch_add(ARGS->out, sum, __ATOMIC_RELAXED); \
        } \
    }
ARGUMENT_SIZES(ARGUMENT_KERNEL)

    KERNEL(touch)
{
    FOR_THREADS (t) {
        if (t == 0) {
            if (ARGS->write)
                *(volatile uint32_t *)ARGS->address = ARGS->value;
            else
                *(volatile uint32_t *)ARGS->out = *(volatile uint32_t *)ARGS->address;
        }
    }
}

KERNEL(spin)
{
    FOR_THREADS (t) {
        while (*ARGS->flag == 0)
            ;
    }
}

KERNEL(add_words)
{
    uint64_t i = (uint64_t)BLOCK_INDEX_X * BLOCK_THREADS;
    FOR_THREADS (t) {
        if (i + t < ARGS->count)
            ARGS->out[i + t] += ARGS->in[i + t];
    }
}

KERNEL(slow_add)
{
    uint64_t i = (uint64_t)BLOCK_INDEX_X * BLOCK_THREADS;
    FOR_THREADS (t) {
        if (i + t < ARGS->count) {
            uint32_t x = ARGS->in[i + t];
            for (uint32_t round = 0; round < ARGS->rounds; round++)
                x = x * x * 1664525u + 1013904223u;
            ARGS->out[i + t] += x;
        }
    }
}

KERNEL(many_registers)
{
    FOR_THREADS (t) {
        double value[96];
#pragma unroll
        for (int i = 0; i < 96; i++)
            value[i] = ARGS->data[i] + t;
        for (uint32_t round = 0; round < ARGS->rounds; round++) {
#pragma unroll
            for (int i = 0; i < 96; i++)
                value[i] = value[i] * value[(i + 1) % 96] + value[(i + 7) % 96];
        }
        double sum = 0;
#pragma unroll
        for (int i = 0; i < 96; i++)
            sum += value[i];
        ARGS->data[96 + t] = sum;
    }
}

typedef uint32_t words4 __attribute__((ext_vector_type(4)));
KERNEL(stream)
{
    uint64_t base = (uint64_t)BLOCK_INDEX_X * BLOCK_THREADS;
    FOR_THREADS (t) {
        if (base + t < ARGS->count)
            ((words4 *)ARGS->out)[base + t] = ((const words4 *)ARGS->in)[base + t];
    }
}
