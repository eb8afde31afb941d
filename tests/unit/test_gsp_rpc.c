/*
 * tests/unit/test_gsp_rpc.c: calls to the GSP over the two queues, against a peer that behaves, and against one that breaks
 * every rule there is. On the fake clock, so that waits are exact: a call costs its deadline and not more.
 */
#include "tests/unit/gsp_peer.h"

#define CALL    76 /* GSP_RM_CONTROL */
#define OTHER   103
#define EVENT   0x1006
#define TIMEOUT (100 * NS_PER_MS)

static uint8_t payload[300000], reply[300000];

static int setup(void **state)
{
    (void)state;
    host_clock_fake(true);
    peer_open("ga102");
    peer_start(&peer);
    for (unsigned i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close();
    return 0;
}

static int call(size_t bytes)
{
    size_t got = SIZE_MAX;
    memset(reply, 0xee, sizeof(reply));
    int error = rpc_call(&peer.rpc, CALL, payload, bytes, reply, bytes, &got, TIMEOUT);
    if (error == 0) {
        assert_int_equal(got, bytes);
        assert_memory_equal(reply, payload, bytes);
        assert_int_equal(reply[bytes], 0xee);
    }
    return error;
}

/* ---- a peer that behaves ---- */

/* Payloads around each border: of 8 bytes, of an element, of a record; and of several records. */
static void test_echo(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,      1,     7,    8,     9,     4015,  4016,  4017,
                                   8111,   8112,  8113, 65455, 65456, 65457, 65464, 2 * 65456 - 1,
                                   131000, 250001};
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        unsigned messages = peer.messages;
        /* A full last record says "more may come", to our peer too: what is exactly full is not for echoing. */
        if (sizes[i] == 0 || sizes[i] % 65456 != 0) {
            assert_int_equal(call(sizes[i]), 0);
            assert_int_equal(peer.messages, messages + 1);
        }
    }
    assert_int_equal(host_clock_ms(), 0);
    assert_int_equal(peer.rpc.retries, 0);
}

/* Both rings go round many times, with records of all lengths over their ends. */
static void test_wrap(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (unsigned i = 0; i < 2000; i++) {
        seed = seed * 1664525 + 1013904223;
        assert_int_equal(call(seed >> 16), 0);
    }
    assert_int_equal(peer.rpc.command_sequence, peer.command_sequence);
    assert_int_equal(peer.messages, 2000);
}

/* A reply that is longer than the buffer is cut; a shorter one says so. */
static void test_reply_size(void **state)
{
    (void)state;
    size_t got;
    memset(reply, 0xee, sizeof(reply));
    assert_int_equal(rpc_call(&peer.rpc, CALL, payload, 100, reply, 10, &got, TIMEOUT), 0);
    assert_int_equal(got, 10);
    assert_int_equal(reply[10], 0xee);
    assert_int_equal(rpc_call(&peer.rpc, CALL, payload, 100, reply, 200, &got, TIMEOUT), 0);
    assert_int_equal(got, 100);
    assert_int_equal(rpc_call(&peer.rpc, CALL, payload, 100, NULL, 0, NULL, TIMEOUT), 0);
}

static void answer_error(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    peer_send(p, function, 0x1f, bytes, size);
}

static void test_rm_error(void **state)
{
    (void)state;
    peer.answer = answer_error;
    static const struct rpc_rm_control control = {.command = 0x20801234};
    size_t got = 0;
    assert_int_equal(
        rpc_call(&peer.rpc, CALL, &control, sizeof(control), reply, sizeof(control), &got, TIMEOUT),
        -EIO);
    assert_int_equal(peer.rpc.status, 0x1f);
    assert_string_equal(peer.rpc.error,
                        "GSP_RM_CONTROL 0x20801234: NV_ERR_INVALID_ARGUMENT (0x1f)");
    assert_int_equal(got, sizeof(control));
    peer.answer = NULL;
    assert_int_equal(call(40), 0);
    assert_int_equal(peer.rpc.status, 0);
}

