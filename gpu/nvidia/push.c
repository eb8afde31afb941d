/*
 * gpu/nvidia/push.c: push buffer encoders. See push.h.
 *
 * Source: NVIDIA open-gpu-doc, classes/host/clc56f.h (method headers, GPFIFO entries, SEM_*), classes/compute/clc6c0.h and
 * clcbc0.h, classes/dma-copy/clc8b5.h. The methods used here are the same from Turing to Blackwell except where said.
 */
#include "gpu/nvidia/push.h"

#include "kernel/kernel.h"

/* Method headers (clc56f.h, NVC56F_DMA_*) */
#define DMA_METHOD_ADDRESS                              BITS(11, 0) /* byte address / 4 */
#define DMA_METHOD_SUBCHANNEL                           BITS(15, 13)
#define DMA_METHOD_COUNT                                BITS(28, 16)
#define DMA_SEC_OP                                      BITS(31, 29)
#define DMA_SEC_OP_INC_METHOD                           1 /* data words go to consecutive methods */
#define DMA_SEC_OP_IMMD_DATA_METHOD                     4 /* the count field is the one data word */

/* GPFIFO entry (clc56f.h, NVC56F_GP_ENTRY*) */
#define GP_ENTRY_GET                                    BITS(39, 2)
#define GP_ENTRY_LEVEL                                  BIT(41) /* subroutine: the push buffer segment returns when it ends */
#define GP_ENTRY_LENGTH                                 BITS(62, 42)

#define SUBCHANNEL_HOST                                 0 /* methods below 0x100 are the host engine's on every subchannel */

#define HOST_SET_OBJECT                                 0x0000
#define HOST_NON_STALL_INTERRUPT                        0x0020
#define HOST_SEM_ADDR_LO                                0x005c
#define HOST_SEM_EXECUTE                                0x006c
#define SEM_EXECUTE_OPERATION                           BITS(2, 0)
#define SEM_OPERATION_RELEASE                           1
#define SEM_OPERATION_ACQ_STRICT_GEQ                    2
#define SEM_EXECUTE_ACQUIRE_SWITCH_TSG                  BIT(12)
#define SEM_EXECUTE_RELEASE_WFI                         BIT(20)
#define SEM_EXECUTE_PAYLOAD_64BIT                       BIT(24)
#define SEM_EXECUTE_RELEASE_TIMESTAMP                   BIT(25)

#define COMPUTE_WAIT_FOR_IDLE                           0x0110
#define COMPUTE_INVALIDATE_SHADER_CACHES                0x021c
#define INVALIDATE_SHADER_CACHES_INSTRUCTION            BIT(0)
#define INVALIDATE_SHADER_CACHES_DATA                   BIT(4)
#define INVALIDATE_SHADER_CACHES_CONSTANT               BIT(12)
#define COMPUTE_SET_SHADER_SHARED_MEMORY_WINDOW_A       0x02a0
#define COMPUTE_SEND_PCAS_A                             0x02b4 /* QMD address >> 8 */
#define COMPUTE_SEND_SIGNALING_PCAS_B                   0x02bc /* Turing */
#define SIGNALING_PCAS_B_INVALIDATE                     BIT(0)
#define SIGNALING_PCAS_B_SCHEDULE                       BIT(1)
#define COMPUTE_SEND_SIGNALING_PCAS2_B                  0x02c0 /* Ampere on */
#define SIGNALING_PCAS2_B_PREFETCH_SCHEDULE             9
#define COMPUTE_SET_SHADER_LOCAL_MEMORY_NON_THROTTLED_A 0x02e4
#define NON_THROTTLED_C_MAX_SM_COUNT_ALL                0xff
#define COMPUTE_SET_SHADER_LOCAL_MEMORY_A               0x0790
#define COMPUTE_SET_SHADER_LOCAL_MEMORY_WINDOW_A        0x07b0

