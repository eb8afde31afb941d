/*
 * tests/model/trace.c: the trace, in a form that people read and other drivers' traces can be held against.
 *
 *      0.012345 r 000a00 NV_PMC_BOOT_42            172a1000          PMC
 *      0.012399 w 110040 NV_PFALCON_MAILBOX0       00000000          GSP
 *      0.012412 - rpc 73 SET_SYSTEM_INFO, 928 bytes, sequence 0
 *
 * Seconds since QEMU connected; r and w are accesses of the guest to BAR0; - is what a part says; ! is a refusal, ? a fault
 * that was asked for. A register that is polled is written once, with the number of reads that gave the same value.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/parts.h"

struct log {
    FILE *file;
    uint64_t start_ns;
    unsigned refusals, notes;
    uint64_t reads, writes;
    /* The last register access, not written yet. */
    bool is_pending, is_write;
    const struct block *block;
    uint32_t reg, value;
    uint64_t repeats, at_ns;
    char last_refusal[512];
    char refused[8192]; /* the first refusals, for tests */
    size_t refused_bytes;
};

int trace_open(struct model *m, const char *path)
{
    m->log = calloc(1, sizeof(*m->log));
    if (m->log == NULL)
        return -ENOMEM;
    m->log->start_ns = now_ns();
    if (path == NULL)
        return 0;
    m->log->file = fopen(path, "w");
    return m->log->file == NULL ? -errno : 0;
}

static double seconds(const struct log *log, uint64_t at_ns)
{
    return (double)(at_ns - log->start_ns) / 1e9;
}

void trace_flush(struct model *m)
{
    struct log *log = m->log;
    if (!log->is_pending)
        return;
    log->is_pending = false;
    if (log->file == NULL)
        return;
    const struct register_name *name = bus_register_name(log->block, log->reg);
    fprintf(log->file, "%12.6f %c %06x %-40s %08x %s", seconds(log, log->at_ns),
            log->is_write ? 'w' : 'r', log->reg, name != NULL ? name->name : "", log->value,
            log->block != NULL ? log->block->name : "nothing");
    if (log->repeats > 1)
        fprintf(log->file, " (%llu times)", (unsigned long long)log->repeats);
    fputc('\n', log->file);
}

void trace_register(struct model *m, bool is_write, const struct block *block, uint32_t reg,
                    uint32_t value)
{
    struct log *log = m->log;
    if (is_write)
        log->writes++;
    else
        log->reads++;
    if (log->file == NULL)
        return;
    if (log->is_pending && !is_write && !log->is_write && log->reg == reg && log->value == value) {
        log->repeats++;
        return;
    }
    trace_flush(m);
    log->is_pending = true;
    log->is_write = is_write;
    log->block = block;
    log->reg = reg;
    log->value = value;
    log->repeats = 1;
    log->at_ns = now_ns();
}

static void line(struct model *m, char kind, bool to_stderr, const char *fmt, va_list arguments)
{
    struct log *log = m->log;
    char text[1024];
    vsnprintf(text, sizeof(text), fmt, arguments);
    if (kind == '!') {
        snprintf(log->last_refusal, sizeof(log->last_refusal), "%.500s", text);
        size_t bytes = strlen(text) + 1;
        if (log->refused_bytes + bytes < sizeof(log->refused)) {
            memcpy(log->refused + log->refused_bytes, text, bytes - 1);
            log->refused_bytes += bytes;
            log->refused[log->refused_bytes - 1] = '\n';
        }
    }
    trace_flush(m);
    if (log->file != NULL)
        fprintf(log->file, "%12.6f %c %s\n", seconds(log, now_ns()), kind, text);
    if (to_stderr)
        fprintf(stderr, "model: %s%s\n", kind == '!' ? "REFUSED: " : "", text);
}

void trace(struct model *m, const char *fmt, ...)
{
    if (m->log->file == NULL)
        return;
    va_list arguments;
    va_start(arguments, fmt);
    line(m, '-', false, fmt, arguments);
    va_end(arguments);
}

void note(struct model *m, const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    line(m, '-', !m->is_quiet, fmt, arguments);
    va_end(arguments);
}

void refuse(struct model *m, const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    m->log->refusals++;
    /* A guest that does it in a loop must not fill the disk. */
    if (m->log->refusals <= 1000)
        line(m, '!', true, fmt, arguments);
    va_end(arguments);
    if (m->log->file != NULL)
        fflush(m->log->file);
}

unsigned trace_refusals(const struct model *m)
{
    return m->log->refusals;
}

const char *trace_last_refusal(const struct model *m)
{
    return m->log->last_refusal;
}

bool trace_was_refused(const struct model *m, const char *text)
{
    return strstr(m->log->refused, text) != NULL;
}

void trace_close(struct model *m)
{
    struct log *log = m->log;
    note(m, "%llu register reads, %llu writes, %u refusals", (unsigned long long)log->reads,
         (unsigned long long)log->writes, log->refusals);
    if (log->file != NULL)
        fclose(log->file);
    free(log);
    m->log = NULL;
}

void die(const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    fputs("model: ", stderr);
    vfprintf(stderr, fmt, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}
