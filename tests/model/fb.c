/*
 * tests/model/fb.c: the framebuffer's write-protected region (WPR2), the page for system memory barriers, and the mode of BAR1.
 *
 * Registers: OGKM src/common/inc/swref/published: turing/tu102/dev_fb.h (WPR2), dev_bus.h (BAR1_BLOCK; nova-core regs.rs for what
 * WPR2's bounds mean), ampere/ga100/dev_fb.h and hopper/gh100/dev_fb.h (flush address), blackwell: nouveau fb/gb202.c. BAR1 in the
 * virtual function's registers: turing/tu102/dev_vm.h (0xf40), hopper/gh100/dev_vm.h (0xf60).
 *
 * BAR1 shows VRAM as it is ("physical") after a reset. GSP-RM's start puts it into virtual mode; a driver without an address space
 * for BAR1 puts it back. QEMU maps VRAM all the time, so what is written in virtual mode is found out only when it is used.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/model/parts.h"

#define WPR2_LO     0x1fa824u
#define WPR2_HI     0x1fa828u
#define BAR1_BLOCK  0x001704u
#define BAR2_BLOCK  0x001714u
#define FLUSH_LO    0x100c10u /* Turing to Ada: address >> 8 */
#define FLUSH_HI    0x100c40u /*                address >> 40 */
#define FLUSH_GH100 0x100a34u /* low, high */
#define FLUSH_GB202 0x8a1d58u

struct fb {
    struct wpr2 wpr;
    uint32_t flush[2];
    uint32_t bar1[2], bar2;
    bool is_bar1_virtual;
};

struct wpr2 wpr2_get(const struct model *m)
{
    return m->fb->wpr;
}

/*
 * QEMU maps VRAM, so a write of the guest into the protected region is only found later. The region is emptied when it comes up (what
 * booter puts there is nowhere needed), and has to be empty when it goes down.
 */
static void wpr2_check(struct model *m)
{
    int fd = pci_region_get(m, pci_bar1_index(m)).fd;
    uint64_t end = m->fb->wpr.end;
    static const uint8_t zero[4096];
    for (off_t at = (off_t)m->fb->wpr.start; (uint64_t)at < end;) {
        at = lseek(fd, at, SEEK_DATA);
        off_t hole = at < 0 ? -1 : lseek(fd, at, SEEK_HOLE);
        if (at < 0 || hole < 0)
            return;
        for (; at < hole && (uint64_t)at < end; at += 4096)
            if (memcmp(m->vram + at, zero, sizeof(zero)) != 0) {
                refuse(m,
                       "VRAM at %#llx was written through BAR1 while it was inside WPR2 (%#llx to "
                       "%#llx)",
                       (unsigned long long)at, (unsigned long long)m->fb->wpr.start,
                       (unsigned long long)end);
                return;
            }
    }
}

void wpr2_set(struct model *m, uint64_t start, uint64_t end)
{
    wpr2_check(m);
    m->fb->wpr = (struct wpr2){start, end};
    int fd = pci_region_get(m, pci_bar1_index(m)).fd;
    if (start < end && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
                                 (off_t)(end - start)) != 0)
        die("VRAM from %#llx on cannot be emptied", (unsigned long long)start);
    trace(m, "WPR2: %#llx to %#llx", (unsigned long long)start, (unsigned long long)end);
}

static uint32_t wpr_read(struct model *m, uint32_t reg)
{
    const struct wpr2 *wpr = &m->fb->wpr;
    /* Bits 31:4 hold address bits 39:12; the upper bound is exclusive, 0 while there is none. */
    if (reg == WPR2_LO)
        return wpr->start == wpr->end ? 0x1ffffe0 : (uint32_t)(wpr->start >> 12) << 4;
    if (reg == WPR2_HI)
        return wpr->start == wpr->end ? 0 : (uint32_t)(wpr->end >> 12) << 4;
    return PRI_ERROR;
}

static void wpr_write(struct model *m, uint32_t reg, uint32_t value)
{
    refuse(m, "write of %#x to register %#x: memory protection is not the driver's to set", value,
           reg);
}

static uint32_t flush_read(struct model *m, uint32_t reg)
{
    switch (reg) {
    case FLUSH_LO:
    case FLUSH_GH100:
    case FLUSH_GB202:
        return m->fb->flush[0];
    case FLUSH_HI:
    case FLUSH_GH100 + 4:
    case FLUSH_GB202 + 4:
        return m->fb->flush[1];
    default:
        return PRI_ERROR;
    }
}

static void flush_write(struct model *m, uint32_t reg, uint32_t value)
{
    bool is_old = reg == FLUSH_LO || reg == FLUSH_HI;
    bool is_gh100 = reg == FLUSH_GH100 || reg == FLUSH_GH100 + 4;
    bool is_gb202 = reg == FLUSH_GB202 || reg == FLUSH_GB202 + 4;
    if ((is_old && m->chip->family >= HOPPER) || (is_gh100 && m->chip->family != HOPPER) ||
        (is_gb202 && m->chip->family != BLACKWELL) || !(is_old || is_gh100 || is_gb202)) {
        refuse(m, "write of %#x to register %#x, which this chip does not have", value, reg);
        return;
    }
    m->fb->flush[reg == FLUSH_HI || reg == FLUSH_GH100 + 4 || reg == FLUSH_GB202 + 4] = value;
}

