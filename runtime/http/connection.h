/*
 * runtime/http/connection.h: one connection, private to runtime/http. connection.c reads requests, reply.c writes
 * replies, route.c decides who answers, the api_*.c files answer.
 */
#ifndef INGOT_HTTP_CONNECTION_H
#define INGOT_HTTP_CONNECTION_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "kernel/kernel.h"
#include "runtime/http/http.h"
#include "runtime/http/text.h"

enum http_state {
    HTTP_READING,   /* the parser takes bytes */
    HTTP_WAITING,   /* the request is complete, resume() is asked until it replies */
    HTTP_STREAMING, /* the head is out, more() adds pieces of the body */
    HTTP_SENDING,   /* the reply is complete, its body drains */
    HTTP_DRAINING,  /* the same for the last reply of this connection */
    HTTP_LINGERING, /* everything is sent; what still arrives is thrown away */
    HTTP_CLOSED,
};

/* The headers that mean something here. All others are counted and dropped. */
enum http_header {
    HEADER_HOST,
    HEADER_AUTHORIZATION,
    HEADER_CONTENT_TYPE,
    HEADER_CONTENT_ENCODING,
    HEADER_TRANSFER_ENCODING,
    HEADER_EXPECT,
    HEADER_ORIGIN,
    HEADER_ACCEPT,
    HEADER_COUNT,
    HEADER_OTHER = HEADER_COUNT,
};
#define HEADER_VALUE_MAX 255

struct header_value {
    uint16_t size_bytes;
    uint8_t count;      /* how many lines had this name */
    bool is_cut;        /* longer than HEADER_VALUE_MAX */
    char text[HEADER_VALUE_MAX + 1];
};

enum http_method_bit {
    METHOD_GET = 1,
    METHOD_POST = 2,
    METHOD_DELETE = 4,
    METHOD_HEAD = 8,
    METHOD_OPTIONS = 16,
    METHOD_OTHER = 32,
};
#define METHOD_COUNT 6

struct http_connection;
struct http_route {
    const char *pattern;    /* "/v1/jobs/{id}": {...} stands for one segment that is not empty */
    void (*get)(struct http_connection *c);
    void (*post)(struct http_connection *c);
    void (*delete)(struct http_connection *c);
    const char *query;      /* names that may stand in the query, each followed by a space: "path offset limit " */
    bool is_open;           /* needs no token */
    uint8_t needs;          /* parts that must have started, as bits: BIT(HTTP_PART_JOBS) ... */
};

#define HTTP_OUTPUT_BYTES 4096
#define HTTP_REPLY_ROOM   2560 /* a request is only dispatched while a head and a small body fit */
#define HTTP_STREAM_ROOM  16   /* what a chunk's framing takes, and the last chunk */

struct listing; /* api_files.c */

struct http_connection {
    enum http_state state;
    bool is_used, is_refused, input_has_ended, must_linger;
    uint32_t peer_address;
    void *owner;

    /* the request */
    llhttp_t parser;
    bool head_has_started, head_is_complete, keep_alive, is_http_1_0, is_chunked_reply, close_after;
    uint8_t method;                   /* one of METHOD_ */
    uint16_t target_bytes;
    uint16_t header_count;
    uint32_t header_bytes;
    uint64_t raw_bytes;               /* everything since the request began, body included */
    uint8_t field_bytes, field;       /* of the header line being read */
    char field_text[24];
    char target[HTTP_TARGET_MAX + 1];
    char path[HTTP_TARGET_MAX + 1];   /* decoded, absolute, NUL-terminated */
    const char *query;                /* what followed the ?, inside target; "" when nothing did */
    char captured[128];               /* the {segment} of the route's pattern */
    const struct http_route *route;   /* NULL: none matched */
    struct header_value headers[HEADER_COUNT];
    char *body;
    uint32_t body_bytes, body_capacity;
    uint64_t started_ns, request_id;

    /* a refusal that was decided while the request was being read: status 0 for none */
    uint16_t early_status;
    char early_field[48];
    char early_detail[200];

