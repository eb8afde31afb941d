/*
 * gpu/nvidia/gsp/gsp.h: the GPU System Processor (GSP) of one GPU: a RISC-V core that runs NVIDIA's Resource Manager.
 *
 * gsp_start() takes a GPU from its power-on state to a Resource Manager that answers calls; gsp_stop() takes it back, so that
 * the next start, of this program or another, finds it as after power-on. Everything between the two is rpc.h.
 *
 * Reading order: hw.h (registers, BARs), vbios.h, falcon.h, fwsec.h (the first firmware, from the card's own ROM), firmware.h
 * (the files of the ESP), layout.h (VRAM), boot_abi.h and boot.c (the steps in order), booter.h or fsp.h (who starts the GSP),
 * rpc.h (messages), events.h, interrupt.h, info.h, logs.h.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_GSP_H
#define INGOT_GPU_NVIDIA_GSP_GSP_H

#include "gpu/nvidia/gsp/events.h"
#include "gpu/nvidia/gsp/firmware.h"
#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/info.h"
#include "gpu/nvidia/gsp/interrupt.h"
#include "gpu/nvidia/gsp/layout.h"
#include "gpu/nvidia/gsp/logs.h"
#include "gpu/nvidia/gsp/rpc.h"

/* Memory of ours that the GPU reads and writes: zeroed, whole pages, contiguous. */
struct gsp_memory {
    void *va;
    uint64_t dma, bytes;
};

/* The rings that the GSP's tasks log into (logs.h); the last one from GA102 on only (_kgspInitLibosLoggingStructures). */
enum gsp_log { GSP_LOG_INIT, GSP_LOG_INTR, GSP_LOG_RM, GSP_LOG_MNOC, GSP_LOG_KRNL, GSP_LOG_COUNT };
#define GSP_LOG_BYTES UINT64_C(0x10000)

struct gsp {
    struct hw hw;
    struct gsp_layout layout;
    struct rpc rpc;
    struct gsp_events events;    /* what it tells unasked; set up right after rpc_init() and the libos arguments */
    struct gsp_interrupts interrupts; /* started before the GSP, routed after the static information */
    struct gsp_log_ring log[GSP_LOG_COUNT]; /* words is NULL for one that is not there */
    struct gsp_info info;        /* what the Resource Manager told of itself and the GPU (info.h) */
    struct gsp_firmware firmware;
    bool is_running;             /* between INIT_DONE and the unload */

    /* Memory that the GSP works with, freed by gsp_stop() ... */
    struct gsp_memory libos;     /* LibosMemoryRegionInitArgument[]: its address goes into the GSP's mailboxes */
    struct gsp_memory arguments; /* struct gsp_rm_arguments: where the queues are */
    struct gsp_memory log_memory[GSP_LOG_COUNT];
    /* ... and memory that only the start needs, freed when it is over. */
    struct gsp_memory wpr_meta, radix3, program_tail, boot_loader, signature;
    struct gsp_memory fmc, fmc_arguments; /* HW_BOOT_FSP */
};

/*
 * From the PCI device to GSP_INIT_DONE and the static information. Takes 1 to 8 s, most of it waiting; yields. 0 or a negative
 * errno; then everything is freed, the device is reset and quiet (no bus mastering) and gsp->hw.error says what failed where. -ENOENT:
 * a firmware file is not on the ESP; the message names the command that puts it there. The struct need not be zeroed before.
 */
int gsp_start(struct gsp *gsp, struct pci_device *pci, const char *name);

/*
 * Unload: RM is told, the GSP halts, WPR2 goes down, bus mastering goes off, memory is freed. Never fails and takes at most
 * some seconds; a GPU that does not let go is reset through PCIe, and the log says so. No RPC may be in flight.
 */
void gsp_stop(struct gsp *gsp);

/* Put what the GSP's tasks have logged since the last call into our log, at most `lines` lines of each. */
void gsp_logs_drain(struct gsp *gsp, enum log_level level, unsigned lines);

#endif
