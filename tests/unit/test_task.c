/*
 * tests/unit/test_task.c: the scheduler, on four real threads as cores. Order within a core, deadlines on the fake
 * clock, registers kept across switches, and a great many chances to lose a wake-up. Clean under clang's thread
 * sanitizer too, which kernel/task.c tells about its stacks.
 */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/machine.h"
#include "tests/host/host.h"

#define CORES 4

/* Tasks of a test count down here; main() waits for the last. */
static _Atomic unsigned tasks_left;
static struct event task_ended;

static void task_done(void)
{
    atomic_fetch_sub(&tasks_left, 1);
    event_signal(&task_ended);
}

static void wait_for_tasks(void)
{
    for (;;) {
        uint32_t seen = event_read(&task_ended);
        if (atomic_load(&tasks_left) == 0)
            return;
        assert_int_equal(event_wait(&task_ended, seen, time_ns() + 60 * NS_PER_S), 0);
    }
}

static void start(unsigned core, void (*fn)(void *arg), void *arg)
{
    atomic_fetch_add(&tasks_left, 1);
    assert_int_equal(task_create("test", core, 0, fn, arg), 0);
}

/* ---- order ---- */

static char trace[64];

static void trace_thrice(void *letter)
{
    for (int i = 0; i < 3; i++) {
        strncat(trace, letter, 1);
        task_yield();
    }
    task_done();
}

/* Tasks of one core take turns in the order in which they were started. */
static void test_yield_takes_turns(void **state)
{
    (void)state;
    trace[0] = 0;
    start(0, trace_thrice, "a");
    start(0, trace_thrice, "b");
    start(0, trace_thrice, "c");
    wait_for_tasks();
    assert_string_equal(trace, "abcabcabc");
    assert_string_equal(task_name(), "core0");
}

static void sleep_and_trace(void *arg)
{
    const char *spec = arg; /* letter, then tenths of a second */
    task_sleep_until((uint64_t)(spec[1] - '0') * 100 * NS_PER_MS);
    strncat(trace, spec, 1);
    assert_int_equal(host_clock_ms(), (spec[1] - '0') * 100);
    task_done();
}

static void test_sleepers_wake_in_order_of_time(void **state)
{
    (void)state;
    trace[0] = 0;
    host_clock_fake(true);
    start(0, sleep_and_trace, "c5");
    start(0, sleep_and_trace, "a1");
    start(0, sleep_and_trace, "d9");
    start(0, sleep_and_trace, "b3");
    wait_for_tasks();
    host_clock_fake(false);
    assert_string_equal(trace, "abcd");
}

/* ---- timeouts ---- */

static struct event quiet;

static void wait_quietly(void *ms)
{
    uint64_t deadline = (uintptr_t)ms * NS_PER_MS;
    assert_int_equal(event_wait(&quiet, event_read(&quiet), deadline), -ETIMEDOUT);
    assert_int_equal(time_ns(), deadline);
    task_done();
}

/* Waiters of one event time out one by one, each on time, and the rest still hear the signal. */
static void test_timeouts(void **state)
{
    (void)state;
    host_clock_fake(true);
    for (uintptr_t i = 1; i <= 20; i++)
        start(0, wait_quietly, (void *)(i * 7 % 20 * 10 + 10));
    wait_for_tasks();
    assert_int_equal(host_clock_ms(), 200);
    assert_null(quiet.waiters);

    uint32_t seen = event_read(&quiet);
    assert_int_equal(event_wait(&quiet, seen, 0), -ETIMEDOUT);
    event_signal(&quiet);
    assert_int_equal(event_wait(&quiet, seen, 0), 0);
    host_clock_fake(false);
}

static void poll_until(void *ms)
{
    while (time_ns() < (uintptr_t)ms * NS_PER_MS)
        task_yield();
    task_done();
}

/* Tasks that poll move the fake clock too, once per round of all of them. */
static void test_pollers_move_the_clock(void **state)
{
    (void)state;
    host_clock_fake(true);
    start(0, poll_until, (void *)100);
    start(0, poll_until, (void *)300);
    start(0, wait_quietly, (void *)200);
    wait_for_tasks();
    assert_int_equal(host_clock_ms(), 300);
    host_clock_fake(false);
}

