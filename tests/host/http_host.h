/* tests/host/http_host.h: the HTTP server over Linux sockets, in the hosted program. */
#ifndef INGOT_HTTP_HOST_H
#define INGOT_HTTP_HOST_H

#include <stdint.h>

/* Listen on 127.0.0.1:port (0: any that is free) and serve from a task on core 0, once http_start() has run.
 * Returns the port, or a negative errno. */
int http_host_start(uint16_t port);

#endif
