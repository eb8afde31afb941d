/*
 * tests/host/cores.c: cores of the hosted twin, one thread each; main() is core 0. kernel/task.c runs on them
 * unchanged.
 *
 * Real clock: an idle core sleeps on a condition variable. Fake clock: the core that makes all cores wait moves the
 * clock. A core waits when it is in core_idle(), or has been through core_relax() since the clock last moved.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernel/machine.h"
#include "tests/host/clock.h"
#include "tests/host/host.h"

struct host_core {
    _Atomic bool is_woken;  /* core_wake() came since core_idle() last returned */
    _Atomic bool is_asleep; /* a waker must signal */
    pthread_cond_t wake;
    bool is_relaxed;
    uint64_t deadline_ns; /* while asleep */
};

static struct host_core cores[CORE_MAX];
static unsigned cores_started = 1;
static _Thread_local unsigned this_core;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* sleeping and the fake clock */

__attribute__((constructor)) static void init_wake_conditions(void)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (unsigned i = 0; i < CORE_MAX; i++)
        pthread_cond_init(&cores[i].wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

unsigned core_count(void)
{
    return cores_started;
}

unsigned core_current(void)
{
    return this_core;
}

static void *core_main(void *index)
{
    this_core = (unsigned)(uintptr_t)index;
    task_core_run();
}

void host_cores_start(unsigned count)
{
    assert(cores_started == 1 && count >= 1 && count <= CORE_MAX);
    cores_started = count;
    for (unsigned i = 1; i < count; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, core_main, (void *)(uintptr_t)i);
        if (error != 0)
            panic("core %u: pthread_create: %d", i, error);
        pthread_detach(thread);
    }
}

static void wake_locked(struct host_core *core)
{
    atomic_store(&core->is_woken, true);
    pthread_cond_signal(&core->wake);
}

void core_wake(unsigned index)
{
    struct host_core *core = &cores[index];
    if (atomic_exchange(&core->is_woken, true) || !atomic_load(&core->is_asleep))
        return;
    pthread_mutex_lock(&lock);
    pthread_cond_signal(&core->wake);
    pthread_mutex_unlock(&lock);
}

/*
 * The fake clock moves when every core waits: by a step when one of them polls, else to the earliest deadline. Called
 * with the lock held. Returns false when some core runs, or all sleep without a deadline.
 */
static bool fake_clock_move(void)
{
    uint64_t earliest_ns = DEADLINE_NEVER;
    bool is_polling = false;
    for (unsigned i = 0; i < cores_started; i++) {
        bool is_idle = atomic_load(&cores[i].is_asleep) && !atomic_load(&cores[i].is_woken);
        if (!is_idle && !cores[i].is_relaxed)
            return false;
        if (is_idle)
            earliest_ns = min_u64(earliest_ns, cores[i].deadline_ns);
        else
            is_polling = true;
    }
    uint64_t now = time_ns();
    if (is_polling)
        earliest_ns = min_u64(earliest_ns, now + atomic_load(&clock_step_ns));
    if (earliest_ns == DEADLINE_NEVER)
        return false;
    if (earliest_ns > now)
        host_clock_advance_ns(earliest_ns - now);
    for (unsigned i = 0; i < cores_started; i++) {
        cores[i].is_relaxed = false;
        if (atomic_load(&cores[i].is_asleep) && cores[i].deadline_ns <= earliest_ns)
            wake_locked(&cores[i]);
    }
    return true;
}

void core_relax(void)
{
    if (!atomic_load(&clock_is_fake)) {
        if (cores_started > 1)
            sched_yield(); /* there may be more of our threads than processors */
        return;
    }
    pthread_mutex_lock(&lock);
    cores[this_core].is_relaxed = true;
    bool has_moved = fake_clock_move();
    pthread_mutex_unlock(&lock);
    if (!has_moved)
        sched_yield();
}

static void sleep_real(struct host_core *core, uint64_t deadline_ns)
{
    if (deadline_ns == DEADLINE_NEVER) {
        pthread_cond_wait(&core->wake, &lock);
        return;
    }
    uint64_t now = time_ns();
    if (deadline_ns <= now)
        return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t until_ns = (uint64_t)until.tv_nsec + (deadline_ns - now);
    until.tv_sec +=
        (time_t)min_u64(until_ns / NS_PER_S, 1000000); /* early is allowed, overflow is not */
    until.tv_nsec = (long)(until_ns % NS_PER_S);
    pthread_cond_timedwait(&core->wake, &lock, &until);
}

void core_idle(uint64_t deadline_ns)
{
    struct host_core *core = &cores[this_core];
    pthread_mutex_lock(&lock);
    core->deadline_ns = deadline_ns;
    atomic_store(&core->is_asleep, true);
    if (!atomic_load(&core->is_woken)) {
        if (!atomic_load(&clock_is_fake))
            sleep_real(core, deadline_ns);
        else if (!fake_clock_move())
            pthread_cond_wait(&core->wake, &lock);
    }
    atomic_store(&core->is_asleep, false);
    atomic_store(&core->is_woken, false);
    pthread_mutex_unlock(&lock);
}

/* ---- stacks: the guard page below is what the real machine has too ---- */

void *stack_alloc(size_t size_bytes)
{
    size_bytes = align_up(size_bytes, PAGE_SIZE);
    uint8_t *base =
        mmap(NULL, size_bytes + PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    if (mprotect(base + PAGE_SIZE, size_bytes, PROT_READ | PROT_WRITE) != 0) {
        munmap(base, size_bytes + PAGE_SIZE);
        return NULL;
    }
    return base + PAGE_SIZE;
}

void stack_free(void *stack, size_t size_bytes)
{
    munmap((uint8_t *)stack - PAGE_SIZE, align_up(size_bytes, PAGE_SIZE) + PAGE_SIZE);
}

/* ---- spinlocks: there are no interrupts to turn off ---- */

uint64_t spin_lock(struct spinlock *spinlock)
{
    while (atomic_exchange_explicit(&spinlock->held, 1, memory_order_acquire) != 0)
        sched_yield();
    return 0;
}

void spin_unlock(struct spinlock *spinlock, uint64_t saved_flags)
{
    (void)saved_flags;
    atomic_store_explicit(&spinlock->held, 0, memory_order_release);
}
