/*
 * tests/unit/test_gsp_boot.c: VRAM divided for every kind of chip; the FSP's messages; gsp_start() and gsp_stop() on a GH100
 * made of memory (FSP, FMC, Resource Manager), through every failure on the way: each must be named and leave nothing.
 *
 * The firmware is the real one (setup/firmware). What the FSP expects is written down here once more, from
 * open-gpu-kernel-modules 570.144: kern_fsp_cot_payload.h, gspifpub.h, gsp_fw_wpr_meta.h, libos_init_args.h.
 */
#include "tests/unit/gsp_peer.h"

#include "gpu/nvidia/gsp/fsp.h"
#include "gpu/nvidia/gsp/gsp.h"

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)

/* ---- layout ----------------------------------------------------------------------------------------------------------- */

/* From the top: workspace, frts, boot loader, program, heap, descriptor, heap outside; what nouveau and tinygrad compute. */
static void test_layout_ga102(void **state)
{
    struct gsp_layout l;
    const struct hw_chip *chip = hw_chip_find(0x172);
    uint64_t vram = 24 * GIB, vga = vram - MIB;
    assert_int_equal(gsp_layout_compute(chip, vram, vga, 0x6000, 0x3c99000, &l), 0);
    assert_int_equal(l.vga.offset, vga);
    assert_int_equal(l.vga.bytes, MIB);
    assert_int_equal(l.frts.offset, vga - MIB);
    assert_int_equal(l.frts.bytes, MIB);
    assert_int_equal(l.boot_loader.offset, vga - MIB - 0x6000);
    assert_int_equal(l.program.offset, (vga - MIB - 0x6000 - 0x3c99000) / 0x10000 * 0x10000);
    assert_int_equal(l.heap.bytes, 0x8100000); /* 22 + 8 + 24 * 96 KiB + 96 MiB, rounded up */
    assert_int_equal(l.heap.offset % MIB, 0);
    assert_true(l.heap.offset + l.heap.bytes <= l.program.offset);
    assert_int_equal(l.wpr2.offset, l.heap.offset - MIB);
    assert_int_equal(l.wpr2.offset + l.wpr2.bytes, vga);
    assert_int_equal(l.non_wpr_heap.bytes, MIB);
    assert_int_equal(l.non_wpr_heap.offset, l.wpr2.offset - MIB);
    assert_int_equal(l.usable_end, l.non_wpr_heap.offset);
}

static void test_layout_sizes(void **state)
{
    struct gsp_layout l;
    /* Turing's operating system needs no heap of its own: 8 + 1 + 96 MiB for 11 GiB of VRAM */
    assert_int_equal(gsp_layout_compute(hw_chip_find(0x162), 11 * GIB, 11 * GIB - 0x20000, 0x1000,
                                        0x1b34ea0, &l),
                     0);
    assert_int_equal(l.heap.bytes / MIB, 8 + 2 + 96);
    assert_int_equal(l.frts.offset, 11 * GIB - 0x20000 - MIB);
    /* GA100 has no frts: WPR2 ends with the boot loader */
    assert_int_equal(
        gsp_layout_compute(hw_chip_find(0x170), 40 * GIB, 40 * GIB - MIB, 0x1000, 0x1b34ea0, &l),
        0);
    assert_int_equal(l.frts.bytes, 0);
    assert_int_equal(l.boot_loader.offset + l.boot_loader.bytes, l.wpr2.offset + l.wpr2.bytes);
    /* WPR2 ends at a multiple of 128 KiB */
    assert_int_equal(gsp_layout_compute(hw_chip_find(0x192), 24 * GIB, 24 * GIB - MIB + 0x10000,
                                        0x9000, 0x3c99000, &l),
                     0);
    assert_int_equal((l.wpr2.offset + l.wpr2.bytes) % 0x20000, 0);
    /* what is cleared, 256 MiB, bounds the heap of a card with more VRAM than there is */
    assert_int_equal(gsp_layout_compute(hw_chip_find(0x192), 1024 * GIB, 1024 * GIB - MIB, 0x9000,
                                        0x3c99000, &l),
                     0);
    assert_int_equal(l.vram_bytes - l.non_wpr_heap.offset, 256 * MIB);

    /* FSP: sizes only */
    assert_int_equal(gsp_layout_compute(hw_chip_find(0x180), 80 * GIB, 0, 0x29000, 0x3c99000, &l),
                     0);
    assert_int_equal(l.frts_end_distance, 0x200000);
    assert_int_equal(l.non_wpr_heap.bytes, 0x200000);
    assert_int_equal(l.heap.bytes / MIB, 22 + 14 + 8 + 96);
    assert_int_equal(l.pmu_bytes, 0);
    assert_int_equal(l.usable_end, 0);
    assert_int_equal(gsp_layout_compute(hw_chip_find(0x1b2), 32 * GIB, 0, 0x31000, 0x3c99000, &l),
                     0);
    assert_int_equal(l.frts_end_distance, 0x1c00000);
    assert_int_equal(l.non_wpr_heap.bytes, 0x220000);
    assert_int_equal(l.pmu_bytes, 0x1820000);
    assert_int_equal(l.heap.bytes, 0x8700000);
}

