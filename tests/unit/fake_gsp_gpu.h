/*
 * tests/unit/fake_gsp_gpu.h: an NVIDIA GPU of which only the parts exist that start its GSP: identification, the card's own
 * firmware, VBIOS, the GSP's falcon with FWSEC, WPR2. Written from open-gpu-kernel-modules 570.144 with its own numbers. Its
 * BAR0 is never dereferenced: the eight mmio functions below are the device. It can be told to misbehave.
 */
#ifndef INGOT_TEST_FAKE_GSP_GPU_H
#define INGOT_TEST_FAKE_GSP_GPU_H

#include <cmocka.h>
#include <stdlib.h>

#include "kernel/kernel.h"
#include "tests/host/host.h"
#include "tests/unit/vbios_image.h"

#define FAKE_BAR0 ((uint8_t *)(uintptr_t)0x7e0000000000) /* nothing lies there */
#define FAKE_BAR0_BYTES (UINT64_C(16) << 20)
#define FAKE_MEM_BYTES 0x10000u
#define FAKE_GSP_BASE 0x110000u

static struct fake_gsp_gpu {
    struct pci_device *pci;
    struct vbios_image vbios;
    uint32_t boot_0, boot_42;
    bool is_turing; /* no boot ROM, loader, other fuses */
    bool has_ecc;
    uint32_t vram_mib;
    uint64_t firmware_done_ms; /* when the card's own firmware is through */
    uint32_t gsp_fuse;         /* of ucode 9 */
    uint64_t scrub_ms, run_ms;
    uint32_t wpr2_low, wpr2_high, scratch[64];

    /* The falcon. */
    uint8_t imem[FAKE_MEM_BYTES], dmem[FAKE_MEM_BYTES];
    uint32_t imem_tag[FAKE_MEM_BYTES / 256];
    bool imem_secure[FAKE_MEM_BYTES / 256];
    uint32_t imem_at, dmem_at, imem_control, mailbox[2], bootvec, rm, dmactl, fbif_control, transcfg[8];
    uint32_t dma_base, dma_base1, dma_to, dma_from, brom_parameter, brom_engine, brom_ucode, brom_algorithm, bcr, engine;
    bool is_halted;
    uint64_t scrubbed_ms, halt_ms;
    unsigned resets, runs, dma_blocks;
    char refusal[160]; /* why the program did not do what it should */

    /* misbehaviour */
    bool is_gone, firmware_hangs, never_scrubs, never_halts, dma_full, dma_never_idle, core_stays_riscv, fuse_is_locked;
    bool runs_anything; /* the test looks itself at what was loaded */
    bool wpr2_stays_down, wpr2_elsewhere, sb_locks, sb_not_complete, needs_alias;
    uint32_t frts_error, sb_error, mailbox_error;
    uint64_t gone_after_reads;
    uint64_t reads;
} fake;

static void fake_refuse(const char *why)
{
    if (fake.refusal[0] == '\0')
        snprintf(fake.refusal, sizeof(fake.refusal), "%s", why);
}

static uint32_t fake_word(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, 4);
    return value;
}

/* ---- FWSEC, once it is in the falcon ---- */

