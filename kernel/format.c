/* kernel/format.c: see kernel/format.h. */
#include "kernel/format.h"

#include <stdbool.h>
#include <stdint.h>

struct output {
    char *to;
    size_t room; /* without the final NUL */
    size_t used;
};

struct spec {
    bool left, plus, space, alternate, zero;
    int width, precision; /* precision -1: not given */
};

static void put(struct output *o, char c)
{
    if (o->used < o->room)
        o->to[o->used++] = c;
}

static void put_repeated(struct output *o, char c, int count)
{
    while (count-- > 0)
        put(o, c);
}

/* prefix (sign, 0x), then zeros, then body; padded to the width. */
static void put_padded(struct output *o, const struct spec *s, const char *prefix, int zeros,
                       const char *body, int length)
{
    int prefix_length = 0;
    while (prefix[prefix_length] != '\0')
        prefix_length++;
    int padding = s->width - prefix_length - zeros - length;
    if (!s->left)
        put_repeated(o, ' ', padding);
    while (*prefix != '\0')
        put(o, *prefix++);
    put_repeated(o, '0', zeros);
    for (int i = 0; i < length; i++)
        put(o, body[i]);
    if (s->left)
        put_repeated(o, ' ', padding);
}

static void put_integer(struct output *o, const struct spec *s, uint64_t value, bool negative,
                        unsigned base, bool upper)
{
    char digits[24];
    int at = sizeof(digits);
    const char *alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (uint64_t rest = value; rest != 0; rest /= base)
        digits[--at] = alphabet[rest % base];
    int length = (int)sizeof(digits) - at;
    if (length == 0 && s->precision != 0) {
        digits[--at] = '0';
        length = 1;
    }
    const char *prefix = negative ? "-" : s->plus ? "+" : s->space ? " " : "";
    if (s->alternate && value != 0 && base == 16)
        prefix = upper ? "0X" : "0x";
    int zeros = s->precision - length;
    if (s->precision < 0 && s->zero && !s->left) {
        zeros = s->width - length;
        for (const char *p = prefix; *p != '\0'; p++)
            zeros--;
    }
    put_padded(o, s, prefix, zeros > 0 ? zeros : 0, digits + at, length);
}

static void put_double(struct output *o, const struct spec *s, double value)
{
    bool negative = __builtin_signbit(value);
    if (negative)
        value = -value;
    const char *prefix = negative ? "-" : s->plus ? "+" : s->space ? " " : "";
    if (__builtin_isnan(value) || __builtin_isinf(value) || value >= 1e18) {
        const char *word = __builtin_isnan(value) ? "nan" : __builtin_isinf(value) ? "inf" : "huge";
        put_padded(o, s, prefix, 0, word, word[3] == '\0' ? 3 : 4);
        return;
    }
    int precision = s->precision < 0 ? 6 : s->precision > 9 ? 9 : s->precision;
    uint64_t scale = 1;
    for (int i = 0; i < precision; i++)
        scale *= 10;
    uint64_t whole = (uint64_t)value;
    uint64_t fraction = (uint64_t)((value - (double)whole) * (double)scale + 0.5);
    if (fraction >= scale) {
        whole++;
        fraction -= scale;
    }
    char digits[40];
    int at = sizeof(digits);
    for (int i = 0; i < precision; i++, fraction /= 10)
        digits[--at] = (char)('0' + fraction % 10);
    if (precision > 0)
        digits[--at] = '.';
    do {
        digits[--at] = (char)('0' + whole % 10);
        whole /= 10;
    } while (whole != 0);
    int length = (int)sizeof(digits) - at;
    int zeros = s->zero && !s->left ? s->width - length - (*prefix != '\0') : 0;
    put_padded(o, s, prefix, zeros > 0 ? zeros : 0, digits + at, length);
}

static void put_string(struct output *o, const struct spec *s, const char *text)
{
    if (text == NULL)
        text = "(null)";
    int length = 0;
    while ((s->precision < 0 || length < s->precision) && text[length] != '\0')
        length++;
    put_padded(o, s, "", 0, text, length);
}

