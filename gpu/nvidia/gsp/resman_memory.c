/*
 * gpu/nvidia/gsp/resman_memory.c: VRAM and host memory as objects, their mappings, and the VRAM behind page tables and
 * engines. The GSP hears of none of it (open-gpu-kernel-modules 570.144, resource_list.h: memory classes carry no RPC flag).
 *
 * BAR1 is put into physical mode: offset x of the BAR is byte x of VRAM, for the CPU and for other PCI devices. The GPU's
 * own MMU does not take part in that, so nothing has to be mapped for it.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvidia/gsp/regs/mmu.h"
#include "gpu/nvidia/gsp/resman.h"

#define EXTENTS_MAX 256
#define INVALIDATE_TIMEOUT_NS \
    NS_PER_S /* RM allows its default of 4 s; a TLB that takes one is broken */
#define BOTTOM_BYTES \
    UINT64_C( \
        0x100000) /* left alone: address 0 means "none" to RM, and firmware consoles start there */

/* ---- page tables ------------------------------------------------------------------------------------------------- */

void *resman_vram_cpu(struct resman *resman, uint64_t offset, uint64_t size_bytes)
{
    const struct hw *hw = &resman->gsp.hw;
    if (!hw->bar1 || offset > hw->bar1_bytes || size_bytes > hw->bar1_bytes - offset)
        return NULL;
    return (void *)(uintptr_t)(hw->bar1 + offset);
}

static int table_alloc(void *arg, uint64_t size_bytes, uint64_t *pa)
{
    struct resman *resman = arg;
    int error = vram_alloc(&resman->vram, VRAM_VISIBLE, size_bytes, size_bytes, pa);
    if (!error)
        memset(resman_vram_cpu(resman, *pa, size_bytes), 0, size_bytes);
    return error;
}

static void table_free(void *arg, uint64_t pa, uint64_t size_bytes)
{
    struct resman *resman = arg;
    vram_free(&resman->vram, pa, size_bytes);
}

static void table_write64(void *arg, uint64_t pa, uint64_t value)
{
    mmio_write64(resman_vram_cpu(arg, pa, sizeof(value)), value);
}

/* Steps (kern_gmmu_tu102.c): entries to VRAM, trigger, wait until it reads as done. */
static int invalidate(void *arg, uint64_t root_pa)
{
    struct resman *resman = arg;
    struct hw *hw = &resman->gsp.hw;
    if (resman->is_lost)
        return 0;            /* it walks nothing any more */
    __builtin_ia32_sfence(); /* entries leave the CPU's write-combining buffers ... */
    mmio_read32(
        resman_vram_cpu(resman, root_pa, 4)); /* ... and are in VRAM when this read comes back */
    const uint32_t reg =
        NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET + NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE;
    const uint32_t trigger = (uint32_t)NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_TRIGGER;
    hw_write32(hw, reg,
               (uint32_t)(NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ALL_VA |
                          NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ALL_PDB |
                          NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_SYS_MEMBAR |
                          field_put(NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ACK,
                                    NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE_ACK_GLOBALLY)) |
                   trigger);
    int error = hw_wait32(hw, reg, trigger, 0, INVALIDATE_TIMEOUT_NS, "TLB invalidation");
    if (error)
        resman_lost(resman, hw->error);
    return error;
}

const struct mmu_ops resman_mmu_ops = {.table_alloc = table_alloc,
                                       .table_free = table_free,
                                       .write64 = table_write64,
                                       .invalidate = invalidate};

/* ---- start ------------------------------------------------------------------------------------------------------- */