#define COPY_SET_SEMAPHORE_A                            0x0240
#define COPY_LAUNCH_DMA                                 0x0300
#define LAUNCH_DMA_TRANSFER                             BITS(1, 0)
#define TRANSFER_NONE                                   0
#define TRANSFER_PIPELINED                              1
#define TRANSFER_NON_PIPELINED                          2
#define LAUNCH_DMA_FLUSH_ENABLE                         BIT(2)
#define LAUNCH_DMA_SEMAPHORE                            BITS(4, 3)
#define SEMAPHORE_RELEASE_NO_TIMESTAMP                  1
#define LAUNCH_DMA_SRC_PITCH                            BIT(7)
#define LAUNCH_DMA_DST_PITCH                            BIT(8)
#define LAUNCH_DMA_MULTI_LINE                           BIT(9)
#define LAUNCH_DMA_REMAP_ENABLE                         BIT(10)
#define LAUNCH_DMA_PAYLOAD_TWO_WORD                     BIT(27)
#define COPY_OFFSET_IN_UPPER \
    0x0400 /* then IN_LOWER, OUT_UPPER, OUT_LOWER, PITCH_IN, PITCH_OUT, LINE_LENGTH, LINE_COUNT */
#define COPY_OFFSET_OUT_UPPER     0x0408
#define COPY_LINE_LENGTH_IN       0x0418
#define COPY_SET_REMAP_CONST_A    0x0700
#define COPY_SET_REMAP_COMPONENTS 0x0708
#define REMAP_DST_X               BITS(2, 0)
#define REMAP_DST_X_CONST_A       4
#define REMAP_COMPONENT_SIZE      BITS(17, 16)
#define REMAP_COMPONENT_FOUR      3
#define REMAP_DST_COMPONENTS      BITS(25, 24)
#define REMAP_ONE_COMPONENT       0

static void put(struct push *push, uint32_t dword)
{
    assert(push->count < PUSH_DWORDS_MAX);
    push->dword[push->count++] = dword;
}

static void put_address(struct push *push, uint64_t gva) /* upper, then lower */
{
    put(push, (uint32_t)(gva >> 32));
    put(push, (uint32_t)gva);
}

static void method(struct push *push, unsigned subchannel, unsigned address, unsigned count)
{
    put(push, (uint32_t)(field_put(DMA_SEC_OP, DMA_SEC_OP_INC_METHOD) |
                         field_put(DMA_METHOD_COUNT, count) |
                         field_put(DMA_METHOD_SUBCHANNEL, subchannel) |
                         field_put(DMA_METHOD_ADDRESS, address / 4)));
}

static void method_immediate(struct push *push, unsigned subchannel, unsigned address,
                             unsigned data)
{
    put(push, (uint32_t)(field_put(DMA_SEC_OP, DMA_SEC_OP_IMMD_DATA_METHOD) |
                         field_put(DMA_METHOD_COUNT, data) |
                         field_put(DMA_METHOD_SUBCHANNEL, subchannel) |
                         field_put(DMA_METHOD_ADDRESS, address / 4)));
}

uint64_t push_gpfifo_entry(uint64_t gva, unsigned dwords)
{
    assert(gva % 4 == 0 && dwords > 0);
    return (gva & GP_ENTRY_GET) | GP_ENTRY_LEVEL | field_put(GP_ENTRY_LENGTH, dwords);
}

void push_set_object(struct push *push, unsigned subchannel, uint32_t class_id)
{
    method(push, subchannel, HOST_SET_OBJECT, 1);
    put(push, class_id);
}

/* ---- semaphores ------------------------------------------------------------------------------------------------ */

static void semaphore(struct push *push, uint64_t gva, uint64_t value, uint64_t execute)
{
    method(push, SUBCHANNEL_HOST, HOST_SEM_ADDR_LO, 5);
    put(push, (uint32_t)gva);
    put(push, (uint32_t)(gva >> 32));
    put(push, (uint32_t)value);
    put(push, (uint32_t)(value >> 32));
    put(push, (uint32_t)execute);
}

