/*
 * gpu/nvidia/gsp/context.c: context buffers of the graphics engine, which compute runs on too.
 *
 * Every context begins as a copy of the golden one, which the GSP makes when the first object of the engine is allocated on
 * any channel. So at start a bare channel with a client of its own is made, given all buffers, an object is allocated on it,
 * and everything but the shared buffers goes away again (kgraphicsCreateGoldenImageChannel). Its address space shares our
 * page tables; there the GSP puts mappings of its own into 512 MiB that we keep free for it.
 *
 *   buffer                  physical address told  mapped
 *   main, patch             each context           each context
 *   bundle, page pool, attribute, RTV              shared; what draws needs them, so only the golden channel maps them
 *   FECS event              at start               shared, in every context
 *   privileged access map   at start               shared, in every context but the golden one
 *   unrestricted access map at start               shared, in the golden one
 *
 * Addresses of the shared ones go into registers that take bits 39..8, so all lie below 2^40.
 *
 * Sources: open-gpu-kernel-modules 570.144, kernel_graphics.c, kernel_graphics_context.c, kernel_graphics_object.c (promote
 * lists); nouveau nvkm/subdev/gsp/rm/r535/gr.c and tinygrad runtime/support/nv/ip.py, both run on GA10x and AD10x.
 */
#include <string.h>

#include "gpu/nvidia/gsp/resman.h"

#define SUBCONTEXTS_MIN \
    64 /* headers behind the main buffer, one page each: what nouveau and tinygrad make room for */
#define SUBCONTEXTS_MAX 256
#define BUFFER_MAX      (UINT64_C(1) << 30) /* a size past it is nonsense */

/* Handles of the golden client's objects. */
enum {
    GOLDEN_DEVICE = 0xcaf00001,
    GOLDEN_SUBDEVICE,
    GOLDEN_VASPACE,
    GOLDEN_CHANNEL,
    GOLDEN_OBJECT
};

/* Shared buffers: which size of the table is theirs, and whether the GSP fills them. */
static const struct {
    uint8_t buffer_id, size_id;
    bool is_initialized, is_mapped;
} shared_buffers[] = {
    {NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_BUFFER_BUNDLE_CB, RM_CONTEXT_GRAPHICS_BUNDLE_CB, false,
     true},
    {NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PAGEPOOL, RM_CONTEXT_GRAPHICS_PAGEPOOL_GLOBAL, false,
     true},
    {NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_ATTRIBUTE_CB, RM_CONTEXT_GRAPHICS_ATTRIBUTE_CB, false,
     true},
    {NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_RTV_CB_GLOBAL, RM_CONTEXT_GRAPHICS_RTV_CB_GLOBAL, false,
     true},
    {NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_FECS_EVENT, RM_CONTEXT_GRAPHICS_FECS_EVENT, true, true},
    {NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PRIV_ACCESS_MAP, RM_CONTEXT_GRAPHICS_PRIV_ACCESS_MAP,
     true, true},
    {NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_UNRESTRICTED_PRIV_ACCESS_MAP,
     RM_CONTEXT_GRAPHICS_PRIV_ACCESS_MAP, true, true},
};

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

/* Size and alignment that RM told, checked. size_bytes 0: this chip has no such buffer. */
static uint32_t size_of(struct resman *resman, unsigned size_id, uint64_t *size_bytes,
                        uint64_t *align)
{
    const struct rm_context_buffer_size *told = &resman->context_sizes[size_id];
    *size_bytes = told->size_bytes == UINT32_MAX ? 0 : told->size_bytes;
    *align = told->align > MMU_PAGE_4K ? told->align : MMU_PAGE_4K;
    if (*size_bytes > BUFFER_MAX || *align > BUFFER_MAX || (*align & (*align - 1)) != 0)
        return resman_fail(resman, NV_ERR_INVALID_STATE,
                           "context buffer 0x%02x: %u bytes, alignment %u", size_id,
                           told->size_bytes, told->align);
    if (size_id == RM_CONTEXT_GRAPHICS_ATTRIBUTE_CB && *align < MMU_PAGE_2M)
        *align = MMU_PAGE_2M; /* as tinygrad has it; nouveau aligns to the size */
    return NV_OK;
}

