/*
 * runtime/volume/gpt.c: GUID partition tables. Source: UEFI Specification 2.10, section 5.3.
 *
 * The table is there twice: a header in block 1 with its entries after it, and a header in the last block with its
 * entries before it. Each header carries a CRC-32 of itself and one of the entries. The primary is used when it is
 * whole, else the backup. Block 0 holds a protective MBR (5.2.3): one partition of type EEh, so that older tools keep
 * away. A disk whose MBR holds other partitions has been repartitioned by such a tool, and its GPT is stale.
 *
 * A single bad entry (outside the disk, overlapping another) spoils that partition only. Attributes are not looked at:
 * nothing here writes, and hidden or no-automount partitions are worth listing.
 */
#include "runtime/volume/gpt.h"

#include "kernel/kernel.h"
#include "runtime/volume/bytes.h"
#include "runtime/volume/sort.h"
#include "runtime/volume/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Header (table 5.5): offsets in bytes. */
#define GPT_SIGNATURE         0x00 /* "EFI PART" */
#define GPT_REVISION          0x08
#define GPT_REVISION_1_0      0x00010000
#define GPT_HEADER_SIZE       0x0c
#define GPT_HEADER_SIZE_MIN   92
#define GPT_HEADER_CRC32      0x10
#define GPT_MY_LBA            0x18
#define GPT_ALTERNATE_LBA     0x20
#define GPT_FIRST_USABLE_LBA  0x28
#define GPT_LAST_USABLE_LBA   0x30
#define GPT_ENTRY_LBA         0x48
#define GPT_ENTRY_COUNT       0x50
#define GPT_ENTRY_SIZE        0x54 /* 128 times a power of two */
#define GPT_ENTRIES_CRC32     0x58

/* Partition entry (table 5.6). */
#define GPT_ENTRY_TYPE        0x00 /* all zero: unused */
#define GPT_ENTRY_GUID        0x10
#define GPT_ENTRY_FIRST_LBA   0x20
#define GPT_ENTRY_LAST_LBA    0x28
#define GPT_ENTRY_NAME        0x38
#define GPT_NAME_UNITS        36
#define GPT_ENTRY_BYTES_MIN   128

/* Ours: tools write 128 entries of 128 bytes (16 KiB). */
#define GPT_ENTRIES_BYTES_MAX (UINT64_C(1) << 20)

/* Master boot record (5.2.1). */
#define MBR_PARTITIONS        446
#define MBR_PARTITION_BYTES   16
#define MBR_PARTITION_TYPE    4
#define MBR_TYPE_PROTECTIVE   0xee
#define MBR_SIGNATURE         510 /* 55h AAh */

struct gpt_header {
    uint64_t first_usable, last_usable, alternate, entry_lba;
    uint32_t entry_count, entry_bytes, entries_crc;
};

