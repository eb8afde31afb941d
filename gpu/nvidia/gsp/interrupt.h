/*
 * gpu/nvidia/gsp/interrupt.h: the GPU's interrupts: one MSI-X (or MSI) vector for all, sorted out here.
 *
 * From Turing on all sources are leaves of one tree in the virtual function's registers: a top register whose bit n stands
 * for subtree n, that is for leaf registers 2n and 2n + 1, 32 vectors each. A pending enabled leaf bit under an enabled top
 * bit sends the message. The interrupt handler only turns the top off and signals; a task looks at the leaves, clears them,
 * serves them and turns the top on again, which sends another message if more has come (intrRetriggerTopLevel_TU102).
 *
 *   stall vectors      an engine waits for the CPU. The GSP's own: it has put something into the status queue. Others
 *                      belong to RM on the GSP; they are not enabled here.
 *   non-stall vectors  an engine ran a "notify" method. They signal the event that gsp_interrupts_engine_event() gave.
 *
 * Which vector means which engine comes from RM (NV2080_CTRL_CMD_INTERNAL_INTR_GET_KERNEL_TABLE), after the start. Before
 * that the RPC layer's own look every millisecond does.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_INTERRUPT_H
#define INGOT_GPU_NVIDIA_GSP_INTERRUPT_H

#include "kernel/kernel.h"

struct hw;
struct rpc;
struct gsp_info;

/* Engine numbers of the table, MC_ENGINE_IDX_... (engine_idx.h) */
#define MC_ENGINE_IDX_CE0    15
#define MC_ENGINE_IDX_CE_MAX 34 /* CE19 */
#define MC_ENGINE_IDX_GSP    50
#define MC_ENGINE_IDX_GR0    84
#define MC_ENGINE_IDX_GR7    91

#define GSP_INTERRUPT_SOURCE_MAX 128u /* NV2080_CTRL_INTERNAL_INTR_MAX_TABLE_SIZE */
#define GSP_INTERRUPT_LEAF_MAX   16u

struct gsp_interrupt_source {
    uint16_t engine;            /* MC_ENGINE_IDX_... */
    uint32_t stall, non_stall;  /* vectors; past the tree's end: none */
    struct event event;         /* signalled at each non-stall interrupt */
};

struct gsp_interrupts {
    struct hw *hw;
    struct rpc *rpc;
    struct event *any; /* signalled too, at every non-stall interrupt; NULL: nobody waits for all. Set after start */
    unsigned leaf_count;                           /* 8 or 16 */
    uint32_t leaf_enabled[GSP_INTERRUPT_LEAF_MAX]; /* 0 before gsp_interrupts_route() */
    uint32_t top_enabled;
    unsigned source_count;
    struct gsp_interrupt_source source[GSP_INTERRUPT_SOURCE_MAX];
    struct event wake, ended;        /* signalled by the handler; by the task when it is gone */
    _Atomic bool is_stopping, is_task_running;
    _Atomic bool reads_events; /* from gsp_interrupts_route() on */
    bool is_msi, is_routed;
    unsigned msix_count;             /* entries of its MSI-X table that lead here */
    _Atomic uint64_t messages;       /* counters */
    uint64_t served, stray;          /* vectors; messages with nothing pending behind them */
};

/*
 * Route the GPU's message to `core`, where a task is started that serves it. 0; -ENOTSUP or -ENOSPC when the device has
 * neither MSI-X nor MSI or vectors have run out, which the caller may live with: everything is polled then, slower; -ENOMEM.
 */
int gsp_interrupts_start(struct gsp_interrupts *interrupts, struct hw *hw, struct rpc *rpc, unsigned core);
/* Ask RM for the table and enable what is served here. 0 or what rpc_call() returns. */
int gsp_interrupts_route(struct gsp_interrupts *interrupts, const struct gsp_info *info);
/* All sources off, the task gone. Before gsp_stop(); safe when start failed. */
void gsp_interrupts_stop(struct gsp_interrupts *interrupts);

/* Signalled at every non-stall interrupt of this engine; NULL when RM's table has none for it, or nothing is routed. */
struct event *gsp_interrupts_engine_event(struct gsp_interrupts *interrupts, uint16_t engine);

#endif
