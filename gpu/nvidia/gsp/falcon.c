/*
 * gpu/nvidia/gsp/falcon.c: resets falcons and runs signed code on them.
 *
 * Order of the steps, register by register, from open-gpu-kernel-modules 570.144: kernel_falcon_tu102.c,
 * kernel_falcon_ga102.c (reset, core select), kernel_gsp_falcon_tu102.c, kernel_gsp_falcon_ga102.c (load and run),
 * kernel_gsp_gh100.c (reset from Hopper on), kernel_gsp_ga100.c (fuses). Times: nova-core's (falcon.rs, falcon/hal/), made
 * longer where waiting longer costs nothing.
 */
#include "gpu/nvidia/gsp/falcon.h"
#include "gpu/nvidia/gsp/regs/falcon.h"
#include "gpu/nvidia/gsp/regs/fuse.h"
#include "gpu/nvidia/gsp/regs/pmc.h"

#define RESET_READY_NS    (150 * NS_PER_US) /* may never come: not an error */
#define RESET_STATUS_NS   (1 * NS_PER_S)    /* open-gpu-kernel-modules: 10 us */
#define SCRUB_NS          (2 * NS_PER_S)    /* nova-core: 20 ms */
#define CORE_SELECT_NS    (1 * NS_PER_S)    /* nova-core: 10 ms */
#define DMA_NS            (2 * NS_PER_S)
#define HALT_NS           (4 * NS_PER_S) /* nova-core: 2 s */
#define RESET_DELAY_READS 10             /* register reads until a reset has reached the engine */

#define BLOCK_BYTES       256u /* IMEM is tagged, and DMA moves, in blocks of this */
#define DMA_BITS          47   /* of an address before Hopper */
#define LOADS_PER_YIELD   256u

const struct falcon falcon_gsp = {
    .name = "GSP falcon",
    .base = NV_PGSP_BASE,
    .base2 = NV_FALCON2_GSP_BASE,
    .fbif = NV_PGSP_FBIF_BASE,
};
const struct falcon falcon_sec2 = {
    .name = "SEC2 falcon",
    .base = NV_PSEC_BASE,
    .base2 = NV_FALCON2_SEC_BASE,
    .fbif = NV_PSEC_FBIF_BASE,
};

static bool is_old(const struct hw *hw)
{
    return hw->chip->falcon == HW_FALCON_TU102;
}

/* ---- reset ---- */

static void reset_delay(struct hw *hw, uint32_t engine)
{
    for (unsigned i = 0; i < RESET_DELAY_READS; i++)
        hw_read32(hw, engine);
}

/* The engine's reset line down and up. */
static int reset_engine(struct hw *hw, const struct falcon *falcon)
{
    uint32_t engine = falcon->base + NV_PFALCON_FALCON_ENGINE;
    bool has_status = hw->chip->boot == HW_BOOT_FSP;
    hw_update32(hw, engine, NV_PFALCON_FALCON_ENGINE_RESET, NV_PFALCON_FALCON_ENGINE_RESET);
    int error = 0;
    if (has_status)
        error = hw_wait32(hw, engine, NV_PFALCON_FALCON_ENGINE_RESET_STATUS,
                          (uint32_t)field_put(NV_PFALCON_FALCON_ENGINE_RESET_STATUS,
                                              NV_PFALCON_FALCON_ENGINE_RESET_STATUS_ASSERTED),
                          RESET_STATUS_NS, "falcon: reset asserted");
    else
        reset_delay(hw, engine);
    hw_update32(hw, engine, NV_PFALCON_FALCON_ENGINE_RESET, 0);
    if (has_status && error == 0)
        error = hw_wait32(hw, engine, NV_PFALCON_FALCON_ENGINE_RESET_STATUS,
                          (uint32_t)field_put(NV_PFALCON_FALCON_ENGINE_RESET_STATUS,
                                              NV_PFALCON_FALCON_ENGINE_RESET_STATUS_DEASSERTED),
                          RESET_STATUS_NS, "falcon: reset released");
    else
        reset_delay(hw, engine);
    return error;
}

/* GA102 to Ada say when a reset may come, but not always (NVIDIA's bug 3419321), so the wait may end without. */
static void wait_reset_ready(struct hw *hw, const struct falcon *falcon)
{
    uint64_t deadline_ns = time_ns() + RESET_READY_NS;
    while (!(hw_read32(hw, falcon->base + NV_PFALCON_FALCON_HWCFG2) &
             NV_PFALCON_FALCON_HWCFG2_RESET_READY) &&
           time_ns() < deadline_ns)
        task_yield();
}

