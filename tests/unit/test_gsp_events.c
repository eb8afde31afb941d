/*
 * tests/unit/test_gsp_events.c: what the GSP tells unasked: error lines, channel errors, the CPU sequencer's lists, good and
 * bad; and what can be read of its logs.
 */
#include "gpu/nvidia/gsp/crash.h"
#include "gpu/nvidia/gsp/events.h"
#include "gpu/nvidia/gsp/logs.h"
#include "tests/unit/gsp_peer.h"

#define LIBOS_DMA UINT64_C(0x123456789000)

static struct gsp_events events;

static int setup_chip(const char *chip)
{
    host_clock_fake(true);
    peer_open(chip);
    peer_start(&peer);
    gsp_events_init(&events, &peer.rpc, &peer.hw, LIBOS_DMA);
    events.app_version = 0x77;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_chip("ga102");
}

static int teardown(void **state)
{
    (void)state;
    peer_close();
    return 0;
}

/* ---- the CPU sequencer ---- */

static int run(const uint32_t *words, uint32_t count)
{
    static uint8_t message[40 + 4096];
    memset(message, 0, sizeof(message));
    put32(message, 1024);
    put32(message + 4, count);
    for (uint32_t i = 0; i < count; i++)
        put32(message + 40 + i * 4, words[i]);
    return gsp_events_run_sequencer(&events, message, 40 + count * 4);
}

#define RUN(...) run((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4)

static void test_registers(void **state)
{
    (void)state;
    peer_registers[0x2000 / 4] = 0xff00ff00;
    assert_int_equal(RUN(0, 0x1000, 0x12345678,       /* write */
                         1, 0x2000, 0xffff, 0x0042,   /* modify */
                         2, 0x1000, 0xff, 0x78, 1, 9, /* poll: there already */
                         3, 20,                       /* delay */
                         4, 0x1000, 7),               /* store */
                     0);
    assert_int_equal(peer_registers[0x1000 / 4], 0x12345678);
    assert_int_equal(peer_registers[0x2000 / 4], 0xff000042);
    assert_int_equal(time_ns(), 20 * NS_PER_US);
    assert_int_equal(RUN(3, 250000), 0);
    assert_int_equal(host_clock_ms(), 250);
    assert_int_equal(run(NULL, 0), 0);
}

static void test_poll_times_out(void **state)
{
    (void)state;
    assert_int_equal(RUN(2, 0x1000, 0xff, 0x78, 200000, 9, 0, 0x2000, 1), -ETIMEDOUT);
    assert_in_range(host_clock_ms(), 200, 202);
    assert_int_equal(peer_registers[0x2000 / 4], 0); /* what comes after is not done */
    assert_non_null(strstr(peer.hw.error, "CPU sequencer: register poll"));
}

