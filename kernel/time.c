/*
 * kernel/time.c: time from the time stamp counter (SDM 3B, 18.17), which counts at a constant rate on every
 * processor that this program supports, in step on all cores.
 *
 * Its rate comes from CPUID leaf 15H (and is then checked), else it is measured against the HPET (IA-PC HPET
 * 1.0a), the ACPI power management timer (ACPI 6.5, 4.8.3.3) or, last, the 8254 timer, which every PC has.
 */
#include "kernel/time.h"

#include "kernel/kernel.h"
#include "kernel/machine.h"
#include "kernel/x86.h"

#define PM_TIMER_HZ       UINT64_C(3579545)
#define PIT_HZ            UINT64_C(1193182)
#define PIT_CHANNEL_2     0x42
#define PIT_COMMAND       0x43
#define PIT_GATE          0x61 /* bit 0: gate of channel 2; bit 5: its output */
#define FEMTO_PER_S       UINT64_C(1000000000000000)

#define HPET_CAPABILITIES 0x00 /* bits 63..32: femtoseconds per tick */
#define HPET_COUNTER_64   BIT(13)
#define HPET_CONFIG       0x10
#define HPET_ENABLE       BIT(0)
#define HPET_COUNTER      0xf0

/* The measuring time: with a reference read to within 1 us, 10 ms give 100 ppm, and mostly there are far more. */
#define BASELINE_NS_MIN   (10 * NS_PER_MS)

static struct reference {
    const char *name; /* NULL: not looked for yet */
    uint64_t hz, mask;
    volatile char *hpet;
    uint16_t pm_port;
} reference;

static struct sample {
    uint64_t tsc, ticks;
    bool is_taken;
} first;

SEALED static uint64_t tsc_hz;
static const char *source = "nothing";
SEALED static uint64_t base_tsc;
SEALED static uint64_t ns_per_tick_32; /* nanoseconds per TSC tick, times 2^32; 0: not started */
static _Atomic int64_t wall_clock_offset_ns; /* wall clock - time_ns(); 0: unknown */

/* ---- clocks of known speed --------------------------------------------------------------------------------------- */

static uint64_t reference_read(void)
{
    if (reference.hpet != NULL)
        return reference.mask == UINT64_MAX ? *(volatile uint64_t *)(reference.hpet + HPET_COUNTER)
                                            : *(volatile uint32_t *)(reference.hpet + HPET_COUNTER);
    return port_read32(reference.pm_port) & reference.mask;
}

static bool hpet_find(void)
{
    const uint8_t *table = acpi_table_find("HPET", 0);
    uint64_t pa = 0;
    if (table == NULL || *(const uint32_t *)(const void *)(table + 4) < 56 ||
        table[40] != 0) /* in memory, not in ports */
        return false;
    __builtin_memcpy(&pa, table + 44, 8);
    if (pa == 0 || pa % 1024 != 0 || pa >> 32 != 0)
        return false;
    volatile char *hpet = (volatile char *)pa;
    uint64_t capabilities = *(volatile uint64_t *)(hpet + HPET_CAPABILITIES);
    uint64_t femtoseconds = capabilities >> 32;
    if (femtoseconds == 0 || femtoseconds > 100000000) /* the specification's limit: 100 ns */
        return false;
    *(volatile uint64_t *)(hpet + HPET_CONFIG) |= HPET_ENABLE;
    reference =
        (struct reference){"HPET", FEMTO_PER_S / femtoseconds,
                           capabilities & HPET_COUNTER_64 ? UINT64_MAX : UINT32_MAX, hpet, 0};
    uint64_t before = reference_read();
    for (int i = 0; i < 1000; i++) {
        if (reference_read() != before)
            return true;
    }
    return false; /* it does not count */
}

static bool pm_timer_find(void)
{
    const uint8_t *fadt = acpi_table_find("FACP", 0);
    uint32_t port = 0, flags = 0;
    if (fadt == NULL || *(const uint32_t *)(const void *)(fadt + 4) < 116)
        return false;
    __builtin_memcpy(&port, fadt + 76, 4);   /* PM_TMR_BLK */
    __builtin_memcpy(&flags, fadt + 112, 4); /* bit 8: the counter has 32 bits, not 24 */
    if (port == 0 || port > 0xffff)
        return false;
    reference = (struct reference){"ACPI timer", PM_TIMER_HZ,
                                   flags & BIT(8) ? UINT32_MAX : 0xffffff, NULL, (uint16_t)port};
    uint64_t before = reference_read();
    for (int i = 0; i < 1000; i++) {
        if (reference_read() != before)
            return true;
    }
    return false;
}

/* Both clocks at one moment: of several tries the one during which the least time passed. */
static struct sample sample_take(void)
{
    struct sample best = {.is_taken = true};
    uint64_t shortest = UINT64_MAX;
    for (int i = 0; i < 8; i++) {
        uint64_t before = tsc_read();
        uint64_t ticks = reference_read();
        uint64_t after = tsc_read();
        if (after - before < shortest) {
            shortest = after - before;
            best.tsc = before + (after - before) / 2;
            best.ticks = ticks;
        }
    }
    return best;
}

