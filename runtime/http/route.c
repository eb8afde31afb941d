/*
 * runtime/http/route.c: which request goes where, and who may send it.
 *
 * Order of the checks, each with its status: target form and decoding (400), Host (421), path (404), method (405),
 * query names (400), origin (403), token (401), parts of the machine that are still starting (503). They run when the
 * headers are complete, before a body is read.
 */
#include "runtime/http/connection.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "runtime/config/config.h"
#include "runtime/net/net.h"

static const struct http_route routes[] = {
    {.pattern = "/livez", .get = api_live, .query = "verbose ", .is_open = true},
    {.pattern = "/readyz", .get = api_ready, .query = "verbose ", .is_open = true},
    {.pattern = "/", .get = api_page, .is_open = true},
    {.pattern = "/openapi.json", .get = api_openapi, .is_open = true},
    {.pattern = "/metrics", .get = api_metrics},
    {.pattern = "/v1/machine", .get = api_machine},
    {.pattern = "/v1/apps", .get = api_apps},
    {.pattern = "/v1/devices",
     .get = api_devices,
     .needs = BIT(HTTP_PART_DEVICES) | BIT(HTTP_PART_VOLUMES)},
    {.pattern = "/v1/pci", .get = api_pci, .query = "format "},
    {.pattern = "/v1/volumes", .get = api_volumes, .needs = BIT(HTTP_PART_VOLUMES)},
    {.pattern = "/v1/volumes/{name}/files",
     .get = api_files,
     .query = "path offset limit ",
     .needs = BIT(HTTP_PART_VOLUMES)},
    {.pattern = "/v1/models", .get = api_models, .needs = BIT(HTTP_PART_JOBS)},
    {.pattern = "/v1/models/{handle}",
     .get = api_model,
     .delete = api_model_delete,
     .needs = BIT(HTTP_PART_JOBS)},
    {.pattern = "/v1/jobs",
     .get = api_jobs,
     .post = api_job_submit,
     .query = "after limit wait ",
     .needs = BIT(HTTP_PART_JOBS)},
    {.pattern = "/v1/jobs/{id}",
     .get = api_job,
     .delete = api_job_cancel,
     .query = "wait ",
     .needs = BIT(HTTP_PART_JOBS)},
    {.pattern = "/v1/jobs/{id}/events", .get = api_job_events, .needs = BIT(HTTP_PART_JOBS)},
    {.pattern = "/v1/log", .get = api_log, .query = "from format "},
};
#define ROUTE_COUNT ARRAY_COUNT(routes)

/* ---- token ----------------------------------------------------------------------------------------------------- */

static char access_token[129];

void http_set_token(const char *token)
{
    snprintf(access_token, sizeof(access_token), "%s", token);
}

/* Takes the same time whatever the two texts are, apart from the length of the given one. */
static bool token_is_equal(const char *given)
{
    size_t given_bytes = strlen(given), token_bytes = strlen(access_token);
    unsigned difference = (unsigned)(given_bytes ^ token_bytes);
    for (size_t i = 0; i < given_bytes; i++)
        difference |= (uint8_t)given[i] ^ (uint8_t)access_token[i < token_bytes ? i : 0];
    return difference == 0 && token_bytes > 0;
}

bool request_is_authorised(const struct http_connection *c)
{
    if (!config.auth_required)
        return true;
    const struct header_value *header = &c->headers[HEADER_AUTHORIZATION];
    if (header->count != 1 || header->is_cut || strncasecmp(header->text, "bearer ", 7) != 0)
        return false;
    return token_is_equal(header->text + 7 + strspn(header->text + 7, " "));
}

