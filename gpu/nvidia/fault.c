/*
 * gpu/nvidia/fault.c: finds out that a channel died and why, and says it in words.
 *
 * RM writes a notification into the channel's notifier when it takes a channel down, with the number that the driver's log
 * calls Xid. For compute channels a debugger object then tells the MMU fault's address and access, or the exception of each SM.
 *
 * Sources: open-gpu-kernel-modules nverror.h (ROBUST_CHANNEL_*), ctrl83dedebug.h, hopper/gh100/dev_fault.h (NV_PFAULT_*);
 * warp exception numbers as in the nouveau driver's gf100 tables (Linux drivers/gpu/drm/nouveau/nvkm/engine/gr/gf100.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "gpu/nvidia/rm_abi.h"

#define ROBUST_CHANNEL_GR_EXCEPTION           13
#define ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT 31
#define ROBUST_CHANNEL_PBDMA_ERROR            32
#define ROBUST_CHANNEL_RESETCHANNEL_VERIF     43
#define ROBUST_CHANNEL_PREEMPTIVE_REMOVAL     45
#define ROBUST_CHANNEL_GPU_ECC_DBE            48
#define ROBUST_CHANNEL_FALLEN_OFF_THE_BUS     79
#define ROBUST_CHANNEL_CONTAINED_ERROR        94
#define ROBUST_CHANNEL_CTXSW_TIMEOUT          109

static const char *error_name(uint32_t code)
{
    switch (code) {
    case ROBUST_CHANNEL_GR_EXCEPTION:
        return "an exception in the compute engine";
    case ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT:
        return "an MMU fault";
    case ROBUST_CHANNEL_PBDMA_ERROR:
        return "a push buffer error";
    case ROBUST_CHANNEL_RESETCHANNEL_VERIF:
        return "the channel was reset";
    case ROBUST_CHANNEL_PREEMPTIVE_REMOVAL:
        return "the channel was removed";
    case ROBUST_CHANNEL_GPU_ECC_DBE:
        return "an uncorrectable memory error";
    case ROBUST_CHANNEL_FALLEN_OFF_THE_BUS:
        return "the GPU has fallen off the bus";
    case ROBUST_CHANNEL_CONTAINED_ERROR:
        return "a contained memory error";
    case ROBUST_CHANNEL_CTXSW_TIMEOUT:
        return "a context switch that timed out";
    default:
        return "an error";
    }
}

static const char *access_name(uint32_t type)
{
    static const char *const names[] = {"read", "write", "atomic", "prefetch"};
    return type < ARRAY_COUNT(names) ? names[type] : type == 4 ? "weak atomic" : "access";
}

static const char *fault_name(uint32_t type)
{
    static const char *const names[] = {
        "no page directory",    "wrong page directory size",
        "no page there",        "beyond the address limit",
        "no address space",     "privileged page",
        "page is read-only",    "fault type 7",
        "pitch mask",           "work creation",
        "unsupported aperture", "compression",
        "unsupported kind",     "region",
        "poisoned memory",      "atomic not allowed",
    };
    return type < ARRAY_COUNT(names) ? names[type] : "unknown fault type";
}

static const char *warp_exception_name(uint32_t warp_esr)
{
    static const char *const names[] = {
        [0x01] = "stack error",
        [0x02] = "API stack error",
        [0x03] = "return with an empty stack",
        [0x04] = "PC wrap",
        [0x05] = "misaligned PC",
        [0x06] = "PC overflow",
        [0x07] = "misaligned immediate constant address",
        [0x08] = "misaligned register",
        [0x09] = "illegal instruction encoding",
        [0x0a] = "illegal instruction combination",
        [0x0b] = "illegal instruction parameter",
        [0x0c] = "invalid constant address",
        [0x0d] = "register out of range",
        [0x0e] = "address out of range",
        [0x0f] = "misaligned address",
        [0x10] = "invalid address space",
        [0x11] = "illegal instruction parameter",
        [0x12] = "invalid constant address",
        [0x14] = "divergence",
        [0x15] = "warp exit",
    };
    uint32_t code = warp_esr & 0xffff;
    return code < ARRAY_COUNT(names) && names[code] ? names[code] : "warp exception";
}

/* Ask for the MMU fault, then for SM exceptions. Leaves out[0] = 0 when there is nothing to tell. */
static void read_details(struct nvidia_device *device, const struct nvidia_channel *channel,
                         char *out, size_t size)
{
    out[0] = 0;
    if (channel->debugger == 0)
        return;
    struct rm_mmu_faults mmu = {0};
    if (rm_control(&device->rm, channel->debugger, NV83DE_CTRL_CMD_DEBUG_READ_MMU_FAULT_INFO, &mmu,
                   sizeof(mmu)) == 0 &&
        mmu.count > 0) {
        snprintf(out, size, ": %s of address 0x%llx, %s", access_name(mmu.fault[0].access_type),
                 (unsigned long long)mmu.fault[0].address, fault_name(mmu.fault[0].fault_type));
        return;
    }
    struct rm_sm_errors *errors = calloc(1, sizeof(*errors));
    if (!errors)
        return;
    uint32_t sm_count = device->base.info.multiprocessors;
    for (uint32_t first = 0; first < sm_count && out[0] == 0; first += RM_SM_ERROR_STATES_MAX) {
        *errors = (struct rm_sm_errors){
            .channel = channel->handle,
            .count = (uint32_t)min_u64(sm_count - first, RM_SM_ERROR_STATES_MAX),
            .first_sm = first};
        if (rm_control(&device->rm, channel->debugger,
                       NV83DE_CTRL_CMD_DEBUG_READ_ALL_SM_ERROR_STATES, errors,
                       sizeof(*errors)) != 0) {
            log_debug("nvidia: %s", device->rm.error);
            break;
        }
        for (uint32_t i = 0; i < errors->count && out[0] == 0; i++)
            if (errors->sm[i].warp_esr != 0)
                snprintf(out, size, ": %s on SM %u at PC 0x%llx",
                         warp_exception_name(errors->sm[i].warp_esr), first + i,
                         (unsigned long long)errors->sm[i].warp_pc);
            else if (errors->sm[i].global_esr != 0)
                snprintf(out, size, ": SM %u error status 0x%x", first + i,
                         errors->sm[i].global_esr);
    }
    free(errors);
}

