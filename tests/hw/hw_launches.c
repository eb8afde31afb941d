/*
 * tests/hw/hw_launches.c: launches: a million of them, grids up to the limit, arguments, shared and local memory, QMD limits.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu_backend.h"
#include "gpu/nvidia/device.h"
#include "tests/hw/device/kernels.h"
#include "tests/hw/hw.h"

/* No memory, handle or ring entry is lost: the same usage before and after, and the ring still takes work. */
static bool million_launches(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *in, *out;
    enum { WORDS = 64 };
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, WORDS * 4, &in) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, WORDS * 4, &out))
        return false;
    for (unsigned i = 0; i < WORDS; i++) {
        ((uint32_t *)in->cpu)[i] = i + 1;
        ((uint32_t *)out->cpu)[i] = 0;
    }
    struct add_words_args args = {(void *)in->gva, (void *)out->gva, WORDS};
    if (!hw_launch(hw, &stream, "add_words", 1, WORDS, 0, &args, sizeof(args)) ||
        !hw_stream_finish(hw, &stream))
        return false;
    struct hw_usage before = hw_usage(hw);
    unsigned launches = hw->is_quick ? 10000 : 1000000;
    for (unsigned i = 1; i < launches; i++) {
        if (!hw_launch(hw, &stream, "add_words", 1, WORDS, 0, &args, sizeof(args)))
            return false;
        if (hw_random(hw) % 8 == 0)
            HW_OK(gpu_submit(stream.queue)); /* batches of random length */
    }
    if (!hw_stream_finish(hw, &stream))
        return false;
    for (uint32_t i = 0; i < WORDS; i++)
        HW_CHECK(((uint32_t *)out->cpu)[i] == (i + 1) * launches, "word %u is %u, not %u", i,
                 ((uint32_t *)out->cpu)[i], (i + 1) * launches);
    if (!hw_usage_is(hw, &before))
        return false;
    hw_stream_close(&stream);
    gpu_free(in);
    gpu_free(out);
    return true;
}

static bool count_grid(struct hw *hw, struct hw_stream *stream, struct gpu_buffer *count,
                       uint32_t x, uint32_t y, uint32_t z)
{
    struct gpu_kernel *kernel;
    HW_OK(gpu_kernel_find(hw->module, "count_blocks", &kernel));
    HW_OK(gpu_fill(stream->queue, count, 0, 16, 0));
    struct count_blocks_args args = {(void *)count->gva, x, y};
    HW_OK(gpu_launch(
        stream->queue, kernel,
        &(struct gpu_launch){
            .grid = {x, y, z}, .block = {32, 1, 1}, .args = &args, .args_bytes = sizeof(args)}));
    if (!hw_stream_finish(hw, stream))
        return false;
    uint64_t got[2], blocks = (uint64_t)x * y * z;
    if (!hw_download(hw, got, count, 0, sizeof(got)))
        return false;
    uint64_t sum = blocks % 2 ? blocks * ((blocks + 1) / 2) : blocks / 2 * (blocks + 1);
    HW_CHECK(got[0] == blocks && got[1] == sum,
             "grid %u x %u x %u: %llu blocks ran, indices sum to %llx, not %llx", x, y, z,
             (unsigned long long)got[0], (unsigned long long)got[1], (unsigned long long)sum);
    return true;
}

static bool grids(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *count;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_VRAM, 4096, &count))
        return false;
    static const uint32_t shapes[][3] = {
        {1, 1, 1},       {2, 1, 1},     {131, 1, 1},   {132, 1, 1},   {133, 1, 1},
        {65535, 1, 1},   {65536, 1, 1}, {1, 65535, 1}, {1, 1, 65535}, {7, 11, 13},
        {1000003, 1, 1}, {3, 65535, 2}, {255, 3, 257},
    };
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++)
        if (!count_grid(hw, &stream, count, shapes[i][0], shapes[i][1], shapes[i][2]))
            return false;
    if (!hw->is_quick && !count_grid(hw, &stream, count, INT32_MAX, 1, 1))
        return false;
    hw_stream_close(&stream);
    gpu_free(count);
    return true;
}

