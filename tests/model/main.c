/*
 * tests/model/main.c: a program that is an NVIDIA GPU. QEMU attaches it as
 *
 *   -object memory-backend-memfd,id=ram,size=1G,share=on -machine memory-backend=ram
 *   -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"SOCKET"}}'
 *
 * Exit status: 0 when the guest did nothing that a real GPU would have refused, 3 when it did, 2 when the model could not start,
 * 1 when QEMU broke the protocol.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/parts.h"

static volatile int stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static const char usage[] =
    "gpu --socket PATH [options]: an NVIDIA GPU for QEMU's vfio-user-pci device\n"
    "  --chip NAME        ga102 (default), ad102, tu102, gh100, gb202; --list-chips\n"
    "  --vram MIB         framebuffer (8192, or what the card has if that is less)\n"
    "  --bar1 MIB         framebuffer BAR, a power of two (all of the framebuffer)\n"
    "  --firmware DIR     the firmware package, unpacked: what the driver loads is compared with "
    "it\n"
    "  --cubins FILE      the GPU code that the image was built with\n"
    "  --fault NAME[=fail|hang|late|garbage][@N]   what goes wrong, each time or the N-th; "
    "--list-faults; may be repeated\n"
    "  --left-running     the GPU was left running by an earlier owner: WPR2 is up\n"
    "  --keep             wait for the next QEMU when one has gone\n"
    "  --trace FILE       everything that happens, in readable form\n"
    "  --quiet            only refusals on stderr\n";

struct options {
    const char *socket, *chip, *firmware, *cubins, *trace;
    uint64_t vram_mib, bar1_mib;
    bool left_running, keep, quiet, list_faults;
};

static uint64_t number(const char *text, const char *what)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value == 0 || value > 1u << 20)
        die("%s %s: a number of MiB, please", what, text);
    return value;
}

static void options_read(struct options *o, int argc, char **argv)
{
    enum {
        SOCKET = 256,
        CHIP,
        VRAM,
        BAR1,
        FIRMWARE,
        CUBINS,
        FAULT,
        LEFT,
        KEEP,
        TRACE,
        QUIET,
        FAULTS,
        CHIPS,
        HELP
    };
    static const struct option names[] = {
        {"socket", 1, NULL, SOCKET},
        {"chip", 1, NULL, CHIP},
        {"vram", 1, NULL, VRAM},
        {"bar1", 1, NULL, BAR1},
        {"firmware", 1, NULL, FIRMWARE},
        {"cubins", 1, NULL, CUBINS},
        {"fault", 1, NULL, FAULT},
        {"left-running", 0, NULL, LEFT},
        {"keep", 0, NULL, KEEP},
        {"trace", 1, NULL, TRACE},
        {"quiet", 0, NULL, QUIET},
        {"list-faults", 0, NULL, FAULTS},
        {"list-chips", 0, NULL, CHIPS},
        {"help", 0, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (c) {
        case SOCKET:
            o->socket = optarg;
            break;
        case CHIP:
            o->chip = optarg;
            break;
        case VRAM:
            o->vram_mib = number(optarg, "--vram");
            break;
        case BAR1:
            o->bar1_mib = number(optarg, "--bar1");
            break;
        case FIRMWARE:
            o->firmware = optarg;
            break;
        case CUBINS:
            o->cubins = optarg;
            break;
        case FAULT:
            fault_arm(optarg);
            break;
        case LEFT:
            o->left_running = true;
            break;
        case KEEP:
            o->keep = true;
            break;
        case TRACE:
            o->trace = optarg;
            break;
        case QUIET:
            o->quiet = true;
            break;
        case FAULTS:
            o->list_faults = true;
            break;
        case CHIPS:
            for (unsigned i = 0; chip_get(i) != NULL; i++)
                printf("%s  %s\n", chip_get(i)->name, chip_get(i)->card);
            exit(0);
        case 'h':
        case HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind != argc || (o->socket == NULL && !o->list_faults)) {
        fputs(usage, stderr);
        exit(2);
    }
}

/* A reset that does not do all that it should; only GPUs that are running (WPR2 is up) are reset for a purpose. */
static bool reset_goes_wrong(struct model *m)
{
    struct wpr2 wpr = wpr2_get(m);
    enum fault_mode mode;
    if (wpr.start == wpr.end || m->is_left_running || !fault(m, "pci.reset", &mode))
        return false;
    if (mode == FAULT_FAIL) {
        pci_reset(m, false);
        return true;
    }
    bus_leave(m, mode == FAULT_LATE ? late_ns() : 0);
    return false;
}

