/*
 * gpu/nvidia/hosted/rm_ioctl.c: RM calls as ioctls of NVIDIA's Linux driver. Only in the hosted build.
 *
 * /dev/nvidiactl takes alloc, control, free and the two mapping calls; each card's /dev/nvidiaN is opened so that the
 * driver starts the card, and once more for each CPU mapping, because the driver ties a mapping to the file it was asked on.
 * /dev/nvidia-uvm is not needed: RM itself manages our GPU address space.
 *
 * Source: open-gpu-kernel-modules 580.105.08: nv-ioctl-numbers.h, nv_escape.h, nv-ioctl.h, nvos.h and escape.c.
 */
#include "gpu/nvidia/hosted/rm_ioctl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gpu/nvidia/rm_abi.h"
#include "kernel/kernel.h"

#define NV_IOCTL_MAGIC             'F'
#define NV_ESC_CARD_INFO           200
#define NV_ESC_REGISTER_FD         201
#define NV_ESC_RM_ALLOC_MEMORY     0x27
#define NV_ESC_RM_FREE             0x29
#define NV_ESC_RM_CONTROL          0x2a
#define NV_ESC_RM_ALLOC            0x2b
#define NV_ESC_RM_MAP_MEMORY       0x4e
#define NV_ESC_RM_UNMAP_MEMORY     0x4f
#define NV_ESC_RM_MAP_MEMORY_DMA   0x57
#define NV_ESC_RM_UNMAP_MEMORY_DMA 0x58

#define STATUS_OPERATING_SYSTEM    0x59 /* NV_ERR_OPERATING_SYSTEM: the ioctl itself failed */

struct ioctl_card_info { /* nv_ioctl_card_info_t */
    uint8_t is_valid;
    uint32_t domain;
    uint8_t bus, slot, function;
    uint16_t vendor_id, device_id;
    uint32_t gpu_id;
    uint16_t interrupt_line;
    uint64_t register_address, register_size, fb_address, fb_size;
    uint32_t minor;
    uint8_t device_name[10];
};
static_assert(sizeof(struct ioctl_card_info) == 72 &&
                  offsetof(struct ioctl_card_info, gpu_id) == 16,
              "nv-ioctl.h");
#define CARDS_MAX 32 /* NV_MAX_DEVICES */

struct ioctl_free { /* NVOS00_PARAMETERS */
    uint32_t root, parent, object, status;
};
struct ioctl_alloc { /* NVOS21_PARAMETERS */
    uint32_t root, parent, object, class_id;
    uint64_t params;
    uint32_t params_bytes, status;
};
static_assert(sizeof(struct ioctl_alloc) == 32, "nvos.h");
struct ioctl_control { /* NVOS54_PARAMETERS */
    uint32_t client, object, command, flags;
    uint64_t params;
    uint32_t params_bytes, status;
};
static_assert(sizeof(struct ioctl_control) == 32, "nvos.h");
struct ioctl_alloc_memory { /* nv_ioctl_nvos02_parameters_with_fd */
    uint32_t root, parent, object, class_id, flags, reserved;
    uint64_t memory, limit;
    uint32_t status, reserved2;
    int32_t fd, reserved3;
};
static_assert(sizeof(struct ioctl_alloc_memory) == 56, "nv-unix-nvos-params-wrappers.h");
#define NVOS02_FLAGS_PHYSICALITY_NONCONTIGUOUS field_put(BITS(7, 4), 1)
#define NVOS02_FLAGS_COHERENCY_CACHED          field_put(BITS(15, 12), 1)
#define NVOS02_FLAGS_MAPPING_NO_MAP            field_put(BITS(31, 30), 1)
struct ioctl_map_memory { /* nv_ioctl_nvos33_parameters_with_fd */
    uint32_t client, device, memory, reserved;
    uint64_t offset, length, address;
    uint32_t status, flags;
    int32_t fd, reserved2;
};
static_assert(sizeof(struct ioctl_map_memory) == 56, "nv-unix-nvos-params-wrappers.h");
struct ioctl_unmap_memory { /* NVOS34_PARAMETERS */
    uint32_t client, device, memory, reserved;
    uint64_t address;
    uint32_t status, flags;
};
static_assert(sizeof(struct ioctl_unmap_memory) == 32, "nvos.h");
struct ioctl_map_dma { /* NVOS46_PARAMETERS */
    uint32_t client, device, dma, memory;
    uint64_t offset, length;
    uint32_t flags, flags2, kind_override, reserved;
    uint64_t dma_offset;
    uint32_t status, reserved2;
};
static_assert(sizeof(struct ioctl_map_dma) == 64, "nvos.h");
struct ioctl_unmap_dma { /* NVOS47_PARAMETERS */
    uint32_t client, device, dma, memory, flags, reserved;
    uint64_t dma_offset, size;
    uint32_t status, reserved2;
};
static_assert(sizeof(struct ioctl_unmap_dma) == 48, "nvos.h");

