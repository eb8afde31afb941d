/*
 * runtime/http/connection.c: the life of a connection, and the reading of requests.
 *
 * Framing is llhttp's in its strict mode, with every leniency off: it refuses Content-Length beside
 * Transfer-Encoding, a repeated or odd Content-Length, bare CR or LF, space before the colon, NUL, bad chunk sizes
 * (RFC 9112, sections 2.2, 5, 6.3, 7.1). Limits and what else the RFCs ask of a server are checked here. After any
 * framing error the connection is closed, since nobody can tell where the next request would start.
 *
 * Each request gets a parser that starts anew, so nothing of one leaks into the next.
 */
#include "runtime/http/connection.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECTION_SLOTS (HTTP_CONNECTION_MAX + HTTP_REFUSED_MAX)
/* Framing that a body may bring along: chunk sizes, extensions and trailers. */
#define BODY_FRAMING_MAX 16384
#define HEAD_RAW_MAX     (HTTP_TARGET_MAX + HTTP_HEADER_BYTES + 2048)

static struct http_connection connections[CONNECTION_SLOTS];
struct connection_counters connection_counters;

struct http_connection *connection_get(unsigned index)
{
    return index < CONNECTION_SLOTS ? &connections[index] : NULL;
}

/* ---- what llhttp calls ----------------------------------------------------------------------------------------- */

/* Stops the parser; connection_read() turns it into a reply. */
static int parser_fail(struct http_connection *c, int status, const char *detail)
{
    c->early_status = (uint16_t)status;
    c->early_field[0] = 0;
    snprintf(c->early_detail, sizeof(c->early_detail), "%s", detail);
    return HPE_USER;
}

static int on_url(llhttp_t *parser, const char *at, size_t size_bytes)
{
    struct http_connection *c = parser->data;
    if (size_bytes > (size_t)(HTTP_TARGET_MAX - c->target_bytes))
        return parser_fail(c, 414, "The request target is longer than 2048 bytes.");
    memcpy(c->target + c->target_bytes, at, size_bytes);
    c->target_bytes += (uint16_t)size_bytes;
    return 0;
}

static int header_bytes_add(struct http_connection *c, size_t size_bytes)
{
    if (size_bytes > HTTP_HEADER_BYTES - c->header_bytes)
        return parser_fail(c, 431, "The headers are larger than 8192 bytes together.");
    c->header_bytes += (uint32_t)size_bytes;
    return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t size_bytes)
{
    struct http_connection *c = parser->data;
    if (c->field == HEADER_COUNT + 1) { /* the first piece of a new line */
        if (++c->header_count > HTTP_HEADER_MAX)
            return parser_fail(c, 431, "There are more than 64 header lines.");
        c->field = HEADER_OTHER;
        c->field_bytes = 0;
    }
    for (size_t i = 0; i < size_bytes && c->field_bytes < sizeof(c->field_text); i++)
        c->field_text[c->field_bytes++] = at[i];
    return header_bytes_add(c, size_bytes);
}

static int on_header_field_complete(llhttp_t *parser)
{
    static const struct {
        const char *name;
        uint8_t length;
    } known[HEADER_COUNT] = {
        [HEADER_HOST] = {"host", 4},
        [HEADER_AUTHORIZATION] = {"authorization", 13},
        [HEADER_CONTENT_TYPE] = {"content-type", 12},
        [HEADER_CONTENT_ENCODING] = {"content-encoding", 16},
        [HEADER_TRANSFER_ENCODING] = {"transfer-encoding", 17},
        [HEADER_EXPECT] = {"expect", 6},
        [HEADER_ORIGIN] = {"origin", 6},
        [HEADER_ACCEPT] = {"accept", 6},
    };
    struct http_connection *c = parser->data;
    if (c->head_is_complete)
        return 0; /* a trailer: read over, never merged into the headers (RFC 9110, 6.5.1) */
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        if (known[i].length != c->field_bytes ||
            strncasecmp(known[i].name, c->field_text, c->field_bytes) != 0)
            continue;
        struct header_value *header = &c->headers[i];
        c->field = (uint8_t)i;
        if (header->count < UINT8_MAX)
            header->count++;
        if (i == HEADER_ACCEPT && header->count > 1 && header->size_bytes < HEADER_VALUE_MAX)
            header->text[header->size_bytes++] = ','; /* a list may stand on several lines */
        break;
    }
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t size_bytes)
{
    struct http_connection *c = parser->data;
    if (c->field < HEADER_COUNT) {
        struct header_value *header = &c->headers[c->field];
        size_t room = HEADER_VALUE_MAX - header->size_bytes;
        if (size_bytes > room)
            header->is_cut = true;
        size_t taken = size_bytes < room ? size_bytes : room;
        memcpy(header->text + header->size_bytes, at, taken);
        header->size_bytes += (uint16_t)taken;
    }
    return header_bytes_add(c, size_bytes);
}

