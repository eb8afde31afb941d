/*
 * tests/hw/hw.h: the tests that need a real GPU. `make hw-test` builds and runs them and prints a table.
 *
 * Each test gets a fresh timeline and queues where it wants them, fills what it writes with poison first, and draws new random
 * inputs from a seed that is printed and can be given again (--seed N). A test fails by saying why; nothing is skipped.
 */
#ifndef INGOT_TESTS_HW_H
#define INGOT_TESTS_HW_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/gpu.h"
#include "kernel/kernel.h"

struct hw {
    struct gpu_device *device, *reference; /* nvidia0, cpu0 */
    struct gpu_module *module;             /* tests/hw/device for this architecture */
    uint64_t random;                       /* state of hw_random() */
    bool is_quick;                         /* --quick: fewer repetitions, for a first look */
    char why[320];                         /* set by hw_test_fail() */
};

/* Sets hw->why and returns false. */
bool hw_test_fail(struct hw *hw, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define HW_CHECK(condition, ...)                    \
    do {                                            \
        if (!(condition))                           \
            return hw_test_fail(hw, __VA_ARGS__);        \
    } while (0)
/* A call of gpu.h that has to succeed. */
#define HW_OK(call)                                                                                 \
    do {                                                                                            \
        int hw_error_ = (call);                                                                     \
        if (hw_error_ != 0)                                                                         \
            return hw_test_fail(hw, "%s: %d, %s (line %d)", #call, hw_error_, gpu_error(), __LINE__);     \
    } while (0)
/* A call that has to be refused with this error and a text that contains `word`. */
#define HW_REFUSED(call, error, word)                                                                \
    do {                                                                                            \
        int hw_error_ = (call);                                                                     \
        HW_CHECK(hw_error_ == (error) && hw_contains(gpu_error(), (word)), "%s: %d, \"%s\", wanted %d and \"%s\"", \
                 #call, hw_error_, gpu_error(), (error), (word));                                   \
    } while (0)

uint64_t hw_random(struct hw *hw);
void hw_fill_random(struct hw *hw, void *data, uint64_t size_bytes);
bool hw_contains(const char *text, const char *word);

/* A queue with its own timeline, for tests that submit and wait. */
struct hw_stream {
    struct gpu_queue *queue;
    struct gpu_timeline *timeline;
    uint64_t value;
};
bool hw_stream_open(struct hw *hw, enum gpu_queue_kind kind, struct hw_stream *out);
void hw_stream_close(struct hw_stream *stream);
/* Signal, submit, wait up to 30 s. */
bool hw_stream_finish(struct hw *hw, struct hw_stream *stream);
int hw_stream_wait(struct hw_stream *stream, uint64_t timeout_ns); /* signal, submit, wait: the error itself */

bool hw_alloc(struct hw *hw, enum gpu_memory memory, uint64_t size_bytes, struct gpu_buffer **out);
/* Launch a kernel of tests/hw/device. */
bool hw_launch(struct hw *hw, struct hw_stream *stream, const char *kernel, uint32_t grid, uint32_t block,
               uint32_t shared_bytes, const void *args, uint32_t args_bytes);
/* Through a staging buffer and a queue of its own. */
bool hw_upload(struct hw *hw, struct gpu_buffer *dst, uint64_t offset, const void *data, uint64_t size_bytes);
bool hw_download(struct hw *hw, void *data, const struct gpu_buffer *src, uint64_t offset, uint64_t size_bytes);

/* Objects, device memory and host pages in use; compared before and after a test. */
struct hw_usage {
    unsigned rm_objects;
    uint64_t device_bytes, host_bytes, free_addresses;
};
struct hw_usage hw_usage(struct hw *hw);
/* The same as now, or hw->why says what has grown. */
bool hw_usage_is(struct hw *hw, const struct hw_usage *before);

struct hw_test {
    const char *name;
    bool (*run)(struct hw *hw);
};
extern const struct hw_test hw_copy_tests[], hw_launch_tests[], hw_queue_tests[], hw_memory_tests[],
    hw_fault_tests[], hw_input_tests[]; /* each ends with a NULL name */

#endif
