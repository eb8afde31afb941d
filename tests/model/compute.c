/*
 * tests/model/compute.c: the compute class: methods, and grids from QMD to completion.
 *
 * SEND_PCAS_A and SEND_SIGNALING_PCAS(2)_B queue the QMD at an address. A channel's grids run one after the other (sm.c), behind the
 * methods' back until something waits for idle. When one is complete its releases are written, then the QMDs that depend
 * on it are scheduled.
 *
 * Before a grid runs, everything is checked that hardware would stumble over: the QMD (qmd.c), registers, barriers and
 * shared memory against what the code needs, the constant banks, local memory, and the driver's own words in bank 0.
 *
 * Sources: open-gpu-doc classes/compute: clc5c0.h (Turing), clc6c0.h, clc7c0.h (Ampere), clc9c0.h (Ada), clcbc0.h (Hopper),
 * clcdc0.h, clcec0.h (Blackwell); bank 0: tinygrad runtime/ops_nv.py (windows, stack), code that ptxas writes (dimensions).
 */
#include "tests/model/engines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    NO_OPERATION = 0x100,
    WAIT_FOR_IDLE = 0x110,
    SET_REPORT_PAYLOAD_LOWER = 0x158, /* these five from clc7c0.h on */
    SET_REPORT_PAYLOAD_UPPER = 0x15c,
    SET_REPORT_ADDRESS_LOWER = 0x160,
    SET_REPORT_ADDRESS_UPPER = 0x164,
    REPORT_SEMAPHORE_EXECUTE = 0x168,
    INLINE_FIRST = 0x180, /* LINE_LENGTH_IN */
    INLINE_LAST = 0x1b4,  /* LOAD_INLINE_DATA */
    SET_I2M_SEMAPHORE_A = 0x1dc,
    SET_I2M_SEMAPHORE_C = 0x1e4,
    INVALIDATE_SHADER_CACHES = 0x21c,
    INVALIDATE_SKED_CACHES = 0x298,
    SET_SHADER_SHARED_MEMORY_WINDOW_A = 0x2a0,
    SET_SHADER_SHARED_MEMORY_WINDOW_B = 0x2a4,
    SET_CWD_SLOT_COUNT = 0x2b0,
    SEND_PCAS_A = 0x2b4,
    SEND_SIGNALING_PCAS_B = 0x2bc,
    SEND_SIGNALING_PCAS2_B = 0x2c0, /* Ampere on */
    SET_LOCAL_NON_THROTTLED_A = 0x2e4,
    SET_LOCAL_NON_THROTTLED_B = 0x2e8,
    SET_LOCAL_NON_THROTTLED_C = 0x2ec,
    SET_SPA_VERSION = 0x310,
    SET_SHADER_LOCAL_MEMORY_A = 0x790,
    SET_SHADER_LOCAL_MEMORY_B = 0x794,
    SET_SHADER_LOCAL_MEMORY_WINDOW_A = 0x7b0,
    SET_SHADER_LOCAL_MEMORY_WINDOW_B = 0x7b4,
    INVALIDATE_SHADER_CACHES_NO_WFI = 0x1698,
    PIPE_NOP = 0x1a2c,
    SET_REPORT_SEMAPHORE_A = 0x1b00,
    SET_REPORT_SEMAPHORE_B = 0x1b04,
    SET_REPORT_SEMAPHORE_C = 0x1b08,
    SET_REPORT_SEMAPHORE_D = 0x1b0c,
};
#define INVALIDATE_INSTRUCTION        1u
#define PCAS_B_SCHEDULE               2u
/* SEND_SIGNALING_PCAS2_B_PCAS_ACTION */
#define PCAS_ACTION_NOP               0
#define PCAS_ACTION_INVALIDATE        1
#define PCAS_ACTION_SCHEDULE          2
#define PCAS_ACTION_PREFETCH          8
#define PCAS_ACTION_PREFETCH_SCHEDULE 9

#define WINDOW_BYTES                  (UINT64_C(1) << 24)

/* Where code of an architecture looks for what the driver leaves in constant bank 0 (bytes). */
struct bank0_places {
    unsigned block, grid, shared_window, local_window;
};
static const struct bank0_places bank0_to_hopper = {0x00, 0x0c, 0x18, 0x20};
static const struct bank0_places bank0_blackwell = {0x360, 0x370, 0x2f0, 0x2f8};

struct compute {
    struct sm_run run;
    uint8_t bank0[65536];
};

