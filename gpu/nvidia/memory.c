/*
 * gpu/nvidia/memory.c: device and host memory as RM objects, mapped for the GPU at addresses of our choosing.
 *
 * Steps for each piece: RM object, address range, GPU mapping, CPU mapping. VRAM of 2 MiB and more gets 2 MiB pages, of
 * 64 KiB and more 64 KiB pages. Host memory is either ours (pinned by RM page by page) or RM's.
 */
#include <stdio.h>
#include <string.h>

#include "gpu/nvidia/device.h"
#include "gpu/nvidia/rm_abi.h"

#define PAGE_4K  UINT64_C(0x1000)
#define PAGE_64K UINT64_C(0x10000)
#define PAGE_2M  UINT64_C(0x200000)

static int fail(struct nvidia_device *device, int error, uint64_t size_bytes, const char *what)
{
    nvidia_look(device);
    return gpu_fail(error, "%s: %llu bytes of %s: %s", device->base.info.name,
                    (unsigned long long)size_bytes, what, device->rm.error);
}

static int alloc_vram(struct nvidia_device *device, uint64_t page_bytes,
                      struct nvidia_memory *memory)
{
    uint32_t page = page_bytes == PAGE_2M    ? NVOS32_ATTR_PAGE_SIZE_HUGE
                    : page_bytes == PAGE_64K ? NVOS32_ATTR_PAGE_SIZE_BIG
                                             : NVOS32_ATTR_PAGE_SIZE_4KB;
    /* What the host engine reads by physical address (USERD) must be in one piece; such blocks are small and mapped. */
    uint32_t physicality = memory->kind == NVIDIA_VRAM_MAPPED
                               ? NVOS32_ATTR_PHYSICALITY_CONTIGUOUS
                               : NVOS32_ATTR_PHYSICALITY_ALLOW_NONCONTIGUOUS;
    struct rm_memory_params params = {
        .owner = device->rm.client,
        .type = NVOS32_TYPE_IMAGE,
        .flags = NVOS32_ALLOC_FLAGS_IGNORE_BANK_PLACEMENT | NVOS32_ALLOC_FLAGS_ALIGNMENT_FORCE |
                 NVOS32_ALLOC_FLAGS_MEMORY_HANDLE_PROVIDED | NVOS32_ALLOC_FLAGS_MAP_NOT_REQUIRED |
                 NVOS32_ALLOC_FLAGS_PERSISTENT_VIDMEM,
        .attr = (uint32_t)(field_put(NVOS32_ATTR_PAGE_SIZE, page) |
                           field_put(NVOS32_ATTR_PHYSICALITY, physicality) |
                           field_put(NVOS32_ATTR_LOCATION, NVOS32_ATTR_LOCATION_VIDMEM)),
        .attr2 = (uint32_t)(field_put(NVOS32_ATTR2_ZBC, NVOS32_ATTR2_ZBC_PREFER_NO_ZBC) |
                            field_put(NVOS32_ATTR2_GPU_CACHEABLE, NVOS32_ATTR2_GPU_CACHEABLE_YES) |
                            (page_bytes == PAGE_2M ? field_put(NVOS32_ATTR2_PAGE_SIZE_HUGE,
                                                               NVOS32_ATTR2_PAGE_SIZE_HUGE_2MB)
                                                   : 0)),
        .format = 6, /* NVOS32_ATTR_FORMAT's default surface: plain */
        .size = memory->size_bytes,
        .alignment = page_bytes,
        .limit = memory->size_bytes - 1,
    };
    return rm_alloc(&device->rm, device->rm.device, NV01_MEMORY_LOCAL_USER, &params, sizeof(params),
                    &memory->handle);
}

static int alloc_host_rm(struct nvidia_device *device, struct nvidia_memory *memory)
{
    struct rm_memory_params params = {
        .owner = device->rm.client,
        .type = NVOS32_TYPE_NOTIFIER,
        .flags = NVOS32_ALLOC_FLAGS_IGNORE_BANK_PLACEMENT |
                 NVOS32_ALLOC_FLAGS_MEMORY_HANDLE_PROVIDED | NVOS32_ALLOC_FLAGS_MAP_NOT_REQUIRED,
        .attr = (uint32_t)(field_put(NVOS32_ATTR_PAGE_SIZE, NVOS32_ATTR_PAGE_SIZE_4KB) |
                           field_put(NVOS32_ATTR_PHYSICALITY,
                                     NVOS32_ATTR_PHYSICALITY_ALLOW_NONCONTIGUOUS) |
                           field_put(NVOS32_ATTR_LOCATION, NVOS32_ATTR_LOCATION_PCI) |
                           field_put(NVOS32_ATTR_COHERENCY, NVOS32_ATTR_COHERENCY_CACHED)),
        .attr2 = (uint32_t)(field_put(NVOS32_ATTR2_ZBC, NVOS32_ATTR2_ZBC_PREFER_NO_ZBC) |
                            field_put(NVOS32_ATTR2_GPU_CACHEABLE, NVOS32_ATTR2_GPU_CACHEABLE_NO)),
        .format = 6,
        .size = memory->size_bytes,
        .limit = memory->size_bytes - 1,
    };
    return rm_alloc(&device->rm, device->rm.device, NV01_MEMORY_SYSTEM, &params, sizeof(params),
                    &memory->handle);
}

