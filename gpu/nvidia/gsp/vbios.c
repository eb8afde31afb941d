/*
 * gpu/nvidia/gsp/vbios.c: finds FWSEC in the card's VBIOS.
 *
 * The PROM window holds a chain of PCI expansion ROM images, perhaps behind data that the chip reads for itself ("IFR").
 * The first x86 image has the BIOS information table ("BIT"); its token 0x70 points at a table of falcon programs in
 * NVIDIA's own images (code type 0xe0). Those pointers count as if the first of these followed the x86 image directly,
 * although an EFI image lies between them.
 *
 * Layouts and rules: PCI Firmware Specification 3.3, 5.1 (images), and open-gpu-kernel-modules 570.144:
 * kernel_gsp_vbios_tu102.c (chain, IFR), pci_exp_table.h (NPDE), kernel_gsp_fwsec.c (BIT, tables, descriptors).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/regs/bus.h"
#include "gpu/nvidia/gsp/vbios.h"

/* ---- layouts: little-endian, unaligned, offsets in bytes ---- */

#define ROM_SIGNATURE         0x00 /* 16-bit */
#define ROM_SIGNATURE_PCI     0xaa55
#define ROM_SIGNATURE_NV      0x4e56
#define ROM_SIGNATURE_NV2     0xbb77
#define ROM_PCIR_POINTER      0x18 /* 16-bit */
#define ROM_HEADER_BYTES      0x1a
#define ROM_BLOCK_BYTES       512u

#define PCIR_SIGNATURE        0x00 /* 32-bit: "PCIR", or NVIDIA's own */
#define PCIR_SIGNATURE_PCIR   0x52494350
#define PCIR_SIGNATURE_NPDS   0x5344504e
#define PCIR_SIGNATURE_RGIS   0x53494752
#define PCIR_LENGTH           0x0a /* 16-bit */
#define PCIR_IMAGE_BLOCKS     0x10 /* 16-bit */
#define PCIR_CODE_TYPE        0x14
#define PCIR_CODE_TYPE_X86    0x00
#define PCIR_CODE_TYPE_NVIDIA 0xe0
#define PCIR_LAST             0x15 /* bit 7 */
#define PCIR_LAST_IMAGE       0x80
#define PCIR_BYTES            0x18

/* NVIDIA's extension, at the next multiple of 16 behind PCIR. */
#define NPDE_SIGNATURE        0x00 /* "NPDE" */
#define NPDE_SIGNATURE_VALUE  0x4544504e
#define NPDE_REVISION         0x04 /* 16-bit: 0x100 or 0x101 */
#define NPDE_LENGTH           0x06 /* 16-bit */
#define NPDE_IMAGE_BLOCKS     0x08 /* 16-bit */
#define NPDE_LAST             0x0a
#define NPDE_BYTES            0x0c

#define IFR_DIRECTORY         0x44524652 /* "RFRD", 4096 bytes behind the flash status */
#define IFR_DIRECTORY_IMAGE   0x08       /* where the images begin */

#define BIT_ID                0xb8ff
#define BIT_SIGNATURE         0x00544942 /* "BIT" */
#define BIT_HEADER_BYTES      0x08       /* 8-bit each from here */
#define BIT_TOKEN_BYTES       0x09
#define BIT_TOKEN_COUNT       0x0a
#define BIT_BYTES             0x0c
#define BIT_TOKEN_BIOSDATA    0x42
#define BIT_TOKEN_FALCON_DATA 0x70

#define UCODE_TABLE_BYTES \
    6 /* version, header, entry, count, descriptor version, descriptor bytes */
#define UCODE_ENTRY_BYTES       6 /* application, target, 32-bit descriptor pointer */
#define UCODE_APP_FWSEC         0x05
#define UCODE_APP_FWSEC_DEBUG   0x45
#define UCODE_APP_FWSEC_PROD    0x85