static int on_header_value_complete(llhttp_t *parser)
{
    struct http_connection *c = parser->data;
    c->field = HEADER_COUNT + 1;
    return 0;
}

static uint8_t method_bit(uint8_t method)
{
    switch (method) {
    case HTTP_GET:
        return METHOD_GET;
    case HTTP_HEAD:
        return METHOD_HEAD;
    case HTTP_POST:
        return METHOD_POST;
    case HTTP_DELETE:
        return METHOD_DELETE;
    case HTTP_OPTIONS:
        return METHOD_OPTIONS;
    default:
        return METHOD_OTHER;
    }
}

/* What must be right about the headers whoever answers. */
static void headers_check(struct http_connection *c)
{
    static const enum http_header single[] = {HEADER_AUTHORIZATION, HEADER_CONTENT_TYPE,
                                              HEADER_CONTENT_ENCODING, HEADER_EXPECT,
                                              HEADER_ORIGIN};
    static const char *const names[] = {"Authorization", "Content-Type", "Content-Encoding",
                                        "Expect", "Origin"};
    for (unsigned i = 0; i < ARRAY_COUNT(single); i++)
        if (c->headers[single[i]].count > 1)
            connection_refuse(c, 400, names[i], "%s is given more than once.", names[i]);
    const struct header_value *encoding = &c->headers[HEADER_CONTENT_ENCODING];
    if (encoding->count && strcasecmp(encoding->text, "identity") != 0)
        connection_refuse(c, 415, "Content-Encoding", "Send the body without compression.");
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_connection *c = parser->data;
    c->head_is_complete = true;
    c->method = method_bit(parser->method);
    c->is_http_1_0 = parser->http_major == 1 && parser->http_minor == 0;
    if (!c->is_http_1_0 && !(parser->http_major == 1 && parser->http_minor == 1))
        return parser_fail(c, 505, "Speak HTTP/1.1 (or 1.0).");
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        struct header_value *header = &c->headers[i];
        while (header->size_bytes > 0 && (header->text[header->size_bytes - 1] == ' ' ||
                                          header->text[header->size_bytes - 1] == '\t'))
            header->size_bytes--;
        header->text[header->size_bytes] = 0;
    }
    c->target[c->target_bytes] = 0;

    const struct header_value *coding = &c->headers[HEADER_TRANSFER_ENCODING];
    if (coding->count) {
        if (c->is_http_1_0)
            return parser_fail(c, 400, "HTTP/1.0 has no Transfer-Encoding.");
        if (strcasecmp(coding->text, "chunked") != 0)
            return parser_fail(c, 501, "chunked is the only Transfer-Encoding known here, once.");
    }
    const struct header_value *host = &c->headers[HEADER_HOST];
    if (host->count > 1 || host->is_cut || (!c->is_http_1_0 && host->count == 0))
        return parser_fail(c, 400, "Send exactly one Host header.");
    if (c->method == METHOD_OTHER && parser->method != HTTP_PUT && parser->method != HTTP_PATCH)
        return parser_fail(c, 501, "This method is not known here.");

    c->keep_alive = llhttp_should_keep_alive(parser);
    headers_check(c);
    route_begin(c);

    bool has_body = parser->flags & F_CHUNKED || parser->content_length > 0;
    if (!has_body)
        return 0;
    if (parser->flags & F_CONTENT_LENGTH && parser->content_length > HTTP_BODY_MAX)
        return parser_fail(c, 413, "The body is larger than 65536 bytes.");
    const struct header_value *expect = &c->headers[HEADER_EXPECT];
    if (expect->count) {
        if (strcasecmp(expect->text, "100-continue") != 0)
            connection_refuse(c, 417, "Expect", "100-continue is the only expectation known here.");
        if (c->early_status)
            return HPE_USER; /* the client waits before it sends the body: say no at once */
        if (!c->is_http_1_0) {
            static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
            output_add(c, go_on, sizeof(go_on) - 1);
        }
    }
    c->deadline_ns = time_ns() + HTTP_BODY_SECONDS * NS_PER_S;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t size_bytes)
{
    struct http_connection *c = parser->data;
    if (size_bytes > HTTP_BODY_MAX - c->body_bytes)
        return parser_fail(c, 413, "The body is larger than 65536 bytes.");
    if (c->early_status || !c->route || !c->route->post || c->method != METHOD_POST) {
        c->body_bytes += (uint32_t)size_bytes; /* nobody will look at it */
        return 0;
    }
    if (c->body_bytes + size_bytes > c->body_capacity) {
        uint64_t wanted = parser->flags & F_CONTENT_LENGTH
                              ? c->body_bytes + size_bytes + parser->content_length
                              : 2 * (c->body_bytes + size_bytes);
        uint32_t capacity = (uint32_t)min_u64(wanted, HTTP_BODY_MAX);
        char *body = realloc(c->body, capacity);
        if (!body)
            return parser_fail(c, 503, "There is not enough memory for the body. Try again later.");
        c->body = body;
        c->body_capacity = capacity;
    }
    memcpy(c->body + c->body_bytes, at, size_bytes);
    c->body_bytes += (uint32_t)size_bytes;
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    return HPE_PAUSED; /* what follows is another request */
}

