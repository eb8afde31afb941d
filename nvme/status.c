/*
 * nvme/status.c: what a completion's status means, for callers and for people. Source: NVM Express Base 1.4, 4.6.1
 * (status code types and values); the names are the specification's.
 */
#include <stdio.h>

#include "nvme/nvme_internal.h"

static const struct {
    uint16_t status;
    const char *name;
} status_names[] = {
    /* generic command status (4.6.1.2.1) */
    {NVME_STATUS(0, 0x00), "Successful Completion"},
    {NVME_STATUS(0, 0x01), "Invalid Command Opcode"},
    {NVME_STATUS(0, 0x02), "Invalid Field in Command"},
    {NVME_STATUS(0, 0x03), "Command ID Conflict"},
    {NVME_STATUS(0, 0x04), "Data Transfer Error"},
    {NVME_STATUS(0, 0x05), "Commands Aborted due to Power Loss Notification"},
    {NVME_STATUS(0, 0x06), "Internal Error"},
    {NVME_STATUS(0, 0x07), "Command Abort Requested"},
    {NVME_STATUS(0, 0x08), "Command Aborted due to SQ Deletion"},
    {NVME_STATUS(0, 0x09), "Command Aborted due to Failed Fused Command"},
    {NVME_STATUS(0, 0x0a), "Command Aborted due to Missing Fused Command"},
    {NVME_STATUS(0, 0x0b), "Invalid Namespace or Format"},
    {NVME_STATUS(0, 0x0c), "Command Sequence Error"},
    {NVME_STATUS(0, 0x0d), "Invalid SGL Segment Descriptor"},
    {NVME_STATUS(0, 0x0e), "Invalid Number of SGL Descriptors"},
    {NVME_STATUS(0, 0x0f), "Data SGL Length Invalid"},
    {NVME_STATUS(0, 0x10), "Metadata SGL Length Invalid"},
    {NVME_STATUS(0, 0x11), "SGL Descriptor Type Invalid"},
    {NVME_STATUS(0, 0x12), "Invalid Use of Controller Memory Buffer"},
    {NVME_STATUS(0, 0x13), "PRP Offset Invalid"},
    {NVME_STATUS(0, 0x14), "Atomic Write Unit Exceeded"},
    {NVME_STATUS(0, 0x15), "Operation Denied"},
    {NVME_STATUS(0, 0x16), "SGL Offset Invalid"},
    {NVME_STATUS(0, 0x18), "Host Identifier Inconsistent Format"},
    {NVME_STATUS(0, 0x19), "Keep Alive Timer Expired"},
    {NVME_STATUS(0, 0x1a), "Keep Alive Timeout Invalid"},
    {NVME_STATUS(0, 0x1b), "Command Aborted due to Preempt and Abort"},
    {NVME_STATUS(0, 0x1c), "Sanitize Failed"},
    {NVME_STATUS(0, 0x1d), "Sanitize In Progress"},
    {NVME_STATUS(0, 0x1e), "SGL Data Block Granularity Invalid"},
    {NVME_STATUS(0, 0x1f), "Command Not Supported for Queue in CMB"},
    {NVME_STATUS(0, 0x20), "Namespace is Write Protected"},
    {NVME_STATUS(0, 0x21), "Command Interrupted"},
    {NVME_STATUS(0, 0x22), "Transient Transport Error"},
    {NVME_STATUS(0, 0x80), "LBA Out of Range"},
    {NVME_STATUS(0, 0x81), "Capacity Exceeded"},
    {NVME_STATUS(0, 0x82), "Namespace Not Ready"},
    {NVME_STATUS(0, 0x83), "Reservation Conflict"},
    {NVME_STATUS(0, 0x84), "Format In Progress"},
    /* command specific status (4.6.1.2.2) */
    {NVME_STATUS(1, 0x00), "Completion Queue Invalid"},
    {NVME_STATUS(1, 0x01), "Invalid Queue Identifier"},
    {NVME_STATUS(1, 0x02), "Invalid Queue Size"},
    {NVME_STATUS(1, 0x03), "Abort Command Limit Exceeded"},
    {NVME_STATUS(1, 0x08), "Invalid Interrupt Vector"},
    {NVME_STATUS(1, 0x09), "Invalid Log Page"},
    {NVME_STATUS(1, 0x0a), "Invalid Format"},
    {NVME_STATUS(1, 0x0d), "Feature Identifier Not Saveable"},
    {NVME_STATUS(1, 0x0e), "Feature Not Changeable"},
    {NVME_STATUS(1, 0x0f), "Feature Not Namespace Specific"},
    {NVME_STATUS(1, 0x80), "Conflicting Attributes"},
    {NVME_STATUS(1, 0x81), "Invalid Protection Information"},
    {NVME_STATUS(1, 0x82), "Attempted Write to Read Only Range"},
    /* media and data integrity errors (4.6.1.2.3) */
    {NVME_STATUS(2, 0x80), "Write Fault"},
    {NVME_STATUS(2, 0x81), "Unrecovered Read Error"},
    {NVME_STATUS(2, 0x82), "End-to-end Guard Check Error"},
    {NVME_STATUS(2, 0x83), "End-to-end Application Tag Check Error"},
    {NVME_STATUS(2, 0x84), "End-to-end Reference Tag Check Error"},
    {NVME_STATUS(2, 0x85), "Compare Failure"},
    {NVME_STATUS(2, 0x86), "Access Denied"},
    {NVME_STATUS(2, 0x87), "Deallocated or Unwritten Logical Block"},
    /* path related status (4.6.1.2.4) */
    {NVME_STATUS(3, 0x00), "Internal Path Error"},
    {NVME_STATUS(3, 0x01), "Asymmetric Access Persistent Loss"},
    {NVME_STATUS(3, 0x02), "Asymmetric Access Inaccessible"},
    {NVME_STATUS(3, 0x03), "Asymmetric Access Transition"},
    {NVME_STATUS(3, 0x60), "Controller Pathing Error"},
    {NVME_STATUS(3, 0x70), "Host Pathing Error"},
    {NVME_STATUS(3, 0x71), "Command Aborted By Host"},
};