#define DESC_HEADER_HAS_VERSION BIT(0)
#define DESC_HEADER_VERSION     BITS(15, 8)
#define DESC_HEADER_BYTES       BITS(31, 16)
#define DESC_V2_BYTES           60
#define DESC_V3_BYTES           44

#define IMAGE_MAX               64 /* seen: 4 */

/* ---- reading what may not be there ---- */

struct rom {
    const uint8_t *bytes;
    uint32_t size_bytes;
};

static bool has(const struct rom *rom, uint64_t at, uint64_t size_bytes)
{
    return at <= rom->size_bytes && size_bytes <= rom->size_bytes - at;
}

/* The callers have made sure that the bytes are there. */
static uint32_t get8(const struct rom *rom, uint64_t at)
{
    return rom->bytes[at];
}

static uint32_t get16(const struct rom *rom, uint64_t at)
{
    return get8(rom, at) | get8(rom, at + 1) << 8;
}

static uint32_t get32(const struct rom *rom, uint64_t at)
{
    return get16(rom, at) | get16(rom, at + 2) << 16;
}

static int fail(char error[160], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(char error[160], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error, 160, fmt, args);
    va_end(args);
    return -EINVAL;
}

/* ---- the chain of images ---- */

struct chain {
    uint32_t start; /* of the first image in the window */
    uint32_t end;   /* behind the last */
    uint32_t
        expansion_skew; /* what to add to pointers that skip the images between x86 and NVIDIA's */
    uint32_t need;      /* when the walk ended early: bytes of the window that it has to see */
};

/* Ends the walk: so many bytes of the window are needed. */
static int want(struct chain *chain, uint64_t need, char error[160])
{
    if (need > VBIOS_BYTES_MAX)
        return fail(error, "VBIOS: its images reach to %#llx, behind the PROM window",
                    (unsigned long long)need);
    chain->need = (uint32_t)need;
    return -EAGAIN;
}

/* Where the images begin: at 0, or where the data before them says. */
static int find_start(const struct rom *rom, struct chain *chain, char error[160])
{
    if (!has(rom, 0, ROM_HEADER_BYTES))
        return want(chain, ROM_HEADER_BYTES, error);
    chain->start = 0;
    if (get32(rom, NV_PBUS_IFR_FMT_FIXED0) != NV_PBUS_IFR_FMT_FIXED0_SIGNATURE_VALUE)
        return 0;
    uint64_t version =
        field_get(NV_PBUS_IFR_FMT_FIXED1_VERSIONSW, get32(rom, NV_PBUS_IFR_FMT_FIXED1));
    uint64_t pointer;
    if (version == 1 || version == 2) {
        pointer =
            field_get(NV_PBUS_IFR_FMT_FIXED1_FIXED_DATA_SIZE, get32(rom, NV_PBUS_IFR_FMT_FIXED1)) +
            4;
    } else if (version == 3) {
        uint64_t total =
            field_get(NV_PBUS_IFR_FMT_FIXED2_TOTAL_DATA_SIZE, get32(rom, NV_PBUS_IFR_FMT_FIXED2));
        if (!has(rom, total, 4))
            return want(chain, total + 4, error);
        uint64_t directory = (uint64_t)get32(rom, total) + 4096;
        if (!has(rom, directory, IFR_DIRECTORY_IMAGE + 4))
            return want(chain, directory + IFR_DIRECTORY_IMAGE + 4, error);
        if (get32(rom, directory) != IFR_DIRECTORY)
            return fail(error, "VBIOS: no ROM directory at %#llx but %#x",
                        (unsigned long long)directory, get32(rom, directory));
        pointer = directory + IFR_DIRECTORY_IMAGE;
    } else {
        return fail(error, "VBIOS: IFR version %u is not known", (unsigned)version);
    }
    if (!has(rom, pointer, 4))
        return want(chain, pointer + 4, error);
    uint64_t start = get32(rom, pointer);
    if (start % 4 != 0)
        return fail(error, "VBIOS: its images begin at %#llx, which is odd",
                    (unsigned long long)start);
    if (!has(rom, start, ROM_HEADER_BYTES))
        return want(chain, start + ROM_HEADER_BYTES, error);
    chain->start = (uint32_t)start;
    return 0;
}

