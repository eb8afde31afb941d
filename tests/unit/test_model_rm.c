/*
 * tests/unit/test_model_rm.c: the device model's GSP-RM against a small guest that is written here: guest memory,
 * VRAM, timers and the host engine are fakes, the queues are filled by hand. It shares nothing with the driver.
 *
 * What must work is a boot, a channel and a fault; what must be refused is one wrong thing at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/model/gsp.h"
#include "tests/model/parts.h"

#define VRAM_BYTES   (UINT64_C(1) << 30)
#define GUEST_BASE   UINT64_C(0x100000000)
#define GUEST_BYTES  (UINT64_C(24) << 20)
#define MIB          UINT64_C(0x100000)

/* Where things are in guest memory */
#define WPR_META     (GUEST_BASE + 0x1000)
#define LIBOS        (GUEST_BASE + 0x2000)
#define RM_ARGUMENTS (GUEST_BASE + 0x3000)
#define SIGNATURE    (GUEST_BASE + 0x4000)
#define NOTIFIER     (GUEST_BASE + 0x5000)
#define LOGS         (GUEST_BASE + 0x10000) /* 3 x 64 KiB */
#define BOOTLOADER   (GUEST_BASE + 0x50000)
#define SHARED       (GUEST_BASE + 0x100000) /* page table, command queue, status queue */
#define RADIX3       (GUEST_BASE + 0x200000)
#define QUEUE_BYTES  0x40000u
#define COMMAND      0x1000u
#define STATUS       (COMMAND + QUEUE_BYTES)
#define SHARED_PAGES (1 + 2 * QUEUE_BYTES / 4096)

#define IMAGE_BYTES  (3 * MIB + 100) /* 769 pages: more than one last-level table */
#define BOOT_BYTES   0x5000u
#define FRTS         (VRAM_BYTES - 2 * MIB)

/* ---- fakes ------------------------------------------------------------------------------------------------------- */

static struct model model, *m = &model;
static uint8_t *guest;
static unsigned refusals, interrupts, suspends, halts;
static char last_refusal[512];
static const char *fault_name; /* this one goes wrong, each time or the nth */
static enum fault_mode fault_as;
static unsigned fault_nth, fault_asked;
static struct wpr2 wpr2;
static uint64_t clock_ns;
static uint8_t image[IMAGE_BYTES], bootloader_file[0x100 + BOOT_BYTES];
static struct file image_as_file = {image, sizeof(image)},
                   bootloader_as_file = {bootloader_file, sizeof(bootloader_file)};
static const uint8_t signature_bytes[384] = {0x51, 0x60, 0x70};

static struct {
    void (*fn)(struct model *m, void *arg);
    void *arg;
    uint64_t at_ns;
} timers[64];
static unsigned timer_count;

void refuse(struct model *model_, const char *fmt, ...)
{
    va_list list;
    va_start(list, fmt);
    vsnprintf(last_refusal, sizeof(last_refusal), fmt, list);
    va_end(list);
    refusals++;
}

void trace(struct model *model_, const char *fmt, ...)
{
}

void note(struct model *model_, const char *fmt, ...)
{
}

bool fault(struct model *model_, const char *name, enum fault_mode *mode)
{
    if (fault_name == NULL || strcmp(name, fault_name) != 0)
        return false;
    if (++fault_asked != fault_nth && fault_nth != 0)
        return false;
    if (mode != NULL)
        *mode = fault_as;
    return true;
}

uint64_t late_ns(void)
{
    return 300000000;
}

uint64_t now_ns(void)
{
    return clock_ns;
}

void timer_add(struct model *model_, uint64_t delay_ns, void (*fn)(struct model *m, void *arg),
               void *arg)
{
    assert_true(timer_count < 64);
    timers[timer_count].fn = fn;
    timers[timer_count].arg = arg;
    timers[timer_count++].at_ns = clock_ns + delay_ns;
}

void timer_cancel(struct model *model_, void (*fn)(struct model *m, void *arg), void *arg)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < timer_count; i++)
        if (timers[i].fn != fn || timers[i].arg != arg)
            timers[kept++] = timers[i];
    timer_count = kept;
}

/* Let time pass until nothing is due within the span. */
static void run_ns(uint64_t span_ns)
{
    uint64_t end = clock_ns + span_ns;
    for (;;) {
        unsigned first = 64;
        for (unsigned i = 0; i < timer_count; i++)
            if (timers[i].at_ns <= end && (first == 64 || timers[i].at_ns < timers[first].at_ns))
                first = i;
        if (first == 64)
            break;
        void (*fn)(struct model *, void *) = timers[first].fn;
        void *arg = timers[first].arg;
        clock_ns = timers[first].at_ns > clock_ns ? timers[first].at_ns : clock_ns;
        memmove(&timers[first], &timers[first + 1], (--timer_count - first) * sizeof(timers[0]));
        fn(m, arg);
    }
    clock_ns = end;
}

static void *guest_at(uint64_t bus, size_t bytes)
{
    if (bus < GUEST_BASE || bus - GUEST_BASE > GUEST_BYTES - bytes)
        return NULL;
    return guest + (bus - GUEST_BASE);
}

bool bus_read(struct model *model_, uint64_t bus, void *out, size_t bytes)
{
    const void *at = guest_at(bus, bytes);
    if (at != NULL)
        memcpy(out, at, bytes);
    else
        refuse(m, "no guest memory at 0x%llx", (unsigned long long)bus);
    return at != NULL;
}

bool bus_write(struct model *model_, uint64_t bus, const void *data, size_t bytes)
{
    void *at = guest_at(bus, bytes);
    if (at != NULL)
        memcpy(at, data, bytes);
    else
        refuse(m, "no guest memory at 0x%llx", (unsigned long long)bus);
    return at != NULL;
}

bool memory_write(struct model *model_, enum aperture aperture, uint64_t address, const void *data,
                  size_t bytes)
{
    if (aperture == APERTURE_SYSTEM)
        return bus_write(m, address, data, bytes);
    if (address > VRAM_BYTES - bytes)
        return false;
    memcpy(m->vram + address, data, bytes);
    return true;
}

const struct file *firmware_file(struct model *model_, const char *folder, const char *name)
{
    return strcmp(name, "gsp-570.144.bin") == 0 ? &image_as_file : &bootloader_as_file;
}

