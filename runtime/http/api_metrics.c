/*
 * runtime/http/api_metrics.c: GET /metrics in Prometheus' text format 0.0.4: HELP and TYPE once per family, all
 * samples of a family together, base units, _total on counters. Every label has a bounded set of values.
 */
#include "runtime/http/connection.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gpu/gpu.h"
#include "nvme/nvme.h"
#include "runtime/config/config.h"
#include "runtime/job/job.h"
#include "runtime/net/net.h"
#include "runtime/runtime.h"

#define METRICS_BYTES_MAX (512 << 10)

static void family(struct text *out, const char *name, const char *type, const char *help)
{
    text_print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void value_uint(struct text *out, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    family(out, name, type, help);
    text_print(out, "%s %" PRIu64 "\n", name, value);
}

/* A label's value: backslash, quote and line feed are escaped. */
static const char *label(char out[160], const char *text)
{
    size_t used = 0;
    for (; *text && used < 156; text++) {
        if (*text == '\\' || *text == '"')
            out[used++] = '\\';
        out[used++] = *text == '\n' ? ' ' : *text;
    }
    out[used] = 0;
    return out;
}

/* ---- the machine ----------------------------------------------------------------------------------------------- */

static void machine_metrics(struct text *out)
{
    char escaped[160];
    struct memory_stats memory;
    memory_stats(&memory);
    family(out, "ingot_build_info", "gauge", "Always 1; the labels say what runs.");
    text_print(out, "ingot_build_info{version=\"%s\"} 1\n", label(escaped, ingot_version));
    family(out, "ingot_uptime_seconds", "gauge", "Time since the image was entered.");
    text_print(out, "ingot_uptime_seconds %.3f\n", (double)time_ns() / 1e9);
    family(out, "ingot_boot_duration_seconds", "gauge",
           "From entering the image to the first HTTP reply.");
    text_print(out, "ingot_boot_duration_seconds %.6f\n", (double)http_first_reply_ns() / 1e9);
    value_uint(out, "ingot_memory_total_bytes", "gauge", "Memory that the firmware reported.",
               memory.total_bytes);
    value_uint(out, "ingot_memory_free_bytes", "gauge", "Memory that is free.", memory.free_bytes);
    value_uint(out, "ingot_heap_used_bytes", "gauge", "Memory in use through malloc.",
               memory.heap_bytes);
    value_uint(out, "ingot_image_bytes", "gauge", "Memory that the program itself takes.",
               memory.image_bytes);
    family(out, "ingot_core_busy_seconds_total", "counter",
           "Time that a core spent running tasks.");
    for (unsigned core = 0; core < core_count(); core++)
        text_print(out, "ingot_core_busy_seconds_total{core=\"%u\"} %.6f\n", core,
                   (double)core_busy_ns(core) / 1e9);
    family(out, "ingot_ready", "gauge", "1 for each part of the machine that is ready, else 0.");
    for (unsigned part = 0; part < HTTP_PART_COUNT; part++)
        text_print(out, "ingot_ready{part=\"%s\"} %d\n", http_part_names[part],
                   http_part_problem(part) == NULL);
}

static void network_metrics(struct text *out)
{
    struct net_info net;
    net_info(&net);
    value_uint(out, "ingot_network_received_packets_total", "counter", "Frames taken from the NIC.",
               net.rx_packets);
    value_uint(out, "ingot_network_sent_packets_total", "counter", "Frames given to the NIC.",
               net.tx_packets);
    value_uint(out, "ingot_network_received_bytes_total", "counter", "Bytes in received frames.",
               net.rx_bytes);
    value_uint(out, "ingot_network_sent_bytes_total", "counter", "Bytes in sent frames.",
               net.tx_bytes);
    value_uint(out, "ingot_network_dropped_packets_total", "counter",
               "Received frames that were dropped.", net.rx_dropped);
    value_uint(out, "ingot_tcp_retransmits_total", "counter", "TCP segments sent again.",
               net.tcp_retransmits);
}

/* ---- HTTP ------------------------------------------------------------------------------------------------------ */

static void add_request_count(void *arg, const char *method, const char *route, int status,
                              uint64_t count)
{
    text_print(arg,
               "ingot_http_requests_total{method=\"%s\",route=\"%s\",code=\"%d\"} %" PRIu64 "\n",
               method, route, status, count);
}

static void http_metrics(struct text *out)
{
    static const char name[] = "ingot_http_request_duration_seconds";
    const struct route_counters *route;
    family(out, "ingot_http_requests_total", "counter", "Requests answered.");
    route_counts_walk(add_request_count, out);
    family(out, name, "histogram", "From a request's first byte to its complete reply.");
    for (unsigned i = 0; (route = route_counters_get(i)); i++) {
        uint64_t below = 0;
        if (route->count == 0)
            continue;
        for (unsigned bucket = 0; bucket < DURATION_BUCKETS; bucket++) {
            below += route->buckets[bucket];
            text_print(out, "%s_bucket{route=\"%s\",le=\"%g\"} %" PRIu64 "\n", name, route->pattern,
                       duration_bucket_seconds[bucket], below);
        }
        text_print(out, "%s_bucket{route=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, route->pattern,
                   route->count);
        text_print(out, "%s_sum{route=\"%s\"} %.9f\n", name, route->pattern,
                   (double)route->duration_ns / 1e9);
        text_print(out, "%s_count{route=\"%s\"} %" PRIu64 "\n", name, route->pattern, route->count);
    }
    value_uint(out, "ingot_http_connections", "gauge", "Connections that are open.",
               connection_counters.open);
    value_uint(out, "ingot_http_connections_total", "counter", "Connections accepted.",
               connection_counters.accepted);
    value_uint(out, "ingot_http_connections_refused_total", "counter",
               "Connections refused because all were in use.", connection_counters.refused);
    value_uint(out, "ingot_http_timeouts_total", "counter",
               "Connections closed because the peer was silent or slow.",
               connection_counters.timed_out);
    value_uint(out, "ingot_http_received_bytes_total", "counter", "Bytes of requests.",
               connection_counters.received_bytes);
    value_uint(out, "ingot_http_sent_bytes_total", "counter", "Bytes of replies.",
               connection_counters.sent_bytes);
}

/* ---- jobs ------------------------------------------------------------------------------------------------------ */

static void job_metrics(struct text *out)
{
    static const char *const states[] = {"queued", "running", "succeeded", "failed", "cancelled"};
    const struct app *app;
    struct job_totals totals;
    job_totals(NULL, &totals);
    value_uint(out, "ingot_jobs_queued", "gauge", "Jobs that wait for their turn.", totals.queued);
    value_uint(out, "ingot_jobs_running", "gauge", "Jobs that run.", totals.running);
    family(out, "ingot_jobs_total", "counter", "Jobs that ended.");
    for (unsigned i = 0; (app = app_get(i)); i++) {
        job_totals(app, &totals);
        for (unsigned state = JOB_SUCCEEDED; state <= JOB_CANCELLED; state++)
            text_print(out, "ingot_jobs_total{app=\"%s\",state=\"%s\"} %" PRIu64 "\n", app->name,
                       states[state], totals.ended[state]);
    }
}

/* ---- NVMe ------------------------------------------------------------------------------------------------------ */

#define CONTROLLERS_MAX 16

static const char *opcode_name(unsigned opcode, char out[8])
{
    static const char *const names[] = {"flush", "write", "read"};
    if (opcode < ARRAY_COUNT(names))
        return names[opcode];
    if (opcode == 0x08)
        return "write_zeroes";
    if (opcode == 0x09)
        return "deallocate";
    snprintf(out, 8, "0x%02x", opcode);
    return out;
}

static void nvme_counter(struct text *out, const char *name, const char *help, size_t offset)
{
    struct nvme_controller *controller;
    struct nvme_controller_info info;
    struct nvme_counters counters;
    family(out, name, "counter", help);
    for (unsigned i = 0; i < CONTROLLERS_MAX && (controller = nvme_controller_get(i)); i++) {
        nvme_controller_info(controller, &info);
        nvme_controller_counters(controller, &counters);
        text_print(out, "%s{controller=\"%s\"} %" PRIu64 "\n", name, info.name,
                   *(const uint64_t *)(const void *)((const char *)&counters + offset));
    }
}

static void nvme_metrics(struct text *out)
{
    struct nvme_controller *controller;
    struct nvme_controller_info info;
    struct nvme_counters counters;
    struct nvme_health health;
    char opcode_text[8];
    family(out, "ingot_nvme_commands_total", "counter", "I/O commands that completed.");
    for (unsigned i = 0; i < CONTROLLERS_MAX && (controller = nvme_controller_get(i)); i++) {
        nvme_controller_info(controller, &info);
        nvme_controller_counters(controller, &counters);
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned failed = 0; failed < 2; failed++)
                if (counters.commands[opcode][failed])
                    text_print(out,
                               "ingot_nvme_commands_total{controller=\"%s\",opcode=\"%s\",status="
                               "\"%s\"} %" PRIu64 "\n",
                               info.name, opcode_name(opcode, opcode_text),
                               failed ? "error" : "success", counters.commands[opcode][failed]);
    }
    nvme_counter(out, "ingot_nvme_read_bytes_total", "Bytes read.",
                 offsetof(struct nvme_counters, read_bytes));
    nvme_counter(out, "ingot_nvme_written_bytes_total", "Bytes written.",
                 offsetof(struct nvme_counters, written_bytes));
    nvme_counter(out, "ingot_nvme_timeouts_total", "Commands that missed their deadline.",
                 offsetof(struct nvme_counters, timeouts));
    nvme_counter(out, "ingot_nvme_aborts_total", "Commands that were aborted.",
                 offsetof(struct nvme_counters, aborts));
    nvme_counter(out, "ingot_nvme_resets_total", "Controller resets.",
                 offsetof(struct nvme_counters, resets));
    family(out, "ingot_nvme_temperature_celsius", "gauge", "Composite temperature.");
    for (unsigned i = 0; i < CONTROLLERS_MAX && (controller = nvme_controller_get(i)); i++) {
        nvme_controller_info(controller, &info);
        if (health_nvme(i, &health))
            text_print(out, "ingot_nvme_temperature_celsius{controller=\"%s\"} %.2f\n", info.name,
                       health.temperature_celsius);
    }
    family(out, "ingot_nvme_media_errors_total", "counter",
           "Unrecovered data integrity errors over the disk's life.");
    for (unsigned i = 0; i < CONTROLLERS_MAX && (controller = nvme_controller_get(i)); i++) {
        nvme_controller_info(controller, &info);
        if (health_nvme(i, &health))
            text_print(out, "ingot_nvme_media_errors_total{controller=\"%s\"} %" PRIu64 "\n",
                       info.name, health.media_errors);
    }
}

