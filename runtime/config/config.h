/*
 * runtime/config/config.h: ingot.conf. Lines of `key = value`, # comments, CRLF accepted, UTF-8 with or without BOM.
 *
 * An unknown key is a warning with its line number; a bad value keeps the default, with a warning. Nothing in a file
 * can stop the boot. config_start() is called once, before other cores run; afterwards the struct is read-only.
 */
#ifndef INGOT_CONFIG_H
#define INGOT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config {
    char hostname[64];         /* hostname = ingot */
    char token[129];           /* token = ...; "" until one is made */
    bool auth_required;        /* auth = token | none */
    bool dhcp;                 /* network = dhcp | static */
    uint32_t address, netmask, gateway, dns; /* address = a.b.c.d/len; network byte order; 0: not set */
    char ntp_server[64];       /* ntp = server name or address, "" for what DHCP says */
    uint16_t http_port;        /* port = 80 */
    char cors_origin[128];     /* cors_origin = https://..., "" for none */
    char allowed_hosts[256];   /* hosts = extra names accepted in Host:, comma separated */
    uint32_t restart_seconds;  /* restart_after_panic = 10; 0 stays stopped */
    uint32_t queue_jobs_max;   /* job_queue = 64 */
    bool mdns;                 /* mdns = on | off */
};
extern struct config config;   /* defaults before config_start() */

/* Parse text (need not be NUL-terminated) into *out, which starts as the defaults. warn(arg, line, message) per
 * problem. */
void config_parse(const char *text, size_t size_bytes, struct config *out,
                  void (*warn)(void *arg, unsigned line, const char *message), void *arg);
void config_start(const char *text, size_t size_bytes); /* into `config`, warnings to the log */

#endif
