/*
 * tests/fuzz/weights_check.h: what must hold of every header that the parser takes, for both formats' fuzzers.
 */
#ifndef INGOT_FUZZ_WEIGHTS_CHECK_H
#define INGOT_FUZZ_WEIGHTS_CHECK_H

#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "runtime/volume/text.h"
#include "runtime/weights/weights.h"
#include "tests/host/host.h"

/* A file of which only the head is there; the rest reads as zeros. */
struct fuzz_file {
    const uint8_t *head;
    uint64_t head_bytes, file_bytes;
};

static void check(bool condition)
{
    if (!condition)
        abort();
}

static int fuzz_read(void *arg, uint64_t offset, void *out, uint64_t size_bytes)
{
    struct fuzz_file *file = arg;
    check(size_bytes > 0 && offset <= file->file_bytes && size_bytes <= file->file_bytes - offset);
    memset(out, 0, size_bytes);
    if (offset < file->head_bytes)
        memcpy(out, file->head + offset, min_u64(size_bytes, file->head_bytes - offset));
    return 0;
}

static void check_weights(const struct weights *weights, uint64_t file_bytes)
{
    check(weights->data_offset <= file_bytes && weights->file_bytes == file_bytes);
    uint64_t end = weights->data_offset;
    for (uint32_t i = 0; i < weights->tensor_count; i++) {
        const struct tensor *tensor = &weights->tensors[i];
        check(tensor->file_offset >= end && tensor->file_offset <= file_bytes);
        check(tensor->size_bytes <= file_bytes - tensor->file_offset);
        end = tensor->file_offset + tensor->size_bytes;
        check(tensor->name[0] && utf8_is_valid(tensor->name, strlen(tensor->name)));
        check(weights_find(weights, tensor->name) == tensor);
        const struct weights_type_info *info = weights_type_info(tensor->type);
        unsigned __int128 elements = 1;
        check(info && tensor->dimension_count <= WEIGHTS_DIMENSIONS_MAX);
        for (uint32_t d = 0; d < tensor->dimension_count; d++)
            elements *= tensor->shape[d];
        check(elements == tensor->element_count);
        check(elements / info->block_elements * info->block_bits == (unsigned __int128)tensor->size_bytes * 8);
    }
    for (uint32_t i = 0; i < weights->metadata_count; i++) {
        const struct metadata *metadata = &weights->metadata[i];
        check(utf8_is_valid(metadata->key, strlen(metadata->key)));
        yyjson_doc *value = yyjson_read(metadata->value, strlen(metadata->value), 0);
        check(value != NULL);
        yyjson_doc_free(value);
    }
}

static void parse_and_check(struct fuzz_file *file)
{
    char reason[160];
    struct weights *weights;
    int error = weights_parse(fuzz_read, file, file->file_bytes, &weights, reason, sizeof(reason));
    check(utf8_is_valid(reason, strnlen(reason, sizeof(reason))) && strnlen(reason, sizeof(reason)) < sizeof(reason));
    if (error == 0) {
        check_weights(weights, file->file_bytes);
        weights_free(weights);
    } else {
        check(weights == NULL && reason[0] != 0);
        check(error == -EUCLEAN || error == -ENOTSUP || error == -ENOMEM);
    }
}

#endif
