/*
 * gpu/nvidia/gsp/fwsec.c: runs FWSEC from the card's VBIOS on the GSP's falcon.
 *
 * Steps: read the VBIOS (once), copy the program to memory of ours, put the command and its parameters into the program's
 * data ("DMEM mapper"), from GA102 on also the signature that the chip's fuses ask for, reset the falcon, run, look at
 * what came of it. Before GA102 the program is fetched by a generic loader, which is itself put into the falcon through
 * its ports.
 *
 * Sources: open-gpu-kernel-modules 570.144: kernel_gsp_frts_tu102.c (commands, results), kernel_gsp_falcon_tu102.c
 * (loader), rmflcnbl.h (what the loader reads); nova-core's firmware/fwsec.rs for mailbox 0, which has an error code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/falcon.h"
#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/regs/bus.h"
#include "gpu/nvidia/gsp/regs/falcon.h"
#include "gpu/nvidia/gsp/regs/fb.h"
#include "gpu/nvidia/gsp/regs/fuse.h"
#include "gpu/nvidia/gsp/regs/gc6.h"
#include "gpu/nvidia/gsp/vbios.h"

#define FWSEC_ALIGN              256u /* of everything that a falcon fetches */
#define FWSEC_BYTES_MAX          VBIOS_BYTES_MAX
#define WPR2_ALIGN               UINT64_C(0x20000)
#define LOADER_DMA_INDEX         4 /* what the loader expects for physical system memory */

/* ---- the program's interface, in its data ---- */

#define INTERFACE_ID_DMEM_MAPPER 0x4

struct interface_header { /* FALCON_APPLICATION_INTERFACE_HEADER_V1 */
    uint8_t version, header_bytes, entry_bytes, entry_count;
};
struct interface_entry { /* FALCON_APPLICATION_INTERFACE_ENTRY_V1 */
    uint32_t id, data_offset;
};
struct dmem_mapper { /* FALCON_APPLICATION_INTERFACE_DMEM_MAPPER_V3 */
    uint32_t signature;
    uint16_t version, size;
    uint32_t command_in_offset, command_in_bytes, command_out_offset, command_out_bytes;
    uint32_t image_offset, image_bytes, printf_header, build_time, ucode_signature;
    uint32_t init_command, features, command_mask[2], multi_target;
};
static_assert(sizeof(struct dmem_mapper) == 64, "kernel_gsp_frts_tu102.c");
static_assert(offsetof(struct dmem_mapper, init_command) == 44, "kernel_gsp_frts_tu102.c");

struct command_parameters { /* FWSECLIC_READ_VBIOS_DESC, FWSECLIC_FRTS_REGION_DESC */
    struct {
        uint32_t version, size, image_offset_low, image_offset_high, image_bytes, flags;
    } vbios;
    struct {
        uint32_t version, size, offset_4k, size_4k, media;
    } frts;
};
static_assert(sizeof(struct command_parameters) == 44, "kernel_gsp_frts_tu102.c");
#define VBIOS_FLAGS_STRUCT 2 /* there is no image here: take the one in the PROM */
#define FRTS_MEDIA_FB      2

/* What the loader finds at the start of DMEM: RM_FLCN_BL_DMEM_DESC. */
struct loader_parameters {
    uint32_t reserved[4], signature[4];
    uint32_t dma_index;
    uint32_t code_dma_low, code_dma_high;
    uint32_t code_offset, code_bytes, secure_offset, secure_bytes, entry;
    uint32_t data_dma_low, data_dma_high, data_bytes;
    uint32_t argc, argv;
};
static_assert(sizeof(struct loader_parameters) == 84, "rmflcnbl.h");

static bool fits(uint32_t size_bytes, uint64_t at, uint64_t need)
{
    return at <= size_bytes && need <= size_bytes - at;
}

