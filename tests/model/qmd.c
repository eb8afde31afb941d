/*
 * tests/model/qmd.c: reads a Queue Meta Data block, which describes one grid, as the compute engine of each architecture would.
 *
 * Version 2.3 (Turing) and 3.0 (Ampere, Ada) are 256 bytes, 4.0 (Hopper) and 5.0 (Blackwell) 384. Every bit that is not in a
 * field below must be zero: it is reserved, the hardware's own, or asks for what is not modelled (queues, reductions, clusters,
 * latches, traps).
 *
 * Sources: open-gpu-doc classes/compute: clc5c0qmd.h (NVC5C0_QMDV02_03_*), clc6c0qmd.h (NVC6C0_QMDV03_00_*), clcbc0qmd.h
 * (NVCBC0_QMDV04_00_*), clcec0qmd.h (NVCEC0_QMDV05_00_*); limits from the CUDA C++ Programming Guide 13.0, "Compute
 * Capabilities"; the unit of the shared memory splits (kib / 4 + 1) from tinygrad runtime/ops_nv.py.
 */
#include "tests/model/engines.h"

#include <stdio.h>
#include <string.h>

enum field {
    MINOR_VERSION,
    MAJOR_VERSION,
    TYPE,
    GROUP_ID,
    SM_GLOBAL_CACHING_ENABLE,
    API_VISIBLE_CALL_LIMIT,
    SAMPLER_INDEX,
    CWD_MEMBAR_TYPE,
    SASS_VERSION,
    INVALIDATE_CACHES, /* six bits: texture header, sampler, data, shader data, instruction, constant */
    GRID_WIDTH,
    GRID_HEIGHT,
    GRID_DEPTH,
    CTA_THREAD_DIMENSION0,
    CTA_THREAD_DIMENSION1,
    CTA_THREAD_DIMENSION2,
    REGISTER_COUNT,
    BARRIER_COUNT,
    SHARED_MEMORY_SIZE,
    MIN_SM_CONFIG,
    TARGET_SM_CONFIG,
    MAX_SM_CONFIG,
    LOCAL_MEMORY_LOW,
    LOCAL_MEMORY_HIGH,
    PROGRAM_ADDRESS,
    PREFETCH_LOWER,
    PREFETCH_UPPER,
    PREFETCH_SIZE,
    DEPENDENT_POINTER,
    DEPENDENT_ENABLE,
    DEPENDENT_ACTION,
    DEPENDENT_PREFETCH,
    CONSTANT_VALID,
    CONSTANT_INVALIDATE,
    CONSTANT_ADDRESS,
    CONSTANT_SIZE,
    RELEASE_ENABLE,
    RELEASE_STRUCTURE_SIZE,
    RELEASE_MEMBAR_TYPE,
    RELEASE_64_BIT,
    RELEASE_ADDRESS,
    RELEASE_PAYLOAD,
    FIELD_COUNT,
};

struct place {
    uint16_t hi, lo;
    uint8_t count;   /* of an indexed field */
    uint8_t shift;   /* the value is the field << shift */
    uint16_t stride; /* bits from one to the next */
};
#define F(hi_bit, lo_bit)     {.hi = hi_bit, .lo = lo_bit, .count = 1}
#define U(hi_bit, lo_bit, by) {.hi = hi_bit, .lo = lo_bit, .count = 1, .shift = by}
#define I(hi_bit, lo_bit, many, by, step) \
    {.hi = hi_bit, .lo = lo_bit, .count = many, .shift = by, .stride = step}
#define NONE {.count = 0}

