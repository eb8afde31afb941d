/*
 * tests/model/booter.c: booter_load and booter_unload, NVIDIA's signed programs for the SEC2 falcon: the first copies GSP-RM into a
 * write-protected region and starts the GSP's RISC-V core, the second takes the region down again.
 *
 * The files: nvfw_bin_hdr, nvfw_hs_header_v2, nvfw_hs_load_header_v2 (nouveau include/nvfw/hs.h, OGKM kernel_gsp_booter.c for which
 * signature belongs to which fuse version, kernel_gsp_booter_tu102.c for mailboxes and order). What is in IMEM and DMEM is compared
 * with the real file. Error codes: 0 is success; others are not published, 0xb was seen when WPR2 was up already (NOTES).
 */
#include <string.h>

#include "tests/model/parts.h"

#define RUN_NS UINT64_C(8000000)

struct image {
    const uint8_t *bytes;
    uint32_t total, plain, plain_bytes, code, code_bytes, data, data_bytes;
    uint32_t signature_place; /* in the image */
    const uint8_t *signatures;
    uint32_t signature_bytes, signature_count, fuse_version, engine, ucode;
};

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static bool file_parse(struct model *m, const char *name, struct image *out)
{
    const struct file *file = firmware_file(m, m->chip->firmware, name);
    if (file == NULL || file->bytes < 0x200)
        return false;
    const uint8_t *b = file->data;
    uint32_t header = get32(b + 12), data = get32(b + 16), data_bytes = get32(b + 20);
    uint32_t signatures = get32(b + header), signatures_bytes = get32(b + header + 4);
    uint32_t place = get32(b + header + 8), skip = get32(b + header + 12),
             meta = get32(b + header + 16);
    uint32_t count = get32(b + header + 24), load = get32(b + header + 28);
    *out = (struct image){
        .bytes = b + data,
        .total = data_bytes,
        .plain = get32(b + load),
        .plain_bytes = get32(b + load + 4),
        .data = get32(b + load + 8),
        .data_bytes = get32(b + load + 12),
        .code = get32(b + load + 20),
        .code_bytes = get32(b + load + 24),
        .signature_place = get32(b + place),
        .signatures = b + signatures + get32(b + skip),
        .signature_count = get32(b + count),
        .fuse_version = get32(b + meta),
        .engine = get32(b + meta + 4),
        .ucode = get32(b + meta + 8),
    };
    out->signature_bytes = signatures_bytes / out->signature_count;
    return true;
}

/* Is it this image that was loaded? Looks only at the first block of code, so as not to refuse the other one. */
static bool is_image(struct falcon *f, const struct image *image)
{
    uint32_t address = image->code;
    for (unsigned i = 0; i < FALCON_BLOCKS; i++)
        if (f->block[i].is_loaded && f->block[i].tag == address >> 8)
            return memcmp(f->imem + i * FALCON_BLOCK, image->bytes + address, FALCON_BLOCK) == 0;
    return false;
}

static bool image_is_right(struct falcon *f, const char *what, const struct image *image)
{
    struct model *m = f->m;
    unsigned fuse = m->chip->booter_fuse;
    unsigned index = image->signature_count > 1 ? image->signature_count - 1 - fuse : 0;
    const uint8_t *signature = image->signatures + index * image->signature_bytes;
    uint32_t place = image->signature_place - image->data;
    const struct patch patch = {place, image->signature_bytes};
    if (!falcon_has_code(f, what, image->bytes + image->code, image->code_bytes, image->code,
                         true) ||
        !falcon_has_data(f, what, image->bytes + image->data, image->data_bytes, 0, &patch, 1))
        return false;
    if (f->has_brom)
        return falcon_brom_check(f, image->engine, image->ucode, place, signature,
                                 image->signature_bytes, image->code);
    if (!falcon_has_code(f, what, image->bytes + image->plain, image->plain_bytes, image->plain,
                         false))
        return false;
    if (f->bootvec != 0) {
        refuse(m, "SEC2: BOOTVEC is %#x, %s begins at 0", f->bootvec, what);
        return false;
    }
    if (memcmp(f->dmem + place, signature, image->signature_bytes) != 0) {
        refuse(m, "SEC2: %s: the signature in DMEM is not the file's", what);
        return false;
    }
    return true;
}

/* ---- load --------------------------------------------------------------------------------------------------------- */

struct load {
    uint64_t meta_bus, wpr_start, wpr_end;
    uint32_t error;
    bool starts_gsp;
};
static struct load next; /* one booter at a time */

static void load_finish(struct model *m, void *arg)
{
    struct falcon *f = arg, *gsp = falcon_gsp(m);
    if (next.error == 0) {
        wpr2_set(m, next.wpr_start, next.wpr_end);
        note(m, "booter: GSP-RM is loaded, WPR2 %#llx to %#llx", (unsigned long long)next.wpr_start,
             (unsigned long long)next.wpr_end);
        f->alias_enabled = true; /* SEC2 may be started again from outside, to resume the GSP */
        if (next.starts_gsp)
            gsp_core_start(m, next.meta_bus, (uint64_t)gsp->mailbox[1] << 32 | gsp->mailbox[0]);
    }
    falcon_end(f, 0, next.error, 0);
}