bool elf_section(const struct file *elf, const char *section, const uint8_t **data, size_t *bytes)
{
    bool is_image = strcmp(section, ".fwimage") == 0;
    *data = is_image ? image : signature_bytes;
    *bytes = is_image ? sizeof(image) : sizeof(signature_bytes);
    return is_image || strcmp(section, m->chip->signature_section) == 0;
}

struct wpr2 wpr2_get(const struct model *model_)
{
    return wpr2;
}

void fb_bar1_taken(struct model *model_)
{
}

void gsp_core_interrupt(struct model *model_, unsigned vector)
{
    interrupts++;
}

void gsp_core_suspend(struct model *model_)
{
    suspends++;
}

void gsp_core_halt(struct model *model_)
{
    halts++;
}

unsigned pci_bar1_index(const struct model *model_)
{
    return 1;
}

unsigned pci_bar3_index(const struct model *model_)
{
    return 3;
}

bool pci_bar_address(const struct model *model_, unsigned index, uint64_t *address)
{
    *address = UINT64_C(0xe0000000) + index * UINT64_C(0x1000000);
    return true;
}

uint32_t pci_config_dword(const struct model *model_, unsigned offset)
{
    return offset == 0 ? 0x220410de : offset == 0x2c ? 0x145410de : 0x030000a1;
}

/* The host engine: what it was told last */
static struct host_channel host_channel;
static unsigned host_channels, host_objects;
static bool host_is_scheduled;
static uint64_t host_directory;

int host_channel_add(struct model *model_, const struct host_channel *channel)
{
    host_channel = *channel;
    host_channels++;
    return 0;
}

void host_channel_remove(struct model *model_, uint32_t runlist, uint32_t channel_id)
{
    host_channels--;
}

void host_channel_schedule(struct model *model_, uint32_t runlist, uint32_t channel_id, bool on)
{
    host_is_scheduled = on;
}

bool host_channel_object(struct model *model_, uint32_t runlist, uint32_t channel_id,
                         uint32_t class_id)
{
    host_objects++;
    return true;
}

void host_channel_set_page_directory(struct model *model_, uint32_t runlist, uint32_t channel_id,
                                     enum aperture aperture, uint64_t page_directory)
{
    host_directory = page_directory;
}

void host_stop(struct model *model_)
{
    host_channels = 0;
}

/* Everything from 16 GiB on is mapped, one to one from VRAM's begin. */
#define GVA UINT64_C(0x400000000)
enum mmu_fault mmu_translate(struct model *model_, enum aperture directory_aperture,
                             uint64_t page_directory, uint64_t gva, bool is_write,
                             struct translation *out)
{
    if (gva < GVA)
        return MMU_FAULT_PDE;
    *out = (struct translation){
        .aperture = APERTURE_VRAM, .address = gva - GVA, .bytes = 4096 - gva % 4096};
    return MMU_OK;
}

/* ---- the guest --------------------------------------------------------------------------------------------------- */

static uint32_t command_sequence, command_write, status_read, status_sequence;

static void put_shared(uint64_t offset, uint32_t value)
{
    PUT32(guest_at(SHARED, 4), offset, value);
}

static uint32_t get_shared(uint64_t offset)
{
    return GET32(guest_at(SHARED, 4), offset);
}

static uint32_t sum(const uint8_t *data, size_t bytes)
{
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i += 4)
        value ^= GET32(data, i);
    return value;
}

/* One record; spoil, where it is not 0, is added to the byte at that offset once the sum is made. */
static void record_send(uint32_t function, const void *payload, uint32_t bytes, unsigned spoil)
{
    static uint8_t data[16 * 4096];
    memset(data, 0, sizeof(data));
    uint32_t total = 80 + bytes, elements = (total + 4095) / 4096;
    PUT32(data, 36, command_sequence++);
    PUT32(data, 40, elements);
    PUT32(data, 48, 0x03000000);
    PUT32(data, 52, 0x43505256);
    PUT32(data, 56, 32 + bytes);
    PUT32(data, 60, function);
    PUT32(data, 64, 0xffffffff);
    PUT32(data, 68, 0xffffffff);
    if (bytes > 0)
        memcpy(data + 80, payload, bytes);
    PUT32(data, 32, sum(data, (total + 7) & ~7u));
    if (spoil != 0)
        data[spoil]++;
    for (uint32_t i = 0; i < elements; i++)
        memcpy(guest_at(SHARED + COMMAND + 4096 + (command_write + i) % 63 * 4096, 4096),
               data + i * 4096, 4096);
    command_write = (command_write + elements) % 63;
    put_shared(COMMAND + 16, command_write);
}

static void message_send(uint32_t function, const void *payload, uint32_t bytes)
{
    const uint8_t *at = payload;
    uint32_t here = bytes < RECORD_PAYLOAD_MAX ? bytes : RECORD_PAYLOAD_MAX;
    record_send(function, at, here, 0);
    for (at += here, bytes -= here; bytes > 0; at += here, bytes -= here) {
        here = bytes < RECORD_PAYLOAD_MAX ? bytes : RECORD_PAYLOAD_MAX;
        record_send(FN_CONTINUATION_RECORD, at, here, 0);
    }
    gsp_rm_doorbell(m, 0);
}

/* The next record from the GSP, checked as a driver would; its function, or 0 when there is none. */
static uint32_t record_receive(uint8_t *payload, uint32_t *bytes, uint32_t *result)
{
    static uint8_t data[16 * 4096];
    if (get_shared(STATUS + 16) == status_read)
        return 0;
    uint32_t elements = 1;
    for (uint32_t i = 0; i < elements; i++) {
        memcpy(data + i * 4096,
               guest_at(SHARED + STATUS + 4096 + (status_read + i) % 63 * 4096, 4096), 4096);
        elements = GET32(data, 40);
        assert_in_range(elements, 1, 16);
    }
    status_read = (status_read + elements) % 63;
    put_shared(COMMAND + 32, status_read);
    uint32_t length = GET32(data, 56);
    assert_int_equal(GET32(data, 36), status_sequence++);
    assert_int_equal((48 + length + 4095) / 4096, elements);
    assert_int_equal(sum(data, (48 + length + 7) & ~7u), 0);
    assert_int_equal(GET32(data, 52), 0x43505256);
    if (bytes != NULL)
        *bytes = length - 32;
    if (result != NULL)
        *result = GET32(data, 64);
    if (payload != NULL)
        memcpy(payload, data + 80, length - 32);
    return GET32(data, 60);
}

