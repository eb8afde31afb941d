/*
 * tests/model/gsp_core.c: the RISC-V core beside the GSP's falcon: started by booter or the FMC, suspended and resumed around the CPU
 * sequencer's reset, halted by GSP-RM's unload. See falcon.c for its registers.
 */
#include "tests/model/parts.h"

static struct {
    uint64_t meta_bus, libos_bus;
} core;

bool gsp_core_is_running(const struct model *m)
{
    return falcon_gsp((struct model *)m)->is_riscv_active;
}

static void rm_start(struct model *m, void *arg)
{
    gsp_rm_start(m, core.meta_bus, core.libos_bus);
}

void gsp_core_start(struct model *m, uint64_t wpr_meta_bus, uint64_t libos_args_bus)
{
    struct falcon *f = falcon_gsp(m);
    enum fault_mode mode;
    bool is_bad = fault(m, "gsp.start", &mode);
    if (is_bad && mode == FAULT_FAIL)
        return; /* the core was never released */
    f->is_riscv_active = true;
    f->is_riscv_halted = false;
    note(m, "GSP: the RISC-V core runs; libos arguments at bus %#llx",
         (unsigned long long)libos_args_bus);
    if (is_bad && mode == FAULT_HANG)
        return; /* and that is all it does */
    core.meta_bus = wpr_meta_bus;
    core.libos_bus = libos_args_bus;
    timer_add(m, is_bad ? late_ns() : 1000000, rm_start, NULL);
}

bool gsp_core_is_suspended(const struct model *m)
{
    return falcon_gsp((struct model *)m)->is_suspended;
}

void gsp_core_suspend(struct model *m)
{
    falcon_gsp(m)->is_suspended = true;
    boot_handoff_set(m, false);
    trace(m, "GSP: GSP-RM waits for the CPU sequencer");
}

void gsp_core_resume(struct model *m)
{
    struct falcon *f = falcon_gsp(m);
    uint64_t libos_bus = (uint64_t)f->mailbox[1] << 32 | f->mailbox[0];
    if (libos_bus != core.libos_bus)
        refuse(m, "GSP: resumed with libos arguments at bus %#llx, started with %#llx",
               (unsigned long long)libos_bus, (unsigned long long)core.libos_bus);
    f->is_suspended = false;
    f->is_riscv_active = true;
    note(m, "GSP: the RISC-V core is resumed");
    gsp_rm_resumed(m);
}

void gsp_core_halt(struct model *m)
{
    struct falcon *f = falcon_gsp(m);
    f->is_riscv_active = false;
    f->is_riscv_halted = true;
    /* LIBOS_INTERRUPT_PROCESSOR_SUSPENDED (kgspWaitForProcessorSuspend_TU102) */
    f->mailbox[0] = UINT32_C(0x80000000);
    /* Without booter_unload the firmware takes its region down by itself, and the FSP can be asked again. */
    if (m->chip->family >= HOPPER) {
        wpr2_set(m, 0, 0);
        fsp_reset(m);
    }
    note(m, "GSP: the RISC-V core has halted");
}

void gsp_core_interrupt(struct model *m, unsigned vector)
{
    falcon_gsp(m)->irq_status |= FALCON_IRQ_SWGEN0;
    irq_raise(m, vector);
}

void gsp_core_reset(struct model *m)
{
    timer_cancel(m, rm_start, NULL);
}
