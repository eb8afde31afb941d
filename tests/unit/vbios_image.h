/*
 * tests/unit/vbios_image.h: makes VBIOS images as cards have them: x86 image with the BIOS information table, EFI image,
 * two of NVIDIA's with FWSEC in the second, perhaps all behind initialisation data. Its layouts are written out anew, from
 * pci_exp_table.h, kernel_gsp_vbios_tu102.c and kernel_gsp_fwsec.c of open-gpu-kernel-modules 570.144.
 */
#ifndef INGOT_TEST_VBIOS_IMAGE_H
#define INGOT_TEST_VBIOS_IMAGE_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define VBIOS_IMAGE_MAX  0x20000
#define VBIOS_CODE_BYTES 0x600u
#define VBIOS_DATA_BYTES 0x500u
#define VBIOS_SIGNATURE_AT 0x300u /* in data, version 3 */
#define VBIOS_INTERFACE_AT 0x40u
#define VBIOS_MAPPER_AT    0x80u
#define VBIOS_COMMAND_AT   0x100u

struct vbios_recipe {
    unsigned desc_version; /* 2 or 3 */
    unsigned ifr_version;  /* 0: images at 0 */
    uint16_t signature_versions;
    unsigned application;  /* of the entry, 0x85 */
};

struct vbios_image {
    uint8_t bytes[VBIOS_IMAGE_MAX];
    uint32_t size;       /* to the end of the last image */
    uint32_t start;      /* of the first */
    uint32_t x86_bytes, nvidia_at; /* from start */
    uint32_t bit, token_falcon, falcon_pointer, table, entry, desc, code, data, signatures; /* from 0 */
};

static inline void vbios_put(struct vbios_image *v, uint32_t at, uint64_t value, unsigned bytes)
{
    assert(at + bytes <= sizeof(v->bytes));
    for (unsigned i = 0; i < bytes; i++)
        v->bytes[at + i] = (uint8_t)(value >> 8 * i);
}

/* An image with its headers; returns where the next one begins. */
static inline uint32_t vbios_rom(struct vbios_image *v, uint32_t at, unsigned signature, const char *pcir,
                                 unsigned code_type, unsigned blocks, int is_last)
{
    vbios_put(v, at, signature, 2);
    vbios_put(v, at + 0x18, 0x40, 2);
    memcpy(v->bytes + at + 0x40, pcir, 4);
    vbios_put(v, at + 0x44, 0x220410de, 4);
    vbios_put(v, at + 0x4a, 0x18, 2);
    /* To others NVIDIA's own images do not exist: PCIR says that the EFI image is the last; NPDE knows better. */
    vbios_put(v, at + 0x50, blocks, 2);
    v->bytes[at + 0x54] = (uint8_t)code_type;
    v->bytes[at + 0x55] = code_type == 3 || is_last ? 0x80 : 0;
    memcpy(v->bytes + at + 0x60, "NPDE", 4);
    vbios_put(v, at + 0x64, 0x101, 2);
    vbios_put(v, at + 0x66, 0x0c, 2);
    vbios_put(v, at + 0x68, blocks, 2);
    v->bytes[at + 0x6a] = is_last ? 0x80 : 0;
    return at + blocks * 512;
}

static inline void vbios_checksum(struct vbios_image *v)
{
    unsigned sum = 0;
    v->bytes[v->bit + 11] = 0;
    for (unsigned i = 0; i < 12; i++)
        sum += v->bytes[v->bit + i];
    v->bytes[v->bit + 11] = (uint8_t)-sum;
}

/* Byte n of signature i, so that a test can tell them apart. */
static inline uint8_t vbios_signature_byte(unsigned i, unsigned n)
{
    return (uint8_t)(0x50 + 17 * i + n);
}

