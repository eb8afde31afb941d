/*
 * tests/model/info.c: what GSP-RM tells about the chip: engines and runlists, interrupt vectors, multiprocessors,
 * context buffer sizes, framebuffer, and the static information that the driver asks for once.
 *
 * Layouts: OGKM 570.144, src/common/sdk/nvidia/inc/ctrl: ctrl2080internal.h, ctrl2080fifo.h, ctrl2080ce.h,
 * ctrl2080fb.h, ctrl0080gr.h; gsp_static_config.h; engine_info.h, gpu_engine_type.h, engine_idx.h, dev_fault.h
 * (numbers). Values: engine counts, runlists, vectors and context buffer sizes are not published. These are of the
 * size that drivers print on such cards; what matters is that a driver takes them from here. Bus width, memory type
 * and L2: NVIDIA's white papers of each architecture.
 */
#include <ctype.h>
#include <stdio.h>

#include "tests/model/gsp.h"

#define KIB UINT32_C(1024)
#define MIB (1024 * KIB)

#define GRAPHICS \
    {.kind = ENGINE_GRAPHICS, .type = 0x01, .runlist = 0, .stall_vector = 64, .notify_vector = 0}
/* NV2080_ENGINE_TYPE_COPY0 is 9, COPY9 18 (cl2080_notification.h); vectors follow the number */
#define COPY(number, list, grce) \
    {.kind = ENGINE_COPY, \
     .index = (number), \
     .type = 0x09 + (number), \
     .runlist = (list), \
     .is_grce = (grce), \
     .stall_vector = 65 + (number), \
     .notify_vector = 1 + (number)}

/* By ENGINE_ID (ctrl0080fifo.h): 0 graphics, 8 zcull, 9 PM, 10 compute preempt, 11 graphics preempt, 12 spill,
 * 16 patch, 17 bundle, 18 page pool, 19 attributes, 20 RTV, 21 GFXP pool, 22 GFXP control, 23 FECS events,
 * 24 access map. */
#define CONTEXTS(main, attributes) \
    .context_bytes = \
        {[0] = (main),   [8] = 0x10000,   [9] = 0x8000,        [10] = 0x100000, [11] = 0x200000, \
         [12] = 0x20000, [13] = 0x80000,  [14] = 0x600000,     [15] = 0x10000,  [16] = 0x20000, \
         [17] = 0x3000,  [18] = 0x20000,  [19] = (attributes), [20] = 0x11000,  [21] = 0x80000, \
         [22] = 0x1000,  [23] = 0x100000, [24] = 0x80000,      [25] = 0x1000}, \
    .context_alignment = {[0] = 4096,  [8] = 4096,  [9] = 4096,     [10] = 4096, [11] = 4096, \
                          [12] = 4096, [13] = 4096, [14] = 4096,    [15] = 4096, [16] = 4096, \
                          [17] = 4096, [18] = 4096, [19] = 4096,    [20] = 4096, [21] = 4096, \
                          [22] = 4096, [23] = 4096, [24] = 0x10000, [25] = 4096}

