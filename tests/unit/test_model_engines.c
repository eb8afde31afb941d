/*
 * tests/unit/test_model_engines.c: the device model's MMU, host, copy and compute engines, against memory of the test's own.
 *
 * What a driver would write is made by the driver's own encoders (gpu/nvidia/push.c, qmd.c): the model decodes it with
 * definitions of its own, so each checks the other. Page tables and code files are made here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "gpu/kernels/kernels.h"
#include "gpu/nvidia/push.h"
#include "gpu/nvidia/qmd.h"
#include "tests/model/engines.h"

/* ---- the machine around the engines ---------------------------------------------------------------------------- */

#define VRAM_BYTES   (64u << 20)
#define SYSTEM_BYTES (16u << 20)

static struct model model;
static uint8_t *system_memory;
static uint64_t clock_ns;
static unsigned refusals, interrupts;
static char last_refusal[256];
static struct host_fault last_fault;
static char last_fault_text[256];
static unsigned fault_events;
static bool (*work)(struct model *m, void *arg);
static void (*timer)(struct model *m, void *arg);
static const char *demanded;
static enum fault_mode demanded_mode;

void refuse(struct model *m, const char *fmt, ...)
{
    va_list list;
    va_start(list, fmt);
    vsnprintf(last_refusal, sizeof(last_refusal), fmt, list);
    va_end(list);
    refusals++;
}
void trace(struct model *m, const char *fmt, ...)
{
}
void note(struct model *m, const char *fmt, ...)
{
}
bool fault(struct model *m, const char *name, enum fault_mode *mode)
{
    if (!demanded || strcmp(name, demanded) != 0)
        return false;
    *mode = demanded_mode;
    return true;
}
uint64_t late_ns(void)
{
    return 1000000;
}
uint64_t now_ns(void)
{
    return clock_ns += 50000; /* each look at the clock takes so long: slices are short */
}
void timer_add(struct model *m, uint64_t delay_ns, void (*fn)(struct model *m, void *arg),
               void *arg)
{
    timer = fn;
}
void timer_cancel(struct model *m, void (*fn)(struct model *m, void *arg), void *arg)
{
    timer = NULL;
}
void work_add(struct model *m, bool (*slice)(struct model *m, void *arg), void *arg)
{
    assert_null(work);
    work = slice;
}
void work_cancel(struct model *m, bool (*slice)(struct model *m, void *arg), void *arg)
{
    work = NULL;
}
uint32_t reg_read(struct model *m, uint32_t reg)
{
    return reg == 0x9400 ? 0x55667788 : reg == 0x9410 ? 0x11223344 : 0;
}
void irq_raise(struct model *m, unsigned vector)
{
    interrupts |= 1u << vector;
}
void *memory_map(struct model *m, enum aperture aperture, uint64_t address, size_t bytes)
{
    uint64_t size = aperture == APERTURE_VRAM ? VRAM_BYTES : SYSTEM_BYTES;
    if (address > size || bytes > size - address)
        return NULL;
    return (aperture == APERTURE_VRAM ? model.vram : system_memory) + address;
}
bool memory_read(struct model *m, enum aperture aperture, uint64_t address, void *out, size_t bytes)
{
    const void *memory = memory_map(m, aperture, address, bytes);
    if (memory)
        memcpy(out, memory, bytes);
    return memory != NULL;
}
bool memory_write(struct model *m, enum aperture aperture, uint64_t address, const void *data,
                  size_t bytes)
{
    void *memory = memory_map(m, aperture, address, bytes);
    if (memory)
        memcpy(memory, data, bytes);
    return memory != NULL;
}
void host_fault_event(struct model *m, const struct host_fault *f)
{
    last_fault = *f;
    snprintf(last_fault_text, sizeof(last_fault_text), "%s", f->text);
    fault_events++;
}

/* Let the engines work until nothing moves. True: they came to rest before the turns were used up. */
static bool run(unsigned turns)
{
    while (turns-- > 0) {
        if (work) {
            bool (*slice)(struct model *m, void *arg) = work;
            work = NULL;
            if (slice(&model, NULL) && !work)
                work = slice;
        } else if (timer) {
            void (*fn)(struct model *m, void *arg) = timer;
            timer = NULL;
            fn(&model, NULL);
            if (work) { /* it looks at its semaphores once */
                bool (*slice)(struct model *m, void *arg) = work;
                work = NULL;
                if (slice(&model, NULL) && !work)
                    work = slice;
                if (!work && timer)
                    return false;
            }
        } else {
            return true;
        }
    }
    return false;
}

/* ---- page tables ----------------------------------------------------------------------------------------------- */

#define DIRECTORY 0x10000 /* in VRAM; tables follow, up to the 1 MiB mark */
#define INSTANCE  0x100000
#define USERD     0x102000
static uint64_t next_table;

static uint64_t *vram64(uint64_t address)
{
    return (uint64_t *)(model.vram + address);
}

/* The table that the entry points to, made when there is none. */
static uint64_t table_below(uint64_t entry_address, bool is_big)
{
    uint64_t *entry = vram64(entry_address);
    if (*entry == 0) {
        uint64_t table = next_table;
        next_table += 0x1000;
        assert_true(next_table <= INSTANCE);
        if (model.chip->mmu_version >= 3)
            *entry = table | 1 << 1;
        else
            *entry = (is_big ? table >> 8 << 4 : table >> 12 << 8) | 1 << 1;
        return table;
    }
    if (model.chip->mmu_version >= 3)
        return *entry & 0xffffffffff000;
    return is_big ? (*entry >> 4 & 0x1fffffff) << 8 : (*entry >> 8 & 0x1ffffff) << 12;
}

/* shift: 12, 16 or 21 */
static void map(uint64_t gva, enum aperture aperture, uint64_t address, unsigned shift,
                bool is_read_only)
{
    bool is_v3 = model.chip->mmu_version >= 3;
    static const unsigned v2[] = {47, 38, 29, 21}, v3[] = {56, 47, 38, 29, 21};
    static const unsigned v2_bits[] = {2, 9, 9, 8}, v3_bits[] = {1, 9, 9, 9, 8};
    unsigned count = is_v3 ? 5 : 4;
    uint64_t pte = is_v3 ? address | 6 << 8 | (is_read_only ? 1 << 5 : 0)
                         : address >> 12 << 8 | UINT64_C(6) << 56 | (is_read_only ? 1 << 6 : 0);
    pte |= (aperture == APERTURE_SYSTEM ? 2 << 1 : 0) | 1;
    uint64_t table = DIRECTORY;
    for (unsigned i = 0; i < count; i++) {
        unsigned lo = is_v3 ? v3[i] : v2[i];
        uint64_t index = gva >> lo & ((1u << (is_v3 ? v3_bits[i] : v2_bits[i])) - 1);
        uint64_t entry = table + index * (i + 1 == count ? 16 : 8);
        if (i + 1 < count) {
            table = table_below(entry, false);
        } else if (shift == 21) {
            *vram64(entry) = pte;
        } else if (shift == 16) {
            *vram64(table_below(entry, true) + (gva >> 16 & 31) * 8) = pte;
        } else {
            *vram64(table_below(entry + 8, false) + (gva >> 12 & 511) * 8) = pte;
        }
    }
}

/* ---- chips and a channel --------------------------------------------------------------------------------------- */

