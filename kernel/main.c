/*
 * kernel/main.c: the machine's start, from the hand-over by boot/ to tasks on every core, in order.
 */
#include <string.h>
#include <strings.h>

#include "boot/boot.h"
#include "kernel/apic.h"
#include "kernel/console.h"
#include "kernel/format.h"
#include "kernel/image.h"
#include "kernel/interrupt.h"
#include "kernel/paging.h"
#include "kernel/random.h"
#include "kernel/smp.h"
#include "kernel/time.h"
#include "kernel/x86.h"

#define HOME_STACK_BYTES 32768
#define MAIN_STACK_BYTES (256 * 1024)

SEALED const struct boot_info *boot_info;

__attribute__((weak)) void runtime_main(void)
{
    log_warn("no runtime in this image: the machine is up, and that is all");
}

__attribute__((weak)) void machine_break(const char *name)
{
    (void)name;
}

/* ---- ingot.conf, before there is a parser for all of it ---------------------------------------------------------- */

bool boot_config_value(const char *key, char *out, size_t size_bytes)
{
    size_t key_length = strlen(key);
    bool is_found = false;
    const char *end = boot_info->config + boot_info->config_bytes;
    for (const char *line = boot_info->config; line < end;) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line));
        line_end = line_end != NULL ? line_end : end;
        const char *at = line;
        while (at < line_end && (*at == ' ' || *at == '\t'))
            at++;
        if ((size_t)(line_end - at) > key_length && memcmp(at, key, key_length) == 0) {
            at += key_length;
            while (at < line_end && (*at == ' ' || *at == '\t'))
                at++;
            if (at < line_end && *at == '=') {
                at++;
                while (at < line_end && (*at == ' ' || *at == '\t'))
                    at++;
                size_t length = 0;
                while (at + length < line_end && length < size_bytes - 1 && at[length] > ' ' &&
                       at[length] != '#')
                    length++;
                memcpy(out, at, length);
                out[length] = '\0';
                is_found = true; /* the last one counts, as in the full parser */
            }
        }
        line = line_end + 1;
    }
    return is_found;
}

static void restart_delay_read(void)
{
    char text[8];
    if (!boot_config_value("restart_after_panic", text, sizeof(text)))
        return;
    unsigned seconds = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9')
            return; /* the full parser will say so */
        seconds = seconds * 10 + (unsigned)(*c - '0');
    }
    machine_restart_delay_set(seconds);
}

const void *boot_file(const char *name, uint64_t *size_bytes)
{
    for (uint32_t i = 0; i < boot_info->firmware_count; i++) {
        const struct boot_firmware_file *file = &boot_info->firmware[i];
        if (strcasecmp(file->name, name) != 0) /* FAT keeps the case, but knows no difference */
            continue;
        *size_bytes = file->size_bytes;
        return file->data;
    }
    return NULL;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void say_machine(void)
{
    const struct cpu_features *cpu = cpu_features();
    log_info("memory: %llu MiB; processor: %s%s%s, %llu MHz (%s)",
             (unsigned long long)(memory_map_total() >> 20), cpu->brand,
             cpu->avx512     ? ", AVX-512"
             : cpu->avx2_fma ? ", AVX2"
                             : "",
             cpu->sha_ni ? ", SHA" : "", (unsigned long long)(time_tsc_hz() / 1000000),
             time_source());
    log_info("firmware: %s %u.%u; image at %#llx%s", boot_info->firmware_vendor,
             boot_info->firmware_revision >> 16, boot_info->firmware_revision & 0xffff,
             (unsigned long long)boot_info->image_pa,
             boot_info->is_image_moved ? "" : " (not moved: the firmware had no other place)");
    if (boot_info->screen.size_bytes != 0)
        log_info("console: screen %ux%u%s", boot_info->screen.width, boot_info->screen.height,
                 serial_is_present() ? " and serial port" : "; no serial port");
    else
        log_info("console: %s",
                 serial_is_present() ? "serial port; no screen" : "no screen, no serial port");
    if (boot_info->rsdp_pa == 0)
        log_warn("no ACPI tables: one core, and PCI through ports");
    if (!boot_info->seed_is_strong)
        log_warn(
            "neither processor nor firmware gives random numbers: tokens rest on timing alone");
    uint64_t firmware_bytes = 0;
    for (uint32_t i = 0; i < boot_info->firmware_count; i++)
        firmware_bytes += boot_info->firmware[i].size_bytes;
    if (boot_info->firmware_count != 0)
        log_info("%u firmware files, %llu bytes", boot_info->firmware_count,
                 (unsigned long long)firmware_bytes);
    if (boot_info->firmware_error[0] != '\0')
        log_warn("%s", boot_info->firmware_error);
    log_debug(
        "boot loader %llu ms",
        (unsigned long long)((boot_info->exit_tsc - boot_info->entry_tsc) * 1000 / time_tsc_hz()));
}

static void main_task(void *arg)
{
    (void)arg;
    log_previous_show();
    int devices = pci_start(); /* while the other cores start */
    if (devices < 0)
        log_error("PCI: no device can be reached (%d)", devices);
    cores_start_end();
    paging_seal();
    cores_release();
    log_info("%u core%s, %s; up after %llu ms", core_count(), core_count() == 1 ? "" : "s",
             apic_is_x2() ? "x2APIC" : "xAPIC", (unsigned long long)(time_ns() / NS_PER_MS));

    char broken[32];
    if (boot_config_value("break", broken, sizeof(broken)))
        machine_break(broken);
    runtime_main();
    machine_seal();
}

/* On core 0's own stack: the firmware's memory is ours now. */
static _Noreturn void kernel_main_continue(void)
{
    struct core *core = core_table[0];
    memory_map_hand_over();
    if (!cpu_stacks_allocate(core))
        panic("no memory for exception stacks");
    apic_start();
    apic_start_core();
    interrupts_on();
    cores_start_begin();
    if (task_create("main", 0, MAIN_STACK_BYTES, main_task, NULL) < 0)
        panic("no memory for the first task");
    task_core_run();
}

_Noreturn void kernel_main(struct boot_info *info)
{
    /* 1. exceptions are caught, time runs, lines are shown */
    boot_info = info;
    struct core *core = core_table[0];
    cpu_detect();
    interrupt_table_build();
    cpu_start(core);
    serial_start();
    log_start();
    time_start(info->exit_tsc, info->entry_tsc, info->wall_clock_ns);
    restart_delay_read();

    /* 2. our own page tables, with a stack that has a guard page */
    random_start(info->seed, sizeof(info->seed));
    explicit_bzero(info->seed, sizeof(info->seed));
    uint64_t random;
    random_bytes(&random, sizeof(random));
    stack_window_choose(random);
    paging_start();
    char *stack = early_alloc(PAGE_SIZE + HOME_STACK_BYTES, PAGE_SIZE);
    paging_unmap((uint64_t)stack, PAGE_SIZE);
    core->stack_low = (uint64_t)stack + PAGE_SIZE;
    core->stack_high = core->stack_low + HOME_STACK_BYTES;
    log_screen_start();
    say_machine();

    /* 3. leave the firmware's stack; then its memory is free */
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "call *%1\n\t"
                     "ud2"
                     :
                     : "r"(core->stack_high), "r"(kernel_main_continue)
                     : "memory");
    __builtin_unreachable();
}
