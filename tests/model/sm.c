/*
 * tests/model/sm.c: runs a grid: kernels compiled for the host, block after block, on the GPU's addresses.
 *
 * The kernels use GPU addresses as they are. A large range of the program's own address space, reserved and empty, stands for
 * them: the first access to a page traps, the page is looked up through the page tables and the memory behind it is mapped
 * there as well. What does not translate, or a write to a read-only page, is an MMU fault. When the driver invalidates the TLBs
 * the range is emptied again; until then a stale translation stays, as on hardware.
 *
 * Each channel's grid runs on a stack of its own. A timer takes it off the processor after a slice, so that other channels'
 * grids run, registers are answered meanwhile, and even a kernel that never ends can be killed.
 *
 * Linux only: mremap() with an old size of 0 makes a second mapping of shared memory.
 */
#include "tests/model/engines.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include "gpu/kernels/kernel.h"

#if defined( \
    __SANITIZE_ADDRESS__) /* the unit test's build: the sanitizer has to know about the second stack */
#include <sanitizer/common_interface_defs.h>
#else
static inline void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size)
{
    (void)save, (void)bottom, (void)size;
}
static inline void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size)
{
    (void)save, (void)bottom, (void)size;
}
#endif

#define SLICE_US    1000
#define STACK_BYTES (2 * 1024 * 1024)
#define CHUNK_BYTES (UINT64_C(2) << 20) /* larger pages are mapped in parts of this size */
#define CHUNKS_MAX  16384               /* Linux allows 65530 mappings */

/* Where the window for GPU addresses may lie; the first that is free. The last is for a program under the address sanitizer. */
static const struct {
    uint64_t begin, end;
} places[] = {
    {UINT64_C(0x10000000), UINT64_C(0x400000000000)},
    {UINT64_C(0x10000000), UINT64_C(0x10000000000)},
    {UINT64_C(0x10000000), UINT64_C(0x7fff0000)},
};

/* The range for GPU addresses, and whose pages it shows. */
static struct {
    struct model *m;
    uint64_t begin, end;
    unsigned chunks;
    struct space space;
} window;

struct sm { /* one grid in the course of running */
    uint8_t *stack;
    ucontext_t outside, inside;
    const void *outside_stack;
    size_t outside_bytes;
    enum sm_state state;
    struct sm_run run;
    struct space space;
    struct kernel_block block;
    struct violation why;
    const char *exception;
};
static struct sm *volatile current; /* the grid that has the processor */

static void leave(struct sm *sm, enum sm_state state)
{
    void *fiber = NULL;
    sm->state = state;
    current = NULL;
    __sanitizer_start_switch_fiber(&fiber, sm->outside_stack, sm->outside_bytes);
    swapcontext(&sm->inside, &sm->outside); /* comes back only when it was preempted */
    __sanitizer_finish_switch_fiber(fiber, &sm->outside_stack, &sm->outside_bytes);
    current = sm;
}

static void run_grid(void)
{
    struct sm *sm = current;
    const struct sm_run *run = &sm->run;
    __sanitizer_finish_switch_fiber(NULL, &sm->outside_stack, &sm->outside_bytes);
    sm->block = (struct kernel_block){
        .grid_x = run->size[0], .grid_y = run->size[1], .threads = run->threads};
    for (uint32_t z = 0; z < run->size[2]; z++)
        for (uint32_t y = 0; y < run->size[1]; y++)
            for (uint32_t x = 0; x < run->size[0]; x++) {
                sm->block.index_x = x;
                sm->block.index_y = y;
                sm->block.index_z = z;
                run->code->run(run->args, &sm->block);
            }
    leave(sm, SM_COMPLETE);
}

/* ---- pages ----------------------------------------------------------------------------------------------------- */

void sm_unmap(void)
{
    if (window.chunks == 0)
        return;
    void *empty = mmap((void *)window.begin, window.end - window.begin, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (empty == MAP_FAILED)
        perror("sm: unmap");
    window.chunks = 0;
}

/* Make what lies at gva reachable there. False: sm->why says what the MMU reports, or sm->exception what else is wrong. */
static bool map_page(struct sm *sm, uint64_t gva, bool is_write)
{
    struct translation page;
    uint64_t page_gva;
    sm->exception = NULL;
    if (!gpu_page(window.m, TLB_GPC, &sm->space, gva, is_write, &page, &page_gva, &sm->why))
        return false;
    uint64_t bytes = page.bytes < CHUNK_BYTES ? page.bytes : CHUNK_BYTES;
    uint64_t chunk = gva & ~(bytes - 1);
    uint8_t *memory = memory_map(window.m, page.aperture, page.address + (chunk - page_gva), bytes);
    if (!memory) {
        sm->why = (struct violation){MMU_FAULT_APERTURE, gva, is_write};
        return false;
    }
    if (chunk < window.begin || chunk + bytes > window.end) {
        sm->exception = "an address that the model's window for kernels does not cover";
        return false;
    }
    if (window.chunks == CHUNKS_MAX)
        sm_unmap();
    void *there = mremap(memory, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)chunk);
    if (there == MAP_FAILED || (page.is_read_only && mprotect(there, bytes, PROT_READ) != 0)) {
        sm->exception = "memory that cannot be mapped into the model's window for kernels";
        return false;
    }
    window.chunks++;
    return true;
}

/* ---- signals --------------------------------------------------------------------------------------------------- */

