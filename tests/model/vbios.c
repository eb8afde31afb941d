/*
 * tests/model/vbios.c: the ROM image of the modelled card, with FWSEC, a program whose code is made up: the model knows what it
 * does. Everything around it is as on cards: images, BIT, falcon ucode table, descriptor, application interface.
 *
 *   [IFR header, Turing]  what the chip itself reads first; the images lie behind it
 *   image 0x00            legacy VBIOS: BIT with the version and the falcon data, which points into ...
 *   image 0x03            EFI driver
 *   image 0xe0            ... this one and the next, counted as if they followed image 0x00 at once: falcon ucode table,
 *   image 0xe0            descriptors, programs. What is pointed at may lie in the second (nova-core vbios.rs)
 *
 * Structures: OGKM src/nvidia/inc/kernel/platform/pci_exp_table.h (images, PCIR, NPDE), kernel_gsp_vbios_tu102.c (IFR),
 * kernel_gsp_fwsec.c (BIT, falcon data, ucode table, descriptors V2 and V3), kernel_gsp_frts_tu102.c (interface, mapper).
 */
#include <string.h>

#include "tests/model/parts.h"

#define ROM_BYTES    (1024u * 1024)
#define BLOCK        512u

#define LEGACY_BYTES (40 * BLOCK)
#define EFI_BYTES    (24 * BLOCK)
#define EXT1_BYTES   (8 * BLOCK)
#define BIT_AT       0x1b0u
#define BIOSDATA_AT  0x240u
#define FALCON_AT    0x260u
#define TABLE_AT     0x40u /* of the falcon ucode table, in the second 0xe0 image: past its header */

#define CODE_BYTES   (41u * 256)
#define CODE_PLAIN   256u /* of it, not secure (Turing) */
#define DATA_BYTES   (12u * 256)
#define INTERFACE_AT 0x20u
#define MAPPER_AT    0x100u
#define COMMAND_AT   0x300u
#define COMMAND_MAX  0x40u
#define SIGNATURE_AT 0x600u

static void put8(uint8_t *rom, uint32_t at, uint8_t value)
{
    rom[at] = value;
}

static void put16(uint8_t *rom, uint32_t at, uint16_t value)
{
    memcpy(rom + at, &value, 2);
}

static void put32(uint8_t *rom, uint32_t at, uint32_t value)
{
    memcpy(rom + at, &value, 4);
}

/* Bytes that look like a program: a multiplicative generator (Numerical Recipes' constants). */
static void fill(uint8_t *to, uint32_t bytes, uint32_t seed)
{
    for (uint32_t i = 0; i < bytes; i++) {
        seed = seed * 1664525 + 1013904223;
        to[i] = (uint8_t)(seed >> 24);
    }
}

static void image(uint8_t *rom, uint32_t at, uint32_t bytes, const struct chip *chip, uint8_t type,
                  bool is_last)
{
    const uint32_t pcir = 0x30;
    uint8_t *to = rom + at;
    /* The 0xe0 images have NVIDIA's own signatures. */
    put16(to, 0, type == 0xe0 ? 0x4e56 : 0xaa55);
    put8(to, 2, (uint8_t)(bytes / BLOCK));
    put16(to, 0x18, pcir);
    memcpy(to + pcir, type == 0xe0 ? "NPDS" : "PCIR", 4);
    put16(to, pcir + 0x04, 0x10de);
    put16(to, pcir + 0x06, chip->device_id);
    put16(to, pcir + 0x0a, 0x18);
    put8(to, pcir + 0x0c, 3);
    put8(to, pcir + 0x0f, 0x03);
    put16(to, pcir + 0x10, (uint16_t)(bytes / BLOCK));
    put8(to, pcir + 0x14, type);
    /* What a PC's firmware may see ends with the EFI image; NVIDIA's extension says where it really ends. */
    put8(to, pcir + 0x15, type == 0x03 || is_last ? 0x80 : 0);
    uint32_t npde = (pcir + 0x18 + 15) & ~15u;
    memcpy(to + npde, "NPDE", 4);
    put16(to, npde + 4, 0x0101);
    put16(to, npde + 6, 0x0b);
    put16(to, npde + 8, (uint16_t)(bytes / BLOCK));
    put8(to, npde + 10, is_last ? 0x80 : 0);
}

