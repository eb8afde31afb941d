/*
 * gpu/nvidia/gsp/transport.c: rm.h's calls on bare metal. See transport.h.
 *
 * Steps of open: the GSP up to its static information (gsp.h), BAR1 and VRAM and page tables, engines and geometry, the
 * golden context. Each later call goes to the GSP as one RPC, is answered here, or both.
 *
 * When the GSP or the hardware stops answering, resman_lost() takes bus mastering away at once: pages that the GPU may still
 * write to are about to be given back to the host.
 *
 * Sources: open-gpu-kernel-modules 570.144, src/nvidia/src/kernel: rmapi/resource_list.h (RS_FLAGS_ALLOC_RPC_TO_PHYS_RM:
 * which classes the GSP hears of), rmapi/alloc_free.c (order), vgpu/rpc.c (messages); tinygrad runtime/support/nv/ip.py.
 */
#include "gpu/nvidia/gsp/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu.h"
#include "gpu/nvidia/gsp/regs/mmu.h"
#include "gpu/nvidia/gsp/resman.h"

#define PCI_VENDOR_NVIDIA 0x10de
#define PCI_CLASS_DISPLAY 0x03
#define LOOK_NS           (10 * NS_PER_MS) /* between looks whether the GPU is still there */

/* ---- failures ---------------------------------------------------------------------------------------------------- */

uint32_t resman_fail(struct resman *resman, uint32_t status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(resman->error, sizeof(resman->error), fmt, args);
    va_end(args);
    return status;
}

void resman_lost(struct resman *resman, const char *why)
{
    if (resman->is_lost)
        return;
    resman->is_lost = true;
    pci_bus_master(resman->gsp.hw.pci, false);
    snprintf(resman->lost_why, sizeof(resman->lost_why), "it does not answer any more: %s", why);
    resman->gsp.rpc.is_gone = true; /* it could not answer any more: nobody waits for it */
    snprintf(resman->gsp.rpc.error, sizeof(resman->gsp.rpc.error), "%.*s",
             (int)sizeof(resman->gsp.rpc.error) - 1, resman->lost_why);
    log_error("%s: does not answer any more, its access to memory is off: %s", resman->gsp.hw.name,
              why);
    resman_channels_lost(resman);
    event_signal(&resman->completion);
}

/* ---- RPCs -------------------------------------------------------------------------------------------------------- */

/* Send message[0, bytes) and get the reply into the same place; *got is how long it is, at least wanted. */
static uint32_t call(struct resman *resman, uint32_t function, uint32_t bytes, uint32_t wanted,
                     uint32_t *got)
{
    struct rpc *rpc = &resman->gsp.rpc;
    size_t reply_bytes = 0;
    if (resman->is_lost)
        return NV_ERR_GPU_IS_LOST; /* error says why it was lost */
    int error = rpc_call(rpc, function, resman->message, bytes, resman->message,
                         RESMAN_MESSAGE_BYTES, &reply_bytes, RPC_TIMEOUT_NS);
    *got = (uint32_t)min_u64(reply_bytes, RESMAN_MESSAGE_BYTES);
    if (error == -EIO && rpc->status != 0)
        return resman_fail(resman, rpc->status, "%s", rpc->error);
    if (error == 0 && *got >= wanted)
        return NV_OK;
    char name[16];
    if (error == 0)
        return resman_fail(resman, NV_ERR_INVALID_PARAM_STRUCT, "%s: a reply of %u bytes, not %u",
                           rpc_function_name(function, name), *got, wanted);
    resman_fail(resman, NV_ERR_GENERIC, "%s", rpc->error);
    if (error == -ENODEV || error == -EPROTO || rpc->broken)
        resman_lost(resman, resman->error);
    return error == -ETIMEDOUT ? NV_ERR_TIMEOUT
           : resman->is_lost   ? NV_ERR_GPU_IS_LOST
                               : NV_ERR_GENERIC;
}

/*
 * A call with a header and parameters that come back. The header's status is at status_at; on failure the parameters are
 * left as they were.
 */
