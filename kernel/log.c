/*
 * kernel/log.c: the log: a ring of lines in memory that survives a warm reset, shown on serial port and screen.
 *
 * Showing a line takes longer than writing one: idle cores do it, one line at a time, and whoever writes a line
 * when an older one has waited for SHOW_LATEST_NS, or a warning or an error, shows all that wait. A panic shows
 * everything.
 *
 * The ring lies at an address that the boot loader takes at every boot (boot/memory.c). Each record carries a
 * checksum, and the head says whether the last boot ended in order; if it did not, its last lines are shown at
 * this boot.
 */
#include <string.h>

#include "boot/boot.h"
#include "kernel/console.h"
#include "kernel/format.h"
#include "kernel/machine.h"

#define MAGIC          UINT64_C(0x31474f4c544f474e) /* "NGOTLOG1" */
#define PREVIOUS_MAX   48
#define SHOW_LATEST_NS (50 * NS_PER_MS)

struct record {
    struct log_line line;
    uint64_t check;
};

struct area {
    uint64_t magic;
    uint64_t is_clean; /* 1: the machine was restarted or switched off on purpose */
    struct record records[(BOOT_LOG_BYTES - 16) / sizeof(struct record)];
};
static_assert(sizeof(struct area) <= BOOT_LOG_BYTES, "the boot loader reserves that much");
#define RECORD_COUNT ARRAY_COUNT(((struct area *)0)->records)

static struct area
    *area; /* NULL until log_start() and when the boot loader found no memory: no ring then */
static _Atomic uint64_t next_sequence = 1;
static struct spinlock lock; /* of the ring; not needed to show lines */
static _Atomic bool is_panicking;

/* Who shows lines. Taken by trying, never by waiting, but for console_print(). */
static _Atomic bool is_showing;
static _Atomic uint64_t next_shown = 1;
static _Atomic uint64_t waiting_since_ns; /* time of line next_shown, once it is written */
static bool has_screen;

static struct record previous[PREVIOUS_MAX];
static unsigned previous_count;