static void token_check(struct http_connection *c)
{
    static uint64_t logged_ns;
    if (c->route->is_open || request_is_authorised(c))
        return;
    bool is_given = c->headers[HEADER_AUTHORIZATION].count > 0;
    if (is_given && (logged_ns == 0 || time_ns() - logged_ns > 10 * NS_PER_S)) {
        logged_ns = time_ns();
        log_warn(
            "http: a request from %u.%u.%u.%u has a wrong access token (said at most every 10 s)",
            c->peer_address & 255, c->peer_address >> 8 & 255, c->peer_address >> 16 & 255,
            c->peer_address >> 24);
    }
    connection_refuse(
        c, 401, "Authorization", "%s",
        is_given
            ? "The access token is not right. It stands on the appliance's console, or in "
              "ingot.conf as token = ..."
            : "Send the access token: Authorization: Bearer TOKEN. It stands on the appliance's "
              "console, or in ingot.conf as token = ...");
}

/* ---- Host ------------------------------------------------------------------------------------------------------ */

/* name equals the host, or host followed by ".local". */
static bool name_matches(const char *host, size_t host_bytes, const char *name)
{
    size_t name_bytes = strlen(name);
    if (name_bytes == 0 || host_bytes < name_bytes || strncasecmp(host, name, name_bytes) != 0)
        return false;
    return host_bytes == name_bytes ||
           (host_bytes == name_bytes + 6 && strncasecmp(host + name_bytes, ".local", 6) == 0);
}

/* Ours: the host name, with or without .local, the address, what the loopback is called (QEMU forwards from there), and
 * the names that ingot.conf adds. Everything else could be a web page's name that was pointed here (DNS rebinding). */
static bool host_is_ours(const char *host, size_t host_bytes)
{
    static char last[HEADER_VALUE_MAX + 1];
    static size_t last_bytes;
    if (host_bytes == last_bytes && memcmp(host, last, host_bytes) == 0)
        return true; /* nearly every request: the same name as the one before */

    struct net_info net;
    net_info(&net);
    bool is_ours =
        name_matches(host, host_bytes, config.hostname) ||
        name_matches(host, host_bytes, net.hostname) ||
        name_matches(host, host_bytes, "localhost") ||
        (host_bytes == strlen(net.address) && memcmp(host, net.address, host_bytes) == 0) ||
        (host_bytes == 9 && memcmp(host, "127.0.0.1", 9) == 0) ||
        (host_bytes == 5 && memcmp(host, "[::1]", 5) == 0);
    for (const char *at = config.allowed_hosts; *at && !is_ours; at += strspn(at, ", ")) {
        size_t length = strcspn(at, ", ");
        is_ours = length == host_bytes && strncasecmp(at, host, length) == 0;
        at += length;
    }
    if (is_ours && host_bytes <= HEADER_VALUE_MAX) {
        memcpy(last, host, host_bytes);
        last_bytes = host_bytes;
    }
    return is_ours;
}

/* The host part of "host", "host:port" or "[v6]:port"; 0 when the port is none. */
static size_t host_length(const char *authority, size_t size_bytes)
{
    size_t length = size_bytes;
    for (size_t i = size_bytes; i > 0; i--) {
        char byte = authority[i - 1];
        if (byte == ':') {
            length = i - 1;
            break;
        }
        if (byte < '0' || byte > '9')
            break;
    }
    return length;
}

/* ---- target ---------------------------------------------------------------------------------------------------- */

/* Split the request target (RFC 9112, 3.2) into host, path and query. Returns false after refusing it. */
static bool target_split(struct http_connection *c)
{
    const char *path = c->target;
    const char *host = c->headers[HEADER_HOST].text;
    size_t host_bytes = c->headers[HEADER_HOST].size_bytes;
    if (strncasecmp(path, "http://", 7) == 0) { /* absolute form: its authority stands above Host */
        host = path + 7;
        host_bytes = strcspn(host, "/?#");
        path += 7 + host_bytes;
        if (!*path)
            path = "/";
    }
    c->query = path + strcspn(path, "?#");
    size_t path_bytes = (size_t)(c->query - path);
    if (*c->query == '#') {
        connection_refuse(c, 400, NULL, "The request target has a fragment (#).");
        return false;
    }
    c->query += *c->query == '?';
    if (strchr(c->query, '#')) {
        connection_refuse(c, 400, NULL, "The request target has a fragment (#).");
        return false;
    }
    if (c->method == METHOD_OPTIONS && path_bytes == 1 && *path == '*') {
        memcpy(c->path, "*", 2);
        return true;
    }
    const char *problem = uri_path_decode(path, path_bytes, c->path);
    if (problem) {
        c->path[0] = 0;
        connection_refuse(c, 400, NULL, "%s", problem);
        return false;
    }
    host_bytes = host_length(host, host_bytes);
    if ((host_bytes > 0 || !c->is_http_1_0) && !host_is_ours(host, host_bytes)) {
        connection_refuse(
            c, 421, "Host",
            "This appliance is not known as \"%.*s\". Use its name or address, or add the "
            "name to ingot.conf: hosts = ...",
            (int)min_u64(host_bytes, 64), host);
        return false;
    }
    return true;
}

