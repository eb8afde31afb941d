/*
 * tests/model/host.c: the host engine: channels, their instance blocks, GPFIFOs and push buffers, host methods, semaphores.
 *
 * A doorbell makes a channel read GP_PUT from its USERD. Each GPFIFO entry names a run of push buffer words: method headers
 * with their data. Methods below 0x100 are the host's own; others go to the object bound to their subchannel. Work of the
 * engines runs behind the methods' back: a release without "wait for idle" overtakes it, as it does on hardware.
 *
 * Sources: open-gpu-doc manuals/turing/tu104/dev_ram.ref.txt (NV_RAMIN, NV_RAMFC, NV_RAMUSERD, FIFO_DMA), dev_pbdma.ref.txt
 * (GP entries, NV_UDMA methods, interrupts), classes/host/clc46f.h, clc56f.h; OGKM class/clc86f.h, clc96f.h, clca6f.h and
 * cla06fsubch.h; src/common/inc/swref/published/turing/tu102/dev_vm.h (NV_VIRTUAL_FUNCTION_DOORBELL).
 */
#include "tests/model/engines.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX                                  128
#define SLICE_NS                                      UINT64_C(1000000)
#define POLL_NS                                       UINT64_C(100000) /* how often a channel looks at the semaphore that it waits for */

/* Instance block (dev_ram.ref.txt): 4 KiB; RAMFC, the host's part, is its first 512 bytes. */
#define RAMIN_BYTES                                   4096
#define RAMIN_PAGE_DIR_BASE_LO                        (128 * 4)
#define RAMIN_PAGE_DIR_BASE_HI                        (129 * 4)
#define PAGE_DIR_BASE_TARGET                          mask(1, 0) /* 0 video memory, 2 coherent system memory */
#define PAGE_DIR_BASE_VOL                             mask(2, 2)
#define USE_VER2_PT_FORMAT                            mask(10, 10)
#define BIG_PAGE_SIZE_64KB                            mask(11, 11)
#define RAMIN_SC_PDB_VALID                            (166 * 4)
#define RAMIN_SC_PAGE_DIR_BASE_LO(i)                  ((168 + (i) * 4) * 4)
#define RAMFC_GP_PUT                                  (0 * 4)
#define RAMFC_USERD                                   (2 * 4)
#define RAMFC_USERD_HI                                (3 * 4)
#define RAMFC_SIGNATURE                               (4 * 4)
#define RAMFC_GP_GET                                  (5 * 4)
#define RAMFC_GP_BASE                                 (18 * 4)
#define RAMFC_GP_BASE_HI                              (19 * 4) /* 7..0 address, 20..16 log2 of the entries */
#define RAMFC_SET_CHANNEL_INFO                        (63 * 4)
#define SIGNATURE_HW                                  0xface /* NV_PPBDMA_SIGNATURE_HW_VALID */

#define USERD_BYTES                                   512
#define USERD_REF                                     (18 * 4)
#define USERD_GP_GET                                  (34 * 4)
#define USERD_GP_PUT                                  (35 * 4)

/* GPFIFO entry, second word */
#define GP_ENTRY1_OPCODE_NOP                          0
#define GP_ENTRY1_OPCODE_SET_PB_SEGMENT_EXTENDED_BASE 4 /* Hopper on */

/* Method headers (NV_FIFO_DMA_SEC_OP) */
enum {
    SEC_OP_GRP0_USE_TERT = 0,
    SEC_OP_INC_METHOD = 1,
    SEC_OP_GRP2_USE_TERT = 2,
    SEC_OP_NON_INC_METHOD = 3,
    SEC_OP_IMMD_DATA_METHOD = 4,
    SEC_OP_ONE_INC = 5,
    SEC_OP_END_PB_SEGMENT = 7,
};

/* Host methods (NV_UDMA, clc56f.h) */
enum {
    SET_OBJECT = 0x00,
    ILLEGAL = 0x04,
    NOP = 0x08,
    SEMAPHOREA = 0x10,
    SEMAPHOREB = 0x14,
    SEMAPHOREC = 0x18,
    SEMAPHORED = 0x1c,
    NON_STALL_INTERRUPT = 0x20,
    FB_FLUSH = 0x24,
    MEM_OP_A = 0x28,
    MEM_OP_B = 0x2c,
    MEM_OP_C = 0x30,
    MEM_OP_D = 0x34,
    SET_REFERENCE = 0x50,
    SEM_ADDR_LO = 0x5c,
    SEM_ADDR_HI = 0x60,
    SEM_PAYLOAD_LO = 0x64,
    SEM_PAYLOAD_HI = 0x68,
    SEM_EXECUTE = 0x6c,
    WFI = 0x78,
    YIELD = 0x80,
    HOST_METHODS_END = 0x100,
};
enum { /* SEM_EXECUTE_OPERATION */
       SEM_ACQUIRE = 0,
       SEM_RELEASE = 1,
       SEM_ACQ_STRICT_GEQ = 2,
       SEM_ACQ_CIRC_GEQ = 3,
       SEM_ACQ_AND = 4,
       SEM_ACQ_NOR = 5,
       SEM_REDUCTION = 6,
};
#define SEM_EXECUTE_DEFINED \
    (mask(2, 0) | mask(12, 12) | mask(20, 20) | mask(25, 24) | mask(30, 27) | mask(31, 31))
