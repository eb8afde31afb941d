/*
 * gpu/nvidia/gsp/resman.h: the CPU's side of the Resource Manager of one GPU, behind transport.h.
 *
 * Files: transport.c (start, stop, objects and their RPCs), memory.c (VRAM and host memory as objects, mappings),
 * channel.c (groups, channels, their deaths), context.c (context buffers of the graphics engine), controls.c (controls that
 * are answered here), tables.c (what is asked of the GSP once: engines, geometry).
 *
 * Locking: one call at a time, which gpu/nvidia's device lock sees to. Only the list of channels is also read from the task
 * that handles the GSP's events; channel_lock keeps it. Every status here is an RM status (nvstatuscodes.h), 0 is success.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_RESMAN_H
#define INGOT_GPU_NVIDIA_GSP_RESMAN_H

#include "gpu/nvidia/gsp/gsp.h"
#include "gpu/nvidia/gsp/mmu.h"
#include "gpu/nvidia/gsp/resman_abi.h"
#include "gpu/nvidia/gsp/vram.h"
#include "gpu/nvidia/rm_abi.h"
#include "gpu/nvidia/va.h"

/* Client handles as RM gives them out (rs_client.h, RS_CLIENT_HANDLE_BASE 0xc1d00000). */
#define RESMAN_CLIENT        0xc1d00001u
#define RESMAN_GOLDEN_CLIENT 0xc1d00002u

/* GPU virtual addresses. gpu/nvidia gives out those from 8 GiB on. */
#define RESMAN_SERVER_GVA    UINT64_C(0x100000000) /* the GSP's own mappings (SPLIT_VAS_SERVER_RM_MANAGED_VA_START) */
#define RESMAN_SERVER_BYTES  UINT64_C(0x20000000)
#define RESMAN_GVA           (RESMAN_SERVER_GVA + RESMAN_SERVER_BYTES) /* context buffers: below 2^40, see context.c */
#define RESMAN_GVA_END       UINT64_C(0x200000000)

enum resman_kind { RESMAN_MEMORY, RESMAN_RANGE, RESMAN_DOORBELL, RESMAN_VASPACE, RESMAN_GROUP, RESMAN_CHANNEL };

/* What the CPU's side knows of an object. Objects that only the GSP knows have none. */
struct resman_object {
    struct resman_object *next; /* in its hash bucket */
    uint32_t handle, parent, class_id;
    enum resman_kind kind;
};

struct resman_memory {
    struct resman_object base;
    bool is_vram, is_visible; /* visible: in one piece inside BAR1 */
    bool owns_pages;          /* host memory that is ours to free */
    uint64_t size_bytes;
    void *cpu;                /* host memory */
    unsigned extent_count;    /* of VRAM */
    struct vram_extent extents[];
};

/* VRAM that engines use by physical address, and by gva where it is not 0. */
struct resman_buffer {
    uint64_t offset, size_bytes, gva;
};

/* Context buffers of one group of channels on the graphics engine. */
struct resman_context {
    bool is_promoted;
    struct resman_buffer main, patch;
};

struct resman_group {
    struct resman_object base;
    uint32_t engine_type; /* NV2080_ENGINE_TYPE_... */
    struct resman_buffer methods; /* where the copy engine saves methods of a faulted channel */
    struct resman_context context;
};

struct resman_channel {
    struct resman_object base;
    struct resman_channel *next_channel; /* in resman's list */
    uint32_t group;       /* handle, 0: none */
    uint32_t engine_type, runlist, id;
    struct resman_buffer instance; /* RAMFC and the pointer to the page tables */
    volatile struct rm_notification *notifier;
};

struct resman_engine {
    uint32_t type;        /* NV2080_ENGINE_TYPE_... */
    uint32_t runlist;
    uint16_t interrupt;   /* MC_ENGINE_IDX_... */
    char name[12];        /* "graphics0", "copy2" */
};
#define RESMAN_ENGINES_MAX    64
#define RESMAN_CHANNEL_ID_MAX 512u /* what every chip has (Turing counts them over all runlists, later chips in each) */
#define RESMAN_RUNLISTS_MAX   64u

/* Buffers that all contexts share, as NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID numbers them. */
#define RESMAN_SHARED_BUFFERS 12

struct resman {
    struct gsp gsp;
    struct vram vram;
    struct mmu mmu;
    struct va_space va; /* RESMAN_GVA .. RESMAN_GVA_END */
    struct resman_object *objects[256];

    unsigned engine_count;
    struct resman_engine engines[RESMAN_ENGINES_MAX];
    uint32_t gr_info[RM_GR_INFO_MAX];
    uint32_t method_bytes;
    struct rm_context_buffer_size context_sizes[RM_CONTEXT_BUFFERS];
    struct resman_buffer shared[RESMAN_SHARED_BUFFERS];
    uint32_t device, subdevice; /* of RESMAN_CLIENT */
    uint32_t vaspace;           /* the one address space, 0: none */

    struct spinlock channel_lock;
    struct resman_channel *channels;
    uint64_t channel_ids[RESMAN_CHANNEL_ID_MAX / 64]; /* one bit each: in use */
    struct {
        bool is_valid;
        uint64_t address;
        uint32_t type;
    } mmu_fault; /* the latest, with channel_lock */