static const llhttp_settings_t parser_settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- refusing -------------------------------------------------------------------------------------------------- */

void connection_refuse(struct http_connection *c, int status, const char *field, const char *fmt,
                       ...)
{
    if (c->early_status)
        return;
    c->early_status = (uint16_t)status;
    snprintf(c->early_field, sizeof(c->early_field), "%s", field ? field : "");
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->early_detail, sizeof(c->early_detail), fmt, args);
    va_end(args);
}

void connection_fail(struct http_connection *c, int status, const char *detail)
{
    c->close_after = true;
    c->keep_alive = false;
    c->must_linger = true;
    if (c->output_end - c->output_start > HTTP_OUTPUT_BYTES - HTTP_REPLY_ROOM || c->reply_body) {
        c->state = HTTP_CLOSED; /* earlier replies still fill the output: the peer is not reading */
        return;
    }
    reply_problem(c, status, c->early_field[0] ? c->early_field : NULL, "%s", detail);
}

/* llhttp's verdict as a status. at is the byte it stopped at. */
static void parser_refused(struct http_connection *c, enum llhttp_errno error, const char *at,
                           const char *end)
{
    char detail[160];
    switch ((int)error) {
    case HPE_USER:
        connection_fail(c, c->early_status, c->early_detail);
        return;
    case HPE_CB_HEADERS_COMPLETE:
        connection_fail(c, c->early_status ? c->early_status : 400, c->early_detail);
        return;
    case HPE_INVALID_METHOD:
        /* A word is a method that we do not know; anything else was no HTTP at all. */
        if (at && at < end && ((*at >= 'A' && *at <= 'Z') || *at == ' ' || *at == '-'))
            connection_fail(c, 501, "This method is not known here.");
        else
            connection_fail(c, 400, "This is not an HTTP request.");
        return;
    case HPE_INVALID_VERSION: /* also what llhttp says when something else than CRLF follows */
        if (strcmp(llhttp_get_error_reason(&c->parser), "Invalid HTTP version") != 0)
            break;
        connection_fail(c, 505, "Speak HTTP/1.1 (or 1.0).");
        return;
    case HPE_PAUSED_H2_UPGRADE:
        connection_fail(c, 505, "Speak HTTP/1.1 (or 1.0).");
        return;
    default:
        break;
    }
    snprintf(detail, sizeof(detail), "The request is malformed: %s.",
             llhttp_get_error_reason(&c->parser));
    connection_fail(c, 400, detail);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Ready for the next request. */
static void request_reset(struct http_connection *c)
{
    llhttp_init(&c->parser, HTTP_REQUEST, &parser_settings);
    c->parser.data = c;
    free(c->body);
    c->body = NULL;
    c->body_bytes = c->body_capacity = 0;
    c->head_has_started = c->head_is_complete = c->keep_alive = c->close_after = false;
    c->is_chunked_reply = c->is_http_1_0 = false;
    c->method = 0;
    c->target_bytes = c->header_count = c->extra_bytes = 0;
    c->header_bytes = c->raw_bytes = 0;
    c->field = HEADER_COUNT + 1;
    c->path[0] = 0;
    c->query = c->target;
    c->target[0] = 0;
    c->captured[0] = 0;
    c->route = NULL;
    c->early_status = 0;
    c->early_field[0] = 0;
    c->resume = NULL;
    c->more = NULL;
    c->abandon = NULL;
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        c->headers[i].size_bytes = 0;
        c->headers[i].count = 0;
        c->headers[i].is_cut = false;
        c->headers[i].text[0] = 0;
    }
    c->state = HTTP_READING;
}

