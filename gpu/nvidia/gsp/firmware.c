/*
 * gpu/nvidia/gsp/firmware.c: finds the firmware files of a chip on the ESP and takes them apart.
 *
 * Formats, all little-endian: the container of linux-firmware's NVIDIA files as nouveau reads it (struct nvfw_bin_hdr in
 * include/nvfw/fw.h; nvfw_hs_header_v2, nvfw_hs_load_header_v2 in nvfw/hs.h; nvfw_bl_desc in nvfw/fw.h), in it for the boot
 * loader RM_RISCV_UCODE_DESC (open-gpu-kernel-modules 570.144, rmRiscvUcode.h); the GSP's program is an ELF64 file
 * (kernel_gsp.c, _kgspFwContainerGetSection), the FMC an ELF32 file (nouveau, gh100.c).
 *
 * Ada's scrubber is not used: it clears VRAM for a GSP heap that does not fit into the 256 MiB at VRAM's end which the
 * VBIOS has cleared already. Ours does (layout.c).
 */
#include "gpu/nvidia/gsp/firmware.h"

#include <stdio.h>
#include <string.h>

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static int wrong(const char **problem, const char *what)
{
    *problem = what;
    return -EINVAL;
}

/* Whether bytes [offset, offset + count) are in the file. */
static bool has(struct gsp_bytes file, uint64_t offset, uint64_t count)
{
    return offset <= file.bytes && count <= file.bytes - offset;
}

