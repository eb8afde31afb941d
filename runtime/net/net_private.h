/*
 * runtime/net/net_private.h: between the files of the stack's side: net.c (the task), link.c
 * (frames), address.c, names.c. All of it runs on core 0, in the net task.
 */
#ifndef INGOT_NET_PRIVATE_H
#define INGOT_NET_PRIVATE_H

#include <lwip/netif.h>

#include "runtime/net/nic.h"

/* net.c: link, address or name have changed. */
void net_changed(void);

/* link.c: lwIP's network interface over a NIC. */
extern struct netif link_netif;
int link_start(struct nic *nic, const char *hostname);
void link_flush(void); /* hand frames that found the ring full to the NIC; then ring the doorbell */
bool link_has_waiting(void);
uint64_t link_dropped(void); /* received frames for which there was no memory */
void link_receive(struct nic *nic, unsigned buffer, unsigned offset, unsigned size_bytes,
                  bool checksum_is_good);
void link_sent(struct nic *nic, void *cookie);

/* address.c: where the address comes from. */
void address_start(struct netif *netif);
void address_link_changed(struct netif *netif, bool has_link);
const char *address_source(void); /* "DHCP", "static", "link-local", "" while there is none */

/* names.c: mDNS and SNTP. */
void names_start(void); /* before address_start() */
void names_address_ready(struct netif *netif);
const char *names_hostname(void); /* without ".local"; numbered when somebody else has the name */

#endif
