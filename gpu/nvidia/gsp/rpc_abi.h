/*
 * gpu/nvidia/gsp/rpc_abi.h: what travels between the CPU and the GSP's Resource Manager through the two message queues.
 *
 * Source: NVIDIA open-gpu-kernel-modules, tag 570.144, the very version of the firmware: message_queue_priv.h (element),
 * msgq_priv.h (queue headers), g_rpc-message-header.h (message), g_rpc-structures.h and g_sdk-structures.h (payloads),
 * rpc_headers.h and rpc_global_enums.h (numbers), gsp_static_config.h, gsp_init_args.h, g_os_nvoc.h (registry).
 * Sizes and offsets as gcc lays those headers out on x86-64. NVIDIA keeps none of this stable between versions.
 *
 * Shared memory, all of it 4 KiB pages:
 *     page table     the bus address of every page of the area, the table's own pages first, 8 bytes each
 *     command queue  one page of headers, then the elements: written by the CPU
 *     status queue   the same, written by the GSP
 * Each queue begins with a transmit header that its writer owns. The receive header behind it holds the read pointer of
 * the *other* queue (MSGQ_FLAGS_SWAP_RX), so that each side writes to its own queue only.
 * A record is one to sixteen elements of 4 KiB: an element header, a message header, the payload. What does not fit goes on
 * in records of function CONTINUATION_RECORD.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_RPC_ABI_H
#define INGOT_GPU_NVIDIA_GSP_RPC_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* ---- queues (msgq_priv.h, message_queue_priv.h) ---------------------------------------------------------------- */

#define RPC_PAGE_BYTES          4096u
#define RPC_ELEMENT_BYTES       4096u /* GSP_MSG_QUEUE_ELEMENT_SIZE_MIN */
#define RPC_RECORD_ELEMENTS_MAX 16u   /* GSP_MSG_QUEUE_ELEMENT_SIZE_MAX in elements */
#define RPC_QUEUE_BYTES         0x40000u /* defaultCommandQueueSize, defaultStatusQueueSize */

#define MSGQ_VERSION            0u
#define MSGQ_FLAGS_SWAP_RX      1u

struct msgq_tx_header { /* msgqTxHeader */
    uint32_t version, size_bytes, element_bytes, element_count;
    uint32_t write_index; /* of the next free element */
    uint32_t flags, rx_header_offset, entry_offset;
};
static_assert(sizeof(struct msgq_tx_header) == 32, "msgq_priv.h");

struct msgq_rx_header { /* msgqRxHeader */
    uint32_t read_index; /* of the next element to read */
};

struct rpc_element_header { /* GSP_MSG_QUEUE_ELEMENT up to its message */
    uint8_t auth_tag[16], aad[16]; /* confidential computing only: zero */
    uint32_t checksum;             /* makes the xor of the record's 32-bit words zero */
    uint32_t sequence;             /* counts records, from 0 in each direction */
    uint32_t element_count, padding;
};
static_assert(sizeof(struct rpc_element_header) == 48, "message_queue_priv.h");

struct rpc_message_header { /* rpc_message_header_v03_00 */
    uint32_t header_version, signature;
    uint32_t length_bytes; /* of this header and the payload that follows it in this record */
    uint32_t function;
    uint32_t result, result_private;
    uint32_t sequence, spare; /* zero towards the GSP */
};
static_assert(sizeof(struct rpc_message_header) == 32, "g_rpc-message-header.h");

#define RPC_HEADERS_BYTES (sizeof(struct rpc_element_header) + sizeof(struct rpc_message_header))
/* What one record carries behind its two headers. */
#define RPC_RECORD_PAYLOAD_MAX (RPC_RECORD_ELEMENTS_MAX * RPC_ELEMENT_BYTES - RPC_HEADERS_BYTES)

