/*
 * kernel/panic.c: what happens when the machine cannot go on: exceptions (SDM 3A, chapter 6) and panics print
 * what is known on serial port and screen, keep it in the log for the next boot, stop the other cores and
 * restart after a delay.
 *
 * Nothing in here trusts more than it must: stacks are walked only where the page tables say that memory is, no
 * lock is waited for, and a fault on the way ends in an immediate restart.
 */
#include "boot/boot.h"
#include "kernel/console.h"
#include "kernel/format.h"
#include "kernel/image.h"
#include "kernel/interrupt.h"
#include "kernel/paging.h"
#include "kernel/smp.h"
#include "kernel/x86.h"

#define BACKTRACE_MAX  32 /* lines */
#define REPEATS_MAX    10000

/* Page fault error code (SDM 3A, 4.7). */
#define FAULT_PRESENT  BIT(0)
#define FAULT_WRITE    BIT(1)
#define FAULT_RESERVED BIT(3)
#define FAULT_FETCH    BIT(4)

enum vector { VECTOR_NMI = 2, VECTOR_DOUBLE_FAULT = 8, VECTOR_PAGE_FAULT = 14 };

static const char *const vector_names[32] = {
    [0] = "division by zero or overflow",
    [1] = "debug exception",
    [2] = "non-maskable interrupt",
    [3] = "breakpoint",
    [4] = "overflow",
    [5] = "bound range exceeded",
    [6] = "invalid instruction",
    [7] = "vector unit not available",
    [8] = "double fault",
    [10] = "invalid task state segment",
    [11] = "segment not present",
    [12] = "stack segment fault",
    [13] = "general protection fault",
    [14] = "page fault",
    [16] = "x87 floating-point error",
    [17] = "misaligned access",
    [18] = "machine check",
    [19] = "vector floating-point error",
    [20] = "virtualisation exception",
    [21] = "control protection exception",
};

static _Atomic unsigned panic_count;
static _Atomic unsigned panic_core;
static unsigned restart_delay_seconds = 10;

void machine_restart_delay_set(unsigned seconds)
{
    restart_delay_seconds = seconds;
}

/* ---- what is printed --------------------------------------------------------------------------------------------- */

static void address_print(const char *label, uint64_t address, bool is_return)
{
    uint64_t offset = 0;
    /* A return address may lie behind its function, when the call was the last thing in it. */
    const char *name = symbol_find(address - is_return, &offset);
    offset += is_return;
    if (name != NULL)
        log_error("%s %016llx %s+%#llx (image+%#llx)", label, (unsigned long long)address, name,
                  (unsigned long long)offset, (unsigned long long)(address - (uint64_t)image_base));
    else
        log_error("%s %016llx", label, (unsigned long long)address);
}

/* Both words of a frame, if there is memory to read. */
static bool frame_is_readable(uint64_t frame)
{
    return frame % 8 == 0 && paging_lookup(frame, NULL) != UINT64_MAX &&
           paging_lookup(frame + 15, NULL) != UINT64_MAX;
}

/* Frames as -fno-omit-frame-pointer lays them out: the caller's frame, then the return address. */
static void backtrace_print(uint64_t frame)
{
    log_error("backtrace:");
    uint64_t last = 0;
    unsigned repeats = 0, lines = 0;
    while (lines < BACKTRACE_MAX && repeats < REPEATS_MAX && frame_is_readable(frame)) {
        const uint64_t *words = (const uint64_t *)frame;
        if (words[1] == 0)
            break;
        if (words[1] == last) {
            repeats++; /* a function that calls itself is named once */
        } else {
            if (repeats != 0)
                log_error("  ... %u times", repeats);
            repeats = 0;
            last = words[1];
            address_print("  from", last, true);
            lines++;
        }
        if (words[0] <= frame)
            break; /* callers lie higher; anything else is the end or a broken chain */
        frame = words[0];
    }
    if (repeats != 0)
        log_error("  ... %u times", repeats);
}

static void registers_print(const struct exception_frame *f)
{
    log_error("rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx", (unsigned long long)f->rax,
              (unsigned long long)f->rbx, (unsigned long long)f->rcx, (unsigned long long)f->rdx);
    log_error("rsi %016llx  rdi %016llx  rbp %016llx  rsp %016llx", (unsigned long long)f->rsi,
              (unsigned long long)f->rdi, (unsigned long long)f->rbp, (unsigned long long)f->rsp);
    log_error("r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx", (unsigned long long)f->r8,
              (unsigned long long)f->r9, (unsigned long long)f->r10, (unsigned long long)f->r11);
    log_error("r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx", (unsigned long long)f->r12,
              (unsigned long long)f->r13, (unsigned long long)f->r14, (unsigned long long)f->r15);
    log_error("rflags %08llx  cr2 %016llx  cr3 %016llx  error %#llx", (unsigned long long)f->rflags,
              (unsigned long long)cr2_read(), (unsigned long long)cr3_read(),
              (unsigned long long)f->error_code);
}

