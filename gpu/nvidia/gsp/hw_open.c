/*
 * gpu/nvidia/gsp/hw_open.c: takes hold of one GPU.
 *
 * 1. PCI: memory decoding on, bus mastering off. BAR0 mapped.
 * 2. BOOT_0 and BOOT_42: which chip it is.
 * 3. WPR2 up means that somebody's GSP still runs: the GPU is reset, by function level reset, else through its bus.
 * 4. Wait until the card's own firmware has set it up.
 * 5. How much VRAM there is; BAR1 grown to that; mapped. Bus mastering on.
 *
 * Sources: open-gpu-kernel-modules 570.144: kern_gpu_tu102.c (firmware's progress), kern_fsp_gh100.c, kern_fsp_gb202.c
 * (the FSP's), kern_mem_sys_gp102.c, kern_mem_sys_ga102.c (size of VRAM), kernel_gsp_tu102.c (WPR2); that a function level
 * reset takes WPR2 down: tinygrad's nvdev.py, which does so through Linux.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/regs/fb.h"
#include "gpu/nvidia/gsp/regs/gc6.h"
#include "gpu/nvidia/gsp/regs/pmc.h"

#define BAR0_BYTES_MIN \
    (UINT64_C(16) << 20) /* the highest register used lies below; on GB202 0xad00bc */
#define VRAM_BYTES_MAX (UINT64_C(1) << 42) /* no card has a sixteenth of that */
#define GFW_BOOT_NS    (4 * NS_PER_S)      /* nova-core; open-gpu-kernel-modules: 2.05 s */
#define FSP_BOOT_NS    (5 * NS_PER_S)      /* open-gpu-kernel-modules, kern_fsp_gh100.c */
#define BOOT_0_NS      (5 * NS_PER_S)

/* What a register reads as that the card's own firmware has not opened yet, or that is not there. */
static bool is_refused(uint32_t value)
{
    return value >> 20 == 0xbad;
}

/* BAR1 is PCI's BAR 1, or 2 where BAR0 has 64 bits: datacenter cards from Hopper on. */
static unsigned bar1_index(const struct hw *hw)
{
    return hw->pci->bar[0].is_64 ? 2 : 1;
}

static int map_registers(struct hw *hw)
{
    const struct pci_bar *bar = &hw->pci->bar[0];
    if (bar->is_io || bar->size_bytes < BAR0_BYTES_MIN)
        return hw_fail(hw, -ENODEV, "BAR0 has %llu KiB, registers need %llu",
                       (unsigned long long)(bar->size_bytes >> 10),
                       (unsigned long long)(BAR0_BYTES_MIN >> 10));
    hw->bar0 = pci_map_bar(hw->pci, 0, CACHE_UNCACHED);
    if (hw->bar0 == NULL)
        return hw_fail(hw, -ENOMEM, "BAR0, %llu MiB at %#llx, cannot be mapped",
                       (unsigned long long)(bar->size_bytes >> 20), (unsigned long long)bar->pa);
    hw->bar0_bytes = bar->size_bytes;
    return 0;
}

static int identify(struct hw *hw)
{
    hw->boot_0 = hw_read32(hw, NV_PMC_BOOT_0);
    hw->boot_42 = hw_read32(hw, NV_PMC_BOOT_42);
    /* Chips to come have nothing in BOOT_0 (nova-core, gpu.rs). */
    if (hw->boot_0 == UINT32_MAX || hw->boot_42 == UINT32_MAX ||
        (hw->boot_0 == 0 && hw->boot_42 == 0))
        return hw_fail(hw, -ENODEV, "BOOT_0 reads %#x, BOOT_42 %#x: the GPU does not answer",
                       hw->boot_0, hw->boot_42);
    if (is_refused(hw->boot_42))
        return hw_fail(hw, -EIO, "BOOT_42 cannot be read (%#x; BOOT_0 is %#x)", hw->boot_42,
                       hw->boot_0);
    uint16_t chip_id = (uint16_t)field_get(NV_PMC_BOOT_42_CHIP_ID, hw->boot_42);
    hw->chip = hw_chip_find(chip_id);
    if (hw->chip == NULL)
        return hw_fail(hw, -ENOTSUP, "chip %#x is not known (BOOT_0 %#x, BOOT_42 %#x)", chip_id,
                       hw->boot_0, hw->boot_42);
    struct pci_facts facts;
    char link[48] = "no PCI Express link told";
    if (pci_facts(hw->pci, &facts) && facts.link_width_max != 0)
        snprintf(link, sizeof(link), "x%u of x%u lanes at %u of %u MT/s", facts.link_width,
                 facts.link_width_max, facts.link_rate, facts.link_rate_max);
    hw_step(hw, "%s: chip %s, revision %x.%x (BOOT_0 %#x, BOOT_42 %#x), %s", hw->pci->name,
            hw->chip->name, (unsigned)field_get(NV_PMC_BOOT_42_MAJOR_REVISION, hw->boot_42),
            (unsigned)field_get(NV_PMC_BOOT_42_MINOR_REVISION, hw->boot_42), hw->boot_0,
            hw->boot_42, link);
    return 0;
}

