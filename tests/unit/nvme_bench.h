/*
 * tests/unit/nvme_bench.h: what the tests of the NVMe driver share: registers that lead to the fake controllers, a
 * clean start and a checked end for each test, requests and buffers.
 */
#ifndef INGOT_NVME_BENCH_H
#define INGOT_NVME_BENCH_H

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nvme/nvme_internal.h"
#include "tests/host/fake_nvme.h"
#include "tests/host/host.h"

#define BENCH_CORES 2

/* ---- registers ---- */

static inline uint64_t bench_register_read(const volatile void *reg, unsigned bytes)
{
    uint64_t value = 0;
    assert_true(fake_nvme_read(reg, bytes, &value));
    return value;
}

uint8_t mmio_read8(const volatile void *reg)
{
    return (uint8_t)bench_register_read(reg, 1);
}

uint16_t mmio_read16(const volatile void *reg)
{
    return (uint16_t)bench_register_read(reg, 2);
}

uint32_t mmio_read32(const volatile void *reg)
{
    return (uint32_t)bench_register_read(reg, 4);
}

uint64_t mmio_read64(const volatile void *reg)
{
    return bench_register_read(reg, 8);
}

void mmio_write8(volatile void *reg, uint8_t value)
{
    assert_true(fake_nvme_write(reg, 1, value));
}

void mmio_write16(volatile void *reg, uint16_t value)
{
    assert_true(fake_nvme_write(reg, 2, value));
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    assert_true(fake_nvme_write(reg, 4, value));
}

void mmio_write64(volatile void *reg, uint64_t value)
{
    assert_true(fake_nvme_write(reg, 8, value));
}

/* ---- one test ---- */

static uint64_t bench_live_bytes; /* pages in use before the test */

static inline int bench_group_setup(void **state)
{
    (void)state;
    if (getenv("INGOT_LOG") == NULL)
        host_log_level(LOG_ERROR);
    host_cores_start(BENCH_CORES);
    return 0;
}

/* After fake_nvme_attach(): the clock at 0, then what nvme_start() returns. */
static inline int bench_start(void)
{
    bench_live_bytes = host_page_live_bytes();
    host_clock_fake(true);
    return nvme_start();
}

/* Stop the driver; nothing may be left allocated, and no device may have seen anything that it had to object to. */
static inline void bench_end(struct fake_nvme *dev)
{
    nvme_stop();
    assert_string_equal(dev->violation, "");
    assert_false(host_pci_is_bus_master(dev->pci));
    fake_nvme_detach_all();
    assert_int_equal(nvme_start(), 0); /* frees what the last start left */
    assert_int_equal(host_page_live_bytes(), bench_live_bytes);
}

static inline uint64_t bench_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_nsec;
}

/* ---- requests ---- */

struct bench_buffer {
    uint8_t *memory, *data;
    uint64_t memory_bytes, bytes;
    struct dma_segment segment;
};

#define BENCH_GUARD 0xa5

/* bytes of memory that start offset bytes into a page; what lies around them is filled and must stay so. */
static inline struct bench_buffer bench_buffer_make(uint64_t offset, uint64_t bytes)
{
    struct bench_buffer b = {.bytes = bytes, .memory_bytes = align_up(offset + bytes, PAGE_SIZE) + 2 * PAGE_SIZE};
    b.memory = page_alloc(b.memory_bytes, 0);
    assert_non_null(b.memory);
    memset(b.memory, BENCH_GUARD, b.memory_bytes);
    b.data = b.memory + PAGE_SIZE + offset;
    b.segment = (struct dma_segment){dma_addr(b.data), bytes};
    return b;
}

static inline void bench_buffer_check_guards(const struct bench_buffer *b)
{
    unsigned touched = 0;
    for (const uint8_t *at = b->memory; at < b->data; at++)
        touched += *at != BENCH_GUARD;
    for (const uint8_t *at = b->data + b->bytes; at < b->memory + b->memory_bytes; at++)
        touched += *at != BENCH_GUARD;
    assert_int_equal(touched, 0);
}

static inline void bench_buffer_free(struct bench_buffer *b)
{
    page_free(b->memory, b->memory_bytes);
}

static inline struct nvme_request bench_request(enum nvme_operation operation, unsigned ns_index, uint64_t lba,
                                                uint64_t count, struct bench_buffer *b)
{
    return (struct nvme_request){
        .operation = operation,
        .namespace = nvme_namespace_get(ns_index),
        .lba = lba,
        .block_count = count,
        .segments = b != NULL ? &b->segment : NULL,
        .segment_count = b != NULL,
    };
}

#endif
