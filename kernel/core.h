/*
 * kernel/core.h: one struct per core, with everything that the processor itself reads: descriptor tables,
 * stacks, timer.
 *
 * FS points at it (System V ABI, AMD64 supplement, 3.4.6: thread control block). Below it lie the core's
 * _Thread_local variables, and at %fs:0x28 the compiler looks for the stack protector's guard.
 */
#ifndef INGOT_CORE_H
#define INGOT_CORE_H

#include "kernel/machine.h"

/* Interrupt stack table slots (SDM 3A, 7.14.5); 0 would mean the interrupted stack. */
enum ist_slot { IST_DOUBLE_FAULT = 1, IST_NMI, IST_MACHINE_CHECK, IST_EXCEPTION, IST_INTERRUPT, IST_COUNT };

/* Interrupt vectors. Devices get 0x20 to 0xef of each core. */
#define VECTOR_DEVICE_FIRST 0x20
#define VECTOR_DEVICE_LAST  0xef
#define VECTOR_TIMER        0xf0
#define VECTOR_WAKE         0xf1
#define VECTOR_TLB          0xf2
#define VECTOR_SPURIOUS     0xff
#define VECTOR_DEVICE_COUNT (VECTOR_DEVICE_LAST - VECTOR_DEVICE_FIRST + 1)

struct __attribute__((packed)) task_state_segment { /* 64-bit TSS (SDM 3A, 8.7) */
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, io_map_base;
};
static_assert(sizeof(struct task_state_segment) == 104, "SDM 3A, figure 8-11");

struct irq_slot {
    irq_handler handler; /* NULL: free */
    void *arg;
};

struct core {
    struct core *self;        /* %fs:0 */
    uint32_t index;           /* %fs:8, core_current() */
    uint32_t apic_id;
    uint64_t unused[3];
    uint64_t stack_guard;     /* %fs:0x28 */

    _Atomic bool is_started;  /* it has set itself up */
    _Atomic bool is_stopped;  /* it has seen machine_stop_others() */
    _Atomic bool is_asleep;   /* in core_idle(), about to halt or halted */
    _Atomic bool wake_wanted; /* set by core_wake() */
    _Atomic bool tlb_wanted;  /* set by another core's tlb_drop_everywhere() */
    uint64_t timer_deadline_ns; /* what the local timer is set to; DEADLINE_NEVER: nothing */

    _Alignas(16) uint64_t gdt[5];
    struct task_state_segment tss;
    uint64_t ist_low[IST_COUNT], ist_high[IST_COUNT]; /* where the stacks are, for backtraces */
    uint64_t stack_low, stack_high;                   /* the stack that task_core_run() runs on */
    struct irq_slot irq[VECTOR_DEVICE_COUNT];
};
static_assert(offsetof(struct core, index) == 8 && offsetof(struct core, stack_guard) == 0x28, "read through FS");

extern struct core *core_table[CORE_MAX];

static inline struct core *core_self(void)
{
    struct core *core;
    __asm__("mov %%fs:0, %0" : "=r"(core));
    return core;
}

/* ---- kernel/cpu.c ---------------------------------------------------------------------------------------------- */

/* The first core's area and FS; the very first thing that runs in the moved image. */
void core_area_start(uint64_t guard);
/* Size of the memory for another core's area, and building one in zeroed memory of that size. */
size_t core_area_bytes(void);
struct core *core_area_build(void *memory, uint64_t guard);

/* Read CPUID once and choose what is enabled; then, on every core, enable it and load the descriptor tables. */
void cpu_detect(void);
void cpu_start(struct core *core);
/* Give the core exception and interrupt stacks with guard pages. False when there is no memory. */
bool cpu_stacks_allocate(struct core *core);

/* CPUID bits that the other files ask for. */
struct cpu_facts {
    bool has_1g_pages, has_x2apic, has_tsc_deadline, has_rdseed, has_rdrand, is_virtual;
    unsigned physical_bits;
};
extern struct cpu_facts cpu_facts;

#endif