int compute_init(struct model *m, const char *cubins)
{
    m->compute = calloc(1, sizeof(*m->compute));
    if (!m->compute)
        return -ENOMEM;
    int error = sm_init(m);
    if (!error && cubins)
        error = kernels_load(m, cubins);
    return error;
}

bool compute_is_idle(const struct channel *c)
{
    return c->compute.get == c->compute.put;
}

void compute_drop(struct channel *c)
{
    c->compute.get = c->compute.put;
    c->compute.is_running = false;
}

void compute_free(struct channel *c)
{
    sm_destroy(c->compute.sm);
    c->compute.sm = NULL;
}

enum outcome compute_class_error(struct model *m, struct channel *c, const char *what,
                                 uint32_t method, uint32_t data)
{
    refuse(m, "compute: channel %u: %s: method 0x%x, data 0x%08x", c->is.channel_id, what, method,
           data);
    return engine_fault(m, c, RC_GR_CLASS, "GR", "Class Error: %s: method 0x%x, data 0x%08x", what,
                        method, data);
}

static enum outcome exception(struct model *m, struct channel *c, const char *unit,
                              const char *what, uint64_t value)
{
    refuse(m, "compute: channel %u: %s: %s (0x%llx)", c->is.channel_id, unit, what,
           (unsigned long long)value);
    return engine_fault(m, c, RC_GR_EXCEPTION, unit, "Graphics %s Exception: %s (0x%llx)", unit,
                        what, (unsigned long long)value);
}

/* ---- grids ----------------------------------------------------------------------------------------------------- */

static enum outcome load_grid(struct model *m, struct channel *c, uint64_t address,
                              struct grid *grid)
{
    uint32_t words[QMD_WORDS_MAX] = {0};
    struct violation why;
    char text[128];
    if (!gpu_read(m, TLB_HUB, &c->space, address, words, qmd_words(m->chip) * 4, &why))
        return engine_mmu_fault(m, c, "SKED", &why);
    grid->qmd_address = address;
    const char *problem = qmd_decode(m->chip, words, grid, text, sizeof(text));
    return problem ? exception(m, c, "SKED", problem, address) : DONE;
}

static enum outcome schedule(struct model *m, struct channel *c, uint32_t shifted_address)
{
    struct compute_state *s = &c->compute;
    if (s->put - s->get == GRIDS_MAX)
        return BUSY;
    enum outcome outcome =
        load_grid(m, c, (uint64_t)shifted_address << 8, &s->grids[s->put % GRIDS_MAX]);
    if (outcome == DONE)
        s->put++;
    return outcome;
}

static const char *check_resources(const struct model *m, const struct grid *g,
                                   const struct code *code)
{
    uint32_t reserved =
        m->chip->family == TURING ? 0 : 1024; /* shared memory that the system takes */
    if (code->registers > g->registers)
        return "Out Of Range Register: the QMD gives fewer registers than the code uses";
    if (code->barriers > g->barriers)
        return "Illegal Instruction: the QMD gives fewer barriers than the code uses";
    if (code->shared_bytes + reserved > g->shared_bytes)
        return "Out Of Range Shared Address: the QMD gives less shared memory than the code uses";
    if (code->stack_bytes > g->local_bytes)
        return "Stack Error: the QMD gives less local memory than the code uses";
    if (code->bank0_bytes > g->bank[0].bytes)
        return "constant bank 0 is smaller than the code expects";
    if (g->block[1] != 1 || g->block[2] != 1)
        return "a block of more than one dimension, which no kernel here has";
    return NULL;
}

/* Local memory: as much as all threads that can be resident may use, mapped from end to end. */
static enum outcome check_local(struct model *m, struct channel *c, const struct grid *g)
{
    const struct compute_state *s = &c->compute;
    const struct chip *chip = m->chip;
    if (g->local_bytes == 0)
        return DONE;
    uint64_t per_tpc = (uint64_t)g->local_bytes * chip->warps_per_sm * 32 * chip->sms_per_tpc;
    if (s->local_memory == 0 || s->local_bytes_per_tpc < per_tpc)
        return exception(m, c, "SM", "less local memory set than the threads of a TPC need",
                         per_tpc);
    uint64_t all = s->local_bytes_per_tpc * chip->gpcs * chip->tpcs_per_gpc;
    const uint64_t ends[] = {s->local_memory, s->local_memory + all - 4};
    for (unsigned i = 0; i < 2; i++) {
        struct violation why;
        uint64_t bytes;
        if (!gpu_map(m, TLB_GPC, &c->space, ends[i], true, &bytes, &why))
            return engine_mmu_fault(m, c, "GPC0 L1", &why);
    }
    return DONE;
}