#define MEM_OP_D_OPERATION_MEMBAR                      0x05
#define MEM_OP_D_OPERATION_MMU_TLB_INVALIDATE          0x09
#define MEM_OP_D_OPERATION_MMU_TLB_INVALIDATE_TARGETED 0x0a
#define MEM_OP_D_OPERATION_L2_FIRST                    0x0d
#define MEM_OP_D_OPERATION_L2_LAST                     0x15

#define SUBCHANNEL_COPY                                4 /* cla06fsubch.h; 5 to 7 are for software */

struct host {
    struct channel *channels[CHANNELS_MAX];
    bool is_working, is_polling;
    bool is_inside; /* a slice is running: channels that go now are freed behind it */
    struct channel *leaving;
};

int host_init(struct model *m)
{
    m->host = calloc(1, sizeof(*m->host));
    return m->host ? 0 : -ENOMEM;
}

uint64_t gpu_time_ns(struct model *m)
{
    /* dev_timer.ref.txt: NV_PTIMER_TIME_1, _TIME_0; the upper half again, because it may have moved */
    uint32_t high, low;
    do {
        high = reg_read(m, 0x9410);
        low = reg_read(m, 0x9400);
    } while (high != reg_read(m, 0x9410));
    return (uint64_t)high << 32 | low;
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

static void kill_group(struct model *m, uint32_t runlist, uint32_t group)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        struct channel *c = m->host->channels[i];
        if (!c || c->is.runlist != runlist || c->is.group != group)
            continue;
        c->is_dead = true;
        compute_drop(m, c);
        c->copy.get = c->copy.put;
    }
}

static enum outcome fault_out(struct model *m, struct channel *c, const struct host_fault *f)
{
    note(m, "channel %u of runlist %u: %s", f->channel_id, f->runlist, f->text);
    kill_group(m, c->is.runlist, c->is.group);
    host_fault_event(m, f);
    return FAULT;
}

enum outcome engine_fault(struct model *m, struct channel *c, uint32_t reason, const char *client,
                          const char *fmt, ...)
{
    char text[256];
    va_list list;
    va_start(list, fmt);
    vsnprintf(text, sizeof(text), fmt, list);
    va_end(list);
    return fault_out(m, c,
                     &(struct host_fault){.runlist = c->is.runlist,
                                          .channel_id = c->is.channel_id,
                                          .reason = reason,
                                          .client = client,
                                          .text = text});
}

enum outcome engine_mmu_fault(struct model *m, struct channel *c, const char *client,
                              const struct violation *why)
{
    char text[256];
    snprintf(text, sizeof(text),
             "MMU Fault: %s, faulted @ 0x%llx. Fault is of type %s ACCESS_TYPE_VIRT_%s", client,
             (unsigned long long)why->gva, mmu_fault_name(why->fault),
             why->is_write ? "WRITE" : "READ");
    return fault_out(m, c,
                     &(struct host_fault){.runlist = c->is.runlist,
                                          .channel_id = c->is.channel_id,
                                          .reason = RC_MMU_FAULT,
                                          .is_mmu = true,
                                          .mmu = why->fault,
                                          .gva = why->gva,
                                          .is_write = why->is_write,
                                          .client = client,
                                          .text = text});
}

static enum outcome pbdma_fault(struct model *m, struct channel *c, const char *interrupt,
                                const char *what, uint64_t value)
{
    refuse(m, "host: channel %u: %s: %s (0x%llx)", c->is.channel_id, interrupt, what,
           (unsigned long long)value);
    return engine_fault(m, c, RC_PBDMA, "PBDMA", "PBDMA error, %s: %s", interrupt, what);
}

/* ---- channels -------------------------------------------------------------------------------------------------- */

static struct channel *channel_find(struct model *m, uint32_t runlist, uint32_t channel_id)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        struct channel *c = m->host->channels[i];
        if (c && c->is.runlist == runlist && c->is.channel_id == channel_id)
            return c;
    }
    return NULL;
}

static void put32(uint8_t *block, unsigned offset, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    memcpy(block + offset, &word, 4);
}

