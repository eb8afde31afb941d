/*
 * nvme/controller.c: one controller, from a PCI function to created queues, and back. Follows NVM Express Base 1.4:
 * 7.6.1 (initialisation), 7.3.2 (reset), 7.6.2 (shutdown), 3.1 (registers).
 *
 *   1. enable memory decoding, map BAR0, read and check CAP and VS
 *   2. reset: CC.EN = 0, wait for CSTS.RDY = 0
 *   3. bus mastering on, admin queue, CC.EN = 1, wait for CSTS.RDY = 1
 *   4. identify the controller, check what it says
 *   5. number of queues, shadow doorbells where offered, one queue pair per core
 *   6. namespaces (namespace.c)
 *
 * Left out: controller and host memory buffers, interrupts, command sets other than NVM, Autonomous Power States.
 */
#include <string.h>

#include "nvme/nvme_internal.h"

static uint32_t csts_read(struct nvme_controller *c)
{
    return mmio_read32(c->regs + NVME_CSTS);
}

/* ---- steps 1 to 3 ---------------------------------------------------------------------------------------------- */

static int registers_map(struct nvme_controller *c)
{
    int error = pci_enable(c->pci);
    if (error) {
        log_error("%s: cannot enable PCI function %s: error %d", c->name, c->pci->name, -error);
        return error;
    }
    c->regs_bytes = c->pci->bar[0].size_bytes;
    if (c->regs_bytes <
        NVME_DOORBELLS + PAGE_SIZE) { /* registers, and at least a page of doorbells */
        log_error("%s: BAR0 has %llu bytes, 8 KiB are the least", c->name,
                  (unsigned long long)c->regs_bytes);
        return -ENODEV;
    }
    c->regs = pci_map_bar(c->pci, 0, CACHE_UNCACHED);
    if (c->regs == NULL) {
        log_error("%s: cannot map BAR0", c->name);
        return -ENODEV;
    }
    return 0;
}

static int capabilities_check(struct nvme_controller *c)
{
    c->cap = mmio_read64(c->regs + NVME_CAP);
    c->version = mmio_read32(c->regs + NVME_VS);
    if (c->cap == UINT64_MAX) {
        log_error("%s: CAP reads all ones: the controller is gone", c->name);
        return -ENODEV;
    }
    /* 0 is no time to be ready in; one unit is the least that a controller can mean. */
    uint64_t units = field_get(NVME_CAP_TO, c->cap);
    c->ready_timeout_ns = (units != 0 ? units : 1) * 500 * NS_PER_MS;
    c->doorbell_stride = 4u << field_get(NVME_CAP_DSTRD, c->cap);
    if (!(field_get(NVME_CAP_CSS, c->cap) & NVME_CAP_CSS_NVM)) {
        log_error("%s: no NVM command set, CAP 0x%llx", c->name, (unsigned long long)c->cap);
        return -ENOTSUP;
    }
    if (field_get(NVME_CAP_MPSMIN, c->cap) != 0) {
        log_error("%s: takes no pages of 4 KiB, CAP 0x%llx", c->name, (unsigned long long)c->cap);
        return -ENOTSUP;
    }
    unsigned depth =
        (unsigned)field_get(NVME_CAP_MQES, c->cap) + 1; /* the specification's least is 2 */
    if (depth < 2) {
        log_error("%s: queues of one entry, CAP 0x%llx", c->name, (unsigned long long)c->cap);
        return -ENOTSUP;
    }
    unsigned power_of_two = 1u << (31 - __builtin_clz(depth));
    c->sq_depth = (unsigned)min_u64(power_of_two, NVME_SQ_DEPTH_MAX);
    c->cq_depth = (unsigned)min_u64(power_of_two, NVME_CQ_DEPTH_MAX);
    return 0;
}

