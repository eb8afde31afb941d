/*
 * gpu/nvidia/rm_abi.h: the binary interface of NVIDIA's Resource Manager (RM), as far as Ingot uses it.
 *
 * RM is an object tree: a client owns devices, a device owns memory, address spaces and channels. It is driven by three
 * calls, alloc (class + parameters), control (object + command + parameters) and free. The same calls with the same
 * parameter blocks travel as ioctls to NVIDIA's Linux driver and as RPC messages to the GSP firmware.
 *
 * Source: NVIDIA open-gpu-kernel-modules 580.105.08, src/common/sdk/nvidia/inc: nvos.h, alloc/alloc_channel.h, class/cl*.h,
 * ctrl/ctrl*.h; sizes and offsets as its compiler lays them out on x86-64. Seen working with driver 580.159 on an H200.
 * The layouts are not promised between driver branches: rm_open() checks the branch.
 */
#ifndef INGOT_GPU_NVIDIA_RM_ABI_H
#define INGOT_GPU_NVIDIA_RM_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

/* ---- classes --------------------------------------------------------------------------------------------------- */

#define NV01_ROOT_CLIENT                0x0041
#define NV01_DEVICE_0                   0x0080
#define NV20_SUBDEVICE_0                0x2080
#define NV01_MEMORY_SYSTEM              0x003e
#define NV01_MEMORY_LOCAL_USER          0x0040
#define NV01_MEMORY_VIRTUAL             0x0070
#define NV01_MEMORY_SYSTEM_OS_DESCRIPTOR 0x0071
#define FERMI_VASPACE_A                 0x90f1
#define FERMI_CONTEXT_SHARE_A           0x9067
#define KEPLER_CHANNEL_GROUP_A          0xa06c
#define GT200_DEBUGGER                  0x83de

#define TURING_USERMODE_A               0xc461 /* the doorbell page */
#define AMPERE_USERMODE_A               0xc561
#define HOPPER_USERMODE_A               0xc661
#define BLACKWELL_USERMODE_A            0xc761

#define TURING_CHANNEL_GPFIFO_A         0xc46f
#define AMPERE_CHANNEL_GPFIFO_A         0xc56f
#define HOPPER_CHANNEL_GPFIFO_A         0xc86f
#define BLACKWELL_CHANNEL_GPFIFO_A      0xc96f
#define BLACKWELL_CHANNEL_GPFIFO_B      0xca6f

#define TURING_COMPUTE_A                0xc5c0
#define AMPERE_COMPUTE_A                0xc6c0
#define AMPERE_COMPUTE_B                0xc7c0
#define ADA_COMPUTE_A                   0xc9c0
#define HOPPER_COMPUTE_A                0xcbc0
#define BLACKWELL_COMPUTE_A             0xcdc0
#define BLACKWELL_COMPUTE_B             0xcec0

#define TURING_DMA_COPY_A               0xc5b5
#define AMPERE_DMA_COPY_A               0xc6b5
#define AMPERE_DMA_COPY_B               0xc7b5
#define HOPPER_DMA_COPY_A               0xc8b5
#define BLACKWELL_DMA_COPY_A            0xc9b5
#define BLACKWELL_DMA_COPY_B            0xcab5

/* Engine types (cl2080_notification.h) */
#define NV2080_ENGINE_TYPE_GRAPHICS     0x01
#define NV2080_ENGINE_TYPE_COPY0        0x09
#define NV2080_ENGINE_TYPE_COPY9        0x12
#define NV2080_ENGINE_TYPE_COPY10       0x34
#define NV2080_ENGINE_TYPE_COPY19       0x3d

/* ---- allocation parameters ------------------------------------------------------------------------------------- */

struct rm_device_params { /* NV0080_ALLOC_PARAMETERS */
    uint32_t device_id, client_share, target_client, target_device;
    uint32_t flags, reserved;
    uint64_t va_space_size, va_start, va_limit;
    uint32_t va_mode, reserved2;
};
static_assert(sizeof(struct rm_device_params) == 56, "cl0080.h");
#define NV_DEVICE_ALLOCATION_VAMODE_OPTIONAL_MULTIPLE_VASPACES 0

