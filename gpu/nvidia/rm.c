/*
 * gpu/nvidia/rm.c: RM clients and their object trees over a transport. See rm.h.
 */
#include "gpu/nvidia/rm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/rm_abi.h"
#include "kernel/kernel.h"

#define RM_OBJECTS_MAX 65536
#define RM_HANDLE_BASE \
    0xca110000u /* our handles are this plus the slot; RM only wants them unique within the client */

static int rm_result(struct rm *rm, uint32_t status, const char *what, uint32_t a, uint32_t b)
{
    int error = rm_status_errno(status);
    if (error == 0)
        return 0;
    const char *details = rm->transport->error ? rm->transport->error(rm->context) : "";
    snprintf(rm->error, sizeof(rm->error), "RM %s 0x%08x on 0x%08x: %s (0x%x)%s%s", what, a, b,
             rm_status_name(status), status, details[0] ? ": " : "", details);
    return error;
}

/* The slot for a new object, or NULL when there is no memory for one. */
static struct rm_object *object_reserve(struct rm *rm)
{
    if (rm->object_count == rm->object_capacity) {
        unsigned capacity = rm->object_capacity ? rm->object_capacity * 2 : 64;
        if (capacity > RM_OBJECTS_MAX)
            return NULL;
        struct rm_object *grown = realloc(rm->objects, capacity * sizeof(*grown));
        if (!grown)
            return NULL;
        memset(grown + rm->object_capacity, 0, (capacity - rm->object_capacity) * sizeof(*grown));
        rm->objects = grown;
        rm->object_capacity = capacity;
    }
    for (unsigned i = 0; i < rm->object_capacity; i++)
        if (rm->objects[i].handle == 0)
            return &rm->objects[i];
    return NULL;
}

static void object_commit(struct rm *rm, struct rm_object *object, uint32_t handle, uint32_t parent,
                          uint32_t class_id)
{
    *object = (struct rm_object){
        .handle = handle, .parent = parent, .class_id = class_id, .order = ++rm->created};
    rm->object_count++;
}

int rm_alloc(struct rm *rm, uint32_t parent, uint32_t class_id, void *params, size_t params_bytes,
             uint32_t *handle)
{
    struct rm_object *object = object_reserve(rm);
    if (!object) {
        snprintf(rm->error, sizeof(rm->error), "no memory to track another RM object");
        return -ENOMEM;
    }
    uint32_t made = RM_HANDLE_BASE + (uint32_t)(object - rm->objects);
    uint32_t status = rm->transport->alloc(rm->context, rm->client, parent, &made, class_id, params,
                                           (uint32_t)params_bytes);
    int error = rm_result(rm, status, "alloc of class", class_id, parent);
    if (error)
        return error;
    object_commit(rm, object, made, parent, class_id);
    *handle = made;
    return 0;
}

int rm_register_host(struct rm *rm, void *va, uint64_t size_bytes, uint32_t *handle)
{
    struct rm_object *object = object_reserve(rm);
    if (!object) {
        snprintf(rm->error, sizeof(rm->error), "no memory to track another RM object");
        return -ENOMEM;
    }
    uint32_t made = RM_HANDLE_BASE + (uint32_t)(object - rm->objects);
    uint32_t status =
        rm->transport->register_host(rm->context, rm->client, rm->device, made, va, size_bytes);
    int error = rm_result(rm, status, "registration of host memory, object", made, rm->device);
    if (error)
        return error;
    object_commit(rm, object, made, rm->device, NV01_MEMORY_SYSTEM_OS_DESCRIPTOR);
    *handle = made;
    return 0;
}

int rm_control(struct rm *rm, uint32_t object, uint32_t command, void *params, size_t params_bytes)
{
    uint32_t status = rm->transport->control(rm->context, rm->client, object, command, params,
                                             (uint32_t)params_bytes);
    return rm_result(rm, status, "control", command, object);
}

static struct rm_object *newest_child(struct rm *rm, uint32_t parent)
{
    struct rm_object *newest = NULL;
    for (unsigned i = 0; i < rm->object_capacity; i++) {
        struct rm_object *object = &rm->objects[i];
        if (object->handle && object->parent == parent &&
            (!newest || object->order > newest->order))
            newest = object;
    }
    return newest;
}

void rm_free(struct rm *rm, uint32_t handle)
{
    if (handle == 0)
        return;
    for (struct rm_object *child; (child = newest_child(rm, handle)) != NULL;)
        rm_free(
            rm,
            child->handle); /* the tree is at most client, device, group, channel, object deep */
    for (unsigned i = 0; i < rm->object_capacity; i++) {
        struct rm_object *object = &rm->objects[i];
        if (object->handle != handle)
            continue;
        uint32_t status = rm->transport->free(rm->context, rm->client, object->parent, handle);
        if (rm_result(rm, status, "free of", handle, object->parent) != 0)
            log_error("nvidia: %s", rm->error);
        *object = (struct rm_object){0};
        rm->object_count--;
        return;
    }
    assert(!"rm_free() of a handle that is not ours");
}

