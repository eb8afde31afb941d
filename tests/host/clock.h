/* tests/host/clock.h: what the fake clock and the cores of the hosted twin tell one another. */
#ifndef INGOT_HOST_CLOCK_H
#define INGOT_HOST_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

extern _Atomic bool clock_is_fake;
extern _Atomic uint64_t clock_fake_ns, clock_step_ns;

#endif