/* CRC-32 as Ethernet and GPT use it: polynomial 04C11DB7h, reflected, all ones before and after. */
static uint32_t crc32_update(uint32_t crc, const uint8_t *data, size_t size_bytes)
{
    static const uint32_t table[16] = {
        /* one nibble at a time */
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

static uint32_t crc32(const uint8_t *data, size_t size_bytes)
{
    return ~crc32_update(UINT32_MAX, data, size_bytes);
}

/* Check the header in `block`, which was read from `lba`. why gets the first thing that is wrong. */
static bool header_check(const struct disk *disk, uint8_t *block, uint64_t lba,
                         struct gpt_header *out, char *why, size_t why_bytes)
{
    if (memcmp(block + GPT_SIGNATURE, "EFI PART", 8) != 0) {
        snprintf(why, why_bytes, "no header");
        return false;
    }
    uint32_t header_bytes = le32(block + GPT_HEADER_SIZE), crc = le32(block + GPT_HEADER_CRC32);
    if (le32(block + GPT_REVISION) != GPT_REVISION_1_0) {
        snprintf(why, why_bytes, "unknown revision %08" PRIx32 "h", le32(block + GPT_REVISION));
        return false;
    }
    if (header_bytes < GPT_HEADER_SIZE_MIN || header_bytes > disk->block_bytes) {
        snprintf(why, why_bytes, "header size %" PRIu32, header_bytes);
        return false;
    }
    memset(block + GPT_HEADER_CRC32, 0, 4); /* the sum is taken with its own field as zero */
    if (crc32(block, header_bytes) != crc) {
        snprintf(why, why_bytes, "wrong header checksum");
        return false;
    }
    if (le64(block + GPT_MY_LBA) != lba) {
        snprintf(why, why_bytes, "header says it is block %" PRIu64, le64(block + GPT_MY_LBA));
        return false;
    }
    *out = (struct gpt_header){
        .first_usable = le64(block + GPT_FIRST_USABLE_LBA),
        .last_usable = le64(block + GPT_LAST_USABLE_LBA),
        .alternate = le64(block + GPT_ALTERNATE_LBA),
        .entry_lba = le64(block + GPT_ENTRY_LBA),
        .entry_count = le32(block + GPT_ENTRY_COUNT),
        .entry_bytes = le32(block + GPT_ENTRY_SIZE),
        .entries_crc = le32(block + GPT_ENTRIES_CRC32),
    };
    uint32_t entry = out->entry_bytes;
    uint64_t entries_bytes =
        (uint64_t)entry * out->entry_count; /* two 32-bit factors: no overflow */
    if (entry < GPT_ENTRY_BYTES_MIN || (entry & (entry - 1)) != 0 || entries_bytes == 0 ||
        entries_bytes > GPT_ENTRIES_BYTES_MAX) {
        snprintf(why, why_bytes, "%" PRIu32 " entries of %" PRIu32 " bytes", out->entry_count,
                 entry);
        return false;
    }
    if (out->first_usable < 2 || out->first_usable > out->last_usable ||
        (lba >= out->first_usable && lba <= out->last_usable)) {
        snprintf(why, why_bytes, "usable blocks %" PRIu64 " to %" PRIu64, out->first_usable,
                 out->last_usable);
        return false;
    }
    uint64_t entry_blocks = (entries_bytes + disk->block_bytes - 1) / disk->block_bytes;
    if (out->entry_lba < 2 || out->entry_lba >= disk->block_count ||
        entry_blocks > disk->block_count - out->entry_lba ||
        (out->entry_lba <= out->last_usable && out->entry_lba + entry_blocks > out->first_usable)) {
        snprintf(why, why_bytes, "entries at block %" PRIu64 ", outside their place",
                 out->entry_lba);
        return false;
    }
    return true;
}

/*
 * Read and check one header and its entries. 0: all is well, *entries is malloc()ed. -EUCLEAN: damaged, why says how.
 * Else an error of the disk or -ENOMEM, in words too.
 */
static int table_read(struct disk *disk, uint64_t lba, struct gpt_header *header, uint8_t **entries,
                      char *why, size_t why_bytes)
{
    *entries = NULL;
    uint8_t *block = malloc(disk->block_bytes);
    if (!block) {
        snprintf(why, why_bytes, "no memory to read it");
        return -ENOMEM;
    }
    int error = disk_read(disk, lba * disk->block_bytes, block, disk->block_bytes, why, why_bytes);
    if (error == 0 && !header_check(disk, block, lba, header, why, why_bytes))
        error = -EUCLEAN;
    free(block);
    if (error != 0)
        return error;

    size_t entries_bytes = (size_t)header->entry_bytes * header->entry_count;
    *entries = malloc(entries_bytes);
    if (!*entries) {
        snprintf(why, why_bytes, "no memory to read it");
        return -ENOMEM;
    }
    error = disk_read(disk, header->entry_lba * disk->block_bytes, *entries, entries_bytes, why,
                      why_bytes);
    if (error == 0 && crc32(*entries, entries_bytes) != header->entries_crc) {
        snprintf(why, why_bytes, "wrong checksum of the entries");
        error = -EUCLEAN;
    }
    if (error != 0) {
        free(*entries);
        *entries = NULL;
    }
    return error;
}

static int compare_first_block(const void *a, const void *b)
{
    const struct gpt_partition *x = *(struct gpt_partition *const *)a,
                               *y = *(struct gpt_partition *const *)b;
    return x->first_block < y->first_block ? -1 : x->first_block > y->first_block;
}

/* Mark partitions that share blocks. In order of their starts, each can only reach into those behind the furthest
 * end. */
static int overlaps_mark(struct gpt_table *table)
{
    struct gpt_partition **order = malloc(table->count * sizeof(struct gpt_partition *));
    if (!order)
        return -ENOMEM;
    unsigned count = 0;
    for (unsigned i = 0; i < table->count; i++)
        if (table->partitions[i].problem[0] == 0)
            order[count++] = &table->partitions[i];
    heap_sort(order, count, sizeof(struct gpt_partition *), compare_first_block);

    struct gpt_partition *furthest = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (furthest && order[i]->first_block <= furthest->last_block) {
            snprintf(order[i]->problem, GPT_PROBLEM_BYTES,
                     "overlaps partition %" PRIu32 ": the partition table is corrupt",
                     furthest->number);
            snprintf(furthest->problem, GPT_PROBLEM_BYTES,
                     "overlaps partition %" PRIu32 ": the partition table is corrupt",
                     order[i]->number);
        }
        if (!furthest || order[i]->last_block > furthest->last_block)
            furthest = order[i];
    }
    free(order);
    return 0;
}

static void entry_decode(const struct disk *disk, const struct gpt_header *header,
                         const uint8_t *entry, struct gpt_partition *out)
{
    memcpy(out->type_guid, entry + GPT_ENTRY_TYPE, 16);
    memcpy(out->partition_guid, entry + GPT_ENTRY_GUID, 16);
    out->first_block = le64(entry + GPT_ENTRY_FIRST_LBA);
    out->last_block = le64(entry + GPT_ENTRY_LAST_LBA);
    uint16_t units[GPT_NAME_UNITS];
    for (unsigned i = 0; i < GPT_NAME_UNITS; i++)
        units[i] = le16(entry + GPT_ENTRY_NAME + 2 * i);
    utf16_to_utf8(units, GPT_NAME_UNITS, out->name);

    if (out->first_block > out->last_block)
        snprintf(out->problem, GPT_PROBLEM_BYTES,
                 "starts at block %" PRIu64 " but ends at %" PRIu64
                 ": the partition table is corrupt",
                 out->first_block, out->last_block);
    else if (out->last_block >= disk->block_count)
        snprintf(out->problem, GPT_PROBLEM_BYTES,
                 "ends at block %" PRIu64 " but the disk has %" PRIu64
                 " blocks: it is smaller than its partition table says",
                 out->last_block, disk->block_count);
    else if (out->first_block < header->first_usable || out->last_block > header->last_usable)
        snprintf(out->problem, GPT_PROBLEM_BYTES,
                 "lies outside the usable blocks %" PRIu64 " to %" PRIu64
                 ": the partition table is corrupt",
                 header->first_usable, header->last_usable);
}

static int entries_decode(const struct disk *disk, const struct gpt_header *header,
                          const uint8_t *entries, struct gpt_table *out)
{
    static const uint8_t unused[16];
    unsigned count = 0;
    for (uint32_t i = 0; i < header->entry_count; i++)
        count += memcmp(entries + (size_t)i * header->entry_bytes, unused, 16) != 0;
    if (count == 0)
        return 0;
    out->partitions = calloc(count, sizeof(struct gpt_partition));
    if (!out->partitions)
        return -ENOMEM;
    for (uint32_t i = 0; i < header->entry_count; i++) {
        const uint8_t *entry = entries + (size_t)i * header->entry_bytes;
        if (memcmp(entry, unused, 16) == 0)
            continue;
        struct gpt_partition *partition = &out->partitions[out->count++];
        partition->number = i + 1;
        entry_decode(disk, header, entry, partition);
    }
    return overlaps_mark(out);
}

enum mbr_kind {
    MBR_NONE,       /* no signature, or no partition in it */
    MBR_PROTECTIVE, /* what belongs in front of a GPT; hybrid ones count too */
    MBR_OTHER,      /* partitions of the older kind, or a file system's boot sector */
};

static enum mbr_kind mbr_classify(const uint8_t *sector)
{
    if (sector[MBR_SIGNATURE] != 0x55 || sector[MBR_SIGNATURE + 1] != 0xaa)
        return MBR_NONE;
    enum mbr_kind kind = MBR_NONE;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t type = sector[MBR_PARTITIONS + i * MBR_PARTITION_BYTES + MBR_PARTITION_TYPE];
        if (type == MBR_TYPE_PROTECTIVE)
            return MBR_PROTECTIVE;
        if (type != 0)
            kind = MBR_OTHER;
    }
    return kind;
}

