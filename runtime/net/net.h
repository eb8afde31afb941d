/*
 * runtime/net/net.h: the network. NIC drivers (virtio-net, e1000e) under lwIP without an OS, all of
 * it on core 0.
 *
 * One task polls the NIC while there is traffic and sleeps on its interrupt and lwIP's next timer
 * when there is none. lwIP's raw API may be called from core 0 only, and lwIP's callbacks must not
 * yield. Memory given to tcp_write() without TCP_WRITE_FLAG_COPY is read by the NIC itself: it must
 * be page_alloc()ed, malloc()ed or part of the image, and stay as it is until acknowledged.
 */
#ifndef INGOT_NET_H
#define INGOT_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

enum net_state { NET_NO_DEVICE, NET_NO_LINK, NET_CONFIGURING, NET_UP };

struct net_info {
    enum net_state state;
    char device[32]; /* "virtio-net 0000:00:02.0" */
    uint8_t mac[6];
    char address[16], netmask[16], gateway[16], hostname[64];
    const char *source; /* "DHCP", "static", "link-local" */
    bool tx_checksum_offload, rx_checksum_offload;
    uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tcp_retransmits;
};

/*
 * Find the NIC, start lwIP and the net task on core 0. -ENODEV without a NIC that works; lwIP's raw
 * API is then safe to call, but nothing comes in. Does not wait for link or address: a listening
 * PCB answers as soon as there is one.
 */
int net_start(void);
void net_info(struct net_info *out); /* any core */
void net_stop(void);                 /* resets the NIC, bus mastering off */

/*
 * Run fn(arg) in the net task at its next turn: the way into lwIP from other cores. 0, -EAGAIN when
 * 64 calls wait already, -ENODEV when the net task does not run.
 */
int net_call(void (*fn)(void *arg), void *arg);
/* What the net task calls once per turn, e.g. to look at jobs that HTTP clients wait for. It must
 * not yield. */
void net_set_hook(void (*hook)(void));
/* Wake the net task from any core or interrupt; its hook then runs. */
void net_wake(void);

#endif