/* Does path match pattern? A {segment} takes one segment that is not empty; *captured points at it. */
static bool pattern_matches(const char *pattern, const char *path, const char **captured)
{
    while (*pattern) {
        if (*pattern == '{') {
            size_t length = strcspn(path, "/");
            if (length == 0)
                return false;
            *captured = path;
            path += length;
            pattern += strcspn(pattern, "}") + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == 0;
}

static const struct http_route *route_find(struct http_connection *c)
{
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const char *captured = NULL;
        if (!pattern_matches(routes[i].pattern, c->path, &captured))
            continue;
        size_t length = captured ? strcspn(captured, "/") : 0;
        if (length >= sizeof(c->captured))
            return NULL; /* longer than any name there is */
        memcpy(c->captured, captured ? captured : "", length);
        c->captured[length] = 0;
        return &routes[i];
    }
    return NULL;
}

static bool route_has_method(const struct http_route *route, uint8_t method)
{
    switch (method) {
    case METHOD_GET:
    case METHOD_HEAD:
        return route->get != NULL;
    case METHOD_POST:
        return route->post != NULL;
    case METHOD_DELETE:
        return route->delete != NULL;
    default:
        return method == METHOD_OPTIONS;
    }
}

static const char *allow_line(const struct http_route *route)
{
    if (!route)
        return "GET, HEAD, POST, DELETE, OPTIONS";
    if (route->post)
        return "GET, HEAD, POST, OPTIONS";
    return route->delete ? "GET, HEAD, DELETE, OPTIONS" : "GET, HEAD, OPTIONS";
}

/* A page of another origin must not act through a visitor's browser: without a token nothing else would stop it. */
static void origin_check(struct http_connection *c)
{
    const struct header_value *origin = &c->headers[HEADER_ORIGIN];
    if (!origin->count || c->method == METHOD_GET || c->method == METHOD_HEAD ||
        c->method == METHOD_OPTIONS)
        return;
    if (config.cors_origin[0] && strcmp(origin->text, config.cors_origin) == 0)
        return;
    const char *host = strstr(origin->text, "://");
    if (!host || strcasecmp(host + 3, c->headers[HEADER_HOST].text) != 0)
        connection_refuse(
            c, 403, "Origin",
            "A page of another origin may not do this. To allow one: cors_origin = ORIGIN in "
            "ingot.conf");
}

void route_begin(struct http_connection *c)
{
    if (!target_split(c))
        return;
    c->route = route_find(c);
    if (c->method == METHOD_OPTIONS && (c->route || c->path[0] == '*'))
        return;
    if (!c->route) {
        connection_refuse(c, 404, NULL,
                          "There is nothing at this path. GET /openapi.json lists what there is.");
        return;
    }
    if (!route_has_method(c->route, c->method)) {
        connection_refuse(c, 405, NULL, "This path takes %s.", allow_line(c->route));
        return;
    }
    char unknown[32];
    if (query_has_unknown(c, c->route->query, unknown, sizeof(unknown)))
        connection_refuse(c, 400, unknown, "This path has no query parameter of that name.");
    origin_check(c);
    token_check(c);
    for (unsigned part = 0; part < HTTP_PART_COUNT; part++) {
        const char *problem = c->route->needs >> part & 1 ? http_part_problem(part) : NULL;
        if (problem)
            connection_refuse(c, 503, NULL, "Not ready: %s: %.120s.", http_part_names[part],
                              problem);
    }
}

static void options_reply(struct http_connection *c)
{
    reply_header(c, "Allow: %s", allow_line(c->route));
    if (config.cors_origin[0] && strcmp(c->headers[HEADER_ORIGIN].text, config.cors_origin) == 0) {
        reply_header(c, "Access-Control-Allow-Methods: GET, POST, DELETE");
        reply_header(c, "Access-Control-Allow-Headers: Authorization, Content-Type");
        reply_header(c, "Access-Control-Max-Age: 600");
    }
    reply_empty(c, 204);
}

void route_dispatch(struct http_connection *c)
{
    if (c->early_status) {
        if (c->early_status == 405)
            reply_header(c, "Allow: %s", allow_line(c->route));
        reply_problem(c, c->early_status, c->early_field[0] ? c->early_field : NULL, "%s",
                      c->early_detail);
    } else if (c->method == METHOD_OPTIONS) {
        options_reply(c);
    } else if (c->method == METHOD_POST) {
        c->route->post(c);
    } else if (c->method == METHOD_DELETE) {
        c->route->delete(c);
    } else {
        c->route->get(c);
    }
}

/* ---- counters -------------------------------------------------------------------------------------------------- */

static const char *const method_names[METHOD_COUNT] = {"GET",  "POST",    "DELETE",
                                                       "HEAD", "OPTIONS", "other"};
static const uint16_t counted_statuses[] = {200, 202, 204, 400, 401, 403, 404, 405, 408, 409, 413,
                                            414, 415, 417, 421, 422, 431, 500, 501, 503, 505, 507};
const double duration_bucket_seconds[DURATION_BUCKETS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10};
static const uint64_t duration_bucket_ns[DURATION_BUCKETS] = {
    100000,   250000,   500000,    1000000,   2500000,    5000000,
    10000000, 25000000, 100000000, 500000000, 2500000000, 10000000000};

/* The row after the last route's counts what matched none. */
static uint64_t counts[ROUTE_COUNT + 1][METHOD_COUNT][ARRAY_COUNT(counted_statuses) + 1];
static struct route_counters durations[ROUTE_COUNT + 1];
static uint64_t first_reply_ns;

uint64_t http_first_reply_ns(void)
{
    return first_reply_ns;
}

void route_count(const struct http_connection *c, int status)
{
    uint64_t now = time_ns(), took = now - c->started_ns;
    unsigned row = c->route ? (unsigned)(c->route - routes) : ROUTE_COUNT;
    unsigned method = c->method ? (unsigned)__builtin_ctz(c->method) : METHOD_COUNT - 1;
    unsigned column = 0, bucket = 0;
    while (column < ARRAY_COUNT(counted_statuses) && counted_statuses[column] != status)
        column++;
    while (bucket < DURATION_BUCKETS && took > duration_bucket_ns[bucket])
        bucket++;
    counts[row][method][column]++;
    durations[row].buckets[bucket]++;
    durations[row].duration_ns += took;
    durations[row].count++;
    if (first_reply_ns == 0)
        first_reply_ns = now;
}

const struct route_counters *route_counters_get(unsigned index)
{
    if (index > ROUTE_COUNT)
        return NULL;
    durations[index].pattern = index < ROUTE_COUNT ? routes[index].pattern : "none";
    return &durations[index];
}

void route_counts_walk(void (*each)(void *arg, const char *method, const char *route, int status,
                                    uint64_t count),
                       void *arg)
{
    for (unsigned row = 0; row <= ROUTE_COUNT; row++)
        for (unsigned method = 0; method < METHOD_COUNT; method++)
            for (unsigned column = 0; column <= ARRAY_COUNT(counted_statuses); column++)
                if (counts[row][method][column])
                    each(arg, method_names[method],
                         row < ROUTE_COUNT ? routes[row].pattern : "none",
                         column < ARRAY_COUNT(counted_statuses) ? counted_statuses[column] : 0,
                         counts[row][method][column]);
}
