/*
 * nvme/nvme_regs.h: controller registers and the structures that NVMe defines in memory.
 *
 * Source: NVM Express Base Specification, revision 1.4 (section numbers are its own); what revision 2.0 adds is marked.
 * Register offsets are from BAR0. Everything is little-endian, as x86 is.
 */
#ifndef INGOT_NVME_REGS_H
#define INGOT_NVME_REGS_H

#include <assert.h>
#include <stdint.h>

#include "kernel/kernel.h"

/* ---- PCI ------------------------------------------------------------------------------------------------------- */

#define NVME_PCI_BASE_CLASS 0x01 /* mass storage */
#define NVME_PCI_SUB_CLASS  0x08 /* non-volatile memory */
#define NVME_PCI_PROG_IF    0x02 /* NVM Express I/O controller */

/* ---- registers (3.1) ------------------------------------------------------------------------------------------- */

#define NVME_CAP          0x00         /* Controller Capabilities, 64-bit, read-only (3.1.1) */
#define   NVME_CAP_MPSMAX BITS(55, 52) /* largest host page the controller takes = 4096 << MPSMAX bytes */
#define   NVME_CAP_MPSMIN BITS(51, 48) /* smallest */
#define   NVME_CAP_CSS    BITS(44, 37) /* command sets: bit 0 NVM, bit 6 (2.0) any I/O set, bit 7 admin only */
#define   NVME_CAP_DSTRD  BITS(35, 32) /* doorbell stride = 4 << DSTRD bytes */
#define   NVME_CAP_TO     BITS(31, 24) /* longest wait for CSTS.RDY, in units of 500 ms */
#define   NVME_CAP_MQES   BITS(15, 0)  /* deepest I/O queue in entries, minus 1 */
#define     NVME_CAP_CSS_NVM BIT(0)
#define NVME_VS           0x08         /* Version: major 31:16, minor 15:8, tertiary 7:0 (3.1.2) */
#define   NVME_VS_1_1     0x00010100
#define NVME_INTMS        0x0c         /* Interrupt Mask Set (3.1.3); not for MSI-X, which is what is masked here */
#define NVME_CC           0x14         /* Controller Configuration, 32-bit (3.1.5) */
#define   NVME_CC_IOCQES  BITS(23, 20) /* I/O completion queue entry size = 1 << IOCQES bytes */
#define   NVME_CC_IOSQES  BITS(19, 16) /* I/O submission queue entry size */
#define   NVME_CC_SHN     BITS(15, 14) /* shutdown notification */
#define     NVME_CC_SHN_NORMAL 1
#define   NVME_CC_AMS     BITS(13, 11) /* arbitration: 0 round robin */
#define   NVME_CC_MPS     BITS(10, 7)  /* host page size = 4096 << MPS bytes */
#define   NVME_CC_CSS     BITS(6, 4)   /* command set: 0 NVM */
#define   NVME_CC_EN      BITS(0, 0)
#define NVME_CSTS         0x1c         /* Controller Status, 32-bit (3.1.6) */
#define   NVME_CSTS_SHST  BITS(3, 2)   /* shutdown status */
#define     NVME_CSTS_SHST_COMPLETE 2
#define   NVME_CSTS_CFS   BITS(1, 1)   /* Controller Fatal Status: only a reset helps */
#define   NVME_CSTS_RDY   BITS(0, 0)
#define NVME_AQA          0x24         /* Admin Queue Attributes (3.1.8); both sizes are in entries, minus 1 */
#define   NVME_AQA_ACQS   BITS(27, 16)
#define   NVME_AQA_ASQS   BITS(11, 0)
#define NVME_ASQ          0x28         /* Admin Submission Queue base, 64-bit, 4 KiB aligned (3.1.9) */
#define NVME_ACQ          0x30         /* Admin Completion Queue base, 64-bit, 4 KiB aligned (3.1.10) */
#define NVME_DOORBELLS    0x1000       /* SQ y tail at (2y) * stride, CQ y head at (2y + 1) * stride (3.1.24, 3.1.25) */

/* ---- submission queue entry (4.2) ------------------------------------------------------------------------------ */

struct nvme_sqe {              /* Submission Queue Entry, 64 bytes */
    uint8_t opcode, flags;     /* flags: bits 7:6 PSDT, how dptr is written; bits 1:0 fused, never used here */
    uint16_t cid;              /* command identifier, comes back in the completion */
    uint32_t nsid;             /* namespace, 0 where the command has none */
    uint32_t cdw2, cdw3;
    uint64_t metadata;
    uint64_t dptr[2];          /* PRP1 and PRP2, or one SGL descriptor */
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(struct nvme_sqe) == 64, "NVMe Base 1.4, 4.2");
static_assert(offsetof(struct nvme_sqe, dptr) == 24, "NVMe Base 1.4, 4.2");
#define NVME_SQE_SIZE_LOG2 6

