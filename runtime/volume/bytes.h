/*
 * runtime/volume/bytes.h: little-endian numbers at any address, as disks and weight files hold them.
 */
#ifndef INGOT_VOLUME_BYTES_H
#define INGOT_VOLUME_BYTES_H

#include <stdint.h>

static inline uint16_t le16(const void *at)
{
    const uint8_t *b = at;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t le32(const void *at)
{
    return le16(at) | (uint32_t)le16((const uint8_t *)at + 2) << 16;
}

static inline uint64_t le64(const void *at)
{
    return le32(at) | (uint64_t)le32((const uint8_t *)at + 4) << 32;
}

#endif