    struct event completion;   /* the GPU ran a notify method, or a channel died */
    bool is_lost;              /* it does not answer any more: bus mastering is off, all calls fail */
    char lost_why[240];
    uint64_t next_look_ns;
    char error[240];           /* the last failure in words */
    uint8_t *message;          /* one RPC's request and reply */
};
#define RESMAN_MESSAGE_BYTES 16384u

/* ---- transport.c ------------------------------------------------------------------------------------------------- */

/* Fills in error and returns status. */
uint32_t resman_fail(struct resman *resman, uint32_t status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The GPU cannot be trusted any more: no DMA from now on, channels are told, all calls fail. */
void resman_lost(struct resman *resman, const char *why);

uint32_t resman_rpc_alloc(struct resman *resman, uint32_t client, uint32_t parent, uint32_t object, uint32_t class_id,
                          void *params, uint32_t params_bytes);
uint32_t resman_rpc_control(struct resman *resman, uint32_t client, uint32_t object, uint32_t command, void *params,
                            uint32_t params_bytes);
uint32_t resman_rpc_free(struct resman *resman, uint32_t client, uint32_t parent, uint32_t object);
/* The same for an object that uses memory which is given back next: one that cannot be freed makes the GPU lost. */
uint32_t resman_rpc_free_user(struct resman *resman, uint32_t client, uint32_t parent, uint32_t object);
/* Any other function; the reply is dropped but for its status. */
uint32_t resman_rpc(struct resman *resman, uint32_t function, const void *payload, uint32_t bytes);

struct resman_object *resman_find(struct resman *resman, uint32_t handle, enum resman_kind kind); /* NULL */
void resman_add(struct resman *resman, struct resman_object *object, enum resman_kind kind, uint32_t handle,
                uint32_t parent, uint32_t class_id);
void resman_remove(struct resman *resman, struct resman_object *object);

/* ---- memory.c ---------------------------------------------------------------------------------------------------- */

extern const struct mmu_ops resman_mmu_ops; /* arg: struct resman */

/* BAR1 in physical mode, VRAM that nobody else uses, page tables. */
uint32_t resman_memory_start(struct resman *resman);
void resman_memory_stop(struct resman *resman);
void *resman_vram_cpu(struct resman *resman, uint64_t offset, uint64_t size_bytes); /* NULL: not in BAR1 */

uint32_t resman_memory_alloc(struct resman *resman, uint32_t parent, uint32_t handle, uint32_t class_id,
                             const struct rm_memory_params *params);
uint32_t resman_memory_import(struct resman *resman, uint32_t parent, uint32_t handle, void *va, uint64_t size_bytes);
void resman_memory_free(struct resman *resman, struct resman_memory *memory);
uint32_t resman_memory_map(struct resman *resman, const struct resman_memory *memory, uint64_t size_bytes, uint64_t gva);
uint32_t resman_memory_unmap(struct resman *resman, const struct resman_memory *memory, uint64_t gva);
/* Where byte `offset` lies for PCI devices, 0: out of their reach; *run_bytes: how far on from there. */
uint64_t resman_memory_bus(struct resman *resman, const struct resman_memory *memory, uint64_t offset,
                           uint64_t *run_bytes);

/* is_zeroed ones are taken from inside BAR1. gva_align 0: not mapped; mapped for the engines only. */
uint32_t resman_buffer_alloc(struct resman *resman, uint64_t size_bytes, uint64_t align, uint64_t gva_align,
                             bool is_zeroed, struct resman_buffer *out);
void resman_buffer_free(struct resman *resman, struct resman_buffer *buffer); /* one of size 0 is ignored */

/* ---- channel.c --------------------------------------------------------------------------------------------------- */

uint32_t resman_group_alloc(struct resman *resman, uint32_t parent, uint32_t handle, const struct rm_group_params *params);
void resman_group_free(struct resman *resman, struct resman_group *group); /* after the GSP's */
uint32_t resman_channel_alloc(struct resman *resman, uint32_t client, uint32_t parent, uint32_t handle, uint32_t class_id,
                              const struct rm_channel_params *params);
void resman_channel_free(struct resman *resman, struct resman_channel *channel); /* after the GSP's */
uint32_t resman_channel_token(struct resman *resman, const struct resman_channel *channel);
/* The GSP says that a channel died; on_channel_error of events.h, arg: struct resman. */
void resman_channel_error(void *arg, const struct gsp_channel_error *error);
void resman_channels_lost(struct resman *resman);

/* ---- context.c --------------------------------------------------------------------------------------------------- */

/* The golden context: what every context starts as. And the buffers that all share. */
uint32_t resman_context_start(struct resman *resman);
void resman_context_stop(struct resman *resman);
/* Context buffers for the group of this channel, unless it has them; before an object of the graphics engine is made. */
uint32_t resman_context_promote(struct resman *resman, struct resman_channel *channel);
void resman_context_free(struct resman *resman, struct resman_context *context);

/* ---- tables.c ---------------------------------------------------------------------------------------------------- */

uint32_t resman_tables_read(struct resman *resman);
const struct resman_engine *resman_engine_find(const struct resman *resman, uint32_t type); /* NULL */
bool resman_engine_is_on_graphics(const struct resman *resman, const struct resman_engine *engine);
/* Classes of compute, copy, channel and doorbell that this chip has. */
unsigned resman_classes(const struct resman *resman, uint32_t out[4]);

/* ---- controls.c -------------------------------------------------------------------------------------------------- */

uint32_t resman_control(struct resman *resman, uint32_t client, uint32_t object, uint32_t command, void *params,
                        uint32_t params_bytes);

#endif
