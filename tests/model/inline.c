/*
 * tests/model/inline.c: inline-to-memory: data words of the push buffer written to memory, line by line.
 *
 * LAUNCH_DMA begins a transfer of LINE_COUNT lines of LINE_LENGTH_IN bytes; each LOAD_INLINE_DATA brings four of them. A line's
 * last word may be used in part, the next line begins with a new word.
 *
 * Sources: open-gpu-doc classes/inline-to-memory/cla140.h; the same methods in classes/compute/clc6c0.h.
 */
#include "tests/model/engines.h"

enum {
    LINE_LENGTH_IN = 0x180,
    LINE_COUNT = 0x184,
    OFFSET_OUT_UPPER = 0x188,
    OFFSET_OUT = 0x18c,
    PITCH_OUT = 0x190,
    LAUNCH_DMA = 0x1b0,
    LOAD_INLINE_DATA = 0x1b4,
    SET_I2M_SEMAPHORE_A = 0x1dc,
    SET_I2M_SEMAPHORE_B = 0x1e0,
    SET_I2M_SEMAPHORE_C = 0x1e4,
};
#define DST_IS_PITCH(launch)       bits(launch, 0, 0)
#define COMPLETION(launch)         bits(launch, 5, 4)
#define COMPLETION_RELEASE         2
#define SEMAPHORE_ONE_WORD(launch) bits(launch, 12, 12)
#define LAUNCH_DEFINED             UINT32_C(0x1171) /* without reductions */

static uint64_t line_words(const struct inline_state *s)
{
    return ((uint64_t)s->line_length + 3) / 4;
}

static enum outcome finish(struct model *m, struct channel *c)
{
    const struct inline_state *s = &c->compute.inlined;
    struct violation why;
    uint64_t semaphore = (uint64_t)s->semaphore[0] << 32 | s->semaphore[1];
    bool has_timestamp = !SEMAPHORE_ONE_WORD(s->launch);
    if (COMPLETION(s->launch) != COMPLETION_RELEASE)
        return DONE;
    if (semaphore % (has_timestamp ? 16 : 4))
        return compute_class_error(m, c, "a semaphore that is not aligned to its size", LAUNCH_DMA,
                                   s->launch);
    return semaphore_write(m, TLB_HUB, c, semaphore, s->payload, false, has_timestamp, &why)
               ? DONE
               : engine_mmu_fault(m, c, "FE", &why);
}

static enum outcome load(struct model *m, struct channel *c, uint32_t data)
{
    struct inline_state *s = &c->compute.inlined;
    if (s->taken == s->wanted)
        return compute_class_error(m, c, "data without a transfer", LOAD_INLINE_DATA, data);
    uint64_t line = s->taken / line_words(s), offset = s->taken % line_words(s) * 4;
    uint64_t gva = ((uint64_t)s->out[0] << 32 | s->out[1]) + line * s->pitch + offset;
    uint64_t bytes = s->line_length - offset < 4 ? s->line_length - offset : 4;
    struct violation why;
    if (!gpu_write(m, TLB_HUB, &c->space, gva, &data, bytes, &why))
        return engine_mmu_fault(m, c, "FE", &why);
    return ++s->taken == s->wanted ? finish(m, c) : DONE;
}

enum outcome inline_method(struct model *m, struct channel *c, uint32_t method, uint32_t data)
{
    struct inline_state *s = &c->compute.inlined;
    if (s->taken != s->wanted && method != LOAD_INLINE_DATA)
        return compute_class_error(m, c, "another method in the middle of a transfer", method,
                                   data);
    switch (method) {
    case LINE_LENGTH_IN:
        s->line_length = data;
        return DONE;
    case LINE_COUNT:
        s->line_count = data;
        return DONE;
    case OFFSET_OUT_UPPER:
    case OFFSET_OUT:
        s->out[(method - OFFSET_OUT_UPPER) / 4] = data;
        return DONE;
    case PITCH_OUT:
        s->pitch = data;
        return DONE;
    case SET_I2M_SEMAPHORE_A:
    case SET_I2M_SEMAPHORE_B:
        s->semaphore[(method - SET_I2M_SEMAPHORE_A) / 4] = data;
        return DONE;
    case SET_I2M_SEMAPHORE_C:
        s->payload = data;
        return DONE;
    case LAUNCH_DMA:
        if (!DST_IS_PITCH(data) || (data & ~LAUNCH_DEFINED))
            return compute_class_error(m, c, "a transfer of a kind that is not modelled", method,
                                       data);
        if (s->line_length == 0 || s->line_count == 0)
            return compute_class_error(m, c, "a transfer of nothing", method, data);
        s->launch = data;
        s->taken = 0;
        s->wanted = line_words(s) * s->line_count;
        return DONE;
    case LOAD_INLINE_DATA:
        return load(m, c, data);
    default:
        return compute_class_error(m, c, "a method that is not modelled", method, data);
    }
}
