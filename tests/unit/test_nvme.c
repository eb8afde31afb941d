/*
 * tests/unit/test_nvme.c: the NVMe driver against fake controllers: start, transfers and the encoders. What happens
 * when things go wrong is in test_nvme_faults.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/nvme_bench.h"

/* ---- pure functions -------------------------------------------------------------------------------------------- */

#define P 4096 /* page */

/* What the specification wants for a run of memory, by the page. */
static void test_prp_of_one_segment(void **state)
{
    static const struct {
        uint64_t dma, bytes;
        uint64_t prp2; /* 0: none, 1: the list */
        unsigned entries;
    } cases[] = {
        {16 * P, 512, 0, 0},
        {16 * P, P - 4, 0, 0},
        {16 * P, P, 0, 0},
        {16 * P, P + 512, 17 * P, 0},
        {16 * P, 2 * P, 17 * P, 0},
        {16 * P, 2 * P + 512, 1, 2},
        {16 * P, 3 * P, 1, 2},
        {16 * P + 4, P - 4, 0, 0},
        {16 * P + 4, P, 17 * P, 0},
        {16 * P + 4, 2 * P - 4, 17 * P, 0},
        {16 * P + 4, 2 * P, 1, 2},
        {16 * P + P - 4, 512, 17 * P, 0},
        {16 * P + P - 4, P + 4, 17 * P, 0},
        {16 * P + P - 4, P + 8, 1, 2},
        {16 * P, 256 * P, 1, 255},       /* the most that one command moves */
        {16 * P + 512, 255 * P, 1, 255}, /* and when it starts inside a page */
        {UINT64_C(0xffffffff000), 2 * P, UINT64_C(0x100000000000), 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t list[NVME_LIST_BYTES / 8], prp[2];
        memset(list, 0xee, sizeof(list));
        struct dma_segment segment = {cases[i].dma, cases[i].bytes};
        struct dma_cursor cursor = {0};
        assert_true(nvme_segments_valid(&segment, 1, cases[i].bytes));
        assert_true(cases[i].bytes <= nvme_prp_limit(cases[i].dma));
        assert_int_equal(nvme_prp_encode(&segment, &cursor, cases[i].bytes, list, 0x7000800, prp),
                         cases[i].entries);
        assert_int_equal(prp[0], cases[i].dma);
        assert_int_equal(prp[1], cases[i].prp2 == 1 ? 0x7000800 : cases[i].prp2);
        for (unsigned n = 0; n < cases[i].entries; n++)
            assert_int_equal(list[n], align_down(cases[i].dma, P) + (n + 1) * P);
        for (unsigned n = cases[i].entries; n < ARRAY_COUNT(list); n++)
            assert_int_equal(list[n], UINT64_C(0xeeeeeeeeeeeeeeee));
        assert_int_equal(cursor.index, 1);
        assert_int_equal(cursor.offset, 0);
    }
}

/* Several segments, taken in two bites that end inside a segment. */
static void test_prp_of_segments(void **state)
{
    (void)state;
    const struct dma_segment segments[] = {
        {0x10800, 0x800}, {0x20000, 0x3000}, {0x40000, 0x1000}, {0x60000, 0x200}};
    uint64_t list[NVME_LIST_BYTES / 8], prp[2];
    struct dma_cursor cursor = {0};
    assert_true(nvme_segments_valid(segments, 4, 0x4a00));

    assert_int_equal(nvme_prp_encode(segments, &cursor, 0x800 + 0x2000 + 0x200, list, 0x9000, prp),
                     3);
    assert_int_equal(prp[0], 0x10800);
    assert_int_equal(prp[1], 0x9000);
    assert_int_equal(list[0], 0x20000);
    assert_int_equal(list[1], 0x21000);
    assert_int_equal(list[2], 0x22000);
    assert_int_equal(cursor.index, 1);
    assert_int_equal(cursor.offset, 0x2200);

    assert_int_equal(nvme_prp_encode(segments, &cursor, 0xe00 + 0x1000 + 0x200, list, 0x9000, prp),
                     2);
    assert_int_equal(prp[0], 0x22200);
    assert_int_equal(prp[1], 0x9000);
    assert_int_equal(list[0], 0x40000);
    assert_int_equal(list[1], 0x60000);
    assert_int_equal(cursor.index, 4);
}

static void test_segment_rules(void **state)
{
    static const struct {
        struct dma_segment segments[3];
        unsigned count;
        uint64_t bytes;
        bool is_valid;
    } cases[] = {
        {{{0x1000, 512}}, 1, 512, true},
        {{{0x1004, 512}}, 1, 512, true},
        {{{0x1002, 512}}, 1, 512, false},              /* dword */
        {{{0x1000, 512}}, 1, 1024, false},             /* too short */
        {{{0x1000, 1024}}, 1, 512, false},             /* too long */
        {{{0x1000, 0}, {0x2000, 512}}, 2, 512, false}, /* empty */
        {{{0x1e00, 0x200}, {0x5000, 0x200}}, 2, 0x400, true},
        {{{0x1e00, 0x100}, {0x5000, 0x300}}, 2, 0x400, false}, /* the first ends inside a page */
        {{{0x1e00, 0x200}, {0x5004, 0x200}}, 2, 0x400, false}, /* the second starts inside one */
        {{{0x1000, 0x1000}, {0x5000, 0x800}, {0x7000, 0x800}}, 3, 0x2000, false},
        {{{UINT64_MAX - 511, 512}}, 1, 512, true},  /* the last byte there is */
        {{{UINT64_MAX - 507, 512}}, 1, 512, false}, /* past it */
        {{{0}}, 0, 512, false},
        {{{0}}, 0, 0, true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(nvme_segments_valid(cases[i].segments, cases[i].count, cases[i].bytes),
                         cases[i].is_valid);
}

static void test_namespace_parse(void **state)
{
    static const struct {
        uint64_t nsze;
        uint8_t nlbaf, flbas;
        unsigned format;
        uint32_t lbaf;
        int error;
    } cases[] = {
        {1000, 0, 0, 0, 9 << 16, 0},
        {1000, 0, 0, 0, 12 << 16, 0},
        {1000, 3, 0x13, 3, 12 << 16, 0},   /* bit 4 says where metadata would be */
        {1000, 63, 0x6f, 63, 12 << 16, 0}, /* 64 formats, as 2.0 has them */
        {1000, 3, 0x23, 3, 9 << 16, 0},    /* before 2.0, bits 6:5 mean nothing */
        {0, 0, 0, 0, 9 << 16, -ENOENT},
        {1000, 2, 3, 3, 9 << 16, -ENOTSUP}, /* not in the list */
        {1000, 255, 0x6f, 63, 9 << 16, 0},
        {1000, 0, 0, 0, 8 << 16, -ENOTSUP},
        {1000, 0, 0, 0, 13 << 16, -ENOTSUP},
        {1000, 0, 0, 0, 0, -ENOTSUP},
        {1000, 0, 0, 0, 255u << 16, -ENOTSUP},
        {1000, 0, 0, 0, 9 << 16 | 8, -ENOTSUP}, /* metadata */
        {UINT64_C(1) << 54, 0, 0, 0, 9 << 16, 0},
        {(UINT64_C(1) << 54) + 1, 0, 0, 0, 9 << 16, -ENOTSUP},
        {UINT64_MAX, 0, 0, 0, 12 << 16, -ENOTSUP},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct nvme_identify_namespace id = {.nsze = cases[i].nsze,
                                             .nlbaf = cases[i].nlbaf,
                                             .flbas = cases[i].flbas,
                                             .nsattr = i & 1};
        struct nvme_namespace ns = {0};
        const char *reason;
        id.lbaf[cases[i].format] = cases[i].lbaf;
        assert_int_equal(nvme_namespace_parse(&id, &ns, &reason), cases[i].error);
        assert_int_equal(reason[0] != '\0', cases[i].error == -ENOTSUP);
        if (cases[i].error == 0) {
            assert_int_equal(ns.block_count, cases[i].nsze);
            assert_int_equal(ns.block_bytes, 1u << (cases[i].lbaf >> 16));
            assert_int_equal(ns.block_shift, cases[i].lbaf >> 16);
            assert_int_equal(ns.is_read_only, i & 1);
        }
    }
}

static void test_status_words(void **state)
{
    (void)state;
    char text[80], small[8];
    assert_string_equal(nvme_status_text(NVME_STATUS(2, 0x81), text, sizeof(text)),
                        "Unrecovered Read Error (2/81h)");
    assert_string_equal(nvme_status_text(0x4000 | NVME_STATUS(0, 0x80), text, sizeof(text)),
                        "LBA Out of Range (0/80h)");
    assert_string_equal(nvme_status_text(NVME_STATUS(7, 0xc1), text, sizeof(text)),
                        "Vendor Specific status (7/c1h)");
    assert_string_equal(nvme_status_text(NVME_STATUS(2, 0x81), small, sizeof(small)), "Unrecov");
    assert_int_equal(nvme_status_errno(0), 0);
    assert_int_equal(nvme_status_errno(0x6000 | NVME_STATUS(2, 0x81)), -EIO);
    assert_int_equal(nvme_status_errno(NVME_STATUS(0, 0x20)), -EROFS);
    assert_int_equal(nvme_status_errno(NVME_STATUS(0, 0x81)), -ENOSPC);
    assert_int_equal(nvme_status_errno(NVME_STATUS(0, 0x0b)), -ENODEV);
    assert_int_equal(nvme_status_errno(NVME_STATUS(0, 0x80)), -ERANGE);
}

/* ---- start ----------------------------------------------------------------------------------------------------- */

static void test_start_and_stop(void **state)
{
    (void)state;
    struct fake_nvme dev = {
        .namespaces = {{.nsid = 3, .block_count = 2048, .block_shift = 12},
                       {.nsid = 1, .block_count = 1000},
                       {.nsid = 2, .block_count = 10, .is_inactive = true},
                       {.nsid = 4, .block_count = 9, .nsattr = 1}},
        .ready_delay_ms = 300,
        .cap_to = 1,
        .mdts = 5,
    };
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    assert_int_equal(host_clock_ms(), 300);

    struct nvme_controller_info info;
    struct nvme_controller *c = nvme_controller_get(0);
    nvme_controller_info(c, &info);
    assert_string_equal(info.name, "nvme0");
    assert_string_equal(info.model, "Fake?NVMe");
    assert_string_equal(info.serial, "FAKE0001");
    assert_string_equal(info.firmware, "1.0");
    assert_string_equal(info.pci_name, "0000:01:00.0");
    assert_int_equal(info.queue_count, BENCH_CORES);
    assert_int_equal(info.queue_depth, 128);
    assert_int_equal(info.namespace_count, 3);
    assert_true(info.is_alive);
    assert_null(nvme_controller_get(1));

    static const char *const names[] = {"nvme0n1", "nvme0n3", "nvme0n4"};
    for (unsigned i = 0; i < 3; i++) {
        struct nvme_namespace *ns = nvme_namespace_get(i);
        assert_string_equal(ns->name, names[i]);
        assert_int_equal(ns->block_bytes, i == 1 ? 4096 : 512);
        assert_int_equal(ns->transfer_bytes_max, 128 * 1024);
        assert_int_equal(ns->is_read_only, i == 2);
        assert_true(ns->can_deallocate && ns->can_write_zeroes);
    }
    assert_null(nvme_namespace_get(3));
    assert_int_equal(dev.intms, UINT32_MAX);

    nvme_stop();
    assert_int_equal(dev.shutdowns, 1);
    assert_int_equal(dev.cc & 1, 0);
    assert_false(host_pci_is_bus_master(dev.pci));
    assert_int_equal(dev.io_commands, 0);
    bench_end(&dev);
}

/* The firmware leaves its own queues behind: they must be gone before ours are set. */
static void test_start_takes_over_a_running_controller(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 8}}, .cap_to = 1};
    fake_nvme_attach(&dev);
    dev.cc = 0x00460001;
    dev.csts = 1;
    dev.queues[1] = (struct fake_nvme_queue){.has_cq = true, .has_sq = true};
    assert_int_equal(bench_start(), 1);
    assert_int_equal(dev.resets, 1);
    bench_end(&dev);
}

