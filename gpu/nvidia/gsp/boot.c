/*
 * gpu/nvidia/gsp/boot.c: the GSP's start and its end, step by step.
 *
 *   1. the GPU: identified, reset if it was left running, its own firmware done, BARs mapped (hw_open)
 *   2. the firmware files of the ESP taken apart (firmware.c)
 *   3. memory: the program with its page tables, boot loader, signature, descriptor (WPR metadata), queues, log rings
 *   4. VRAM divided (layout.c)
 *   5. Turing to Ada: FWSEC makes WPR2 around FRTS on the GSP's falcon; system information and registry are put into the
 *      queue; booter_load on SEC2 fills WPR2 and starts the RISC-V core.
 *      Hopper, Blackwell: the FSP starts the FMC, which does all that; then the information goes into the queue.
 *   6. the Resource Manager says GSP_INIT_DONE, after CPU sequencer runs that it asks for on the way (events.c)
 *   7. its static information; interrupts
 *
 * Sources: open-gpu-kernel-modules 570.144: kgspInitRm (kernel_gsp.c), kgspBootstrap_TU102, kgspTeardown_TU102,
 * kgspWaitForProcessorSuspend_TU102 (kernel_gsp_tu102.c), kgspSetupGspFmcArgs_GH100, kgspBootstrap_GH100,
 * kgspTeardown_GH100 (kernel_gsp_gh100.c), kgspSetupLibosInitArgs, _setupLogBufferBaremetal (kernel_gsp.c).
 */
#include <string.h>

#include "gpu/nvidia/gsp/boot_abi.h"
#include "gpu/nvidia/gsp/booter.h"
#include "gpu/nvidia/gsp/crash.h"
#include "gpu/nvidia/gsp/falcon.h"
#include "gpu/nvidia/gsp/fsp.h"
#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/gsp.h"
#include "gpu/nvidia/gsp/regs/falcon.h"

#define INIT_DONE_TIMEOUT_NS \
    (15 * NS_PER_S) /* takes 0.5 to 4 s; the driver gives up after 6 (_kgspRpcRecvPoll) */
#define SUSPEND_TIMEOUT_NS (4 * NS_PER_S) /* GPU_TIMEOUT_DEFAULT */
#define GSP_SUSPENDED      0x80000000     /* in its mailbox: LIBOS_INTERRUPT_PROCESSOR_SUSPENDED */

/* ---- memory --------------------------------------------------------------------------------------------------------- */

static int memory_allocate(struct hw *hw, const char *what, uint64_t bytes, bool is_zeroed,
                           struct gsp_memory *out)
{
    bytes = align_up(bytes, PAGE_SIZE);
    out->va = is_zeroed ? page_alloc(bytes, 0) : page_alloc_dirty(bytes, 0);
    if (out->va == NULL)
        return hw_fail(hw, -ENOMEM, "no memory for %s (%llu KiB)", what,
                       (unsigned long long)(bytes >> 10));
    out->bytes = bytes;
    out->dma = dma_addr(out->va);
    return 0;
}

static int memory_create(struct hw *hw, const char *what, uint64_t bytes, struct gsp_memory *out)
{
    return memory_allocate(hw, what, bytes, true, out);
}

static int memory_copy(struct hw *hw, const char *what, struct gsp_bytes from,
                       struct gsp_memory *out)
{
    int error = memory_allocate(hw, what, from.bytes, false, out);
    if (error < 0)
        return error;
    memcpy(out->va, from.data, from.bytes);
    memset((uint8_t *)out->va + from.bytes, 0, out->bytes - from.bytes);
    return 0;
}

static void memory_free(struct gsp_memory *memory)
{
    if (memory->va != NULL)
        page_free(memory->va, memory->bytes);
    *memory = (struct gsp_memory){0};
}

static void start_memory_free(struct gsp *gsp)
{
    memory_free(&gsp->wpr_meta);
    memory_free(&gsp->radix3);
    memory_free(&gsp->program_tail);
    memory_free(&gsp->boot_loader);
    memory_free(&gsp->signature);
    memory_free(&gsp->fmc);
    memory_free(&gsp->fmc_arguments);
}

