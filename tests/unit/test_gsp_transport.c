/*
 * tests/unit/test_gsp_transport.c: the CPU's side of the Resource Manager against a GSP that only answers messages: the
 * whole start of a device, its channels, their deaths, and each call failing in turn with nothing left behind.
 *
 * The GSP here is strict about what it is sent: the object tree, the size of every parameter block (firmware 570.144),
 * memory that lies in VRAM, is the driver's and is nobody else's. BAR0 and BAR1 are memory of the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "gpu/nvidia/gsp/resman.h"
#include "gpu/nvidia/gsp/transport.h"
#include "gpu/nvidia/nvidia.h"
#include "tests/host/host.h"

#define MIB                (UINT64_C(1) << 20)
#define BAR0_BYTES         (16 * MIB)
#define BAR1_BUS           UINT64_C(0x4000000000)
#define VRAM_BYTES         (2048 * MIB)
#define VRAM_END           (1900 * MIB) /* what firmware leaves */
#define OBJECT_MAX         256

#define INTERNAL_CLIENT    0xc1e00001u
#define INTERNAL_SUBDEVICE 0xabcd2080u

#define INVALIDATE_REG     0xb830b0u
#define BAR1_BLOCK_REG     0x1704u

struct fake_object {
    uint32_t client, parent, handle, class_id;
    uint64_t instance; /* of a channel */
    uint32_t channel_id;
    bool is_promoted;
};

static struct {
    uint8_t *bar0, *bar1;
    uint64_t bar1_bytes;
    unsigned chip_id;
    struct fake_object objects[OBJECT_MAX];
    unsigned object_count;
    unsigned calls, fail_at;
    int fail_error; /* what rpc_call() returns at the call fail_at: -EIO (RM refuses), -ETIMEDOUT, -ENODEV */
    uint32_t failed_function, failed_class;
    unsigned started, stopped, invalidations, bar1_physical;
    bool invalidate_hangs, is_gone;
    struct gsp *gsp;
    uint64_t directory;
    unsigned scheduled, promotions;
} fake;

/* ---- registers --------------------------------------------------------------------------------------------------- */

static uint32_t reg_of(const volatile void *at)
{
    uintptr_t offset = (uintptr_t)at - (uintptr_t)fake.bar0;
    return offset < BAR0_BYTES ? (uint32_t)offset : UINT32_MAX;
}

uint8_t mmio_read8(const volatile void *reg)
{
    return *(const volatile uint8_t *)reg;
}

uint16_t mmio_read16(const volatile void *reg)
{
    return *(const volatile uint16_t *)reg;
}

uint32_t mmio_read32(const volatile void *reg)
{
    return fake.is_gone && reg_of(reg) != UINT32_MAX ? UINT32_MAX : *(const volatile uint32_t *)reg;
}

uint64_t mmio_read64(const volatile void *reg)
{
    return *(const volatile uint64_t *)reg;
}

void mmio_write8(volatile void *reg, uint8_t value)
{
    *(volatile uint8_t *)reg = value;
}

void mmio_write16(volatile void *reg, uint16_t value)
{
    *(volatile uint16_t *)reg = value;
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    *(volatile uint32_t *)reg = value;
    if (reg_of(reg) == INVALIDATE_REG) {
        assert_int_equal(
            value, 0x800000c3); /* trigger, acknowledged globally, system barrier, all of all */
        fake.invalidations++;
        if (!fake.invalidate_hangs)
            *(volatile uint32_t *)reg = value & 0x7fffffff;
    }
    if (reg_of(reg) == BAR1_BLOCK_REG)
        fake.bar1_physical += value == 0;
}

void mmio_write64(volatile void *reg, uint64_t value)
{
    *(volatile uint64_t *)reg = value;
}

/* ---- the GSP ----------------------------------------------------------------------------------------------------- */

static struct fake_object *object_find(uint32_t client, uint32_t handle)
{
    for (unsigned i = 0; i < fake.object_count; i++)
        if (fake.objects[i].client == client && fake.objects[i].handle == handle)
            return &fake.objects[i];
    return NULL;
}

