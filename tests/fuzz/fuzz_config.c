/* tests/fuzz/fuzz_config.c: ingot.conf. Whatever it says, the configuration that comes out is one that the rest can
 * live with. */
#include <stdlib.h>
#include <string.h>

#include "runtime/config/config.h"
#include "runtime/volume/text.h"
#include "tests/host/host.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void warn(void *arg, unsigned line, const char *message)
{
    ++*(unsigned *)arg;
    check(strlen(message) > 0 && strlen(message) < 200 && utf8_is_valid(message, strlen(message)));
    (void)line;
}

static void check_text(const char *text, size_t capacity)
{
    check(strnlen(text, capacity) < capacity);
    for (size_t i = 0; text[i]; i++)
        check(text[i] > 0x20 && text[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config out;
    unsigned warnings = 0;
    memset(&out, 0xaa, sizeof(out));
    config_parse((const char *)data, size, &out, warn, &warnings);
    check(warnings <= size + 3);
    check_text(out.hostname, sizeof(out.hostname));
    check(out.hostname[0] != 0);
    check_text(out.token, sizeof(out.token));
    check(out.token[0] == 0 || strlen(out.token) >= 8);
    check_text(out.ntp_server, sizeof(out.ntp_server));
    check_text(out.cors_origin, sizeof(out.cors_origin));
    check_text(out.allowed_hosts, sizeof(out.allowed_hosts));
    check(out.http_port != 0 && out.restart_seconds <= 86400 && out.queue_jobs_max >= 1 &&
          out.queue_jobs_max <= 1024);
    check((out.address == 0) == (out.netmask == 0));
    check(out.dhcp || out.address != 0);
    return 0;
}
