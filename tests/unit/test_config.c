/* tests/unit/test_config.c: ingot.conf, as people write it and as editors mangle it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/config/config.h"
#include "tests/host/host.h"

static struct config parsed;
static char warnings[4096]; /* "LINE: MESSAGE|" each */

static void warn(void *arg, unsigned line, const char *message)
{
    assert_ptr_equal(arg, warnings);
    size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof(warnings) - used, "%u: %s|", line, message);
}

static void parse_bytes(const char *text, size_t size)
{
    char *copy = malloc(size + 1); /* exactly as large as it is said to be */
    memcpy(copy, text, size);
    char *exact = realloc(copy, size ? size : 1);
    warnings[0] = 0;
    memset(&parsed, 0xaa, sizeof(parsed));
    config_parse(exact, size, &parsed, warn, warnings);
    free(exact);
}

static void parse(const char *text)
{
    parse_bytes(text, strlen(text));
}

static uint32_t ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    uint8_t bytes[4] = {a, b, c, d};
    uint32_t address;
    memcpy(&address, bytes, 4);
    return address;
}

static void test_defaults(void **state)
{
    (void)state;
    parse("");
    assert_string_equal(warnings, "");
    assert_string_equal(parsed.hostname, "ingot");
    assert_string_equal(parsed.token, "");
    assert_true(parsed.auth_required && parsed.dhcp && parsed.mdns);
    assert_int_equal(parsed.address | parsed.netmask | parsed.gateway | parsed.dns, 0);
    assert_string_equal(parsed.ntp_server, "");
    assert_int_equal(parsed.http_port, 80);
    assert_string_equal(parsed.cors_origin, "");
    assert_string_equal(parsed.allowed_hosts, "");
    assert_int_equal(parsed.restart_seconds, 10);
    assert_int_equal(parsed.queue_jobs_max, 64);
    assert_memory_equal(&parsed, &config, sizeof(config)); /* what it is before config_start() */
}

static void test_every_key(void **state)
{
    (void)state;
    parse("hostname = box-7\n"
          "token=abc-DEF_123.~+/==\n"
          "auth = none\n"
          "network = static\n"
          "address\t=\t192.168.7.20/24   # ours\n"
          "gateway = 192.168.7.1\n"
          "dns = 9.9.9.9\n"
          "ntp = time.example.org\n"
          "port = 8080\n"
          "cors_origin = https://example.org:8443\n"
          "hosts = gpu.example.org, box , x.local\n"
          "restart_after_panic = 0\n"
          "job_queue = 1\n"
          "mdns = off");
    assert_string_equal(warnings, "0: auth = none: the token is not asked for|");
    assert_string_equal(parsed.hostname, "box-7");
    assert_string_equal(parsed.token, "abc-DEF_123.~+/==");
    assert_false(parsed.auth_required || parsed.dhcp || parsed.mdns);
    assert_int_equal(parsed.address, ipv4(192, 168, 7, 20));
    assert_int_equal(parsed.netmask, ipv4(255, 255, 255, 0));
    assert_int_equal(parsed.gateway, ipv4(192, 168, 7, 1));
    assert_int_equal(parsed.dns, ipv4(9, 9, 9, 9));
    assert_string_equal(parsed.ntp_server, "time.example.org");
    assert_int_equal(parsed.http_port, 8080);
    assert_string_equal(parsed.cors_origin, "https://example.org:8443");
    assert_string_equal(parsed.allowed_hosts, "gpu.example.org,box,x.local");
    assert_int_equal(parsed.restart_seconds, 0);
    assert_int_equal(parsed.queue_jobs_max, 1);
}

static void test_line_forms(void **state)
{
    (void)state;
    parse("\xef\xbb\xbf# a comment\r\n\r\n   \t \r\n  port   =  81  \r\n#port = "
          "82\nhostname=a#b\nhostname=ab #b\ntoken=with#inside\n");
    assert_int_equal(parsed.http_port, 81);
    assert_string_equal(parsed.hostname, "ab");
    /* '#' within a word is part of the value, and not one that these values may have. */
    assert_non_null(strstr(warnings, "6: hostname: the value should be"));
    assert_non_null(strstr(warnings, "8: token: the value should be letters"));
    assert_null(strstr(warnings, "with")); /* no token in a warning */

    parse("port = 81\nport = 82\nport = 0\n");
    assert_int_equal(parsed.http_port, 82);
    assert_string_equal(warnings, "2: port is set again; line 1 no longer counts|3: port: the "
                                  "value should be a number from 1 to 65535; "
                                  "ignored|");
    parse("Port = 81\nprt = 80\nport\nport 81\n= 5\n\x01=\n\xff = 1\n");
    assert_int_equal(parsed.http_port, 80);
    assert_string_equal(warnings, "1: unknown key \"Port\"; ignored|2: unknown key \"prt\"; "
                                  "ignored|3: not a line of the form `key = "
                                  "value`; ignored|4: not a line of the form `key = value`; "
                                  "ignored|5: unknown key \"\"; ignored|6: has a "
                                  "control character in it; ignored|7: is not UTF-8; ignored|");
    static const char with_nul[] = "port = 81\0\nport = 82";
    parse_bytes(with_nul, sizeof(with_nul) - 1);
    assert_int_equal(parsed.http_port, 82);
    assert_string_equal(warnings, "1: has a control character in it; ignored|");
}

