/*
 * runtime/http/uri.c: percent-decoding of paths and queries (RFC 3986, 2.1).
 *
 * A path is decoded once, after it has been cut at its slashes, and must not change its meaning by that: an
 * encoded slash, backslash or NUL, a control character and a dot segment are refused, not interpreted.
 */
#include "runtime/http/connection.h"

#include <string.h>

#include "runtime/volume/text.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte that %XX at text stands for, or -1. */
static int percent_byte(const char *text, size_t size_bytes)
{
    if (size_bytes < 3 || hex_digit(text[1]) < 0 || hex_digit(text[2]) < 0)
        return -1;
    return hex_digit(text[1]) << 4 | hex_digit(text[2]);
}

static bool has_dot_segment(const char *path)
{
    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        size_t length = strcspn(at + 1, "/");
        if ((length == 1 && at[1] == '.') || (length == 2 && at[1] == '.' && at[2] == '.'))
            return true;
    }
    return false;
}

const char *uri_path_decode(const char *raw, size_t raw_bytes, char *out)
{
    size_t used = 0;
    if (raw_bytes == 0 || raw[0] != '/')
        return "The path must start with a slash.";
    for (size_t i = 0; i < raw_bytes; i++) {
        uint8_t byte = (uint8_t)raw[i];
        if (byte == '%') {
            int value = percent_byte(raw + i, raw_bytes - i);
            if (value < 0)
                return "A % in the path is not followed by two hexadecimal digits.";
            if (value == '/' || value == '\\')
                return "An encoded slash or backslash in the path is refused.";
            byte = (uint8_t)value;
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7f)
            return "A control character in the path is refused.";
        out[used++] = (char)byte;
    }
    out[used] = 0;
    if (!utf8_is_valid(out, used))
        return "The path is not UTF-8.";
    if (has_dot_segment(out))
        return "Dot segments in the path are refused.";
    return NULL;
}

/* Decode a query component; returns its bytes, or -1. */
static int query_decode(const char *raw, size_t raw_bytes, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < raw_bytes; i++) {
        int byte = (uint8_t)raw[i];
        if (byte == '+')
            byte = ' ';
        if (byte == '%') {
            byte = percent_byte(raw + i, raw_bytes - i);
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7f || used + 1 >= out_bytes)
            return -1;
        out[used++] = (char)byte;
    }
    out[used] = 0;
    return utf8_is_valid(out, used) ? (int)used : -1;
}

int query_get(const struct http_connection *c, const char *name, char *out, size_t out_bytes)
{
    size_t name_bytes = strlen(name);
    int found = 0;
    for (const char *at = c->query; *at; at += strspn(at, "&")) {
        size_t length = strcspn(at, "&");
        size_t key_bytes = strcspn(at, "=&");
        if (key_bytes == name_bytes && memcmp(at, name, name_bytes) == 0) {
            const char *value = key_bytes < length ? at + key_bytes + 1 : at + length;
            if (found || query_decode(value, (size_t)(at + length - value), out, out_bytes) < 0)
                return -EINVAL;
            found = 1;
        }
        at += length;
    }
    return found;
}

int query_uint(const struct http_connection *c, const char *name, uint64_t minimum,
               uint64_t maximum, uint64_t *out)
{
    char text[24];
    int found = query_get(c, name, text, sizeof(text));
    if (found <= 0)
        return found;
    uint64_t value = 0;
    if (!text[0] || strlen(text) > 19)
        return -EINVAL;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9')
            return -EINVAL;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    if (value < minimum || value > maximum)
        return -EINVAL;
    *out = value;
    return 1;
}

bool query_has_unknown(const struct http_connection *c, const char *allowed, char *out,
                       size_t out_bytes)
{
    for (const char *at = c->query; *at; at += strspn(at, "&")) {
        size_t length = strcspn(at, "&");
        size_t key_bytes = strcspn(at, "=&");
        bool is_known = false;
        for (const char *name = allowed; name && *name; name += strspn(name, " ")) {
            size_t name_bytes = strcspn(name, " ");
            is_known |= name_bytes == key_bytes && memcmp(name, at, key_bytes) == 0;
            name += name_bytes;
        }
        if (!is_known && length > 0) {
            size_t kept = min_u64(key_bytes, out_bytes - 1);
            memcpy(out, at, kept);
            out[kept] = 0;
            return true;
        }
        at += length;
    }
    return false;
}