/* A list with a mistake anywhere does nothing at all. */
static void test_bad_lists(void **state)
{
    static const struct {
        uint32_t words[8];
        uint32_t count;
        const char *what;
    } lists[] = {
        {{0, 0x1000, 1, 9}, 4, "operation 0x9 at word 3 of 4"},
        {{0, 0x1000, 1, UINT32_MAX}, 4, "operation 0xffffffff"},
        {{0, 0x1000, 1, 0, 0x1000}, 5, "register write at word 3 of 5 is cut off"},
        {{0, 0x1000, 1, 2, 0x1000, 1, 1, 1}, 8, "register poll at word 3 of 8 is cut off"},
        {{0, 0x1000, 1, 3}, 4, "delay at word 3 of 4 is cut off"},
        {{0, 0x1000, 1, 0, 0x1002, 1}, 6, "register write of 0x1002, which is no register"},
        {{0, 0x1000, 1, 0, PEER_REGISTER_BYTES, 1}, 6, "which is no register"},
        {{0, 0x1000, 1, 0, 0xfffffffc, 1}, 6, "which is no register"},
        {{0, 0x1000, 1, 3, 1000001}, 5, "a delay of 1000001 us"},
        {{0, 0x1000, 1, 4, 0x1000, 8}, 6, "register store to slot 8 of 8"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(lists); i++) {
        assert_int_equal(run(lists[i].words, lists[i].count), -EPROTO);
        if (strstr(peer.hw.error, lists[i].what) == NULL)
            fail_msg("'%s' has no '%s'", peer.hw.error, lists[i].what);
        assert_int_equal(peer_registers[0x1000 / 4], 0);
        teardown(state);
        setup(state);
    }
}

static void test_bad_messages(void **state)
{
    (void)state;
    uint8_t message[48] = {0};
    assert_int_equal(gsp_events_run_sequencer(&events, message, 0), -EPROTO);
    assert_int_equal(gsp_events_run_sequencer(&events, message, 39), -EPROTO);
    put32(message, 10);
    put32(message + 4, 3); /* three words, room for two */
    assert_int_equal(gsp_events_run_sequencer(&events, message, 48), -EPROTO);
    put32(message + 4, UINT32_MAX);
    assert_int_equal(gsp_events_run_sequencer(&events, message, 48), -EPROTO);
    put32(message, 2);
    put32(message + 4, 2); /* as many as the buffer has: RM leaves one free */
    assert_int_equal(gsp_events_run_sequencer(&events, message, 48), -EPROTO);
}

/* SEC2 hands the GSP over when it is started, unless told not to. */
static bool sec2_hands_over;

static bool sec2_write(uint32_t reg, uint32_t value)
{
    if ((reg == 0x840100 || reg == 0x840130) && (value & 2) != 0 && sec2_hands_over) {
        peer_registers[0x1180f8 / 4] |= 1u << 26;
        peer_registers[0x111388 / 4] |= 1u << 7;
    }
    return false;
}

static void test_core(void **state)
{
    (void)state;
    assert_int_equal(RUN(6), 0);
    assert_int_equal(peer_registers[0x110100 / 4], 2);
    assert_int_equal(RUN(7), -ETIMEDOUT);
    assert_in_range(host_clock_ms(), 4000, 4002);
    peer_registers[0x110100 / 4] = 0x10;
    assert_int_equal(RUN(7), 0);
    assert_int_equal(RUN(5), 0);
    assert_int_equal(peer_registers[0x1103c0 / 4] & 1, 0);
    assert_int_equal(peer_registers[0x11010c / 4], 0); /* no context needed for DMA */
}

static void test_resume(void **state)
{
    (void)state;
    peer_take_write = sec2_write;
    sec2_hands_over = true;
    assert_int_equal(RUN(8), 0);
    assert_int_equal(peer_registers[0x110040 / 4], (uint32_t)LIBOS_DMA);
    assert_int_equal(peer_registers[0x110044 / 4], LIBOS_DMA >> 32);
    assert_int_equal(peer_registers[0x111668 / 4] & 0x10, 0x10);
    assert_int_equal(peer_registers[0x110080 / 4], 0x77);
}

static void test_resume_fails(void **state)
{
    peer_take_write = sec2_write;
    sec2_hands_over = false;
    assert_int_equal(RUN(8), -ETIMEDOUT);
    teardown(state);
    setup(state);
    peer_take_write = sec2_write;
    sec2_hands_over = true;
    peer_registers[0x840040 / 4] = 0x31;
    assert_int_equal(RUN(8), -EIO);
    assert_non_null(strstr(peer.hw.error, "mailbox 0x31"));
}

/* A list that fails ends the wait for INIT_DONE. */
static void test_failed_list_ends_start(void **state)
{
    (void)state;
    uint8_t message[44] = {0};
    put32(message, 2);
    put32(message + 4, 1);
    put32(message + 40, 99);
    peer_send(&peer, 0x1002, 0, message, sizeof(message));
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, 10 * NS_PER_S), -EPROTO);
    assert_int_equal(host_clock_ms(), 0);
    assert_int_equal(events.sequencer_error, -EPROTO);
    assert_non_null(strstr(peer.rpc.error, "operation 0x63"));
}

