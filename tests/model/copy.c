/*
 * tests/model/copy.c: copy engines: lines between pitch-linear memory, remapped elements and fills, semaphores.
 *
 * LAUNCH_DMA takes what the other methods have set and queues a job; jobs of a channel run one after the other, a few
 * megabytes per step. A job without a transfer only releases its semaphore, after everything before it.
 *
 * Sources: open-gpu-doc classes/dma-copy: clc5b5.h (Turing), clc6b5.h, clc7b5.h (Ampere, Ada), clc8b5.h (Hopper), clc9b5.h,
 * clcab5.h (Blackwell).
 */
#include "tests/model/engines.h"

#include <string.h>

enum {
    NOP = 0x100,
    PM_TRIGGER = 0x140,
    SET_SEMAPHORE_A = 0x240,
    SET_SEMAPHORE_B = 0x244,
    SET_SEMAPHORE_PAYLOAD = 0x248,
    SET_SEMAPHORE_PAYLOAD_UPPER = 0x24c, /* from clc7b5.h on */
    SET_SRC_PHYS_MODE = 0x260,
    SET_DST_PHYS_MODE = 0x264,
    LAUNCH_DMA = 0x300,
    OFFSET_IN_UPPER = 0x400,
    OFFSET_IN_LOWER = 0x404,
    OFFSET_OUT_UPPER = 0x408,
    OFFSET_OUT_LOWER = 0x40c,
    PITCH_IN = 0x410,
    PITCH_OUT = 0x414,
    LINE_LENGTH_IN = 0x418,
    LINE_COUNT = 0x41c,
    SET_REMAP_CONST_A = 0x700,
    SET_REMAP_CONST_B = 0x704,
    SET_REMAP_COMPONENTS = 0x708,
};

/* LAUNCH_DMA's fields */
#define TRANSFER(launch)          bits(launch, 1, 0)
#define TRANSFER_NONE             0
#define TRANSFER_PIPELINED        1
#define TRANSFER_NON_PIPELINED    2
#define SEMAPHORE_TYPE(launch)    bits(launch, 4, 3)
#define SEMAPHORE_NONE            0
#define SEMAPHORE_NO_TIMESTAMP    1
#define SEMAPHORE_TIMESTAMP       2
#define INTERRUPT_TYPE(launch)    bits(launch, 6, 5)
#define INTERRUPT_NON_BLOCKING    2
#define SRC_IS_PITCH(launch)      bits(launch, 7, 7)
#define DST_IS_PITCH(launch)      bits(launch, 8, 8)
#define IS_MULTI_LINE(launch)     bits(launch, 9, 9)
#define IS_REMAP(launch)          bits(launch, 10, 10)
#define SRC_IS_PHYSICAL(launch)   bits(launch, 12, 12)
#define DST_IS_PHYSICAL(launch)   bits(launch, 13, 13)
#define REDUCTION_ENABLE(launch)  bits(launch, 19, 19)
#define PAYLOAD_IS_64_BIT(launch) bits(launch, 27, 27)

#define REMAP_CONST_A             4
#define REMAP_CONST_B             5
#define REMAP_NO_WRITE            6

#define STEP_BYTES                (UINT64_C(2) << 20)

/* The fields that each class's LAUNCH_DMA has. */
static const struct {
    uint32_t class_id, launch_bits;
    unsigned upper_bits; /* of the upper half of an address */
} classes[] = {
    {0xc5b5, 0x07ffffff & ~(1u << 24), 17}, /* TURING_DMA_COPY_A */
    {0xc6b5, 0x06cfffff, 17},               /* AMPERE_DMA_COPY_A */
    {0xc7b5, 0x0ecfffff, 17},               /* AMPERE_DMA_COPY_B */
    {0xc8b5, 0x0effffff, 25},               /* HOPPER_DMA_COPY_A */
    {0xc9b5, 0x0efff7ff, 25},               /* BLACKWELL_DMA_COPY_A */
    {0xcab5, 0x0efff7ff, 25},               /* BLACKWELL_DMA_COPY_B */
};

static unsigned class_index(uint32_t class_id)
{
    unsigned i = 0;
    while (i < sizeof(classes) / sizeof(classes[0]) && classes[i].class_id != class_id)
        i++;
    return i;
}

bool copy_knows_class(uint32_t class_id)
{
    return class_index(class_id) < sizeof(classes) / sizeof(classes[0]);
}

bool copy_is_idle(const struct channel *c)
{
    return c->copy.get == c->copy.put;
}

