/*
 * tests/model/channels.c: GSP-RM's channel groups, context shares, channels and engine objects, their context buffers,
 * scheduling and tokens. What passes the checks goes to the host engine (host.c).
 *
 * The CPU's side of RM chooses a channel's number and all its memory and passes them in the parameters; the GSP fills
 * in the instance block. A graphics context belongs to a channel group, or to a channel without one. The first
 * compute object needs all the global buffers, too: RM records the golden context image with it.
 *
 * Sources (OGKM 570.144): alloc/alloc_channel.h, nvos.h (parameters), kernel_channel.c (_kchannelSendChannelAllocRpc,
 * kchannelConstruct, kchannelCtrlCmd...), g_kernel_channel_nvoc.h (internal flags), kernel_channel_group_api.c,
 * kernel_ctxshare.c, kernel_graphics_context.c, ctrl2080gpu.h (promoted buffers), tinygrad's nv/ip.py for what
 * suffices.
 */
#include "tests/model/gsp.h"

/* NV_CHANNEL_ALLOC_PARAMS */
#define CHANNEL_GPFIFO         8
#define CHANNEL_ENTRIES        16
#define CHANNEL_FLAGS          20
#define CHANNEL_SHARE          24
#define CHANNEL_VASPACE        28
#define CHANNEL_ENGINE         128
#define CHANNEL_INSTANCE       144
#define CHANNEL_USERD          168
#define CHANNEL_RAMFC          192
#define CHANNEL_METHODS        216
#define CHANNEL_GROUP          240
#define CHANNEL_INTERNAL_FLAGS 244
#define CHANNEL_NOTIFIER       248
/* NV_MEMORY_DESC_PARAMS */
#define DESC_BASE              0
#define DESC_SIZE              8
#define DESC_SPACE             16
#define ADDR_SYSMEM            1
#define ADDR_FBMEM             2
/* NVOS04_FLAGS_... */
#define FLAGS_TYPE             UINT32_C(0x3)       /* 1:0, must be physical (0) */
#define FLAGS_DELAY            (UINT32_C(1) << 6)  /* DELAY_CHANNEL_SCHEDULING */
#define FLAGS_INDEX_FIXED      (UINT32_C(1) << 11) /* CHANNEL_USERD_INDEX_FIXED */
#define FLAGS_PAGE_FIXED       (UINT32_C(1) << 21) /* CHANNEL_USERD_INDEX_PAGE_FIXED */
#define NOTIFIER_MEMORY        3 /* ERROR_NOTIFIER_TYPE_MEMORY, internal flags 3:2 */

#define INSTANCE_BYTES         4096
#define RAMFC_BYTES            512
#define USERD_BYTES            512
#define SUBCONTEXTS_MAX        64

enum { MAIN = 0, PATCH = 2 };

struct object *context_owner(struct object *channel)
{
    return channel->parent->kind == KIND_GROUP ? channel->parent : channel;
}

static struct object *vaspace_of_client(struct model *m, struct object *object, uint32_t handle)
{
    struct object *vaspace = object_find(m, object->client->handle, handle);
    if (vaspace != NULL && vaspace->kind == KIND_VASPACE &&
        object_ancestor(vaspace, KIND_DEVICE) == object_ancestor(object, KIND_DEVICE))
        return vaspace;
    refuse(m, "%s 0x%x: 0x%x is no address space of its device", kind_name(object->kind),
           object->handle, handle);
    return NULL;
}

/* ---- groups and context shares ----------------------------------------------------------------------------------- */

/*
 * NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS: hObjectError, hObjectEccError, hVASpace, engineType,
 * bIsCallingContextVgpuPlugin
 */
uint32_t group_alloc(struct model *m, struct object *group, uint8_t *params)
{
    uint32_t engine = GET32(params, 12);
    if (GET32(params, 8) != 0) {
        group->group.vaspace = vaspace_of_client(m, group, GET32(params, 8));
        if (group->group.vaspace == NULL)
            return NV_ERR_INVALID_OBJECT_HANDLE;
    }
    if (engine_find(m, engine) == NULL) {
        refuse(m, "channel group 0x%x: engine type 0x%x, %s has no such engine", group->handle,
               engine, m->chip->name);
        return NV_ERR_INVALID_ARGUMENT;
    }
    group->group.engine_type = engine;
    group->group.id = ++m->rm->group_ids;
    return NV_OK;
}

