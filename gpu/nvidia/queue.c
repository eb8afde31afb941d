/*
 * gpu/nvidia/queue.c: records commands into a channel's rings and submits them.
 *
 * Commands of one queue take effect in order. How that order is kept:
 * - launch after launch of the same batch: the QMD of the earlier one names the later one as its dependent, and the compute
 *   engine starts it itself when the grid is complete and its writes are visible. Only the first is sent by a method.
 * - copy after copy: non-pipelined transfers wait for the one before.
 * - from one kind to the other, and after a submit: the channel waits for the queue's fence, a semaphore that the last command
 *   of every group raises.
 * A launch stays open until the next command, so that signals behind it become releases of its QMD and cost no method.
 *
 * The rings (push buffer, launch data) lie in VRAM behind write-combining: they are written once, front to back, and never
 * read. They are free again when the fence of the submission that used them is reached.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/kernels/kernels.h"
#include "gpu/nvidia/device.h"
#include "gpu/nvidia/rm_abi.h"

#define ROOM_TIMEOUT_NS \
    (30 * \
     NS_PER_S) /* for older work to make room: longer than any kernel that still makes progress */
#define DRAIN_TIMEOUT_NS (30 * NS_PER_S)
#define FILL_COUNT_MAX   (UINT32_C(1) << 29) /* words in one go: 2 GiB */
#define BANK0_HEADER_MAX 1024
#define KERNEL_COPY_HOST_MAX \
    (64 * 1024) /* beyond it a copy engine's PCIe requests are the better ones */
#define FILL_THREADS 256

static struct nvidia_queue *queue_of(struct gpu_queue *queue)
{
    return (struct nvidia_queue *)queue;
}

static struct nvidia_device *device_of(const struct nvidia_queue *q)
{
    return (struct nvidia_device *)q->base.device;
}

/* ---- rings ----------------------------------------------------------------------------------------------------- */

static uint64_t fence_value(const struct nvidia_queue *q)
{
    return atomic_load_explicit(q->fence.value, memory_order_acquire);
}

/* Take back what completed submissions used. */
static void reclaim(struct nvidia_queue *q)
{
    uint64_t done = fence_value(q);
    while (q->submission_get != q->submission_put) {
        const struct nvidia_submission *oldest =
            &q->submissions[q->submission_get % NVIDIA_GPFIFO_ENTRIES];
        if (oldest->fence > done)
            break;
        q->push_head = oldest->push_end;
        q->launch_head = oldest->launch_end;
        q->gp_done = oldest->gp_end;
        q->submission_get++;
    }
}

/*
 * Bytes that a contiguous run of `size` at `tail` takes from a ring of `ring` bytes, with what is skipped at its end.
 * `size` is at most half the ring.
 */
static uint64_t run_bytes(uint64_t tail, uint64_t size, uint64_t ring)
{
    uint64_t to_end = ring - tail % ring;
    return size <= to_end ? size : to_end + size;
}

static bool has_room(const struct nvidia_queue *q, uint64_t push_bytes, uint64_t launch_bytes)
{
    return q->push_tail - q->push_head + run_bytes(q->push_tail, push_bytes, NVIDIA_PUSH_BYTES) <=
               NVIDIA_PUSH_BYTES &&
           q->launch_tail - q->launch_head +
                   run_bytes(q->launch_tail, launch_bytes, NVIDIA_LAUNCH_BYTES) <=
               NVIDIA_LAUNCH_BYTES &&
           q->segment_count < NVIDIA_SEGMENTS_MAX - 1;
}

/*
 * Make room for a command and what closing the one before it may add. When all that fills the rings has been recorded but
 * not submitted, it is submitted now: a batch has no limit.
 */
