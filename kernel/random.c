/*
 * kernel/random.c: random numbers: ChaCha20 (RFC 8439) under a key that is replaced at every use, so that no
 * earlier output can be computed from what memory holds later. The first key comes from the boot loader's seed,
 * and each use stirs in RDSEED or RDRAND where the processor has them, and the time stamp counter.
 */
#include "kernel/random.h"

#include <string.h>

#include "kernel/chacha20.h"
#include "kernel/core.h"
#include "kernel/x86.h"

static uint32_t key[8];
static struct spinlock lock;

/* RDSEED may be empty for a moment, RDRAND practically never is: ten tries each (Intel's DRNG guide, 5.2.1). */
static uint64_t hardware_word(void)
{
    uint64_t value = 0;
    uint8_t ok = 0;
    for (int i = 0; i < 10 && !ok && cpu_facts.has_rdseed; i++)
        __asm__ volatile("rdseed %0\n\tsetc %1" : "=r"(value), "=qm"(ok) : : "cc");
    for (int i = 0; i < 10 && !ok && cpu_facts.has_rdrand; i++)
        __asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(value), "=qm"(ok) : : "cc");
    return ok ? value : 0;
}

void random_start(const uint8_t *seed, size_t size_bytes)
{
    const uint32_t nonce[3] = {
        0x6b726e6c, 0, 0}; /* "lnrk": another stream than the access token's (boot/token.c) */
    uint32_t block[16], words[16] = {0};
    memcpy(words, seed, min_u64(size_bytes, sizeof(words)));
    /* Both halves of the seed count: the second is stirred into the output of the first. */
    chacha20_block(words, 0, nonce, block);
    for (int i = 0; i < 8; i++)
        key[i] = block[i] ^ words[8 + i];
}

void random_bytes(void *out, size_t size_bytes)
{
    uint8_t *to = out;
    uint64_t flags = spin_lock(&lock);
    uint64_t hardware = hardware_word(), tsc = tsc_read();
    key[0] ^= (uint32_t)hardware;
    key[1] ^= (uint32_t)(hardware >> 32);
    key[2] ^= (uint32_t)tsc;
    const uint32_t nonce[3] = {0x6b726e6c, 1, (uint32_t)(tsc >> 32)};
    uint32_t next_key[16], block[16];
    chacha20_block(key, 0, nonce, next_key);
    for (uint32_t counter = 1; size_bytes > 0; counter++) {
        chacha20_block(key, counter, nonce, block);
        size_t count = (size_t)min_u64(size_bytes, sizeof(block));
        memcpy(to, block, count);
        to += count;
        size_bytes -= count;
    }
    memcpy(key, next_key, sizeof(key));
    spin_unlock(&lock, flags);
    explicit_bzero(next_key, sizeof(next_key));
    explicit_bzero(block, sizeof(block));
}
