/*
 * tests/model/vfio_user.c: the device side of the vfio-user protocol on a Unix socket, as QEMU 11's vfio-user-pci speaks it.
 *
 * Messages: docs/devel/vfio-user in QEMU, hw/vfio-user/protocol.h; payloads are those of the kernel's <linux/vfio.h>. QEMU wants
 * version 0.0. It sends one request at a time and waits for the reply, except for DMA_MAP and DMA_UNMAP, which it sends in
 * bursts. Guest memory comes as files (needs a shared memory backend), interrupts go out through eventfds.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/vfio.h>

#include "tests/model/parts.h"

enum command {
    VERSION = 1,
    DMA_MAP = 2,
    DMA_UNMAP = 3,
    GET_INFO = 4,
    GET_REGION_INFO = 5,
    GET_REGION_IO_FDS = 6,
    GET_IRQ_INFO = 7,
    SET_IRQS = 8,
    REGION_READ = 9,
    REGION_WRITE = 10,
    DEVICE_RESET = 13,
};
#define REPLY    0x1u
#define NO_REPLY 0x10u
#define ERROR    0x20u

struct header {
    uint16_t id, command;
    uint32_t bytes, flags, error;
};

struct map {
    uint32_t argsz, flags;
    uint64_t offset, bus, bytes;
};

struct unmap {
    uint32_t argsz, flags;
    uint64_t bus, bytes;
};

struct access {
    uint64_t offset;
    uint32_t region, count;
};

struct device_info {
    uint32_t argsz, flags, regions, irqs;
};

#define PAYLOAD_MAX  (64 * 1024)
#define FDS_MAX      16
#define MESSAGES_MAX 16

struct server {
    int listener, connection;
    char path[108];
    int intx, msi, msix[MESSAGES_MAX]; /* eventfds, -1: none */
    int fds[FDS_MAX];
    unsigned fd_count;
    /* Enough for a header with the largest payload, aligned for the structures in it. */
    _Alignas(8) uint8_t in[PAYLOAD_MAX], out[sizeof(struct header) + PAYLOAD_MAX];
};

int server_open(struct model *m, const char *path)
{
    struct server *s = m->server = calloc(1, sizeof(*s));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (s == NULL)
        return -ENOMEM;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    strcpy(s->path, path);
    s->connection = s->intx = s->msi = -1;
    for (unsigned i = 0; i < MESSAGES_MAX; i++)
        s->msix[i] = -1;
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0)
        return -errno;
    unlink(path); /* of a model that was killed */
    if (bind(s->listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(s->listener, 1) != 0)
        return -errno;
    return 0;
}

static void eventfd_set(int *slot, int fd)
{
    if (*slot >= 0)
        close(*slot);
    *slot = fd;
}

static void interrupts_drop(struct server *s)
{
    eventfd_set(&s->intx, -1);
    eventfd_set(&s->msi, -1);
    for (unsigned i = 0; i < MESSAGES_MAX; i++)
        eventfd_set(&s->msix[i], -1);
}

void server_close(struct model *m)
{
    struct server *s = m->server;
    interrupts_drop(s);
    if (s->connection >= 0)
        close(s->connection);
    close(s->listener);
    unlink(s->path);
    free(s);
    m->server = NULL;
}

bool server_interrupt(struct model *m, unsigned message)
{
    struct server *s = m->server;
    int fd = -1;
    if (m->on_interrupt != NULL) {
        m->on_interrupt(m->on_interrupt_arg);
        return true;
    }
    if (message < MESSAGES_MAX && s->msix[message] >= 0)
        fd = s->msix[message];
    else if (s->msi >= 0)
        fd = s->msi;
    else if (s->intx >= 0 && (pci_config_dword(m, 4) & 0x400) == 0)
        fd = s->intx;
    uint64_t one = 1;
    return fd >= 0 && write(fd, &one, sizeof(one)) == sizeof(one);
}

/* ---- receiving and sending ------------------------------------------------------------------------------------- */

