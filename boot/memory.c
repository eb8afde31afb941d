/*
 * boot/memory.c: memory that must lie in special places, and the way out of boot services with the final memory map
 * (UEFI 2.10, 7.2 GetMemoryMap, 7.4 ExitBootServices).
 */
#include <string.h>

#include "boot/uefi.h"
#include "kernel/x86.h"

#define MAP_SLACK_BYTES (32 * 1024) /* room for entries that later allocations add */
#define EXIT_TRIES \
    8 /* each failure means that the map changed between the two calls; once is common */
#define MEMORY_SP UINT64_C(0x40000)

static EFI_MEMORY_DESCRIPTOR *map;
static UINTN map_capacity;

static bool pages_allocate_at(EFI_SYSTEM_TABLE *system, struct boot_info *info, uint64_t pa,
                              uint64_t size_bytes)
{
    if (EFI_ERROR(system->BootServices->AllocatePages(AllocateAddress, EfiLoaderData,
                                                      EFI_PAGES(size_bytes), &pa)))
        return false;
    return boot_keep(info, pa, size_bytes);
}

void boot_memory_reserve(EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
    EFI_BOOT_SERVICES *bs = system->BootServices;

    /*
     * Two pages for the code that other cores start in: real mode reaches 1 MiB, and the first 64 KiB stay
     * unmapped.
     */
    EFI_PHYSICAL_ADDRESS low = 0xfffff;
    if (!EFI_ERROR(bs->AllocatePages(AllocateMaxAddress, EfiLoaderData, 2, &low)) &&
        low >= 0x10000 && boot_keep(info, low, 2 * PAGE_SIZE))
        info->trampoline_pa = low;

    static const uint64_t log_places[] = BOOT_LOG_PLACES;
    for (unsigned i = 0; i < ARRAY_COUNT(log_places) && info->log_pa == 0; i++) {
        if (pages_allocate_at(system, info, log_places[i], BOOT_LOG_BYTES))
            info->log_pa = log_places[i];
    }
    EFI_PHYSICAL_ADDRESS anywhere = 0;
    if (info->log_pa == 0 &&
        !EFI_ERROR(bs->AllocatePages(AllocateAnyPages, EfiLoaderData, EFI_PAGES(BOOT_LOG_BYTES),
                                     &anywhere)) &&
        boot_keep(info, anywhere, BOOT_LOG_BYTES)) {
        memset((void *)anywhere, 0, BOOT_LOG_BYTES); /* not a log of ours */
        info->log_pa = anywhere;
    }

    UINTN key, step;
    UINT32 version;
    map_capacity = 0;
    bs->GetMemoryMap(&map_capacity, NULL, &key, &step, &version); /* says the size */
    map_capacity += MAP_SLACK_BYTES;
    if (EFI_ERROR(bs->AllocatePool(EfiLoaderData, map_capacity, (void **)&map)))
        map = NULL;
}

static enum boot_range_kind range_kind(const EFI_MEMORY_DESCRIPTOR *d)
{
    switch (d->Type) {
    case EfiLoaderCode:
    case EfiLoaderData:
    case EfiBootServicesCode:
    case EfiBootServicesData:
        return d->Attribute & EFI_MEMORY_WB ? BOOT_RANGE_RECLAIM : BOOT_RANGE_RESERVED;
    case EfiConventionalMemory:
        return d->Attribute & MEMORY_SP || !(d->Attribute & EFI_MEMORY_WB) ? BOOT_RANGE_RESERVED
                                                                           : BOOT_RANGE_FREE;
    case EfiACPIReclaimMemory:
        return BOOT_RANGE_ACPI;
    case EfiACPIMemoryNVS:
        return BOOT_RANGE_ACPI_NVS;
    case EfiRuntimeServicesCode:
        return BOOT_RANGE_RUNTIME_CODE;
    case EfiRuntimeServicesData:
        return BOOT_RANGE_RUNTIME_DATA;
    case EfiMemoryMappedIO:
    case EfiMemoryMappedIOPortSpace:
        return d->Attribute & EFI_MEMORY_RUNTIME ? BOOT_RANGE_RUNTIME_MMIO : BOOT_RANGE_RESERVED;
    default: /* reserved, unusable, PAL code, persistent, unaccepted, and types of the future */
        return BOOT_RANGE_RESERVED;
    }
}

/* Insert in address order, merging with the range before when they touch and are of a kind. */
static void range_add(struct boot_info *info, uint64_t pa, uint64_t size_bytes,
                      enum boot_range_kind kind)
{
    if (size_bytes == 0 || pa + size_bytes < pa)
        return;
    uint32_t at = info->range_count;
    while (at > 0 && info->ranges[at - 1].pa > pa)
        at--;
    struct boot_range *before = at > 0 ? &info->ranges[at - 1] : NULL;
    if (before != NULL && before->kind == kind && before->pa + before->size_bytes == pa) {
        before->size_bytes += size_bytes;
        return;
    }
    if (before != NULL && before->pa + before->size_bytes > pa)
        return; /* overlapping entries: believe the first */
    if (info->range_count == BOOT_RANGES_MAX)
        return; /* a map this scattered loses its last pieces; memory not listed is never touched */
    memmove(&info->ranges[at + 1], &info->ranges[at],
            (info->range_count - at) * sizeof(info->ranges[0]));
    info->ranges[at] = (struct boot_range){pa, size_bytes, kind};
    info->range_count++;
}

EFI_STATUS boot_services_exit(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
    EFI_BOOT_SERVICES *bs = system->BootServices;
    if (map == NULL)
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = EFI_INVALID_PARAMETER;
    UINTN map_bytes = 0, step = 0;
    /* After a failed try only the memory services may be called, and those two do not allocate. */
    for (int i = 0; i < EXIT_TRIES && status == EFI_INVALID_PARAMETER; i++) {
        UINTN key;
        UINT32 version;
        map_bytes = map_capacity;
        status = bs->GetMemoryMap(&map_bytes, map, &key, &step, &version);
        if (EFI_ERROR(status))
            return status;
        status = bs->ExitBootServices(handle, key);
    }
    if (EFI_ERROR(status))
        return status;
    interrupts_off();
    info->exit_tsc = tsc_read();

    for (UINTN at = 0; at + sizeof(*map) <= map_bytes; at += step) {
        const EFI_MEMORY_DESCRIPTOR *d = (const void *)((const char *)map + at);
        if (d->NumberOfPages > BITS(51, 12) / PAGE_SIZE || d->PhysicalStart & (PAGE_SIZE - 1))
            continue;
        range_add(info, d->PhysicalStart, d->NumberOfPages * PAGE_SIZE, range_kind(d));
    }
    info->is_runtime_usable = info->runtime_services != NULL;
    return EFI_SUCCESS;
}
