/*
 * gpu/nvidia/gsp/sequencer.c: the CPU sequencer: lists of register accesses and core restarts that the GSP sends while it
 * starts (Turing to Ada), because it cannot restart the core it runs on itself.
 *
 * A list is words: an operation, then its arguments (rpc_abi.h). It comes from the GSP's firmware, which NVIDIA signed and
 * which could write those registers itself; but it comes through shared memory, so its shape, its register offsets and its
 * times are checked before anything of it runs.
 *
 * Source: open-gpu-kernel-modules 570.144, rmgspseq.h, kernel_gsp.c (kgspExecuteSequencerBuffer), kernel_gsp_tu102.c and
 * kernel_gsp_ga102.c (kgspExecuteSequencerCommand: resume).
 */
#include <string.h>

#include "gpu/nvidia/gsp/events.h"
#include "gpu/nvidia/gsp/falcon.h"
#include "gpu/nvidia/gsp/regs/falcon.h"
#include "gpu/nvidia/gsp/regs/gc6.h"
#include "gpu/nvidia/gsp/rpc_abi.h"

#define POLL_DEFAULT_US UINT32_C(4000000) /* for a time of 0: RM's default */
#define POLL_MIN_US     UINT32_C(10000)   /* more patience than asked for costs nothing */
#define POLL_MAX_US     UINT32_C(10000000)
#define DELAY_MAX_US    UINT32_C(1000000)
#define HALT_NS         (4 * NS_PER_S)
#define RELOAD_NS       (4 * NS_PER_S)

static const struct {
    const char *name;
    uint8_t arguments;
    bool has_register; /* the first argument is one */
} operations[] = {
    [GSP_SEQ_BUF_OPCODE_REG_WRITE] = {"register write", 2, true},
    [GSP_SEQ_BUF_OPCODE_REG_MODIFY] = {"register modify", 3, true},
    [GSP_SEQ_BUF_OPCODE_REG_POLL] = {"register poll", 5, true},
    [GSP_SEQ_BUF_OPCODE_DELAY_US] = {"delay", 1, false},
    [GSP_SEQ_BUF_OPCODE_REG_STORE] = {"register store", 2, true},
    [GSP_SEQ_BUF_OPCODE_CORE_RESET] = {"core reset", 0, false},
    [GSP_SEQ_BUF_OPCODE_CORE_START] = {"core start", 0, false},
    [GSP_SEQ_BUF_OPCODE_CORE_WAIT_FOR_HALT] = {"wait for halt", 0, false},
    [GSP_SEQ_BUF_OPCODE_CORE_RESUME] = {"core resume", 0, false},
};

/* Word i of the list; the list is not aligned to more than 4 bytes. */
static uint32_t word_at(const uint8_t *words, uint32_t i)
{
    uint32_t word;
    memcpy(&word, words + (size_t)i * 4, sizeof(word));
    return word;
}

static int check(struct hw *hw, const uint8_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t op = word_at(words, i);
        if (op >= ARRAY_COUNT(operations))
            return hw_fail(hw, -EPROTO, "CPU sequencer: operation %#x at word %u of %u", op, i,
                           count);
        unsigned arguments = operations[op].arguments;
        if (count - i - 1 < arguments)
            return hw_fail(hw, -EPROTO, "CPU sequencer: %s at word %u of %u is cut off",
                           operations[op].name, i, count);
        uint32_t first = arguments > 0 ? word_at(words, i + 1) : 0;
        if (operations[op].has_register && (first % 4 != 0 || first > hw->bar0_bytes - 4))
            return hw_fail(hw, -EPROTO, "CPU sequencer: %s of %#x, which is no register",
                           operations[op].name, first);
        if (op == GSP_SEQ_BUF_OPCODE_DELAY_US && first > DELAY_MAX_US)
            return hw_fail(hw, -EPROTO, "CPU sequencer: a delay of %u us", first);
        if (op == GSP_SEQ_BUF_OPCODE_REG_STORE &&
            word_at(words, i + 2) >= GSP_SEQ_BUF_REG_SAVE_SIZE)
            return hw_fail(hw, -EPROTO, "CPU sequencer: register store to slot %u of %u",
                           word_at(words, i + 2), GSP_SEQ_BUF_REG_SAVE_SIZE);
        i += 1 + arguments;
    }
    return 0;
}

static int poll_register(struct hw *hw, const uint8_t *arguments)
{
    uint32_t us = word_at(arguments, 3);
    us = us == 0 ? POLL_DEFAULT_US : us < POLL_MIN_US ? POLL_MIN_US : us;
    us = us > POLL_MAX_US ? POLL_MAX_US : us;
    return hw_wait32(hw, word_at(arguments, 0), word_at(arguments, 1), word_at(arguments, 2),
                     us * NS_PER_US, "CPU sequencer: register poll");
}

