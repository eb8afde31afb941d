/*
 * runtime/http/api_machine.c: what the machine is and has: /livez, /readyz, /v1/machine, /v1/apps, /v1/devices,
 * /v1/volumes, /v1/models, the page and the OpenAPI document.
 */
#include "runtime/http/connection.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu.h"
#include "nvme/nvme.h"
#include "runtime/config/config.h"
#include "runtime/job/job.h"
#include "runtime/net/net.h"
#include "runtime/runtime.h"
#include "runtime/volume/volume.h"

/* runtime/http/page.html and docs/openapi.json, as the build embeds them. */
extern const char page_html[], openapi_json[];
extern const uint64_t page_html_size, openapi_json_size;

/* ---- readiness ------------------------------------------------------------------------------------------------- */

const char *const http_part_names[HTTP_PART_COUNT] = {"devices", "volumes", "jobs", "gpus"};
static const char *_Atomic part_problems[HTTP_PART_COUNT] = {"not started yet", "not started yet",
                                                             "not started yet", "starting"};

void http_set_ready(enum http_part part, const char *why_not)
{
    atomic_store(&part_problems[part], why_not);
    health_refresh();
}

const char *http_part_problem(enum http_part part)
{
    return atomic_load(&part_problems[part]);
}

static const char *network_problem(const struct net_info *net)
{
    switch (net->state) {
    case NET_UP:
        return NULL;
    case NET_NO_DEVICE:
        return "no network device";
    case NET_NO_LINK:
        return "no link: is the cable plugged in?";
    default:
        return "waiting for an address";
    }
}

/* The first thing that is not ready, "" when everything is. */
static void readiness(char *out, size_t out_bytes)
{
    struct net_info net;
    net_info(&net);
    const char *problem = network_problem(&net);
    out[0] = 0;
    if (problem)
        snprintf(out, out_bytes, "network: %s", problem);
    for (unsigned part = 0; part < HTTP_PART_COUNT && !out[0]; part++)
        if ((problem = http_part_problem(part)))
            snprintf(out, out_bytes, "%s: %s", http_part_names[part], problem);
}

static bool is_verbose(const struct http_connection *c)
{
    char value[8];
    return query_get(c, "verbose", value, sizeof(value)) == 1 && strcmp(value, "0") != 0;
}

void api_live(struct http_connection *c)
{
    if (!is_verbose(c)) {
        reply_static(c, 200, "text/plain; charset=utf-8", "ok\n", 3);
        return;
    }
    char text[320];
    snprintf(text, sizeof(text), "ok\nname %s\nversion %s\nuptime %.3f seconds\n", config.hostname,
             ingot_version, (double)time_ns() / 1e9);
    reply_text(c, 200, "text/plain; charset=utf-8", text);
}

void api_ready(struct http_connection *c)
{
    char reason[200], text[800];
    readiness(reason, sizeof(reason));
    if (!is_verbose(c)) {
        if (reason[0])
            reply_problem(c, 503, NULL, "Not ready: %s.", reason);
        else
            reply_static(c, 200, "text/plain; charset=utf-8", "ready\n", 6);
        return;
    }
    struct net_info net;
    net_info(&net);
    const char *problem = network_problem(&net);
    size_t used = (size_t)snprintf(text, sizeof(text), "[%c] network: %s\n", problem ? '-' : '+',
                                   problem ? problem : "ready");
    for (unsigned part = 0; part < HTTP_PART_COUNT; part++) {
        problem = http_part_problem(part);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "[%c] %s: %.120s\n",
                                 problem ? '-' : '+', http_part_names[part],
                                 problem ? problem : "ready");
    }
    snprintf(text + used, sizeof(text) - used, "%s\n", reason[0] ? "not ready" : "ready");
    reply_text(c, reason[0] ? 503 : 200, "text/plain; charset=utf-8", text);
}

/* ---- files of the program -------------------------------------------------------------------------------------- */

/* The page's only script and style carry this word, and the policy lets nothing else run. A new one for each reply. */
#define NONCE_MARK  "@NONCE-PLACEHOLDER-22@"
#define NONCE_BYTES (sizeof(NONCE_MARK) - 1)

