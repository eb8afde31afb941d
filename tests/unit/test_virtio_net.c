/*
 * tests/unit/test_virtio_net.c: the virtio-net driver against the fake device of fake_virtio_net.h. The
 * driver's sources are included, because the Linux process has no use for them otherwise.
 */
#include "tests/unit/fake_virtio_net.h"

#include "runtime/net/nic.c"
#include "runtime/net/virtio.c"
#include "runtime/net/virtio_net.c"

static int start(void)
{
    return nic_start(&fix.nic, fake.pci, &virtio_net_driver);
}

static void start_well(void)
{
    fake_attach();
    assert_int_equal(start(), 0);
}

/* A start that must fail, and leave no memory, no DMA and a device that is reset. */
static void check_start_fails(int error)
{
    assert_int_equal(start(), error);
    assert_false(host_pci_is_bus_master(fake.pci));
    assert_null(fix.nic.driver_data);
    fake_detach();
}

static uint8_t *page;

static int page_setup(void **state)
{
    (void)state;
    page = page_alloc(PAGE_SIZE, 0);
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        page[i] = (uint8_t)(i * 7 + (i >> 8));
    return page == NULL;
}

static int page_teardown(void **state)
{
    (void)state;
    page_free(page, PAGE_SIZE);
    return 0;
}

/* ---- start ----------------------------------------------------------------------------------- */

static void test_start(void **state)
{
    start_well();
    assert_true(host_pci_is_bus_master(fake.pci));
    assert_int_equal(fake.status, 0x0f); /* ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK */
    assert_int_equal(fake.accepted, BIT(0) | BIT(1) | BIT(5) | BIT(16) | BIT(29) | BIT(32));
    assert_memory_equal(fix.nic.mac, fake.mac, 6);
    assert_true(fix.nic.has_link && fix.nic.has_interrupts);
    assert_true(fix.nic.tx_checksum && fix.nic.rx_checksum);
    assert_int_equal(*(uint16_t *)(uintptr_t)(fake.queue[0].driver + 2),
                     256); /* the ring is full */
    nic_stop(&fix.nic);
    assert_int_equal(fake.status, 0);
    assert_false(host_pci_is_bus_master(fake.pci));
    fake_detach();
}

static void test_start_without_options(void **state)
{
    fake_attach();
    fake.offered = BIT(32);
    host_pci_msix_entries(fake.pci, 0);
    assert_int_equal(start(), 0);
    assert_false(fix.nic.has_interrupts || fix.nic.tx_checksum || fix.nic.rx_checksum);
    assert_true(fix.nic.has_link); /* without VIRTIO_NET_F_STATUS the link counts as up */
    assert_true(nic_mac_is_valid(fix.nic.mac));
    assert_int_equal(fix.nic.mac[0] & 3, 2);
    fake_detach();
}

static void test_start_with_a_small_ring(void **state)
{
    fake_attach();
    fake.queue_size = 16;
    assert_int_equal(start(), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(fake_deliver(page, 60, 0, 0, 0));
        assert_int_equal(fixture_poll(), 1);
    }
    fake_detach();
}

static void test_start_fails(void **state)
{
    fake_attach();
    fake.offered &= ~BIT(32);
    check_start_fails(-ENOTSUP);

    fake_attach();
    fake.refuses_features = true;
    check_start_fails(-ENOTSUP);

    fake_attach();
    fake.is_gone = true;
    check_start_fails(-ENODEV);

    fake_attach();
    fake.queue_count = 1;
    check_start_fails(-ENODEV);

    static const uint16_t bad_sizes[] = {0, 3, 8, 257, 65535};
    for (unsigned i = 0; i < ARRAY_COUNT(bad_sizes); i++) {
        fake_attach();
        fake.queue_size = bad_sizes[i];
        check_start_fails(-ENOTSUP);
    }
}

static void test_start_times_out(void **state)
{
    fake_attach();
    fake.never_resets = true;
    assert_int_equal(start(), -ETIMEDOUT);
    assert_int_equal(host_clock_ms(), 2000); /* the reset, and the reset after it failed */
    assert_false(host_pci_is_bus_master(fake.pci));
    fake_detach();
}