/* Controllers before 1.1, and those that claim to be newer but have no list, number their namespaces from 1. */
static void test_start_without_namespace_list(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fake_nvme dev = {
            .namespaces = {{.nsid = 2, .block_count = 100}, {.nsid = 4, .block_count = 50}},
            .version = i == 0 ? 0x10000 : 0,
            .has_no_namespace_list = true,
        };
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        assert_string_equal(nvme_namespace_get(0)->name, "nvme0n2");
        assert_string_equal(nvme_namespace_get(1)->name, "nvme0n4");
        assert_null(nvme_namespace_get(2));
        bench_end(&dev);
    }
}

/* Started side by side: three controllers that take 400 ms each take 400 ms. The one that fails keeps its number. */
static void test_start_several(void **state)
{
    (void)state;
    struct fake_nvme devs[3];
    for (int i = 0; i < 3; i++) {
        devs[i] = (struct fake_nvme){
            .cap_to = 1, .ready_delay_ms = 400, .namespaces = {{.nsid = 1, .block_count = 100}}};
        fake_nvme_attach(&devs[i]);
    }
    devs[1].is_fatal_when_enabled = true;
    assert_int_equal(bench_start(), 2);
    assert_int_equal(host_clock_ms(), 400);
    assert_string_equal(nvme_namespace_get(0)->name, "nvme0n1");
    assert_string_equal(nvme_namespace_get(1)->name, "nvme2n1");
    assert_false(host_pci_is_bus_master(devs[1].pci));

    struct bench_buffer b = bench_buffer_make(0, 512);
    for (unsigned i = 0; i < 2; i++) {
        struct nvme_request read = bench_request(NVME_READ, i, i, 1, &b);
        assert_int_equal(nvme_run(&read), 0);
    }
    assert_int_equal(devs[0].io_commands, 1);
    assert_int_equal(devs[1].io_commands, 0);
    assert_int_equal(devs[2].io_commands, 1);
    bench_buffer_free(&b);
    nvme_stop();
    assert_string_equal(devs[0].violation, "");
    assert_string_equal(devs[1].violation, "");
    bench_end(&devs[2]);
}

