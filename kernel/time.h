/*
 * kernel/time.h: the machine layer's side of time. kernel/kernel.h has time_ns() and the wall clock.
 */
#ifndef INGOT_TIME_H
#define INGOT_TIME_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Note the time stamp counter beside a clock of known speed. Called early in the boot loader (and again after
 * long reads), so that no time has to be spent on calibration once the machine is ours. After acpi_start().
 */
void time_sample_early(void);
/* Take the second sample and start time_ns(), which was 0 at exit_tsc. Before the machine has its own page tables. */
void time_start(uint64_t exit_tsc, uint64_t entry_tsc, int64_t entry_wall_clock_ns);

uint64_t time_tsc_hz(void);
const char *time_source(void); /* what the TSC was measured against */
uint64_t time_ns_to_tsc(uint64_t ns); /* a moment of time_ns() as TSC value */

#endif
