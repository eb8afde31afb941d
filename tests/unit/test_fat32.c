/*
 * tests/unit/test_fat32.c: FAT32 volumes, whole and damaged. Small ones are written here field by field from the
 * specification; real ones come from mkfs.fat and mtools. Files are reached through paths, as everybody else reaches
 * them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/host/disk_file.h"
#include "tests/host/host.h"

/* ---- a small volume -------------------------------------------------------------------------------------------- */

#define RESERVED   8
#define TOTAL      1200 /* sectors */
#define SECTOR_MAX 4096

static uint8_t memory[(TOTAL + 100) * SECTOR_MAX];
static char reason[320];

struct image {
    struct disk *disk;
    uint32_t sector, sectors_per_cluster, fat_sectors, clusters;
    uint8_t *fat, *data;
    uint32_t next_free; /* cluster */
};

static void put(uint8_t *at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t cluster_bytes(const struct image *image)
{
    return image->sector * image->sectors_per_cluster;
}

static uint8_t *cluster_at(const struct image *image, uint32_t cluster)
{
    return image->data + (size_t)(cluster - 2) * cluster_bytes(image);
}

static void fat_set(const struct image *image, uint32_t cluster, uint32_t value)
{
    put(image->fat + 4 * (size_t)cluster, value, 4);
}

/* An empty file system over the whole disk: boot sector, two FATs, a root directory of one cluster, 2. */
static struct image image_make(uint32_t sector, uint32_t sectors_per_cluster)
{
    memset(memory, 0, sizeof(memory));
    struct image image = {.sector = sector, .sectors_per_cluster = sectors_per_cluster};
    image.fat_sectors = (TOTAL / sectors_per_cluster * 4 + sector - 1) / sector;
    uint32_t first_data = RESERVED + 2 * image.fat_sectors;
    image.clusters = (TOTAL - first_data) / sectors_per_cluster;
    image.fat = memory + RESERVED * sector;
    image.data = memory + (size_t)first_data * sector;
    image.next_free = 3;
    image.disk = disk_memory_create("mem0", 512, memory, (uint64_t)TOTAL * sector);
    assert_non_null(image.disk);

    uint8_t *boot = memory;
    memcpy(boot, "\xeb\x58\x90TESTS   ", 11);
    put(boot + 11, sector, 2);
    boot[13] = (uint8_t)sectors_per_cluster;
    put(boot + 14, RESERVED, 2);
    boot[16] = 2;
    boot[21] = 0xf8;
    put(boot + 32, TOTAL, 4);
    put(boot + 36, image.fat_sectors, 4);
    put(boot + 44, 2, 4);
    boot[66] = 0x29;
    memcpy(boot + 71, "BOOT LABEL ", 11);
    memcpy(boot + 82, "FAT32   ", 8);
    boot[510] = 0x55;
    boot[511] = 0xaa;
    fat_set(&image, 0, 0x0ffffff8);
    fat_set(&image, 1, 0x0fffffff);
    fat_set(&image, 2, 0x0fffffff);
    return image;
}

/* The first unused entry of a directory's first cluster. */
static uint8_t *dir_end(const struct image *image, uint32_t cluster)
{
    uint8_t *entry = cluster_at(image, cluster);
    while (entry[0] != 0)
        entry += 32;
    return entry;
}

static uint8_t *short_put(const struct image *image, uint32_t dir, const char name[12],
                          uint8_t attributes, uint32_t cluster, uint32_t size)
{
    uint8_t *entry = dir_end(image, dir);
    memcpy(entry, name, 11);
    entry[11] = attributes;
    put(entry + 20, cluster >> 16, 2);
    put(entry + 26, cluster, 2);
    put(entry + 28, size, 4);
    return entry;
}

static uint8_t checksum(const char *name)
{
    uint8_t sum = 0;
    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum >> 1 | sum << 7) + (uint8_t)name[i]);
    return sum;
}

/* The entries of a long name; its short entry is put behind them by the caller. Returns the first of them. */
static uint8_t *long_put(const struct image *image, uint32_t dir, const uint16_t *units,
                         unsigned count, const char name[12])
{
    uint8_t *first = dir_end(image, dir);
    unsigned parts = (count + 12) / 13;
    for (unsigned part = parts; part > 0; part--) {
        uint8_t *entry = dir_end(image, dir);
        entry[0] = (uint8_t)(part | (part == parts ? 0x40 : 0));
        entry[11] = 0x0f;
        entry[13] = checksum(name);
        for (unsigned i = 0; i < 13; i++) {
            unsigned at = (part - 1) * 13 + i;
            put(entry + (i < 5    ? 1 + 2 * i
                         : i < 11 ? 4 + 2 * i
                                  : 6 + 2 * i),
                at < count    ? units[at]
                : at == count ? 0
                              : 0xffff,
                2);
        }
    }
    return first;
}

static uint8_t *long_put_ascii(const struct image *image, uint32_t dir, const char *text,
                               const char name[12])
{
    uint16_t units[255];
    unsigned count = 0;
    for (; text[count]; count++)
        units[count] = (uint8_t)text[count];
    return long_put(image, dir, units, count, name);
}

static uint8_t content(uint32_t at)
{
    return (uint8_t)(at * 31 + at / 253);
}

/* A file over the given clusters, holding content(). */
static void file_put(struct image *image, const char name[12], const uint32_t *clusters,
                     unsigned count, uint32_t size)
{
    short_put(image, 2, name, 0, clusters[0], size);
    for (unsigned i = 0; i < count; i++) {
        fat_set(image, clusters[i], i + 1 < count ? clusters[i + 1] : 0x0fffffff);
        for (uint32_t b = 0; b < cluster_bytes(image); b++)
            cluster_at(image, clusters[i])[b] = content(i * cluster_bytes(image) + b);
    }
}

