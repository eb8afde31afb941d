/*
 * gpu/nvidia/gsp/hw.h: one NVIDIA GPU on the PCI bus, before anything runs on it: which chip it is, its registers (BAR0),
 * its memory (BAR1), and how the steps of the bring-up wait, fail and report.
 *
 * Reading order of gpu/nvidia/gsp: hw.h, chips.c (the table of chips), vbios.h, falcon.h, fwsec.h, then what stands on
 * them. Registers are in regs/, one file per hardware block, named as in open-gpu-kernel-modules 570.144,
 * src/common/inc/swref/published.
 *
 * One task at a time uses a struct hw; hw_wait32() yields.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_HW_H
#define INGOT_GPU_NVIDIA_GSP_HW_H

#include "kernel/kernel.h"

/* Who starts the GSP's firmware: a booter on SEC2 (Turing, Ampere, Ada), or the FSP (Hopper, Blackwell). */
enum hw_boot { HW_BOOT_SEC2, HW_BOOT_FSP };

/* How the falcons differ: TU102 to GA100, whose code signs itself in DMEM, and GA102 on, with a boot ROM that checks. */
enum hw_falcon { HW_FALCON_TU102, HW_FALCON_GA102 };

/* BOOT_42 architecture << 4 | implementation: 0x172 is GA102. */
struct hw_chip {
    const char *name;     /* "ga102" */
    const char *firmware; /* folder of its firmware in linux-firmware's nvidia/: chips of a family share one */
    uint16_t chip_id_first, chip_id_last;
    enum hw_boot boot;
    enum hw_falcon falcon;
    unsigned mmu_version; /* page tables: 2, or 3 from Hopper on */
    unsigned sm;          /* 86: sm_86 */
    /* Megabytes of VRAM in a scratch register (GA102 on); false: in the local memory range register. */
    bool has_vram_scratch;
};
/* NULL when no chip of the table has this id. */
const struct hw_chip *hw_chip_find(uint16_t chip_id);

struct hw {
    struct pci_device *pci;
    char name[16];        /* "nvidia0", for the log */
    const struct hw_chip *chip;
    uint32_t boot_0, boot_42;
    volatile uint8_t *bar0, *bar1; /* registers, uncached; VRAM, write-combined */
    uint64_t bar0_bytes, bar1_bytes;
    uint64_t bar1_bus;    /* PCI address of BAR1: VRAM byte n below bar1_bytes is at bar1_bus + n */
    uint64_t vram_bytes;  /* usable VRAM from 0, as the chip's own firmware says */
    uint64_t start_ns, step_ns; /* when the bring-up and the running step began */
    bool is_gone;         /* all registers read as ones */
    uint8_t *vbios;       /* what of the PROM window fwsec.c has read; hw_close() frees it */
    uint32_t vbios_bytes;
    char vbios_version[24]; /* "94.02.42.00.02", known once FWSEC has run */
    char error[240];      /* the first failure, for people */
};

/*
 * Identify the GPU, reset it if an earlier owner left it running, wait until its own firmware has set it up, grow BAR1
 * to the whole VRAM where there is room, map the BARs, read the size of VRAM. Bus mastering is left on. 0 or negative
 * errno with hw->error filled in and everything undone; hw need not be initialised.
 */
int hw_open(struct hw *hw, struct pci_device *pci, const char *name);
/* Bus mastering and interrupts off, BARs unmapped; error[] stays. Safe to call again and after a failed hw_open(). */
void hw_close(struct hw *hw);

/*
 * A register of BAR0, by its byte offset. Outside of BAR0, or not a multiple of four, a read gives all ones and a write
 * does nothing, and both fill in hw->error: offsets come from tables of ours and, in CPU sequencer commands, from the GSP.
 */
uint32_t hw_read32(struct hw *hw, uint32_t reg);
void hw_write32(struct hw *hw, uint32_t reg, uint32_t value);
/* Change the bits of mask to value. */
void hw_update32(struct hw *hw, uint32_t reg, uint32_t mask, uint32_t value);

/*
 * Wait until (reg & mask) == want, yielding between reads. 0; -ETIMEDOUT; -ENODEV when the whole GPU reads as ones.
 * what names the step for hw->error, which also gets the register, its last value and the wanted one.
 */
int hw_wait32(struct hw *hw, uint32_t reg, uint32_t mask, uint32_t want, uint64_t timeout_ns, const char *what);
/* True when BOOT_0 reads as all ones: off the bus. */
bool hw_is_gone(struct hw *hw);

/* Fill in hw->error, unless a failure before has, and return error. It also says when the GPU has left the bus. */
int hw_fail(struct hw *hw, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Log one line: the step that is done and how long it took; the next step begins. */
void hw_step(struct hw *hw, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