static uint32_t word_at(const uint8_t *bank, unsigned offset)
{
    uint32_t word;
    memcpy(&word, bank + offset, 4);
    return word;
}

static uint64_t address_at(const uint8_t *bank, unsigned offset)
{
    return (uint64_t)word_at(bank, offset + 4) << 32 | word_at(bank, offset);
}

/* The driver's words in bank 0, which code trusts: sizes as in the QMD, windows as set by methods. */
static const char *check_bank0(const struct model *m, const struct channel *c, const struct grid *g,
                               const uint8_t *bank)
{
    const struct bank0_places *at =
        m->chip->family >= BLACKWELL ? &bank0_blackwell : &bank0_to_hopper;
    for (unsigned i = 0; i < 3; i++)
        if (word_at(bank, at->block + i * 4) != g->block[i] ||
            word_at(bank, at->grid + i * 4) != g->size[i])
            return "constant bank 0 has another size of block or grid than the QMD";
    if (address_at(bank, at->shared_window) != c->compute.shared_window ||
        address_at(bank, at->local_window) != c->compute.local_window)
        return "constant bank 0 has other memory windows than the methods set";
    return NULL;
}

static enum outcome check_banks(struct model *m, struct channel *c, const struct grid *g,
                                const struct code *code)
{
    static uint8_t there[65536];
    for (unsigned i = 1; i < 8; i++) {
        if (code->bank[i].bytes == 0)
            continue;
        struct violation why;
        if (!g->bank[i].is_valid || g->bank[i].bytes < code->bank[i].bytes)
            return exception(m, c, "SM", "a constant bank of the code is missing or too small", i);
        if (!gpu_read(m, TLB_GPC, &c->space, g->bank[i].address, there, code->bank[i].bytes, &why))
            return engine_mmu_fault(m, c, "GPC0 GCC", &why);
        if (code->bank[i].data && memcmp(there, code->bank[i].data, code->bank[i].bytes) != 0)
            return exception(m, c, "SM", "a constant bank holds something else than the file", i);
    }
    return DONE;
}

static enum outcome demand_fault(struct model *m, struct channel *c, struct grid *g)
{
    enum fault_mode mode;
    if (!fault(m, "kernel", &mode))
        return DONE;
    if (mode == FAULT_FAIL)
        return engine_fault(
            m, c, RC_GR_EXCEPTION, "GPC0",
            "Graphics SM Warp Exception on (GPC 0, TPC 0, SM 0): Illegal Instruction");
    g->ready_ns = mode == FAULT_HANG ? UINT64_MAX : mode == FAULT_LATE ? now_ns() + late_ns() : 0;
    return DONE;
}

/* Everything up to the first block. */
static enum outcome start(struct model *m, struct channel *c, struct grid *g)
{
    struct compute *compute = m->compute;
    struct violation why;
    const struct code *code = kernels_find(m, &c->space, g->program, &why);
    if (!code && why.fault != MMU_OK)
        return engine_mmu_fault(m, c, "GPC0 GCC", &why);
    if (!code)
        return exception(
            m, c, "SM",
            "Illegal Instruction: none of the build's kernels lies at the program address",
            g->program);
    const char *problem = check_resources(m, g, code);
    if (problem)
        return exception(m, c, "SM", problem, g->qmd_address);
    enum outcome outcome = check_local(m, c, g);
    if (outcome == DONE)
        outcome = check_banks(m, c, g, code);
    if (outcome != DONE)
        return outcome;
    if (!gpu_read(m, TLB_GPC, &c->space, g->bank[0].address, compute->bank0, code->bank0_bytes,
                  &why))
        return engine_mmu_fault(m, c, "GPC0 GCC", &why);
    problem = check_bank0(m, c, g, compute->bank0);
    if (problem)
        return exception(m, c, "SM", problem, g->bank[0].address);

    trace(m, "compute: %s: grid %u x %u x %u of %u threads, QMD 0x%llx", code->name, g->size[0],
          g->size[1], g->size[2], g->block[0], (unsigned long long)g->qmd_address);
    compute->run = (struct sm_run){.code = code,
                                   .space = &c->space,
                                   .size = {g->size[0], g->size[1], g->size[2]},
                                   .threads = g->block[0]};
    memcpy(compute->run.args, compute->bank0 + code->args_offset, code->args_bytes);
    if (!c->compute.sm)
        c->compute.sm = sm_create();
    if (!c->compute.sm)
        return exception(m, c, "SM", "the model has no memory for another grid", g->qmd_address);
    c->compute.is_running = true;
    sm_start(c->compute.sm, &compute->run);
    return demand_fault(m, c, g);
}

