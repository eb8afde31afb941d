/*
 * tests/model/model.h: the inner door of the device model, a program that is an NVIDIA GPU behind QEMU's vfio-user-pci device.
 *
 *   main.c       options, the event loop's start and end           vfio_user.c  the protocol, guest memory, interrupts
 *   pci.c        configuration space, BARs                         bus.c        register blocks, what the GPU reads and writes
 *   loop.c       timers and work in slices                         trace.c      trace, refusals, counters
 *   faults.c     what can be made to go wrong                      chip.c       the chips that can be modelled
 *   boot.c       PMC, PTIMER, fuses, scratch registers, PROM       vbios.c      the ROM image in it
 *   falcon.c     falcons: IMEM, DMEM, DMA, boot ROM, RISC-V        firmware.c   the distribution's firmware files
 *   fwsec.c, booter.c, fsp.c  what the signed programs do          fb.c         memory protection, BAR1 block, flushes
 *   vf.c         interrupt tree, doorbells, invalidations
 *   rm.c, rpc.c, objects.c, controls.c, info.c                     GSP-RM: the messages and what they stand for
 *   mmu.c, host.c, copy.c, compute.c                               what channels do
 *
 * The model shares neither header nor source with the driver. Numbers come from the public sources, each named where it
 * stands: OGKM is NVIDIA's open-gpu-kernel-modules at tag 570.144.
 *
 * One thread, one loop: nothing in here blocks. What takes long is cut into slices (work_add), what comes later is a timer.
 */
#ifndef INGOT_TESTS_MODEL_MODEL_H
#define INGOT_TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model;

/* ---- chips (chip.c) -------------------------------------------------------------------------------------------- */

enum family { TURING, AMPERE, ADA, HOPPER, BLACKWELL };

struct chip {
    const char *name;                /* "ga102" */
    const char *card;                /* the card that this is, for people */
    const char *firmware;            /* folder of booter, bootloader or FMC below nvidia/ in the firmware package */
    const char *gsp_firmware;        /* folder of gsp-570.144.bin */
    const char *signature_section;   /* section of that file with this chip's signature */
    enum family family;
    uint32_t boot_0, boot_42;        /* NV_PMC_BOOT_0, NV_PMC_BOOT_42 */
    uint16_t device_id, subsystem_id;
    uint8_t revision;
    bool is_3d_controller;           /* class 0302 with 64-bit BAR0, as on boards without a display, else 0300 */
    bool has_msix;                   /* consumer boards have MSI only */
    uint64_t bar0_bytes, vram_bytes; /* of the real card; --vram overrides the latter */
    unsigned mmu_version;            /* page tables: 2 Turing to Ada, 3 Hopper on */
    unsigned sm;                     /* 86 for sm_86 */
    unsigned gpcs, tpcs_per_gpc, sms_per_tpc, warps_per_sm;
    uint32_t compute_class, copy_class, channel_class, usermode_class;
    uint32_t fwsec_fuse, booter_fuse; /* fuse versions of the production signatures (see fwsec.c, booter.c) */
};
const struct chip *chip_find(const char *name);
const struct chip *chip_get(unsigned index); /* NULL past the last */

/* ---- the model ------------------------------------------------------------------------------------------------- */

struct model {
    const struct chip *chip;
    uint8_t *vram;               /* the framebuffer; BAR1 in physical mode shows it, QEMU maps it directly */
    uint64_t vram_bytes;
    const char *firmware_folder; /* --firmware */
    bool is_quiet;
    bool is_left_running;        /* --left-running, until the guest has touched a register */
    void (*on_interrupt)(void *arg); /* instead of QEMU: the model is inside a test (embed.h) */
    void *on_interrupt_arg;

    /* Each file's own, made by its X_init(). */
    struct server *server;
    struct pci *pci;
    struct bus *bus;
    struct loop *loop;
    struct log *log;
    struct boot *boot;
    struct falcons *falcons;
    struct fsp *fsp;
    struct fb *fb;
    struct vf *vf;
    struct rm *rm;
    struct mmu *mmu;
    struct host *host;
    struct compute *compute;
};

/* ---- trace, refusals (trace.c) --------------------------------------------------------------------------------- */

/*
 * The guest did what no real GPU accepts. Says so on stderr and in the trace, counts it; the program's exit status is then
 * not zero. The caller goes on as the hardware would (an error state, a value ignored): refuse() only reports.
 */