static const struct chip chips[] = {
    {.name = "tu102",
     .family = TURING,
     .mmu_version = 2,
     .sm = 75,
     .gpcs = 6,
     .tpcs_per_gpc = 6,
     .sms_per_tpc = 2,
     .warps_per_sm = 32,
     .compute_class = 0xc5c0,
     .copy_class = 0xc5b5,
     .channel_class = 0xc46f},
    {.name = "ga102",
     .family = AMPERE,
     .mmu_version = 2,
     .sm = 86,
     .gpcs = 7,
     .tpcs_per_gpc = 6,
     .sms_per_tpc = 2,
     .warps_per_sm = 48,
     .compute_class = 0xc7c0,
     .copy_class = 0xc7b5,
     .channel_class = 0xc56f},
    {.name = "gh100",
     .family = HOPPER,
     .mmu_version = 3,
     .sm = 90,
     .gpcs = 8,
     .tpcs_per_gpc = 9,
     .sms_per_tpc = 2,
     .warps_per_sm = 64,
     .compute_class = 0xcbc0,
     .copy_class = 0xc8b5,
     .channel_class = 0xc86f},
    {.name = "gb202",
     .family = BLACKWELL,
     .mmu_version = 3,
     .sm = 120,
     .gpcs = 12,
     .tpcs_per_gpc = 8,
     .sms_per_tpc = 2,
     .warps_per_sm = 48,
     .compute_class = 0xcec0,
     .copy_class = 0xcab5,
     .channel_class = 0xca6f},
};
#define CHIPS       (sizeof(chips) / sizeof(chips[0]))

/* Addresses of the guest: GPU virtual, a range that the address sanitizer leaves free; and where they lie. */
#define GVA         UINT64_C(0x20000000)
#define GVA_RINGS   GVA              /* VRAM, 2 MiB page: GPFIFO, push buffer, QMDs */
#define GVA_CODE    (GVA + 0x200000) /* VRAM, 64 KiB pages */
#define GVA_DATA    (GVA + 0x400000) /* system memory, 4 KiB pages, in reverse order */
#define GVA_RO      (GVA + 0x600000) /* VRAM, one read-only 4 KiB page */
#define GVA_NOWHERE (GVA + 0x40000000)
#define PA_RINGS    0x200000
#define PA_CODE     0x400000
#define PA_RO       0x600000
#define DATA_PAGES  64u
#define PUSH_AT     0x10000
#define ENTRIES     16u
#define RUNLIST     3u
#define CHANNEL     5u
#define TOKEN       (RUNLIST << 16 | CHANNEL)

static struct push push;
static unsigned gp_put;

static uint8_t *data_at(uint64_t offset) /* of GVA_DATA */
{
    return system_memory + (DATA_PAGES - 1 - offset / 4096) * 4096 + offset % 4096;
}
static uint32_t data32(uint64_t offset)
{
    uint32_t value;
    memcpy(&value, data_at(offset), 4);
    return value;
}
static uint64_t data64(uint64_t offset)
{
    uint64_t value;
    memcpy(&value, data_at(offset), 8);
    return value;
}

static void machine_start(const struct chip *chip)
{
    if (!model.vram) {
        model.vram =
            mmap(NULL, VRAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        system_memory =
            mmap(NULL, SYSTEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        model.vram_bytes = VRAM_BYTES;
    }
    memset(model.vram, 0, 0x800000);
    memset(system_memory, 0, DATA_PAGES * 4096);
    model.chip = chip;
    next_table = DIRECTORY + 0x1000;
    refusals = interrupts = fault_events = 0;
    gp_put = 0;
    push.count = 0;
    demanded = NULL;
    work = NULL;
    timer = NULL;
    assert_int_equal(mmu_init(&model), 0);
    assert_int_equal(host_init(&model), 0);
    assert_int_equal(compute_init(&model, NULL), 0);
    map(GVA_RINGS, APERTURE_VRAM, PA_RINGS, 21, false);
    for (unsigned i = 0; i < 8; i++)
        map(GVA_CODE + i * 0x10000, APERTURE_VRAM, PA_CODE + i * 0x10000, 16, false);
    for (unsigned i = 0; i < DATA_PAGES; i++)
        map(GVA_DATA + i * 4096, APERTURE_SYSTEM, (DATA_PAGES - 1 - i) * 4096, 12, false);
    map(GVA_RO, APERTURE_VRAM, PA_RO, 12, true);
}

static void machine_stop(void)
{
    host_stop(&model);
    kernels_unload();
    free(model.mmu);
    free(model.host);
    free(model.compute);
}

static void channel_add(enum engine_kind engine)
{
    struct host_channel is = {.channel_id = CHANNEL,
                              .runlist = RUNLIST,
                              .engine = engine,
                              .channel_class = model.chip->channel_class,
                              .gpfifo_gva = GVA_RINGS,
                              .gpfifo_entries = ENTRIES,
                              .instance = INSTANCE,
                              .userd = USERD,
                              .page_directory = DIRECTORY,
                              .group = 1,
                              .interrupt_vector = 7};
    assert_int_equal(host_channel_add(&model, &is), 0);
    if (engine == ENGINE_GRAPHICS)
        assert_true(host_channel_object(&model, RUNLIST, CHANNEL, model.chip->compute_class));
    assert_true(host_channel_object(&model, RUNLIST, CHANNEL, model.chip->copy_class));
    assert_false(host_channel_object(&model, RUNLIST, CHANNEL, 0xb0b5));
    host_channel_schedule(&model, RUNLIST, CHANNEL, true);
}

static void setup(const struct chip *chip, enum engine_kind engine)
{
    machine_start(chip);
    channel_add(engine);
    run(100);
}

/* Put what has been pushed into the ring and ring the doorbell. */
static void submit(void)
{
    uint64_t at = PUSH_AT + gp_put % ENTRIES * 0x1000;
    memcpy(model.vram + PA_RINGS + at, push.dword, push.count * 4);
    *vram64(PA_RINGS + gp_put % ENTRIES * 8) = push_gpfifo_entry(GVA_RINGS + at, push.count);
    gp_put++;
    uint32_t put = gp_put % ENTRIES;
    memcpy(model.vram + USERD + 0x8c, &put, 4);
    push.count = 0;
    host_doorbell(&model, TOKEN | (model.chip->sm >= 120 ? 1u << 30 : 0));
}

static void word(uint32_t value)
{
    push.dword[push.count++] = value;
}
static void method(unsigned subchannel, unsigned address, uint32_t data)
{
    word(1u << 29 | 1u << 16 | subchannel << 13 | address / 4);
    word(data);
}

static void expect_fault(uint32_t reason)
{
    assert_int_equal(fault_events, 1);
    assert_int_equal(last_fault.reason, reason);
    assert_int_equal(last_fault.channel_id, CHANNEL);
    assert_int_equal(last_fault.runlist, RUNLIST);
}

static void say(const char *text)
{
    fprintf(stderr, "%s\n", text);
}
static void no_refusals(void)
{
    if (refusals || fault_events)
        say(refusals ? last_refusal : last_fault_text);
    assert_int_equal(refusals + fault_events, 0);
}

/* ---- the MMU --------------------------------------------------------------------------------------------------- */

static const struct space space = {APERTURE_VRAM, DIRECTORY};

static void test_translation(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        machine_start(&chips[i]);
        struct translation t;
        assert_int_equal(
            mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_RINGS + 0x12345, true, &t), MMU_OK);
        assert_int_equal(t.aperture, APERTURE_VRAM);
        assert_int_equal(t.address, PA_RINGS + 0x12345);
        assert_int_equal(t.bytes, 0x200000 - 0x12345);
        assert_int_equal(
            mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_CODE + 0x1fff0, true, &t), MMU_OK);
        assert_int_equal(t.address, PA_CODE + 0x1fff0);
        assert_int_equal(t.bytes, 16);
        assert_int_equal(mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_DATA + 8, false, &t),
                         MMU_OK);
        assert_int_equal(t.aperture, APERTURE_SYSTEM);
        assert_int_equal(t.address, (DATA_PAGES - 1) * 4096 + 8);
        assert_int_equal(mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_RO, false, &t),
                         MMU_OK);
        assert_int_equal(refusals, 0);
        machine_stop();
    }
}

