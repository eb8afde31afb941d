/*
 * tests/hw/hw_input.c: bad input is refused with an error that names it; nothing is submitted, nothing leaks.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "tests/hw/device/kernels.h"
#include "tests/hw/hw.h"

static bool launches(struct hw *hw)
{
    struct hw_stream stream;
    struct gpu_buffer *in;
    struct gpu_kernel *kernel, *none;
    struct gpu_device_info info;
    gpu_device_info(hw->device, &info);
    if (!hw_stream_open(hw, GPU_QUEUE_COMPUTE, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, 4096, &in))
        return false;
    HW_OK(gpu_kernel_find(hw->module, "add_words", &kernel));
    HW_REFUSED(gpu_kernel_find(hw->module, "no_such_kernel", &none), -ENOENT, "no_such_kernel");
    struct add_words_args args = {(void *)in->gva, (void *)in->gva, 1};
    const struct gpu_launch good = {
        .grid = {1, 1, 1}, .block = {32, 1, 1}, .args = &args, .args_bytes = sizeof(args)};
    struct gpu_launch bad = good;
    bad.args_bytes--;
    HW_REFUSED(gpu_launch(stream.queue, kernel, &bad), -EINVAL, "add_words");
    bad = good;
    bad.args = NULL;
    HW_REFUSED(gpu_launch(stream.queue, kernel, &bad), -EINVAL, "add_words");
    for (int axis = 0; axis < 3; axis++) {
        bad = good;
        bad.grid[axis] = 0;
        HW_REFUSED(gpu_launch(stream.queue, kernel, &bad), -EINVAL, "grid");
        bad.grid[axis] = (uint32_t)info.grid_max[axis] + 1;
        HW_REFUSED(gpu_launch(stream.queue, kernel, &bad), -EINVAL, "grid");
        bad = good;
        bad.block[axis] = 0;
        HW_REFUSED(gpu_launch(stream.queue, kernel, &bad), -EINVAL, "block");
        bad.block[axis] = 1025;
        HW_REFUSED(gpu_launch(stream.queue, kernel, &bad), -EINVAL, "block");
    }
    bad = good;
    bad.shared_bytes = info.shared_bytes_max + 1;
    HW_REFUSED(gpu_launch(stream.queue, kernel, &bad), -EINVAL, "shared");
    *(volatile uint32_t *)in->cpu = 3;
    HW_OK(gpu_launch(stream.queue, kernel, &good));
    if (!hw_stream_finish(hw, &stream))
        return false;
    HW_CHECK(*(volatile uint32_t *)in->cpu == 6, "the good launch after the bad ones gave %u",
             *(uint32_t *)in->cpu);
    hw_stream_close(&stream);
    gpu_free(in);
    return true;
}

static bool buffers(struct hw *hw)
{
    struct hw_usage before = hw_usage(hw);
    struct hw_stream stream;
    struct gpu_buffer *a, *b, *none;
    if (!hw_stream_open(hw, GPU_QUEUE_COPY, &stream) || !hw_alloc(hw, GPU_MEMORY_VRAM, 4096, &a) ||
        !hw_alloc(hw, GPU_MEMORY_VRAM, 4096, &b))
        return false;
    HW_REFUSED(gpu_alloc(hw->device, GPU_MEMORY_VRAM, 0, &none), -EINVAL, "0 bytes");
    HW_REFUSED(gpu_alloc(hw->device, GPU_MEMORY_VRAM, UINT64_MAX, &none), -ENOMEM, "bytes");
    HW_REFUSED(gpu_copy(stream.queue, NULL, 0, a, 0, 1), -EINVAL, "destination");
    HW_REFUSED(gpu_copy(stream.queue, b, 0, NULL, 0, 1), -EINVAL, "source");
    HW_REFUSED(gpu_copy(stream.queue, b, 1, a, 0, 4096), -ERANGE, "destination");
    HW_REFUSED(gpu_copy(stream.queue, b, 0, a, UINT64_MAX, 2), -ERANGE, "source");
    HW_REFUSED(gpu_fill(stream.queue, b, 2, 4, 0), -EINVAL, "multiples of 4");
    gpu_free(b);
    HW_REFUSED(gpu_copy(stream.queue, b, 0, a, 0, 1), -EINVAL, "freed");
    gpu_free(a);
    hw_stream_close(&stream);
    if (!hw_usage_is(hw, &before))
        return false;
    return true;
}

/* Random damage to a real cubin: loads or is refused, never worse. Then two that must be refused. */
static bool modules(struct hw *hw)
{
    struct hw_usage before = hw_usage(hw);
    struct nvidia_module *source = (struct nvidia_module *)hw->module;
    size_t size = source->cubin.size_bytes;
    uint8_t *bytes = malloc(size);
    assert(bytes != NULL);
    struct gpu_module *module;
    for (unsigned round = 0; round < 300; round++) {
        memcpy(bytes, source->bytes, size);
        for (unsigned i = 0; i < 1 + round % 20; i++)
            bytes[hw_random(hw) % (round % 2 ? size : 4096)] = (uint8_t)hw_random(hw);
        int error =
            gpu_module_load(hw->device, bytes, size - round % 3 * (hw_random(hw) % 1000), &module);
        if (error == 0)
            gpu_module_unload(module);
        else
            HW_CHECK(error == -ENOEXEC || error == -ENOSPC, "a damaged cubin gave %d, %s", error,
                     gpu_error());
    }
    memcpy(bytes, source->bytes, size);
    bytes[0x31] = 75; /* e_flags of ABI version 8: the architecture */
    HW_REFUSED(gpu_module_load(hw->device, bytes, size, &module), -ENOEXEC, "sm_75");
    HW_REFUSED(gpu_module_load(hw->device, "not a cubin, but text", 21, &module), -ENOEXEC, "ELF");
    free(bytes);
    if (!hw_usage_is(hw, &before))
        return false;
    return true;
}

const struct hw_test hw_input_tests[] = {
    {"launches: names, arguments, grids, blocks, shared memory", launches},
    {"buffers: sizes, ranges, missing and freed ones", buffers},
    {"modules: damaged, for another architecture, not a cubin at all", modules},
    {NULL, NULL},
};
