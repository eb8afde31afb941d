/*
 * gpu/nvidia/gsp/vbios.h: the card's VBIOS, as far as the bring-up needs it: the FWSEC program in it, and its version.
 *
 * All of it is input: a parser over an array, without the device, so that tests and a fuzzer can drive it.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_VBIOS_H
#define INGOT_GPU_NVIDIA_GSP_VBIOS_H

#include "gpu/nvidia/gsp/hw.h"

#define VBIOS_BYTES_MAX (1024 * 1024) /* of the PROM window */
#define VBIOS_SIGNATURE_BYTES 384     /* RSA-3072 */

/* FWSEC as its descriptor says; every offset and size has been checked to lie in the image that was given. */
struct vbios_fwsec {
    unsigned version;              /* of the descriptor: 2 (TU102 .. GA100) or 3 */
    const uint8_t *code;           /* IMEM contents; DMEM contents at data */
    uint32_t code_bytes, data_bytes;
    const uint8_t *data;
    uint32_t interface_offset;     /* in data: table of application interfaces */
    uint32_t imem_address, imem_tag, dmem_address;
    /* version 2: */
    uint32_t secure_address, secure_bytes; /* IMEM virtual address of the signed part, and its size */
    /* version 3: */
    uint32_t signature_dmem;       /* in data: where the signature goes */
    uint16_t engine_id_mask;
    uint8_t ucode_id;
    uint16_t signature_versions;   /* bit v: there is a signature for fuse version v; they are stored in ascending order */
    unsigned signature_count;
    const uint8_t *signatures;
};

struct vbios {
    char version[24];              /* "94.02.42.00.02", empty when it does not say */
    struct vbios_fwsec fwsec;
};

/*
 * Parse the contents of the PROM window. 0; -EINVAL with a reason in error[]. What *out points at lies in bytes[].
 * is_debug: the chip is fused for development firmware.
 */
int vbios_parse(const uint8_t *bytes, uint32_t size_bytes, bool is_debug, struct vbios *out, char error[160]);

/*
 * The signature for a fuse version, which is counted from 0; NULL when the image has none for it.
 */
const uint8_t *vbios_signature(const struct vbios_fwsec *fwsec, unsigned fuse_version);

/* Read as much of the PROM window as the images in it take; *out is freed with free(). 0 or negative errno, hw->error. */
int vbios_read(struct hw *hw, uint8_t **out, uint32_t *size_bytes);

#endif
