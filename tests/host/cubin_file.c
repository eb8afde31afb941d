/*
 * tests/host/cubin_file.c: see cubin_file.h.
 */
#include "tests/host/cubin_file.h"

#include <assert.h>
#include <string.h>

#define HEADER_BYTES  64
#define SECTION_BYTES 64

struct writer {
    uint8_t *out;
    size_t size;
};

static void put(struct writer *w, const void *data, size_t size)
{
    assert(w->size + size <= CUBIN_FILE_MAX);
    memcpy(w->out + w->size, data, size);
    w->size += size;
}

static void put32(struct writer *w, uint32_t value)
{
    put(w, &value, 4);
}

static void put64(struct writer *w, uint64_t value)
{
    put(w, &value, 8);
}

/* A record of .nv.info with data */
static void put_words(struct writer *w, uint8_t attribute, uint32_t a, uint32_t b)
{
    put(w, (const uint8_t[]){4, attribute, 8, 0}, 4);
    put32(w, a);
    put32(w, b);
}

static void put_symbol(struct writer *w, uint32_t name, uint16_t section, uint64_t size)
{
    put32(w, name);
    put(w, (const uint8_t[]){0x12, 0x10}, 2);
    put(w, &section, 2);
    put64(w, 0);
    put64(w, size);
}

static const struct {
    const char *name;
    uint32_t type;
    uint64_t flags, align;
    uint32_t link, info;
} sections[CUBIN_FILE_SECTION_COUNT] = {
    [CUBIN_FILE_NAMES] = {".shstrtab", 3, 0, 1, 0, 0},
    [CUBIN_FILE_STRINGS] = {".strtab", 3, 0, 1, 0, 0},
    [CUBIN_FILE_SYMBOLS] = {".symtab", 2, 0, 8, CUBIN_FILE_STRINGS, 1},
    [CUBIN_FILE_INFO] = {".nv.info", 0x70000000, 0, 4, CUBIN_FILE_SYMBOLS, 0},
    [CUBIN_FILE_KERNEL_INFO] = {".nv.info.k", 0x70000000, 0x40, 4, CUBIN_FILE_SYMBOLS,
                                CUBIN_FILE_TEXT},
    [CUBIN_FILE_CONSTANT4] = {".nv.constant4", 1, 2, 8, 0, 0},
    [CUBIN_FILE_RELA] = {".rela.nv.constant4", 4, 0x40, 8, CUBIN_FILE_SYMBOLS,
                         CUBIN_FILE_CONSTANT4},
    [CUBIN_FILE_TEXT] = {".text.k", 1, 6, 128, CUBIN_FILE_SYMBOLS, 0},
    [CUBIN_FILE_GLOBAL_INIT] = {".nv.global.init", 1, 3, 16, 0, 0},
    [CUBIN_FILE_GLOBAL] = {".nv.global", 8, 3, 16, 0, 0},
    [CUBIN_FILE_SHARED] = {".nv.shared.k", 8, 0x43, 16, 0, CUBIN_FILE_TEXT},
    [CUBIN_FILE_SHARED_RESERVED] = {".nv.shared.reserved.0", 8, 3, 1, 0, 0},
    [CUBIN_FILE_CONSTANT0] = {".nv.constant0.k", 1, 0x42, 4, 0, CUBIN_FILE_TEXT},
};