#define NVME_FLAGS_SGL 0x40                  /* PSDT 01b: dptr is an SGL descriptor, metadata (none) is contiguous */
#define NVME_SGL_DATA_BLOCK UINT64_C(0)      /* descriptor type 0h, sub type 0h: an address and a length (4.4) */

/* ---- completion queue entry (4.6) ------------------------------------------------------------------------------ */

struct nvme_cqe {              /* Completion Queue Entry, 16 bytes */
    uint32_t result, reserved; /* result: meaning depends on the command */
    uint16_t sq_head, sq_id, cid; /* entries fetched so far, queue, command identifier */
    uint16_t status;           /* bit 0: phase tag; bits 15..1: all zero means success */
};
static_assert(sizeof(struct nvme_cqe) == 16, "NVMe Base 1.4, 4.6");
#define NVME_CQE_SIZE_LOG2 4

/* The status field as this driver hands it on: bits 15..1 of the entry, shifted down (4.6.1). */
#define NVME_STATUS_DNR  BITS(14, 14) /* do not retry: the same command would fail again */
#define NVME_STATUS_MORE BITS(13, 13) /* more in the error log page */
#define NVME_STATUS_SCT  BITS(10, 8)  /* status code type */
#define NVME_STATUS_SC   BITS(7, 0)   /* status code */
#define NVME_STATUS(type, code) ((uint16_t)((type) << 8 | (code)))
#define NVME_SCT_SC_MASK 0x7ff

#define NVME_SC_INVALID_OPCODE     NVME_STATUS(0, 0x01)
#define NVME_SC_INVALID_FIELD      NVME_STATUS(0, 0x02)
#define NVME_SC_ABORT_REQUESTED    NVME_STATUS(0, 0x07)
#define NVME_SC_ABORT_SQ_DELETED   NVME_STATUS(0, 0x08)
#define NVME_SC_INVALID_NAMESPACE  NVME_STATUS(0, 0x0b)
#define NVME_SC_WRITE_PROTECTED    NVME_STATUS(0, 0x20)
#define NVME_SC_LBA_RANGE          NVME_STATUS(0, 0x80)
#define NVME_SC_CAPACITY_EXCEEDED  NVME_STATUS(0, 0x81)
#define NVME_SC_READ_ONLY_RANGE    NVME_STATUS(1, 0x82)
#define NVME_SC_ABORTED_BY_HOST    NVME_STATUS(3, 0x71)

/* ---- admin commands (5) ---------------------------------------------------------------------------------------- */

#define NVME_ADMIN_CREATE_SQ        0x01
#define NVME_ADMIN_GET_LOG_PAGE     0x02
#define NVME_ADMIN_CREATE_CQ        0x05
#define NVME_ADMIN_IDENTIFY         0x06
#define NVME_ADMIN_ABORT            0x08
#define NVME_ADMIN_SET_FEATURES     0x09
#define NVME_ADMIN_DOORBELL_BUFFER  0x7c /* Doorbell Buffer Config: PRP1 shadow doorbells, PRP2 event indexes (5.7) */

#define NVME_CREATE_QUEUE_CONTIGUOUS BIT(0)  /* PC, in CDW11 of both create commands (5.3, 5.4) */
#define NVME_FEATURE_QUEUE_COUNT     0x07    /* Number of Queues (5.21.1.7) */
#define NVME_LOG_HEALTH              0x02    /* SMART / Health Information (5.14.1.2) */
#define NVME_NSID_ALL                0xffffffff

#define NVME_CNS_NAMESPACE      0x00 /* Identify: one namespace (5.15.2.1) */
#define NVME_CNS_CONTROLLER     0x01 /* Identify: the controller (5.15.2.2) */
#define NVME_CNS_NAMESPACE_LIST 0x02 /* Identify: up to 1024 active namespace ids above CDW1.NSID; 1.1 on (5.15.2.3) */
#define NVME_NAMESPACE_LIST_ENTRIES 1024

