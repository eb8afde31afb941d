/*
 * gpu/kernels/elements.h: readers for the element types of weight files. value_TYPE(data, i) is element i as a number.
 *
 * Sources: IEEE 754 binary16; OCP 8-bit Floating Point Specification 1.0 (E4M3 without infinities, E5M2) and OCP
 * Microscaling 1.0 (E8M0); ggml's block types: 32 elements with one binary16 scale in front, low nibbles first. Data may
 * lie at any address.
 */
#ifndef INGOT_GPU_ELEMENTS_H
#define INGOT_GPU_ELEMENTS_H

#include "gpu/kernels/kernel.h"

static inline const uint8_t *byte_at(const void *data, uint64_t offset)
{
    return (const uint8_t *)data + offset;
}

/* binary16 to binary32 without branches and without touching a subnormal, which CPUs are slow at. */
static inline float float_of_half(uint16_t half)
{
    const uint32_t exponent_mask = 0x7c00u << 13;
    uint32_t bits = (half & 0x7fffu) << 13;
    uint32_t exponent = bits & exponent_mask;
    bits += (127u - 15u) << 23;
    uint32_t special = bits + ((128u - 16u) << 23); /* infinity and NaN keep an exponent of all ones */
    /* A subnormal half is m * 2^-24: put m behind an implied one of 2^-14, then take that away. */
    float subnormal = float_of_bits(bits + (1u << 23)) - float_of_bits(113u << 23);
    uint32_t subnormal_bits;
    __builtin_memcpy(&subnormal_bits, &subnormal, sizeof(subnormal_bits));
    bits = exponent == exponent_mask ? special : exponent == 0 ? subnormal_bits : bits;
    return float_of_bits(bits | (half & 0x8000u) << 16);
}

static inline double value_f64(const void *data, uint64_t i)
{
    return double_of_bits(load_u64(byte_at(data, i * 8)));
}

static inline float value_f32(const void *data, uint64_t i)
{
    return float_of_bits(load_u32(byte_at(data, i * 4)));
}

static inline float value_f16(const void *data, uint64_t i)
{
    return float_of_half(load_u16(byte_at(data, i * 2)));
}

static inline float value_bf16(const void *data, uint64_t i)
{
    return float_of_bits((uint32_t)load_u16(byte_at(data, i * 2)) << 16);
}

/* 1 sign, 4 exponent (bias 7), 3 mantissa bits; all ones is NaN, there is no infinity. */
static inline float value_f8_e4m3(const void *data, uint64_t i)
{
    uint32_t byte = load_u8(byte_at(data, i));
    uint32_t bits = (byte & 0x7f) << 20;
    uint32_t normal = bits + ((127u - 7u) << 23);
    float subnormal = float_of_bits(bits + (121u << 23)) - float_of_bits(121u << 23);
    float magnitude = (byte & 0x78) == 0 ? subnormal : float_of_bits(normal);
    magnitude = (byte & 0x7f) == 0x7f ? __builtin_nanf("") : magnitude;
    return byte & 0x80 ? -magnitude : magnitude;
}

/* The upper half of a binary16. */
static inline float value_f8_e5m2(const void *data, uint64_t i)
{
    return float_of_half((uint16_t)(load_u8(byte_at(data, i)) << 8));
}

/* A power of two: 2^(byte - 127); 255 is NaN. 2^-127 is a subnormal float. */
static inline float value_f8_e8m0(const void *data, uint64_t i)
{
    uint32_t byte = load_u8(byte_at(data, i));
    uint32_t bits = byte == 0 ? 1u << 22 : byte == 255 ? 0x7fc00000u : byte << 23;
    return float_of_bits(bits);
}

static inline double value_i64(const void *data, uint64_t i)
{
    return (double)(int64_t)load_u64(byte_at(data, i * 8));
}

static inline double value_i32(const void *data, uint64_t i)
{
    return (double)(int32_t)load_u32(byte_at(data, i * 4));
}

static inline float value_i16(const void *data, uint64_t i)
{
    return (float)(int16_t)load_u16(byte_at(data, i * 2));
}

static inline float value_i8(const void *data, uint64_t i)
{
    return (float)(int8_t)load_u8(byte_at(data, i));
}

static inline double value_u64(const void *data, uint64_t i)
{
    return (double)load_u64(byte_at(data, i * 8));
}

static inline double value_u32(const void *data, uint64_t i)
{
    return (double)load_u32(byte_at(data, i * 4));
}

static inline float value_u16(const void *data, uint64_t i)
{
    return (float)load_u16(byte_at(data, i * 2));
}

static inline float value_u8(const void *data, uint64_t i)
{
    return (float)load_u8(byte_at(data, i));
}

static inline float value_bool8(const void *data, uint64_t i)
{
    return load_u8(byte_at(data, i)) != 0 ? 1.0f : 0.0f;
}

/* ---- ggml blocks of 32 ---- */

/* Element j of 32 nibbles in 16 bytes: the low halves are elements 0..15, the high halves 16..31. */
static inline uint32_t nibble(const uint8_t *bytes, uint32_t j)
{
    uint32_t byte = bytes[j & 15];
    return j < 16 ? byte & 15 : byte >> 4;
}

/* scale f16, 16 bytes of nibbles; q - 8 */
static inline float value_q4_0(const void *data, uint64_t i)
{
    const uint8_t *block = byte_at(data, i / 32 * 18);
    return float_of_half(load_u16(block)) * (float)((int32_t)nibble(block + 2, i % 32) - 8);
}

/* scale f16, minimum f16, nibbles */
static inline float value_q4_1(const void *data, uint64_t i)
{
    const uint8_t *block = byte_at(data, i / 32 * 20);
    return float_of_half(load_u16(block)) * (float)nibble(block + 4, i % 32) + float_of_half(load_u16(block + 2));
}

/* scale f16, 32 fifth bits, nibbles; q - 16 */
static inline float value_q5_0(const void *data, uint64_t i)
{
    const uint8_t *block = byte_at(data, i / 32 * 22);
    uint32_t high = load_u32(block + 2) >> i % 32 & 1;
    return float_of_half(load_u16(block)) * (float)((int32_t)(nibble(block + 6, i % 32) | high << 4) - 16);
}

/* scale f16, minimum f16, 32 fifth bits, nibbles */
static inline float value_q5_1(const void *data, uint64_t i)
{
    const uint8_t *block = byte_at(data, i / 32 * 24);
    uint32_t high = load_u32(block + 4) >> i % 32 & 1;
    return float_of_half(load_u16(block)) * (float)(nibble(block + 8, i % 32) | high << 4) +
           float_of_half(load_u16(block + 2));
}

/* scale f16, 32 signed bytes */
static inline float value_q8_0(const void *data, uint64_t i)
{
    const uint8_t *block = byte_at(data, i / 32 * 34);
    return float_of_half(load_u16(block)) * (float)(int8_t)block[2 + i % 32];
}

#endif
