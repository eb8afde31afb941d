/*
 * nvme/nvme_internal.h: what the files of the driver share. Nobody outside nvme/ (and its test) includes it.
 *
 *   nvme.c        the door: start, stop, lists, figures          controller.c  reset, enable, identify, shut down
 *   admin.c       the admin queue and its commands               namespace.c   find and check namespaces
 *   queue.c       I/O queue pairs: the hot path                  prp.c         data pointers
 *   recover.c     deadlines, abort, controller reset             status.c, quirks.c  tables
 *
 * Who touches what: a queue pair is its core's, guarded by its own lock, which nobody else takes except the
 * controller's task while it recovers (and other cores where queue pairs are shared); uncontended it costs one
 * exchange per call. Registers and the admin queue belong to whoever holds admin_lock. Once a controller has
 * started, its state changes under admin_lock only.
 */
#ifndef INGOT_NVME_INTERNAL_H
#define INGOT_NVME_INTERNAL_H

#include "kernel/kernel.h"
#include "nvme/nvme.h"
#include "nvme/nvme_regs.h"

#define NVME_CONTROLLERS_MAX 16
#define NVME_NAMESPACES_MAX 128 /* per controller; more are named in the log and left out */

/* ---- time ------------------------------------------------------------------------------------------------------ */

#define NVME_ADMIN_TIMEOUT_NS (10 * NS_PER_S)     /* any admin command but Abort; drives answer in ms */
#define NVME_ABORT_TIMEOUT_NS (1 * NS_PER_S)      /* Abort itself, and then the command that it aborts */
#define NVME_DATA_TIMEOUT_NS (10 * NS_PER_S)      /* read, write */
#define NVME_SLOW_TIMEOUT_NS (60 * NS_PER_S)      /* flush, write zeroes, deallocate: may work on the whole drive */
#define NVME_SHUTDOWN_TIMEOUT_NS (5 * NS_PER_S)   /* where RTD3E does not say */
#define NVME_SHUTDOWN_TIMEOUT_MAX_NS (30 * NS_PER_S)
#define NVME_LOOK_NS (250 * NS_PER_MS)            /* between looks at CSTS while commands are in flight */
#define NVME_CLOCK_POLLS 256                      /* polls between looks at the clock */

/* ---- admin queue ----------------------------------------------------------------------------------------------- */

#define NVME_ADMIN_SQ_DEPTH 64  /* both rings fill 4 KiB: some controllers want whole pages */
#define NVME_ADMIN_CQ_DEPTH 256

struct nvme_admin_queue {
    struct nvme_sqe *sq;
    volatile struct nvme_cqe *cq;
    void *buffer;           /* one page for the data of the command that runs */
    uint32_t sq_tail, cq_head; /* count up for ever */
    uint16_t next_cid;
    bool is_stuck;          /* a command timed out: nothing more before a controller reset */
};

struct nvme_completion {
    uint32_t result;
    uint16_t status;        /* without the phase bit */
};

/* ---- I/O queue pair -------------------------------------------------------------------------------------------- */

#define NVME_SQ_DEPTH_MAX 128     /* SPDK's best figures are at 128 commands per drive; depth - 1 in flight */
#define NVME_CQ_DEPTH_MAX 512     /* deeper, so that the head doorbell is rung every few hundred completions */
#define NVME_LIST_BYTES 2048      /* a slot's PRP list (or range list): 256 entries, never across a page */
#define NVME_LIST_ENTRIES (NVME_LIST_BYTES / 8 - 1) /* the last is left empty: some drives take the last entry of a
                                                       page for a pointer to the next list even where the data ends */
#define NVME_TRANSFER_MAX ((NVME_LIST_ENTRIES + 1) * PAGE_SIZE) /* PRP1 and the list: 1 MiB */

/* Blocks per Dataset Management command. A range could name 2^32 - 1; this much is forgotten well within its time. */
#define NVME_DEALLOCATE_BLOCKS_MAX (UINT64_C(1) << 23)

/* A command in flight. The low byte of its cid is the slot's index, the rest counts uses of the slot: a completion
 * that comes twice, or late, cannot end another command. Bit 15 stays 0, as FFFFh is reserved (2.0). */
struct nvme_slot {
    struct nvme_request *request; /* NULL: free */
    uint64_t deadline_ns;         /* 0: submitted since the last look at the clock */
    uint32_t data_bytes;
    uint16_t cid;
    bool is_expired, is_abort_sent;
};
#define NVME_CID_INDEX 0x00ff
#define NVME_CID_USE 0x0100
#define NVME_CID_MASK 0x7fff

struct nvme_request_list {
    struct nvme_request *first, *last;
};

