/*
 * tests/model/kernels.c: the code that the image was built with: reads its cubins, and finds which kernel lies at an address.
 *
 * A cubin is ELF64, machine 190. Of each kernel it has .text.NAME, the size of constant bank 0 (.nv.constant0.NAME), of
 * static shared memory (.nv.shared.NAME), and attributes: parameters, registers, stack, barriers. A loader may change the
 * instructions that relocations name, so those are left out of the comparison. What lies in GPU memory is hashed over the
 * other bytes and compared with each kernel's hash. The same source, gpu/kernels, is compiled for the host: that is what runs.
 *
 * Sources: System V ABI (ELF64); section names from NVIDIA's CUDA Binary Utilities; attribute numbers as ptxas writes them
 * (EIATTR_* in its -v listings and in cuobjdump's output).
 */
#include "tests/model/engines.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/kernels/kernel.h"
#include "gpu/kernels/kernels.h"

#define CODES_MAX             256
#define TEXT_BYTES_MAX        (256 * 1024)
#define FILE_BYTES_MAX        (64 * 1024 * 1024)
#define SECTIONS_MAX          4096
#define CACHE_ENTRIES         64
#define INSTRUCTION_BYTES     16
#define SHARED_RESERVED       1024

#define EIATTR_PARAM_CBANK    0x0a
#define EIATTR_MIN_STACK_SIZE 0x12
#define EIATTR_REGCOUNT       0x2f
#define EIATTR_NUM_BARRIERS   0x4c

/* gpu/kernels for the host, with and without fused multiply and add (Makefile); a GPU has it. */
#define DECLARE(name, args)   kernel_function kernel_##name##_model_fma, kernel_##name##_model_sse2;
KERNEL_LIST(DECLARE)
#define ENTRY(name, args) \
    {#name, kernel_##name##_model_fma, kernel_##name##_model_sse2, sizeof(struct args)},
static const struct {
    const char *name;
    kernel_function *fma, *sse2;
    uint32_t args_bytes;
} natives[] = {KERNEL_LIST(ENTRY)};

static struct {
    uint8_t *file;
    size_t bytes;
    Elf64_Shdr section[SECTIONS_MAX];
    unsigned section_count;
    struct code code[CODES_MAX];
    unsigned code_count;
    /* Instruction caches: what was found at an address stays found until the driver invalidates them. */
    struct {
        struct space space;
        uint64_t gva;
        const struct code *code;
    } cache[CACHE_ENTRIES];
    unsigned cache_next;
} k;

void kernels_forget(void)
{
    memset(k.cache, 0, sizeof(k.cache));
}

unsigned kernels_count(void)
{
    return k.code_count;
}

const struct code *kernels_get(unsigned index)
{
    return index < k.code_count ? &k.code[index] : NULL;
}

void kernels_unload(void)
{
    for (unsigned i = 0; i < k.code_count; i++) {
        free((void *)(uintptr_t)k.code[i].fixed);
        free((void *)(uintptr_t)k.code[i].name);
    }
    free(k.file);
    memset(&k, 0, sizeof(k));
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

static const char *section_name(unsigned index)
{
    Elf64_Ehdr header;
    memcpy(&header, k.file, sizeof(header));
    const Elf64_Shdr *names = &k.section[header.e_shstrndx];
    uint32_t at = k.section[index].sh_name;
    if (at >= names->sh_size)
        return "";
    const char *name = (const char *)k.file + names->sh_offset + at;
    return memchr(name, 0, names->sh_size - at) ? name : "";
}

static bool has_bytes(const Elf64_Shdr *section)
{
    return section->sh_type != SHT_NULL && section->sh_type != SHT_NOBITS;
}

static const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

static struct code *code_named(const char *name)
{
    for (unsigned i = 0; i < k.code_count; i++)
        if (strcmp(k.code[i].name, name) == 0)
            return &k.code[i];
    return NULL;
}

static const char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return "cannot be opened";
    const char *problem = NULL;
    if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(Elf64_Ehdr) ||
        st.st_size > FILE_BYTES_MAX)
        problem = "is not a cubin (made without ptxas?)";
    k.file = problem ? NULL : malloc((size_t)st.st_size);
    if (!problem && !k.file)
        problem = "does not fit into memory";
    while (!problem && k.bytes < (size_t)st.st_size) {
        ssize_t got = read(fd, k.file + k.bytes, (size_t)st.st_size - k.bytes);
        if (got <= 0)
            problem = "cannot be read";
        else
            k.bytes += (size_t)got;
    }
    close(fd);
    return problem;
}

