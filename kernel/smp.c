/*
 * kernel/smp.c: start of the other cores (SDM 3A, 9.4; processors as listed in the ACPI MADT, ACPI 6.5,
 * 5.2.12), and what cores ask of one another: wake up, drop TLB entries, stop.
 *
 * All processors start in parallel, while core 0 goes on: each takes a stack by ticket (kernel/trampoline.S),
 * finds its struct core by its APIC ID, sets itself up, and sleeps until core 0 has numbered those that came
 * and releases them.
 */
#include "kernel/smp.h"

#include <string.h>

#include "boot/boot.h"
#include "kernel/apic.h"
#include "kernel/interrupt.h"
#include "kernel/paging.h"
#include "kernel/x86.h"

#define CORE_STACK_BYTES  32768 /* the home stack of task_core_run() */

#define START_TIMEOUT_NS  (100 * NS_PER_MS)
#define START_VIRTUAL_NS  (5 * NS_PER_S) /* a virtual processor may have to wait for a real one */
#define STARTUP_GAP_NS    (200 * NS_PER_US) /* between the two start-up messages (SDM 3A, 9.4.4.1) */
#define STOP_TIMEOUT_NS   (10 * NS_PER_MS)
#define TLB_TIMEOUT_NS    (10 * NS_PER_S) /* for a bug; a virtual processor may be late */

#define MADT_ENTRIES      44
#define MADT_LOCAL_APIC   0
#define MADT_LOCAL_X2APIC 9
#define MADT_ENABLED      BIT(0)

/* Layout shared with kernel/trampoline.S. */
struct trampoline_values {
    uint32_t cr3, cr4;
    uint64_t efer;
    uint64_t entry;
    uint64_t stacks;
    uint32_t ticket, ticket_limit;
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } gdtr;
    uint16_t padding;
    struct __attribute__((packed)) {
        uint32_t offset;
        uint16_t selector;
    } far_pointer;
    uint16_t padding2;
    uint64_t gdt[2];
};
static_assert(offsetof(struct trampoline_values, ticket) == 32 &&
                  offsetof(struct trampoline_values, gdtr) == 40 &&
                  offsetof(struct trampoline_values, far_pointer) == 48,
              "trampoline.S has these offsets");
#define DESCRIPTOR_CODE UINT64_C(0x00af9b000000ffff)

extern const char trampoline_start[], trampoline_long[], trampoline_end[];

SEALED static unsigned count = 1;           /* cores that run tasks */
SEALED static unsigned candidate_count = 1; /* while starting: entries of core_table */
static uint64_t stack_tops[CORE_MAX];
static _Atomic bool is_released;
static _Atomic bool is_stopping;

