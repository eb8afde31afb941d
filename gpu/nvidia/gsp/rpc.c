/*
 * gpu/nvidia/gsp/rpc.c: calls to the Resource Manager on the GSP over the queues of rpc_queue.c.
 *
 * Source: open-gpu-kernel-modules 570.144, rpc.c (_issueRpcAndWait, _issueRpcLarge: continuation records),
 * kernel_gsp.c (_kgspRpcRecvPoll, _kgspRpcDrainEvents, _kgspProcessRpcEvent).
 *
 * A call that runs into its deadline leaves its function in the list of late ones. The GSP answers in order, so the next
 * reply to that function is the late one: it is thrown away, and so are continuation records that nobody waits for.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/rpc_queue.h"
#include "gpu/nvidia/rm.h"

#define SPIN_NS      (200 * NS_PER_US) /* most replies come within this: look without sleeping */
#define LOOK_NS      NS_PER_MS         /* a sleeping wait looks by itself so often */
#define GONE_LOOK_NS (100 * NS_PER_MS) /* and checks so often that the GPU is still on the bus */
#define ROOM_NS \
    NS_PER_S /* for the GSP to take commands out of a full queue (GspMsgQueueSendCommand) */
#define LOCAL_BYTES_MAX \
    (UINT64_C(16) << 20) /* no message of ours is near this; an argument check */

int rpc_init(struct rpc *rpc, struct hw *hw)
{
    *rpc = (struct rpc){.hw = hw};
    return rpc_queue_create(rpc);
}

void rpc_fini(struct rpc *rpc)
{
    rpc_queue_destroy(rpc);
}

void rpc_fill_arguments(const struct rpc *rpc, struct gsp_queue_arguments *out)
{
    *out = (struct gsp_queue_arguments){
        .shared_memory_bus = rpc->shared_dma,
        .page_table_entry_count = rpc->page_count,
        .command_queue_offset = rpc->command_offset,
        .status_queue_offset = rpc->status_offset,
    };
}

/* ---- names and history ----------------------------------------------------------------------------------------- */

static const struct {
    uint32_t function;
    const char *name;
} names[] = {
    {NV_VGPU_MSG_FUNCTION_NOP, "NOP"},
    {NV_VGPU_MSG_FUNCTION_ALLOC_MEMORY, "ALLOC_MEMORY"},
    {NV_VGPU_MSG_FUNCTION_FREE, "FREE"},
    {NV_VGPU_MSG_FUNCTION_MAP_MEMORY_DMA, "MAP_MEMORY_DMA"},
    {NV_VGPU_MSG_FUNCTION_UNMAP_MEMORY_DMA, "UNMAP_MEMORY_DMA"},
    {NV_VGPU_MSG_FUNCTION_DUP_OBJECT, "DUP_OBJECT"},
    {NV_VGPU_MSG_FUNCTION_UNLOADING_GUEST_DRIVER, "UNLOADING_GUEST_DRIVER"},
    {NV_VGPU_MSG_FUNCTION_SET_PAGE_DIRECTORY, "SET_PAGE_DIRECTORY"},
    {NV_VGPU_MSG_FUNCTION_GET_GSP_STATIC_INFO, "GET_GSP_STATIC_INFO"},
    {NV_VGPU_MSG_FUNCTION_UPDATE_BAR_PDE, "UPDATE_BAR_PDE"},
    {NV_VGPU_MSG_FUNCTION_CONTINUATION_RECORD, "CONTINUATION_RECORD"},
    {NV_VGPU_MSG_FUNCTION_GSP_SET_SYSTEM_INFO, "GSP_SET_SYSTEM_INFO"},
    {NV_VGPU_MSG_FUNCTION_SET_REGISTRY, "SET_REGISTRY"},
    {NV_VGPU_MSG_FUNCTION_GSP_RM_CONTROL, "GSP_RM_CONTROL"},
    {NV_VGPU_MSG_FUNCTION_UNSET_PAGE_DIRECTORY, "UNSET_PAGE_DIRECTORY"},
    {NV_VGPU_MSG_FUNCTION_GSP_RM_ALLOC, "GSP_RM_ALLOC"},
    {NV_VGPU_MSG_FUNCTION_INVALIDATE_TLB, "INVALIDATE_TLB"},
    {NV_VGPU_MSG_FUNCTION_ECC_NOTIFIER_WRITE_ACK, "ECC_NOTIFIER_WRITE_ACK"},
    {NV_VGPU_MSG_EVENT_GSP_INIT_DONE, "GSP_INIT_DONE"},
    {NV_VGPU_MSG_EVENT_GSP_RUN_CPU_SEQUENCER, "GSP_RUN_CPU_SEQUENCER"},
    {NV_VGPU_MSG_EVENT_POST_EVENT, "POST_EVENT"},
    {NV_VGPU_MSG_EVENT_RC_TRIGGERED, "RC_TRIGGERED"},
    {NV_VGPU_MSG_EVENT_MMU_FAULT_QUEUED, "MMU_FAULT_QUEUED"},
    {NV_VGPU_MSG_EVENT_OS_ERROR_LOG, "OS_ERROR_LOG"},
    {NV_VGPU_MSG_EVENT_RG_LINE_INTR, "RG_LINE_INTR"},
    {NV_VGPU_MSG_EVENT_GPUACCT_PERFMON_UTIL_SAMPLES, "GPUACCT_PERFMON_UTIL_SAMPLES"},
    {NV_VGPU_MSG_EVENT_SEMAPHORE_SCHEDULE_CALLBACK, "SEMAPHORE_SCHEDULE_CALLBACK"},
    {NV_VGPU_MSG_EVENT_UCODE_LIBOS_PRINT, "UCODE_LIBOS_PRINT"},
    {NV_VGPU_MSG_EVENT_PERF_BRIDGELESS_INFO_UPDATE, "PERF_BRIDGELESS_INFO_UPDATE"},
    {NV_VGPU_MSG_EVENT_DISPLAY_MODESET, "DISPLAY_MODESET"},
    {NV_VGPU_MSG_EVENT_TIMED_SEMAPHORE_RELEASE, "TIMED_SEMAPHORE_RELEASE"},
    {NV_VGPU_MSG_EVENT_GSP_LOCKDOWN_NOTICE, "GSP_LOCKDOWN_NOTICE"},
    {NV_VGPU_MSG_EVENT_UPDATE_GSP_TRACE, "UPDATE_GSP_TRACE"},
    {NV_VGPU_MSG_EVENT_GSP_POST_NOCAT_RECORD, "GSP_POST_NOCAT_RECORD"},
    {NV_VGPU_MSG_EVENT_FECS_ERROR, "FECS_ERROR"},
    {NV_VGPU_MSG_EVENT_RECOVERY_ACTION, "RECOVERY_ACTION"},
};

