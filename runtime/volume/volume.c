/*
 * runtime/volume/volume.c: the list of volumes: what file systems there are, on which disk, and what is wrong with the
 * rest.
 *
 * volume_scan() looks at every disk. With a GPT each used entry is a volume; without one the whole disk may hold a file
 * system. What cannot be read is listed all the same, with the reason in `problem`, so that a person sees it where he
 * looks for it.
 */
#include "runtime/volume/volume_private.h"

#include "kernel/kernel.h"
#include "runtime/volume/fat32.h"
#include "runtime/volume/gpt.h"
#include "runtime/volume/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME_MAX 256

static struct volume *volumes[VOLUME_MAX];
static unsigned volume_count;

/* Guards the list and the number of users, which scanning must not pull the volumes away from. */
static struct mutex volume_lock;
static unsigned volume_users;

static void volume_destroy(struct volume *volume)
{
    if (volume->fat)
        fat32_unmount(volume->fat);
    free(volume);
}

/* A new volume at the end of the list. NULL when the list is full or memory is out; the log says so. */
static struct volume *volume_append(struct disk *disk, const char *name, uint64_t offset,
                                    uint64_t size_bytes)
{
    struct volume *volume = volume_count < VOLUME_MAX ? calloc(1, sizeof(*volume)) : NULL;
    if (!volume) {
        log_error("%s: %s, not listed", name,
                  volume_count < VOLUME_MAX ? "no memory" : "more volumes than the list holds");
        return NULL;
    }
    snprintf(volume->name, sizeof(volume->name), "%s", name);
    volume->disk = disk;
    volume->offset = offset;
    volume->size_bytes = size_bytes;
    volumes[volume_count++] = volume;
    return volume;
}

static int volume_mount(struct volume *volume)
{
    char problem[sizeof(volume->problem)] = "";
    int error = fat32_mount(volume->disk, volume->name, volume->offset, volume->size_bytes,
                            &volume->fat, problem, sizeof(problem));
    if (error != 0) {
        memcpy(volume->problem, problem, sizeof(problem));
        return error;
    }
    volume->kind = VOLUME_FAT32;
    if (volume->fat->label[0] != 0)
        snprintf(volume->label, sizeof(volume->label), "%s", volume->fat->label);
    return 0;
}

static void volume_log(const struct volume *volume)
{
    if (volume->fat)
        log_info("%s: FAT32 \"%s\", %" PRIu64 " MB%s%s", volume->name, volume->label,
                 volume->size_bytes / 1000000, volume->problem[0] ? "; " : "", volume->problem);
    else
        log_warn("%s: %s", volume->name, volume->problem);
}

static void partition_scan(struct disk *disk, const struct gpt_table *table,
                           const struct gpt_partition *partition)
{
    char name[sizeof(((struct volume *)0)->name)];
    snprintf(name, sizeof(name), "%sp%" PRIu32, disk->name, partition->number);
    bool has_room = partition->first_block <= partition->last_block &&
                    partition->last_block < disk->block_count;
    uint64_t offset = has_room ? partition->first_block * disk->block_bytes : 0;
    uint64_t size_bytes =
        has_room ? (partition->last_block - partition->first_block + 1) * disk->block_bytes : 0;

    struct volume *volume = volume_append(disk, name, offset, size_bytes);
    if (!volume)
        return;
    memcpy(volume->type_guid, partition->type_guid, sizeof(volume->type_guid));
    memcpy(volume->partition_guid, partition->partition_guid, sizeof(volume->partition_guid));
    text_brief(volume->label, sizeof(volume->label), partition->name, strlen(partition->name));
    if (partition->problem[0] != 0)
        snprintf(volume->problem, sizeof(volume->problem), "%s", partition->problem);
    else if (volume_mount(volume) == 0 && table->state == GPT_BACKUP)
        snprintf(volume->problem, sizeof(volume->problem), "%s", table->problem);
    volume_log(volume);
}

/* A disk whose table says nothing usable: listed under the disk's own name, as a file system or with what is wrong. */
static void whole_disk_scan(struct disk *disk, const struct gpt_table *table, const char *problem)
{
    struct volume *volume =
        volume_append(disk, disk->name, 0, disk->block_count * disk->block_bytes);
    if (!volume)
        return;
    bool may_mount = problem == NULL;
    int error = may_mount ? volume_mount(volume) : 0;
    if (error == -ENODEV && table->problem[0] != 0)
        problem = table->problem;
    if (problem)
        snprintf(volume->problem, sizeof(volume->problem), "%s", problem);
    volume_log(volume);
}

static void disk_scan(struct disk *disk)
{
    struct gpt_table table;
    int error = gpt_read(disk, &table);
    if (error != 0 || table.state == GPT_DAMAGED)
        whole_disk_scan(disk, &table, table.problem);
    else if (table.state == GPT_ABSENT)
        whole_disk_scan(disk, &table, NULL);
    else if (table.count == 0)
        whole_disk_scan(disk, &table, "the partition table is empty");
    else
        for (unsigned i = 0; i < table.count; i++)
            partition_scan(disk, &table, &table.partitions[i]);
    gpt_free(&table);
}

int volume_scan(void)
{
    mutex_lock(&volume_lock);
    int result = -EBUSY;
    if (volume_users == 0) {
        for (unsigned i = 0; i < volume_count; i++)
            volume_destroy(volumes[i]);
        volume_count = 0;
        struct disk *disk;
        for (unsigned i = 0; (disk = disk_get(i)) != NULL; i++)
            disk_scan(disk);
        result = (int)volume_count;
    }
    mutex_unlock(&volume_lock);
    return result;
}

struct volume *volume_get(unsigned index)
{
    return index < volume_count ? volumes[index] : NULL;
}

struct volume *volume_find(const char *name)
{
    for (unsigned i = 0; i < volume_count; i++)
        if (strcmp(volumes[i]->name, name) == 0)
            return volumes[i];
    return NULL;
}

struct volume *volume_acquire(const char *name)
{
    mutex_lock(&volume_lock);
    struct volume *volume = volume_find(name);
    if (volume)
        volume_users++;
    mutex_unlock(&volume_lock);
    return volume;
}

void volume_release(struct volume *volume)
{
    mutex_lock(&volume_lock);
    assert(volume && volume_users > 0);
    volume_users--;
    mutex_unlock(&volume_lock);
}
