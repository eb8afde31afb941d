/*
 * tests/fuzz/fuzz_gpt.c: partition tables. The input is the disk, after one byte of flags: bit 0 makes the checksums
 * right, so that the fuzzer gets past them; bit 1 takes 4096-byte blocks.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/volume/gpt.h"
#include "runtime/volume/text.h"
#include "tests/host/disk_file.h"
#include "tests/host/host.h"

static uint32_t crc32_of(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Right checksums for the header at `at`, as far as what it says lies within the disk. */
static void seal(uint8_t *disk, size_t size, size_t at, size_t block)
{
    uint8_t *header = disk + at;
    uint64_t entry_lba;
    uint32_t header_bytes, count, entry_bytes, crc;
    memcpy(&header_bytes, header + 12, 4);
    memcpy(&entry_lba, header + 72, 8);
    memcpy(&count, header + 80, 4);
    memcpy(&entry_bytes, header + 84, 4);
    uint64_t entries = (uint64_t)count * entry_bytes;
    if (entry_lba < size / block && entries <= size - entry_lba * block && entries < 65536) {
        crc = crc32_of(disk + entry_lba * block, entries);
        memcpy(header + 88, &crc, 4);
    }
    if (header_bytes >= 92 && header_bytes <= block) {
        memset(header + 16, 0, 4);
        crc = crc32_of(header, header_bytes);
        memcpy(header + 16, &crc, 4);
    }
}

static void check(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_log_level(LOG_ERROR);
    if (size < 1)
        return 0;
    size_t block = data[0] & 2 ? 4096 : 512, blocks = (size - 1 + block - 1) / block;
    uint8_t *memory = calloc(blocks + 1, block);
    memcpy(memory, data + 1, size - 1);
    if ((data[0] & 1) && blocks >= 2) {
        seal(memory, blocks * block, block, block);
        seal(memory, blocks * block, (blocks - 1) * block, block);
    }
    struct disk *disk =
        blocks > 0 ? disk_memory_create("mem0", (uint32_t)block, memory, blocks * block) : NULL;
    if (disk) {
        struct gpt_table table;
        check(gpt_read(disk, &table) == 0);
        check(utf8_is_valid(table.problem, strlen(table.problem)));
        check((table.state == GPT_PRIMARY || table.state == GPT_BACKUP) || table.count == 0);
        for (unsigned i = 0; i < table.count; i++) {
            const struct gpt_partition *partition = &table.partitions[i];
            check(utf8_is_valid(partition->name, strlen(partition->name)));
            check(strlen(partition->problem) < sizeof(partition->problem));
            if (partition->problem[0])
                continue;
            check(partition->first_block <= partition->last_block &&
                  partition->last_block < blocks && partition->first_block >= 2);
            for (unsigned j = 0; j < i && i < 200; j++)
                check(table.partitions[j].problem[0] ||
                      table.partitions[j].last_block < partition->first_block ||
                      table.partitions[j].first_block > partition->last_block);
        }
        gpt_free(&table);
        disk_memory_destroy(disk);
    }
    free(memory);
    check(host_page_live_bytes() == 0);
    return 0;
}