/* What GSP-RM writes of a page directory into an instance block, for the channel and for its subcontext 0. */
static void put_page_directory(const struct model *m, const struct host_channel *is, uint8_t *block)
{
    uint64_t low = (is->page_directory & mask(31, 12)) | BIG_PAGE_SIZE_64KB |
                   (m->chip->mmu_version == 2 ? USE_VER2_PT_FORMAT : 0) |
                   (is->page_directory_aperture == APERTURE_SYSTEM ? 2 | PAGE_DIR_BASE_VOL : 0);
    put32(block, RAMIN_PAGE_DIR_BASE_LO, low);
    put32(block, RAMIN_PAGE_DIR_BASE_HI, is->page_directory >> 32);
    put32(block, RAMIN_SC_PAGE_DIR_BASE_LO(0), low);
    put32(block, RAMIN_SC_PAGE_DIR_BASE_LO(0) + 4, is->page_directory >> 32);
    put32(block, RAMIN_SC_PDB_VALID, 1);
}

/* The channel is switched in: its address space is what the instance block in memory says. */
static bool load_space(struct model *m, struct channel *c)
{
    uint32_t base[2];
    if (!memory_read(m, c->is.instance_aperture, c->is.instance + RAMIN_PAGE_DIR_BASE_LO, base, 8))
        return false;
    uint32_t target = (uint32_t)(base[0] & PAGE_DIR_BASE_TARGET);
    if (target == 1) {
        refuse(m, "host: channel %u: the instance block at 0x%llx names no page directory",
               c->is.channel_id, (unsigned long long)c->is.instance);
        return false;
    }
    c->space.aperture = target == 0 ? APERTURE_VRAM : APERTURE_SYSTEM;
    c->space.directory = (uint64_t)base[1] << 32 | (base[0] & mask(31, 12));
    return true;
}

static unsigned log2_of(uint32_t value)
{
    return 31 - (unsigned)__builtin_clz(value);
}

static const char *check_channel(const struct model *m, const struct host_channel *is)
{
    bool is_long = m->chip->family >= HOPPER;
    if (is->channel_class != m->chip->channel_class)
        return "the chip has no channels of this class";
    if (is->gpfifo_entries < 2 || is->gpfifo_entries > 1u << 31 ||
        (is->gpfifo_entries & (is->gpfifo_entries - 1)))
        return "the number of GPFIFO entries is no power of two";
    if (is->gpfifo_gva % 8 || is->gpfifo_gva >> (is_long ? 57 : 40))
        return "the GPFIFO's address is not one that the PBDMA has bits for";
    if (is->instance % RAMIN_BYTES)
        return "the instance block is not aligned to 4 KiB";
    if (is->userd % USERD_BYTES)
        return "USERD is not aligned to 512 bytes";
    if (is->page_directory % 4096)
        return "the page directory is not aligned to 4 KiB";
    return NULL;
}

int host_channel_add(struct model *m, const struct host_channel *is)
{
    const char *problem = check_channel(m, is);
    if (!problem && channel_find(m, is->runlist, is->channel_id))
        problem = "there is a channel of this number on the runlist";
    if (problem) {
        refuse(m, "host: channel %u of runlist %u: %s", is->channel_id, is->runlist, problem);
        return -EINVAL;
    }
    unsigned slot = 0;
    while (slot < CHANNELS_MAX && m->host->channels[slot])
        slot++;
    struct channel *c = slot < CHANNELS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c)
        return -ENOMEM;
    c->is = *is;

    uint8_t block[RAMIN_BYTES] = {0};
    put32(block, RAMFC_SIGNATURE, SIGNATURE_HW);
    put32(block, RAMFC_USERD, is->userd | (is->userd_aperture == APERTURE_SYSTEM ? 2 : 0));
    put32(block, RAMFC_USERD_HI, is->userd >> 32);
    put32(block, RAMFC_GP_BASE, is->gpfifo_gva);
    put32(block, RAMFC_GP_BASE_HI,
          bits(is->gpfifo_gva, 39, 32) | (uint64_t)log2_of(is->gpfifo_entries) << 16);
    put32(block, RAMFC_SET_CHANNEL_INFO, is->channel_id << 16);
    put_page_directory(m, is, block);
    if (!memory_write(m, is->instance_aperture, is->instance, block, sizeof(block))) {
        refuse(m, "host: channel %u: no memory at its instance block", is->channel_id);
        free(c);
        return -EINVAL;
    }
    c->is_used = true;
    m->host->channels[slot] = c;
    trace(
        m,
        "host: channel %u of runlist %u: GPFIFO 0x%llx, %u entries, instance 0x%llx, USERD 0x%llx",
        is->channel_id, is->runlist, (unsigned long long)is->gpfifo_gva, is->gpfifo_entries,
        (unsigned long long)is->instance, (unsigned long long)is->userd);
    return 0;
}

static void free_leaving(struct host *host)
{
    while (host->leaving) {
        struct channel *next = host->leaving->next;
        free(host->leaving);
        host->leaving = next;
    }
}