const char *rpc_function_name(uint32_t function, char buffer[16])
{
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++)
        if (names[i].function == function)
            return names[i].name;
    snprintf(buffer, 16, "%#x", function);
    return buffer;
}

/* The word of an alloc's or control's payload that says what it is about. */
static uint32_t detail_of(uint32_t function, const void *payload, size_t bytes)
{
    uint32_t detail = 0;
    size_t at = function == NV_VGPU_MSG_FUNCTION_GSP_RM_ALLOC
                    ? offsetof(struct rpc_rm_alloc, class_id)
                    : offsetof(struct rpc_rm_control, command);
    if ((function == NV_VGPU_MSG_FUNCTION_GSP_RM_ALLOC ||
         function == NV_VGPU_MSG_FUNCTION_GSP_RM_CONTROL) &&
        bytes >= at + sizeof(detail))
        memcpy(&detail, (const uint8_t *)payload + at, sizeof(detail));
    return detail;
}

static struct rpc_history *history_add(struct rpc *rpc, uint32_t function, const void *payload,
                                       size_t bytes)
{
    struct rpc_history *entry = &rpc->history[rpc->history_next++ % RPC_HISTORY];
    *entry = (struct rpc_history){
        .start_ns = time_ns(), .function = function, .detail = detail_of(function, payload, bytes)};
    return entry;
}

void rpc_log_history(struct rpc *rpc)
{
    unsigned count = rpc->history_next - rpc->history_told;
    count = count < RPC_HISTORY ? count : RPC_HISTORY;
    rpc->history_told = rpc->history_next;
    for (unsigned i = rpc->history_next - count; i != rpc->history_next; i++) {
        const struct rpc_history *entry = &rpc->history[i % RPC_HISTORY];
        char buffer[16], outcome[48] = "no answer";
        if (entry->function >= NV_VGPU_MSG_EVENT_FIRST_EVENT)
            snprintf(outcome, sizeof(outcome), "event");
        else if (entry->took_ns != 0)
            snprintf(outcome, sizeof(outcome), "result %#x after %llu us", entry->result,
                     (unsigned long long)(entry->took_ns / NS_PER_US));
        log_info("%s: rpc at %llu.%03llu s: %s %#x, %s", rpc->hw->name,
                 (unsigned long long)(entry->start_ns / NS_PER_S),
                 (unsigned long long)(entry->start_ns % NS_PER_S / NS_PER_MS),
                 rpc_function_name(entry->function, buffer), entry->detail, outcome);
    }
}