struct image {
    uint32_t size_bytes;
    uint8_t code_type;
    bool is_last;
};

static int read_image(const struct rom *rom, uint64_t at, struct chain *chain, struct image *out,
                      char error[160])
{
    if (!has(rom, at, ROM_HEADER_BYTES))
        return want(chain, at + ROM_HEADER_BYTES, error);
    uint64_t pcir = at + get16(rom, at + ROM_PCIR_POINTER);
    if (!has(rom, pcir, PCIR_BYTES))
        return want(chain, pcir + PCIR_BYTES, error);
    uint32_t signature = get32(rom, pcir + PCIR_SIGNATURE);
    if (signature != PCIR_SIGNATURE_PCIR && signature != PCIR_SIGNATURE_NPDS &&
        signature != PCIR_SIGNATURE_RGIS)
        return fail(error, "VBIOS: image at %#llx has no PCI data structure but %#x",
                    (unsigned long long)at, signature);
    uint32_t blocks = get16(rom, pcir + PCIR_IMAGE_BLOCKS);
    bool is_last = get8(rom, pcir + PCIR_LAST) & PCIR_LAST_IMAGE;
    out->code_type = (uint8_t)get8(rom, pcir + PCIR_CODE_TYPE);

    uint64_t npde = align_up(pcir + get16(rom, pcir + PCIR_LENGTH), 16);
    if (!has(rom, npde, NPDE_BYTES) && npde + NPDE_BYTES <= VBIOS_BYTES_MAX)
        return want(chain, npde + NPDE_BYTES, error);
    if (has(rom, npde, NPDE_BYTES) && get32(rom, npde + NPDE_SIGNATURE) == NPDE_SIGNATURE_VALUE &&
        (get16(rom, npde + NPDE_REVISION) == 0x100 || get16(rom, npde + NPDE_REVISION) == 0x101)) {
        uint32_t private_blocks = get16(rom, npde + NPDE_IMAGE_BLOCKS);
        if (get16(rom, npde + NPDE_LENGTH) >= NPDE_LAST + 1)
            is_last = get8(rom, npde + NPDE_LAST) & PCIR_LAST_IMAGE;
        else if (private_blocks < blocks)
            is_last = false;
        blocks = private_blocks;
    }
    if (blocks == 0)
        return fail(error, "VBIOS: image at %#llx has no length", (unsigned long long)at);
    out->size_bytes = blocks * ROM_BLOCK_BYTES;
    out->is_last = is_last;
    return 0;
}

/* 0; -EAGAIN when chain->need bytes are needed to go on; -EINVAL. */
static int walk(const struct rom *rom, struct chain *chain, char error[160])
{
    int result = find_start(rom, chain, error);
    if (result)
        return result;
    uint32_t signature = get16(rom, chain->start + ROM_SIGNATURE);
    if (signature != ROM_SIGNATURE_PCI && signature != ROM_SIGNATURE_NV &&
        signature != ROM_SIGNATURE_NV2)
        return fail(error, "VBIOS: no ROM image at %#x of the PROM window but %#x", chain->start,
                    get32(rom, chain->start));

    uint64_t at = chain->start;
    uint32_t x86_bytes = 0, nvidia_offset = 0;
    for (unsigned count = 0; count < IMAGE_MAX; count++) {
        struct image image = {0};
        result = read_image(rom, at, chain, &image, error);
        if (result)
            return result;
        uint32_t offset = (uint32_t)(at - chain->start);
        if (image.code_type == PCIR_CODE_TYPE_NVIDIA && nvidia_offset == 0)
            nvidia_offset = offset;
        else if (image.code_type == PCIR_CODE_TYPE_X86 && x86_bytes == 0)
            x86_bytes = image.size_bytes;
        at += image.size_bytes;
        if (at > VBIOS_BYTES_MAX)
            return fail(error, "VBIOS: image at %#x of the images has %#x bytes, too many", offset,
                        image.size_bytes);
        if (!image.is_last)
            continue;
        if (!has(rom, 0, at))
            return want(chain, at, error);
        chain->end = (uint32_t)at;
        /* Pointers are offsets from the x86 image; one of NVIDIA's before it cannot be meant. */
        chain->expansion_skew =
            nvidia_offset > x86_bytes && x86_bytes != 0 ? nvidia_offset - x86_bytes : 0;
        return 0;
    }
    return fail(error, "VBIOS: more than %u images", IMAGE_MAX);
}