static uint32_t call_with_params(struct resman *resman, uint32_t function, uint32_t detail,
                                 const void *header, uint32_t header_bytes, uint32_t status_at,
                                 void *params, uint32_t params_bytes)
{
    char name[16];
    uint32_t got, answer;
    if (params_bytes > RESMAN_MESSAGE_BYTES - header_bytes)
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "%u bytes of parameters are too many",
                           params_bytes);
    memcpy(resman->message, header, header_bytes);
    if (params_bytes > 0)
        memcpy(resman->message + header_bytes, params, params_bytes);
    uint32_t status = call(resman, function, header_bytes + params_bytes, header_bytes, &got);
    if (status != NV_OK)
        return status;
    memcpy(&answer, resman->message + status_at, sizeof(answer));
    if (answer != NV_OK)
        return resman_fail(resman, answer, "%s 0x%x: %s (0x%x)", rpc_function_name(function, name),
                           detail, rm_status_name(answer), answer);
    if (got < header_bytes + params_bytes)
        return resman_fail(resman, NV_ERR_INVALID_PARAM_STRUCT,
                           "%s 0x%x: an answer with %u bytes of parameters, not %u",
                           rpc_function_name(function, name), detail, got - header_bytes,
                           params_bytes);
    if (params_bytes > 0)
        memcpy(params, resman->message + header_bytes, params_bytes);
    return NV_OK;
}

uint32_t resman_rpc_alloc(struct resman *resman, uint32_t client, uint32_t parent, uint32_t object,
                          uint32_t class_id, void *params, uint32_t params_bytes)
{
    struct rpc_rm_alloc header = {.client = client,
                                  .parent = parent,
                                  .object = object,
                                  .class_id = class_id,
                                  .params_bytes = params_bytes};
    return call_with_params(resman, NV_VGPU_MSG_FUNCTION_GSP_RM_ALLOC, class_id, &header,
                            sizeof(header), offsetof(struct rpc_rm_alloc, status), params,
                            params_bytes);
}

uint32_t resman_rpc_control(struct resman *resman, uint32_t client, uint32_t object,
                            uint32_t command, void *params, uint32_t params_bytes)
{
    struct rpc_rm_control header = {
        .client = client, .object = object, .command = command, .params_bytes = params_bytes};
    return call_with_params(resman, NV_VGPU_MSG_FUNCTION_GSP_RM_CONTROL, command, &header,
                            sizeof(header), offsetof(struct rpc_rm_control, status), params,
                            params_bytes);
}

uint32_t resman_rpc_free(struct resman *resman, uint32_t client, uint32_t parent, uint32_t object)
{
    if (resman->is_lost) /* and all its objects with it */
        return NV_OK;
    struct rpc_rm_free message = {.client = client, .parent = parent, .object = object};
    return call_with_params(resman, NV_VGPU_MSG_FUNCTION_FREE, object, &message, sizeof(message),
                            offsetof(struct rpc_rm_free, status), NULL, 0);
}

uint32_t resman_rpc_free_user(struct resman *resman, uint32_t client, uint32_t parent,
                              uint32_t object)
{
    uint32_t status = resman_rpc_free(resman, client, parent, object);
    if (status != NV_OK)
        resman_lost(resman, resman->error);
    return status;
}

