/*
 * tests/unit/test_memory.c: the page allocator and the heap on a few megabytes that stand for all of memory, against
 * a model that remembers what it was given: no overlap, no loss, everything joined again at the end. Random runs
 * print their seed; INGOT_SEED=n repeats one. Damage done on purpose must end in the panic that names it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The real ones, in place of the hosted twin's. */
#include "kernel/extent.c"
#include "kernel/memory.c"
#include "kernel/heap.c"

#include "tests/host/host.h"

#define RAM_BYTES (UINT64_C(96) << 20)
#define CORES     4

static uint8_t *ram; /* three ranges with holes between them */
static uint64_t usable_bytes;
static uint64_t random_seed;

static uint64_t rnd(void)
{
    random_seed ^= random_seed << 13;
    random_seed ^= random_seed >> 7;
    random_seed ^= random_seed << 17;
    return random_seed;
}

static uint64_t free_now(void)
{
    struct memory_stats stats;
    memory_stats(&stats);
    return stats.free_bytes;
}

static uint64_t largest_now(void)
{
    struct memory_stats stats;
    memory_stats(&stats);
    return stats.largest_bytes;
}

/* Runs fn in a child process; true when it panicked with a line that contains `words`. */
static bool panics(void (*fn)(void), const char *words)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        signal(SIGABRT, SIG_DFL);
        fn();
        _exit(0);
    }
    close(ends[1]);
    char said[4096] = "";
    size_t at = 0;
    for (ssize_t got; (got = read(ends[0], said + at, sizeof(said) - 1 - at)) > 0;)
        at += (size_t)got;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    bool has_said = strstr(said, words) != NULL;
    if (!has_said)
        print_message("wanted \"%s\", got \"%s\"\n", words, said);
    return has_said && WIFSIGNALED(status);
}

/* ---- pages ---- */

static void test_pages_are_zeroed_and_aligned(void **state)
{
    (void)state;
    uint64_t before = free_now();
    for (uint64_t align = 0; align <= 4 << 20; align = align == 0 ? 1 : align * 2) {
        uint8_t *va = page_alloc(3 * PAGE_SIZE - 1, align);
        assert_non_null(va);
        assert_int_equal((uintptr_t)va % (align < PAGE_SIZE ? PAGE_SIZE : align), 0);
        for (unsigned i = 0; i < 3 * PAGE_SIZE; i++)
            assert_int_equal(va[i], 0);
        memset(va, 0xff, 3 * PAGE_SIZE);
        page_free(va, 3 * PAGE_SIZE - 1);
    }
    assert_int_equal(free_now(), before);
    assert_null(page_alloc(0, 0));
    assert_null(page_alloc(UINT64_MAX, 0));
    assert_null(page_alloc(INT64_MAX, UINT64_C(1) << 62));
    assert_null(page_alloc(RAM_BYTES, 0));
    page_free(NULL, 0);
}

/* What memory_stats() calls the largest block can be had, one page more cannot; a small block does not cut it up. */
static void test_largest_block(void **state)
{
    (void)state;
    uint64_t largest = largest_now();
    void *all = page_alloc_dirty(largest, 0);
    assert_non_null(all);
    page_free(all, largest);
    assert_null(page_alloc_dirty(largest + PAGE_SIZE, 0));
    assert_int_equal(largest_now(), largest);

    void *small = page_alloc(PAGE_SIZE, 0);
    assert_true(largest_now() >= largest - largest / 16 - 2 * PAGE_SIZE);
    void *large = page_alloc_dirty(largest / 2, 2 << 20);
    assert_true((uint8_t *)large > (uint8_t *)small || largest_now() > largest / 4);
    page_free(large, largest / 2);
    page_free(small, PAGE_SIZE);
    assert_int_equal(largest_now(), largest);
}

struct held {
    uint8_t *va;
    uint64_t bytes;
    uint8_t fill;
};

static void check_and_free(struct held *held)
{
    assert_int_equal(held->va[0], held->fill);
    assert_int_equal(held->va[held->bytes / 2], held->fill);
    assert_int_equal(held->va[held->bytes - 1], held->fill);
    page_free(held->va, held->bytes);
    held->va = NULL;
}