static void all_memory_free(struct gsp *gsp)
{
    start_memory_free(gsp);
    memory_free(&gsp->libos);
    memory_free(&gsp->arguments);
    for (unsigned i = 0; i < GSP_LOG_COUNT; i++) {
        memory_free(&gsp->log_memory[i]);
        gsp->log[i].words = NULL;
    }
}

/* ---- arguments ------------------------------------------------------------------------------------------------------ */

static uint64_t region_id(const char *name)
{
    uint64_t id = 0;
    for (; *name != '\0'; name++)
        id = id << 8 | (uint8_t)*name;
    return id;
}

static struct libos_region region(const char *name, const struct gsp_memory *memory)
{
    return (struct libos_region){
        .id = region_id(name),
        .bus = memory->dma,
        .bytes = memory->bytes,
        .kind = LIBOS_MEMORY_REGION_CONTIGUOUS,
        .location = LIBOS_MEMORY_REGION_LOC_SYSMEM,
    };
}

static int arguments_create(struct gsp *gsp)
{
    static const char *const names[GSP_LOG_COUNT][2] = {{"LOGINIT", "INIT"},
                                                        {"LOGINTR", "INTR"},
                                                        {"LOGRM", "RM"},
                                                        {"LOGMNOC", "MNOC"},
                                                        {"LOGKRNL", "KRNL"}};
    struct hw *hw = &gsp->hw;
    int error = memory_create(hw, "the GSP's start arguments", PAGE_SIZE, &gsp->libos);
    if (error == 0)
        error = memory_create(hw, "the GSP's queue arguments", PAGE_SIZE, &gsp->arguments);
    if (error < 0)
        return error;
    struct libos_region *regions = gsp->libos.va;
    unsigned count = 0;
    for (unsigned i = 0; i < GSP_LOG_COUNT; i++) {
        if (i == GSP_LOG_KRNL && hw->chip->falcon == HW_FALCON_TU102)
            continue; /* an older operating system, without a ring for its kernel */
        error = memory_create(hw, "a log of the GSP", GSP_LOG_BYTES, &gsp->log_memory[i]);
        if (error < 0)
            return error;
        /* Behind the count of words the ring starts out with the addresses of its own pages. */
        uint64_t *words = gsp->log_memory[i].va;
        for (uint64_t page = 0; page < GSP_LOG_BYTES / PAGE_SIZE; page++)
            words[1 + page] = gsp->log_memory[i].dma + page * PAGE_SIZE;
        gsp->log[i] = (struct gsp_log_ring){names[i][1], words, GSP_LOG_BYTES / 8, 0};
        regions[count++] = region(names[i][0], &gsp->log_memory[i]);
    }
    regions[count++] = region("RMARGS", &gsp->arguments);

    struct gsp_rm_arguments *arguments = gsp->arguments.va;
    rpc_fill_arguments(&gsp->rpc, &arguments->queues);
    arguments->dmem_stack = 1;
    return 0;
}

