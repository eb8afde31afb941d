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

extern uint64_t (*loop_clock)(void); /* instead of the host's clock, when the model is inside a test */
int loop_wait_ms(struct model *m); /* for poll(): 0 when there is work, -1 when nothing is due */
void loop_run(struct model *m);

/* ---- trace.c --------------------------------------------------------------------------------------------------- */

int trace_open(struct model *m, const char *path); /* NULL: no trace file */
void trace_close(struct model *m);                 /* the summary, too */
unsigned trace_refusals(const struct model *m);
const char *trace_last_refusal(const struct model *m);
bool trace_was_refused(const struct model *m, const char *text); /* among the first ones */
void trace_register(struct model *m, bool is_write, const struct block *block, uint32_t reg, uint32_t value);
void trace_flush(struct model *m);

/* ---- faults.c -------------------------------------------------------------------------------------------------- */

void fault_arm(const char *text); /* "NAME=MODE@N" */
void fault_disarm_all(void);
/* One line of the table for this chip: "NAME=MODE"; NULL past the last. */
const char *fault_get(const struct chip *chip, unsigned index);

/* ---- bus.c ----------------------------------------------------------------------------------------------------- */

/* Accesses of the guest to BAR0. */
void bus_bar0_read(struct model *m, uint64_t offset, void *out, unsigned bytes);
void bus_bar0_write(struct model *m, uint64_t offset, const void *data, unsigned bytes);
/* Guest memory as QEMU announces it; fd -1: not reachable from here. Takes the fd. */
int bus_dma_map(struct model *m, uint64_t bus, uint64_t bytes, uint64_t offset, int fd, bool is_writable);
int bus_dma_unmap(struct model *m, uint64_t bus, uint64_t bytes, bool all);
/* The GPU does not answer: registers read as all ones, for good (0) or for a while. */
void bus_leave(struct model *m, uint64_t for_ns);
/* Every address is the same on the bus as in this process: the model is inside a test. */
void bus_identity_map(struct model *m);
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

/* ---- main.c ---------------------------------------------------------------------------------------------------- */

/* All parts, in the state after power-on; ends the program when something cannot be set up. */
void model_open(struct model *m, uint64_t bar1_bytes, const char *cubins);

/* ---- boot.c: BAR0's PROM window is shared with QEMU, which maps it ---------------------------------------------- */

int boot_prom_fd(const struct model *m, uint64_t *offset, uint64_t *bytes);

/* ---- falcon.c -------------------------------------------------------------------------------------------------- */

#define FALCON_BLOCK  256u
#define FALCON_BLOCKS 256u                        /* of IMEM: 64 KiB */
#define FALCON_IMEM   (FALCON_BLOCKS * FALCON_BLOCK)
#define FALCON_DMEM   (64u * 1024)

enum falcon_state { FALCON_HALTED, FALCON_IN_RESET, FALCON_SCRUBBING, FALCON_RUNNING };

struct imem_block {
    bool is_loaded, is_secure;
    uint16_t tag;                                 /* virtual address >> 8 */
};

struct falcon {
    struct model *m;
    const char *name;
    bool is_gsp, has_brom;                        /* boot ROM with signatures: Ampere (GA102) on */
    uint32_t base;
    enum falcon_state state;
    bool was_reset;                               /* since power-on, and nothing has run since */
    uint32_t mailbox[2], os, rm, bootvec, dmactl, debuginfo;
    uint32_t irq_status, irq_mask, irq_destination;
    uint32_t dma_base[2], dma_memory, dma_offset, transcfg[8], fbif_control;
    unsigned dma_busy_reads;                      /* how often DMATRFCMD still reads as busy */
    bool is_dma_stuck, is_spoiled;                /* a fault was asked for */
    struct { uint32_t address; bool increments_write, increments_read, is_secure; } imem_port, dmem_port;
    uint16_t imem_tag_next;
    bool has_tag;
    uint32_t brom_parameter, brom_engine, brom_ucode, brom_algorithm;
    uint32_t scratch[16];
    bool alias_enabled;
    bool is_riscv_selected, is_core_select_done;  /* BCR_CTRL, GA102 on */
    bool is_riscv_active, is_riscv_halted, is_lockdown, is_masked, is_suspended;
    struct imem_block block[FALCON_BLOCKS];
    uint8_t imem[FALCON_IMEM], dmem[FALCON_DMEM];
};
#define FALCON_IRQ_SWGEN0 0x40u                   /* IRQSTAT */
struct falcon *falcon_gsp(struct model *m);
struct falcon *falcon_sec2(struct model *m);
/* The program that was started has ended after delay_ns, with these mailboxes. */
void falcon_end(struct falcon *f, uint64_t delay_ns, uint32_t mailbox0, uint32_t mailbox1);
/* Are these bytes in IMEM at this virtual address, in blocks that are loaded (secure or not)? Refuses and says what not. */
bool falcon_has_code(struct falcon *f, const char *what, const uint8_t *code, uint32_t bytes, uint32_t address, bool is_secure);
/* The same for DMEM, except for what may be patched. */
struct patch {
    uint32_t offset, bytes;
};
bool falcon_has_data(struct falcon *f, const char *what, const uint8_t *data, uint32_t bytes, uint32_t address,
                     const struct patch *patches, unsigned patch_count);
