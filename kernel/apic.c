/*
 * kernel/apic.c: local APIC, as x2APIC through MSRs where the processor has it, else as xAPIC through memory
 * (Intel SDM 3A, chapter 11). The I/O APICs and the two 8259s stay masked: every device we drive uses MSI-X.
 */
#include "kernel/apic.h"

#include "kernel/time.h"
#include "kernel/x86.h"

/* Register offsets of the xAPIC; the x2APIC's MSR is 0x800 + offset / 16 (11.12.1.2). */
#define APIC_ID            0x020
#define APIC_TASK_PRIORITY 0x080
#define APIC_EOI           0x0b0
#define APIC_SPURIOUS      0x0f0
#define APIC_ENABLE        BIT(8)
#define APIC_COMMAND       0x300 /* interrupt command register, low half in the xAPIC */
#define COMMAND_NMI        field_put(BITS(10, 8), 4)
#define COMMAND_INIT       field_put(BITS(10, 8), 5)
#define COMMAND_STARTUP    field_put(BITS(10, 8), 6)
#define COMMAND_PENDING    BIT(12)
#define COMMAND_ASSERT     BIT(14)
#define APIC_COMMAND_HIGH  0x310
#define APIC_LVT_TIMER     0x320
#define TIMER_TSC_DEADLINE field_put(BITS(18, 17), 2)
#define APIC_LVT_THERMAL   0x330
#define APIC_LVT_COUNTERS  0x340
#define APIC_LVT_LINT0     0x350
#define APIC_LVT_LINT1     0x360
#define APIC_LVT_ERROR     0x370
#define LVT_MASKED         BIT(16)
#define LVT_NMI            field_put(BITS(10, 8), 4)
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE  0x3e0
#define DIVIDE_BY_1        0xb

#define PIC_MASTER_DATA    0x21
#define PIC_SLAVE_DATA     0xa1

#define IO_APIC_SELECT     0x00
#define IO_APIC_WINDOW     0x10
#define IO_APIC_VERSION    1
#define IO_APIC_ENTRIES    16

static bool is_x2;
static volatile char *registers; /* xAPIC */
static uint64_t timer_hz;        /* of the counting timer */
static uint64_t measure_tsc;

static uint32_t read(unsigned offset)
{
    return is_x2 ? (uint32_t)msr_read(MSR_X2APIC + offset / 16)
                 : *(volatile uint32_t *)(registers + offset);
}

static void write(unsigned offset, uint32_t value)
{
    if (is_x2)
        msr_write(MSR_X2APIC + offset / 16, value);
    else
        *(volatile uint32_t *)(registers + offset) = value;
}

bool apic_is_x2(void)
{
    return is_x2;
}

uint32_t apic_id(void)
{
    return is_x2 ? read(APIC_ID) : read(APIC_ID) >> 24;
}