/* ---- transfers ------------------------------------------------------------------------------------------------- */

static void check_blocks(struct fake_nvme *dev, unsigned ns_index, uint64_t lba,
                         const struct bench_buffer *b)
{
    struct nvme_namespace *ns = nvme_namespace_get(ns_index);
    uint8_t block[4096];
    for (uint64_t i = 0; i < b->bytes >> ns->block_shift; i++) {
        fake_nvme_block_get(dev, ns->nsid, lba + i, block);
        assert_memory_equal(b->data + (i << ns->block_shift), block, ns->block_bytes);
    }
}

/* Every length around page and command limits, from every kind of start, with and without SGL, both block sizes. */
static void test_read_lengths(void **state)
{
    static const uint64_t pages_and_blocks[][2] = {{0, 1},  {0, 7},   {1, 0},   {1, 1},   {2, 0},
                                                   {2, 1},  {31, 0},  {32, 0},  {32, 1},  {33, 0},
                                                   {64, 3}, {255, 0}, {256, 0}, {257, 0}, {513, 1}};
    static const unsigned offsets[] = {0, 4, 512, 3584, 4092};
    (void)state;
    for (unsigned variant = 0; variant < 8; variant++) {
        unsigned shift = variant & 1 ? 12 : 9;
        struct fake_nvme dev = {
            .namespaces = {{.nsid = 1, .block_count = UINT64_C(1) << 40, .block_shift = shift}},
            .has_sgl = variant & 2,
            .mdts = variant & 4 ? 5 : 0,
        };
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        uint64_t lba = 0xfffffffc; /* crosses 2^32 */
        for (size_t i = 0; i < ARRAY_COUNT(pages_and_blocks); i++) {
            for (size_t o = 0; o < ARRAY_COUNT(offsets); o++) {
                uint64_t bytes = pages_and_blocks[i][0] * P + (pages_and_blocks[i][1] << shift);
                struct bench_buffer b = bench_buffer_make(offsets[o], bytes);
                struct nvme_request read = bench_request(NVME_READ, 0, lba, bytes >> shift, &b);
                assert_int_equal(nvme_run(&read), 0);
                assert_int_equal(read.status, 0);
                check_blocks(&dev, 0, lba, &b);
                bench_buffer_check_guards(&b);
                bench_buffer_free(&b);
            }
        }
        bench_end(&dev);
    }
}

