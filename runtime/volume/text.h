/*
 * runtime/volume/text.h: names that come from disks and files, made fit to show. UTF-16 as disks hold it, UTF-8 as
 * everybody else has it. Private to the folders of runtime/.
 */
#ifndef INGOT_VOLUME_TEXT_H
#define INGOT_VOLUME_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF_REPLACEMENT 0xfffd

/* Append one code point (below 0x110000, not a surrogate) at out; returns the 1 to 4 bytes written. */
unsigned utf8_put(char *out, uint32_t code);
/* The code point at text, of which size_bytes are left (at least 1); *used gets its length. UINT32_MAX with *used 1
 * when the bytes are not well-formed UTF-8 (overlong, surrogate, above 0x10ffff, cut short). */
uint32_t utf8_get(const char *text, size_t size_bytes, unsigned *used);
bool utf8_is_valid(const char *text, size_t size_bytes);
/* count UTF-16 units, up to a NUL, as UTF-8 with its NUL; an unpaired surrogate becomes U+FFFD, a control character
 * '?'. out has room for 3 * count + 1 bytes. Returns the length. */
size_t utf16_to_utf8(const uint16_t *units, size_t count, char *out);
/* Upper case as FAT folds names: ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic; anything else is itself. */
uint32_t utf_fold(uint32_t code);
/* text for a message: cut with "..." to fit out (at least 8 bytes), never inside a character; bytes that are not UTF-8
 * and control characters become '?'. Returns out. */
const char *text_brief(char *out, size_t out_bytes, const char *text, size_t text_bytes);
/* Make cut text whole: an incomplete character at its end is dropped, other bytes that are not UTF-8 become '?'. */
void text_mend(char *text);
/* Put words into reason, cut between characters, and return error: `return refuse(-EINVAL, reason, ...);` */
int refuse(int error, char *reason, size_t reason_bytes, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
