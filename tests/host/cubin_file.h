/*
 * tests/host/cubin_file.h: writes a cubin as ptxas 13.0 lays one out, small, for tests of the loader.
 *
 * One kernel "k": 256 bytes of code, registers, stack, barriers and 24 bytes of parameters as given, static shared memory, a
 * bank 4 that holds the address of the 16-byte global "table", and 32 bytes of zeroed globals.
 */
#ifndef INGOT_TESTS_CUBIN_FILE_H
#define INGOT_TESTS_CUBIN_FILE_H

#include <stddef.h>
#include <stdint.h>

struct cubin_file {
    uint32_t sm;
    uint8_t abi_version; /* 7: the architecture lies in e_flags 7..0; 8: in 15..8 */
    uint32_t register_count, stack_bytes, barrier_count, shared_bytes;
};

enum cubin_file_section {
    CUBIN_FILE_NULL,
    CUBIN_FILE_NAMES,
    CUBIN_FILE_STRINGS,
    CUBIN_FILE_SYMBOLS,
    CUBIN_FILE_INFO,
    CUBIN_FILE_KERNEL_INFO,
    CUBIN_FILE_CONSTANT4,
    CUBIN_FILE_RELA,
    CUBIN_FILE_TEXT,
    CUBIN_FILE_GLOBAL_INIT,
    CUBIN_FILE_GLOBAL,
    CUBIN_FILE_SHARED,
    CUBIN_FILE_SHARED_RESERVED,
    CUBIN_FILE_CONSTANT0,
    CUBIN_FILE_SECTION_COUNT,
};

#define CUBIN_FILE_ARGS_OFFSET 0x210
#define CUBIN_FILE_ARGS_BYTES  24
#define CUBIN_FILE_MAX         4096

/* Returns the size; at most CUBIN_FILE_MAX. */
size_t cubin_file_write(const struct cubin_file *file, uint8_t *out);
/* Where the header of this section lies in the file; fields as in ELF64: offset at 24, size at 32, link 40, info 44. */
size_t cubin_file_section(const uint8_t *file, enum cubin_file_section section);

#endif
