/*
 * gpu/nvidia/gsp/info.c: system information and registry for the Resource Manager, static information from it. See info.h.
 *
 * Nouveau (drivers/gpu/drm/nouveau/nvkm/subdev/gsp/rm/r570/gsp.c) fills in the same few fields of the system information, and
 * its three registry keys are ours; the rest of both is for laptops, virtual functions and displays, and stays zero.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/info.h"
#include "gpu/nvidia/gsp/rpc.h"

/* PCI configuration space in BAR0: NV_PCFG (tu102/dev_nv_xve.h), NV_EP_PCFGM from Hopper on (gh100/dev_xtl_ep_pri.h) */
#define CONFIG_MIRROR_TU102 0x00088000u
#define CONFIG_MIRROR_GH100 0x00092000u
#define CONFIG_MIRROR_BYTES 0x1000u

#define MAX_USER_VA \
    UINT64_C(0x7ffffffff000) /* the last page of x86-64's lower half: what Linux says too */
#define PCI_CAPABILITY_EXPRESS 0x10
#define PCIE_LINK_CAPABILITIES 0x0c /* from the capability's start */

int gsp_info_send_system(struct rpc *rpc, struct hw *hw)
{
    const struct pci_device *pci = hw->pci;
    bool is_hopper_or_later = hw->chip->boot == HW_BOOT_FSP;
    unsigned framebuffer = pci->bar[0].is_64 ? 2 : 1; /* where BAR0 takes two: no display */
    struct rpc_system_info info = {
        .bar0_bus = pci->bar[0].pa,
        .bar1_bus = pci->bar[framebuffer].pa,
        .bar3_bus = pci->bar[framebuffer + 2].pa,
        .domain_bus_device =
            (uint64_t)pci->segment << 32 | (uint64_t)pci->bus << 8 | (uint64_t)pci->device,
        .max_user_va = MAX_USER_VA,
        .config_mirror_base = is_hopper_or_later ? CONFIG_MIRROR_GH100 : CONFIG_MIRROR_TU102,
        .config_mirror_bytes = CONFIG_MIRROR_BYTES,
        .pci_device_id = (uint32_t)pci->device_id << 16 | pci->vendor_id,
        .pci_subdevice_id = (uint32_t)pci->subsystem_id << 16 | pci->subsystem_vendor_id,
        .pci_revision_id = pci->revision,
        .host_page_bytes = RPC_PAGE_BYTES,
    };
    unsigned express = pci_find_capability(pci, PCI_CAPABILITY_EXPRESS, 0);
    if (express != 0)
        info.pcie_link_cap = pci_read32(pci, express + PCIE_LINK_CAPABILITIES);
    int error = rpc_send(rpc, NV_VGPU_MSG_FUNCTION_GSP_SET_SYSTEM_INFO, &info, sizeof(info));
    if (error != 0)
        return hw_fail(hw, error, "system information: %s", rpc->error);
    return 0;
}

static const struct {
    const char *name;
    uint32_t value;
} registry[] = {
    {"RMSecBusResetEnable", 1},   /* RM may reset the GPU through its upstream bridge, */
    {"RMForcePcieConfigSave", 1}, /* and keeps its configuration space over that */
    {"RMDevidCheckIgnore", 1}, /* start on boards that are not in the firmware's list of products */
};

int gsp_info_send_registry(struct rpc *rpc, struct hw *hw)
{
    uint8_t bytes[256];
    struct rpc_registry_table table = {.entry_count = ARRAY_COUNT(registry)};
    size_t entry_at = sizeof(table);
    size_t name_at = entry_at + ARRAY_COUNT(registry) * sizeof(struct rpc_registry_entry);
    for (unsigned i = 0; i < ARRAY_COUNT(registry); i++) {
        size_t name_bytes = strlen(registry[i].name) + 1;
        struct rpc_registry_entry entry = {
            .name_offset = (uint32_t)name_at,
            .type = REGISTRY_TABLE_ENTRY_TYPE_DWORD,
            .data = registry[i].value,
            .length_bytes = sizeof(uint32_t),
        };
        assert(name_at + name_bytes <= sizeof(bytes));
        memcpy(bytes + entry_at, &entry, sizeof(entry));
        memcpy(bytes + name_at, registry[i].name, name_bytes);
        entry_at += sizeof(entry);
        name_at += name_bytes;
    }
    table.size_bytes = (uint32_t)name_at;
    memcpy(bytes, &table, sizeof(table));
    int error = rpc_send(rpc, NV_VGPU_MSG_FUNCTION_SET_REGISTRY, bytes, name_at);
    if (error != 0)
        return hw_fail(hw, error, "registry: %s", rpc->error);
    return 0;
}

/* A name from the GSP: printable ASCII up to its end or its field's. */
static void copy_name(char *out, size_t out_bytes, const char *in, size_t in_bytes)
{
    size_t n = 0;
    while (n < in_bytes && n + 1 < out_bytes && in[n] >= ' ' && in[n] <= '~') {
        out[n] = in[n];
        n++;
    }
    out[n] = '\0';
}