struct rm_subdevice_params { /* NV2080_ALLOC_PARAMETERS */
    uint32_t subdevice_id;
};

struct rm_vaspace_params { /* NV_VASPACE_ALLOCATION_PARAMETERS */
    uint32_t index, flags;
    uint64_t va_size, va_start, va_limit;
    uint32_t big_page_size, reserved;
    uint64_t va_base;
    uint32_t pasid, reserved2;
};
static_assert(sizeof(struct rm_vaspace_params) == 56, "nvos.h");
#define NV_VASPACE_ALLOCATION_INDEX_GPU_NEW 0

struct rm_virtual_params { /* NV_MEMORY_VIRTUAL_ALLOCATION_PARAMS */
    uint64_t offset, limit;
    uint32_t vaspace, reserved;
};
static_assert(sizeof(struct rm_virtual_params) == 24, "cl0070.h");

struct rm_memory_params { /* NV_MEMORY_ALLOCATION_PARAMS */
    uint32_t owner, type, flags, width, height, pitch, attr, attr2, format, compression_coverage, zcull_coverage, reserved;
    uint64_t range_lo, range_hi, size, alignment, offset, limit, address;
    uint32_t ctag_offset, vaspace, internal_flags, tag, numa_node, reserved2;
};
static_assert(sizeof(struct rm_memory_params) == 128 && offsetof(struct rm_memory_params, range_lo) == 48, "nvos.h");
#define NVOS32_TYPE_IMAGE                             0
#define NVOS32_TYPE_NOTIFIER                          13
#define NVOS32_ALLOC_FLAGS_IGNORE_BANK_PLACEMENT      0x00000001
#define NVOS32_ALLOC_FLAGS_ALIGNMENT_FORCE            0x00000100
#define NVOS32_ALLOC_FLAGS_MEMORY_HANDLE_PROVIDED     0x00004000
#define NVOS32_ALLOC_FLAGS_MAP_NOT_REQUIRED           0x00008000
#define NVOS32_ALLOC_FLAGS_PERSISTENT_VIDMEM          0x00010000
#define NVOS32_ATTR_PAGE_SIZE                         BITS(24, 23)
#define   NVOS32_ATTR_PAGE_SIZE_4KB                   1
#define   NVOS32_ATTR_PAGE_SIZE_BIG                   2 /* 64 KiB */
#define   NVOS32_ATTR_PAGE_SIZE_HUGE                  3 /* 2 MiB with NVOS32_ATTR2_PAGE_SIZE_HUGE_2MB */
#define NVOS32_ATTR_LOCATION                          BITS(26, 25)
#define   NVOS32_ATTR_LOCATION_VIDMEM                 0
#define   NVOS32_ATTR_LOCATION_PCI                    1 /* system memory */
#define NVOS32_ATTR_PHYSICALITY                       BITS(28, 27)
#define   NVOS32_ATTR_PHYSICALITY_CONTIGUOUS          2
#define   NVOS32_ATTR_PHYSICALITY_ALLOW_NONCONTIGUOUS 3
#define NVOS32_ATTR_COHERENCY                         BITS(31, 29)
#define   NVOS32_ATTR_COHERENCY_CACHED                1
#define NVOS32_ATTR2_ZBC                              BITS(1, 0)
#define   NVOS32_ATTR2_ZBC_PREFER_NO_ZBC              1
#define NVOS32_ATTR2_GPU_CACHEABLE                    BITS(3, 2)
#define   NVOS32_ATTR2_GPU_CACHEABLE_YES              1
#define   NVOS32_ATTR2_GPU_CACHEABLE_NO               2
#define NVOS32_ATTR2_PAGE_SIZE_HUGE                   BITS(21, 20)
#define   NVOS32_ATTR2_PAGE_SIZE_HUGE_2MB             1

struct rm_group_params { /* NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS */
    uint32_t error_notifier, ecc_error_notifier, vaspace, engine_type;
    uint8_t is_vgpu_plugin, reserved[3];
};
static_assert(sizeof(struct rm_group_params) == 20, "nvos.h");

