/*
 * tests/unit/test_apps.c: the apps on the CPU device, and on a device whose memory neither CPU nor disk can reach, as a GPU's.
 *
 * Files come from a disk that works like a drive: reads are in flight until polled, complete in the wrong order, and fail
 * or never complete when told to. Its files lie in pieces all over it.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/cpu/cpu.h"
#include "gpu/gpu_handle.h"
#include "runtime/hash/sha256.h"
#include "runtime/job/job.h"
#include "runtime/volume/volume.h"
#include "runtime/weights/weights.h"
#include "tests/host/host.h"

/* ---- a disk ---------------------------------------------------------------------------------------------------- */

#define DISK_BYTES (UINT64_C(16) << 20)
#define QUEUE_MAX  64

static uint8_t *disk_bytes;
static struct disk_io *in_flight[QUEUE_MAX];
static _Atomic unsigned flight_count;
static unsigned flight_most;
static uint64_t fail_at = UINT64_MAX;
static _Atomic bool is_stalled;

static int slow_submit(struct disk_io *io)
{
    assert_true(flight_count < QUEUE_MAX);
    in_flight[flight_count++] = io;
    if (flight_count > flight_most)
        flight_most = flight_count;
    return 0;
}

static void slow_poll(void)
{
    if (is_stalled || flight_count == 0)
        return;
    struct disk_io *io = in_flight[--flight_count]; /* the last one first */
    uint64_t offset = io->offset;
    for (unsigned i = 0; i < io->segment_count; i++) {
        memcpy((void *)(uintptr_t)io->segments[i].dma, disk_bytes + offset,
               io->segments[i].size_bytes);
        offset += io->segments[i].size_bytes;
    }
    if (fail_at >= io->offset && fail_at < offset) {
        io->error = -EIO;
        snprintf(io->reason, sizeof(io->reason), "Unrecovered Read Error (2/81h)");
    }
    io->done = true;
}

static struct disk disk = {
    .name = "slow",
    .block_bytes = 512,
    .block_count = DISK_BYTES / 512,
    .is_read_only = true,
    .submit = slow_submit,
    .poll = slow_poll,
};
static struct volume volume = {.name = "slow", .disk = &disk};

/* ---- its files ------------------------------------------------------------------------------------------------- */

static uint8_t *file_bytes;   /* of the file "/x" */
static uint64_t file_size;    /* as it is */
static uint64_t claimed_size; /* as the directory says */
static uint64_t piece_bytes;  /* of which it lies in pieces, from the disk's end backwards */

static void slow_close(struct file *file)
{
}

static int slow_open(const char *path, struct file *out, char *reason, size_t reason_bytes)
{
    if (strcmp(path, "/x") != 0) {
        snprintf(reason, reason_bytes, "no such file");
        return -ENOENT;
    }
    uint64_t rounded = align_up(file_size, disk.block_bytes), at = 0;
    unsigned count = 0;
    struct file_extent *extents = calloc(rounded / piece_bytes + 1, sizeof(*extents));
    for (; at < rounded; at += piece_bytes) {
        uint64_t size = min_u64(piece_bytes, rounded - at),
                 place = DISK_BYTES - at - align_up(size, 4096);
        extents[count++] = (struct file_extent){place, size};
        memcpy(disk_bytes + place, file_bytes + at, size);
    }
    out->volume = &volume;
    out->close = slow_close;
    out->info.size_bytes = claimed_size != 0 ? claimed_size : file_size;
    out->extents = extents;
    out->extent_count = count;
    return 0;
}

/* A safetensors file in file_bytes: header text and data. */
static void make_file(const char *header, const void *data, uint64_t data_bytes)
{
    uint64_t length = strlen(header);
    file_size = 8 + length + data_bytes;
    assert_true(align_up(file_size, 4096) <= DISK_BYTES / 2);
    memset(file_bytes, 0, DISK_BYTES / 2);
    memcpy(file_bytes, &length, 8);
    memcpy(file_bytes + 8, header, length);
    memcpy(file_bytes + 8 + length, data, data_bytes);
    claimed_size = 0;
    piece_bytes = 40960;
}

static uint64_t data_offset(void)
{
    uint64_t length;
    memcpy(&length, file_bytes, 8);
    return 8 + length;
}

