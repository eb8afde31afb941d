/*
 * runtime/weights/json_text.c: metadata values as JSON text (RFC 8259).
 */
#include "runtime/weights/weights_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_bytes(struct json_text *json, const char *bytes, size_t size_bytes)
{
    if (json->is_out_of_memory)
        return;
    if (json->length + size_bytes + 1 > json->capacity) {
        size_t wanted = (json->length + size_bytes + 1) * 2;
        char *grown = realloc(json->text, wanted);
        if (!grown) {
            json->is_out_of_memory = true;
            return;
        }
        json->text = grown;
        json->capacity = wanted;
    }
    memcpy(json->text + json->length, bytes, size_bytes);
    json->length += size_bytes;
    json->text[json->length] = 0;
}

void json_text_put(struct json_text *json, const char *text)
{
    put_bytes(json, text, strlen(text));
}

static void put_character(struct json_text *json, uint32_t code)
{
    char piece[12];
    switch (code) {
    case '"':
        put_bytes(json, "\\\"", 2);
        return;
    case '\\':
        put_bytes(json, "\\\\", 2);
        return;
    case '\n':
        put_bytes(json, "\\n", 2);
        return;
    case '\t':
        put_bytes(json, "\\t", 2);
        return;
    case '\r':
        put_bytes(json, "\\r", 2);
        return;
    }
    if (code < 0x20) {
        snprintf(piece, sizeof(piece), "\\u%04x", (unsigned)code);
        put_bytes(json, piece, 6);
    } else {
        put_bytes(json, piece, utf8_put(piece, code));
    }
}

void json_text_put_string(struct json_text *json, const char *bytes, size_t size_bytes,
                          uint64_t total_bytes)
{
    put_bytes(json, "\"", 1);
    unsigned used;
    for (size_t i = 0; i < size_bytes; i += used) {
        uint32_t code = utf8_get(bytes + i, size_bytes - i, &used);
        if (code == UINT32_MAX && size_bytes < total_bytes && size_bytes - i < 4)
            break; /* a character that the cut went through */
        put_character(json, code == UINT32_MAX ? UTF_REPLACEMENT : code);
    }
    if (size_bytes < total_bytes) {
        char note[48];
        snprintf(note, sizeof(note), "... (cut, %" PRIu64 " bytes in all)", total_bytes);
        json_text_put(json, note);
    }
    put_bytes(json, "\"", 1);
}

void json_text_put_int(struct json_text *json, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, value);
    json_text_put(json, text);
}

void json_text_put_uint(struct json_text *json, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    json_text_put(json, text);
}

void json_text_put_number(struct json_text *json, double value, int digits)
{
    char text[40];
    if (isnan(value))
        snprintf(text, sizeof(text), "\"NaN\"");
    else if (isinf(value))
        snprintf(text, sizeof(text), value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else
        snprintf(text, sizeof(text), "%.*g", digits, value);
    json_text_put(json, text);
}

void json_text_reset(struct json_text *json)
{
    json->length = 0;
    json->is_out_of_memory = false;
}

void json_text_free(struct json_text *json)
{
    free(json->text);
    *json = (struct json_text){0};
}
