/*
 * runtime/http/http.h: the HTTP server. HTTP/1.1 after RFC 9110 and RFC 9112, strict where they let a server choose.
 *
 * The server proper knows no network: a transport opens a connection, feeds it the bytes that arrive and sends the
 * bytes it produces. http_tcp.c does that over lwIP, tests/host/http_host.c over Linux sockets, unit tests and the
 * fuzzer with arrays. All of it runs on core 0, in the one task that owns the transport; nothing here is called
 * from other cores unless its comment says so.
 *
 * A connection reads one request at a time. Bytes of the next one are not taken before the reply to this one is in the
 * output, so a client that sends much and reads nothing is held up by its own TCP window.
 */
#ifndef INGOT_HTTP_H
#define INGOT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits. Each has its status: the request is refused with it, never cut. */
#define HTTP_CONNECTION_MAX 64      /* one more gets 503 and Retry-After */
#define HTTP_REFUSED_MAX    8       /* connections being told so; beyond that they are reset */
#define HTTP_PER_PEER_MAX   64      /* of one address; as many as in all, as QEMU forwards everybody as 10.0.2.2 */
#define HTTP_TARGET_MAX     2048    /* bytes of the request target: 414 */
#define HTTP_HEADER_MAX     64      /* header lines: 431 */
#define HTTP_HEADER_BYTES   8192    /* names and values together: 431 */
#define HTTP_BODY_MAX       65536   /* 413 */
#define HTTP_MEMORY_MAX     (24 << 20) /* replies under way that did not fit a connection's own buffer: 503 */

/* Deadlines. */
#define HTTP_HEAD_SECONDS   10 /* from a request's first byte to the end of its headers: 408 */
#define HTTP_BODY_SECONDS   30 /* from there to the end of its body: 408 */
#define HTTP_IDLE_SECONDS   60 /* between requests: closed */
#define HTTP_SEND_SECONDS   30 /* without the peer taking a byte of a reply: closed */
#define HTTP_LINGER_SECONDS 2  /* for the peer to read a last reply before the connection is reset */
#define HTTP_YIELD_SECONDS  5  /* idle for this long, a connection makes room for a new one when all are taken */
#define HTTP_PING_SECONDS   15 /* silence in an event stream before a comment is sent */
#define HTTP_WAIT_SECONDS   300 /* longest ?wait= */

/* ---- start ----------------------------------------------------------------------------------------------------- */

/* Once, before a transport opens connections: the task that reads directories and health, the one that watches jobs.
 * 0 or -ENOMEM. Any core. */
int http_start(void);
/* Listen on config.http_port over lwIP, which is up. 0, or a negative errno with the reason in the log. */
int http_tcp_start(void);
/* The access token that requests must bear; copied. Any core, but before requests arrive. */
void http_set_token(const char *token);

/* What /readyz waits for besides the network. Every part starts out as not ready. */
enum http_part {
    HTTP_PART_DEVICES, /* known; the CPU device works */
    HTTP_PART_VOLUMES,
    HTTP_PART_JOBS,
    HTTP_PART_GPUS,    /* none is starting any more, which may take seconds; jobs run before that, on the CPU device */
    HTTP_PART_COUNT,
};
/* why_not NULL: ready; else a static string for people: "reading partition tables". Any core. */
void http_set_ready(enum http_part part, const char *why_not);
/* When the first reply was complete, in time_ns(), for ingot_boot_duration_seconds; 0 before there was one. */
uint64_t http_first_reply_ns(void);

/* ---- what a transport calls ------------------------------------------------------------------------------------ */

struct http_connection;

enum http_next {
    HTTP_GO_ON,      /* send what there is, keep receiving */
    HTTP_END_OUTPUT, /* everything was sent: send FIN, keep receiving (and throwing away) until the peer closes */
    HTTP_CLOSE,      /* close now; the connection object still waits for http_connection_close() */
};

/* A peer connected; address is IPv4 in network byte order. NULL: reset it. When there are too many, the connection that
 * comes back refuses politely by itself. */
struct http_connection *http_connection_open(uint32_t peer_address);
/* The transport is done with it, for whatever reason. Never touch it afterwards. */
void http_connection_close(struct http_connection *c);
/* Takes up to size_bytes and returns how many; the rest is offered again after output was sent or
 * http_connection_poll() changed something. */
size_t http_connection_receive(struct http_connection *c, const void *data, size_t size_bytes);
/* The peer sent FIN, and everything before it was taken. It may still read. */
void http_connection_input_ended(struct http_connection *c);
/* The next bytes to send, 0 when there are none. They stay valid until the next call for this connection; with
 * *is_static for ever, so that a transport need not copy them. */
size_t http_connection_output(struct http_connection *c, const void **data, bool *is_static);
void http_connection_sent(struct http_connection *c, size_t size_bytes);
/* Look at deadlines and at replies that wait for something. After every receive and sent, and at least twice a
 * second. */
enum http_next http_connection_poll(struct http_connection *c);
/* True when a job, a directory or the like has moved since the last call: poll every connection then. Cheap. */
bool http_has_news(void);

/* The transport's own pointer. */
void http_connection_set_owner(struct http_connection *c, void *owner);
void *http_connection_owner(const struct http_connection *c);

#endif