struct rm_context_share_params { /* NV_CTXSHARE_ALLOCATION_PARAMETERS */
    uint32_t vaspace, flags, subcontext_id;
};
#define NV_CTXSHARE_ALLOCATION_FLAGS_SUBCONTEXT_ASYNC 1

struct rm_memory_desc { /* NV_MEMORY_DESC_PARAMS */
    uint64_t base, size;
    uint32_t address_space, cache_attribute;
};

struct rm_channel_params { /* NV_CHANNEL_ALLOC_PARAMS */
    uint32_t error_notifier, object_buffer;
    uint64_t gpfifo_offset; /* a GPU virtual address */
    uint32_t gpfifo_entries, flags, context_share, vaspace;
    uint32_t userd_memory[8];
    uint64_t userd_offset[8];
    uint32_t engine_type, cid, subdevice_id, ecc_error_notifier;
    struct rm_memory_desc instance, userd, ramfc, method_buffer;
    uint32_t physical_group, internal_flags;
    struct rm_memory_desc error_notifier_memory, ecc_error_notifier_memory;
    uint32_t process_id, sub_process_id, encrypt_iv[3], decrypt_iv[3], hmac_nonce[8], tpc_config_id, reserved;
};
static_assert(sizeof(struct rm_channel_params) == 368 && offsetof(struct rm_channel_params, instance) == 144 &&
                  offsetof(struct rm_channel_params, process_id) == 296, "alloc_channel.h");

struct rm_copy_params { /* NVB0B5_ALLOCATION_PARAMETERS */
    uint32_t version, engine_type;
};
#define NVB0B5_ALLOCATION_PARAMETERS_VERSION_1 1 /* engine_type is an NV2080_ENGINE_TYPE */

struct rm_usermode_params { /* NV_HOPPER_USERMODE_A_PARAMS */
    uint8_t bar1_mapping, privileged;
};

struct rm_debugger_params { /* NV83DE_ALLOC_PARAMETERS */
    uint32_t debugger_client, app_client, class3d_object;
};

/* Where RM reports a channel's death: written once, status last (nvtypes.h NvNotification). */
struct rm_notification {
    uint32_t time_ns[2];
    uint32_t info32; /* ROBUST_CHANNEL_* (nverror.h), the "Xid" number */
    uint16_t info16, status;
};
static_assert(sizeof(struct rm_notification) == 16, "nvtypes.h");
#define RM_NOTIFICATION_COUNT 3 /* error, work submit token, key rotation (alloc_channel.h) */

/* ---- controls -------------------------------------------------------------------------------------------------- */

#define NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2 0x0000013e
struct rm_build_version {
    char driver_version[256], version[256], branch[256], title[256];
    uint32_t changelist, official_changelist;
};
static_assert(sizeof(struct rm_build_version) == 1032, "ctrl0000system.h");

#define NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2 0x00000205
struct rm_gpu_id_info {
    uint32_t gpu_id, flags, device_instance, subdevice_instance, sli_status, board_id, gpu_instance, numa_id;
};

#define NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2 0x00800292
struct rm_class_list {
    uint32_t count, classes[200];
};
static_assert(sizeof(struct rm_class_list) == 804, "ctrl0080gpu.h");

#define NV2080_CTRL_CMD_GPU_GET_NAME_STRING 0x20800110
struct rm_name_string {
    uint32_t flags; /* 0: ASCII */
    char ascii[128];
};
static_assert(sizeof(struct rm_name_string) == 132, "ctrl2080gpu.h");

struct rm_info {
    uint32_t index, data;
};
#define NV2080_CTRL_CMD_GR_GET_INFO_V2 0x20801228
struct rm_gr_info_list {
    uint32_t count;
    struct rm_info info[0x3a];
    uint32_t reserved;
    uint32_t route_flags, reserved2;
    uint64_t route;
};
static_assert(sizeof(struct rm_gr_info_list) == 488, "ctrl0080gr.h");
#define NV2080_CTRL_GR_INFO_INDEX_SHADER_PIPE_SUB_COUNT  0x09
#define NV2080_CTRL_GR_INFO_INDEX_SM_VERSION             0x0c
#define NV2080_CTRL_GR_INFO_INDEX_MAX_WARPS_PER_SM       0x0d
#define NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_GPCS        0x14
#define NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_TPC_PER_GPC 0x17
#define NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_SM_PER_TPC  0x20

