/*
 * tests/model/wpr.c: what is checked before the GSP starts: the WPR metadata, the framebuffer layout in it, the
 * radix3 table and the bytes that it leads to.
 *
 * On Turing to Ada, Booter on SEC2 does this; on Hopper and Blackwell, the FMC. Both copy GSP-RM's image into the
 * write protected region (WPR2) and verify it; a signature cannot be computed here, so bytes are compared with the
 * distribution's files, which comes to the same.
 *
 * Sources (OGKM 570.144): gsp_fw_wpr_meta.h (the structure and the picture of the layout), kernel_gsp.c
 * (kgspCreateRadix3, kgspGetFwHeapSize), kernel_gsp_tu102.c and kernel_gsp_gh100.c (kgspCalculateFbLayout),
 * gsp_fw_heap.h, g_kernel_gsp_nvoc.h (sizes by chip), rmRiscvUcode.h (the bootloader's descriptor).
 */
#include "tests/model/gsp.h"

#define META_BYTES               256
/* GspFwWprMeta, gsp_fw_wpr_meta.h */
#define META_MAGIC               0
#define META_REVISION            8
#define META_RADIX3              16
#define META_ELF_BYTES           24
#define META_BOOTLOADER          32
#define META_BOOTLOADER_BYTES    40
#define META_BOOTLOADER_CODE     48
#define META_BOOTLOADER_DATA     56
#define META_BOOTLOADER_MANIFEST 64
#define META_SIGNATURE           72
#define META_SIGNATURE_BYTES     80
#define META_RESERVED_START      88
#define META_NON_WPR_HEAP        96
#define META_NON_WPR_HEAP_BYTES  104
#define META_WPR_START           112
#define META_HEAP                120
#define META_HEAP_BYTES          128
#define META_ELF                 136
#define META_BOOT                144
#define META_FRTS                152
#define META_FRTS_BYTES          160
#define META_WPR_END             168
#define META_FB_BYTES            176
#define META_VGA                 184
#define META_VGA_BYTES           192
#define META_BOOT_COUNT          200
#define META_PARTITION_COUNT     240
#define META_PMU_BYTES           244
#define META_VERIFIED            248

#define MAGIC                    UINT64_C(0xdc3aae21371a60b3) /* GSP_FW_WPR_META_MAGIC */
#define REVISION                 1                            /* GSP_FW_WPR_META_REVISION */

#define KIB                      UINT64_C(1024)
#define MIB                      (1024 * KIB)
#define PRESCRUBBED_BYTES        (256 * MIB) /* kgspGetPrescrubbedTopFbSize: Turing to Ada, GA100 apart */

/*
 * What Booter leaves in its mailbox, and the FMC in its own, is not published beyond "not zero is an error". The
 * numbers tell the cases apart.
 */
enum { LOAD_OK, LOAD_META, LOAD_LAYOUT, LOAD_RADIX3, LOAD_IMAGE, LOAD_BOOTLOADER, LOAD_SIGNATURE };

static bool is_fsp_booted(const struct model *m)
{
    return m->chip->family >= HOPPER;
}

bool layout_is_usable(const struct layout *layout, uint64_t address, uint64_t bytes)
{
    return bytes <= layout->usable_end && address <= layout->usable_end - bytes;
}

/* ---- layout ------------------------------------------------------------------------------------------------------ */

struct range {
    const char *name;
    uint64_t start, bytes;
};

/* The ranges must lie in this order without overlap, all inside the framebuffer. */
static bool ranges_check(struct model *m, const struct range *range, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t end = range[i].start + range[i].bytes;
        if (range[i].bytes == 0 || end < range[i].start || end > m->vram_bytes) {
            refuse(m, "WPR metadata: %s at 0x%llx, 0x%llx bytes: not inside the framebuffer",
                   range[i].name, (unsigned long long)range[i].start,
                   (unsigned long long)range[i].bytes);
            return false;
        }
        if (i > 0 && range[i - 1].start + range[i - 1].bytes > range[i].start) {
            refuse(m, "WPR metadata: %s ends at 0x%llx, beyond %s at 0x%llx", range[i - 1].name,
                   (unsigned long long)(range[i - 1].start + range[i - 1].bytes), range[i].name,
                   (unsigned long long)range[i].start);
            return false;
        }
    }
    return true;
}

