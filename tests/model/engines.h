/*
 * tests/model/engines.h: what the parts behind a channel share: mmu.c, host.c, pbdma.c, copy.c, compute.c, inline.c, qmd.c,
 * sm.c, kernels.c.
 *
 * A method runs through them like this: host.c fetches GPFIFO entries and push buffers through the page tables and decodes
 * methods; those of an engine's object go to copy.c or compute.c, which queue work; the work runs later, in slices, so a
 * driver that forgets to wait for it is found out. Every access goes through mmu.c's TLBs, which keep a translation until the
 * driver invalidates it, as the hardware does.
 */
#ifndef INGOT_TESTS_MODEL_ENGINES_H
#define INGOT_TESTS_MODEL_ENGINES_H

#include "tests/model/model.h"

/* Bits hi to lo of a value, as the manuals write them. */
static inline uint64_t bits(uint64_t value, unsigned hi, unsigned lo)
{
    return value >> lo & ~UINT64_C(0) >> (63 - (hi - lo));
}
static inline uint64_t mask(unsigned hi, unsigned lo)
{
    return ~UINT64_C(0) >> (63 - (hi - lo)) << lo;
}

/* ---- translation with TLBs (mmu.c) ----------------------------------------------------------------------------- */

struct space { /* an address space is known by where its page directory lies */
    enum aperture aperture;
    uint64_t directory;
};
enum tlb { TLB_HUB, TLB_GPC, TLB_COUNT }; /* host and copy engines; shaders and the compute front end's reads for them */

struct violation {
    enum mmu_fault fault;
    uint64_t gva;
    bool is_write;
};

/*
 * The memory behind gva, and how much of it follows without a break; NULL: *why says what the MMU reports. The pointer is
 * good until the next message from QEMU.
 */
uint8_t *gpu_map(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva, bool is_write, uint64_t *bytes,
                 struct violation *why);
/* The whole page: where it lies, and at which address of the space it begins. */
bool gpu_page(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva, bool is_write,
              struct translation *page, uint64_t *page_gva, struct violation *why);
bool gpu_read(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva, void *out, uint64_t bytes,
              struct violation *why);
bool gpu_write(struct model *m, enum tlb tlb, const struct space *space, uint64_t gva, const void *data, uint64_t bytes,
               struct violation *why);
const char *mmu_fault_name(enum mmu_fault fault);

/* ---- what engines do with a method or a step ------------------------------------------------------------------- */

enum outcome {
    DONE,  /* and there may be more to do */
    BUSY,  /* not now: ask again later, with the same method */
    FAULT, /* engine_fault() has been told */
};

/* ROBUST_CHANNEL_..., what a dead channel died of. Source: OGKM src/common/sdk/nvidia/inc/nverror.h. */
#define RC_GR_EXCEPTION  13
#define RC_MMU_FAULT     31
#define RC_PBDMA         32
#define RC_CE0           39
#define RC_GR_CLASS      69

/* ---- copy engines (copy.c) ------------------------------------------------------------------------------------- */

#define COPY_JOBS_MAX 64

struct copy_job {
    uint32_t launch; /* LAUNCH_DMA's data */
    uint64_t in, out, semaphore, payload;
    uint32_t pitch_in, pitch_out, line_length, line_count;
    uint32_t remap, constant[2];
    uint64_t done; /* bytes (or elements, when remapped) of all lines that are copied */
    uint64_t ready_ns; /* a fault on demand: not before then */
    bool has_started;
};
struct copy_state {
    uint32_t in[2], out[2], semaphore[2], payload[2]; /* [0] upper, as methods come */
    uint32_t pitch_in, pitch_out, line_length, line_count;
    uint32_t remap, constant[2];
    struct copy_job jobs[COPY_JOBS_MAX];
    unsigned put, get; /* count up forever */
};

/* ---- compute (compute.c, qmd.c, sm.c, kernels.c) --------------------------------------------------------------- */

#define QMD_WORDS_MAX 96
#define GRIDS_MAX     64
#define INLINE_WORDS_MAX 16384

struct grid_release {
    uint64_t address, payload;
    bool is_64_bit, has_timestamp;
};
struct grid_bank {
    bool is_valid;
    uint64_t address;
    uint32_t bytes;
};
/* A QMD, decoded and checked. */
struct grid {
    uint64_t qmd_address;
    uint32_t size[3], block[3];
    uint64_t program, prefetch;
    uint32_t prefetch_bytes;
    uint32_t registers, barriers, shared_bytes, local_bytes, sass_version;
    uint32_t shared_config_kib[3]; /* least, wanted, largest */
    bool invalidates_instructions;
    struct grid_bank bank[8];
    struct grid_release release[3];
    unsigned release_count;
    uint64_t dependent[8]; /* QMD addresses to schedule when this one is complete */
    unsigned dependent_count;
    uint64_t ready_ns; /* a fault on demand: not before then */
};
/* Returns what is wrong with it, or NULL; text that varies is put in problem. */
const char *qmd_decode(const struct chip *chip, const uint32_t *words, struct grid *grid, char *problem, size_t bytes);
unsigned qmd_words(const struct chip *chip);

