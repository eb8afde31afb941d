/*
 * tests/unit/test_gsp_model.c: bring-up on the GPU model, all chips, and every fault of its table: whatever goes wrong is reported,
 * frees all it took, leaves no bus mastering on, and the next start works.
 */
#include "tests/unit/gpu_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "gpu/nvidia/gsp/gsp.h"

static char trace_path[64];

static const char *trace_file(const char *chip)
{
    if (getenv("GPU_MODEL_TRACE") == NULL)
        return NULL;
    snprintf(trace_path, sizeof(trace_path), "%s/trace-%s", getenv("GPU_MODEL_TRACE"), chip);
    return trace_path;
}

static struct gsp gsp;

static void chip_starts(const char *chip)
{
    host_clock_fake(true);
    gpu_model_firmware_add(chip);
    uint64_t live = host_page_live_bytes();
    struct pci_device *pci = gpu_model_open(chip, 8192, GPU_MODEL_FIRMWARE, trace_file(chip));
    for (unsigned round = 0; round < 2; round++) {
        int error = gsp_start(&gsp, pci, "nvidia0");
        if (error != 0)
            fail_msg("%s, start %u: %d: %s", chip, round, error, gsp.hw.error);
        gsp_stop(&gsp);
        assert_false(host_pci_is_bus_master(pci));
        assert_int_equal(host_page_live_bytes(), live);
    }
    if (embed_refusals(gpu_model.model) != 0)
        fail_msg("%s: %u refusals; the last: %s", chip, embed_refusals(gpu_model.model),
                 embed_last_refusal(gpu_model.model));
    gpu_model_close();
    host_clock_fake(false);
}

static void test_ga102(void **state)
{
    chip_starts(gpu_model_chips[0]);
}
static void test_ad102(void **state)
{
    chip_starts(gpu_model_chips[1]);
}
static void test_tu102(void **state)
{
    chip_starts(gpu_model_chips[2]);
}
static void test_gh100(void **state)
{
    chip_starts(gpu_model_chips[3]);
}
static void test_gb202(void **state)
{
    chip_starts(gpu_model_chips[4]);
}

static void test_faults(void **state)
{
    for (unsigned c = 0; c < sizeof(gpu_model_chips) / sizeof(gpu_model_chips[0]); c++) {
        host_clock_fake(true);
        gpu_model_firmware_add(gpu_model_chips[c]);
        uint64_t live = host_page_live_bytes();
        struct pci_device *pci = gpu_model_open(gpu_model_chips[c], 4096, GPU_MODEL_FIRMWARE, NULL);
        const char *fault;
        for (unsigned i = 0; (fault = embed_fault_get(gpu_model.model, i)) != NULL; i++) {
            char name[96];
            snprintf(name, sizeof(name), "%s", fault);
            if (strncmp(name, "lost", 4) == 0)
                continue; /* for good: the test below */
            if (c > 0 && (strncmp(name, "rpc.", 4) == 0 || strncmp(name, "rm.", 3) == 0))
                continue; /* the same on all chips */
            embed_fault(name);
            embed_reset(gpu_model.model);
            gpu_model_last_command = 0;
            int error = gsp_start(&gsp, pci, "nvidia0");
            if (error == 0)
                gsp_stop(&gsp);
            else if (gsp.hw.error[0] == '\0')
                fail_msg("%s, %s: error %d without a reason", gpu_model_chips[c], name, error);
            if (getenv("GPU_MODEL_VERBOSE") != NULL)
                print_message("%s %s: %d %s\n", gpu_model_chips[c], name, error,
                              error ? gsp.hw.error : "");
            if (host_pci_is_bus_master(pci) || host_page_live_bytes() != live)
                fail_msg("%s, %s: bus mastering %d, %llu bytes not freed", gpu_model_chips[c], name,
                         host_pci_is_bus_master(pci),
                         (unsigned long long)(host_page_live_bytes() - live));
            embed_fault(NULL);
            embed_reset(gpu_model.model);
            gpu_model_last_command = 0;
            if (c > 0)
                continue; /* the first chip shows that the next start works; it takes a while */
            error = gsp_start(&gsp, pci, "nvidia0");
            if (error != 0)
                fail_msg("%s: the start after %s: %d: %s", gpu_model_chips[c], name, error,
                         gsp.hw.error);
            gsp_stop(&gsp);
        }
        if (embed_refusals(gpu_model.model) != 0)
            fail_msg("%s: %u refusals; the last: %s", gpu_model_chips[c],
                     embed_refusals(gpu_model.model), embed_last_refusal(gpu_model.model));
        gpu_model_close();
        host_clock_fake(false);
    }
}

