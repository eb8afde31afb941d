/*
 * runtime/volume/disk.c: the list of disks, and reads and writes of any byte range.
 *
 * A driver adds what it has with disk_add(). disk_submit() is the one gate to every driver: whatever range, alignment
 * or segment list a caller comes with is checked here. disk_read() and disk_write() go through a bounce buffer, because
 * devices reach only memory of page_alloc() (not stacks, not malloc) and only whole blocks; the fast path of `load`
 * does not use them, it submits reads of its own straight into their destination.
 */
#include "runtime/volume/volume.h"

#include "kernel/kernel.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DISK_MAX 64
#define BOUNCE_BYTES_MAX \
    (UINT64_C(1) << 20) /* enough for a drive to work on several commands at once */
#define BLOCK_BYTES_MIN 512
#define BLOCK_BYTES_MAX 65536

static struct disk *disks[DISK_MAX];
static unsigned disk_count;

static bool is_block_size(uint32_t block_bytes)
{
    return block_bytes >= BLOCK_BYTES_MIN && block_bytes <= BLOCK_BYTES_MAX &&
           (block_bytes & (block_bytes - 1)) == 0;
}

/* A name must be able to stand before the colon of a path. */
static bool is_disk_name(const char name[24])
{
    size_t length = strnlen(name, 24);
    if (length == 0 || length == 24)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
              (name[i] >= '0' && name[i] <= '9') || name[i] == '_' || name[i] == '-'))
            return false;
    return true;
}

int disk_add(struct disk *disk)
{
    if (!is_disk_name(disk->name) || !is_block_size(disk->block_bytes) || disk->block_count == 0 ||
        disk->block_count > INT64_MAX / disk->block_bytes || !disk->submit)
        return -EINVAL;
    for (unsigned i = 0; i < disk_count; i++)
        if (strcmp(disks[i]->name, disk->name) == 0)
            return -EEXIST;
    if (disk_count == DISK_MAX)
        return -ENOSPC;
    disks[disk_count++] = disk;
    return 0;
}

void disk_remove(struct disk *disk)
{
    for (unsigned i = 0; i < disk_count; i++) {
        if (disks[i] != disk)
            continue;
        memmove(&disks[i], &disks[i + 1], (disk_count - i - 1) * sizeof(disks[0]));
        disk_count--;
        return;
    }
}

struct disk *disk_get(unsigned index)
{
    return index < disk_count ? disks[index] : NULL;
}

static int io_refuse(struct disk_io *io, int error, const char *why)
{
    snprintf(io->reason, sizeof(io->reason), "%s", why);
    return error;
}

int disk_submit(struct disk_io *io)
{
    const struct disk *disk = io->disk;
    io->done = false;
    io->error = 0;
    io->reason[0] = 0;
    uint64_t disk_bytes = disk->block_count * disk->block_bytes; /* disk_add() saw that it fits */
    uint64_t in_block = disk->block_bytes - 1;

    if (io->size_bytes == 0 || (io->offset & in_block) != 0 || (io->size_bytes & in_block) != 0)
        return io_refuse(io, -EINVAL, "the transfer is not in whole blocks");
    if (io->offset >= disk_bytes || io->size_bytes > disk_bytes - io->offset)
        return io_refuse(io, -ERANGE, "the transfer goes past the end of the disk");
    if (io->is_write && disk->is_read_only)
        return io_refuse(io, -EROFS, "the disk is write protected");

    uint64_t sum = 0;
    for (unsigned i = 0; i < io->segment_count; i++) {
        uint64_t size = io->segments[i].size_bytes;
        if (size == 0 || size > io->size_bytes - sum)
            return io_refuse(io, -EINVAL, "the memory segments do not add up to the transfer");
        sum += size;
    }
    if (sum != io->size_bytes)
        return io_refuse(io, -EINVAL, "the memory segments do not add up to the transfer");

    int error = disk->submit(io);
    if (error != 0 && io->reason[0] == 0)
        snprintf(io->reason, sizeof(io->reason), "the driver refused the transfer (error %d)",
                 -error);
    return error;
}

void disk_poll(void)
{
    /* Drivers poll all their disks at once, and add them one after the other: call each driver once. */
    void (*last)(void) = NULL;
    for (unsigned i = 0; i < disk_count; i++) {
        if (disks[i]->poll && disks[i]->poll != last) {
            last = disks[i]->poll;
            last();
        }
    }
}