static const struct chip_info chips[] = {
    {
        .family = TURING,
        .engine = {GRAPHICS, COPY(0, 0, true), COPY(1, 0, true), COPY(2, 1, false),
                   COPY(3, 2, false), COPY(4, 3, false)},
        .engine_count = 6,
        .channels_max = 4096,
        .fault_method_buffer_bytes = 0x4000,
        CONTEXTS(0x15a000, 0x2c0000),
        .l2_bytes = 5632 * KIB,
        .fb_bus_bits = 352,
        .fb_ram_type = 0x11, /* GDDR6 */
        .fbps = 11,
    },
    {
        .family = AMPERE,
        .engine = {GRAPHICS, COPY(0, 0, true), COPY(1, 0, true), COPY(2, 1, false),
                   COPY(3, 2, false), COPY(4, 3, false)},
        .engine_count = 6,
        .channels_max = 2048,
        .fault_method_buffer_bytes = 0x4c00,
        CONTEXTS(0x1c8000, 0x3c0000),
        .l2_bytes = 6 * MIB,
        .fb_bus_bits = 384,
        .fb_ram_type = 0x12, /* GDDR6X */
        .fbps = 6,
    },
    {
        .family = ADA,
        .engine = {GRAPHICS, COPY(0, 0, true), COPY(1, 0, true), COPY(2, 1, false),
                   COPY(3, 2, false), COPY(4, 3, false)},
        .engine_count = 6,
        .channels_max = 2048,
        .fault_method_buffer_bytes = 0x4c00,
        CONTEXTS(0x2b6000, 0x640000),
        .l2_bytes = 72 * MIB,
        .fb_bus_bits = 384,
        .fb_ram_type = 0x12,
        .fbps = 6,
    },
    {
        .family = HOPPER,
        .engine = {GRAPHICS, COPY(0, 0, true), COPY(1, 0, true), COPY(2, 1, false),
                   COPY(3, 2, false), COPY(4, 3, false), COPY(5, 4, false), COPY(6, 5, false),
                   COPY(7, 6, false), COPY(8, 7, false), COPY(9, 8, false)},
        .engine_count = 11,
        .channels_max = 2048,
        .fault_method_buffer_bytes = 0x4c00,
        CONTEXTS(0x3f4000, 0x480000),
        .l2_bytes = 50 * MIB,
        .fb_bus_bits = 5120,
        .fb_ram_type = 0x0f, /* HBM2 (the PCIe card's HBM2e) */
        .fbps = 10,
    },
    {
        .family = BLACKWELL,
        .engine = {GRAPHICS, COPY(0, 0, true), COPY(1, 0, true), COPY(2, 1, false),
                   COPY(3, 2, false), COPY(4, 3, false), COPY(5, 4, false)},
        .engine_count = 7,
        .channels_max = 2048,
        .fault_method_buffer_bytes = 0x5000,
        CONTEXTS(0x4d2000, 0x880000),
        .l2_bytes = 96 * MIB,
        .fb_bus_bits = 512,
        .fb_ram_type = 0x15, /* GDDR7 */
        .fbps = 8,
    },
};

const struct chip_info *chip_info(const struct model *m)
{
    for (unsigned i = 0; i < sizeof(chips) / sizeof(chips[0]); i++)
        if (chips[i].family == m->chip->family)
            return &chips[i];
    return &chips[0];
}

const struct engine *engine_find(const struct model *m, uint32_t type)
{
    const struct chip_info *info = chip_info(m);
    for (unsigned i = 0; i < info->engine_count; i++)
        if (info->engine[i].type == type)
            return &info->engine[i];
    return NULL;
}

/* Both count GR0 as 1 and COPY0 to COPY9 from 9 on; they part at COPY10 (gpu_engine_type.h). */
uint32_t engine_rm_type(uint32_t type)
{
    return type;
}

unsigned gsp_vector(const struct model *m)
{
    return 155;
}

static unsigned tpcs(const struct model *m)
{
    return m->chip->gpcs * m->chip->tpcs_per_gpc;
}

/* ---- graphics and compute ---------------------------------------------------------------------------------------- */

