/*
 * tests/model/gsp.h: what the files of GSP-RM share: the firmware that runs on the GSP, as the driver sees it.
 *
 *   wpr.c       what booter or the FMC checks before the GSP starts: WPR metadata, layout, radix3, images
 *   rm.c        start: libos arguments, CPU sequencer, GSP_INIT_DONE; the RPC functions; unload
 *   rpc.c       the two message queues
 *   objects.c   clients, devices and all below them: alloc, free, page directories, memory lists
 *   channels.c  channel groups, context shares, channels, engine objects, promoted context buffers
 *   controls.c  controls
 *   info.c      what the chips have: engines, runlists, interrupt vectors, context buffer sizes, static information
 *   events.c    what RM says by itself: faults, error notifiers, logs
 *
 * Messages and parameter blocks are read field by field at byte offsets, little endian. The offsets are those of OGKM
 * at tag 570.144 as gcc lays its headers out on x86-64; each is named where it is used. None is shared with the driver.
 */
#ifndef INGOT_TESTS_MODEL_GSP_H
#define INGOT_TESTS_MODEL_GSP_H

#include <string.h>

#include "tests/model/model.h"

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static inline uint64_t get(const void *at, size_t offset, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, (const uint8_t *)at + offset, bytes);
    return value;
}
#define GET8(at, offset)  ((uint8_t)get((at), (offset), 1))
#define GET16(at, offset) ((uint16_t)get((at), (offset), 2))
#define GET32(at, offset) ((uint32_t)get((at), (offset), 4))
#define GET64(at, offset) get((at), (offset), 8)

static inline void put(void *at, size_t offset, size_t bytes, uint64_t value)
{
    memcpy((uint8_t *)at + offset, &value, bytes);
}
#define PUT8(at, offset, value)  put((at), (offset), 1, (value))
#define PUT16(at, offset, value) put((at), (offset), 2, (value))
#define PUT32(at, offset, value) put((at), (offset), 4, (value))
#define PUT64(at, offset, value) put((at), (offset), 8, (value))

#define PAGE UINT64_C(4096)

/* ---- RM status (src/common/sdk/nvidia/inc/nvstatuscodes.h) ------------------------------------------------------- */

#define NV_OK                             0x00
#define NV_ERR_BUFFER_TOO_SMALL           0x02
#define NV_ERR_ILLEGAL_ACTION             0x15
#define NV_ERR_IN_USE                     0x17
#define NV_ERR_INSERT_DUPLICATE_NAME      0x19
#define NV_ERR_INSUFFICIENT_RESOURCES     0x1a
#define NV_ERR_INVALID_ADDRESS            0x1e
#define NV_ERR_INVALID_ARGUMENT           0x1f
#define NV_ERR_INVALID_CHANNEL            0x21
#define NV_ERR_INVALID_CLASS              0x22
#define NV_ERR_INVALID_CLIENT             0x23
#define NV_ERR_INVALID_COMMAND            0x24
#define NV_ERR_INVALID_DEVICE             0x26
#define NV_ERR_INVALID_FLAGS              0x29
#define NV_ERR_INVALID_INDEX              0x2c
#define NV_ERR_INVALID_LIMIT              0x2e
#define NV_ERR_INVALID_OBJECT             0x31
#define NV_ERR_INVALID_OBJECT_HANDLE      0x33
#define NV_ERR_INVALID_OBJECT_NEW         0x34
#define NV_ERR_INVALID_OBJECT_PARENT      0x36
#define NV_ERR_INVALID_PARAM_STRUCT       0x3a
#define NV_ERR_INVALID_STATE              0x40
#define NV_ERR_NO_FREE_FIFOS              0x4f
#define NV_ERR_NO_MEMORY                  0x51
#define NV_ERR_NOT_READY                  0x55
#define NV_ERR_NOT_SUPPORTED              0x56
#define NV_ERR_OBJECT_NOT_FOUND           0x57
#define NV_ERR_OBJECT_TYPE_MISMATCH       0x58
#define NV_ERR_OUT_OF_RANGE               0x5b
#define NV_ERR_GENERIC                    0xffff
/* src/nvidia/inc/kernel/vgpu/rpc_headers.h */
#define RESULT_UNKNOWN_FUNCTION           UINT32_C(0xff100001)
#define RESULT_INVALID_MESSAGE_FORMAT     UINT32_C(0xff100002)
#define RESULT_PENDING                    UINT32_C(0xffffffff)

