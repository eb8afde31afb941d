/*
 * apps/load/stream.c: the ring of reads that brings a file into a device's memory.
 *
 * Slots are numbered by piece, modulo the ring's size, and three counters go round it: submitted >= readable >= freed. A
 * piece that is read before an earlier one waits for it, so hashers see the file in order.
 */
#include "apps/load/stream.h"

#include <stdio.h>
#include <stdlib.h>

#include "apps/load/hash.h"
#include "kernel/kernel.h"

/* 16 MiB in flight: at 7 GB/s that is 2 ms' worth, far more than a drive's latency. A piece is what QEMU's and many drives'
 * controllers take in one command (MDTS 512 KiB). */
#define SLOT_COUNT      32
#define PIECE_BYTES_MAX (UINT64_C(512) << 10)
#define SEGMENT_MAX     16 /* runs of device memory that one piece may fall into */

struct slot {
    struct load_piece piece;
    struct disk_io io;
    struct dma_segment segments[SEGMENT_MAX];
    uint64_t copy_value; /* staged: the timeline value that says the copy is done */
};

struct stream {
    struct job *job;
    struct file *file;
    struct gpu_buffer *buffer;
    uint64_t file_bytes;

    struct slot *slots;
    uint64_t piece_count;
    uint64_t submitted, readable, freed; /* pieces */
    unsigned extent;                     /* where the next piece begins */
    uint64_t extent_offset, file_offset;
    uint64_t bytes_freed;

    struct gpu_buffer *staging; /* NULL: straight into the buffer */
    struct gpu_queue *copies;
    struct gpu_timeline *copied;
    struct load_hashers *hashers; /* NULL: none */
};

/* ---- pieces ---------------------------------------------------------------------------------------------------- */

static uint64_t pieces_of(const struct file *file)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < file->extent_count; i++) {
        uint64_t size = file->extents[i].size_bytes;
        count += size / PIECE_BYTES_MAX + (size % PIECE_BYTES_MAX != 0);
    }
    return count;
}

/* Bus addresses of size_bytes of a buffer, as segments. Returns how many, or 0 when they are too many or not reachable. */
static unsigned segments_of(const struct gpu_buffer *buffer, uint64_t offset, uint64_t size_bytes,
                            struct dma_segment segments[SEGMENT_MAX])
{
    unsigned count = 0;
    while (size_bytes > 0) {
        uint64_t run_bytes, dma = gpu_buffer_dma(buffer, offset, &run_bytes);
        run_bytes = min_u64(run_bytes, size_bytes);
        if (run_bytes == 0 || count == SEGMENT_MAX)
            return 0;
        segments[count++] = (struct dma_segment){.dma = dma, .size_bytes = run_bytes};
        offset += run_bytes;
        size_bytes -= run_bytes;
    }
    return count;
}

static const struct load_piece *piece_at(const void *arg, uint64_t number)
{
    const struct stream *stream = arg;
    return &stream->slots[number % SLOT_COUNT].piece;
}

/* Submit the read of the next piece. */
static int submit_next(struct stream *stream)
{
    struct slot *slot = &stream->slots[stream->submitted % SLOT_COUNT];
    const struct file_extent *extent = &stream->file->extents[stream->extent];
    struct disk *disk = stream->file->volume->disk;
    uint64_t read_bytes =
        min_u64(extent->size_bytes - stream->extent_offset, PIECE_BYTES_MAX); /* whole blocks */
    struct gpu_buffer *target = stream->staging != NULL ? stream->staging : stream->buffer;
    uint64_t target_offset = stream->staging != NULL
                                 ? stream->submitted % SLOT_COUNT * PIECE_BYTES_MAX
                                 : stream->file_offset;

    unsigned segment_count = segments_of(target, target_offset, read_bytes, slot->segments);
    if (segment_count == 0)
        return job_fail(stream->job, -EIO, "device",
                        "the disk cannot reach the device's memory at byte %llu",
                        (unsigned long long)target_offset);
    slot->piece = (struct load_piece){
        .data = target->cpu != NULL ? (const uint8_t *)target->cpu + target_offset : NULL,
        .file_offset = stream->file_offset,
        .size_bytes = min_u64(read_bytes, stream->file_bytes - stream->file_offset),
    };
    slot->io = (struct disk_io){
        .disk = disk,
        .offset = extent->disk_offset + stream->extent_offset,
        .size_bytes = read_bytes,
        .segments = slot->segments,
        .segment_count = segment_count,
    };
    int error = disk_submit(&slot->io);
    if (error != 0)
        return job_fail(stream->job, error, "file", "reading at byte %llu of the file: %s",
                        (unsigned long long)stream->file_offset, slot->io.reason);
    stream->submitted++;
    stream->file_offset += read_bytes;
    stream->extent_offset += read_bytes;
    if (stream->extent_offset == extent->size_bytes) {
        stream->extent++;
        stream->extent_offset = 0;
    }
    return 0;
}

/* A piece was read: start its copy to the device when it is staged. */
static int copy_to_device(struct stream *stream, struct slot *slot)
{
    uint64_t number = stream->readable;
    int error = gpu_copy(stream->copies, stream->buffer, slot->piece.file_offset, stream->staging,
                         number % SLOT_COUNT * PIECE_BYTES_MAX, slot->piece.size_bytes);
    if (error == 0)
        error = gpu_signal(stream->copies, stream->copied, number + 1);
    if (error == 0)
        error = gpu_submit(stream->copies);
    slot->copy_value = number + 1;
    return error != 0 ? job_fail_gpu(stream->job, error) : 0;
}