static int program_create(struct gsp *gsp)
{
    struct hw *hw = &gsp->hw;
    const struct gsp_firmware *firmware = &gsp->firmware;
    struct gsp_bytes image = firmware->program.image;
    uint64_t tail = image.bytes % PAGE_SIZE;
    /* The GSP reads the program out of the file. Behind its last bytes there comes something else: they get a page. */
    int error = 0;
    if (tail != 0)
        error = memory_copy(hw, "the GSP's program's last page",
                            (struct gsp_bytes){image.data + image.bytes - tail, tail},
                            &gsp->program_tail);
    if (error == 0)
        error = memory_create(hw, "the GSP's program's page tables", gsp_radix3_bytes(image.bytes),
                              &gsp->radix3);
    if (error == 0)
        error =
            memory_copy(hw, "the GSP's signature", firmware->program.signature, &gsp->signature);
    if (error == 0)
        error = memory_copy(hw, "the GSP's boot loader", firmware->boot_loader.image,
                            &gsp->boot_loader);
    if (error == 0)
        error = memory_create(hw, "the GSP's descriptor", PAGE_SIZE, &gsp->wpr_meta);
    if (error == 0 && hw->chip->boot == HW_BOOT_FSP)
        error = memory_copy(hw, "the FMC", firmware->fmc.image, &gsp->fmc);
    if (error == 0 && hw->chip->boot == HW_BOOT_FSP)
        error = memory_create(hw, "the FMC's arguments", sizeof(struct gsp_fmc_boot_params),
                              &gsp->fmc_arguments);
    if (error < 0)
        return error;
    gsp_radix3_build(gsp->radix3.va, gsp->radix3.dma, dma_addr(image.data), image.bytes,
                     gsp->program_tail.dma);
    return 0;
}

static void wpr_meta_fill(struct gsp *gsp)
{
    const struct gsp_layout *layout = &gsp->layout;
    const struct gsp_boot_loader *boot_loader = &gsp->firmware.boot_loader;
    bool is_fsp = gsp->hw.chip->boot == HW_BOOT_FSP;
    *(struct gsp_wpr_meta *)gsp->wpr_meta.va = (struct gsp_wpr_meta){
        .magic = GSP_FW_WPR_META_MAGIC,
        .revision = GSP_FW_WPR_META_REVISION,
        .sysmem_radix3 = gsp->radix3.dma,
        .program_bytes = layout->program.bytes,
        .sysmem_boot_loader = gsp->boot_loader.dma,
        .boot_loader_bytes = layout->boot_loader.bytes,
        .boot_loader_code_offset = boot_loader->code_offset,
        .boot_loader_data_offset = boot_loader->data_offset,
        .boot_loader_manifest_offset = boot_loader->manifest_offset,
        .sysmem_signature = gsp->signature.dma,
        .signature_bytes = align_up(gsp->firmware.program.signature.bytes, PAGE_SIZE),
        .reserved_start = layout->non_wpr_heap.offset,
        .non_wpr_heap_offset = layout->non_wpr_heap.offset,
        .non_wpr_heap_bytes = layout->non_wpr_heap.bytes,
        .wpr_start = layout->wpr2.offset,
        .heap_offset = layout->heap.offset,
        .heap_bytes = layout->heap.bytes,
        .program_offset = layout->program.offset,
        .boot_loader_offset = layout->boot_loader.offset,
        .frts_offset = layout->frts.offset,
        .frts_bytes = layout->frts.bytes,
        .wpr_end = layout->wpr2.offset + layout->wpr2.bytes,
        .vram_bytes = is_fsp ? 0 : layout->vram_bytes, /* the FMC fills in what is 0 here */
        .vga_offset = layout->vga.offset,
        .vga_bytes = layout->vga.bytes,
        .flags = is_fsp ? 0 : GSP_FW_FLAGS_CLOCK_BOOST,
        .pmu_bytes = (uint32_t)layout->pmu_bytes,
    };
}

/* ---- start ---------------------------------------------------------------------------------------------------------- */

static int information_send(struct gsp *gsp)
{
    int error = gsp_info_send_system(&gsp->rpc, &gsp->hw);
    return error < 0 ? error : gsp_info_send_registry(&gsp->rpc, &gsp->hw);
}

