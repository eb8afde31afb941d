/*
 * gpu/nvidia/nvidia.c: NVIDIA GPUs from Turing on as devices of gpu.h: start, stop, buffers, health.
 *
 * Steps of a start: RM client and device, classes and geometry, address space, doorbell page, copy engines, built-in kernels;
 * on bare metal a check that it computes.
 * Everything from rm.h upwards is the same on bare metal and under Linux; the transport is chosen by the program.
 *
 * Where the transport can tell what devices there are before it opens them (bare metal: their firmware takes seconds to
 * start), each is added at once as "starting" and brought up by a task of its own on a worker core. One that fails says why
 * and leaves the others alone.
 */
#include "gpu/nvidia/nvidia.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "gpu/nvidia/gsp/dump.h"
#include "gpu/nvidia/rm_abi.h"

#define PCI_VENDOR_NVIDIA      0x10de
#define PCI_CLASS_DISPLAY      0x03
#define USERMODE_BYTES         0x10000
#define NOTIFY_CHANNEL_PENDING 0x90 /* clc361.h, NVC361_NOTIFY_CHANNEL_PENDING: the doorbell */

/* From 8 GiB, because the GSP keeps 512 MiB from 4 GiB on for itself, to 1 TiB: a QMD's address has 40 bits. */
#define VA_BASE                UINT64_C(0x200000000)
#define VA_END                 QMD_GVA_LIMIT

#define RANK_GPU               100
#define START_STACK_BYTES      (128 * 1024) /* the bring-up keeps messages of some KiB on it */

static const struct rm_transport *transport;

void nvidia_transport_set(const struct rm_transport *wanted)
{
    transport = wanted;
}

/* ---- start ----------------------------------------------------------------------------------------------------- */

static int find_chip(struct nvidia_device *device)
{
    struct rm_class_list *classes = calloc(1, sizeof(*classes));
    if (!classes)
        return -ENOMEM;
    int error = rm_control(&device->rm, device->rm.device, NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2,
                           classes, sizeof(*classes));
    if (!error) {
        device->chip = nvidia_chip_find(
            classes->classes, (unsigned)min_u64(classes->count, ARRAY_COUNT(classes->classes)));
        if (!device->chip) {
            snprintf(device->rm.error, sizeof(device->rm.error),
                     "an architecture that Ingot does not know (before Turing?)");
            error = -ENOTSUP;
        }
    }
    free(classes);
    return error;
}

static int read_geometry(struct nvidia_device *device, struct gpu_device_info *info)
{
    struct rm_gr_info_list gr = {.count = 6,
                                 .info = {{NV2080_CTRL_GR_INFO_INDEX_SM_VERSION, 0},
                                          {NV2080_CTRL_GR_INFO_INDEX_MAX_WARPS_PER_SM, 0},
                                          {NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_GPCS, 0},
                                          {NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_TPC_PER_GPC, 0},
                                          {NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_SM_PER_TPC, 0},
                                          {NV2080_CTRL_GR_INFO_INDEX_SHADER_PIPE_SUB_COUNT, 0}}};
    int error = rm_control(&device->rm, device->rm.subdevice, NV2080_CTRL_CMD_GR_GET_INFO_V2, &gr,
                           sizeof(gr));
    if (error)
        return error;
    device->sm_version = gr.info[0].data;
    device->warps_per_sm = gr.info[1].data;
    device->gpc_count = gr.info[2].data;
    device->tpc_per_gpc = gr.info[3].data;
    device->sm_per_tpc = gr.info[4].data;
    device->tpc_count = gr.info[5].data;

    struct rm_fb_info_list *fb = calloc(1, sizeof(*fb));
    if (!fb)
        return -ENOMEM;
    fb->count = 1;
    fb->info[0].index = NV2080_CTRL_FB_INFO_INDEX_HEAP_SIZE;
    error = rm_control(&device->rm, device->rm.subdevice, NV2080_CTRL_CMD_FB_GET_INFO_V2, fb,
                       sizeof(*fb));
    info->memory_bytes = (uint64_t)fb->info[0].data << 10;
    free(fb);
    if (error)
        return error;

    struct rm_name_string name = {0};
    error = rm_control(&device->rm, device->rm.subdevice, NV2080_CTRL_CMD_GPU_GET_NAME_STRING,
                       &name, sizeof(name));
    if (error)
        return error;
    name.ascii[sizeof(info->model) - 1] = 0;
    memcpy(info->model, name.ascii, sizeof(info->model));
    return 0;
}

