/*
 * tests/model/bus.c: BAR0's register blocks, and the memory that the GPU reads and writes by itself.
 *
 * Guest memory comes as ranges of bus addresses with a file each (QEMU's shared memory backend), so that the model and
 * the guest see the same pages. The GPU's own BAR1 is on that bus, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/model/parts.h"

#define BLOCKS_MAX 96
#define RANGES_MAX 4096

struct range {
    uint64_t bus, bytes;
    uint8_t *memory; /* NULL: announced without a file */
    bool is_writable;
};

struct bus {
    struct block blocks[BLOCKS_MAX]; /* by base address */
    unsigned block_count;
    struct range ranges[RANGES_MAX];
    unsigned range_count;
    bool is_lost;
    unsigned decode_complaints;
};

int bus_init(struct model *m)
{
    m->bus = calloc(1, sizeof(*m->bus));
    return m->bus == NULL ? -ENOMEM : 0;
}

/* ---- registers ------------------------------------------------------------------------------------------------- */

void block_add(struct model *m, const struct block *block)
{
    struct bus *bus = m->bus;
    if (bus->block_count == BLOCKS_MAX)
        die("more than %d register blocks", BLOCKS_MAX);
    if (block->bytes == 0 || (block->base | block->bytes) % 4 != 0)
        die("register block %s: base %#x, %#x bytes", block->name, block->base, block->bytes);
    unsigned at = bus->block_count;
    while (at > 0 && bus->blocks[at - 1].base > block->base) {
        bus->blocks[at] = bus->blocks[at - 1];
        at--;
    }
    bus->blocks[at] = *block;
    bus->block_count++;
    for (unsigned i = at > 0 ? at : 1; i < bus->block_count && i <= at + 1; i++) {
        const struct block *low = &bus->blocks[i - 1], *high = &bus->blocks[i];
        if (low->base + low->bytes > high->base)
            die("register blocks %s and %s overlap at %#x", low->name, high->name, high->base);
    }
}

static const struct block *block_find(const struct bus *bus, uint32_t reg)
{
    unsigned low = 0, high = bus->block_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct block *block = &bus->blocks[middle];
        if (reg < block->base)
            high = middle;
        else if (reg - block->base >= block->bytes)
            low = middle + 1;
        else
            return block;
    }
    return NULL;
}

const struct register_name *bus_register_name(const struct block *block, uint32_t reg)
{
    if (block == NULL || block->names == NULL)
        return NULL;
    for (const struct register_name *name = block->names; name->name != NULL; name++)
        if (name->reg == reg)
            return name;
    return NULL;
}

uint32_t reg_read(struct model *m, uint32_t reg)
{
    const struct block *block = block_find(m->bus, reg);
    return block == NULL || block->read == NULL ? PRI_ERROR : block->read(m, reg);
}

void reg_write(struct model *m, uint32_t reg, uint32_t value)
{
    const struct block *block = block_find(m->bus, reg);
    if (block != NULL && block->write != NULL)
        block->write(m, reg, value);
}

static uint32_t dword_read(struct model *m, uint32_t reg)
{
    const struct block *block = block_find(m->bus, reg);
    uint32_t value = block == NULL || block->read == NULL ? PRI_ERROR : block->read(m, reg);
    trace_register(m, false, block, reg, value);
    m->is_left_running = false;
    return value;
}

static void dword_write(struct model *m, uint32_t reg, uint32_t value)
{
    const struct block *block = block_find(m->bus, reg);
    trace_register(m, true, block, reg, value);
    if (block == NULL)
        refuse(m, "write of %#x to register %#x, which is not there", value, reg);
    else if (block->write == NULL)
        refuse(m, "write of %#x to register %#x: block %s is read-only", value, reg, block->name);
    else
        block->write(m, reg, value);
}

/* The GPU fell off the bus: everything reads as ones (fault "lost"). */
static void bus_return(struct model *m, void *arg)
{
    m->bus->is_lost = false;
}

