/*
 * tests/model/fsp.c: the FSP of Hopper and Blackwell, which starts the GSP: a packet in its mailbox memory (EMEM) names the FMC image,
 * its signature, the region for FRTS and the parameters; the FSP verifies, sets WPR2 up and starts the FMC on the GSP's RISC-V core,
 * which loads GSP-RM.
 *
 * Registers: OGKM src/common/inc/swref/published/hopper/gh100/dev_fsp_pri.h (gb202: the same addresses). Packet: arch/nvalloc/common/
 * inc/fsp/fsp_mctp_format.h, fsp_nvdm_format.h, inc/kernel/gpu/fsp/kern_fsp_cot_payload.h; order: kern_fsp_gh100.c and nouveau
 * fsp/gh100.c, fsp/gb202.c (versions and sizes of the signature), gsp/gh100.c. FMC parameters: gspifpub.h (GSP_FMC_BOOT_PARAMS).
 *
 *   command queue    EMEM from offset 0, TAIL = offset of the last word, then HEAD, which interrupts the FSP
 *   message queue    the answer in EMEM from offset 0, MSGQ_HEAD = 0, MSGQ_TAIL = offset of its last word; empty when both are equal
 *   GSP              first all its registers read 0xbadf41xx, then MAILBOX0/1 hold the parameters' address and HWCFG2 has
 *                    RISCV_BR_PRIV_LOCKDOWN, then lockdown is released: MAILBOX0 0, or the FMC's error
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/parts.h"

#define BASE          0x8f0000u
#define SCRATCH_2     0x8f0320u
#define SCRATCH_3     0x8f0330u
#define EMEMC         0x8f2ac0u
#define EMEMD         0x8f2ac4u
#define QUEUE_HEAD    0x8f2c00u
#define QUEUE_TAIL    0x8f2c04u
#define MSGQ_HEAD     0x8f2c80u
#define MSGQ_TAIL     0x8f2c84u

#define EMEM_BYTES    1024u       /* FSP_EMEM_CHANNEL_RM_SIZE */
#define MCTP_SINGLE   0xc0000000u /* SOM, EOM, everything else 0 */
#define NVDM(type)    ((uint32_t)(type) << 24 | 0x10deu << 8 | 0x7eu)
#define TYPE_COT      0x14u
#define TYPE_RESPONSE 0x15u

struct cot {
    uint16_t version, bytes;
    uint64_t fmc_bus, frts_sysmem;
    uint32_t frts_sysmem_bytes;
    uint64_t frts_from_end;
    uint32_t frts_bytes;
    uint32_t hash[12], public_key[96], signature[96];
    uint64_t parameters_bus;
} __attribute__((packed));
_Static_assert(sizeof(struct cot) == 860, "kern_fsp_cot_payload.h");

/* GSP_FMC_BOOT_PARAMS */
struct parameters {
    uint32_t regkeys, reserved0;
    uint32_t meta_target, meta_bytes;
    uint64_t meta_bus, carveout;
    uint32_t carveout_bytes;
    uint8_t is_gsp_rm, reserved1[3];
    uint32_t libos_target, reserved2;
    uint64_t libos_bus;
    uint32_t spdm_target, reserved3;
    uint64_t spdm_bus;
    uint32_t spdm_bytes, reserved4;
};
_Static_assert(sizeof(struct parameters) == 80, "gspifpub.h");

struct fsp {
    uint8_t emem[EMEM_BYTES];
    uint32_t emem_control, queue_head, queue_tail, message_head, message_tail;
    bool is_busy, is_booted;
    struct cot cot;
    uint32_t error; /* of the command */
    uint32_t fmc_error;
    uint64_t meta_bus, libos_bus;
};

/* ---- what is sent ------------------------------------------------------------------------------------------------ */

/* A section of the FMC file, which is a 32-bit ELF; NULL when it is not there. */
static const uint8_t *fmc_section(const struct file *file, const char *name, uint32_t *bytes)
{
    const Elf32_Ehdr *head = (const void *)file->data;
    if (file->bytes < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != ELFCLASS32 || head->e_shoff > file->bytes ||
        (file->bytes - head->e_shoff) / sizeof(Elf32_Shdr) < head->e_shnum ||
        head->e_shstrndx >= head->e_shnum)
        return NULL;
    const Elf32_Shdr *sections = (const void *)(file->data + head->e_shoff);
    const Elf32_Shdr *names = &sections[head->e_shstrndx];
    for (unsigned i = 1; i < head->e_shnum; i++) {
        const Elf32_Shdr *s = &sections[i];
        if (names->sh_offset + s->sh_name + strlen(name) + 1 > file->bytes ||
            s->sh_offset + (uint64_t)s->sh_size > file->bytes)
            return NULL;
        if (strcmp((const char *)file->data + names->sh_offset + s->sh_name, name) == 0) {
            *bytes = s->sh_size;
            return file->data + s->sh_offset;
        }
    }
    return NULL;
}

