/*
 * runtime/volume/gpt.h: GUID partition tables, private to this folder.
 */
#ifndef INGOT_VOLUME_GPT_H
#define INGOT_VOLUME_GPT_H

#include "runtime/volume/volume.h"

#define GPT_PROBLEM_BYTES 160

struct gpt_partition {
    uint32_t number;                 /* 1-based place in the table, the N of "nvme0n1pN" */
    uint64_t first_block, last_block; /* as the table says, last included */
    uint8_t type_guid[16], partition_guid[16];
    char name[36 * 3 + 1];           /* UTF-8 */
    char problem[GPT_PROBLEM_BYTES]; /* "" or why the partition must not be used */
};

enum gpt_state {
    GPT_ABSENT,  /* no table: maybe a file system over the whole disk; problem set when the MBR has partitions */
    GPT_PRIMARY, /* read from the primary header */
    GPT_BACKUP,  /* the primary is damaged; problem says how */
    GPT_DAMAGED, /* there is or was a table and it cannot be trusted; problem says why */
};

struct gpt_table {
    enum gpt_state state;
    char problem[GPT_PROBLEM_BYTES];
    struct gpt_partition *partitions; /* the used entries, in table order; malloc() */
    unsigned count;
};

/* Read and check the disk's table. 0 with *out filled in (any state), or -ENOMEM, or what disk_read() returned with
 * out-> problem saying so. gpt_free() in every case. */
int gpt_read(struct disk *disk, struct gpt_table *out);
void gpt_free(struct gpt_table *table);

#endif
