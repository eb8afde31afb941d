/*
 * gpu/nvidia/gsp/interrupt.c: the GPU's interrupt tree, its message, and the task that serves both. See interrupt.h.
 *
 * Source: open-gpu-kernel-modules 570.144, intr_tu102.c (tree, retrigger), intr.c (table from RM), kernel_gsp_tu102.c
 * (kgspService), kernel_bif.c and kernel_bif_gm107.c (MSI is let go again through configuration space up to Ada).
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/info.h"
#include "gpu/nvidia/gsp/interrupt.h"
#include "gpu/nvidia/gsp/regs/falcon.h"
#include "gpu/nvidia/gsp/regs/intr.h"
#include "gpu/nvidia/gsp/regs/mmu.h"
#include "gpu/nvidia/gsp/rpc.h"
#include "gpu/nvidia/rm.h"

#define CHIP_ID_GA100 0x170 /* the first with INTR_RETRIGGER */

#define LOOK_NS \
    (100 * NS_PER_MS) /* the task looks by itself so often: a lost message costs no more */
#define LOOK_BUSY_NS                                   NS_PER_MS /* a call has the queue: look soon whether it left something */
#define STOP_NS                                        (60 * NS_PER_S) /* longer than all waits that the task may be in */
#define MSIX_MAX                                       9 /* NV_VIRTUAL_FUNCTION_PRIV_MSIX_TABLE__SIZE_1: 6, from Hopper on 9 */

/* A read through a locked door gives 0xbadf.... instead of a value (nova-core, open-gpu-kernel-modules gpuReadReg). */
#define IS_PRI_ERROR(value)                            ((value) >> 16 == 0xbadf)

/* NV2080_CTRL_CMD_INTERNAL_INTR_GET_KERNEL_TABLE (ctrl2080internal.h) */
#define NV2080_CTRL_CMD_INTERNAL_INTR_GET_KERNEL_TABLE 0x20800a5c
struct intr_table_entry {
    uint16_t engine, padding;
    uint32_t pmc_mask, stall, non_stall;
};
struct intr_table {
    struct rpc_rm_control control;
    uint32_t count;
    struct intr_table_entry entry[GSP_INTERRUPT_SOURCE_MAX];
    uint8_t subtree_map[7][2], padding[2];
};
static_assert(sizeof(struct intr_table_entry) == 16, "ctrl2080internal.h");
static_assert(sizeof(struct intr_table) - sizeof(struct rpc_rm_control) == 2068,
              "ctrl2080internal.h");

static uint32_t tree(uint32_t reg)
{
    return NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET + reg;
}

/* In interrupt context: nothing more is sent until the task has looked. */
static void on_message(void *arg)
{
    struct gsp_interrupts *interrupts = arg;
    struct hw *hw = interrupts->hw;
    if (hw == NULL)
        return; /* stopped while it was on its way: the vector is given back with the device */
    hw_write32(hw, tree(NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_CLEAR(0)), UINT32_MAX);
    atomic_fetch_add(&interrupts->messages, 1);
    event_signal(&interrupts->wake);
}

/* ---- what is pending --------------------------------------------------------------------------------------------- */

