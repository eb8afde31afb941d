/*
 * gpu/nvidia/gsp/booter.h: the booters, two signed programs on SEC2 that start the GSP and end it (Turing, Ampere, Ada).
 *
 * booter_load copies the GSP's program, boot loader and descriptor into WPR2, checks their signatures and starts the RISC-V
 * core; booter_unload takes WPR2 down again. Both report through SEC2's first mailbox.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_BOOTER_H
#define INGOT_GPU_NVIDIA_GSP_BOOTER_H

#include "gpu/nvidia/gsp/falcon.h"
#include "gpu/nvidia/gsp/firmware.h"

/*
 * Where the parts of the code go, with the signature for this fuse version put into image, a copy of code->image of
 * align_up(code->image.bytes, 256) bytes. -EINVAL: there is no signature for the version, or the code needs no fuse and
 * parts of it overlap. Exposed for tests; the two below call it.
 */
int booter_image(const struct gsp_secure_code *code, enum hw_falcon kind, unsigned fuse_version, uint8_t *image,
                 struct falcon_image *out);

/* 0 or negative errno, hw->error says why. wpr_meta_dma: of a struct gsp_wpr_meta. */
int booter_load(struct hw *hw, const struct gsp_secure_code *code, uint64_t wpr_meta_dma);
/* WPR2 is down afterwards, or it is an error. */
int booter_unload(struct hw *hw, const struct gsp_secure_code *code);

#endif
