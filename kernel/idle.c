/*
 * kernel/idle.c: a core with nothing to do shows log lines that wait, then halts until an interrupt; and the
 * spin lock, which keeps interrupts out.
 */
#include "kernel/apic.h"
#include "kernel/console.h"
#include "kernel/x86.h"

#define SERIAL_PERIOD_NS (NS_PER_MS) /* 16 bytes take 1.4 ms at 115200 baud */

void core_idle(uint64_t deadline_ns)
{
    struct core *core = core_self();
    if (atomic_load(&core->wake_wanted)) {
        atomic_store(&core->wake_wanted, false);
        return;
    }
    /* Lines are shown while there is nothing better to do, and the caller looks for that after each step. */
    if (log_show_step())
        deadline_ns = log_is_waiting() ? 0 : min_u64(deadline_ns, time_ns() + SERIAL_PERIOD_NS);
    if (deadline_ns != DEADLINE_NEVER && time_ns() >= deadline_ns) {
        atomic_store(&core->wake_wanted, false);
        return;
    }
    interrupts_off();
    atomic_store(&core->is_asleep, true);
    if (!atomic_load(&core->wake_wanted)) {
        apic_timer_set(deadline_ns);
        /* No interrupt is taken between the two instructions, so none can slip in before the halt (SDM 2B, STI). */
        __asm__ volatile("sti\n\thlt" : : : "memory");
        interrupts_off();
    }
    atomic_store(&core->is_asleep, false);
    atomic_store(&core->wake_wanted, false);
    interrupts_on();
}

/* Every task of this core polls: nobody will come to core_idle(). */
void core_relax(void)
{
    log_show_late();
}

uint64_t spin_lock(struct spinlock *lock)
{
    uint64_t flags = interrupts_save();
    while (atomic_exchange_explicit(&lock->held, 1, memory_order_acquire) != 0) {
        while (atomic_load_explicit(&lock->held, memory_order_relaxed) != 0)
            cpu_pause();
    }
    return flags;
}

void spin_unlock(struct spinlock *lock, uint64_t saved_flags)
{
    atomic_store_explicit(&lock->held, 0, memory_order_release);
    interrupts_restore(saved_flags);
}