int nvme_controller_disable(struct nvme_controller *c)
{
    uint32_t cc = mmio_read32(c->regs + NVME_CC), csts = csts_read(c);
    if (cc == UINT32_MAX || csts == UINT32_MAX)
        return -ENODEV;
    if (cc & NVME_CC_EN) {
        /* EN must not change while the last change is under way (3.1.5); one in trouble may never finish it. */
        if (!(csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) && !c->has_missed_ready &&
            wait_reg32(c->regs + NVME_CSTS, NVME_CSTS_RDY, NVME_CSTS_RDY,
                       time_ns() + c->ready_timeout_ns) == -ENODEV)
            return -ENODEV;
        mmio_write32(c->regs + NVME_CC, cc & ~(uint32_t)(NVME_CC_EN | NVME_CC_SHN));
        if (c->quirks & NVME_QUIRK_DELAY_BEFORE_READY)
            task_sleep_until(time_ns() + 2300 * NS_PER_MS); /* Linux's and FreeBSD's figure */
    }
    int error = wait_reg32(c->regs + NVME_CSTS, NVME_CSTS_RDY, 0, time_ns() + c->ready_timeout_ns);
    if (error == -ETIMEDOUT)
        log_error("%s: still ready %llu ms after CC.EN = 0, CSTS 0x%x", c->name,
                  (unsigned long long)(c->ready_timeout_ns / NS_PER_MS), csts_read(c));
    return error;
}

static int controller_enable(struct nvme_controller *c)
{
    pci_bus_master(c->pci, true); /* the device is disabled: it starts from rings that are ours */
    nvme_admin_reset(c);
    mmio_write32(c->regs + NVME_CC,
                 (uint32_t)(field_put(NVME_CC_IOCQES, NVME_CQE_SIZE_LOG2) |
                            field_put(NVME_CC_IOSQES, NVME_SQE_SIZE_LOG2) |
                            field_put(NVME_CC_AMS, 0) | field_put(NVME_CC_MPS, 0) |
                            field_put(NVME_CC_CSS, 0) | NVME_CC_EN));
    uint64_t deadline = time_ns() + c->ready_timeout_ns;
    c->has_missed_ready = false;
    for (;;) {
        uint32_t csts = csts_read(c);
        if (csts == UINT32_MAX) {
            log_error("%s: CSTS reads all ones: the controller is gone", c->name);
            return -ENODEV;
        }
        if (csts & NVME_CSTS_CFS) {
            log_error("%s: fatal status after CC.EN = 1, CSTS 0x%x", c->name, csts);
            return -EIO;
        }
        if (csts & NVME_CSTS_RDY)
            break;
        if (time_ns() >= deadline) {
            c->has_missed_ready = true;
            log_error("%s: not ready %llu ms after CC.EN = 1, CSTS 0x%x", c->name,
                      (unsigned long long)(c->ready_timeout_ns / NS_PER_MS), csts);
            return -ETIMEDOUT;
        }
        task_yield();
    }
    mmio_write32(c->regs + NVME_INTMS,
                 UINT32_MAX); /* the admin queue would raise INTx, and nobody listens */
    return 0;
}

/* ---- step 4 ---------------------------------------------------------------------------------------------------- */

/* Space-padded ASCII to a string without spaces at the end; what does not print becomes '?'. */
static void text_copy(char *out, const char *in, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < size && in[i] != '\0'; i++) {
        out[i] = in[i] >= ' ' && in[i] <= '~' ? in[i] : '?';
        if (in[i] != ' ')
            length = i + 1;
    }
    out[length] = '\0';
}

static bool entry_size_fits(uint8_t sizes, unsigned log2_bytes)
{
    return (sizes & 0xf) <= log2_bytes && sizes >> 4 >= log2_bytes;
}