void api_page(struct http_connection *c)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[NONCE_BYTES];
    char nonce[NONCE_BYTES + 1];
    random_bytes(random, sizeof(random));
    for (unsigned i = 0; i < NONCE_BYTES; i++)
        nonce[i] = letters[random[i] & 63];
    nonce[NONCE_BYTES] = 0;

    char *page = malloc(page_html_size + 1);
    if (!page) {
        reply_out_of_memory(c);
        return;
    }
    memcpy(page, page_html, page_html_size);
    page[page_html_size] = 0;
    for (char *at = page; (at = strstr(at, NONCE_MARK)); at += NONCE_BYTES)
        memcpy(at, nonce, NONCE_BYTES);
    reply_header(
        c,
        "Content-Security-Policy: default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors "
        "'none'",
        nonce, nonce);
    reply_header(c, "Referrer-Policy: no-referrer");
    reply_owned(c, 200, "text/html; charset=utf-8", page, page_html_size);
}

void api_openapi(struct http_connection *c)
{
    reply_static(c, 200, "application/json", openapi_json, openapi_json_size);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void add_number_or_null(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name,
                               double value)
{
    if (isnan(value))
        yyjson_mut_obj_add_null(doc, object, name);
    else
        yyjson_mut_obj_add_real(doc, object, name, value);
}

static void add_uint_or_null(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name,
                             uint64_t value)
{
    if (value == UINT64_MAX)
        yyjson_mut_obj_add_null(doc, object, name);
    else
        yyjson_mut_obj_add_uint(doc, object, name, value);
}

/* Text, or null when it is empty. */
static void add_text_or_null(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name,
                             const char *text)
{
    if (text && text[0])
        yyjson_mut_obj_add_strcpy(doc, object, name, text);
    else
        yyjson_mut_obj_add_null(doc, object, name);
}

static void add_network(yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    static const char *const states[] = {"no device", "no link", "configuring", "up"};
    struct net_info net;
    net_info(&net);
    char mac[18];
    snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", net.mac[0], net.mac[1], net.mac[2],
             net.mac[3], net.mac[4], net.mac[5]);
    yyjson_mut_val *network = yyjson_mut_obj_add_obj(doc, root, "network");
    yyjson_mut_obj_add_str(doc, network, "state", states[net.state]);
    add_text_or_null(doc, network, "device", net.device);
    yyjson_mut_obj_add_strcpy(doc, network, "mac", mac);
    add_text_or_null(doc, network, "address", net.address);
    add_text_or_null(doc, network, "netmask", net.netmask);
    add_text_or_null(doc, network, "gateway", net.gateway);
    add_text_or_null(doc, network, "source", net.source);
    yyjson_mut_obj_add_uint(doc, network, "received_bytes", net.rx_bytes);
    yyjson_mut_obj_add_uint(doc, network, "sent_bytes", net.tx_bytes);
}

void api_machine(struct http_connection *c)
{
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    char now[TIME_TEXT_BYTES], reason[200];
    const struct cpu_features *cpu = cpu_features();
    struct net_info net;
    net_info(&net);
    time_format_boot(now, time_ns());
    readiness(reason, sizeof(reason));
    add_text_or_null(doc, root, "name", net.hostname[0] ? net.hostname : config.hostname);
    yyjson_mut_obj_add_str(doc, root, "version", ingot_version);
    add_text_or_null(doc, root, "time", now);
    yyjson_mut_obj_add_real(doc, root, "uptime_seconds", (double)time_ns() / 1e9);
    yyjson_mut_obj_add_bool(doc, root, "ready", reason[0] == 0);
    add_text_or_null(doc, root, "not_ready_because", reason);
    yyjson_mut_obj_add_str(doc, root, "auth", config.auth_required ? "token" : "none");

    yyjson_mut_val *processor = yyjson_mut_obj_add_obj(doc, root, "processor");
    yyjson_mut_obj_add_strcpy(doc, processor, "model", cpu->brand);
    yyjson_mut_obj_add_uint(doc, processor, "cores", core_count());
    yyjson_mut_obj_add_bool(doc, processor, "avx2", cpu->avx2_fma);
    yyjson_mut_obj_add_bool(doc, processor, "avx512", cpu->avx512);

    struct memory_stats memory_now;
    memory_stats(&memory_now);
    yyjson_mut_val *memory = yyjson_mut_obj_add_obj(doc, root, "memory");
    yyjson_mut_obj_add_uint(doc, memory, "total_bytes", memory_now.total_bytes);
    yyjson_mut_obj_add_uint(doc, memory, "free_bytes", memory_now.free_bytes);
    yyjson_mut_obj_add_uint(doc, memory, "heap_bytes", memory_now.heap_bytes);
    yyjson_mut_obj_add_uint(doc, memory, "image_bytes", memory_now.image_bytes);

    add_network(doc, root);
    yyjson_mut_obj_add_uint(doc, root, "connections", connection_counters.open);
    reply_json(c, 200, doc);
}

