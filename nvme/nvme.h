/*
 * nvme/nvme.h: the door to the NVMe driver. Follows NVM Express Base Specification 1.4 (and 2.0 where it differs).
 *
 * One queue pair per core: a request belongs to the core that submitted it, and completes when that core polls. Nothing
 * in here writes to a disk unless one of the write calls is made.
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
    uint64_t block_count;
    uint32_t transfer_bytes_max; /* most that one command moves (MDTS and our PRP lists) */
    bool can_write_zeroes, can_deallocate;
    bool is_read_only;    /* the namespace is write protected */
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
    uint64_t read_bytes, written_bytes, timeouts, aborts, resets;
};

/* Start every NVMe controller on PCI. A controller that fails is logged, left disabled, and skipped. Returns how many run. */
int nvme_start(void);
/* Flush nothing, write nothing: normal shutdown notification (CC.SHN), then disable. Before restart and power-off. */
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

enum nvme_operation { NVME_READ, NVME_WRITE, NVME_FLUSH, NVME_WRITE_ZEROES, NVME_DEALLOCATE };

/*
 * One request, owned by the caller and untouched by it until `done`. Any size: the driver splits it at the controller's
 * limits. Segments must be dword-aligned, and all inner boundaries page-aligned (PRP rules, Base 1.4 section 4.3); their
 * sizes must add up to block_count * block_bytes.
 */
struct nvme_request {
    enum nvme_operation operation;
    struct nvme_namespace *namespace;
    uint64_t lba, block_count;
    const struct dma_segment *segments;
    unsigned segment_count;
    uint64_t deadline_ns;     /* of the whole request; 0: the driver's default per command */

    bool done;                /* set by nvme_poll() */
    int error;                /* 0, -EIO (status says why), -ETIMEDOUT, -ENODEV, -EINVAL, -ENOSPC ... */
    uint16_t status;          /* NVMe status field of the first failing command, without the phase bit */
    uint64_t next_block, in_flight, segment_index, segment_offset; /* the driver's own */
    struct nvme_request *next;
};

/* Queue the request on the current core. 0, or -EINVAL / -ERANGE / -ENODEV / -EROFS with nothing queued. Commands reach
 * the controller as queue entries become free; the doorbell is rung once per nvme_poll() or nvme_kick(). */
int nvme_submit(struct nvme_request *request);
/* Ring the doorbells for everything queued on this core so far. */
void nvme_kick(void);
/* Take completions of the current core's queue pairs, submit what waits, check deadlines. Returns requests completed. */
int nvme_poll(void);
/* Submit and wait, yielding. Returns request->error. */
int nvme_run(struct nvme_request *request);
/* "Unrecovered Read Error (2/81h)" and the like, for people. */
const char *nvme_status_text(uint16_t status, char *out, size_t out_bytes);

#endif
