/*
 * boot/boot.h: what the UEFI application hands to the kernel, once, when the firmware's boot services are gone.
 *
 * Everything that a pointer in here points to lies in memory of its own (a kept range), at its physical address.
 */
#ifndef INGOT_BOOT_H
#define INGOT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#define BOOT_RANGES_MAX   512      /* firmware maps have 30 to 300 entries, adjoining ones of a kind are merged */
#define BOOT_KEPT_MAX     64
#define BOOT_FIRMWARE_MAX 48
#define BOOT_FILE_LEAD    64       /* an ELF64 header: what follows it lies at a page's start, for devices to read in place */
#define BOOT_CONFIG_MAX   (64 * 1024)
#define BOOT_TOKEN_LENGTH 32
#define BOOT_LOG_BYTES    (128 * 1024)

enum boot_range_kind {
    BOOT_RANGE_FREE,         /* RAM for us, as far as no kept range lies in it */
    BOOT_RANGE_RECLAIM,      /* the same once we stand on our own stack and page tables: the firmware's are in there */
    BOOT_RANGE_ACPI,         /* ACPI tables */
    BOOT_RANGE_ACPI_NVS,     /* RAM that the firmware goes on using */
    BOOT_RANGE_RUNTIME_CODE, /* UEFI runtime services */
    BOOT_RANGE_RUNTIME_DATA,
    BOOT_RANGE_RUNTIME_MMIO,
    BOOT_RANGE_RESERVED,     /* RAM or not: hands off */
};

struct boot_range {
    uint64_t pa, size_bytes; /* page-aligned */
    enum boot_range_kind kind;
};

struct boot_screen {
    uint64_t pa, size_bytes; /* size 0: no screen */
    uint32_t width, height, pitch_pixels;
    uint8_t red_shift, green_shift, blue_shift; /* of 8-bit channels in a 32-bit pixel */
};

struct boot_firmware_file {
    char name[64];           /* below \firmware\, as the file system spells it: "nvidia/ga102/gsp/gsp-570.144.bin" */
    const void *data;        /* BOOT_FILE_LEAD bytes before a page's start */
    uint64_t size_bytes;
};

struct boot_info {
    struct boot_range ranges[BOOT_RANGES_MAX]; /* sorted by address, no overlaps */
    uint32_t range_count;
    struct { uint64_t pa, size_bytes; } kept[BOOT_KEPT_MAX]; /* ours already, inside free ranges */
    uint32_t kept_count;

    uint64_t image_pa, image_bytes;   /* this program, where it runs */
    bool is_image_moved;              /* to a random place; false: where the firmware put it */
    uint64_t trampoline_pa;           /* two pages between 64 KiB and 1 MiB for starting cores; 0: none */
    uint64_t log_pa;                  /* BOOT_LOG_BYTES at a place that is the same at every boot if possible */

    struct boot_screen screen;
    uint64_t rsdp_pa;                 /* ACPI root pointer; 0: none */
    void *runtime_services;           /* EFI_RUNTIME_SERVICES */
    bool is_runtime_usable;

    const char *config;               /* text of ingot.conf, NUL-terminated */
    uint32_t config_bytes;
    bool config_found;
    char config_error[96];            /* why it was not read although it is there, "" otherwise */

    struct boot_firmware_file firmware[BOOT_FIRMWARE_MAX];
    uint32_t firmware_count;
    char firmware_error[128];         /* what was left out and why, "" otherwise */

    char token[BOOT_TOKEN_LENGTH + 1];
    bool token_is_new;                /* made at this boot */
    bool token_is_stored;             /* the firmware keeps it for the next boot */

    uint8_t seed[64];                 /* random; the kernel wipes it after use */
    bool seed_is_strong;              /* from hardware or the firmware's generator, not only from timing */
    int64_t wall_clock_ns;            /* at entry_tsc, since 1970 UTC; 0: unknown */
    uint64_t entry_tsc, exit_tsc;     /* at the image's entry; right after ExitBootServices */
    char firmware_vendor[48];
    uint32_t firmware_revision;
};

/* The machine's own main function; boot/ calls it with interrupts off, and never sees it return. */
_Noreturn void kernel_main(struct boot_info *info);

#endif
