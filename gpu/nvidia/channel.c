/*
 * gpu/nvidia/channel.c: channel groups, channels with their rings in VRAM, and the doorbell.
 *
 * All compute queues of a device are channels of one group, so their kernels run side by side; each copy engine has a group of
 * its own. RM takes a group down as a whole when one of its channels faults: the group is then marked dead, its queues report
 * the fault, and the next queue gets a fresh group.
 *
 * Everything that the GPU fetches to start work (GPFIFO entry, push buffer, QMD, arguments, GP_PUT) lies in VRAM and is written
 * by the CPU through the BAR, write-combined: the GPU then never waits for a read across PCIe. A store fence makes the entries
 * visible before GP_PUT, and GP_PUT before the doorbell.
 *
 * Sources: rm_abi.h; open-gpu-kernel-modules class/clc36f.h, clc86f.h (USERD), clc361.h (usermode page);
 * src/nvidia/src/kernel/gpu/fifo for what RM wants from a channel's parameters.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "gpu/nvidia/rm_abi.h"

#define USERD_BYTES  512
#define USERD_GP_PUT 0x8c

/* The block of VRAM behind a channel */
#define RINGS_GPFIFO 0
#define RINGS_USERD  (RINGS_GPFIFO + NVIDIA_GPFIFO_ENTRIES * 8)
#define RINGS_PUSH   (RINGS_USERD + 4096)
#define RINGS_LAUNCH (RINGS_PUSH + NVIDIA_PUSH_BYTES)
#define RINGS_BYTES  (RINGS_LAUNCH + NVIDIA_LAUNCH_BYTES)
static_assert(RINGS_LAUNCH % 4096 == 0 && RINGS_BYTES <= 2 * 1024 * 1024, "fits a 2 MiB page");

/* ---- groups ---------------------------------------------------------------------------------------------------- */

static int rm_failed(struct nvidia_device *device, int error, const char *what)
{
    nvidia_look(device);
    return gpu_fail(error, "%s: %s: %s", device->base.info.name, what, device->rm.error);
}

static int group_create(struct nvidia_device *device, uint32_t engine_type,
                        struct nvidia_group **out)
{
    struct nvidia_group *group = calloc(1, sizeof(*group));
    if (!group)
        return gpu_fail(-ENOMEM, "%s: no memory for a channel group", device->base.info.name);
    group->engine_type = engine_type;
    struct rm_group_params params = {.vaspace = device->vaspace, .engine_type = engine_type};
    int error = rm_alloc(&device->rm, device->rm.device, KEPLER_CHANNEL_GROUP_A, &params,
                         sizeof(params), &group->handle);
    if (error) {
        rm_failed(device, error, "channel group");
        goto free_group;
    }
    if (engine_type == NV2080_ENGINE_TYPE_GRAPHICS) {
        struct rm_context_share_params share = {
            .vaspace = device->vaspace, .flags = NV_CTXSHARE_ALLOCATION_FLAGS_SUBCONTEXT_ASYNC};
        error = rm_alloc(&device->rm, group->handle, FERMI_CONTEXT_SHARE_A, &share, sizeof(share),
                         &group->context_share);
        if (error) {
            rm_failed(device, error, "context share");
            goto free_rm_group;
        }
    }
    group->next = device->groups;
    device->groups = group;
    *out = group;
    return 0;

free_rm_group:
    rm_free(&device->rm, group->handle);
free_group:
    free(group);
    return error;
}

static void group_release(struct nvidia_device *device, struct nvidia_group *group)
{
    if (group->channel_count > 0)
        return;
    struct nvidia_group **link = &device->groups;
    while (*link != group)
        link = &(*link)->next;
    *link = group->next;
    if (group->handle)
        rm_free(&device->rm, group->handle);
    free(group);
}

static int group_find(struct nvidia_device *device, uint32_t engine_type, struct nvidia_group **out)
{
    for (struct nvidia_group *group = device->groups; group; group = group->next)
        if (group->engine_type == engine_type && !group->is_dead) {
            *out = group;
            return 0;
        }
    return group_create(device, engine_type, out);
}

/* ---- channels -------------------------------------------------------------------------------------------------- */

