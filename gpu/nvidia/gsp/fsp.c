/*
 * gpu/nvidia/gsp/fsp.c: messages to the Foundation Security Processor, and the chain of trust that starts the GSP.
 *
 * Source: open-gpu-kernel-modules 570.144: kern_fsp.c, kern_fsp_gh100.c (kfspSendPacket, kfspReadPacket,
 * kfspPrepareBootCommands, kfspWaitForGspTargetMaskReleased), kernel_gsp_gh100.c (_kgspLockdownReleasedOrFmcError);
 * versions and sizes by chip: g_kern_fsp_nvoc.c.
 *
 * A message is one packet: ours fit. Both queues have one packet at a time, at the start of the mailbox memory.
 */
#include "gpu/nvidia/gsp/fsp.h"

#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/boot_abi.h"
#include "gpu/nvidia/gsp/falcon.h"
#include "gpu/nvidia/gsp/regs/falcon.h"
#include "gpu/nvidia/gsp/regs/fsp.h"

#define REPLY_TIMEOUT_NS (4 * NS_PER_S) /* the driver's default (GPU_TIMEOUT_DEFAULT) */
#define BOOT_TIMEOUT_NS \
    (10 * NS_PER_S) /* the FMC copies and checks 64 MB; nouveau waits 4 s, nova 30 s */

#define CHANNEL FSP_EMEM_CHANNEL_RM

/* Where its own boot stands, for the error message. */
static const char *fsp_state(struct hw *hw, char text[64])
{
    snprintf(text, 64, "FSP scratch %#x %#x %#x %#x",
             hw_read32(hw, NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2(0)),
             hw_read32(hw, NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2(1)),
             hw_read32(hw, NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2(2)),
             hw_read32(hw, NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2(3)));
    return text;
}

/* Words that the mailbox memory's pointer has moved since it was set to 0. */
static uint32_t emem_words(struct hw *hw)
{
    uint32_t at = hw_read32(hw, NV_PFSP_EMEMC(CHANNEL));
    return (uint32_t)(field_get(NV_PFSP_EMEMC_BLK, at) * 64 + field_get(NV_PFSP_EMEMC_OFFS, at));
}

static int fsp_send(struct hw *hw, const uint32_t *words, uint32_t count)
{
    char state[64];
    uint64_t deadline_ns = time_ns() + REPLY_TIMEOUT_NS;
    for (;;) {
        bool is_late = time_ns() >= deadline_ns;
        uint32_t head = hw_read32(hw, NV_PFSP_QUEUE_HEAD(CHANNEL));
        uint32_t tail = hw_read32(hw, NV_PFSP_QUEUE_TAIL(CHANNEL));
        if (head == tail && head != UINT32_MAX)
            break;
        if (head == UINT32_MAX && hw_is_gone(hw))
            return hw_fail(hw, -ENODEV, "FSP: the GPU has left the bus");
        if (is_late)
            return hw_fail(
                hw, -EBUSY,
                "FSP: it has not taken the message before (queue head %#x, tail %#x; %s)", head,
                tail, fsp_state(hw, state));
        task_yield();
    }
    hw_write32(hw, NV_PFSP_EMEMC(CHANNEL), NV_PFSP_EMEMC_AINCW);
    for (uint32_t i = 0; i < count; i++)
        hw_write32(hw, NV_PFSP_EMEMD(CHANNEL), words[i]);
    if (emem_words(hw) != count)
        return hw_fail(hw, -EIO, "FSP: the mailbox memory took %u of %u words", emem_words(hw),
                       count);
    hw_write32(hw, NV_PFSP_QUEUE_TAIL(CHANNEL), (count - 1) * 4);
    hw_write32(hw, NV_PFSP_QUEUE_HEAD(CHANNEL), 0); /* last: it interrupts the FSP */
    return 0;
}