static void test_long_lines_and_files(void **state)
{
    (void)state;
    static char text[2000000];
    memset(text, 'x', 1024);
    strcpy(text + 1024, "\nport = 81\n");
    parse(text);
    assert_non_null(strstr(warnings, "1: not a line"));
    assert_int_equal(parsed.http_port, 81);
    memset(text, 'x', 1025);
    strcpy(text + 1025, "\nport = 81\n");
    parse(text);
    assert_string_equal(warnings, "1: longer than 1024 bytes; ignored|");
    assert_int_equal(parsed.http_port, 81);
    memset(text, '\n', sizeof(text) - 20);
    strcpy(text + sizeof(text) - 20, "port = 81\n");
    parse(text);
    assert_non_null(strstr(warnings, "0: the file is larger than 1048576 bytes"));
    assert_int_equal(parsed.http_port, 80);
}

static void test_bad_values(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "hostname = ",
        "hostname = -a",
        "hostname = a-",
        "hostname = a.b",
        "hostname = a b",
        "hostname = \xc3\xa4",
        "hostname = a123456789b123456789c123456789d123456789e123456789f123456789g123",
        "token = short",
        "token = with space",
        "token = quote\"quote",
        "token = \xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4",
        "auth = yes",
        "auth = ",
        "auth = Token",
        "network = DHCP",
        "mdns = 1",
        "address = 192.168.1.20",
        "address = 192.168.1.20/",
        "address = 192.168.1.20/0",
        "address = 192.168.1.20/31",
        "address = 192.168.1.20/24x",
        "address = 192.168.1.256/24",
        "address = 192.168.1/24",
        "address = 1.2.3.4.5/24",
        "address = 192.168.1.0/24",
        "address = 192.168.1.255/24",
        "address = 127.0.0.1/8",
        "address = 224.0.0.1/24",
        "address = 0.0.0.1/24",
        "address = 192.168.01.20/24",
        "address = -1.2.3.4/24",
        "address = 192.168.1.20/024",
        "address = 4294967488.168.1.20/24",
        "address = 192 .168.1.20/24",
        "gateway = 192.168.1",
        "gateway = 255.255.255.255",
        "dns = 1.2.3.4/24",
        "dns = a.b.c.d",
        "ntp = a..b",
        "ntp = a_b",
        "ntp = .",
        "port = 0",
        "port = 65536",
        "port = 4294967297",
        "port = 080",
        "port = 80a",
        "port = -1",
        "port = 0x50",
        "cors_origin = *",
        "cors_origin = example.org",
        "cors_origin = https://",
        "cors_origin = https://a/b",
        "cors_origin = https://a:0",
        "cors_origin = https://a:b",
        "cors_origin = https://a:",
        "hosts = a b_c",
        "hosts = -",
        "restart_after_panic = 86401",
        "job_queue = 0",
        "job_queue = 1025",
        "job_queue = 18446744073709551617",
    };
    struct config defaults;
    parse("");
    defaults = parsed;
    for (unsigned i = 0; i < ARRAY_COUNT(lines); i++) {
        parse(lines[i]);
        if (!strstr(warnings, "1: ") || !strstr(warnings, "the value should be"))
            fail_msg("%s: warnings \"%s\"", lines[i], warnings);
        assert_memory_equal(&parsed, &defaults, sizeof(parsed));
    }
}

static void test_limits(void **state)
{
    (void)state;
    char line[400];
    memset(line, 'a', sizeof(line));
    memcpy(line, "token = ", 8);
    line[8 + 128] = 0;
    parse(line);
    assert_string_equal(warnings, "");
    assert_int_equal(strlen(parsed.token), 128);
    line[8 + 128] = 'a';
    line[8 + 129] = 0;
    parse(line);
    assert_non_null(strstr(warnings, "8 to 128 characters"));

    memcpy(line, "hosts = ", 8);
    for (unsigned i = 0; i < 255; i++)
        line[8 + i] = i % 20 == 19 ? ',' : 'h';
    line[8 + 255] = 0;
    parse(line);
    assert_string_equal(warnings, "");
    assert_int_equal(strlen(parsed.allowed_hosts), 255);
    line[8 + 255] = 'h';
    line[8 + 256] = 0;
    parse(line);
    assert_non_null(strstr(warnings, "at most 255"));
    parse("hosts = , ,\ncors_origin =\nntp =\ntoken =\n");
    assert_string_equal(warnings, "");
    parse("address = 10.0.0.1/30\naddress = 10.0.0.1/8");
    assert_int_equal(parsed.netmask, ipv4(255, 0, 0, 0));
}

static void test_values_that_disagree(void **state)
{
    (void)state;
    parse("network = static\n");
    assert_true(parsed.dhcp);
    assert_string_equal(warnings, "0: network = static needs an address; using dhcp|");
    parse("network = static\naddress = 10.1.2.3/16\ngateway = 10.2.0.1\n");
    assert_int_equal(parsed.gateway, 0);
    assert_false(parsed.dhcp);
    assert_string_equal(warnings, "0: the gateway is not in the network of the address; ignored|");
}

static void test_start_warns_in_the_log(void **state)
{
    (void)state;
    static const char text[] = "hostname = lab\nfoo = bar\n";
    config_start(text, strlen(text));
    assert_string_equal(config.hostname, "lab");
    struct log_line line;
    bool seen = false;
    for (uint64_t next = 1; log_read(next, &line); next = line.sequence + 1)
        seen = seen || strcmp(line.text, "ingot.conf line 2: unknown key \"foo\"; ignored") == 0;
    assert_true(seen);
}

int main(void)
{
    host_log_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_line_forms),
        cmocka_unit_test(test_long_lines_and_files),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_values_that_disagree),
        cmocka_unit_test(test_start_warns_in_the_log),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
