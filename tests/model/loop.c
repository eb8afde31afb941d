/*
 * tests/model/loop.c: timers and work in slices; main.c's loop calls loop_wait_ms() and loop_run() between messages.
 *
 * Timers of one expiry run in the order they were added. Work is run round robin, one slice each time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/model/parts.h"

#define TIMERS_MAX 256
#define WORK_MAX   64

struct timer {
    uint64_t at_ns, order;
    void (*fn)(struct model *m, void *arg);
    void *arg;
};

struct work {
    bool (*slice)(struct model *m, void *arg);
    void *arg;
};

struct loop {
    struct timer timers[TIMERS_MAX];
    unsigned timer_count;
    uint64_t timer_order;
    struct work work[WORK_MAX];
    unsigned work_count, work_next;
};

uint64_t (*loop_clock)(void);

uint64_t now_ns(void)
{
    if (loop_clock != NULL)
        return loop_clock();
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int loop_init(struct model *m)
{
    m->loop = calloc(1, sizeof(*m->loop));
    return m->loop == NULL ? -ENOMEM : 0;
}

void timer_add(struct model *m, uint64_t delay_ns, void (*fn)(struct model *m, void *arg),
               void *arg)
{
    struct loop *loop = m->loop;
    if (loop->timer_count == TIMERS_MAX)
        die("more than %d timers: a part adds them without end", TIMERS_MAX);
    loop->timers[loop->timer_count++] =
        (struct timer){now_ns() + delay_ns, loop->timer_order++, fn, arg};
}

void timer_cancel(struct model *m, void (*fn)(struct model *m, void *arg), void *arg)
{
    struct loop *loop = m->loop;
    unsigned kept = 0;
    for (unsigned i = 0; i < loop->timer_count; i++)
        if (loop->timers[i].fn != fn || loop->timers[i].arg != arg)
            loop->timers[kept++] = loop->timers[i];
    loop->timer_count = kept;
}

void work_add(struct model *m, bool (*slice)(struct model *m, void *arg), void *arg)
{
    struct loop *loop = m->loop;
    if (loop->work_count == WORK_MAX)
        die("more than %d pieces of work: a part adds them without end", WORK_MAX);
    loop->work[loop->work_count++] = (struct work){slice, arg};
}

void work_cancel(struct model *m, bool (*slice)(struct model *m, void *arg), void *arg)
{
    struct loop *loop = m->loop;
    unsigned kept = 0;
    for (unsigned i = 0; i < loop->work_count; i++)
        if (loop->work[i].slice != slice || loop->work[i].arg != arg)
            loop->work[kept++] = loop->work[i];
    loop->work_count = kept;
}

static int timer_first(const struct loop *loop)
{
    int first = -1;
    for (unsigned i = 0; i < loop->timer_count; i++) {
        const struct timer *t = &loop->timers[i];
        if (first < 0 || t->at_ns < loop->timers[first].at_ns ||
            (t->at_ns == loop->timers[first].at_ns && t->order < loop->timers[first].order))
            first = (int)i;
    }
    return first;
}

int loop_wait_ms(struct model *m)
{
    const struct loop *loop = m->loop;
    if (loop->work_count > 0)
        return 0;
    int first = timer_first(loop);
    if (first < 0)
        return -1;
    uint64_t now = now_ns(), at = loop->timers[first].at_ns;
    return at <= now ? 0 : (int)((at - now) / 1000000 + 1);
}

void loop_run(struct model *m)
{
    struct loop *loop = m->loop;
    for (;;) {
        int first = timer_first(loop);
        if (first < 0 || loop->timers[first].at_ns > now_ns())
            break;
        struct timer t = loop->timers[first];
        loop->timers[first] = loop->timers[--loop->timer_count];
        t.fn(m, t.arg);
    }
    if (loop->work_count == 0)
        return;
    struct work w = loop->work[loop->work_next++ % loop->work_count];
    if (!w.slice(m, w.arg))
        work_cancel(m, w.slice, w.arg);
}
