/* runtime/net/checksum.h: the Internet checksum (RFC 1071). */
#ifndef INGOT_NET_CHECKSUM_H
#define INGOT_NET_CHECKSUM_H

#include <stdint.h>

/* The one's complement sum of the data as 16-bit words in memory order, an odd byte padded with
 * zero; not complemented. */
uint16_t internet_checksum(const void *data, int size_bytes);

#endif