#define NV2080_CTRL_CMD_FB_GET_INFO_V2 0x20801303
struct rm_fb_info_list {
    uint32_t count;
    struct rm_info info[128];
};
static_assert(sizeof(struct rm_fb_info_list) == 1028, "ctrl2080fb.h");
#define NV2080_CTRL_FB_INFO_INDEX_HEAP_SIZE 0x09 /* in KiB */

#define NV2080_CTRL_CMD_GPU_GET_ENGINES_V2 0x20800170
struct rm_engine_list {
    uint32_t count, engines[84];
};
static_assert(sizeof(struct rm_engine_list) == 340, "ctrl2080gpu.h");

#define NV2080_CTRL_CMD_CE_GET_ALL_CAPS 0x20802a0a
struct rm_ce_caps {
    uint8_t caps[64][2];
    uint64_t present;
};
static_assert(sizeof(struct rm_ce_caps) == 136, "ctrl2080ce.h");
#define NV2080_CTRL_CE_CAPS_CE_GRCE 0x01 /* in caps[][0]: runs on the graphics runlist */

#define NV2080_CTRL_CMD_THERMAL_SYSTEM_EXECUTE_V2 0x20800513
struct rm_thermal_instruction {
    uint32_t result, executed, opcode;
    uint32_t operand[8]; /* a sensor's reading: index in, value out */
};
struct rm_thermal {
    uint32_t api_version, api_revision, instruction_bytes, flags, successful, count;
    struct rm_thermal_instruction instruction[32];
};
static_assert(sizeof(struct rm_thermal) == 1432, "ctrl2080thermal.h");
#define THERMAL_SYSTEM_API_VER 1
#define NV2080_CTRL_THERMAL_SYSTEM_GET_STATUS_SENSOR_READING_OPCODE 0x1500

#define NV2080_CTRL_CMD_ECC_GET_VOLATILE_COUNTS 0x20803401
struct rm_ecc_counts { /* since the driver started */
    uint64_t sram_corrected, sram_parity_uncorrected, sram_secded_uncorrected, dram_corrected, dram_uncorrected;
};

#define NVA06C_CTRL_CMD_GPFIFO_SCHEDULE 0xa06c0101
struct rm_schedule {
    uint8_t enable, skip_submit, skip_enable;
};

#define NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN 0xc36f0108
struct rm_work_submit_token {
    uint32_t token;
};

#define NV83DE_CTRL_CMD_DEBUG_READ_ALL_SM_ERROR_STATES 0x83de030c
struct rm_sm_error_state {
    uint32_t global_esr, warp_esr, warp_pc32, global_esr_mask, warp_esr_mask, reserved;
    uint64_t esr_address, warp_pc;
    uint32_t cga_esr, cga_esr_mask;
};
static_assert(sizeof(struct rm_sm_error_state) == 48, "ctrl83dedebug.h");
#define RM_SM_ERROR_STATES_MAX 100
struct rm_sm_errors {
    uint32_t channel, count;
    struct rm_sm_error_state sm[RM_SM_ERROR_STATES_MAX];
    uint32_t mmu_fault_info_old;
    uint8_t mmu_fault_valid, reserved[3];
    uint32_t mmu_fault_info, first_sm;
};
static_assert(sizeof(struct rm_sm_errors) == 4824, "ctrl83dedebug.h");

#define NV83DE_CTRL_CMD_DEBUG_READ_MMU_FAULT_INFO 0x83de0328
struct rm_mmu_fault {
    uint64_t address;
    uint32_t fault_type, access_type;
};
struct rm_mmu_faults {
    struct rm_mmu_fault fault[4];
    uint32_t count, reserved;
};
static_assert(sizeof(struct rm_mmu_faults) == 72, "ctrl83dedebug.h");

#endif