/* ---- BAR1 -------------------------------------------------------------------------------------------------------- */

void fb_bar1_taken(struct model *m)
{
    m->fb->is_bar1_virtual = true;
}

bool fb_bar1_is_physical(const struct model *m)
{
    return !m->fb->is_bar1_virtual;
}

static void bar1_set(struct model *m, bool is_virtual, unsigned target, uint64_t instance)
{
    if (is_virtual)
        refuse(
            m,
            "BAR1 is put into virtual mode (instance block %#llx), which the model does not have",
            (unsigned long long)instance);
    if (target != 0)
        refuse(m, "BAR1 in physical mode with target %u: only video memory can be shown", target);
    m->fb->is_bar1_virtual = is_virtual;
    note(m, "BAR1 is in %s mode", is_virtual ? "virtual" : "physical");
}

static uint32_t bar1_read(struct model *m, uint32_t reg)
{
    uint32_t mode = m->fb->is_bar1_virtual ? 1u << 31 : 0;
    return reg == BAR1_BLOCK   ? mode | (m->fb->bar1[0] & 0x7fffffff)
           : reg == BAR2_BLOCK ? m->fb->bar2
                               : 0;
}

static void bar1_write(struct model *m, uint32_t reg, uint32_t value)
{
    if (reg == BAR1_BLOCK) {
        m->fb->bar1[0] = value;
        /* Since Hopper the mode is in the virtual function's registers; this one is still there (tinygrad writes both). */
        if (m->chip->family < HOPPER)
            bar1_set(m, (value & 1u << 31) != 0, value >> 28 & 3,
                     (uint64_t)(value & 0x0fffffff) << 12);
    } else if (reg == BAR2_BLOCK) {
        m->fb->bar2 = value;
    } else {
        refuse(m, "write of %#x to register %#x", value, reg);
    }
}

uint32_t fb_bar1_function_read(struct model *m, uint32_t offset)
{
    bool is_new = m->chip->family >= HOPPER;
    if (!is_new)
        return offset == 0xf40 ? bar1_read(m, BAR1_BLOCK) : PRI_ERROR;
    return offset == 0xf60   ? (m->fb->bar1[0] & ~0x203u) | (m->fb->is_bar1_virtual ? 0x200 : 0)
           : offset == 0xf64 ? m->fb->bar1[1]
                             : PRI_ERROR;
}

void fb_bar1_function_write(struct model *m, uint32_t offset, uint32_t value)
{
    bool is_new = m->chip->family >= HOPPER;
    if (!is_new && offset == 0xf40) {
        bar1_write(m, BAR1_BLOCK, value);
    } else if (is_new && offset == 0xf64) {
        m->fb->bar1[1] = value;
    } else if (is_new && offset == 0xf60) {
        m->fb->bar1[0] = value;
        bar1_set(m, (value & 0x200) != 0, value >> 10 & 3,
                 (uint64_t)m->fb->bar1[1] << 32 | (value & 0xfffff000));
    } else {
        refuse(m, "write of %#x to BAR1_BLOCK at %#x, which this chip does not have", value,
               offset);
    }
}

/* ---- set-up ---------------------------------------------------------------------------------------------------- */

void fb_reset(struct model *m)
{
    wpr2_check(m);
    memset(m->fb, 0, sizeof(*m->fb));
}

void fb_left_running(struct model *m)
{
    uint64_t end = fb_vga_workspace(m);
    wpr2_set(m, end - (UINT64_C(160) << 20), end);
    note(m, "left running: WPR2 is up");
}

static const struct register_name names[] = {
    {WPR2_LO, "NV_PFB_PRI_MMU_WPR2_ADDR_LO"},
    {WPR2_HI, "NV_PFB_PRI_MMU_WPR2_ADDR_HI"},
    {BAR1_BLOCK, "NV_PBUS_BAR1_BLOCK"},
    {BAR2_BLOCK, "NV_PBUS_BAR2_BLOCK"},
    {FLUSH_LO, "NV_PFB_NISO_FLUSH_SYSMEM_ADDR"},
    {FLUSH_HI, "NV_PFB_NISO_FLUSH_SYSMEM_ADDR_HI"},
    {FLUSH_GH100, "NV_PFB_FBHUB_PCIE_FLUSH_SYSMEM_ADDR_LO"},
    {FLUSH_GH100 + 4, "NV_PFB_FBHUB_PCIE_FLUSH_SYSMEM_ADDR_HI"},
    {FLUSH_GB202, "NV_PFB_FBHUB0_PCIE_FLUSH_SYSMEM_ADDR_LO"},
    {FLUSH_GB202 + 4, "NV_PFB_FBHUB0_PCIE_FLUSH_SYSMEM_ADDR_HI"},
    {0, NULL},
};

int fb_init(struct model *m)
{
    m->fb = calloc(1, sizeof(*m->fb));
    if (m->fb == NULL)
        return -ENOMEM;
    static const struct block blocks[] = {
        {"PBUS", 0x001700, 0x100, bar1_read, bar1_write, names},
        {"PFB", 0x100a00, 0x100, flush_read, flush_write, names},
        {"PFB", 0x100c00, 0x80, flush_read, flush_write, names},
        {"PFB", 0x1fa000, 0x1000, wpr_read, wpr_write, names},
        {"PFB", 0x8a1d00, 0x100, flush_read, flush_write, names},
    };
    for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        block_add(m, &blocks[i]);
    return 0;
}
