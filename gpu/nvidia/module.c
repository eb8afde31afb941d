/*
 * gpu/nvidia/module.c: code objects in device memory, and what a launch needs to know of a kernel.
 *
 * A module's image is written once, relocated for its address, into VRAM through the BAR. Instruction fetch runs ahead of the
 * program counter, so a page of zeros follows the code. The kernels of gpu/kernels are compiled for each architecture
 * (gpu/nvidia/cubins.py) and linked in, or in the image lie on the boot disk; the nearest that this device runs is loaded when the
 * device starts.
 */
#include "gpu/nvidia/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/builtin.h"

#define FETCH_AHEAD_BYTES 4096

/* sm_86 code runs on sm_89, but not on sm_80 and not the other way round: same major version, minor at least as high. */
static bool runs_on(uint32_t code_sm, uint32_t device_sm)
{
    return code_sm / 10 == device_sm / 10 && code_sm % 10 <= device_sm % 10;
}

static int load_image(struct nvidia_device *device, struct nvidia_module *module)
{
    int error = nvidia_memory_create(device, NVIDIA_VRAM_MAPPED,
                                     module->cubin.image_bytes + FETCH_AHEAD_BYTES, &module->code);
    if (error)
        return error;
    /* Relocation reads back what it wrote, so it happens in ordinary memory. */
    uint8_t *image = malloc(module->cubin.image_bytes + FETCH_AHEAD_BYTES);
    if (!image) {
        error = gpu_fail(-ENOMEM, "%s: no memory for a code object", device->base.info.name);
        goto free_code;
    }
    error = cubin_image(&module->cubin, image, module->code.gva);
    if (error) {
        gpu_fail(error, "%s: the code object is broken: %s", device->base.info.name,
                 module->cubin.problem);
        goto free_image;
    }
    memset(image + module->cubin.image_bytes, 0, FETCH_AHEAD_BYTES);
    memcpy(module->code.cpu, image, module->cubin.image_bytes + FETCH_AHEAD_BYTES);
    __builtin_ia32_sfence();
    device->code_generation++;
    free(image);
    return 0;

free_image:
    free(image);
free_code:
    nvidia_memory_destroy(device, &module->code);
    return error;
}

int nvidia_module_load(struct gpu_module *gpu_module, const void *image, size_t size_bytes)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_module->device;
    struct nvidia_module *module = (struct nvidia_module *)gpu_module;
    module->bytes = malloc(size_bytes);
    module->kernels = calloc(CUBIN_KERNELS_MAX, sizeof(*module->kernels));
    int error = -ENOMEM;
    if (!module->bytes || !module->kernels) {
        gpu_fail(error, "%s: no memory for a code object", device->base.info.name);
        goto free_bytes;
    }
    memcpy(module->bytes, image, size_bytes);
    error =
        cubin_open(&module->cubin, module->bytes, size_bytes, module->kernels, CUBIN_KERNELS_MAX);
    if (error) {
        gpu_fail(error, "%s: not a code object that can be loaded: %s", device->base.info.name,
                 module->cubin.problem);
        goto free_bytes;
    }
    if (!runs_on(module->cubin.sm, nvidia_device_sm(device))) {
        error = gpu_fail(-ENOEXEC, "%s: the code object is for sm_%u, the device is %s",
                         device->base.info.name, module->cubin.sm, device->base.info.architecture);
        goto free_bytes;
    }
    error = load_image(device, module);
    if (error)
        goto free_bytes;
    return 0;

free_bytes:
    free(module->bytes);
    free(module->kernels);
    module->bytes = NULL;
    module->kernels = NULL;
    return error;
}

void nvidia_module_unload(struct gpu_module *gpu_module)
{
    struct nvidia_module *module = (struct nvidia_module *)gpu_module;
    nvidia_memory_destroy((struct nvidia_device *)gpu_module->device, &module->code);
    free(module->bytes);
    free(module->kernels);
}