struct nvme_queue {
    _Atomic uint32_t lock;
    _Atomic uint32_t outstanding; /* requests submitted and not yet handed back */
    struct nvme_sqe *sq;
    volatile struct nvme_cqe *cq;
    uint32_t sq_mask, cq_mask;    /* depth - 1 */
    uint32_t sq_tail, sq_tail_rung, cq_head, cq_head_rung; /* count up for ever */
    uint32_t cq_slack;            /* completions that may go unacknowledged while the ring cannot overflow */
    unsigned cq_shift;            /* log2 of its depth: the phase is bit cq_shift of cq_head, inverted */
    uint16_t id, slot_count, free_count;
    bool is_parked;               /* recovery or stop: leave the rings alone */
    bool is_dead;                 /* requests end with -ENODEV */
    uint64_t *lists;              /* slot_count of NVME_LIST_BYTES */
    uint64_t lists_dma;
    struct nvme_request_list waiting, finished;
    volatile void *sq_doorbell, *cq_doorbell;
    volatile uint32_t *sq_shadow, *cq_shadow;                    /* NULL without shadow doorbells */
    const volatile uint32_t *sq_event_index, *cq_event_index;
    struct nvme_controller *controller;
    uint32_t polls;
    uint64_t next_look_ns;
    uint64_t commands[NVME_OPERATION_COUNT][2]; /* as in struct nvme_counters */
    uint64_t read_bytes, written_bytes, bad_completions;
    uint8_t free_slots[NVME_SQ_DEPTH_MAX];      /* a stack, so that the slot used next is in the cache */
    struct nvme_slot slots[NVME_SQ_DEPTH_MAX];
};
static_assert(NVME_SQ_DEPTH_MAX <= NVME_CID_INDEX + 1, "a slot index fits its part of the cid");

/* ---- controller ------------------------------------------------------------------------------------------------ */

enum nvme_state {
    NVME_STARTING,
    NVME_RUNNING,
    NVME_RECOVERING,
    NVME_DEAD,      /* disabled, bus mastering off */
};

struct nvme_controller {
    struct pci_device *pci;
    volatile uint8_t *regs;
    uint64_t regs_bytes;
    char name[16];
    unsigned index;
    uint32_t quirks;

    uint64_t cap;
    uint32_t version;
    uint64_t ready_timeout_ns;    /* CAP.TO */
    bool has_missed_ready;        /* it was given that long, and was not ready */
    unsigned doorbell_stride;     /* bytes */

    _Atomic int state;            /* enum nvme_state */
    _Atomic bool is_recovery_wanted, is_stop_wanted, is_task_running, has_started;
    struct event work;            /* one of the above was set */
    struct mutex admin_lock;
    struct nvme_admin_queue admin;
    void *shadow_doorbells, *event_indexes; /* one page each, NULL where not offered */

    char model[41], serial[21], firmware[9];
    uint32_t namespace_id_max, mdts_bytes;
    uint64_t shutdown_timeout_ns;
    bool is_identified, has_write_zeroes, has_deallocate, has_sgl, has_doorbell_buffer;

    unsigned queue_count, sq_depth, cq_depth;
    struct nvme_queue *queues[CORE_MAX];
    struct nvme_queue *queue_of_core[CORE_MAX];

    unsigned namespace_count;
    struct nvme_namespace namespaces[NVME_NAMESPACES_MAX];

    _Atomic uint64_t timeouts, aborts, resets, bad_admin_completions;
    uint64_t error_log_from_ns;   /* so that a bad drive does not fill the log */
    unsigned error_log_count;
};

/* ---- controller.c ---------------------------------------------------------------------------------------------- */

/* Everything from a PCI function to a running controller with its namespaces. On failure the device is left disabled
 * with bus mastering off; memory is freed by nvme_controller_free(). */
int nvme_controller_start(struct nvme_controller *c);
/* What start and recovery share: from any state of the device to created I/O queues. The caller holds admin_lock. */
int nvme_controller_bring_up(struct nvme_controller *c);
/* CC.EN = 0 and wait until CSTS.RDY says so: afterwards the device reads and writes no memory of ours. */
int nvme_controller_disable(struct nvme_controller *c);
void nvme_controller_shutdown_begin(struct nvme_controller *c);  /* CC.SHN */
void nvme_controller_shutdown_finish(struct nvme_controller *c); /* wait for CSTS.SHST, disable, bus mastering off */
void nvme_controller_free(struct nvme_controller *c);

/* ---- admin.c: the caller holds admin_lock ---------------------------------------------------------------------- */

int nvme_admin_create(struct nvme_controller *c); /* memory; -ENOMEM */
void nvme_admin_destroy(struct nvme_controller *c);
void nvme_admin_reset(struct nvme_controller *c); /* empty rings, AQA, ASQ and ACQ written; the device is disabled */
/*
 * Run one command and wait, yielding. 0; -EIO and a status in *completion (may be NULL); -ETIMEDOUT; -ENODEV;
 * -EBUSY when an earlier command is stuck. what names the command in the log; NULL: a refusal is not worth a line.
 */
int nvme_admin_run(struct nvme_controller *c, struct nvme_sqe *command, const char *what, uint64_t timeout_ns,
                   struct nvme_completion *completion);
/* Into c->admin.buffer, one page. */
int nvme_admin_identify(struct nvme_controller *c, uint8_t cns, uint32_t nsid, const char *what,
                        struct nvme_completion *completion);
