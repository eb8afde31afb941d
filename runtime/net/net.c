/*
 * runtime/net/net.c: the net task: finds the NIC, drives it and lwIP, and sleeps when there is
 * nothing to do.
 *
 * A turn: calls from other cores, received frames through lwIP up to the HTTP server, lwIP's
 * timers, the hook, then everything that was queued is sent with one doorbell. After the last work
 * the task goes on polling for SPIN_NS, because the next request of a busy client comes within that
 * time and an interrupt costs more; then it arms the interrupt and waits.
 */
#include <lwip/init.h>
#include <lwip/stats.h>
#include <lwip/timeouts.h>
#include <stdio.h>
#include <string.h>

#include "runtime/config/config.h"
#include "runtime/net/net.h"
#include "runtime/net/net_private.h"

#define POLL_BUDGET 64 /* frames per turn, so timers and other tasks of core 0 get theirs */
#define SPIN_NS     (250 * NS_PER_US)
#define CHECK_NS    NS_PER_S /* how often a port that does not interrupt is looked at */
#define POLL_SLEEP_NS \
    (500 * NS_PER_US) /* without MSI-X, or while frames wait for the transmit ring */
#define CALL_MAX 64   /* a power of two */

struct call {
    void (*fn)(void *arg);
    void *arg;
};

static struct nic nic;
static struct event wake_up;
static _Atomic bool is_running, stop_wanted;
static void (*_Atomic turn_hook)(void);
static struct spinlock call_lock;
static struct call calls[CALL_MAX];
static uint32_t call_head, call_tail; /* count up forever */
static uint64_t check_due_ns;
static struct spinlock info_lock;
static struct net_info info = {.state = NET_NO_DEVICE, .source = ""};

/* ---- calls from elsewhere -------------------------------------------------------------------- */

int net_call(void (*fn)(void *arg), void *arg)
{
    if (!is_running)
        return -ENODEV;
    uint64_t flags = spin_lock(&call_lock);
    bool is_full = call_tail - call_head == CALL_MAX;
    if (!is_full)
        calls[call_tail++ & (CALL_MAX - 1)] = (struct call){fn, arg};
    spin_unlock(&call_lock, flags);
    net_wake();
    return is_full ? -EAGAIN : 0;
}

static bool take_call(struct call *out)
{
    uint64_t flags = spin_lock(&call_lock);
    bool found = call_head != call_tail;
    if (found)
        *out = calls[call_head++ & (CALL_MAX - 1)];
    spin_unlock(&call_lock, flags);
    return found;
}

void net_set_hook(void (*hook)(void))
{
    turn_hook = hook;
}

void net_wake(void)
{
    event_signal(&wake_up);
}

/* ---- the task -------------------------------------------------------------------------------- */

static void check_port(uint64_t now_ns)
{
    if (!nic.link_changed && now_ns < check_due_ns)
        return;
    nic.link_changed = false;
    check_due_ns = now_ns + CHECK_NS;
    nic.driver->check(&nic);
    if (nic.has_link != (netif_is_link_up(&link_netif) != 0)) {
        log_info("net: the link is %s", nic.has_link ? "up" : "down");
        address_link_changed(&link_netif, nic.has_link);
        net_changed();
    }
}

/* One turn. Returns whether there was anything to do. */
static bool turn(void)
{
    bool did_work = false;
    struct call call;
    for (unsigned i = 0; i < CALL_MAX && take_call(&call); i++) {
        call.fn(call.arg);
        did_work = true;
    }
    if (nic.driver->poll(&nic, POLL_BUDGET) > 0)
        did_work = true;
    check_port(time_ns());
    sys_check_timeouts();
    void (*hook)(void) = turn_hook;
    if (hook != NULL)
        hook();
    link_flush();
    return did_work;
}

/*
 * lwIP's next timer, in whole milliseconds of sys_now(): the same timer gives the same deadline
 * however often we go to sleep before it, so the core's own timer need not be set again.
 */
static uint64_t sleep_deadline(uint64_t now_ns)
{
    uint32_t timer_ms = sys_timeouts_sleeptime();
    uint64_t deadline_ns = timer_ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE
                               ? DEADLINE_NEVER
                               : (now_ns / NS_PER_MS + timer_ms) * NS_PER_MS;
    if (!nic.has_interrupts)
        deadline_ns = min_u64(deadline_ns, check_due_ns);
    if (!nic.has_interrupts || link_has_waiting())
        deadline_ns = min_u64(deadline_ns, now_ns + POLL_SLEEP_NS);
    return deadline_ns;
}