/* ---- messages (rpc_global_enums.h) ------------------------------------------------------------------------------- */

enum {
    FN_ALLOC_MEMORY = 4, FN_FREE = 10, FN_DUP_OBJECT = 21, FN_UNLOADING_GUEST_DRIVER = 47, FN_SET_PAGE_DIRECTORY = 54,
    FN_GET_GSP_STATIC_INFO = 65, FN_UPDATE_BAR_PDE = 70, FN_CONTINUATION_RECORD = 71, FN_SET_SYSTEM_INFO = 72,
    FN_SET_REGISTRY = 73, FN_RM_CONTROL = 76, FN_UNSET_PAGE_DIRECTORY = 79, FN_RM_ALLOC = 103, FN_INVALIDATE_TLB = 200,
    FN_ECC_NOTIFIER_WRITE_ACK = 202,
};
enum {
    EVENT_GSP_INIT_DONE = 0x1001, EVENT_RUN_CPU_SEQUENCER = 0x1002, EVENT_POST_EVENT = 0x1003,
    EVENT_RC_TRIGGERED = 0x1004, EVENT_MMU_FAULT_QUEUED = 0x1005, EVENT_OS_ERROR_LOG = 0x1006,
    EVENT_PERF_BRIDGELESS_INFO_UPDATE = 0x100f, EVENT_LOCKDOWN_NOTICE = 0x101c, EVENT_POST_NOCAT_RECORD = 0x1020,
};

/* Sixteen elements of 4 KiB, less the element header (48 bytes) and the message header (32 bytes): a record's room. */
#define ELEMENT_HEADER_BYTES 48u
#define MESSAGE_HEADER_BYTES 32u
#define RECORD_ELEMENTS_MAX  16u
#define RECORD_PAYLOAD_MAX   (RECORD_ELEMENTS_MAX * 4096u - ELEMENT_HEADER_BYTES - MESSAGE_HEADER_BYTES)
/* With continuation records. No message that we know is longer; the queue itself holds 63 elements. */
#define MESSAGE_PAYLOAD_MAX  (1u << 20)

struct message {
    uint32_t function, sequence;   /* of the message header */
    uint32_t bytes;                /* of the payload, all records together */
    uint32_t available;            /* bytes there in the first record's elements, which a short length does not count */
    uint8_t *payload;              /* room for MESSAGE_PAYLOAD_MAX */
};

/* ---- what is the driver's memory layout (wpr.c) ------------------------------------------------------------------ */

struct layout {
    bool is_loaded;
    uint64_t meta_bus;
    uint64_t non_wpr_heap, non_wpr_heap_bytes, wpr_start, heap, heap_bytes, elf, elf_bytes, boot, boot_bytes, frts,
        frts_bytes, wpr_end, fb_bytes;
    uint64_t usable_end;           /* VRAM below this is the driver's */
};
/* May the driver have RM or an engine touch this piece of VRAM? */
bool layout_is_usable(const struct layout *layout, uint64_t address, uint64_t bytes);

/* ---- queues (rpc.c) ---------------------------------------------------------------------------------------------- */

#define QUEUE_PAGES_MAX 1024u

struct queue {
    uint64_t offset;               /* in the shared area */
    uint32_t bytes, count;         /* elements */
    uint32_t index;                /* command queue: read pointer; status queue: write pointer */
    uint32_t sequence;             /* of the next record */
};
struct queues {
    uint64_t page[QUEUE_PAGES_MAX]; /* bus addresses */
    uint32_t page_count;
    struct queue command, status;
    struct record *waiting;        /* records for which the status queue had no room yet */
    unsigned waiting_count;
    uint8_t *partial;              /* a message whose continuation records are still to come */
    uint32_t partial_bytes, partial_total, partial_function, partial_sequence, partial_records, partial_available;
};
/* Read MESSAGE_QUEUE_INIT_ARGUMENTS and the CPU's queue header; make ours. False when they are wrong. */
bool queues_open(struct model *m, const uint8_t *arguments);
/* The next whole message: 1; 0 when there is none; -1 when the guest broke the queue (it is never read again). */
int queue_receive(struct model *m, struct message *message);
/* Answer or event. Copied; goes out at once, or when the CPU has made room. False: it will never go out. */
bool queue_send(struct model *m, uint32_t function, uint32_t result, uint32_t sequence, const void *payload,
                size_t bytes);
void queue_stop(struct model *m);
const char *function_name(uint32_t function);

