/*
 * tests/model/vf.c: the virtual function's registers, which is what the CPU uses of a GPU that runs: interrupt tree, doorbell, time,
 * TLB invalidation. The physical function sees them at 0xb80000 (NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET).
 *
 * Interrupt tree: 32 vectors to a leaf, two leaves to a bit ("subtree") of the top. A message goes out when a subtree has a pending
 * and enabled leaf bit and is enabled itself, and one of these was not so before. Turning the top off and on again sends it anew.
 * With plain MSI, up to Ada, the GPU sends one message and then none until NV_XVE_CYA_2 is written (kbifRearmMSI_GM107).
 *
 * Registers: OGKM src/common/inc/swref/published: turing/tu102, ampere/ga102, hopper/gh100, blackwell/gb100/dev_vm.h; how they are
 * used: src/nvidia/src/kernel/gpu/intr/arch/turing/intr_tu102.c. Which message of several belongs to which subtree is not published;
 * all go out as message 0.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/parts.h"

#define BASE       0xb80000u
#define PRIV_BYTES 0x30000u
#define USER       0x30000u
#define LEAF       0x1000u
#define LEAF_SET   0x1200u
#define LEAF_CLEAR 0x1400u
#define TOP        0x1600u
#define TOP_SET    0x1608u
#define TOP_CLEAR  0x1610u
#define TRIGGER    0x1640u
#define TIMER      0x2300u
#define FAULTS \
    0x3000u /* fault buffers' set-up, to 0x3094: kept, not used: the fault buffers are GSP-RM's here */
#define PDB                0x30a0u
#define PDB_UPPER          0x30a4u
#define INVALIDATE         0x30b0u
#define INVALIDATE_ALL_PDB 0x2u
#define INVALIDATE_TRIGGER (1u << 31)
#define MSIX_TABLE         0x10000u
#define MSIX_PBA           0x20000u
#define USER_CFG0          0x30000u
#define USER_TIME_0        0x30080u
#define USER_TIME_1        0x30084u
#define USER_DOORBELL      0x30090u

#define LEAVES_MAX         16u

struct vf {
    unsigned leaves; /* 8 up to Ada, then 16 */
    uint32_t pending[LEAVES_MAX], enabled[LEAVES_MAX], top_enabled;
    uint32_t sent; /* subtrees that have sent their message */
    bool is_msi_spent;
    uint32_t faults[0x26], pdb, pdb_upper;
    bool is_invalidating, is_invalidation_hung;
    unsigned gsp_vector; /* the last that gsp_core_interrupt() used */
    unsigned vram_complaints;
};

/* ---- interrupts -------------------------------------------------------------------------------------------------- */

static uint32_t top(const struct vf *vf)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < vf->leaves; i++)
        if (vf->pending[i] & vf->enabled[i])
            value |= 1u << i / 2;
    return value;
}

static void message_late(struct model *m, void *arg)
{
    server_interrupt(m, 0);
}

static void message_send(struct model *m)
{
    struct vf *vf = m->vf;
    bool needs_rearm = m->chip->family <= ADA && !m->chip->has_msix;
    if (needs_rearm && vf->is_msi_spent)
        return;
    vf->is_msi_spent = needs_rearm;
    if (!pci_is_bus_master(m)) {
        trace(m, "interrupt: not sent, bus mastering is off");
        return;
    }
    enum fault_mode mode;
    if (fault(m, "interrupt", &mode)) {
        if (mode == FAULT_LATE)
            timer_add(m, late_ns(), message_late, NULL);
        return;
    }
    trace(m, "interrupt: %s", server_interrupt(m, 0) ? "sent" : "nobody listens");
}

static void tree_update(struct model *m)
{
    struct vf *vf = m->vf;
    uint32_t wants = top(vf) & vf->top_enabled;
    bool is_new = (wants & ~vf->sent) != 0;
    vf->sent = wants;
    if (is_new)
        message_send(m);
}

void irq_raise(struct model *m, unsigned vector)
{
    struct vf *vf = m->vf;
    if (vector / 32 >= vf->leaves)
        die("interrupt vector %u: this chip has %u", vector, vf->leaves * 32);
    trace(m, "interrupt: vector %u%s", vector,
          vf->enabled[vector / 32] & 1u << vector % 32 ? "" : " (not enabled)");
    vf->gsp_vector = vector;
    vf->pending[vector / 32] |= 1u << vector % 32;
    /* A leaf bit that is raised again while its message is out is an edge again. */
    vf->sent &= ~(1u << vector / 64);
    tree_update(m);
}

