/*
 * kernel/image.h: the parts of this program in memory. The symbols come from kernel/ingot.ld, and each but
 * image_base starts on a page; image_facts is filled in by images/elf2pe.py, which puts the symbol table behind
 * the last section.
 */
#ifndef INGOT_IMAGE_H
#define INGOT_IMAGE_H

#include <stdint.h>

extern char image_base[];                      /* PE headers, read-only, up to image_text */
extern char image_text[], image_text_end[];    /* executable, read-only */
extern char image_rodata[];                    /* constants, then those that needed relocation, up to image_data */
extern char image_data[], image_data_end[];    /* data and zero-initialised data, writable; read-only from there on */
extern char image_sealed[], image_sealed_end[]; /* the part of data that machine_seal() makes read-only */

/* Initial values of _Thread_local variables and how much memory each core's copy takes. */
extern char image_tls[], image_tls_end[];      /* initialised part */
extern const uint64_t image_tls_bytes;         /* all of it, a multiple of 64 */

struct image_facts {
    uint32_t size_bytes;     /* from image_base to the end of the last page */
    uint32_t symbols_offset; /* from image_base: struct image_symbols */
    uint32_t symbols_bytes;
    uint32_t magic;          /* IMAGE_FACTS_MAGIC, how elf2pe.py knows that it has found them */
};
#define IMAGE_FACTS_MAGIC 0x46474e49u /* "INGF" */
extern const volatile struct image_facts image_facts;

/* Functions by address. entries[] is sorted by offset; name_offset counts from the start of this struct. */
struct image_symbols {
    uint32_t count;
    struct {
        uint32_t offset, size_bytes, name_offset;
    } entries[];
};

#endif
