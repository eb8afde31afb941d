/*
 * kernel/kernel.h: the door to the machine. Everything above the kernel reaches the hardware through these calls.
 *
 * Two implementations link behind it: kernel/ on bare metal (ring 0, one identity-mapped address space) and
 * tests/host/ in a Linux process (unit tests, fuzzers, the hosted program). kernel/task.c is the same in both.
 *
 * Unless a comment says otherwise a function may be called from any core in task context, returns 0 or a useful
 * non-negative number on success and a negative errno on failure, and times are nanoseconds of time_ns().
 */
#ifndef INGOT_KERNEL_H
#define INGOT_KERNEL_H

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- bits ------------------------------------------------------------------------------------------------------ */

/* The mask of bits hi..lo of a register, in the order manuals write them. */
#define BITS(hi, lo) ((~UINT64_C(0) >> (63 - (hi))) & (~UINT64_C(0) << (lo)))
#define BIT(n) (UINT64_C(1) << (n))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The value of the field that mask selects in reg, shifted down to bit 0. */
static inline uint64_t field_get(uint64_t mask, uint64_t reg)
{
    return (reg & mask) >> __builtin_ctzll(mask);
}

/* value shifted up into the field that mask selects; asserts that it fits. */
static inline uint64_t field_put(uint64_t mask, uint64_t value)
{
    assert((value << __builtin_ctzll(mask) >> __builtin_ctzll(mask)) == value &&
           (value << __builtin_ctzll(mask) & ~mask) == 0);
    return value << __builtin_ctzll(mask);
}