#define NV_VGPU_MSG_HEADER_VERSION                  0x03000000u /* major 3 in bits 31:24, minor 0 */
#define NV_VGPU_MSG_SIGNATURE_VALID                 0x43505256u /* "VRPC" */
#define NV_VGPU_MSG_RESULT_RPC_UNKNOWN_FUNCTION     0xff100001u
#define NV_VGPU_MSG_RESULT_RPC_INVALID_MESSAGE_FORMAT 0xff100002u
#define NV_VGPU_MSG_RESULT_RPC_PENDING              0xffffffffu

/* ---- start arguments (gsp_init_args.h): the firmware finds the queues through these ------------------------------ */

struct gsp_queue_arguments { /* MESSAGE_QUEUE_INIT_ARGUMENTS */
    uint64_t shared_memory_bus;
    uint32_t page_table_entry_count, padding;
    uint64_t command_queue_offset, status_queue_offset;
};
static_assert(sizeof(struct gsp_queue_arguments) == 32, "gsp_init_args.h");

struct gsp_rm_arguments { /* GSP_ARGUMENTS_CACHED, the "RMARGS" region */
    struct gsp_queue_arguments queues;
    uint32_t sr_old_level, sr_flags; /* GSP_SR_INIT_ARGUMENTS: zero, we never resume from sleep */
    uint8_t sr_in_pm_transition, sr_padding[3];
    uint32_t gpu_instance;
    uint8_t dmem_stack; /* 1: RM's stack in the GSP's data memory, the default (kgspPopulateGspRmInitArgs) */
    uint8_t padding[7];
    uint64_t profiler_bus, profiler_bytes;
};
static_assert(sizeof(struct gsp_rm_arguments) == 72, "gsp_init_args.h");
static_assert(offsetof(struct gsp_rm_arguments, gpu_instance) == 44, "gsp_init_args.h");
static_assert(offsetof(struct gsp_rm_arguments, profiler_bus) == 56, "gsp_init_args.h");

/* ---- functions and events (rpc_global_enums.h) ------------------------------------------------------------------- */

#define NV_VGPU_MSG_FUNCTION_NOP                        0
#define NV_VGPU_MSG_FUNCTION_ALLOC_MEMORY               4
#define NV_VGPU_MSG_FUNCTION_FREE                       10
#define NV_VGPU_MSG_FUNCTION_MAP_MEMORY_DMA             14
#define NV_VGPU_MSG_FUNCTION_UNMAP_MEMORY_DMA           15
#define NV_VGPU_MSG_FUNCTION_DUP_OBJECT                 21
#define NV_VGPU_MSG_FUNCTION_UNLOADING_GUEST_DRIVER     47
#define NV_VGPU_MSG_FUNCTION_SET_PAGE_DIRECTORY         54
#define NV_VGPU_MSG_FUNCTION_GET_GSP_STATIC_INFO        65
#define NV_VGPU_MSG_FUNCTION_UPDATE_BAR_PDE             70
#define NV_VGPU_MSG_FUNCTION_CONTINUATION_RECORD        71
#define NV_VGPU_MSG_FUNCTION_GSP_SET_SYSTEM_INFO        72
#define NV_VGPU_MSG_FUNCTION_SET_REGISTRY               73
#define NV_VGPU_MSG_FUNCTION_GSP_RM_CONTROL             76
#define NV_VGPU_MSG_FUNCTION_UNSET_PAGE_DIRECTORY       79
#define NV_VGPU_MSG_FUNCTION_GSP_RM_ALLOC               103
#define NV_VGPU_MSG_FUNCTION_INVALIDATE_TLB             200
#define NV_VGPU_MSG_FUNCTION_ECC_NOTIFIER_WRITE_ACK     202
#define NV_VGPU_MSG_FUNCTION_NUM_FUNCTIONS              227

