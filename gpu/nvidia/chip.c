/*
 * gpu/nvidia/chip.c: what differs between architectures, chosen once by the compute class that the device offers.
 *
 * Sources: class numbers from open-gpu-doc and open-gpu-kernel-modules; shared memory per block and splits per SM from the
 * CUDA C++ Programming Guide 13.0, section "Compute Capabilities"; places in constant bank 0 as ptxas 13.0 uses them (seen
 * in disassembly for each target). Run on hardware: Hopper (H200) only.
 */
#include "gpu/nvidia/device.h"
#include "gpu/nvidia/rm_abi.h"

#define BANK0_UP_TO_HOPPER \
    .bank0_block_dim = 0x00, .bank0_grid_dim = 0x0c, .bank0_shared_window = 0x18, \
    .bank0_local_window = 0x20, .bank0_stack_top = 0x28
#define BANK0_BLACKWELL \
    .bank0_block_dim = 0x360, .bank0_grid_dim = 0x370, .bank0_shared_window = 0x2f0, \
    .bank0_local_window = 0x2f8, .bank0_stack_top = 0x37c

static const struct nvidia_chip chips[] = {
    {.compute_class = BLACKWELL_COMPUTE_B,
     .copy_class = BLACKWELL_DMA_COPY_B,
     .channel_class = BLACKWELL_CHANNEL_GPFIFO_B,
     .usermode_class = BLACKWELL_USERMODE_A,
     .qmd_version = QMD_V5,
     .has_copy_release_64 = true,
     .shared_block_max = 99 * 1024,
     .shared_reserved = 1024,
     .shared_config_kib = {0, 8, 16, 32, 64, 100},
     BANK0_BLACKWELL},
    {.compute_class = BLACKWELL_COMPUTE_A,
     .copy_class = BLACKWELL_DMA_COPY_A,
     .channel_class = BLACKWELL_CHANNEL_GPFIFO_A,
     .usermode_class = BLACKWELL_USERMODE_A,
     .qmd_version = QMD_V5,
     .has_copy_release_64 = true,
     .shared_block_max = 227 * 1024,
     .shared_reserved = 1024,
     .shared_config_kib = {0, 8, 16, 32, 64, 100, 132, 164, 196, 228},
     BANK0_BLACKWELL},
    {.compute_class = HOPPER_COMPUTE_A,
     .copy_class = HOPPER_DMA_COPY_A,
     .channel_class = HOPPER_CHANNEL_GPFIFO_A,
     .usermode_class = HOPPER_USERMODE_A,
     .qmd_version = QMD_V4,
     .has_copy_release_64 = true,
     .shared_block_max = 227 * 1024,
     .shared_reserved = 1024,
     .shared_config_kib = {0, 8, 16, 32, 64, 100, 132, 164, 196, 228},
     BANK0_UP_TO_HOPPER},
    {.compute_class = ADA_COMPUTE_A,
     .copy_class = AMPERE_DMA_COPY_B,
     .channel_class = AMPERE_CHANNEL_GPFIFO_A,
     .usermode_class = AMPERE_USERMODE_A,
     .qmd_version = QMD_V3,
     .has_copy_release_64 = true,
     .shared_block_max = 99 * 1024,
     .shared_reserved = 1024,
     .shared_config_kib = {0, 8, 16, 32, 64, 100},
     BANK0_UP_TO_HOPPER},
    {.compute_class = AMPERE_COMPUTE_B,
     .copy_class = AMPERE_DMA_COPY_B,
     .channel_class = AMPERE_CHANNEL_GPFIFO_A,
     .usermode_class = AMPERE_USERMODE_A,
     .qmd_version = QMD_V3,
     .has_copy_release_64 = true,
     .shared_block_max = 99 * 1024,
     .shared_reserved = 1024,
     .shared_config_kib = {0, 8, 16, 32, 64, 100},
     BANK0_UP_TO_HOPPER},
    {.compute_class = AMPERE_COMPUTE_A,
     .copy_class = AMPERE_DMA_COPY_A,
     .channel_class = AMPERE_CHANNEL_GPFIFO_A,
     .usermode_class = AMPERE_USERMODE_A,
     .qmd_version = QMD_V3,
     .has_copy_release_64 = false,
     .shared_block_max = 163 * 1024,
     .shared_reserved = 1024,
     .shared_config_kib = {0, 8, 16, 32, 64, 100, 132, 164},
     BANK0_UP_TO_HOPPER},
    {.compute_class = TURING_COMPUTE_A,
     .copy_class = TURING_DMA_COPY_A,
     .channel_class = TURING_CHANNEL_GPFIFO_A,
     .usermode_class = TURING_USERMODE_A,
     .qmd_version = QMD_V2,
     .has_copy_release_64 = false,
     .shared_block_max = 64 * 1024,
     .shared_reserved = 0,
     .shared_config_kib = {32, 64},
     BANK0_UP_TO_HOPPER},
};

const struct nvidia_chip *nvidia_chip_find(const uint32_t *classes, unsigned count)
{
    for (size_t chip = 0; chip < ARRAY_COUNT(chips); chip++)
        for (unsigned i = 0; i < count; i++)
            if (classes[i] == chips[chip].compute_class)
                return &chips[chip];
    return NULL;
}