/* ---- from the BIT to the descriptor ---- */

static bool is_bit(const struct rom *rom, uint32_t at)
{
    if (!has(rom, at, BIT_BYTES) || get16(rom, at) != BIT_ID || get32(rom, at + 2) != BIT_SIGNATURE)
        return false;
    uint32_t header_bytes = get8(rom, at + BIT_HEADER_BYTES), sum = 0;
    if (header_bytes < BIT_BYTES || !has(rom, at, header_bytes))
        return false;
    for (uint32_t i = 0; i < header_bytes; i++)
        sum += get8(rom, at + i);
    return (sum & 0xff) == 0;
}

static int read_desc_v2(const struct rom *rom, uint64_t desc, uint32_t desc_bytes,
                        struct vbios_fwsec *out, char error[160])
{
    out->interface_offset = get32(rom, desc + 16);
    out->imem_address = get32(rom, desc + 20);
    out->code_bytes = get32(rom, desc + 24);
    out->imem_tag = get32(rom, desc + 28);
    out->secure_address = get32(rom, desc + 32);
    out->secure_bytes = get32(rom, desc + 36);
    uint32_t data_offset = get32(rom, desc + 40);
    out->dmem_address = get32(rom, desc + 44);
    out->data_bytes = get32(rom, desc + 48);
    uint64_t code = desc + desc_bytes, data = code + data_offset;
    if (!has(rom, code, out->code_bytes) || !has(rom, data, out->data_bytes))
        return fail(error, "FWSEC: code (%#x bytes) or data (%#x bytes) reach out of the VBIOS",
                    out->code_bytes, out->data_bytes);
    if (out->code_bytes == 0 || out->secure_bytes > out->code_bytes ||
        out->secure_address < out->imem_tag ||
        out->secure_address - out->imem_tag > out->code_bytes - out->secure_bytes)
        return fail(error, "FWSEC: secure code, %#x bytes at %#x, is not in its %#x bytes at %#x",
                    out->secure_bytes, out->secure_address, out->code_bytes, out->imem_tag);
    out->code = rom->bytes + code;
    out->data = rom->bytes + data;
    return 0;
}

static int read_desc_v3(const struct rom *rom, uint64_t desc, uint32_t desc_bytes,
                        struct vbios_fwsec *out, char error[160])
{
    uint32_t stored_bytes = get32(rom, desc + 4);
    out->signature_dmem = get32(rom, desc + 8);
    out->interface_offset = get32(rom, desc + 12);
    out->imem_address = get32(rom, desc + 16);
    out->code_bytes = get32(rom, desc + 20);
    out->imem_tag = get32(rom, desc + 24);
    out->dmem_address = get32(rom, desc + 28);
    out->data_bytes = get32(rom, desc + 32);
    out->engine_id_mask = (uint16_t)get16(rom, desc + 36);
    out->ucode_id = (uint8_t)get8(rom, desc + 38);
    out->signature_versions = (uint16_t)get16(rom, desc + 40);
    uint64_t code = desc + desc_bytes;
    if (!has(rom, code, stored_bytes) || out->code_bytes > stored_bytes ||
        out->data_bytes > stored_bytes - out->code_bytes || out->code_bytes == 0)
        return fail(error,
                    "FWSEC: code (%#x bytes) and data (%#x bytes) are not in its %#x bytes, or "
                    "these not in the VBIOS",
                    out->code_bytes, out->data_bytes, stored_bytes);
    if (out->data_bytes < VBIOS_SIGNATURE_BYTES ||
        out->signature_dmem > out->data_bytes - VBIOS_SIGNATURE_BYTES)
        return fail(error, "FWSEC: its signature, at %#x, is not in %#x bytes of data",
                    out->signature_dmem, out->data_bytes);
    out->code = rom->bytes + code;
    out->data = out->code + out->code_bytes;
    /* What fits counts, not what the descriptor says of it. */
    out->signature_count = (desc_bytes - DESC_V3_BYTES) / VBIOS_SIGNATURE_BYTES;
    out->signatures = rom->bytes + desc + DESC_V3_BYTES;
    return 0;
}

