/*
 * runtime/net/nic.c: what the NIC drivers share: the pool of receive buffers, the interrupt's
 * event, and giving up.
 */
#include <string.h>

#include "runtime/net/nic.h"

#define POOL_BYTES ((uint64_t)NIC_BUFFER_COUNT * NIC_BUFFER_BYTES)

static int create_pool(struct nic *nic)
{
    nic->buffer_memory = page_alloc(POOL_BYTES, 0);
    if (nic->buffer_memory == NULL)
        return -ENOMEM;
    nic->buffer_memory_dma = dma_addr(nic->buffer_memory);
    nic->buffer_free_count = 0;
    for (unsigned i = NIC_BUFFER_COUNT; i-- > 0;)
        nic_buffer_put(nic, i);
    return 0;
}

int nic_start(struct nic *nic, struct pci_device *pci, const struct nic_driver *driver)
{
    nic->pci = pci;
    nic->driver = driver;
    nic->is_failed = nic->has_link = nic->has_interrupts = false;
    nic->tx_checksum = nic->rx_checksum = false;
    int error = nic->buffer_memory != NULL ? 0 : create_pool(nic);
    return error != 0 ? error : driver->start(nic);
}

/* The pool stays for the next start: frames that the stack still holds lie in it. */
void nic_stop(struct nic *nic)
{
    if (!nic->is_failed)
        nic->driver->stop(nic);
    nic->is_failed = true;
    nic->has_link = false;
}

void nic_fail(struct nic *nic, const char *what, uint32_t value)
{
    if (nic->is_failed)
        return;
    log_error("%s %s: %s (0x%x); the port is stopped", nic->driver->name, nic->pci->name, what,
              value);
    nic_stop(nic);
    nic->link_changed = true;
    event_signal(nic->event);
}

void nic_interrupt(void *nic)
{
    event_signal(((struct nic *)nic)->event);
}

void nic_link_interrupt(void *nic)
{
    ((struct nic *)nic)->link_changed = true;
    event_signal(((struct nic *)nic)->event);
}

bool nic_mac_is_valid(const uint8_t mac[6])
{
    static const uint8_t zero[6];
    return (mac[0] & 1) == 0 && memcmp(mac, zero, 6) != 0;
}
