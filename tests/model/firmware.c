/*
 * tests/model/firmware.c: the distribution's firmware files, as setup/firmware unpacks them: DIR/nvidia/CHIP/gsp/NAME, or the same
 * below DIR/usr/lib/firmware. Files are mapped at their first use and stay.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/model/parts.h"

#define FILES_MAX 64 /* a test opens all chips' */

struct known {
    char folder[16], name[48];
    struct file file; /* bytes 0: there is none */
};
static struct known known[FILES_MAX];
static unsigned known_count;

static bool file_map(const char *path, struct file *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0)
        return false;
    void *data = MAP_FAILED;
    if (fstat(fd, &status) == 0 && status.st_size > 0)
        data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (data == MAP_FAILED)
        return false;
    *out = (struct file){data, (size_t)status.st_size};
    return true;
}

const struct file *firmware_file(struct model *m, const char *folder, const char *name)
{
    for (unsigned i = 0; i < known_count; i++)
        if (strcmp(known[i].folder, folder) == 0 && strcmp(known[i].name, name) == 0)
            return known[i].file.bytes > 0 ? &known[i].file : NULL;
    if (known_count == FILES_MAX)
        die("more than %d firmware files", FILES_MAX);
    struct known *k = &known[known_count++];
    snprintf(k->folder, sizeof(k->folder), "%s", folder);
    snprintf(k->name, sizeof(k->name), "%s", name);
    static const char *const below[] = {"", "usr/lib/firmware/", "lib/firmware/"};
    for (unsigned i = 0; m->firmware_folder != NULL && i < 3; i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%snvidia/%s/gsp/%s", m->firmware_folder, below[i], folder,
                 name);
        if (file_map(path, &k->file))
            return &k->file;
    }
    if (m->firmware_folder != NULL)
        die("--firmware %s: nvidia/%s/gsp/%s is not there", m->firmware_folder, folder, name);
    note(m, "nvidia/%s/gsp/%s: not compared (no --firmware)", folder, name);
    return NULL;
}

bool elf_section(const struct file *elf, const char *section, const uint8_t **data, size_t *bytes)
{
    const Elf64_Ehdr *head = (const void *)elf->data;
    if (elf->bytes < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_shentsize != sizeof(Elf64_Shdr) ||
        head->e_shoff > elf->bytes ||
        (elf->bytes - head->e_shoff) / sizeof(Elf64_Shdr) < head->e_shnum ||
        head->e_shstrndx >= head->e_shnum)
        return false;
    const Elf64_Shdr *sections = (const void *)(elf->data + head->e_shoff);
    const Elf64_Shdr *names = &sections[head->e_shstrndx];
    if (names->sh_offset > elf->bytes || names->sh_size > elf->bytes - names->sh_offset)
        return false;
    size_t length = strlen(section) + 1;
    for (unsigned i = 0; i < head->e_shnum; i++) {
        const Elf64_Shdr *s = &sections[i];
        if (s->sh_name >= names->sh_size || names->sh_size - s->sh_name < length ||
            memcmp(elf->data + names->sh_offset + s->sh_name, section, length) != 0)
            continue;
        if (s->sh_offset > elf->bytes || s->sh_size > elf->bytes - s->sh_offset)
            return false;
        *data = elf->data + s->sh_offset;
        *bytes = s->sh_size;
        return true;
    }
    return false;
}