/* FNV-1a, 64 bits: good enough to tell a record from what a power cycle leaves. */
static uint64_t checksum(const struct log_line *line)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const unsigned char *bytes = (const unsigned char *)line;
    for (size_t i = 0; i < sizeof(*line); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t lock_take(void)
{
    return atomic_load(&is_panicking) ? 0 : spin_lock(&lock);
}

static void lock_drop(uint64_t flags)
{
    if (!atomic_load(&is_panicking))
        spin_unlock(&lock, flags);
}

/* ---- the previous boot's lines ----------------------------------------------------------------------------------- */

/* Copy out the last valid lines, oldest first, before this boot writes over them. */
static void previous_collect(void)
{
    uint64_t last = 0;
    for (size_t i = 0; i < RECORD_COUNT; i++) {
        const struct record *r = &area->records[i];
        if (r->check == checksum(&r->line) && r->line.sequence > last &&
            (r->line.sequence - 1) % RECORD_COUNT == i)
            last = r->line.sequence;
    }
    uint64_t from = last > PREVIOUS_MAX ? last - PREVIOUS_MAX + 1 : 1;
    for (uint64_t sequence = from; sequence <= last && last != 0; sequence++) {
        const struct record *r = &area->records[(sequence - 1) % RECORD_COUNT];
        if (r->line.sequence == sequence && r->check == checksum(&r->line))
            previous[previous_count++] = *r;
    }
}

void log_start(void)
{
    area = (struct area *)boot_info->log_pa;
    if (area == NULL)
        return;
    if (area->magic == MAGIC) {
        if (area->is_clean != 1)
            previous_collect();
        /* Old records stay until they are written over; nothing else tells them from this boot's. */
        for (size_t i = 0; i < RECORD_COUNT; i++)
            area->records[i].line.sequence = 0;
    }
    area->magic = MAGIC;
    area->is_clean = 0;
}

void log_previous_show(void)
{
    if (previous_count == 0)
        return;
    log_info("the previous boot did not end in order; its last %u lines:", previous_count);
    for (unsigned i = 0; i < previous_count; i++) {
        struct log_line *line = &previous[i].line;
        line->text[sizeof(line->text) - 1] = '\0';
        log_info("previous boot: [%5llu.%06llu] %s", (unsigned long long)(line->time_ns / NS_PER_S),
                 (unsigned long long)(line->time_ns % NS_PER_S / NS_PER_US), line->text);
    }
}

void log_mark_clean(void)
{
    if (area != NULL)
        area->is_clean = 1;
}

/* ---- escaping ---------------------------------------------------------------------------------------------------- */

/* Length of the well-formed UTF-8 character at text (Unicode 15, table 3-7), 0 when there is none. */
static size_t utf8_length(const unsigned char *text)
{
    unsigned char c = text[0];
    if (c < 0x80)
        return 1;
    size_t length = c >= 0xc2 && c <= 0xdf   ? 2
                    : (c & 0xf0) == 0xe0     ? 3
                    : c >= 0xf0 && c <= 0xf4 ? 4
                                             : 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) ||
        (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

/* Copy with control characters and stray bytes as \xNN, so that no line can forge another or command a terminal. */
static void text_escape(char *out, size_t size_bytes, const char *text)
{
    size_t n = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t length = *at < 0x20 || *at == 0x7f ? 0 : utf8_length(at);
        if (length == 2 && at[0] == 0xc2 && at[1] < 0xa0)
            length = 0; /* the second set of control characters */
        if (n + (length == 0 ? 4 : length) >= size_bytes)
            break;
        if (length == 0) {
            n += format_print(out + n, size_bytes - n, "\\x%02x", *at++);
            continue;
        }
        memcpy(out + n, at, length);
        n += length;
        at += length;
    }
    out[n] = '\0';
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

static void line_show(const struct log_line *line, bool on_serial, bool on_screen)
{
    if (line->level > LOG_INFO)
        return;
    char text[sizeof(line->text) + 40];
    size_t length = format_print(text, sizeof(text), "[%5llu.%06llu] %s%s\n",
                                 (unsigned long long)(line->time_ns / NS_PER_S),
                                 (unsigned long long)(line->time_ns % NS_PER_S / NS_PER_US),
                                 line->level == LOG_ERROR  ? "error: "
                                 : line->level == LOG_WARN ? "warning: "
                                                           : "",
                                 line->text);
    if (on_serial)
        serial_write(text, length);
    if (on_screen)
        screen_write(text, length,
                     line->level == LOG_ERROR  ? SCREEN_ERROR
                     : line->level == LOG_WARN ? SCREEN_WARN
                                               : SCREEN_PLAIN);
}

static bool show_begin(void)
{
    return atomic_load(&is_panicking) || !atomic_exchange(&is_showing, true);
}

static void show_end(void)
{
    atomic_store(&is_showing, false);
}

/* The next line that waits. Between show_begin() and show_end(); false when there is none. */
static bool show_one(void)
{
    struct log_line line;
    uint64_t next = atomic_load(&next_shown);
    if (!log_read(next, &line))
        return false;
    if (line.sequence != next) {
        char text[64];
        size_t length =
            format_print(text, sizeof(text), "... %llu lines were faster than the console\n",
                         (unsigned long long)(line.sequence - next));
        serial_write(text, length);
        screen_write(text, has_screen ? length : 0, SCREEN_WARN);
    }
    line_show(&line, true, has_screen);
    atomic_store(&next_shown, line.sequence + 1);
    atomic_store(&waiting_since_ns,
                 time_ns()); /* of the line after, which cannot wait for longer than this one did */
    return true;
}

static void show_all(void)
{
    if (!show_begin())
        return; /* somebody is at it, on another core or below this interrupt */
    while (show_one())
        ;
    show_end();
}

bool log_is_waiting(void)
{
    return atomic_load_explicit(&next_shown, memory_order_relaxed) !=
           atomic_load_explicit(&next_sequence, memory_order_relaxed);
}

bool log_show_step(void)
{
    if (!show_begin())
        return false;
    bool more = show_one() || serial_drain();
    show_end();
    return more;
}

void log_show_late(void)
{
    if (log_is_waiting() && time_ns() - atomic_load(&waiting_since_ns) > SHOW_LATEST_NS)
        show_all();
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

void log_print(enum log_level level, const char *fmt, ...)
{
    char text[sizeof(((struct log_line *)0)->text)];
    struct record record = {.line = {.time_ns = time_ns(), .level = level, .core = core_current()}};
    va_list args;
    va_start(args, fmt);
    format_vprint(text, sizeof(text), fmt, args);
    va_end(args);
    text_escape(record.line.text, sizeof(record.line.text), text);

    uint64_t flags = lock_take();
    record.line.sequence = next_sequence++;
    record.check = checksum(&record.line);
    if (area != NULL)
        area->records[(record.line.sequence - 1) % RECORD_COUNT] = record;
    if (atomic_load(&next_shown) == record.line.sequence)
        atomic_store(&waiting_since_ns, record.line.time_ns);
    lock_drop(flags);

    if (area == NULL) {
        if (show_begin()) {
            line_show(&record.line, true, has_screen);
            show_end();
        }
    } else if (level <= LOG_WARN) {
        show_all();
    } else {
        log_show_late();
    }
    if (atomic_load(&is_panicking))
        serial_flush();
}

void console_print(const char *fmt, ...)
{
    char text[256], line[sizeof(text) + 1];
    va_list args;
    va_start(args, fmt);
    format_vprint(text, sizeof(text), fmt, args);
    va_end(args);
    text_escape(line, sizeof(text), text);
    size_t length = strlen(line);
    line[length++] = '\n';
    while (!show_begin())
        task_yield();
    while (show_one()) /* what came before goes first */
        ;
    serial_write(line, length);
    if (has_screen)
        screen_write(line, length, SCREEN_PLAIN);
    show_end();
}

int log_read(uint64_t from, struct log_line *out)
{
    uint64_t flags = lock_take();
    uint64_t oldest = next_sequence > RECORD_COUNT ? next_sequence - RECORD_COUNT : 1;
    if (from < oldest)
        from = oldest;
    int found = area != NULL && from < next_sequence;
    if (found)
        *out = area->records[(from - 1) % RECORD_COUNT].line;
    lock_drop(flags);
    return found;
}

void log_screen_start(void)
{
    has_screen = screen_start();
}

void log_panic_begin(void)
{
    atomic_store(&is_panicking, true);
    show_all();
}