/* The GSP's own interrupt: it has put something into the status queue, or it has halted. */
static void serve_gsp(struct gsp_interrupts *interrupts)
{
    struct hw *hw = interrupts->hw;
    bool is_old = hw->chip->falcon == HW_FALCON_TU102;
    uint32_t mask_reg = is_old ? NV_PRISCV_RISCV_IRQMASK_TU102 : NV_PRISCV_RISCV_IRQMASK;
    uint32_t dest_reg = is_old ? NV_PRISCV_RISCV_IRQDEST_TU102 : NV_PRISCV_RISCV_IRQDEST;
    uint32_t status = hw_read32(hw, NV_PGSP_BASE + NV_PFALCON_FALCON_IRQSTAT);
    uint32_t mask = hw_read32(hw, NV_FALCON2_GSP_BASE + mask_reg);
    uint32_t dest = hw_read32(hw, NV_FALCON2_GSP_BASE + dest_reg);
    if (IS_PRI_ERROR(status) || IS_PRI_ERROR(mask) || IS_PRI_ERROR(dest))
        return; /* the GSP is in lockdown; the queue is read all the same */
    status &= mask & dest;
    /* Before the queue is read: what comes after raises it anew. */
    uint32_t known = NV_PFALCON_FALCON_IRQSTAT_SWGEN0 | NV_PFALCON_FALCON_IRQSTAT_HALT;
    if ((status & known) != 0)
        hw_write32(hw, NV_PGSP_BASE + NV_PFALCON_FALCON_IRQSCLR, status & known);
    if ((status & NV_PFALCON_FALCON_IRQSTAT_HALT) != 0) {
        log_error("%s: the GSP has halted: its firmware has run into an error", hw->name);
        atomic_store(&interrupts->rpc->has_halted, true);
    }
    if ((status & ~known) != 0) {
        log_warn("%s: the GSP raises interrupts %#x, which are turned off", hw->name,
                 status & ~known);
        hw_write32(hw, NV_PGSP_BASE + NV_PFALCON_FALCON_IRQMCLR, status & ~known);
    }
    if (hw->chip->chip_id_first >= CHIP_ID_GA100)
        hw_write32(hw, NV_PGSP_BASE + NV_PFALCON_FALCON_INTR_RETRIGGER(0),
                   NV_PFALCON_FALCON_INTR_RETRIGGER_TRIGGER);
}

/* True when the vector was the GSP's. */
static bool serve_vector(struct gsp_interrupts *interrupts, uint32_t vector)
{
    bool is_gsp = false;
    interrupts->served++;
    for (unsigned i = 0; i < interrupts->source_count; i++) {
        struct gsp_interrupt_source *source = &interrupts->source[i];
        if (source->non_stall == vector) {
            event_signal(&source->event);
            if (interrupts->any != NULL)
                event_signal(interrupts->any);
        }
        if (source->stall == vector && source->engine == MC_ENGINE_IDX_GSP)
            is_gsp = true;
    }
    if (is_gsp)
        serve_gsp(interrupts);
    return is_gsp;
}

/* Look at all leaves. True when the GSP has raised its vector. */
static bool serve_tree(struct gsp_interrupts *interrupts)
{
    struct hw *hw = interrupts->hw;
    bool is_gsp = false;
    for (unsigned leaf = 0; leaf < interrupts->leaf_count; leaf++) {
        if (interrupts->leaf_enabled[leaf] == 0)
            continue;
        uint32_t reg = tree(NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF(leaf));
        uint32_t pending = hw_read32(hw, reg);
        if (pending == UINT32_MAX || IS_PRI_ERROR(pending))
            continue; /* off the bus: the calls will say so */
        pending &= interrupts->leaf_enabled[leaf];
        if (pending == 0)
            continue;
        hw_write32(hw, reg, pending);
        for (unsigned bit = 0; bit < 32; bit++)
            if ((pending & BIT(bit)) != 0 && serve_vector(interrupts, leaf * 32 + bit))
                is_gsp = true;
    }
    return is_gsp;
}

/* Let messages go out again. */
static void rearm(struct gsp_interrupts *interrupts)
{
    struct hw *hw = interrupts->hw;
    if (interrupts->is_msi && hw->chip->boot == HW_BOOT_SEC2)
        hw_write32(hw, NV_PCFG_XVE_CYA_2, 0);
    if (interrupts->top_enabled != 0)
        hw_write32(hw, tree(NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_SET(0)),
                   interrupts->top_enabled);
}

/*
 * Events that no call is there to read are read here. A running call reads them itself and is not waited for: that would
 * keep finished copies and kernels waiting. Returns when to look next.
 */
static uint64_t read_events(struct gsp_interrupts *interrupts)
{
    event_signal(&interrupts->rpc->event);
    if (atomic_load(&interrupts->rpc->mutex.held) != 0)
        return LOOK_BUSY_NS;
    rpc_poll(interrupts->rpc); /* says itself what is wrong */
    return LOOK_NS;
}

