/*
 * gpu/gpu.c: devices, errors, buffers and modules of gpu.h. What runs on queues is in gpu/gpu_queue.c.
 *
 * Every call is checked here, the same for all backends, and then handed to the device's ops (gpu/gpu_backend.h).
 */
#include "gpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu_backend.h"
#include "gpu/gpu_handle.h"

#define DEVICE_MAX 16
#define IDLE_TIMEOUT_NS \
    (30 * \
     NS_PER_S) /* no command that we know of runs longer; past it memory is given up, not reused */

static struct gpu_device *devices[DEVICE_MAX];
static unsigned device_count;
static char error_text[CORE_MAX][320];
static struct mutex module_lock;  /* the kernel lists of all modules */
static struct spinlock info_lock; /* what changes of a device's info when its start ends */
static struct event started;      /* a device's start has ended */

/* ---- errors ---------------------------------------------------------------------------------------------------- */

int gpu_fail(int error, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = error_text[core_current()];
    vsnprintf(text, sizeof(error_text[0]), fmt, args);
    va_end(args);
    return error;
}

const char *gpu_error(void)
{
    return error_text[core_current()];
}

/* ---- devices --------------------------------------------------------------------------------------------------- */

static void say_state(const struct gpu_device *device)
{
    if (device->info.is_usable)
        log_info("gpu: %s: %s (%s), %llu MiB", device->info.name, device->info.model,
                 device->info.architecture, (unsigned long long)(device->info.memory_bytes >> 20));
    else
        log_warn("gpu: %s: %s is not used: %s", device->info.name, device->info.model,
                 device->info.why_not);
}

int gpu_device_add(struct gpu_device *device)
{
    if (gpu_device_find(device->info.name) != NULL)
        return gpu_fail(-EEXIST, "there is already a device %s", device->info.name);
    if (device_count == DEVICE_MAX)
        return gpu_fail(-ENOSPC, "%s: more than %d devices", device->info.name, DEVICE_MAX);
    devices[device_count++] = device;
    if (device->info.is_starting)
        log_info("gpu: %s: %s at %s is being started", device->info.name, device->info.model,
                 device->info.pci_name);
    else
        say_state(device);
    return 0;
}

void gpu_device_started(struct gpu_device *device, const struct gpu_device_info *info)
{
    assert(device->info.is_starting);
    uint64_t saved = spin_lock(&info_lock);
    device->info = *info;
    device->info.is_starting = false;
    spin_unlock(&info_lock, saved);
    say_state(device);
    event_signal(&started);
}

void gpu_device_broken(struct gpu_device *device, const char *why_not)
{
    uint64_t saved = spin_lock(&info_lock);
    bool was_usable = device->info.is_usable;
    if (was_usable) {
        device->info.is_usable = false;
        snprintf(device->info.why_not, sizeof(device->info.why_not), "%s", why_not);
    }
    spin_unlock(&info_lock, saved);
    if (was_usable)
        say_state(device);
}

void gpu_start_wait(void)
{
    for (unsigned i = 0; i < device_count; i++)
        for (;;) {
            uint32_t seen = event_read(&started);
            struct gpu_device_info info;
            gpu_device_info(devices[i], &info);
            if (!info.is_starting)
                break;
            event_wait(&started, seen,
                       time_ns() + NS_PER_S); /* a device's start has its own deadlines */
        }
}

int gpu_start(void)
{
    int error = gpu_cpu_start();
    if (error != 0)
        return error;
    error = nvidia_start();
    if (error != 0)
        log_error("gpu: NVIDIA devices are not used: %s", gpu_error());
    return 0;
}

void gpu_stop(void)
{
    gpu_start_wait();
    while (device_count > 0) {
        struct gpu_device *device = devices[--device_count];
        devices[device_count] = NULL;
        struct gpu_module *builtin = device->builtin;
        device->ops->stop(device);
        if (builtin != NULL) {
            while (builtin->kernels != NULL) {
                struct gpu_kernel *kernel = builtin->kernels;
                builtin->kernels = kernel->next;
                gpu_handle_remove(kernel, GPU_HANDLE_KERNEL);
                free(kernel);
            }
            gpu_handle_remove(builtin, GPU_HANDLE_MODULE);
            free(builtin);
        }
    }
}

struct gpu_device *gpu_device_get(unsigned index)
{
    return index < device_count ? devices[index] : NULL;
}

struct gpu_device *gpu_device_find(const char *name)
{
    for (unsigned i = 0; i < device_count; i++) {
        if (strcmp(devices[i]->info.name, name) == 0)
            return devices[i];
    }
    return NULL;
}