int nvme_admin_queue_count(struct nvme_controller *c, unsigned wanted); /* pairs granted, 1 .. wanted */
int nvme_admin_doorbell_buffer(struct nvme_controller *c);
int nvme_admin_create_queue(struct nvme_controller *c, const struct nvme_queue *q);
int nvme_admin_abort(struct nvme_controller *c, uint16_t sq_id, uint16_t cid);
int nvme_admin_health(struct nvme_controller *c, struct nvme_health *out);

/* ---- namespace.c: the caller holds admin_lock ------------------------------------------------------------------ */

int nvme_namespaces_find(struct nvme_controller *c);
int nvme_namespaces_recheck(struct nvme_controller *c); /* after a reset: sets is_gone where one is not what it was */
/* What Identify says, checked: 0, -ENOENT (not active), -ENOTSUP and why in *reason. Fills sizes and is_read_only. */
int nvme_namespace_parse(const struct nvme_identify_namespace *id, struct nvme_namespace *out, const char **reason);

/* ---- queue.c --------------------------------------------------------------------------------------------------- */

struct nvme_queue *nvme_queue_create(struct nvme_controller *c, uint16_t id); /* memory; NULL when there is none */
void nvme_queue_destroy(struct nvme_queue *q);
void nvme_queue_reset(struct nvme_queue *q);    /* rings as after creation; nothing is in flight */
void nvme_queue_lock(struct nvme_queue *q);
void nvme_queue_unlock(struct nvme_queue *q);
unsigned nvme_queue_reap(struct nvme_queue *q); /* locked: take completions; returns how many came */
void nvme_queue_resume(struct nvme_queue *q);   /* locked: unpark, submit what waits, ring */
/* locked: the rest of the request is not sent; it finishes when nothing of it is in flight */
void nvme_request_fail(struct nvme_queue *q, struct nvme_request *request, int error, uint16_t status);
/* locked: from the beginning again, before all that wait; nothing of it is in flight */
void nvme_request_restart(struct nvme_queue *q, struct nvme_request *request);
/* locked: end requests in the waiting list that have failed */
void nvme_queue_drop_failed(struct nvme_queue *q);

/* ---- prp.c ----------------------------------------------------------------------------------------------------- */

/* True when the segments follow the rules of nvme.h and hold size_bytes in all. */
bool nvme_segments_valid(const struct dma_segment *segments, unsigned count, uint64_t size_bytes);
/*
 * Describe the next size_bytes from *cursor on as PRP1 and PRP2, using list (at list_dma, NVME_LIST_ENTRIES usable)
 * where more than two pages are touched. Moves *cursor past them. Returns the list entries used. The caller has
 * checked the segments, that they hold so much, and that size_bytes <= nvme_prp_limit(dma of the first byte).
 */
unsigned nvme_prp_encode(const struct dma_segment *segments, struct dma_cursor *cursor, uint64_t size_bytes,
                         uint64_t *list, uint64_t list_dma, uint64_t prp[2]);
/* Most bytes, in whole pages, that one command can describe when its data starts at dma. */
static inline uint64_t nvme_prp_limit(uint64_t dma)
{
    return dma & (PAGE_SIZE - 1) ? NVME_TRANSFER_MAX - PAGE_SIZE : NVME_TRANSFER_MAX;
}

/* ---- recover.c ------------------------------------------------------------------------------------------------- */

void nvme_queue_check_clock(struct nvme_queue *q); /* locked: deadlines, CSTS; asks for recovery */
void nvme_recovery_request(struct nvme_controller *c);
void nvme_recover(struct nvme_controller *c);      /* in the controller's task, which holds admin_lock */
void nvme_queues_park(struct nvme_controller *c);  /* nobody touches rings or doorbells afterwards */
/* For good: bus mastering off, every request ends with -ENODEV. The caller holds admin_lock. */
void nvme_controller_bury(struct nvme_controller *c);

/* ---- status.c, quirks.c ---------------------------------------------------------------------------------------- */

int nvme_status_errno(uint16_t status);            /* 0 for success */
/* One line for a failed command, unless the controller has had its share of lines lately. */
void nvme_log_failure(struct nvme_controller *c, const struct nvme_request *request, uint16_t status);

enum nvme_quirk {
    NVME_QUIRK_DELAY_BEFORE_READY = 1 << 0, /* hands off for 2.3 s after CC.EN = 0 */
    NVME_QUIRK_DELAY_BEFORE_START = 1 << 1, /* hands off for 2 s before the first reset */
    NVME_QUIRK_NO_NAMESPACE_LIST = 1 << 2,  /* Identify with CNS 2 does harm */
    NVME_QUIRK_NO_WRITE_ZEROES = 1 << 3,
    NVME_QUIRK_DEPTH_ONE = 1 << 4,          /* one command in flight per queue */
    NVME_QUIRK_NO_SGL = 1 << 5,
};
uint32_t nvme_quirks_of(uint16_t vendor_id, uint16_t device_id);

#endif
