/*
 * tests/model/falcon_load.c: how a falcon's memories are filled, through ports and by DMA, and whether what lies there is what was
 * signed. See falcon.c for the registers and their sources.
 */
#include <string.h>

#include "tests/model/parts.h"

#define DMACTL_REQUIRE_CTX         1u
#define FBIF_CTL_ALLOW_PHYS_NO_CTX 0x80u
#define TRANSCFG_TARGET            3u
#define TRANSCFG_PHYSICAL          4u
#define DMATRFCMD_FULL             1u
#define DMATRFCMD_IDLE             2u

/* ---- memories -------------------------------------------------------------------------------------------------- */

bool falcon_memory_is_ready(struct falcon *f, const char *what)
{
    if (f->state == FALCON_HALTED)
        return true;
    static const char *const states[] = {"halted", "in reset", "still clearing its memories",
                                         "running"};
    refuse(f->m, "%s: %s while the falcon is %s", f->name, what, states[f->state]);
    return false;
}

void falcon_imem_write(struct falcon *f, uint32_t value)
{
    if (!falcon_memory_is_ready(f, "IMEM written"))
        return;
    uint32_t at = f->imem_port.address;
    if (at + 4 > FALCON_IMEM) {
        refuse(f->m, "%s: IMEM written at %#x, it has %#x bytes", f->name, at, FALCON_IMEM);
        return;
    }
    struct imem_block *block = &f->block[at / FALCON_BLOCK];
    if (at % FALCON_BLOCK == 0) {
        if (!f->has_tag)
            refuse(f->m, "%s: IMEM block %#x is written without a tag", f->name, at);
        *block = (struct imem_block){true, f->imem_port.is_secure, f->imem_tag_next};
        f->has_tag = false;
    }
    memcpy(f->imem + at, &value, 4);
    if (f->imem_port.increments_write)
        f->imem_port.address += 4;
}

void falcon_dmem_write(struct falcon *f, uint32_t value)
{
    if (!falcon_memory_is_ready(f, "DMEM written"))
        return;
    uint32_t at = f->dmem_port.address;
    if (at + 4 > FALCON_DMEM) {
        refuse(f->m, "%s: DMEM written at %#x, it has %#x bytes", f->name, at, FALCON_DMEM);
        return;
    }
    memcpy(f->dmem + at, &value, 4);
    if (f->dmem_port.increments_write)
        f->dmem_port.address += 4;
}

uint32_t falcon_port_read(struct falcon *f, bool imem)
{
    uint32_t value = 0xdead5ec2; /* what secure memory reads as (nouveau: falcon/base.c) */
    uint32_t at = imem ? f->imem_port.address : f->dmem_port.address;
    if (!falcon_memory_is_ready(f, imem ? "IMEM read" : "DMEM read") ||
        at + 4 > (imem ? FALCON_IMEM : FALCON_DMEM))
        return value;
    if (!imem || !f->block[at / FALCON_BLOCK].is_secure)
        memcpy(&value, (imem ? f->imem : f->dmem) + at, 4);
    if (imem && f->imem_port.increments_read)
        f->imem_port.address += 4;
    else if (!imem && f->dmem_port.increments_read)
        f->dmem_port.address += 4;
    return value;
}

/* ---- DMA ------------------------------------------------------------------------------------------------------- */

bool falcon_dma_read(struct falcon *f, unsigned index, uint64_t address, void *out, uint32_t bytes)
{
    struct model *m = f->m;
    uint32_t config = f->transcfg[index];
    memset(out, 0xff, bytes);
    if (!(f->fbif_control & FBIF_CTL_ALLOW_PHYS_NO_CTX) || (f->dmactl & DMACTL_REQUIRE_CTX)) {
        refuse(m, "%s: DMA without a context, which FBIF_CTL (%#x) and DMACTL (%#x) do not allow",
               f->name, f->fbif_control, f->dmactl);
        return false;
    }
    if (!(config & TRANSCFG_PHYSICAL)) {
        refuse(m, "%s: DMA with virtual addresses: TRANSCFG(%u) is %#x", f->name, index, config);
        return false;
    }
    /* Targets: 1 is published (COHERENT_SYSMEM), 0 and 2 as nova-core has them (falcon.rs, FalconFbifTarget). */
    switch (config & TRANSCFG_TARGET) {
    case 0:
        return memory_read(m, APERTURE_VRAM, address, out, bytes);
    case 1:
    case 2:
        return bus_read(m, address, out, bytes);
    default:
        refuse(m, "%s: TRANSCFG(%u) is %#x: no such target", f->name, index, config);
        return false;
    }
}

