/*
 * gpu/nvidia/gsp/booter.c: runs booter_load and booter_unload on SEC2.
 *
 * Source: open-gpu-kernel-modules 570.144, kernel_gsp_booter.c (s_allocateUcodeFromBinArchive, s_patchBooterUcodeSignature),
 * kernel_gsp_booter_tu102.c (mailboxes), kernel_gsp_falcon_tu102.c (s_prepareHsFalconDirect: where the parts go).
 */
#include "gpu/nvidia/gsp/booter.h"

#include <string.h>

#include "gpu/nvidia/gsp/fwsec.h"

#define BLOCK UINT64_C(256) /* of IMEM, and of a falcon's DMA */

int booter_image(const struct gsp_secure_code *code, enum hw_falcon kind, unsigned fuse_version,
                 uint8_t *image, struct falcon_image *out)
{
    /* The last signature is that for fuse version 0. A single one suits every version. */
    uint32_t index = 0;
    if (code->signature_count > 1) {
        if (fuse_version >= code->signature_count)
            return -EINVAL;
        index = code->signature_count - 1 - fuse_version;
    }
    uint64_t bytes = align_up(code->image.bytes, BLOCK);
    if (bytes > UINT32_MAX)
        return -EINVAL;
    memcpy(image, code->image.data, code->image.bytes);
    memset(image + code->image.bytes, 0, bytes - code->image.bytes);
    memcpy(image + code->signature_at, code->signatures + (size_t)index * code->signature_bytes,
           code->signature_bytes);

    *out = (struct falcon_image){
        .bytes = image,
        .size_bytes = (uint32_t)bytes,
        .dmem = {code->data_offset, code->data_bytes, 0, 0},
    };
    if (kind == HW_FALCON_TU102) {
        /* It is entered at 0, where the part that is not secure lies; the secure one follows it. */
        out->imem_nonsecure = (struct falcon_section){code->os_code_offset, code->os_code_bytes, 0,
                                                      code->os_code_offset};
        out->imem = (struct falcon_section){code->app_code_offset, code->app_code_bytes,
                                            (uint32_t)align_up(code->os_code_bytes, BLOCK),
                                            code->app_code_offset};
        out->boot_vector = 0;
    } else {
        out->imem = (struct falcon_section){code->app_code_offset, code->app_code_bytes, 0,
                                            code->app_code_offset};
        out->boot_vector = code->app_code_offset;
        out->signature_dmem = code->signature_at - code->data_offset;
        out->engine_id_mask = (uint16_t)code->engine_id_mask;
        out->ucode_id = (uint8_t)code->ucode_id;
    }
    return 0;
}

static int booter_run(struct hw *hw, const char *name, const struct gsp_secure_code *code,
                      uint32_t mailbox[2])
{
    const uint32_t before[2] = {mailbox[0], mailbox[1]};
    unsigned fuse_version = 0;
    int error = 0;
    if (code->signature_count > 1)
        error = falcon_fuse_version(hw, (uint16_t)code->engine_id_mask, (uint8_t)code->ucode_id,
                                    &fuse_version);
    if (error < 0)
        return error;
    uint64_t bytes = align_up(code->image.bytes, BLOCK);
    uint8_t *image = page_alloc_dirty(bytes, 0);
    if (image == NULL)
        return hw_fail(hw, -ENOMEM, "%s: no memory for it", name);
    struct falcon_image parts;
    error = booter_image(code, hw->chip->falcon, fuse_version, image, &parts);
    if (error < 0)
        hw_fail(hw, error, "%s: it has %u signatures, none for this chip's fuse version %u", name,
                code->signature_count, fuse_version);
    else
        error = falcon_reset(hw, &falcon_sec2);
    if (error == 0)
        error = falcon_run_hs(hw, &falcon_sec2, &parts, mailbox);
    bool has_run = mailbox[0] != before[0] || mailbox[1] != before[1];
    /* A falcon that has not halted may still be reading the image: reset, or all transfers off, come first. */
    if (error < 0 && falcon_reset(hw, &falcon_sec2) < 0)
        pci_bus_master(hw->pci, false);
    page_free(image, bytes);
    if (error == 0 && mailbox[0] != 0 && !has_run)
        error = hw_fail(hw, -EIO,
                        "%s: it has not run: SEC2's boot ROM has refused its "
                        "signature (SEC2 mailboxes still %#x %#x)",
                        name, mailbox[0], mailbox[1]);
    if (error == 0 && mailbox[0] != 0)
        error = hw_fail(hw, -EIO, "%s: it failed with code %#x (SEC2 mailboxes %#x %#x)", name,
                        mailbox[0], mailbox[0], mailbox[1]);
    return error;
}

int booter_load(struct hw *hw, const struct gsp_secure_code *code, uint64_t wpr_meta_dma)
{
    uint32_t mailbox[2] = {(uint32_t)wpr_meta_dma, (uint32_t)(wpr_meta_dma >> 32)};
    return booter_run(hw, "booter_load", code, mailbox);
}

int booter_unload(struct hw *hw, const struct gsp_secure_code *code)
{
    uint64_t start, end;
    if (!fwsec_wpr2(hw, &start, &end))
        return 0;
    uint32_t mailbox[2] = {0xff, 0xff}; /* neither suspend nor sleep: no data to keep */
    int error = booter_run(hw, "booter_unload", code, mailbox);
    if (error == 0 && fwsec_wpr2(hw, &start, &end))
        error = hw_fail(hw, -EIO, "booter_unload: WPR2 is still up at %#llx .. %#llx",
                        (unsigned long long)start, (unsigned long long)end);
    return error;
}