static void fake_fwsec(void)
{
    uint32_t dmem = fake.is_turing ? 0 : 0x400, code = fake.is_turing ? 0 : 0x100, tag = fake.is_turing ? 0 : 0x200;
    if (memcmp(fake.imem + code, fake.vbios.bytes + fake.vbios.code, VBIOS_CODE_BYTES) != 0)
        fake_refuse("code is not the VBIOS's");
    for (uint32_t i = 0; i * 256 < VBIOS_CODE_BYTES; i++) {
        uint32_t block = code / 256 + i;
        if (fake.imem_tag[block] != tag / 256 + i)
            fake_refuse("code has the wrong tag");
        /* Turing: blocks 2 to 5 are signed. */
        if (fake.imem_secure[block] != (!fake.is_turing || i >= 2))
            fake_refuse("a block of code is secure that should not be, or the other way round");
    }
    if (!fake.is_turing) {
        uint32_t fuse = fake.gsp_fuse & 0xffff;
        unsigned version = fuse == 0 ? 0 : 32 - (unsigned)__builtin_clz(fuse);
        unsigned versions = (unsigned)fake_word(fake.vbios.bytes + fake.vbios.desc + 40) & 0xffff;
        unsigned index = (unsigned)__builtin_popcount(versions & ((1u << version) - 1));
        for (unsigned n = 0; n < 384; n++)
            if (fake.dmem[dmem + VBIOS_SIGNATURE_AT + n] != vbios_signature_byte(index, n))
                fake_refuse("signature is not that of the fuses' version");
        if (fake.brom_parameter != VBIOS_SIGNATURE_AT || fake.brom_engine != 0x400 || fake.brom_ucode != 9 ||
            fake.brom_algorithm != 1)
            fake_refuse("boot ROM parameters");
        if (fake.bootvec != 0x200)
            fake_refuse("boot vector");
        if (fake.bcr & 0x10)
            fake_refuse("the RISC-V core is selected");
    }
    if (fake.rm != fake.boot_0)
        fake_refuse("FALCON_RM does not have BOOT_0");
    const uint8_t *data = fake.dmem + dmem;
    uint32_t command = fake_word(data + VBIOS_MAPPER_AT + 44), at = VBIOS_COMMAND_AT;
    if (fake_word(data + at) != 1 || fake_word(data + at + 4) != 24 || fake_word(data + at + 20) != 2)
        fake_refuse("parameters: VBIOS");
    if (command == 0x15) {
        if (fake_word(data + at + 24) != 1 || fake_word(data + at + 28) != 20 || fake_word(data + at + 36) != 0x100 ||
            fake_word(data + at + 40) != 2)
            fake_refuse("parameters: FRTS");
        fake.scratch[0x0e] = fake.frts_error << 16;
        if (!fake.wpr2_stays_down && fake.frts_error == 0 && fake.refusal[0] == '\0') {
            uint32_t start = fake_word(data + at + 32) + (fake.wpr2_elsewhere ? 0x20 : 0);
            fake.wpr2_low = start << 4;
            fake.wpr2_high = (start + 0xe0) << 4;
        }
    } else if (command == 0x19) {
        fake.scratch[0x15] = fake.sb_error;
    } else {
        fake_refuse("command");
    }
    fake.mailbox[0] = fake.mailbox_error;
}

/* Turing: what the generic loader does with its parameters at the start of DMEM. */
static void fake_loader(void)
{
    uint8_t p[84];
    memcpy(p, fake.dmem, sizeof(p));
    if (fake.bootvec != 0xfd00 || fake.imem_tag[0xfe] != 0xfd || fake.imem_secure[0xfe] || fake.imem[0xfe00] != 0x11 ||
        fake.imem[0xffff] != 0)
        fake_refuse("the loader is not at the end of IMEM");
    if (fake_word(p + 32) != 4 || fake.transcfg[4] != 5)
        fake_refuse("the loader's DMA index");
    for (unsigned i = 0; i < 32; i += 4)
        if (fake_word(p + i) != 0)
            fake_refuse("the loader's reserved words");
    const uint8_t *code = (const uint8_t *)(uintptr_t)(fake_word(p + 36) | (uint64_t)fake_word(p + 40) << 32);
    const uint8_t *data = (const uint8_t *)(uintptr_t)(fake_word(p + 64) | (uint64_t)fake_word(p + 68) << 32);
    uint32_t plain_at = fake_word(p + 44), plain = fake_word(p + 48), secure_at = fake_word(p + 52), secure = fake_word(p + 56);
    if ((uintptr_t)code % 256 || (uintptr_t)data % 256 || secure_at % 256 || secure % 256 || plain_at != 0 || plain != 0x210 ||
        secure_at != 0x200 || secure != 0x400 || fake_word(p + 60) != 0 || fake_word(p + 72) != VBIOS_DATA_BYTES) {
        fake_refuse("the loader's parameters");
        return;
    }
    for (uint32_t at = 0; at < secure_at + secure; at += 256) {
        memcpy(fake.imem + at, code + at, 256);
        fake.imem_tag[at / 256] = at / 256;
        fake.imem_secure[at / 256] = at >= secure_at;
    }
    memcpy(fake.dmem, data, fake_word(p + 72));
}

