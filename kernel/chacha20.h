/*
 * kernel/chacha20.h: the ChaCha20 block function (RFC 8439, 2.3), for random numbers.
 */
#ifndef INGOT_CHACHA20_H
#define INGOT_CHACHA20_H

#include <stdint.h>

static inline uint32_t chacha20_rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static inline void chacha20_quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a += *b, *d = chacha20_rotate(*d ^ *a, 16);
    *c += *d, *b = chacha20_rotate(*b ^ *c, 12);
    *a += *b, *d = chacha20_rotate(*d ^ *a, 8);
    *c += *d, *b = chacha20_rotate(*b ^ *c, 7);
}

/* out gets the 64 bytes of key stream that belong to this key, block counter and nonce, as little-endian words. */
static inline void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3], uint32_t out[16])
{
    const uint32_t input[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0],  key[1],   key[2],   key[3],
                                key[4],     key[5],     key[6],     key[7],     counter, nonce[0], nonce[1], nonce[2]};
    for (int i = 0; i < 16; i++)
        out[i] = input[i];
    for (int round = 0; round < 20; round += 2) {
        for (int i = 0; i < 4; i++)
            chacha20_quarter(&out[i], &out[4 + i], &out[8 + i], &out[12 + i]);
        for (int i = 0; i < 4; i++)
            chacha20_quarter(&out[i], &out[4 + (i + 1) % 4], &out[8 + (i + 2) % 4], &out[12 + (i + 3) % 4]);
    }
    for (int i = 0; i < 16; i++)
        out[i] += input[i];
}

#endif