static uint32_t context_alloc(struct resman *resman, struct resman_context *context)
{
    uint64_t size_bytes, align;
    uint32_t subcontexts = resman->gr_info[NV2080_CTRL_GR_INFO_INDEX_MAX_SUBCONTEXT_COUNT];
    subcontexts = subcontexts < SUBCONTEXTS_MIN   ? SUBCONTEXTS_MIN
                  : subcontexts > SUBCONTEXTS_MAX ? SUBCONTEXTS_MAX
                                                  : subcontexts;
    uint32_t status = size_of(resman, RM_CONTEXT_GRAPHICS, &size_bytes, &align);
    if (status == NV_OK && size_bytes == 0)
        status =
            resman_fail(resman, NV_ERR_INVALID_STATE, "RM knows no size of the graphics context");
    if (status == NV_OK)
        status = resman_buffer_alloc(resman,
                                     align_up(size_bytes, MMU_PAGE_4K) + subcontexts * MMU_PAGE_4K,
                                     align, align, true, &context->main);
    if (status == NV_OK)
        status = size_of(resman, RM_CONTEXT_GRAPHICS_PATCH, &size_bytes, &align);
    if (status == NV_OK)
        status = resman_buffer_alloc(resman, size_bytes, align, align, true, &context->patch);
    if (status != NV_OK)
        resman_context_free(resman, context);
    return status;
}

void resman_context_free(struct resman *resman, struct resman_context *context)
{
    resman_buffer_free(resman, &context->patch);
    resman_buffer_free(resman, &context->main);
    context->is_promoted = false;
}

static uint32_t shared_alloc(struct resman *resman)
{
    for (unsigned i = 0; i < ARRAY_COUNT(shared_buffers); i++) {
        uint64_t size_bytes, align;
        uint32_t status = size_of(resman, shared_buffers[i].size_id, &size_bytes, &align);
        if (status == NV_OK && size_bytes > 0)
            status = resman_buffer_alloc(resman, size_bytes, align, align,
                                         shared_buffers[i].is_initialized,
                                         &resman->shared[shared_buffers[i].buffer_id]);
        if (status != NV_OK)
            return status;
    }
    return NV_OK;
}

static void shared_free(struct resman *resman)
{
    for (unsigned i = 0; i < RESMAN_SHARED_BUFFERS; i++)
        resman_buffer_free(resman, &resman->shared[i]);
}

/* ---- promoting --------------------------------------------------------------------------------------------------- */

static void add_entry(struct rm_promote *promote, unsigned buffer_id,
                      const struct resman_buffer *buffer, bool with_physical, bool with_gva)
{
    assert(promote->entry_count < RM_PROMOTE_ENTRIES_MAX);
    if (buffer->size_bytes == 0)
        return;
    promote->entry[promote->entry_count++] = (struct rm_promote_entry){
        .physical_address = with_physical ? buffer->offset : 0,
        .size_bytes = with_physical ? buffer->size_bytes : 0,
        .physical_attributes = with_physical ? RM_PROMOTE_VIDMEM_UNCACHED : 0,
        .gva = with_gva ? buffer->gva : 0,
        .buffer_id = (uint16_t)buffer_id,
        .initialize = with_physical,
        .nonmapped = !with_gva,
    };
}

static uint32_t promote(struct resman *resman, uint32_t client, uint32_t subdevice,
                        uint32_t channel, bool is_golden, const struct resman_context *context)
{
    struct rm_promote params = {
        .engine_type = NV2080_ENGINE_TYPE_GRAPHICS, .channel_client = client, .object = channel};
    const struct resman_buffer *shared = resman->shared;
    add_entry(&params, NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_MAIN, &context->main, true, true);
    add_entry(&params, NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PATCH, &context->patch, true, true);
    for (unsigned i = 0; i < ARRAY_COUNT(shared_buffers); i++) {
        unsigned id = shared_buffers[i].buffer_id;
        bool with_gva = is_golden ? id != NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PRIV_ACCESS_MAP
                                  : id == NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_PRIV_ACCESS_MAP ||
                                        id == NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_FECS_EVENT;
        bool with_physical = is_golden && shared_buffers[i].is_initialized;
        if (with_physical || with_gva)
            add_entry(&params, id, &shared[id], with_physical, with_gva);
    }
    return resman_rpc_control(resman, client, subdevice, NV2080_CTRL_CMD_GPU_PROMOTE_CTX, &params,
                              sizeof(params));
}

