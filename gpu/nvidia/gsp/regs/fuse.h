/*
 * gpu/nvidia/gsp/regs/fuse.h: fuses, as far as they choose among firmware. Offsets are from BAR0.
 * Sources: open-gpu-kernel-modules 570.144, src/common/inc/swref/published: turing/tu102/dev_fuse.h, ampere/ga100/dev_fuse.h;
 * hopper/gh100/dev_fuse.h has the same.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_FUSE_H
#define INGOT_GPU_NVIDIA_GSP_REGS_FUSE_H

#define NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS_TU102   0x0002174c
#define NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS         0x0082074c /* GA100 on */
#define   NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS_DATA   BIT(0)    /* 1: production firmware */

/*
 * Per engine 16 registers, of ucode ids 1 to 16: bit v - 1 is blown when only versions from v on may run.
 */
#define NV_FUSE_OPT_FPF_NVDEC_UCODE1_VERSION     0x00824100
#define NV_FUSE_OPT_FPF_SEC2_UCODE1_VERSION      0x00824140
#define NV_FUSE_OPT_FPF_GSP_UCODE1_VERSION       0x008241c0
#define   NV_FUSE_OPT_FPF_UCODE_VERSION_DATA      BITS(15, 0)
#define NV_FUSE_OPT_FPF_UCODE_COUNT              16

#endif
