/*
 * gpu/nvidia/gsp/logs.c: what the GSP's tasks have logged, as far as it can be read without NVIDIA's symbol file.
 *
 * A record ends with the address of its description and a time, both 64 bits; how many argument words come before them is in
 * the description, which we do not have. So records are told apart by what these two words look like: times do not go
 * back and are less than a few minutes apart, and descriptions lie in one section of the firmware's address space, so
 * their upper bits agree with those of the newest record, whose place is known (it ends where the ring was last written).
 * An argument pair that looks the same would be taken for a record; the words themselves are all printed either way.
 *
 * The GSP writes while we read: the count is read before and after the words are copied, and words that were overwritten
 * meanwhile are dropped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/logs.h"

#define ARGS_MAX    20u /* LIBOS_LOG_MAX_ARGS */
#define META_WINDOW 24  /* bits: descriptions lie within 16 MiB */
#define GAP_MAX_NS  (UINT64_C(600) * NS_PER_S)
#define RECORDS_MAX 64u
#define TEXT_MIN    8u /* printable bytes in a row that count as text */

/* Whether the words at end - 2 and end - 1 look like the end of a record before one of this time and description. */
static bool is_record_end(const uint64_t *words, uint64_t end, uint64_t after_ns,
                          uint64_t meta_after)
{
    uint64_t meta = words[end - 2], time = words[end - 1];
    return meta != 0 && (meta ^ meta_after) >> META_WINDOW == 0 && time <= after_ns &&
           after_ns - time <= GAP_MAX_NS && time != 0;
}

unsigned gsp_log_split(const uint64_t *words, uint64_t count, struct gsp_log_record *records,
                       unsigned max)
{
    unsigned n = 0;
    uint64_t end = count;
    /* Backwards, filling records from its end. */
    while (n < max && end >= 2) {
        struct gsp_log_record *record = &records[max - 1 - n];
        *record = (struct gsp_log_record){.time_ns = words[end - 1], .meta = words[end - 2]};
        uint64_t at = end - 2;
        while (at > 0 && record->arg_count < ARGS_MAX &&
               !(at >= 2 && is_record_end(words, at, record->time_ns, record->meta))) {
            record->arg_count++;
            at--;
        }
        for (unsigned i = 0; i < record->arg_count; i++)
            record->args[i] = words[at + i];
        end = at;
        n++;
    }
    memmove(records, &records[max - n], n * sizeof(records[0]));
    return n;
}

/* Printable runs in the arguments, as far as they fit. */
static void find_text(const struct gsp_log_record *record, char *out, size_t out_bytes)
{
    const uint8_t *bytes = (const uint8_t *)record->args;
    size_t total = record->arg_count * sizeof(record->args[0]), used = 0;
    for (size_t i = 0; i < total;) {
        size_t n = 0;
        while (i + n < total && bytes[i + n] >= ' ' && bytes[i + n] <= '~')
            n++;
        if (n >= TEXT_MIN && used + n + 4 < out_bytes)
            used += (size_t)snprintf(out + used, out_bytes - used, " '%.*s'", (int)n, bytes + i);
        i += n + 1;
    }
    out[used] = '\0';
}

static void print_record(const struct gsp_log_record *record, const char *device, const char *task,
                         enum log_level level)
{
    char line[220], text[64];
    size_t used = (size_t)snprintf(line, sizeof(line), "@%#llx", (unsigned long long)record->meta);
    for (unsigned i = 0; i < record->arg_count && used + 20 < sizeof(line); i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, " %#llx",
                                 (unsigned long long)record->args[i]);
    find_text(record, text, sizeof(text));
    log_print(level, "%s: GSP %s [%llu.%06llu] %s%s", device, task,
              (unsigned long long)(record->time_ns / NS_PER_S),
              (unsigned long long)(record->time_ns % NS_PER_S / NS_PER_US), line, text);
}

static uint64_t put_count(const struct gsp_log_ring *ring)
{
    uint64_t count = *(const volatile uint64_t *)ring->words;
    dma_rmb();
    return count;
}

uint64_t gsp_log_drain(struct gsp_log_ring *ring, const char *device, enum log_level level,
                       unsigned lines)
{
    uint64_t capacity = ring->word_count - 1, put = put_count(ring);
    if (put == ring->read)
        return 0;
    if (put < ring->read) { /* the task has started anew */
        log_print(level, "%s: GSP %s: log began again", device, ring->task);
        ring->read = 0;
    }
    uint64_t fresh = put - ring->read, keep = min_u64(fresh, capacity);
    uint64_t *copy = malloc(keep * sizeof(*copy));
    struct gsp_log_record *records = malloc(RECORDS_MAX * sizeof(*records));
    if (copy == NULL || records == NULL || keep == 0) {
        free(copy);
        free(records);
        return 0; /* still unread: the next call may have the memory */
    }
    for (uint64_t i = 0; i < keep; i++)
        copy[i] = ((const volatile uint64_t *)ring->words)[1 + (put - keep + i) % capacity];
    dma_rmb();
    uint64_t after = put_count(ring), lost = 0;
    if (after < put || after - put > capacity - keep) /* what was overwritten while we copied */
        lost = after < put ? keep : min_u64(keep, after - put - (capacity - keep));
    if (fresh > keep || lost > 0)
        log_print(level, "%s: GSP %s: %llu words of its log lost", device, ring->task,
                  (unsigned long long)(fresh - keep + lost));

    unsigned wanted = lines < RECORDS_MAX ? lines : RECORDS_MAX;
    unsigned count = wanted > 0 ? gsp_log_split(copy + lost, keep - lost, records, wanted) : 0;
    for (unsigned i = 0; i < count; i++)
        print_record(&records[i], device, ring->task, level);
    free(copy);
    free(records);
    ring->read = put;
    return fresh;
}
