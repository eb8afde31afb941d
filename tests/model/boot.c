/*
 * tests/model/boot.c: what there is before any firmware of ours runs: PMC, timers, fuses, scratch registers, the ROM window.
 *
 * The chip's own firmware ("GFW") starts at power-on and takes a while; until it is done, little else may be touched. The
 * PROM window is memory that QEMU maps, so that reading the ROM costs nothing.
 *
 * Registers: OGKM src/common/inc/swref/published: nv_ref.h (PMC), turing/tu102/dev_bus.h (PBUS scratch), dev_timer.h and
 * nova-core (PTIMER), dev_fuse.h of tu102, ga100, gh100, dev_gc6_island.h and addenda of tu102, ga102, ad102, gh100,
 * dev_therm.h of gh100 and gb202; NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE and NV_PDISP_VGA_WORKSPACE_BASE: nova-core regs.rs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/model/parts.h"

#define PROM         0x300000u
#define PROM_BYTES   0x100000u
#define SCRATCHES    64u

#define GROUP_05_PLM 0x118128u
#define GROUP_03_0   0x118214u
#define GROUP_05_0   0x118234u
#define GROUP_20     0x1182ccu
#define GROUP_42     0x1183a4u
#define SCRATCH_14   0x1180f8u
#define SCRATCH_15   0x1180fcu

#define GFW_NS       UINT64_C(50000000) /* what is left of the chip's own start when the guest looks */

struct boot {
    int prom_fd;
    uint8_t *prom, *spare; /* the window, and the ROM as it was built */
    struct vbios vbios;
    uint32_t scratch[SCRATCHES];
    uint64_t power_on_ns, gfw_ready_ns;
    bool is_gfw_hung, is_handed_off;
};

const struct vbios *boot_vbios(const struct model *m)
{
    return &m->boot->vbios;
}

int boot_prom_fd(const struct model *m, uint64_t *offset, uint64_t *bytes)
{
    *offset = PROM;
    *bytes = PROM_BYTES;
    return m->boot->prom_fd;
}

void boot_scratch_set(struct model *m, unsigned index, uint32_t value)
{
    m->boot->scratch[index] = value;
}

uint32_t boot_scratch_get(const struct model *m, unsigned index)
{
    return m->boot->scratch[index];
}

void boot_handoff_set(struct model *m, bool done)
{
    m->boot->is_handed_off = done;
}

uint32_t fuse_value(unsigned version)
{
    /* Bit v - 1 is the highest that is blown (kgspReadUcodeFuseVersion_GA100). */
    return (UINT32_C(1) << version) - 1;
}

static bool gfw_is_ready(const struct model *m)
{
    return !m->boot->is_gfw_hung && now_ns() >= m->boot->gfw_ready_ns;
}

/* ---- PMC, PBUS, PTIMER ----------------------------------------------------------------------------------------- */

static uint32_t pmc_read(struct model *m, uint32_t reg)
{
    enum fault_mode mode;
    switch (reg) {
    case 0x000:
        return m->chip->boot_0;
    case 0x004:
        return 0; /* not virtual */
    case 0x200:
        return 0x40000120;
    case 0x600:
        return 0xffffffff;
    case 0xa00:
        if (fault(m, "pmc.boot", &mode))
            return mode == FAULT_GARBAGE ? 0x3ff00000 : PRI_ERROR;
        return m->chip->boot_42;
    default:
        return PRI_ERROR;
    }
}

static uint32_t pbus_read(struct model *m, uint32_t reg)
{
    return m->boot->scratch[(reg - 0x1400) / 4];
}

static void pbus_write(struct model *m, uint32_t reg, uint32_t value)
{
    m->boot->scratch[(reg - 0x1400) / 4] = value;
}

static uint64_t gpu_time_ns(struct model *m)
{
    /* Not the host's clock; runs in steps of 32 ns. */
    return (now_ns() - m->boot->power_on_ns + UINT64_C(0x0123456789000000)) & ~UINT64_C(31);
}

static uint32_t ptimer_read(struct model *m, uint32_t reg)
{
    uint64_t time = gpu_time_ns(m);
    switch (reg) {
    case 0x9400:
        return (uint32_t)time;
    case 0x9410:
        return (uint32_t)(time >> 32) & 0x1fffffff;
    default:
        return PRI_ERROR;
    }
}

static void nothing_write(struct model *m, uint32_t reg, uint32_t value)
{
    refuse(m, "write of %#x to register %#x, which the chip's firmware guards", value, reg);
}

/* ---- fuses ----------------------------------------------------------------------------------------------------- */