void api_apps(struct http_connection *c)
{
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    yyjson_mut_obj_add_val(doc, root, "apps", app_describe_all(doc));
    reply_json(c, 200, doc);
}

static void add_device(yyjson_mut_doc *doc, yyjson_mut_val *list, unsigned index,
                       struct gpu_device *device)
{
    struct gpu_device_info info;
    struct gpu_health health;
    gpu_device_info(device, &info);
    yyjson_mut_val *out = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_strcpy(doc, out, "name", info.name);
    yyjson_mut_obj_add_strcpy(doc, out, "model", info.model);
    yyjson_mut_obj_add_strcpy(doc, out, "architecture", info.architecture);
    yyjson_mut_obj_add_uint(doc, out, "memory_bytes", info.memory_bytes);
    yyjson_mut_obj_add_uint(doc, out, "memory_used_bytes", info.memory_used_bytes);
    yyjson_mut_obj_add_uint(doc, out, "multiprocessors", info.multiprocessors);
    yyjson_mut_obj_add_bool(doc, out, "usable", info.is_usable);
    add_text_or_null(doc, out, "why_not", info.is_usable ? NULL : info.why_not);
    add_text_or_null(doc, out, "chip", info.chip);
    add_text_or_null(doc, out, "firmware", info.firmware);
    add_uint_or_null(doc, out, "vram_bytes", info.vram_bytes ? info.vram_bytes : UINT64_MAX);
    add_number_or_null(doc, out, "start_seconds",
                       info.start_ns ? (double)info.start_ns / 1e9 : NAN);
    json_add_pci(doc, out, info.pci_name);
    yyjson_mut_val *engines = yyjson_mut_obj_add_arr(doc, out, "engines");
    for (unsigned i = 0; i < info.engine_count && i < ARRAY_COUNT(info.engines); i++)
        yyjson_mut_arr_add_strcpy(doc, engines, info.engines[i]);
    if (!health_gpu(index, &health))
        health = (struct gpu_health){NAN, NAN, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    add_number_or_null(doc, out, "temperature_celsius", health.temperature_celsius);
    add_number_or_null(doc, out, "power_watts", health.power_watts);
    add_uint_or_null(doc, out, "core_clock_hertz", health.core_clock_hz);
    add_uint_or_null(doc, out, "memory_clock_hertz", health.memory_clock_hz);
    add_uint_or_null(doc, out, "ecc_corrected", health.ecc_corrected);
    add_uint_or_null(doc, out, "ecc_uncorrected", health.ecc_uncorrected);
}

static void add_controller(yyjson_mut_doc *doc, yyjson_mut_val *list, unsigned index,
                           struct nvme_controller *controller)
{
    struct nvme_controller_info info;
    struct nvme_health health;
    nvme_controller_info(controller, &info);
    yyjson_mut_val *out = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_strcpy(doc, out, "name", info.name);
    yyjson_mut_obj_add_strcpy(doc, out, "model", info.model);
    yyjson_mut_obj_add_strcpy(doc, out, "serial", info.serial);
    yyjson_mut_obj_add_strcpy(doc, out, "firmware", info.firmware);
    yyjson_mut_obj_add_strcpy(doc, out, "pci", info.pci_name);
    yyjson_mut_obj_add_bool(doc, out, "alive", info.is_alive);
    yyjson_mut_obj_add_uint(doc, out, "queues", info.queue_count);
    if (!health_nvme(index, &health)) {
        yyjson_mut_obj_add_null(doc, out, "health");
        return;
    }
    yyjson_mut_val *readings = yyjson_mut_obj_add_obj(doc, out, "health");
    yyjson_mut_obj_add_uint(doc, readings, "critical_warning", health.critical_warning);
    yyjson_mut_obj_add_real(doc, readings, "temperature_celsius", health.temperature_celsius);
    yyjson_mut_obj_add_uint(doc, readings, "available_spare_percent",
                            health.available_spare_percent);
    yyjson_mut_obj_add_uint(doc, readings, "percentage_used", health.percentage_used);
    yyjson_mut_obj_add_uint(doc, readings, "media_errors", health.media_errors);
    yyjson_mut_obj_add_uint(doc, readings, "power_on_hours", health.power_on_hours);
    yyjson_mut_obj_add_uint(doc, readings, "unsafe_shutdowns", health.unsafe_shutdowns);
}

void api_devices(struct http_connection *c)
{
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    struct gpu_device *device, *best = gpu_device_best();
    struct nvme_controller *controller;
    struct gpu_device_info info;
    health_refresh();
    yyjson_mut_val *devices = yyjson_mut_obj_add_arr(doc, root, "devices");
    for (unsigned i = 0; (device = gpu_device_get(i)); i++)
        add_device(doc, devices, i, device);
    if (best) {
        gpu_device_info(best, &info);
        yyjson_mut_obj_add_strcpy(doc, root, "default_device", info.name);
    } else {
        yyjson_mut_obj_add_null(doc, root, "default_device");
    }
    yyjson_mut_val *controllers = yyjson_mut_obj_add_arr(doc, root, "nvme");
    for (unsigned i = 0; (controller = nvme_controller_get(i)); i++)
        add_controller(doc, controllers, i, controller);
    reply_json(c, 200, doc);
}

/* A GUID as people write it: the first three fields are stored little-endian (UEFI 2.10, appendix A). */
static void guid_format(char out[37], const uint8_t g[16])
{
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", g[3],
             g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13],
             g[14], g[15]);
}