void falcon_dma_start(struct falcon *f, uint32_t command)
{
    struct model *m = f->m;
    if (!falcon_memory_is_ready(f, "DMA started"))
        return;
    if (f->dma_busy_reads > 3) {
        refuse(m, "%s: DMATRFCMD written while the queue is full", f->name);
        return;
    }
    uint32_t bytes = 4u << (command >> 8 & 7), to = f->dma_memory;
    bool imem = (command & 0x10) != 0, secure = (command >> 2 & 3) != 0;
    if (command & ~UINT32_C(0x1773c))
        refuse(m, "%s: DMATRFCMD %#x has reserved bits", f->name, command);
    if (command & 0x20) {
        refuse(m, "%s: DMA out of the falcon is not what a boot does", f->name);
        return;
    }
    if ((command >> 8 & 7) == 7 || to % bytes != 0 || f->dma_offset % bytes != 0 ||
        to + bytes > (imem ? FALCON_IMEM : FALCON_DMEM) || (imem && bytes != FALCON_BLOCK)) {
        refuse(m, "%s: DMA of %u bytes to %s at %#x, offset %#x", f->name, bytes,
               imem ? "IMEM" : "DMEM", to, f->dma_offset);
        f->is_dma_stuck = true;
        f->dma_busy_reads++;
        return;
    }
    uint64_t base = ((uint64_t)f->dma_base[1] << 32 | f->dma_base[0]) << 8;
    /* The base may lie below the buffer, so that base plus the code's virtual address is where the code begins. */
    uint64_t address = (base + f->dma_offset) & ((UINT64_C(1) << 49) - 1);
    enum fault_mode mode;
    if (fault(m, f->is_gsp ? "gsp.dma" : "sec2.dma", &mode)) {
        if (mode == FAULT_HANG)
            f->is_dma_stuck = true;
        memset((imem ? f->imem : f->dmem) + to, 0xa5, bytes);
        f->is_spoiled = true;
    } else if (!falcon_dma_read(f, command >> 12 & 7, address, (imem ? f->imem : f->dmem) + to,
                                bytes)) {
        f->is_dma_stuck = true; /* a DMA that faults leaves the engine waiting */
        return;
    }
    if (imem)
        f->block[to / FALCON_BLOCK] =
            (struct imem_block){true, secure, (uint16_t)(f->dma_offset >> 8)};
    f->dma_busy_reads++;
}

uint32_t falcon_dma_status(struct falcon *f)
{
    if (f->is_dma_stuck)
        return f->dma_busy_reads > 3 ? DMATRFCMD_FULL : 0;
    if (f->dma_busy_reads == 0)
        return DMATRFCMD_IDLE;
    uint32_t value = f->dma_busy_reads > 3 ? DMATRFCMD_FULL : 0;
    f->dma_busy_reads--;
    return value;
}

/* ---- what was loaded ------------------------------------------------------------------------------------------- */

/* What was loaded is wrong: the guest's doing, unless a fault was asked for that spoils it. */
#define complain(f, ...) \
    ((f)->is_spoiled ? trace((f)->m, __VA_ARGS__) : refuse((f)->m, __VA_ARGS__))

bool falcon_has_code(struct falcon *f, const char *what, const uint8_t *code, uint32_t bytes,
                     uint32_t address, bool is_secure)
{
    for (uint32_t at = 0; at < bytes; at += FALCON_BLOCK) {
        uint32_t n = bytes - at < FALCON_BLOCK ? bytes - at : FALCON_BLOCK;
        unsigned i = 0;
        while (i < FALCON_BLOCKS &&
               !(f->block[i].is_loaded && f->block[i].tag == (address + at) >> 8))
            i++;
        if (i == FALCON_BLOCKS) {
            complain(f, "%s: %s: no IMEM block has the tag of address %#x", f->name, what,
                     address + at);
            return false;
        }
        if (f->block[i].is_secure != is_secure) {
            complain(f, "%s: %s: IMEM block %#x (address %#x) is loaded %s", f->name, what,
                     i * FALCON_BLOCK, address + at, is_secure ? "as not secure" : "as secure");
            return false;
        }
        for (uint32_t k = 0; k < n; k++)
            if (f->imem[i * FALCON_BLOCK + k] != code[at + k]) {
                complain(f, "%s: %s: code at %#x is %#x, signed was %#x", f->name, what,
                         address + at + k, f->imem[i * FALCON_BLOCK + k], code[at + k]);
                return false;
            }
    }
    return true;
}

bool falcon_has_data(struct falcon *f, const char *what, const uint8_t *data, uint32_t bytes,
                     uint32_t address, const struct patch *patches, unsigned patch_count)
{
    for (uint32_t at = 0; at < bytes; at++) {
        bool is_patched = false;
        for (unsigned i = 0; i < patch_count; i++)
            is_patched |= at >= patches[i].offset && at - patches[i].offset < patches[i].bytes;
        if (is_patched || f->dmem[address + at] == data[at])
            continue;
        complain(f, "%s: %s: data at %#x is %#x, the image has %#x", f->name, what, address + at,
                 f->dmem[address + at], data[at]);
        return false;
    }
    return true;
}

bool falcon_brom_check(struct falcon *f, uint32_t engine, uint32_t ucode,
                       uint32_t signature_address, const uint8_t *signature,
                       uint32_t signature_bytes, uint32_t entry)
{
    bool is_right = true;
    /* MOD_SEL.ALGO 1: RSA3K, the only one published. */
    if (f->brom_algorithm != 1) {
        complain(f, "%s: BROM: MOD_SEL is %#x, not RSA3K", f->name, f->brom_algorithm);
        is_right = false;
    }
    if (f->brom_engine != engine) {
        complain(f, "%s: BROM: ENGIDMASK is %#x, the program is for %#x", f->name, f->brom_engine,
                 engine);
        is_right = false;
    }
    if (f->brom_ucode != ucode) {
        complain(f, "%s: BROM: CURR_UCODE_ID is %u, the program's is %u", f->name, f->brom_ucode,
                 ucode);
        is_right = false;
    }
    if (f->brom_parameter != signature_address) {
        complain(f, "%s: BROM: PARAADDR is %#x, the program's signature belongs to %#x", f->name,
                 f->brom_parameter, signature_address);
        is_right = false;
    } else if (signature != NULL &&
               memcmp(f->dmem + signature_address, signature, signature_bytes) != 0) {
        complain(f, "%s: BROM: the signature in DMEM is not the one for this chip's fuse version",
                 f->name);
        is_right = false;
    }
    if (f->bootvec != entry) {
        complain(f, "%s: BOOTVEC is %#x, the secure code begins at %#x", f->name, f->bootvec,
                 entry);
        is_right = false;
    }
    return is_right;
}
