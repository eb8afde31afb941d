/*
 * runtime/volume/fat32.c: FAT32, read only: the boot sector, and chains of clusters. fat32_dir.c has directories and
 * names.
 *
 * Source: Microsoft FAT32 File System Specification 1.03 (2000); section titles are given. A volume is a reserved
 * region that begins with the boot sector and its BIOS parameter block (BPB), one or more copies of the file allocation
 * table (FAT), and the data region of clusters numbered from 2. The FAT has 32 bits per cluster: the low 28 name the
 * next cluster of the same file.
 *
 * What differs: a FAT32 volume with fewer than 65525 clusters is read too. By the letter it would be FAT16, but
 * mkfs.fat -F 32 makes such volumes and Linux and UEFI firmware read them, going by BPB_FATSz16 == 0 as we do. FSInfo
 * is not needed for reading and not looked at.
 */
#include "runtime/volume/fat32_private.h"

#include "kernel/kernel.h"
#include "runtime/volume/bytes.h"
#include "runtime/volume/sort.h"
#include "runtime/volume/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Boot sector and BPB ("Boot Sector and BPB"): offsets in bytes. */
#define BS_JMP_BOOT       0 /* EBh xx 90h, or E9h xx xx */
#define BS_OEM_NAME       3 /* 8 characters; "EXFAT   " and "NTFS    " are those file systems' mark */
#define BPB_BYTES_PER_SEC 11 /* 512, 1024, 2048 or 4096 */
#define BPB_SEC_PER_CLUS  13 /* a power of two */
#define BPB_RSVD_SEC_CNT  14 /* sectors before the first FAT, at least 1 */
#define BPB_NUM_FATS      16
#define BPB_ROOT_ENT_CNT  17 /* 0 on FAT32 */
#define BPB_TOT_SEC16     19 /* 0 on FAT32 */
#define BPB_MEDIA         21 /* F0h or F8h to FFh */
#define BPB_FAT_SZ16      22 /* 0 on FAT32, and on nothing else */
#define BPB_TOT_SEC32     32
#define BPB_FAT_SZ32      36 /* sectors of one FAT */
#define BPB_EXT_FLAGS     40
#define EXT_FLAGS_ACTIVE  0x000f /* the FAT in use, when ... */
#define EXT_FLAGS_SINGLE  0x0080 /* ... the FATs are not copies of one another */
#define BPB_FS_VER        42     /* 0 */
#define BPB_ROOT_CLUS     44
#define BS_VOL_LAB        71  /* 11 characters, valid when ... */
#define BS_BOOT_SIG       66  /* ... this is 29h */
#define BS_SIGNATURE      510 /* 55h AAh */
#define BOOT_BYTES        512

/* FAT entries ("FAT Data Structure"). */
#define FAT_ENTRY_MASK    UINT32_C(0x0fffffff)
#define FAT_BAD           UINT32_C(0x0ffffff7)
#define FAT_END           UINT32_C(0x0ffffff8) /* this and above: the last cluster of a file */
#define FAT_CLUSTER_MAX   UINT32_C(0x0ffffff6)

/* The superblock of ext2, ext3 and ext4 lies 1024 bytes in; its magic number 56 bytes further (Linux,
 * fs/ext4/ext4.h). */
#define EXT_MAGIC_OFFSET  (1024 + 56)
#define EXT_MAGIC         0xef53

#define EXTENTS_MAX       (1u << 20) /* 16 MiB of table; a file in more pieces is refused */

/* ---- mounting -------------------------------------------------------------------------------------------------- */

static bool is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Does this look like the boot sector of some FAT? Those of NTFS and exFAT share the signature; their names tell. */
static bool is_fat_boot_sector(const uint8_t *boot)
{
    return boot[BS_SIGNATURE] == 0x55 && boot[BS_SIGNATURE + 1] == 0xaa &&
           ((boot[BS_JMP_BOOT] == 0xeb && boot[BS_JMP_BOOT + 2] == 0x90) ||
            boot[BS_JMP_BOOT] == 0xe9) &&
           is_power_of_two(le16(boot + BPB_BYTES_PER_SEC)) && boot[BPB_NUM_FATS] != 0;
}