/* Releases first, then the QMDs that waited for this one. */
static enum outcome complete(struct model *m, struct channel *c)
{
    struct compute_state *s = &c->compute;
    struct grid done = s->grids[s->get % GRIDS_MAX];
    s->is_running = false;
    for (unsigned i = 0; i < done.release_count; i++) {
        const struct grid_release *r = &done.release[i];
        struct violation why;
        enum fault_mode mode;
        if (fault(m, "release", &mode))
            continue; /* it never reaches memory */
        if (!semaphore_write(m, TLB_HUB, c, r->address, r->payload, r->is_64_bit, r->has_timestamp,
                             &why))
            return engine_mmu_fault(m, c, "SKED", &why);
    }
    s->get++;
    for (unsigned i = 0; i < done.dependent_count; i++) { /* in front of what methods have queued */
        struct grid next;
        if (s->put - s->get == GRIDS_MAX)
            return exception(m, c, "SKED", "more grids wait than the model keeps",
                             done.dependent[i]);
        if (load_grid(m, c, done.dependent[i], &next) == FAULT)
            return FAULT;
        s->grids[--s->get % GRIDS_MAX] = next;
    }
    return DONE;
}

enum outcome compute_step(struct model *m, struct channel *c)
{
    if (compute_is_idle(c))
        return BUSY;
    struct grid *g = &c->compute.grids[c->compute.get % GRIDS_MAX];
    if (!c->compute.is_running) {
        enum outcome outcome = start(m, c, g);
        if (outcome != DONE)
            return outcome;
    }
    if (g->ready_ns != 0 && now_ns() < g->ready_ns)
        return BUSY;
    struct violation why;
    const char *what = NULL;
    switch (sm_slice(m, c->compute.sm, &why, &what)) {
    case SM_COMPLETE:
        return complete(m, c);
    case SM_MMU_FAULT:
        return engine_mmu_fault(m, c, "GPC0 T1_0", &why);
    case SM_EXCEPTION:
        return exception(m, c, "SM", what, g->program);
    default:
        return DONE;
    }
}

/* ---- methods --------------------------------------------------------------------------------------------------- */

static enum outcome pcas2(struct model *m, struct channel *c, uint32_t method, uint32_t data)
{
    if (m->chip->family == TURING)
        return compute_class_error(m, c, "no such method in this class", method, data);
    switch (data & 0xf) {
    case PCAS_ACTION_NOP:
    case PCAS_ACTION_INVALIDATE:
    case PCAS_ACTION_PREFETCH:
        return DONE;
    case PCAS_ACTION_SCHEDULE:
    case PCAS_ACTION_PREFETCH_SCHEDULE:
        return schedule(m, c, c->compute.pcas_address);
    default:
        return compute_class_error(m, c, "an action with a QMD that is not modelled", method, data);
    }
}

static enum outcome report(struct model *m, struct channel *c, uint64_t address, uint64_t payload,
                           bool is_64_bit, bool has_timestamp, uint32_t method, uint32_t data)
{
    struct violation why;
    if (address % (has_timestamp ? 16 : is_64_bit ? 8 : 4))
        return compute_class_error(m, c, "a semaphore that is not aligned to its size", method,
                                   data);
    if (!compute_is_idle(c))
        return BUSY;
    return semaphore_write(m, TLB_HUB, c, address, payload, is_64_bit, has_timestamp, &why)
               ? DONE
               : engine_mmu_fault(m, c, "FE", &why);
}

static enum outcome report_execute(struct model *m, struct channel *c, uint32_t method,
                                   uint32_t data)
{
    const uint32_t *last = c->compute.method;
    if (m->chip->family == TURING || m->chip->compute_class == 0xc6c0)
        return compute_class_error(m, c, "no such method in this class", method, data);
    if (data & ~UINT32_C(0x103c)) /* operation RELEASE, no awakening, reduction or trap */
        return compute_class_error(m, c, "a kind of report that is not modelled", method, data);
    uint64_t address =
        (uint64_t)last[SET_REPORT_ADDRESS_UPPER / 4] << 32 | last[SET_REPORT_ADDRESS_LOWER / 4];
    uint64_t payload =
        (uint64_t)last[SET_REPORT_PAYLOAD_UPPER / 4] << 32 | last[SET_REPORT_PAYLOAD_LOWER / 4];
    return report(m, c, address, payload, bits(data, 12, 12), bits(data, 4, 3) == 0, method, data);
}