#define NV_VGPU_MSG_EVENT_FIRST_EVENT                   0x1000
#define NV_VGPU_MSG_EVENT_GSP_INIT_DONE                 0x1001
#define NV_VGPU_MSG_EVENT_GSP_RUN_CPU_SEQUENCER         0x1002
#define NV_VGPU_MSG_EVENT_POST_EVENT                    0x1003
#define NV_VGPU_MSG_EVENT_RC_TRIGGERED                  0x1004
#define NV_VGPU_MSG_EVENT_MMU_FAULT_QUEUED              0x1005
#define NV_VGPU_MSG_EVENT_OS_ERROR_LOG                  0x1006
#define NV_VGPU_MSG_EVENT_RG_LINE_INTR                  0x1007
#define NV_VGPU_MSG_EVENT_GPUACCT_PERFMON_UTIL_SAMPLES  0x1008
#define NV_VGPU_MSG_EVENT_SEMAPHORE_SCHEDULE_CALLBACK   0x100b
#define NV_VGPU_MSG_EVENT_UCODE_LIBOS_PRINT             0x100c
#define NV_VGPU_MSG_EVENT_PERF_BRIDGELESS_INFO_UPDATE   0x100f
#define NV_VGPU_MSG_EVENT_DISPLAY_MODESET               0x1011
#define NV_VGPU_MSG_EVENT_TIMED_SEMAPHORE_RELEASE       0x1018
#define NV_VGPU_MSG_EVENT_GSP_LOCKDOWN_NOTICE           0x101c
#define NV_VGPU_MSG_EVENT_UPDATE_GSP_TRACE              0x101e
#define NV_VGPU_MSG_EVENT_GSP_POST_NOCAT_RECORD         0x1020
#define NV_VGPU_MSG_EVENT_FECS_ERROR                    0x1021
#define NV_VGPU_MSG_EVENT_RECOVERY_ACTION               0x1022
#define NV_VGPU_MSG_EVENT_NUM_EVENTS                    0x1023

/* ---- the object model (g_rpc-structures.h). Request and reply have the same layout; the parameters follow. --------- */

struct rpc_rm_alloc { /* rpc_gsp_rm_alloc_v03_00 */
    uint32_t client, parent, object, class_id;
    uint32_t status; /* reply: the RM status, 0 is success */
    uint32_t params_bytes, flags, reserved;
};
static_assert(sizeof(struct rpc_rm_alloc) == 32, "g_rpc-structures.h");

struct rpc_rm_control { /* rpc_gsp_rm_control_v03_00 */
    uint32_t client, object, command;
    uint32_t status; /* reply */
    uint32_t params_bytes, flags;
};
static_assert(sizeof(struct rpc_rm_control) == 24, "g_rpc-structures.h");
/* flags of alloc and control (rmapi.h) */
#define RMAPI_RPC_FLAGS_COPYOUT_ON_ERROR 0x1u /* the reply carries the parameters even when the call failed */
#define RMAPI_RPC_FLAGS_SERIALIZED       0x2u /* parameters in FINN's serialised form: never set by us */

struct rpc_rm_free { /* rpc_free_v03_00 */
    uint32_t client, parent, object, status;
};

struct rpc_dup_object { /* rpc_dup_object_v03_00 */
    uint32_t client, parent, object, source_client, source_object, flags, status;
};

struct rpc_alloc_memory { /* rpc_alloc_memory_v13_01, followed by page_count frame numbers (address >> 12), 8 bytes each */
    uint32_t client, device, memory, class_id, flags, pte_adjust, format, padding;
    uint64_t length_bytes;
    uint32_t page_count, padding2;
    uint32_t pte_desc; /* bits 1:0 levels of indirection (0: the list itself), 31:16 entries, modulo 2^16 */
    uint32_t padding3;
};
static_assert(offsetof(struct rpc_alloc_memory, length_bytes) == 32, "g_rpc-structures.h");
static_assert(offsetof(struct rpc_alloc_memory, pte_desc) == 48, "g_rpc-structures.h");
static_assert(sizeof(struct rpc_alloc_memory) == 56, "g_rpc-structures.h");

