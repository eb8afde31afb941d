/*
 * tests/model/fwsec.c: FWSEC, the VBIOS's signed program that the driver runs on the GSP's falcon: command 0x15 (FRTS) puts the
 * firmware's run-time services into VRAM and protects them with WPR2; command 0x19 (SB) readies the GPU for its next owner.
 *
 * How it is loaded: kernel_gsp_falcon_ga102.c (boot ROM, signature by fuse version), kernel_gsp_falcon_tu102.c (a generic boot
 * loader at the top of IMEM fetches it). Commands, their structures, and what the driver reads afterwards:
 * kernel_gsp_frts_tu102.c. The codes of failures are not published; any number that is not zero.
 */
#include <stdio.h>
#include <string.h>

#include "tests/model/parts.h"

#define RUN_NS       UINT64_C(5000000)

#define COMMAND_FRTS 0x15u
#define COMMAND_SB   0x19u
#define SCRATCH_FRTS 0x0eu /* error in 31:16 */
#define SCRATCH_SB   0x15u /* error in 15:0 */

/* FWSECLIC_READ_VBIOS_DESC and FWSECLIC_FRTS_REGION_DESC, one behind the other */
struct frts_command {
    uint32_t version, bytes;
    uint64_t image_offset;
    uint32_t image_bytes, flags;
    uint32_t region_version, region_bytes, offset_4k, size_4k, media;
} __attribute__((packed));
_Static_assert(sizeof(struct frts_command) == 44, "kernel_gsp_frts_tu102.c");

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static bool command_is_right(struct falcon *f, const struct frts_command *c, uint32_t what)
{
    struct model *m = f->m;
    bool is_right = true;
    if (c->version != 1 || c->bytes != 24 || c->image_offset != 0 || c->image_bytes != 0 ||
        c->flags != 2) {
        refuse(m,
               "FWSEC: read-VBIOS descriptor: version %u, %u bytes, image %#llx + %#x, flags %#x",
               c->version, c->bytes, (unsigned long long)c->image_offset, c->image_bytes, c->flags);
        is_right = false;
    }
    if (what == COMMAND_SB)
        return is_right;
    if (c->region_version != 1 || c->region_bytes != 20 || c->media != 2) {
        refuse(m, "FWSEC: FRTS region descriptor: version %u, %u bytes, media %u",
               c->region_version, c->region_bytes, c->media);
        is_right = false;
    }
    uint64_t start = (uint64_t)c->offset_4k << 12, end = start + ((uint64_t)c->size_4k << 12);
    /* 1 MiB; it ends at or before what the VBIOS has for VGA, on 128 KiB (WPR's granularity). */
    if (c->size_4k != 0x100 || start % 0x20000 != 0 || end > fb_vga_workspace(m) || start == 0) {
        refuse(m,
               "FWSEC: FRTS region %#llx to %#llx; VRAM ends at %#llx, the VGA workspace begins at "
               "%#llx",
               (unsigned long long)start, (unsigned long long)end,
               (unsigned long long)m->vram_bytes, (unsigned long long)fb_vga_workspace(m));
        is_right = false;
    }
    struct wpr2 wpr = wpr2_get(m);
    if (wpr.start != wpr.end) {
        refuse(m, "FWSEC: FRTS while WPR2 is up already (%#llx to %#llx): the GPU was not reset",
               (unsigned long long)wpr.start, (unsigned long long)wpr.end);
        is_right = false;
    }
    return is_right;
}

struct outcome {
    uint32_t what;
    uint32_t error;
    uint64_t start, end;
};
static struct outcome next; /* one FWSEC at a time */

static void finish(struct model *m, void *arg)
{
    struct falcon *f = arg;
    if (next.what == COMMAND_FRTS) {
        boot_scratch_set(m, SCRATCH_FRTS, next.error << 16);
        if (next.start != next.end)
            wpr2_set(m, next.start, next.end);
        note(m, "FWSEC: FRTS %s, WPR2 %#llx to %#llx", next.error != 0 ? "failed" : "done",
             (unsigned long long)next.start, (unsigned long long)next.end);
    } else {
        boot_scratch_set(m, SCRATCH_SB, next.error);
        note(m, "FWSEC: SB %s", next.error != 0 ? "failed" : "done");
    }
    falcon_end(f, 0, f->mailbox[0], f->mailbox[1]);
}

static void execute(struct falcon *f, const uint8_t *dmem)
{
    struct model *m = f->m;
    const struct vbios *v = boot_vbios(m);
    uint32_t what = get32(dmem + v->mapper + 44);
    struct frts_command command;
    memcpy(&command, dmem + v->command, sizeof(command));
    next = (struct outcome){.what = what};
    if (what != COMMAND_FRTS && what != COMMAND_SB) {
        refuse(m, "FWSEC: command %#x, neither FRTS (0x15) nor SB (0x19)", what);
        falcon_end(f, RUN_NS, f->mailbox[0], f->mailbox[1]);
        return;
    }
    if (what == COMMAND_SB && gsp_core_is_running(m))
        refuse(m, "FWSEC: SB while the GSP's RISC-V core runs");
    if (!command_is_right(f, &command, what))
        next.error = 0x21;
    else if (what == COMMAND_FRTS) {
        next.start = (uint64_t)command.offset_4k << 12;
        next.end = next.start + ((uint64_t)command.size_4k << 12);
    }
    uint64_t delay_ns = RUN_NS;
    enum fault_mode mode;
    if (fault(m, what == COMMAND_FRTS ? "fwsec.frts" : "fwsec.sb", &mode)) {
        switch (mode) {
        case FAULT_HANG:
            return;
        case FAULT_LATE:
            delay_ns = late_ns();
            break;
        case FAULT_FAIL:
            next.error = 0x5a;
            next.start = next.end = 0;
            break;
        case FAULT_GARBAGE: /* says that it worked, and did something else */
            next.start += 0x100000;
            next.end += 0x100000;
            break;
        }
    }
    timer_add(m, delay_ns, finish, f);
}