static void object_drop(uint32_t client, uint32_t handle)
{
    for (unsigned i = 0; i < fake.object_count;) {
        struct fake_object o = fake.objects[i];
        if (o.client == client && o.handle == handle) {
            fake.objects[i] = fake.objects[--fake.object_count];
            i = 0;
        } else if (o.client == client && (o.parent == handle || client == handle)) {
            object_drop(client, o.handle); /* what hangs below goes, too */
            i = 0;
        } else {
            i++;
        }
    }
}

static void check_vram(const struct rm_memory_desc *memory, uint64_t bytes)
{
    assert_int_equal(memory->address_space, 2);
    assert_true(memory->size >= bytes && memory->base != 0 && memory->base % 512 == 0);
    assert_true(memory->base + memory->size <= VRAM_END);
}

static uint32_t parameter_bytes(uint32_t class_id)
{
    switch (class_id) {
    case 0x0000:
        return 120;
    case 0x0080:
        return 56;
    case 0x2080:
        return 4;
    case 0x90f1:
        return 48;
    case 0xa06c:
        return 20;
    case 0x9067:
        return 12;
    case 0xc56f:
        return 368;
    case 0x83de:
        return 12;
    default:
        return UINT32_MAX;
    }
}

static void channel_made(struct fake_object *channel, const struct rm_channel_params *p)
{
    const struct fake_object *parent = object_find(channel->client, channel->parent);
    assert_true(parent->class_id == 0xa06c || parent->class_id == 0x0080);
    check_vram(&p->instance, 4096);
    check_vram(&p->userd, 512);
    check_vram(&p->ramfc, 512);
    check_vram(&p->method_buffer, 0x5000);
    assert_int_equal(p->ramfc.base, p->instance.base);
    assert_true(p->flags & BIT(21));
    assert_false(p->flags & BIT(11));
    channel->channel_id = (p->flags >> 12 & 0x1ff) * 8 + (p->flags >> 8 & 7);
    channel->instance = p->instance.base;
    for (unsigned i = 0; i < fake.object_count; i++) {
        const struct fake_object *o = &fake.objects[i];
        assert_false(o != channel && o->class_id == 0xc56f &&
                     (o->channel_id == channel->channel_id || o->instance == channel->instance));
    }
    /* The instance block comes zeroed. */
    if (p->instance.base + 4096 <= fake.bar1_bytes)
        for (unsigned i = 0; i < 4096; i++)
            assert_int_equal(fake.bar1[p->instance.base + i], 0);
    uint32_t notifier_type = p->internal_flags >> 2 & 3;
    assert_int_equal(notifier_type, p->error_notifier ? 3 : 1);
    if (p->error_notifier) {
        assert_int_equal(p->error_notifier_memory.address_space, 1);
        assert_true(p->error_notifier_memory.base != 0 && p->error_notifier_memory.size >= 48);
    }
}

static uint32_t alloc(struct rpc_rm_alloc *header, void *params)
{
    assert_int_equal(header->flags, 0);
    assert_true(fake.object_count < OBJECT_MAX);
    assert_null(object_find(header->client, header->object));
    if (header->class_id == 0x0000) {
        assert_int_equal(header->client, header->object);
        assert_int_equal(*(uint32_t *)params, header->client);
    } else {
        assert_non_null(object_find(header->client, header->parent));
    }
    uint32_t bytes = parameter_bytes(header->class_id);
    if (bytes != UINT32_MAX)
        assert_int_equal(header->params_bytes, bytes);
    struct fake_object *object = &fake.objects[fake.object_count++];
    *object = (struct fake_object){.client = header->client,
                                   .parent = header->parent,
                                   .handle = header->object,
                                   .class_id = header->class_id};
    if (header->class_id == 0xc56f)
        channel_made(object, params);
    if (header->class_id == 0xc7c0) { /* compute: its context must be there */
        struct fake_object *channel = object_find(header->client, header->parent);
        struct fake_object *group = object_find(header->client, channel->parent);
        assert_true(channel->is_promoted || group->is_promoted);
    }
    return 0;
}

