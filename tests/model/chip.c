/*
 * tests/model/chip.c: the chips that can be modelled.
 *
 * BOOT_0 and BOOT_42: fields of src/common/inc/swref/published/nv_ref.h (OGKM). PCI device numbers and card names:
 * src/nvidia/generated/g_nv_name_released.h. Classes: src/nvidia/generated/g_gpu_class_list.c and
 * src/common/sdk/nvidia/inc/class. Multiprocessors: NVIDIA's architecture white papers (the whole die, no unit disabled).
 * Firmware folders: as in linux-firmware, which links the GSP image of Ampere and Ada to ga102's, Hopper's and Blackwell's
 * to gh100's and gb202's own (OGKM: kernel-open's nv-firmware.h names gsp_tu10x and gsp_ga10x).
 */
#include <string.h>

#include "tests/model/model.h"

/* NV_PMC_BOOT_0: architecture 28:24, implementation 23:20, major 7:4, minor 3:0. */
#define BOOT_0(arch, impl)  ((uint32_t)(arch) << 24 | (uint32_t)(impl) << 20 | 0xa1)
/* NV_PMC_BOOT_42: architecture 29:24, implementation 23:20, major 19:16, minor 15:12. */
#define BOOT_42(arch, impl) ((uint32_t)(arch) << 24 | (uint32_t)(impl) << 20 | 0xa << 16 | 1 << 12)

static const struct chip chips[] = {
    {
        .name = "ga102",
        .card = "NVIDIA GeForce RTX 3090",
        .firmware = "ga102",
        .gsp_firmware = "ga102",
        .signature_section = ".fwsignature_ga10x",
        .family = AMPERE,
        .boot_0 = BOOT_0(0x17, 2),
        .boot_42 = BOOT_42(0x17, 2),
        .device_id = 0x2204,
        .subsystem_id = 0x1454,
        .revision = 0xa1,
        .bar0_bytes = UINT64_C(16) << 20,
        .vram_bytes = UINT64_C(24) << 30,
        .mmu_version = 2,
        .sm = 86,
        .gpcs = 7,
        .tpcs_per_gpc = 6,
        .sms_per_tpc = 2,
        .warps_per_sm = 48,
        .compute_class = 0xc7c0,
        .copy_class = 0xc7b5,
        .channel_class = 0xc56f,
        .usermode_class = 0xc561,
        .fwsec_fuse = 1,
        .booter_fuse = 1,
    },
    {
        .name = "ad102",
        .card = "NVIDIA GeForce RTX 4090",
        .firmware = "ad102",
        .gsp_firmware = "ad102",
        .signature_section = ".fwsignature_ad10x",
        .family = ADA,
        .boot_0 = BOOT_0(0x19, 2),
        .boot_42 = BOOT_42(0x19, 2),
        .device_id = 0x2684,
        .subsystem_id = 0x16f3,
        .revision = 0xa1,
        .bar0_bytes = UINT64_C(16) << 20,
        .vram_bytes = UINT64_C(24) << 30,
        .mmu_version = 2,
        .sm = 89,
        .gpcs = 12,
        .tpcs_per_gpc = 6,
        .sms_per_tpc = 2,
        .warps_per_sm = 48,
        .compute_class = 0xc9c0,
        .copy_class = 0xc7b5,
        .channel_class = 0xc56f,
        .usermode_class = 0xc561,
        .fwsec_fuse = 0,
        .booter_fuse = 0,
    },
    {
        .name = "tu102",
        .card = "NVIDIA GeForce RTX 2080 Ti",
        .firmware = "tu102",
        .gsp_firmware = "tu102",
        .signature_section = ".fwsignature_tu10x",
        .family = TURING,
        .boot_0 = BOOT_0(0x16, 2),
        .boot_42 = BOOT_42(0x16, 2),
        .device_id = 0x1e07,
        .subsystem_id = 0x12a4,
        .revision = 0xa1,
        .bar0_bytes = UINT64_C(16) << 20,
        .vram_bytes = UINT64_C(11) << 30,
        .mmu_version = 2,
        .sm = 75,
        .gpcs = 6,
        .tpcs_per_gpc = 6,
        .sms_per_tpc = 2,
        .warps_per_sm = 32,
        .compute_class = 0xc5c0,
        .copy_class = 0xc5b5,
        .channel_class = 0xc46f,
        .usermode_class = 0xc461,
    },
    {
        .name = "gh100",
        .card = "NVIDIA H100 PCIe",
        .firmware = "gh100",
        .gsp_firmware = "gh100",
        .signature_section = ".fwsignature_gh100",
        .family = HOPPER,
        .boot_0 = BOOT_0(0x18, 0),
        .boot_42 = BOOT_42(0x18, 0),
        .device_id = 0x2331,
        .subsystem_id = 0x1626,
        .revision = 0xa1,
        .is_3d_controller = true,
        .has_msix = true,
        .bar0_bytes = UINT64_C(16) << 20,
        .vram_bytes = UINT64_C(80) << 30,
        .mmu_version = 3,
        .sm = 90,
        .gpcs = 8,
        .tpcs_per_gpc = 9,
        .sms_per_tpc = 2,
        .warps_per_sm = 64,
        .compute_class = 0xcbc0,
        .copy_class = 0xc8b5,
        .channel_class = 0xc86f,
        .usermode_class = 0xc661,
    },
    {
        .name = "gb202",
        .card = "NVIDIA GeForce RTX 5090",
        .firmware = "gb202",
        .gsp_firmware = "gb202",
        .signature_section = ".fwsignature_gb20x",
        .family = BLACKWELL,
        .boot_0 =
            BOOT_0(0x1b, 2), /* nouveau still tells it by this: nvkm/engine/device/base.c, 0x1b2 */
        .boot_42 = BOOT_42(0x1b, 2),
        .device_id = 0x2b85,
        .subsystem_id = 0x2057,
        .revision = 0xa1,
        .bar0_bytes = UINT64_C(64) << 20,
        .vram_bytes = UINT64_C(32) << 30,
        .mmu_version = 3,
        .sm = 120,
        .gpcs = 12,
        .tpcs_per_gpc = 8,
        .sms_per_tpc = 2,
        .warps_per_sm = 48,
        .compute_class = 0xcec0,
        .copy_class = 0xcab5,
        .channel_class = 0xca6f,
        .usermode_class = 0xc761,
    },
};

const struct chip *chip_get(unsigned index)
{
    return index < sizeof(chips) / sizeof(chips[0]) ? &chips[index] : NULL;
}

const struct chip *chip_find(const char *name)
{
    for (unsigned i = 0; i < sizeof(chips) / sizeof(chips[0]); i++)
        if (strcmp(chips[i].name, name) == 0)
            return &chips[i];
    return NULL;
}
