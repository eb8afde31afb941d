/*
 * kernel/acpi.c: finds the firmware's tables (ACPI Specification 6.5, chapter 5.2). Tables only: no AML is interpreted.
 *
 *   RSDP (5.2.5) -> XSDT (5.2.8), or RSDT (5.2.7) where there is none -> tables, each with a header (5.2.6)
 *
 * Firmware is input like any other: every length is bounded before it is used and every checksum is looked at, of a
 * table when it is asked for. What does not check out is logged and treated as absent.
 */
#include <string.h>

#include "kernel/machine.h"

#define RSDP_BYTES_V1   20
#define RSDP_BYTES_V2   36
#define HEADER_BYTES    36
#define TABLE_BYTES_MAX (UINT32_C(16) << 20) /* the largest DSDTs seen have about 1 MiB */
#define ENTRY_MAX       512                  /* tables of one machine; seen: up to about 60 */

static const uint8_t *root;  /* XSDT or RSDT, checked; NULL: no ACPI */
static unsigned entry_bytes; /* 8 in an XSDT, 4 in an RSDT */
static unsigned entry_count;

static uint64_t read_le(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, from, bytes);
    return value;
}

static bool sums_to_zero(const uint8_t *bytes, size_t size_bytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < size_bytes; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum == 0;
}

/* The whole table at pa if its signature is this one and it checks out, else NULL. */
static const uint8_t *table_map(uint64_t pa, const char *signature)
{
    const uint8_t *header = firmware_map(pa, HEADER_BYTES);
    if (header == NULL || memcmp(header, signature, 4) != 0)
        return NULL;
    uint32_t length = (uint32_t)read_le(header + 4, 4);
    if (length < HEADER_BYTES || length > TABLE_BYTES_MAX) {
        log_warn("ACPI: table %.4s at %#llx says it has %u bytes; ignored", signature,
                 (unsigned long long)pa, length);
        return NULL;
    }
    const uint8_t *table = firmware_map(pa, length);
    if (table == NULL) {
        log_warn("ACPI: table %.4s at %#llx, %u bytes, cannot be mapped; ignored", signature,
                 (unsigned long long)pa, length);
        return NULL;
    }
    if (!sums_to_zero(table, length)) {
        log_warn("ACPI: table %.4s at %#llx has a wrong checksum; ignored", signature,
                 (unsigned long long)pa);
        return NULL;
    }
    return table;
}

/* Where the RSDP says the XSDT and the RSDT are; false when it is none. */
static bool rsdp_read(uint64_t rsdp_pa, uint64_t *xsdt_pa, uint64_t *rsdt_pa)
{
    const uint8_t *rsdp = rsdp_pa == 0 ? NULL : firmware_map(rsdp_pa, RSDP_BYTES_V1);
    if (rsdp == NULL || memcmp(rsdp, "RSD PTR ", 8) != 0 || !sums_to_zero(rsdp, RSDP_BYTES_V1))
        return false;
    *rsdt_pa = read_le(rsdp + 16, 4);
    *xsdt_pa = 0;
    if (rsdp[15] < 2) /* revision */
        return true;
    rsdp = firmware_map(rsdp_pa, RSDP_BYTES_V2);
    if (rsdp == NULL)
        return true;
    uint32_t length = (uint32_t)read_le(rsdp + 20, 4);
    if (length >= RSDP_BYTES_V2 && length <= PAGE_SIZE &&
        (rsdp = firmware_map(rsdp_pa, length)) != NULL && sums_to_zero(rsdp, length))
        *xsdt_pa = read_le(rsdp + 24, 8);
    else
        log_warn("ACPI: the RSDP's second part is damaged; using the RSDT");
    return true;
}

void acpi_start(uint64_t rsdp_pa)
{
    uint64_t xsdt_pa, rsdt_pa;
    root = NULL;
    entry_count = 0;
    if (!rsdp_read(rsdp_pa, &xsdt_pa, &rsdt_pa)) {
        log_warn("ACPI: no valid RSDP at %#llx", (unsigned long long)rsdp_pa);
        return;
    }
    entry_bytes = 8;
    if (xsdt_pa != 0)
        root = table_map(xsdt_pa, "XSDT");
    if (root == NULL && rsdt_pa != 0) {
        entry_bytes = 4;
        root = table_map(rsdt_pa, "RSDT");
    }
    if (root == NULL) {
        log_warn("ACPI: neither an XSDT at %#llx nor an RSDT at %#llx", (unsigned long long)xsdt_pa,
                 (unsigned long long)rsdt_pa);
        return;
    }
    entry_count = ((uint32_t)read_le(root + 4, 4) - HEADER_BYTES) / entry_bytes;
    if (entry_count > ENTRY_MAX) {
        log_warn("ACPI: %u tables; only the first %u count", entry_count, ENTRY_MAX);
        entry_count = ENTRY_MAX;
    }
}

const void *acpi_table_find(const char *signature, unsigned index)
{
    for (unsigned i = 0; i < entry_count; i++) {
        uint64_t pa = read_le(root + HEADER_BYTES + (size_t)i * entry_bytes, entry_bytes);
        const void *table = pa == 0 ? NULL : table_map(pa, signature);
        if (table != NULL && index-- == 0)
            return table;
    }
    return NULL;
}