static int controller_identify(struct nvme_controller *c)
{
    int error = nvme_admin_identify(c, NVME_CNS_CONTROLLER, 0, "Identify (controller)", NULL);
    if (error)
        return error;
    const struct nvme_identify_controller *id = c->admin.buffer;
    char model[41], serial[21];
    text_copy(model, id->mn, sizeof(id->mn));
    text_copy(serial, id->sn, sizeof(id->sn));
    if (c->is_identified) { /* after a reset: nothing we rely on may have changed */
        bool is_same = strcmp(model, c->model) == 0 && strcmp(serial, c->serial) == 0;
        if (!is_same)
            log_error("%s: after the reset it is another drive (%s, %s)", c->name, model, serial);
        return is_same ? 0 : -ENODEV;
    }

    memcpy(c->model, model, sizeof(model));
    memcpy(c->serial, serial, sizeof(serial));
    text_copy(c->firmware, id->fr, sizeof(id->fr));
    if (!entry_size_fits(id->sqes, NVME_SQE_SIZE_LOG2) ||
        !entry_size_fits(id->cqes, NVME_CQE_SIZE_LOG2)) {
        log_error("%s: queue entry sizes SQES 0x%02x, CQES 0x%02x are not ours", c->name, id->sqes,
                  id->cqes);
        return -ENOTSUP;
    }
    if (id->cntrltype > 1) {
        log_error("%s: not an I/O controller, CNTRLTYPE %u", c->name, id->cntrltype);
        return -ENOTSUP;
    }
    /* MDTS counts in pages of MPSMIN, which is 4 KiB here. 0 is no limit, and shifts past 20 are as good as none. */
    c->mdts_bytes = NVME_TRANSFER_MAX;
    if (id->mdts != 0 && id->mdts <= 20)
        c->mdts_bytes = (uint32_t)min_u64(PAGE_SIZE << id->mdts, NVME_TRANSFER_MAX);
    c->namespace_id_max = (uint32_t)min_u64(id->nn, NVME_NSID_ALL - 1);
    c->shutdown_timeout_ns = NVME_SHUTDOWN_TIMEOUT_NS;
    if (id->rtd3e != 0)
        c->shutdown_timeout_ns =
            min_u64(2 * id->rtd3e * NS_PER_US + NS_PER_S, NVME_SHUTDOWN_TIMEOUT_MAX_NS);
    c->has_write_zeroes =
        id->oncs & NVME_ONCS_WRITE_ZEROES && !(c->quirks & NVME_QUIRK_NO_WRITE_ZEROES);
    c->has_deallocate = (id->oncs & NVME_ONCS_DEALLOCATE) != 0;
    c->has_sgl = field_get(NVME_SGLS_SUPPORT, id->sgls) != 0 &&
                 field_get(NVME_SGLS_SUPPORT, id->sgls) != 3 && !(c->quirks & NVME_QUIRK_NO_SGL);
    c->has_doorbell_buffer = (id->oacs & NVME_OACS_DOORBELL_BUFFER) != 0;
    c->is_identified = true;
    return 0;
}

/* ---- step 5 ---------------------------------------------------------------------------------------------------- */

/* Shadow doorbells are a matter of speed: without memory for them, or refused, the registers do. */
static int shadow_doorbells_set(struct nvme_controller *c)
{
    if (!c->has_doorbell_buffer)
        return 0;
    size_t bytes_needed =
        2 * (core_count() + 1) * (size_t)c->doorbell_stride; /* each buffer is one page (5.7) */
    if (bytes_needed <= PAGE_SIZE && c->shadow_doorbells == NULL) {
        c->shadow_doorbells = page_alloc(PAGE_SIZE, 0);
        c->event_indexes = page_alloc(PAGE_SIZE, 0);
    }
    if (c->shadow_doorbells == NULL || c->event_indexes == NULL) {
        log_warn("%s: works without shadow doorbells: no memory for them, or too far apart",
                 c->name);
        c->has_doorbell_buffer = false;
        return 0;
    }
    int error = nvme_admin_doorbell_buffer(c);
    c->has_doorbell_buffer = error == 0;
    return error == -EIO && !c->admin.is_stuck ? 0 : error;
}

