/*
 * tests/unit/test_gsp_info.c: what goes to the Resource Manager before it starts, what it tells of the GPU, and the interrupt
 * tree with the task that serves it.
 */
#include "gpu/nvidia/gsp/info.h"
#include "gpu/nvidia/gsp/interrupt.h"
#include "tests/unit/gsp_peer.h"

#define TREE        0xb80000u
#define LEAF(i)     (TREE + 0x1000 + (i) * 4)
#define EN_SET(i)   (TREE + 0x1200 + (i) * 4)
#define EN_CLEAR(i) (TREE + 0x1400 + (i) * 4)
#define TOP_SET     (TREE + 0x1608)
#define TOP_CLEAR   (TREE + 0x1610)

static struct pci_device *pci;

static int open_chip(const char *chip)
{
    static uint8_t bar[4096];
    struct pci_device device = {.segment = 1,
                                .bus = 0x42,
                                .device = 3,
                                .vendor_id = 0x10de,
                                .device_id = 0x2204,
                                .subsystem_vendor_id = 0x10de,
                                .subsystem_id = 0x147d,
                                .revision = 0xa1,
                                .bar[0] = {.size_bytes = 4096},
                                .bar[1] = {.size_bytes = 4096},
                                .bar[3] = {.size_bytes = 4096}};
    void *const memory[6] = {bar, bar, NULL, bar};
    host_clock_fake(true);
    peer_open(chip);
    pci = host_pci_add(&device, memory);
    assert_int_equal(pci_enable(pci), 0);
    peer.hw.pci = pci;
    peer_start(&peer);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return open_chip("ga102");
}

static int teardown(void **state)
{
    (void)state;
    peer_close();
    host_pci_clear();
    return 0;
}

/* ---- what goes out ---- */

static uint8_t sent[4096];
static uint32_t sent_bytes, sent_function;

static void keep(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    (void)p;
    sent_function = function;
    sent_bytes = size;
    assert_true(size <= sizeof(sent));
    memcpy(sent, bytes, size);
}

/* Offsets from gsp_static_config.h of 570.144, as gcc lays it out. */
static void test_system_info(void **state)
{
    peer.answer = keep;
    uint8_t *config = host_pci_config(pci);
    config[6] |= 0x10;
    config[0x34] = 0x78;
    config[0x78] = 0x10;
    put32(config + 0x78 + 0x0c, 0x0045d104);
    assert_int_equal(gsp_info_send_system(&peer.rpc, &peer.hw), 0);
    assert_int_equal(sent_function, 72);
    assert_int_equal(sent_bytes, 928);
    assert_int_equal(get64(sent), pci->bar[0].pa);
    assert_int_equal(get64(sent + 8), pci->bar[1].pa);
    assert_int_equal(get64(sent + 16), pci->bar[3].pa);
    assert_int_equal(get64(sent + 32), UINT64_C(0x100004203));
    assert_int_equal(get64(sent + 72), UINT64_C(0x7ffffffff000));
    assert_int_equal(get32(sent + 80), 0x88000);
    assert_int_equal(get32(sent + 84), 0x1000);
    assert_int_equal(get32(sent + 88), 0x220410de);
    assert_int_equal(get32(sent + 92), 0x147d10de);
    assert_int_equal(get32(sent + 96), 0xa1);
    assert_int_equal(get32(sent + 900), 0x0045d104);
    assert_int_equal(get64(sent + 920), 4096);
    teardown(state);
    open_chip("gh100");
    peer.answer = keep;
    assert_int_equal(gsp_info_send_system(&peer.rpc, &peer.hw), 0);
    assert_int_equal(get32(sent + 80), 0x92000);
}

static void test_registry(void **state)
{
    (void)state;
    static const char *const wanted[] = {"RMSecBusResetEnable", "RMForcePcieConfigSave",
                                         "RMDevidCheckIgnore"};
    peer.answer = keep;
    assert_int_equal(gsp_info_send_registry(&peer.rpc, &peer.hw), 0);
    assert_int_equal(sent_function, 73);
    assert_int_equal(get32(sent), sent_bytes);
    assert_int_equal(get32(sent + 4), 3);
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *entry = sent + 8 + i * 16;
        assert_true(get32(entry) >= 8 + 3 * 16 && get32(entry) < sent_bytes);
        assert_non_null(memchr(sent + get32(entry), 0, sent_bytes - get32(entry)));
        assert_string_equal((const char *)sent + get32(entry), wanted[i]);
        assert_int_equal(entry[4], 1);
        assert_int_equal(get32(entry + 8), 1);
        assert_int_equal(get32(entry + 12), 4);
    }
}

