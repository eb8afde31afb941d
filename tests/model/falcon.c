/*
 * tests/model/falcon.c: the falcons of GSP and SEC2: their registers, reset and scrubbing, start. falcon_load.c fills their memories,
 * gsp_core.c is the RISC-V core beside the GSP's falcon.
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
    if (!falcon_memory_is_ready(f, "started"))
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
        return falcon_dma_status(f);
    case IMEMD0:
        return falcon_port_read(f, true);
    case DMEMD0:
        return falcon_port_read(f, false);
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
        falcon_dma_start(f, value);
        break;
    case IMEMC0:
        f->imem_port.address = value & (m->chip->family == TURING ? 0xfffcu : 0xfffffcu);
        f->imem_port.increments_write = (value & 1u << 24) != 0;
        f->imem_port.increments_read = (value & 1u << 25) != 0;
        f->imem_port.is_secure = (value & 1u << 28) != 0;
        break;
    case IMEMD0:
        falcon_imem_write(f, value);
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
        falcon_dmem_write(f, value);
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
    BOTH("RISCV_IRQMASK", RISCV_IRQMASK),
    BOTH("RISCV_IRQDEST", RISCV_IRQDEST),
    BOTH("RISCV_IRQMASK", 0x12b4u),
    BOTH("RISCV_IRQDEST", 0x12b8u),
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
    gsp_core_reset(m);
    falcon_clear(&m->falcons->gsp);
    falcon_clear(&m->falcons->sec2);
}
