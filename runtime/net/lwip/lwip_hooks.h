/* runtime/net/lwip/lwip_hooks.h: lwIP's LWIP_HOOK_FILENAME, see its opt.h. */
#ifndef INGOT_LWIP_HOOKS_H
#define INGOT_LWIP_HOOKS_H

/* Initial sequence numbers that outsiders cannot guess (RFC 6528 asks for no more than that). */
#define LWIP_HOOK_TCP_ISN(local_ip, local_port, remote_ip, remote_port) lwip_port_random()

#endif