/* 1 MiB in commands of 128 KiB: eight, back to back, one doorbell. */
static void test_split_at_mdts(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 1 << 20}}, .mdts = 5};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 1 << 20);
    struct nvme_request read = bench_request(NVME_READ, 0, 100, 2048, &b);
    assert_int_equal(nvme_run(&read), 0);
    assert_int_equal(dev.io_commands, 8);
    assert_int_equal(dev.sq_doorbells, 1);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(dev.log[i].cdw10, 100 + 256 * i);
        assert_int_equal(dev.log[i].cdw12, 255);
    }
    bench_buffer_free(&b);
    bench_end(&dev);
}

static void test_write_and_read_back(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 10000},
                                           {.nsid = 2, .block_count = 100, .nsattr = 1}}};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(512, 300 * 512),
                        back = bench_buffer_make(0, 300 * 512);
    for (uint64_t i = 0; i < b.bytes; i++)
        b.data[i] = (uint8_t)(i * 7 + i / 512);

    struct nvme_request write = bench_request(NVME_WRITE, 0, 50, 300, &b);
    assert_int_equal(nvme_run(&write), 0);
    assert_int_equal(dev.writes, 1);
    check_blocks(&dev, 0, 50, &b);
    struct nvme_request read = bench_request(NVME_READ, 0, 50, 300, &back);
    assert_int_equal(nvme_run(&read), 0);
    assert_memory_equal(back.data, b.data, b.bytes);

    struct nvme_request flush = bench_request(NVME_FLUSH, 0, 0, 0, NULL);
    assert_int_equal(nvme_run(&flush), 0);
    assert_int_equal(dev.flushes, 1);

    struct nvme_request zero = bench_request(NVME_WRITE_ZEROES, 0, 60, 10, NULL);
    assert_int_equal(nvme_run(&zero), 0);
    struct nvme_request forget = bench_request(NVME_DEALLOCATE, 0, 80, 20, NULL);
    assert_int_equal(nvme_run(&forget), 0);
    assert_int_equal(nvme_run(&read), 0);
    for (uint64_t i = 0; i < 300; i++) {
        bool is_zero = (i >= 10 && i < 20) || (i >= 30 && i < 50);
        uint8_t none[512] = {0};
        assert_memory_equal(back.data + i * 512, is_zero ? none : b.data + i * 512, 512);
    }

    struct nvme_counters counters;
    nvme_controller_counters(nvme_controller_get(0), &counters);
    assert_int_equal(counters.commands[NVME_CMD_READ][0], 2);
    assert_int_equal(counters.commands[NVME_CMD_WRITE][0], 1);
    assert_int_equal(counters.commands[NVME_CMD_FLUSH][0], 1);
    assert_int_equal(counters.commands[NVME_CMD_WRITE_ZEROES][0], 1);
    assert_int_equal(counters.commands[NVME_CMD_DEALLOCATE][0], 1);
    assert_int_equal(counters.read_bytes, 2 * 300 * 512);
    assert_int_equal(counters.written_bytes, 300 * 512);
    bench_buffer_free(&b);
    bench_buffer_free(&back);
    bench_end(&dev);
}

