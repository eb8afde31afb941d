/*
 * nvme/nvme.h: the door to the NVMe driver. Follows NVM Express Base Specification 1.4 (and 2.0 where it differs).
 *
 * One queue pair per core: a request belongs to the core that submitted it, and completes when that core polls. Where a
 * controller grants fewer queue pairs than there are cores, core c uses pair c modulo their number; then another core
 * that polls the same pair may be the one that completes the request. Nothing in here writes to a disk unless a request
 * with one of the writing operations is submitted.
 *
 * What goes wrong, and what the caller sees:
 * - The controller refuses a command: -EIO (or closer) with its status; the driver repeats nothing, the drive already
 *   has.
 * - A command runs past its deadline: it is aborted; if that does not end it, the controller is reset. Only then does
 *   the request end with -ETIMEDOUT, so that no data can land in its memory afterwards. Reads that the reset cut
 *   short are started over, once; other commands it cut short end with -EIO (3/71h): whether they took effect is not
 *   known.
 * - The controller vanishes, or cannot be reset: bus mastering off, everything ends with -ENODEV.
 */
#ifndef INGOT_NVME_H
#define INGOT_NVME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nvme_controller;

struct nvme_namespace {
    char name[24];        /* "nvme0n1" */
    struct nvme_controller *controller;
    uint32_t nsid;
    uint32_t block_bytes; /* 512 or 4096 (any power of two from 512 to 4096) */
    unsigned block_shift; /* log2 of it */
    uint64_t block_count;
    uint32_t transfer_bytes_max; /* most that one command moves (MDTS and our PRP lists) */
    bool can_write_zeroes, can_deallocate;
    bool is_read_only;    /* the namespace is write protected */
    bool is_gone;         /* after a reset it was no longer the namespace it was; every request ends with -ENODEV */
};

struct nvme_controller_info {
    char name[16], model[41], serial[21], firmware[9]; /* trimmed, printable */
    uint16_t vendor_id;
    char pci_name[16];
    unsigned queue_count, queue_depth, namespace_count;
    bool is_alive;
};

/* SMART / Health Information (log page 02h, Base 1.4 section 5.14.1.2). */
struct nvme_health {
    uint8_t critical_warning, available_spare_percent, available_spare_threshold_percent, percentage_used;
    double temperature_celsius;
    uint64_t data_units_read, data_units_written; /* thousands of 512-byte units */
    uint64_t host_reads, host_writes, power_cycles, power_on_hours, unsafe_shutdowns, media_errors;
};

/* Totals for the metrics page. */
struct nvme_counters {
    uint64_t commands[256][2]; /* by I/O opcode; [0] success, [1] error status */
    uint64_t read_bytes, written_bytes; /* of commands that succeeded */
    uint64_t timeouts, aborts, resets;
    uint64_t bad_completions; /* completion entries that named no command in flight */
};

/*
 * Start every NVMe controller on PCI, all at the same time, in tasks on the current core; returns when each runs or has
 * failed, which takes no longer than the slowest CAP.TO. A controller that fails is logged, left disabled with bus
 * mastering off, and skipped; the others keep the names that their places on the bus give them. Returns how many run.
 */
int nvme_start(void);
/*
 * Flush nothing, write nothing: normal shutdown notification (CC.SHN), then disable. Before restart and power-off.
 * Requests that are not done end with -ENODEV. Yields; afterwards nvme_start() may be called again.
 */
void nvme_stop(void);

struct nvme_controller *nvme_controller_get(unsigned index); /* NULL past the end */
void nvme_controller_info(struct nvme_controller *controller, struct nvme_controller_info *out);
int nvme_controller_health(struct nvme_controller *controller, struct nvme_health *out);
void nvme_controller_counters(struct nvme_controller *controller, struct nvme_counters *out);
struct nvme_namespace *nvme_namespace_get(unsigned index);   /* over all controllers; NULL past the end */

/* A run of memory as a PCI device sees it. */
struct dma_segment {
    uint64_t dma;
    uint64_t size_bytes;
};

/* A place in an array of segments. */
struct dma_cursor {
    unsigned index;       /* of the segment */
    uint64_t offset;      /* bytes into it */
};

enum nvme_operation { NVME_READ, NVME_WRITE, NVME_FLUSH, NVME_WRITE_ZEROES, NVME_DEALLOCATE, NVME_OPERATION_COUNT };

/*
 * One request, owned by the caller and untouched by it until `done`. Any size: the driver splits it at the
 * controller's limits. Segments must be dword-aligned, and all inner boundaries page-aligned (PRP rules, Base 1.4
 * section 4.3); their sizes must add up to block_count * block_bytes. Only reads and writes have segments; a flush
 * has no blocks either.
 *
 * A deadline covers the whole request, waiting for a queue entry included. Without one, each command gets the driver's
 * own time: 10 s for reads and writes, 60 s for the others. Deadlines are looked at every so many polls, so a late one
 * is noticed some milliseconds late.
 */
struct nvme_request {
    enum nvme_operation operation;
    struct nvme_namespace *namespace;
    uint64_t lba, block_count;
    const struct dma_segment *segments;
    unsigned segment_count;
    uint64_t deadline_ns;     /* 0: the driver's default per command */
    void (*on_done)(struct nvme_request *request); /* may be NULL; called by nvme_poll(), may submit, must not yield */

    bool done;                /* set by nvme_poll() */
    int error;                /* 0, -EIO (status says why), -ETIMEDOUT, -ENODEV, -EROFS, -ERANGE, -ENOSPC */
    uint16_t status;          /* NVMe status field of the first failing command, without the phase bit; 0: none */

    /* The driver's own. */
    uint64_t next_lba, blocks_left;
    struct dma_cursor cursor;
    uint32_t in_flight;
    bool is_waiting, is_retry;
    struct nvme_request *next;
};

/*
 * Queue the request on the current core. 0, or with nothing queued: -EINVAL (segments, alignment), -ERANGE (past the
 * end), -ENODEV (the controller or namespace is gone), -EROFS, -ENOTSUP. Never blocks: commands reach the controller as
 * queue entries become free; the doorbell is rung by nvme_kick(), and by nvme_poll() at the latest when it finds no
 * completions.
 */
int nvme_submit(struct nvme_request *request);
/* Ring the doorbells for everything queued on this core so far. */
void nvme_kick(void);
/* Take completions of this core's queue pairs, submit what waits, check deadlines. Returns requests completed. */
int nvme_poll(void);
/* Submit and wait, yielding. Returns request->error. */
int nvme_run(struct nvme_request *request);
/* "Unrecovered Read Error (2/81h)" and the like, for people. Returns out. */
const char *nvme_status_text(uint16_t status, char *out, size_t out_bytes);

#endif
