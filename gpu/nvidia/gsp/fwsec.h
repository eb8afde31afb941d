/*
 * gpu/nvidia/gsp/fwsec.h: FWSEC, the signed program in the card's VBIOS that only Turing to Ada need: run on the GSP's
 * falcon it copies the firmware's data ("FRTS", 1 MiB) to VRAM and closes a write-protected region ("WPR2") around it,
 * which the booter then extends; and, after the GSP was unloaded, it puts the card's own state back ("SB").
 *
 * FSP chips (hw->chip->boot == HW_BOOT_FSP) do both by other means; there these calls return -ENOTSUP.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_FWSEC_H
#define INGOT_GPU_NVIDIA_GSP_FWSEC_H

#include "gpu/nvidia/gsp/hw.h"

/*
 * The generic falcon bootloader, which fetches FWSEC by DMA on TU102 .. GA100 (gen_bootloader-570.144.bin: a struct
 * nvfw_bin_hdr, a struct nvfw_bl_desc, code). GA102 on need none.
 */
struct fwsec_loader {
    const uint8_t *code;
    uint32_t size_bytes;
    uint32_t start_tag; /* virtual address >> 8 where it starts */
};

#define FWSEC_FRTS_BYTES UINT64_C(0x100000)

/*
 * Reset the GSP's falcon and run FWSEC-FRTS on it: WPR2 then begins at frts_offset of VRAM (a multiple of 128 KiB,
 * frts_bytes is FWSEC_FRTS_BYTES). The scratch register and the range are checked. loader may be NULL from GA102 on.
 * 0 or negative errno, hw->error says why.
 */
int fwsec_frts(struct hw *hw, const struct fwsec_loader *loader, uint64_t frts_offset, uint64_t frts_bytes);
/* Reset the GSP's falcon and run FWSEC-SB, after the GSP was unloaded. */
int fwsec_sb(struct hw *hw, const struct fwsec_loader *loader);

/* WPR2 as the chip has it, multiples of 4 KiB: false when it is down. */
bool fwsec_wpr2(struct hw *hw, uint64_t *start, uint64_t *end);

enum fwsec_command { FWSEC_COMMAND_FRTS = 0x15, FWSEC_COMMAND_SB = 0x19 };
/*
 * Put a command into the program's data, at the place that its interface table says. 0, or -EINVAL and *problem says why.
 * Does not touch the device; for fwsec.c and the tests.
 */
int fwsec_patch(uint8_t *data, uint32_t data_bytes, uint32_t interface_offset, enum fwsec_command command,
                uint64_t frts_offset, uint64_t frts_bytes, const char **problem);

#endif