static uint32_t fuse_read(struct model *m, uint32_t reg)
{
    bool is_turing = m->chip->family == TURING;
    /* Production boards: GSP debugging is off. */
    if (reg == (is_turing ? 0x2174cu : 0x82074cu))
        return 1;
    if (!is_turing && reg == 0x820c04)
        return m->chip->is_3d_controller; /* display disabled */
    if (is_turing && reg == 0x21c04)
        return 0;
    if (!is_turing && reg >= 0x8241c0 && reg < 0x824200)
        return (reg - 0x8241c0) / 4 + 1 == m->boot->vbios.ucode_id ? fuse_value(m->chip->fwsec_fuse)
                                                                   : 0;
    if (!is_turing && reg >= 0x824140 && reg < 0x824180)
        return (reg - 0x824140) / 4 + 1 == 3 ? fuse_value(m->chip->booter_fuse)
                                             : 0; /* booter's ucode id is 3 */
    return is_turing && reg >= 0x800000 ? PRI_ERROR : 0;
}

/* ---- the always-on island -------------------------------------------------------------------------------------- */

static uint32_t pgc6_read(struct model *m, uint32_t reg)
{
    struct boot *boot = m->boot;
    bool is_fsp = m->chip->family >= HOPPER;
    enum fault_mode mode;
    switch (reg) {
    case GROUP_05_PLM:
        return gfw_is_ready(m) ? 0xffffffff : 0xfffffff0;
    case GROUP_05_0:
        if (is_fsp)
            return PRI_ERROR;
        return gfw_is_ready(m) ? 0x3ff : 0x12;
    case GROUP_03_0:
        return 0x100;
    case GROUP_20:
        return 0; /* no confidential computing */
    case GROUP_42:
        if (m->chip->family == TURING)
            return PRI_ERROR;
        if (!gfw_is_ready(m)) {
            refuse(m, "the size of VRAM is read before the chip's own firmware is done");
            return 0;
        }
        if (fault(m, "fb.size", &mode))
            return mode == FAULT_GARBAGE ? 0xbadf5040 : 0;
        return (uint32_t)(m->vram_bytes >> 20);
    case SCRATCH_14:
        return boot->is_handed_off ? 1u << 26 : 0;
    case SCRATCH_15:
        return m->chip->family == ADA ? 3u << 29 : PRI_ERROR; /* memory is scrubbed */
    default:
        return PRI_ERROR;
    }
}

static uint32_t therm_read(struct model *m, uint32_t reg)
{
    uint32_t scratch = m->chip->family == BLACKWELL ? 0xad00bcu : 0x200bcu;
    if (reg != scratch || m->chip->family < HOPPER)
        return PRI_ERROR;
    return gfw_is_ready(m) ? 0xff : 0;
}

/* ---- VRAM size on Turing, and what the VBIOS keeps of it -------------------------------------------------------- */

static uint32_t pfb_size_read(struct model *m, uint32_t reg)
{
    enum fault_mode mode;
    if (m->chip->family >= HOPPER)
        return PRI_ERROR;
    if (fault(m, "fb.size", &mode))
        return mode == FAULT_GARBAGE ? 0xbadf5040 : 0;
    /* Size = magnitude << scale MiB: magnitude in bits 9:4, scale in 3:0. */
    uint32_t magnitude = (uint32_t)(m->vram_bytes >> 20), scale = 0;
    while (magnitude > 63) {
        magnitude >>= 1;
        scale++;
    }
    return magnitude << 4 | scale;
}

uint64_t fb_vga_workspace(const struct model *m)
{
    /* 1 MiB at the end where there is no display (the size of NV_PRAMIN), else what the VBIOS took for VGA. */
    return m->vram_bytes - (m->chip->is_3d_controller ? 0x100000 : 0x80000);
}

static uint32_t pdisp_read(struct model *m, uint32_t reg)
{
    if (m->chip->is_3d_controller || reg != 0x625f04)
        return PRI_ERROR;
    return (uint32_t)(fb_vga_workspace(m) >> 16) << 8 | 1u << 3;
}

static uint32_t prom_read(struct model *m, uint32_t reg)
{
    uint32_t value;
    memcpy(&value, m->boot->prom + (reg - PROM), 4);
    return value;
}

/* NV_PCFG: the GPU's own configuration space. NV_XVE_CYA_2: MSI messages may be sent again (kbifRearmMSI_GM107). */
#define XVE_CYA_2 0x704u

static uint32_t mirror_read(struct model *m, uint32_t reg)
{
    return pci_config_dword(m, reg & 0xfff);
}

static void mirror_write(struct model *m, uint32_t reg, uint32_t value)
{
    if ((reg & 0xfff) == XVE_CYA_2 && m->chip->family <= ADA)
        vf_msi_rearm(m);
    else
        refuse(m, "write of %#x to the configuration space's mirror at %#x", value, reg & 0xfff);
}

/* ---- set-up ---------------------------------------------------------------------------------------------------- */