int fwsec_patch(uint8_t *data, uint32_t data_bytes, uint32_t interface_offset,
                enum fwsec_command command, uint64_t frts_offset, uint64_t frts_bytes,
                const char **problem)
{
    struct interface_header header;
    *problem = "its interface table is not in its data";
    if (!fits(data_bytes, interface_offset, sizeof(header)))
        return -EINVAL;
    memcpy(&header, data + interface_offset, sizeof(header));
    *problem = "its interface table has another version";
    if (header.version != 1 || header.header_bytes < sizeof(header) ||
        header.entry_bytes < sizeof(struct interface_entry))
        return -EINVAL;
    struct interface_entry entry = {0};
    *problem = "its interface table has no DMEM mapper";
    for (unsigned i = 0; entry.id != INTERFACE_ID_DMEM_MAPPER; i++) {
        uint64_t at =
            (uint64_t)interface_offset + header.header_bytes + (uint64_t)i * header.entry_bytes;
        if (i >= header.entry_count || !fits(data_bytes, at, sizeof(entry)))
            return -EINVAL;
        memcpy(&entry, data + at, sizeof(entry));
    }
    struct dmem_mapper mapper;
    *problem = "its DMEM mapper is not in its data";
    if (!fits(data_bytes, entry.data_offset, sizeof(mapper)))
        return -EINVAL;
    memcpy(&mapper, data + entry.data_offset, sizeof(mapper));

    struct command_parameters parameters = {
        .vbios = {.version = 1, .size = sizeof(parameters.vbios), .flags = VBIOS_FLAGS_STRUCT}};
    size_t bytes = sizeof(parameters.vbios);
    if (command == FWSEC_COMMAND_FRTS) {
        parameters.frts.version = 1;
        parameters.frts.size = sizeof(parameters.frts);
        parameters.frts.offset_4k = (uint32_t)(frts_offset >> 12);
        parameters.frts.size_4k = (uint32_t)(frts_bytes >> 12);
        parameters.frts.media = FRTS_MEDIA_FB;
        bytes = sizeof(parameters);
    }
    *problem = "its command buffer is too small or not in its data";
    if (mapper.command_in_bytes < bytes || !fits(data_bytes, mapper.command_in_offset, bytes))
        return -EINVAL;
    mapper.init_command = (uint32_t)command;
    memcpy(data + entry.data_offset, &mapper, sizeof(mapper));
    memcpy(data + mapper.command_in_offset, &parameters, bytes);
    *problem = "";
    return 0;
}

/* ---- the program in memory ---- */

struct program {
    struct vbios_fwsec fwsec;
    uint8_t
        *bytes; /* code as it will lie in IMEM (version 2) or was stored (version 3), then data */
    uint32_t size_bytes, data_offset;
};

static bool is_debug_chip(struct hw *hw)
{
    bool is_turing = hw->chip->sm < 80;
    return !(hw_read32(hw, is_turing ? NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS_TU102
                                     : NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS) &
             NV_FUSE_OPT_SECURE_GSP_DEBUG_DIS_DATA);
}

/* The VBIOS does not change and reading it takes long, so hw keeps it. */
static int vbios_get(struct hw *hw, struct vbios *out)
{
    if (hw->vbios == NULL) {
        int error = vbios_read(hw, &hw->vbios, &hw->vbios_bytes);
        if (error)
            return error;
        hw_step(hw, "VBIOS: %u KiB read from the PROM window", hw->vbios_bytes >> 10);
    }
    char problem[160];
    if (vbios_parse(hw->vbios, hw->vbios_bytes, is_debug_chip(hw), out, problem) != 0)
        return hw_fail(hw, -EINVAL, "%s", problem);
    snprintf(hw->vbios_version, sizeof(hw->vbios_version), "%s", out->version);
    return 0;
}

static int check_generation(struct hw *hw, const struct vbios_fwsec *fwsec)
{
    unsigned wanted = hw->chip->falcon == HW_FALCON_TU102 ? 2 : 3;
    if (fwsec->version != wanted)
        return hw_fail(hw, -EINVAL, "FWSEC: descriptor of version %u, %s has version %u",
                       fwsec->version, hw->chip->name, wanted);
    if (fwsec->imem_address % FWSEC_ALIGN != 0 || fwsec->imem_tag % FWSEC_ALIGN != 0 ||
        fwsec->imem_address > FWSEC_BYTES_MAX || fwsec->dmem_address % FWSEC_ALIGN != 0 ||
        (wanted == 2 && (fwsec->secure_address - fwsec->imem_tag) % FWSEC_ALIGN != 0) ||
        (wanted == 2 && fwsec->dmem_address != 0)) /* the loader puts data at 0 */
        return hw_fail(hw, -EINVAL, "FWSEC: odd addresses: IMEM %#x, tag %#x, DMEM %#x, secure %#x",
                       fwsec->imem_address, fwsec->imem_tag, fwsec->dmem_address,
                       fwsec->secure_address);
    return 0;
}

