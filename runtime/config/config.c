/*
 * runtime/config/config.c: ingot.conf, from text to struct config.
 *
 * A line is `key = value`; white space around both is dropped, and # starts a comment at the start of a line or after
 * white space (so a token may contain one). What is wrong with a line becomes a warning with its number, and the line
 * counts as absent. A key that comes again wins over the earlier one, with a warning. Warnings never quote a value: it
 * may be a token.
 */
#include "runtime/config/config.h"

#include "kernel/kernel.h"
#include "runtime/volume/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX 1024
#define FILE_BYTES_MAX (1u << 20) /* more than this is no configuration */

#define CONFIG_DEFAULTS \
    {.hostname = "ingot", \
     .auth_required = true, \
     .dhcp = true, \
     .http_port = 80, \
     .restart_seconds = 10, \
     .queue_jobs_max = 64, \
     .mdns = true}

static const struct config defaults = CONFIG_DEFAULTS;
SEALED struct config config = CONFIG_DEFAULTS;

/* ---- values: each returns NULL, or what the value should have been, and leaves *out alone then ------------------ */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* A DNS name (RFC 1123, 2.1): labels of letters, digits and inner hyphens, at most 63 bytes each. */
static bool is_host_name(const char *name, size_t length)
{
    size_t label = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i == length || name[i] == '.') {
            if (label == 0 || label > 63 || name[i - 1] == '-')
                return false;
            label = 0;
        } else {
            if (!is_letter_or_digit(name[i]) && !(name[i] == '-' && label > 0))
                return false;
            label++;
        }
    }
    return true;
}

static const char *parse_text(const char *value, char *out, size_t out_bytes)
{
    size_t length = strlen(value);
    if (length >= out_bytes)
        return "shorter";
    memcpy(out, value, length + 1);
    return NULL;
}

static const char *parse_choice(const char *value, const char *yes, const char *no, bool *out,
                                const char *wanted)
{
    if (strcmp(value, yes) != 0 && strcmp(value, no) != 0)
        return wanted;
    *out = strcmp(value, yes) == 0;
    return NULL;
}