static void promoted(const struct rpc_rm_control *header, const struct rm_promote *p)
{
    struct fake_object *channel = object_find(p->channel_client, p->object);
    assert_non_null(channel);
    assert_int_equal(channel->class_id, 0xc56f);
    struct fake_object *group = object_find(channel->client, channel->parent);
    bool is_golden = group->class_id != 0xa06c;
    channel->is_promoted = true;
    if (!is_golden)
        group->is_promoted = true;
    assert_true(p->entry_count > 0 && p->entry_count <= 16);
    bool has_main = false;
    for (uint32_t i = 0; i < p->entry_count; i++) {
        const struct rm_promote_entry *e = &p->entry[i];
        assert_true(e->gva != 0 || e->nonmapped);
        assert_true(e->gva + e->size_bytes <= UINT64_C(0x200000000) &&
                    (e->gva == 0 || e->gva >= 0x120000000));
        assert_int_equal(e->physical_address != 0, e->initialize);
        if (e->initialize) {
            assert_int_equal(e->physical_attributes, 4);
            assert_true(e->physical_address + e->size_bytes <= VRAM_END);
        }
        has_main |= e->buffer_id == 0 && e->initialize && e->size_bytes >= 0x123456 + 64 * 4096;
    }
    assert_true(has_main);
    fake.promotions++;
}

/* Engines: graphics and copy 0 share runlist 0, copies 1 and 2 have their own. */
static void device_table(struct rm_device_table *table)
{
    static const struct {
        uint32_t rm_type, runlist;
    } engines[] = {{1, 0}, {9, 0}, {10, 3}, {0x1c, 5}, {0x25, 7}};
    table->count = ARRAY_COUNT(engines);
    for (unsigned i = 0; i < ARRAY_COUNT(engines); i++) {
        table->entry[i].data[2] = engines[i].rm_type;
        table->entry[i].data[3] = engines[i].runlist;
    }
}

static uint32_t control(struct rpc_rm_control *header, void *params)
{
    assert_int_equal(header->flags, 0);
    if (header->client == INTERNAL_CLIENT)
        assert_int_equal(header->object, INTERNAL_SUBDEVICE);
    else
        assert_non_null(object_find(header->client, header->object));
    switch (header->command) {
    case NV2080_CTRL_CMD_FIFO_GET_DEVICE_INFO_TABLE:
        assert_int_equal(header->params_bytes, 3212);
        device_table(params);
        return 0;
    case NV2080_CTRL_CMD_INTERNAL_STATIC_KGR_GET_INFO: {
        assert_int_equal(header->params_bytes, 3712);
        struct rm_static_gr_info *info = params;
        for (unsigned i = 0; i < RM_GR_INFO_MAX; i++)
            info->engine[0][i].index = i;
        info->engine[0][NV2080_CTRL_GR_INFO_INDEX_SM_VERSION].data = 0x806;
        info->engine[0][NV2080_CTRL_GR_INFO_INDEX_SHADER_PIPE_SUB_COUNT].data = 41;
        info->engine[0][NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_SM_PER_TPC].data = 2;
        info->engine[0][NV2080_CTRL_GR_INFO_INDEX_MAX_WARPS_PER_SM].data = 48;
        info->engine[0][NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_GPCS].data = 7;
        info->engine[0][NV2080_CTRL_GR_INFO_INDEX_LITTER_NUM_TPC_PER_GPC].data = 6;
        return 0;
    }
    case NV2080_CTRL_CMD_CE_GET_FAULT_METHOD_BUFFER_SIZE:
        *(uint32_t *)params = 0x5000;
        return 0;
    case NV2080_CTRL_CMD_INTERNAL_STATIC_KGR_GET_CONTEXT_BUFFERS_INFO: {
        assert_int_equal(header->params_bytes, 1664);
        struct rm_context_buffers_info *info = params;
        memset(info, 0xff, sizeof(*info)); /* what is not there */
        static const uint8_t ids[] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x17, 0x18};
        info->engine[0][0] = (struct rm_context_buffer_size){0x123456, 4096};
        for (unsigned i = 0; i < ARRAY_COUNT(ids); i++)
            info->engine[0][ids[i]] = (struct rm_context_buffer_size){0x8000 + i * 0x1100, 0x1000};
        return 0;
    }
    case NV90F1_CTRL_CMD_VASPACE_COPY_SERVER_RESERVED_PDES: {
        const struct rm_reserved_levels *levels = params;
        assert_int_equal(header->params_bytes, 184);
        assert_int_equal(levels->level_count, 3);
        assert_int_equal(levels->level[0].page_shift, 47);
        assert_int_equal(levels->level[2].page_shift, 29);
        assert_int_equal(levels->gva_low, 0x100000000);
        fake.directory = levels->level[0].physical_address;
        return 0;
    }
    case NV2080_CTRL_CMD_GPU_PROMOTE_CTX:
        assert_int_equal(header->params_bytes, 560);
        promoted(header, params);
        return 0;
    case NV2080_CTRL_CMD_CE_GET_ALL_PHYSICAL_CAPS:
        assert_int_equal(header->params_bytes, 136);
        return 0;
    case NVA06C_CTRL_CMD_GPFIFO_SCHEDULE:
        assert_int_equal(header->params_bytes, 2);
        fake.scheduled++;
        return 0;
    case NV2080_CTRL_CMD_THERMAL_SYSTEM_EXECUTE_V2:
    case NV2080_CTRL_CMD_ECC_GET_VOLATILE_COUNTS:
        return 0;
    default:
        fail_msg("control 0x%08x is not the GSP's", header->command);
        return 0x56;
    }
}