int rm_map_cpu(struct rm *rm, uint32_t memory, bool is_system, uint64_t size_bytes,
               struct rm_cpu_map *out)
{
    uint32_t status = rm->transport->map_cpu(rm->context, rm->client, rm->device, memory, is_system,
                                             size_bytes, out);
    return rm_result(rm, status, "CPU mapping of", memory, rm->device);
}

void rm_unmap_cpu(struct rm *rm, uint32_t memory, struct rm_cpu_map *map)
{
    if (map->cpu)
        rm->transport->unmap_cpu(rm->context, rm->client, rm->device, memory, map);
    map->cpu = NULL;
}

int rm_map_gpu(struct rm *rm, uint32_t address_space, uint32_t memory, uint64_t size_bytes,
               uint64_t gva, uint32_t flags)
{
    uint32_t status = rm->transport->map_gpu(rm->context, rm->client, rm->device, address_space,
                                             memory, size_bytes, gva, flags);
    return rm_result(rm, status, "GPU mapping of", memory, address_space);
}

void rm_unmap_gpu(struct rm *rm, uint32_t address_space, uint32_t memory, uint64_t gva)
{
    uint32_t status =
        rm->transport->unmap_gpu(rm->context, rm->client, rm->device, address_space, memory, gva);
    if (rm_result(rm, status, "GPU unmapping of", memory, address_space) != 0)
        log_error("nvidia: %s", rm->error);
}

unsigned rm_object_count(const struct rm *rm)
{
    return rm->object_count;
}

/* Steps: connect, root client, version, device, subdevice. */
int rm_open(struct rm *rm, const struct rm_transport *transport, unsigned index)
{
    *rm = (struct rm){.transport = transport};
    int error = transport->open(index, &rm->context, &rm->gpu_id, rm->error, sizeof(rm->error));
    if (error)
        return error;

    uint32_t root = 0;
    uint32_t status = transport->alloc(rm->context, 0, 0, &root, NV01_ROOT_CLIENT, NULL, 0);
    error = rm_result(rm, status, "alloc of class", NV01_ROOT_CLIENT, 0);
    if (error)
        goto close_transport;
    rm->client = root;

    struct rm_build_version version = {0};
    error = rm_control(rm, rm->client, NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2, &version,
                       sizeof(version));
    if (error)
        goto free_client;
    version.driver_version[sizeof(rm->version) - 1] = 0;
    memcpy(rm->version, version.driver_version, sizeof(rm->version));

    struct rm_gpu_id_info id = {.gpu_id = rm->gpu_id};
    error = rm_control(rm, rm->client, NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2, &id, sizeof(id));
    if (error)
        goto free_client;

    struct rm_device_params device = {.device_id = id.device_instance,
                                      .client_share = rm->client,
                                      .va_mode =
                                          NV_DEVICE_ALLOCATION_VAMODE_OPTIONAL_MULTIPLE_VASPACES};
    error = rm_alloc(rm, rm->client, NV01_DEVICE_0, &device, sizeof(device), &rm->device);
    if (error)
        goto free_client;

    struct rm_subdevice_params subdevice = {.subdevice_id = id.subdevice_instance};
    error =
        rm_alloc(rm, rm->device, NV20_SUBDEVICE_0, &subdevice, sizeof(subdevice), &rm->subdevice);
    if (error)
        goto free_client;
    return 0;

free_client:;
    char reason[sizeof(rm->error)];
    memcpy(reason, rm->error, sizeof(reason));
    rm_close(rm);
    memcpy(rm->error, reason, sizeof(reason));
    return error == -ENODEV ? -EIO : error; /* -ENODEV says that there is no such device */
close_transport:
    transport->close(rm->context);
    rm->context = NULL;
    return error == -ENODEV ? -EIO : error;
}

void rm_close(struct rm *rm)
{
    if (!rm->context)
        return;
    for (struct rm_object *child; (child = newest_child(rm, rm->client)) != NULL;)
        rm_free(rm, child->handle);
    assert(rm->object_count == 0);
    uint32_t status = rm->transport->free(rm->context, rm->client, rm->client, rm->client);
    if (rm_result(rm, status, "free of client", rm->client, 0) != 0)
        log_error("nvidia: %s", rm->error);
    rm->transport->close(rm->context);
    free(rm->objects);
    *rm = (struct rm){0};
}
