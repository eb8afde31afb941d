/*
 * gpu/nvidia/gsp/crash.c: reads and decodes a crash report of the GSP. See crash.h.
 *
 * Read here: queues in the falcon's DMEM, through its port 0. Of one elsewhere (no firmware seen does that) the place is told. All
 * of it comes from a program that has just crashed: sizes and indexes are checked, and at most REPORT_BYTES_MAX are looked at.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/crash.h"
#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/regs/falcon.h"

#define SIGNATURE        0xdeadu
#define REPORT_BYTES_MAX 2048u

/* Wayfinder, level 0 (DEBUGINFO) and level 1 (the first two scratch registers) */
#define L0_SIGNATURE     BITS(15, 0)
#define L0_VERSION       BITS(19, 16)
#define L0_GROUP         BITS(22, 20)
#define L1_APERTURE      BITS(2, 0)
#define APERTURE_DMEM    2
#define L1_UNIT          BITS(4, 3)
#define L1_SIZE          BITS(9, 6)
#define L1_OFFSET        BITS(63, 10) /* in KiB */
/* Scratch groups: 2 to 5 are four registers each; 1 is the mailboxes, which the firmware of 570.144 needs for other things */
#define GROUP_FIRST      2u
#define GROUP_LAST       5u
#define SCRATCH(group, i) \
    (0x300 + ((group) - GROUP_FIRST) * 0x10 + (i) * 4) /* NV_PFALCON_FALCON_COMMON_SCRATCH_GROUP_ */
#define DMEMC_AINCR      BIT(25)

/* Packets */
#define PACKET_SIGNATURE BITS(15, 0)
#define PACKET_VERSION   BITS(19, 16)
#define PACKET_UNIT      BITS(21, 20)
#define PACKET_SIZE      BITS(31, 22)
#define PACKET_TYPE      BITS(39, 32)
enum { PACKET_REPORT, PACKET_CSR, PACKET_GPR, PACKET_TRACE, PACKET_IO32 };

static const uint32_t unit_bytes[4] = {8, 1024, 4096, 65536};

static uint32_t falcon_read(struct hw *hw, uint32_t reg)
{
    return hw_read32(hw, NV_PGSP_BASE + reg);
}

static const char *mode_name(uint64_t id)
{
    static const char *const names[8] = {"unknown part", "monitor", "kernel", "task"};
    const char *name = names[field_get(BITS(18, 16), id)];
    return name != NULL ? name : "unknown part";
}

/* RISC-V exception numbers (privileged specification, table of mcause) */
static const char *exception_name(uint64_t cause)
{
    static const char *const names[16] = {"instruction address misaligned",
                                          "instruction access fault",
                                          "illegal instruction",
                                          "breakpoint",
                                          "load address misaligned",
                                          "load access fault",
                                          "store address misaligned",
                                          "store access fault",
                                          "call from user mode",
                                          "call from supervisor mode",
                                          NULL,
                                          "call from machine mode",
                                          "instruction page fault",
                                          "load page fault",
                                          NULL,
                                          "store page fault"};
    const char *name = cause < ARRAY_COUNT(names) ? names[cause] : NULL;
    return name != NULL ? name : "unhandled interrupt or unknown cause";
}

/* words: signature of the reporter, its id and data; id, cause, program counter and data of what crashed */
static void print_report(struct hw *hw, const uint64_t *words, unsigned count)
{
    static const char *const types[3] = {"exception", "timeout", "panic"};
    if (count < 7)
        return;
    uint64_t source = words[3], cause = words[4], type = field_get(BITS(3, 0), cause);
    const char *what = type < ARRAY_COUNT(types) ? types[type] : "crash";
    log_error("%s: GSP crashed: %s of the %s (partition %u, program %u) at pc %#llx: %s, cause "
              "%#llx, data %#llx",
              hw->name, what, mode_name(source), (unsigned)field_get(BITS(7, 0), source),
              (unsigned)field_get(BITS(15, 8), source), (unsigned long long)words[5],
              type == 0 ? exception_name(words[6]) : what, (unsigned long long)(cause >> 32),
              (unsigned long long)words[6]);
}

static void print_words(struct hw *hw, const char *what, const uint64_t *words, unsigned count)
{
    for (unsigned i = 0; i < count; i += 4) {
        char line[100];
        size_t used = 0;
        for (unsigned j = i; j < count && j < i + 4; j++)
            used += (size_t)snprintf(line + used, sizeof(line) - used, " %#llx",
                                     (unsigned long long)words[j]);
        log_error("%s: GSP crash: %s%s", hw->name, what, line);
    }
}