/* An address space that RM keeps the page tables of; we choose the addresses. */
static int make_address_space(struct nvidia_device *device)
{
    struct rm_vaspace_params vaspace = {.index = NV_VASPACE_ALLOCATION_INDEX_GPU_NEW};
    int error = rm_alloc(&device->rm, device->rm.device, FERMI_VASPACE_A, &vaspace, sizeof(vaspace),
                         &device->vaspace);
    if (error)
        return error;
    struct rm_virtual_params range = {.offset = 0, .limit = 0, .vaspace = device->vaspace};
    return rm_alloc(&device->rm, device->rm.device, NV01_MEMORY_VIRTUAL, &range, sizeof(range),
                    &device->address_space);
}

static int map_doorbell(struct nvidia_device *device)
{
    int error = rm_alloc(&device->rm, device->rm.subdevice, device->chip->usermode_class, NULL, 0,
                         &device->usermode);
    if (error)
        return error;
    error = rm_map_cpu(&device->rm, device->usermode, false, USERMODE_BYTES, &device->usermode_map);
    if (error)
        return error;
    device->doorbell =
        (volatile uint32_t *)((uint8_t *)device->usermode_map.cpu + NOTIFY_CHANNEL_PENDING);
    return 0;
}

/* Copy engines with a runlist of their own; those on the graphics runlist serve compute queues. */
static int find_copy_engines(struct nvidia_device *device)
{
    struct rm_engine_list engines = {0};
    int error = rm_control(&device->rm, device->rm.subdevice, NV2080_CTRL_CMD_GPU_GET_ENGINES_V2,
                           &engines, sizeof(engines));
    if (error)
        return error;
    struct rm_ce_caps caps = {0};
    error = rm_control(&device->rm, device->rm.subdevice, NV2080_CTRL_CMD_CE_GET_ALL_CAPS, &caps,
                       sizeof(caps));
    if (error)
        return error;
    nvidia_engines_name(&device->base.info, engines.engines,
                        (uint32_t)min_u64(engines.count, ARRAY_COUNT(engines.engines)));
    for (uint32_t i = 0; i < engines.count && i < ARRAY_COUNT(engines.engines); i++) {
        uint32_t type = engines.engines[i], index;
        if (type >= NV2080_ENGINE_TYPE_COPY0 && type <= NV2080_ENGINE_TYPE_COPY9)
            index = type - NV2080_ENGINE_TYPE_COPY0;
        else if (type >= NV2080_ENGINE_TYPE_COPY10 && type <= NV2080_ENGINE_TYPE_COPY19)
            index = type - NV2080_ENGINE_TYPE_COPY10 + 10;
        else
            continue;
        if ((caps.present & BIT(index)) && !(caps.caps[index][0] & NV2080_CTRL_CE_CAPS_CE_GRCE) &&
            device->copy_engine_count < NVIDIA_COPY_ENGINES_MAX)
            device->copy_engines[device->copy_engine_count++] = type;
    }
    return 0;
}

static void describe(const struct nvidia_device *device, struct gpu_device_info *info)
{
    snprintf(info->architecture, sizeof(info->architecture), "sm_%u", nvidia_device_sm(device));
    info->multiprocessors = device->tpc_count * device->sm_per_tpc;
    info->block_threads_max = 1024;
    info->shared_bytes_max = device->chip->shared_block_max;
    info->grid_max[0] = INT32_MAX;
    info->grid_max[1] = info->grid_max[2] = 65535;
    if (device->rm.transport->describe)
        device->rm.transport->describe(device->rm.context, info);
}

static void device_close(struct nvidia_device *device)
{
    nvidia_memory_destroy(device, &device->local);
    while (device->local_old_count > 0)
        nvidia_memory_destroy(device, &device->local_old[--device->local_old_count]);
    nvidia_semaphore_blocks_free(device);
    if (device->usermode_map.cpu)
        rm_unmap_cpu(&device->rm, device->usermode, &device->usermode_map);
    va_fini(&device->va);
    rm_close(&device->rm);
}

static int device_open(struct nvidia_device *device, struct gpu_device_info *info)
{
    int error = va_init(&device->va, VA_BASE, VA_END - VA_BASE);
    if (!error)
        error = find_chip(device);
    if (!error)
        error = read_geometry(device, info);
    if (!error)
        error = make_address_space(device);
    if (!error)
        error = map_doorbell(device);
    if (!error)
        error = find_copy_engines(device);
    return error;
}