static void test_mmu_faults(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        machine_start(&chips[i]);
        struct translation t;
        unsigned va_bits = chips[i].mmu_version == 3 ? 57 : 49;
        assert_int_equal(mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_NOWHERE, false, &t),
                         MMU_FAULT_PDE);
        assert_int_equal(mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_RO + 4096, false, &t),
                         MMU_FAULT_PTE);
        assert_int_equal(
            mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_CODE + 0x80000, false, &t),
            MMU_FAULT_PTE);
        assert_int_equal(mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_RO, true, &t),
                         MMU_FAULT_RO_VIOLATION);
        assert_int_equal(
            mmu_translate(&model, APERTURE_VRAM, DIRECTORY, UINT64_C(1) << va_bits, false, &t),
            MMU_FAULT_VA_LIMIT);
        assert_int_equal(refusals, 0);
        /* A page that is not where its size wants it, and a reserved bit, are said aloud. */
        map(GVA + 0x800000, APERTURE_VRAM, 0x1000, 16, false);
        mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA + 0x800000, false, &t);
        assert_int_equal(refusals, 1);
        /* A small page behind an empty entry for a big one */
        map(GVA_CODE + 0x90000, APERTURE_VRAM, 0x5000, 12, false);
        assert_int_equal(
            mmu_translate(&model, APERTURE_VRAM, DIRECTORY, GVA_CODE + 0x90010, false, &t), MMU_OK);
        assert_int_equal(t.address, 0x5010);
        machine_stop();
    }
}

static void test_tlb(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        machine_start(&chips[i]);
        struct violation why;
        uint64_t bytes;
        for (unsigned tlb = 0; tlb < TLB_COUNT; tlb++)
            assert_ptr_equal(gpu_map(&model, (enum tlb)tlb, &space, GVA_CODE, false, &bytes, &why),
                             model.vram + PA_CODE);
        map(GVA_CODE, APERTURE_VRAM, 0x700000, 16, false); /* not invalidated: the old one stays */
        assert_ptr_equal(gpu_map(&model, TLB_HUB, &space, GVA_CODE, false, &bytes, &why),
                         model.vram + PA_CODE);
        mmu_invalidate(&model, APERTURE_VRAM, DIRECTORY + 0x1000, 0); /* another address space */
        assert_ptr_equal(gpu_map(&model, TLB_HUB, &space, GVA_CODE, false, &bytes, &why),
                         model.vram + PA_CODE);
        mmu_invalidate(&model, APERTURE_VRAM, DIRECTORY, 1u << 2); /* the hub's only */
        assert_ptr_equal(gpu_map(&model, TLB_HUB, &space, GVA_CODE, false, &bytes, &why),
                         model.vram + 0x700000);
        assert_ptr_equal(gpu_map(&model, TLB_GPC, &space, GVA_CODE, false, &bytes, &why),
                         model.vram + PA_CODE);
        mmu_invalidate(&model, APERTURE_VRAM, 0, 0);
        assert_ptr_equal(gpu_map(&model, TLB_GPC, &space, GVA_CODE, false, &bytes, &why),
                         model.vram + 0x700000);
        /* Across pages that do not lie side by side */
        uint8_t out[8192];
        memset(data_at(4096 - 16), 0xaa, 16);
        memset(data_at(4096), 0xbb, 16);
        assert_true(gpu_read(&model, TLB_HUB, &space, GVA_DATA + 4096 - 16, out, 32, &why));
        assert_int_equal(out[15], 0xaa);
        assert_int_equal(out[16], 0xbb);
        assert_false(gpu_write(&model, TLB_HUB, &space, GVA_DATA + (DATA_PAGES - 1) * 4096, out,
                               8192, &why));
        assert_int_equal(why.gva, GVA_DATA + DATA_PAGES * 4096);
        assert_true(why.is_write);
        machine_stop();
    }
}

/* ---- host ------------------------------------------------------------------------------------------------------ */

static void test_semaphores(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        setup(&chips[i], ENGINE_GRAPHICS);
        push_semaphore_release(&push, &(struct push_release){.gva = GVA_DATA + 16,
                                                             .value = 0x1234567890,
                                                             .payload = PUSH_PAYLOAD_64});
        push_semaphore_release(&push, &(struct push_release){.gva = GVA_DATA + 32,
                                                             .value = 77,
                                                             .payload = PUSH_PAYLOAD_32,
                                                             .timestamp = true});
        push_semaphore_acquire(&push, GVA_DATA + 64, 9, PUSH_PAYLOAD_64);
        push_semaphore_release(&push, &(struct push_release){.gva = GVA_DATA + 128, .value = 5});
        method(0, 0x20, 0); /* NON_STALL_INTERRUPT */
        submit();
        assert_false(run(1000)); /* it waits */
        assert_int_equal(data64(16), 0x1234567890);
        assert_int_equal(data64(32), 77);
        assert_int_equal(data64(40), 0x1122334455667788);
        assert_int_equal(data32(128), 0);
        uint64_t value = 8;
        memcpy(data_at(64), &value, 8);
        assert_false(run(1000)); /* one short */
        value = 10;
        memcpy(data_at(64), &value, 8);
        assert_true(run(1000));
        assert_int_equal(data32(128), 5);
        assert_int_equal(interrupts, 1u << 7);
        assert_int_equal(refusals, 0);
        assert_int_equal(fault_events, 0);
        uint32_t gp_get;
        memcpy(&gp_get, model.vram + USERD + 0x88, 4);
        assert_int_equal(gp_get, chips[i].family < BLACKWELL ? 1 : 0);
        machine_stop();
    }
}

/* A release of i + 1 to word i of the data, through headers of every form. */
static void push_forms(unsigned i)
{
    word(5u << 29 | 2u << 16 | 0x5c / 4); /* increment once: the second word goes to 0x60 */
    word((uint32_t)(GVA_DATA + i * 4));
    word((uint32_t)(GVA_DATA >> 32));
    word(3u << 29 | 2u << 16 | 0x64 / 4); /* not incrementing: the last one stays */
    word(0xbad);
    word(i + 1);
    word(0);              /* a NOP */
    word(1u << 18 | 0x8); /* incrementing, as of old: the method in bytes */
    word(0);
    word(4u << 29 | 1u << 16 | 0x6c / 4); /* immediate: release */
    if (i % 2) {
        word(7u << 29); /* the segment ends here: what follows is not looked at */
        word(6u << 29);
    }
}

/* Every header form, and entries that wrap around the FIFO's end. */
static void test_push_buffer(void **state)
{
    setup(&chips[1], ENGINE_GRAPHICS);
    for (unsigned i = 0; i < 3 * ENTRIES; i++) {
        push_forms(i);
        submit();
        assert_true(run(1000));
        assert_int_equal(data32(i * 4), i + 1);
    }
    no_refusals();
    machine_stop();
}

static void expect_pbdma_fault(const char *what)
{
    submit();
    run(1000);
    expect_fault(32);
    if (!strstr(last_fault_text, what))
        fail_msg("%s, not %s", last_fault_text, what);
    assert_true(refusals > 0);
    machine_stop();
}