static void fake_start(void)
{
    fake.runs++;
    fake.is_halted = false;
    fake.halt_ms = host_clock_ms() + fake.run_ms;
    if ((fake.fbif_control & 0x80) == 0 || fake.dmactl != 0)
        fake_refuse("DMA without a context is not allowed");
    if (!host_pci_is_bus_master(fake.pci))
        fake_refuse("no bus mastering");
    if (fake.runs_anything)
        return;
    if (fake.is_turing)
        fake_loader();
    fake_fwsec();
}

static void fake_dma(uint32_t command)
{
    if (!host_pci_is_bus_master(fake.pci) || fake.transcfg[0] != 5 || (fake.fbif_control & 0x80) == 0)
        fake_refuse("DMA without bus mastering, or not to physical system memory");
    bool is_imem = command & 0x10;
    if ((command & 0x700) != 0x600 || (command >> 12 & 7) != 0 || (command & 0x20) || (command >> 2 & 3) != is_imem)
        fake_refuse("DMA command");
    uint64_t base = ((uint64_t)fake.dma_base | (uint64_t)fake.dma_base1 << 32) << 8;
    if (fake.dma_to % 256 != 0 || fake.dma_to >= FAKE_MEM_BYTES) {
        fake_refuse("DMA past the memory");
        return;
    }
    const uint8_t *from = (const uint8_t *)(uintptr_t)(base + fake.dma_from);
    memcpy((is_imem ? fake.imem : fake.dmem) + fake.dma_to, from, 256);
    if (is_imem) {
        fake.imem_tag[fake.dma_to / 256] = fake.dma_from / 256;
        fake.imem_secure[fake.dma_to / 256] = true;
    }
    fake.dma_blocks++;
}

/* ---- registers ---- */

static bool fake_is_scrubbing(void)
{
    return fake.never_scrubs || host_clock_ms() < fake.scrubbed_ms;
}

static uint32_t fake_falcon_read(uint32_t reg)
{
    switch (reg) {
    case 0x040:
    case 0x044:
        return fake.mailbox[(reg - 0x40) / 4];
    case 0x0f4:
        return 0x80000000 | (fake.is_turing ? 0 : (fake_is_scrubbing() ? 0x1000 : 0)) | 0x400;
    case 0x100:
        return (fake.is_halted || (!fake.never_halts && host_clock_ms() >= fake.halt_ms) ? 0x10 : 0) |
               (fake.needs_alias ? 0x40 : 0);
    case 0x108:
        return 0x100; /* 64 KiB of IMEM */
    case 0x10c:
        return fake.dmactl | (fake.is_turing && fake_is_scrubbing() ? 6 : 0);
    case 0x118:
        return (fake.dma_full ? 1 : 0) | (fake.dma_never_idle ? 0 : 2);
    case 0x3c0:
        return fake.engine;
    case 0x600:
    case 0x610:
        return fake.transcfg[(reg - 0x600) / 4];
    case 0x624:
        return fake.fbif_control;
    case 0x1668:
        return fake.bcr;
    }
    fail_msg("read of falcon register %#x", reg);
    return 0;
}

static void fake_engine_reset(uint32_t value)
{
    if ((fake.engine & 1) && !(value & 1)) {
        fake.resets++;
        memset(fake.imem, 0xcc, sizeof(fake.imem));
        memset(fake.dmem, 0xcc, sizeof(fake.dmem));
        memset(fake.imem_tag, 0xff, sizeof(fake.imem_tag));
        memset(fake.imem_secure, 0, sizeof(fake.imem_secure));
        fake.scrubbed_ms = host_clock_ms() + fake.scrub_ms;
        fake.is_halted = true;
        fake.fbif_control = fake.rm = 0;
        fake.dmactl = 1;
        fake.bcr = fake.is_turing ? 0 : 0x10; /* as devinit leaves it: RISC-V */
    }
    fake.engine = value;
}

