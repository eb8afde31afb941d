/* kernel/smp.h: the cores of the machine: start them, wake them, stop them. */
#ifndef INGOT_SMP_H
#define INGOT_SMP_H

#include "kernel/core.h"

/* Send every other processor of the MADT off. */
void cores_start_begin(void);
/* In a task, later: wait for them, leave out those that do not come, and number the others. */
void cores_start_end(void);
/* Let the started cores run tasks. */
void cores_release(void);
/* Stop all others where they are, for good. Waits for them at most 10 ms. */
void cores_stop(void);
bool cores_are_stopping(void);

#endif