/* ---- through the door ------------------------------------------------------------------------------------------ */

static struct volume *mount(struct image *image)
{
    assert_int_equal(disk_add(image->disk), 0);
    assert_int_equal(volume_scan(), 1);
    return volume_get(0);
}

static void unmount(struct image *image)
{
    disk_remove(image->disk);
    assert_int_equal(volume_scan(), 0);
    disk_memory_destroy(image->disk);
    assert_int_equal(host_page_live_bytes(), 0);
}

static struct volume *mount_expect(struct image *image, const char *problem)
{
    struct volume *volume = mount(image);
    if ((volume->fat != NULL) != (problem[0] == 0) || !strstr(volume->problem, problem))
        fail_msg("problem \"%s\", wanted \"%s\"", volume->problem, problem);
    return volume;
}

static struct file *open_ok(const char *path)
{
    struct file *file;
    int error = file_open(path, &file, reason, sizeof(reason));
    if (error != 0)
        fail_msg("%s: error %d: %s", path, error, reason);
    return file;
}

static void open_fails(const char *path, int error, const char *word)
{
    struct file *file;
    reason[0] = 0;
    int result = file_open(path, &file, reason, sizeof(reason));
    if (result != error || !strstr(reason, word))
        fail_msg("%s: error %d, wanted %d; \"%s\", wanted \"%s\"", path, result, error, reason,
                 word);
    assert_null(file);
}

struct names {
    char text[4096];
};

static int names_add(void *arg, const struct file_info *info)
{
    struct names *names = arg;
    assert_true(strlen(names->text) + strlen(info->name) + 3 < sizeof(names->text));
    strcat(names->text, info->name);
    strcat(names->text, info->is_directory ? "/|" : "|");
    return 0;
}

static void list_expect(const char *path, const char *wanted)
{
    struct names names = {""};
    int error = directory_list(path, names_add, &names, reason, sizeof(reason));
    if (error != 0)
        fail_msg("%s: error %d: %s", path, error, reason);
    assert_string_equal(names.text, wanted);
}

static void list_fails(const char *path, int error, const char *word)
{
    struct names names = {""};
    reason[0] = 0;
    int result = directory_list(path, names_add, &names, reason, sizeof(reason));
    if (result != error || !strstr(reason, word))
        fail_msg("%s: error %d, wanted %d; \"%s\", wanted \"%s\"", path, result, error, reason,
                 word);
}

/* ---- the boot sector ------------------------------------------------------------------------------------------- */