static void test_layout_refuses(void **state)
{
    struct gsp_layout l;
    const struct hw_chip *ga102 = hw_chip_find(0x172), *gh100 = hw_chip_find(0x180);
    assert_int_equal(gsp_layout_compute(ga102, 0, 0, 0x6000, 0x3c99000, &l), -EINVAL);
    assert_int_equal(gsp_layout_compute(ga102, 128 * MIB, 127 * MIB, 0x6000, 0x3c99000, &l),
                     -EINVAL);
    assert_int_equal(gsp_layout_compute(ga102, 8 * GIB, 8 * GIB, 0x6000, 0x3c99000, &l), -EINVAL);
    assert_int_equal(gsp_layout_compute(ga102, 8 * GIB, 4 * GIB, 0x6000, 0x3c99000, &l), -EINVAL);
    assert_int_equal(gsp_layout_compute(ga102, 8 * GIB, 8 * GIB - MIB, UINT64_MAX, 0x3c99000, &l),
                     -EINVAL);
    assert_int_equal(gsp_layout_compute(ga102, 8 * GIB, 8 * GIB - MIB, 0x6000, UINT64_MAX, &l),
                     -EINVAL);
    assert_int_equal(gsp_layout_compute(ga102, 8 * GIB, 8 * GIB - MIB, 0x6000, 255 * MIB, &l),
                     -EINVAL);
    assert_int_equal(gsp_layout_compute(gh100, 128 * MIB, 0, 0x29000, 0x3c99000, &l), -EINVAL);
}

/* ---- a GH100 of memory ---------------------------------------------------------------------------------------------------- */

#define VRAM_BYTES (80 * GIB)
#define EMEMC      0x8f2ac0u
#define EMEMD      0x8f2ac4u
#define QUEUE_HEAD 0x8f2c00u
#define QUEUE_TAIL 0x8f2c04u
#define MSGQ_HEAD  0x8f2c80u
#define MSGQ_TAIL  0x8f2c84u
#define MAILBOX0   0x110040u
#define HWCFG2     0x1100f4u
#define RISCV_CTL  0x111388u

enum fsp_fault {
    FSP_GOOD,
    FSP_DEAF,         /* never takes a message */
    FSP_SILENT,       /* takes it, never answers */
    FSP_ERROR,        /* answers with an error */
    FSP_OTHER,        /* answers another command */
    FSP_NO_ANSWER,    /* sends what is no answer */
    FSP_SHORT,        /* an answer of two words */
    FSP_BACKWARDS,    /* tail before head */
    FSP_HUGE,         /* more than the mailbox memory has */
    FSP_STUCK_MEMORY, /* its mailbox memory does not move on */
    FMC_CLOSED,       /* the GSP's registers never open */
    FMC_ERROR,        /* the FMC reports an error */
    FMC_LOCKED,       /* its boot ROM keeps the lock */
    CORE_STOPPED,     /* the RISC-V core does not run */
    RM_SILENT,        /* no INIT_DONE */
    RM_NOT_READY,     /* INIT_DONE with an error */
    RM_BAD_INFO,      /* static information without handles */
    RM_BAD_PLACE,     /* static information with memory of the GSP's where there can be none */
};

