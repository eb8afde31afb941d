/*
 * gpu/nvidia/gsp/dump.c: the registers that show where a bring-up stands: which chip, its own boot, fuses, WPR2, the
 * GSP's and SEC2's cores, the FSP's queues, the interrupt tree. Names, offsets and their sources are in regs/.
 */
#include "gpu/nvidia/gsp/dump.h"

#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/regs/bus.h"
#include "gpu/nvidia/gsp/regs/falcon.h"
#include "gpu/nvidia/gsp/regs/fb.h"
#include "gpu/nvidia/gsp/regs/fsp.h"
#include "gpu/nvidia/gsp/regs/fuse.h"
#include "gpu/nvidia/gsp/regs/gc6.h"
#include "gpu/nvidia/gsp/regs/intr.h"
#include "gpu/nvidia/gsp/regs/mmu.h"
#include "gpu/nvidia/gsp/regs/pgsp.h"
#include "gpu/nvidia/gsp/regs/pmc.h"

#define BAR0_BYTES_MIN UINT64_C(0x1000000) /* every chip's BAR0 is 16 MiB or more */

#define GA102_UP       (DUMP_GA102 | DUMP_AD | DUMP_GH | DUMP_GB100 | DUMP_GB202)
#define UP_TO_ADA      (DUMP_TU | DUMP_GA100 | DUMP_GA102 | DUMP_AD)
#define HOPPER_UP      (DUMP_GH | DUMP_GB100 | DUMP_GB202)
#define ALL            (UP_TO_ADA | HOPPER_UP)

#define REGISTER(name) {#name, name, 0, 0}

static const struct dump_register pmc[] = {
    REGISTER(NV_PMC_BOOT_0),
    REGISTER(NV_PMC_BOOT_1),
    REGISTER(NV_PMC_BOOT_42),
};

static const struct dump_register pbus[] = {
    REGISTER(NV_PBUS_VBIOS_SCRATCH_FWSEC_FRTS),
    REGISTER(NV_PBUS_VBIOS_SCRATCH_FWSEC_SB),
};

static const struct dump_register pbus_bar1[] = {
    REGISTER(NV_PBUS_BAR1_BLOCK),
};

static const struct dump_register pfb[] = {
    REGISTER(NV_PFB_PRI_MMU_WPR2_ADDR_LO),
    REGISTER(NV_PFB_PRI_MMU_WPR2_ADDR_HI),
};

static const struct dump_register pfb_range[] = {
    REGISTER(NV_PFB_PRI_MMU_LOCAL_MEMORY_RANGE),
};

static const struct dump_register fuse_turing[] = {
    REGISTER(NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS_TU102),
};

static const struct dump_register fuse[] = {
    REGISTER(NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS),
    {"NV_FUSE_OPT_FPF_NVDEC_UCODE_VERSION", NV_FUSE_OPT_FPF_NVDEC_UCODE1_VERSION,
     NV_FUSE_OPT_FPF_UCODE_COUNT, 4},
    {"NV_FUSE_OPT_FPF_SEC2_UCODE_VERSION", NV_FUSE_OPT_FPF_SEC2_UCODE1_VERSION,
     NV_FUSE_OPT_FPF_UCODE_COUNT, 4},
    {"NV_FUSE_OPT_FPF_GSP_UCODE_VERSION", NV_FUSE_OPT_FPF_GSP_UCODE1_VERSION,
     NV_FUSE_OPT_FPF_UCODE_COUNT, 4},
};

static const struct dump_register gc6[] = {
    REGISTER(NV_PGC6_BSI_SECURE_SCRATCH_14),
    REGISTER(NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK),
    REGISTER(NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT),
};

static const struct dump_register gc6_size[] = {
    REGISTER(NV_USABLE_FB_SIZE_IN_MB),
};

static const struct dump_register therm_gh100[] = {
    REGISTER(NV_THERM_I2CS_SCRATCH_GH100),
};

static const struct dump_register therm_gb202[] = {
    REGISTER(NV_THERM_I2CS_SCRATCH_GB202),
};

/* Not the memory ports: reading those moves them on. */
static const struct dump_register falcon[] = {
    REGISTER(NV_PFALCON_FALCON_IRQSTAT),  REGISTER(NV_PFALCON_FALCON_IRQMASK),
    REGISTER(NV_PFALCON_FALCON_IRQDEST),  REGISTER(NV_PFALCON_FALCON_MAILBOX0),
    REGISTER(NV_PFALCON_FALCON_MAILBOX1), REGISTER(NV_PFALCON_FALCON_OS),
    REGISTER(NV_PFALCON_FALCON_RM),       REGISTER(NV_PFALCON_FALCON_DEBUGINFO),
    REGISTER(NV_PFALCON_FALCON_HWCFG2),   REGISTER(NV_PFALCON_FALCON_CPUCTL),
    REGISTER(NV_PFALCON_FALCON_BOOTVEC),  REGISTER(NV_PFALCON_FALCON_HWCFG),
    REGISTER(NV_PFALCON_FALCON_DMACTL),   REGISTER(NV_PFALCON_FALCON_DMATRFCMD),
    REGISTER(NV_PFALCON_FALCON_ENGINE),
};

