/*
 * runtime/http/reply.c: the writing of replies.
 *
 * Head and small bodies go into the connection's own buffer, so that a transport sends them in one piece and pipelined
 * replies share it. Larger bodies are sent from where they lie: constants of the program, or one malloc()ed block.
 * Bodies of unknown length go out in chunks (RFC 9112, 7.1), to HTTP/1.0 until the connection closes.
 */
#include "runtime/http/connection.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config/config.h"

static size_t memory_used; /* by replies under way, held in reply_owned */

const char *status_title(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 422:
        return "Unprocessable Content";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "Error";
    }
}

void output_add(struct http_connection *c, const void *data, size_t size_bytes)
{
    if (size_bytes > (size_t)(HTTP_OUTPUT_BYTES - c->output_end)) {
        memmove(c->output, c->output + c->output_start, (size_t)(c->output_end - c->output_start));
        c->output_end -= c->output_start;
        c->output_start = 0;
    }
    assert(size_bytes <= (size_t)(HTTP_OUTPUT_BYTES - c->output_end));
    memcpy(c->output + c->output_end, data, size_bytes);
    c->output_end += (uint16_t)size_bytes;
}

#define OUTPUT_ADD(c, literal) output_add(c, literal, sizeof(literal) - 1)

static void output_string(struct http_connection *c, const char *text)
{
    output_add(c, text, strlen(text));
}

static size_t output_room(const struct http_connection *c)
{
    return (size_t)(HTTP_OUTPUT_BYTES - (c->output_end - c->output_start));
}

/* The Date line, formatted once a second. Left out while nobody has told us the time (RFC 9110, 6.6.1). */
static void output_date(struct http_connection *c)
{
    static char line[TIME_TEXT_BYTES + 10];
    static size_t line_bytes;
    static int64_t second;
    int64_t now = wall_clock_ns() / (int64_t)NS_PER_S;
    if (now == 0)
        return;
    if (now != second) {
        char date[TIME_TEXT_BYTES];
        time_format_http(date, now * (int64_t)NS_PER_S);
        line_bytes = (size_t)snprintf(line, sizeof(line), "Date: %s\r\n", date);
        second = now;
    }
    output_add(c, line, line_bytes);
}

void reply_header(struct http_connection *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t room = sizeof(c->extra) - c->extra_bytes;
    int length = vsnprintf(c->extra + c->extra_bytes, room, fmt, args);
    va_end(args);
    assert(length >= 0 && (size_t)length + 2 < room);
    memcpy(c->extra + c->extra_bytes + length, "\r\n", 2);
    c->extra_bytes += (uint16_t)(length + 2);
}

#define LENGTH_CHUNKED UINT64_MAX
#define LENGTH_NONE    (UINT64_MAX - 1)

