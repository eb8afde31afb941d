/*
 * tests/host/host.h: the door to the hosted twin, which stands behind kernel/kernel.h in a Linux process: unit tests,
 * fuzzers and the hosted program. Besides being a machine, it gives tests what they need: a clock that only moves when
 * the program waits, memory that runs out on demand, and PCI devices made of memory.
 *
 * main() is core 0 and may call everything a task may call. Further cores are threads, started by host_cores_start().
 */
#ifndef INGOT_HOST_H
#define INGOT_HOST_H

#include "kernel/kernel.h"

/* ---- cores ----------------------------------------------------------------------------------------------------- */

/* Run on `count` cores, main() being core 0. Once per process, before other cores are used; default is 1. */
void host_cores_start(unsigned count);

/* ---- clock ----------------------------------------------------------------------------------------------------- */

/*
 * Fake: time stands still while code runs and moves only when every core waits. A core with nothing to run moves it
 * to its next deadline; a task that polls, calling task_yield(), moves it by one step (1 ms unless set) per round of
 * the core's tasks. So a wait with a deadline of 1000 ms costs exactly 1000 ms, and no real time. Switching it on
 * restarts at 0.
 */
void host_clock_fake(bool fake);
uint64_t host_clock_ms(void); /* whole milliseconds since the clock started */
void host_clock_advance_ns(uint64_t ns);
void host_clock_step_ns(uint64_t step_ns);

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* page_alloc() succeeds `count` more times, then fails until this is called again; negative: never fails. */
void host_page_alloc_fail_after(int count);
uint64_t host_page_live_bytes(void); /* allocated and not yet freed */

/* ---- files of the ESP ------------------------------------------------------------------------------------------ */

/*
 * What boot_file() finds: a file in this folder of the host (NULL: none, the default), or one that a test adds; those come
 * first. data is copied. host_boot_files_clear() forgets all, and pointers that boot_file() gave out are invalid then.
 */
void host_boot_folder(const char *path);
void host_boot_file_add(const char *name, const void *data, uint64_t size_bytes);
void host_boot_files_clear(void);

/* ---- log ------------------------------------------------------------------------------------------------------- */

/* Lines up to this level go to stderr (default LOG_INFO; environment INGOT_LOG=error|warn|info|debug); all are kept. */
void host_log_level(enum log_level level);

/* ---- PCI ------------------------------------------------------------------------------------------------------- */

/*
 * Add a device: fields of *device up to bar[], a private copy is made; host_pci_config() is its 4096 bytes of
 * configuration space, with ids, class and BAR addresses filled in, plain memory that the test may fill with
 * capabilities. bar_memory[i] is what pci_map_bar(i) returns (NULL: mapping fails); it belongs to the test. Devices
 * keep the order they are added in.
 */
struct pci_device *host_pci_add(const struct pci_device *device, void *const bar_memory[6]);
void host_pci_clear(void);
uint8_t *host_pci_config(struct pci_device *pci);
bool host_pci_is_bus_master(const struct pci_device *pci);
bool host_pci_is_enabled(const struct pci_device *pci); /* memory decoding on */
/*
 * What pci_reset() does: hook(arg, how) is the device that is reset, and its result pci_reset()'s. Without one (the
 * default) the device cannot be reset. pci_bar_resize() grows the BAR to max_bytes (0, the default: it is not resizable).
 */
void host_pci_on_reset(struct pci_device *pci, int (*hook)(void *arg, enum pci_reset how), void *arg);
void host_pci_resizable(struct pci_device *pci, unsigned index, uint64_t max_bytes);
/* How many MSI-X entries pci_msix_enable() accepts; 0 (the default): the device has none. */
void host_pci_msix_entries(struct pci_device *pci, unsigned count);
/* What the device does to interrupt: calls the handler, or marks a masked entry pending. False: no handler is set. */
bool host_pci_msix_raise(struct pci_device *pci, unsigned entry);
/* Whether the device has plain MSI (the default: it has not), and what it does to interrupt by it. */
void host_pci_msi(struct pci_device *pci, bool has_msi);
bool host_pci_msi_raise(struct pci_device *pci);

#endif
