/*
 * tests/model/rm.c: GSP-RM from the start of its core to its unload.
 *
 *   1. libos finds its memory regions in the array that the mailboxes point to: log buffers, RM's arguments.
 *   2. RM opens the message queues; the driver has put GSP_SET_SYSTEM_INFO and SET_REGISTRY into its own by then
 *      (Turing to Ada), or sends them now.
 *   3. On Turing to Ada, RM has the CPU reset and resume the GSP through a list of register operations (the "CPU
 *      sequencer"); then, and on Hopper and Blackwell at once, GSP_INIT_DONE.
 *   4. Requests are answered in their order, until UNLOADING_GUEST_DRIVER; then the core halts.
 *
 * Sources (OGKM 570.144): libos_init_args.h, gsp_init_args.h, kernel_gsp.c (kgspSetupLibosInitArgs, log buffers,
 * kgspInitRm, kgspExecuteSequencerBuffer, kgspUnloadRm), kernel_gsp_ga102.c (CORE_RESUME), rmgspseq.h, rpc.c (each
 * message), gsp_static_config.h (GspSystemInfo), g_os_nvoc.h (registry table), tinygrad's nv/ip.py for the order.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/model/gsp.h"
#include "tests/model/parts.h"

/* LibosMemoryRegionInitArgument, libos_init_args.h */
#define REGION_BYTES               32
#define REGION_ID                  0
#define REGION_ADDRESS             8
#define REGION_SIZE                16
#define REGION_KIND                24
#define REGION_LOCATION            25
#define REGION_CONTIGUOUS          1
#define REGION_SYSTEM_MEMORY       1
#define REGIONS_MAX                (4096 / REGION_BYTES)
/* GSP_ARGUMENTS_CACHED, gsp_init_args.h */
#define ARGUMENTS_BYTES            72
#define ARGUMENT_IN_PM             40

#define SYSTEM_INFO_BYTES          928 /* sizeof(GspSystemInfo) */

/* dev_gsp.h (ampere/ga102), dev_falcon_v4.h */
#define NV_PGSP_FALCON_MAILBOX0    UINT32_C(0x110040)
#define NV_PGSP_FALCON_MAILBOX1    UINT32_C(0x110044)
#define NV_PGSP_FALCON_HWCFG2      UINT32_C(0x1100f4)
#define HWCFG2_MEM_SCRUBBING       (UINT32_C(1) << 12)
#define NV_PGSP_FBIF_CTL           UINT32_C(0x110624) /* dev_fbif_v4.h */
#define FBIF_CTL_ALLOW_PHYS_NO_CTX (UINT32_C(1) << 7)

#define US                         UINT64_C(1000)
#define MS                         (1000 * US)

static void poll(struct model *m, void *arg);
static void start_queues(struct model *m, void *arg);
static void init_finish(struct model *m, void *arg);
static void init_done(struct model *m, void *arg);
static void answer_late(struct model *m, void *arg);
static void halt(struct model *m, void *arg);

/* ---- small things ------------------------------------------------------------------------------------------------ */

int rm_init(struct model *m)
{
    struct rm *rm = calloc(1, sizeof(*rm));
    if (rm == NULL)
        return -ENOMEM;
    rm->message.payload = malloc(MESSAGE_PAYLOAD_MAX + RECORD_ELEMENTS_MAX * PAGE);
    if (rm->message.payload == NULL) {
        free(rm);
        return -ENOMEM;
    }
    m->rm = rm;
    return 0;
}

void rm_die(struct model *m)
{
    if (m->rm->state != RM_DEAD)
        trace(m, "rm: dead");
    m->rm->state = RM_DEAD;
    queue_stop(m);
}

void rm_interrupt(struct model *m)
{
    gsp_core_interrupt(m, gsp_vector(m));
}

