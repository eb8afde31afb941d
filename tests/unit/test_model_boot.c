/*
 * tests/unit/test_model_boot.c: the GPU model's boot blocks against a guest written by hand: done right, FWSEC, booter and the FSP
 * start the GSP and nothing is refused; done wrong in any one way, that way is named and nothing starts.
 *
 * No code of the driver: addresses and layouts stand here once more, from the same public sources as the model's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/model/embed.h"

#define FIRMWARE "build/deps/firmware"
#define GSP      0x110000u
#define SEC2     0x840000u
#define WPR2_HI  0x1fa828u

static struct model *model;
static struct embed_facts facts;
static uint64_t clock_ns;

static uint64_t clock_get(void)
{
    return clock_ns;
}

static uint32_t rd(uint32_t reg)
{
    return embed_read32(model, reg);
}

static void wr(uint32_t reg, uint32_t value)
{
    embed_write32(model, reg, value);
}

static void wait_ms(unsigned ms)
{
    for (unsigned i = 0; i < ms * 4; i++) {
        clock_ns += 250000;
        embed_pump(model);
    }
}

static void open_chip(const char *chip)
{
    clock_ns = 1000000000;
    embed_fault(NULL);
    model = embed_open(chip, 4096, FIRMWARE, getenv("GPU_MODEL_TRACE_FILE"), clock_get, &facts);
    embed_command(model, 6); /* memory decoding, bus mastering */
    wait_ms(60);
}

/* What one test does wrong. */
enum mistake {
    NOTHING,
    NO_RESET,
    NO_BUS_MASTER,
    NO_PHYSICAL,
    WITH_CONTEXT,
    NOT_SECURE,
    OTHER_SIGNATURE,
    WRONG_ENGINE,
    WRONG_UCODE,
    WRONG_PARAMETER,
    WRONG_ALGORITHM,
    WRONG_VECTOR,
    CODE_CHANGED,
    DATA_CHANGED,
    NO_RM,
    WHILE_SCRUBBING,
    FRTS_MISPLACED,
    FRTS_SIZE,
    FRTS_VERSION,
    COMMAND_UNKNOWN,
    FRTS_TWICE,
    RISCV_SELECTED,
    NO_FRTS,
    NO_GSP_RESET,
    NO_RISCV,
    NO_LIBOS,
    BAD_META,
};

/* ---- FWSEC in the ROM, found as a driver does ---------------------------------------------------------------------- */

struct fwsec {
    uint8_t rom[128 * 1024];
    uint32_t image, code_bytes, data_bytes, signature_offset, interface, signatures,
        signature_count, versions, ucode;
};
static struct fwsec fw;

static uint32_t u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static void fwsec_find(void)
{
    for (uint32_t i = 0; i < sizeof(fw.rom); i += 4) {
        uint32_t word = rd(0x300000 + i);
        memcpy(fw.rom + i, &word, 4);
    }
    const uint8_t *rom = fw.rom, *bit = rom + 0x1b0;
    assert_memory_equal(bit + 2, "BIT", 4);
    uint32_t table = 0, legacy = 0, first_ext = 0;
    for (uint32_t at = 0; first_ext == 0;) {
        const uint8_t *pcir = rom + at + *(const uint16_t *)(const void *)(rom + at + 0x18);
        uint32_t bytes = *(const uint16_t *)(const void *)(pcir + 0x10) * 512u;
        if (pcir[0x14] == 0)
            legacy = bytes;
        if (pcir[0x14] == 0xe0)
            first_ext = at;
        at += bytes;
    }
    for (unsigned i = 0; i < bit[10]; i++) {
        const uint8_t *token = bit + bit[8] + i * bit[9];
        if (token[0] == 0x70)
            table = u32(rom + *(const uint16_t *)(const void *)(token + 4));
    }
    uint32_t base = first_ext - legacy;
    const uint8_t *head = rom + base + table;
    for (unsigned i = 0; i < head[3]; i++) {
        const uint8_t *entry = head + head[1] + i * head[2];
        if (entry[0] != 0x85)
            continue;
        const uint8_t *d = rom + base + u32(entry + 2);
        fw.image = (uint32_t)(d - rom) + (u32(d) >> 16);
        fw.signature_offset = u32(d + 8);
        fw.interface = u32(d + 12);
        fw.code_bytes = u32(d + 20);
        fw.data_bytes = u32(d + 32);
        fw.ucode = d[38];
        fw.signature_count = d[39];
        fw.versions = d[40] | (uint32_t)d[41] << 8;
        fw.signatures = (uint32_t)(d - rom) + 44;
    }
    assert_int_not_equal(fw.image, 0);
}