/* The field has these bytes, and zeroes behind them. */
static bool field_is(const void *field, size_t room, const uint8_t *bytes, size_t count)
{
    const uint8_t *f = field;
    if (count > room || memcmp(f, bytes, count) != 0)
        return false;
    for (size_t i = count; i < room; i++)
        if (f[i] != 0)
            return false;
    return true;
}

static bool fmc_is_right(struct model *m, const struct cot *c)
{
    const struct file *file = firmware_file(m, m->chip->firmware, "fmc-570.144.bin");
    if (file == NULL)
        return true;
    static const char *const names[] = {"hash", "publickey", "signature"};
    const void *fields[] = {c->hash, c->public_key, c->signature};
    const size_t rooms[] = {sizeof(c->hash), sizeof(c->public_key), sizeof(c->signature)};
    uint32_t bytes;
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *section = fmc_section(file, names[i], &bytes);
        if (section == NULL)
            die("fmc-570.144.bin has no section %s", names[i]);
        if (!field_is(fields[i], rooms[i], section, bytes)) {
            refuse(m, "FSP: the %s in the packet is not the FMC file's", names[i]);
            return false;
        }
    }
    const uint8_t *image = fmc_section(file, "image", &bytes);
    const uint8_t *loaded = bus_map(m, c->fmc_bus, bytes);
    if (image == NULL)
        die("fmc-570.144.bin has no section image");
    if (loaded == NULL || c->fmc_bus % 4096 != 0 || memcmp(loaded, image, bytes) != 0) {
        refuse(m, "FSP: the FMC image at bus %#llx is not the file's",
               (unsigned long long)c->fmc_bus);
        return false;
    }
    return true;
}

static uint32_t cot_check(struct model *m, const struct cot *c)
{
    uint16_t version = m->chip->family == HOPPER ? 1 : 2;
    if (c->version != version || c->bytes != sizeof(*c)) {
        refuse(m,
               "FSP: chain of trust: version %u, %u bytes; version %u with %zu is what this chip "
               "takes",
               c->version, c->bytes, version, sizeof(*c));
        return 0x2;
    }
    struct wpr2 wpr = wpr2_get(m);
    if (wpr.start != wpr.end) {
        refuse(m, "FSP: WPR2 is up already (%#llx to %#llx): the GPU was not reset",
               (unsigned long long)wpr.start, (unsigned long long)wpr.end);
        return 0x3;
    }
    /* The end of FRTS, counted from the end of VRAM, on 2 MiB (kern_fsp_gh100.c). */
    if (c->frts_bytes != 0x100000 || c->frts_from_end % 0x200000 != 0 || c->frts_from_end == 0 ||
        c->frts_from_end + c->frts_bytes > m->vram_bytes / 2) {
        refuse(m, "FSP: FRTS of %#x bytes, %#llx from the end of VRAM", c->frts_bytes,
               (unsigned long long)c->frts_from_end);
        return 0x4;
    }
    if (c->frts_sysmem_bytes != 0 && c->frts_sysmem_bytes != 0x100000) {
        refuse(m, "FSP: FRTS of %#x bytes in system memory", c->frts_sysmem_bytes);
        return 0x5;
    }
    if (c->parameters_bus % 8 != 0 ||
        bus_map(m, c->parameters_bus, sizeof(struct parameters)) == NULL) {
        refuse(m, "FSP: FMC parameters at bus %#llx", (unsigned long long)c->parameters_bus);
        return 0x6;
    }
    return fmc_is_right(m, c) ? 0 : 0x7;
}

/* ---- the FMC on the GSP ------------------------------------------------------------------------------------------- */

static bool parameters_are_right(struct model *m, const struct parameters *p)
{
    bool is_right = true;
    if (p->meta_target != 1 && p->meta_target != 2) {
        refuse(m, "FMC: the WPR metadata's target is %u, not system memory", p->meta_target);
        is_right = false;
    }
    if (p->meta_bytes != 256 || p->is_gsp_rm != 1) {
        refuse(m, "FMC: WPR metadata of %u bytes (256), GSP-RM %u (1)", p->meta_bytes,
               p->is_gsp_rm);
        is_right = false;
    }
    if ((p->libos_target != 1 && p->libos_target != 2) || p->libos_bus == 0) {
        refuse(m, "FMC: libos arguments at %#llx, target %u", (unsigned long long)p->libos_bus,
               p->libos_target);
        is_right = false;
    }
    return is_right;
}

