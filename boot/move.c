/*
 * boot/move.c: runs first, where the firmware loaded the image: gathers randomness, copies the image to a
 * random place, relocates the copy, and gives its pages the rights of their sections where the firmware lets us
 * (UEFI 2.10, 37.1).
 *
 * Nothing here may use the stack protector (it has no guard yet) or anything that keeps state, but boot_seed.
 */
#include "boot/uefi.h"
#include "kernel/x86.h"

/*
 * A record of the ELF relocation table (System V ABI, AMD64 supplement 4.4). The linker script keeps only
 * RELATIVE ones.
 */
struct elf_rela {
    uint64_t offset;
    uint64_t info;
    int64_t addend;
};
extern const struct elf_rela image_rela[], image_rela_end[];

/* EFI_MEMORY_ATTRIBUTE_PROTOCOL, UEFI 2.10, 37.1; gnu-efi has no declaration of it. */
struct memory_attribute_protocol {
    void *get;
    EFI_STATUS(EFIAPI *set)(struct memory_attribute_protocol *, EFI_PHYSICAL_ADDRESS, UINT64 size,
                            UINT64 attributes);
    EFI_STATUS(EFIAPI *clear)(struct memory_attribute_protocol *, EFI_PHYSICAL_ADDRESS, UINT64 size,
                              UINT64 attributes);
};
#define MEMORY_XP  UINT64_C(0x4000)  /* EFI_MEMORY_XP: not executable */
#define MEMORY_RO  UINT64_C(0x20000) /* EFI_MEMORY_RO */
#define MEMORY_SP  UINT64_C(0x40000) /* EFI_MEMORY_SP: set aside for a special purpose */

#define MOVE_TRIES 32
#define MOVE_LOWEST \
    UINT64_C(0x1000000) /* 16 MiB: leave low memory to firmware and to the trampoline */

struct boot_seed boot_seed = {
    .words = {1}}; /* in .data, not .bss, so that it is copied along with the image */

/* splitmix64's output function: spreads each input bit over the word. */
static BEFORE_GUARD uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* One RDSEED (or RDRAND) word. Intel's guide: RDRAND succeeds within 10 tries, RDSEED may need more. */
static BEFORE_GUARD bool hardware_word(uint64_t *out)
{
    uint32_t leaf_max = cpuid(0, 0).eax;
    bool has_rdseed = leaf_max >= 7 && cpuid(7, 0).ebx & BIT(18);
    bool has_rdrand = cpuid(1, 0).ecx & BIT(30);
    for (int i = 0; has_rdseed && i < 100; i++) {
        uint8_t ok;
        __asm__ volatile("rdseed %0\n\tsetc %1" : "=r"(*out), "=qm"(ok) : : "cc");
        if (ok)
            return true;
    }
    for (int i = 0; has_rdrand && i < 10; i++) {
        uint8_t ok;
        __asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(*out), "=qm"(ok) : : "cc");
        if (ok)
            return true;
    }
    return false;
}

BEFORE_GUARD void boot_seed_gather(EFI_SYSTEM_TABLE *system, struct boot_seed *out)
{
    EFI_GUID rng_guid = EFI_RNG_PROTOCOL_GUID;
    EFI_RNG_PROTOCOL *rng = NULL;
    uint64_t firmware_words[8] = {0};
    bool has_firmware_words =
        !EFI_ERROR(system->BootServices->LocateProtocol(&rng_guid, NULL, (void **)&rng)) &&
        rng != NULL &&
        !EFI_ERROR(rng->GetRNG(rng, NULL, sizeof(firmware_words), (UINT8 *)firmware_words));
    uint64_t monotonic = 0;
    system->BootServices->GetNextMonotonicCount(
        &monotonic); /* a seed only: an error leaves 0, which is fine */

    out->is_strong = has_firmware_words;
    uint64_t state = tsc_read() ^ mix(monotonic);
    for (unsigned word = 0; word < ARRAY_COUNT(out->words); word++) {
        /* Timing: how long CPUID takes varies with caches, interrupts and, in a virtual machine, the host. */
        for (int i = 0; i < 32; i++) {
            uint64_t before = tsc_read();
            cpuid(0, 0);
            state = mix(state ^ (tsc_read() - before)) ^ before;
        }
        uint64_t hardware = 0;
        if (hardware_word(&hardware))
            out->is_strong = true;
        out->words[word] ^= mix(state) ^ hardware ^ firmware_words[word];
    }
}

/*
 * A random page-aligned place for size_bytes in free memory, or 0: each of the lowest eighth of all possible pages is
 * equally likely. Only there, because device memory comes in one piece: the image must not lie in the middle of it.
 */
