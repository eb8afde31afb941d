/*
 * kernel/pci_resize.c: grows resizable BARs (PCI Express Base 5.0, 7.8.6), so that the whole memory of a GPU can be reached
 * where the firmware has given it a window of 256 MiB only.
 *
 * The firmware has placed everything, and nothing here knows which addresses the host bridge decodes, so bridge windows
 * stay as they are: a BAR grows where it is, or moves to a free place, inside the prefetchable window of the bridge above
 * it. Of other functions in that window only the address of a BAR is known, not its size, so what lies behind it counts
 * as taken. Only 64-bit prefetchable BARs; a device on a root bus has no window that would say what is free.
 */
#include <stdio.h>

#include "kernel/machine.h"
#include "kernel/pci.h"

#define SIZE_MIN_LOG2 20 /* size 0 is 1 MiB */
#define SIZE_COUNT \
    44 /* 8 EiB; sizes 0 to 27 stand in the capability register, the rest in the control register */
#define TAKEN_MAX 64

/* Taken: [start, end). */
struct range {
    uint64_t start, end;
};

struct room {
    struct range range;
    struct range taken[TAKEN_MAX]; /* in order of start */
    unsigned taken_count;
    bool is_full; /* more things than taken[] holds: no place can be trusted */
};

static uint64_t size_of(unsigned log2)
{
    return UINT64_C(1) << (SIZE_MIN_LOG2 + log2);
}

/* "256 MiB", "16 GiB" */
static const char *size_text(uint64_t bytes, char text[24])
{
    if (bytes >= UINT64_C(1) << 30 && bytes % (UINT64_C(1) << 30) == 0)
        snprintf(text, 24, "%llu GiB", (unsigned long long)(bytes >> 30));
    else
        snprintf(text, 24, "%llu MiB", (unsigned long long)(bytes >> 20));
    return text;
}

/* ---- the capability ---- */

/* The entry of a BAR, 0 if it has none. */
static unsigned entry_find(const struct pci_device *pci, unsigned index)
{
    unsigned capability = pci_find_ext_capability(pci, PCI_EXT_CAP_RESIZABLE);
    if (capability == 0)
        return 0;
    uint64_t count =
        field_get(PCI_RESIZABLE_COUNT, pci_read32(pci, capability + PCI_RESIZABLE_CONTROL));
    for (unsigned i = 0; i < count && i < 6; i++) {
        unsigned entry = capability + i * PCI_RESIZABLE_ENTRY_BYTES;
        if (entry + PCI_RESIZABLE_CONTROL + 4 > PCI_CONFIG_BYTES)
            return 0;
        if (field_get(PCI_RESIZABLE_BAR, pci_read32(pci, entry + PCI_RESIZABLE_CONTROL)) == index)
            return entry;
    }
    return 0;
}

/* Bit n: the BAR can have size n. */
static uint64_t sizes(const struct pci_device *pci, unsigned entry)
{
    uint64_t low =
        field_get(PCI_RESIZABLE_SIZES, pci_read32(pci, entry + PCI_RESIZABLE_CAPABILITY));
    uint64_t high =
        field_get(PCI_RESIZABLE_SIZES_HIGH, pci_read32(pci, entry + PCI_RESIZABLE_CONTROL));
    return low | high << 28;
}

/* ---- room ---- */

static void take(struct room *room, uint64_t start, uint64_t end)
{
    if (start >= room->range.end || end <= room->range.start || end <= start)
        return;
    if (room->taken_count == TAKEN_MAX) {
        room->is_full = true;
        return;
    }
    unsigned at = room->taken_count++;
    for (; at > 0 && room->taken[at - 1].start > start; at--)
        room->taken[at] = room->taken[at - 1];
    room->taken[at] = (struct range){start, end};
}

