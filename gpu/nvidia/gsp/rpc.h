/*
 * gpu/nvidia/gsp/rpc.h: calls to the Resource Manager that runs on the GSP, and events from it.
 *
 * rpc_init() makes the shared memory of rpc_abi.h; gsp_rm_arguments tell the firmware where it is. Commands go in one queue,
 * replies and events come out of the other. The GSP works the commands off in order, one at a time, so a reply belongs to
 * the oldest command of its function that has none yet.
 *
 * Any task on any core may call. A mutex makes one call at a time; events that come in meanwhile are handled by whoever is
 * reading the queue. While it waits for a reply a task sleeps on rpc->event, which the interrupt signals, and looks by itself
 * every millisecond, so that a lost interrupt costs time but nothing hangs. Every wait has a deadline.
 *
 * All that is in the shared memory is the GSP's to write. A record is copied out once, checked, and used from the copy only.
 * A queue that breaks its own rules (an index past the end, a bad checksum that stays bad, a sequence number out of order)
 * is not read further: the RPC is marked broken with the reason, and all later calls fail at once.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_RPC_H
#define INGOT_GPU_NVIDIA_GSP_RPC_H

#include "gpu/nvidia/gsp/rpc_abi.h"
#include "kernel/kernel.h"

struct hw;

#define RPC_HISTORY        16u /* calls and events that are remembered for the error report */
#define RPC_LATE_MAX       16u /* timed-out calls whose replies may still come */
#define RPC_TIMEOUTS_MAX   3u  /* calls in a row without an answer after which the GSP counts as gone */
#define RPC_TIMEOUT_NS     (6 * NS_PER_S) /* what callers use without a reason for more: 1.5 x RM's 4 s (_kgspRpcRecvPoll) */

struct rpc_history {
    uint64_t start_ns, took_ns; /* took 0: no answer yet, or none is expected */
    uint32_t function;          /* or event */
    uint32_t detail;            /* class of an alloc, command of a control, else 0 */
    uint32_t result;
};

struct rpc {
    struct hw *hw;

    /* Shared memory: one contiguous piece; shared_dma, the offsets and the entry count are the libos arguments. */
    uint8_t *shared;
    uint64_t shared_dma, shared_bytes;
    uint64_t command_offset, status_offset; /* bytes from its start */
    uint32_t page_count;                    /* page table entries, the table's own pages included */

    uint32_t element_count;                    /* of the command queue */
    uint32_t command_write, command_sequence;  /* ours; the shared copy is written, never read */
    uint32_t status_read, status_sequence;
    uint32_t status_entry_offset, status_element_count, status_rx_offset; /* checked once, when the GSP has made its queue */
    bool status_linked;

    /* Called with the mutex held: may send (rpc_send) and may wait for hardware, but a rpc_call() in it gets -EDEADLK. */
    void (*on_event)(void *arg, uint32_t event, const void *payload, size_t bytes);
    void *on_event_arg;
    int event_error; /* set by on_event, with error: what came is so bad that waits for anything else end with it */

    /* Called with the mutex held when a call got no answer, the queues are broken, or the GSP has halted: what it has logged
     * may say why. No calls in it. */
    void (*on_trouble)(void *arg);
    void *on_trouble_arg;
    _Atomic bool has_halted; /* set by interrupt.c; whoever reads the queue next tells on_trouble */

    struct mutex mutex;
    struct event event;   /* signalled by the GSP's interrupt (interrupt.c) */
    uint32_t status;      /* RM status or NV_VGPU_MSG_RESULT_... of the last call; read it under your own lock */
    const char *_Atomic handler; /* name of the task that runs on_event now: each task has its own */
    uint8_t *record;      /* the copy of one record, RPC_RECORD_ELEMENTS_MAX elements */

    bool is_init_done;     /* GSP_INIT_DONE has come and nobody has waited for it yet; how it went */
    uint32_t init_result;

    uint32_t late[RPC_LATE_MAX]; /* functions of timed-out calls, oldest first */
    unsigned late_count, timeouts;
    bool broken, is_gone;
    bool has_interrupt;   /* interrupt.c signals event, so that waits need not look by themselves so often */
    char error[200];      /* why the last call failed, or why the queues are broken */

    struct rpc_history history[RPC_HISTORY];
    unsigned history_next, history_told;
    uint64_t calls, events, late_replies, retries, lost_interrupts; /* counters for /v1/devices and tests */
};

/* 0 or -ENOMEM. Nothing is sent and no register touched. rpc_fini() only when the GSP cannot write any more. */
int rpc_init(struct rpc *rpc, struct hw *hw);
void rpc_fini(struct rpc *rpc);
/* The queues' part of the arguments; the rest of *out is left alone. */
void rpc_fill_arguments(const struct rpc *rpc, struct gsp_queue_arguments *out);

/*
 * Send one call and wait for its reply. The reply's payload, without the headers, is copied to reply (at most reply_bytes);
 * *reply_got (NULL: not wanted) says how many bytes it had there. A request longer than one record goes out with
 * continuation records; its reply is then collected over as many records as it takes to fill reply_bytes.
 * Returns 0; -EIO when RM answered with an error (rpc->status has it, the reply is copied all the same); -ETIMEDOUT;
 * -EDEADLK inside on_event; -EPROTO for a broken queue; -ENODEV once the GSP has stopped answering. rpc->error says more.
 */
int rpc_call(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes, void *reply, size_t reply_bytes,
             size_t *reply_got, uint64_t timeout_ns);
/* Send one message that has no reply (system information, registry, acknowledgements). Also inside on_event. */
int rpc_send(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes);
/* Wait for one event; the others that come before it, and itself, go to on_event. Returns as rpc_call() does: -EIO, too. */
int rpc_wait_event(struct rpc *rpc, uint32_t event, uint64_t timeout_ns);
/* Handle what has come. Returns the number of events, or a negative errno as above; does not wait for other records. */
int rpc_poll(struct rpc *rpc);

/* Words for logs: "GSP_RM_CONTROL", "RC_TRIGGERED"; a number in hexadecimal for others (in buffer, at least 16 bytes). */
const char *rpc_function_name(uint32_t function, char buffer[16]);
/* The last calls and events to the log, those that it has not had yet: for a failure report. */
void rpc_log_history(struct rpc *rpc);

/* The checksum of n bytes, a multiple of 8: the xor of all 32-bit words. */
uint32_t rpc_checksum(const void *bytes, size_t n);

#endif
