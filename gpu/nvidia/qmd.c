/*
 * gpu/nvidia/qmd.c: where each field of a QMD lies in each version, and how a launch is written with them.
 *
 * Source: NVIDIA open-gpu-doc, classes/compute: clc5c0qmd.h (NVC5C0_QMDV02_03), clc6c0qmd.h (NVC6C0_QMDV03_00),
 * clcbc0qmd.h (NVCBC0_QMDV04_00), clcec0qmd.h (NVCEC0_QMDV05_00). Which values make a launch run on version 4 was
 * found on an H200 (2026-11-20): version 3 fields never complete there, another QMD_TYPE raises a class error.
 */
#include "gpu/nvidia/qmd.h"

#include <string.h>

#include "kernel/kernel.h"

struct place {
    uint16_t lo, hi; /* bits of the QMD, both inclusive; hi 0: the version has no such field */
    uint8_t stride;  /* bits from one indexed field to the next */
    uint8_t unit;    /* the field holds the value >> unit */
    uint8_t count;   /* of indexed fields */
};
#define F(hi_bit, lo_bit)        {.lo = lo_bit, .hi = hi_bit, .count = 1}
#define U(hi_bit, lo_bit, shift) {.lo = lo_bit, .hi = hi_bit, .unit = shift, .count = 1}
#define I(hi_bit, lo_bit, step, shift, n) \
    {.lo = lo_bit, .hi = hi_bit, .stride = step, .unit = shift, .count = n}
#define NONE {.lo = 0, .hi = 0}