static struct gsp gsp;
static struct {
    enum fsp_fault fault;
    uint32_t emem[256];
    unsigned hwcfg2_reads;
    bool is_started, is_unloaded, will_not_suspend;
    unsigned resets;
    uint8_t cot[860];
} gpu;

static uint32_t *reg(uint32_t offset)
{
    return &peer_registers[offset / 4];
}

static void check_same(const char *what, uint64_t is, uint64_t wanted)
{
    if (is != wanted)
        fail_msg("%s is %#llx, must be %#llx", what, (unsigned long long)is,
                 (unsigned long long)wanted);
}

/* What the FMC does: follow everything that hangs from its arguments. */
static void check_boot_arguments(uint64_t params_bus)
{
    const uint8_t *params = (const uint8_t *)params_bus;
    check_same("wpr meta target", get32(params + 8), 1);
    check_same("wpr meta bytes", get32(params + 12), 256);
    check_same("is_gsp_rm_boot", params[36], 1);
    check_same("libos target", get32(params + 40), 2);
    const uint8_t *meta = (const uint8_t *)get64(params + 16);
    check_same("magic", get64(meta), 0xdc3aae21371a60b3);
    check_same("revision", get64(meta + 8), 1);
    check_same("program bytes", get64(meta + 24), 0x3c99000);
    check_same("boot loader bytes", get64(meta + 40), 0x29000);
    check_same("code offset", get64(meta + 48), 0xb100);
    check_same("data offset", get64(meta + 56), 0xa00);
    check_same("signature bytes", get64(meta + 80), 4096);
    check_same("non-WPR heap bytes", get64(meta + 104), 0x200000);
    check_same("heap bytes", get64(meta + 128), 140 * MIB);
    check_same("frts bytes", get64(meta + 160), MIB);
    check_same("vga bytes", get64(meta + 192), 0x20000);
    static const unsigned zeros[] = {88, 96, 112, 120, 136, 144, 152, 168, 176, 184, 200, 248};
    for (size_t i = 0; i < ARRAY_COUNT(zeros); i++) /* the FMC's to fill in */
        check_same("an offset", get64(meta + zeros[i]), 0);

    /* The last page of the program through the tables, and the signature, against the file. */
    uint64_t size;
    const uint8_t *file = boot_file("nvidia/ga102/gsp/gsp-570.144.bin", &size);
    uint64_t last = 0x3c99000 / 4096 - 1;
    uint64_t level_1 = get64((const uint8_t *)get64(meta + 16));
    uint64_t level_2 = get64((const uint8_t *)level_1 + last / 512 * 8);
    uint64_t page = get64((const uint8_t *)level_2 + last % 512 * 8);
    assert_memory_equal((const void *)page, file + 0x40 + last * 4096, 4096);
    assert_memory_equal((const void *)get64(meta + 72), file + 0x3c9d06c, 4096);

    const uint8_t *libos = (const uint8_t *)get64(params + 48);
    static const char *const names[] = {"LOGINIT", "LOGINTR", "LOGRM",
                                        "LOGMNOC", "LOGKRNL", "RMARGS"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        uint64_t id = 0;
        for (const char *c = names[i]; *c != '\0'; c++)
            id = id << 8 | (uint8_t)*c;
        check_same(names[i], get64(libos + 32 * i), id);
        check_same("its size", get64(libos + 32 * i + 16), i < 5 ? 0x10000 : 0x1000);
        check_same("its kind", libos[32 * i + 24], 1);
        check_same("its location", libos[32 * i + 25], 1);
        const uint8_t *words = (const uint8_t *)get64(libos + 32 * i + 8);
        for (unsigned n = 0; i < 5 && n < 16; n++)
            check_same("a log's page", get64(words + 8 + 8 * n), (uint64_t)words + 4096 * n);
    }
    check_same("the end", get64(libos + 32 * 6), 0);
    const uint8_t *arguments = (const uint8_t *)get64(libos + 32 * 5 + 8);
    check_same("queues", get64(arguments), gsp.rpc.shared_dma);
    check_same("dmem stack", arguments[48], 1);
}

