/*
 * boot/uefi.h: what the files of boot/ share. UEFI types are gnu-efi's; the specification is UEFI 2.10.
 */
#ifndef INGOT_UEFI_H
#define INGOT_UEFI_H

#ifndef GNU_EFI_USE_MS_ABI
#define GNU_EFI_USE_MS_ABI /* firmware functions use Microsoft's calling convention; the compiler does the rest */
#endif
#include <efi.h>

#include "boot/boot.h"
#include "kernel/image.h"
#include "kernel/kernel.h"

#define EFI_PAGES(bytes) (((bytes) + PAGE_SIZE - 1) / PAGE_SIZE)

/* For code that runs before the stack protector has its guard. */
#define BEFORE_GUARD __attribute__((no_stack_protector))

/* 64 bytes gathered at entry, before the image moved; the kernel's generator starts from them. */
struct boot_seed {
    uint64_t words[8];
    bool is_strong;
};
extern struct boot_seed boot_seed;
void boot_seed_gather(EFI_SYSTEM_TABLE *system, struct boot_seed *out);

/* Where the log that outlives a warm reset lies: the first of these that is free. The moved image keeps off all of them,
 * because it moves before the log is taken, over what the previous boot has left there. */
#define BOOT_LOG_PLACES {0x4000000, 0x6000000, 0x2000000, 0x10000000, 0x20000000}

/* Copy the image to a random place and relocate it there. Returns the new base, or the present one if that fails. */
char *boot_image_move(EFI_SYSTEM_TABLE *system);

/* ---- steps of efi_main(), each filling its part of *info ------------------------------------------------------- */

/* Register memory that must survive; false when the table is full. */
bool boot_keep(struct boot_info *info, uint64_t pa, uint64_t size_bytes);
/* The volume the image was loaded from, to be closed by the caller; NULL when it came from none. */
EFI_FILE_HANDLE boot_volume_open(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);
void boot_debug_wait(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);
void boot_files_read(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system, struct boot_info *info);
void boot_token_read(EFI_SYSTEM_TABLE *system, struct boot_info *info);
void boot_screen_find(EFI_SYSTEM_TABLE *system, struct boot_info *info);
void boot_memory_reserve(EFI_SYSTEM_TABLE *system, struct boot_info *info);
/* Ends boot services and fills in the memory ranges. On success no firmware call but runtime services is possible. */
EFI_STATUS boot_services_exit(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system, struct boot_info *info);

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

/* A line on the firmware's console. */
void boot_say(EFI_SYSTEM_TABLE *system, const char *text);

#endif