void rm_log(struct model *m, uint64_t what, uint64_t a, uint64_t b)
{
    struct rm *rm = m->rm;
    if (rm->log_count == 0)
        return;
    unsigned log = rm->log_count > 2 ? 2 : 0; /* LOGRM is the third */
    uint64_t put, words = rm->log_bytes[log] / 8 - 1, record[] = {a, b, now_ns(), what};
    if (!bus_read(m, rm->log_bus[log], &put, 8))
        return;
    for (unsigned i = 0; i < sizeof(record) / sizeof(record[0]); i++, put++)
        if (!bus_write(m, rm->log_bus[log] + 8 + put % words * 8, &record[i], 8))
            return;
    bus_write(m, rm->log_bus[log], &put, 8);
}

/* _kgspGenerateInitArgId: the name's letters, the last one in the lowest byte */
static uint64_t region_id(const char *name)
{
    uint64_t id = 0;
    while (*name != '\0')
        id = id << 8 | (uint8_t)*name++;
    return id;
}

/* ---- 1. libos arguments ------------------------------------------------------------------------------------------ */

static bool region_check(struct model *m, const char *name, const uint8_t *region)
{
    uint64_t address = GET64(region, REGION_ADDRESS), size = GET64(region, REGION_SIZE);
    uint8_t byte;
    if (GET8(region, REGION_KIND) != REGION_CONTIGUOUS ||
        GET8(region, REGION_LOCATION) != REGION_SYSTEM_MEMORY) {
        refuse(m, "libos region %s: kind %u, location %u; wanted contiguous (1), system memory (1)",
               name, GET8(region, REGION_KIND), GET8(region, REGION_LOCATION));
        return false;
    }
    if (address == 0 || address % PAGE != 0 || size == 0 || size % PAGE != 0 ||
        address + size < address || size > UINT64_C(1) << 30) {
        refuse(m, "libos region %s: 0x%llx bytes at 0x%llx", name, (unsigned long long)size,
               (unsigned long long)address);
        return false;
    }
    return bus_read(m, address, &byte, 1) && bus_read(m, address + size - 1, &byte, 1);
}

/* A log buffer: the count of words written, then the addresses of its own pages, which libos overwrites. */
static bool log_check(struct model *m, const char *name, const uint8_t *region)
{
    uint64_t address = GET64(region, REGION_ADDRESS), pages = GET64(region, REGION_SIZE) / PAGE;
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t page;
        if (!bus_read(m, address + 8 + i * 8, &page, 8))
            return false;
        if (page != 0 && page != address + i * PAGE) { /* all zero: tinygrad does not fill it in */
            refuse(m, "libos region %s: page %llu is said to be at 0x%llx, the region is at 0x%llx",
                   name, (unsigned long long)i, (unsigned long long)page,
                   (unsigned long long)address);
            return false;
        }
    }
    if (m->rm->log_count < sizeof(m->rm->log_bus) / sizeof(m->rm->log_bus[0])) {
        m->rm->log_bus[m->rm->log_count] = address;
        m->rm->log_bytes[m->rm->log_count++] = GET64(region, REGION_SIZE);
    }
    return true;
}

/* Fills arguments from the region RMARGS. */
static bool libos_read(struct model *m, uint64_t bus, uint8_t *arguments)
{
    static const char *const known[] = {"LOGINIT", "LOGINTR", "LOGRM",
                                        "LOGMNOC", "LOGKRNL", "RMARGS"};
    bool seen[6] = {false};
    uint8_t region[REGION_BYTES];
    m->rm->log_count = 0;
    if (bus == 0 || bus % PAGE != 0) {
        refuse(m, "libos arguments at 0x%llx, not on a page", (unsigned long long)bus);
        return false;
    }
    for (unsigned i = 0; i < REGIONS_MAX; i++) {
        if (!bus_read(m, bus + i * REGION_BYTES, region, sizeof(region)))
            return false;
        uint64_t id = GET64(region, REGION_ID);
        if (id == 0)
            break;
        unsigned which = 0;
        while (which < 6 && id != region_id(known[which]))
            which++;
        if (which == 6) {
            trace(m, "libos: region 0x%llx is nobody's", (unsigned long long)id);
            continue;
        }
        if (i == 0 && which != 0) {
            refuse(m, "libos arguments: %s is first, LOGINIT must be", known[which]);
            return false;
        }
        if (seen[which]) {
            refuse(m, "libos arguments: %s twice", known[which]);
            return false;
        }
        seen[which] = true;
        if (!region_check(m, known[which], region))
            return false;
        if (which == 5) {
            if (!bus_read(m, GET64(region, REGION_ADDRESS), arguments, ARGUMENTS_BYTES))
                return false;
        } else if (!log_check(m, known[which], region)) {
            return false;
        }
    }
    for (unsigned i = 0; i < 6; i++)
        if (!seen[i] && i != 3 && i != 4) {
            refuse(m, "libos arguments: no region %s", known[i]);
            return false;
        }
    return true;
}

