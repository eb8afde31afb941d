/*
 * tests/unit/test_gsp_hw.c: a GPU taken hold of, reset when it was left running, and FWSEC run on it, against a made-up GPU
 * (fake_gsp_gpu.h) that checks what it is told and misbehaves on demand. Each wait and each allocation fails once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/gsp/falcon.h"
#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/hw.h"
#include "tests/unit/fake_gsp_gpu.h"

#define GIB  (UINT64_C(1) << 30)
#define FRTS (24 * GIB - 0x200000)

static struct hw hw;

/* The generic loader's code: 0x1f0 bytes, so that the last 16 of its two blocks are zeroes. */
static const uint8_t loader_code[0x1f0] = {[0] = 0x11, [0x1ef] = 0x22};
static const struct fwsec_loader loader = {
    .code = loader_code, .size_bytes = sizeof(loader_code), .start_tag = 0xfd};

static int setup(void **state)
{
    (void)state;
    host_log_level(LOG_ERROR);
    host_clock_fake(true);
    host_clock_step_ns(50 * NS_PER_US); /* copying the VBIOS yields often */
    host_page_alloc_fail_after(-1);
    fake_make(false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hw_close(&hw);
    assert_int_equal(host_page_live_bytes(), 0);
    assert_false(host_pci_is_bus_master(fake.pci));
    return 0;
}

static int open_gpu(void)
{
    return hw_open(&hw, fake.pci, "nvidia0");
}

static void check_error(int result, int wanted, const char *text)
{
    if (result != wanted || strstr(hw.error, text) == NULL)
        fail_msg("result %d, wanted %d; error \"%s\", wanted \"%s\"", result, wanted, hw.error,
                 text);
}

/* ---- taking hold ---- */

static void test_open(void **state)
{
    (void)state;
    host_pci_resizable(fake.pci, 1, 32 * GIB);
    assert_int_equal(open_gpu(), 0);
    assert_string_equal(hw.chip->name, "ga102");
    assert_int_equal(hw.boot_0, 0x172000a1);
    assert_int_equal(hw.vram_bytes, 24 * GIB);
    assert_int_equal(hw.bar0_bytes, FAKE_BAR0_BYTES);
    assert_int_equal(hw.bar1_bytes, 32 * GIB);
    assert_int_equal(hw.bar1_bus, UINT64_C(0x3800000000));
    assert_non_null((void *)(uintptr_t)hw.bar1);
    assert_true(host_pci_is_bus_master(fake.pci));
    assert_string_equal(hw.error, "");
    assert_int_equal(host_clock_ms(), 0); /* nothing was waited for */
    hw_close(&hw);
    assert_false(host_pci_is_bus_master(fake.pci));
    assert_int_equal(hw_read32(&hw, 0), UINT32_MAX); /* closed: no register is there */
}

static void test_chips(void **state)
{
    (void)state;
    static const struct {
        uint32_t boot_42;
        const char *name, *firmware;
        enum hw_boot boot;
        unsigned mmu, sm;
    } chips[] = {
        {0x162a1000, "tu102", "tu102", HW_BOOT_SEC2, 2, 75},
        {0x168a1000, "tu116", "tu116", HW_BOOT_SEC2, 2, 75},
        {0x170a1000, "ga100", "ga100", HW_BOOT_SEC2, 2, 80},
        {0x176a1000, "ga106", "ga102", HW_BOOT_SEC2, 2, 86},
        {0x193a1000, "ad103", "ad102", HW_BOOT_SEC2, 2, 89},
        {0x180a1000, "gh100", "gh100", HW_BOOT_FSP, 3, 90},
        {0x1a0a1000, "gb100", "gb100", HW_BOOT_FSP, 3, 100},
        {0x1b2a1000, "gb202", "gb202", HW_BOOT_FSP, 3, 120},
        {0x1b6a1000, "gb206", "gb202", HW_BOOT_FSP, 3, 120},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(chips); i++) {
        fake_make(chips[i].boot_42 < 0x170a1000);
        fake.boot_42 = chips[i].boot_42;
        fake.firmware_done_ms = host_clock_ms() + 100;
        if (open_gpu() != 0)
            fail_msg("%s: %s", chips[i].name, hw.error);
        assert_string_equal(hw.chip->name, chips[i].name);
        assert_string_equal(hw.chip->firmware, chips[i].firmware);
        assert_int_equal(hw.chip->boot, chips[i].boot);
        assert_int_equal(hw.chip->mmu_version, chips[i].mmu);
        assert_int_equal(hw.chip->sm, chips[i].sm);
        assert_in_range(host_clock_ms(), fake.firmware_done_ms, fake.firmware_done_ms + 1);
        hw_close(&hw);
    }
    static const uint32_t unknown[] = {0x140a1000, 0x163a1000, 0x171a1000, 0x1b0a1000, 0x3fffffff};
    for (unsigned i = 0; i < ARRAY_COUNT(unknown); i++) {
        fake_make(false);
        fake.boot_42 = unknown[i];
        check_error(open_gpu(), -ENOTSUP, "is not known");
    }
}

/* Datacenter cards from Hopper on: BAR0 has 64 bits, so the window to VRAM is BAR 2. */
static void test_wide_registers(void **state)
{
    (void)state;
    static uint8_t window[64];
    void *const bars[6] = {FAKE_BAR0, NULL, window};
    const struct pci_device device = {
        .bus = 2,
        .vendor_id = 0x10de,
        .device_id = 0x2330,
        .bar = {{.pa = 0x3000000000, .size_bytes = FAKE_BAR0_BYTES, .is_64 = true},
                {.size_bytes = 0},
                {.pa = 0x4000000000, .size_bytes = 128 * GIB, .is_64 = true}}};
    fake.pci = host_pci_add(&device, bars);
    fake.boot_42 = 0x180a1000;
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(hw.bar1_bus, 0x4000000000);
    assert_ptr_equal((void *)(uintptr_t)hw.bar1, window);
}

static void test_no_gpu_there(void **state)
{
    (void)state;
    fake.is_gone = true;
    check_error(open_gpu(), -ENODEV, "BOOT_0");
    setup(state);
    fake.pci->bar[0].size_bytes = 1 << 20;
    check_error(open_gpu(), -ENODEV, "BAR0 has 1024 KiB");
    setup(state);
    fake.pci->bar[0].is_io = true;
    check_error(open_gpu(), -ENODEV, "BAR0");
    setup(state);
    fake.pci->bar[1].size_bytes = 0;
    check_error(open_gpu(), -ENODEV, "BAR1");
    void *const no_memory[6] = {FAKE_BAR0, NULL};
    struct pci_device device = *fake.pci;
    device.bar[1].size_bytes = 256 << 20;
    fake.pci = host_pci_add(&device, no_memory);
    check_error(open_gpu(), -ENOMEM, "cannot be mapped");
}

static void test_firmware_is_awaited(void **state)
{
    (void)state;
    fake.firmware_done_ms = 1500;
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(host_clock_ms(), 1500);
    hw_close(&hw);

    setup(state);
    fake.firmware_hangs = true;
    check_error(open_gpu(), -ETIMEDOUT, "0x118234 is 0x1234 after 4000 ms, wanted 0xff");
    assert_int_equal(host_clock_ms(), 4000);

    setup(state);
    fake.sb_locks = true; /* the other register stays closed */
    check_error(open_gpu(), -ETIMEDOUT, "0x118128");

    setup(state);
    fake.boot_42 = 0x1b2a1000;
    fake.firmware_hangs = true;
    check_error(open_gpu(), -ETIMEDOUT, "FSP");
    assert_int_equal(host_clock_ms(), 5000);
}

static void test_vram_size(void **state)
{
    (void)state;
    fake_make(true);
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(hw.vram_bytes, 11 * GIB);
    hw_close(&hw);
    fake.has_ecc = true;
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(hw.vram_bytes, 11 * GIB / 16 * 15);
    hw_close(&hw);
    static const uint32_t wrong[] = {0, 0xbadf5040, 0xffffffff, 0x00500000};
    for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++) {
        fake_make(false);
        fake.vram_mib = wrong[i];
        check_error(open_gpu(), -EIO, "size of VRAM: register 0x1183a4");
    }
}

