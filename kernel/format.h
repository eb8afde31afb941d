/*
 * kernel/format.h: printf for the machine layer: no locks, no allocation, little stack, usable before and after
 * everything else works. Conversions: d i u x X o c s p %, with flags, width, precision and length; f, g and e
 * come out as f.
 */
#ifndef INGOT_FORMAT_H
#define INGOT_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* Always terminates out (size_bytes at least 1) and cuts what does not fit. Returns the length of what is in out. */
size_t format_vprint(char *out, size_t size_bytes, const char *fmt, va_list args) __attribute__((format(printf, 3, 0)));
size_t format_print(char *out, size_t size_bytes, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