/* ---- falcons --------------------------------------------------------------------------------------------------------- */

static void falcon_reset(uint32_t base, enum mistake mistake)
{
    wr(base + 0x3c0, 1);
    wr(base + 0x3c0, 0);
    if (mistake != WHILE_SCRUBBING)
        wait_ms(3);
    if (mistake != NO_RM)
        wr(base + 0x084, rd(0));
}

static void dma(uint32_t base, const uint8_t *from, uint32_t virtual, uint32_t bytes, bool imem,
                bool secure)
{
    uint64_t address = (uint64_t)(uintptr_t)from - virtual;
    wr(base + 0x110, (uint32_t)(address >> 8));
    wr(base + 0x128, (uint32_t)(address >> 40) & 0x1ff);
    for (uint32_t at = 0; at < bytes; at += 256) {
        for (unsigned i = 0; (rd(base + 0x118) & 1) && i < 100; i++)
            ;
        wr(base + 0x114, at);
        wr(base + 0x11c, virtual + at);
        wr(base + 0x118, 6u << 8 | (imem ? 1u << 4 : 0) | (secure ? 1u << 2 : 0));
    }
    for (unsigned i = 0; !(rd(base + 0x118) & 2) && i < 100; i++)
        ;
}

static void falcon_run(uint32_t base, const uint8_t *code, uint32_t code_bytes, uint32_t virtual,
                       const uint8_t *data, uint32_t data_bytes, uint32_t parameter,
                       uint32_t engine, uint32_t ucode, enum mistake mistake)
{
    wr(base + 0x624, mistake == WITH_CONTEXT ? 0 : 0x80);
    wr(base + 0x10c, 0);
    wr(base + 0x600, mistake == NO_PHYSICAL ? 1 : 5);
    dma(base, code, virtual, code_bytes, true, mistake != NOT_SECURE);
    dma(base, data, 0, data_bytes, false, false);
    wr(base + 0x1210, mistake == WRONG_PARAMETER ? parameter + 4 : parameter);
    wr(base + 0x119c, mistake == WRONG_ENGINE ? 4 : engine);
    wr(base + 0x1198, mistake == WRONG_UCODE ? ucode + 1 : ucode);
    wr(base + 0x1180, mistake == WRONG_ALGORITHM ? 0 : 1);
    wr(base + 0x104, mistake == WRONG_VECTOR ? virtual + 256 : virtual);
    if (mistake == RISCV_SELECTED)
        wr(base + 0x1668, 0x110);
    wr(base + 0x100, 2);
    wait_ms(20);
}

/* ---- FWSEC FRTS ------------------------------------------------------------------------------------------------------ */

static uint8_t buffer[256 * 1024] __attribute__((aligned(4096)));

