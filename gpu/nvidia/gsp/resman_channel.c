/*
 * gpu/nvidia/gsp/resman_channel.c: channel groups and channels, as far as the CPU's side of RM makes them, and their deaths.
 *
 * The GSP schedules channels; where they keep their state in VRAM and which number they have is our choice and goes along
 * as parameters (open-gpu-kernel-modules 570.144, kernel_channel.c, _kchannelSendChannelAllocRpc): instance block, RAMFC at
 * its start, USERD (the client's), one method buffer for each group, the error notifier. Turing numbers channels over the
 * whole GPU, later chips in each runlist (kernel_fifo.c); ours differ all the same. The doorbell's token is the number and
 * the runlist (kernel_fifo_ga100.c, kernel_fifo_gb202.c).
 *
 * When a channel dies the GSP writes the notifier itself and sends RC_TRIGGERED; where it has not written, we do, as
 * krcErrorSetNotifier does.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/resman.h"

#define FIRST_CHANNEL_ID 1 /* 0 would look like nothing in a register dump */

/* ---- groups ------------------------------------------------------------------------------------------------------ */

uint32_t resman_group_alloc(struct resman *resman, uint32_t parent, uint32_t handle,
                            const struct rm_group_params *params)
{
    if (!resman_engine_find(resman, params->engine_type))
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "this GPU has no engine 0x%02x",
                           params->engine_type);
    struct resman_group *group = calloc(1, sizeof(*group));
    if (!group)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no memory for an object");
    group->engine_type = params->engine_type;
    uint32_t status =
        resman_buffer_alloc(resman, resman->method_bytes, MMU_PAGE_4K, 0, true, &group->methods);
    if (status != NV_OK)
        goto free_group;
    struct rm_group_params sent = *params;
    status = resman_rpc_alloc(resman, RESMAN_CLIENT, parent, handle, KEPLER_CHANNEL_GROUP_A, &sent,
                              sizeof(sent));
    if (status != NV_OK)
        goto free_methods;
    resman_add(resman, &group->base, RESMAN_GROUP, handle, parent, KEPLER_CHANNEL_GROUP_A);
    return NV_OK;

free_methods:
    resman_buffer_free(resman, &group->methods);
free_group:
    free(group);
    return status;
}

void resman_group_free(struct resman *resman, struct resman_group *group)
{
    resman_context_free(resman, &group->context);
    resman_buffer_free(resman, &group->methods);
    resman_remove(resman, &group->base);
    free(group);
}

/* ---- channels ---------------------------------------------------------------------------------------------------- */

static bool take_id(struct resman *resman, uint32_t *id)
{
    for (*id = FIRST_CHANNEL_ID; *id < RESMAN_CHANNEL_ID_MAX; ++*id) {
        uint64_t *word = &resman->channel_ids[*id / 64];
        if (!(*word & BIT(*id % 64))) {
            *word |= BIT(*id % 64);
            return true;
        }
    }
    return false;
}

static void give_id(struct resman *resman, uint32_t id)
{
    resman->channel_ids[id / 64] &= ~BIT(id % 64);
}

static struct rm_memory_desc vram_desc(uint64_t base, uint64_t size_bytes)
{
    return (struct rm_memory_desc){.base = base,
                                   .size = size_bytes,
                                   .address_space = ADDR_FBMEM,
                                   .cache_attribute = NV_MEMORY_UNCACHED};
}

/* The client's USERD, and its notifier when it gave one. */
static uint32_t describe_memory(struct resman *resman, struct rm_channel_params *params,
                                struct resman_channel *channel)
{
    const struct resman_memory *userd =
        (struct resman_memory *)resman_find(resman, params->userd_memory[0], RESMAN_MEMORY);
    if (!userd || !userd->is_vram || !userd->is_visible ||
        params->userd_offset[0] % RM_USERD_BYTES != 0 ||
        params->userd_offset[0] > userd->size_bytes - RM_USERD_BYTES)
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "USERD is not in a piece of VRAM");
    params->userd = vram_desc(userd->extents[0].offset + params->userd_offset[0], RM_USERD_BYTES);

    uint64_t notifier_type = ERROR_NOTIFIER_TYPE_NONE;
    if (params->error_notifier != 0) {
        const struct resman_memory *notifier =
            (struct resman_memory *)resman_find(resman, params->error_notifier, RESMAN_MEMORY);
        if (!notifier || notifier->is_vram ||
            notifier->size_bytes < RM_NOTIFICATION_COUNT * sizeof(struct rm_notification))
            return resman_fail(resman, NV_ERR_INVALID_ARGUMENT,
                               "the error notifier is not in host memory");
        channel->notifier = notifier->cpu;
        params->error_notifier_memory =
            (struct rm_memory_desc){.base = dma_addr(notifier->cpu),
                                    .size = notifier->size_bytes,
                                    .address_space = ADDR_SYSMEM,
                                    .cache_attribute = NV_MEMORY_CACHED};
        notifier_type = ERROR_NOTIFIER_TYPE_MEMORY;
    }
    params->internal_flags =
        (uint32_t)(field_put(NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_PRIVILEGE,
                             NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_PRIVILEGE_USER) |
                   field_put(NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_ERROR_NOTIFIER_TYPE,
                             notifier_type) |
                   field_put(NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_ECC_ERROR_NOTIFIER_TYPE,
                             ERROR_NOTIFIER_TYPE_NONE));
    return NV_OK;
}

