/*
 * tests/host/machine.c: the rest of the hosted twin's machine: processor features, random bytes, register waits, device
 * mappings, and the end.
 */
#include <cpuid.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tests/host/host.h"

static struct cpu_features features;

static void find_features(void)
{
    __builtin_cpu_init();
    uint32_t brand[12] = {0};
    if (__get_cpuid_max(0x80000000, NULL) >= 0x80000004)
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002 + i, &brand[4 * i], &brand[4 * i + 1], &brand[4 * i + 2],
                        &brand[4 * i + 3]);
    memcpy(features.brand, brand, sizeof(brand));

    uint32_t eax, ebx = 0, ecx = 0, edx;
    __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
    features.sha_ni = ebx & bit_SHA;
    features.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    features.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    features.f16c = (ecx & bit_F16C) && __builtin_cpu_supports("avx");
}

const struct cpu_features *cpu_features(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_features);
    return &features;
}

void random_bytes(void *out, size_t size_bytes)
{
    for (uint8_t *at = out; size_bytes > 0;) {
        ssize_t got = getrandom(at, size_bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            panic("getrandom: errno %d", errno);
        at += got;
        size_bytes -= (size_t)got;
    }
}

int wait_reg32(const volatile void *reg, uint32_t mask, uint32_t want, uint64_t deadline_ns)
{
    for (;;) {
        bool is_late =
            time_ns() >= deadline_ns; /* before the read: a late yield still gets a last look */
        uint32_t value = mmio_read32(reg);
        if ((value & mask) == want)
            return 0;
        if (value == UINT32_MAX)
            return -ENODEV;
        if (is_late)
            return -ETIMEDOUT;
        task_yield();
    }
}

bool screen_leave(uint64_t pa, uint64_t size_bytes)
{
    (void)pa;
    (void)size_bytes;
    return false; /* a process has no screen */
}

/* Device memory at an address of this process, as pci_map_bar() and dma_addr() give it out. */
volatile void *mmio_map(uint64_t pa, uint64_t size_bytes, enum cache_mode mode)
{
    (void)mode;
    return size_bytes == 0 ? NULL : (volatile void *)(uintptr_t)pa;
}

void mmio_unmap(volatile void *va, uint64_t size_bytes)
{
    (void)va;
    (void)size_bytes;
}

_Noreturn void machine_restart(void)
{
    exit(0);
}

_Noreturn void machine_power_off(void)
{
    exit(0);
}