static void put_contents(struct writer *w, const struct cubin_file *file,
                         enum cubin_file_section section, uint32_t *name_at)
{
    static const uint8_t zeros[CUBIN_FILE_ARGS_OFFSET + CUBIN_FILE_ARGS_BYTES];
    switch (section) {
    case CUBIN_FILE_NAMES:
        put(w, "", 1);
        for (int i = 1; i < CUBIN_FILE_SECTION_COUNT; i++) {
            name_at[i] = (uint32_t)w->size - name_at[0];
            put(w, sections[i].name, strlen(sections[i].name) + 1);
        }
        break;
    case CUBIN_FILE_STRINGS:
        put(w, "\0k\0table", 9);
        break;
    case CUBIN_FILE_SYMBOLS:
        put(w, zeros, 24);
        put_symbol(w, 1, CUBIN_FILE_TEXT, 256);
        put_symbol(w, 3, CUBIN_FILE_GLOBAL_INIT, 16);
        break;
    case CUBIN_FILE_INFO:
        put_words(w, 0x2f, 1, file->register_count); /* EIATTR_REGCOUNT */
        put_words(w, 0x12, 1, file->stack_bytes);    /* EIATTR_MIN_STACK_SIZE */
        break;
    case CUBIN_FILE_KERNEL_INFO:
        put(w, (const uint8_t[]){2, 0x4c, (uint8_t)file->barrier_count, 0},
            4); /* EIATTR_NUM_BARRIERS */
        put(w, (const uint8_t[]){3, 0x19, CUBIN_FILE_ARGS_BYTES, 0},
            4); /* EIATTR_CBANK_PARAM_SIZE */
        put_words(w, 0x0a, 2,
                  CUBIN_FILE_ARGS_OFFSET | CUBIN_FILE_ARGS_BYTES << 16); /* EIATTR_PARAM_CBANK */
        break;
    case CUBIN_FILE_CONSTANT4:
        put(w, zeros, 8);
        break;
    case CUBIN_FILE_RELA: /* offset 0: R_CUDA_64 against symbol 2, plus 4 */
        put64(w, 0);
        put64(w, UINT64_C(2) << 32 | 2);
        put64(w, 4);
        break;
    case CUBIN_FILE_TEXT:
        for (uint32_t i = 0; i < 64; i++)
            put32(w, 0x11110000 + i);
        break;
    case CUBIN_FILE_GLOBAL_INIT:
        put(w, "0123456789abcdef", 16);
        break;
    case CUBIN_FILE_CONSTANT0:
        put(w, zeros, sizeof(zeros));
        break;
    default:
        break;
    }
}

size_t cubin_file_write(const struct cubin_file *file, uint8_t *out)
{
    struct writer w = {.out = out, .size = HEADER_BYTES};
    uint64_t offset[CUBIN_FILE_SECTION_COUNT] = {0}, size[CUBIN_FILE_SECTION_COUNT] = {0};
    uint32_t name_at[CUBIN_FILE_SECTION_COUNT] = {HEADER_BYTES};
    memset(out, 0, CUBIN_FILE_MAX);
    for (int i = 1; i < CUBIN_FILE_SECTION_COUNT; i++) {
        while (w.size % sections[i].align % 8 != 0)
            w.size++;
        offset[i] = w.size;
        if (i == CUBIN_FILE_NAMES)
            name_at[0] = (uint32_t)w.size;
        put_contents(&w, file, (enum cubin_file_section)i, name_at);
        size[i] = w.size - offset[i];
    }
    size[CUBIN_FILE_GLOBAL] = 32;
    size[CUBIN_FILE_SHARED] = 1024 + file->shared_bytes; /* with what the system reserves */
    w.size = (w.size + 7) & ~(size_t)7;
    uint64_t table = w.size;
    for (int i = 0; i < CUBIN_FILE_SECTION_COUNT; i++) {
        put32(&w, i == 0 ? 0 : name_at[i]);
        put32(&w, sections[i].type);
        put64(&w, sections[i].flags);
        put64(&w, 0);
        put64(&w, offset[i]);
        put64(&w, size[i]);
        put32(&w, sections[i].link);
        put32(&w, sections[i].info);
        put64(&w, sections[i].align);
        put64(&w, i == CUBIN_FILE_SYMBOLS || i == CUBIN_FILE_RELA ? 24 : 0);
    }
    struct writer header = {.out = out};
    uint32_t flags = file->abi_version >= 8 ? 0x6000004 | file->sm << 8 : 0x560500 | file->sm;
    put(&header, (const uint8_t[16]){0x7f, 'E', 'L', 'F', 2, 1, 1, 0x41, file->abi_version}, 16);
    put(&header, (const uint16_t[]){2, 190}, 4); /* executable, CUDA */
    put32(&header, 1);
    put64(&header, 0);
    put64(&header, 0);
    put64(&header, table);
    put32(&header, flags);
    put(&header,
        (const uint16_t[]){HEADER_BYTES, 0, 0, SECTION_BYTES, CUBIN_FILE_SECTION_COUNT,
                           CUBIN_FILE_NAMES},
        12);
    return w.size;
}

size_t cubin_file_section(const uint8_t *file, enum cubin_file_section section)
{
    uint64_t table;
    memcpy(&table, file + 40, 8);
    return (size_t)table + (size_t)section * SECTION_BYTES;
}