int rpc_call(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes, void *reply,
             size_t reply_bytes, size_t *reply_got, uint64_t timeout_ns)
{
    static uint8_t message[RESMAN_MESSAGE_BYTES];
    assert_true(bytes <= sizeof(message) && timeout_ns > 0);
    rpc->status = 0;
    if (++fake.calls == fake.fail_at) {
        fake.failed_function = function;
        if (function == NV_VGPU_MSG_FUNCTION_GSP_RM_ALLOC)
            fake.failed_class = ((const struct rpc_rm_alloc *)payload)->class_id;
        rpc->status = fake.fail_error == -EIO ? 0x1a : 0;
        snprintf(rpc->error, sizeof(rpc->error), "made to fail at call %u", fake.calls);
        return fake.fail_error;
    }
    memcpy(message, payload, bytes);
    struct rpc_rm_alloc *as_alloc = (void *)message;
    struct rpc_rm_control *as_control = (void *)message;
    struct rpc_rm_free *as_free = (void *)message;
    const struct rpc_set_page_directory *directory = (void *)message;
    switch (function) {
    case NV_VGPU_MSG_FUNCTION_GSP_RM_ALLOC:
        assert_int_equal(bytes, sizeof(*as_alloc) + as_alloc->params_bytes);
        as_alloc->status = alloc(as_alloc, message + sizeof(*as_alloc));
        break;
    case NV_VGPU_MSG_FUNCTION_GSP_RM_CONTROL:
        assert_int_equal(bytes, sizeof(*as_control) + as_control->params_bytes);
        as_control->status = control(as_control, message + sizeof(*as_control));
        break;
    case NV_VGPU_MSG_FUNCTION_FREE:
        assert_int_equal(bytes, sizeof(*as_free));
        assert_non_null(object_find(as_free->client, as_free->object));
        object_drop(as_free->client, as_free->object);
        break;
    case NV_VGPU_MSG_FUNCTION_SET_PAGE_DIRECTORY:
        assert_int_equal(bytes, 48);
        assert_int_equal(directory->physical_address,
                         fake.directory); /* one root for both address spaces */
        assert_int_equal(directory->entry_count, 4);
        assert_int_equal(object_find(directory->client, directory->vaspace)->class_id, 0x90f1);
        break;
    case NV_VGPU_MSG_FUNCTION_UNSET_PAGE_DIRECTORY:
        assert_int_equal(bytes, 16);
        break;
    default:
        fail_msg("function %u", function);
    }
    memcpy(reply, message, min_u64(bytes, reply_bytes));
    *reply_got = bytes;
    return 0;
}

