/*
 * tests/fuzz/fuzz_gsp_firmware.c: NVIDIA's firmware files. The first byte says which kind; whatever a parser accepts must lie
 * inside the file, and what is accepted as a booter is made into an image for SEC2.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/booter.h"
#include "gpu/nvidia/gsp/firmware.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct gsp_bytes file, const uint8_t *part, uint64_t bytes)
{
    assert(part >= file.data && bytes <= file.bytes &&
           (uint64_t)(part - file.data) <= file.bytes - bytes);
}

static void run_booter(struct gsp_bytes file, const struct gsp_secure_code *code, unsigned version)
{
    check_inside(file, code->image.data, code->image.bytes);
    check_inside(file, code->signatures, (uint64_t)code->signature_count * code->signature_bytes);
    for (unsigned kind = HW_FALCON_TU102; kind <= HW_FALCON_GA102; kind++) {
        /* Exactly as large as it must be: one byte more written is caught. */
        uint8_t *image = malloc(align_up(code->image.bytes, 256));
        struct falcon_image parts;
        assert(image != NULL);
        if (booter_image(code, (enum hw_falcon)kind, version, image, &parts) == 0)
            assert((uint64_t)parts.dmem.offset + parts.dmem.size_bytes <= parts.size_bytes &&
                   (uint64_t)parts.imem.offset + parts.imem.size_bytes <= parts.size_bytes);
        else
            assert(version >= code->signature_count);
        free(image);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const folders[] = {"tu102", "ga102", "gh100", "none"};
    if (size < 2)
        return 0;
    struct gsp_bytes file = {data + 2, size - 2};
    const char *problem = NULL;
    struct gsp_program program;
    struct gsp_boot_loader boot_loader;
    struct gsp_secure_code code;
    struct fwsec_loader loader;
    struct gsp_fmc fmc;
    int error = 0;
    switch (data[0] % 5) {
    case 0:
        error = gsp_program_parse(file, folders[data[1] % 4], &program, &problem);
        if (error == 0) {
            check_inside(file, program.image.data, program.image.bytes);
            check_inside(file, program.signature.data, program.signature.bytes);
        }
        break;
    case 1:
        error = gsp_boot_loader_parse(file, &boot_loader, &problem);
        if (error == 0) {
            check_inside(file, boot_loader.image.data, boot_loader.image.bytes);
            assert(boot_loader.code_offset <= boot_loader.image.bytes &&
                   boot_loader.data_offset <= boot_loader.image.bytes &&
                   boot_loader.manifest_offset <= boot_loader.image.bytes);
        }
        break;
    case 2:
        error = gsp_secure_code_parse(file, &code, &problem);
        if (error == 0)
            run_booter(file, &code, data[1] % 4);
        break;
    case 3:
        error = gsp_loader_parse(file, &loader, &problem);
        if (error == 0)
            check_inside(file, loader.code, loader.size_bytes);
        break;
    default:
        error = gsp_fmc_parse(file, &fmc, &problem);
        if (error == 0) {
            check_inside(file, fmc.image.data, fmc.image.bytes);
            check_inside(file, fmc.hash.data, GSP_FMC_HASH_BYTES);
            check_inside(file, fmc.public_key.data, fmc.public_key.bytes);
            check_inside(file, fmc.signature.data, fmc.signature.bytes);
        }
    }
    assert(error == 0 || (error == -EINVAL && problem != NULL));
    return 0;
}
