/*
 * runtime/net/link.c: lwIP's network interface over a NIC. Frames are not copied on their way.
 *
 * Received: the NIC's buffer becomes a pbuf, and goes back to the pool when lwIP or the application
 * frees it. When NIC_BUFFER_LOAN_MAX buffers are out, frames are copied into lwIP's pools, and when
 * those are empty, dropped. Sent: the pieces of the pbuf chain are given to the NIC and a reference
 * is held until it reports the frame as sent. So memory behind a pbuf must be page_alloc()ed or
 * part of the image, and stay until acknowledged; lwIP does not touch a segment that is still
 * referenced (tcp_output_segment_busy()).
 */
#include <lwip/etharp.h>
#include <lwip/pbuf.h>
#include <lwip/prot/ip.h>
#include <lwip/prot/ip4.h>
#include <lwip/prot/tcp.h>
#include <lwip/prot/udp.h>
#include <netif/ethernet.h>
#include <string.h>

#include "runtime/net/checksum.h"
#include "runtime/net/net_private.h"

#define WAITING_MAX 512 /* frames that wait for a place in the transmit ring; a power of two */

struct received {
    struct pbuf_custom pbuf; /* first, so that freeing it finds us */
    uint16_t buffer;
};

struct netif link_netif;
static struct nic *link_nic;
static struct received received[NIC_BUFFER_COUNT]; /* by buffer */
static unsigned loan_count;
static struct pbuf *waiting[WAITING_MAX];
static uint32_t waiting_head, waiting_tail; /* count up forever */
static uint64_t dropped;

/* ---- receive --------------------------------------------------------------------------------- */

static void give_back(struct pbuf *pbuf)
{
    loan_count--;
    nic_buffer_put(link_nic, ((struct received *)pbuf)->buffer);
}

static struct pbuf *loan(unsigned buffer, void *frame, unsigned size_bytes)
{
    struct received *r = &received[buffer];
    r->pbuf.custom_free_function = give_back;
    r->buffer = (uint16_t)buffer;
    loan_count++;
    return pbuf_alloced_custom(PBUF_RAW, (u16_t)size_bytes, PBUF_REF, &r->pbuf, frame,
                               (u16_t)size_bytes);
}

static struct pbuf *copy(struct nic *nic, unsigned buffer, const void *frame, unsigned size_bytes)
{
    struct pbuf *pbuf = pbuf_alloc(PBUF_RAW, (u16_t)size_bytes, PBUF_RAM);
    if (pbuf != NULL)
        memcpy(pbuf->payload, frame, size_bytes);
    nic_buffer_put(nic, buffer);
    return pbuf;
}

void link_receive(struct nic *nic, unsigned buffer, unsigned offset, unsigned size_bytes,
                  bool checksum_is_good)
{
    uint8_t *frame = nic_buffer_va(nic, buffer) + offset;
    struct pbuf *pbuf = loan_count < NIC_BUFFER_LOAN_MAX ? loan(buffer, frame, size_bytes)
                                                         : copy(nic, buffer, frame, size_bytes);
    if (pbuf == NULL) {
        dropped++;
        return;
    }
    /* lwIP asks the interface, not the frame, whether to check; it handles this frame before
     * input() returns. */
    u16_t checks = NETIF_CHECKSUM_CHECK_UDP | NETIF_CHECKSUM_CHECK_TCP;
    link_netif.chksum_flags = checksum_is_good ? link_netif.chksum_flags & (u16_t)~checks
                                               : link_netif.chksum_flags | checks;
    if (link_netif.input(pbuf, &link_netif) != ERR_OK)
        pbuf_free(pbuf);
}

/* ---- send ------------------------------------------------------------------------------------ */

void link_sent(struct nic *nic, void *cookie)
{
    (void)nic;
    pbuf_free(cookie);
}

/* The sum over the addresses, protocol and length, which the device expects in the checksum's
 * place. */
