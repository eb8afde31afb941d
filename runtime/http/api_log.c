/*
 * runtime/http/api_log.c: GET /v1/log, the kept log lines from the oldest (or ?from=SEQUENCE) up to now, as text
 * or, with ?format=json or Accept: application/x-ndjson, one JSON object a line.
 */
#include "runtime/http/connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A line's text is at most 240 bytes, each at most six in JSON, plus what stands around it. */
#define LINE_BYTES_MAX 1700

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static size_t line_text(char *out, const struct log_line *line)
{
    char when[TIME_TEXT_BYTES];
    if (!time_format_boot(when, line->time_ns))
        snprintf(when, sizeof(when), "%.6f", (double)line->time_ns / 1e9);
    return (size_t)snprintf(out, LINE_BYTES_MAX, "%s %-5s [%u] %s\n", when,
                            level_names[line->level & 3], line->core, line->text);
}

static size_t line_json(char *out, const struct log_line *line)
{
    char when[TIME_TEXT_BYTES], time_json[TIME_TEXT_BYTES + 2] = "null";
    if (time_format_boot(when, line->time_ns))
        snprintf(time_json, sizeof(time_json), "\"%s\"", when);
    size_t used = (size_t)snprintf(out, LINE_BYTES_MAX,
                                   "{\"sequence\":%" PRIu64
                                   ",\"time\":%s,\"uptime_seconds\":%.6f,\"level\":\"%s\","
                                   "\"core\":%u,\"text\":\"",
                                   line->sequence, time_json, (double)line->time_ns / 1e9,
                                   level_names[line->level & 3], line->core);
    used += json_escape(out + used, LINE_BYTES_MAX - used - 3, line->text);
    memcpy(out + used, "\"}\n", 3);
    return used + 3;
}

static bool log_more(struct http_connection *c)
{
    struct log_line line;
    char text[LINE_BYTES_MAX];
    while (stream_room(c) >= LINE_BYTES_MAX) {
        if (!log_read(c->work.log.next, &line) || line.time_ns > c->work.log.end_ns)
            return false;
        line.text[sizeof(line.text) - 1] = 0;
        stream_write(c, text,
                     c->work.log.as_json ? line_json(text, &line) : line_text(text, &line));
        c->work.log.next = line.sequence + 1;
    }
    return true;
}

void api_log(struct http_connection *c)
{
    char format[8] = "";
    uint64_t from = 1;
    if (query_uint(c, "from", 0, INT64_MAX, &from) < 0) {
        reply_problem(c, 400, "from", "from must be the sequence number of a log line.");
        return;
    }
    int found = query_get(c, "format", format, sizeof(format));
    if (found < 0 || (found && strcmp(format, "json") != 0 && strcmp(format, "text") != 0)) {
        reply_problem(c, 400, "format", "format must be text or json.");
        return;
    }
    c->work.log.as_json =
        found ? strcmp(format, "json") == 0
              : strstr(c->headers[HEADER_ACCEPT].text, "application/x-ndjson") != NULL;
    c->work.log.next = from;
    c->work.log.end_ns = time_ns(); /* what is logged from now on is another request's */
    reply_stream(c, 200, c->work.log.as_json ? "application/x-ndjson" : "text/plain; charset=utf-8",
                 log_more);
}
