/* tests/unit/test_host.c: the hosted twin itself: its clock, memory, log and PCI devices, from a plain main(). */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/host.h"

/* A register that never shows the value costs exactly its deadline, on the fake clock. */
static void test_register_wait_times_out(void **state)
{
    (void)state;
    uint32_t reg = 0;
    host_clock_fake(true);
    assert_int_equal(wait_reg32(&reg, 1, 1, time_ns() + 1000 * NS_PER_MS), -ETIMEDOUT);
    assert_int_equal(host_clock_ms(), 1000);

    reg = UINT32_MAX;
    assert_int_equal(wait_reg32(&reg, 1, 0, time_ns() + NS_PER_S), -ENODEV);
    assert_int_equal(wait_reg32(&reg, 1, 1, time_ns() + NS_PER_S), 0);
    assert_int_equal(host_clock_ms(), 1000);
}

/* Waits of every kind, outside any task: they end on time, and the clock jumps there. */
static void test_waits_jump_the_clock(void **state)
{
    (void)state;
    struct event event = {0};
    host_clock_fake(true);
    assert_int_equal(event_wait(&event, event_read(&event), 250 * NS_PER_MS), -ETIMEDOUT);
    assert_int_equal(host_clock_ms(), 250);
    task_sleep_until(NS_PER_S);
    assert_int_equal(time_ns(), NS_PER_S);
    time_spin_ns(500);
    assert_int_equal(time_ns(), NS_PER_S + 500);

    uint32_t seen = event_read(&event);
    event_signal(&event);
    assert_int_equal(event_wait(&event, seen, DEADLINE_NEVER), 0);
}

static void test_memory_runs_out_on_demand(void **state)
{
    (void)state;
    uint64_t before = host_page_live_bytes();
    host_page_alloc_fail_after(1);
    uint8_t *first = page_alloc(5000, 64 * 1024);
    assert_non_null(first);
    assert_int_equal((uintptr_t)first % (64 * 1024), 0);
    assert_int_equal(first[8191], 0);
    assert_null(page_alloc(1, 0));
    host_page_alloc_fail_after(-1);
    uint8_t *large = page_alloc(UINT64_C(64) << 20, UINT64_C(2) << 20);
    assert_non_null(large);
    assert_int_equal((uintptr_t)large % (2 << 20), 0);
    large[(64 << 20) - 1] = 1;
    assert_int_equal(host_page_live_bytes() - before, (64 << 20) + 8192);
    page_free(large, 64 << 20);
    page_free(first, 5000);
    assert_int_equal(host_page_live_bytes(), before);
}

static void test_log_keeps_and_escapes(void **state)
{
    (void)state;
    struct log_line line;
    log_info("first");
    uint64_t from = 1;
    while (log_read(from, &line))
        from = line.sequence + 1;
    log_debug("a\nb\x1b[0m \xc3\xa9 \xff %d", 7);
    assert_int_equal(log_read(from, &line), 1);
    assert_int_equal(line.sequence, from);
    assert_string_equal(line.text, "a\\x0ab\\x1b[0m \xc3\xa9 \\xff 7");
    assert_int_equal(log_read(from + 1, &line), 0);
}

static void count_call(void *arg)
{
    ++*(int *)arg;
}

static void test_pci_device(void **state)
{
    (void)state;
    uint32_t bar0[4] = {0x12345678};
    struct pci_device *pci = host_pci_add(
        &(struct pci_device){
            .vendor_id = 0x1b36,
            .device_id = 0x0010,
            .base_class = 1,
            .sub_class = 8,
            .prog_if = 2,
            .bar[0] = {.pa = 0xfe000000, .size_bytes = sizeof(bar0), .is_64 = true}},
        (void *[6]){bar0});
    assert_ptr_equal(pci_device_get(0), pci);
    assert_null(pci_device_get(1));
    assert_int_equal(pci_read32(pci, 0x08), 0x01080200);
    assert_int_equal(pci_read32(pci, 0x10), 0xfe000004);
    assert_int_equal(mmio_read32(pci_map_bar(pci, 0, CACHE_UNCACHED)), 0x12345678);
    assert_null(pci_map_bar(pci, 1, CACHE_UNCACHED));

    assert_int_equal(pci_enable(pci), 0);
    assert_true(host_pci_is_enabled(pci));
    assert_false(host_pci_is_bus_master(pci));
    pci_bus_master(pci, true);
    assert_true(host_pci_is_bus_master(pci));

    int calls = 0;
    assert_int_equal(pci_msix_enable(pci, 0, 0, count_call, &calls), -ENOTSUP);
    host_pci_msix_entries(pci, 2);
    assert_int_equal(pci_msix_enable(pci, 1, 0, count_call, &calls), 0);
    assert_int_equal(pci_msix_enable(pci, 2, 0, count_call, &calls), -ENOSPC);
    pci_msix_mask(pci, 1, true);
    assert_true(host_pci_msix_raise(pci, 1));
    assert_int_equal(calls, 0);
    pci_msix_mask(pci, 1, false);
    assert_int_equal(calls, 1);
    assert_false(host_pci_msix_raise(pci, 0));

    host_pci_config(pci)[0x06] = 0x10; /* a capability list that loops */
    host_pci_config(pci)[0x34] = 0x40;
    host_pci_config(pci)[0x40] = 0x01;
    host_pci_config(pci)[0x41] = 0x40;
    assert_int_equal(pci_find_capability(pci, 0x01, 0), 0x40);
    assert_int_equal(pci_find_capability(pci, 0x11, 0), 0);
    pci_disable(pci);
    assert_false(host_pci_is_bus_master(pci));
    host_pci_clear();
    assert_null(pci_device_get(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_register_wait_times_out),
        cmocka_unit_test(test_waits_jump_the_clock),
        cmocka_unit_test(test_memory_runs_out_on_demand),
        cmocka_unit_test(test_log_keeps_and_escapes),
        cmocka_unit_test(test_pci_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