/* The primary table is whole. May it be used? */
static void primary_judge(const struct disk *disk, enum mbr_kind mbr,
                          const struct gpt_header *header, struct gpt_table *out)
{
    out->state = GPT_PRIMARY;
    if (mbr == MBR_OTHER) {
        snprintf(out->problem, sizeof(out->problem),
                 "the disk has a GPT but its MBR is not protective: another tool has "
                 "repartitioned it; write the table again");
        out->state = GPT_DAMAGED;
    } else if (mbr == MBR_NONE) {
        log_warn("%s: the GPT has no protective MBR in front of it", disk->name);
    }
    if (header->alternate >= disk->block_count || header->last_usable >= disk->block_count)
        log_warn("%s: the disk is smaller than its partition table says (%" PRIu64
                 " blocks, backup table at %" PRIu64 ")",
                 disk->name, disk->block_count, header->alternate);
}

/*
 * The primary table is not whole, for the reason given. What does that make of the disk, and of its backup? Without a
 * sign that there was a primary table, a backup counts only behind a protective MBR: it may be a leftover.
 */
static void backup_judge(const struct disk *disk, enum mbr_kind mbr, bool has_primary,
                         const char *why_primary, bool has_backup, const char *why_backup,
                         struct gpt_table *out)
{
    if (mbr != MBR_PROTECTIVE && !has_primary) {
        out->state = GPT_ABSENT;
        if (mbr == MBR_OTHER)
            snprintf(out->problem, sizeof(out->problem),
                     "an MBR partition table: only GPT is supported");
    } else if (has_backup && mbr != MBR_OTHER) {
        out->state = GPT_BACKUP;
        snprintf(out->problem, sizeof(out->problem),
                 "primary partition table damaged (%s); the backup is in use", why_primary);
        log_warn("%s: %s", disk->name, out->problem);
    } else {
        out->state = GPT_DAMAGED;
        snprintf(out->problem, sizeof(out->problem),
                 "partition table damaged: primary: %.55s; backup: %.55s", why_primary,
                 has_backup ? "behind an MBR that is not protective" : why_backup);
    }
}

