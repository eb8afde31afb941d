/*
 * tests/unit/test_e1000e.c: the e1000e driver against the fake device of fake_e1000e.h. The
 * driver's sources are included, because the Linux process has no use for them otherwise.
 */
#include "tests/unit/fake_e1000e.h"

#include "runtime/net/e1000e.c"
#include "runtime/net/nic.c"

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

static int start(void)
{
    return nic_start(&fix.nic, fake.pci, &e1000e_driver);
}

static void start_well(void)
{
    fake_attach();
    assert_int_equal(start(), 0);
}

/* ---- start ----------------------------------------------------------------------------------- */

static void test_start(void **state)
{
    start_well();
    assert_true(host_pci_is_bus_master(fake.pci));
    assert_memory_equal(fix.nic.mac, fake.mac, 6);
    assert_true(fix.nic.has_link && fix.nic.has_interrupts && fix.nic.tx_checksum &&
                fix.nic.rx_checksum);
    assert_int_equal(*fake_reg(E1000_RDT), 255); /* one descriptor less than the ring: full */
    assert_int_equal(*fake_reg(E1000_TDT), 0);
    assert_true(*fake_reg(E1000_CTRL) & E1000_CTRL_SLU);
    assert_int_equal(fake.mask, E1000_INT_LSC | E1000_INT_OTHER);
    nic_stop(&fix.nic);
    assert_false(host_pci_is_bus_master(fake.pci));
    assert_int_equal(*fake_reg(E1000_RCTL) & E1000_RCTL_EN, 0);
    fake_detach();
}

static void check_start_fails(int error, uint64_t milliseconds)
{
    assert_int_equal(start(), error);
    assert_int_equal(host_clock_ms(), milliseconds);
    assert_false(host_pci_is_bus_master(fake.pci));
    assert_null(fix.nic.driver_data);
    fake_detach();
}

static void test_start_fails(void **state)
{
    fake_attach();
    fake.never_resets = true;
    check_start_fails(-ETIMEDOUT, 10);

    fake_attach();
    fake.no_nvm = true;
    check_start_fails(-ETIMEDOUT, 100);

    fake_attach();
    fake.is_gone = true;
    check_start_fails(-ENODEV, 0);

    fake_attach();
    memset(fake.mac, 0, 6);
    check_start_fails(-ENODEV, 0);

    fake_attach();
    fake.mac[0] = 1; /* a group address */
    check_start_fails(-ENODEV, 0);

    fake_attach();
    fake.pci->bar[0].size_bytes = E1000_REGISTER_BYTES / 2;
    check_start_fails(-ENODEV, 0);
}

/* Requests that never end delay the reset by 10 ms and do not prevent it. */
static void test_start_with_requests_under_way(void **state)
{
    fake_attach();
    fake.master_stays = true;
    assert_int_equal(start(), 0);
    assert_int_equal(host_clock_ms(), 10);
    fake_detach();
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
    assert_int_equal(failing, 4); /* pool and two rings; the fourth start succeeds */
}

static void test_start_without_msix(void **state)
{
    fake_attach();
    host_pci_msix_entries(fake.pci, 0);
    assert_int_equal(start(), 0);
    assert_false(fix.nic.has_interrupts);
    assert_int_equal(fake.mask, 0);
    fake_detach();
}

/* ---- receive --------------------------------------------------------------------------------- */

static void test_receive(void **state)
{
    static const struct {
        unsigned bytes;
        uint8_t status, errors;
        bool is_good;
    } cases[] = {
        {14, E1000_RXD_STATUS_EOP, 0, false},
        {60, E1000_RXD_STATUS_EOP | E1000_RXD_STATUS_TCPCS, 0, true},
        {60, E1000_RXD_STATUS_EOP | E1000_RXD_STATUS_UDPCS, 0, true},
        {60, E1000_RXD_STATUS_EOP | E1000_RXD_STATUS_TCPCS | E1000_RXD_STATUS_IXSM, 0, false},
        {60, E1000_RXD_STATUS_EOP | E1000_RXD_STATUS_TCPCS, E1000_RXD_ERROR_TCPE, false},
        {60, E1000_RXD_STATUS_EOP | E1000_RXD_STATUS_TCPCS, E1000_RXD_ERROR_IPE, false},
        {2048, E1000_RXD_STATUS_EOP, 0, false},
    };
    start_well();
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_true(fake_deliver(page + i, cases[i].bytes, cases[i].status, cases[i].errors, 0));
        assert_int_equal(fixture_poll(), 1);
        assert_int_equal(fix.frame_bytes, cases[i].bytes);
        assert_memory_equal(fix.frame, page + i, cases[i].bytes);
        assert_int_equal(fix.frame_checksum_is_good, cases[i].is_good);
    }
    assert_int_equal(fixture_poll(), 0);
    assert_int_equal(fix.nic.counters.rx_errors, 0);
    fake_detach();
}