static void test_host_refusals(void **state)
{
    setup(&chips[1], ENGINE_GRAPHICS);
    method(0, 0x5c, (uint32_t)GVA_DATA + 4);
    method(0, 0x60, (uint32_t)(GVA_DATA >> 32));
    method(0, 0x6c, 1 | 1u << 24); /* 64 bits at an address of 4 */
    expect_pbdma_fault("SEMAPHORE");
    setup(&chips[1], ENGINE_GRAPHICS);
    method(0, 0x60, 0x100); /* bit 40 */
    method(0, 0x6c, 1);
    expect_pbdma_fault("SEMAPHORE");
    setup(&chips[1], ENGINE_GRAPHICS);
    word(6u << 29);
    expect_pbdma_fault("PBENTRY");
    setup(&chips[1], ENGINE_GRAPHICS);
    method(0, 0x4, 0);
    expect_pbdma_fault("METHOD");
    setup(&chips[1], ENGINE_GRAPHICS);
    push_set_object(&push, 1, chips[1].copy_class); /* a copy object belongs on subchannel 4 */
    expect_pbdma_fault("DEVICE");

    setup(&chips[1], ENGINE_GRAPHICS);
    push_set_object(&push, 1, 0xc6c0); /* another chip's class */
    submit();
    run(1000);
    expect_fault(69);
    machine_stop();

    setup(&chips[1], ENGINE_GRAPHICS); /* GP_PUT past the end */
    uint32_t put = ENTRIES;
    memcpy(model.vram + USERD + 0x8c, &put, 4);
    host_doorbell(&model, TOKEN);
    run(100);
    expect_fault(32);
    machine_stop();

    setup(&chips[1], ENGINE_GRAPHICS); /* a doorbell of nobody */
    host_doorbell(&model, TOKEN + 1);
    assert_int_equal(refusals, 1);
    machine_stop();

    setup(&chips[1], ENGINE_GRAPHICS); /* a push buffer that is not mapped */
    *vram64(PA_RINGS) = push_gpfifo_entry(GVA_NOWHERE, 4);
    put = 1;
    memcpy(model.vram + USERD + 0x8c, &put, 4);
    host_doorbell(&model, TOKEN);
    run(100);
    expect_fault(31);
    assert_int_equal(last_fault.gva, GVA_NOWHERE);
    assert_int_equal(last_fault.mmu, MMU_FAULT_PDE);
    assert_string_equal(last_fault.client, "PBDMA");
    machine_stop();

    machine_start(&chips[1]);
    struct host_channel bad = {.channel_class = 0xc46f, .gpfifo_entries = 16};
    assert_true(host_channel_add(&model, &bad) < 0);
    bad.channel_class = chips[1].channel_class;
    bad.gpfifo_entries = 17;
    assert_true(host_channel_add(&model, &bad) < 0);
    machine_stop();
}

/* ---- copies ---------------------------------------------------------------------------------------------------- */

static void fill_pattern(uint8_t *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        memory[i] = (uint8_t)(i * 7 + i / 251);
}

static void test_copy(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        setup(&chips[i], ENGINE_COPY);
        uint8_t *vram = model.vram + PA_CODE;
        fill_pattern(vram, 100000);
        push_set_object(&push, PUSH_SUBCHANNEL_COPY, chips[i].copy_class);
        push_copy(&push, &(struct push_copy){.src_gva = GVA_CODE + 3,
                                             .dst_gva = GVA_DATA + 5,
                                             .row_bytes = 70001,
                                             .rows = 1});
        push_copy(&push, &(struct push_copy){.src_gva = GVA_CODE,
                                             .dst_gva = GVA_DATA + 0x20000,
                                             .src_pitch = 1000,
                                             .dst_pitch = 300,
                                             .row_bytes = 257,
                                             .rows = 31});
        push_fill(&push, GVA_DATA + 0x30004, 5000, 0xdeadbeef);
        bool has_64 = chips[i].family != TURING;
        if (has_64)
            push_copy_release(&push, GVA_DATA + 0x3f000, 0x100000001);
        else
            push_semaphore_release(&push, &(struct push_release){.gva = GVA_DATA + 0x3f000,
                                                                 .value = 0x100000001,
                                                                 .payload = PUSH_PAYLOAD_64,
                                                                 .wait_idle = true});
        submit();
        assert_true(run(10000));
        if (refusals)
            fail_msg("%s", last_refusal);
        for (unsigned at = 0; at < 70001; at++)
            assert_int_equal(*data_at(5 + at), vram[3 + at]);
        for (unsigned row = 0; row < 31; row++)
            for (unsigned at = 0; at < 257; at++)
                assert_int_equal(*data_at(0x20000 + row * 300 + at), vram[row * 1000 + at]);
        assert_int_equal(data32(0x30000), 0);
        for (unsigned at = 0; at < 5000; at++)
            assert_int_equal(data32(0x30004 + at * 4), 0xdeadbeef);
        assert_int_equal(data32(0x30004 + 5000 * 4), 0);
        assert_int_equal(data64(0x3f000), 0x100000001);
        assert_int_equal(fault_events, 0);
        machine_stop();
    }
}

static void test_copy_faults(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        setup(&chips[i], ENGINE_COPY);
        push_set_object(&push, 4, chips[i].copy_class);
        push_copy(&push, &(struct push_copy){
                             .src_gva = GVA_CODE, .dst_gva = GVA_RO, .row_bytes = 64, .rows = 1});
        submit();
        run(1000);
        expect_fault(31);
        assert_int_equal(last_fault.mmu, MMU_FAULT_RO_VIOLATION);
        assert_int_equal(last_fault.gva, GVA_RO);
        assert_true(last_fault.is_write);
        assert_string_equal(last_fault.client, "CE0");
        machine_stop();

        setup(&chips[i], ENGINE_COPY); /* physical mode */
        push_set_object(&push, 4, chips[i].copy_class);
        method(4, 0x418, 64);
        method(4, 0x41c, 1);
        method(4, 0x300, 2 | 1u << 7 | 1u << 8 | 1u << 13);
        submit();
        run(1000);
        expect_fault(39);
        assert_true(refusals > 0);
        machine_stop();
    }
    setup(&chips[0], ENGINE_COPY); /* Turing's copy engines have no payload of 64 bits */
    push_set_object(&push, 4, chips[0].copy_class);
    push_copy_release(&push, GVA_DATA, 1);
    submit();
    run(1000);
    expect_fault(39);
    machine_stop();
}

/* ---- compute --------------------------------------------------------------------------------------------------- */

#define TEXT_BYTES 384
struct file_writer {
    uint8_t bytes[16384];
    uint32_t size;
};
static void append(struct file_writer *w, const void *data, size_t bytes)
{
    assert_true(w->size + bytes <= sizeof(w->bytes));
    memcpy(w->bytes + w->size, data, bytes);
    w->size += (uint32_t)bytes;
}

/* A cubin with one kernel, `name`, of made-up code: instruction 2 has a relocation. Returns its path. */
static const char *write_cubin(const char *name, uint32_t sm, uint32_t args_offset,
                               uint32_t args_bytes)
{
    static char path[64];
    struct file_writer w = {.size = 64};
    enum { NAMES = 1, STRINGS, SYMBOLS, INFO, KERNEL_INFO, TEXT, RELA, CONSTANT0, COUNT };
    static const char *const prefixes[] = {"",        ".shstrtab",   ".strtab",
                                           ".symtab", ".nv.info",    ".nv.info.",
                                           ".text.",  ".rela.text.", ".nv.constant0."};
    static const uint32_t types[] = {0, 3, 3, 2, 0x70000000, 0x70000000, 1, 4, 1};
    uint32_t offset[COUNT] = {0}, size[COUNT] = {0}, name_at[COUNT] = {0};
    offset[NAMES] = w.size;
    append(&w, "", 1);
    for (unsigned i = 1; i < COUNT; i++) {
        char full[64];
        bool is_of_kernel = i >= KERNEL_INFO;
        snprintf(full, sizeof(full), "%s%s", prefixes[i], is_of_kernel ? name : "");
        name_at[i] = w.size - offset[NAMES];
        append(&w, full, strlen(full) + 1);
    }
    size[NAMES] = w.size - offset[NAMES];
    offset[STRINGS] = w.size;
    append(&w, "", 1);
    append(&w, name, strlen(name) + 1);
    size[STRINGS] = w.size - offset[STRINGS];
    w.size = (w.size + 7) & ~7u;
    offset[SYMBOLS] = w.size;
    uint8_t symbols[48] = {0};
    symbols[24] = 1; /* st_name */
    symbols[24 + 6] = TEXT;
    append(&w, symbols, 48);
    size[SYMBOLS] = 48;
    offset[INFO] = w.size;
    append(&w, (const uint32_t[]){0x00082f04, 1, 24, 0x00081204, 1, 0},
           24); /* REGCOUNT 24, MIN_STACK_SIZE 0 */
    size[INFO] = 24;
    offset[KERNEL_INFO] = w.size;
    append(&w, (const uint32_t[]){0x00080a04, 0, args_offset | args_bytes << 16},
           12); /* PARAM_CBANK */
    size[KERNEL_INFO] = 12;
    w.size = (w.size + 127) & ~127u;
    offset[TEXT] = w.size;
    for (uint32_t i = 0; i < TEXT_BYTES / 4; i++) {
        uint32_t value = (i + 1) * 2654435761u ^ (uint32_t)name[0] << 24 ^ (uint32_t)strlen(name);
        append(&w, &value, 4);
    }
    size[TEXT] = TEXT_BYTES;
    offset[RELA] = w.size;
    append(&w, (const uint64_t[]){36, 1ull << 32 | 0x38, 0}, 24);
    size[RELA] = 24;
    offset[CONSTANT0] = w.size;
    static const uint8_t zeros[2048];
    append(&w, zeros, args_offset + args_bytes);
    size[CONSTANT0] = args_offset + args_bytes;
    w.size = (w.size + 7) & ~7u;
    uint64_t table = w.size;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t link = i == SYMBOLS ? STRINGS
                        : i == RELA  ? SYMBOLS
                                     : 0,
                 info = i == RELA ? TEXT : 0;
        append(&w, (const uint32_t[]){name_at[i], types[i]}, 8);
        append(&w, (const uint64_t[]){0, 0, offset[i], size[i]}, 32);
        append(&w, (const uint32_t[]){link, info}, 8);
        append(&w, (const uint64_t[]){8, i == SYMBOLS || i == RELA ? 24 : 0}, 16);
    }
    uint8_t header[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1, 0x41, 8};
    memcpy(header + 16, (const uint16_t[]){2, 190}, 4);
    memcpy(header + 40, &table, 8);
    memcpy(header + 48, (const uint32_t[]){sm << 8}, 4);
    memcpy(header + 52, (const uint16_t[]){64, 0, 0, 64, COUNT, NAMES}, 12);
    memcpy(w.bytes, header, 64);
    snprintf(path, sizeof(path), "/tmp/test_model_engines.%d", getpid());
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(w.bytes, 1, w.size, file), w.size);
    fclose(file);
    return path;
}

