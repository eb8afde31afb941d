/*
 * tests/host/main.c: the hosted program, build/hosted/ingot: the appliance's apps as a Linux process.
 *
 *     ingot [--cores N] [--disk FILE[:BLOCK]]... list
 *     ingot [--cores N] [--disk FILE[:BLOCK]]... run APP ['{"argument": ...}'] [APP ...]...
 *     ingot [--cores N] [--disk FILE[:BLOCK]]... [--port N] [--token TOKEN] serve
 *
 * Each --disk is a disk disk0n1, disk1n1 ... with its partitions; files of the host are named host:/path. `run`
 * prints the finished job as JSON and exits with 0 when it succeeded, 1 when it failed, 2 when it was refused or
 * the usage is wrong; of several apps each runs after the one before succeeded, which is how a loaded model is
 * used. `serve` is the appliance's HTTP server on the loopback (port 0, the default: any that is free, told on
 * standard output); without --token it asks for none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gpu/nvidia/hosted/rm_ioctl.h"
#include "gpu/nvidia/nvidia.h"
#include "runtime/config/config.h"
#include "runtime/http/http.h"
#include "runtime/job/job.h"
#include "tests/host/disk_file.h"
#include "tests/host/host.h"
#include "tests/host/http_host.h"

#define EXIT_REFUSED 2

static int usage(void)
{
    fprintf(
        stderr,
        "usage: ingot [--cores N] [--disk FILE[:BLOCK_BYTES]]... list\n"
        "       ingot [--cores N] [--disk FILE[:BLOCK_BYTES]]... run APP ['{\"argument\": ...}'] "
        "[APP ...]...\n"
        "       ingot [--cores N] [--disk FILE[:BLOCK_BYTES]]... [--port N] [--token TOKEN] serve\n"
        "Files of this machine are named host:/path. INGOT_LOG=info shows the log.\n");
    return EXIT_REFUSED;
}

static int print_json(yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    yyjson_mut_doc_set_root(doc, root);
    char *text = root != NULL ? yyjson_mut_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL) : NULL;
    if (text == NULL) {
        fprintf(stderr, "ingot: out of memory\n");
        return EXIT_FAILURE;
    }
    puts(text);
    free(text);
    return EXIT_SUCCESS;
}

static int add_disk(const char *argument, unsigned index)
{
    char path[4096], name[24], reason[200] = "";
    unsigned block_bytes = 512;
    snprintf(path, sizeof(path), "%s", argument);
    char *colon = strrchr(path, ':');
    if (colon != NULL && colon[1] != '\0' && strspn(colon + 1, "0123456789") == strlen(colon + 1)) {
        block_bytes = (unsigned)strtoul(colon + 1, NULL, 10);
        *colon = '\0';
    }
    snprintf(name, sizeof(name), "disk%un1", index);
    struct disk *disk;
    int error = disk_file_create(name, block_bytes, path, &disk, reason, sizeof(reason));
    if (error == 0) {
        error = disk_add(disk);
        if (error != 0)
            snprintf(reason, sizeof(reason), "a disk of 0 bytes, or of blocks of %u", block_bytes);
    }
    if (error != 0)
        fprintf(stderr, "ingot: --disk %s: %s\n", argument, reason);
    return error;
}

static int list(void)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *devices = yyjson_mut_arr(doc);
    struct gpu_device *device;
    for (unsigned i = 0; (device = gpu_device_get(i)) != NULL; i++) {
        struct gpu_device_info info;
        gpu_device_info(device, &info);
        yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, devices);
        yyjson_mut_obj_add_strcpy(doc, entry, "name", info.name);
        yyjson_mut_obj_add_strcpy(doc, entry, "model", info.model);
        yyjson_mut_obj_add_strcpy(doc, entry, "architecture", info.architecture);
        yyjson_mut_obj_add_uint(doc, entry, "memory_bytes", info.memory_bytes);
        yyjson_mut_obj_add_bool(doc, entry, "usable", info.is_usable);
        if (!info.is_usable)
            yyjson_mut_obj_add_strcpy(doc, entry, "why_not", info.why_not);
    }
    yyjson_mut_val *volumes = yyjson_mut_arr(doc);
    struct volume *volume;
    for (unsigned i = 0; (volume = volume_get(i)) != NULL; i++) {
        yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, volumes);
        yyjson_mut_obj_add_strcpy(doc, entry, "name", volume->name);
        yyjson_mut_obj_add_uint(doc, entry, "bytes", volume->size_bytes);
        yyjson_mut_obj_add_strcpy(doc, entry, "problem", volume->problem);
    }
    yyjson_mut_obj_add_val(doc, root, "devices", devices);
    yyjson_mut_obj_add_val(doc, root, "volumes", volumes);
    yyjson_mut_obj_add_val(doc, root, "apps", app_describe_all(doc));
    int status = print_json(doc, root);
    yyjson_mut_doc_free(doc);
    return status;
}

static void wait_for(uint64_t id)
{
    for (;;) {
        uint32_t seen = event_read(job_event());
        if (job_has_ended(id))
            return;
        event_wait(job_event(), seen, time_ns() + NS_PER_S);
    }
}

static int run(const char *app, const char *arguments)
{
    struct job_problem problem = {.status = 0};
    yyjson_doc *parsed = NULL;
    uint64_t id = 0;
    int error = arguments != NULL ? json_parse(arguments, strlen(arguments), &parsed, &problem) : 0;
    if (error == 0)
        error = job_submit(app, yyjson_doc_get_root(parsed), &id, &problem);
    yyjson_doc_free(parsed);
    if (error != 0) {
        fprintf(stderr, "ingot: %s%s%s\n", problem.field, problem.field[0] != '\0' ? ": " : "",
                problem.detail);
        return EXIT_REFUSED;
    }
    wait_for(id);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *described = job_describe(id, doc);
    int status = print_json(doc, described);
    const char *state = yyjson_mut_get_str(yyjson_mut_obj_get(described, "state"));
    if (status == EXIT_SUCCESS && (state == NULL || strcmp(state, "succeeded") != 0))
        status = EXIT_FAILURE;
    yyjson_mut_doc_free(doc);
    return status;
}

static int serve(const char *port_text, const char *token)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    wall_clock_set_ns((int64_t)now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec);
    config.auth_required = token[0] != '\0';
    http_set_token(token);
    int port = http_start();
    if (port == 0)
        port = http_host_start((uint16_t)strtoul(port_text, NULL, 10));
    if (port < 0) {
        fprintf(stderr, "ingot: cannot serve on port %s (error %d)\n", port_text, -port);
        return EXIT_FAILURE;
    }
    for (unsigned part = 0; part < HTTP_PART_COUNT; part++)
        http_set_ready((enum http_part)part, NULL);
    printf("http://127.0.0.1:%d/\n", port);
    fflush(stdout);
    for (;;)
        task_sleep_until(DEADLINE_NEVER);
}

/* Apps in turn, each with its arguments if the next word begins like an object. */
static int run_all(char **words, int count)
{
    int status = EXIT_SUCCESS;
    for (int i = 0; i < count && status == EXIT_SUCCESS; i++) {
        const char *app = words[i];
        bool has_arguments = i + 1 < count && words[i + 1][0] == '{';
        status = run(app, has_arguments ? words[++i] : NULL);
    }
    return status;
}