static int sign(struct hw *hw, struct program *program)
{
    const struct vbios_fwsec *fwsec = &program->fwsec;
    unsigned version;
    int error = falcon_fuse_version(hw, fwsec->engine_id_mask, fwsec->ucode_id, &version);
    if (error)
        return error;
    const uint8_t *signature = vbios_signature(fwsec, version);
    if (signature == NULL)
        return hw_fail(hw, -EINVAL,
                       "FWSEC: the fuses ask for version %u; the VBIOS has signatures for %#x (%u)",
                       version, fwsec->signature_versions, fwsec->signature_count);
    memcpy(program->bytes + program->data_offset + fwsec->signature_dmem, signature,
           VBIOS_SIGNATURE_BYTES);
    return 0;
}

static void program_free(struct program *program)
{
    if (program->bytes)
        page_free(program->bytes, program->size_bytes);
    program->bytes = NULL;
}

static int program_make(struct hw *hw, enum fwsec_command command, uint64_t frts_offset,
                        uint64_t frts_bytes, struct program *program)
{
    struct vbios vbios;
    *program = (struct program){0};
    int error = vbios_get(hw, &vbios);
    if (!error)
        error = check_generation(hw, &vbios.fwsec);
    if (error)
        return error;
    const struct vbios_fwsec *fwsec = &program->fwsec;
    program->fwsec = vbios.fwsec;
    /* The loader has one offset for where code comes from and where it goes. */
    uint32_t code_offset = fwsec->version == 2 ? fwsec->imem_address : 0;
    program->data_offset =
        (uint32_t)align_up((uint64_t)code_offset + fwsec->code_bytes, FWSEC_ALIGN);
    program->size_bytes = program->data_offset + (uint32_t)align_up(fwsec->data_bytes, FWSEC_ALIGN);
    program->bytes = page_alloc(program->size_bytes, 0);
    if (program->bytes == NULL)
        return hw_fail(hw, -ENOMEM, "FWSEC: no memory for %u KiB", program->size_bytes >> 10);
    uint8_t *data = program->bytes + program->data_offset;
    memcpy(program->bytes + code_offset, fwsec->code, fwsec->code_bytes);
    memcpy(data, fwsec->data, fwsec->data_bytes);

    const char *problem;
    if (fwsec_patch(data, fwsec->data_bytes, fwsec->interface_offset, command, frts_offset,
                    frts_bytes, &problem) != 0)
        error = hw_fail(hw, -EINVAL, "FWSEC: %s", problem);
    if (!error && fwsec->version == 3)
        error = sign(hw, program);
    if (error)
        program_free(program);
    return error;
}

/* ---- running ---- */

static int run_signed(struct hw *hw, const struct program *program, uint32_t mailbox[2])
{
    const struct vbios_fwsec *fwsec = &program->fwsec;
    const struct falcon_image image = {
        .bytes = program->bytes,
        .size_bytes = program->size_bytes,
        .imem = {.size_bytes = fwsec->code_bytes,
                 .address = fwsec->imem_address,
                 .tag = fwsec->imem_tag},
        .dmem = {.offset = program->data_offset,
                 .size_bytes = fwsec->data_bytes,
                 .address = fwsec->dmem_address},
        .boot_vector = fwsec->imem_tag,
        .signature_dmem = fwsec->signature_dmem,
        .engine_id_mask = fwsec->engine_id_mask,
        .ucode_id = fwsec->ucode_id,
    };
    return falcon_run_hs(hw, &falcon_gsp, &image, mailbox);
}