int nvidia_kernel_find(struct gpu_kernel *gpu_kernel)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_kernel->module->device;
    struct nvidia_module *module = (struct nvidia_module *)gpu_kernel->module;
    struct nvidia_kernel *kernel = (struct nvidia_kernel *)gpu_kernel;
    const struct cubin_kernel *found = NULL;
    for (unsigned i = 0; i < module->cubin.kernel_count; i++)
        if (strcmp(module->kernels[i].name, gpu_kernel->name) == 0 &&
            module->kernels[i].bank0_bytes > 0)
            found = &module->kernels[i]; /* without a bank 0 it is a function that kernels call */
    if (!found)
        return -ENOENT;

    kernel->base.args_bytes = found->args_bytes;
    kernel->base.shared_bytes = found->shared_bytes;
    kernel->base.threads_max = found->threads_max;
    if (found->register_count >
        0) { /* the registers of a block must fit: 65536, given out to warps in units of 256 */
        uint32_t warps = 65536 / (uint32_t)align_up(found->register_count * 32, 256);
        if (warps * 32 < device->base.info.block_threads_max &&
            (kernel->base.threads_max == 0 || warps * 32 < kernel->base.threads_max))
            kernel->base.threads_max = warps * 32;
    }
    kernel->args_offset = found->args_bytes ? found->args_offset : found->bank0_bytes;
    kernel->bank0_bytes = found->bank0_bytes;
    kernel->shared_static = found->shared_bytes;
    kernel->register_count = found->register_count;
    kernel->local_bytes =
        found->stack_bytes ? (uint32_t)align_up(found->stack_bytes + NVIDIA_STACK_RESERVED, 16) : 0;
    int error = nvidia_local_ensure(device, kernel->local_bytes);
    if (error)
        return error;

    enum qmd_version version = device->chip->qmd_version;
    qmd_program_encode(
        &(struct qmd_program){
            .version = version,
            .program_gva = module->code.gva + found->text_offset,
            .program_bytes = found->text_bytes,
            .sass_version = (device->sm_version >> 4 & 0xf0) | (device->sm_version & 0xf),
            .register_count = found->register_count,
            .barrier_count = found->barrier_count > 1 ? found->barrier_count : 1,
            .local_bytes = kernel->local_bytes,
            .shared_config_max_kib =
                (device->chip->shared_block_max + device->chip->shared_reserved) / 1024,
        },
        kernel->qmd);
    for (unsigned bank = 1; bank < ARRAY_COUNT(found->constant_bytes); bank++) {
        if (found->constant_bytes[bank] == 0)
            continue;
        qmd_set(version, kernel->qmd, QMD_CONSTANT_BUFFER_VALID, bank, 1);
        qmd_set(version, kernel->qmd, QMD_CONSTANT_BUFFER_ADDR, bank,
                module->code.gva + found->constant_offset[bank]);
        qmd_set(version, kernel->qmd, QMD_CONSTANT_BUFFER_SIZE, bank,
                align_up(found->constant_bytes[bank], 16));
    }
    return 0;
}

/* The newest code on the boot disk that the device runs; NULL: there is none. */
static const void *find_on_disk(const struct nvidia_device *device, uint64_t *size_bytes)
{
    uint32_t sm = nvidia_device_sm(device);
    for (uint32_t back = 0; back <= sm % 10; back++) {
        char name[64];
        snprintf(name, sizeof(name), "nvidia/kernels/sm_%u.cubin", sm - back);
        const void *file = boot_file(name, size_bytes);
        if (file)
            return file;
    }
    return NULL;
}

int nvidia_module_load_builtin(struct nvidia_device *device)
{
    const struct nvidia_builtin *best = NULL;
    for (unsigned i = 0; i < nvidia_builtin_count; i++)
        if (runs_on(nvidia_builtins[i].sm, nvidia_device_sm(device)) &&
            (!best || nvidia_builtins[i].sm > best->sm))
            best = &nvidia_builtins[i];
    uint64_t size_bytes = 0;
    const void *file = best ? NULL : find_on_disk(device, &size_bytes);
    if (!best && !file)
        return gpu_fail(-ENOEXEC,
                        "no kernels for %s: none built in (was ptxas there?), and no "
                        "/firmware/nvidia/kernels/%s.cubin, which `make image GPU=...` puts on the "
                        "boot disk",
                        device->base.info.architecture, device->base.info.architecture);
    struct gpu_module *module = gpu_module_add_builtin(&device->base);
    if (!module)
        return gpu_fail(-ENOMEM, "no memory for the built-in kernels");
    return best ? nvidia_builtin_load(module, best) : nvidia_module_load(module, file, size_bytes);
}
