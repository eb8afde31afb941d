/*
 * runtime/volume/disk_nvme.c: NVMe namespaces as disks. A transfer is one request of the driver, which splits it,
 * keeps its deadlines and completes it; here bytes become blocks, and the driver's answer becomes words.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "runtime/volume/volume.h"

static void reason_put(struct disk_io *io)
{
    const struct nvme_request *request = &io->request;
    char text[sizeof(io->reason)];
    const char *why = "the command failed";
    if (request->error == -ENODEV)
        why = "the drive is gone or does not answer any more; look at the log";
    else if (request->error == -ETIMEDOUT)
        why = "the drive did not answer in time and was reset";
    else if (request->status != 0)
        why = nvme_status_text(request->status, text, sizeof(text));
    snprintf(io->reason, sizeof(io->reason), "%s", why);
}

static void request_done(struct nvme_request *request)
{
    struct disk_io *io = (struct disk_io *)((uint8_t *)request - offsetof(struct disk_io, request));
    io->error = request->error;
    if (io->error != 0)
        reason_put(io);
    __atomic_store_n(&io->done, true, __ATOMIC_RELEASE); /* from here on it is the caller's */
}

static int disk_nvme_submit(struct disk_io *io)
{
    struct nvme_namespace *ns = io->disk->backend;
    io->request = (struct nvme_request){
        .operation = io->is_write ? NVME_WRITE : NVME_READ,
        .namespace = ns,
        .lba = io->offset >> ns->block_shift,
        .block_count = io->size_bytes >> ns->block_shift,
        .segments = io->segments,
        .segment_count = io->segment_count,
        .deadline_ns = io->deadline_ns,
        .on_done = request_done,
    };
    int error = nvme_submit(&io->request);
    if (error == -ENODEV) {
        io->request.error = error;
        reason_put(io);
    }
    return error;
}

static void disk_nvme_poll(void)
{
    nvme_poll();
}

int disk_nvme_start(void)
{
    int count = 0;
    struct nvme_namespace *ns;
    for (unsigned i = 0; (ns = nvme_namespace_get(i)) != NULL; i++) {
        struct disk *disk = calloc(1, sizeof(*disk));
        int error = -ENOMEM;
        if (disk != NULL) {
            *disk = (struct disk){
                .block_bytes = ns->block_bytes,
                .block_count = ns->block_count,
                .is_read_only = ns->is_read_only,
                .submit = disk_nvme_submit,
                .poll = disk_nvme_poll,
                .backend = ns,
            };
            snprintf(disk->name, sizeof(disk->name), "%s", ns->name);
            error = disk_add(disk);
        }
        if (error != 0) {
            log_error("%s is not in the list of disks: error %d", ns->name, -error);
            free(disk);
            continue;
        }
        count++;
    }
    return count;
}