/* What no controller should ever see. */
static void test_refused_requests(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 100},
                                           {.nsid = 2, .block_count = 100, .nsattr = 1}},
                            .oncs = 1};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 4096);
    static const struct {
        enum nvme_operation operation;
        unsigned ns;
        uint64_t lba, count;
        int error;
    } cases[] = {
        {NVME_READ, 0, 93, 8, -ERANGE},         {NVME_READ, 0, 100, 8, -ERANGE},
        {NVME_READ, 0, UINT64_MAX, 8, -ERANGE}, {NVME_READ, 0, 0, 9, -EINVAL},
        {NVME_READ, 0, 0, 7, -EINVAL},          {NVME_READ, 0, 0, 0, -EINVAL},
        {NVME_READ, 0, 0, UINT64_MAX, -ERANGE}, {NVME_READ, 0, 0, UINT64_C(1) << 55, -ERANGE},
        {NVME_WRITE, 1, 0, 8, -EROFS},          {NVME_WRITE, 0, 93, 8, -ERANGE},
        {NVME_FLUSH, 0, 0, 1, -EINVAL},         {NVME_WRITE_ZEROES, 0, 0, 1, -ENOTSUP},
        {NVME_DEALLOCATE, 0, 0, 1, -ENOTSUP},   {NVME_OPERATION_COUNT, 0, 0, 1, -EINVAL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        bool has_data = cases[i].operation <= NVME_WRITE;
        struct nvme_request request = bench_request(cases[i].operation, cases[i].ns, cases[i].lba,
                                                    cases[i].count, has_data ? &b : NULL);
        assert_int_equal(nvme_submit(&request), cases[i].error);
        assert_int_equal(nvme_run(&request), cases[i].error);
    }
    struct dma_segment odd = {b.segment.dma + 2, 512};
    struct nvme_request request = bench_request(NVME_READ, 0, 0, 1, &b);
    request.segments = &odd;
    assert_int_equal(nvme_submit(&request), -EINVAL);
    nvme_kick();
    assert_int_equal(nvme_poll(), 0);
    assert_int_equal(dev.io_commands, 0);
    bench_buffer_free(&b);
    bench_end(&dev);
}

static void test_health(void **state)
{
    (void)state;
    struct fake_nvme dev = {0};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct nvme_health health;
    assert_int_equal(nvme_controller_health(nvme_controller_get(0), &health), 0);
    assert_int_equal(health.critical_warning, 4);
    assert_true(health.temperature_celsius > 26.84 &&
                health.temperature_celsius < 26.86); /* 300 K */
    assert_int_equal(health.available_spare_percent, 97);
    assert_int_equal(health.available_spare_threshold_percent, 10);
    assert_int_equal(health.percentage_used, 3);
    assert_int_equal(health.data_units_read, 1);
    assert_int_equal(health.data_units_written, UINT64_MAX); /* more than 64 bits hold */
    assert_int_equal(health.host_reads, 3);
    assert_int_equal(health.host_writes, 4);
    assert_int_equal(health.power_cycles, 6);
    assert_int_equal(health.power_on_hours, 7);
    assert_int_equal(health.unsafe_shutdowns, 8);
    assert_int_equal(health.media_errors, 9);
    bench_end(&dev);
}

/* ---- queues ---------------------------------------------------------------------------------------------------- */

/* Thirty-two reads, one doorbell; thousands of completions, a handful of acknowledgements. */
static void test_doorbells_are_batched(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 10000}}};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request reads[32];
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 32; i++) {
            reads[i] = bench_request(NVME_READ, 0, i, 1, &b);
            assert_int_equal(nvme_submit(&reads[i]), 0);
        }
        assert_int_equal(dev.io_commands, round * 32);
        nvme_kick();
        assert_int_equal(dev.io_commands, (round + 1) * 32);
        assert_int_equal(dev.sq_doorbells, round + 1);
        assert_false(reads[0].done);
        assert_int_equal(nvme_poll(), 32);
        for (unsigned i = 0; i < 32; i++)
            assert_true(reads[i].done && reads[i].error == 0);
    }
    assert_in_range(dev.cq_doorbells, 1, 3200 / 384 + 1);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* While completions come in, new commands wait for company: until a poll finds none, or half are news. */
