/*
 * tests/model/parts.h: what the files of the machine's side (bus, PCI, falcons) share among themselves. GSP-RM and the
 * channels need model.h only.
 */
#ifndef INGOT_TESTS_MODEL_PARTS_H
#define INGOT_TESTS_MODEL_PARTS_H

#include "tests/model/model.h"

/* A mistake of the model's own, or of how it was started: message on stderr, exit status 2. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- loop.c ---------------------------------------------------------------------------------------------------- */

int loop_wait_ms(struct model *m); /* for poll(): 0 when there is work, -1 when nothing is due */
void loop_run(struct model *m);

/* ---- trace.c --------------------------------------------------------------------------------------------------- */

int trace_open(struct model *m, const char *path); /* NULL: no trace file */
void trace_close(struct model *m);                 /* the summary, too */
unsigned trace_refusals(const struct model *m);
void trace_register(struct model *m, bool is_write, const struct block *block, uint32_t reg, uint32_t value);
void trace_flush(struct model *m);

/* ---- faults.c -------------------------------------------------------------------------------------------------- */

void fault_arm(const char *text); /* "NAME=MODE@N" */
bool fault_any(void);

/* ---- bus.c ----------------------------------------------------------------------------------------------------- */

/* Accesses of the guest to BAR0. */
void bus_bar0_read(struct model *m, uint64_t offset, void *out, unsigned bytes);
void bus_bar0_write(struct model *m, uint64_t offset, const void *data, unsigned bytes);
/* Guest memory as QEMU announces it; fd -1: not reachable from here. Takes the fd. */
int bus_dma_map(struct model *m, uint64_t bus, uint64_t bytes, uint64_t offset, int fd, bool is_writable);
int bus_dma_unmap(struct model *m, uint64_t bus, uint64_t bytes, bool all);
void bus_reset(struct model *m);
const struct register_name *bus_register_name(const struct block *block, uint32_t reg);

/* ---- pci.c ----------------------------------------------------------------------------------------------------- */

#define PCI_REGION_CONFIG 7

struct pci_region {
    uint64_t bytes;
    int fd;                                      /* to be mapped by QEMU, or -1 */
    uint64_t mapped_offset, mapped_bytes;        /* which part of it */
};
struct pci_region pci_region_get(struct model *m, unsigned index);
void pci_config_read(struct model *m, unsigned offset, void *out, unsigned bytes);
void pci_config_write(struct model *m, unsigned offset, const void *data, unsigned bytes);
bool pci_is_bus_master(const struct model *m);
bool pci_decodes_memory(const struct model *m);
unsigned pci_bar1_index(const struct model *m);  /* 1, or 2 where BAR0 is 64 bits wide */
unsigned pci_bar3_index(const struct model *m);
bool pci_bar_address(const struct model *m, unsigned index, uint64_t *address);
uint32_t pci_config_dword(const struct model *m, unsigned offset); /* the mirror in BAR0 */
void pci_reset(struct model *m, bool is_function_level);
unsigned pci_message_count(const struct model *m, bool msix);

/* ---- vfio_user.c ----------------------------------------------------------------------------------------------- */

int server_open(struct model *m, const char *path);
/* One connection from accept to its end; 0 when QEMU closed it, negative errno when the protocol was broken. */
int server_run(struct model *m, volatile const int *stop);
void server_close(struct model *m);
/* Send the device's interrupt message; false when the guest has not set it up. */
bool server_interrupt(struct model *m, unsigned message);

/* ---- back to power-on ------------------------------------------------------------------------------------------ */

void boot_reset(struct model *m);
void falcon_reset_all(struct model *m);
void fsp_reset(struct model *m);
void fb_reset(struct model *m);
void fb_left_running(struct model *m); /* WPR2 as an earlier owner's firmware left it */
void vf_reset(struct model *m);

/* ---- boot.c: BAR0's PROM window is shared with QEMU, which maps it ---------------------------------------------- */

int boot_prom_fd(const struct model *m, uint64_t *offset, uint64_t *bytes);

#endif
