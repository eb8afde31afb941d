/*
 * runtime/weights/gguf.c: the GGUF format, versions 2 and 3, little-endian.
 *
 * Source: docs/gguf.md and src/gguf.cpp of ggml-org/ggml (August 2026):
 *
 *     "GGUF", version (u32), tensor count (u64), key count (u64)
 *     per key: name (string), type (u32), value; an array's value: element type (u32), length (u64), elements
 *     per tensor: name (string), dimension count (u32), dimensions innermost first (u64 each), type (u32), offset (u64)
 *     padding to general.alignment (32 if not given), then the data; offsets count from its start
 *
 * A string is its length (u64) and its bytes. Version 2 differs from 3 only in that 3 allows big-endian files.
 *
 * Offsets must be multiples of the alignment, and tensors must not overlap. ggml's own reader also wants no gaps
 * between them; the specification does not, nor do we. Nested arrays, which the specification has and ggml's reader
 * refuses, are walked to a depth of 8. Nothing is allocated by a count that the file gives: tables grow with what is
 * read.
 */
#include "runtime/weights/weights_private.h"

#include "runtime/volume/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GGUF_HEADER_BYTES_MAX \
    (UINT64_C(256) << 20) /* ours; real ones have up to some ten MiB of vocabulary */
#define GGUF_WINDOW_BYTES      UINT64_C(131072)
#define GGUF_ALIGNMENT_DEFAULT 32
#define GGUF_DIMENSIONS_MAX    4 /* GGML_MAX_DIMS */
#define GGUF_ARRAY_DEPTH_MAX   8
#define GGUF_ARRAY_SHOWN       16 /* elements of an array that its JSON text has */
#define GGUF_KEY_BYTES_MIN     13 /* name's length, one byte of name, type: a lower bound for ... */
#define GGUF_TENSOR_BYTES_MIN \
    25 /* ... plausible counts; here name, dimension count, type, offset */

enum gguf_type {
    GGUF_UINT8,
    GGUF_INT8,
    GGUF_UINT16,
    GGUF_INT16,
    GGUF_UINT32,
    GGUF_INT32,
    GGUF_FLOAT32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_UINT64,
    GGUF_INT64,
    GGUF_FLOAT64,
    GGUF_TYPE_COUNT
};

static const struct {
    const char *name;
    unsigned size_bytes; /* 0: its size is in the file */
} gguf_types[GGUF_TYPE_COUNT] = {
    {"uint8", 1},  {"int8", 1},    {"uint16", 2},  {"int16", 2},  {"uint32", 4},
    {"int32", 4},  {"float32", 4}, {"bool", 1},    {"string", 0}, {"array", 0},
    {"uint64", 8}, {"int64", 8},   {"float64", 8},
};

/* enum ggml_type; ids that are not listed are gone (4, 5, 31 to 33, 36 to 38) or not defined yet. */
static const struct {
    uint8_t id, type;
} ggml_types[] = {
    {0, WEIGHTS_F32},      {1, WEIGHTS_F16},     {2, WEIGHTS_Q4_0},     {3, WEIGHTS_Q4_1},
    {6, WEIGHTS_Q5_0},     {7, WEIGHTS_Q5_1},    {8, WEIGHTS_Q8_0},     {9, WEIGHTS_Q8_1},
    {10, WEIGHTS_Q2_K},    {11, WEIGHTS_Q3_K},   {12, WEIGHTS_Q4_K},    {13, WEIGHTS_Q5_K},
    {14, WEIGHTS_Q6_K},    {15, WEIGHTS_Q8_K},   {16, WEIGHTS_IQ2_XXS}, {17, WEIGHTS_IQ2_XS},
    {18, WEIGHTS_IQ3_XXS}, {19, WEIGHTS_IQ1_S},  {20, WEIGHTS_IQ4_NL},  {21, WEIGHTS_IQ3_S},
    {22, WEIGHTS_IQ2_S},   {23, WEIGHTS_IQ4_XS}, {24, WEIGHTS_I8},      {25, WEIGHTS_I16},
    {26, WEIGHTS_I32},     {27, WEIGHTS_I64},    {28, WEIGHTS_F64},     {29, WEIGHTS_IQ1_M},
    {30, WEIGHTS_BF16},    {34, WEIGHTS_TQ1_0},  {35, WEIGHTS_TQ2_0},   {39, WEIGHTS_MXFP4},
    {40, WEIGHTS_NVFP4},   {41, WEIGHTS_Q1_0},   {42, WEIGHTS_Q2_0},
};

