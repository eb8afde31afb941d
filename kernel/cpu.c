/*
 * kernel/cpu.c: what each core enables for itself: segments and task state, protection bits, vector state, and
 * its area with thread-local variables. Intel SDM volume 3A chapters 2, 3.4, 8.7 and 13; volume 2A, CPUID.
 */
#include <string.h>

#include "kernel/core.h"
#include "kernel/image.h"
#include "kernel/interrupt.h"
#include "kernel/paging.h"
#include "kernel/x86.h"

#define TLS_BYTES_MAX     4096 /* the linker script checks it */
#define EARLY_STACK_BYTES 8192

#define MXCSR_DEFAULT     0x1f80 /* all exceptions masked, round to nearest */

/* Descriptors (SDM 3A, 3.4.5): present, ring 0, type; the TSS one is 16 bytes (8.2.3). */
#define DESCRIPTOR_CODE   UINT64_C(0x00af9b000000ffff)
#define DESCRIPTOR_DATA   UINT64_C(0x00cf93000000ffff)
#define DESCRIPTOR_TSS    UINT64_C(0x0000890000000000)

SEALED struct core *core_table[CORE_MAX];
SEALED struct cpu_facts cpu_facts;

SEALED static struct cpu_features features;
SEALED static uint64_t cr4_wanted, xcr0_wanted;

/* The first core's area exists before there is any memory to allocate, and so do its first exception stacks. */
static _Alignas(64) char first_area[TLS_BYTES_MAX + sizeof(struct core)];
static _Alignas(16) char early_stack[EARLY_STACK_BYTES];

/* ---- areas ----------------------------------------------------------------------------------------------------- */

size_t core_area_bytes(void)
{
    return image_tls_bytes + sizeof(struct core);
}

__attribute__((no_stack_protector)) static struct core *area_build(char *memory, uint64_t guard)
{
    const char *from = image_tls;
    size_t count = (size_t)(image_tls_end - image_tls);
    char *to = memory;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    struct core *core = (struct core *)(memory + image_tls_bytes);
    core->self = core;
    core->stack_guard =
        guard & ~UINT64_C(0xff); /* a zero byte first: a string that runs over cannot carry it */
    core->timer_deadline_ns = DEADLINE_NEVER;
    return core;
}

struct core *core_area_build(void *memory, uint64_t guard)
{
    return area_build(memory, guard);
}

__attribute__((no_stack_protector)) void core_area_start(uint64_t guard)
{
    core_table[0] = area_build(first_area, guard);
    msr_write(MSR_FS_BASE, (uint64_t)core_table[0]);
}

unsigned core_current(void)
{
    unsigned index;
    __asm__ volatile("mov %%fs:8, %0" : "=r"(index));
    return index;
}

/* ---- what the processor can do --------------------------------------------------------------------------------- */

static void brand_read(char *out)
{
    if (cpuid(0x80000000, 0).eax < 0x80000004) {
        memcpy(out, "x86-64 processor", 17);
        return;
    }
    char text[49];
    for (uint32_t i = 0; i < 3; i++) {
        struct cpuid r = cpuid(0x80000002 + i, 0);
        memcpy(text + 16 * i, &r, 16);
    }
    text[48] = '\0';
    const char *start = text;
    while (*start == ' ')
        start++;
    size_t n = 0;
    for (; start[n] != '\0'; n++)
        out[n] = start[n] >= ' ' && start[n] < 127 ? start[n] : '?';
    out[n] = '\0';
}