static int identify_other(struct disk *disk, uint64_t offset, uint64_t size_bytes,
                          const uint8_t *boot, char *problem, size_t problem_bytes)
{
    if (memcmp(boot + BS_OEM_NAME, "EXFAT   ", 8) == 0)
        return refuse(-ENOTSUP, problem, problem_bytes,
                      "exFAT is not supported: format it as FAT32");
    if (memcmp(boot + BS_OEM_NAME, "NTFS    ", 8) == 0)
        return refuse(-ENODEV, problem, problem_bytes, "NTFS is not supported: use FAT32");
    uint8_t magic[2];
    if (size_bytes >= EXT_MAGIC_OFFSET + sizeof(magic)) {
        int error = disk_read(disk, offset + EXT_MAGIC_OFFSET, magic, sizeof(magic), problem,
                              problem_bytes);
        if (error != 0)
            return error;
        if (le16(magic) == EXT_MAGIC)
            return refuse(-ENODEV, problem, problem_bytes,
                          "ext2, ext3 and ext4 are not supported: use FAT32");
    }
    return refuse(-ENODEV, problem, problem_bytes, "no known file system");
}

/* Every field of the BPB that a reader depends on. Fills in fs. */
static int bpb_check(const uint8_t *boot, uint64_t offset, uint64_t size_bytes, struct fat32 *fs,
                     char *problem, size_t problem_bytes)
{
    uint32_t sector = le16(boot + BPB_BYTES_PER_SEC), sectors_per_cluster = boot[BPB_SEC_PER_CLUS];
    uint32_t reserved = le16(boot + BPB_RSVD_SEC_CNT), fats = boot[BPB_NUM_FATS];
    uint32_t total = le32(boot + BPB_TOT_SEC32), fat_sectors = le32(boot + BPB_FAT_SZ32);
    uint32_t ext_flags = le16(boot + BPB_EXT_FLAGS);
    if (le16(boot + BPB_FAT_SZ16) != 0)
        return refuse(-ENOTSUP, problem, problem_bytes,
                      "FAT12 and FAT16 are not supported: format it as FAT32 (mkfs.fat -F 32)");
    const struct {
        bool is_bad;
        const char *field;
        uint32_t value;
    } checks[] = {
        {sector < 512 || sector > 4096, "sector size", sector},
        {!is_power_of_two(sectors_per_cluster), "sectors per cluster", sectors_per_cluster},
        {reserved == 0, "reserved sectors", reserved},
        {boot[BPB_MEDIA] != 0xf0 && boot[BPB_MEDIA] < 0xf8, "media byte", boot[BPB_MEDIA]},
        {le16(boot + BPB_ROOT_ENT_CNT) != 0, "root directory entries",
         le16(boot + BPB_ROOT_ENT_CNT)},
        {le16(boot + BPB_TOT_SEC16) != 0, "16-bit sector count", le16(boot + BPB_TOT_SEC16)},
        {fat_sectors == 0, "sectors per FAT", fat_sectors},
        {le16(boot + BPB_FS_VER) != 0, "file system version", le16(boot + BPB_FS_VER)},
        {(ext_flags & EXT_FLAGS_SINGLE) && (ext_flags & EXT_FLAGS_ACTIVE) >= fats,
         "number of the active FAT", ext_flags & EXT_FLAGS_ACTIVE},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(checks); i++)
        if (checks[i].is_bad)
            return refuse(-EUCLEAN, problem, problem_bytes,
                          "corrupt FAT32 boot sector: %s is %" PRIu32, checks[i].field,
                          checks[i].value);

    uint64_t metadata_sectors = reserved + (uint64_t)fats * fat_sectors;
    if ((uint64_t)total * sector > size_bytes)
        return refuse(-EUCLEAN, problem, problem_bytes,
                      "the file system says it has %" PRIu64 " bytes but its partition has %" PRIu64
                      ": it is cut short",
                      (uint64_t)total * sector, size_bytes);
    if (metadata_sectors >= total || (total - metadata_sectors) / sectors_per_cluster == 0)
        return refuse(-EUCLEAN, problem, problem_bytes,
                      "corrupt FAT32 boot sector: %" PRIu32
                      " sectors leave no room behind its tables of %" PRIu64,
                      total, metadata_sectors);

    uint64_t cluster_count = (total - metadata_sectors) / sectors_per_cluster;
    uint64_t entry_count = (uint64_t)fat_sectors * sector / 4;
    if (cluster_count + 2 > entry_count) {
        /* Some formatters round the wrong way: the last clusters cannot be used, as Linux has it too. */
        cluster_count = entry_count - 2; /* a sector has at least 128 entries */
    }
    if (cluster_count > FAT_CLUSTER_MAX - 1)
        return refuse(-EUCLEAN, problem, problem_bytes,
                      "corrupt FAT32 boot sector: %" PRIu64 " clusters", cluster_count);
    uint32_t active = ext_flags & EXT_FLAGS_SINGLE ? ext_flags & EXT_FLAGS_ACTIVE : 0;
    fs->fat_offset = offset + ((uint64_t)reserved + (uint64_t)active * fat_sectors) * sector;
    if (fats > 1 && !(ext_flags & EXT_FLAGS_SINGLE))
        fs->fat_copy_offset = fs->fat_offset + (uint64_t)fat_sectors * sector;
    fs->fat_bytes = (cluster_count + 2) * 4;
    fs->data_offset = offset + metadata_sectors * sector;
    fs->cluster_bytes = sector * sectors_per_cluster;
    fs->cluster_limit = (uint32_t)cluster_count + 2;
    fs->root_cluster = le32(boot + BPB_ROOT_CLUS);
    if (fs->root_cluster < 2 || fs->root_cluster >= fs->cluster_limit)
        return refuse(-EUCLEAN, problem, problem_bytes,
                      "corrupt FAT32 boot sector: the root directory is at cluster %" PRIu32
                      " of %" PRIu32,
                      fs->root_cluster, fs->cluster_limit - 1);
    if (fs->data_offset % fs->disk->block_bytes != 0 ||
        fs->cluster_bytes % fs->disk->block_bytes != 0)
        return refuse(-ENOTSUP, problem, problem_bytes,
                      "clusters do not lie on the disk's blocks of %" PRIu32
                      " bytes: format it again on this disk",
                      fs->disk->block_bytes);
    return 0;
}