/* ---- the chip's own start ---- */

static int wait_firmware(struct hw *hw)
{
    if (hw->chip->boot == HW_BOOT_FSP)
        return hw_wait32(
            hw, hw->chip->sm >= 120 ? NV_THERM_I2CS_SCRATCH_GB202 : NV_THERM_I2CS_SCRATCH_GH100,
            UINT32_MAX, NV_THERM_I2CS_SCRATCH_FSP_BOOT_COMPLETE_STATUS_SUCCESS, FSP_BOOT_NS,
            "FSP: boot complete");
    uint64_t deadline_ns = time_ns() + GFW_BOOT_NS;
    uint32_t level0 = NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK_READ_PROTECTION_LEVEL0;
    int error = hw_wait32(hw, NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK, level0, level0,
                          GFW_BOOT_NS, "the card's firmware: progress readable");
    if (error)
        return error;
    uint64_t now_ns = time_ns();
    return hw_wait32(hw, NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT,
                     (uint32_t)NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT_PROGRESS,
                     NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT_PROGRESS_COMPLETED,
                     deadline_ns > now_ns ? deadline_ns - now_ns : 0,
                     "the card's firmware: completed");
}

/* ---- a GPU left running ---- */

/* Before the card's firmware is through, the register may be closed: then nobody's GSP can run either. */
static bool is_running(struct hw *hw)
{
    uint64_t start, end;
    return !is_refused(hw_read32(hw, NV_PFB_PRI_MMU_WPR2_ADDR_HI)) && fwsec_wpr2(hw, &start, &end);
}

/* Not hw_wait32(): for a while all registers may read as ones, which is no failure here. */
static int wait_same_chip(struct hw *hw)
{
    uint64_t deadline_ns = time_ns() + BOOT_0_NS;
    for (;;) {
        bool is_late = time_ns() >= deadline_ns;
        uint32_t value = hw_read32(hw, NV_PMC_BOOT_0);
        if (value == hw->boot_0)
            return 0;
        if (is_late)
            return hw_fail(hw, value == UINT32_MAX ? -ENODEV : -ETIMEDOUT,
                           "reset: BOOT_0 is %#x after %llu s, it was %#x before", value,
                           (unsigned long long)(BOOT_0_NS / NS_PER_S), hw->boot_0);
        task_sleep_until(time_ns() + NS_PER_MS);
    }
}

/* One way to reset it; 0 when the GPU is back, as it was, and nothing runs on it. */
static int reset_by(struct hw *hw, enum pci_reset how, const char *name)
{
    int error = pci_reset(hw->pci, how);
    if (error == -ENOTSUP || error == -EBUSY) {
        log_info("%s: no %s: %s", hw->name, name,
                 error == -EBUSY ? "another device works on its bus" : "it cannot be reset so");
        return error;
    }
    if (error)
        return hw_fail(hw, error, "%s: the GPU did not come back (error %d)", name, -error);
    error = wait_same_chip(hw);
    if (!error)
        error = wait_firmware(hw);
    if (error)
        return error;
    if (is_running(hw)) {
        log_warn("%s: WPR2 is still up after a %s (register %#x is %#x)", hw->name, name,
                 NV_PFB_PRI_MMU_WPR2_ADDR_HI, hw_read32(hw, NV_PFB_PRI_MMU_WPR2_ADDR_HI));
        return -EAGAIN;
    }
    hw_step(hw, "reset by a %s", name);
    return 0;
}