static const char *client_of(const struct channel *c)
{
    static const char *const names[] = {"CE0", "CE1", "CE2", "CE3", "CE4",
                                        "CE5", "CE6", "CE7", "CE8", "CE9"};
    if (c->is.engine == ENGINE_GRAPHICS)
        return "GRCOPY";
    return c->is.engine_index < sizeof(names) / sizeof(names[0]) ? names[c->is.engine_index] : "CE";
}

/* Only the first three copy engines' error codes are in a row (nverror.h). */
static uint32_t error_code(const struct channel *c)
{
    unsigned i = c->is.engine == ENGINE_COPY ? c->is.engine_index : 0;
    return i <= 2 ? RC_CE0 + i : i <= 5 ? 70 + i - 3 : i <= 8 ? 75 + i - 6 : RC_CE0;
}

static enum outcome copy_fault(struct model *m, struct channel *c, const char *what, uint64_t value)
{
    refuse(m, "copy: channel %u: %s (0x%llx)", c->is.channel_id, what, (unsigned long long)value);
    return engine_fault(m, c, error_code(c), client_of(c), "%s: LAUNCHERR: %s", client_of(c), what);
}

/* ---- methods --------------------------------------------------------------------------------------------------- */

static unsigned component_bytes(uint32_t remap)
{
    return (unsigned)bits(remap, 17, 16) + 1;
}

static unsigned element_in(uint32_t remap)
{
    return component_bytes(remap) * ((unsigned)bits(remap, 21, 20) + 1);
}

static unsigned element_out(uint32_t remap)
{
    return component_bytes(remap) * ((unsigned)bits(remap, 25, 24) + 1);
}

static uint64_t address(const uint32_t upper_lower[2])
{
    return (uint64_t)upper_lower[0] << 32 | upper_lower[1];
}

static enum outcome check_transfer(struct model *m, struct channel *c, const struct copy_job *job)
{
    if (TRANSFER(job->launch) == 3)
        return copy_fault(m, c, "a transfer type that is not modelled", job->launch);
    if (SRC_IS_PHYSICAL(job->launch) || DST_IS_PHYSICAL(job->launch))
        return copy_fault(m, c, "physical addresses, which a user's channel may not use",
                          job->launch);
    if (!SRC_IS_PITCH(job->launch) || !DST_IS_PITCH(job->launch))
        return copy_fault(m, c, "block-linear memory, which is not modelled", job->launch);
    if (job->line_length == 0 || (IS_MULTI_LINE(job->launch) && job->line_count == 0))
        return copy_fault(m, c, "nothing to copy: a line length or count of 0", job->line_length);
    if (IS_REMAP(job->launch)) {
        unsigned size = component_bytes(job->remap);
        if (job->out % size)
            return copy_fault(m, c, "a destination that is not aligned to the remapped component",
                              job->out);
        if (job->remap & ~UINT32_C(0x03337777))
            refuse(m, "copy: SET_REMAP_COMPONENTS 0x%08x has bits that no field has", job->remap);
    }
    return DONE;
}

static enum outcome launch(struct model *m, struct channel *c, uint32_t data)
{
    struct copy_state *s = &c->copy;
    if (s->put - s->get == COPY_JOBS_MAX)
        return BUSY;
    unsigned index = class_index(m->chip->copy_class);
    uint32_t upper_mask = (1u << classes[index].upper_bits) - 1;
    struct copy_job job = {.launch = data,
                           .in = address(s->in),
                           .out = address(s->out),
                           .semaphore = address(s->semaphore),
                           .payload = s->payload[0],
                           .pitch_in = s->pitch_in,
                           .pitch_out = s->pitch_out,
                           .line_length = s->line_length,
                           .line_count = IS_MULTI_LINE(data) ? s->line_count : 1,
                           .remap = s->remap,
                           .constant = {s->constant[0], s->constant[1]}};
    if (data & ~classes[index].launch_bits)
        return copy_fault(m, c, "LAUNCH_DMA has bits that no field of the class has",
                          data & ~classes[index].launch_bits);
    if ((s->in[0] | s->out[0] | s->semaphore[0]) & ~upper_mask)
        return copy_fault(m, c, "an address with more bits than the class has", s->out[0]);
    if (TRANSFER(data) != TRANSFER_NONE && check_transfer(m, c, &job) == FAULT)
        return FAULT;
    if (SEMAPHORE_TYPE(data) != SEMAPHORE_NONE) {
        bool is_64_bit = PAYLOAD_IS_64_BIT(data);
        unsigned align = SEMAPHORE_TYPE(data) == SEMAPHORE_TIMESTAMP ? 16 : is_64_bit ? 8 : 4;
        if (is_64_bit)
            job.payload |= (uint64_t)s->payload[1] << 32;
        if (job.semaphore % align)
            return copy_fault(m, c, "a semaphore that is not aligned to its size", job.semaphore);
        if (SEMAPHORE_TYPE(data) == 3 || REDUCTION_ENABLE(data))
            return copy_fault(m, c, "a kind of semaphore that is not modelled", data);
    }
    s->jobs[s->put++ % COPY_JOBS_MAX] = job;
    return DONE;
}

