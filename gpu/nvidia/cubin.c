/*
 * gpu/nvidia/cubin.c: cubin loader. See cubin.h.
 *
 * A cubin is ELF64, little-endian, machine 190 (CUDA). Sections that matter: .text.NAME (a kernel's code), .nv.info (registers,
 * stack) and .nv.info.NAME (parameters, barriers, limits), .nv.shared.NAME (static shared memory, no bytes in the file),
 * .nv.constant0.NAME (its size is bank 0's), other .nv.constantN (data that the code reads), .nv.global(.init), and .rela.*
 * with relocations.
 *
 * Sources: System V ABI (ELF64); NVIDIA's CUDA Binary Utilities for section names; attribute and relocation numbers as
 * ptxas 13.0 writes them, matched against its -v output (2026-11-20). ELF ABI version 7 holds the architecture in e_flags
 * bits 7..0, version 8 (CUDA 12.8 on) in bits 15..8.
 */
#include "gpu/nvidia/cubin.h"

#include <string.h>

#include "kernel/kernel.h"

struct elf_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_offset, section_offset;
    uint32_t flags;
    uint16_t header_bytes, program_entry_bytes, program_count, section_entry_bytes, section_count,
        section_names;
};
static_assert(sizeof(struct elf_header) == 64, "ELF64");
struct elf_section {
    uint32_t name, type;
    uint64_t flags, address, offset, size_bytes;
    uint32_t link, info;
    uint64_t align, entry_bytes;
};
static_assert(sizeof(struct elf_section) == 64, "ELF64");
struct elf_symbol {
    uint32_t name;
    uint8_t info, other;
    uint16_t section;
    uint64_t value, size_bytes;
};
static_assert(sizeof(struct elf_symbol) == 24, "ELF64");
struct elf_rela {
    uint64_t offset, info;
    int64_t addend;
};
static_assert(sizeof(struct elf_rela) == 24, "ELF64");

#define EM_CUDA                 190
#define SHT_NULL                0
#define SHT_PROGBITS            1
#define SHT_SYMTAB              2
#define SHT_RELA                4
#define SHT_NOBITS              8
#define SHF_ALLOC               2

/* .nv.info records: format, attribute, then a 16-bit value or the length of what follows */
#define EIFMT_NVAL              1
#define EIFMT_BVAL              2
#define EIFMT_HVAL              3
#define EIFMT_SVAL              4
#define EIATTR_MAX_THREADS      0x05
#define EIATTR_PARAM_CBANK      0x0a
#define EIATTR_REQNTID          0x10
#define EIATTR_FRAME_SIZE       0x11
#define EIATTR_MIN_STACK_SIZE   0x12
#define EIATTR_CBANK_PARAM_SIZE 0x19
#define EIATTR_REGCOUNT         0x2f
#define EIATTR_NUM_BARRIERS     0x4c

#define R_CUDA_32               0x01
#define R_CUDA_64               0x02
#define R_CUDA_ABS32_LO_32      0x38 /* into the upper half of an instruction's first word */
#define R_CUDA_ABS32_HI_32      0x39

#define IMAGE_BYTES_MAX         (UINT64_C(256) << 20)
#define SECTION_ALIGN_MIN       128 /* what the GPU fetches instructions in */

static int bad(struct cubin *cubin, const char *problem)
{
    cubin->problem = problem;
    return -ENOEXEC;
}

static struct elf_header header_of(const struct cubin *cubin)
{
    struct elf_header header;
    memcpy(&header, cubin->bytes, sizeof(header));
    return header;
}

/* index is below section_count, which cubin_open() has checked to lie inside the file. */
static struct elf_section section_at(const struct cubin *cubin, unsigned index)
{
    struct elf_section section;
    memcpy(&section, cubin->bytes + header_of(cubin).section_offset + index * sizeof(section),
           sizeof(section));
    return section;
}

static bool is_inside(const struct cubin *cubin, uint64_t offset, uint64_t size_bytes)
{
    return offset <= cubin->size_bytes && size_bytes <= cubin->size_bytes - offset;
}

/* Does it have bytes in the file? Then check_sections() has seen to it that they lie inside. */
static bool has_bytes(const struct elf_section *section)
{
    return section->type != SHT_NULL && section->type != SHT_NOBITS;
}

