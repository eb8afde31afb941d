/* tests/unit/test_disk.c: the list of disks, the checks of disk_submit(), and reads and writes of any byte range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/host/disk_file.h"
#include "tests/host/host.h"

#define BLOCKS       5000
#define REASON_BYTES 160

static uint8_t memory[BLOCKS * 512];
static uint32_t random_state = 1;

static uint32_t random_u32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static struct disk *memory_disk(uint32_t block_bytes)
{
    for (size_t i = 0; i < sizeof(memory); i++)
        memory[i] = (uint8_t)(i * 7 + i / 512);
    struct disk *disk =
        disk_memory_create("mem0", block_bytes, memory, sizeof(memory) / block_bytes * block_bytes);
    assert_non_null(disk);
    return disk;
}

static void test_list_refuses_nonsense(void **state)
{
    (void)state;
    struct disk *disk = memory_disk(512);
    assert_int_equal(disk_add(disk), 0);
    assert_int_equal(disk_add(disk), -EEXIST);
    assert_ptr_equal(disk_get(0), disk);
    assert_null(disk_get(1));

    struct disk bad = *disk;
    static const char *const names[] = {"", "a:b", "a/b", "a b", "\xc3\xa4"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(bad.name, sizeof(bad.name), "%s", names[i]);
        assert_int_equal(disk_add(&bad), -EINVAL);
    }
    memset(bad.name, 'x', sizeof(bad.name)); /* no NUL */
    assert_int_equal(disk_add(&bad), -EINVAL);
    strcpy(bad.name, "x");
    static const uint32_t sizes[] = {0, 1, 256, 513, 1000, 131072};
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        bad.block_bytes = sizes[i];
        assert_int_equal(disk_add(&bad), -EINVAL);
    }
    bad.block_bytes = 4096;
    bad.block_count = UINT64_MAX / 4096;
    assert_int_equal(disk_add(&bad), -EINVAL);
    bad.block_count = 0;
    assert_int_equal(disk_add(&bad), -EINVAL);
    disk_remove(&bad); /* not in the list: nothing happens */
    disk_remove(disk);
    assert_null(disk_get(0));
    disk_memory_destroy(disk);
}

static void test_list_is_bounded(void **state)
{
    (void)state;
    static struct disk many[65];
    struct disk *disk = memory_disk(512);
    for (unsigned i = 0; i < 65; i++) {
        many[i] = *disk;
        snprintf(many[i].name, sizeof(many[i].name), "d%u", i);
        assert_int_equal(disk_add(&many[i]), i < 64 ? 0 : -ENOSPC);
    }
    for (unsigned i = 0; i < 64; i++)
        disk_remove(&many[63 - i]);
    assert_null(disk_get(0));
    disk_memory_destroy(disk);
}

static void test_submit_checks(void **state)
{
    (void)state;
    struct disk *disk = memory_disk(4096);
    uint64_t size = disk->block_count * 4096;
    uint8_t *page = page_alloc(8192, 0);
    struct dma_segment segments[2] = {{dma_addr(page), 4096}, {dma_addr(page + 4096), 4096}};
    static const struct {
        uint64_t offset, size, first;
        unsigned segment_count;
        int result;
    } cases[] = {
        {0, 8192, 4096, 2, 0},
        {4096, 4096, 4096, 1, 0},
        {0, 0, 4096, 0, -EINVAL},
        {512, 4096, 4096, 1, -EINVAL},
        {0, 4095, 4095, 1, -EINVAL},
        {0, 8192, 4096, 1, -EINVAL},       /* segments too short */
        {0, 4096, 4096, 2, -EINVAL},       /* too long */
        {0, 4096, 0, 2, -EINVAL},          /* an empty one */
        {0, 8192, UINT64_MAX, 2, -EINVAL}, /* a sum that wraps */
        {UINT64_MAX - 4095, 4096, 4096, 1, -ERANGE},
        {4096, UINT64_MAX - 4095, 4096, 1, -ERANGE},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        segments[0].size_bytes = cases[i].first;
        struct disk_io io = {.disk = disk,
                             .offset = cases[i].offset,
                             .size_bytes = cases[i].size,
                             .segments = segments,
                             .segment_count = cases[i].segment_count};
        assert_int_equal(disk_submit(&io), cases[i].result);
        assert_int_equal(io.done, cases[i].result == 0);
        assert_int_equal(io.reason[0] != 0, cases[i].result != 0);
    }
    struct disk_io io = {.disk = disk,
                         .offset = size - 4096,
                         .size_bytes = 4096,
                         .segments = segments,
                         .segment_count = 1};
    segments[0].size_bytes = 4096;
    assert_int_equal(disk_submit(&io), 0);
    io.offset = size;
    assert_int_equal(disk_submit(&io), -ERANGE);
    disk->is_read_only = true;
    io.offset = 0;
    io.is_write = true;
    assert_int_equal(disk_submit(&io), -EROFS);
    page_free(page, 8192);
    disk_memory_destroy(disk);
}