/* NV_CTXSHARE_ALLOCATION_PARAMETERS: hVASpace, flags, subctxId (out) */
uint32_t share_alloc(struct model *m, struct object *share, uint8_t *params)
{
    uint32_t flags = GET32(params, 4);
    struct object *group = share->parent;
    share->share.vaspace = vaspace_of_client(m, share, GET32(params, 0));
    if (share->share.vaspace == NULL)
        return NV_ERR_INVALID_OBJECT_HANDLE;
    if (flags > 1) { /* SUBCONTEXT_SYNC, SUBCONTEXT_ASYNC */
        refuse(m, "context share 0x%x: flags 0x%x", share->handle, flags);
        return NV_ERR_INVALID_FLAGS;
    }
    if (group->group.subcontexts == SUBCONTEXTS_MAX)
        return NV_ERR_INSUFFICIENT_RESOURCES;
    PUT32(params, 8, group->group.subcontexts++);
    return NV_OK;
}

/* ---- channels ---------------------------------------------------------------------------------------------------- */

struct piece {
    const char *name;
    unsigned offset;
    uint64_t bytes, alignment;
};

/* A piece of memory in the parameters: where it is, at least as great as it must be, and not GSP-RM's own. */
static bool piece_get(struct model *m, const struct object *channel, const uint8_t *params,
                      const struct piece *piece, enum aperture *aperture, uint64_t *address)
{
    const uint8_t *desc = params + piece->offset;
    uint64_t base = GET64(desc, DESC_BASE), size = GET64(desc, DESC_SIZE);
    uint32_t space = GET32(desc, DESC_SPACE);
    uint8_t byte;
    if (space != ADDR_FBMEM && space != ADDR_SYSMEM) {
        refuse(m, "channel 0x%x: %s is in address space %u; wanted system memory (1) or VRAM (2)",
               channel->handle, piece->name, space);
        return false;
    }
    if (size < piece->bytes || base % piece->alignment != 0) {
        refuse(m, "channel 0x%x: %s: 0x%llx bytes at 0x%llx; wanted 0x%llx, aligned to 0x%llx",
               channel->handle, piece->name, (unsigned long long)size, (unsigned long long)base,
               (unsigned long long)piece->bytes, (unsigned long long)piece->alignment);
        return false;
    }
    *aperture = space == ADDR_FBMEM ? APERTURE_VRAM : APERTURE_SYSTEM;
    *address = base;
    if (*aperture == APERTURE_VRAM ? layout_is_usable(&m->rm->layout, base, piece->bytes)
                                   : bus_read(m, base + piece->bytes - 1, &byte, 1))
        return true;
    refuse(m, "channel 0x%x: %s at 0x%llx: %s", channel->handle, piece->name,
           (unsigned long long)base,
           *aperture == APERTURE_VRAM ? "not the driver's VRAM" : "no memory there");
    return false;
}