static bool aligned(struct model *m, const char *name, uint64_t value, uint64_t to)
{
    if (value % to == 0)
        return true;
    refuse(m, "WPR metadata: %s is 0x%llx, not a multiple of 0x%llx", name,
           (unsigned long long)value, (unsigned long long)to);
    return false;
}

static bool heap_check(struct model *m, uint64_t bytes)
{
    /* kgspGetMinWprHeapSizeMB: libos 2 (Turing, GA100) 64, libos 3 88; gsp_fw_heap.h for the greatest sizes */
    uint64_t min = (m->chip->family == TURING ? 64 : 88) * MIB,
             max = (m->chip->family == TURING ? 256 : 280) * MIB;
    if (bytes >= min && bytes <= max)
        return true;
    refuse(m, "WPR metadata: gspFwHeapSize is 0x%llx, %s's GSP-RM wants 0x%llx to 0x%llx",
           (unsigned long long)bytes, m->chip->name, (unsigned long long)min,
           (unsigned long long)max);
    return false;
}

/* Turing to Ada: the driver lays everything out, Booter only checks. */
static bool layout_check(struct model *m, const uint8_t *meta, struct layout *layout)
{
    struct wpr2 frts = wpr2_get(m);
    uint64_t vga = GET64(meta, META_VGA), vga_bytes = GET64(meta, META_VGA_BYTES);
    if (layout->fb_bytes != m->vram_bytes) {
        refuse(m, "WPR metadata: fbSize is 0x%llx, the framebuffer has 0x%llx bytes",
               (unsigned long long)layout->fb_bytes, (unsigned long long)m->vram_bytes);
        return false;
    }
    if (frts.start == frts.end) {
        refuse(m, "Booter runs, but FWSEC has not made the FRTS region (WPR2 is not set up)");
        return false;
    }
    if (layout->frts != frts.start || layout->frts + layout->frts_bytes != frts.end) {
        refuse(m, "WPR metadata: FRTS at 0x%llx, 0x%llx bytes; FWSEC made it at 0x%llx to 0x%llx",
               (unsigned long long)layout->frts, (unsigned long long)layout->frts_bytes,
               (unsigned long long)frts.start, (unsigned long long)frts.end);
        return false;
    }
    const struct range ranges[] = {
        {"the non-WPR heap", layout->non_wpr_heap, layout->non_wpr_heap_bytes},
        {"the metadata in WPR", layout->wpr_start, META_BYTES},
        {"the heap", layout->heap, layout->heap_bytes},
        {"the GSP image", layout->elf, layout->elf_bytes},
        {"the boot image", layout->boot, layout->boot_bytes},
        {"FRTS", layout->frts, layout->frts_bytes},
        {"the VGA workspace", vga, vga_bytes},
    };
    if (!ranges_check(m, ranges, sizeof(ranges) / sizeof(ranges[0])))
        return false;
    if (!aligned(m, "gspFwWprStart", layout->wpr_start, 128 * KIB) ||
        !aligned(m, "gspFwWprEnd", layout->wpr_end, 128 * KIB) ||
        !aligned(m, "nonWprHeapOffset", layout->non_wpr_heap, MIB) ||
        !aligned(m, "gspFwHeapOffset", layout->heap, MIB) ||
        !aligned(m, "gspFwHeapSize", layout->heap_bytes, MIB) ||
        !aligned(m, "gspFwOffset", layout->elf, 64 * KIB) ||
        !aligned(m, "bootBinOffset", layout->boot, PAGE) || !heap_check(m, layout->heap_bytes))
        return false;
    if (layout->wpr_end != frts.end) {
        refuse(m, "WPR metadata: gspFwWprEnd is 0x%llx, FRTS ends at 0x%llx",
               (unsigned long long)layout->wpr_end, (unsigned long long)frts.end);
        return false;
    }
    if (vga + vga_bytes != layout->fb_bytes) {
        refuse(m, "WPR metadata: the VGA workspace ends at 0x%llx, not at the framebuffer's end",
               (unsigned long long)(vga + vga_bytes));
        return false;
    }
    if (GET64(meta, META_RESERVED_START) != layout->non_wpr_heap) {
        refuse(m, "WPR metadata: gspFwRsvdStart is 0x%llx, the non-WPR heap begins at 0x%llx",
               (unsigned long long)GET64(meta, META_RESERVED_START),
               (unsigned long long)layout->non_wpr_heap);
        return false;
    }
    if (layout->non_wpr_heap < layout->fb_bytes - PRESCRUBBED_BYTES) {
        refuse(m, "WPR metadata: it begins at 0x%llx; only the last 256 MiB are scrubbed yet",
               (unsigned long long)layout->non_wpr_heap);
        return false;
    }
    layout->usable_end = layout->non_wpr_heap;
    return true;
}

