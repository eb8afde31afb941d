/* apps/bench/bench.h: what the files of the bench app share. */
#ifndef INGOT_APPS_BENCH_H
#define INGOT_APPS_BENCH_H

#include "runtime/job/job.h"

/* Measure a disk for `seconds` per pattern: {"disk", "sequential", "random_4k_qd1", "random_4k_qd32"} in *out. 0, or a
 * negative errno after job_fail(). Reads only. */
int bench_disk(struct job *job, double seconds, yyjson_mut_val **out);

/* The value at `share` (0 to 1) of count sorted numbers. */
uint64_t bench_percentile(uint64_t *values, unsigned count, double share);

#endif
