/*
 * tests/fuzz/fuzz_vbios.c: the VBIOS parser, and the command that is put into what it finds. The first byte says what the
 * rest is: the PROM window itself, or changes (offset, offset, value) to an image made with its low bits, cut at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/vbios.h"
#include "tests/unit/vbios_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_in(const uint8_t *bytes, size_t size, const uint8_t *part, size_t part_size)
{
    return part >= bytes && part_size <= size && (size_t)(part - bytes) <= size - part_size;
}

static void use(const uint8_t *bytes, size_t size, bool is_debug)
{
    /* In memory of just this size, so that the sanitizer sees a byte too many. */
    uint8_t *window = malloc(size == 0 ? 1 : size);
    assert(window != NULL);
    memcpy(window, bytes, size);
    struct vbios vbios;
    char error[160] = "";
    int result = vbios_parse(window, (uint32_t)size, is_debug, &vbios, error);
    if (result != 0) {
        assert(result == -EINVAL && error[0] != '\0' && vbios.fwsec.code == NULL);
        free(window);
        return;
    }
    const struct vbios_fwsec *fwsec = &vbios.fwsec;
    assert(fwsec->version == 2 || fwsec->version == 3);
    assert(lies_in(window, size, fwsec->code, fwsec->code_bytes));
    assert(lies_in(window, size, fwsec->data, fwsec->data_bytes));
    assert(strlen(vbios.version) < sizeof(vbios.version));
    for (unsigned version = 0; fwsec->version == 3 && version < 20; version++) {
        const uint8_t *signature = vbios_signature(fwsec, version);
        assert(signature == NULL || lies_in(window, size, signature, VBIOS_SIGNATURE_BYTES));
    }
    uint8_t *copy = malloc(fwsec->data_bytes == 0 ? 1 : fwsec->data_bytes);
    assert(copy != NULL);
    memcpy(copy, fwsec->data, fwsec->data_bytes);
    const char *problem = NULL;
    result = fwsec_patch(copy, fwsec->data_bytes, fwsec->interface_offset, FWSEC_COMMAND_FRTS,
                         UINT64_C(0x5ffe00000), FWSEC_FRTS_BYTES, &problem);
    assert(problem != NULL && (result == 0) == (problem[0] == '\0'));
    free(copy);
    free(window);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vbios_image image;
    if (size == 0 || size > VBIOS_BYTES_MAX)
        return 0;
    uint8_t mode = data[0];
    if (mode & 0x80) {
        use(data + 1, size - 1, mode & 1);
        return 0;
    }
    static const unsigned applications[4] = {0x85, 0x05, 0x45, 0x85};
    const struct vbios_recipe recipe = {
        .desc_version = mode & 1 ? 3 : 2,
        .ifr_version = mode >> 1 & 3,
        .signature_versions = mode & 8 ? 0x7 : 0x8002,
        .application = applications[mode >> 4 & 3],
    };
    vbios_make(&image, &recipe);
    uint32_t end = image.size;
    for (size_t at = 1; at + 3 <= size; at += 3) {
        uint32_t offset = (uint32_t)data[at] | (uint32_t)data[at + 1] << 8;
        if (offset == 0xffff)
            end = image.size - image.size * data[at + 2] / 256;
        else if (offset < image.size)
            image.bytes[offset] = data[at + 2];
        if (offset - image.bit < 12) /* a wrong sum would end it all there */
            vbios_checksum(&image);
    }
    use(image.bytes, end, mode & 0x40);
    return 0;
}