/* ---- events ---- */

static uint32_t events[64];
static unsigned event_count;
static size_t event_bytes;

static void on_event(void *arg, uint32_t event, const void *bytes, size_t size)
{
    assert_ptr_equal(arg, &peer);
    assert_memory_equal(bytes, payload, size);
    events[event_count++ % 64] = event;
    event_bytes = size;
}

static void hear_events(void)
{
    event_count = 0;
    peer.rpc.on_event = on_event;
    peer.rpc.on_event_arg = &peer;
}

static void answer_after_events(struct peer *p, uint32_t function, const uint8_t *bytes,
                                uint32_t size)
{
    peer_send(p, EVENT, 0, payload, 20);
    peer_send(p, 0x1004, 0, payload, 5000);
    peer_send(p, function, 0, bytes, size);
    peer_send(p, 0x1022, 0, NULL, 0);
}

static void test_events_on_the_way(void **state)
{
    (void)state;
    hear_events();
    peer.answer = answer_after_events;
    assert_int_equal(call(100), 0);
    assert_int_equal(event_count, 2);
    assert_int_equal(events[0], EVENT);
    assert_int_equal(events[1], 0x1004);
    assert_int_equal(event_bytes, 5000);
    assert_int_equal(rpc_poll(&peer.rpc), 1);
    assert_int_equal(events[2], 0x1022);
    assert_int_equal(rpc_poll(&peer.rpc), 0);
}

static void test_wait_event(void **state)
{
    (void)state;
    hear_events();
    peer_send(&peer, EVENT, 0, payload, 8);
    peer_send(&peer, 0x1001, 0, payload, 4);
    peer_send(&peer, EVENT, 0, payload, 8);
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), 0);
    assert_int_equal(event_count, 2);
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), -ETIMEDOUT);
    assert_int_equal(event_count, 3);
    assert_int_equal(host_clock_ms(), 100);
    assert_non_null(strstr(peer.rpc.error, "GSP_INIT_DONE"));
}

/* Read by another task before the one that waits for it comes to wait. */
static void test_init_done_is_kept(void **state)
{
    (void)state;
    peer_send(&peer, 0x1001, 0, payload, 4);
    assert_int_equal(rpc_poll(&peer.rpc), 1);
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), 0);
    assert_int_equal(host_clock_ms(), 0);
    peer_send(&peer, 0x1001, 0x25, payload, 4);
    assert_int_equal(rpc_poll(&peer.rpc), 1);
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), -EIO);
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), -ETIMEDOUT);
}

/* GSP_INIT_DONE says how it went. */
static void test_event_with_error(void **state)
{
    (void)state;
    peer_send(&peer, 0x1001, 0x25, payload, 4);
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), -EIO);
    assert_int_equal(peer.rpc.status, 0x25);
    assert_non_null(strstr(peer.rpc.error, "GSP_INIT_DONE: "));
}

/* Inside on_event: a message without a reply goes out, a call is refused rather than waiting for itself. */
static int nested_call, nested_send;

static void nesting_event(void *arg, uint32_t event, const void *bytes, size_t size)
{
    (void)arg;
    (void)event;
    nested_call = rpc_call(&peer.rpc, CALL, payload, 8, NULL, 0, NULL, TIMEOUT);
    nested_send = rpc_send(&peer.rpc, 202, NULL, 0);
    assert_memory_equal(bytes, payload, size);
}

static void answer_to_nested(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    if (function == CALL)
        peer_send(p, function, 0, bytes, size);
}

static void test_nested(void **state)
{
    (void)state;
    peer.answer = answer_to_nested;
    peer.rpc.on_event = nesting_event;
    nested_call = nested_send = 1;
    peer_send(&peer, EVENT, 0, payload, 16);
    assert_int_equal(call(10), 0);
    assert_int_equal(nested_call, -EDEADLK);
    assert_int_equal(nested_send, 0);
    assert_int_equal(peer.messages, 2);
}

