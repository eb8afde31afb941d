/*
 * tests/host/http_host.c: what runtime/net and http_tcp.c are on the machine, over Linux sockets on the loopback:
 * the calls of net.h that the HTTP server makes, and a transport for it.
 *
 * One task on core 0 looks at all sockets, and sleeps for a millisecond when nothing moved.
 */
#include "tests/host/http_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/config/config.h"
#include "runtime/http/http.h"
#include "runtime/net/net.h"

#define PEER_MAX      128 /* more than the server takes, so that its refusals can be seen */
#define PENDING_BYTES 4096
#define IDLE_NS       NS_PER_MS

struct peer {
    int fd;
    struct http_connection *http; /* NULL: unused */
    size_t pending_bytes;
    bool has_input_end, has_ended_output;
    char pending[PENDING_BYTES];
};

static struct peer peers[PEER_MAX];
static int listen_fd;

void net_info(struct net_info *out)
{
    *out = (struct net_info){.state = NET_UP,
                             .device = "loopback",
                             .address = "127.0.0.1",
                             .netmask = "255.0.0.0",
                             .source = "host"};
    snprintf(out->hostname, sizeof(out->hostname), "%s", config.hostname);
}

void net_wake(void)
{
    /* The task below looks by itself. */
}

static void peer_close(struct peer *peer)
{
    http_connection_close(peer->http);
    close(peer->fd);
    peer->http = NULL;
}

/* Each returns whether something moved. */
static bool peer_receive(struct peer *peer)
{
    bool has_moved = false;
    if (!peer->has_input_end && peer->pending_bytes < PENDING_BYTES) {
        ssize_t got = recv(peer->fd, peer->pending + peer->pending_bytes,
                           PENDING_BYTES - peer->pending_bytes, 0);
        if (got > 0)
            peer->pending_bytes += (size_t)got;
        else if (got == 0 || (errno != EAGAIN && errno != EINTR))
            peer->has_input_end = true;
        has_moved = got >= 0;
    }
    size_t taken = http_connection_receive(peer->http, peer->pending, peer->pending_bytes);
    memmove(peer->pending, peer->pending + taken, peer->pending_bytes - taken);
    peer->pending_bytes -= taken;
    if (peer->has_input_end && peer->pending_bytes == 0)
        http_connection_input_ended(peer->http);
    return has_moved || taken > 0;
}

static bool peer_send(struct peer *peer)
{
    const void *data;
    bool is_static, has_moved = false;
    size_t size_bytes;
    while (!peer->has_ended_output &&
           (size_bytes = http_connection_output(peer->http, &data, &is_static)) > 0) {
        ssize_t sent = send(peer->fd, data, size_bytes, MSG_NOSIGNAL);
        if (sent <= 0)
            break;
        http_connection_sent(peer->http, (size_t)sent);
        has_moved = true;
    }
    return has_moved;
}

static bool peer_run(struct peer *peer)
{
    bool has_moved = peer_receive(peer);
    enum http_next next = http_connection_poll(peer->http);
    has_moved |= peer_send(peer);
    if (has_moved)
        next = http_connection_poll(peer->http);
    if (next == HTTP_CLOSE) {
        peer_close(peer);
    } else if (next == HTTP_END_OUTPUT && !peer->has_ended_output) {
        shutdown(peer->fd, SHUT_WR);
        peer->has_ended_output = true;
    }
    return has_moved;
}

static bool accept_one(void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    int fd = accept4(listen_fd, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return false;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (unsigned i = 0; i < PEER_MAX; i++) {
        if (peers[i].http)
            continue;
        struct http_connection *http = http_connection_open(address.sin_addr.s_addr);
        if (!http)
            break;
        peers[i] = (struct peer){.fd = fd, .http = http};
        http_connection_set_owner(http, &peers[i]);
        return true;
    }
    close(fd);
    return true;
}

static void serve(void *arg)
{
    for (;;) {
        bool has_moved = accept_one();
        for (unsigned i = 0; i < PEER_MAX; i++)
            if (peers[i].http)
                has_moved |= peer_run(&peers[i]);
        if (has_moved)
            task_yield();
        else
            task_sleep_until(time_ns() + IDLE_NS);
    }
}

int http_host_start(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int one = 1;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listen_fd < 0)
        return -errno;
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listen_fd, 128) < 0 ||
        getsockname(listen_fd, (struct sockaddr *)&address, &length) < 0) {
        int error = -errno;
        close(listen_fd);
        return error;
    }
    int error = task_create("http", 0, 256 * 1024, serve, NULL);
    return error ? error : ntohs(address.sin_port);
}
