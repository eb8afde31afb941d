/*
 * tests/hw/device/kernels.h: arguments of the test kernels, shared by device and host code.
 */
#ifndef INGOT_TESTS_HW_DEVICE_KERNELS_H
#define INGOT_TESTS_HW_DEVICE_KERNELS_H

#include <stdint.h>

/* count[0] += 1 and count[1] += block index + 1 for each block; last gets the highest block index */
struct count_blocks_args {
    uint64_t *count;
    uint32_t grid_x, grid_y;
};

/* out[i] = in[mirror of i within its block], through static shared memory and barriers, `rounds` times */
struct mirror_args {
    const uint32_t *in;
    uint32_t *out;
    uint32_t rounds;
};

/* out[block] = sum of the dynamic shared memory after every word was written by one thread and read by another */
struct dynamic_shared_args {
    uint64_t *out;
    uint32_t words;
};

/* out[thread] = hash of a walk through a local array of 1 KiB or 16 KiB */
struct local_walk_args {
    uint32_t *out;
    uint32_t seed, steps;
};

/* out[0] = sum over bytes of (i + 1) * data[i] */
#define ARGUMENT_SIZES(x)                                                                                            \
    x(4) x(8) x(12) x(16) x(20) x(24) x(28) x(32) x(36) x(40) x(48) x(60) x(64) x(100) x(128) x(200) x(252) x(256) x(500) \
    x(512) x(1000) x(1024) x(2000) x(2048) x(3000) x(4000) x(4088)
#define ARGUMENT_STRUCT(size)      \
    struct arguments_##size##_args {  \
        uint64_t *out;             \
        uint8_t data[size];        \
    };
ARGUMENT_SIZES(ARGUMENT_STRUCT)

/* *address = value, or value = *address; address is not checked by anything */
struct touch_args {
    uint32_t *address;
    uint32_t *out;
    uint32_t value, write;
};

/* while (*flag == 0); a flag that nobody sets makes it endless */
struct spin_args {
    volatile uint32_t *flag;
};

/* out[i] += in[i]; for chains of launches and for coherence */
struct add_words_args {
    const uint32_t *in;
    uint32_t *out;
    uint64_t count;
};

/* out[i] += in[i] after `rounds` steps of a linear congruence: long enough that an order that is not kept shows */
struct slow_add_args {
    const uint32_t *in;
    uint32_t *out;
    uint32_t count, rounds;
};

/* uses many registers and writes something that depends on all of them */
struct many_registers_args {
    double *data;
    uint32_t rounds;
};

/* out[i] = in[i], 16 bytes per thread */
struct stream_args {
    const void *in;
    void *out;
    uint64_t count; /* of 16-byte units */
};

#endif
