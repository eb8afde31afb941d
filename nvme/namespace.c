/*
 * nvme/namespace.c: which namespaces a controller has, and whether we can use them. Follows NVM Express Base 1.4, 5.15.
 *
 * Taken: NVM command set, blocks of 512 to 4096 bytes, no metadata. A namespace with metadata or protection information
 * is named in the log and left alone: its blocks do not lie back to back in memory. One namespace that two controllers
 * share appears once under each.
 */
#include <stdio.h>
#include <string.h>

#include "nvme/nvme_internal.h"

#define NAMESPACE_LISTS_MAX 8 /* times NVME_NAMESPACES_MAX ids looked at */

int nvme_namespace_parse(const struct nvme_identify_namespace *id, struct nvme_namespace *out,
                         const char **reason)
{
    *reason = "";
    if (id->nsze == 0)
        return -ENOENT;
    unsigned format = (unsigned)field_get(NVME_FLBAS_FORMAT_LOW, id->flbas);
    if (id->nlbaf >= 16)
        format |= (unsigned)field_get(NVME_FLBAS_FORMAT_HIGH, id->flbas) << 4;
    if (format > id->nlbaf || format >= ARRAY_COUNT(id->lbaf)) {
        *reason = "it uses a block format that it does not list";
        return -ENOTSUP;
    }
    uint32_t lbaf = id->lbaf[format];
    unsigned shift = (unsigned)field_get(NVME_LBAF_SIZE_LOG2, lbaf);
    if (shift < 9 || shift > 12) {
        *reason = "its blocks are not of 512 to 4096 bytes";
        return -ENOTSUP;
    }
    if (field_get(NVME_LBAF_METADATA_BYTES, lbaf) != 0) {
        *reason = "its blocks carry metadata; format it without";
        return -ENOTSUP;
    }
    if (id->nsze > (UINT64_C(1) << 63) >> shift) {
        *reason = "its size is absurd";
        return -ENOTSUP;
    }
    out->block_shift = shift;
    out->block_bytes = 1u << shift;
    out->block_count = id->nsze;
    out->is_read_only = (id->nsattr & NVME_NSATTR_WRITE_PROTECTED) != 0;
    return 0;
}

/* Identify one namespace into *out. -ENOENT and -ENOTSUP: it is not for us; anything else: the controller fails. */
static int namespace_identify(struct nvme_controller *c, uint32_t nsid, struct nvme_namespace *out)
{
    struct nvme_completion completion;
    int error = nvme_admin_identify(c, NVME_CNS_NAMESPACE, nsid, NULL, &completion);
    if (error == -EIO && completion.status != 0) {
        char text[80];
        log_warn("%s: namespace %u is left out: Identify refused: %s", c->name, nsid,
                 nvme_status_text(completion.status, text, sizeof(text)));
        return -ENOTSUP;
    }
    if (error)
        return error;
    *out = (struct nvme_namespace){
        .controller = c,
        .nsid = nsid,
        .transfer_bytes_max = c->mdts_bytes,
        .can_write_zeroes = c->has_write_zeroes,
        .can_deallocate = c->has_deallocate,
    };
    snprintf(out->name, sizeof(out->name), "%sn%u", c->name, nsid);
    const char *reason;
    error = nvme_namespace_parse(c->admin.buffer, out, &reason);
    if (error == -ENOTSUP)
        log_warn("%s is left out: %s", out->name, reason);
    return error;
}

static int namespace_add(struct nvme_controller *c, uint32_t nsid)
{
    if (c->namespace_count == NVME_NAMESPACES_MAX) {
        log_warn("%s: more than %u namespaces; the others are left out", c->name,
                 NVME_NAMESPACES_MAX);
        return -ENOSPC;
    }
    struct nvme_namespace *ns = &c->namespaces[c->namespace_count];
    int error = namespace_identify(c, nsid, ns);
    if (error == -ENOENT || error == -ENOTSUP)
        return 0;
    if (error)
        return error;
    c->namespace_count++;
    log_info("%s: %llu blocks of %u bytes (%llu MiB)%s", ns->name,
             (unsigned long long)ns->block_count, ns->block_bytes,
             (unsigned long long)(ns->block_count >> (20 - ns->block_shift)),
             ns->is_read_only ? ", write protected" : "");
    return 0;
}

/* The list is sorted and holds ids above the one asked for. A controller that breaks that, or has no end of ids that
 * lead nowhere, could keep us for ever. */
static int namespaces_find_by_list(struct nvme_controller *c)
{
    static const char what[] = "Identify (active namespace list)";
    uint32_t last = 0;
    for (unsigned page = 0; page < NAMESPACE_LISTS_MAX; page++) {
        struct nvme_completion completion;
        int error = nvme_admin_identify(c, NVME_CNS_NAMESPACE_LIST, last, NULL, &completion);
        if (error == -EIO && completion.status != 0) {
            char text[80];
            log_warn("%s: %s refused: %s", c->name, what,
                     nvme_status_text(completion.status, text, sizeof(text)));
            return last == 0 ? -ENOTSUP : -EIO;
        }
        if (error)
            return error;
        uint32_t list[NVME_NAMESPACES_MAX]; /* a copy: the buffer is needed for each namespace */
        memcpy(list, c->admin.buffer, sizeof(list));
        for (unsigned i = 0; i < ARRAY_COUNT(list); i++) {
            if (list[i] == 0)
                return 0;
            if (list[i] <= last || list[i] > c->namespace_id_max) {
                log_error("%s: %s names %u after %u, of at most %u", c->name, what, list[i], last,
                          c->namespace_id_max);
                return -EIO;
            }
            last = list[i];
            error = namespace_add(c, last);
            if (error)
                return error == -ENOSPC ? 0 : error;
        }
    }
    log_warn("%s: namespaces above %u are left out", c->name, last);
    return 0;
}

int nvme_namespaces_find(struct nvme_controller *c)
{
    c->namespace_count = 0;
    /* The list came with 1.1; before, namespaces were numbered 1 to NN. */
    if (c->version >= NVME_VS_1_1 && !(c->quirks & NVME_QUIRK_NO_NAMESPACE_LIST)) {
        int error = namespaces_find_by_list(c);
        if (error != -ENOTSUP)
            return error;
    }
    for (uint32_t nsid = 1; nsid <= min_u64(c->namespace_id_max, NVME_NAMESPACES_MAX); nsid++) {
        int error = namespace_add(c, nsid);
        if (error)
            return error;
    }
    return 0;
}

int nvme_namespaces_recheck(struct nvme_controller *c)
{
    for (unsigned i = 0; i < c->namespace_count; i++) {
        struct nvme_namespace *ns = &c->namespaces[i], now;
        if (ns->is_gone)
            continue;
        int error = namespace_identify(c, ns->nsid, &now);
        if (error && error != -ENOENT && error != -ENOTSUP)
            return error;
        if (error || now.block_count != ns->block_count || now.block_bytes != ns->block_bytes) {
            ns->is_gone = true;
            log_error("%s is not what it was before the controller was reset; it is no longer used",
                      ns->name);
        }
    }
    return 0;
}