static void fake_falcon_write(uint32_t reg, uint32_t value)
{
    if (reg != 0x3c0 && fake_is_scrubbing() && !fake.never_scrubs)
        fake_refuse("a register written while memories are scrubbed");
    switch (reg) {
    case 0x040:
    case 0x044:
        fake.mailbox[(reg - 0x40) / 4] = value;
        return;
    case 0x084:
        fake.rm = value;
        return;
    case 0x100:
        if (fake.needs_alias || value != 2)
            fake_refuse("start through the wrong register");
        fake_start();
        return;
    case 0x130:
        if (!fake.needs_alias || value != 2)
            fake_refuse("start through the alias");
        fake_start();
        return;
    case 0x104:
        fake.bootvec = value;
        return;
    case 0x10c:
        fake.dmactl = value;
        return;
    case 0x110:
        fake.dma_base = value;
        return;
    case 0x128:
        fake.dma_base1 = value;
        return;
    case 0x114:
        fake.dma_to = value;
        return;
    case 0x11c:
        fake.dma_from = value;
        return;
    case 0x118:
        fake_dma(value);
        return;
    case 0x180:
        assert_int_equal(value >> 24 & 1, 1);
        fake.imem_control = value;
        fake.imem_at = value & 0xfffc;
        return;
    case 0x188:
        fake.imem_tag[fake.imem_at / 256] = value;
        fake.imem_secure[fake.imem_at / 256] = fake.imem_control >> 28 & 1;
        return;
    case 0x184:
        assert_true(fake.imem_at < FAKE_MEM_BYTES);
        memcpy(fake.imem + fake.imem_at, &value, 4);
        fake.imem_at += 4;
        return;
    case 0x1c0:
        assert_int_equal(value >> 24 & 1, 1);
        fake.dmem_at = value & 0xfffc;
        return;
    case 0x1c4:
        assert_true(fake.dmem_at < FAKE_MEM_BYTES);
        memcpy(fake.dmem + fake.dmem_at, &value, 4);
        fake.dmem_at += 4;
        return;
    case 0x3c0:
        fake_engine_reset(value);
        return;
    case 0x600:
    case 0x610:
        fake.transcfg[(reg - 0x600) / 4] = value;
        return;
    case 0x624:
        fake.fbif_control = value;
        return;
    case 0x1180:
        fake.brom_algorithm = value;
        return;
    case 0x1198:
        fake.brom_ucode = value;
        return;
    case 0x119c:
        fake.brom_engine = value;
        return;
    case 0x1210:
        fake.brom_parameter = value;
        return;
    case 0x1668:
        fake.bcr = fake.core_stays_riscv ? 0x10 : value | 1;
        return;
    }
    fail_msg("write of %#x to falcon register %#x", value, reg);
}

static uint32_t fake_read(uint32_t reg)
{
    bool is_done = !fake.firmware_hangs && host_clock_ms() >= fake.firmware_done_ms;
    if (fake.gone_after_reads != 0 && ++fake.reads > fake.gone_after_reads)
        fake.is_gone = true;
    if (fake.is_gone)
        return UINT32_MAX;
    if (reg >= FAKE_GSP_BASE && reg < FAKE_GSP_BASE + 0x2000)
        return fake_falcon_read(reg - FAKE_GSP_BASE);
    if (reg >= 0x300000 && reg < 0x400000)
        return reg - 0x300000 + 4 <= sizeof(fake.vbios.bytes) ? fake_word(fake.vbios.bytes + (reg - 0x300000)) : UINT32_MAX;
    if (reg >= 0x1400 && reg < 0x1500)
        return fake.scratch[(reg - 0x1400) / 4];
    switch (reg) {
    case 0x000000:
        return fake.boot_0;
    case 0x000a00:
        return fake.boot_42;
    case 0x118128:
        return fake.sb_locks ? 0 : is_done || host_clock_ms() * 2 >= fake.firmware_done_ms;
    case 0x118234:
        return fake.sb_not_complete ? 0x3a00 : is_done ? 0x12ff : 0x1234;
    case 0x1183a4:
        return fake.vram_mib;
    case 0x0200bc: /* the FSP's, on GH100 and GB202 */
    case 0xad00bc:
        assert_int_equal(reg == 0xad00bc, fake.boot_42 >> 24 == 0x1b);
        return is_done ? 0xff : 0;
    case 0x100ce0:
        return fake.vram_mib >> 10 << 4 | 10 | (fake.has_ecc ? UINT32_C(1) << 30 : 0);
    case 0x1fa824:
        return is_done ? fake.wpr2_low : 0xbadf5040;
    case 0x1fa828:
        return is_done ? fake.wpr2_high : 0xbadf5040;
    case 0x02174c:
    case 0x82074c:
        assert_int_equal(reg == 0x02174c, fake.is_turing);
        return 1;
    case 0x8241e0: /* ucode 9 of the GSP */
        return fake.fuse_is_locked ? 0xbadf1234 : fake.gsp_fuse;
    }
    fail_msg("read of register %#x", reg);
    return 0;
}