void refuse(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One line of the trace, which carries the time and what is given here. */
void trace(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For people, on stderr and in the trace: what a boot's milestones are. */
void note(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- faults (faults.c) ----------------------------------------------------------------------------------------- */

enum fault_mode {
    FAULT_FAIL,    /* the step ends with an error, as the hardware or firmware would report it */
    FAULT_HANG,    /* it never ends */
    FAULT_LATE,    /* it ends after late_ns() */
    FAULT_GARBAGE, /* it ends, and what it says is nonsense */
};
/*
 * Each step asks by its name whether it is to go wrong now. The names are in the table in faults.c, with the modes that
 * each step knows; a name that is not there ends the program. --fault NAME[=MODE][@N]: only the N-th time (1: the first).
 */
bool fault(struct model *m, const char *name, enum fault_mode *mode);
uint64_t late_ns(void); /* inside the driver's deadlines, long enough to be seen */
void fault_list(const struct chip *chip); /* print NAME MODE lines for this chip, what each does behind them */

/* ---- time and work (loop.c) ------------------------------------------------------------------------------------ */

uint64_t now_ns(void);
void timer_add(struct model *m, uint64_t delay_ns, void (*fn)(struct model *m, void *arg), void *arg);
void timer_cancel(struct model *m, void (*fn)(struct model *m, void *arg), void *arg);
/* slice() is called between register accesses, for about a millisecond's work each time, until it returns false. */
void work_add(struct model *m, bool (*slice)(struct model *m, void *arg), void *arg);
void work_cancel(struct model *m, bool (*slice)(struct model *m, void *arg), void *arg);

/* ---- registers (bus.c) ----------------------------------------------------------------------------------------- */

struct register_name {
    uint32_t reg;
    const char *name;
};
/*
 * A block of 32-bit registers of BAR0: addresses base to base + bytes, which no other block has. read and write get the
 * register's address in BAR0, a multiple of 4; either may be NULL (PRI error). names (optional, ends with a NULL name) are
 * for the trace.
 */
struct block {
    const char *name;
    uint32_t base, bytes;
    uint32_t (*read)(struct model *m, uint32_t reg);
    void (*write)(struct model *m, uint32_t reg, uint32_t value);
    const struct register_name *names;
};
void block_add(struct model *m, const struct block *block);
/* What the PRI hub answers for a register that is not there. A block returns it for holes. */
#define PRI_ERROR UINT32_C(0xbadf5040)

/* For the model's own use, past the trace (the CPU sequencer of M2's events is run by the driver, not by this). */
uint32_t reg_read(struct model *m, uint32_t reg);
void reg_write(struct model *m, uint32_t reg, uint32_t value);

/* ---- memory that the GPU reaches (bus.c) ----------------------------------------------------------------------- */

/*
 * Guest memory by bus address (or the GPU's own BAR1, which leads back to VRAM). Without bus mastering, outside of guest
 * memory, or past the chip's DMA width: refused, and false or NULL (reads as all ones on a real bus).
 */
bool bus_read(struct model *m, uint64_t bus, void *out, size_t bytes);
bool bus_write(struct model *m, uint64_t bus, const void *data, size_t bytes);
void *bus_map(struct model *m, uint64_t bus, size_t bytes); /* until the next message from QEMU; NULL also across regions */

enum aperture { APERTURE_VRAM, APERTURE_SYSTEM };
/* The same for an address in one of the two; VRAM addresses are checked against its size and protected ranges. */
bool memory_read(struct model *m, enum aperture aperture, uint64_t address, void *out, size_t bytes);
bool memory_write(struct model *m, enum aperture aperture, uint64_t address, const void *data, size_t bytes);
void *memory_map(struct model *m, enum aperture aperture, uint64_t address, size_t bytes);

/* ---- firmware files (firmware.c) ------------------------------------------------------------------------------- */

struct file {
    const uint8_t *data;
    size_t bytes;
};
/* nvidia/FOLDER/gsp/NAME of --firmware; NULL when there is none (said once). Stays mapped. */
const struct file *firmware_file(struct model *m, const char *folder, const char *name);
/* A section of an ELF64 file; false when it is not there or the file is damaged. */
bool elf_section(const struct file *elf, const char *section, const uint8_t **data, size_t *bytes);
/* SHA-256 and friends are not needed: bytes are compared with the file's. */

/* ---- interrupts (vf.c) ----------------------------------------------------------------------------------------- */

/* Set a vector's bit in the interrupt tree's leaf; a message goes out when leaf and top are enabled. */
void irq_raise(struct model *m, unsigned vector);
/* The GSP has something for the CPU: its falcon's SWGEN0 (IRQSTAT bit 6), and its vector in the tree. */
void gsp_core_interrupt(struct model *m, unsigned vector);

/* ---- the framebuffer (fb.c) ------------------------------------------------------------------------------------ */

struct wpr2 {
    uint64_t start, end; /* VRAM offsets; end is exclusive; equal: not set up */
};
struct wpr2 wpr2_get(const struct model *m);
void wpr2_set(struct model *m, uint64_t start, uint64_t end);
/* GSP-RM's initialisation leaves BAR1 in virtual mode; called right before INIT_DONE goes out. */
void fb_bar1_taken(struct model *m);

/* ---- GSP-RM (rm.c and its neighbours) -------------------------------------------------------------------------- */

/*
 * Before the GSP starts, booter (or the FMC) asks: is what the WPR metadata at this bus address describes right? Checks
 * the structure, the layout against VRAM and the FRTS region that FWSEC made, the radix3 table, image, bootloader and
 * signature bytes against the real files. 0, or the code that booter leaves in its mailbox; the reason was refuse()d.
 * On success *wpr_start and *wpr_end are the range that booter makes WPR2.
 */
uint32_t gsp_rm_load(struct model *m, uint64_t wpr_meta_bus, uint64_t *wpr_start, uint64_t *wpr_end);
/* The GSP's RISC-V core has started with these mailboxes (Turing to Ada) or FMC parameters. */
void gsp_rm_start(struct model *m, uint64_t wpr_meta_bus, uint64_t libos_args_bus);
/* NV_PGSP_QUEUE_HEAD(queue) was written. */
void gsp_rm_doorbell(struct model *m, uint32_t queue);
/* The GPU was reset, or the GSP was: everything of GSP-RM and the channels is gone, nothing writes to guest memory. */
void gsp_rm_stop(struct model *m);
/* The driver's unload message was handled: the GSP core halts. Called by rm.c, done by falcon.c. */
void gsp_core_halt(struct model *m);
/* GSP-RM is about to send the CPU sequencer's CORE_RESET and CORE_RESUME: until the latter, resets of the GSP are expected. */
void gsp_core_suspend(struct model *m);
/* CORE_RESUME is done: SEC2 has started the core again (its mailboxes held libos_args_bus). Called by booter.c. */
void gsp_rm_resumed(struct model *m);

/* ---- channels (host.c, mmu.c) ---------------------------------------------------------------------------------- */

enum engine_kind { ENGINE_GRAPHICS, ENGINE_COPY };

struct host_channel {
    uint32_t client, handle;     /* RM's names, for the trace and for events */
    uint32_t channel_id, runlist;
    enum engine_kind engine;
    unsigned engine_index;       /* copy engine number */
    uint32_t channel_class;
    uint64_t gpfifo_gva;
    uint32_t gpfifo_entries;
    enum aperture instance_aperture, userd_aperture, page_directory_aperture;
    uint64_t instance, userd, page_directory; /* addresses in their aperture */
    uint32_t group;              /* channels that fault together */
    unsigned interrupt_vector;   /* of the runlist's non-stall interrupt */
};
int host_channel_add(struct model *m, const struct host_channel *channel); /* 0 or a negative errno */
void host_channel_remove(struct model *m, uint32_t runlist, uint32_t channel_id);
void host_channel_schedule(struct model *m, uint32_t runlist, uint32_t channel_id, bool on);
/* A subchannel's engine object: false when the class is not one of the engine's. */
bool host_channel_object(struct model *m, uint32_t runlist, uint32_t channel_id, uint32_t class_id);
void host_channel_set_page_directory(struct model *m, uint32_t runlist, uint32_t channel_id, enum aperture aperture,
                                     uint64_t page_directory);
/* NV_VIRTUAL_FUNCTION_DOORBELL was written. */
void host_doorbell(struct model *m, uint32_t token);
void host_stop(struct model *m); /* all channels are gone */

struct translation {
    enum aperture aperture;
    uint64_t address;
    uint64_t bytes;              /* contiguous from there on */
    bool is_read_only, is_volatile;
    unsigned kind;
};
enum mmu_fault { MMU_OK, MMU_FAULT_PDE, MMU_FAULT_PDE_SIZE, MMU_FAULT_PTE, MMU_FAULT_RO_VIOLATION, MMU_FAULT_APERTURE,
                 MMU_FAULT_KIND, MMU_FAULT_VA_LIMIT };
/* Walk the page tables for one address. */
enum mmu_fault mmu_translate(struct model *m, enum aperture directory_aperture, uint64_t page_directory, uint64_t gva,
                             bool is_write, struct translation *out);
/* NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE was written with its trigger bit; directory is 0 for all of them. */
void mmu_invalidate(struct model *m, enum aperture directory_aperture, uint64_t page_directory, uint32_t flags);

struct host_fault {
    uint32_t runlist, channel_id;
    uint32_t reason;             /* ROBUST_CHANNEL_... of nverror.h */
    bool is_mmu;
    enum mmu_fault mmu;
    uint64_t gva;
    bool is_write;
    const char *client;          /* "PBDMA", "CE0", "GPC0" */
    const char *text;            /* what went wrong, for the OS error log */
};
/* A channel's group is dead; tell the guest (RC event, error notifier, log). */
void host_fault_event(struct model *m, const struct host_fault *f);

/* ---- set-up, in this order; 0 or negative errno ---------------------------------------------------------------- */

int loop_init(struct model *m);
int bus_init(struct model *m);
int pci_init(struct model *m, uint64_t bar1_bytes);
int boot_init(struct model *m);
int falcon_init(struct model *m);
int fsp_init(struct model *m);
int fb_init(struct model *m);
int vf_init(struct model *m);
int rm_init(struct model *m);
int mmu_init(struct model *m);
int host_init(struct model *m);
int compute_init(struct model *m, const char *cubins);

/* The whole GPU goes back to its power-on state (VRAM keeps its contents): FLR, secondary bus reset, QEMU's reset. */
void model_reset(struct model *m, const char *why);

#endif