/* ---- what comes in --------------------------------------------------------------------------------------------- */

static int fail(struct rpc *rpc, int error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int fail(struct rpc *rpc, int error, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(rpc->error, sizeof(rpc->error), fmt, args);
    va_end(args);
    return error;
}

static void trouble(struct rpc *rpc)
{
    if (rpc->on_trouble != NULL)
        rpc->on_trouble(rpc->on_trouble_arg);
}

/* A queue error ends the use of this GPU, so it is said once, here. */
static int queue_failed(struct rpc *rpc)
{
    log_error("%s: %s; the GPU is not used any more", rpc->hw->name, rpc->error);
    trouble(rpc);
    return -EPROTO;
}

/* The interrupt said that the GSP's firmware stands still. What it was asked will run into its deadline. */
static void look_for_halt(struct rpc *rpc)
{
    if (atomic_exchange(&rpc->has_halted, false))
        trouble(rpc);
}

static bool late_remove(struct rpc *rpc, uint32_t function)
{
    for (unsigned i = 0; i < rpc->late_count; i++) {
        if (rpc->late[i] != function)
            continue;
        rpc->late_count--;
        memmove(&rpc->late[i], &rpc->late[i + 1], (rpc->late_count - i) * sizeof(rpc->late[0]));
        return true;
    }
    return false;
}

/* Deal with the record in rpc->record. True: it is the reply, continuation or event that is wanted. */
static bool dispatch(struct rpc *rpc, uint32_t wanted)
{
    uint32_t function = rpc_queue_message(rpc)->function;
    if (function >= NV_VGPU_MSG_EVENT_FIRST_EVENT) {
        history_add(rpc, function, NULL, 0);
        rpc->events++;
        if (rpc->on_event != NULL) {
            rpc->handler = task_name();
            rpc->on_event(rpc->on_event_arg, function, rpc_queue_payload(rpc),
                          rpc_queue_payload_bytes(rpc));
            rpc->handler = NULL;
        }
        if (function == NV_VGPU_MSG_EVENT_GSP_INIT_DONE) {
            /* It comes once, and somebody else than its waiter may have read it: interrupt.c's task. */
            rpc->is_init_done = true;
            rpc->init_result = rpc_queue_message(rpc)->result;
        }
        return function == wanted;
    }
    if (late_remove(rpc, function)) {
        rpc->late_replies++;
        return false;
    }
    if (function == wanted)
        return true;
    rpc->late_replies++;
    if (function != NV_VGPU_MSG_FUNCTION_CONTINUATION_RECORD) {
        char buffer[16];
        log_warn("%s: a reply to %s that nobody waits for", rpc->hw->name,
                 rpc_function_name(function, buffer));
    }
    return false;
}

/* Handle records until the wanted one is in rpc->record. 0, -ETIMEDOUT, -EPROTO, -ENODEV. */
static int wait_for(struct rpc *rpc, uint32_t wanted, uint64_t deadline_ns)
{
    uint64_t start_ns = time_ns(), gone_look_ns = start_ns + GONE_LOOK_NS;
    bool has_slept = false;
    for (;;) {
        uint32_t seen = event_read(&rpc->event);
        uint64_t now =
            time_ns(); /* taken before the look, so that the last look comes after the deadline */
        int got = rpc_queue_take(rpc);
        if (got < 0)
            return queue_failed(rpc);
        if (got > 0) {
            if (has_slept && rpc->has_interrupt)
                rpc->lost_interrupts++;
            if (dispatch(rpc, wanted))
                return 0;
            has_slept = false;
            if (now < deadline_ns && rpc->event_error == 0)
                continue;
        }
        if (rpc->event_error != 0)
            return rpc->event_error;
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        if (now >= gone_look_ns) {
            if (hw_is_gone(rpc->hw))
                return -ENODEV;
            gone_look_ns = now + GONE_LOOK_NS;
        }
        if (now < start_ns + SPIN_NS)
            task_yield();
        else
            has_slept = event_wait(&rpc->event, seen, min_u64(deadline_ns, now + LOOK_NS)) != 0;
    }
}

/* ---- what goes out --------------------------------------------------------------------------------------------- */

/* Wait until a record of so many elements fits. The status queue is read meanwhile: a full one would stop the GSP. */
static int wait_for_room(struct rpc *rpc, unsigned elements, bool may_read)
{
    uint64_t deadline_ns = time_ns() + ROOM_NS;
    for (;;) {
        uint64_t now = time_ns();
        int room = rpc_queue_room(rpc);
        if (room < 0)
            return queue_failed(rpc);
        if ((unsigned)room >= elements)
            return 0;
        if (now >= deadline_ns)
            return fail(rpc, -ETIMEDOUT,
                        "the GSP takes no commands: its queue has been full for 1 s");
        int got = may_read ? rpc_queue_take(rpc) : 0;
        if (got < 0)
            return queue_failed(rpc);
        if (got > 0)
            dispatch(rpc,
                     NV_VGPU_MSG_FUNCTION_NUM_FUNCTIONS); /* nobody's number: all is handled here */
        else
            task_sleep_until(time_ns() + SPIN_NS);
    }
}

/* Put the payload into the command queue, in as many records as it takes. */
static int send_records(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes,
                        bool may_read)
{
    const uint8_t *rest = payload;
    do {
        size_t part = min_u64(bytes, RPC_RECORD_PAYLOAD_MAX);
        int error = wait_for_room(rpc, rpc_queue_elements(part), may_read);
        if (error != 0)
            return error;
        rpc_queue_put(rpc, function, rest, part);
        function = NV_VGPU_MSG_FUNCTION_CONTINUATION_RECORD;
        rest = part < bytes ? rest + part : NULL;
        bytes -= part;
    } while (bytes > 0);
    return 0;
}

/* Why nothing can be sent any more, or 0. */
static int check_alive(struct rpc *rpc)
{
    if (rpc->is_gone)
        return -ENODEV;
    return rpc->broken ? -EPROTO : 0;
}

/* The reply's payload, and that of its continuations while the records come full. */
static int collect(struct rpc *rpc, void *reply, size_t reply_bytes, bool is_large,
                   uint64_t deadline_ns, size_t *got)
{
    for (size_t total = 0;;) {
        size_t bytes = rpc_queue_payload_bytes(rpc), part = min_u64(bytes, reply_bytes - total);
        if (part > 0)
            memcpy((uint8_t *)reply + total, rpc_queue_payload(rpc), part);
        total += part;
        *got = total;
        if (!is_large || total == reply_bytes || bytes < RPC_RECORD_PAYLOAD_MAX)
            return 0;
        uint32_t result = rpc_queue_message(rpc)->result;
        if (result != 0)
            return 0; /* a failed call: what follows, if anything does, is thrown away as it comes */
        int error = wait_for(rpc, NV_VGPU_MSG_FUNCTION_CONTINUATION_RECORD, deadline_ns);
        if (error != 0)
            return error;
    }
}

/* Words and bookkeeping for a call that got no (whole) reply. */
static int no_reply(struct rpc *rpc, uint32_t function, uint32_t detail, int error,
                    uint64_t timeout_ns)
{
    char buffer[16];
    const char *name = rpc_function_name(function, buffer);
    if (error == -ENODEV) {
        rpc->is_gone = true;
        return fail(rpc, error, "%s %#x: the GPU has left the bus", name, detail);
    }
    if (error != -ETIMEDOUT)
        return error;
    char why[sizeof(rpc->error)];
    snprintf(why, sizeof(why), "%s", rpc->status_linked ? "" : rpc->error);
    fail(rpc, error, "%s %#x: no answer from the GSP within %llu ms%s%.120s", name, detail,
         (unsigned long long)(timeout_ns / NS_PER_MS), why[0] != '\0' ? "; " : "", why);
    log_error("%s: %s", rpc->hw->name, rpc->error);
    trouble(rpc);
    if (++rpc->timeouts >= RPC_TIMEOUTS_MAX || rpc->late_count == RPC_LATE_MAX) {
        rpc->is_gone = true;
        log_error("%s: %u calls without an answer; the GPU is not used any more", rpc->hw->name,
                  rpc->timeouts);
    }
    return error;
}

static int call_locked(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes,
                       void *reply, size_t reply_bytes, size_t *got, uint64_t timeout_ns)
{
    int error = check_alive(rpc);
    if (error != 0)
        return error;
    uint64_t deadline_ns = time_ns() + timeout_ns;
    struct rpc_history *entry = history_add(rpc, function, payload, bytes);
    uint64_t start_ns = entry->start_ns;
    uint32_t detail = entry->detail;
    unsigned slot = rpc->history_next;
    rpc->calls++;

    error = send_records(rpc, function, payload, bytes, true);
    if (error == -ETIMEDOUT)
        log_error("%s: %s", rpc->hw->name, rpc->error);
    if (error != 0)
        return error;
    error = wait_for(rpc, function, deadline_ns);
    if (error == -ETIMEDOUT && rpc->late_count < RPC_LATE_MAX)
        rpc->late[rpc->late_count++] = function;
    if (error != 0)
        return no_reply(rpc, function, detail, error, timeout_ns);

    uint32_t result = rpc_queue_message(rpc)->result;
    error = collect(rpc, reply, reply_bytes, bytes > RPC_RECORD_PAYLOAD_MAX, deadline_ns, got);
    if (error != 0)
        return no_reply(rpc, function, detail, error, timeout_ns);
    rpc->timeouts = 0;
    rpc->status = result;
    if (rpc->history_next - slot < RPC_HISTORY) { /* not pushed out by events meanwhile */
        entry->took_ns = time_ns() - start_ns + 1;
        entry->result = result;
    }
    if (result == 0)
        return 0;
    char buffer[16];
    return fail(rpc, -EIO, "%s %#x: %s (%#x)", rpc_function_name(function, buffer), detail,
                rm_status_name(result), result);
}

/* True inside on_event: the mutex is ours already. */
static bool is_handler(struct rpc *rpc)
{
    return rpc->handler == task_name();
}

int rpc_call(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes, void *reply,
             size_t reply_bytes, size_t *reply_got, uint64_t timeout_ns)
{
    size_t got = 0;
    assert(bytes <= LOCAL_BYTES_MAX && reply_bytes <= LOCAL_BYTES_MAX);
    if (is_handler(rpc))
        return -EDEADLK;
    mutex_lock(&rpc->mutex);
    int error = call_locked(rpc, function, payload, bytes, reply, reply_bytes, &got, timeout_ns);
    mutex_unlock(&rpc->mutex);
    if (reply_got != NULL)
        *reply_got = got;
    return error;
}

int rpc_send(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes)
{
    bool is_nested = is_handler(rpc);
    if (!is_nested)
        mutex_lock(&rpc->mutex);
    int error = check_alive(rpc);
    if (error == 0) {
        history_add(rpc, function, payload, bytes);
        /* The handler still looks at the record that a read would replace. */
        error = send_records(rpc, function, payload, bytes, !is_nested);
        if (error == -ETIMEDOUT)
            log_error("%s: %s", rpc->hw->name, rpc->error);
    }
    if (!is_nested)
        mutex_unlock(&rpc->mutex);
    return error;
}

int rpc_wait_event(struct rpc *rpc, uint32_t event, uint64_t timeout_ns)
{
    if (is_handler(rpc))
        return -EDEADLK;
    mutex_lock(&rpc->mutex);
    int error = check_alive(rpc);
    bool has_come = event == NV_VGPU_MSG_EVENT_GSP_INIT_DONE && rpc->is_init_done;
    if (error == 0 && !has_come)
        error = wait_for(rpc, event, time_ns() + timeout_ns);
    if (error == -ETIMEDOUT || error == -ENODEV)
        no_reply(rpc, event, 0, error, timeout_ns);
    if (error == 0)
        rpc->status = has_come ? rpc->init_result : rpc_queue_message(rpc)->result;
    if (error == 0 && rpc->status != 0) {
        char buffer[16];
        error = fail(rpc, -EIO, "%s: %s (%#x)", rpc_function_name(event, buffer),
                     rm_status_name(rpc->status), rpc->status);
    }
    if (event == NV_VGPU_MSG_EVENT_GSP_INIT_DONE)
        rpc->is_init_done = false;
    mutex_unlock(&rpc->mutex);
    return error;
}

int rpc_poll(struct rpc *rpc)
{
    if (is_handler(rpc))
        return -EDEADLK;
    mutex_lock(&rpc->mutex);
    uint64_t events = rpc->events;
    int error = check_alive(rpc);
    look_for_halt(rpc);
    /* As many records as the queue holds, so that a GSP that never stops does not keep us here. */
    for (unsigned i = 0; error == 0 && i < RPC_QUEUE_BYTES / RPC_ELEMENT_BYTES; i++) {
        int got = rpc_queue_take(rpc);
        if (got < 0)
            error = queue_failed(rpc);
        if (got <= 0)
            break;
        dispatch(rpc, NV_VGPU_MSG_FUNCTION_NUM_FUNCTIONS);
    }
    int handled = (int)(rpc->events - events);
    mutex_unlock(&rpc->mutex);
    return error != 0 ? error : handled;
}