void irq_retrigger(struct model *m)
{
    irq_raise(m, m->vf->gsp_vector);
}

/* ---- TLB invalidation -------------------------------------------------------------------------------------------- */

static void invalidate(struct model *m, uint32_t value)
{
    struct vf *vf = m->vf;
    if (!(value & INVALIDATE_TRIGGER))
        return;
    if (vf->is_invalidating)
        refuse(m, "MMU_INVALIDATE is triggered while one is under way");
    enum aperture aperture = vf->pdb & 2 ? APERTURE_SYSTEM : APERTURE_VRAM;
    uint64_t directory = ((uint64_t)(vf->pdb >> 4) | (uint64_t)(vf->pdb_upper & 0xfffff) << 28)
                         << 12;
    vf->is_invalidating = true;
    enum fault_mode mode;
    vf->is_invalidation_hung = fault(m, "mmu.invalidate", &mode);
    if (!vf->is_invalidation_hung)
        mmu_invalidate(m, aperture, value & INVALIDATE_ALL_PDB ? 0 : directory,
                       value & ~INVALIDATE_TRIGGER);
}

/* ---- registers --------------------------------------------------------------------------------------------------- */

static uint64_t time_ns(struct model *m)
{
    return (uint64_t)reg_read(m, 0x9410) << 32 | reg_read(m, 0x9400);
}

static uint32_t vf_read(struct model *m, uint32_t reg)
{
    struct vf *vf = m->vf;
    uint32_t at = reg - BASE;
    unsigned bytes = vf->leaves * 4;
    if (at >= LEAF && at < LEAF + bytes)
        return vf->pending[(at - LEAF) / 4];
    if (at >= LEAF_SET && at < LEAF_SET + bytes)
        return vf->enabled[(at - LEAF_SET) / 4];
    if (at >= LEAF_CLEAR && at < LEAF_CLEAR + bytes)
        return vf->enabled[(at - LEAF_CLEAR) / 4];
    if (at >= FAULTS && at < FAULTS + sizeof(vf->faults))
        return vf->faults[(at - FAULTS) / 4];
    if (at >= MSIX_TABLE && at < MSIX_TABLE + 16 * pci_message_count(m, true))
        return 0; /* QEMU keeps the table */
    switch (at) {
    case 0xf40:
    case 0xf60:
    case 0xf64:
        return fb_bar1_function_read(m, at);
    case TOP:
        return top(vf);
    case TOP_SET:
    case TOP_CLEAR:
        return vf->top_enabled;
    case TIMER:
    case USER_TIME_0:
        return (uint32_t)time_ns(m);
    case TIMER + 4:
        return m->chip->family >= HOPPER ? (uint32_t)(time_ns(m) >> 32) : PRI_ERROR;
    case USER_TIME_1:
        return (uint32_t)(time_ns(m) >> 32);
    case PDB:
        return vf->pdb;
    case PDB_UPPER:
        return vf->pdb_upper;
    case INVALIDATE: {
        uint32_t value = vf->is_invalidating ? INVALIDATE_TRIGGER : 0;
        vf->is_invalidating = vf->is_invalidation_hung;
        return value;
    }
    case MSIX_PBA:
        return 0;
    case USER_CFG0:
        return m->chip->usermode_class;
    default:
        return PRI_ERROR;
    }
}

static void doorbell(struct model *m, uint32_t token)
{
    /* Everything that the channel reads was written through BAR1 or lies in host memory. */
    if (!fb_bar1_is_physical(m) && m->vf->vram_complaints++ < 3)
        refuse(m,
               "doorbell %#x while BAR1 is in virtual mode: what was written through it did not "
               "reach VRAM",
               token);
    enum fault_mode mode;
    if (fault(m, "doorbell", &mode))
        return;
    host_doorbell(m, token);
}

