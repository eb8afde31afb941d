/*
 * runtime/weights/weights_private.h: what the parsers of the formats share.
 */
#ifndef INGOT_WEIGHTS_PRIVATE_H
#define INGOT_WEIGHTS_PRIVATE_H

#include "kernel/kernel.h"
#include "runtime/volume/text.h"
#include "runtime/weights/weights.h"

#define WEIGHTS_TENSORS_MAX    1000000u
#define WEIGHTS_METADATA_MAX   1000000u
#define WEIGHTS_NAME_BYTES_MAX 65535u /* of a tensor or a key; GGUF's limit for keys */
#define WEIGHTS_BRIEF_BYTES    56     /* of a name in a message */

struct arena_block;

/* A model that is being put together; weights comes first, so that weights_free() finds the rest. */
struct weights_build {
    struct weights weights;
    struct tensor **by_name;
    struct arena_block *arena;
    uint32_t tensor_capacity, metadata_capacity;

    /* only while parsing */
    weights_read read;
    void *read_arg;
    char *reason;
    size_t reason_bytes;
};

/* Words for the caller, and the error to return. */
#define weights_refuse(build, error, ...) refuse(error, (build)->reason, (build)->reason_bytes, __VA_ARGS__)

int weights_build_read(struct weights_build *build, uint64_t offset, void *out, uint64_t size_bytes);
/* A copy of text with a NUL behind it, living as long as the model. NULL: no memory. */
char *weights_build_text(struct weights_build *build, const char *text, size_t size_bytes);

/* Is this fit to be a tensor's name or a key: not empty, not too long, UTF-8, no control characters? what names it. */
int weights_check_name(struct weights_build *build, const char *what, const char *name, size_t size_bytes);
/* Fill in element_count and size_bytes from type and shape; every product is checked. */
int weights_check_shape(struct weights_build *build, struct tensor *tensor);

/* The tables grow with what was really found, never with what a header promises. name, key and value are taken as they
 * are. */
int weights_build_tensor(struct weights_build *build, const struct tensor *tensor);
int weights_build_metadata(struct weights_build *build, const char *key, const char *value);
/* Put the tensors in the order of their data, and refuse duplicate names and keys. */
int weights_build_finish(struct weights_build *build);

int safetensors_parse(struct weights_build *build);
int gguf_parse(struct weights_build *build);

/* ---- metadata values as JSON text (json_text.c) ---------------------------------------------------------------- */

#define JSON_STRING_BYTES_MAX 16384 /* of the original; longer strings are cut and say so */

struct json_text {
    char *text; /* malloc(), NUL-terminated once something was put */
    size_t length, capacity;
    bool is_out_of_memory;
};
void json_text_put(struct json_text *json, const char *text);
/* bytes as a JSON string. total_bytes: length of the original, more than size_bytes when it was cut. */
void json_text_put_string(struct json_text *json, const char *bytes, size_t size_bytes, uint64_t total_bytes);
void json_text_put_int(struct json_text *json, int64_t value);
void json_text_put_uint(struct json_text *json, uint64_t value);
/* digits: significant ones, enough to read the value back. NaN and infinities, which JSON has not, become strings. */
void json_text_put_number(struct json_text *json, double value, int digits);
void json_text_reset(struct json_text *json);
void json_text_free(struct json_text *json);

#endif
