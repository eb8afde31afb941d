/*
 * tests/unit/test_gpu_model.c: a modelled GPU as a device of gpu.h: brought up, compute and copy channels made, copies run
 * and compared, stopped. Then every fault of GSP-RM's answers, at one chip of each kind: the device works all the same, or
 * says why it does not, leaves nothing behind, and the next start works.
 *
 * Kernels are not run here: the model's window for them has no place beside the sanitizer. tests/e2e does that.
 */
#include "tests/unit/gpu_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "gpu/gpu.h"
#include "gpu/nvidia/device.h"
#include "gpu/nvidia/gsp/transport.h"
#include "gpu/nvidia/nvidia.h"

#define COPY_BYTES (3 * 1024 * 1024 + 64)

/* The check at the end of a start runs a kernel. */
int __wrap_nvidia_check(struct nvidia_device *device, char *why, size_t why_bytes);
int __wrap_nvidia_check(struct nvidia_device *device, char *why, size_t why_bytes)
{
    why[0] = '\0';
    return 0;
}

/* ---- using a device ---------------------------------------------------------------------------------------------- */

/* Without ptxas a build has no kernels: the device is open, but says that it cannot be used. */
static bool is_open(struct gpu_device *device)
{
    return device != NULL && ((struct nvidia_device *)device)->rm.context != NULL;
}

/* Host memory to VRAM and back through a copy engine: 0 and equal, or what went wrong. */
static int copy_round(struct gpu_device *device)
{
    struct gpu_queue *queue = NULL;
    struct gpu_timeline *timeline = NULL;
    struct gpu_buffer *from = NULL, *vram = NULL, *to = NULL;
    int error = gpu_queue_create(device, GPU_QUEUE_COPY, &queue);
    if (!error)
        error = gpu_timeline_create(device, &timeline);
    if (!error)
        error = gpu_alloc(device, GPU_MEMORY_HOST, COPY_BYTES, &from);
    if (!error)
        error = gpu_alloc(device, GPU_MEMORY_VRAM, COPY_BYTES, &vram);
    if (!error)
        error = gpu_alloc(device, GPU_MEMORY_HOST, COPY_BYTES, &to);
    if (!error) {
        for (unsigned i = 0; i < COPY_BYTES; i++)
            ((uint8_t *)from->cpu)[i] = (uint8_t)(i * 7 + i / 4096);
        memset(to->cpu, 0xee, COPY_BYTES);
        error = gpu_copy(queue, vram, 0, from, 0, COPY_BYTES);
    }
    if (!error)
        error = gpu_copy(queue, to, 0, vram, 0, COPY_BYTES);
    if (!error)
        error = gpu_signal(queue, timeline, 1);
    if (!error)
        error = gpu_submit(queue);
    /* The twin's clock stands still while a waiter spins, so let time pass before waiting. */
    for (unsigned i = 0; !error && i < 1000 && gpu_timeline_value(timeline) == 0; i++)
        task_sleep_until(time_ns() + NS_PER_MS);
    if (!error)
        error = gpu_timeline_wait(timeline, 1, time_ns());
    if (!error && memcmp(from->cpu, to->cpu, COPY_BYTES) != 0)
        error = -EILSEQ;
    if (queue)
        gpu_queue_destroy(queue);
    if (timeline)
        gpu_timeline_destroy(timeline);
    gpu_free(to);
    gpu_free(vram);
    gpu_free(from);
    return error;
}

static int use(struct gpu_device *device)
{
    struct gpu_queue *first, *second;
    int error = gpu_queue_create(device, GPU_QUEUE_COMPUTE, &first);
    if (error)
        return error;
    error = gpu_queue_create(device, GPU_QUEUE_COMPUTE, &second); /* of the same group */
    if (!error) {
        error = copy_round(device);
        gpu_queue_destroy(second);
    }
    gpu_queue_destroy(first);
    return error;
}

/* Start, use and stop. Why it did not work: in why, "" when it did. */
static void round_trip(struct pci_device *pci, char *why, size_t why_bytes)
{
    uint64_t live = host_page_live_bytes();
    nvidia_transport_set(&gsp_transport);
    assert_int_equal(gpu_start(), 0);
    gpu_start_wait();
    struct gpu_device *device = gpu_device_find("nvidia0");
    assert_non_null(device);
    struct gpu_device_info info;
    gpu_device_info(device, &info);
    why[0] = '\0';
    if (!is_open(device)) {
        assert_false(info.is_usable);
        assert_true(info.why_not[0] != '\0');
        snprintf(why, why_bytes, "%s", info.why_not);
    } else {
        int error = use(device);
        if (error)
            snprintf(why, why_bytes, "%d: %s", error, gpu_error());
    }
    gpu_stop();
    if (host_pci_is_bus_master(pci) || host_page_live_bytes() != live)
        fail_msg("%s: bus mastering %d, %lld bytes not freed", why, host_pci_is_bus_master(pci),
                 (long long)(host_page_live_bytes() - live));
}

