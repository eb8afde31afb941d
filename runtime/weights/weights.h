/*
 * runtime/weights/weights.h: weight files. safetensors, and GGUF versions 2 and 3.
 *
 * A parser reads the file's head through a callback, checks every offset, length and count before using it, and leaves
 * a table of tensors. The data itself is never touched: tensors are byte ranges of the file.
 */
#ifndef INGOT_WEIGHTS_H
#define INGOT_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Element types of both formats. Values are ours; weights_type_info() has the formats' names. */
enum weights_type {
    WEIGHTS_F64, WEIGHTS_F32, WEIGHTS_F16, WEIGHTS_BF16, WEIGHTS_F8_E4M3, WEIGHTS_F8_E5M2, WEIGHTS_F8_E8M0,
    WEIGHTS_F8_E4M3FNUZ, WEIGHTS_F8_E5M2FNUZ, WEIGHTS_F6_E2M3, WEIGHTS_F6_E3M2, WEIGHTS_F4,
    WEIGHTS_C64, WEIGHTS_I64, WEIGHTS_I32, WEIGHTS_I16, WEIGHTS_I8, WEIGHTS_U64, WEIGHTS_U32, WEIGHTS_U16, WEIGHTS_U8,
    WEIGHTS_BOOL,
    /* ggml blocks */
    WEIGHTS_Q4_0, WEIGHTS_Q4_1, WEIGHTS_Q5_0, WEIGHTS_Q5_1, WEIGHTS_Q8_0, WEIGHTS_Q8_1, WEIGHTS_Q2_K, WEIGHTS_Q3_K,
    WEIGHTS_Q4_K, WEIGHTS_Q5_K, WEIGHTS_Q6_K, WEIGHTS_Q8_K, WEIGHTS_IQ1_S, WEIGHTS_IQ1_M, WEIGHTS_IQ2_XXS,
    WEIGHTS_IQ2_XS, WEIGHTS_IQ2_S, WEIGHTS_IQ3_XXS, WEIGHTS_IQ3_S, WEIGHTS_IQ4_NL, WEIGHTS_IQ4_XS, WEIGHTS_TQ1_0,
    WEIGHTS_TQ2_0, WEIGHTS_MXFP4, WEIGHTS_NVFP4, WEIGHTS_Q1_0, WEIGHTS_Q2_0,
    WEIGHTS_TYPE_COUNT
};

struct weights_type_info {
    const char *name;        /* as the format spells it: "BF16", "Q4_K" */
    uint32_t block_elements; /* elements per block, 1 for plain types */
    uint32_t block_bits;     /* size of a block in bits (F4 and F6 are not whole bytes) */
};
const struct weights_type_info *weights_type_info(enum weights_type type);

#define WEIGHTS_DIMENSIONS_MAX 8

struct tensor {
    const char *name;                       /* UTF-8, NUL-terminated, owned by the model */
    enum weights_type type;
    uint32_t dimension_count;               /* 0: a scalar */
    uint64_t shape[WEIGHTS_DIMENSIONS_MAX]; /* outermost first (GGUF stores the reverse) */
    uint64_t element_count;
    uint64_t file_offset, size_bytes;
};

struct metadata {
    const char *key;
    const char *value; /* as JSON text; long arrays are cut and say so */
};

enum weights_format { WEIGHTS_SAFETENSORS, WEIGHTS_GGUF };

struct weights {
    enum weights_format format;
    uint32_t version;            /* GGUF's; 0 for safetensors */
    uint64_t file_bytes, data_offset;
    struct tensor *tensors;      /* in file order of their data */
    uint32_t tensor_count;
    struct metadata *metadata;
    uint32_t metadata_count;
};

/* Read size_bytes at offset of the file into out; 0 or a negative errno. Never asked for bytes past file_bytes. */
typedef int (*weights_read)(void *arg, uint64_t offset, void *out, uint64_t size_bytes);

/*
 * Parse a file of file_bytes. -EUCLEAN when it is damaged or lies, -ENOTSUP for another format or version, -ENOMEM, or
 * what read returned; reason (at least 160 bytes) says which field is wrong and, where it helps, its value.
 * Header limits: 100 MB of JSON (safetensors' own), 1,000,000 tensors, 1,000,000 keys; memory is bounded by a small
 * multiple of the header's size, which is at most file_bytes.
 */
int weights_parse(weights_read read, void *arg, uint64_t file_bytes, struct weights **out, char *reason,
                  size_t reason_bytes);
void weights_free(struct weights *weights);
const struct tensor *weights_find(const struct weights *weights, const char *name);

#endif
