/*
 * tests/host/time.c: time of the hosted twin. The real clock is CLOCK_MONOTONIC; the fake one stands still until
 * cores.c finds that every core waits, or a test moves it.
 */
#include <time.h>

#include "tests/host/clock.h"
#include "tests/host/host.h"

_Atomic bool clock_is_fake;
_Atomic uint64_t clock_fake_ns;
_Atomic uint64_t clock_step_ns = NS_PER_MS;

static _Atomic int64_t wall_offset_ns; /* wall clock minus time_ns(), 0: not told yet */

static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec now;
    if (clock_gettime(id, &now) != 0)
        panic("clock_gettime(%d): errno %d", (int)id, errno);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The value of CLOCK_MONOTONIC that counts as time 0: when the process started, nearly. */
static uint64_t start_ns;

__attribute__((constructor)) static void remember_start(void)
{
    start_ns = clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t time_ns(void)
{
    if (atomic_load(&clock_is_fake))
        return atomic_load(&clock_fake_ns);
    return clock_read_ns(CLOCK_MONOTONIC) - start_ns;
}

int64_t wall_clock_ns(void)
{
    int64_t offset = atomic_load(&wall_offset_ns);
    if (offset != 0)
        return offset + (int64_t)time_ns();
    return atomic_load(&clock_is_fake) ? 0 : (int64_t)clock_read_ns(CLOCK_REALTIME);
}

void wall_clock_set_ns(int64_t now)
{
    atomic_store(&wall_offset_ns, now - (int64_t)time_ns());
}

void time_spin_ns(uint64_t ns)
{
    if (atomic_load(&clock_is_fake)) {
        host_clock_advance_ns(ns);
        return;
    }
    uint64_t end = time_ns() + ns;
    while (time_ns() < end)
        __builtin_ia32_pause();
}

void host_clock_fake(bool fake)
{
    atomic_store(&clock_fake_ns, 0);
    atomic_store(&clock_step_ns, NS_PER_MS);
    atomic_store(&wall_offset_ns, 0);
    atomic_store(&clock_is_fake, fake);
}

uint64_t host_clock_ms(void)
{
    return time_ns() / NS_PER_MS;
}

void host_clock_advance_ns(uint64_t ns)
{
    atomic_fetch_add(&clock_fake_ns, ns);
}

void host_clock_step_ns(uint64_t step_ns)
{
    atomic_store(&clock_step_ns, step_ns);
}