#define SHARED_WINDOW UINT64_C(0x729400000000)
#define LOCAL_WINDOW  UINT64_C(0x729300000000)
#define QMD_AT        0x40000 /* in the rings */
#define BANK_AT       0x40200
static const enum qmd_version versions[CHIPS] = {QMD_V2, QMD_V3, QMD_V4, QMD_V5};

/* A chip with a compute channel, code at GVA_CODE as a loader would leave it. */
static void setup_compute(unsigned chip, const char *kernel, uint32_t args_bytes)
{
    uint32_t args_offset = chips[chip].family == BLACKWELL ? 0x380 : 0x160;
    setup(&chips[chip], ENGINE_GRAPHICS);
    const char *path = write_cubin(kernel, chips[chip].sm, args_offset, args_bytes);
    assert_int_equal(kernels_load(&model, path), 0);
    unlink(path);
    assert_int_equal(kernels_count(), 1);
    const struct code *code = kernels_get(0);
    assert_string_equal(code->name, kernel);
    memcpy(model.vram + PA_CODE, code->text, code->text_bytes);
    memset(model.vram + PA_CODE + 36, 0x5a, 8); /* what a relocation writes */
}

struct launch {
    uint32_t grid, block;
    const void *args;
    uint32_t args_bytes;
    unsigned slot;
};

/* Bank 0 and QMD as queue.c of the driver writes them; the QMD is left open in out. */
static void prepare(unsigned chip, const struct launch *l, uint32_t *out)
{
    bool is_blackwell = chips[chip].family == BLACKWELL;
    uint32_t args_offset = is_blackwell ? 0x380 : 0x160;
    uint8_t *bank = model.vram + PA_RINGS + BANK_AT + l->slot * 0x800;
    const uint32_t block[] = {l->block, 1, 1}, grid[] = {l->grid, 1, 1};
    const uint64_t window[] = {SHARED_WINDOW, LOCAL_WINDOW};
    memset(bank, 0, 0x600);
    memcpy(bank + (is_blackwell ? 0x360 : 0), block, 12);
    memcpy(bank + (is_blackwell ? 0x370 : 0xc), grid, 12);
    memcpy(bank + (is_blackwell ? 0x2f0 : 0x18), window, 16);
    memcpy(bank + args_offset, l->args, l->args_bytes);
    qmd_program_encode(
        &(struct qmd_program){.version = versions[chip],
                              .program_gva = GVA_CODE,
                              .program_bytes = TEXT_BYTES,
                              .sass_version =
                                  chip == 3 ? 0xa4 : chips[chip].sm / 10 * 16 + chips[chip].sm % 10,
                              .register_count = 24,
                              .barrier_count = 1,
                              .shared_config_max_kib = chip == 0 ? 64 : 100},
        out);
    qmd_launch_encode(versions[chip],
                      &(struct qmd_launch){.grid = {l->grid, 1, 1},
                                           .block = {l->block, 1, 1},
                                           .shared_bytes = chip == 0 ? 0 : 1024,
                                           .shared_min_kib = chip == 0 ? 32 : 8,
                                           .shared_target_kib = chip == 0 ? 32 : 8,
                                           .constant_gva = GVA_RINGS + BANK_AT + l->slot * 0x800,
                                           .constant_bytes = args_offset + l->args_bytes},
                      out);
}

static uint64_t qmd_gva(unsigned slot)
{
    return GVA_RINGS + QMD_AT + slot * 0x800;
}
static void place(unsigned slot, const uint32_t *qmd)
{
    memcpy(model.vram + PA_RINGS + QMD_AT + slot * 0x800, qmd, QMD_DWORDS_MAX * 4);
}
static void begin(unsigned chip)
{
    push_compute_setup(&push, &(struct push_compute_setup){.class_id = chips[chip].compute_class,
                                                           .shared_window_gva = SHARED_WINDOW,
                                                           .local_window_gva = LOCAL_WINDOW});
    push_invalidate_shader_caches(&push);
}

/* fill with a release: in the QMD where it has them, by the host engine on Turing. */
static void test_launch(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        setup_compute(i, "fill", sizeof(struct fill_args));
        struct fill_args args = {(uint32_t *)(GVA_DATA + 8), 30000, 0xc0ffee00 + i};
        uint32_t qmd[QMD_DWORDS_MAX] = {0};
        prepare(i, &(struct launch){2, 256, &args, sizeof(args), 0}, qmd);
        begin(i);
        push_launch(&push, versions[i], qmd_gva(0));
        if (i > 0)
            qmd_release_encode(versions[i], qmd, 0, GVA_DATA + 0x3f000, 0x700000007);
        else
            push_semaphore_release(&push, &(struct push_release){.gva = GVA_DATA + 0x3f000,
                                                                 .value = 0x700000007,
                                                                 .payload = PUSH_PAYLOAD_64,
                                                                 .wait_idle = true});
        /* What does not wait runs before the grid has written anything. */
        push_semaphore_release(&push,
                               &(struct push_release){.gva = GVA_DATA + 0x3f010, .value = 1});
        place(0, qmd);
        submit();
        assert_true(run(10000));
        no_refusals();
        assert_int_equal(data64(0), 0);
        for (unsigned at = 0; at < 30000; at++)
            assert_int_equal(data32(8 + at * 4), args.pattern);
        assert_int_equal(data32(8 + 30000 * 4), 0);
        assert_int_equal(data64(0x3f000), 0x700000007);
        assert_int_equal(data32(0x3f010), 1);
        machine_stop();
    }
}