/* Capabilities that point outside their BAR, at odd places or at no BAR are passed over. */
static void test_start_with_bad_capabilities(void **state)
{
    static const struct {
        uint8_t bar;
        uint32_t offset, length;
    } bad[] = {
        {4, FAKE_BAR_BYTES - 4, 0x38},
        {4, 0xfffffffc, 0x38},
        {4, 0, 0x37},
        {4, 0, FAKE_BAR_BYTES + 1},
        {4, 2, 0x38},
        {6, 0, 0x38},
        {255, 0, 0x38},
        {0, 0, 0x38},
        {4, FAKE_BAR_BYTES, 0x38},
        {4, 0x100, 0xffffffff},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        fake_attach();
        fake_capability(0x40, 0x54, 1, bad[i].bar, bad[i].offset, bad[i].length);
        check_start_fails(-ENOTSUP);
    }
    /* A good one behind a bad one is found. */
    fake_attach();
    fake_capability(0x54, 0x70, 1, 7, 0, 0x1000);
    host_pci_config(fake.pci)[0x34] = 0x54;
    fake_capability(0x80, 0x40, 2, 4, FAKE_NOTIFY, 0x1000);
    fake_capability(0x40, 0, 1, 4, FAKE_COMMON, 0x1000);
    assert_int_equal(start(), 0);
    fake_detach();
    /* A doorbell outside the notify window: queue 1's is at 4. */
    fake_attach();
    fake_capability(0x80, 0, 2, 4, FAKE_NOTIFY, 4);
    check_start_fails(-ENOTSUP);
}

static void test_start_without_memory(void **state)
{
    int failing = 0;
    for (int error = -ENOMEM; error != 0; failing++) {
        fake_attach();
        host_page_alloc_fail_after(failing);
        error = start();
        host_page_alloc_fail_after(-1);
        assert_true(error == 0 || error == -ENOMEM);
        if (error != 0)
            assert_false(host_pci_is_bus_master(fake.pci));
        fake_detach();
    }
    assert_int_equal(failing, 5); /* pool, headers, two queues; the fifth start succeeds */
}

/* ---- receive --------------------------------------------------------------------------------- */

static void test_receive(void **state)
{
    static const unsigned sizes[] = {14, 60, 1514, NIC_BUFFER_BYTES - 12};
    start_well();
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        assert_true(fake_deliver(page + i, sizes[i], i == 1 ? 2 : i == 2 ? 1 : 0, 0, 0));
        assert_int_equal(fixture_poll(), 1);
        assert_int_equal(fix.frame_bytes, sizes[i]);
        assert_memory_equal(fix.frame, page + i, sizes[i]);
        assert_int_equal(fix.frame_checksum_is_good, i == 1 || i == 2);
    }
    assert_int_equal(fixture_poll(), 0);
    assert_int_equal(fix.nic.counters.rx_frames, 4);
    assert_int_equal(fix.nic.counters.rx_errors, 0);
    fake_detach();
}

/* Lengths that cannot be: the frame is dropped and its buffer goes back into the ring. */
static void test_receive_with_bad_lengths(void **state)
{
    static const uint32_t claimed[] = {1, 11, 12, 25, NIC_BUFFER_BYTES + 1, 65536, UINT32_MAX};
    start_well();
    for (unsigned i = 0; i < 300; i++) {
        assert_true(fake_deliver(page, 60, 0, 0, claimed[i % ARRAY_COUNT(claimed)]));
        assert_int_equal(fixture_poll(), 1);
    }
    assert_true(fake_deliver(page, 60, 0, 1, 0)); /* segmentation that was not negotiated */
    assert_int_equal(fixture_poll(), 1);
    assert_int_equal(fix.frame_count, 0);
    assert_int_equal(fix.nic.counters.rx_errors, 301);
    assert_true(fake_deliver(page, 60, 0, 0, 0));
    assert_int_equal(fixture_poll(), 1);
    assert_int_equal(fix.frame_count, 1);
    fake_detach();
}

