/*
 * runtime/volume/file.c: paths, and files by their path.
 *
 * A path is "volume:/dir/file" in UTF-8. Empty components and "." are passed over; ".." is refused rather than
 * resolved, and so are backslashes and control characters: no path means anything else than what it reads as.
 */
#include "runtime/volume/volume_private.h"

#include "kernel/kernel.h"
#include "runtime/volume/fat32.h"
#include "runtime/volume/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX      1023
#define COMPONENT_UNITS_MAX 255 /* UTF-16 units, FAT's limit */
#define SOURCE_MAX          4

static const struct file_source *sources[SOURCE_MAX];
static unsigned source_count;

void file_source_add(const struct file_source *source)
{
    assert(source_count < SOURCE_MAX);
    sources[source_count++] = source;
}

/* ---- paths ----------------------------------------------------------------------------------------------------- */

static int path_characters_check(const char *path, size_t length, char *reason, size_t reason_bytes)
{
    unsigned used, units = 0;
    for (size_t i = 0; i < length; i += used) {
        uint32_t code = utf8_get(path + i, length - i, &used);
        if (code == UINT32_MAX)
            return refuse(-EINVAL, reason, reason_bytes, "the path is not valid UTF-8");
        if (code < 0x20 || code == 0x7f)
            return refuse(-EINVAL, reason, reason_bytes, "the path has a control character in it");
        if (code == '\\')
            return refuse(-EINVAL, reason, reason_bytes,
                          "the path has a backslash in it: separate directories by /");
        units = code == '/' ? 0 : units + (code >= 0x10000 ? 2 : 1);
        if (units > COMPONENT_UNITS_MAX)
            return refuse(-EINVAL, reason, reason_bytes,
                          "a name in the path is longer than %u characters", COMPONENT_UNITS_MAX);
    }
    return 0;
}

static bool has_parent_component(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at++)
        if ((at == path || at[-1] == '/') && (at[2] == 0 || at[2] == '/'))
            return true;
    return false;
}

/* Split "volume:/dir/file" into the volume's name and, in *rest, "/dir/file". */
static int path_split(const char *path, char volume_name[32], const char **rest, char *reason,
                      size_t reason_bytes)
{
    size_t length = strnlen(path, PATH_BYTES_MAX + 1);
    if (length > PATH_BYTES_MAX)
        return refuse(-EINVAL, reason, reason_bytes, "the path is longer than %d bytes",
                      PATH_BYTES_MAX);
    const char *colon = strchr(path, ':');
    if (!colon || colon == path || colon - path >= 32 || colon[1] != '/')
        return refuse(-EINVAL, reason, reason_bytes,
                      "the path has no volume: write it like nvme0n1p1:/dir/file");
    int error = path_characters_check(path, length, reason, reason_bytes);
    if (error != 0)
        return error;
    if (has_parent_component(colon + 1))
        return refuse(-EINVAL, reason, reason_bytes,
                      "the path has \"..\" in it: write it out from the volume's root");
    memcpy(volume_name, path, (size_t)(colon - path));
    volume_name[colon - path] = 0;
    *rest = colon + 1;
    return 0;
}

