/* tests/unit/test_gpt.c: partition tables written field by field from the UEFI specification, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/volume/gpt.h"
#include "tests/host/disk_file.h"
#include "tests/host/host.h"

#define BLOCKS      2048
#define ENTRIES     128
#define ENTRY_BYTES 128

static uint8_t memory[BLOCKS * 4096];

static void put(uint8_t *at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

/* Bit by bit, unlike the code under test. */
static uint32_t crc32_slow(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

struct image {
    struct disk *disk;
    uint32_t block;
    uint64_t blocks, entry_blocks;
    uint8_t *primary, *backup, *primary_entries, *backup_entries;
};

/* Recompute both sums of one header. */
static void seal(uint8_t *header, const uint8_t *entries)
{
    put(header + 88,
        crc32_slow(entries,
                   (size_t)(header[80] | header[81] << 8) * (header[84] | header[85] << 8)),
        4);
    put(header + 16, 0, 4);
    put(header + 16, crc32_slow(header, header[12] | header[13] << 8), 4);
}

static void header_write(const struct image *image, uint8_t *header, uint64_t own, uint64_t other,
                         uint64_t entries)
{
    memcpy(header, "EFI PART", 8);
    put(header + 8, 0x00010000, 4);
    put(header + 12, 92, 4);
    put(header + 24, own, 8);
    put(header + 32, other, 8);
    put(header + 40, 2 + image->entry_blocks, 8);
    put(header + 48, image->blocks - 2 - image->entry_blocks, 8);
    put(header + 72, entries, 8);
    put(header + 80, ENTRIES, 4);
    put(header + 84, ENTRY_BYTES, 4);
}

static void entry_write(uint8_t *entries, unsigned number, uint64_t first, uint64_t last,
                        const char *name)
{
    uint8_t *entry = entries + (number - 1) * ENTRY_BYTES;
    memset(entry, 0, ENTRY_BYTES);
    memset(entry, 0xa2, 16);
    memset(entry + 16, (int)number, 16);
    put(entry + 32, first, 8);
    put(entry + 40, last, 8);
    for (unsigned i = 0; name[i]; i++)
        put(entry + 56 + 2 * i, (uint8_t)name[i], 2);
}

static void image_seal(struct image *image)
{
    memcpy(image->backup_entries, image->primary_entries, ENTRIES * ENTRY_BYTES);
    seal(image->primary, image->primary_entries);
    seal(image->backup, image->backup_entries);
}

/* Three partitions: 1, 2 and 5. */
static struct image image_make(uint32_t block)
{
    memset(memory, 0, sizeof(memory));
    struct image image = {
        .block = block, .blocks = BLOCKS, .entry_blocks = ENTRIES * ENTRY_BYTES / block};
    image.disk = disk_memory_create("mem0", block, memory, (uint64_t)BLOCKS * block);
    assert_non_null(image.disk);
    memory[446 + 4] = 0xee;
    memory[510] = 0x55;
    memory[511] = 0xaa;
    image.primary = memory + block;
    image.primary_entries = memory + 2 * block;
    image.backup = memory + (uint64_t)(BLOCKS - 1) * block;
    image.backup_entries = image.backup - image.entry_blocks * block;
    header_write(&image, image.primary, 1, BLOCKS - 1, 2);
    header_write(&image, image.backup, BLOCKS - 1, 1, BLOCKS - 1 - image.entry_blocks);
    entry_write(image.primary_entries, 1, 100, 199, "first");
    entry_write(image.primary_entries, 2, 200, 200, "one block");
    entry_write(image.primary_entries, 5, 1000, BLOCKS - 2 - image.entry_blocks, "last");
    image_seal(&image);
    return image;
}

/* Read, expect a state and a word of the problem ("" for none), and leave the table for more checks. */
static struct gpt_table table_expect(const struct image *image, enum gpt_state state,
                                     const char *word)
{
    struct gpt_table table;
    assert_int_equal(gpt_read(image->disk, &table), 0);
    if (table.state != state || !strstr(table.problem, word) || (!word[0] && table.problem[0]))
        fail_msg("state %d, wanted %d; problem \"%s\", wanted \"%s\"", table.state, state,
                 table.problem, word);
    return table;
}

static void expect(struct image *image, enum gpt_state state, const char *word)
{
    struct gpt_table table = table_expect(image, state, word);
    gpt_free(&table);
    disk_memory_destroy(image->disk);
}

static void test_good_tables(void **state)
{
    (void)state;
    static const uint32_t blocks[] = {512, 1024, 2048, 4096};
    for (unsigned i = 0; i < ARRAY_COUNT(blocks); i++) {
        struct image image = image_make(blocks[i]);
        struct gpt_table table = table_expect(&image, GPT_PRIMARY, "");
        assert_int_equal(table.count, 3);
        assert_int_equal(table.partitions[0].number, 1);
        assert_int_equal(table.partitions[0].first_block, 100);
        assert_int_equal(table.partitions[0].last_block, 199);
        assert_string_equal(table.partitions[0].name, "first");
        assert_int_equal(table.partitions[1].partition_guid[7], 2);
        assert_int_equal(table.partitions[2].number, 5);
        for (unsigned p = 0; p < 3; p++)
            assert_string_equal(table.partitions[p].problem, "");
        gpt_free(&table);
        disk_memory_destroy(image.disk);
    }
}

/* Each field of the primary header, wrong: the backup takes over and the problem says what was wrong. */
static void test_damaged_primary(void **state)
{
    (void)state;
    static const struct {
        unsigned offset, size;
        uint64_t value;
        bool is_sealed;
        const char *word;
    } cases[] = {
        {0, 1, 'X', true, "no header"},
        {8, 4, 0x00020000, true, "revision"},
        {12, 4, 91, false, "header size"},
        {12, 4, 513, false, "header size"},
        {12, 4, UINT32_MAX, false, "header size"},
        {16, 4, 0, false, "header checksum"},
        {56, 1, 1, false, "header checksum"},
        {24, 8, 2, true, "says it is block 2"},
        {40, 8, 5000, true, "usable blocks 5000 to 2014"},
        {40, 8, 1, true, "usable blocks 1 to"},
        {40, 8, 0, true, "usable blocks 0 to"},
        {72, 8, 0, true, "outside their place"},
        {72, 8, 1, true, "outside their place"},
        {72, 8, BLOCKS, true, "outside their place"},
        {72, 8, BLOCKS - 1, true, "outside their place"},
        {72, 8, UINT64_MAX, true, "outside their place"},
        {72, 8, 40, true, "outside their place"}, /* inside the usable blocks */
        {80, 4, 0, false, "header checksum"},
        {88, 4, 0, false, "header checksum"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct image image = image_make(512);
        put(image.primary + cases[i].offset, cases[i].value, cases[i].size);
        if (cases[i].is_sealed) {
            put(image.primary + 16, 0, 4);
            put(image.primary + 16, crc32_slow(image.primary, 92), 4);
        }
        struct gpt_table table = table_expect(&image, GPT_BACKUP, cases[i].word);
        assert_non_null(strstr(table.problem, "backup is in use"));
        assert_int_equal(table.count, 3);
        gpt_free(&table);
        disk_memory_destroy(image.disk);
    }
}

static void test_entry_sizes_and_counts(void **state)
{
    (void)state;
    static const struct {
        uint32_t count, size;
    } cases[] = {{0, 128},
                 {128, 0},
                 {128, 64},
                 {128, 192},
                 {128, 129},
                 {UINT32_MAX, 128},
                 {UINT32_MAX, UINT32_MAX},
                 {1, 1u << 31},
                 {8193, 128},
                 {2, 1u << 20}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct image image = image_make(512);
        put(image.primary + 80, cases[i].count, 4);
        put(image.primary + 84, cases[i].size, 4);
        put(image.primary + 16, 0, 4);
        put(image.primary + 16, crc32_slow(image.primary, 92), 4);
        expect(&image, GPT_BACKUP, "entries of");
    }
    /* Larger entries than today's are fine. */
    struct image image = image_make(512);
    uint8_t entries[ENTRIES * ENTRY_BYTES] = {0};
    entry_write(entries, 1, 100, 199, "wide");
    entry_write(entries, 3, 300, 399, "wide too"); /* the second entry of 256 bytes */
    memcpy(image.primary_entries, entries, sizeof(entries));
    put(image.primary + 80, 64, 4);
    put(image.primary + 84, 256, 4);
    seal(image.primary, image.primary_entries);
    struct gpt_table table = table_expect(&image, GPT_PRIMARY, "");
    assert_int_equal(table.count, 2);
    assert_int_equal(table.partitions[1].number, 2);
    assert_string_equal(table.partitions[1].name, "wide too");
    gpt_free(&table);
    disk_memory_destroy(image.disk);
}

static void test_damaged_entries(void **state)
{
    (void)state;
    struct image image = image_make(512);
    image.primary_entries[40]++;
    expect(&image, GPT_BACKUP, "checksum of the entries");
    image = image_make(512);
    image.primary_entries[40]++;
    image.backup_entries[40]++;
    expect(&image, GPT_DAMAGED, "backup: wrong checksum of the entries");
}

static void test_both_damaged(void **state)
{
    (void)state;
    struct image image = image_make(512);
    image.primary[60] ^= 1;
    image.backup[60] ^= 1;
    expect(&image, GPT_DAMAGED, "primary: wrong header checksum; backup: wrong header checksum");

    /* A wiped table behind a protective MBR is damage too; without one there is no table. */
    image = image_make(512);
    memset(image.primary, 0, 512);
    memset(image.backup, 0, 512);
    expect(&image, GPT_DAMAGED, "primary: no header; backup: no header");
    image = image_make(512);
    memset(memory, 0, 1024);
    memset(image.backup, 0, 512);
    expect(&image, GPT_ABSENT, "");
}

static void test_unreadable_blocks(void **state)
{
    (void)state;
    struct image image = image_make(512);
    disk_memory_fail_at(image.disk, 512, 1);
    expect(&image, GPT_BACKUP, "read error on purpose");
    image = image_make(512);
    disk_memory_fail_at(image.disk, 1024, 1);
    expect(&image, GPT_BACKUP, "read error");
    image = image_make(512);
    disk_memory_fail_at(image.disk, 0, 1);
    struct gpt_table table;
    assert_int_equal(gpt_read(image.disk, &table), -EIO);
    assert_non_null(strstr(table.problem, "read error"));
    gpt_free(&table);
    disk_memory_destroy(image.disk);
}

static void test_master_boot_record(void **state)
{
    (void)state;
    /* Repartitioned by a tool that knows no GPT: what the GPT says is stale. */
    struct image image = image_make(512);
    memory[446 + 4] = 0x0c;
    expect(&image, GPT_DAMAGED, "not protective");
    /* The same, where the tool's partition overwrote the primary: then nobody claims a GPT. */
    image = image_make(512);
    memory[446 + 4] = 0x0c;
    memset(image.primary, 0, 512);
    expect(&image, GPT_ABSENT, "MBR partition table");
    /* A missing MBR is mended by the checksums of the GPT; a hybrid one has a protective partition. */
    image = image_make(512);
    memset(memory, 0, 512);
    expect(&image, GPT_PRIMARY, "");
    image = image_make(512);
    memory[446 + 16 + 4] = 0x0c;
    expect(&image, GPT_PRIMARY, "");
    /* A leftover backup behind an empty first block does not count. */
    image = image_make(512);
    memset(memory, 0, 1024);
    expect(&image, GPT_ABSENT, "");
}

static void expect_problem(struct image *image, unsigned index, const char *word)
{
    image_seal(image);
    struct gpt_table table = table_expect(image, GPT_PRIMARY, "");
    if (!strstr(table.partitions[index].problem, word))
        fail_msg("problem \"%s\", wanted \"%s\"", table.partitions[index].problem, word);
    gpt_free(&table);
    disk_memory_destroy(image->disk);
}

static void test_bad_entries_spoil_themselves_only(void **state)
{
    (void)state;
    struct image image = image_make(512);
    entry_write(image.primary_entries, 2, 150, 160, "inside the first");
    image_seal(&image);
    struct gpt_table table = table_expect(&image, GPT_PRIMARY, "");
    assert_non_null(strstr(table.partitions[0].problem, "overlaps partition 2"));
    assert_non_null(strstr(table.partitions[1].problem, "overlaps partition 1"));
    assert_string_equal(table.partitions[2].problem, "");
    gpt_free(&table);
    disk_memory_destroy(image.disk);

    static const struct {
        uint64_t first, last;
        const char *word;
    } cases[] = {
        {199, 199, "overlaps partition 1"},
        {99, 100, "overlaps partition 1"},
        {300, 299, "starts at block 300 but ends at 299"},
        {UINT64_MAX, 0, "starts at block"},
        {300, BLOCKS, "smaller than its partition table"},
        {300, UINT64_MAX, "smaller than its partition table"},
        {33, 40, "outside the usable blocks"},
        {0, 40, "outside the usable blocks"},
        {990, BLOCKS - 1, "outside the usable blocks"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        image = image_make(512);
        entry_write(image.primary_entries, 2, cases[i].first, cases[i].last, "bad");
        expect_problem(&image, 1, cases[i].word);
    }
}

/* 128 partitions that nest in one another: all are spoilt, and finding that out takes no time. */
static void test_many_overlaps(void **state)
{
    (void)state;
    struct image image = image_make(512);
    for (unsigned i = 1; i <= ENTRIES; i++)
        entry_write(image.primary_entries, i, 100 + i, 1500 - i, "nested");
    image_seal(&image);
    struct gpt_table table = table_expect(&image, GPT_PRIMARY, "");
    assert_int_equal(table.count, ENTRIES);
    for (unsigned i = 0; i < table.count; i++)
        assert_non_null(strstr(table.partitions[i].problem, "overlaps"));
    gpt_free(&table);
    disk_memory_destroy(image.disk);
}

/* The file behind a virtual disk was cut: the primary table is whole and what lies past the end says so. */
static void test_disk_smaller_than_its_table(void **state)
{
    (void)state;
    struct image image = image_make(512);
    image.disk->block_count = 1500;
    struct gpt_table table = table_expect(&image, GPT_PRIMARY, "");
    assert_string_equal(table.partitions[0].problem, "");
    assert_string_equal(table.partitions[2].problem,
                        "ends at block 2014 but the disk has 1500 blocks: it is smaller than its "
                        "partition table says");
    gpt_free(&table);
    disk_memory_destroy(image.disk);

    image = image_make(512);
    image.disk->block_count = 3; /* too small for any table */
    expect(&image, GPT_ABSENT, "");
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        uint16_t units[6];
        const char *text;
    } cases[] = {
        {{'a', 0, 'b'}, "a"},
        {{0xe4, 0x20ac, 0xd83d, 0xde00}, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {{0xd83d, 'x'}, "\xef\xbf\xbdx"}, /* unpaired, high */
        {{0xde00, 'x'}, "\xef\xbf\xbdx"}, /* unpaired, low */
        {{0xde00, 0xd83d}, "\xef\xbf\xbd\xef\xbf\xbd"},
        {{'\n', 0x1b, 0x7f}, "???"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct image image = image_make(512);
        for (unsigned unit = 0; unit < 6; unit++)
            put(image.primary_entries + 56 + 2 * unit, cases[i].units[unit], 2);
        image_seal(&image);
        struct gpt_table table = table_expect(&image, GPT_PRIMARY, "");
        assert_string_equal(table.partitions[0].name, cases[i].text);
        gpt_free(&table);
        disk_memory_destroy(image.disk);
    }
    struct image image = image_make(512); /* 36 units, no NUL: the longest */
    memset(image.primary_entries + 56, 0xff, 72);
    image_seal(&image);
    struct gpt_table table = table_expect(&image, GPT_PRIMARY, "");
    assert_int_equal(strlen(table.partitions[0].name), 36 * 3);
    gpt_free(&table);
    disk_memory_destroy(image.disk);
}

/* sfdisk writes the table, from its own reading of the specification. */
static void test_table_of_another_tool(void **state)
{
    (void)state;
    char path[] = "/tmp/ingot-test-gpt-XXXXXX", command[256], reason[160] = "";
    assert_true(mkstemp(path) >= 0);
    snprintf(command, sizeof(command),
             "PATH=$PATH:/sbin:/usr/sbin; truncate -s 64M %s && printf 'label: gpt\\nsize=8MiB, "
             "name=\"models\"\\nsize=1MiB\\n' "
             "| sfdisk -q %s",
             path, path);
    assert_int_equal(system(command), 0);
    struct disk *disk;
    assert_int_equal(disk_file_create("img0", 512, path, &disk, reason, sizeof(reason)), 0);
    struct gpt_table table;
    assert_int_equal(gpt_read(disk, &table), 0);
    assert_int_equal(table.state, GPT_PRIMARY);
    assert_int_equal(table.count, 2);
    assert_string_equal(table.partitions[0].name, "models");
    assert_int_equal(table.partitions[0].last_block - table.partitions[0].first_block + 1, 16384);
    assert_string_equal(table.partitions[1].problem, "");
    gpt_free(&table);
    disk_file_destroy(disk);
    remove(path);
}

int main(void)
{
    host_log_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_tables),
        cmocka_unit_test(test_damaged_primary),
        cmocka_unit_test(test_entry_sizes_and_counts),
        cmocka_unit_test(test_damaged_entries),
        cmocka_unit_test(test_both_damaged),
        cmocka_unit_test(test_unreadable_blocks),
        cmocka_unit_test(test_master_boot_record),
        cmocka_unit_test(test_bad_entries_spoil_themselves_only),
        cmocka_unit_test(test_many_overlaps),
        cmocka_unit_test(test_disk_smaller_than_its_table),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_table_of_another_tool),
    };
    return cmocka_run_group_tests_name("gpt", tests, NULL, NULL);
}