static void net_task(void *arg)
{
    (void)arg;
    uint64_t spin_until_ns = 0;
    while (!stop_wanted) {
        uint32_t seen = event_read(&wake_up);
        bool did_work = turn();
        uint64_t now_ns = time_ns();
        if (did_work)
            spin_until_ns = now_ns + SPIN_NS;
        if (now_ns < spin_until_ns) {
            task_yield();
            continue;
        }
        if (!nic.driver->arm(&nic))
            event_wait(&wake_up, seen,
                       sleep_deadline(now_ns)); /* a time-out is lwIP's next timer */
        nic.driver->disarm(&nic);
    }
    nic_stop(&nic);
    net_changed();
    is_running = false;
}

/* ---- start and stop -------------------------------------------------------------------------- */

/* The first port that starts and has link, else the first that starts. */
static int find_nic(void)
{
    static const struct nic_driver *const drivers[] = {&virtio_net_driver, &e1000e_driver};
    int error = -ENODEV;
    struct pci_device *fallback = NULL;
    const struct nic_driver *fallback_driver = NULL;
    struct pci_device *pci;
    for (unsigned i = 0; (pci = pci_device_get(i)) != NULL; i++) {
        for (unsigned d = 0; d < ARRAY_COUNT(drivers); d++) {
            if (!drivers[d]->matches(pci))
                continue;
            error = nic_start(&nic, pci, drivers[d]);
            if (error != 0) {
                log_error("net: %s %s does not start (%d)", drivers[d]->name, pci->name, error);
                continue;
            }
            if (nic.has_link)
                return 0;
            if (fallback == NULL) {
                fallback = pci;
                fallback_driver = drivers[d];
            }
            nic_stop(&nic);
        }
    }
    return fallback != NULL ? nic_start(&nic, fallback, fallback_driver) : error;
}

int net_start(void)
{
    lwip_init();
    nic.event = &wake_up;
    nic.receive = link_receive;
    nic.sent = link_sent;
    int error = find_nic();
    if (error != 0)
        return error;
    log_info("net: %s %s, %02x:%02x:%02x:%02x:%02x:%02x, link %s", nic.driver->name, nic.pci->name,
             nic.mac[0], nic.mac[1], nic.mac[2], nic.mac[3], nic.mac[4], nic.mac[5],
             nic.has_link ? "up" : "down");
    if (!nic.has_interrupts)
        log_warn("net: %s has no MSI-X; the port is polled", nic.pci->name);
    names_start();
    error = link_start(&nic, config.hostname);
    if (error == 0) {
        address_start(&link_netif);
        if (nic.has_link)
            address_link_changed(&link_netif, true);
        net_changed();
        link_flush(); /* DHCP's first request is on its way before the task runs */
        is_running = true;
        error = task_create("net", 0, 0, net_task, NULL);
    }
    if (error != 0) {
        is_running = false;
        nic_stop(&nic);
    }
    return error;
}

void net_stop(void)
{
    uint64_t deadline_ns = time_ns() + NS_PER_S;
    stop_wanted = true;
    while (is_running && time_ns() < deadline_ns) {
        net_wake();
        task_sleep_until(time_ns() + NS_PER_MS);
    }
}

/* ---- what others may know -------------------------------------------------------------------- */

/* The texts are made when something changes, not for every HTTP request that asks for them. */
void net_changed(void)
{
    struct net_info new = {.state = NET_NO_DEVICE, .source = ""};
    if (!nic.is_failed) {
        bool has_address = !ip4_addr_isany(netif_ip4_addr(&link_netif));
        new.state = !nic.has_link ? NET_NO_LINK : has_address ? NET_UP : NET_CONFIGURING;
        snprintf(new.device, sizeof(new.device), "%s %s", nic.driver->name, nic.pci->name);
        memcpy(new.mac, nic.mac, sizeof(new.mac));
        if (has_address) {
            ip4addr_ntoa_r(netif_ip4_addr(&link_netif), new.address, sizeof(new.address));
            ip4addr_ntoa_r(netif_ip4_netmask(&link_netif), new.netmask, sizeof(new.netmask));
            ip4addr_ntoa_r(netif_ip4_gw(&link_netif), new.gateway, sizeof(new.gateway));
        }
        snprintf(new.hostname, sizeof(new.hostname), "%s", names_hostname());
        new.source = address_source();
        new.tx_checksum_offload = nic.tx_checksum;
        new.rx_checksum_offload = nic.rx_checksum;
    }
    uint64_t flags = spin_lock(&info_lock);
    info = new;
    spin_unlock(&info_lock, flags);
}

void net_info(struct net_info *out)
{
    uint64_t flags = spin_lock(&info_lock);
    *out = info;
    spin_unlock(&info_lock, flags);
    out->rx_packets = nic.counters.rx_frames;
    out->tx_packets = nic.counters.tx_frames;
    out->rx_bytes = nic.counters.rx_bytes;
    out->tx_bytes = nic.counters.tx_bytes;
    out->rx_dropped = nic.counters.rx_errors + link_dropped();
    out->tcp_retransmits = lwip_stats.mib2.tcpretranssegs;
}