static int read_desc(const struct rom *rom, uint64_t desc, struct vbios_fwsec *out, char error[160])
{
    if (!has(rom, desc, 4))
        return fail(error, "FWSEC: its descriptor, at %#llx, is not in the VBIOS",
                    (unsigned long long)desc);
    uint32_t header = get32(rom, desc);
    unsigned version = (unsigned)field_get(DESC_HEADER_VERSION, header);
    uint32_t desc_bytes = (uint32_t)field_get(DESC_HEADER_BYTES, header);
    *out = (struct vbios_fwsec){.version = version};
    bool is_known = header & DESC_HEADER_HAS_VERSION;
    if (is_known && version == 2 && desc_bytes >= DESC_V2_BYTES && has(rom, desc, desc_bytes))
        return read_desc_v2(rom, desc, desc_bytes, out, error);
    if (is_known && version == 3 && desc_bytes >= DESC_V3_BYTES && has(rom, desc, desc_bytes))
        return read_desc_v3(rom, desc, desc_bytes, out, error);
    return fail(error, "FWSEC: descriptor header %#x: neither version 2 nor 3, or cut short",
                header);
}

/* The table of falcon programs that a token points at; 0 when FWSEC is in it. */
static int read_table(const struct rom *rom, uint32_t skew, uint32_t pointer, bool is_debug,
                      struct vbios_fwsec *out, char error[160])
{
    uint64_t table = (uint64_t)skew + pointer;
    if (!has(rom, table, UCODE_TABLE_BYTES))
        return fail(error, "VBIOS: its table of falcon programs, at %#llx, is not in it",
                    (unsigned long long)table);
    uint32_t version = get8(rom, table), header_bytes = get8(rom, table + 1),
             entry_bytes = get8(rom, table + 2), count = get8(rom, table + 3);
    if (version != 1 || header_bytes < UCODE_TABLE_BYTES || entry_bytes < UCODE_ENTRY_BYTES)
        return fail(error, "VBIOS: table of falcon programs: version %u, header %u, entries %u",
                    version, header_bytes, entry_bytes);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t entry = table + header_bytes + (uint64_t)i * entry_bytes;
        if (!has(rom, entry, UCODE_ENTRY_BYTES))
            break;
        uint32_t application = get8(rom, entry);
        if (application == UCODE_APP_FWSEC ||
            application == (is_debug ? UCODE_APP_FWSEC_DEBUG : UCODE_APP_FWSEC_PROD))
            return read_desc(rom, (uint64_t)skew + get32(rom, entry + 2), out, error);
    }
    return fail(error, "VBIOS: no FWSEC (%s) among its %u falcon programs",
                is_debug ? "debug" : "production", count);
}