static const char *read_sections(const struct chip *chip)
{
    Elf64_Ehdr header;
    memcpy(&header, k.file, sizeof(header));
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_machine != 190)
        return "is not a cubin";
    unsigned sm =
        header.e_ident[EI_ABIVERSION] >= 8 ? header.e_flags >> 8 & 0xff : header.e_flags & 0xff;
    if (sm / 10 != chip->sm / 10 || sm % 10 > chip->sm % 10)
        return "is for another architecture than the chip's";
    k.section_count = header.e_shnum;
    if (header.e_shentsize != sizeof(Elf64_Shdr) || k.section_count > SECTIONS_MAX ||
        header.e_shstrndx >= k.section_count || header.e_shoff > k.bytes ||
        (k.bytes - header.e_shoff) / sizeof(Elf64_Shdr) < k.section_count)
        return "has no good section table";
    memcpy(k.section, k.file + header.e_shoff, k.section_count * sizeof(Elf64_Shdr));
    for (unsigned i = 0; i < k.section_count; i++)
        if (has_bytes(&k.section[i]) && (k.section[i].sh_offset > k.bytes ||
                                         k.section[i].sh_size > k.bytes - k.section[i].sh_offset))
            return "has a section outside the file";
    return has_bytes(&k.section[header.e_shstrndx]) ? NULL : "has no section names";
}

