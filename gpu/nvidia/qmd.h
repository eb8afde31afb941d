/*
 * gpu/nvidia/qmd.h: Queue Meta Data, the block of up to 384 bytes that describes one kernel launch to the compute engine.
 *
 * Its layout changes with the architecture: version 2 (Turing), 3 (Ampere, Ada), 4 (Hopper), 5 (Blackwell). One table in qmd.c
 * places each field in each version; everything else names fields. The encoder is a pure function of its input.
 */
#ifndef INGOT_GPU_NVIDIA_QMD_H
#define INGOT_GPU_NVIDIA_QMD_H

#include <stdbool.h>
#include <stdint.h>

#define QMD_DWORDS_MAX 96
#define QMD_DWORDS_USED 64 /* no version has a field that is set here beyond these: the rest stays zero */
#define QMD_ALIGN      256 /* the engine is given the address >> 8 */
#define QMD_GVA_LIMIT  (UINT64_C(1) << 40) /* ... in 32 bits */

enum qmd_version { QMD_V2 = 2, QMD_V3 = 3, QMD_V4 = 4, QMD_V5 = 5 };

enum qmd_field {
    QMD_MAJOR_VERSION,
    QMD_MINOR_VERSION,
    QMD_TYPE,
    QMD_GROUP_ID,
    QMD_SM_GLOBAL_CACHING_ENABLE,
    QMD_API_VISIBLE_CALL_LIMIT,
    QMD_SAMPLER_INDEX,
    QMD_CWD_MEMBAR_TYPE,
    QMD_SASS_VERSION,
    QMD_INVALIDATE_TEXTURE_HEADER_CACHE,
    QMD_INVALIDATE_TEXTURE_SAMPLER_CACHE,
    QMD_INVALIDATE_TEXTURE_DATA_CACHE,
    QMD_INVALIDATE_SHADER_DATA_CACHE,
    QMD_GRID_WIDTH,
    QMD_GRID_HEIGHT,
    QMD_GRID_DEPTH,
    QMD_CTA_THREAD_DIMENSION0,
    QMD_CTA_THREAD_DIMENSION1,
    QMD_CTA_THREAD_DIMENSION2,
    QMD_REGISTER_COUNT,
    QMD_BARRIER_COUNT,
    QMD_SHARED_MEMORY_SIZE,
    QMD_MIN_SM_CONFIG_SHARED_MEM_SIZE,
    QMD_MAX_SM_CONFIG_SHARED_MEM_SIZE,
    QMD_TARGET_SM_CONFIG_SHARED_MEM_SIZE,
    QMD_SHADER_LOCAL_MEMORY_HIGH_SIZE,
    QMD_PROGRAM_ADDRESS,
    QMD_PROGRAM_PREFETCH_ADDR_LOWER, /* of the address >> 8 */
    QMD_PROGRAM_PREFETCH_ADDR_UPPER,
    QMD_PROGRAM_PREFETCH_SIZE,       /* in units of 256 bytes */
    QMD_DEPENDENT_QMD0_POINTER,      /* address >> 8 */
    QMD_DEPENDENT_QMD0_ENABLE,
    QMD_DEPENDENT_QMD0_ACTION,
    QMD_DEPENDENT_QMD0_PREFETCH,
    QMD_CONSTANT_BUFFER_VALID,       /* from here on indexed */
    QMD_CONSTANT_BUFFER_INVALIDATE,
    QMD_CONSTANT_BUFFER_ADDR,
    QMD_CONSTANT_BUFFER_SIZE,
    QMD_RELEASE_ENABLE,
    QMD_RELEASE_STRUCTURE_SIZE,
    QMD_RELEASE_MEMBAR_TYPE,
    QMD_RELEASE_PAYLOAD64B,
    QMD_RELEASE_ADDR,
    QMD_RELEASE_PAYLOAD,
    QMD_FIELD_COUNT,
};

#define QMD_TYPE_GRID_CTA              2
#define QMD_CWD_MEMBAR_TYPE_L1_SYSMEMBAR 1
#define QMD_RELEASE_STRUCTURE_TWO_WORDS  2
#define QMD_DEPENDENT_ACTION_SCHEDULE    1

unsigned qmd_dwords(enum qmd_version version);
bool qmd_has(enum qmd_version version, enum qmd_field field);
const char *qmd_field_name(enum qmd_field field);
/* Largest value that the field takes; for a field that counts in larger units, in the units of qmd_set(). */
uint64_t qmd_max(enum qmd_version version, enum qmd_field field);

/* Asserts that the version has the field, and that value fits and is a multiple of the field's unit. */
void qmd_set(enum qmd_version version, uint32_t *qmd, enum qmd_field field, unsigned index, uint64_t value);
uint64_t qmd_get(enum qmd_version version, const uint32_t *qmd, enum qmd_field field, unsigned index);

/* What of a launch depends on the kernel and the block alone; set once and copied for every launch. */
struct qmd_program {
    enum qmd_version version;
    uint64_t program_gva, program_bytes;
    uint32_t sass_version;   /* 0x90 for sm_90 */
    uint32_t register_count; /* per thread */
    uint32_t barrier_count;
    uint32_t local_bytes;    /* per thread, a multiple of 16 */
    uint32_t shared_config_max_kib; /* largest split of an SM's memory for shared memory */
};
void qmd_program_encode(const struct qmd_program *program, uint32_t *qmd);

struct qmd_launch {
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;                /* per block, with what the system reserves; rounded up to 128 */
    uint32_t shared_min_kib, shared_target_kib; /* configured per SM: least, and best for occupancy */
    uint64_t constant_gva;
    uint32_t constant_bytes;
};
void qmd_launch_encode(enum qmd_version version, const struct qmd_launch *launch, uint32_t *qmd);

/* Write the 64-bit value to gva when the grid is complete and its writes are visible to everybody. slot 0 .. releases - 1. */
void qmd_release_encode(enum qmd_version version, uint32_t *qmd, unsigned slot, uint64_t gva, uint64_t value);
unsigned qmd_release_count(enum qmd_version version); /* slots that it has */

#endif