/* Physical mode, then one word written and read back. */
static uint32_t bar1_start(struct resman *resman)
{
    struct hw *hw = &resman->gsp.hw;
    if (!hw->bar1 || hw->bar1_bytes <= BOTTOM_BYTES)
        return resman_fail(resman, NV_ERR_NOT_SUPPORTED,
                           "BAR1 is not mapped: VRAM cannot be reached");
    if (hw->chip->boot == HW_BOOT_FSP) {
        hw_write32(hw,
                   NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET +
                       NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_HIGH_ADDR,
                   0);
        hw_write32(hw,
                   NV_VIRTUAL_FUNCTION_FULL_PHYS_OFFSET +
                       NV_VIRTUAL_FUNCTION_PRIV_FUNC_BAR1_BLOCK_LOW_ADDR,
                   0);
    }
    hw_write32(hw, NV_PBUS_BAR1_BLOCK, 0);
    static const uint32_t patterns[] = {0x494e474f, 0xb6b1b8b0}; /* one and its complement */
    volatile uint32_t *word = resman_vram_cpu(resman, BOTTOM_BYTES, sizeof(*word));
    for (unsigned i = 0; i < ARRAY_COUNT(patterns); i++) {
        mmio_write32(word, patterns[i]);
        __builtin_ia32_sfence();
        uint32_t seen = mmio_read32(word);
        if (seen != patterns[i])
            return resman_fail(resman, NV_ERR_INVALID_STATE,
                               "VRAM through BAR1: 0x%08x written at 0x%llx reads as 0x%08x",
                               patterns[i], (unsigned long long)BOTTOM_BYTES, seen);
    }
    return NV_OK;
}

/* [start, end) is free for us; what lies below BOTTOM_BYTES and past the layout's end is not. */
static int add_region(struct resman *resman, uint64_t start, uint64_t end)
{
    const struct gsp *gsp = &resman->gsp;
    uint64_t limit = gsp->layout.usable_end ? gsp->layout.usable_end : gsp->hw.vram_bytes;
    start = align_up(start > BOTTOM_BYTES ? start : BOTTOM_BYTES, MMU_PAGE_64K);
    end = align_down(min_u64(end, limit), MMU_PAGE_64K);
    return start < end ? vram_add(&resman->vram, start, end - start) : 0;
}

uint32_t resman_memory_start(struct resman *resman)
{
    const struct gsp_info *info = &resman->gsp.info;
    uint32_t status = bar1_start(resman);
    if (status != NV_OK)
        return status;
    int error = vram_init(&resman->vram, resman->gsp.hw.bar1_bytes);
    for (unsigned i = 0; i < info->region_count && !error; i++)
        if (!info->region[i].is_reserved)
            error = add_region(resman, info->region[i].base,
                               info->region[i].base + info->region[i].bytes);
    if (!error)
        error = mmu_init(&resman->mmu, resman->gsp.hw.chip->mmu_version, &resman_mmu_ops, resman);
    return error ? resman_fail(resman, NV_ERR_NO_MEMORY,
                               "no VRAM for page tables: RM leaves %llu bytes of %llu",
                               (unsigned long long)resman->vram.total_bytes,
                               (unsigned long long)resman->gsp.hw.vram_bytes)
                 : NV_OK;
}

void resman_memory_stop(struct resman *resman)
{
    mmu_fini(&resman->mmu);
    vram_fini(&resman->vram);
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

static uint32_t vram_object(struct resman *resman, uint32_t parent, uint32_t handle,
                            const struct rm_memory_params *p)
{
    uint64_t page = field_get(NVOS32_ATTR_PAGE_SIZE, p->attr);
    uint64_t align = page == NVOS32_ATTR_PAGE_SIZE_HUGE  ? MMU_PAGE_2M
                     : page == NVOS32_ATTR_PAGE_SIZE_BIG ? MMU_PAGE_64K
                                                         : MMU_PAGE_4K;
    if (p->size == 0 || p->size > resman->vram.total_bytes)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "%llu bytes of VRAM: there are %llu in all",
                           (unsigned long long)p->size,
                           (unsigned long long)resman->vram.total_bytes);
    uint64_t size_bytes = align_up(p->size, align);
    bool in_one_piece =
        field_get(NVOS32_ATTR_PHYSICALITY, p->attr) == NVOS32_ATTR_PHYSICALITY_CONTIGUOUS;
    unsigned max = in_one_piece ? 1 : EXTENTS_MAX, count;
    struct resman_memory *memory = malloc(sizeof(*memory) + max * sizeof(memory->extents[0]));
    if (!memory)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no memory for an object");
    if (vram_alloc_extents(&resman->vram, in_one_piece ? VRAM_VISIBLE : VRAM_ANYWHERE, size_bytes,
                           align, memory->extents, max, &count) != 0) {
        free(memory);
        return resman_fail(resman, NV_ERR_NO_MEMORY, "%llu bytes of VRAM: %llu are left%s",
                           (unsigned long long)size_bytes,
                           (unsigned long long)resman->vram.free_bytes,
                           in_one_piece ? ", and BAR1 shows not all of them" : "");
    }
    struct resman_memory *fitted =
        realloc(memory, sizeof(*memory) + count * sizeof(memory->extents[0]));
    if (fitted) /* a smaller one: keeping the larger is no failure */
        memory = fitted;
    memory->is_vram = true;
    memory->is_visible = in_one_piece;
    memory->owns_pages = false;
    memory->cpu = NULL;
    memory->size_bytes = size_bytes;
    memory->extent_count = count;
    resman_add(resman, &memory->base, RESMAN_MEMORY, handle, parent, NV01_MEMORY_LOCAL_USER);
    return NV_OK;
}

