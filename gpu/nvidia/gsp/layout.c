/*
 * gpu/nvidia/gsp/layout.c: the division of VRAM for the GSP's start, from VRAM's end down.
 *
 * Source: open-gpu-kernel-modules 570.144: kgspCalculateFbLayout_TU102 (kernel_gsp_tu102.c), kgspCalculateFbLayout_GH100
 * (kernel_gsp_gh100.c), _kgspCalculateFwHeapSize (kernel_gsp.c), gsp_fw_heap.h; sizes by chip from g_kernel_gsp_nvoc.[ch],
 * g_kern_pmu_nvoc.c and kern_pmu.c, kfspPrepareBootCommands_GH100 (kern_fsp_gh100.c), memmgrGetFBEndReserveSizeEstimate.
 */
#include "gpu/nvidia/gsp/layout.h"

#include <string.h>

#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/regs/disp.h"

#define MIB (UINT64_C(1) << 20)

uint64_t gsp_layout_vbios_offset(struct hw *hw)
{
    /* Without a display's workspace as much as the window is that old VBIOSes had theirs in (NV_PRAMIN). */
    uint64_t lowest = hw->vram_bytes - MIB, offset = lowest;
    bool is_old = hw->chip->falcon == HW_FALCON_TU102;
    bool is_ga100 = strcmp(hw->chip->name, "ga100") == 0;
    uint32_t fuse = is_old ? NV_FUSE_STATUS_OPT_DISPLAY_GM107 : NV_FUSE_STATUS_OPT_DISPLAY;
    if (!is_ga100 && (hw_read32(hw, fuse) & NV_FUSE_STATUS_OPT_DISPLAY_DATA) == 0) {
        uint32_t base = hw_read32(hw, NV_PDISP_VGA_WORKSPACE_BASE);
        if (base & NV_PDISP_VGA_WORKSPACE_BASE_STATUS_VALID)
            offset = field_get(NV_PDISP_VGA_WORKSPACE_BASE_ADDR, base) << 16;
        if (offset < lowest || offset >= hw->vram_bytes)
            offset = hw->vram_bytes - 0x20000; /* RM moves it there */
    }
    if (is_ga100 && (hw_read32(hw, NV_PFB_PRI_MMU_LOCK_ADDR_LO__PRIV_LEVEL_MASK) &
                     NV_PFB_PRI_MMU_LOCK_CFG_PRIV_LEVEL_MASK_READ_PROTECTION_LEVEL0)) {
        uint64_t lo =
            field_get(NV_PFB_PRI_MMU_LOCK_ADDR_VAL, hw_read32(hw, NV_PFB_PRI_MMU_LOCK_ADDR_LO));
        uint64_t hi =
            field_get(NV_PFB_PRI_MMU_LOCK_ADDR_VAL, hw_read32(hw, NV_PFB_PRI_MMU_LOCK_ADDR_HI));
        if (hi >= lo)
            offset = min_u64(offset, lo << 12);
    }
    return offset;
}

/* What the program needs as its heap: for its operating system, itself, each GiB of VRAM, and 2048 channels. */
static uint64_t heap_bytes(const struct hw_chip *chip, uint64_t vram_bytes)
{
    bool is_libos_2 = chip->falcon == HW_FALCON_TU102;
    uint64_t gib = align_up(vram_bytes, 1024 * MIB) / (1024 * MIB);
    uint64_t bytes = (is_libos_2 ? 0 : 22 * MIB) + (chip->boot == HW_BOOT_FSP ? 14 : 8) * MIB +
                     align_up(gib * (96 << 10), MIB) + align_up((UINT64_C(48) << 10) * 2048, MIB);
    uint64_t least = (is_libos_2 ? 64 : 88) * MIB;
    return bytes < least ? least : bytes;
}

static int compute_fsp(const struct hw_chip *chip, uint64_t boot_loader_bytes,
                       uint64_t program_bytes, struct gsp_layout *out)
{
    bool is_blackwell = chip->sm >= 100;
    out->vga.bytes = 0x20000;
    out->frts.bytes = FWSEC_FRTS_BYTES;
    out->boot_loader.bytes = boot_loader_bytes;
    out->program.bytes = program_bytes;
    out->heap.bytes = heap_bytes(chip, out->vram_bytes);
    out->non_wpr_heap.bytes = chip->sm >= 120 ? 0x220000 : 0x200000;
    out->pmu_bytes = is_blackwell ? align_up(0x800000 + 0x1000000 + 0x1000, 0x20000) : 0;
    /* The FSP puts frts below what the driver will need at VRAM's end, an estimate; then aligned to 2 MiB. */
    out->frts_end_distance = is_blackwell ? align_up(0x220000 + out->pmu_bytes, 2 * MIB) : 0x200000;
    uint64_t all = out->frts_end_distance + out->frts.bytes + boot_loader_bytes + program_bytes +
                   out->heap.bytes + out->non_wpr_heap.bytes + 16 * MIB;
    return all > out->vram_bytes ? -EINVAL : 0;
}

int gsp_layout_compute(const struct hw_chip *chip, uint64_t vram_bytes, uint64_t vbios_offset,
                       uint64_t boot_loader_bytes, uint64_t program_bytes, struct gsp_layout *out)
{
    *out = (struct gsp_layout){.vram_bytes = vram_bytes};
    if (boot_loader_bytes > 64 * MIB || program_bytes > 1024 * MIB || vram_bytes % MIB != 0)
        return -EINVAL;
    if (chip->boot == HW_BOOT_FSP)
        return compute_fsp(chip, boot_loader_bytes, program_bytes, out);

    if (vbios_offset >= vram_bytes || vram_bytes - vbios_offset > 64 * MIB)
        return -EINVAL;
    uint64_t room = vbios_offset, frts = strcmp(chip->name, "ga100") == 0 ? 0 : FWSEC_FRTS_BYTES;
    if (room < frts + boot_loader_bytes + program_bytes + heap_bytes(chip, vram_bytes) + 8 * MIB)
        return -EINVAL;
    out->vga = (struct gsp_region){vbios_offset, vram_bytes - vbios_offset};
    uint64_t wpr2_end = align_down(vbios_offset, 0x20000);
    out->frts = (struct gsp_region){wpr2_end - frts, frts};
    out->boot_loader = (struct gsp_region){align_down(out->frts.offset - boot_loader_bytes, 0x1000),
                                           boot_loader_bytes};
    out->program = (struct gsp_region){align_down(out->boot_loader.offset - program_bytes, 0x10000),
                                       program_bytes};

    /* All of it must lie in what the VBIOS has cleared: 256 MiB, or on GA100 everything. */
    uint64_t non_wpr = MIB, descriptor = MIB, heap = heap_bytes(chip, vram_bytes);
    uint64_t above = align_up(vram_bytes - out->program.offset, MIB);
    if (strcmp(chip->name, "ga100") != 0) {
        if (above + descriptor + non_wpr >= 256 * MIB)
            return -EINVAL;
        heap = min_u64(heap, 256 * MIB - above - descriptor - non_wpr);
    }
    out->heap.offset = align_down(out->program.offset - heap, MIB);
    out->heap.bytes = align_down(out->program.offset - out->heap.offset, MIB);
    out->wpr2.offset = out->heap.offset - descriptor;
    out->wpr2.bytes = wpr2_end - out->wpr2.offset;
    out->non_wpr_heap = (struct gsp_region){out->wpr2.offset - non_wpr, non_wpr};
    out->usable_end = out->non_wpr_heap.offset;
    return 0;
}
