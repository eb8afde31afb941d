/*
 * runtime/volume/fat32_dir.c: FAT32 directories: entries, long names, finding a path.
 *
 * Source: Microsoft FAT32 File System Specification 1.03, "FAT Directory Structure", "Short Directory Entries", "Long
 * Directory Entries". A directory is a chain of clusters with entries of 32 bytes. A long name stands in front of its
 * short entry, last part first, 13 UTF-16 units to an entry, bound to it by a checksum of the short name. Parts that
 * are out of order or whose checksum is wrong are orphans of a system that knows no long names, and are ignored.
 *
 * Names match without regard to case as utf_fold() has it (ASCII, Latin, Greek, Cyrillic), the long name or the short
 * one. Short names are decoded from code page 437, the default of Linux and of DOS. Times on disk are local without
 * saying which zone; they are taken as UTC.
 */
#include "runtime/volume/fat32_private.h"

#include "kernel/kernel.h"
#include "runtime/volume/bytes.h"
#include "runtime/volume/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR_ENTRY_BYTES 32
#define DIR_BYTES_MAX \
    (UINT64_C(65536) * DIR_ENTRY_BYTES) /* what the specification allows a directory to have */
#define DIR_READ_BYTES   UINT64_C(32768)

/* Short entry: offsets in bytes. */
#define DIR_NAME         0    /* 8 + 3 characters, padded with spaces */
#define DIR_NAME_END     0x00 /* first byte: nothing from here on */
#define DIR_NAME_DELETED 0xe5
#define DIR_NAME_E5      0x05 /* first byte: stands for E5h */
#define DIR_ATTR         11
#define ATTR_READ_ONLY   0x01
#define ATTR_HIDDEN      0x02
#define ATTR_VOLUME_ID   0x08
#define ATTR_DIRECTORY   0x10
#define ATTR_LONG_NAME   0x0f
#define ATTR_LONG_MASK   0x3f
#define DIR_NT_RES       12 /* Windows NT and Linux: the short name is shown in ... */
#define NT_LOWER_BASE    0x08
#define NT_LOWER_EXT     0x10
#define DIR_FST_CLUS_HI  20
#define DIR_WRT_TIME     22 /* hours 15..11, minutes 10..5, seconds / 2 */
#define DIR_WRT_DATE     24 /* years since 1980 15..9, month 8..5, day */
#define DIR_FST_CLUS_LO  26
#define DIR_FILE_SIZE    28

/* Long entry. */
#define LDIR_ORD         0
#define LDIR_ORD_LAST    0x40 /* the first in the directory, the last part of the name */
#define LDIR_ORD_MAX     20   /* 20 * 13 >= 255 */
#define LDIR_TYPE        12   /* 0: a name */
#define LDIR_CHKSUM      13
#define LDIR_UNITS       13
#define NAME_UNITS_MAX   255

#define SHORT_NAME_BYTES (12 * 3 + 1)

/* ---- names ----------------------------------------------------------------------------------------------------- */

/* Code page 437, 80h to FFh, as Unicode. */
static const uint16_t code_page_437[128] = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
    0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa,
    0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4,
    0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

/* One character of a short name; what may not be in a name shows as '_'. */
static unsigned short_name_put(char *out, uint8_t byte, bool to_lower)
{
    if (byte < 0x20 || byte == 0x7f || byte == '/' || byte == '\\' || byte == ':')
        byte = '_';
    uint32_t code = byte < 0x80 ? byte : code_page_437[byte - 0x80];
    if (to_lower && utf_fold(code + 32) == code) /* as far apart in ASCII, Latin-1 and Greek */
        code += 32;
    return utf8_put(out, code);
}

static unsigned trimmed_length(const uint8_t *text, unsigned length)
{
    while (length > 0 && text[length - 1] == ' ')
        length--;
    return length;
}

static void short_name_decode(const uint8_t *entry, char out[SHORT_NAME_BYTES])
{
    const uint8_t *name = entry + DIR_NAME;
    uint8_t flags = entry[DIR_NT_RES];
    unsigned base = trimmed_length(name, 8), extension = trimmed_length(name + 8, 3), length = 0;
    for (unsigned i = 0; i < base; i++)
        length += short_name_put(out + length, i == 0 && name[0] == DIR_NAME_E5 ? 0xe5 : name[i],
                                 flags & NT_LOWER_BASE);
    if (extension > 0)
        out[length++] = '.';
    for (unsigned i = 0; i < extension; i++)
        length += short_name_put(out + length, name[8 + i], flags & NT_LOWER_EXT);
    out[length] = 0;
}