/* NV2080_CTRL_INTERNAL_STATIC_GR_GET_INFO_PARAMS: 8 engines of 58 {index, data}; ctrl0080gr.h for the indexes */
uint32_t info_gr(struct model *m, uint8_t *params)
{
    const struct chip *chip = m->chip;
    const struct chip_info *info = chip_info(m);
    const struct {
        unsigned index;
        uint32_t value;
    } values[] = {
        {0x06, chip->gpcs},                   /* VPE_COUNT */
        {0x07, chip->gpcs},                   /* SHADER_PIPE_COUNT */
        {0x08, 1},                            /* THREAD_STACK_SCALING_FACTOR */
        {0x09, tpcs(m)},                      /* SHADER_PIPE_SUB_COUNT */
        {0x0a, 4},                            /* SM_REG_BANK_COUNT */
        {0x0b, 512},                          /* SM_REG_BANK_REG_COUNT */
        {0x0c, 0},                            /* SM_VERSION, below */
        {0x0d, chip->warps_per_sm},           /* MAX_WARPS_PER_SM */
        {0x0e, 32},                           /* MAX_THREADS_PER_WARP */
        {0x13, 4},                            /* MAX_SP_PER_SM */
        {0x14, chip->gpcs},                   /* LITTER_NUM_GPCS */
        {0x15, info->fbps},                   /* LITTER_NUM_FBPS */
        {0x17, chip->tpcs_per_gpc},           /* LITTER_NUM_TPC_PER_GPC */
        {0x1a, 1},                            /* TIMESLICE_ENABLED */
        {0x1b, info->fbps},                   /* LITTER_NUM_FBPAS */
        {0x1c, (chip->tpcs_per_gpc + 1) / 2}, /* LITTER_NUM_PES_PER_GPC */
        {0x1d, tpcs(m) * chip->sms_per_tpc *
                   (chip->family == TURING || chip->family == HOPPER ? 64 : 128)},
        {0x1e, 2},                 /* LITTER_NUM_TPCS_PER_PES */
        {0x20, chip->sms_per_tpc}, /* LITTER_NUM_SM_PER_TPC */
        {0x22, chip->family == HOPPER ? 0 : tpcs(m) * chip->sms_per_tpc},       /* RT_CORE_COUNT */
        {0x23, tpcs(m) * chip->sms_per_tpc * (chip->family == TURING ? 8 : 4)}, /* TENSOR */
        {0x24, 1},                                                              /* LITTER_NUM_GRS */
        {0x25, info->fbps * 2},     /* LITTER_NUM_LTCS */
        {0x26, 4},                  /* LITTER_NUM_LTC_SLICES */
        {0x27, 1},                  /* LITTER_NUM_GPCMMU_PER_GPC */
        {0x28, 2},                  /* LITTER_NUM_LTC_PER_FBP */
        {0x2a, chip->tpcs_per_gpc}, /* FAMILY_MAX_TPC_PER_GPC */
        {0x2c, 64},                 /* MAX_SUBCONTEXT_COUNT */
    };
    /*
     * SM_VERSION: major in bits 15:8, minor in 7:0 (gpu's sm_86 is 0x806; Blackwell's sm_120 counts 0xa04, as
     * tinygrad saw)
     */
    uint32_t version = chip->sm == 120 ? 0xa04 : chip->sm / 10 << 8 | chip->sm % 10;
    for (unsigned i = 0; i < 58; i++)
        PUT32(params, i * 8, i);
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        PUT32(params, values[i].index * 8 + 4, values[i].index == 0x0c ? version : values[i].value);
    return NV_OK;
}

/* 8 engines of 26 {size, alignment} */
uint32_t info_context_buffers(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    for (unsigned i = 0; i < 26; i++) {
        PUT32(params, i * 8, info->context_bytes[i]);
        PUT32(params, i * 8 + 4, info->context_alignment[i]);
    }
    return NV_OK;
}

/*
 * kgraphics.c and kernel_graphics_context.c: which buffer id has which engine id's size; FECS adds a page per
 * subcontext.
 */
uint64_t context_buffer_bytes(const struct model *m, unsigned buffer)
{
    static const uint8_t engine_ids[CONTEXT_BUFFERS] = {0,  9,  16, 17, 18, 19, 20,
                                                        21, 22, 23, 24, 24, 24};
    if (buffer >= CONTEXT_BUFFERS)
        return 0;
    return chip_info(m)->context_bytes[engine_ids[buffer]] + (buffer == 0 ? 0x40000u : 0);
}

uint32_t info_gr_caps(struct model *m, uint8_t *params)
{
    static const uint8_t caps[23] = {0x00, 0x40, 0x00, 0x00,
                                     0x08}; /* NV0080_CTRL_GR_CAPS, 8 engines of 23 */
    memcpy(params, caps, sizeof(caps));
    return NV_OK;
}

/* 8 engines of 240 {gpc, local TPC, local SM, global TPC, virtual GPC, migratable TPC}, numSm, numTpc */
uint32_t info_sm_order(struct model *m, uint8_t *params)
{
    const struct chip *chip = m->chip;
    unsigned sm = 0, tpc = 0;
    for (unsigned local = 0; local < chip->tpcs_per_gpc; local++)
        for (unsigned gpc = 0; gpc < chip->gpcs; gpc++, tpc++)
            for (unsigned i = 0; i < chip->sms_per_tpc && sm < 240; i++, sm++) {
                const uint16_t ids[6] = {(uint16_t)gpc, (uint16_t)local, (uint16_t)i,
                                         (uint16_t)tpc, (uint16_t)gpc,   (uint16_t)tpc};
                memcpy(params + sm * 12, ids, sizeof(ids));
            }
    PUT16(params, 2880, sm);
    PUT16(params, 2882, tpc);
    return NV_OK;
}