void boot_reset(struct model *m)
{
    struct boot *boot = m->boot;
    memset(boot->scratch, 0, sizeof(boot->scratch));
    boot->is_handed_off = false;
    boot->gfw_ready_ns = now_ns() + GFW_NS;
    boot->is_gfw_hung = false;
    enum fault_mode mode;
    if (fault(m, "gfw.boot", &mode)) {
        boot->is_gfw_hung = mode == FAULT_HANG;
        boot->gfw_ready_ns += mode == FAULT_LATE ? 3 * late_ns() : 0;
    }
    memcpy(boot->prom, boot->spare, PROM_BYTES);
    if (fault(m, "vbios.rom", &mode)) {
        /* A ROM that does not answer, one whose images are damaged, one with a descriptor that points past its end. */
        if (mode == FAULT_FAIL)
            memset(boot->prom, 0xff, PROM_BYTES);
        else
            for (uint32_t i = 0x1b0; i < boot->vbios.rom_bytes; i += 61)
                boot->prom[i] ^= 0x5a;
    }
}

static const struct register_name names[] = {
    {0x000000, "NV_PMC_BOOT_0"},
    {0x000004, "NV_PMC_BOOT_1"},
    {0x000200, "NV_PMC_ENABLE"},
    {0x000600, "NV_PMC_DEVICE_ENABLE(0)"},
    {0x000a00, "NV_PMC_BOOT_42"},
    {0x001438, "NV_PBUS_VBIOS_SCRATCH(0x0e)"},
    {0x001454, "NV_PBUS_VBIOS_SCRATCH(0x15)"},
    {0x009400, "NV_PTIMER_TIME_0"},
    {0x009410, "NV_PTIMER_TIME_1"},
    {0x0200bc, "NV_THERM_I2CS_SCRATCH"},
    {0xad00bc, "NV_THERM_I2CS_SCRATCH"},
    {0x02174c, "NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS"},
    {0x82074c, "NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS"},
    {0x824148, "NV_FUSE_OPT_FPF_SEC2_UCODE3_VERSION"},
    {0x8241e0, "NV_FUSE_OPT_FPF_GSP_UCODE9_VERSION"},
    {0x100ce0, "NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE"},
    {SCRATCH_14, "NV_PGC6_BSI_SECURE_SCRATCH_14"},
    {SCRATCH_15, "NV_PGC6_BSI_SECURE_SCRATCH_15"},
    {GROUP_05_PLM, "NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK"},
    {GROUP_05_0, "NV_PGC6_AON_SECURE_SCRATCH_GROUP_05(0)"},
    {GROUP_20, "NV_PGC6_AON_SECURE_SCRATCH_GROUP_20"},
    {GROUP_42, "NV_PGC6_AON_SECURE_SCRATCH_GROUP_42"},
    {0x625f04, "NV_PDISP_VGA_WORKSPACE_BASE"},
    {0x088000 + XVE_CYA_2, "NV_XVE_CYA_2"},
    {0, NULL},
};

int boot_init(struct model *m)
{
    struct boot *boot = m->boot = calloc(1, sizeof(*m->boot));
    if (boot == NULL)
        return -ENOMEM;
    boot->power_on_ns = now_ns();
    boot->spare = malloc(PROM_BYTES);
    boot->prom_fd = memfd_create("prom", MFD_CLOEXEC);
    if (boot->spare == NULL || boot->prom_fd < 0 ||
        ftruncate(boot->prom_fd, PROM + PROM_BYTES) != 0)
        return -ENOMEM;
    boot->prom = mmap(NULL, PROM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, boot->prom_fd, PROM);
    if (boot->prom == MAP_FAILED)
        return -errno;
    vbios_build(m->chip, boot->spare, &boot->vbios);
    boot_reset(m);
    static const struct block blocks[] = {
        {"PMC", 0x000000, 0x1000, pmc_read, NULL, names},
        {"PBUS", 0x001400, SCRATCHES * 4, pbus_read, pbus_write, names},
        {"PTIMER", 0x009000, 0x1000, ptimer_read, nothing_write, names},
        {"THERM", 0x020000, 0x1000, therm_read, NULL, names},
        {"FUSE", 0x021000, 0x1000, fuse_read, NULL, names},
        {"PFB", 0x100ce0, 4, pfb_size_read, NULL, names},
        {"PGC6", 0x118000, 0x1000, pgc6_read, nothing_write, names},
        {"PROM", PROM, PROM_BYTES, prom_read, NULL, NULL},
        {"PDISP", 0x625f00, 0x100, pdisp_read, NULL, names},
        {"FUSE", 0x820000, 0x6000, fuse_read, NULL, names},
        {"THERM", 0xad0000, 0x1000, therm_read, NULL, names},
    };
    for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        block_add(m, &blocks[i]);
    /* The GPU sees its own configuration space: NV_PCFG (dev_nv_pcfg_xve_regmap.h), moved by Hopper. */
    uint32_t mirror = m->chip->family >= HOPPER ? 0x92000 : 0x88000;
    block_add(m, &(struct block){"PCFG", mirror, 0x1000, mirror_read, mirror_write, names});
    return 0;
}