uint32_t resman_rpc(struct resman *resman, uint32_t function, const void *payload, uint32_t bytes)
{
    uint32_t got;
    assert(bytes <= RESMAN_MESSAGE_BYTES);
    memcpy(resman->message, payload, bytes);
    return call(resman, function, bytes, 0, &got);
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

static struct resman_object **bucket_of(struct resman *resman, uint32_t handle)
{
    return &resman->objects[handle % ARRAY_COUNT(resman->objects)];
}

static struct resman_object *find_any(struct resman *resman, uint32_t handle)
{
    struct resman_object *object = *bucket_of(resman, handle);
    while (object && object->handle != handle)
        object = object->next;
    return object;
}

struct resman_object *resman_find(struct resman *resman, uint32_t handle, enum resman_kind kind)
{
    struct resman_object *object = find_any(resman, handle);
    return object && object->kind == kind ? object : NULL;
}

void resman_add(struct resman *resman, struct resman_object *object, enum resman_kind kind,
                uint32_t handle, uint32_t parent, uint32_t class_id)
{
    struct resman_object **bucket = bucket_of(resman, handle);
    *object = (struct resman_object){
        .next = *bucket, .handle = handle, .parent = parent, .class_id = class_id, .kind = kind};
    *bucket = object;
}

void resman_remove(struct resman *resman, struct resman_object *object)
{
    struct resman_object **link = bucket_of(resman, object->handle);
    while (*link != object)
        link = &(*link)->next;
    *link = object->next;
}

/* An object that the GSP does not hear of. */
static uint32_t local_alloc(struct resman *resman, enum resman_kind kind, uint32_t parent,
                            uint32_t handle, uint32_t class_id)
{
    struct resman_object *object = malloc(sizeof(*object));
    if (!object)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no memory for an object");
    resman_add(resman, object, kind, handle, parent, class_id);
    return NV_OK;
}

static uint32_t root_alloc(struct resman *resman, uint32_t *handle)
{
    struct rm_root_params params = {.client = RESMAN_CLIENT, .process_id = UINT32_MAX};
    *handle = RESMAN_CLIENT;
    return resman_rpc_alloc(resman, RESMAN_CLIENT, 0, RESMAN_CLIENT, NV01_ROOT, &params,
                            sizeof(params));
}

/* The address space: ours to keep, so the GSP only learns where its root is. */
static uint32_t vaspace_alloc(struct resman *resman, uint32_t parent, uint32_t handle,
                              const void *params, uint32_t params_bytes)
{
    if (resman->vaspace != 0 || params_bytes < RM_570_VASPACE_BYTES)
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "one address space for each GPU");
    struct rm_vaspace_params vaspace;
    memcpy(&vaspace, params, RM_570_VASPACE_BYTES);
    vaspace.flags |= NV_VASPACE_ALLOCATION_FLAGS_IS_EXTERNALLY_OWNED;
    uint32_t status = local_alloc(resman, RESMAN_VASPACE, parent, handle, FERMI_VASPACE_A);
    if (status != NV_OK)
        return status;
    status = resman_rpc_alloc(resman, RESMAN_CLIENT, parent, handle, FERMI_VASPACE_A, &vaspace,
                              RM_570_VASPACE_BYTES);
    if (status != NV_OK)
        goto drop_object;
    struct rpc_set_page_directory directory = {
        .client = RESMAN_CLIENT,
        .device = parent,
        .pasid = RM_PASID_NONE,
        .physical_address = mmu_root(&resman->mmu),
        .entry_count = mmu_root_entries(&resman->mmu),
        .flags = (uint32_t)NV0080_CTRL_DMA_SET_PAGE_DIRECTORY_FLAGS_ALL_CHANNELS,
        .vaspace = handle,
        .subdevice_id = 1,
        .pasid2 = RM_PASID_NONE,
    };
    status =
        resman_rpc(resman, NV_VGPU_MSG_FUNCTION_SET_PAGE_DIRECTORY, &directory, sizeof(directory));
    if (status != NV_OK)
        goto free_vaspace;
    resman->vaspace = handle;
    return NV_OK;

free_vaspace:;
    char error[sizeof(resman->error)];
    memcpy(error, resman->error, sizeof(error));
    resman_rpc_free_user(resman, RESMAN_CLIENT, parent, handle);
    memcpy(resman->error, error, sizeof(error));
drop_object:;
    struct resman_object *object = resman_find(resman, handle, RESMAN_VASPACE);
    resman_remove(resman, object);
    free(object);
    return status;
}

static uint32_t vaspace_free(struct resman *resman, uint32_t parent, uint32_t handle)
{
    struct rpc_unset_page_directory directory = {
        .client = RESMAN_CLIENT, .device = parent, .vaspace = handle, .subdevice_id = 1};
    uint32_t status = resman->is_lost
                          ? NV_OK
                          : resman_rpc(resman, NV_VGPU_MSG_FUNCTION_UNSET_PAGE_DIRECTORY,
                                       &directory, sizeof(directory));
    if (status != NV_OK) /* the address space goes next, and its root with it */
        log_warn("%s: page directory: %s", resman->gsp.hw.name, resman->error);
    resman->vaspace = 0;
    return resman_rpc_free_user(resman, RESMAN_CLIENT, parent, handle);
}