static void rm_answer(struct peer *p, uint32_t function, const uint8_t *payload, uint32_t bytes)
{
    static struct rpc_static_info info;
    uint8_t none[8] = {0};
    switch (function) {
    case 72: /* GSP_SET_SYSTEM_INFO, no reply */
        return;
    case 73: /* SET_REGISTRY, the last thing it waits for */
        if (gpu.fault != RM_SILENT)
            peer_send(p, 0x1001, gpu.fault == RM_NOT_READY ? 0x55 : 0, none, 0);
        return;
    case 65:
        memset(&info, 0, sizeof(info));
        memcpy(info.name, "NVIDIA of memory", 17);
        info.fb_bytes = VRAM_BYTES;
        info.fb_region_count = 2;
        info.fb_region[0] = (struct rpc_fb_region){
            .limit = VRAM_BYTES - GIB - 1, .supports_compressed = 1, .supports_iso = 1};
        info.fb_region[1] = (struct rpc_fb_region){
            .base = VRAM_BYTES - GIB, .limit = VRAM_BYTES - 1, .reserved = GIB};
        info.frts_offset = VRAM_BYTES - 4 * GIB;
        info.non_wpr_heap_offset = info.frts_offset - (gpu.fault == RM_BAD_PLACE ? 0 : 254 * MIB);
        if (gpu.fault != RM_BAD_INFO)
            info.internal_client = info.internal_device = info.internal_subdevice = 7;
        peer_send(p, function, 0, &info, sizeof(info));
        return;
    case 76: { /* the interrupt table: the GSP alone */
        static uint8_t reply[65536 - 80];
        memcpy(reply, payload, bytes);
        put32(reply + 24, 1);
        reply[28] = 50;
        peer_send(p, function, 0, reply, bytes);
        return;
    }
    case 47:
        assert_int_equal(bytes, 8);
        gpu.is_unloaded = true;
        if (!gpu.will_not_suspend) {
            *reg(MAILBOX0) = 0x80000000;
            *reg(RISCV_CTL) = 1 << 4;
        }
        peer_send(p, function, 0, none, 8);
        return;
    default:
        fail_msg("RM is asked for function %u", function);
    }
}

