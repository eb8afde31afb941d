/*
 * gpu/nvidia/gsp/events.c: events from the Resource Manager on the GSP. See events.h.
 *
 * Source: open-gpu-kernel-modules 570.144, kernel_gsp.c (_kgspProcessRpcEvent and what it calls), nverror.h (Xid numbers),
 * g_kernel_rc_nvoc.h (scope). What a driver for displays, virtual GPUs or NVLink would act on is logged and counted only.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/events.h"
#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/rpc.h"

#define XID_FAST_PATH \
    141 /* ROBUST_CHANNEL_FAST_PATH_ERROR: asks for an acknowledgement, says nothing else */
#define NO_CHANNEL UINT32_MAX

static const struct {
    uint16_t first, last;
    const char *name;
} xids[] = {
    {13, 13, "graphics engine exception"},
    {31, 31, "MMU fault"},
    {32, 32, "invalid or corrupted push buffer"},
    {39, 42, "copy engine exception"},
    {43, 43, "channel reset by verification"},
    {44, 44, "graphics engine fault during a context switch"},
    {45, 45, "channel removed early"},
    {48, 48, "memory error that ECC could not correct"},
    {58, 58, "video memory error"},
    {59, 59, "PMU error"},
    {61, 61, "PMU breakpoint"},
    {62, 62, "PMU halted"},
    {63, 64, "memory page or row retired"},
    {69, 69, "graphics engine class error"},
    {70, 72, "copy engine exception"},
    {75, 77, "copy engine exception"},
    {79, 79, "GPU has fallen off the bus"},
    {85, 85, "copy engine exception"},
    {90, 90, "level 2 cache error"},
    {92, 92, "many corrected memory errors"},
    {94, 94, "contained memory error"},
    {95, 95, "uncontained memory error"},
    {119, 119, "GSP did not answer in time"},
    {120, 120, "GSP error"},
    {126, 135, "copy engine exception"},
    {136, 136, "link training failed"},
    {140, 140, "memory error that ECC could not correct"},
    {143, 143, "GPU initialisation error"},
    {154, 154, "GPU asks for a recovery action"},
};

const char *gsp_xid_name(uint32_t xid)
{
    for (unsigned i = 0; i < ARRAY_COUNT(xids); i++)
        if (xid >= xids[i].first && xid <= xids[i].last)
            return xids[i].name;
    return NULL;
}

static const char *xid_words(uint32_t xid)
{
    const char *name = gsp_xid_name(xid);
    return name != NULL ? name : "error";
}

/* A text of the GSP's, which may lack its end, without the newline at its end. */
static void copy_text(char *out, size_t out_bytes, const char *in, size_t in_bytes)
{
    size_t n = 0;
    while (n < in_bytes && n + 1 < out_bytes && in[n] != '\0') {
        out[n] = in[n];
        n++;
    }
    while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == '\r' || out[n - 1] == ' '))
        n--;
    out[n] = '\0';
}

static void os_error_log(struct gsp_events *events, const void *payload, size_t bytes)
{
    struct rpc_os_error_log log;
    size_t text_at = offsetof(struct rpc_os_error_log, text);
    if (bytes < text_at) {
        log_warn("%s: an error line of %zu bytes from the GSP", events->hw->name, bytes);
        return;
    }
    memset(&log, 0, sizeof(log));
    memcpy(&log, payload, min_u64(bytes, sizeof(log)));
    events->error_lines++;
    events->last_xid = log.except_type;
    copy_text(events->last_text, sizeof(events->last_text), log.text, sizeof(log.text));
    if (log.channel_id != NO_CHANNEL)
        log_error("%s: Xid %u (%s), runlist %u channel %u: %s", events->hw->name, log.except_type,
                  xid_words(log.except_type), log.runlist_id, log.channel_id, events->last_text);
    else
        log_error("%s: Xid %u (%s): %s", events->hw->name, log.except_type,
                  xid_words(log.except_type), events->last_text);
}

