/*
 * gpu/nvidia/gsp/resman_abi.h: parameters of RM calls that only the CPU's side of RM makes, as firmware 570.144 has them,
 * and where that version differs from gpu/nvidia/rm_abi.h (580.105.08).
 *
 * Source: open-gpu-kernel-modules 570.144, src/common/sdk/nvidia/inc: class/cl0000.h, ctrl/ctrl2080/ctrl2080gpu.h,
 * ctrl2080fifo.h, ctrl2080ce.h, ctrl2080internal.h, ctrl0080/ctrl0080fifo.h, ctrl0080gr.h, ctrl90f1.h, nvos.h; src/nvidia:
 * inc/kernel/gpu/fifo/engine_info.h, gpu_engine_type.h, g_kernel_channel_nvoc.h. Sizes as gcc lays those headers out.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_RESMAN_ABI_H
#define INGOT_GPU_NVIDIA_GSP_RESMAN_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

/* ---- statuses (nvstatuscodes.h) ---------------------------------------------------------------------------------- */

#define NV_OK                         0x00u
#define NV_ERR_GPU_IS_LOST            0x0fu
#define NV_ERR_INSUFFICIENT_RESOURCES 0x1au
#define NV_ERR_INVALID_ADDRESS        0x1eu
#define NV_ERR_INVALID_ARGUMENT       0x1fu
#define NV_ERR_INVALID_CHANNEL        0x21u
#define NV_ERR_INVALID_OBJECT_HANDLE  0x33u
#define NV_ERR_INVALID_PARAM_STRUCT   0x3au
#define NV_ERR_INVALID_STATE          0x40u
#define NV_ERR_NO_MEMORY              0x51u
#define NV_ERR_NOT_SUPPORTED          0x56u
#define NV_ERR_TIMEOUT                0x65u
#define NV_ERR_GENERIC                0xffffu

/* ---- what differs from 580 --------------------------------------------------------------------------------------- */

#define RM_570_VASPACE_BYTES  48u /* NV_VASPACE_ALLOCATION_PARAMETERS without pasid: a prefix of the newer one */
#define RM_570_SCHEDULE_BYTES 2u  /* NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS without bSkipEnable */

#define NV_VASPACE_ALLOCATION_FLAGS_IS_EXTERNALLY_OWNED BIT(3) /* the page tables are ours */

/* ---- allocation parameters --------------------------------------------------------------------------------------- */

#define NV01_ROOT 0x0000
struct rm_root_params { /* NV0000_ALLOC_PARAMETERS */
    uint32_t client, process_id;
    char process_name[100];
    uint32_t padding;
    uint64_t os_pid_info;
};
static_assert(sizeof(struct rm_root_params) == 120, "cl0000.h");

/* rm_channel_params.flags (alloc_channel.h) */
#define NVOS04_FLAGS_PRIVILEGED_CHANNEL             BIT(5)
#define NVOS04_FLAGS_CHANNEL_USERD_INDEX_VALUE      BITS(10, 8)
#define NVOS04_FLAGS_CHANNEL_USERD_INDEX_PAGE_VALUE BITS(20, 12)
#define NVOS04_FLAGS_CHANNEL_USERD_INDEX_PAGE_FIXED BIT(21) /* the two above choose the channel's number */
#define CHANNELS_PER_USERD_PAGE                     8u

/* rm_channel_params.internal_flags (g_kernel_channel_nvoc.h) */
#define NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_PRIVILEGE               BITS(1, 0)
#define   NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_PRIVILEGE_USER        0
#define   NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_PRIVILEGE_ADMIN       1
#define NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_ERROR_NOTIFIER_TYPE     BITS(3, 2)
#define NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_ECC_ERROR_NOTIFIER_TYPE BITS(5, 4)
#define   ERROR_NOTIFIER_TYPE_NONE                                   1
#define   ERROR_NOTIFIER_TYPE_MEMORY                                 3