static void bit(uint8_t *legacy, uint32_t table_pointer)
{
    static const struct {
        uint8_t id, version;
        uint16_t bytes, at;
    } tokens[] = {
        {0x32, 1, 4, 0x280},        /* '2': something that nobody here reads */
        {0x42, 2, 29, BIOSDATA_AT}, /* 'B': BIOS data, begins with the version */
        {0x49, 1, 28, 0x290},       /* 'I' */
        {0x70, 2, 4, FALCON_AT},    /* 'p': falcon data */
        {0x00, 1, 0, 0},
    };
    uint8_t *to = legacy + BIT_AT;
    put16(to, 0, 0xb8ff);
    memcpy(to + 2, "BIT", 4);
    put16(to, 6, 0x0100);
    put8(to, 8, 12);
    put8(to, 9, 6);
    put8(to, 10, sizeof(tokens) / sizeof(tokens[0]));
    uint8_t sum = 0;
    for (unsigned i = 0; i < 12; i++)
        sum = (uint8_t)(sum + to[i]);
    put8(to, 11, (uint8_t)-sum);
    for (unsigned i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        uint8_t *token = to + 12 + 6 * i;
        put8(token, 0, tokens[i].id);
        put8(token, 1, tokens[i].version);
        put16(token, 2, tokens[i].bytes);
        put16(token, 4, tokens[i].at);
    }
    put32(legacy, BIOSDATA_AT, 0x94024200); /* 94.02.42.00.a9 */
    put8(legacy, BIOSDATA_AT + 4, 0xa9);
    put32(legacy, FALCON_AT, table_pointer);
}

/* FWSEC's data: the application interface, and in it the mapper that the driver patches. */
static void fwsec_data(uint8_t *data, const struct vbios *v)
{
    fill(data, DATA_BYTES, 77);
    memset(data + INTERFACE_AT, 0, 0x40);
    put8(data, INTERFACE_AT, 1);                       /* version */
    put8(data, INTERFACE_AT + 1, 4);                   /* header size */
    put8(data, INTERFACE_AT + 2, 8);                   /* entry size */
    put8(data, INTERFACE_AT + 3, 3);                   /* entries */
    static const uint32_t ids[3] = {0x01, 0x04, 0x05}; /* 4: DMEMMAPPER */
    for (unsigned i = 0; i < 3; i++) {
        put32(data, INTERFACE_AT + 4 + 8 * i, ids[i]);
        put32(data, INTERFACE_AT + 8 + 8 * i, ids[i] == 4 ? MAPPER_AT : 0x80 + 16 * i);
    }
    uint8_t *mapper = data + MAPPER_AT;
    memset(mapper, 0, 64);
    memcpy(mapper, "DMAP", 4);
    put16(mapper, 4, 3);  /* version */
    put16(mapper, 6, 64); /* size */
    put32(mapper, 8, v->command);
    put32(mapper, 12, v->command_bytes);
    put32(mapper, 16, COMMAND_AT + 0x80);
    put32(mapper, 20, 0x40);
    put32(mapper, 36, 0x20260101); /* build time */
    put32(mapper, 44, 0);          /* init_cmd: to be patched */
    put32(mapper, 52, 0x02200000); /* command mask: 0x15 and 0x19 */
    memset(data + COMMAND_AT, 0, 0x100);
    memset(data + SIGNATURE_AT, 0, VBIOS_SIGNATURE_BYTES);
}

static uint32_t descriptor_v3(uint8_t *to, const struct vbios *v)
{
    uint32_t bytes = 44 + v->signature_count * VBIOS_SIGNATURE_BYTES;
    put32(to, 0, bytes << 16 | 3 << 8 | 1);
    put32(to, 4, CODE_BYTES + DATA_BYTES);
    put32(to, 8, v->signature);
    put32(to, 12, v->interface);
    put32(to, 16, 0); /* IMEM: physical base, bytes, virtual base */
    put32(to, 20, CODE_BYTES);
    put32(to, 24, 0);
    put32(to, 28, 0); /* DMEM: physical base, bytes */
    put32(to, 32, DATA_BYTES);
    put16(to, 36, 0x0400); /* engine id mask: GSP (nova-core falcon/hal/ga102.rs) */
    put8(to, 38, (uint8_t)v->ucode_id);
    put8(to, 39, (uint8_t)v->signature_count);
    put16(to, 40, v->signature_versions);
    for (unsigned i = 0; i < v->signature_count; i++)
        memcpy(to + 44 + i * VBIOS_SIGNATURE_BYTES, v->signatures[i], VBIOS_SIGNATURE_BYTES);
    return bytes;
}

static uint32_t descriptor_v2(uint8_t *to, const struct vbios *v)
{
    const uint32_t bytes = 60;
    put32(to, 0, bytes << 16 | 2 << 8 | 1);
    put32(to, 4, CODE_BYTES + DATA_BYTES);
    put32(to, 8, CODE_BYTES + DATA_BYTES); /* not compressed */
    put32(to, 12, 0);                      /* entry */
    put32(to, 16, v->interface);
    put32(to, 20, 0); /* IMEM: physical base, bytes, virtual base, secure base and bytes */
    put32(to, 24, CODE_BYTES);
    put32(to, 28, 0);
    put32(to, 32, CODE_PLAIN);
    put32(to, 36, CODE_BYTES - CODE_PLAIN);
    put32(to, 40, CODE_BYTES); /* DMEM: offset in the image, physical base, bytes */
    put32(to, 44, 0);
    put32(to, 48, DATA_BYTES);
    return bytes;
}