static int load_kernels(struct nvidia_device *device)
{
    int error = nvidia_module_load_builtin(device);
    if (!error)
        error = gpu_kernel_find(device->base.builtin, "copy", &device->copy_kernel);
    if (!error)
        error = gpu_kernel_find(device->base.builtin, "fill", &device->fill_kernel);
    return error;
}

/*
 * Bring a device up and fill in *info: usable, or why not. -ENODEV: there is no device of this index; what else fails is
 * the device's own affair.
 */
static int bring_up(struct nvidia_device *device, struct gpu_device_info *info)
{
    int error = rm_open(&device->rm, transport, device->index);
    if (error == -ENODEV)
        return error;
    if (!error) {
        error = device_open(device, info);
        if (!error) {
            describe(device, info);
            device->base.info.multiprocessors =
                info->multiprocessors; /* what loading kernels needs */
            memcpy(device->base.info.architecture, info->architecture, sizeof(info->architecture));
            error = load_kernels(device);
            if (error)
                snprintf(info->why_not, sizeof(info->why_not), "%s", gpu_error());
            else if (transport->identify) /* bare metal: it has never run anything */
                error = nvidia_check(device, info->why_not, sizeof(info->why_not));
            info->is_usable = !error;
            return 0; /* without kernels it stays open, for its readings */
        }
        snprintf(info->why_not, sizeof(info->why_not), "%s",
                 device->rm.error[0] ? device->rm.error : "no memory");
        device_close(device);
    } else {
        snprintf(info->why_not, sizeof(info->why_not), "%s",
                 device->rm.error[0] ? device->rm.error : "no memory");
    }
    if (info->model[0] == 0)
        snprintf(info->model, sizeof(info->model), "NVIDIA GPU");
    return 0;
}

static int device_new(unsigned index, struct nvidia_device **out)
{
    struct nvidia_device *device = calloc(1, sizeof(*device));
    if (!device)
        return gpu_fail(-ENOMEM, "no memory for a device");
    device->index = index;
    device->base.ops = &nvidia_ops;
    device->base.rank = RANK_GPU;
    device->base.block_max[0] = device->base.block_max[1] = 1024;
    device->base.block_max[2] = 64;
    snprintf(device->base.info.name, sizeof(device->base.info.name), "nvidia%u", index);
    *out = device;
    return 0;
}

/* One after the other, in the caller's task. */
static int start_now(unsigned index)
{
    struct nvidia_device *device;
    int error = device_new(index, &device);
    if (error)
        return error;
    error = bring_up(device, &device->base.info);
    if (!error)
        error = gpu_device_add(&device->base);
    if (error) {
        if (device->rm.context)
            device_close(device);
        free(device);
    }
    return error;
}

static void start_task(void *arg)
{
    struct nvidia_device *device = arg;
    struct gpu_device_info info = device->base.info;
    info.why_not[0] = 0;
    if (bring_up(device, &info) == -ENODEV)
        snprintf(info.why_not, sizeof(info.why_not), "the device has gone");
    gpu_device_started(&device->base, &info);
}

/* Add the device at once and bring it up behind the scenes. */
static int start_later(unsigned index)
{
    struct gpu_device_info found = {0};
    struct nvidia_device *device;
    int error = transport->identify(index, &found);
    if (!error)
        error = device_new(index, &device);
    if (error)
        return error;
    memcpy(device->base.info.model, found.model, sizeof(found.model));
    memcpy(device->base.info.pci_name, found.pci_name, sizeof(found.pci_name));
    snprintf(device->base.info.why_not, sizeof(device->base.info.why_not),
             "its firmware is being started; /readyz says when that has ended");
    device->base.info.is_starting = true;
    error = gpu_device_add(&device->base);
    if (error) {
        free(device);
        return error;
    }
    unsigned core = core_count() > 1 ? 1 + index % (core_count() - 1) : 0;
    error = task_create(device->base.info.name, core, START_STACK_BYTES, start_task, device);
    if (error) {
        found = device->base.info;
        snprintf(found.why_not, sizeof(found.why_not), "no memory for the task that starts it");
        gpu_device_started(&device->base, &found);
    }
    return 0;
}