/* ---- what comes back ---- */

static uint8_t reply[4096];
static uint32_t reply_bytes;

static void give(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    (void)bytes;
    (void)size;
    peer_send(p, function, 0, reply, reply_bytes);
}

static void put64(uint8_t *p, uint64_t value)
{
    put32(p, (uint32_t)value);
    put32(p + 4, (uint32_t)(value >> 32));
}

static void put_region(unsigned i, uint64_t base, uint64_t limit, bool is_reserved)
{
    uint8_t *region = reply + 352 + i * 48;
    memset(region, 0, 48);
    put64(region, base);
    put64(region + 8, limit);
    put64(region + 16, is_reserved ? limit - base + 1 : 0);
    region[28] = region[29] = 1;
}

static void good_static_info(void)
{
    memset(reply, 0, sizeof(reply));
    reply_bytes = 1656;
    peer.answer = give;
    put32(reply + 32, 16);
    for (unsigned i = 0; i < 16; i++)
        reply[36 + i] = (uint8_t)(0x10 + i);
    put32(reply + 344, 3);
    put_region(0, UINT64_C(0x5f0000000), UINT64_C(0x5ffffffff), true);
    put_region(1, 0, 0xfffff, true);
    put_region(2, 0x100000, UINT64_C(0x5efffffff), false);
    put64(reply + 1224, UINT64_C(24) << 30);
    put32(reply + 1240, 384);
    put32(reply + 1244, 0x12);
    put32(reply + 1256, 6 << 20);
    memcpy(reply + 1260, "NVIDIA GeForce RTX 3090", 24);
    memset(reply + 1324, 'A', 64); /* no end */
    put32(reply + 1600, 0xc1d00001);
    put32(reply + 1604, 0xcaf00001);
    put32(reply + 1608, 0xabcd0001);
    put64(reply + 1536, 0x123000);
}

static void test_static_info(void **state)
{
    (void)state;
    struct gsp_info info;
    good_static_info();
    assert_int_equal(gsp_info_read_static(&peer.rpc, &peer.hw, &info), 0);
    assert_string_equal(info.name, "NVIDIA GeForce RTX 3090");
    assert_int_equal(strlen(info.short_name), 63);
    assert_string_equal(info.uuid, "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f");
    assert_int_equal(info.vram_bytes, UINT64_C(24) << 30);
    assert_string_equal(gsp_info_vram_type_name(info.vram_type), "GDDR6X");
    assert_int_equal(info.vram_bus_bits, 384);
    assert_int_equal(info.l2_cache_bytes, 6 << 20);
    assert_int_equal(info.internal_subdevice, 0xabcd0001);
    assert_int_equal(info.bar1_pde_base, 0x123000);
    assert_int_equal(info.region_count, 3);
    assert_int_equal(info.region[0].base, 0);
    assert_true(info.region[0].is_reserved);
    assert_int_equal(info.region[1].base, 0x100000);
    assert_int_equal(info.region[1].bytes, UINT64_C(0x5eff00000));
    assert_false(info.region[1].is_reserved);
    assert_int_equal(info.region[2].base, UINT64_C(0x5f0000000));
}

static void check_refused(const char *what)
{
    struct gsp_info info;
    peer.hw.error[0] = '\0';
    assert_int_equal(gsp_info_read_static(&peer.rpc, &peer.hw, &info), -EPROTO);
    if (strstr(peer.hw.error, what) == NULL)
        fail_msg("'%s' has no '%s'", peer.hw.error, what);
}