/* ---- a device like a GPU --------------------------------------------------------------------------------------- */

static struct gpu_ops remote_ops;
static struct gpu_device remote;
static int (*local_alloc)(struct gpu_buffer *buffer);

static int remote_alloc(struct gpu_buffer *buffer)
{
    int error = local_alloc(buffer);
    if (error == 0 && buffer->memory == GPU_MEMORY_VRAM) {
        buffer->cpu = NULL;
        buffer->is_dma_ready = false;
    }
    return error;
}

static void remote_stop(struct gpu_device *device)
{
}

static void remote_add(void)
{
    remote_ops = *cpu_device.base.ops;
    local_alloc = remote_ops.buffer_alloc;
    remote_ops.buffer_alloc = remote_alloc;
    remote_ops.stop = remote_stop;
    remote = cpu_device.base;
    remote.ops = &remote_ops;
    remote.builtin = NULL;
    strcpy(remote.info.name, "remote0");
    assert_non_null(gpu_module_add_builtin(&remote));
    assert_int_equal(gpu_device_add(&remote), 0);
}

/* ---- helpers --------------------------------------------------------------------------------------------------- */

static int start(void **state)
{
    static const struct file_source source = {.name = "slow", .open = slow_open};
    host_log_level(LOG_ERROR);
    host_cores_start(3);
    disk_bytes = calloc(1, DISK_BYTES);
    file_bytes = calloc(1, DISK_BYTES / 2);
    assert_int_equal(disk_add(&disk), 0);
    file_source_add(&source);
    assert_int_equal(gpu_start(), 0);
    remote_add();
    assert_int_equal(job_start(), 0);
    return 0;
}

/* Nothing may be left: no memory on a device, no handle of gpu.h but the built-in kernels'. */
static void assert_nothing_left(void)
{
    struct gpu_device_info info;
    gpu_device_info(gpu_device_find("cpu0"), &info);
    assert_int_equal(info.memory_used_bytes, 0);
    assert_int_equal(gpu_handle_count(GPU_HANDLE_BUFFER), 0);
    assert_int_equal(gpu_handle_count(GPU_HANDLE_QUEUE), 0);
    assert_int_equal(gpu_handle_count(GPU_HANDLE_TIMELINE), 0);
    assert_int_equal(flight_count, 0);
}

static int stop(void **state)
{
    assert_nothing_left();
    job_stop();
    gpu_stop();
    disk_remove(&disk);
    free(disk_bytes);
    free(file_bytes);
    return 0;
}

static uint64_t submit(const char *app, const char *arguments)
{
    struct job_problem problem;
    uint64_t id;
    yyjson_doc *parsed = yyjson_read(arguments, strlen(arguments), 0);
    assert_non_null(parsed);
    if (job_submit(app, yyjson_doc_get_root(parsed), &id, &problem) != 0)
        fail_msg("%s %s: %s", app, arguments, problem.detail);
    yyjson_doc_free(parsed);
    return id;
}

static yyjson_doc *finished(uint64_t id)
{
    uint64_t deadline = time_ns() + 60 * NS_PER_S;
    while (!job_has_ended(id)) {
        assert_true(time_ns() < deadline);
        uint32_t seen = event_read(job_event());
        if (!job_has_ended(id))
            event_wait(job_event(), seen, time_ns() + 100 * NS_PER_MS);
    }
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_doc_set_root(doc, job_describe(id, doc));
    size_t length;
    char *text = yyjson_mut_write(doc, 0, &length);
    yyjson_mut_doc_free(doc);
    yyjson_doc *parsed = yyjson_read(text, length, 0);
    free(text);
    return parsed;
}

static yyjson_val *at(yyjson_doc *doc, const char *pointer)
{
    return yyjson_doc_ptr_get(doc, pointer);
}

static const char *text_at(yyjson_doc *doc, const char *pointer)
{
    const char *text = yyjson_get_str(at(doc, pointer));
    return text != NULL ? text : "(none)";
}

static double number_at(yyjson_doc *doc, const char *pointer)
{
    yyjson_val *value = at(doc, pointer);
    if (!yyjson_is_num(value))
        fail_msg("no number at %s", pointer);
    return yyjson_get_num(value);
}