uint32_t resman_context_promote(struct resman *resman, struct resman_channel *channel)
{
    struct resman_group *group =
        (struct resman_group *)resman_find(resman, channel->group, RESMAN_GROUP);
    assert(group);
    if (group->context.is_promoted)
        return NV_OK;
    uint32_t status = context_alloc(resman, &group->context);
    if (status != NV_OK)
        return status;
    status = promote(resman, RESMAN_CLIENT, resman->subdevice, channel->base.handle, false,
                     &group->context);
    if (status != NV_OK)
        resman_context_free(resman, &group->context);
    else
        group->context.is_promoted = true;
    return status;
}

/* ---- the golden context ------------------------------------------------------------------------------------------ */

/* Device, subdevice, and an address space whose tables are ours with room for the GSP's own. */
static uint32_t golden_objects(struct resman *resman)
{
    const uint32_t client = RESMAN_GOLDEN_CLIENT;
    struct rm_device_params device = {.client_share = client};
    struct rm_subdevice_params subdevice = {0};
    struct rm_vaspace_params vaspace = {.index = NV_VASPACE_ALLOCATION_INDEX_GPU_NEW};
    uint32_t status = resman_rpc_alloc(resman, client, client, GOLDEN_DEVICE, NV01_DEVICE_0,
                                       &device, sizeof(device));
    if (status == NV_OK)
        status = resman_rpc_alloc(resman, client, GOLDEN_DEVICE, GOLDEN_SUBDEVICE, NV20_SUBDEVICE_0,
                                  &subdevice, sizeof(subdevice));
    if (status == NV_OK)
        status = resman_rpc_alloc(resman, client, GOLDEN_DEVICE, GOLDEN_VASPACE, FERMI_VASPACE_A,
                                  &vaspace, RM_570_VASPACE_BYTES);
    if (status != NV_OK)
        return status;

    struct mmu_level level[MMU_LEVELS_MAX];
    int count = mmu_levels(&resman->mmu, RESMAN_SERVER_GVA, level);
    if (count < 0)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no VRAM for page tables");
    struct rm_reserved_levels reserved = {
        .page_bytes = RESMAN_SERVER_BYTES,
        .gva_low = RESMAN_SERVER_GVA,
        .gva_high = RESMAN_SERVER_GVA + RESMAN_SERVER_BYTES - 1,
        .level_count = (uint32_t)count,
    };
    for (int i = 0; i < count; i++)
        reserved.level[i] = (struct rm_reserved_level){.physical_address = level[i].pa,
                                                       .size_bytes = level[i].size_bytes,
                                                       .aperture = 1,
                                                       .page_shift = (uint8_t)level[i].page_shift};
    return resman_rpc_control(resman, client, GOLDEN_VASPACE,
                              NV90F1_CTRL_CMD_VASPACE_COPY_SERVER_RESERVED_PDES, &reserved,
                              sizeof(reserved));
}