static const struct qmd_row {
    const char *name;
    struct place in[4]; /* by version - 2 */
} qmd_rows[QMD_FIELD_COUNT] = {
    /* clang-format off */
    /*                                          version 2            version 3            version 4            version 5 */
    [QMD_MAJOR_VERSION] = { "major version",    { F(583, 580),        F(583, 580),        F(583, 580),         F(471, 468) } },
    [QMD_MINOR_VERSION] = { "minor version",    { F(579, 576),        F(579, 576),        F(579, 576),         F(467, 464) } },
    [QMD_TYPE] = { "type",                      { NONE,               NONE,               F(25, 23),           F(153, 151) } },
    [QMD_GROUP_ID] = { "group",                 { F(133, 128),        F(133, 128),        F(21, 16),           F(149, 144) } },
    [QMD_SM_GLOBAL_CACHING_ENABLE] = { "global caching", { F(134, 134), F(134, 134),      NONE,                NONE } },
    [QMD_API_VISIBLE_CALL_LIMIT] = { "call limit", { F(378, 378),     F(378, 378),        F(568, 568),         F(456, 456) } },
    [QMD_SAMPLER_INDEX] = { "sampler index",    { F(382, 382),        F(382, 382),        F(569, 569),         F(457, 457) } },
    [QMD_CWD_MEMBAR_TYPE] = { "memory barrier", { F(369, 368),        F(369, 368),        F(1137, 1136),       F(625, 624) } },
    [QMD_SASS_VERSION] = { "SASS version",      { F(1023, 1016),      F(1663, 1656),      F(543, 536),         F(455, 448) } },
    [QMD_INVALIDATE_TEXTURE_HEADER_CACHE] = { "invalidate texture headers", { F(186, 186), F(186, 186), F(602, 602), F(472, 472) } },
    [QMD_INVALIDATE_TEXTURE_SAMPLER_CACHE] = { "invalidate samplers", { F(187, 187), F(187, 187), F(603, 603), F(473, 473) } },
    [QMD_INVALIDATE_TEXTURE_DATA_CACHE] = { "invalidate texture data", { F(188, 188), F(188, 188), F(604, 604), F(474, 474) } },
    [QMD_INVALIDATE_SHADER_DATA_CACHE] = { "invalidate shader data", { F(189, 189), F(189, 189), F(605, 605), F(475, 475) } },
    [QMD_GRID_WIDTH] = { "grid width",          { F(415, 384),        F(415, 384),        F(1055, 1024),       F(1279, 1248) } },
    [QMD_GRID_HEIGHT] = { "grid height",        { F(431, 416),        F(431, 416),        F(1071, 1056),       F(1295, 1280) } },
    [QMD_GRID_DEPTH] = { "grid depth",          { F(463, 448),        F(463, 448),        F(1103, 1088),       F(1327, 1312) } },
    [QMD_CTA_THREAD_DIMENSION0] = { "block x",  { F(607, 592),        F(607, 592),        F(1167, 1152),       F(1103, 1088) } },
    [QMD_CTA_THREAD_DIMENSION1] = { "block y",  { F(623, 608),        F(623, 608),        F(1183, 1168),       F(1119, 1104) } },
    [QMD_CTA_THREAD_DIMENSION2] = { "block z",  { F(639, 624),        F(639, 624),        F(1199, 1184),       F(1127, 1120) } },
    [QMD_REGISTER_COUNT] = { "registers",       { F(656, 648),        F(656, 648),        F(1208, 1200),       F(1136, 1128) } },
    [QMD_BARRIER_COUNT] = { "barriers",         { F(959, 955),        F(767, 763),        F(1215, 1211),       F(1141, 1137) } },
    [QMD_SHARED_MEMORY_SIZE] = { "shared memory", { F(561, 544),      F(561, 544),        F(601, 584),         U(1162, 1152, 7) } },
    [QMD_MIN_SM_CONFIG_SHARED_MEM_SIZE] = { "least shared split", { F(568, 562), F(567, 562), F(613, 608),     F(1168, 1163) } },
    [QMD_MAX_SM_CONFIG_SHARED_MEM_SIZE] = { "largest shared split", { F(575, 569), F(574, 569), F(619, 614),   F(1174, 1169) } },
    [QMD_TARGET_SM_CONFIG_SHARED_MEM_SIZE] = { "wanted shared split", { F(663, 657), F(662, 657), F(625, 620), F(1180, 1175) } },
    [QMD_SHADER_LOCAL_MEMORY_HIGH_SIZE] = { "local memory", { F(983, 960), F(1623, 1600), F(567, 544),         U(1215, 1200, 4) } },
    [QMD_PROGRAM_ADDRESS] = { "program",        { F(1584, 1536),      F(1584, 1536),      F(1272, 1216),       U(1076, 1024, 4) } },
    [QMD_PROGRAM_PREFETCH_ADDR_LOWER] = { "prefetch address", { F(287, 256), F(287, 256), F(1375, 1344),       F(1919, 1888) } },
    [QMD_PROGRAM_PREFETCH_ADDR_UPPER] = { "prefetch address, upper", { F(1000, 992), F(1640, 1632), F(1392, 1376), F(1936, 1920) } },
    [QMD_PROGRAM_PREFETCH_SIZE] = { "prefetch size", { F(1009, 1001), F(1649, 1641),      F(1401, 1393),       F(1085, 1077) } },
    [QMD_DEPENDENT_QMD0_POINTER] = { "next QMD", { NONE,              F(511, 480),        F(479, 448),         F(415, 384) } },
    [QMD_DEPENDENT_QMD0_ENABLE] = { "next QMD enable", { NONE,        F(512, 512),        F(368, 368),         F(336, 336) } },
    [QMD_DEPENDENT_QMD0_ACTION] = { "next QMD action", { NONE,        F(515, 513),        F(371, 369),         F(339, 337) } },
    [QMD_DEPENDENT_QMD0_PREFETCH] = { "next QMD prefetch", { NONE,    F(516, 516),        F(372, 372),         F(340, 340) } },
    [QMD_CONSTANT_BUFFER_VALID] = { "constant bank valid",
        { I(640, 640, 1, 0, 8), I(640, 640, 1, 0, 8), I(416, 416, 4, 0, 8), I(1856, 1856, 4, 0, 8) } },
    [QMD_CONSTANT_BUFFER_INVALIDATE] = { "constant bank invalidate",
        { I(1074, 1074, 64, 0, 8), I(1074, 1074, 64, 0, 8), I(419, 419, 4, 0, 8), I(1859, 1859, 4, 0, 8) } },
    [QMD_CONSTANT_BUFFER_ADDR] = { "constant bank address",
        { I(1072, 1024, 64, 0, 8), I(1072, 1024, 64, 0, 8), I(1586, 1536, 64, 6, 8), I(1394, 1344, 64, 6, 8) } },
    [QMD_CONSTANT_BUFFER_SIZE] = { "constant bank size",
        { I(1087, 1075, 64, 4, 8), I(1087, 1075, 64, 4, 8), I(1599, 1587, 64, 4, 8), I(1407, 1395, 64, 4, 8) } },
    [QMD_RELEASE_ENABLE] = { "release", { NONE, I(823, 823, 128, 0, 2), I(320, 320, 16, 0, 3), I(288, 288, 16, 0, 2) } },
    [QMD_RELEASE_STRUCTURE_SIZE] = { "release size", { NONE, I(831, 830, 128, 0, 2), I(322, 321, 16, 0, 3), I(290, 289, 16, 0, 2) } },
    [QMD_RELEASE_MEMBAR_TYPE] = { "release barrier", { NONE, I(819, 819, 128, 0, 2), I(323, 323, 16, 0, 3), I(291, 291, 16, 0, 2) } },
    [QMD_RELEASE_PAYLOAD64B] = { "release width", { NONE, I(829, 829, 128, 0, 2), I(332, 332, 16, 0, 3), I(300, 300, 16, 0, 2) } },
    [QMD_RELEASE_ADDR] = { "release address", { NONE, I(807, 768, 128, 0, 2), I(696, 640, 128, 0, 3), NONE } },
    [QMD_RELEASE_PAYLOAD] = { "release value", { NONE, I(895, 832, 128, 0, 2), I(767, 704, 128, 0, 3), NONE } },
    /* clang-format on */
};