/* Ask and wait; the message's result, and the answer in place of the request. */
static uint32_t call(uint32_t function, uint8_t *payload, uint32_t bytes)
{
    uint32_t result = 0, got;
    static uint8_t answer[64 * 1024];
    message_send(function, payload, bytes);
    run_ns(1000000);
    do
        got = record_receive(answer, NULL, &result);
    while (got == EVENT_PERF_BRIDGELESS_INFO_UPDATE || got == EVENT_POST_NOCAT_RECORD);
    assert_int_equal(got, function);
    memcpy(payload, answer, bytes);
    return result;
}

#define CLIENT    0xc1d00001u
#define DEVICE    0xd0000001u
#define SUBDEVICE 0xd0000002u
#define VASPACE   0xd0000003u
#define GROUP     0xd0000004u
#define SHARE     0xd0000005u
#define CHANNEL   0xd0000006u
#define COMPUTE   0xd0000007u
#define DEBUGGER  0xd0000008u

static uint32_t ask_alloc(uint32_t parent, uint32_t handle, uint32_t class_id, const void *params,
                          uint32_t bytes)
{
    uint8_t payload[1024] = {0};
    PUT32(payload, 0, CLIENT);
    PUT32(payload, 4, parent);
    PUT32(payload, 8, handle);
    PUT32(payload, 12, class_id);
    PUT32(payload, 20, bytes);
    if (bytes > 0)
        memcpy(payload + 32, params, bytes);
    uint32_t result = call(FN_RM_ALLOC, payload, 32 + bytes);
    assert_int_equal(GET32(payload, 16), result);
    return result;
}

static uint32_t ask_control(uint32_t object, uint32_t command, void *params, uint32_t bytes)
{
    static uint8_t payload[64 * 1024];
    memset(payload, 0, 24);
    PUT32(payload, 0, CLIENT);
    PUT32(payload, 4, object);
    PUT32(payload, 8, command);
    PUT32(payload, 16, bytes);
    if (bytes > 0)
        memcpy(payload + 24, params, bytes);
    assert_int_equal(call(FN_RM_CONTROL, payload, 24 + bytes), 0);
    if (bytes > 0)
        memcpy(params, payload + 24, bytes);
    return GET32(payload, 12);
}

static uint32_t ask_free(uint32_t handle)
{
    uint8_t payload[16] = {0};
    PUT32(payload, 0, CLIENT);
    PUT32(payload, 8, handle);
    return call(FN_FREE, payload, sizeof(payload));
}