void model_reset(struct model *m, const char *why)
{
    note(m, "%s", why);
    if (reset_goes_wrong(m))
        return;
    gsp_rm_stop(m);
    host_stop(m);
    bool is_function_level = strncmp(why, "function", 8) == 0;
    pci_reset(m, is_function_level);
    boot_reset(m);
    falcon_reset_all(m);
    fsp_reset(m);
    fb_reset(m);
    vf_reset(m);
    /* QEMU resets its machine once at the start; that is not the guest's doing. */
    if (m->is_left_running)
        fb_left_running(m);
}

static void need(int error, const char *what)
{
    if (error != 0)
        die("%s: %s", what, strerror(-error));
}

void model_open(struct model *m, uint64_t bar1_bytes, const char *cubins)
{
    need(loop_init(m), "loop");
    need(bus_init(m), "bus");
    need(pci_init(m, bar1_bytes), "PCI");
    need(boot_init(m), "boot registers");
    need(falcon_init(m), "falcons");
    need(fsp_init(m), "FSP");
    need(fb_init(m), "framebuffer");
    need(vf_init(m), "interrupts");
    need(rm_init(m), "GSP-RM");
    need(mmu_init(m), "MMU");
    need(host_init(m), "channels");
    need(compute_init(m, cubins), "compute");
}

int main(int argc, char **argv)
{
    struct options o = {.chip = "ga102"};
    options_read(&o, argc, argv);
    struct model model = {.firmware_folder = o.firmware, .is_quiet = o.quiet}, *m = &model;
    m->chip = chip_find(o.chip);
    if (m->chip == NULL)
        die("--chip %s: not one that can be modelled (--list-chips)", o.chip);
    if (o.list_faults) {
        fault_list(m->chip);
        return 0;
    }
    m->vram_bytes = o.vram_mib != 0 ? o.vram_mib << 20 : UINT64_C(8) << 30;
    if (o.vram_mib == 0 && m->vram_bytes > m->chip->vram_bytes)
        m->vram_bytes = m->chip->vram_bytes;
    uint64_t bar1 = o.bar1_mib << 20;
    if (bar1 == 0)
        for (bar1 = UINT64_C(64) << 20; bar1 < m->vram_bytes; bar1 *= 2) {
        }
    if ((bar1 & (bar1 - 1)) != 0 || bar1 < UINT64_C(64) << 20)
        die("--bar1: a power of two from 64 on, please");
    if (m->vram_bytes < UINT64_C(512) << 20)
        die("--vram: at least 512, please: the firmware alone takes 200");
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    need(trace_open(m, o.trace), "--trace");
    model_open(m, bar1, o.cubins);
    m->is_left_running = o.left_running;
    if (o.left_running)
        fb_left_running(m);
    need(server_open(m, o.socket), o.socket);
    note(m, "%s (%s), %llu MiB, BAR1 %llu MiB, on %s", m->chip->name, m->chip->card,
         (unsigned long long)(m->vram_bytes >> 20), (unsigned long long)(bar1 >> 20), o.socket);
    int error = 0;
    do {
        error = server_run(m, &stop);
        if (error != 0)
            fprintf(stderr, "model: the connection to QEMU broke: %s\n", strerror(-error));
    } while (o.keep && !stop && error == 0);
    server_close(m);
    unsigned refusals = trace_refusals(m);
    trace_close(m);
    return error != 0 ? 1 : refusals > 0 ? 3 : 0;
}