static const char *find_texts(void)
{
    for (unsigned i = 0; i < k.section_count; i++) {
        const char *name = after(section_name(i), ".text.");
        if (!name || !has_bytes(&k.section[i]))
            continue;
        uint64_t bytes = k.section[i].sh_size;
        unsigned n = 0;
        while (n < sizeof(natives) / sizeof(natives[0]) && strcmp(natives[n].name, name) != 0)
            n++;
        if (n == sizeof(natives) / sizeof(natives[0]))
            continue; /* a function that kernels call */
        uint8_t *fixed = bytes > 0 && bytes <= TEXT_BYTES_MAX ? malloc(bytes) : NULL;
        char *copy = strdup(name);
        if (!fixed || !copy || k.code_count == CODES_MAX) {
            free(fixed);
            free(copy);
            return "has a kernel of impossible size, or too many";
        }
        memset(fixed, 1, bytes);
        bool has_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        k.code[k.code_count++] = (struct code){.name = copy,
                                               .run = has_fma ? natives[n].fma : natives[n].sse2,
                                               .args_struct_bytes = natives[n].args_bytes,
                                               .text = k.file + k.section[i].sh_offset,
                                               .text_bytes = (uint32_t)bytes,
                                               .fixed = fixed};
    }
    return k.code_count > 0 ? NULL : "has no kernel that gpu/kernels has";
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

static const char *symbol_name(uint32_t index)
{
    for (unsigned i = 0; i < k.section_count; i++) {
        const Elf64_Shdr *symbols = &k.section[i];
        if (symbols->sh_type != SHT_SYMTAB || symbols->sh_link >= k.section_count)
            continue;
        const Elf64_Shdr *strings = &k.section[symbols->sh_link];
        Elf64_Sym symbol;
        if (index >= symbols->sh_size / sizeof(symbol) || !has_bytes(strings))
            return "";
        memcpy(&symbol, k.file + symbols->sh_offset + (uint64_t)index * sizeof(symbol),
               sizeof(symbol));
        if (symbol.st_name >= strings->sh_size)
            return "";
        const char *name = (const char *)k.file + strings->sh_offset + symbol.st_name;
        return memchr(name, 0, strings->sh_size - symbol.st_name) ? name : "";
    }
    return "";
}

static uint32_t word_of(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

/* Records of format, number, and a value of 16 bits or a length and as many bytes. code: whose section it is, or NULL. */
static const char *read_attributes(const Elf64_Shdr *section, struct code *code)
{
    const uint8_t *at = k.file + section->sh_offset, *end = at + section->sh_size;
    while (end - at >= 4) {
        unsigned format = at[0], number = at[1], value = at[2] | (unsigned)at[3] << 8;
        const uint8_t *data = at + 4;
        at = data;
        if (format == 4) {
            if ((size_t)(end - data) < value)
                return "has a broken attribute";
            at += value;
        }
        struct code *of = code;
        if (!of && format == 4 && value >= 8)
            of = code_named(symbol_name(word_of(data)));
        if (!of)
            continue;
        if (number == EIATTR_PARAM_CBANK && format == 4 && value >= 8) {
            of->args_offset = word_of(data + 4) & 0xffff;
            of->args_bytes = word_of(data + 4) >> 16;
        } else if (number == EIATTR_REGCOUNT && format == 4 && value >= 8) {
            of->registers = word_of(data + 4);
        } else if (number == EIATTR_MIN_STACK_SIZE && format == 4 && value >= 8) {
            of->stack_bytes = word_of(data + 4);
        } else if (number == EIATTR_NUM_BARRIERS && format != 4) {
            of->barriers = value & 0xff;
        }
    }
    return at == end ? NULL : "has a broken attribute";
}

static bool is_relocated(unsigned section)
{
    for (unsigned i = 0; i < k.section_count; i++)
        if ((k.section[i].sh_type == SHT_RELA || k.section[i].sh_type == SHT_REL) &&
            k.section[i].sh_info == section && k.section[i].sh_size > 0)
            return true;
    return false;
}

/* Code that relocations change: whole instructions. */
static void mark_relocations(const Elf64_Shdr *section)
{
    size_t entry = section->sh_type == SHT_RELA ? sizeof(Elf64_Rela) : sizeof(Elf64_Rel);
    if (section->sh_info >= k.section_count)
        return;
    const char *name = after(section_name(section->sh_info), ".text.");
    struct code *code = name ? code_named(name) : NULL;
    if (!code)
        return;
    for (uint64_t at = 0; at + entry <= section->sh_size; at += entry) {
        uint64_t offset;
        memcpy(&offset, k.file + section->sh_offset + at, 8);
        offset -= offset % INSTRUCTION_BYTES;
        for (uint64_t i = offset; i < offset + INSTRUCTION_BYTES && i < code->text_bytes; i++)
            ((uint8_t *)(uintptr_t)code->fixed)[i] = 0;
    }
}

static const char *read_rest(void)
{
    bool counts_reserved = false;
    for (unsigned i = 0; i < k.section_count; i++)
        counts_reserved |= strcmp(section_name(i), ".nv.shared.reserved.0") == 0;
    for (unsigned i = 0; i < k.section_count; i++) {
        const Elf64_Shdr *section = &k.section[i];
        const char *full = section_name(i), *name;
        const char *problem = NULL;
        struct code *code;
        if (strcmp(full, ".nv.info") == 0 && has_bytes(section)) {
            problem = read_attributes(section, NULL);
        } else if ((name = after(full, ".nv.info.")) && has_bytes(section) &&
                   (code = code_named(name))) {
            problem = read_attributes(section, code);
        } else if ((name = after(full, ".nv.shared.")) && (code = code_named(name))) {
            uint64_t bytes = section->sh_size;
            if (counts_reserved)
                bytes = bytes > SHARED_RESERVED ? bytes - SHARED_RESERVED : 0;
            code->shared_bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
        } else if ((name = after(full, ".nv.constant0.")) && (code = code_named(name))) {
            code->bank0_bytes = section->sh_size <= 65536 ? (uint32_t)section->sh_size : UINT32_MAX;
        } else if ((name = after(full, ".nv.constant")) && *name >= '1' && *name <= '7' &&
                   has_bytes(section) && section->sh_size <= 65536) {
            for (unsigned c = 0; c < k.code_count; c++) {
                if (name[1] == '.' && strcmp(name + 2, k.code[c].name) != 0)
                    continue;
                k.code[c].bank[*name - '0'].bytes = (uint32_t)section->sh_size;
                k.code[c].bank[*name - '0'].data =
                    is_relocated(i) ? NULL : k.file + section->sh_offset;
            }
        } else if ((section->sh_type == SHT_RELA || section->sh_type == SHT_REL) &&
                   has_bytes(section)) {
            mark_relocations(section);
        }
        if (problem)
            return problem;
    }
    return NULL;
}

/* FNV-1a, 64 bits, over the bytes that no relocation changes. */
static uint64_t hash_of(const struct code *code, const uint8_t *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < code->text_bytes; i++)
        if (code->fixed[i])
            hash = (hash ^ text[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static const char *check_codes(void)
{
    for (unsigned i = 0; i < k.code_count; i++) {
        struct code *code = &k.code[i];
        if (code->bank0_bytes > 65536 || code->args_offset > code->bank0_bytes ||
            code->args_bytes > code->bank0_bytes - code->args_offset)
            return "has a kernel whose parameters lie outside constant bank 0";
        if (code->args_bytes != code->args_struct_bytes ||
            code->args_bytes > sizeof(((struct sm_run *)0)->args))
            return "has a kernel with other parameters than gpu/kernels: it is older than the "
                   "source";
        code->hash = hash_of(code, code->text);
    }
    return NULL;
}

int kernels_load(struct model *m, const char *path)
{
    struct stat st;
    char file[4096];
    kernels_unload();
    snprintf(file, sizeof(file), "%s", path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        snprintf(file, sizeof(file), "%s/sm_%u.cubin", path, m->chip->sm);
    const char *problem = read_file(file);
    if (!problem)
        problem = read_sections(m->chip);
    if (!problem)
        problem = find_texts();
    if (!problem)
        problem = read_rest();
    if (!problem)
        problem = check_codes();
    if (problem) {
        note(m, "%s %s", file, problem);
        kernels_unload();
        return -EINVAL;
    }
    trace(m, "kernels: %u of %s", k.code_count, file);
    return 0;
}

/* ---- finding --------------------------------------------------------------------------------------------------- */

static bool starts_like(const struct code *code, const uint8_t *text, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes && i < code->text_bytes; i++)
        if (code->fixed[i] && code->text[i] != text[i])
            return false;
    return true;
}

const struct code *kernels_find(struct model *m, const struct space *space, uint64_t gva,
                                struct violation *why)
{
    static uint8_t text[TEXT_BYTES_MAX];
    *why = (struct violation){.fault = MMU_OK};
    for (unsigned i = 0; i < CACHE_ENTRIES; i++)
        if (k.cache[i].code && k.cache[i].gva == gva &&
            k.cache[i].space.directory == space->directory &&
            k.cache[i].space.aperture == space->aperture)
            return k.cache[i].code;
    const uint32_t begin = 128; /* what the GPU fetches first */
    if (!gpu_read(m, TLB_GPC, space, gva, text, begin, why))
        return NULL;
    for (unsigned i = 0; i < k.code_count; i++) {
        const struct code *code = &k.code[i];
        if (!starts_like(code, text, begin))
            continue;
        if (!gpu_read(m, TLB_GPC, space, gva, text, code->text_bytes, why))
            continue; /* shorter code may still be what lies there */
        if (hash_of(code, text) != code->hash || !starts_like(code, text, code->text_bytes))
            continue;
        *why = (struct violation){.fault = MMU_OK};
        unsigned slot = k.cache_next++ % CACHE_ENTRIES;
        k.cache[slot].space = *space;
        k.cache[slot].gva = gva;
        k.cache[slot].code = code;
        return code;
    }
    return NULL;
}