struct inline_state { /* inline-to-memory */
    uint32_t line_length, line_count, out[2], pitch, launch, semaphore[2], payload;
    uint64_t taken, wanted; /* bytes of the transfer in flight */
};
struct compute_state {
    uint64_t shared_window, local_window, local_memory, local_bytes_per_tpc;
    uint32_t pcas_address;
    uint32_t method[0x700]; /* last data of each method, for pairs of upper and lower halves */
    struct inline_state inlined;
    struct grid grids[GRIDS_MAX];
    unsigned put, get;
    struct sm *sm;   /* made for the first grid */
    bool is_running; /* the grid at get */
};

/* A channel as host.c keeps it, with its engines' state. */
struct channel {
    struct host_channel is;
    struct channel *next; /* of those that are about to be freed */
    struct space space;
    bool is_used, is_scheduled, is_dead, is_rung;
    uint32_t gp_get, gp_put;
    uint64_t segment_base_ext; /* bits 56..40 of push buffer addresses, Hopper on */
    uint64_t segment;          /* next word */
    uint32_t segment_words;    /* left */
    uint32_t words[128];       /* fetched ahead */
    unsigned word_get, word_count;
    struct {
        unsigned kind, subchannel, method, left;
    } sequence; /* methods that a header announced */
    uint32_t semaphore[4], old_semaphore[3], mem_op[3];
    uint32_t reference;
    uint32_t classes[8]; /* engine objects that RM made on it */
    unsigned class_count;
    uint32_t bound[8]; /* subchannels */
    unsigned last_engine; /* engine that methods went to last: 0 none, 1 graphics, 2 copy */
    struct copy_state copy;
    struct compute_state compute;
};

enum outcome copy_method(struct model *m, struct channel *c, uint32_t method, uint32_t data);
enum outcome copy_step(struct model *m, struct channel *c); /* DONE: some progress; BUSY: nothing can be done now */
bool copy_is_idle(const struct channel *c);
bool copy_knows_class(uint32_t class_id);

enum outcome compute_method(struct model *m, struct channel *c, uint32_t method, uint32_t data);
enum outcome compute_step(struct model *m, struct channel *c);
bool compute_is_idle(const struct channel *c);
void compute_drop(struct channel *c); /* the channel dies: so does what it runs */
void compute_free(struct channel *c);
enum outcome inline_method(struct model *m, struct channel *c, uint32_t method, uint32_t data);
/* A method that the compute class, or the inline transfers that are part of it, does not take. Always returns FAULT. */
enum outcome compute_class_error(struct model *m, struct channel *c, const char *what, uint32_t method, uint32_t data);

/* One entry, fetch or word of its push buffer. BUSY: nothing can be done now. (pbdma.c) */
enum outcome pbdma_step(struct model *m, struct channel *c);
enum outcome pbdma_fault(struct model *m, struct channel *c, const char *interrupt, const char *what, uint64_t value);
bool engines_are_idle(const struct channel *c);

/* The group of the channel dies; the guest is told why. Always returns FAULT. */
enum outcome engine_fault(struct model *m, struct channel *c, uint32_t reason, const char *client, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
enum outcome engine_mmu_fault(struct model *m, struct channel *c, const char *client, const struct violation *why);
/* Write a semaphore: payload of 4 or 8 bytes and, 8 bytes behind its start, the GPU's time when asked for. */
bool semaphore_write(struct model *m, enum tlb tlb, struct channel *c, uint64_t gva, uint64_t payload, bool is_64_bit,
                     bool has_timestamp, struct violation *why);
uint64_t gpu_time_ns(struct model *m);

/* ---- code (kernels.c) and its execution (sm.c) ------------------------------------------------------------------ */

struct kernel_block;
struct code { /* a kernel of the build's cubins that gpu/kernels has for the host, too */
    const char *name;
    void (*run)(const void *args, const struct kernel_block *block);
    uint32_t args_struct_bytes;
    const uint8_t *text, *fixed; /* fixed: 1 for each byte that no relocation changes */
    uint32_t text_bytes;
    uint64_t hash;               /* of the fixed bytes */
    uint32_t registers, barriers, stack_bytes, shared_bytes, args_offset, args_bytes, bank0_bytes;
    struct {
        const uint8_t *data;
        uint32_t bytes;
    } bank[8]; /* constants that the file brings; those that relocations change have no data */
};
int kernels_load(struct model *m, const char *path); /* a cubin, or a folder with sm_NN.cubin */
unsigned kernels_count(void);
const struct code *kernels_get(unsigned index);
/* The kernel whose code lies at gva. NULL: none of them, or *why has a fault. */
const struct code *kernels_find(struct model *m, const struct space *space, uint64_t gva, struct violation *why);
void kernels_forget(void); /* the instruction caches are invalidated */
void kernels_unload(void);

enum sm_state { SM_IDLE, SM_RUNNING, SM_COMPLETE, SM_MMU_FAULT, SM_EXCEPTION };
struct sm_run {
    const struct code *code;
    const struct space *space;
    uint32_t size[3], threads;
    uint8_t args[4096];
};
struct sm; /* what runs one channel's grids, one at a time */
int sm_init(struct model *m);
struct sm *sm_create(void); /* NULL: no memory */
void sm_destroy(struct sm *sm);
void sm_start(struct sm *sm, const struct sm_run *run); /* whatever it ran before is gone */
/* Go on for a slice. On SM_MMU_FAULT *why is filled, on SM_EXCEPTION *exception. */
enum sm_state sm_slice(struct model *m, struct sm *sm, struct violation *why, const char **exception);
/* What the SMs' address space maps is no longer true. */
void sm_unmap(void);

#endif
