/*
 * gpu/nvidia/gsp/info.h: what the CPU tells the GSP's Resource Manager before it starts, and what RM tells of the GPU after.
 *
 * Order (kernel_gsp.c, kgspQueueAsyncInitRpcs): system information, then the registry. Where the booter on SEC2 starts the
 * GSP both are put into the queue before it runs; where the FSP does, once the GSP's RISC-V core is active. RM reads them
 * when it comes up, there is no reply. The static information is asked for after GSP_INIT_DONE.
 *
 * Source: open-gpu-kernel-modules 570.144, rpc.c (rpcGspSetSystemInfo_v17_00, rpcSetRegistry_v17_00, rpcGetGspStaticInfo_v14_00).
 */
#ifndef INGOT_GPU_NVIDIA_GSP_INFO_H
#define INGOT_GPU_NVIDIA_GSP_INFO_H

#include <stdbool.h>

#include "gpu/nvidia/gsp/rpc_abi.h"

struct hw;
struct rpc;

/* A stretch of VRAM as RM divides it; RM keeps reserved ones for itself. */
struct gsp_info_region {
    uint64_t base, bytes;
    bool is_reserved; /* not ours to allocate from: RM's own, or protected */
};

struct gsp_info {
    char name[64], short_name[64]; /* "NVIDIA GeForce RTX 3090", "GA102"; always terminated */
    char uuid[48];                 /* "GPU-xxxxxxxx-...", empty when RM gave none */
    uint64_t vram_bytes;
    uint32_t vram_bus_bits, vram_type, l2_cache_bytes; /* vram_type: NV2080_CTRL_FB_INFO_RAM_TYPE_... */
    unsigned region_count;
    struct gsp_info_region region[RPC_FB_REGION_MAX]; /* by address, not overlapping */
    uint32_t internal_client, internal_device, internal_subdevice; /* RM's own objects, for NV2080_CTRL_CMD_INTERNAL_... */
    uint64_t bar1_pde_base, bar2_pde_base;
    uint64_t non_wpr_heap_offset, frts_offset; /* where these regions of layout.h are; the FMC chooses, the booter is told */
    bool is_mig_supported;
};

/* Each 0 or what rpc_send() and rpc_call() return; hw->error is filled in. */
int gsp_info_send_system(struct rpc *rpc, struct hw *hw);
int gsp_info_send_registry(struct rpc *rpc, struct hw *hw);
/* Also -EPROTO for an answer that contradicts itself: regions past the end of VRAM, overlapping, no handles. */
int gsp_info_read_static(struct rpc *rpc, struct hw *hw, struct gsp_info *out);

/* "GDDR6X" and the like; "unknown memory". */
const char *gsp_info_vram_type_name(uint32_t vram_type);

#endif