static void serve_task(void *arg)
{
    struct gsp_interrupts *interrupts = arg;
    uint64_t look_ns = LOOK_NS, messages = 0;
    bool is_late = false;
    while (!atomic_load(&interrupts->is_stopping)) {
        uint32_t seen = event_read(&interrupts->wake);
        uint64_t now_messages = atomic_load(&interrupts->messages), served = interrupts->served;
        bool is_gsp = serve_tree(interrupts);
        if (now_messages != messages && served == interrupts->served)
            interrupts->stray++;
        messages = now_messages;
        rearm(interrupts);
        /* Until the GPU is up whoever starts it reads the events: each is there once, and he waits for some of them. */
        if (atomic_load(&interrupts->reads_events) &&
            (is_gsp || is_late || look_ns == LOOK_BUSY_NS))
            look_ns = read_events(interrupts);
        is_late = event_wait(&interrupts->wake, seen, time_ns() + look_ns) != 0;
    }
    atomic_store(&interrupts->is_task_running, false);
    event_signal(&interrupts->ended);
}

/* ---- start and stop ---------------------------------------------------------------------------------------------- */

static void all_off(struct gsp_interrupts *interrupts)
{
    struct hw *hw = interrupts->hw;
    hw_write32(hw, tree(NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_CLEAR(0)), UINT32_MAX);
    for (unsigned leaf = 0; leaf < interrupts->leaf_count; leaf++)
        hw_write32(hw, tree(NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_CLEAR(leaf)), UINT32_MAX);
}

int gsp_interrupts_start(struct gsp_interrupts *interrupts, struct hw *hw, struct rpc *rpc,
                         unsigned core)
{
    *interrupts = (struct gsp_interrupts){
        .hw = hw,
        .rpc = rpc,
        .leaf_count = hw->chip->boot == HW_BOOT_FSP
                          ? NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_GH100
                          : NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_TU102,
    };
    all_off(interrupts); /* an earlier owner may have left some on */
    /* Which subtree uses which entry of the MSI-X table is not published: all of them lead here. */
    int error = 0;
    while (interrupts->msix_count < MSIX_MAX && error == 0) {
        error = pci_msix_enable(hw->pci, interrupts->msix_count, core, on_message, interrupts);
        interrupts->msix_count += error == 0;
    }
    if (interrupts->msix_count > 0)
        error = 0;
    if (error != 0) {
        error = pci_msi_enable(hw->pci, core, on_message, interrupts);
        interrupts->is_msi = error == 0;
    }
    if (error != 0)
        log_warn("%s: no interrupts (error %d): the GPU is polled", hw->name, -error);
    /* The task is there without a message too: it reads the events that come between calls. */
    atomic_store(&interrupts->is_task_running, true);
    int task_error = task_create(hw->name, core, 0, serve_task, interrupts);
    if (task_error != 0) {
        atomic_store(&interrupts->is_task_running, false);
        gsp_interrupts_stop(interrupts);
        return task_error;
    }
    return error;
}

static void enable(struct gsp_interrupts *interrupts, uint32_t vector)
{
    if (vector >= interrupts->leaf_count * 32)
        return;
    interrupts->leaf_enabled[vector / 32] |= (uint32_t)BIT(vector % 32);
    interrupts->top_enabled |= (uint32_t)BIT(vector / 64);
}

static bool is_engine_of_ours(uint16_t engine)
{
    return (engine >= MC_ENGINE_IDX_CE0 && engine <= MC_ENGINE_IDX_CE_MAX) ||
           (engine >= MC_ENGINE_IDX_GR0 && engine <= MC_ENGINE_IDX_GR7);
}