/* Version 5 does not space its two releases evenly with anything smaller than a byte can say: 480 and 768, 544 and 832. */
static const struct place release_addr_v5[2] = {F(536, 480), F(824, 768)};
static const struct place release_payload_v5[2] = {F(607, 544), F(895, 832)};

static struct place place_of(enum qmd_version version, enum qmd_field field, unsigned index)
{
    assert(version >= QMD_V2 && version <= QMD_V5 && field < QMD_FIELD_COUNT);
    if (version == QMD_V5 && (field == QMD_RELEASE_ADDR || field == QMD_RELEASE_PAYLOAD)) {
        assert(index < 2);
        return (field == QMD_RELEASE_ADDR ? release_addr_v5 : release_payload_v5)[index];
    }
    struct place place = qmd_rows[field].in[version - QMD_V2];
    if (place.hi == 0)
        return place;
    assert(index < place.count);
    place.lo = (uint16_t)(place.lo + index * place.stride);
    place.hi = (uint16_t)(place.hi + index * place.stride);
    return place;
}

static uint64_t place_mask(struct place place)
{
    return ~UINT64_C(0) >> (63 - (place.hi - place.lo));
}

unsigned qmd_dwords(enum qmd_version version)
{
    return version >= QMD_V4 ? 96 : 64;
}

bool qmd_has(enum qmd_version version, enum qmd_field field)
{
    return place_of(version, field, 0).hi != 0;
}

const char *qmd_field_name(enum qmd_field field)
{
    return qmd_rows[field].name;
}

uint64_t qmd_max(enum qmd_version version, enum qmd_field field)
{
    struct place place = place_of(version, field, 0);
    return place.hi == 0 ? 0 : place_mask(place) << place.unit;
}

void qmd_set(enum qmd_version version, uint32_t *qmd, enum qmd_field field, unsigned index,
             uint64_t value)
{
    struct place place = place_of(version, field, index);
    assert(place.hi != 0 && (value & ((UINT64_C(1) << place.unit) - 1)) == 0);
    value >>= place.unit;
    uint64_t mask = place_mask(place);
    assert((value & ~mask) == 0);
    /* At most 64 bits, so they lie in at most three dwords. */
    unsigned shift = place.lo % 32;
    for (unsigned dword = place.lo / 32; mask != 0; dword++) {
        uint32_t part_mask = (uint32_t)(mask << shift);
        qmd[dword] = (qmd[dword] & ~part_mask) | ((uint32_t)(value << shift) & part_mask);
        mask >>= 32 - shift;
        value >>= 32 - shift;
        shift = 0;
    }
}

uint64_t qmd_get(enum qmd_version version, const uint32_t *qmd, enum qmd_field field,
                 unsigned index)
{
    struct place place = place_of(version, field, index);
    assert(place.hi != 0);
    uint64_t value = 0;
    for (unsigned bit = place.hi + 1u; bit-- > place.lo;)
        value = value << 1 | (qmd[bit / 32] >> bit % 32 & 1);
    return value << place.unit;
}

unsigned qmd_release_count(enum qmd_version version)
{
    return version == QMD_V5 ? 2 : qmd_rows[QMD_RELEASE_ENABLE].in[version - QMD_V2].count;
}

static void set_if_there(enum qmd_version version, uint32_t *qmd, enum qmd_field field,
                         uint64_t value)
{
    if (qmd_has(version, field))
        qmd_set(version, qmd, field, 0, value);
}