void host_channel_remove(struct model *m, uint32_t runlist, uint32_t channel_id)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        struct channel *c = m->host->channels[i];
        if (!c || c->is.runlist != runlist || c->is.channel_id != channel_id)
            continue;
        compute_drop(m, c);
        c->is_dead = true;
        m->host->channels[i] = NULL;
        c->next = m->host->leaving;
        m->host->leaving = c;
        if (!m->host->is_inside)
            free_leaving(m->host);
        trace(m, "host: channel %u of runlist %u is gone", channel_id, runlist);
        return;
    }
}

static bool host_slice(struct model *m, void *arg);
static void host_poll(struct model *m, void *arg);

static void work_start(struct model *m)
{
    if (m->host->is_working)
        return;
    m->host->is_working = true;
    work_add(m, host_slice, NULL);
}

static void host_poll(struct model *m, void *arg)
{
    (void)arg;
    m->host->is_polling = false;
    work_start(m);
}

void host_channel_schedule(struct model *m, uint32_t runlist, uint32_t channel_id, bool on)
{
    struct channel *c = channel_find(m, runlist, channel_id);
    if (!c)
        return;
    c->is_scheduled = on;
    if (on && load_space(m, c))
        work_start(m);
}

bool host_channel_object(struct model *m, uint32_t runlist, uint32_t channel_id, uint32_t class_id)
{
    struct channel *c = channel_find(m, runlist, channel_id);
    if (!c || c->class_count == sizeof(c->classes) / sizeof(c->classes[0]))
        return false;
    bool is_compute = class_id == m->chip->compute_class;
    if (class_id != m->chip->copy_class && !(is_compute && c->is.engine == ENGINE_GRAPHICS))
        return false;
    c->classes[c->class_count++] = class_id;
    return true;
}

void host_channel_set_page_directory(struct model *m, uint32_t runlist, uint32_t channel_id,
                                     enum aperture aperture, uint64_t page_directory)
{
    struct channel *c = channel_find(m, runlist, channel_id);
    if (!c)
        return;
    c->is.page_directory_aperture = aperture;
    c->is.page_directory = page_directory;
    uint8_t block[RAMIN_BYTES];
    if (!memory_read(m, c->is.instance_aperture, c->is.instance, block, sizeof(block)))
        return;
    put_page_directory(m, &c->is, block);
    memory_write(m, c->is.instance_aperture, c->is.instance, block, sizeof(block));
    load_space(m, c);
}

void host_stop(struct model *m)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++)
        if (m->host->channels[i])
            host_channel_remove(m, m->host->channels[i]->is.runlist,
                                m->host->channels[i]->is.channel_id);
    timer_cancel(m, host_poll, NULL);
    work_cancel(m, host_slice, NULL);
    m->host->is_working = m->host->is_polling = false;
    mmu_invalidate(m, APERTURE_VRAM, 0, 0);
}

/* NV_VIRTUAL_FUNCTION_DOORBELL: 11..0 VECTOR (the channel), 22..16 RUNLIST_ID */
void host_doorbell(struct model *m, uint32_t token)
{
    uint32_t channel_id = token & 0xfff, runlist = (uint32_t)bits(token, 22, 16);
    struct channel *c = channel_find(m, runlist, channel_id);
    if (!c || (token & ~(mask(11, 0) | mask(22, 16)))) {
        refuse(m, "host: a doorbell with 0x%08x: runlist %u has no channel %u", token, runlist,
               channel_id);
        return;
    }
    if (!c->is_scheduled)
        refuse(m, "host: a doorbell for channel %u, which is not scheduled", channel_id);
    c->is_rung = true;
    work_start(m);
}

/* ---- semaphores ------------------------------------------------------------------------------------------------ */

bool semaphore_write(struct model *m, enum tlb tlb, struct channel *c, uint64_t gva,
                     uint64_t payload, bool is_64_bit, bool has_timestamp, struct violation *why)
{
    uint64_t bytes;
    uint8_t *memory = gpu_map(m, tlb, &c->space, gva, true, &bytes, why);
    if (!memory)
        return false;
    if (has_timestamp) /* first, so that who sees the payload sees the time */
        __atomic_store_n((uint64_t *)(memory + 8), gpu_time_ns(m), __ATOMIC_RELEASE);
    if (is_64_bit)
        __atomic_store_n((uint64_t *)memory, payload, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint32_t *)memory, (uint32_t)payload, __ATOMIC_RELEASE);
    trace(m, "semaphore 0x%llx = %llu", (unsigned long long)gva, (unsigned long long)payload);
    return true;
}

static bool acquires(unsigned operation, uint64_t value, uint64_t payload, bool is_64_bit)
{
    uint64_t all = is_64_bit ? ~UINT64_C(0) : UINT32_MAX;
    switch (operation) {
    case SEM_ACQUIRE:
        return value == payload;
    case SEM_ACQ_STRICT_GEQ:
        return value >= payload;
    case SEM_ACQ_CIRC_GEQ:
        return ((value - payload) & all) <= all >> 1;
    case SEM_ACQ_AND:
        return (value & payload) != 0;
    default:
        return (~(value | payload) & all) != 0;
    }
}

