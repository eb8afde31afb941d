/*
 * gpu/nvidia/builtin.c: unpacks the built-in cubins.
 *
 * The format is the LZ4 block format (lz4_Block_format.md): a token with two 4-bit lengths, literals, a 16-bit distance back.
 * Cubins of many similar instructions shrink to a sixth, and the image has to stay small.
 */
#include "gpu/nvidia/builtin.h"

#include <stdlib.h>

#include "gpu/nvidia/device.h"

/* A length of 15 continues in bytes of 255 until a smaller one. -1: past the end of the input or absurd. */
static int64_t read_length(uint64_t length, const uint8_t **in, const uint8_t *in_end)
{
    if (length != 15)
        return (int64_t)length;
    uint8_t more;
    do {
        if (*in == in_end || length > UINT32_MAX)
            return -1;
        more = *(*in)++;
        length += more;
    } while (more == 255);
    return (int64_t)length;
}

int nvidia_builtin_unpack(const uint8_t *packed, uint64_t packed_bytes, uint8_t *out,
                          uint64_t out_bytes)
{
    const uint8_t *in = packed, *in_end = packed + packed_bytes;
    uint64_t at = 0;
    while (in < in_end) {
        unsigned token = *in++;
        int64_t literals = read_length(token >> 4, &in, in_end);
        if (literals < 0 || literals > in_end - in || (uint64_t)literals > out_bytes - at)
            return -EINVAL;
        for (int64_t i = 0; i < literals; i++)
            out[at++] = *in++;
        if (in == in_end) /* the last sequence has literals only */
            break;
        if (in_end - in < 2)
            return -EINVAL;
        uint64_t distance = in[0] | (uint64_t)in[1] << 8;
        in += 2;
        int64_t match = read_length(token & 15, &in, in_end);
        if (match < 0 || distance == 0 || distance > at || (uint64_t)match + 4 > out_bytes - at)
            return -EINVAL;
        for (int64_t i = 0; i < match + 4;
             i++, at++) /* source and destination may overlap: byte by byte */
            out[at] = out[at - distance];
    }
    return at == out_bytes ? 0 : -EINVAL;
}

int nvidia_builtin_load(struct gpu_module *module, const struct nvidia_builtin *builtin)
{
    uint8_t *cubin = malloc(builtin->bytes);
    if (!cubin)
        return gpu_fail(-ENOMEM, "no memory for the built-in kernels");
    int error =
        nvidia_builtin_unpack(builtin->packed, builtin->packed_bytes, cubin, builtin->bytes);
    assert(error == 0); /* our own build wrote it */
    error = nvidia_module_load(module, cubin, builtin->bytes);
    free(cubin);
    return error;
}