/* What the boot ROM checks before it runs secure code: parameters, and that the signature in DMEM is this one. */
bool falcon_brom_check(struct falcon *f, uint32_t engine, uint32_t ucode, uint32_t signature_address, const uint8_t *signature,
                       uint32_t signature_bytes, uint32_t entry);
/* The boot ROM did not let the program run: the falcon halts, the mailboxes are as they were. */
void falcon_brom_fail(struct falcon *f);
/* A piece of memory through the framebuffer interface, as code on the falcon reads it. */
bool falcon_dma_read(struct falcon *f, unsigned index, uint64_t address, void *out, uint32_t bytes);

/* falcon_load.c, for the registers. */
bool falcon_memory_is_ready(struct falcon *f, const char *what);
void falcon_imem_write(struct falcon *f, uint32_t value);
void falcon_dmem_write(struct falcon *f, uint32_t value);
uint32_t falcon_port_read(struct falcon *f, bool imem);
void falcon_dma_start(struct falcon *f, uint32_t command);
uint32_t falcon_dma_status(struct falcon *f);

/* ---- gsp_core.c ------------------------------------------------------------------------------------------------ */

void gsp_core_reset(struct model *m);
/* The RISC-V core of the GSP starts (booter, FSP). */
void gsp_core_start(struct model *m, uint64_t wpr_meta_bus, uint64_t libos_args_bus);
bool gsp_core_is_running(const struct model *m);
bool gsp_core_is_suspended(const struct model *m); /* the CPU sequencer was sent, SEC2 is to resume the core */
void gsp_core_resume(struct model *m);             /* SEC2 has done it */

/* ---- vf.c -------------------------------------------------------------------------------------------------------- */

void vf_msi_rearm(struct model *m);  /* NV_XVE_CYA_2 was written */
void irq_retrigger(struct model *m); /* the GSP's falcon is asked for its interrupt once more */

/* ---- fwsec.c, booter.c: what runs on the falcons when they are started -------------------------------------------- */

void fwsec_run(struct falcon *f);
void booter_run(struct falcon *f);
bool booter_can_resume(struct model *m);
/* Which of the fuses says what: the register's value for a fuse version. */
uint32_t fuse_value(unsigned version);

/* ---- vbios.c ------------------------------------------------------------------------------------------------------ */

#define VBIOS_SIGNATURE_BYTES 384u                /* RSA 3072 */
#define VBIOS_SIGNATURES_MAX  4u

struct vbios {
    uint8_t *rom;
    uint32_t rom_bytes;
    /* FWSEC, as the descriptor in the ROM says. */
    uint8_t *code, *data;                         /* in rom */
    uint32_t code_bytes, data_bytes, code_secure; /* bytes; from here on the code is secure (descriptor version 2) */
    uint32_t interface, mapper, command, command_bytes, signature; /* offsets in DMEM */
    unsigned signature_count;
    uint16_t signature_versions;
    uint8_t signatures[VBIOS_SIGNATURES_MAX][VBIOS_SIGNATURE_BYTES];
    unsigned ucode_id;
};
/* Build the ROM of this chip into room (1 MiB). */
void vbios_build(const struct chip *chip, uint8_t *room, struct vbios *out);
const struct vbios *boot_vbios(const struct model *m);
/* VBIOS scratch registers (PBUS). */
void boot_scratch_set(struct model *m, unsigned index, uint32_t value);
uint32_t boot_scratch_get(const struct model *m, unsigned index);
void boot_handoff_set(struct model *m, bool done); /* NV_PGC6_BSI_SECURE_SCRATCH_14 */

/* ---- fb.c ----------------------------------------------------------------------------------------------------------- */

uint64_t fb_vga_workspace(const struct model *m); /* VRAM from here on is the VBIOS's */
bool fb_bar1_is_physical(const struct model *m);
uint32_t fb_bar1_function_read(struct model *m, uint32_t offset);
void fb_bar1_function_write(struct model *m, uint32_t offset, uint32_t value);

#endif
