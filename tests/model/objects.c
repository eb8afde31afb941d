/*
 * tests/model/objects.c: RM's object tree: clients, devices and all below them.
 *
 * A message names a client, a parent and a new handle; the class decides which parents and which parameter block it
 * takes. Freeing takes along what hangs below an object and what depends on it.
 *
 * Sources (OGKM 570.144): rmapi/resource_list.h (classes, their parents and parameters), g_rpc-structures.h (messages),
 * class/cl0000.h, cl0080.h, cl2080.h, cl0005.h, cl0070.h, nvos.h, alloc/alloc_channel.h (sizes, as gcc lays them out),
 * ctrl0080dma.h (page directories), rpc.c (_issuePteDescRpc). Which status RM gives for what: rs_server.c, rs_client.c.
 */
#include <stdlib.h>

#include "tests/model/gsp.h"

#define OBJECTS_MAX             8192

/* Classes of every chip (class/cl*.h) */
#define NV01_ROOT               0x0000u
#define NV01_ROOT_NON_PRIV      0x0001u
#define NV01_ROOT_CLIENT        0x0041u
#define NV01_EVENT              0x0005u
#define NV01_EVENT_KERNEL       0x0078u
#define NV01_EVENT_OS           0x0079u
#define NV01_EVENT_KERNEL_EX    0x007eu
#define NV01_MEMORY_VIRTUAL     0x0070u
#define NV01_MEMORY_LIST_SYSTEM 0x0081u
#define NV01_MEMORY_LIST_FBMEM  0x0082u
#define NV01_DEVICE_0           0x0080u
#define NV20_SUBDEVICE_0        0x2080u
#define FERMI_VASPACE_A         0x90f1u
#define FERMI_CONTEXT_SHARE_A   0x9067u
#define KEPLER_CHANNEL_GROUP_A  0xa06cu
#define GT200_DEBUGGER          0x83deu
#define MMU_FAULT_BUFFER        0xc369u

/* rpc_gsp_rm_alloc: hClient, hParent, hObject, hClass, status, paramsSize, flags, reserved, params */
#define ALLOC_CLIENT            0
#define ALLOC_PARENT            4
#define ALLOC_OBJECT            8
#define ALLOC_CLASS             12
#define ALLOC_BYTES             20
#define ALLOC_FLAGS             24
#define ALLOC_PARAMS            32

#define CLIENT_INTERNAL         UINT32_C(0xc1e00001)
#define DEVICE_INTERNAL         UINT32_C(0xabcd0080)
#define SUBDEVICE_INTERNAL      UINT32_C(0xabcd2080)

const char *kind_name(enum kind kind)
{
    static const char *const names[] = {
        "client",        "device",  "subdevice",      "address space", "channel group",
        "context share", "channel", "compute object", "copy object",   "debugger",
        "event",         "memory",  "virtual memory", "fault buffer",  "nothing"};
    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "object";
}

/* ---- the tree ---------------------------------------------------------------------------------------------------- */

struct object *object_find(struct model *m, uint32_t client, uint32_t handle)
{
    for (struct object *o = m->rm->objects; o != NULL; o = o->next)
        if (o->handle == handle && o->client->handle == client)
            return o;
    return NULL;
}

static struct object *client_find(struct model *m, uint32_t client)
{
    struct object *o = object_find(m, client, client);
    return o != NULL && o->kind == KIND_CLIENT ? o : NULL;
}

struct object *object_ancestor(struct object *object, enum kind kind)
{
    while (object != NULL && object->kind != kind)
        object = object->parent;
    return object;
}

struct object *object_add(struct model *m, struct object *client, struct object *parent,
                          uint32_t handle, uint32_t class_id, enum kind kind)
{
    struct object *o = m->rm->object_count < OBJECTS_MAX ? calloc(1, sizeof(*o)) : NULL;
    if (o == NULL)
        return NULL;
    o->client = client != NULL ? client : o;
    o->parent = parent;
    o->handle = handle;
    o->class_id = class_id;
    o->kind = kind;
    o->next = m->rm->objects;
    m->rm->objects = o;
    m->rm->object_count++;
    return o;
}

