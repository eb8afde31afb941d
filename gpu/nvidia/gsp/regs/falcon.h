/*
 * gpu/nvidia/gsp/regs/falcon.h: falcons and the RISC-V cores beside them. NV_PFALCON_FALCON_ offsets are from the falcon's
 * base, NV_PFALCON_FBIF_ from its framebuffer interface, NV_PFALCON2_ and NV_PRISCV_ from its second base.
 *
 * Sources: open-gpu-kernel-modules 570.144, src/common/inc/swref/published: ampere/ga102/dev_falcon_v4.h and its addendum,
 * dev_falcon_second_pri.h, dev_riscv_pri.h, dev_fbif_v4.h, dev_gsp.h, dev_sec_pri.h; turing/tu102/dev_falcon_v4.h and
 * dev_riscv_pri.h where the older chips differ.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_FALCON_H
#define INGOT_GPU_NVIDIA_GSP_REGS_FALCON_H

/* ---- where they are -------------------------------------------------------------------------------------------- */

#define NV_PGSP_BASE        0x00110000
#define NV_FALCON2_GSP_BASE 0x00111000
#define NV_PGSP_FBIF_BASE   0x00110600
#define NV_PSEC_BASE        0x00840000
#define NV_FALCON2_SEC_BASE 0x00841000
#define NV_PSEC_FBIF_BASE   0x00840600

/* ---- falcon ---------------------------------------------------------------------------------------------------- */

#define NV_PFALCON_FALCON_IRQSCLR      0x004
#define NV_PFALCON_FALCON_IRQSTAT      0x008
#define   NV_PFALCON_FALCON_IRQSTAT_HALT          BIT(4)
#define   NV_PFALCON_FALCON_IRQSTAT_SWGEN0        BIT(6)
#define NV_PFALCON_FALCON_IRQMSET      0x010
#define NV_PFALCON_FALCON_IRQMCLR      0x014
#define NV_PFALCON_FALCON_IRQMASK      0x018
#define NV_PFALCON_FALCON_IRQDEST      0x01c
#define NV_PFALCON_FALCON_MAILBOX0     0x040
#define NV_PFALCON_FALCON_MAILBOX1     0x044
#define NV_PFALCON_FALCON_OS           0x080
#define NV_PFALCON_FALCON_RM           0x084  /* takes BOOT_0 */
#define NV_PFALCON_FALCON_DEBUGINFO    0x094
#define NV_PFALCON_FALCON_HWCFG2       0x0f4
#define   NV_PFALCON_FALCON_HWCFG2_RISCV          BIT(10) /* there is a RISC-V core */
#define   NV_PFALCON_FALCON_HWCFG2_MEM_SCRUBBING  BIT(12) /* GA102 on: memories are being cleared */
#define   NV_PFALCON_FALCON_HWCFG2_RISCV_BR_PRIV_LOCKDOWN BIT(13) /* GH100 on: the boot ROM keeps us out */
#define   NV_PFALCON_FALCON_HWCFG2_RESET_READY    BIT(31) /* GA102 to Ada */
#define NV_PFALCON_FALCON_CPUCTL       0x100
#define   NV_PFALCON_FALCON_CPUCTL_STARTCPU       BIT(1)
#define   NV_PFALCON_FALCON_CPUCTL_HALTED         BIT(4)
#define   NV_PFALCON_FALCON_CPUCTL_ALIAS_EN       BIT(6)  /* start through CPUCTL_ALIAS instead */
#define NV_PFALCON_FALCON_BOOTVEC      0x104
#define NV_PFALCON_FALCON_HWCFG        0x108
#define   NV_PFALCON_FALCON_HWCFG_IMEM_SIZE       BITS(8, 0) /* in blocks of 256 bytes */
#define NV_PFALCON_FALCON_DMACTL       0x10c
#define   NV_PFALCON_FALCON_DMACTL_REQUIRE_CTX    BIT(0)
#define   NV_PFALCON_FALCON_DMACTL_DMEM_SCRUBBING BIT(1)  /* TU102 to GA100: being cleared */
#define   NV_PFALCON_FALCON_DMACTL_IMEM_SCRUBBING BIT(2)
#define NV_PFALCON_FALCON_DMATRFBASE   0x110             /* address >> 8, bits 31:0 */
#define NV_PFALCON_FALCON_DMATRFMOFFS  0x114             /* in IMEM or DMEM */
#define NV_PFALCON_FALCON_DMATRFCMD    0x118
#define   NV_PFALCON_FALCON_DMATRFCMD_FULL        BIT(0)
#define   NV_PFALCON_FALCON_DMATRFCMD_IDLE        BIT(1)
#define   NV_PFALCON_FALCON_DMATRFCMD_SEC         BITS(3, 2)
#define   NV_PFALCON_FALCON_DMATRFCMD_IMEM        BIT(4)
#define   NV_PFALCON_FALCON_DMATRFCMD_WRITE       BIT(5)
#define   NV_PFALCON_FALCON_DMATRFCMD_SIZE        BITS(10, 8)
#define     NV_PFALCON_FALCON_DMATRFCMD_SIZE_256B 6
#define   NV_PFALCON_FALCON_DMATRFCMD_CTXDMA      BITS(14, 12)
#define NV_PFALCON_FALCON_DMATRFFBOFFS 0x11c             /* from DMATRFBASE; IMEM gets it as tag */
#define NV_PFALCON_FALCON_DMATRFBASE1  0x128             /* address >> 8, bits 40:32 */
#define   NV_PFALCON_FALCON_DMATRFBASE1_BASE      BITS(8, 0)
#define NV_PFALCON_FALCON_CPUCTL_ALIAS 0x130
#define   NV_PFALCON_FALCON_CPUCTL_ALIAS_STARTCPU BIT(1)
#define NV_PFALCON_FALCON_IMEMC0       0x180             /* port 0: where in IMEM */
#define   NV_PFALCON_FALCON_IMEMC_OFFS            BITS(7, 2)
#define   NV_PFALCON_FALCON_IMEMC_BLK             BITS(15, 8) /* TU102 to GA100; GA102 on to bit 23 */
#define   NV_PFALCON_FALCON_IMEMC_AINCW           BIT(24)     /* writing moves on */
#define   NV_PFALCON_FALCON_IMEMC_SECURE          BIT(28)
#define NV_PFALCON_FALCON_IMEMD0       0x184
#define NV_PFALCON_FALCON_IMEMT0       0x188             /* tag of the block: virtual address >> 8 */
#define   NV_PFALCON_FALCON_IMEMT_TAG             BITS(15, 0)
#define NV_PFALCON_FALCON_DMEMC0       0x1c0
#define   NV_PFALCON_FALCON_DMEMC_OFFS            BITS(7, 2)
#define   NV_PFALCON_FALCON_DMEMC_BLK             BITS(15, 8)
#define   NV_PFALCON_FALCON_DMEMC_AINCW           BIT(24)
#define NV_PFALCON_FALCON_DMEMD0       0x1c4
#define NV_PFALCON_FALCON_ENGINE       0x3c0             /* NV_PGSP_FALCON_ENGINE, NV_PSEC_FALCON_ENGINE */
#define   NV_PFALCON_FALCON_ENGINE_RESET          BIT(0)
#define   NV_PFALCON_FALCON_ENGINE_RESET_STATUS   BITS(10, 8) /* GH100 on */
#define     NV_PFALCON_FALCON_ENGINE_RESET_STATUS_ASSERTED   0
#define     NV_PFALCON_FALCON_ENGINE_RESET_STATUS_DEASSERTED 2