unsigned core_count(void)
{
    return count;
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* A processor of the MADT: build its struct core. False when there is no room or no memory. */
static bool candidate_add(uint32_t id)
{
    if (id == core_table[0]->apic_id)
        return true;
    if (candidate_count == CORE_MAX)
        return false;
    void *memory = page_alloc(core_area_bytes(), 0);
    char *stack = stack_alloc(CORE_STACK_BYTES);
    if (memory == NULL || stack == NULL)
        goto free_both;
    uint64_t guard;
    random_bytes(&guard, sizeof(guard));
    struct core *core = core_area_build(memory, guard);
    if (!cpu_stacks_allocate(core))
        goto free_both;
    core->apic_id = id;
    stack_tops[candidate_count - 1] = (uint64_t)stack + CORE_STACK_BYTES;
    core_table[candidate_count++] = core;
    return true;
free_both:
    stack_free(stack, CORE_STACK_BYTES);
    page_free(memory, core_area_bytes());
    return false;
}

static void candidates_collect(void)
{
    const uint8_t *madt = acpi_table_find("APIC", 0);
    if (madt == NULL)
        return;
    uint32_t bytes, left_out = 0;
    memcpy(&bytes, madt + 4, 4);
    for (uint32_t at = MADT_ENTRIES;
         at + 2 <= bytes && madt[at + 1] >= 2 && at + madt[at + 1] <= bytes; at += madt[at + 1]) {
        uint32_t id = 0, flags = 0;
        if (madt[at] == MADT_LOCAL_APIC && madt[at + 1] >= 8) {
            id = madt[at + 3];
            memcpy(&flags, madt + at + 4, 4);
        } else if (madt[at] == MADT_LOCAL_X2APIC && madt[at + 1] >= 16) {
            memcpy(&id, madt + at + 4, 4);
            memcpy(&flags, madt + at + 8, 4);
        }
        if (!(flags & MADT_ENABLED) || (id > 254 && !apic_is_x2()))
            continue;
        if (!candidate_add(id))
            left_out++;
    }
    if (left_out != 0)
        log_warn("%u more cores are not used: the limit is %d, or memory is short", left_out,
                 CORE_MAX);
}

static _Noreturn void core_run(struct core *core)
{
    paging_start_core();
    cpu_start(core);
    apic_start_core();
    atomic_store(&core->is_started, true);
    core_wake(0);
    interrupts_on();
    while (!atomic_load(&is_released))
        core_idle(DEADLINE_NEVER);
    if (core_table[core->index] != core || core->index >= count)
        cpu_halt_forever(); /* came when the list was closed */
    task_core_run();
}

/* The first C code of a core: find the right struct core, as the stack protector's guard is in it. */
__attribute__((no_stack_protector)) static void core_main(void)
{
    uint32_t id = apic_is_x2() ? cpuid(0xb, 0).edx : cpuid(1, 0).ebx >> 24;
    for (unsigned i = 1; i < CORE_MAX; i++) {
        struct core *core = core_table[i];
        if (core != NULL && core->apic_id == id) {
            msr_write(MSR_FS_BASE, (uint64_t)core);
            core_run(core);
        }
    }
    cpu_halt_forever(); /* not in the MADT */
}

static void trampoline_fill(uint64_t page)
{
    struct trampoline_values *values = (void *)(page + PAGE_SIZE);
    memcpy((void *)page, trampoline_start, (size_t)(trampoline_end - trampoline_start));
    *values = (struct trampoline_values){
        .cr3 = (uint32_t)paging_root(),
        .cr4 = (uint32_t)(cr4_read() & (CR4_PAE | CR4_LA57 | CR4_OSFXSR | CR4_OSXMMEXCPT)),
        .efer = EFER_LME | EFER_NXE,
        .entry = (uint64_t)core_main,
        .stacks = (uint64_t)stack_tops,
        .ticket_limit = candidate_count - 1,
        .gdtr = {sizeof(values->gdt) - 1, (uint32_t)(uint64_t)values->gdt},
        .far_pointer = {(uint32_t)(page + (uint64_t)(trampoline_long - trampoline_start)),
                        SELECTOR_CODE},
        .gdt = {0, DESCRIPTOR_CODE},
    };
}

static bool all_started(void)
{
    for (unsigned i = 1; i < candidate_count; i++) {
        if (!atomic_load(&core_table[i]->is_started))
            return false;
    }
    return true;
}

static void init_send(void)
{
    for (unsigned i = 1; i < candidate_count; i++) {
        if (!atomic_load(&core_table[i]->is_started))
            apic_send_init(core_table[i]->apic_id);
    }
}

static void startup_send(void)
{
    for (unsigned i = 1; i < candidate_count; i++) {
        if (!atomic_load(&core_table[i]->is_started))
            apic_send_startup(core_table[i]->apic_id, boot_info->trampoline_pa);
    }
}

/* In a task: each core that has started wakes core 0. */
static void wait_until(uint64_t deadline_ns)
{
    while (!all_started() && time_ns() < deadline_ns)
        core_idle(deadline_ns);
}

/* Number those that came without gaps, and forget the others. */
static void cores_number(void)
{
    for (unsigned i = 1; i < candidate_count; i++) {
        struct core *core = core_table[i];
        if (!atomic_load(&core->is_started)) {
            log_warn("core with APIC ID %u does not start: going on without it", core->apic_id);
            continue;
        }
        core->index = count;
        core_table[count++] = core;
    }
    for (unsigned i = count; i < candidate_count; i++)
        core_table[i] = NULL;
}

void cores_start_begin(void)
{
    uint64_t page = boot_info->trampoline_pa;
    candidates_collect();
    apic_timer_measure_begin();
    if (candidate_count > 1 && page == 0) {
        log_warn("no memory below 1 MiB to start other cores in: one of %u runs", candidate_count);
        memset(core_table + 1, 0, sizeof(core_table) - sizeof(core_table[0]));
        candidate_count = 1;
    }
    if (candidate_count > 1) {
        trampoline_fill(page);
        if (paging_map(page, page, PAGE_SIZE, PAGE_RIGHT_EXECUTE) < 0)
            panic("no page-table page for starting cores");
        /* Processors of this century need no pause between INIT and start-up, and mostly one start-up message. */
        init_send();
        startup_send();
    }
    apic_timer_measure_end(); /* takes 200 us, the gap that the second message is to have */
    startup_send();
}

void cores_start_end(void)
{
    if (candidate_count == 1)
        return;
    wait_until(time_ns() + (cpu_facts.is_virtual ? START_VIRTUAL_NS : START_TIMEOUT_NS));
    if (!all_started()) { /* the way of the 1990s (SDM 3A, 9.4.4.1) */
        init_send();
        for (int i = 0; i < 10; i++)
            time_spin_ns(NS_PER_MS);
        startup_send();
        time_spin_ns(STARTUP_GAP_NS);
        startup_send();
        wait_until(time_ns() + START_TIMEOUT_NS);
    }
    cores_number();
    paging_unmap(boot_info->trampoline_pa, 2 * PAGE_SIZE);
}

void cores_release(void)
{
    atomic_store(&is_released, true);
    for (unsigned i = 1; i < count; i++)
        core_wake(i);
}

/* ---- waking ------------------------------------------------------------------------------------------------------ */

void core_wake(unsigned index)
{
    assert(index < count);
    struct core *core = core_table[index];
    /* Sequentially consistent on both sides: either the sleeper sees the wish, or we see that it sleeps. */
    atomic_store(&core->wake_wanted, true);
    if (atomic_load(&core->is_asleep) && core != core_self())
        apic_send(core->apic_id, VECTOR_WAKE);
}

/* ---- translation caches ------------------------------------------------------------------------------------------ */

static struct spinlock tlb_lock;
static _Atomic uint64_t tlb_va, tlb_bytes;

static void tlb_drop_here(uint64_t va, uint64_t size_bytes)
{
    if (size_bytes > 32 * PAGE_SIZE) {
        cr3_write(cr3_read()); /* everything: no page is global, no process context identifiers */
        return;
    }
    for (uint64_t at = 0; at < size_bytes; at += PAGE_SIZE)
        tlb_drop(va + at);
}

void tlb_drop_if_wanted(void)
{
    struct core *core = core_self();
    if (atomic_load(&core->tlb_wanted)) {
        tlb_drop_here(atomic_load(&tlb_va), atomic_load(&tlb_bytes));
        atomic_store(&core->tlb_wanted, false);
    }
}

void tlb_drop_everywhere(uint64_t va, uint64_t size_bytes)
{
    tlb_drop_here(va, size_bytes);
    if (count == 1 && candidate_count == 1)
        return;
    /*
     * Two cores that ask at once: the one that waits for its turn must go on answering the other, also with
     * interrupts off.
     */
    while (atomic_exchange(&tlb_lock.held, 1) != 0) {
        tlb_drop_if_wanted();
        cpu_pause();
    }
    atomic_store(&tlb_va, va);
    atomic_store(&tlb_bytes, size_bytes);
    for (unsigned i = 0; i < candidate_count; i++) {
        struct core *core = core_table[i];
        if (core == NULL || core == core_self() || !atomic_load(&core->is_started))
            continue;
        atomic_store(&core->tlb_wanted, true);
        apic_send(core->apic_id, VECTOR_TLB);
    }
    uint64_t deadline = time_ns() + TLB_TIMEOUT_NS;
    for (unsigned i = 0; i < candidate_count; i++) {
        while (core_table[i] != NULL && atomic_load(&core_table[i]->tlb_wanted)) {
            if (time_ns() > deadline)
                panic("core %u has interrupts off for ten seconds", i);
            cpu_pause();
        }
    }
    atomic_store(&tlb_lock.held, 0);
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

bool cores_are_stopping(void)
{
    return atomic_load(&is_stopping);
}

void cores_stop(void)
{
    if (atomic_exchange(&is_stopping, true) || core_table[0] == NULL)
        return;
    for (unsigned i = 0; i < CORE_MAX; i++) {
        if (core_table[i] != NULL && core_table[i] != core_self() &&
            atomic_load(&core_table[i]->is_started))
            apic_send_nmi(core_table[i]->apic_id);
    }
    /* They halt within microseconds; nothing waits for an answer from a core that may be the broken one. */
    uint64_t end = time_ns() + STOP_TIMEOUT_NS;
    while (count > 1 && time_ns() < end)
        cpu_pause();
}