/* Hopper, Blackwell: the driver gives sizes, the FMC lays out below the FRTS region that FSP made. */
static bool layout_make(struct model *m, const uint8_t *meta, struct layout *layout)
{
    static const unsigned must_be_zero[] = {META_RESERVED_START, META_NON_WPR_HEAP, META_WPR_START,
                                            META_HEAP,           META_ELF,          META_BOOT,
                                            META_WPR_END};
    for (unsigned i = 0; i < sizeof(must_be_zero) / sizeof(must_be_zero[0]); i++)
        if (GET64(meta, must_be_zero[i]) != 0) {
            refuse(m, "WPR metadata: field at byte %u is 0x%llx; the FMC lays out, it must be 0",
                   must_be_zero[i], (unsigned long long)GET64(meta, must_be_zero[i]));
            return false;
        }
    if (!heap_check(m, layout->heap_bytes))
        return false;
    /* kgspGetNonWprHeapSize: 2 MiB and 128 KiB on GB20x, else 2 MiB from Hopper on */
    uint64_t non_wpr = m->chip->family == BLACKWELL ? 2 * MIB + 128 * KIB : 2 * MIB;
    if (layout->non_wpr_heap_bytes < non_wpr) {
        refuse(m, "WPR metadata: nonWprHeapSize is 0x%llx, %s wants 0x%llx",
               (unsigned long long)layout->non_wpr_heap_bytes, m->chip->name,
               (unsigned long long)non_wpr);
        return false;
    }
    struct wpr2 frts = wpr2_get(m);
    if (frts.start == frts.end) {
        refuse(m, "the FMC runs, but FSP has not made the FRTS region (WPR2 is not set up)");
        return false;
    }
    if (layout->frts_bytes != frts.end - frts.start) {
        refuse(m, "WPR metadata: frtsSize is 0x%llx, FSP was asked for 0x%llx",
               (unsigned long long)layout->frts_bytes, (unsigned long long)(frts.end - frts.start));
        return false;
    }
    uint64_t above = GET64(meta, META_VGA_BYTES) + GET32(meta, META_PMU_BYTES);
    if (frts.end > m->vram_bytes || m->vram_bytes - frts.end < above) {
        refuse(m, "FRTS ends at 0x%llx: no room for VGA workspace and PMU (0x%llx bytes) above it",
               (unsigned long long)frts.end, (unsigned long long)above);
        return false;
    }
    uint64_t need = layout->boot_bytes + layout->elf_bytes + layout->heap_bytes +
                    layout->non_wpr_heap_bytes + 4 * MIB;
    if (frts.start < need) {
        refuse(m, "0x%llx bytes for GSP-RM do not fit below FRTS at 0x%llx",
               (unsigned long long)need, (unsigned long long)frts.start);
        return false;
    }
    layout->fb_bytes = m->vram_bytes;
    layout->frts = frts.start;
    layout->wpr_end = frts.end;
    layout->boot = (layout->frts - layout->boot_bytes) & ~(PAGE - 1);
    layout->elf = (layout->boot - layout->elf_bytes) & ~(64 * KIB - 1);
    layout->heap = (layout->elf - layout->heap_bytes) & ~(MIB - 1);
    layout->wpr_start = layout->heap - MIB;
    layout->non_wpr_heap = (layout->wpr_start - layout->non_wpr_heap_bytes) & ~(128 * KIB - 1);
    layout->usable_end = layout->non_wpr_heap;
    return true;
}