static void fmc_done(struct model *m, void *arg)
{
    struct fsp *fsp = m->fsp;
    struct falcon *gsp = falcon_gsp(m);
    gsp->is_lockdown = false;
    gsp->mailbox[0] = fsp->fmc_error;
    gsp->mailbox[1] = 0;
    if (fsp->fmc_error == 0)
        gsp_core_start(m, fsp->meta_bus, fsp->libos_bus);
    else
        note(m, "FMC: error %#x", fsp->fmc_error);
}

static void fmc_load(struct model *m, void *arg)
{
    struct fsp *fsp = m->fsp;
    struct falcon *gsp = falcon_gsp(m);
    struct parameters p;
    /* From now on the GSP's registers can be read: mailboxes and HWCFG2. */
    gsp->is_masked = false;
    gsp->mailbox[0] = (uint32_t)fsp->cot.parameters_bus;
    gsp->mailbox[1] = (uint32_t)(fsp->cot.parameters_bus >> 32);
    uint64_t frts_end = m->vram_bytes - fsp->cot.frts_from_end, start, end;
    wpr2_set(m, frts_end - fsp->cot.frts_bytes, frts_end);
    fsp->fmc_error = 0x11;
    if (bus_read(m, fsp->cot.parameters_bus, &p, sizeof(p)) && parameters_are_right(m, &p)) {
        fsp->meta_bus = p.meta_bus;
        fsp->libos_bus = p.libos_bus;
        fsp->fmc_error = gsp_rm_load(m, p.meta_bus, &start, &end);
        if (fsp->fmc_error == 0)
            wpr2_set(m, start, end);
    }
    uint64_t delay_ns = 20000000;
    enum fault_mode mode;
    if (fault(m, "fmc.boot", &mode)) {
        if (mode == FAULT_HANG)
            return;
        if (mode == FAULT_LATE)
            delay_ns = late_ns();
        else
            fsp->fmc_error = mode == FAULT_FAIL ? 0x2d : 0xbadf5040;
    }
    timer_add(m, delay_ns, fmc_done, NULL);
}

/* ---- the queues ---------------------------------------------------------------------------------------------------- */

static void respond(struct model *m, void *arg)
{
    struct fsp *fsp = m->fsp;
    uint32_t words[5] = {MCTP_SINGLE, NVDM(TYPE_RESPONSE), 0, TYPE_COT, fsp->error};
    enum fault_mode mode;
    bool is_bad = fault(m, "fsp.response", &mode);
    if (is_bad && mode == FAULT_HANG)
        return;
    if (is_bad)
        memset(words, 0x5a, sizeof(words));
    memcpy(fsp->emem, words, sizeof(words));
    fsp->message_head = 0;
    fsp->message_tail = sizeof(words) - 4;
    fsp->is_busy = false;
    note(m, "FSP: chain of trust: %s", fsp->error == 0 ? "accepted" : "refused");
    if (fsp->error != 0)
        return;
    struct falcon *gsp = falcon_gsp(m);
    gsp->is_lockdown = gsp->is_masked = true;
    timer_add(m, 20000000, fmc_load, NULL);
}

static void packet(struct model *m)
{
    struct fsp *fsp = m->fsp;
    uint32_t bytes = fsp->queue_tail + 4 - fsp->queue_head, header[2];
    if (fsp->queue_head != 0 || fsp->queue_tail % 4 != 0 || bytes > EMEM_BYTES || bytes < 8) {
        refuse(m, "FSP: queue head %#x, tail %#x (the last word's offset)", fsp->queue_head,
               fsp->queue_tail);
        return;
    }
    if (fsp->is_busy || fsp->message_head != fsp->message_tail) {
        refuse(m, "FSP: a packet while the last one's answer has not been taken");
        return;
    }
    if (reg_read(m, m->chip->family == BLACKWELL ? 0xad00bc : 0x200bc) != 0xff) {
        refuse(m, "FSP: a packet before its own secure boot is done");
        return;
    }
    memcpy(header, fsp->emem, sizeof(header));
    fsp->queue_head = fsp->queue_tail = 0; /* taken */
    if (header[0] != MCTP_SINGLE || header[1] != NVDM(TYPE_COT) ||
        bytes - 8 != sizeof(struct cot)) {
        refuse(m, "FSP: packet of %u bytes, MCTP header %08x, NVDM header %08x", bytes, header[0],
               header[1]);
        return;
    }
    memcpy(&fsp->cot, fsp->emem + 8, sizeof(fsp->cot));
    fsp->is_busy = true;
    fsp->error = fsp->is_booted ? 0x8 : cot_check(m, &fsp->cot);
    if (fsp->is_booted)
        refuse(m, "FSP: chain of trust twice since the last reset");
    fsp->is_booted = fsp->error == 0;
    uint64_t delay_ns = 5000000;
    enum fault_mode mode;
    if (fault(m, "fsp.cot", &mode)) {
        if (mode == FAULT_HANG)
            return;
        if (mode == FAULT_LATE)
            delay_ns = late_ns();
        else
            fsp->error = 0x99;
    }
    timer_add(m, delay_ns, respond, NULL);
}