int rpc_poll(struct rpc *rpc)
{
    return 0;
}

const char *rpc_function_name(uint32_t function, char buffer[16])
{
    snprintf(buffer, 16, "%u", function);
    return buffer;
}

/* Nothing runs here: what a start ends with has no engines to check. */
int nvidia_check(struct nvidia_device *device, char *why, size_t why_bytes)
{
    why[0] = 0;
    return 0;
}

int gsp_start(struct gsp *gsp, struct pci_device *pci, const char *name)
{
    *gsp = (struct gsp){
        .hw = {.pci = pci,
               .chip = hw_chip_find((uint16_t)fake.chip_id),
               .bar0 = fake.bar0,
               .bar0_bytes = BAR0_BYTES,
               .bar1 = fake.bar1,
               .bar1_bytes = fake.bar1_bytes,
               .bar1_bus = BAR1_BUS,
               .vram_bytes = VRAM_BYTES,
               .start_ns = time_ns()},
        .layout.usable_end = VRAM_END,
        .info = {.name = "NVIDIA GeForce RTX 3090",
                 .region_count = 2,
                 .region = {{0, 1950 * MIB, false}, {1950 * MIB, VRAM_BYTES - 1950 * MIB, true}},
                 .internal_client = INTERNAL_CLIENT,
                 .internal_subdevice = INTERNAL_SUBDEVICE},
    };
    snprintf(gsp->hw.name, sizeof(gsp->hw.name), "%s", name);
    pci_bus_master(pci, true);
    fake.started++;
    fake.gsp = gsp;
    if (fake.fail_error == -EPERM) { /* the start itself fails */
        fake.started--;
        pci_bus_master(pci, false);
        snprintf(gsp->hw.error, sizeof(gsp->hw.error),
                 "FWSEC: scratch register 0x1438 reads 0x2badc0de");
        return -EIO;
    }
    return 0;
}

void gsp_stop(struct gsp *gsp)
{
    pci_bus_master(gsp->hw.pci, false);
    fake.stopped++;
    fake.gsp = NULL;
}

/* ---- a device -------------------------------------------------------------------------------------------------------- */

static struct pci_device *pci;
static uint64_t pages_before;

static void fake_reset(uint64_t bar1_bytes)
{
    free(fake.bar0);
    free(fake.bar1);
    memset(&fake, 0, sizeof(fake));
    fake.bar0 = calloc(1, BAR0_BYTES);
    fake.bar1 = malloc(bar1_bytes);
    assert_true(fake.bar0 && fake.bar1);
    fake.bar1_bytes = bar1_bytes;
    fake.chip_id = 0x172;
}

static struct nvidia_device *start(void)
{
    pages_before = host_page_live_bytes();
    nvidia_transport_set(&gsp_transport);
    assert_int_equal(gpu_start(), 0);
    gpu_start_wait();
    struct gpu_device_info info;
    gpu_device_info(gpu_device_find("cpu0"), &info);
    assert_true(info.is_usable);
    return (struct nvidia_device *)gpu_device_find("nvidia0");
}

static void stop(void)
{
    gpu_stop();
    assert_int_equal(fake.stopped, fake.started);
    assert_false(host_pci_is_bus_master(pci));
    assert_int_equal(host_page_live_bytes(), pages_before);
}

/* Open: the firmware answers, whatever became of the kernels, which ptxas may not have been there to build. */
static bool is_open(struct nvidia_device *device)
{
    return device && device->rm.context;
}

