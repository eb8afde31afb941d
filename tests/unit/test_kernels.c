/*
 * tests/unit/test_kernels.c: the selftest app, which compares every kernel with its reference, on each instruction set that
 * this machine has, with fresh inputs; and that the selftest notices a kernel that is wrong. On a single core, where
 * kernels, jobs and their waiter share core 0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/cpu/cpu.h"
#include "gpu/kernels/kernels.h"
#include "runtime/job/job.h"
#include "tests/host/host.h"

static int start(void **state)
{
    host_log_level(LOG_ERROR);
    assert_int_equal(gpu_start(), 0);
    assert_int_equal(job_start(), 0);
    return 0;
}

static int stop(void **state)
{
    job_stop();
    gpu_stop();
    return 0;
}

/* Run the selftest; returns the finished job as JSON, to be freed. */
static char *selftest(const char *arguments)
{
    struct job_problem problem;
    yyjson_doc *parsed = NULL;
    uint64_t id;
    assert_int_equal(json_parse(arguments, strlen(arguments), &parsed, &problem), 0);
    assert_int_equal(job_submit("selftest", yyjson_doc_get_root(parsed), &id, &problem), 0);
    yyjson_doc_free(parsed);
    while (!job_has_ended(id)) {
        uint32_t seen = event_read(job_event());
        if (!job_has_ended(id))
            event_wait(job_event(), seen, time_ns() + NS_PER_S);
    }
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_doc_set_root(doc, job_describe(id, doc));
    char *text = yyjson_mut_write(doc, 0, NULL);
    yyjson_mut_doc_free(doc);
    return text;
}

static void check_instruction_set(const char *name)
{
    cpu_kernels_use(name);
    char *text = selftest("{\"device\":\"cpu0\"}");
    if (strstr(text, "\"state\":\"succeeded\"") == NULL)
        fail_msg("%s: %s", name, text);
    char architecture[64];
    snprintf(architecture, sizeof(architecture), "\"architecture\":\"%s\"", name);
    assert_non_null(strstr(text, architecture));
    /* Every kernel with a reference was there: 6 plain ones, 2 for each element type, the product. */
    unsigned kernels = 0;
    for (const char *at = text; (at = strstr(at, "\"kernel\":")) != NULL; at++)
        kernels++;
    assert_int_equal(kernels, 6 + 2 * 21 + 1);
    const char *seed = strstr(text, "\"seed\":");
    print_message("%s: %.24s\n", name, seed != NULL ? seed : "?");
    free(text);
}

static void test_sse2(void **state)
{
    check_instruction_set("sse2");
}

static void test_avx2(void **state)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        print_message("this CPU has no AVX2: its kernels cannot be run here\n");
        return;
    }
    check_instruction_set("avx2");
}

static void test_avx512(void **state)
{
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
        print_message("this CPU has no AVX-512: its kernels cannot be run here\n");
        return;
    }
    check_instruction_set("avx512");
}

/* ---- wrong kernels --------------------------------------------------------------------------------------------- */

static kernel_function *right;

/* Misses the last element. */
static void short_one(const void *args, const struct kernel_block *block)
{
    struct fill_args copy = *(const struct fill_args *)args;
    copy.count--;
    right(&copy, block);
}

/* Writes one element too many. */
static void long_one(const void *args, const struct kernel_block *block)
{
    right(args, block);
    const struct fill_args *fill = args;
    fill->out[fill->count] = 0;
}

/* Off by one unit in the last place, in one element. */
static void nearly_right(const void *args, const struct kernel_block *block)
{
    right(args, block);
    const struct vector_add_args *add = args;
    uint32_t bits;
    memcpy(&bits, &add->out[0], sizeof(bits));
    bits++;
    memcpy(&add->out[0], &bits, sizeof(bits));
}

/* A product that forgets its last column of A. */
static void short_depth(const void *args, const struct kernel_block *block)
{
    struct sgemm_args copy = *(const struct sgemm_args *)args;
    copy.k--;
    right(&copy, block);
}

static void check_is_noticed(const char *kernel, kernel_function *wrong)
{
    struct gpu_kernel *found;
    assert_int_equal(gpu_kernel_find(gpu_module_builtin(gpu_device_find("cpu0")), kernel, &found),
                     0);
    struct cpu_kernel *replaced = (struct cpu_kernel *)found;
    right = replaced->function;
    replaced->function = wrong;
    char *text = selftest("{\"device\":\"cpu0\"}");
    replaced->function = right;
    char detail[64];
    snprintf(detail, sizeof(detail), "\"detail\":\"%s ", kernel);
    if (strstr(text, "\"state\":\"failed\"") == NULL || strstr(text, detail) == NULL)
        fail_msg("a wrong %s was not noticed: %s", kernel, text);
    free(text);
}

static void test_wrong_kernels_are_noticed(void **state)
{
    cpu_kernels_use("sse2");
    check_is_noticed("fill", short_one);
    check_is_noticed("fill", long_one);
    check_is_noticed("vector_add", nearly_right);
    check_is_noticed("sgemm", short_depth);
}

static void test_seed_is_used(void **state)
{
    cpu_kernels_use("sse2");
    char *text = selftest("{\"device\":\"cpu0\",\"seed\":4711}");
    assert_non_null(strstr(text, "\"seed\":4711"));
    free(text);
}

/* The generator is the same for everybody; these are its first values for seed 1. */
static void test_random_bits(void **state)
{
    assert_int_equal(mix64(0), 0);
    assert_true(mix64(MIX64_STEP) ==
                UINT64_C(0xe220a8397b1dcdaf)); /* SplitMix64's first output for seed 0 */
    assert_true(mix64(2 * MIX64_STEP) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(random_bits(1, 0) != random_bits(1, 1));
    assert_true(random_bits(1, 0) != random_bits(2, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sse2),         cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),       cmocka_unit_test(test_wrong_kernels_are_noticed),
        cmocka_unit_test(test_seed_is_used), cmocka_unit_test(test_random_bits),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