/* 8 engines of 296 bytes: gpcMask, tpcMask[12], tpcCount[12], physGpcMask, mmuPerGpc[12], ..., numPesPerGpc[12] */
uint32_t info_floorsweeping(struct model *m, uint8_t *params)
{
    const struct chip *chip = m->chip;
    uint32_t gpcs = (UINT32_C(1) << chip->gpcs) - 1;
    PUT32(params, 0, gpcs);
    PUT32(params, 100, gpcs);
    for (unsigned i = 0; i < chip->gpcs && i < 12; i++) {
        PUT32(params, 4 + i * 4, (UINT32_C(1) << chip->tpcs_per_gpc) - 1);
        PUT32(params, 52 + i * 4, chip->tpcs_per_gpc);
        PUT32(params, 104 + i * 4, 1);
        PUT32(params, 192 + i * 4, (chip->tpcs_per_gpc + 1) / 2);
    }
    return NV_OK;
}

/* ---- engines ----------------------------------------------------------------------------------------------------- */

/* NV_PFAULT_MMU_ENG_ID_..., dev_fault.h of tu102, ad102, gh100, gb202 */
static uint32_t fault_id(const struct model *m, const struct engine *engine)
{
    bool is_new = m->chip->family >= HOPPER;
    if (engine->kind == ENGINE_GRAPHICS)
        return is_new ? 384 : 64;
    return (m->chip->family == BLACKWELL ? 65u : is_new ? 43u : 15u) + engine->index;
}

/* NV2080_CTRL_FIFO_GET_DEVICE_INFO_TABLE_PARAMS (ctrl2080fifo.h): baseIndex, numEntries, bMore, 32 entries of
 * 100 bytes; engineData by ENGINE_INFO_TYPE_... (engine_info.h) */
uint32_t info_device_table(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    uint32_t base = GET32(params, 0);
    if (base % 32 != 0 || base >= 256) {
        refuse(m, "FIFO_GET_DEVICE_INFO_TABLE: baseIndex %u", base);
        return NV_ERR_INVALID_ARGUMENT;
    }
    memset(params + 4, 0, 3212 - 4);
    if (base > 0)
        return NV_OK;
    PUT32(params, 4, info->engine_count);
    for (unsigned i = 0; i < info->engine_count; i++) {
        const struct engine *engine = &info->engine[i];
        uint8_t *entry = params + 12 + i * 100;
        const uint32_t data[16] = {
            [1] = i,                            /* FIFO_TAG */
            [2] = engine_rm_type(engine->type), /* RM_ENGINE_TYPE */
            [3] = engine->runlist,              /* RUNLIST */
            [4] = fault_id(m, engine),          /* MMU_FAULT_ID */
            [7] = engine->stall_vector,         /* INTR */
            [8] = engine->kind == ENGINE_GRAPHICS ? 84
                                                  : 15 + engine->index, /* MC: MC_ENGINE_IDX_... */
            [9] = engine->kind == ENGINE_GRAPHICS ? 0x00 : 0x13, /* DEV_TYPE_ENUM: graphics, LCE */
            [10] = engine->index,                                /* INSTANCE_ID */
            [11] = 0x00d00000 + engine->runlist * 0x400,         /* RUNLIST_PRI_BASE */
            [12] = 1,                                            /* IS_HOST_DRIVEN_ENGINE */
            [13] = i,                                            /* RUNLIST_ENGINE_ID */
            [14] = 0x00d80000 + engine->runlist * 0x2000,        /* CHRAM_PRI_BASE */
        };
        memcpy(entry, data, sizeof(data));
        PUT32(entry, 64, engine->runlist);        /* pbdmaIds */
        PUT32(entry, 72, 0x20 + engine->runlist); /* pbdmaFaultIds */
        PUT32(entry, 80, 1);                      /* numPbdmas */
        if (engine->kind == ENGINE_GRAPHICS)
            snprintf((char *)entry + 84, 16, "GRAPHICS");
        else
            snprintf((char *)entry + 84, 16, "CE%u", engine->index);
    }
    return NV_OK;
}