static yyjson_doc *succeed(const char *app, const char *arguments)
{
    yyjson_doc *doc = finished(submit(app, arguments));
    if (strcmp(text_at(doc, "/state"), "succeeded") != 0)
        fail_msg("%s %s: %s", app, arguments, text_at(doc, "/error/detail"));
    return doc;
}

static void assert_fails(const char *app, const char *arguments, const char *field,
                         const char *says)
{
    yyjson_doc *doc = finished(submit(app, arguments));
    if (strcmp(text_at(doc, "/state"), "failed") != 0 ||
        strstr(text_at(doc, "/error/detail"), says) == NULL ||
        (field != NULL && strcmp(text_at(doc, "/error/field"), field) != 0))
        fail_msg("%s %s: %s: field %s: %s", app, arguments, text_at(doc, "/state"),
                 text_at(doc, "/error/field"), text_at(doc, "/error/detail"));
    yyjson_doc_free(doc);
    assert_nothing_left();
}

static void hex_of(const void *data, uint64_t size_bytes, char hex[SHA256_HEX_BYTES])
{
    struct sha256 sha;
    uint8_t digest[SHA256_BYTES];
    sha256_start(&sha);
    sha256_add(&sha, data, size_bytes);
    sha256_end(&sha, digest);
    sha256_hex(digest, hex);
}

/* ---- load ------------------------------------------------------------------------------------------------------ */

/* Six tensors, one of them empty, one longer than many pieces, at odd offsets. */
static const char large_header[] =
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
    "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[3,3]},"
    "\"b\":{\"dtype\":\"U8\",\"shape\":[1048577],\"data_offsets\":[3,1048580]},"
    "\"c\":{\"dtype\":\"F16\",\"shape\":[4096,128],\"data_offsets\":[1048580,2097156]},"
    "\"d\":{\"dtype\":\"BF16\",\"shape\":[64,1000],\"data_offsets\":[2097156,2225156]}}";
#define LARGE_DATA_BYTES 2225156u

static void make_large_file(void)
{
    uint8_t *data = malloc(LARGE_DATA_BYTES);
    for (unsigned i = 0; i < LARGE_DATA_BYTES; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    make_file(large_header, data, LARGE_DATA_BYTES);
    free(data);
}

static void check_load(const char *device, uint32_t block_bytes, uint64_t pieces)
{
    disk.block_bytes = block_bytes;
    disk.block_count = DISK_BYTES / block_bytes;
    make_large_file();
    piece_bytes = pieces;
    char arguments[160], hex[SHA256_HEX_BYTES];
    snprintf(arguments, sizeof(arguments),
             "{\"file\":\"slow:/x\",\"verify\":\"sha256\",\"device\":\"%s\"}", device);
    yyjson_doc *doc = succeed("load", arguments);
    assert_string_equal(text_at(doc, "/result/device"), device);
    assert_string_equal(text_at(doc, "/result/format"), "safetensors");
    assert_true(number_at(doc, "/result/bytes") == (double)file_size);
    hex_of(file_bytes, file_size, hex);
    assert_string_equal(text_at(doc, "/result/sha256"), hex);
    assert_int_equal(yyjson_arr_size(at(doc, "/result/tensors")), 5);
    assert_int_equal(yyjson_arr_size(at(doc, "/warnings")), strcmp(device, "remote0") == 0 ? 1 : 0);

    struct model *model = model_acquire(text_at(doc, "/result/model"));
    assert_non_null(model);
    assert_memory_equal((void *)(uintptr_t)model->buffer->gva, file_bytes, file_size);
    for (unsigned i = 0; i < 5; i++) {
        const struct tensor *tensor = &model->weights->tensors[i];
        char pointer[64];
        snprintf(pointer, sizeof(pointer), "/result/tensors/%u/sha256", i);
        hex_of(file_bytes + tensor->file_offset, tensor->size_bytes, hex);
        assert_string_equal(text_at(doc, pointer), hex);
        snprintf(pointer, sizeof(pointer), "/result/tensors/%u/name", i);
        assert_string_equal(text_at(doc, pointer), tensor->name);
    }
    snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\"}", model->handle);
    yyjson_doc *busy = finished(submit("unload", arguments));
    assert_string_equal(text_at(busy, "/state"), "failed"); /* it is in use: by us */
    yyjson_doc_free(busy);
    model_release(model);
    yyjson_doc_free(succeed("unload", arguments));
    yyjson_doc_free(doc);
    assert_nothing_left();
    disk.block_bytes = 512;
    disk.block_count = DISK_BYTES / 512;
}