static void test_bad_static_info(void **state)
{
    (void)state;
    good_static_info();
    reply_bytes = 1655;
    check_refused("1655 bytes of 1656");
    good_static_info();
    put32(reply + 344, 0);
    check_refused("0 regions");
    put32(reply + 344, 17);
    check_refused("17 regions");
    good_static_info();
    put_region(2, 0x100000, UINT64_C(24) << 30, false);
    check_refused("region 2 of VRAM is 0x100000..0x600000000");
    put_region(2, 0x100000, UINT64_MAX, false);
    check_refused("region 2");
    put_region(2, 0x100000, 0xfffff, false);
    check_refused("region 2");
    put_region(2, 0xfffff, 0x200000, false);
    check_refused("VRAM at 0xfffff is in two regions");
    good_static_info();
    put32(reply + 1608, 0);
    check_refused("RM's own handles");
}

/* ---- interrupts ---- */

static struct gsp_interrupts interrupts;
static const struct gsp_info info = {.internal_client = 0xc1, .internal_subdevice = 0xabcd};
static unsigned top_sets, rearms, event_count;

/* Leaves forget what is written as 1, enables collect. */
static bool tree_write(uint32_t reg, uint32_t value)
{
    if (reg >= LEAF(0) && reg <= LEAF(15)) {
        peer_registers[reg / 4] &= ~value;
        return true;
    }
    if (reg >= EN_CLEAR(0) && reg <= EN_CLEAR(15)) {
        peer_registers[(reg - 0x200) / 4] &= ~value;
        return true;
    }
    if (reg >= EN_SET(0) && reg <= EN_SET(15)) {
        peer_registers[reg / 4] |= value;
        return true;
    }
    if (reg == TOP_SET) {
        peer_registers[reg / 4] |= value;
        top_sets++;
        return true;
    }
    if (reg == TOP_CLEAR) {
        peer_registers[TOP_SET / 4] &= ~value;
        return true;
    }
    if (reg == 0x88704)
        rearms++;
    return false;
}

static void put_table(unsigned i, uint16_t engine, uint32_t stall, uint32_t non_stall)
{
    uint8_t *entry = reply + 24 + 4 + i * 16;
    put32(entry, engine);
    put32(entry + 8, stall);
    put32(entry + 12, non_stall);
}

static void good_table(void)
{
    memset(reply, 0, sizeof(reply));
    reply_bytes = 24 + 2068;
    peer.answer = give;
    put32(reply + 24, 5);
    put_table(0, 1, 200, 201);                /* timer: not served */
    put_table(1, 50, 155, UINT32_MAX);        /* GSP */
    put_table(2, 84, 64, 0);                  /* GR0 */
    put_table(3, 17, 67, 3);                  /* CE2 */
    put_table(4, 18, UINT32_MAX, UINT32_MAX); /* CE3 has none */
}

static void on_event(void *arg, uint32_t event, const void *payload, size_t bytes)
{
    (void)arg;
    (void)event;
    (void)payload;
    (void)bytes;
    event_count++;
}

static void start(bool has_msi, int want)
{
    peer_take_write = tree_write;
    memset(&peer_registers[LEAF(0) / 4], 0xff, 32); /* eight leaves: it is a GA102 */
    memset(&peer_registers[EN_SET(0) / 4], 0xff, 32);
    peer_registers[TOP_SET / 4] = UINT32_MAX;
    host_pci_msi(pci, has_msi);
    event_count = top_sets = rearms = 0;
    peer.rpc.on_event = on_event;
    assert_int_equal(gsp_interrupts_start(&interrupts, &peer.hw, &peer.rpc, 0), want);
    assert_int_equal(peer_registers[TOP_SET / 4], 0);
    for (unsigned leaf = 0; leaf < interrupts.leaf_count; leaf++) {
        assert_int_equal(peer_registers[EN_SET(leaf) / 4], 0);
        peer_registers[LEAF(leaf) / 4] = 0;
    }
    good_table();
    assert_int_equal(gsp_interrupts_route(&interrupts, &info), 0);
}