/* Frames with errors, without an end, or of impossible lengths are dropped, and reception goes on. */
static void test_receive_bad_frames(void **state)
{
    static const struct {
        uint8_t status, errors;
        uint16_t claimed;
    } cases[] = {
        {0, 0, 0},
        {E1000_RXD_STATUS_EOP, 0x01, 0},
        {E1000_RXD_STATUS_EOP, 0x02, 0},
        {E1000_RXD_STATUS_EOP, 0x04, 0},
        {E1000_RXD_STATUS_EOP, 0x10, 0},
        {E1000_RXD_STATUS_EOP, 0x80, 0},
        {E1000_RXD_STATUS_EOP, 0, 1},
        {E1000_RXD_STATUS_EOP, 0, 13},
        {E1000_RXD_STATUS_EOP, 0, 2049},
        {E1000_RXD_STATUS_EOP, 0, 65535},
    };
    start_well();
    for (unsigned i = 0; i < 700; i++) {
        unsigned c = i % ARRAY_COUNT(cases);
        assert_true(fake_deliver(page, 60, cases[c].status, cases[c].errors, cases[c].claimed));
        assert_int_equal(fixture_poll(), 1);
    }
    assert_int_equal(fix.frame_count, 0);
    assert_int_equal(fix.nic.counters.rx_errors, 700);
    assert_true(fake_deliver(page, 60, E1000_RXD_STATUS_EOP, 0, 0));
    assert_int_equal(fixture_poll(), 1);
    assert_int_equal(fix.frame_count, 1);
    fake_detach();
}

static void test_receive_while_the_stack_keeps_buffers(void **state)
{
    start_well();
    fix.keep = true;
    for (unsigned i = 0; i < 2000; i++) {
        assert_true(fake_deliver(page, 100, E1000_RXD_STATUS_EOP, 0, 0));
        assert_int_equal(fixture_poll(), 1);
    }
    assert_int_equal(fix.kept_count, NIC_BUFFER_LOAN_MAX);
    fake_detach();
}

/* Bursts longer than a turn's budget, in order, and few writes of the tail register. */
static void test_receive_bursts(void **state)
{
    start_well();
    unsigned sent = 0, kicks = fake.rx_kicks;
    for (unsigned burst = 0; burst < 100; burst++) {
        while (sent < (burst + 1) * 200) {
            memcpy(page, &sent, sizeof(sent));
            assert_true(fake_deliver(page, 64, E1000_RXD_STATUS_EOP, 0, 0));
            sent++;
        }
        assert_int_equal(fixture_poll(), 64);
        for (unsigned n = 3; n-- > 0;)
            fixture_poll();
        uint32_t last;
        memcpy(&last, fix.frame, sizeof(last));
        assert_int_equal(last, sent - 1);
    }
    assert_int_equal(fix.frame_count, 20000);
    assert_true(fake.rx_kicks - kicks <= 400);
    /* Nothing more than the ring holds is taken: 255 minus what is not told yet. */
    unsigned taken = 0;
    while (fake_deliver(page, 64, E1000_RXD_STATUS_EOP, 0, 0))
        taken++;
    assert_true(taken <= 255 && taken > 255 - REFILL_BATCH);
    assert_int_equal(fixture_poll(), 64);
    fake_detach();
}

/* ---- transmit -------------------------------------------------------------------------------- */

static void test_transmit(void **state)
{
    uint8_t out[8192];
    struct e1000_tx_desc *last;
    start_well();
    assert_int_equal(fixture_transmit(page, 1, 60, 0, 11), 0);
    assert_int_equal(fixture_transmit(page, 8, 180, 34, 12), 0);
    assert_int_equal(fixture_transmit(page, 2, 100, 34, 13), 0);
    assert_int_equal(fixture_transmit(page, 1, 90, 38, 14), 0);
    assert_int_equal(fake.tx_kicks, 1); /* from the start; nothing since */
    fixture_poll();
    assert_int_equal(fake.tx_kicks, 2);

    assert_int_equal(fake_fetch(out, &last), 60);
    assert_memory_equal(out, page, 60);
    assert_int_equal(fake.last_options & E1000_TXD_POPTS_TXSM, 0);
    assert_int_equal(fake.context_count, 0);
    last->status |= E1000_TXD_STATUS_DD;

    assert_int_equal(fake_fetch(out, &last), 8 * 180);
    assert_memory_equal(out, page, 8 * 180);
    assert_true(fake.last_options & E1000_TXD_POPTS_TXSM);
    assert_int_equal(field_get(E1000_TXC_TUCSS, fake.context), 34);
    assert_int_equal(field_get(E1000_TXC_TUCSO, fake.context), 50);
    assert_int_equal(field_get(E1000_TXC_TUCSE, fake.context), 0);
    struct e1000_tx_desc *second = last;

    assert_int_equal(fake_fetch(out, &last), 200);
    assert_int_equal(fake.context_count, 1); /* the same as before: not sent again */
    last->status |= E1000_TXD_STATUS_DD;
    assert_int_equal(fake_fetch(out, &last), 90);
    assert_int_equal(fake.context_count, 2);
    assert_int_equal(field_get(E1000_TXC_TUCSO, fake.context), 54);
    last->status |= E1000_TXD_STATUS_DD;

    fixture_poll();
    assert_int_equal(fix.sent_count, 1); /* frames are collected in order; the second is not done */
    second->status |= E1000_TXD_STATUS_DD;
    fixture_poll();
    assert_int_equal(fix.sent_count, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fix.sent[i], 11 + i);
    fake_detach();
}

