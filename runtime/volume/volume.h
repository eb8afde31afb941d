/*
 * runtime/volume/volume.h: disks, GPT partitions, FAT32 files. Read only, except disk_write() and its kin, which exist
 * for jobs that name a disk to write.
 *
 * A disk is anything with blocks: an NVMe namespace, or a file of the host (hosted build, tests, fuzzers). Names:
 * disk "nvme0n1", volume "nvme0n1p1" (partition 1, or the bare disk name when a file system covers the whole disk),
 * file "nvme0n1p1:/dir/model.safetensors". Everything read from a disk is input: checked before use.
 */
#ifndef INGOT_VOLUME_H
#define INGOT_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nvme/nvme.h"

struct disk;

/* One transfer. offset and size are bytes, both multiples of the disk's block size; segments as in nvme_request. */
struct disk_io {
    struct disk *disk;
    bool is_write;
    uint64_t offset, size_bytes;
    const struct dma_segment *segments;
    unsigned segment_count;
    uint64_t deadline_ns; /* 0: the driver's default */

    bool done; /* set by disk_poll() on the submitting core */
    int error;
    char reason[96]; /* decoded status when error != 0 */
    struct nvme_request request;
};

struct disk {
    char name[24];
    uint32_t block_bytes;
    uint64_t block_count;
    bool is_read_only;
    int (*submit)(struct disk_io *io); /* queue it on this core; 0, or a negative errno with nothing queued */
    void (*poll)(void); /* this core's completions for every disk of this kind; NULL: done when submit returns */
    void *backend;      /* struct nvme_namespace *, or the host file */
};

/* Enter a disk into the list that volume_scan() walks. The disk stays the caller's and must outlive its entry. Not
 * while files are open. -EINVAL (name, block size or block count make no sense), -EEXIST (the name is taken),
 * -ENOSPC. */
int disk_add(struct disk *disk);
void disk_remove(struct disk *disk);
/* Adds every NVMe namespace as a disk; after nvme_start(). Returns how many. */
int disk_nvme_start(void);

/* Checks range, alignment and segments, then hands on. 0: io->done will be set. Otherwise -EINVAL, -ERANGE, -EROFS or
 * what the driver says, with nothing queued and io->reason filled in. */
int disk_submit(struct disk_io *io);
void disk_poll(void); /* completions for this core; also rings doorbells */
/* Any byte range into (from) ordinary memory, through a bounce buffer where blocks require it. Yields. *reason (may be
 * NULL) gets words for the error. A write that covers part of a block reads that block first. */
int disk_read(struct disk *disk, uint64_t offset, void *out, uint64_t size_bytes, char *reason, size_t reason_bytes);
int disk_write(struct disk *disk, uint64_t offset, const void *data, uint64_t size_bytes, char *reason,
               size_t reason_bytes);

enum volume_kind { VOLUME_UNKNOWN, VOLUME_FAT32 };

struct volume {
    char name[32]; /* "nvme0n1p1" */
    struct disk *disk;
    uint64_t offset, size_bytes;
    enum volume_kind kind;
    char label[40];           /* partition or file-system label, UTF-8 */
    uint8_t type_guid[16], partition_guid[16];
    char problem[160];        /* "" or why it cannot be read (corrupt table, unknown file system ...) */
    struct fat32 *fat;        /* NULL unless kind is VOLUME_FAT32 and it mounted */
};

/* Scan every disk: GPT primary, else backup (said in `problem` and the log), else a file system over the whole disk.
 * Replaces the list, and so every struct volume. Returns the number of volumes, or -EBUSY while files are open. */
int volume_scan(void);
struct disk *disk_get(unsigned index);
struct volume *volume_get(unsigned index);
struct volume *volume_find(const char *name);

struct file_info {
    char name[256 * 3 + 1]; /* UTF-8; 255 UTF-16 units at most */
    bool is_directory, is_read_only, is_hidden;
    uint64_t size_bytes;
    int64_t modified_ns; /* since 1970 UTC, 0 if not recorded */
};

/* A run of consecutive bytes of a file on its disk. */
struct file_extent {
    uint64_t disk_offset, size_bytes;
};

/* An open file: where its bytes lie. Extents cover size_bytes rounded up to the disk's block size. */
struct file {
    struct volume *volume;
    struct file_info info;
    struct file_extent *extents; /* owned by the file */
    unsigned extent_count;
    void (*close)(struct file *file); /* how its source lets go of it; NULL for a file of a volume */
};

/*
 * Where files come from besides volumes. The hosted program adds "host", so that "host:/home/me/model.gguf" names a
 * file of the machine it runs on. open gets what follows the colon and fills in everything of *out but its info.name,
 * extents included, allocated with malloc().
 */
struct file_source {
    const char *name;
    int (*open)(const char *path, struct file *out, char *reason, size_t reason_bytes);
};
void file_source_add(const struct file_source *source);

/* path "nvme0n1p1:/dir/file", case-insensitive as FAT is. -ENOENT, -ENOTDIR, -EISDIR, -EIO, -EUCLEAN (corrupt),
 * -EINVAL. reason (never NULL here) says what is wrong and what to do. */
int file_open(const char *path, struct file **out, char *reason, size_t reason_bytes);
void file_close(struct file *file);
int file_read(struct file *file, uint64_t offset, void *out, uint64_t size_bytes, char *reason, size_t reason_bytes);
/* Calls each(arg, info) for the entries of a directory, in disk order; stops when it returns non-zero, and returns
 * that. */
int directory_list(const char *path, int (*each)(void *arg, const struct file_info *info), void *arg, char *reason,
                   size_t reason_bytes);

#endif