static void test_submissions_gather(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 10000}}, .holds_io = true};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    struct bench_buffer b = bench_buffer_make(0, 512);
    struct nvme_request reads[16], more[16];
    for (unsigned i = 0; i < 16; i++) {
        reads[i] = bench_request(NVME_READ, 0, i, 1, &b);
        more[i] = bench_request(NVME_READ, 0, i, 1, &b);
        assert_int_equal(nvme_submit(&reads[i]), 0);
    }
    nvme_kick();
    assert_int_equal(dev.held_count, 16);

    fake_nvme_release(&dev, 0);
    assert_int_equal(nvme_submit(&more[0]), 0);
    assert_int_equal(nvme_poll(), 1);
    assert_int_equal(dev.sq_doorbells, 1); /* one of sixteen is news */
    assert_int_equal(nvme_poll(), 0);
    assert_int_equal(dev.sq_doorbells, 2); /* nothing came: no more waiting */

    for (unsigned i = 0; i < 8; i++)
        fake_nvme_release(&dev, 0);
    for (unsigned i = 1; i < 9; i++)
        assert_int_equal(nvme_submit(&more[i]), 0);
    assert_int_equal(nvme_poll(), 8);
    assert_int_equal(dev.sq_doorbells,
                     3); /* the controller has as much to do as it has not heard of */
    while (dev.held_count > 0)
        fake_nvme_release(&dev, 0);
    assert_int_equal(nvme_poll(), 16);
    bench_buffer_free(&b);
    bench_end(&dev);
}

/* A controller that looks at memory by itself gets no doorbell at all; one that asks for it gets it. */
static void test_shadow_doorbells(void **state)
{
    (void)state;
    for (unsigned stride = 0; stride < 3; stride++) {
        struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 10000}},
                                .has_shadow_doorbells = true,
                                .stride_shift = stride};
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        struct bench_buffer b = bench_buffer_make(0, 512);
        for (unsigned i = 0; i < 1000; i++) { /* asks each time: QEMU at depth 1 */
            struct nvme_request read = bench_request(NVME_READ, 0, i, 1, &b);
            assert_int_equal(nvme_run(&read), 0);
            assert_int_equal(dev.sq_doorbells, i + 1);
        }
        dev.is_lazy = true;
        struct nvme_request first = bench_request(NVME_READ, 0, 1, 1, &b);
        assert_int_equal(nvme_run(&first), 0); /* it still waits for this one, and then no more */
        unsigned before = dev.sq_doorbells;
        for (unsigned i = 0; i < 1000; i++) {
            struct nvme_request read = bench_request(NVME_READ, 0, i, 1, &b);
            assert_int_equal(nvme_submit(&read), 0);
            nvme_kick();
            assert_int_equal(nvme_poll(), 0);
            dev.is_lazy = true;
            fake_nvme_pump(&dev);
            struct nvme_request second = bench_request(NVME_READ, 0, i, 1, &b);
            assert_int_equal(nvme_submit(&second),
                             0); /* rings: the pump left the event index at the tail */
            assert_int_equal(nvme_poll(), 1);
            assert_int_equal(nvme_poll(), 1);
            assert_true(read.done && second.done);
        }
        assert_int_equal(dev.sq_doorbells - before, 1000);
        bench_buffer_free(&b);
        bench_end(&dev);
    }
}

/* More work than queue entries, for rings from the shallowest on; every one completes, in whatever order. */
static void test_queue_depths(void **state)
{
    static const unsigned entries[] = {2, 3, 4, 100, 128, 512, 65536};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
        struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 10000}},
                                .entries_max = entries[i],
                                .holds_io = true};
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        struct bench_buffer b = bench_buffer_make(0, 512);
        struct nvme_request reads[300];
        for (unsigned r = 0; r < 300; r++) {
            reads[r] = bench_request(NVME_READ, 0, r, 1, &b);
            assert_int_equal(nvme_submit(&reads[r]), 0);
        }
        nvme_kick();
        unsigned done = 0, seed = 1;
        while (done < 300) {
            assert_true(dev.held_count > 0);
            seed = seed * 1103515245 + 12345;
            fake_nvme_release(&dev, (seed >> 16) % dev.held_count);
            done += (unsigned)nvme_poll();
        }
        for (unsigned r = 0; r < 300; r++)
            assert_true(reads[r].done && reads[r].error == 0);
        unsigned depth = 1u << (31 - __builtin_clz(entries[i]));
        assert_int_equal(dev.in_flight_peak, min_u64(depth, 128) - 1);
        bench_buffer_free(&b);
        bench_end(&dev);
    }
}

static struct event cores_done;
static _Atomic unsigned cores_left;

struct reader {
    unsigned core, ns, rounds;
    int error;
};

static void reader_task(void *arg)
{
    struct reader *reader = arg;
    struct bench_buffer b = bench_buffer_make(0, 8 * 512);
    for (unsigned i = 0; i < reader->rounds && reader->error == 0; i++) {
        struct nvme_request read =
            bench_request(NVME_READ, reader->ns, (reader->core * 1000 + i) % 9000, 8, &b);
        reader->error = nvme_run(&read);
        uint64_t word;
        memcpy(&word, b.data, sizeof(word));
        if (word != (read.lba + 1) * UINT64_C(0x9e3779b97f4a7c15) + (UINT64_C(1) << 32))
            reader->error = -EILSEQ;
    }
    bench_buffer_free(&b);
    atomic_fetch_sub(&cores_left, 1);
    event_signal(&cores_done);
}

