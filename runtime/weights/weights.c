/*
 * runtime/weights/weights.c: what both weight formats share: element types, the table of tensors, and its checks.
 *
 * Names and ids of the element types: safetensors' Dtype (safetensors/src/tensor.rs of huggingface/safetensors, May
 * 2026) and ggml's enum ggml_type with the block structures of ggml-common.h (ggml-org/ggml, August 2026). A block's
 * size is the sum of its structure's members, which ggml asserts to have no padding; the comments add them up.
 */
#include "runtime/weights/weights_private.h"

#include "runtime/volume/sort.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- element types --------------------------------------------------------------------------------------------- */

#define PLAIN(name, bits)            {name, 1, bits}
#define BLOCK(name, elements, bytes) {name, elements, (bytes) * 8}

static const struct weights_type_info types[WEIGHTS_TYPE_COUNT] = {
    [WEIGHTS_F64] = PLAIN("F64", 64),
    [WEIGHTS_F32] = PLAIN("F32", 32),
    [WEIGHTS_F16] = PLAIN("F16", 16),
    [WEIGHTS_BF16] = PLAIN("BF16", 16),
    [WEIGHTS_F8_E4M3] = PLAIN("F8_E4M3", 8),
    [WEIGHTS_F8_E5M2] = PLAIN("F8_E5M2", 8),
    [WEIGHTS_F8_E8M0] = PLAIN("F8_E8M0", 8),
    [WEIGHTS_F8_E4M3FNUZ] = PLAIN("F8_E4M3FNUZ", 8),
    [WEIGHTS_F8_E5M2FNUZ] = PLAIN("F8_E5M2FNUZ", 8),
    [WEIGHTS_F6_E2M3] = PLAIN("F6_E2M3", 6),
    [WEIGHTS_F6_E3M2] = PLAIN("F6_E3M2", 6),
    [WEIGHTS_F4] = PLAIN("F4", 4),
    [WEIGHTS_C64] = PLAIN("C64", 64),
    [WEIGHTS_I64] = PLAIN("I64", 64),
    [WEIGHTS_I32] = PLAIN("I32", 32),
    [WEIGHTS_I16] = PLAIN("I16", 16),
    [WEIGHTS_I8] = PLAIN("I8", 8),
    [WEIGHTS_U64] = PLAIN("U64", 64),
    [WEIGHTS_U32] = PLAIN("U32", 32),
    [WEIGHTS_U16] = PLAIN("U16", 16),
    [WEIGHTS_U8] = PLAIN("U8", 8),
    [WEIGHTS_BOOL] = PLAIN("BOOL", 8),

    [WEIGHTS_Q4_0] = BLOCK("Q4_0", 32, 2 + 16),
    [WEIGHTS_Q4_1] = BLOCK("Q4_1", 32, 2 + 2 + 16),
    [WEIGHTS_Q5_0] = BLOCK("Q5_0", 32, 2 + 4 + 16),
    [WEIGHTS_Q5_1] = BLOCK("Q5_1", 32, 2 + 2 + 4 + 16),
    [WEIGHTS_Q8_0] = BLOCK("Q8_0", 32, 2 + 32),
    [WEIGHTS_Q8_1] = BLOCK("Q8_1", 32, 2 + 2 + 32),
    [WEIGHTS_Q2_K] = BLOCK("Q2_K", 256, 16 + 64 + 2 + 2),
    [WEIGHTS_Q3_K] = BLOCK("Q3_K", 256, 32 + 64 + 12 + 2),
    [WEIGHTS_Q4_K] = BLOCK("Q4_K", 256, 2 + 2 + 12 + 128),
    [WEIGHTS_Q5_K] = BLOCK("Q5_K", 256, 2 + 2 + 12 + 32 + 128),
    [WEIGHTS_Q6_K] = BLOCK("Q6_K", 256, 128 + 64 + 16 + 2),
    [WEIGHTS_Q8_K] = BLOCK("Q8_K", 256, 4 + 256 + 16 * 2),
    [WEIGHTS_IQ1_S] = BLOCK("IQ1_S", 256, 2 + 32 + 8 * 2),
    [WEIGHTS_IQ1_M] = BLOCK("IQ1_M", 256, 32 + 16 + 8),
    [WEIGHTS_IQ2_XXS] = BLOCK("IQ2_XXS", 256, 2 + 32 * 2),
    [WEIGHTS_IQ2_XS] = BLOCK("IQ2_XS", 256, 2 + 32 * 2 + 8),
    [WEIGHTS_IQ2_S] = BLOCK("IQ2_S", 256, 2 + 64 + 8 + 8),
    [WEIGHTS_IQ3_XXS] = BLOCK("IQ3_XXS", 256, 2 + 96),
    [WEIGHTS_IQ3_S] = BLOCK("IQ3_S", 256, 2 + 64 + 8 + 32 + 4),
    [WEIGHTS_IQ4_NL] = BLOCK("IQ4_NL", 32, 2 + 16),
    [WEIGHTS_IQ4_XS] = BLOCK("IQ4_XS", 256, 2 + 2 + 4 + 128),
    [WEIGHTS_TQ1_0] = BLOCK("TQ1_0", 256, 48 + 4 + 2),
    [WEIGHTS_TQ2_0] = BLOCK("TQ2_0", 256, 64 + 2),
    [WEIGHTS_MXFP4] = BLOCK("MXFP4", 32, 1 + 16),
    [WEIGHTS_NVFP4] = BLOCK("NVFP4", 64, 4 + 32),
    [WEIGHTS_Q1_0] = BLOCK("Q1_0", 128, 2 + 16),
    [WEIGHTS_Q2_0] = BLOCK("Q2_0", 64, 2 + 16),
};