#define ARGUMENT_CASE(size) {size, sizeof(struct arguments_##size##_args), "arguments_" #size},
static const struct {
    uint32_t data_bytes, struct_bytes;
    const char *kernel;
} argument_cases[] = {ARGUMENT_SIZES(ARGUMENT_CASE)};

static bool argument_blocks(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *out;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &out))
        return false;
    volatile uint64_t *sums = out->cpu;
    for (unsigned round = 0; round < 20; round++) {
        uint64_t wanted[ARRAY_COUNT(argument_cases)];
        for (size_t i = 0; i < ARRAY_COUNT(argument_cases); i++) { /* all in flight at once */
            uint8_t block[8192];
            uint64_t *where = (uint64_t *)(uintptr_t)(out->gva + i * 8);
            hw_fill_random(hw, block, sizeof(block));
            memcpy(block, &where, 8);
            sums[i] = wanted[i] = 0;
            for (uint32_t b = 0; b < argument_cases[i].data_bytes; b++)
                wanted[i] += (uint64_t)(b + 1) * block[8 + b];
            if (!hw_launch(hw, &stream, argument_cases[i].kernel, 1, 128, 0, block,
                           argument_cases[i].struct_bytes))
                return false;
        }
        if (!hw_stream_finish(hw, &stream))
            return false;
        for (size_t i = 0; i < ARRAY_COUNT(argument_cases); i++)
            HW_CHECK(sums[i] == wanted[i], "%u bytes of arguments arrived wrong",
                     argument_cases[i].data_bytes);
    }
    hw_stream_close(&stream);
    gpu_free(out);
    return true;
}

static bool shared_memory(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *in, *out;
    const uint32_t blocks = 777;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, blocks * 4096, &in) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, blocks * 4096, &out))
        return false;
    hw_fill_random(hw, in->cpu, blocks * 4096);
    for (uint32_t threads = 1; threads <= 1024; threads += threads < 64 ? 13 : 95) {
        for (uint32_t rounds = 6; rounds < 8; rounds++) { /* even: as it was; odd: mirrored */
            memset(out->cpu, 0xa5, blocks * 4096);
            struct mirror_args args = {(void *)in->gva, (void *)out->gva, rounds};
            if (!hw_launch(hw, &stream, "mirror", blocks, threads, 0, &args, sizeof(args)) ||
                !hw_stream_finish(hw, &stream))
                return false;
            for (uint32_t i = 0; i < blocks * threads; i++) {
                uint32_t from = rounds % 2 ? i / threads * threads + threads - 1 - i % threads : i;
                HW_CHECK(((uint32_t *)out->cpu)[i] == ((uint32_t *)in->cpu)[from],
                         "%u threads, %u rounds: word %u", threads, rounds, i);
            }
        }
    }
    hw_stream_close(&stream);
    gpu_free(in);
    gpu_free(out);
    return true;
}

static bool dynamic_shared(struct hw *hw)
{
    struct gpu_device_info info;
    gpu_device_info(hw->device, &info);
    struct hw_stream stream;
    struct gpu_buffer *out;
    const uint32_t blocks = 500;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, blocks * 8, &out))
        return false;
    uint32_t sizes[24], count = 0;
    for (uint32_t size = 4; size < info.shared_bytes_max && count < 20;
         size = size * 2 - 4 * (count % 2))
        sizes[count++] = size;
    sizes[count++] = info.shared_bytes_max - 4;
    sizes[count++] = info.shared_bytes_max;
    for (uint32_t s = 0; s < count; s++) {
        memset(out->cpu, 0, blocks * 8);
        struct dynamic_shared_args args = {(void *)out->gva, sizes[s] / 4};
        if (!hw_launch(hw, &stream, "dynamic_shared", blocks, 256, sizes[s], &args, sizeof(args)) ||
            !hw_stream_finish(hw, &stream))
            return false;
        for (uint32_t block = 0; block < blocks; block++) {
            uint64_t wanted = 0;
            for (uint32_t i = 0; i < sizes[s] / 4; i++)
                wanted += (uint32_t)(i * 2654435761u + block);
            HW_CHECK(((uint64_t *)out->cpu)[block] == wanted, "%u bytes of shared memory: block %u",
                     sizes[s], block);
        }
    }
    hw_stream_close(&stream);
    gpu_free(out);
    return true;
}

