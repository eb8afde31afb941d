/*
 * kernel/pci_reset.c: puts a PCI Express function back into the state after power-on, for a driver that finds its device
 * left running (PCI Express Base 5.0, 6.6): by function level reset, or by resetting the bus below the bridge above it.
 *
 * Either way the function forgets its configuration space, so what the firmware and we had set there is kept and put
 * back: header, device and link control, latency tolerance, sizes of resizable BARs. Interrupts and bus mastering stay
 * off. Not kept: error reporting, access control and virtual channels, which nobody here has changed from their defaults.
 */
#include "kernel/machine.h"
#include "kernel/pci.h"

#define SETTLE_NS    (100 * NS_PER_MS) /* from the reset to the first access (6.6.1, 6.6.2) */
#define PENDING_NS   (100 * NS_PER_MS) /* for outstanding requests before a function level reset */
#define BUS_RESET_NS (2 * NS_PER_MS)   /* at least 1 ms (7.5.1.3.13) */
#define LINK_NS      (1 * NS_PER_S)    /* to train (6.6.1) */
#define READY_NS \
    (10 * NS_PER_S) /* a device may answer "not yet" for longer than the 1 s of 6.6.1: GPUs do */

#define RESIZABLE_MAX 6
#define SIBLINGS_MAX  64

struct saved {
    struct pci_function *function;
    uint16_t command, device_control, link_control, device_control_2, link_control_2;
    uint32_t cache_line, bar[6], rom, interrupt_line, latency_tolerance;
    uint32_t resizable[RESIZABLE_MAX];
    unsigned resizable_count;
};

/* The registers of the second version of the capability are there only when it says so. */
static bool has_second_half(const struct pci_device *pci, unsigned express)
{
    return field_get(PCI_EXPRESS_VERSION, pci_read16(pci, express + PCI_EXPRESS_FLAGS)) >= 2;
}

static void save(struct pci_function *f, struct saved *saved)
{
    struct pci_device *pci = &f->device;
    *saved = (struct saved){.function = f};
    saved->command = pci_read16(pci, PCI_COMMAND);
    saved->cache_line = pci_read32(pci, PCI_CACHE_LINE) & 0xffff; /* and latency timer */
    for (unsigned i = 0; i < 6; i++)
        saved->bar[i] = pci_read32(pci, PCI_BAR0 + 4 * i);
    saved->rom = pci_read32(pci, PCI_ROM);
    saved->interrupt_line = pci_read8(pci, PCI_INTERRUPT_LINE);
    unsigned express = pci_find_capability(pci, PCI_CAP_EXPRESS, 0);
    if (express != 0) {
        saved->device_control = pci_read16(pci, express + PCI_EXPRESS_DEVICE_CONTROL);
        saved->link_control = pci_read16(pci, express + PCI_EXPRESS_LINK_CONTROL);
        if (has_second_half(pci, express)) {
            saved->device_control_2 = pci_read16(pci, express + PCI_EXPRESS_DEVICE_CONTROL_2);
            saved->link_control_2 = pci_read16(pci, express + PCI_EXPRESS_LINK_CONTROL_2);
        }
    }
    unsigned latency = pci_find_ext_capability(pci, PCI_EXT_CAP_LATENCY);
    if (latency != 0)
        saved->latency_tolerance = pci_read32(pci, latency + PCI_LATENCY_MAX);
    unsigned resizable = pci_find_ext_capability(pci, PCI_EXT_CAP_RESIZABLE);
    if (resizable != 0) {
        uint64_t count =
            field_get(PCI_RESIZABLE_COUNT, pci_read32(pci, resizable + PCI_RESIZABLE_CONTROL));
        saved->resizable_count = (unsigned)min_u64(count, RESIZABLE_MAX);
        for (unsigned i = 0; i < saved->resizable_count; i++)
            saved->resizable[i] =
                pci_read32(pci, resizable + PCI_RESIZABLE_CONTROL + i * PCI_RESIZABLE_ENTRY_BYTES);
    }
}

static void restore(const struct saved *saved)
{
    struct pci_device *pci = &saved->function->device;
    uint16_t quiet = saved->command | PCI_COMMAND_INTX_OFF;
    quiet &= (uint16_t)~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);
    pci_write16(pci, PCI_COMMAND, quiet);
    unsigned express = pci_find_capability(pci, PCI_CAP_EXPRESS, 0);
    if (express != 0) {
        pci_write16(pci, express + PCI_EXPRESS_DEVICE_CONTROL,
                    saved->device_control & (uint16_t)~PCI_EXPRESS_DEVICE_RESET);
        pci_write16(pci, express + PCI_EXPRESS_LINK_CONTROL, saved->link_control);
        if (has_second_half(pci, express)) {
            pci_write16(pci, express + PCI_EXPRESS_DEVICE_CONTROL_2, saved->device_control_2);
            pci_write16(pci, express + PCI_EXPRESS_LINK_CONTROL_2, saved->link_control_2);
        }
    }
    unsigned latency = pci_find_ext_capability(pci, PCI_EXT_CAP_LATENCY);
    if (latency != 0)
        pci_write32(pci, latency + PCI_LATENCY_MAX, saved->latency_tolerance);
    unsigned resizable = pci_find_ext_capability(pci, PCI_EXT_CAP_RESIZABLE);
    for (unsigned i = 0; resizable != 0 && i < saved->resizable_count; i++) /* before the BARs */
        pci_write32(pci, resizable + PCI_RESIZABLE_CONTROL + i * PCI_RESIZABLE_ENTRY_BYTES,
                    saved->resizable[i]);
    pci_write16(pci, PCI_CACHE_LINE, (uint16_t)saved->cache_line);
    for (unsigned i = 0; i < 6; i++)
        pci_write32(pci, PCI_BAR0 + 4 * i, saved->bar[i]);
    pci_write32(pci, PCI_ROM, saved->rom);
    pci_write8(pci, PCI_INTERRUPT_LINE, (uint8_t)saved->interrupt_line);
    pci_write16(pci, PCI_COMMAND,
                (uint16_t)((saved->command | PCI_COMMAND_INTX_OFF) & ~PCI_COMMAND_BUS_MASTER));
}