const struct weights_type_info *weights_type_info(enum weights_type type)
{
    return (unsigned)type < WEIGHTS_TYPE_COUNT ? &types[type] : NULL;
}

/* ---- memory that lives as long as the model -------------------------------------------------------------------- */

#define ARENA_BLOCK_BYTES 65536

struct arena_block {
    struct arena_block *next;
    size_t used, capacity;
    char bytes[];
};

char *weights_build_text(struct weights_build *build, const char *text, size_t size_bytes)
{
    struct arena_block *block = build->arena;
    if (!block || block->capacity - block->used <= size_bytes) {
        /* Short models get small blocks: the first is 4 KiB, and no text shares a block that it would fill. */
        size_t capacity = block ? ARENA_BLOCK_BYTES : 4096;
        if (size_bytes + 1 > capacity)
            capacity = size_bytes + 1;
        block = malloc(sizeof(*block) + capacity);
        if (!block)
            return NULL;
        *block = (struct arena_block){.next = build->arena, .capacity = capacity};
        build->arena = block;
    }
    char *copy = block->bytes + block->used;
    memcpy(copy, text, size_bytes);
    copy[size_bytes] = 0;
    block->used += size_bytes + 1;
    return copy;
}

void weights_free(struct weights *weights)
{
    if (!weights)
        return;
    struct weights_build *build = (struct weights_build *)weights;
    while (build->arena) {
        struct arena_block *block = build->arena;
        build->arena = block->next;
        free(block);
    }
    free(build->by_name);
    free(weights->tensors);
    free(weights->metadata);
    free(build);
}

/* Room for one more item: the table doubles, up to limit. -E2BIG past it, -ENOMEM. */
static int table_grow(void **items, uint32_t count, uint32_t *capacity, size_t item_bytes,
                      uint32_t limit)
{
    if (count < *capacity)
        return 0;
    if (count >= limit)
        return -E2BIG;
    uint32_t wanted = *capacity ? *capacity * 2 : 16;
    void *grown = realloc(*items, wanted * item_bytes);
    if (!grown)
        return -ENOMEM;
    *items = grown;
    *capacity = wanted;
    return 0;
}

int weights_build_tensor(struct weights_build *build, const struct tensor *tensor)
{
    struct weights *weights = &build->weights;
    void *items = weights->tensors;
    int error = table_grow(&items, weights->tensor_count, &build->tensor_capacity, sizeof(*tensor),
                           WEIGHTS_TENSORS_MAX);
    weights->tensors = items;
    if (error == -E2BIG)
        return weights_refuse(build, -EUCLEAN, "the file has more than %u tensors",
                              WEIGHTS_TENSORS_MAX);
    if (error != 0)
        return weights_refuse(build, error, "no memory for the table of tensors");
    weights->tensors[weights->tensor_count++] = *tensor;
    return 0;
}

int weights_build_metadata(struct weights_build *build, const char *key, const char *value)
{
    struct weights *weights = &build->weights;
    void *items = weights->metadata;
    int error = table_grow(&items, weights->metadata_count, &build->metadata_capacity,
                           sizeof(struct metadata), WEIGHTS_METADATA_MAX);
    weights->metadata = items;
    if (error == -E2BIG)
        return weights_refuse(build, -EUCLEAN, "the file has more than %u metadata keys",
                              WEIGHTS_METADATA_MAX);
    if (error != 0 || !key || !value)
        return weights_refuse(build, -ENOMEM, "no memory for the metadata");
    weights->metadata[weights->metadata_count++] = (struct metadata){key, value};
    return 0;
}

/* ---- checks ---------------------------------------------------------------------------------------------------- */