static uint32_t ask_page_directory(uint64_t address)
{
    uint8_t payload[48] = {0};
    PUT32(payload, 0, CLIENT);
    PUT32(payload, 4, DEVICE);
    PUT64(payload, 16, address);
    PUT32(payload, 24, m->chip->mmu_version == 3 ? 2 : 4);
    PUT32(payload, 28, 8);
    PUT32(payload, 32, VASPACE);
    return call(FN_SET_PAGE_DIRECTORY, payload, sizeof(payload));
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

static void meta_fill(bool by_fmc)
{
    uint8_t *meta = guest_at(WPR_META, 256);
    memset(meta, 0, 256);
    PUT64(meta, 0, UINT64_C(0xdc3aae21371a60b3));
    PUT64(meta, 8, 1);
    PUT64(meta, 16, RADIX3);
    PUT64(meta, 24, IMAGE_BYTES);
    PUT64(meta, 32, BOOTLOADER);
    PUT64(meta, 40, BOOT_BYTES);
    PUT64(meta, 48, 0x1000);
    PUT64(meta, 56, 0x2000);
    PUT64(meta, 64, 0x3000);
    PUT64(meta, 72, SIGNATURE);
    PUT64(meta, 80, 512);
    PUT64(meta, 104, by_fmc ? 2 * MIB + 0x20000 : MIB);
    PUT64(meta, 128, 96 * MIB);
    PUT64(meta, 160, MIB);
    if (by_fmc)
        return;
    uint64_t boot = FRTS - BOOT_BYTES, elf = (boot - IMAGE_BYTES) & ~UINT64_C(0xffff),
             heap = (elf & ~(MIB - 1)) - 96 * MIB;
    PUT64(meta, 88, heap - 2 * MIB); /* gspFwRsvdStart, nonWprHeapOffset */
    PUT64(meta, 96, heap - 2 * MIB);
    PUT64(meta, 112, heap - MIB); /* gspFwWprStart */
    PUT64(meta, 120, heap);
    PUT64(meta, 136, elf);
    PUT64(meta, 144, boot);
    PUT64(meta, 152, FRTS);
    PUT64(meta, 168, FRTS + MIB); /* gspFwWprEnd */
    PUT64(meta, 176, VRAM_BYTES);
    PUT64(meta, 184, VRAM_BYTES - MIB);
    PUT64(meta, 192, MIB);
}

static void radix3_fill(void)
{
    uint64_t pages = (IMAGE_BYTES + 4095) / 4096, data = RADIX3 + 0x4000;
    PUT64(guest_at(RADIX3, 8), 0, RADIX3 + 0x1000);
    for (uint64_t i = 0; i < (pages + 511) / 512; i++)
        PUT64(guest_at(RADIX3 + 0x1000, 8), i * 8, RADIX3 + 0x2000 + i * 4096);
    for (uint64_t i = 0; i < pages; i++)
        PUT64(guest_at(RADIX3 + 0x2000, 8), i * 8, data + i * 4096);
    memcpy(guest_at(data, IMAGE_BYTES), image, IMAGE_BYTES);
}

static void region_fill(unsigned index, const char *name, uint64_t address, uint64_t bytes)
{
    uint8_t *region = (uint8_t *)guest_at(LIBOS, 4096) + index * 32;
    uint64_t id = 0;
    while (*name)
        id = id << 8 | (uint8_t)*name++;
    PUT64(region, 0, id);
    PUT64(region, 8, address);
    PUT64(region, 16, bytes);
    region[24] = region[25] = 1;
}

static void queues_fill(void)
{
    uint8_t *arguments = guest_at(RM_ARGUMENTS, 4096);
    PUT64(arguments, 0, SHARED);
    PUT32(arguments, 8, SHARED_PAGES);
    PUT64(arguments, 16, COMMAND);
    PUT64(arguments, 24, STATUS);
    for (unsigned i = 0; i < SHARED_PAGES; i++)
        PUT64(guest_at(SHARED, 8), i * 8, SHARED + i * 4096);
    const uint32_t header[8] = {0, QUEUE_BYTES, 4096, 63, 0, 1, 32, 4096};
    memcpy(guest_at(SHARED + COMMAND, 32), header, sizeof(header));
}

static void begin(const char *chip)
{
    memset(guest, 0, GUEST_BYTES);
    m->chip = chip_find(chip);
    m->vram_bytes = VRAM_BYTES;
    refusals = interrupts = suspends = halts = host_channels = host_objects = 0;
    timer_count = 0;
    fault_name = NULL;
    fault_nth = fault_asked = 0;
    command_sequence = command_write = status_read = status_sequence = 0;
    wpr2 = (struct wpr2){FRTS, FRTS + MIB};
    meta_fill(m->chip->family >= HOPPER);
    radix3_fill();
    memcpy(guest_at(SIGNATURE, 384), signature_bytes, 384);
    memcpy(guest_at(BOOTLOADER, BOOT_BYTES), bootloader_file + 0x100, BOOT_BYTES);
    region_fill(0, "LOGINIT", LOGS, 0x10000);
    region_fill(1, "LOGINTR", LOGS + 0x10000, 0x10000);
    region_fill(2, "LOGRM", LOGS + 0x20000, 0x10000);
    region_fill(3, "RMARGS", RM_ARGUMENTS, 0x1000);
    queues_fill();
    gsp_rm_stop(m);
}

static void system_info_send(void)
{
    uint8_t info[928] = {0};
    uint64_t address;
    for (unsigned i = 0; i < 3; i++) {
        pci_bar_address(m, i == 0 ? 0 : i == 1 ? 1 : 3, &address);
        PUT64(info, i * 8, address);
    }
    PUT64(info, 72, UINT64_C(0x7ffffffff000));
    PUT32(info, 80, m->chip->family >= HOPPER ? 0x92000 : 0x88000);
    PUT32(info, 84, 0x1000);
    PUT32(info, 88, 0x220410de);
    PUT32(info, 92, 0x145410de);
    PUT32(info, 96, 0xa1);
    record_send(FN_SET_SYSTEM_INFO, info, sizeof(info), 0);
}

static void registry_send(uint32_t entries)
{
    static uint8_t table[128 * 1024];
    uint32_t size = 8 + entries * 16 + 8;
    memset(table, 0, size);
    for (uint32_t i = 0; i < entries; i++) {
        PUT32(table, 8 + i * 16, 8 + entries * 16);
        table[8 + i * 16 + 4] = 1;
        PUT32(table, 8 + i * 16 + 12, 4);
    }
    memcpy(table + 8 + entries * 16, "RMTest", 6);
    PUT32(table, 0, size);
    PUT32(table, 4, entries);
    message_send(FN_SET_REGISTRY, table, size);
}

/* From power-on to GSP_INIT_DONE. */
static void boot(const char *chip)
{
    uint64_t start = 0, end = 0;
    begin(chip);
    system_info_send();
    registry_send(2);
    assert_int_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
    assert_true(start < end && end == FRTS + MIB);
    wpr2 = (struct wpr2){start, end};
    gsp_rm_start(m, WPR_META, LIBOS);
    run_ns(10000000);
    if (m->chip->family < HOPPER) {
        uint8_t payload[4096];
        uint32_t bytes;
        assert_int_equal(record_receive(payload, &bytes, NULL), EVENT_RUN_CPU_SEQUENCER);
        assert_int_equal(suspends, 1);
        assert_true(GET32(payload, 4) < GET32(payload, 0) && 40 + GET32(payload, 0) * 4 <= bytes);
        assert_int_equal(record_receive(NULL, NULL, NULL), 0); /* waits for the CPU */
        gsp_rm_resumed(m);
        run_ns(10000000);
    } else if (m->chip->family == BLACKWELL) {
        assert_int_equal(record_receive(NULL, NULL, NULL), EVENT_LOCKDOWN_NOTICE);
        assert_int_equal(record_receive(NULL, NULL, NULL), EVENT_LOCKDOWN_NOTICE);
    }
    uint32_t result = 1;
    assert_int_equal(record_receive(NULL, NULL, &result), EVENT_GSP_INIT_DONE);
    assert_int_equal(result, 0);
    assert_true(interrupts > 0);
    assert_int_equal(refusals, 0);
}

static void refused(unsigned before)
{
    assert_int_equal(refusals, before + 1);
}

/* ---- booting ----------------------------------------------------------------------------------------------------- */

static void test_every_chip_boots(void **state)
{
    static const char *const chips[] = {"ga102", "ad102", "tu102", "gh100", "gb202"};
    for (unsigned i = 0; i < 5; i++) {
        boot(chips[i]);
        uint8_t info[STATIC_INFO_BYTES] = {0};
        assert_int_equal(call(FN_GET_GSP_STATIC_INFO, info, sizeof(info)), 0);
        assert_string_equal((char *)info + 1260, m->chip->card);
        assert_int_equal(GET64(info, 1224), VRAM_BYTES);
        assert_int_equal(GET32(info, 344), 2); /* two regions: ours, RM's */
        assert_true(GET64(info, 352 + 8) + 1 == GET64(info, 352 + 48));
        assert_int_equal(GET32(guest_at(LOGS + 0x20000, 8), 0), 4); /* words in the log */

        uint8_t unload[8] = {0};
        assert_int_equal(call(FN_UNLOADING_GUEST_DRIVER, unload, 8), 0);
        run_ns(10000000);
        assert_int_equal(halts, 1);
        assert_int_equal(refusals, 0);
        gsp_rm_stop(m);
    }
}

/* Each field of the WPR metadata that may be wrong, one at a time. */
static void test_wpr_metadata_is_checked(void **state)
{
    static const struct {
        unsigned offset;
        uint64_t value;
    } wrong[] = {
        {0, 1},           /* magic */
        {8, 2},           /* revision */
        {16, RADIX3 + 8}, /* sysmemAddrOfRadix3Elf */
        {16, GUEST_BASE + GUEST_BYTES},
        {24, IMAGE_BYTES - 1},     /* sizeOfRadix3Elf */
        {32, BOOTLOADER + 0x1000}, /* bootloader bytes that are others */
        {40, BOOT_BYTES - 0x1000}, /* sizeOfBootloader */
        {48, 0},                   /* bootloaderCodeOffset */
        {56, 0x1000},
        {64, 0},
        {72, SIGNATURE + 256}, /* signature */
        {80, 100},
        {88, 0},          /* gspFwRsvdStart */
        {96, VRAM_BYTES}, /* nonWprHeapOffset */
        {104, UINT64_MAX},
        {112, FRTS},              /* gspFwWprStart */
        {120, FRTS - 200 * MIB},  /* gspFwHeapOffset: overlaps the non-WPR heap's side */
        {128, 32 * MIB},          /* gspFwHeapSize: too small */
        {128, 110 * MIB},         /* beyond the image */
        {136, FRTS - BOOT_BYTES}, /* gspFwOffset */
        {144, FRTS},              /* bootBinOffset */
        {152, FRTS - MIB},        /* frtsOffset: not what FWSEC made */
        {160, 2 * MIB},
        {168, FRTS},                 /* gspFwWprEnd */
        {176, VRAM_BYTES / 2},       /* fbSize */
        {184, VRAM_BYTES - 2 * MIB}, /* vgaWorkspaceOffset */
        {200, 1},                    /* bootCount */
        {248, UINT64_C(0xa0a0a0a0a0a0a0a0)},
    };
    uint64_t start, end;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        begin("ga102");
        PUT64(guest_at(WPR_META, 256), wrong[i].offset, wrong[i].value);
        uint32_t code = gsp_rm_load(m, WPR_META, &start, &end);
        if (code == 0 || refusals == 0)
            fail_msg("field at byte %u = 0x%llx was taken", wrong[i].offset,
                     (unsigned long long)wrong[i].value);
    }
    begin("ga102");
    assert_int_not_equal(gsp_rm_load(m, GUEST_BASE + GUEST_BYTES, &start, &end), 0);
    begin("ga102");
    wpr2 = (struct wpr2){0, 0}; /* FWSEC did not run */
    assert_int_not_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
    begin("gb202");
    PUT64(guest_at(WPR_META, 256), 136, MIB); /* the FMC lays out, not the driver */
    assert_int_not_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
}