static void delay(uint32_t us)
{
    if (us < 1000)
        time_spin_ns(us * NS_PER_US);
    else
        task_sleep_until(time_ns() + us * NS_PER_US);
}

/* The GSP's core was handed to SEC2's care: prepare it for RISC-V and let SEC2 start it again. */
static int resume(struct gsp_events *events)
{
    struct hw *hw = events->hw;
    const uint32_t libos[2] = {(uint32_t)events->libos_dma, (uint32_t)(events->libos_dma >> 32)};
    int error = falcon_reset_riscv(hw, &falcon_gsp);
    if (error != 0)
        return error;
    falcon_mailbox_write(hw, &falcon_gsp, libos);
    falcon_start(hw, &falcon_sec2);
    error = hw_wait32(hw, NV_PGC6_BSI_SECURE_SCRATCH_14,
                      (uint32_t)NV_PGC6_BSI_SECURE_SCRATCH_14_BOOT_STAGE_3_HANDOFF,
                      (uint32_t)NV_PGC6_BSI_SECURE_SCRATCH_14_BOOT_STAGE_3_HANDOFF, RELOAD_NS,
                      "CPU sequencer: SEC2 resumes the GSP");
    if (error != 0)
        return error;
    uint32_t mailbox[2];
    falcon_mailbox_read(hw, &falcon_sec2, mailbox);
    if (mailbox[0] != 0)
        return hw_fail(hw, -EIO, "CPU sequencer: SEC2 could not resume the GSP: mailbox %#x %#x",
                       mailbox[0], mailbox[1]);
    if (hw->chip->falcon == HW_FALCON_GA102)
        hw_write32(hw, falcon_gsp.base + NV_PFALCON_FALCON_OS, events->app_version);
    /* The hand-off bit may still be that of an earlier start, so the core gets time of its own. */
    return falcon_wait_riscv_active(hw, &falcon_gsp, RELOAD_NS,
                                    "CPU sequencer: the GSP's RISC-V core active after resume");
}

static int run(struct gsp_events *events, uint32_t op, const uint8_t *arguments, uint32_t *saved)
{
    struct hw *hw = events->hw;
    switch (op) {
    case GSP_SEQ_BUF_OPCODE_REG_WRITE:
        hw_write32(hw, word_at(arguments, 0), word_at(arguments, 1));
        return 0;
    case GSP_SEQ_BUF_OPCODE_REG_MODIFY: {
        /* As the source has it: the value is not masked. */
        uint32_t reg = word_at(arguments, 0), mask = word_at(arguments, 1);
        hw_write32(hw, reg, (hw_read32(hw, reg) & ~mask) | word_at(arguments, 2));
        return 0;
    }
    case GSP_SEQ_BUF_OPCODE_REG_POLL:
        return poll_register(hw, arguments);
    case GSP_SEQ_BUF_OPCODE_DELAY_US:
        delay(word_at(arguments, 0));
        return 0;
    case GSP_SEQ_BUF_OPCODE_REG_STORE:
        saved[word_at(arguments, 1)] = hw_read32(hw, word_at(arguments, 0));
        return 0;
    case GSP_SEQ_BUF_OPCODE_CORE_RESET: {
        int error = falcon_reset(hw, &falcon_gsp);
        if (error == 0)
            falcon_disable_context(hw, &falcon_gsp);
        return error;
    }
    case GSP_SEQ_BUF_OPCODE_CORE_START:
        falcon_start(hw, &falcon_gsp);
        return 0;
    case GSP_SEQ_BUF_OPCODE_CORE_WAIT_FOR_HALT:
        return falcon_wait_halted(hw, &falcon_gsp, HALT_NS);
    default: /* CORE_RESUME: check() let no other number pass */
        return resume(events);
    }
}

int gsp_events_run_sequencer(struct gsp_events *events, const void *payload, size_t bytes)
{
    struct hw *hw = events->hw;
    struct rpc_run_cpu_sequencer header;
    if (bytes < sizeof(header))
        return hw_fail(hw, -EPROTO, "CPU sequencer: a message of %zu bytes", bytes);
    memcpy(&header, payload, sizeof(header));
    const uint8_t *words = (const uint8_t *)payload + sizeof(header);
    size_t room = (bytes - sizeof(header)) / 4;
    if (header.command_words > room || header.command_words >= header.buffer_words)
        return hw_fail(hw, -EPROTO, "CPU sequencer: %u words of %u in a message with room for %zu",
                       header.command_words, header.buffer_words, room);
    int error = check(hw, words, header.command_words);
    unsigned count = 0;
    for (uint32_t i = 0; error == 0 && i < header.command_words; count++) {
        uint32_t op = word_at(words, i);
        error = run(events, op, words + (size_t)(i + 1) * 4, header.save_area);
        i += 1 + operations[op].arguments;
    }
    if (error == 0)
        log_debug("%s: CPU sequencer: %u operations done", hw->name, count);
    return error;
}
