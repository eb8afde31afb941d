/*
 * gpu/nvidia/gsp/regs/mmu.h: page table entries of version 2 and 3, TLB invalidation, and how BAR1 sees memory.
 *
 * Source: open-gpu-kernel-modules 570.144, src/common/inc/swref/published: pascal/gp100/dev_mmu.h (version 2, used up to
 * Ada), turing/tu102/dev_mmu.h (kinds), hopper/gh100/dev_mmu.h (version 3), turing/tu102/dev_vm.h, turing/tu102/dev_bus.h,
 * hopper/gh100/dev_vm.h. Entries of 16 bytes are given as two 64-bit halves: bits 64 and up count from 0 in the second.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_MMU_H
#define INGOT_GPU_NVIDIA_GSP_REGS_MMU_H

#include "kernel/kernel.h"

/* ---- version 2 ------------------------------------------------------------------------------------------------- */

#define NV_MMU_VER2_PDE_APERTURE                  BITS(2, 1)
#define   NV_MMU_VER2_PDE_APERTURE_INVALID        0
#define   NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY   1
#define NV_MMU_VER2_PDE_VOL                       BIT(3)
#define NV_MMU_VER2_PDE_ADDRESS_SYS               BITS(53, 8)  /* in 4 KiB */
#define NV_MMU_VER2_DUAL_PDE_APERTURE_BIG         BITS(2, 1)
#define NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG_SYS      BITS(53, 4)  /* in 256 bytes */
#define NV_MMU_VER2_DUAL_PDE_APERTURE_SMALL       BITS(2, 1)   /* 66:65 */
#define NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL_SYS    BITS(53, 8)  /* 117:72, in 4 KiB */
#define NV_MMU_VER2_PTE_VALID                     BIT(0)       /* in PD0: also "this is a page, not a table" */
#define NV_MMU_VER2_PTE_APERTURE                  BITS(2, 1)
#define   NV_MMU_PTE_APERTURE_VIDEO_MEMORY        0            /* the same in version 3 */
#define   NV_MMU_PTE_APERTURE_SYSTEM_COHERENT_MEMORY 2
#define NV_MMU_VER2_PTE_VOL                       BIT(3)       /* not to be kept in the GPU's L2 */
#define NV_MMU_VER2_PTE_PRIVILEGE                 BIT(5)
#define NV_MMU_VER2_PTE_ADDRESS_SYS               BITS(53, 8)  /* in 4 KiB */
#define NV_MMU_VER2_PTE_KIND                      BITS(63, 56)
#define   NV_MMU_PTE_KIND_GENERIC_MEMORY          6            /* pitch, not compressed; the same in version 3 */

/* ---- version 3 ------------------------------------------------------------------------------------------------- */

#define NV_MMU_VER3_PDE_APERTURE                  BITS(2, 1)
#define   NV_MMU_VER3_PDE_APERTURE_VIDEO_MEMORY   1
#define NV_MMU_VER3_PDE_PCF                       BITS(5, 3)   /* privilege, cache, flags */
#define   NV_MMU_VER3_PDE_PCF_VALID_CACHED_ATS_NOT_ALLOWED 2
#define NV_MMU_VER3_PDE_ADDRESS                   BITS(51, 12) /* in 4 KiB */
#define NV_MMU_VER3_DUAL_PDE_APERTURE_BIG         BITS(2, 1)
#define NV_MMU_VER3_DUAL_PDE_PCF_BIG              BITS(5, 3)
#define NV_MMU_VER3_DUAL_PDE_ADDRESS_BIG          BITS(51, 8)  /* in 256 bytes */
#define NV_MMU_VER3_DUAL_PDE_APERTURE_SMALL       BITS(2, 1)   /* 66:65 */
#define NV_MMU_VER3_DUAL_PDE_PCF_SMALL            BITS(5, 3)   /* 69:67 */
#define NV_MMU_VER3_DUAL_PDE_ADDRESS_SMALL        BITS(51, 12) /* 115:76, in 4 KiB */
#define NV_MMU_VER3_PTE_VALID                     BIT(0)
#define NV_MMU_VER3_PTE_APERTURE                  BITS(2, 1)
#define NV_MMU_VER3_PTE_PCF                       BITS(7, 3)
#define   NV_MMU_VER3_PTE_PCF_REGULAR_RW_ATOMIC_CACHED_ACE   0
#define   NV_MMU_VER3_PTE_PCF_REGULAR_RW_ATOMIC_UNCACHED_ACE 1
#define   NV_MMU_VER3_PTE_PCF_PRIVILEGE_RW_ATOMIC_CACHED_ACE   2
#define   NV_MMU_VER3_PTE_PCF_PRIVILEGE_RW_ATOMIC_UNCACHED_ACE 3
#define NV_MMU_VER3_PTE_KIND                      BITS(11, 8)
#define NV_MMU_VER3_PTE_ADDRESS                   BITS(51, 12) /* in 4 KiB */

/* ---- registers ------------------------------------------------------------------------------------------------- */

#define NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET      0x00b80000   /* where the NV_VIRTUAL_FUNCTION registers lie in BAR0 */

#define NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_PDB            0x30a0
#define NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_UPPER_PDB      0x30a4
#define NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE                0x30b0
#define   NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ALL_VA       BIT(0)
#define   NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ALL_PDB      BIT(1) /* every address space, whatever the PDB registers say */
#define   NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_SYS_MEMBAR   BIT(6)
#define   NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ACK          BITS(8, 7)
#define     NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ACK_GLOBALLY 1
#define   NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_TRIGGER      BIT(31) /* reads 1 until done */

/* The doorbell page (clc361.h: NV_USERMODE): 64 KiB that a channel's owner may have mapped. */
#define NV_VIRTUAL_FUNCTION                       0x30000
#define NV_VIRTUAL_FUNCTION_BYTES                 0x10000

/* 0 in each: BAR1 offset x is VRAM offset x. Turing to Ada, and Hopper on. */
#define NV_PBUS_BAR1_BLOCK                        0x00001704   /* MODE is bit 31, TARGET 29:28, PTR 27:0 */
#define NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_LOW_ADDR      0xf60 /* MODE is bit 9, TARGET 11:10, PTR 31:12 */
#define NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_HIGH_ADDR     0xf64

#endif