static void fsp_take(void)
{
    const uint32_t *m = gpu.emem;
    check_same("MCTP header", m[0], 0xc0000000);
    check_same("NVDM header", m[1], 0x1410de7e);
    check_same("packet bytes", *reg(QUEUE_TAIL) + 4, 868);
    memcpy(gpu.cot, &m[2], sizeof(gpu.cot));
    check_same("version", gpu.cot[0], 1);
    check_same("bytes", gpu.cot[2] | gpu.cot[3] << 8, 860);
    check_same("frts from the end", get64(gpu.cot + 24), 0x200000);
    check_same("frts bytes", get32(gpu.cot + 32), MIB);
    check_same("frts in host memory", get64(gpu.cot + 12) | get32(gpu.cot + 20), 0);
    uint64_t size;
    const uint8_t *fmc = boot_file("nvidia/gh100/gsp/fmc-570.144.bin", &size);
    assert_memory_equal(gpu.cot + 36, fmc + 0x150, 48);
    assert_memory_equal(gpu.cot + 84, fmc + 0x300, 384);
    assert_memory_equal(gpu.cot + 468, fmc + 0x180, 384);
    assert_memory_equal((const void *)get64(gpu.cot + 4), fmc + 0x480, 165448);
    check_boot_arguments(get64(gpu.cot + 852));

    *reg(QUEUE_HEAD) = *reg(QUEUE_TAIL) = 0;
    uint32_t answer[5] = {0xc0000000, 0x1510de7e, 1, 0x14, 0};
    answer[4] = gpu.fault == FSP_ERROR ? 0x9e : 0;
    answer[3] = gpu.fault == FSP_OTHER ? 0x13 : 0x14;
    answer[1] = gpu.fault == FSP_NO_ANSWER ? 0x1410de7e : 0x1510de7e;
    memcpy(gpu.emem, answer, sizeof(answer));
    *reg(MSGQ_HEAD) = gpu.fault == FSP_BACKWARDS ? 64 : 0;
    *reg(MSGQ_TAIL) = gpu.fault == FSP_SHORT ? 4 : gpu.fault == FSP_HUGE ? 1024 : 16;
    if (gpu.fault == FSP_SILENT)
        *reg(MSGQ_TAIL) = 0;
    gpu.is_started = true;
    if (gpu.fault != CORE_STOPPED)
        *reg(RISCV_CTL) = 1 << 7;
    memcpy(&peer.rpc, &gsp.rpc,
           sizeof(peer.rpc)); /* where the queues are; nothing else of it is used */
    peer_start(&peer);
}

static void on_write(uint32_t offset, uint32_t value)
{
    if (offset == EMEMD) {
        assert_true(*reg(EMEMC) & 1 << 24);
        gpu.emem[(*reg(EMEMC) & 0xfffc) / 4 % 256] = value;
        if (gpu.fault != FSP_STUCK_MEMORY)
            *reg(EMEMC) += 4;
    } else if (offset == QUEUE_HEAD && gpu.fault != FSP_DEAF) {
        fsp_take();
    }
}

static uint32_t on_read(uint32_t offset)
{
    if (offset == EMEMD) {
        uint32_t value = gpu.emem[(*reg(EMEMC) & 0xfffc) / 4 % 256];
        assert_true(*reg(EMEMC) & 1 << 25);
        *reg(EMEMC) += 4;
        return value;
    }
    if (offset == HWCFG2 && gpu.is_started) { /* closed, then locked, then open */
        unsigned n = gpu.hwcfg2_reads++;
        if (n < 5 || gpu.fault == FMC_CLOSED)
            return 0xbadf4125;
        if (gpu.fault == FMC_ERROR)
            *reg(MAILBOX0) = 0x2a;
        return n < 10 || gpu.fault == FMC_LOCKED ? 1 << 13 : 1 << 10;
    }
    return *reg(offset);
}

static int on_reset(void *arg, enum pci_reset how)
{
    assert_int_equal(how, PCI_RESET_FUNCTION);
    assert_false(host_pci_is_bus_master(arg));
    gpu.resets++;
    return 0;
}

static struct pci_device *gpu_create(enum fsp_fault fault)
{
    static uint8_t vram[4096];
    static const struct pci_device device = {
        .vendor_id = 0x10de,
        .device_id = 0x2330,
        .base_class = 3,
        .bar = {{.pa = 0xe0000000, .size_bytes = 16 * MIB},
                {.pa = 0x800000000, .size_bytes = 256 * MIB, .is_64 = true}},
        .name = "0000:01:00.0",
    };
    host_clock_fake(true);
    host_log_level(LOG_ERROR);
    memset(&peer, 0, sizeof(peer));
    memset(&gpu, 0, sizeof(gpu));
    memset(peer_registers, 0, sizeof(peer_registers));
    gpu.fault = fault;
    peer.answer = rm_answer;
    peer_on_write = on_write;
    peer_on_read = on_read;
    *reg(0) = 0x180000a1;
    *reg(0xa00) = 0x18000000;
    *reg(0x200bc) = 0xff;
    *reg(0x1183a4) = (uint32_t)(VRAM_BYTES >> 20);
    if (fault == FSP_DEAF)
        *reg(QUEUE_TAIL) = 4;
    host_pci_clear();
    host_boot_folder("build/deps/firmware");
    struct pci_device *pci = host_pci_add(&device, (void *const[6]){peer_registers, vram});
    host_pci_on_reset(pci, on_reset, pci);
    return pci;
}