/* One turn of the parser. Returns the bytes it took. */
static size_t connection_read(struct http_connection *c, const char *data, size_t size_bytes)
{
    static uint64_t request_count;
    if (!c->head_has_started) {
        c->head_has_started = true;
        c->started_ns = time_ns();
        c->deadline_ns = c->started_ns + HTTP_HEAD_SECONDS * NS_PER_S;
        c->request_id = ++request_count;
    }
    enum llhttp_errno error = llhttp_execute(&c->parser, data, size_bytes);
    if (error == HPE_OK) {
        c->raw_bytes += size_bytes;
        if (!c->head_is_complete && c->raw_bytes > HEAD_RAW_MAX)
            connection_fail(c, 431,
                            "The request line and the headers do not end within 12288 bytes.");
        else if (c->head_is_complete &&
                 c->raw_bytes - c->body_bytes > HEAD_RAW_MAX + BODY_FRAMING_MAX)
            connection_fail(c, 400,
                            "The body's chunk sizes, extensions and trailers outweigh its data.");
        return size_bytes;
    }
    const char *at = llhttp_get_error_pos(&c->parser);
    if (error == HPE_PAUSED && at >= data && at <= data + size_bytes) {
        route_dispatch(c);
        return (size_t)(at - data);
    }
    parser_refused(c, error, at, data + size_bytes);
    return size_bytes;
}

size_t http_connection_receive(struct http_connection *c, const void *data, size_t size_bytes)
{
    size_t used = 0;
    while (used < size_bytes) {
        if (c->state >= HTTP_DRAINING)
            return size_bytes; /* nothing more will be answered */
        if (c->state != HTTP_READING ||
            HTTP_OUTPUT_BYTES - (c->output_end - c->output_start) < HTTP_REPLY_ROOM)
            break;
        used += connection_read(c, (const char *)data + used, size_bytes - used);
    }
    connection_counters.received_bytes += used;
    return used;
}

void http_connection_input_ended(struct http_connection *c)
{
    c->input_has_ended = true;
}

/* ---- output ---------------------------------------------------------------------------------------------------- */

size_t http_connection_output(struct http_connection *c, const void **data, bool *is_static)
{
    if (c->output_end > c->output_start) {
        *data = c->output + c->output_start;
        *is_static = false;
        return (size_t)(c->output_end - c->output_start);
    }
    *data = c->reply_body;
    *is_static = c->reply_owned == NULL;
    return c->reply_body_bytes;
}

/* A reply is out: on to the next request, or to the end. */
static void reply_sent(struct http_connection *c, uint64_t now)
{
    reply_release(c);
    if (c->state == HTTP_SENDING) {
        http_connection_reset(c);
    } else if (c->state == HTTP_DRAINING) {
        c->state = c->must_linger && !c->input_has_ended ? HTTP_LINGERING : HTTP_CLOSED;
        c->deadline_ns = now + HTTP_LINGER_SECONDS * NS_PER_S;
    }
}