static const struct dump_register riscv_turing[] = {
    REGISTER(NV_PRISCV_RISCV_CORE_SWITCH_RISCV_STATUS),
    REGISTER(NV_PRISCV_RISCV_IRQMASK_TU102),
    REGISTER(NV_PRISCV_RISCV_IRQDEST_TU102),
};

static const struct dump_register riscv[] = {
    REGISTER(NV_PFALCON2_FALCON_MOD_SEL),
    REGISTER(NV_PFALCON2_FALCON_BROM_CURR_UCODE_ID),
    REGISTER(NV_PFALCON2_FALCON_BROM_ENGIDMASK),
    REGISTER(NV_PFALCON2_FALCON_BROM_PARAADDR0),
    REGISTER(NV_PRISCV_RISCV_CPUCTL),
    REGISTER(NV_PRISCV_RISCV_IRQMASK),
    REGISTER(NV_PRISCV_RISCV_IRQDEST),
    REGISTER(NV_PRISCV_RISCV_BCR_CTRL),
};

static const struct dump_register gsp_queues[] = {
    {"NV_PGSP_QUEUE_HEAD", NV_PGSP_QUEUE_HEAD(0), NV_PGSP_QUEUE_HEAD__SIZE_1, 8},
};

static const struct dump_register fsp[] = {
    {"NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2", NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_2(0), 4, 4},
    {"NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_3", NV_PFSP_FALCON_COMMON_SCRATCH_GROUP_3(0), 4, 4},
    {"NV_PFSP_QUEUE_HEAD(0)", NV_PFSP_QUEUE_HEAD(0), 0, 0},
    {"NV_PFSP_QUEUE_TAIL(0)", NV_PFSP_QUEUE_TAIL(0), 0, 0},
    {"NV_PFSP_MSGQ_HEAD(0)", NV_PFSP_MSGQ_HEAD(0), 0, 0},
    {"NV_PFSP_MSGQ_TAIL(0)", NV_PFSP_MSGQ_TAIL(0), 0, 0},
};

static const struct dump_register interrupts_turing[] = {
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF", NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF(0),
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_TU102, 4},
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_SET",
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_SET(0),
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_TU102, 4},
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP", NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP(0), 0, 0},
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_SET",
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_SET(0), 0, 0},
};

static const struct dump_register interrupts_hopper[] = {
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF", NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF(0),
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_GH100, 4},
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_SET",
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF_EN_SET(0),
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_LEAF__SIZE_1_GH100, 4},
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP", NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP(0), 0, 0},
    {"NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_SET",
     NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_TOP_EN_SET(0), 0, 0},
};

static const struct dump_register mmu[] = {
    REGISTER(NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_PDB),
    REGISTER(NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_UPPER_PDB),
    REGISTER(NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE),
};

static const struct dump_register mmu_bar1[] = {
    REGISTER(NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_LOW_ADDR),
    REGISTER(NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_HIGH_ADDR),
};

#define LIST(registers) registers, ARRAY_COUNT(registers)
#define FUNCTION        NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET

static const struct dump_block blocks[] = {
    {"pmc", 0x000000, 0x1000, 0, ALL, LIST(pmc)},
    {"pbus", 0x001000, 0x1000, 0, UP_TO_ADA, LIST(pbus)},
    {"pbus", 0x001000, 0x1000, 0, UP_TO_ADA, LIST(pbus_bar1)},
    {"therm", 0x020000, 0x1000, 0, DUMP_GH | DUMP_GB100, LIST(therm_gh100)},
    {"therm", 0xad0000, 0x1000, 0, DUMP_GB202, LIST(therm_gb202)},
    {"fuse", 0x021000, 0x1000, 0, DUMP_TU, LIST(fuse_turing)},
    {"fuse", 0x820000, 0x8000, 0, DUMP_GA100 | GA102_UP, LIST(fuse)},
    {"pfb", 0x100000, 0x100000, 0, ALL, LIST(pfb)},
    {"pfb", 0x100000, 0x100000, 0, DUMP_TU | DUMP_GA100, LIST(pfb_range)},
    {"gc6", 0x118000, 0x2000, 0, UP_TO_ADA, LIST(gc6)},
    {"gc6", 0x118000, 0x2000, 0, GA102_UP, LIST(gc6_size)},
    {"gsp", NV_PGSP_BASE, 0x1000, NV_PGSP_BASE, ALL, LIST(falcon)},
    {"gsp", NV_PGSP_BASE, 0x1000, 0, ALL, LIST(gsp_queues)},
    {"gsp", NV_FALCON2_GSP_BASE, 0x1000, NV_FALCON2_GSP_BASE, DUMP_TU | DUMP_GA100,
     LIST(riscv_turing)},
    {"gsp", NV_FALCON2_GSP_BASE, 0x1000, NV_FALCON2_GSP_BASE, GA102_UP, LIST(riscv)},
    {"sec2", NV_PSEC_BASE, 0x1000, NV_PSEC_BASE, UP_TO_ADA, LIST(falcon)},
    {"sec2", NV_FALCON2_SEC_BASE, 0x1000, NV_FALCON2_SEC_BASE, DUMP_GA102 | DUMP_AD, LIST(riscv)},
    {"fsp", 0x8f0000, 0x4000, 0, HOPPER_UP, LIST(fsp)},
    {"interrupts", FUNCTION, 0x10000, FUNCTION, UP_TO_ADA, LIST(interrupts_turing)},
    {"interrupts", FUNCTION, 0x10000, FUNCTION, HOPPER_UP, LIST(interrupts_hopper)},
    {"mmu", FUNCTION, 0x10000, FUNCTION, ALL, LIST(mmu)},
    {"mmu", FUNCTION, 0x10000, FUNCTION, HOPPER_UP, LIST(mmu_bar1)},
};