static uint32_t local_walk(uint32_t words, uint32_t thread, uint32_t seed, uint32_t steps,
                           uint32_t *local)
{
    for (uint32_t i = 0; i < words; i++)
        local[i] = i * 2654435761u ^ (seed + thread);
    uint32_t at = seed % words;
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t next = local[at];
        local[at] = next * 1664525u + i;
        at = next % words;
    }
    return local[at];
}

/* 1 KiB per thread, then 16 KiB, which makes the device's local memory grow, then 1 KiB again. */
static bool local_memory(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *out;
    const uint32_t blocks = 600, threads = 256;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, blocks * threads * 4, &out))
        return false;
    uint32_t *local = malloc(4096 * 4);
    assert(local != NULL);
    for (unsigned round = 0; round < 3; round++) {
        uint32_t words = round == 1 ? 4096 : 256;
        struct local_walk_args args = {(void *)out->gva, (uint32_t)hw_random(hw), 1000};
        memset(out->cpu, 0xa5, blocks * threads * 4);
        if (!hw_launch(hw, &stream, words == 256 ? "local_walk_256" : "local_walk_4096", blocks,
                       threads, 0, &args, sizeof(args)) ||
            !hw_stream_finish(hw, &stream))
            return false;
        for (uint32_t i = 0; i < blocks * threads; i += 101) {
            uint32_t wanted = local_walk(words, i, args.seed, args.steps, local);
            HW_CHECK(((uint32_t *)out->cpu)[i] == wanted, "%u words of local memory: thread %u",
                     words, i);
        }
    }
    free(local);
    hw_stream_close(&stream);
    gpu_free(out);
    return true;
}

/* Blocks of every shape that the limits allow, the largest bank 0, the most releases. */
static bool qmd_limits(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *count;
    struct gpu_kernel *kernel;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &count))
        return false;
    HW_OK(gpu_kernel_find(hw->module, "count_blocks", &kernel));
    static const uint32_t blocks[][3] = {{1, 1, 1},   {1024, 1, 1}, {1, 1024, 1}, {1, 1, 64},
                                         {16, 1, 64}, {1, 16, 64},  {32, 32, 1},  {1023, 1, 1}};
    struct gpu_timeline *more[4];
    for (size_t i = 0; i < ARRAY_COUNT(more); i++)
        HW_OK(gpu_timeline_create(hw->device, &more[i]));
    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        memset(count->cpu, 0, 16);
        struct count_blocks_args args = {(void *)count->gva, 5, 1};
        HW_OK(gpu_launch(stream.queue, kernel,
                         &(struct gpu_launch){.grid = {5, 1, 1},
                                              .block = {blocks[i][0], blocks[i][1], blocks[i][2]},
                                              .args = &args,
                                              .args_bytes = sizeof(args)}));
        /* More signals than a QMD has releases; values with all 64 bits. */
        for (size_t m = 0; m < ARRAY_COUNT(more); m++)
            HW_OK(gpu_signal(stream.queue, more[m], UINT64_MAX - 100 + i));
        if (!hw_stream_finish(hw, &stream))
            return false;
        /* Thread 0 along x counts: one for each y and z of the block. */
        uint64_t wanted = 5ull * blocks[i][1] * blocks[i][2];
        HW_CHECK(*(uint64_t *)count->cpu == wanted, "block %u x %u x %u: counted %llu, not %llu",
                 blocks[i][0], blocks[i][1], blocks[i][2],
                 (unsigned long long)*(uint64_t *)count->cpu, (unsigned long long)wanted);
        for (size_t m = 0; m < ARRAY_COUNT(more); m++)
            HW_CHECK(gpu_timeline_value(more[m]) == UINT64_MAX - 100 + i,
                     "signal %zu of a launch is %llx", m,
                     (unsigned long long)gpu_timeline_value(more[m]));
    }
    for (size_t i = 0; i < ARRAY_COUNT(more); i++)
        gpu_timeline_destroy(more[i]);
    hw_stream_close(&stream);
    gpu_free(count);
    return true;
}

