/*
 * gpu/nvidia/gsp/resman_controls.c: controls that the CPU's side of RM answers, the others go on to the GSP.
 *
 * Which are which: open-gpu-kernel-modules 570.144, the method tables in generated/g_*_nvoc.c; a control without
 * RMCTRL_FLAGS_ROUTE_TO_PHYSICAL (0x40) is the CPU side's. Those that gpu/nvidia uses:
 *   SYSTEM_GET_BUILD_VERSION_V2, GPU_GET_ID_INFO_V2, GPU_GET_CLASSLIST_V2, GPU_GET_NAME_STRING, GR_GET_INFO_V2, FB_GET_INFO_V2,
 *   GPU_GET_ENGINES_V2, CE_GET_ALL_CAPS, GPFIFO_GET_WORK_SUBMIT_TOKEN, DEBUG_READ_MMU_FAULT_INFO   here
 *   GPFIFO_SCHEDULE                                    CPU's, which passes it on (kernel_channel_group_api.c)
 *   THERMAL_SYSTEM_EXECUTE_V2, ECC_GET_VOLATILE_COUNTS, DEBUG_READ_ALL_SM_ERROR_STATES             the GSP
 */
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/resman.h"

#define ACCESS_UNKNOWN 0xffu /* of an MMU fault: the GSP's event does not say */

static uint32_t get_classes(struct resman *resman, struct rm_class_list *list)
{
    list->count = resman_classes(resman, list->classes);
    return NV_OK;
}

static uint32_t get_geometry(struct resman *resman, struct rm_gr_info_list *list)
{
    if (list->count > ARRAY_COUNT(list->info))
        return NV_ERR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->info[i].index >= RM_GR_INFO_MAX)
            return NV_ERR_INVALID_ARGUMENT;
        list->info[i].data = resman->gr_info[list->info[i].index];
    }
    return NV_OK;
}

static uint32_t get_memory(struct resman *resman, struct rm_fb_info_list *list)
{
    if (list->count > ARRAY_COUNT(list->info))
        return NV_ERR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->info[i].index != NV2080_CTRL_FB_INFO_INDEX_HEAP_SIZE)
            return NV_ERR_NOT_SUPPORTED;
        list->info[i].data = (uint32_t)(resman->vram.total_bytes >> 10);
    }
    return NV_OK;
}

static uint32_t get_engines(struct resman *resman, struct rm_engine_list *list)
{
    list->count = 0;
    static_assert(ARRAY_COUNT(resman->engines) <= ARRAY_COUNT(list->engines), "all fit");
    for (unsigned i = 0; i < resman->engine_count && i < ARRAY_COUNT(resman->engines); i++)
        list->engines[list->count++] = resman->engines[i].type;
    return NV_OK;
}

/* The GSP tells what the hardware can; which engines there are and where they run is the CPU side's to add. */
static uint32_t get_copy_caps(struct resman *resman, uint32_t client, uint32_t object,
                              struct rm_ce_caps *caps)
{
    uint32_t status = resman_rpc_control(
        resman, client, object, NV2080_CTRL_CMD_CE_GET_ALL_PHYSICAL_CAPS, caps, sizeof(*caps));
    for (unsigned i = 0; i < resman->engine_count && status == NV_OK; i++) {
        const struct resman_engine *engine = &resman->engines[i];
        if (engine->type == NV2080_ENGINE_TYPE_GRAPHICS)
            continue;
        unsigned index = engine->interrupt - MC_ENGINE_IDX_CE0;
        caps->present |= BIT(index);
        if (resman_engine_is_on_graphics(resman, engine))
            caps->caps[index][0] |= NV2080_CTRL_CE_CAPS_CE_GRCE;
    }
    return status;
}

static uint32_t get_token(struct resman *resman, uint32_t object,
                          struct rm_work_submit_token *token)
{
    const struct resman_channel *channel =
        (struct resman_channel *)resman_find(resman, object, RESMAN_CHANNEL);
    if (!channel)
        return resman_fail(resman, NV_ERR_INVALID_OBJECT_HANDLE, "no channel 0x%08x", object);
    token->token = resman_channel_token(resman, channel);
    return NV_OK;
}

