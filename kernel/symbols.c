/*
 * kernel/symbols.c: names for addresses, from the table that images/elf2pe.py put behind the image's last
 * section, and the checks the compiler and the C library call when something is wrong with us.
 */
#include "kernel/image.h"
#include "kernel/interrupt.h"

/* volatile, so that the compiler does not believe the zeros: elf2pe.py writes over them. */
const volatile struct image_facts image_facts __attribute__((used)) = {.magic = IMAGE_FACTS_MAGIC};

const char *symbol_find(uint64_t address, uint64_t *offset)
{
    uint64_t rva = address - (uint64_t)image_base;
    uint32_t bytes = image_facts.symbols_bytes;
    if (rva >= image_facts.size_bytes || bytes < sizeof(struct image_symbols))
        return NULL;
    const struct image_symbols *symbols = (const void *)(image_base + image_facts.symbols_offset);
    if (symbols->count == 0 ||
        symbols->count > (bytes - sizeof(*symbols)) / sizeof(symbols->entries[0]))
        return NULL;
    uint32_t low = 0,
             high =
                 symbols->count; /* the last entry that starts at or below rva is in [low, high) */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (symbols->entries[middle].offset <= rva)
            low = middle;
        else
            high = middle;
    }
    uint64_t into = rva - symbols->entries[low].offset;
    if (rva < symbols->entries[low].offset || into >= symbols->entries[low].size_bytes ||
        symbols->entries[low].name_offset >= bytes)
        return NULL;
    *offset = into;
    return (const char *)symbols + symbols->entries[low].name_offset;
}

_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void)
{
    uint64_t offset = 0, caller = (uint64_t)__builtin_return_address(0);
    const char *name = symbol_find(caller - 1, &offset);
    panic("stack smashing detected: a local array was overrun in %s",
          name != NULL ? name : "an unknown function");
}

_Noreturn void __assert_func(const char *file, int line, const char *function,
                             const char *expression);
_Noreturn void __assert_func(const char *file, int line, const char *function,
                             const char *expression)
{
    panic("assertion failed: %s, in %s (%s:%d)", expression, function != NULL ? function : "?",
          file, line);
}