/* ---- left running ---- */

static struct {
    enum pci_reset works; /* takes WPR2 down */
    bool function_is_refused, bus_is_refused, never_returns;
    unsigned function_resets, bus_resets;
    uint64_t ones_ms; /* registers read as ones for that long after it */
} resets;

static int on_reset(void *arg, enum pci_reset how)
{
    (void)arg;
    assert_false(host_pci_is_bus_master(fake.pci));
    if (how == PCI_RESET_FUNCTION ? resets.function_is_refused : resets.bus_is_refused)
        return how == PCI_RESET_FUNCTION ? -ENOTSUP : -EBUSY;
    if (resets.never_returns)
        return -ETIMEDOUT;
    how == PCI_RESET_FUNCTION ? resets.function_resets++ : resets.bus_resets++;
    if (how == resets.works)
        fake.wpr2_low = fake.wpr2_high = 0;
    fake.firmware_done_ms = host_clock_ms() + 900;
    return 0;
}

static void leave_running(void)
{
    memset(&resets, 0, sizeof(resets));
    fake.wpr2_low = 0x5ffe0000;
    fake.wpr2_high = 0x5fff0000;
    host_pci_on_reset(fake.pci, on_reset, NULL);
}

static void test_left_running(void **state)
{
    (void)state;
    leave_running();
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(resets.function_resets, 1);
    assert_int_equal(resets.bus_resets, 0);
    assert_int_equal(host_clock_ms(), 900);
    assert_true(host_pci_is_bus_master(fake.pci));
    hw_close(&hw);

    setup(state);
    leave_running();
    resets.works = PCI_RESET_BUS; /* the other way leaves WPR2 up */
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(resets.function_resets, 1);
    assert_int_equal(resets.bus_resets, 1);
    hw_close(&hw);

    setup(state);
    leave_running();
    resets.works = PCI_RESET_BUS;
    resets.function_is_refused = true;
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(resets.bus_resets, 1);
    hw_close(&hw);
}

