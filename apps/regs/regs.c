/*
 * apps/regs/regs.c: the registers of a GPU by name, to see where a bring-up stands. Reads only, and only the registers
 * that the device's driver names (gpu_registers()); the reply says which blocks and where they are. Works on a GPU that
 * could not be started, and needs no turn on one that runs.
 */
#include "kernel/kernel.h"
#include "runtime/job/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct listing {
    yyjson_mut_doc *doc;
    yyjson_mut_val *blocks, *registers; /* of the block that is being filled */
    const char *block;
    unsigned count, errors;
    bool is_good; /* no allocation has failed */
};

static bool add_hex(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, uint32_t value)
{
    char text[12];
    snprintf(text, sizeof(text), "0x%08" PRIx32, value);
    return yyjson_mut_obj_add_strcpy(doc, object, name, text);
}

static void add_register(void *arg, const struct gpu_register *reg)
{
    struct listing *list = arg;
    yyjson_mut_doc *doc = list->doc;
    if (!list->block || strcmp(list->block, reg->block) != 0) {
        yyjson_mut_val *block = yyjson_mut_arr_add_obj(doc, list->blocks);
        list->is_good &= yyjson_mut_obj_add_str(doc, block, "name", reg->block);
        list->registers = yyjson_mut_obj_add_arr(doc, block, "registers");
        list->block = reg->block;
    }
    yyjson_mut_val *out = yyjson_mut_arr_add_obj(doc, list->registers);
    list->is_good &= add_hex(doc, out, "offset", reg->offset) &&
                     yyjson_mut_obj_add_strcpy(doc, out, "name", reg->name) &&
                     add_hex(doc, out, "value", reg->value) &&
                     yyjson_mut_obj_add_bool(doc, out, "readable", !reg->is_error);
    list->count++;
    list->errors += reg->is_error;
}

/* The named device, or the first that has registers to show. */
static struct gpu_device *choose(const char *name, const char *block, struct listing *list,
                                 int *error)
{
    struct gpu_device *device = NULL;
    if (name) {
        device = gpu_device_find(name);
        *error = device ? gpu_registers(device, block, add_register, list) : -ENODEV;
        return device;
    }
    *error = -ENOTSUP;
    for (unsigned i = 0; *error == -ENOTSUP && (device = gpu_device_get(i)); i++)
        *error = gpu_registers(device, block, add_register, list);
    return device;
}

static int run(struct job *job)
{
    const char *name = job_string(job, "gpu"), *block = job_string(job, "block");
    struct listing list = {.doc = job_document(job), .is_good = true};
    list.blocks = yyjson_mut_arr(list.doc);
    int error;
    struct gpu_device *device = choose(name, block, &list, &error);
    if (!device)
        return job_fail(job, error, "gpu",
                        name ? "there is no device \"%s\"; /v1/devices lists those that are there"
                             : "there is no GPU in this machine that Ingot knows",
                        name ? name : "");
    if (error)
        return job_fail(job, error, error == -ENOENT ? "block" : "gpu", "%s", gpu_error());

    struct gpu_device_info info;
    gpu_device_info(device, &info);
    yyjson_mut_val *result = job_result(job);
    bool is_good = list.is_good && yyjson_mut_obj_add_strcpy(list.doc, result, "gpu", info.name) &&
                   yyjson_mut_obj_add_strcpy(list.doc, result, "pci", info.pci_name) &&
                   yyjson_mut_obj_add_uint(list.doc, result, "registers", list.count) &&
                   yyjson_mut_obj_add_uint(list.doc, result, "unreadable", list.errors) &&
                   yyjson_mut_obj_add_val(list.doc, result, "blocks", list.blocks);
    return is_good ? 0 : job_fail(job, -ENOMEM, NULL, "no memory for the result");
}

INGOT_APP(regs, "Registers of a GPU by name; reads only", run, APP_IMMEDIATE,
          ARG_STRING("gpu", "device, such as nvidia0; the first GPU if left out", .length_max = 15),
          ARG_STRING("block", "one block, such as gsp; all if left out", .length_max = 31));
