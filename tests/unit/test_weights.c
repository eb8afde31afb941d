/* tests/unit/test_weights.c: headers of safetensors and GGUF files, honest ones and ones that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <yyjson.h>

#include "runtime/weights/weights.h"
#include "tests/host/host.h"

/* ---- files in memory ------------------------------------------------------------------------------------------- */

struct blob {
    uint8_t *bytes;
    size_t size, capacity;
    uint64_t
        claimed; /* size said to the parser when it is not size: reading there is a failure of the test */
    int read_error;
};

static void add(struct blob *blob, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    if (blob->size + size > blob->capacity) {
        blob->capacity = (blob->size + size) * 2;
        blob->bytes = realloc(blob->bytes, blob->capacity);
        assert_non_null(blob->bytes);
    }
    if (bytes)
        memcpy(blob->bytes + blob->size, bytes, size);
    else
        memset(blob->bytes + blob->size, 0, size);
    blob->size += size;
}

static void add_uint(struct blob *blob, uint64_t value, unsigned size)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    add(blob, bytes, size);
}

static int blob_read(void *arg, uint64_t offset, void *out, uint64_t size)
{
    struct blob *blob = arg;
    if (blob->read_error)
        return blob->read_error;
    assert_true(size <= blob->size && offset <= blob->size - size);
    memcpy(out, blob->bytes + offset, size);
    return 0;
}

static char reason[160];

static int parse(struct blob *blob, struct weights **out)
{
    memset(reason, 'x', sizeof(reason));
    int error = weights_parse(blob_read, blob, blob->claimed ? blob->claimed : blob->size, out,
                              reason, sizeof(reason));
    assert_int_equal(error == 0, *out != NULL);
    assert_true(memchr(reason, 0, sizeof(reason)) != NULL);
    return error;
}

static struct weights *parse_ok(struct blob *blob)
{
    struct weights *weights;
    int error = parse(blob, &weights);
    if (error != 0)
        fail_msg("error %d: %s", error, reason);
    return weights;
}

static void parse_fails(struct blob *blob, int error, const char *word)
{
    struct weights *weights;
    int result = parse(blob, &weights);
    if (result != error || !strstr(reason, word))
        fail_msg("error %d, wanted %d; \"%s\", wanted \"%s\"", result, error, reason, word);
    free(blob->bytes);
    *blob = (struct blob){0};
}

static void done(struct blob *blob, struct weights *weights)
{
    weights_free(weights);
    free(blob->bytes);
    *blob = (struct blob){0};
}

static struct blob safetensors(const char *header, size_t data_bytes)
{
    struct blob blob = {0};
    add_uint(&blob, strlen(header), 8);
    add(&blob, header, strlen(header));
    add(&blob, NULL, data_bytes);
    return blob;
}

/* ---- element types --------------------------------------------------------------------------------------------- */

static void test_type_table(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WEIGHTS_TYPE_COUNT; i++) {
        const struct weights_type_info *info = weights_type_info(i);
        assert_non_null(info->name);
        assert_true(info->block_elements > 0 && info->block_bits > 0);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(info->name, weights_type_info(j)->name);
    }
    assert_null(weights_type_info(WEIGHTS_TYPE_COUNT));
    assert_null(weights_type_info((enum weights_type) - 1));
}

/* Every dtype with its size in bits (safetensors' Dtype::bitsize()), eight elements each. */
static void test_safetensors_types(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned bits;
        enum weights_type type;
    } types[] = {
        {"BOOL", 8, WEIGHTS_BOOL},
        {"F4", 4, WEIGHTS_F4},
        {"F6_E2M3", 6, WEIGHTS_F6_E2M3},
        {"F6_E3M2", 6, WEIGHTS_F6_E3M2},
        {"U8", 8, WEIGHTS_U8},
        {"I8", 8, WEIGHTS_I8},
        {"F8_E5M2", 8, WEIGHTS_F8_E5M2},
        {"F8_E4M3", 8, WEIGHTS_F8_E4M3},
        {"F8_E8M0", 8, WEIGHTS_F8_E8M0},
        {"F8_E4M3FNUZ", 8, WEIGHTS_F8_E4M3FNUZ},
        {"F8_E5M2FNUZ", 8, WEIGHTS_F8_E5M2FNUZ},
        {"I16", 16, WEIGHTS_I16},
        {"U16", 16, WEIGHTS_U16},
        {"F16", 16, WEIGHTS_F16},
        {"BF16", 16, WEIGHTS_BF16},
        {"I32", 32, WEIGHTS_I32},
        {"U32", 32, WEIGHTS_U32},
        {"F32", 32, WEIGHTS_F32},
        {"C64", 64, WEIGHTS_C64},
        {"F64", 64, WEIGHTS_F64},
        {"I64", 64, WEIGHTS_I64},
        {"U64", 64, WEIGHTS_U64},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(types); i++) {
        char header[200];
        snprintf(header, sizeof(header),
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%u]}}",
                 types[i].name, types[i].bits);
        struct blob blob = safetensors(header, types[i].bits);
        struct weights *weights = parse_ok(&blob);
        assert_int_equal(weights->tensors[0].type, types[i].type);
        assert_int_equal(weights->tensors[0].size_bytes, types[i].bits);
        done(&blob, weights);
    }
    /* The types of ggml are no dtypes. */
    struct blob blob =
        safetensors("{\"t\":{\"dtype\":\"Q4_0\",\"shape\":[32],\"data_offsets\":[0,18]}}", 18);
    parse_fails(&blob, -ENOTSUP, "dtype \"Q4_0\", which is not known");
    blob = safetensors("{\"t\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    parse_fails(&blob, -ENOTSUP, "not known");
}