static void frts(enum mistake mistake)
{
    memcpy(buffer, fw.rom + fw.image, fw.code_bytes + fw.data_bytes);
    uint8_t *code = buffer, *data = buffer + fw.code_bytes;
    uint32_t entry = fw.interface + data[fw.interface + 1], mapper = 0;
    for (unsigned i = 0; i < data[fw.interface + 3]; i++)
        if (u32(data + entry + 8 * i) == 4)
            mapper = u32(data + entry + 8 * i + 4);
    *(uint32_t *)(void *)(data + mapper + 44) = mistake == COMMAND_UNKNOWN ? 0x16 : 0x15;
    uint32_t offset = (uint32_t)((facts.vram_bytes - 0x80000 - 0x100000) >> 12);
    uint32_t command[11] = {1, 24, 0, 0, 0, 2, 1, 20, offset, 0x100, 2};
    if (mistake == FRTS_MISPLACED)
        command[8] = (uint32_t)(facts.vram_bytes >> 12) - 0x100;
    if (mistake == FRTS_SIZE)
        command[9] = 0x200;
    if (mistake == FRTS_VERSION)
        command[6] = 2;
    memcpy(data + u32(data + mapper + 8), command, sizeof(command));
    /* Version of the fuse: its highest bit; the signature is that version's among those that there are. */
    uint32_t fuse = rd(0x8241c0 + 4 * (fw.ucode - 1)), version = 0, index = 0;
    while (fuse >> version != 0)
        version++;
    for (unsigned v = 0; v < version; v++)
        index += fw.versions >> v & 1;
    if (mistake == OTHER_SIGNATURE)
        index = (index + 1) % fw.signature_count;
    memcpy(data + fw.signature_offset, fw.rom + fw.signatures + 384 * index, 384);
    if (mistake == CODE_CHANGED)
        code[1000] ^= 1;
    if (mistake == DATA_CHANGED)
        data[fw.data_bytes - 1] ^= 1;
    if (mistake != NO_RESET)
        falcon_reset(GSP, mistake);
    if (mistake == NO_BUS_MASTER)
        embed_command(model, 2);
    falcon_run(GSP, code, fw.code_bytes, 0, data, fw.data_bytes, fw.signature_offset, 0x400,
               fw.ucode, mistake);
}

static void is_refused(const char *text)
{
    if (embed_refusals(model) == 0)
        fail_msg("nothing was refused; wanted: %s", text);
    if (!embed_was_refused(model, text))
        fail_msg("refused: %s; wanted: %s", embed_last_refusal(model), text);
}

static void test_frts(void **state)
{
    open_chip("ga102");
    fwsec_find();
    frts(NOTHING);
    assert_int_equal(rd(0x1438) >> 16, 0);
    assert_int_equal(rd(WPR2_HI) >> 4, (facts.vram_bytes - 0x80000) >> 12);
    assert_int_equal(embed_refusals(model), 0);
    embed_close(model);
}

/* The region is protected from the CPU, too, although QEMU's mapping cannot show it at once. */
static void test_frts_written(void **state)
{
    open_chip("ga102");
    fwsec_find();
    frts(NOTHING);
    uint64_t start = (uint64_t)(rd(0x1fa824) >> 4) << 12;
    facts.vram[start - 1] = 1;
    embed_reset(model);
    assert_int_equal(embed_refusals(model), 0);
    embed_command(model, 6);
    wait_ms(60);
    frts(NOTHING);
    facts.vram[start + 0x43210] = 1;
    embed_reset(model);
    is_refused("while it was inside WPR2");
    embed_close(model);
}

static void test_frts_mistakes(void **state)
{
    static const struct {
        enum mistake mistake;
        const char *text;
        bool sets_wpr; /* the first of two was right */
    } cases[] = {
        {NO_RESET, "started without a reset", false},
        {NO_BUS_MASTER, "bus mastering is off", false},
        {NO_PHYSICAL, "virtual addresses", false},
        {WITH_CONTEXT, "without a context", false},
        {NOT_SECURE, "as not secure", false},
        {OTHER_SIGNATURE, "fuse version", false},
        {WRONG_ENGINE, "ENGIDMASK", false},
        {WRONG_UCODE, "CURR_UCODE_ID", false},
        {WRONG_PARAMETER, "PARAADDR", false},
        {WRONG_ALGORITHM, "MOD_SEL", false},
        {WRONG_VECTOR, "BOOTVEC", false},
        {CODE_CHANGED, "code at 0x3e8", false},
        {DATA_CHANGED, "data at", false},
        {WHILE_SCRUBBING, "clearing its memories", false},
        {FRTS_MISPLACED, "FRTS region", false},
        {FRTS_SIZE, "FRTS region", false},
        {FRTS_VERSION, "FRTS region descriptor", false},
        {COMMAND_UNKNOWN, "neither FRTS", false},
        {RISCV_SELECTED, "selects the RISC-V core", false},
        {FRTS_TWICE, "WPR2 is up already", true},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_chip("ga102");
        fwsec_find();
        if (cases[i].sets_wpr)
            frts(NOTHING);
        frts(cases[i].mistake);
        is_refused(cases[i].text);
        embed_command(model, 6);
        assert_int_equal(rd(WPR2_HI) != 0, cases[i].sets_wpr);
        embed_close(model);
    }
    /* A falcon that was not told the chip runs all the same, but that is not how it is done. */
    open_chip("ga102");
    fwsec_find();
    frts(NO_RM);
    is_refused("FALCON_RM");
    embed_close(model);
}