static int make_room(struct nvidia_queue *q, uint64_t launch_bytes)
{
    const uint64_t push_bytes = 2 * sizeof(((struct push *)0)->dword);
    if (has_room(q, push_bytes, launch_bytes))
        return 0;
    reclaim(q);
    uint64_t deadline_ns = time_ns() + ROOM_TIMEOUT_NS;
    while (!has_room(q, push_bytes, launch_bytes)) {
        if (q->submission_get == q->submission_put) {
            int error = nvidia_queue_submit(&q->base);
            if (error)
                return error;
        }
        uint64_t oldest = q->submissions[q->submission_get % NVIDIA_GPFIFO_ENTRIES].fence;
        int error = nvidia_queue_wait_fence(q, oldest, deadline_ns);
        if (error == -ETIMEDOUT)
            return gpu_fail(-EAGAIN, "%s: the queue is full of work that has not moved for 30 s",
                            q->base.device->info.name);
        if (error)
            return gpu_fail(error, "%s: %s", q->base.device->info.name, q->base.device->last_fault);
        reclaim(q);
    }
    return 0;
}

/* End the run of push buffer words that one GPFIFO entry will name. */
static void close_segment(struct nvidia_queue *q)
{
    if (q->push_tail == q->push_start)
        return;
    q->segments[q->segment_count++] =
        (struct nvidia_segment){.gva = q->channel.push_gva + q->push_start % NVIDIA_PUSH_BYTES,
                                .dwords = (unsigned)(q->push_tail - q->push_start) / 4};
    q->push_start = q->push_tail;
}

/* make_room() has been called. */
static void append(struct nvidia_queue *q, const struct push *push)
{
    uint64_t bytes = push->count * 4;
    if (bytes == 0)
        return;
    if (q->push_tail % NVIDIA_PUSH_BYTES + bytes > NVIDIA_PUSH_BYTES) {
        close_segment(q);
        q->push_tail = align_up(q->push_tail, NVIDIA_PUSH_BYTES);
        q->push_start = q->push_tail;
    }
    memcpy(q->channel.push_cpu + q->push_tail % NVIDIA_PUSH_BYTES, push->dword, bytes);
    q->push_tail += bytes;
}

/* ---- order ----------------------------------------------------------------------------------------------------- */

/* Write the open launch's QMD into the ring: from here on it cannot be changed. */
static void write_open_qmd(struct nvidia_queue *q)
{
    memcpy(q->channel.launch_cpu + q->open_qmd_position % NVIDIA_LAUNCH_BYTES, q->open_qmd,
           QMD_DWORDS_USED * 4);
    q->has_open_qmd = false;
}

/* End the group of commands since the last fence by raising the fence behind it. */
static void close_group(struct nvidia_queue *q, struct push *push)
{
    const struct nvidia_chip *chip = device_of(q)->chip;
    if (!q->needs_fence)
        return;
    q->needs_fence = false;
    q->fence_next++;
    if (q->has_open_qmd && q->open_releases < qmd_release_count(chip->qmd_version)) {
        qmd_release_encode(chip->qmd_version, q->open_qmd, q->open_releases++, q->fence.gva,
                           q->fence_next);
        write_open_qmd(q);
        return;
    }
    if (q->has_open_qmd)
        write_open_qmd(q);
    if (q->last_work == NVIDIA_WORK_COPY && chip->has_copy_release_64)
        push_copy_release(push, q->fence.gva, q->fence_next);
    else
        push_semaphore_release(push, &(struct push_release){.gva = q->fence.gva,
                                                            .value = q->fence_next,
                                                            .payload = PUSH_PAYLOAD_64,
                                                            .wait_idle = true});
}

/* What comes next, of this kind, must see everything before it. */
static void wait_for_group(struct nvidia_queue *q, enum nvidia_work next, struct push *push)
{
    close_group(q, push);
    if (q->last_work != NVIDIA_WORK_NONE && fence_value(q) < q->fence_next) {
        if (q->last_work == NVIDIA_WORK_COMPUTE && next == NVIDIA_WORK_COMPUTE)
            push_wait_for_idle(push); /* inside the engine, without a look across PCIe */
        else
            push_semaphore_acquire(push, q->fence.gva, q->fence_next, PUSH_PAYLOAD_64);
    }
    q->last_work = NVIDIA_WORK_NONE;
}

/* ---- commands -------------------------------------------------------------------------------------------------- */