/* ---- errors ---- */

static struct gsp_channel_error last_error;
static char last_text[64];
static unsigned error_count;

static void on_channel_error(void *arg, const struct gsp_channel_error *error)
{
    assert_ptr_equal(arg, &events);
    last_error = *error;
    snprintf(last_text, sizeof(last_text), "%s", error->text);
    error_count++;
}

static void test_channel_error(void **state)
{
    (void)state;
    error_count = 0;
    events.on_channel_error = on_channel_error;
    events.on_channel_error_arg = &events;
    uint8_t log[272] = {0}, rc[48] = {0};
    put32(log, 31);
    put32(log + 8, 5);
    memcpy(log + 12, "MMU Fault: somewhere\n\n", 22);
    put32(rc, 1);
    put32(rc + 4, 5);
    put32(rc + 16, 31);
    put32(rc + 28, 0xdead0000);
    put32(rc + 32, 0x7f);
    put32(rc + 36, 2);
    peer_send(&peer, 0x1005, 0, NULL, 0);
    peer_send(&peer, 0x1006, 0, log, sizeof(log));
    peer_send(&peer, 0x1004, 0, rc, sizeof(rc));
    assert_int_equal(rpc_poll(&peer.rpc), 3);
    assert_int_equal(error_count, 1);
    assert_int_equal(last_error.channel_id, 5);
    assert_int_equal(last_error.xid, 31);
    assert_int_equal(last_error.fault_address, UINT64_C(0x7fdead0000));
    assert_int_equal(last_error.fault_type, 2);
    assert_string_equal(last_text, "MMU Fault: somewhere");
    assert_string_equal(gsp_xid_name(31), "MMU fault");
    assert_null(gsp_xid_name(9999));
    assert_int_equal(events.mmu_faults, 1);
    assert_int_equal(events.error_lines, 1);
}

static void no_answer(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    (void)p;
    (void)bytes;
    assert_int_equal(function, 202);
    assert_int_equal(size, 0);
}

/* Xid 141 is no error but a question whether the errors before it have been noted. */
static void test_acknowledges(void **state)
{
    (void)state;
    error_count = 0;
    events.on_channel_error = on_channel_error;
    peer.answer = no_answer;
    uint8_t rc[48] = {0};
    put32(rc + 16, 141);
    peer_send(&peer, 0x1004, 0, rc, sizeof(rc));
    assert_int_equal(rpc_poll(&peer.rpc), 1);
    assert_int_equal(error_count, 0);
    assert_int_equal(peer.messages, 1);
}

/* Every event in every length: nothing is read past its end (the address sanitizer looks). */
static void test_short_events(void **state)
{
    (void)state;
    uint8_t bytes[300];
    memset(bytes, 0xff, sizeof(bytes));
    events.on_channel_error = NULL;
    unsigned count = 0;
    for (uint32_t event = 0x1000; event <= 0x1023; event++) {
        if (event == 0x1002)
            continue; /* the sequencer: above */
        for (uint32_t size = 0; size < sizeof(bytes); size += 7) {
            peer_send(&peer, event, 0, bytes, size);
            assert_int_equal(rpc_poll(&peer.rpc), 1);
            count++;
        }
    }
    assert_int_equal(peer.rpc.events, count);
    assert_true(events.is_in_lockdown);
}

/* ---- logs ---- */

#define META UINT64_C(0x1004a30)

static void test_log_split(void **state)
{
    (void)state;
    const uint64_t words[] = {1, 2, 3, META, 5000, META + 64, 6000, 7, META + 4096, 1000000};
    struct gsp_log_record records[8];
    assert_int_equal(gsp_log_split(words, ARRAY_COUNT(words), records, 8), 3);
    assert_int_equal(records[0].arg_count, 3);
    assert_int_equal(records[0].args[2], 3);
    assert_int_equal(records[0].time_ns, 5000);
    assert_int_equal(records[1].arg_count, 0);
    assert_int_equal(records[1].meta, META + 64);
    assert_int_equal(records[2].arg_count, 1);
    assert_int_equal(records[2].args[0], 7);
    assert_int_equal(gsp_log_split(words, ARRAY_COUNT(words), records, 1), 1);
    assert_int_equal(records[0].time_ns, 1000000);
    assert_int_equal(gsp_log_split(words, 1, records, 8), 0);
    assert_int_equal(gsp_log_split(words, 0, records, 8), 0);
    uint64_t ones[64];
    memset(ones, 0xff, sizeof(ones));
    assert_in_range(gsp_log_split(ones, 64, records, 8), 1, 8);
}

