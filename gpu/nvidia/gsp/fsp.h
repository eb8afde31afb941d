/*
 * gpu/nvidia/gsp/fsp.h: the Foundation Security Processor, which starts the GSP on Hopper and Blackwell.
 *
 * It takes one message, the chain of trust (COT): where the GSP's first stage (FMC) and its arguments are, the FMC's hash,
 * key and signature, and where FRTS shall be in VRAM. It checks the FMC and starts the GSP's boot ROM on it; the FMC then
 * checks and copies the rest. Until that is done the GSP's registers are closed to us.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_FSP_H
#define INGOT_GPU_NVIDIA_GSP_FSP_H

#include "gpu/nvidia/gsp/firmware.h"
#include "gpu/nvidia/gsp/layout.h"

/*
 * Send one message and read the reply; payload_bytes at most 1016. 0; -EIO when the FSP answers with an error, -EPROTO for an
 * answer that is none, -ETIMEDOUT, -EBUSY when it does not take the message. hw->error says why.
 */
int fsp_message(struct hw *hw, uint8_t nvdm_type, const void *payload, uint32_t payload_bytes);

/*
 * The chain-of-trust message, then wait until the GSP's registers open and the FMC has reported no error. fmc_dma: the FMC's
 * image; params_dma: struct gsp_fmc_boot_params. Both, and what they point at, stay in place until this returns.
 */
int fsp_boot(struct hw *hw, const struct gsp_fmc *fmc, const struct gsp_layout *layout, uint64_t fmc_dma,
             uint64_t params_dma);

#endif