static int wait_scrubbed(struct hw *hw, const struct falcon *falcon)
{
    if (is_old(hw))
        return hw_wait32(hw, falcon->base + NV_PFALCON_FALCON_DMACTL,
                         NV_PFALCON_FALCON_DMACTL_DMEM_SCRUBBING |
                             NV_PFALCON_FALCON_DMACTL_IMEM_SCRUBBING,
                         0, SCRUB_NS, "falcon: memories scrubbed after reset");
    return hw_wait32(hw, falcon->base + NV_PFALCON_FALCON_HWCFG2,
                     NV_PFALCON_FALCON_HWCFG2_MEM_SCRUBBING, 0, SCRUB_NS,
                     "falcon: memories scrubbed after reset");
}

static int reset_and_scrub(struct hw *hw, const struct falcon *falcon)
{
    if (hw_is_gone(hw))
        return hw_fail(hw, -ENODEV, "%s: reset", falcon->name);
    if (!is_old(hw) && hw->chip->boot == HW_BOOT_SEC2)
        wait_reset_ready(hw, falcon);
    int error = reset_engine(hw, falcon);
    return error ? error : wait_scrubbed(hw, falcon);
}

/* TU102 to GA100 have no core select: after a reset the falcon runs. */
static int select_falcon_core(struct hw *hw, const struct falcon *falcon)
{
    uint32_t control = falcon->base2 + NV_PRISCV_RISCV_BCR_CTRL;
    if (is_old(hw) ||
        !(hw_read32(hw, falcon->base + NV_PFALCON_FALCON_HWCFG2) & NV_PFALCON_FALCON_HWCFG2_RISCV))
        return 0;
    if (!(hw_read32(hw, control) & NV_PRISCV_RISCV_BCR_CTRL_CORE_SELECT))
        return 0;
    hw_write32(hw, control, 0);
    return hw_wait32(hw, control, NV_PRISCV_RISCV_BCR_CTRL_VALID, NV_PRISCV_RISCV_BCR_CTRL_VALID,
                     CORE_SELECT_NS, "falcon: switch from RISC-V to falcon");
}

int falcon_reset(struct hw *hw, const struct falcon *falcon)
{
    int error = reset_and_scrub(hw, falcon);
    if (!error)
        error = select_falcon_core(hw, falcon);
    if (!error)
        error = wait_scrubbed(hw, falcon);
    if (!error)
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_RM, hw->boot_0);
    return error;
}

int falcon_reset_riscv(struct hw *hw, const struct falcon *falcon)
{
    if (is_old(hw))
        return falcon_reset(hw, falcon);
    int error = reset_and_scrub(hw, falcon);
    if (!error) /* VALID is the hardware's to set */
        hw_write32(hw, falcon->base2 + NV_PRISCV_RISCV_BCR_CTRL,
                   NV_PRISCV_RISCV_BCR_CTRL_CORE_SELECT | NV_PRISCV_RISCV_BCR_CTRL_BRFETCH);
    return error;
}

/* ---- memories through the ports ---- */

/* Addresses of 16 bits are all that the older chips have; more than IMEM or DMEM of any chip. */
static int check_port(struct hw *hw, const struct falcon *falcon, const char *memory,
                      uint32_t address, uint32_t size_bytes, uint32_t align)
{
    if (address % align == 0 && size_bytes % 4 == 0 && address <= 0x10000 &&
        size_bytes <= 0x10000 - address)
        return 0;
    return hw_fail(hw, -EINVAL, "%s: %#x bytes do not fit at %#x of %s", falcon->name, size_bytes,
                   address, memory);
}

static uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

int falcon_imem_write(struct hw *hw, const struct falcon *falcon, uint32_t address, uint32_t tag,
                      bool is_secure, const uint8_t *bytes, uint32_t size_bytes)
{
    int error = check_port(hw, falcon, "IMEM", address, size_bytes, BLOCK_BYTES);
    if (!error && (tag % BLOCK_BYTES != 0 || (tag >> 8) + size_bytes / BLOCK_BYTES > UINT16_MAX))
        error =
            hw_fail(hw, -EINVAL, "%s: IMEM tag %#x for %#x bytes", falcon->name, tag, size_bytes);
    if (error)
        return error;
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_IMEMC0,
               (address & (uint32_t)(NV_PFALCON_FALCON_IMEMC_OFFS | NV_PFALCON_FALCON_IMEMC_BLK)) |
                   NV_PFALCON_FALCON_IMEMC_AINCW |
                   (is_secure ? NV_PFALCON_FALCON_IMEMC_SECURE : 0));
    for (uint32_t at = 0; at < size_bytes; at += 4) {
        if (at % BLOCK_BYTES == 0)
            hw_write32(hw, falcon->base + NV_PFALCON_FALCON_IMEMT0, (tag + at) >> 8);
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_IMEMD0, word_at(bytes + at));
        if (at / 4 % LOADS_PER_YIELD == LOADS_PER_YIELD - 1)
            task_yield();
    }
    return 0;
}