/* Each launch of a chain reads what the one before it wrote; with copies and fills in between. */
static bool chains(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *a, *b, *out;
    const uint64_t words = 100003;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_VRAM, words * 4, &a) ||
        !hw_alloc(hw, GPU_MEMORY_VRAM, words * 4, &b) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, words * 4, &out))
        return false;
    for (unsigned round = 0; round < 20; round++) {
        uint32_t x = 1, y = 1;
        HW_OK(gpu_fill(stream.queue, a, 0, words * 4, x));
        HW_OK(gpu_fill(stream.queue, b, 0, words * 4, y));
        for (unsigned step = 0; step < 200;
             step++) { /* Fibonacci-like: a += b, b += a, sometimes b = a */
            struct add_words_args add = {(void *)(step % 2 ? a : b)->gva,
                                         (void *)(step % 2 ? b : a)->gva, words};
            if (!hw_launch(hw, &stream, "add_words", (uint32_t)((words + 255) / 256), 256, 0, &add,
                           sizeof(add)))
                return false;
            if (step % 2)
                y += x;
            else
                x += y;
            if (hw_random(hw) % 16 == 0) {
                HW_OK(gpu_copy(stream.queue, b, 0, a, 0, words * 4));
                y = x;
            }
            if (hw_random(hw) % 16 == 0)
                HW_OK(gpu_submit(stream.queue));
        }
        HW_OK(gpu_copy(stream.queue, out, 0, b, 0, words * 4));
        if (!hw_stream_finish(hw, &stream))
            return false;
        for (uint64_t i = 0; i < words; i++)
            HW_CHECK(((uint32_t *)out->cpu)[i] == y, "round %u, word %llu: %u, not %u", round,
                     (unsigned long long)i, ((uint32_t *)out->cpu)[i], y);
    }
    hw_stream_close(&stream);
    gpu_free(a);
    gpu_free(b);
    gpu_free(out);
    return true;
}

/* The same with kernels of some 100 us, where work that starts too early reads what is not there yet. */
static bool slow_chains(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *a, *b;
    enum { WORDS = 200, ROUNDS = 10000 };
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, WORDS * 4, &a) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, WORDS * 4, &b))
        return false;
    uint32_t wanted[2][WORDS];
    for (unsigned i = 0; i < WORDS; i++) {
        wanted[0][i] = ((uint32_t *)a->cpu)[i] = (uint32_t)hw_random(hw);
        wanted[1][i] = ((uint32_t *)b->cpu)[i] = (uint32_t)hw_random(hw);
    }
    for (unsigned step = 0; step < (hw->is_quick ? 40u : 400u); step++) {
        unsigned from = step % 2;
        struct slow_add_args args = {(void *)(from ? b : a)->gva, (void *)(from ? a : b)->gva,
                                     WORDS, ROUNDS};
        if (!hw_launch(hw, &stream, "slow_add", 1, 256, 0, &args, sizeof(args)))
            return false;
        for (unsigned i = 0; i < WORDS; i++) {
            uint32_t x = wanted[from][i];
            for (unsigned round = 0; round < ROUNDS; round++)
                x = x * x * 1664525u + 1013904223u;
            wanted[1 - from][i] += x;
        }
        if (hw_random(hw) % 3 == 0)
            HW_OK(gpu_submit(stream.queue)); /* chains of every length, one behind the other */
    }
    if (!hw_stream_finish(hw, &stream))
        return false;
    HW_CHECK(memcmp(wanted[0], a->cpu, WORDS * 4) == 0 && memcmp(wanted[1], b->cpu, WORDS * 4) == 0,
             "a launch did not see what the one before it wrote");
    hw_stream_close(&stream);
    gpu_free(a);
    gpu_free(b);
    return true;
}

const struct hw_test hw_launch_tests[] = {
    {"chains of slow launches over many submits", slow_chains},
    {"chains of launches, copies and submits see one another's writes", chains},
    {"grids of 1 to 2^31 - 1 blocks", grids},
    {"blocks of every shape, more signals than releases, 64-bit values", qmd_limits},
    {"argument blocks of 12 to 4096 bytes", argument_blocks},
    {"static shared memory and barriers, 1 to 1024 threads", shared_memory},
    {"dynamic shared memory up to the limit", dynamic_shared},
    {"local memory, growing", local_memory},
    {"1,000,000 launches leak nothing", million_launches},
    {NULL, NULL},
};