/* clang-format off */
static const struct place fields[FIELD_COUNT][4] = {
    /* each: 2.3, 3.0, 4.0, 5.0 */
    [MINOR_VERSION] = {F(579, 576), F(579, 576), F(579, 576), F(467, 464)},
    [MAJOR_VERSION] = {F(583, 580), F(583, 580), F(583, 580), F(471, 468)},
    [TYPE] = {NONE, NONE, F(25, 23), F(153, 151)},
    [GROUP_ID] = {F(133, 128), F(133, 128), F(21, 16), F(149, 144)},
    [SM_GLOBAL_CACHING_ENABLE] = {F(134, 134), F(134, 134), NONE, NONE},
    [API_VISIBLE_CALL_LIMIT] = {F(378, 378), F(378, 378), F(568, 568), F(456, 456)},
    [SAMPLER_INDEX] = {F(382, 382), F(382, 382), F(569, 569), F(457, 457)},
    [CWD_MEMBAR_TYPE] = {F(369, 368), F(369, 368), F(1137, 1136), F(625, 624)},
    [SASS_VERSION] = {F(1023, 1016), F(1663, 1656), F(543, 536), F(455, 448)},
    [INVALIDATE_CACHES] = {F(191, 186), F(191, 186), F(607, 602), F(477, 472)},
    [GRID_WIDTH] = {F(415, 384), F(415, 384), F(1055, 1024), F(1279, 1248)},
    [GRID_HEIGHT] = {F(431, 416), F(431, 416), F(1071, 1056), F(1295, 1280)},
    [GRID_DEPTH] = {F(463, 448), F(463, 448), F(1103, 1088), F(1327, 1312)},
    [CTA_THREAD_DIMENSION0] = {F(607, 592), F(607, 592), F(1167, 1152), F(1103, 1088)},
    [CTA_THREAD_DIMENSION1] = {F(623, 608), F(623, 608), F(1183, 1168), F(1119, 1104)},
    [CTA_THREAD_DIMENSION2] = {F(639, 624), F(639, 624), F(1199, 1184), F(1127, 1120)},
    [REGISTER_COUNT] = {F(656, 648), F(656, 648), F(1208, 1200), F(1136, 1128)},
    [BARRIER_COUNT] = {F(959, 955), F(767, 763), F(1215, 1211), F(1141, 1137)},
    [SHARED_MEMORY_SIZE] = {F(561, 544), F(561, 544), F(601, 584), U(1162, 1152, 7)},
    [MIN_SM_CONFIG] = {F(568, 562), F(567, 562), F(613, 608), F(1168, 1163)},
    [TARGET_SM_CONFIG] = {F(663, 657), F(662, 657), F(625, 620), F(1180, 1175)},
    [MAX_SM_CONFIG] = {F(575, 569), F(574, 569), F(619, 614), F(1174, 1169)},
    [LOCAL_MEMORY_LOW] = {F(951, 928), F(759, 736), F(535, 512), U(1199, 1184, 4)},
    [LOCAL_MEMORY_HIGH] = {F(983, 960), F(1623, 1600), F(567, 544), U(1215, 1200, 4)},
    [PROGRAM_ADDRESS] = {F(1584, 1536), F(1584, 1536), F(1272, 1216), U(1076, 1024, 4)},
    [PREFETCH_LOWER] = {U(287, 256, 8), U(287, 256, 8), U(1375, 1344, 8), U(1919, 1888, 8)},
    [PREFETCH_UPPER] = {F(1000, 992), F(1640, 1632), F(1392, 1376), F(1936, 1920)},
    [PREFETCH_SIZE] = {U(1009, 1001, 8), U(1649, 1641, 8), U(1401, 1393, 8), U(1085, 1077, 8)},
    [DEPENDENT_POINTER] = {U(511, 480, 8), U(511, 480, 8),
        I(479, 448, 2, 8, 32), I(415, 384, 2, 8, 32)},
    [DEPENDENT_ENABLE] = {F(141, 141), F(512, 512), I(368, 368, 2, 0, 5), I(336, 336, 2, 0, 8)},
    [DEPENDENT_ACTION] = {NONE, F(515, 513), I(371, 369, 2, 0, 5), I(339, 337, 2, 0, 8)},
    [DEPENDENT_PREFETCH] = {NONE, F(516, 516), I(372, 372, 2, 0, 5), I(340, 340, 2, 0, 8)},
    [CONSTANT_VALID] = {I(640, 640, 8, 0, 1), I(640, 640, 8, 0, 1),
        I(416, 416, 8, 0, 4), I(1856, 1856, 8, 0, 4)},
    [CONSTANT_INVALIDATE] = {I(1074, 1074, 8, 0, 64), I(1074, 1074, 8, 0, 64),
        I(419, 419, 8, 0, 4), I(1859, 1859, 8, 0, 4)},
    [CONSTANT_ADDRESS] = {I(1072, 1024, 8, 0, 64), I(1072, 1024, 8, 0, 64),
        I(1586, 1536, 8, 6, 64), I(1394, 1344, 8, 6, 64)},
    [CONSTANT_SIZE] = {I(1087, 1075, 8, 4, 64), I(1087, 1075, 8, 4, 64),
        I(1599, 1587, 8, 4, 64), I(1407, 1395, 8, 4, 64)},
    [RELEASE_ENABLE] = {I(138, 138, 2, 0, 1), I(823, 823, 2, 0, 128),
        I(320, 320, 3, 0, 16), I(288, 288, 3, 0, 16)},
    [RELEASE_STRUCTURE_SIZE] = {I(799, 799, 2, 0, 96), I(831, 830, 2, 0, 128),
        I(322, 321, 3, 0, 16), I(290, 289, 3, 0, 16)},
    [RELEASE_MEMBAR_TYPE] = {F(366, 366), I(819, 819, 2, 0, 128),
        I(323, 323, 3, 0, 16), I(291, 291, 3, 0, 16)},
    [RELEASE_64_BIT] = {NONE, I(829, 829, 2, 0, 128), I(332, 332, 3, 0, 16), I(300, 300, 3, 0, 16)},
    [RELEASE_ADDRESS] = {I(775, 736, 2, 0, 96), I(807, 768, 2, 0, 128),
        I(696, 640, 3, 0, 128), I(536, 480, 3, 0, 0)},
    [RELEASE_PAYLOAD] = {I(831, 800, 2, 0, 96), I(895, 832, 2, 0, 128),
        I(767, 704, 3, 0, 128), I(607, 544, 3, 0, 0)},
};
/* clang-format on */