static void test_load(void **state)
{
    flight_most = 0;
    check_load("cpu0", 512, 40960);
    assert_true(flight_most >= 16); /* many reads in flight */
    check_load("cpu0", 512, 4096);
    check_load("cpu0", 4096, 4096);
    check_load("cpu0", 4096, UINT64_C(4) << 20); /* in one piece on the disk */
    check_load("remote0", 512, 40960);
    check_load("remote0", 4096, UINT64_C(4) << 20);
}

static void test_load_unverified(void **state)
{
    make_large_file();
    yyjson_doc *doc = succeed("load", "{\"file\":\"slow:/x\",\"device\":\"cpu0\"}");
    assert_true(yyjson_is_null(at(doc, "/result/sha256")));
    assert_string_equal(text_at(doc, "/result/verify"), "none");
    assert_null(at(doc, "/result/tensors/0/sha256"));
    assert_int_equal(model_remove(text_at(doc, "/result/model")), 0);
    yyjson_doc_free(doc);
}

static void test_load_expected_digest(void **state)
{
    make_large_file();
    char hex[SHA256_HEX_BYTES], arguments[200];
    hex_of(file_bytes, file_size, hex);
    snprintf(arguments, sizeof(arguments), "{\"file\":\"slow:/x\",\"sha256\":\"%s\"}", hex);
    yyjson_doc *doc = succeed("load", arguments);
    assert_int_equal(model_remove(text_at(doc, "/result/model")), 0);
    yyjson_doc_free(doc);
    file_bytes[file_size - 1] ^= 1;
    assert_fails("load", arguments, "sha256", "not the expected one");
}

static void test_load_bad_files(void **state)
{
    assert_fails("load", "{\"file\":\"slow:/y\"}", "file", "slow:/y: no such file");
    assert_fails("load", "{\"file\":\"nowhere:/x\"}", "file", "nowhere");
    make_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,5]}}", "abcde", 5);
    assert_fails("load", "{\"file\":\"slow:/x\"}", "file", "slow:/x: ");
    make_file("{}", "", 0);
    file_bytes[7] = 0x7f; /* a header of an absurd size */
    assert_fails("load", "{\"file\":\"slow:/x\"}", "file", "header");
    /* A tensor table that fits a file far larger than memory: the header is good, the device is too small. */
    make_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[1125899906842624],\"data_offsets\":[0,"
              "1125899906842624]}}",
              "", 0);
    claimed_size = data_offset() + 1125899906842624;
    assert_fails("load", "{\"file\":\"slow:/x\"}", "file", "bytes are free in one piece");
}

static void test_load_read_errors(void **state)
{
    for (int verify = 0; verify < 2; verify++) {
        make_large_file();
        fail_at = DISK_BYTES - 1200000; /* in the middle of the data */
        assert_fails("load",
                     verify ? "{\"file\":\"slow:/x\",\"verify\":\"sha256\"}"
                            : "{\"file\":\"slow:/x\"}",
                     "file", "Unrecovered Read Error (2/81h)");
        fail_at = DISK_BYTES - 40960; /* in the header */
        assert_fails("load", "{\"file\":\"slow:/x\",\"device\":\"remote0\"}", "file",
                     "Unrecovered Read Error");
        fail_at = UINT64_MAX;
    }
}

/* A drive that does not answer: the job is cancelled, and ends as soon as the reads in flight have come back. */
static void test_load_cancel(void **state)
{
    make_large_file();
    is_stalled = true;
    uint64_t id = submit("load", "{\"file\":\"slow:/x\",\"verify\":\"sha256\"}");
    for (uint64_t deadline = time_ns() + 20 * NS_PER_S; flight_count == 0;
         assert_true(time_ns() < deadline))
        task_sleep_until(time_ns() + NS_PER_MS);
    assert_int_equal(job_cancel(id), 0);
    uint64_t before = time_ns();
    is_stalled = false;
    yyjson_doc *doc = finished(id);
    assert_true(time_ns() - before < 100 * NS_PER_MS);
    assert_string_equal(text_at(doc, "/state"), "cancelled");
    yyjson_doc_free(doc);
    assert_nothing_left();
}

