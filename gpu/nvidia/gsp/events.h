/*
 * gpu/nvidia/gsp/events.h: what the GSP's Resource Manager tells without being asked.
 *
 *   GSP_RUN_CPU_SEQUENCER  during start: register accesses and core restarts that only the CPU may do (Turing .. Ada)
 *   OS_ERROR_LOG           a line for the log, with the error's "Xid" number
 *   RC_TRIGGERED           a channel was taken down (robust channel error): passed on to on_channel_error
 *   MMU_FAULT_QUEUED       comes with a fault, before the two above; counted
 *   GSP_LOCKDOWN_NOTICE    the GSP's registers are (not) accessible
 *   UCODE_LIBOS_PRINT, POST_EVENT, GSP_POST_NOCAT_RECORD and the rest are logged at debug level and counted
 *
 * gsp_events_init() hooks itself into rpc->on_event. Everything runs in the task that reads the queue, with rpc's mutex
 * held: on_channel_error may touch memory and signal events, but makes no RPC calls.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_EVENTS_H
#define INGOT_GPU_NVIDIA_GSP_EVENTS_H

#include "kernel/kernel.h"

struct hw;
struct rpc;

struct gsp_channel_error {
    uint32_t engine_type; /* NV2080_ENGINE_TYPE_... */
    uint32_t channel_id;
    uint32_t xid;         /* ROBUST_CHANNEL_..., what NVIDIA's drivers print as Xid */
    uint32_t scope;       /* 0: this channel; 1: its group (RC_NOTIFIER_SCOPE) */
    uint64_t fault_address; /* of an MMU fault, else 0 */
    uint32_t fault_type;    /* NV_PFAULT_FAULT_TYPE_..., valid with xid 31 */
    const char *text;       /* the last OS_ERROR_LOG line, "" if there was none */
};

struct gsp_events {
    struct rpc *rpc;
    struct hw *hw;
    uint64_t libos_dma;   /* of the libos arguments: the GSP's mailboxes take it when the sequencer resumes the core */
    uint32_t app_version; /* of the GSP's boot loader, for FALCON_OS after that; set by whoever read its header */

    void (*on_channel_error)(void *arg, const struct gsp_channel_error *error); /* NULL: only logged */
    void *on_channel_error_arg;

    int sequencer_error;     /* negative errno of the first sequencer run that failed; hw->error says why */
    bool is_in_lockdown;
    uint32_t last_xid;
    char last_text[256];     /* the last OS_ERROR_LOG line */
    uint64_t sequencer_runs, error_lines, channel_errors, mmu_faults, others; /* counters */
};

void gsp_events_init(struct gsp_events *events, struct rpc *rpc, struct hw *hw, uint64_t libos_dma);

/*
 * sequencer.c: run one CPU sequencer buffer; payload is the event's. The whole buffer is checked before its first operation
 * runs. 0, -EPROTO for one that is malformed, or what the hardware said; hw->error names the operation.
 */
int gsp_events_run_sequencer(struct gsp_events *events, const void *payload, size_t bytes);

/* "MMU fault", "graphics exception"; NULL for a number we have no words for. */
const char *gsp_xid_name(uint32_t xid);

#endif
