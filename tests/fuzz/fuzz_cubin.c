/*
 * tests/fuzz/fuzz_cubin.c: the cubin loader: whatever opens is also made into an image, relocated.
 */
#include <stdlib.h>

#include "gpu/nvidia/cubin.h"
#include "kernel/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cubin_kernel kernels[CUBIN_KERNELS_MAX];
    struct cubin cubin;
    int error = cubin_open(&cubin, data, size, kernels, CUBIN_KERNELS_MAX);
    if (error != 0) {
        assert((error == -ENOEXEC || error == -ENOSPC) && cubin.problem != NULL);
        return 0;
    }
    for (unsigned i = 0; i < cubin.kernel_count; i++)
        assert(kernels[i].text_offset + kernels[i].text_bytes <= cubin.image_bytes &&
               kernels[i].args_offset + kernels[i].args_bytes <= kernels[i].bank0_bytes);
    if (cubin.image_bytes > 1 << 20)
        return 0; /* zeroed globals may be large; nothing else is learnt from them */
    uint8_t *image = malloc(cubin.image_bytes);
    assert(image != NULL);
    error = cubin_image(&cubin, image, UINT64_C(0x1234500000));
    assert(error == 0 || (error == -ENOEXEC && cubin.problem != NULL));
    free(image);
    return 0;
}