/* An object of an engine on one of our channels. The graphics engine wants context buffers first. */
static uint32_t engine_object_alloc(struct resman *resman, uint32_t parent, uint32_t handle,
                                    uint32_t class_id, void *params, uint32_t params_bytes)
{
    struct resman_channel *channel =
        (struct resman_channel *)resman_find(resman, parent, RESMAN_CHANNEL);
    if (channel && channel->engine_type == NV2080_ENGINE_TYPE_GRAPHICS &&
        (class_id & 0xff) == 0xc0) {
        uint32_t status = resman_context_promote(resman, channel);
        if (status != NV_OK)
            return status;
    }
    return resman_rpc_alloc(resman, RESMAN_CLIENT, parent, handle, class_id, params, params_bytes);
}

static uint32_t transport_alloc(void *context, uint32_t client, uint32_t parent, uint32_t *handle,
                                uint32_t class_id, void *params, uint32_t params_bytes)
{
    struct resman *resman = context;
    if (class_id == NV01_ROOT_CLIENT)
        return root_alloc(resman, handle);
    if (client != RESMAN_CLIENT || find_any(resman, *handle))
        return resman_fail(resman, NV_ERR_INVALID_OBJECT_HANDLE, "object 0x%08x is there already",
                           *handle);
    switch (class_id) {
    case NV01_MEMORY_LOCAL_USER:
    case NV01_MEMORY_SYSTEM:
        if (params_bytes < sizeof(struct rm_memory_params))
            return resman_fail(resman, NV_ERR_INVALID_PARAM_STRUCT,
                               "memory without its parameters");
        return resman_memory_alloc(resman, parent, *handle, class_id, params);
    case NV01_MEMORY_VIRTUAL:
        return local_alloc(resman, RESMAN_RANGE, parent, *handle, class_id);
    case TURING_USERMODE_A:
    case AMPERE_USERMODE_A:
    case HOPPER_USERMODE_A:
    case BLACKWELL_USERMODE_A:
        return local_alloc(resman, RESMAN_DOORBELL, parent, *handle, class_id);
    case FERMI_VASPACE_A:
        return vaspace_alloc(resman, parent, *handle, params, params_bytes);
    case KEPLER_CHANNEL_GROUP_A:
        if (params_bytes < sizeof(struct rm_group_params))
            return resman_fail(resman, NV_ERR_INVALID_PARAM_STRUCT,
                               "a group without its parameters");
        return resman_group_alloc(resman, parent, *handle, params);
    case TURING_CHANNEL_GPFIFO_A:
    case AMPERE_CHANNEL_GPFIFO_A:
    case HOPPER_CHANNEL_GPFIFO_A:
    case BLACKWELL_CHANNEL_GPFIFO_A:
    case BLACKWELL_CHANNEL_GPFIFO_B:
        if (params_bytes < sizeof(struct rm_channel_params))
            return resman_fail(resman, NV_ERR_INVALID_PARAM_STRUCT,
                               "a channel without its parameters");
        return resman_channel_alloc(resman, RESMAN_CLIENT, parent, *handle, class_id, params);
    default:
        break;
    }
    uint32_t status = engine_object_alloc(resman, parent, *handle, class_id, params, params_bytes);
    if (status == NV_OK && class_id == NV01_DEVICE_0)
        resman->device = *handle;
    if (status == NV_OK && class_id == NV20_SUBDEVICE_0)
        resman->subdevice = *handle;
    return status;
}