/* ---- safetensors ----------------------------------------------------------------------------------------------- */

static void test_safetensors_good(void **state)
{
    (void)state;
    struct blob blob = safetensors(
        " {\"__metadata__\":{\"format\":\"pt\",\"say\":\"a \\\"b\\\" \\u00e4\\n\"},"
        "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
        "\"empty\":{\"shape\":[0,7],\"dtype\":\"F64\",\"data_offsets\":[4,4]},"
        "\"a \\u00e4\":{\"data_offsets\":[0,4],\"dtype\":\"F32\",\"shape\":[],\"more\":[1,{}]}} "
        "\r\n\t",
        16);
    struct weights *weights = parse_ok(&blob);
    assert_int_equal(weights->format, WEIGHTS_SAFETENSORS);
    assert_int_equal(weights->tensor_count, 3);
    assert_int_equal(weights->data_offset, blob.size - 16);
    assert_int_equal(weights->file_bytes, blob.size);
    const struct tensor *scalar = &weights->tensors[0], *empty = &weights->tensors[1],
                        *b = &weights->tensors[2];
    assert_string_equal(scalar->name, "a \xc3\xa4");
    assert_int_equal(scalar->dimension_count, 0);
    assert_int_equal(scalar->element_count, 1);
    assert_int_equal(scalar->file_offset, weights->data_offset);
    assert_string_equal(empty->name, "empty");
    assert_int_equal(empty->element_count, 0);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->size_bytes, 12);
    assert_int_equal(b->file_offset, weights->data_offset + 4);
    assert_int_equal(weights->metadata_count, 2);
    assert_string_equal(weights->metadata[0].key, "format");
    assert_string_equal(weights->metadata[0].value, "\"pt\"");
    assert_string_equal(weights->metadata[1].value, "\"a \\\"b\\\" \xc3\xa4\\n\"");
    assert_ptr_equal(weights_find(weights, "b"), b);
    assert_ptr_equal(weights_find(weights, "a \xc3\xa4"), scalar);
    assert_null(weights_find(weights, "c"));
    assert_null(weights_find(weights, ""));
    done(&blob, weights);

    blob = safetensors("{}", 0);
    weights = parse_ok(&blob);
    assert_int_equal(weights->tensor_count, 0);
    assert_null(weights_find(weights, "x"));
    done(&blob, weights);
    weights_free(NULL);
}

#define T(fields) "{\"t\":{" fields "}}"