void cpu_detect(void)
{
    uint32_t leaf_max = cpuid(0, 0).eax;
    uint32_t extended_max = cpuid(0x80000000, 0).eax;
    struct cpuid one = cpuid(1, 0);
    struct cpuid seven = leaf_max >= 7 ? cpuid(7, 0) : (struct cpuid){0};
    struct cpuid extended = extended_max >= 0x80000001 ? cpuid(0x80000001, 0) : (struct cpuid){0};

    brand_read(features.brand);
    cpu_facts.has_1g_pages = extended.edx & BIT(26);
    cpu_facts.has_x2apic = one.ecx & BIT(21);
    cpu_facts.has_tsc_deadline = one.ecx & BIT(24);
    cpu_facts.has_rdrand = one.ecx & BIT(30);
    cpu_facts.has_rdseed = seven.ebx & BIT(18);
    cpu_facts.is_virtual = one.ecx & BIT(31);
    cpu_facts.physical_bits = extended_max >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xff : 36;

    cr4_wanted = CR4_PAE | CR4_DE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (seven.ebx & BIT(7))
        cr4_wanted |= CR4_SMEP;
    if (seven.ebx & BIT(20))
        cr4_wanted |= CR4_SMAP;
    if (seven.ecx & BIT(2))
        cr4_wanted |= CR4_UMIP;
    if (seven.ebx & BIT(0))
        cr4_wanted |= CR4_FSGSBASE;

    /* Vector state: only what both CPUID.0DH reports as XCR0 bits and a use of ours needs (SDM 1, 13.3). */
    if (one.ecx & BIT(26) && leaf_max >= 0xd) {
        struct cpuid state = cpuid(0xd, 0);
        uint64_t possible = (uint64_t)state.edx << 32 | state.eax;
        cr4_wanted |= CR4_OSXSAVE;
        xcr0_wanted = XCR0_X87 | XCR0_SSE;
        if (one.ecx & BIT(28) && possible & XCR0_AVX)
            xcr0_wanted |= XCR0_AVX;
        if (xcr0_wanted & XCR0_AVX && seven.ebx & BIT(16) &&
            (possible & XCR0_AVX512) == XCR0_AVX512)
            xcr0_wanted |= XCR0_AVX512;
    }
    bool has_avx = xcr0_wanted & XCR0_AVX;
    features.f16c = has_avx && one.ecx & BIT(29);
    features.avx2_fma = has_avx && seven.ebx & BIT(5) && one.ecx & BIT(12) && features.f16c;
    uint32_t avx512_bits =
        BIT(16) | BIT(17) | BIT(30) | BIT(31); /* F, DQ, BW, VL: what the kernels are built for */
    features.avx512 =
        features.avx2_fma && xcr0_wanted & BIT(7) && (seven.ebx & avx512_bits) == avx512_bits;
    features.sha_ni =
        seven.ebx & BIT(29) && one.ecx & BIT(19) && one.ecx & BIT(9); /* with SSE4.1 and SSSE3 */
}

const struct cpu_features *cpu_features(void)
{
    return &features;
}

/* ---- per core -------------------------------------------------------------------------------------------------- */

static void segments_load(struct core *core)
{
    uint64_t tss = (uint64_t)&core->tss;
    core->gdt[0] = 0;
    core->gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE;
    core->gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    core->gdt[SELECTOR_TSS / 8] = DESCRIPTOR_TSS | (sizeof(core->tss) - 1) |
                                  (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
    core->gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
    core->tss.io_map_base = sizeof(core->tss); /* no I/O permission map */

    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } gdtr = {sizeof(core->gdt) - 1, (uint64_t)core->gdt};
    /*
     * FS and GS keep their selectors: loading one would clear its base, and in long mode nothing else looks at
     * them.
     */
    __asm__ volatile("lgdt %0\n\t"
                     "pushq %1\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "mov %2, %%ds\n\t"
                     "mov %2, %%es\n\t"
                     "mov %2, %%ss\n\t"
                     "ltr %w3"
                     :
                     : "m"(gdtr), "i"(SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(SELECTOR_TSS)
                     : "rax", "memory");
}

bool cpu_stacks_allocate(struct core *core)
{
    static const unsigned bytes[IST_COUNT] = {[IST_DOUBLE_FAULT] = 16384,
                                              [IST_NMI] = 8192,
                                              [IST_MACHINE_CHECK] = 16384,
                                              [IST_EXCEPTION] = 16384,
                                              [IST_INTERRUPT] = 16384};
    for (unsigned slot = 1; slot < IST_COUNT; slot++) {
        char *stack = stack_alloc(bytes[slot]);
        if (stack == NULL)
            return false;
        core->ist_low[slot] = (uint64_t)stack;
        core->ist_high[slot] = (uint64_t)stack + bytes[slot];
        core->tss.ist[slot - 1] = core->ist_high[slot];
    }
    return true;
}

void cpu_start(struct core *core)
{
    if (core->tss.ist[0] ==
        0) { /* the first core, before there is memory: one stack for all, without a guard page */
        for (unsigned slot = 1; slot < IST_COUNT; slot++) {
            core->ist_low[slot] = (uint64_t)early_stack;
            core->ist_high[slot] = (uint64_t)early_stack + sizeof(early_stack);
            core->tss.ist[slot - 1] = core->ist_high[slot];
        }
    }
    segments_load(core);
    interrupt_table_load();

    msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_NXE);
    cr0_write((cr0_read() & ~(CR0_EM | CR0_TS)) | CR0_WP | CR0_NE | CR0_MP);
    /* Paging with five levels cannot be switched off from long mode; everything else is as we want it. */
    cr4_write((cr4_read() & CR4_LA57) | cr4_wanted);
    if (xcr0_wanted != 0)
        xcr0_write(xcr0_wanted);
    uint32_t mxcsr = MXCSR_DEFAULT;
    __asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(mxcsr));
}
