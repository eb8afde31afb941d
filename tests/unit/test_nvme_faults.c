/*
 * tests/unit/test_nvme_faults.c: the NVMe driver when things go wrong: controllers that lie, stall, break or vanish,
 * and memory that runs out. Time is the fake clock's, so ten seconds of waiting cost none.
 *
 * bench_end() checks after every one of them that nothing stayed allocated, bus mastering is off, and the controller
 * saw nothing to object to: no doorbell of a dead queue, no DMA it should not do. Freed memory that a late command
 * touches is caught by the address sanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/volume/volume.h"
#include "tests/unit/nvme_bench.h"

static struct fake_nvme small_controller(void)
{
    return (struct fake_nvme){.cap_to = 2, .namespaces = {{.nsid = 1, .block_count = 10000}}};
}

static struct nvme_counters counters_now(void)
{
    struct nvme_counters counters;
    nvme_controller_counters(nvme_controller_get(0), &counters);
    return counters;
}

static bool is_alive(void)
{
    struct nvme_controller_info info;
    nvme_controller_info(nvme_controller_get(0), &info);
    return info.is_alive;
}

/* Poll until the request is done. */
static void wait_done(struct nvme_request *request)
{
    for (unsigned i = 0; !request->done; i++) {
        assert_true(i < 1000000);
        nvme_poll();
        task_yield();
    }
}

/* A read of one block, as proof that all is well again. */
static void check_works(struct fake_nvme *dev)
{
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request read = bench_request(NVME_READ, 0, 77, 1, &b);
    uint8_t block[512];
    assert_int_equal(nvme_run(&read), 0);
    fake_nvme_block_get(dev, 1, 77, block);
    assert_memory_equal(b.data, block, 512);
    bench_buffer_free(&b);
}

/* ---- start ----------------------------------------------------------------------------------------------------- */

/* A controller that never becomes ready costs exactly CAP.TO. */
static void test_start_times_out(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.never_ready = true;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 0);
    assert_int_equal(host_clock_ms(), 1000);
    assert_int_equal(dev.cc & 1, 0);
    bench_end(&dev);
}

static void test_start_of_one_that_never_stops(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.never_stops = true;
    dev.cc = 1;
    dev.csts = 1;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 0);
    assert_int_equal(host_clock_ms(), 2000); /* once to start, once more to leave it off */
    assert_int_equal(dev.enables, 0);
    bench_end(&dev);
}

/* What a controller says of itself is input. */
static void test_start_refuses(void **state)
{
    static const struct fake_nvme cases[] = {
        {.is_gone = true},
        {.is_fatal_when_enabled = true},
        {.css = 0x80},  /* admin commands only */
        {.mps_min = 1}, /* no pages of 4 KiB */
        {.entries_max = 1},
        {.sqes = 0x77},
        {.sqes = 0x55},
        {.cqes = 0x55},
        {.cqes = 0x33},
        {.cntrltype = 2},
        {.cntrltype = 3},
        {.bar_bytes = 4096},
        {.bar_bytes = 8192, .stride_shift = 9},
        {.list_is_unsorted = true, .namespaces = {{.nsid = 1, .block_count = 9}}},
        {.namespace_id_max = 1, .namespaces = {{.nsid = 2, .block_count = 9}}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fake_nvme dev = cases[i];
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 0);
        assert_null(nvme_controller_get(0));
        bench_end(&dev);
    }
}

/* One that cannot be used does not keep the others from being used. */
static void test_start_leaves_namespaces_out(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {
                                {.nsid = 1, .block_count = 100, .metadata_bytes = 8},
                                {.nsid = 2, .block_count = 100, .format = 5, .nlbaf = 3},
                                {.nsid = 3, .block_count = 100, .block_shift = 14},
                                {.nsid = 4, .block_count = 100, .format = 5, .nlbaf = 5},
                            }};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    assert_string_equal(nvme_namespace_get(0)->name, "nvme0n4");
    assert_null(nvme_namespace_get(1));
    bench_end(&dev);
}