static bool parse_number(const char **text, uint32_t maximum, uint32_t *out)
{
    const char *at = *text;
    uint32_t value = 0;
    if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
        return false; /* leading zeros mean octal to some programs and decimal to others */
    for (; *at >= '0' && *at <= '9'; at++) {
        uint32_t digit = (uint32_t)(*at - '0');
        if (value > (maximum - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *text = at;
    *out = value;
    return true;
}

static const char *parse_uint(const char *value, uint32_t minimum, uint32_t maximum, uint32_t *out,
                              const char *wanted)
{
    uint32_t number;
    if (!parse_number(&value, maximum, &number) || *value != 0 || number < minimum)
        return wanted;
    *out = number;
    return NULL;
}

/* a.b.c.d at *text, which moves behind it. *out in network byte order. */
static bool parse_ipv4(const char **text, uint32_t *out)
{
    uint8_t bytes[4];
    for (unsigned i = 0; i < 4; i++) {
        uint32_t byte;
        if (i > 0 && *(*text)++ != '.')
            return false;
        if (!parse_number(text, 255, &byte))
            return false;
        bytes[i] = (uint8_t)byte;
    }
    memcpy(out, bytes, sizeof(bytes));
    return true;
}

/* A unicast address: not 0.x.x.x, loopback, multicast or reserved. */
static bool is_unicast(uint32_t address)
{
    uint8_t first;
    memcpy(&first, &address, 1); /* network byte order */
    return first != 0 && first != 127 && first < 224;
}

static const char *parse_address(const char *value, uint32_t *out)
{
    uint32_t address;
    if (!parse_ipv4(&value, &address) || *value != 0 || !is_unicast(address))
        return "an IPv4 address such as 192.168.1.1";
    *out = address;
    return NULL;
}

static const char *parse_address_and_mask(const char *value, uint32_t *address_out,
                                          uint32_t *netmask_out)
{
    static const char wanted[] = "an IPv4 address with its prefix length, such as 192.168.1.20/24";
    uint32_t address, length;
    if (!parse_ipv4(&value, &address) || *value++ != '/' || !parse_number(&value, 30, &length) ||
        *value != 0 || length == 0 || !is_unicast(address))
        return wanted;
    uint32_t mask = ~UINT32_C(0) << (32 - length);
    uint8_t bytes[4] = {(uint8_t)(mask >> 24), (uint8_t)(mask >> 16), (uint8_t)(mask >> 8),
                        (uint8_t)mask};
    uint32_t netmask;
    memcpy(&netmask, bytes, sizeof(bytes));
    if ((address & ~netmask) == 0 || (address & ~netmask) == ~netmask)
        return "the address of a machine: this one is the network's own, or its broadcast address";
    *address_out = address;
    *netmask_out = netmask;
    return NULL;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

static const char *set_hostname(struct config *out, const char *value)
{
    if (strchr(value, '.') || !is_host_name(value, strlen(value)))
        return "letters, digits and inner hyphens, at most 63";
    return parse_text(value, out->hostname, sizeof(out->hostname));
}

static const char *set_token(struct config *out, const char *value)
{
    size_t length = strlen(value);
    if (length == 0) /* one is made */
        return parse_text("", out->token, sizeof(out->token));
    if (length < 8 || length >= sizeof(out->token))
        return "8 to 128 characters";
    for (size_t i = 0; i < length; i++) /* RFC 6750, 2.1: what a Bearer token may consist of */
        if (!is_letter_or_digit(value[i]) && !strchr("-._~+/=", value[i]))
            return "letters, digits and - . _ ~ + / = only";
    return parse_text(value, out->token, sizeof(out->token));
}

static const char *set_auth(struct config *out, const char *value)
{
    return parse_choice(value, "token", "none", &out->auth_required, "token or none");
}

static const char *set_network(struct config *out, const char *value)
{
    return parse_choice(value, "dhcp", "static", &out->dhcp, "dhcp or static");
}

static const char *set_address(struct config *out, const char *value)
{
    return parse_address_and_mask(value, &out->address, &out->netmask);
}

static const char *set_gateway(struct config *out, const char *value)
{
    return parse_address(value, &out->gateway);
}

static const char *set_dns(struct config *out, const char *value)
{
    return parse_address(value, &out->dns);
}

static const char *set_ntp(struct config *out, const char *value)
{
    size_t length = strlen(value);
    if (length >= sizeof(out->ntp_server) || (length > 0 && !is_host_name(value, length)))
        return "a server's name or IPv4 address, at most 63 characters";
    return parse_text(value, out->ntp_server, sizeof(out->ntp_server));
}

static const char *set_port(struct config *out, const char *value)
{
    uint32_t port;
    const char *wanted = parse_uint(value, 1, 65535, &port, "a number from 1 to 65535");
    if (!wanted)
        out->http_port = (uint16_t)port;
    return wanted;
}

static const char *set_cors(struct config *out, const char *value)
{
    static const char wanted[] = "an origin such as https://example.org, or nothing";
    if (value[0] == 0)
        return parse_text("", out->cors_origin, sizeof(out->cors_origin));
    const char *host = strncmp(value, "https://", 8) == 0  ? value + 8
                       : strncmp(value, "http://", 7) == 0 ? value + 7
                                                           : NULL;
    if (!host || strlen(value) >= sizeof(out->cors_origin))
        return wanted;
    size_t length = strcspn(host, ":");
    uint32_t port;
    const char *rest = host + length + 1;
    if (!is_host_name(host, length) ||
        (host[length] == ':' && (!parse_number(&rest, 65535, &port) || *rest != 0 || port == 0)))
        return wanted;
    return parse_text(value, out->cors_origin, sizeof(out->cors_origin));
}

static const char *set_hosts(struct config *out, const char *value)
{
    char list[sizeof(out->allowed_hosts)];
    size_t used = 0;
    for (const char *at = value; *at != 0;) {
        at += strspn(at, ", \t");
        size_t length = strcspn(at, ", \t");
        if (length == 0)
            break;
        if (!is_host_name(at, length) || used + length + 2 > sizeof(list))
            return "names separated by commas, at most 255 characters";
        if (used > 0)
            list[used++] = ',';
        memcpy(list + used, at, length);
        used += length;
        at += length;
    }
    list[used] = 0;
    return parse_text(list, out->allowed_hosts, sizeof(out->allowed_hosts));
}

static const char *set_restart(struct config *out, const char *value)
{
    return parse_uint(value, 0, 86400, &out->restart_seconds,
                      "a number of seconds from 0 to 86400");
}

static const char *set_queue(struct config *out, const char *value)
{
    return parse_uint(value, 1, 1024, &out->queue_jobs_max, "a number from 1 to 1024");
}

static const char *set_mdns(struct config *out, const char *value)
{
    return parse_choice(value, "on", "off", &out->mdns, "on or off");
}

static const struct {
    const char *name;
    const char *(*set)(struct config *out, const char *value);
} keys[] = {
    {"hostname", set_hostname}, {"token", set_token},     {"auth", set_auth},
    {"network", set_network},   {"address", set_address}, {"gateway", set_gateway},
    {"dns", set_dns},           {"ntp", set_ntp},         {"port", set_port},
    {"cors_origin", set_cors},  {"hosts", set_hosts},     {"restart_after_panic", set_restart},
    {"job_queue", set_queue},   {"mdns", set_mdns},
};

/* ---- lines ----------------------------------------------------------------------------------------------------- */

struct parser {
    struct config *out;
    void (*warn)(void *arg, unsigned line, const char *message);
    void *arg;
    unsigned line;
    unsigned line_of[ARRAY_COUNT(keys)]; /* where a key was set; 0: not yet */
};

static void __attribute__((format(printf, 2, 3))) parser_warn(struct parser *parser,
                                                              const char *fmt, ...)
{
    char message[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    parser->warn(parser->arg, parser->line, message);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Cut blanks off both ends of text, in place. */
static char *trim(char *text)
{
    while (is_blank(*text))
        text++;
    size_t length = strlen(text);
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    text[length] = 0;
    return text;
}

static void parse_setting(struct parser *parser, char *line)
{
    char brief[48];
    char *equals = strchr(line, '=');
    if (!equals) {
        parser_warn(parser, "not a line of the form `key = value`; ignored");
        return;
    }
    *equals = 0;
    const char *key = trim(line), *value = trim(equals + 1);
    for (unsigned i = 0; i < ARRAY_COUNT(keys); i++) {
        if (strcmp(key, keys[i].name) != 0)
            continue;
        const char *wanted = keys[i].set(parser->out, value);
        if (wanted) {
            parser_warn(parser, "%s: the value should be %s; ignored", key, wanted);
        } else {
            if (parser->line_of[i] != 0)
                parser_warn(parser, "%s is set again; line %u no longer counts", key,
                            parser->line_of[i]);
            parser->line_of[i] = parser->line;
        }
        return;
    }
    parser_warn(parser, "unknown key \"%s\"; ignored",
                text_brief(brief, sizeof(brief), key, strlen(key)));
}

/* One line without its end. */
static void parse_line(struct parser *parser, const char *text, size_t length)
{
    char line[LINE_BYTES_MAX + 1];
    if (length > 0 && text[length - 1] == '\r')
        length--;
    if (length > LINE_BYTES_MAX) {
        parser_warn(parser, "longer than %d bytes; ignored", LINE_BYTES_MAX);
        return;
    }
    memcpy(line, text, length);
    line[length] = 0;
    for (size_t i = 0; i < length; i++) { /* a comment ends the line, whatever bytes it has */
        if (line[i] == '#' && (i == 0 || is_blank(line[i - 1]))) {
            line[i] = 0;
            length = i;
        }
    }
    for (size_t i = 0; i < length; i++) {
        if (((uint8_t)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f) {
            parser_warn(parser, "has a control character in it; ignored");
            return;
        }
    }
    if (!utf8_is_valid(line, length)) {
        parser_warn(parser, "is not UTF-8; ignored");
        return;
    }
    char *content = trim(line);
    if (content[0] != 0)
        parse_setting(parser, content);
}

/* What only makes sense together. */
static void check_together(struct parser *parser)
{
    struct config *out = parser->out;
    if (!out->dhcp && out->address == 0) {
        parser_warn(parser, "network = static needs an address; using dhcp");
        out->dhcp = true;
    }
    if (out->gateway != 0 && out->address != 0 &&
        ((out->gateway ^ out->address) & out->netmask) != 0) {
        parser_warn(parser, "the gateway is not in the network of the address; ignored");
        out->gateway = 0;
    }
    if (!out->auth_required && out->token[0] != 0)
        parser_warn(parser, "auth = none: the token is not asked for");
}

void config_parse(const char *text, size_t size_bytes, struct config *out,
                  void (*warn)(void *arg, unsigned line, const char *message), void *arg)
{
    *out = defaults;
    struct parser parser = {.out = out, .warn = warn, .arg = arg};
    if (size_bytes > FILE_BYTES_MAX) {
        parser_warn(&parser, "the file is larger than %u bytes; the rest is ignored",
                    FILE_BYTES_MAX);
        size_bytes = FILE_BYTES_MAX;
    }
    if (size_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* byte order mark */
        text += 3;
        size_bytes -= 3;
    }
    for (size_t start = 0; start < size_bytes;) {
        const char *end = memchr(text + start, '\n', size_bytes - start);
        size_t length = end ? (size_t)(end - (text + start)) : size_bytes - start;
        parser.line++;
        parse_line(&parser, text + start, length);
        start += length + 1;
    }
    parser.line = 0; /* about the file as a whole */
    check_together(&parser);
}

static void warn_to_log(void *arg, unsigned line, const char *message)
{
    (void)arg;
    if (line != 0)
        log_warn("ingot.conf line %u: %s", line, message);
    else
        log_warn("ingot.conf: %s", message);
}

void config_start(const char *text, size_t size_bytes)
{
    config_parse(text, size_bytes, &config, warn_to_log, NULL);
}
