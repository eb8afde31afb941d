/*
 * gpu/nvidia/gsp/regs/disp.h: what the VBIOS's display code keeps of VRAM, and what else it has locked there.
 * Sources: open-gpu-kernel-modules 570.144, src/common/inc/swref/published: disp/v04_00/dev_disp.h, ampere/ga100/dev_fuse.h,
 * maxwell/gm107/dev_fuse.h, ampere/ga100/dev_fb.h.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_DISP_H
#define INGOT_GPU_NVIDIA_GSP_REGS_DISP_H

#define NV_FUSE_STATUS_OPT_DISPLAY_GM107    0x00021c04 /* Turing too */
#define NV_FUSE_STATUS_OPT_DISPLAY          0x00820c04 /* GA102 on */
#define   NV_FUSE_STATUS_OPT_DISPLAY_DATA     BIT(0)   /* 0: there is a display engine */
#define NV_PDISP_VGA_WORKSPACE_BASE         0x00625f04
#define   NV_PDISP_VGA_WORKSPACE_BASE_STATUS_VALID BIT(3)
#define   NV_PDISP_VGA_WORKSPACE_BASE_ADDR    BITS(31, 8) /* of VRAM, >> 16 */

/* GA100 only: a region at VRAM's end that the VBIOS has locked. */
#define NV_PFB_PRI_MMU_LOCK_ADDR_LO__PRIV_LEVEL_MASK 0x001fa7c8
#define   NV_PFB_PRI_MMU_LOCK_CFG_PRIV_LEVEL_MASK_READ_PROTECTION_LEVEL0 BIT(0) /* we may read it */
#define NV_PFB_PRI_MMU_LOCK_ADDR_LO         0x001fa82c
#define NV_PFB_PRI_MMU_LOCK_ADDR_HI         0x001fa830
#define   NV_PFB_PRI_MMU_LOCK_ADDR_VAL        BITS(31, 4) /* address >> 12; below LO: nothing is locked */

#endif