/* Each core has a queue pair of its own, or shares when there are too few; with both, two tasks per core. */
static void test_queues_of_cores(void **state)
{
    (void)state;
    for (unsigned pairs = 1; pairs <= BENCH_CORES; pairs++) {
        struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 10000}},
                                .queues_max = pairs,
                                .has_shadow_doorbells = pairs == 2};
        fake_nvme_attach(&dev);
        assert_int_equal(bench_start(), 1);
        struct nvme_controller_info info;
        nvme_controller_info(nvme_controller_get(0), &info);
        assert_int_equal(info.queue_count, pairs);

        struct reader readers[2 * BENCH_CORES];
        atomic_store(&cores_left, 2 * BENCH_CORES);
        for (unsigned i = 0; i < 2 * BENCH_CORES; i++) {
            readers[i] = (struct reader){.core = i, .rounds = 500};
            assert_int_equal(task_create("reader", i % BENCH_CORES, 0, reader_task, &readers[i]),
                             0);
        }
        for (;;) {
            uint32_t seen = event_read(&cores_done);
            if (atomic_load(&cores_left) == 0)
                break;
            event_wait(&cores_done, seen, DEADLINE_NEVER);
        }
        for (unsigned i = 0; i < 2 * BENCH_CORES; i++)
            assert_int_equal(readers[i].error, 0);
        assert_int_equal(dev.io_commands, 2 * BENCH_CORES * 500);
        bench_end(&dev);
    }
}

static unsigned chained;
static struct bench_buffer chain_buffer;

static void chain_next(struct nvme_request *request)
{
    assert_true(request->done);
    if (++chained == 50)
        return;
    *request = bench_request(NVME_READ, 0, chained, 1, &chain_buffer);
    request->on_done = chain_next;
    assert_int_equal(nvme_submit(request), 0);
}

/* A callback may submit the next request in the same memory. */
static void test_on_done_may_submit(void **state)
{
    (void)state;
    struct fake_nvme dev = {.namespaces = {{.nsid = 1, .block_count = 100}}};
    fake_nvme_attach(&dev);
    assert_int_equal(bench_start(), 1);
    chain_buffer = bench_buffer_make(0, 512);
    struct nvme_request request = bench_request(NVME_READ, 0, 0, 1, &chain_buffer);
    request.on_done = chain_next;
    assert_int_equal(nvme_submit(&request), 0);
    for (unsigned i = 0; i < 200 && chained < 50; i++)
        nvme_poll();
    assert_int_equal(chained, 50);
    bench_buffer_free(&chain_buffer);
    bench_end(&dev);
}

/* ---- everything at once ---------------------------------------------------------------------------------------- */

#define STRESS_BLOCKS   4000
#define STRESS_REQUESTS 24

struct stress {
    uint64_t random;
    uint8_t *disk; /* what it should hold */
    struct nvme_request requests[STRESS_REQUESTS];
    struct bench_buffer buffers[STRESS_REQUESTS];
    struct dma_segment segments[STRESS_REQUESTS][8];
    bool is_busy[STRESS_REQUESTS];
};

static unsigned stress_random(struct stress *s, unsigned below)
{
    s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)((s->random >> 33) % below);
}

/* Ranges in flight do not overlap, so the order of completion does not matter to what a block holds. */
static bool stress_overlaps(const struct stress *s, uint64_t lba, uint64_t count)
{
    for (unsigned i = 0; i < STRESS_REQUESTS; i++) {
        const struct nvme_request *r = &s->requests[i];
        if (s->is_busy[i] && lba < r->lba + r->block_count && r->lba < lba + count)
            return true;
    }
    return false;
}

/* Cut the buffer into segments at page boundaries. */
static unsigned stress_segments(struct stress *s, unsigned i)
{
    uint64_t at = s->buffers[i].segment.dma, left = s->buffers[i].bytes;
    unsigned n = 0;
    while (left > 0) {
        uint64_t to_page = P - (at & (P - 1)),
                 most = min_u64(left, to_page + stress_random(s, 5) * P);
        if (n == 7)
            most = left;
        s->segments[i][n++] = (struct dma_segment){at, most};
        at += most;
        left -= most;
    }
    return n;
}