/* The prefetchable window of a bridge; false when it is closed or has 32 bits only. */
static bool bridge_window(const struct pci_device *bridge, struct range *out)
{
    uint16_t base = pci_read16(bridge, PCI_PREFETCH_BASE);
    uint16_t limit = pci_read16(bridge, PCI_PREFETCH_LIMIT);
    if (field_get(PCI_PREFETCH_TYPE, base) != 1)
        return false;
    out->start = field_get(PCI_PREFETCH_ADDRESS, base) << 20 |
                 (uint64_t)pci_read32(bridge, PCI_PREFETCH_BASE_HIGH) << 32;
    out->end = (field_get(PCI_PREFETCH_ADDRESS, limit) << 20 |
                (uint64_t)pci_read32(bridge, PCI_PREFETCH_LIMIT_HIGH) << 32) +
               (UINT64_C(1) << 20);
    return out->end > out->start;
}

/* All that other functions on the same bus have in the room. */
static void take_siblings(struct room *room, const struct pci_device *pci)
{
    const struct pci_function *bridge = pci_function_of(pci)->bridge;
    const struct pci_device *other;
    for (unsigned i = 0; (other = pci_device_get(i)) != NULL; i++) {
        const struct pci_function *f = pci_function_of(other);
        struct range below;
        if (f->bridge != bridge || other == pci)
            continue;
        if (f->is_bridge) {
            if (bridge_window(other, &below))
                take(room, below.start, below.end);
            continue;
        }
        for (unsigned bar = 0; bar < 6; bar++) {
            uint32_t value = pci_read32(other, PCI_BAR0 + 4 * bar);
            bool is_64 = !(value & PCI_BAR_IO) && field_get(PCI_BAR_TYPE, value) == 2 && bar < 5;
            uint64_t pa = value & ~UINT64_C(0xf);
            if (is_64)
                pa |= (uint64_t)pci_read32(other, PCI_BAR0 + 4 * bar + 4) << 32;
            if (!(value & PCI_BAR_IO) && pa != 0)
                take(room, pa, room->range.end); /* its size is not known */
            bar += is_64;
        }
    }
}

/* The lowest free place of this size, naturally aligned; 0 if there is none. */
static uint64_t place_find(const struct room *room, uint64_t size_bytes)
{
    uint64_t at = align_up(room->range.start, size_bytes);
    for (unsigned i = 0; i <= room->taken_count; i++) {
        uint64_t end = i < room->taken_count ? room->taken[i].start : room->range.end;
        if (at >= room->range.start && end > at && end - at >= size_bytes)
            return at;
        if (i < room->taken_count && room->taken[i].end > at)
            at = align_up(room->taken[i].end, size_bytes);
    }
    return 0;
}

/* ---- growing ---- */

static void bar_set(struct pci_device *pci, unsigned index, uint64_t pa)
{
    pci_write32(pci, PCI_BAR0 + 4 * index, (uint32_t)pa);
    pci_write32(pci, PCI_BAR0 + 4 * index + 4, (uint32_t)(pa >> 32));
}

static uint64_t bar_get(const struct pci_device *pci, unsigned index)
{
    return (pci_read32(pci, PCI_BAR0 + 4 * index) & ~UINT64_C(0xf)) |
           (uint64_t)pci_read32(pci, PCI_BAR0 + 4 * index + 4) << 32;
}

static void size_set(struct pci_device *pci, unsigned entry, unsigned log2)
{
    uint32_t control = pci_read32(pci, entry + PCI_RESIZABLE_CONTROL);
    pci_write32(pci, entry + PCI_RESIZABLE_CONTROL,
                (control & ~(uint32_t)PCI_RESIZABLE_SIZE) |
                    (uint32_t)field_put(PCI_RESIZABLE_SIZE, log2));
}