static int use(struct nvidia_device *device)
{
    struct nvidia_channel compute[2], copy;
    struct nvidia_memory memory;
    int error = nvidia_memory_create(device, NVIDIA_VRAM, 5 * MIB, &memory);
    if (error)
        return error;
    error = nvidia_channel_create(device, NV2080_ENGINE_TYPE_GRAPHICS, &compute[0]);
    if (error)
        goto free_memory;
    error = nvidia_channel_create(device, NV2080_ENGINE_TYPE_GRAPHICS, &compute[1]);
    if (error)
        goto free_first;
    error = nvidia_channel_create(device, device->copy_engines[0], &copy);
    if (!error) {
        assert_int_equal(compute[0].token & 0xfff0000, 0);
        assert_int_equal(copy.token >> 16, 3);
        assert_true(compute[0].token != compute[1].token &&
                    compute[0].token != (copy.token & 0xfff));
        nvidia_channel_destroy(device, &copy, false);
    }
    nvidia_channel_destroy(device, &compute[1], false);
free_first:
    nvidia_channel_destroy(device, &compute[0], error != 0);
free_memory:
    nvidia_memory_destroy(device, &memory);
    return error;
}

/* ---- tests ------------------------------------------------------------------------------------------------------------ */

static void test_start_use_stop(void **state)
{
    fake_reset(256 * MIB);
    struct nvidia_device *device = start();
    assert_true(is_open(device));
    struct gpu_device_info info;
    gpu_device_info(&device->base, &info);
    assert_string_equal(info.model, "NVIDIA GeForce RTX 3090");
    assert_string_equal(info.chip, "ga102");
    assert_string_equal(info.architecture, "sm_86");
    assert_string_equal(info.pci_name, pci->name);
    assert_int_equal(info.multiprocessors, 82);
    assert_int_equal(info.vram_bytes, VRAM_BYTES);
    assert_int_equal(info.engine_count, 4);
    assert_string_equal(info.engines[3], "copy19");
    assert_true(info.memory_bytes > 1800 * MIB && info.memory_bytes <= VRAM_END);
    assert_int_equal(device->copy_engine_count, 2); /* not the one on the graphics runlist */
    assert_int_equal(device->copy_engines[1], NV2080_ENGINE_TYPE_COPY19);
    assert_true(fake.bar1_physical > 0 && fake.invalidations > 0);
    assert_int_equal(fake.promotions, 1);
    if (use(device) != 0)
        fail_msg("%s", gpu_error());
    assert_int_equal(fake.promotions, 2); /* two compute channels, one group, one context */
    assert_int_equal(use(device), 0);
    stop();
    assert_int_equal(fake.object_count, 0);
}

/* Each RPC refused once, in turn: the device may be unusable, with the reason, but nothing is left behind. */
static void fail_each(int error)
{
    for (unsigned fail_at = 1;; fail_at++) {
        fake_reset(256 * MIB);
        fake.fail_at = fail_at;
        fake.fail_error = error;
        struct nvidia_device *device = start();
        assert_non_null(device);
        struct gpu_device_info info;
        gpu_device_info(&device->base, &info);
        bool failed_at_start = fake.calls >= fail_at;
        if (!is_open(device)) {
            assert_true(failed_at_start);
            assert_false(info.is_usable);
            if (strstr(info.why_not, "made to fail at call") == NULL)
                fail_msg("call %u: why_not is \"%s\"", fail_at, info.why_not);
        } else {
            int result = use(device);
            /* Objects that go away at last, and the debugger object: faults are told in less detail without it. */
            bool may_fail = fake.failed_function == NV_VGPU_MSG_FUNCTION_FREE ||
                            fake.failed_class == GT200_DEBUGGER;
            if (fake.calls >= fail_at && !failed_at_start && !may_fail)
                assert_int_not_equal(result, 0);
        }
        stop();
        bool failed = fake.calls >= fail_at;
        if (!failed || (error == -EIO && fake.failed_function != NV_VGPU_MSG_FUNCTION_FREE))
            assert_int_equal(fake.object_count, 0);
        if (!failed) {
            assert_true(fail_at > 30);
            break;
        }
    }
}