static uint32_t u32(struct gsp_bytes file, uint64_t offset) /* the caller has checked has() */
{
    const uint8_t *b = file.data + offset;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint16_t u16(struct gsp_bytes file, uint64_t offset)
{
    return (uint16_t)(file.data[offset] | file.data[offset + 1] << 8);
}

static uint64_t u64(struct gsp_bytes file, uint64_t offset)
{
    return u32(file, offset) | (uint64_t)u32(file, offset + 4) << 32;
}

static struct gsp_bytes slice(struct gsp_bytes file, uint64_t offset, uint64_t count)
{
    return (struct gsp_bytes){file.data + offset, count};
}

/* ---- ELF files of sections ------------------------------------------------------------------------------------------ */

struct elf {
    struct gsp_bytes file, names;
    uint64_t section_table;
    unsigned section_count, entry_bytes;
    bool is_64;
};

/* ELF specification 1.2: header and section headers. Nothing is loaded by program headers, so they are not looked at. */
static int elf_open(struct gsp_bytes file, bool is_64, struct elf *elf, const char **problem)
{
    static const uint8_t magic[4] = {0x7f, 'E', 'L', 'F'};
    *elf = (struct elf){.file = file, .is_64 = is_64, .entry_bytes = is_64 ? 64 : 40};
    if (!has(file, 0, is_64 ? 64 : 52) || memcmp(file.data, magic, sizeof(magic)) != 0)
        return wrong(problem, "it is not an ELF file");
    if (file.data[4] != (is_64 ? 2 : 1) || file.data[5] != 1)
        return wrong(problem, "it is an ELF file of another class");
    elf->section_table = is_64 ? u64(file, 0x28) : u32(file, 0x20);
    unsigned at = is_64 ? 0x3a : 0x2e;
    elf->section_count = u16(file, at + 2);
    unsigned names = u16(file, at + 4);
    if (u16(file, at) != elf->entry_bytes ||
        !has(file, elf->section_table, (uint64_t)elf->section_count * elf->entry_bytes))
        return wrong(problem, "it ends before its section headers do");
    if (names >= elf->section_count)
        return wrong(problem, "its sections have no names");
    uint64_t header = elf->section_table + (uint64_t)names * elf->entry_bytes;
    uint64_t offset = is_64 ? u64(file, header + 0x18) : u32(file, header + 0x10);
    uint64_t bytes = is_64 ? u64(file, header + 0x20) : u32(file, header + 0x14);
    if (!has(file, offset, bytes) || bytes == 0 || file.data[offset + bytes - 1] != '\0')
        return wrong(problem, "its section names lie outside of it");
    elf->names = slice(file, offset, bytes);
    return 0;
}

/* CRC-32 of IEEE 802.3, bit by bit: for some hundred KiB, once. */
static uint32_t crc32(struct gsp_bytes bytes)
{
    uint32_t crc = UINT32_MAX;
    for (uint64_t i = 0; i < bytes.bytes; i++) {
        crc ^= bytes.data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* The section with this name; -ENOENT, or -EINVAL when it lies outside of the file or its checksum is wrong. */
static int elf_section(const struct elf *elf, const char *name, struct gsp_bytes *out)
{
    for (unsigned i = 1; i < elf->section_count; i++) {
        uint64_t header = elf->section_table + (uint64_t)i * elf->entry_bytes;
        uint32_t name_at = u32(elf->file, header);
        if (name_at >= elf->names.bytes ||
            strcmp((const char *)elf->names.data + name_at, name) != 0)
            continue;
        uint64_t offset =
            elf->is_64 ? u64(elf->file, header + 0x18) : u32(elf->file, header + 0x10);
        uint64_t bytes = elf->is_64 ? u64(elf->file, header + 0x20) : u32(elf->file, header + 0x14);
        if (!has(elf->file, offset, bytes) || bytes == 0)
            return -EINVAL;
        *out = slice(elf->file, offset, bytes);
        /* NVIDIA's 32-bit files have the section's CRC in sh_info; nouveau checks it too (gh100.c). */
        uint32_t crc = elf->is_64 ? 0 : u32(elf->file, header + 0x1c);
        return crc != 0 && crc != crc32(*out) ? -EINVAL : 0;
    }
    return -ENOENT;
}

/* ---- the parsers ---------------------------------------------------------------------------------------------------- */

/* Section names by linux-firmware folder (nv-firmware.h, nv_firmware_chip_family_to_string). */
static const struct {
    const char *folder, *section;
} signature_sections[] = {
    {"tu102", ".fwsignature_tu10x"}, {"tu116", ".fwsignature_tu11x"},
    {"ga100", ".fwsignature_ga100"}, {"ga102", ".fwsignature_ga10x"},
    {"ad102", ".fwsignature_ad10x"}, {"gh100", ".fwsignature_gh100"},
    {"gb100", ".fwsignature_gb10x"}, {"gb202", ".fwsignature_gb20x"},
};

int gsp_program_parse(struct gsp_bytes file, const char *folder, struct gsp_program *out,
                      const char **problem)
{
    struct elf elf;
    if (elf_open(file, true, &elf, problem) < 0)
        return -EINVAL;
    struct gsp_bytes version;
    if (elf_section(&elf, ".fwversion", &version) < 0 ||
        version.bytes != sizeof(GSP_FIRMWARE_VERSION) ||
        memcmp(version.data, GSP_FIRMWARE_VERSION, sizeof(GSP_FIRMWARE_VERSION)) != 0)
        return wrong(problem, "it is not of release " GSP_FIRMWARE_VERSION);
    if (elf_section(&elf, ".fwimage", &out->image) < 0)
        return wrong(problem, "it has no section .fwimage");
    if (out->image.data != file.data + 64)
        return wrong(problem, "its image does not begin behind its header");
    if (gsp_radix3_bytes(out->image.bytes) == 0)
        return wrong(problem, "its image is larger than 1 GiB");
    for (size_t i = 0; i < ARRAY_COUNT(signature_sections); i++)
        if (strcmp(folder, signature_sections[i].folder) == 0 &&
            elf_section(&elf, signature_sections[i].section, &out->signature) == 0)
            return out->signature.bytes <= PAGE_SIZE
                       ? 0
                       : wrong(problem, "its signature is larger than a page");
    return wrong(problem, "it has no signature for this chip");
}

/* The container: header, then in any order what header_offset and data_offset point at. */
struct container {
    struct gsp_bytes file, data;
    uint64_t header;
};

static int container_open(struct gsp_bytes file, uint64_t header_bytes, struct container *out,
                          const char **problem)
{
    if (!has(file, 0, 24) || u32(file, 0) != 0x10de)
        return wrong(problem, "it is not a firmware container");
    if (u32(file, 4) != 1)
        return wrong(problem, "it is a firmware container of another version");
    out->file = file;
    out->header = u32(file, 12);
    if (!has(file, out->header, header_bytes) || !has(file, u32(file, 16), u32(file, 20)))
        return wrong(problem, "it ends before its data does");
    out->data = slice(file, u32(file, 16), u32(file, 20));
    return 0;
}

int gsp_boot_loader_parse(struct gsp_bytes file, struct gsp_boot_loader *out, const char **problem)
{
    struct container in;
    if (container_open(file, 56, &in, problem) < 0) /* of 76 or more, by version */
        return -EINVAL;
    *out = (struct gsp_boot_loader){
        .image = in.data,
        .app_version = u32(file, in.header + 28),
        .manifest_offset = u32(file, in.header + 32),
        .data_offset = u32(file, in.header + 40),
        .code_offset = u32(file, in.header + 48),
    };
    if (!has(in.data, out->manifest_offset, u32(file, in.header + 36)) ||
        !has(in.data, out->data_offset, u32(file, in.header + 44)) ||
        !has(in.data, out->code_offset, u32(file, in.header + 52)) || in.data.bytes == 0)
        return wrong(problem, "a part of its image lies outside of it");
    return 0;
}

int gsp_secure_code_parse(struct gsp_bytes file, struct gsp_secure_code *out, const char **problem)
{
    struct container in;
    if (container_open(file, 36, &in, problem) < 0)
        return -EINVAL;
    /* Signatures and where they go; three of the fields are offsets of words in the file. */
    uint64_t signatures = u32(file, in.header), signatures_bytes = u32(file, in.header + 4);
    uint64_t patch_location = u32(file, in.header + 8), patch_signature = u32(file, in.header + 12);
    uint64_t meta = u32(file, in.header + 16), meta_bytes = u32(file, in.header + 20);
    uint64_t count_at = u32(file, in.header + 24);
    uint64_t load = u32(file, in.header + 28), load_bytes = u32(file, in.header + 32);
    if (!has(file, patch_location, 4) || !has(file, patch_signature, 4) ||
        !has(file, count_at, 4) || meta_bytes < 12 || !has(file, meta, 12) || load_bytes < 36 ||
        !has(file, load, 36) || !has(file, signatures, signatures_bytes))
        return wrong(problem, "a part of its header lies outside of it");
    *out = (struct gsp_secure_code){
        .image = in.data,
        .signatures = file.data + signatures,
        .signature_count = u32(file, count_at),
        .signature_at = u32(file, patch_location),
        .fuse_version = u32(file, meta),
        .engine_id_mask = u32(file, meta + 4),
        .ucode_id = u32(file, meta + 8),
        .os_code_offset = u32(file, load),
        .os_code_bytes = u32(file, load + 4),
        .data_offset = u32(file, load + 8),
        .data_bytes = u32(file, load + 12),
        .app_code_offset = u32(file, load + 20),
        .app_code_bytes = u32(file, load + 24),
    };
    if (out->signature_count == 0 || signatures_bytes == 0 ||
        signatures_bytes % out->signature_count != 0)
        return wrong(problem, "its signatures have no size");
    if (u32(file, patch_signature) != 0)
        return wrong(problem, "its signatures do not begin where they should");
    out->signature_bytes = (uint32_t)(signatures_bytes / out->signature_count);
    if (u32(file, load + 16) != 1)
        return wrong(problem, "it has not exactly one application");
    if (!has(in.data, out->os_code_offset, out->os_code_bytes) ||
        !has(in.data, out->app_code_offset, out->app_code_bytes) ||
        !has(in.data, out->data_offset, out->data_bytes) || out->app_code_bytes == 0)
        return wrong(problem, "a part of its image lies outside of it");
    /* The signature is in what is loaded as data: the boot ROM looks for it there. */
    if (out->signature_at < out->data_offset ||
        out->signature_at - out->data_offset > out->data_bytes ||
        out->signature_bytes > out->data_bytes - (out->signature_at - out->data_offset))
        return wrong(problem, "its signature's place is not in its data");
    if (out->engine_id_mask > UINT16_MAX || out->ucode_id > UINT8_MAX)
        return wrong(problem, "its identifiers are too large");
    return 0;
}

int gsp_loader_parse(struct gsp_bytes file, struct fwsec_loader *out, const char **problem)
{
    struct container in;
    if (container_open(file, 24, &in, problem) < 0)
        return -EINVAL;
    uint32_t code_offset = u32(file, in.header + 8), code_bytes = u32(file, in.header + 12);
    if (!has(in.data, code_offset, code_bytes) || code_bytes == 0)
        return wrong(problem, "its code lies outside of it");
    *out = (struct fwsec_loader){
        .code = in.data.data + code_offset,
        .size_bytes = code_bytes,
        .start_tag = u32(file, in.header),
    };
    return 0;
}

int gsp_fmc_parse(struct gsp_bytes file, struct gsp_fmc *out, const char **problem)
{
    struct elf elf;
    if (elf_open(file, false, &elf, problem) < 0)
        return -EINVAL;
    if (elf_section(&elf, "image", &out->image) < 0)
        return wrong(problem, "it has no section image, or a damaged one");
    if (elf_section(&elf, "hash", &out->hash) < 0 || out->hash.bytes != GSP_FMC_HASH_BYTES)
        return wrong(problem, "it has no section hash of 48 bytes, or a damaged one");
    if (elf_section(&elf, "publickey", &out->public_key) < 0 ||
        out->public_key.bytes > GSP_FMC_KEY_BYTES_MAX)
        return wrong(problem, "it has no section publickey of up to 384 bytes, or a damaged one");
    if (elf_section(&elf, "signature", &out->signature) < 0 ||
        out->signature.bytes > GSP_FMC_KEY_BYTES_MAX)
        return wrong(problem, "it has no section signature of up to 384 bytes, or a damaged one");
    return 0;
}

/* ---- the files of one chip ------------------------------------------------------------------------------------------ */

static void file_name(const struct hw *hw, const char *kind, char out[64])
{
    const char *folder = hw->chip->firmware;
    if (strcmp(kind, "gsp") == 0) /* one for all that have the same kind of falcons */
        folder = hw->chip->falcon == HW_FALCON_TU102 ? "tu102" : "ga102";
    snprintf(out, 64, "nvidia/%s/gsp/%s-" GSP_FIRMWARE_VERSION ".bin", folder, kind);
}

int gsp_firmware_file(struct hw *hw, const char *kind, struct gsp_bytes *out)
{
    char name[64];
    file_name(hw, kind, name);
    out->data = boot_file(name, &out->bytes);
    if (out->data != NULL)
        return 0;
    return hw_fail(hw, -ENOENT,
                   "/firmware/%s is not on the boot disk: `make image GPU=%s` puts it there", name,
                   hw->chip->name);
}

static int file_wrong(struct hw *hw, const char *kind, const char *problem)
{
    char name[64];
    file_name(hw, kind, name);
    return hw_fail(hw, -EINVAL,
                   "/firmware/%s: %s; `make image GPU=%s` puts a good one on the boot disk", name,
                   problem, hw->chip->name);
}

int gsp_firmware_load(struct hw *hw, struct gsp_firmware *out)
{
    struct gsp_bytes file;
    const char *problem = "";
    memset(out, 0, sizeof(*out));

    int error = gsp_firmware_file(hw, "gsp", &file);
    if (error < 0)
        return error;
    if (gsp_program_parse(file, hw->chip->firmware, &out->program, &problem) < 0)
        return file_wrong(hw, "gsp", problem);
    error = gsp_firmware_file(hw, "bootloader", &file);
    if (error < 0)
        return error;
    if (gsp_boot_loader_parse(file, &out->boot_loader, &problem) < 0)
        return file_wrong(hw, "bootloader", problem);

    if (hw->chip->boot == HW_BOOT_FSP) {
        error = gsp_firmware_file(hw, "fmc", &file);
        if (error < 0)
            return error;
        return gsp_fmc_parse(file, &out->fmc, &problem) < 0 ? file_wrong(hw, "fmc", problem) : 0;
    }

    error = gsp_firmware_file(hw, "booter_load", &file);
    if (error < 0)
        return error;
    if (gsp_secure_code_parse(file, &out->booter_load, &problem) < 0)
        return file_wrong(hw, "booter_load", problem);
    error = gsp_firmware_file(hw, "booter_unload", &file);
    if (error < 0)
        return error;
    if (gsp_secure_code_parse(file, &out->booter_unload, &problem) < 0)
        return file_wrong(hw, "booter_unload", problem);
    if (hw->chip->falcon == HW_FALCON_TU102) {
        error = gsp_firmware_file(hw, "gen_bootloader", &file);
        if (error < 0)
            return error;
        if (gsp_loader_parse(file, &out->fwsec_loader, &problem) < 0)
            return file_wrong(hw, "gen_bootloader", problem);
    }
    return 0;
}

/* ---- radix3 --------------------------------------------------------------------------------------------------------- */

#define RADIX3_ENTRIES (PAGE_SIZE / sizeof(uint64_t))

uint64_t gsp_radix3_bytes(uint64_t program_bytes)
{
    uint64_t pages = program_bytes / PAGE_SIZE + (program_bytes % PAGE_SIZE != 0);
    uint64_t level_2 = pages / RADIX3_ENTRIES + (pages % RADIX3_ENTRIES != 0);
    return level_2 == 0 || level_2 > RADIX3_ENTRIES ? 0 : (2 + level_2) * PAGE_SIZE;
}

void gsp_radix3_build(void *tables, uint64_t tables_dma, uint64_t program_dma,
                      uint64_t program_bytes, uint64_t tail_dma)
{
    uint64_t bytes = gsp_radix3_bytes(program_bytes);
    assert(bytes != 0 && tables_dma % PAGE_SIZE == 0 && program_dma % PAGE_SIZE == 0);
    uint64_t *level_0 = tables, *level_1 = level_0 + RADIX3_ENTRIES;
    uint64_t *level_2 = level_1 + RADIX3_ENTRIES;
    memset(tables, 0, bytes);
    level_0[0] = tables_dma + PAGE_SIZE;
    for (uint64_t i = 0; i < bytes / PAGE_SIZE - 2; i++)
        level_1[i] = tables_dma + (2 + i) * PAGE_SIZE;
    uint64_t whole = program_bytes / PAGE_SIZE;
    for (uint64_t i = 0; i < whole; i++)
        level_2[i] = program_dma + i * PAGE_SIZE;
    if (program_bytes % PAGE_SIZE != 0)
        level_2[whole] = tail_dma;
}