/* The split of the SM's memory for this launch: the least that one block fits, and what lets as many blocks run as can. */
static void choose_shared_config(const struct nvidia_device *device,
                                 const struct nvidia_kernel *kernel, uint32_t block_threads,
                                 struct qmd_launch *launch)
{
    const uint16_t *kib = device->chip->shared_config_kib;
    unsigned count = 1;
    while (count < ARRAY_COUNT(device->chip->shared_config_kib) && kib[count] != 0)
        count++;
    unsigned registers =
        (unsigned)align_up((uint64_t)kernel->register_count * 32, 256); /* per warp; 65536 in all */
    unsigned warps = (block_threads + 31) / 32;
    unsigned blocks = device->warps_per_sm / warps;
    if (registers > 0 && 65536 / registers / warps < blocks)
        blocks = 65536 / registers / warps;
    uint64_t wanted = (uint64_t)launch->shared_bytes * (blocks > 32 ? 32 : blocks > 0 ? blocks : 1);
    launch->shared_min_kib = launch->shared_target_kib = kib[count - 1];
    for (unsigned i = count; i-- > 0;) {
        if ((uint64_t)kib[i] * 1024 >= launch->shared_bytes)
            launch->shared_min_kib = kib[i];
        if ((uint64_t)kib[i] * 1024 >= wanted)
            launch->shared_target_kib = kib[i];
    }
}

/*
 * Constant bank 0: what the compiler expects of the driver, then the arguments. Only what differs between launches is
 * written; the rest of a slot stays as its first launch left it: stores through the BAR are most of a launch's cost.
 */
static void write_bank0(struct nvidia_queue *q, const struct nvidia_kernel *kernel,
                        const struct gpu_launch *launch, uint64_t position, uint64_t slot_count)
{
    const struct nvidia_chip *chip = device_of(q)->chip;
    uint64_t slot = position % NVIDIA_LAUNCH_BYTES / NVIDIA_SLOT_BYTES;
    uint8_t *qmd = q->channel.launch_cpu + slot * NVIDIA_SLOT_BYTES;
    uint8_t *bank0 = qmd + NVIDIA_SLOT_BANK0;
    if (q->slot_header[slot] != kernel->args_offset || slot_count > 1) {
        uint8_t header[BANK0_HEADER_MAX] = {0};
        uint64_t shared_window = NVIDIA_SHARED_WINDOW_GVA, local_window = NVIDIA_LOCAL_WINDOW_GVA;
        uint32_t stack_top = NVIDIA_STACK_TOP;
        memcpy(header + chip->bank0_shared_window, &shared_window, 8);
        memcpy(header + chip->bank0_local_window, &local_window, 8);
        memcpy(header + chip->bank0_stack_top, &stack_top, 4);
        memset(qmd, 0, NVIDIA_SLOT_BANK0);
        memcpy(bank0, header, kernel->args_offset);
        for (uint64_t i = 0; i < slot_count;
             i++) /* arguments lie where others have their headers */
            q->slot_header[slot + i] = slot_count > 1 ? 0 : (uint16_t)kernel->args_offset;
    }
    memcpy(bank0 + chip->bank0_block_dim, launch->block, 12);
    memcpy(bank0 + chip->bank0_grid_dim, launch->grid, 12);
    memcpy(bank0 + kernel->args_offset, launch->args, launch->args_bytes);
}

static void set_up_compute(struct nvidia_queue *q, struct push *push)
{
    struct nvidia_device *device = device_of(q);
    if (!q->is_set_up) {
        push_compute_setup(
            push, &(struct push_compute_setup){.class_id = device->chip->compute_class,
                                               .shared_window_gva = NVIDIA_SHARED_WINDOW_GVA,
                                               .local_window_gva = NVIDIA_LOCAL_WINDOW_GVA});
        push_set_object(push, PUSH_SUBCHANNEL_COPY, device->chip->copy_class);
        q->is_set_up = true;
    }
    if (q->local_generation != device->local_generation) {
        push_local_memory(push, device->local.gva, device->local_bytes_per_tpc);
        q->local_generation = device->local_generation;
    }
    if (q->code_generation != device->code_generation) { /* other code may have been there before */
        push_invalidate_shader_caches(push);
        q->code_generation = device->code_generation;
    }
}

