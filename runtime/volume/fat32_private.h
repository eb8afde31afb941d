/*
 * runtime/volume/fat32_private.h: what fat32.c and fat32_dir.c share.
 */
#ifndef INGOT_VOLUME_FAT32_PRIVATE_H
#define INGOT_VOLUME_FAT32_PRIVATE_H

#include "runtime/volume/fat32.h"

/*
 * Reads the FAT for one operation, in windows of 16,384 entries: the table of a 4 GiB file in 32 KiB clusters takes
 * eight reads, and a chain that winds through four parts of the disk stays cheap. What it may read in all is bounded,
 * so that a chain made to defeat the windows ends in an error and not in hours of reading.
 */
#define FAT_WINDOW_BYTES       UINT64_C(65536)
#define FAT_WINDOW_COUNT       4
#define FAT_READER_SLACK_BYTES (UINT64_C(256) << 20)

struct fat_window {
    uint8_t *data;
    uint64_t start, last_use; /* byte of the FAT; 0: empty, else the reader's clock */
};

struct fat_reader {
    const struct fat32 *fs;
    struct fat_window windows[FAT_WINDOW_COUNT];
    uint64_t clock, budget_bytes;
};

void fat_reader_start(struct fat_reader *reader, const struct fat32 *fs);
void fat_reader_end(struct fat_reader *reader);
/* The cluster after `cluster` (which must exist) in its chain; 0: it was the last. -EUCLEAN, -EIO, -ENOMEM with
 * words. */
int fat_next(struct fat_reader *reader, uint32_t cluster, uint32_t *next, char *reason, size_t reason_bytes);
uint64_t cluster_offset(const struct fat32 *fs, uint32_t cluster);

/* 11 characters of a volume label as UTF-8 without trailing spaces. */
void fat32_label_decode(const uint8_t raw[11], char out[40]);
/* Replace fs->label by the one in the root directory, if there is one. Fails when that directory cannot be read. */
int fat32_root_label(struct fat32 *fs, char *problem, size_t problem_bytes);

#endif