static void bad_event(void *arg, uint32_t event, const void *bytes, size_t size)
{
    (void)arg;
    (void)event;
    (void)bytes;
    (void)size;
    peer.rpc.event_error = -EIO;
}

/* An event that says all is lost ends the wait for another. */
static void test_event_ends_wait(void **state)
{
    (void)state;
    peer.rpc.on_event = bad_event;
    peer_send(&peer, 0x1002, 0, payload, 16);
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), -EIO);
    assert_int_equal(host_clock_ms(), 0);
    /* The same when another task had read it. */
    assert_int_equal(rpc_wait_event(&peer.rpc, 0x1001, TIMEOUT), -EIO);
    assert_int_equal(host_clock_ms(), 0);
}

/* ---- a peer that breaks the rules ---- */

/* The queue counts as broken: this and all later calls fail without waiting. */
static void check_broken(const char *words)
{
    uint64_t start_ms = host_clock_ms();
    assert_int_equal(call(8), -EPROTO);
    assert_true(peer.rpc.broken);
    if (strstr(peer.rpc.error, words) == NULL)
        fail_msg("'%s' has no '%s'", peer.rpc.error, words);
    assert_true(host_clock_ms() - start_ms <= 1);
    start_ms = host_clock_ms();
    unsigned doorbells = peer.doorbells;
    assert_int_equal(call(8), -EPROTO);
    assert_int_equal(rpc_send(&peer.rpc, CALL, payload, 8), -EPROTO);
    assert_int_equal(rpc_poll(&peer.rpc), -EPROTO);
    assert_int_equal(rpc_wait_event(&peer.rpc, EVENT, TIMEOUT), -EPROTO);
    assert_int_equal(host_clock_ms(), start_ms);
    assert_int_equal(peer.doorbells, doorbells);
}

static void silent(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    (void)p;
    (void)function;
    (void)bytes;
    (void)size;
}

static void answer_bad_checksum(struct peer *p, uint32_t function, const uint8_t *bytes,
                                uint32_t size)
{
    peer_record(p, function, 0, bytes, size)[80] ^= 0x10;
    peer_publish(p);
}

static void test_bad_checksum(void **state)
{
    (void)state;
    peer.answer = answer_bad_checksum;
    check_broken("bad checksum");
    assert_int_equal(peer.rpc.retries, 3);
}

/* A record whose last bytes arrive after its index is read again. */
static uint8_t *late_bytes;

static void arrive(void *arg)
{
    (void)arg;
    task_sleep_until(time_ns() + 150 * NS_PER_US);
    *late_bytes ^= 0x10;
}

static void answer_late_bytes(struct peer *p, uint32_t function, const uint8_t *bytes,
                              uint32_t size)
{
    late_bytes = peer_record(p, function, 0, bytes, size) + 80;
    *late_bytes ^= 0x10;
    peer_publish(p);
    assert_int_equal(task_create("arrive", 0, 0, arrive, NULL), 0);
}

static void test_bytes_arrive_late(void **state)
{
    (void)state;
    peer.answer = answer_late_bytes;
    assert_int_equal(call(100), 0);
    assert_int_equal(peer.rpc.retries, 2);
    assert_string_equal(peer.rpc.error, "");
}

static void answer_sequence(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    p->status_sequence += *(const uint32_t *)p->answer_arg;
    peer_send(p, function, 0, bytes, size);
}

static void test_wrong_sequence(void **state)
{
    (void)state;
    uint32_t skip = 1;
    peer.answer = answer_sequence;
    peer.answer_arg = &skip;
    check_broken("record 1 came from the GSP where 0 was next");
}

