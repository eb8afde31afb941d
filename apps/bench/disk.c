/*
 * apps/bench/disk.c: raw reads from a disk: sequential, and random 4 KiB with 1 and 32 in flight.
 *
 * The core that measures polls for completions all the time, as it does when a model is loaded. Random offsets come from a
 * seeded generator over the whole disk; nothing is cached on our side, so only the drive's own cache can flatter.
 */
#include <stdlib.h>
#include <string.h>

#include "apps/bench/bench.h"
#include "gpu/kernels/kernels.h" /* mix64() */
#include "kernel/kernel.h"
#include "runtime/volume/volume.h"

#define SEQUENTIAL_BYTES (UINT64_C(512) << 10) /* per read: as load does it */
#define SEQUENTIAL_DEPTH 32
#define RANDOM_BYTES     UINT64_C(4096)
#define MEMORY_BYTES_MAX (UINT64_C(64) << 20)
#define SAMPLE_MAX       65536             /* latencies kept; later ones replace earlier ones */
#define YIELD_NS         (200 * NS_PER_US) /* how long others on this core may have to wait */

struct pattern {
    const char *name;
    bool is_random;
    uint64_t bytes;
    unsigned depth;
};

struct read {
    struct disk_io io;
    struct dma_segment segment;
    uint64_t started_ns;
};

struct measurement {
    struct job *job;
    struct disk *disk;
    const struct pattern *pattern;
    struct read *reads;
    uint8_t *memory;
    uint64_t *samples;
    uint64_t memory_bytes;
    uint64_t position_count, next; /* places on the disk, and how many reads were submitted */
    uint64_t completed;
};

static int submit(struct measurement *m, struct read *read)
{
    const struct pattern *pattern = m->pattern;
    uint64_t slot = m->next % (m->memory_bytes / pattern->bytes);
    read->segment =
        (struct dma_segment){dma_addr(m->memory + slot * pattern->bytes), pattern->bytes};
    uint64_t place = (pattern->is_random ? mix64(m->next) : m->next) % m->position_count;
    m->next++;
    read->io = (struct disk_io){
        .disk = m->disk,
        .offset = place * pattern->bytes,
        .size_bytes = pattern->bytes,
        .segments = &read->segment,
        .segment_count = 1,
    };
    read->started_ns = time_ns();
    int error = disk_submit(&read->io);
    if (error != 0)
        read->io.done = true;
    return error != 0 ? job_fail(m->job, error, "disk", "%s: %s", m->disk->name, read->io.reason)
                      : 0;
}

/* Look at every read once; put back to work what is done, until the deadline. Returns how many are in flight, or an error. */
static int look(struct measurement *m, bool goes_on)
{
    int in_flight = 0, error = 0;
    disk_poll();
    for (unsigned i = 0; i < m->pattern->depth; i++) {
        struct read *read = &m->reads[i];
        if (!read->io.done) {
            in_flight++;
            continue;
        }
        if (read->started_ns != 0) {
            m->samples[m->completed++ % SAMPLE_MAX] = time_ns() - read->started_ns;
            read->started_ns = 0;
            if (read->io.error != 0 && error == 0)
                error =
                    job_fail(m->job, read->io.error, "disk", "%s: reading at byte %llu failed: %s",
                             m->disk->name, (unsigned long long)read->io.offset, read->io.reason);
        }
        if (!goes_on || error != 0)
            continue;
        error = submit(m, read);
        if (error == 0)
            in_flight++;
    }
    return error != 0 ? error : in_flight;
}

static int measure(struct measurement *m, double seconds, uint64_t *elapsed_ns)
{
    for (unsigned i = 0; i < m->pattern->depth; i++)
        m->reads[i].io.done = true;
    uint64_t started_ns = time_ns(), now = started_ns, yielded_ns = started_ns;
    uint64_t end_ns = started_ns + (uint64_t)(seconds * 1e9);
    int result = 0;
    while (result >= 0 && now < end_ns) {
        result = look(m, true);
        now = time_ns();
        if (now - yielded_ns > YIELD_NS) {
            task_yield();
            yielded_ns = now;
            if (job_cancelled(m->job))
                result = job_fail(m->job, -ECANCELED, NULL, "cancelled");
            job_progress(m->job, m->pattern->name, (now - started_ns) / NS_PER_MS,
                         (end_ns - started_ns) / NS_PER_MS);
        }
    }
    *elapsed_ns = now - started_ns;
    uint64_t counted = m->completed;
    for (int left = 1; left > 0;) { /* memory that is given back must not be written to */
        left = look(m, false);
        if (left < 0 && result >= 0)
            result = left;
        if (left < 0)
            left = 1; /* an error is counted once; then the rest is waited for */
        task_yield();
    }
    m->completed = counted;
    return result < 0 ? result : 0;
}