static BEFORE_GUARD uint64_t place_choose(const char *map, UINTN map_bytes, UINTN step,
                                          uint64_t size_bytes, uint64_t dice)
{
    uint64_t places = 0;
    for (int pass = 0; pass < 2; pass++) {
        uint64_t want = pass == 0 ? 0 : dice % (places / 8 + 1);
        for (UINTN at = 0; at + sizeof(EFI_MEMORY_DESCRIPTOR) <= map_bytes; at += step) {
            const EFI_MEMORY_DESCRIPTOR *d = (const void *)(map + at);
            uint64_t start = d->PhysicalStart, end = start + d->NumberOfPages * PAGE_SIZE;
            if (d->Type != EfiConventionalMemory || d->Attribute & MEMORY_SP)
                continue;
            if (start < MOVE_LOWEST)
                start = MOVE_LOWEST;
            if (end < start || end - start < size_bytes)
                continue;
            uint64_t count = (end - start - size_bytes) / PAGE_SIZE + 1;
            if (pass == 0)
                places += count;
            else if (want < count)
                return start + want * PAGE_SIZE;
            else
                want -= count;
        }
    }
    return 0;
}

static BEFORE_GUARD bool covers_log(uint64_t pa, uint64_t size_bytes)
{
    static const uint64_t log_places[] = BOOT_LOG_PLACES;
    for (unsigned i = 0; i < ARRAY_COUNT(log_places); i++) {
        if (pa < log_places[i] + BOOT_LOG_BYTES && log_places[i] < pa + size_bytes)
            return true;
    }
    return false;
}

static BEFORE_GUARD uint64_t place_allocate(EFI_SYSTEM_TABLE *system, uint64_t size_bytes)
{
    EFI_BOOT_SERVICES *bs = system->BootServices;
    UINTN map_bytes = 0, key, step;
    UINT32 version;
    bs->GetMemoryMap(&map_bytes, NULL, &key, &step,
                     &version); /* fails by design and says the size */
    map_bytes += 16 * 1024;
    char *map = NULL;
    if (EFI_ERROR(bs->AllocatePool(EfiLoaderData, map_bytes, (void **)&map)))
        return 0;
    uint64_t place = 0;
    if (!EFI_ERROR(bs->GetMemoryMap(&map_bytes, (void *)map, &key, &step, &version))) {
        for (int i = 0; i < MOVE_TRIES && place == 0; i++) {
            EFI_PHYSICAL_ADDRESS pa = place_choose(map, map_bytes, step, size_bytes,
                                                   mix(boot_seed.words[7] + (uint64_t)i));
            if (pa != 0 && !covers_log(pa, size_bytes) &&
                !EFI_ERROR(
                    bs->AllocatePages(AllocateAddress, EfiLoaderCode, EFI_PAGES(size_bytes), &pa)))
                place = pa;
        }
    }
    bs->FreePool(map);
    return place;
}

/* Best effort: firmware without the protocol leaves loader code writable and executable until our own page tables. */
static BEFORE_GUARD EFI_STATUS rights_set(EFI_SYSTEM_TABLE *system, uint64_t base)
{
    EFI_GUID guid = {0xf4560cf6, 0x40ec, 0x4b4a, {0xa1, 0x92, 0xbf, 0x1d, 0x57, 0xd0, 0xb1, 0x89}};
    struct memory_attribute_protocol *attributes = NULL;
    if (EFI_ERROR(system->BootServices->LocateProtocol(&guid, NULL, (void **)&attributes)) ||
        attributes == NULL)
        return EFI_SUCCESS;
    uint64_t text = base + (uint64_t)(image_text - image_base),
             rodata = base + (uint64_t)(image_rodata - image_base);
    uint64_t data = base + (uint64_t)(image_data - image_base),
             end = base + (uint64_t)(image_data_end - image_base);
    EFI_STATUS status = attributes->set(attributes, base, image_facts.size_bytes, MEMORY_XP);
    if (!EFI_ERROR(status))
        status = attributes->clear(attributes, data, end - data, MEMORY_RO);
    if (!EFI_ERROR(status))
        status = attributes->set(attributes, base, data - base, MEMORY_RO);
    if (!EFI_ERROR(status))
        status = attributes->clear(attributes, text, rodata - text, MEMORY_XP);
    return status;
}

BEFORE_GUARD char *boot_image_move(EFI_SYSTEM_TABLE *system)
{
    boot_seed_gather(system, &boot_seed);

    uint64_t size_bytes = image_facts.size_bytes;
    uint64_t place = place_allocate(system, size_bytes);
    if (place == 0)
        return image_base;
    uint64_t count = size_bytes;
    void *to = (void *)place;
    const void *from = image_base;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    for (const struct elf_rela *r = image_rela; r < image_rela_end; r++)
        *(uint64_t *)(place + r->offset) = place + (uint64_t)r->addend;
    if (EFI_ERROR(rights_set(system, place))) {
        system->BootServices->FreePages(place, EFI_PAGES(size_bytes));
        return image_base;
    }
    for (unsigned i = 0; i < ARRAY_COUNT(boot_seed.words); i++)
        ((volatile uint64_t *)boot_seed.words)[i] = 0; /* leave no copy of the secret behind */
    return (char *)place;
}