int fat32_mount(struct disk *disk, const char *name, uint64_t offset, uint64_t size_bytes,
                struct fat32 **out, char *problem, size_t problem_bytes)
{
    *out = NULL;
    if (size_bytes < BOOT_BYTES)
        return refuse(-ENODEV, problem, problem_bytes, "too small for a file system");
    uint8_t boot[BOOT_BYTES];
    int error = disk_read(disk, offset, boot, sizeof(boot), problem, problem_bytes);
    if (error != 0)
        return error;
    if (!is_fat_boot_sector(boot))
        return identify_other(disk, offset, size_bytes, boot, problem, problem_bytes);

    struct fat32 *fs = calloc(1, sizeof(*fs));
    if (!fs)
        return refuse(-ENOMEM, problem, problem_bytes, "no memory to mount it");
    fs->disk = disk;
    snprintf(fs->name, sizeof(fs->name), "%s", name);
    error = bpb_check(boot, offset, size_bytes, fs, problem, problem_bytes);
    if (error == 0) {
        if (boot[BS_BOOT_SIG] == 0x29 && memcmp(boot + BS_VOL_LAB, "NO NAME    ", 11) != 0)
            fat32_label_decode(boot + BS_VOL_LAB, fs->label);
        error = fat32_root_label(fs, problem, problem_bytes);
    }
    if (error != 0) {
        free(fs);
        return error;
    }
    *out = fs;
    return 0;
}

void fat32_unmount(struct fat32 *fs)
{
    free(fs);
}

/* ---- the file allocation table --------------------------------------------------------------------------------- */

