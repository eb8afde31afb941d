/* runtime/http/text.c: see text.h. */
#include "runtime/http/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "runtime/volume/text.h"

static bool text_reserve(struct text *text, size_t more)
{
    size_t limit = text->limit ? text->limit : SIZE_MAX / 2;
    if (text->has_failed || more > limit || text->size_bytes > limit - more) {
        text->has_failed = true;
        return false;
    }
    if (text->size_bytes + more <= text->capacity)
        return true;
    size_t capacity = text->capacity ? text->capacity * 2 : 4096;
    while (capacity < text->size_bytes + more)
        capacity *= 2;
    char *data = realloc(text->data, capacity);
    if (!data) {
        text->has_failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void text_add(struct text *text, const void *data, size_t size_bytes)
{
    if (!text_reserve(text, size_bytes))
        return;
    memcpy(text->data + text->size_bytes, data, size_bytes);
    text->size_bytes += size_bytes;
}

void text_print(struct text *text, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof(line)) {
        text->has_failed = true;
        return;
    }
    text_add(text, line, (size_t)length);
}

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

/* ---- times ----------------------------------------------------------------------------------------------------- */

struct civil_time {
    int year, month, day, weekday, hour, minute, second, millisecond;
};

/* Days since 1970 to the Gregorian calendar, counted in 400-year eras that start on 1 March so that leap days end
 * them. */
static struct civil_time civil_time(int64_t wall_ns)
{
    int64_t ms = wall_ns / (int64_t)NS_PER_MS;
    int64_t days = ms / 86400000, rest = ms % 86400000;
    if (rest < 0) {
        rest += 86400000;
        days--;
    }
    int64_t shifted = days + 719468; /* from 0000-03-01 to 1970-01-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0 is March */
    struct civil_time t = {
        .day = (int)(day_of_year - (153 * month + 2) / 5 + 1),
        .month = (int)(month < 10 ? month + 3 : month - 9),
        .year = (int)(year_of_era + era * 400 + (month >= 10)),
        .weekday = (int)(((days + 4) % 7 + 7) % 7), /* 1970-01-01 was a Thursday */
        .hour = (int)(rest / 3600000),
        .minute = (int)(rest / 60000 % 60),
        .second = (int)(rest / 1000 % 60),
        .millisecond = (int)(rest % 1000),
    };
    return t;
}

size_t time_format(char out[TIME_TEXT_BYTES], int64_t wall_ns)
{
    struct civil_time t = civil_time(wall_ns);
    return (size_t)snprintf(out, TIME_TEXT_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
                            (unsigned)t.year % 10000, (unsigned)t.month % 100,
                            (unsigned)t.day % 100, (unsigned)t.hour % 100, (unsigned)t.minute % 100,
                            (unsigned)t.second % 100, (unsigned)t.millisecond % 1000);
}

size_t time_format_boot(char out[TIME_TEXT_BYTES], uint64_t boot_ns)
{
    int64_t wall_ns = wall_clock_ns();
    out[0] = 0;
    if (wall_ns == 0)
        return 0;
    return time_format(out, wall_ns - (int64_t)(time_ns() - boot_ns));
}

size_t time_format_http(char out[TIME_TEXT_BYTES], int64_t wall_ns)
{
    static const char weekdays[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct civil_time t = civil_time(wall_ns);
    return (size_t)snprintf(out, TIME_TEXT_BYTES, "%s, %02u %s %04u %02u:%02u:%02u GMT",
                            weekdays[t.weekday], (unsigned)t.day % 100, months[t.month - 1],
                            (unsigned)t.year % 10000, (unsigned)t.hour % 100,
                            (unsigned)t.minute % 100, (unsigned)t.second % 100);
}

/* ---- characters ------------------------------------------------------------------------------------------------ */

size_t json_escape(char *out, size_t out_bytes, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    size_t used = 0, left = strlen(text);
    while (left > 0) {
        char piece[6];
        size_t piece_bytes, taken = 1;
        uint8_t byte = (uint8_t)*text;
        if (byte == '"' || byte == '\\') {
            piece[0] = '\\';
            piece[1] = (char)byte;
            piece_bytes = 2;
        } else if (byte < 0x20 || byte == 0x7f) {
            memcpy(piece, "\\u00", 4);
            piece[4] = hex[byte >> 4];
            piece[5] = hex[byte & 15];
            piece_bytes = 6;
        } else {
            unsigned sequence_bytes;
            if (utf8_get(text, left, &sequence_bytes) == UINT32_MAX) {
                piece_bytes = utf8_put(piece, UTF_REPLACEMENT);
            } else {
                memcpy(piece, text, sequence_bytes);
                piece_bytes = sequence_bytes;
            }
            taken = sequence_bytes;
        }
        if (piece_bytes > out_bytes - used)
            break;
        memcpy(out + used, piece, piece_bytes);
        used += piece_bytes;
        text += taken;
        left -= taken;
    }
    return used;
}

size_t decimal_format(char *out, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}
