/*
 * gpu/nvidia/builtin.h: the kernels of gpu/kernels as cubins, one per architecture, packed and linked into the program.
 *
 * gpu/nvidia/cubins.py writes the table at build time; it is empty when there was no ptxas.
 */
#ifndef INGOT_GPU_NVIDIA_BUILTIN_H
#define INGOT_GPU_NVIDIA_BUILTIN_H

#include <stdint.h>

struct gpu_module;

struct nvidia_builtin {
    uint32_t sm, reserved;
    const uint8_t *packed;
    uint64_t packed_bytes, bytes;
};
extern const struct nvidia_builtin nvidia_builtins[];
extern const uint32_t nvidia_builtin_count;

/* Unpack and load into the module. */
int nvidia_builtin_load(struct gpu_module *module, const struct nvidia_builtin *builtin);
/* out gets exactly out_bytes, or -EINVAL: the data is broken. */
int nvidia_builtin_unpack(const uint8_t *packed, uint64_t packed_bytes, uint8_t *out, uint64_t out_bytes);

#endif