int falcon_dmem_write(struct hw *hw, const struct falcon *falcon, uint32_t address,
                      const uint8_t *bytes, uint32_t size_bytes)
{
    int error = check_port(hw, falcon, "DMEM", address, size_bytes, 4);
    if (error)
        return error;
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMEMC0,
               (address & (uint32_t)(NV_PFALCON_FALCON_DMEMC_OFFS | NV_PFALCON_FALCON_DMEMC_BLK)) |
                   NV_PFALCON_FALCON_DMEMC_AINCW);
    for (uint32_t at = 0; at < size_bytes; at += 4) {
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMEMD0, word_at(bytes + at));
        if (at / 4 % LOADS_PER_YIELD == LOADS_PER_YIELD - 1)
            task_yield();
    }
    return 0;
}

/* ---- memories by DMA ---- */

static int dma_wait_idle(struct hw *hw, const struct falcon *falcon, const char *what)
{
    return hw_wait32(hw, falcon->base + NV_PFALCON_FALCON_DMATRFCMD,
                     NV_PFALCON_FALCON_DMATRFCMD_FULL | NV_PFALCON_FALCON_DMATRFCMD_IDLE,
                     NV_PFALCON_FALCON_DMATRFCMD_IDLE, DMA_NS, what);
}

/* Load a section, in whole blocks. The unit adds `from` to the base, and IMEM takes it as the block's tag. */
static int dma_load(struct hw *hw, const struct falcon *falcon, uint64_t base_dma, uint32_t from,
                    uint32_t to, uint32_t size_bytes, bool is_imem)
{
    const char *what = is_imem ? "falcon: DMA of code" : "falcon: DMA of data";
    uint32_t command = (uint32_t)field_put(NV_PFALCON_FALCON_DMATRFCMD_SIZE,
                                           NV_PFALCON_FALCON_DMATRFCMD_SIZE_256B);
    if (is_imem)
        command |= NV_PFALCON_FALCON_DMATRFCMD_IMEM |
                   (uint32_t)field_put(NV_PFALCON_FALCON_DMATRFCMD_SEC, 1);
    /* One request at a time: a full queue would take the registers of one for another's. */
    int error = dma_wait_idle(hw, falcon, what);
    if (error)
        return error;
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMATRFBASE, (uint32_t)(base_dma >> 8));
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMATRFBASE1,
               (uint32_t)field_put(NV_PFALCON_FALCON_DMATRFBASE1_BASE, base_dma >> 40));
    for (uint32_t at = 0; at < size_bytes; at += BLOCK_BYTES) {
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMATRFMOFFS, to + at);
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMATRFFBOFFS, from + at);
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMATRFCMD, command);
        error = dma_wait_idle(hw, falcon, what);
        if (error)
            return error;
    }
    return 0;
}

/* ---- images ---- */

/* Whether the section lies in the image when it is rounded up to `align`, with everything at its alignment. */
static bool section_fits(const struct falcon_image *image, const struct falcon_section *section,
                         uint32_t align)
{
    uint64_t size_bytes = align_up(section->size_bytes, align);
    return section->offset <= image->size_bytes &&
           size_bytes <= image->size_bytes - section->offset && section->size_bytes <= 0x100000 &&
           section->address <= 0x100000 && section->tag <= 0x1000000;
}

static int bad_image(struct hw *hw, const struct falcon *falcon, const char *what,
                     const struct falcon_section *s, const struct falcon_image *image)
{
    return hw_fail(hw, -EINVAL,
                   "%s: %s of the image cannot be loaded: offset %#x, %#x bytes, to %#x, tag %#x, "
                   "image of %#x bytes",
                   falcon->name, what, s->offset, s->size_bytes, s->address, s->tag,
                   image->size_bytes);
}