/* ---- booter ----------------------------------------------------------------------------------------------------------- */

static uint8_t *file_read(const char *chip, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), FIRMWARE "/nvidia/%s/gsp/%s-570.144.bin", chip, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s is not there: run setup/firmware build/deps", path);
    static uint8_t data[256 * 1024] __attribute__((aligned(4096)));
    assert_int_not_equal(fread(data, 1, sizeof(data), file), 0);
    fclose(file);
    return data;
}

static void booter(enum mistake mistake)
{
    const uint8_t *b = file_read("ga102", "booter_load");
    uint32_t header = u32(b + 12), image = u32(b + 16);
    uint32_t place = u32(b + u32(b + header + 8)), count = u32(b + u32(b + header + 24)),
             load = u32(b + header + 28);
    uint32_t signature_bytes = u32(b + header + 4) / count;
    memcpy(buffer, b + image, u32(b + 20));
    uint32_t data = u32(b + load + 8), data_bytes = u32(b + load + 12), code = u32(b + load + 20),
             code_bytes = u32(b + load + 24);
    uint32_t fuse = rd(0x824140 + 4 * 2), version = 0;
    while (fuse >> version != 0)
        version++;
    uint32_t index = count - 1 - version;
    if (mistake == OTHER_SIGNATURE)
        index = (index + 1) % count;
    memcpy(buffer + place, b + u32(b + header) + index * signature_bytes, signature_bytes);
    if (mistake == CODE_CHANGED)
        buffer[code + 777] ^= 0x80;
    falcon_reset(SEC2, mistake);
    static uint8_t meta[256] __attribute__((aligned(4096)));
    wr(SEC2 + 0x40, mistake == BAD_META ? 0x1000 : (uint32_t)(uintptr_t)meta);
    wr(SEC2 + 0x44, mistake == BAD_META ? 0 : (uint32_t)((uintptr_t)meta >> 32));
    falcon_run(SEC2, buffer + code, code_bytes, code, buffer + data, data_bytes, place - data, 1, 3,
               mistake);
}

static void gsp_ready(enum mistake mistake)
{
    if (mistake != NO_GSP_RESET) {
        wr(GSP + 0x3c0, 1);
        wr(GSP + 0x3c0, 0);
        wait_ms(3);
        if (mistake != NO_RISCV)
            wr(GSP + 0x1668, 0x110);
    }
    if (mistake != NO_LIBOS && mistake != NO_GSP_RESET) {
        wr(GSP + 0x40, 0x12340000);
        wr(GSP + 0x44, 0);
    }
}

