/*
 * gpu/nvidia/cubin.h: reads a cubin, the ELF file that ptxas writes: one image for the GPU's memory and its kernels.
 *
 * The file is input and checked as such: every offset, length, index and alignment before use. Nothing is allocated; names
 * and sections are used in place, so the bytes must stay while the struct is in use.
 */
#ifndef INGOT_GPU_NVIDIA_CUBIN_H
#define INGOT_GPU_NVIDIA_CUBIN_H

#include <stddef.h>
#include <stdint.h>

#define CUBIN_KERNELS_MAX  256
#define CUBIN_SECTIONS_MAX 2048

struct cubin_kernel {
    const char *name;           /* inside the file, NUL-terminated there */
    uint64_t text_offset, text_bytes; /* in the image */
    uint32_t register_count, barrier_count;
    uint32_t stack_bytes;       /* per thread: EIATTR_MIN_STACK_SIZE */
    uint32_t shared_bytes;      /* static, without what the system reserves */
    uint32_t args_offset, args_bytes; /* in constant bank 0 */
    uint32_t bank0_bytes;
    uint32_t threads_max;       /* 0: not limited by the kernel */
    uint32_t constant_offset[8], constant_bytes[8]; /* of the banks that come with the image; 0 bytes: none */
};

struct cubin {
    const uint8_t *bytes;
    size_t size_bytes;
    uint32_t sm;                /* 90 for sm_90 */
    uint64_t image_bytes;       /* the GPU's image: code, constants, initialised and zeroed globals */
    unsigned kernel_count;
    struct cubin_kernel *kernels; /* the caller's array */
    unsigned kernel_capacity;
    const char *problem;        /* why cubin_open() or cubin_image() failed */
};

/* kernels: room for `capacity` of them. 0, -ENOEXEC (problem says what is wrong), or -ENOSPC for more kernels than that. */
int cubin_open(struct cubin *cubin, const void *bytes, size_t size_bytes, struct cubin_kernel *kernels, unsigned capacity);
/* Write the image, of image_bytes, relocated to lie at gva. */
int cubin_image(struct cubin *cubin, void *image, uint64_t gva);

#endif