static uint32_t transport_free(void *context, uint32_t client, uint32_t parent, uint32_t handle)
{
    struct resman *resman = context;
    struct resman_object *object = find_any(resman, handle);
    uint32_t status = NV_OK;
    if (!object) {
        if (handle == resman->device)
            resman->device = 0;
        if (handle == resman->subdevice)
            resman->subdevice = 0;
        return handle == client ? resman_rpc_free_user(resman, client, 0, handle)
                                : resman_rpc_free(resman, client, parent, handle);
    }
    switch (object->kind) {
    case RESMAN_MEMORY:
        resman_memory_free(resman, (struct resman_memory *)object);
        return NV_OK;
    case RESMAN_GROUP:
        status = resman_rpc_free_user(resman, client, parent, handle);
        resman_group_free(resman, (struct resman_group *)object);
        return status;
    case RESMAN_CHANNEL:
        status = resman_rpc_free_user(resman, client, parent, handle);
        resman_channel_free(resman, (struct resman_channel *)object);
        return status;
    case RESMAN_VASPACE:
        status = vaspace_free(resman, parent, handle);
        break;
    case RESMAN_RANGE:
    case RESMAN_DOORBELL:
        break;
    }
    resman_remove(resman, object);
    free(object);
    return status;
}

static uint32_t transport_control(void *context, uint32_t client, uint32_t object, uint32_t command,
                                  void *params, uint32_t params_bytes)
{
    return resman_control(context, client, object, command, params, params_bytes);
}

/* ---- mappings ---------------------------------------------------------------------------------------------------- */

static uint32_t transport_map_cpu(void *context, uint32_t client, uint32_t device, uint32_t handle,
                                  bool is_system, uint64_t size_bytes, struct rm_cpu_map *out)
{
    struct resman *resman = context;
    *out = (struct rm_cpu_map){.size_bytes = size_bytes};
    if (resman_find(resman, handle, RESMAN_DOORBELL)) {
        uint64_t at = NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET + NV_VIRTUAL_FUNCTION;
        if (size_bytes > NV_VIRTUAL_FUNCTION_BYTES || at + size_bytes > resman->gsp.hw.bar0_bytes)
            return resman_fail(resman, NV_ERR_INVALID_ARGUMENT,
                               "the doorbell page is not that large");
        out->cpu = (void *)(uintptr_t)(resman->gsp.hw.bar0 + at);
        return NV_OK;
    }
    struct resman_memory *memory =
        (struct resman_memory *)resman_find(resman, handle, RESMAN_MEMORY);
    if (!memory || size_bytes > memory->size_bytes)
        return resman_fail(resman, NV_ERR_INVALID_OBJECT_HANDLE, "no memory 0x%08x of %llu bytes",
                           handle, (unsigned long long)size_bytes);
    if (!memory->is_vram)
        out->cpu = memory->cpu;
    else if (memory->is_visible)
        out->cpu = resman_vram_cpu(resman, memory->extents[0].offset, size_bytes);
    return out->cpu ? NV_OK
                    : resman_fail(resman, NV_ERR_INVALID_ADDRESS,
                                  "memory 0x%08x is outside of BAR1", handle);
}

/* Everything is mapped for as long as the GPU runs. */
static void transport_unmap_cpu(void *context, uint32_t client, uint32_t device, uint32_t memory,
                                struct rm_cpu_map *map)
{
    map->cpu = NULL;
}

static uint32_t transport_map_gpu(void *context, uint32_t client, uint32_t device,
                                  uint32_t address_space, uint32_t handle, uint64_t size_bytes,
                                  uint64_t gva, uint32_t flags)
{
    struct resman *resman = context;
    const struct resman_memory *memory =
        (struct resman_memory *)resman_find(resman, handle, RESMAN_MEMORY);
    if (!memory || !resman_find(resman, address_space, RESMAN_RANGE))
        return resman_fail(resman, NV_ERR_INVALID_OBJECT_HANDLE, "no memory 0x%08x", handle);
    if (resman->is_lost)
        return NV_ERR_GPU_IS_LOST;
    return resman_memory_map(resman, memory, size_bytes, gva);
}