struct rpc_set_page_directory { /* rpc_set_page_directory_v1E_05 */
    uint32_t client, device, pasid, padding;
    uint64_t physical_address;
    uint32_t entry_count, flags, vaspace, channel_id, subdevice_id, pasid2;
};
static_assert(sizeof(struct rpc_set_page_directory) == 48, "g_rpc-structures.h, g_sdk-structures.h");

struct rpc_unset_page_directory { /* rpc_unset_page_directory_v1E_05 */
    uint32_t client, device, vaspace, subdevice_id;
};

struct rpc_update_bar_pde { /* UpdateBarPde_v15_00 */
    uint32_t bar_type, padding; /* 0: BAR1, 1: BAR2 */
    uint64_t entry_value, entry_level_shift;
};
static_assert(sizeof(struct rpc_update_bar_pde) == 24, "g_sdk-structures.h");

struct rpc_unloading_guest_driver { /* rpc_unloading_guest_driver_v1F_07 */
    uint8_t in_pm_transition, gc6_entering, padding[2];
    uint32_t new_level;
};
static_assert(sizeof(struct rpc_unloading_guest_driver) == 8, "g_rpc-structures.h");

/* ---- registry: settings for RM, sent before it starts (g_os_nvoc.h) ------------------------------------------------ */

struct rpc_registry_table { /* PACKED_REGISTRY_TABLE; the entries, then the names, follow */
    uint32_t size_bytes, entry_count;
};

struct rpc_registry_entry { /* PACKED_REGISTRY_ENTRY */
    uint32_t name_offset; /* from the table's start; NUL-terminated */
    uint8_t type, padding[3];
    uint32_t data, length_bytes;
};
static_assert(sizeof(struct rpc_registry_entry) == 16, "g_os_nvoc.h");
#define REGISTRY_TABLE_ENTRY_TYPE_DWORD 1

/* ---- system information, sent before the registry (GspSystemInfo, gsp_static_config.h) ------------------------------ */

struct rpc_system_info {
    uint64_t bar0_bus, bar1_bus, bar3_bus, io_bus; /* gpuPhysAddr, gpuPhysFbAddr, gpuPhysInstAddr, gpuPhysIoAddr */
    uint64_t domain_bus_device; /* nvDomainBusDeviceFunc: domain << 32 | bus << 8 | device (NVGPU_BUSDEVICE_...) */
    uint64_t sim_access_bus, notify_op_bus, pcie_atomics_op_mask, console_bytes;
    uint64_t max_user_va;
    uint32_t config_mirror_base, config_mirror_bytes; /* where PCI configuration space is in BAR0 */
    uint32_t pci_device_id, pci_subdevice_id, pci_revision_id; /* the 32-bit words of configuration space; revision a byte */
    uint32_t pcie_atomics_cpl_device_cap_mask;
    uint8_t oor_arch, padding[7];
    uint64_t cl_pdb_properties;
    uint32_t chipset;
    uint8_t gpu_behind_bridge, flr_supported, bar0_is_64, mnoc_available;
    uint32_t chipset_l1ss_enable;
    uint8_t upstream_l0s_unsupported, upstream_l1_unsupported, upstream_l1_por_supported, upstream_l1_por_mobile_only;
    uint8_t system_has_mux, upstream_address_valid;
    uint8_t fhb_bus_info[10], chipset_id_info[10];
    uint8_t padding2[2];
    uint8_t acpi_method_data[676]; /* ACPI_METHOD_DATA: zero, bValid false */
    uint32_t hypervisor_type;
    uint8_t is_passthru, padding3[7];
    uint64_t system_timer_offset_ns;
    uint32_t vf_total, vf_first_offset; /* GSP_VF_INFO: no virtual functions */
    uint64_t vf_first_bar[3];
    uint8_t vf_bar_is_64[3], padding4[5];
    uint8_t is_primary, is_grid_build, padding5[2];
    uint32_t pcie_link_cap, grid_build_csp;
    uint8_t preserve_video_memory, tdr_event_supported, stretch_vblank_capable, dynamic_granularity_page_arrays;
    uint8_t clock_boost_supported, route_display_interrupts_to_cpu, padding6[6];
    uint64_t host_page_bytes;
};
static_assert(sizeof(struct rpc_system_info) == 928, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, max_user_va) == 72, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, cl_pdb_properties) == 112, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, fhb_bus_info) == 138, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, acpi_method_data) == 160, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, hypervisor_type) == 836, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, vf_total) == 856, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, is_primary) == 896, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, preserve_video_memory) == 908, "gsp_static_config.h");
static_assert(offsetof(struct rpc_system_info, host_page_bytes) == 920, "gsp_static_config.h");

