/*
 * tests/model/pci.c: configuration space, as lspci -vvv shows it on such boards, and the BARs.
 *
 *   0x60 power management   0x68 MSI   0x78 PCI Express   0xb0 MSI-X (boards without a display)
 *   0x100 virtual channel   0x420 AER   0xbb0 resizable BAR (BAR1)
 *
 * Consumer boards: BAR0 (32 bits) registers, BAR1 (64 bits, prefetchable) framebuffer, BAR3 (64 bits, prefetchable, 32 MiB)
 * instance memory, BAR5 (I/O). Compute boards: BAR0, BAR2 and BAR4, all 64 bits and prefetchable. (lspci of such boards; no
 * manual.) Layout of the capabilities: PCI Local Bus 3.0, PCI Express Base 4.0.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/model/parts.h"

#define CONFIG_BYTES        4096
#define BARS                6

#define COMMAND             0x04
#define COMMAND_MEMORY      0x0002
#define COMMAND_MASTER      0x0004
#define BAR(i)              (0x10 + 4 * (i))

#define PM                  0x60
#define MSI                 0x68
#define PCIE                0x78
#define MSIX                0xb0
#define VC                  0x100
#define AER                 0x420
#define REBAR               0xbb0
#define PCIE_DEVICE_CONTROL 0x08
#define DEVICE_CONTROL_FLR  0x8000

/* Where the boards that have MSI-X keep its table: NV_VIRTUAL_FUNCTION_PRIV_MSIX_TABLE 0x10000 of dev_vm.h (gh100), in
 * the physical function's window at 0xb80000. */
#define MSIX_TABLE          0xb90000
#define MSIX_PBA            0xba0000
#define MSIX_COUNT          9

struct bar {
    uint64_t bytes;
    bool is_64, is_prefetchable, is_io;
};

struct pci {
    uint8_t config[CONFIG_BYTES], writable[CONFIG_BYTES];
    struct bar bars[BARS];
    unsigned bar1; /* index of the framebuffer's BAR */
    int vram_fd, bar0_fd;
    uint64_t flr_ns; /* when a function-level reset began; 0: none */
};

static void put16(struct pci *pci, unsigned at, uint16_t value)
{
    memcpy(&pci->config[at], &value, 2);
}

static void put32(struct pci *pci, unsigned at, uint32_t value)
{
    memcpy(&pci->config[at], &value, 4);
}

static uint32_t get32(const struct pci *pci, unsigned at)
{
    uint32_t value;
    memcpy(&value, &pci->config[at], 4);
    return value;
}

static uint16_t get16(const struct pci *pci, unsigned at)
{
    uint16_t value;
    memcpy(&value, &pci->config[at], 2);
    return value;
}

static void writable16(struct pci *pci, unsigned at, uint16_t mask)
{
    memcpy(&pci->writable[at], &mask, 2);
}

static void writable32(struct pci *pci, unsigned at, uint32_t mask)
{
    memcpy(&pci->writable[at], &mask, 4);
}

static unsigned log2_of(uint64_t value)
{
    unsigned n = 0;
    while (value > 1) {
        value >>= 1;
        n++;
    }
    return n;
}

static void bars_fill(struct pci *pci)
{
    for (unsigned i = 0; i < BARS; i++) {
        const struct bar *bar = &pci->bars[i];
        if (bar->bytes == 0)
            continue;
        uint32_t flags = bar->is_io ? 1 : (bar->is_64 ? 4u : 0) | (bar->is_prefetchable ? 8u : 0);
        uint64_t mask = ~(bar->bytes - 1);
        put32(pci, BAR(i), flags);
        writable32(pci, BAR(i), (uint32_t)mask);
        if (bar->is_64)
            writable32(pci, BAR(i + 1), (uint32_t)(mask >> 32));
    }
}