/* Set the bit and, when it is enabled, send the message. Gives the task its turn. */
static void raise_vector(uint32_t vector)
{
    uint32_t leaf = vector / 32, bit = 1u << vector % 32;
    peer_registers[LEAF(leaf) / 4] |= bit;
    if ((peer_registers[EN_SET(leaf) / 4] & bit) != 0 &&
        (peer_registers[TOP_SET / 4] & 1u << leaf / 2) != 0) {
        if (interrupts.msix_count > 0)
            assert_true(host_pci_msix_raise(pci, 2));
        else
            assert_true(host_pci_msi_raise(pci));
        assert_int_equal(peer_registers[TOP_SET / 4], 0);
    }
    task_yield();
}

static void stop(void)
{
    gsp_interrupts_stop(&interrupts);
    assert_int_equal(peer_registers[TOP_SET / 4], 0);
    for (unsigned leaf = 0; leaf < 16; leaf++)
        assert_int_equal(peer_registers[EN_SET(leaf) / 4], 0);
    gsp_interrupts_stop(&interrupts); /* again: nothing left to do */
}

static void test_engine_interrupt(void **state)
{
    (void)state;
    start(true, 0);
    assert_int_equal(peer_registers[EN_SET(0) / 4], 0x9);
    assert_int_equal(peer_registers[EN_SET(4) / 4], 1u << 27);
    assert_int_equal(peer_registers[EN_SET(2) / 4], 0); /* stall vectors of engines are RM's */
    assert_int_equal(peer_registers[TOP_SET / 4], 0x5);
    struct event *copy = gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_CE0 + 2);
    struct event *graphics = gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_GR0);
    assert_non_null(copy);
    assert_non_null(graphics);
    assert_null(gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_CE0 + 3));
    assert_null(gsp_interrupts_engine_event(&interrupts, 1));

    uint32_t seen_copy = event_read(copy), seen_graphics = event_read(graphics);
    unsigned sets = top_sets, old_rearms = rearms;
    uint64_t now = time_ns();
    raise_vector(3);
    assert_int_equal(event_wait(copy, seen_copy, now + NS_PER_S), 0);
    assert_in_range(time_ns(), now, now + 2 * NS_PER_MS);
    assert_int_equal(event_read(graphics), seen_graphics);
    assert_int_equal(peer_registers[LEAF(0) / 4], 0);
    assert_int_equal(peer_registers[TOP_SET / 4], 0x5); /* the next may come */
    assert_true(top_sets > sets && rearms > old_rearms);
    assert_int_equal(interrupts.messages, 1);
    assert_int_equal(interrupts.served, 1);
    stop();
}

static unsigned trouble_count;

static void on_trouble(void *arg)
{
    (void)arg;
    trouble_count++;
}

static void test_gsp_interrupt(void **state)
{
    (void)state;
    start(true, 0);
    assert_true(peer.rpc.has_interrupt);
    peer_registers[0x110008 / 4] = 0x40;
    peer_registers[0x111528 / 4] = 0xff;
    peer_registers[0x11152c / 4] = 0xff;
    peer_send(&peer, 0x1006, 0, NULL, 0);
    uint64_t now = time_ns();
    raise_vector(155);
    assert_int_equal(event_count, 1);
    assert_in_range(time_ns(), now, now + 2 * NS_PER_MS);
    assert_int_equal(peer_registers[0x110004 / 4], 0x40); /* cleared before the queue was read */
    assert_int_equal(peer_registers[0x1103e8 / 4], 1);    /* and sent again if more has come */
    /* Sources that nobody knows are turned off; a halt is told to whoever can say why. */
    peer.rpc.on_trouble = on_trouble;
    trouble_count = 0;
    peer_registers[0x110008 / 4] = 0x90;
    raise_vector(155);
    assert_int_equal(trouble_count, 1);
    assert_int_equal(peer_registers[0x110004 / 4], 0x10);
    assert_int_equal(peer_registers[0x110014 / 4], 0x80);
    /* In lockdown its registers cannot be read. */
    peer_registers[0x110008 / 4] = 0xbadf5620;
    peer_registers[0x110004 / 4] = 0;
    peer_send(&peer, 0x1006, 0, NULL, 0);
    raise_vector(155);
    assert_int_equal(peer_registers[0x110004 / 4], 0);
    assert_int_equal(event_count, 2);
    stop();
    assert_false(peer.rpc.has_interrupt);
}