static void test_image_bytes_are_compared(void **state)
{
    static const uint64_t places[] = {0, 4095, 512 * 4096, IMAGE_BYTES - 1};
    uint64_t start, end;
    for (unsigned i = 0; i < 4; i++) {
        begin("ga102");
        ((uint8_t *)guest_at(RADIX3 + 0x4000, IMAGE_BYTES))[places[i]] ^= 1;
        assert_int_not_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
        refused(0);
    }
    begin("ga102");
    PUT64(guest_at(RADIX3 + 0x2000, 8), 600 * 8, RADIX3 + 0x4000); /* a page twice */
    assert_int_not_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
    begin("ga102");
    PUT64(guest_at(RADIX3 + 0x1000, 8), 8, 0); /* no second table */
    assert_int_not_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
    refused(0);
}

/* The GSP never answers when what it starts from is wrong. */
static void test_start_arguments_are_checked(void **state)
{
    static const struct {
        uint64_t place;
        unsigned bytes;
        uint64_t value;
    } wrong[] = {
        {LIBOS, 8, 0x4c4f47524d},    /* LOGRM first */
        {LIBOS + 8, 8, LOGS + 8},    /* a log buffer off its page */
        {LIBOS + 24, 1, 2},          /* kind: radix3 */
        {LIBOS + 32 * 3, 8, 0x1234}, /* no RMARGS */
        {LIBOS + 32 * 3 + 8, 8, 0},
        {RM_ARGUMENTS, 8, SHARED + 4096},        /* not what the page table's first entry says */
        {RM_ARGUMENTS + 8, 4, SHARED_PAGES + 4}, /* more pages than the table has */
        {RM_ARGUMENTS + 16, 8, 0},               /* the command queue over the page table */
        {RM_ARGUMENTS + 24, 8, COMMAND},
        {RM_ARGUMENTS + 40, 1, 1}, /* resume from sleep */
        {SHARED + 8, 8, 0},        /* a hole in the page table */
        {SHARED + COMMAND, 4, 1},  /* queue version */
        {SHARED + COMMAND + 4, 4, 0x1000},
        {SHARED + COMMAND + 12, 4, 64}, /* more elements than there is room */
        {SHARED + COMMAND + 16, 4, 63}, /* write pointer */
        {SHARED + COMMAND + 20, 4, 0},  /* flags */
        {SHARED + COMMAND + 24, 4, 64},
        {SHARED + COMMAND + 28, 4, 2048},
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint64_t start, end;
        begin("gh100");
        assert_int_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
        put(guest_at(wrong[i].place, 8), 0, wrong[i].bytes, wrong[i].value);
        gsp_rm_start(m, WPR_META, LIBOS);
        run_ns(1000000000);
        if (refusals == 0 || m->rm->state != RM_DEAD || GET32(guest_at(SHARED + STATUS, 8), 4) != 0)
            fail_msg("case %u was taken: %s", i, last_refusal);
    }
}

static void test_long_registry_needs_continuation(void **state)
{
    begin("gh100");
    uint64_t start, end;
    assert_int_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
    gsp_rm_start(m, WPR_META, LIBOS);
    run_ns(10000000);
    system_info_send();
    registry_send(4100); /* 65616 bytes: one record and a bit */
    run_ns(10000000);
    assert_int_equal(refusals, 0);
    assert_int_equal(record_receive(NULL, NULL, NULL), EVENT_GSP_INIT_DONE);
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

static void test_bad_records_get_no_answer(void **state)
{
    /* offsets in the record: checksum, number, elements are what the guest says; and any byte of the payload */
    static const unsigned places[] = {32, 36, 52, 56, 64, 81};
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        boot("gh100");
        run_ns(1000000);
        while (record_receive(NULL, NULL, NULL) != 0)
            ;
        uint8_t payload[16] = {1};
        record_send(FN_FREE, payload, sizeof(payload), places[i]);
        gsp_rm_doorbell(m, 0);
        run_ns(1000000);
        assert_int_equal(record_receive(NULL, NULL, NULL), 0);
        assert_true(refusals > 0);
    }
}

static void test_queues_wrap(void **state)
{
    boot("ga102");
    assert_int_equal(ask_alloc(0, CLIENT, 0, NULL, 0), 0);
    assert_int_equal(ask_alloc(CLIENT, DEVICE, 0x80, NULL, 0), 0);
    assert_int_equal(ask_alloc(DEVICE, SUBDEVICE, 0x2080, NULL, 0), 0);
    static uint8_t order[23072];
    for (unsigned i = 0; i < 100; i++) { /* six elements each way */
        memset(order, 0, sizeof(order));
        assert_int_equal(ask_control(SUBDEVICE, 0x20800a22, order, sizeof(order)), 0);
        assert_int_equal(GET16(order, 2880), 84); /* multiprocessors of the whole GA102 */
    }
    assert_int_equal(refusals, 0);
}

