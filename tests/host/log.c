/*
 * tests/host/log.c: the log of the hosted twin: a ring in memory, and stderr. Also panic(), which aborts, so that a
 * sanitizer or a debugger shows where.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/host/host.h"

#define LINE_COUNT 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_line lines[LINE_COUNT];
static uint64_t next_sequence = 1;
static enum log_level stderr_level = LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

__attribute__((constructor)) static void read_environment(void)
{
    const char *wanted = getenv("INGOT_LOG");
    for (unsigned i = 0; wanted != NULL && i < ARRAY_COUNT(level_names); i++)
        if (strcmp(wanted, level_names[i]) == 0)
            stderr_level = (enum log_level)i;
}

void host_log_level(enum log_level level)
{
    stderr_level = level;
}

/* Bytes of the well-formed UTF-8 sequence of two to four bytes at s, or 0 (Unicode 15, table 3-7). */
static unsigned utf8_length(const unsigned char *s)
{
    unsigned length;
    unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte */
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        length = 2;
    } else if ((s[0] & 0xf0) == 0xe0) {
        length = 3;
        if (s[0] == 0xe0)
            low = 0xa0; /* overlong */
        if (s[0] == 0xed)
            high = 0x9f; /* surrogates */
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        length = 4;
        if (s[0] == 0xf0)
            low = 0x90;
        if (s[0] == 0xf4)
            high = 0x8f; /* past U+10FFFF */
    } else {
        return 0;
    }
    if (s[1] < low || s[1] > high)
        return 0;
    for (unsigned i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* Copy text with control characters and bytes that are not UTF-8 as \xNN; cut between characters. */
static void escape(char *out, size_t out_bytes, const char *text)
{
    size_t at = 0;
    for (const unsigned char *s = (const unsigned char *)text; *s != 0;) {
        unsigned length = *s >= 0x20 && *s < 0x7f ? 1 : utf8_length(s);
        if (at + (length != 0 ? length : 4) >= out_bytes)
            break;
        if (length == 0) {
            snprintf(out + at, out_bytes - at, "\\x%02x", *s++);
            at += 4;
        } else {
            memcpy(out + at, s, length);
            at += length;
            s += length;
        }
    }
    out[at] = 0;
}

void log_print(enum log_level level, const char *fmt, ...)
{
    char raw[sizeof(lines[0].text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);

    struct log_line line = {.time_ns = time_ns(), .level = level, .core = core_current()};
    escape(line.text, sizeof(line.text), raw);

    pthread_mutex_lock(&lock);
    line.sequence = next_sequence++;
    lines[line.sequence % LINE_COUNT] = line;
    pthread_mutex_unlock(&lock);

    if (level <= stderr_level)
        fprintf(stderr, "[%5llu.%06llu] %s: %s\n", (unsigned long long)(line.time_ns / NS_PER_S),
                (unsigned long long)(line.time_ns % NS_PER_S / NS_PER_US), level_names[level],
                line.text);
}

int log_read(uint64_t from, struct log_line *out)
{
    pthread_mutex_lock(&lock);
    uint64_t oldest = next_sequence > LINE_COUNT ? next_sequence - LINE_COUNT : 1;
    if (from < oldest)
        from = oldest;
    bool is_there = from < next_sequence;
    if (is_there)
        *out = lines[from % LINE_COUNT];
    pthread_mutex_unlock(&lock);
    return is_there;
}

_Noreturn void panic(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("panic: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