/* The number at **fmt or the next argument for '*'; -1 when there is neither. */
static int number(const char **fmt, va_list *args)
{
    if (**fmt == '*') {
        (*fmt)++;
        return va_arg(*args, int);
    }
    if (**fmt < '0' || **fmt > '9')
        return -1;
    int n = 0;
    while (**fmt >= '0' && **fmt <= '9') {
        if (n < 100000)
            n = n * 10 + (**fmt - '0');
        (*fmt)++;
    }
    return n;
}

/* 0: int; 1: 64-bit (l, ll, z, j, t); -1: h; -2: hh */
static int length_modifier(const char **fmt)
{
    int length = 0;
    for (;; (*fmt)++) {
        if (**fmt == 'h')
            length--;
        else if (**fmt == 'l' || **fmt == 'z' || **fmt == 'j' || **fmt == 't')
            length = 1;
        else
            return length;
    }
}

size_t format_vprint(char *out, size_t size_bytes, const char *fmt, va_list caller_args)
{
    struct output o = {.to = out, .room = size_bytes - 1};
    va_list args;
    va_copy(args, caller_args);
    while (*fmt != '\0') {
        if (*fmt != '%') {
            put(&o, *fmt++);
            continue;
        }
        fmt++;
        struct spec s = {.precision = -1};
        for (bool more = true; more;) {
            switch (*fmt) {
            case '-':
                s.left = true, fmt++;
                break;
            case '+':
                s.plus = true, fmt++;
                break;
            case ' ':
                s.space = true, fmt++;
                break;
            case '#':
                s.alternate = true, fmt++;
                break;
            case '0':
                s.zero = true, fmt++;
                break;
            default:
                more = false;
            }
        }
        s.width = number(&fmt, &args);
        if (s.width < -1) {
            s.left = true;
            s.width = -s.width;
        }
        if (*fmt == '.') {
            fmt++;
            s.precision = number(&fmt, &args);
            if (s.precision == -1 && fmt[-1] == '.')
                s.precision = 0;
        }
        int length = length_modifier(&fmt);
        switch (*fmt) {
        case 'd':
        case 'i': {
            int64_t value = length > 0 ? va_arg(args, int64_t) : va_arg(args, int);
            value = length == -1 ? (short)value : length <= -2 ? (signed char)value : value;
            put_integer(&o, &s, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0, 10,
                        false);
            break;
        }
        case 'u':
        case 'x':
        case 'X':
        case 'o': {
            uint64_t value = length > 0 ? va_arg(args, uint64_t) : va_arg(args, unsigned);
            value = length == -1   ? (unsigned short)value
                    : length <= -2 ? (unsigned char)value
                                   : value;
            s.plus = s.space = false;
            put_integer(&o, &s, value, false, *fmt == 'u' ? 10 : *fmt == 'o' ? 8 : 16, *fmt == 'X');
            break;
        }
        case 'p':
            s.alternate = true;
            put_integer(&o, &s, (uint64_t)va_arg(args, void *), false, 16, false);
            break;
        case 'c': {
            char c = (char)va_arg(args, int);
            put_padded(&o, &s, "", 0, &c, 1);
            break;
        }
        case 's':
            put_string(&o, &s, va_arg(args, const char *));
            break;
        case 'f':
        case 'F':
        case 'g':
        case 'G':
        case 'e':
        case 'E':
            put_double(&o, &s, va_arg(args, double));
            break;
        case '%':
            put(&o, '%');
            break;
        default: /* not a conversion: show it, so that the mistake is seen */
            put(&o, '%');
            if (*fmt != '\0')
                put(&o, *fmt);
        }
        if (*fmt != '\0')
            fmt++;
    }
    va_end(args);
    out[o.used] = '\0';
    return o.used;
}

size_t format_print(char *out, size_t size_bytes, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t length = format_vprint(out, size_bytes, fmt, args);
    va_end(args);
    return length;
}