static void test_full_status_queue_waits(void **state)
{
    boot("gh100");
    uint8_t payload[16] = {0};
    for (unsigned i = 0; i < 70; i++) { /* answers that nobody reads */
        record_send(FN_FREE, payload, sizeof(payload), 0);
        gsp_rm_doorbell(m, 0);
        run_ns(10000);
    }
    run_ns(10000000);
    unsigned got = 0;
    for (unsigned i = 0; i < 80; i++) {
        while (record_receive(NULL, NULL, NULL) != 0)
            got++;
        run_ns(2000000);
    }
    assert_int_equal(got, 72); /* two unasked events of the boot, too */
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

static void tree(const char *chip)
{
    boot(chip);
    uint8_t vaspace[48] = {0};
    PUT32(vaspace, 4, 1u << 3);
    assert_int_equal(ask_alloc(0, CLIENT, 0x41, NULL, 0), 0);
    assert_int_equal(ask_alloc(CLIENT, DEVICE, 0x80, NULL, 0), 0);
    assert_int_equal(ask_alloc(DEVICE, SUBDEVICE, 0x2080, NULL, 0), 0);
    assert_int_equal(ask_alloc(DEVICE, VASPACE, 0x90f1, vaspace, 48), 0);
}

static void test_object_tree_is_strict(void **state)
{
    tree("ga102");
    uint8_t params[368] = {0};
    const struct {
        uint32_t parent, handle, class_id, bytes, status;
    } wrong[] = {
        {0xdead, 0xd1, 0x2080, 0, NV_ERR_INVALID_OBJECT_PARENT},
        {CLIENT, 0xd1, 0x2080, 0, NV_ERR_INVALID_OBJECT_PARENT},
        {CLIENT, DEVICE, 0x80, 0, NV_ERR_INSERT_DUPLICATE_NAME},
        {CLIENT, 0, 0x80, 0, NV_ERR_INVALID_OBJECT_NEW},
        {DEVICE, 0xd1, 0x1234, 0, NV_ERR_INVALID_CLASS},
        {SUBDEVICE, 0xd1, 0xc561, 0, NV_ERR_INVALID_CLASS}, /* USERMODE: the CPU's side has it */
        {DEVICE, 0xd1, 0x2080, 8, NV_ERR_INVALID_PARAM_STRUCT},
        {DEVICE, 0xd1, 0x90f1, 56, NV_ERR_INVALID_PARAM_STRUCT}, /* the size of branch 580 */
        {DEVICE, 0xd1, 0x90f1, 0, NV_ERR_INVALID_ARGUMENT},
        {DEVICE, 0xd1, 0xa06c, 20, NV_ERR_INVALID_ARGUMENT}, /* engine type 0 */
        {DEVICE, 0xd1, 0xc56f, 368, NV_ERR_INVALID_ARGUMENT},
        {DEVICE, 0xd1, 0xc86f, 368, NV_ERR_INVALID_CLASS}, /* Hopper's channel class */
        {DEVICE, 0xd1, 0x83de, 12, NV_ERR_INVALID_OBJECT},
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        unsigned before = refusals;
        uint32_t status =
            ask_alloc(wrong[i].parent, wrong[i].handle, wrong[i].class_id, params, wrong[i].bytes);
        if (status != wrong[i].status || refusals == before)
            fail_msg("case %u: status 0x%x, %u refusals", i, status, refusals - before);
    }
    unsigned before = refusals;
    assert_int_equal(ask_free(0xdead), NV_ERR_OBJECT_NOT_FOUND);
    refused(before);
    uint8_t info[3712] = {0};
    assert_int_equal(ask_control(SUBDEVICE, 0x20800a2a, info, 3711), NV_ERR_INVALID_PARAM_STRUCT);
    assert_int_equal(ask_control(DEVICE, 0x20800a2a, info, 3712), NV_ERR_NOT_SUPPORTED);
    assert_int_equal(ask_control(0xdead, 0x20800a2a, info, 3712), NV_ERR_INVALID_OBJECT_HANDLE);
    assert_int_equal(ask_control(SUBDEVICE, 0x20801228, info, 488), NV_ERR_NOT_SUPPORTED);
    assert_int_equal(refusals, before + 5);
    assert_int_equal(ask_control(SUBDEVICE, 0x20800a2a, info, 3712), 0);
    assert_int_equal(GET32(info, 0x14 * 8 + 4), 7);     /* GPCs */
    assert_int_equal(GET32(info, 0x0c * 8 + 4), 0x806); /* SM version */
    assert_int_equal(ask_page_directory(GET64(guest_at(WPR_META, 256), 112)),
                     NV_ERR_INVALID_ADDRESS);
    assert_int_equal(ask_free(CLIENT), 0);
    assert_int_equal(ask_free(CLIENT), NV_ERR_INVALID_CLIENT);
}

/* ---- channels ---------------------------------------------------------------------------------------------------- */

#define INSTANCE UINT64_C(0x100000)
#define USERD    UINT64_C(0x102000)
#define METHODS  UINT64_C(0x110000)
#define CONTEXTS UINT64_C(0x1000000)

static void channel_params(uint8_t *params, uint32_t number)
{
    memset(params, 0, 368);
    PUT64(params, 8, GVA);
    PUT32(params, 16, 1024);
    PUT32(params, 20, (number & 7) << 8 | (number >> 3) << 12 | 1u << 21);
    PUT32(params, 24, SHARE);
    PUT32(params, 0, 0xdddd);    /* hObjectError */
    PUT32(params, 244, 3u << 2); /* notifier in memory */
    const struct {
        unsigned offset;
        uint64_t base, bytes;
        uint32_t space;
    } pieces[] = {{144, INSTANCE, 4096, 2},
                  {168, USERD, 512, 2},
                  {192, INSTANCE, 512, 2},
                  {216, METHODS, 0x5000, 2},
                  {248, NOTIFIER, 64, 1}};
    for (unsigned i = 0; i < 5; i++) {
        PUT64(params, pieces[i].offset, pieces[i].base);
        PUT64(params, pieces[i].offset + 8, pieces[i].bytes);
        PUT32(params, pieces[i].offset + 16, pieces[i].space);
    }
}

static void group_make(void)
{
    uint8_t group[20] = {0}, share[12] = {0};
    PUT32(group, 12, 1);
    PUT32(share, 0, VASPACE);
    PUT32(share, 4, 1);
    assert_int_equal(ask_alloc(DEVICE, GROUP, 0xa06c, group, 20), 0);
    assert_int_equal(ask_alloc(GROUP, SHARE, 0x9067, share, 12), 0);
}

static uint32_t promote(uint64_t shift, bool only_virtual)
{
    static const uint8_t ids[] = {0, 2, 3, 4, 5, 6, 9, 10, 11};
    uint8_t params[560] = {0};
    uint64_t at = CONTEXTS;
    PUT32(params, 0, 1);
    PUT32(params, 12, CLIENT);
    PUT32(params, 16, CHANNEL);
    PUT32(params, 40, sizeof(ids));
    for (unsigned i = 0; i < sizeof(ids); i++) {
        uint8_t *entry = params + 48 + i * 32;
        if (!only_virtual) {
            PUT64(entry, 0, at);
            PUT64(entry, 16, context_buffer_bytes(m, ids[i]));
            entry[30] = 1;
        }
        PUT64(entry, 8, GVA + at + shift);
        PUT32(entry, 24, 4);
        PUT16(entry, 28, ids[i]);
        at = (at + context_buffer_bytes(m, ids[i]) + 0xffff) & ~UINT64_C(0xffff);
    }
    return ask_control(SUBDEVICE, 0x2080012b, params, sizeof(params));
}

static void channel_make(const char *chip)
{
    uint8_t params[368], token[4] = {0}, on[2] = {1, 0};
    tree(chip);
    group_make();
    channel_params(params, 19);
    assert_int_equal(ask_alloc(GROUP, CHANNEL, m->chip->channel_class, params, 368), 0);
    assert_int_equal(ask_page_directory(0x200000), 0);
    assert_int_equal(host_directory, 0x200000);
    assert_int_equal(promote(0, false), 0);
    assert_int_equal(ask_alloc(CHANNEL, COMPUTE, m->chip->compute_class, NULL, 0), 0);
    assert_int_equal(ask_control(GROUP, 0xa06c0101, on, 2), 0);
    assert_true(host_is_scheduled);
    assert_int_equal(ask_control(CHANNEL, 0xc36f0108, token, 4), 0);
    assert_int_equal(GET32(token, 0), 19);
    assert_int_equal(refusals, 0);
}

static void test_channel_life(void **state)
{
    static const char *const chips[] = {"ga102", "tu102", "gb202"};
    for (unsigned i = 0; i < 3; i++) {
        channel_make(chips[i]);
        assert_int_equal(host_channels, 1);
        assert_int_equal(host_objects, 1);
        assert_int_equal(host_channel.channel_id, 19);
        assert_int_equal(host_channel.instance, INSTANCE);
        assert_int_equal(host_channel.gpfifo_gva, GVA);
        assert_int_equal(ask_free(VASPACE), 0); /* takes share and channel along */
        assert_int_equal(host_channels, 0);
        assert_int_equal(ask_free(CHANNEL), NV_ERR_OBJECT_NOT_FOUND);
    }
}

static void test_channel_parameters_are_checked(void **state)
{
    static const struct {
        unsigned offset, bytes;
        uint64_t value;
    } wrong[] = {
        {20, 4, 3u << 8},                               /* the GSP is to choose the number */
        {20, 4, 0x1ffu << 12 | 7u << 8 | 1u << 21 | 1}, /* channel type */
        {24, 4, 0},                                     /* no address space */
        {24, 4, 0xdead},
        {28, 4, VASPACE}, /* both */
        {128, 4, 9},      /* COPY0 in a graphics group */
        {144, 8, INSTANCE + 512},
        {144, 8, FRTS}, /* GSP-RM's own memory */
        {152, 8, 512},
        {160, 4, 0}, /* address space */
        {168, 8, USERD + 32},
        {192, 8, INSTANCE + 512}, /* RAMFC elsewhere */
        {224, 8, 0x1000},         /* method buffer too small */
        {248, 8, GUEST_BASE + GUEST_BYTES},
    };
    tree("ga102");
    group_make();
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t params[368];
        unsigned before = refusals;
        channel_params(params, 19);
        put(params, wrong[i].offset, wrong[i].bytes, wrong[i].value);
        if (ask_alloc(GROUP, CHANNEL, 0xc56f, params, 368) == 0 || refusals == before)
            fail_msg("case %u was taken", i);
        assert_int_equal(host_channels, 0);
    }
}