/* Without a transport: which GPUs there are, from their PCI identity. */
static int list_pci_devices(void)
{
    struct pci_device *pci;
    unsigned found = 0;
    for (unsigned i = 0; (pci = pci_device_get(i)) != NULL; i++) {
        if (pci->vendor_id != PCI_VENDOR_NVIDIA || pci->base_class != PCI_CLASS_DISPLAY)
            continue;
        struct nvidia_device *device;
        int error = device_new(found++, &device);
        if (error)
            return error;
        struct gpu_device_info *info = &device->base.info;
        snprintf(info->model, sizeof(info->model), "NVIDIA GPU %04x", pci->device_id);
        snprintf(info->pci_name, sizeof(info->pci_name), "%s", pci->name);
        snprintf(info->why_not, sizeof(info->why_not),
                 "this program does not start GPUs itself; with NVIDIA's driver it uses them");
        error = gpu_device_add(&device->base);
        if (error) {
            free(device);
            return error;
        }
    }
    return 0;
}

int nvidia_start(void)
{
    if (!transport)
        return list_pci_devices();
    for (unsigned index = 0;; index++) {
        int error = transport->identify ? start_later(index) : start_now(index);
        if (error == -ENODEV)
            return 0;
        if (error)
            return error;
    }
}

/* ---- local memory ---------------------------------------------------------------------------------------------- */

int nvidia_local_ensure(struct nvidia_device *device, uint32_t bytes_per_thread)
{
    if (bytes_per_thread <= device->local_bytes_per_thread)
        return 0;
    if (device->local_old_count == ARRAY_COUNT(device->local_old))
        return gpu_fail(-ENOMEM, "%s: local memory has grown too often", device->base.info.name);
    /* Each growth at least doubles, so what the older, smaller ones still hold is never more than the newest. */
    uint64_t per_thread = align_up(bytes_per_thread, 32);
    if (per_thread < 2ull * device->local_bytes_per_thread)
        per_thread = 2ull * device->local_bytes_per_thread;
    uint64_t per_tpc = align_up(
        align_up(per_thread * 32, 512) * device->warps_per_sm * device->sm_per_tpc, 0x8000);
    uint64_t size_bytes = align_up(per_tpc * device->tpc_per_gpc * device->gpc_count, 0x20000);
    struct nvidia_memory memory;
    int error = nvidia_memory_create(device, NVIDIA_VRAM, size_bytes, &memory);
    if (error)
        return error;
    if (device->local.handle)
        device->local_old[device->local_old_count++] = device->local;
    device->local = memory;
    device->local_bytes_per_thread = (uint32_t)per_thread;
    device->local_bytes_per_tpc = per_tpc;
    device->local_generation++;
    return 0;
}

/* ---- ops ------------------------------------------------------------------------------------------------------- */

static uint64_t memory_used(struct gpu_device *gpu_device)
{
    return ((struct nvidia_device *)gpu_device)->memory_used_bytes;
}

/* Power and clocks stay unknown: the published interface has no call for them. */
static void health(struct gpu_device *gpu_device, struct gpu_health *out)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_device;
    struct rm_thermal thermal = {
        .api_version = THERMAL_SYSTEM_API_VER,
        .instruction_bytes = sizeof(struct rm_thermal_instruction),
        .count = 1,
        .instruction[0].opcode = NV2080_CTRL_THERMAL_SYSTEM_GET_STATUS_SENSOR_READING_OPCODE,
    };
    struct rm_ecc_counts ecc = {0};
    nvidia_fault_poll(device); /* also of a device that has no work */
    mutex_lock(&device->lock);
    if (rm_control(&device->rm, device->rm.subdevice, NV2080_CTRL_CMD_THERMAL_SYSTEM_EXECUTE_V2,
                   &thermal, sizeof(thermal)) == 0 &&
        thermal.instruction[0].executed && thermal.instruction[0].result == 0)
        out->temperature_celsius = (int32_t)thermal.instruction[0].operand[1];
    if (rm_control(&device->rm, device->rm.subdevice, NV2080_CTRL_CMD_ECC_GET_VOLATILE_COUNTS, &ecc,
                   sizeof(ecc)) == 0) {
        out->ecc_corrected = ecc.sram_corrected + ecc.dram_corrected;
        out->ecc_uncorrected =
            ecc.sram_parity_uncorrected + ecc.sram_secded_uncorrected + ecc.dram_uncorrected;
    }
    mutex_unlock(&device->lock);
}

static int idle(struct gpu_device *gpu_device, uint64_t deadline_ns)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_device;
    for (;;) {
        nvidia_fault_poll(device);
        bool is_idle = true;
        mutex_lock(&device->lock);
        for (struct nvidia_queue *queue = device->queues; queue && is_idle; queue = queue->next)
            is_idle = queue->channel.group->is_dead || nvidia_queue_is_idle(queue);
        mutex_unlock(&device->lock);
        if (is_idle)
            return 0;
        if (time_ns() >= deadline_ns)
            return -ETIMEDOUT;
        task_yield();
    }
}