void fat32_label_decode(const uint8_t raw[11], char out[40])
{
    unsigned length = 0, count = trimmed_length(raw, 11);
    for (unsigned i = 0; i < count; i++)
        length +=
            short_name_put(out + length, i == 0 && raw[0] == DIR_NAME_E5 ? 0xe5 : raw[i], false);
    out[length] = 0;
}

static uint8_t short_name_checksum(const uint8_t name[11])
{
    uint8_t sum = 0;
    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum << 7 | sum >> 1) + name[i]);
    return sum;
}

/* A long name as it is put together from its entries. */
struct long_name {
    unsigned next; /* number of the part that must come next; 0: complete, when count is not 0 */
    unsigned count;
    uint8_t checksum;
    uint16_t units[LDIR_ORD_MAX * LDIR_UNITS];
};

static void long_name_add(struct long_name *name, const uint8_t *entry)
{
    unsigned number = entry[LDIR_ORD] & ~LDIR_ORD_LAST & 0xffu;
    if (entry[LDIR_ORD] & LDIR_ORD_LAST) {
        name->count = name->next = number <= LDIR_ORD_MAX ? number : 0;
        name->checksum = entry[LDIR_CHKSUM];
    }
    if (name->count == 0 || number == 0 || number != name->next ||
        entry[LDIR_CHKSUM] != name->checksum || entry[LDIR_TYPE] != 0) {
        name->count = 0; /* an orphan */
        return;
    }
    static const uint8_t places[LDIR_UNITS] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
    name->next = number - 1;
    for (unsigned i = 0; i < LDIR_UNITS; i++)
        name->units[(number - 1) * LDIR_UNITS + i] = le16(entry + places[i]);
}

/* The finished long name that belongs to a short entry, as UTF-8. False: there is none that can be trusted. */
static bool long_name_take(struct long_name *name, const uint8_t *entry,
                           char out[NAME_UNITS_MAX * 3 + 1])
{
    bool is_whole = name->count != 0 && name->next == 0 &&
                    name->checksum == short_name_checksum(entry + DIR_NAME);
    unsigned capacity = name->count * LDIR_UNITS, length = 0;
    name->count = 0;
    if (!is_whole)
        return false;
    while (length < capacity && name->units[length] != 0) {
        uint16_t unit = name->units[length++];
        if (unit < 0x20 || unit == 0x7f || (unit < 0x80 && strchr("\"*/:<>?\\|", unit)))
            return false;
    }
    if (length == 0 || length > NAME_UNITS_MAX)
        return false;
    utf16_to_utf8(name->units, length, out);
    return true;
}

/* Does the component of component_bytes name this? Both are valid UTF-8. */
static bool names_match(const char *component, size_t component_bytes, const char *name)
{
    size_t name_bytes = strlen(name), i = 0, j = 0;
    unsigned used;
    while (i < component_bytes && j < name_bytes) {
        uint32_t a = utf8_get(component + i, component_bytes - i, &used);
        i += used;
        uint32_t b = utf8_get(name + j, name_bytes - j, &used);
        j += used;
        if (utf_fold(a) != utf_fold(b))
            return false;
    }
    return i == component_bytes && j == name_bytes;
}

/* ---- times ----------------------------------------------------------------------------------------------------- */

/* Days from 1970-01-01 to a date of the Gregorian calendar; year from 1980 on. */
static int64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
    static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    unsigned leap_years =
        (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400; /* before this year */
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return (int64_t)year * 365 + leap_years + before[month - 1] + (month > 2 && is_leap) + day - 1 -
           (1970 * INT64_C(365) + 477); /* 477 leap years before 1970 */
}

static int64_t time_decode(uint16_t date, uint16_t time)
{
    unsigned month = date >> 5 & 15, day = date & 31, hour = time >> 11, minute = time >> 5 & 63,
             second = (time & 31) * 2u;
    if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59)
        return 0;
    int64_t seconds = days_since_1970(1980u + (date >> 9), month, day) * 86400 + hour * 3600 +
                      minute * 60 + second;
    return seconds * (int64_t)NS_PER_S;
}