static void rc_triggered(struct gsp_events *events, const void *payload, size_t bytes)
{
    struct rpc_rc_triggered rc;
    if (bytes < sizeof(rc)) {
        log_error("%s: a channel error of %zu bytes from the GSP", events->hw->name, bytes);
        return;
    }
    memcpy(&rc, payload, sizeof(rc));
    if (rc.except_type == XID_FAST_PATH) {
        int error = rpc_send(events->rpc, NV_VGPU_MSG_FUNCTION_ECC_NOTIFIER_WRITE_ACK, NULL, 0);
        if (error != 0)
            log_error("%s: no acknowledgement to the GSP: %s", events->hw->name,
                      events->rpc->error);
        return;
    }
    struct gsp_channel_error error = {
        .engine_type = rc.engine_type,
        .channel_id = rc.channel_id,
        .xid = rc.except_type,
        .scope = rc.scope,
        .fault_address = (uint64_t)rc.mmu_fault_address_hi << 32 | rc.mmu_fault_address_lo,
        .fault_type = rc.mmu_fault_type,
        .text = events->last_text,
    };
    events->channel_errors++;
    events->last_xid = rc.except_type;
    log_error("%s: channel %u on engine %#x taken down: Xid %u (%s), fault address %#llx type %u",
              events->hw->name, error.channel_id, error.engine_type, error.xid,
              xid_words(error.xid), (unsigned long long)error.fault_address, error.fault_type);
    if (events->on_channel_error != NULL)
        events->on_channel_error(events->on_channel_error_arg, &error);
}

static void nocat_record(struct gsp_events *events, const void *payload, size_t bytes)
{
    struct rpc_nocat_record record;
    if (bytes < sizeof(record))
        return;
    memcpy(&record, payload, sizeof(record));
    char source[sizeof(record.source)], engine[sizeof(record.engine)];
    copy_text(source, sizeof(source), record.source, sizeof(record.source));
    copy_text(engine, sizeof(engine), record.engine, sizeof(record.engine));
    log_debug("%s: GSP journal: type %u, source '%s', engine '%s', error %#llx", events->hw->name,
              record.type, source, engine, (unsigned long long)record.error);
}

static void post_event(struct gsp_events *events, const void *payload, size_t bytes)
{
    struct rpc_post_event event;
    if (bytes < offsetof(struct rpc_post_event, notify_list) + 1)
        return;
    memcpy(&event, payload, min_u64(bytes, sizeof(event)));
    log_debug("%s: event %#x of client %#x, index %u, data %#x, status %#x", events->hw->name,
              event.event, event.client, event.notify_index, event.data, event.status);
}

static void on_event(void *arg, uint32_t event, const void *payload, size_t bytes)
{
    struct gsp_events *events = arg;
    char buffer[16];
    switch (event) {
    case NV_VGPU_MSG_EVENT_GSP_INIT_DONE: /* rpc_wait_event() is waiting for it */
        return;
    case NV_VGPU_MSG_EVENT_GSP_RUN_CPU_SEQUENCER: {
        events->sequencer_runs++;
        int error = gsp_events_run_sequencer(events, payload, bytes);
        if (error != 0 && events->sequencer_error == 0) {
            events->sequencer_error = error;
            events->rpc->event_error = error; /* who waits for INIT_DONE would wait in vain */
            snprintf(events->rpc->error, sizeof(events->rpc->error), "%.190s", events->hw->error);
        }
        return;
    }
    case NV_VGPU_MSG_EVENT_OS_ERROR_LOG:
        os_error_log(events, payload, bytes);
        return;
    case NV_VGPU_MSG_EVENT_RC_TRIGGERED:
        rc_triggered(events, payload, bytes);
        return;
    case NV_VGPU_MSG_EVENT_MMU_FAULT_QUEUED:
        events->mmu_faults++; /* what it was comes with the channel's error */
        log_debug("%s: the GSP has seen an MMU fault", events->hw->name);
        return;
    case NV_VGPU_MSG_EVENT_GSP_LOCKDOWN_NOTICE:
        if (bytes >= sizeof(struct rpc_lockdown_notice))
            events->is_in_lockdown = *(const uint8_t *)payload != 0;
        log_debug("%s: GSP lockdown %s", events->hw->name,
                  events->is_in_lockdown ? "begins" : "ends");
        return;
    case NV_VGPU_MSG_EVENT_GSP_POST_NOCAT_RECORD:
        events->others++;
        nocat_record(events, payload, bytes);
        return;
    case NV_VGPU_MSG_EVENT_POST_EVENT:
        events->others++;
        post_event(events, payload, bytes);
        return;
    default:
        events->others++;
        log_debug("%s: event %s from the GSP, %zu bytes", events->hw->name,
                  rpc_function_name(event, buffer), bytes);
        return;
    }
}

void gsp_events_init(struct gsp_events *events, struct rpc *rpc, struct hw *hw, uint64_t libos_dma)
{
    *events = (struct gsp_events){.rpc = rpc, .hw = hw, .libos_dma = libos_dma};
    rpc->on_event = on_event;
    rpc->on_event_arg = events;
}
