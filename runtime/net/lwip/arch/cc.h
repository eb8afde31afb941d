/*
 * runtime/net/lwip/arch/cc.h: what lwIP 2.2 asks of a platform (its doc/sys_arch.txt). Functions
 * are in ../../lwip_port.c.
 */
#ifndef INGOT_LWIP_CC_H
#define INGOT_LWIP_CC_H

#include <stdint.h>

#ifndef BYTE_ORDER
#define BYTE_ORDER    __BYTE_ORDER__
#define LITTLE_ENDIAN __ORDER_LITTLE_ENDIAN__
#define BIG_ENDIAN    __ORDER_BIG_ENDIAN__
#endif

#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H  1
#define SSIZE_MAX        INTPTR_MAX
typedef intptr_t lwip_ssize_t;
#define ssize_t       lwip_ssize_t

/* The compiler makes one instruction of these; lwIP's own are functions. */
#define lwip_htons(x) __builtin_bswap16(x)
#define lwip_htonl(x) __builtin_bswap32(x)

_Noreturn void lwip_port_assert(const char *message, const char *file, int line);
#define LWIP_PLATFORM_ASSERT(message) lwip_port_assert(message, __FILE__, __LINE__)
/* lwIP prints only when its debugging is compiled in, which it is not. */
#define LWIP_PLATFORM_DIAG(message)   ((void)0)

uint32_t lwip_port_random(void);
#define LWIP_RAND() lwip_port_random()

uint16_t internet_checksum(const void *data, int size_bytes); /* checksum.c */
#define LWIP_CHKSUM internet_checksum

void lwip_port_set_time(uint32_t seconds, uint32_t microseconds);
#define SNTP_SET_SYSTEM_TIME_US(seconds, microseconds) lwip_port_set_time(seconds, microseconds)
/* The time stamp in a request is only echoed. A random one cannot be guessed by someone who forges
 * answers. */
#define SNTP_GET_SYSTEM_TIME_NTP(seconds, fraction)                                                \
    do {                                                                                           \
        (seconds) = (int32_t)lwip_port_random();                                                   \
        (fraction) = lwip_port_random();                                                           \
    } while (0)

#endif