static inline void vbios_make_program(struct vbios_image *v, const struct vbios_recipe *r)
{
    unsigned count = (unsigned)__builtin_popcount(r->signature_versions);
    uint32_t desc_bytes = r->desc_version == 3 ? 44 + 384 * count : 60;
    v->code = v->desc + desc_bytes;
    v->data = v->code + VBIOS_CODE_BYTES;
    v->signatures = v->desc + 44;
    vbios_put(v, v->desc, 1u | r->desc_version << 8 | desc_bytes << 16, 4);
    vbios_put(v, v->desc + 4, VBIOS_CODE_BYTES + VBIOS_DATA_BYTES, 4);
    if (r->desc_version == 3) {
        vbios_put(v, v->desc + 8, VBIOS_SIGNATURE_AT, 4);
        vbios_put(v, v->desc + 12, VBIOS_INTERFACE_AT, 4);
        vbios_put(v, v->desc + 16, 0x100, 4);  /* IMEMPhysBase */
        vbios_put(v, v->desc + 20, VBIOS_CODE_BYTES, 4);
        vbios_put(v, v->desc + 24, 0x200, 4);  /* IMEMVirtBase */
        vbios_put(v, v->desc + 28, 0x400, 4);  /* DMEMPhysBase */
        vbios_put(v, v->desc + 32, VBIOS_DATA_BYTES, 4);
        vbios_put(v, v->desc + 36, 0x0400, 2); /* the GSP */
        v->bytes[v->desc + 38] = 9;
        v->bytes[v->desc + 39] = (uint8_t)count;
        vbios_put(v, v->desc + 40, r->signature_versions, 2);
        for (unsigned i = 0; i < count; i++)
            for (unsigned n = 0; n < 384; n++)
                v->bytes[v->signatures + 384 * i + n] = vbios_signature_byte(i, n);
    } else {
        vbios_put(v, v->desc + 16, VBIOS_INTERFACE_AT, 4);
        vbios_put(v, v->desc + 20, 0, 4);
        vbios_put(v, v->desc + 24, VBIOS_CODE_BYTES, 4);
        vbios_put(v, v->desc + 28, 0, 4);
        vbios_put(v, v->desc + 32, 0x200, 4); /* IMEMSecBase, IMEMSecSize */
        vbios_put(v, v->desc + 36, 0x3f0, 4);
        vbios_put(v, v->desc + 40, VBIOS_CODE_BYTES, 4); /* DMEMOffset, from the code's start */
        vbios_put(v, v->desc + 44, 0, 4);
        vbios_put(v, v->desc + 48, VBIOS_DATA_BYTES, 4);
    }
    for (unsigned i = 0; i < VBIOS_CODE_BYTES; i++)
        v->bytes[v->code + i] = (uint8_t)(i * 7 + (i >> 8));
    for (unsigned i = 0; i < VBIOS_DATA_BYTES; i++)
        v->bytes[v->data + i] = (uint8_t)(i * 3 + 1);
    uint32_t at = v->data + VBIOS_INTERFACE_AT;
    vbios_put(v, at, 0x02080401, 4); /* version 1, header 4, entries of 8, two of them */
    vbios_put(v, at + 4, 0x1, 4);
    vbios_put(v, at + 8, 0x20, 4);
    vbios_put(v, at + 12, 0x4, 4);
    vbios_put(v, at + 16, VBIOS_MAPPER_AT, 4);
    vbios_put(v, v->data + VBIOS_MAPPER_AT + 8, VBIOS_COMMAND_AT, 4);
    vbios_put(v, v->data + VBIOS_MAPPER_AT + 12, 0x80, 4);
}

static inline void vbios_make(struct vbios_image *v, const struct vbios_recipe *r)
{
    memset(v, 0, sizeof(*v));
    if (r->ifr_version != 0) {
        memcpy(v->bytes, "NVGI", 4);
        v->start = 0x2400;
        v->bytes[5] = (uint8_t)r->ifr_version;
        if (r->ifr_version < 3) {
            vbios_put(v, 6, 0x120, 2);
            vbios_put(v, 0x124, v->start, 4);
        } else {
            vbios_put(v, 8, 0x700, 4);
            vbios_put(v, 0x700, 0x1000, 4); /* flash status; the directory 4096 behind it */
            memcpy(v->bytes + 0x2000, "RFRD", 4);
            vbios_put(v, 0x2008, v->start, 4);
        }
    }
    uint32_t x86 = v->start;
    uint32_t at = vbios_rom(v, x86, 0xaa55, "PCIR", 0x00, 4, 0);
    v->x86_bytes = at - x86;
    at = vbios_rom(v, at, 0xaa55, "PCIR", 0x03, 3, 0);
    v->nvidia_at = at - x86;
    uint32_t skew = v->nvidia_at - v->x86_bytes;
    at = vbios_rom(v, at, 0x4e56, "NPDS", 0xe0, 2, 0);
    uint32_t second = at;
    v->size = vbios_rom(v, at, 0x4e56, "NPDS", 0xe0, 32, 1);

    v->bit = x86 + 0x1b0;
    vbios_put(v, v->bit, 0xb8ff, 2);
    memcpy(v->bytes + v->bit + 2, "BIT", 4);
    vbios_put(v, v->bit + 6, 0x0100, 2);
    v->bytes[v->bit + 8] = 12;
    v->bytes[v->bit + 9] = 6;
    v->bytes[v->bit + 10] = 3;
    vbios_checksum(v);
    vbios_put(v, v->bit + 12, 0x0032, 4); /* a token nobody asks for */
    vbios_put(v, v->bit + 18, 0x0242 | 8 << 16, 4);
    vbios_put(v, v->bit + 22, 0x200, 2);
    v->token_falcon = v->bit + 24;
    vbios_put(v, v->token_falcon, 0x0270 | 4 << 16, 4);
    vbios_put(v, v->token_falcon + 4, 0x220, 2);
    vbios_put(v, x86 + 0x200, 0x94024200, 4);
    v->bytes[x86 + 0x204] = 0x02;

    v->falcon_pointer = x86 + 0x220;
    v->table = second + 0x100;
    v->desc = second + 0x200;
    vbios_put(v, v->falcon_pointer, v->table - x86 - skew, 4);
    vbios_put(v, v->table, 0x02060601, 4); /* version 1, header 6, entries of 6, two of them */
    vbios_put(v, v->table + 4, 0x2c03, 2);
    vbios_put(v, v->table + 6, 0x0707, 2); /* another program */
    v->entry = v->table + 12;
    vbios_put(v, v->entry, 0x0700 | r->application, 2);
    vbios_put(v, v->entry + 2, v->desc - x86 - skew, 4);
    vbios_make_program(v, r);
    assert(v->data + VBIOS_DATA_BYTES <= v->size);
}

#endif