void fat_reader_start(struct fat_reader *reader, const struct fat32 *fs)
{
    *reader =
        (struct fat_reader){.fs = fs, .budget_bytes = 4 * fs->fat_bytes + FAT_READER_SLACK_BYTES};
}

void fat_reader_end(struct fat_reader *reader)
{
    for (unsigned i = 0; i < FAT_WINDOW_COUNT; i++)
        free(reader->windows[i].data);
}

/* The FAT entry of a cluster that lies in range, through the least recently used window. */
static int fat_entry_read(struct fat_reader *reader, uint32_t cluster, uint32_t *value,
                          char *reason, size_t reason_bytes)
{
    const struct fat32 *fs = reader->fs;
    uint64_t at = (uint64_t)cluster * 4, start = align_down(at, FAT_WINDOW_BYTES);
    struct fat_window *window = &reader->windows[0];
    for (unsigned i = 0; i < FAT_WINDOW_COUNT; i++) {
        struct fat_window *candidate = &reader->windows[i];
        if (candidate->last_use != 0 && candidate->start == start) {
            candidate->last_use = ++reader->clock;
            *value = le32(candidate->data + (at - start)) & FAT_ENTRY_MASK;
            return 0;
        }
        if (candidate->last_use < window->last_use)
            window = candidate;
    }

    uint64_t size = min_u64(FAT_WINDOW_BYTES, fs->fat_bytes - start);
    if (size > reader->budget_bytes)
        return refuse(
            -EUCLEAN, reason, reason_bytes,
            "%s: the cluster chain jumps to and fro all over the disk: the file system is corrupt",
            fs->name);
    reader->budget_bytes -= size;
    window->last_use = 0;
    if (!window->data)
        window->data = malloc(FAT_WINDOW_BYTES);
    if (!window->data)
        return refuse(-ENOMEM, reason, reason_bytes,
                      "%s: no memory to read the file allocation table", fs->name);
    int error =
        disk_read(fs->disk, fs->fat_offset + start, window->data, size, reason, reason_bytes);
    if (error == -EIO && fs->fat_copy_offset != 0) {
        log_warn("%s: the file allocation table cannot be read; using its copy", fs->name);
        error = disk_read(fs->disk, fs->fat_copy_offset + start, window->data, size, reason,
                          reason_bytes);
    }
    if (error != 0)
        return error;
    window->start = start;
    window->last_use = ++reader->clock;
    *value = le32(window->data + (at - start)) & FAT_ENTRY_MASK;
    return 0;
}

int fat_next(struct fat_reader *reader, uint32_t cluster, uint32_t *next, char *reason,
             size_t reason_bytes)
{
    uint32_t value = 0;
    int error = fat_entry_read(reader, cluster, &value, reason, reason_bytes);
    if (error != 0)
        return error;
    if (value >= FAT_END) {
        *next = 0;
        return 0;
    }
    if (value >= 2 && value < reader->fs->cluster_limit) {
        *next = value;
        return 0;
    }
    const char *what = value == 0         ? "free"
                       : value == FAT_BAD ? "marked bad"
                                          : "outside the file system";
    return refuse(-EUCLEAN, reason, reason_bytes,
                  "%s: corrupt cluster chain: the cluster after %" PRIu32 " is %s (%08" PRIx32
                  "h); check the file system",
                  reader->fs->name, cluster, what, value);
}