static int boot_by_sec2(struct gsp *gsp)
{
    struct hw *hw = &gsp->hw;
    const struct gsp_layout *layout = &gsp->layout;
    const struct fwsec_loader *loader =
        gsp->firmware.fwsec_loader.code != NULL ? &gsp->firmware.fwsec_loader : NULL;
    int error = 0;
    if (layout->frts.bytes != 0) {
        error = fwsec_frts(hw, loader, layout->frts.offset, layout->frts.bytes);
        if (error < 0)
            return error;
    }
    error = falcon_reset_riscv(hw, &falcon_gsp);
    if (error < 0)
        return error;
    falcon_mailbox_write(hw, &falcon_gsp,
                         (uint32_t[]){(uint32_t)gsp->libos.dma, (uint32_t)(gsp->libos.dma >> 32)});
    error = information_send(gsp);
    if (error == 0)
        error = booter_load(hw, &gsp->firmware.booter_load, gsp->wpr_meta.dma);
    if (error < 0)
        return error;
    uint64_t start, end;
    if (!fwsec_wpr2(hw, &start, &end) || start > layout->wpr2.offset ||
        end < layout->wpr2.offset + layout->wpr2.bytes - layout->frts.bytes)
        return hw_fail(hw, -EIO, "booter_load: WPR2 is not what was asked for (%#llx .. %#llx)",
                       (unsigned long long)layout->wpr2.offset,
                       (unsigned long long)(layout->wpr2.offset + layout->wpr2.bytes));
    hw_step(hw, "booter_load has filled WPR2 at %#llx", (unsigned long long)layout->wpr2.offset);
    return 0;
}

static int boot_by_fsp(struct gsp *gsp)
{
    *(struct gsp_fmc_boot_params *)gsp->fmc_arguments.va = (struct gsp_fmc_boot_params){
        .wpr_meta_target = GSP_DMA_TARGET_COHERENT_SYSTEM,
        .wpr_meta_bytes = sizeof(struct gsp_wpr_meta),
        .wpr_meta_bus = gsp->wpr_meta.dma,
        .is_gsp_rm_boot = 1,
        .libos_target = GSP_DMA_TARGET_NONCOHERENT_SYSTEM,
        .libos_bus = gsp->libos.dma,
    };
    int error =
        fsp_boot(&gsp->hw, &gsp->firmware.fmc, &gsp->layout, gsp->fmc.dma, gsp->fmc_arguments.dma);
    if (error == 0)
        hw_step(&gsp->hw, "the FMC has opened the GSP's registers");
    return error;
}

/* Where the FMC has put what the booter is told: RM says it (_kgspSetFwWprLayoutOffset, kernel_gsp.c). */
static int layout_learn(struct gsp *gsp)
{
    struct gsp_layout *layout = &gsp->layout;
    const struct gsp_info *info = &gsp->info;
    if (gsp->hw.chip->boot == HW_BOOT_FSP) {
        uint64_t start = info->non_wpr_heap_offset, end = info->frts_offset;
        if (end >= layout->vram_bytes || layout->vram_bytes - end < layout->frts.bytes ||
            start >= end || end - start < layout->non_wpr_heap.bytes + layout->heap.bytes)
            return hw_fail(&gsp->hw, -EPROTO,
                           "static information: the GSP's memory from %#llx to FRTS at %#llx "
                           "cannot be",
                           (unsigned long long)start, (unsigned long long)end);
        layout->non_wpr_heap.offset = start;
        layout->frts.offset = end;
        layout->wpr2.offset = start + layout->non_wpr_heap.bytes;
        layout->wpr2.bytes = end + layout->frts.bytes - layout->wpr2.offset;
        layout->usable_end = start;
    }
    for (unsigned i = 0; i < info->region_count; i++) {
        const struct gsp_info_region *r = &info->region[i];
        if (r->is_reserved && r->base >= layout->vram_bytes / 2)
            layout->usable_end = min_u64(layout->usable_end, r->base);
    }
    return 0;
}