static void print_packet(struct hw *hw, uint64_t header, const uint64_t *words, unsigned count)
{
    switch (field_get(PACKET_TYPE, header)) {
    case PACKET_REPORT:
        print_report(hw, words, count);
        return;
    case PACKET_CSR:
        print_words(hw, "status, ie, ip, epc, tval, cause, scratch", words, count);
        return;
    case PACKET_GPR:
        print_words(hw, "ra, sp, gp, tp, t0-2, s0-1, a0-7, s2-11, t3-6", words, count);
        return;
    case PACKET_TRACE:
        print_words(hw, "called from", words, count);
        return;
    case PACKET_IO32:
        print_words(hw, "register and value", words, count);
        return;
    default:
        print_words(hw, "more", words, count);
    }
}

/* Packets that lie whole in words[0, count). */
static void print_packets(struct hw *hw, const uint64_t *words, unsigned count)
{
    for (unsigned at = 0; at < count;) {
        uint64_t header = words[at];
        if (field_get(PACKET_SIGNATURE, header) != SIGNATURE ||
            field_get(PACKET_VERSION, header) != 1) {
            print_words(hw, "not understood", words + at, count - at < 8 ? count - at : 8);
            return;
        }
        uint64_t bytes =
            (field_get(PACKET_SIZE, header) + 1) * unit_bytes[field_get(PACKET_UNIT, header)];
        uint64_t have = min_u64(bytes / 8, count - at - 1);
        print_packet(hw, header, words + at + 1, (unsigned)have);
        at += 1 + (unsigned)have;
    }
}

/* One 64-bit word of the queue in DMEM; the port counts up by itself, but the queue wraps. */
static uint64_t read_word(struct hw *hw, uint32_t address)
{
    hw_write32(hw, NV_PGSP_BASE + NV_PFALCON_FALCON_DMEMC0, address | (uint32_t)DMEMC_AINCR);
    uint64_t low = falcon_read(hw, NV_PFALCON_FALCON_DMEMD0);
    return low | (uint64_t)falcon_read(hw, NV_PFALCON_FALCON_DMEMD0) << 32;
}

bool gsp_crash_report(struct hw *hw)
{
    uint32_t level_0 = falcon_read(hw, NV_PFALCON_FALCON_DEBUGINFO);
    if (field_get(L0_SIGNATURE, level_0) != SIGNATURE || hw_is_gone(hw))
        return false;
    uint32_t group = (uint32_t)field_get(L0_GROUP, level_0);
    if (field_get(L0_VERSION, level_0) != 1 || group < GROUP_FIRST || group > GROUP_LAST) {
        log_error("%s: the GSP has crashed; its report is somewhere else (%#x)", hw->name, level_0);
        return true;
    }
    uint64_t level_1 =
        falcon_read(hw, SCRATCH(group, 0)) | (uint64_t)falcon_read(hw, SCRATCH(group, 1)) << 32;
    uint32_t put = falcon_read(hw, SCRATCH(group, 2)), get = falcon_read(hw, SCRATCH(group, 3));
    uint64_t size = (field_get(L1_SIZE, level_1) + 1) * unit_bytes[field_get(L1_UNIT, level_1)];
    uint64_t offset = level_1 & L1_OFFSET;
    if (put == get)
        return false;
    if (field_get(L1_APERTURE, level_1) != APERTURE_DMEM || put >= size || get >= size ||
        put % 8 != 0 || get % 8 != 0 || offset + size > (UINT64_C(1) << 24)) {
        log_error(
            "%s: the GSP has crashed; its report is not in its data memory (%#llx, %#x to %#x)",
            hw->name, (unsigned long long)level_1, get, put);
        return true;
    }
    uint64_t words[REPORT_BYTES_MAX / 8];
    uint64_t bytes = (put + size - get) % size;
    unsigned count = (unsigned)(min_u64(bytes, REPORT_BYTES_MAX) / 8);
    for (unsigned i = 0; i < count; i++)
        words[i] = read_word(hw, (uint32_t)(offset + (get + i * UINT64_C(8)) % size));
    print_packets(hw, words, count);
    hw_write32(hw, NV_PGSP_BASE + SCRATCH(group, 3), put);
    return true;
}