int weights_build_read(struct weights_build *build, uint64_t offset, void *out, uint64_t size_bytes)
{
    assert(offset <= build->weights.file_bytes && size_bytes <= build->weights.file_bytes - offset);
    int error = size_bytes > 0 ? build->read(build->read_arg, offset, out, size_bytes) : 0;
    if (error != 0 && build->reason[0] == 0)
        weights_refuse(build, error, "reading the file's header at byte %" PRIu64 " failed",
                       offset);
    return error;
}

int weights_check_name(struct weights_build *build, const char *what, const char *name,
                       size_t size_bytes)
{
    char brief[WEIGHTS_BRIEF_BYTES];
    if (size_bytes == 0)
        return weights_refuse(build, -EUCLEAN, "%s has an empty name", what);
    if (size_bytes > WEIGHTS_NAME_BYTES_MAX)
        return weights_refuse(build, -EUCLEAN, "%s has a name of %zu bytes, more than %u", what,
                              size_bytes, WEIGHTS_NAME_BYTES_MAX);
    unsigned used;
    for (size_t i = 0; i < size_bytes; i += used) {
        uint32_t code = utf8_get(name + i, size_bytes - i, &used);
        if (code == UINT32_MAX || code < 0x20 || code == 0x7f)
            return weights_refuse(
                build, -EUCLEAN, "%s \"%s\": its name has %s at byte %zu", what,
                text_brief(brief, sizeof(brief), name, size_bytes),
                code == UINT32_MAX ? "bytes that are not UTF-8" : "a control character", i);
    }
    return 0;
}

int weights_check_shape(struct weights_build *build, struct tensor *tensor)
{
    const struct weights_type_info *info = &types[tensor->type];
    char brief[WEIGHTS_BRIEF_BYTES];
    uint64_t elements = 1, blocks, bits;
    for (uint32_t i = 0; i < tensor->dimension_count; i++)
        if (__builtin_mul_overflow(elements, tensor->shape[i], &elements))
            goto overflow;
    uint64_t row = tensor->dimension_count > 0 ? tensor->shape[tensor->dimension_count - 1] : 1;
    if (row % info->block_elements != 0)
        return weights_refuse(build, -EUCLEAN,
                              "tensor \"%s\": rows of %" PRIu64
                              " elements are not whole blocks of %" PRIu32 " (%s)",
                              text_brief(brief, sizeof(brief), tensor->name, strlen(tensor->name)),
                              row, info->block_elements, info->name);
    blocks = elements / info->block_elements;
    if (__builtin_mul_overflow(blocks, info->block_bits, &bits) || elements > INT64_MAX)
        goto overflow;
    if (bits % 8 != 0)
        return weights_refuse(build, -EUCLEAN,
                              "tensor \"%s\": %" PRIu64 " elements of %" PRIu32
                              " bits do not end at a byte",
                              text_brief(brief, sizeof(brief), tensor->name, strlen(tensor->name)),
                              elements, info->block_bits);
    tensor->element_count = elements;
    tensor->size_bytes = bits / 8;
    return 0;

overflow:
    return weights_refuse(build, -EUCLEAN,
                          "tensor \"%s\": its shape has more elements than can be counted",
                          text_brief(brief, sizeof(brief), tensor->name, strlen(tensor->name)));
}

/* ---- the finished table ---------------------------------------------------------------------------------------- */

static int compare_places(const struct tensor *a, const struct tensor *b)
{
    if (a->file_offset != b->file_offset)
        return a->file_offset < b->file_offset ? -1 : 1;
    if (a->size_bytes != b->size_bytes)
        return a->size_bytes < b->size_bytes
                   ? -1
                   : 1; /* an empty tensor before the one that starts where it is */
    return strcmp(a->name, b->name);
}

static int compare_tensor_places(const void *a, const void *b)
{
    return compare_places(*(struct tensor *const *)a, *(struct tensor *const *)b);
}

static int compare_tensor_names(const void *a, const void *b)
{
    return strcmp((*(struct tensor *const *)a)->name, (*(struct tensor *const *)b)->name);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(struct metadata *const *)a)->key, (*(struct metadata *const *)b)->key);
}

/* Tensors in the order of their data. Pointers are sorted, so that the large structs move once. */
static int tensors_sort(struct weights_build *build)
{
    struct weights *weights = &build->weights;
    uint32_t count = weights->tensor_count, in_order = 1;
    while (in_order < count &&
           compare_places(&weights->tensors[in_order - 1], &weights->tensors[in_order]) <= 0)
        in_order++;
    if (in_order >= count)
        return 0;
    struct tensor **order = malloc(count * sizeof(*order));
    struct tensor *sorted = malloc(count * sizeof(*sorted));
    if (!order || !sorted) {
        free(order);
        free(sorted);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++)
        order[i] = &weights->tensors[i];
    heap_sort(order, count, sizeof(*order), compare_tensor_places);
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = *order[i];
    free(order);
    free(weights->tensors);
    weights->tensors = sorted;
    build->tensor_capacity = count;
    return 0;
}