/* ---- several cores ---- */

struct ring_link {
    struct event *in, *out;
    _Atomic unsigned *token_in, *token_out;
    unsigned rounds;
};

static void pass_token(void *arg)
{
    struct ring_link *link = arg;
    for (unsigned i = 1; i <= link->rounds; i++) {
        for (;;) {
            uint32_t seen = event_read(link->in);
            if (atomic_load(link->token_in) >= i)
                break;
            event_wait(link->in, seen, DEADLINE_NEVER);
        }
        atomic_store(link->token_out, i);
        event_signal(link->out);
    }
    task_done();
}

/* A token runs from main() through tasks on all cores and back; a single lost wake-up would stop it. */
static void test_token_ring(void **state)
{
    (void)state;
    enum { LINKS = 2 * CORES + 1, ROUNDS = 5000 };
    static struct event events[LINKS + 1];
    static _Atomic unsigned tokens[LINKS + 1];
    static struct ring_link links[LINKS];
    for (unsigned i = 0; i < LINKS; i++) {
        links[i] =
            (struct ring_link){&events[i], &events[i + 1], &tokens[i], &tokens[i + 1], ROUNDS};
        start((i + 1) % CORES, pass_token, &links[i]);
    }
    for (unsigned i = 1; i <= ROUNDS; i++) {
        uint32_t seen = event_read(&events[LINKS]);
        atomic_store(&tokens[0], i);
        event_signal(&events[0]);
        assert_int_equal(event_wait(&events[LINKS], seen, time_ns() + 60 * NS_PER_S), 0);
        assert_int_equal(atomic_load(&tokens[LINKS]), i);
    }
    wait_for_tasks();
}

/* Producers and consumers over a counter: every unit that is put is taken, whatever times out between. */
static struct event units_changed;
static _Atomic int units;
static _Atomic unsigned taken;

static void produce(void *count)
{
    for (uintptr_t i = 0; i < (uintptr_t)count; i++) {
        atomic_fetch_add(&units, 1);
        event_signal(&units_changed);
        if (i % 16 == 0)
            task_yield();
    }
    task_done();
}

static void consume(void *count)
{
    for (uintptr_t i = 0; i < (uintptr_t)count;) {
        uint32_t seen = event_read(&units_changed);
        int have = atomic_load(&units);
        if (have > 0) {
            if (atomic_compare_exchange_strong(&units, &have, have - 1)) {
                atomic_fetch_add(&taken, 1);
                i++;
            }
            continue;
        }
        /* Every other wait has a deadline so near that signal and timeout race. */
        event_wait(&units_changed, seen, i % 2 ? DEADLINE_NEVER : time_ns() + 2 * NS_PER_US);
    }
    task_done();
}

static void test_no_wakeup_is_lost(void **state)
{
    (void)state;
    enum { PAIRS = 6, UNITS = 4000 };
    atomic_store(&taken, 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        start(i % CORES, consume, (void *)UNITS);
        start((i + 1) % CORES, produce, (void *)UNITS);
    }
    wait_for_tasks();
    assert_int_equal(atomic_load(&taken), PAIRS * UNITS);
    assert_int_equal(atomic_load(&units), 0);
    assert_null(units_changed.waiters);
}

static struct mutex mutex;
static unsigned guarded[2];

static void lock_and_count(void *count)
{
    for (uintptr_t i = 0; i < (uintptr_t)count; i++) {
        mutex_lock(&mutex);
        unsigned before = guarded[0]++;
        if (i % 8 == 0)
            task_yield(); /* a mutex may be held across a yield */
        guarded[1]++;
        assert_int_equal(guarded[0], before + 1);
        mutex_unlock(&mutex);
    }
    task_done();
}

static void test_mutex(void **state)
{
    (void)state;
    guarded[0] = guarded[1] = 0;
    for (unsigned i = 0; i < 2 * CORES; i++)
        start(i % CORES, lock_and_count, (void *)1000);
    wait_for_tasks();
    assert_int_equal(guarded[0], 2 * CORES * 1000);
    assert_int_equal(guarded[1], guarded[0]);
}