static void test_each_call_refused(void **state)
{
    fail_each(-EIO);
}

static void test_each_call_unanswered(void **state)
{
    fail_each(-ETIMEDOUT);
}

static void test_each_call_finds_gsp_dead(void **state)
{
    fail_each(-ENODEV);
}

static void test_start_fails(void **state)
{
    fake_reset(256 * MIB);
    fake.fail_error = -EPERM;
    struct nvidia_device *device = start();
    assert_false(is_open(device));
    struct gpu_device_info info;
    gpu_device_info(&device->base, &info);
    assert_false(info.is_usable || info.is_starting);
    assert_non_null(strstr(info.why_not, "FWSEC"));
    assert_string_equal(info.pci_name, pci->name);
    stop();
}

/* No host memory at each allocation of pages. */
static void test_no_pages(void **state)
{
    for (int left = 0; left < 8; left++) {
        fake_reset(256 * MIB);
        struct nvidia_device *device = start();
        assert_true(is_open(device));
        host_page_alloc_fail_after(left);
        use(device);
        host_page_alloc_fail_after(-1);
        assert_int_equal(use(device), 0);
        stop();
        assert_int_equal(fake.object_count, 0);
    }
}

static void test_channel_dies(void **state)
{
    fake_reset(256 * MIB);
    struct nvidia_device *device = start();
    struct nvidia_channel compute, copy;
    assert_int_equal(nvidia_channel_create(device, NV2080_ENGINE_TYPE_GRAPHICS, &compute), 0);
    assert_int_equal(nvidia_channel_create(device, device->copy_engines[0], &copy), 0);
    assert_int_equal(nvidia_channel_error(&compute), 0);
    struct gsp_events *events = &fake.gsp->events;
    struct gsp_channel_error error = {.engine_type = NV2080_ENGINE_TYPE_GRAPHICS,
                                      .channel_id = copy.token & 0xfff, /* another engine's */
                                      .xid = 31,
                                      .text = ""};
    events->on_channel_error(events->on_channel_error_arg, &error);
    assert_int_equal(nvidia_channel_error(&compute), 0);
    assert_int_equal(nvidia_channel_error(&copy), 0);
    error.channel_id = compute.token & 0xfff;
    error.fault_address = 0xdead000;
    error.fault_type = 2;
    events->on_channel_error(events->on_channel_error_arg, &error);
    assert_int_equal(nvidia_channel_error(&compute), 31);
    assert_int_equal(nvidia_channel_error(&copy), 0);
    struct rm_mmu_faults faults = {0};
    assert_int_equal(rm_control(&device->rm, compute.debugger,
                                NV83DE_CTRL_CMD_DEBUG_READ_MMU_FAULT_INFO, &faults, sizeof(faults)),
                     0);
    assert_int_equal(faults.count, 1);
    assert_int_equal(faults.fault[0].address, 0xdead000);
    nvidia_channel_destroy(device, &compute, true);
    nvidia_channel_destroy(device, &copy, false);
    stop();
    assert_int_equal(fake.object_count, 0);
}

/* The GPU falls off the bus: channels are told, bus mastering goes, everything can still be given back. */
static void test_gone(void **state)
{
    fake_reset(256 * MIB);
    struct nvidia_device *device = start();
    struct nvidia_channel compute;
    assert_int_equal(nvidia_channel_create(device, NV2080_ENGINE_TYPE_GRAPHICS, &compute), 0);
    fake.is_gone = true;
    host_clock_advance_ns(NS_PER_S);
    nvidia_fault_poll(device);
    assert_int_equal(nvidia_channel_error(&compute), 79);
    assert_false(host_pci_is_bus_master(pci));
    struct nvidia_channel another;
    assert_int_not_equal(nvidia_channel_create(device, NV2080_ENGINE_TYPE_GRAPHICS, &another), 0);
    nvidia_channel_destroy(device, &compute, true);
    stop();
}