static int teardown(void **state)
{
    host_page_alloc_fail_after(-1);
    host_pci_clear();
    host_boot_files_clear();
    return 0;
}

/* Nothing is left: no memory, no bus mastering. */
static void check_nothing_left(struct pci_device *pci, uint64_t live_before)
{
    assert_false(host_pci_is_bus_master(pci));
    check_same("memory in use", host_page_live_bytes(), live_before);
}

static void test_start_and_stop(void **state)
{
    struct pci_device *pci = gpu_create(FSP_GOOD);
    uint64_t live = host_page_live_bytes();
    for (unsigned round = 0; round < 2; round++) {
        int error = gsp_start(&gsp, pci, "nvidia0");
        if (error != 0)
            fail_msg("%s", gsp.hw.error);
        assert_true(gsp.is_running);
        assert_true(host_pci_is_bus_master(pci));
        assert_string_equal(gsp.info.name, "NVIDIA of memory");
        check_same("WPR2", gsp.layout.wpr2.offset, VRAM_BYTES - 4 * GIB - 252 * MIB);
        check_same("its end", gsp.layout.wpr2.offset + gsp.layout.wpr2.bytes,
                   VRAM_BYTES - 4 * GIB + MIB);
        check_same("usable VRAM", gsp.layout.usable_end, VRAM_BYTES - 4 * GIB - 254 * MIB);
        assert_null(gsp.radix3.va); /* what only the start needed is free again */
        assert_non_null(gsp.libos.va);
        gsp_stop(&gsp);
        assert_true(gpu.is_unloaded);
        assert_false(gsp.is_running);
        assert_int_equal(gpu.resets, 0);
        check_nothing_left(pci, live);
        pci = gpu_create(FSP_GOOD);
    }
}

