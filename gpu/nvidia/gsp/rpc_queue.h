/*
 * gpu/nvidia/gsp/rpc_queue.h: the two message queues below rpc.h: records in, records out. Only rpc.c and tests use it; the
 * caller holds rpc->mutex.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_RPC_QUEUE_H
#define INGOT_GPU_NVIDIA_GSP_RPC_QUEUE_H

#include "gpu/nvidia/gsp/rpc.h"

/* Allocate and lay out the shared memory; 0 or -ENOMEM. */
int rpc_queue_create(struct rpc *rpc);
void rpc_queue_destroy(struct rpc *rpc);

/*
 * Copy the next record out of the status queue into rpc->record, check it, and give its elements back. 1, or 0 when there is
 * none (also before the GSP has made its queue), or -EPROTO: rpc->broken is set and rpc->error says what was wrong. After 1
 * rpc_queue_message() and rpc_queue_payload() are good until the next call.
 */
int rpc_queue_take(struct rpc *rpc);
const struct rpc_message_header *rpc_queue_message(const struct rpc *rpc);
const uint8_t *rpc_queue_payload(const struct rpc *rpc);
size_t rpc_queue_payload_bytes(const struct rpc *rpc);

/* Elements that the command queue has room for now, or -EPROTO as above. */
int rpc_queue_room(struct rpc *rpc);
/* Write one record and ring the doorbell. The payload is at most RPC_RECORD_PAYLOAD_MAX bytes and the room is there. */
void rpc_queue_put(struct rpc *rpc, uint32_t function, const void *payload, size_t bytes);
/* Elements that a payload of this size takes. */
unsigned rpc_queue_elements(size_t payload_bytes);

#endif
