/*
 * runtime/http/health.c: temperatures and the like. A reading takes a command to the device, so the helper task
 * takes it and everybody else sees the last one.
 */
#include "runtime/http/connection.h"

#include "gpu/gpu.h"
#include "nvme/nvme.h"

#define HEALTH_DEVICES  16
#define HEALTH_FRESH_NS (10 * NS_PER_S)

static struct {
    bool is_known;
    struct nvme_health health;
} nvme_readings[HEALTH_DEVICES];
static struct {
    bool is_known;
    struct gpu_health health;
} gpu_readings[HEALTH_DEVICES];
static uint64_t read_ns;
static _Atomic bool is_wanted;

bool health_nvme(unsigned controller, struct nvme_health *out)
{
    if (controller >= HEALTH_DEVICES || !nvme_readings[controller].is_known)
        return false;
    *out = nvme_readings[controller].health;
    return true;
}

bool health_gpu(unsigned device, struct gpu_health *out)
{
    if (device >= HEALTH_DEVICES || !gpu_readings[device].is_known)
        return false;
    *out = gpu_readings[device].health;
    return true;
}

void health_refresh(void)
{
    if (http_part_problem(HTTP_PART_DEVICES) || http_part_problem(HTTP_PART_VOLUMES))
        return; /* their drivers are still starting */
    if (is_wanted || (read_ns != 0 && time_ns() - read_ns < HEALTH_FRESH_NS))
        return;
    is_wanted = true;
    helper_wake();
}

bool health_step(void)
{
    if (!is_wanted)
        return false;
    struct nvme_controller *controller;
    for (unsigned i = 0; i < HEALTH_DEVICES && (controller = nvme_controller_get(i)); i++) {
        struct nvme_health health;
        nvme_readings[i].is_known = nvme_controller_health(controller, &health) == 0;
        nvme_readings[i].health = health;
    }
    struct gpu_device *device;
    for (unsigned i = 0; i < HEALTH_DEVICES && (device = gpu_device_get(i)); i++) {
        gpu_device_health(device, &gpu_readings[i].health);
        gpu_readings[i].is_known = true;
    }
    read_ns = time_ns();
    is_wanted = false;
    return true;
}