/* In version 5 the three releases are not evenly spaced. */
static const uint16_t release_offset_v5[3] = {0, 768 - 480, 896 - 480};

/* Splits of an SM's memory, and the most one block may have, with the 1 KiB that the system takes (none on Turing). */
static const struct limits {
    unsigned sm;
    uint16_t splits[11];
    uint32_t shared_bytes;
} all_limits[] = {
    {75, {32, 64}, 64 * 1024},
    {80, {1, 8, 16, 32, 64, 100, 132, 164}, 164 * 1024},
    {86, {1, 8, 16, 32, 64, 100}, 100 * 1024},
    {89, {1, 8, 16, 32, 64, 100}, 100 * 1024},
    {90, {1, 8, 16, 32, 64, 100, 132, 164, 196, 228}, 228 * 1024},
    {100, {1, 8, 16, 32, 64, 100, 132, 164, 196, 228}, 228 * 1024},
    {120, {1, 8, 16, 32, 64, 100}, 100 * 1024},
};

static unsigned version_of(const struct chip *chip)
{
    return chip->family == TURING ? 2 : chip->family <= ADA ? 3 : chip->family == HOPPER ? 4 : 5;
}

unsigned qmd_words(const struct chip *chip)
{
    return version_of(chip) >= 4 ? 96 : 64;
}

static bool place_of(unsigned version, enum field field, unsigned index, struct place *out)
{
    *out = fields[field][version - 2];
    if (index >= out->count)
        return false;
    uint16_t offset = (uint16_t)(index * out->stride);
    if (version == 5 && (field == RELEASE_ADDRESS || field == RELEASE_PAYLOAD))
        offset = release_offset_v5[index];
    out->hi = (uint16_t)(out->hi + offset);
    out->lo = (uint16_t)(out->lo + offset);
    return true;
}

static uint64_t get(unsigned version, const uint32_t *words, enum field field, unsigned index)
{
    struct place place;
    if (!place_of(version, field, index, &place))
        return 0;
    uint64_t value = 0;
    for (unsigned bit = place.hi + 1u; bit-- > place.lo;)
        value = value << 1 | (words[bit / 32] >> bit % 32 & 1);
    return value << place.shift;
}

/* A bit that is set although no field has it; -1: none. */
static int stray_bit(unsigned version, const uint32_t *words, unsigned count)
{
    uint32_t known[QMD_WORDS_MAX] = {0};
    for (unsigned field = 0; field < FIELD_COUNT; field++) {
        struct place place;
        for (unsigned i = 0; place_of(version, (enum field)field, i, &place); i++)
            for (unsigned bit = place.lo; bit <= place.hi; bit++)
                known[bit / 32] |= 1u << bit % 32;
    }
    for (unsigned i = 0; i < count; i++)
        if (words[i] & ~known[i])
            return (int)(i * 32) + __builtin_ctz(words[i] & ~known[i]);
    return -1;
}