/* Decoding is off meanwhile (7.8.6.3). False, with all as before, when the device does not take it. */
static bool grow(struct pci_device *pci, unsigned index, unsigned entry, unsigned log2, uint64_t pa)
{
    struct pci_bar *bar = &pci->bar[index];
    uint16_t command = pci_read16(pci, PCI_COMMAND);
    unsigned old_log2 =
        (unsigned)field_get(PCI_RESIZABLE_SIZE, pci_read32(pci, entry + PCI_RESIZABLE_CONTROL));
    pci_write16(pci, PCI_COMMAND,
                command & (uint16_t)~(PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER));
    size_set(pci, entry, log2);
    bar_set(pci, index, pa);
    bool is_taken =
        field_get(PCI_RESIZABLE_SIZE, pci_read32(pci, entry + PCI_RESIZABLE_CONTROL)) == log2 &&
        bar_get(pci, index) == pa;
    if (is_taken) {
        bar->pa = pa;
        bar->size_bytes = size_of(log2);
        struct pci_function *f = pci_function_of(pci);
        f->bar_value[index] = pci_read32(pci, PCI_BAR0 + 4 * index);
        f->bar_value[index + 1] = pci_read32(pci, PCI_BAR0 + 4 * index + 4);
    } else {
        size_set(pci, entry, old_log2);
        bar_set(pci, index, bar->pa);
    }
    pci_write16(pci, PCI_COMMAND, command);
    return is_taken;
}

int pci_bar_resize(struct pci_device *pci, unsigned index, uint64_t want_bytes, char *report,
                   size_t report_bytes)
{
    struct pci_bar *bar = &pci->bar[index];
    char is[24], to[24];
    assert(index < 5 && pci_function_of(pci)->has_bars);
    size_text(bar->size_bytes, is);
    if (bar->size_bytes >= want_bytes) {
        snprintf(report, report_bytes, "BAR %u has %s, all that is needed", index, is);
        return 0;
    }
    unsigned entry = entry_find(pci, index);
    if (entry == 0 || !bar->is_64 || !bar->is_prefetchable || bar->pa == 0) {
        snprintf(report, report_bytes, "BAR %u stays at %s: it cannot be resized", index, is);
        return 0;
    }
    uint64_t possible = sizes(pci, entry);
    uint64_t larger = 0; /* the sizes among them that would help */
    for (unsigned log2 = 0; log2 < SIZE_COUNT; log2++)
        if (size_of(log2) > bar->size_bytes)
            larger |= possible & BIT(log2);
    if (larger == 0) {
        snprintf(report, report_bytes, "BAR %u stays at %s: it offers no larger size", index, is);
        return 0;
    }
    const struct pci_function *bridge = pci_function_of(pci)->bridge;
    struct room room = {.taken_count = 0};
    if (bridge == NULL || !bridge_window(&bridge->device, &room.range)) {
        snprintf(report, report_bytes, "BAR %u stays at %s: no 64-bit window of a bridge above it",
                 index, is);
        return 0;
    }
    for (unsigned i = 0; i < 6; i++)
        if (i != index && pci->bar[i].size_bytes != 0 && !pci->bar[i].is_io)
            take(&room, pci->bar[i].pa, pci->bar[i].pa + pci->bar[i].size_bytes);
    take_siblings(&room, pci);

    /* The smallest size that is enough, or the largest there is; then smaller ones. */
    bool has_room = false;
    unsigned enough = 0;
    while (enough < SIZE_COUNT - 1 && (size_of(enough) < want_bytes || !(possible & BIT(enough))))
        enough++;
    for (unsigned tries = 0; tries <= enough; tries++) {
        unsigned log2 = enough - tries;
        if (size_of(log2) <= bar->size_bytes)
            break;
        bool is_offered = possible & BIT(log2);
        uint64_t pa = is_offered && !room.is_full ? place_find(&room, size_of(log2)) : 0;
        has_room |= pa != 0;
        if (pa == 0 || !grow(pci, index, entry, log2, pa))
            continue;
        snprintf(report, report_bytes, "BAR %u grown from %s to %s, at %#llx", index, is,
                 size_text(bar->size_bytes, to), (unsigned long long)bar->pa);
        return 1;
    }
    if (has_room)
        snprintf(report, report_bytes, "BAR %u stays at %s: it does not take another size", index,
                 is);
    else
        snprintf(report, report_bytes,
                 "BAR %u stays at %s: no room in the window of %s, %#llx to %#llx (the firmware's "
                 "setup may offer resizable BARs)",
                 index, is, bridge->device.name, (unsigned long long)room.range.start,
                 (unsigned long long)room.range.end);
    return 0;
}