struct gpu_device *gpu_device_best(void)
{
    struct gpu_device *best = NULL;
    for (unsigned i = 0; i < device_count; i++) {
        if (devices[i]->info.is_usable && (best == NULL || devices[i]->rank > best->rank))
            best = devices[i];
    }
    return best;
}

void gpu_device_info(struct gpu_device *device, struct gpu_device_info *out)
{
    uint64_t saved = spin_lock(&info_lock);
    *out = device->info;
    spin_unlock(&info_lock, saved);
    out->memory_used_bytes = device->ops->memory_used(device);
}

void gpu_device_health(struct gpu_device *device, struct gpu_health *out)
{
    *out = (struct gpu_health){
        .temperature_celsius = __builtin_nan(""),
        .power_watts = __builtin_nan(""),
        .core_clock_hz = UINT64_MAX,
        .memory_clock_hz = UINT64_MAX,
        .ecc_corrected = UINT64_MAX,
        .ecc_uncorrected = UINT64_MAX,
    };
    if (device->info.is_usable && device->ops->health != NULL)
        device->ops->health(device, out);
}

int gpu_registers(struct gpu_device *device, const char *block, gpu_register_each each, void *arg)
{
    if (device == NULL)
        return gpu_fail(-EINVAL, "no device given");
    if (device->ops->registers == NULL)
        return gpu_fail(-ENOTSUP, "%s has no registers to show", device->info.name);
    return device->ops->registers(device, block, each, arg);
}

static int check_device(const struct gpu_device *device)
{
    if (device == NULL)
        return gpu_fail(-EINVAL, "no device given");
    if (!device->info.is_usable)
        return gpu_fail(-ENODEV, "%s cannot be used: %s", device->info.name, device->info.why_not);
    return 0;
}

/* ---- buffers --------------------------------------------------------------------------------------------------- */

int gpu_alloc(struct gpu_device *device, enum gpu_memory memory, uint64_t size_bytes,
              struct gpu_buffer **out)
{
    *out = NULL;
    int error = check_device(device);
    if (error != 0)
        return error;
    if (memory != GPU_MEMORY_VRAM && memory != GPU_MEMORY_HOST)
        return gpu_fail(-EINVAL, "%s: no such kind of memory: %d", device->info.name, (int)memory);
    if (size_bytes == 0)
        return gpu_fail(-EINVAL, "%s: a buffer of 0 bytes", device->info.name);

    struct gpu_buffer *buffer = calloc(1, device->ops->buffer_bytes);
    if (buffer == NULL)
        return gpu_fail(-ENOMEM, "%s: no memory for a buffer's bookkeeping", device->info.name);
    buffer->device = device;
    buffer->memory = memory;
    buffer->size_bytes = size_bytes;
    error = device->ops->buffer_alloc(buffer);
    if (error != 0)
        goto free_buffer;
    error = gpu_handle_add(buffer, GPU_HANDLE_BUFFER);
    if (error != 0) {
        gpu_fail(error, "%s: no memory for a buffer's bookkeeping", device->info.name);
        goto free_memory;
    }
    *out = buffer;
    return 0;

free_memory:
    device->ops->buffer_free(buffer);
free_buffer:
    free(buffer);
    return error;
}

void gpu_free(struct gpu_buffer *buffer)
{
    if (buffer == NULL)
        return;
    if (!gpu_handle_remove(buffer, GPU_HANDLE_BUFFER)) {
        log_error("gpu: gpu_free() of a buffer that is not allocated (any more)");
        return;
    }
    struct gpu_device *device = buffer->device;
    if (device->ops->idle(device, time_ns() + IDLE_TIMEOUT_NS) != 0) {
        log_error("gpu: %s does not come to rest: %llu bytes stay allocated", device->info.name,
                  (unsigned long long)buffer->size_bytes);
        return;
    }
    device->ops->buffer_free(buffer);
    free(buffer);
}

uint64_t gpu_buffer_dma(const struct gpu_buffer *buffer, uint64_t offset, uint64_t *run_bytes)
{
    *run_bytes = 0;
    if (!gpu_handle_is_live(buffer, GPU_HANDLE_BUFFER)) {
        gpu_fail(-EINVAL, "the buffer is not allocated (any more)");
        return 0;
    }
    if (!buffer->is_dma_ready || offset >= buffer->size_bytes)
        return 0;
    return buffer->device->ops->buffer_dma(buffer, offset, run_bytes);
}

void gpu_buffer_dma_done(const struct gpu_buffer *buffer)
{
    if (gpu_handle_is_live(buffer, GPU_HANDLE_BUFFER) &&
        buffer->device->ops->buffer_dma_done != NULL)
        buffer->device->ops->buffer_dma_done(buffer);
}

/* ---- modules and kernels --------------------------------------------------------------------------------------- */