/* Does a go when b goes? */
static bool depends(const struct object *a, const struct object *b)
{
    if (a->parent == b || (b->kind == KIND_CLIENT && a->client == b && a != b))
        return true;
    switch (a->kind) {
    case KIND_GROUP:
        return a->group.vaspace == b;
    case KIND_SHARE:
        return a->share.vaspace == b;
    case KIND_CHANNEL:
        return a->channel.share == b || a->channel.vaspace == b;
    case KIND_DEBUGGER:
        return a->debugger.object == b;
    default:
        return false;
    }
}

void object_free(struct model *m, struct object *object)
{
    /* Newest first: the list is in that order. Start over after each, as one may take others with it. */
    for (struct object *o = m->rm->objects; o != NULL;) {
        if (depends(o, object)) {
            object_free(m, o);
            o = m->rm->objects;
        } else {
            o = o->next;
        }
    }
    if (object->kind == KIND_CHANNEL)
        channel_gone(m, object);
    for (struct object **link = &m->rm->objects; *link != NULL; link = &(*link)->next)
        if (*link == object) {
            *link = object->next;
            m->rm->object_count--;
            free(object);
            return;
        }
}

void objects_clear(struct model *m)
{
    while (m->rm->objects != NULL)
        object_free(m, m->rm->objects);
}

uint32_t objects_internal(struct model *m)
{
    if (client_find(m, CLIENT_INTERNAL) == NULL) {
        struct object *client = object_add(m, NULL, NULL, CLIENT_INTERNAL, NV01_ROOT, KIND_CLIENT);
        struct object *device = client == NULL ? NULL
                                               : object_add(m, client, client, DEVICE_INTERNAL,
                                                            NV01_DEVICE_0, KIND_DEVICE);
        if (device != NULL)
            object_add(m, client, device, SUBDEVICE_INTERNAL, NV20_SUBDEVICE_0, KIND_SUBDEVICE);
    }
    return CLIENT_INTERNAL;
}

/* ---- classes ----------------------------------------------------------------------------------------------------- */

/* NV0080_ALLOC_PARAMETERS: deviceId, hClientShare, hTargetClient, hTargetDevice, flags, vaSpaceSize, ... */
static uint32_t device_alloc(struct model *m, struct object *device, uint8_t *params)
{
    if (params == NULL)
        return NV_OK;
    if (GET32(params, 0) != 0) {
        refuse(m, "device 0x%x: instance %u, there is one GPU", device->handle, GET32(params, 0));
        return NV_ERR_INVALID_DEVICE;
    }
    if (GET32(params, 4) != 0 && client_find(m, GET32(params, 4)) == NULL) {
        refuse(m, "device 0x%x: hClientShare 0x%x is no client", device->handle, GET32(params, 4));
        return NV_ERR_INVALID_CLIENT;
    }
    return NV_OK;
}

static uint32_t subdevice_alloc(struct model *m, struct object *subdevice, uint8_t *params)
{
    if (params != NULL && GET32(params, 0) != 0) {
        refuse(m, "subdevice 0x%x: instance %u", subdevice->handle, GET32(params, 0));
        return NV_ERR_INVALID_ARGUMENT;
    }
    return NV_OK;
}

/*
 * NV_VASPACE_ALLOCATION_PARAMETERS: index, flags, vaSize (8), vaStartInternal, vaLimitInternal, bigPageSize (32),
 * vaBase (40)
 */
