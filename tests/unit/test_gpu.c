/* tests/unit/test_gpu.c: gpu.h on the CPU device: what is refused and why, and what commands, queues and timelines do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/gpu.h"
#include "gpu/gpu_handle.h"
#include "gpu/kernels/kernels.h"
#include "tests/host/host.h"

#define BUFFER_BYTES 8192u

static struct gpu_device *device;
static struct gpu_buffer *buffer, *other;
static struct gpu_queue *queue, *copies;
static struct gpu_timeline *timeline;
static struct gpu_kernel *fill;
static uint64_t signalled;

static int start(void **state)
{
    host_log_level(LOG_ERROR);
    host_cores_start(3);
    assert_int_equal(gpu_start(), 0);
    device = gpu_device_find("cpu0");
    assert_non_null(device);
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, BUFFER_BYTES, &buffer), 0);
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_HOST, BUFFER_BYTES, &other), 0);
    assert_int_equal(gpu_queue_create(device, GPU_QUEUE_COMPUTE, &queue), 0);
    assert_int_equal(gpu_queue_create(device, GPU_QUEUE_COPY, &copies), 0);
    assert_int_equal(gpu_timeline_create(device, &timeline), 0);
    assert_int_equal(gpu_kernel_find(gpu_module_builtin(device), "fill", &fill), 0);
    return 0;
}

static int stop(void **state)
{
    gpu_queue_destroy(queue);
    gpu_queue_destroy(copies);
    gpu_timeline_destroy(timeline);
    gpu_free(buffer);
    gpu_free(other);
    struct gpu_device_info info;
    gpu_device_info(device, &info);
    assert_int_equal(info.memory_used_bytes, 0);
    gpu_stop();
    for (int kind = GPU_HANDLE_BUFFER; kind <= GPU_HANDLE_TIMELINE; kind++)
        assert_int_equal(gpu_handle_count((enum gpu_handle_kind)kind), 0);
    return 0;
}

static void finish(struct gpu_queue *q)
{
    assert_int_equal(gpu_signal(q, timeline, ++signalled), 0);
    assert_int_equal(gpu_submit(q), 0);
    assert_int_equal(gpu_timeline_wait(timeline, signalled, time_ns() + 20 * NS_PER_S), 0);
}

/* A good launch: fills `count` words of the buffer. */
static struct fill_args fill_args;
static struct gpu_launch good_launch(uint32_t pattern, uint64_t count)
{
    fill_args = (struct fill_args){(uint32_t *)buffer->gva, count, pattern};
    return (struct gpu_launch){.grid = {1, 1, 1},
                               .block = {256, 1, 1},
                               .args = &fill_args,
                               .args_bytes = sizeof(fill_args)};
}

static void assert_error_names(const char *what)
{
    if (strstr(gpu_error(), what) == NULL)
        fail_msg("gpu_error() is \"%s\", which lacks \"%s\"", gpu_error(), what);
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void test_devices(void **state)
{
    struct gpu_device_info info;
    gpu_device_info(device, &info);
    assert_true(info.is_usable && info.memory_bytes > 0);
    assert_int_equal(info.multiprocessors, 2);
    assert_null(gpu_device_find("cpu1"));
    assert_null(gpu_device_get(1000));
    assert_non_null(gpu_device_best());
    struct gpu_health health;
    gpu_device_health(device, &health);
    assert_true(health.temperature_celsius != health.temperature_celsius);
    assert_true(health.core_clock_hz == UINT64_MAX);
}

static void test_bad_allocations(void **state)
{
    struct gpu_buffer *out = (struct gpu_buffer *)1;
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, 0, &out), -EINVAL);
    assert_null(out);
    assert_int_equal(gpu_alloc(NULL, GPU_MEMORY_VRAM, 4096, &out), -EINVAL);
    assert_int_equal(gpu_alloc(device, (enum gpu_memory)7, 4096, &out), -EINVAL);
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, UINT64_MAX, &out), -ENOMEM);
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, UINT64_C(1) << 50, &out), -ENOMEM);
    assert_error_names("1125899906842624 bytes asked for"); /* and how much there is */
    assert_error_names("bytes are free in one piece");
    host_page_alloc_fail_after(0);
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, 4096, &out), -ENOMEM);
    host_page_alloc_fail_after(-1);
    gpu_free(NULL);
}