void apic_end_of_interrupt(void)
{
    write(APIC_EOI, 0);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

/* Firmware may have left timer or keyboard interrupts routed; nobody handles them here. */
static void io_apics_mask(void)
{
    const uint8_t *madt = acpi_table_find("APIC", 0);
    if (madt == NULL)
        return;
    uint32_t bytes = *(const uint32_t *)(const void *)(madt + 4);
    for (uint32_t at = 44; at + 2 <= bytes && madt[at + 1] >= 2 && at + madt[at + 1] <= bytes;
         at += madt[at + 1]) {
        uint32_t pa;
        if (madt[at] != 1 || madt[at + 1] < 12) /* type 1: I/O APIC */
            continue;
        __builtin_memcpy(&pa, madt + at + 4, 4);
        volatile char *io = mmio_map(pa, 32, CACHE_UNCACHED);
        if (io == NULL)
            continue;
        mmio_write32(io + IO_APIC_SELECT, IO_APIC_VERSION);
        unsigned last = mmio_read32(io + IO_APIC_WINDOW) >> 16 & 0xff;
        for (unsigned i = 0; i <= last; i++) {
            mmio_write32(io + IO_APIC_SELECT, IO_APIC_ENTRIES + 2 * i);
            mmio_write32(io + IO_APIC_WINDOW, LVT_MASKED);
        }
        mmio_unmap(io, 32);
    }
}

void apic_start(void)
{
    port_write8(PIC_MASTER_DATA, 0xff);
    port_write8(PIC_SLAVE_DATA, 0xff);
    io_apics_mask();
    uint64_t base = msr_read(MSR_APIC_BASE);
    is_x2 = cpu_facts.has_x2apic || base & APIC_BASE_X2APIC;
    if (!is_x2) {
        registers = mmio_map(base & APIC_BASE_ADDRESS, PAGE_SIZE, CACHE_UNCACHED);
        if (registers == NULL)
            panic("the local APIC at %#llx cannot be mapped",
                  (unsigned long long)(base & APIC_BASE_ADDRESS));
    }
}

void apic_start_core(void)
{
    uint64_t base = msr_read(MSR_APIC_BASE) | APIC_BASE_ENABLE;
    msr_write(MSR_APIC_BASE, base); /* x2APIC mode can be entered only from xAPIC mode (11.12.5) */
    if (is_x2)
        msr_write(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
    write(APIC_SPURIOUS, APIC_ENABLE | VECTOR_SPURIOUS);
    write(APIC_TASK_PRIORITY, 0);
    write(APIC_LVT_LINT0, LVT_MASKED);
    write(APIC_LVT_LINT1, LVT_NMI);
    write(APIC_LVT_ERROR, LVT_MASKED | VECTOR_SPURIOUS);
    write(APIC_LVT_COUNTERS, LVT_MASKED | VECTOR_SPURIOUS);
    write(APIC_LVT_THERMAL, LVT_MASKED | VECTOR_SPURIOUS);
    write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    write(APIC_LVT_TIMER, VECTOR_TIMER | (cpu_facts.has_tsc_deadline ? TIMER_TSC_DEADLINE : 0));
    if (!is_x2)
        dma_mb(); /* the mode must be set before the first write of the deadline MSR (11.5.4.1) */
    core_self()->apic_id = apic_id();
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static void send(uint32_t to, uint64_t command)
{
    if (is_x2) {
        dma_mb(); /* unlike stores to the xAPIC, this MSR write is not ordered after earlier stores (11.12.3) */
        msr_write(MSR_X2APIC + APIC_COMMAND / 16, (uint64_t)to << 32 | command);
        return;
    }
    uint64_t flags = interrupts_save(); /* two registers that an interrupt handler may want, too */
    for (int i = 0; i < 100000 && read(APIC_COMMAND) & COMMAND_PENDING; i++)
        cpu_pause();
    write(APIC_COMMAND_HIGH, to << 24);
    write(APIC_COMMAND, (uint32_t)command);
    interrupts_restore(flags);
}

void apic_send(uint32_t to, unsigned vector)
{
    send(to, COMMAND_ASSERT | vector);
}

void apic_send_nmi(uint32_t to)
{
    send(to, COMMAND_ASSERT | COMMAND_NMI);
}

void apic_send_init(uint32_t to)
{
    send(to, COMMAND_ASSERT | COMMAND_INIT);
}

void apic_send_startup(uint32_t to, uint64_t page_pa)
{
    assert(page_pa % PAGE_SIZE == 0 && page_pa < UINT64_C(0x100000));
    send(to, COMMAND_ASSERT | COMMAND_STARTUP | page_pa / PAGE_SIZE);
}

/* ---- timer ------------------------------------------------------------------------------------------------------- */

void apic_timer_measure_begin(void)
{
    if (cpu_facts.has_tsc_deadline)
        return;
    write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    measure_tsc = tsc_read();
    write(APIC_TIMER_INITIAL, UINT32_MAX);
}

void apic_timer_measure_end(void)
{
    if (cpu_facts.has_tsc_deadline)
        return;
    uint64_t ticks_wanted =
        time_tsc_hz() / 5000; /* 200 us: 1% is enough, as whoever wakes looks at the time */
    while (tsc_read() - measure_tsc < ticks_wanted)
        cpu_pause();
    uint32_t counted = UINT32_MAX - read(APIC_TIMER_CURRENT);
    uint64_t tsc_passed = tsc_read() - measure_tsc;
    write(APIC_TIMER_INITIAL, 0);
    write(APIC_LVT_TIMER, VECTOR_TIMER);
    timer_hz = (uint64_t)((unsigned __int128)counted * time_tsc_hz() / tsc_passed);
    if (timer_hz == 0)
        panic("the local APIC's timer does not count");
}

void apic_timer_set(uint64_t deadline_ns)
{
    struct core *core = core_self();
    if (core->timer_deadline_ns == deadline_ns)
        return;
    core->timer_deadline_ns = deadline_ns;
    if (cpu_facts.has_tsc_deadline) {
        msr_write(MSR_TSC_DEADLINE,
                  deadline_ns == DEADLINE_NEVER ? 0 : time_ns_to_tsc(deadline_ns));
        return;
    }
    if (deadline_ns == DEADLINE_NEVER) {
        write(APIC_TIMER_INITIAL, 0);
        return;
    }
    uint64_t now = time_ns();
    uint64_t wait_ns = deadline_ns > now ? deadline_ns - now : 0;
    uint64_t ticks = (uint64_t)((unsigned __int128)wait_ns * timer_hz / NS_PER_S) + 1;
    write(APIC_TIMER_INITIAL,
          (uint32_t)min_u64(ticks, UINT32_MAX)); /* a longer wait ends early, and is begun again */
}