static void test_repeated_sequence(void **state)
{
    (void)state;
    uint32_t skip = 0;
    peer.answer = answer_sequence;
    peer.answer_arg = &skip;
    assert_int_equal(call(8), 0);
    skip = UINT32_MAX;
    check_broken("record 0 came from the GSP where 1 was next");
}

/* Spoil one word of the reply's first element, with the checksum made right again. */
struct spoil {
    uint32_t at, value;
};

static void answer_spoiled(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    const struct spoil *spoil = p->answer_arg;
    uint8_t *first = peer_record(p, function, 0, bytes, size);
    put32(first + 32, get32(first + 32) ^ get32(first + spoil->at) ^ spoil->value);
    put32(first + spoil->at, spoil->value);
    peer_publish(p);
}

static void test_element_count(void **state)
{
    static const uint32_t counts[] = {0, 2, 16, 17, 63, 64, UINT32_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(counts); i++) {
        struct spoil spoil = {40, counts[i]};
        peer.answer = answer_spoiled;
        peer.answer_arg = &spoil;
        check_broken("elements in the GSP's queue, where 1 are filled and 16 are the most");
        teardown(state);
        setup(state);
    }
}

static void test_length(void **state)
{
    static const uint32_t lengths[] = {0, 31, 4049, 65536, UINT32_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct spoil spoil = {56, lengths[i]};
        peer.answer = answer_spoiled;
        peer.answer_arg = &spoil;
        check_broken("bytes in a record of 1 elements");
        teardown(state);
        setup(state);
    }
}

static void test_signature(void **state)
{
    (void)state;
    struct spoil spoil = {52, 0x43505257};
    peer.answer = answer_spoiled;
    peer.answer_arg = &spoil;
    check_broken("begins with 0x43505257");
}

static void answer_write_index(struct peer *p, uint32_t function, const uint8_t *bytes,
                               uint32_t size)
{
    peer_record(p, function, 0, bytes, size);
    put32(p->status + 16, *(const uint32_t *)p->answer_arg);
}

static void test_write_index(void **state)
{
    static const uint32_t indexes[] = {63, 64, 0x80000000, UINT32_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(indexes); i++) {
        uint32_t index = indexes[i];
        peer.answer = answer_write_index;
        peer.answer_arg = &index;
        check_broken("is past its queue's 63 elements");
        teardown(state);
        setup(state);
    }
}

/* The index covers elements that nothing was put into: zeros are no record. */
static void test_write_index_too_far(void **state)
{
    (void)state;
    uint32_t index = 40;
    peer.answer = answer_write_index;
    peer.answer_arg = &index;
    assert_int_equal(call(8), 0); /* the first is there */
    peer.answer = silent;
    check_broken("a record of 0 elements");
}

static void test_read_index(void **state)
{
    (void)state;
    peer.is_deaf = true;
    put32(peer.status + 32, 63);
    check_broken("read index 63 is past the command queue's 63 elements");
}

/* The header of the status queue is used as it was when it was first good. */
static void test_header_changes(void **state)
{
    (void)state;
    assert_int_equal(call(8), 0);
    put32(peer.status + 12, 5);          /* element count */
    put32(peer.status + 28, 0x7fff0000); /* where they are */
    put32(peer.status + 24, 0x7fff0000);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(call(3000), 0);
}

static void test_strange_header(void **state)
{
    static const struct spoil spoils[] = {
        {0, 1},   {4, 0x3f000}, {4, 0x7fffffff}, {8, 2048},       {8, 0},
        {12, 62}, {12, 64},     {20, 0},         {24, 31},        {24, 0xfffffff0},
        {24, 33}, {28, 0},      {28, 0x3f001},   {28, 0xfffff000}};
    for (unsigned i = 0; i < ARRAY_COUNT(spoils); i++) {
        put32(peer.status + spoils[i].at, spoils[i].value);
        assert_int_equal(call(8), -ETIMEDOUT);
        assert_false(peer.rpc.status_linked);
        assert_non_null(strstr(peer.rpc.error, "strange header"));
        teardown(state);
        setup(state);
    }
}