/* ---- checks ---------------------------------------------------------------------------------------------------- */

static const char *check_split(const struct limits *limits, uint32_t kib)
{
    for (unsigned i = 0; i < 11 && limits->splits[i] != 0; i++)
        if ((limits->splits[i] == 1 ? 0u : limits->splits[i]) == kib)
            return NULL;
    return "a split of the SM's memory that the architecture has not";
}

static const char *check_shape(const struct chip *chip, const struct grid *g)
{
    const struct limits *limits = NULL;
    for (unsigned i = 0; i < sizeof(all_limits) / sizeof(all_limits[0]); i++)
        if (all_limits[i].sm == chip->sm)
            limits = &all_limits[i];
    if (!limits)
        return "an architecture whose limits are not known here";
    if (g->size[0] == 0 || g->size[1] == 0 || g->size[2] == 0 || g->size[0] > INT32_MAX)
        return "an impossible grid";
    uint64_t threads = (uint64_t)g->block[0] * g->block[1] * g->block[2];
    if (threads == 0 || threads > 1024 || g->block[2] > 64)
        return "an impossible block";
    if (g->registers == 0 || g->registers > 255)
        return "an impossible number of registers";
    uint64_t warps = (threads + 31) / 32, per_warp = (g->registers * 32 + 255) / 256 * 256;
    if (warps * per_warp > 65536)
        return "a block that needs more registers than an SM has";
    if (g->barriers > 16)
        return "more barriers than an SM has";
    if (g->shared_bytes % 128 || g->shared_bytes > limits->shared_bytes)
        return "an impossible amount of shared memory";
    for (unsigned i = 0; i < 3; i++)
        if (check_split(limits, g->shared_config_kib[i]))
            return check_split(limits, g->shared_config_kib[i]);
    if (g->shared_bytes > g->shared_config_kib[0] * 1024)
        return "a least split in which one block does not fit";
    if (g->shared_config_kib[0] > g->shared_config_kib[1] ||
        g->shared_config_kib[1] > g->shared_config_kib[2])
        return "splits that are not in order";
    /* The number of the SM itself, which for sm_120 is 10.4 (tinygrad runtime/ops_nv.py). */
    if (g->sass_version != (chip->sm == 120 ? 0xa4 : chip->sm / 10 * 16 + chip->sm % 10))
        return "a SASS version that is not the chip's";
    return NULL;
}

static const char *check_addresses(const struct chip *chip, const struct grid *g)
{
    unsigned va_bits = chip->mmu_version >= 3 ? 57 : 49;
    if (g->program % 128 || g->program >> va_bits)
        return "a program address that is not aligned to 128 bytes or has too many bits";
    if (g->prefetch_bytes != 0 && g->prefetch != (g->program & ~UINT64_C(255)))
        return "a prefetch of other code than the program";
    if (!g->bank[0].is_valid)
        return "no constant bank 0, where the arguments are";
    for (unsigned i = 0; i < 8; i++)
        if (g->bank[i].is_valid &&
            (g->bank[i].address % 64 || g->bank[i].bytes == 0 || g->bank[i].bytes > 65536))
            return "a constant bank of an impossible address or size";
    return NULL;
}

static const char *read_releases(unsigned version, const uint32_t *words, struct grid *g)
{
    for (unsigned i = 0; i < fields[RELEASE_ENABLE][version - 2].count; i++) {
        if (!get(version, words, RELEASE_ENABLE, i))
            continue;
        struct grid_release *r = &g->release[g->release_count++];
        uint64_t size = get(version, words, RELEASE_STRUCTURE_SIZE, i);
        *r = (struct grid_release){.address = get(version, words, RELEASE_ADDRESS, i),
                                   .payload = get(version, words, RELEASE_PAYLOAD, i),
                                   .is_64_bit = get(version, words, RELEASE_64_BIT, i),
                                   .has_timestamp = size == 0};
        /* FOUR_WORDS 0 (with a time stamp), ONE_WORD 1, TWO_WORDS 2 */
        if (size == 3 || (size == 1 && r->is_64_bit) || (size == 2 && !r->is_64_bit))
            return "a release whose structure does not hold its payload";
        if (!r->is_64_bit && r->payload >> 32)
            return "a release of 32 bits with a larger payload";
        if (r->address % (size == 0 ? 16 : size == 2 ? 8 : 4))
            return "a release to an address that is not aligned to its size";
    }
    return NULL;
}