static uint64_t reduce(unsigned operation, bool is_unsigned, bool is_64_bit, uint64_t old,
                       uint64_t operand)
{
    int64_t a = is_64_bit ? (int64_t)old : (int32_t)old;
    int64_t b = is_64_bit ? (int64_t)operand : (int32_t)operand;
    switch (operation) { /* SEM_EXECUTE_REDUCTION */
    case 0:
        return is_unsigned ? (old < operand ? old : operand) : (uint64_t)(a < b ? a : b);
    case 1:
        return is_unsigned ? (old > operand ? old : operand) : (uint64_t)(a > b ? a : b);
    case 2:
        return old ^ operand;
    case 3:
        return old & operand;
    case 4:
        return old | operand;
    case 5:
        return old + operand;
    case 6:
        return old >= operand ? 0 : old + 1;
    default:
        return old == 0 || old > operand ? operand : old - 1;
    }
}

static bool engines_are_idle(const struct channel *c)
{
    return compute_is_idle(c) && copy_is_idle(c);
}

static enum outcome semaphore_execute(struct model *m, struct channel *c, uint32_t data)
{
    unsigned operation = (unsigned)bits(data, 2, 0);
    bool is_64_bit = bits(data, 24, 24), has_timestamp = bits(data, 25, 25);
    bool writes = operation == SEM_RELEASE || operation == SEM_REDUCTION;
    unsigned address_bits = m->chip->family >= HOPPER ? 25 : 8;
    uint64_t gva = (uint64_t)c->semaphore[1] << 32 | (c->semaphore[0] & ~3u);
    uint64_t payload = c->semaphore[2] | (is_64_bit ? (uint64_t)c->semaphore[3] << 32 : 0);
    if (data & ~SEM_EXECUTE_DEFINED)
        refuse(m, "host: SEM_EXECUTE 0x%08x has bits that no field has", data);
    if (operation > SEM_REDUCTION)
        return pbdma_fault(m, c, "SEMAPHORE", "no such operation", data);
    if (c->semaphore[1] >> address_bits)
        return pbdma_fault(m, c, "SEMAPHORE", "an address with more bits than SEM_ADDR_HI has",
                           gva);
    if (gva % (writes && has_timestamp ? 16 : is_64_bit ? 8 : 4))
        return pbdma_fault(m, c, "SEMAPHORE",
                           "an address that is not aligned to the semaphore's size", gva);
    if (writes && bits(data, 20, 20) && !engines_are_idle(c))
        return BUSY;

    struct violation why;
    uint64_t bytes;
    uint8_t *memory = gpu_map(m, TLB_HUB, &c->space, gva, writes, &bytes, &why);
    if (!memory)
        return engine_mmu_fault(m, c, "PBDMA", &why);
    enum fault_mode mode;
    if (operation == SEM_RELEASE && fault(m, "semaphore", &mode)) {
        if (mode == FAULT_GARBAGE)
            payload = ~payload;
        else
            return DONE; /* never written: who waits for it runs into a deadline */
    }
    uint64_t value = is_64_bit ? __atomic_load_n((uint64_t *)memory, __ATOMIC_ACQUIRE)
                               : __atomic_load_n((uint32_t *)memory, __ATOMIC_ACQUIRE);
    if (!writes)
        return acquires(operation, value, payload, is_64_bit) ? DONE : BUSY;
    if (operation == SEM_REDUCTION)
        payload =
            reduce((unsigned)bits(data, 30, 27), bits(data, 31, 31), is_64_bit, value, payload);
    semaphore_write(m, TLB_HUB, c, gva, payload, is_64_bit, has_timestamp, &why);
    return DONE;
}

/* SEMAPHOREA to SEMAPHORED, how it was done before Volta; the hardware still does it. */
static enum outcome old_semaphore_execute(struct model *m, struct channel *c, uint32_t data)
{
    unsigned operation = (unsigned)bits(data, 4, 0);
    uint64_t gva = (uint64_t)(c->old_semaphore[0] & 0xff) << 32 | (c->old_semaphore[1] & ~3u);
    bool is_16_bytes = !bits(data, 24, 24);
    struct violation why;
    uint64_t bytes;
    if (operation == 2) {
        if (gva % (is_16_bytes ? 16 : 4))
            return pbdma_fault(m, c, "SEMAPHORE", "an address that is not aligned", gva);
        if (!bits(data, 20, 20) && !engines_are_idle(c))
            return BUSY;
        return semaphore_write(m, TLB_HUB, c, gva, c->old_semaphore[2], false, is_16_bytes, &why)
                   ? DONE
                   : engine_mmu_fault(m, c, "PBDMA", &why);
    }
    if (operation != 1 && operation != 4 && operation != 8)
        return pbdma_fault(m, c, "SEMAPHORE", "no such operation", data);
    const uint8_t *memory = gpu_map(m, TLB_HUB, &c->space, gva, false, &bytes, &why);
    if (!memory)
        return engine_mmu_fault(m, c, "PBDMA", &why);
    unsigned as_new = operation == 1   ? SEM_ACQUIRE
                      : operation == 4 ? SEM_ACQ_CIRC_GEQ
                                       : SEM_ACQ_AND;
    uint32_t value = __atomic_load_n((const uint32_t *)memory, __ATOMIC_ACQUIRE);
    return acquires(as_new, value, c->old_semaphore[2], false) ? DONE : BUSY;
}