struct gpu_module *gpu_module_add_builtin(struct gpu_device *device)
{
    struct gpu_module *module = calloc(1, device->ops->module_bytes);
    if (module == NULL)
        return NULL;
    module->device = device;
    module->is_builtin = true;
    if (gpu_handle_add(module, GPU_HANDLE_MODULE) != 0) {
        free(module);
        return NULL;
    }
    device->builtin = module;
    return module;
}

struct gpu_module *gpu_module_builtin(struct gpu_device *device)
{
    return device->builtin;
}

int gpu_module_load(struct gpu_device *device, const void *image, size_t size_bytes,
                    struct gpu_module **out)
{
    *out = NULL;
    int error = check_device(device);
    if (error != 0)
        return error;
    if (device->ops->module_load == NULL)
        return gpu_fail(-ENOTSUP, "%s runs only its built-in kernels", device->info.name);
    if (image == NULL || size_bytes == 0)
        return gpu_fail(-EINVAL, "%s: an empty code object", device->info.name);
    struct gpu_module *module = calloc(1, device->ops->module_bytes);
    if (module == NULL)
        return gpu_fail(-ENOMEM, "%s: no memory for a module", device->info.name);
    module->device = device;
    error = device->ops->module_load(module, image, size_bytes);
    if (error != 0)
        goto free_module;
    error = gpu_handle_add(module, GPU_HANDLE_MODULE);
    if (error != 0) {
        gpu_fail(error, "%s: no memory for a module", device->info.name);
        goto unload_module;
    }
    *out = module;
    return 0;

unload_module:
    device->ops->module_unload(module);
free_module:
    free(module);
    return error;
}

void gpu_module_unload(struct gpu_module *module)
{
    if (module == NULL)
        return;
    if (!gpu_handle_is_live(module, GPU_HANDLE_MODULE)) {
        log_error("gpu: gpu_module_unload() of a module that is not loaded (any more)");
        return;
    }
    if (module->is_builtin)
        return;
    gpu_handle_remove(module, GPU_HANDLE_MODULE);
    struct gpu_device *device = module->device;
    if (device->ops->idle(device, time_ns() + IDLE_TIMEOUT_NS) != 0) {
        log_error("gpu: %s does not come to rest: a module stays loaded", device->info.name);
        return;
    }
    while (module->kernels != NULL) {
        struct gpu_kernel *kernel = module->kernels;
        module->kernels = kernel->next;
        gpu_handle_remove(kernel, GPU_HANDLE_KERNEL);
        free(kernel);
    }
    device->ops->module_unload(module);
    free(module);
}

/* Look up a kernel that this module has not been asked for before. Call with module_lock held. */
static int kernel_add(struct gpu_module *module, const char *name, struct gpu_kernel **out)
{
    const struct gpu_ops *ops = module->device->ops;
    struct gpu_kernel *kernel = calloc(1, ops->kernel_bytes);
    if (kernel == NULL)
        return gpu_fail(-ENOMEM, "no memory for kernel %s", name);
    kernel->module = module;
    strcpy(kernel->name, name);
    int error = ops->kernel_find(kernel);
    if (error != 0) {
        gpu_fail(error, "%s has no kernel \"%s\"", module->device->info.name, name);
        goto free_kernel;
    }
    error = gpu_handle_add(kernel, GPU_HANDLE_KERNEL);
    if (error != 0) {
        gpu_fail(error, "no memory for kernel %s", name);
        goto free_kernel;
    }
    kernel->next = module->kernels;
    module->kernels = kernel;
    *out = kernel;
    return 0;

free_kernel:
    free(kernel);
    return error;
}

int gpu_kernel_find(struct gpu_module *module, const char *name, struct gpu_kernel **out)
{
    *out = NULL;
    if (!gpu_handle_is_live(module, GPU_HANDLE_MODULE))
        return gpu_fail(-EINVAL, "the module is not loaded (any more)");
    if (name == NULL || strlen(name) >= sizeof(((struct gpu_kernel *)0)->name))
        return gpu_fail(-ENOENT, "a kernel's name has 1 to %zu characters",
                        sizeof(((struct gpu_kernel *)0)->name) - 1);

    mutex_lock(&module_lock);
    struct gpu_kernel *kernel = module->kernels;
    while (kernel != NULL && strcmp(kernel->name, name) != 0)
        kernel = kernel->next;
    int error = kernel != NULL ? 0 : kernel_add(module, name, &kernel);
    mutex_unlock(&module_lock);
    *out = kernel;
    return error;
}

uint32_t gpu_kernel_args_bytes(const struct gpu_kernel *kernel)
{
    return gpu_handle_is_live(kernel, GPU_HANDLE_KERNEL) ? kernel->args_bytes : 0;
}
