/*
 * tests/fuzz/fuzz_acpi.c: the ACPI table reader on any firmware memory: the input is physical memory from address
 * 0x1000, the RSDP at its start. A copy of exact size lets AddressSanitizer see the first byte read past a mapping.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/acpi.c"
#include "tests/host/host.h"

#define BASE 0x1000

static const uint8_t *input;
static size_t input_bytes;
static void *mappings[4096];
static unsigned mapping_count;

const void *firmware_map(uint64_t pa, uint64_t size_bytes)
{
    if (pa < BASE || pa - BASE > input_bytes || size_bytes > input_bytes - (pa - BASE) ||
        mapping_count == ARRAY_COUNT(mappings))
        return NULL;
    void **copy = &mappings[mapping_count++];
    *copy = malloc(size_bytes);
    assert(*copy != NULL);
    memcpy(*copy, input + (pa - BASE), size_bytes);
    return *copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const signatures[] = {"APIC", "MCFG", "HPET", "FACP", "XSDT"};
    host_log_level(LOG_ERROR);
    input = data;
    input_bytes = size;
    acpi_start(BASE);
    for (unsigned i = 0; i < ARRAY_COUNT(signatures); i++)
        for (unsigned index = 0; index < 2; index++) {
            const uint8_t *table = acpi_table_find(signatures[i], index);
            if (table == NULL)
                continue;
            uint32_t length;
            memcpy(&length, table + 4, sizeof(length));
            volatile uint8_t last = table[length - 1]; /* all of what it says is there */
            (void)last;
        }
    while (mapping_count > 0)
        free(mappings[--mapping_count]);
    return 0;
}