static void test_boot_sector_fields(void **state)
{
    (void)state;
    static const struct {
        unsigned offset, size;
        uint32_t value;
        const char *problem;
    } cases[] = {
        {0, 1, 0, "no known file system"},
        {510, 2, 0, "no known file system"},
        {11, 2, 0, "no known file system"},
        {11, 2, 513, "no known file system"},
        {11, 2, 256, "sector size is 256"},
        {11, 2, 8192, "sector size is 8192"},
        {13, 1, 0, "sectors per cluster is 0"},
        {13, 1, 3, "sectors per cluster is 3"},
        {14, 2, 0, "reserved sectors is 0"},
        {16, 1, 0, "no known file system"},
        {16, 1, 255, "leave no room"},
        {17, 2, 512, "root directory entries is 512"},
        {19, 2, 100, "16-bit sector count is 100"},
        {21, 1, 0x17, "media byte is 23"},
        {22, 2, 10, "FAT12 and FAT16 are not supported"},
        {32, 4, 0, "leave no room"},
        {32, 4, 20, "leave no room"},
        {32, 4, TOTAL + 1, "it is cut short"},
        {32, 4, UINT32_MAX, "it is cut short"},
        {36, 4, 0, "sectors per FAT is 0"},
        {36, 4, UINT32_MAX, "leave no room"},
        {40, 2, 0x0082, "number of the active FAT is 2"},
        {42, 2, 1, "file system version is 1"},
        {44, 4, 0, "root directory is at cluster 0"},
        {44, 4, 1, "root directory is at cluster 1"},
        {44, 4, TOTAL, "root directory is at cluster 1200"},
        {44, 4, UINT32_MAX, "root directory is at cluster"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct image image = image_make(512, 1);
        put(memory + cases[i].offset, cases[i].value, cases[i].size);
        mount_expect(&image, cases[i].problem);
        open_fails("mem0:/x", -EUCLEAN, "mem0 cannot be read");
        unmount(&image);
    }
}

static void test_other_file_systems(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    memcpy(memory + 3, "EXFAT   ", 8);
    memset(memory + 11, 0, 53); /* exFAT wants the BPB's place to be zero */
    mount_expect(&image, "exFAT is not supported");
    unmount(&image);

    image = image_make(512, 1);
    memset(memory, 0, 512);
    mount_expect(&image, "no known file system");
    unmount(&image);
    image = image_make(512, 1);
    memset(memory, 0, 512);
    put(memory + 1080, 0xef53, 2);
    mount_expect(&image, "ext4 are not supported");
    unmount(&image);
    image = image_make(512, 1);
    disk_memory_fail_at(image.disk, 3, 2);
    mount_expect(&image, "read error on purpose");
    unmount(&image);
}

static void test_sector_and_cluster_sizes(void **state)
{
    (void)state;
    static const uint32_t sectors[] = {512, 1024, 2048, 4096};
    for (unsigned i = 0; i < ARRAY_COUNT(sectors); i++) {
        for (uint32_t per_cluster = 1; per_cluster <= 16; per_cluster *= 4) {
            struct image image = image_make(sectors[i], per_cluster);
            uint32_t clusters[] = {5, 6, 7, 4}, size = 3 * cluster_bytes(&image) + 1;
            file_put(&image, "FILE    BIN", clusters, 4, size);
            struct volume *volume = mount_expect(&image, "");
            assert_string_equal(volume->label, "BOOT LABEL");
            assert_int_equal(volume->kind, VOLUME_FAT32);
            struct file *file = open_ok("mem0:/file.bin");
            assert_int_equal(file->info.size_bytes, size);
            assert_int_equal(file->extent_count, 2);
            assert_int_equal(file->extents[0].size_bytes, 3 * cluster_bytes(&image));
            assert_int_equal(file->extents[0].disk_offset, cluster_at(&image, 5) - memory);
            assert_int_equal(file->extents[1].size_bytes,
                             512); /* the one block that its last byte needs */
            uint8_t *copy = malloc(size);
            assert_int_equal(file_read(file, 0, copy, size, reason, sizeof(reason)), 0);
            for (uint32_t b = 0; b < size; b++)
                assert_int_equal(copy[b], content(b));
            uint32_t edge = 3 * cluster_bytes(&image) - 10;
            assert_int_equal(file_read(file, edge, copy, 11, reason, sizeof(reason)), 0);
            for (uint32_t b = 0; b < 11; b++)
                assert_int_equal(copy[b], content(edge + b));
            assert_int_equal(file_read(file, size, copy, 1, reason, sizeof(reason)), -ERANGE);
            assert_int_equal(file_read(file, UINT64_MAX, copy, 1, reason, sizeof(reason)), -ERANGE);
            free(copy);
            file_close(file);
            unmount(&image);
        }
    }
}

/* A volume made for 512-byte sectors and copied to a drive of 4096-byte blocks: its clusters straddle blocks. */
static void test_clusters_off_the_blocks(void **state)
{
    (void)state;
    struct image image = image_make(512, 8);
    image.disk->block_bytes = 4096;
    image.disk->block_count = TOTAL * 512 / 4096;
    mount_expect(&image, "do not lie on the disk's blocks");
    unmount(&image);
}

static void test_active_fat(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    uint32_t clusters[] = {5, 9};
    file_put(&image, "FILE       ", clusters, 2, 1000);
    memcpy(image.fat + image.fat_sectors * 512, image.fat, image.fat_sectors * 512);
    fat_set(&image, 5, 0); /* the first FAT is stale */
    mount(&image);
    open_fails("mem0:/file", -EUCLEAN, "is free");
    unmount(&image);
    image.disk = disk_memory_create("mem0", 512, memory, TOTAL * 512);
    put(memory + 40, 0x0081, 2); /* only the second is in use */
    mount(&image);
    struct file *file = open_ok("mem0:/file");
    assert_int_equal(file->extent_count, 2);
    file_close(file);
    unmount(&image);
}

/* What cannot be read of the first FAT is read from the second, unless that one is not kept up to date. */
static void test_fat_copy(void **state)
{
    (void)state;
    for (int is_single = 0; is_single < 2; is_single++) {
        struct image image = image_make(512, 1);
        uint32_t clusters[] = {5, 9};
        file_put(&image, "FILE       ", clusters, 2, 1000);
        memcpy(image.fat + image.fat_sectors * 512, image.fat, image.fat_sectors * 512);
        put(memory + 40, is_single ? 0x0080 : 0, 2);
        mount(&image);
        disk_memory_fail_at(image.disk, (uint64_t)(image.fat - memory), 1000);
        if (is_single) {
            open_fails("mem0:/file", -EIO, "read error on purpose");
        } else {
            struct file *file = open_ok("mem0:/file");
            assert_int_equal(file->extent_count, 2);
            file_close(file);
        }
        unmount(&image);
    }
}

/* ---- chains ---------------------------------------------------------------------------------------------------- */

static void test_damaged_chains(void **state)
{
    (void)state;
    static const struct {
        uint32_t cluster, value; /* one entry of the FAT that is wrong */
        const char *word;
    } cases[] = {
        {5, 5, "it loops"}, /* onto itself */
        {8, 5, "it loops"}, /* back to the start */
        {7, 6, "it loops"},
        {6, 0, "the cluster after 6 is free"},
        {6, 0x0ffffff7, "is marked bad"},
        {6, 1, "outside the file system"},
        {6, 0x0ffffff6, "outside the file system"},
        {6, 0x0ffffff0, "outside the file system"},
        {6, 100000, "outside the file system"},
        {6, 0x0ffffff8, "chain ends after 1024"},
        {5, 0xffffffff, "chain ends after 512"}, /* the upper four bits do not count */
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct image image = image_make(512, 1);
        uint32_t clusters[] = {5, 6, 7, 8, 9};
        file_put(&image, "FILE       ", clusters, 5, 2500);
        fat_set(&image, cases[i].cluster, cases[i].value);
        mount(&image);
        open_fails("mem0:/file", -EUCLEAN, cases[i].word);
        unmount(&image);
    }
    /* The last valid cluster is fine, the next one is not; a longer chain than the size needs does no harm. */
    struct image image = image_make(512, 1);
    uint32_t clusters[] = {5, image.clusters + 1, 7};
    file_put(&image, "FILE       ", clusters, 3, 1024);
    mount(&image);
    struct file *file = open_ok("mem0:/file");
    assert_int_equal(file->extent_count, 2);
    file_close(file);
    fat_set(&image, 5, image.clusters + 2);
    open_fails("mem0:/file", -EUCLEAN, "outside the file system");
    unmount(&image);
}

static void test_damaged_file_entries(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    short_put(&image, 2, "ZERO       ", 0, 0, 100);
    short_put(&image, 2, "ONE        ", 0, 1, 100);
    short_put(&image, 2, "FAR        ", 0, image.clusters + 2, 100);
    short_put(&image, 2, "HUGE       ", 0, 5, UINT32_MAX);
    short_put(&image, 2, "EMPTY      ", 0, 0, 0);
    short_put(&image, 2, "EMPTY2     ", 0, 12345678, 0);
    short_put(&image, 2, "DIR0       ", 0x10, 0, 0);
    short_put(&image, 2, "DIRFAR     ", 0x10, 99999, 0);
    mount(&image);
    open_fails("mem0:/zero", -EUCLEAN, "starts at cluster 0");
    open_fails("mem0:/one", -EUCLEAN, "starts at cluster 1");
    open_fails("mem0:/far", -EUCLEAN, "which does not exist");
    open_fails("mem0:/huge", -EUCLEAN, "more than the whole file system");
    list_fails("mem0:/dir0", -EUCLEAN, "starts at cluster 0");
    open_fails("mem0:/dirfar/x", -EUCLEAN, "starts at cluster 99999");
    static const char *const empty[] = {"mem0:/empty", "mem0:/empty2"};
    for (unsigned i = 0; i < 2; i++) {
        struct file *file = open_ok(empty[i]);
        assert_int_equal(file->extent_count, 0);
        assert_int_equal(file_read(file, 0, reason, 0, reason, sizeof(reason)), 0);
        file_close(file);
    }
    unmount(&image);
}

/* Every other cluster, backwards: as many extents as clusters, and the right bytes. */
static void test_fragmented_file(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    uint32_t clusters[500], size = 500 * 512;
    for (unsigned i = 0; i < 500; i++)
        clusters[i] = 1100 - 2 * i;
    file_put(&image, "FILE       ", clusters, 500, size);
    mount(&image);
    struct file *file = open_ok("mem0:/FILE");
    assert_int_equal(file->extent_count, 500);
    static uint8_t copy[500 * 512];
    assert_int_equal(file_read(file, 0, copy, size, reason, sizeof(reason)), 0);
    for (uint32_t b = 0; b < size; b++)
        assert_int_equal(copy[b], content(b));
    disk_memory_fail_at(image.disk, (uint64_t)(cluster_at(&image, 500) - memory), 1);
    assert_int_equal(file_read(file, 0, copy, size, reason, sizeof(reason)), -EIO);
    assert_non_null(strstr(reason, "read error on purpose"));
    file_close(file);
    unmount(&image);
}

/* ---- directories ----------------------------------------------------------------------------------------------- */

static void test_directory_chains(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    short_put(&image, 2, "LOOP       ", 0x10, 5, 0);
    short_put(&image, 2, "CUT        ", 0x10, 6, 0);
    short_put(&image, 2, "FULL       ", 0x10, 7, 0);
    for (uint32_t dir = 5; dir <= 7; dir++)
        for (unsigned i = 0; i < 16; i++) { /* clusters without an end mark */
            char name[12];
            snprintf(name, sizeof(name), "F%u-%-8u", dir, i);
            memcpy(cluster_at(&image, dir) + 32 * i, name, 11);
        }
    fat_set(&image, 5, 5);
    fat_set(&image, 6, 0);
    fat_set(&image, 7, 0x0fffffff);
    mount(&image);
    list_fails("mem0:/loop", -EUCLEAN, "loops");
    open_fails("mem0:/loop/nothing", -EUCLEAN, "loops");
    list_fails("mem0:/cut", -EUCLEAN, "the cluster after 6 is free");
    open_fails("mem0:/cut/nothing", -EUCLEAN, "the cluster after 6 is free");
    file_close(open_ok("mem0:/cut/f6-15")); /* what stands before the damage can be read */
    open_fails("mem0:/full/nothing", -ENOENT, "there is no \"nothing\"");
    file_close(open_ok("mem0:/full/f7-0"));
    disk_memory_fail_at(image.disk, (uint64_t)(cluster_at(&image, 7) - memory), 1);
    open_fails("mem0:/full/x", -EIO, "read error on purpose");
    unmount(&image);

    image = image_make(512, 1); /* a root directory that cannot be read is the volume's problem */
    disk_memory_fail_at(image.disk, (uint64_t)(image.data - memory), 1);
    mount_expect(&image, "read error on purpose");
    unmount(&image);
}

/* A directory may go on in clusters anywhere, and a long name may straddle two of them. */
static void test_long_directory(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    static uint8_t entries[1024];
    struct image scratch = image;
    scratch.data = entries;
    for (unsigned i = 0; i < 14; i++)
        short_put(&scratch, 2, "FILLER     ", 0, 0, 0);
    long_put_ascii(&scratch, 2, "a name of forty characters, as it seems.", "ANAMEO~1   ");
    short_put(&scratch, 2, "ANAMEO~1   ", 0, 0, 0);
    short_put(&image, 2, "DIR        ", 0x10, 100, 0);
    memcpy(cluster_at(&image, 100), entries, 512);
    memcpy(cluster_at(&image, 50), entries + 512, 512);
    fat_set(&image, 100, 50);
    fat_set(&image, 50, 0x0fffffff);
    mount(&image);
    file_close(open_ok("mem0:/dir/A Name of forty characters, as it seems."));
    file_close(open_ok("mem0:/dir/anameo~1"));
    unmount(&image);
}

static void test_short_names(void **state)
{
    (void)state;
    struct image image = image_make(512, 4);
    short_put(&image, 2, "MODELS     ", 0x08, 0, 0); /* the label */
    short_put(&image, 2, "README  TXT", 0, 0, 0);
    short_put(&image, 2, "LOWER   TXT", 0, 0, 0)[12] = 0x18;
    short_put(&image, 2, "BASE    TXT", 0, 0, 0)[12] = 0x08;
    short_put(&image, 2, "\x05UBER      ", 0, 0, 0); /* E5h would mean deleted */
    short_put(&image, 2, "\xe5GONE      ", 0, 0, 0);
    short_put(&image, 2, "M\x9aLLER     ", 0, 0, 0); /* code page 437: U with diaeresis */
    short_put(&image, 2, "A/B:C\\D\x01   ", 0, 0, 0);
    short_put(&image, 2, "HIDDEN     ", 0x02 | 0x01, 0, 0);
    short_put(&image, 2, ".          ", 0x10, 2, 0);
    short_put(&image, 2, "..         ", 0x10, 0, 0);
    short_put(&image, 2, "SUB     DIR", 0x10, 2, 77);
    struct volume *volume = mount(&image);
    assert_string_equal(volume->label, "MODELS");
    list_expect(
        "mem0:/",
        "README.TXT|lower.txt|base.TXT|\xcf\x83UBER|M\xc3\x9cLLER|A_B_C_D_|HIDDEN|SUB.DIR/|");
    file_close(open_ok("mem0:/readme.txt"));
    file_close(open_ok("mem0:/Lower.TXT"));
    file_close(open_ok("mem0:/m\xc3\xbcller"));
    file_close(open_ok("mem0://./sub.dir/.//readme.TXT"));
    open_fails("mem0:/gone", -ENOENT, "there is no");
    open_fails("mem0:/models", -ENOENT, "there is no"); /* a label is no file */
    open_fails("mem0:/readme.tx", -ENOENT, "there is no");
    open_fails("mem0:/readme.txtx", -ENOENT, "there is no");
    unmount(&image);
}

static void test_long_names(void **state)
{
    (void)state;
    struct image image = image_make(4096, 2);
    uint16_t longest[255], odd[] = {'a', 0xd83d, 'b', 0xde00, 0xd83d, 0xde00};
    for (unsigned i = 0; i < 255; i++)
        longest[i] = (uint16_t)('a' + i % 26);
    long_put_ascii(&image, 2, "A long name.safetensors", "ALONGN~1SAF");
    short_put(&image, 2, "ALONGN~1SAF", 0, 0, 0);
    long_put_ascii(&image, 2, "thirteenchars", "THIRTE~1   "); /* no NUL needed */
    short_put(&image, 2, "THIRTE~1   ", 0, 0, 0);
    long_put(&image, 2, longest, 255, "LONGEST    ");
    short_put(&image, 2, "LONGEST    ", 0, 0, 0);
    long_put(&image, 2, odd, 6, "ODD        "); /* two unpaired surrogates, then a pair */
    short_put(&image, 2, "ODD        ", 0, 0, 0);
    uint16_t greek[] = {0x3b1, 0x3c3, 0x416, 0x10d};
    long_put(&image, 2, greek, 4, "GREEK      ");
    short_put(&image, 2, "GREEK      ", 0, 0, 0);
    mount(&image);

    char all[1200] = "A long name.safetensors|thirteenchars|", path[300] = "mem0:/";
    for (unsigned i = 0; i < 255; i++) {
        strncat(all, &(const char){(char)longest[i]}, 1);
        strncat(path, &(const char){(char)(longest[i] - 32)}, 1);
    }
    strcat(all, "|a\xef\xbf\xbd"
                "b\xef\xbf\xbd\xf0\x9f\x98\x80|\xce\xb1\xcf\x83\xd0\x96\xc4\x8d|");
    list_expect("mem0:/", all);
    file_close(open_ok(path));
    file_close(open_ok("mem0:/a LONG Name.SafeTensors"));
    file_close(open_ok("mem0:/alongn~1.saf"));
    file_close(open_ok("mem0:/\xce\x91\xce\xa3\xd0\xb6\xc4\x8c"));
    unmount(&image);
}

/* Parts of long names that cannot belong to the short name behind them: the short name is what counts. */
static void test_orphaned_long_names(void **state)
{
    (void)state;
    for (unsigned damage = 0; damage < 12; damage++) {
        struct image image = image_make(512, 4);
        uint8_t *first = long_put_ascii(&image, 2, "a long name of thirty characters",
                                        "SHORT      "); /* 3 entries */
        if (damage == 8)
            short_put(&image, 2, "OTHER      ", 0, 0, 0);
        if (damage == 9)
            short_put(&image, 2, "LABEL      ", 0x08, 0, 0);
        short_put(&image, 2, "SHORT      ", 0, 0, 0);
        uint8_t *second = first + 32, *third = first + 64;
        switch (damage) {
        case 0: /* all is well */
            break;
        case 1:
            third[13]++;
            break;
        case 2:
            first[13] = second[13] = third[13] = (uint8_t)(third[13] + 1);
            break;
        case 3:
            second[0] = 1;
            break;
        case 4:
            first[0] = 3; /* no mark of the last part */
            break;
        case 5:
            first[0] = 0x40 | 21;
            break;
        case 6:
            first[0] = 0x40;
            break;
        case 7:
            second[0] = 0xe5;
            break;
        case 10:
            put(first + 1, '/', 2); /* not in a name */
            break;
        case 11:
            put(third + 1, 0, 2); /* empty */
            break;
        }
        mount(&image);
        list_expect("mem0:/", damage == 0   ? "a long name of thirty characters|"
                              : damage == 8 ? "OTHER|SHORT|"
                                            : "SHORT|");
        unmount(&image);
    }
}

static int stop_at_second(void *arg, const struct file_info *info)
{
    (void)info;
    return ++*(int *)arg == 2 ? 77 : 0;
}

static void test_listing_stops_when_told(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    for (unsigned i = 0; i < 5; i++)
        short_put(&image, 2, "FILE       ", 0, 0, 0);
    mount(&image);
    int seen = 0;
    assert_int_equal(directory_list("mem0:/", stop_at_second, &seen, reason, sizeof(reason)), 77);
    assert_int_equal(seen, 2);
    unmount(&image);
}

static int64_t last_time;

static int time_keep(void *arg, const struct file_info *info)
{
    (void)arg;
    last_time = info->modified_ns;
    return 0;
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        unsigned year, month, day, hour, minute, second;
        int64_t unix_seconds;
    } cases[] = {
        {1980, 1, 1, 0, 0, 0, 315532800},  {2000, 2, 29, 23, 59, 58, 951868798},
        {2000, 3, 1, 0, 0, 0, 951868800},  {2026, 11, 20, 23, 34, 0, 1795217640},
        {2100, 3, 1, 0, 0, 0, 4107542400}, {2107, 12, 31, 23, 59, 58, 4354819198},
        {2026, 0, 1, 0, 0, 0, 0},          {2026, 13, 1, 0, 0, 0, 0},
        {2026, 1, 0, 0, 0, 0, 0},          {2026, 1, 1, 24, 0, 0, 0},
        {2026, 1, 1, 0, 60, 0, 0},         {2026, 1, 1, 0, 0, 62, 0},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct image image = image_make(512, 1);
        uint8_t *entry = short_put(&image, 2, "FILE       ", 0, 0, 0);
        put(entry + 24, (cases[i].year - 1980) << 9 | cases[i].month << 5 | cases[i].day, 2);
        put(entry + 22, cases[i].hour << 11 | cases[i].minute << 5 | cases[i].second / 2, 2);
        mount(&image);
        assert_int_equal(directory_list("mem0:/", time_keep, NULL, reason, sizeof(reason)), 0);
        assert_int_equal(last_time, cases[i].unix_seconds * (int64_t)NS_PER_S);
        unmount(&image);
    }
}