/* ---- walking a directory --------------------------------------------------------------------------------------- */

struct dir_entry {
    struct fat32_entry entry; /* info.name is the long name if there is one */
    char short_name[SHORT_NAME_BYTES];
    bool is_label; /* the volume's label, as in a short name; nothing else is filled in */
    uint8_t raw_name[11];
};

/* What is kept while walking; too large for the stack of a task. */
struct dir_walk {
    struct fat_reader reader;
    struct long_name long_name;
    struct dir_entry found;
    uint8_t data[DIR_READ_BYTES];
};

typedef int (*dir_visit)(void *arg, const struct dir_entry *found);

/* One raw entry. 1: the directory ends here. Otherwise what visit() returned, 0 for entries that are not for it. */
static int entry_visit(struct dir_walk *walk, const uint8_t *raw, bool *is_end, dir_visit visit,
                       void *arg)
{
    struct dir_entry *found = &walk->found;
    uint8_t attributes = raw[DIR_ATTR];
    if (raw[DIR_NAME] == DIR_NAME_END) {
        *is_end = true;
        return 0;
    }
    if (raw[DIR_NAME] == DIR_NAME_DELETED) {
        walk->long_name.count = 0;
        return 0;
    }
    if ((attributes & ATTR_LONG_MASK) == ATTR_LONG_NAME) {
        long_name_add(&walk->long_name, raw);
        return 0;
    }
    memset(&found->entry, 0, sizeof(found->entry));
    memcpy(found->raw_name, raw + DIR_NAME, 11);
    found->is_label = attributes & ATTR_VOLUME_ID;
    if (found->is_label) {
        walk->long_name.count = 0;
        return visit(arg, found);
    }
    if (raw[DIR_NAME] == '.' ||
        raw[DIR_NAME] == ' ') { /* "." and ".."; no name begins with these */
        walk->long_name.count = 0;
        return 0;
    }
    struct file_info *info = &found->entry.info;
    short_name_decode(raw, found->short_name);
    if (!long_name_take(&walk->long_name, raw, info->name))
        memcpy(info->name, found->short_name, sizeof(found->short_name));
    info->is_directory = attributes & ATTR_DIRECTORY;
    info->is_read_only = attributes & ATTR_READ_ONLY;
    info->is_hidden = attributes & ATTR_HIDDEN;
    info->size_bytes = info->is_directory ? 0 : le32(raw + DIR_FILE_SIZE);
    info->modified_ns = time_decode(le16(raw + DIR_WRT_DATE), le16(raw + DIR_WRT_TIME));
    found->entry.first_cluster =
        ((uint32_t)le16(raw + DIR_FST_CLUS_HI) << 16 | le16(raw + DIR_FST_CLUS_LO)) & 0x0fffffff;
    return visit(arg, found);
}

/*
 * Call visit for the entries of a directory, up to bytes_max of it. Returns what visit returned if that is not 0, else
 * 0 at the end, or an error with words in reason.
 */
static int directory_walk(const struct fat32 *fs, uint32_t cluster, uint64_t bytes_max,
                          dir_visit visit, void *arg, char *reason, size_t reason_bytes)
{
    if (cluster < 2 || cluster >= fs->cluster_limit)
        return refuse(-EUCLEAN, reason, reason_bytes,
                      "%s: corrupt directory: it starts at cluster %" PRIu32
                      ", which does not exist; check the file system",
                      fs->name, cluster);
    struct dir_walk *walk = malloc(sizeof(*walk));
    if (!walk)
        return refuse(-ENOMEM, reason, reason_bytes, "%s: no memory to read a directory", fs->name);
    fat_reader_start(&walk->reader, fs);
    walk->long_name.count = 0;

    int error = 0;
    bool is_end = false;
    uint64_t walked = 0;
    /* Brent: a chain that loops comes back to a checkpoint, which moves on after 1, 2, 4 ... clusters. */
    uint32_t checkpoint = cluster, steps = 0, steps_max = 1;
    while (error == 0 && !is_end && walked < bytes_max) {
        uint64_t in_cluster = walked % fs->cluster_bytes;
        uint64_t size =
            min_u64(min_u64(fs->cluster_bytes - in_cluster, DIR_READ_BYTES), bytes_max - walked);
        error = disk_read(fs->disk, cluster_offset(fs, cluster) + in_cluster, walk->data, size,
                          reason, reason_bytes);
        for (uint64_t at = 0; error == 0 && !is_end && at < size; at += DIR_ENTRY_BYTES)
            error = entry_visit(walk, walk->data + at, &is_end, visit, arg);
        walked += size;
        if (error == 0 && !is_end && walked % fs->cluster_bytes == 0) {
            error = fat_next(&walk->reader, cluster, &cluster, reason, reason_bytes);
            is_end = cluster == 0;
            if (error == 0 && cluster == checkpoint)
                error = refuse(-EUCLEAN, reason, reason_bytes,
                               "%s: corrupt directory: its cluster chain loops; check the file "
                               "system",
                               fs->name);
            if (++steps == steps_max) {
                checkpoint = cluster;
                steps = 0;
                steps_max *= 2;
            }
        }
    }
    if (error == 0 && !is_end && bytes_max == DIR_BYTES_MAX)
        error = refuse(-EUCLEAN, reason, reason_bytes,
                       "%s: corrupt directory: it is longer than the 2 MiB that FAT allows; check "
                       "the file system",
                       fs->name);
    fat_reader_end(&walk->reader);
    free(walk);
    return error;
}

