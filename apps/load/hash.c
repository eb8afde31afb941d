/*
 * apps/load/hash.c: hashing the file and its tensors while they are read.
 *
 * The digest of a file is one long chain, so it takes one core however many there are; the tensors' digests, which cover
 * nearly the same bytes, are made beside it by a second one.
 */
#include "apps/load/hash.h"

/* Between looks at the other tasks of the core, the network's among them: under a millisecond's hashing under emulation. */
#define SLICE_BYTES (16 * 1024)

/* Wait until `number` is readable. False: stopped. */
static bool wait_ready(struct load_hashers *hashers, uint64_t number)
{
    for (;;) {
        uint32_t seen = event_read(&hashers->event);
        if (atomic_load(&hashers->is_stopped))
            return false;
        if (atomic_load(&hashers->ready) > number)
            return true;
        /* The stream ends every wait: its reads have deadlines, and it stops the hashers when one fails. */
        event_wait(&hashers->event, seen, DEADLINE_NEVER);
    }
}

static bool add(struct load_hashers *hashers, struct sha256 *sha, const uint8_t *data,
                uint64_t size_bytes)
{
    while (size_bytes > 0) {
        uint64_t slice = min_u64(size_bytes, SLICE_BYTES);
        sha256_add(sha, data, slice);
        data += slice;
        size_bytes -= slice;
        task_yield();
        if (atomic_load(&hashers->is_stopped))
            return false;
    }
    return true;
}

static void end(struct load_hashers *hashers)
{
    atomic_fetch_sub(&hashers->alive, 1); /* from here on hashers may be gone */
}

static void hash_file(void *arg)
{
    struct load_hashers *hashers = arg;
    struct sha256 sha;
    sha256_start(&sha);
    for (uint64_t number = 0; number < hashers->piece_count; number++) {
        if (!wait_ready(hashers, number))
            return end(hashers);
        const struct load_piece *piece = hashers->piece(hashers->arg, number);
        if (!add(hashers, &sha, piece->data, piece->size_bytes))
            return end(hashers);
        atomic_store(&hashers->done[0], number + 1);
        event_signal(&hashers->event);
    }
    sha256_end(&sha, hashers->digests->file);
    end(hashers);
}

static void hash_tensors(void *arg)
{
    struct load_hashers *hashers = arg;
    const struct weights *weights = hashers->weights;
    struct sha256 sha;
    sha256_start(&sha);
    uint32_t t =
        0; /* the tensor whose bytes come next; they are in file order and do not overlap */
    for (uint64_t number = 0; number < hashers->piece_count; number++) {
        if (!wait_ready(hashers, number))
            return end(hashers);
        const struct load_piece *piece = hashers->piece(hashers->arg, number);
        uint64_t at = piece->file_offset, piece_end = piece->file_offset + piece->size_bytes;
        for (; t < weights->tensor_count; t++) {
            const struct tensor *tensor = &weights->tensors[t];
            uint64_t tensor_end = tensor->file_offset + tensor->size_bytes;
            uint64_t from = tensor->file_offset > at ? tensor->file_offset : at;
            uint64_t to = min_u64(tensor_end, piece_end);
            if (from < to &&
                !add(hashers, &sha, piece->data + (from - piece->file_offset), to - from))
                return end(hashers);
            if (tensor_end > piece_end)
                break; /* goes on in the next piece */
            sha256_end(&sha, hashers->digests->tensor[t]);
            sha256_start(&sha);
        }
        atomic_store(&hashers->done[1], number + 1);
        event_signal(&hashers->event);
    }
    end(hashers);
}

/* The n-th worker core after this one. With a single worker core the second hasher goes to core 0, which has time between
 * packets. */
static unsigned core_after(unsigned n)
{
    unsigned cores = core_count();
    if (cores <= 2)
        return cores == 1 || n == 2 ? 0 : 1;
    unsigned worker = core_current() > 0 ? core_current() - 1 : 0;
    return 1 + (worker + n) % (cores - 1);
}

int load_hashers_start(struct load_hashers *hashers)
{
    static void (*const tasks[HASHER_COUNT])(void *) = {hash_file, hash_tensors};
    static const char *const names[HASHER_COUNT] = {"hash-file", "hash-tensors"};
    for (unsigned i = 0; i < HASHER_COUNT; i++) {
        atomic_fetch_add(&hashers->alive, 1);
        int error = task_create(names[i], core_after(i + 1), 0, tasks[i], hashers);
        if (error != 0) {
            atomic_fetch_sub(&hashers->alive, 1);
            load_hashers_stop(hashers);
            return error;
        }
    }
    return 0;
}

uint64_t load_hashers_done(struct load_hashers *hashers)
{
    return min_u64(atomic_load(&hashers->done[0]), atomic_load(&hashers->done[1]));
}

void load_hashers_stop(struct load_hashers *hashers)
{
    if (load_hashers_done(hashers) < hashers->piece_count) {
        atomic_store(&hashers->is_stopped, true);
        event_signal(&hashers->event);
    }
    while (atomic_load(&hashers->alive) != 0) /* at most a slice's time */
        task_yield();
}
