/*
 * tests/model/events.c: what GSP-RM does when a channel dies: it writes the error notifiers of the channel's
 * group, sends the line for the log ("Xid"), and an RC_TRIGGERED event.
 *
 * Sources (OGKM 570.144): kernel_gsp.c (_kgspRpcRCTriggered, _kgspRpcOsErrorLog, _kgspRpcMMUFaultQueued),
 * g_rpc-structures.h, nvtypes.h (NvNotification), nverror.h (numbers), dev_fault.h (MMU fault and access types).
 */
#include <stdio.h>

#include "tests/model/gsp.h"

#define RC_BYTES        48  /* rpc_rc_triggered_v17_02 */
#define LOG_BYTES       272 /* rpc_os_error_log_v17_00 */
#define LOG_TEXT        12
#define LOG_TEXT_BYTES  256
#define NOTIFIER_STATUS 0xffff /* NvNotification.status of an error */

/* NV_PFAULT_FAULT_TYPE_..., dev_fault.h */
static uint32_t fault_type(enum mmu_fault fault)
{
    switch (fault) {
    case MMU_FAULT_PDE:
        return 0x0;
    case MMU_FAULT_PDE_SIZE:
        return 0x1;
    case MMU_FAULT_PTE:
        return 0x2;
    case MMU_FAULT_VA_LIMIT:
        return 0x3;
    case MMU_FAULT_RO_VIOLATION:
        return 0x6;
    case MMU_FAULT_APERTURE:
        return 0xa;
    case MMU_FAULT_KIND:
        return 0xc;
    case MMU_OK:
        break;
    }
    return 0x4;
}

/* {time (2 words), info32, info16, status}, status last: the CPU looks at that */
static void notifier_write(struct model *m, const struct object *channel, uint32_t reason)
{
    uint8_t notification[16] = {0};
    if (!channel->channel.has_notifier)
        return;
    PUT64(notification, 0, now_ns());
    PUT32(notification, 8, reason);
    PUT16(notification, 12, channel->channel.engine_type);
    PUT16(notification, 14, NOTIFIER_STATUS);
    if (!memory_write(m, channel->channel.notifier_aperture, channel->channel.notifier,
                      notification, sizeof(notification)))
        refuse(m, "channel 0x%x: its error notifier at 0x%llx is not there any more",
               channel->handle, (unsigned long long)channel->channel.notifier);
}

static void remember(struct rm *rm, const struct object *channel, const struct host_fault *f)
{
    if (rm->fault_channel != channel->handle)
        memset(rm->fault, 0, sizeof(rm->fault));
    rm->fault_channel = channel->handle;
    memmove(rm->fault + 1, rm->fault, sizeof(rm->fault) - sizeof(rm->fault[0]));
    rm->fault[0] = (struct fault_record){
        .is_valid = f->is_mmu,
        .gva = f->gva,
        .type = fault_type(f->mmu),
        .access = f->is_write ? 1 : 0, /* NV_PFAULT_ACCESS_TYPE_VIRT_READ, _VIRT_WRITE */
    };
}

static void rc_send(struct model *m, const struct object *channel, const struct host_fault *f)
{
    uint8_t rc[RC_BYTES] = {0};
    PUT32(rc, 0, channel->channel.engine_type);
    PUT32(rc, 4, channel->channel.id);
    PUT32(rc, 16, f->reason); /* gfid and exceptLevel stay 0 */
    PUT32(rc, 20, 1);         /* RC_NOTIFIER_SCOPE_TSG: the CPU tells all channels of the group */
    if (f->is_mmu) {
        PUT32(rc, 28, f->gva);
        PUT32(rc, 32, f->gva >> 32);
        PUT32(rc, 36, fault_type(f->mmu));
    }
    trace(m, "rpc: event RC_TRIGGERED, channel %u, reason %u", channel->channel.id, f->reason);
    queue_send(m, EVENT_RC_TRIGGERED, NV_OK, 0, rc, sizeof(rc));
}

void host_fault_event(struct model *m, const struct host_fault *f)
{
    struct rm *rm = m->rm;
    struct object *channel = NULL;
    for (struct object *o = rm->objects; o != NULL; o = o->next)
        if (o->kind == KIND_CHANNEL && o->channel.id == f->channel_id &&
            o->channel.runlist == f->runlist)
            channel = o;
    if (channel == NULL || rm->state != RM_RUNNING) {
        trace(m, "rm: fault of channel %u, runlist %u, which is nobody's", f->channel_id,
              f->runlist);
        return;
    }
    remember(rm, channel, f);
    rm_log(m, 0x2, f->channel_id, f->reason);

    uint8_t log[LOG_BYTES] = {0};
    PUT32(log, 0, f->reason);
    PUT32(log, 4, f->runlist);
    PUT32(log, 8, f->channel_id);
    snprintf((char *)log + LOG_TEXT, LOG_TEXT_BYTES, "channel 0x%08x, %s", f->channel_id, f->text);
    trace(m, "rpc: event OS_ERROR_LOG, Xid %u: %s", f->reason, (const char *)log + LOG_TEXT);
    if (f->is_mmu)
        queue_send(m, EVENT_MMU_FAULT_QUEUED, NV_OK, 0, NULL, 0);
    queue_send(m, EVENT_OS_ERROR_LOG, NV_OK, 0, log, sizeof(log));

    for (struct object *o = rm->objects; o != NULL; o = o->next) {
        if (o->kind != KIND_CHANNEL || o->channel.group != channel->channel.group)
            continue;
        o->channel.is_dead = true;
        notifier_write(m, o, f->reason);
    }
    rc_send(m, channel, f);
}
