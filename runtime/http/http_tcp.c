/*
 * runtime/http/http_tcp.c: the HTTP server on lwIP's raw TCP API, in the net task on core 0.
 *
 * Received pbufs that the connection does not take yet stay here, unacknowledged to the window, so that a client
 * that sends more than it reads stops by itself. What a reply does not fit into lwIP's send buffer stays in the
 * connection. Small replies leave in one tcp_write(): one segment, with the acknowledgement on it. Constants of
 * the image are not copied.
 *
 * lwIP owns a pcb again once tcp_close() or tcp_abort() was called or its error callback ran; each of these takes our
 * pointer off first. A callback that aborts returns ERR_ABRT.
 */
#include <lwip/pbuf.h>
#include <lwip/tcp.h>

#include "runtime/config/config.h"
#include "runtime/http/connection.h"
#include "runtime/net/net.h"

#define ACK_SECONDS 30 /* without an acknowledgement for what was sent: the peer is gone */
#define POLL_EVERY  1  /* in lwIP's coarse timer ticks of 500 ms */
#define TICK_NS     (250 * NS_PER_MS)
/* Segments that may wait while a reply is under way. They lie in the NIC's receive buffers, and 64 peers that send many
 * small ones must not take all of those. */
#define PENDING_MAX 4

struct tcp_binding {
    struct http_connection *http; /* NULL: unused */
    struct tcp_pcb *pcb;
    struct pbuf *pending; /* received, not yet taken */
    uint16_t pending_offset;
    bool has_input_end, has_ended_output;
    uint32_t unacknowledged_bytes;
    uint64_t ack_deadline_ns;
};

static struct tcp_binding bindings[HTTP_CONNECTION_MAX + HTTP_REFUSED_MAX];
static struct tcp_pcb *listener;

static void binding_release(struct tcp_binding *b)
{
    if (b->pending)
        pbuf_free(b->pending);
    if (b->http)
        http_connection_close(b->http);
    *b = (struct tcp_binding){0};
}

static struct tcp_pcb *binding_detach(struct tcp_binding *b)
{
    struct tcp_pcb *pcb = b->pcb;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_poll(pcb, NULL, 0);
    tcp_err(pcb, NULL);
    binding_release(b);
    return pcb;
}

static err_t binding_abort(struct tcp_binding *b)
{
    tcp_abort(binding_detach(b));
    return ERR_ABRT;
}

/* Returns what a callback must return. */
static err_t binding_close(struct tcp_binding *b)
{
    struct tcp_pcb *pcb = binding_detach(b);
    if (tcp_close(pcb) == ERR_OK)
        return ERR_OK;
    tcp_abort(pcb); /* no memory for a FIN */
    return ERR_ABRT;
}

/* Hand received bytes to the connection for as long as it takes them. */
static void binding_feed(struct tcp_binding *b)
{
    while (b->pending) {
        struct pbuf *p = b->pending;
        size_t taken =
            http_connection_receive(b->http, (const char *)p->payload + b->pending_offset,
                                    (size_t)(p->len - b->pending_offset));
        if (taken == 0 && b->pending_offset < p->len)
            return;
        tcp_recved(b->pcb, (uint16_t)taken);
        b->pending_offset += (uint16_t)taken;
        if (b->pending_offset < p->len)
            continue;
        b->pending = p->next;
        b->pending_offset = 0;
        if (p->next)
            pbuf_ref(p->next);
        pbuf_free(p);
    }
    if (b->has_input_end)
        http_connection_input_ended(b->http);
}

/* Hand what the connection has to lwIP, as much as its send buffer takes. Returns whether anything went. */
static bool binding_send(struct tcp_binding *b)
{
    const void *data;
    bool is_static, has_sent = false;
    size_t size_bytes;
    while (!b->has_ended_output &&
           (size_bytes = http_connection_output(b->http, &data, &is_static)) > 0) {
        size_bytes = min_u64(size_bytes, min_u64(tcp_sndbuf(b->pcb), UINT16_MAX));
        if (size_bytes == 0 || tcp_write(b->pcb, data, (uint16_t)size_bytes,
                                         is_static ? 0 : TCP_WRITE_FLAG_COPY) != ERR_OK)
            break; /* full: goes on when the peer has acknowledged some */
        if (b->unacknowledged_bytes == 0)
            b->ack_deadline_ns = time_ns() + ACK_SECONDS * NS_PER_S;
        b->unacknowledged_bytes += (uint32_t)size_bytes;
        http_connection_sent(b->http, size_bytes);
        has_sent = true;
    }
    return has_sent;
}