/* A GPU left running is reset, through its bus where it has no function-level reset; or it says why it cannot be. */
static void test_left_running(void **state)
{
    static const struct {
        const char *chip, *fault, *error;
    } cases[] = {
        {"ga102", NULL, NULL},
        {"tu102", NULL, NULL},
        {"gh100", NULL, NULL},
        {"ga102", "pci.reset=late", NULL},
        {"ga102", "pci.reset=fail", "power the machine off"},
        {"ga102", "pci.reset=hang", "BOOT_0"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        host_clock_fake(true);
        gpu_model_firmware_add(cases[i].chip);
        uint64_t live = host_page_live_bytes();
        struct pci_device *pci = gpu_model_open(cases[i].chip, 4096, GPU_MODEL_FIRMWARE, NULL);
        embed_left_running(gpu_model.model);
        if (cases[i].fault != NULL)
            embed_fault(cases[i].fault);
        int error = gsp_start(&gsp, pci, "nvidia0");
        if (error == 0)
            gsp_stop(&gsp);
        if ((error == 0) != (cases[i].error == NULL) ||
            (error != 0 && strstr(gsp.hw.error, cases[i].error) == NULL))
            fail_msg("%s, %s: %d: %s", cases[i].chip,
                     cases[i].fault != NULL ? cases[i].fault : "no fault", error, gsp.hw.error);
        assert_false(host_pci_is_bus_master(pci));
        assert_int_equal(host_page_live_bytes(), live);
        assert_int_equal(embed_refusals(gpu_model.model), 0);
        embed_fault(NULL);
        gpu_model_close();
        host_clock_fake(false);
    }
}

/* The GPU falls off the bus at the N-th register access, wherever that is. */
static void test_lost(void **state)
{
    for (unsigned n = 1; n < 6000; n += n < 50 ? 7 : 397) {
        host_clock_fake(true);
        gpu_model_firmware_add(gpu_model_chips[0]);
        uint64_t live = host_page_live_bytes();
        struct pci_device *pci = gpu_model_open("ga102", 4096, GPU_MODEL_FIRMWARE, NULL);
        char name[32];
        snprintf(name, sizeof(name), "lost@%u", n);
        embed_fault(name);
        int error = gsp_start(&gsp, pci, "nvidia0");
        if (error == 0)
            gsp_stop(&gsp);
        assert_false(host_pci_is_bus_master(pci));
        assert_int_equal(host_page_live_bytes(), live);
        embed_fault(NULL);
        gpu_model_close();
        host_clock_fake(false);
    }
}

int main(void)
{
    host_log_level(getenv("GPU_MODEL_VERBOSE") != NULL ? LOG_DEBUG : LOG_ERROR);
    if (access(GPU_MODEL_FIRMWARE "/nvidia/ga102/gsp/gsp-570.144.bin", R_OK) != 0) {
        print_message("no firmware in " GPU_MODEL_FIRMWARE ": run setup/firmware build/deps\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ga102),        cmocka_unit_test(test_ad102),
        cmocka_unit_test(test_tu102),        cmocka_unit_test(test_gh100),
        cmocka_unit_test(test_gb202),        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_left_running), cmocka_unit_test(test_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