/* A lost message, and a device without interrupts: events are read within 100 ms all the same. */
static void test_lost_message(void **state)
{
    start(true, 0);
    peer_send(&peer, 0x1006, 0, NULL, 0);
    task_sleep_until(time_ns() + 110 * NS_PER_MS);
    assert_int_equal(event_count, 1);
    stop();
    teardown(state);
    setup(state);
    host_log_level(LOG_ERROR);
    start(false, -ENOTSUP);
    assert_int_equal(peer_registers[EN_SET(0) / 4], 0);
    assert_null(gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_GR0));
    peer_send(&peer, 0x1006, 0, NULL, 0);
    task_sleep_until(time_ns() + 110 * NS_PER_MS);
    assert_int_equal(event_count, 1);
    stop();
}

static void test_msix(void **state)
{
    (void)state;
    host_pci_msix_entries(pci, 6);
    start(false, 0);
    assert_int_equal(interrupts.msix_count, 6);
    unsigned old_rearms = rearms;
    raise_vector(0);
    assert_int_equal(interrupts.served, 1);
    assert_int_equal(rearms, old_rearms); /* that is for plain MSI */
    stop();
}

/* The GSP's vector while a call has the queue: the call reads the event, the task does not wait for it. */
static _Atomic bool call_ended;

static void silent(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    (void)p;
    (void)function;
    (void)bytes;
    (void)size;
}

static void long_call(void *arg)
{
    (void)arg;
    assert_int_equal(rpc_call(&peer.rpc, 76, NULL, 0, NULL, 0, NULL, 50 * NS_PER_MS), -ETIMEDOUT);
    atomic_store(&call_ended, true);
}

static void test_interrupt_during_call(void **state)
{
    (void)state;
    start(true, 0);
    peer.answer = silent;
    atomic_store(&call_ended, false);
    assert_int_equal(task_create("call", 0, 0, long_call, NULL), 0);
    task_yield();
    peer_send(&peer, 0x1006, 0, NULL, 0);
    raise_vector(155);
    struct event *graphics = gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_GR0);
    uint32_t seen = event_read(graphics);
    raise_vector(0);
    assert_int_equal(event_wait(graphics, seen, time_ns() + 5 * NS_PER_MS), 0);
    assert_false(atomic_load(&call_ended));
    assert_int_equal(event_count, 1);
    while (!atomic_load(&call_ended))
        task_yield();
    stop();
}

static void test_bad_table(void **state)
{
    (void)state;
    static const struct {
        uint32_t at, value;
        int error;
    } spoils[] = {
        {24, 0, -EPROTO}, {24, 129, -EPROTO}, {24, UINT32_MAX, -EPROTO}, {12, 0x57, -EIO}};
    peer_take_write = tree_write;
    host_pci_msi(pci, true);
    assert_int_equal(gsp_interrupts_start(&interrupts, &peer.hw, &peer.rpc, 0), 0);
    for (unsigned i = 0; i < ARRAY_COUNT(spoils); i++) {
        good_table();
        put32(reply + spoils[i].at, spoils[i].value);
        assert_int_equal(gsp_interrupts_route(&interrupts, &info), spoils[i].error);
    }
    good_table();
    reply_bytes = 24 + 2067;
    assert_int_equal(gsp_interrupts_route(&interrupts, &info), -EPROTO);
    assert_null(gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_GR0));
    /* Vectors past the tree are no vectors: 8 leaves before Hopper. */
    good_table();
    put_table(2, 84, 64, 256);
    put_table(3, 17, 67, 255);
    assert_int_equal(gsp_interrupts_route(&interrupts, &info), 0);
    assert_null(gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_GR0));
    assert_non_null(gsp_interrupts_engine_event(&interrupts, MC_ENGINE_IDX_CE0 + 2));
    assert_int_equal(peer_registers[EN_SET(7) / 4], 0x80000000);
    gsp_interrupts_stop(&interrupts);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(system_info),           TEST(registry),      TEST(static_info),  TEST(bad_static_info),
        TEST(engine_interrupt),      TEST(gsp_interrupt), TEST(lost_message), TEST(msix),
        TEST(interrupt_during_call), TEST(bad_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