/* The first time, as many pairs as cores, controller and memory allow. After a reset, the same ones again. */
static int queues_create(struct nvme_controller *c)
{
    bool is_first_time = c->queue_count == 0;
    unsigned wanted = is_first_time ? core_count() : c->queue_count;
    uint64_t doorbell_pairs = (c->regs_bytes - NVME_DOORBELLS) / (2 * c->doorbell_stride);
    wanted = (unsigned)min_u64(wanted, doorbell_pairs - 1); /* the admin queue has the first pair */
    if (wanted == 0) {
        log_error("%s: BAR0 has no room for I/O doorbells", c->name);
        return -ENOTSUP;
    }
    int granted = nvme_admin_queue_count(c, wanted);
    if (granted < 0)
        return granted;
    int error = shadow_doorbells_set(c);
    if (error)
        return error;

    unsigned count = 0;
    while (count < (unsigned)granted) {
        if (c->queues[count] == NULL)
            c->queues[count] =
                nvme_queue_create(c, (uint16_t)(count + 1)); /* queue 0 is the admin queue */
        if (c->queues[count] == NULL) {
            log_warn("%s: no memory for I/O queue pair %u", c->name, count + 1);
            error = -ENOMEM;
            break;
        }
        nvme_queue_lock(c->queues[count]);
        nvme_queue_reset(c->queues[count]); /* empty rings; shadow doorbells may have gone */
        nvme_queue_unlock(c->queues[count]);
        error = nvme_admin_create_queue(c, c->queues[count]);
        if (error)
            break;
        count++;
    }
    if (c->admin.is_stuck || count == 0 || (!is_first_time && count < c->queue_count)) {
        log_error("%s: %u of %u I/O queue pairs", c->name, count, wanted);
        return error ? error : -EIO;
    }
    if (!is_first_time)
        return 0;
    if (count < (unsigned)granted && c->queues[count] != NULL) {
        nvme_queue_destroy(
            c->queues
                [count]); /* refused: its completion queue may exist, but nothing is ever sent */
        c->queues[count] = NULL;
    }
    c->queue_count = count;
    for (unsigned core = 0; core < core_count(); core++)
        c->queue_of_core[core] = c->queues[core % count];
    if (count < core_count())
        log_warn("%s: %u queue pairs for %u cores: some cores share", c->name, count, core_count());
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

int nvme_controller_bring_up(struct nvme_controller *c)
{
    int error = nvme_controller_disable(c);
    if (!error)
        error = controller_enable(c);
    if (!error)
        error = controller_identify(c);
    if (!error)
        error = queues_create(c);
    return error;
}

/* Whatever state it is in: no memory of ours may be touched afterwards. */
static void controller_cut_off(struct nvme_controller *c)
{
    if (c->regs != NULL)
        nvme_controller_disable(c);
    pci_disable(c->pci);
}

int nvme_controller_start(struct nvme_controller *c)
{
    int error = registers_map(c);
    if (error)
        goto cut_off;
    c->quirks = nvme_quirks_of(c->pci->vendor_id, c->pci->device_id);
    if (c->quirks & NVME_QUIRK_DELAY_BEFORE_START)
        task_sleep_until(time_ns() + 2 * NS_PER_S); /* SPDK's figure */
    error = capabilities_check(c);
    if (error)
        goto cut_off;
    error = nvme_admin_create(c);
    if (error) {
        log_error("%s: no memory for the admin queue", c->name);
        goto cut_off;
    }

    mutex_lock(&c->admin_lock);
    error = nvme_controller_bring_up(c);
    if (!error)
        error = nvme_namespaces_find(c);
    mutex_unlock(&c->admin_lock);
    if (error)
        goto cut_off;
    log_info("%s: %s, serial %s, firmware %s: %u queue pairs of %u, %u KiB per command%s%s",
             c->name, c->model, c->serial, c->firmware, c->queue_count, c->sq_depth,
             c->mdts_bytes / 1024, c->has_doorbell_buffer ? ", shadow doorbells" : "",
             c->has_sgl ? ", SGL" : "");
    return 0;

cut_off:
    controller_cut_off(c);
    return error;
}

void nvme_controller_shutdown_begin(struct nvme_controller *c)
{
    uint32_t cc = mmio_read32(c->regs + NVME_CC);
    if (cc == UINT32_MAX || !(cc & NVME_CC_EN))
        return;
    mmio_write32(c->regs + NVME_CC,
                 (uint32_t)((cc & ~NVME_CC_SHN) | field_put(NVME_CC_SHN, NVME_CC_SHN_NORMAL)));
}

void nvme_controller_shutdown_finish(struct nvme_controller *c)
{
    if (mmio_read32(c->regs + NVME_CC) & NVME_CC_EN &&
        wait_reg32(c->regs + NVME_CSTS, NVME_CSTS_SHST,
                   (uint32_t)field_put(NVME_CSTS_SHST, NVME_CSTS_SHST_COMPLETE),
                   time_ns() + c->shutdown_timeout_ns) == -ETIMEDOUT)
        log_warn("%s: shutdown not complete after %llu ms, CSTS 0x%x", c->name,
                 (unsigned long long)(c->shutdown_timeout_ns / NS_PER_MS), csts_read(c));
    controller_cut_off(c);
}

void nvme_controller_free(struct nvme_controller *c)
{
    for (unsigned i = 0; i < CORE_MAX; i++)
        if (c->queues[i] != NULL)
            nvme_queue_destroy(c->queues[i]);
    nvme_admin_destroy(c);
    if (c->shadow_doorbells != NULL)
        page_free(c->shadow_doorbells, PAGE_SIZE);
    if (c->event_indexes != NULL)
        page_free(c->event_indexes, PAGE_SIZE);
    if (c->regs != NULL)
        mmio_unmap(c->regs, c->regs_bytes);
    page_free(c, sizeof(*c));
}
