/*
 * gpu/kernels/dequant.c: dequant_TYPE, elements of any type to F32. dequant_f32 is a copy from any alignment.
 */
#include "gpu/kernels/elements.h"
#include "gpu/kernels/kernel.h"
#include "gpu/kernels/kernels.h"

#define DEQUANT_KERNEL(type, unused) \
    KERNEL_WITH(dequant_##type, struct dequant_args) \
    { \
        uint64_t begin = (uint64_t)BLOCK_INDEX_X * BLOCK_ELEMENTS; \
        uint64_t end = smaller_u64(begin + BLOCK_ELEMENTS, ARGS->count); \
        const void *data = ARGS->data; \
        float *out = ARGS->out; \
        FOR_RANGE (t, i, begin, end) \
            out[i] = (float)value_##type(data, i); \
    }

ELEMENT_TYPES(DEQUANT_KERNEL, )