/* ---- paths ----------------------------------------------------------------------------------------------------- */

static void test_paths(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    short_put(&image, 2, "FILE       ", 0, 0, 0);
    short_put(&image, 2, "DIR        ", 0x10, 3, 0);
    fat_set(&image, 3, 0x0fffffff);
    mount(&image);
    open_fails("", -EINVAL, "no volume");
    open_fails("/file", -EINVAL, "no volume");
    open_fails(":/file", -EINVAL, "no volume");
    open_fails("mem0:file", -EINVAL, "no volume");
    open_fails("mem0", -EINVAL, "no volume");
    open_fails("mem0:", -EINVAL, "no volume");
    open_fails("a-name-that-is-much-too-long-for-a-volume:/file", -EINVAL, "no volume");
    open_fails("mem1:/file", -ENOENT, "there is no volume \"mem1\"");
    open_fails("mem0:/..", -EINVAL, "\"..\"");
    open_fails("mem0:/dir/../file", -EINVAL, "\"..\"");
    open_fails("mem0:/dir/..", -EINVAL, "\"..\"");
    open_fails("mem0:/dir\\file", -EINVAL, "backslash");
    open_fails("mem0:/fi\nle", -EINVAL, "control character");
    open_fails("mem0:/fi\x7fle", -EINVAL, "control character");
    open_fails("mem0:/\xc3", -EINVAL, "UTF-8");
    open_fails("mem0:/\xc0\xaf", -EINVAL, "UTF-8"); /* an overlong slash */
    open_fails("mem0:/", -EISDIR, "directory");
    open_fails("mem0:/dir", -EISDIR, "directory");
    open_fails("mem0:/file/", -ENOTDIR, "\"FILE\" is a file");
    open_fails("mem0:/file/x", -ENOTDIR, "\"FILE\" is a file");
    open_fails("mem0:/...", -ENOENT, "there is no \"...\"");
    open_fails("mem0:/..x/x..", -ENOENT, "there is no \"..x\"");
    list_fails("mem0:/file", -ENOTDIR, "names a file");
    list_fails("mem0:/../", -EINVAL, "\"..\"");
    list_expect("mem0:/dir/", "");
    list_expect("mem0:/./", "FILE|DIR/|");

    static char path[2000];
    memset(path, 'x', sizeof(path) - 1);
    memcpy(path, "mem0:/", 6);
    open_fails(path, -EINVAL, "longer than 1023 bytes");
    path[6 + 256] = 0;
    open_fails(path, -EINVAL, "longer than 255 characters");
    path[6 + 255] = 0;
    open_fails(path, -ENOENT, "there is no \"xxx");
    /* Words are cut between characters. */
    strcpy(path, "mem0:/");
    for (unsigned i = 0; i < 100; i++)
        strcat(path, "\xe2\x82\xac");
    for (size_t size = 1; size < 120; size++) {
        struct file *file;
        char small[128];
        assert_int_equal(file_open(path, &file, small, size), -ENOENT);
        assert_true(strlen(small) < size);
        size_t length = strlen(small), tail = 0;
        while (tail < length && (small[length - 1 - tail] & 0xc0) == 0x80)
            tail++;
        if (length > 0 && (small[length - 1] & 0x80))
            assert_int_equal(tail, 2); /* whole euro signs only */
    }
    unmount(&image);
}

