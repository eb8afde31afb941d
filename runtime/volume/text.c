/*
 * runtime/volume/text.c: UTF-8 and UTF-16 (The Unicode Standard 15.0, section 3.9), and text for messages.
 */
#include "runtime/volume/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

unsigned utf8_put(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

uint32_t utf8_get(const char *text, size_t size_bytes, unsigned *used)
{
    const uint8_t *bytes = (const uint8_t *)text;
    uint8_t first = bytes[0];
    *used = 1;
    if (first < 0x80)
        return first;

    unsigned length;
    uint32_t code, least;
    if (first >= 0xc2 && first <= 0xdf) {
        length = 2, code = first & 0x1f, least = 0x80;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3, code = first & 0x0f, least = 0x800;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4, code = first & 0x07, least = 0x10000;
    } else {
        return UINT32_MAX;
    }
    if (size_bytes < length)
        return UINT32_MAX;
    for (unsigned i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return UINT32_MAX;
        code = code << 6 | (bytes[i] & 0x3f);
    }
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return UINT32_MAX;
    *used = length;
    return code;
}

bool utf8_is_valid(const char *text, size_t size_bytes)
{
    unsigned used;
    for (size_t i = 0; i < size_bytes; i += used)
        if (utf8_get(text + i, size_bytes - i, &used) == UINT32_MAX)
            return false;
    return true;
}

size_t utf16_to_utf8(const uint16_t *units, size_t count, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < count && units[i] != 0; i++) {
        uint32_t code = units[i];
        if (code >= 0xd800 && code <= 0xdbff && i + 1 < count && units[i + 1] >= 0xdc00 &&
            units[i + 1] <= 0xdfff)
            code = 0x10000 + ((code - 0xd800) << 10) + (units[++i] - 0xdc00u);
        else if (code >= 0xd800 && code <= 0xdfff)
            code = UTF_REPLACEMENT;
        else if (code < 0x20 || code == 0x7f)
            code = '?';
        length += utf8_put(out + length, code);
    }
    out[length] = 0;
    return length;
}

uint32_t utf_fold(uint32_t code)
{
    if (code < 0x80)
        return code >= 'a' && code <= 'z' ? code - 32 : code;
    if (code >= 0xe0 && code <= 0xfe) /* Latin-1; 0xf7 is the division sign */
        return code == 0xf7 ? code : code - 32;
    if (code == 0xff)
        return 0x178;
    if ((code >= 0x100 && code <= 0x137 && code != 0x131) || (code >= 0x14a && code <= 0x177))
        return code & ~1u; /* Latin Extended-A: pairs, capital first; 0x131 is dotless i */
    if ((code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17e))
        return code % 2 == 0 ? code - 1 : code; /* ... and pairs that begin at an odd place */
    if (code >= 0x3b1 && code <= 0x3cb)         /* Greek; 0x3c2 is final sigma */
        return code == 0x3c2 ? 0x3a3 : code - 32;
    switch (code) { /* Greek with tonos */
    case 0x3ac:
        return 0x386;
    case 0x3ad:
    case 0x3ae:
    case 0x3af:
        return code - 37;
    case 0x3cc:
        return 0x38c;
    case 0x3cd:
    case 0x3ce:
        return code - 63;
    }
    if (code >= 0x430 && code <= 0x44f) /* Cyrillic */
        return code - 32;
    if (code >= 0x450 && code <= 0x45f)
        return code - 80;
    return code;
}

const char *text_brief(char *out, size_t out_bytes, const char *text, size_t text_bytes)
{
    size_t length = 0, length_with_dots = 0; /* the latter: what fits with "..." behind it */
    unsigned used;
    for (size_t i = 0; i < text_bytes; i += used) {
        uint32_t code = utf8_get(text + i, text_bytes - i, &used);
        bool is_shown =
            code != UINT32_MAX && code >= 0x20 && code != 0x7f && !(code >= 0x80 && code < 0xa0);
        char piece[4] = {'?'};
        unsigned piece_bytes = is_shown ? utf8_put(piece, code) : 1;
        if (length + piece_bytes + 1 > out_bytes) {
            memcpy(out + length_with_dots, "...", 4);
            return out;
        }
        memcpy(out + length, piece, piece_bytes);
        length += piece_bytes;
        if (length + 4 <= out_bytes)
            length_with_dots = length;
    }
    out[length] = 0;
    return out;
}

void text_mend(char *text)
{
    size_t length = strlen(text);
    unsigned used;
    for (size_t i = 0; i < length; i += used) {
        if (utf8_get(text + i, length - i, &used) != UINT32_MAX)
            continue;
        /* A first byte with nothing but continuations behind it: the end of a cut text. */
        bool is_cut = (uint8_t)text[i] >= 0xc0 && length - i < 4;
        for (size_t j = i + 1; j < length; j++)
            is_cut &= ((uint8_t)text[j] & 0xc0) == 0x80;
        text[i] = is_cut ? 0 : '?';
        if (is_cut)
            return;
    }
}

int refuse(int error, char *reason, size_t reason_bytes, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(reason, reason_bytes, fmt, args);
    va_end(args);
    if (wanted >= 0 && (size_t)wanted >= reason_bytes && reason_bytes > 0)
        text_mend(reason);
    return error;
}