const struct dump_block *dump_block_get(unsigned index)
{
    return index < ARRAY_COUNT(blocks) ? &blocks[index] : NULL;
}

/* BOOT_42: architecture in bits 8:4 of the id, implementation below (nv_arch.h). */
unsigned dump_family(uint16_t chip_id)
{
    switch (chip_id >> 4) {
    case 0x16:
        return DUMP_TU;
    case 0x17:
        return chip_id == 0x170 ? DUMP_GA100 : DUMP_GA102;
    case 0x18:
        return DUMP_GH;
    case 0x19:
        return DUMP_AD;
    case 0x1a:
        return DUMP_GB100;
    case 0x1b:
        return DUMP_GB202;
    }
    return 0;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static void block_read(const volatile uint8_t *bar0, const struct dump_block *block,
                       gpu_register_each each, void *arg)
{
    for (unsigned i = 0; i < block->register_count; i++) {
        const struct dump_register *r = &block->registers[i];
        for (uint32_t n = 0; n < (r->count ? r->count : 1); n++) {
            uint32_t at = block->origin + r->offset + n * r->stride;
            assert(at % 4 == 0 && at >= block->base && at - block->base <= block->bytes - 4);
            struct gpu_register out = {.block = block->name, .offset = at};
            if (r->count)
                snprintf(out.name, sizeof(out.name), "%s(%u)", r->name, n);
            else
                snprintf(out.name, sizeof(out.name), "%s", r->name);
            out.value = mmio_read32(bar0 + at);
            /* What the bus inside the GPU answers for what is locked, off or not there: 0xbadfxxxx, 0xbad0xxxx. */
            out.is_error = out.value >> 20 == 0xbad;
            each(arg, &out);
        }
    }
}

/* A name that some family has, whether this one does or not. */
static bool block_is_known(const char *name)
{
    for (unsigned i = 0; i < ARRAY_COUNT(blocks); i++)
        if (strcmp(blocks[i].name, name) == 0)
            return true;
    return false;
}

static struct pci_device *function_of(const struct gpu_device *device)
{
    struct pci_device *pci;
    for (unsigned i = 0; (pci = pci_device_get(i)); i++)
        if (strcmp(pci->name, device->info.pci_name) == 0)
            return pci;
    return NULL;
}

int nvidia_registers(struct gpu_device *device, const char *block, gpu_register_each each,
                     void *arg)
{
    if (block && !block_is_known(block)) {
        char names[160] = "";
        size_t used = 0;
        for (unsigned i = 0; i < ARRAY_COUNT(blocks) && used < sizeof(names); i++)
            if (i == 0 || strcmp(blocks[i].name, blocks[i - 1].name) != 0)
                used += (size_t)snprintf(names + used, sizeof(names) - used, " %s", blocks[i].name);
        return gpu_fail(-ENOENT, "there is no register block \"%.32s\"; there are:%s", block,
                        names);
    }
    struct pci_device *pci = function_of(device);
    struct pci_facts facts;
    if (!pci)
        return gpu_fail(-ENOTSUP, "%s: its registers belong to another driver", device->info.name);
    if (!pci_facts(pci, &facts))
        return gpu_fail(-ENODEV, "%s: the GPU at %s is gone from the bus", device->info.name,
                        pci->name);
    if (!facts.is_decoding || pci->bar[0].size_bytes < BAR0_BYTES_MIN)
        return gpu_fail(-EIO, "%s: the GPU at %s does not answer at its BAR0 (off, or too small)",
                        device->info.name, pci->name);
    volatile uint8_t *bar0 = pci_map_bar(pci, 0, CACHE_UNCACHED);
    if (!bar0)
        return gpu_fail(-ENOMEM, "%s: BAR0 cannot be mapped", device->info.name);
    uint16_t chip_id =
        (uint16_t)field_get(NV_PMC_BOOT_42_CHIP_ID, mmio_read32(bar0 + NV_PMC_BOOT_42));
    unsigned family = dump_family(chip_id);
    for (unsigned i = 0; i < ARRAY_COUNT(blocks); i++) {
        bool has_it = blocks[i].families & family || (!family && blocks[i].registers == pmc);
        if (has_it && (!block || strcmp(blocks[i].name, block) == 0))
            block_read(bar0, &blocks[i], each, arg);
    }
    mmio_unmap(bar0, pci->bar[0].size_bytes);
    return 0;
}