static int load_by_ports(struct hw *hw, const struct falcon *falcon,
                         const struct falcon_image *image)
{
    const struct falcon_section *plain = &image->imem_nonsecure, *code = &image->imem,
                                *data = &image->dmem;
    if (!section_fits(image, plain, 4))
        return bad_image(hw, falcon, "non-secure code", plain, image);
    if (!section_fits(image, code, 4))
        return bad_image(hw, falcon, "code", code, image);
    if (!section_fits(image, data, 4))
        return bad_image(hw, falcon, "data", data, image);
    int error =
        falcon_imem_write(hw, falcon, plain->address, plain->tag, false,
                          image->bytes + plain->offset, (uint32_t)align_up(plain->size_bytes, 4));
    if (!error)
        error =
            falcon_imem_write(hw, falcon, code->address, code->tag, true,
                              image->bytes + code->offset, (uint32_t)align_up(code->size_bytes, 4));
    if (!error)
        error = falcon_dmem_write(hw, falcon, data->address, image->bytes + data->offset,
                                  (uint32_t)align_up(data->size_bytes, 4));
    return error;
}

static int load_by_dma(struct hw *hw, const struct falcon *falcon, const struct falcon_image *image)
{
    const struct falcon_section *code = &image->imem, *data = &image->dmem;
    uint64_t image_dma = dma_addr(image->bytes);
    if (!section_fits(image, code, BLOCK_BYTES) || (code->offset - code->tag) % BLOCK_BYTES != 0 ||
        code->address % BLOCK_BYTES != 0 || code->tag % BLOCK_BYTES != 0 ||
        image_dma + code->offset < code->tag)
        return bad_image(hw, falcon, "code", code, image);
    if (!section_fits(image, data, BLOCK_BYTES) || data->offset % BLOCK_BYTES != 0 ||
        data->address % BLOCK_BYTES != 0)
        return bad_image(hw, falcon, "data", data, image);
    if (image_dma % BLOCK_BYTES != 0 || (image_dma + image->size_bytes) >> DMA_BITS != 0)
        return hw_fail(hw, -EINVAL, "%s: image at bus address %#llx is out of its reach",
                       falcon->name, (unsigned long long)image_dma);

    hw_update32(hw, falcon->fbif + NV_PFALCON_FBIF_TRANSCFG(0),
                NV_PFALCON_FBIF_TRANSCFG_TARGET | NV_PFALCON_FBIF_TRANSCFG_MEM_TYPE,
                NV_PFALCON_FBIF_TRANSCFG_TARGET_COHERENT_SYSMEM |
                    NV_PFALCON_FBIF_TRANSCFG_MEM_TYPE);
    dma_wmb(); /* the image is in memory before the falcon is told to fetch it */
    int error = dma_load(hw, falcon, image_dma + code->offset - code->tag, code->tag, code->address,
                         code->size_bytes, true);
    if (!error)
        error = dma_load(hw, falcon, image_dma + data->offset, 0, data->address, data->size_bytes,
                         false);
    if (error)
        return error;

    hw_write32(hw, falcon->base2 + NV_PFALCON2_FALCON_BROM_PARAADDR0, image->signature_dmem);
    hw_write32(hw, falcon->base2 + NV_PFALCON2_FALCON_BROM_ENGIDMASK, image->engine_id_mask);
    hw_write32(hw, falcon->base2 + NV_PFALCON2_FALCON_BROM_CURR_UCODE_ID, image->ucode_id);
    hw_write32(hw, falcon->base2 + NV_PFALCON2_FALCON_MOD_SEL,
               NV_PFALCON2_FALCON_MOD_SEL_ALGO_RSA3K);
    return 0;
}

/* ---- running ---- */

void falcon_disable_context(struct hw *hw, const struct falcon *falcon)
{
    hw_update32(hw, falcon->fbif + NV_PFALCON_FBIF_CTL, NV_PFALCON_FBIF_CTL_ALLOW_PHYS_NO_CTX,
                NV_PFALCON_FBIF_CTL_ALLOW_PHYS_NO_CTX);
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_DMACTL, 0);
}

void falcon_start(struct hw *hw, const struct falcon *falcon)
{
    uint32_t control = hw_read32(hw, falcon->base + NV_PFALCON_FALCON_CPUCTL);
    if (control & NV_PFALCON_FALCON_CPUCTL_ALIAS_EN)
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_CPUCTL_ALIAS,
                   NV_PFALCON_FALCON_CPUCTL_ALIAS_STARTCPU);
    else
        hw_write32(hw, falcon->base + NV_PFALCON_FALCON_CPUCTL, NV_PFALCON_FALCON_CPUCTL_STARTCPU);
}

int falcon_wait_halted(struct hw *hw, const struct falcon *falcon, uint64_t timeout_ns)
{
    return hw_wait32(hw, falcon->base + NV_PFALCON_FALCON_CPUCTL, NV_PFALCON_FALCON_CPUCTL_HALTED,
                     NV_PFALCON_FALCON_CPUCTL_HALTED, timeout_ns,
                     falcon == &falcon_sec2 ? "SEC2 falcon: halt" : "GSP falcon: halt");
}