/*
 * numEntries, 512 of 12 words: faultId, instanceId, typeEnum, resetId, devicePriBase, isEngine, rlEngId,
 * runlistPriBase
 */
uint32_t info_internal_device_table(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    PUT32(params, 0, info->engine_count);
    for (unsigned i = 0; i < info->engine_count; i++) {
        const struct engine *engine = &info->engine[i];
        const uint32_t words[12] = {
            fault_id(m, engine),
            engine->index,
            engine->kind == ENGINE_GRAPHICS ? 0x00 : 0x13,
            i,
            engine->kind == ENGINE_GRAPHICS ? 0x00400000 : 0x00104000 + engine->index * 0x80,
            1,
            i,
            0x00d00000 + engine->runlist * 0x400};
        memcpy(params + 4 + i * sizeof(words), words, sizeof(words));
    }
    return NV_OK;
}

/* NV2080_CTRL_INTERNAL_INTR_GET_KERNEL_TABLE_PARAMS: tableLen, 128 of {engineIdx (16), pmcIntrMask, vectorStall,
 * vectorNonStall}, then {first, last} subtree for each of 7 categories; MC_ENGINE_IDX_... of engine_idx.h */
uint32_t info_interrupts(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    const uint32_t none = UINT32_MAX; /* NV_INTR_VECTOR_INVALID */
    struct {
        uint32_t engine, stall, notify;
    } rows[ENGINES_MAX + 8];
    unsigned count = 0;
    for (unsigned i = 0; i < info->engine_count; i++) {
        const struct engine *e = &info->engine[i];
        rows[count].engine = e->kind == ENGINE_GRAPHICS ? 84 : 15 + e->index;
        rows[count].stall = e->stall_vector;
        rows[count++].notify = e->notify_vector;
    }
    const struct {
        uint32_t engine, stall;
    } others[] = {{1, 156} /* TMR */,
                  {50, gsp_vector(m)} /* GSP */,
                  {59, 192} /* REPLAYABLE_FAULT */,
                  {61, 193} /* NON_REPLAYABLE_FAULT */,
                  {64, 194} /* INFO_FAULT */,
                  {73, 161} /* CPU_DOORBELL */};
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++, count++) {
        rows[count].engine = others[i].engine;
        rows[count].stall = others[i].stall;
        rows[count].notify = none;
    }
    PUT32(params, 0, count);
    for (unsigned i = 0; i < count; i++) {
        PUT16(params, 4 + i * 16, rows[i].engine);
        PUT32(params, 4 + i * 16 + 8, rows[i].stall);
        PUT32(params, 4 + i * 16 + 12, rows[i].notify);
    }
    /* A subtree is 64 vectors: default, engines, their notifications, runlists (2), UVM's own, shared with UVM. */
    static const uint8_t subtrees[14] = {2, 2, 1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 3, 3, 3};
    memcpy(params + 2052, subtrees, sizeof(subtrees));
    return NV_OK;
}

/* NV2080_CTRL_CE_GET_ALL_CAPS_PARAMS: capsTbl[64][2], present mask at 128 */
uint32_t info_copy_caps(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    uint64_t present = 0;
    for (unsigned i = 0; i < info->engine_count; i++) {
        const struct engine *e = &info->engine[i];
        if (e->kind != ENGINE_COPY)
            continue;
        /* GRCE 0x01, SYSMEM_READ 0x04, SYSMEM_WRITE 0x08, SYSMEM 0x20, P2P 0x40, BL_SIZE_GT_64K 0x80 */
        params[e->index * 2] = 0xec | (e->is_grce ? 0x01 : 0);
        params[e->index * 2 + 1] = 0x03;
        present |= UINT64_C(1) << e->index;
    }
    PUT64(params, 128, present);
    return NV_OK;
}

/* ceEngineType, pceMask */
uint32_t info_copy_pce_mask(struct model *m, uint8_t *params)
{
    const struct engine *engine = engine_find(m, GET32(params, 0));
    if (engine == NULL || engine->kind != ENGINE_COPY) {
        refuse(m, "CE_GET_CE_PCE_MASK: engine type 0x%x is no copy engine", GET32(params, 0));
        return NV_ERR_INVALID_ARGUMENT;
    }
    PUT32(params, 4, UINT32_C(1) << engine->index);
    return NV_OK;
}

