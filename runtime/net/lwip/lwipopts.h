/*
 * runtime/net/lwip/lwipopts.h: lwIP 2.2 without an operating system, IPv4 only, for a server of up
 * to 64 busy connections. All memory comes from fixed pools: when one is empty, frames are dropped
 * and TCP sends them again.
 */
#ifndef INGOT_LWIPOPTS_H
#define INGOT_LWIPOPTS_H

/* ---- one task on one core, so no locks ------------------------------------------------------- */
#define NO_SYS                         1
#define SYS_LIGHTWEIGHT_PROT           0
#define LWIP_NETCONN                   0
#define LWIP_SOCKET                    0
#define LWIP_SINGLE_NETIF              1
#define LWIP_NETIF_LOOPBACK            0
#define LWIP_HAVE_LOOPIF               0

/* ---- memory (sizes of the pools behind mem_malloc() are in lwippools.h) ---------------------- */
#define MEM_ALIGNMENT                  8
#define MEM_USE_POOLS                  1
#define MEMP_USE_CUSTOM_POOLS          1
#define MEM_USE_POOLS_TRY_BIGGER_POOL  1
#define LWIP_SUPPORT_CUSTOM_PBUF       1    /* received frames stay in the NIC's buffers */
#define PBUF_POOL_SIZE                 4    /* so lwIP's own pool of receive buffers is not used */
#define MEMP_NUM_PBUF                  4096 /* references to data that tcp_write() does not copy */
#define MEMP_NUM_TCP_SEG               4096
/* 64 connections, others that get a 503, and the rest in TIME_WAIT; when none is free the oldest
 * TIME_WAIT goes. */
#define MEMP_NUM_TCP_PCB               192
#define MEMP_NUM_TCP_PCB_LISTEN        4
#define MEMP_NUM_UDP_PCB               6 /* DHCP, DNS, mDNS, SNTP */
#define MEMP_NUM_SYS_TIMEOUT           (LWIP_NUM_SYS_TIMEOUT_INTERNAL + 24)
#define MEMP_NUM_IGMP_GROUP            4
#define ARP_TABLE_SIZE                 32
#define MEMP_NUM_ARP_QUEUE             32
#define ARP_QUEUEING                   1
#define ARP_QUEUE_LEN                  4 /* frames that wait for one address */

/* ---- IP -------------------------------------------------------------------------------------- */
#define LWIP_IPV4                      1
#define LWIP_IPV6                      0
/* Nothing we speak needs fragments: TCP keeps to its MSS, and names and times fit one frame. */
#define IP_REASSEMBLY                  0
#define IP_FRAG                        0
#define IP_FORWARD                     0
#define LWIP_RAW                       0
#define LWIP_ICMP                      1
#define LWIP_BROADCAST_PING            0
#define LWIP_MULTICAST_PING            0
#define LWIP_IGMP                      1 /* for mDNS */
#define LWIP_NETIF_HOSTNAME            1
#define LWIP_NETIF_STATUS_CALLBACK     1
#define LWIP_NETIF_EXT_STATUS_CALLBACK 1
#define LWIP_CHECKSUM_CTRL_PER_NETIF   1 /* what the NIC does is not done again, see link.c */

/* ---- addresses and names --------------------------------------------------------------------- */
#define LWIP_DHCP                      1
#define LWIP_DHCP_DOES_ACD_CHECK       0 /* use the address at once instead of probing for seconds */
#define LWIP_DHCP_GET_NTP_SRV          1
#define LWIP_DHCP_MAX_NTP_SERVERS      2
#define LWIP_AUTOIP                    0 /* address.c picks link-local addresses, with lwIP's conflict detection */
#define LWIP_ACD                       1
#define LWIP_DNS                       1 /* for `ntp = name` */
#define DNS_TABLE_SIZE                 4
#define DNS_MAX_NAME_LENGTH            64
#define LWIP_MDNS_RESPONDER            1
#define LWIP_NUM_NETIF_CLIENT_DATA     1
#define MDNS_MAX_SERVICES              1
#define MDNS_RESP_USENETIF_EXTCALLBACK 1
#define SNTP_SERVER_DNS                1
#define SNTP_MAX_SERVERS               2
#define SNTP_GET_SERVERS_FROM_DHCP     1
#define SNTP_CHECK_RESPONSE                                                                        \
    2 /* the answer must come from the server and echo our (random) time stamp */

/* ---- TCP ------------------------------------------------------------------------------------- */
#define TCP_MSS             1460
#define LWIP_WND_SCALE      1
#define TCP_RCV_SCALE       2
#define TCP_WND             (128 * 1024) /* 1 Gbit/s with 1 ms round trip */
#define TCP_SND_BUF         (128 * 1024)
#define TCP_SND_QUEUELEN    ((4 * TCP_SND_BUF + TCP_MSS - 1) / TCP_MSS)
#define TCP_SNDLOWAT        (32 * 1024)
#define TCP_QUEUE_OOSEQ     1
#define TCP_OOSEQ_MAX_PBUFS            12 /* per connection: nobody fills the pools with holes */
#define LWIP_TCP_SACK_OUT   1
#define LWIP_TCP_KEEPALIVE  1
#define TCP_LISTEN_BACKLOG  1
#define TCP_DEFAULT_LISTEN_BACKLOG                                                                 \
    64 /* half-open connections, so a flood leaves PCBs for the rest */
#define TCP_SYNMAXRTX                  4
/* TIME_WAIT lasts twice this. RFC 9293 says 2 minutes for networks of 1981; 15 s lets old segments
 * die and a table of 192 turn over. */
#define TCP_MSL                        15000
#define LWIP_TCP_PCB_NUM_EXT_ARGS      0
#define LWIP_CALLBACK_API              1
#define LWIP_HOOK_FILENAME             "lwip_hooks.h"

/* ---- counters -------------------------------------------------------------------------------- */
#define LWIP_STATS                     1
#define LWIP_STATS_DISPLAY             0
#define MIB2_STATS                     1 /* TCP retransmissions */
#define LINK_STATS                     0
#define ETHARP_STATS                   0
#define IP_STATS                       0
#define ICMP_STATS                     0
#define IGMP_STATS                     0
#define UDP_STATS                      0
#define TCP_STATS                      0
#define MEM_STATS                      0
#define MEMP_STATS                     0
#define SYS_STATS                      0

/* The check that PBUF_POOL holds a TCP window is meant for ports that receive into it. */
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1

#endif