static void vf_write(struct model *m, uint32_t reg, uint32_t value)
{
    struct vf *vf = m->vf;
    uint32_t at = reg - BASE;
    unsigned bytes = vf->leaves * 4;
    if (at >= LEAF && at < LEAF + bytes) {
        vf->pending[(at - LEAF) / 4] &= ~value;
        tree_update(m);
        return;
    }
    if (at >= LEAF_SET && at < LEAF_SET + bytes) {
        vf->enabled[(at - LEAF_SET) / 4] |= value;
        tree_update(m);
        return;
    }
    if (at >= LEAF_CLEAR && at < LEAF_CLEAR + bytes) {
        vf->enabled[(at - LEAF_CLEAR) / 4] &= ~value;
        tree_update(m);
        return;
    }
    if (at >= FAULTS && at < FAULTS + sizeof(vf->faults)) {
        vf->faults[(at - FAULTS) / 4] = value;
        return;
    }
    switch (at) {
    case 0xf40:
    case 0xf60:
    case 0xf64:
        fb_bar1_function_write(m, at, value);
        break;
    case TOP_SET:
        vf->top_enabled |= value;
        tree_update(m);
        break;
    case TOP_CLEAR:
        vf->top_enabled &= ~value;
        tree_update(m);
        break;
    case TRIGGER:
        if (value / 32 < vf->leaves)
            irq_raise(m, value);
        else
            refuse(m, "LEAF_TRIGGER with vector %u of %u", value, vf->leaves * 32);
        break;
    case PDB:
        if (value & 0xd)
            refuse(m, "MMU_INVALIDATE_PDB %#x has reserved bits", value);
        vf->pdb = value;
        break;
    case PDB_UPPER:
        vf->pdb_upper = value;
        break;
    case INVALIDATE:
        invalidate(m, value);
        break;
    case USER_DOORBELL:
        doorbell(m, value);
        break;
    default:
        refuse(m,
               "write of %#x to virtual function register %#x (BAR0 + %#x), which is not there or "
               "read-only",
               value, at, reg);
        break;
    }
}

/* The configuration space's mirror in BAR0; of its registers only the one that sends MSI messages again can be written. */
void vf_msi_rearm(struct model *m)
{
    struct vf *vf = m->vf;
    vf->is_msi_spent = false;
    /* What has come meanwhile is sent now. */
    if (top(vf) & vf->top_enabled)
        message_send(m);
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

void vf_reset(struct model *m)
{
    unsigned leaves = m->vf->leaves;
    memset(m->vf, 0, sizeof(*m->vf));
    m->vf->leaves = leaves;
    timer_cancel(m, message_late, NULL);
}

static const struct register_name names[] = {
    {BASE + 0xf40, "NV_VIRTUAL_FUNCTION_PRIV_BAR1_BLOCK"},
    {BASE + 0xf60, "NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_LOW_ADDR"},
    {BASE + 0xf64, "NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_HIGH_ADDR"},
#define LEAF_NAMES(i) \
    {BASE + LEAF + 4 * (i), "NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF(" #i ")"}, \
        {BASE + LEAF_SET + 4 * (i), "NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_SET(" #i ")"}, \
        {BASE + LEAF_CLEAR + 4 * (i), "NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_CLEAR(" #i ")"}
    LEAF_NAMES(0),
    LEAF_NAMES(1),
    LEAF_NAMES(2),
    LEAF_NAMES(3),
    LEAF_NAMES(4),
    LEAF_NAMES(5),
    LEAF_NAMES(6),
    LEAF_NAMES(7),
    LEAF_NAMES(8),
    LEAF_NAMES(9),
    LEAF_NAMES(10),
    LEAF_NAMES(11),
    LEAF_NAMES(12),
    LEAF_NAMES(13),
    LEAF_NAMES(14),
    LEAF_NAMES(15),
    {BASE + TOP, "NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP(0)"},
    {BASE + TOP_SET, "NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_SET(0)"},
    {BASE + TOP_CLEAR, "NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_CLEAR(0)"},
    {BASE + TRIGGER, "NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_TRIGGER"},
    {BASE + PDB, "NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_PDB"},
    {BASE + PDB_UPPER, "NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_UPPER_PDB"},
    {BASE + INVALIDATE, "NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE"},
    {BASE + USER_CFG0, "NV_VIRTUAL_FUNCTION_CFG0"},
    {BASE + USER_TIME_0, "NV_VIRTUAL_FUNCTION_TIME_0"},
    {BASE + USER_TIME_1, "NV_VIRTUAL_FUNCTION_TIME_1"},
    {BASE + USER_DOORBELL, "NV_VIRTUAL_FUNCTION_DOORBELL"},
    {0, NULL},
};

int vf_init(struct model *m)
{
    m->vf = calloc(1, sizeof(*m->vf));
    if (m->vf == NULL)
        return -ENOMEM;
    m->vf->leaves = m->chip->family >= HOPPER ? 16 : 8;
    block_add(m, &(struct block){"VF", BASE, 0x40000, vf_read, vf_write, names});
    return 0;
}