/* Each admin command of the start refused, lost, answered with a wrong cid, answered twice: one after the other. */
static void test_start_with_each_admin_command_hit(void **state)
{
    static const enum nvme_fault_kind { REFUSED, LOST, WRONG, TWICE, KINDS } unused = REFUSED;
    static const enum fake_nvme_fault faults[KINDS] = {FAULT_STATUS, FAULT_LOST, FAULT_WRONG_CID,
                                                       FAULT_TWICE};
    (void)state;
    (void)unused;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        unsigned started = 0, n;
        for (n = 0;; n++) {
            struct fake_nvme dev = small_controller();
            dev.has_shadow_doorbells = true;
            dev.admin_fault = faults[kind];
            dev.admin_opcode = 0xff;
            dev.admin_skip = n;
            dev.admin_count = 1;
            dev.fault_status = NVME_STATUS(0, 0x06);
            fake_nvme_attach(&dev);
            int count = bench_start();
            bool was_hit = dev.admin_fault == FAULT_NONE;
            assert_in_range(host_clock_ms(), 0, kind == LOST && was_hit ? 10001 : 0);
            assert_int_equal(count == 1 ? nvme_namespace_get(0) != NULL || kind == REFUSED
                                        : nvme_controller_get(0) == NULL,
                             1);
            if (count == 1 && nvme_namespace_get(0) != NULL)
                check_works(&dev);
            started += was_hit && count == 1;
            bench_end(&dev);
            if (!was_hit)
                break;
        }
        /* Identify, queue count, shadow doorbells, two pairs of queues, namespace list, namespace */
        assert_int_equal(n, 9);
        /* Can be done without: shadow doorbells, the second pair (either half), the list, that namespace. */
        unsigned wanted[KINDS] = {5, 0, 9, 9};
        assert_int_equal(started, wanted[kind]);
    }
}

/* Each allocation of the start fails in turn. Without the second queue pair or shadow doorbells it still runs. */
static void test_start_with_each_allocation_failed(void **state)
{
    (void)state;
    int n, started = 0;
    for (n = 0;; n++) {
        struct fake_nvme dev = small_controller();
        dev.has_shadow_doorbells = true;
        fake_nvme_attach(&dev);
        host_page_alloc_fail_after(n);
        int count = bench_start();
        host_page_alloc_fail_after(-1);
        struct nvme_controller_info info = {0};
        if (count == 1) {
            nvme_controller_info(nvme_controller_get(0), &info);
            check_works(&dev);
            started++;
        }
        bench_end(&dev);
        if (info.queue_count == BENCH_CORES)
            break;
        assert_true(n < 50);
    }
    /* The controller, three for the admin queue, two for the doorbells, two for each queue pair. */
    assert_int_equal(n, 10);
    assert_int_equal(started, 3);
}

/* ---- errors ---------------------------------------------------------------------------------------------------- */

static void test_error_status(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.mdts = 1; /* 8 KiB: sixteen blocks */
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 128 * 512);
    dev.fault = FAULT_STATUS;
    dev.fault_skip = 3;
    dev.fault_count = 2;
    dev.fault_status = NVME_STATUS(2, 0x81);
    struct nvme_request read = bench_request(NVME_READ, 0, 0, 128, &b);
    assert_int_equal(nvme_run(&read), -EIO);
    char text[80];
    assert_string_equal(nvme_status_text(read.status, text, sizeof(text)),
                        "Unrecovered Read Error (2/81h)");
    assert_int_equal(counters_now().commands[NVME_CMD_READ][0], 6);
    assert_int_equal(counters_now().commands[NVME_CMD_READ][1], 2);

    static const struct {
        uint16_t status;
        int error;
    } cases[] = {{NVME_STATUS(2, 0x80), -EIO},
                 {NVME_STATUS(0, 0x20), -EROFS},
                 {NVME_STATUS(0, 0x81), -ENOSPC},
                 {NVME_STATUS(7, 0x01), -EIO},
                 {NVME_STATUS(0, 0x07), -EIO}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        dev.fault = FAULT_STATUS;
        dev.fault_count = 1;
        dev.fault_status = cases[i].status;
        struct nvme_request write = bench_request(NVME_WRITE, 0, 8, 16, &b);
        write.segments = &(struct dma_segment){b.segment.dma, 16 * 512};
        assert_int_equal(nvme_run(&write), cases[i].error);
        assert_int_equal(write.status, cases[i].status);
    }
    assert_int_equal(dev.resets, 0);
    check_works(&dev);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* After an error the rest of a request is not sent: with one entry, the commands behind the failing one never are. */