/* ---- images ------------------------------------------------------------------------------------------------------ */

/* Read one page of a table; entries addresses follow. */
static bool table_read(struct model *m, uint64_t bus, unsigned level, uint64_t *entry)
{
    if (bus % PAGE != 0 || bus == 0) {
        refuse(m, "radix3: level %u is at 0x%llx, not a page", level, (unsigned long long)bus);
        return false;
    }
    return bus_read(m, bus, entry, PAGE);
}

/*
 * A radix3 table: three levels of pages with 512 addresses each, then the data's pages. Compare what they lead to
 * with the image from the distribution's file.
 */
static uint32_t radix3_check(struct model *m, uint64_t root, const uint8_t *image, uint64_t bytes)
{
    uint64_t level1[512], level2[512], data[512];
    uint64_t pages = (bytes + PAGE - 1) / PAGE;
    if (pages > UINT64_C(512) * 512 * 512) {
        refuse(m, "radix3: 0x%llx bytes are more than three levels reach",
               (unsigned long long)bytes);
        return LOAD_RADIX3;
    }
    if (!table_read(m, root, 0, level1))
        return LOAD_RADIX3;
    uint64_t loaded1 = UINT64_MAX, loaded2 = UINT64_MAX;
    for (uint64_t i = 0; i < pages; i++) {
        if (i / (512 * 512) != loaded1) {
            loaded1 = i / (512 * 512);
            if (!table_read(m, level1[loaded1], 1, level2))
                return LOAD_RADIX3;
        }
        if (i / 512 != loaded2) {
            loaded2 = i / 512;
            if (!table_read(m, level2[loaded2 % 512], 2, data))
                return LOAD_RADIX3;
        }
        uint8_t page[4096];
        uint64_t bus = data[i % 512], here = bytes - i * PAGE < PAGE ? bytes - i * PAGE : PAGE;
        if (bus % PAGE != 0 || bus == 0) {
            refuse(m, "radix3: page %llu of the image is at 0x%llx", (unsigned long long)i,
                   (unsigned long long)bus);
            return LOAD_RADIX3;
        }
        if (!bus_read(m, bus, page, PAGE))
            return LOAD_RADIX3;
        if (memcmp(page, image + i * PAGE, here) != 0) {
            refuse(m, "GSP image: page %llu at 0x%llx differs from %s/gsp/gsp-570.144.bin",
                   (unsigned long long)i, (unsigned long long)bus, m->chip->gsp_firmware);
            return LOAD_IMAGE;
        }
    }
    return LOAD_OK;
}

/* Contiguous bytes in guest memory against a file's. */
static bool bytes_equal(struct model *m, uint64_t bus, const uint8_t *wanted, uint64_t bytes)
{
    uint8_t here[4096];
    for (uint64_t done = 0; done < bytes; done += sizeof(here)) {
        size_t n = bytes - done < sizeof(here) ? bytes - done : sizeof(here);
        if (!bus_read(m, bus + done, here, n) || memcmp(here, wanted + done, n) != 0)
            return false;
    }
    return true;
}