static void test_freed_buffers_are_known(void **state)
{
    struct gpu_buffer *gone;
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, 4096, &gone), 0);
    gpu_free(gone);
    gpu_free(gone); /* says so in the log, does no harm */
    assert_int_equal(gpu_copy(copies, buffer, 0, gone, 0, 16), -EINVAL);
    assert_error_names("source buffer is freed");
    assert_int_equal(gpu_copy(copies, gone, 0, buffer, 0, 16), -EINVAL);
    assert_error_names("destination buffer is freed");
    assert_int_equal(gpu_fill(copies, gone, 0, 16, 0), -EINVAL);
    uint64_t run;
    assert_int_equal(gpu_buffer_dma(gone, 0, &run), 0);
    assert_int_equal(run, 0);
}

static void test_bad_launches(void **state)
{
    const struct {
        const char *what;
        size_t field; /* offset of a uint32_t in struct gpu_launch */
        uint32_t value;
    } bad[] = {
        {"grid.x", offsetof(struct gpu_launch, grid[0]), 0},
        {"grid.y", offsetof(struct gpu_launch, grid[1]), 0},
        {"grid.z", offsetof(struct gpu_launch, grid[2]), 0},
        {"grid.x", offsetof(struct gpu_launch, grid[0]), 0x80000000},
        {"grid.y", offsetof(struct gpu_launch, grid[1]), 65536},
        {"grid.z", offsetof(struct gpu_launch, grid[2]), 65536},
        {"block.x", offsetof(struct gpu_launch, block[0]), 0},
        {"block.y", offsetof(struct gpu_launch, block[1]), 0},
        {"block.z", offsetof(struct gpu_launch, block[2]), 0},
        {"block.x", offsetof(struct gpu_launch, block[0]), 257},
        {"block.x", offsetof(struct gpu_launch, block[0]), UINT32_MAX},
        {"block.y", offsetof(struct gpu_launch, block[1]), 2},
        {"block.z", offsetof(struct gpu_launch, block[2]), 2},
        {"shared memory", offsetof(struct gpu_launch, shared_bytes), 1},
        {"shared memory", offsetof(struct gpu_launch, shared_bytes), UINT32_MAX},
        {"bytes of arguments", offsetof(struct gpu_launch, args_bytes),
         sizeof(struct fill_args) - 1},
        {"bytes of arguments", offsetof(struct gpu_launch, args_bytes), 0},
        {"bytes of arguments", offsetof(struct gpu_launch, args_bytes), UINT32_MAX},
    };
    memset(buffer->cpu, 0, BUFFER_BYTES);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct gpu_launch launch = good_launch(0xbad, 4);
        memcpy((uint8_t *)&launch + bad[i].field, &bad[i].value, sizeof(bad[i].value));
        assert_int_equal(gpu_launch(queue, fill, &launch), -EINVAL);
        assert_error_names(bad[i].what);
        assert_error_names("fill");
    }
    struct gpu_launch launch = good_launch(0xbad, 4);
    launch.args = NULL;
    assert_int_equal(gpu_launch(queue, fill, &launch), -EINVAL);
    launch = good_launch(0xbad, 4);
    assert_int_equal(gpu_launch(NULL, fill, &launch), -EINVAL);
    assert_int_equal(gpu_launch(queue, NULL, &launch), -EINVAL);
    assert_int_equal(gpu_launch(queue, (struct gpu_kernel *)&launch, &launch), -EINVAL);
    assert_int_equal(gpu_launch(copies, fill, &launch), -EINVAL);
    assert_error_names("copy queue");
    finish(queue); /* nothing of all that was recorded */
    assert_int_equal(((uint32_t *)buffer->cpu)[0], 0);

    launch = good_launch(0x900d, 4);
    assert_int_equal(gpu_launch(queue, fill, &launch), 0);
    finish(queue);
    assert_int_equal(((uint32_t *)buffer->cpu)[3], 0x900d);
    assert_int_equal(((uint32_t *)buffer->cpu)[4], 0);
}

