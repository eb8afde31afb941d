/*
 * tests/fuzz/fuzz_gsp_queue.c: the reader of the GSP's status queue and all that acts on its records: calls, events, the CPU
 * sequencer. The input is a GSP that does as it likes, as a list of steps:
 *
 *   0  offset (4 bytes), count, bytes   write into the status queue
 *   1  function (4), length (2), count, bytes   a whole record with the right checksum and number, repeated bytes as payload
 *   2  index (4)                        set the write index
 *   3  handle what has come
 *   4  length (2)                       a call, whose answer is whatever is there
 *   5  offset (4), count, bytes         the same as 0, while the call of the next step waits
 *   6  wait for an event
 *   7  a good queue header again
 *
 * The clock is the fake one, so waits cost nothing. Registers are 8 KiB of memory; the falcons lie outside of them.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/events.h"
#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/rpc.h"
#include "tests/host/host.h"

#define QUEUE_BYTES  0x40000u
#define ELEMENTS     63u
#define STEPS_MAX    200
#define RECORD_BYTES 65536u

static const uint8_t *input;
static size_t left;

static uint32_t take(unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && left > 0; i++, left--)
        value |= (uint32_t)*input++ << 8 * i;
    return value;
}

static struct rpc rpc;
static uint8_t *queue;
static uint32_t write_index, sequence;

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}

static void header(void)
{
    const uint32_t words[8] = {0, QUEUE_BYTES, 4096, ELEMENTS, write_index, 1, 32, 4096};
    memcpy(queue, words, sizeof(words));
}

static void patch(void)
{
    uint32_t at = take(4) % QUEUE_BYTES, count = take(1);
    for (uint32_t i = 0; i < count && left > 0; i++)
        queue[(at + i) % QUEUE_BYTES] = (uint8_t)take(1);
}

static void record(void)
{
    static uint8_t bytes[RECORD_BYTES];
    uint32_t function = take(4), length = take(2), count = take(1);
    if (length > RECORD_BYTES - 80)
        length = RECORD_BYTES - 80;
    uint32_t elements = (80 + length + 4095) / 4096;
    memset(bytes, 0, sizeof(bytes));
    put32(bytes + 36, sequence++);
    put32(bytes + 40, elements);
    put32(bytes + 48, 3u << 24);
    put32(bytes + 52, 0x43505256);
    put32(bytes + 56, 32 + length);
    put32(bytes + 60, function);
    for (uint32_t i = 0; i < count && i < length && left > 0; i++)
        bytes[80 + i] = (uint8_t)take(1);
    for (uint32_t i = count; i < length && count > 0; i++)
        bytes[80 + i] = bytes[80 + i % count];
    uint32_t sum = 0;
    for (uint32_t i = 0; i < elements * 4096; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, 4);
        sum ^= word;
    }
    put32(bytes + 32, sum);
    for (uint32_t i = 0; i < elements; i++)
        memcpy(queue + 4096 + (write_index + i) % ELEMENTS * 4096, bytes + i * 4096, 4096);
    write_index = (write_index + elements) % ELEMENTS;
    put32(queue + 16, write_index);
}

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void call(void)
{
    static uint8_t request[65536], reply[65536];
    uint32_t bytes = take(2) % sizeof(request);
    size_t got = SIZE_MAX;
    reply[bytes] = 0xa5;
    uint64_t start_ns = time_ns();
    int error = rpc_call(&rpc, take(1), request, bytes, reply, bytes, &got, 50 * NS_PER_MS);
    check(reply[bytes] == 0xa5 && got <= bytes);
    /* The deadline, the wait for room, and what a sequencer in between may take. */
    check(error != -ETIMEDOUT || time_ns() - start_ns < 4000 * NS_PER_S);
    check(error != -EPROTO || rpc.broken || rpc.event_error != 0);
}

static void write_later(void *arg)
{
    (void)arg;
    patch();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t registers[8192];
    static const struct hw_chip chip = {
        .name = "ga102", .chip_id_first = 0x172, .falcon = HW_FALCON_GA102};
    struct hw hw = {
        .name = "gpu", .chip = &chip, .bar0 = registers, .bar0_bytes = sizeof(registers)};
    struct gsp_events events;
    host_log_level(LOG_ERROR);
    host_clock_fake(true);
    memset(registers, 0, sizeof(registers));
    input = data;
    left = size;
    write_index = sequence = 0;
    uint64_t live = host_page_live_bytes();
    check(rpc_init(&rpc, &hw) == 0);
    gsp_events_init(&events, &rpc, &hw, 0x1000);
    queue = rpc.shared + rpc.status_offset;
    header();
    for (unsigned step = 0; left > 0 && step < STEPS_MAX && !rpc.broken; step++) {
        switch (take(1) % 8) {
        case 0:
            patch();
            break;
        case 1:
            record();
            break;
        case 2:
            put32(queue + 16, take(4));
            break;
        case 3:
            check(rpc_poll(&rpc) <= 64);
            break;
        case 4:
            call();
            break;
        case 5:
            check(task_create("later", 0, 0, write_later, NULL) == 0);
            break;
        case 6:
            rpc_wait_event(&rpc, 0x1001, 20 * NS_PER_MS);
            break;
        default:
            header();
            break;
        }
    }
    task_sleep_until(time_ns() + NS_PER_MS); /* a task that was started ends */
    rpc_fini(&rpc);
    check(host_page_live_bytes() == live);
    return 0;
}
