/*
 * runtime/net/net.h: the network. NIC drivers (virtio-net, e1000e) under lwIP without an OS, all of it on core 0.
 *
 * One task polls the NIC while there is traffic and sleeps on its interrupt and lwIP's next timer when there is none.
 * lwIP's raw API may be called from core 0 only.
 */
#ifndef INGOT_NET_H
#define INGOT_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"
#include "nvme/nvme.h" /* struct dma_segment */

enum net_state { NET_NO_DEVICE, NET_NO_LINK, NET_CONFIGURING, NET_UP };

struct net_info {
    enum net_state state;
    char device[32];      /* "virtio-net 0000:00:02.0" */
    uint8_t mac[6];
    char address[16], netmask[16], gateway[16], hostname[64];
    const char *source;   /* "DHCP", "static", "link-local" */
    bool tx_checksum_offload, rx_checksum_offload;
    uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tcp_retransmits;
};

int net_start(void);  /* finds the NIC, starts lwIP and the net task on core 0; -ENODEV without a NIC */
void net_info(struct net_info *out);
void net_stop(void);  /* resets the NIC, bus mastering off */
/* Run fn(arg) in the net task at its next turn: the way into lwIP from other tasks and cores. */
int net_call(void (*fn)(void *arg), void *arg);
/* What the net task calls once per turn, e.g. to look at jobs that HTTP clients wait for. */
void net_set_hook(void (*hook)(void));
/* Wake the net task from any core or interrupt. */
void net_wake(void);

/* One Ethernet port; a driver fills this in. Frames are without FCS. */
struct nic {
    const char *driver_name;
    struct pci_device *pci;
    uint8_t mac[6];
    bool has_link;
    bool tx_checksum, rx_checksum; /* TCP and UDP over IPv4 */
    struct event event;            /* signalled by the interrupt */
    void *driver_data;
    /* Queue a frame made of chunk_count pieces of page_alloc()ed memory; done(arg) is called from poll when the device has
     * sent it. -EAGAIN when the ring is full. */
    int (*transmit)(struct nic *nic, const struct dma_segment *chunks, unsigned chunk_count, void (*done)(void *), void *arg);
    /* Deliver what arrived through receive(), finish what was sent, refill the ring. Returns frames handled. */
    unsigned (*poll)(struct nic *nic);
    void (*interrupts)(struct nic *nic, bool on);
    void (*kick)(struct nic *nic); /* ring the doorbell for everything queued */
    void (*stop)(struct nic *nic);
    void (*receive)(struct nic *nic, const void *frame, size_t size_bytes, bool checksum_is_good); /* set by net.c */
};

#endif
