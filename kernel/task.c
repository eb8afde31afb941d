/*
 * kernel/task.c: cooperative tasks, one scheduler per core; the same file in the image and in the hosted twin.
 *
 * A task belongs to one core for life. The core's own structures (run queue, timers) are touched by that core alone,
 * in task context, and need no lock. Whoever makes a task runnable, on any core or in an interrupt, pushes it on the
 * inbox of its core, a lock-free stack, and wakes the core; the core moves its inbox to its run queue when it next
 * looks.
 *
 * There is no idle task: a task that cannot go on looks for the next one itself, on its own stack, and if there is none
 * puts the core to sleep there. Only a task that has ended may not do so, because its stack must go; it switches to the
 * core's home context, the stack on which the machine layer (or main() of a hosted program) came here.
 *
 * States of a task: running or in the run queue (is_runnable), waiting (in an event's list, among the timers, or
 * both), in an inbox, dead. An event's lock decides between signal and timeout: who takes the task off the event's
 * list wakes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/machine.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define USES_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define USES_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define USES_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define USES_TSAN 1
#endif
#if defined(USES_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(USES_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

#if defined(USES_ASAN)
#define STACK_SCALE 4 /* red zones around every local make frames several times larger */
#else
#define STACK_SCALE 1
#endif

struct task {
    struct task *next; /* in the run queue or the inbox */
    void *sp;          /* while switched away */
    void (*fn)(void *arg);
    void *arg;
    unsigned core;
    bool is_runnable, is_dead;
    bool is_sleeping;   /* in task_sleep_until(): only time can wake it */
    bool has_timed_out; /* how event_wait() ended */
    char name[24];

    void *stack; /* lowest address; NULL for a home context */
    size_t stack_bytes;

    /* Waiting for an event: its list is circular, `waiters` is the oldest. Changed under the event's lock. */
    struct event *_Atomic event;
    struct task *wait_next, *wait_prev;

    /* Waiting for a time: list of this core, earliest first. */
    bool is_timed;
    uint64_t deadline_ns;
    struct task *timer_next, *timer_prev;

#if defined(USES_ASAN)
    void *asan_fake_stack;
    const void *asan_bottom;
    size_t asan_bytes;
#endif
#if defined(USES_TSAN)
    void *tsan_fiber;
#endif
};

struct core {
    /* Newest first; everybody pushes, the core takes all. */
    _Alignas(64) struct task *_Atomic inbox;

    _Alignas(64) struct task *current;
    struct task *run_first, *run_last;
    unsigned run_count;
    unsigned yield_count; /* yields in a row since every runnable task had its turn */
    struct task *timer_first, *timer_last;
    struct task *previous; /* who switched to the current task */
    struct task home;
    bool has_home;

    /*
     * Time spent running tasks, in one word so that any core reads it whole: while the core runs, busy time is
     * time_ns() minus this; while it sleeps (BUSY_STOPPED set), the rest of the word is the busy time.
     */
    _Atomic uint64_t busy_clock;
};

#define BUSY_STOPPED BIT(63)

static struct core cores[CORE_MAX];

void task_switch_stack(void **save_sp, void *load_sp);
void task_first_entry(void);
_Noreturn void task_first_run(void);

__attribute__((weak)) void core_relax(void)
{
}

/* The core we run on; the stack it is on at the first call becomes its home context. */
static struct core *this_core(void)
{
    struct core *core = &cores[core_current()];
    if (!core->has_home) {
        core->has_home = true;
        atomic_store(&core->busy_clock, time_ns() + 1); /* never 0, which means not started */
        core->home.core = core_current();
        core->home.is_runnable = true;
        snprintf(core->home.name, sizeof(core->home.name), "core%u", core->home.core);
        core->current = &core->home;
#if defined(USES_TSAN)
        core->home.tsan_fiber = __tsan_get_current_fiber();
#endif
    }
    return core;
}

/* ---- run queue and inbox ---- */

static void run_queue_put(struct core *core, struct task *task)
{
    task->is_runnable = true;
    task->next = NULL;
    if (core->run_last != NULL)
        core->run_last->next = task;
    else
        core->run_first = task;
    core->run_last = task;
    core->run_count++;
}