void vbios_build(const struct chip *chip, uint8_t *room, struct vbios *v)
{
    memset(room, 0xff, ROM_BYTES);
    *v = (struct vbios){.interface = INTERFACE_AT,
                        .mapper = MAPPER_AT,
                        .command = COMMAND_AT,
                        .command_bytes = COMMAND_MAX,
                        .signature = SIGNATURE_AT,
                        .code_bytes = CODE_BYTES,
                        .data_bytes = DATA_BYTES,
                        .ucode_id = 9};
    bool is_v2 = chip->family == TURING;
    v->code_secure = is_v2 ? CODE_PLAIN : 0;
    if (!is_v2) {
        /* Signatures for the fuse versions 0, 1 and 3 or 0, 2 and 3: the index is not the version. */
        v->signature_count = 3;
        v->signature_versions = chip->family == ADA ? 0x0d : 0x0b;
        for (unsigned i = 0; i < v->signature_count; i++)
            fill(v->signatures[i], VBIOS_SIGNATURE_BYTES, 1000 + i);
    }

    uint32_t start = 0;
    if (is_v2) {
        /* IFR of version 1: the extended part, behind the fixed one, says where the images begin. */
        start = 0x400;
        put32(room, 0, 0x4947564e); /* "NVGI" */
        put32(room, 4, 0x20u << 16 | 1 << 8);
        put32(room, 8, 0x100);
        put32(room, 0x20, 0);
        put32(room, 0x24, start);
    }
    uint8_t *legacy = room + start, *efi = legacy + LEGACY_BYTES, *ext1 = efi + EFI_BYTES,
            *ext2 = ext1 + EXT1_BYTES;
    fill(legacy, LEGACY_BYTES, 1);
    memset(legacy, 0, 0x400);
    image(room, start, LEGACY_BYTES, chip, 0x00, false);
    memset(efi, 0, EFI_BYTES);
    fill(efi + 0x100, EFI_BYTES - 0x100, 2);
    image(room, start + LEGACY_BYTES, EFI_BYTES, chip, 0x03, false);
    memset(ext1, 0, EXT1_BYTES);
    fill(ext1 + 0x100, EXT1_BYTES - 0x100, 3);
    image(room, start + LEGACY_BYTES + EFI_BYTES, EXT1_BYTES, chip, 0xe0, false);

    /* Pointers count from the legacy image's start, and leave the EFI image out. */
    uint32_t ext2_pointer = LEGACY_BYTES + EXT1_BYTES;
    uint32_t table = 0x80 + TABLE_AT;
    bit(legacy, ext2_pointer + table);
    uint32_t descriptor = 0x200;
    uint32_t descriptor_bytes = is_v2 ? 60 : 44 + v->signature_count * VBIOS_SIGNATURE_BYTES;
    uint32_t code = descriptor + descriptor_bytes, data = code + CODE_BYTES;
    uint32_t ext2_bytes = (data + DATA_BYTES + BLOCK - 1) / BLOCK * BLOCK;
    memset(ext2, 0, ext2_bytes);
    image(room, start + LEGACY_BYTES + EFI_BYTES + EXT1_BYTES, ext2_bytes, chip, 0xe0, true);

    static const struct {
        uint8_t application, target;
    } entries[] = {
        {0x01, 0x01}, {0x45, 0x0a}, {0x85, 0x0a}}; /* PMU, FWSEC for debug boards, FWSEC */
    put8(ext2, table, 1);
    put8(ext2, table + 1, 6);
    put8(ext2, table + 2, 6);
    put8(ext2, table + 3, 3);
    put8(ext2, table + 4, is_v2 ? 2 : 3);
    put8(ext2, table + 5, is_v2 ? 60 : 44);
    for (unsigned i = 0; i < 3; i++) {
        put8(ext2, table + 6 + 6 * i, entries[i].application);
        put8(ext2, table + 7 + 6 * i, entries[i].target);
        put32(ext2, table + 8 + 6 * i, ext2_pointer + (i == 2 ? descriptor : 0x180));
    }
    fill(ext2 + code, CODE_BYTES, 4);
    fwsec_data(ext2 + data, v);
    if (is_v2)
        descriptor_v2(ext2 + descriptor, v);
    else
        descriptor_v3(ext2 + descriptor, v);
    v->rom = room;
    v->rom_bytes = start + LEGACY_BYTES + EFI_BYTES + EXT1_BYTES + ext2_bytes;
    v->code = ext2 + code;
    v->data = ext2 + data;
}
