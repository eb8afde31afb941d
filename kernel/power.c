/*
 * kernel/power.c: restart and power-off, through the firmware's runtime services (UEFI 2.10, 8.5.1
 * ResetSystem), and for a restart through everything else that a PC has for it when that does not work.
 */
#include "boot/uefi.h"
#include "kernel/apic.h"
#include "kernel/console.h"
#include "kernel/interrupt.h"
#include "kernel/paging.h"
#include "kernel/smp.h"
#include "kernel/x86.h"

#define FADT_FLAGS           112 /* offsets in the FADT (ACPI 6.5, 5.2.9) */
#define FADT_RESET_SUPPORT   BIT(10)
#define FADT_RESET_REGISTER  116 /* generic address structure, 12 bytes */
#define FADT_RESET_VALUE     128
#define ADDRESS_SPACE_MEMORY 0
#define ADDRESS_SPACE_IO     1
#define RESET_CONTROL        0xcf9 /* of Intel chip sets, in AMD's too; 6: reset the CPU and the system */
#define KEYBOARD_COMMAND     0x64
#define KEYBOARD_RESET       0xfe
#define WAY_TIMEOUT_NS       (100 * NS_PER_MS)

_Atomic bool machine_is_going_down;
static _Atomic bool is_power_off;
static _Atomic unsigned ways_tried;

/*
 * The firmware's code and data get the mapping they were built for: its code pages hold data too, so they are
 * writable and executable. That is why they are mapped only now, when nothing but this call will run any more.
 */
static bool runtime_services_map(void)
{
    if (boot_info == NULL)
        return false;
    for (uint32_t i = 0; i < boot_info->range_count; i++) {
        const struct boot_range *range = &boot_info->ranges[i];
        unsigned flags = range->kind == BOOT_RANGE_RUNTIME_CODE
                             ? PAGE_RIGHT_WRITE | PAGE_RIGHT_EXECUTE
                         : range->kind == BOOT_RANGE_RUNTIME_DATA ? PAGE_RIGHT_WRITE
                         : range->kind == BOOT_RANGE_RUNTIME_MMIO ? PAGE_RIGHT_WRITE | PAGE_UNCACHED
                                                                  : 0;
        if (flags != 0 && paging_map(range->pa, range->pa, range->size_bytes, flags) < 0)
            return false;
    }
    return boot_info->is_runtime_usable;
}

static void firmware_reset(EFI_RESET_TYPE type)
{
    if (!runtime_services_map())
        return;
    EFI_RUNTIME_SERVICES *services = boot_info->runtime_services;
    cr4_write(cr4_read() &
              ~(CR4_SMEP | CR4_SMAP | CR4_UMIP)); /* firmware was tested without them */
    services->ResetSystem(type, EFI_SUCCESS, 0, NULL);
}

static void acpi_reset(void)
{
    const uint8_t *fadt = acpi_table_find("FACP", 0);
    uint32_t bytes, flags;
    uint64_t address;
    if (fadt == NULL)
        return;
    __builtin_memcpy(&bytes, fadt + 4, 4);
    if (bytes <= FADT_RESET_VALUE)
        return;
    __builtin_memcpy(&flags, fadt + FADT_FLAGS, 4);
    __builtin_memcpy(&address, fadt + FADT_RESET_REGISTER + 4, 8);
    if (!(flags & FADT_RESET_SUPPORT) || address == 0)
        return;
    if (fadt[FADT_RESET_REGISTER] == ADDRESS_SPACE_IO && address <= 0xffff) {
        port_write8((uint16_t)address, fadt[FADT_RESET_VALUE]);
    } else if (fadt[FADT_RESET_REGISTER] == ADDRESS_SPACE_MEMORY) {
        volatile void *reg = mmio_map(address, 1, CACHE_UNCACHED);
        if (reg != NULL)
            mmio_write8(reg, fadt[FADT_RESET_VALUE]);
    }
}

/*
 * No descriptor table: the next exception cannot be delivered, nor can the fault about it; the processor shuts
 * down.
 */
static _Noreturn void triple_fault(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } nothing = {0, 0};
    __asm__ volatile("lidt %0\n\tint3" : : "m"(nothing));
    cpu_halt_forever();
}

static void wait_for_reset(void)
{
    uint64_t end = time_ns() + WAY_TIMEOUT_NS;
    while (time_ns() < end)
        cpu_pause();
}

/* Each way is tried once; a fault in one comes back here through machine_way_down_failed() and gets the next. */
_Noreturn void machine_restart_hard(void)
{
    interrupts_off();
    atomic_store(&machine_is_going_down, true);
    for (;;) {
        switch (atomic_fetch_add(&ways_tried, 1)) {
        case 0:
            firmware_reset(EfiResetWarm); /* memory, and the log in it, survives */
            break;
        case 1:
            acpi_reset();
            break;
        case 2:
            port_write8(RESET_CONTROL, 0x02);
            port_write8(RESET_CONTROL, 0x06);
            break;
        case 3:
            port_write8(KEYBOARD_COMMAND, KEYBOARD_RESET);
            break;
        default:
            triple_fault();
        }
        wait_for_reset();
    }
}

static _Noreturn void stay_off(void)
{
    log_error("the firmware does not switch the machine off: please use the button");
    cpu_halt_forever();
}

_Noreturn void machine_way_down_failed(void)
{
    if (atomic_load(&is_power_off))
        stay_off();
    machine_restart_hard();
}

static void go_down(void)
{
    log_mark_clean();
    cores_stop();
    interrupts_off();
    log_panic_begin(); /* the others may have been stopped with the lock in their hands */
    serial_flush();
}

_Noreturn void machine_restart(void)
{
    log_info("restarting");
    go_down();
    machine_restart_hard();
}

_Noreturn void machine_power_off(void)
{
    log_info("switching off");
    go_down();
    atomic_store(&is_power_off, true);
    atomic_store(&machine_is_going_down, true);
    firmware_reset(EfiResetShutdown);
    wait_for_reset();
    stay_off();
}