static uint32_t image_check(struct model *m, const uint8_t *meta, struct layout *layout)
{
    const struct file *file = firmware_file(m, m->chip->gsp_firmware, "gsp-570.144.bin");
    const uint8_t *image, *signature;
    size_t image_bytes, signature_bytes;
    if (file == NULL || !elf_section(file, ".fwimage", &image, &image_bytes) ||
        !elf_section(file, m->chip->signature_section, &signature, &signature_bytes)) {
        refuse(m, "the model has no gsp-570.144.bin for %s to compare with", m->chip->name);
        return LOAD_IMAGE;
    }
    if (layout->elf_bytes != image_bytes) {
        refuse(m, "WPR metadata: sizeOfRadix3Elf is 0x%llx, section .fwimage has 0x%zx bytes",
               (unsigned long long)layout->elf_bytes, image_bytes);
        return LOAD_IMAGE;
    }
    uint32_t code = radix3_check(m, GET64(meta, META_RADIX3), image, image_bytes);
    if (code != LOAD_OK)
        return code;

    uint64_t bus = GET64(meta, META_SIGNATURE), bytes = GET64(meta, META_SIGNATURE_BYTES);
    if (bus % 256 != 0 || bytes < signature_bytes || bytes > PAGE * 2) {
        refuse(m, "WPR metadata: signature at 0x%llx, 0x%llx bytes; section %s has 0x%zx",
               (unsigned long long)bus, (unsigned long long)bytes, m->chip->signature_section,
               signature_bytes);
        return LOAD_SIGNATURE;
    }
    if (!bytes_equal(m, bus, signature, signature_bytes)) {
        refuse(m, "signature: differs from section %s of gsp-570.144.bin",
               m->chip->signature_section);
        return LOAD_SIGNATURE;
    }
    return LOAD_OK;
}

/* The bootloader file: struct nvfw_bin_hdr (nouveau's nvfw/fw.h), whose header is an RM_RISCV_UCODE_DESC. */
static uint32_t bootloader_check(struct model *m, const uint8_t *meta, struct layout *layout)
{
    const struct file *file = firmware_file(m, m->chip->firmware, "bootloader-570.144.bin");
    if (file == NULL || file->bytes < 24 + 56) {
        refuse(m, "the model has no bootloader-570.144.bin for %s to compare with", m->chip->name);
        return LOAD_BOOTLOADER;
    }
    uint64_t descriptor = GET32(file->data, 12), data = GET32(file->data, 16),
             bytes = GET32(file->data, 20);
    if (descriptor > file->bytes - 56 || data > file->bytes || bytes > file->bytes - data) {
        refuse(m, "the model's bootloader-570.144.bin is damaged");
        return LOAD_BOOTLOADER;
    }
    if (layout->boot_bytes != bytes) {
        refuse(m, "WPR metadata: sizeOfBootloader is 0x%llx, the file's image has 0x%llx bytes",
               (unsigned long long)layout->boot_bytes, (unsigned long long)bytes);
        return LOAD_BOOTLOADER;
    }
    static const struct {
        const char *name;
        unsigned meta, descriptor; /* rmRiscvUcode.h: RM_RISCV_UCODE_DESC */
    } offsets[] = {{"bootloaderCodeOffset", META_BOOTLOADER_CODE, 48},
                   {"bootloaderDataOffset", META_BOOTLOADER_DATA, 40},
                   {"bootloaderManifestOffset", META_BOOTLOADER_MANIFEST, 32}};
    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        uint32_t wanted = GET32(file->data, descriptor + offsets[i].descriptor);
        if (GET64(meta, offsets[i].meta) != wanted) {
            refuse(m, "WPR metadata: %s is 0x%llx, the bootloader file says 0x%x", offsets[i].name,
                   (unsigned long long)GET64(meta, offsets[i].meta), wanted);
            return LOAD_BOOTLOADER;
        }
    }
    uint64_t bus = GET64(meta, META_BOOTLOADER);
    if (bus % PAGE != 0 || !bytes_equal(m, bus, file->data + data, bytes)) {
        refuse(m, "bootloader at 0x%llx: differs from %s/gsp/bootloader-570.144.bin",
               (unsigned long long)bus, m->chip->firmware);
        return LOAD_BOOTLOADER;
    }
    return LOAD_OK;
}

