/*
 * gpu/nvidia/gsp/boot_abi.h: the structures in memory that the GSP's first stages read: release 570.144.
 *
 * Sources: open-gpu-kernel-modules 570.144: gsp_fw_wpr_meta.h, gspifpub.h (src/nvidia/arch/nvalloc/common/inc/gsp),
 * libos_init_args.h, kern_fsp_cot_payload.h, nvdm_payload_cmd_response.h.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_BOOT_ABI_H
#define INGOT_GPU_NVIDIA_GSP_BOOT_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define GSP_FW_WPR_META_MAGIC    UINT64_C(0xdc3aae21371a60b3)
#define GSP_FW_WPR_META_REVISION 1
#define GSP_FW_FLAGS_CLOCK_BOOST 1 /* run at boost clocks while it starts; Turing to Ada */

/* GspFwWprMeta. What the booter or the FMC reads, and fills in where the FMC chooses. "Sysmem" is host memory. */
struct gsp_wpr_meta {
    uint64_t magic, revision;
    uint64_t sysmem_radix3, program_bytes;
    uint64_t sysmem_boot_loader, boot_loader_bytes;
    uint64_t boot_loader_code_offset, boot_loader_data_offset, boot_loader_manifest_offset;
    uint64_t sysmem_signature, signature_bytes;
    uint64_t reserved_start;                /* of all that follows, in VRAM */
    uint64_t non_wpr_heap_offset, non_wpr_heap_bytes;
    uint64_t wpr_start;
    uint64_t heap_offset, heap_bytes;
    uint64_t program_offset, boot_loader_offset;
    uint64_t frts_offset, frts_bytes;
    uint64_t wpr_end;
    uint64_t vram_bytes;
    uint64_t vga_offset, vga_bytes;
    uint64_t boot_count;
    uint32_t partition_padding[4];
    uint64_t sysmem_crash_queue;            /* 0: none */
    uint32_t crash_queue_bytes, partition_padding_end;
    uint8_t heap_vf_partition_count, flags, padding[2];
    uint32_t pmu_bytes;
    uint64_t verified;                      /* the booter's */
};
static_assert(sizeof(struct gsp_wpr_meta) == 256, "gsp_fw_wpr_meta.h");
static_assert(offsetof(struct gsp_wpr_meta, wpr_start) == 112, "gsp_fw_wpr_meta.h");
static_assert(offsetof(struct gsp_wpr_meta, vram_bytes) == 176, "gsp_fw_wpr_meta.h");
static_assert(offsetof(struct gsp_wpr_meta, flags) == 241, "gsp_fw_wpr_meta.h");

/* LibosMemoryRegionInitArgument: one named piece of memory; an array of them ends with a zero one. */
struct libos_region {
    uint64_t id, bus, bytes; /* id: the name's letters, the first in the highest byte that is used */
    uint8_t kind, location, padding[6];
};
static_assert(sizeof(struct libos_region) == 32, "libos_init_args.h");
#define LIBOS_MEMORY_REGION_CONTIGUOUS 1
#define LIBOS_MEMORY_REGION_LOC_SYSMEM 1

/* GSP_FMC_BOOT_PARAMS: what the FSP hands to the FMC. */
#define GSP_DMA_TARGET_COHERENT_SYSTEM    1
#define GSP_DMA_TARGET_NONCOHERENT_SYSTEM 2
struct gsp_fmc_boot_params {
    uint32_t init_regkeys, padding_0;
    uint32_t wpr_meta_target, wpr_meta_bytes;
    uint64_t wpr_meta_bus;
    uint64_t wpr_carveout_offset;
    uint32_t wpr_carveout_bytes;
    uint8_t is_gsp_rm_boot, padding_1[3];
    uint32_t libos_target, padding_2;
    uint64_t libos_bus;
    uint32_t spdm_target, padding_3; /* confidential computing: not ours */
    uint64_t spdm_bus;
    uint32_t spdm_bytes, padding_4;
};
static_assert(sizeof(struct gsp_fmc_boot_params) == 80, "gspifpub.h");
static_assert(offsetof(struct gsp_fmc_boot_params, is_gsp_rm_boot) == 36, "gspifpub.h");
static_assert(offsetof(struct gsp_fmc_boot_params, libos_bus) == 48, "gspifpub.h");

/* NVDM_PAYLOAD_COT: the chain-of-trust message to the FSP, behind its two header words. */
struct fsp_cot {
    uint16_t version, bytes;
    uint64_t fmc_bus;
    uint64_t frts_sysmem_bus; /* a copy in host memory: not ours, 0 */
    uint32_t frts_sysmem_bytes;
    uint64_t frts_vram_end_distance;
    uint32_t frts_vram_bytes;
    uint8_t hash[48], public_key[384], signature[384];
    uint64_t boot_params_bus;
} __attribute__((packed));
static_assert(sizeof(struct fsp_cot) == 860, "kern_fsp_cot_payload.h");

/* NVDM_PAYLOAD_COMMAND_RESPONSE */
struct fsp_response {
    uint32_t task, command, error;
};

#endif