static int rm_wait(struct gsp *gsp)
{
    struct hw *hw = &gsp->hw;
    hw_write32(hw, falcon_gsp.base + NV_PFALCON_FALCON_OS, gsp->firmware.boot_loader.app_version);
    if (!falcon_is_riscv_active(hw, &falcon_gsp))
        return hw_fail(hw, -EIO, "the GSP's RISC-V core is not running (mailboxes %#x %#x)",
                       hw_read32(hw, falcon_gsp.base + NV_PFALCON_FALCON_MAILBOX0),
                       hw_read32(hw, falcon_gsp.base + NV_PFALCON_FALCON_MAILBOX1));
    int error = hw->chip->boot == HW_BOOT_FSP ? information_send(gsp) : 0;
    if (error < 0)
        return error;
    error = rpc_wait_event(&gsp->rpc, NV_VGPU_MSG_EVENT_GSP_INIT_DONE, INIT_DONE_TIMEOUT_NS);
    if (gsp->events.sequencer_error < 0) /* the cause of whatever followed; it is in hw->error */
        return gsp->events.sequencer_error;
    if (error < 0)
        return hw_fail(hw, error, "%s%s%s", gsp->rpc.error,
                       gsp->events.last_text[0] != '\0' ? "; GSP: " : "", gsp->events.last_text);
    hw_step(hw, "GSP_INIT_DONE, after %llu runs of the CPU sequencer",
            (unsigned long long)gsp->events.sequencer_runs);
    error = gsp_info_read_static(&gsp->rpc, hw, &gsp->info);
    if (error == 0)
        error = layout_learn(gsp);
    if (error == 0)
        hw_step(hw, "static information: %s, VRAM ours to %#llx", gsp->info.name,
                (unsigned long long)gsp->layout.usable_end);
    return error;
}

/* Back to the state after power-on: nothing of a start that failed, or of an end that did, runs on in the GPU. */
static void reset(struct hw *hw)
{
    pci_disable(hw->pci);
    if (hw_is_gone(hw))
        return;
    int error = pci_reset(hw->pci, PCI_RESET_FUNCTION);
    if (error == -ENOTSUP)
        error = pci_reset(hw->pci, PCI_RESET_BUS);
    if (error < 0)
        log_warn("%s: it cannot be reset (error %d); the next start tries again", hw->name, -error);
    else
        log_info("%s: reset, so that nothing runs on in it", hw->name);
}

/* The GSP does not answer, or has stopped: its own log and what it was asked last. */
static void on_trouble(void *arg)
{
    struct gsp *gsp = arg;
    gsp_crash_report(&gsp->hw);
    gsp_logs_drain(gsp, LOG_WARN, 8);
    rpc_log_history(&gsp->rpc);
}

int gsp_start(struct gsp *gsp, struct pci_device *pci, const char *name)
{
    struct hw *hw = &gsp->hw;
    memset(gsp, 0, sizeof(*gsp));
    int error = hw_open(hw, pci, name);
    if (error < 0)
        return error; /* it has undone everything itself */
    bool has_rpc = false, has_interrupts = false;
    error = gsp_firmware_load(hw, &gsp->firmware);
    if (error < 0)
        goto close;
    error = rpc_init(&gsp->rpc, hw);
    if (error < 0) {
        hw_fail(hw, error, "no memory for the GSP's queues");
        goto close;
    }
    has_rpc = true;
    error = program_create(gsp);
    if (error == 0)
        error = arguments_create(gsp);
    if (error < 0)
        goto close;
    gsp_events_init(&gsp->events, &gsp->rpc, hw, gsp->libos.dma);
    gsp->rpc.on_trouble = on_trouble;
    gsp->rpc.on_trouble_arg = gsp;
    hw_step(hw, "firmware " GSP_FIRMWARE_VERSION " in memory, %llu MiB",
            (unsigned long long)(gsp->firmware.program.image.bytes >> 20));

    uint64_t vbios_offset = hw->chip->boot == HW_BOOT_SEC2 ? gsp_layout_vbios_offset(hw) : 0;
    error = gsp_layout_compute(hw->chip, hw->vram_bytes, vbios_offset,
                               gsp->firmware.boot_loader.image.bytes,
                               gsp->firmware.program.image.bytes, &gsp->layout);
    if (error < 0) {
        hw_fail(hw, error,
                "%llu MiB of VRAM, the VBIOS's part from %#llx on: the GSP's firmware does not fit",
                (unsigned long long)(hw->vram_bytes >> 20), (unsigned long long)vbios_offset);
        goto close;
    }
    wpr_meta_fill(gsp);
    dma_wmb();
    error = gsp_interrupts_start(&gsp->interrupts, hw, &gsp->rpc, 0);
    if (error == -ENOMEM) { /* anything else: it is polled, and the log says so */
        hw_fail(hw, error, "no memory for the interrupt's task");
        goto close;
    }
    has_interrupts = true;
    error = hw->chip->boot == HW_BOOT_FSP ? boot_by_fsp(gsp) : boot_by_sec2(gsp);
    if (error == 0)
        error = rm_wait(gsp);
    if (error < 0) {
        gsp_logs_drain(gsp, LOG_WARN, 8);
        rpc_log_history(&gsp->rpc);
        goto close;
    }
    error = gsp_interrupts_route(&gsp->interrupts, &gsp->info);
    if (error < 0) {
        hw_fail(hw, error, "interrupt vectors: %s", gsp->rpc.error);
        goto close;
    }
    start_memory_free(gsp);
    gsp->is_running = true;
    return 0;

close:
    if (has_interrupts) {
        gsp_interrupts_stop(&gsp->interrupts);
        reset(hw);
    }
    hw_close(hw); /* bus mastering goes off: nothing reads or writes our memory from here on */
    if (has_rpc)
        rpc_fini(&gsp->rpc);
    all_memory_free(gsp);
    return error;
}

