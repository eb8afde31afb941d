/*
 * gpu/nvidia/gsp/regs/intr.h: the interrupt tree of the (physical) function, and how the falcon of the GSP takes part. Tree
 * registers are offsets from NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET (regs/mmu.h), falcon registers from the falcon's base.
 *
 * Source: open-gpu-kernel-modules 570.144, src/common/inc/swref/published: turing/tu102/dev_vm.h, hopper/gh100/dev_vm.h,
 * turing/tu102/dev_nv_xve.h (NV_PCFG), maxwell/gm107/dev_nv_xve.h (CYA_2), ampere/ga102/dev_falcon_v4.h, dev_riscv_pri.h of
 * turing/tu102 and ampere/ga102.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_INTR_H
#define INGOT_GPU_NVIDIA_GSP_REGS_INTR_H

/* A vector v is bit v % 32 of leaf v / 32; leaves 2n and 2n + 1 are subtree n, bit n of the top (NV_CTRL_INTR_...). */
#define NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF(i)          (0x1000 + (i) * 4) /* pending; write 1 to clear */
#define   NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_TU102 8
#define   NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_GH100 16
#define NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_SET(i)   (0x1200 + (i) * 4) /* write 1 to enable; reads what is */
#define NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_CLEAR(i) (0x1400 + (i) * 4)
#define NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP(i)           (0x1600 + (i) * 4) /* subtrees with an enabled pending leaf */
#define NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_SET(i)    (0x1608 + (i) * 4)
#define NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_CLEAR(i)  (0x1610 + (i) * 4)

/* Configuration space in BAR0, Turing to Ada: a write of anything lets the next MSI go out. */
#define NV_PCFG_XVE_CYA_2                                  (0x00088000 + 0x704)

#define NV_PFALCON_FALCON_INTR_RETRIGGER(i)                (0x3e8 + (i) * 4) /* GA100 on: send again what is pending */
#define   NV_PFALCON_FALCON_INTR_RETRIGGER_TRIGGER         BIT(0)
#define NV_PRISCV_RISCV_IRQMASK_TU102                      0x2b4 /* from the falcon's second base; TU102 to GA100 */
#define NV_PRISCV_RISCV_IRQDEST_TU102                      0x2b8

#endif