/* Steps: channel in the group, engine object on it, scheduling, token. Call with the device locked. */
static int channel_start(struct nvidia_device *device, struct nvidia_channel *channel)
{
    struct nvidia_group *group = channel->group;
    struct rm *rm = &device->rm;
    struct rm_channel_params params = {
        .error_notifier = channel->notifier.handle,
        .gpfifo_offset = channel->rings.gva + RINGS_GPFIFO,
        .gpfifo_entries = NVIDIA_GPFIFO_ENTRIES,
        .context_share = group->context_share,
        .userd_memory = {channel->rings.handle},
        .userd_offset = {RINGS_USERD},
        .engine_type = group->engine_type,
    };
    int error = rm_alloc(rm, group->handle, device->chip->channel_class, &params, sizeof(params),
                         &channel->handle);
    if (error)
        return rm_failed(device, error, "channel");

    uint32_t copy_object = 0;
    struct rm_copy_params copy = {.version = NVB0B5_ALLOCATION_PARAMETERS_VERSION_1,
                                  .engine_type = group->engine_type};
    if (group->engine_type == NV2080_ENGINE_TYPE_GRAPHICS)
        error =
            rm_alloc(rm, channel->handle, device->chip->compute_class, NULL, 0, &channel->object);
    if (!error && group->engine_type == NV2080_ENGINE_TYPE_GRAPHICS)
        error = rm_alloc(rm, channel->handle, device->chip->copy_class, NULL, 0,
                         &copy_object); /* RM picks the GRCE */
    else if (!error)
        error = rm_alloc(rm, channel->handle, device->chip->copy_class, &copy, sizeof(copy),
                         &channel->object);
    if (error) {
        rm_failed(device, error, "engine object");
        goto free_channel;
    }

    if (group->engine_type == NV2080_ENGINE_TYPE_GRAPHICS) {
        /* Only to read SM exceptions back after a fault; without the right to it faults are told in less detail. */
        struct rm_debugger_params debugger = {.app_client = rm->client,
                                              .class3d_object = channel->object};
        if (rm_alloc(rm, rm->device, GT200_DEBUGGER, &debugger, sizeof(debugger),
                     &channel->debugger) != 0) {
            log_warn("nvidia: no details of exceptions: %s", rm->error);
            channel->debugger = 0;
        }
    }

    struct rm_schedule schedule = {.enable = 1};
    error =
        rm_control(rm, group->handle, NVA06C_CTRL_CMD_GPFIFO_SCHEDULE, &schedule, sizeof(schedule));
    if (error) {
        rm_failed(device, error, "scheduling");
        goto free_channel;
    }
    struct rm_work_submit_token token = {.token = UINT32_MAX};
    error = rm_control(rm, channel->handle, NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN, &token,
                       sizeof(token));
    if (error) {
        rm_failed(device, error, "work submit token");
        goto free_channel;
    }
    channel->token = token.token;
    return 0;

free_channel:
    rm_free(rm, channel->debugger);
    rm_free(rm, channel->handle);
    channel->debugger = channel->handle = 0;
    return error;
}

int nvidia_channel_create(struct nvidia_device *device, uint32_t engine_type,
                          struct nvidia_channel *channel)
{
    *channel = (struct nvidia_channel){0};
    int error = nvidia_memory_create(device, NVIDIA_VRAM_MAPPED, RINGS_BYTES, &channel->rings);
    if (error)
        return error;
    error = nvidia_memory_create(device, NVIDIA_HOST_RM, PAGE_SIZE, &channel->notifier);
    if (error)
        goto free_rings;
    memset(channel->notifier.cpu, 0, RM_NOTIFICATION_COUNT * sizeof(struct rm_notification));
    uint8_t *rings = channel->rings.cpu;
    memset(rings + RINGS_USERD, 0, USERD_BYTES);
    __builtin_ia32_sfence();
    channel->gpfifo = (uint64_t *)(rings + RINGS_GPFIFO);
    channel->gp_put_register = (uint32_t *)(rings + RINGS_USERD + USERD_GP_PUT);
    channel->push_cpu = rings + RINGS_PUSH;
    channel->push_gva = channel->rings.gva + RINGS_PUSH;
    channel->launch_cpu = rings + RINGS_LAUNCH;
    channel->launch_gva = channel->rings.gva + RINGS_LAUNCH;

    mutex_lock(&device->lock);
    error = group_find(device, engine_type, &channel->group);
    if (!error) {
        channel->group->channel_count++;
        error = channel_start(device, channel);
        if (error) {
            channel->group->channel_count--;
            group_release(device, channel->group);
        }
    }
    mutex_unlock(&device->lock);
    if (!error)
        return 0;

    nvidia_memory_destroy(device, &channel->notifier);
free_rings:
    nvidia_memory_destroy(device, &channel->rings);
    return error;
}

void nvidia_channel_destroy(struct nvidia_device *device, struct nvidia_channel *channel, bool kill)
{
    mutex_lock(&device->lock);
    struct nvidia_group *group = channel->group;
    rm_free(&device->rm, channel->debugger); /* it refers to the channel's object */
    if (kill && group->handle) {
        rm_free(&device->rm, group->handle); /* with every channel in it */
        group->handle = 0;
        group->is_dead = true;
    }
    if (group->handle)
        rm_free(&device->rm, channel->handle);
    group->channel_count--;
    group_release(device, group);
    mutex_unlock(&device->lock);
    nvidia_memory_destroy(device, &channel->notifier);
    nvidia_memory_destroy(device, &channel->rings);
    *channel = (struct nvidia_channel){0};
}

void nvidia_channel_submit(struct nvidia_device *device, struct nvidia_channel *channel,
                           const struct nvidia_segment *segments, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        channel->gpfifo[channel->gp_put++ % NVIDIA_GPFIFO_ENTRIES] =
            push_gpfifo_entry(segments[i].gva, segments[i].dwords);
    __builtin_ia32_sfence(); /* push buffer, launch data and entry before GP_PUT: write-combined stores have no order */
    *(volatile uint32_t *)channel->gp_put_register = channel->gp_put % NVIDIA_GPFIFO_ENTRIES;
    __builtin_ia32_sfence(); /* GP_PUT before the doorbell */
    mmio_write32(device->doorbell, channel->token);
}

uint32_t nvidia_channel_error(const struct nvidia_channel *channel)
{
    const volatile struct rm_notification *notification = channel->notifier.cpu;
    if (notification == NULL || notification->status == 0)
        return 0;
    uint32_t code = notification->info32;
    return code != 0 ? code : UINT32_MAX;
}