int vbios_parse(const uint8_t *bytes, uint32_t size_bytes, bool is_debug, struct vbios *out,
                char error[160])
{
    *out = (struct vbios){0};
    const struct rom window = {bytes, size_bytes};
    struct chain chain = {0};
    int result = walk(&window, &chain, error);
    if (result == -EAGAIN)
        return fail(error, "VBIOS: cut short: %#x bytes of at least %#x", size_bytes, chain.need);
    if (result)
        return result;

    /* From here on all pointers count from the first image. */
    const struct rom rom = {bytes + chain.start, chain.end - chain.start};
    uint32_t bit = 0;
    while (bit < rom.size_bytes && !is_bit(&rom, bit))
        bit++;
    if (bit == rom.size_bytes)
        return fail(error, "VBIOS: no BIOS information table in its %#x bytes", rom.size_bytes);
    uint32_t header_bytes = get8(&rom, bit + BIT_HEADER_BYTES),
             token_bytes = get8(&rom, bit + BIT_TOKEN_BYTES),
             count = get8(&rom, bit + BIT_TOKEN_COUNT);
    if (token_bytes < 6)
        return fail(error, "VBIOS: BIOS information table with tokens of %u bytes", token_bytes);

    result = fail(error, "VBIOS: no falcon programs among the %u tokens of its table", count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t token = (uint64_t)bit + header_bytes + (uint64_t)i * token_bytes;
        if (!has(&rom, token, token_bytes))
            break;
        uint32_t id = get8(&rom, token), version = get8(&rom, token + 1),
                 data_bytes = get16(&rom, token + 2);
        uint32_t data = token_bytes >= 8 ? get32(&rom, token + 4) : get16(&rom, token + 4);
        if (id == BIT_TOKEN_BIOSDATA && (version == 1 || version == 2) && data_bytes > 5 &&
            has(&rom, data, 5)) {
            uint32_t number = get32(&rom, data);
            snprintf(out->version, sizeof(out->version), "%02X.%02X.%02X.%02X.%02X", number >> 24,
                     number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff, get8(&rom, data + 4));
        }
        if (id == BIT_TOKEN_FALCON_DATA && version == 2 && data_bytes >= 4 && has(&rom, data, 4) &&
            result != 0)
            result = read_table(&rom, chain.expansion_skew, get32(&rom, data), is_debug,
                                &out->fwsec, error);
    }
    if (result)
        out->fwsec = (struct vbios_fwsec){0};
    return result;
}

const uint8_t *vbios_signature(const struct vbios_fwsec *fwsec, unsigned fuse_version)
{
    if (fuse_version > 15 || !(fwsec->signature_versions & 1u << fuse_version))
        return NULL;
    unsigned index =
        (unsigned)__builtin_popcount(fwsec->signature_versions & ((1u << fuse_version) - 1));
    return index < fwsec->signature_count
               ? fwsec->signatures + (size_t)index * VBIOS_SIGNATURE_BYTES
               : NULL;
}

/* ---- the PROM window ---- */

#define READ_AHEAD_BYTES 1024u
#define READS_PER_YIELD  64u

int vbios_read(struct hw *hw, uint8_t **out, uint32_t *size_bytes)
{
    struct rom rom = {.size_bytes = 0};
    uint8_t *bytes = NULL;
    struct chain chain = {.need = READ_AHEAD_BYTES};
    char error[160];
    for (;;) {
        /* Only as far as the images say: the window is slow, a microsecond or more for each word. */
        uint32_t need = (uint32_t)min_u64(
            align_up((uint64_t)chain.need + READ_AHEAD_BYTES, READ_AHEAD_BYTES), VBIOS_BYTES_MAX);
        uint8_t *more = realloc(bytes, need);
        if (more == NULL) {
            free(bytes);
            return hw_fail(hw, -ENOMEM, "VBIOS: no memory for %u KiB", need >> 10);
        }
        bytes = more;
        for (uint32_t at = rom.size_bytes; at < need; at += 4) {
            uint32_t word = hw_read32(hw, NV_PROM_DATA + at);
            memcpy(bytes + at, &word, 4);
            if (at / 4 % READS_PER_YIELD == 0)
                task_yield();
        }
        rom = (struct rom){bytes, need};
        int result = walk(&rom, &chain, error);
        if (result == 0) {
            *out = bytes;
            *size_bytes = need;
            return 0;
        }
        if (result != -EAGAIN || chain.need <= need) {
            free(bytes);
            return hw_fail(hw, hw_is_gone(hw) ? -ENODEV : -EIO, "%s", error);
        }
    }
}