struct nvme_identify_controller {
    uint16_t vid, ssvid;
    char sn[20], mn[40], fr[8];     /* ASCII, space padded */
    uint8_t rab, ieee[3], cmic;
    uint8_t mdts;                   /* most data per command = CAP.MPSMIN page << mdts; 0: no limit */
    uint16_t cntlid;
    uint32_t ver, rtd3r, rtd3e;     /* rtd3e: expected time of a shutdown in microseconds, 0 unknown */
    uint8_t reserved_92[111 - 92];
    uint8_t cntrltype;              /* 0 not said (before 1.4), 1 I/O, 2 discovery, 3 administrative */
    uint8_t reserved_112[256 - 112];
    uint16_t oacs;                  /* optional admin commands */
    uint8_t acl;                    /* concurrent Abort commands, minus 1 */
    uint8_t reserved_259[512 - 259];
    uint8_t sqes, cqes;             /* log2 of entry sizes: bits 3:0 required, bits 7:4 largest */
    uint16_t maxcmd;
    uint32_t nn;                    /* largest namespace id */
    uint16_t oncs, fuses;           /* oncs: optional NVM commands */
    uint8_t fna, vwc;
    uint8_t reserved_526[536 - 526];
    uint32_t sgls;                  /* SGL support */
    uint8_t reserved_540[4096 - 540];
};
static_assert(sizeof(struct nvme_identify_controller) == 4096, "NVMe Base 1.4, 5.15.2.2");
static_assert(offsetof(struct nvme_identify_controller, mdts) == 77, "NVMe Base 1.4, 5.15.2.2");
static_assert(offsetof(struct nvme_identify_controller, cntrltype) == 111, "NVMe Base 1.4, 5.15.2.2");
static_assert(offsetof(struct nvme_identify_controller, oacs) == 256, "NVMe Base 1.4, 5.15.2.2");
static_assert(offsetof(struct nvme_identify_controller, nn) == 516, "NVMe Base 1.4, 5.15.2.2");
static_assert(offsetof(struct nvme_identify_controller, sgls) == 536, "NVMe Base 1.4, 5.15.2.2");
#define NVME_OACS_DOORBELL_BUFFER BIT(8)
#define NVME_ONCS_DEALLOCATE      BIT(2)
#define NVME_ONCS_WRITE_ZEROES    BIT(3)
#define NVME_SGLS_SUPPORT         BITS(1, 0) /* 1: any byte alignment, 2: dword alignment */

struct nvme_identify_namespace {
    uint64_t nsze, ncap, nuse;      /* blocks; nsze 0: the namespace is not active */
    uint8_t nsfeat, nlbaf;          /* nlbaf: formats listed, minus 1 */
    uint8_t flbas;                  /* format in use: bits 3:0, and (2.0) bits 6:5 above them; bit 4: see below */
    uint8_t mc, dpc, dps;           /* dps bits 2:0: end-to-end protection type, 0 none */
    uint8_t reserved_30[99 - 30];
    uint8_t nsattr;                 /* bit 0: write protected now */
    uint8_t reserved_100[128 - 100];
    uint32_t lbaf[64];              /* LBA formats; 16 before 2.0 */
    uint8_t reserved_384[4096 - 384];
};
static_assert(sizeof(struct nvme_identify_namespace) == 4096, "NVMe Base 1.4, 5.15.2.1");
static_assert(offsetof(struct nvme_identify_namespace, nsattr) == 99, "NVMe Base 1.4, 5.15.2.1");
static_assert(offsetof(struct nvme_identify_namespace, lbaf) == 128, "NVMe Base 1.4, 5.15.2.1");
#define NVME_FLBAS_FORMAT_LOW    BITS(3, 0)
#define NVME_FLBAS_FORMAT_HIGH   BITS(6, 5)   /* only where nlbaf says more than 16 formats (2.0) */
#define NVME_LBAF_METADATA_BYTES BITS(15, 0)
#define NVME_LBAF_SIZE_LOG2      BITS(23, 16) /* LBADS: block size = 1 << LBADS bytes */
#define NVME_NSATTR_WRITE_PROTECTED BIT(0)

struct nvme_health_log {            /* log page 02h; the 16-byte numbers are split into halves */
    uint8_t critical_warning;
    uint8_t temperature_kelvin[2];  /* little-endian, not aligned */
    uint8_t available_spare, available_spare_threshold, percentage_used, endurance_group;
    uint8_t reserved_7[32 - 7];
    uint64_t data_units_read[2], data_units_written[2], host_reads[2], host_writes[2];
    uint64_t busy_minutes[2], power_cycles[2], power_on_hours[2], unsafe_shutdowns[2];
    uint64_t media_errors[2], error_log_entries[2];
    uint8_t reserved_192[512 - 192];
};
static_assert(sizeof(struct nvme_health_log) == 512, "NVMe Base 1.4, 5.14.1.2");
static_assert(offsetof(struct nvme_health_log, media_errors) == 160, "NVMe Base 1.4, 5.14.1.2");

/* ---- NVM commands (6) ------------------------------------------------------------------------------------------ */

#define NVME_CMD_FLUSH        0x00
#define NVME_CMD_WRITE        0x01
#define NVME_CMD_READ         0x02
#define NVME_CMD_WRITE_ZEROES 0x08
#define NVME_CMD_DEALLOCATE   0x09       /* Dataset Management (6.7) with the deallocate attribute */
#define   NVME_DSM_DEALLOCATE BIT(2)     /* AD, in CDW11 */

#define NVME_COMMAND_BLOCKS_MAX 65536    /* NLB is 16 bits, minus 1 (6.9, 6.15, 6.16) */

struct nvme_dsm_range {             /* Dataset Management range (6.7) */
    uint32_t attributes, block_count;
    uint64_t lba;
};
static_assert(sizeof(struct nvme_dsm_range) == 16, "NVMe Base 1.4, 6.7");

#endif