/* TU102 to GA100: the loader to the top of IMEM, what it is to do to the start of DMEM. */
static int run_loader(struct hw *hw, const struct fwsec_loader *loader,
                      const struct program *program, uint32_t mailbox[2])
{
    const struct vbios_fwsec *fwsec = &program->fwsec;
    uint32_t imem_bytes =
        (uint32_t)field_get(NV_PFALCON_FALCON_HWCFG_IMEM_SIZE,
                            hw_read32(hw, falcon_gsp.base + NV_PFALCON_FALCON_HWCFG)) *
        FWSEC_ALIGN;
    if (loader == NULL || loader->size_bytes == 0 || loader->size_bytes > imem_bytes)
        return hw_fail(hw, -EINVAL, "FWSEC: no loader, or one of %#x bytes for %#x bytes of IMEM",
                       loader == NULL ? 0 : loader->size_bytes, imem_bytes);
    uint32_t loader_bytes = (uint32_t)align_up(loader->size_bytes, FWSEC_ALIGN);
    uint8_t *code = calloc(1, loader_bytes);
    if (code == NULL)
        return hw_fail(hw, -ENOMEM, "FWSEC: no memory for the loader");
    memcpy(code, loader->code, loader->size_bytes);

    uint64_t code_dma = dma_addr(program->bytes), data_dma = code_dma + program->data_offset;
    struct loader_parameters parameters = {
        .dma_index = LOADER_DMA_INDEX,
        .code_dma_low = (uint32_t)code_dma,
        .code_dma_high = (uint32_t)(code_dma >> 32),
        .code_offset = fwsec->imem_address,
        .code_bytes = fwsec->code_bytes - fwsec->secure_bytes,
        .secure_offset = fwsec->secure_address - fwsec->imem_tag + fwsec->imem_address,
        .secure_bytes = (uint32_t)align_up(fwsec->secure_bytes, FWSEC_ALIGN),
        .data_dma_low = (uint32_t)data_dma,
        .data_dma_high = (uint32_t)(data_dma >> 32),
        .data_bytes = fwsec->data_bytes,
    };
    falcon_disable_context(hw, &falcon_gsp);
    hw_update32(hw, falcon_gsp.fbif + NV_PFALCON_FBIF_TRANSCFG(LOADER_DMA_INDEX),
                NV_PFALCON_FBIF_TRANSCFG_TARGET | NV_PFALCON_FBIF_TRANSCFG_MEM_TYPE,
                NV_PFALCON_FBIF_TRANSCFG_TARGET_COHERENT_SYSMEM |
                    NV_PFALCON_FBIF_TRANSCFG_MEM_TYPE);
    int error =
        falcon_dmem_write(hw, &falcon_gsp, 0, (const uint8_t *)&parameters, sizeof(parameters));
    if (!error)
        error = falcon_imem_write(hw, &falcon_gsp, imem_bytes - loader_bytes,
                                  loader->start_tag << 8, false, code, loader_bytes);
    free(code);
    return error ? error : falcon_run(hw, &falcon_gsp, loader->start_tag << 8, mailbox);
}

static int run(struct hw *hw, const struct fwsec_loader *loader, enum fwsec_command command,
               uint64_t frts_offset, uint64_t frts_bytes)
{
    const char *name = command == FWSEC_COMMAND_FRTS ? "FWSEC-FRTS" : "FWSEC-SB";
    if (hw->chip->boot != HW_BOOT_SEC2)
        return hw_fail(hw, -ENOTSUP, "%s: %s has an FSP for that", name, hw->chip->name);
    struct program program;
    int error = program_make(hw, command, frts_offset, frts_bytes, &program);
    if (error)
        return error;
    uint32_t mailbox[2] = {0, 0};
    error = falcon_reset(hw, &falcon_gsp);
    if (!error)
        error = program.fwsec.version == 3 ? run_signed(hw, &program, mailbox)
                                           : run_loader(hw, loader, &program, mailbox);
    if (!error && mailbox[0] != 0)
        error = hw_fail(hw, -EIO, "%s: the program ended with error %#x (mailbox 1: %#x)", name,
                        mailbox[0], mailbox[1]);
    program_free(&program);
    return error;
}

bool fwsec_wpr2(struct hw *hw, uint64_t *start, uint64_t *end)
{
    uint32_t low = hw_read32(hw, NV_PFB_PRI_MMU_WPR2_ADDR_LO),
             high = hw_read32(hw, NV_PFB_PRI_MMU_WPR2_ADDR_HI);
    *start = field_get(NV_PFB_PRI_MMU_WPR2_ADDR_LO_VAL, low) << 12;
    *end = field_get(NV_PFB_PRI_MMU_WPR2_ADDR_HI_VAL, high) << 12;
    return *end != 0;
}