uint32_t info_fault_method_bytes(struct model *m, uint8_t *params)
{
    PUT32(params, 0, chip_info(m)->fault_method_buffer_bytes);
    return NV_OK;
}

/* NV2080_CTRL_INTERNAL_FIFO_GET_NUM_CHANNELS_PARAMS: runlistId, numChannels */
uint32_t info_channels(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    for (unsigned i = 0; i < info->engine_count; i++)
        if (info->engine[i].runlist == GET32(params, 0)) {
            PUT32(params, 4, info->channels_max);
            return NV_OK;
        }
    refuse(m, "FIFO_GET_NUM_CHANNELS: no runlist %u", GET32(params, 0));
    return NV_ERR_INVALID_ARGUMENT;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* NV2080_CTRL_FB_GET_INFO_V2_PARAMS: count, 57 of {index, data}; sizes in KiB */
uint32_t info_framebuffer(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    uint32_t count = GET32(params, 0), kib = (uint32_t)(m->vram_bytes >> 10),
             usable = (uint32_t)(m->rm->layout.usable_end >> 10);
    if (count > 57) {
        refuse(m, "FB_GET_INFO_V2: %u questions", count);
        return NV_ERR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t data;
        switch (GET32(params, 4 + i * 8)) {
        case 0x04: /* PARTITION_COUNT */
        case 0x19: /* FBP_COUNT */
            data = info->fbps;
            break;
        case 0x07: /* RAM_SIZE */
        case 0x08: /* TOTAL_RAM_SIZE */
            data = kib;
            break;
        case 0x09: /* HEAP_SIZE */
        case 0x16: /* HEAP_FREE */
        case 0x20: /* USABLE_RAM_SIZE */
            data = usable;
            break;
        case 0x0b: /* BUS_WIDTH */
            data = info->fb_bus_bits;
            break;
        case 0x0d: /* RAM_TYPE */
            data = info->fb_ram_type;
            break;
        case 0x1a: /* FBP_MASK */
            data = (UINT32_C(1) << info->fbps) - 1;
            break;
        case 0x1b: /* L2CACHE_SIZE */
            data = (uint32_t)info->l2_bytes;
            break;
        case 0x17: /* RAM_LOCATION: on the GPU */
        case 0x18: /* FB_IS_BROKEN */
        case 0x1e: /* HEAP_START */
        case 0x36: /* IS_ZERO_FB */
            data = 0;
            break;
        default:
            refuse(m, "FB_GET_INFO_V2: index 0x%x is not the GSP's to answer",
                   GET32(params, 4 + i * 8));
            return NV_ERR_INVALID_ARGUMENT;
        }
        PUT32(params, 4 + i * 8 + 4, data);
    }
    return NV_OK;
}

/*
 * NV2080_CTRL_INTERNAL_MEMSYS_GET_STATIC_CONFIG_PARAMS: 7 flags, l2CacheSize, flag, comprPageSize and shift, ramType,
 * ltcs
 */
uint32_t info_memory_system(struct model *m, uint8_t *params)
{
    const struct chip_info *info = chip_info(m);
    PUT8(params, 0, 1); /* bOneToOneComptagLineAllocation */
    PUT64(params, 8, info->l2_bytes);
    PUT8(params, 16, 1); /* bFbpaPresent */
    PUT32(params, 20, 0x40000);
    PUT32(params, 24, 18);
    PUT32(params, 28, info->fb_ram_type);
    PUT32(params, 32, info->fbps * 2);
    PUT32(params, 36, 4);
    return NV_OK;
}

/* replayable fault buffer, its shadow's metadata, the same for non-replayable faults */
uint32_t info_gmmu(struct model *m, uint8_t *params)
{
    PUT32(params, 0, tpcs(m) * m->chip->sms_per_tpc * 32 * 32);
    PUT32(params, 4, 0);
    PUT32(params, 8, 0x10000);
    PUT32(params, 12, 0x1000);
    return NV_OK;
}

/* chipSubRev, emulationRev1, isCmpSku, pciDeviceId, pciSubDeviceId, pciRevisionId, regBases[16] */
uint32_t info_chip(struct model *m, uint8_t *params)
{
    PUT32(params, 12, (uint32_t)m->chip->device_id << 16 | 0x10de);
    PUT32(params, 16, (uint32_t)m->chip->subsystem_id << 16 | 0x10de);
    PUT32(params, 20, m->chip->revision);
    for (unsigned i = 0; i < 16; i++)
        PUT32(params, 24 + i * 4, UINT32_MAX);
    return NV_OK;
}

/* ---- GspStaticConfigInfo, gsp_static_config.h -------------------------------------------------------------------- */

static void regions(struct model *m, uint8_t *out)
{
    const struct layout *layout = &m->rm->layout;
    /*
     * numFBRegions, then {base, limit, reserved, performance, compressed, ISO, protected, ...} of 48 bytes from byte
     * 8 on
     */
    const uint64_t base[2] = {0, layout->usable_end},
                   limit[2] = {layout->usable_end - 1, m->vram_bytes - 1},
                   reserved[2] = {0, m->vram_bytes - layout->usable_end};
    PUT32(out, 0, 2);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *region = out + 8 + i * 48;
        PUT64(region, 0, base[i]);
        PUT64(region, 8, limit[i]);
        PUT64(region, 16, reserved[i]);
        PUT32(region, 24, i == 0 ? 100 : 0);
        PUT8(region, 28, i == 0);
        PUT8(region, 29, i == 0);
    }
}