static void test_scan_waits_for_open_files(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    uint32_t clusters[] = {5};
    file_put(&image, "FILE       ", clusters, 1, 100);
    mount(&image);
    struct file *file = open_ok("mem0:/file");
    assert_int_equal(volume_scan(), -EBUSY);
    open_fails("mem0:/none", -ENOENT, ""); /* a failing open holds nothing */
    list_fails("mem0:/file", -ENOTDIR, "");
    file_close(file);
    assert_int_equal(volume_scan(), 1);
    unmount(&image);
}

/* Each allocation of pages fails once, in turn: an error in words, nothing leaked, and the next try works. */
static void test_without_memory(void **state)
{
    (void)state;
    struct image image = image_make(512, 1);
    uint32_t clusters[] = {5, 10};
    file_put(&image, "FILE       ", clusters, 2, 700);
    mount(&image);
    int failures = 0;
    for (;; failures++) {
        host_page_alloc_fail_after(failures);
        struct file *file;
        int error = file_open("mem0:/file", &file, reason, sizeof(reason));
        host_page_alloc_fail_after(-1);
        assert_int_equal(host_page_live_bytes(), 0);
        if (error == 0) {
            file_close(file);
            break;
        }
        assert_int_equal(error, -ENOMEM);
        assert_non_null(strstr(reason, "no memory"));
    }
    assert_true(failures >= 2);
    unmount(&image);
}