static uint32_t vaspace_alloc(struct model *m, struct object *vaspace, uint8_t *params)
{
    uint32_t index = GET32(params, 0), flags = GET32(params, 4), big = GET32(params, 32);
    uint64_t size = GET64(params, 8), base = GET64(params, 40);
    uint64_t limit = UINT64_C(1) << (m->chip->mmu_version == 3 ? 57 : 49);
    if (index != 0) { /* NV_VASPACE_ALLOCATION_INDEX_GPU_NEW */
        refuse(m, "address space 0x%x: index %u, only new ones are modelled", vaspace->handle,
               index);
        return NV_ERR_NOT_SUPPORTED;
    }
    if ((flags & ~UINT32_C(0x3fff)) != 0) {
        refuse(m, "address space 0x%x: flags 0x%x", vaspace->handle, flags);
        return NV_ERR_INVALID_FLAGS;
    }
    if (size > limit || base > limit - size || (big != 0 && big != 0x10000 && big != 0x20000)) {
        refuse(m, "address space 0x%x: 0x%llx bytes from 0x%llx on, big pages of %u bytes",
               vaspace->handle, (unsigned long long)size, (unsigned long long)base, big);
        return NV_ERR_INVALID_ARGUMENT;
    }
    vaspace->vaspace.is_external = flags & UINT32_C(1) << 3; /* IS_EXTERNALLY_OWNED */
    return NV_OK;
}

/* NV0005_ALLOC_PARAMETERS: hParentClient, hSrcResource, hClass, notifyIndex, data */
static uint32_t event_alloc(struct model *m, struct object *event, uint8_t *params)
{
    event->event.index = GET32(params, 12);
    return NV_OK;
}

/* NV83DE_ALLOC_PARAMETERS: hDebuggerClient (obsolete), hAppClient, hClass3dObject */
static uint32_t debugger_alloc(struct model *m, struct object *debugger, uint8_t *params)
{
    struct object *target = object_find(m, GET32(params, 4), GET32(params, 8));
    if (target == NULL || target->kind != KIND_COMPUTE) {
        refuse(m, "debugger 0x%x: client 0x%x has no compute object 0x%x", debugger->handle,
               GET32(params, 4), GET32(params, 8));
        return NV_ERR_INVALID_OBJECT;
    }
    debugger->debugger.object = target;
    return NV_OK;
}

/* NV_MEMORY_VIRTUAL_ALLOCATION_PARAMS: offset, limit, hVASpace */
static uint32_t virtual_alloc(struct model *m, struct object *memory, uint8_t *params)
{
    if (GET32(params, 16) != 0) {
        struct object *vaspace = object_find(m, memory->client->handle, GET32(params, 16));
        if (vaspace == NULL || vaspace->kind != KIND_VASPACE) {
            refuse(m, "virtual memory 0x%x: 0x%x is no address space", memory->handle,
                   GET32(params, 16));
            return NV_ERR_INVALID_OBJECT_HANDLE;
        }
    }
    return NV_OK;
}

static const struct class
{
    uint32_t id; /* 0 with a chip's class below */
    enum kind kind;
    uint32_t parents; /* BIT_OF() of each; 0: it is a root */
    uint32_t params_bytes;
    bool params_are_optional;
    uint32_t (*alloc)(struct model *m, struct object *object, uint8_t *params);
} classes[] = {
    /* Roots take NV0000_ALLOC_PARAMETERS (rpcRmApiAlloc_GSP says so). */
    {NV01_ROOT, KIND_CLIENT, 0, 120, true, NULL},
    {NV01_ROOT_NON_PRIV, KIND_CLIENT, 0, 120, true, NULL},
    {NV01_ROOT_CLIENT, KIND_CLIENT, 0, 120, true, NULL},
    {NV01_DEVICE_0, KIND_DEVICE, BIT_OF(KIND_CLIENT), 56, true, device_alloc},
    {NV20_SUBDEVICE_0, KIND_SUBDEVICE, BIT_OF(KIND_DEVICE), 4, true, subdevice_alloc},
    {FERMI_VASPACE_A, KIND_VASPACE, BIT_OF(KIND_DEVICE) | BIT_OF(KIND_SUBDEVICE), 48, false,
     vaspace_alloc},
    {KEPLER_CHANNEL_GROUP_A, KIND_GROUP, BIT_OF(KIND_DEVICE), 20, false, group_alloc},
    {FERMI_CONTEXT_SHARE_A, KIND_SHARE, BIT_OF(KIND_GROUP), 12, false, share_alloc},
    {GT200_DEBUGGER, KIND_DEBUGGER, BIT_OF(KIND_DEVICE), 12, false, debugger_alloc},
    {NV01_EVENT, KIND_EVENT, UINT32_MAX, 24, false, event_alloc},
    {NV01_EVENT_KERNEL, KIND_EVENT, UINT32_MAX, 24, false, event_alloc},
    {NV01_EVENT_OS, KIND_EVENT, UINT32_MAX, 24, false, event_alloc},
    {NV01_EVENT_KERNEL_EX, KIND_EVENT, UINT32_MAX, 24, false, event_alloc},
    {NV01_MEMORY_VIRTUAL, KIND_VIRTUAL, BIT_OF(KIND_DEVICE), 24, false, virtual_alloc},
    {MMU_FAULT_BUFFER, KIND_FAULT_BUFFER, BIT_OF(KIND_SUBDEVICE), 0, true, NULL},
};
static const struct class channel_class = {
    0, KIND_CHANNEL, BIT_OF(KIND_DEVICE) | BIT_OF(KIND_GROUP), 368, false, channel_alloc};
