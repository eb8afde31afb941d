/*
 * gpu/nvidia/gsp/logs.h: the rings into which the GSP's tasks log, and what of them can be read without the symbol file.
 *
 * A ring is an array of 64-bit words: word 0 counts the words ever put, word 1 + n % (words - 1) is the n-th of them. A
 * record is its arguments, the address of its format string's description, a time in nanoseconds of the GPU's timer. The
 * descriptions are in a file that NVIDIA does not ship, so the number of arguments, and thereby where a record begins, has
 * to be guessed: see logs.c. Put the lines next to the description addresses into a bug report and NVIDIA can read them.
 *
 * Source: open-gpu-kernel-modules 570.144, liblogdecode.c (libosExtractLog_ReadRecord), libos_log.h.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_LOGS_H
#define INGOT_GPU_NVIDIA_GSP_LOGS_H

#include "kernel/kernel.h"

struct gsp_log_ring {
    const char *task;      /* "INIT", "INTR", "RM" */
    const uint64_t *words; /* shared with the GSP */
    uint64_t word_count;   /* of the memory, word 0 included */
    uint64_t read;         /* words already told */
};

/* What has been put since the last call goes to our log at `level`, at most `lines` lines. Returns the number of new words. */
uint64_t gsp_log_drain(struct gsp_log_ring *ring, const char *device, enum log_level level, unsigned lines);

/* One record as text: "[12.345678901] @0xmeta 0xarg 0xarg". Exposed for tests. */
struct gsp_log_record {
    uint64_t time_ns, meta;
    uint64_t args[20];
    unsigned arg_count;
};
/* Split a copy of the ring's newest words (oldest first) into records; returns how many, at most `max`, newest last. */
unsigned gsp_log_split(const uint64_t *words, uint64_t count, struct gsp_log_record *records, unsigned max);

#endif
