/*
 * tests/host/disk_file.h: files and memory of the host as disks, for unit tests, fuzzers and the hosted program.
 */
#ifndef INGOT_HOST_DISK_FILE_H
#define INGOT_HOST_DISK_FILE_H

#include "runtime/volume/volume.h"

/* A disk over size_bytes of memory, which stays the caller's; a multiple of block_bytes. Read only unless it is written
 * to by disk_write(), which works too. Not in the list until disk_add(). NULL: no memory. */
struct disk *disk_memory_create(const char *name, uint32_t block_bytes, void *memory, uint64_t size_bytes);
void disk_memory_destroy(struct disk *disk);

/* The next `count` transfers of a memory disk that touch byte `offset` fail with -EIO. count 0: none. */
void disk_memory_fail_at(struct disk *disk, uint64_t offset, unsigned count);
/* Transfers submitted so far. */
unsigned disk_memory_transfers(const struct disk *disk);

/* A disk over a host file, read only; a size that is no multiple of block_bytes is rounded up, with zeros behind the
 * end. */
int disk_file_create(const char *name, uint32_t block_bytes, const char *path, struct disk **out, char *reason,
                     size_t reason_bytes);
void disk_file_destroy(struct disk *disk);

/* Make "host:/abs/path" a path that file_open() takes. Once, at start. */
void host_files_start(void);

#endif