static void test_random_pages(void **state)
{
    (void)state;
    enum { HELD = 600 };
    static struct held held[HELD];
    uint64_t before = free_now(), largest = largest_now(), in_use = 0;
    unsigned refused = 0;
    for (unsigned step = 0; step < 60000; step++) {
        struct held *slot = &held[rnd() % HELD];
        if (slot->va != NULL) {
            in_use -= align_up(slot->bytes, PAGE_SIZE);
            check_and_free(slot);
            continue;
        }
        uint64_t bytes = rnd() % 40 == 0 ? rnd() % (8 << 20) + 1 : rnd() % (64 << 10) + 1;
        uint64_t align = rnd() % 8 == 0 ? PAGE_SIZE << rnd() % 9 : 0;
        uint8_t *va = page_alloc_dirty(bytes, align);
        if (va == NULL) {
            refused++;
            assert_true(bytes + align > PAGE_SIZE);
            continue;
        }
        assert_true(va >= ram && va + bytes <= ram + RAM_BYTES);
        assert_int_equal((uintptr_t)va % (align == 0 ? PAGE_SIZE : align), 0);
        *slot = (struct held){va, bytes, (uint8_t)step};
        va[0] = va[bytes / 2] = va[bytes - 1] = (uint8_t)step;
        in_use += align_up(bytes, PAGE_SIZE);
        assert_true(in_use + free_now() <= before);
        assert_true(in_use + free_now() >= before - 64 * PAGE_SIZE); /* nodes */
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i].va != NULL)
            check_and_free(&held[i]);
    assert_true(free_now() >= before - 64 * PAGE_SIZE);
    assert_true(largest_now() >= largest - 64 * PAGE_SIZE);
    print_message("refused %u\n", refused);
}

/* Every page can be had, one by one, and comes back. */
static void test_all_of_memory(void **state)
{
    (void)state;
    uint64_t before = free_now();
    void **first = NULL;
    uint64_t count = 0;
    for (void **va; (va = page_alloc_dirty(PAGE_SIZE, 0)) != NULL; count++) {
        *va = first;
        first = va;
    }
    assert_true(count * PAGE_SIZE > before - before / 50); /* nodes: 56 bytes a page */
    assert_int_equal(free_now(), 0);
    assert_int_equal(largest_now(), 0);
    assert_null(heap_alloc(20000));
    while (first != NULL) {
        void **next = *first;
        page_free(first, PAGE_SIZE);
        first = next;
    }
    assert_true(free_now() >= count * PAGE_SIZE);
}

static void free_twice(void)
{
    void *va = page_alloc(PAGE_SIZE, 0);
    page_free(va, PAGE_SIZE);
    page_free(va, PAGE_SIZE);
}

static void free_other_size(void)
{
    page_free(page_alloc(2 * PAGE_SIZE, 0), PAGE_SIZE);
}

static void free_inside(void)
{
    page_free((uint8_t *)page_alloc(2 * PAGE_SIZE, 0) + PAGE_SIZE, PAGE_SIZE);
}

static void add_twice(void)
{
    memory_add_range(extent_end(free_set.root) - PAGE_SIZE, 2 * PAGE_SIZE);
}

static void overwrite_node(void)
{
    free_set.root->pages++;
    page_alloc(PAGE_SIZE, 0);
}

static void test_page_mistakes_panic(void **state)
{
    (void)state;
    assert_true(panics(free_twice, "freed already"));
    assert_true(panics(free_other_size, "1 pages, allocated with 2"));
    assert_true(panics(free_inside, "not an allocated block"));
    assert_true(panics(add_twice, "was added twice"));
    assert_true(panics(overwrite_node, "was overwritten"));
}

/* ---- heap ---- */

static void test_size_classes(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= SMALL_MAX; bytes++) {
        unsigned size_class = class_of(bytes);
        assert_true(size_class < CLASS_COUNT);
        assert_true(class_bytes(size_class) >= bytes);
        assert_true(size_class == 0 || class_bytes(size_class - 1) < bytes);
        assert_int_equal(class_bytes(size_class) % 16, 0);
    }
    assert_int_equal(class_bytes(CLASS_COUNT - 1), SMALL_MAX);
}

