/*
 * tests/model/controls.c: GSP_RM_CONTROL: which commands GSP-RM answers, on which objects, with which parameter blocks.
 *
 * Commands that RM's CPU side answers itself are named, so that a driver that sends one finds out why it got nothing.
 *
 * Sources (OGKM 570.144): generated/g_subdevice_nvoc.c and its neighbours (command numbers, parameter sizes, which go
 * to the physical side), src/common/sdk/nvidia/inc/ctrl (parameters). Commands that are not marked so but that
 * tinygrad's driver sends to this firmware on real cards are answered, too. Thermal: published from 580.105.08 on
 * (ctrl2080thermal.h).
 */
#include "tests/model/gsp.h"

/* rpc_gsp_rm_control: hClient, hObject, cmd, status, paramsSize, flags, params */
#define CONTROL_CLIENT 0
#define CONTROL_OBJECT 4
#define CONTROL_CMD    8
#define CONTROL_BYTES  16
#define CONTROL_FLAGS  20
#define CONTROL_PARAMS 24

/* ---- on subdevices ----------------------------------------------------------------------------------------------- */

static uint32_t promote(struct model *m, struct object *object, uint8_t *params)
{
    return channel_promote(m, params);
}

/* NV2080_CTRL_EVENT_SET_NOTIFICATION_PARAMS: event, action (0 off, 1 once, 2 repeat), bNotifyState, info32, info16 */
static uint32_t set_notification(struct model *m, struct object *object, uint8_t *params)
{
    if (GET32(params, 4) <= 2)
        return NV_OK;
    refuse(m, "EVENT_SET_NOTIFICATION: action %u", GET32(params, 4));
    return NV_ERR_INVALID_ARGUMENT;
}

static uint32_t nothing(struct model *m, struct object *object, uint8_t *params)
{
    return NV_OK;
}

/*
 * sramCorUni, sramUncParityUni, sramUncSecDedUni, dramCorTot, dramUncTot: a healthy card; GeForce has no ECC for SRAM
 */
static uint32_t ecc_counts(struct model *m, struct object *object, uint8_t *params)
{
    memset(params, 0, 40);
    return NV_OK;
}

/*
 * NV2080_CTRL_THERMAL_SYSTEM_EXECUTE_V2_PARAMS: clientAPIVersion, clientAPIRevision, clientInstructionSizeOf,
 * executeFlags, successfulInstructions, instructionListSize, then 32 of {result, executed, opcode, operands[8]}.
 */
static uint32_t thermal(struct model *m, struct object *object, uint8_t *params)
{
    uint32_t count = GET32(params, 20), done = 0;
    if (GET32(params, 0) != 1 || GET32(params, 8) != 44 || count == 0 || count > 32) {
        refuse(m, "THERMAL_SYSTEM_EXECUTE_V2: version %u, instructions of %u bytes, %u of them",
               GET32(params, 0), GET32(params, 8), count);
        return NV_ERR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *instruction = params + 24 + i * 44;
        bool is_known = GET32(instruction, 8) == 0x1500 && GET32(instruction, 12) == 0;
        PUT32(instruction, 4, 1);
        PUT32(instruction, 0, is_known ? NV_OK : NV_ERR_NOT_SUPPORTED);
        if (is_known) { /* GET_STATUS_SENSOR_READING of sensor 0: degrees Celsius */
            PUT32(instruction, 16, 41);
            done++;
        }
    }
    PUT32(params, 16, done);
    return NV_OK;
}

#define INFO(name) \
    static uint32_t name##_control(struct model *m, struct object *object, uint8_t *params) \
    { \
        return info_##name(m, params); \
    }
INFO(gr)
INFO(context_buffers)
INFO(gr_caps)
INFO(sm_order)
INFO(floorsweeping)
INFO(device_table)
INFO(internal_device_table)
INFO(interrupts)
INFO(copy_caps)
INFO(copy_pce_mask)
INFO(fault_method_bytes)
INFO(framebuffer)
INFO(memory_system)
INFO(gmmu)
INFO(channels)
INFO(chip)

/* ---- on others --------------------------------------------------------------------------------------------------- */

static uint32_t schedule(struct model *m, struct object *object, uint8_t *params)
{
    return channel_schedule(m, object, GET8(params, 0) != 0);
}

static uint32_t bind_channel(struct model *m, struct object *object, uint8_t *params)
{
    return channel_bind(m, object, GET32(params, 0));
}

static uint32_t token(struct model *m, struct object *object, uint8_t *params)
{
    uint32_t value;
    uint32_t status = channel_token(m, object, &value);
    if (status == NV_OK)
        PUT32(params, 0, value);
    return status;
}