/* ---- replies that do not come, or come wrong ---- */

static unsigned trouble_count;

static void on_trouble(void *arg)
{
    assert_ptr_equal(arg, &peer);
    trouble_count++;
}

static void test_no_reply(void **state)
{
    (void)state;
    trouble_count = 0;
    peer.rpc.on_trouble = on_trouble;
    peer.rpc.on_trouble_arg = &peer;
    peer.answer = silent;
    assert_int_equal(call(8), -ETIMEDOUT);
    assert_int_equal(trouble_count, 1);
    assert_int_equal(host_clock_ms(), 100);
    assert_string_equal(peer.rpc.error, "GSP_RM_CONTROL 0: no answer from the GSP within 100 ms");
    assert_int_equal(call(8), -ETIMEDOUT);
    assert_int_equal(call(8), -ETIMEDOUT);
    assert_int_equal(host_clock_ms(), 300);
    assert_int_equal(call(8), -ENODEV); /* three in a row: it is gone */
    assert_int_equal(rpc_send(&peer.rpc, CALL, payload, 8), -ENODEV);
    assert_int_equal(rpc_poll(&peer.rpc), -ENODEV);
    assert_int_equal(host_clock_ms(), 300);
    rpc_log_history(&peer.rpc);
}

/* An answer in between starts the count of unanswered calls anew. */
static void test_no_reply_now_and_then(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        peer.answer = silent;
        assert_int_equal(rpc_call(&peer.rpc, OTHER + i, payload, 8, NULL, 0, NULL, TIMEOUT),
                         -ETIMEDOUT);
        peer.answer = NULL;
        assert_int_equal(call(8), 0);
    }
}

static void test_never_starts(void **state)
{
    (void)state;
    memset(peer.status, 0, 4096);
    assert_int_equal(call(8), -ETIMEDOUT);
    assert_int_equal(host_clock_ms(), 100);
    assert_int_equal(rpc_poll(&peer.rpc), 0);
}

static void answer_other(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    peer_send(p, function + 1, 0, bytes, size);
    peer_send(p, 71, 0, bytes, size);
    peer_send(p, UINT32_MAX, 0, payload, size); /* an event by its number */
}

static void test_reply_to_another_function(void **state)
{
    (void)state;
    hear_events();
    host_log_level(LOG_ERROR);
    peer.answer = answer_other;
    assert_int_equal(call(8), -ETIMEDOUT);
    assert_int_equal(peer.rpc.late_replies, 2);
    assert_int_equal(event_count, 1);
    peer.answer = NULL;
    assert_int_equal(rpc_call(&peer.rpc, OTHER, payload, 8, reply, 8, NULL, TIMEOUT), 0);
}

/* The answer to a call that gave up comes before the next one's: it is not taken for it. */
static void test_reply_late(void **state)
{
    (void)state;
    peer.answer = silent;
    assert_int_equal(call(8), -ETIMEDOUT);
    assert_int_equal(call(8), -ETIMEDOUT);
    uint8_t old[8] = {9, 9, 9};
    peer.answer = NULL;
    peer_send(&peer, CALL, 0, old, 8);
    peer_send(&peer, CALL, 0, old, 8);
    assert_int_equal(call(8), 0); /* compares the reply */
    assert_int_equal(peer.rpc.late_replies, 2);
    assert_int_equal(peer.rpc.late_count, 0);
    assert_int_equal(call(8), 0);
}

/* Late in the middle of a call to another function, and between calls. */
static void test_reply_late_elsewhere(void **state)
{
    (void)state;
    peer.answer = silent;
    assert_int_equal(rpc_call(&peer.rpc, OTHER, payload, 8, NULL, 0, NULL, TIMEOUT), -ETIMEDOUT);
    peer.answer = NULL;
    peer_send(&peer, OTHER, 0, payload, 8);
    assert_int_equal(call(8), 0);
    assert_int_equal(peer.rpc.late_count, 0);
    assert_int_equal(rpc_call(&peer.rpc, OTHER, payload, 8, reply, 8, NULL, TIMEOUT), 0);
}