static void test_bad_copies_and_fills(void **state)
{
    const uint64_t most = UINT64_MAX;
    const struct {
        uint64_t dst_offset, dst_pitch, src_offset, src_pitch, row_bytes, rows;
        bool is_same;
        int error;
        const char *what;
    } bad[] = {
        {0, 16, 0, 16, 0, 1, false, -EINVAL, "0 bytes"},
        {0, 16, 0, 16, 16, 0, false, -EINVAL, "0 bytes"},
        {BUFFER_BYTES, 1, 0, 1, 1, 1, false, -ERANGE, "destination"},
        {0, 1, BUFFER_BYTES, 1, 1, 1, false, -ERANGE, "source"},
        {BUFFER_BYTES - 15, 16, 0, 16, 16, 1, false, -ERANGE, "destination"},
        {most, 16, 0, 16, 16, 1, false, -ERANGE, "destination"},
        {0, 16, most - 7, 16, 16, 1, false, -ERANGE, "source"},
        {0, most, 0, most, most, 1, false, -ERANGE, "destination"},
        {0, 15, 0, 16, 16, 2, false, -EINVAL, "pitches"},
        {0, 16, 0, 15, 16, 2, false, -EINVAL, "pitches"},
        {0, most / 2, 0, 16, 16, 4, false, -ERANGE, "destination"},
        {0, 16, 0, 16, 16, most, false, -ERANGE, "destination"},
        {0, 4096, 0, 16, 16, 3, false, -ERANGE, "destination"},
        {0, 64, 63, 64, 64, 1, true, -EINVAL, "overlap"},
        {64, 64, 32, 64, 64, 2, true, -EINVAL, "overlap"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        int error = gpu_copy_2d(copies, bad[i].is_same ? buffer : other, bad[i].dst_offset,
                                bad[i].dst_pitch, buffer, bad[i].src_offset, bad[i].src_pitch,
                                bad[i].row_bytes, bad[i].rows);
        if (error != bad[i].error)
            fail_msg("case %zu: %d, expected %d", i, error, bad[i].error);
        assert_error_names(bad[i].what);
    }
    assert_int_equal(gpu_copy(copies, NULL, 0, buffer, 0, 16), -EINVAL);
    assert_int_equal(gpu_copy(copies, other, 0, NULL, 0, 16), -EINVAL);
    assert_int_equal(gpu_fill(copies, other, 0, 0, 0), -EINVAL);
    assert_int_equal(gpu_fill(copies, other, 2, 4, 0), -EINVAL);
    assert_int_equal(gpu_fill(copies, other, 0, 6, 0), -EINVAL);
    assert_int_equal(gpu_fill(copies, other, BUFFER_BYTES - 4, 8, 0), -ERANGE);
    assert_int_equal(gpu_fill(copies, other, most - 3, 4, 0), -ERANGE);
}

static void test_bad_modules(void **state)
{
    struct gpu_kernel *kernel = (struct gpu_kernel *)1;
    struct gpu_module *builtin = gpu_module_builtin(device), *module = (struct gpu_module *)1;
    assert_int_equal(gpu_kernel_find(builtin, "no_such_kernel", &kernel), -ENOENT);
    assert_null(kernel);
    assert_error_names("no_such_kernel");
    char long_name[300];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(gpu_kernel_find(builtin, long_name, &kernel), -ENOENT);
    assert_int_equal(gpu_kernel_find(builtin, NULL, &kernel), -ENOENT);
    assert_int_equal(gpu_kernel_find(NULL, "fill", &kernel), -EINVAL);
    assert_int_equal(gpu_module_load(device, "ELF", 3, &module), -ENOTSUP);
    assert_null(module);
    gpu_module_unload(NULL);
    gpu_module_unload(builtin); /* stays */
    assert_int_equal(gpu_kernel_find(builtin, "fill", &kernel), 0);
    assert_ptr_equal(kernel, fill);
    assert_int_equal(gpu_kernel_args_bytes(fill), sizeof(struct fill_args));
    assert_int_equal(gpu_kernel_args_bytes(NULL), 0);
}

static void test_dead_handles(void **state)
{
    struct gpu_queue *gone;
    struct gpu_timeline *over;
    assert_int_equal(gpu_queue_create(device, GPU_QUEUE_COPY, &gone), 0);
    assert_int_equal(gpu_timeline_create(device, &over), 0);
    gpu_queue_destroy(gone);
    gpu_queue_destroy(gone);
    gpu_timeline_destroy(over);
    gpu_timeline_destroy(over);
    assert_int_equal(gpu_submit(gone), -EINVAL);
    assert_int_equal(gpu_fill(gone, buffer, 0, 4, 0), -EINVAL);
    assert_int_equal(gpu_queue_status(gone), -EINVAL);
    assert_int_equal(gpu_signal(queue, over, 1), -EINVAL);
    assert_int_equal(gpu_wait(queue, over, 1), -EINVAL);
    assert_int_equal(gpu_signal(queue, NULL, 1), -EINVAL);
    assert_int_equal(gpu_timeline_wait(over, 1, 0), -EINVAL);
    assert_int_equal(gpu_timeline_value(over), 0);
    gpu_queue_cancel(gone);
    gpu_queue_destroy(NULL);
    gpu_timeline_destroy(NULL);
    assert_int_equal(gpu_queue_create(device, (enum gpu_queue_kind)9, &gone), -EINVAL);
    assert_int_equal(gpu_queue_create(NULL, GPU_QUEUE_COPY, &gone), -EINVAL);
}

/* ---- what commands do ------------------------------------------------------------------------------------------ */

static void test_copies(void **state)
{
    uint8_t *from = buffer->cpu, *to = other->cpu;
    for (unsigned i = 0; i < BUFFER_BYTES; i++)
        from[i] = (uint8_t)(i * 7 + i / 256);
    memset(to, 0xee, BUFFER_BYTES);
    assert_int_equal(gpu_copy(copies, other, 13, buffer, 101, 1003), 0);
    finish(copies);
    assert_memory_equal(to + 13, from + 101, 1003);
    assert_int_equal(to[12], 0xee);
    assert_int_equal(to[13 + 1003], 0xee);

    memset(to, 0xee, BUFFER_BYTES);
    assert_int_equal(gpu_copy_2d(copies, other, 3, 70, buffer, 5, 64, 60, 100), 0);
    finish(copies);
    for (unsigned row = 0; row < 100; row++) {
        assert_memory_equal(to + 3 + row * 70, from + 5 + row * 64, 60);
        assert_int_equal(to[3 + row * 70 + 60], 0xee);
    }
    assert_int_equal(gpu_copy(copies, buffer, 4096, buffer, 0, 4096),
                     0); /* within one buffer, side by side */
    finish(copies);
    assert_memory_equal(from + 4096, from, 4096);
}

/* Commands of a queue take effect in order, also when the ring is filled many times over without a submit. */
static void test_order(void **state)
{
    for (unsigned i = 1; i <= 1000; i++) {
        struct gpu_launch launch = good_launch(i, 64);
        assert_int_equal(gpu_launch(queue, fill, &launch), 0);
        assert_int_equal(gpu_copy(queue, other, i % 32 * 256, buffer, 0, 256), 0);
    }
    finish(queue);
    for (unsigned i = 1000; i > 1000 - 32; i--)
        assert_int_equal(((uint32_t *)other->cpu)[i % 32 * 64 + 63], i);
}

static void test_large(void **state)
{
    const uint64_t size = UINT64_C(16) << 20;
    struct gpu_buffer *a, *b;
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, size, &a), 0);
    assert_int_equal(gpu_alloc(device, GPU_MEMORY_VRAM, size, &b), 0);
    assert_int_equal(gpu_fill(queue, a, 0, size, 0x01020304), 0);
    assert_int_equal(gpu_copy(queue, b, 0, a, 0, size), 0);
    finish(queue);
    assert_int_equal(((uint32_t *)b->cpu)[0], 0x01020304);
    assert_memory_equal(a->cpu, b->cpu, size);
    /* Freed while a copy is under way: the copy is waited for. */
    assert_int_equal(gpu_copy(queue, b, 0, a, 0, size), 0);
    assert_int_equal(gpu_submit(queue), 0);
    gpu_free(a);
    gpu_free(b);
    uint64_t run;
    assert_true(gpu_buffer_dma(buffer, 100, &run) != 0);
    assert_int_equal(run, BUFFER_BYTES - 100);
    assert_int_equal(gpu_buffer_dma(buffer, BUFFER_BYTES, &run), 0);
}

