/*
 * gpu/nvidia/gsp/hw.c: the registers of one GPU: reading, writing, waiting, and what is said when something goes wrong.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/regs/pmc.h"

int hw_fail(struct hw *hw, int error, const char *fmt, ...)
{
    if (hw->error[0] != '\0')
        return error;
    va_list args;
    va_start(args, fmt);
    /* What a step makes of registers that all read as ones is not the cause. */
    int at = hw->bar0 != NULL && hw_is_gone(hw)
                 ? snprintf(hw->error, sizeof(hw->error), "the GPU has left the bus; ")
                 : 0;
    vsnprintf(hw->error + at, sizeof(hw->error) - (size_t)at, fmt, args);
    va_end(args);
    return error;
}

void hw_step(struct hw *hw, const char *fmt, ...)
{
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    uint64_t now = time_ns(), us = (now - hw->step_ns) / NS_PER_US;
    log_info("%s: %s (%llu.%llu ms)", hw->name, text, (unsigned long long)(us / 1000),
             (unsigned long long)(us % 1000 / 100));
    hw->step_ns = now;
}

/* Whether reg is a register of BAR0; says so when it is not. */
static bool is_register(struct hw *hw, uint32_t reg, const char *what)
{
    if (reg % 4 == 0 && hw->bar0 != NULL && (uint64_t)reg + 4 <= hw->bar0_bytes)
        return true;
    hw_fail(hw, -EINVAL, "%s of register %#x, which is not in BAR0 (%llu KiB)", what, reg,
            (unsigned long long)(hw->bar0_bytes >> 10));
    return false;
}

uint32_t hw_read32(struct hw *hw, uint32_t reg)
{
    return is_register(hw, reg, "read") ? mmio_read32(hw->bar0 + reg) : UINT32_MAX;
}

void hw_write32(struct hw *hw, uint32_t reg, uint32_t value)
{
    if (is_register(hw, reg, "write"))
        mmio_write32(hw->bar0 + reg, value);
}

void hw_update32(struct hw *hw, uint32_t reg, uint32_t mask, uint32_t value)
{
    assert((value & ~mask) == 0);
    hw_write32(hw, reg, (hw_read32(hw, reg) & ~mask) | value);
}

bool hw_is_gone(struct hw *hw)
{
    if (hw_read32(hw, NV_PMC_BOOT_0) == UINT32_MAX)
        hw->is_gone = true;
    return hw->is_gone;
}

int hw_wait32(struct hw *hw, uint32_t reg, uint32_t mask, uint32_t want, uint64_t timeout_ns,
              const char *what)
{
    uint64_t deadline_ns = time_ns() + timeout_ns;
    if (!is_register(hw, reg, "wait"))
        return -EINVAL;
    for (;;) {
        bool is_late =
            time_ns() >= deadline_ns; /* taken first: a slow yield must not cost the last look */
        uint32_t value = hw_read32(hw, reg);
        if ((value & mask) == want)
            return 0;
        /* Single registers that are locked read as ones on some chips, so another one decides. */
        if (value == UINT32_MAX && hw_is_gone(hw))
            return hw_fail(hw, -ENODEV, "%s: register %#x reads all ones", what, reg);
        if (is_late)
            return hw_fail(hw, -ETIMEDOUT,
                           "%s: register %#x is %#x after %llu ms, wanted %#x under mask %#x", what,
                           reg, value, (unsigned long long)(timeout_ns / NS_PER_MS), want, mask);
        task_yield();
    }
}