static void test_left_running_for_good(void **state)
{
    (void)state;
    leave_running();
    resets.works = (enum pci_reset)2; /* neither */
    check_error(open_gpu(), -EIO, "left running by an earlier owner");
    assert_int_equal(resets.function_resets + resets.bus_resets, 2);

    setup(state);
    leave_running();
    resets.function_is_refused = resets.bus_is_refused = true;
    check_error(open_gpu(), -EBUSY, "left running by an earlier owner");

    setup(state);
    leave_running();
    resets.never_returns = true;
    check_error(open_gpu(), -ETIMEDOUT, "did not come back");

    setup(state);
    fake.wpr2_high = 0x5fff0000; /* and no way to reset it at all */
    check_error(open_gpu(), -ENOTSUP, "left running by an earlier owner");
}

/* Off the bus after any number of reads: an error, soon, with nothing held. */
static void test_gone_at_any_time(void **state)
{
    (void)state;
    bool has_opened = false, has_run = false;
    for (uint64_t reads = 1; !has_run; reads += reads < 60 ? 1 : 997) {
        setup(state);
        fake.gone_after_reads = reads;
        int error = open_gpu();
        has_opened = error == 0;
        if (error == 0)
            error = fwsec_frts(&hw, NULL, FRTS, FWSEC_FRTS_BYTES);
        has_run = error == 0;
        assert_true(has_run || strstr(hw.error, "the GPU has left the bus") != NULL);
        if (!has_run && host_clock_ms() > 4200)
            fail_msg("%llu reads: took %llu ms: %s", (unsigned long long)reads,
                     (unsigned long long)host_clock_ms(), hw.error);
        hw_close(&hw);
        assert_int_equal(host_page_live_bytes(), 0);
        assert_in_range(reads, 1, 100000);
    }
    assert_true(has_opened);
}

static void test_register_access(void **state)
{
    (void)state;
    assert_int_equal(open_gpu(), 0);
    static const uint32_t wrong[] = {0x1000000, 0xfffffffc, 2, 0x110041};
    for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++) {
        hw.error[0] = '\0';
        assert_int_equal(hw_read32(&hw, wrong[i]), UINT32_MAX);
        assert_non_null(strstr(hw.error, "not in BAR0"));
        hw.error[0] = '\0';
        hw_write32(&hw, wrong[i], 0); /* the fake fails on a write that it does not know */
        assert_non_null(strstr(hw.error, "not in BAR0"));
        assert_int_equal(hw_wait32(&hw, wrong[i], 1, 1, NS_PER_S, "test"), -EINVAL);
    }
    hw.error[0] = '\0';
    assert_int_equal(hw_fail(&hw, -EIO, "first %u", 1), -EIO);
    assert_int_equal(hw_fail(&hw, -EPERM, "second"), -EPERM);
    assert_string_equal(hw.error, "first 1");
}