static const char *read_dependents(unsigned version, const uint32_t *words, struct grid *g)
{
    for (unsigned i = 0; i < fields[DEPENDENT_ENABLE][version - 2].count; i++) {
        if (!get(version, words, DEPENDENT_ENABLE, i))
            continue;
        if (version > 2 && get(version, words, DEPENDENT_ACTION, i) != 1) /* QMD_SCHEDULE */
            return "an action with the next QMD that is not modelled";
        if (version == 2)
            return "a chain of grids, which this version can only do with queues";
        g->dependent[g->dependent_count++] = get(version, words, DEPENDENT_POINTER, i);
    }
    return NULL;
}

const char *qmd_decode(const struct chip *chip, const uint32_t *words, struct grid *g,
                       char *problem, size_t bytes)
{
    unsigned v = version_of(chip);
    uint64_t qmd_address = g->qmd_address;
    *g = (struct grid){.qmd_address = qmd_address};
    uint64_t major = get(v, words, MAJOR_VERSION, 0), minor = get(v, words, MINOR_VERSION, 0);
    if (major != v || minor != (v == 2 ? 3 : 0)) {
        snprintf(problem, bytes, "version %u.%u, the chip wants %u.%u", (unsigned)major,
                 (unsigned)minor, v, v == 2 ? 3u : 0u);
        return problem;
    }
    int stray = stray_bit(v, words, qmd_words(chip));
    if (stray >= 0) {
        snprintf(problem, bytes, "bit %d is set, which is reserved or not modelled", stray);
        return problem;
    }
    if (v >= 4 && get(v, words, TYPE, 0) != 2) /* QMD_TYPE_GRID_CTA */
        return "a type other than GRID_CTA";
    if (get(v, words, CWD_MEMBAR_TYPE, 0) == 2)
        return "a memory barrier of a kind that there is not";
    for (unsigned i = 0; i < 3; i++) {
        g->size[i] = (uint32_t)get(v, words, (enum field)(GRID_WIDTH + i), 0);
        g->block[i] = (uint32_t)get(v, words, (enum field)(CTA_THREAD_DIMENSION0 + i), 0);
        uint64_t split = get(v, words, (enum field)(MIN_SM_CONFIG + i), 0);
        if (split == 0)
            return "no split of the SM's memory";
        g->shared_config_kib[i] = (uint32_t)(split - 1) * 4;
    }
    g->registers = (uint32_t)get(v, words, REGISTER_COUNT, 0);
    g->barriers = (uint32_t)get(v, words, BARRIER_COUNT, 0);
    g->shared_bytes = (uint32_t)get(v, words, SHARED_MEMORY_SIZE, 0);
    g->local_bytes =
        (uint32_t)(get(v, words, LOCAL_MEMORY_LOW, 0) + get(v, words, LOCAL_MEMORY_HIGH, 0));
    g->sass_version = (uint32_t)get(v, words, SASS_VERSION, 0);
    g->program = get(v, words, PROGRAM_ADDRESS, 0);
    g->prefetch = get(v, words, PREFETCH_LOWER, 0) | get(v, words, PREFETCH_UPPER, 0) << 40;
    g->prefetch_bytes = (uint32_t)get(v, words, PREFETCH_SIZE, 0);
    g->invalidates_instructions = get(v, words, INVALIDATE_CACHES, 0) >> 4 & 1;
    for (unsigned i = 0; i < 8; i++)
        g->bank[i] = (struct grid_bank){.is_valid = get(v, words, CONSTANT_VALID, i),
                                        .address = get(v, words, CONSTANT_ADDRESS, i),
                                        .bytes = (uint32_t)get(v, words, CONSTANT_SIZE, i)};
    const char *text = check_shape(chip, g);
    if (!text)
        text = check_addresses(chip, g);
    if (!text)
        text = read_releases(v, words, g);
    if (!text)
        text = read_dependents(v, words, g);
    return text;
}
