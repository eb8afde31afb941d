/*
 * tests/fuzz/fuzz_http.c: bytes from the network into the HTTP server, with every route reachable (no token asked
 * for). The first byte says in what pieces the rest arrives and how much of the output is taken at a time.
 *
 * Checked: what the sanitizers see, that no call takes more than it was offered, that a connection never gets
 * stuck with input it takes nothing of and no output, and that every reply starts like one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu.h"
#include "runtime/config/config.h"
#include "runtime/http/connection.h"
#include "runtime/job/job.h"
#include "tests/host/host.h"

#define TURNS_MAX 100000

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    host_log_level(LOG_ERROR);
    host_clock_fake(true);
    wall_clock_set_ns(INT64_C(1795200000) * (int64_t)NS_PER_S);
    config.auth_required = false;
    if (gpu_start() || job_start() || http_start())
        abort();
    for (unsigned part = 0; part < HTTP_PART_COUNT; part++)
        http_set_ready((enum http_part)part, NULL);
    return 0;
}

/* Take output, at most piece bytes. Returns how many. */
static size_t take(struct http_connection *c, size_t piece, bool *is_first)
{
    const void *output;
    bool is_static;
    size_t size_bytes = min_u64(http_connection_output(c, &output, &is_static), piece);
    if (size_bytes == 0)
        return 0;
    if (*is_first && memcmp(output, "HTTP/1.1 ", min_u64(size_bytes, 9)) != 0)
        abort();
    *is_first = false;
    http_connection_sent(c, size_bytes);
    return size_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes < 1)
        return 0;
    size_t in_piece = data[0] & 15 ? data[0] & 15 : SIZE_MAX,
           out_piece = data[0] >> 4 ? 16u * (data[0] >> 4) : SIZE_MAX;
    struct http_connection *c = http_connection_open(1);
    if (!c)
        abort();
    size_t fed = 1;
    bool is_first = true, has_ended = false;
    enum http_next next = HTTP_GO_ON;
    for (unsigned turn = 0; turn < TURNS_MAX && next != HTTP_CLOSE; turn++) {
        size_t offered = min_u64(in_piece, size_bytes - fed), taken = 0;
        if (offered > 0) {
            char *copy = malloc(offered); /* so that a read past the end is seen */
            memcpy(copy, data + fed, offered);
            taken = http_connection_receive(c, copy, offered);
            free(copy);
            if (taken > offered)
                abort();
            fed += taken;
        } else if (!has_ended) {
            http_connection_input_ended(c);
            has_ended = true;
        }
        next = http_connection_poll(c);
        size_t sent = next == HTTP_CLOSE ? 0 : take(c, out_piece, &is_first);
        if (taken == 0 && sent == 0 && offered == 0)
            task_sleep_until(time_ns() + NS_PER_S); /* a job, a directory, a deadline */
    }
    if (next != HTTP_CLOSE)
        abort(); /* with its input at an end and its output taken, every connection comes to one */
    http_connection_close(c);
    return 0;
}