static struct task *run_queue_take(struct core *core)
{
    struct task *task = core->run_first;
    if (task == NULL)
        return NULL;
    core->run_first = task->next;
    if (core->run_first == NULL)
        core->run_last = NULL;
    core->run_count--;
    return task;
}

/* Hand a waiting (or new) task to its core. The task may run, and be gone, before this returns. */
static void make_runnable(struct task *task)
{
    unsigned index = task->core;
    struct core *core = &cores[index];
    struct task *head = atomic_load_explicit(&core->inbox, memory_order_relaxed);
    do {
        task->next = head;
    } while (!atomic_compare_exchange_weak(&core->inbox, &head, task));
    core_wake(index);
}

static void inbox_empty(struct core *core)
{
    if (atomic_load_explicit(&core->inbox, memory_order_relaxed) == NULL)
        return;
    struct task *newest = atomic_exchange(&core->inbox, NULL);
    struct task *oldest = NULL;
    while (newest != NULL) {
        struct task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct task *next = oldest->next;
        run_queue_put(core, oldest);
        oldest = next;
    }
}

/* ---- event lists, under the event's lock ---- */

/* The first waiter, read without the lock by event_signal(). */
static struct task *first_waiter(struct event *event)
{
    return __atomic_load_n(&event->waiters, __ATOMIC_SEQ_CST);
}

static void waiters_set(struct event *event, struct task *first)
{
    __atomic_store_n(&event->waiters, first, __ATOMIC_SEQ_CST);
}

static void waiters_put(struct event *event, struct task *task)
{
    struct task *first = event->waiters;
    if (first == NULL) {
        task->wait_next = task->wait_prev = task;
        waiters_set(event, task);
    } else {
        task->wait_next = first;
        task->wait_prev = first->wait_prev;
        first->wait_prev->wait_next = task;
        first->wait_prev = task;
    }
    atomic_store(&task->event, event);
}

static void waiters_remove(struct event *event, struct task *task)
{
    atomic_store(&task->event, NULL);
    if (task->wait_next == task) {
        waiters_set(event, NULL);
        return;
    }
    task->wait_prev->wait_next = task->wait_next;
    task->wait_next->wait_prev = task->wait_prev;
    if (event->waiters == task)
        waiters_set(event, task->wait_next);
}

/* Take a task off its event's list. False: a signal was first, and has put the task in our inbox or soon will. */
static bool waiters_cancel(struct task *task)
{
    struct event *event = atomic_load(&task->event);
    if (event == NULL)
        return false;
    uint64_t flags = spin_lock(&event->lock);
    bool is_ours = atomic_load(&task->event) != NULL;
    if (is_ours)
        waiters_remove(event, task);
    spin_unlock(&event->lock, flags);
    return is_ours;
}

/* ---- timers ---- */

/* Deadlines mostly come in rising order, so the search from the end is short. Equal ones keep their order. */
static void timer_add(struct core *core, struct task *task, uint64_t deadline_ns)
{
    task->is_timed = true;
    task->deadline_ns = deadline_ns;
    struct task *before = core->timer_last;
    while (before != NULL && before->deadline_ns > deadline_ns)
        before = before->timer_prev;
    struct task *after = before != NULL ? before->timer_next : core->timer_first;
    task->timer_prev = before;
    task->timer_next = after;
    if (before != NULL)
        before->timer_next = task;
    else
        core->timer_first = task;
    if (after != NULL)
        after->timer_prev = task;
    else
        core->timer_last = task;
}

static void timer_remove(struct core *core, struct task *task)
{
    if (!task->is_timed)
        return;
    task->is_timed = false;
    if (task->timer_prev != NULL)
        task->timer_prev->timer_next = task->timer_next;
    else
        core->timer_first = task->timer_next;
    if (task->timer_next != NULL)
        task->timer_next->timer_prev = task->timer_prev;
    else
        core->timer_last = task->timer_prev;
}