static uint32_t address_space_check(struct model *m, struct object *channel, const uint8_t *params)
{
    uint32_t share = GET32(params, CHANNEL_SHARE), vaspace = GET32(params, CHANNEL_VASPACE);
    struct object *group = channel->parent->kind == KIND_GROUP ? channel->parent : NULL;
    if (share != 0 && vaspace != 0) {
        refuse(m, "channel 0x%x: a context share and an address space", channel->handle);
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (group == NULL && share != 0) {
        refuse(m, "channel 0x%x: a context share outside of a channel group", channel->handle);
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (group != NULL && vaspace != 0) {
        refuse(m, "channel 0x%x: an address space of its own in a channel group", channel->handle);
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (share != 0) {
        struct object *o = object_find(m, channel->client->handle, share);
        if (o == NULL || o->kind != KIND_SHARE || o->parent != group) {
            refuse(m, "channel 0x%x: 0x%x is no context share of its group", channel->handle,
                   share);
            return o == NULL ? NV_ERR_OBJECT_NOT_FOUND : NV_ERR_INVALID_OBJECT_PARENT;
        }
        channel->channel.share = o;
        channel->channel.vaspace = o->share.vaspace;
    } else if (vaspace != 0) {
        channel->channel.vaspace = vaspace_of_client(m, channel, vaspace);
    } else {
        channel->channel.vaspace = group == NULL ? NULL : group->group.vaspace;
        if (channel->channel.vaspace == NULL)
            refuse(m, "channel 0x%x: no address space; GSP-RM has no default one", channel->handle);
    }
    if (channel->channel.vaspace == NULL)
        return NV_ERR_INVALID_OBJECT;
    for (struct object *o = m->rm->objects; group != NULL && o != NULL; o = o->next)
        if (o->kind == KIND_CHANNEL && o != channel && o->parent == group &&
            (o->channel.share != NULL) != (share != 0)) {
            refuse(m, "channel 0x%x: some channels of the group have a context share, some not",
                   channel->handle);
            return NV_ERR_INVALID_ARGUMENT;
        }
    return NV_OK;
}

static uint32_t number_check(struct model *m, struct object *channel, const uint8_t *params)
{
    uint32_t flags = GET32(params, CHANNEL_FLAGS);
    if ((flags & FLAGS_TYPE) != 0 || (flags & FLAGS_INDEX_FIXED) != 0 ||
        !(flags & FLAGS_PAGE_FIXED)) {
        refuse(m,
               "channel 0x%x: flags 0x%x; the CPU chooses the number and says it by "
               "USERD_INDEX_PAGE_FIXED with page and index",
               channel->handle, flags);
        return NV_ERR_INVALID_ARGUMENT;
    }
    channel->channel.id = (flags >> 12 & 0x1ff) * 8 + (flags >> 8 & 7);
    if (channel->channel.id >= chip_info(m)->channels_max) {
        refuse(m, "channel 0x%x: number %u of %u", channel->handle, channel->channel.id,
               chip_info(m)->channels_max);
        return NV_ERR_NO_FREE_FIFOS;
    }
    for (struct object *o = m->rm->objects; o != NULL; o = o->next)
        if (o->kind == KIND_CHANNEL && o != channel && o->channel.id == channel->channel.id) {
            refuse(m, "channel 0x%x: number %u is channel 0x%x's", channel->handle,
                   channel->channel.id, o->handle);
            return NV_ERR_NO_FREE_FIFOS;
        }
    return NV_OK;
}

static uint32_t engine_check(struct model *m, struct object *channel, const uint8_t *params)
{
    uint32_t type = GET32(params, CHANNEL_ENGINE);
    struct object *group = channel->parent->kind == KIND_GROUP ? channel->parent : NULL;
    if (group != NULL && type == 0)
        type = group->group.engine_type;
    const struct engine *engine = engine_find(m, type);
    if (engine == NULL || (group != NULL && type != group->group.engine_type)) {
        refuse(m, "channel 0x%x: engine type 0x%x, %s", channel->handle, type,
               engine == NULL ? "there is no such engine" : "its group has another one");
        return NV_ERR_INVALID_ARGUMENT;
    }
    channel->channel.engine_type = type;
    channel->channel.runlist = engine->runlist;
    channel->channel.group = group != NULL ? group->group.id : ++m->rm->group_ids;
    return NV_OK;
}

/* Where RM writes that the channel died, when the driver has given it such a place. */
static uint32_t notifier_check(struct model *m, struct object *channel, const uint8_t *params)
{
    uint32_t type = GET32(params, CHANNEL_INTERNAL_FLAGS) >> 2 & 3;
    static const struct piece notifier = {"error notifier", CHANNEL_NOTIFIER, 16, 8};
    if ((GET32(params, CHANNEL_INTERNAL_FLAGS) & 3) == 3) {
        refuse(m, "channel 0x%x: privilege level 3", channel->handle);
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (GET32(params, 0) == 0 || type != NOTIFIER_MEMORY)
        return NV_OK;
    if (!piece_get(m, channel, params, &notifier, &channel->channel.notifier_aperture,
                   &channel->channel.notifier))
        return NV_ERR_INVALID_ADDRESS;
    channel->channel.notifier_bytes = GET64(params, CHANNEL_NOTIFIER + DESC_SIZE);
    channel->channel.has_notifier = true;
    return NV_OK;
}

uint32_t channel_alloc(struct model *m, struct object *channel, uint8_t *params)
{
    uint32_t status = engine_check(m, channel, params);
    if (status == NV_OK)
        status = number_check(m, channel, params);
    if (status == NV_OK)
        status = address_space_check(m, channel, params);
    if (status == NV_OK)
        status = notifier_check(m, channel, params);
    if (status != NV_OK)
        return status;
    const struct engine *engine = engine_find(m, channel->channel.engine_type);
    struct host_channel host = {
        .client = channel->client->handle,
        .handle = channel->handle,
        .channel_id = channel->channel.id,
        .runlist = engine->runlist,
        .engine = engine->kind,
        .engine_index = engine->index,
        .channel_class = channel->class_id,
        .gpfifo_gva = GET64(params, CHANNEL_GPFIFO),
        .gpfifo_entries = GET32(params, CHANNEL_ENTRIES),
        .page_directory_aperture = channel->channel.vaspace->vaspace.aperture,
        .page_directory = channel->channel.vaspace->vaspace.directory,
        .group = channel->channel.group,
        .interrupt_vector = engine->notify_vector,
    };
    const struct piece instance = {"instance block", CHANNEL_INSTANCE, INSTANCE_BYTES, 4096},
                       ramfc = {"RAMFC", CHANNEL_RAMFC, RAMFC_BYTES, 512},
                       userd = {"USERD", CHANNEL_USERD, USERD_BYTES, 512},
                       methods = {"fault method buffer", CHANNEL_METHODS,
                                  chip_info(m)->fault_method_buffer_bytes, 4096};
    enum aperture aperture;
    uint64_t address;
    if (!piece_get(m, channel, params, &instance, &host.instance_aperture, &host.instance) ||
        !piece_get(m, channel, params, &ramfc, &aperture, &address) ||
        !piece_get(m, channel, params, &userd, &host.userd_aperture, &host.userd))
        return NV_ERR_INVALID_ADDRESS;
    if (aperture != host.instance_aperture || address != host.instance) {
        refuse(m, "channel 0x%x: RAMFC at 0x%llx is not the instance block's begin",
               channel->handle, (unsigned long long)address);
        return NV_ERR_INVALID_ADDRESS;
    }
    if (!piece_get(m, channel, params, &methods, &aperture, &address))
        return NV_ERR_INVALID_ADDRESS;
    channel->channel.instance = host.instance;
    for (struct object *o = m->rm->objects; o != NULL; o = o->next)
        if (o->kind == KIND_CHANNEL && o != channel && o->channel.instance == host.instance) {
            refuse(m, "channel 0x%x: the instance block at 0x%llx is channel 0x%x's",
                   channel->handle, (unsigned long long)host.instance, o->handle);
            return NV_ERR_IN_USE;
        }
    if (fault(m, "rm.channel", NULL))
        return NV_ERR_INSUFFICIENT_RESOURCES;
    if (host_channel_add(m, &host) != 0)
        return NV_ERR_INVALID_ARGUMENT;
    struct object *group = channel->parent->kind == KIND_GROUP ? channel->parent : NULL;
    if (group != NULL && group->group.is_scheduled &&
        !(GET32(params, CHANNEL_FLAGS) & FLAGS_DELAY)) {
        channel->channel.is_scheduled = true;
        host_channel_schedule(m, host.runlist, host.channel_id, true);
    }
    return NV_OK;
}

void channel_gone(struct model *m, struct object *channel)
{
    host_channel_remove(m, channel->channel.runlist, channel->channel.id);
}

/* ---- address spaces ---------------------------------------------------------------------------------------------- */

void vaspace_changed(struct model *m, struct object *vaspace)
{
    for (struct object *o = m->rm->objects; o != NULL; o = o->next)
        if (o->kind == KIND_CHANNEL && o->channel.vaspace == vaspace)
            host_channel_set_page_directory(m, o->channel.runlist, o->channel.id,
                                            vaspace->vaspace.aperture, vaspace->vaspace.directory);
}

bool vaspace_is_used(struct model *m, const struct object *vaspace)
{
    for (struct object *o = m->rm->objects; o != NULL; o = o->next)
        if (o->kind == KIND_CHANNEL && o->channel.vaspace == vaspace)
            return true;
    return false;
}

/* ---- context buffers --------------------------------------------------------------------------------------------- */

static bool buffer_is_mapped(struct model *m, const struct object *channel, unsigned id,
                             const struct promoted *buffer)
{
    const struct object *vaspace = channel->channel.vaspace;
    for (uint64_t done = 0; done < buffer->bytes;) {
        struct translation t;
        enum mmu_fault why = mmu_translate(m, vaspace->vaspace.aperture, vaspace->vaspace.directory,
                                           buffer->gva + done, true, &t);
        if (why != MMU_OK || t.bytes == 0) {
            refuse(m,
                   "promoted buffer %u: 0x%llx of its address space leads nowhere (MMU fault %d)",
                   id, (unsigned long long)(buffer->gva + done), (int)why);
            return false;
        }
        if (buffer->has_physical &&
            (t.aperture != buffer->aperture || t.address != buffer->address + done)) {
            refuse(m, "promoted buffer %u: 0x%llx leads to 0x%llx, the buffer is at 0x%llx", id,
                   (unsigned long long)(buffer->gva + done), (unsigned long long)t.address,
                   (unsigned long long)(buffer->address + done));
            return false;
        }
        done += t.bytes;
    }
    return true;
}

/* RM clears a buffer that it is to initialise: who still keeps something else there loses it. */
static bool buffer_clear(struct model *m, const struct promoted *buffer)
{
    static const uint8_t zeros[65536];
    for (uint64_t done = 0; done < buffer->bytes; done += sizeof(zeros)) {
        size_t n = buffer->bytes - done < sizeof(zeros) ? buffer->bytes - done : sizeof(zeros);
        if (!memory_write(m, buffer->aperture, buffer->address + done, zeros, n))
            return false;
    }
    return true;
}

/*
 * NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ENTRY: gpuPhysAddr, gpuVirtAddr, size, physAttr, bufferId, bInitialize,
 * bNonmapped
 */
static uint32_t entry_promote(struct model *m, struct object *channel, const uint8_t *entry)
{
    unsigned id = GET16(entry, 28);
    uint64_t physical = GET64(entry, 0), gva = GET64(entry, 8), size = GET64(entry, 16);
    uint32_t attributes = GET32(entry, 24);
    bool initialize = GET8(entry, 30) != 0, non_mapped = GET8(entry, 31) != 0;
    uint64_t needed = context_buffer_bytes(m, id);
    if (id >= CONTEXT_BUFFERS) {
        refuse(m, "GPU_PROMOTE_CTX: buffer %u", id);
        return NV_ERR_INVALID_ARGUMENT;
    }
    struct promoted *buffer = &context_owner(channel)->buffer[id];
    if ((physical == 0 && gva == 0) || (non_mapped && gva != 0)) {
        refuse(m, "GPU_PROMOTE_CTX: buffer %u: at 0x%llx, mapped at 0x%llx, bNonmapped %d", id,
               (unsigned long long)physical, (unsigned long long)gva, non_mapped);
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (physical != 0) {
        uint8_t byte;
        struct promoted made = {.has_physical = true,
                                .aperture = (attributes & 3) == 0 ? APERTURE_VRAM : APERTURE_SYSTEM,
                                .address = physical,
                                .bytes = size};
        if (!initialize || (attributes & 3) == 3 || (attributes & ~UINT32_C(0xf)) != 0 ||
            physical % PAGE != 0 || size < needed) {
            refuse(m,
                   "GPU_PROMOTE_CTX: buffer %u: 0x%llx bytes at 0x%llx, attributes 0x%x, "
                   "bInitialize %d; it needs 0x%llx bytes, on a page",
                   id, (unsigned long long)size, (unsigned long long)physical, attributes,
                   initialize, (unsigned long long)needed);
            return NV_ERR_INVALID_ARGUMENT;
        }
        if (made.aperture == APERTURE_VRAM ? !layout_is_usable(&m->rm->layout, physical, size)
                                           : !bus_read(m, physical + size - 1, &byte, 1)) {
            refuse(m, "GPU_PROMOTE_CTX: buffer %u: 0x%llx to 0x%llx is not the driver's memory", id,
                   (unsigned long long)physical, (unsigned long long)(physical + size));
            return NV_ERR_INVALID_ADDRESS;
        }
        if (!buffer_clear(m, &made))
            return NV_ERR_INVALID_ADDRESS;
        *buffer = made;
    }
    if (gva != 0) {
        struct promoted made = *buffer;
        made.has_virtual = true;
        made.gva = gva;
        if (!made.has_physical)
            made.bytes = needed;
        if (gva % PAGE != 0 || !channel->channel.vaspace->vaspace.has_directory) {
            refuse(m, "GPU_PROMOTE_CTX: buffer %u at 0x%llx: %s", id, (unsigned long long)gva,
                   gva % PAGE != 0 ? "not on a page" : "the address space has no page directory");
            return NV_ERR_INVALID_ADDRESS;
        }
        if (!buffer_is_mapped(m, channel, id, &made))
            return NV_ERR_INVALID_ADDRESS;
        *buffer = made;
    }
    return NV_OK;
}

/*
 * NV2080_CTRL_GPU_PROMOTE_CTX_PARAMS: engineType, hClient, ChID, hChanClient, hObject, ..., entryCount (40), entries
 * (48)
 */
uint32_t channel_promote(struct model *m, uint8_t *params)
{
    uint32_t count = GET32(params, 40);
    struct object *object = object_find(m, GET32(params, 12), GET32(params, 16)), *channel = object;
    if (object != NULL && object->kind == KIND_GROUP)
        for (struct object *o = m->rm->objects; o != NULL; o = o->next)
            if (o->kind == KIND_CHANNEL && o->parent == object)
                channel = o;
    if (channel == NULL || channel->kind != KIND_CHANNEL) {
        refuse(m, "GPU_PROMOTE_CTX: client 0x%x has no channel 0x%x", GET32(params, 12),
               GET32(params, 16));
        return NV_ERR_INVALID_CHANNEL;
    }
    if (count == 0 || count > 16 || GET32(params, 0) != channel->channel.engine_type ||
        channel->channel.engine_type != 1) {
        refuse(m, "GPU_PROMOTE_CTX: %u buffers for engine type 0x%x, the channel's is 0x%x", count,
               GET32(params, 0), channel->channel.engine_type);
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (fault(m, "rm.promote", NULL))
        return NV_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t status = entry_promote(m, channel, params + 48 + i * 32);
        if (status != NV_OK)
            return status;
    }
    return NV_OK;
}

/* ---- engine objects ---------------------------------------------------------------------------------------------- */

static uint32_t golden_check(struct model *m, struct object *channel)
{
    /* MAIN, PATCH, BUFFER_BUNDLE_CB, PAGEPOOL, ATTRIBUTE_CB, RTV_CB_GLOBAL, FECS_EVENT and both access maps */
    static const uint8_t ids[] = {0, 2, 3, 4, 5, 6, 9, 10, 11};
    const struct promoted *buffer = context_owner(channel)->buffer;
    if (m->rm->has_golden_context)
        return NV_OK;
    for (unsigned i = 0; i < sizeof(ids); i++)
        if (!buffer[ids[i]].has_physical && !buffer[ids[i]].has_virtual) {
            refuse(m,
                   "compute object on channel 0x%x: the first one records the golden context, "
                   "but buffer %u was not promoted",
                   channel->handle, ids[i]);
            return NV_ERR_INVALID_STATE;
        }
    m->rm->has_golden_context = true;
    note(m, "the golden context is recorded");
    return NV_OK;
}

/* NVB0B5_ALLOCATION_PARAMETERS: version (1: an engine type follows, 0: a number), engineType */
static uint32_t copy_check(struct model *m, struct object *object, const uint8_t *params)
{
    uint32_t version = GET32(params, 0), type = GET32(params, 4);
    if (version == 0)
        type += 0x09;
    const struct engine *engine = engine_find(m, type);
    if (version > 1 || engine == NULL || engine->kind != ENGINE_COPY ||
        engine->runlist != object->parent->channel.runlist) {
        refuse(m, "copy object 0x%x: version %u, engine 0x%x: no copy engine of runlist %u",
               object->handle, version, GET32(params, 4), object->parent->channel.runlist);
        return NV_ERR_INVALID_ARGUMENT;
    }
    return NV_OK;
}

uint32_t engine_object_alloc(struct model *m, struct object *object, uint8_t *params)
{
    struct object *channel = object->parent;
    uint32_t status = NV_OK;
    if (object->kind == KIND_COMPUTE) {
        if (channel->channel.engine_type != 1) {
            refuse(m, "compute object 0x%x: channel 0x%x is a copy engine's", object->handle,
                   channel->handle);
            return NV_ERR_INVALID_CLASS;
        }
        if (fault(m, "rm.compute-object", NULL))
            return NV_ERR_NO_MEMORY;
        status = golden_check(m, channel);
        channel->channel.has_compute = status == NV_OK;
    } else if (params != NULL) {
        status = copy_check(m, object, params);
    }
    if (status != NV_OK)
        return status;
    if (!host_channel_object(m, channel->channel.runlist, channel->channel.id, object->class_id)) {
        refuse(m, "%s 0x%x: class 0x%04x does not go with channel 0x%x", kind_name(object->kind),
               object->handle, object->class_id, channel->handle);
        return NV_ERR_INVALID_CLASS;
    }
    return NV_OK;
}

/* ---- scheduling -------------------------------------------------------------------------------------------------- */

static uint32_t schedule_check(struct model *m, struct object *channel)
{
    const struct promoted *buffer = context_owner(channel)->buffer;
    if (!channel->channel.vaspace->vaspace.has_directory) {
        refuse(m, "channel 0x%x is to run, but its address space has no page directory",
               channel->handle);
        return NV_ERR_INVALID_STATE;
    }
    if (channel->channel.has_compute)
        for (unsigned id = MAIN; id <= PATCH; id += PATCH - MAIN)
            if (!buffer[id].has_physical || !buffer[id].has_virtual) {
                refuse(m,
                       "channel 0x%x is to run, but context buffer %u was not promoted with both "
                       "its addresses",
                       channel->handle, id);
                return NV_ERR_INVALID_STATE;
            }
    if (channel->parent->kind != KIND_GROUP && !channel->channel.is_bound) {
        refuse(m, "channel 0x%x is to run, but it was not bound to its engine", channel->handle);
        return NV_ERR_INVALID_STATE;
    }
    if (channel->channel.is_dead) {
        refuse(m, "channel 0x%x is to run, but an error took it down", channel->handle);
        return NV_ERR_INVALID_STATE;
    }
    return NV_OK;
}

uint32_t channel_schedule(struct model *m, struct object *which, bool on)
{
    if (fault(m, "rm.schedule", NULL))
        return NV_ERR_INVALID_STATE;
    for (struct object *o = m->rm->objects; on && o != NULL; o = o->next) {
        if (o->kind != KIND_CHANNEL || (o != which && o->parent != which))
            continue;
        uint32_t status = schedule_check(m, o);
        if (status != NV_OK)
            return status;
    }
    for (struct object *o = m->rm->objects; o != NULL; o = o->next)
        if (o->kind == KIND_CHANNEL && (o == which || o->parent == which) &&
            o->channel.is_scheduled != on) {
            o->channel.is_scheduled = on;
            host_channel_schedule(m, o->channel.runlist, o->channel.id, on);
        }
    if (which->kind == KIND_GROUP)
        which->group.is_scheduled = on;
    return NV_OK;
}

uint32_t channel_bind(struct model *m, struct object *channel, uint32_t engine_type)
{
    if (channel->parent->kind == KIND_GROUP || engine_type != channel->channel.engine_type) {
        refuse(m, "BIND of channel 0x%x to engine type 0x%x: %s", channel->handle, engine_type,
               channel->parent->kind == KIND_GROUP ? "its group is bound"
                                                   : "it was made for another");
        return NV_ERR_INVALID_ARGUMENT;
    }
    channel->channel.is_bound = true;
    return NV_OK;
}

/* On the GSP the token is the channel's number only; the CPU's side adds the runlist, and a bit on GB20x (tinygrad). */
uint32_t channel_token(struct model *m, struct object *channel, uint32_t *token)
{
    if (channel->parent->kind != KIND_GROUP && !channel->channel.is_bound) {
        refuse(m, "token of channel 0x%x, which is bound to no runlist", channel->handle);
        return NV_ERR_INVALID_STATE;
    }
    *token = channel->channel.id;
    return NV_OK;
}