/* Every combination of edges near block and bounce-buffer boundaries, then random ranges, against a plain copy. */
static void check_ranges(uint32_t block)
{
    struct disk *disk = memory_disk(block);
    uint64_t size = disk->block_count * block;
    static uint8_t model[sizeof(memory)], buffer[sizeof(memory)];
    memcpy(model, memory, sizeof(memory));
    uint64_t edges[] = {0,       1,       block - 1, block,        block + 1, 2 * block,
                        1048575, 1048576, 1048577,   size - block, size - 1,  size};
    char reason[REASON_BYTES];
    for (unsigned round = 0; round < 144 + 300; round++) {
        uint64_t from, to;
        if (round < 144) {
            from = edges[round / 12];
            to = edges[round % 12];
        } else {
            from = random_u32() % (size + 1);
            to = from + random_u32() % (round % 3 == 0 ? 3 * block : size - from + 1);
        }
        if (to < from || to > size)
            continue;
        memset(buffer, 0, to - from);
        assert_int_equal(disk_read(disk, from, buffer, to - from, reason, sizeof(reason)), 0);
        assert_memory_equal(buffer, model + from, to - from);

        for (uint64_t i = from; i < to; i++)
            model[i] = (uint8_t)random_u32();
        assert_int_equal(disk_write(disk, from, model + from, to - from, NULL, 0), 0);
        assert_memory_equal(memory, model, size);
    }
    assert_int_equal(host_page_live_bytes(), 0);
    disk_memory_destroy(disk);
}

static void test_any_byte_range(void **state)
{
    (void)state;
    check_ranges(512);
    check_ranges(4096);
}

static void test_range_past_the_end(void **state)
{
    (void)state;
    struct disk *disk = memory_disk(512);
    uint8_t byte;
    char reason[REASON_BYTES];
    assert_int_equal(disk_read(disk, sizeof(memory), &byte, 1, reason, sizeof(reason)), -ERANGE);
    assert_non_null(strstr(reason, "past the end"));
    assert_int_equal(disk_read(disk, UINT64_MAX, &byte, 2, reason, sizeof(reason)), -ERANGE);
    assert_int_equal(disk_read(disk, 1, &byte, UINT64_MAX, reason, sizeof(reason)), -ERANGE);
    assert_int_equal(disk_write(disk, sizeof(memory) - 1, &byte, 2, reason, sizeof(reason)),
                     -ERANGE);
    assert_int_equal(disk_read(disk, sizeof(memory), &byte, 0, NULL, 0), 0);
    disk_memory_destroy(disk);
}