/* ---- end ------------------------------------------------------------------------------------------------------------ */

void gsp_logs_drain(struct gsp *gsp, enum log_level level, unsigned lines)
{
    for (unsigned i = 0; i < GSP_LOG_COUNT; i++)
        if (gsp->log[i].words != NULL)
            gsp_log_drain(&gsp->log[i], gsp->hw.name, level, lines);
}

static int unload(struct gsp *gsp)
{
    struct hw *hw = &gsp->hw;
    const struct fwsec_loader *loader =
        gsp->firmware.fwsec_loader.code != NULL ? &gsp->firmware.fwsec_loader : NULL;
    struct rpc_unloading_guest_driver request = {0}, reply;
    int error = rpc_call(&gsp->rpc, NV_VGPU_MSG_FUNCTION_UNLOADING_GUEST_DRIVER, &request,
                         sizeof(request), &reply, sizeof(reply), NULL, RPC_TIMEOUT_NS);
    if (error < 0)
        return hw_fail(hw, error, "unload: %s", gsp->rpc.error);
    error = hw_wait32(hw, falcon_gsp.base + NV_PFALCON_FALCON_MAILBOX0, UINT32_MAX, GSP_SUSPENDED,
                      SUSPEND_TIMEOUT_NS, "unload: the GSP suspends");
    if (error < 0)
        return error;
    if (hw->chip->boot == HW_BOOT_FSP)
        return hw_wait32(hw, falcon_gsp.base2 + NV_PRISCV_RISCV_CPUCTL,
                         NV_PRISCV_RISCV_CPUCTL_HALTED, NV_PRISCV_RISCV_CPUCTL_HALTED,
                         SUSPEND_TIMEOUT_NS, "unload: the GSP halts");
    if (gsp->layout.frts.bytes != 0)
        error = fwsec_sb(hw, loader);
    return error < 0 ? error : booter_unload(hw, &gsp->firmware.booter_unload);
}

void gsp_stop(struct gsp *gsp)
{
    struct hw *hw = &gsp->hw;
    gsp_interrupts_stop(&gsp->interrupts);
    if (gsp->is_running) {
        hw->error[0] = '\0';
        hw->step_ns = time_ns();
        if (unload(gsp) == 0)
            hw_step(hw, "unloaded");
        else
            log_warn("%s: %s", hw->name, hw->error);
        gsp_logs_drain(gsp, LOG_DEBUG, 8);
        if (hw->error[0] != '\0')
            reset(hw);
        gsp->is_running = false;
    }
    hw_close(hw);
    rpc_fini(&gsp->rpc);
    all_memory_free(gsp);
}