int gpt_read(struct disk *disk, struct gpt_table *out)
{
    *out = (struct gpt_table){.state = GPT_ABSENT};
    uint8_t sector[512];
    int error = disk_read(disk, 0, sector, sizeof(sector), out->problem, sizeof(out->problem));
    if (error != 0)
        return error;
    enum mbr_kind mbr = mbr_classify(sector);
    if (disk->block_count < 4) /* MBR, header, entries, backup: less holds no table */
        return 0;

    char why_primary[96] = "", why_backup[96] = "";
    struct gpt_header header;
    uint8_t *entries;
    error = table_read(disk, 1, &header, &entries, why_primary, sizeof(why_primary));
    if (error == 0) {
        primary_judge(disk, mbr, &header, out);
    } else if (error != -ENOMEM) {
        bool has_primary = error != -EUCLEAN || strcmp(why_primary, "no header") != 0;
        error = table_read(disk, disk->block_count - 1, &header, &entries, why_backup,
                           sizeof(why_backup));
        if (error != -ENOMEM) {
            backup_judge(disk, mbr, has_primary, why_primary, error == 0, why_backup, out);
            error = 0; /* what it was is in the table's state and problem */
        }
    }
    if (error == 0 && (out->state == GPT_PRIMARY || out->state == GPT_BACKUP))
        error = entries_decode(disk, &header, entries, out);
    if (error != 0)
        snprintf(out->problem, sizeof(out->problem), "no memory to read the partition table");
    free(entries);
    return error;
}

void gpt_free(struct gpt_table *table)
{
    free(table->partitions);
    table->partitions = NULL;
    table->count = 0;
}