static uint32_t host_object(struct resman *resman, uint32_t parent, uint32_t handle,
                            uint32_t class_id, void *va, uint64_t size_bytes, bool owns_pages)
{
    struct resman_memory *memory = calloc(1, sizeof(*memory));
    if (!memory)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no memory for an object");
    memory->cpu = va;
    memory->size_bytes = size_bytes;
    memory->owns_pages = owns_pages;
    resman_add(resman, &memory->base, RESMAN_MEMORY, handle, parent, class_id);
    return NV_OK;
}

uint32_t resman_memory_alloc(struct resman *resman, uint32_t parent, uint32_t handle,
                             uint32_t class_id, const struct rm_memory_params *params)
{
    if (class_id == NV01_MEMORY_LOCAL_USER)
        return vram_object(resman, parent, handle, params);
    uint64_t size_bytes = align_up(params->size, PAGE_SIZE);
    void *pages = size_bytes >= params->size ? page_alloc(size_bytes, 0) : NULL;
    if (!pages)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no %llu bytes of host memory",
                           (unsigned long long)params->size);
    uint32_t status = host_object(resman, parent, handle, class_id, pages, size_bytes, true);
    if (status != NV_OK)
        page_free(pages, size_bytes);
    return status;
}

uint32_t resman_memory_import(struct resman *resman, uint32_t parent, uint32_t handle, void *va,
                              uint64_t size_bytes)
{
    if (((uintptr_t)va | size_bytes) % PAGE_SIZE != 0 || size_bytes == 0)
        return resman_fail(resman, NV_ERR_INVALID_ADDRESS, "host memory that is not whole pages");
    return host_object(resman, parent, handle, NV01_MEMORY_SYSTEM_OS_DESCRIPTOR, va, size_bytes,
                       false);
}

void resman_memory_free(struct resman *resman, struct resman_memory *memory)
{
    for (unsigned i = 0; i < memory->extent_count; i++)
        vram_free(&resman->vram, memory->extents[i].offset, memory->extents[i].size_bytes);
    if (memory->owns_pages)
        page_free(memory->cpu, memory->size_bytes);
    resman_remove(resman, &memory->base);
    free(memory);
}

/* What mmu_map() said, in words. */
static uint32_t map_status(struct resman *resman, uint64_t gva, int error)
{
    switch (error) {
    case 0:
        return NV_OK;
    case -ENOMEM:
        return resman_fail(resman, NV_ERR_NO_MEMORY, "no VRAM for page tables");
    case -ETIMEDOUT:
    case -ENODEV:
        return resman_fail(resman, NV_ERR_GPU_IS_LOST, "%s", resman->gsp.hw.error);
    default:
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "address 0x%llx cannot be mapped (%d)",
                           (unsigned long long)gva, error);
    }
}

uint32_t resman_memory_map(struct resman *resman, const struct resman_memory *memory,
                           uint64_t size_bytes, uint64_t gva)
{
    if (size_bytes != memory->size_bytes)
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "only whole memory objects are mapped");
    int error;
    if (memory->is_vram) {
        static_assert(sizeof(struct mmu_extent) == sizeof(struct vram_extent) &&
                          offsetof(struct mmu_extent, size_bytes) ==
                              offsetof(struct vram_extent, size_bytes),
                      "a VRAM offset is a physical address");
        error = mmu_map(&resman->mmu, gva, (const struct mmu_extent *)memory->extents,
                        memory->extent_count, MMU_VRAM);
    } else {
        struct mmu_extent extent = {dma_addr(memory->cpu), size_bytes};
        error = mmu_map(&resman->mmu, gva, &extent, 1, MMU_SYSTEM);
    }
    return map_status(resman, gva, error);
}

