/*
 * gpu/cpu/cpu_kernels.c: the built-in kernels as tables, one per instruction set that gpu/kernels is compiled for.
 */
#include <string.h>

#include "gpu/cpu/cpu.h"
#include "gpu/kernels/kernels.h"

#define DECLARE_SSE2(name, args)   kernel_function kernel_##name##_sse2;
#define DECLARE_AVX2(name, args)   kernel_function kernel_##name##_avx2;
#define DECLARE_AVX512(name, args) kernel_function kernel_##name##_avx512;
KERNEL_LIST(DECLARE_SSE2)
KERNEL_LIST(DECLARE_AVX2)
KERNEL_LIST(DECLARE_AVX512)

#define CHECK_ARGS(name, args) static_assert(sizeof(struct args) <= CPU_ARGS_BYTES_MAX, #name);
KERNEL_LIST(CHECK_ARGS)

#define ENTRY_SSE2(name, args)   {#name, kernel_##name##_sse2, sizeof(struct args)},
#define ENTRY_AVX2(name, args)   {#name, kernel_##name##_avx2, sizeof(struct args)},
#define ENTRY_AVX512(name, args) {#name, kernel_##name##_avx512, sizeof(struct args)},
static const struct cpu_kernel_entry sse2[] = {KERNEL_LIST(ENTRY_SSE2){NULL, NULL, 0}};
static const struct cpu_kernel_entry avx2[] = {KERNEL_LIST(ENTRY_AVX2){NULL, NULL, 0}};
static const struct cpu_kernel_entry avx512[] = {KERNEL_LIST(ENTRY_AVX512){NULL, NULL, 0}};

const struct cpu_kernel_entry *cpu_kernels_for(const char *instruction_set)
{
    if (strcmp(instruction_set, "sse2") == 0)
        return sse2;
    if (strcmp(instruction_set, "avx2") == 0)
        return avx2;
    if (strcmp(instruction_set, "avx512") == 0)
        return avx512;
    return NULL;
}

const char *cpu_kernels_best(void)
{
    const struct cpu_features *features = cpu_features();
    if (!features->avx2_fma || !features->f16c)
        return "sse2";
    return features->avx512 ? "avx512" : "avx2";
}
