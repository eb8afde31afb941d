/*
 * tests/fuzz/fuzz_fat32.c: a disk with a FAT32 volume. The input is the disk. Directories are walked three deep and
 * every file is opened by the name it is listed with; extents must be what the rest of the appliance relies on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/volume/text.h"
#include "tests/host/disk_file.h"
#include "tests/host/host.h"

#define NAMES_MAX 24

struct listing {
    struct file_info infos[NAMES_MAX];
    unsigned count, seen;
};

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_text(const char *text, size_t capacity)
{
    check(strnlen(text, capacity) < capacity && utf8_is_valid(text, strlen(text)));
}

static int collect(void *arg, const struct file_info *info)
{
    struct listing *listing = arg;
    check_text(info->name, sizeof(info->name));
    check(info->name[0] != 0 && !strchr(info->name, '/'));
    if (listing->count < NAMES_MAX)
        listing->infos[listing->count++] = *info;
    return ++listing->seen > 100000 ? 1 : 0; /* more than 2 MiB of entries */
}

static void check_file(const struct file *file)
{
    uint64_t covered = 0;
    const struct disk *disk = file->volume->disk;
    for (unsigned i = 0; i < file->extent_count; i++) {
        const struct file_extent *extent = &file->extents[i];
        check(extent->size_bytes > 0 && extent->size_bytes % disk->block_bytes == 0 &&
              extent->disk_offset % disk->block_bytes == 0);
        check(extent->disk_offset >= file->volume->offset &&
              extent->disk_offset + extent->size_bytes <=
                  file->volume->offset + file->volume->size_bytes);
        for (unsigned j = 0; j < i && i < 200; j++)
            check(file->extents[j].disk_offset + file->extents[j].size_bytes <=
                      extent->disk_offset ||
                  file->extents[j].disk_offset >= extent->disk_offset + extent->size_bytes);
        covered += extent->size_bytes;
    }
    check(covered == align_up(file->info.size_bytes, disk->block_bytes));
}

static void walk(const char *path, unsigned depth)
{
    char reason[200] = "";
    struct listing *listing = calloc(1, sizeof(*listing));
    int error = directory_list(path, collect, listing, reason, sizeof(reason));
    check(error <= 0);
    check_text(reason, sizeof(reason));
    for (unsigned i = 0; i < listing->count; i++) {
        char inner[1200];
        snprintf(inner, sizeof(inner), "%s/%s", path, listing->infos[i].name);
        if (listing->infos[i].is_directory) {
            if (depth < 3)
                walk(inner, depth + 1);
            continue;
        }
        struct file *file;
        error = file_open(inner, &file, reason, sizeof(reason));
        check_text(reason, sizeof(reason));
        if (error != 0)
            continue;
        check_file(file);
        uint8_t bytes[3];
        uint64_t size = file->info.size_bytes, some = min_u64(size, sizeof(bytes));
        check(file_read(file, 0, bytes, some, reason, sizeof(reason)) == 0);
        check(file_read(file, size - some, bytes, some, reason, sizeof(reason)) == 0);
        check(file_read(file, size, bytes, 1, reason, sizeof(reason)) == -ERANGE);
        file_close(file);
    }
    free(listing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_log_level(LOG_ERROR);
    uint64_t bytes = align_up(size, 512);
    if (bytes == 0)
        return 0;
    uint8_t *memory = calloc(1, bytes);
    memcpy(memory, data, size);
    struct disk *disk = disk_memory_create("mem0", 512, memory, bytes);
    check(disk && disk_add(disk) == 0);
    int count = volume_scan();
    check(count >= 1);
    for (int i = 0; i < count; i++) {
        struct volume *volume = volume_get((unsigned)i);
        check_text(volume->problem, sizeof(volume->problem));
        check_text(volume->label, sizeof(volume->label));
        check(volume->fat || volume->problem[0]);
        check(volume->offset <= bytes && volume->size_bytes <= bytes - volume->offset);
        char path[64];
        snprintf(path, sizeof(path), "%s:/", volume->name);
        if (volume->fat)
            walk(path, 0);
    }
    disk_remove(disk);
    check(volume_scan() == 0);
    disk_memory_destroy(disk);
    free(memory);
    check(host_page_live_bytes() == 0);
    return 0;
}
