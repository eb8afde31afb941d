/*
 * gpu/nvidia/gsp/resman_tables.c: what is asked of the GSP once: engines with their runlists, the graphics engine's geometry.
 *
 * Sources: open-gpu-kernel-modules 570.144, kernel_fifo.c (device information table), kernel_graphics.c (static information),
 * engine_info.h, gpu_engine_type.h, cl2080_notification.h; classes by chip: g_gpu_class_list.c.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/resman.h"

/* RM's own numbers of engines to those of its interface; 0: an engine that nothing here uses. */
static uint32_t engine_type_of(uint32_t rm_type, struct resman_engine *out)
{
    if (rm_type == RM_ENGINE_TYPE_GR0) {
        snprintf(out->name, sizeof(out->name), "graphics0");
        out->interrupt = MC_ENGINE_IDX_GR0;
        return NV2080_ENGINE_TYPE_GRAPHICS;
    }
    if (rm_type < RM_ENGINE_TYPE_COPY0 || rm_type > RM_ENGINE_TYPE_COPY19)
        return 0;
    unsigned index = rm_type - RM_ENGINE_TYPE_COPY0;
    snprintf(out->name, sizeof(out->name), "copy%u", index);
    out->interrupt = (uint16_t)(MC_ENGINE_IDX_CE0 + index);
    return index < 10 ? NV2080_ENGINE_TYPE_COPY0 + index : NV2080_ENGINE_TYPE_COPY10 + index - 10;
}

static uint32_t read_engines(struct resman *resman)
{
    const struct gsp_info *info = &resman->gsp.info;
    for (uint32_t first = 0; first < RM_DEVICE_ENTRIES_ALL; first += RM_DEVICE_ENTRIES) {
        struct rm_device_table table = {.first = first};
        uint32_t status =
            resman_rpc_control(resman, info->internal_client, info->internal_subdevice,
                               NV2080_CTRL_CMD_FIFO_GET_DEVICE_INFO_TABLE, &table, sizeof(table));
        if (status != NV_OK)
            return status;
        if (table.count > RM_DEVICE_ENTRIES)
            return resman_fail(resman, NV_ERR_INVALID_STATE, "a table of %u engines in one piece",
                               table.count);
        for (uint32_t i = 0; i < table.count && resman->engine_count < RESMAN_ENGINES_MAX; i++) {
            struct resman_engine engine = {.runlist =
                                               table.entry[i].data[ENGINE_INFO_TYPE_RUNLIST]};
            engine.type =
                engine_type_of(table.entry[i].data[ENGINE_INFO_TYPE_RM_ENGINE_TYPE], &engine);
            if (engine.type == 0)
                continue;
            if (engine.runlist >= RESMAN_RUNLISTS_MAX)
                return resman_fail(resman, NV_ERR_INVALID_STATE, "%s is on runlist %u", engine.name,
                                   engine.runlist);
            resman->engines[resman->engine_count++] = engine;
        }
        if (!table.has_more)
            break;
    }
    return resman_engine_find(resman, NV2080_ENGINE_TYPE_GRAPHICS)
               ? NV_OK
               : resman_fail(resman, NV_ERR_INVALID_STATE,
                             "the table of engines has no graphics engine");
}

static uint32_t read_geometry(struct resman *resman)
{
    const struct gsp_info *info = &resman->gsp.info;
    struct rm_static_gr_info gr = {0};
    uint32_t status =
        resman_rpc_control(resman, info->internal_client, info->internal_subdevice,
                           NV2080_CTRL_CMD_INTERNAL_STATIC_KGR_GET_INFO, &gr, sizeof(gr));
    for (unsigned i = 0; i < RM_GR_INFO_MAX && status == NV_OK; i++)
        if (gr.engine[0][i].index < RM_GR_INFO_MAX)
            resman->gr_info[gr.engine[0][i].index] = gr.engine[0][i].data;
    return status;
}

uint32_t resman_tables_read(struct resman *resman)
{
    const struct gsp_info *info = &resman->gsp.info;
    uint32_t status = read_engines(resman);
    if (status == NV_OK)
        status = read_geometry(resman);
    if (status == NV_OK)
        status = resman_rpc_control(resman, info->internal_client, info->internal_subdevice,
                                    NV2080_CTRL_CMD_CE_GET_FAULT_METHOD_BUFFER_SIZE,
                                    &resman->method_bytes, sizeof(resman->method_bytes));
    if (status == NV_OK && (resman->method_bytes == 0 || resman->method_bytes > MMU_PAGE_2M))
        status = resman_fail(resman, NV_ERR_INVALID_STATE, "method buffers of %u bytes",
                             resman->method_bytes);
    return status;
}

const struct resman_engine *resman_engine_find(const struct resman *resman, uint32_t type)
{
    for (unsigned i = 0; i < resman->engine_count; i++)
        if (resman->engines[i].type == type)
            return &resman->engines[i];
    return NULL;
}

bool resman_engine_is_on_graphics(const struct resman *resman, const struct resman_engine *engine)
{
    return engine->runlist == resman_engine_find(resman, NV2080_ENGINE_TYPE_GRAPHICS)->runlist;
}

unsigned resman_classes(const struct resman *resman, uint32_t out[4])
{
    static const struct {
        unsigned sm;
        uint32_t classes[4];
    } chips[] = {
        {75, {TURING_COMPUTE_A, TURING_DMA_COPY_A, TURING_CHANNEL_GPFIFO_A, TURING_USERMODE_A}},
        {80, {AMPERE_COMPUTE_A, AMPERE_DMA_COPY_A, AMPERE_CHANNEL_GPFIFO_A, AMPERE_USERMODE_A}},
        {86, {AMPERE_COMPUTE_B, AMPERE_DMA_COPY_B, AMPERE_CHANNEL_GPFIFO_A, AMPERE_USERMODE_A}},
        {89, {ADA_COMPUTE_A, AMPERE_DMA_COPY_B, AMPERE_CHANNEL_GPFIFO_A, AMPERE_USERMODE_A}},
        {90, {HOPPER_COMPUTE_A, HOPPER_DMA_COPY_A, HOPPER_CHANNEL_GPFIFO_A, HOPPER_USERMODE_A}},
        {100,
         {BLACKWELL_COMPUTE_A, BLACKWELL_DMA_COPY_A, BLACKWELL_CHANNEL_GPFIFO_A,
          BLACKWELL_USERMODE_A}},
        {120,
         {BLACKWELL_COMPUTE_B, BLACKWELL_DMA_COPY_B, BLACKWELL_CHANNEL_GPFIFO_B,
          BLACKWELL_USERMODE_A}},
    };
    unsigned at = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(chips); i++)
        if (chips[i].sm <= resman->gsp.hw.chip->sm)
            at = i;
    memcpy(out, chips[at].classes, sizeof(chips[at].classes));
    return 4;
}