/* ---- reading from front to back -------------------------------------------------------------------------------- */

/* position never passes limit. Fields are read through a window; what is skipped is not read at all. */
struct gguf_reader {
    struct weights_build *build;
    uint8_t *window;
    uint64_t window_start, window_bytes, position, limit;
    uint64_t alignment;
    struct json_text json;
};

static int reader_past_end(struct gguf_reader *reader, uint64_t wanted, const char *what)
{
    if (reader->limit < reader->build->weights.file_bytes)
        return weights_refuse(reader->build, -EUCLEAN,
                              "%s at byte %" PRIu64 ": the header is larger than %" PRIu64 " bytes",
                              what, reader->position, GGUF_HEADER_BYTES_MAX);
    return weights_refuse(reader->build, -EUCLEAN,
                          "%s at byte %" PRIu64 " needs %" PRIu64
                          " bytes, but the file ends after %" PRIu64,
                          what, reader->position, wanted, reader->limit - reader->position);
}

static int reader_skip(struct gguf_reader *reader, uint64_t size_bytes, const char *what)
{
    if (size_bytes > reader->limit - reader->position)
        return reader_past_end(reader, size_bytes, what);
    reader->position += size_bytes;
    return 0;
}

/* The next size_bytes (at most a window's) at *out until the next call. what names them for an error. */
static int reader_take(struct gguf_reader *reader, uint64_t size_bytes, const uint8_t **out,
                       const char *what)
{
    assert(size_bytes <= GGUF_WINDOW_BYTES);
    if (size_bytes > reader->limit - reader->position)
        return reader_past_end(reader, size_bytes, what);
    uint64_t in_window = reader->position - reader->window_start;
    if (reader->position < reader->window_start || in_window > reader->window_bytes ||
        size_bytes > reader->window_bytes - in_window) {
        uint64_t start = reader->position, size = min_u64(GGUF_WINDOW_BYTES, reader->limit - start);
        reader->window_bytes = 0;
        int error = weights_build_read(reader->build, start, reader->window, size);
        if (error != 0)
            return error;
        reader->window_start = start;
        reader->window_bytes = size;
        in_window = 0;
    }
    *out = reader->window + in_window;
    reader->position += size_bytes;
    return 0;
}

static int reader_u32(struct gguf_reader *reader, uint32_t *out, const char *what)
{
    const uint8_t *bytes = NULL;
    int error = reader_take(reader, 4, &bytes, what);
    if (error == 0)
        *out = le32(bytes);
    return error;
}

static int reader_u64(struct gguf_reader *reader, uint64_t *out, const char *what)
{
    const uint8_t *bytes = NULL;
    int error = reader_take(reader, 8, &bytes, what);
    if (error == 0)
        *out = le64(bytes);
    return error;
}

/* A name or key, copied to live as long as the model. */
static int reader_name(struct gguf_reader *reader, const char *what, const char **out)
{
    uint64_t length;
    int error = reader_u64(reader, &length, what);
    if (error != 0)
        return error;
    if (length > WEIGHTS_NAME_BYTES_MAX)
        return weights_refuse(reader->build, -EUCLEAN,
                              "%s at byte %" PRIu64 " has a name of %" PRIu64
                              " bytes, more than %u",
                              what, reader->position - 8, length, WEIGHTS_NAME_BYTES_MAX);
    const uint8_t *bytes = NULL;
    error = reader_take(reader, length, &bytes, what);
    if (error == 0)
        error = weights_check_name(reader->build, what, (const char *)bytes, length);
    if (error != 0)
        return error;
    *out = weights_build_text(reader->build, (const char *)bytes, length);
    return *out ? 0
                : weights_refuse(reader->build, -ENOMEM, "no memory for the names of the tensors");
}

/* ---- metadata -------------------------------------------------------------------------------------------------- */

static int string_value(struct gguf_reader *reader, bool is_shown, const char *key)
{
    uint64_t length;
    int error = reader_u64(reader, &length, key);
    if (error != 0)
        return error;
    if (!is_shown)
        return reader_skip(reader, length, key);
    uint64_t kept = min_u64(length, JSON_STRING_BYTES_MAX);
    const uint8_t *bytes = NULL;
    error = reader_take(reader, kept, &bytes, key);
    if (error != 0)
        return error;
    json_text_put_string(&reader->json, (const char *)bytes, kept, length);
    return reader_skip(reader, length - kept, key);
}