static void fake_write(uint32_t reg, uint32_t value)
{
    if (fake.is_gone)
        return;
    if (reg >= FAKE_GSP_BASE && reg < FAKE_GSP_BASE + 0x2000)
        fake_falcon_write(reg - FAKE_GSP_BASE, value);
    else
        fail_msg("write of %#x to register %#x", value, reg);
}

/* ---- the bus ---- */

static uint32_t fake_offset(const volatile void *reg)
{
    uintptr_t at = (uintptr_t)reg - (uintptr_t)FAKE_BAR0;
    assert_true(at < FAKE_BAR0_BYTES && at % 4 == 0);
    return (uint32_t)at;
}

uint32_t mmio_read32(const volatile void *reg)
{
    return fake_read(fake_offset(reg));
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    fake_write(fake_offset(reg), value);
}

uint8_t mmio_read8(const volatile void *reg)
{
    fail_msg("a read of 8 bits at %#x", fake_offset(reg));
    return 0;
}

uint16_t mmio_read16(const volatile void *reg)
{
    fail_msg("a read of 16 bits at %#x", fake_offset(reg));
    return 0;
}

uint64_t mmio_read64(const volatile void *reg)
{
    fail_msg("a read of 64 bits at %#x", fake_offset(reg));
    return 0;
}

void mmio_write8(volatile void *reg, uint8_t value)
{
    fail_msg("a write of %#x, 8 bits, at %#x", value, fake_offset(reg));
}

void mmio_write16(volatile void *reg, uint16_t value)
{
    fail_msg("a write of %#x, 16 bits, at %#x", value, fake_offset(reg));
}

void mmio_write64(volatile void *reg, uint64_t value)
{
    fail_msg("a write of %#llx, 64 bits, at %#x", (unsigned long long)value, fake_offset(reg));
}

/* A card on the bus: GA102 with 24 GiB, or TU102 with 11. */
static inline void fake_make(bool is_turing)
{
    memset(&fake, 0, sizeof(fake));
    fake.is_turing = is_turing;
    fake.boot_0 = is_turing ? 0x162000a1 : 0x172000a1;
    fake.boot_42 = is_turing ? 0x162a1000 : 0x172a1000;
    fake.vram_mib = is_turing ? 11 << 10 : 24 << 10;
    fake.gsp_fuse = 0x3; /* version 2 */
    fake.scrub_ms = 5;
    fake.run_ms = 40;
    fake.is_halted = true;
    const struct vbios_recipe recipe = {.desc_version = is_turing ? 2 : 3,
                                        .ifr_version = 3,
                                        .signature_versions = 0x0016,
                                        .application = 0x85};
    vbios_make(&fake.vbios, &recipe);
    static uint8_t vram_window[64];
    void *const bars[6] = {FAKE_BAR0, vram_window};
    const struct pci_device device = {
        .bus = 1,
        .vendor_id = 0x10de,
        .device_id = is_turing ? 0x1e04 : 0x2204,
        .base_class = 3,
        .bar = {{.pa = 0xfd000000, .size_bytes = FAKE_BAR0_BYTES},
                {.pa = UINT64_C(0x3800000000), .size_bytes = 256 << 20, .is_64 = true, .is_prefetchable = true}}};
    host_pci_clear();
    fake.pci = host_pci_add(&device, bars);
}

#endif