/* The text of the log's last line. */
static void last_line(char *out, size_t size, unsigned *lines)
{
    static uint64_t from = 1;
    struct log_line line;
    *lines = 0;
    while (log_read(from, &line)) {
        from = line.sequence + 1;
        ++*lines;
        snprintf(out, size, "%s", line.text);
    }
}

static void ring_put(uint64_t *words, uint64_t count, uint64_t value)
{
    words[1 + words[0] % (count - 1)] = value;
    words[0]++;
}

static void test_log_drain(void **state)
{
    (void)state;
    static uint64_t words[33];
    memset(words, 0, sizeof(words));
    struct gsp_log_ring ring = {.task = "RM", .words = words, .word_count = ARRAY_COUNT(words)};
    char text[240];
    unsigned lines;
    last_line(text, sizeof(text), &lines);
    assert_int_equal(gsp_log_drain(&ring, "nvidia0", LOG_DEBUG, 100), 0);
    uint64_t name;
    memcpy(&name, "readable", 8);
    const uint64_t record[] = {7, name, META, 1002003004};
    for (unsigned i = 0; i < 4; i++)
        ring_put(words, ARRAY_COUNT(words), record[i]);
    assert_int_equal(gsp_log_drain(&ring, "nvidia0", LOG_DEBUG, 100), 4);
    last_line(text, sizeof(text), &lines);
    assert_int_equal(lines, 1);
    assert_string_equal(text,
                        "nvidia0: GSP RM [1.002003] @0x1004a30 0x7 0x656c626164616572 'readable'");
    /* Around the end, more than fits: what is lost is said. */
    for (unsigned i = 0; i < 40; i++)
        ring_put(words, ARRAY_COUNT(words), i % 2 == 0 ? META : 2000000000 + i);
    assert_int_equal(gsp_log_drain(&ring, "nvidia0", LOG_DEBUG, 100), 40);
    last_line(text, sizeof(text), &lines);
    assert_int_equal(lines, 1 + 16);
    assert_string_equal(text, "nvidia0: GSP RM [2.000000] @0x1004a30");
    assert_int_equal(gsp_log_drain(&ring, "nvidia0", LOG_DEBUG, 100), 0);
    /* Begun again, and a count from nowhere. */
    words[0] = 2;
    assert_int_equal(gsp_log_drain(&ring, "nvidia0", LOG_DEBUG, 100), 2);
    words[0] = UINT64_MAX;
    assert_int_equal(gsp_log_drain(&ring, "nvidia0", LOG_DEBUG, 3), UINT64_MAX - 2);
}

/* ---- a crash report in the falcon's data memory ---- */

static uint64_t dmem[512]; /* a queue of 1 KiB at 2 KiB */

/* Port 0 of the data memory: counts up with each word read. */
static uint32_t dmem_read(uint32_t reg)
{
    if (reg != 0x1101c4)
        return peer_registers[reg / 4];
    uint32_t at = peer_registers[0x1101c0 / 4] & 0xffffff;
    assert_true(at % 4 == 0 && at < sizeof(dmem));
    peer_registers[0x1101c0 / 4] += 4;
    return ((uint32_t *)dmem)[at / 4];
}

/* The queue's byte n; it wraps. */
static void dmem_put(uint32_t n, uint64_t value)
{
    dmem[(2048 + n % 1024) / 8] = value;
}