/* The stack keeps as many buffers as it may; the ring stays full all the same. */
static void test_receive_while_the_stack_keeps_buffers(void **state)
{
    start_well();
    fix.keep = true;
    for (unsigned i = 0; i < 2000; i++) {
        assert_true(fake_deliver(page, 100, 0, 0, 0));
        assert_int_equal(fixture_poll(), 1);
    }
    assert_int_equal(fix.kept_count, NIC_BUFFER_LOAN_MAX);
    for (unsigned i = 0; i < 256; i++)
        assert_true(fake_deliver(page, 100, 0, 0, 0));
    assert_false(fake_deliver(page, 100, 0, 0, 0)); /* 256 posted, all taken */
    fake_detach();
}

/* Budget, order, and indices that wrap at 2^16. */
static void test_receive_wraps(void **state)
{
    start_well();
    for (unsigned i = 0; i < 70000; i++) {
        memcpy(page, &i, sizeof(i));
        assert_true(fake_deliver(page, 64, 0, 0, 0));
        if (i % 200 != 199)
            continue;
        assert_int_equal(fixture_poll(), 64);
        uint32_t last;
        memcpy(&last, fix.frame, sizeof(last));
        assert_int_equal(last, i - 200 + 64);
        for (unsigned n = 3; n-- > 0;)
            fixture_poll();
        memcpy(&last, fix.frame, sizeof(last));
        assert_int_equal(last, i);
    }
    assert_int_equal(fix.frame_count, 70000);
    fake_detach();
}

/* ---- transmit -------------------------------------------------------------------------------- */

static void test_transmit(void **state)
{
    uint8_t out[8192];
    unsigned head;
    start_well();
    assert_int_equal(fixture_transmit(page, 1, 60, 0, 11), 0);
    assert_int_equal(fixture_transmit(page, 8, 180, 34, 12), 0);
    assert_int_equal(fake_fetch(out, &head), -1); /* nothing is published before the kick */
    fixture_poll();

    assert_int_equal(fake_fetch(out, &head), 12 + 60);
    static const uint8_t plain[12];
    assert_memory_equal(out, plain, 12);
    assert_memory_equal(out + 12, page, 60);
    fake_used(&fake.queue[1], head, 0);
    fixture_poll();
    assert_int_equal(fix.sent_count, 1);
    assert_int_equal(fix.sent[0], 11);

    assert_int_equal(fake_fetch(out, &head), 12 + 8 * 180);
    static const uint8_t with_checksum[12] = {1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0};
    assert_memory_equal(out, with_checksum, 12);
    assert_memory_equal(out + 12, page, 8 * 180);
    fake_used(&fake.queue[1], head, 0);
    fixture_poll();
    assert_int_equal(fix.sent[1], 12);
    fixture_poll();
    assert_int_equal(fix.sent_count, 2);
    fake_detach();
}

/* A full ring is -EAGAIN; completions in any order free exactly their own descriptors. */
static void test_transmit_until_full(void **state)
{
    uint8_t out[2048];
    unsigned heads[256], count = 0;
    start_well();
    for (unsigned round = 0; round < 50; round++) {
        unsigned first = count = 0;
        while (fixture_transmit(page, 1 + count % 3, 60, 0, 1000 + count) == 0)
            count++;
        assert_true(count >= 60 && count <= 128);
        first = fix.sent_count;
        fixture_poll();
        for (unsigned i = 0; i < count; i++)
            assert_true(fake_fetch(out, &heads[i]) > 0);
        assert_int_equal(fixture_transmit(page, 3, 60, 0, 1), -EAGAIN);
        for (unsigned i = 0; i < count; i++) /* odd ones first, backwards */
            if (i % 2 == 1)
                fake_used(&fake.queue[1], heads[count / 2 * 2 - i], 0);
        for (unsigned i = 0; i < count; i++)
            if (i % 2 == 0 || i >= count / 2 * 2)
                fake_used(&fake.queue[1], heads[i], 0);
        fixture_poll();
        assert_int_equal(fix.sent_count - first, count);
    }
    fake_detach();
}

