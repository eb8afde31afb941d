/* kernel/smp.h: the cores of the machine: start them, wake them, stop them. */
#ifndef INGOT_SMP_H
#define INGOT_SMP_H

#include "kernel/core.h"

/* Start every other processor of the MADT, at once; those that do not come are left out. Then all are numbered. */
void cores_start(void);
/* Let the started cores run tasks. */
void cores_release(void);
/* Stop all others where they are, for good. Waits for them at most 10 ms. */
void cores_stop(void);
bool cores_are_stopping(void);

#endif