/* ---- host methods ---------------------------------------------------------------------------------------------- */

static enum outcome mem_op(struct model *m, struct channel *c, uint32_t data)
{
    unsigned operation = (unsigned)bits(data, 31, 27);
    if (operation == MEM_OP_D_OPERATION_MMU_TLB_INVALIDATE ||
        operation == MEM_OP_D_OPERATION_MMU_TLB_INVALIDATE_TARGETED) {
        uint32_t c_data = c->mem_op[2];
        uint64_t directory = bits(data, 26, 0) << 32 | (c_data & mask(31, 12));
        bool is_all = bits(c_data, 0, 0);
        enum aperture aperture = bits(c_data, 11, 10) == 0 ? APERTURE_VRAM : APERTURE_SYSTEM;
        mmu_invalidate(m, aperture, is_all ? 0 : directory, bits(c_data, 1, 1) ? 1u << 2 : 0);
        return DONE;
    }
    if (operation == MEM_OP_D_OPERATION_MEMBAR)
        return engines_are_idle(c) ? DONE : BUSY;
    if (operation >= MEM_OP_D_OPERATION_L2_FIRST && operation <= MEM_OP_D_OPERATION_L2_LAST)
        return DONE; /* there are no caches between engines and memory here */
    return pbdma_fault(m, c, "METHOD", "MEM_OP_D with an operation that is not modelled", data);
}

static enum outcome set_object(struct model *m, struct channel *c, unsigned subchannel,
                               uint32_t data)
{
    uint32_t class_id = data & 0xffff;
    for (unsigned i = 0; i < c->class_count; i++) {
        if (c->classes[i] != class_id)
            continue;
        bool is_copy = class_id == m->chip->copy_class;
        if (c->is.engine == ENGINE_GRAPHICS && is_copy != (subchannel == SUBCHANNEL_COPY))
            return pbdma_fault(m, c, "DEVICE",
                               is_copy ? "a copy object belongs on subchannel 4"
                                       : "subchannel 4 is for copy objects",
                               subchannel);
        if (data & ~0x1fffffu)
            refuse(m, "host: SET_OBJECT 0x%08x has bits that no field has", data);
        c->bound[subchannel] = class_id;
        return DONE;
    }
    refuse(m, "host: SET_OBJECT of class %04x, which was not allocated on channel %u", class_id,
           c->is.channel_id);
    return engine_fault(m, c, RC_GR_CLASS, "PBDMA",
                        "Class Error: no object of class %04x on the channel", class_id);
}

static enum outcome host_method(struct model *m, struct channel *c, unsigned subchannel,
                                unsigned method, uint32_t data)
{
    switch (method) {
    case SET_OBJECT:
        return set_object(m, c, subchannel, data);
    case NOP:
    case FB_FLUSH:
    case YIELD:
        return DONE;
    case SEMAPHOREA:
    case SEMAPHOREB:
    case SEMAPHOREC:
        c->old_semaphore[(method - SEMAPHOREA) / 4] = data;
        return DONE;
    case SEMAPHORED:
        return old_semaphore_execute(m, c, data);
    case NON_STALL_INTERRUPT:
        irq_raise(m, c->is.interrupt_vector);
        return DONE;
    case MEM_OP_A:
    case MEM_OP_B:
    case MEM_OP_C:
        c->mem_op[(method - MEM_OP_A) / 4] = data;
        return DONE;
    case MEM_OP_D:
        return mem_op(m, c, data);
    case SET_REFERENCE:
        if (!engines_are_idle(c))
            return BUSY;
        c->reference = data;
        if (m->chip->family < BLACKWELL)
            memory_write(m, c->is.userd_aperture, c->is.userd + USERD_REF, &data, 4);
        return DONE;
    case SEM_ADDR_LO:
    case SEM_ADDR_HI:
    case SEM_PAYLOAD_LO:
    case SEM_PAYLOAD_HI:
        c->semaphore[(method - SEM_ADDR_LO) / 4] = data;
        return DONE;
    case SEM_EXECUTE:
        return semaphore_execute(m, c, data);
    case WFI:
        return engines_are_idle(c) ? DONE : BUSY;
    default:
        return pbdma_fault(m, c, "METHOD", "no such host method", method);
    }
}