/* Find what path names on a volume, which is then held until volume_release(). */
static int path_find(const char *path, struct volume **volume_out, struct fat32_entry *entry,
                     char *reason, size_t reason_bytes)
{
    char name[32], brief[40];
    const char *rest;
    int error = path_split(path, name, &rest, reason, reason_bytes);
    if (error != 0)
        return error;
    struct volume *volume = volume_acquire(name);
    if (!volume)
        return refuse(-ENOENT, reason, reason_bytes,
                      "there is no volume \"%s\"; /v1/volumes lists those there are",
                      text_brief(brief, sizeof(brief), name, strlen(name)));
    if (!volume->fat)
        error = refuse(-EUCLEAN, reason, reason_bytes, "%s cannot be read: %s", volume->name,
                       volume->problem);
    else
        error = fat32_find(volume->fat, rest, entry, reason, reason_bytes);
    if (error != 0) {
        volume_release(volume);
        return error;
    }
    *volume_out = volume;
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static int volume_file_open(const char *path, struct file *file, char *reason, size_t reason_bytes)
{
    struct fat32_entry *entry = malloc(sizeof(*entry));
    if (!entry)
        return refuse(-ENOMEM, reason, reason_bytes, "no memory to open a file");
    int error = path_find(path, &file->volume, entry, reason, reason_bytes);
    if (error == 0) {
        if (entry->info.is_directory)
            error = refuse(-EISDIR, reason, reason_bytes,
                           "%s: the path names a directory, not a file", file->volume->name);
        else
            error = fat32_extents(file->volume->fat, entry, &file->extents, &file->extent_count,
                                  reason, reason_bytes);
        if (error != 0)
            volume_release(file->volume);
    }
    file->info = entry->info;
    free(entry);
    return error;
}

static int source_file_open(const struct file_source *source, const char *path, struct file *file,
                            char *reason, size_t reason_bytes)
{
    char name[32];
    const char *rest;
    int error = path_split(path, name, &rest, reason, reason_bytes);
    if (error != 0)
        return error;
    const char *last = strrchr(rest, '/') + 1; /* path_split() saw one at its start */
    text_brief(file->info.name, sizeof(file->info.name), last, strlen(last));
    return source->open(rest, file, reason, reason_bytes);
}

int file_open(const char *path, struct file **out, char *reason, size_t reason_bytes)
{
    *out = NULL;
    struct file *file = calloc(1, sizeof(*file));
    if (!file)
        return refuse(-ENOMEM, reason, reason_bytes, "no memory to open a file");
    const struct file_source *source = NULL;
    for (unsigned i = 0; i < source_count; i++) {
        size_t length = strlen(sources[i]->name);
        if (strncmp(path, sources[i]->name, length) == 0 && path[length] == ':')
            source = sources[i];
    }
    int error = source ? source_file_open(source, path, file, reason, reason_bytes)
                       : volume_file_open(path, file, reason, reason_bytes);
    if (error != 0) {
        free(file);
        return error;
    }
    *out = file;
    return 0;
}

void file_close(struct file *file)
{
    if (!file)
        return;
    if (file->close)
        file->close(file);
    else
        volume_release(file->volume);
    free(file->extents);
    free(file);
}

int file_read(struct file *file, uint64_t offset, void *out, uint64_t size_bytes, char *reason,
              size_t reason_bytes)
{
    if (offset > file->info.size_bytes || size_bytes > file->info.size_bytes - offset)
        return refuse(-ERANGE, reason, reason_bytes,
                      "%" PRIu64 " bytes at %" PRIu64 " go past the end of the file (%" PRIu64
                      " bytes)",
                      size_bytes, offset, file->info.size_bytes);
    uint64_t start = 0; /* of this extent in the file */
    for (unsigned i = 0; i < file->extent_count && size_bytes > 0; i++) {
        const struct file_extent *extent = &file->extents[i];
        if (offset < start + extent->size_bytes) {
            uint64_t skip = offset - start, size = min_u64(extent->size_bytes - skip, size_bytes);
            int error = disk_read(file->volume->disk, extent->disk_offset + skip, out, size, reason,
                                  reason_bytes);
            if (error != 0)
                return error;
            out = (uint8_t *)out + size;
            offset += size;
            size_bytes -= size;
        }
        start += extent->size_bytes;
    }
    return 0;
}

int directory_list(const char *path, int (*each)(void *arg, const struct file_info *info),
                   void *arg, char *reason, size_t reason_bytes)
{
    struct fat32_entry *entry = malloc(sizeof(*entry));
    if (!entry)
        return refuse(-ENOMEM, reason, reason_bytes, "no memory to list a directory");
    struct volume *volume;
    int error = path_find(path, &volume, entry, reason, reason_bytes);
    if (error == 0) {
        if (entry->info.is_directory)
            error = fat32_list(volume->fat, entry, each, arg, reason, reason_bytes);
        else
            error = refuse(-ENOTDIR, reason, reason_bytes,
                           "%s: the path names a file, not a directory", volume->name);
        volume_release(volume);
    }
    free(entry);
    return error;
}