/* RM's GPU id: 16 bytes that are written as a UUID, or that text itself. */
static void copy_uuid(struct gsp_info *out, const struct rpc_static_info *in)
{
    const uint8_t *g = in->gid;
    out->uuid[0] = '\0';
    if (in->gid_length_bytes == 16)
        snprintf(out->uuid, sizeof(out->uuid),
                 "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", g[0],
                 g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11], g[12], g[13],
                 g[14], g[15]);
    else if (in->gid_length_bytes > 16 && in->gid_length_bytes <= sizeof(in->gid))
        copy_name(out->uuid, sizeof(out->uuid), (const char *)g, in->gid_length_bytes);
}

/* Sort the regions in by address; -EPROTO when they make no sense. */
static int copy_regions(struct hw *hw, struct gsp_info *out, const struct rpc_static_info *in)
{
    if (in->fb_region_count == 0 || in->fb_region_count > RPC_FB_REGION_MAX)
        return hw_fail(hw, -EPROTO, "static information: %u regions of VRAM", in->fb_region_count);
    uint64_t end = in->fb_bytes > hw->vram_bytes ? in->fb_bytes : hw->vram_bytes;
    for (unsigned i = 0; i < in->fb_region_count; i++) {
        const struct rpc_fb_region *from = &in->fb_region[i];
        if (from->base > from->limit || from->limit >= end)
            return hw_fail(hw, -EPROTO,
                           "static information: region %u of VRAM is %#llx..%#llx of %#llx bytes",
                           i, (unsigned long long)from->base, (unsigned long long)from->limit,
                           (unsigned long long)end);
        struct gsp_info_region region = {
            .base = from->base,
            .bytes = from->limit - from->base + 1,
            /* The rest are the stretches that RM gives to no client either (nouveau, r535_gsp_get_static_info_fb). */
            .is_reserved = from->reserved != 0 || from->is_protected != 0 ||
                           from->supports_compressed == 0 || from->supports_iso == 0,
        };
        unsigned at = out->region_count++;
        while (at > 0 && out->region[at - 1].base > region.base) {
            out->region[at] = out->region[at - 1];
            at--;
        }
        out->region[at] = region;
    }
    for (unsigned i = 1; i < out->region_count; i++) {
        const struct gsp_info_region *low = &out->region[i - 1], *high = &out->region[i];
        if (low->base + low->bytes > high->base)
            return hw_fail(hw, -EPROTO, "static information: VRAM at %#llx is in two regions",
                           (unsigned long long)high->base);
    }
    return 0;
}

int gsp_info_read_static(struct rpc *rpc, struct hw *hw, struct gsp_info *out)
{
    struct rpc_static_info *in = calloc(1, sizeof(*in));
    if (in == NULL)
        return hw_fail(hw, -ENOMEM, "static information: no memory");
    /* The request has the reply's size: RM answers in place. */
    size_t got = 0;
    int error = rpc_call(rpc, NV_VGPU_MSG_FUNCTION_GET_GSP_STATIC_INFO, in, sizeof(*in), in,
                         sizeof(*in), &got, RPC_TIMEOUT_NS);
    if (error != 0)
        hw_fail(hw, error, "static information: %s", rpc->error);
    else if (got < sizeof(*in))
        error = hw_fail(hw, -EPROTO, "static information: %zu bytes of %zu", got, sizeof(*in));
    if (error != 0)
        goto free_reply;

    *out = (struct gsp_info){
        .vram_bytes = in->fb_bytes,
        .vram_bus_bits = in->fb_bus_bits,
        .vram_type = in->fb_ram_type,
        .l2_cache_bytes = in->l2_cache_bytes,
        .internal_client = in->internal_client,
        .internal_device = in->internal_device,
        .internal_subdevice = in->internal_subdevice,
        .bar1_pde_base = in->bar1_pde_base,
        .bar2_pde_base = in->bar2_pde_base,
        .non_wpr_heap_offset = in->non_wpr_heap_offset,
        .frts_offset = in->frts_offset,
        .is_mig_supported = in->sku_flags[RPC_STATIC_INFO_SKU_MIG] != 0,
    };
    copy_name(out->name, sizeof(out->name), in->name, sizeof(in->name));
    copy_name(out->short_name, sizeof(out->short_name), in->short_name, sizeof(in->short_name));
    copy_uuid(out, in);
    if (in->internal_client == 0 || in->internal_device == 0 || in->internal_subdevice == 0)
        error = hw_fail(hw, -EPROTO, "static information: RM's own handles are %#x %#x %#x",
                        in->internal_client, in->internal_device, in->internal_subdevice);
    else
        error = copy_regions(hw, out, in);
free_reply:
    free(in);
    return error;
}

const char *gsp_info_vram_type_name(uint32_t vram_type)
{
    /* NV2080_CTRL_FB_INFO_RAM_TYPE_... (ctrl2080fb.h) */
    switch (vram_type) {
    case 0x08:
        return "GDDR5";
    case 0x0e:
        return "HBM1";
    case 0x0f:
        return "HBM2";
    case 0x10:
        return "GDDR5X";
    case 0x11:
        return "GDDR6";
    case 0x12:
        return "GDDR6X";
    case 0x13:
        return "LPDDR5";
    case 0x14:
        return "HBM3";
    case 0x15:
        return "GDDR7";
    default:
        return "unknown memory";
    }
}