/* Every allocation of pages fails once, in turn: each time a clear error and nothing left behind. */
static void test_load_without_memory(void **state)
{
    make_large_file();
    for (int device = 0; device < 2; device++) {
        const char *arguments =
            device ? "{\"file\":\"slow:/x\",\"verify\":\"sha256\",\"device\":\"remote0\"}"
                   : "{\"file\":\"slow:/x\",\"verify\":\"sha256\",\"device\":\"cpu0\"}";
        unsigned failures = 0;
        for (int allowed = 0; allowed < 40; allowed++) {
            host_page_alloc_fail_after(allowed);
            yyjson_doc *doc = finished(submit("load", arguments));
            host_page_alloc_fail_after(-1);
            bool has_failed = strcmp(text_at(doc, "/state"), "failed") == 0;
            if (has_failed) {
                failures++;
                assert_true(strlen(text_at(doc, "/error/detail")) > 10);
            } else {
                assert_int_equal(model_remove(text_at(doc, "/result/model")), 0);
            }
            yyjson_doc_free(doc);
            assert_nothing_left();
            if (!has_failed)
                break;
        }
        assert_true(failures >= 2 && failures < 40);
    }
}

/* ---- stats, matmul --------------------------------------------------------------------------------------------- */

static const char small_header[] =
    "{\"f32\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[1,25]},"
    "\"pad\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},"
    "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[25,37]},"
    "\"nan\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[37,53]},"
    "\"none\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[53,53]},"
    "\"c64\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[53,61]}}";

/* f32 = [[1,2,3],[4,5,6]], at an odd address; bf16 = [[1,-1],[2,0.5],[0,3]] */
static void load_small(const char *device, char handle[24])
{
    const float f32[6] = {1, 2, 3, 4, 5, 6}, bf16[6] = {1, -1, 2, 0.5f, 0, 3},
                special[4] = {NAN, INFINITY, 2, -4};
    uint8_t data[61] = {0xfb};
    memcpy(data + 1, f32, sizeof(f32));
    for (int i = 0; i < 6; i++)
        memcpy(data + 25 + 2 * i, (const uint8_t *)&bf16[i] + 2, 2);
    memcpy(data + 37, special, sizeof(special));
    make_file(small_header, data, sizeof(data));
    char arguments[100];
    snprintf(arguments, sizeof(arguments), "{\"file\":\"slow:/x\",\"device\":\"%s\"}", device);
    yyjson_doc *doc = succeed("load", arguments);
    snprintf(handle, 24, "%s", text_at(doc, "/result/model"));
    yyjson_doc_free(doc);
}

