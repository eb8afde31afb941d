/*
 * tests/hw/hw_faults.c: what goes wrong on the GPU is told in words, stops its queue only, and the next job runs. 20 times each.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu_backend.h"
#include "gpu/nvidia/builtin.h"
#include "gpu/nvidia/device.h"
#include "tests/hw/device/kernels.h"
#include "tests/hw/hw.h"

#define ROUNDS(hw) ((hw)->is_quick ? 2u : 20u)

/* A fresh queue computes the right thing. */
static bool good_job(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *in, *out;
    const uint32_t words = 5000;
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, words * 4, &in) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, words * 4, &out))
        return false;
    hw_fill_random(hw, in->cpu, words * 4);
    memset(out->cpu, 0, words * 4);
    struct add_words_args add = {(void *)in->gva, (void *)out->gva, words};
    if (!hw_launch(hw, &stream, "add_words", (words + 255) / 256, 256, 0, &add, sizeof(add)) ||
        !hw_stream_finish(hw, &stream))
        return false;
    HW_CHECK(memcmp(in->cpu, out->cpu, words * 4) == 0, "the job after the fault is wrong");
    hw_stream_close(&stream);
    gpu_free(in);
    gpu_free(out);
    return true;
}

/* The stream has work that must fail: check the error, its text and that the queue stays dead; then a good job. */
static bool expect_fault(struct hw *hw, struct hw_stream *stream, const char *word,
                         const char *word2)
{
    int error = hw_stream_wait(stream, 10 * NS_PER_S);
    HW_CHECK(error == -EIO, "the wait gave %d (%s), wanted -EIO", error, gpu_error());
    HW_CHECK(hw_contains(gpu_error(), word) && hw_contains(gpu_error(), word2),
             "\"%s\" lacks \"%s\" or \"%s\"", gpu_error(), word, word2);
    HW_REFUSED(gpu_submit(stream->queue), -EIO, word);
    hw_stream_close(stream);
    return good_job(hw);
}

static bool bad_address(struct hw *hw)
{
    struct hw_usage before = hw_usage(hw);
    for (unsigned round = 0; round < ROUNDS(hw); round++) {
        struct hw_stream stream;
        if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream))
            return false;
        /* nothing is mapped there; low, high, and beyond what the GPU can address at all */
        static const uint64_t addresses[] = {0x10000, UINT64_C(0xdead0000000),
                                             UINT64_C(0x500000000000)};
        struct touch_args args = {(void *)addresses[round % 3], (void *)addresses[round % 3], 1,
                                  round % 2};
        if (!hw_launch(hw, &stream, "touch", 1, 32, 0, &args, sizeof(args)) ||
            !expect_fault(hw, &stream, "touch", "MMU fault"))
            return false;
    }
    if (!hw_usage_is(hw, &before))
        return false;
    return true;
}

static bool bad_copy(struct hw *hw)
{
    for (unsigned round = 0; round < ROUNDS(hw); round++) {
        struct hw_stream stream;
        struct gpu_buffer *buffer;
        if (!hw_stream_open(hw, GPU_QUEUE_COPY, &stream) ||
            !hw_alloc(hw, GPU_MEMORY_VRAM, 65536, &buffer))
            return false;
        uint64_t gva = buffer->gva;
        buffer->gva = UINT64_C(0xdead0000000); /* what gpu.h can never record */
        HW_OK(gpu_fill(stream.queue, buffer, 0, 65536, 1));
        buffer->gva = gva;
        if (!expect_fault(hw, &stream, "copy queue", "MMU fault"))
            return false;
        gpu_free(buffer);
    }
    return true;
}

/* Where a kernel's code lies in the file of its module. */
static size_t code_offset(const struct nvidia_module *module, const char *name)
{
    uint8_t *image = malloc(module->cubin.image_bytes);
    assert(image != NULL);
    struct cubin cubin = module->cubin;
    int error = cubin_image(&cubin, image, 0);
    assert(error == 0);
    const uint8_t *found = NULL;
    for (unsigned i = 0; i < cubin.kernel_count; i++)
        if (strcmp(cubin.kernels[i].name, name) == 0)
            found = memmem(cubin.bytes, cubin.size_bytes, image + cubin.kernels[i].text_offset,
                           cubin.kernels[i].text_bytes);
    free(image);
    assert(found != NULL);
    return (size_t)(found - cubin.bytes);
}

static bool launch_from(struct hw *hw, struct gpu_module *module, struct hw_stream *stream,
                        struct gpu_buffer *words)
{
    struct gpu_kernel *kernel;
    HW_OK(gpu_kernel_find(module, "add_words", &kernel));
    struct add_words_args args = {(void *)words->gva, (void *)words->gva, 100};
    HW_OK(gpu_launch(
        stream->queue, kernel,
        &(struct gpu_launch){
            .grid = {1, 1, 1}, .block = {128, 1, 1}, .args = &args, .args_bytes = sizeof(args)}));
    return true;
}

/*
 * The test kernels with an instruction of one of them overwritten, loaded where the good ones have just run: what the
 * instruction caches still hold must not run instead.
 */
