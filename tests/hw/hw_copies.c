/*
 * tests/hw/hw_copies.c: copies and fills: every size, alignment and direction, verified byte by byte, also around the copy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/hw/hw.h"

#define POISON 0xa5
#define ROOM   (UINT64_C(4) << 20)

struct direction {
    const char *name;
    enum gpu_memory dst, src;
};
static const struct direction directions[] = {
    {"host to device", GPU_MEMORY_VRAM, GPU_MEMORY_HOST},
    {"device to host", GPU_MEMORY_HOST, GPU_MEMORY_VRAM},
    {"device to device", GPU_MEMORY_VRAM, GPU_MEMORY_VRAM},
    {"host to host", GPU_MEMORY_HOST, GPU_MEMORY_HOST},
};

struct bench {
    struct hw_stream stream;
    struct gpu_buffer *dst, *src, *check, *input; /* check and input are host memory */
};

static bool open_bench(struct hw *hw, enum gpu_queue_kind kind, const struct direction *direction,
                       struct bench *b)
{
    *b = (struct bench){0};
    return hw_stream_open(hw, kind, &b->stream) && hw_alloc(hw, direction->dst, ROOM, &b->dst) &&
           hw_alloc(hw, direction->src, ROOM, &b->src) &&
           hw_alloc(hw, GPU_MEMORY_HOST, ROOM, &b->check) &&
           hw_alloc(hw, GPU_MEMORY_HOST, ROOM, &b->input);
}

static void close_bench(struct bench *b)
{
    hw_stream_close(&b->stream);
    gpu_free(b->dst);
    gpu_free(b->src);
    gpu_free(b->check);
    gpu_free(b->input);
}

/* Copy `size` bytes between these offsets into poison and look at every byte of the neighbourhood. */
static bool copy_once(struct hw *hw, struct bench *b, const char *name, uint64_t dst_offset,
                      uint64_t src_offset, uint64_t size)
{
    uint64_t from = dst_offset < 64 ? 0 : align_down(dst_offset - 64, 4);
    uint64_t to = min_u64(align_up(dst_offset + size + 64, 4), ROOM);
    HW_OK(gpu_fill(b->stream.queue, b->dst, from, to - from, 0x01010101u * POISON));
    HW_OK(gpu_copy(b->stream.queue, b->dst, dst_offset, b->src, src_offset, size));
    HW_OK(gpu_copy(b->stream.queue, b->check, from, b->dst, from, to - from));
    if (!hw_stream_finish(hw, &b->stream))
        return false;
    const uint8_t *got = b->check->cpu, *sent = b->input->cpu;
    for (uint64_t i = from; i < to; i++) {
        bool is_inside = i >= dst_offset && i < dst_offset + size;
        uint8_t wanted = is_inside ? sent[src_offset + i - dst_offset] : POISON;
        HW_CHECK(got[i] == wanted, "%s, %llu bytes from %llu to %llu: byte %lld is %02x, not %02x",
                 name, (unsigned long long)size, (unsigned long long)src_offset,
                 (unsigned long long)dst_offset, (long long)(i - dst_offset), got[i], wanted);
    }
    return true;
}

static bool every_alignment(struct hw *hw)
{
    static const uint64_t sizes[] = {1,   2,   3,   4,    5,    7,    8,     15,    16,   17,  31,
                                     32,  33,  63,  64,   65,   127,  128,   129,   255,  256, 257,
                                     511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537};
    for (int kind = 0; kind < 2; kind++) {
        for (size_t d = 0; d < ARRAY_COUNT(directions); d++) {
            struct bench b;
            if (!open_bench(hw, kind ? GPU_QUEUE_COPY : GPU_QUEUE_COMPUTE, &directions[d], &b))
                return false;
            hw_fill_random(hw, b.input->cpu, ROOM);
            HW_OK(gpu_copy(b.stream.queue, b.src, 0, b.input, 0, ROOM));
            for (size_t s = 0; s < ARRAY_COUNT(sizes); s++)
                for (unsigned align = 0; align < 16; align++)
                    for (unsigned k = 0; k < (sizes[s] > 4096 ? 1u : 4u); k++) {
                        uint64_t random = hw_random(hw);
                        uint64_t dst = 4096 * (random % 200) + align,
                                 src = 4096 * (random >> 32 & 127);
                        src += k == 0 ? align : random >> 48 & 255; /* also unequal alignments */
                        if (!copy_once(hw, &b, directions[d].name, dst, src, sizes[s]))
                            return false;
                    }
            close_bench(&b);
        }
    }
    return true;
}

static bool random_copies(struct hw *hw)
{
    for (size_t d = 0; d < ARRAY_COUNT(directions); d++) {
        struct bench b;
        if (!open_bench(hw, GPU_QUEUE_COPY, &directions[d], &b))
            return false;
        hw_fill_random(hw, b.input->cpu, ROOM);
        HW_OK(gpu_copy(b.stream.queue, b.src, 0, b.input, 0, ROOM));
        for (unsigned i = 0; i < (hw->is_quick ? 20u : 200u); i++) {
            uint64_t size = 1 + hw_random(hw) % (hw_random(hw) % 4 == 0 ? ROOM : 70000);
            uint64_t dst = hw_random(hw) % (ROOM - size + 1),
                     src = hw_random(hw) % (ROOM - size + 1);
            if (!copy_once(hw, &b, directions[d].name, dst, src, size))
                return false;
        }
        close_bench(&b);
    }
    return true;
}