static void test_safetensors_lies(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        int error;
        const char *word;
    } cases[] = {
        {"{ ", 0, -EUCLEAN, "not valid JSON"},
        {"{}x", 0, -EUCLEAN, "not valid JSON"},
        {"{\"t\":}", 0, -EUCLEAN, "not valid JSON"},
        {"{\"t\xff\":{}}", 0, -EUCLEAN, "not valid JSON"},
        {"{\"t\":NaN}", 0, -EUCLEAN, "not valid JSON"},
        {" []", 0, -EUCLEAN, "not a JSON object"},
        {"{\"t\":1}", 0, -EUCLEAN, "description is not an object"},
        {"{\"\":{}}", 0, -EUCLEAN, "empty name"},
        {"{\"a\\u0000b\":{}}", 0, -EUCLEAN, "control character at byte 1"},
        {"{\"a\\u001b\":{}}", 0, -EUCLEAN, "control character"},
        {T("\"shape\":[1],\"data_offsets\":[0,4]"), 4, -EUCLEAN, "has no dtype"},
        {T("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, -EUCLEAN, "has no shape"},
        {T("\"dtype\":\"F32\",\"shape\":[1]"), 4, -EUCLEAN, "has no data_offsets"},
        {T("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "has dtype twice"},
        {T("\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "dtype is not a string"},
        {T("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, -ENOTSUP, "dtype \"F31\""},
        {T("\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "shape is not an array"},
        {T("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "dimension 0 of its shape"},
        {T("\"dtype\":\"F32\",\"shape\":[1,1.0],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "dimension 1 of its shape"},
        {T("\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,4]"), 4,
         -EUCLEAN, "dimension 0"},
        {T("\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "dimension 0"},
        {T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, -ENOTSUP,
         "has 9 dimensions"},
        {T("\"dtype\":\"F32\",\"shape\":[2,18446744073709551614],\"data_offsets\":[0,4]"), 4,
         -EUCLEAN, "more elements"},
        {T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]"), 0,
         -EUCLEAN, "more elements"},
        {T("\"dtype\":\"F32\",\"shape\":[9223372036854775807],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "more elements"},
        {T("\"dtype\":\"U8\",\"shape\":[2305843009213693952],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "more elements"},
        {T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), 2, -EUCLEAN,
         "do not end at a byte"},
        {T("\"dtype\":\"F6_E2M3\",\"shape\":[2],\"data_offsets\":[0,2]"), 2, -EUCLEAN,
         "do not end at a byte"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":4"), 4, -EUCLEAN,
         "not two whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, -EUCLEAN,
         "not two whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]"), 4, -EUCLEAN,
         "not two whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]"), 4, -EUCLEAN,
         "not two whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, -EUCLEAN, "do not fit"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 4, -EUCLEAN,
         "do not fit in the file's 4 bytes"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551612,"
           "18446744073709551615]"),
         4, -EUCLEAN, "do not fit"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4, -EUCLEAN,
         "come to 8 bytes, its data_offsets to 4"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 5, -EUCLEAN,
         "1 bytes at the end"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8, -EUCLEAN, "leaves a hole"},
        {"{}", 1, -EUCLEAN, "1 bytes at the end of the file belong to no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\","
         "\"shape\":[1],"
         "\"data_offsets\":[4,8]}}",
         8, -EUCLEAN, "\"b\" overlaps the one before it: it begins at byte 4 of the data, 8 was"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\","
         "\"shape\":[1],"
         "\"data_offsets\":[8,12]}}",
         12, -EUCLEAN, "\"b\" leaves a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\","
         "\"shape\":[1],"
         "\"data_offsets\":[4,8]}}",
         8, -EUCLEAN, "two tensors have the name \"a\""},
        {"{\"__metadata__\":[]}", 0, -EUCLEAN, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, -EUCLEAN, "value of \"a\" is not a string"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, -EUCLEAN, "the key \"a\" twice"},
        {"{\"__metadata__\":{\"\":\"1\"}}", 0, -EUCLEAN, "empty name"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, -EUCLEAN, "__metadata__ twice"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct blob blob = safetensors(cases[i].header, cases[i].data_bytes);
        parse_fails(&blob, cases[i].error, cases[i].word);
    }
}

static void test_safetensors_header_length(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        const char *word;
    } cases[] = {
        {0, "says it has 0 bytes"},
        {1, "says it has 1 bytes"},
        {3, "but 2 follow: the file is cut short"},
        {100000000, "but 2 follow"},
        {100000001, "at most 100000000"},
        {UINT64_MAX, "at most 100000000"},
        {UINT64_MAX - 7, "at most 100000000"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct blob blob = {0};
        add_uint(&blob, cases[i].length, 8);
        add(&blob, "{}", 2);
        parse_fails(&blob, -EUCLEAN, cases[i].word);
    }
}

/* A long name or value in a message is cut between characters, so that the message stays valid UTF-8. */
static void test_messages_stay_utf8(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 4; shift++) {
        struct blob blob = {0};
        add(&blob, NULL, 8);
        add(&blob, "{\"xxx", 2 + shift);
        for (unsigned i = 0; i < 100; i++)
            add(&blob, "\xf0\x9f\x98\x80", 4);
        add(&blob, "\":0}", 4);
        blob.bytes[0] = (uint8_t)(blob.size - 8);
        blob.bytes[1] = (uint8_t)((blob.size - 8) >> 8);
        struct weights *weights;
        assert_int_equal(parse(&blob, &weights), -EUCLEAN);
        yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
        yyjson_mut_doc_set_root(doc, yyjson_mut_str(doc, reason));
        char *text = yyjson_mut_write(doc, 0, NULL); /* refuses what is not UTF-8 */
        assert_non_null(text);
        assert_non_null(strstr(text, "..."));
        free(text);
        yyjson_mut_doc_free(doc);
        free(blob.bytes);
    }
}

static void test_read_errors(void **state)
{
    (void)state;
    struct blob blob = safetensors("{}", 0);
    blob.read_error = -EIO;
    parse_fails(&blob, -EIO, "byte 0");
    blob = (struct blob){0};
    add(&blob, "GGUF\3\0\0\0", 8);
    blob.read_error = -ETIMEDOUT;
    parse_fails(&blob, -ETIMEDOUT, "byte 0");
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------ */

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

static void add_string(struct blob *blob, const char *text)
{
    add_uint(blob, strlen(text), 8);
    add(blob, text, strlen(text));
}

static struct blob gguf(uint32_t version, uint64_t tensors, uint64_t keys)
{
    struct blob blob = {0};
    add(&blob, "GGUF", 4);
    add_uint(&blob, version, 4);
    add_uint(&blob, tensors, 8);
    add_uint(&blob, keys, 8);
    return blob;
}

static void add_key(struct blob *blob, const char *key, uint32_t type)
{
    add_string(blob, key);
    add_uint(blob, type, 4);
}

static void add_tensor(struct blob *blob, const char *name, uint32_t dimensions, uint64_t innermost,
                       uint64_t outer, uint32_t type, uint64_t offset)
{
    add_string(blob, name);
    add_uint(blob, dimensions, 4);
    for (uint32_t i = 0; i < dimensions; i++)
        add_uint(blob, i == 0 ? innermost : outer, 8);
    add_uint(blob, type, 4);
    add_uint(blob, offset, 8);
}

static void add_data(struct blob *blob, size_t alignment, size_t size)
{
    add(blob, NULL, (alignment - blob->size % alignment) % alignment + size);
}

/* Every ggml type: id, elements and bytes of a block, from ggml.h and ggml-common.h by hand. */
static void test_gguf_types(void **state)
{
    (void)state;
    static const struct {
        uint32_t id, elements, bytes;
        enum weights_type type;
    } types[] = {
        {0, 1, 4, WEIGHTS_F32},         {1, 1, 2, WEIGHTS_F16},
        {2, 32, 18, WEIGHTS_Q4_0},      {3, 32, 20, WEIGHTS_Q4_1},
        {6, 32, 22, WEIGHTS_Q5_0},      {7, 32, 24, WEIGHTS_Q5_1},
        {8, 32, 34, WEIGHTS_Q8_0},      {9, 32, 36, WEIGHTS_Q8_1},
        {10, 256, 84, WEIGHTS_Q2_K},    {11, 256, 110, WEIGHTS_Q3_K},
        {12, 256, 144, WEIGHTS_Q4_K},   {13, 256, 176, WEIGHTS_Q5_K},
        {14, 256, 210, WEIGHTS_Q6_K},   {15, 256, 292, WEIGHTS_Q8_K},
        {16, 256, 66, WEIGHTS_IQ2_XXS}, {17, 256, 74, WEIGHTS_IQ2_XS},
        {18, 256, 98, WEIGHTS_IQ3_XXS}, {19, 256, 50, WEIGHTS_IQ1_S},
        {20, 32, 18, WEIGHTS_IQ4_NL},   {21, 256, 110, WEIGHTS_IQ3_S},
        {22, 256, 82, WEIGHTS_IQ2_S},   {23, 256, 136, WEIGHTS_IQ4_XS},
        {24, 1, 1, WEIGHTS_I8},         {25, 1, 2, WEIGHTS_I16},
        {26, 1, 4, WEIGHTS_I32},        {27, 1, 8, WEIGHTS_I64},
        {28, 1, 8, WEIGHTS_F64},        {29, 256, 56, WEIGHTS_IQ1_M},
        {30, 1, 2, WEIGHTS_BF16},       {34, 256, 54, WEIGHTS_TQ1_0},
        {35, 256, 66, WEIGHTS_TQ2_0},   {39, 32, 17, WEIGHTS_MXFP4},
        {40, 64, 36, WEIGHTS_NVFP4},    {41, 128, 18, WEIGHTS_Q1_0},
        {42, 64, 18, WEIGHTS_Q2_0},
    };
    unsigned next = 0;
    for (uint32_t id = 0; id < 100; id++) {
        bool is_defined = next < ARRAY_COUNT(types) && types[next].id == id;
        struct blob blob = gguf(3, 1, 0);
        add_tensor(&blob, "t", 2, 256, 3, id, 0);
        add_data(&blob, 32, 256 * 3 * 8 * 2);
        if (!is_defined) {
            char word[40];
            snprintf(word, sizeof(word), "has ggml type %u", id);
            parse_fails(&blob, -ENOTSUP, word);
            continue;
        }
        struct weights *weights = parse_ok(&blob);
        assert_int_equal(weights->tensors[0].type, types[next].type);
        assert_int_equal(weights->tensors[0].size_bytes,
                         3 * 256 / types[next].elements * types[next].bytes);
        done(&blob, weights);
        if (types[next].elements >
            1) { /* rows that are no whole blocks, though the whole tensor would be */
            blob = gguf(3, 1, 0);
            add_tensor(&blob, "t", 2, types[next].elements / 2, 2, id, 0);
            add_data(&blob, 32, 1000);
            parse_fails(&blob, -EUCLEAN, "are not whole blocks");
        }
        next++;
    }
    assert_int_equal(next, ARRAY_COUNT(types));
}

static void test_gguf_good(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct blob blob = gguf(version, 3, 16);
        add_key(&blob, "general.architecture", STRING);
        add_string(&blob, "llama \"3\"");
        add_key(&blob, "u8", U8), add_uint(&blob, 255, 1);
        add_key(&blob, "i8", I8), add_uint(&blob, 255, 1);
        add_key(&blob, "u16", U16), add_uint(&blob, 65535, 2);
        add_key(&blob, "i16", I16), add_uint(&blob, 65535, 2);
        add_key(&blob, "u32", U32), add_uint(&blob, UINT32_MAX, 4);
        add_key(&blob, "i32", I32), add_uint(&blob, UINT32_MAX, 4);
        add_key(&blob, "u64", U64), add_uint(&blob, UINT64_MAX, 8);
        add_key(&blob, "i64", I64), add_uint(&blob, UINT64_C(1) << 63, 8);
        add_key(&blob, "f32", F32), add_uint(&blob, 0x3dcccccd, 4);
        add_key(&blob, "f64", F64), add_uint(&blob, 0x7ff0000000000000, 8);
        add_key(&blob, "bool", BOOL), add_uint(&blob, 1, 1);
        add_key(&blob, "short", ARRAY), add_uint(&blob, I32, 4), add_uint(&blob, 2, 8),
            add_uint(&blob, 1, 4), add_uint(&blob, 2, 4);
        add_key(&blob, "tokens", ARRAY), add_uint(&blob, STRING, 4), add_uint(&blob, 20, 8);
        for (unsigned i = 0; i < 20; i++)
            add_string(&blob, "<s>");
        add_key(&blob, "nested", ARRAY), add_uint(&blob, ARRAY, 4), add_uint(&blob, 2, 8);
        for (unsigned i = 0; i < 2; i++)
            add_uint(&blob, U8, 4), add_uint(&blob, 3, 8), add(&blob, "abc", 3);
        add_key(&blob, "general.alignment", U32), add_uint(&blob, 64, 4);

        add_tensor(&blob, "late", 1, 4, 0, 0, 128);
        add_tensor(&blob, "first", 4, 32, 2, 2,
                   0); /* 32 x 2 x 2 x 2 of Q4_0: 8 blocks of 18 bytes, shape reversed */
        add_tensor(&blob, "scalar", 0, 0, 0, 24, 192);
        size_t header = blob.size;
        add_data(&blob, 64, 193);
        memset(&blob.bytes[header], 0xaa,
               (64 - header % 64) % 64); /* what the padding holds does not matter */
        /* "first" would reach into "late": 144 bytes at 0 */
        parse_fails(&blob, -EUCLEAN, "tensors \"first\" and \"late\" overlap");
    }
    struct blob blob = gguf(3, 3, 2);
    add_key(&blob, "general.alignment", U32), add_uint(&blob, 64, 4);
    add_key(&blob, "nested", ARRAY), add_uint(&blob, ARRAY, 4), add_uint(&blob, 1, 8),
        add_uint(&blob, U8, 4), add_uint(&blob, 0, 8);
    add_tensor(&blob, "late", 1, 4, 0, 0, 256);
    add_tensor(&blob, "first", 4, 32, 2, 2, 0);
    add_tensor(&blob, "scalar", 0, 0, 0, 24, 320);
    add_data(&blob, 64, 321);
    struct weights *weights = parse_ok(&blob);
    assert_int_equal(weights->format, WEIGHTS_GGUF);
    assert_int_equal(weights->version, 3);
    assert_int_equal(weights->data_offset % 64, 0);
    assert_int_equal(weights->data_offset, blob.size - 321);
    assert_string_equal(weights->tensors[0].name, "first");
    assert_int_equal(weights->tensors[0].dimension_count, 4);
    assert_int_equal(weights->tensors[0].shape[0], 2);
    assert_int_equal(weights->tensors[0].shape[3], 32);
    assert_int_equal(weights->tensors[0].element_count, 256);
    assert_int_equal(weights->tensors[0].size_bytes, 144);
    assert_string_equal(weights->tensors[1].name, "late");
    assert_int_equal(weights->tensors[1].file_offset, weights->data_offset + 256);
    assert_int_equal(weights->tensors[2].element_count, 1);
    assert_string_equal(weights->metadata[1].value,
                        "{\"array_of\":\"array\",\"count\":1,\"first\":[]}");
    done(&blob, weights);
}

static void test_gguf_metadata(void **state)
{
    (void)state;
    struct blob blob = gguf(2, 0, 17);
    char *longer = malloc(40001);
    memset(longer, 'y', 40000);
    longer[40000] = 0;
    memcpy(longer + 16383, "\xe2\x82\xac", 3); /* the cut goes through it */
    add_key(&blob, "text", STRING), add_string(&blob, "a \"b\" \\ \x01\n\xff");
    add_key(&blob, "u8", U8), add_uint(&blob, 255, 1);
    add_key(&blob, "i8", I8), add_uint(&blob, 255, 1);
    add_key(&blob, "u16", U16), add_uint(&blob, 65535, 2);
    add_key(&blob, "i16", I16), add_uint(&blob, 65535, 2);
    add_key(&blob, "u32", U32), add_uint(&blob, UINT32_MAX, 4);
    add_key(&blob, "i32", I32), add_uint(&blob, UINT32_MAX, 4);
    add_key(&blob, "u64", U64), add_uint(&blob, UINT64_MAX, 8);
    add_key(&blob, "i64", I64), add_uint(&blob, UINT64_C(1) << 63, 8);
    add_key(&blob, "f32", F32), add_uint(&blob, 0x3dcccccd, 4);
    add_key(&blob, "inf", F64), add_uint(&blob, 0xfff0000000000000, 8);
    add_key(&blob, "nan", F32), add_uint(&blob, 0x7fc00000, 4);
    add_key(&blob, "bool", BOOL), add_uint(&blob, 1, 1);
    add_key(&blob, "short", ARRAY), add_uint(&blob, I32, 4), add_uint(&blob, 2, 8),
        add_uint(&blob, 1, 4), add_uint(&blob, 2, 4);
    add_key(&blob, "long", ARRAY), add_uint(&blob, U16, 4), add_uint(&blob, 70000, 8);
    for (unsigned i = 0; i < 70000; i++)
        add_uint(&blob, i, 2);
    add_key(&blob, "tokens", ARRAY), add_uint(&blob, STRING, 4), add_uint(&blob, 17, 8);
    for (unsigned i = 0; i < 17; i++)
        add_string(&blob, "<s>");
    add_key(&blob, "longer", STRING), add_string(&blob, longer);
    free(longer);
    struct weights *weights = parse_ok(&blob);
    static const char *const values[] = {
        "\"a \\\"b\\\" \\\\ \\u0001\\n\xef\xbf\xbd\"",
        "255",
        "-1",
        "65535",
        "-1",
        "4294967295",
        "-1",
        "18446744073709551615",
        "-9223372036854775808",
        "0.100000001",
        "\"-Infinity\"",
        "\"NaN\"",
        "true",
        "[1,2]",
        "{\"array_of\":\"uint16\",\"count\":70000,\"first\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]"
        "}",
        "{\"array_of\":\"string\",\"count\":17,\"first\":[\"<s>\",\"<s>\",\"<s>\",\"<s>\",\"<s>\","
        "\"<s>\",\"<s>\",\"<s>\",\"<s>\","
        "\"<s>\",\"<s>\",\"<s>\",\"<s>\",\"<s>\",\"<s>\",\"<s>\"]}",
    };
    for (unsigned i = 0; i < ARRAY_COUNT(values); i++)
        assert_string_equal(weights->metadata[i].value, values[i]);
    assert_non_null(strstr(weights->metadata[16].value, "y... (cut, 40000 bytes in all)\""));
    for (unsigned i = 0; i < weights->metadata_count; i++) {
        yyjson_doc *doc =
            yyjson_read(weights->metadata[i].value, strlen(weights->metadata[i].value), 0);
        assert_non_null(doc);
        yyjson_doc_free(doc);
    }
    done(&blob, weights);
}

static void test_gguf_bad_heads(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        uint64_t tensors, keys;
        int error;
        const char *word;
    } cases[] = {
        {0, 0, 0, -ENOTSUP, "version 0"},
        {1, 0, 0, -ENOTSUP, "version 1"},
        {4, 0, 0, -ENOTSUP, "version 4"},
        {0x03000000, 0, 0, -ENOTSUP, "big-endian"},
        {3, 1000001, 0, -EUCLEAN, "1000001 tensors"},
        {3, UINT64_MAX, 0, -EUCLEAN, "tensors, which cannot be"},
        {3, 1, 0, -EUCLEAN, "1 tensors"}, /* the file ends here */
        {3, 0, 1000001, -EUCLEAN, "metadata keys, which cannot be"},
        {3, 0, UINT64_MAX, -EUCLEAN, "metadata keys, which cannot be"},
        {3, 0, 1, -EUCLEAN, "1 metadata keys"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct blob blob = gguf(cases[i].version, cases[i].tensors, cases[i].keys);
        parse_fails(&blob, cases[i].error, cases[i].word);
    }
    struct blob blob = gguf(3, 0, 0);
    struct weights *weights = parse_ok(&blob);
    assert_int_equal(weights->tensor_count, 0);
    assert_int_equal(weights->data_offset, 24);
    done(&blob, weights);
}

static void test_gguf_bad_metadata(void **state)
{
    (void)state;
    struct blob blob = gguf(3, 0, 1);
    add_uint(&blob, UINT64_MAX, 8), add(&blob, NULL, 100);
    parse_fails(&blob, -EUCLEAN, "name of 18446744073709551615 bytes");
    blob = gguf(3, 0, 1);
    add_uint(&blob, 65535, 8), add(&blob, NULL, 100);
    parse_fails(&blob, -EUCLEAN, "needs 65535 bytes, but the file ends after 100");
    blob = gguf(3, 0, 1);
    add_key(&blob, "", U8), add(&blob, NULL, 100);
    parse_fails(&blob, -EUCLEAN, "empty name");
    blob = gguf(3, 0, 1);
    add_key(&blob, "\xff", U8), add(&blob, NULL, 100);
    parse_fails(&blob, -EUCLEAN, "not UTF-8");
    blob = gguf(3, 0, 1);
    add_key(&blob, "a", 13), add(&blob, NULL, 100);
    parse_fails(&blob, -EUCLEAN, "a has type 13");
    blob = gguf(3, 0, 1);
    add_key(&blob, "a", BOOL), add_uint(&blob, 2, 1);
    parse_fails(&blob, -EUCLEAN, "a bool has the value 2");
    blob = gguf(3, 0, 1);
    add_key(&blob, "a", U64), add_uint(&blob, 2, 4);
    parse_fails(&blob, -EUCLEAN, "needs 8 bytes, but the file ends after 4");
    static const uint64_t counts[] = {1000, UINT64_MAX, UINT64_MAX / 8, UINT64_MAX / 8 + 1,
                                      UINT64_C(1) << 61};
    static const uint32_t types[] = {U8, U64, STRING, ARRAY};
    for (unsigned i = 0; i < ARRAY_COUNT(counts); i++) {
        for (unsigned t = 0; t < ARRAY_COUNT(types); t++) {
            blob = gguf(3, 0, 1);
            add_key(&blob, "a", ARRAY), add_uint(&blob, types[t], 4), add_uint(&blob, counts[i], 8),
                add(&blob, NULL, 200);
            parse_fails(&blob, -EUCLEAN, "but the file ends");
        }
    }
    blob = gguf(3, 0, 1);
    add_key(&blob, "a", ARRAY), add_uint(&blob, 99, 4), add_uint(&blob, 0, 8);
    parse_fails(&blob, -EUCLEAN, "elements of type 99");
    for (unsigned depth = 8; depth <= 9; depth++) {
        blob = gguf(3, 0, 1);
        add_key(&blob, "a", ARRAY);
        for (unsigned i = 1; i < depth; i++)
            add_uint(&blob, ARRAY, 4), add_uint(&blob, 1, 8);
        add_uint(&blob, U8, 4), add_uint(&blob, 0, 8);
        if (depth == 9) {
            parse_fails(&blob, -EUCLEAN, "nested more than 8 deep");
        } else {
            struct weights *weights = parse_ok(&blob);
            done(&blob, weights);
        }
    }
    blob = gguf(3, 0, 2);
    for (unsigned i = 0; i < 2; i++)
        add_key(&blob, "twice", U8), add_uint(&blob, 2, 1);
    parse_fails(&blob, -EUCLEAN, "the key \"twice\" twice");
    blob = gguf(3, 0, 1);
    add_key(&blob, "general.alignment", U64), add_uint(&blob, 32, 8);
    parse_fails(&blob, -EUCLEAN, "general.alignment is a uint64");
    static const uint32_t alignments[] = {0, 3, 48, UINT32_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(alignments); i++) {
        blob = gguf(3, 0, 1);
        add_key(&blob, "general.alignment", U32), add_uint(&blob, alignments[i], 4);
        parse_fails(&blob, -EUCLEAN, "not a power of two");
    }
}

static void test_gguf_bad_tensors(void **state)
{
    (void)state;
    static const struct {
        uint32_t dimensions;
        uint64_t innermost, outer;
        uint32_t type;
        uint64_t offset;
        int error;
        const char *word;
    } cases[] = {
        {5, 1, 1, 0, 0, -EUCLEAN, "has 5 dimensions"},
        {UINT32_MAX, 1, 1, 0, 0, -EUCLEAN, "has 4294967295 dimensions"},
        {2, UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0, -EUCLEAN, "more elements"},
        {1, INT64_MAX, 0, 0, 0, -EUCLEAN, "more elements"},
        {1, UINT64_C(1) << 61, 0, 0, 0, -EUCLEAN, "more elements"},
        {1, 16, 0, 0, 1, -EUCLEAN, "not a multiple of the alignment, 32"},
        {1, 16, 0, 0, 64, -EUCLEAN, "go past the end of the file"},
        {1, 17, 0, 0, 0, -EUCLEAN,
         "68 bytes at offset 0 go past the end of the file, which has 64"},
        {1, 16, 0, 0, UINT64_MAX - 31, -EUCLEAN, "go past the end of the file"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct blob blob = gguf(3, 1, 0);
        uint32_t dimensions = cases[i].dimensions < 10 ? cases[i].dimensions : 0;
        size_t at = blob.size;
        add_tensor(&blob, "t", dimensions, cases[i].innermost, cases[i].outer, cases[i].type,
                   cases[i].offset);
        for (unsigned b = 0; b < 4; b++)
            blob.bytes[at + 9 + b] = (uint8_t)(cases[i].dimensions >> (8 * b));
        add_data(&blob, 32, 64);
        parse_fails(&blob, cases[i].error, cases[i].word);
    }
    struct blob blob = gguf(3, 2, 0);
    add_tensor(&blob, "same", 1, 8, 0, 0, 0);
    add_tensor(&blob, "same", 1, 8, 0, 0, 32);
    add_data(&blob, 32, 64);
    parse_fails(&blob, -EUCLEAN, "two tensors have the name \"same\"");
    blob = gguf(3, 1, 1); /* padding of 2 GiB in a small file */
    add_key(&blob, "general.alignment", U32), add_uint(&blob, UINT32_C(1) << 31, 4);
    add_tensor(&blob, "t", 1, 8, 0, 0, 0);
    add_data(&blob, 32, 64);
    parse_fails(&blob, -EUCLEAN, "should begin at byte 2147483648");
}

/* A file cut anywhere in its header is refused, and nothing is read past the cut. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    struct blob whole = gguf(3, 1, 3);
    add_key(&whole, "general.name", STRING), add_string(&whole, "name");
    add_key(&whole, "a", ARRAY), add_uint(&whole, STRING, 4), add_uint(&whole, 2, 8),
        add_string(&whole, "x"), add_string(&whole, "y");
    add_key(&whole, "f", F64), add_uint(&whole, 1, 8);
    add_tensor(&whole, "t", 2, 4, 4, 0, 0);
    add_data(&whole, 32, 64);
    for (size_t size = 0; size < whole.size; size++) {
        struct blob cut = {0};
        add(&cut, whole.bytes, size);
        parse_fails(&cut, size < 4 ? -ENOTSUP : -EUCLEAN, "");
    }
    struct weights *weights = parse_ok(&whole);
    done(&whole, weights);

    whole = safetensors("{\"t\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16);
    for (size_t size = 0; size < whole.size; size++) {
        struct blob cut = {0};
        add(&cut, whole.bytes, size);
        parse_fails(&cut, size < 9 ? -ENOTSUP : -EUCLEAN, "");
    }
    weights = parse_ok(&whole);
    done(&whole, weights);
}

static void test_other_formats(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        const char *word;
    } cases[] = {
        {"PK\3\4xxxxxxxx", "PyTorch"},
        {"\x80\2}q\1xxxxxxxx", "PyTorch"},
        {"lmggxxxxxxxx", "older format"},
        {"fmggxxxxxxxx", "older format"},
        {"tjggxxxxxxxx", "older format"},
        {"FUGGxxxxxxxx", "neither"},
        {"\x7f"
         "ELFxxxxxxxxxxx",
         "neither"},
        {"", "neither"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct blob blob = {0};
        add(&blob, cases[i].head, strlen(cases[i].head));
        parse_fails(&blob, -ENOTSUP, cases[i].word);
    }
}

/* ---- size and other writers ------------------------------------------------------------------------------------ */

/* 50,000 tensors in reverse order: sorted and found in a moment, whatever order the writer chose. */
static void test_many_tensors(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    struct blob blob = gguf(3, COUNT, 0);
    char name[32];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "tensor.%u", i);
        add_tensor(&blob, name, 1, 8, 0, 0, (uint64_t)(COUNT - 1 - i) * 32);
    }
    add_data(&blob, 32, (size_t)COUNT * 32);
    struct weights *weights = parse_ok(&blob);
    assert_int_equal(weights->tensor_count, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "tensor.%u", COUNT - 1 - i);
        assert_string_equal(weights->tensors[i].name, name);
        assert_ptr_equal(weights_find(weights, name), &weights->tensors[i]);
    }
    done(&blob, weights);
}

/* Without the file's 5 GB: the parser reads the head only. */
static void test_data_is_not_read(void **state)
{
    (void)state;
    struct blob blob = safetensors(
        "{\"t\":{\"dtype\":\"F32\",\"shape\":[1250000000],\"data_offsets\":[0,5000000000]}}", 0);
    blob.claimed = blob.size + 5000000000;
    struct weights *weights = parse_ok(&blob);
    assert_int_equal(weights->tensors[0].size_bytes, 5000000000);
    done(&blob, weights);
}

static void test_files_of_another_writer(void **state)
{
    (void)state;
    static const char *const suffixes[] = {"safetensors", "gguf"};
    for (unsigned i = 0; i < 2; i++) {
        char path[64], command[200];
        snprintf(path, sizeof(path), "/tmp/ingot-test-weights-%d.%s", (int)getpid(), suffixes[i]);
        snprintf(command, sizeof(command),
                 "python=/usr/bin/python3; [ -x $python ] || python=python3; "
                 "$python tests/e2e/weights_files.py %s --megabytes 0.2 >/dev/null",
                 path);
        assert_int_equal(system(command), 0); /* from the repository's root */
        struct blob blob = {0};
        FILE *stream = fopen(path, "rb");
        assert_non_null(stream);
        struct stat status;
        assert_int_equal(fstat(fileno(stream), &status), 0);
        add(&blob, NULL, (size_t)status.st_size);
        assert_int_equal(fread(blob.bytes, 1, blob.size, stream), blob.size);
        fclose(stream);
        remove(path);
        struct weights *weights = parse_ok(&blob);
        assert_int_equal(weights->format, i == 0 ? WEIGHTS_SAFETENSORS : WEIGHTS_GGUF);
        assert_int_equal(weights->tensor_count, i == 0 ? 9 : 7);
        const struct tensor *norm = weights_find(weights, "model.norm.weight");
        assert_non_null(norm);
        assert_int_equal(norm->type, WEIGHTS_F32);
        assert_int_equal(norm->element_count, 257);
        done(&blob, weights);
    }
}

int main(void)
{
    host_log_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_type_table),
        cmocka_unit_test(test_safetensors_types),
        cmocka_unit_test(test_safetensors_good),
        cmocka_unit_test(test_safetensors_lies),
        cmocka_unit_test(test_safetensors_header_length),
        cmocka_unit_test(test_messages_stay_utf8),
        cmocka_unit_test(test_read_errors),
        cmocka_unit_test(test_gguf_types),
        cmocka_unit_test(test_gguf_good),
        cmocka_unit_test(test_gguf_metadata),
        cmocka_unit_test(test_gguf_bad_heads),
        cmocka_unit_test(test_gguf_bad_metadata),
        cmocka_unit_test(test_gguf_bad_tensors),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_other_formats),
        cmocka_unit_test(test_many_tensors),
        cmocka_unit_test(test_data_is_not_read),
        cmocka_unit_test(test_files_of_another_writer),
    };
    return cmocka_run_group_tests_name("weights", tests, NULL, NULL);
}