/* ---- FWSEC ---- */

static int frts(void)
{
    if (open_gpu() != 0)
        fail_msg("%s", hw.error);
    return fwsec_frts(&hw, fake.is_turing ? &loader : NULL, fake.is_turing ? 0x2bfe00000 : FRTS,
                      FWSEC_FRTS_BYTES);
}

static void test_frts(void **state)
{
    for (unsigned generation = 0; generation < 2; generation++) {
        setup(state);
        fake_make(generation == 1);
        fake.needs_alias = generation == 0;
        if (frts() != 0 || fake.refusal[0] != '\0')
            fail_msg("%s; the GPU says: %s", hw.error, fake.refusal);
        assert_int_equal(fake.resets, 1);
        assert_int_equal(fake.runs, 1);
        assert_int_equal(fake.dma_blocks, generation == 1 ? 0 : 6 + 5);
        assert_in_range(host_clock_ms(), 45, 60);
        uint64_t start, end;
        assert_true(fwsec_wpr2(&hw, &start, &end));
        assert_int_equal(start, generation == 1 ? 0x2bfe00000 : FRTS);
        assert_string_equal(hw.vbios_version, "94.02.42.00.02");

        /* Once more is refused: WPR2 is up. And the other command, with the VBIOS that is kept. */
        check_error(fwsec_frts(&hw, &loader, FRTS, FWSEC_FRTS_BYTES),
                    generation == 1 ? -EINVAL : -EBUSY,
                    generation == 1 ? "no place" : "WPR2 is up already");
        hw.error[0] = '\0';
        memset(fake.vbios.bytes, 0, 512);
        if (fwsec_sb(&hw, &loader) != 0 || fake.refusal[0] != '\0')
            fail_msg("%s; the GPU says: %s", hw.error, fake.refusal);
        assert_int_equal(fake.resets, 2);
        assert_int_equal(host_page_live_bytes(), 0);
        hw_close(&hw);
    }
}

static void test_fuse_versions(void **state)
{
    static const struct {
        uint32_t fuse;
        bool has_signature; /* there are some for 1, 2 and 4 */
    } cases[] = {{0x0, false}, {0x1, true}, {0x3, true},     {0x2, true},       {0x7, false},
                 {0xf, true},  {0x8, true}, {0xffff, false}, {0xabcd0001, true}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        setup(state);
        fake.gsp_fuse = cases[i].fuse;
        int result = frts();
        if (cases[i].has_signature) {
            assert_int_equal(result, 0);
            assert_string_equal(fake.refusal, "");
        } else {
            check_error(result, -EINVAL, "the fuses ask for version");
            assert_int_equal(fake.runs, 0);
        }
        hw_close(&hw);
    }
    setup(state);
    fake.fuse_is_locked = true;
    check_error(frts(), -EIO, "fuse register 0x8241e0");
    hw_close(&hw);
    unsigned version;
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(falcon_fuse_version(&hw, 0x400, 0, &version), -EINVAL);
    assert_int_equal(falcon_fuse_version(&hw, 0x400, 17, &version), -EINVAL);
    assert_int_equal(falcon_fuse_version(&hw, 0x800, 1, &version), -EINVAL);
}