/* struct rm_memory_desc (g_mem_desc_nvoc.h, nv_memory_type.h) */
#define ADDR_SYSMEM         1u
#define ADDR_FBMEM          2u
#define NV_MEMORY_CACHED    0u
#define NV_MEMORY_UNCACHED  1u

#define RM_INSTANCE_BYTES   4096u /* the instance block: RAMFC, then the address space's page directory */
#define RM_RAMFC_BYTES      512u
#define RM_USERD_BYTES      512u

/* ---- address space ----------------------------------------------------------------------------------------------- */

#define NV90F1_CTRL_CMD_VASPACE_COPY_SERVER_RESERVED_PDES 0x90f10106u
struct rm_reserved_level {
    uint64_t physical_address, size_bytes;
    uint32_t aperture; /* 1: VRAM */
    uint8_t page_shift, padding[3];
};
struct rm_reserved_levels { /* NV90F1_CTRL_VASPACE_COPY_SERVER_RESERVED_PDES_PARAMS */
    uint32_t subdevice, subdevice_id;
    uint64_t page_bytes, gva_low, gva_high;
    uint32_t level_count, padding;
    struct rm_reserved_level level[6];
};
static_assert(sizeof(struct rm_reserved_level) == 24 && sizeof(struct rm_reserved_levels) == 184, "ctrl90f1.h");

/* rpc_set_page_directory.flags (ctrl0080dma.h) */
#define NV0080_CTRL_DMA_SET_PAGE_DIRECTORY_FLAGS_APERTURE_VIDMEM 0u
#define NV0080_CTRL_DMA_SET_PAGE_DIRECTORY_FLAGS_ALL_CHANNELS    BIT(3)
#define RM_PASID_NONE                                            UINT32_MAX

/* ---- context buffers of the graphics engine ------------------------------------------------------------------------ */

#define NV2080_CTRL_CMD_INTERNAL_STATIC_KGR_GET_CONTEXT_BUFFERS_INFO 0x20800a32u
#define RM_GR_ENGINES      8  /* NV2080_CTRL_INTERNAL_GR_MAX_ENGINES; ours is the first */
#define RM_CONTEXT_BUFFERS 26 /* NV0080_CTRL_FIFO_GET_ENGINE_CONTEXT_PROPERTIES_ENGINE_ID_COUNT */
struct rm_context_buffer_size {
    uint32_t size_bytes, align; /* UINT32_MAX, or 0: this chip has no such buffer */
};
struct rm_context_buffers_info {
    struct rm_context_buffer_size engine[RM_GR_ENGINES][RM_CONTEXT_BUFFERS];
};
static_assert(sizeof(struct rm_context_buffers_info) == 1664, "ctrl2080internal.h");
#define RM_CONTEXT_GRAPHICS                 0x00 /* NV0080_CTRL_FIFO_GET_ENGINE_CONTEXT_PROPERTIES_ENGINE_ID_... */
#define RM_CONTEXT_GRAPHICS_PATCH           0x10
#define RM_CONTEXT_GRAPHICS_BUNDLE_CB       0x11
#define RM_CONTEXT_GRAPHICS_PAGEPOOL_GLOBAL 0x12
#define RM_CONTEXT_GRAPHICS_ATTRIBUTE_CB    0x13
#define RM_CONTEXT_GRAPHICS_RTV_CB_GLOBAL   0x14
#define RM_CONTEXT_GRAPHICS_FECS_EVENT      0x17
#define RM_CONTEXT_GRAPHICS_PRIV_ACCESS_MAP 0x18