static void test_heap_basics(void **state)
{
    (void)state;
    uint64_t used = heap_used_bytes();
    static const size_t sizes[] = {0,    1,    15,   16,    17,    256,    257,
                                   8191, 8192, 8193, 32640, 32768, 100000, 5 << 20};
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint8_t *object = heap_alloc(sizes[i]);
        assert_non_null(object);
        assert_int_equal((uintptr_t)object % 16, 0);
        assert_true(heap_size(object) >= sizes[i]);
        memset(object, 0xaa, heap_size(object));
        heap_free(object);
        uint8_t *zeroed = heap_alloc_zeroed(sizes[i], 1);
        for (size_t at = 0; at < sizes[i]; at++)
            assert_int_equal(zeroed[at], 0);
        heap_free(zeroed);
        for (size_t align = 1; align <= 1 << 20; align *= 2) {
            uint8_t *aligned = heap_alloc_aligned(align, sizes[i]);
            assert_non_null(aligned);
            assert_int_equal((uintptr_t)aligned % align, 0);
            assert_true(heap_size(aligned) >= sizes[i]);
            memset(aligned, 0x55, heap_size(aligned));
            heap_free(aligned);
        }
    }
    heap_free(NULL);
    assert_null(heap_alloc(SIZE_MAX));
    assert_null(heap_alloc_zeroed(SIZE_MAX / 2, 3));
    assert_null(heap_alloc_zeroed(SIZE_MAX, 1));
    assert_null(heap_alloc_aligned((size_t)1 << 63, 1));
    assert_int_equal(heap_used_bytes(), used);
}

static void test_resize(void **state)
{
    (void)state;
    uint8_t *object = heap_resize(NULL, 10);
    size_t bytes = 10;
    memset(object, 1, bytes);
    for (unsigned i = 0; i < 3000; i++) {
        size_t wanted = rnd() % 3 == 0 ? rnd() % 300000 + 1 : rnd() % 2000 + 1;
        object = heap_resize(object, wanted);
        assert_non_null(object);
        for (size_t at = 0; at < bytes && at < wanted; at += 97)
            assert_int_equal(object[at], 1);
        assert_int_equal(object[(bytes < wanted ? bytes : wanted) - 1], 1);
        bytes = wanted;
        memset(object, 1, bytes);
    }
    uint8_t *same = heap_resize(object, SIZE_MAX / 2);
    assert_null(same); /* and the old object is still there */
    assert_int_equal(object[bytes - 1], 1);
    heap_free(object);
}

/* Objects made on one core and freed on another, all cores at once; contents checked, all memory back at the end. */
enum { SLOTS = 2048 };
static _Atomic(uint8_t *) shared_slots[SLOTS];
static _Atomic unsigned workers_left;
static struct event worker_ended;

static void verify_and_free(uint8_t *object)
{
    uint32_t bytes;
    memcpy(&bytes, object, sizeof(bytes));
    for (uint32_t at = sizeof(bytes); at < bytes; at++)
        if (object[at] != (uint8_t)(bytes + at))
            panic("object %p changed at %u", (void *)object, at);
    heap_free(object);
}

static void churn(void *arg)
{
    uint64_t x = (uintptr_t)arg * 0x9e3779b97f4a7c15 + random_seed;
    for (unsigned i = 0; i < 60000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint8_t *object = NULL;
        if (x & 1) {
            uint32_t bytes = 4 + (x % 64 == 1 ? x >> 8 & 0x7fff : x >> 8 & 0x1ff);
            object = heap_alloc(bytes);
            if (object != NULL) {
                memcpy(object, &bytes, sizeof(bytes));
                for (uint32_t at = sizeof(bytes); at < bytes; at++)
                    object[at] = (uint8_t)(bytes + at);
            }
        }
        object = atomic_exchange(&shared_slots[x >> 32 & (SLOTS - 1)], object);
        if (object != NULL)
            verify_and_free(object);
        if (i % 1024 == 0)
            task_yield();
    }
    atomic_fetch_sub(&workers_left, 1);
    event_signal(&worker_ended);
}

static void collect(void *arg)
{
    (void)arg;
    heap_free(heap_alloc(1)); /* any call empties the core's inbox */
    atomic_fetch_sub(&workers_left, 1);
    event_signal(&worker_ended);
}

