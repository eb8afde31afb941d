/*
 * tests/e2e/break.c: breaks the machine on purpose, in the way that `break = NAME` in ingot.conf says. Linked only into
 * build/break.img, over the weak machine_break() of kernel/main.c; test_machine_safety.py checks what is said about it.
 */
#include <string.h>

#include "kernel/console.h"
#include "kernel/image.h"
#include "kernel/interrupt.h"
#include "kernel/machine.h"
#include "kernel/paging.h"
#include "kernel/x86.h"

static const char constant[64] = "constant";
static char data[64] = "data";
SEALED static volatile int sealed = 1;
static volatile uint64_t sink;

/* The compiler must not see through what is done here, or it refuses. */
static uint64_t hidden(uint64_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

static void write_byte(uint64_t address)
{
    *(volatile char *)hidden(address) = 1;
}

static void call(uint64_t address)
{
    ((void (*)(void))hidden(address))();
}

/* ret: the one instruction that would come back if it were executed */
static void make_code(volatile char *at)
{
    *at = (char)0xc3;
}

static void __attribute__((noinline)) recurse(uint64_t depth)
{
    volatile char local[512];
    local[depth % sizeof(local)] = (char)depth;
    if (hidden(1))
        recurse(depth + 1);
    sink += (uint64_t)local[0];
}

static void __attribute__((noinline)) overrun(size_t count)
{
    char local[16] = {0};
    volatile char *at = local;
    for (size_t i = 0; i < count; i++)
        at[i] = 'A';
    sink += (uint64_t)at[0];
}

static void __attribute__((noinline)) backtrace_inner(volatile int *null)
{
    volatile char local[32]; /* a frame of its own before the fault */
    local[0] = 1;
    *null = local[0];
    sink++;
}

static void __attribute__((noinline)) backtrace_outer(volatile int *null)
{
    backtrace_inner(null);
    sink++;
}

static void overflow_task(void *arg)
{
    recurse(0);
}

static void idle_task(void *arg)
{
}

/* A gate that is not present makes the delivery of one exception raise another: a double fault. */
static void double_fault(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr;
    __asm__ volatile("sidt %0" : "=m"(idtr));
    static _Alignas(16) char table[4096];
    memcpy(table, (const void *)idtr.base, sizeof(table));
    table[14 * 16 + 5] = 0; /* page fault: clear the present bit */
    table[11 * 16 + 5] = 0; /* and that of the exception about it */
    idtr.base = (uint64_t)table;
    __asm__ volatile("lidt %0" : : "m"(idtr));
    write_byte(0x10);
}

/* Fill the screen and the log with more than fits, with control characters and broken UTF-8. */
static void noise(void)
{
    for (int i = 0; i < 600; i++)
        log_info("line %d of many: %s", i,
                 "the quick brown fox jumps over the lazy dog 0123456789 "
                 "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~");
    log_info("escape \x1b[31m, newline \n, bell \a, stray \xff\xc0\x80, good \xc3\xa9\xe2\x82\xac");
}

void machine_break(const char *name)
{
    log_info("breaking on purpose: %s", name);
    char local[64] = {0};
    uint64_t heap = (uint64_t)page_alloc(PAGE_SIZE, 0);
    if (strcmp(name, "null_read") == 0) {
        sink = *(volatile uint64_t *)hidden(8);
    } else if (strcmp(name, "null_write") == 0) {
        write_byte(0);
    } else if (strcmp(name, "low_write") == 0) {
        write_byte(0xfff8);
    } else if (strcmp(name, "write_text") == 0) {
        write_byte((uint64_t)machine_break);
    } else if (strcmp(name, "write_rodata") == 0) {
        write_byte((uint64_t)constant);
    } else if (strcmp(name, "write_page_tables") == 0) {
        write_byte(paging_root());
    } else if (strcmp(name, "write_config") == 0) {
        write_byte((uint64_t)boot_info);
    } else if (strcmp(name, "write_sealed") == 0) {
        machine_seal();
        sealed = 2;
    } else if (strcmp(name, "exec_data") == 0) {
        make_code(data);
        call((uint64_t)data);
    } else if (strcmp(name, "exec_heap") == 0) {
        make_code((char *)heap);
        call(heap);
    } else if (strcmp(name, "exec_stack") == 0) {
        make_code(local);
        call((uint64_t)local);
    } else if (strcmp(name, "exec_rodata") == 0) {
        call((uint64_t)constant);
    } else if (strcmp(name, "stack_overflow") == 0) {
        recurse(0);
    } else if (strcmp(name, "stack_overflow_task") == 0) {
        if (task_create("deep", core_count() - 1, 16384, overflow_task, NULL) == 0)
            task_sleep_until(time_ns() + NS_PER_S);
    } else if (strcmp(name, "ssp") == 0) {
        overrun(64);
    } else if (strcmp(name, "double_fault") == 0) {
        double_fault();
    } else if (strcmp(name, "assert") == 0) {
        assert(sink == 12345);
    } else if (strcmp(name, "divide") == 0) {
        __asm__ volatile("xor %%ecx, %%ecx\n\tdiv %%ecx" : : : "eax", "ecx", "edx");
    } else if (strcmp(name, "invalid") == 0) {
        __asm__ volatile("ud2");
    } else if (strcmp(name, "backtrace") == 0) {
        backtrace_outer((volatile int *)hidden(16));
    } else if (strcmp(name, "restart") == 0) {
        machine_restart();
    } else if (strcmp(name, "power_off") == 0) {
        machine_power_off();
    } else if (strcmp(name, "noise") == 0) {
        noise();
    } else if (strcmp(name, "stacks") == 0) {
        /* More stacks than are kept: mapped, unmapped and made anew, while the other cores look on. */
        for (int round = 0; round < 3; round++) {
            void *stacks[80];
            for (unsigned i = 0; i < ARRAY_COUNT(stacks); i++) {
                stacks[i] = stack_alloc(65536);
                if (stacks[i] == NULL)
                    panic("stack_alloc failed");
                memset(stacks[i], 0x5a, 65536);
            }
            for (unsigned i = 0; i < ARRAY_COUNT(stacks); i++)
                stack_free(stacks[i], 65536);
        }
        for (unsigned core = 0; core < core_count(); core++)
            task_create("idle", core, 0, idle_task, NULL);
        log_info("stacks are sound");
        return;
    } else {
        log_error("break: no such way: %s", name);
        return;
    }
    log_error("NOT BROKEN: %s did not fault", name);
}