static uint32_t transport_unmap_gpu(void *context, uint32_t client, uint32_t device,
                                    uint32_t address_space, uint32_t handle, uint64_t gva)
{
    struct resman *resman = context;
    const struct resman_memory *memory =
        (struct resman_memory *)resman_find(resman, handle, RESMAN_MEMORY);
    if (!memory)
        return resman_fail(resman, NV_ERR_INVALID_OBJECT_HANDLE, "no memory 0x%08x", handle);
    return resman_memory_unmap(resman, memory, gva);
}

static uint32_t transport_register_host(void *context, uint32_t client, uint32_t device,
                                        uint32_t handle, void *va, uint64_t size_bytes)
{
    struct resman *resman = context;
    if (find_any(resman, handle))
        return resman_fail(resman, NV_ERR_INVALID_OBJECT_HANDLE, "object 0x%08x is there already",
                           handle);
    return resman_memory_import(resman, device, handle, va, size_bytes);
}

/* ---- what only bare metal has -------------------------------------------------------------------------------------- */

static const char *transport_error(void *context)
{
    return ((struct resman *)context)->error;
}

static uint64_t transport_bus_address(void *context, uint32_t handle, uint64_t offset,
                                      uint64_t *run_bytes)
{
    struct resman *resman = context;
    const struct resman_memory *memory =
        (struct resman_memory *)resman_find(resman, handle, RESMAN_MEMORY);
    *run_bytes = 0;
    return memory && offset < memory->size_bytes
               ? resman_memory_bus(resman, memory, offset, run_bytes)
               : 0;
}

/*
 * Writes of other PCI devices that came in through BAR1 are in VRAM when a read through BAR1 has come back: PCIe keeps reads
 * behind writes, and chips before Hopper need it (NCCL issues 683 and 1702 say so of GPUDirect).
 */
static void transport_flush_bus_writes(void *context)
{
    struct resman *resman = context;
    volatile uint32_t *root = resman_vram_cpu(resman, mmu_root(&resman->mmu), sizeof(*root));
    (void)*root;
}

static struct event *transport_completion(void *context)
{
    struct resman *resman = context;
    return &resman->completion;
}

static const char *transport_poll(void *context)
{
    struct resman *resman = context;
    uint64_t now_ns = time_ns();
    if (!resman->is_lost && now_ns >= resman->next_look_ns) {
        resman->next_look_ns = now_ns + LOOK_NS;
        int error = rpc_poll(&resman->gsp.rpc);
        if (error < 0)
            resman_lost(resman, resman->gsp.rpc.error);
        else if (hw_is_gone(&resman->gsp.hw))
            resman_lost(resman, "its registers read as ones");
    }
    return resman->is_lost ? resman->lost_why : NULL;
}

struct pci_device *gsp_pci_device(unsigned index)
{
    struct pci_device *pci;
    for (unsigned i = 0; (pci = pci_device_get(i)) != NULL; i++)
        if (pci->vendor_id == PCI_VENDOR_NVIDIA && pci->base_class == PCI_CLASS_DISPLAY &&
            index-- == 0)
            return pci;
    return NULL;
}

static int transport_identify(unsigned index, struct gpu_device_info *info)
{
    const struct pci_device *pci = gsp_pci_device(index);
    if (!pci)
        return -ENODEV;
    snprintf(info->model, sizeof(info->model), "NVIDIA GPU %04x", pci->device_id);
    snprintf(info->pci_name, sizeof(info->pci_name), "%s", pci->name);
    return 0;
}