/* Wait until a function has its name again: until then it reads as ones, or as vendor 1, "not yet" (2.3.1). */
static int wait_ready(const struct pci_device *pci)
{
    uint64_t deadline_ns = time_ns() + READY_NS;
    for (;;) {
        bool is_late = time_ns() >= deadline_ns;
        if (pci_read16(pci, PCI_VENDOR_ID) == pci->vendor_id)
            return 0;
        if (is_late) {
            log_error("%s: vendor reads %#x %llu s after the reset, wanted %#x", pci->name,
                      pci_read16(pci, PCI_VENDOR_ID), (unsigned long long)(READY_NS / NS_PER_S),
                      pci->vendor_id);
            return -ETIMEDOUT;
        }
        task_sleep_until(time_ns() + NS_PER_MS);
    }
}

static int reset_function(struct pci_device *pci)
{
    unsigned express = pci_find_capability(pci, PCI_CAP_EXPRESS, 0);
    if (express == 0 || !(pci_read32(pci, express + PCI_EXPRESS_DEVICE_CAPABILITIES) &
                          PCI_EXPRESS_DEVICE_CAN_RESET))
        return -ENOTSUP;
    struct saved saved;
    save(pci_function_of(pci), &saved);
    pci_bus_master(pci, false);
    uint64_t deadline_ns = time_ns() + PENDING_NS;
    while ((pci_read16(pci, express + PCI_EXPRESS_DEVICE_STATUS) & PCI_EXPRESS_DEVICE_PENDING) &&
           time_ns() < deadline_ns)
        task_sleep_until(time_ns() + NS_PER_MS);
    pci_write16(pci, express + PCI_EXPRESS_DEVICE_CONTROL,
                saved.device_control | PCI_EXPRESS_DEVICE_RESET);
    task_sleep_until(time_ns() + SETTLE_NS);
    int error = wait_ready(pci);
    if (error == 0)
        restore(&saved);
    return error;
}

/* A port that can tell whether its link is up is waited for; others just get their time. */
static void wait_link(const struct pci_device *bridge)
{
    unsigned express = pci_find_capability(bridge, PCI_CAP_EXPRESS, 0);
    if (express == 0 || !(pci_read32(bridge, express + PCI_EXPRESS_LINK_CAPABILITIES) &
                          PCI_EXPRESS_LINK_REPORTS_ACTIVE))
        return;
    uint64_t deadline_ns = time_ns() + LINK_NS;
    while (!(pci_read16(bridge, express + PCI_EXPRESS_LINK_STATUS) & PCI_EXPRESS_LINK_ACTIVE) &&
           time_ns() < deadline_ns)
        task_sleep_until(time_ns() + NS_PER_MS);
}

/* All functions below the bridge go through it together: none of the others may be at work. */
static int reset_bus(struct pci_device *pci)
{
    struct pci_function *bridge = pci_function_of(pci)->bridge;
    static struct saved
        saved[SIBLINGS_MAX]; /* too large for a stack; guarded by the caller's lock */
    unsigned count = 0;
    if (bridge == NULL)
        return -ENOTSUP;
    struct pci_device *other;
    for (unsigned i = 0; (other = pci_device_get(i)) != NULL; i++) {
        struct pci_function *f = pci_function_of(other);
        if (f->bridge != bridge)
            continue;
        if (count == SIBLINGS_MAX || f->is_bridge ||
            (other != pci && (pci_read16(other, PCI_COMMAND) & PCI_COMMAND_BUS_MASTER)))
            return -EBUSY;
        save(f, &saved[count++]);
    }
    pci_bus_master(pci, false);
    struct pci_device *port = &bridge->device;
    uint16_t control = pci_read16(port, PCI_BRIDGE_CONTROL);
    pci_write16(port, PCI_BRIDGE_CONTROL, control | PCI_BRIDGE_BUS_RESET);
    task_sleep_until(time_ns() + BUS_RESET_NS);
    pci_write16(port, PCI_BRIDGE_CONTROL, control & (uint16_t)~PCI_BRIDGE_BUS_RESET);
    wait_link(port);
    task_sleep_until(time_ns() + SETTLE_NS);
    int result = 0;
    for (unsigned i = 0; i < count; i++) {
        int error = wait_ready(&saved[i].function->device);
        if (error == 0)
            restore(&saved[i]);
        else if (saved[i].function == pci_function_of(pci))
            result = error;
    }
    return result;
}

int pci_reset(struct pci_device *pci, enum pci_reset how)
{
    static struct mutex lock;
    struct pci_function *f = pci_function_of(pci);
    assert(f->msix_table == NULL && !f->msi_route.is_used);
    if (f->is_bridge || !f->has_bars)
        return -EINVAL;
    mutex_lock(&lock);
    int error = how == PCI_RESET_FUNCTION ? reset_function(pci) : reset_bus(pci);
    mutex_unlock(&lock);
    return error;
}
