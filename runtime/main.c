/*
 * runtime/main.c: start everything above the drivers, in the order that answers the first HTTP request soonest.
 *
 *   core 0, at once    configuration, network and HTTP server: /livez answers while the rest starts
 *   a task on core 1   NVMe controllers, partition tables, compute devices, jobs
 *   a task for each    the firmware of GPUs, which takes seconds; jobs run on the CPU device before that. /readyz turns to 200
 *   GPU                when all have ended, well or not
 *   a task on core 0   says on the console what was found, and where to go, once the address is known
 *
 * What cannot start is logged with what to do, and left out.
 */
#include "runtime/runtime.h"

#include <stdio.h>
#include <string.h>

#include "boot/boot.h"
#include "gpu/gpu.h"
#include "gpu/nvidia/gsp/transport.h"
#include "gpu/nvidia/nvidia.h"
#include "kernel/kernel.h"
#include "kernel/machine.h"
#include "nvme/nvme.h"
#include "runtime/config/config.h"
#include "runtime/http/http.h"
#include "runtime/job/job.h"
#include "runtime/net/net.h"
#include "runtime/volume/volume.h"

#define MIB (1024 * 1024)

static struct event parts_event; /* signalled when the parts of start_parts() are up */
static _Atomic bool parts_are_up;

static void start_parts(void *arg)
{
    int controllers = nvme_start();
    if (controllers < 0)
        log_error("nvme: start failed (%d)", controllers);
    int disks = disk_nvme_start();
    if (disks < 0)
        log_error("disks: start failed (%d)", disks);
    int volumes = volume_scan();
    if (volumes < 0) {
        log_error("volumes: scan failed (%d)", volumes);
        http_set_ready(HTTP_PART_VOLUMES,
                       "the partition tables could not be read; the log says why");
    } else {
        http_set_ready(HTTP_PART_VOLUMES, NULL);
    }

    nvidia_transport_set(&gsp_transport);
    int error = gpu_start();
    if (error) {
        log_error("devices: start failed (%d)", error);
        http_set_ready(HTTP_PART_DEVICES, "no compute device could be started; the log says why");
    } else {
        http_set_ready(HTTP_PART_DEVICES, NULL);
    }

    error = job_start();
    if (error) {
        log_error("jobs: start failed (%d)", error);
        http_set_ready(HTTP_PART_JOBS, "jobs cannot run; the log says why");
    } else {
        http_set_ready(HTTP_PART_JOBS, NULL);
    }

    gpu_start_wait(); /* jobs run on the CPU device meanwhile */
    http_set_ready(HTTP_PART_GPUS, NULL);
    parts_are_up = true;
    event_signal(&parts_event);
}

/* The address to open and the line to try. A token goes to the console alone, never to the log, and only when it is new. */
static void say_address(const struct net_info *net)
{
    const char *token = config.token[0] ? NULL : boot_info->token_is_new ? boot_info->token : NULL;
    char port[8] = "";
    if (config.http_port != 80)
        snprintf(port, sizeof(port), ":%u", config.http_port);

    log_info("open http://%s%s/ in a browser%s%s%s", net->address, port,
             config.mdns ? ", or http://" : "", config.mdns ? net->hostname : "",
             config.mdns ? ".local/" : "");
    if (!config.auth_required) {
        log_warn("auth = none: anybody on this network may run jobs here");
        log_info("try: curl http://%s%s/v1/devices", net->address, port);
        return;
    }
    if (token) {
        console_print("access token (made at this first boot%s): %s",
                      boot_info->token_is_stored ? ""
                                                 : ", not kept: the firmware stores no variables",
                      token);
        console_print("try: curl -H 'Authorization: Bearer %s' http://%s%s/v1/devices", token,
                      net->address, port);
    } else {
        log_info("try: curl -H \"Authorization: Bearer $TOKEN\" http://%s%s/v1/devices (the token "
                 "is %s)",
                 net->address, port,
                 config.token[0] ? "the one in ingot.conf" : "the one shown at the first boot");
    }
}

/* Wait for what is slow, saying so, then print the summary that a person reads. */
static void say_hello(void *arg)
{
    uint32_t seen;
    while (seen = event_read(&parts_event), !parts_are_up) {
        if (event_wait(&parts_event, seen, time_ns() + 5 * NS_PER_S) == -ETIMEDOUT)
            log_info("still starting drives and devices (%llu s)",
                     (unsigned long long)(time_ns() / NS_PER_S));
    }
    struct memory_stats memory;
    memory_stats(&memory);
    log_info("memory: %llu MiB, %llu MiB free; %u core%s, %s",
             (unsigned long long)(memory.total_bytes / MIB),
             (unsigned long long)(memory.free_bytes / MIB), core_count(),
             core_count() == 1 ? "" : "s", cpu_features()->brand);
    /* Drivers have said what they found; here is what they could not say. */
    if (!nvme_controller_get(0))
        log_info("no NVMe drive found: there is nothing to load weights from");
    struct gpu_device *device;
    for (unsigned i = 0; (device = gpu_device_get(i)); i++) {
        struct gpu_device_info info;
        gpu_device_info(device, &info);
        if (!info.is_usable)
            log_warn("%s: %s is not used: %s", info.name, info.model, info.why_not);
    }

    struct net_info net;
    enum net_state told = NET_UP;
    for (uint64_t next_ns = time_ns() + 2 * NS_PER_S;;
         task_sleep_until(time_ns() + 20 * NS_PER_MS)) {
        net_info(&net);
        if (net.state == NET_UP || net.state == NET_NO_DEVICE)
            break;
        if (net.state != told && time_ns() >= next_ns) {
            told = net.state;
            log_info(net.state == NET_NO_LINK ? "%s: no link: is the cable plugged in?"
                                              : "%s: waiting for an address by DHCP",
                     net.device);
        }
    }
    if (net.state == NET_NO_DEVICE) {
        log_warn("no network device that Ingot drives (virtio-net, Intel e1000e): nobody can reach "
                 "this machine");
        return;
    }
    say_address(&net);
}

static void spawn(const char *name, unsigned core, void (*fn)(void *))
{
    int error = task_create(name, core, 0, fn, NULL);
    if (error)
        panic("no memory for the %s task (%d)", name, error);
}

void runtime_main(void)
{
    log_info("Ingot %s", ingot_version);
    config_start(boot_info->config, boot_info->config_bytes);
    if (boot_info->config_error[0])
        log_warn("ingot.conf: %s; running with the defaults", boot_info->config_error);
    machine_restart_delay_set(config.restart_seconds);
    http_set_token(config.token[0] ? config.token : boot_info->token);

    int error = http_start();
    if (error)
        panic("no memory for the HTTP server (%d)", error);
    error = net_start();
    if (error == -ENODEV)
        log_warn("no network device found");
    else if (error)
        log_error("network: start failed (%d)", error);
    else if ((error = http_tcp_start()))
        log_error("http: cannot listen (%d)", error);

    spawn("start", core_count() > 1 ? 1 : 0, start_parts);
    spawn("hello", 0, say_hello);
}

void runtime_stop(void)
{
    log_info("stopping");
    job_stop();
    gpu_stop();
    nvme_stop();
    net_stop();
}