static void spawn(void *depth)
{
    assert_int_equal(core_current(), (uintptr_t)depth % CORES);
    if ((uintptr_t)depth > 0) {
        start((unsigned)((uintptr_t)depth - 1) % CORES, spawn, (void *)((uintptr_t)depth - 1));
        start((unsigned)((uintptr_t)depth - 1) % CORES, spawn, (void *)((uintptr_t)depth - 1));
    }
    task_done();
}

/* Thousands of tasks that start others on other cores and end at once. */
static void test_many_short_tasks(void **state)
{
    (void)state;
    start(10 % CORES, spawn, (void *)10);
    wait_for_tasks();
}

/* ---- what a switch keeps ---- */

static void round_upwards(void *arg)
{
    (void)arg;
    assert_int_equal(fegetround(), FE_TONEAREST);
    fesetround(FE_UPWARD);
    for (int i = 0; i < 10; i++) {
        task_yield();
        volatile double one = 1, three = 3;
        assert_int_equal(fegetround(), FE_UPWARD);
        assert_true(one / three > 0.33333333333333331);
    }
    task_done();
}

static void test_switch_keeps_rounding_mode(void **state)
{
    (void)state;
    start(0, round_upwards, NULL);
    while (atomic_load(&tasks_left) != 0) {
        assert_int_equal(fegetround(), FE_TONEAREST);
        task_yield();
    }
}

static void check_alignment(void *arg)
{
    _Alignas(16) volatile char aligned[16];
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    assert_int_equal(frame % 16, 0);
    assert_int_equal((uintptr_t)aligned % 16, 0);
    *(bool *)arg = true;
    task_done();
}

static void test_stack_is_aligned(void **state)
{
    (void)state;
    bool has_run = false;
    start(0, check_alignment, &has_run);
    wait_for_tasks();
    assert_true(has_run);
}

static void test_create_says_no(void **state)
{
    (void)state;
    assert_int_equal(task_create("nowhere", CORES, 0, trace_thrice, "x"), -EINVAL);
    assert_int_equal(task_create("huge", 0, (size_t)1 << 46, trace_thrice, "x"), -ENOMEM);
}

/* ---- time spent ---- */

static void end_at_once(void *arg)
{
    (void)arg;
    task_done();
}

/* Polling is work, sleeping is not, and only the core that polls is busy. */
static void test_busy_time(void **state)
{
    (void)state;
    for (unsigned core = 0; core < CORES; core++)
        start(core, end_at_once, NULL);
    wait_for_tasks(); /* all cores have begun */
    task_sleep_until(10 * NS_PER_MS);
    uint64_t busy[CORES];
    for (unsigned core = 0; core < CORES; core++)
        busy[core] = core_busy_ns(core);

    task_sleep_until(60 * NS_PER_MS);
    assert_int_equal(core_busy_ns(0), busy[0]);
    while (host_clock_ms() < 100)
        task_yield();
    assert_int_equal(core_busy_ns(0), busy[0] + 40 * NS_PER_MS);
    for (unsigned core = 1; core < CORES; core++)
        assert_int_equal(core_busy_ns(core), busy[core]);
    host_clock_fake(false);
}

static int start_cores(void **state)
{
    (void)state;
    host_clock_fake(true); /* for test_busy_time: cores count from their start */
    host_cores_start(CORES);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_busy_time), /* before others switch clocks */
        cmocka_unit_test(test_yield_takes_turns),
        cmocka_unit_test(test_sleepers_wake_in_order_of_time),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_pollers_move_the_clock),
        cmocka_unit_test(test_token_ring),
        cmocka_unit_test(test_no_wakeup_is_lost),
        cmocka_unit_test(test_mutex),
        cmocka_unit_test(test_many_short_tasks),
        cmocka_unit_test(test_switch_keeps_rounding_mode),
        cmocka_unit_test(test_stack_is_aligned),
        cmocka_unit_test(test_create_says_no),
    };
    return cmocka_run_group_tests(tests, start_cores, NULL);
}