void falcon_mailbox_write(struct hw *hw, const struct falcon *falcon, const uint32_t mailbox[2])
{
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_MAILBOX0, mailbox[0]);
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_MAILBOX1, mailbox[1]);
}

void falcon_mailbox_read(struct hw *hw, const struct falcon *falcon, uint32_t mailbox[2])
{
    mailbox[0] = hw_read32(hw, falcon->base + NV_PFALCON_FALCON_MAILBOX0);
    mailbox[1] = hw_read32(hw, falcon->base + NV_PFALCON_FALCON_MAILBOX1);
}

int falcon_run(struct hw *hw, const struct falcon *falcon, uint32_t boot_vector,
               uint32_t mailbox[2])
{
    hw_write32(hw, falcon->base + NV_PFALCON_FALCON_BOOTVEC, boot_vector);
    if (mailbox)
        falcon_mailbox_write(hw, falcon, mailbox);
    dma_wmb(); /* what the mailboxes point at is in memory before the code runs */
    falcon_start(hw, falcon);
    int error = falcon_wait_halted(hw, falcon, HALT_NS);
    if (mailbox)
        falcon_mailbox_read(hw, falcon, mailbox);
    return error;
}

int falcon_run_hs(struct hw *hw, const struct falcon *falcon, const struct falcon_image *image,
                  uint32_t mailbox[2])
{
    falcon_disable_context(hw, falcon);
    int error = is_old(hw) ? load_by_ports(hw, falcon, image) : load_by_dma(hw, falcon, image);
    return error ? error : falcon_run(hw, falcon, image->boot_vector, mailbox);
}

/* Where the core says that it runs. */
static uint32_t riscv_active(struct hw *hw, const struct falcon *falcon, uint32_t *mask)
{
    *mask = is_old(hw) ? NV_PRISCV_RISCV_CORE_SWITCH_RISCV_STATUS_ACTIVE_STAT
                       : NV_PRISCV_RISCV_CPUCTL_ACTIVE_STAT;
    return falcon->base2 +
           (is_old(hw) ? NV_PRISCV_RISCV_CORE_SWITCH_RISCV_STATUS : NV_PRISCV_RISCV_CPUCTL);
}

bool falcon_is_riscv_active(struct hw *hw, const struct falcon *falcon)
{
    uint32_t mask, reg = riscv_active(hw, falcon, &mask);
    return hw_read32(hw, reg) & mask;
}

int falcon_wait_riscv_active(struct hw *hw, const struct falcon *falcon, uint64_t timeout_ns,
                             const char *what)
{
    uint32_t mask, reg = riscv_active(hw, falcon, &mask);
    return hw_wait32(hw, reg, mask, mask, timeout_ns, what);
}

int falcon_fuse_version(struct hw *hw, uint16_t engine_id_mask, uint8_t ucode_id, unsigned *version)
{
    uint32_t reg;
    if (engine_id_mask & NV_PFALCON2_FALCON_BROM_ENGIDMASK_SEC2)
        reg = NV_FUSE_OPT_FPF_SEC2_UCODE1_VERSION;
    else if (engine_id_mask & NV_PFALCON2_FALCON_BROM_ENGIDMASK_NVDEC)
        reg = NV_FUSE_OPT_FPF_NVDEC_UCODE1_VERSION;
    else if (engine_id_mask & NV_PFALCON2_FALCON_BROM_ENGIDMASK_GSP)
        reg = NV_FUSE_OPT_FPF_GSP_UCODE1_VERSION;
    else
        return hw_fail(hw, -EINVAL, "signature: no fuses are known for engine mask %#x",
                       engine_id_mask);
    if (ucode_id == 0 || ucode_id > NV_FUSE_OPT_FPF_UCODE_COUNT)
        return hw_fail(hw, -EINVAL, "signature: no fuse is known for ucode id %u", ucode_id);
    reg += 4u * (ucode_id - 1u);
    uint32_t value = hw_read32(hw, reg);
    if (value == UINT32_MAX || value >> 16 == 0xbadf) /* what a locked register reads as */
        return hw_fail(hw, -EIO, "signature: fuse register %#x cannot be read (%#x)", reg, value);
    value &= (uint32_t)NV_FUSE_OPT_FPF_UCODE_VERSION_DATA;
    *version = value == 0 ? 0 : 32 - (unsigned)__builtin_clz(value);
    return 0;
}
