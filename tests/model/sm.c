/*
 * tests/model/sm.c: runs a grid: kernels compiled for the host, block after block, on the GPU's addresses.
 *
 * The kernels use GPU addresses as they are. A large range of the program's own address space, reserved and empty, stands for
 * them: the first access to a page traps, the page is looked up through the page tables and the memory behind it is mapped
 * there as well. What does not translate, or a write to a read-only page, is an MMU fault. When the driver invalidates the TLBs
 * the range is emptied again; until then a stale translation stays, as on hardware.
 *
 * A grid runs on a stack of its own. A timer takes it off the processor after a slice, so that registers are answered
 * meanwhile and even a kernel that never ends can be killed.
 *
 * Linux only: mremap() with an old size of 0 makes a second mapping of shared memory.
 */
#include "tests/model/engines.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
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
} windows[] = {
    {UINT64_C(0x10000000), UINT64_C(0x400000000000)},
    {UINT64_C(0x10000000), UINT64_C(0x10000000000)},
    {UINT64_C(0x10000000), UINT64_C(0x7fff0000)},
};

static struct {
    struct model *m;
    uint64_t begin, end; /* of the window */
    unsigned chunks;
    uint8_t *stack;
    ucontext_t outside, inside;
    const void *outside_stack;
    size_t outside_bytes;
    volatile bool is_inside;
    volatile enum sm_state state;
    struct sm_run run;
    struct space space; /* whose pages the window shows */
    struct kernel_block block;
    struct violation why;
    const char *exception;
} sm;

static void leave(enum sm_state state)
{
    void *fiber = NULL;
    sm.state = state;
    sm.is_inside = false;
    __sanitizer_start_switch_fiber(&fiber, sm.outside_stack, sm.outside_bytes);
    swapcontext(&sm.inside, &sm.outside); /* comes back only when it was preempted */
    __sanitizer_finish_switch_fiber(fiber, &sm.outside_stack, &sm.outside_bytes);
    sm.is_inside = true;
}

static void run_grid(void)
{
    const struct sm_run *run = &sm.run;
    __sanitizer_finish_switch_fiber(NULL, &sm.outside_stack, &sm.outside_bytes);
    sm.block = (struct kernel_block){
        .grid_x = run->size[0], .grid_y = run->size[1], .threads = run->threads};
    for (uint32_t z = 0; z < run->size[2]; z++)
        for (uint32_t y = 0; y < run->size[1]; y++)
            for (uint32_t x = 0; x < run->size[0]; x++) {
                sm.block.index_x = x;
                sm.block.index_y = y;
                sm.block.index_z = z;
                run->code->run(run->args, &sm.block);
            }
    leave(SM_COMPLETE);
}

/* ---- pages ----------------------------------------------------------------------------------------------------- */

void sm_unmap(void)
{
    if (sm.chunks == 0)
        return;
    void *window = mmap((void *)sm.begin, sm.end - sm.begin, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (window == MAP_FAILED)
        perror("sm: unmap");
    sm.chunks = 0;
}

/* Make what lies at gva reachable there. False: sm.why says what the MMU reports, or sm.exception what else is wrong. */
static bool map_page(uint64_t gva, bool is_write)
{
    struct translation page;
    uint64_t page_gva;
    sm.exception = NULL;
    if (!gpu_page(sm.m, TLB_GPC, sm.run.space, gva, is_write, &page, &page_gva, &sm.why))
        return false;
    uint64_t bytes = page.bytes < CHUNK_BYTES ? page.bytes : CHUNK_BYTES;
    uint64_t chunk = gva & ~(bytes - 1);
    uint8_t *memory = memory_map(sm.m, page.aperture, page.address + (chunk - page_gva), bytes);
    if (!memory) {
        sm.why = (struct violation){MMU_FAULT_APERTURE, gva, is_write};
        return false;
    }
    if (chunk < sm.begin || chunk + bytes > sm.end) {
        sm.exception = "an address that the model's window for kernels does not cover";
        return false;
    }
    if (sm.chunks == CHUNKS_MAX)
        sm_unmap();
    void *there = mremap(memory, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)chunk);
    if (there == MAP_FAILED || (page.is_read_only && mprotect(there, bytes, PROT_READ) != 0)) {
        sm.exception = "memory that cannot be mapped into the model's window for kernels";
        return false;
    }
    sm.chunks++;
    return true;
}

/* ---- signals --------------------------------------------------------------------------------------------------- */