static int fsp_receive(struct hw *hw, uint32_t *words, uint32_t words_max, uint32_t *count)
{
    char state[64];
    uint64_t deadline_ns = time_ns() + REPLY_TIMEOUT_NS;
    uint32_t head, tail;
    for (;;) {
        bool is_late = time_ns() >= deadline_ns;
        head = hw_read32(hw, NV_PFSP_MSGQ_HEAD(CHANNEL));
        tail = hw_read32(hw, NV_PFSP_MSGQ_TAIL(CHANNEL));
        if (head != tail)
            break;
        if (head == UINT32_MAX && hw_is_gone(hw))
            return hw_fail(hw, -ENODEV, "FSP: the GPU has left the bus");
        if (is_late)
            return hw_fail(hw, -ETIMEDOUT, "FSP: no answer within %llu ms (%s)",
                           (unsigned long long)(REPLY_TIMEOUT_NS / NS_PER_MS),
                           fsp_state(hw, state));
        task_yield();
    }
    /* The tail is the last word's offset, not that behind it. */
    uint32_t bytes = tail - head + 4;
    *count = bytes / 4;
    if (head > tail || bytes % 4 != 0 || *count > words_max) {
        hw_write32(hw, NV_PFSP_MSGQ_TAIL(CHANNEL), head);
        hw_write32(hw, NV_PFSP_MSGQ_HEAD(CHANNEL), head);
        return hw_fail(hw, -EPROTO, "FSP: an answer that cannot be (queue head %#x, tail %#x)",
                       head, tail);
    }
    hw_write32(hw, NV_PFSP_EMEMC(CHANNEL), NV_PFSP_EMEMC_AINCR);
    for (uint32_t i = 0; i < *count; i++)
        words[i] = hw_read32(hw, NV_PFSP_EMEMD(CHANNEL));
    hw_write32(hw, NV_PFSP_MSGQ_TAIL(CHANNEL), head); /* taken */
    hw_write32(hw, NV_PFSP_MSGQ_HEAD(CHANNEL), head);
    return 0;
}

int fsp_message(struct hw *hw, uint8_t nvdm_type, const void *payload, uint32_t payload_bytes)
{
    static_assert(FSP_EMEM_CHANNEL_RM_SIZE % 4 == 0, "the packet is an array of words");
    uint32_t packet[FSP_EMEM_CHANNEL_RM_SIZE / 4] = {0}, count = 0;
    assert(payload_bytes <= sizeof(packet) - 8);
    packet[0] = (uint32_t)(MCTP_HEADER_SOM | MCTP_HEADER_EOM); /* endpoint 0, sequence 0 */
    packet[1] = (uint32_t)(field_put(MCTP_MSG_HEADER_TYPE, MCTP_MSG_HEADER_TYPE_VENDOR_PCI) |
                           field_put(MCTP_MSG_HEADER_VENDOR_ID, MCTP_MSG_HEADER_VENDOR_ID_NV) |
                           field_put(MCTP_MSG_HEADER_NVDM_TYPE, nvdm_type));
    memcpy(&packet[2], payload, payload_bytes);
    int error = fsp_send(hw, packet, (uint32_t)align_up(8 + payload_bytes, 4) / 4);
    if (error == 0)
        error = fsp_receive(hw, packet, ARRAY_COUNT(packet), &count);
    if (error < 0)
        return error;

    struct fsp_response response;
    if (count < 2 + sizeof(response) / 4 || (packet[0] & MCTP_HEADER_SOM) == 0 ||
        (packet[0] & MCTP_HEADER_EOM) == 0 ||
        field_get(MCTP_MSG_HEADER_TYPE, packet[1]) != MCTP_MSG_HEADER_TYPE_VENDOR_PCI ||
        field_get(MCTP_MSG_HEADER_VENDOR_ID, packet[1]) != MCTP_MSG_HEADER_VENDOR_ID_NV ||
        field_get(MCTP_MSG_HEADER_NVDM_TYPE, packet[1]) != NVDM_TYPE_FSP_RESPONSE)
        return hw_fail(hw, -EPROTO, "FSP: not an answer: %u words, headers %#x %#x", count,
                       packet[0], packet[1]);
    memcpy(&response, &packet[2], sizeof(response));
    if (response.command != nvdm_type)
        return hw_fail(hw, -EPROTO, "FSP: an answer to command %#x, asked was %#x",
                       response.command, nvdm_type);
    if (response.error != 0)
        return hw_fail(hw, -EIO, "FSP: command %#x failed with error %#x (task %#x)", nvdm_type,
                       response.error, response.task);
    return 0;
}