/* ---- registers ----------------------------------------------------------------------------------------------------- */

static uint32_t *emem_word(struct model *m, bool is_write)
{
    struct fsp *fsp = m->fsp;
    /* EMEMC: word in 7:2, block of 64 words in 15:8. */
    uint32_t at = fsp->emem_control & 0xfffc;
    if (at + 4 > EMEM_BYTES) {
        refuse(m, "FSP: EMEM %s at %#x, the channel has %#x bytes", is_write ? "written" : "read",
               at, EMEM_BYTES);
        return NULL;
    }
    if (fsp->emem_control & (is_write ? 1u << 24 : 1u << 25))
        fsp->emem_control = (fsp->emem_control & ~0xffffu) | ((at + 4) & 0xffff);
    return (uint32_t *)(void *)(fsp->emem + at);
}

static uint32_t fsp_read(struct model *m, uint32_t reg)
{
    struct fsp *fsp = m->fsp;
    if (m->chip->family < HOPPER)
        return PRI_ERROR;
    if (reg >= SCRATCH_2 && reg < SCRATCH_2 + 16)
        return 0;
    if (reg >= SCRATCH_3 && reg < SCRATCH_3 + 16)
        return reg == SCRATCH_3 + 4 ? 0x450 : 0; /* version of its firmware */
    switch (reg) {
    case EMEMC:
        return fsp->emem_control;
    case EMEMD: {
        const uint32_t *word = emem_word(m, false);
        return word == NULL ? PRI_ERROR : *word;
    }
    case QUEUE_HEAD:
        return fsp->queue_head;
    case QUEUE_TAIL:
        return fsp->queue_tail;
    case MSGQ_HEAD:
        return fsp->message_head;
    case MSGQ_TAIL:
        return fsp->message_tail;
    default:
        return PRI_ERROR;
    }
}

static void fsp_write(struct model *m, uint32_t reg, uint32_t value)
{
    struct fsp *fsp = m->fsp;
    if (m->chip->family < HOPPER) {
        refuse(m, "write of %#x to register %#x: this chip has no FSP", value, reg);
        return;
    }
    switch (reg) {
    case EMEMC:
        fsp->emem_control = value & 0x0300fffc;
        break;
    case EMEMD: {
        uint32_t *word = emem_word(m, true);
        if (word != NULL)
            *word = value;
        break;
    }
    case QUEUE_TAIL:
        fsp->queue_tail = value;
        break;
    case QUEUE_HEAD:
        fsp->queue_head = value;
        packet(m);
        break;
    case MSGQ_HEAD:
        fsp->message_head = value;
        break;
    case MSGQ_TAIL:
        fsp->message_tail = value;
        break;
    default:
        refuse(m, "FSP: write of %#x to register %#x, which is not there or read-only", value, reg);
        break;
    }
}

static const struct register_name names[] = {
    {EMEMC, "NV_PFSP_EMEMC(0)"},
    {EMEMD, "NV_PFSP_EMEMD(0)"},
    {QUEUE_HEAD, "NV_PFSP_QUEUE_HEAD(0)"},
    {QUEUE_TAIL, "NV_PFSP_QUEUE_TAIL(0)"},
    {MSGQ_HEAD, "NV_PFSP_MSGQ_HEAD(0)"},
    {MSGQ_TAIL, "NV_PFSP_MSGQ_TAIL(0)"},
    {SCRATCH_2, "NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2(0)"},
    {SCRATCH_3 + 4, "NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_3(1)"},
    {0, NULL},
};

void fsp_reset(struct model *m)
{
    memset(m->fsp, 0, sizeof(*m->fsp));
    timer_cancel(m, respond, NULL);
    timer_cancel(m, fmc_load, NULL);
    timer_cancel(m, fmc_done, NULL);
}

int fsp_init(struct model *m)
{
    m->fsp = calloc(1, sizeof(*m->fsp));
    if (m->fsp == NULL)
        return -ENOMEM;
    block_add(m, &(struct block){"FSP", BASE, 0x4000, fsp_read, fsp_write, names});
    return 0;
}
