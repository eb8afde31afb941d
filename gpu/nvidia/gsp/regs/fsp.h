/*
 * gpu/nvidia/gsp/regs/fsp.h: the Foundation Security Processor (Hopper on): its mailbox memory and message queues, channel 0,
 * which belongs to the driver. Offsets are from BAR0.
 * Sources: open-gpu-kernel-modules 570.144: src/common/inc/swref/published/hopper/gh100/dev_fsp_pri.h, dev_fsp_addendum.h;
 * fsp_emem_channels.h, fsp_mctp_format.h, fsp_nvdm_format.h, nvdm_payload_cmd_response.h (src/nvidia/arch/nvalloc/common/inc/fsp).
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_FSP_H
#define INGOT_GPU_NVIDIA_GSP_REGS_FSP_H

#define NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2(i) (0x008f0320 + (i) * 4) /* 4 of them: where its boot stands */
#define NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_3(i) (0x008f0330 + (i) * 4)
#define   NV_GFW_FSP_UCODE_VERSION_MAJOR BITS(11, 8)   /* of GROUP_3(1) */
#define   NV_GFW_FSP_UCODE_VERSION_MINOR BITS(7, 0)

#define NV_PFSP_EMEMC(i)      (0x008f2ac0 + (i) * 8) /* where in the mailbox memory EMEMD reads and writes */
#define   NV_PFSP_EMEMC_OFFS  BITS(7, 2)
#define   NV_PFSP_EMEMC_BLK   BITS(15, 8)
#define   NV_PFSP_EMEMC_AINCW BIT(24)                /* writing moves on */
#define   NV_PFSP_EMEMC_AINCR BIT(25)                /* reading moves on */
#define NV_PFSP_EMEMD(i)      (0x008f2ac4 + (i) * 8)
#define NV_PFSP_QUEUE_HEAD(i) (0x008f2c00 + (i) * 8) /* to the FSP; writing it interrupts the FSP */
#define NV_PFSP_QUEUE_TAIL(i) (0x008f2c04 + (i) * 8) /* last word of the packet; equal to the head: taken */
#define NV_PFSP_MSGQ_HEAD(i)  (0x008f2c80 + (i) * 8) /* from the FSP; equal to the tail: nothing there */
#define NV_PFSP_MSGQ_TAIL(i)  (0x008f2c84 + (i) * 8)

#define FSP_EMEM_CHANNEL_RM      0
#define FSP_EMEM_CHANNEL_RM_SIZE 1024 /* bytes, from offset 0 */

/* First word of a packet (Management Component Transport Protocol), second word of a message (NVIDIA Data Model). */
#define MCTP_HEADER_SEID           BITS(23, 16)
#define MCTP_HEADER_SEQ            BITS(29, 28)
#define MCTP_HEADER_EOM            BIT(30)      /* last packet of the message */
#define MCTP_HEADER_SOM            BIT(31)      /* first packet */
#define MCTP_MSG_HEADER_TYPE       BITS(6, 0)
#define   MCTP_MSG_HEADER_TYPE_VENDOR_PCI 0x7e
#define MCTP_MSG_HEADER_VENDOR_ID  BITS(23, 8)
#define   MCTP_MSG_HEADER_VENDOR_ID_NV    0x10de
#define MCTP_MSG_HEADER_NVDM_TYPE  BITS(31, 24)
#define   NVDM_TYPE_COT            0x14         /* chain of trust: boot this */
#define   NVDM_TYPE_FSP_RESPONSE   0x15

#endif