/* ---- 2. start ---------------------------------------------------------------------------------------------------- */

void gsp_rm_start(struct model *m, uint64_t wpr_meta_bus, uint64_t libos_args_bus)
{
    struct rm *rm = m->rm;
    struct layout layout = rm->layout;
    gsp_rm_stop(m);
    rm->layout = layout;
    rm->libos_bus = libos_args_bus;
    rm->state = RM_STARTING;
    if (!layout.is_loaded || layout.meta_bus != wpr_meta_bus) {
        refuse(m, "the GSP starts, but no image was verified for WPR metadata at 0x%llx",
               (unsigned long long)wpr_meta_bus);
        rm_die(m);
        return;
    }
    timer_add(m, MS / 2, start_queues, NULL);
}

static void start_queues(struct model *m, void *arg)
{
    uint8_t arguments[ARGUMENTS_BYTES];
    struct rm *rm = m->rm;
    if (!libos_read(m, rm->libos_bus, arguments)) {
        rm_die(m);
        return;
    }
    if (GET8(arguments, ARGUMENT_IN_PM) != 0) {
        refuse(m, "RM arguments: resume from sleep, but nothing was suspended");
        rm_die(m);
        return;
    }
    if (!queues_open(m, arguments)) {
        rm_die(m);
        return;
    }
    note(m, "GSP-RM runs, its queues are open");
    rm->state = RM_WAIT_INFO;
    poll(m, NULL);
}

static bool system_info(struct model *m, const struct message *message)
{
    const uint8_t *info = message->payload;
    if (message->bytes != SYSTEM_INFO_BYTES) {
        refuse(m, "GSP_SET_SYSTEM_INFO: %u bytes, GspSystemInfo has %u", message->bytes,
               SYSTEM_INFO_BYTES);
        return false;
    }
    const struct {
        const char *name;
        unsigned offset, bar;
    } bars[] = {{"gpuPhysAddr", 0, 0},
                {"gpuPhysFbAddr", 8, pci_bar1_index(m)},
                {"gpuPhysInstAddr", 16, pci_bar3_index(m)}};
    bool is_right = true;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t address = 0;
        if (!pci_bar_address(m, bars[i].bar, &address) || GET64(info, bars[i].offset) != address) {
            refuse(m, "GSP_SET_SYSTEM_INFO: %s is 0x%llx, BAR%u is at 0x%llx", bars[i].name,
                   (unsigned long long)GET64(info, bars[i].offset), bars[i].bar,
                   (unsigned long long)address);
            is_right = false;
        }
    }
    /* kbifGetPciConfigSpacePriMirror: dev_nv_pcfg_xve_addendum.h, from Hopper on at 0x92000 */
    uint32_t mirror = m->chip->family >= HOPPER ? 0x92000 : 0x88000;
    const struct {
        const char *name;
        unsigned offset;
        uint32_t wanted;
    } words[] = {
        {"pciConfigMirrorBase", 80, mirror},
        {"pciConfigMirrorSize", 84, 0x1000},
        {"PCIDeviceID", 88, pci_config_dword(m, 0x00)},
        {"PCISubDeviceID", 92, pci_config_dword(m, 0x2c)},
        {"PCIRevisionID", 96, pci_config_dword(m, 0x08) & 0xff},
    };
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (GET32(info, words[i].offset) != words[i].wanted) {
            refuse(m, "GSP_SET_SYSTEM_INFO: %s is 0x%x, wanted 0x%x", words[i].name,
                   GET32(info, words[i].offset), words[i].wanted);
            is_right = false;
        }
    if (GET64(info, 72) == 0) {
        refuse(m, "GSP_SET_SYSTEM_INFO: maxUserVa is 0");
        is_right = false;
    }
    return is_right;
}