static enum outcome engine_method(struct model *m, struct channel *c, unsigned subchannel,
                                  unsigned method, uint32_t data)
{
    uint32_t class_id = c->bound[subchannel];
    if (subchannel > SUBCHANNEL_COPY)
        return pbdma_fault(m, c, "DEVICE", "a method on a software subchannel", method);
    if (class_id == 0) {
        refuse(m, "host: channel %u: method 0x%x on subchannel %u, which no object is bound to",
               c->is.channel_id, method, subchannel);
        return engine_fault(m, c, RC_GR_CLASS, "PBDMA", "Class Error: no object on subchannel %u",
                            subchannel);
    }
    return class_id == m->chip->copy_class ? copy_method(m, c, method, data)
                                           : compute_method(m, c, method, data);
}

/* ---- push buffers ---------------------------------------------------------------------------------------------- */

/* The next GPFIFO entry. DONE: a segment has begun, or there was nothing to fetch for it; BUSY: the FIFO is empty. */
static enum outcome fetch_entry(struct model *m, struct channel *c)
{
    if (c->gp_get == c->gp_put)
        return BUSY;
    struct violation why;
    uint32_t entry[2];
    uint64_t gva = c->is.gpfifo_gva + (uint64_t)c->gp_get * 8;
    if (!gpu_read(m, TLB_HUB, &c->space, gva, entry, 8, &why))
        return engine_mmu_fault(m, c, "PBDMA", &why);
    c->gp_get = (c->gp_get + 1) % c->is.gpfifo_entries;
    if (m->chip->family < BLACKWELL) /* clc96f.h: Blackwell's USERD has GP_PUT only */
        memory_write(m, c->is.userd_aperture, c->is.userd + USERD_GP_GET, &c->gp_get, 4);

    uint32_t words = (uint32_t)bits(entry[1], 30, 10), opcode = entry[1] & 0xff;
    if (words == 0) {
        if (opcode == GP_ENTRY1_OPCODE_SET_PB_SEGMENT_EXTENDED_BASE && m->chip->family >= HOPPER)
            c->segment_base_ext = bits(entry[0], 24, 8) << 40;
        else if (opcode != GP_ENTRY1_OPCODE_NOP)
            return pbdma_fault(m, c, "GPENTRY", "an entry with an opcode that there is not",
                               opcode);
        return DONE;
    }
    if ((entry[0] & mask(1, 1)) || (entry[1] & mask(8, 8)))
        refuse(m, "host: GPFIFO entry 0x%08x%08x has reserved bits set", entry[1], entry[0]);
    uint64_t segment = (uint64_t)(entry[1] & 0xff) << 32 | (entry[0] & ~3u);
    if (segment + (uint64_t)words * 4 >= UINT64_C(1) << 40)
        return pbdma_fault(m, c, "GPENTRY", "a segment that reaches the end of the address space",
                           segment);
    c->segment = segment | c->segment_base_ext;
    c->segment_words = words;
    c->word_get = c->word_count = 0;
    return DONE;
}

static enum outcome fetch_words(struct model *m, struct channel *c)
{
    struct violation why;
    unsigned count = c->segment_words < 128 ? c->segment_words : 128;
    if (!gpu_read(m, TLB_HUB, &c->space, c->segment, c->words, (uint64_t)count * 4, &why))
        return engine_mmu_fault(m, c, "PBDMA", &why);
    c->segment += (uint64_t)count * 4;
    c->segment_words -= count;
    c->word_get = 0;
    c->word_count = count;
    return DONE;
}

static enum outcome run_method(struct model *m, struct channel *c, uint32_t data)
{
    unsigned method = c->sequence.method, subchannel = c->sequence.subchannel;
    if (method < HOST_METHODS_END)
        return host_method(m, c, subchannel, method, data);
    return engine_method(m, c, subchannel, method, data);
}

static enum outcome run_header(struct model *m, struct channel *c, uint32_t header)
{
    unsigned op = (unsigned)bits(header, 31, 29);
    unsigned subchannel = (unsigned)bits(header, 15, 13),
             method = (unsigned)bits(header, 11, 0) * 4;
    unsigned count = (unsigned)bits(header, 28, 16);
    switch (op) {
    case SEC_OP_GRP0_USE_TERT:
        if (bits(header, 17, 16) != 0 || header == 0)
            return DONE; /* subdevice masks: there is one subdevice; 0 is a NOP */
        /* fall through */
    case SEC_OP_GRP2_USE_TERT: /* the headers of old: 11 bits of count, the method's byte address */
        if (bits(header, 17, 16) != 0)
            return pbdma_fault(m, c, "PBENTRY", "no such method header", header);
        method = (unsigned)bits(header, 12, 2) * 4;
        count = (unsigned)bits(header, 28, 18);
        op = op == SEC_OP_GRP0_USE_TERT ? SEC_OP_INC_METHOD : SEC_OP_NON_INC_METHOD;
        break;
    case SEC_OP_END_PB_SEGMENT:
        c->segment_words = 0;
        c->word_get = c->word_count;
        return DONE;
    case SEC_OP_INC_METHOD:
    case SEC_OP_NON_INC_METHOD:
    case SEC_OP_IMMD_DATA_METHOD:
    case SEC_OP_ONE_INC:
        if (header & mask(12, 12))
            return pbdma_fault(m, c, "PBENTRY", "a method header with its reserved bit set",
                               header);
        break;
    default:
        return pbdma_fault(m, c, "PBENTRY", "no such method header", header);
    }
    c->sequence.kind = op;
    c->sequence.subchannel = subchannel;
    c->sequence.method = method;
    c->sequence.left = op == SEC_OP_IMMD_DATA_METHOD ? 0 : count;
    return op == SEC_OP_IMMD_DATA_METHOD ? run_method(m, c, count) : DONE;
}

