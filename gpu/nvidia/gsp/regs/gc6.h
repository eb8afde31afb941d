/*
 * gpu/nvidia/gsp/regs/gc6.h: PGC6, the always-on island, whose scratch registers the card's firmware reports in; and the
 * thermal block's, which the FSP uses for the same. Offsets are from BAR0.
 * Sources: open-gpu-kernel-modules 570.144, src/common/inc/swref/published: turing/tu102/dev_gc6_island.h and addendum,
 * ampere/ga102/dev_gc6_island.h and addendum, hopper/gh100, blackwell/gb100 and gb202/dev_therm.h and addenda.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_GC6_H
#define INGOT_GPU_NVIDIA_GSP_REGS_GC6_H

#define NV_PGC6_BSI_SECURE_SCRATCH_14                       0x001180f8
#define   NV_PGC6_BSI_SECURE_SCRATCH_14_BOOT_STAGE_3_HANDOFF BIT(26)    /* the GSP was started again by SEC2 */
#define NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK 0x00118128
#define   NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK_READ_PROTECTION_LEVEL0 BIT(0) /* we may read GROUP_05 */
#define NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT      0x00118234
#define   NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT_PROGRESS BITS(7, 0)
#define     NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT_PROGRESS_COMPLETED 0xff
#define NV_USABLE_FB_SIZE_IN_MB                             0x001183a4  /* GROUP_42; GA102 on */

#define NV_THERM_I2CS_SCRATCH_GH100                         0x000200bc  /* also GB100 */
#define NV_THERM_I2CS_SCRATCH_GB202                         0x00ad00bc
#define   NV_THERM_I2CS_SCRATCH_FSP_BOOT_COMPLETE_STATUS_SUCCESS 0xff

#endif