/* A channel that will never run anything: its GPFIFO is nowhere. */
static uint32_t golden_channel(struct resman *resman, uint32_t class_id,
                               const struct resman_buffer *memory)
{
    uint64_t at = memory->offset;
    struct rm_channel_params params = {
        .gpfifo_entries = 32,
        .flags = (uint32_t)(NVOS04_FLAGS_PRIVILEGED_CHANNEL |
                            NVOS04_FLAGS_CHANNEL_USERD_INDEX_PAGE_FIXED),
        .vaspace = GOLDEN_VASPACE,
        .engine_type = NV2080_ENGINE_TYPE_GRAPHICS,
        .instance = {at, RM_INSTANCE_BYTES, ADDR_FBMEM, NV_MEMORY_UNCACHED},
        .ramfc = {at, RM_RAMFC_BYTES, ADDR_FBMEM, NV_MEMORY_UNCACHED},
        .userd = {at + RM_INSTANCE_BYTES, RM_USERD_BYTES, ADDR_FBMEM, NV_MEMORY_UNCACHED},
        .method_buffer = {at + 2 * RM_INSTANCE_BYTES, resman->method_bytes, ADDR_FBMEM,
                          NV_MEMORY_UNCACHED},
        .internal_flags =
            (uint32_t)(field_put(NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_PRIVILEGE,
                                 NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_PRIVILEGE_ADMIN) |
                       field_put(NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_ERROR_NOTIFIER_TYPE,
                                 ERROR_NOTIFIER_TYPE_NONE) |
                       field_put(NV_KERNELCHANNEL_ALLOC_INTERNALFLAGS_ECC_ERROR_NOTIFIER_TYPE,
                                 ERROR_NOTIFIER_TYPE_NONE)),
    };
    return resman_rpc_alloc(resman, RESMAN_GOLDEN_CLIENT, GOLDEN_DEVICE, GOLDEN_CHANNEL, class_id,
                            &params, sizeof(params));
}

/* RM knows the sizes only once there is a channel. */
static uint32_t read_sizes(struct resman *resman)
{
    static_assert(sizeof(struct rm_context_buffers_info) <= RESMAN_MESSAGE_BYTES, "fits a message");
    struct rm_context_buffers_info info = {0};
    const struct gsp_info *gsp = &resman->gsp.info;
    uint32_t status = resman_rpc_control(
        resman, gsp->internal_client, gsp->internal_subdevice,
        NV2080_CTRL_CMD_INTERNAL_STATIC_KGR_GET_CONTEXT_BUFFERS_INFO, &info, sizeof(info));
    if (status == NV_OK)
        memcpy(resman->context_sizes, info.engine[0], sizeof(resman->context_sizes));
    return status;
}

uint32_t resman_context_start(struct resman *resman)
{
    const uint32_t client = RESMAN_GOLDEN_CLIENT;
    struct rm_root_params root = {.client = client, .process_id = UINT32_MAX};
    uint32_t classes[4];
    struct resman_buffer memory = {0};
    struct resman_context context = {0};
    resman_classes(resman, classes);
    const uint32_t compute_class = classes[0], channel_class = classes[2];
    uint32_t status = resman_buffer_alloc(resman, 2 * RM_INSTANCE_BYTES + resman->method_bytes,
                                          MMU_PAGE_4K, 0, true, &memory);
    if (status != NV_OK)
        return status;
    status = resman_rpc_alloc(resman, client, 0, client, NV01_ROOT, &root, sizeof(root));
    if (status != NV_OK) {
        resman_buffer_free(resman, &memory);
        return status;
    }
    status = golden_objects(resman);
    if (status == NV_OK)
        status = golden_channel(resman, channel_class, &memory);
    if (status == NV_OK)
        status = read_sizes(resman);
    if (status == NV_OK)
        status = context_alloc(resman, &context);
    if (status == NV_OK)
        status = shared_alloc(resman);
    if (status == NV_OK)
        status = promote(resman, client, GOLDEN_SUBDEVICE, GOLDEN_CHANNEL, true, &context);
    if (status == NV_OK)
        status =
            resman_rpc_alloc(resman, client, GOLDEN_CHANNEL, GOLDEN_OBJECT, compute_class, NULL, 0);

    /* The client goes with all it has, whatever came of it: then nothing of it uses this memory. */
    char error[sizeof(resman->error)];
    memcpy(error, resman->error, sizeof(error));
    uint32_t freed = resman_rpc_free_user(resman, client, 0, client);
    if (status != NV_OK)
        memcpy(resman->error, error, sizeof(error));
    else
        status = freed;
    resman_context_free(resman, &context);
    resman_buffer_free(resman, &memory);
    if (status != NV_OK)
        shared_free(resman);
    return status;
}

void resman_context_stop(struct resman *resman)
{
    shared_free(resman);
}