/* The descriptor is all zeroes here, so even the right order ends with an error of what is in it. */
static void test_booter_mistakes(void **state)
{
    static const struct {
        enum mistake mistake;
        const char *text;
    } cases[] = {
        {NOTHING, "magic"},
        {NO_FRTS, "WPR2 is not up"},
        {NO_GSP_RESET, "was not reset"},
        {NO_RISCV, "does not select the RISC-V core"},
        {NO_LIBOS, "libos arguments"},
        {OTHER_SIGNATURE, "fuse version"},
        {CODE_CHANGED, "code at"},
        {NOT_SECURE, "as not secure"},
        {WRONG_VECTOR, "BOOTVEC"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_chip("ga102");
        fwsec_find();
        if (cases[i].mistake != NO_FRTS)
            frts(NOTHING);
        assert_int_equal(embed_refusals(model), 0);
        gsp_ready(cases[i].mistake);
        booter(cases[i].mistake);
        is_refused(cases[i].text);
        assert_int_not_equal(rd(SEC2 + 0x40), 0);
        assert_false(rd(GSP + 0x1388) & 0x80);
        embed_close(model);
    }
}

/* ---- the FSP ------------------------------------------------------------------------------------------------------------ */

enum fsp_mistake {
    FSP_NOTHING,
    FSP_VERSION,
    FSP_HASH,
    FSP_IMAGE,
    FSP_TAIL,
    FSP_HEADER,
    FSP_FRTS,
    FSP_EARLY,
    FSP_TWICE
};

static const uint8_t *fmc_section(const uint8_t *elf, const char *name, uint32_t *bytes)
{
    uint32_t sections = u32(elf + 32), count = elf[48],
             names = u32(elf + sections + 40u * elf[50] + 16);
    for (unsigned i = 1; i < count; i++) {
        const uint8_t *s = elf + sections + 40 * i;
        if (strcmp((const char *)elf + names + u32(s), name) == 0) {
            *bytes = u32(s + 20);
            return elf + u32(s + 16);
        }
    }
    fail_msg("no section %s", name);
    return NULL;
}

static void chain_of_trust(enum fsp_mistake mistake)
{
    const uint8_t *elf = file_read("gh100", "fmc");
    uint32_t image_bytes, bytes;
    const uint8_t *image = fmc_section(elf, "image", &image_bytes);
    memcpy(buffer, image, image_bytes);
    if (mistake == FSP_IMAGE)
        buffer[12345] ^= 2;
    static uint8_t parameters[80] __attribute__((aligned(4096)));
    uint8_t packet[868] = {0};
    uint32_t headers[2] = {mistake == FSP_HEADER ? 0x80000000 : 0xc0000000, 0x1410de7e};
    memcpy(packet, headers, 8);
    uint8_t *cot = packet + 8;
    uint16_t head[2] = {mistake == FSP_VERSION ? 2 : 1, 860};
    uint64_t fmc = (uintptr_t)buffer, frts_from_end = mistake == FSP_FRTS ? 0x180000 : 0x400000,
             at = (uintptr_t)parameters;
    uint32_t frts_bytes = 0x100000;
    memcpy(cot, head, 4);
    memcpy(cot + 4, &fmc, 8);
    memcpy(cot + 24, &frts_from_end, 8);
    memcpy(cot + 32, &frts_bytes, 4);
    const uint8_t *hash = fmc_section(elf, "hash", &bytes);
    memcpy(cot + 36, hash, bytes);
    const uint8_t *key = fmc_section(elf, "publickey", &bytes);
    memcpy(cot + 84, key, bytes);
    const uint8_t *signature = fmc_section(elf, "signature", &bytes);
    memcpy(cot + 468, signature, bytes);
    memcpy(cot + 852, &at, 8);
    if (mistake == FSP_HASH)
        cot[40] ^= 1;
    wr(0x8f2ac0, 1u << 24);
    for (unsigned i = 0; i < sizeof(packet); i += 4)
        wr(0x8f2ac4, u32(packet + i));
    wr(0x8f2c04, mistake == FSP_TAIL ? sizeof(packet) : sizeof(packet) - 4);
    wr(0x8f2c00, 0);
    wait_ms(10);
}

static void test_fsp(void **state)
{
    static const struct {
        enum fsp_mistake mistake;
        const char *text;
    } cases[] = {
        {FSP_NOTHING, "WPR metadata's target"}, /* accepted; the parameters are all zeroes */
        {FSP_VERSION, "version 2"},
        {FSP_HASH, "the hash"},
        {FSP_IMAGE, "FMC image"},
        {FSP_TAIL, "bytes, MCTP header"},
        {FSP_HEADER, "MCTP header 80000000"},
        {FSP_FRTS, "FRTS of"},
        {FSP_EARLY, "secure boot"},
        {FSP_TWICE, "twice"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_chip("gh100");
        if (cases[i].mistake == FSP_EARLY)
            embed_reset(model), embed_command(model, 6);
        chain_of_trust(cases[i].mistake);
        if (cases[i].mistake == FSP_NOTHING) {
            /* The answer: MCTP, NVDM type 0x15, task, command 0x14, no error. */
            assert_int_equal(rd(0x8f2c84), 16);
            wr(0x8f2ac0, 1u << 25);
            const uint32_t answer[5] = {0xc0000000, 0x1510de7e, 0, 0x14, 0};
            for (unsigned k = 0; k < 5; k++)
                assert_int_equal(rd(0x8f2ac4), answer[k]);
            assert_int_equal(rd(GSP + 0x40) & 0xffffff00, 0xbadf4100);
            assert_int_equal(embed_refusals(model), 0);
            wait_ms(30);
            assert_true(rd(GSP + 0xf4) & 1u << 13);
            wait_ms(30);
            assert_false(rd(GSP + 0xf4) & 1u << 13);
            assert_int_not_equal(rd(GSP + 0x40), 0);
        }
        if (cases[i].mistake == FSP_TWICE) {
            wr(0x8f2c84, 0);
            wr(0x8f2c80, 0);
            chain_of_trust(FSP_NOTHING);
        }
        is_refused(cases[i].text);
        embed_close(model);
    }
}

/* ---- registers in general ------------------------------------------------------------------------------------------------ */

static void test_registers(void **state)
{
    open_chip("tu102");
    assert_int_equal(rd(0) >> 20, 0x162);
    assert_int_equal(rd(0xa00) >> 20 & 0x3ff, 0x162);
    assert_int_equal(rd(0x700000), 0xbadf5040);
    /* VRAM: magnitude << scale MiB. */
    uint32_t size = rd(0x100ce0);
    assert_int_equal((size >> 4 & 63) << (size & 15), 4096);
    assert_int_equal(embed_refusals(model), 0);
    wr(0x700000, 1);
    is_refused("not there");
    wr(0, 1);
    is_refused("read-only");
    wr(WPR2_HI, 0);
    is_refused("memory protection");
    wr(GSP + 0x1668, 0x110);
    is_refused("does not have");
    wr(0x8f2c00, 0);
    is_refused("no FSP");
    embed_command(model, 0);
    assert_int_equal(rd(0), 0xffffffff);
    is_refused("does not decode memory");
    embed_close(model);
}

/* A vector's bit, its leaf, the top, and one message for each of them that is new. */
static unsigned messages;

static void on_interrupt(void *arg)
{
    messages++;
}

static void test_interrupts(void **state)
{
    open_chip("ga102");
    const uint32_t vf = 0xb80000;
    messages = 0;
    embed_on_interrupt(model, on_interrupt, NULL);
    wr(vf + 0x1640, 70); /* trigger: leaf 2, bit 6 */
    assert_int_equal(rd(vf + 0x1008), 1u << 6);
    assert_int_equal(rd(vf + 0x1600), 0);
    wr(vf + 0x1208, 1u << 6);
    assert_int_equal(rd(vf + 0x1600), 1u << 1);
    assert_int_equal(messages, 0);
    wr(vf + 0x1608, 1u << 1);
    assert_int_equal(messages, 1);
    /* One message until NV_XVE_CYA_2 is written. */
    wr(vf + 0x1610, 1u << 1);
    wr(vf + 0x1008, 1u << 6);
    assert_int_equal(rd(vf + 0x1600), 0);
    wr(vf + 0x1608, 1u << 1);
    wr(vf + 0x1640, 70);
    assert_int_equal(messages, 1);
    wr(0x88704, 0);
    assert_int_equal(messages, 2);
    assert_int_equal(embed_refusals(model), 0);
    embed_close(model);
}

/* Capabilities, resets and resizing as PCI Express has them. */
static unsigned capability_find(uint8_t id)
{
    for (unsigned at = embed_config_read32(model, 0x34) & 0xff; at != 0;
         at = embed_config_read32(model, at) >> 8 & 0xff)
        if ((embed_config_read32(model, at) & 0xff) == id)
            return at;
    return 0;
}

static unsigned extended_find(uint16_t id)
{
    for (unsigned at = 0x100; at != 0; at = embed_config_read32(model, at) >> 20)
        if ((embed_config_read32(model, at) & 0xffff) == id)
            return at;
    return 0;
}

static void test_pci(void **state)
{
    open_chip("ga102");
    assert_int_equal(embed_config_read32(model, 0), 0x220410de);
    unsigned express = capability_find(0x10), resizable = extended_find(0x15);
    assert_int_not_equal(capability_find(0x05), 0); /* MSI */
    assert_int_equal(capability_find(0x11), 0);     /* no MSI-X on boards for people */
    assert_int_not_equal(resizable, 0);

    /* BAR1: 64 MiB to 4 GiB offered, 4 GiB now. Resized only while it is not decoded. */
    uint32_t control = embed_config_read32(model, resizable + 8);
    assert_int_equal(control & 7, 1);
    assert_int_equal(control >> 8 & 63, 12);
    assert_int_equal(embed_config_read32(model, resizable + 4) >> 4, 0x1fc0);
    embed_config_write32(model, resizable + 8, (control & ~0x3f00u) | 8 << 8);
    is_refused("while memory decoding is on");
    assert_int_equal(embed_bar1_bytes(model), UINT64_C(4) << 30);
    embed_command(model, 0);
    embed_config_write32(model, resizable + 8, (control & ~0x3f00u) | 8 << 8);
    assert_int_equal(embed_bar1_bytes(model), 256 << 20);
    assert_int_equal(embed_config_read32(model, resizable + 8) >> 8 & 63, 8);
    embed_config_write32(model, 0x14, UINT32_MAX);
    assert_int_equal(embed_config_read32(model, 0x14), 0xf000000c);
    embed_config_write32(model, resizable + 8, (control & ~0x3f00u) | 13 << 8);
    is_refused("does not offer");

    /* A function-level reset: registers, command and BARs are gone; 100 ms of silence are due. */
    embed_left_running(model);
    embed_command(model, 6);
    assert_true(embed_config_read32(model, express + 4) & 1u << 28);
    embed_config_write32(model, express + 8, embed_config_read32(model, express + 8) | 0x8000);
    embed_config_read32(model, 4);
    is_refused("after a function-level reset");
    wait_ms(110);
    assert_int_equal(embed_config_read32(model, 4) & 7, 0);
    assert_int_equal(embed_config_read32(model, 0x10), 0);
    embed_config_write32(model, 0x10, 0xe0000000);
    embed_command(model, 6);
    assert_int_equal(rd(WPR2_HI), 0);
    embed_close(model);

    open_chip("tu102");
    express = capability_find(0x10);
    assert_false(embed_config_read32(model, express + 4) & 1u << 28);
    embed_config_write32(model, express + 8, 0xa910);
    is_refused("does not have");
    embed_close(model);

    open_chip("gh100");
    assert_int_not_equal(capability_find(0x11), 0);
    assert_int_equal(embed_config_read32(model, 0x08) >> 8, 0x030200);
    assert_int_equal(embed_config_read32(model, 0x10) & 0xf, 0xc);
    embed_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frts),          cmocka_unit_test(test_frts_written),
        cmocka_unit_test(test_frts_mistakes), cmocka_unit_test(test_booter_mistakes),
        cmocka_unit_test(test_fsp),           cmocka_unit_test(test_registers),
        cmocka_unit_test(test_interrupts),    cmocka_unit_test(test_pci),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
