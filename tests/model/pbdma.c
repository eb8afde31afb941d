/*
 * tests/model/pbdma.c: push buffers: GPFIFO entries, method headers, the host engine's own methods and semaphores.
 *
 * A GPFIFO entry names a run of push buffer words: method headers with their data. Methods below 0x100 are the host's own;
 * others go to the object bound to their subchannel. Work of the engines runs behind the methods' back: a release without
 * "wait for idle" overtakes it, as it does on hardware.
 *
 * Sources: open-gpu-doc manuals/turing/tu104/dev_pbdma.ref.txt (GP entries, NV_UDMA methods, interrupts), dev_ram.ref.txt
 * (FIFO_DMA: method headers), classes/host/clc46f.h, clc56f.h; OGKM class/clc86f.h, clc96f.h, clca6f.h, cla06fsubch.h.
 */
#include "tests/model/engines.h"

#define USERD_REF                                     (18 * 4) /* NV_RAMUSERD_REF */
#define USERD_GP_GET                                  (34 * 4) /* NV_RAMUSERD_GP_GET */

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

enum outcome pbdma_fault(struct model *m, struct channel *c, const char *interrupt,
                         const char *what, uint64_t value)
{
    refuse(m, "host: channel %u: %s: %s (0x%llx)", c->is.channel_id, interrupt, what,
           (unsigned long long)value);
    return engine_fault(m, c, RC_PBDMA, "PBDMA", "PBDMA error, %s: %s", interrupt, what);
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

bool engines_are_idle(const struct channel *c)
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

enum outcome pbdma_step(struct model *m, struct channel *c)
{
    if (c->word_get < c->word_count)
        return run_word(m, c);
    if (c->segment_words > 0)
        return fetch_words(m, c);
    return fetch_entry(m, c);
}