static bool copies_2d(struct hw *hw)
{
    for (size_t d = 0; d < ARRAY_COUNT(directions); d++) {
        struct bench b;
        if (!open_bench(hw, GPU_QUEUE_COPY, &directions[d], &b))
            return false;
        hw_fill_random(hw, b.input->cpu, ROOM);
        HW_OK(gpu_copy(b.stream.queue, b.src, 0, b.input, 0, ROOM));
        for (unsigned i = 0; i < 100; i++) {
            uint64_t row = 1 + hw_random(hw) % 1000, rows = 1 + hw_random(hw) % 900;
            uint64_t dst_pitch = row + hw_random(hw) % 1000, src_pitch = row + hw_random(hw) % 1000;
            uint64_t dst = hw_random(hw) % 4096, src = hw_random(hw) % 4096;
            HW_OK(gpu_fill(b.stream.queue, b.dst, 0, ROOM, 0x01010101u * POISON));
            HW_OK(gpu_copy_2d(b.stream.queue, b.dst, dst, dst_pitch, b.src, src, src_pitch, row,
                              rows));
            HW_OK(gpu_copy(b.stream.queue, b.check, 0, b.dst, 0, ROOM));
            if (!hw_stream_finish(hw, &b.stream))
                return false;
            const uint8_t *got = b.check->cpu, *sent = b.input->cpu;
            for (uint64_t at = 0; at < rows * dst_pitch; at++) {
                uint64_t y = at / dst_pitch, x = at % dst_pitch;
                uint8_t wanted = x < row ? sent[src + y * src_pitch + x] : POISON;
                HW_CHECK(got[dst + at] == wanted,
                         "%s, %llu rows of %llu: row %llu byte %llu is wrong", directions[d].name,
                         (unsigned long long)rows, (unsigned long long)row, (unsigned long long)y,
                         (unsigned long long)x);
            }
        }
        close_bench(&b);
    }
    return true;
}

/* 1 byte to 4 GiB in each direction; the big ones are checked by summing 8-byte words on the CPU. */
static bool big_copies(struct hw *hw)
{
    const uint64_t most = hw->is_quick ? UINT64_C(256) << 20 : (UINT64_C(4) << 30) + 4097;
    struct hw_stream stream;
    struct gpu_buffer *host, *back, *a, *b;
    if (!hw_stream_open(hw, GPU_QUEUE_COPY, &stream) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, most, &host) ||
        !hw_alloc(hw, GPU_MEMORY_HOST, most, &back) || !hw_alloc(hw, GPU_MEMORY_VRAM, most, &a) ||
        !hw_alloc(hw, GPU_MEMORY_VRAM, most, &b))
        return false;
    hw_fill_random(hw, host->cpu, most);
    for (uint64_t size = 1; size <= most; size = size < most && size * 8 > most ? most : size * 8) {
        memset(back->cpu, POISON, min_u64(size + 8, most));
        HW_OK(gpu_copy(stream.queue, a, most - size, host, 0, size));
        HW_OK(gpu_copy(stream.queue, b, 0, a, most - size, size));
        HW_OK(gpu_copy(stream.queue, back, 0, b, 0, size));
        if (!hw_stream_finish(hw, &stream))
            return false;
        HW_CHECK(memcmp(host->cpu, back->cpu, size) == 0, "%llu bytes came back different",
                 (unsigned long long)size);
        HW_CHECK(size == most || ((uint8_t *)back->cpu)[size] == POISON,
                 "%llu bytes: one more was written", (unsigned long long)size);
    }
    hw_stream_close(&stream);
    gpu_free(host);
    gpu_free(back);
    gpu_free(a);
    gpu_free(b);
    return true;
}

static bool fills(struct hw *hw)
{
    for (int memory = 0; memory < 2; memory++) {
        struct bench b;
        if (!open_bench(hw, memory ? GPU_QUEUE_COPY : GPU_QUEUE_COMPUTE, &directions[memory], &b))
            return false;
        for (unsigned i = 0; i < 300; i++) {
            uint64_t words = 1 + hw_random(hw) % (i % 3 ? 100 : ROOM / 4);
            uint64_t first = hw_random(hw) % (ROOM / 4 - words + 1);
            uint32_t pattern = (uint32_t)hw_random(hw);
            HW_OK(gpu_fill(b.stream.queue, b.dst, 0, ROOM, ~pattern));
            HW_OK(gpu_fill(b.stream.queue, b.dst, first * 4, words * 4, pattern));
            HW_OK(gpu_copy(b.stream.queue, b.check, 0, b.dst, 0, ROOM));
            if (!hw_stream_finish(hw, &b.stream))
                return false;
            const uint32_t *got = b.check->cpu;
            for (uint64_t w = 0; w < ROOM / 4; w++) {
                uint32_t wanted = w >= first && w < first + words ? pattern : ~pattern;
                HW_CHECK(got[w] == wanted,
                         "fill of %llu words at %llu: word %llu is %08x, not %08x",
                         (unsigned long long)words, (unsigned long long)first,
                         (unsigned long long)w, got[w], wanted);
            }
        }
        close_bench(&b);
    }
    return true;
}

const struct hw_test hw_copy_tests[] = {
    {"1 byte to 64 KiB, every alignment, both kinds of queue, all directions", every_alignment},
    {"random sizes and offsets", random_copies},
    {"rows with pitches", copies_2d},
    {"1 byte to 4 GiB, there, across and back", big_copies},
    {"fills", fills},
    {NULL, NULL},
};