enum outcome copy_method(struct model *m, struct channel *c, uint32_t method, uint32_t data)
{
    struct copy_state *s = &c->copy;
    switch (method) {
    case NOP:
    case PM_TRIGGER:
        return DONE;
    case SET_SEMAPHORE_A:
    case SET_SEMAPHORE_B:
        s->semaphore[(method - SET_SEMAPHORE_A) / 4] = data;
        return DONE;
    case SET_SEMAPHORE_PAYLOAD_UPPER:
        if (m->chip->copy_class < 0xc7b5)
            break;
        s->payload[1] = data;
        return DONE;
    case SET_SEMAPHORE_PAYLOAD:
        s->payload[0] = data;
        return DONE;
    case SET_SRC_PHYS_MODE:
    case SET_DST_PHYS_MODE:
        return DONE; /* means something for physical addresses only, and those are refused */
    case LAUNCH_DMA:
        return launch(m, c, data);
    case OFFSET_IN_UPPER:
    case OFFSET_IN_LOWER:
        s->in[(method - OFFSET_IN_UPPER) / 4] = data;
        return DONE;
    case OFFSET_OUT_UPPER:
    case OFFSET_OUT_LOWER:
        s->out[(method - OFFSET_OUT_UPPER) / 4] = data;
        return DONE;
    case PITCH_IN:
        s->pitch_in = data;
        return DONE;
    case PITCH_OUT:
        s->pitch_out = data;
        return DONE;
    case LINE_LENGTH_IN:
        s->line_length = data;
        return DONE;
    case LINE_COUNT:
        s->line_count = data;
        return DONE;
    case SET_REMAP_CONST_A:
    case SET_REMAP_CONST_B:
        s->constant[(method - SET_REMAP_CONST_A) / 4] = data;
        return DONE;
    case SET_REMAP_COMPONENTS:
        s->remap = data;
        return DONE;
    default:
        break;
    }
    refuse(m, "copy: class %04x has no method 0x%x, or it is not modelled", m->chip->copy_class,
           method);
    return engine_fault(m, c, error_code(c), client_of(c), "%s: illegal method 0x%x", client_of(c),
                        method);
}

/* ---- transfers ------------------------------------------------------------------------------------------------- */

/* Bytes of a line that can be moved at once from this offset on: as far as both sides are in one piece. */
static enum outcome move_bytes(struct model *m, struct channel *c, struct copy_job *job,
                               uint64_t budget)
{
    while (job->done < (uint64_t)job->line_length * job->line_count && budget > 0) {
        uint64_t line = job->done / job->line_length, offset = job->done % job->line_length;
        struct violation why;
        uint64_t in_bytes, out_bytes, part = job->line_length - offset;
        const uint8_t *in = gpu_map(m, TLB_HUB, &c->space, job->in + line * job->pitch_in + offset,
                                    false, &in_bytes, &why);
        uint8_t *out =
            in ? gpu_map(m, TLB_HUB, &c->space, job->out + line * job->pitch_out + offset, true,
                         &out_bytes, &why)
               : NULL;
        if (!out)
            return engine_mmu_fault(m, c, client_of(c), &why);
        part = part < in_bytes ? part : in_bytes;
        part = part < out_bytes ? part : out_bytes;
        part = part < budget ? part : budget;
        memmove(out, in, part);
        job->done += part;
        budget -= part;
    }
    return DONE;
}

/* One element: each component of the destination comes from the source, from a constant, or stays. */
static void remap_element(const struct copy_job *job, const uint8_t *in, uint8_t *out)
{
    unsigned size = component_bytes(job->remap), count = (unsigned)bits(job->remap, 25, 24) + 1;
    for (unsigned i = 0; i < count; i++) {
        unsigned from = (unsigned)bits(job->remap, i * 4 + 2, i * 4);
        if (from == REMAP_CONST_A || from == REMAP_CONST_B)
            memcpy(out + i * size, &job->constant[from - REMAP_CONST_A], size);
        else if (from < REMAP_CONST_A)
            memcpy(out + i * size, in + from * size, size);
    }
}

static bool reads_source(uint32_t remap)
{
    for (unsigned i = 0; i <= bits(remap, 25, 24); i++)
        if (bits(remap, i * 4 + 2, i * 4) < REMAP_CONST_A)
            return true;
    return false;
}