static void test_contexts_are_checked(void **state)
{
    uint8_t params[368], on[2] = {1, 0};
    tree("ga102");
    group_make();
    channel_params(params, 19);
    assert_int_equal(ask_alloc(GROUP, CHANNEL, 0xc56f, params, 368), 0);
    assert_int_equal(promote(0, false), NV_ERR_INVALID_ADDRESS); /* no page directory yet */
    assert_int_equal(ask_control(GROUP, 0xa06c0101, on, 2), NV_ERR_INVALID_STATE);
    assert_int_equal(ask_page_directory(0x200000), 0);
    assert_int_equal(ask_alloc(CHANNEL, COMPUTE, 0xc7c0, NULL, 0), NV_ERR_INVALID_STATE);
    assert_int_equal(promote(4096, false), NV_ERR_INVALID_ADDRESS); /* mapped somewhere else */
    assert_int_equal(promote(0, false), 0);
    assert_int_equal(ask_alloc(CHANNEL, COMPUTE, 0xc7c0, NULL, 0), 0);
    assert_int_equal(ask_control(GROUP, 0xa06c0101, on, 2), 0);

    /* A second channel of the group shares the context; one in another group has none. */
    unsigned before = refusals;
    channel_params(params, 20);
    PUT64(params, 144, INSTANCE + 0x8000);
    PUT64(params, 192, INSTANCE + 0x8000);
    assert_int_equal(ask_alloc(GROUP, CHANNEL + 16, 0xc56f, params, 368), 0);
    assert_int_equal(ask_alloc(CHANNEL + 16, COMPUTE + 16, 0xc7c0, NULL, 0), 0);
    assert_int_equal(ask_control(GROUP, 0xa06c0101, on, 2), 0);
    assert_int_equal(refusals, before);
}