static void check_compute(const char *device)
{
    char handle[24], arguments[200];
    load_small(device, handle);
    snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\"}", handle);
    yyjson_doc *doc = succeed("stats", arguments);
    assert_string_equal(text_at(doc, "/result/device"),
                        device); /* the model's, though none was named */
    assert_int_equal(yyjson_arr_size(at(doc, "/result/tensors")), 6);
    assert_string_equal(text_at(doc, "/result/tensors/0/name"), "pad");
    assert_true(number_at(doc, "/result/tensors/0/mean") == -5.0);
    assert_true(number_at(doc, "/result/tensors/0/stddev") == 0.0);
    assert_string_equal(text_at(doc, "/result/tensors/1/name"), "f32");
    assert_true(number_at(doc, "/result/tensors/1/count") == 6);
    assert_true(number_at(doc, "/result/tensors/1/min") == 1);
    assert_true(number_at(doc, "/result/tensors/1/max") == 6);
    assert_true(number_at(doc, "/result/tensors/1/mean") == 3.5);
    assert_true(fabs(number_at(doc, "/result/tensors/1/stddev") - sqrt(17.5 / 6)) < 1e-15);
    assert_true(fabs(number_at(doc, "/result/tensors/2/mean") - 5.5 / 6) < 1e-15);
    assert_true(number_at(doc, "/result/tensors/3/nan_count") == 1);
    assert_true(number_at(doc, "/result/tensors/3/infinite_count") == 1);
    assert_true(number_at(doc, "/result/tensors/3/mean") == -1);
    assert_true(number_at(doc, "/result/tensors/4/count") == 0);
    assert_true(yyjson_is_null(at(doc, "/result/tensors/4/mean")));
    assert_string_equal(text_at(doc, "/result/tensors/5/skipped"), "no kernel for this type");
    assert_non_null(strstr(text_at(doc, "/warnings/0"), "no kernel for C64"));
    yyjson_doc_free(doc);
    snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\",\"tensor\":\"bf16\"}", handle);
    doc = succeed("stats", arguments);
    assert_int_equal(yyjson_arr_size(at(doc, "/result/tensors")), 1);
    yyjson_doc_free(doc);

    /* [[1,2,3],[4,5,6]] x [[1,-1],[2,0.5],[0,3]] = [[5,9],[14,16.5]]; transposed: [[1,4],[2,5],[3,6]] x [[1,2,0],[-1,.5,3]] */
    snprintf(arguments, sizeof(arguments),
             "{\"model\":\"%s\",\"a\":\"f32\",\"b\":\"bf16\",\"check\":true}", handle);
    doc = succeed("matmul", arguments);
    assert_true(number_at(doc, "/result/m") == 2 && number_at(doc, "/result/n") == 2 &&
                number_at(doc, "/result/k") == 3);
    assert_true(number_at(doc, "/result/checksum") == 44.5);
    assert_true(number_at(doc, "/result/max_error") == 0.0);
    yyjson_doc_free(doc);
    snprintf(
        arguments, sizeof(arguments),
        "{\"model\":\"%s\",\"a\":\"f32\",\"b\":\"bf16\",\"transpose_a\":true,\"transpose_b\":true}",
        handle);
    doc = succeed("matmul", arguments);
    assert_true(number_at(doc, "/result/m") == 3 && number_at(doc, "/result/n") == 3 &&
                number_at(doc, "/result/k") == 2);
    assert_true(number_at(doc, "/result/checksum") == 6.0 * 3.0 + 15.0 * 2.5);
    assert_null(at(doc, "/result/max_error"));
    yyjson_doc_free(doc);
    snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\"}", handle);
    yyjson_doc_free(succeed("unload", arguments));
    assert_nothing_left();
}

static void test_compute(void **state)
{
    check_compute("cpu0");
    check_compute("remote0");
}

static void test_bad_compute(void **state)
{
    char handle[24];
    load_small("cpu0", handle);
    const struct {
        const char *app, *rest, *field, *says;
    } bad[] = {
        {"stats", "\"tensor\":\"q\"", "tensor", "no tensor \"q\""},
        {"matmul", "\"a\":\"f32\"", "b", "name its tensors"},
        {"matmul", "\"a\":\"f32\",\"b\":\"nope\"", "b", "no tensor \"nope\""},
        {"matmul", "\"a\":\"nan\",\"b\":\"f32\"", "a", "no matrix"},
        {"matmul", "\"a\":\"f32\",\"b\":\"f32\"", "b", "A is 2 x 3 and B is 2 x 3"},
        {"matmul", "\"a\":\"f32\",\"b\":\"bf16\",\"m\":5", "m", "for random matrices"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        char arguments[200];
        snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\",%s}", handle, bad[i].rest);
        yyjson_doc *doc = finished(submit(bad[i].app, arguments));
        if (strcmp(text_at(doc, "/state"), "failed") != 0 ||
            strcmp(text_at(doc, "/error/field"), bad[i].field) != 0 ||
            strstr(text_at(doc, "/error/detail"), bad[i].says) == NULL)
            fail_msg("%s: %s: %s", arguments, text_at(doc, "/error/field"),
                     text_at(doc, "/error/detail"));
        yyjson_doc_free(doc);
    }
    yyjson_doc *doc = finished(submit("matmul", "{\"a\":\"f32\",\"b\":\"f32\"}"));
    assert_string_equal(text_at(doc, "/error/field"), "model");
    yyjson_doc_free(doc);
    struct job_problem problem;
    char arguments[100];
    uint64_t id;
    snprintf(arguments, sizeof(arguments), "{\"model\":\"%s\",\"device\":\"remote0\"}", handle);
    yyjson_doc *parsed = yyjson_read(arguments, strlen(arguments), 0);
    assert_int_equal(job_submit("stats", yyjson_doc_get_root(parsed), &id, &problem), -EINVAL);
    assert_non_null(strstr(problem.detail, "is on cpu0, not on remote0"));
    yyjson_doc_free(parsed);
    assert_int_equal(model_remove(handle), 0);
}

