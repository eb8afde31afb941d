/*
 * tests/host/boot_file.c: the hosted twin's ESP: files that a test adds, and those of one folder of the host.
 *
 * A file stays in memory, as on bare metal with byte 64 at a page's start, from the first time it is asked for; memory ends
 * with it, so that the sanitizer sees reads past its end. Not for several cores at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/host/host.h"

#define LEAD 64 /* kernel.h, boot_file() */

struct file {
    struct file *next;
    char name[64];
    uint8_t *pages, *data;
    uint64_t size_bytes;
};
static struct file *files;
static char folder[4096];

/* An empty file of this size, first in the list. */
static struct file *file_create(const char *name, uint64_t size_bytes)
{
    struct file *file = calloc(1, sizeof(*file));
    void *pages = NULL;
    if (file == NULL || posix_memalign(&pages, PAGE_SIZE, PAGE_SIZE - LEAD + size_bytes) != 0)
        panic("no memory for boot file %s", name);
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->pages = pages;
    file->data = file->pages + PAGE_SIZE - LEAD;
    file->size_bytes = size_bytes;
    file->next = files;
    files = file;
    return file;
}

void host_boot_folder(const char *path)
{
    snprintf(folder, sizeof(folder), "%s", path != NULL ? path : "");
}

void host_boot_file_add(const char *name, const void *data, uint64_t size_bytes)
{
    memcpy(file_create(name, size_bytes)->data, data, size_bytes);
}

void host_boot_files_clear(void)
{
    while (files != NULL) {
        struct file *file = files;
        files = file->next;
        free(file->pages);
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
    FILE *from = fopen(path, "rbe");
    if (from == NULL)
        return NULL;
    long bytes = fseek(from, 0, SEEK_END) == 0 ? ftell(from) : -1;
    if (bytes <= 0)
        panic("%s: not a file with something in it", path);
    rewind(from);
    struct file *file = file_create(name, (uint64_t)bytes);
    if (fread(file->data, 1, (size_t)bytes, from) != (size_t)bytes)
        panic("%s: cannot be read", path);
    fclose(from);
    *size_bytes = file->size_bytes;
    return file->data;
}