static void test_transmit_until_full(void **state)
{
    uint8_t out[2048];
    struct e1000_tx_desc *last;
    start_well();
    for (unsigned round = 0; round < 50; round++) {
        unsigned count = 0, before = fix.sent_count;
        while (fixture_transmit(page, 1 + count % 3, 60, count % 2 ? 34 : 38, 1) == 0)
            count++;
        assert_true(count >= 80);
        fixture_poll();
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(fake_fetch(out, &last), 60 * (1 + i % 3));
            last->status |= E1000_TXD_STATUS_DD;
        }
        assert_int_equal(fake_fetch(out, &last), -1);
        fixture_poll();
        assert_int_equal(fix.sent_count - before, count);
    }
    /* What is on its way at the stop is given back. */
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(fixture_transmit(page, 3, 60, 0, 77), 0);
    unsigned before = fix.sent_count;
    nic_stop(&fix.nic);
    assert_int_equal(fix.sent_count - before, 10);
    assert_int_equal(fixture_transmit(page, 1, 60, 0, 1), -EIO);
    assert_int_equal(fixture_poll(), 0);
    fake_detach();
}

/* ---- interrupts, link, and a device that goes away ------------------------------------------- */

static void test_interrupts(void **state)
{
    start_well();
    assert_true(fake_deliver(page, 60, E1000_RXD_STATUS_EOP, 0, 0));
    assert_int_equal(fake.interrupts, 0);       /* not asked for */
    assert_true(fix.nic.driver->arm(&fix.nic)); /* a frame waits */
    fix.nic.driver->disarm(&fix.nic);
    assert_int_equal(fixture_poll(), 1);
    assert_false(fix.nic.driver->arm(&fix.nic));
    assert_int_equal(fake.interrupts, 0); /* what was polled does not interrupt afterwards */
    uint32_t seen = event_read(&fix.event);
    assert_true(fake_deliver(page, 60, E1000_RXD_STATUS_EOP, 0, 0));
    assert_true(fake_deliver(page, 60, E1000_RXD_STATUS_EOP, 0, 0));
    assert_int_equal(fake.interrupts, 1); /* the message masked its cause */
    assert_int_not_equal(event_read(&fix.event), seen);
    fix.nic.driver->disarm(&fix.nic);
    assert_int_equal(fixture_poll(), 2);
    fake_detach();
}

static void test_link_changes(void **state)
{
    start_well();
    for (unsigned i = 0; i < 3; i++) {
        bool up = i % 2 == 1;
        fix.nic.link_changed = false;
        *fake_reg(E1000_STATUS) = up ? E1000_STATUS_LU : 0;
        fake_cause(E1000_INT_LSC | E1000_INT_OTHER);
        assert_true(fix.nic.link_changed);
        fix.nic.driver->check(&fix.nic);
        assert_int_equal(fix.nic.has_link, up);
    }
    fake_detach();
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
    assert_int_equal(fixture_poll(), 0);
    assert_false(fix.nic.driver->arm(&fix.nic));
    /* Its rings stay allocated: a device that does not confirm its reset may still use them. */
    fix.live_bytes += 2 * 4096;
    fake_detach();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_start_with_requests_under_way),
        cmocka_unit_test(test_start_without_memory),
        cmocka_unit_test(test_start_without_msix),
        cmocka_unit_test(test_receive),
        cmocka_unit_test(test_receive_bad_frames),
        cmocka_unit_test(test_receive_while_the_stack_keeps_buffers),
        cmocka_unit_test(test_receive_bursts),
        cmocka_unit_test(test_transmit),
        cmocka_unit_test(test_transmit_until_full),
        cmocka_unit_test(test_interrupts),
        cmocka_unit_test(test_link_changes),
        cmocka_unit_test(test_device_goes_away),
    };
    return cmocka_run_group_tests(tests, page_setup, page_teardown);
}
