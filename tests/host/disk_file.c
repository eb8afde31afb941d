/*
 * tests/host/disk_file.c: files and memory of the host as disks.
 *
 * Transfers are done when submit returns, so these disks need no polling. The hosted twin's bus addresses are pointers.
 */
#include "tests/host/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/kernel.h"
#include "runtime/volume/text.h"

#define HOST_BLOCK_BYTES 512

struct host_disk {
    struct disk disk;
    uint8_t *memory;     /* a memory disk */
    int descriptor;      /* a file */
    uint64_t size_bytes; /* before rounding up */
    uint64_t fail_offset;
    unsigned fail_count, transfers;
};

static int memory_transfer(struct host_disk *host, const struct disk_io *io, uint8_t *va,
                           uint64_t offset, uint64_t size)
{
    if (io->is_write)
        memcpy(host->memory + offset, va, size);
    else
        memcpy(va, host->memory + offset, size);
    return 0;
}

static int file_transfer(struct host_disk *host, uint8_t *va, uint64_t offset, uint64_t size)
{
    while (size > 0) {
        ssize_t got = pread(host->descriptor, va, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got ==
            0) { /* behind the end: zeros up to the block's; a file that was cut short meanwhile is an error */
            if (offset < host->size_bytes)
                return -EIO;
            memset(va, 0, size);
            return 0;
        }
        va += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return 0;
}

static int host_disk_submit(struct disk_io *io)
{
    struct host_disk *host = io->disk->backend;
    uint64_t offset = io->offset;
    host->transfers++;
    if (host->fail_count > 0 && host->fail_offset >= offset &&
        host->fail_offset - offset < io->size_bytes) {
        host->fail_count--;
        io->error = -EIO;
        snprintf(io->reason, sizeof(io->reason), "read error on purpose");
    }
    for (unsigned i = 0; i < io->segment_count && io->error == 0; i++) {
        uint8_t *va = (uint8_t *)(uintptr_t)io->segments[i].dma;
        uint64_t size = io->segments[i].size_bytes;
        io->error = host->memory ? memory_transfer(host, io, va, offset, size)
                                 : file_transfer(host, va, offset, size);
        if (io->error != 0)
            snprintf(io->reason, sizeof(io->reason), "%s", strerror(-io->error));
        offset += size;
    }
    io->done = true;
    return 0;
}

static struct host_disk *host_disk_create(const char *name, uint32_t block_bytes,
                                          uint64_t size_bytes)
{
    struct host_disk *host = calloc(1, sizeof(*host));
    if (!host)
        return NULL;
    snprintf(host->disk.name, sizeof(host->disk.name), "%s", name);
    host->disk.block_bytes = block_bytes;
    host->disk.block_count = (size_bytes + block_bytes - 1) / block_bytes;
    host->disk.submit = host_disk_submit;
    host->disk.backend = host;
    host->size_bytes = size_bytes;
    host->descriptor = -1;
    return host;
}

struct disk *disk_memory_create(const char *name, uint32_t block_bytes, void *memory,
                                uint64_t size_bytes)
{
    struct host_disk *host = host_disk_create(name, block_bytes, size_bytes);
    if (!host)
        return NULL;
    host->memory = memory;
    return &host->disk;
}

void disk_memory_destroy(struct disk *disk)
{
    free(disk->backend);
}

void disk_memory_fail_at(struct disk *disk, uint64_t offset, unsigned count)
{
    struct host_disk *host = disk->backend;
    host->fail_offset = offset;
    host->fail_count = count;
}

unsigned disk_memory_transfers(const struct disk *disk)
{
    return ((const struct host_disk *)disk->backend)->transfers;
}

int disk_file_create(const char *name, uint32_t block_bytes, const char *path, struct disk **out,
                     char *reason, size_t reason_bytes)
{
    *out = NULL;
    char brief[100];
    text_brief(brief, sizeof(brief), path, strlen(path));
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        int error = -errno;
        return refuse(error, reason, reason_bytes, "%s: %s", brief, strerror(-error));
    }
    struct stat status;
    int error = fstat(descriptor, &status) != 0 ? -errno
                : S_ISDIR(status.st_mode)       ? -EISDIR
                : S_ISREG(status.st_mode)       ? 0
                                                : -EINVAL;
    struct host_disk *host =
        error == 0 ? host_disk_create(name, block_bytes, (uint64_t)status.st_size) : NULL;
    if (!host) {
        close(descriptor);
        return refuse(error ? error : -ENOMEM, reason, reason_bytes, "%s: %s", brief,
                      error == -EINVAL ? "not a regular file" : strerror(error ? -error : ENOMEM));
    }
    host->descriptor = descriptor;
    host->disk.is_read_only = true;
    *out = &host->disk;
    return 0;
}

void disk_file_destroy(struct disk *disk)
{
    struct host_disk *host = disk->backend;
    close(host->descriptor);
    free(host);
}

/* ---- host:/abs/path -------------------------------------------------------------------------------------------- */

static void host_file_close(struct file *file)
{
    disk_file_destroy(file->volume->disk);
    free(file->volume);
}

static int host_file_open(const char *path, struct file *out, char *reason, size_t reason_bytes)
{
    struct disk *disk;
    int error = disk_file_create("host", HOST_BLOCK_BYTES, path, &disk, reason, reason_bytes);
    if (error != 0)
        return error;
    uint64_t size_bytes = ((struct host_disk *)disk->backend)->size_bytes;
    struct volume *volume = calloc(1, sizeof(*volume));
    struct file_extent *extent = size_bytes > 0 ? malloc(sizeof(*extent)) : NULL;
    if (!volume || (size_bytes > 0 && !extent)) {
        free(volume);
        free(extent);
        disk_file_destroy(disk);
        return refuse(-ENOMEM, reason, reason_bytes, "no memory to open a file");
    }
    snprintf(volume->name, sizeof(volume->name), "host");
    volume->disk = disk;
    volume->size_bytes = disk->block_count * disk->block_bytes;
    if (extent)
        *extent = (struct file_extent){.disk_offset = 0, .size_bytes = volume->size_bytes};
    out->volume = volume;
    out->info.size_bytes = size_bytes;
    out->extents = extent;
    out->extent_count = extent ? 1 : 0;
    out->close = host_file_close;
    return 0;
}

void host_files_start(void)
{
    static const struct file_source source = {.name = "host", .open = host_file_open};
    file_source_add(&source);
}