/* ---- the way down ------------------------------------------------------------------------------------------------ */

/* Only one core gets past here; the others stop where they are. */
static void panic_begin(void)
{
    interrupts_off();
    unsigned before = atomic_fetch_add(&panic_count, 1);
    if (before > 0) {
        if (atomic_load(&panic_core) != core_current() && before < CORE_MAX)
            cpu_halt_forever(); /* another core is at it and will stop or restart us */
        machine_restart_hard(); /* a fault while telling about a fault */
    }
    atomic_store(&panic_core, core_current());
    log_panic_begin();
    cores_stop();
}

static _Noreturn void panic_end(void)
{
    log_error("Ingot image at %#llx, up %llu ms", (unsigned long long)(uint64_t)image_base,
              (unsigned long long)(time_ns() / NS_PER_MS));
    if (restart_delay_seconds == 0) {
        log_error("stopped (restart_after_panic = 0): switch the machine off and on again");
        cpu_halt_forever();
    }
    log_error("restarting in %u s", restart_delay_seconds);
    uint64_t end = time_ns() + restart_delay_seconds * NS_PER_S;
    while (time_ns() < end)
        cpu_pause();
    machine_restart_hard();
}

_Noreturn void panic(const char *fmt, ...)
{
    char message[200];
    va_list args;
    va_start(args, fmt);
    format_vprint(message, sizeof(message), fmt, args);
    va_end(args);
    panic_begin();
    log_error("PANIC on core %u, task %s: %s", core_current(), task_name(), message);
    backtrace_print((uint64_t)__builtin_frame_address(0));
    panic_end();
}

static void page_fault_describe(const struct exception_frame *f, char *out, size_t size_bytes)
{
    uint64_t address = cr2_read();
    const char *access = f->error_code & FAULT_FETCH   ? "execution"
                         : f->error_code & FAULT_WRITE ? "write"
                                                       : "read";
    /* Core 0's home stack is the one that lies outside the window, with its guard page below. */
    bool is_guard = stack_window_has(address) || core_table[0]->stack_low - address - 1 < PAGE_SIZE;
    if (is_guard && !(f->error_code & (FAULT_PRESENT | FAULT_FETCH))) {
        bool is_below = f->rsp - address < 2 * PAGE_SIZE || address - f->rsp < 2 * PAGE_SIZE;
        format_print(out, size_bytes, "%s: %s of the guard page at %#llx",
                     is_below ? "stack overflow" : "access outside a stack", access,
                     (unsigned long long)address);
        return;
    }
    const char *why = f->error_code & FAULT_RESERVED ? "page tables are damaged"
                      : !(f->error_code & FAULT_PRESENT)
                          ? address < 0x10000 ? "nothing is mapped there: a null pointer"
                                              : "nothing is mapped there"
                      : f->error_code & FAULT_FETCH ? "the page is not executable"
                      : f->error_code & FAULT_WRITE ? "the page is read-only"
                                                    : "the page is protected";
    format_print(out, size_bytes, "page fault: %s at %#llx, %s", access,
                 (unsigned long long)address, why);
}

void exception_handle(struct exception_frame *frame)
{
    if (frame->vector == VECTOR_NMI && cores_are_stopping())
        cpu_halt_forever();
    if (atomic_load(&machine_is_going_down))
        machine_way_down_failed();
    char message[160];
    if (frame->vector == VECTOR_PAGE_FAULT)
        page_fault_describe(frame, message, sizeof(message));
    else
        format_print(message, sizeof(message), "%s (exception %llu)",
                     vector_names[frame->vector] != NULL ? vector_names[frame->vector]
                                                         : "unknown exception",
                     (unsigned long long)frame->vector);
    panic_begin();
    log_error("PANIC on core %u, task %s: %s", core_current(), task_name(), message);
    address_print("at", frame->rip, false);
    registers_print(frame);
    /* Called through a bad pointer: the code is nowhere, but its return address lies on top of the stack. */
    if (symbol_find(frame->rip, &(uint64_t){0}) == NULL && frame_is_readable(frame->rsp))
        address_print("called from", *(const uint64_t *)frame->rsp, true);
    backtrace_print(frame->rbp);
    panic_end();
}