/* One transfer between the disk and the start of a bounce buffer, waited for. The driver's deadlines bound the wait. */
static int transfer(struct disk *disk, bool is_write, uint64_t offset, void *bounce,
                    uint64_t size_bytes, char *reason, size_t reason_bytes)
{
    struct dma_segment segment = {.dma = dma_addr(bounce), .size_bytes = size_bytes};
    struct disk_io io = {
        .disk = disk,
        .is_write = is_write,
        .offset = offset,
        .size_bytes = size_bytes,
        .segments = &segment,
        .segment_count = 1,
    };
    int error = disk_submit(&io);
    if (error == 0) {
        while (!io.done) {
            disk_poll();
            if (!io.done)
                task_yield();
        }
        error = io.error;
    }
    if (error != 0)
        snprintf(reason, reason_bytes, "%s: %s at byte %" PRIu64 " failed: %s", disk->name,
                 is_write ? "writing" : "reading", offset,
                 io.reason[0] ? io.reason : "no reason given");
    return error;
}

static void *bounce_alloc(uint64_t want, uint32_t block_bytes, uint64_t *got)
{
    uint64_t least = block_bytes > PAGE_SIZE ? block_bytes : PAGE_SIZE;
    for (uint64_t size = align_up(min_u64(want, BOUNCE_BYTES_MAX), least);;
         size = align_down(size / 2, least)) {
        void *bounce = size >= least ? page_alloc(size, 0) : NULL;
        if (bounce || size <= least) {
            *got = size;
            return bounce;
        }
    }
}

static int transfer_bytes(struct disk *disk, bool is_write, uint64_t offset, void *out,
                          const void *data, uint64_t size_bytes, char *reason, size_t reason_bytes)
{
    char unused[8];
    if (!reason || reason_bytes == 0) {
        reason = unused;
        reason_bytes = sizeof(unused);
    }
    uint64_t disk_bytes = disk->block_count * disk->block_bytes;
    if (offset > disk_bytes || size_bytes > disk_bytes - offset) {
        snprintf(reason, reason_bytes,
                 "%s: %" PRIu64 " bytes at %" PRIu64 " go past the end of the disk (%" PRIu64
                 " bytes)",
                 disk->name, size_bytes, offset, disk_bytes);
        return -ERANGE;
    }
    if (size_bytes == 0)
        return 0;

    uint32_t block = disk->block_bytes;
    uint64_t start = align_down(offset, block), end = align_up(offset + size_bytes, block),
             bounce_bytes;
    uint8_t *bounce = bounce_alloc(end - start, block, &bounce_bytes);
    if (!bounce) {
        snprintf(reason, reason_bytes, "%s: no memory for a transfer buffer", disk->name);
        return -ENOMEM;
    }

    int error = 0;
    uint64_t moved = 0;
    while (error == 0 && moved < size_bytes) {
        uint64_t skip = (offset + moved) & (block - 1); /* bytes of the first block before ours */
        uint64_t at = offset + moved - skip;
        uint64_t span = min_u64(end - at, bounce_bytes); /* whole blocks */
        uint64_t ours =
            min_u64(span - skip, size_bytes - moved); /* bytes of them that are asked for */
        if (!is_write) {
            error = transfer(disk, false, at, bounce, span, reason, reason_bytes);
            if (error == 0)
                memcpy((uint8_t *)out + moved, bounce + skip, ours);
        } else {
            /* Blocks that are written only in part keep the rest of what they hold. */
            uint64_t last = span - block;
            bool in_first = skip != 0, in_last = skip + ours != span;
            if (in_first)
                error = transfer(disk, false, at, bounce, block, reason, reason_bytes);
            if (error == 0 && in_last && !(in_first && last == 0))
                error =
                    transfer(disk, false, at + last, bounce + last, block, reason, reason_bytes);
            if (error == 0) {
                memcpy(bounce + skip, (const uint8_t *)data + moved, ours);
                error = transfer(disk, true, at, bounce, span, reason, reason_bytes);
            }
        }
        moved += ours;
    }
    page_free(bounce, bounce_bytes);
    return error;
}

int disk_read(struct disk *disk, uint64_t offset, void *out, uint64_t size_bytes, char *reason,
              size_t reason_bytes)
{
    return transfer_bytes(disk, false, offset, out, NULL, size_bytes, reason, reason_bytes);
}

int disk_write(struct disk *disk, uint64_t offset, const void *data, uint64_t size_bytes,
               char *reason, size_t reason_bytes)
{
    return transfer_bytes(disk, true, offset, NULL, data, size_bytes, reason, reason_bytes);
}
