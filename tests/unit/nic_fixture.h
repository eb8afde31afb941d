/*
 * tests/unit/nic_fixture.h: the stack's side of struct nic for the driver tests: it records what was received and sent.
 */
#ifndef INGOT_TEST_NIC_FIXTURE_H
#define INGOT_TEST_NIC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/net/nic.h"
#include "tests/host/host.h"

struct nic_fixture {
    struct nic nic;
    struct event event;
    uint64_t live_bytes; /* before the start */
    /* The last frame received, and how many. keep: buffers are not given back. */
    uint8_t frame[NIC_BUFFER_BYTES];
    unsigned frame_bytes, frame_count;
    bool frame_checksum_is_good, keep;
    unsigned kept[NIC_BUFFER_COUNT], kept_count;
    unsigned sent_count;
    uintptr_t sent[1024]; /* cookies in the order they came back */
};

static struct nic_fixture fix;

static void fixture_receive(struct nic *nic, unsigned buffer, unsigned offset, unsigned size_bytes,
                            bool checksum_is_good)
{
    assert_true(offset + size_bytes <= NIC_BUFFER_BYTES);
    memcpy(fix.frame, nic_buffer_va(nic, buffer) + offset, size_bytes);
    fix.frame_bytes = size_bytes;
    fix.frame_checksum_is_good = checksum_is_good;
    fix.frame_count++;
    if (fix.keep && fix.kept_count < NIC_BUFFER_LOAN_MAX)
        fix.kept[fix.kept_count++] = buffer;
    else
        nic_buffer_put(nic, buffer);
}

static void fixture_sent(struct nic *nic, void *cookie)
{
    (void)nic;
    fix.sent[fix.sent_count++ % ARRAY_COUNT(fix.sent)] = (uintptr_t)cookie;
}

static void fixture_init(void)
{
    memset(&fix, 0, sizeof(fix));
    host_clock_fake(true);
    host_log_level(LOG_ERROR);
    fix.live_bytes = host_page_live_bytes();
    fix.nic.event = &fix.event;
    fix.nic.receive = fixture_receive;
    fix.nic.sent = fixture_sent;
}

/* Stops the port if it runs; every buffer must have come back and every page been freed. */
static void fixture_finish(void)
{
    while (fix.kept_count > 0)
        nic_buffer_put(&fix.nic, fix.kept[--fix.kept_count]);
    if (fix.nic.driver != NULL && fix.nic.driver_data != NULL)
        nic_stop(&fix.nic);
    if (fix.nic.buffer_memory != NULL) {
        assert_int_equal(fix.nic.buffer_free_count, NIC_BUFFER_COUNT);
        page_free(fix.nic.buffer_memory, (uint64_t)NIC_BUFFER_COUNT * NIC_BUFFER_BYTES);
    }
    assert_int_equal(host_page_live_bytes(), fix.live_bytes);
    host_pci_clear();
}

static unsigned fixture_poll(void)
{
    unsigned count = fix.nic.driver->poll(&fix.nic, 64);
    fix.nic.driver->kick(&fix.nic);
    return count;
}

/* Queue a frame of `chunk_count` pieces of a page. */
static int fixture_transmit(uint8_t *page, unsigned chunk_count, unsigned chunk_bytes,
                            uint16_t checksum_start, uintptr_t cookie)
{
    struct dma_segment chunks[NIC_CHUNK_MAX];
    for (unsigned i = 0; i < chunk_count; i++)
        chunks[i] = (struct dma_segment){dma_addr(page + i * chunk_bytes), chunk_bytes};
    struct nic_frame frame = {chunks, chunk_count, checksum_start, 16};
    return fix.nic.driver->transmit(&fix.nic, &frame, (void *)cookie);
}

#endif