    /* the reply */
    uint16_t reply_status;
    uint16_t extra_bytes;             /* header lines that the handler adds */
    char extra[320];
    uint16_t output_start, output_end;
    char output[HTTP_OUTPUT_BYTES];
    const char *reply_body;           /* follows output; sent from where it lies */
    size_t reply_body_bytes;
    void *reply_owned;                /* free() it when the reply is out */
    size_t reply_owned_bytes;
    uint64_t deadline_ns;

    /* a reply that takes more than one step */
    void (*resume)(struct http_connection *c); /* HTTP_WAITING: reply, or return to be asked again */
    bool (*more)(struct http_connection *c);   /* HTTP_STREAMING: add pieces; false at the end */
    void (*abandon)(struct http_connection *c); /* the peer left before the reply was complete */
    union {
        struct {
            uint64_t id, deadline_ns, next_ns, ping_ns, digest, sequence;
        } job;
        struct {
            uint64_t next, end_ns;
            bool as_json;
        } log;
        struct {
            unsigned index, offset, end;
        } pci;
        struct listing *listing;
    } work;
};

/* ---- connection.c ---- */

/* Stop reading: send a problem and close. For errors after which the next request's start is not known. */
void connection_fail(struct http_connection *c, int status, const char *detail);
/* Refuse the request once its body has been read, or at once where that is impossible. First refusal wins. */
void connection_refuse(struct http_connection *c, int status, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
struct http_connection *connection_get(unsigned index); /* NULL past the end; may be unused */
void http_connection_reset(struct http_connection *c); /* ready for the next request */

/* ---- reply.c: each completes the reply to the current request ---- */

/* A header line for the coming reply, without CRLF. */
void reply_header(struct http_connection *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* body is copied when it fits, else sent from where it lies: it must stay for ever. */
void reply_static(struct http_connection *c, int status, const char *content_type, const void *body,
                  size_t size_bytes);
void reply_text(struct http_connection *c, int status, const char *content_type, const char *body);
/* Takes over body, which malloc() gave. NULL: 503. */
void reply_owned(struct http_connection *c, int status, const char *content_type, char *body,
                 size_t size_bytes);
/* A document with an empty object as its root, *root. Running out of memory while it grows is remembered, so
 * callers need not look at every addition: reply_json() answers 503 then. NULL is fine everywhere. */
yyjson_mut_doc *json_new(yyjson_mut_val **root);
/* Writes doc and frees it. */
void reply_json(struct http_connection *c, int status, yyjson_mut_doc *doc);
/* A status without a body (204). */
void reply_empty(struct http_connection *c, int status);
/* RFC 9457; field may be NULL. */
void reply_problem(struct http_connection *c, int status, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void reply_out_of_memory(struct http_connection *c);
/* The body comes in pieces: more() is called while there is room, adds with stream_write(), returns false at the
 * end. */
void reply_stream(struct http_connection *c, int status, const char *content_type,
                  bool (*more)(struct http_connection *c));
size_t stream_room(const struct http_connection *c);
void stream_write(struct http_connection *c, const void *data, size_t size_bytes);
/* Later: resume() is asked from http_connection_poll() until it calls one of the above. */
void reply_later(struct http_connection *c, void (*resume)(struct http_connection *c),
                 void (*abandon)(struct http_connection *c));
/* The last piece of a stream, of any size; takes over data. more() returns false after it. NULL data: no such piece. */
void stream_end(struct http_connection *c, struct text *text);
/* The stream's next pieces, if there is room. */
void stream_continue(struct http_connection *c);
/* What a problem looks like, for use in an event. Returns its bytes. */
size_t problem_format(const struct http_connection *c, char *out, size_t out_bytes, int status, const char *field,
                      const char *detail);
void reply_release(struct http_connection *c); /* frees what the reply owns */
void output_add(struct http_connection *c, const void *data, size_t size_bytes);
const char *status_title(int status);

/* ---- route.c ---- */

/* The headers are complete: find the route, check Host and token; connection_refuse() for what is wrong. */
void route_begin(struct http_connection *c);
/* The request is complete: answer it, or refuse it as route_begin() decided. */
void route_dispatch(struct http_connection *c);
/* A reply went out; for the counters. */
void route_count(const struct http_connection *c, int status);
bool request_is_authorised(const struct http_connection *c);

/* ---- uri.c ---- */

/* Decode %XX of the path into out (HTTP_TARGET_MAX + 1 bytes). NULL, or why it is refused. */
const char *uri_path_decode(const char *raw, size_t raw_bytes, char *out);
/* The value of name in the query, decoded. 1: found, 0: absent, -EINVAL: not decodable, given twice or longer than
 * out. */
int query_get(const struct http_connection *c, const char *name, char *out, size_t out_bytes);
/* The same as a decimal number. 1, 0 or -EINVAL; the range is inclusive. */
int query_uint(const struct http_connection *c, const char *name, uint64_t minimum, uint64_t maximum, uint64_t *out);
/* A name in the query that is not among allowed (names that each end in a space), NUL-terminated in out. */
bool query_has_unknown(const struct http_connection *c, const char *allowed, char *out, size_t out_bytes);

/* ---- api_*.c ---- */

void api_live(struct http_connection *c);
void api_ready(struct http_connection *c);
void api_page(struct http_connection *c);
void api_openapi(struct http_connection *c);
void api_machine(struct http_connection *c);
void api_apps(struct http_connection *c);
void api_devices(struct http_connection *c);
void api_pci(struct http_connection *c);
/* "pci", "bars" and "link" of the function with this name; "": there is none */
void json_add_pci(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *pci_name);
void api_volumes(struct http_connection *c);
void api_files(struct http_connection *c);
void api_models(struct http_connection *c);
void api_model(struct http_connection *c);
void api_model_delete(struct http_connection *c);
void api_jobs(struct http_connection *c);
void api_job_submit(struct http_connection *c);
void api_job(struct http_connection *c);
void api_job_cancel(struct http_connection *c);
void api_job_events(struct http_connection *c);
void api_log(struct http_connection *c);
void api_metrics(struct http_connection *c);

/*
 * helper.c: two tasks on core 0, beside the one that owns the transport, so that nothing they share needs a lock.
 * One does what waits for a device: directories and health. The other turns the jobs' event into news while
 * somebody waits for it.
 */
int helper_start(void);
void helper_wake(void);
bool helper_step(void);        /* do one thing; false when there is nothing to do */
void http_announce(void);      /* there is news: see http_has_news() */
void job_watch(int change);    /* +1 and -1: somebody waits for jobs */
bool listing_step(void);       /* api_files.c: read one directory that somebody waits for */

/* health.c: readings that take a command to the device, so a task takes them. */
struct nvme_health;
struct gpu_health;
bool health_nvme(unsigned controller, struct nvme_health *out);
bool health_gpu(unsigned device, struct gpu_health *out);
void health_refresh(void); /* ask for new readings unless they are fresh */
bool health_step(void);    /* in the helper task; false when nobody asked */

/* counters of route.c, for api_metrics.c */
#define DURATION_BUCKETS 12
extern const double duration_bucket_seconds[DURATION_BUCKETS];
struct route_counters {
    const char *pattern;
    uint64_t buckets[DURATION_BUCKETS + 1], duration_ns, count;
};
const struct route_counters *route_counters_get(unsigned index);
/* Calls each() for every (method, route, status) that has been counted. */
void route_counts_walk(void (*each)(void *arg, const char *method, const char *route, int status, uint64_t count),
                       void *arg);
struct connection_counters {
    uint64_t accepted, refused, timed_out, received_bytes, sent_bytes;
    unsigned open;
};
extern struct connection_counters connection_counters;

/* readiness, for api_machine.c */
const char *http_part_problem(enum http_part part); /* NULL when ready */
extern const char *const http_part_names[HTTP_PART_COUNT];

#endif