static void test_many_blocks(void **state)
{
    struct gpu_kernel *empty;
    const struct empty_args args = {0};
    assert_int_equal(gpu_kernel_find(gpu_module_builtin(device), "empty", &empty), 0);
    const struct gpu_launch launch = {
        .grid = {300, 20, 7}, .block = {1, 1, 1}, .args = &args, .args_bytes = sizeof(args)};
    assert_int_equal(gpu_launch(queue, empty, &launch), 0);
    finish(queue);
}

/* ---- timelines and queues -------------------------------------------------------------------------------------- */

static void test_timelines(void **state)
{
    struct gpu_timeline *gate;
    assert_int_equal(gpu_timeline_create(device, &gate), 0);
    assert_int_equal(gpu_timeline_value(gate), 0);
    assert_int_equal(gpu_timeline_wait(gate, 0, 0), 0);
    uint64_t before = time_ns();
    assert_int_equal(gpu_timeline_wait(gate, 1, before + 10 * NS_PER_MS), -ETIMEDOUT);
    assert_true(time_ns() - before >= 10 * NS_PER_MS);
    assert_error_names("has not reached 1");

    /* The queue stops at the gate until the CPU opens it. */
    memset(buffer->cpu, 0, BUFFER_BYTES);
    assert_int_equal(gpu_wait(queue, gate, 5), 0);
    assert_int_equal(gpu_fill(queue, buffer, 0, 64, 7), 0);
    assert_int_equal(gpu_signal(queue, timeline, ++signalled), 0);
    assert_int_equal(gpu_submit(queue), 0);
    gpu_timeline_signal(gate, 4);
    assert_int_equal(gpu_timeline_wait(timeline, signalled, time_ns() + 5 * NS_PER_MS), -ETIMEDOUT);
    assert_int_equal(((uint32_t *)buffer->cpu)[0], 0);
    gpu_timeline_signal(gate, 6);
    gpu_timeline_signal(gate, 3); /* never back */
    assert_int_equal(gpu_timeline_value(gate), 6);
    assert_int_equal(gpu_timeline_wait(timeline, signalled, time_ns() + 20 * NS_PER_S), 0);
    assert_int_equal(((uint32_t *)buffer->cpu)[0], 7);
    gpu_timeline_destroy(gate);
}