static uint16_t pseudo_header_sum(const struct ip_hdr *ip, unsigned length)
{
    uint32_t sum = internet_checksum(&ip->src, 8);
    sum += lwip_htons(IPH_PROTO(ip));
    sum += lwip_htons((u16_t)length);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* Say where the device finds the TCP or UDP checksum. lwIP puts all headers into the first pbuf. */
static void request_checksum(const struct pbuf *pbuf, struct nic_frame *frame)
{
    if (!link_nic->tx_checksum || pbuf->len < SIZEOF_ETH_HDR + IP_HLEN)
        return;
    const struct eth_hdr *ethernet = pbuf->payload;
    struct ip_hdr *ip = (struct ip_hdr *)((uint8_t *)pbuf->payload + SIZEOF_ETH_HDR);
    if (ethernet->type != PP_HTONS(ETHTYPE_IP))
        return;
    unsigned header = IPH_HL_BYTES(ip), offset;
    if (IPH_PROTO(ip) == IP_PROTO_TCP)
        offset = offsetof(struct tcp_hdr, chksum);
    else if (IPH_PROTO(ip) == IP_PROTO_UDP)
        offset = offsetof(struct udp_hdr, chksum);
    else
        return;
    assert(pbuf->len >= SIZEOF_ETH_HDR + header + offset + 2);
    uint16_t sum = pseudo_header_sum(ip, lwip_ntohs(IPH_LEN(ip)) - header);
    memcpy((uint8_t *)ip + header + offset, &sum, 2);
    frame->checksum_start = (uint16_t)(SIZEOF_ETH_HDR + header);
    frame->checksum_offset = (uint16_t)offset;
}

/* Give the NIC a frame, taking over the caller's reference unless an error is returned. */
static int transmit(struct pbuf *pbuf)
{
    struct dma_segment chunks[NIC_CHUNK_MAX];
    struct nic_frame frame = {.chunks = chunks};
    for (const struct pbuf *at = pbuf; at != NULL; at = at->next)
        if (at->len > 0)
            chunks[frame.chunk_count++] = (struct dma_segment){dma_addr(at->payload), at->len};
    request_checksum(pbuf, &frame);
    return link_nic->driver->transmit(link_nic, &frame, pbuf);
}

static err_t link_output(struct netif *netif, struct pbuf *pbuf)
{
    (void)netif;
    if (link_nic->is_failed || pbuf->tot_len > NIC_FRAME_MAX)
        return ERR_IF;
    /* A chain of many small pieces (tcp_write() of them without copying) becomes one piece. */
    if (pbuf_clen(pbuf) > NIC_CHUNK_MAX) {
        pbuf = pbuf_clone(PBUF_RAW, PBUF_RAM, pbuf);
        if (pbuf == NULL)
            return ERR_MEM;
    } else {
        pbuf_ref(pbuf);
    }
    if (!link_has_waiting() && transmit(pbuf) == 0)
        return ERR_OK;
    if (waiting_tail - waiting_head == WAITING_MAX) {
        pbuf_free(pbuf);
        return ERR_MEM; /* TCP keeps the segment and tries again */
    }
    waiting[waiting_tail++ & (WAITING_MAX - 1)] = pbuf;
    return ERR_OK;
}

bool link_has_waiting(void)
{
    return waiting_head != waiting_tail;
}

void link_flush(void)
{
    while (link_has_waiting()) {
        struct pbuf *pbuf = waiting[waiting_head & (WAITING_MAX - 1)];
        int error = transmit(pbuf);
        if (error == -EAGAIN)
            break;
        if (error != 0)
            pbuf_free(pbuf);
        waiting_head++;
    }
    link_nic->driver->kick(link_nic);
}

uint64_t link_dropped(void)
{
    return dropped;
}

/* ---- start ----------------------------------------------------------------------------------- */

static err_t link_init(struct netif *netif)
{
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->mtu = NIC_FRAME_MAX - SIZEOF_ETH_HDR;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    memcpy(netif->hwaddr, link_nic->mac, ETH_HWADDR_LEN);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP;
    netif->output = etharp_output;
    netif->linkoutput = link_output;
    u16_t by_device = NETIF_CHECKSUM_GEN_UDP | NETIF_CHECKSUM_GEN_TCP;
    NETIF_SET_CHECKSUM_CTRL(netif, link_nic->tx_checksum ? NETIF_CHECKSUM_ENABLE_ALL & ~by_device
                                                         : NETIF_CHECKSUM_ENABLE_ALL);
    return ERR_OK;
}

int link_start(struct nic *nic, const char *hostname)
{
    link_nic = nic;
    if (netif_add_noaddr(&link_netif, nic, link_init, ethernet_input) == NULL)
        return -ENOMEM;
    netif_set_hostname(&link_netif, hostname);
    netif_set_default(&link_netif);
    return 0;
}