void bus_leave(struct model *m, uint64_t for_ns)
{
    m->bus->is_lost = true;
    if (for_ns != 0)
        timer_add(m, for_ns, bus_return, NULL);
}

static bool is_lost(struct model *m)
{
    struct bus *bus = m->bus;
    bus->is_lost = bus->is_lost || fault(m, "lost", NULL);
    return bus->is_lost;
}

void bus_bar0_read(struct model *m, uint64_t offset, void *out, unsigned bytes)
{
    memset(out, 0xff, bytes);
    if (is_lost(m))
        return;
    if (!pci_decodes_memory(m)) {
        if (m->bus->decode_complaints++ < 3)
            refuse(m, "read of BAR0 + %#llx while the GPU does not decode memory",
                   (unsigned long long)offset);
        return;
    }
    if (bytes == 8 && offset % 8 == 0) {
        bus_bar0_read(m, offset, out, 4);
        bus_bar0_read(m, offset + 4, (uint8_t *)out + 4, 4);
        return;
    }
    if ((bytes != 4 && bytes != 2 && bytes != 1) || offset % bytes != 0) {
        refuse(m, "read of %u bytes at BAR0 + %#llx", bytes, (unsigned long long)offset);
        return;
    }
    uint32_t value = dword_read(m, (uint32_t)offset & ~3u);
    memcpy(out, (const uint8_t *)&value + offset % 4, bytes);
}

void bus_bar0_write(struct model *m, uint64_t offset, const void *data, unsigned bytes)
{
    if (is_lost(m))
        return;
    if (!pci_decodes_memory(m)) {
        refuse(m, "write to BAR0 + %#llx while the GPU does not decode memory",
               (unsigned long long)offset);
        return;
    }
    if (bytes == 8 && offset % 8 == 0) {
        bus_bar0_write(m, offset, data, 4);
        bus_bar0_write(m, offset + 4, (const uint8_t *)data + 4, 4);
        return;
    }
    if (bytes != 4 || offset % 4 != 0) {
        refuse(m, "write of %u bytes at BAR0 + %#llx: registers are 32 bits wide", bytes,
               (unsigned long long)offset);
        return;
    }
    uint32_t value;
    memcpy(&value, data, 4);
    dword_write(m, (uint32_t)offset, value);
}

/* ---- guest memory ---------------------------------------------------------------------------------------------- */

int bus_dma_map(struct model *m, uint64_t bus, uint64_t bytes, uint64_t offset, int fd,
                bool is_writable)
{
    struct bus *b = m->bus;
    int error = 0;
    uint8_t *memory = NULL;
    if (bytes == 0 || bus + bytes < bus || b->range_count == RANGES_MAX)
        error = -EINVAL;
    if (error == 0 && fd >= 0) {
        memory = mmap(NULL, bytes, PROT_READ | (is_writable ? PROT_WRITE : 0), MAP_SHARED, fd,
                      (off_t)offset);
        if (memory == MAP_FAILED)
            error = -errno;
    }
    if (fd >= 0)
        close(fd);
    if (error != 0)
        return error;
    b->ranges[b->range_count++] = (struct range){bus, bytes, memory, is_writable};
    return 0;
}

void bus_identity_map(struct model *m)
{
    m->bus->ranges[m->bus->range_count++] =
        (struct range){4096, (UINT64_C(1) << 47) - 4096, (uint8_t *)4096, true};
}

int bus_dma_unmap(struct model *m, uint64_t bus, uint64_t bytes, bool all)
{
    struct bus *b = m->bus;
    unsigned kept = 0, removed = 0;
    for (unsigned i = 0; i < b->range_count; i++) {
        struct range *r = &b->ranges[i];
        if (all || (r->bus >= bus && r->bus + r->bytes <= bus + bytes)) {
            if (r->memory != NULL)
                munmap(r->memory, r->bytes);
            removed++;
        } else {
            b->ranges[kept++] = *r;
        }
    }
    b->range_count = kept;
    return all || removed > 0 ? 0 : -ENOENT;
}

