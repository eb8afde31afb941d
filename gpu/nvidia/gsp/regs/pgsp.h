/*
 * gpu/nvidia/gsp/regs/pgsp.h: PGSP, the GSP's own registers beside its falcon's. Offsets are from BAR0.
 * Source: open-gpu-kernel-modules 570.144, src/common/inc/swref/published/turing/tu102/dev_gsp.h; the same up to Blackwell.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_PGSP_H
#define INGOT_GPU_NVIDIA_GSP_REGS_PGSP_H

#define NV_PGSP_QUEUE_HEAD(i) (0x00110c00 + (i) * 8) /* a write of anything tells the GSP of new messages in queue i */
#define   NV_PGSP_QUEUE_HEAD__SIZE_1 8

#endif