uint64_t cluster_offset(const struct fat32 *fs, uint32_t cluster)
{
    return fs->data_offset + (uint64_t)(cluster - 2) * fs->cluster_bytes;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static int compare_extents(const void *a, const void *b)
{
    const struct file_extent *x = a, *y = b;
    return x->disk_offset < y->disk_offset ? -1 : x->disk_offset > y->disk_offset;
}

/* Two extents of one file that share bytes mean that its chain comes back to a cluster it has been at: a loop. */
static int extents_check_loop(const struct fat32 *fs, const struct file_extent *extents,
                              unsigned count, char *reason, size_t reason_bytes)
{
    struct file_extent *sorted = malloc(count * sizeof(*sorted));
    if (!sorted)
        return refuse(-ENOMEM, reason, reason_bytes, "%s: no memory for a file in %u pieces",
                      fs->name, count);
    memcpy(sorted, extents, count * sizeof(*sorted));
    heap_sort(sorted, count, sizeof(*sorted), compare_extents);
    int error = 0;
    for (unsigned i = 1; error == 0 && i < count; i++)
        if (sorted[i].disk_offset < sorted[i - 1].disk_offset + sorted[i - 1].size_bytes)
            error = refuse(-EUCLEAN, reason, reason_bytes,
                           "%s: corrupt cluster chain: it loops; check the file system", fs->name);
    free(sorted);
    return error;
}

/* Room for one more extent; the table doubles. */
static int extents_grow(struct file_extent **extents, unsigned count, unsigned *capacity)
{
    if (count < *capacity)
        return 0;
    unsigned wanted = *capacity ? *capacity * 2 : 8;
    if (wanted > EXTENTS_MAX)
        return -EFBIG;
    struct file_extent *grown = realloc(*extents, wanted * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    *extents = grown;
    *capacity = wanted;
    return 0;
}

int fat32_extents(const struct fat32 *fs, const struct fat32_entry *file, struct file_extent **out,
                  unsigned *count_out, char *reason, size_t reason_bytes)
{
    *out = NULL;
    *count_out = 0;
    uint64_t size = file->info.size_bytes;
    if (size == 0)
        return 0;
    uint64_t cluster_count = (size + fs->cluster_bytes - 1) / fs->cluster_bytes;
    if (cluster_count > fs->cluster_limit - 2)
        return refuse(-EUCLEAN, reason, reason_bytes,
                      "%s: the directory says the file has %" PRIu64
                      " bytes, more than the whole file system",
                      fs->name, size);
    uint32_t cluster = file->first_cluster;
    if (cluster < 2 || cluster >= fs->cluster_limit)
        return refuse(-EUCLEAN, reason, reason_bytes,
                      "%s: the directory says the file starts at cluster %" PRIu32
                      ", which does not exist; check the file system",
                      fs->name, cluster);

    struct fat_reader reader;
    fat_reader_start(&reader, fs);
    struct file_extent *extents = NULL;
    unsigned count = 0, capacity = 0;
    int error = 0;
    for (uint64_t i = 0; i < cluster_count; i++) {
        uint64_t offset = cluster_offset(fs, cluster);
        if (count > 0 && offset == extents[count - 1].disk_offset + extents[count - 1].size_bytes) {
            extents[count - 1].size_bytes += fs->cluster_bytes;
        } else {
            error = extents_grow(&extents, count, &capacity);
            if (error != 0) {
                refuse(error, reason, reason_bytes,
                       "%s: no memory for a file in more than %u pieces: copy it anew", fs->name,
                       count);
                break;
            }
            extents[count++] =
                (struct file_extent){.disk_offset = offset, .size_bytes = fs->cluster_bytes};
        }
        if (i + 1 == cluster_count)
            break;
        error = fat_next(&reader, cluster, &cluster, reason, reason_bytes);
        if (error != 0)
            break;
        if (cluster == 0) {
            error =
                refuse(-EUCLEAN, reason, reason_bytes,
                       "%s: the directory says the file has %" PRIu64
                       " bytes but its cluster chain ends after %" PRIu64 "; check the file system",
                       fs->name, size, (i + 1) * fs->cluster_bytes);
            break;
        }
    }
    fat_reader_end(&reader);
    if (error == 0 || error == -EFBIG) { /* a loop is the likely cause of very many pieces */
        int loop = extents_check_loop(fs, extents, count, reason, reason_bytes);
        error = loop != 0 ? loop : error;
    }
    if (error != 0) {
        free(extents);
        return error;
    }
    /* The last extent ends with the file's last block, not with its last cluster. */
    uint64_t surplus = cluster_count * fs->cluster_bytes - align_up(size, fs->disk->block_bytes);
    extents[count - 1].size_bytes -= surplus;
    *out = extents;
    *count_out = count;
    return 0;
}
