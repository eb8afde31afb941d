/*
 * gpu/nvidia/gsp/chips.c: the chips that the bring-up knows.
 *
 * Sources: architecture and implementation numbers from open-gpu-kernel-modules 570.144, nv_ref.h (NV_PMC_BOOT_0/42) and
 * nv_arch.h; which of them differ in what from the hardware tables in its g_kernel_gsp_nvoc.c (falcon, booter or FSP),
 * g_kern_mem_sys_nvoc.c (size of VRAM); folders as linux-firmware has them, where the other chips of a family are links to
 * these. GA102F (0x17f) and the integrated GB10B are left out: no card has them.
 */
#include "gpu/nvidia/gsp/hw.h"

#define BY_SEC2 .boot = HW_BOOT_SEC2, .mmu_version = 2
#define BY_FSP \
    .boot = HW_BOOT_FSP, .mmu_version = 3, .falcon = HW_FALCON_GA102, .has_vram_scratch = true

static const struct hw_chip chips[] = {
    {"tu102", "tu102", 0x162, 0x162, BY_SEC2, .falcon = HW_FALCON_TU102, .sm = 75},
    {"tu104", "tu102", 0x164, 0x164, BY_SEC2, .falcon = HW_FALCON_TU102, .sm = 75},
    {"tu106", "tu102", 0x166, 0x166, BY_SEC2, .falcon = HW_FALCON_TU102, .sm = 75},
    {"tu117", "tu116", 0x167, 0x167, BY_SEC2, .falcon = HW_FALCON_TU102, .sm = 75},
    {"tu116", "tu116", 0x168, 0x168, BY_SEC2, .falcon = HW_FALCON_TU102, .sm = 75},
    {"ga100", "ga100", 0x170, 0x170, BY_SEC2, .falcon = HW_FALCON_TU102, .sm = 80},
    {"ga102", "ga102", 0x172, 0x172, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 86,
     .has_vram_scratch = true},
    {"ga103", "ga102", 0x173, 0x173, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 86,
     .has_vram_scratch = true},
    {"ga104", "ga102", 0x174, 0x174, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 86,
     .has_vram_scratch = true},
    {"ga106", "ga102", 0x176, 0x176, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 86,
     .has_vram_scratch = true},
    {"ga107", "ga102", 0x177, 0x177, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 86,
     .has_vram_scratch = true},
    {"ad102", "ad102", 0x192, 0x192, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 89,
     .has_vram_scratch = true},
    {"ad103", "ad102", 0x193, 0x193, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 89,
     .has_vram_scratch = true},
    {"ad104", "ad102", 0x194, 0x194, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 89,
     .has_vram_scratch = true},
    {"ad106", "ad102", 0x196, 0x196, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 89,
     .has_vram_scratch = true},
    {"ad107", "ad102", 0x197, 0x197, BY_SEC2, .falcon = HW_FALCON_GA102, .sm = 89,
     .has_vram_scratch = true},
    {"gh100", "gh100", 0x180, 0x180, BY_FSP, .sm = 90},
    {"gb100", "gb100", 0x1a0, 0x1a0, BY_FSP, .sm = 100},
    {"gb102", "gb100", 0x1a2, 0x1a2, BY_FSP, .sm = 100},
    {"gb202", "gb202", 0x1b2, 0x1b2, BY_FSP, .sm = 120},
    {"gb203", "gb202", 0x1b3, 0x1b3, BY_FSP, .sm = 120},
    {"gb205", "gb202", 0x1b5, 0x1b5, BY_FSP, .sm = 120},
    {"gb206", "gb202", 0x1b6, 0x1b6, BY_FSP, .sm = 120},
    {"gb207", "gb202", 0x1b7, 0x1b7, BY_FSP, .sm = 120},
};

const struct hw_chip *hw_chip_find(uint16_t chip_id)
{
    for (size_t i = 0; i < ARRAY_COUNT(chips); i++)
        if (chip_id >= chips[i].chip_id_first && chip_id <= chips[i].chip_id_last)
            return &chips[i];
    return NULL;
}
