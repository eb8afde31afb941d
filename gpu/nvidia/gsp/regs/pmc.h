/*
 * gpu/nvidia/gsp/regs/pmc.h: PMC, the master control block: which chip this is. Offsets are from BAR0.
 * Source: open-gpu-kernel-modules 570.144, src/common/inc/swref/published/nv_ref.h.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_PMC_H
#define INGOT_GPU_NVIDIA_GSP_REGS_PMC_H

#define NV_PMC_BOOT_0                   0x00000000
#define   NV_PMC_BOOT_0_MINOR_REVISION   BITS(3, 0)
#define   NV_PMC_BOOT_0_MAJOR_REVISION   BITS(7, 4)
#define   NV_PMC_BOOT_0_IMPLEMENTATION   BITS(23, 20)
#define   NV_PMC_BOOT_0_ARCHITECTURE_0   BITS(28, 24)
#define NV_PMC_BOOT_1                   0x00000004
#define   NV_PMC_BOOT_1_VGPU             BITS(17, 16) /* 0: a real GPU, else a share of one */
#define NV_PMC_BOOT_42                  0x00000a00
#define   NV_PMC_BOOT_42_MINOR_REVISION  BITS(15, 12)
#define   NV_PMC_BOOT_42_MAJOR_REVISION  BITS(19, 16)
#define   NV_PMC_BOOT_42_IMPLEMENTATION  BITS(23, 20)
#define   NV_PMC_BOOT_42_ARCHITECTURE    BITS(29, 24)
#define   NV_PMC_BOOT_42_CHIP_ID         BITS(29, 20) /* both together: 0x172 is GA102 */

#endif