/* ---- static information, the reply to GET_GSP_STATIC_INFO (GspStaticConfigInfo, gsp_static_config.h) ------------------ */

#define RPC_FB_REGION_MAX 16 /* NV2080_CTRL_CMD_FB_GET_FB_REGION_INFO_MAX_ENTRIES */

struct rpc_fb_region { /* NV2080_CTRL_CMD_FB_GET_FB_REGION_FB_REGION_INFO */
    uint64_t base, limit, reserved; /* limit: the last byte */
    uint32_t performance;
    uint8_t supports_compressed, supports_iso, is_protected, black_list[17];
};
static_assert(sizeof(struct rpc_fb_region) == 48, "ctrl2080fb.h");

struct rpc_static_info {
    uint8_t gr_caps[23], padding;
    uint32_t gid_index, gid_flags, gid_length_bytes;
    uint8_t gid[256];
    uint8_t sku_info[48];
    uint32_t padding2;
    uint32_t fb_region_count, padding3;
    struct rpc_fb_region fb_region[RPC_FB_REGION_MAX];
    uint8_t sriov_caps[80];
    uint32_t sriov_max_gfid;
    uint32_t engine_caps[3];
    uint8_t poison_fuse_enabled, padding4[7];
    uint64_t fb_bytes, fbio_mask;
    uint32_t fb_bus_bits, fb_ram_type;
    uint64_t fbp_mask;
    uint32_t l2_cache_bytes;
    char name[64], short_name[64]; /* gpuNameString, gpuShortNameString; not trusted to be terminated */
    uint16_t name_utf16[64];
    uint8_t sku_flags[14]; /* bGpuInternalSku .. bIsMigSupported, in the order of the source */
#define RPC_STATIC_INFO_SKU_MIG 13
    uint16_t gc6_board_power, gc6_perst_delay, padding5;
    uint64_t bar1_pde_base, bar2_pde_base;
    uint8_t vbios_valid, padding6[3];
    uint32_t vbios_sub_vendor, vbios_sub_device;
    uint8_t page_retirement_supported, split_vas, root_port_needs_nosnoop, padding7;
    uint32_t displayless[5], padding8; /* heads, resolution */
    uint64_t displayless_max_pixels;
    uint32_t internal_client, internal_device, internal_subdevice; /* handles for controls on RM's own objects */
    uint8_t self_hosted, ats_supported, is_gpu_uefi, is_efi_init;
    uint32_t ecid[6];
    uint64_t non_wpr_heap_offset, frts_offset;
};
static_assert(sizeof(struct rpc_static_info) == 1656, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, gid) == 36, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, fb_region) == 352, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, sriov_caps) == 1120, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, fb_bytes) == 1224, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, name) == 1260, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, sku_flags) == 1516, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, bar1_pde_base) == 1536, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, displayless) == 1568, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, internal_client) == 1600, "gsp_static_config.h");
static_assert(offsetof(struct rpc_static_info, non_wpr_heap_offset) == 1640, "gsp_static_config.h");