void static_info(struct model *m, uint8_t *out)
{
    const struct chip *chip = m->chip;
    const struct chip_info *info = chip_info(m);
    uint32_t engines = 0;
    memset(out, 0, STATIC_INFO_BYTES);
    info_gr_caps(m, out);
    PUT32(out, 32, 16); /* gidInfo.length; 16 bytes of data at 36, made from the chip */
    for (unsigned i = 0; i < 16; i++)
        out[36 + i] = (uint8_t)(chip->boot_42 >> (i % 4 * 8)) ^ (uint8_t)(i * 29 + 7);
    snprintf((char *)out + 292 + 4, 9, "%s", chip->name); /* SKUInfo.chipSKU */
    regions(m, out + 344);
    for (unsigned i = 0; i < info->engine_count; i++)
        engines |= UINT32_C(1) << engine_rm_type(info->engine[i].type);
    PUT32(out, 1204, engines);                         /* engineCaps */
    PUT64(out, 1224, m->vram_bytes);                   /* fb_length */
    PUT64(out, 1232, (UINT64_C(1) << info->fbps) - 1); /* fbio_mask */
    PUT32(out, 1240, info->fb_bus_bits);
    PUT32(out, 1244, info->fb_ram_type);
    PUT64(out, 1248, (UINT64_C(1) << info->fbps) - 1); /* fbp_mask */
    PUT32(out, 1256, (uint32_t)info->l2_bytes);
    snprintf((char *)out + 1260, 64, "%s", chip->card); /* gpuNameString */
    for (unsigned i = 0; i < 63 && chip->name[i] != '\0'; i++)
        out[1324 + i] = (uint8_t)toupper((unsigned char)chip->name[i]); /* gpuShortNameString */
    for (unsigned i = 0; i < 63 && chip->card[i] != '\0'; i++)
        PUT16(out, 1388 + i * 2, (uint8_t)chip->card[i]);   /* gpuNameString_Unicode */
    PUT64(out, 1536, m->rm->layout.non_wpr_heap + 0x10000); /* bar1PdeBase, bar2PdeBase */
    PUT64(out, 1544, m->rm->layout.non_wpr_heap + 0x20000);
    PUT8(out, 1552, 1); /* bVbiosValid */
    PUT32(out, 1556, 0x10de);
    PUT32(out, 1560, chip->subsystem_id);
    PUT8(out, 1565, 1); /* bSplitVasBetweenServerClientRm */
    uint32_t client = objects_internal(m);
    PUT32(out, 1600, client); /* hInternalClient, ..Device, ..Subdevice */
    PUT32(out, 1604, 0xabcd0080);
    PUT32(out, 1608, 0xabcd2080);
    PUT8(out, 1615, 1);                           /* bIsEfiInit */
    PUT64(out, 1640, m->rm->layout.non_wpr_heap); /* fwWprLayoutOffset */
    PUT64(out, 1648, m->rm->layout.frts);
}