static uint32_t get_mmu_fault(struct resman *resman, struct rm_mmu_faults *faults)
{
    uint64_t saved = spin_lock(&resman->channel_lock);
    faults->count = resman->mmu_fault.is_valid ? 1 : 0;
    faults->fault[0] = (struct rm_mmu_fault){.address = resman->mmu_fault.address,
                                             .fault_type = resman->mmu_fault.type,
                                             .access_type = ACCESS_UNKNOWN};
    resman->mmu_fault.is_valid = false; /* told once, as RM does */
    spin_unlock(&resman->channel_lock, saved);
    return NV_OK;
}

/* The parameters' size, when this control is answered here; 0: it is not. */
static uint32_t local_bytes(uint32_t command)
{
    switch (command) {
    case NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2:
        return sizeof(struct rm_build_version);
    case NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2:
        return sizeof(struct rm_gpu_id_info);
    case NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2:
        return sizeof(struct rm_class_list);
    case NV2080_CTRL_CMD_GPU_GET_NAME_STRING:
        return sizeof(struct rm_name_string);
    case NV2080_CTRL_CMD_GR_GET_INFO_V2:
        return sizeof(struct rm_gr_info_list);
    case NV2080_CTRL_CMD_FB_GET_INFO_V2:
        return sizeof(struct rm_fb_info_list);
    case NV2080_CTRL_CMD_GPU_GET_ENGINES_V2:
        return sizeof(struct rm_engine_list);
    case NV2080_CTRL_CMD_CE_GET_ALL_CAPS:
        return sizeof(struct rm_ce_caps);
    case NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN:
        return sizeof(struct rm_work_submit_token);
    case NV83DE_CTRL_CMD_DEBUG_READ_MMU_FAULT_INFO:
        return sizeof(struct rm_mmu_faults);
    default:
        return 0;
    }
}

uint32_t resman_control(struct resman *resman, uint32_t client, uint32_t object, uint32_t command,
                        void *params, uint32_t params_bytes)
{
    uint32_t wanted = local_bytes(command);
    if (wanted != 0 && params_bytes != wanted)
        return resman_fail(resman, NV_ERR_INVALID_PARAM_STRUCT,
                           "control 0x%08x with %u bytes, not %u", command, params_bytes, wanted);
    switch (command) {
    case NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2:
        snprintf(((struct rm_build_version *)params)->driver_version,
                 sizeof(((struct rm_build_version *)params)->version), "%s", GSP_FIRMWARE_VERSION);
        return NV_OK;
    case NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2: /* the one device of its GSP */
        ((struct rm_gpu_id_info *)params)->device_instance = 0;
        ((struct rm_gpu_id_info *)params)->subdevice_instance = 0;
        return NV_OK;
    case NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2:
        return get_classes(resman, params);
    case NV2080_CTRL_CMD_GPU_GET_NAME_STRING:
        snprintf(((struct rm_name_string *)params)->ascii,
                 sizeof(((struct rm_name_string *)params)->ascii), "%s", resman->gsp.info.name);
        return NV_OK;
    case NV2080_CTRL_CMD_GR_GET_INFO_V2:
        return get_geometry(resman, params);
    case NV2080_CTRL_CMD_FB_GET_INFO_V2:
        return get_memory(resman, params);
    case NV2080_CTRL_CMD_GPU_GET_ENGINES_V2:
        return get_engines(resman, params);
    case NV2080_CTRL_CMD_CE_GET_ALL_CAPS:
        return get_copy_caps(resman, client, object, params);
    case NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN:
        return get_token(resman, object, params);
    case NV83DE_CTRL_CMD_DEBUG_READ_MMU_FAULT_INFO:
        return get_mmu_fault(resman, params);
    case NVA06C_CTRL_CMD_GPFIFO_SCHEDULE: {
        struct rm_schedule sent;
        if (params_bytes != sizeof(sent))
            return resman_fail(resman, NV_ERR_INVALID_PARAM_STRUCT, "scheduling with %u bytes",
                               params_bytes);
        memcpy(&sent, params, sizeof(sent));
        return resman_rpc_control(resman, client, object, command, &sent, RM_570_SCHEDULE_BYTES);
    }
    default:
        return resman_rpc_control(resman, client, object, command, params, params_bytes);
    }
}