static void set_up_copy(struct nvidia_queue *q, struct push *push)
{
    if (q->base.kind == GPU_QUEUE_COMPUTE) {
        set_up_compute(q, push);
    } else if (!q->is_set_up) {
        push_set_object(push, PUSH_SUBCHANNEL_COPY, device_of(q)->chip->copy_class);
        q->is_set_up = true;
    }
}

int nvidia_queue_launch(struct gpu_queue *queue, struct gpu_kernel *gpu_kernel,
                        const struct gpu_launch *launch)
{
    struct nvidia_queue *q = queue_of(queue);
    struct nvidia_device *device = device_of(q);
    struct nvidia_kernel *kernel = (struct nvidia_kernel *)gpu_kernel;
    enum qmd_version version = device->chip->qmd_version;

    uint64_t slot_count =
        (NVIDIA_SLOT_BANK0 + kernel->bank0_bytes + NVIDIA_SLOT_BYTES - 1) / NVIDIA_SLOT_BYTES;
    uint64_t launch_bytes = slot_count * NVIDIA_SLOT_BYTES;
    int error = make_room(q, launch_bytes);
    if (error)
        return error;

    uint64_t position = q->launch_tail +
                        run_bytes(q->launch_tail, launch_bytes, NVIDIA_LAUNCH_BYTES) - launch_bytes;
    uint64_t qmd_gva = q->channel.launch_gva + position % NVIDIA_LAUNCH_BYTES;
    q->launch_tail = position + launch_bytes;

    struct push push = {0};
    bool is_chained = q->has_open_qmd && q->local_generation == device->local_generation &&
                      q->code_generation == device->code_generation &&
                      qmd_has(version, QMD_DEPENDENT_QMD0_ENABLE);
    if (is_chained) {
        qmd_set(version, q->open_qmd, QMD_DEPENDENT_QMD0_POINTER, 0, qmd_gva >> 8);
        qmd_set(version, q->open_qmd, QMD_DEPENDENT_QMD0_ACTION, 0, QMD_DEPENDENT_ACTION_SCHEDULE);
        qmd_set(version, q->open_qmd, QMD_DEPENDENT_QMD0_PREFETCH, 0, 1);
        qmd_set(version, q->open_qmd, QMD_DEPENDENT_QMD0_ENABLE, 0, 1);
        write_open_qmd(q);
    } else {
        wait_for_group(q, NVIDIA_WORK_COMPUTE, &push);
        set_up_compute(q, &push);
        push_launch(&push, version, qmd_gva);
    }
    append(q, &push);

    write_bank0(q, kernel, launch, position, slot_count);
    struct qmd_launch encoded = {
        .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
        .block = {launch->block[0], launch->block[1], launch->block[2]},
        .shared_bytes =
            kernel->shared_static + launch->shared_bytes + device->chip->shared_reserved,
        .constant_gva = qmd_gva + NVIDIA_SLOT_BANK0,
        .constant_bytes = kernel->bank0_bytes,
    };
    choose_shared_config(device, kernel, launch->block[0] * launch->block[1] * launch->block[2],
                         &encoded);
    memcpy(q->open_qmd, kernel->qmd, qmd_dwords(version) * 4);
    qmd_launch_encode(version, &encoded, q->open_qmd);
    q->open_qmd_position = position;
    q->open_releases = 0;
    q->has_open_qmd = true;
    q->needs_fence = true;
    q->last_work = NVIDIA_WORK_COMPUTE;
    q->last_kernel = gpu_kernel;
    return 0;
}

/* ---- copies ---------------------------------------------------------------------------------- */

/*
 * On a compute queue a kernel copies inside the device, where it is twenty times as fast as a copy engine, and small pieces
 * anywhere, because changing between engines costs more than they do.
 */
static bool is_for_kernel(const struct nvidia_queue *q, const struct gpu_buffer *dst,
                          const struct gpu_buffer *src, uint64_t size_bytes)
{
    if (q->base.kind != GPU_QUEUE_COMPUTE)
        return false;
    return size_bytes <= KERNEL_COPY_HOST_MAX ||
           (dst->memory == GPU_MEMORY_VRAM && src->memory == GPU_MEMORY_VRAM);
}