/* Closed registers read as 0xbadf41xx; anything else, and not 0, says that they are open. */
static bool is_open(uint32_t value)
{
    return value != 0 && (value & 0xffffff00) != 0xbadf4100;
}

static int wait_started(struct hw *hw, uint64_t params_dma)
{
    char state[64];
    uint64_t deadline_ns = time_ns() + BOOT_TIMEOUT_NS;
    for (;;) {
        bool is_late = time_ns() >= deadline_ns;
        uint32_t hwcfg2 = hw_read32(hw, NV_PGSP_BASE + NV_PFALCON_FALCON_HWCFG2);
        uint32_t mailbox[2] = {0, 0};
        if (hwcfg2 == UINT32_MAX && hw_is_gone(hw))
            return hw_fail(hw, -ENODEV, "FMC: the GPU has left the bus");
        if (is_open(hwcfg2)) {
            /* The mailboxes may be trusted now. As long as they hold the arguments' address the FMC has not begun. */
            falcon_mailbox_read(hw, &falcon_gsp, mailbox);
            bool is_waiting = mailbox[0] == (uint32_t)params_dma &&
                              mailbox[1] == (uint32_t)(params_dma >> 32) && params_dma != 0;
            if (mailbox[0] != 0 && !is_waiting && is_open(mailbox[0]))
                return hw_fail(hw, -EIO, "FMC: it failed with code %#x (GSP mailboxes %#x %#x; %s)",
                               mailbox[0], mailbox[0], mailbox[1], fsp_state(hw, state));
            if (mailbox[0] == 0 && (hwcfg2 & NV_PFALCON_FALCON_HWCFG2_RISCV_BR_PRIV_LOCKDOWN) == 0)
                return 0;
        }
        if (is_late)
            return hw_fail(
                hw, -ETIMEDOUT,
                "FMC: the GSP's registers are not open after %llu ms (HWCFG2 %#x, mailboxes %#x "
                "%#x; %s)",
                (unsigned long long)(BOOT_TIMEOUT_NS / NS_PER_MS), hwcfg2, mailbox[0], mailbox[1],
                fsp_state(hw, state));
        task_yield();
    }
}

int fsp_boot(struct hw *hw, const struct gsp_fmc *fmc, const struct gsp_layout *layout,
             uint64_t fmc_dma, uint64_t params_dma)
{
    bool is_hopper = hw->chip->sm < 100;
    uint64_t key_bytes = is_hopper ? 384 : 97, signature_bytes = is_hopper ? 384 : 96;
    if (fmc->public_key.bytes != key_bytes || fmc->signature.bytes != signature_bytes)
        return hw_fail(hw, -EINVAL,
                       "FMC: key of %llu and signature of %llu bytes, this chip takes "
                       "%llu and %llu",
                       (unsigned long long)fmc->public_key.bytes,
                       (unsigned long long)fmc->signature.bytes, (unsigned long long)key_bytes,
                       (unsigned long long)signature_bytes);
    struct fsp_cot cot = {
        .version = is_hopper ? 1 : 2,
        .bytes = sizeof(cot),
        .fmc_bus = fmc_dma,
        .frts_vram_end_distance = layout->frts_end_distance,
        .frts_vram_bytes = (uint32_t)layout->frts.bytes,
        .boot_params_bus = params_dma,
    };
    memcpy(cot.hash, fmc->hash.data, sizeof(cot.hash));
    memcpy(cot.public_key, fmc->public_key.data, key_bytes);
    memcpy(cot.signature, fmc->signature.data, signature_bytes);
    int error = fsp_message(hw, NVDM_TYPE_COT, &cot, sizeof(cot));
    if (error < 0)
        return error;
    hw_step(hw, "FSP has accepted the chain of trust");
    return wait_started(hw, params_dma);
}