void http_connection_sent(struct http_connection *c, size_t size_bytes)
{
    uint64_t now = time_ns();
    connection_counters.sent_bytes += size_bytes;
    size_t from_output = min_u64(size_bytes, (uint64_t)(c->output_end - c->output_start));
    c->output_start += (uint16_t)from_output;
    if (c->output_start == c->output_end)
        c->output_start = c->output_end = 0;
    size_t from_body = min_u64(size_bytes - from_output, c->reply_body_bytes);
    if (from_body > 0) {
        c->reply_body += from_body;
        c->reply_body_bytes -= from_body;
    }
    if (c->state > HTTP_READING && c->state < HTTP_LINGERING)
        c->deadline_ns = now + HTTP_SEND_SECONDS * NS_PER_S;
    if (c->output_end == 0 && c->reply_body_bytes == 0)
        reply_sent(c, now);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

void http_connection_reset(struct http_connection *c)
{
    request_reset(c);
    c->started_ns = time_ns(); /* idle since */
    c->deadline_ns = c->started_ns + HTTP_IDLE_SECONDS * NS_PER_S;
}

static bool connection_is_idle(const struct http_connection *c)
{
    return c->state == HTTP_READING && !c->head_has_started && c->output_end == 0;
}

/* All connections are taken: let go of the one that has been idle longest, if that is long. */
static bool connection_evict(void)
{
    struct http_connection *oldest = NULL;
    for (unsigned i = 0; i < CONNECTION_SLOTS; i++) {
        struct http_connection *c = &connections[i];
        if (c->is_used && !c->is_refused && connection_is_idle(c) &&
            (!oldest || c->started_ns < oldest->started_ns))
            oldest = c;
    }
    if (!oldest || time_ns() - oldest->started_ns < HTTP_YIELD_SECONDS * NS_PER_S)
        return false;
    oldest->state = HTTP_CLOSED; /* the transport learns of it when it polls next */
    http_announce();
    return true;
}

struct http_connection *http_connection_open(uint32_t peer_address)
{
    struct http_connection *c = NULL;
    unsigned serving = 0, of_peer = 0;
    for (unsigned i = 0; i < CONNECTION_SLOTS; i++) {
        struct http_connection *other = &connections[i];
        if (!other->is_used) {
            c = c ? c : other;
        } else if (!other->is_refused && other->state != HTTP_CLOSED) {
            serving++;
            of_peer += other->peer_address == peer_address;
        }
    }
    if (!c)
        return NULL;
    bool is_full =
        (serving >= HTTP_CONNECTION_MAX || of_peer >= HTTP_PER_PEER_MAX) && !connection_evict();
    c->is_used = true;
    c->is_refused = is_full;
    c->input_has_ended = c->must_linger = false;
    c->peer_address = peer_address;
    c->owner = NULL;
    c->output_start = c->output_end = 0;
    c->reply_body = NULL;
    c->reply_body_bytes = 0;
    c->reply_owned = NULL;
    http_connection_reset(c);
    c->deadline_ns =
        c->started_ns + HTTP_HEAD_SECONDS * NS_PER_S; /* a new peer has something to say */
    connection_counters.accepted++;
    connection_counters.open++;
    if (is_full) {
        connection_counters.refused++;
        reply_header(c, "Retry-After: 1");
        connection_fail(c, 503, "All connections are in use. Try again in a moment.");
    }
    return c;
}

void http_connection_close(struct http_connection *c)
{
    if (c->abandon)
        c->abandon(c);
    reply_release(c);
    request_reset(c);
    c->state = HTTP_CLOSED;
    c->is_used = false;
    connection_counters.open--;
}

/* The deadline of the state has passed. */
static void connection_time_out(struct http_connection *c)
{
    connection_counters.timed_out += c->state != HTTP_LINGERING;
    if (c->state == HTTP_READING && c->head_has_started) {
        c->early_field[0] = 0;
        connection_fail(c, 408,
                        c->head_is_complete ? "The body did not arrive within 30 seconds."
                                            : "The headers did not arrive within 10 seconds.");
    } else {
        c->state = HTTP_CLOSED;
    }
}

enum http_next http_connection_poll(struct http_connection *c)
{
    bool is_drained = c->output_end == 0 && c->reply_body_bytes == 0;
    if (c->state == HTTP_WAITING)
        c->resume(c);
    else if (c->state == HTTP_STREAMING && c->input_has_ended && c->abandon)
        c->state = HTTP_CLOSED; /* whoever followed the endless stream has gone */
    else if (c->state == HTTP_STREAMING)
        stream_continue(c);
    else if (c->input_has_ended && is_drained &&
             (c->state == HTTP_READING || c->state == HTTP_LINGERING))
        c->state = HTTP_CLOSED;

    bool is_quiet_stream = c->state == HTTP_STREAMING && is_drained;
    if (c->state != HTTP_CLOSED && c->state != HTTP_WAITING && !is_quiet_stream &&
        time_ns() >= c->deadline_ns)
        connection_time_out(c);
    if (c->state == HTTP_CLOSED)
        return HTTP_CLOSE;
    return c->state == HTTP_LINGERING ? HTTP_END_OUTPUT : HTTP_GO_ON;
}

void http_connection_set_owner(struct http_connection *c, void *owner)
{
    c->owner = owner;
}

void *http_connection_owner(const struct http_connection *c)
{
    return c->owner;
}