static struct pci_device *begin(const char *chip)
{
    host_clock_fake(true);
    gpu_model_firmware_add(chip);
    return gpu_model_open(chip, 2048, GPU_MODEL_FIRMWARE, NULL);
}

static void end(const char *chip)
{
    if (embed_refusals(gpu_model.model) != 0)
        fail_msg("%s: %u refusals; the last: %s", chip, embed_refusals(gpu_model.model),
                 embed_last_refusal(gpu_model.model));
    gpu_model_close();
    host_clock_fake(false);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_every_chip_copies(void **state)
{
    for (unsigned c = 0; c < sizeof(gpu_model_chips) / sizeof(gpu_model_chips[0]); c++) {
        char why[300];
        struct pci_device *pci = begin(gpu_model_chips[c]);
        for (unsigned round = 0; round < 2; round++) {
            round_trip(pci, why, sizeof(why));
            if (why[0] != '\0')
                fail_msg("%s, round %u: %s; refused: %s", gpu_model_chips[c], round, why,
                         embed_refusals(gpu_model.model) ? embed_last_refusal(gpu_model.model)
                                                         : "nothing");
        }
        end(gpu_model_chips[c]);
    }
}

/* Those that come after GSP_INIT_DONE; test_gsp_model.c has the others, tests/e2e those of the engines. */
static bool comes_later(const char *fault)
{
    static const char *const names[] = {"rpc.alloc",      "rpc.control", "rpc.page-directory",
                                        "rpc.free",       "rpc.unload",  "rm.",
                                        "mmu.invalidate", "interrupt"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(fault, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void faults_of(const char *chip)
{
    struct pci_device *pci = begin(chip);
    const char *fault;
    for (unsigned i = 0; (fault = embed_fault_get(gpu_model.model, i)) != NULL; i++) {
        char name[96], why[300];
        snprintf(name, sizeof(name), "%s", fault);
        if (!comes_later(name))
            continue;
        embed_fault(name);
        round_trip(pci, why, sizeof(why));
        if (getenv("GPU_MODEL_VERBOSE") != NULL)
            print_message("%s %s: %s\n", chip, name, why[0] != '\0' ? why : "works");
        embed_fault(NULL);
        embed_reset(gpu_model.model);
        gpu_model_last_command = 0;
        round_trip(pci, why, sizeof(why));
        if (why[0] != '\0')
            fail_msg("%s: the start after %s: %s", chip, name, why);
    }
    end(chip);
}

static void test_faults_of_a_booter_chip(void **state)
{
    faults_of("ga102");
}
static void test_faults_of_an_fsp_chip(void **state)
{
    faults_of("gb202");
}

/* The N-th request of each kind goes wrong, wherever that is in a device's life. */
static void test_each_request_fails_once(void **state)
{
    static const struct {
        const char *name;
        unsigned last;
    } requests[] = {{"rpc.alloc", 22}, {"rpc.control", 16}, {"rpc.free", 12}};
    struct pci_device *pci = begin("ga102");
    for (unsigned r = 0; r < 3; r++)
        for (unsigned n = 1; n <= requests[r].last; n++) {
            char name[64], why[300];
            snprintf(name, sizeof(name), "%s=fail@%u", requests[r].name, n);
            embed_fault(NULL); /* asks are counted from here */
            embed_fault(name);
            round_trip(pci, why, sizeof(why));
            if (getenv("GPU_MODEL_VERBOSE") != NULL)
                print_message("%s: %s\n", name, why[0] != '\0' ? why : "works");
            embed_fault(NULL);
        }
    embed_reset(gpu_model.model);
    gpu_model_last_command = 0;
    char why[300];
    round_trip(pci, why, sizeof(why));
    assert_string_equal(why, "");
    end("ga102");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_chip_copies),
        cmocka_unit_test(test_faults_of_a_booter_chip),
        cmocka_unit_test(test_faults_of_an_fsp_chip),
        cmocka_unit_test(test_each_request_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