static int reset_if_running(struct hw *hw)
{
    uint64_t start, end;
    if (!is_running(hw))
        return 0;
    fwsec_wpr2(hw, &start, &end);
    log_warn(
        "%s: left running by an earlier owner: WPR2 is up at %#llx to %#llx of VRAM; resetting",
        hw->name, (unsigned long long)start, (unsigned long long)end);
    int error = reset_by(hw, PCI_RESET_FUNCTION, "function level reset");
    if (error == -ENOTSUP || error == -EBUSY || error == -EAGAIN)
        error = reset_by(hw, PCI_RESET_BUS, "bus reset");
    if (error)
        return hw_fail(hw, error == -EAGAIN ? -EIO : error,
                       "left running by an earlier owner (WPR2 is up at %#llx), and it cannot be "
                       "reset; power the machine off and on",
                       (unsigned long long)start);
    return 0;
}

/* ---- memory ---- */

static int read_vram_size(struct hw *hw)
{
    uint32_t reg =
        hw->chip->has_vram_scratch ? NV_USABLE_FB_SIZE_IN_MB : NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE;
    uint32_t value = hw_read32(hw, reg);
    if (hw->chip->has_vram_scratch) {
        hw->vram_bytes = (uint64_t)value << 20;
    } else {
        hw->vram_bytes = field_get(NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE_LOWER_MAG, value)
                         << (field_get(NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE_LOWER_SCALE, value) + 20);
        if (value & NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE_ECC_MODE)
            hw->vram_bytes = hw->vram_bytes / 16 * 15;
    }
    if (value == UINT32_MAX || is_refused(value) || hw->vram_bytes == 0 ||
        hw->vram_bytes > VRAM_BYTES_MAX)
        return hw_fail(hw, -EIO, "size of VRAM: register %#x is %#x", reg, value);
    return 0;
}

static int map_vram(struct hw *hw)
{
    unsigned index = bar1_index(hw);
    char report[160];
    pci_bar_resize(hw->pci, index, hw->vram_bytes, report, sizeof(report));
    const struct pci_bar *bar = &hw->pci->bar[index];
    if (bar->is_io || bar->size_bytes == 0)
        return hw_fail(hw, -ENODEV, "BAR%u, the window to VRAM, is not there", index);
    hw->bar1 = pci_map_bar(hw->pci, index, CACHE_WRITE_COMBINING);
    if (hw->bar1 == NULL)
        return hw_fail(hw, -ENOMEM, "BAR%u, %llu MiB at %#llx, cannot be mapped", index,
                       (unsigned long long)(bar->size_bytes >> 20), (unsigned long long)bar->pa);
    hw->bar1_bytes = bar->size_bytes;
    hw->bar1_bus = bar->pa;
    hw_step(hw, "%llu MiB of VRAM; %s", (unsigned long long)(hw->vram_bytes >> 20), report);
    return 0;
}

/* ---- the door ---- */

int hw_open(struct hw *hw, struct pci_device *pci, const char *name)
{
    *hw = (struct hw){.pci = pci, .start_ns = time_ns(), .step_ns = time_ns()};
    snprintf(hw->name, sizeof(hw->name), "%s", name);
    int error = pci_enable(pci);
    if (error)
        error = hw_fail(hw, error, "%s cannot be enabled (error %d)", pci->name, -error);
    else
        pci_bus_master(pci, false);
    if (!error)
        error = map_registers(hw);
    if (!error)
        error = identify(hw);
    if (!error)
        error = reset_if_running(hw);
    if (!error)
        error = wait_firmware(hw);
    if (!error) {
        hw_step(hw, "the card's own firmware has set it up");
        error = read_vram_size(hw);
    }
    if (!error)
        error = map_vram(hw);
    if (error) {
        hw_close(hw);
        return error;
    }
    pci_bus_master(pci, true);
    return 0;
}

void hw_close(struct hw *hw)
{
    if (hw->pci == NULL)
        return;
    pci_disable(hw->pci);
    if (hw->bar1)
        mmio_unmap(hw->bar1, hw->bar1_bytes);
    if (hw->bar0)
        mmio_unmap(hw->bar0, hw->bar0_bytes);
    free(hw->vbios);
    hw->vbios = NULL;
    hw->bar0 = hw->bar1 = NULL;
    hw->bar0_bytes = hw->bar1_bytes = 0;
    hw->pci = NULL;
}