/* The grid whose stack the signal came upon; NULL: none. */
static struct sm *interrupted(const ucontext_t *context)
{
    struct sm *sm = current;
    uint64_t rsp = (uint64_t)context->uc_mcontext.gregs[REG_RSP];
    bool is_inside = sm && rsp >= (uint64_t)sm->stack && rsp < (uint64_t)sm->stack + STACK_BYTES;
    return is_inside ? sm : NULL;
}

static void on_segv(int signal_number, siginfo_t *info, void *context_pointer)
{
    const ucontext_t *context = context_pointer;
    struct sm *sm = interrupted(context);
    if (!sm) { /* the model's own mistake: die of it */
        signal(signal_number, SIG_DFL);
        return;
    }
    bool is_write = context->uc_mcontext.gregs[REG_ERR] & 2;
    if (signal_number != SIGSEGV ||
        (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR)) {
        sm->exception = signal_number == SIGFPE
                            ? "a division by zero, of which hardware makes a number of no meaning"
                            : "Misaligned Address, or one with more bits than there are";
        leave(sm, SM_EXCEPTION);
    } else if (!map_page(sm, (uint64_t)info->si_addr, is_write)) {
        leave(sm, sm->exception ? SM_EXCEPTION : SM_MMU_FAULT);
    }
}

static void on_alarm(int signal_number, siginfo_t *info, void *context_pointer)
{
    (void)signal_number;
    (void)info;
    struct sm *sm = interrupted(context_pointer);
    if (sm)
        leave(sm, SM_RUNNING);
}

static void set_timer(long microseconds)
{
    struct itimerval timer = {.it_value = {.tv_usec = microseconds},
                              .it_interval = {.tv_usec = microseconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* For each grid anew: a test program may have put handlers of its own there. */
static void set_handlers(void)
{
    struct sigaction segv = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    struct sigaction alarm_action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaddset(&segv.sa_mask, SIGALRM);
    sigaction(SIGSEGV, &segv, NULL);
    sigaction(SIGBUS, &segv, NULL);
    sigaction(SIGFPE, &segv, NULL);
    sigaction(SIGALRM, &alarm_action, NULL);
}

int sm_init(struct model *m)
{
    window.m = m;
    if (window.begin != 0)
        return 0;
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]) && window.begin == 0; i++) {
        uint64_t bytes = places[i].end - places[i].begin;
        void *range =
            mmap((void *)places[i].begin, bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (range == MAP_FAILED)
            continue;
        if (range != (void *)places[i].begin) { /* an old Linux, that does not know NOREPLACE */
            munmap(range, bytes);
            continue;
        }
        window.begin = places[i].begin;
        window.end = places[i].end;
    }
    if (window.begin == 0) {
        note(m, "no room in the program's address space for the GPU's addresses");
        return -ENOMEM;
    }
    /* The timer's signal is let through on a grid's stack only. */
    sigset_t alarm_set;
    sigemptyset(&alarm_set);
    sigaddset(&alarm_set, SIGALRM);
    return -pthread_sigmask(SIG_BLOCK, &alarm_set, NULL);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

struct sm *sm_create(void)
{
    struct sm *sm = calloc(1, sizeof(*sm));
    if (!sm)
        return NULL;
    sm->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (sm->stack == MAP_FAILED) {
        free(sm);
        return NULL;
    }
    mprotect(sm->stack, 4096, PROT_NONE); /* its end */
    return sm;
}

void sm_destroy(struct sm *sm)
{
    if (!sm)
        return;
    munmap(sm->stack, STACK_BYTES);
    free(sm);
}

void sm_start(struct sm *sm, const struct sm_run *run)
{
    sm->run = *run;
    sm->space = *run->space;
    getcontext(&sm->inside);
    sigfillset(&sm->inside.uc_sigmask); /* others wait for the slice's end */
    const int let_through[] = {SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (unsigned i = 0; i < sizeof(let_through) / sizeof(let_through[0]); i++)
        sigdelset(&sm->inside.uc_sigmask, let_through[i]);
    sm->inside.uc_stack.ss_sp = sm->stack;
    sm->inside.uc_stack.ss_size = STACK_BYTES;
    sm->inside.uc_link = NULL;
    makecontext(&sm->inside, run_grid, 0);
    set_handlers();
    sm->state = SM_RUNNING;
}

enum sm_state sm_slice(struct model *m, struct sm *sm, struct violation *why,
                       const char **exception)
{
    if (sm->state != SM_RUNNING)
        return sm->state;
    window.m = m;
    if (window.space.directory != sm->space.directory ||
        window.space.aperture != sm->space.aperture)
        sm_unmap(); /* it shows another address space */
    window.space = sm->space;
    sigset_t alarm_set;
    sigemptyset(&alarm_set);
    sigaddset(&alarm_set, SIGALRM);
    while (sigtimedwait(&alarm_set, NULL, &(struct timespec){0}) == SIGALRM)
        ; /* one that came too late for the last slice */
    set_timer(SLICE_US);
    void *fiber = NULL;
    current = sm;
    __sanitizer_start_switch_fiber(&fiber, sm->stack, STACK_BYTES);
    swapcontext(&sm->outside, &sm->inside);
    __sanitizer_finish_switch_fiber(fiber, NULL, NULL);
    current = NULL;
    set_timer(0);
    *why = sm->why;
    *exception = sm->exception;
    return sm->state;
}