/* Status line and headers. content_bytes: Content-Length, or one of the above. */
static void output_head(struct http_connection *c, int status, const char *content_type,
                        uint64_t content_bytes)
{
    char number[24];
    c->reply_status = (uint16_t)status;
    if (status == 200) {
        OUTPUT_ADD(c, "HTTP/1.1 200 OK\r\n");
    } else {
        OUTPUT_ADD(c, "HTTP/1.1 ");
        output_add(c, number, decimal_format(number, (uint64_t)status));
        OUTPUT_ADD(c, " ");
        output_string(c, status_title(status));
        OUTPUT_ADD(c, "\r\n");
    }
    output_date(c);
    if (content_type) {
        OUTPUT_ADD(c, "Content-Type: ");
        output_string(c, content_type);
        OUTPUT_ADD(c, "\r\n");
    }
    c->is_chunked_reply = content_bytes == LENGTH_CHUNKED && !c->is_http_1_0;
    if (c->is_chunked_reply) {
        OUTPUT_ADD(c, "Transfer-Encoding: chunked\r\n");
    } else if (content_bytes == LENGTH_CHUNKED) {
        c->close_after = true;
    } else if (content_bytes != LENGTH_NONE) {
        OUTPUT_ADD(c, "Content-Length: ");
        output_add(c, number, decimal_format(number, content_bytes));
        OUTPUT_ADD(c, "\r\n");
    }
    OUTPUT_ADD(c, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    if (c->close_after || !c->keep_alive)
        OUTPUT_ADD(c, "Connection: close\r\n");
    else if (c->is_http_1_0)
        OUTPUT_ADD(c, "Connection: keep-alive\r\n");
    if (config.cors_origin[0] && strcmp(c->headers[HEADER_ORIGIN].text, config.cors_origin) == 0) {
        OUTPUT_ADD(c, "Vary: Origin\r\nAccess-Control-Allow-Origin: ");
        output_string(c, config.cors_origin);
        OUTPUT_ADD(c, "\r\n");
    }
    output_add(c, c->extra, c->extra_bytes);
    c->extra_bytes = 0;
    OUTPUT_ADD(c, "\r\n");
}

/* The reply is complete. */
static void reply_finish(struct http_connection *c)
{
    route_count(c, c->reply_status);
    c->abandon = NULL;
    if (c->close_after || !c->keep_alive) {
        c->state = HTTP_DRAINING;
        c->deadline_ns = time_ns() + HTTP_SEND_SECONDS * NS_PER_S;
    } else if (c->reply_body_bytes) {
        c->state = HTTP_SENDING;
        c->deadline_ns = time_ns() + HTTP_SEND_SECONDS * NS_PER_S;
    } else {
        http_connection_reset(c);
    }
}

void reply_release(struct http_connection *c)
{
    free(c->reply_owned);
    c->reply_owned = NULL;
    memory_used -= c->reply_owned_bytes;
    c->reply_owned_bytes = 0;
    c->reply_body = NULL;
    c->reply_body_bytes = 0;
}

/* Head, then body: copied where it fits. Returns whether it was. */
static bool output_reply(struct http_connection *c, int status, const char *content_type,
                         const void *body, size_t size_bytes)
{
    output_head(c, status, content_type, size_bytes);
    if (c->method == METHOD_HEAD)
        return true;
    if (size_bytes <= output_room(c)) {
        output_add(c, body, size_bytes);
        return true;
    }
    c->reply_body = body;
    c->reply_body_bytes = size_bytes;
    return false;
}

void reply_static(struct http_connection *c, int status, const char *content_type, const void *body,
                  size_t size_bytes)
{
    output_reply(c, status, content_type, body, size_bytes);
    reply_finish(c);
}

void reply_text(struct http_connection *c, int status, const char *content_type, const char *body)
{
    size_t size_bytes = strlen(body);
    assert(size_bytes <= HTTP_REPLY_ROOM - 900); /* the head takes at most 900 */
    output_reply(c, status, content_type, body, size_bytes);
    reply_finish(c);
}

void reply_owned(struct http_connection *c, int status, const char *content_type, char *body,
                 size_t size_bytes)
{
    if (!body || size_bytes > HTTP_MEMORY_MAX - memory_used) {
        free(body);
        reply_out_of_memory(c);
        return;
    }
    if (output_reply(c, status, content_type, body, size_bytes)) {
        free(body);
    } else {
        c->reply_owned = body;
        c->reply_owned_bytes = size_bytes;
        memory_used += size_bytes;
    }
    reply_finish(c);
}

static bool json_has_failed; /* an allocation, since json_new() */

static void *json_malloc(void *arg, size_t size_bytes)
{
    void *memory = malloc(size_bytes);
    json_has_failed |= memory == NULL;
    return memory;
}

static void *json_realloc(void *arg, void *old, size_t old_bytes, size_t size_bytes)
{
    void *memory = realloc(old, size_bytes);
    json_has_failed |= memory == NULL;
    return memory;
}

static void json_free(void *arg, void *memory)
{
    free(memory);
}

yyjson_mut_doc *json_new(yyjson_mut_val **root)
{
    static const yyjson_alc allocator = {
        .malloc = json_malloc, .realloc = json_realloc, .free = json_free};
    json_has_failed = false;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(&allocator);
    *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, *root);
    return doc;
}

void reply_json(struct http_connection *c, int status, yyjson_mut_doc *doc)
{
    size_t size_bytes = 0;
    char *body = json_has_failed
                     ? NULL
                     : yyjson_mut_write(
                           doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE | YYJSON_WRITE_NEWLINE_AT_END,
                           &size_bytes);
    yyjson_mut_doc_free(doc);
    reply_owned(c, status, "application/json", body, size_bytes);
}

void reply_empty(struct http_connection *c, int status)
{
    output_head(c, status, NULL, status == 204 ? LENGTH_NONE : 0);
    reply_finish(c);
}

/* ---- problems -------------------------------------------------------------------------------------------------- */