/* saxpy twice: the second hangs on the first, and sees what it wrote. */
static void test_dependent(void **state)
{
    for (unsigned i = 1; i < CHIPS; i++) {
        setup_compute(i, "saxpy", sizeof(struct saxpy_args));
        struct saxpy_args args = {(float *)(GVA_DATA), (float *)(GVA_DATA + 0x10000), 100, 2.0f};
        struct saxpy_args again = {(float *)(GVA_DATA + 0x10000), (float *)(GVA_DATA + 0x20000),
                                   100, 3.0f};
        for (unsigned at = 0; at < 100; at++) {
            float value = (float)at;
            memcpy(data_at(at * 4), &value, 4);
        }
        uint32_t first[QMD_DWORDS_MAX] = {0}, second[QMD_DWORDS_MAX] = {0};
        prepare(i, &(struct launch){1, 64, &args, sizeof(args), 0}, first);
        prepare(i, &(struct launch){1, 64, &again, sizeof(again), 1}, second);
        qmd_set(versions[i], first, QMD_DEPENDENT_QMD0_POINTER, 0, qmd_gva(1) >> 8);
        qmd_set(versions[i], first, QMD_DEPENDENT_QMD0_ACTION, 0, 1);
        qmd_set(versions[i], first, QMD_DEPENDENT_QMD0_PREFETCH, 0, 1);
        qmd_set(versions[i], first, QMD_DEPENDENT_QMD0_ENABLE, 0, 1);
        qmd_release_encode(versions[i], second, 0, GVA_DATA + 0x3f000, 1);
        qmd_release_encode(versions[i], second, 1, GVA_DATA + 0x3f008, 2);
        place(0, first);
        place(1, second);
        begin(i);
        push_launch(&push, versions[i], qmd_gva(0));
        submit();
        assert_true(run(10000));
        no_refusals();
        float last;
        memcpy(&last, data_at(0x20000 + 99 * 4), 4);
        assert_true(last == 594.0f);
        assert_int_equal(data64(0x3f000), 1);
        assert_int_equal(data64(0x3f008), 2);
        machine_stop();
    }
}

/* Runs one launch of fill that is to go wrong. */
static void launch_wrong(unsigned chip, const struct fill_args *args,
                         void (*change)(unsigned chip, uint32_t *qmd))
{
    setup_compute(chip, "fill", sizeof(*args));
    uint32_t qmd[QMD_DWORDS_MAX] = {0};
    prepare(chip, &(struct launch){1, 256, args, sizeof(*args), 0}, qmd);
    if (change)
        change(chip, qmd);
    place(0, qmd);
    begin(chip);
    push_launch(&push, versions[chip], qmd_gva(0));
    submit();
    run(10000);
}

static void test_shader_faults(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        struct fill_args nowhere = {(uint32_t *)GVA_NOWHERE, 4, 1};
        launch_wrong(i, &nowhere, NULL);
        expect_fault(31);
        assert_int_equal(last_fault.gva, GVA_NOWHERE);
        assert_int_equal(last_fault.mmu, MMU_FAULT_PDE);
        assert_true(last_fault.is_write);
        machine_stop();
        struct fill_args read_only = {(uint32_t *)GVA_RO, 4, 1};
        launch_wrong(i, &read_only, NULL);
        expect_fault(31);
        assert_int_equal(last_fault.mmu, MMU_FAULT_RO_VIOLATION);
        machine_stop();
        struct fill_args past = {(uint32_t *)(GVA_DATA + DATA_PAGES * 4096 - 64), 17, 1};
        launch_wrong(i, &past, NULL);
        expect_fault(31);
        assert_int_equal(last_fault.gva, GVA_DATA + DATA_PAGES * 4096);
        assert_int_equal(data32(DATA_PAGES * 4096 - 4), 1); /* what lay before it was written */
        machine_stop();
    }
}

static void bad_reserved(unsigned chip, uint32_t *qmd)
{
    qmd[0] |=
        1u << 5; /* version 2 and 3: OUTER_PUT; 4: the dependence counter; 5: the hardware's own */
}
static void bad_version(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_MINOR_VERSION, 0, 1);
}
static void bad_bank(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_CONSTANT_BUFFER_VALID, 0, 0);
}
static void bad_registers(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_REGISTER_COUNT, 0, 16);
}
static void bad_grid(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_GRID_WIDTH, 0, 2); /* bank 0 says 1 */
}
static void bad_block(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_CTA_THREAD_DIMENSION0, 0, 1025);
}
static void bad_program(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_PROGRAM_ADDRESS, 0,
            GVA_CODE + 128); /* in the middle of the code */
    qmd_set(versions[chip], qmd, QMD_PROGRAM_PREFETCH_SIZE, 0, 0);
}
static void bad_split(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_MIN_SM_CONFIG_SHARED_MEM_SIZE, 0, 20 / 4 + 1);
}
static void bad_sass(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_SASS_VERSION, 0, 0x70);
}

static void test_qmd_refusals(void **state)
{
    static void (*const changes[])(unsigned chip, uint32_t *qmd) = {
        bad_reserved, bad_version, bad_bank,  bad_registers, bad_grid,
        bad_block,    bad_program, bad_split, bad_sass};
    struct fill_args args = {(uint32_t *)GVA_DATA, 4, 1};
    for (unsigned i = 0; i < CHIPS; i++)
        for (unsigned c = 0; c < sizeof(changes) / sizeof(changes[0]); c++) {
            launch_wrong(i, &args, changes[c]);
            if (fault_events != 1 || refusals == 0)
                fail_msg("%s, change %u: %u faults, %u refusals", chips[i].name, c, fault_events,
                         refusals);
            expect_fault(13);
            assert_int_equal(data32(0), 0);
            machine_stop();
        }
}

/* Code that changes at an address is run only after the instruction caches have been invalidated. */
static void test_instruction_cache(void **state)
{
    struct fill_args args = {(uint32_t *)GVA_DATA, 4, 1};
    launch_wrong(1, &args, NULL);
    no_refusals();
    memset(model.vram + PA_CODE, 0, TEXT_BYTES);
    args.pattern = 2;
    uint32_t qmd[QMD_DWORDS_MAX] = {0};
    prepare(1, &(struct launch){1, 256, &args, sizeof(args), 1}, qmd);
    place(1, qmd);
    push_launch(&push, versions[1], qmd_gva(1));
    submit();
    assert_true(run(10000));
    no_refusals(); /* stale code */
    assert_int_equal(data32(0), 2);
    push_invalidate_shader_caches(&push);
    push_launch(&push, versions[1], qmd_gva(1));
    submit();
    run(10000);
    expect_fault(13);
    machine_stop();
}

/* A kernel that never ends: the engines go on between slices, and the channel can be taken away. */
static void test_endless(void **state)
{
    setup_compute(1, "fill", sizeof(struct fill_args));
    struct fill_args args = {(uint32_t *)GVA_DATA, 64, 3};
    uint32_t qmd[QMD_DWORDS_MAX] = {0};
    prepare(1, &(struct launch){0x7fffffff, 256, &args, sizeof(args), 0}, qmd);
    place(0, qmd);
    begin(1);
    push_launch(&push, versions[1], qmd_gva(0));
    push_semaphore_release(
        &push, &(struct push_release){.gva = GVA_DATA + 0x3f000, .value = 1, .wait_idle = true});
    submit();
    assert_false(run(50));
    assert_int_equal(data32(0), 3);
    assert_int_equal(data32(0x3f000), 0);
    host_channel_remove(&model, RUNLIST, CHANNEL);
    assert_true(run(50));

    gp_put = 0; /* and the next channel's grid runs */
    memset(model.vram + USERD, 0, 512);
    channel_add(ENGINE_GRAPHICS);
    args.pattern = 4;
    prepare(1, &(struct launch){1, 256, &args, sizeof(args), 0}, qmd);
    place(0, qmd);
    begin(1);
    push_launch(&push, versions[1], qmd_gva(0));
    submit();
    assert_true(run(1000));
    no_refusals();
    assert_int_equal(data32(0), 4);
    machine_stop();
}

