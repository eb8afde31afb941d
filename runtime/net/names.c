/*
 * runtime/net/names.c: the appliance's name on the local network and its clock: mDNS (RFC 6762),
 * DNS-SD (RFC 6763), SNTP (RFC 4330), with lwIP's applications for them.
 */
#include <lwip/apps/mdns.h>
#include <lwip/apps/sntp.h>
#include <stdio.h>
#include <string.h>

#include "runtime/config/config.h"
#include "runtime/net/net_private.h"

#define NAME_NUMBER_MAX \
    99 /* ingot-2 to ingot-99; a network with more conflicts has another problem */

static char hostname[64];
static unsigned name_number = 1;
static bool is_running;

const char *names_hostname(void)
{
    return hostname;
}

/* ---- mDNS ------------------------------------------------------------------------------------ */

static void service_text(struct mdns_service *service, void *arg)
{
    (void)arg;
    static const char path[] = "path=/";
    if (mdns_resp_add_service_txtitem(service, path, sizeof(path) - 1) != ERR_OK)
        log_warn("net: no room for the mDNS service text");
}

static void name_result(struct netif *netif, u8_t result, s8_t slot)
{
    if (result == MDNS_PROBING_SUCCESSFUL) {
        log_info("net: this machine is %s.local", hostname);
        return;
    }
    if (name_number >= NAME_NUMBER_MAX) {
        log_warn("net: every name from %s to %s-%u is taken", config.hostname, config.hostname,
                 NAME_NUMBER_MAX);
        return; /* lwIP does not probe again by itself */
    }
    name_number++;
    /* Host and service share the name, so they get the same number. The base is cut to leave room
     * for it (63 bytes). */
    log_info("net: %s.local is taken by another machine", hostname);
    snprintf(hostname, sizeof(hostname), "%.59s-%u", config.hostname, name_number);
    (void)slot;
    if (mdns_resp_rename_service(netif, 0, hostname) != ERR_OK ||
        mdns_resp_rename_netif(netif, hostname) != ERR_OK)
        log_warn("net: mDNS does not accept the name %s", hostname);
    net_changed();
}

static void start_mdns(struct netif *netif)
{
    mdns_resp_init();
    mdns_resp_register_name_result_cb(name_result);
    if (mdns_resp_add_netif(netif, hostname) != ERR_OK ||
        mdns_resp_add_service(netif, hostname, "_http", DNSSD_PROTO_TCP, config.http_port,
                              service_text, NULL) < 0)
        log_warn("net: mDNS does not start; %s.local will not be found", hostname);
}

/* ---- SNTP ------------------------------------------------------------------------------------ */

static void choose_time_server(void)
{
    ip_addr_t address;
    sntp_setoperatingmode(SNTP_OPMODE_POLL);
    sntp_servermode_dhcp(config.ntp_server[0] ==
                         '\0'); /* must be known before DHCP's answer comes */
    if (ipaddr_aton(config.ntp_server, &address))
        sntp_setserver(0, &address);
    else if (config.ntp_server[0] != '\0')
        sntp_setservername(0, config.ntp_server);
}

void names_start(void)
{
    snprintf(hostname, sizeof(hostname), "%s", config.hostname);
    choose_time_server();
}

void names_address_ready(struct netif *netif)
{
    if (is_running)
        return;
    is_running = true;
    if (sntp_getservername(0) != NULL || !ip_addr_isany(sntp_getserver(0)))
        sntp_init();
    if (config.mdns)
        start_mdns(netif);
}