/* 64 queues, each of which waits for the one before it: a chain from last to first, submitted in the wrong order. */
static void test_queues_wait_for_each_other(void **state)
{
    enum { QUEUES = 64 };
    struct gpu_queue *chain[QUEUES];
    struct gpu_timeline *step;
    assert_int_equal(gpu_timeline_create(device, &step), 0);
    memset(buffer->cpu, 0, BUFFER_BYTES);
    for (unsigned i = 0; i < QUEUES; i++) {
        assert_int_equal(gpu_queue_create(device, GPU_QUEUE_COMPUTE, &chain[i]), 0);
        assert_int_equal(gpu_wait(chain[i], step, i), 0);
        if (i > 0)
            assert_int_equal(gpu_copy(chain[i], buffer, i * 8, buffer, (i - 1) * 8, 8), 0);
        else
            assert_int_equal(gpu_fill(chain[i], buffer, 0, 8, 0x77777777), 0);
        assert_int_equal(gpu_signal(chain[i], step, i + 1), 0);
    }
    for (unsigned i = QUEUES; i-- > 0;)
        assert_int_equal(gpu_submit(chain[i]), 0);
    assert_int_equal(gpu_timeline_wait(step, QUEUES, time_ns() + 20 * NS_PER_S), 0);
    assert_int_equal(((uint32_t *)buffer->cpu)[QUEUES * 2 - 1], 0x77777777);
    for (unsigned i = 0; i < QUEUES; i++)
        gpu_queue_destroy(chain[i]);
    gpu_timeline_destroy(step);
}

static void test_too_many_queues(void **state)
{
    static struct gpu_queue *many[300];
    unsigned count = 0;
    while (count < ARRAY_COUNT(many) && gpu_queue_create(device, GPU_QUEUE_COPY, &many[count]) == 0)
        count++;
    assert_true(count >= 64 && count < ARRAY_COUNT(many));
    assert_error_names("queues are in use");
    while (count > 0)
        gpu_queue_destroy(many[--count]);
}

/* A queue that waits for what never comes can be cancelled and destroyed at once. */
static void test_cancel(void **state)
{
    struct gpu_queue *stuck;
    struct gpu_timeline *never;
    assert_int_equal(gpu_queue_create(device, GPU_QUEUE_COMPUTE, &stuck), 0);
    assert_int_equal(gpu_timeline_create(device, &never), 0);
    memset(buffer->cpu, 0, BUFFER_BYTES);
    assert_int_equal(gpu_wait(stuck, never, 1), 0);
    assert_int_equal(gpu_fill(stuck, buffer, 0, 64, 7), 0);
    assert_int_equal(gpu_submit(stuck), 0);
    uint64_t before = time_ns();
    gpu_queue_cancel(stuck);
    assert_int_equal(gpu_queue_status(stuck), -ECANCELED);
    assert_int_equal(gpu_fill(stuck, buffer, 0, 64, 7), -ECANCELED);
    gpu_queue_destroy(stuck);
    gpu_timeline_destroy(never);
    assert_true(time_ns() - before < NS_PER_S);
    assert_int_equal(((uint32_t *)buffer->cpu)[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_bad_allocations),
        cmocka_unit_test(test_freed_buffers_are_known),
        cmocka_unit_test(test_bad_launches),
        cmocka_unit_test(test_bad_copies_and_fills),
        cmocka_unit_test(test_bad_modules),
        cmocka_unit_test(test_dead_handles),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_many_blocks),
        cmocka_unit_test(test_timelines),
        cmocka_unit_test(test_queues_wait_for_each_other),
        cmocka_unit_test(test_too_many_queues),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