int main(int argc, char **argv)
{
    const char *port = "0", *token = "";
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned cores = online < 1 ? 1 : online > CORE_MAX ? CORE_MAX : (unsigned)online, disks = 0;
    int at = 1;
    if (getenv("INGOT_LOG") == NULL)
        host_log_level(LOG_WARN);
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--disk") == 0) {
            if (add_disk(argv[at + 1], disks++) != 0)
                return EXIT_REFUSED;
        } else if (strcmp(argv[at], "--port") == 0) {
            port = argv[at + 1];
        } else if (strcmp(argv[at], "--token") == 0) {
            token = argv[at + 1];
        } else if (strcmp(argv[at], "--cores") == 0) {
            cores = (unsigned)strtoul(argv[at + 1], NULL, 10);
            if (cores < 1 || cores > CORE_MAX)
                return usage();
        } else {
            return usage();
        }
    }
    bool is_list = at + 1 == argc && strcmp(argv[at], "list") == 0;
    bool is_run = at + 2 <= argc && strcmp(argv[at], "run") == 0;
    bool is_serve = at + 1 == argc && strcmp(argv[at], "serve") == 0;
    if (!is_list && !is_run && !is_serve)
        return usage();

    /* Core 0 is this thread, which waits; so one core more than there are computes. */
    host_cores_start(cores < CORE_MAX ? cores + 1 : CORE_MAX);
    host_files_start();
    int error = volume_scan();
    if (error < 0)
        fprintf(stderr, "ingot: the disks could not be read (error %d)\n", -error);
    nvidia_transport_set(&rm_ioctl_transport);
    error = gpu_start();
    if (error == 0)
        error = job_start();
    if (error != 0) {
        fprintf(stderr, "ingot: start failed: %s (error %d)\n", gpu_error(), -error);
        return EXIT_FAILURE;
    }
    int status = is_serve  ? serve(port, token)
                 : is_list ? list()
                           : run_all(argv + at + 1, argc - at - 1);
    job_stop();
    gpu_stop();
    return status;
}