static void test_fwsec_fails(void **state)
{
    static const struct {
        size_t flag; /* of the fake */
        int error;
        const char *text;
        unsigned at_least_ms, at_most_ms;
    } cases[] = {
#define CASE(flag, ...) {offsetof(struct fake_gsp_gpu, flag), __VA_ARGS__}
        CASE(never_scrubs, -ETIMEDOUT, "memories scrubbed", 2000, 2020),
        CASE(never_halts, -ETIMEDOUT, "GSP falcon: halt: register 0x110100 is 0", 4000, 4020),
        CASE(dma_full, -ETIMEDOUT, "DMA of code", 2000, 2020),
        CASE(dma_never_idle, -ETIMEDOUT, "DMA of code", 2000, 2020),
        CASE(core_stays_riscv, -ETIMEDOUT, "switch from RISC-V", 1000, 1020),
        CASE(wpr2_stays_down, -EIO, "WPR2 did not come up", 0, 60),
        CASE(wpr2_elsewhere, -EIO, "WPR2 is at", 0, 60),
#undef CASE
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        setup(state);
        *((bool *)&fake + cases[i].flag) = true;
        check_error(frts(), cases[i].error, cases[i].text);
        assert_in_range(host_clock_ms(), cases[i].at_least_ms, cases[i].at_most_ms);
        assert_int_equal(host_page_live_bytes(), 0);
        hw_close(&hw);
    }
    setup(state);
    fake.frts_error = 0x2b;
    check_error(frts(), -EIO, "FWSEC-FRTS: error 0x2b");
    hw_close(&hw);
    setup(state);
    fake.mailbox_error = 0x55;
    check_error(frts(), -EIO, "ended with error 0x55");
    hw_close(&hw);
    setup(state);
    memset(fake.vbios.bytes + 0x2400, 0, 2);
    check_error(frts(), -EIO, "no ROM image at 0x2400");
    hw_close(&hw);
    setup(state);
    vbios_put(&fake.vbios, fake.vbios.data + VBIOS_INTERFACE_AT, 0, 4);
    check_error(frts(), -EINVAL, "interface table");
    hw_close(&hw);
    setup(state);
    host_page_alloc_fail_after(0);
    check_error(frts(), -ENOMEM, "no memory");
    hw_close(&hw);
    setup(state);
    fake_make(true); /* Turing needs the loader ... */
    assert_int_equal(open_gpu(), 0);
    check_error(fwsec_frts(&hw, NULL, 0x110000, FWSEC_FRTS_BYTES), -EINVAL, "no place");
    hw.error[0] = '\0';
    check_error(fwsec_frts(&hw, NULL, 0x120000, FWSEC_FRTS_BYTES), -EINVAL, "no loader");
    hw_close(&hw);
    setup(state);
    const struct vbios_recipe recipe = {.desc_version = 2, .application = 0x85};
    vbios_make(&fake.vbios, &recipe); /* ... and GA102 a program that is signed its way */
    check_error(frts(), -EINVAL, "descriptor of version 2, ga102 has version 3");
    hw_close(&hw);
    setup(state);
    fake.boot_42 = 0x1b2a1000;
    check_error(frts(), -ENOTSUP, "FSP");
}

static void test_sb_fails(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        setup(state);
        assert_int_equal(open_gpu(), 0);
        fake.sb_locks = i == 0;
        fake.sb_not_complete = i == 1;
        fake.sb_error = i == 2 ? 0x31 : 0;
        check_error(fwsec_sb(&hw, NULL), -EIO,
                    i == 0   ? "progress stays locked"
                    : i == 1 ? "not completed"
                             : "FWSEC-SB: error 0x31");
        hw_close(&hw);
    }
}

/* ---- images on a falcon ---- */

#define IMAGE_BYTES 0x1000u

static void test_load_by_ports(void **state)
{
    (void)state;
    fake_make(true);
    fake.runs_anything = true;
    assert_int_equal(open_gpu(), 0);
    uint8_t *bytes = page_alloc(IMAGE_BYTES, 0);
    assert_non_null(bytes);
    for (uint32_t i = 0; i < IMAGE_BYTES; i++)
        bytes[i] = (uint8_t)(i ^ i >> 8);
    const struct falcon_image image = {
        .bytes = bytes,
        .size_bytes = IMAGE_BYTES,
        .imem_nonsecure = {.offset = 0, .size_bytes = 0x1fe, .address = 0, .tag = 0},
        .imem = {.offset = 0x200, .size_bytes = 0x500, .address = 0x200, .tag = 0x300},
        .dmem = {.offset = 0x800, .size_bytes = 0x7fd, .address = 0x40},
        .boot_vector = 0x100,
    };
    uint32_t mailbox[2] = {0x11223344, 0x55667788};
    assert_int_equal(falcon_reset(&hw, &falcon_gsp), 0);
    assert_int_equal(falcon_run_hs(&hw, &falcon_gsp, &image, mailbox), 0);
    assert_memory_equal(fake.imem, bytes, 0x200);
    assert_memory_equal(fake.imem + 0x200, bytes + 0x200, 0x500);
    assert_memory_equal(fake.dmem + 0x40, bytes + 0x800, 0x800);
    assert_int_equal(fake.imem_tag[1], 1);
    assert_int_equal(fake.imem_tag[2], 3);
    assert_int_equal(fake.imem_tag[6], 7);
    assert_false(fake.imem_secure[1]);
    assert_true(fake.imem_secure[2] && fake.imem_secure[6]);
    assert_int_equal(fake.bootvec, 0x100);
    assert_int_equal(mailbox[0], 0x11223344);
    assert_string_equal(fake.refusal, "");
    page_free(bytes, IMAGE_BYTES);
}