void api_volumes(struct http_connection *c)
{
    static const uint8_t no_guid[16];
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    const struct volume *volume;
    const struct disk *disk;
    yyjson_mut_val *volumes = yyjson_mut_obj_add_arr(doc, root, "volumes");
    for (unsigned i = 0; (volume = volume_get(i)); i++) {
        char guid[37] = "";
        if (memcmp(volume->partition_guid, no_guid, sizeof(no_guid)) != 0)
            guid_format(guid, volume->partition_guid);
        yyjson_mut_val *out = yyjson_mut_arr_add_obj(doc, volumes);
        yyjson_mut_obj_add_strcpy(doc, out, "name", volume->name);
        yyjson_mut_obj_add_strcpy(doc, out, "disk", volume->disk->name);
        yyjson_mut_obj_add_str(doc, out, "kind",
                               volume->kind == VOLUME_FAT32 ? "fat32" : "unknown");
        add_text_or_null(doc, out, "label", volume->label);
        yyjson_mut_obj_add_uint(doc, out, "offset_bytes", volume->offset);
        yyjson_mut_obj_add_uint(doc, out, "size_bytes", volume->size_bytes);
        add_text_or_null(doc, out, "partition_guid", guid);
        yyjson_mut_obj_add_bool(doc, out, "readable", volume->fat != NULL);
        add_text_or_null(doc, out, "problem", volume->problem);
    }
    yyjson_mut_val *disks = yyjson_mut_obj_add_arr(doc, root, "disks");
    for (unsigned i = 0; (disk = disk_get(i)); i++) {
        yyjson_mut_val *out = yyjson_mut_arr_add_obj(doc, disks);
        yyjson_mut_obj_add_strcpy(doc, out, "name", disk->name);
        yyjson_mut_obj_add_uint(doc, out, "size_bytes", disk->block_count * disk->block_bytes);
        yyjson_mut_obj_add_uint(doc, out, "block_bytes", disk->block_bytes);
        yyjson_mut_obj_add_bool(doc, out, "read_only", disk->is_read_only);
    }
    reply_json(c, 200, doc);
}

/* ---- models ---------------------------------------------------------------------------------------------------- */

static void reply_no_model(struct http_connection *c)
{
    reply_problem(c, 404, "handle",
                  "No model is loaded under this handle. GET /v1/models lists those that are.");
}

void api_models(struct http_connection *c)
{
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    yyjson_mut_obj_add_val(doc, root, "models", model_describe_all(doc));
    reply_json(c, 200, doc);
}

void api_model(struct http_connection *c)
{
    yyjson_mut_val *root;
    yyjson_mut_doc *doc = json_new(&root);
    int error = model_describe(c->captured, doc, root);
    if (!error) {
        reply_json(c, 200, doc);
        return;
    }
    yyjson_mut_doc_free(doc);
    if (error == -ENOENT)
        reply_no_model(c);
    else
        reply_out_of_memory(c);
}

void api_model_delete(struct http_connection *c)
{
    int error = model_remove(c->captured);
    if (error == -ENOENT)
        reply_no_model(c);
    else if (error == -EBUSY)
        reply_problem(c, 409, "handle",
                      "A job is using this model. Cancel it, or wait for it to end.");
    else if (error)
        reply_problem(c, 500, "handle", "The model cannot be unloaded: error %d.", -error);
    else
        reply_empty(c, 204);
}