/*
 * Reads go round a memory that is too large for the caches, as a model's is, so that the figure is one that loading can
 * be held against; less where memory is short, at least as much as is in flight.
 */
static void *memory_alloc(struct measurement *m)
{
    struct memory_stats stats;
    memory_stats(&stats);
    uint64_t least = m->pattern->bytes * m->pattern->depth;
    m->memory_bytes =
        min_u64(MEMORY_BYTES_MAX, stats.largest_bytes / 8) / m->pattern->bytes * m->pattern->bytes;
    if (m->pattern->is_random || m->memory_bytes < least)
        m->memory_bytes = least;
    return page_alloc_dirty(m->memory_bytes, 0);
}

static int measure_pattern(struct job *job, struct disk *disk, const struct pattern *pattern,
                           double seconds, yyjson_mut_val *out)
{
    struct measurement m = {
        .job = job,
        .disk = disk,
        .pattern = pattern,
        .position_count = disk->block_count * disk->block_bytes / pattern->bytes,
    };
    if (m.position_count == 0)
        return job_fail(job, -ENOSPC, "disk", "%s is smaller than one read", disk->name);
    uint64_t elapsed_ns = 0;
    int error = 0;
    m.reads = calloc(pattern->depth, sizeof(*m.reads));
    m.samples = calloc(SAMPLE_MAX, sizeof(*m.samples));
    m.memory = memory_alloc(&m);
    if (m.reads == NULL || m.samples == NULL || m.memory == NULL)
        error = job_fail(job, -ENOMEM, NULL, "no memory for %u reads of %llu bytes", pattern->depth,
                         (unsigned long long)pattern->bytes);
    if (error == 0)
        error = measure(&m, seconds, &elapsed_ns);
    if (error == 0) {
        double elapsed = (double)(elapsed_ns + 1) / 1e9;
        unsigned kept = (unsigned)min_u64(m.completed, SAMPLE_MAX);
        yyjson_mut_doc *doc = job_document(job);
        yyjson_mut_val *entry = yyjson_mut_obj_add_obj(doc, out, pattern->name);
        bool is_good = yyjson_mut_obj_add_uint(doc, entry, "depth", pattern->depth);
        is_good &= yyjson_mut_obj_add_uint(doc, entry, "read_bytes", pattern->bytes);
        is_good &= yyjson_mut_obj_add_real(doc, entry, "seconds", elapsed);
        is_good &= yyjson_mut_obj_add_real(doc, entry, "iops", (double)m.completed / elapsed);
        is_good &= yyjson_mut_obj_add_real(doc, entry, "bytes_per_second",
                                           (double)(m.completed * pattern->bytes) / elapsed);
        is_good &= yyjson_mut_obj_add_uint(doc, entry, "latency_ns_median",
                                           bench_percentile(m.samples, kept, 0.5));
        is_good &= yyjson_mut_obj_add_uint(doc, entry, "latency_ns_p99",
                                           bench_percentile(m.samples, kept, 0.99));
        if (!is_good)
            error = job_fail(job, -ENOMEM, NULL, "no memory for the result");
    }
    page_free(m.memory, m.memory_bytes);
    free(m.samples);
    free(m.reads);
    return error;
}

/* The named disk, or the first. */
static struct disk *choose(const char *name)
{
    struct disk *disk = NULL;
    for (unsigned i = 0; (disk = disk_get(i)) != NULL; i++) {
        if (name == NULL || strcmp(disk->name, name) == 0)
            break;
    }
    return disk;
}

int bench_disk(struct job *job, double seconds, yyjson_mut_val **out)
{
    static const struct pattern patterns[] = {
        {"sequential", false, SEQUENTIAL_BYTES, SEQUENTIAL_DEPTH},
        {"random_4k_qd1", true, RANDOM_BYTES, 1},
        {"random_4k_qd32", true, RANDOM_BYTES, 32},
    };
    const char *name = job_string(job, "disk");
    struct disk *disk = choose(name);
    if (disk == NULL)
        return job_fail(job, -ENOENT, "disk", "there is no disk %s",
                        name != NULL ? name : "at all");
    yyjson_mut_doc *doc = job_document(job);
    *out = yyjson_mut_obj(doc);
    int error = yyjson_mut_obj_add_strcpy(doc, *out, "disk", disk->name)
                    ? 0
                    : job_fail(job, -ENOMEM, NULL, "no memory for the result");
    for (unsigned i = 0; i < ARRAY_COUNT(patterns) && error == 0; i++)
        error = measure_pattern(job, disk, &patterns[i], seconds, *out);
    return error;
}