static int launch_copy(struct nvidia_queue *q, uint64_t dst_gva, uint64_t src_gva,
                       uint64_t size_bytes, uint32_t unit_bytes)
{
    if (size_bytes == 0)
        return 0;
    struct copy_args args = {.in = (const void *)src_gva,
                             .out = (void *)dst_gva,
                             .count = size_bytes / unit_bytes,
                             .unit_bytes = unit_bytes};
    return nvidia_queue_launch(
        &q->base, device_of(q)->copy_kernel,
        &(struct gpu_launch){
            .grid = {(uint32_t)((args.count + COPY_THREADS - 1) / COPY_THREADS), 1, 1},
            .block = {COPY_THREADS, 1, 1},
            .args = &args,
            .args_bytes = sizeof(args)});
}

static int copy_by_kernel(struct nvidia_queue *q, uint64_t dst_gva, uint64_t src_gva,
                          uint64_t size_bytes)
{
    uint64_t differ = dst_gva ^ src_gva;
    uint32_t unit_bytes = differ % 16 == 0 ? 16 : differ % 4 == 0 ? 4 : 1;
    uint64_t head = min_u64((unit_bytes - dst_gva % unit_bytes) % unit_bytes, size_bytes);
    uint64_t body = align_down(size_bytes - head, unit_bytes), tail = size_bytes - head - body;
    int error = launch_copy(q, dst_gva, src_gva, head, 1);
    if (!error)
        error = launch_copy(q, dst_gva + head, src_gva + head, body, unit_bytes);
    if (!error)
        error = launch_copy(q, dst_gva + head + body, src_gva + head + body, tail, 1);
    return error;
}

/* Room, order and set-up before a copy or fill command of a copy engine. */
static int begin_copy(struct nvidia_queue *q)
{
    int error = make_room(q, 0);
    if (error)
        return error;
    struct push push = {0};
    if (q->last_work == NVIDIA_WORK_COMPUTE)
        wait_for_group(q, NVIDIA_WORK_COPY, &push);
    set_up_copy(q, &push);
    append(q, &push);
    q->last_work = NVIDIA_WORK_COPY;
    q->needs_fence = true;
    return 0;
}

static int copy_run(struct nvidia_queue *q, uint64_t dst_gva, uint64_t src_gva, uint64_t size_bytes)
{
    for (uint64_t done = 0; done < size_bytes;) {
        int error = begin_copy(q);
        if (error)
            return error;
        uint64_t part = min_u64(size_bytes - done, PUSH_COPY_ROW_BYTES_MAX);
        struct push push = {0};
        push_copy(&push, &(struct push_copy){.src_gva = src_gva + done,
                                             .dst_gva = dst_gva + done,
                                             .row_bytes = (uint32_t)part,
                                             .rows = 1,
                                             .is_pipelined = done > 0});
        append(q, &push);
        done += part;
    }
    return 0;
}

int nvidia_queue_copy(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t dst_offset,
                      uint64_t dst_pitch, const struct gpu_buffer *src, uint64_t src_offset,
                      uint64_t src_pitch, uint64_t row_bytes, uint64_t rows)
{
    struct nvidia_queue *q = queue_of(queue);
    uint64_t dst_gva = dst->gva + dst_offset, src_gva = src->gva + src_offset;
    if (rows == 1 || (dst_pitch == row_bytes && src_pitch == row_bytes))
        return is_for_kernel(q, dst, src, row_bytes * rows)
                   ? copy_by_kernel(q, dst_gva, src_gva, row_bytes * rows)
                   : copy_run(q, dst_gva, src_gva, row_bytes * rows);
    if (row_bytes > PUSH_COPY_ROW_BYTES_MAX || dst_pitch > UINT32_MAX || src_pitch > UINT32_MAX) {
        for (uint64_t row = 0; row < rows;
             row++) { /* rows so far apart that the engine cannot step from one to the next */
            int error =
                copy_run(q, dst_gva + row * dst_pitch, src_gva + row * src_pitch, row_bytes);
            if (error)
                return error;
        }
        return 0;
    }
    for (uint64_t row = 0; row < rows;) {
        int error = begin_copy(q);
        if (error)
            return error;
        uint64_t part =
            min_u64(rows - row, UINT32_C(1) << 16); /* what every generation's line count takes */
        struct push push = {0};
        push_copy(&push, &(struct push_copy){.src_gva = src_gva + row * src_pitch,
                                             .dst_gva = dst_gva + row * dst_pitch,
                                             .src_pitch = src_pitch,
                                             .dst_pitch = dst_pitch,
                                             .row_bytes = (uint32_t)row_bytes,
                                             .rows = (uint32_t)part});
        append(q, &push);
        row += part;
    }
    return 0;
}

