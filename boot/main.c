/*
 * boot/main.c: the UEFI application's steps (UEFI 2.10), in order. It runs where entry.S moved it to, on the
 * firmware's stack, and leaves for good through kernel_main().
 *
 * What is missing (configuration, screen, random numbers, ACPI) is left out of boot_info; only memory for
 * boot_info itself and ExitBootServices() are indispensable.
 */
#include <string.h>

#include "boot/uefi.h"
#include "kernel/machine.h"
#include "kernel/time.h"
#include "kernel/x86.h"

void boot_say(EFI_SYSTEM_TABLE *system, const char *text)
{
    CHAR16 line[128];
    size_t n = 0, length = strnlen(text, ARRAY_COUNT(line) - 3);
    for (; n < length; n++)
        line[n] = (CHAR16)(unsigned char)text[n];
    line[n++] = '\r';
    line[n++] = '\n';
    line[n] = 0;
    if (system->ConOut != NULL)
        system->ConOut->OutputString(system->ConOut, line);
}

bool boot_keep(struct boot_info *info, uint64_t pa, uint64_t size_bytes)
{
    if (info->kept_count == BOOT_KEPT_MAX)
        return false;
    info->kept[info->kept_count].pa = pa;
    info->kept[info->kept_count].size_bytes = align_up(size_bytes, PAGE_SIZE);
    info->kept_count++;
    return true;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar. */
static int64_t days_from_date(int year, int month, int day)
{
    int y =
        month <= 2 ? year - 1 : year; /* years start in March, so that the leap day comes last */
    int64_t days =
        365 * (int64_t)y + y / 4 - y / 100 + y / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return days - 719468; /* 1970-01-01 counted the same way */
}

/* Nanoseconds since 1970 by the firmware's clock, or 0. A clock without a time zone is taken for UTC. */
static int64_t wall_clock_read(EFI_SYSTEM_TABLE *system)
{
    EFI_TIME t;
    if (EFI_ERROR(system->RuntimeServices->GetTime(&t, NULL)))
        return 0;
    if (t.Year < 2020 || t.Year > 2199 || t.Month < 1 || t.Month > 12 || t.Day < 1 || t.Day > 31 ||
        t.Hour > 23 || t.Minute > 59 || t.Second > 59 || t.Nanosecond > 999999999)
        return 0; /* a clock that was never set, or broken */
    int64_t seconds =
        days_from_date(t.Year, t.Month, t.Day) * 86400 + t.Hour * 3600 + t.Minute * 60 + t.Second;
    if (t.TimeZone >= -1440 && t.TimeZone <= 1440) /* else EFI_UNSPECIFIED_TIMEZONE */
        seconds += (int64_t)t.TimeZone * 60;       /* local time = UTC - TimeZone (8.3.1) */
    return seconds * (int64_t)NS_PER_S + t.Nanosecond;
}

static uint64_t rsdp_find(EFI_SYSTEM_TABLE *system)
{
    static const EFI_GUID acpi_20 = ACPI_20_TABLE_GUID, acpi_10 = ACPI_TABLE_GUID;
    uint64_t found = 0;
    for (UINTN i = 0; i < system->NumberOfTableEntries; i++) {
        const EFI_CONFIGURATION_TABLE *entry = &system->ConfigurationTable[i];
        if (memcmp(&entry->VendorGuid, &acpi_20, sizeof(acpi_20)) == 0)
            return (uint64_t)entry->VendorTable;
        if (memcmp(&entry->VendorGuid, &acpi_10, sizeof(acpi_10)) == 0)
            found = (uint64_t)entry->VendorTable;
    }
    return found;
}

static struct boot_info *info_allocate(EFI_SYSTEM_TABLE *system)
{
    EFI_PHYSICAL_ADDRESS pa = 0;
    if (EFI_ERROR(system->BootServices->AllocatePages(AllocateAnyPages, EfiLoaderData,
                                                      EFI_PAGES(sizeof(struct boot_info)), &pa)))
        return NULL;
    struct boot_info *info = (void *)pa;
    memset(info, 0, sizeof(*info));
    boot_keep(info, pa, sizeof(*info));
    return info;
}

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
    uint64_t entry_tsc = tsc_read();
    struct boot_info *info = info_allocate(system);
    if (info == NULL) {
        boot_say(system, "Ingot: the firmware has no memory left for starting up.");
        return EFI_OUT_OF_RESOURCES;
    }
    boot_debug_wait(handle, system);
    info->entry_tsc = entry_tsc;
    info->wall_clock_ns = wall_clock_read(system);
    system->BootServices->SetWatchdogTimer(
        0, 0, 0, NULL); /* it would restart the machine after five minutes */

    /* 1. this image; the clock's first sample is taken early, so that the second is far enough from it */
    info->image_pa = (uint64_t)image_base;
    info->image_bytes = image_facts.size_bytes;
    boot_keep(info, info->image_pa, info->image_bytes);
    EFI_LOADED_IMAGE *loaded = NULL;
    EFI_GUID loaded_guid = LOADED_IMAGE_PROTOCOL;
    if (!EFI_ERROR(system->BootServices->HandleProtocol(handle, &loaded_guid, (void **)&loaded)) &&
        loaded != NULL)
        info->is_image_moved = loaded->ImageBase != (void *)image_base;
    info->rsdp_pa = rsdp_find(system);
    acpi_start(info->rsdp_pa);
    time_sample_early();

    /* 2. what only the firmware knows */
    info->runtime_services = system->RuntimeServices;
    info->firmware_revision = system->FirmwareRevision;
    for (unsigned i = 0; system->FirmwareVendor != NULL && i < sizeof(info->firmware_vendor) - 1;
         i++) {
        CHAR16 c = system->FirmwareVendor[i];
        info->firmware_vendor[i] = c >= ' ' && c < 127 ? (char)c : c == 0 ? '\0' : '?';
        if (c == 0)
            break;
    }
    memcpy(info->seed, boot_seed.words, sizeof(info->seed));
    info->seed_is_strong = boot_seed.is_strong;
    boot_memory_reserve(system, info);
    boot_files_read(handle, system, info);
    time_sample_early(); /* in case that took long */
    boot_token_read(system, info);
    boot_screen_find(system, info);

    /* 3. the machine is ours */
    EFI_STATUS status = boot_services_exit(handle, system, info);
    if (EFI_ERROR(status)) {
        boot_say(system,
                 "Ingot: the firmware does not let go of the machine (ExitBootServices failed).");
        return status;
    }
    kernel_main(info);
}