/* An address range for memory->size_bytes and the GPU's mapping there. */
static int map_for_gpu(struct nvidia_device *device, uint64_t page_bytes,
                       struct nvidia_memory *memory)
{
    int error = va_alloc(&device->va, memory->size_bytes, page_bytes, &memory->gva);
    if (error) {
        snprintf(device->rm.error, sizeof(device->rm.error), "no GPU virtual addresses left");
        return error;
    }
    bool is_host = memory->kind == NVIDIA_HOST || memory->kind == NVIDIA_HOST_RM;
    error = rm_map_gpu(&device->rm, device->address_space, memory->handle, memory->size_bytes,
                       memory->gva, is_host ? (uint32_t)NVOS46_FLAGS_CACHE_SNOOP : 0);
    if (error)
        va_free(&device->va, memory->gva, memory->size_bytes);
    return error;
}

static int import_locked(struct nvidia_device *device, void *va, uint64_t size_bytes,
                         struct nvidia_memory *out)
{
    *out = (struct nvidia_memory){.kind = NVIDIA_HOST, .size_bytes = size_bytes, .cpu = va};
    int error = rm_register_host(&device->rm, va, size_bytes, &out->handle);
    if (error)
        return fail(device, error, size_bytes, "host memory");
    error = map_for_gpu(device, size_bytes >= PAGE_2M ? PAGE_2M : PAGE_4K, out);
    if (error) {
        fail(device, error, size_bytes, "host memory");
        rm_free(&device->rm, out->handle);
    }
    return error;
}

int nvidia_memory_import(struct nvidia_device *device, void *va, uint64_t size_bytes,
                         struct nvidia_memory *out)
{
    if (((uintptr_t)va | size_bytes) % PAGE_4K != 0 || size_bytes == 0)
        return gpu_fail(-EINVAL, "host memory at %p, %llu bytes: both must be multiples of 4096",
                        va, (unsigned long long)size_bytes);
    mutex_lock(&device->lock);
    int error = import_locked(device, va, size_bytes, out);
    mutex_unlock(&device->lock);
    return error;
}

static int create_host(struct nvidia_device *device, uint64_t size_bytes, struct nvidia_memory *out)
{
    size_bytes = align_up(size_bytes, PAGE_4K);
    void *pages = page_alloc(size_bytes, size_bytes >= PAGE_2M ? PAGE_2M : 0);
    if (!pages)
        return gpu_fail(-ENOMEM, "%s: no %llu bytes of host memory left", device->base.info.name,
                        (unsigned long long)size_bytes);
    int error = import_locked(device, pages, size_bytes, out);
    if (error)
        page_free(pages, size_bytes);
    else
        out->owns_pages = true;
    return error;
}

static int create_rm(struct nvidia_device *device, enum nvidia_memory_kind kind,
                     uint64_t size_bytes, struct nvidia_memory *out)
{
    uint64_t page_bytes = kind == NVIDIA_HOST_RM   ? PAGE_4K
                          : size_bytes >= PAGE_2M  ? PAGE_2M
                          : size_bytes >= PAGE_64K ? PAGE_64K
                                                   : PAGE_4K;
    const char *what = kind == NVIDIA_HOST_RM ? "host memory" : "device memory";
    *out = (struct nvidia_memory){.kind = kind, .size_bytes = align_up(size_bytes, page_bytes)};
    int error =
        kind == NVIDIA_HOST_RM ? alloc_host_rm(device, out) : alloc_vram(device, page_bytes, out);
    if (error)
        return fail(device, error, size_bytes, what);
    error = map_for_gpu(device, page_bytes, out);
    if (error)
        goto free_memory;
    if (kind != NVIDIA_VRAM) {
        error = rm_map_cpu(&device->rm, out->handle, kind == NVIDIA_HOST_RM, out->size_bytes,
                           &out->map);
        if (error)
            goto unmap_gpu;
        out->cpu = out->map.cpu;
    }
    return 0;

unmap_gpu:
    fail(device, error, size_bytes, what);
    rm_unmap_gpu(&device->rm, device->address_space, out->handle, out->gva);
    va_free(&device->va, out->gva, out->size_bytes);
    rm_free(&device->rm, out->handle);
    return error;
free_memory:
    fail(device, error, size_bytes, what);
    rm_free(&device->rm, out->handle);
    return error;
}

int nvidia_memory_create(struct nvidia_device *device, enum nvidia_memory_kind kind,
                         uint64_t size_bytes, struct nvidia_memory *out)
{
    if (size_bytes > UINT64_MAX - PAGE_2M)
        return gpu_fail(-ENOMEM, "%s: %llu bytes are more than any device has",
                        device->base.info.name, (unsigned long long)size_bytes);
    mutex_lock(&device->lock);
    int error = kind == NVIDIA_HOST ? create_host(device, size_bytes, out)
                                    : create_rm(device, kind, size_bytes, out);
    if (!error && (kind == NVIDIA_VRAM || kind == NVIDIA_VRAM_MAPPED))
        device->memory_used_bytes += out->size_bytes;
    mutex_unlock(&device->lock);
    return error;
}

void nvidia_memory_destroy(struct nvidia_device *device, struct nvidia_memory *memory)
{
    if (memory->handle == 0)
        return;
    mutex_lock(&device->lock);
    if (memory->kind == NVIDIA_VRAM_MAPPED || memory->kind == NVIDIA_HOST_RM)
        rm_unmap_cpu(&device->rm, memory->handle, &memory->map);
    rm_unmap_gpu(&device->rm, device->address_space, memory->handle, memory->gva);
    va_free(&device->va, memory->gva, memory->size_bytes);
    rm_free(&device->rm, memory->handle);
    if (memory->kind == NVIDIA_VRAM || memory->kind == NVIDIA_VRAM_MAPPED)
        device->memory_used_bytes -= memory->size_bytes;
    mutex_unlock(&device->lock);
    if (memory->owns_pages)
        page_free(memory->cpu, memory->size_bytes);
    *memory = (struct nvidia_memory){0};
}