int nvidia_queue_fill(struct gpu_queue *queue, struct gpu_buffer *dst, uint64_t offset,
                      uint64_t size_bytes, uint32_t pattern)
{
    struct nvidia_queue *q = queue_of(queue);
    if (is_for_kernel(q, dst, dst, size_bytes)) {
        struct fill_args args = {
            .out = (uint32_t *)(dst->gva + offset), .count = size_bytes / 4, .pattern = pattern};
        return nvidia_queue_launch(
            queue, device_of(q)->fill_kernel,
            &(struct gpu_launch){
                .grid = {(uint32_t)((args.count + BLOCK_ELEMENTS - 1) / BLOCK_ELEMENTS), 1, 1},
                .block = {FILL_THREADS, 1, 1},
                .args = &args,
                .args_bytes = sizeof(args)});
    }
    for (uint64_t done = 0; done < size_bytes / 4;) {
        int error = begin_copy(q);
        if (error)
            return error;
        uint32_t part = (uint32_t)min_u64(size_bytes / 4 - done, FILL_COUNT_MAX);
        struct push push = {0};
        push_fill(&push, dst->gva + offset + done * 4, part, pattern);
        append(q, &push);
        done += part;
    }
    return 0;
}

int nvidia_queue_signal(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value)
{
    struct nvidia_queue *q = queue_of(queue);
    const struct nvidia_chip *chip = device_of(q)->chip;
    uint64_t gva = ((struct nvidia_timeline *)timeline)->semaphore.gva;
    /* The last release stays for the fence. */
    if (q->has_open_qmd && q->open_releases + 1 < qmd_release_count(chip->qmd_version)) {
        qmd_release_encode(chip->qmd_version, q->open_qmd, q->open_releases++, gva, value);
        return 0;
    }
    int error = make_room(q, 0);
    if (error)
        return error;
    struct push push = {0};
    if (q->last_work == NVIDIA_WORK_COPY && chip->has_copy_release_64) {
        push_copy_release(&push, gva, value);
    } else {
        wait_for_group(q, NVIDIA_WORK_NONE, &push);
        push_semaphore_release(
            &push, &(struct push_release){
                       .gva = gva, .value = value, .payload = PUSH_PAYLOAD_64, .wait_idle = true});
    }
    append(q, &push);
    return 0;
}

int nvidia_queue_wait(struct gpu_queue *queue, struct gpu_timeline *timeline, uint64_t value)
{
    struct nvidia_queue *q = queue_of(queue);
    int error = make_room(q, 0);
    if (error)
        return error;
    struct push push = {0};
    close_group(q, &push); /* what was recorded before does not wait */
    push_semaphore_acquire(&push, ((struct nvidia_timeline *)timeline)->semaphore.gva, value,
                           PUSH_PAYLOAD_64);
    append(q, &push);
    return 0;
}