/* All of bytes; the file descriptors that came with them are put into s->fds. 0, -EPIPE at the end, another errno. */
static int receive(struct server *s, void *to, size_t bytes)
{
    while (bytes > 0) {
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct iovec iov = {to, bytes};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(s->connection, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? -EPIPE : -errno;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                continue;
            size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (size_t i = 0; i < count; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                if (s->fd_count < FDS_MAX)
                    s->fds[s->fd_count++] = fd;
                else
                    close(fd);
            }
        }
        to = (uint8_t *)to + n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int fd_take(struct server *s)
{
    if (s->fd_count == 0)
        return -1;
    int fd = s->fds[0];
    s->fd_count--;
    memmove(s->fds, s->fds + 1, s->fd_count * sizeof(int));
    return fd;
}

/* The payload is in s->out behind the header. */
static int reply(struct server *s, const struct header *request, size_t payload, int error, int fd)
{
    if (request->flags & NO_REPLY)
        return 0;
    struct header *h = (struct header *)s->out;
    *h = (struct header){request->id, request->command, (uint32_t)(sizeof(*h) + payload), REPLY, 0};
    if (error != 0) {
        h->flags |= ERROR;
        h->error = (uint32_t)-error;
        h->bytes = sizeof(*h);
    }
    size_t done = 0;
    while (done < h->bytes) {
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = {s->out + done, h->bytes - done};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        if (fd >= 0 && done == 0) {
            message.msg_control = control;
            message.msg_controllen = sizeof(control);
            struct cmsghdr *c = CMSG_FIRSTHDR(&message);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(c), &fd, sizeof(int));
        }
        ssize_t n = sendmsg(s->connection, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

/* ---- requests; each fills s->out's payload and returns its size or a negative errno ----------------------------- */

static int version(struct server *s, size_t bytes)
{
    uint16_t major;
    if (bytes < 4)
        return -EINVAL;
    memcpy(&major, s->in, 2);
    if (major != 0) {
        fprintf(stderr, "model: QEMU speaks version %u of vfio-user, not 0\n", major);
        return -EPROTO;
    }
    static const char capabilities[] =
        "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":32768}}";
    uint8_t *out = s->out + sizeof(struct header);
    memset(out, 0, 4);
    memcpy(out + 4, capabilities, sizeof(capabilities));
    return 4 + sizeof(capabilities);
}

static int dma_map(struct model *m, size_t bytes)
{
    struct server *s = m->server;
    const struct map *map = (const void *)s->in;
    if (bytes < sizeof(*map))
        return -EINVAL;
    int fd = fd_take(s);
    int error = bus_dma_map(m, map->bus, map->bytes, map->offset, fd,
                            (map->flags & VFIO_DMA_MAP_FLAG_WRITE) != 0);
    trace(m, "memory: bus %#llx, %#llx bytes, %s%s", (unsigned long long)map->bus,
          (unsigned long long)map->bytes, fd >= 0 ? "file" : "no file",
          error != 0 ? ": cannot be mapped" : "");
    return error;
}

static int dma_unmap(struct model *m, size_t bytes)
{
    struct server *s = m->server;
    const struct unmap *unmap = (const void *)s->in;
    if (bytes < sizeof(*unmap))
        return -EINVAL;
    int error =
        bus_dma_unmap(m, unmap->bus, unmap->bytes, (unmap->flags & VFIO_DMA_UNMAP_FLAG_ALL) != 0);
    if (error != 0)
        return error;
    memcpy(s->out + sizeof(struct header), unmap, sizeof(*unmap));
    return sizeof(*unmap);
}

static int get_info(struct model *m)
{
    struct device_info info = {sizeof(info), VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
                               VFIO_PCI_NUM_REGIONS, VFIO_PCI_NUM_IRQS};
    memcpy(m->server->out + sizeof(struct header), &info, sizeof(info));
    return sizeof(info);
}

/* vfio_region_info_cap_sparse_mmap with one area */
struct sparse {
    struct vfio_info_cap_header header;
    uint32_t area_count, reserved;
    struct vfio_region_sparse_mmap_area area;
};

static int get_region_info(struct model *m, size_t bytes, int *fd)
{
    struct server *s = m->server;
    struct vfio_region_info info;
    if (bytes < sizeof(info))
        return -EINVAL;
    memcpy(&info, s->in, sizeof(info));
    uint32_t room = info.argsz, index = info.index;
    if (index >= VFIO_PCI_NUM_REGIONS)
        return -EINVAL;
    struct pci_region region = pci_region_get(m, index);
    info = (struct vfio_region_info){.argsz = sizeof(info), .index = index, .size = region.bytes};
    if (region.bytes > 0)
        info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    struct sparse sparse = {0};
    size_t size = sizeof(info);
    if (region.fd >= 0) {
        info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
        *fd = region.fd;
        if (region.mapped_offset != 0 || region.mapped_bytes != region.bytes) {
            info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
            info.argsz = sizeof(info) + sizeof(sparse);
            sparse.header = (struct vfio_info_cap_header){VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0};
            sparse.area_count = 1;
            sparse.area =
                (struct vfio_region_sparse_mmap_area){region.mapped_offset, region.mapped_bytes};
            info.cap_offset = sizeof(info); /* QEMU checks it in the short answer, too */
            if (room >= info.argsz) {
                size = info.argsz;
            } else {
                *fd = -1; /* it asks again with room for the capability */
            }
        }
    }
    uint8_t *out = s->out + sizeof(struct header);
    memcpy(out, &info, sizeof(info));
    memcpy(out + sizeof(info), &sparse, sizeof(sparse));
    return (int)size;
}

static unsigned irq_count(struct model *m, uint32_t index)
{
    switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
        return 1;
    case VFIO_PCI_MSI_IRQ_INDEX:
        return pci_message_count(m, false);
    case VFIO_PCI_MSIX_IRQ_INDEX:
        return pci_message_count(m, true);
    default:
        return 0;
    }
}

static int get_irq_info(struct model *m, size_t bytes)
{
    struct server *s = m->server;
    struct vfio_irq_info info;
    if (bytes < sizeof(info))
        return -EINVAL;
    memcpy(&info, s->in, sizeof(info));
    if (info.index >= VFIO_PCI_NUM_IRQS)
        return -EINVAL;
    info.argsz = sizeof(info);
    info.count = irq_count(m, info.index);
    info.flags = info.count > 0 ? VFIO_IRQ_INFO_EVENTFD : 0;
    if (info.index == VFIO_PCI_INTX_IRQ_INDEX)
        info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    memcpy(s->out + sizeof(struct header), &info, sizeof(info));
    return sizeof(info);
}

static int set_irqs(struct model *m, size_t bytes)
{
    struct server *s = m->server;
    struct vfio_irq_set set;
    if (bytes < sizeof(set))
        return -EINVAL;
    memcpy(&set, s->in, sizeof(set));
    unsigned count = irq_count(m, set.index);
    if (set.start > count || set.count > count - set.start)
        return -EINVAL;
    uint32_t action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK,
             data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    if (action != VFIO_IRQ_SET_ACTION_TRIGGER)
        return 0; /* INTx masks: the level is taken away by the guest in our registers */
    int *slots = set.index == VFIO_PCI_INTX_IRQ_INDEX  ? &s->intx
                 : set.index == VFIO_PCI_MSI_IRQ_INDEX ? &s->msi
                                                       : s->msix;
    if (data == VFIO_IRQ_SET_DATA_NONE && set.count == 0) {
        for (unsigned i = 0; i < count; i++)
            eventfd_set(&slots[i], -1);
    } else if (data == VFIO_IRQ_SET_DATA_EVENTFD) {
        for (unsigned i = 0; i < set.count; i++)
            eventfd_set(&slots[set.start + i], fd_take(s));
    }
    trace(m, "interrupts: index %u, %u from %u, flags %#x", set.index, set.count, set.start,
          set.flags);
    return 0;
}

static int region_read(struct model *m, size_t bytes)
{
    struct server *s = m->server;
    struct access access;
    if (bytes < sizeof(access))
        return -EINVAL;
    memcpy(&access, s->in, sizeof(access));
    if (access.count == 0 || access.count > PAYLOAD_MAX - sizeof(access) ||
        access.region >= VFIO_PCI_NUM_REGIONS)
        return -EINVAL;
    uint8_t *out = s->out + sizeof(struct header);
    memcpy(out, &access, sizeof(access));
    out += sizeof(access);
    memset(out, 0xff, access.count);
    uint64_t size = pci_region_get(m, access.region).bytes;
    if (access.offset > size || access.count > size - access.offset)
        trace(m, "read of %u bytes at %#llx of region %u, which has %#llx", access.count,
              (unsigned long long)access.offset, access.region, (unsigned long long)size);
    else if (access.region == PCI_REGION_CONFIG)
        pci_config_read(m, (unsigned)access.offset, out, access.count);
    else if (access.region == 0)
        bus_bar0_read(m, access.offset, out, access.count);
    else if (access.region == pci_bar1_index(m) && access.offset + access.count <= m->vram_bytes)
        memcpy(out, m->vram + access.offset, access.count);
    return (int)(sizeof(access) + access.count);
}

static int region_write(struct model *m, size_t bytes)
{
    struct server *s = m->server;
    struct access access;
    if (bytes < sizeof(access))
        return -EINVAL;
    memcpy(&access, s->in, sizeof(access));
    if (access.count == 0 || access.count != bytes - sizeof(access) ||
        access.region >= VFIO_PCI_NUM_REGIONS)
        return -EINVAL;
    const uint8_t *data = s->in + sizeof(access);
    uint64_t size = pci_region_get(m, access.region).bytes;
    if (access.offset > size || access.count > size - access.offset)
        trace(m, "write of %u bytes at %#llx of region %u, which has %#llx", access.count,
              (unsigned long long)access.offset, access.region, (unsigned long long)size);
    else if (access.region == PCI_REGION_CONFIG)
        pci_config_write(m, (unsigned)access.offset, data, access.count);
    else if (access.region == 0)
        bus_bar0_write(m, access.offset, data, access.count);
    else if (access.region == pci_bar1_index(m) && access.offset + access.count <= m->vram_bytes)
        memcpy(m->vram + access.offset, data, access.count);
    memcpy(s->out + sizeof(struct header), &access, sizeof(access));
    return sizeof(access);
}

static int handle(struct model *m)
{
    struct server *s = m->server;
    struct header h;
    int error = receive(s, &h, sizeof(h));
    if (error != 0)
        return error;
    if (h.bytes < sizeof(h) || h.bytes - sizeof(h) > PAYLOAD_MAX || (h.flags & 0xf) != 0)
        return -EPROTO;
    size_t bytes = h.bytes - sizeof(h);
    error = receive(s, s->in, bytes);
    if (error != 0)
        return error;
    int fd = -1, result;
    switch (h.command) {
    case VERSION:
        result = version(s, bytes);
        break;
    case DMA_MAP:
        result = dma_map(m, bytes);
        break;
    case DMA_UNMAP:
        result = dma_unmap(m, bytes);
        break;
    case GET_INFO:
        result = get_info(m);
        break;
    case GET_REGION_INFO:
        result = get_region_info(m, bytes, &fd);
        break;
    case GET_IRQ_INFO:
        result = get_irq_info(m, bytes);
        break;
    case SET_IRQS:
        result = set_irqs(m, bytes);
        break;
    case REGION_READ:
        result = region_read(m, bytes);
        break;
    case REGION_WRITE:
        result = region_write(m, bytes);
        break;
    case DEVICE_RESET:
        model_reset(m, "reset of the machine or the slot");
        result = 0;
        break;
    default:
        result = -ENOSYS;
        break;
    }
    while (s->fd_count > 0)
        close(fd_take(s)); /* nobody asked for them */
    return reply(s, &h, result > 0 ? (size_t)result : 0, result < 0 ? result : 0, fd);
}

int server_run(struct model *m, volatile const int *stop)
{
    struct server *s = m->server;
    struct pollfd poll_fd = {s->listener, POLLIN, 0};
    while (s->connection < 0) {
        if (*stop)
            return 0;
        if (poll(&poll_fd, 1, -1) > 0)
            s->connection = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    }
    note(m, "QEMU is connected");
    int error = 0;
    while (error == 0 && !*stop) {
        poll_fd = (struct pollfd){s->connection, POLLIN, 0};
        int ready = poll(&poll_fd, 1, loop_wait_ms(m));
        if (ready < 0 && errno != EINTR)
            error = -errno;
        else if (ready > 0)
            error = handle(m);
        loop_run(m);
    }
    close(s->connection);
    s->connection = -1;
    interrupts_drop(s);
    bus_dma_unmap(m, 0, 0, true);
    return error == -EPIPE || error == -ECONNRESET ? 0 : error;
}
