/*
 * apps/selftest/reference.c: references for element types, statistics and the checksum.
 */
#include "apps/selftest/reference.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"

/* A float of `exponent_bits` and `mantissa_bits` below a sign bit, read as IEEE 754 does. */
static double decode(uint64_t bits, int exponent_bits, int mantissa_bits)
{
    uint64_t mantissa = bits & (BIT(mantissa_bits) - 1);
    int exponent = (int)(bits >> mantissa_bits & (BIT(exponent_bits) - 1));
    int bias = (1 << (exponent_bits - 1)) - 1;
    double sign = bits >> (exponent_bits + mantissa_bits) & 1 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1)
        return mantissa != 0 ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp((double)mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp((double)(mantissa | BIT(mantissa_bits)), exponent - bias - mantissa_bits);
}

static uint64_t little_endian(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static int64_t sign_extend(uint64_t value, int bits)
{
    return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

static double f64(const uint8_t *at, uint32_t j)
{
    return decode(little_endian(at, 8), 11, 52);
}
static double f32(const uint8_t *at, uint32_t j)
{
    return decode(little_endian(at, 4), 8, 23);
}
static double f16(const uint8_t *at, uint32_t j)
{
    return decode(little_endian(at, 2), 5, 10);
}
static double bf16(const uint8_t *at, uint32_t j)
{
    return decode(little_endian(at, 2), 8, 7);
}
static double f8_e5m2(const uint8_t *at, uint32_t j)
{
    return decode(at[0], 5, 2);
}
static double f8_e4m3(const uint8_t *at, uint32_t j)
{
    int exponent = at[0] >> 3 & 15, mantissa = at[0] & 7;
    double sign = at[0] & 0x80 ? -1.0 : 1.0;
    if (exponent == 15 && mantissa == 7)
        return NAN;
    return sign * (exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10));
}
static double f8_e8m0(const uint8_t *at, uint32_t j)
{
    return at[0] == 255 ? NAN : ldexp(1.0, at[0] - 127);
}
static double i64(const uint8_t *at, uint32_t j)
{
    return (double)sign_extend(little_endian(at, 8), 64);
}
static double i32(const uint8_t *at, uint32_t j)
{
    return (double)sign_extend(little_endian(at, 4), 32);
}
static double i16(const uint8_t *at, uint32_t j)
{
    return (double)sign_extend(little_endian(at, 2), 16);
}
static double i8(const uint8_t *at, uint32_t j)
{
    return (double)sign_extend(at[0], 8);
}
static double u64(const uint8_t *at, uint32_t j)
{
    return (double)little_endian(at, 8);
}
static double u32(const uint8_t *at, uint32_t j)
{
    return (double)little_endian(at, 4);
}
static double u16(const uint8_t *at, uint32_t j)
{
    return (double)little_endian(at, 2);
}
static double u8(const uint8_t *at, uint32_t j)
{
    return at[0];
}
static double bool8(const uint8_t *at, uint32_t j)
{
    return at[0] != 0;
}

/* Nibble j of 16 bytes: elements 0 to 15 in the low halves. */
static int low_bits(const uint8_t *at, uint32_t j)
{
    return j / 16 == 0 ? at[j] % 16 : at[j - 16] / 16;
}
static int fifth_bit(const uint8_t *at, uint32_t j)
{
    return at[j / 8] >> (j % 8) & 1;
}
/* Scales multiply in single precision, as the format's definition has it. */
static double q4_0(const uint8_t *at, uint32_t j)
{
    return (float)f16(at, 0) * (float)(low_bits(at + 2, j) - 8);
}
static double q4_1(const uint8_t *at, uint32_t j)
{
    return f16(at, 0) * low_bits(at + 4, j) + f16(at + 2, 0);
}
static double q5_0(const uint8_t *at, uint32_t j)
{
    return (float)f16(at, 0) * (float)(low_bits(at + 6, j) + 16 * fifth_bit(at + 2, j) - 16);
}
static double q5_1(const uint8_t *at, uint32_t j)
{
    return f16(at, 0) * (low_bits(at + 8, j) + 16 * fifth_bit(at + 4, j)) + f16(at + 2, 0);
}
static double q8_0(const uint8_t *at, uint32_t j)
{
    return (float)f16(at, 0) * (float)sign_extend(at[2 + j], 8);
}

const struct reference_type *reference_type_get(unsigned index)
{
    static const struct reference_type types[] = {
        {"f64", 1, 8, f64, true},          {"f32", 1, 4, f32, true},
        {"f16", 1, 2, f16, false},         {"bf16", 1, 2, bf16, true},
        {"f8_e4m3", 1, 1, f8_e4m3, false}, {"f8_e5m2", 1, 1, f8_e5m2, false},
        {"f8_e8m0", 1, 1, f8_e8m0, false}, {"i64", 1, 8, i64, false},
        {"i32", 1, 4, i32, false},         {"i16", 1, 2, i16, false},
        {"i8", 1, 1, i8, false},           {"u64", 1, 8, u64, false},
        {"u32", 1, 4, u32, false},         {"u16", 1, 2, u16, false},
        {"u8", 1, 1, u8, false},           {"bool8", 1, 1, bool8, false},
        {"q4_0", 32, 18, q4_0, false},     {"q4_1", 32, 20, q4_1, false},
        {"q5_0", 32, 22, q5_0, false},     {"q5_1", 32, 24, q5_1, false},
        {"q8_0", 32, 34, q8_0, false},
    };
    return index < ARRAY_COUNT(types) ? &types[index] : NULL;
}

double reference_value(const struct reference_type *type, const uint8_t *data, uint64_t i)
{
    return type->value(data + i / type->block_elements * type->block_bytes,
                       (uint32_t)(i % type->block_elements));
}

/* In two passes: the mean is known before a distance from it is squared. */
struct stats_partial reference_stats(const struct reference_type *type, const uint8_t *data,
                                     uint64_t count)
{
    struct stats_partial stats = {.minimum = INFINITY, .maximum = -INFINITY};
    double sum = 0.0;
    for (uint64_t i = 0; i < count; i++) {
        double x = reference_value(type, data, i);
        stats.nan_count += isnan(x);
        stats.infinite_count += isinf(x) != 0;
        if (!isfinite(x))
            continue;
        stats.finite_count++;
        stats.minimum = fmin(stats.minimum, x);
        stats.maximum = fmax(stats.maximum, x);
        sum += x;
    }
    if (stats.finite_count == 0)
        return stats;
    stats.mean = sum / (double)stats.finite_count;
    for (uint64_t i = 0; i < count; i++) {
        double x = reference_value(type, data, i);
        if (isfinite(x))
            stats.m2 += (x - stats.mean) * (x - stats.mean);
    }
    return stats;
}

uint64_t reference_checksum(const uint8_t *data, uint64_t size_bytes)
{
    uint64_t sum = 0;
    for (uint64_t at = 0; at < size_bytes; at += 8) {
        int bytes = size_bytes - at < 8 ? (int)(size_bytes - at) : 8;
        sum += mix64(little_endian(data + at, bytes) + (at / 8 + 1) * MIX64_STEP);
    }
    return sum;
}