static void test_error_stops_the_rest(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.mdts = 1;
    dev.entries_max = 2;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 128 * 512);
    struct nvme_request write = bench_request(NVME_WRITE, 0, 0, 128, &b),
                        read = bench_request(NVME_READ, 0, 0, 128, &b);
    dev.fault = FAULT_STATUS;
    dev.fault_skip = 2;
    dev.fault_count = 1;
    dev.fault_status = NVME_STATUS(2, 0x80);
    assert_int_equal(nvme_submit(&write), 0);
    assert_int_equal(nvme_submit(&read), 0);
    wait_done(&write);
    assert_int_equal(write.error, -EIO);
    assert_int_equal(dev.writes, 2);
    wait_done(&read);
    assert_int_equal(read.error, 0);
    assert_int_equal(dev.io_commands, 3 + 8);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* Completions that name nothing in flight, and ones that come twice, end nobody's request early. */
static void test_wrong_completions(void **state)
{
    static const enum fake_nvme_fault faults[] = {FAULT_WRONG_CID, FAULT_WRONG_QUEUE, FAULT_TWICE};
    (void)state;
    for (size_t f = 0; f < ARRAY_COUNT(faults); f++) {
        struct fake_nvme dev = small_controller();
        dev.fault = faults[f];
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        for (unsigned i = 0; i < 300; i++)
            check_works(&dev);
        assert_true(counters_now().bad_completions >=
                    299); /* the last duplicate may not have been looked at */
        assert_int_equal(dev.resets, 0);
        bench_end(&dev);
    }
}