int fwsec_frts(struct hw *hw, const struct fwsec_loader *loader, uint64_t frts_offset,
               uint64_t frts_bytes)
{
    uint64_t start, end;
    if (frts_offset % WPR2_ALIGN != 0 || frts_bytes != FWSEC_FRTS_BYTES ||
        frts_offset > hw->vram_bytes || frts_bytes > hw->vram_bytes - frts_offset)
        return hw_fail(hw, -EINVAL, "FWSEC-FRTS: no place for %#llx bytes at %#llx of VRAM",
                       (unsigned long long)frts_bytes, (unsigned long long)frts_offset);
    if (fwsec_wpr2(hw, &start, &end))
        return hw_fail(hw, -EBUSY, "FWSEC-FRTS: WPR2 is up already, at %#llx to %#llx",
                       (unsigned long long)start, (unsigned long long)end);
    int error = run(hw, loader, FWSEC_COMMAND_FRTS, frts_offset, frts_bytes);
    if (error)
        return error;
    uint32_t scratch = hw_read32(hw, NV_PBUS_VBIOS_SCRATCH_FWSEC_FRTS);
    if (field_get(NV_VBIOS_FWSECLIC_FRTS_ERR_CODE, scratch) != 0)
        return hw_fail(hw, -EIO, "FWSEC-FRTS: error %#x (register %#x is %#x)",
                       (unsigned)field_get(NV_VBIOS_FWSECLIC_FRTS_ERR_CODE, scratch),
                       NV_PBUS_VBIOS_SCRATCH_FWSEC_FRTS, scratch);
    if (!fwsec_wpr2(hw, &start, &end))
        return hw_fail(hw, -EIO, "FWSEC-FRTS: WPR2 did not come up (register %#x is %#x)",
                       NV_PFB_PRI_MMU_WPR2_ADDR_HI, hw_read32(hw, NV_PFB_PRI_MMU_WPR2_ADDR_HI));
    if (start != frts_offset || end <= start || end > frts_offset + frts_bytes)
        return hw_fail(hw, -EIO, "FWSEC-FRTS: WPR2 is at %#llx to %#llx, wanted %#llx to %#llx",
                       (unsigned long long)start, (unsigned long long)end,
                       (unsigned long long)frts_offset,
                       (unsigned long long)(frts_offset + frts_bytes));
    hw_step(hw, "FWSEC-FRTS: WPR2 at %#llx to %#llx of VRAM, VBIOS %s", (unsigned long long)start,
            (unsigned long long)end, hw->vbios_version);
    return 0;
}

int fwsec_sb(struct hw *hw, const struct fwsec_loader *loader)
{
    int error = run(hw, loader, FWSEC_COMMAND_SB, 0, 0);
    if (error)
        return error;
    uint32_t mask = hw_read32(hw, NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK);
    if (!(mask & NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK_READ_PROTECTION_LEVEL0))
        return hw_fail(hw, -EIO, "FWSEC-SB: progress stays locked (register %#x is %#x)",
                       NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_PRIV_LEVEL_MASK, mask);
    uint32_t progress = hw_read32(hw, NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT);
    if (field_get(NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT_PROGRESS, progress) !=
        NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT_PROGRESS_COMPLETED)
        return hw_fail(hw, -EIO, "FWSEC-SB: not completed (register %#x is %#x)",
                       NV_PGC6_AON_SECURE_SCRATCH_GROUP_05_0_GFW_BOOT, progress);
    uint32_t scratch = hw_read32(hw, NV_PBUS_VBIOS_SCRATCH_FWSEC_SB);
    if (field_get(NV_VBIOS_FWSECLIC_SB_ERR_CODE, scratch) != 0)
        return hw_fail(hw, -EIO, "FWSEC-SB: error %#x (register %#x is %#x)",
                       (unsigned)field_get(NV_VBIOS_FWSECLIC_SB_ERR_CODE, scratch),
                       NV_PBUS_VBIOS_SCRATCH_FWSEC_SB, scratch);
    hw_step(hw, "FWSEC-SB: done");
    return 0;
}