/* ---- framebuffer interface --------------------------------------------------------------------------------------- */

#define NV_PFALCON_FBIF_TRANSCFG(i)    (0x000 + (i) * 4) /* of DMA index i, below 8 */
#define   NV_PFALCON_FBIF_TRANSCFG_TARGET         BITS(1, 0)
#define     NV_PFALCON_FBIF_TRANSCFG_TARGET_COHERENT_SYSMEM 1
#define   NV_PFALCON_FBIF_TRANSCFG_MEM_TYPE       BIT(2)  /* physical addresses */
#define NV_PFALCON_FBIF_CTL            0x024
#define   NV_PFALCON_FBIF_CTL_ALLOW_PHYS_NO_CTX   BIT(7)

/* ---- boot ROM, GA102 on ------------------------------------------------------------------------------------------ */

#define NV_PFALCON2_FALCON_MOD_SEL            0x180
#define   NV_PFALCON2_FALCON_MOD_SEL_ALGO_RSA3K   1
#define NV_PFALCON2_FALCON_BROM_CURR_UCODE_ID 0x198
#define NV_PFALCON2_FALCON_BROM_ENGIDMASK     0x19c
#define   NV_PFALCON2_FALCON_BROM_ENGIDMASK_SEC2  BIT(0)  /* these three as nova-core has them (falcon/hal/ga102.rs) */
#define   NV_PFALCON2_FALCON_BROM_ENGIDMASK_NVDEC BIT(2)
#define   NV_PFALCON2_FALCON_BROM_ENGIDMASK_GSP   BIT(10)
#define NV_PFALCON2_FALCON_BROM_PARAADDR0     0x210       /* where in DMEM the signature lies */

/* ---- RISC-V ------------------------------------------------------------------------------------------------------ */

#define NV_PRISCV_RISCV_CORE_SWITCH_RISCV_STATUS 0x240    /* TU102 to GA100 */
#define   NV_PRISCV_RISCV_CORE_SWITCH_RISCV_STATUS_ACTIVE_STAT BIT(0)
#define NV_PRISCV_RISCV_CPUCTL         0x388              /* GA102 on */
#define   NV_PRISCV_RISCV_CPUCTL_HALTED           BIT(4)
#define   NV_PRISCV_RISCV_CPUCTL_ACTIVE_STAT      BIT(7)
#define NV_PRISCV_RISCV_IRQMASK        0x528              /* GA102 on; 0x2b4 before */
#define NV_PRISCV_RISCV_IRQDEST        0x52c              /* GA102 on; 0x2b8 before */
#define NV_PRISCV_RISCV_BCR_CTRL       0x668              /* boot configuration, GA102 on */
#define   NV_PRISCV_RISCV_BCR_CTRL_VALID          BIT(0)
#define   NV_PRISCV_RISCV_BCR_CTRL_CORE_SELECT    BIT(4)  /* 0: falcon, 1: RISC-V */
#define   NV_PRISCV_RISCV_BCR_CTRL_BRFETCH        BIT(8)

#endif