/* What power-on leaves there. */
static void config_fill(struct model *m)
{
    struct pci *pci = m->pci;
    const struct chip *chip = m->chip;
    memset(pci->config, 0, sizeof(pci->config));
    memset(pci->writable, 0, sizeof(pci->writable));
    put16(pci, 0x00, 0x10de);
    put16(pci, 0x02, chip->device_id);
    put16(pci, COMMAND, 0);
    writable16(pci, COMMAND, 0x0547);
    put16(pci, 0x06, 0x0010); /* a list of capabilities */
    pci->config[0x08] = chip->revision;
    pci->config[0x0a] = chip->is_3d_controller ? 0x02 : 0x00;
    pci->config[0x0b] = 0x03;
    pci->writable[0x0c] = 0xff;
    bars_fill(pci);
    put16(pci, 0x2c, 0x10de);
    put16(pci, 0x2e, chip->subsystem_id);
    pci->config[0x34] = PM;
    pci->writable[0x3c] = 0xff;
    pci->config[0x3d] = 1; /* INTA# */

    put32(pci, PM, 0x00030001 | MSI << 8); /* version 3; no D1, no D2 */
    put16(pci, PM + 4, 0x0008);            /* D3hot to D0 without a reset */
    writable16(pci, PM + 4, 0x0003);

    put32(pci, MSI, 0x00800005 | PCIE << 8); /* 64-bit address, one message, no masking */
    writable16(pci, MSI + 2, 0x0071);
    writable32(pci, MSI + 4, 0xfffffffc);
    writable32(pci, MSI + 8, 0xffffffff);
    writable16(pci, MSI + 12, 0xffff);

    /* Version 2; legacy endpoint on boards with I/O, else endpoint. */
    put32(pci, PCIE,
          0x00020010 | (chip->has_msix ? MSIX << 8 : 0) |
              (chip->is_3d_controller ? 0 : 0x00100000));
    /* 256-byte payloads, extended tags, role-based errors; function-level reset from Ampere on. */
    put32(pci, PCIE + 4, 0x00008fe1 | (chip->family == TURING ? 0 : 1u << 28));
    put16(pci, PCIE + PCIE_DEVICE_CONTROL, 0x2910);
    writable16(pci, PCIE + PCIE_DEVICE_CONTROL, 0x7fff);
    unsigned speed = chip->family >= HOPPER ? 5 : chip->family == TURING ? 3 : 4;
    put32(pci, PCIE + 0x0c,
          0x00400000 * 0 + 0x00475d00 +
              speed); /* x16, L0s and L1 latencies, clock power management */
    put16(pci, PCIE + 0x10, 0x0040);
    writable16(pci, PCIE + 0x10, 0x03c3);
    put16(pci, PCIE + 0x12, (uint16_t)(0x1100 | speed)); /* x16, slot clock */
    put32(pci, PCIE + 0x24, 0x00070993);                 /* device capabilities 2 */
    writable16(pci, PCIE + 0x28, 0x041f);
    put32(pci, PCIE + 0x2c, (2u << speed) - 2); /* link speeds up to this one */
    put16(pci, PCIE + 0x30, (uint16_t)speed);
    writable16(pci, PCIE + 0x30, 0x000f);

    if (chip->has_msix) {
        put32(pci, MSIX, 0x00000011 | (uint32_t)(MSIX_COUNT - 1) << 16);
        writable16(pci, MSIX + 2, 0xc000);
        put32(pci, MSIX + 4, MSIX_TABLE);
        put32(pci, MSIX + 8, MSIX_PBA);
    }

    put32(pci, VC, 0x00010002 | AER << 20);
    put32(pci, VC + 0x14, 0x800000ff);
    put32(pci, AER, 0x00020001 | (uint32_t)REBAR << 20);
    writable32(pci, AER + 0x08, 0xffffffff);
    writable32(pci, AER + 0x0c, 0xffffffff);
    writable32(pci, AER + 0x14, 0xffffffff);
    /* Resizable BAR (PCI Express 4.0, 7.8.6): one BAR; sizes 64 MiB up to the one that shows all of VRAM. */
    unsigned largest = log2_of(m->vram_bytes) + ((m->vram_bytes & (m->vram_bytes - 1)) != 0);
    uint32_t sizes = 0;
    for (unsigned log2 = 26; log2 <= largest && log2 < 48; log2++)
        sizes |= 1u << (log2 - 20 + 4);
    put32(pci, REBAR, 0x00010015);
    put32(pci, REBAR + 4, sizes);
    put32(pci, REBAR + 8, pci->bar1 | 1u << 5 | (log2_of(pci->bars[pci->bar1].bytes) - 20) << 8);
    writable32(pci, REBAR + 8, 0x3f00);
}

int pci_init(struct model *m, uint64_t bar1_bytes)
{
    struct pci *pci = m->pci = calloc(1, sizeof(*m->pci));
    if (pci == NULL)
        return -ENOMEM;
    if (m->chip->is_3d_controller) {
        pci->bars[0] = (struct bar){m->chip->bar0_bytes, .is_64 = true, .is_prefetchable = true};
        pci->bar1 = 2;
    } else {
        pci->bars[0] = (struct bar){m->chip->bar0_bytes, .is_64 = false};
        pci->bar1 = 1;
        pci->bars[5] = (struct bar){128, .is_io = true};
    }
    pci->bars[pci->bar1] = (struct bar){bar1_bytes, .is_64 = true, .is_prefetchable = true};
    pci->bars[pci->bar1 + 2] =
        (struct bar){UINT64_C(32) << 20, .is_64 = true, .is_prefetchable = true};
    /* As large as the largest BAR1, so that what is past VRAM can be mapped, too. */
    pci->vram_fd = memfd_create("vram", MFD_CLOEXEC);
    uint64_t room = bar1_bytes > m->vram_bytes ? bar1_bytes : m->vram_bytes;
    if (pci->vram_fd < 0 || ftruncate(pci->vram_fd, (off_t)room) != 0)
        return -errno;
    m->vram = mmap(NULL, m->vram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                   pci->vram_fd, 0);
    if (m->vram == MAP_FAILED)
        return -errno;
    config_fill(m);
    return 0;
}

void pci_reset(struct model *m, bool is_function_level)
{
    config_fill(m);
    m->pci->flr_ns = is_function_level ? now_ns() : 0;
}

