/*
 * gpu/nvidia/gsp/falcon.h: falcons, the small processors inside the GPU that start the GSP's firmware. Two matter here: the
 * GSP itself, which is a falcon and a RISC-V core over the same memories, and SEC2, which runs the booter.
 *
 * Two generations (struct hw_chip's falcon):
 *   TU102 .. GA100  code is put into IMEM and DMEM through registers; a non-secure part at 0 jumps into the secure part,
 *                   whose signature lies in DMEM.
 *   GA102 on        the falcon fetches both by DMA; a boot ROM checks an RSA signature in DMEM before the code runs. The
 *                   GSP and SEC2 have a core select between falcon and RISC-V.
 *
 * Order of use, as the sources have it: falcon_reset(), falcon_run_hs().
 */
#ifndef INGOT_GPU_NVIDIA_GSP_FALCON_H
#define INGOT_GPU_NVIDIA_GSP_FALCON_H

#include "gpu/nvidia/gsp/hw.h"

struct falcon {
    const char *name;
    uint32_t base;  /* of NV_PFALCON_FALCON_ registers */
    uint32_t base2; /* of NV_PFALCON2_ and NV_PRISCV_ registers */
    uint32_t fbif;  /* of NV_PFALCON_FBIF_ registers: its way to memory */
};
extern const struct falcon falcon_gsp, falcon_sec2;

/* A piece of the image, and where it goes. Sizes are rounded up to 4 bytes (256 with DMA); the image has to reach so far. */
struct falcon_section {
    uint32_t offset, size_bytes; /* in the image */
    uint32_t address;            /* in IMEM or DMEM; IMEM: a multiple of 256 */
    uint32_t tag;                /* IMEM: the virtual address of its first byte, a multiple of 256 */
};

/*
 * Heavy-secured ("HS") code, with its signature already in place. bytes come from page_alloc(): the falcon reads them.
 * All offsets are checked against size_bytes.
 */
struct falcon_image {
    const uint8_t *bytes;
    uint32_t size_bytes;
    struct falcon_section imem;           /* signed code */
    struct falcon_section imem_nonsecure; /* before GA102 only: the code that it is entered through */
    struct falcon_section dmem;
    uint32_t boot_vector;                 /* virtual address where the core starts */
    /* GA102 on, for the boot ROM: */
    uint32_t signature_dmem; /* where in DMEM the signature lies */
    uint16_t engine_id_mask;
    uint8_t ucode_id;
};

/* Reset the engine, wait for its memories to be scrubbed, select the falcon core. 0 or negative errno, hw->error says why. */
int falcon_reset(struct hw *hw, const struct falcon *falcon);
/* The same, but left ready for its RISC-V core, which starts when the boot ROM is told to (booter, FMC). */
int falcon_reset_riscv(struct hw *hw, const struct falcon *falcon);

/*
 * Load a reset falcon, start it and wait until it halts. mailbox[2] is put into its mailboxes before (NULL: left alone)
 * and has their values after. Bus mastering must be on. 0 says only that it halted: what the mailboxes mean is the code's.
 * -EINVAL for an image whose parts do not fit, -ETIMEDOUT, -ENODEV; hw->error says why.
 */
int falcon_run_hs(struct hw *hw, const struct falcon *falcon, const struct falcon_image *image, uint32_t mailbox[2]);

/* The parts of that, for FWSEC's loader and the GSP's sequencer commands. */
int falcon_run(struct hw *hw, const struct falcon *falcon, uint32_t boot_vector, uint32_t mailbox[2]); /* what is loaded */
void falcon_disable_context(struct hw *hw, const struct falcon *falcon); /* DMA with physical addresses, no context bound */
void falcon_start(struct hw *hw, const struct falcon *falcon);
int falcon_wait_halted(struct hw *hw, const struct falcon *falcon, uint64_t timeout_ns);
void falcon_mailbox_write(struct hw *hw, const struct falcon *falcon, const uint32_t mailbox[2]);
void falcon_mailbox_read(struct hw *hw, const struct falcon *falcon, uint32_t mailbox[2]);

bool falcon_is_riscv_active(struct hw *hw, const struct falcon *falcon);
int falcon_wait_riscv_active(struct hw *hw, const struct falcon *falcon, uint64_t timeout_ns, const char *what);
/*
 * GA100 on: the version that the chip's fuses ask of code with this id on these engines, 0 to 16, for the choice among its
 * signatures. -EINVAL when no such fuse is known, -EIO when it cannot be read.
 */
int falcon_fuse_version(struct hw *hw, uint16_t engine_id_mask, uint8_t ucode_id, unsigned *version);

/* Words through the ports (both sizes multiples of 4, IMEM addresses and tags of 256); the core must be halted. */
int falcon_imem_write(struct hw *hw, const struct falcon *falcon, uint32_t address, uint32_t tag, bool is_secure,
                      const uint8_t *bytes, uint32_t size_bytes);
int falcon_dmem_write(struct hw *hw, const struct falcon *falcon, uint32_t address, const uint8_t *bytes,
                      uint32_t size_bytes);

#endif