/* Random matrices are the same everywhere, and so is their product on one instruction set. */
static void test_random_product(void **state)
{
    yyjson_doc *one = succeed(
        "matmul", "{\"m\":65,\"n\":33,\"k\":257,\"seed\":7,\"check\":true,\"device\":\"cpu0\"}");
    yyjson_doc *two = succeed(
        "matmul", "{\"m\":65,\"n\":33,\"k\":257,\"seed\":7,\"check\":true,\"device\":\"remote0\"}");
    yyjson_doc *other = succeed("matmul", "{\"m\":65,\"n\":33,\"k\":257,\"seed\":8}");
    assert_string_equal(text_at(one, "/result/fingerprint"), text_at(two, "/result/fingerprint"));
    assert_string_not_equal(text_at(one, "/result/fingerprint"),
                            text_at(other, "/result/fingerprint"));
    double error = number_at(one, "/result/max_error");
    assert_true(error > 0 && error < 1e-4);
    yyjson_doc_free(one);
    yyjson_doc_free(two);
    yyjson_doc_free(other);
    assert_nothing_left();
}

static void test_matmul_cancel(void **state)
{
    uint64_t id = submit("matmul", "{\"m\":8192,\"n\":8192,\"k\":8192,\"device\":\"cpu0\"}");
    task_sleep_until(time_ns() + 50 * NS_PER_MS);
    uint64_t before = time_ns();
    assert_int_equal(job_cancel(id), 0);
    yyjson_doc *doc = finished(id);
    uint64_t took_ms = (time_ns() - before) / NS_PER_MS;
    assert_string_equal(text_at(doc, "/state"), "cancelled");
    if (took_ms >
        1000) /* 100 ms on a machine of one's own; this one is shared, and sanitizers are slow */
        fail_msg("the cancel took %u ms", (unsigned)took_ms);
    yyjson_doc_free(doc);
    assert_nothing_left();
}

/* ---- bench, selftest ------------------------------------------------------------------------------------------- */

static void test_bench(void **state)
{
    yyjson_doc *doc = succeed("bench", "{\"seconds\":0.02,\"device\":\"cpu0\"}");
    assert_string_equal(text_at(doc, "/result/nvme/disk"), "slow");
    assert_true(number_at(doc, "/result/nvme/sequential/bytes_per_second") > 0);
    assert_true(number_at(doc, "/result/nvme/random_4k_qd1/iops") > 0);
    assert_true(number_at(doc, "/result/nvme/random_4k_qd32/iops") > 0);
    assert_true(number_at(doc, "/result/memory/copy_bytes_per_second") > 0);
    assert_true(number_at(doc, "/result/launch/latency_ns_median") > 0);
    assert_true(number_at(doc, "/result/launch/launches_per_second") > 0);
    yyjson_doc_free(doc);
    assert_nothing_left();
    assert_fails("bench", "{\"test\":\"nvme\",\"disk\":\"nope\"}", "disk", "no disk nope");
    assert_fails("bench", "{\"seconds\":0}", "seconds", "0.01 to 60");
    fail_at = 0;
    assert_fails("bench", "{\"test\":\"nvme\",\"seconds\":0.02}", "disk", "Unrecovered Read Error");
    fail_at = UINT64_MAX;
}

static void test_selftest_remote(void **state)
{
    yyjson_doc_free(succeed("selftest", "{\"device\":\"remote0\"}"));
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_load_unverified),
        cmocka_unit_test(test_load_expected_digest),
        cmocka_unit_test(test_load_bad_files),
        cmocka_unit_test(test_load_read_errors),
        cmocka_unit_test(test_load_cancel),
        cmocka_unit_test(test_load_without_memory),
        cmocka_unit_test(test_compute),
        cmocka_unit_test(test_bad_compute),
        cmocka_unit_test(test_random_product),
        cmocka_unit_test(test_matmul_cancel),
        cmocka_unit_test(test_bench),
        cmocka_unit_test(test_selftest_remote),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