void qmd_program_encode(const struct qmd_program *p, uint32_t *qmd)
{
    enum qmd_version v = p->version;
    memset(qmd, 0, qmd_dwords(v) * 4);
    qmd_set(v, qmd, QMD_MAJOR_VERSION, 0, v);
    qmd_set(v, qmd, QMD_MINOR_VERSION, 0, v == QMD_V2 ? 3 : 0);
    set_if_there(v, qmd, QMD_TYPE, QMD_TYPE_GRID_CTA);
    set_if_there(v, qmd, QMD_SM_GLOBAL_CACHING_ENABLE, 1);
    qmd_set(v, qmd, QMD_GROUP_ID, 0, 0x3f);            /* in no group */
    qmd_set(v, qmd, QMD_API_VISIBLE_CALL_LIMIT, 0, 1); /* no check of the call depth */
    qmd_set(v, qmd, QMD_SAMPLER_INDEX, 0, 1);
    /* When the grid is complete, its writes reach everybody before anything else happens: a release needs no barrier. */
    qmd_set(v, qmd, QMD_CWD_MEMBAR_TYPE, 0, QMD_CWD_MEMBAR_TYPE_L1_SYSMEMBAR);
    qmd_set(v, qmd, QMD_SASS_VERSION, 0, p->sass_version);
    /* What kernels, copies and the CPU wrote since the last launch must be seen: nothing stale in the SMs' caches. */
    qmd_set(v, qmd, QMD_INVALIDATE_TEXTURE_HEADER_CACHE, 0, 1);
    qmd_set(v, qmd, QMD_INVALIDATE_TEXTURE_SAMPLER_CACHE, 0, 1);
    qmd_set(v, qmd, QMD_INVALIDATE_TEXTURE_DATA_CACHE, 0, 1);
    qmd_set(v, qmd, QMD_INVALIDATE_SHADER_DATA_CACHE, 0, 1);
    qmd_set(v, qmd, QMD_REGISTER_COUNT, 0, p->register_count);
    qmd_set(v, qmd, QMD_BARRIER_COUNT, 0, p->barrier_count);
    qmd_set(v, qmd, QMD_SHADER_LOCAL_MEMORY_HIGH_SIZE, 0, p->local_bytes);
    qmd_set(v, qmd, QMD_PROGRAM_ADDRESS, 0, p->program_gva);
    qmd_set(v, qmd, QMD_PROGRAM_PREFETCH_ADDR_LOWER, 0, p->program_gva >> 8 & 0xffffffff);
    qmd_set(v, qmd, QMD_PROGRAM_PREFETCH_ADDR_UPPER, 0, p->program_gva >> 40);
    qmd_set(v, qmd, QMD_PROGRAM_PREFETCH_SIZE, 0, min_u64(p->program_bytes >> 8, 0x1ff));
    qmd_set(v, qmd, QMD_MAX_SM_CONFIG_SHARED_MEM_SIZE, 0, p->shared_config_max_kib / 4 + 1);
    qmd_set(v, qmd, QMD_CONSTANT_BUFFER_VALID, 0, 1);
    qmd_set(v, qmd, QMD_CONSTANT_BUFFER_INVALIDATE, 0, 1); /* each launch brings its own bank 0 */
}

void qmd_launch_encode(enum qmd_version v, const struct qmd_launch *launch, uint32_t *qmd)
{
    for (unsigned axis = 0; axis < 3; axis++) {
        qmd_set(v, qmd, (enum qmd_field)(QMD_GRID_WIDTH + axis), 0, launch->grid[axis]);
        qmd_set(v, qmd, (enum qmd_field)(QMD_CTA_THREAD_DIMENSION0 + axis), 0, launch->block[axis]);
    }
    qmd_set(v, qmd, QMD_SHARED_MEMORY_SIZE, 0, align_up(launch->shared_bytes, 128));
    qmd_set(v, qmd, QMD_MIN_SM_CONFIG_SHARED_MEM_SIZE, 0, launch->shared_min_kib / 4 + 1);
    qmd_set(v, qmd, QMD_TARGET_SM_CONFIG_SHARED_MEM_SIZE, 0, launch->shared_target_kib / 4 + 1);
    qmd_set(v, qmd, QMD_CONSTANT_BUFFER_ADDR, 0, launch->constant_gva);
    qmd_set(v, qmd, QMD_CONSTANT_BUFFER_SIZE, 0, align_up(launch->constant_bytes, 16));
}

void qmd_release_encode(enum qmd_version v, uint32_t *qmd, unsigned slot, uint64_t gva,
                        uint64_t value)
{
    qmd_set(v, qmd, QMD_RELEASE_ENABLE, slot, 1);
    qmd_set(v, qmd, QMD_RELEASE_STRUCTURE_SIZE, slot, QMD_RELEASE_STRUCTURE_TWO_WORDS);
    qmd_set(v, qmd, QMD_RELEASE_PAYLOAD64B, slot, 1);
    qmd_set(v, qmd, QMD_RELEASE_ADDR, slot, gva);
    qmd_set(v, qmd, QMD_RELEASE_PAYLOAD, slot, value);
}