/* ---- devices that break the protocol --------------------------------------------------------- */

static void check_failed(void)
{
    assert_true(fix.nic.is_failed);
    assert_false(fix.nic.has_link);
    assert_false(host_pci_is_bus_master(fake.pci));
    assert_int_equal(fake.status, 0);
    assert_int_equal(fixture_transmit(page, 1, 60, 0, 1), -EIO);
    assert_int_equal(fixture_poll(), 0);
    assert_false(fix.nic.driver->arm(&fix.nic));
    fix.nic.driver->disarm(&fix.nic);
    fix.nic.driver->check(&fix.nic);
    fake_detach();
}

static void test_bad_used_id(void **state)
{
    static const uint32_t bad[] = {256, 65536, UINT32_MAX};
    for (unsigned queue = 0; queue < 2; queue++)
        for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
            start_well();
            fake_used(&fake.queue[queue], bad[i], 72);
            fixture_poll();
            check_failed();
        }
}

/* A receive descriptor is posted again at once, so a second completion is one more (made-up) frame, in our memory. */
static void test_received_twice(void **state)
{
    start_well();
    assert_true(fake_deliver(page, 60, 0, 0, 0));
    for (unsigned i = 0; i < 10; i++)
        fake_used(&fake.queue[0], 0, 72);
    assert_int_equal(fixture_poll(), 11);
    assert_false(fix.nic.is_failed);
    fake_detach();
}

static void test_sent_twice(void **state)
{
    uint8_t out[256];
    unsigned head;
    start_well();
    assert_int_equal(fixture_transmit(page, 1, 60, 0, 5), 0);
    assert_int_equal(fixture_transmit(page, 1, 60, 0, 6), 0);
    fixture_poll();
    assert_true(fake_fetch(out, &head) > 0);
    fake_used(&fake.queue[1], head, 0);
    fake_used(&fake.queue[1], head, 0);
    fixture_poll();
    assert_int_equal(fix.sent_count,
                     2); /* the one that was done, and the one given up at the stop */
    assert_int_equal(fix.sent[0], 5);
    assert_int_equal(fix.sent[1], 6);
    check_failed();
}

/* Descriptor 1 of a chain is not a head. */
static void test_completion_of_an_inner_descriptor(void **state)
{
    uint8_t out[1024];
    unsigned head;
    start_well();
    assert_int_equal(fixture_transmit(page, 3, 60, 0, 5), 0);
    fixture_poll();
    assert_true(fake_fetch(out, &head) > 0);
    const struct virtq_desc *table = fake_dma(fake.queue[1].desc);
    fake_used(&fake.queue[1], table[head].next, 0);
    fixture_poll();
    check_failed();
}

static void test_used_index_jumps(void **state)
{
    for (unsigned queue = 0; queue < 2; queue++) {
        start_well();
        ((uint16_t *)fake_dma(fake.queue[queue].device))[1] = 257;
        fixture_poll();
        check_failed();
    }
}

static void test_device_goes_away(void **state)
{
    start_well();
    assert_int_equal(fixture_transmit(page, 1, 60, 0, 7), 0);
    fixture_poll();
    fake.is_gone = true;
    fix.nic.driver->check(&fix.nic);
    assert_true(fix.nic.is_failed && !fix.nic.has_link);
    assert_false(host_pci_is_bus_master(fake.pci));
    assert_int_equal(fix.sent_count, 1);
    assert_true(fix.nic.link_changed);
    /* Its queues and headers stay allocated: a device that does not confirm its reset may still use them. */
    assert_true(host_page_live_bytes() >
                fix.live_bytes + (uint64_t)NIC_BUFFER_COUNT * NIC_BUFFER_BYTES);
    fix.live_bytes = host_page_live_bytes() - (uint64_t)NIC_BUFFER_COUNT * NIC_BUFFER_BYTES;
    fake_detach();
}

static void test_device_wants_a_reset(void **state)
{
    start_well();
    fake.status |= 0x40;
    fix.nic.driver->check(&fix.nic);
    check_failed();
}

