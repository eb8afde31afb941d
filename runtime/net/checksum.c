/*
 * runtime/net/checksum.c: the Internet checksum (RFC 1071).
 *
 * One's complement sums may be added in words of any size and in either byte order (section 2), so
 * eight bytes at a time go into a 64-bit sum whose carries wrap around, and it is folded to 16 bits
 * at the end.
 */
#include <string.h>

#include "runtime/net/checksum.h"

static inline uint64_t add_wrapping(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

uint16_t internet_checksum(const void *data, int size_bytes)
{
    const uint8_t *at = data;
    uint64_t sum = 0;
    unsigned left = size_bytes > 0 ? (unsigned)size_bytes : 0;
    for (; left >= 32; left -= 32, at += 32) {
        uint64_t words[4];
        memcpy(words, at, 32);
        for (unsigned i = 0; i < 4; i++)
            sum = add_wrapping(sum, words[i]);
    }
    for (; left > 0; at += left < 8 ? left : 8, left -= left < 8 ? left : 8) {
        uint64_t word = 0;
        memcpy(&word, at, left < 8 ? left : 8);
        sum = add_wrapping(sum, word);
    }
    for (unsigned i = 0; i < 2; i++)
        sum = (sum & UINT32_MAX) + (sum >> 32);
    for (unsigned i = 0; i < 3; i++)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}
