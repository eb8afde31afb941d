/*
 * apps/load/hash.h: the hashers of a stream: one hashes the whole file, one each tensor. Private to apps/load.
 *
 * Both walk over the pieces in file order, each in a task of its own on another worker core where there is one. The
 * stream publishes how many pieces are readable, the hashers how many they are done with.
 */
#ifndef INGOT_LOAD_HASH_H
#define INGOT_LOAD_HASH_H

#include "apps/load/stream.h"
#include "kernel/kernel.h"

#define HASHER_COUNT 2

struct load_piece {
    const uint8_t *data; /* NULL where the CPU cannot see it and nobody hashes */
    uint64_t file_offset, size_bytes;
};

struct load_hashers {
    const struct weights *weights;
    struct load_digests *digests;
    /* Piece number `piece`, which is below `ready` and which not all hashers are done with yet. */
    const struct load_piece *(*piece)(const void *arg, uint64_t number);
    const void *arg;
    uint64_t piece_count;

    _Atomic uint64_t ready;
    _Atomic uint64_t done[HASHER_COUNT];
    _Atomic bool is_stopped;
    _Atomic unsigned alive;
    struct event event; /* any of the above changed */
};

/* Start the tasks. 0, or -ENOMEM with none running. */
int load_hashers_start(struct load_hashers *hashers);
/* Pieces that every hasher is done with. */
uint64_t load_hashers_done(struct load_hashers *hashers);
/* Stop where they are, or after the last piece, and wait until the tasks have ended. */
void load_hashers_stop(struct load_hashers *hashers);

#endif
