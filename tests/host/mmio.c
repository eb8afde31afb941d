/*
 * tests/host/mmio.c: device registers of the hosted twin are plain memory. A unit test with a fake device defines
 * all eight functions itself, in a file of its own, and then this one is not linked; that is why nothing else stands
 * here.
 */
#include "kernel/kernel.h"

uint8_t mmio_read8(const volatile void *reg)
{
    return *(const volatile uint8_t *)reg;
}

uint16_t mmio_read16(const volatile void *reg)
{
    return *(const volatile uint16_t *)reg;
}

uint32_t mmio_read32(const volatile void *reg)
{
    return *(const volatile uint32_t *)reg;
}

uint64_t mmio_read64(const volatile void *reg)
{
    return *(const volatile uint64_t *)reg;
}

void mmio_write8(volatile void *reg, uint8_t value)
{
    *(volatile uint8_t *)reg = value;
}

void mmio_write16(volatile void *reg, uint16_t value)
{
    *(volatile uint16_t *)reg = value;
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    *(volatile uint32_t *)reg = value;
}

void mmio_write64(volatile void *reg, uint64_t value)
{
    *(volatile uint64_t *)reg = value;
}
