/*
 * gpu/nvidia/gsp/gsp.h: the GPU System Processor (GSP) of one GPU: a RISC-V core that runs NVIDIA's Resource Manager.
 *
 * gsp_start() takes a GPU from its power-on state to a Resource Manager that answers calls; gsp_stop() takes it back, so that
 * the next start, of this program or another, finds it as after power-on. Everything between the two is rpc.h.
 *
 * Reading order: hw.h (registers, BARs), vbios.h, falcon.h, fwsec.h (the first firmware, from the card's own ROM), firmware.h
 * (the files of the ESP), booter.h or fsp.h (who starts the GSP), boot.c (the steps in order), rpc.h (messages), info.h.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_GSP_H
#define INGOT_GPU_NVIDIA_GSP_GSP_H

#include "gpu/nvidia/gsp/events.h"
#include "gpu/nvidia/gsp/firmware.h"
#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/info.h"
#include "gpu/nvidia/gsp/interrupt.h"
#include "gpu/nvidia/gsp/rpc.h"

/* A stretch of VRAM, by its offset from VRAM's start. */
struct gsp_region {
    uint64_t offset, bytes;
};

/*
 * Who has which part of VRAM, from its end down (kgspCalculateFbLayout_TU102 draws it). Where the FSP starts the GSP its
 * own firmware chooses the offsets: only the sizes that were asked for are known before the static information has come.
 */
struct gsp_layout {
    uint64_t vram_bytes;
    struct gsp_region vga;          /* the VBIOS's workspace, with whatever it has locked below it */
    struct gsp_region frts;         /* Firmware Runtime Security region: FWSEC's or the FSP's, inside WPR2 */
    struct gsp_region boot;         /* the GSP's boot loader */
    struct gsp_region elf;          /* its program */
    struct gsp_region heap;         /* its memory */
    struct gsp_region wpr2;         /* Write Protected Region 2: from its descriptor to the end of frts */
    struct gsp_region non_wpr_heap; /* what the Resource Manager uses outside WPR2, right below it */
    uint64_t usable_end;            /* VRAM [0, usable_end) is nobody's: see also info's list of regions */
};

/* Memory of ours that the GPU reads and writes: zeroed, whole pages, contiguous. */
struct gsp_memory {
    void *va;
    uint64_t dma, bytes;
};

/* Rings of 64-bit words that the GSP's tasks log into: word 0 counts the words put so far (libos_init_args.h). */
enum gsp_log { GSP_LOG_INIT, GSP_LOG_INTR, GSP_LOG_RM, GSP_LOG_COUNT };
#define GSP_LOG_BYTES UINT64_C(0x10000)

struct gsp {
    struct hw hw;
    struct gsp_layout layout;
    struct rpc rpc;
    struct gsp_events events;    /* what it tells unasked; set up right after rpc_init() and the libos arguments */
    struct gsp_interrupts interrupts; /* started before the GSP, routed after the static information */
    struct gsp_info info;        /* what the Resource Manager told of itself and the GPU (info.h) */
    struct gsp_firmware firmware;
    bool is_running;             /* between INIT_DONE and the unload */

    /* Memory of the bring-up; freed by gsp_stop(). */
    struct gsp_memory wpr_meta;  /* GspFwWprMeta, one page */
    struct gsp_memory libos;     /* LibosMemoryRegionInitArgument[], one page; its address goes into the GSP's mailboxes */
    struct gsp_memory arguments; /* GSP_ARGUMENTS_CACHED, one page: where the queues are */
    struct gsp_memory log[GSP_LOG_COUNT];
    struct gsp_memory radix3;    /* page tables of the program's pages, three levels */
    struct gsp_memory program;   /* only when the file does not lie page-aligned already */
    struct gsp_memory boot;      /* boot loader */
    struct gsp_memory signature;
    struct gsp_memory fmc, fmc_arguments; /* HW_BOOT_FSP: the FSP's part */
};

/*
 * From the PCI device to GSP_INIT_DONE and the static information. Takes 1 to 8 s, most of it waiting; yields. 0 or a negative
 * errno; then everything is freed, the device is quiet (no bus mastering) and gsp->hw.error says what failed where. -ENOENT:
 * a firmware file is not on the ESP; the message names the command that puts it there. The struct need not be zeroed before.
 */
int gsp_start(struct gsp *gsp, struct pci_device *pci, const char *name);

/*
 * Unload: RM is told, the GSP halts, WPR2 goes down, bus mastering goes off, memory is freed. Never fails and takes at most
 * some seconds; a GPU that does not let go is reset through PCIe, and the log says so. No RPC may be in flight.
 */
void gsp_stop(struct gsp *gsp);

/* The GSP's mailboxes take this address whenever it is (re)started: the CPU sequencer's resume needs it too. */
static inline uint64_t gsp_libos_dma(const struct gsp *gsp)
{
    return gsp->libos.dma;
}

#endif