/* While one channel's grid does not end, another channel's does. */
static void test_two_channels(void **state)
{
    setup_compute(1, "fill", sizeof(struct fill_args));
    struct fill_args args = {(uint32_t *)GVA_DATA, 64, 3};
    uint32_t qmd[QMD_DWORDS_MAX] = {0};
    prepare(1, &(struct launch){0x7fffffff, 256, &args, sizeof(args), 0}, qmd);
    place(0, qmd);
    begin(1);
    push_launch(&push, versions[1], qmd_gva(0));
    submit();
    assert_false(run(20));

    struct host_channel other = {.channel_id = CHANNEL + 1,
                                 .runlist = RUNLIST,
                                 .engine = ENGINE_GRAPHICS,
                                 .channel_class = model.chip->channel_class,
                                 .gpfifo_gva = GVA_RINGS + 0x80000,
                                 .gpfifo_entries = ENTRIES,
                                 .instance = INSTANCE + 0x1000,
                                 .userd = USERD + 512,
                                 .page_directory = DIRECTORY,
                                 .group = 1};
    assert_int_equal(host_channel_add(&model, &other), 0);
    assert_true(host_channel_object(&model, RUNLIST, CHANNEL + 1, model.chip->compute_class));
    host_channel_schedule(&model, RUNLIST, CHANNEL + 1, true);
    args = (struct fill_args){(uint32_t *)(GVA_DATA + 4096), 64, 4};
    memset(qmd, 0, sizeof(qmd));
    prepare(1, &(struct launch){1, 256, &args, sizeof(args), 1}, qmd);
    qmd_release_encode(versions[1], qmd, 0, GVA_DATA + 0x3f000, 1);
    place(1, qmd);
    begin(1);
    push_launch(&push, versions[1], qmd_gva(1));
    memcpy(model.vram + PA_RINGS + 0x90000, push.dword, push.count * 4);
    *vram64(PA_RINGS + 0x80000) = push_gpfifo_entry(GVA_RINGS + 0x90000, push.count);
    push.count = 0;
    model.vram[USERD + 512 + 0x8c] = 1;
    host_doorbell(&model, TOKEN + 1);
    assert_false(run(20));
    assert_int_equal(data64(0x3f000), 1);
    assert_int_equal(data32(4096), 4);
    no_refusals();

    host_channel_remove(&model, RUNLIST, CHANNEL + 1);
    assert_false(run(20)); /* the first one goes on */
    machine_stop();
}

/* A mapping that changes is seen by shaders after an invalidation, not before. */
static void test_shader_tlb(void **state)
{
    struct fill_args args = {(uint32_t *)GVA_DATA, 4, 1};
    launch_wrong(1, &args, NULL);
    no_refusals();
    map(GVA_DATA, APERTURE_VRAM, 0x700000, 12, false);
    args.pattern = 2;
    for (unsigned turn = 0; turn < 2; turn++) {
        uint32_t qmd[QMD_DWORDS_MAX] = {0};
        prepare(1, &(struct launch){1, 256, &args, sizeof(args), 1}, qmd);
        place(1, qmd);
        push_launch(&push, versions[1], qmd_gva(1));
        submit();
        assert_true(run(10000));
        no_refusals();
        assert_int_equal(*(uint32_t *)(model.vram + 0x700000), turn == 0 ? 0 : 2);
        assert_int_equal(data32(0), 2); /* turn 0 wrote there */
        mmu_invalidate(&model, APERTURE_VRAM, DIRECTORY, 0);
    }
    machine_stop();
}

/* sgemm with the GPU's tiles, all of a block's threads, against sums here. */
static void test_sgemm(void **state)
{
    enum { M = 130, N = 150, K = 70 };
    for (unsigned i = 1; i < CHIPS; i++) {
        setup_compute(i, "sgemm", sizeof(struct sgemm_args));
        float *a = (float *)(model.vram + PA_CODE + 0x10000), *b = a + M * K, *c = b + K * N;
        uint64_t gva = GVA_CODE + 0x10000;
        for (unsigned at = 0; at < M * K; at++)
            a[at] = (float)(at * 13 % 17) - 8;
        for (unsigned at = 0; at < K * N; at++)
            b[at] = (float)(at * 7 % 11) - 5;
        struct sgemm_args args = {.a = (float *)gva,
                                  .b = (float *)(gva + M * K * 4),
                                  .c = (float *)(gva + (M * K + K * N) * 4),
                                  .a_row = K,
                                  .a_column = 1,
                                  .b_row = N,
                                  .b_column = 1,
                                  .c_row = N,
                                  .m = M,
                                  .n = N,
                                  .k = K};
        uint32_t qmd[QMD_DWORDS_MAX] = {0};
        prepare(i, &(struct launch){2, 256, &args, sizeof(args), 0}, qmd);
        qmd_set(versions[i], qmd, QMD_GRID_HEIGHT, 0, 2);
        model.vram[PA_RINGS + BANK_AT + (chips[i].family == BLACKWELL ? 0x374 : 0x10)] = 2;
        place(0, qmd);
        begin(i);
        push_launch(&push, versions[i], qmd_gva(0));
        submit();
        assert_true(run(10000));
        no_refusals();
        for (unsigned row = 0; row < M; row++)
            for (unsigned column = 0; column < N; column++) {
                float sum = 0;
                for (unsigned k = 0; k < K; k++)
                    sum += a[row * K + k] * b[k * N + column];
                assert_true(sum == c[row * N + column]); /* small whole numbers: exact */
            }
        machine_stop();
    }
}

static void test_inline(void **state)
{
    setup(&chips[1], ENGINE_GRAPHICS);
    push_set_object(&push, 1, chips[1].compute_class);
    method(1, 0x180, 6); /* two lines of 6 bytes, 16 apart */
    method(1, 0x184, 2);
    method(1, 0x188, (uint32_t)(GVA_DATA >> 32));
    method(1, 0x18c, (uint32_t)GVA_DATA);
    method(1, 0x190, 16);
    method(1, 0x1dc, (uint32_t)(GVA_DATA >> 32));
    method(1, 0x1e0, (uint32_t)GVA_DATA + 0x100);
    method(1, 0x1e4, 42);
    method(1, 0x1b0, 1 | 2u << 4 | 1u << 12);
    word(3u << 29 | 4u << 16 | 1u << 13 | 0x1b4 / 4);
    word(0x44332211);
    word(0xffff6655);
    word(0x88776655);
    word(0xffffaa99);
    submit();
    assert_true(run(1000));
    no_refusals();
    assert_int_equal(data64(0), 0x665544332211);
    assert_int_equal(data64(16), 0xaa9988776655);
    assert_int_equal(data32(0x100), 42);
    machine_stop();
}

/* Reports of the compute class: the old method on every chip, the new one from GA10x on. */
static void test_reports(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        setup(&chips[i], ENGINE_GRAPHICS);
        push_set_object(&push, 1, chips[i].compute_class);
        method(1, 0x1b00, (uint32_t)(GVA_DATA >> 32));
        method(1, 0x1b04, (uint32_t)GVA_DATA + 0x20);
        method(1, 0x1b08, 1234);
        method(1, 0x1b0c, 1u << 28); /* release of one word */
        method(1, 0x1b04, (uint32_t)GVA_DATA + 0x40);
        method(1, 0x1b0c, 0); /* four words */
        if (i > 0) {
            method(1, 0x158, 0x89abcdef);
            method(1, 0x15c, 0x01234567);
            method(1, 0x160, (uint32_t)GVA_DATA + 0x68);
            method(1, 0x164, (uint32_t)(GVA_DATA >> 32));
            method(1, 0x168, 2u << 3 | 1u << 12); /* two words, payload of 64 bits */
        }
        submit();
        assert_true(run(1000));
        no_refusals();
        assert_int_equal(data64(0x20), 1234);
        assert_int_equal(data64(0x28), 0);
        assert_int_equal(data64(0x40), 1234);
        assert_int_equal(data64(0x48), 0x1122334455667788);
        assert_int_equal(data64(0x68), i > 0 ? 0x0123456789abcdef : 0);
        machine_stop();
    }
}