#define NV2080_CTRL_CMD_GPU_PROMOTE_CTX 0x2080012bu
struct rm_promote_entry { /* NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ENTRY */
    uint64_t physical_address, gva, size_bytes;
    uint32_t physical_attributes;
    uint16_t buffer_id;
    uint8_t initialize, nonmapped;
};
#define RM_PROMOTE_ENTRIES_MAX 16
struct rm_promote { /* NV2080_CTRL_GPU_PROMOTE_CTX_PARAMS */
    uint32_t engine_type, client, channel_id, channel_client, object, virtual_memory;
    uint64_t gva, size_bytes;
    uint32_t entry_count, padding;
    struct rm_promote_entry entry[RM_PROMOTE_ENTRIES_MAX];
};
static_assert(sizeof(struct rm_promote_entry) == 32 && sizeof(struct rm_promote) == 560, "ctrl2080gpu.h");
#define RM_PROMOTE_VIDMEM_UNCACHED 4u /* NV2080_CTRL_GPU_INITIALIZE_CTX: APERTURE_VIDMEM, GPU_CACHEABLE_NO */
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_MAIN                         0
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PATCH                        2
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_BUFFER_BUNDLE_CB             3
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PAGEPOOL                     4
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_ATTRIBUTE_CB                 5
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_RTV_CB_GLOBAL                6
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_FECS_EVENT                   9
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PRIV_ACCESS_MAP              10
#define NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_UNRESTRICTED_PRIV_ACCESS_MAP 11

#define NV2080_CTRL_CMD_CE_GET_FAULT_METHOD_BUFFER_SIZE 0x20802a08u

/* ---- geometry and engines ------------------------------------------------------------------------------------------ */

#define NV2080_CTRL_CMD_INTERNAL_STATIC_KGR_GET_INFO 0x20800a2au
#define RM_GR_INFO_MAX 0x3a /* NV0080_CTRL_GR_INFO_MAX_SIZE */
#define NV2080_CTRL_GR_INFO_INDEX_MAX_SUBCONTEXT_COUNT 0x2c
struct rm_static_gr_info {
    struct rm_static_gr_entry {
        uint32_t index, data;
    } engine[RM_GR_ENGINES][RM_GR_INFO_MAX];
};
static_assert(sizeof(struct rm_static_gr_info) == 3712, "ctrl2080internal.h");

#define NV2080_CTRL_CMD_FIFO_GET_DEVICE_INFO_TABLE 0x20801112u
#define RM_DEVICE_ENTRIES     32
#define RM_DEVICE_ENTRIES_ALL 256
struct rm_device_entry { /* NV2080_CTRL_FIFO_DEVICE_ENTRY */
    uint32_t data[16];   /* by ENGINE_INFO_TYPE_... */
    uint32_t pbdma[2], pbdma_fault[2], pbdma_count;
    char name[16];
};
struct rm_device_table { /* NV2080_CTRL_FIFO_GET_DEVICE_INFO_TABLE_PARAMS */
    uint32_t first, count;
    uint8_t has_more, padding[3];
    struct rm_device_entry entry[RM_DEVICE_ENTRIES];
};
static_assert(sizeof(struct rm_device_entry) == 100 && sizeof(struct rm_device_table) == 3212, "ctrl2080fifo.h");
#define ENGINE_INFO_TYPE_RM_ENGINE_TYPE 2
#define ENGINE_INFO_TYPE_RUNLIST        3
#define RM_ENGINE_TYPE_GR0              0x01
#define RM_ENGINE_TYPE_COPY0            0x09
#define RM_ENGINE_TYPE_COPY19           0x1c
#define NV2080_CTRL_CMD_CE_GET_ALL_PHYSICAL_CAPS 0x20802a0bu

/* The runlist's doorbell bit of GB20x (blackwell/gb202/dev_vm.h, NV_VIRTUAL_FUNCTION_DOORBELL_RUNLIST_DOORBELL). */
#define NV_DOORBELL_RUNLIST_ID          BITS(22, 16)
#define NV_DOORBELL_VECTOR              BITS(11, 0)
#define NV_DOORBELL_RUNLIST_DOORBELL    BIT(30)

#define ROBUST_CHANNEL_FALLEN_OFF_BUS   79u /* nverror.h, ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS */

#endif
