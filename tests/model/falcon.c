/*
 * tests/model/falcon.c: the falcons of GSP and SEC2: registers, IMEM and DMEM through ports and DMA, reset and scrubbing, the
 * boot ROM's checks, and the RISC-V core beside the GSP's falcon.
 *
 * Registers: OGKM src/common/inc/swref/published: turing/tu102 and ampere/ga102: dev_falcon_v4.h (offsets from the falcon's
 * base), dev_fbif_v4.h (+0x600), dev_falcon_second_pri.h and dev_riscv_pri.h (+0x1000), dev_gsp.h, dev_sec_pri.h. Order of a
 * start: kernel_falcon_tu102.c, kernel_falcon_ga102.c, kernel_gsp_falcon_tu102.c, kernel_gsp_falcon_ga102.c.
 *
 * A reset clears both memories ("scrubbing", about a millisecond); until it is over they must not be touched. A falcon that
 * is started with STARTCPU runs fwsec.c (GSP) or booter.c (SEC2), which look at what was loaded.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/parts.h"

#define GSP_BASE                   0x110000u
#define SEC2_BASE                  0x840000u

/* Falcon registers, from the base. */
#define IRQSCLR                    0x004u
#define IRQSTAT                    0x008u
#define IRQ_HALT                   0x10u
#define IRQ_SWGEN0                 0x40u
#define IRQMSET                    0x010u
#define IRQMCLR                    0x014u
#define IRQMASK                    0x018u
#define IRQDEST                    0x01cu
#define MAILBOX0                   0x040u
#define MAILBOX1                   0x044u
#define OS                         0x080u
#define RM                         0x084u
#define DEBUGINFO                  0x094u
#define HWCFG2                     0x0f4u
#define HWCFG2_RISCV               (1u << 10)
#define HWCFG2_SCRUBBING           (1u << 12)
#define HWCFG2_LOCKDOWN            (1u << 13) /* GH100 on */
#define HWCFG2_RESET_READY         (1u << 31)
#define CPUCTL                     0x100u
#define CPUCTL_START               (1u << 1)
#define CPUCTL_HALTED              (1u << 4)
#define CPUCTL_ALIAS_EN            (1u << 6)
#define BOOTVEC                    0x104u
#define HWCFG                      0x108u
#define DMACTL                     0x10cu
#define DMACTL_REQUIRE_CTX         1u
#define DMACTL_SCRUBBING           6u /* DMEM, IMEM */
#define DMATRFBASE                 0x110u
#define DMATRFMOFFS                0x114u
#define DMATRFCMD                  0x118u
#define DMATRFCMD_FULL             1u
#define DMATRFCMD_IDLE             2u
#define DMATRFFBOFFS               0x11cu
#define DMATRFBASE1                0x128u
#define CPUCTL_ALIAS               0x130u
#define IMEMC0                     0x180u
#define IMEMD0                     0x184u
#define IMEMT0                     0x188u
#define DMEMC0                     0x1c0u
#define DMEMD0                     0x1c4u
#define SCRATCH                    0x300u /* COMMON_SCRATCH_GROUP_0 to 3, four each */
#define ENGINE                     0x3c0u
#define RETRIGGER                  0x3e8u
#define FBIF                       0x600u
#define FBIF_CTL                   0x624u
#define FBIF_CTL_ALLOW_PHYS_NO_CTX 0x80u
#define TRANSCFG_TARGET            3u
#define TRANSCFG_PHYSICAL          4u
#define QUEUE_HEAD                 0xc00u /* GSP: eight, 8 bytes apart */

/* From the second base, at base + 0x1000. */
#define BROM_MOD_SEL               0x1180u
#define BROM_UCODE_ID              0x1198u
#define BROM_ENGIDMASK             0x119cu
#define BROM_PARAADDR              0x1210u
#define CORE_SWITCH                0x1240u /* Turing: bit 0, RISC-V active */
#define RISCV_CPUCTL               0x1388u
#define RISCV_HALTED               0x10u
#define RISCV_ACTIVE               0x80u
#define RISCV_IRQMASK              0x1528u /* Turing: 0x12b4 */
#define RISCV_IRQDEST              0x152cu /* Turing: 0x12b8 */
#define BCR_CTRL                   0x1668u
#define BCR_VALID                  0x01u
#define BCR_RISCV                  0x10u
#define BCR_BRFETCH                0x100u