static void timers_expire(struct core *core)
{
    if (core->timer_first == NULL)
        return;
    uint64_t now = time_ns();
    while (core->timer_first != NULL && core->timer_first->deadline_ns <= now) {
        struct task *task = core->timer_first;
        timer_remove(core, task);
        if (task->is_sleeping) {
            run_queue_put(core, task);
        } else if (waiters_cancel(task)) {
            task->has_timed_out = true;
            run_queue_put(core, task);
        }
    }
}

/* ---- switching ---- */

/* First thing on the stack that was switched to: tell the sanitizers, and free a task that ended. */
static void switch_finish(struct core *core)
{
    struct task *previous = core->previous;
#if defined(USES_ASAN)
    __sanitizer_finish_switch_fiber(core->current->asan_fake_stack, &previous->asan_bottom,
                                    &previous->asan_bytes);
#endif
    if (!previous->is_dead)
        return;
#if defined(USES_TSAN)
    __tsan_destroy_fiber(previous->tsan_fiber);
#endif
    stack_free(previous->stack, previous->stack_bytes);
    free(previous);
}

static void switch_to(struct core *core, struct task *next)
{
    struct task *self = core->current;
    core->previous = self;
    core->current = next;
#if defined(USES_ASAN)
    __sanitizer_start_switch_fiber(self->is_dead ? NULL : &self->asan_fake_stack, next->asan_bottom,
                                   next->asan_bytes);
#endif
#if defined(USES_TSAN)
    __tsan_switch_to_fiber(next->tsan_fiber, 0);
#endif
    task_switch_stack(&self->sp, next->sp);
    switch_finish(core);
}

static void sleep_core(struct core *core)
{
    uint64_t busy_ns = time_ns() - atomic_load_explicit(&core->busy_clock, memory_order_relaxed);
    atomic_store_explicit(&core->busy_clock, busy_ns | BUSY_STOPPED, memory_order_relaxed);
    core_idle(core->timer_first != NULL ? core->timer_first->deadline_ns : DEADLINE_NEVER);
    atomic_store_explicit(&core->busy_clock, time_ns() - busy_ns, memory_order_relaxed);
}

/* Run other tasks until the current one, which is in some list or dead, is runnable and has its turn. */
static void schedule(struct core *core)
{
    struct task *self = core->current;
    for (;;) {
        inbox_empty(core);
        timers_expire(core);
        struct task *next = run_queue_take(core);
        if (next == self)
            return;
        if (next == NULL && self->is_dead)
            next = &core->home;
        if (next == NULL) {
            sleep_core(core);
            continue;
        }
        switch_to(core, next);
        if (self->is_runnable)
            return; /* else this is the home context, entered to keep the core */
    }
}

/* Give up the core until run_queue_put() is called for the current task. */
static void block(struct core *core)
{
    core->current->is_runnable = false;
    core->yield_count = 0;
    schedule(core);
}

_Noreturn void task_first_run(void)
{
    struct core *core = this_core();
    switch_finish(core);
    struct task *self = core->current;
    self->fn(self->arg);
    self->is_dead = true;
    block(core);
    panic("task %s: ran on after its end", self->name);
}

/* ---- the door ---- */