static void test_fault_is_told(void **state)
{
    channel_make("ga102");
    uint8_t debugger[12] = {0}, fault_info[72] = {0}, payload[4096];
    PUT32(debugger, 4, CLIENT);
    PUT32(debugger, 8, COMPUTE);
    assert_int_equal(ask_alloc(DEVICE, DEBUGGER, 0x83de, debugger, 12), 0);
    host_fault_event(m, &(struct host_fault){.runlist = 0,
                                             .channel_id = 19,
                                             .reason = 31,
                                             .is_mmu = true,
                                             .mmu = MMU_FAULT_PTE,
                                             .gva = UINT64_C(0x1234567000),
                                             .is_write = true,
                                             .client = "GPC0",
                                             .text = "MMU Fault"});
    assert_int_equal(record_receive(NULL, NULL, NULL), EVENT_MMU_FAULT_QUEUED);
    assert_int_equal(record_receive(payload, NULL, NULL), EVENT_OS_ERROR_LOG);
    assert_int_equal(GET32(payload, 0), 31);
    assert_non_null(strstr((char *)payload + 12, "MMU Fault"));
    assert_int_equal(record_receive(payload, NULL, NULL), EVENT_RC_TRIGGERED);
    assert_int_equal(GET32(payload, 4), 19);
    assert_int_equal(GET32(payload, 16), 31);
    assert_int_equal(GET32(payload, 28) | (uint64_t)GET32(payload, 32) << 32, 0x1234567000);
    assert_int_equal(GET32(payload, 36), 2);
    assert_int_equal(GET32(guest_at(NOTIFIER, 16), 8), 31);
    assert_int_equal(GET16(guest_at(NOTIFIER, 16), 14), 0xffff);
    assert_int_equal(ask_control(DEBUGGER, 0x83de0328, fault_info, 72), 0);
    assert_int_equal(GET32(fault_info, 64), 1);
    assert_int_equal(GET64(fault_info, 0), 0x1234567000);
    assert_int_equal(GET32(fault_info, 12), 1);
    assert_int_equal(refusals, 0);
}

/* ---- faults on demand -------------------------------------------------------------------------------------------- */

static void test_faults_on_demand(void **state)
{
    uint8_t info[STATIC_INFO_BYTES] = {0};
    boot("gh100");
    run_ns(1000000);
    while (record_receive(NULL, NULL, NULL) != 0)
        ;
    fault_name = "rpc.static-info";
    fault_as = FAULT_FAIL;
    assert_int_equal(call(FN_GET_GSP_STATIC_INFO, info, sizeof(info)),
                     NV_ERR_INSUFFICIENT_RESOURCES);
    fault_as = FAULT_GARBAGE;
    assert_int_equal(call(FN_GET_GSP_STATIC_INFO, info, sizeof(info)), 0);
    assert_int_equal(info[1260], (uint8_t)(0xa5 + 1260 * 31));
    fault_as = FAULT_LATE;
    message_send(FN_GET_GSP_STATIC_INFO, info, sizeof(info));
    run_ns(late_ns() - 1000000);
    assert_int_equal(record_receive(NULL, NULL, NULL), 0);
    run_ns(2000000);
    assert_int_equal(record_receive(NULL, NULL, NULL), FN_GET_GSP_STATIC_INFO);
    fault_as = FAULT_HANG;
    message_send(FN_GET_GSP_STATIC_INFO, info, sizeof(info));
    run_ns(10 * late_ns());
    assert_int_equal(record_receive(NULL, NULL, NULL), 0);

    boot("gh100");
    run_ns(1000000);
    while (record_receive(NULL, NULL, NULL) != 0)
        ;
    fault_name = "rpc.checksum";
    message_send(FN_GET_GSP_STATIC_INFO, info, sizeof(info));
    run_ns(1000000);
    const uint8_t *record = guest_at(SHARED + STATUS + 4096 + status_read * 4096, 4096);
    assert_int_not_equal(sum(record, 80 + sizeof(info)), 0);
    assert_int_equal(refusals, 0);
}

/* A reset in the middle leaves nothing that would still write to the guest. */
static void test_stop_at_any_time(void **state)
{
    for (uint64_t after_ns = 0; after_ns < 6000000; after_ns += 250000) {
        uint64_t start, end;
        begin("gb202");
        system_info_send();
        registry_send(1);
        assert_int_equal(gsp_rm_load(m, WPR_META, &start, &end), 0);
        gsp_rm_start(m, WPR_META, LIBOS);
        run_ns(after_ns);
        gsp_rm_stop(m);
        assert_int_equal(timer_count, 0);
        uint32_t write = get_shared(STATUS + 16);
        run_ns(1000000000);
        assert_int_equal(get_shared(STATUS + 16), write);
        gsp_rm_doorbell(m, 0);
        assert_int_equal(timer_count, 0);
    }
}

static int set_up(void **state)
{
    guest = malloc(GUEST_BYTES);
    m->vram = mmap(NULL, VRAM_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (guest == NULL || m->vram == MAP_FAILED)
        return -1;
    for (size_t i = 0; i < sizeof(image); i++)
        image[i] = (uint8_t)(i * 7 + i / 4096);
    PUT32(bootloader_file, 12, 24); /* nvfw_bin_hdr: descriptor, data, bytes */
    PUT32(bootloader_file, 16, 0x100);
    PUT32(bootloader_file, 20, BOOT_BYTES);
    PUT32(bootloader_file, 24 + 48, 0x1000);
    PUT32(bootloader_file, 24 + 40, 0x2000);
    PUT32(bootloader_file, 24 + 32, 0x3000);
    for (unsigned i = 0; i < BOOT_BYTES; i++)
        bootloader_file[0x100 + i] = (uint8_t)(i * 13);
    return rm_init(m);
}

static int tear_down(void **state)
{
    gsp_rm_stop(m);
    free(m->rm->message.payload);
    free(m->rm);
    free(guest);
    return munmap(m->vram, VRAM_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_chip_boots),
        cmocka_unit_test(test_wpr_metadata_is_checked),
        cmocka_unit_test(test_image_bytes_are_compared),
        cmocka_unit_test(test_start_arguments_are_checked),
        cmocka_unit_test(test_long_registry_needs_continuation),
        cmocka_unit_test(test_bad_records_get_no_answer),
        cmocka_unit_test(test_queues_wrap),
        cmocka_unit_test(test_full_status_queue_waits),
        cmocka_unit_test(test_object_tree_is_strict),
        cmocka_unit_test(test_channel_life),
        cmocka_unit_test(test_channel_parameters_are_checked),
        cmocka_unit_test(test_contexts_are_checked),
        cmocka_unit_test(test_fault_is_told),
        cmocka_unit_test(test_faults_on_demand),
        cmocka_unit_test(test_stop_at_any_time),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