/* ---- interrupts and doorbells ---------------------------------------------------------------- */

static void check_interrupts(uint64_t offered)
{
    fake_attach();
    fake.offered = offered;
    assert_int_equal(start(), 0);
    assert_true(fake_deliver(page, 60, 0, 0, 0));
    assert_int_equal(fake.interrupts, 0);       /* not asked for */
    assert_true(fix.nic.driver->arm(&fix.nic)); /* a frame waits */
    fix.nic.driver->disarm(&fix.nic);
    assert_int_equal(fixture_poll(), 1);
    assert_false(fix.nic.driver->arm(&fix.nic));
    uint32_t seen = event_read(&fix.event);
    assert_true(fake_deliver(page, 60, 0, 0, 0));
    assert_int_equal(fake.interrupts, 1);
    assert_int_not_equal(event_read(&fix.event), seen);
    fix.nic.driver->disarm(&fix.nic);
    for (unsigned i = 0; i < 1000; i++) {
        fixture_poll();
        assert_true(fake_deliver(page, 60, 0, 0, 0));
    }
    assert_int_equal(fake.interrupts, 1);

    /* Doorbells: only while the device wants them, and one for any number of frames. */
    uint8_t out[256];
    unsigned head;
    for (unsigned i = 0; i < 20; i++) {
        bool wanted = i % 2 == 1;
        fake_want_kick(&fake.queue[1], wanted);
        fake.queue[1].kicks = 0;
        for (unsigned n = 0; n < 5; n++)
            assert_int_equal(fixture_transmit(page, 1, 60, 0, 5), 0);
        fixture_poll();
        fixture_poll();
        assert_int_equal(fake.queue[1].kicks, wanted);
        while (fake_fetch(out, &head) > 0)
            fake_used(&fake.queue[1], head, 0);
    }
    assert_int_equal(fake.interrupts, 1); /* none for sent frames */
    fake_detach();
}

static void test_interrupts_with_event_index(void **state)
{
    check_interrupts(BIT(16) | BIT(29) | BIT(32));
}

static void test_interrupts_with_flags(void **state)
{
    check_interrupts(BIT(16) | BIT(32));
}

static void test_link_changes(void **state)
{
    start_well();
    uint32_t seen = event_read(&fix.event);
    fix.nic.link_changed = false;
    fake.link_status = 0;
    assert_true(host_pci_msix_raise(fake.pci, fake.config_vector));
    assert_true(fix.nic.link_changed);
    assert_int_not_equal(event_read(&fix.event), seen);
    fix.nic.driver->check(&fix.nic);
    assert_false(fix.nic.has_link);
    fake.link_status = 1;
    fix.nic.driver->check(&fix.nic);
    assert_true(fix.nic.has_link);
    fake_detach();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_start_without_options),
        cmocka_unit_test(test_start_with_a_small_ring),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_start_times_out),
        cmocka_unit_test(test_start_with_bad_capabilities),
        cmocka_unit_test(test_start_without_memory),
        cmocka_unit_test(test_receive),
        cmocka_unit_test(test_receive_with_bad_lengths),
        cmocka_unit_test(test_receive_while_the_stack_keeps_buffers),
        cmocka_unit_test(test_receive_wraps),
        cmocka_unit_test(test_transmit),
        cmocka_unit_test(test_transmit_until_full),
        cmocka_unit_test(test_bad_used_id),
        cmocka_unit_test(test_received_twice),
        cmocka_unit_test(test_sent_twice),
        cmocka_unit_test(test_completion_of_an_inner_descriptor),
        cmocka_unit_test(test_used_index_jumps),
        cmocka_unit_test(test_device_goes_away),
        cmocka_unit_test(test_device_wants_a_reset),
        cmocka_unit_test(test_interrupts_with_event_index),
        cmocka_unit_test(test_interrupts_with_flags),
        cmocka_unit_test(test_link_changes),
    };
    return cmocka_run_group_tests(tests, page_setup, page_teardown);
}