unsigned pci_bar1_index(const struct model *m)
{
    return m->pci->bar1;
}

unsigned pci_bar3_index(const struct model *m)
{
    return m->pci->bar1 + 2;
}

bool pci_is_bus_master(const struct model *m)
{
    return (get16(m->pci, COMMAND) & COMMAND_MASTER) != 0;
}

bool pci_decodes_memory(const struct model *m)
{
    uint64_t address;
    return (get16(m->pci, COMMAND) & COMMAND_MEMORY) != 0 && pci_bar_address(m, 0, &address) &&
           (get16(m->pci, PM + 4) & 3) == 0;
}

bool pci_bar_address(const struct model *m, unsigned index, uint64_t *address)
{
    const struct pci *pci = m->pci;
    uint64_t value = get32(pci, BAR(index)) & ~UINT32_C(15);
    if (pci->bars[index].is_64)
        value |= (uint64_t)get32(pci, BAR(index + 1)) << 32;
    *address = value;
    return value != 0;
}

uint32_t pci_config_dword(const struct model *m, unsigned offset)
{
    return offset + 4 <= CONFIG_BYTES ? get32(m->pci, offset) : UINT32_MAX;
}

struct pci_region pci_region_get(struct model *m, unsigned index)
{
    const struct pci *pci = m->pci;
    struct pci_region region = {.fd = -1};
    if (index == PCI_REGION_CONFIG) {
        region.bytes = CONFIG_BYTES;
    } else if (index < BARS) {
        region.bytes = pci->bars[index].bytes;
        if (index == pci->bar1) {
            region.fd = pci->vram_fd;
            region.mapped_bytes = region.bytes;
        } else if (index == 0) {
            region.fd = boot_prom_fd(m, &region.mapped_offset, &region.mapped_bytes);
        }
    }
    return region;
}

unsigned pci_message_count(const struct model *m, bool msix)
{
    return !msix ? 1 : m->chip->has_msix ? MSIX_COUNT : 0;
}

/* Software waits 100 ms after a function-level reset (PCI Express 4.0, 6.6.2); some of that may have gone by on the way. */
static void flr_check(struct model *m, unsigned offset, bool is_write)
{
    struct pci *pci = m->pci;
    if (pci->flr_ns == 0)
        return;
    uint64_t since_ms = (now_ns() - pci->flr_ns) / 1000000;
    if (since_ms >= 95)
        pci->flr_ns = 0;
    else
        refuse(m, "configuration %s at %#x, %llu ms after a function-level reset (100 are due)",
               is_write ? "write" : "read", offset, (unsigned long long)since_ms);
}

void pci_config_read(struct model *m, unsigned offset, void *out, unsigned bytes)
{
    memset(out, 0xff, bytes);
    if (offset + bytes > CONFIG_BYTES)
        return;
    flr_check(m, offset, false);
    memcpy(out, &m->pci->config[offset], bytes);
}

static void rebar_written(struct model *m)
{
    struct pci *pci = m->pci;
    uint32_t control = get32(pci, REBAR + 8);
    unsigned size = control >> 8 & 0x3f, now = log2_of(pci->bars[pci->bar1].bytes) - 20;
    if (size == now)
        return;
    if (size + 4 > 31 || (get32(pci, REBAR + 4) & 1u << (size + 4)) == 0)
        refuse(m, "BAR1 is to be resized to 2^%u MiB, which the GPU does not offer", size);
    else if (get16(pci, COMMAND) & COMMAND_MEMORY)
        refuse(m, "BAR1 is resized while memory decoding is on");
    else
        pci->bars[pci->bar1].bytes = UINT64_C(1) << (size + 20);
    put32(pci, REBAR + 8, pci->bar1 | 1u << 5 | (log2_of(pci->bars[pci->bar1].bytes) - 20) << 8);
    bars_fill(pci);
    note(m, "BAR1 is now %llu MiB", (unsigned long long)(pci->bars[pci->bar1].bytes >> 20));
}

void pci_config_write(struct model *m, unsigned offset, const void *data, unsigned bytes)
{
    struct pci *pci = m->pci;
    if (offset + bytes > CONFIG_BYTES)
        return;
    flr_check(m, offset, true);
    uint16_t command = get16(pci, COMMAND);
    const uint8_t *from = data;
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t mask = pci->writable[offset + i];
        pci->config[offset + i] = (uint8_t)((pci->config[offset + i] & ~mask) | (from[i] & mask));
    }
    uint16_t changed = command ^ get16(pci, COMMAND);
    if (changed & COMMAND_MASTER)
        note(m, "bus mastering %s", pci_is_bus_master(m) ? "on" : "off");
    unsigned control = PCIE + PCIE_DEVICE_CONTROL + 1;
    if (offset <= control && offset + bytes > control &&
        (from[control - offset] & DEVICE_CONTROL_FLR >> 8) != 0) {
        if (m->chip->family == TURING)
            refuse(m, "function-level reset asked for, which this chip does not have");
        else
            model_reset(m, "function-level reset");
        return;
    }
    if (offset < REBAR + 12 && offset + bytes > REBAR + 8)
        rebar_written(m);
}
