/*
 * tests/unit/test_push.c: push buffer encoders against the words of submissions that ran on an H200 (driver 580.159.04,
 * 2026-11-21, results right), and the forms that those did not use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/nvidia/push.h"
#include "kernel/kernel.h"

#define COMPUTE_CLASS 0xcbc0 /* HOPPER_COMPUTE_A */
#define COPY_CLASS    0xc8b5 /* HOPPER_DMA_COPY_A */

static void check_words(const struct push *push, const uint32_t *wanted, unsigned count)
{
    for (unsigned i = 0; i < count && i < push->count; i++)
        if (push->dword[i] != wanted[i])
            fail_msg("word %u is %08x, not %08x", i, push->dword[i], wanted[i]);
    assert_int_equal(push->count, count);
}

/* The first launch of a queue: set-up, instruction caches, the QMD at 0x200093000. */
static void test_captured_launch(void **state)
{
    static const uint32_t wanted[] = {
        0x20012000, 0x0000cbc0, 0x200220a8, 0x00007294, 0x00000000,
        0x200221ec, 0x00007293, 0x00000000, 0x20018000, 0x0000c8b5,
        0x20012087, 0x00001011, 0x200120ad, 0x02000930, 0x800920b0,
    };
    struct push push = {0};
    push_compute_setup(&push, &(struct push_compute_setup){.class_id = COMPUTE_CLASS,
                                                           .shared_window_gva = 0x729400000000,
                                                           .local_window_gva = 0x729300000000});
    push_set_object(&push, PUSH_SUBCHANNEL_COPY, COPY_CLASS);
    push_invalidate_shader_caches(&push);
    push_launch(&push, QMD_V4, 0x200093000);
    check_words(&push, wanted, ARRAY_COUNT(wanted));
    assert_true(push_gpfifo_entry(0x200053000, push.count) == 0x00003e0200053000);
}

/* A copy of 12345 bytes, a fill, a copy of 7 rows, a wait and two signals on a copy queue. */
static void test_captured_copies(void **state)
{
    static const uint32_t wanted[] = {
        0x20018000, 0x0000c8b5, 0x20088100, 0x00000002, 0x002f0008, 0x00000002, 0x00311000,
        0x00000000, 0x00000000, 0x00003039, 0x00000001, 0x200180c0, 0x00000182, 0x200181c0,
        0xabcd1234, 0x200181c2, 0x00030004, 0x20028102, 0x00000002, 0x00310040, 0x20028106,
        0x000003e8, 0x00000001, 0x200180c0, 0x00000582, 0x20088100, 0x00000002, 0x00310000,
        0x00000002, 0x00300000, 0x000001f4, 0x0000012c, 0x000000c8, 0x00000007, 0x200180c0,
        0x00000382, 0x20048090, 0x00000002, 0x00040080, 0x00000001, 0x00000000, 0x200180c0,
        0x0800000c, 0x20050017, 0x00040000, 0x00000002, 0x00000001, 0x00000000, 0x01001002,
        0x20048090, 0x00000002, 0x00040000, 0x3456789a, 0x00000012, 0x200180c0, 0x0800000c,
        0x20050017, 0x00040080, 0x00000002, 0x00000002, 0x00000000, 0x01000001,
    };
    struct push push = {0};
    push_set_object(&push, PUSH_SUBCHANNEL_COPY, COPY_CLASS);
    push_copy(&push,
              &(struct push_copy){
                  .src_gva = 0x2002f0008, .dst_gva = 0x200311000, .row_bytes = 12345, .rows = 1});
    push_fill(&push, 0x200310040, 1000, 0xabcd1234);
    push_copy(&push, &(struct push_copy){.src_gva = 0x200310000,
                                         .dst_gva = 0x200300000,
                                         .src_pitch = 500,
                                         .dst_pitch = 300,
                                         .row_bytes = 200,
                                         .rows = 7});
    push_copy_release(&push, 0x200040080, 1);
    push_semaphore_acquire(&push, 0x200040000, 1, PUSH_PAYLOAD_64);
    push_copy_release(&push, 0x200040000, 0x123456789a);
    push_semaphore_release(
        &push, &(struct push_release){.gva = 0x200040080, .value = 2, .payload = PUSH_PAYLOAD_64});
    check_words(&push, wanted, ARRAY_COUNT(wanted));
}

static void test_semaphores(void **state)
{
    struct push push = {0};
    push_semaphore_release(&push, &(struct push_release){.gva = 0x123456789ab0,
                                                         .value = 0xfedcba9876543210,
                                                         .payload = PUSH_PAYLOAD_64,
                                                         .wait_idle = true,
                                                         .timestamp = true});
    push_semaphore_release(
        &push, &(struct push_release){.gva = 4, .value = UINT32_MAX, .payload = PUSH_PAYLOAD_32});
    push_semaphore_acquire(&push, 8, 5, PUSH_PAYLOAD_32);
    static const uint32_t
        wanted
            [] =
                {
                    0x20050017, 0x56789ab0, 0x00001234, 0x76543210,
                    0xfedcba98, 0x03100001, /* 64 bit, time stamp, idle */
                    0x20050017, 0x00000004, 0x00000000, 0xffffffff,
                    0x00000000, 0x00000001, 0x20050017, 0x00000008,
                    0x00000000, 0x00000005, 0x00000000, 0x00001002,
                };
    check_words(&push, wanted, ARRAY_COUNT(wanted));
}

static void test_compute(void **state)
{
    struct push push = {0};
    push_launch(&push, QMD_V2,
                0xff00); /* Turing: SEND_SIGNALING_PCAS_B with invalidate and schedule */
    push_wait_for_idle(&push);
    push_local_memory(&push, 0x1234560000, 0x98000);
    static const uint32_t wanted[] = {
        0x200120ad, 0x000000ff, 0x800320af, 0x80002044, 0x200221e4, 0x00000012,
        0x34560000, 0x200320b9, 0x00000000, 0x00098000, 0x000000ff,
    };
    check_words(&push, wanted, ARRAY_COUNT(wanted));
}

/* Pieces of one copy overlap with the one before; the largest row and the last push buffer word. */
static void test_limits(void **state)
{
    struct push push = {0};
    push_copy(&push, &(struct push_copy){.src_gva = 1,
                                         .dst_gva = 2,
                                         .row_bytes = PUSH_COPY_ROW_BYTES_MAX,
                                         .rows = 1,
                                         .is_pipelined = true});
    assert_int_equal(push.dword[7], 0x80000000);
    assert_int_equal(push.dword[10], 0x181);
    uint64_t entry = push_gpfifo_entry(0xfffffffffc, GPFIFO_ENTRY_DWORDS_MAX);
    assert_true(entry == (0xfffffffffc | BIT(41) | (uint64_t)GPFIFO_ENTRY_DWORDS_MAX << 42));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captured_launch), cmocka_unit_test(test_captured_copies),
        cmocka_unit_test(test_semaphores),      cmocka_unit_test(test_compute),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