uint32_t resman_channel_alloc(struct resman *resman, uint32_t client, uint32_t parent,
                              uint32_t handle, uint32_t class_id,
                              const struct rm_channel_params *params)
{
    const struct resman_group *group =
        (struct resman_group *)resman_find(resman, parent, RESMAN_GROUP);
    if (!group)
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "a channel outside of a group");
    const struct resman_engine *engine = resman_engine_find(resman, group->engine_type);
    struct resman_channel *channel = calloc(1, sizeof(*channel));
    if (!channel)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no memory for an object");
    channel->group = parent;
    channel->engine_type = group->engine_type;
    channel->runlist = engine->runlist;

    struct rm_channel_params sent = *params;
    sent.object_buffer = 0;
    sent.engine_type = group->engine_type;
    uint32_t status = describe_memory(resman, &sent, channel);
    if (status != NV_OK)
        goto free_channel;
    status = resman_buffer_alloc(resman, RM_INSTANCE_BYTES, RM_INSTANCE_BYTES, 0, true,
                                 &channel->instance);
    if (status != NV_OK)
        goto free_channel;
    if (!take_id(resman, &channel->id)) {
        status = resman_fail(resman, NV_ERR_INSUFFICIENT_RESOURCES, "no channel is left");
        goto free_instance;
    }
    sent.instance = vram_desc(channel->instance.offset, RM_INSTANCE_BYTES);
    sent.ramfc = vram_desc(channel->instance.offset, RM_RAMFC_BYTES);
    sent.method_buffer = vram_desc(group->methods.offset, group->methods.size_bytes);
    sent.flags |= (uint32_t)(NVOS04_FLAGS_CHANNEL_USERD_INDEX_PAGE_FIXED |
                             field_put(NVOS04_FLAGS_CHANNEL_USERD_INDEX_VALUE,
                                       channel->id % CHANNELS_PER_USERD_PAGE) |
                             field_put(NVOS04_FLAGS_CHANNEL_USERD_INDEX_PAGE_VALUE,
                                       channel->id / CHANNELS_PER_USERD_PAGE));
    status = resman_rpc_alloc(resman, client, parent, handle, class_id, &sent, sizeof(sent));
    if (status != NV_OK)
        goto free_id;
    resman_add(resman, &channel->base, RESMAN_CHANNEL, handle, parent, class_id);
    uint64_t saved = spin_lock(&resman->channel_lock);
    channel->next_channel = resman->channels;
    resman->channels = channel;
    spin_unlock(&resman->channel_lock, saved);
    return NV_OK;

free_id:
    give_id(resman, channel->id);
free_instance:
    resman_buffer_free(resman, &channel->instance);
free_channel:
    free(channel);
    return status;
}

void resman_channel_free(struct resman *resman, struct resman_channel *channel)
{
    uint64_t saved = spin_lock(&resman->channel_lock);
    struct resman_channel **link = &resman->channels;
    while (*link != channel)
        link = &(*link)->next_channel;
    *link = channel->next_channel;
    spin_unlock(&resman->channel_lock, saved);
    give_id(resman, channel->id);
    resman_buffer_free(resman, &channel->instance);
    resman_remove(resman, &channel->base);
    free(channel);
}

uint32_t resman_channel_token(struct resman *resman, const struct resman_channel *channel)
{
    uint64_t token = field_put(NV_DOORBELL_RUNLIST_ID, channel->runlist) |
                     field_put(NV_DOORBELL_VECTOR, channel->id);
    if (resman->gsp.hw.chip->sm >= 120)
        token |= NV_DOORBELL_RUNLIST_DOORBELL;
    return (uint32_t)token;
}

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

/* With channel_lock. Status last: it is what fault.c looks at. */
static void notify(struct resman_channel *channel, uint32_t code)
{
    volatile struct rm_notification *notification = channel->notifier;
    if (!notification || notification->status != 0)
        return;
    uint64_t now_ns = time_ns();
    notification->time_ns[0] = (uint32_t)now_ns;
    notification->time_ns[1] = (uint32_t)(now_ns >> 32);
    notification->info32 = code;
    notification->info16 = 0;
    atomic_thread_fence(memory_order_release);
    notification->status = 0xffff; /* krcErrorWriteNotifier */
}

void resman_channel_error(void *arg, const struct gsp_channel_error *error)
{
    struct resman *resman = arg;
    const struct resman_engine *engine = resman_engine_find(resman, error->engine_type);
    bool is_known = false;
    uint64_t saved = spin_lock(&resman->channel_lock);
    uint32_t group = 0;
    for (struct resman_channel *channel = resman->channels; channel;
         channel = channel->next_channel)
        if (engine && channel->runlist == engine->runlist && channel->id == error->channel_id) {
            notify(channel, error->xid);
            group = channel->group;
            is_known = true;
        }
    for (struct resman_channel *channel = resman->channels; channel;
         channel = channel->next_channel)
        if (error->scope != 0 && group != 0 && channel->group == group)
            notify(channel, error->xid);
    if (error->fault_address != 0 || error->fault_type != 0) {
        resman->mmu_fault.is_valid = true;
        resman->mmu_fault.address = error->fault_address;
        resman->mmu_fault.type = error->fault_type;
    }
    spin_unlock(&resman->channel_lock, saved);
    if (!is_known)
        log_warn("%s: error %u of channel %u, engine 0x%02x, which is none of ours",
                 resman->gsp.hw.name, error->xid, error->channel_id, error->engine_type);
    event_signal(&resman->completion);
}

void resman_channels_lost(struct resman *resman)
{
    uint64_t saved = spin_lock(&resman->channel_lock);
    for (struct resman_channel *channel = resman->channels; channel;
         channel = channel->next_channel)
        notify(channel, ROBUST_CHANNEL_FALLEN_OFF_BUS);
    spin_unlock(&resman->channel_lock, saved);
}