static uint8_t *bus_find(struct model *m, uint64_t bus, size_t bytes, bool is_write)
{
    unsigned long long a = bus, n = bytes;
    if (!pci_is_bus_master(m)) {
        refuse(m, "the GPU is to reach bus address %#llx, but bus mastering is off", a);
        return NULL;
    }
    /* OGKM: NV_PTE's system address is 47 bits wide up to Ada, 52 from Hopper on (kern_gpu_*.c, gpuGetPhysAddrWidth) */
    unsigned width = m->chip->mmu_version == 2 ? 47 : 52;
    if (bytes == 0 || bus + bytes < bus || bus + bytes > UINT64_C(1) << width) {
        refuse(m, "bus address %#llx + %#llx is past the %u bits that the GPU has", a, n, width);
        return NULL;
    }
    uint64_t bar1;
    if (pci_bar_address(m, pci_bar1_index(m), &bar1)) {
        uint64_t size = pci_region_get(m, pci_bar1_index(m)).bytes;
        size = size < m->vram_bytes ? size : m->vram_bytes;
        if (bus >= bar1 && bus + bytes <= bar1 + size)
            return m->vram + (bus - bar1);
    }
    for (unsigned i = 0; i < m->bus->range_count; i++) {
        const struct range *r = &m->bus->ranges[i];
        if (r->memory == NULL || bus < r->bus || bus + bytes > r->bus + r->bytes)
            continue;
        if (is_write && !r->is_writable)
            break;
        return r->memory + (bus - r->bus);
    }
    refuse(m, "the GPU is to %s %#llx bytes at bus address %#llx, where there is no memory",
           is_write ? "write" : "read", n, a);
    return NULL;
}

bool bus_read(struct model *m, uint64_t bus, void *out, size_t bytes)
{
    const uint8_t *memory = bus_find(m, bus, bytes, false);
    if (memory == NULL)
        memset(out, 0xff, bytes);
    else
        memcpy(out, memory, bytes);
    return memory != NULL;
}

bool bus_write(struct model *m, uint64_t bus, const void *data, size_t bytes)
{
    uint8_t *memory = bus_find(m, bus, bytes, true);
    if (memory != NULL)
        memcpy(memory, data, bytes);
    return memory != NULL;
}

void *bus_map(struct model *m, uint64_t bus, size_t bytes)
{
    return bus_find(m, bus, bytes, true);
}

/* ---- either ---------------------------------------------------------------------------------------------------- */

static uint8_t *vram_find(struct model *m, uint64_t address, size_t bytes)
{
    unsigned long long a = address, n = bytes;
    if (address + bytes < address || address + bytes > m->vram_bytes) {
        refuse(m, "VRAM address %#llx + %#llx is past the %#llx bytes that there are", a, n,
               (unsigned long long)m->vram_bytes);
        return NULL;
    }
    struct wpr2 wpr = wpr2_get(m);
    if (address < wpr.end && address + bytes > wpr.start) {
        refuse(m, "VRAM address %#llx + %#llx is inside WPR2 (%#llx to %#llx)", a, n,
               (unsigned long long)wpr.start, (unsigned long long)wpr.end);
        return NULL;
    }
    return m->vram + address;
}

void *memory_map(struct model *m, enum aperture aperture, uint64_t address, size_t bytes)
{
    return aperture == APERTURE_VRAM ? vram_find(m, address, bytes)
                                     : bus_find(m, address, bytes, true);
}

bool memory_read(struct model *m, enum aperture aperture, uint64_t address, void *out, size_t bytes)
{
    if (aperture == APERTURE_SYSTEM)
        return bus_read(m, address, out, bytes);
    const uint8_t *memory = vram_find(m, address, bytes);
    if (memory == NULL)
        memset(out, 0xff, bytes);
    else
        memcpy(out, memory, bytes);
    return memory != NULL;
}

bool memory_write(struct model *m, enum aperture aperture, uint64_t address, const void *data,
                  size_t bytes)
{
    uint8_t *memory = memory_map(m, aperture, address, bytes);
    if (memory != NULL)
        memcpy(memory, data, bytes);
    return memory != NULL;
}
