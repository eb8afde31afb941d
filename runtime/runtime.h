/* runtime/runtime.h: start-up of everything above the drivers, and who we are. */
#ifndef INGOT_RUNTIME_H
#define INGOT_RUNTIME_H

extern const char ingot_version[]; /* `git describe` of the tree that was built */

/*
 * Start storage, devices, jobs, network and HTTP, then print the console summary. The kernel calls it in a task on core 0
 * once the machine is up; it returns when everything runs. What cannot start is logged and left out.
 */
void runtime_main(void);

/* Put devices, drives and the network to rest before the machine restarts. On core 0, in a task. */
void runtime_stop(void);

#endif