static int tensor_names_check(struct weights_build *build)
{
    struct weights *weights = &build->weights;
    char brief[WEIGHTS_BRIEF_BYTES];
    uint32_t count = weights->tensor_count;
    build->by_name = malloc((count + 1) * sizeof(*build->by_name));
    if (!build->by_name)
        return weights_refuse(build, -ENOMEM, "no memory for the table of tensors");
    for (uint32_t i = 0; i < count; i++)
        build->by_name[i] = &weights->tensors[i];
    heap_sort(build->by_name, count, sizeof(*build->by_name), compare_tensor_names);
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(build->by_name[i - 1]->name, build->by_name[i]->name) == 0)
            return weights_refuse(build, -EUCLEAN, "two tensors have the name \"%s\"",
                                  text_brief(brief, sizeof(brief), build->by_name[i]->name,
                                             strlen(build->by_name[i]->name)));
    return 0;
}

static int metadata_keys_check(struct weights_build *build)
{
    struct weights *weights = &build->weights;
    char brief[WEIGHTS_BRIEF_BYTES];
    uint32_t count = weights->metadata_count;
    struct metadata **order = malloc((count + 1) * sizeof(*order));
    if (!order)
        return weights_refuse(build, -ENOMEM, "no memory for the metadata");
    for (uint32_t i = 0; i < count; i++)
        order[i] = &weights->metadata[i];
    heap_sort(order, count, sizeof(*order), compare_keys);
    int error = 0;
    for (uint32_t i = 1; i < count && error == 0; i++)
        if (strcmp(order[i - 1]->key, order[i]->key) == 0)
            error = weights_refuse(
                build, -EUCLEAN, "the metadata has the key \"%s\" twice",
                text_brief(brief, sizeof(brief), order[i]->key, strlen(order[i]->key)));
    free(order);
    return error;
}

int weights_build_finish(struct weights_build *build)
{
    if (tensors_sort(build) != 0)
        return weights_refuse(build, -ENOMEM, "no memory for the table of tensors");
    int error = tensor_names_check(build);
    return error != 0 ? error : metadata_keys_check(build);
}

const struct tensor *weights_find(const struct weights *weights, const char *name)
{
    const struct weights_build *build = (const struct weights_build *)weights;
    uint32_t low = 0, high = weights->tensor_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(build->by_name[middle]->name, name);
        if (order == 0)
            return build->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- which format ---------------------------------------------------------------------------------------------- */

static int identify_other(struct weights_build *build, const uint8_t *head, uint64_t size_bytes)
{
    if (size_bytes >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "\x80\2", 2) == 0))
        return weights_refuse(build, -ENOTSUP,
                              "a PyTorch checkpoint is not supported: convert it to safetensors");
    if (size_bytes >= 4 && (memcmp(head, "lmgg", 4) == 0 || memcmp(head, "fmgg", 4) == 0 ||
                            memcmp(head, "tjgg", 4) == 0))
        return weights_refuse(build, -ENOTSUP,
                              "the file has ggml's older format: convert it to GGUF");
    return weights_refuse(build, -ENOTSUP, "neither a safetensors nor a GGUF file");
}

/* The header of a safetensors file begins with '{', perhaps after white space that writers pad with. */
static bool is_json_start(uint8_t byte)
{
    return byte == '{' || byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

int weights_parse(weights_read read, void *arg, uint64_t file_bytes, struct weights **out,
                  char *reason, size_t reason_bytes)
{
    *out = NULL;
    reason[0] = 0;
    struct weights_build *build = calloc(1, sizeof(*build));
    if (!build)
        return refuse(-ENOMEM, reason, reason_bytes, "no memory to read the file's header");
    build->weights.file_bytes = file_bytes;
    build->read = read;
    build->read_arg = arg;
    build->reason = reason;
    build->reason_bytes = reason_bytes;

    uint8_t head[9] = {0};
    uint64_t head_bytes = min_u64(sizeof(head), file_bytes);
    int error = weights_build_read(build, 0, head, head_bytes);
    if (error == 0) {
        if (head_bytes >= 4 && memcmp(head, "GGUF", 4) == 0)
            error = gguf_parse(build);
        else if (head_bytes == 9 && is_json_start(head[8]))
            error = safetensors_parse(build);
        else
            error = identify_other(build, head, head_bytes);
    }
    if (error != 0) {
        weights_free(&build->weights);
        return error;
    }
    *out = &build->weights;
    return 0;
}