/* Ask RM for its table; the entries that matter here go into interrupts->source. */
static int read_table(struct gsp_interrupts *interrupts, const struct gsp_info *info)
{
    struct hw *hw = interrupts->hw;
    struct rpc *rpc = interrupts->rpc;
    struct intr_table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return hw_fail(hw, -ENOMEM, "interrupt table: no memory");
    table->control = (struct rpc_rm_control){
        .client = info->internal_client,
        .object = info->internal_subdevice,
        .command = NV2080_CTRL_CMD_INTERNAL_INTR_GET_KERNEL_TABLE,
        .params_bytes = sizeof(*table) - sizeof(table->control),
    };
    size_t got = 0;
    int error = rpc_call(rpc, NV_VGPU_MSG_FUNCTION_GSP_RM_CONTROL, table, sizeof(*table), table,
                         sizeof(*table), &got, RPC_TIMEOUT_NS);
    if (error != 0)
        hw_fail(hw, error, "interrupt table: %s", rpc->error);
    else if (table->control.status != 0)
        error = hw_fail(hw, -EIO, "interrupt table: %s (%#x)",
                        rm_status_name(table->control.status), table->control.status);
    else if (got < sizeof(*table) || table->count == 0 || table->count > GSP_INTERRUPT_SOURCE_MAX)
        error = hw_fail(hw, -EPROTO, "interrupt table: %zu bytes, %u entries", got, table->count);
    for (uint32_t i = 0; error == 0 && i < table->count; i++) {
        const struct intr_table_entry *entry = &table->entry[i];
        if (entry->engine != MC_ENGINE_IDX_GSP && !is_engine_of_ours(entry->engine))
            continue;
        struct gsp_interrupt_source *source = &interrupts->source[interrupts->source_count];
        source->engine = entry->engine;
        source->stall = entry->engine == MC_ENGINE_IDX_GSP ? entry->stall : UINT32_MAX;
        source->non_stall = entry->engine == MC_ENGINE_IDX_GSP ? UINT32_MAX : entry->non_stall;
        interrupts->source_count++;
    }
    free(table);
    return error;
}

int gsp_interrupts_route(struct gsp_interrupts *interrupts, const struct gsp_info *info)
{
    struct hw *hw = interrupts->hw;
    int error = read_table(interrupts, info);
    if (error != 0)
        return error;
    atomic_store(&interrupts->reads_events, true);
    if (interrupts->msix_count == 0 && !interrupts->is_msi)
        return 0;
    bool has_gsp = false;
    for (unsigned i = 0; i < interrupts->source_count; i++) {
        const struct gsp_interrupt_source *source = &interrupts->source[i];
        enable(interrupts, source->stall);
        enable(interrupts, source->non_stall);
        has_gsp = has_gsp || source->stall < interrupts->leaf_count * 32;
    }
    for (unsigned leaf = 0; leaf < interrupts->leaf_count; leaf++) {
        if (interrupts->leaf_enabled[leaf] == 0)
            continue;
        hw_write32(hw, tree(NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_SET(leaf)),
                   interrupts->leaf_enabled[leaf]);
    }
    interrupts->is_routed = true;
    interrupts->rpc->has_interrupt = has_gsp;
    rearm(interrupts);
    return 0;
}

void gsp_interrupts_stop(struct gsp_interrupts *interrupts)
{
    if (interrupts->hw == NULL)
        return;
    all_off(interrupts);
    for (unsigned entry = 0; entry < interrupts->msix_count; entry++)
        pci_msix_mask(interrupts->hw->pci, entry, true);
    atomic_store(&interrupts->is_stopping, true);
    event_signal(&interrupts->wake);
    uint64_t deadline_ns = time_ns() + STOP_NS;
    while (atomic_load(&interrupts->is_task_running)) {
        uint32_t seen = event_read(&interrupts->ended);
        if (!atomic_load(&interrupts->is_task_running))
            break;
        if (event_wait(&interrupts->ended, seen, deadline_ns) != 0)
            panic("%s: the interrupt task does not end", interrupts->hw->name);
    }
    all_off(interrupts); /* the task may have turned the top on once more */
    interrupts->rpc->has_interrupt = false;
    interrupts->is_routed = interrupts->is_msi = false;
    interrupts->msix_count = 0;
    interrupts->hw = NULL;
}

struct event *gsp_interrupts_engine_event(struct gsp_interrupts *interrupts, uint16_t engine)
{
    if (!interrupts->is_routed)
        return NULL;
    for (unsigned i = 0; i < interrupts->source_count; i++) {
        struct gsp_interrupt_source *source = &interrupts->source[i];
        if (source->engine == engine && source->non_stall < interrupts->leaf_count * 32)
            return &source->event;
    }
    return NULL;
}