/* ---- Turing: the generic boot loader, and what it is told --------------------------------------------------------- */

/* nvfw_bin_hdr and RM_FLCN_BL_DESC (rmflcnbl.h): start tag, DMEM offset of its arguments, offset and size of the code. */
static bool loader_is_loaded(struct falcon *f)
{
    struct model *m = f->m;
    const struct file *file = firmware_file(m, m->chip->firmware, "gen_bootloader-570.144.bin");
    if (file == NULL)
        return true; /* nothing to compare with; said already */
    uint32_t header = get32(file->data + 12), data = get32(file->data + 16);
    uint32_t tag = get32(file->data + header), code_offset = get32(file->data + header + 8),
             code_bytes = get32(file->data + header + 12);
    if (f->bootvec != tag << 8) {
        refuse(m, "GSP: BOOTVEC is %#x, the boot loader's tag is %#x", f->bootvec, tag);
        return false;
    }
    return falcon_has_code(f, "generic boot loader", file->data + data + code_offset, code_bytes,
                           tag << 8, false);
}

/* RM_FLCN_BL_DMEM_DESC */
struct loader_arguments {
    uint32_t reserved[4], signature[4], dma_index, code_base[2], plain_offset, plain_bytes,
        secure_offset, secure_bytes, entry, data_base[2], data_bytes, argc, argv;
} __attribute__((packed));
_Static_assert(sizeof(struct loader_arguments) == 84, "rmflcnbl.h");

static void run_turing(struct falcon *f)
{
    struct model *m = f->m;
    const struct vbios *v = boot_vbios(m);
    struct loader_arguments a;
    memcpy(&a, f->dmem, sizeof(a));
    static uint8_t code[FALCON_IMEM], data[FALCON_DMEM];
    uint64_t code_bus = (uint64_t)a.code_base[1] << 32 | a.code_base[0],
             data_bus = (uint64_t)a.data_base[1] << 32 | a.data_base[0];
    if (!loader_is_loaded(f)) {
        falcon_brom_fail(f);
        return;
    }
    if (a.dma_index > 7 || a.plain_offset != 0 || a.plain_bytes != v->code_secure ||
        a.secure_offset != v->code_secure || a.secure_bytes != v->code_bytes - v->code_secure ||
        a.entry != 0 || a.data_bytes != v->data_bytes || code_bus % 256 != 0 ||
        data_bus % 256 != 0) {
        refuse(m,
               "FWSEC: the boot loader is told: DMA index %u, code at %#llx, plain %#x + %#x, "
               "secure %#x + %#x, entry %#x, data at "
               "%#llx + %#x",
               a.dma_index, (unsigned long long)code_bus, a.plain_offset, a.plain_bytes,
               a.secure_offset, a.secure_bytes, a.entry, (unsigned long long)data_bus,
               a.data_bytes);
        falcon_brom_fail(f);
        return;
    }
    if (!falcon_dma_read(f, a.dma_index, code_bus, code, v->code_bytes) ||
        !falcon_dma_read(f, a.dma_index, data_bus, data, v->data_bytes))
        return; /* the loader waits for its DMA forever */
    if (memcmp(code, v->code, v->code_bytes) != 0) {
        refuse(m, "FWSEC: the code in memory is not the VBIOS's");
        falcon_brom_fail(f);
        return;
    }
    memcpy(f->dmem, data, v->data_bytes);
    const struct patch patches[] = {{v->mapper + 44, 4}, {v->command, v->command_bytes}};
    if (falcon_has_data(f, "FWSEC", v->data, v->data_bytes, 0, patches, 2))
        execute(f, f->dmem);
    else
        falcon_brom_fail(f);
}

/* ---- GA102 on ---------------------------------------------------------------------------------------------------- */

/* The signature that belongs to the fuse version, among those in the descriptor; NULL: this chip cannot run it. */
static const uint8_t *signature_choose(const struct vbios *v, unsigned fuse_version)
{
    unsigned index = 0;
    for (unsigned version = 0; version < 16; version++) {
        if (!(v->signature_versions & 1u << version))
            continue;
        if (version == fuse_version)
            return v->signatures[index];
        index++;
    }
    return NULL;
}

static void run_brom(struct falcon *f)
{
    struct model *m = f->m;
    const struct vbios *v = boot_vbios(m);
    const struct patch patches[] = {
        {v->mapper + 44, 4}, {v->command, v->command_bytes}, {v->signature, VBIOS_SIGNATURE_BYTES}};
    const uint8_t *signature = signature_choose(v, m->chip->fwsec_fuse);
    if (signature == NULL)
        die("the ROM of %s has no signature for fuse version %u", m->chip->name,
            m->chip->fwsec_fuse);
    bool is_right =
        falcon_has_code(f, "FWSEC", v->code, v->code_bytes, 0, true) &&
        falcon_has_data(f, "FWSEC", v->data, v->data_bytes, 0, patches, 3) &&
        falcon_brom_check(f, 0x400, v->ucode_id, v->signature, signature, VBIOS_SIGNATURE_BYTES, 0);
    enum fault_mode mode;
    if (is_right && !fault(m, "fwsec.brom", &mode))
        execute(f, f->dmem);
    else
        falcon_brom_fail(f);
}

void fwsec_run(struct falcon *f)
{
    if (f->has_brom)
        run_brom(f);
    else
        run_turing(f);
}