int nvidia_queue_submit(struct gpu_queue *queue)
{
    struct nvidia_queue *q = queue_of(queue);
    struct nvidia_device *device = device_of(q);
    if (q->push_tail == q->push_start && q->segment_count == 0 && !q->needs_fence)
        return 0;
    struct push push = {0};
    if (!q->needs_fence &&
        !q->has_open_qmd) { /* only waits and signals: the rings' space needs a fence all the same */
        q->fence_next++;
        push_semaphore_release(&push, &(struct push_release){.gva = q->fence.gva,
                                                             .value = q->fence_next,
                                                             .payload = PUSH_PAYLOAD_64});
    }
    close_group(q, &push);
    if (device->rm.transport
            ->completion) { /* somebody may sleep until the fence: wake them when it is reached */
        push_semaphore_release(&push, &(struct push_release){.gva = q->fence.gva,
                                                             .value = q->fence_next,
                                                             .payload = PUSH_PAYLOAD_64,
                                                             .wait_idle = true});
        push_notify(&push);
    }
    append(q, &push);
    close_segment(q);

    /* One entry stays free: put == get means empty. */
    uint64_t deadline_ns = time_ns() + ROOM_TIMEOUT_NS;
    reclaim(q);
    while (q->gp_put + q->segment_count - q->gp_done >= NVIDIA_GPFIFO_ENTRIES) {
        int error = nvidia_queue_wait_fence(
            q, q->submissions[q->submission_get % NVIDIA_GPFIFO_ENTRIES].fence, deadline_ns);
        if (error == -ETIMEDOUT)
            return gpu_fail(-EAGAIN, "%s: the queue is full of work that has not moved for 30 s",
                            device->base.info.name);
        if (error)
            return gpu_fail(error, "%s: %s", device->base.info.name, device->base.last_fault);
        reclaim(q);
    }
    nvidia_channel_submit(device, &q->channel, q->segments, q->segment_count);
    q->gp_put += q->segment_count;
    q->segment_count = 0;
    q->submissions[q->submission_put++ % NVIDIA_GPFIFO_ENTRIES] =
        (struct nvidia_submission){.fence = q->fence_next,
                                   .push_end = q->push_tail,
                                   .launch_end = q->launch_tail,
                                   .gp_end = q->gp_put};
    q->fence_submitted = q->fence_next;
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

bool nvidia_queue_is_idle(struct nvidia_queue *q)
{
    return fence_value(q) >= q->fence_submitted;
}

int nvidia_queue_status(struct gpu_queue *queue)
{
    nvidia_fault_poll(device_of(queue_of(queue)));
    int status = atomic_load(&queue->status);
    return status ? gpu_fail(status, "%s: %s", queue->device->info.name, queue->fault) : 0;
}

int nvidia_queue_create(struct gpu_queue *queue)
{
    struct nvidia_queue *q = queue_of(queue);
    struct nvidia_device *device = device_of(q);
    uint32_t engine = NV2080_ENGINE_TYPE_GRAPHICS;
    if (queue->kind == GPU_QUEUE_COPY && device->copy_engine_count > 0)
        engine = device->copy_engines[device->copy_engine_next++ % device->copy_engine_count];
    int error = nvidia_semaphore_create(device, &q->fence);
    if (error)
        return error;
    error = nvidia_channel_create(device, engine, &q->channel);
    if (error) {
        nvidia_semaphore_destroy(device, &q->fence);
        return error;
    }
    mutex_lock(&device->lock);
    q->next = device->queues;
    device->queues = q;
    mutex_unlock(&device->lock);
    return 0;
}

/*
 * Work in flight is waited for; after a fault, a cancel or DRAIN_TIMEOUT_NS the whole channel group is taken off the GPU,
 * because nothing less stops a kernel that is running.
 */
void nvidia_queue_destroy(struct gpu_queue *queue)
{
    struct nvidia_queue *q = queue_of(queue);
    struct nvidia_device *device = device_of(q);
    if (atomic_load(&queue->status) == 0)
        nvidia_queue_wait_fence(q, q->fence_submitted, time_ns() + DRAIN_TIMEOUT_NS);
    nvidia_fault_poll(device);
    bool kill = q->channel.group->is_dead || !nvidia_queue_is_idle(q);

    mutex_lock(&device->lock);
    struct nvidia_queue **link = &device->queues;
    while (*link != q)
        link = &(*link)->next;
    *link = q->next;
    if (kill && !q->channel.group->is_dead) {
        q->channel.group->is_dead = true;
        for (struct nvidia_queue *other = device->queues; other; other = other->next)
            if (other->channel.group == q->channel.group)
                gpu_queue_fault(&other->base, -EIO,
                                "stopped together with another queue of the device that hung");
    }
    mutex_unlock(&device->lock);

    nvidia_channel_destroy(device, &q->channel, kill);
    nvidia_semaphore_destroy(device, &q->fence);
}