/*
 * NV90F1_CTRL_VASPACE_COPY_SERVER_RESERVED_PDES_PARAMS: hSubDevice, subDeviceId, pageSize (8), virtAddrLo, virtAddrHi,
 * numLevelsToCopy (32), then from 40 on 6 of {physAddress, size, aperture, pageShift}. The first level is the root.
 */
static uint32_t copy_pdes(struct model *m, struct object *vaspace, uint8_t *params)
{
    uint64_t page = GET64(params, 8), low = GET64(params, 16), high = GET64(params, 24);
    uint32_t levels = GET32(params, 32);
    unsigned root_shift = m->chip->mmu_version == 3 ? 56 : 47;
    if (vaspace->vaspace.is_external) {
        refuse(m, "VASPACE_COPY_SERVER_RESERVED_PDES: address space 0x%x is externally owned",
               vaspace->handle);
        return NV_ERR_NOT_SUPPORTED;
    }
    if (page == 0 || (page & (page - 1)) != 0 || low % page != 0 || (high + 1) % page != 0 ||
        high < low || levels < 1 || levels > 6) {
        refuse(m,
               "VASPACE_COPY_SERVER_RESERVED_PDES: 0x%llx to 0x%llx in pieces of 0x%llx, %u levels",
               (unsigned long long)low, (unsigned long long)high, (unsigned long long)page, levels);
        return NV_ERR_INVALID_ARGUMENT;
    }
    unsigned shift = root_shift + 1;
    for (uint32_t i = 0; i < levels; i++) {
        const uint8_t *level = params + 40 + i * 24;
        uint64_t address = GET64(level, 0);
        unsigned here = GET8(level, 20);
        /* GMMU_APERTURE_VIDEO 1, SYS_NONCOH 3, SYS_COH 4 (gmmu_fmt.h) */
        uint32_t aperture = GET32(level, 16);
        if ((i == 0 && here != root_shift) || here >= shift || address == 0 ||
            address % PAGE != 0 || (aperture != 1 && aperture != 3 && aperture != 4) ||
            (aperture == 1 && !layout_is_usable(&m->rm->layout, address, PAGE))) {
            refuse(m,
                   "VASPACE_COPY_SERVER_RESERVED_PDES: level %u at 0x%llx, shift %u, aperture %u",
                   i, (unsigned long long)address, here, aperture);
            return NV_ERR_INVALID_ARGUMENT;
        }
        shift = here;
    }
    vaspace->vaspace.has_directory = true;
    vaspace->vaspace.directory = GET64(params, 40);
    vaspace->vaspace.aperture = GET32(params, 56) == 1 ? APERTURE_VRAM : APERTURE_SYSTEM;
    vaspace_changed(m, vaspace);
    return NV_OK;
}

/* {faultAddress, faultType, accessType} x 4, count */
static uint32_t debug_mmu_fault(struct model *m, struct object *debugger, uint8_t *params)
{
    struct object *channel = object_ancestor(debugger->debugger.object, KIND_CHANNEL);
    uint32_t count = 0;
    memset(params, 0, 72);
    for (unsigned i = 0; i < 4 && channel != NULL && m->rm->fault_channel == channel->handle; i++) {
        const struct fault_record *f = &m->rm->fault[i];
        if (!f->is_valid)
            continue;
        PUT64(params, count * 16, f->gva);
        PUT32(params, count * 16 + 8, f->type);
        PUT32(params, count * 16 + 12, f->access);
        count++;
    }
    PUT32(params, 64, count);
    return NV_OK;
}