static void stop(struct gpu_device *gpu_device)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_device;
    if (device->rm.context) {
        if (device->base.builtin)
            nvidia_module_unload(device->base.builtin);
        device_close(device);
    }
    free(device);
}

/* Whether other PCI devices reach all of it. */
static bool is_on_bus(struct nvidia_device *device, const struct nvidia_memory *memory)
{
    if (memory->kind == NVIDIA_HOST)
        return true;
    if (!device->rm.transport->bus_address)
        return false;
    for (uint64_t at = 0, run; at < memory->size_bytes; at += run)
        if (device->rm.transport->bus_address(device->rm.context, memory->handle, at, &run) == 0)
            return false;
    return true;
}

static int buffer_alloc(struct gpu_buffer *gpu_buffer)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_buffer->device;
    struct nvidia_buffer *buffer = (struct nvidia_buffer *)gpu_buffer;
    int error = nvidia_memory_create(
        device, gpu_buffer->memory == GPU_MEMORY_HOST ? NVIDIA_HOST : NVIDIA_VRAM,
        gpu_buffer->size_bytes, &buffer->memory);
    if (error)
        return error;
    gpu_buffer->gva = buffer->memory.gva;
    gpu_buffer->cpu = buffer->memory.cpu;
    mutex_lock(&device->lock);
    gpu_buffer->is_dma_ready = is_on_bus(device, &buffer->memory);
    mutex_unlock(&device->lock);
    return 0;
}

static void buffer_free(struct gpu_buffer *gpu_buffer)
{
    nvidia_memory_destroy((struct nvidia_device *)gpu_buffer->device,
                          &((struct nvidia_buffer *)gpu_buffer)->memory);
}

static uint64_t buffer_dma(const struct gpu_buffer *gpu_buffer, uint64_t offset,
                           uint64_t *run_bytes)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_buffer->device;
    const struct nvidia_memory *memory = &((const struct nvidia_buffer *)gpu_buffer)->memory;
    if (memory->kind == NVIDIA_HOST) {
        *run_bytes = gpu_buffer->size_bytes - offset; /* page_alloc() memory is contiguous */
        return dma_addr((uint8_t *)gpu_buffer->cpu + offset);
    }
    mutex_lock(&device->lock);
    uint64_t dma =
        device->rm.transport->bus_address(device->rm.context, memory->handle, offset, run_bytes);
    mutex_unlock(&device->lock);
    *run_bytes = min_u64(*run_bytes, gpu_buffer->size_bytes - offset);
    return dma;
}

static void buffer_dma_done(const struct gpu_buffer *gpu_buffer)
{
    struct nvidia_device *device = (struct nvidia_device *)gpu_buffer->device;
    if (gpu_buffer->memory == GPU_MEMORY_VRAM && device->rm.transport->flush_bus_writes)
        device->rm.transport->flush_bus_writes(device->rm.context);
}

const struct gpu_ops nvidia_ops = {
    .buffer_bytes = sizeof(struct nvidia_buffer),
    .module_bytes = sizeof(struct nvidia_module),
    .kernel_bytes = sizeof(struct nvidia_kernel),
    .queue_bytes = sizeof(struct nvidia_queue),
    .timeline_bytes = sizeof(struct nvidia_timeline),
    .memory_used = memory_used,
    .health = health,
    .registers = nvidia_registers,
    .idle = idle,
    .stop = stop,
    .buffer_alloc = buffer_alloc,
    .buffer_free = buffer_free,
    .buffer_dma = buffer_dma,
    .buffer_dma_done = buffer_dma_done,
    .module_load = nvidia_module_load,
    .module_unload = nvidia_module_unload,
    .kernel_find = nvidia_kernel_find,
    .queue_create = nvidia_queue_create,
    .queue_destroy = nvidia_queue_destroy,
    .launch = nvidia_queue_launch,
    .copy = nvidia_queue_copy,
    .fill = nvidia_queue_fill,
    .signal = nvidia_queue_signal,
    .wait = nvidia_queue_wait,
    .submit = nvidia_queue_submit,
    .queue_status = nvidia_queue_status,
    .timeline_create = nvidia_timeline_create,
    .timeline_destroy = nvidia_timeline_destroy,
    .timeline_value = nvidia_timeline_value,
    .timeline_signal = nvidia_timeline_signal,
    .timeline_wait = nvidia_timeline_wait,
};
