/*
 * gpu/nvidia/gsp/dump.h: registers of a GPU for people to look at, also of one whose bring-up stopped half-way: a fixed
 * list of registers by name, in blocks whose bounds are checked. Nothing is written, and nothing is read that moves on
 * when it is read (memory ports, FIFOs).
 */
#ifndef INGOT_GPU_NVIDIA_GSP_DUMP_H
#define INGOT_GPU_NVIDIA_GSP_DUMP_H

#include "gpu/gpu_backend.h"

/* Families of chips, as far as they have different registers. */
enum dump_family {
    DUMP_TU = 1 << 0,
    DUMP_GA100 = 1 << 1,
    DUMP_GA102 = 1 << 2, /* and the rest of Ampere */
    DUMP_AD = 1 << 3,
    DUMP_GH = 1 << 4,
    DUMP_GB100 = 1 << 5,
    DUMP_GB202 = 1 << 6,
};
/* One of the above by BOOT_42's chip id; 0: a chip that nobody knows, of which only "pmc" is read. */
unsigned dump_family(uint16_t chip_id);

struct dump_register {
    const char *name;
    uint32_t offset;   /* from the block's origin */
    uint32_t count;    /* of an array; 0: one register */
    uint32_t stride;
};
struct dump_block {
    const char *name;
    uint32_t base, bytes; /* in BAR0; no register lies outside */
    uint32_t origin;      /* what register offsets count from */
    unsigned families;
    const struct dump_register *registers;
    unsigned register_count;
};
const struct dump_block *dump_block_get(unsigned index); /* NULL past the end; names may repeat with other families */

/* gpu_ops.registers of NVIDIA devices: through the BAR0 of the function info.pci_name. */
int nvidia_registers(struct gpu_device *device, const char *block, gpu_register_each each, void *arg);

#endif