static int plain_value(struct gguf_reader *reader, enum gguf_type type, const char *key)
{
    const uint8_t *bytes = NULL;
    int error = reader_take(reader, gguf_types[type].size_bytes, &bytes, key);
    if (error != 0)
        return error;
    struct json_text *json = &reader->json;
    union {
        uint32_t bits32;
        float float32;
        uint64_t bits64;
        double float64;
    } number;
    switch (type) {
    case GGUF_UINT8:
        json_text_put_uint(json, bytes[0]);
        break;
    case GGUF_INT8:
        json_text_put_int(json, (int8_t)bytes[0]);
        break;
    case GGUF_UINT16:
        json_text_put_uint(json, le16(bytes));
        break;
    case GGUF_INT16:
        json_text_put_int(json, (int16_t)le16(bytes));
        break;
    case GGUF_UINT32:
        json_text_put_uint(json, le32(bytes));
        break;
    case GGUF_INT32:
        json_text_put_int(json, (int32_t)le32(bytes));
        break;
    case GGUF_UINT64:
        json_text_put_uint(json, le64(bytes));
        break;
    case GGUF_INT64:
        json_text_put_int(json, (int64_t)le64(bytes));
        break;
    case GGUF_FLOAT32:
        number.bits32 = le32(bytes);
        json_text_put_number(json, (double)number.float32, 9); /* FLT_DECIMAL_DIG */
        break;
    case GGUF_FLOAT64:
        number.bits64 = le64(bytes);
        json_text_put_number(json, number.float64, 17); /* DBL_DECIMAL_DIG */
        break;
    case GGUF_BOOL:
        if (bytes[0] > 1)
            return weights_refuse(reader->build, -EUCLEAN, "%s: a bool has the value %u", key,
                                  bytes[0]);
        json_text_put(json, bytes[0] ? "true" : "false");
        break;
    default:
        assert(!"plain_value() is for types of a fixed size");
    }
    return 0;
}

/* An array's elements; is_shown: into the JSON text as well, the first few of them. depth: arrays around this one. */
static int array_value(struct gguf_reader *reader, bool is_shown, unsigned depth, const char *key)
{
    struct json_text *json = &reader->json;
    uint32_t type;
    uint64_t count;
    int error = reader_u32(reader, &type, key);
    if (error == 0)
        error = reader_u64(reader, &count, key);
    if (error != 0)
        return error;
    if (type >= GGUF_TYPE_COUNT)
        return weights_refuse(reader->build, -EUCLEAN,
                              "%s: an array has elements of type %" PRIu32 ", which is not defined",
                              key, type);
    if (depth >= GGUF_ARRAY_DEPTH_MAX)
        return weights_refuse(reader->build, -EUCLEAN, "%s: arrays are nested more than %d deep",
                              key, GGUF_ARRAY_DEPTH_MAX);

    /* A long array, or one of arrays, becomes an object that says what is left out. */
    bool is_cut = count > GGUF_ARRAY_SHOWN || type == GGUF_ARRAY;
    uint64_t shown = !is_shown || type == GGUF_ARRAY ? 0 : min_u64(count, GGUF_ARRAY_SHOWN);
    if (is_shown && is_cut) {
        json_text_put(json, "{\"array_of\":\"");
        json_text_put(json, gguf_types[type].name);
        json_text_put(json, "\",\"count\":");
        json_text_put_uint(json, count);
        json_text_put(json, ",\"first\":");
    }
    if (is_shown)
        json_text_put(json, "[");
    unsigned size = gguf_types[type].size_bytes;
    for (uint64_t i = 0; i < count && error == 0; i++) {
        if (i == shown && size != 0) { /* the rest has a known size */
            if (count - i > UINT64_MAX / size)
                return reader_past_end(reader, UINT64_MAX, key);
            error = reader_skip(reader, (count - i) * size, key);
            break;
        }
        if (i < shown && i > 0)
            json_text_put(json, ",");
        if (type == GGUF_STRING)
            error = string_value(reader, i < shown, key);
        else if (type == GGUF_ARRAY)
            error = array_value(reader, false, depth + 1, key);
        else
            error = plain_value(reader, type, key);
        if (i % 65536 == 65535)
            task_yield();
    }
    if (is_shown)
        json_text_put(json, is_cut ? "]}" : "]");
    return error;
}