/* A string of a string table, or NULL when it is not inside it with its NUL. */
static const char *string_at(const struct cubin *cubin, const struct elf_section *table,
                             uint32_t offset)
{
    if (offset >= table->size_bytes)
        return NULL;
    const char *string = (const char *)cubin->bytes + table->offset + offset;
    return memchr(string, 0, table->size_bytes - offset) ? string : NULL;
}

static const char *section_name(const struct cubin *cubin, const struct elf_section *section)
{
    struct elf_section names = section_at(cubin, header_of(cubin).section_names);
    return string_at(cubin, &names, section->name); /* checked once for all in check_sections() */
}

static const char *after(const char *string, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(string, prefix, length) == 0 ? string + length : NULL;
}

static struct cubin_kernel *kernel_named(struct cubin *cubin, const char *name)
{
    for (unsigned i = 0; i < cubin->kernel_count; i++)
        if (strcmp(cubin->kernels[i].name, name) == 0)
            return &cubin->kernels[i];
    return NULL;
}

static int check_sections(struct cubin *cubin, const struct elf_header *header)
{
    if (header->section_entry_bytes != sizeof(struct elf_section) || header->section_count == 0 ||
        header->section_count > CUBIN_SECTIONS_MAX ||
        !is_inside(cubin, header->section_offset,
                   header->section_count * sizeof(struct elf_section)))
        return bad(cubin, "the section table lies outside the file");
    if (header->section_names >= header->section_count)
        return bad(cubin, "no section names");
    struct elf_section names = section_at(cubin, header->section_names);
    if (!has_bytes(&names))
        return bad(cubin, "no section names");
    for (unsigned i = 0; i < header->section_count; i++) {
        struct elf_section section = section_at(cubin, i);
        if (has_bytes(&section) && !is_inside(cubin, section.offset, section.size_bytes))
            return bad(cubin, "a section lies outside the file");
        if (section.size_bytes > IMAGE_BYTES_MAX)
            return bad(cubin, "a section of absurd size");
        if (section.align > PAGE_SIZE || (section.align & (section.align - 1)) != 0)
            return bad(cubin, "a section with an impossible alignment");
    }
    for (unsigned i = 0; i < header->section_count; i++) {
        struct elf_section section = section_at(cubin, i);
        if (section_name(cubin, &section) == NULL)
            return bad(cubin, "a section without a name");
    }
    return 0;
}

/* Does the GPU's image hold this section? Bank 0 is made anew for each launch, shared memory exists only while running. */
static bool is_in_image(const char *name, const struct elf_section *section)
{
    return (section->flags & SHF_ALLOC) &&
           (section->type == SHT_PROGBITS || section->type == SHT_NOBITS) &&
           !after(name, ".nv.constant0.") && !after(name, ".nv.shared.");
}