static bool registry(struct model *m, const struct message *message)
{
    const uint8_t *table = message->payload;
    uint32_t size = message->bytes < 8 ? 0 : GET32(table, 0);
    uint32_t count = message->bytes < 8 ? 0 : GET32(table, 4);
    if (size != message->bytes || count > (size - 8) / 16) {
        refuse(m, "SET_REGISTRY: %u bytes, the table says %u and %u entries", message->bytes, size,
               count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = table + 8 + i * 16; /* PACKED_REGISTRY_ENTRY */
        uint32_t name = GET32(entry, 0), type = GET8(entry, 4), length = GET32(entry, 12);
        if (name < 8 + count * 16 || name >= size ||
            memchr(table + name, '\0', size - name) == NULL) {
            refuse(m, "SET_REGISTRY: the name of entry %u is at %u of %u bytes", i, name, size);
            return false;
        }
        if (type != 1 ||
            length != 4) { /* REGISTRY_TABLE_ENTRY_TYPE_DWORD; the driver sends no others */
            refuse(m, "SET_REGISTRY: %s has type %u and %u bytes", (const char *)table + name, type,
                   length);
            return false;
        }
        trace(m, "registry: %s = 0x%x", (const char *)table + name, GET32(entry, 8));
    }
    return true;
}

/* ---- 3. sequencer, init done ------------------------------------------------------------------------------------- */

/* RUN_CPU_SEQUENCER: bufferSizeDWord, cmdIndex, regSaveArea[8], commandBuffer[] (g_rpc-structures.h) */
static void sequencer_send(struct model *m)
{
    enum {
        REG_WRITE = 0,
        REG_MODIFY = 1,
        REG_POLL = 2,
        DELAY_US = 3,
        REG_STORE = 4,
        CORE_RESET = 5,
        CORE_RESUME = 8,
    };
    enum { AT_RESET = 6, AT_POLL = 16 }; /* in the list */
    uint32_t commands[] = {
        /* clang-format off */
        REG_STORE, NV_PGSP_FALCON_MAILBOX0, 0,
        REG_STORE, NV_PGSP_FALCON_MAILBOX1, 1,
        CORE_RESET,
        REG_WRITE, NV_PGSP_FALCON_MAILBOX0, 0,
        REG_MODIFY, NV_PGSP_FBIF_CTL, FBIF_CTL_ALLOW_PHYS_NO_CTX, FBIF_CTL_ALLOW_PHYS_NO_CTX,
        DELAY_US, 10,
        REG_POLL, NV_PGSP_FALCON_HWCFG2, HWCFG2_MEM_SCRUBBING, 0, 20, 1,
        CORE_RESUME,
        /* clang-format on */
    };
    uint8_t payload[40 + 256] = {0};
    uint32_t count = sizeof(commands) / 4;
    enum fault_mode mode;
    if (fault(m, "sequencer.list", &mode)) {
        if (mode == FAULT_HANG) /* wants a bit outside of the mask, which never comes */
            commands[AT_POLL + 3] = ~HWCFG2_MEM_SCRUBBING;
        else
            commands[AT_RESET] = 0x5eed;
    }
    PUT32(payload, 0, 64);
    PUT32(payload, 4, count);
    memcpy(payload + 40, commands, sizeof(commands));
    m->rm->state = RM_SEQUENCER;
    gsp_core_suspend(m);
    trace(m, "rpc: event GSP_RUN_CPU_SEQUENCER, %u words", count);
    queue_send(m, EVENT_RUN_CPU_SEQUENCER, NV_OK, 0, payload, sizeof(payload));
}

static void init_finish(struct model *m, void *arg)
{
    if (m->chip->family < HOPPER) {
        sequencer_send(m);
        return;
    }
    const uint8_t engaged = 1, released = 0;
    if (m->chip->family == BLACKWELL) {
        queue_send(m, EVENT_LOCKDOWN_NOTICE, NV_OK, 0, &engaged, 1);
        queue_send(m, EVENT_LOCKDOWN_NOTICE, NV_OK, 0, &released, 1);
    }
    timer_add(m, MS, init_done, NULL);
}

void gsp_rm_resumed(struct model *m)
{
    if (m->rm->state != RM_SEQUENCER) {
        refuse(m, "the GSP was reset and resumed, GSP-RM had not asked for it");
        return;
    }
    m->rm->state = RM_INIT;
    timer_add(m, MS, init_done, NULL);
}

static void init_done(struct model *m, void *arg)
{
    struct rm *rm = m->rm;
    enum fault_mode mode;
    uint32_t result = NV_OK;
    if (arg == NULL && fault(m, "gsp.init-done", &mode)) {
        if (mode == FAULT_HANG) {
            rm_die(m);
            return;
        }
        if (mode == FAULT_LATE) {
            timer_add(m, late_ns(), init_done, m);
            return;
        }
        result = NV_ERR_NOT_READY;
    }
    rm->state = RM_RUNNING;
    fb_bar1_taken(m);
    trace(m, "rpc: event GSP_INIT_DONE, result 0x%x", result);
    queue_send(m, EVENT_GSP_INIT_DONE, result, 0, NULL, 0);
    if (result != NV_OK) {
        rm_die(m);
        return;
    }
    note(m, "GSP-RM is initialised");
    rm_log(m, 0x1, m->chip->boot_42, 0);
    /* What comes unasked on every boot: _kgspProcessRpcEvent knows both, neither needs an answer. */
    uint64_t bridgeless = 0;
    uint32_t nocat = 0;
    queue_send(m, EVENT_PERF_BRIDGELESS_INFO_UPDATE, NV_OK, 0, &bridgeless, sizeof(bridgeless));
    queue_send(m, EVENT_POST_NOCAT_RECORD, NV_OK, 0, &nocat, sizeof(nocat));
    poll(m, NULL);
}

/* ---- 4. requests ------------------------------------------------------------------------------------------------- */

static uint32_t get_static_info(struct model *m, struct message *message)
{
    if (message->bytes != STATIC_INFO_BYTES) {
        refuse(m, "GET_GSP_STATIC_INFO: %u bytes, GspStaticConfigInfo has %u", message->bytes,
               STATIC_INFO_BYTES);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    static_info(m, message->payload);
    return NV_OK;
}

/* rpc_unloading_guest_driver: bInPMTransition, bGc6Entering, newLevel */
static uint32_t unload(struct model *m, struct message *message)
{
    if (message->bytes != 8) {
        refuse(m, "UNLOADING_GUEST_DRIVER: %u bytes instead of 8", message->bytes);
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    if (GET8(message->payload, 0) != 0 || GET8(message->payload, 1) != 0) {
        refuse(m, "UNLOADING_GUEST_DRIVER: for sleep, which needs SR metadata that nobody gave");
        return NV_ERR_NOT_SUPPORTED;
    }
    objects_clear(m);
    host_stop(m);
    return NV_OK;
}

/* UpdateBarPde_v15_00: barType, entryValue, entryLevelShift. BAR1 and BAR2 are used in physical mode. */
static uint32_t update_bar_pde(struct model *m, struct message *message)
{
    if (message->bytes != 24 || GET32(message->payload, 0) > 1) {
        refuse(m, "UPDATE_BAR_PDE: %u bytes, BAR type %u", message->bytes,
               message->bytes < 4 ? 0 : GET32(message->payload, 0));
        return RESULT_INVALID_MESSAGE_FORMAT;
    }
    return NV_OK;
}

static uint32_t dup_object(struct model *m, struct message *message)
{
    refuse(m, "DUP_OBJECT: no object of the driver's is another client's");
    return NV_ERR_NOT_SUPPORTED;
}

static const struct request {
    uint32_t function;
    uint32_t (*handle)(struct model *m, struct message *message);
    const char *fault_name;
    unsigned status_offset; /* where the RM status stands in the payload, or 0 */
    bool is_result_ok;      /* the status goes there only: the message itself succeeded */
} requests[] = {
    {FN_GET_GSP_STATIC_INFO, get_static_info, "rpc.static-info", 0, false},
    {FN_RM_ALLOC, rm_alloc, "rpc.alloc", 16, false},
    {FN_RM_CONTROL, rm_control, "rpc.control", 12, true},
    {FN_FREE, rm_free, "rpc.free", 12, false},
    {FN_SET_PAGE_DIRECTORY, rm_set_page_directory, "rpc.page-directory", 0, false},
    {FN_UNSET_PAGE_DIRECTORY, rm_unset_page_directory, NULL, 0, false},
    {FN_ALLOC_MEMORY, rm_alloc_memory, NULL, 0, false},
    {FN_UNLOADING_GUEST_DRIVER, unload, "rpc.unload", 0, false},
    {FN_UPDATE_BAR_PDE, update_bar_pde, NULL, 0, false},
    {FN_DUP_OBJECT, dup_object, NULL, 24, false},
};

static void halt(struct model *m, void *arg)
{
    if (m->rm->state == RM_UNLOADED)
        gsp_core_halt(m);
}

static void answer(struct model *m, uint32_t function, uint32_t result, uint32_t sequence,
                   const uint8_t *payload, size_t bytes)
{
    trace(m, "rpc: answer %s, result 0x%x, %zu bytes", function_name(function), result, bytes);
    if (function == FN_UNLOADING_GUEST_DRIVER && result == NV_OK) {
        m->rm->state = RM_UNLOADED;
        note(m, "GSP-RM is unloaded");
        timer_add(m, MS, halt, NULL);
    }
    queue_send(m, function, result, sequence, payload, bytes);
}

static void answer_late(struct model *m, void *arg)
{
    struct rm *rm = m->rm;
    rm->is_busy = false;
    answer(m, rm->late_function, rm->late_result, rm->late_sequence, rm->late, rm->late_bytes);
    free(rm->late);
    rm->late = NULL;
    poll(m, NULL);
}

static void serve(struct model *m, struct message *message)
{
    struct rm *rm = m->rm;
    const struct request *request = NULL;
    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        if (requests[i].function == message->function)
            request = &requests[i];
    uint32_t result;
    enum fault_mode mode;
    bool is_late = false, is_garbage = false, is_failed = false;
    if (request == NULL) {
        refuse(m, "RPC function %u (%s): GSP-RM does not serve it", message->function,
               function_name(message->function));
        answer(m, message->function, RESULT_UNKNOWN_FUNCTION, message->sequence, message->payload,
               message->bytes);
        return;
    }
    if ((request->fault_name != NULL && fault(m, request->fault_name, &mode)) ||
        fault(m, "rpc.answer", &mode)) {
        if (mode == FAULT_HANG) {
            rm_die(m);
            return;
        }
        is_late = mode == FAULT_LATE;
        is_garbage = mode == FAULT_GARBAGE;
        is_failed = mode == FAULT_FAIL;
    }
    result = is_failed ? NV_ERR_INSUFFICIENT_RESOURCES : request->handle(m, message);
    if (rm->state == RM_DEAD)
        return;
    if (request->status_offset != 0 && message->bytes >= request->status_offset + 4)
        PUT32(message->payload, request->status_offset, result);
    if (request->is_result_ok && result != RESULT_INVALID_MESSAGE_FORMAT)
        result = NV_OK;
    if (is_garbage)
        for (uint32_t i = 0; i < message->bytes; i++)
            message->payload[i] = (uint8_t)(0xa5 + i * 31);
    if (is_late) {
        rm->late = malloc(message->bytes + 1);
        if (rm->late == NULL) {
            rm_die(m);
            return;
        }
        memcpy(rm->late, message->payload, message->bytes);
        rm->late_bytes = message->bytes;
        rm->late_function = message->function;
        rm->late_result = result;
        rm->late_sequence = message->sequence;
        rm->is_busy = true;
        timer_add(m, late_ns(), answer_late, NULL);
        return;
    }
    answer(m, message->function, result, message->sequence, message->payload, message->bytes);
}

static void dispatch(struct model *m, struct message *message)
{
    struct rm *rm = m->rm;
    if (message->function != FN_RM_CONTROL && message->function != FN_RM_ALLOC)
        trace(m, "rpc: request %s, %u bytes", function_name(message->function), message->bytes);
    bool is_info = message->function == FN_SET_SYSTEM_INFO,
         is_registry = message->function == FN_SET_REGISTRY;
    if (rm->state == RM_WAIT_INFO && is_info) {
        system_info(m, message);
        rm->state = RM_WAIT_REGISTRY;
    } else if (rm->state == RM_WAIT_REGISTRY && is_registry) {
        registry(m, message);
        rm->state = RM_INIT;
        timer_add(m, MS, init_finish, NULL);
    } else if (rm->state != RM_RUNNING || is_info || is_registry) {
        refuse(m, "%s came %s", function_name(message->function),
               rm->state == RM_WAIT_INFO       ? "before GSP_SET_SYSTEM_INFO"
               : rm->state == RM_WAIT_REGISTRY ? "before SET_REGISTRY"
                                               : "after initialisation");
        rm_die(m);
    } else if (message->function != FN_ECC_NOTIFIER_WRITE_ACK) { /* which has no answer */
        serve(m, message);
    }
}

static void poll(struct model *m, void *arg)
{
    struct rm *rm = m->rm;
    rm->is_poll_due = false;
    while (!rm->is_busy && (rm->state == RM_WAIT_INFO || rm->state == RM_WAIT_REGISTRY ||
                            rm->state == RM_RUNNING)) {
        int got = queue_receive(m, &rm->message);
        if (got < 0)
            rm_die(m);
        if (got <= 0)
            return;
        dispatch(m, &rm->message);
    }
}

/* ---- the door ---------------------------------------------------------------------------------------------------- */

void gsp_rm_doorbell(struct model *m, uint32_t queue)
{
    struct rm *rm = m->rm;
    if (queue != 0) {
        refuse(m, "NV_PGSP_QUEUE_HEAD(%u) was written; GSP-RM listens to queue 0", queue);
        return;
    }
    /* The GSP takes its interrupt a little later: an answer never stands there when the write returns. */
    if (!rm->is_poll_due && rm->state != RM_OFF) {
        rm->is_poll_due = true;
        timer_add(m, 5 * US, poll, NULL);
    }
}

void gsp_rm_stop(struct model *m)
{
    struct rm *rm = m->rm;
    if (rm == NULL)
        return;
    timer_cancel(m, poll, NULL);
    timer_cancel(m, start_queues, NULL);
    timer_cancel(m, init_finish, NULL);
    timer_cancel(m, init_done, NULL);
    timer_cancel(m, init_done, m);
    timer_cancel(m, answer_late, NULL);
    timer_cancel(m, halt, NULL);
    objects_clear(m);
    queue_stop(m);
    free(rm->late);
    struct message message = rm->message;
    *rm = (struct rm){.message = message};
}
