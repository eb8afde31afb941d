/*
 * tests/unit/test_volume_memory.c: each allocation on the way from a disk to a parsed weight file fails once, in turn:
 * scanning, listing, opening, and both formats' headers. Every failure is an error in words with nothing leaked, and the
 * next try works. The sources are compiled in here, with an allocator that can be told to fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/disk_file.h"
#include "tests/host/host.h"

static int allocations_left = -1; /* before one fails; negative: none does */
static bool has_failed;

static bool fails_now(void)
{
    bool is_out = allocations_left == 0;
    if (allocations_left >= 0)
        allocations_left--; /* only one fails */
    has_failed |= is_out;
    return is_out;
}

static void *failing_malloc(size_t size)
{
    return fails_now() ? NULL : malloc(size);
}

static void *failing_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : calloc(count, size);
}

static void *failing_realloc(void *old, size_t size)
{
    return fails_now() ? NULL : realloc(old, size);
}

#define malloc(size)        failing_malloc(size)
#define calloc(count, size) failing_calloc(count, size)
#define realloc(old, size)  failing_realloc(old, size)
#include "runtime/volume/fat32.c"
#include "runtime/volume/fat32_dir.c"
#include "runtime/volume/file.c"
#include "runtime/volume/gpt.c"
#include "runtime/volume/volume.c"
#undef malloc
#undef calloc
#undef realloc

/* The parsers have static functions of the same names, so the second one's get others. */
#define malloc(size)        failing_malloc(size)
#define calloc(count, size) failing_calloc(count, size)
#define realloc(old, size)  failing_realloc(old, size)
#define identify_other      weights_identify_other
#include "runtime/weights/json_text.c"
#include "runtime/weights/weights.c"
#include "runtime/weights/gguf.c"
#define type_find      safetensors_type_find
#define metadata_parse safetensors_metadata_parse
#define tensor_parse   safetensors_tensor_parse
#define header_parse   safetensors_header_parse
#include "runtime/weights/safetensors.c"
#undef malloc
#undef calloc
#undef realloc

/* ---- inputs ---------------------------------------------------------------------------------------------------- */

/* The fuzzers' seeds, written by tests/fuzz/make_seeds.py; tests run in the repository's root. */
static size_t seed_read(const char *name, uint8_t *out, size_t capacity)
{
    char path[100];
    snprintf(path, sizeof(path), "tests/fuzz/seeds/%s", name);
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    size_t size = fread(out, 1, capacity, stream);
    assert_true(size > 0 && size < capacity);
    fclose(stream);
    return size;
}

static uint8_t input[65536];
static char reason[200];

/* Run step() with the first, second ... allocation failing, until it gets by without one. Returns how many there were. */
static int fail_each(void (*step)(void))
{
    for (int count = 0;; count++) {
        allocations_left = count;
        has_failed = false;
        step();
        allocations_left = -1;
        assert_int_equal(host_page_live_bytes(), 0);
        if (!has_failed)
            return count;
    }
}

/* What a call made of it: success without a failed allocation, else -ENOMEM and words that say so. */
static void check_outcome(int error)
{
    if (error == 0 && has_failed)
        fail_msg("an allocation failed and nobody noticed");
    if (error != 0 && (error != -ENOMEM || !has_failed || !strstr(reason, "no memory")))
        fail_msg("error %d: %s", error, reason);
}

/* ---- volumes --------------------------------------------------------------------------------------------------- */

static void scan_step(void)
{
    int count = volume_scan();
    /* A volume that could not be listed is in the log; one that could not be mounted says why. */
    assert_true(count == 1 || (count == 0 && has_failed));
    if (count == 1 && !volume_get(0)->fat) {
        assert_true(has_failed);
        assert_non_null(strstr(volume_get(0)->problem, "no memory"));
        return;
    }
    if (count == 1) { /* out of memory is no damage */
        assert_string_equal(volume_get(0)->problem, "");
    }
}

static int count_entries(void *arg, const struct file_info *info)
{
    ++*(int *)arg;
    return 0;
}

static void list_step(void)
{
    int entries = 0;
    int error = directory_list("mem0p1:/dir", count_entries, &entries, reason, sizeof(reason));
    check_outcome(error);
    assert_true(error != 0 || entries == 1);
}

static void open_step(void)
{
    struct file *file;
    int error = file_open("mem0p1:/A long file name.bin", &file, reason, sizeof(reason));
    check_outcome(error);
    if (error == 0) {
        assert_int_equal(file->extent_count, 2);
        file_close(file);
    }
}

static void test_volumes(void **state)
{
    (void)state;
    size_t size = seed_read("fat32/partition", input, sizeof(input));
    struct disk *disk = disk_memory_create("mem0", 512, input, size);
    assert_int_equal(disk_add(disk), 0);
    assert_true(fail_each(scan_step) >= 6);
    assert_int_equal(volume_scan(), 1);
    assert_non_null(volume_get(0)->fat);
    assert_true(fail_each(list_step) >= 3);
    assert_true(fail_each(open_step) >= 5);
    disk_remove(disk);
    assert_int_equal(volume_scan(), 0);
    disk_memory_destroy(disk);
}

/* ---- weights --------------------------------------------------------------------------------------------------- */

static const uint8_t *head;
static size_t head_bytes;

static int read_head(void *arg, uint64_t offset, void *out, uint64_t size_bytes)
{
    (void)arg;
    memcpy(out, head + offset, size_bytes);
    return 0;
}

static void parse_step(void)
{
    struct weights *weights;
    int error = weights_parse(read_head, NULL, head_bytes, &weights, reason, sizeof(reason));
    check_outcome(error);
    weights_free(weights);
}

static void test_gguf(void **state)
{
    (void)state;
    size_t size = seed_read("gguf/v3", input, sizeof(input));
    head = input + 3; /* behind what the fuzzer takes for itself */
    head_bytes = size - 3;
    assert_true(fail_each(parse_step) >= 8);
}

static void test_safetensors(void **state)
{
    (void)state;
    size_t size = seed_read("safetensors/whole", input, sizeof(input));
    head = input + 1;
    head_bytes = size - 1;
    assert_true(fail_each(parse_step) >= 5);
}

int main(void)
{
    host_log_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_safetensors),
    };
    return cmocka_run_group_tests_name("volume_memory", tests, NULL, NULL);
}