/* ---- other people's file systems ------------------------------------------------------------------------------- */

static char directory[64];

static void shell(const char *fmt, ...)
{
    char command[2048] =
        "export PATH=$PATH:/sbin:/usr/sbin MTOOLS_SKIP_CHECK=1 LC_ALL=C.UTF-8; cd ";
    strcat(strcat(command, directory), " && ");
    va_list args;
    va_start(args, fmt);
    size_t used = strlen(command);
    vsnprintf(command + used, sizeof(command) - used, fmt, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

static void compare_with_host(const char *path, const char *host_name)
{
    char host_path[200];
    snprintf(host_path, sizeof(host_path), "%s/%s", directory, host_name);
    FILE *stream = fopen(host_path, "rb");
    assert_non_null(stream);
    struct stat status;
    assert_int_equal(fstat(fileno(stream), &status), 0);
    size_t size = (size_t)status.st_size;
    uint8_t *wanted = malloc(size + 1), *got = malloc(size + 1);
    assert_int_equal(fread(wanted, 1, size, stream), size);
    fclose(stream);
    struct file *file = open_ok(path);
    assert_int_equal(file->info.size_bytes, size);
    assert_int_equal(file_read(file, 0, got, size, reason, sizeof(reason)), 0);
    assert_memory_equal(got, wanted, size);
    file_close(file);
    free(wanted);
    free(got);
}

static void real_volume(uint32_t block, unsigned sectors_per_cluster)
{
    strcpy(directory, "/tmp/ingot-test-fat-XXXXXX");
    assert_non_null(mkdtemp(directory));
    shell("truncate -s %u fs && mkfs.fat -F 32 -S %u -s %u -n MODELS fs >/dev/null 2>&1",
          block * sectors_per_cluster * 70000, block,
          sectors_per_cluster); /* mtools wants the 65525 clusters that FAT32 has by the letter */
    shell("head -c 3000001 /dev/urandom >a && head -c 70000 /dev/urandom >b && head -c 70001 "
          "/dev/urandom >c && : >empty");
    /* b and c fill the holes that removing every other small file leaves: fragments. */
    shell("for i in 1 2 3 4 5 6 7 8 9; do head -c 9000 /dev/zero >gap$i; done; mcopy -i fs gap? "
          "::/ && mdel -i fs ::/gap2 ::/gap4 ::/gap6 ::/gap8");
    shell("mmd -i fs '::/Some Directory' '::/Some Directory/n\xc3\xa4"
          "chste' && mcopy -i fs a '::/Some Directory/n\xc3\xa4"
          "chste/Llama 3.1 8B Instruct.safetensors'");
    shell("mcopy -i fs b ::/b.bin && mcopy -i fs c '::/Some Directory/c' && mcopy -i fs empty "
          "::/EMPTY");
    char path[128];
    snprintf(path, sizeof(path), "%s/fs", directory);
    struct disk *disk;
    assert_int_equal(disk_file_create("img0", block, path, &disk, reason, sizeof(reason)), 0);
    assert_int_equal(disk_add(disk), 0);
    assert_int_equal(volume_scan(), 1);
    assert_string_equal(volume_get(0)->problem, "");
    assert_string_equal(volume_get(0)->label, "MODELS");
    list_expect("img0:/some directory", "n\xc3\xa4"
                                        "chste/|c|");
    compare_with_host("img0:/SOME directory/N\xc3\x84"
                      "CHSTE/llama 3.1 8b instruct.SAFETENSORS",
                      "a");
    compare_with_host("img0:/b.bin", "b");
    compare_with_host("img0:/Some Directory/c", "c");
    compare_with_host("img0:/empty", "empty");
    disk_remove(disk);
    assert_int_equal(volume_scan(), 0);
    disk_file_destroy(disk);
    shell("rm -rf %s", directory);
}

static void test_volumes_of_other_tools(void **state)
{
    (void)state;
    real_volume(512, 1);
    real_volume(512, 8);
    real_volume(4096, 1);
    real_volume(4096, 2);
}

static void test_fat12_and_fat16(void **state)
{
    (void)state;
    for (unsigned bits = 12; bits <= 16; bits += 4) {
        strcpy(directory, "/tmp/ingot-test-fat-XXXXXX");
        assert_non_null(mkdtemp(directory));
        shell("truncate -s %uM fs && mkfs.fat -F %u fs >/dev/null 2>&1", bits == 12 ? 4 : 32, bits);
        char path[128];
        snprintf(path, sizeof(path), "%s/fs", directory);
        struct disk *disk;
        assert_int_equal(disk_file_create("img0", 512, path, &disk, reason, sizeof(reason)), 0);
        assert_int_equal(disk_add(disk), 0);
        assert_int_equal(volume_scan(), 1);
        assert_null(volume_get(0)->fat);
        assert_string_equal(
            volume_get(0)->problem,
            "FAT12 and FAT16 are not supported: format it as FAT32 (mkfs.fat -F 32)");
        disk_remove(disk);
        assert_int_equal(volume_scan(), 0);
        disk_file_destroy(disk);
        shell("rm -rf %s", directory);
    }
}

/* Give the volume at `offset` a file of 4 GiB less one byte, its clusters in a row, without writing its data. */
static void large_file_write(const char *path, size_t offset)
{
    static uint32_t chain[1048576];
    uint8_t boot[512], entry[32] = "LARGE   GGU";
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, (long)offset, SEEK_SET), 0);
    assert_int_equal(fread(boot, 1, 512, stream), 512);
    uint32_t reserved = boot[14] | (uint32_t)boot[15] << 8,
             fat = boot[36] | (uint32_t)boot[37] << 8;
    for (uint32_t i = 0; i < 1048576; i++)
        chain[i] = i + 1 < 1048576 ? 3 + i + 1 : 0x0fffffff;
    put(entry + 26, 3, 2);
    put(entry + 28, UINT32_MAX, 4);
    assert_int_equal(fseek(stream, (long)(offset + reserved * 512 + 3 * 4), SEEK_SET), 0);
    assert_int_equal(fwrite(chain, 4, 1048576, stream), 1048576);
    assert_int_equal(fseek(stream, (long)(offset + (reserved + 2 * (size_t)fat) * 512), SEEK_SET),
                     0);
    assert_int_equal(fwrite(entry, 1, 32, stream), 32);
    assert_int_equal(fclose(stream), 0);
}