const char *nvme_status_text(uint16_t status, char *out, size_t out_bytes)
{
    static const char *const types[] = {"Generic",      "Command Specific", "Media",
                                        "Path Related", "Reserved",         "Reserved",
                                        "Reserved",     "Vendor Specific"};
    unsigned type = (unsigned)field_get(NVME_STATUS_SCT, status),
             code = (unsigned)field_get(NVME_STATUS_SC, status);
    const char *name = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(status_names); i++)
        if (status_names[i].status == (status & NVME_SCT_SC_MASK))
            name = status_names[i].name;
    if (name != NULL)
        snprintf(out, out_bytes, "%s (%u/%02xh)", name, type, code);
    else
        snprintf(out, out_bytes, "%s status (%u/%02xh)", types[type], type, code);
    return out;
}

int nvme_status_errno(uint16_t status)
{
    switch (status & NVME_SCT_SC_MASK) {
    case 0:
        return 0;
    case NVME_SC_INVALID_NAMESPACE:
        return -ENODEV;
    case NVME_SC_WRITE_PROTECTED:
    case NVME_SC_READ_ONLY_RANGE:
        return -EROFS;
    case NVME_SC_LBA_RANGE:
        return -ERANGE;
    case NVME_SC_CAPACITY_EXCEEDED:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

#define LOG_WINDOW_NS        (10 * NS_PER_S)
#define LOG_LINES_PER_WINDOW 16

void nvme_log_failure(struct nvme_controller *c, const struct nvme_request *request,
                      uint16_t status)
{
    static const char *const names[NVME_OPERATION_COUNT] = {"read", "write", "flush",
                                                            "write zeroes", "deallocate"};
    uint64_t now = time_ns();
    if (now - c->error_log_from_ns > LOG_WINDOW_NS) {
        c->error_log_from_ns = now;
        c->error_log_count = 0;
    }
    unsigned line = c->error_log_count++;
    if (line > LOG_LINES_PER_WINDOW)
        return;
    char text[80];
    if (line == LOG_LINES_PER_WINDOW)
        log_warn("%s: more failures follow, not shown", c->name);
    else
        log_warn("%s: %s of %llu blocks at %llu failed: %s", request->namespace->name,
                 names[request->operation], (unsigned long long)request->block_count,
                 (unsigned long long)request->lba, nvme_status_text(status, text, sizeof(text)));
}
