/*
 * runtime/libc/malloc.c: C's allocation functions over kernel/heap.h. newlib calls the names with _r inside,
 * programs those without; both are here, so none of newlib's own allocator is linked.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "kernel/heap.h"

static void *or_no_memory(void *object)
{
    if (object == NULL)
        errno = ENOMEM;
    return object;
}

void *malloc(size_t size_bytes)
{
    return or_no_memory(heap_alloc(size_bytes));
}

void *calloc(size_t count, size_t size_bytes)
{
    return or_no_memory(heap_alloc_zeroed(count, size_bytes));
}

void *realloc(void *object, size_t size_bytes)
{
    return or_no_memory(heap_resize(object, size_bytes));
}

void free(void *object)
{
    heap_free(object);
}

void *aligned_alloc(size_t align, size_t size_bytes)
{
    if (align == 0 || (align & (align - 1)) != 0) {
        errno = EINVAL;
        return NULL;
    }
    return or_no_memory(heap_alloc_aligned(align, size_bytes));
}

void *memalign(size_t align, size_t size_bytes)
{
    return aligned_alloc(align, size_bytes);
}

int posix_memalign(void **out, size_t align, size_t size_bytes)
{
    if (align < sizeof(void *) || (align & (align - 1)) != 0)
        return EINVAL;
    void *object = heap_alloc_aligned(align, size_bytes);
    if (object == NULL)
        return ENOMEM;
    *out = object;
    return 0;
}

size_t malloc_usable_size(void *object)
{
    return object == NULL ? 0 : heap_size(object);
}

void *_malloc_r(struct _reent *reent, size_t size_bytes)
{
    return malloc(size_bytes);
}

void *_calloc_r(struct _reent *reent, size_t count, size_t size_bytes)
{
    return calloc(count, size_bytes);
}

void *_realloc_r(struct _reent *reent, void *object, size_t size_bytes)
{
    return realloc(object, size_bytes);
}

void _free_r(struct _reent *reent, void *object)
{
    heap_free(object);
}

void *_memalign_r(struct _reent *reent, size_t align, size_t size_bytes)
{
    return memalign(align, size_bytes);
}