static void stress_start(struct stress *s, unsigned i)
{
    static const enum nvme_operation operations[] = {NVME_READ,  NVME_READ,         NVME_WRITE,
                                                     NVME_WRITE, NVME_WRITE_ZEROES, NVME_DEALLOCATE,
                                                     NVME_FLUSH};
    enum nvme_operation operation = operations[stress_random(s, ARRAY_COUNT(operations))];
    uint64_t count =
        operation == NVME_FLUSH ? 0 : 1 + stress_random(s, stress_random(s, 4) == 0 ? 600 : 20);
    uint64_t lba = operation == NVME_FLUSH ? 0 : stress_random(s, STRESS_BLOCKS - (unsigned)count);
    if (stress_overlaps(s, lba, count))
        return;
    bool has_data = operation <= NVME_WRITE;
    uint64_t bytes = has_data ? count * 512 : 512;
    s->buffers[i] = bench_buffer_make(stress_random(s, 1024) * 4, bytes);
    s->requests[i] = bench_request(operation, 0, lba, count, has_data ? &s->buffers[i] : NULL);
    if (has_data) {
        s->requests[i].segment_count = stress_segments(s, i);
        s->requests[i].segments = s->segments[i];
    }
    if (operation == NVME_WRITE) {
        for (uint64_t b = 0; b < bytes; b++)
            s->buffers[i].data[b] = (uint8_t)stress_random(s, 256);
        memcpy(s->disk + lba * 512, s->buffers[i].data, bytes);
    } else if (operation == NVME_WRITE_ZEROES || operation == NVME_DEALLOCATE) {
        memset(s->disk + lba * 512, 0, count * 512);
    }
    assert_int_equal(nvme_submit(&s->requests[i]), 0);
    s->is_busy[i] = true;
}

static void stress_finish(struct stress *s, unsigned i)
{
    assert_int_equal(s->requests[i].error, 0);
    if (s->requests[i].operation == NVME_READ)
        assert_memory_equal(s->buffers[i].data, s->disk + s->requests[i].lba * 512,
                            s->buffers[i].bytes);
    bench_buffer_check_guards(&s->buffers[i]);
    bench_buffer_free(&s->buffers[i]);
    s->is_busy[i] = false;
}

/* Random requests of all kinds against controllers of all kinds that answer in random order; content is checked. */
static void test_random_requests(void **state)
{
    (void)state;
    const char *given = getenv("INGOT_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)bench_seed();
    print_message("test_random_requests: INGOT_SEED=%llu\n", (unsigned long long)seed);
    for (unsigned variant = 0; variant < 8; variant++) {
        struct fake_nvme dev = {
            .namespaces = {{.nsid = 1, .block_count = STRESS_BLOCKS}},
            .holds_io = true,
            .has_shadow_doorbells = variant & 1,
            .has_sgl = variant & 2,
            .mdts = variant & 4 ? 1 : 6,
            .entries_max = variant < 4 ? 8 : 0,
        };
        struct stress *s = calloc(1, sizeof(*s));
        s->random = seed + variant;
        s->disk = malloc(STRESS_BLOCKS * 512);
        fake_nvme_attach(&dev);
        for (uint64_t lba = 0; lba < STRESS_BLOCKS; lba++)
            fake_nvme_block_get(&dev, 1, lba, s->disk + lba * 512);
        assert_int_equal(bench_start(), 1);
        unsigned busy = 0;
        for (unsigned step = 0; step < 1500 || busy > 0; step++) {
            unsigned i = stress_random(s, STRESS_REQUESTS);
            if (!s->is_busy[i] && step < 1500)
                stress_start(s, i);
            if (stress_random(s, 3) == 0)
                nvme_kick();
            for (unsigned n = stress_random(s, 8); n > 0 && dev.held_count > 0; n--)
                fake_nvme_release(&dev, stress_random(s, dev.held_count));
            nvme_poll();
            busy = 0;
            for (i = 0; i < STRESS_REQUESTS; i++) {
                if (s->is_busy[i] && s->requests[i].done)
                    stress_finish(s, i);
                busy += s->is_busy[i];
            }
        }
        for (uint64_t lba = 0; lba < STRESS_BLOCKS; lba++) {
            uint8_t block[512];
            fake_nvme_block_get(&dev, 1, lba, block);
            assert_memory_equal(block, s->disk + lba * 512, 512);
        }
        free(s->disk);
        free(s);
        bench_end(&dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prp_of_one_segment),
        cmocka_unit_test(test_prp_of_segments),
        cmocka_unit_test(test_segment_rules),
        cmocka_unit_test(test_namespace_parse),
        cmocka_unit_test(test_status_words),
        cmocka_unit_test(test_start_and_stop),
        cmocka_unit_test(test_start_takes_over_a_running_controller),
        cmocka_unit_test(test_start_without_namespace_list),
        cmocka_unit_test(test_start_several),
        cmocka_unit_test(test_read_lengths),
        cmocka_unit_test(test_split_at_mdts),
        cmocka_unit_test(test_write_and_read_back),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_doorbells_are_batched),
        cmocka_unit_test(test_submissions_gather),
        cmocka_unit_test(test_shadow_doorbells),
        cmocka_unit_test(test_queue_depths),
        cmocka_unit_test(test_queues_of_cores),
        cmocka_unit_test(test_on_done_may_submit),
        cmocka_unit_test(test_random_requests),
    };
    return cmocka_run_group_tests(tests, bench_group_setup, NULL);
}