static void test_faults(void **state)
{
    static const struct {
        enum fsp_fault fault;
        int error;
        const char *said; /* the beginning */
        uint64_t ms;      /* the fake clock's */
    } faults[] = {
        {FSP_DEAF, -EBUSY, "FSP: it has not taken the message before (queue head 0, tail 0x4;",
         4000},
        {FSP_SILENT, -ETIMEDOUT, "FSP: no answer within 4000 ms", 4000},
        {FSP_ERROR, -EIO, "FSP: command 0x14 failed with error 0x9e", 0},
        {FSP_OTHER, -EPROTO, "FSP: an answer to command 0x13, asked was 0x14", 0},
        {FSP_NO_ANSWER, -EPROTO, "FSP: not an answer: 5 words, headers 0xc0000000 0x1410de7e", 0},
        {FSP_SHORT, -EPROTO, "FSP: not an answer: 2 words", 0},
        {FSP_BACKWARDS, -EPROTO, "FSP: an answer that cannot be (queue head 0x40, tail 0x10)", 0},
        {FSP_HUGE, -EPROTO, "FSP: an answer that cannot be (queue head 0, tail 0x400)", 0},
        {FSP_STUCK_MEMORY, -EIO, "FSP: the mailbox memory took 0 of 217 words", 0},
        {FMC_CLOSED, -ETIMEDOUT, "FMC: the GSP's registers are not open after 10000 ms", 10000},
        {FMC_ERROR, -EIO, "FMC: it failed with code 0x2a", 0},
        {FMC_LOCKED, -ETIMEDOUT, "FMC: the GSP's registers are not open after 10000 ms", 10000},
        {CORE_STOPPED, -EIO, "the GSP's RISC-V core is not running", 0},
        {RM_SILENT, -ETIMEDOUT, "GSP_INIT_DONE 0: no answer from the GSP within 15000 ms", 15000},
        {RM_NOT_READY, -EIO, "GSP_INIT_DONE: ", 0},
        {RM_BAD_INFO, -EPROTO, "static information: RM's own handles are 0 0 0", 0},
        {RM_BAD_PLACE, -EPROTO,
         "static information: the GSP's memory from 0x1300000000 to FRTS at 0x1300000000", 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct pci_device *pci = gpu_create(faults[i].fault);
        uint64_t live = host_page_live_bytes();
        int error = gsp_start(&gsp, pci, "nvidia0");
        if (error != faults[i].error ||
            strncmp(gsp.hw.error, faults[i].said, strlen(faults[i].said)) != 0)
            fail_msg("%zu: error %d, said: %s", i, error, gsp.hw.error);
        assert_in_range(host_clock_ms(), faults[i].ms, faults[i].ms + 100);
        assert_false(gsp.is_running);
        assert_int_equal(gpu.resets, 1);
        check_nothing_left(pci, live);
    }
}

/* Every allocation fails once. */
static void test_no_memory(void **state)
{
    unsigned failures = 0;
    for (int allowed = 0; allowed < 100; allowed++) {
        struct pci_device *pci = gpu_create(FSP_GOOD);
        uint64_t live = host_page_live_bytes();
        host_page_alloc_fail_after(allowed);
        int error = gsp_start(&gsp, pci, "nvidia0");
        host_page_alloc_fail_after(-1);
        if (error == 0) {
            gsp_stop(&gsp);
            check_nothing_left(pci, live);
            assert_true(failures > 12);
            return;
        }
        failures++;
        check_same("error", (uint64_t)error, (uint64_t)-ENOMEM);
        assert_true(strstr(gsp.hw.error, "no memory") != NULL);
        check_nothing_left(pci, live);
    }
    fail_msg("it never has enough memory");
}

static void test_missing_firmware(void **state)
{
    struct pci_device *pci = gpu_create(FSP_GOOD);
    uint64_t live = host_page_live_bytes();
    host_boot_files_clear();
    assert_int_equal(gsp_start(&gsp, pci, "nvidia0"), -ENOENT);
    assert_string_equal(gsp.hw.error, "/firmware/nvidia/ga102/gsp/gsp-570.144.bin is not on the "
                                      "boot disk: `make image GPU=gh100` puts it there");
    check_nothing_left(pci, live);
    gsp_stop(&gsp); /* harmless */
    check_nothing_left(pci, live);
}

/* A GPU that does not let go: some seconds, and everything is freed all the same. */
static void test_will_not_stop(void **state)
{
    struct pci_device *pci = gpu_create(FSP_GOOD);
    uint64_t live = host_page_live_bytes();
    assert_int_equal(gsp_start(&gsp, pci, "nvidia0"), 0);
    gpu.will_not_suspend = true;
    uint64_t before_ms = host_clock_ms();
    gsp_stop(&gsp);
    assert_in_range(host_clock_ms() - before_ms, 4000, 4100);
    assert_int_equal(gpu.resets, 1);
    check_nothing_left(pci, live);

    pci = gpu_create(FSP_GOOD);
    assert_int_equal(gsp_start(&gsp, pci, "nvidia0"), 0);
    peer.is_deaf = true; /* RM is gone */
    gsp_stop(&gsp);
    assert_false(gpu.is_unloaded);
    assert_int_equal(gpu.resets, 1);
    check_nothing_left(pci, live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_ga102),
        cmocka_unit_test(test_layout_sizes),
        cmocka_unit_test(test_layout_refuses),
        cmocka_unit_test_teardown(test_start_and_stop, teardown),
        cmocka_unit_test_teardown(test_faults, teardown),
        cmocka_unit_test_teardown(test_no_memory, teardown),
        cmocka_unit_test_teardown(test_missing_firmware, teardown),
        cmocka_unit_test_teardown(test_will_not_stop, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