int task_create(const char *name, unsigned core, size_t stack_bytes, void (*fn)(void *arg),
                void *arg)
{
    if (core >= core_count())
        return -EINVAL;
    struct task *task = calloc(1, sizeof(*task));
    if (task == NULL)
        return -ENOMEM;
    if (stack_bytes == 0)
        stack_bytes = TASK_STACK_DEFAULT;
    stack_bytes = align_up(stack_bytes, PAGE_SIZE) * STACK_SCALE;
    task->stack = stack_alloc(stack_bytes);
    if (task->stack == NULL) {
        free(task);
        return -ENOMEM;
    }
    task->stack_bytes = stack_bytes;
    task->core = core;
    task->fn = fn;
    task->arg = arg;
    snprintf(task->name, sizeof(task->name), "%s", name);

    /* What task_switch_stack() pops: control words, r15 to r12, rbx, rbp, return address. Above it zeroes, the end. */
    uint64_t *sp = (uint64_t *)((uint8_t *)task->stack + stack_bytes) - 10;
    memset(sp, 0, 10 * sizeof(*sp));
    /* The ABI's state at process entry (3.4.1): every exception masked, round to nearest; x87 in extended precision. */
    uint32_t mxcsr = 0x1f80;
    uint16_t x87_cw = 0x037f;
    memcpy(sp, &mxcsr, sizeof(mxcsr));
    memcpy((uint8_t *)sp + 4, &x87_cw, sizeof(x87_cw));
    sp[7] = (uint64_t)(uintptr_t)task_first_entry;
    task->sp = sp;
#if defined(USES_ASAN)
    task->asan_bottom = task->stack;
    task->asan_bytes = stack_bytes;
#endif
#if defined(USES_TSAN)
    task->tsan_fiber = __tsan_create_fiber(0);
#endif
    make_runnable(task);
    return 0;
}

_Noreturn void task_core_run(void)
{
    struct core *core = this_core();
    for (;;)
        block(core);
}

void task_yield(void)
{
    struct core *core = this_core();
    inbox_empty(core);
    timers_expire(core);
    if (++core->yield_count > core->run_count) {
        core->yield_count = 0;
        core_relax();
    }
    if (core->run_first == NULL)
        return;
    run_queue_put(core, core->current);
    schedule(core);
}

void task_sleep_until(uint64_t deadline_ns)
{
    struct core *core = this_core();
    if (deadline_ns <= time_ns()) {
        task_yield();
        return;
    }
    struct task *self = core->current;
    self->is_sleeping = true;
    timer_add(core, self, deadline_ns);
    block(core);
    self->is_sleeping = false;
}

const char *task_name(void)
{
    return this_core()->current->name;
}

uint32_t event_read(struct event *event)
{
    return atomic_load(&event->count);
}

int event_wait(struct event *event, uint32_t seen, uint64_t deadline_ns)
{
    if (atomic_load(&event->count) != seen)
        return 0;
    if (deadline_ns != DEADLINE_NEVER && deadline_ns <= time_ns())
        return -ETIMEDOUT;

    struct core *core = this_core();
    struct task *self = core->current;
    self->has_timed_out = false;
    uint64_t flags = spin_lock(&event->lock);
    waiters_put(event, self);
    /* event_signal() counts, then looks for waiters; we list ourselves, then look at the count: one sees the other. */
    bool is_late = atomic_load(&event->count) != seen;
    if (is_late)
        waiters_remove(event, self);
    spin_unlock(&event->lock, flags);
    if (is_late)
        return 0;

    if (deadline_ns != DEADLINE_NEVER)
        timer_add(core, self, deadline_ns);
    block(core);
    timer_remove(core, self);
    return self->has_timed_out ? -ETIMEDOUT : 0;
}

void event_signal(struct event *event)
{
    atomic_fetch_add(&event->count, 1);
    if (first_waiter(event) == NULL)
        return;
    uint64_t flags = spin_lock(&event->lock);
    struct task *task;
    while ((task = event->waiters) != NULL) {
        waiters_remove(event, task);
        make_runnable(task);
    }
    spin_unlock(&event->lock, flags);
}

void mutex_lock(struct mutex *mutex)
{
    for (;;) {
        uint32_t seen = event_read(&mutex->event);
        uint32_t is_free = 0;
        if (atomic_compare_exchange_strong(&mutex->held, &is_free, 1))
            return;
        event_wait(&mutex->event, seen, DEADLINE_NEVER);
    }
}

void mutex_unlock(struct mutex *mutex)
{
    assert(atomic_load(&mutex->held) == 1);
    atomic_store(&mutex->held, 0);
    event_signal(&mutex->event);
}

uint64_t core_busy_ns(unsigned index)
{
    uint64_t clock = atomic_load_explicit(&cores[index].busy_clock, memory_order_relaxed);
    if (clock == 0)
        return 0;
    return clock & BUSY_STOPPED ? clock & ~BUSY_STOPPED : time_ns() - clock;
}