/* A partitioned disk, and the largest file that FAT32 has: opening it takes few reads of the FAT. */
static void test_largest_file_on_a_partition(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/ingot-test-fat-XXXXXX");
    assert_non_null(mkdtemp(directory));
    shell("truncate -s 6G disk && printf 'label: gpt\\nsize=5GiB, name=\"big "
          "models\"\\nsize=1MiB\\n' | sfdisk -q disk");
    shell("mkfs.fat -F 32 -s 8 --offset 2048 disk 5242880 >/dev/null 2>&1");
    char path[128];
    snprintf(path, sizeof(path), "%s/disk", directory);
    large_file_write(path, 1 << 20);
    struct disk *disk;
    assert_int_equal(disk_file_create("img0", 512, path, &disk, reason, sizeof(reason)), 0);
    assert_int_equal(disk_add(disk), 0);
    assert_int_equal(volume_scan(), 2);
    assert_string_equal(volume_find("img0p1")->problem, "");
    assert_string_equal(volume_find("img0p1")->label, "big models");
    assert_string_equal(volume_find("img0p2")->problem, "no known file system");
    assert_null(volume_find("img0"));
    unsigned before = disk_memory_transfers(disk);
    struct file *file = open_ok("img0p1:/large.ggu");
    assert_int_equal(file->info.size_bytes, 4294967295u);
    assert_int_equal(file->extent_count, 1);
    assert_int_equal(file->extents[0].size_bytes, 4294967296u);
    assert_true(disk_memory_transfers(disk) - before <
                80); /* 1,048,576 entries of 4 bytes, 64 KiB at a time */
    file_close(file);
    disk_remove(disk);
    assert_int_equal(volume_scan(), 0);
    disk_file_destroy(disk);
    shell("rm -rf %s", directory);
}

int main(void)
{
    host_log_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boot_sector_fields),
        cmocka_unit_test(test_other_file_systems),
        cmocka_unit_test(test_sector_and_cluster_sizes),
        cmocka_unit_test(test_clusters_off_the_blocks),
        cmocka_unit_test(test_active_fat),
        cmocka_unit_test(test_fat_copy),
        cmocka_unit_test(test_damaged_chains),
        cmocka_unit_test(test_damaged_file_entries),
        cmocka_unit_test(test_fragmented_file),
        cmocka_unit_test(test_directory_chains),
        cmocka_unit_test(test_long_directory),
        cmocka_unit_test(test_short_names),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_orphaned_long_names),
        cmocka_unit_test(test_listing_stops_when_told),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_scan_waits_for_open_files),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_volumes_of_other_tools),
        cmocka_unit_test(test_fat12_and_fat16),
        cmocka_unit_test(test_largest_file_on_a_partition),
    };
    return cmocka_run_group_tests_name("fat32", tests, NULL, NULL);
}
