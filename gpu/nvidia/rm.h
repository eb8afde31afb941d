/*
 * gpu/nvidia/rm.h: the Resource Manager's object model: one client per device, its objects, their parents and lifetimes.
 *
 * The calls go through a transport. gpu/nvidia/hosted/rm_ioctl.c carries them to NVIDIA's Linux driver; on bare metal they
 * are messages to the GSP. Nothing above this file knows which one it is.
 *
 * Every object that is created is remembered with its parent. rm_free() frees what hangs below an object first, newest
 * first; rm_close() frees all that is left. So an error path needs to free only the topmost object it made.
 */
#ifndef INGOT_GPU_NVIDIA_RM_H
#define INGOT_GPU_NVIDIA_RM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;
struct gpu_device_info;
struct rm;

/* A window of device or system memory in our address space. */
struct rm_cpu_map {
    void *cpu;
    uint64_t size_bytes;
    uint64_t cookie; /* the transport's own */
};

/* alloc, control and so on return an RM status (0: NV_OK); open returns a negative errno. Ops marked (optional) may be NULL. */
struct rm_transport {
    const char *name;
    /* (optional) What is known of a device before it is opened, which may take seconds: 0, or -ENODEV past the last. */
    int (*identify)(unsigned index, struct gpu_device_info *info);
    /*
     * -ENODEV past the last device. Fills *context and *gpu_id, the RM's number of the device; when it fails, error, for
     * people.
     */
    int (*open)(unsigned index, void **context, uint32_t *gpu_id, char *error, size_t error_bytes);
    void (*close)(void *context);
    uint32_t (*alloc)(void *context, uint32_t client, uint32_t parent, uint32_t *handle, uint32_t class_id, void *params,
                      uint32_t params_bytes);
    uint32_t (*control)(void *context, uint32_t client, uint32_t object, uint32_t command, void *params,
                        uint32_t params_bytes);
    uint32_t (*free)(void *context, uint32_t client, uint32_t parent, uint32_t handle);
    uint32_t (*map_cpu)(void *context, uint32_t client, uint32_t device, uint32_t memory, bool is_system,
                        uint64_t size_bytes, struct rm_cpu_map *out);
    void (*unmap_cpu)(void *context, uint32_t client, uint32_t device, uint32_t memory, struct rm_cpu_map *map);
    uint32_t (*map_gpu)(void *context, uint32_t client, uint32_t device, uint32_t address_space, uint32_t memory,
                        uint64_t size_bytes, uint64_t gva, uint32_t flags);
    uint32_t (*unmap_gpu)(void *context, uint32_t client, uint32_t device, uint32_t address_space, uint32_t memory,
                          uint64_t gva);
    /* Make host memory that we own an RM memory object named handle. */
    uint32_t (*register_host)(void *context, uint32_t client, uint32_t device, uint32_t handle, void *va,
                              uint64_t size_bytes);

    /* (optional) Why the last call failed, in words; "" when there are none. */
    const char *(*error)(void *context);
    /* (optional) Chip, firmware, VRAM, engines, time of the start. */
    void (*describe)(void *context, struct gpu_device_info *info);
    /* (optional) Where byte `offset` of a memory object lies for other PCI devices, and how far on; 0: out of their reach. */
    uint64_t (*bus_address)(void *context, uint32_t memory, uint64_t offset, uint64_t *run_bytes);
    /* (optional) What other PCI devices have written there is seen by work that is submitted from now on. */
    void (*flush_bus_writes)(void *context);
    /* (optional) Signalled when the GPU has run a notify method or a channel has died: then waiters need not poll. */
    struct event *(*completion)(void *context);
    /*
     * (optional) Look whether the device is still there and has something to say. Cheap when called often. NULL, or why it
     * cannot be used any more.
     */
    const char *(*poll)(void *context);
};

struct rm_object {
    uint32_t handle, parent, class_id; /* handle 0: a free slot */
    uint64_t order;                    /* counts creations, so that the newest is freed first */
};

struct rm {
    const struct rm_transport *transport;
    void *context;
    uint32_t client, device, subdevice;
    uint32_t gpu_id;
    char version[64];
    struct rm_object *objects;
    unsigned object_capacity, object_count;
    uint64_t created;
    char error[240]; /* the last failed call in words: what was asked, the status's name, what the transport says */
};

int rm_open(struct rm *rm, const struct rm_transport *transport, unsigned index);
void rm_close(struct rm *rm);

int rm_alloc(struct rm *rm, uint32_t parent, uint32_t class_id, void *params, size_t params_bytes, uint32_t *handle);
int rm_control(struct rm *rm, uint32_t object, uint32_t command, void *params, size_t params_bytes);
void rm_free(struct rm *rm, uint32_t handle); /* 0 is ignored */
int rm_register_host(struct rm *rm, void *va, uint64_t size_bytes, uint32_t *handle);
int rm_map_cpu(struct rm *rm, uint32_t memory, bool is_system, uint64_t size_bytes, struct rm_cpu_map *out);
void rm_unmap_cpu(struct rm *rm, uint32_t memory, struct rm_cpu_map *map);
int rm_map_gpu(struct rm *rm, uint32_t address_space, uint32_t memory, uint64_t size_bytes, uint64_t gva, uint32_t flags);
void rm_unmap_gpu(struct rm *rm, uint32_t address_space, uint32_t memory, uint64_t gva);

unsigned rm_object_count(const struct rm *rm);
const char *rm_status_name(uint32_t status);
int rm_status_errno(uint32_t status); /* 0 or a negative errno */

/* rm_map_gpu() flags (nvos.h, NVOS46_FLAGS) */
#define NVOS46_FLAGS_CACHE_SNOOP      BIT(4)  /* the GPU snoops the CPU's caches */
#define NVOS46_FLAGS_DMA_OFFSET_FIXED BIT(15) /* at the address that we say */

#endif