static void answer_truncated(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    (void)size;
    peer_send(p, function, 0, bytes, PEER_ECHO_PAYLOAD_MAX);
}

static void test_truncated_continuation(void **state)
{
    (void)state;
    peer.answer = answer_truncated;
    assert_int_equal(call(100000), -ETIMEDOUT);
    assert_int_equal(host_clock_ms(), 100);
    peer.answer = NULL;
    peer_send(&peer, 71, 0, payload, 34544); /* the rest, late: nobody's */
    assert_int_equal(call(100000), 0);
    assert_int_equal(peer.rpc.late_replies, 1);
}

static void answer_short(struct peer *p, uint32_t function, const uint8_t *bytes, uint32_t size)
{
    (void)size;
    peer_send(p, function, 0x56, bytes, 24);
}

/* A failed large call is answered by one short record. */
static void test_large_call_fails(void **state)
{
    (void)state;
    size_t got = 0;
    peer.answer = answer_short;
    assert_int_equal(rpc_call(&peer.rpc, CALL, payload, 200000, reply, 200000, &got, TIMEOUT),
                     -EIO);
    assert_int_equal(got, 24);
    assert_int_equal(host_clock_ms(), 0);
}

/* Events without end do not keep a call from its deadline. */
static void storming_event(void *arg, uint32_t event, const void *bytes, size_t size)
{
    (void)arg;
    (void)event;
    (void)bytes;
    (void)size;
    host_clock_advance_ns(NS_PER_MS);
    peer_send(&peer, EVENT, 0, payload, 8);
}

static void test_event_storm(void **state)
{
    (void)state;
    peer.answer = silent;
    peer.rpc.on_event = storming_event;
    peer_send(&peer, EVENT, 0, payload, 8);
    assert_int_equal(call(8), -ETIMEDOUT);
    assert_int_equal(host_clock_ms(), 101);
    assert_int_equal(rpc_poll(&peer.rpc), 64); /* bounded, too */
}

static void test_command_queue_full(void **state)
{
    (void)state;
    peer.is_deaf = true;
    unsigned sent = 0;
    while (rpc_send(&peer.rpc, CALL, payload, 8) == 0)
        sent++;
    assert_int_equal(sent, 62); /* one element stays free */
    assert_int_equal(host_clock_ms(), 1000);
    assert_non_null(strstr(peer.rpc.error, "its queue has been full for 1 s"));
    peer.is_deaf = false;
    peer.answer = silent;
    peer_work(&peer);
    assert_int_equal(peer.messages, 62);
    peer.answer = NULL;
    assert_int_equal(call(8), 0);
}

static void test_gpu_gone(void **state)
{
    (void)state;
    peer.answer = silent;
    peer_registers[0] = UINT32_MAX;
    assert_int_equal(rpc_call(&peer.rpc, CALL, payload, 8, NULL, 0, NULL, 10 * NS_PER_S), -ENODEV);
    assert_in_range(host_clock_ms(), 100, 102);
    assert_int_equal(call(8), -ENODEV);
}

/* ---- waking up ---- */

static void answer_later(void *arg)
{
    task_sleep_until(5 * NS_PER_MS + 300 * NS_PER_US);
    peer_send(&peer, CALL, 0, payload, 8);
    if (arg != NULL)
        event_signal(&peer.rpc.event);
}

/* With the interrupt the call goes on at once; without, it looks within a millisecond. */
static void test_interrupt_wakes(void **state)
{
    (void)state;
    peer.answer = silent;
    host_clock_step_ns(100 * NS_PER_US);
    assert_int_equal(task_create("later", 0, 0, answer_later, &peer), 0);
    assert_int_equal(call(8), 0);
    assert_int_equal(time_ns(), 5 * NS_PER_MS + 300 * NS_PER_US);
}