/* A translation cache that never answers: nothing that it may still use is given away while the GPU can reach memory. */
static void test_invalidation_hangs(void **state)
{
    fake_reset(256 * MIB);
    struct nvidia_device *device = start();
    struct nvidia_memory memory;
    assert_int_equal(nvidia_memory_create(device, NVIDIA_HOST, MIB, &memory), 0);
    fake.invalidate_hangs = true;
    assert_true(host_pci_is_bus_master(pci));
    nvidia_memory_destroy(device, &memory);
    assert_false(host_pci_is_bus_master(pci));
    stop();
}

static uint64_t bus_of(struct nvidia_device *device, const struct nvidia_memory *memory,
                       uint64_t offset, uint64_t *run)
{
    return gsp_transport.bus_address(device->rm.context, memory->handle, offset, run);
}

static void test_bus_addresses(void **state)
{
    struct nvidia_memory memory;
    uint64_t run;
    fake_reset(256 * MIB); /* a small BAR: buffers come from above it */
    struct nvidia_device *device = start();
    assert_int_equal(nvidia_memory_create(device, NVIDIA_VRAM, 64 * MIB, &memory), 0);
    assert_int_equal(bus_of(device, &memory, 0, &run), 0);
    nvidia_memory_destroy(device, &memory);
    assert_int_equal(nvidia_memory_create(device, NVIDIA_VRAM_MAPPED, 4 * MIB, &memory), 0);
    uint64_t bus = bus_of(device, &memory, 0x1234, &run);
    assert_true(bus > BAR1_BUS && bus < BAR1_BUS + 256 * MIB);
    assert_int_equal(run, 4 * MIB - 0x1234);
    assert_ptr_equal(memory.cpu, fake.bar1 + (bus - 0x1234 - BAR1_BUS));
    nvidia_memory_destroy(device, &memory);
    stop();

    fake_reset(
        VRAM_BYTES); /* all of VRAM in BAR1; the memory is touched only where tables and rings are */
    device = start();
    assert_int_equal(nvidia_memory_create(device, NVIDIA_VRAM, 64 * MIB, &memory), 0);
    bus = bus_of(device, &memory, MIB, &run);
    assert_true(bus >= BAR1_BUS + MIB && bus < BAR1_BUS + VRAM_END);
    assert_int_equal(run, 63 * MIB);
    assert_int_equal(bus_of(device, &memory, 64 * MIB, &run), 0);
    gsp_transport.flush_bus_writes(device->rm.context);
    nvidia_memory_destroy(device, &memory);
    stop();
}

/* VRAM runs out in an orderly way, and comes back. */
static void test_vram_exhausted(void **state)
{
    static struct nvidia_memory many[64];
    fake_reset(256 * MIB);
    struct nvidia_device *device = start();
    unsigned count = 0;
    while (count < ARRAY_COUNT(many) &&
           nvidia_memory_create(device, NVIDIA_VRAM, 64 * MIB, &many[count]) == 0)
        count++;
    assert_true(count > 20 && count < 30);
    assert_non_null(strstr(gpu_error(), "left"));
    while (count > 0)
        nvidia_memory_destroy(device, &many[--count]);
    assert_int_equal(use(device), 0);
    stop();
}

static int group_start(void **state)
{
    host_log_level(LOG_ERROR);
    host_cores_start(3);
    struct pci_device found = {.bus = 1, .vendor_id = 0x10de, .device_id = 0x2204, .base_class = 3};
    void *const no_bars[6] = {NULL};
    pci = host_pci_add(&found, no_bars);
    return 0;
}

static int group_stop(void **state)
{
    host_pci_clear();
    free(fake.bar0);
    free(fake.bar1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_use_stop),
        cmocka_unit_test(test_each_call_refused),
        cmocka_unit_test(test_each_call_unanswered),
        cmocka_unit_test(test_each_call_finds_gsp_dead),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_no_pages),
        cmocka_unit_test(test_channel_dies),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_invalidation_hangs),
        cmocka_unit_test(test_bus_addresses),
        cmocka_unit_test(test_vram_exhausted),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