static void test_errors_reach_the_caller(void **state)
{
    (void)state;
    struct disk *disk = memory_disk(512);
    static uint8_t buffer[3 << 20];
    char reason[REASON_BYTES] = "";
    disk_memory_fail_at(disk, 1500000, 1);
    assert_int_equal(disk_read(disk, 100, buffer, 2000000, reason, sizeof(reason)), -EIO);
    assert_string_equal(reason, "mem0: reading at byte 1048576 failed: read error on purpose");
    assert_int_equal(disk_read(disk, 100, buffer, 2000000, reason, sizeof(reason)), 0);

    disk_memory_fail_at(disk, 600, 1); /* the block that is read before it is written in part */
    assert_int_equal(disk_write(disk, 700, "x", 1, reason, sizeof(reason)), -EIO);
    assert_non_null(strstr(reason, "reading at byte 512"));
    disk->is_read_only = true;
    assert_int_equal(disk_write(disk, 512, buffer, 512, reason, sizeof(reason)), -EROFS);
    assert_non_null(strstr(reason, "write protected"));
    assert_int_equal(host_page_live_bytes(), 0);
    disk_memory_destroy(disk);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct disk *disk = memory_disk(512);
    static uint8_t buffer[2000000];
    char reason[REASON_BYTES] = "";
    host_page_alloc_fail_after(0);
    assert_int_equal(disk_read(disk, 0, buffer, sizeof(buffer), reason, sizeof(reason)), -ENOMEM);
    assert_non_null(strstr(reason, "no memory"));
    assert_int_equal(disk_memory_transfers(disk), 0);
    host_page_alloc_fail_after(1);
    assert_int_equal(disk_write(disk, 1, buffer, sizeof(buffer), reason, sizeof(reason)), 0);
    host_page_alloc_fail_after(-1);
    assert_int_equal(host_page_live_bytes(), 0);
    disk_memory_destroy(disk);
}

static void test_host_files(void **state)
{
    (void)state;
    char path[] = "/tmp/ingot-test-disk-XXXXXX", uri[64], reason[REASON_BYTES] = "";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, "0123456789", 10), 10);
    close(descriptor);
    host_files_start();

    struct file *file;
    snprintf(uri, sizeof(uri), "host:%s", path);
    assert_int_equal(file_open(uri, &file, reason, sizeof(reason)), 0);
    assert_int_equal(file->info.size_bytes, 10);
    assert_string_equal(file->info.name, path + 5);
    assert_int_equal(file->extent_count, 1);
    assert_int_equal(file->extents[0].size_bytes, 512);
    char text[16] = "";
    assert_int_equal(file_read(file, 3, text, 7, reason, sizeof(reason)), 0);
    assert_string_equal(text, "3456789");
    assert_int_equal(file_read(file, 3, text, 8, reason, sizeof(reason)), -ERANGE);
    uint8_t block[512];
    assert_int_equal(disk_read(file->volume->disk, 0, block, 512, reason, sizeof(reason)), 0);
    assert_int_equal(block[9], '9');
    assert_int_equal(block[10], 0);
    assert_int_equal(truncate(path, 4), 0); /* cut short while it is open */
    assert_int_equal(file_read(file, 0, text, 10, reason, sizeof(reason)), -EIO);
    file_close(file);
    file_close(NULL);

    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(file_open(uri, &file, reason, sizeof(reason)),
                     0); /* an empty file has no extents */
    assert_int_equal(file->extent_count, 0);
    assert_int_equal(file_read(file, 0, text, 0, reason, sizeof(reason)), 0);
    assert_int_equal(file_read(file, 0, text, 1, reason, sizeof(reason)), -ERANGE);
    file_close(file);
    unlink(path);
    assert_int_equal(file_open(uri, &file, reason, sizeof(reason)), -ENOENT);
    assert_non_null(strstr(reason, "No such file"));
    assert_int_equal(file_open("host:/tmp", &file, reason, sizeof(reason)), -EISDIR);
    assert_int_equal(file_open("host:/dev/null", &file, reason, sizeof(reason)), -EINVAL);
    assert_int_equal(file_open("host:/tmp/../etc/passwd", &file, reason, sizeof(reason)), -EINVAL);
    assert_int_equal(file_open("host:etc/passwd", &file, reason, sizeof(reason)), -EINVAL);
    assert_int_equal(host_page_live_bytes(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_refuses_nonsense),
        cmocka_unit_test(test_list_is_bounded),
        cmocka_unit_test(test_submit_checks),
        cmocka_unit_test(test_any_byte_range),
        cmocka_unit_test(test_range_past_the_end),
        cmocka_unit_test(test_errors_reach_the_caller),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_host_files),
    };
    return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