#define SCRUB_NS                   UINT64_C(1000000)

struct falcons {
    struct falcon gsp, sec2;
    uint64_t meta_bus, libos_bus;
};

struct falcon *falcon_gsp(struct model *m)
{
    return &m->falcons->gsp;
}

struct falcon *falcon_sec2(struct model *m)
{
    return &m->falcons->sec2;
}

/* ---- reset ----------------------------------------------------------------------------------------------------- */

static void scrub_done(struct model *m, void *arg)
{
    struct falcon *f = arg;
    memset(f->imem, 0, sizeof(f->imem));
    memset(f->dmem, 0, sizeof(f->dmem));
    memset(f->block, 0, sizeof(f->block));
    f->state = FALCON_HALTED;
    f->was_reset = true;
}

static void ended(struct model *m, void *arg);

/* Everything but what outlives a reset: OS, RM and the mailboxes are cleared, too. */
static void falcon_clear(struct falcon *f)
{
    struct model *m = f->m;
    timer_cancel(m, scrub_done, f);
    timer_cancel(m, ended, f);
    size_t from = offsetof(struct falcon, state), to = offsetof(struct falcon, block);
    memset((uint8_t *)f + from, 0, to - from);
    f->dmactl = DMACTL_REQUIRE_CTX;
}

static void engine_written(struct falcon *f, uint32_t value)
{
    struct model *m = f->m;
    if (value & 1) {
        bool is_suspended = f->is_suspended;
        if (f->is_gsp && f->is_riscv_active && !is_suspended) {
            note(m, "GSP: reset while GSP-RM runs");
            gsp_rm_stop(m);
        }
        falcon_clear(f);
        f->is_suspended = is_suspended;
        f->state = FALCON_IN_RESET;
        trace(m, "%s: in reset", f->name);
        return;
    }
    if (f->state != FALCON_IN_RESET)
        return;
    f->state = FALCON_SCRUBBING;
    enum fault_mode mode;
    uint64_t delay_ns = SCRUB_NS;
    if (fault(m, f->is_gsp ? "gsp.reset" : "sec2.reset", &mode)) {
        if (mode == FAULT_HANG)
            return;
        delay_ns = 50000000; /* ever so late for what takes microseconds */
    }
    timer_add(m, delay_ns, scrub_done, f);
}

/* ---- memories -------------------------------------------------------------------------------------------------- */

static bool memory_is_ready(struct falcon *f, const char *what)
{
    if (f->state == FALCON_HALTED)
        return true;
    static const char *const states[] = {"halted", "in reset", "still clearing its memories",
                                         "running"};
    refuse(f->m, "%s: %s while the falcon is %s", f->name, what, states[f->state]);
    return false;
}