void time_sample_early(void)
{
    if (reference.name == NULL && !hpet_find() && !pm_timer_find())
        reference = (struct reference){.name = "none"};
    if (reference.hz == 0)
        return;
    /* A narrow counter wraps: start afresh when, at 0.8 GHz or more, half that time may have passed. */
    struct sample now = sample_take();
    bool may_wrap = reference.mask != UINT64_MAX &&
                    now.tsc - first.tsc > reference.mask / reference.hz * UINT64_C(400000000);
    if (!first.is_taken || may_wrap)
        first = now;
}

static uint64_t hz_from_reference(void)
{
    if (reference.hz == 0)
        return 0;
    struct sample now;
    uint64_t ticks;
    do {
        now = sample_take();
        ticks = (now.ticks - first.ticks) & reference.mask;
    } while (ticks < reference.hz * BASELINE_NS_MIN / NS_PER_S);
    return (uint64_t)((unsigned __int128)(now.tsc - first.tsc) * reference.hz / ticks);
}

/* Count 10 ms down on channel 2 of the 8254 (Intel 231164, mode 0). */
static uint64_t hz_from_pit(void)
{
    const uint16_t count = PIT_HZ / 100;
    port_write8(PIT_GATE, (port_read8(PIT_GATE) & ~2) | 1); /* gate open, loudspeaker off */
    port_write8(PIT_COMMAND, 0xb0);                         /* channel 2, both bytes, mode 0 */
    port_write8(PIT_CHANNEL_2, count & 0xff);
    port_write8(PIT_CHANNEL_2, count >> 8);
    uint64_t start = tsc_read();
    while (!(port_read8(PIT_GATE) & 0x20)) {
        if (tsc_read() - start > UINT64_C(10000000000))
            return 0; /* over a second at any speed: there is no such timer */
    }
    return (tsc_read() - start) * PIT_HZ / count;
}

static uint64_t hz_from_cpuid(void)
{
    if (cpuid(0, 0).eax < 0x15)
        return 0;
    struct cpuid ratio = cpuid(0x15, 0); /* eax: denominator, ebx: numerator, ecx: crystal in Hz */
    if (ratio.eax == 0 || ratio.ebx == 0 || ratio.ecx == 0)
        return 0;
    return (uint64_t)ratio.ecx * ratio.ebx / ratio.eax;
}

void time_start(uint64_t exit_tsc, uint64_t entry_tsc, int64_t entry_wall_clock_ns)
{
    uint64_t stated = hz_from_cpuid(), measured = hz_from_reference();
    if (measured == 0 && stated == 0)
        measured = hz_from_pit();
    tsc_hz = stated;
    source = "CPUID";
    bool is_contradicted =
        measured != 0 && (stated > measured + measured / 100 || stated < measured - measured / 100);
    if (stated == 0 || is_contradicted) {
        tsc_hz = measured;
        source = reference.hz != 0 ? reference.name : "8254 timer";
    }
    if (tsc_hz <
        100000000) { /* no 64-bit processor counts that slowly: nothing could be measured */
        tsc_hz = UINT64_C(2000000000);
        source = "a guess";
    }
    base_tsc = exit_tsc;
    ns_per_tick_32 = (uint64_t)(((unsigned __int128)NS_PER_S << 32) / tsc_hz);
    if (stated != 0 && is_contradicted)
        log_warn("time: CPUID says the TSC runs at %llu Hz, the %s says %llu: believing the latter",
                 (unsigned long long)stated, source, (unsigned long long)measured);
    if (entry_wall_clock_ns != 0) {
        uint64_t since_entry =
            (uint64_t)((unsigned __int128)(exit_tsc - entry_tsc) * NS_PER_S / tsc_hz);
        atomic_store(&wall_clock_offset_ns, entry_wall_clock_ns + (int64_t)since_entry);
    }
}

/* ---- the door ---------------------------------------------------------------------------------------------------- */

uint64_t time_ns(void)
{
    return (uint64_t)((unsigned __int128)(tsc_read() - base_tsc) * ns_per_tick_32 >> 32);
}

uint64_t time_ns_to_tsc(uint64_t ns)
{
    return base_tsc + (uint64_t)((unsigned __int128)ns * tsc_hz / NS_PER_S);
}

uint64_t time_tsc_hz(void)
{
    return tsc_hz;
}

const char *time_source(void)
{
    return source;
}

int64_t wall_clock_ns(void)
{
    int64_t offset = atomic_load(&wall_clock_offset_ns);
    return offset == 0 ? 0 : offset + (int64_t)time_ns();
}

void wall_clock_set_ns(int64_t now)
{
    atomic_store(&wall_clock_offset_ns, now - (int64_t)time_ns());
}

void time_spin_ns(uint64_t ns)
{
    assert(ns <= NS_PER_MS);
    uint64_t end = time_ns() + ns;
    while (time_ns() < end)
        cpu_pause();
}