static void transport_describe(void *context, struct gpu_device_info *info)
{
    const struct resman *resman = context;
    const struct gsp *gsp = &resman->gsp;
    snprintf(info->chip, sizeof(info->chip), "%s", gsp->hw.chip->name);
    snprintf(info->firmware, sizeof(info->firmware), "%s", GSP_FIRMWARE_VERSION);
    info->vram_bytes = gsp->hw.vram_bytes;
    info->start_ns = time_ns() - gsp->hw.start_ns;
    info->engine_count = 0;
    for (unsigned i = 0; i < resman->engine_count && info->engine_count < GPU_ENGINES_MAX; i++)
        snprintf(info->engines[info->engine_count++], sizeof(info->engines[0]), "%s",
                 resman->engines[i].name);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------ */

static void resman_stop(struct resman *resman)
{
    resman_context_stop(resman);
    resman_memory_stop(resman);
    va_fini(&resman->va);
    gsp_stop(&resman->gsp);
    free(resman->message);
    free(resman);
}

/* Steps after the GSP's own start. */
static uint32_t resman_start(struct resman *resman)
{
    struct hw *hw = &resman->gsp.hw;
    uint32_t status = resman_memory_start(resman);
    if (status != NV_OK)
        return status;
    hw_step(hw, "VRAM: %llu MiB to give out, %llu MiB of them in BAR1; page tables of version %u",
            (unsigned long long)(resman->vram.total_bytes >> 20),
            (unsigned long long)(min_u64(resman->vram.visible_bytes, hw->vram_bytes) >> 20),
            resman->mmu.version);
    status = resman_tables_read(resman);
    if (status != NV_OK)
        return status;
    hw_step(hw, "%u engines with runlists", resman->engine_count);
    status = resman_context_start(resman);
    if (status == NV_OK)
        hw_step(hw, "golden context");
    return status;
}

/* A text console on this very GPU would draw into what is about to be page tables and buffers. */
static void leave_screen(struct pci_device *pci, const char *name)
{
    if (pci_enable(pci) != 0)
        return; /* the start says so */
    for (unsigned i = 0; i < ARRAY_COUNT(pci->bar); i++)
        if (!pci->bar[i].is_io && screen_leave(pci->bar[i].pa, pci->bar[i].size_bytes))
            log_warn(
                "%s: the screen is on this GPU: from here on it shows no text; the log goes on "
                "over HTTP and on the serial port",
                name);
}

static int transport_open(unsigned index, void **context, uint32_t *gpu_id, char *error,
                          size_t error_bytes)
{
    struct pci_device *pci = gsp_pci_device(index);
    if (!pci)
        return -ENODEV;
    char name[16];
    snprintf(name, sizeof(name), "nvidia%u", index);
    struct resman *resman = calloc(1, sizeof(*resman));
    if (resman)
        resman->message = malloc(RESMAN_MESSAGE_BYTES);
    if (!resman || !resman->message ||
        va_init(&resman->va, RESMAN_GVA, RESMAN_GVA_END - RESMAN_GVA) != 0) {
        snprintf(error, error_bytes, "no memory for a device");
        if (resman)
            free(resman->message);
        free(resman);
        return -ENOMEM;
    }
    leave_screen(pci, name);
    int result = gsp_start(&resman->gsp, pci, name);
    if (result) {
        snprintf(error, error_bytes, "%s", resman->gsp.hw.error);
        va_fini(&resman->va);
        free(resman->message);
        free(resman);
        return result == -ENODEV ? -EIO : result; /* -ENODEV says that there are no more */
    }
    resman->gsp.events.on_channel_error_arg = resman;
    resman->gsp.events.on_channel_error = resman_channel_error;
    resman->gsp.interrupts.any = &resman->completion;
    uint32_t status = resman_start(resman);
    if (status != NV_OK) {
        snprintf(error, error_bytes, "%s",
                 resman->error[0] ? resman->error : rm_status_name(status));
        resman_stop(resman);
        return rm_status_errno(status) == -ENODEV ? -EIO : rm_status_errno(status);
    }
    *context = resman;
    *gpu_id = index;
    return 0;
}

static void transport_close(void *context)
{
    resman_stop(context);
}

const struct rm_transport gsp_transport = {
    .name = "the GSP's firmware",
    .identify = transport_identify,
    .open = transport_open,
    .close = transport_close,
    .alloc = transport_alloc,
    .control = transport_control,
    .free = transport_free,
    .map_cpu = transport_map_cpu,
    .unmap_cpu = transport_unmap_cpu,
    .map_gpu = transport_map_gpu,
    .unmap_gpu = transport_unmap_gpu,
    .register_host = transport_register_host,
    .error = transport_error,
    .describe = transport_describe,
    .bus_address = transport_bus_address,
    .flush_bus_writes = transport_flush_bus_writes,
    .completion = transport_completion,
    .poll = transport_poll,
};