/* ---- compute devices ------------------------------------------------------------------------------------------- */

static void gpu_metrics(struct text *out)
{
    struct gpu_device *device;
    struct gpu_device_info info;
    struct gpu_health health;
    family(out, "ingot_gpu_memory_bytes", "gauge", "Memory for buffers in all.");
    for (unsigned i = 0; (device = gpu_device_get(i)); i++) {
        gpu_device_info(device, &info);
        text_print(out, "ingot_gpu_memory_bytes{device=\"%s\"} %" PRIu64 "\n", info.name,
                   info.memory_bytes);
    }
    family(out, "ingot_gpu_memory_used_bytes", "gauge", "Memory that buffers take.");
    for (unsigned i = 0; (device = gpu_device_get(i)); i++) {
        gpu_device_info(device, &info);
        text_print(out, "ingot_gpu_memory_used_bytes{device=\"%s\"} %" PRIu64 "\n", info.name,
                   info.memory_used_bytes);
    }
    family(out, "ingot_gpu_temperature_celsius", "gauge", "Temperature, where the device tells.");
    for (unsigned i = 0; (device = gpu_device_get(i)); i++) {
        gpu_device_info(device, &info);
        if (health_gpu(i, &health) && !isnan(health.temperature_celsius))
            text_print(out, "ingot_gpu_temperature_celsius{device=\"%s\"} %.2f\n", info.name,
                       health.temperature_celsius);
    }
    family(out, "ingot_gpu_power_watts", "gauge", "Power draw, where the device tells.");
    for (unsigned i = 0; (device = gpu_device_get(i)); i++) {
        gpu_device_info(device, &info);
        if (health_gpu(i, &health) && !isnan(health.power_watts))
            text_print(out, "ingot_gpu_power_watts{device=\"%s\"} %.2f\n", info.name,
                       health.power_watts);
    }
}

void api_metrics(struct http_connection *c)
{
    struct text out = {.limit = METRICS_BYTES_MAX};
    health_refresh();
    machine_metrics(&out);
    network_metrics(&out);
    http_metrics(&out);
    if (!http_part_problem(HTTP_PART_JOBS))
        job_metrics(&out);
    if (!http_part_problem(HTTP_PART_VOLUMES))
        nvme_metrics(&out);
    if (!http_part_problem(HTTP_PART_DEVICES))
        gpu_metrics(&out);
    if (out.has_failed) {
        text_free(&out);
        reply_out_of_memory(c);
        return;
    }
    reply_owned(c, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.size_bytes);
}