/* align is a power of two; align_up wraps to 0 past the top, callers with untrusted values check first. */
static inline uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t align)
{
    return value & ~(align - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- log and panic --------------------------------------------------------------------------------------------- */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/*
 * Append one line to the log ring (bounded; the oldest lines go first) and, from LOG_INFO up, to the serial port and
 * the screen. No trailing newline in fmt. Control characters and bytes that are not UTF-8 come out escaped. Any core,
 * also from an interrupt. Never put a token or a file's contents in a line.
 */
void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_print(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)

/* One line to the serial port and the screen alone, not kept: for what must not be in the log, such as a new token. */
void console_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct log_line {
    uint64_t sequence;    /* counts lines from 1, gaps mean dropped lines */
    uint64_t time_ns;     /* since boot */
    enum log_level level;
    unsigned core;
    char text[240];       /* NUL-terminated, cut if longer */
};
/* Copies the oldest kept line with sequence >= from into *out. Returns 1, or 0 when there is none. */
int log_read(uint64_t from, struct log_line *out);

/* Print the message, registers and a backtrace with names on serial and screen, then restart after the set delay. */
_Noreturn void panic(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* ---- time ------------------------------------------------------------------------------------------------------ */

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)
#define DEADLINE_NEVER UINT64_MAX    /* only for waits that something else bounds */

uint64_t time_ns(void);              /* monotonic, since the machine layer started */
int64_t wall_clock_ns(void);         /* since 1970 UTC; 0 while nobody has told us the time */
void wall_clock_set_ns(int64_t now); /* from SNTP */
void time_spin_ns(uint64_t ns);      /* busy wait, for the few waits a manual asks for; at most 1 ms */

/* ---- memory ---------------------------------------------------------------------------------------------------- */

#define PAGE_SIZE UINT64_C(4096)

/*
 * Zeroed, page-aligned, physically contiguous memory that devices may reach. size_bytes is rounded up to pages,
 * align a power of two (0: one page). NULL when there is none; never blocks. The caller frees it with the same size.
 * malloc() and friends (newlib's names, our allocator) take small objects from these pages.
 */
void *page_alloc(uint64_t size_bytes, uint64_t align);
/* The same without the zeroes, for buffers that are about to be filled: zeroing takes about 0.1 s per GiB. */
void *page_alloc_dirty(uint64_t size_bytes, uint64_t align);
void page_free(void *va, uint64_t size_bytes);

struct memory_stats {
    uint64_t total_bytes; /* all RAM that the firmware reported */
    uint64_t free_bytes;
    uint64_t largest_bytes; /* largest block that page_alloc() could return now */
    uint64_t heap_bytes;    /* in use through malloc() */
    uint64_t image_bytes;   /* this program */
};
void memory_stats(struct memory_stats *out);

/* The address under which PCI devices see va. va must come from page_alloc() (or a GPU's BAR mapping). */
uint64_t dma_addr(const volatile void *va);

/* Writes before it are visible to devices before writes after it. x86 keeps store order: a compiler barrier. */
static inline void dma_wmb(void)
{
    atomic_signal_fence(memory_order_release);
#if defined(__x86_64__)
    __asm__ volatile("" ::: "memory");
#endif
}
/* Reads before it are done before reads after it. */
static inline void dma_rmb(void)
{
    __asm__ volatile("" ::: "memory");
}
/* Full barrier: earlier stores are visible before later loads execute. */
static inline void dma_mb(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* Variables that are set during start-up only: on bare metal they are read-only once runtime_main() has returned. */
#define SEALED __attribute__((section(".data.sealed")))

/* ---- device registers ------------------------------------------------------------------------------------------ */

/* Real functions (not macros), so that unit tests link a fake device behind them. */
uint8_t mmio_read8(const volatile void *reg);
uint16_t mmio_read16(const volatile void *reg);
uint32_t mmio_read32(const volatile void *reg);
uint64_t mmio_read64(const volatile void *reg);
void mmio_write8(volatile void *reg, uint8_t value);
void mmio_write16(volatile void *reg, uint16_t value);
void mmio_write32(volatile void *reg, uint32_t value);
void mmio_write64(volatile void *reg, uint64_t value);

/*
 * Wait until (mmio_read32(reg) & mask) == want, yielding between reads. 0, -ETIMEDOUT at the deadline, or -ENODEV
 * when the register reads all ones (the device is gone) and that is not what was wanted.
 */
int wait_reg32(const volatile void *reg, uint32_t mask, uint32_t want, uint64_t deadline_ns);

/*
 * A driver takes the device memory from physical address pa on: when the firmware's frame buffer lies in it, the console
 * leaves the screen for good. True if it did.
 */
bool screen_leave(uint64_t pa, uint64_t size_bytes);

enum cache_mode { CACHE_UNCACHED, CACHE_WRITE_COMBINING };
/* Map size_bytes of device memory at physical address pa. NULL when pa is RAM or there are no page-table pages. */
volatile void *mmio_map(uint64_t pa, uint64_t size_bytes, enum cache_mode mode);
void mmio_unmap(volatile void *va, uint64_t size_bytes);

/* ---- PCI Express ----------------------------------------------------------------------------------------------- */

struct pci_bar {
    uint64_t pa, size_bytes; /* size 0: not there */
    bool is_64, is_prefetchable, is_io;
};

struct pci_device {
    uint16_t segment;
    uint8_t bus, device, function;
    uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
    uint8_t base_class, sub_class, prog_if, revision;
    struct pci_bar bar[6]; /* known from pci_enable() on; the upper half of a 64-bit BAR has size 0 */
    char name[16];         /* "0000:01:00.0" */
    void *private_data;    /* kernel/pci.c's own */
};

/* Devices found at start, in bus order; pointers stay valid. NULL past the end. */
struct pci_device *pci_device_get(unsigned index);

uint8_t pci_read8(const struct pci_device *pci, unsigned offset);
uint16_t pci_read16(const struct pci_device *pci, unsigned offset);
uint32_t pci_read32(const struct pci_device *pci, unsigned offset);
void pci_write8(struct pci_device *pci, unsigned offset, uint8_t value);
void pci_write16(struct pci_device *pci, unsigned offset, uint16_t value);
void pci_write32(struct pci_device *pci, unsigned offset, uint32_t value);

/* Offset of the first (extended) capability with this id, 0 if none; bounded against loops. prev 0 or the last hit. */
unsigned pci_find_capability(const struct pci_device *pci, uint8_t id, unsigned prev);
unsigned pci_find_ext_capability(const struct pci_device *pci, uint16_t id);

/*
 * What configuration space says about a function, for people. Reads only: safe from any core, whoever drives the device.
 */
struct pci_capability {
    uint16_t id, offset;
    bool is_extended;
    const char *name; /* "MSI-X", "resizable BAR", "unknown" */
};
struct pci_facts {
    bool is_decoding, is_bus_master;         /* memory space and bus mastering are on */
    int power_state;                         /* 0: D0 to 3: D3hot, -1: not told */
    uint32_t link_rate, link_rate_max;       /* 10^6 transfers a second and lane: 16000; 0: not told */
    unsigned link_width, link_width_max;     /* lanes; link_width_max 0: no PCI Express link */
    unsigned msi_vectors, msix_vectors;      /* what it can have; 0: it has no such capability */
    bool is_msi_on, is_msix_on;
    struct pci_bar bars[6];                  /* size_bytes 0: nobody has found it out yet */
    bool has_bar[6];
    unsigned capability_count;
    struct pci_capability capabilities[64];
};
/* False when the device is gone: then *out holds nothing. */
bool pci_facts(const struct pci_device *pci, struct pci_facts *out);
const char *pci_class_name(const struct pci_device *pci); /* "NVMe controller"; "device" when not known */

/* Power state D0, BARs found, memory decoding on; -EINVAL for a bridge. Bus mastering is a call of its own, off until a
 * driver is ready for it. */
int pci_enable(struct pci_device *pci);
void pci_bus_master(struct pci_device *pci, bool on);
void pci_disable(struct pci_device *pci); /* bus mastering, MSI and MSI-X off */

/*
 * Put the device back into the state after power-on; its configuration is kept, bus mastering and interrupts are off
 * afterwards. After pci_enable(), with interrupts disabled. Takes 0.1 s or more. -ENOTSUP when the device cannot be reset in
 * this way, -EBUSY when the bus has another device at work on it, -ETIMEDOUT when it does not come back.
 */
enum pci_reset { PCI_RESET_FUNCTION, PCI_RESET_BUS }; /* function level reset; the bus below the bridge above it */
int pci_reset(struct pci_device *pci, enum pci_reset how);

/*
 * Grow a resizable BAR to want_bytes or more, or as far as there is room without moving anything else. After
 * pci_enable(), before the BAR is mapped. 1 when it grew, 0 when it stays; report says what was done, or why nothing.
 */
int pci_bar_resize(struct pci_device *pci, unsigned index, uint64_t want_bytes, char *report, size_t report_bytes);

/* All of a memory BAR. NULL when it is absent, an I/O BAR, or cannot be mapped. */
volatile void *pci_map_bar(struct pci_device *pci, unsigned index, enum cache_mode mode);

/*
 * Route MSI-X table entry `entry` to handler(arg) on `core`. The handler runs in interrupt context: it may signal an
 * event and touch registers, nothing else. -ENOTSUP without MSI-X, -ENOSPC when vectors or entries run out.
 */
typedef void (*irq_handler)(void *arg);
int pci_msix_enable(struct pci_device *pci, unsigned entry, unsigned core, irq_handler handler, void *arg);
void pci_msix_mask(struct pci_device *pci, unsigned entry, bool masked);
/* The same by plain MSI, for devices without MSI-X: one interrupt. -ENOTSUP without MSI. A second call moves it. */
int pci_msi_enable(struct pci_device *pci, unsigned core, irq_handler handler, void *arg);

/* ---- cores and tasks ------------------------------------------------------------------------------------------- */

#define CORE_MAX 64 /* more cores than this stay parked */

unsigned core_count(void);   /* cores that run tasks, at least 1; core 0 runs the control plane */
unsigned core_current(void); /* 0 .. core_count() - 1 */

struct spinlock {
    _Atomic uint32_t held;
};
/* Interrupts are off while held, so hold it for a few instructions and never across a yield. */
uint64_t spin_lock(struct spinlock *lock); /* returns what spin_unlock() takes */
void spin_unlock(struct spinlock *lock, uint64_t saved_flags);

struct task;
#define TASK_STACK_DEFAULT (64 * 1024)

/*
 * Start fn(arg) as a cooperative task on `core`. It ends when fn returns and frees itself. Its stack has a guard page
 * below it. stack_bytes 0: TASK_STACK_DEFAULT. Returns 0, -ENOMEM, or -EINVAL for a core that is not there.
 */
int task_create(const char *name, unsigned core, size_t stack_bytes, void (*fn)(void *arg), void *arg);

void task_yield(void); /* let every other runnable task of this core go first */
void task_sleep_until(uint64_t deadline_ns);
const char *task_name(void);

/*
 * An event count: waiting without lost wake-ups, for any number of waiters on any cores.
 *
 *     uint32_t seen = event_read(&e);
 *     if (!condition)
 *         event_wait(&e, seen, deadline_ns);   // returns at once if a signal came since event_read()
 *
 * A waiting task takes no CPU time; a core with nothing to run halts until an interrupt or another core's signal.
 * Zero-initialised is valid. event_signal() may be called from any core and from interrupts.
 */
struct event {
    _Atomic uint32_t count;
    struct spinlock lock;
    struct task *waiters;
};
uint32_t event_read(struct event *event);
int event_wait(struct event *event, uint32_t seen, uint64_t deadline_ns); /* 0 or -ETIMEDOUT */
void event_signal(struct event *event);

/* A lock that may be held across yields. Zero-initialised is valid; not for interrupts, not recursive. */
struct mutex {
    struct event event;
    _Atomic uint32_t held;
};
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

/* Share of time that a core spent running tasks (not halted) since boot, in nanoseconds. */
uint64_t core_busy_ns(unsigned core);

/* ---- the machine ----------------------------------------------------------------------------------------------- */

struct cpu_features {
    char brand[49];
    bool avx2_fma, avx512; /* usable: the CPU has it and XCR0 enables its state on every core */
    bool sha_ni, f16c;
};
const struct cpu_features *cpu_features(void);

/*
 * A file that the boot loader read from \firmware on the ESP, by its path below that folder ("nvidia/ga102/gsp/x.bin", in
 * any case); NULL: there is none. Its byte 64, behind an ELF64 header, lies at a page's start; it cannot be
 * written, and stays; devices may read it in place (dma_addr()).
 */
const void *boot_file(const char *name, uint64_t *size_bytes);

/* Bytes from RDSEED/RDRAND or, without them, a generator seeded from the firmware's RNG and timing. */
void random_bytes(void *out, size_t size_bytes);

_Noreturn void machine_restart(void);
_Noreturn void machine_power_off(void);

#endif