/* hTargetChannel, numSMsToRead, 100 of 48 bytes, mmuFaultInfo (4808), mmuFault {valid, faultInfo}, startingSM */
static uint32_t debug_sm_errors(struct model *m, struct object *debugger, uint8_t *params)
{
    struct object *channel = object_find(m, debugger->client->handle, GET32(params, 0));
    uint32_t count = GET32(params, 4), first = GET32(params, 4820);
    uint32_t sms = m->chip->gpcs * m->chip->tpcs_per_gpc * m->chip->sms_per_tpc;
    if (channel == NULL || channel->kind != KIND_CHANNEL) {
        refuse(m, "DEBUG_READ_ALL_SM_ERROR_STATES: 0x%x is no channel", GET32(params, 0));
        return NV_ERR_INVALID_CHANNEL;
    }
    if (count == 0 || count > 100 || first >= sms || count > sms - first) {
        refuse(m, "DEBUG_READ_ALL_SM_ERROR_STATES: %u from %u on, there are %u", count, first, sms);
        return NV_ERR_INVALID_ARGUMENT;
    }
    memset(params + 8, 0, 4820 - 8);
    if (m->rm->fault_channel == channel->handle && m->rm->fault[0].is_valid)
        PUT8(params, 4812, 1);
    return NV_OK;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const struct control {
    uint32_t cmd;
    const char *name;
    uint32_t kinds;
    uint32_t bytes;
    uint32_t (*handle)(struct model *m, struct object *object, uint8_t *params);
} controls[] = {
    {0x2080012b, "GPU_PROMOTE_CTX", BIT_OF(KIND_SUBDEVICE), 560, promote},
    {0x20800301, "EVENT_SET_NOTIFICATION", BIT_OF(KIND_SUBDEVICE), 20, set_notification},
    {0x20800513, "THERMAL_SYSTEM_EXECUTE_V2", BIT_OF(KIND_SUBDEVICE), 1432, thermal},
    {0x20808513, "THERMAL_SYSTEM_EXECUTE_V2_PHYSICAL", BIT_OF(KIND_SUBDEVICE), 1432, thermal},
    {0x20800a1c, "INTERNAL_MEMSYS_GET_STATIC_CONFIG", BIT_OF(KIND_SUBDEVICE), 40,
     memory_system_control},
    {0x20800a1f, "INTERNAL_STATIC_KGR_GET_CAPS", BIT_OF(KIND_SUBDEVICE), 184, gr_caps_control},
    {0x20800a22, "INTERNAL_STATIC_KGR_GET_GLOBAL_SM_ORDER", BIT_OF(KIND_SUBDEVICE), 23072,
     sm_order_control},
    {0x20800a26, "INTERNAL_STATIC_KGR_GET_FLOORSWEEPING_MASKS", BIT_OF(KIND_SUBDEVICE), 2368,
     floorsweeping_control},
    {0x20800a2a, "INTERNAL_STATIC_KGR_GET_INFO", BIT_OF(KIND_SUBDEVICE), 3712, gr_control},
    {0x20800a32, "INTERNAL_STATIC_KGR_GET_CONTEXT_BUFFERS_INFO", BIT_OF(KIND_SUBDEVICE), 1664,
     context_buffers_control},
    {0x20800a36, "INTERNAL_GPU_GET_CHIP_INFO", BIT_OF(KIND_SUBDEVICE), 88, chip_control},
    {0x20800a40, "INTERNAL_GET_DEVICE_INFO_TABLE", BIT_OF(KIND_SUBDEVICE), 24580,
     internal_device_table_control},
    {0x20800a59, "INTERNAL_GMMU_GET_STATIC_INFO", BIT_OF(KIND_SUBDEVICE), 16, gmmu_control},
    {0x20800a5c, "INTERNAL_INTR_GET_KERNEL_TABLE", BIT_OF(KIND_SUBDEVICE), 2068,
     interrupts_control},
    {0x20800a61, "INTERNAL_FIFO_GET_NUM_CHANNELS", BIT_OF(KIND_SUBDEVICE), 8, channels_control},
    {0x20800a6d, "INTERNAL_MEMSYS_FLUSH_L2_ALL_RAMS_AND_CACHES", BIT_OF(KIND_SUBDEVICE), 0,
     nothing},
    {0x20800a70, "INTERNAL_BUS_FLUSH_WITH_SYSMEMBAR", BIT_OF(KIND_SUBDEVICE), 0, nothing},
    {0x20801112, "FIFO_GET_DEVICE_INFO_TABLE", BIT_OF(KIND_SUBDEVICE), 3212, device_table_control},
    {0x20801303, "FB_GET_INFO_V2", BIT_OF(KIND_SUBDEVICE), 460, framebuffer_control},
    {0x20802a02, "CE_GET_CE_PCE_MASK", BIT_OF(KIND_SUBDEVICE), 8, copy_pce_mask_control},
    {0x20802a08, "CE_GET_FAULT_METHOD_BUFFER_SIZE", BIT_OF(KIND_SUBDEVICE), 4,
     fault_method_bytes_control},
    {0x20802a0b, "CE_GET_ALL_PHYSICAL_CAPS", BIT_OF(KIND_SUBDEVICE), 136, copy_caps_control},
    {0x20803401, "ECC_GET_VOLATILE_COUNTS", BIT_OF(KIND_SUBDEVICE), 40, ecc_counts},
    {0x2080200a, "PERF_BOOST", BIT_OF(KIND_SUBDEVICE), 8, nothing},
    {0x83de030c, "DEBUG_READ_ALL_SM_ERROR_STATES", BIT_OF(KIND_DEBUGGER), 4824, debug_sm_errors},
    {0x83de0328, "DEBUG_READ_MMU_FAULT_INFO", BIT_OF(KIND_DEBUGGER), 72, debug_mmu_fault},
    {0x90f10106, "VASPACE_COPY_SERVER_RESERVED_PDES", BIT_OF(KIND_VASPACE), 184, copy_pdes},
    {0xa06c0101, "GPFIFO_SCHEDULE (group)", BIT_OF(KIND_GROUP), 2, schedule},
    {0xa06f0103, "GPFIFO_SCHEDULE (channel)", BIT_OF(KIND_CHANNEL), 2, schedule},
    {0xa06f0104, "BIND", BIT_OF(KIND_CHANNEL), 4, bind_channel},
    {0xc36f0108, "GPFIFO_GET_WORK_SUBMIT_TOKEN", BIT_OF(KIND_CHANNEL), 4, token},
};

/* RM's CPU side answers these from what it keeps (no RMCTRL_FLAGS_ROUTE_TO_PHYSICAL in the generated tables). */
static const struct {
    uint32_t cmd;
    const char *name;
} cpu_side[] = {
    {0x0000013e, "SYSTEM_GET_BUILD_VERSION_V2"},
    {0x00000205, "GPU_GET_ID_INFO_V2"},
    {0x00800292, "GPU_GET_CLASSLIST_V2"},
    {0x00800201, "GPU_GET_CLASSLIST"},
    {0x20800110, "GPU_GET_NAME_STRING"},
    {0x20800170, "GPU_GET_ENGINES_V2"},
    {0x20801228, "GR_GET_INFO_V2"},
    {0x20802a0a, "CE_GET_ALL_CAPS"},
};

static uint32_t control(struct model *m, struct message *message, const struct control *c)
{
    uint32_t client = GET32(message->payload, CONTROL_CLIENT),
             handle = GET32(message->payload, CONTROL_OBJECT),
             bytes = GET32(message->payload, CONTROL_BYTES);
    struct object *object = object_find(m, client, handle);
    if (object == NULL) {
        refuse(m, "control %s: client 0x%x has no object 0x%x", c->name, client, handle);
        return object_find(m, client, client) == NULL ? NV_ERR_INVALID_CLIENT
                                                      : NV_ERR_INVALID_OBJECT_HANDLE;
    }
    if (!(c->kinds & BIT_OF(object->kind))) {
        refuse(m, "control %s: object 0x%x is a %s", c->name, handle, kind_name(object->kind));
        return NV_ERR_NOT_SUPPORTED;
    }
    if (bytes != c->bytes || message->bytes != CONTROL_PARAMS + (uint64_t)bytes) {
        refuse(m, "control %s: parameters of %u bytes (%u in the message), it has %u", c->name,
               bytes, message->bytes - CONTROL_PARAMS, c->bytes);
        return NV_ERR_INVALID_PARAM_STRUCT;
    }
    return c->handle(m, object, message->payload + CONTROL_PARAMS);
}

uint32_t rm_control(struct model *m, struct message *message)
{
    if (message->bytes < CONTROL_PARAMS) {
        refuse(m, "GSP_RM_CONTROL: %u bytes", message->bytes);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    uint32_t cmd = GET32(message->payload, CONTROL_CMD), status = NV_ERR_NOT_SUPPORTED;
    const struct control *c = NULL;
    for (unsigned i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
        if (controls[i].cmd == cmd)
            c = &controls[i];
    const char *name = c == NULL ? NULL : c->name;
    for (unsigned i = 0; i < sizeof(cpu_side) / sizeof(cpu_side[0]); i++)
        if (cpu_side[i].cmd == cmd)
            name = cpu_side[i].name;
    if ((GET32(message->payload, CONTROL_FLAGS) & ~UINT32_C(1)) != 0) { /* COPYOUT_ON_ERROR */
        refuse(m, "control 0x%08x: flags 0x%x", cmd, GET32(message->payload, CONTROL_FLAGS));
        status = NV_ERR_INVALID_FLAGS;
    } else if (c != NULL) {
        status = control(m, message, c);
    } else {
        refuse(m, "control 0x%08x (%s): %s", cmd, name == NULL ? "unknown" : name,
               name == NULL ? "GSP-RM does not know it" : "the CPU's side of RM answers it");
    }
    trace(m, "rm: control client 0x%x object 0x%x 0x%08x (%s), %u bytes: 0x%x",
          GET32(message->payload, CONTROL_CLIENT), GET32(message->payload, CONTROL_OBJECT), cmd,
          name == NULL ? "?" : name, GET32(message->payload, CONTROL_BYTES), status);
    return status;
}