static void test_lost_interrupt(void **state)
{
    (void)state;
    peer.answer = silent;
    peer.rpc.has_interrupt = true;
    host_clock_step_ns(100 * NS_PER_US);
    assert_int_equal(task_create("later", 0, 0, answer_later, NULL), 0);
    assert_int_equal(call(8), 0);
    assert_in_range(time_ns(), 5 * NS_PER_MS + 300 * NS_PER_US, 6 * NS_PER_MS + 300 * NS_PER_US);
    assert_int_equal(peer.rpc.lost_interrupts, 1);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct rpc rpc;
    host_page_alloc_fail_after(0);
    assert_int_equal(rpc_init(&rpc, &peer.hw), -ENOMEM);
    host_page_alloc_fail_after(-1);
    assert_null(rpc.shared);
    assert_null(rpc.record);
}

static void test_names(void **state)
{
    (void)state;
    char buffer[16];
    assert_string_equal(rpc_function_name(103, buffer), "GSP_RM_ALLOC");
    assert_string_equal(rpc_function_name(0x1004, buffer), "RC_TRIGGERED");
    assert_string_equal(rpc_function_name(0xdeadbeef, buffer), "0xdeadbeef");
}

/* ---- several tasks on several cores at once, on the real clock ---- */

static _Atomic unsigned tasks_left, good_calls;

static void caller(void *arg)
{
    uint32_t mine = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t words[300], back[300];
        size_t got = 0;
        for (unsigned j = 0; j < 300; j++)
            words[j] = mine << 24 ^ i << 12 ^ j;
        if (rpc_call(&peer.rpc, CALL + mine % 3, words, sizeof(words), back, sizeof(back), &got,
                     NS_PER_S) == 0 &&
            got == sizeof(back) && memcmp(words, back, sizeof(back)) == 0)
            atomic_fetch_add(&good_calls, 1);
        if (i % 10 == 0)
            task_yield();
    }
    atomic_fetch_sub(&tasks_left, 1);
}

static void test_many_callers(void **state)
{
    (void)state;
    host_clock_fake(false);
    host_cores_start(4);
    atomic_store(&tasks_left, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(task_create("caller", i % 4, 0, caller, (void *)(uintptr_t)i), 0);
    uint64_t deadline_ns = time_ns() + 60 * NS_PER_S;
    while (atomic_load(&tasks_left) > 0) {
        assert_true(time_ns() < deadline_ns);
        task_sleep_until(time_ns() + NS_PER_MS);
    }
    assert_int_equal(atomic_load(&good_calls), 800);
    assert_int_equal(peer.rpc.calls, 800);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(echo),
        TEST(wrap),
        TEST(reply_size),
        TEST(rm_error),
        TEST(events_on_the_way),
        TEST(wait_event),
        TEST(init_done_is_kept),
        TEST(event_with_error),
        TEST(nested),
        TEST(event_ends_wait),
        TEST(bad_checksum),
        TEST(bytes_arrive_late),
        TEST(wrong_sequence),
        TEST(repeated_sequence),
        TEST(element_count),
        TEST(length),
        TEST(signature),
        TEST(write_index),
        TEST(write_index_too_far),
        TEST(read_index),
        TEST(header_changes),
        TEST(strange_header),
        TEST(no_reply),
        TEST(no_reply_now_and_then),
        TEST(never_starts),
        TEST(reply_to_another_function),
        TEST(reply_late),
        TEST(reply_late_elsewhere),
        TEST(truncated_continuation),
        TEST(large_call_fails),
        TEST(event_storm),
        TEST(command_queue_full),
        TEST(gpu_gone),
        TEST(interrupt_wakes),
        TEST(lost_interrupt),
        TEST(no_memory),
        TEST(names),
        TEST(many_callers), /* last: it starts more cores and the real clock */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
