/*
 * tests/host/boot_file.c: the hosted twin's ESP: files that a test adds, and those of one folder of the host.
 *
 * A file stays in memory, at a page's start, from the first time it is asked for. Not for several cores at a time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/host/host.h"

struct file {
    struct file *next;
    char name[64];
    void *data;
    uint64_t size_bytes;
    bool is_mapped;
};
static struct file *files;
static char folder[4096];

static void file_add(const char *name, void *data, uint64_t size_bytes, bool is_mapped)
{
    struct file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        panic("no memory for boot file %s", name);
    *file = (struct file){
        .next = files, .data = data, .size_bytes = size_bytes, .is_mapped = is_mapped};
    snprintf(file->name, sizeof(file->name), "%s", name);
    files = file;
}

void host_boot_folder(const char *path)
{
    snprintf(folder, sizeof(folder), "%s", path != NULL ? path : "");
}

void host_boot_file_add(const char *name, const void *data, uint64_t size_bytes)
{
    void *copy = aligned_alloc(PAGE_SIZE, align_up(size_bytes + 1, PAGE_SIZE));
    if (copy == NULL)
        panic("no memory for boot file %s", name);
    memcpy(copy, data, size_bytes);
    file_add(name, copy, size_bytes, false);
}

void host_boot_files_clear(void)
{
    while (files != NULL) {
        struct file *file = files;
        files = file->next;
        if (file->is_mapped)
            munmap(file->data, file->size_bytes);
        else
            free(file->data);
        free(file);
    }
    folder[0] = '\0';
}

const void *boot_file(const char *name, uint64_t *size_bytes)
{
    for (struct file *file = files; file != NULL; file = file->next)
        if (strcasecmp(file->name, name) == 0) {
            *size_bytes = file->size_bytes;
            return file->data;
        }
    if (folder[0] == '\0')
        return NULL;
    char path[sizeof(folder) + 64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *data = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0)
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        close(fd);
    if (data == MAP_FAILED)
        return NULL;
    file_add(name, data, (uint64_t)info.st_size, true);
    *size_bytes = (uint64_t)info.st_size;
    return data;
}
