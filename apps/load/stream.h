/*
 * apps/load/stream.h: a file streamed from its disk into a device buffer, with many reads in flight. Private to apps/load.
 *
 * The file is cut into pieces that are contiguous on the disk. A ring of slots holds the pieces in flight, in file order;
 * a slot is free again when its piece is read, hashed by both hashers (when there are any), and in the device's memory.
 * Reads land in the device's buffer itself where the disk can reach it; otherwise, or when a hasher has to see bytes that
 * the CPU cannot, in host memory, from where the device copies them while later reads are under way.
 */
#ifndef INGOT_LOAD_STREAM_H
#define INGOT_LOAD_STREAM_H

#include "gpu/gpu.h"
#include "runtime/hash/sha256.h"
#include "runtime/job/job.h"
#include "runtime/volume/volume.h"
#include "runtime/weights/weights.h"

struct load_digests {
    uint8_t file[SHA256_BYTES];
    uint8_t (*tensor)[SHA256_BYTES]; /* one per tensor, room made by the caller */
};

/*
 * Read all of the file into the buffer, which holds its size rounded up to the disk's blocks. digests NULL: no hashing.
 * 0, or a negative errno after job_fail(). Nothing is in flight any more when it returns.
 */
int load_stream(struct job *job, struct file *file, const struct weights *weights, struct gpu_buffer *buffer,
                struct load_digests *digests);

#endif