void push_semaphore_release(struct push *push, const struct push_release *release)
{
    assert(release->gva % (release->timestamp                    ? 16
                           : release->payload == PUSH_PAYLOAD_64 ? 8
                                                                 : 4) ==
           0);
    assert(release->payload == PUSH_PAYLOAD_64 || release->value <= UINT32_MAX);
    semaphore(push, release->gva, release->value,
              field_put(SEM_EXECUTE_OPERATION, SEM_OPERATION_RELEASE) |
                  (release->wait_idle ? SEM_EXECUTE_RELEASE_WFI : 0) |
                  (release->payload == PUSH_PAYLOAD_64 ? SEM_EXECUTE_PAYLOAD_64BIT : 0) |
                  (release->timestamp ? SEM_EXECUTE_RELEASE_TIMESTAMP : 0));
}

void push_semaphore_acquire(struct push *push, uint64_t gva, uint64_t value,
                            enum push_payload payload)
{
    assert(gva % (payload == PUSH_PAYLOAD_64 ? 8 : 4) == 0 &&
           (payload == PUSH_PAYLOAD_64 || value <= UINT32_MAX));
    semaphore(push, gva, value,
              field_put(SEM_EXECUTE_OPERATION, SEM_OPERATION_ACQ_STRICT_GEQ) |
                  SEM_EXECUTE_ACQUIRE_SWITCH_TSG |
                  (payload == PUSH_PAYLOAD_64 ? SEM_EXECUTE_PAYLOAD_64BIT : 0));
}

void push_notify(struct push *push)
{
    method(push, SUBCHANNEL_HOST, HOST_NON_STALL_INTERRUPT, 1);
    put(push, 0);
}

/* ---- compute --------------------------------------------------------------------------------------------------- */

void push_compute_setup(struct push *push, const struct push_compute_setup *setup)
{
    push_set_object(push, PUSH_SUBCHANNEL_COMPUTE, setup->class_id);
    method(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_SET_SHADER_SHARED_MEMORY_WINDOW_A, 2);
    put_address(push, setup->shared_window_gva);
    method(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_SET_SHADER_LOCAL_MEMORY_WINDOW_A, 2);
    put_address(push, setup->local_window_gva);
}

void push_local_memory(struct push *push, uint64_t gva, uint64_t bytes_per_tpc)
{
    method(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_SET_SHADER_LOCAL_MEMORY_A, 2);
    put_address(push, gva);
    method(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_SET_SHADER_LOCAL_MEMORY_NON_THROTTLED_A, 3);
    put_address(push, bytes_per_tpc);
    put(push, NON_THROTTLED_C_MAX_SM_COUNT_ALL);
}

void push_launch(struct push *push, enum qmd_version version, uint64_t qmd_gva)
{
    assert(qmd_gva % QMD_ALIGN == 0 && qmd_gva < QMD_GVA_LIMIT);
    method(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_SEND_PCAS_A, 1);
    put(push, (uint32_t)(qmd_gva >> 8));
    if (version == QMD_V2)
        method_immediate(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_SEND_SIGNALING_PCAS_B,
                         SIGNALING_PCAS_B_INVALIDATE | SIGNALING_PCAS_B_SCHEDULE);
    else
        method_immediate(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_SEND_SIGNALING_PCAS2_B,
                         SIGNALING_PCAS2_B_PREFETCH_SCHEDULE);
}

void push_wait_for_idle(struct push *push)
{
    method_immediate(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_WAIT_FOR_IDLE, 0);
}

void push_invalidate_shader_caches(struct push *push)
{
    method(push, PUSH_SUBCHANNEL_COMPUTE, COMPUTE_INVALIDATE_SHADER_CACHES, 1);
    put(push, (uint32_t)(INVALIDATE_SHADER_CACHES_INSTRUCTION | INVALIDATE_SHADER_CACHES_DATA |
                         INVALIDATE_SHADER_CACHES_CONSTANT));
}