/* Move the counters on as far as reads, copies and hashers have come. */
static int advance(struct stream *stream)
{
    disk_poll();
    while (stream->readable < stream->submitted) {
        struct slot *slot = &stream->slots[stream->readable % SLOT_COUNT];
        if (!slot->io.done)
            break;
        if (slot->io.error != 0)
            return job_fail(stream->job, slot->io.error, "file",
                            "reading at byte %llu of the file failed: %s",
                            (unsigned long long)slot->piece.file_offset, slot->io.reason);
        int error = stream->staging != NULL ? copy_to_device(stream, slot) : 0;
        if (error != 0)
            return error;
        stream->readable++;
        if (stream->hashers != NULL) {
            atomic_store(&stream->hashers->ready, stream->readable);
            event_signal(&stream->hashers->event);
        }
    }
    uint64_t hashed =
        stream->hashers != NULL ? load_hashers_done(stream->hashers) : stream->readable;
    uint64_t copied =
        stream->staging != NULL ? gpu_timeline_value(stream->copied) : stream->readable;
    while (stream->freed < stream->readable && stream->freed < hashed && stream->freed < copied) {
        stream->bytes_freed += stream->slots[stream->freed % SLOT_COUNT].piece.size_bytes;
        stream->freed++;
    }
    if (stream->staging != NULL && gpu_queue_status(stream->copies) != 0)
        return job_fail_gpu(stream->job, gpu_queue_status(stream->copies));
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static int run(struct stream *stream)
{
    const char *phase = stream->hashers != NULL ? "reading and hashing" : "reading";
    while (stream->freed < stream->piece_count) {
        if (job_cancelled(stream->job))
            return job_fail(stream->job, -ECANCELED, NULL, "cancelled");
        while (stream->submitted < stream->piece_count &&
               stream->submitted - stream->freed < SLOT_COUNT) {
            int error = submit_next(stream);
            if (error != 0)
                return error;
        }
        uint64_t freed = stream->freed;
        int error = advance(stream);
        if (error != 0)
            return error;
        job_progress(stream->job, phase, stream->bytes_freed, stream->file_bytes);
        if (freed == stream->freed)
            task_yield();
    }
    return 0;
}

/* Nothing may be written to memory that is given back: wait for every read. The driver's deadlines bound that. */
static void drain(struct stream *stream)
{
    for (uint64_t i = stream->readable; i < stream->submitted; i++) {
        while (!stream->slots[i % SLOT_COUNT].io.done) {
            disk_poll();
            task_yield();
        }
    }
}

/* Host memory to read into, and a queue that copies from it. */
static int stage(struct stream *stream)
{
    struct gpu_device *device = stream->buffer->device;
    int error = gpu_alloc(device, GPU_MEMORY_HOST, SLOT_COUNT * PIECE_BYTES_MAX, &stream->staging);
    if (error == 0)
        error = gpu_queue_create(device, GPU_QUEUE_COPY, &stream->copies);
    if (error == 0)
        error = gpu_timeline_create(device, &stream->copied);
    return error != 0 ? job_fail_gpu(stream->job, error) : 0;
}

int load_stream(struct job *job, struct file *file, const struct weights *weights,
                struct gpu_buffer *buffer, struct load_digests *digests)
{
    struct stream stream = {
        .job = job,
        .file = file,
        .buffer = buffer,
        .file_bytes = file->info.size_bytes,
        .piece_count = pieces_of(file),
        .slots = calloc(SLOT_COUNT, sizeof(struct slot)),
    };
    struct load_hashers hashers = {
        .weights = weights,
        .digests = digests,
        .piece = piece_at,
        .arg = &stream,
        .piece_count = stream.piece_count,
    };
    int error = 0;
    if (stream.slots == NULL)
        return job_fail(job, -ENOMEM, NULL, "no memory for the reads in flight");
    if (!buffer->is_dma_ready)
        job_warn(job,
                 "the disk cannot reach the device's memory: the file goes through host memory");
    else if (digests != NULL && buffer->cpu == NULL)
        job_warn(job, "the CPU that hashes cannot see the device's memory: the file goes through "
                      "host memory");
    if (!buffer->is_dma_ready || (digests != NULL && buffer->cpu == NULL))
        error = stage(&stream);
    if (error == 0 && digests != NULL) {
        error = load_hashers_start(&hashers);
        if (error == 0)
            stream.hashers = &hashers;
        else
            job_fail(job, error, NULL, "no memory for the tasks that hash");
    }
    if (error == 0)
        error = run(&stream);

    drain(&stream);
    gpu_buffer_dma_done(buffer);
    if (stream.hashers != NULL)
        load_hashers_stop(&hashers);
    if (error != 0 && stream.copies != NULL)
        gpu_queue_cancel(stream.copies);
    gpu_queue_destroy(stream.copies);
    gpu_timeline_destroy(stream.copied);
    gpu_free(stream.staging);
    free(stream.slots);
    return error;
}