static uint64_t packet(unsigned type, unsigned words)
{
    return 0xdead | 1u << 16 | (uint64_t)(words - 1) << 22 | (uint64_t)type << 32;
}

static void crash(uint32_t get, uint32_t put)
{
    peer_on_read = dmem_read;
    peer_registers[0x110094 / 4] = 0xdead | 1u << 16 | 3u << 20;
    peer_registers[0x110310 / 4] = 2 | 1u << 3 | 2048; /* DMEM, one unit of 1 KiB, at 2 KiB */
    peer_registers[0x110314 / 4] = 0;
    peer_registers[0x110318 / 4] = put;
    peer_registers[0x11031c / 4] = get;
}

static void test_crash_report(void **state)
{
    (void)state;
    char text[240];
    unsigned lines;
    assert_false(gsp_crash_report(&peer.hw));
    crash(1000, 72); /* around the end */
    const uint64_t report[] = {packet(0, 7), 1,    2,    3,   0x2ff05, 0, 0x12345678, 13,
                               packet(3, 3), 0x10, 0x20, 0x30};
    for (unsigned i = 0; i < ARRAY_COUNT(report); i++)
        dmem_put(1000 + i * 8, report[i]);
    last_line(text, sizeof(text), &lines);
    assert_true(gsp_crash_report(&peer.hw));
    last_line(text, sizeof(text), &lines);
    assert_int_equal(lines, 2);
    assert_string_equal(text, "nvidia0: GSP crash: called from 0x10 0x20 0x30");
    assert_int_equal(peer_registers[0x11031c / 4], 72); /* read */
    assert_false(gsp_crash_report(&peer.hw));

    crash(1000, 40);
    assert_true(gsp_crash_report(&peer.hw));
    last_line(text, sizeof(text), &lines);
    assert_string_equal(
        text, "nvidia0: GSP crashed: exception of the kernel (partition 5, program 255) at pc "
              "0x12345678: load page fault, cause 0, data 0xd");
}

static void test_bad_crash_reports(void **state)
{
    char text[240];
    unsigned lines;
    static const struct {
        uint32_t reg, value;
    } spoils[] = {{0x110094, 0xdead | 2u << 16 |
                                 3u << 20}, /* another version, other registers, another memory */
                  {0x110094, 0xdead | 1u << 16 | 1u << 20},
                  {0x110310, 0 | 1u << 3 | 2048},
                  {0x110314, 0x7fffffff},
                  {0x110318, 1024},
                  {0x110318, 41},
                  {0x11031c, 0xfffffff8}};
    for (unsigned i = 0; i < ARRAY_COUNT(spoils); i++) {
        crash(0, 40);
        peer_registers[spoils[i].reg / 4] = spoils[i].value;
        last_line(text, sizeof(text), &lines);
        assert_true(gsp_crash_report(&peer.hw));
        last_line(text, sizeof(text), &lines);
        assert_int_equal(lines, 1);
        teardown(state);
        setup(state);
    }
    /* Packets of all types and of sizes that are not there: what is there is printed, and nothing more. */
    for (unsigned type = 0; type < 7; type++)
        for (unsigned words = 1; words <= 1024; words *= 4) {
            memset(dmem, 0xa5, sizeof(dmem));
            crash(8, 0);
            dmem_put(8, packet(type, words) | 3u << 20);
            dmem_put(520, packet(type, words));
            assert_true(gsp_crash_report(&peer.hw));
            assert_int_equal(peer_registers[0x11031c / 4], 0);
        }
    memset(dmem, 0xff, sizeof(dmem));
    crash(8, 0);
    assert_true(gsp_crash_report(&peer.hw));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers),
        TEST(poll_times_out),
        TEST(bad_lists),
        TEST(bad_messages),
        TEST(core),
        TEST(resume),
        TEST(resume_fails),
        TEST(failed_list_ends_start),
        TEST(channel_error),
        TEST(acknowledges),
        TEST(short_events),
        TEST(log_split),
        TEST(log_drain),
        TEST(crash_report),
        TEST(bad_crash_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