static int label_visit(void *arg, const struct dir_entry *found)
{
    struct fat32 *fs = arg;
    if (found->is_label)
        fat32_label_decode(found->raw_name, fs->label);
    return found->is_label;
}

int fat32_root_label(struct fat32 *fs, char *problem, size_t problem_bytes)
{
    /* The label is the first entry wherever it is made by formatting, so the first cluster will do. */
    uint64_t first = min_u64(fs->cluster_bytes, DIR_READ_BYTES) - DIR_ENTRY_BYTES;
    int error =
        directory_walk(fs, fs->root_cluster, first, label_visit, fs, problem, problem_bytes);
    return error < 0 ? error : 0;
}

struct listing {
    int (*each)(void *arg, const struct file_info *info);
    void *arg;
};

static int list_visit(void *arg, const struct dir_entry *found)
{
    struct listing *listing = arg;
    return found->is_label ? 0 : listing->each(listing->arg, &found->entry.info);
}

int fat32_list(const struct fat32 *fs, const struct fat32_entry *directory,
               int (*each)(void *arg, const struct file_info *info), void *arg, char *reason,
               size_t reason_bytes)
{
    struct listing listing = {each, arg};
    return directory_walk(fs, directory->first_cluster, DIR_BYTES_MAX, list_visit, &listing, reason,
                          reason_bytes);
}

/* ---- finding a path -------------------------------------------------------------------------------------------- */

struct search {
    const char *component;
    size_t component_bytes;
    struct fat32_entry *out;
};

static int search_visit(void *arg, const struct dir_entry *found)
{
    struct search *search = arg;
    if (found->is_label ||
        (!names_match(search->component, search->component_bytes, found->entry.info.name) &&
         !names_match(search->component, search->component_bytes, found->short_name)))
        return 0;
    *search->out = found->entry;
    return 1;
}

int fat32_find(const struct fat32 *fs, const char *path, struct fat32_entry *out, char *reason,
               size_t reason_bytes)
{
    memset(out, 0, sizeof(*out));
    strcpy(out->info.name, "/");
    out->info.is_directory = true;
    out->first_cluster = fs->root_cluster;

    char brief[64];
    while (*path != 0) {
        size_t slashes = strspn(path, "/");
        path += slashes;
        if (!out->info.is_directory && slashes > 0) /* also for "/file/" */
            return refuse(-ENOTDIR, reason, reason_bytes, "%s: \"%s\" is a file, not a directory",
                          fs->name,
                          text_brief(brief, sizeof(brief), out->info.name, strlen(out->info.name)));
        size_t length = strcspn(path, "/");
        if (length == 0 || (length == 1 && path[0] == '.')) {
            path += length;
            continue;
        }
        struct search search = {path, length, out};
        int found = directory_walk(fs, out->first_cluster, DIR_BYTES_MAX, search_visit, &search,
                                   reason, reason_bytes);
        if (found < 0)
            return found;
        if (found == 0)
            return refuse(-ENOENT, reason, reason_bytes, "%s: there is no \"%s\" in this directory",
                          fs->name, text_brief(brief, sizeof(brief), path, length));
        path += length;
    }
    return 0;
}
