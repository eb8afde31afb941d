/*
 * tests/host/fake_nvme.h: an NVMe controller made of memory, for unit tests. Written from NVM Express Base 1.4, not
 * from the driver; it checks what the driver does as a strict device would, and misbehaves on demand.
 *
 * Fill in a struct fake_nvme, attach it, start the driver. Zero means a well-behaved controller without namespaces.
 * The device acts inside register writes, so a test without `holds_io` sees commands complete as soon as a doorbell
 * is rung.
 */
#ifndef INGOT_HOST_FAKE_NVME_H
#define INGOT_HOST_FAKE_NVME_H

#include "kernel/kernel.h"
#include "nvme/nvme_regs.h"

#define FAKE_NVME_NAMESPACES 4
#define FAKE_NVME_QUEUES 9
#define FAKE_NVME_HELD 512
#define FAKE_NVME_LOG 256
#define FAKE_NVME_BUCKETS 1024

enum fake_nvme_fault {
    FAULT_NONE,
    FAULT_STATUS,      /* completes with fault_status and moves no data */
    FAULT_LOST,        /* never completes, until the controller is reset */
    FAULT_STALE_PHASE, /* the completion carries the phase of the last round */
    FAULT_WRONG_CID,   /* a completion for a command that is not there comes first */
    FAULT_WRONG_QUEUE, /* a completion that names another submission queue comes first */
    FAULT_TWICE,       /* the completion comes twice */
};

struct fake_nvme_namespace {
    uint32_t nsid;           /* 0: none */
    uint64_t block_count;
    unsigned block_shift;    /* 0: 9 */
    uint16_t metadata_bytes;
    uint8_t format, nlbaf, nsattr; /* format: index of the block format in use, placed there */
    bool is_inactive;        /* in the list, but Identify answers zeros */
};

struct fake_nvme_held {
    struct nvme_sqe command;
    unsigned queue;
};

struct fake_nvme {
    /* What it is. Values in brackets stand for 0. */
    unsigned cap_to;         /* units of 500 ms */
    unsigned entries_max;    /* deepest queue [2048] */
    unsigned stride_shift;   /* CAP.DSTRD */
    unsigned mps_min;        /* CAP.MPSMIN */
    uint8_t css;             /* CAP.CSS [1] */
    uint32_t version;        /* [1.4] */
    uint16_t vendor_id, device_id;
    uint8_t mdts;            /* 0: no limit */
    uint8_t sqes, cqes;      /* [66h, 44h] */
    uint8_t cntrltype;
    uint16_t oncs;           /* [deallocate, write zeroes] */
    bool has_shadow_doorbells, has_sgl, has_no_namespace_list;
    unsigned queues_max;     /* pairs that Set Features grants [8] */
    uint32_t namespace_id_max; /* NN [FAKE_NVME_NAMESPACES] */
    struct fake_nvme_namespace namespaces[FAKE_NVME_NAMESPACES];
    unsigned ready_delay_ms;
    uint64_t bar_bytes;      /* [16 KiB] */
    const char *serial;      /* ["FAKE0001"] */

    /* How it misbehaves. May be changed while it runs. */
    bool never_ready, never_stops, never_shuts_down, is_fatal_when_enabled, is_fatal, is_gone;
    bool list_is_unsorted;
    int gone_after_io;       /* this many I/O commands, then all ones; 0: never */
    uint8_t admin_opcode;    /* which admin command admin_fault is about; FFh: any */
    enum fake_nvme_fault admin_fault;
    unsigned admin_skip;     /* so many of them pass first */
    unsigned admin_count;    /* then so many are hit; 0: all */
    enum fake_nvme_fault fault; /* for I/O commands */
    unsigned fault_skip, fault_count;
    uint16_t fault_status;
    bool holds_io;           /* commands wait for fake_nvme_release() */
    bool abort_works;        /* Abort ends a lost or held command with Command Abort Requested */
    bool abort_completes;    /* Abort finds the command just done: it ends well */
    bool is_lazy;            /* shadow doorbells: asks for no doorbell until fake_nvme_pump() */

    /* What it saw. */
    char violation[160];     /* the first thing a strict device would object to; "" */
    unsigned resets, enables, shutdowns, aborts, admin_commands, io_commands, writes, flushes;
    unsigned sq_doorbells, cq_doorbells; /* register writes, I/O queues only */
    unsigned in_flight, in_flight_peak;
    unsigned log_count;
    struct nvme_sqe log[FAKE_NVME_LOG]; /* the last I/O commands, in order of arrival */

    /* Its own. */
    struct pci_device *pci;
    uint8_t *bar;
    uint32_t cc, csts, aqa, intms;
    uint64_t asq, acq, enabled_ns;
    uint64_t shadow_dma, event_dma;
    unsigned queues_granted;
    struct fake_nvme_queue {
        bool has_cq, has_sq;
        uint64_t sq_dma, cq_dma;
        unsigned sq_entries, cq_entries, sq_head, sq_tail, cq_head, cq_tail, in_flight;
        bool phase;
    } queues[FAKE_NVME_QUEUES];
    struct fake_nvme_held held[FAKE_NVME_HELD];
    unsigned held_count;
    struct fake_nvme_held lost[FAKE_NVME_HELD];
    unsigned lost_count;
    struct fake_nvme_block *blocks[FAKE_NVME_BUCKETS]; /* by LBA */
};

/* Put it on PCI, after those attached before; free its memory and take every device off PCI. */
void fake_nvme_attach(struct fake_nvme *dev);
void fake_nvme_detach_all(void);

/* What the test's mmio_*() functions pass on. False: no fake device is there. */
bool fake_nvme_read(const volatile void *reg, unsigned bytes, uint64_t *value);
bool fake_nvme_write(volatile void *reg, unsigned bytes, uint64_t value);

void fake_nvme_release(struct fake_nvme *dev, unsigned index); /* complete the index-th held command */
void fake_nvme_pump(struct fake_nvme *dev);                    /* look at the shadow doorbells */

/* What a block holds: what was written last, else a pattern of its own. block is as large as the namespace's blocks. */
void fake_nvme_block_get(struct fake_nvme *dev, uint32_t nsid, uint64_t lba, void *block);

#endif