/* Move everything that can move, then do what the connection wants next. */
static err_t binding_run(struct tcp_binding *b)
{
    enum http_next next;
    bool has_moved;
    do {
        binding_feed(b);
        next = http_connection_poll(b->http);
        has_moved = binding_send(b);
        if (has_moved)
            next = http_connection_poll(b->http);
    } while (has_moved && b->pending && next == HTTP_GO_ON);

    if (next == HTTP_CLOSE)
        return binding_close(b);
    if (b->unacknowledged_bytes > 0 && time_ns() >= b->ack_deadline_ns)
        return binding_abort(b);
    if (next == HTTP_END_OUTPUT && !b->has_ended_output) {
        if (tcp_shutdown(b->pcb, 0, 1) != ERR_OK)
            return ERR_OK; /* no memory for a FIN: the next poll tries again */
        b->has_ended_output = true;
    }
    return ERR_OK;
}

/* ---- what lwIP calls ------------------------------------------------------------------------------------------- */

static err_t on_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
    struct tcp_binding *b = arg;
    if (p && b->pending && pbuf_clen(b->pending) >= PENDING_MAX)
        return ERR_MEM; /* lwIP keeps this one, drops what follows and offers it again */
    if (!p)
        b->has_input_end = true;
    else if (b->pending)
        pbuf_cat(b->pending, p);
    else
        b->pending = p;
    return binding_run(b); /* tcp_input() sends what was written, with the acknowledgement on it */
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t size_bytes)
{
    struct tcp_binding *b = arg;
    b->unacknowledged_bytes -= (uint32_t)min_u64(size_bytes, b->unacknowledged_bytes);
    b->ack_deadline_ns = time_ns() + ACK_SECONDS * NS_PER_S;
    return binding_run(b);
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
    err_t error = binding_run(arg);
    if (error == ERR_OK && ((struct tcp_binding *)arg)->pcb == pcb)
        tcp_output(pcb);
    return error;
}

static void on_error(void *arg, err_t error)
{
    struct tcp_binding *b = arg;
    if (b) {
        b->pcb = NULL; /* lwIP has freed it */
        binding_release(b);
    }
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct tcp_binding *b = NULL;
    if (error != ERR_OK || !pcb)
        return ERR_VAL;
    for (unsigned i = 0; i < ARRAY_COUNT(bindings) && !b; i++)
        b = bindings[i].http ? NULL : &bindings[i];
    struct http_connection *http =
        b ? http_connection_open(ip4_addr_get_u32(ip_2_ip4(&pcb->remote_ip))) : NULL;
    if (!http) {
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    *b = (struct tcp_binding){.http = http, .pcb = pcb};
    http_connection_set_owner(http, b);
    tcp_nagle_disable(pcb);
    tcp_arg(pcb, b);
    tcp_recv(pcb, on_receive);
    tcp_sent(pcb, on_sent);
    tcp_poll(pcb, on_poll, POLL_EVERY);
    tcp_err(pcb, on_error);
    return binding_run(b); /* one too many has its 503 ready */
}

/* Once per turn of the net task: news for connections that wait, and deadlines. */
static void on_turn(void)
{
    static uint64_t next_tick_ns;
    uint64_t now = time_ns();
    bool has_news = http_has_news();
    if (!has_news && now < next_tick_ns)
        return;
    next_tick_ns = now + TICK_NS;
    for (unsigned i = 0; i < ARRAY_COUNT(bindings); i++) {
        struct tcp_binding *b = &bindings[i];
        if (!b->http)
            continue;
        struct tcp_pcb *pcb = b->pcb;
        if (binding_run(b) == ERR_OK && b->pcb == pcb)
            tcp_output(pcb);
    }
}

/* ---- start ----------------------------------------------------------------------------------------------------- */

static void listen_here(void *arg)
{
    struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_V4);
    err_t error = pcb ? tcp_bind(pcb, IP4_ADDR_ANY, config.http_port) : ERR_MEM;
    listener = error == ERR_OK
                   ? tcp_listen_with_backlog_and_err(pcb, TCP_DEFAULT_LISTEN_BACKLOG, &error)
                   : NULL;
    if (!listener) {
        log_error("http: cannot listen on port %u (lwIP says %d)", config.http_port, error);
        if (pcb)
            tcp_close(pcb);
        return;
    }
    tcp_accept(listener, on_accept);
    net_set_hook(on_turn);
    if (!config.auth_required)
        log_warn("http: auth = none: whoever reaches port %u may run jobs", config.http_port);
}

int http_tcp_start(void)
{
    int error = net_call(listen_here, NULL);
    if (error)
        log_error("http: cannot listen on port %u: the network does not run", config.http_port);
    return error;
}