static enum outcome report_d(struct model *m, struct channel *c, uint32_t method, uint32_t data)
{
    const uint32_t *last = c->compute.method;
    if (data & ~(mask(28, 28) | mask(2, 2)))
        return compute_class_error(m, c, "a kind of report that is not modelled", method, data);
    uint64_t address =
        (uint64_t)last[SET_REPORT_SEMAPHORE_A / 4] << 32 | last[SET_REPORT_SEMAPHORE_B / 4];
    return report(m, c, address, last[SET_REPORT_SEMAPHORE_C / 4], false, !bits(data, 28, 28),
                  method, data);
}

static uint64_t pair(const struct compute_state *s, unsigned method_a)
{
    return (uint64_t)s->method[method_a / 4] << 32 | s->method[method_a / 4 + 1];
}

static enum outcome set_window(struct model *m, struct channel *c, uint32_t method, uint32_t data,
                               uint64_t *window)
{
    *window = pair(&c->compute, method - 4);
    if (*window % WINDOW_BYTES || *window >> 49)
        return compute_class_error(m, c, "a memory window that is not aligned to 16 MiB", method,
                                   data);
    return DONE;
}

enum outcome compute_method(struct model *m, struct channel *c, uint32_t method, uint32_t data)
{
    struct compute_state *s = &c->compute;
    if (method / 4 < sizeof(s->method) / sizeof(s->method[0]))
        s->method[method / 4] = data;
    if ((method >= INLINE_FIRST && method <= INLINE_LAST) ||
        (method >= SET_I2M_SEMAPHORE_A && method <= SET_I2M_SEMAPHORE_C))
        return inline_method(m, c, method, data);
    switch (method) {
    case NO_OPERATION:
    case PIPE_NOP:
    case INVALIDATE_SKED_CACHES:
    case SET_CWD_SLOT_COUNT:
    case SET_SPA_VERSION:
    case SET_LOCAL_NON_THROTTLED_A:
    case SET_SHADER_LOCAL_MEMORY_A:
    case SET_SHADER_SHARED_MEMORY_WINDOW_A:
    case SET_SHADER_LOCAL_MEMORY_WINDOW_A:
    case SET_REPORT_PAYLOAD_LOWER:
    case SET_REPORT_PAYLOAD_UPPER:
    case SET_REPORT_ADDRESS_LOWER:
    case SET_REPORT_ADDRESS_UPPER:
    case SET_REPORT_SEMAPHORE_A:
    case SET_REPORT_SEMAPHORE_B:
    case SET_REPORT_SEMAPHORE_C:
        return DONE; /* kept in s->method */
    case WAIT_FOR_IDLE:
        return compute_is_idle(c) ? DONE : BUSY;
    case REPORT_SEMAPHORE_EXECUTE:
        return report_execute(m, c, method, data);
    case SET_REPORT_SEMAPHORE_D:
        return report_d(m, c, method, data);
    case INVALIDATE_SHADER_CACHES:
        if (!compute_is_idle(c))
            return BUSY;
        /* fall through */
    case INVALIDATE_SHADER_CACHES_NO_WFI:
        if (data & INVALIDATE_INSTRUCTION)
            kernels_forget();
        return DONE;
    case SET_SHADER_SHARED_MEMORY_WINDOW_B:
        return set_window(m, c, method, data, &s->shared_window);
    case SET_SHADER_LOCAL_MEMORY_WINDOW_B:
        return set_window(m, c, method, data, &s->local_window);
    case SET_SHADER_LOCAL_MEMORY_B:
        s->local_memory = pair(s, SET_SHADER_LOCAL_MEMORY_A);
        return DONE;
    case SET_LOCAL_NON_THROTTLED_B:
        return DONE;
    case SET_LOCAL_NON_THROTTLED_C: /* the size is taken with the limit of SMs that comes last */
        s->local_bytes_per_tpc = pair(s, SET_LOCAL_NON_THROTTLED_A);
        if (s->local_bytes_per_tpc % 0x8000)
            return compute_class_error(m, c, "local memory per TPC in no whole units of 32 KiB",
                                       method, data);
        return DONE;
    case SEND_PCAS_A:
        s->pcas_address = data;
        return DONE;
    case SEND_SIGNALING_PCAS_B:
        if (data & ~(PCAS_B_SCHEDULE | 1u))
            return compute_class_error(m, c, "bits that no field has", method, data);
        return data & PCAS_B_SCHEDULE ? schedule(m, c, s->pcas_address) : DONE;
    case SEND_SIGNALING_PCAS2_B:
        return pcas2(m, c, method, data);
    default:
        return compute_class_error(m, c, "a method that the class has not or that is not modelled",
                                   method, data);
    }
}