/* ---- copy ------------------------------------------------------------------------------------------------------ */

void push_copy(struct push *push, const struct push_copy *copy)
{
    assert(copy->row_bytes > 0 && copy->row_bytes <= PUSH_COPY_ROW_BYTES_MAX && copy->rows > 0);
    assert(copy->src_pitch <= UINT32_MAX && copy->dst_pitch <= UINT32_MAX);
    bool is_2d = copy->rows > 1;
    method(push, PUSH_SUBCHANNEL_COPY, COPY_OFFSET_IN_UPPER, 8);
    put_address(push, copy->src_gva);
    put_address(push, copy->dst_gva);
    put(push, is_2d ? (uint32_t)copy->src_pitch : 0);
    put(push, is_2d ? (uint32_t)copy->dst_pitch : 0);
    put(push, copy->row_bytes);
    put(push, copy->rows);
    method(push, PUSH_SUBCHANNEL_COPY, COPY_LAUNCH_DMA, 1);
    put(push,
        (uint32_t)(field_put(LAUNCH_DMA_TRANSFER,
                             copy->is_pipelined ? TRANSFER_PIPELINED : TRANSFER_NON_PIPELINED) |
                   LAUNCH_DMA_SRC_PITCH | LAUNCH_DMA_DST_PITCH |
                   (is_2d ? LAUNCH_DMA_MULTI_LINE : 0)));
}

void push_fill(struct push *push, uint64_t dst_gva, uint32_t count, uint32_t pattern)
{
    assert(dst_gva % 4 == 0 && count > 0);
    method(push, PUSH_SUBCHANNEL_COPY, COPY_SET_REMAP_CONST_A, 1);
    put(push, pattern);
    method(push, PUSH_SUBCHANNEL_COPY, COPY_SET_REMAP_COMPONENTS, 1);
    put(push, (uint32_t)(field_put(REMAP_DST_X, REMAP_DST_X_CONST_A) |
                         field_put(REMAP_COMPONENT_SIZE, REMAP_COMPONENT_FOUR) |
                         field_put(REMAP_DST_COMPONENTS, REMAP_ONE_COMPONENT)));
    method(push, PUSH_SUBCHANNEL_COPY, COPY_OFFSET_OUT_UPPER, 2);
    put_address(push, dst_gva);
    method(push, PUSH_SUBCHANNEL_COPY, COPY_LINE_LENGTH_IN, 2);
    put(push, count); /* in elements of the remapped size */
    put(push, 1);
    method(push, PUSH_SUBCHANNEL_COPY, COPY_LAUNCH_DMA, 1);
    put(push, (uint32_t)(field_put(LAUNCH_DMA_TRANSFER, TRANSFER_NON_PIPELINED) |
                         LAUNCH_DMA_SRC_PITCH | LAUNCH_DMA_DST_PITCH | LAUNCH_DMA_REMAP_ENABLE));
}

void push_copy_release(struct push *push, uint64_t gva, uint64_t value)
{
    assert(gva % 8 == 0);
    method(push, PUSH_SUBCHANNEL_COPY, COPY_SET_SEMAPHORE_A, 4);
    put_address(push, gva);
    put(push, (uint32_t)value);
    put(push, (uint32_t)(value >> 32));
    method(push, PUSH_SUBCHANNEL_COPY, COPY_LAUNCH_DMA, 1);
    put(push, (uint32_t)(field_put(LAUNCH_DMA_TRANSFER, TRANSFER_NONE) | LAUNCH_DMA_FLUSH_ENABLE |
                         field_put(LAUNCH_DMA_SEMAPHORE, SEMAPHORE_RELEASE_NO_TIMESTAMP) |
                         LAUNCH_DMA_PAYLOAD_TWO_WORD));
}