/* ---- the door ---------------------------------------------------------------------------------------------------- */

static uint32_t load(struct model *m, uint64_t bus, struct layout *layout)
{
    uint8_t meta[META_BYTES];
    *layout = (struct layout){.meta_bus = bus};
    if (bus % 8 != 0 || bus == 0 || !bus_read(m, bus, meta, sizeof(meta))) {
        refuse(m, "WPR metadata at 0x%llx: not readable there", (unsigned long long)bus);
        return LOAD_META;
    }
    if (GET64(meta, META_MAGIC) != MAGIC || GET64(meta, META_REVISION) != REVISION) {
        refuse(m, "WPR metadata: magic 0x%llx, revision %llu; wanted 0x%llx, %d",
               (unsigned long long)GET64(meta, META_MAGIC),
               (unsigned long long)GET64(meta, META_REVISION), (unsigned long long)MAGIC, REVISION);
        return LOAD_META;
    }
    if (GET64(meta, META_VERIFIED) != 0 || GET64(meta, META_BOOT_COUNT) != 0 ||
        GET8(meta, META_PARTITION_COUNT) != 0) {
        refuse(m, "WPR metadata: verified 0x%llx, bootCount %llu, %u partitions: all must be 0",
               (unsigned long long)GET64(meta, META_VERIFIED),
               (unsigned long long)GET64(meta, META_BOOT_COUNT), GET8(meta, META_PARTITION_COUNT));
        return LOAD_META;
    }
    layout->non_wpr_heap = GET64(meta, META_NON_WPR_HEAP);
    layout->non_wpr_heap_bytes = GET64(meta, META_NON_WPR_HEAP_BYTES);
    layout->wpr_start = GET64(meta, META_WPR_START);
    layout->heap = GET64(meta, META_HEAP);
    layout->heap_bytes = GET64(meta, META_HEAP_BYTES);
    layout->elf = GET64(meta, META_ELF);
    layout->elf_bytes = GET64(meta, META_ELF_BYTES);
    layout->boot = GET64(meta, META_BOOT);
    layout->boot_bytes = GET64(meta, META_BOOTLOADER_BYTES);
    layout->frts = GET64(meta, META_FRTS);
    layout->frts_bytes = GET64(meta, META_FRTS_BYTES);
    layout->wpr_end = GET64(meta, META_WPR_END);
    layout->fb_bytes = GET64(meta, META_FB_BYTES);
    if (layout->elf_bytes > m->vram_bytes || layout->boot_bytes > m->vram_bytes ||
        layout->heap_bytes > m->vram_bytes || layout->non_wpr_heap_bytes > m->vram_bytes) {
        refuse(m, "WPR metadata: a size in it is greater than the framebuffer");
        return LOAD_LAYOUT;
    }
    uint32_t code = image_check(m, meta, layout);
    if (code == LOAD_OK)
        code = bootloader_check(m, meta, layout);
    if (code != LOAD_OK)
        return code;
    if (!(is_fsp_booted(m) ? layout_make(m, meta, layout) : layout_check(m, meta, layout)))
        return LOAD_LAYOUT;
    return LOAD_OK;
}

uint32_t gsp_rm_load(struct model *m, uint64_t wpr_meta_bus, uint64_t *wpr_start, uint64_t *wpr_end)
{
    struct layout *layout = &m->rm->layout;
    uint32_t code = load(m, wpr_meta_bus, layout);
    if (code != LOAD_OK)
        return code;
    layout->is_loaded = true;
    *wpr_start = layout->wpr_start;
    *wpr_end = layout->wpr_end;
    trace(m, "wpr: 0x%llx to 0x%llx: heap 0x%llx, image 0x%llx, boot 0x%llx, FRTS 0x%llx",
          (unsigned long long)layout->wpr_start, (unsigned long long)layout->wpr_end,
          (unsigned long long)layout->heap, (unsigned long long)layout->elf,
          (unsigned long long)layout->boot, (unsigned long long)layout->frts);
    return LOAD_OK;
}