static enum outcome move_elements(struct model *m, struct channel *c, struct copy_job *job,
                                  uint64_t budget)
{
    unsigned in_size = element_in(job->remap), out_size = element_out(job->remap);
    bool reads = reads_source(job->remap);
    while (job->done < (uint64_t)job->line_length * job->line_count && budget >= out_size) {
        uint64_t line = job->done / job->line_length, element = job->done % job->line_length;
        uint64_t to = job->out + line * job->pitch_out + element * out_size;
        uint64_t from = job->in + line * job->pitch_in + element * in_size;
        struct violation why;
        uint64_t bytes = 0;
        uint8_t source[16], held[16];
        if (reads && !gpu_read(m, TLB_HUB, &c->space, from, source, in_size, &why))
            return engine_mmu_fault(m, c, client_of(c), &why);
        uint8_t *out = gpu_map(m, TLB_HUB, &c->space, to, true, &bytes, &why);
        if (!out)
            return engine_mmu_fault(m, c, client_of(c), &why);
        if (bytes < out_size) { /* it lies across two pages */
            if (!gpu_read(m, TLB_HUB, &c->space, to, held, out_size, &why))
                return engine_mmu_fault(m, c, client_of(c), &why);
            remap_element(job, source, held);
            if (!gpu_write(m, TLB_HUB, &c->space, to, held, out_size, &why))
                return engine_mmu_fault(m, c, client_of(c), &why);
            job->done++;
            budget -= out_size;
            continue;
        }
        uint64_t count = reads ? 1 : bytes / out_size;
        count = count < job->line_length - element ? count : job->line_length - element;
        count = count < budget / out_size ? count : budget / out_size;
        for (uint64_t i = 0; i < count; i++)
            remap_element(job, source, out + i * out_size);
        job->done += count;
        budget -= count * out_size;
    }
    return DONE;
}

static enum outcome finish(struct model *m, struct channel *c, const struct copy_job *job)
{
    struct violation why;
    if (SEMAPHORE_TYPE(job->launch) != SEMAPHORE_NONE &&
        !semaphore_write(m, TLB_HUB, c, job->semaphore, job->payload,
                         PAYLOAD_IS_64_BIT(job->launch),
                         SEMAPHORE_TYPE(job->launch) == SEMAPHORE_TIMESTAMP, &why))
        return engine_mmu_fault(m, c, client_of(c), &why);
    if (INTERRUPT_TYPE(job->launch) == INTERRUPT_NON_BLOCKING)
        irq_raise(m, c->is.interrupt_vector);
    c->copy.get++;
    return DONE;
}

/* Faults on demand, when a job begins. DONE: go on. */
static enum outcome begin(struct model *m, struct channel *c, struct copy_job *job)
{
    enum fault_mode mode;
    job->has_started = true;
    trace(m, "copy: %s: 0x%llx to 0x%llx, %u x %u, LAUNCH_DMA 0x%08x", client_of(c),
          (unsigned long long)job->in, (unsigned long long)job->out, job->line_length,
          job->line_count, job->launch);
    if (TRANSFER(job->launch) == TRANSFER_NONE || !fault(m, "copy", &mode))
        return DONE;
    switch (mode) {
    case FAULT_FAIL:
        return engine_fault(m, c, error_code(c), client_of(c), "%s: error on demand", client_of(c));
    case FAULT_HANG:
        job->ready_ns = UINT64_MAX;
        break;
    case FAULT_LATE:
        job->ready_ns = now_ns() + late_ns();
        break;
    case FAULT_GARBAGE:
        job->line_length = job->line_length > 1 ? job->line_length - 1 : 1;
        break;
    }
    return DONE;
}

enum outcome copy_step(struct model *m, struct channel *c)
{
    if (copy_is_idle(c))
        return BUSY;
    struct copy_job *job = &c->copy.jobs[c->copy.get % COPY_JOBS_MAX];
    if (!job->has_started && begin(m, c, job) == FAULT)
        return FAULT;
    if (job->ready_ns != 0 && now_ns() < job->ready_ns)
        return BUSY;
    if (TRANSFER(job->launch) != TRANSFER_NONE) {
        enum outcome outcome = IS_REMAP(job->launch) ? move_elements(m, c, job, STEP_BYTES)
                                                     : move_bytes(m, c, job, STEP_BYTES);
        if (outcome != DONE)
            return outcome;
        if (job->done < (uint64_t)job->line_length * job->line_count)
            return DONE;
    }
    return finish(m, c, job);
}