/* The whole group is gone: its queues with it. */
static void report(struct nvidia_device *device, struct nvidia_queue *culprit, uint32_t code)
{
    struct nvidia_group *group = culprit->channel.group;
    char details[120];
    read_details(device, &culprit->channel, details, sizeof(details));
    group->is_dead = true;
    gpu_queue_fault(&culprit->base, -EIO, "%s%s: %s%s (Xid %u)",
                    culprit->last_kernel ? "kernel " : "copy queue",
                    culprit->last_kernel ? culprit->last_kernel->name : "", error_name(code),
                    details, code);
    for (struct nvidia_queue *queue = device->queues; queue; queue = queue->next)
        if (queue != culprit && queue->channel.group == group)
            gpu_queue_fault(&queue->base, -EIO, "stopped together with another queue: %s",
                            culprit->base.fault);
}

void nvidia_look(struct nvidia_device *device)
{
    const char *broken =
        device->rm.transport->poll ? device->rm.transport->poll(device->rm.context) : NULL;
    if (broken)
        gpu_device_broken(&device->base, broken);
}

void nvidia_fault_poll(struct nvidia_device *device)
{
    mutex_lock(&device->lock);
    nvidia_look(device);
    for (struct nvidia_queue *queue = device->queues; queue; queue = queue->next) {
        uint32_t code = queue->channel.group->is_dead ? 0 : nvidia_channel_error(&queue->channel);
        if (code == 0)
            continue;
        /* RM notifies every channel of the group; the one with work in flight is the one to name. */
        struct nvidia_queue *culprit = queue;
        for (struct nvidia_queue *other = queue->next; other && nvidia_queue_is_idle(culprit);
             other = other->next)
            if (other->channel.group == queue->channel.group &&
                nvidia_channel_error(&other->channel))
                culprit = other;
        report(device, culprit, code);
    }
    mutex_unlock(&device->lock);
}
