/*
 * runtime/hash/sha256.h: SHA-256 (FIPS 180-4), with the CPU's SHA instructions where it has them.
 */
#ifndef INGOT_SHA256_H
#define INGOT_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX_BYTES 65 /* with the NUL */

struct sha256 {
    uint32_t state[8];
    uint64_t size_bytes; /* hashed so far */
    uint8_t block[64];   /* the part of a block that is not full yet: size_bytes % 64 bytes */
};

void sha256_start(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *data, size_t size_bytes);
void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_BYTES]);
void sha256_hex(const uint8_t digest[SHA256_BYTES], char out[SHA256_HEX_BYTES]);

/* The two ways to hash blocks of 64 bytes, for tests; sha256_add() takes the best that the CPU has. */
void sha256_blocks_portable(uint32_t state[8], const uint8_t *data, size_t block_count);
void sha256_blocks_sha_ni(uint32_t state[8], const uint8_t *data, size_t block_count);

#endif