static bool is_on_stack(const ucontext_t *context)
{
    uint64_t rsp = (uint64_t)context->uc_mcontext.gregs[REG_RSP];
    return rsp >= (uint64_t)sm.stack && rsp < (uint64_t)sm.stack + STACK_BYTES;
}

static void on_segv(int signal_number, siginfo_t *info, void *context_pointer)
{
    const ucontext_t *context = context_pointer;
    if (!sm.is_inside || !is_on_stack(context)) { /* the model's own mistake: die of it */
        signal(signal_number, SIG_DFL);
        return;
    }
    bool is_write = context->uc_mcontext.gregs[REG_ERR] & 2;
    if (signal_number == SIGBUS || (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR)) {
        sm.exception = "Misaligned Address, or one with more bits than there are";
        leave(SM_EXCEPTION);
    } else if (!map_page((uint64_t)info->si_addr, is_write)) {
        leave(sm.exception ? SM_EXCEPTION : SM_MMU_FAULT);
    }
}

static void on_alarm(int signal_number, siginfo_t *info, void *context_pointer)
{
    (void)signal_number;
    (void)info;
    if (sm.is_inside && is_on_stack(context_pointer))
        leave(SM_RUNNING);
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
    sigaction(SIGALRM, &alarm_action, NULL);
}

int sm_init(struct model *m)
{
    sm.m = m;
    if (sm.stack)
        return 0;
    for (unsigned i = 0; i < sizeof(windows) / sizeof(windows[0]) && sm.begin == 0; i++) {
        void *window =
            mmap((void *)windows[i].begin, windows[i].end - windows[i].begin, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (window == MAP_FAILED)
            continue;
        if (window != (void *)windows[i].begin) { /* a kernel that does not know NOREPLACE */
            munmap(window, windows[i].end - windows[i].begin);
            continue;
        }
        sm.begin = windows[i].begin;
        sm.end = windows[i].end;
    }
    if (sm.begin == 0) {
        fprintf(stderr, "no room in the address space for the GPU's addresses\n");
        return -ENOMEM;
    }
    sm.stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (sm.stack == MAP_FAILED) {
        sm.stack = NULL;
        return -ENOMEM;
    }
    mprotect(sm.stack, 4096, PROT_NONE); /* its end */

    /* The timer's signal is let through on the grid's stack only. */
    sigset_t alarm_set;
    sigemptyset(&alarm_set);
    sigaddset(&alarm_set, SIGALRM);
    return -pthread_sigmask(SIG_BLOCK, &alarm_set, NULL);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

void sm_kill(struct model *m)
{
    (void)m;
    sm.state = SM_IDLE; /* the stack is used anew by the next grid */
}

void sm_start(struct model *m, const struct sm_run *run)
{
    sm.m = m;
    if (run->space->directory != sm.space.directory || run->space->aperture != sm.space.aperture)
        sm_unmap(); /* another address space */
    sm.run = *run;
    sm.space = *run->space;
    sm.run.space = &sm.space;
    getcontext(&sm.inside);
    sigemptyset(&sm.inside.uc_sigmask);
    sm.inside.uc_stack.ss_sp = sm.stack;
    sm.inside.uc_stack.ss_size = STACK_BYTES;
    sm.inside.uc_link = NULL;
    makecontext(&sm.inside, run_grid, 0);
    set_handlers();
    sm.state = SM_RUNNING;
}

enum sm_state sm_slice(struct model *m, struct violation *why, const char **exception)
{
    sm.m = m;
    if (sm.state != SM_RUNNING)
        return SM_IDLE;
    sigset_t alarm_set;
    sigemptyset(&alarm_set);
    sigaddset(&alarm_set, SIGALRM);
    while (sigtimedwait(&alarm_set, NULL, &(struct timespec){0}) == SIGALRM)
        ; /* one that came too late for the last slice */
    set_timer(SLICE_US);
    void *fiber = NULL;
    sm.is_inside = true;
    __sanitizer_start_switch_fiber(&fiber, sm.stack, STACK_BYTES);
    swapcontext(&sm.outside, &sm.inside);
    __sanitizer_finish_switch_fiber(fiber, NULL, NULL);
    sm.is_inside = false;
    set_timer(0);
    *why = sm.why;
    *exception = sm.exception;
    enum sm_state state = sm.state;
    if (state != SM_RUNNING)
        sm.state = SM_IDLE;
    return state;
}
