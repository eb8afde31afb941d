/*
 * runtime/http/api_pci.c: GET /v1/pci: every PCI function that was found, as its configuration space describes it,
 * and with ?format=lspci the configuration spaces themselves, in the form that `lspci -F FILE` reads. Nothing here
 * writes to a device. /v1/devices shows a GPU's BARs and link with the same functions.
 */
#include "runtime/http/connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gpu/gpu.h"
#include "nvme/nvme.h"
#include "runtime/net/net.h"

#define CONFIG_BYTES_PLAIN 256u  /* PCI Local Bus 3.0, 6.1 */
#define CONFIG_BYTES_ALL   4096u /* PCI Express Base 5.0, 7.2 */
#define CAP_PCI_EXPRESS    0x10
#define SECONDARY_BUS      0x19 /* of a bridge: PCI-to-PCI Bridge 1.2, 3.2.5.3 */
#define LINE_BYTES_MAX     128

static struct pci_device *function_named(const char *name)
{
    struct pci_device *pci;
    for (unsigned i = 0; (pci = pci_device_get(i)); i++)
        if (strcmp(pci->name, name) == 0)
            return pci;
    return NULL;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void add_bars(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct pci_facts *facts)
{
    yyjson_mut_val *bars = yyjson_mut_obj_add_arr(doc, object, "bars");
    for (unsigned i = 0; i < ARRAY_COUNT(facts->bars); i++) {
        const struct pci_bar *bar = &facts->bars[i];
        if (!facts->has_bar[i])
            continue;
        yyjson_mut_val *out = yyjson_mut_arr_add_obj(doc, bars);
        yyjson_mut_obj_add_uint(doc, out, "index", i);
        yyjson_mut_obj_add_str(doc, out, "kind", bar->is_io ? "io" : "memory");
        yyjson_mut_obj_add_uint(doc, out, "address", bar->pa);
        if (bar->size_bytes)
            yyjson_mut_obj_add_uint(doc, out, "size_bytes", bar->size_bytes);
        else
            yyjson_mut_obj_add_null(doc, out, "size_bytes");
        yyjson_mut_obj_add_bool(doc, out, "prefetchable", bar->is_prefetchable);
    }
}

static void add_link(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct pci_facts *facts)
{
    if (!facts->link_width_max) {
        yyjson_mut_obj_add_null(doc, object, "link");
        return;
    }
    yyjson_mut_val *link = yyjson_mut_obj_add_obj(doc, object, "link");
    yyjson_mut_obj_add_real(doc, link, "gigatransfers_per_second", facts->link_rate / 1e3);
    yyjson_mut_obj_add_real(doc, link, "gigatransfers_per_second_max", facts->link_rate_max / 1e3);
    yyjson_mut_obj_add_uint(doc, link, "lanes", facts->link_width);
    yyjson_mut_obj_add_uint(doc, link, "lanes_max", facts->link_width_max);
}

void json_add_pci(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *pci_name)
{
    struct pci_device *pci = pci_name[0] ? function_named(pci_name) : NULL;
    struct pci_facts facts;
    if (pci && !pci_facts(pci, &facts))
        pci = NULL;
    if (pci_name[0])
        yyjson_mut_obj_add_strcpy(doc, object, "pci", pci_name);
    else
        yyjson_mut_obj_add_null(doc, object, "pci");
    if (pci) {
        add_bars(doc, object, &facts);
        add_link(doc, object, &facts);
    } else {
        yyjson_mut_obj_add_arr(doc, object, "bars");
        yyjson_mut_obj_add_null(doc, object, "link");
    }
}

static void add_hex(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, unsigned digits,
                    uint32_t value)
{
    char text[12];
    snprintf(text, sizeof(text), "%0*" PRIx32, (int)digits, value);
    yyjson_mut_obj_add_strcpy(doc, object, name, text);
}

/* Who drives the function: the name under which the rest of the API knows it, once all have been started. */
static bool user_of(const struct pci_device *pci, char out[24])
{
    struct nvme_controller *controller;
    struct nvme_controller_info drive;
    if (http_part_problem(HTTP_PART_VOLUMES) || http_part_problem(HTTP_PART_DEVICES))
        return false;
    for (unsigned i = 0; (controller = nvme_controller_get(i)); i++) {
        nvme_controller_info(controller, &drive);
        if (strcmp(drive.pci_name, pci->name) == 0) {
            snprintf(out, 24, "%s", drive.name);
            return true;
        }
    }
    struct gpu_device *device;
    struct gpu_device_info info;
    for (unsigned i = 0; (device = gpu_device_get(i)); i++) {
        gpu_device_info(device, &info);
        if (strcmp(info.pci_name, pci->name) == 0) {
            snprintf(out, 24, "%s", info.name);
            return true;
        }
    }
    struct net_info net;
    net_info(&net);
    if (strstr(net.device, pci->name)) {
        snprintf(out, 24, "network");
        return true;
    }
    return false;
}

/* The bridge whose secondary bus the function is on. */
static const struct pci_device *bridge_above(const struct pci_device *pci)
{
    struct pci_device *other;
    for (unsigned i = 0; (other = pci_device_get(i)); i++)
        if (other->segment == pci->segment && other->bus < pci->bus && other->base_class == 0x06 &&
            other->sub_class == 0x04 && pci_read8(other, SECONDARY_BUS) == pci->bus)
            return other;
    return NULL;
}

static void add_function(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct pci_device *pci)
{
    struct pci_facts facts;
    char user[24];
    bool is_there = pci_facts(pci, &facts);
    const struct pci_device *bridge = pci->bus ? bridge_above(pci) : NULL;
    yyjson_mut_val *out = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_strcpy(doc, out, "name", pci->name);
    add_hex(doc, out, "vendor_id", 4, pci->vendor_id);
    add_hex(doc, out, "device_id", 4, pci->device_id);
    add_hex(doc, out, "subsystem_vendor_id", 4, pci->subsystem_vendor_id);
    add_hex(doc, out, "subsystem_id", 4, pci->subsystem_id);
    add_hex(doc, out, "class", 6,
            (uint32_t)pci->base_class << 16 | (uint32_t)pci->sub_class << 8 | pci->prog_if);
    yyjson_mut_obj_add_str(doc, out, "class_name", pci_class_name(pci));
    add_hex(doc, out, "revision", 2, pci->revision);
    if (bridge)
        yyjson_mut_obj_add_strcpy(doc, out, "bridge", bridge->name);
    else
        yyjson_mut_obj_add_null(doc, out, "bridge");
    if (user_of(pci, user))
        yyjson_mut_obj_add_strcpy(doc, out, "used_by", user);
    else
        yyjson_mut_obj_add_null(doc, out, "used_by");
    yyjson_mut_obj_add_bool(doc, out, "answers", is_there);
    yyjson_mut_obj_add_bool(doc, out, "memory", facts.is_decoding);
    yyjson_mut_obj_add_bool(doc, out, "bus_master", facts.is_bus_master);
    if (facts.power_state >= 0)
        yyjson_mut_obj_add_uint(doc, out, "power_state", (uint64_t)facts.power_state);
    else
        yyjson_mut_obj_add_null(doc, out, "power_state");
    yyjson_mut_obj_add_uint(doc, out, "msi_vectors", facts.msi_vectors);
    yyjson_mut_obj_add_uint(doc, out, "msix_vectors", facts.msix_vectors);
    yyjson_mut_obj_add_str(doc, out, "interrupts",
                           facts.is_msix_on  ? "msi-x"
                           : facts.is_msi_on ? "msi"
                                             : "off");
    add_bars(doc, out, &facts);
    add_link(doc, out, &facts);
    yyjson_mut_val *capabilities = yyjson_mut_obj_add_arr(doc, out, "capabilities");
    for (unsigned i = 0; i < facts.capability_count; i++) {
        const struct pci_capability *c = &facts.capabilities[i];
        yyjson_mut_val *capability = yyjson_mut_arr_add_obj(doc, capabilities);
        add_hex(doc, capability, "id", c->is_extended ? 4 : 2, c->id);
        add_hex(doc, capability, "offset", c->is_extended ? 3 : 2, c->offset);
        yyjson_mut_obj_add_str(doc, capability, "name", c->name);
    }
}

/* ---- configuration space as text ------------------------------------------------------------------------------- */

static unsigned config_bytes(const struct pci_device *pci)
{
    return pci_find_capability(pci, CAP_PCI_EXPRESS, 0) &&
                   pci_read32(pci, CONFIG_BYTES_PLAIN) != UINT32_MAX
               ? CONFIG_BYTES_ALL
               : CONFIG_BYTES_PLAIN;
}

/* A line of 16 bytes: "10: 00 00 00 ...". */
static size_t config_line(char *out, const struct pci_device *pci, unsigned offset)
{
    size_t used = (size_t)snprintf(out, LINE_BYTES_MAX, "%02x:", offset);
    for (unsigned i = 0; i < 16; i += 4) {
        uint32_t word = pci_read32(pci, offset + i);
        used += (size_t)snprintf(out + used, LINE_BYTES_MAX - used, " %02x %02x %02x %02x",
                                 word & 255, word >> 8 & 255, word >> 16 & 255, word >> 24);
    }
    out[used++] = '\n';
    return used;
}

/* As many lines as there is room for; c->work.pci says where the next one is. */
static bool config_more(struct http_connection *c)
{
    char line[LINE_BYTES_MAX];
    while (stream_room(c) >= 2 * LINE_BYTES_MAX) {
        const struct pci_device *pci = pci_device_get(c->work.pci.index);
        if (!pci)
            return false;
        if (c->work.pci.offset == 0) {
            c->work.pci.end = config_bytes(pci);
            size_t used = (size_t)snprintf(line, sizeof(line), "%s %s: %04x:%04x (rev %02x)\n",
                                           pci->name, pci_class_name(pci), pci->vendor_id,
                                           pci->device_id, pci->revision);
            stream_write(c, line, used);
        }
        stream_write(c, line, config_line(line, pci, c->work.pci.offset));
        c->work.pci.offset += 16;
        if (c->work.pci.offset >= c->work.pci.end) {
            stream_write(c, "\n", 1);
            c->work.pci.index++;
            c->work.pci.offset = 0;
        }
    }
    return true;
}

void api_pci(struct http_connection *c)
{
    char format[8] = "";
    int found = query_get(c, "format", format, sizeof(format));
    if (found < 0 || (found && strcmp(format, "json") != 0 && strcmp(format, "lspci") != 0)) {
        reply_problem(c, 400, "format", "format must be json or lspci.");
        return;
    }
    if (found && strcmp(format, "lspci") == 0) {
        c->work.pci.index = c->work.pci.offset = c->work.pci.end = 0;
        reply_stream(c, 200, "text/plain; charset=utf-8", config_more);
        return;
    }
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "functions");
    struct pci_device *pci;
    for (unsigned i = 0; (pci = pci_device_get(i)); i++)
        add_function(doc, list, pci);
    reply_json(c, 200, doc);
}