/* NV_GR_ALLOCATION_PARAMETERS and NVB0B5_ALLOCATION_PARAMETERS */
static const struct class compute_class = {0,  KIND_COMPUTE, BIT_OF(KIND_CHANNEL),
                                           16, true,         engine_object_alloc};
static const struct class copy_class = {0, KIND_COPY, BIT_OF(KIND_CHANNEL),
                                        8, true,      engine_object_alloc};

static const struct class *class_find(const struct model *m, uint32_t id)
{
    if (id == m->chip->channel_class)
        return &channel_class;
    if (id == m->chip->compute_class)
        return &compute_class;
    if (id == m->chip->copy_class)
        return &copy_class;
    for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (classes[i].id == id)
            return &classes[i];
    return NULL;
}

/* ---- GSP_RM_ALLOC ------------------------------------------------------------------------------------------------ */

/* The parameter block, if there is one. OGKM's own driver counts only the fixed part in the message's length. */
static uint32_t params_find(struct model *m, const struct class *class, struct message *message,
                            uint8_t **params)
{
    uint32_t bytes = GET32(message->payload, ALLOC_BYTES);
    *params = NULL;
    if (bytes == 0 && class->params_are_optional)
        return NV_OK;
    if (bytes == 0) {
        refuse(m, "alloc of class 0x%04x: without parameters",
               GET32(message->payload, ALLOC_CLASS));
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (bytes != class->params_bytes) {
        refuse(m, "alloc of class 0x%04x: parameters of %u bytes, the class has %u",
               GET32(message->payload, ALLOC_CLASS), bytes, class->params_bytes);
        return NV_ERR_INVALID_PARAM_STRUCT;
    }
    uint32_t there = message->bytes == ALLOC_PARAMS ? message->available - ALLOC_PARAMS
                                                    : message->bytes - ALLOC_PARAMS;
    if (there < bytes) {
        refuse(m, "alloc of class 0x%04x: %u of %u bytes of parameters are there",
               GET32(message->payload, ALLOC_CLASS), there, bytes);
        return NV_ERR_INVALID_PARAM_STRUCT;
    }
    *params = message->payload + ALLOC_PARAMS;
    return NV_OK;
}

static uint32_t alloc(struct model *m, struct message *message, const struct class *class)
{
    uint32_t client_handle = GET32(message->payload, ALLOC_CLIENT),
             parent_handle = GET32(message->payload, ALLOC_PARENT),
             handle = GET32(message->payload, ALLOC_OBJECT),
             id = GET32(message->payload, ALLOC_CLASS);
    uint8_t *params;
    uint32_t status = params_find(m, class, message, &params);
    if (status != NV_OK)
        return status;
    struct object *client = client_find(m, client_handle), *parent = NULL;
    if (class->kind == KIND_CLIENT) {
        if (client != NULL || client_handle == 0) {
            refuse(m, "alloc of client 0x%x: %s", client_handle,
                   client == NULL ? "no handle" : "it is there already");
            return client == NULL ? NV_ERR_INVALID_CLIENT : NV_ERR_INSERT_DUPLICATE_NAME;
        }
        return object_add(m, NULL, NULL, client_handle, id, KIND_CLIENT) != NULL ? NV_OK
                                                                                 : NV_ERR_NO_MEMORY;
    }
    if (client == NULL) {
        refuse(m, "alloc of class 0x%04x: no client 0x%x", id, client_handle);
        return NV_ERR_INVALID_CLIENT;
    }
    parent = object_find(m, client_handle, parent_handle);
    if (parent == NULL || !(class->parents & BIT_OF(parent->kind))) {
        refuse(m, "alloc of class 0x%04x: parent 0x%x is %s", id, parent_handle,
               parent == NULL ? "not there" : kind_name(parent->kind));
        return NV_ERR_INVALID_OBJECT_PARENT;
    }
    if (handle == 0 || object_find(m, client_handle, handle) != NULL) {
        refuse(m, "alloc of class 0x%04x: handle 0x%x %s", id, handle,
               handle == 0 ? "is none" : "is taken");
        return handle == 0 ? NV_ERR_INVALID_OBJECT_NEW : NV_ERR_INSERT_DUPLICATE_NAME;
    }
    struct object *object = object_add(m, client, parent, handle, id, class->kind);
    if (object == NULL)
        return NV_ERR_NO_MEMORY;
    if (class->alloc != NULL)
        status = class->alloc(m, object, params);
    if (status != NV_OK) {
        object->kind = KIND_NONE; /* never became what it was to be: nothing to undo */
        object_free(m, object);
    }
    return status;
}

uint32_t rm_alloc(struct model *m, struct message *message)
{
    if (message->bytes < ALLOC_PARAMS) {
        refuse(m, "GSP_RM_ALLOC: %u bytes", message->bytes);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    uint32_t id = GET32(message->payload, ALLOC_CLASS);
    const struct class *class = class_find(m, id);
    if (GET32(message->payload, ALLOC_FLAGS) != 0) {
        refuse(m, "GSP_RM_ALLOC: flags 0x%x, parameters in NVIDIA's serial form are not modelled",
               GET32(message->payload, ALLOC_FLAGS));
        return NV_ERR_INVALID_FLAGS;
    }
    uint32_t status = NV_ERR_INVALID_CLASS;
    if (class == NULL)
        refuse(m, "alloc of class 0x%04x: %s's GSP-RM has no such class", id, m->chip->name);
    else
        status = alloc(m, message, class);
    trace(m, "rm: alloc client 0x%x parent 0x%x object 0x%x class 0x%04x (%s): 0x%x",
          GET32(message->payload, ALLOC_CLIENT), GET32(message->payload, ALLOC_PARENT),
          GET32(message->payload, ALLOC_OBJECT), id, class == NULL ? "?" : kind_name(class->kind),
          status);
    return status;
}

/* ---- FREE -------------------------------------------------------------------------------------------------------- */

/* NVOS00_PARAMETERS: hRoot, hObjectParent, hObjectOld, status */
uint32_t rm_free(struct model *m, struct message *message)
{
    if (message->bytes != 16) {
        refuse(m, "FREE: %u bytes instead of 16", message->bytes);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    uint32_t client = GET32(message->payload, 0), parent = GET32(message->payload, 4),
             handle = GET32(message->payload, 8);
    struct object *object = object_find(m, client, handle);
    trace(m, "rm: free client 0x%x object 0x%x (%s)", client, handle,
          object == NULL ? "not there" : kind_name(object->kind));
    if (client_find(m, client) == NULL) {
        refuse(m, "FREE: no client 0x%x", client);
        return NV_ERR_INVALID_CLIENT;
    }
    if (object == NULL) {
        refuse(m, "FREE: client 0x%x has no object 0x%x", client, handle);
        return NV_ERR_OBJECT_NOT_FOUND;
    }
    if (parent != 0 && (object->parent == NULL || object->parent->handle != parent)) {
        refuse(m, "FREE: object 0x%x's parent is not 0x%x", handle, parent);
        return NV_ERR_INVALID_OBJECT_PARENT;
    }
    if (client == CLIENT_INTERNAL) {
        refuse(m, "FREE: object 0x%x is RM's own", handle);
        return NV_ERR_ILLEGAL_ACTION;
    }
    object_free(m, object);
    return NV_OK;
}

/* ---- page directories -------------------------------------------------------------------------------------------- */

static struct object *vaspace_find(struct model *m, const char *what, uint32_t client,
                                   uint32_t device, uint32_t handle)
{
    struct object *parent = object_find(m, client, device),
                  *vaspace = object_find(m, client, handle);
    if (parent == NULL || parent->kind != KIND_DEVICE || vaspace == NULL ||
        vaspace->kind != KIND_VASPACE || object_ancestor(vaspace, KIND_DEVICE) != parent) {
        refuse(m, "%s: client 0x%x, device 0x%x, address space 0x%x: no such objects", what, client,
               device, handle);
        return NULL;
    }
    return vaspace;
}

/*
 * rpc_set_page_directory: hClient, hDevice, pasid, then from 16 on NV0080_CTRL_DMA_SET_PAGE_DIRECTORY_PARAMS:
 * physAddress, numEntries, flags, hVASpace, chId, subDeviceId, pasid.
 */
uint32_t rm_set_page_directory(struct model *m, struct message *message)
{
    const uint8_t *p = message->payload;
    if (message->bytes != 48) {
        refuse(m, "SET_PAGE_DIRECTORY: %u bytes instead of 48", message->bytes);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    uint64_t address = GET64(p, 16);
    uint32_t entries = GET32(p, 24), flags = GET32(p, 28);
    struct object *vaspace =
        vaspace_find(m, "SET_PAGE_DIRECTORY", GET32(p, 0), GET32(p, 4), GET32(p, 32));
    if (vaspace == NULL)
        return NV_ERR_OBJECT_NOT_FOUND;
    if (!vaspace->vaspace.is_external) {
        refuse(m, "SET_PAGE_DIRECTORY: address space 0x%x was not made as externally owned",
               vaspace->handle);
        return NV_ERR_INVALID_ARGUMENT;
    }
    /* Entries of the top level: 4 of page tables 2 (bits 48:47), 2 of page tables 3 (bit 56); dev_mmu.h */
    uint32_t wanted = m->chip->mmu_version == 3 ? 2 : 4;
    if (entries != wanted || (flags & 3) > 2 || (flags & ~UINT32_C(0x3f)) != 0) {
        refuse(m, "SET_PAGE_DIRECTORY: %u entries (page tables %u have %u), flags 0x%x", entries,
               m->chip->mmu_version, wanted, flags);
        return NV_ERR_INVALID_ARGUMENT;
    }
    enum aperture aperture = (flags & 3) == 0 ? APERTURE_VRAM : APERTURE_SYSTEM;
    if (address == 0 || address % PAGE != 0 ||
        (aperture == APERTURE_VRAM && !layout_is_usable(&m->rm->layout, address, PAGE))) {
        refuse(m, "SET_PAGE_DIRECTORY: the directory at 0x%llx in %s is not a usable page",
               (unsigned long long)address, aperture == APERTURE_VRAM ? "VRAM" : "system memory");
        return NV_ERR_INVALID_ADDRESS;
    }
    vaspace->vaspace.has_directory = true;
    vaspace->vaspace.aperture = aperture;
    vaspace->vaspace.directory = address;
    trace(m, "rm: address space 0x%x: page directory at 0x%llx", vaspace->handle,
          (unsigned long long)address);
    vaspace_changed(m, vaspace);
    return NV_OK;
}

/* hClient, hDevice, hVASpace, subDeviceId */
uint32_t rm_unset_page_directory(struct model *m, struct message *message)
{
    const uint8_t *p = message->payload;
    if (message->bytes != 16) {
        refuse(m, "UNSET_PAGE_DIRECTORY: %u bytes instead of 16", message->bytes);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    struct object *vaspace =
        vaspace_find(m, "UNSET_PAGE_DIRECTORY", GET32(p, 0), GET32(p, 4), GET32(p, 8));
    if (vaspace == NULL)
        return NV_ERR_OBJECT_NOT_FOUND;
    if (!vaspace->vaspace.is_external || !vaspace->vaspace.has_directory) {
        refuse(m, "UNSET_PAGE_DIRECTORY: address space 0x%x has none that was set",
               vaspace->handle);
        return NV_ERR_INVALID_ARGUMENT;
    }
    if (vaspace_is_used(m, vaspace)) {
        refuse(m, "UNSET_PAGE_DIRECTORY: channels use address space 0x%x", vaspace->handle);
        return NV_ERR_IN_USE;
    }
    vaspace->vaspace.has_directory = false;
    return NV_OK;
}

/* ---- ALLOC_MEMORY ------------------------------------------------------------------------------------------------ */

/*
 * rpc_alloc_memory: hClient, hDevice, hMemory, hClass, flags, pteAdjust, format, length (32), pageCount (40), pteDesc
 * (48: idr 1:0, length 31:16), then the page frame numbers.
 */
uint32_t rm_alloc_memory(struct model *m, struct message *message)
{
    const uint8_t *p = message->payload;
    if (message->bytes < 56) {
        refuse(m, "ALLOC_MEMORY: %u bytes", message->bytes);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    uint32_t client_handle = GET32(p, 0), handle = GET32(p, 8), id = GET32(p, 12),
             pages = GET32(p, 40), descriptor = GET32(p, 48);
    uint64_t length = GET64(p, 32);
    struct object *client = client_find(m, client_handle),
                  *device = object_find(m, client_handle, GET32(p, 4));
    if (client == NULL || device == NULL || device->kind != KIND_DEVICE) {
        refuse(m, "ALLOC_MEMORY: client 0x%x, device 0x%x: no such objects", client_handle,
               GET32(p, 4));
        return NV_ERR_INVALID_OBJECT_PARENT;
    }
    if (id != NV01_MEMORY_LIST_SYSTEM && id != NV01_MEMORY_LIST_FBMEM) {
        refuse(m, "ALLOC_MEMORY: class 0x%04x is no memory list", id);
        return NV_ERR_INVALID_CLASS;
    }
    if (handle == 0 || object_find(m, client_handle, handle) != NULL) {
        refuse(m, "ALLOC_MEMORY: handle 0x%x %s", handle, handle == 0 ? "is none" : "is taken");
        return NV_ERR_INSERT_DUPLICATE_NAME;
    }
    if (length == 0 || pages == 0 || message->bytes != 56 + pages * 8ull || (descriptor & 3) != 0 ||
        descriptor >> 16 != (pages & 0xffff) ||
        (pages != 1 && pages != (length + GET32(p, 20) + PAGE - 1) / PAGE)) {
        refuse(m, "ALLOC_MEMORY: 0x%llx bytes in %u pages, descriptor 0x%x, message of %u bytes",
               (unsigned long long)length, pages, descriptor, message->bytes);
        return NV_ERR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < pages; i++) {
        uint64_t address = GET64(p, 56 + i * 8ull) << 12;
        uint8_t byte;
        if (id == NV01_MEMORY_LIST_FBMEM ? !layout_is_usable(&m->rm->layout, address, PAGE)
                                         : !bus_read(m, address, &byte, 1)) {
            refuse(m, "ALLOC_MEMORY: page %u at 0x%llx is not there", i,
                   (unsigned long long)address);
            return NV_ERR_INVALID_ADDRESS;
        }
    }
    struct object *memory = object_add(m, client, device, handle, id, KIND_MEMORY);
    if (memory == NULL)
        return NV_ERR_NO_MEMORY;
    memory->memory.bytes = length;
    return NV_OK;
}