static int alignment_value(struct gguf_reader *reader, uint32_t type)
{
    const uint8_t *bytes = NULL;
    if (type != GGUF_UINT32)
        return weights_refuse(reader->build, -EUCLEAN, "general.alignment is a %s, not a uint32",
                              gguf_types[type].name);
    int error = reader_take(reader, 4, &bytes, "general.alignment");
    if (error != 0)
        return error;
    reader->alignment = le32(bytes);
    reader->position -= 4; /* it is read again as a value like the others */
    if (reader->alignment == 0 || (reader->alignment & (reader->alignment - 1)) != 0)
        return weights_refuse(reader->build, -EUCLEAN,
                              "general.alignment is %" PRIu64 ", not a power of two",
                              reader->alignment);
    return 0;
}

static int metadata_parse(struct gguf_reader *reader)
{
    const char *key;
    char brief[WEIGHTS_BRIEF_BYTES];
    uint32_t type;
    int error = reader_name(reader, "a metadata key", &key);
    if (error != 0)
        return error;
    text_brief(brief, sizeof(brief), key, strlen(key));
    error = reader_u32(reader, &type, brief);
    if (error != 0)
        return error;
    if (type >= GGUF_TYPE_COUNT)
        return weights_refuse(reader->build, -EUCLEAN,
                              "%s has type %" PRIu32 ", which is not defined", brief, type);
    if (strcmp(key, "general.alignment") == 0 && (error = alignment_value(reader, type)) != 0)
        return error;

    json_text_reset(&reader->json);
    if (type == GGUF_STRING)
        error = string_value(reader, true, brief);
    else if (type == GGUF_ARRAY)
        error = array_value(reader, true, 0, brief);
    else
        error = plain_value(reader, type, brief);
    if (error != 0)
        return error;
    const char *value = NULL;
    if (!reader->json.is_out_of_memory)
        value = weights_build_text(reader->build, reader->json.text, reader->json.length);
    return weights_build_metadata(reader->build, key, value);
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

static bool type_find(uint32_t id, enum weights_type *out)
{
    for (unsigned i = 0; i < ARRAY_COUNT(ggml_types); i++) {
        if (ggml_types[i].id == id) {
            *out = ggml_types[i].type;
            return true;
        }
    }
    return false;
}

/* file_offset is left as the file has it, counted from the start of the data. */
static int tensor_parse(struct gguf_reader *reader)
{
    struct weights_build *build = reader->build;
    struct tensor tensor = {0};
    char brief[WEIGHTS_BRIEF_BYTES];
    int error = reader_name(reader, "a tensor", &tensor.name);
    if (error != 0)
        return error;
    text_brief(brief, sizeof(brief), tensor.name, strlen(tensor.name));
    error = reader_u32(reader, &tensor.dimension_count, brief);
    if (error != 0)
        return error;
    if (tensor.dimension_count > GGUF_DIMENSIONS_MAX)
        return weights_refuse(build, -EUCLEAN,
                              "tensor \"%s\" has %" PRIu32 " dimensions; GGUF has at most %d",
                              brief, tensor.dimension_count, GGUF_DIMENSIONS_MAX);
    for (uint32_t i = tensor.dimension_count; i-- > 0 && error == 0;)
        error = reader_u64(reader, &tensor.shape[i], brief);
    uint32_t id = 0;
    if (error == 0)
        error = reader_u32(reader, &id, brief);
    if (error == 0)
        error = reader_u64(reader, &tensor.file_offset, brief);
    if (error != 0)
        return error;
    if (!type_find(id, &tensor.type))
        return weights_refuse(build, -ENOTSUP,
                              "tensor \"%s\" has ggml type %" PRIu32
                              ", which is not known or was removed",
                              brief, id);
    error = weights_check_shape(build, &tensor);
    if (error != 0)
        return error;
    if (tensor.file_offset % reader->alignment != 0)
        return weights_refuse(build, -EUCLEAN,
                              "tensor \"%s\": offset %" PRIu64
                              " is not a multiple of the alignment, %" PRIu64,
                              brief, tensor.file_offset, reader->alignment);
    return weights_build_tensor(build, &tensor);
}

/* Once the end of the header is known: offsets from the start of the file, each tensor within the file. */
static int tensors_place(struct gguf_reader *reader)
{
    struct weights *weights = &reader->build->weights;
    char brief[WEIGHTS_BRIEF_BYTES];
    weights->data_offset = weights->tensor_count > 0 ? align_up(reader->position, reader->alignment)
                                                     : reader->position;
    if (weights->data_offset > weights->file_bytes)
        return weights_refuse(reader->build, -EUCLEAN,
                              "the data should begin at byte %" PRIu64 " but the file has %" PRIu64
                              ": it is cut short",
                              weights->data_offset, weights->file_bytes);
    uint64_t data_bytes = weights->file_bytes - weights->data_offset;
    for (uint32_t i = 0; i < weights->tensor_count; i++) {
        struct tensor *tensor = &weights->tensors[i];
        if (tensor->file_offset > data_bytes ||
            tensor->size_bytes > data_bytes - tensor->file_offset)
            return weights_refuse(
                reader->build, -EUCLEAN,
                "tensor \"%s\": %" PRIu64 " bytes at offset %" PRIu64
                " go past the end of the file, which has %" PRIu64
                " bytes of data: it is cut short",
                text_brief(brief, sizeof(brief), tensor->name, strlen(tensor->name)),
                tensor->size_bytes, tensor->file_offset, data_bytes);
        tensor->file_offset += weights->data_offset;
    }
    return 0;
}

static int overlap_check(struct weights_build *build)
{
    const struct weights *weights = &build->weights;
    char brief[WEIGHTS_BRIEF_BYTES], brief_other[WEIGHTS_BRIEF_BYTES];
    for (uint32_t i = 1; i < weights->tensor_count; i++) {
        const struct tensor *before = &weights->tensors[i - 1], *tensor = &weights->tensors[i];
        if (tensor->file_offset < before->file_offset + before->size_bytes)
            return weights_refuse(
                build, -EUCLEAN, "tensors \"%s\" and \"%s\" overlap",
                text_brief(brief, sizeof(brief), before->name, strlen(before->name)),
                text_brief(brief_other, sizeof(brief_other), tensor->name, strlen(tensor->name)));
    }
    return 0;
}

static int header_parse(struct gguf_reader *reader)
{
    struct weights_build *build = reader->build;
    uint64_t tensor_count, key_count;
    int error = reader_skip(reader, 4, "the header"); /* "GGUF", as weights_parse() saw */
    if (error == 0)
        error = reader_u32(reader, &build->weights.version, "the header");
    if (error != 0)
        return error;
    uint32_t version = build->weights.version;
    if (version != 0 && (version & 0xffff) == 0)
        return weights_refuse(
            build, -ENOTSUP,
            "a big-endian GGUF file is not supported: convert it to little-endian");
    if (version != 2 && version != 3)
        return weights_refuse(build, -ENOTSUP,
                              "GGUF version %" PRIu32 " is not supported; 2 and 3 are", version);

    error = reader_u64(reader, &tensor_count, "the header");
    if (error == 0)
        error = reader_u64(reader, &key_count, "the header");
    if (error != 0)
        return error;
    uint64_t left = reader->limit - reader->position;
    if (tensor_count > WEIGHTS_TENSORS_MAX || tensor_count > left / GGUF_TENSOR_BYTES_MIN)
        return weights_refuse(build, -EUCLEAN,
                              "the header says %" PRIu64
                              " tensors, which cannot be: it is corrupt or cut short",
                              tensor_count);
    if (key_count > WEIGHTS_METADATA_MAX || key_count > left / GGUF_KEY_BYTES_MIN)
        return weights_refuse(build, -EUCLEAN,
                              "the header says %" PRIu64
                              " metadata keys, which cannot be: it is corrupt or cut short",
                              key_count);

    for (uint64_t i = 0; i < key_count && error == 0; i++) {
        error = metadata_parse(reader);
        if (i % 4096 == 4095)
            task_yield();
    }
    for (uint64_t i = 0; i < tensor_count && error == 0; i++) {
        error = tensor_parse(reader);
        if (i % 4096 == 4095)
            task_yield();
    }
    return error != 0 ? error : tensors_place(reader);
}

int gguf_parse(struct weights_build *build)
{
    uint64_t limit = min_u64(build->weights.file_bytes, GGUF_HEADER_BYTES_MAX);
    struct gguf_reader reader = {
        .build = build,
        .window = malloc(min_u64(GGUF_WINDOW_BYTES, limit)),
        .limit = limit,
        .alignment = GGUF_ALIGNMENT_DEFAULT,
    };
    if (!reader.window)
        return weights_refuse(build, -ENOMEM, "no memory to read the file's header");
    build->weights.format = WEIGHTS_GGUF;
    int error = header_parse(&reader);
    json_text_free(&reader.json);
    free(reader.window);
    if (error == 0)
        error = weights_build_finish(build);
    return error != 0 ? error : overlap_check(build);
}