/* The slot of a command that was answered twice is used again before the second answer comes. */
static void test_duplicate_does_not_end_the_next(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.entries_max = 4;
    dev.holds_io = true;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request first = bench_request(NVME_READ, 0, 1, 1, &b),
                        second = bench_request(NVME_READ, 0, 2, 1, &b);
    assert_int_equal(nvme_submit(&first), 0);
    nvme_kick();
    dev.fault = FAULT_TWICE;
    dev.fault_count = 1;
    struct nvme_cqe *ring = (struct nvme_cqe *)(uintptr_t)dev.queues[1].cq_dma;
    fake_nvme_release(&dev, 0);
    struct nvme_cqe duplicate = ring[1];
    ring[1] = (struct nvme_cqe){0}; /* the second answer is on its way */
    assert_int_equal(nvme_poll(), 1);
    assert_int_equal(nvme_submit(&second), 0); /* takes the same slot */
    nvme_kick();
    assert_int_equal(dev.log[1].cid & 0xff, dev.log[0].cid & 0xff);
    ring[1] = duplicate;
    assert_int_equal(nvme_poll(), 0);
    assert_false(second.done);
    assert_int_equal(counters_now().bad_completions, 1);
    fake_nvme_release(&dev, 0);
    assert_int_equal(nvme_poll(), 1);
    assert_int_equal(second.error, 0);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* ---- commands that do not come back ---------------------------------------------------------------------------- */

/* Abort does its work: no reset, and what else was in flight does not notice. */
static void test_timeout_abort(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.abort_works = true;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request read = bench_request(NVME_READ, 0, 1, 1, &b);
    dev.fault = FAULT_LOST;
    dev.fault_count = 1;
    assert_int_equal(nvme_run(&read), -ETIMEDOUT);
    assert_int_equal(read.status, NVME_SC_ABORT_REQUESTED);
    assert_in_range(host_clock_ms(), 10000, 11000);
    assert_int_equal(dev.aborts, 1);
    assert_int_equal(dev.resets, 0);
    struct nvme_counters counters = counters_now();
    assert_int_equal(counters.timeouts, 1);
    assert_int_equal(counters.aborts, 1);
    assert_int_equal(counters.resets, 0);
    check_works(&dev);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* It was late, not lost: the answer that comes with the abort counts. */
static void test_timeout_late_success(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.abort_completes = true;
    dev.holds_io = true;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request read = bench_request(NVME_READ, 0, 1, 1, &b);
    assert_int_equal(nvme_run(&read), 0);
    assert_in_range(host_clock_ms(), 10000, 11000);
    assert_int_equal(dev.resets, 0);
    dev.holds_io = false;
    check_works(&dev);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/*
 * Abort does not help: the controller is reset before the request ends, its memory can go, and the answer that was on
 * its way has nowhere to land. Reads that were merely in flight start over; a write does not.
 */
static void check_reset(enum fake_nvme_fault fault)
{
    struct fake_nvme dev = small_controller();
    dev.has_shadow_doorbells = true;
    dev.mdts = 1;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer lost = bench_buffer_make(0, 512), other = bench_buffer_make(0, 128 * 512),
                        data = bench_buffer_make(0, 512);
    struct nvme_request lost_read = bench_request(NVME_READ, 0, 1, 1, &lost);
    dev.fault = fault;
    dev.fault_count = 1;
    assert_int_equal(nvme_submit(&lost_read), 0);
    nvme_kick();
    for (unsigned i = 0; i < NVME_CLOCK_POLLS;
         i++) /* until the clock is looked at, which starts its time */
        nvme_poll();
    task_sleep_until(9 * NS_PER_S); /* the others are nine seconds younger */

    dev.holds_io = true;
    struct nvme_request other_read = bench_request(NVME_READ, 0, 100, 128, &other);
    struct nvme_request write = bench_request(NVME_WRITE, 0, 300, 1, &data);
    struct nvme_request flush = bench_request(NVME_FLUSH, 0, 0, 0, NULL);
    assert_int_equal(nvme_submit(&other_read), 0);
    assert_int_equal(nvme_submit(&write), 0);
    assert_int_equal(nvme_submit(&flush), 0);
    nvme_kick();
    assert_int_equal(dev.held_count, 8 + 2);
    fake_nvme_release(&dev, 3); /* an eighth of the read is there */
    dev.holds_io = false;       /* what comes after the reset is answered */
    while (dev.resets == 0) {
        assert_false(lost_read.done);
        nvme_poll();
        task_yield();
    }
    wait_done(&lost_read);
    assert_int_equal(dev.resets, 1);
    assert_int_equal(lost_read.error, -ETIMEDOUT);
    assert_int_equal(lost_read.status, NVME_SC_ABORTED_BY_HOST);
    bench_buffer_check_guards(&lost);
    bench_buffer_free(&lost); /* from here on the sanitizer watches it */
    wait_done(&other_read);
    assert_int_equal(other_read.error, 0);
    uint8_t block[512];
    for (unsigned i = 0; i < 128; i++) {
        fake_nvme_block_get(&dev, 1, 100 + i, block);
        assert_memory_equal(other.data + i * 512, block, 512);
    }
    wait_done(&write);
    assert_int_equal(write.error, -EIO);
    assert_int_equal(write.status, NVME_SC_ABORTED_BY_HOST);
    wait_done(&flush);
    assert_int_equal(flush.error, -EIO);
    assert_int_equal(dev.writes, 0);
    assert_int_equal(dev.flushes, 0);
    assert_int_equal(counters_now().resets, 1);
    assert_true(is_alive());
    check_works(&dev);
    bench_buffer_free(&other);
    bench_buffer_free(&data);
    bench_end(&dev);
}

static void test_timeout_reset(void **state)
{
    (void)state;
    check_reset(FAULT_LOST);
}

static void test_stale_phase_is_no_answer(void **state)
{
    (void)state;
    check_reset(FAULT_STALE_PHASE);
}

/* A read that goes missing again after it was started over fails: two resets, no third try. */
static void test_read_is_started_over_once(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.holds_io = true;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request read = bench_request(NVME_READ, 0, 1, 1, &b);
    assert_int_equal(nvme_submit(&read), 0);
    nvme_kick();
    dev.is_fatal = true; /* not its fault, and long before its deadline */
    while (dev.resets < 1) {
        nvme_poll();
        task_yield();
    }
    assert_in_range(host_clock_ms(), 0, 1000);
    while (dev.held_count == 0) {
        assert_false(read.done);
        nvme_poll();
        task_yield();
    }
    dev.is_fatal = true;
    wait_done(&read);
    assert_int_equal(read.error, -EIO);
    assert_int_equal(dev.resets, 2);
    assert_int_equal(dev.io_commands, 2);
    dev.holds_io = false;
    check_works(&dev);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* Deadlines of the caller: of a command in flight, and of one that is still waiting for a queue entry. */
static void test_deadlines_of_requests(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.entries_max = 2;
    dev.holds_io = dev.abort_works = true;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request first = bench_request(NVME_READ, 0, 1, 1, &b),
                        waiting = bench_request(NVME_WRITE, 0, 2, 1, &b),
                        patient = bench_request(NVME_READ, 0, 3, 1, &b);
    first.deadline_ns = 3 * NS_PER_S;
    waiting.deadline_ns = 1 * NS_PER_S;
    assert_int_equal(nvme_submit(&first), 0);
    assert_int_equal(nvme_submit(&waiting), 0);
    assert_int_equal(nvme_submit(&patient), 0);
    wait_done(&waiting);
    assert_int_equal(waiting.error, -ETIMEDOUT);
    assert_in_range(host_clock_ms(), 1000,
                    1300); /* the clock is looked at every 256 polls, here of 1 ms */
    assert_false(first.done);
    wait_done(&first);
    assert_int_equal(first.error, -ETIMEDOUT);
    assert_in_range(host_clock_ms(), 3000, 3300);
    assert_false(patient.done);
    for (unsigned i = 0; dev.held_count == 0 && i < 10; i++)
        nvme_poll();
    fake_nvme_release(&dev, 0);
    wait_done(&patient);
    assert_int_equal(patient.error, 0);
    assert_int_equal(dev.writes, 0);
    assert_int_equal(dev.resets, 0);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* More lost than is worth aborting, on both cores' queues. */
static void test_many_lost(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.fault = FAULT_LOST;
    dev.fault_count = 50;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request reads[60];
    for (unsigned i = 0; i < 60; i++) {
        reads[i] = bench_request(NVME_READ, 0, i, 1, &b);
        assert_int_equal(nvme_submit(&reads[i]), 0);
    }
    for (unsigned i = 0; i < 60; i++) {
        wait_done(&reads[i]);
        assert_int_equal(reads[i].error, i < 50 ? -ETIMEDOUT : 0);
    }
    assert_int_equal(dev.aborts, 0);
    assert_int_equal(dev.resets, 1);
    check_works(&dev);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* ---- the controller breaks ------------------------------------------------------------------------------------- */

/* Every answer of the recovery's admin commands lost in turn: Abort, then those of the new start. */
static void test_reset_with_each_admin_command_lost(void **state)
{
    (void)state;
    unsigned n;
    for (n = 0;; n++) {
        struct fake_nvme dev = small_controller();
        dev.has_shadow_doorbells = true;
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        struct bench_buffer b = bench_buffer_make(0, 512);
        dev.fault = FAULT_LOST;
        dev.fault_count = 1;
        dev.admin_fault = FAULT_LOST;
        dev.admin_opcode = 0xff;
        dev.admin_skip = n;
        dev.admin_count = 1;
        struct nvme_request read = bench_request(NVME_READ, 0, 1, 1, &b);
        assert_int_equal(nvme_run(&read), -ETIMEDOUT);
        for (unsigned i = 0; i < 12000; i++) /* the rest of the recovery, at 1 ms each */
            task_yield();
        bool was_hit = dev.admin_fault == FAULT_NONE;
        /* A stuck Abort is cured by the reset; a start that stalls is the end. */
        assert_int_equal(is_alive(), n == 0 || !was_hit);
        assert_int_equal(host_pci_is_bus_master(dev.pci), is_alive());
        struct nvme_request next = bench_request(NVME_READ, 0, 1, 1, &b);
        assert_int_equal(nvme_run(&next), is_alive() ? 0 : -ENODEV);
        bench_buffer_free(&b);
        bench_end(&dev);
        if (!was_hit)
            break;
    }
    assert_int_equal(
        n, 9); /* Abort, and eight of the start: the list of namespaces is not asked for again */
}

/* It vanishes: no more than a quarter of a second, and everything ends with -ENODEV, what waits included. */
static void test_gone(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.entries_max = 4;
    dev.gone_after_io = 2;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request reads[10];
    for (unsigned i = 0; i < 10; i++) {
        reads[i] = bench_request(i & 1 ? NVME_WRITE : NVME_READ, 0, i, 1, &b);
        assert_int_equal(nvme_submit(&reads[i]), 0);
    }
    wait_done(&reads[9]);
    for (unsigned i = 1; i < 10; i++) {
        assert_true(reads[i].done);
        assert_int_equal(reads[i].error, -ENODEV);
    }
    assert_in_range(host_clock_ms(), 0, 600);
    assert_false(is_alive());
    assert_false(host_pci_is_bus_master(dev.pci));
    struct nvme_request next = bench_request(NVME_READ, 0, 1, 1, &b);
    assert_int_equal(nvme_submit(&next), -ENODEV);
    struct nvme_health health;
    assert_int_equal(nvme_controller_health(nvme_controller_get(0), &health), -ENODEV);
    bench_buffer_free(&b);
    bench_end(&dev);
}

static void test_gone_while_asked_for_health(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    dev.is_gone = true;
    struct nvme_health health;
    assert_int_equal(nvme_controller_health(nvme_controller_get(0), &health), -ENODEV);
    assert_in_range(host_clock_ms(), 0, 300);
    task_sleep_until(time_ns() + 100 * NS_PER_MS);
    assert_false(is_alive());
    bench_end(&dev);
}

/* A health log that never comes gets the controller reset, and the next one comes. */
static void test_health_is_lost(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    dev.admin_fault = FAULT_LOST;
    dev.admin_opcode = 0x02;
    dev.admin_count = 1;
    struct nvme_health health;
    assert_int_equal(nvme_controller_health(nvme_controller_get(0), &health), -ETIMEDOUT);
    assert_in_range(host_clock_ms(), 10000, 10001);
    task_sleep_until(time_ns() + 100 * NS_PER_MS);
    assert_int_equal(dev.resets, 1);
    assert_int_equal(nvme_controller_health(nvme_controller_get(0), &health), 0);
    dev.admin_fault = FAULT_STATUS;
    dev.admin_count = 1;
    dev.fault_status = NVME_STATUS(1, 0x09);
    assert_int_equal(nvme_controller_health(nvme_controller_get(0), &health), -EIO);
    assert_int_equal(dev.resets, 1);
    bench_end(&dev);
}

/* The reset does not get through: bus mastering is off before anybody's memory is given back. */
static void test_reset_fails(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 2; kind++) {
        struct fake_nvme dev = small_controller();
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        struct bench_buffer b = bench_buffer_make(0, 512);
        struct nvme_request read = bench_request(NVME_READ, 0, 1, 1, &b),
                            write = bench_request(NVME_WRITE, 0, 1, 1, &b);
        dev.holds_io = true;
        assert_int_equal(nvme_submit(&read), 0);
        assert_int_equal(nvme_submit(&write), 0);
        nvme_kick();
        if (kind == 0)
            dev.never_stops = true;
        else
            dev.never_ready = true;
        dev.is_fatal = true;
        wait_done(&read);
        assert_false(host_pci_is_bus_master(dev.pci));
        wait_done(&write);
        assert_int_equal(read.error, -ENODEV);
        assert_int_equal(write.error, kind == 0
                                          ? -ENODEV
                                          : -EIO); /* the reset itself worked in the second case */
        assert_false(is_alive());
        bench_buffer_free(&b);
        bench_end(&dev);
    }
}

/* After the reset it is another drive, or another namespace: nothing is read from it, and nothing written. */
static void test_changed_after_reset(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct fake_nvme dev = small_controller();
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        struct bench_buffer b = bench_buffer_make(0, 512);
        struct nvme_request read = bench_request(NVME_READ, 0, 1, 1, &b);
        dev.holds_io = true;
        assert_int_equal(nvme_submit(&read), 0);
        nvme_kick();
        if (kind == 0)
            dev.serial = "OTHER";
        else if (kind == 1)
            dev.namespaces[0].block_count = 20000;
        else
            dev.namespaces[0].is_inactive = true;
        dev.is_fatal = true;
        dev.holds_io = false;
        unsigned before = dev.io_commands;
        wait_done(&read);
        assert_int_equal(read.error, -ENODEV);
        assert_int_equal(dev.io_commands, before);
        assert_int_equal(nvme_submit(&read), -ENODEV);
        assert_int_equal(is_alive(), kind != 0);
        bench_buffer_free(&b);
        bench_end(&dev);
    }
}

/* ---- stopping -------------------------------------------------------------------------------------------------- */

static void test_stop_ends_requests(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.holds_io = true;
    dev.entries_max = 4;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request writes[8];
    for (unsigned i = 0; i < 8; i++) {
        writes[i] = bench_request(NVME_WRITE, 0, i, 1, &b);
        assert_int_equal(nvme_submit(&writes[i]), 0);
    }
    nvme_kick();
    nvme_stop();
    assert_int_equal(dev.shutdowns, 1);
    assert_int_equal(nvme_poll(), 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(writes[i].error, -ENODEV);
    assert_int_equal(nvme_submit(&writes[0]), -ENODEV);
    assert_int_equal(dev.writes, 0);
    bench_buffer_free(&b);
    bench_end(&dev);
}

static void test_stop_has_a_deadline(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.never_shuts_down = true;
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    nvme_stop();
    assert_int_equal(host_clock_ms(), 5000);
    bench_end(&dev);
}

/* ---- disks ----------------------------------------------------------------------------------------------------- */

/* What the layer above makes of all this. */
static void test_disk(void **state)
{
    (void)state;
    struct fake_nvme dev = small_controller();
    dev.namespaces[1] =
        (struct fake_nvme_namespace){.nsid = 2, .block_count = 100, .block_shift = 12, .nsattr = 1};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    assert_int_equal(disk_nvme_start(), 2);
    struct disk *disks[] = {disk_get(0), disk_get(1)};
    assert_string_equal(disks[0]->name, "nvme0n1");
    assert_string_equal(disks[1]->name, "nvme0n2");
    assert_int_equal(disks[1]->block_bytes, 4096);
    assert_true(disks[1]->is_read_only);

    uint8_t data[700], block[512];
    char reason[160];
    assert_int_equal(disk_read(disks[0], 1000, data, sizeof(data), reason, sizeof(reason)), 0);
    fake_nvme_block_get(&dev, 1, 2, block);
    assert_memory_equal(data + 24, block, 512);
    memset(data, 7, sizeof(data));
    assert_int_equal(disk_write(disks[0], 1000, data, sizeof(data), reason, sizeof(reason)), 0);
    fake_nvme_block_get(&dev, 1, 2, block);
    assert_memory_equal(data, block, 512);
    assert_int_equal(disk_write(disks[1], 0, data, 1, reason, sizeof(reason)), -EROFS);

    dev.fault = FAULT_STATUS;
    dev.fault_count = 1;
    dev.fault_status = NVME_STATUS(2, 0x81);
    assert_int_equal(disk_read(disks[0], 0, data, 1, reason, sizeof(reason)), -EIO);
    assert_non_null(strstr(reason, "Unrecovered Read Error (2/81h)"));
    dev.fault = FAULT_LOST;
    dev.fault_count = 1;
    assert_int_equal(disk_read(disks[0], 0, data, 1, reason, sizeof(reason)), -ETIMEDOUT);
    assert_non_null(strstr(reason, "did not answer in time"));
    assert_int_equal(disk_read(disks[0], 0, data, 1, reason, sizeof(reason)), 0);
    dev.is_gone = true;
    assert_int_equal(disk_read(disks[0], 0, data, 1, reason, sizeof(reason)), -ENODEV);
    assert_non_null(strstr(reason, "gone"));
    for (unsigned i = 0; i < 2; i++) {
        disk_remove(disks[i]);
        free(disks[i]);
    }
    bench_end(&dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_times_out),
        cmocka_unit_test(test_start_of_one_that_never_stops),
        cmocka_unit_test(test_start_refuses),
        cmocka_unit_test(test_start_leaves_namespaces_out),
        cmocka_unit_test(test_start_with_each_admin_command_hit),
        cmocka_unit_test(test_start_with_each_allocation_failed),
        cmocka_unit_test(test_error_status),
        cmocka_unit_test(test_error_stops_the_rest),
        cmocka_unit_test(test_wrong_completions),
        cmocka_unit_test(test_duplicate_does_not_end_the_next),
        cmocka_unit_test(test_timeout_abort),
        cmocka_unit_test(test_timeout_late_success),
        cmocka_unit_test(test_timeout_reset),
        cmocka_unit_test(test_stale_phase_is_no_answer),
        cmocka_unit_test(test_read_is_started_over_once),
        cmocka_unit_test(test_deadlines_of_requests),
        cmocka_unit_test(test_many_lost),
        cmocka_unit_test(test_reset_with_each_admin_command_lost),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_gone_while_asked_for_health),
        cmocka_unit_test(test_health_is_lost),
        cmocka_unit_test(test_reset_fails),
        cmocka_unit_test(test_changed_after_reset),
        cmocka_unit_test(test_stop_ends_requests),
        cmocka_unit_test(test_stop_has_a_deadline),
        cmocka_unit_test(test_disk),
    };
    return cmocka_run_group_tests(tests, bench_group_setup, NULL);
}
