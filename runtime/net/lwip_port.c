/*
 * runtime/net/lwip_port.c: what lwIP calls down for: time, randomness and a place to stop.
 */
#include <lwip/sys.h>

#include "kernel/kernel.h"

u32_t sys_now(void)
{
    return (u32_t)(time_ns() / NS_PER_MS);
}

uint32_t lwip_port_random(void)
{
    uint32_t value;
    random_bytes(&value, sizeof(value));
    return value;
}

void lwip_port_assert(const char *message, const char *file, int line)
{
    panic("lwIP: %s (%s:%d)", message, file, line);
}

/* A server that says 1970 or 2100 is wrong; between these two (2025 and 2106) we believe it. */
void lwip_port_set_time(uint32_t seconds, uint32_t microseconds)
{
    if (seconds < 1735689600u || microseconds >= 1000000) {
        log_warn("net: a time server's answer of %u seconds since 1970 is ignored", seconds);
        return;
    }
    wall_clock_set_ns((int64_t)(seconds * NS_PER_S + microseconds * NS_PER_US));
}