/* One word of the push buffer. When it is BUSY the word stays. */
static enum outcome run_word(struct model *m, struct channel *c)
{
    uint32_t word = c->words[c->word_get];
    bool is_data = c->sequence.left > 0;
    enum outcome outcome = is_data ? run_method(m, c, word) : run_header(m, c, word);
    if (outcome != DONE)
        return outcome;
    if (c->word_get < c->word_count)
        c->word_get++;
    if (!is_data)
        return DONE;
    c->sequence.left--;
    if (c->sequence.kind == SEC_OP_INC_METHOD)
        c->sequence.method += 4;
    if (c->sequence.kind == SEC_OP_ONE_INC) {
        c->sequence.method += 4;
        c->sequence.kind = SEC_OP_NON_INC_METHOD;
    }
    return DONE;
}

static enum outcome front_end_step(struct model *m, struct channel *c)
{
    if (c->word_get < c->word_count)
        return run_word(m, c);
    if (c->segment_words > 0)
        return fetch_words(m, c);
    return fetch_entry(m, c);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

static void read_gp_put(struct model *m, struct channel *c)
{
    uint32_t gp_put;
    c->is_rung = false;
    enum fault_mode mode;
    if (fault(m, "doorbell", &mode)) {
        if (mode == FAULT_LATE) {
            c->ready_ns = now_ns() + late_ns();
            c->is_rung = true;
        }
        return; /* else it was not heard */
    }
    if (!memory_read(m, c->is.userd_aperture, c->is.userd + USERD_GP_PUT, &gp_put, 4))
        return;
    if (gp_put >= c->is.gpfifo_entries) {
        pbdma_fault(m, c, "GPPTR", "GP_PUT lies outside the GPFIFO", gp_put);
        return;
    }
    if (gp_put == c->gp_put)
        trace(m, "host: a doorbell for channel %u without new entries", c->is.channel_id);
    c->gp_put = gp_put;
}

static bool is_waiting(const struct channel *c)
{
    return c->is_rung || c->gp_get != c->gp_put || c->word_get < c->word_count ||
           c->segment_words > 0 || !engines_are_idle(c);
}

/* Everything that a channel can do now. True: it did something. */
static bool channel_run(struct model *m, struct channel *c, uint64_t until_ns)
{
    bool has_done = false;
    if (c->ready_ns > now_ns())
        return false;
    if (c->is_rung)
        read_gp_put(m, c);
    /* Methods first, engines after: who does not wait for an engine sees that it has not run. */
    enum outcome outcome = DONE;
    for (unsigned i = 0; !c->is_dead && i < 4096 && outcome == DONE; i++) {
        outcome = front_end_step(m, c);
        has_done |= outcome == DONE;
        if (i % 64 == 63 && now_ns() >= until_ns)
            return has_done;
    }
    if (!c->is_dead && copy_step(m, c) == DONE)
        has_done = true;
    if (!c->is_dead && compute_step(m, c) == DONE)
        has_done = true;
    return has_done;
}

static bool host_slice(struct model *m, void *arg)
{
    (void)arg;
    uint64_t until_ns = now_ns() + SLICE_NS;
    bool has_done = true;
    m->host->is_inside = true;
    while (has_done && now_ns() < until_ns) {
        has_done = false;
        for (unsigned i = 0; i < CHANNELS_MAX; i++) {
            struct channel *c = m->host->channels[i];
            if (c && c->is_scheduled && !c->is_dead)
                has_done |= channel_run(m, c, until_ns);
        }
    }
    m->host->is_inside = false;
    free_leaving(m->host);
    if (has_done)
        return true;
    m->host->is_working = false;
    bool waits = false;
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        const struct channel *c = m->host->channels[i];
        waits |= c && c->is_scheduled && !c->is_dead && is_waiting(c);
    }
    if (waits &&
        !m->host->is_polling) { /* a semaphore in memory may change without anybody telling */
        m->host->is_polling = true;
        timer_add(m, POLL_NS, host_poll, NULL);
    }
    return false;
}