size_t problem_format(const struct http_connection *c, char *out, size_t out_bytes, int status,
                      const char *field, const char *detail)
{
    char detail_json[640], instance_json[320], field_json[160] = "";
    detail_json[json_escape(detail_json, sizeof(detail_json) - 1, detail)] = 0;
    instance_json[json_escape(instance_json, sizeof(instance_json) - 1, c->path)] = 0;
    if (field) {
        size_t used = (size_t)snprintf(field_json, sizeof(field_json), ",\"field\":\"");
        used += json_escape(field_json + used, sizeof(field_json) - used - 2, field);
        memcpy(field_json + used, "\"", 2);
    }
    int length = snprintf(
        out, out_bytes,
        "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\","
        "\"instance\":\"%s\"%s,\"request_id\":\"%" PRIu64 "\"}",
        status_title(status), status, detail_json, instance_json, field_json, c->request_id);
    assert(length > 0 && (size_t)length < out_bytes);
    return (size_t)length;
}

void reply_problem(struct http_connection *c, int status, const char *field, const char *fmt, ...)
{
    char detail[400], body[1300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    size_t size_bytes = problem_format(c, body, sizeof(body) - 1, status, field, detail);
    body[size_bytes++] = '\n';
    if (status == 503 && c->extra_bytes == 0)
        reply_header(c, "Retry-After: 1");
    if (status == 401)
        reply_header(c, "WWW-Authenticate: Bearer realm=\"ingot\"");
    if (status >= 500 && !c->is_refused)
        log_warn("http: request %" PRIu64 ": %d %s", c->request_id, status, detail);
    output_reply(c, status, "application/problem+json", body, size_bytes);
    reply_finish(c);
}

void reply_out_of_memory(struct http_connection *c)
{
    reply_problem(c, 503, NULL,
                  "There is not enough memory for this reply. Try again later, or ask for less.");
}

/* ---- more than one step ---------------------------------------------------------------------------------------- */

void reply_later(struct http_connection *c, void (*resume)(struct http_connection *c),
                 void (*abandon)(struct http_connection *c))
{
    c->state = HTTP_WAITING;
    c->resume = resume;
    c->abandon = abandon;
}

size_t stream_room(const struct http_connection *c)
{
    size_t room = output_room(c);
    return room > HTTP_STREAM_ROOM ? room - HTTP_STREAM_ROOM : 0;
}

void stream_write(struct http_connection *c, const void *data, size_t size_bytes)
{
    char size_line[12];
    if (size_bytes == 0)
        return;
    if (c->is_chunked_reply)
        output_add(c, size_line,
                   (size_t)snprintf(size_line, sizeof(size_line), "%zx\r\n", size_bytes));
    output_add(c, data, size_bytes);
    if (c->is_chunked_reply)
        OUTPUT_ADD(c, "\r\n");
}

void stream_continue(struct http_connection *c)
{
    bool was_empty = c->output_end == c->output_start;
    bool goes_on = c->more(c);
    if (was_empty)
        c->deadline_ns = time_ns() + HTTP_SEND_SECONDS * NS_PER_S;
    if (goes_on)
        return;
    if (c->is_chunked_reply && !c->reply_body_bytes)
        OUTPUT_ADD(c, "0\r\n\r\n");
    reply_finish(c);
}

void stream_end(struct http_connection *c, struct text *text)
{
    char size_line[12];
    size_t size_bytes = text->size_bytes;
    if (c->is_chunked_reply)
        text_add(text, "\r\n0\r\n\r\n", 7); /* the last chunk stands behind it in the same block */
    if (text->has_failed || text->size_bytes > HTTP_MEMORY_MAX - memory_used) {
        text_free(text);
        return; /* the stream ends without it */
    }
    if (c->is_chunked_reply)
        output_add(c, size_line,
                   (size_t)snprintf(size_line, sizeof(size_line), "%zx\r\n", size_bytes));
    c->reply_owned = text->data;
    c->reply_owned_bytes = text->size_bytes;
    memory_used += c->reply_owned_bytes;
    c->reply_body = text->data;
    c->reply_body_bytes = text->size_bytes;
    *text = (struct text){0};
}

void reply_stream(struct http_connection *c, int status, const char *content_type,
                  bool (*more)(struct http_connection *c))
{
    output_head(c, status, content_type, LENGTH_CHUNKED);
    if (c->method == METHOD_HEAD) {
        reply_finish(c);
        return;
    }
    c->more = more;
    c->state = HTTP_STREAMING;
    stream_continue(c);
}
