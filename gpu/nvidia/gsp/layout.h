/*
 * gpu/nvidia/gsp/layout.h: who gets which part of VRAM when the GSP starts.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_LAYOUT_H
#define INGOT_GPU_NVIDIA_GSP_LAYOUT_H

#include "gpu/nvidia/gsp/hw.h"

/* A stretch of VRAM, by its offset from VRAM's start. */
struct gsp_region {
    uint64_t offset, bytes;
};

/*
 * From VRAM's end down (kgspCalculateFbLayout_TU102 and _GH100 draw it). Where the FSP starts the GSP its own firmware
 * chooses the offsets: they are 0 here and only the sizes, which are asked for, are known.
 */
struct gsp_layout {
    uint64_t vram_bytes;
    struct gsp_region vga;          /* the VBIOS's workspace and what it has locked */
    struct gsp_region frts;         /* Firmware Runtime Security data: FWSEC's or the FSP's, inside WPR2; GA100: none */
    struct gsp_region boot_loader;  /* the GSP's */
    struct gsp_region program;
    struct gsp_region heap;         /* the program's memory */
    struct gsp_region wpr2;         /* Write Protected Region 2: a descriptor, then all of these up to the end of frts */
    struct gsp_region non_wpr_heap; /* what the program uses outside of WPR2, right below it */
    uint64_t pmu_bytes;             /* Blackwell: for the power management unit, above frts */
    uint64_t frts_end_distance;     /* HW_BOOT_FSP: where frts shall end, counted from VRAM's end */
    uint64_t usable_end;            /* VRAM [0, usable_end) belongs to nobody; with the FSP known after the start only */
};

/* Where the VBIOS's part of VRAM begins: asks the chip. */
uint64_t gsp_layout_vbios_offset(struct hw *hw);

/*
 * vbios_offset is ignored where the FSP starts the GSP. 0, or -EINVAL when VRAM is too small or vbios_offset is not in its
 * last 64 MiB.
 */
int gsp_layout_compute(const struct hw_chip *chip, uint64_t vram_bytes, uint64_t vbios_offset,
                       uint64_t boot_loader_bytes, uint64_t program_bytes, struct gsp_layout *out);

#endif