static bool illegal_instruction(struct hw *hw)
{
    struct nvidia_module *source = (struct nvidia_module *)hw->module;
    size_t size = source->cubin.size_bytes;
    uint8_t *bytes = malloc(size);
    assert(bytes != NULL);
    memcpy(bytes, source->bytes, size);
    memset(bytes + code_offset(source, "add_words") + 32, 0xff, 16);
    for (unsigned round = 0; round < ROUNDS(hw); round++) {
        struct gpu_module *good, *bad;
        struct hw_stream stream;
        struct gpu_buffer *words;
        if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
            !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &words))
            return false;
        HW_OK(gpu_module_load(hw->device, source->bytes, size, &good));
        uint64_t place = ((struct nvidia_module *)good)->code.gva;
        if (!launch_from(hw, good, &stream, words) || !hw_stream_finish(hw, &stream))
            return false;
        gpu_module_unload(good);
        HW_OK(gpu_module_load(hw->device, bytes, size, &bad));
        HW_CHECK(((struct nvidia_module *)bad)->code.gva == place, "the module lies elsewhere");
        if (!launch_from(hw, bad, &stream, words) ||
            !expect_fault(hw, &stream, "add_words", "illegal instruction"))
            return false;
        gpu_module_unload(bad);
        gpu_free(words);
    }
    free(bytes);
    return true;
}

/* A launch that gpu.h would refuse, let through: more registers per block than an SM has. */
static bool too_large(struct hw *hw)
{
    struct gpu_kernel *kernel;
    HW_OK(gpu_kernel_find(hw->module, "many_registers", &kernel));
    struct nvidia_kernel *inner = (struct nvidia_kernel *)kernel;
    HW_CHECK(inner->register_count > 128, "many_registers has only %u", inner->register_count);
    uint32_t threads_max = kernel->threads_max;
    for (unsigned round = 0; round < ROUNDS(hw); round++) {
        struct hw_stream stream;
        struct gpu_buffer *data;
        if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
            !hw_alloc(hw, GPU_MEMORY_HOST, 65536, &data))
            return false;
        struct many_registers_args args = {(void *)data->gva, 1};
        struct gpu_launch launch = {
            .grid = {1, 1, 1}, .block = {1024, 1, 1}, .args = &args, .args_bytes = sizeof(args)};
        HW_REFUSED(gpu_launch(stream.queue, kernel, &launch), -EINVAL, "threads");
        kernel->threads_max = 0;
        int error = gpu_launch(stream.queue, kernel, &launch);
        kernel->threads_max = threads_max;
        HW_OK(error);
        if (!expect_fault(hw, &stream, "many_registers", "exception"))
            return false;
        gpu_free(data);
    }
    return true;
}

/* A kernel that never ends: the wait gives up at its deadline, cancelling stops it, others then run. */
static bool endless_loop(struct hw *hw)
{
    struct hw_usage before = hw_usage(hw);
    for (unsigned round = 0; round < ROUNDS(hw); round++) {
        struct hw_stream stream;
        struct gpu_buffer *flag;
        if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
            !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &flag))
            return false;
        struct spin_args args = {(void *)flag->gva};
        if (!hw_launch(hw, &stream, "spin", 1000, 256, 0, &args, sizeof(args)))
            return false;
        uint64_t start_ns = time_ns();
        HW_CHECK(hw_stream_wait(&stream, 50 * NS_PER_MS) == -ETIMEDOUT,
                 "the endless kernel ended: %s", gpu_error());
        uint64_t took_ns = time_ns() - start_ns;
        HW_CHECK(took_ns >= 50 * NS_PER_MS && took_ns < 60 * NS_PER_MS,
                 "the wait of 50 ms took %.1f ms", (double)took_ns / 1e6);
        gpu_queue_cancel(stream.queue);
        hw_stream_close(&stream);
        HW_CHECK(time_ns() - start_ns < 10 * NS_PER_S, "stopping it took %.1f s",
                 (double)(time_ns() - start_ns) / 1e9);
        if (!good_job(hw))
            return false;
        gpu_free(flag);
    }
    if (!hw_usage_is(hw, &before))
        return false;
    return true;
}

/* A copy queue is not in the group that dies, and goes on. */
static bool bystander(struct hw *hw)
{
    struct hw_stream copy, stream;
    struct gpu_buffer *buffer;
    if (!hw_stream_open(hw, GPU_QUEUE_COPY, &copy) ||
        !hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &buffer))
        return false;
    struct touch_args args = {(void *)UINT64_C(0xdead0000000), NULL, 1, 1};
    if (!hw_launch(hw, &stream, "touch", 1, 32, 0, &args, sizeof(args)) ||
        !expect_fault(hw, &stream, "touch", "0xdead0000000"))
        return false;
    HW_OK(gpu_fill(copy.queue, buffer, 0, 4096, 77));
    if (!hw_stream_finish(hw, &copy))
        return false;
    HW_CHECK(((uint32_t *)buffer->cpu)[1023] == 77, "the copy queue stopped working");
    hw_stream_close(&copy);
    gpu_free(buffer);
    return true;
}

const struct hw_test hw_fault_tests[] = {
    {"a bad address in a kernel", bad_address},
    {"a bad address in a copy", bad_copy},
    {"an illegal instruction", illegal_instruction},
    {"a launch that is too large for an SM", too_large},
    {"a fault leaves copy queues alone and names the address", bystander},
    {"an endless loop, a deadline, a cancel", endless_loop},
    {NULL, NULL},
};
