/*
 * runtime/net/lwip_port.c: what lwIP calls down for: time, randomness and a place to stop.
 */
#include <lwip/sys.h>
#include <time.h>

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

/* A server that says 1970 is wrong; from 2025 to 2106, where the 32 bits end, we believe it. */
void lwip_port_set_time(uint32_t seconds, uint32_t microseconds)
{
    if (seconds < 1735689600u || microseconds >= 1000000) {
        log_warn("net: a time server's answer, %u seconds since 1970, is ignored", seconds);
        return;
    }
    int64_t now_ns = (int64_t)(seconds * NS_PER_S + microseconds * NS_PER_US);
    int64_t step_ns = now_ns - wall_clock_ns();
    wall_clock_set_ns(now_ns);
    if (step_ns > (int64_t)NS_PER_S || step_ns < -(int64_t)NS_PER_S) {
        time_t now = seconds;
        struct tm utc;
        gmtime_r(&now, &utc);
        log_info("net: the clock is set to %04d-%02d-%02dT%02d:%02d:%02dZ by a time server",
                 utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                 utc.tm_sec);
    }
}