/* Where each section lies in the image; the same walk every time, so nothing needs to be remembered. UINT64_MAX: not in it. */
static uint64_t image_offset(const struct cubin *cubin, unsigned wanted, uint64_t *total)
{
    uint64_t at = 0, result = UINT64_MAX;
    unsigned count = header_of(cubin).section_count;
    for (unsigned i = 0; i < count; i++) {
        struct elf_section section = section_at(cubin, i);
        if (!is_in_image(section_name(cubin, &section), &section))
            continue;
        at = align_up(at, section.align > SECTION_ALIGN_MIN ? section.align : SECTION_ALIGN_MIN);
        if (i == wanted)
            result = at;
        at += section.size_bytes; /* at most 2048 sections of 256 MiB: no overflow */
    }
    if (total)
        *total = at;
    return result;
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

struct attribute {
    uint8_t format, number;
    uint16_t value; /* or how many bytes of data there are */
    const uint8_t *data;
};

/* The record at *offset, advancing it. 1, 0 at the end, or -1 when a record reaches past it. */
static int attribute_next(const struct cubin *cubin, const struct elf_section *section,
                          uint64_t *offset, struct attribute *out)
{
    if (*offset == section->size_bytes)
        return 0;
    if (section->size_bytes - *offset < 4)
        return -1;
    const uint8_t *at = cubin->bytes + section->offset + *offset;
    *out = (struct attribute){
        .format = at[0], .number = at[1], .value = (uint16_t)(at[2] | at[3] << 8), .data = at + 4};
    *offset += 4;
    if (out->format == EIFMT_SVAL) {
        if (section->size_bytes - *offset < out->value)
            return -1;
        *offset += out->value;
    } else if (out->format < EIFMT_NVAL || out->format > EIFMT_SVAL) {
        return -1;
    }
    return 1;
}

static uint32_t word(const struct attribute *attribute, unsigned index)
{
    uint32_t value = 0;
    if (attribute->format == EIFMT_SVAL && attribute->value >= (index + 1) * 4)
        memcpy(&value, attribute->data + index * 4, 4);
    return value;
}

/* .nv.info.NAME: one kernel */
static int read_kernel_info(struct cubin *cubin, const struct elf_section *section,
                            struct cubin_kernel *kernel)
{
    struct attribute attribute;
    uint64_t offset = 0;
    int more;
    while ((more = attribute_next(cubin, section, &offset, &attribute)) > 0) {
        switch (attribute.number) {
        case EIATTR_PARAM_CBANK: /* symbol, then offset and size */
            kernel->args_offset = word(&attribute, 1) & 0xffff;
            kernel->args_bytes = word(&attribute, 1) >> 16;
            break;
        case EIATTR_MAX_THREADS:
        case EIATTR_REQNTID: {
            uint64_t threads = (uint64_t)word(&attribute, 0) * word(&attribute, 1);
            threads = threads <= 1024 ? threads * word(&attribute, 2) : 1025;
            if (threads == 0 || threads > 1024)
                return bad(cubin, "a kernel with an impossible number of threads");
            kernel->threads_max = (uint32_t)threads;
            break;
        }
        case EIATTR_NUM_BARRIERS:
            kernel->barrier_count = attribute.value & 0xff;
            break;
        default:
            break; /* for debuggers, linkers and drivers with other needs */
        }
    }
    return more < 0 ? bad(cubin, "a broken attribute record") : 0;
}

/* .nv.info: attributes that name their function by symbol */
static int read_global_info(struct cubin *cubin, const struct elf_section *section,
                            const struct elf_section *symbols, const struct elf_section *strings)
{
    struct attribute attribute;
    uint64_t offset = 0;
    int more;
    while ((more = attribute_next(cubin, section, &offset, &attribute)) > 0) {
        if (attribute.number != EIATTR_REGCOUNT && attribute.number != EIATTR_MIN_STACK_SIZE)
            continue;
        uint64_t index = word(&attribute, 0);
        if (attribute.value < 8 || index >= symbols->size_bytes / sizeof(struct elf_symbol))
            return bad(cubin, "an attribute of a symbol that is not there");
        struct elf_symbol symbol;
        memcpy(&symbol, cubin->bytes + symbols->offset + index * sizeof(symbol), sizeof(symbol));
        const char *name = string_at(cubin, strings, symbol.name);
        struct cubin_kernel *kernel = name ? kernel_named(cubin, name) : NULL;
        if (!kernel)
            continue; /* a device function: its needs are counted in its callers' */
        if (attribute.number == EIATTR_REGCOUNT)
            kernel->register_count = word(&attribute, 1);
        else
            kernel->stack_bytes = word(&attribute, 1);
    }
    return more < 0 ? bad(cubin, "a broken attribute record") : 0;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

static int find_kernels(struct cubin *cubin, unsigned section_count)
{
    for (unsigned i = 0; i < section_count; i++) {
        struct elf_section section = section_at(cubin, i);
        const char *name = after(section_name(cubin, &section), ".text.");
        if (!name || section.type != SHT_PROGBITS)
            continue;
        if (*name == 0 || kernel_named(cubin, name))
            return bad(cubin, "a kernel without a name, or two of the same name");
        if (cubin->kernel_count == cubin->kernel_capacity) {
            cubin->problem = "more kernels than there is room for";
            return -ENOSPC;
        }
        cubin->kernels[cubin->kernel_count++] =
            (struct cubin_kernel){.name = name,
                                  .text_offset = image_offset(cubin, i, NULL),
                                  .text_bytes = section.size_bytes};
    }
    return cubin->kernel_count > 0 ? 0 : bad(cubin, "no kernels in it");
}

/* Sections that belong to one kernel, or to all of them */
static int read_sections(struct cubin *cubin, unsigned section_count)
{
    bool counts_reserved =
        false; /* CUDA 12.8 on: .nv.shared.NAME includes the 1 KiB that the system reserves */
    struct elf_section symbols = {0}, strings = {0};
    for (unsigned i = 0; i < section_count; i++) {
        struct elf_section section = section_at(cubin, i);
        if (strcmp(section_name(cubin, &section), ".nv.shared.reserved.0") == 0)
            counts_reserved = true;
        if (section.type == SHT_SYMTAB) {
            if (section.link >= section_count)
                return bad(cubin, "a symbol table without names");
            symbols = section;
            strings = section_at(cubin, section.link);
            if (!has_bytes(&strings))
                return bad(cubin, "a symbol table without names");
        }
    }
    for (unsigned i = 0; i < section_count; i++) {
        struct elf_section section = section_at(cubin, i);
        const char *full = section_name(cubin, &section), *name;
        struct cubin_kernel *kernel;
        int error = 0;
        if (strcmp(full, ".nv.info") == 0 && has_bytes(&section)) {
            error = read_global_info(cubin, &section, &symbols, &strings);
        } else if ((name = after(full, ".nv.info.")) && has_bytes(&section) &&
                   (kernel = kernel_named(cubin, name))) {
            error = read_kernel_info(cubin, &section, kernel);
        } else if ((name = after(full, ".nv.shared.")) && (kernel = kernel_named(cubin, name))) {
            uint64_t bytes = section.size_bytes;
            if (counts_reserved)
                bytes = bytes > 1024 ? bytes - 1024 : 0;
            if (bytes > 1024 * 1024)
                return bad(cubin, "a kernel with more shared memory than any device has");
            kernel->shared_bytes = (uint32_t)bytes;
        } else if ((name = after(full, ".nv.constant0.")) && (kernel = kernel_named(cubin, name))) {
            if (section.size_bytes > 64 * 1024)
                return bad(cubin, "constant bank 0 is larger than 64 KiB");
            kernel->bank0_bytes = (uint32_t)section.size_bytes;
        } else if ((name = after(full, ".nv.constant")) && *name >= '1' && *name <= '7' &&
                   is_in_image(full, &section)) {
            unsigned bank = (unsigned)(*name - '0');
            if (section.size_bytes > 64 * 1024)
                return bad(cubin, "a constant bank is larger than 64 KiB");
            for (unsigned k = 0; k < cubin->kernel_count; k++) {
                if (name[1] == '.' && strcmp(name + 2, cubin->kernels[k].name) != 0)
                    continue; /* a bank of one kernel only */
                cubin->kernels[k].constant_offset[bank] = (uint32_t)image_offset(cubin, i, NULL);
                cubin->kernels[k].constant_bytes[bank] = (uint32_t)section.size_bytes;
            }
        }
        if (error)
            return error;
    }
    return 0;
}

static int check_kernel(struct cubin *cubin, const struct cubin_kernel *kernel)
{
    if (kernel->text_bytes == 0 || kernel->text_offset == UINT64_MAX)
        return bad(cubin, "a kernel without code");
    if (kernel->register_count > 255 || kernel->barrier_count > 16)
        return bad(cubin, "a kernel with more registers or barriers than there are");
    if (kernel->stack_bytes > 512 * 1024)
        return bad(cubin, "a kernel with more local memory than a thread can have");
    if ((uint64_t)kernel->args_offset + kernel->args_bytes > kernel->bank0_bytes)
        return bad(cubin, "a kernel's parameters lie outside constant bank 0");
    return 0;
}

int cubin_open(struct cubin *cubin, const void *bytes, size_t size_bytes,
               struct cubin_kernel *kernels, unsigned capacity)
{
    *cubin = (struct cubin){
        .bytes = bytes, .size_bytes = size_bytes, .kernels = kernels, .kernel_capacity = capacity};
    if (size_bytes < sizeof(struct elf_header) || memcmp(bytes, "\177ELF", 4) != 0)
        return bad(cubin, "not an ELF file");
    struct elf_header header = header_of(cubin);
    if (header.ident[4] != 2 || header.ident[5] != 1 || header.machine != EM_CUDA)
        return bad(cubin, "an ELF file, but not for a CUDA device");
    cubin->sm = header.ident[8] >= 8 ? header.flags >> 8 & 0xff : header.flags & 0xff;

    int error = check_sections(cubin, &header);
    if (!error)
        error = find_kernels(cubin, header.section_count);
    if (!error)
        error = read_sections(cubin, header.section_count);
    for (unsigned i = 0; !error && i < cubin->kernel_count; i++)
        error = check_kernel(cubin, &cubin->kernels[i]);
    if (error)
        return error;
    image_offset(cubin, 0, &cubin->image_bytes);
    if (cubin->image_bytes > IMAGE_BYTES_MAX)
        return bad(cubin, "an image of absurd size");
    return 0;
}

/* ---- the image ------------------------------------------------------------------------------------------------- */

static int relocate(struct cubin *cubin, const struct elf_section *rela, unsigned section_count,
                    uint8_t *image, uint64_t gva)
{
    if (rela->info >= section_count || rela->link >= section_count)
        return bad(cubin, "relocations of a section that is not there");
    struct elf_section target = section_at(cubin, rela->info),
                       symbols = section_at(cubin, rela->link);
    uint64_t base = image_offset(cubin, rela->info, NULL);
    if (base == UINT64_MAX)
        return 0; /* of debug information and the like */
    if (symbols.type != SHT_SYMTAB)
        return bad(cubin, "relocations without symbols");

    for (uint64_t at = 0; at + sizeof(struct elf_rela) <= rela->size_bytes;
         at += sizeof(struct elf_rela)) {
        struct elf_rela r;
        memcpy(&r, cubin->bytes + rela->offset + at, sizeof(r));
        uint64_t index = r.info >> 32;
        uint32_t type = (uint32_t)r.info;
        if (index >= symbols.size_bytes / sizeof(struct elf_symbol))
            return bad(cubin, "a relocation against a symbol that is not there");
        struct elf_symbol symbol;
        memcpy(&symbol, cubin->bytes + symbols.offset + index * sizeof(symbol), sizeof(symbol));
        uint64_t symbol_base =
            symbol.section < section_count ? image_offset(cubin, symbol.section, NULL) : UINT64_MAX;
        if (symbol_base == UINT64_MAX)
            return bad(cubin, "a relocation against something outside the image");
        uint64_t value = gva + symbol_base + symbol.value + (uint64_t)r.addend;

        unsigned skip = type == R_CUDA_ABS32_LO_32 || type == R_CUDA_ABS32_HI_32 ? 4 : 0;
        unsigned width = type == R_CUDA_64 ? 8 : 4;
        if (r.offset > target.size_bytes || skip + width > target.size_bytes - r.offset)
            return bad(cubin, "a relocation outside its section");
        uint8_t *where = image + base + r.offset + skip;
        uint32_t half = (uint32_t)(type == R_CUDA_ABS32_HI_32 ? value >> 32 : value);
        switch (type) {
        case R_CUDA_64:
            memcpy(where, &value, 8);
            break;
        case R_CUDA_32:
        case R_CUDA_ABS32_LO_32:
        case R_CUDA_ABS32_HI_32:
            memcpy(where, &half, 4);
            break;
        default:
            return bad(cubin, "a relocation of a kind that this loader does not know");
        }
    }
    return 0;
}

int cubin_image(struct cubin *cubin, void *image, uint64_t gva)
{
    memset(image, 0, cubin->image_bytes);
    unsigned section_count = header_of(cubin).section_count;
    for (unsigned i = 0; i < section_count; i++) {
        struct elf_section section = section_at(cubin, i);
        uint64_t offset = image_offset(cubin, i, NULL);
        if (offset != UINT64_MAX && section.type == SHT_PROGBITS)
            memcpy((uint8_t *)image + offset, cubin->bytes + section.offset, section.size_bytes);
    }
    for (unsigned i = 0; i < section_count; i++) {
        struct elf_section section = section_at(cubin, i);
        int error =
            section.type == SHT_RELA ? relocate(cubin, &section, section_count, image, gva) : 0;
        if (error)
            return error;
    }
    return 0;
}