/* ---- events from the GSP (g_rpc-structures.h) ------------------------------------------------------------------------ */

struct rpc_run_cpu_sequencer { /* rpc_run_cpu_sequencer_v17_00; command_words words of the buffer that follows are in use */
    uint32_t buffer_words, command_words;
    uint32_t save_area[8];
};
static_assert(sizeof(struct rpc_run_cpu_sequencer) == 40, "g_rpc-structures.h");

struct rpc_post_event { /* rpc_post_event_v17_00; event_bytes bytes follow at offset 29 */
    uint32_t client, event, notify_index, data;
    uint16_t info16, padding;
    uint32_t status, event_bytes;
    uint8_t notify_list;
};
static_assert(offsetof(struct rpc_post_event, notify_list) == 28, "g_rpc-structures.h");

struct rpc_rc_triggered { /* rpc_rc_triggered_v17_02; journal_bytes bytes follow */
    uint32_t engine_type, channel_id, gfid, except_level;
    uint32_t except_type; /* the ROBUST_CHANNEL_... number that drivers print as "Xid" */
    uint32_t scope;
    uint16_t partition_attribution_id, padding;
    uint32_t mmu_fault_address_lo, mmu_fault_address_hi, mmu_fault_type;
    uint8_t callback_needed, padding2[3];
    uint32_t journal_bytes;
};
static_assert(offsetof(struct rpc_rc_triggered, mmu_fault_address_lo) == 28, "g_rpc-structures.h");
static_assert(sizeof(struct rpc_rc_triggered) == 48, "g_rpc-structures.h");

struct rpc_os_error_log { /* rpc_os_error_log_v17_00 */
    uint32_t except_type, runlist_id, channel_id; /* channel_id 0xffffffff: none */
    char text[256];                              /* not trusted to be terminated */
    uint32_t previous_xid;
};
static_assert(sizeof(struct rpc_os_error_log) == 272, "g_rpc-structures.h");

struct rpc_ucode_libos_print { /* rpc_ucode_libos_print_v1E_08; print_bytes bytes follow */
    uint32_t engine, print_bytes;
};

struct rpc_nocat_record { /* NV2080CtrlNocatJournalInsertRecord (ctrl2080nvd.h): a note about an error; more follows */
    uint32_t flags, padding;
    uint64_t time_ns;
    uint8_t type, padding2[3];
    uint32_t bugcheck;
    char source[65]; /* the texts are not trusted to be terminated */
    uint8_t padding3[3];
    uint32_t subsystem;
    uint64_t error;
    char engine[65];
};
static_assert(offsetof(struct rpc_nocat_record, source) == 24, "ctrl2080nvd.h");
static_assert(offsetof(struct rpc_nocat_record, engine) == 104, "ctrl2080nvd.h");

struct rpc_lockdown_notice { /* rpc_gsp_lockdown_notice_v17_00 */
    uint8_t engaging;
};

/* CPU sequencer operations: an operation word, then its arguments (rmgspseq.h) */
#define GSP_SEQ_BUF_OPCODE_REG_WRITE          0 /* register, value */
#define GSP_SEQ_BUF_OPCODE_REG_MODIFY         1 /* register, mask, value */
#define GSP_SEQ_BUF_OPCODE_REG_POLL           2 /* register, mask, value, time, error number */
#define GSP_SEQ_BUF_OPCODE_DELAY_US           3 /* microseconds */
#define GSP_SEQ_BUF_OPCODE_REG_STORE          4 /* register, index into the save area */
#define GSP_SEQ_BUF_OPCODE_CORE_RESET         5
#define GSP_SEQ_BUF_OPCODE_CORE_START         6
#define GSP_SEQ_BUF_OPCODE_CORE_WAIT_FOR_HALT 7
#define GSP_SEQ_BUF_OPCODE_CORE_RESUME        8
#define GSP_SEQ_BUF_REG_SAVE_SIZE             8

#endif
