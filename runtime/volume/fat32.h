/*
 * runtime/volume/fat32.h: the FAT32 reader, private to this folder.
 */
#ifndef INGOT_VOLUME_FAT32_H
#define INGOT_VOLUME_FAT32_H

#include "runtime/volume/volume.h"

/* A mounted file system. Never changes after fat32_mount(), so any number of cores read through it at once. */
struct fat32 {
    struct disk *disk;
    char name[32];                    /* of the volume, for messages */
    uint64_t fat_offset, data_offset; /* on the disk: the FAT in use; cluster 2 */
    uint64_t fat_copy_offset;         /* of the second FAT, 0: none, or it is not kept up to date */
    uint64_t fat_bytes;
    uint32_t cluster_bytes, cluster_limit; /* clusters are numbered 2 .. cluster_limit - 1 */
    uint32_t root_cluster;
    char label[40];                   /* UTF-8, "" if there is none */
};

struct fat32_entry {
    struct file_info info;
    uint32_t first_cluster;           /* 0 for an empty file */
};

/*
 * Mount what lies at offset. 0; -ENODEV when it is no FAT at all (another file system, or none: problem says which);
 * -ENOTSUP for FAT12, FAT16 and exFAT; -EUCLEAN when it is FAT32 and lies; -EIO and -ENOMEM. problem has words for
 * each.
 */
int fat32_mount(struct disk *disk, const char *name, uint64_t offset, uint64_t size_bytes, struct fat32 **out,
                char *problem, size_t problem_bytes);
void fat32_unmount(struct fat32 *fs);

/* Find path ("/dir/file", checked by file.c). "/" is the root directory. */
int fat32_find(const struct fat32 *fs, const char *path, struct fat32_entry *out, char *reason, size_t reason_bytes);
/* Where the bytes of a file lie; *extents is malloc()ed, NULL for an empty file. */
int fat32_extents(const struct fat32 *fs, const struct fat32_entry *file, struct file_extent **extents, unsigned *count,
                  char *reason, size_t reason_bytes);
int fat32_list(const struct fat32 *fs, const struct fat32_entry *directory,
               int (*each)(void *arg, const struct file_info *info), void *arg, char *reason, size_t reason_bytes);

#endif