struct connection {
    int control_fd, card_fd;
    uint32_t minor;
};

/* 0, or NV_ERR_OPERATING_SYSTEM when the driver did not take the call at all. */
static uint32_t call(int fd, unsigned number, void *argument, size_t size)
{
    int result;
    do
        result = ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, NV_IOCTL_MAGIC, number, size), argument);
    while (result < 0 && (errno == EINTR || errno == EAGAIN));
    return result < 0 ? STATUS_OPERATING_SYSTEM : 0;
}

static int open_card(const struct connection *connection)
{
    char path[32];
    snprintf(path, sizeof(path), "/dev/nvidia%u", connection->minor);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int32_t control_fd = connection->control_fd;
    if (call(fd, NV_ESC_REGISTER_FD, &control_fd, sizeof(control_fd)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int ioctl_open(unsigned index, void **context, uint32_t *gpu_id, char *reason,
                      size_t reason_bytes)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return -ENOMEM;
    int error = -ENODEV;
    connection->control_fd = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
    if (connection->control_fd < 0) {
        if (errno != ENOENT)
            log_warn("nvidia: /dev/nvidiactl: %s", strerror(errno));
        goto free_connection;
    }

    struct ioctl_card_info cards[CARDS_MAX] = {{0}};
    if (call(connection->control_fd, NV_ESC_CARD_INFO, cards, sizeof(cards)) != 0)
        goto close_control;
    unsigned found = 0, card = 0;
    for (; card < CARDS_MAX; card++)
        if (cards[card].is_valid && found++ == index)
            break;
    if (card == CARDS_MAX)
        goto close_control;
    connection->minor = cards[card].minor;
    *gpu_id = cards[card].gpu_id;

    connection->card_fd = open_card(connection);
    if (connection->card_fd < 0) {
        snprintf(reason, reason_bytes, "/dev/nvidia%u: %s", connection->minor, strerror(errno));
        error = -EIO;
        goto close_control;
    }
    *context = connection;
    return 0;

close_control:
    close(connection->control_fd);
free_connection:
    free(connection);
    return error;
}

static void ioctl_close(void *context)
{
    struct connection *connection = context;
    close(connection->card_fd);
    close(connection->control_fd);
    free(connection);
}

static uint32_t ioctl_rm_alloc(void *context, uint32_t client, uint32_t parent, uint32_t *handle,
                               uint32_t class_id, void *params, uint32_t params_bytes)
{
    struct connection *connection = context;
    struct ioctl_alloc a = {.root = client,
                            .parent = parent,
                            .object = *handle,
                            .class_id = class_id,
                            .params = (uintptr_t)params,
                            .params_bytes = params_bytes};
    uint32_t status = call(connection->control_fd, NV_ESC_RM_ALLOC, &a, sizeof(a));
    *handle = a.object;
    return status ? status : a.status;
}

static uint32_t ioctl_rm_control(void *context, uint32_t client, uint32_t object, uint32_t command,
                                 void *params, uint32_t params_bytes)
{
    struct connection *connection = context;
    struct ioctl_control c = {.client = client,
                              .object = object,
                              .command = command,
                              .params = (uintptr_t)params,
                              .params_bytes = params_bytes};
    uint32_t status = call(connection->control_fd, NV_ESC_RM_CONTROL, &c, sizeof(c));
    return status ? status : c.status;
}

static uint32_t ioctl_rm_free(void *context, uint32_t client, uint32_t parent, uint32_t handle)
{
    struct connection *connection = context;
    struct ioctl_free f = {.root = client, .parent = parent, .object = handle};
    uint32_t status = call(connection->control_fd, NV_ESC_RM_FREE, &f, sizeof(f));
    return status ? status : f.status;
}

static uint32_t ioctl_map_cpu(void *context, uint32_t client, uint32_t device, uint32_t memory,
                              bool is_system, uint64_t size_bytes, struct rm_cpu_map *out)
{
    struct connection *connection = context;
    int fd = is_system ? open("/dev/nvidiactl", O_RDWR | O_CLOEXEC) : open_card(connection);
    if (fd < 0)
        return STATUS_OPERATING_SYSTEM;
    struct ioctl_map_memory m = {
        .client = client, .device = device, .memory = memory, .length = size_bytes, .fd = fd};
    uint32_t status = call(connection->control_fd, NV_ESC_RM_MAP_MEMORY, &m, sizeof(m));
    if (status == 0)
        status = m.status;
    if (status == 0) {
        out->cookie = m.address;
        out->size_bytes = size_bytes;
        out->cpu = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (out->cpu == MAP_FAILED) {
            struct ioctl_unmap_memory u = {
                .client = client, .device = device, .memory = memory, .address = m.address};
            call(connection->control_fd, NV_ESC_RM_UNMAP_MEMORY, &u, sizeof(u));
            out->cpu = NULL;
            status = STATUS_OPERATING_SYSTEM;
        }
    }
    close(fd); /* the mapping keeps the file */
    return status;
}

static void ioctl_unmap_cpu(void *context, uint32_t client, uint32_t device, uint32_t memory,
                            struct rm_cpu_map *map)
{
    struct connection *connection = context;
    munmap(map->cpu, map->size_bytes);
    struct ioctl_unmap_memory u = {
        .client = client, .device = device, .memory = memory, .address = map->cookie};
    uint32_t status = call(connection->control_fd, NV_ESC_RM_UNMAP_MEMORY, &u, sizeof(u));
    if (status == 0)
        status = u.status;
    if (status != 0)
        log_error("nvidia: unmapping memory 0x%08x: %s", memory, rm_status_name(status));
}

static uint32_t ioctl_map_gpu(void *context, uint32_t client, uint32_t device,
                              uint32_t address_space, uint32_t memory, uint64_t size_bytes,
                              uint64_t gva, uint32_t flags)
{
    struct connection *connection = context;
    struct ioctl_map_dma m = {.client = client,
                              .device = device,
                              .dma = address_space,
                              .memory = memory,
                              .length = size_bytes,
                              .flags = flags | (uint32_t)NVOS46_FLAGS_DMA_OFFSET_FIXED,
                              .dma_offset = gva};
    uint32_t status = call(connection->control_fd, NV_ESC_RM_MAP_MEMORY_DMA, &m, sizeof(m));
    if (status == 0)
        status = m.status;
    assert(status != 0 || m.dma_offset == gva);
    return status;
}

static uint32_t ioctl_unmap_gpu(void *context, uint32_t client, uint32_t device,
                                uint32_t address_space, uint32_t memory, uint64_t gva)
{
    struct connection *connection = context;
    struct ioctl_unmap_dma u = {.client = client,
                                .device = device,
                                .dma = address_space,
                                .memory = memory,
                                .dma_offset = gva};
    uint32_t status = call(connection->control_fd, NV_ESC_RM_UNMAP_MEMORY_DMA, &u, sizeof(u));
    return status ? status : u.status;
}

static uint32_t ioctl_register_host(void *context, uint32_t client, uint32_t device,
                                    uint32_t handle, void *va, uint64_t size_bytes)
{
    struct connection *connection = context;
    struct ioctl_alloc_memory a = {.root = client,
                                   .parent = device,
                                   .object = handle,
                                   .class_id = NV01_MEMORY_SYSTEM_OS_DESCRIPTOR,
                                   .flags = (uint32_t)(NVOS02_FLAGS_PHYSICALITY_NONCONTIGUOUS |
                                                       NVOS02_FLAGS_COHERENCY_CACHED |
                                                       NVOS02_FLAGS_MAPPING_NO_MAP),
                                   .memory = (uintptr_t)va,
                                   .limit = size_bytes - 1,
                                   .fd = -1};
    uint32_t status = call(connection->card_fd, NV_ESC_RM_ALLOC_MEMORY, &a, sizeof(a));
    return status ? status : a.status;
}

const struct rm_transport rm_ioctl_transport = {
    .name = "NVIDIA's Linux driver",
    .open = ioctl_open,
    .close = ioctl_close,
    .alloc = ioctl_rm_alloc,
    .control = ioctl_rm_control,
    .free = ioctl_rm_free,
    .map_cpu = ioctl_map_cpu,
    .unmap_cpu = ioctl_unmap_cpu,
    .map_gpu = ioctl_map_gpu,
    .unmap_gpu = ioctl_unmap_gpu,
    .register_host = ioctl_register_host,
};