static void run_on_all_cores(void (*fn)(void *arg), unsigned tasks)
{
    atomic_store(&workers_left, tasks);
    for (uintptr_t i = 0; i < tasks; i++)
        assert_int_equal(task_create("churn", (unsigned)i % CORES, 0, fn, (void *)(i + 1)), 0);
    for (uint32_t seen; seen = event_read(&worker_ended), atomic_load(&workers_left) != 0;)
        assert_int_equal(event_wait(&worker_ended, seen, time_ns() + 100 * NS_PER_S), 0);
}

static void test_heap_on_all_cores(void **state)
{
    (void)state;
    uint64_t used = heap_used_bytes();
    run_on_all_cores(churn, 2 * CORES);
    assert_true(heap_used_bytes() > used);
    for (unsigned i = 0; i < SLOTS; i++) {
        uint8_t *object = atomic_exchange(&shared_slots[i], NULL);
        if (object != NULL)
            verify_and_free(object);
    }
    assert_int_equal(heap_used_bytes(), used);
    run_on_all_cores(collect, CORES);
    for (unsigned core = 0; core < CORES; core++)
        for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
            const struct span *span = heaps[core].with_room[size_class];
            if (span != NULL) {
                assert_int_equal(span->used_count, 0); /* nothing lost in an inbox */
                assert_null(span->next);               /* and empty spans given back */
            }
        }
}

static void heap_free_twice(void)
{
    void *object = heap_alloc(100);
    heap_free(object);
    heap_free(object);
}

static void heap_write_after_free(void)
{
    uint64_t *object = heap_alloc(100);
    heap_free(object);
    object[0] = 7;
    heap_alloc(100);
}

static void heap_write_mark_after_free(void)
{
    uint64_t *object = heap_alloc(100);
    heap_free(object);
    object[1] = 7;
    heap_alloc(100);
}

static void heap_free_inside(void)
{
    heap_free((uint8_t *)heap_alloc(100) + 16);
}

static void heap_free_stack(void)
{
    _Alignas(65536) uint8_t local[65536] = {0};
    heap_free(local + 64);
}

static void test_heap_mistakes_panic(void **state)
{
    (void)state;
    assert_true(panics(heap_free_twice, "freed already"));
    assert_true(panics(heap_write_after_free, "was overwritten"));
    assert_true(panics(heap_write_mark_after_free, "was overwritten"));
    assert_true(panics(heap_free_inside, "lies inside"));
    assert_true(panics(heap_free_stack, "is not an object"));
}

static int start_memory(void **state)
{
    (void)state;
    const char *wanted = getenv("INGOT_SEED");
    random_seed =
        wanted != NULL ? strtoull(wanted, NULL, 0) : time_ns() * 2654435761 + (uint64_t)getpid();
    random_seed |= 1;
    print_message("INGOT_SEED=%llu\n", (unsigned long long)random_seed);

    uint8_t *map = mmap(NULL, RAM_BYTES + (8 << 20), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    ram = (uint8_t *)align_up((uint64_t)map, 8 << 20);
    uint64_t base = (uint64_t)(uintptr_t)ram;
    memory_set_totals(RAM_BYTES, 123);
    memory_add_range(base + 100, (1 << 20) + 5000); /* unaligned: only whole pages count */
    memory_add_range(base + (40 << 20), 56 << 20);
    memory_add_range(base + (4 << 20), 20 << 20);
    memory_add_range(base + (1 << 20) + PAGE_SIZE, PAGE_SIZE); /* joins the first */
    memory_add_range(0x1000, 0x2000);                          /* too low to be used */
    usable_bytes = (1 << 20) + PAGE_SIZE + (76 << 20);
    assert_int_equal(free_now(), usable_bytes);
    assert_int_equal(largest_now(), 56 << 20);
    host_cores_start(CORES);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_are_zeroed_and_aligned),
        cmocka_unit_test(test_largest_block),
        cmocka_unit_test(test_random_pages),
        cmocka_unit_test(test_all_of_memory),
        cmocka_unit_test(test_page_mistakes_panic),
        cmocka_unit_test(test_size_classes),
        cmocka_unit_test(test_heap_basics),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_heap_on_all_cores),
        cmocka_unit_test(test_heap_mistakes_panic),
    };
    return cmocka_run_group_tests(tests, start_memory, NULL);
}
