/*
 * runtime/weights/safetensors.c: the safetensors format.
 *
 * Source: README.md, "Format", and SafeTensors::read_metadata() of huggingface/safetensors (May 2026), whose rules
 * these are:
 *
 *     8 bytes: size N of the header, little-endian, at most 100,000,000
 *     N bytes: JSON {"NAME": {"dtype": "F16", "shape": [1, 16], "data_offsets": [BEGIN, END]}, "__metadata__": {...}}
 *     the rest: data; BEGIN and END count from its start
 *
 * The tensors, in the order of their offsets, cover the data from its first byte to its last without a hole or an
 * overlap, and END - BEGIN is what type and shape come to. __metadata__ maps strings to strings. Fields of a tensor
 * that are not known are passed over, as the original does; what is known must be there once. Keys must not repeat (the
 * format says so; its own parser takes the last one).
 */
#include "runtime/weights/weights_private.h"

#include "runtime/volume/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#define LENGTH_BYTES     8
#define HEADER_BYTES_MAX UINT64_C(100000000) /* MAX_HEADER_SIZE */

static bool type_find(const char *name, enum weights_type *out)
{
    for (unsigned i = 0; i < WEIGHTS_Q4_0; i++) { /* the types before ggml's */
        if (strcmp(weights_type_info(i)->name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static const char *brief_name(char brief[WEIGHTS_BRIEF_BYTES], yyjson_val *name)
{
    return text_brief(brief, WEIGHTS_BRIEF_BYTES, yyjson_get_str(name), yyjson_get_len(name));
}

static int shape_parse(struct weights_build *build, yyjson_val *shape, struct tensor *tensor,
                       const char *brief)
{
    if (!yyjson_is_arr(shape))
        return weights_refuse(build, -EUCLEAN, "tensor \"%s\": its shape is not an array", brief);
    if (yyjson_arr_size(shape) > WEIGHTS_DIMENSIONS_MAX)
        return weights_refuse(build, -ENOTSUP,
                              "tensor \"%s\" has %zu dimensions; at most %d are supported", brief,
                              yyjson_arr_size(shape), WEIGHTS_DIMENSIONS_MAX);
    size_t i, count;
    yyjson_val *extent;
    yyjson_arr_foreach(shape, i, count, extent)
    {
        if (!yyjson_is_uint(extent))
            return weights_refuse(
                build, -EUCLEAN,
                "tensor \"%s\": dimension %zu of its shape is not a whole number from 0 up", brief,
                i);
        tensor->shape[tensor->dimension_count++] = yyjson_get_uint(extent);
    }
    return 0;
}

static int tensor_parse(struct weights_build *build, yyjson_val *name, yyjson_val *value)
{
    char brief[WEIGHTS_BRIEF_BYTES];
    int error = weights_check_name(build, "a tensor", yyjson_get_str(name), yyjson_get_len(name));
    if (error != 0)
        return error;
    brief_name(brief, name);
    if (!yyjson_is_obj(value))
        return weights_refuse(build, -EUCLEAN, "tensor \"%s\": its description is not an object",
                              brief);

    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    yyjson_val *found[ARRAY_COUNT(fields)] = {0};
    size_t i, count;
    yyjson_val *key, *field;
    yyjson_obj_foreach(value, i, count, key, field)
    {
        for (unsigned known = 0; known < ARRAY_COUNT(fields); known++) {
            if (!yyjson_equals_str(key, fields[known]))
                continue;
            if (found[known])
                return weights_refuse(build, -EUCLEAN, "tensor \"%s\" has %s twice", brief,
                                      fields[known]);
            found[known] = field;
        }
    }
    for (unsigned known = 0; known < ARRAY_COUNT(fields); known++)
        if (!found[known])
            return weights_refuse(build, -EUCLEAN, "tensor \"%s\" has no %s", brief, fields[known]);

    struct tensor tensor = {0};
    if (!yyjson_is_str(found[0]))
        return weights_refuse(build, -EUCLEAN, "tensor \"%s\": its dtype is not a string", brief);
    if (!type_find(yyjson_get_str(found[0]), &tensor.type)) {
        char type[24];
        return weights_refuse(
            build, -ENOTSUP, "tensor \"%s\" has the dtype \"%s\", which is not known", brief,
            text_brief(type, sizeof(type), yyjson_get_str(found[0]), yyjson_get_len(found[0])));
    }
    error = shape_parse(build, found[1], &tensor, brief);
    if (error != 0)
        return error;

    yyjson_val *begin = yyjson_arr_get(found[2], 0), *end = yyjson_arr_get(found[2], 1);
    if (yyjson_arr_size(found[2]) != 2 || !yyjson_is_uint(begin) || !yyjson_is_uint(end))
        return weights_refuse(build, -EUCLEAN,
                              "tensor \"%s\": its data_offsets are not two whole numbers from 0 up",
                              brief);
    uint64_t data_bytes = build->weights.file_bytes - build->weights.data_offset;
    uint64_t from = yyjson_get_uint(begin), to = yyjson_get_uint(end);
    if (from > to || to > data_bytes)
        return weights_refuse(build, -EUCLEAN,
                              "tensor \"%s\": data_offsets %" PRIu64 " to %" PRIu64
                              " do not fit in the file's %" PRIu64 " bytes of data",
                              brief, from, to, data_bytes);

    tensor.name = weights_build_text(build, yyjson_get_str(name), yyjson_get_len(name));
    if (!tensor.name)
        return weights_refuse(build, -ENOMEM, "no memory for the names of the tensors");
    tensor.file_offset = build->weights.data_offset + from;
    error = weights_check_shape(build, &tensor);
    if (error != 0)
        return error;
    if (tensor.size_bytes != to - from)
        return weights_refuse(build, -EUCLEAN,
                              "tensor \"%s\": type and shape come to %" PRIu64
                              " bytes, its data_offsets to %" PRIu64,
                              brief, tensor.size_bytes, to - from);
    return weights_build_tensor(build, &tensor);
}

static int metadata_parse(struct weights_build *build, yyjson_val *object)
{
    if (!yyjson_is_obj(object))
        return weights_refuse(build, -EUCLEAN, "__metadata__ is not an object");
    struct json_text json = {0};
    int error = 0;
    size_t i, count;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, i, count, key, value)
    {
        const char *name = yyjson_get_str(key);
        char brief[WEIGHTS_BRIEF_BYTES];
        if (!yyjson_is_str(value))
            error =
                weights_refuse(build, -EUCLEAN, "__metadata__: the value of \"%s\" is not a string",
                               brief_name(brief, key));
        if (error == 0)
            error = weights_check_name(build, "a metadata key", name, yyjson_get_len(key));
        if (error != 0)
            break;
        json_text_reset(&json);
        json_text_put_string(&json, yyjson_get_str(value),
                             min_u64(yyjson_get_len(value), JSON_STRING_BYTES_MAX),
                             yyjson_get_len(value));
        error = weights_build_metadata(
            build, weights_build_text(build, name, yyjson_get_len(key)),
            json.is_out_of_memory ? NULL : weights_build_text(build, json.text, json.length));
        if (error != 0)
            break;
    }
    json_text_free(&json);
    return error;
}

/* In the order of their offsets, each tensor begins where the one before it ends, and the last ends with the file. */
static int coverage_check(struct weights_build *build)
{
    const struct weights *weights = &build->weights;
    char brief[WEIGHTS_BRIEF_BYTES];
    uint64_t at = weights->data_offset;
    for (uint32_t i = 0; i < weights->tensor_count; i++) {
        const struct tensor *tensor = &weights->tensors[i];
        if (tensor->file_offset != at)
            return weights_refuse(
                build, -EUCLEAN,
                "tensor \"%s\" %s: it begins at byte %" PRIu64 " of the data, %" PRIu64
                " was expected",
                text_brief(brief, sizeof(brief), tensor->name, strlen(tensor->name)),
                tensor->file_offset < at ? "overlaps the one before it" : "leaves a hole before it",
                tensor->file_offset - weights->data_offset, at - weights->data_offset);
        at += tensor->size_bytes; /* tensor_parse() saw that it ends within the file */
    }
    if (at != weights->file_bytes)
        return weights_refuse(build, -EUCLEAN,
                              "%" PRIu64 " bytes at the end of the file belong to no tensor",
                              weights->file_bytes - at);
    return 0;
}

static int header_parse(struct weights_build *build, yyjson_val *root)
{
    if (!yyjson_is_obj(root))
        return weights_refuse(build, -EUCLEAN, "the header is not a JSON object");
    bool has_metadata = false;
    int error = 0;
    size_t i, count;
    yyjson_val *key, *value;
    yyjson_obj_foreach(root, i, count, key, value)
    {
        if (!yyjson_equals_str(key, "__metadata__"))
            error = tensor_parse(build, key, value);
        else if (has_metadata)
            error = weights_refuse(build, -EUCLEAN, "the header has __metadata__ twice");
        else
            error = metadata_parse(build, value);
        has_metadata = has_metadata || yyjson_equals_str(key, "__metadata__");
        if (error != 0)
            return error;
        if (i % 4096 == 4095)
            task_yield();
    }
    return 0;
}

int safetensors_parse(struct weights_build *build)
{
    struct weights *weights = &build->weights;
    uint8_t length[LENGTH_BYTES];
    int error = weights_build_read(build, 0, length, sizeof(length));
    if (error != 0)
        return error;
    uint64_t header_bytes = le64(length);
    if (header_bytes > HEADER_BYTES_MAX)
        return weights_refuse(build, -EUCLEAN,
                              "the header says it has %" PRIu64 " bytes; at most %" PRIu64
                              " are allowed",
                              header_bytes, HEADER_BYTES_MAX);
    if (header_bytes < 2 || header_bytes > weights->file_bytes - LENGTH_BYTES)
        return weights_refuse(build, -EUCLEAN,
                              "the header says it has %" PRIu64 " bytes, but %" PRIu64
                              " follow: the file is cut short",
                              header_bytes, weights->file_bytes - LENGTH_BYTES);
    weights->format = WEIGHTS_SAFETENSORS;
    weights->data_offset = LENGTH_BYTES + header_bytes;

    char *header = malloc(header_bytes + YYJSON_PADDING_SIZE);
    if (!header)
        return weights_refuse(build, -ENOMEM, "no memory for a header of %" PRIu64 " bytes",
                              header_bytes);
    memset(header + header_bytes, 0, YYJSON_PADDING_SIZE);
    error = weights_build_read(build, LENGTH_BYTES, header, header_bytes);
    if (error == 0) {
        yyjson_read_err json_error;
        yyjson_doc *document =
            yyjson_read_opts(header, header_bytes, YYJSON_READ_INSITU, NULL, &json_error);
        if (!document)
            error = weights_refuse(
                build, json_error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? -ENOMEM : -EUCLEAN,
                "the header is not valid JSON: %s at byte %zu", json_error.msg, json_error.pos);
        else
            error = header_parse(build, yyjson_doc_get_root(document));
        yyjson_doc_free(document);
    }
    free(header);
    if (error == 0)
        error = weights_build_finish(build);
    return error != 0 ? error : coverage_check(build);
}