static uint32_t load_check(struct falcon *f)
{
    struct model *m = f->m;
    struct falcon *gsp = falcon_gsp(m);
    struct wpr2 wpr = wpr2_get(m);
    if (wpr.start == wpr.end) {
        refuse(m, "booter: WPR2 is not up: FWSEC has not made the FRTS region");
        return 0x15;
    }
    if (wpr.end - wpr.start != 0x100000) {
        refuse(m, "booter: WPR2 is %#llx to %#llx, more than FRTS: GSP-RM is there already",
               (unsigned long long)wpr.start, (unsigned long long)wpr.end);
        return 0x0b;
    }
    if (gsp->state != FALCON_HALTED || !gsp->was_reset) {
        refuse(m, "booter: the GSP was not reset after FWSEC");
        return 0x31;
    }
    if (f->has_brom && !gsp->is_riscv_selected) {
        refuse(m, "booter: BCR_CTRL of the GSP does not select the RISC-V core");
        return 0x32;
    }
    if (gsp->mailbox[0] == 0 && gsp->mailbox[1] == 0) {
        refuse(m, "booter: the GSP's mailboxes do not hold the address of the libos arguments");
        return 0x33;
    }
    return gsp_rm_load(m, next.meta_bus, &next.wpr_start, &next.wpr_end);
}

static void load_run(struct falcon *f)
{
    struct model *m = f->m;
    next = (struct load){.meta_bus = (uint64_t)f->mailbox[1] << 32 | f->mailbox[0],
                         .starts_gsp = true};
    boot_handoff_set(m, false);
    next.error = load_check(f);
    uint64_t delay_ns = RUN_NS;
    enum fault_mode mode;
    if (fault(m, "booter.load", &mode)) {
        switch (mode) {
        case FAULT_HANG:
            return;
        case FAULT_LATE:
            delay_ns = late_ns();
            break;
        case FAULT_FAIL:
            next.error = 0x2a;
            break;
        case FAULT_GARBAGE: /* says that it worked, but the GSP does not run */
            next.starts_gsp = false;
            break;
        }
    }
    timer_add(m, delay_ns, load_finish, f);
}

/* ---- unload ------------------------------------------------------------------------------------------------------- */

static void unload_finish(struct model *m, void *arg)
{
    struct falcon *f = arg;
    wpr2_set(m, 0, 0);
    note(m, "booter: WPR2 is down");
    falcon_end(f, 0, 0, 0);
}

static void unload_run(struct falcon *f)
{
    struct model *m = f->m;
    uint64_t delay_ns = RUN_NS;
    enum fault_mode mode;
    uint32_t error = 0;
    if (gsp_core_is_running(m)) {
        refuse(m, "booter: unload while the GSP's RISC-V core runs");
        error = 0x41;
    } else if (f->mailbox[0] != 0xff || f->mailbox[1] != 0xff) {
        /* kgspExecuteBooterUnloadIfNeeded_TU102: 0xff in both unless the state is kept for a resume. */
        refuse(m, "booter: unload with mailboxes %#x %#x, not 0xff", f->mailbox[0], f->mailbox[1]);
        error = 0x42;
    }
    if (fault(m, "booter.unload", &mode)) {
        if (mode == FAULT_HANG)
            return;
        if (mode == FAULT_FAIL)
            error = 0x2b;
        delay_ns = late_ns();
    }
    if (error != 0)
        falcon_end(f, delay_ns, error, 0);
    else
        timer_add(m, delay_ns, unload_finish, f);
}

/* ---- either, or the GSP is to be resumed -------------------------------------------------------------------------- */

bool booter_can_resume(struct model *m)
{
    return m->falcons != NULL && falcon_sec2(m)->alias_enabled && gsp_core_is_suspended(m);
}

static void resume_finish(struct model *m, void *arg)
{
    struct falcon *f = arg;
    boot_handoff_set(m, true);
    falcon_end(f, 0, 0, 0);
    gsp_core_resume(m);
}

static void resume(struct falcon *f)
{
    struct model *m = f->m;
    struct falcon *gsp = falcon_gsp(m);
    if (gsp->state != FALCON_HALTED || !gsp->was_reset ||
        (f->has_brom && !gsp->is_riscv_selected)) {
        refuse(m, "SEC2: the GSP is to be resumed, but was not reset into its RISC-V core");
        falcon_end(f, RUN_NS, 0x51, 0);
        return;
    }
    timer_add(m, RUN_NS, resume_finish, f);
}

void booter_run(struct falcon *f)
{
    struct model *m = f->m;
    if (booter_can_resume(m)) {
        resume(f);
        return;
    }
    struct image load, unload;
    if (!file_parse(m, "booter_load-570.144.bin", &load) ||
        !file_parse(m, "booter_unload-570.144.bin", &unload)) {
        note(m, "booter: no firmware files to compare with (--firmware): whatever was loaded is "
                "taken for booter");
        if (wpr2_get(m).end - wpr2_get(m).start > 0x100000)
            unload_run(f);
        else
            load_run(f);
        return;
    }
    bool is_unload = is_image(f, &unload);
    enum fault_mode mode;
    if (!image_is_right(f, is_unload ? "booter_unload" : "booter_load",
                        is_unload ? &unload : &load) ||
        fault(m, "booter.brom", &mode))
        falcon_brom_fail(f);
    else if (is_unload)
        unload_run(f);
    else
        load_run(f);
}