/* ---- objects (objects.c, channels.c) ----------------------------------------------------------------------------- */

enum kind {
    KIND_CLIENT, KIND_DEVICE, KIND_SUBDEVICE, KIND_VASPACE, KIND_GROUP, KIND_SHARE, KIND_CHANNEL, KIND_COMPUTE,
    KIND_COPY, KIND_DEBUGGER, KIND_EVENT, KIND_MEMORY, KIND_VIRTUAL, KIND_FAULT_BUFFER, KIND_NONE,
};
#define BIT_OF(kind) (1u << (kind))

#define CONTEXT_BUFFERS 13u        /* NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_..., ctrl2080gpu.h */

struct promoted {
    bool has_physical, has_virtual;
    enum aperture aperture;
    uint64_t address, bytes, gva;
};

struct object {
    struct object *next;           /* all objects, newest first */
    struct object *client, *parent;
    uint32_t handle, class_id;
    enum kind kind;
    struct promoted buffer[CONTEXT_BUFFERS]; /* the graphics context of a channel group, or of a channel without one */
    union {
        struct {
            bool is_external;      /* the driver owns the page tables: SET_PAGE_DIRECTORY */
            bool has_directory;
            enum aperture aperture;
            uint64_t directory;
        } vaspace;
        struct {
            uint32_t engine_type;
            struct object *vaspace;
            bool is_scheduled;
            uint32_t id;           /* host_channel.group */
            uint32_t subcontexts;
        } group;
        struct {
            struct object *vaspace;
        } share;
        struct {
            uint32_t engine_type, id, runlist, group;
            struct object *share, *vaspace; /* the latter: whichever way it got one */
            uint64_t instance;
            bool has_compute, is_bound, is_scheduled, is_dead, has_notifier;
            enum aperture notifier_aperture;
            uint64_t notifier, notifier_bytes;
        } channel;
        struct {
            struct object *object; /* the compute object under the debugger */
        } debugger;
        struct {
            uint32_t index;
        } event;
        struct {
            uint64_t bytes;
        } memory;
    };
};

struct object *object_find(struct model *m, uint32_t client, uint32_t handle); /* NULL when it is not there */
struct object *object_ancestor(struct object *object, enum kind kind);
/* Link a new object of the given kind; NULL when there are too many. */
struct object *object_add(struct model *m, struct object *client, struct object *parent, uint32_t handle,
                          uint32_t class_id, enum kind kind);
void object_free(struct model *m, struct object *object); /* and all that hangs below it or depends on it */
void objects_clear(struct model *m);
uint32_t objects_internal(struct model *m);               /* RM's own client, device and subdevice */
const char *kind_name(enum kind kind);

/* RPC functions: take the request's payload, make it the answer's; the RM status is the message's result. */
uint32_t rm_alloc(struct model *m, struct message *message);
uint32_t rm_free(struct model *m, struct message *message);
uint32_t rm_set_page_directory(struct model *m, struct message *message);
uint32_t rm_unset_page_directory(struct model *m, struct message *message);
uint32_t rm_alloc_memory(struct model *m, struct message *message);
uint32_t rm_control(struct model *m, struct message *message);

/* channels.c: params is the class's parameter block, or NULL. */
uint32_t group_alloc(struct model *m, struct object *group, uint8_t *params);
uint32_t share_alloc(struct model *m, struct object *share, uint8_t *params);
uint32_t channel_alloc(struct model *m, struct object *channel, uint8_t *params);
uint32_t engine_object_alloc(struct model *m, struct object *object, uint8_t *params);
uint32_t channel_promote(struct model *m, uint8_t *params);
uint32_t channel_schedule(struct model *m, struct object *channel_or_group, bool on);
uint32_t channel_bind(struct model *m, struct object *channel, uint32_t engine_type);
uint32_t channel_token(struct model *m, struct object *channel, uint32_t *token);
void channel_gone(struct model *m, struct object *channel);
void vaspace_changed(struct model *m, struct object *vaspace); /* tell the host engine the channels' page directory */
bool vaspace_is_used(struct model *m, const struct object *vaspace);
/* Whose buffer[] a channel's graphics context is. */
struct object *context_owner(struct object *channel);

/* ---- chips (info.c) ---------------------------------------------------------------------------------------------- */

#define ENGINES_MAX 16