static void test_images_that_do_not_fit(void **state)
{
    struct image_field {
        size_t at;
        uint32_t value;
    };
#define FIELD(name) offsetof(struct falcon_image, name)
    static const struct image_field lies[] = {
        {FIELD(imem.offset), IMAGE_BYTES},
        {FIELD(imem.offset), 0xffffff00},
        {FIELD(imem.size_bytes), 0x1001},
        {FIELD(imem.size_bytes), 0xffffffff},
        {FIELD(imem.address), 0x80},
        {FIELD(imem.address), 0xffffff00},
        {FIELD(imem.tag), 0x80},
        {FIELD(imem.tag), 0xffffff00},
        {FIELD(dmem.offset), IMAGE_BYTES + 256},
        {FIELD(dmem.size_bytes), 0xffffffff},
        {FIELD(dmem.size_bytes), 0xe00},
        {FIELD(dmem.address), 0xffffff00},
        {FIELD(imem_nonsecure.offset), 0x1004},
        {FIELD(imem_nonsecure.size_bytes), 0x1001},
        {FIELD(imem_nonsecure.address), 0x10},
        {FIELD(imem_nonsecure.tag), 0x10},
    };
#undef FIELD
    for (unsigned turing = 0; turing < 2; turing++) {
        for (unsigned i = 0; i < ARRAY_COUNT(lies); i++) {
            if (!turing && lies[i].at >= offsetof(struct falcon_image, imem_nonsecure) &&
                lies[i].at < offsetof(struct falcon_image, dmem))
                continue; /* not looked at from GA102 on */
            setup(state);
            fake_make(turing);
            fake.runs_anything = true;
            assert_int_equal(open_gpu(), 0);
            uint8_t *bytes = page_alloc(IMAGE_BYTES, 0);
            assert_non_null(bytes);
            struct falcon_image image = {
                .bytes = bytes,
                .size_bytes = IMAGE_BYTES,
                .imem_nonsecure = {.size_bytes = 0x100},
                .imem = {.offset = 0x100, .size_bytes = 0x100, .address = 0x100, .tag = 0x100},
                .dmem = {.offset = 0x400, .size_bytes = 0x100},
            };
            memcpy((uint8_t *)&image + lies[i].at, &lies[i].value, 4);
            assert_int_equal(falcon_reset(&hw, &falcon_gsp), 0);
            int result = falcon_run_hs(&hw, &falcon_gsp, &image, NULL);
            if (result != -EINVAL || fake.runs != 0 || hw.error[0] == '\0')
                fail_msg("lie %u, generation %u: %d", i, turing, result);
            page_free(bytes, IMAGE_BYTES);
            hw_close(&hw);
        }
    }
}

static void test_reset_for_riscv(void **state)
{
    (void)state;
    fake.runs_anything = true;
    assert_int_equal(open_gpu(), 0);
    assert_int_equal(falcon_reset_riscv(&hw, &falcon_gsp), 0);
    assert_int_equal(fake.bcr, 0x111); /* RISC-V, boot ROM fetches; VALID is the hardware's */
    assert_int_equal(fake.resets, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wide_registers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_gpu_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_firmware_is_awaited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vram_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_running, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_running_for_good, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_at_any_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_register_access, setup, teardown),
        cmocka_unit_test_setup_teardown(test_frts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fuse_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fwsec_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sb_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_load_by_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_images_that_do_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_for_riscv, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_pci_clear();
    return failed;
}
