/*
 * gpu/nvidia/gsp/regs/fb.h: PFB, the framebuffer: how much memory there is, and its write-protected region. Offsets are
 * from BAR0.
 * Sources: open-gpu-kernel-modules 570.144: src/common/inc/swref/published/turing/tu102/dev_fb.h; the local memory range
 * from nova-core (regs.rs), read as in kern_mem_sys_gp102.c.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_FB_H
#define INGOT_GPU_NVIDIA_GSP_REGS_FB_H

#define NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE              0x00100ce0 /* TU102 to GA100: size = MAG << (SCALE + 20) */
#define   NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE_LOWER_SCALE BITS(3, 0)
#define   NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE_LOWER_MAG   BITS(9, 4)
#define   NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE_ECC_MODE    BIT(30)   /* ECC takes a 16th */

/*
 * VRAM addresses >> 8, in units of 4 KiB. HI is 0 while the region is down, else its end (nova-core: the first byte behind).
 */
#define NV_PFB_PRI_MMU_WPR2_ADDR_LO                    0x001fa824
#define   NV_PFB_PRI_MMU_WPR2_ADDR_LO_VAL               BITS(31, 4)
#define NV_PFB_PRI_MMU_WPR2_ADDR_HI                    0x001fa828
#define   NV_PFB_PRI_MMU_WPR2_ADDR_HI_VAL               BITS(31, 4)

#endif