static void imem_write(struct falcon *f, uint32_t value)
{
    if (!memory_is_ready(f, "IMEM written"))
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

static void dmem_write(struct falcon *f, uint32_t value)
{
    if (!memory_is_ready(f, "DMEM written"))
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

static uint32_t port_read(struct falcon *f, bool imem)
{
    uint32_t value = 0xdead5ec2; /* what secure memory reads as (nouveau: falcon/base.c) */
    uint32_t at = imem ? f->imem_port.address : f->dmem_port.address;
    if (!memory_is_ready(f, imem ? "IMEM read" : "DMEM read") ||
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

static void dma_start(struct falcon *f, uint32_t command)
{
    struct model *m = f->m;
    if (!memory_is_ready(f, "DMA started"))
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

static uint32_t dma_status(struct falcon *f)
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

/* ---- running --------------------------------------------------------------------------------------------------- */

static void ended(struct model *m, void *arg)
{
    struct falcon *f = arg;
    f->state = FALCON_HALTED;
    f->irq_status |= IRQ_HALT;
    trace(m, "%s: halted, mailboxes %08x %08x", f->name, f->mailbox[0], f->mailbox[1]);
}

void falcon_end(struct falcon *f, uint64_t delay_ns, uint32_t mailbox0, uint32_t mailbox1)
{
    f->mailbox[0] = mailbox0;
    f->mailbox[1] = mailbox1;
    timer_add(f->m, delay_ns, ended, f);
}

void falcon_brom_fail(struct falcon *f)
{
    falcon_end(f, 100000, f->mailbox[0], f->mailbox[1]);
}

static void falcon_start(struct falcon *f, bool through_alias)
{
    struct model *m = f->m;
    if (!memory_is_ready(f, "started"))
        return;
    if (f->alias_enabled != through_alias) {
        refuse(m, "%s: started through CPUCTL%s while ALIAS_EN is %d", f->name,
               through_alias ? "_ALIAS" : "", f->alias_enabled);
        return;
    }
    bool is_resume = !f->is_gsp && booter_can_resume(m);
    if (!f->was_reset && !is_resume) {
        refuse(m, "%s: started without a reset since the last program", f->name);
        return;
    }
    if (f->is_riscv_selected) {
        refuse(m, "%s: the falcon is started while BCR_CTRL selects the RISC-V core", f->name);
        return;
    }
    if (m->chip->boot_0 != 0 && f->rm != m->chip->boot_0)
        refuse(m, "%s: started with FALCON_RM %#x; it takes BOOT_0 (%#x)", f->name, f->rm,
               m->chip->boot_0);
    if (m->chip->family >= HOPPER) {
        refuse(m, "%s: this chip's falcons are started by its FSP alone", f->name);
        return;
    }
    trace(m, "%s: starts at %#x, mailboxes %08x %08x", f->name, f->bootvec, f->mailbox[0],
          f->mailbox[1]);
    f->state = FALCON_RUNNING;
    f->was_reset = false;
    if (f->is_gsp)
        fwsec_run(f);
    else
        booter_run(f);
}

static void bcr_written(struct falcon *f, uint32_t value)
{
    struct model *m = f->m;
    if (f->state != FALCON_HALTED) {
        refuse(m, "%s: BCR_CTRL written while the falcon is not halted", f->name);
        return;
    }
    if (value & ~(BCR_VALID | BCR_RISCV | BCR_BRFETCH))
        refuse(m, "%s: BCR_CTRL %#x has reserved bits", f->name, value);
    f->is_riscv_selected = (value & BCR_RISCV) != 0;
    if (f->is_riscv_selected && !(value & BCR_BRFETCH))
        refuse(m,
               "%s: the RISC-V core is selected without BRFETCH: its boot ROM would not fetch the "
               "manifest",
               f->name);
    f->is_core_select_done = true;
}

/* ---- the GSP's RISC-V core ------------------------------------------------------------------------------------- */

bool gsp_core_is_running(const struct model *m)
{
    return m->falcons->gsp.is_riscv_active;
}

static void rm_start(struct model *m, void *arg)
{
    gsp_rm_start(m, m->falcons->meta_bus, m->falcons->libos_bus);
}

void gsp_core_start(struct model *m, uint64_t wpr_meta_bus, uint64_t libos_args_bus)
{
    struct falcon *f = &m->falcons->gsp;
    enum fault_mode mode;
    bool is_bad = fault(m, "gsp.start", &mode);
    if (is_bad && mode == FAULT_FAIL)
        return; /* the core was never released */
    f->is_riscv_active = true;
    f->is_riscv_halted = false;
    note(m, "GSP: the RISC-V core runs; libos arguments at bus %#llx",
         (unsigned long long)libos_args_bus);
    if (is_bad && mode == FAULT_HANG)
        return; /* and that is all it does */
    m->falcons->meta_bus = wpr_meta_bus;
    m->falcons->libos_bus = libos_args_bus;
    timer_add(m, is_bad ? late_ns() : 1000000, rm_start, NULL);
}

bool gsp_core_is_suspended(const struct model *m)
{
    return m->falcons->gsp.is_suspended;
}

void gsp_core_suspend(struct model *m)
{
    m->falcons->gsp.is_suspended = true;
    boot_handoff_set(m, false);
    trace(m, "GSP: GSP-RM waits for the CPU sequencer");
}

void gsp_core_resume(struct model *m)
{
    struct falcon *f = &m->falcons->gsp;
    uint64_t libos_bus = (uint64_t)f->mailbox[1] << 32 | f->mailbox[0];
    if (libos_bus != m->falcons->libos_bus)
        refuse(m, "GSP: resumed with libos arguments at bus %#llx, started with %#llx",
               (unsigned long long)libos_bus, (unsigned long long)m->falcons->libos_bus);
    f->is_suspended = false;
    f->is_riscv_active = true;
    note(m, "GSP: the RISC-V core is resumed");
    gsp_rm_resumed(m);
}

void gsp_core_halt(struct model *m)
{
    struct falcon *f = &m->falcons->gsp;
    f->is_riscv_active = false;
    f->is_riscv_halted = true;
    /* LIBOS_INTERRUPT_PROCESSOR_SUSPENDED (kgspWaitForProcessorSuspend_TU102) */
    f->mailbox[0] = UINT32_C(0x80000000);
    /* Without booter_unload the firmware takes its region down by itself, and the FSP can be asked again. */
    if (m->chip->family >= HOPPER) {
        wpr2_set(m, 0, 0);
        fsp_reset(m);
    }
    note(m, "GSP: the RISC-V core has halted");
}

/* ---- registers ------------------------------------------------------------------------------------------------- */

static struct falcon *falcon_of(struct model *m, uint32_t reg)
{
    return reg >= SEC2_BASE ? &m->falcons->sec2 : &m->falcons->gsp;
}

static uint32_t second_read(struct falcon *f, uint32_t at)
{
    bool is_turing = f->m->chip->family == TURING;
    switch (at) {
    case CORE_SWITCH:
        return is_turing ? f->is_riscv_active : PRI_ERROR;
    case 0x12b4:
    case RISCV_IRQMASK:
        return is_turing == (at == 0x12b4) && f->is_riscv_active ? IRQ_HALT | IRQ_SWGEN0 : 0;
    case 0x12b8:
    case RISCV_IRQDEST:
        return is_turing == (at == 0x12b8) && f->is_riscv_active ? IRQ_HALT | IRQ_SWGEN0 : 0;
    }
    if (is_turing)
        return PRI_ERROR;
    switch (at) {
    case BROM_MOD_SEL:
        return f->brom_algorithm;
    case BROM_UCODE_ID:
        return f->brom_ucode;
    case BROM_ENGIDMASK:
        return f->brom_engine;
    case BROM_PARAADDR:
        return f->brom_parameter;
    case RISCV_CPUCTL:
        return (f->is_riscv_active ? RISCV_ACTIVE : 0) | (f->is_riscv_halted ? RISCV_HALTED : 0);
    case BCR_CTRL:
        return (f->is_core_select_done ? BCR_VALID : 0) | (f->is_riscv_selected ? BCR_RISCV : 0) |
               BCR_BRFETCH;
    default:
        return PRI_ERROR;
    }
}

static uint32_t falcon_read(struct model *m, uint32_t reg)
{
    struct falcon *f = falcon_of(m, reg);
    uint32_t at = reg - f->base;
    bool has_scrubbing_in_hwcfg2 = m->chip->family != TURING;
    if (at == ENGINE)
        return (f->state == FALCON_IN_RESET) |
               (m->chip->family >= HOPPER && f->state != FALCON_IN_RESET ? 2u << 8 : 0);
    if (f->is_masked)
        return UINT32_C(
            0xbadf4100); /* the core's boot ROM keeps everybody out (NOTES; nouveau gsp/gh100.c) */
    if (f->state == FALCON_IN_RESET)
        return PRI_ERROR;
    if (at >= SCRATCH && at < SCRATCH + sizeof(f->scratch))
        return f->scratch[(at - SCRATCH) / 4];
    if (at >= FBIF && at < FBIF + sizeof(f->transcfg))
        return f->transcfg[(at - FBIF) / 4];
    switch (at) {
    case IRQSTAT:
        return f->irq_status;
    case IRQMASK:
        return f->irq_mask;
    case IRQDEST:
        return f->irq_destination;
    case MAILBOX0:
        return f->mailbox[0];
    case MAILBOX1:
        return f->mailbox[1];
    case OS:
        return f->os;
    case RM:
        return f->rm;
    case DEBUGINFO:
        return f->debuginfo;
    case HWCFG2:
        return (f->is_gsp || m->chip->family != TURING ? HWCFG2_RISCV : 0) |
               (f->is_lockdown ? HWCFG2_LOCKDOWN : 0) |
               (has_scrubbing_in_hwcfg2
                    ? HWCFG2_RESET_READY | (f->state == FALCON_SCRUBBING ? HWCFG2_SCRUBBING : 0)
                    : 0);
    case CPUCTL:
        return (f->state == FALCON_HALTED && !f->is_riscv_selected ? CPUCTL_HALTED : 0) |
               (f->alias_enabled ? CPUCTL_ALIAS_EN : 0);
    case BOOTVEC:
        return f->bootvec;
    case HWCFG:
        return FALCON_BLOCKS | (FALCON_DMEM / 256) << 9;
    case DMACTL:
        return f->dmactl |
               (!has_scrubbing_in_hwcfg2 && f->state == FALCON_SCRUBBING ? DMACTL_SCRUBBING : 0);
    case DMATRFBASE:
        return f->dma_base[0];
    case DMATRFBASE1:
        return f->dma_base[1];
    case DMATRFMOFFS:
        return f->dma_memory;
    case DMATRFFBOFFS:
        return f->dma_offset;
    case DMATRFCMD:
        return dma_status(f);
    case IMEMD0:
        return port_read(f, true);
    case DMEMD0:
        return port_read(f, false);
    case IMEMC0:
        return f->imem_port.address;
    case DMEMC0:
        return f->dmem_port.address;
    case FBIF_CTL:
        return f->fbif_control;
    default:
        return at >= 0x1000 ? second_read(f, at) : PRI_ERROR;
    }
}

static void second_write(struct falcon *f, uint32_t at, uint32_t value)
{
    if (f->m->chip->family == TURING) {
        refuse(f->m, "%s: write of %#x to %#x, which this chip does not have", f->name, value,
               f->base + at);
        return;
    }
    switch (at) {
    case BROM_MOD_SEL:
        f->brom_algorithm = value;
        break;
    case BROM_UCODE_ID:
        f->brom_ucode = value;
        break;
    case BROM_ENGIDMASK:
        f->brom_engine = value;
        break;
    case BROM_PARAADDR:
        f->brom_parameter = value;
        break;
    case BCR_CTRL:
        bcr_written(f, value);
        break;
    default:
        refuse(f->m, "%s: write of %#x to register %#x, which is not there or read-only", f->name,
               value, f->base + at);
        break;
    }
}

static void falcon_write(struct model *m, uint32_t reg, uint32_t value)
{
    struct falcon *f = falcon_of(m, reg);
    uint32_t at = reg - f->base;
    if (at == ENGINE) {
        if (f->is_lockdown || (m->chip->family >= HOPPER && f->is_riscv_active))
            refuse(m, "%s: reset while its RISC-V core is locked down", f->name);
        else
            engine_written(f, value);
        return;
    }
    if (f->is_lockdown || f->state == FALCON_IN_RESET) {
        refuse(m, "%s: write of %#x to register %#x while it is %s", f->name, value, reg,
               f->is_lockdown ? "locked down" : "in reset");
        return;
    }
    if (at >= SCRATCH && at < SCRATCH + sizeof(f->scratch)) {
        f->scratch[(at - SCRATCH) / 4] = value;
        return;
    }
    if (at >= FBIF && at < FBIF + sizeof(f->transcfg)) {
        f->transcfg[(at - FBIF) / 4] = value;
        return;
    }
    if (f->is_gsp && at >= QUEUE_HEAD && at < QUEUE_HEAD + 64 && at % 8 == 0) {
        gsp_rm_doorbell(m, (at - QUEUE_HEAD) / 8);
        return;
    }
    switch (at) {
    case IRQSCLR:
        f->irq_status &= ~value;
        break;
    case IRQMSET:
        f->irq_mask |= value;
        break;
    case IRQMCLR:
        f->irq_mask &= ~value;
        break;
    case IRQDEST:
        f->irq_destination = value;
        break;
    case RETRIGGER:
        if (f->is_gsp && (value & 1) && (f->irq_status & IRQ_SWGEN0))
            irq_retrigger(m);
        break;
    case MAILBOX0:
        f->mailbox[0] = value;
        break;
    case MAILBOX1:
        f->mailbox[1] = value;
        break;
    case OS:
        f->os = value;
        break;
    case RM:
        f->rm = value;
        break;
    case DEBUGINFO:
        f->debuginfo = value;
        break;
    case CPUCTL:
        if (value & CPUCTL_START)
            falcon_start(f, false);
        break;
    case CPUCTL_ALIAS:
        if (value & CPUCTL_START)
            falcon_start(f, true);
        break;
    case BOOTVEC:
        f->bootvec = value;
        break;
    case DMACTL:
        f->dmactl = value & DMACTL_REQUIRE_CTX;
        break;
    case DMATRFBASE:
    case DMATRFBASE1:
        if (f->dma_busy_reads > 3)
            refuse(m, "%s: the DMA's base is written while its queue is full", f->name);
        f->dma_base[at == DMATRFBASE1] = at == DMATRFBASE1 ? value & 0x1ff : value;
        break;
    case DMATRFMOFFS:
        f->dma_memory = value;
        break;
    case DMATRFFBOFFS:
        f->dma_offset = value;
        break;
    case DMATRFCMD:
        dma_start(f, value);
        break;
    case IMEMC0:
        f->imem_port.address = value & (m->chip->family == TURING ? 0xfffcu : 0xfffffcu);
        f->imem_port.increments_write = (value & 1u << 24) != 0;
        f->imem_port.increments_read = (value & 1u << 25) != 0;
        f->imem_port.is_secure = (value & 1u << 28) != 0;
        break;
    case IMEMD0:
        imem_write(f, value);
        break;
    case IMEMT0:
        f->imem_tag_next = (uint16_t)value;
        f->has_tag = true;
        break;
    case DMEMC0:
        f->dmem_port.address = value & (m->chip->family == TURING ? 0xfffcu : 0xfffffcu);
        f->dmem_port.increments_write = (value & 1u << 24) != 0;
        f->dmem_port.increments_read = (value & 1u << 25) != 0;
        break;
    case DMEMD0:
        dmem_write(f, value);
        break;
    case FBIF_CTL:
        f->fbif_control = value;
        break;
    default:
        if (at >= 0x1000)
            second_write(f, at, value);
        else
            refuse(m, "%s: write of %#x to register %#x, which is not there or read-only", f->name,
                   value, reg);
        break;
    }
}

void gsp_core_interrupt(struct model *m, unsigned vector)
{
    m->falcons->gsp.irq_status |= IRQ_SWGEN0;
    irq_raise(m, vector);
}

/* ---- set-up ---------------------------------------------------------------------------------------------------- */

static struct register_name names[] = {
#define BOTH(name, offset) \
    {GSP_BASE + (offset), "NV_PGSP_" name}, \
    { \
        SEC2_BASE + (offset), "NV_PSEC_" name \
    }
    BOTH("FALCON_IRQSCLR", IRQSCLR),
    BOTH("FALCON_IRQSTAT", IRQSTAT),
    BOTH("FALCON_IRQMSET", IRQMSET),
    BOTH("FALCON_IRQMCLR", IRQMCLR),
    BOTH("FALCON_IRQMASK", IRQMASK),
    BOTH("FALCON_IRQDEST", IRQDEST),
    BOTH("FALCON_MAILBOX0", MAILBOX0),
    BOTH("FALCON_MAILBOX1", MAILBOX1),
    BOTH("FALCON_OS", OS),
    BOTH("FALCON_RM", RM),
    BOTH("FALCON_HWCFG2", HWCFG2),
    BOTH("FALCON_CPUCTL", CPUCTL),
    BOTH("FALCON_BOOTVEC", BOOTVEC),
    BOTH("FALCON_HWCFG", HWCFG),
    BOTH("FALCON_DMACTL", DMACTL),
    BOTH("FALCON_DMATRFBASE", DMATRFBASE),
    BOTH("FALCON_DMATRFMOFFS", DMATRFMOFFS),
    BOTH("FALCON_DMATRFCMD", DMATRFCMD),
    BOTH("FALCON_DMATRFFBOFFS", DMATRFFBOFFS),
    BOTH("FALCON_DMATRFBASE1", DMATRFBASE1),
    BOTH("FALCON_CPUCTL_ALIAS", CPUCTL_ALIAS),
    BOTH("FALCON_IMEMC(0)", IMEMC0),
    BOTH("FALCON_IMEMD(0)", IMEMD0),
    BOTH("FALCON_IMEMT(0)", IMEMT0),
    BOTH("FALCON_DMEMC(0)", DMEMC0),
    BOTH("FALCON_DMEMD(0)", DMEMD0),
    BOTH("FALCON_ENGINE", ENGINE),
    BOTH("FALCON_INTR_RETRIGGER(0)", RETRIGGER),
    BOTH("FBIF_TRANSCFG(0)", FBIF),
    BOTH("FBIF_TRANSCFG(4)", FBIF + 16),
    BOTH("FBIF_CTL", FBIF_CTL),
    BOTH("FALCON_MOD_SEL", BROM_MOD_SEL),
    BOTH("FALCON_BROM_CURR_UCODE_ID", BROM_UCODE_ID),
    BOTH("FALCON_BROM_ENGIDMASK", BROM_ENGIDMASK),
    BOTH("FALCON_BROM_PARAADDR(0)", BROM_PARAADDR),
    BOTH("RISCV_CORE_SWITCH_RISCV_STATUS", CORE_SWITCH),
    BOTH("RISCV_CPUCTL", RISCV_CPUCTL),
    BOTH("RISCV_BCR_CTRL", BCR_CTRL),
    {GSP_BASE + QUEUE_HEAD, "NV_PGSP_QUEUE_HEAD(0)"},
    {GSP_BASE + QUEUE_HEAD + 8, "NV_PGSP_QUEUE_HEAD(1)"},
    {0, NULL},
};

int falcon_init(struct model *m)
{
    m->falcons = calloc(1, sizeof(*m->falcons));
    if (m->falcons == NULL)
        return -ENOMEM;
    bool has_brom = m->chip->family != TURING;
    struct falcon *gsp = &m->falcons->gsp, *sec2 = &m->falcons->sec2;
    gsp->m = sec2->m = m;
    gsp->name = "GSP";
    sec2->name = "SEC2";
    gsp->is_gsp = true;
    gsp->has_brom = sec2->has_brom = has_brom;
    gsp->base = GSP_BASE;
    sec2->base = SEC2_BASE;
    falcon_reset_all(m);
    block_add(m, &(struct block){"GSP", GSP_BASE, 0x2000, falcon_read, falcon_write, names});
    block_add(m, &(struct block){"SEC2", SEC2_BASE, 0x2000, falcon_read, falcon_write, names});
    return 0;
}

/* After power-on the VBIOS's own programs have run on the falcons: they are halted, and full of what those left. */
void falcon_reset_all(struct model *m)
{
    timer_cancel(m, rm_start, NULL);
    falcon_clear(&m->falcons->gsp);
    falcon_clear(&m->falcons->sec2);
}
