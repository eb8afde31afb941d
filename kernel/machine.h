/*
 * kernel/machine.h: what the parts of the kernel ask of one another; nothing outside kernel/ and boot/ includes
 * it, except the hosted twin (tests/host/) and the runtime's start-up code. kernel/kernel.h is the door for
 * everybody else.
 *
 * Who implements what: kernel/task.c, kernel/memory.c, kernel/acpi.c and kernel/pci.c the calls under their
 * headings; the bare-metal files of kernel/ all the rest, and tests/host/ its twin with one thread per core.
 */
#ifndef INGOT_MACHINE_H
#define INGOT_MACHINE_H

#include "kernel/kernel.h"

/* ---- implemented by kernel/memory.c ---------------------------------------------------------------------------- */

/* Give page-aligned free RAM to the page allocator; called several times on core 0 before any allocation. */
void memory_add_range(uint64_t pa, uint64_t size_bytes);
/* Sizes for memory_stats() that only the machine layer knows. Called once, before the first memory_add_range(). */
void memory_set_totals(uint64_t total_bytes, uint64_t image_bytes);

/* ---- implemented by kernel/task.c ------------------------------------------------------------------------------ */

/*
 * Run this core's tasks for ever. The machine layer calls it once on every core, interrupts on, when all is set
 * up.
 */
_Noreturn void task_core_run(void);

/* ---- implemented by kernel/acpi.c ------------------------------------------------------------------------------ */

/*
 * The index-th ACPI table with this signature ("APIC", "MCFG", ...), header and length checked, checksum right;
 * NULL past the last. Works from acpi_start() on, which needs no allocator and may run before the machine has
 * its own page tables.
 */
void acpi_start(uint64_t rsdp_pa);
const void *acpi_table_find(const char *signature, unsigned index);

/* ---- implemented by kernel/pci.c ------------------------------------------------------------------------------- */

/* Find the PCI devices; in a task on core 0, after acpi_start(). Returns how many there are. */
int pci_start(void);

/* ---- cores: for kernel/task.c ---------------------------------------------------------------------------------- */

/*
 * _Thread_local variables are per core (ELF TLS, local-exec; threads in the hosted twin), so a core's current
 * task, run queue and errno are plain _Thread_local variables. Tasks never move between cores.
 */

/*
 * Sleep until an interrupt, a core_wake() for this core, or deadline_ns (DEADLINE_NEVER: none), whichever is
 * first. Returns at once if core_wake() was called since the last return. It may return early for no reason, so
 * the caller looks again. Called with interrupts on, on the core that sleeps.
 */
void core_idle(uint64_t deadline_ns);
/*
 * Make `core` leave core_idle() or not enter it. Any core, also from an interrupt. Cheap when the core is not
 * asleep.
 */
void core_wake(unsigned core);

/*
 * Called when every runnable task of this core has yielded once: they all poll. kernel/task.c has a weak one
 * that does nothing; the hosted twin moves its fake clock here.
 */
void core_relax(void);

/*
 * A stack of at least size_bytes (rounded up to pages), lowest usable address returned, with an unmapped guard
 * page below it. Its addresses are not physical ones: no DMA to or from a stack. NULL when there is no memory.
 * Any core, task context.
 */
void *stack_alloc(size_t size_bytes);
void stack_free(void *stack, size_t size_bytes); /* same size; not the stack one stands on */

/* ---- interrupts: for kernel/pci.c ------------------------------------------------------------------------------ */

/*
 * Take a free vector of `core` for handler(arg), and say what an MSI must write where to raise it. 0, -EINVAL
 * for a core that is not there, -ENOSPC when no vector is free, -ENOTSUP when an MSI cannot reach that core.
 */
int irq_alloc(unsigned core, irq_handler handler, void *arg, uint64_t *msi_address, uint32_t *msi_data);
void irq_free(uint64_t msi_address, uint32_t msi_data); /* after the device can no longer raise it */

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/*
 * Firmware tables at pa, readable: a pointer to size_bytes there, mapped read-only if nothing maps them yet.
 * NULL when that cannot be. Usable before and after the machine has its own page tables.
 */
const void *firmware_map(uint64_t pa, uint64_t size_bytes);
/* Physical address behind a mapped address (identity for all but stacks), or UINT64_MAX when it is not mapped. */
uint64_t va_to_pa(const volatile void *va);

/* Make SEALED variables (kernel/kernel.h) read-only. Called when runtime_main() has returned. */
void machine_seal(void);

/* ---- console ----------------------------------------------------------------------------------------------------- */

/* A line on serial and screen that does not go into the log: for the access token. */
void console_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- start and stop -------------------------------------------------------------------------------------------- */

/*
 * The runtime's first task: runs on core 0 once every core runs tasks. kernel/ has a weak one that says there
 * is none.
 */
void runtime_main(void);

/* What the boot loader found; kernel/ keeps it readable for ever. See boot/boot.h. */
struct boot_info;
extern const struct boot_info *boot_info;

/*
 * The value of `key = value` in ingot.conf, cut to size; false when there is none. For what must be known very
 * early.
 */
bool boot_config_value(const char *key, char *out, size_t size_bytes);
/* Nothing in the product; the tests' image breaks the machine in the way that `break = NAME` says. Weak. */
void machine_break(const char *name);

/*
 * Seconds between a panic and the restart (10); 0 stays for ever. `restart_after_panic` in ingot.conf is read
 * early, too.
 */
void machine_restart_delay_set(unsigned seconds);
/* time_ns() is 0 at the return of ExitBootServices(), so time_ns() is also how long the boot has taken. */

#endif