/* TLB invalidation by a channel: MEM_OP_A to D, of one page directory; and the semaphores of old. */
static void test_mem_op(void **state)
{
    setup(&chips[1], ENGINE_GRAPHICS);
    struct violation why;
    uint64_t bytes;
    gpu_map(&model, TLB_HUB, &space, GVA_CODE, false, &bytes, &why);
    map(GVA_CODE, APERTURE_VRAM, 0x700000, 16, false);
    method(0, 0x10, (uint32_t)(GVA_DATA >> 32)); /* SEMAPHOREA to D: release, 4 bytes */
    method(0, 0x14, (uint32_t)GVA_DATA + 4);
    method(0, 0x18, 99);
    method(0, 0x1c, 2 | 1u << 20 | 1u << 24);
    method(0, 0x1c, 1); /* acquire: equal */
    method(0, 0x28, 0);
    method(0, 0x2c, 0);
    method(0, 0x30, DIRECTORY + 0x1000); /* another address space's */
    method(0, 0x34, 9u << 27);
    submit();
    assert_true(run(1000));
    assert_int_equal(data32(4), 99);
    assert_ptr_equal(gpu_map(&model, TLB_HUB, &space, GVA_CODE, false, &bytes, &why),
                     model.vram + PA_CODE);
    method(0, 0x30, DIRECTORY);
    method(0, 0x34, 9u << 27);
    submit();
    assert_true(run(1000));
    assert_ptr_equal(gpu_map(&model, TLB_HUB, &space, GVA_CODE, false, &bytes, &why),
                     model.vram + 0x700000);
    no_refusals();
    machine_stop();
}

/* Elements of three 16-bit components made of two: (y, constant, x). */
static void test_remap(void **state)
{
    for (unsigned i = 0; i < CHIPS; i++) {
        setup(&chips[i], ENGINE_COPY);
        uint16_t *in = (uint16_t *)(model.vram + PA_CODE);
        for (unsigned at = 0; at < 2000; at++)
            in[at] = (uint16_t)at;
        push_set_object(&push, 4, chips[i].copy_class);
        method(4, 0x400, (uint32_t)(GVA_CODE >> 32));
        method(4, 0x404, (uint32_t)GVA_CODE);
        method(4, 0x408, (uint32_t)(GVA_DATA >> 32));
        method(4, 0x40c, (uint32_t)GVA_DATA + 2);
        method(4, 0x418, 1000); /* 6000 bytes: an element lies across the first page's end */
        method(4, 0x41c, 1);
        method(4, 0x700, 0xabcd);
        method(4, 0x708, 1 | 4u << 4 | 0u << 8 | 6u << 12 | 1u << 16 | 1u << 20 | 2u << 24);
        method(4, 0x300, 2 | 1u << 7 | 1u << 8 | 1u << 10);
        submit();
        assert_true(run(1000));
        no_refusals();
        for (unsigned at = 0; at < 1000; at++) {
            uint16_t out[3];
            for (unsigned part = 0; part < 3; part++)
                memcpy(&out[part], data_at(2 + at * 6 + part * 2), 2);
            assert_int_equal(out[0], at * 2 + 1);
            assert_int_equal(out[1], 0xabcd);
            assert_int_equal(out[2], at * 2);
        }
        assert_int_equal(*data_at(2 + 6000), 0);
        machine_stop();
    }
}

static void bad_local(unsigned chip, uint32_t *qmd)
{
    qmd_set(versions[chip], qmd, QMD_SHADER_LOCAL_MEMORY_HIGH_SIZE, 0, 1024);
}

/* Local memory: none set, too little of it, enough but not mapped to its end, and all as it should be. */
static void test_local_memory(void **state)
{
    struct fill_args args = {(uint32_t *)GVA_DATA, 4, 1};
    launch_wrong(1, &args, bad_local);
    expect_fault(13);
    machine_stop();
    uint64_t per_tpc = 1024ull * 48 * 32 * 2;
    for (unsigned turn = 0; turn < 3; turn++) {
        setup_compute(1, "fill", sizeof(args));
        uint64_t gva = GVA + 0x8000000, all = per_tpc * 42;
        for (uint64_t at = 0; at < all - (turn == 1 ? 0x200000 : 0); at += 0x200000)
            map(gva + at, APERTURE_VRAM, 0x800000, 21, false);
        uint32_t qmd[QMD_DWORDS_MAX] = {0};
        prepare(1, &(struct launch){1, 256, &args, sizeof(args), 0}, qmd);
        bad_local(1, qmd);
        place(0, qmd);
        begin(1);
        push_local_memory(&push, gva, turn == 0 ? per_tpc - 0x8000 : per_tpc);
        push_launch(&push, versions[1], qmd_gva(0));
        submit();
        run(1000);
        if (turn < 2)
            expect_fault(turn == 0 ? 13 : 31);
        else
            no_refusals();
        assert_int_equal(data32(0), turn == 2 ? 1 : 0);
        machine_stop();
    }
}

/* Files that are no cubin, or one of other code. */
static void test_kernel_files(void **state)
{
    machine_start(&chips[1]);
    assert_true(kernels_load(&model, "/nonexistent") < 0);
    const char *path =
        write_cubin("fill", 86, 0x160, sizeof(struct fill_args) - 4); /* older than the source */
    assert_true(kernels_load(&model, path) < 0);
    path = write_cubin("fill", 90, 0x160, sizeof(struct fill_args)); /* another architecture */
    assert_true(kernels_load(&model, path) < 0);
    path = write_cubin("nobody", 86, 0x160, 8);
    assert_true(kernels_load(&model, path) < 0);
    path = write_cubin("fill", 86, 0x160, sizeof(struct fill_args));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (long bytes = st.st_size - 1; bytes >= 0; bytes -= 61) { /* cut short anywhere */
        assert_int_equal(truncate(path, bytes), 0);
        assert_true(kernels_load(&model, path) < 0);
    }
    unlink(path);
    assert_int_equal(kernels_count(), 0);
    machine_stop();
}

static void test_demanded_faults(void **state)
{
    struct fill_args args = {(uint32_t *)GVA_DATA, 4, 1};
    setup_compute(1, "fill", sizeof(args));
    demanded = "kernel";
    demanded_mode = FAULT_FAIL;
    uint32_t qmd[QMD_DWORDS_MAX] = {0};
    prepare(1, &(struct launch){1, 256, &args, sizeof(args), 0}, qmd);
    place(0, qmd);
    begin(1);
    push_launch(&push, versions[1], qmd_gva(0));
    submit();
    run(1000);
    expect_fault(13);
    assert_int_equal(refusals, 0); /* the guest did nothing wrong */
    machine_stop();

    setup(&chips[1], ENGINE_COPY);
    demanded = "copy";
    demanded_mode = FAULT_HANG;
    push_set_object(&push, 4, chips[1].copy_class);
    push_fill(&push, GVA_DATA, 4, 1);
    push_copy_release(&push, GVA_DATA + 64, 1);
    submit();
    assert_false(run(1000));
    assert_int_equal(data32(64), 0);
    machine_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translation),
        cmocka_unit_test(test_mmu_faults),
        cmocka_unit_test(test_tlb),
        cmocka_unit_test(test_semaphores),
        cmocka_unit_test(test_push_buffer),
        cmocka_unit_test(test_host_refusals),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_faults),
        cmocka_unit_test(test_launch),
        cmocka_unit_test(test_dependent),
        cmocka_unit_test(test_shader_faults),
        cmocka_unit_test(test_qmd_refusals),
        cmocka_unit_test(test_instruction_cache),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_shader_tlb),
        cmocka_unit_test(test_two_channels),
        cmocka_unit_test(test_sgemm),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_demanded_faults),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_mem_op),
        cmocka_unit_test(test_remap),
        cmocka_unit_test(test_local_memory),
        cmocka_unit_test(test_kernel_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
