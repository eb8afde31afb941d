/*
 * tests/unit/test_http.c: the HTTP server without a network: bytes in, bytes out. Framing and limits in tables
 * (each request is fed whole, byte by byte and in pieces of seven), then routes, waiting replies, streams and
 * deadlines on a fake clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config/config.h"
#include "runtime/http/connection.h"
#include "runtime/job/job.h"
#include "runtime/volume/volume.h"
#include "tests/host/disk_file.h"
#include "tests/host/host.h"

#define TOKEN       "correct-horse-battery-staple"
#define AUTH        "Authorization: Bearer " TOKEN "\r\n"
#define HOST        "Host: ingot.local\r\n"
#define OUTPUT_MAX  (1 << 20)
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST AUTH "\r\n"
#define POST_HEAD   "POST /v1/jobs HTTP/1.1\r\n" HOST AUTH "Content-Type: application/json\r\n"

/* ---- apps for these tests -------------------------------------------------------------------------------------- */

static int run_echo(struct job *job)
{
    yyjson_mut_obj_add_strcpy(job_document(job), job_result(job), "said", job_string(job, "text"));
    return 0;
}
INGOT_APP(echo, "Gives back what it gets", run_echo, APP_IMMEDIATE,
          ARG_STRING("text", "what to say", .is_required = true));

static volatile bool stay_may_end;
static volatile unsigned stay_progress;

static int run_stay(struct job *job)
{
    while (!stay_may_end) {
        if (job_cancelled(job))
            return -ECANCELED;
        job_progress(job, "staying", stay_progress, 100);
        task_sleep_until(time_ns() + 10 * NS_PER_MS);
    }
    return 0;
}
INGOT_APP(stay, "Runs until it is told to end", run_stay, APP_IMMEDIATE,
          ARG_UINT("unused", "nothing", .maximum = 3));

static int run_large(struct job *job)
{
    char text[64];
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(job_document(job), job_result(job), "list");
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "entry number %u of a long list", i);
        yyjson_mut_arr_add_strcpy(job_document(job), list, text);
    }
    return 0;
}
INGOT_APP(large, "Has a large result", run_large, APP_IMMEDIATE, ARG_BOOL("unused", "nothing"));

/* ---- a transport made of arrays -------------------------------------------------------------------------------- */

struct client {
    struct http_connection *c;
    bool is_closed, has_ended_output;
    size_t output_bytes;
    char output[OUTPUT_MAX + 1];
};

static struct client client; /* most tests need one */

static void client_open(struct client *cl, uint32_t address)
{
    cl->is_closed = cl->has_ended_output = false;
    cl->output_bytes = 0;
    cl->output[0] = 0;
    cl->c = http_connection_open(address);
    assert_non_null(cl->c);
}

static void client_close(struct client *cl)
{
    if (cl->c)
        http_connection_close(cl->c);
    cl->c = NULL;
}

/* Let it move until it has nothing to say, taking at most piece bytes of output at a time. */
static void client_run(struct client *cl, size_t piece)
{
    const void *data;
    bool is_static;
    size_t size_bytes;
    do {
        enum http_next next = http_connection_poll(cl->c);
        if (next == HTTP_CLOSE) {
            cl->is_closed = true;
            return;
        }
        cl->has_ended_output |= next == HTTP_END_OUTPUT;
        size_bytes = min_u64(http_connection_output(cl->c, &data, &is_static), piece);
        assert_true(cl->output_bytes + size_bytes <= OUTPUT_MAX);
        if (size_bytes > 0) {
            memcpy(cl->output + cl->output_bytes, data, size_bytes);
            http_connection_sent(cl->c, size_bytes);
        }
        cl->output_bytes += size_bytes;
        cl->output[cl->output_bytes] = 0;
    } while (size_bytes > 0);
    if (http_connection_poll(cl->c) == HTTP_CLOSE)
        cl->is_closed = true;
}

/* Bytes are copied to the heap first, so that a sanitizer sees every read past the end. */
static size_t client_feed(struct client *cl, const char *data, size_t size_bytes, size_t piece)
{
    size_t fed = 0;
    unsigned stuck = 0;
    while (fed < size_bytes && !cl->is_closed && stuck < 3) {
        size_t offered = min_u64(piece, size_bytes - fed);
        char *copy = malloc(offered);
        memcpy(copy, data + fed, offered);
        size_t taken = http_connection_receive(cl->c, copy, offered);
        free(copy);
        assert_true(taken <= offered);
        fed += taken;
        stuck = taken ? 0 : stuck + 1;
        client_run(cl, SIZE_MAX);
    }
    return fed;
}

/* A request on a connection of its own; the reply stays in client.output. Returns the (first final) status. */
static int status_of(const char *output)
{
    if (strncmp(output, "HTTP/1.1 ", 9) != 0)
        return 0;
    int status = atoi(output + 9);
    const char *end = strstr(output, "\r\n\r\n");
    return status == 100 && end ? status_of(end + 4) : status;
}

static int request_pieces(const char *data, size_t size_bytes, size_t piece)
{
    client_open(&client, 0x0100007f);
    client_feed(&client, data, size_bytes, piece);
    int status = status_of(client.output);
    return status;
}

static int request(const char *text)
{
    int status = request_pieces(text, strlen(text), SIZE_MAX);
    client_close(&client);
    return status;
}

static const char *body(void)
{
    const char *at = strstr(client.output, "\r\n\r\n");
    assert_non_null(at);
    return at + 4;
}

static const char *problem_text(const char *name)
{
    static char value[400];
    yyjson_doc *doc = yyjson_read(body(), strlen(body()), YYJSON_READ_STOP_WHEN_DONE);
    assert_non_null(doc);
    const char *text = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), name));
    snprintf(value, sizeof(value), "%s", text ? text : "");
    yyjson_doc_free(doc);
    return value;
}

static void yield_ms(unsigned ms)
{
    task_sleep_until(time_ns() + ms * NS_PER_MS);
}

/* ---- framing --------------------------------------------------------------------------------------------------- */

struct framing_case {
    const char *name, *request;
    size_t size_bytes;
    int status;
    bool closes; /* the server ends the connection by itself */
};

#define CASE(name, text, status, closes) {name, text, sizeof(text) - 1, status, closes}