uint32_t resman_memory_unmap(struct resman *resman, const struct resman_memory *memory,
                             uint64_t gva)
{
    int error = mmu_unmap(&resman->mmu, gva, memory->size_bytes);
    if (error == -EINVAL)
        return resman_fail(resman, NV_ERR_INVALID_ARGUMENT, "address 0x%llx is not mapped so",
                           (unsigned long long)gva);
    return error ? NV_ERR_GPU_IS_LOST : NV_OK;
}

uint64_t resman_memory_bus(struct resman *resman, const struct resman_memory *memory,
                           uint64_t offset, uint64_t *run_bytes)
{
    const struct hw *hw = &resman->gsp.hw;
    if (!memory->is_vram) {
        *run_bytes = memory->size_bytes - offset;
        return dma_addr((uint8_t *)memory->cpu + offset);
    }
    for (unsigned i = 0; i < memory->extent_count; i++) {
        const struct vram_extent *extent = &memory->extents[i];
        if (offset >= extent->size_bytes) {
            offset -= extent->size_bytes;
            continue;
        }
        uint64_t at = extent->offset + offset;
        if (at >= hw->bar1_bytes)
            return 0;
        *run_bytes = min_u64(extent->size_bytes - offset, hw->bar1_bytes - at);
        return hw->bar1_bus + at;
    }
    return 0;
}

/* ---- buffers of engines -------------------------------------------------------------------------------------------- */

uint32_t resman_buffer_alloc(struct resman *resman, uint64_t size_bytes, uint64_t align,
                             uint64_t gva_align, bool is_zeroed, struct resman_buffer *out)
{
    *out = (struct resman_buffer){0};
    if (size_bytes == 0 || size_bytes > resman->vram.total_bytes)
        return resman_fail(resman, NV_ERR_NO_MEMORY, "%llu bytes of VRAM for an engine",
                           (unsigned long long)size_bytes);
    size_bytes = align_up(size_bytes, PAGE_SIZE);
    uint64_t offset, gva = 0;
    uint32_t status = NV_OK;
    if (vram_alloc(&resman->vram, is_zeroed ? VRAM_VISIBLE : VRAM_ANYWHERE, size_bytes, align,
                   &offset) != 0)
        return resman_fail(
            resman, NV_ERR_NO_MEMORY, "no %llu bytes of VRAM for an engine: %llu are left",
            (unsigned long long)size_bytes, (unsigned long long)resman->vram.free_bytes);
    if (is_zeroed)
        memset(resman_vram_cpu(resman, offset, size_bytes), 0, size_bytes);
    if (gva_align != 0) {
        if (va_alloc(&resman->va, size_bytes, gva_align, &gva) != 0) {
            status = resman_fail(resman, NV_ERR_NO_MEMORY, "no addresses for context buffers");
            goto free_vram;
        }
        struct mmu_extent extent = {offset, size_bytes};
        status = map_status(resman, gva,
                            mmu_map(&resman->mmu, gva, &extent, 1, MMU_VRAM | MMU_PRIVILEGED));
        if (status != NV_OK)
            goto free_gva;
    }
    *out = (struct resman_buffer){.offset = offset, .size_bytes = size_bytes, .gva = gva};
    return NV_OK;

free_gva:
    va_free(&resman->va, gva, size_bytes);
free_vram:
    vram_free(&resman->vram, offset, size_bytes);
    return status;
}

void resman_buffer_free(struct resman *resman, struct resman_buffer *buffer)
{
    if (buffer->size_bytes == 0)
        return;
    if (buffer->gva != 0) {
        int error = mmu_unmap(&resman->mmu, buffer->gva, buffer->size_bytes);
        assert(error != -EINVAL); /* else the GPU is lost, and that has been said */
        va_free(&resman->va, buffer->gva, buffer->size_bytes);
    }
    vram_free(&resman->vram, buffer->offset, buffer->size_bytes);
    *buffer = (struct resman_buffer){0};
}
