/* runtime/http/text.h: text that grows up to a limit, and how times and JSON strings are written. */
#ifndef INGOT_HTTP_TEXT_H
#define INGOT_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is empty. After running out of memory or past the limit it stays failed and drops what is added. */
struct text {
    char *data; /* malloc()ed, not NUL-terminated */
    size_t size_bytes, capacity, limit;
    bool has_failed;
};
void text_add(struct text *text, const void *data, size_t size_bytes);
void text_print(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *text);

/* RFC 3339 in UTC with milliseconds: "2026-11-20T23:45:00.123Z". ns since 1970. out gets a NUL. */
#define TIME_TEXT_BYTES 32
size_t time_format(char out[TIME_TEXT_BYTES], int64_t wall_ns);
/* The same for a moment of time_ns(); "" (and 0) while nobody has told us the time. */
size_t time_format_boot(char out[TIME_TEXT_BYTES], uint64_t boot_ns);
/* The Date header's form (IMF-fixdate, RFC 9110 5.6.7): "Fri, 20 Nov 2026 23:45:00 GMT". */
size_t time_format_http(char out[TIME_TEXT_BYTES], int64_t wall_ns);

/* text as the inside of a JSON string; stops before what does not fit. Bytes that are not UTF-8 become U+FFFD.
 * Returns the bytes written, without a NUL. */
size_t json_escape(char *out, size_t out_bytes, const char *text);

/* value in decimal at out (at least 20 bytes); returns the digits written, without a NUL. */
size_t decimal_format(char *out, uint64_t value);

#endif