static const struct framing_case framing_cases[] = {
    CASE("plain", GET("/livez"), 200, false),
    CASE("HEAD", "HEAD /livez HTTP/1.1\r\n" HOST "\r\n", 200, false),
    CASE("empty lines before the request", "\r\n\r\n" GET("/livez"), 200, false),
    CASE("absolute form", "GET http://ingot.local/livez HTTP/1.1\r\n" HOST "\r\n", 200, false),
    CASE("absolute form without path", "GET http://ingot.local HTTP/1.1\r\n" HOST "\r\n", 200,
         false),
    CASE("absolute form, foreign", "GET http://evil.example/livez HTTP/1.1\r\n" HOST "\r\n", 421,
         false),
    CASE("asterisk", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 204, false),
    CASE("asterisk with GET", "GET * HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("close", "GET /livez HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", 200, true),
    CASE("close among others", "GET /livez HTTP/1.1\r\n" HOST "Connection: foo, Close\r\n\r\n", 200,
         true),
    CASE("upgrade is ignored",
         "GET /livez HTTP/1.1\r\n" HOST
         "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
         200, false),

    CASE("HTTP/1.0", "GET /livez HTTP/1.0\r\n\r\n", 200, true),
    CASE("HTTP/1.0 kept alive", "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200,
         false),
    CASE("HTTP/1.0 with Transfer-Encoding",
         "POST /v1/jobs HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
         true),
    CASE("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, true),
    CASE("HTTP/1.2", "GET /livez HTTP/1.2\r\n" HOST "\r\n", 505, true),
    CASE("HTTP/3.0", "GET /livez HTTP/3.0\r\n" HOST "\r\n", 505, true),
    CASE("HTTP/0.9", "GET /livez HTTP/0.9\r\n\r\n", 505, true),
    CASE("no version", "GET /livez\r\n\r\n", 505, true),
    CASE("lower case HTTP", "GET /livez http/1.1\r\n" HOST "\r\n", 400, true),

    CASE("unknown method", "BREW /livez HTTP/1.1\r\n" HOST "\r\n", 501, true),
    CASE("TRACE", "TRACE /livez HTTP/1.1\r\n" HOST "\r\n", 501, true),
    CASE("CONNECT", "CONNECT ingot.local:80 HTTP/1.1\r\n" HOST "\r\n", 501, true),
    CASE("PROPFIND", "PROPFIND /livez HTTP/1.1\r\n" HOST "\r\n", 501, true),
    CASE("PUT is known but not allowed",
         "PUT /livez HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", 405, false),
    CASE("TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, true),
    CASE("junk", "\x80\x81\x82 / HTTP/1.1\r\n\r\n", 400, true),

    CASE("no Host", "GET /livez HTTP/1.1\r\n\r\n", 400, true),
    CASE("two Hosts", "GET /livez HTTP/1.1\r\n" HOST HOST "\r\n", 400, true),
    CASE("empty Host", "GET /livez HTTP/1.1\r\nHost:\r\n\r\n", 421, false),
    CASE("foreign Host", "GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, false),
    CASE("longer Host", "GET /livez HTTP/1.1\r\nHost: ingot.local.evil.example\r\n\r\n", 421,
         false),
    CASE("Host with port", "GET /livez HTTP/1.1\r\nHost: INGOT:8080\r\n\r\n", 200, false),
    CASE("Host 127.0.0.1", "GET /livez HTTP/1.1\r\nHost: 127.0.0.1:18080\r\n\r\n", 200, false),
    CASE("Host localhost", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, false),
    CASE("Host from ingot.conf", "GET /livez HTTP/1.1\r\nHost: box.example\r\n\r\n", 200, false),
    CASE("second Host from ingot.conf", "GET /livez HTTP/1.1\r\nHost: lab.example:80\r\n\r\n", 200,
         false),
    CASE("part of a Host from ingot.conf", "GET /livez HTTP/1.1\r\nHost: box.exampl\r\n\r\n", 421,
         false),

    CASE("bare LF after the request line", "GET /livez HTTP/1.1\n" HOST "\r\n", 400, true),
    CASE("bare LF after a header", "GET /livez HTTP/1.1\r\nHost: ingot.local\n\r\n", 400, true),
    CASE("bare LF at the end", "GET /livez HTTP/1.1\r\n" HOST "\n", 400, true),
    CASE("bare CR in a value", "GET /livez HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n", 400, true),
    CASE("folded header", "GET /livez HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400, true),
    CASE("folded with tab", "GET /livez HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", 400, true),
    CASE("space before the colon", "GET /livez HTTP/1.1\r\n" HOST "X : a\r\n\r\n", 400, true),
    CASE("space before the first header", "GET /livez HTTP/1.1\r\n X: a\r\n" HOST "\r\n", 400,
         true),
    CASE("no colon", "GET /livez HTTP/1.1\r\n" HOST "X\r\n\r\n", 400, true),
    CASE("empty name", "GET /livez HTTP/1.1\r\n" HOST ": a\r\n\r\n", 400, true),
    CASE("NUL in a value", "GET /livez HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n", 400, true),
    CASE("NUL in a name", "GET /livez HTTP/1.1\r\n" HOST "X\0: a\r\n\r\n", 400, true),
    CASE("NUL in the target", "GET /li\0vez HTTP/1.1\r\n" HOST "\r\n", 400, true),
    CASE("space in the target", "GET /li vez HTTP/1.1\r\n" HOST "\r\n", 400, true),
    CASE("fragment in the target", "GET /livez#x HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("relative target", "GET livez HTTP/1.1\r\n" HOST "\r\n", 400, true),

    CASE("encoded letter", "GET /%6c%69vez HTTP/1.1\r\n" HOST "\r\n", 200, false),
    CASE("encoded slash", "GET /v1%2fapps HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("encoded backslash", "GET /v1%5Capps HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("encoded NUL", "GET /livez%00 HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("encoded line feed", "GET /livez%0a HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("bad encoding", "GET /livez%4 HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("bad digits", "GET /livez%zz HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("dots", "GET /v1/../livez HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("encoded dots", "GET /v1/%2e%2E/livez HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("one dot", "GET /./livez HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("dots at the end", "GET /v1/.. HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("not UTF-8", "GET /livez%ff HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("overlong UTF-8", "GET /livez%c0%af HTTP/1.1\r\n" HOST "\r\n", 400, false),
    CASE("not decoded twice", "GET /%256civez HTTP/1.1\r\n" HOST "\r\n", 404, false),

    CASE("Content-Length", POST_HEAD "Content-Length: 2\r\n\r\n{}", 400, false),
    CASE("Content-Length twice", POST_HEAD "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400,
         true),
    CASE("Content-Length list", POST_HEAD "Content-Length: 2, 2\r\n\r\n{}", 400, true),
    CASE("Content-Length with sign", POST_HEAD "Content-Length: +2\r\n\r\n{}", 400, true),
    CASE("Content-Length negative", POST_HEAD "Content-Length: -2\r\n\r\n{}", 400, true),
    CASE("Content-Length hexadecimal", POST_HEAD "Content-Length: 0x2\r\n\r\n{}", 400, true),
    CASE("Content-Length with text", POST_HEAD "Content-Length: 2a\r\n\r\n{}", 400, true),
    CASE("Content-Length empty", POST_HEAD "Content-Length:\r\n\r\n{}", 400, true),
    CASE("Content-Length past 64 bits", POST_HEAD "Content-Length: 18446744073709551618\r\n\r\n{}",
         400, true),
    CASE("Content-Length too large", POST_HEAD "Content-Length: 65537\r\n\r\n", 413, true),
    CASE("Content-Length huge", POST_HEAD "Content-Length: 18446744073709551615\r\n\r\n", 413,
         true),
    CASE("both lengths",
         POST_HEAD "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true),
    CASE("both lengths, other order",
         POST_HEAD "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400, true),

    CASE("chunks", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 400,
         false),
    CASE("chunks with trailer",
         POST_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nHost: evil.example\r\n\r\n",
         400, false),
    CASE("chunk extension", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
         400, false),
    CASE("chunk size bad", POST_HEAD "Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n", 400,
         true),
    CASE("chunk size empty", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n", 400,
         true),
    CASE("chunk size signed", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
         400, true),
    CASE("chunk size past 64 bits",
         POST_HEAD "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n", 400,
         true),
    CASE("chunk size with LF only",
         POST_HEAD "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", 400, true),
    CASE("chunk longer than its size",
         POST_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", 400, true),
    CASE("space after the chunk size",
         POST_HEAD "Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n", 400, true),
    CASE("gzip coding", POST_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, true),
    CASE("chunked twice", POST_HEAD "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400,
         true),
    CASE("identity coding", POST_HEAD "Transfer-Encoding: identity\r\n\r\n", 501, true),
    CASE("chunked first", POST_HEAD "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, true),

    CASE("Expect", POST_HEAD "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 400, false),
    CASE("Expect something else", POST_HEAD "Expect: a miracle\r\nContent-Length: 2\r\n\r\n{}", 417,
         true),
    CASE("Expect, refused for its length",
         POST_HEAD "Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n", 413, true),
    CASE("Expect, refused for its path",
         "POST /nowhere HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", 404,
         true),
    CASE("compressed body", POST_HEAD "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415,
         false),
    CASE("two Authorizations", "GET /v1/apps HTTP/1.1\r\n" HOST AUTH AUTH "\r\n", 400, false),
    CASE("body with GET", "GET /livez HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 200,
         false),
};

static void test_framing(void **state)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 7};
    unsigned wrong = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(framing_cases); i++) {
        const struct framing_case *tc = &framing_cases[i];
        for (unsigned k = 0; k < ARRAY_COUNT(pieces); k++) {
            int status = request_pieces(tc->request, tc->size_bytes, pieces[k]);
            bool closes = strstr(client.output, "\r\nConnection: close\r\n") != NULL;
            client_close(&client);
            if (status == tc->status && closes == tc->closes)
                continue;
            print_error("%s, in pieces of %zd: %d, %s\n%s\n", tc->name, pieces[k], status,
                        closes ? "closes" : "stays open", client.output);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* Whatever stands behind a request with a framing error is not taken for another request. */
static void test_nothing_after_an_error(void **state)
{
    for (unsigned i = 0; i < ARRAY_COUNT(framing_cases); i++) {
        const struct framing_case *tc = &framing_cases[i];
        char text[2048];
        if (!tc->closes)
            continue;
        memcpy(text, tc->request, tc->size_bytes);
        memcpy(text + tc->size_bytes, GET("/readyz"), sizeof(GET("/readyz")));
        request_pieces(text, tc->size_bytes + strlen(GET("/readyz")), SIZE_MAX);
        client_close(&client);
        assert_null(strstr(client.output, "ready\n"));
    }
}

static void test_pipelining(void **state)
{
    char text[8192] = "";
    for (unsigned i = 0; i < 20; i++)
        strcat(text, i % 2 ? GET("/readyz")
                           : "POST /livez HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc");
    static const size_t pieces[] = {SIZE_MAX, 1, 13, 100};
    for (unsigned k = 0; k < ARRAY_COUNT(pieces); k++) {
        request_pieces(text, strlen(text), pieces[k]);
        assert_false(client.is_closed);
        client_close(&client);
        const char *at = client.output;
        for (unsigned i = 0; i < 20; i++) {
            at = strstr(at, "HTTP/1.1 ");
            assert_non_null(at);
            assert_int_equal(atoi(at + 9), i % 2 ? 200 : 405);
            at += 9;
        }
        assert_null(strstr(at, "HTTP/1.1 "));
    }
}

/* A peer that sends and never reads is held up, and nothing grows. */
static void test_flood_without_reading(void **state)
{
    size_t taken = 0;
    client_open(&client, 1);
    for (unsigned i = 0; i < 1000; i++) {
        size_t now = http_connection_receive(client.c, GET("/livez"), strlen(GET("/livez")));
        taken += now;
        http_connection_poll(client.c);
        if (now == 0)
            break;
    }
    assert_in_range(taken, strlen(GET("/livez")), 40 * strlen(GET("/livez")));
    client_run(&client, SIZE_MAX);
    client_close(&client);
}

/* ---- limits ---------------------------------------------------------------------------------------------------- */

/* prefix, count times fill, suffix. */
static int request_filled(const char *prefix, const char *fill, size_t count, const char *suffix)
{
    size_t size_bytes = strlen(prefix) + count * strlen(fill) + strlen(suffix);
    char *text = malloc(size_bytes + 1), *at = text;
    at += sprintf(at, "%s", prefix);
    for (size_t i = 0; i < count; i++)
        at += sprintf(at, "%s", fill);
    sprintf(at, "%s", suffix);
    int status = request_pieces(text, size_bytes, 1000);
    client_close(&client);
    free(text);
    return status;
}

static void test_limits(void **state)
{
    const char *end = " HTTP/1.1\r\n" HOST "\r\n";
    assert_int_equal(request_filled("GET /", "a", HTTP_TARGET_MAX - 1, end), 404);
    assert_int_equal(request_filled("GET /", "a", HTTP_TARGET_MAX, end), 414);
    assert_int_equal(request_filled("GET /", "a", 100000, end), 414);
    const char *start = "GET /livez HTTP/1.1\r\n" HOST;
    assert_int_equal(request_filled(start, "A: b\r\n", HTTP_HEADER_MAX - 1, "\r\n"), 200);
    assert_int_equal(request_filled(start, "A: b\r\n", HTTP_HEADER_MAX, "\r\n"), 431);
    size_t host_bytes = strlen("Hostingot.local") + 1;
    char with_name[128];
    snprintf(with_name, sizeof(with_name), "%sA: ", start);
    assert_int_equal(request_filled(with_name, "b", HTTP_HEADER_BYTES - host_bytes, "\r\n\r\n"),
                     200);
    assert_int_equal(request_filled(with_name, "b", HTTP_HEADER_BYTES - host_bytes + 1, "\r\n\r\n"),
                     431);
    snprintf(with_name, sizeof(with_name), "%s", start);
    assert_int_equal(request_filled(with_name, "b", HTTP_HEADER_BYTES + 1, ": c\r\n\r\n"), 431);
    assert_int_equal(request_filled(start, " ", 1, "\r\n\r\n"), 400);
    snprintf(with_name, sizeof(with_name), "%sA:", start);
    assert_int_equal(request_filled(with_name, " ", 20000, "b\r\n\r\n"), 431);
    assert_int_equal(request_filled("", "\r\n", 20000, GET("/livez")), 431);
    assert_int_equal(request_filled("", "A", 100000, " / HTTP/1.1\r\n\r\n"), 501);
}

static void test_body_limits(void **state)
{
    char head[256];
    snprintf(head, sizeof(head), POST_HEAD "Content-Length: %d\r\n\r\n", HTTP_BODY_MAX);
    assert_int_equal(request_filled(head, " ", HTTP_BODY_MAX, ""), 400);
    assert_non_null(strstr(client.output, "not JSON"));
    const char *chunked = POST_HEAD "Transfer-Encoding: chunked\r\n\r\n";
    assert_int_equal(
        request_filled(chunked,
                       "100\r\n"
                       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                       "\r\n",
                       256, "0\r\n\r\n"),
        400);
    assert_int_equal(request_filled(chunked, "10\r\n0123456789abcdef\r\n", 5000, "0\r\n\r\n"), 413);
    /* one byte in each chunk: more framing than data */
    assert_int_equal(request_filled(chunked, "1\r\n{\r\n", 20000, "0\r\n\r\n"), 400);
    char extended[256];
    snprintf(extended, sizeof(extended), "%s1;", chunked);
    assert_int_equal(request_filled(extended, "x", 100000, "\r\n{\r\n0\r\n\r\n"), 400);
    assert_int_equal(request_filled(POST_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
                                    "A: b\r\n", 100, "\r\n"),
                     431);
    /* a refused request's body is read over, so that the connection lives on */
    char refused[512];
    snprintf(refused, sizeof(refused),
             "POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 60000\r\n\r\n");
    assert_int_equal(request_filled(refused, "x", 60000, GET("/livez")), 404);
    assert_non_null(strstr(client.output, "\r\n\r\nok\n"));
}

/* ---- replies --------------------------------------------------------------------------------------------------- */

static void test_methods(void **state)
{
    assert_int_equal(request("HEAD /openapi.json HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_non_null(strstr(client.output, "Content-Length: "));
    assert_string_equal(body(), "");
    assert_int_equal(request("POST /livez HTTP/1.1\r\n" HOST "\r\n"), 405);
    assert_non_null(strstr(client.output, "\r\nAllow: GET, HEAD, OPTIONS\r\n"));
    assert_int_equal(request("DELETE /v1/jobs HTTP/1.1\r\n" HOST AUTH "\r\n"), 405);
    assert_non_null(strstr(client.output, "\r\nAllow: GET, HEAD, POST, OPTIONS\r\n"));
    assert_int_equal(request("OPTIONS /v1/jobs/1 HTTP/1.1\r\n" HOST "\r\n"), 204);
    assert_non_null(strstr(client.output, "\r\nAllow: GET, HEAD, DELETE, OPTIONS\r\n"));
    assert_null(strstr(client.output, "Content-Length"));
    assert_int_equal(request("OPTIONS /nowhere HTTP/1.1\r\n" HOST "\r\n"), 404);
}

static void test_continue(void **state)
{
    client_open(&client, 1);
    const char *head = POST_HEAD "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client_feed(&client, head, strlen(head), SIZE_MAX);
    assert_string_equal(client.output, "HTTP/1.1 100 Continue\r\n\r\n");
    client_feed(&client, "{}", 2, SIZE_MAX);
    assert_int_equal(status_of(client.output), 400);
    client_close(&client);
}

static void test_problem(void **state)
{
    assert_int_equal(request("GET /no/%22such%22 HTTP/1.1\r\n" HOST "\r\n"), 404);
    assert_non_null(strstr(client.output, "\r\nContent-Type: application/problem+json\r\n"));
    assert_string_equal(problem_text("type"), "about:blank");
    assert_string_equal(problem_text("title"), "Not Found");
    assert_string_equal(problem_text("instance"), "/no/\"such\"");
    assert_string_not_equal(problem_text("request_id"), "");
    assert_int_equal(request(GET("/livez?colour=red")), 400);
    assert_string_equal(problem_text("field"), "colour");
    assert_int_equal(request(GET("/v1/jobs?limit=0")), 400);
    assert_string_equal(problem_text("field"), "limit");
    assert_int_equal(request(GET("/v1/jobs?limit=1&limit=2")), 400);
    assert_int_equal(request(GET("/v1/jobs?after=%31&limit=9")), 200);
    assert_int_equal(request(GET("/v1/jobs?after=99999999999999999999")), 400);
}

static void test_token(void **state)
{
    static const struct {
        const char *header;
        int status;
    } cases[] = {
        {"", 401},
        {"Authorization: Bearer " TOKEN "\r\n", 200},
        {"Authorization: bearer   " TOKEN "  \r\n", 200},
        {"authorization: BEARER " TOKEN "\r\n", 200},
        {"Authorization: Bearer " TOKEN "x\r\n", 401},
        {"Authorization: Bearer correct-horse-battery-stapl\r\n", 401},
        {"Authorization: Bearer dorrect-horse-battery-staple\r\n", 401},
        {"Authorization: Bearer\r\n", 401},
        {"Authorization: Bearer \r\n", 401},
        {"Authorization: Basic " TOKEN "\r\n", 401},
        {"Authorization: " TOKEN "\r\n", 401},
    };
    char text[512];
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        snprintf(text, sizeof(text), "GET /v1/apps HTTP/1.1\r\n" HOST "%s\r\n", cases[i].header);
        assert_int_equal(request(text), cases[i].status);
        if (cases[i].status == 401)
            assert_non_null(strstr(client.output, "\r\nWWW-Authenticate: Bearer"));
    }
    static const char *const open_paths[] = {"/livez", "/readyz", "/", "/openapi.json"};
    for (unsigned i = 0; i < ARRAY_COUNT(open_paths); i++) {
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", open_paths[i]);
        assert_int_equal(request(text), 200);
    }
    assert_int_equal(request("GET /metrics HTTP/1.1\r\n" HOST "\r\n"), 401);
    http_set_token("");
    assert_int_equal(request("GET /v1/apps HTTP/1.1\r\n" HOST "Authorization: Bearer \r\n\r\n"),
                     401);
    http_set_token(TOKEN);
    config.auth_required = false;
    assert_int_equal(request("GET /v1/machine HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_non_null(strstr(client.output, "\"auth\":\"none\""));
    config.auth_required = true;
}

static void test_origin(void **state)
{
    const char *start = "POST /v1/jobs HTTP/1.1\r\n" HOST AUTH "Content-Length: 2\r\nOrigin: ";
    char text[512];
    snprintf(text, sizeof(text), "%shttp://evil.example\r\n\r\n{}", start);
    assert_int_equal(request(text), 403);
    snprintf(text, sizeof(text), "%snull\r\n\r\n{}", start);
    assert_int_equal(request(text), 403);
    snprintf(text, sizeof(text), "%shttp://ingot.local\r\n\r\n{}", start);
    assert_int_equal(request(text), 400);
    assert_null(strstr(client.output, "Access-Control"));
    snprintf(config.cors_origin, sizeof(config.cors_origin), "https://app.example");
    snprintf(text, sizeof(text), "%shttps://app.example\r\n\r\n{}", start);
    assert_int_equal(request(text), 400);
    assert_non_null(
        strstr(client.output, "\r\nAccess-Control-Allow-Origin: https://app.example\r\n"));
    assert_int_equal(
        request("OPTIONS /v1/jobs HTTP/1.1\r\n" HOST "Origin: https://app.example\r\n\r\n"), 204);
    assert_non_null(strstr(client.output, "\r\nAccess-Control-Allow-Headers: Authorization"));
    config.cors_origin[0] = 0;
}

static void test_page(void **state)
{
    char nonce[2][64];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(request("GET / HTTP/1.1\r\n" HOST "\r\n"), 200);
        const char *at = strstr(client.output, "script-src 'nonce-");
        assert_non_null(at);
        snprintf(nonce[i], sizeof(nonce[i]), "nonce=\"%.22s\"", at + 18);
        assert_non_null(strstr(body(), nonce[i]));
        assert_null(strstr(body(), "PLACEHOLDER"));
    }
    assert_string_not_equal(nonce[0], nonce[1]);
}

static void test_readiness(void **state)
{
    http_set_ready(HTTP_PART_VOLUMES, "reading partition tables");
    assert_int_equal(request(GET("/readyz")), 503);
    assert_non_null(strstr(problem_text("detail"), "volumes: reading partition tables"));
    assert_int_equal(request(GET("/readyz?verbose")), 503);
    assert_non_null(strstr(body(), "[-] volumes: reading partition tables\n"));
    assert_non_null(strstr(body(), "[+] devices: ready\n"));
    assert_int_equal(request(GET("/livez")), 200);
    assert_int_equal(request(GET("/v1/volumes")), 503); /* the list is being made */
    assert_int_equal(request(GET("/metrics")), 200);
    http_set_ready(HTTP_PART_VOLUMES, NULL);
    assert_int_equal(request(GET("/v1/volumes")), 200);
    assert_int_equal(request(GET("/readyz")), 200);
}

/* ---- jobs ------------------------------------------------------------------------------------------------------ */

static int submit_text(const char *query, const char *json)
{
    char text[4096];
    snprintf(text, sizeof(text),
             "POST /v1/jobs%s HTTP/1.1\r\n" HOST AUTH "Content-Length: %zu\r\n\r\n%s", query,
             strlen(json), json);
    int status = request_pieces(text, strlen(text), SIZE_MAX);
    return status;
}

static void test_submit(void **state)
{
    static const struct {
        const char *json, *field;
        int status;
    } cases[] = {
        {"{\"app\":\"nothing\"}", "app", 0},
        {"{\"app\":\"echo\"}", "text", 400},
        {"{\"app\":\"echo\",\"args\":{\"text\":7}}", "text", 400},
        {"{\"app\":\"echo\",\"args\":{\"text\":\"a\",\"more\":1}}", "more", 400},
        {"{\"app\":\"stay\",\"args\":{\"unused\":4}}", "unused", 400},
        {"{\"app\":\"echo\",\"args\":[]}", "args", 400},
        {"{\"app\":7}", "app", 400},
        {"{\"args\":{}}", "app", 400},
        {"{\"app\":\"echo\",\"app\":\"echo\"}", "app", 400},
        {"{\"app\":\"echo\\u0000\"}", "app", 400},
        {"{\"app\":\"echo\",\"priority\":1}", "priority", 400},
        {"[]", "", 400},
        {"{\"app\"", "", 400},
        {"", "", 400},
        {"{} {}", "", 400},
        {"\xff", "", 400},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        int status = submit_text("", cases[i].json);
        client_close(&client);
        if (cases[i].status)
            assert_int_equal(status, cases[i].status);
        assert_in_range(status, 400, 499);
        assert_string_equal(problem_text("field"), cases[i].field);
    }
    char deep[512] = "{\"app\":\"echo\",\"args\":";
    for (unsigned i = 0; i < 200; i++)
        strcat(deep, "[");
    assert_int_equal(submit_text("", deep), 400);
    client_close(&client);
    assert_int_equal(submit_text("?wait=301", "{\"app\":\"stay\"}"), 400);
    client_close(&client);
    assert_string_equal(problem_text("field"), "wait");
    assert_int_equal(request(POST_HEAD "Content-Type: text/xml\r\nContent-Length: 2\r\n\r\n{}"),
                     400);
    assert_int_equal(request("POST /v1/jobs HTTP/1.1\r\n" HOST AUTH
                             "Content-Type: text/xml\r\nContent-Length: 2\r\n\r\n{}"),
                     415);
}

static void test_job_life(void **state)
{
    char text[256], location[64];
    stay_may_end = false;
    assert_int_equal(submit_text("", "{\"app\":\"stay\"}"), 202);
    const char *at = strstr(client.output, "\r\nLocation: /v1/jobs/");
    assert_non_null(at);
    unsigned long long id = strtoull(at + 21, NULL, 10);
    client_close(&client);
    snprintf(location, sizeof(location), "/v1/jobs/%llu", id);
    yield_ms(50);
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST AUTH "\r\n", location);
    assert_int_equal(request(text), 200);
    assert_non_null(strstr(body(), "\"running\""));
    snprintf(text, sizeof(text), "DELETE %s HTTP/1.1\r\n" HOST AUTH "\r\n", location);
    assert_int_equal(request(text), 202);
    yield_ms(50);
    assert_int_equal(request(text), 409);
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST AUTH "\r\n", location);
    assert_int_equal(request(text), 200);
    assert_non_null(strstr(body(), "\"cancelled\""));
    assert_int_equal(request(GET("/v1/jobs?limit=1000")), 200);
    assert_non_null(strstr(body(), "\"cancelled\""));
    static const char *const no_jobs[] = {
        "0", "999999", "x", "-1", "1x", "18446744073709551617", "%31%30%30%30%30"};
    for (unsigned i = 0; i < ARRAY_COUNT(no_jobs); i++) {
        snprintf(text, sizeof(text), "GET /v1/jobs/%s HTTP/1.1\r\n" HOST AUTH "\r\n", no_jobs[i]);
        assert_int_equal(request(text), 404);
        snprintf(text, sizeof(text), "GET /v1/jobs/%s/events HTTP/1.1\r\n" HOST AUTH "\r\n",
                 no_jobs[i]);
        assert_int_equal(request(text), 404);
        snprintf(text, sizeof(text), "DELETE /v1/jobs/%s HTTP/1.1\r\n" HOST AUTH "\r\n",
                 no_jobs[i]);
        assert_int_equal(request(text), 404);
    }
}

static void test_wait(void **state)
{
    /* ends within the wait */
    stay_may_end = false;
    assert_int_equal(submit_text("?wait=30", "{\"app\":\"stay\"}"), 0);
    yield_ms(200);
    client_run(&client, SIZE_MAX);
    assert_int_equal(client.output_bytes, 0);
    assert_int_equal(http_connection_receive(client.c, GET("/livez"), 10),
                     0); /* not before the reply */
    stay_may_end = true;
    yield_ms(50);
    assert_true(http_has_news());
    client_run(&client, SIZE_MAX);
    assert_int_equal(status_of(client.output), 200);
    assert_non_null(strstr(body(), "\"succeeded\""));
    assert_non_null(strstr(client.output, "\r\nLocation: /v1/jobs/"));
    client_close(&client);
    /* does not */
    stay_may_end = false;
    assert_int_equal(submit_text("?wait=2", "{\"app\":\"stay\"}"), 0);
    yield_ms(1900);
    client_run(&client, SIZE_MAX);
    assert_int_equal(client.output_bytes, 0);
    yield_ms(200);
    client_run(&client, SIZE_MAX);
    assert_int_equal(status_of(client.output), 202);
    assert_non_null(strstr(body(), "\"running\""));
    client_close(&client);
    /* the peer leaves */
    assert_int_equal(submit_text("?wait=30", "{\"app\":\"stay\"}"), 0);
    client_close(&client);
    stay_may_end = true;
    yield_ms(50);
}

static void test_events(void **state)
{
    char text[256];
    stay_may_end = false;
    stay_progress = 10;
    assert_int_equal(submit_text("", "{\"app\":\"stay\"}"), 202);
    unsigned long long id = strtoull(strstr(client.output, "/v1/jobs/") + 9, NULL, 10);
    client_close(&client);
    yield_ms(20);
    snprintf(text, sizeof(text), "GET /v1/jobs/%llu/events HTTP/1.1\r\n" HOST AUTH "\r\n", id);
    request_pieces(text, strlen(text), SIZE_MAX);
    assert_non_null(strstr(client.output, "\r\nContent-Type: text/event-stream\r\n"));
    assert_non_null(strstr(client.output, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(client.output, "event: progress\nid: 1\ndata: {"));
    size_t before = client.output_bytes;
    stay_progress = 20;
    yield_ms(150);
    client_run(&client, SIZE_MAX);
    assert_non_null(strstr(client.output + before, "event: progress\nid: 2\ndata: {"));
    before = client.output_bytes;
    yield_ms(150);
    client_run(&client, SIZE_MAX);
    assert_int_equal(client.output_bytes, before); /* nothing moved, nothing said */
    yield_ms(HTTP_PING_SECONDS * 1000);
    client_run(&client, SIZE_MAX);
    assert_string_equal(client.output + before, "8\r\n: ping\n\n\r\n");
    stay_may_end = true;
    yield_ms(150);
    client_run(&client, SIZE_MAX);
    assert_non_null(strstr(client.output, "event: end\nid: 3\ndata: {"));
    assert_string_equal(client.output + client.output_bytes - 7, "\r\n0\r\n\r\n");
    before = client.output_bytes;
    client_feed(&client, GET("/livez"), strlen(GET("/livez")),
                SIZE_MAX); /* the connection lives on */
    assert_int_equal(status_of(client.output + before), 200);
    client_close(&client);
    /* HTTP/1.0 gets it without chunks, and the end of the connection */
    snprintf(text, sizeof(text), "GET /v1/jobs/%llu/events HTTP/1.0\r\n" AUTH "\r\n", id);
    request_pieces(text, strlen(text), SIZE_MAX);
    assert_true(client.is_closed);
    assert_memory_equal(body(), "event: end\n", 11);
    client_close(&client);
}

/* A result larger than the connection's buffer, as a reply and as an event, read in small pieces. */
static void test_large_result(void **state)
{
    char text[256];
    submit_text("?wait=10", "{\"app\":\"large\"}");
    yield_ms(50);
    client_run(&client, 100);
    assert_int_equal(status_of(client.output), 200);
    assert_non_null(strstr(body(), "entry number 1999 of a long list"));
    assert_int_equal(atoi(strstr(client.output, "Content-Length: ") + 16), strlen(body()));
    unsigned long long id = strtoull(strstr(client.output, "/v1/jobs/") + 9, NULL, 10);
    client_close(&client);
    snprintf(text, sizeof(text), "GET /v1/jobs/%llu/events HTTP/1.1\r\n" HOST AUTH "\r\n", id);
    request_pieces(text, strlen(text), SIZE_MAX);
    const char *chunk = body();
    size_t chunk_bytes = strtoul(chunk, NULL, 16);
    assert_true(chunk_bytes > 60000);
    assert_string_equal(strstr(chunk, "\r\n") + 2 + chunk_bytes, "\r\n0\r\n\r\n");
    client_close(&client);
    assert_int_equal(request(GET("/v1/jobs?limit=1000")), 200);
    assert_null(strstr(body(), "entry number"));
}

/* ---- deadlines and the table of connections -------------------------------------------------------------------- */

static void test_deadlines(void **state)
{
    client_open(&client, 1); /* silent from the start */
    host_clock_advance_ns((HTTP_HEAD_SECONDS - 1) * NS_PER_S);
    client_run(&client, SIZE_MAX);
    assert_false(client.is_closed);
    host_clock_advance_ns(2 * NS_PER_S);
    client_run(&client, SIZE_MAX);
    assert_true(client.is_closed);
    assert_int_equal(client.output_bytes, 0);
    client_close(&client);

    client_open(&client, 1); /* a byte a second does not help */
    const char *slow = GET("/livez");
    for (unsigned i = 0; i <= HTTP_HEAD_SECONDS; i++) {
        client_feed(&client, slow + i, 1, 1);
        host_clock_advance_ns(NS_PER_S);
    }
    client_run(&client, SIZE_MAX);
    assert_int_equal(status_of(client.output), 408);
    assert_true(client.has_ended_output);
    host_clock_advance_ns((HTTP_LINGER_SECONDS + 1) * NS_PER_S);
    client_run(&client, SIZE_MAX);
    assert_true(client.is_closed);
    client_close(&client);

    client_open(&client, 1); /* a body that never comes */
    const char *head = POST_HEAD "Content-Length: 2\r\n\r\n{";
    client_feed(&client, head, strlen(head), SIZE_MAX);
    host_clock_advance_ns((HTTP_BODY_SECONDS + 1) * NS_PER_S);
    client_run(&client, SIZE_MAX);
    assert_int_equal(status_of(client.output), 408);
    client_close(&client);

    client_open(&client, 1); /* idle after a request */
    client_feed(&client, GET("/livez"), strlen(GET("/livez")), SIZE_MAX);
    host_clock_advance_ns((HTTP_IDLE_SECONDS - 1) * NS_PER_S);
    client_run(&client, SIZE_MAX);
    assert_false(client.is_closed);
    host_clock_advance_ns(2 * NS_PER_S);
    client_run(&client, SIZE_MAX);
    assert_true(client.is_closed);
    client_close(&client);

    client_open(&client, 1); /* does not read its reply */
    http_connection_receive(client.c, GET("/openapi.json"), strlen(GET("/openapi.json")));
    host_clock_advance_ns((HTTP_SEND_SECONDS - 1) * NS_PER_S);
    assert_int_equal(http_connection_poll(client.c), HTTP_GO_ON);
    http_connection_sent(client.c, 1);
    host_clock_advance_ns((HTTP_SEND_SECONDS - 1) * NS_PER_S);
    assert_int_equal(http_connection_poll(client.c), HTTP_GO_ON);
    host_clock_advance_ns(2 * NS_PER_S);
    assert_int_equal(http_connection_poll(client.c), HTTP_CLOSE);
    client_close(&client);
}

static void test_half_close(void **state)
{
    client_open(&client, 1); /* asks, then sends FIN, then reads */
    http_connection_receive(client.c, GET("/livez"), strlen(GET("/livez")));
    http_connection_input_ended(client.c);
    client_run(&client, 10);
    assert_int_equal(status_of(client.output), 200);
    assert_true(client.is_closed);
    client_close(&client);
    client_open(&client, 1); /* the same with a reply that comes in pieces */
    http_connection_receive(client.c, GET("/v1/log"), strlen(GET("/v1/log")));
    http_connection_input_ended(client.c);
    client_run(&client, 10);
    assert_string_equal(client.output + client.output_bytes - 5, "0\r\n\r\n");
    assert_true(client.is_closed);
    client_close(&client);
    client_open(&client, 1); /* FIN in the middle of a request */
    http_connection_receive(client.c, "GET /", 5);
    http_connection_input_ended(client.c);
    client_run(&client, SIZE_MAX);
    assert_true(client.is_closed);
    client_close(&client);
}

static void test_too_many_connections(void **state)
{
    static struct http_connection *all[HTTP_CONNECTION_MAX], *refused[HTTP_REFUSED_MAX];
    for (unsigned i = 0; i < HTTP_CONNECTION_MAX; i++)
        assert_non_null(all[i] = http_connection_open(i));
    client_open(&client, 99);
    client_run(&client, SIZE_MAX);
    assert_int_equal(status_of(client.output), 503);
    assert_non_null(strstr(client.output, "\r\nRetry-After: 1\r\n"));
    assert_non_null(strstr(client.output, "\r\nConnection: close\r\n"));
    assert_true(client.has_ended_output);
    client_feed(&client, GET("/livez"), strlen(GET("/livez")), SIZE_MAX); /* thrown away */
    client_close(&client);
    for (unsigned i = 0; i < HTTP_REFUSED_MAX; i++)
        assert_non_null(refused[i] = http_connection_open(99));
    assert_null(http_connection_open(99));
    for (unsigned i = 0; i < HTTP_REFUSED_MAX; i++)
        http_connection_close(refused[i]);
    /* idle for long, the oldest makes room */
    host_clock_advance_ns((HTTP_YIELD_SECONDS + 1) * NS_PER_S);
    client_open(&client, 99);
    client_feed(&client, GET("/livez"), strlen(GET("/livez")), SIZE_MAX);
    assert_int_equal(status_of(client.output), 200);
    assert_true(http_has_news());
    unsigned closed = 0;
    for (unsigned i = 0; i < HTTP_CONNECTION_MAX; i++)
        closed += http_connection_poll(all[i]) == HTTP_CLOSE;
    assert_int_equal(closed, 1);
    client_close(&client);
    for (unsigned i = 0; i < HTTP_CONNECTION_MAX; i++)
        http_connection_close(all[i]);
    assert_int_equal(connection_counters.open, 0);
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

static void test_log(void **state)
{
    for (unsigned i = 0; i < 300; i++)
        log_debug(
            "line %u with \"quotes\" and a longer text so that the log does not fit one buffer", i);
    request_pieces(GET("/v1/log?format=json"), strlen(GET("/v1/log?format=json")), SIZE_MAX);
    assert_non_null(strstr(client.output, "Transfer-Encoding: chunked"));
    assert_non_null(strstr(client.output, "line 299 with \\\"quotes\\\""));
    assert_string_equal(client.output + client.output_bytes - 5, "0\r\n\r\n");
    client_close(&client);
    assert_int_equal(request(GET("/v1/log?from=900000000")), 200);
    assert_string_equal(body(), "0\r\n\r\n");
    assert_int_equal(request(GET("/v1/log?format=xml")), 400);
    assert_int_equal(request(GET("/v1/log?from=-1")), 400);
    request("GET /v1/log HTTP/1.1\r\n" HOST AUTH
            "Accept: text/html\r\nAccept: application/x-ndjson\r\n\r\n");
    assert_non_null(strstr(client.output, "\r\nContent-Type: application/x-ndjson\r\n"));
}

static void test_files(void **state)
{
    assert_int_equal(request(GET("/v1/volumes")), 200);
    assert_int_equal(request(GET("/v1/volumes/nothing/files?path=/")), 404);
    assert_string_equal(problem_text("field"), "name");
}

static void test_metrics(void **state)
{
    assert_int_equal(request(GET("/metrics")), 200);
    assert_non_null(
        strstr(client.output, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(
        body(), "\ningot_http_requests_total{method=\"GET\",route=\"/livez\",code=\"200\"} "));
    assert_non_null(strstr(
        body(), "\ningot_http_request_duration_seconds_bucket{route=\"/livez\",le=\"+Inf\"} "));
    assert_non_null(strstr(body(), "\ningot_jobs_total{app=\"echo\",state=\"succeeded\"} "));
}

static void test_times(void **state)
{
    static const struct {
        int64_t seconds;
        const char *iso, *http;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400, "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1709251199, "2024-02-29T23:59:59.000Z", "Thu, 29 Feb 2024 23:59:59 GMT"},
        {1735689599, "2024-12-31T23:59:59.000Z", "Tue, 31 Dec 2024 23:59:59 GMT"},
        {4102444800, "2100-01-01T00:00:00.000Z", "Fri, 01 Jan 2100 00:00:00 GMT"},
        {4107542400, "2100-03-01T00:00:00.000Z", "Mon, 01 Mar 2100 00:00:00 GMT"},
        {-1, "1969-12-31T23:59:59.000Z", "Wed, 31 Dec 1969 23:59:59 GMT"},
    };
    char text[TIME_TEXT_BYTES];
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        time_format(text, cases[i].seconds * (int64_t)NS_PER_S);
        assert_string_equal(text, cases[i].iso);
        time_format_http(text, cases[i].seconds * (int64_t)NS_PER_S);
        assert_string_equal(text, cases[i].http);
    }
}

static void test_json_escape(void **state)
{
    char out[64];
    out[json_escape(out, sizeof(out), "a\"b\\c\n\x7f\xc3\xa9\xff")] = 0;
    assert_string_equal(out, "a\\\"b\\\\c\\u000a\\u007f\xc3\xa9\xef\xbf\xbd");
    out[json_escape(out, 3, "ab\"c")] = 0; /* never half an escape */
    assert_string_equal(out, "ab");
}

static int start(void **state)
{
    host_log_level(LOG_ERROR);
    host_clock_fake(true);
    wall_clock_set_ns(INT64_C(1795200000) * (int64_t)NS_PER_S);
    snprintf(config.hostname, sizeof(config.hostname), "ingot");
    snprintf(config.allowed_hosts, sizeof(config.allowed_hosts), "box.example, lab.example");
    config.auth_required = true;
    http_set_token(TOKEN);
    for (unsigned part = 0; part < HTTP_PART_COUNT; part++)
        http_set_ready((enum http_part)part, NULL);
    return gpu_start() || job_start() || http_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_nothing_after_an_error),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_flood_without_reading),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_body_limits),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_continue),
        cmocka_unit_test(test_problem),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_readiness),
        cmocka_unit_test(test_submit),
        cmocka_unit_test(test_job_life),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_large_result),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_too_many_connections),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_json_escape),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