struct engine {
    enum engine_kind kind;
    unsigned index;                /* copy engine number */
    uint32_t type;                 /* NV2080_ENGINE_TYPE_... (cl2080_notification.h) */
    uint32_t runlist;
    bool is_grce;                  /* a copy engine on the graphics runlist */
    unsigned stall_vector, notify_vector;
};
struct chip_info {
    enum family family;
    struct engine engine[ENGINES_MAX];
    unsigned engine_count;
    uint32_t channels_max;
    uint32_t fault_method_buffer_bytes;
    uint32_t context_bytes[26], context_alignment[26]; /* by ENGINE_ID_... (ctrl0080fifo.h) */
    uint64_t l2_bytes;
    uint32_t fb_bus_bits, fb_ram_type, fbps;
};
const struct chip_info *chip_info(const struct model *m);
const struct engine *engine_find(const struct model *m, uint32_t type);
uint32_t engine_rm_type(uint32_t type);                     /* RM_ENGINE_TYPE_... (gpu_engine_type.h) */
unsigned gsp_vector(const struct model *m);
#define STATIC_INFO_BYTES 1656u    /* sizeof(GspStaticConfigInfo), gsp_static_config.h */
void static_info(struct model *m, uint8_t *out);
/* Controls that only tell what the chip has; each fills a block of the control's size. */
uint32_t info_gr(struct model *m, uint8_t *params);
uint32_t info_context_buffers(struct model *m, uint8_t *params);
uint32_t info_gr_caps(struct model *m, uint8_t *params);
uint32_t info_sm_order(struct model *m, uint8_t *params);
uint32_t info_floorsweeping(struct model *m, uint8_t *params);
uint32_t info_device_table(struct model *m, uint8_t *params);
uint32_t info_internal_device_table(struct model *m, uint8_t *params);
uint32_t info_interrupts(struct model *m, uint8_t *params);
uint32_t info_copy_caps(struct model *m, uint8_t *params);
uint32_t info_copy_pce_mask(struct model *m, uint8_t *params);
uint32_t info_fault_method_bytes(struct model *m, uint8_t *params);
uint32_t info_framebuffer(struct model *m, uint8_t *params);
uint32_t info_memory_system(struct model *m, uint8_t *params);
uint32_t info_gmmu(struct model *m, uint8_t *params);
uint32_t info_channels(struct model *m, uint8_t *params);
uint32_t info_chip(struct model *m, uint8_t *params);
/* The size that a context buffer (NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID_...) must have at least; 0: unknown. */
uint64_t context_buffer_bytes(const struct model *m, unsigned buffer);

/* ---- the whole (rm.c) -------------------------------------------------------------------------------------------- */

enum rm_state {
    RM_OFF,
    RM_STARTING,   /* the core runs, the queues are not there yet */
    RM_WAIT_INFO,  /* for GSP_SET_SYSTEM_INFO */
    RM_WAIT_REGISTRY,
    RM_INIT,       /* everything is known, initialisation takes its time */
    RM_SEQUENCER,  /* the CPU was asked to reset and resume the GSP */
    RM_RUNNING,
    RM_UNLOADED,
    RM_DEAD,       /* hangs: a fault was asked for, or the guest broke something that RM cannot survive */
};

struct fault_record {
    bool is_valid;
    uint64_t gva;
    uint32_t type, access;         /* NV_PFAULT_FAULT_TYPE_..., NV_PFAULT_ACCESS_TYPE_... (dev_fault.h) */
};

struct rm {
    enum rm_state state;
    struct layout layout;
    uint64_t libos_bus;
    struct queues queues;
    struct message message;        /* the one that is being worked on */
    bool is_busy;                  /* its answer is late */
    bool is_poll_due;
    uint8_t *late;                 /* that answer */
    size_t late_bytes;
    uint32_t late_function, late_result, late_sequence;
    struct object *objects;
    unsigned object_count;
    uint32_t group_ids;
    bool has_golden_context;
    struct fault_record fault[4];  /* newest first */
    uint32_t fault_channel;        /* handle of the channel that the records are of */
    uint64_t log_bus[8], log_bytes[8];
    unsigned log_count;
};
void rm_die(struct model *m);      /* RM_DEAD: answers nothing any more */
/* A line into the RM log buffer that the driver gave (binary records, as libos writes them). */
void rm_log(struct model *m, uint64_t what, uint64_t a, uint64_t b);
/* Raise the GSP's interrupt: something is in the status queue. */
void rm_interrupt(struct model *m);

#endif
