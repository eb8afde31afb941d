/*
 * runtime/net/address.c: where the appliance's IPv4 address comes from.
 *
 *     network = static   the address in ingot.conf, at once
 *     network = dhcp     DHCP (RFC 2131). When no server has answered FALLBACK_MS after the link
 * came up: the address in ingot.conf if there is one, else a link-local address (RFC 3927), probed
 * for conflicts first. DHCP goes on asking, and its address replaces the fallback.
 */
#include <lwip/acd.h>
#include <lwip/dhcp.h>
#include <lwip/dns.h>
#include <lwip/etharp.h>
#include <lwip/timeouts.h>

#include "runtime/config/config.h"
#include "runtime/net/net_private.h"

#define FALLBACK_MS 3000 /* the first DISCOVER and its repetition after 2 s went unanswered */

static enum { SOURCE_NONE, SOURCE_DHCP, SOURCE_STATIC, SOURCE_LINK_LOCAL } source;
static bool uses_dhcp;
static struct acd link_local_acd;
static bool link_local_active;
static unsigned link_local_attempt;

const char *address_source(void)
{
    static const char *const names[] = {"", "DHCP", "static", "link-local"};
    return names[source];
}

static void use_configured(struct netif *netif)
{
    ip4_addr_t address = {config.address}, netmask = {config.netmask}, gateway = {config.gateway};
    source = SOURCE_STATIC;
    netif_set_addr(netif, &address, &netmask, &gateway);
    if (config.dns != 0) {
        ip_addr_t dns = IPADDR4_INIT(config.dns);
        dns_setserver(0, &dns);
    }
}

/* ---- link-local (RFC 3927) ------------------------------------------------------------------- */

/* 169.254.1.0 to 169.254.254.255 (2.1), from the MAC first so that it tends to stay the same, then
 * at random. */
static void link_local_probe(struct netif *netif)
{
    uint32_t pick = link_local_attempt++ == 0 ? ((uint32_t)netif->hwaddr[3] << 16 |
                                                 (uint32_t)netif->hwaddr[4] << 8 | netif->hwaddr[5])
                                              : LWIP_RAND();
    ip4_addr_t address = {PP_HTONL(0xa9fe0100u + pick % 0xfe00u)};
    acd_start(netif, &link_local_acd, address);
}

static void link_local_result(struct netif *netif, acd_callback_enum_t result)
{
    if (!link_local_active)
        return;
    if (result == ACD_IP_OK) {
        ip4_addr_t netmask = {PP_HTONL(0xffff0000u)}, none = {0};
        source = SOURCE_LINK_LOCAL;
        netif_set_addr(netif, &link_local_acd.ipaddr, &netmask, &none);
    } else if (result == ACD_RESTART_CLIENT) {
        link_local_probe(netif);
    } else if (source == SOURCE_LINK_LOCAL) { /* ACD_DECLINE: somebody else has it */
        source = SOURCE_NONE;
        netif_set_addr(netif, IP4_ADDR_ANY4, IP4_ADDR_ANY4, IP4_ADDR_ANY4);
    }
}

static void link_local_stop(struct netif *netif)
{
    if (link_local_active)
        acd_stop(&link_local_acd);
    link_local_active = false;
}

/* ---- DHCP and its fallback ------------------------------------------------------------------- */

static void fall_back(void *arg)
{
    struct netif *netif = arg;
    if (source != SOURCE_NONE || !netif_is_link_up(netif))
        return;
    if (config.address != 0) {
        log_warn(
            "net: no DHCP server answers; using the address in ingot.conf and going on asking");
        use_configured(netif);
        return;
    }
    log_warn("net: no DHCP server answers; taking a link-local address and going on asking");
    link_local_active = true;
    acd_add(netif, &link_local_acd, link_local_result);
    link_local_probe(netif);
}

static void restart_fallback_timer(struct netif *netif)
{
    sys_untimeout(fall_back, netif);
    if (uses_dhcp && netif_is_link_up(netif))
        sys_timeout(FALLBACK_MS, fall_back, netif);
}

static void look_at_address(struct netif *netif)
{
    if (dhcp_supplied_address(netif)) {
        source = SOURCE_DHCP;
        sys_untimeout(fall_back, netif);
        link_local_stop(netif);
    } else if (ip4_addr_isany(netif_ip4_addr(netif))) {
        if (source == SOURCE_DHCP) {
            log_warn("net: the DHCP lease has ended");
            source = SOURCE_NONE;
            restart_fallback_timer(netif);
        }
        return;
    }
    char address[16], gateway[16];
    ip4addr_ntoa_r(netif_ip4_addr(netif), address, sizeof(address));
    ip4addr_ntoa_r(netif_ip4_gw(netif), gateway, sizeof(gateway));
    log_info("net: address %s, gateway %s (%s)", address, gateway, address_source());
    names_address_ready(netif);
    /* The first client mostly comes through the gateway; its SYN-ACK need not wait for this then. */
    if (!ip4_addr_isany(netif_ip4_gw(netif)))
        etharp_request(netif, netif_ip4_gw(netif));
}

/* lwIP calls this whenever the interface's address was set, by us or by its DHCP client. */
static void address_changed(struct netif *netif)
{
    look_at_address(netif);
    net_changed();
}

void address_link_changed(struct netif *netif, bool has_link)
{
    if (has_link) {
        netif_set_link_up(netif); /* DHCP starts, or checks that its address still holds */
    } else {
        netif_set_link_down(netif);
        link_local_stop(netif);
        if (source == SOURCE_LINK_LOCAL || (uses_dhcp && source == SOURCE_STATIC)) {
            source = SOURCE_NONE; /* the next network may have a DHCP server */
            netif_set_addr(netif, IP4_ADDR_ANY4, IP4_ADDR_ANY4, IP4_ADDR_ANY4);
        }
    }
    restart_fallback_timer(netif);
}

void address_start(struct netif *netif)
{
    netif_set_status_callback(netif, address_changed);
    netif_set_up(netif);
    uses_dhcp = config.dhcp || config.address == 0;
    if (!uses_dhcp) {
        use_configured(netif);
        return;
    }
    if (!config.dhcp)
        log_warn("net: network = static, but no address is set in ingot.conf; using DHCP");
    if (dhcp_start(netif) != ERR_OK)
        log_error("net: the DHCP client does not start");
}
