/*
 * kernel/heap.c: objects out of pages (see heap.h).
 *
 * Small objects (up to SMALL_MAX bytes) lie in spans: 32 KiB blocks, aligned to their size, of objects of one size
 * class. A span belongs to the core that allocated it, and only that core touches its lists, so they need no lock:
 * tasks do not move, and nothing here yields or runs in interrupts. Another core that frees an object pushes it on
 * its owner's inbox, a lock-free stack that the owner empties at its next call. Larger objects are blocks of pages
 * with the same header before them. The header of any object lies at the span boundary below it (see header_of()).
 *
 * A free object carries its link, scrambled with a secret and its own address, and a mark made the same way. A bad
 * mark or a link out of the span means that somebody wrote to freed memory, a mark on an object being freed that it
 * is free already: both are panics with the address.
 */
#include "kernel/heap.h"

#include <string.h>

#include "kernel/kernel.h"

#define SPAN_BYTES  (UINT64_C(32) << 10)
#define SMALL_MAX   8192u
#define CLASS_COUNT 36 /* 16 of 16 bytes each up to 256, then 4 per doubling up to 8192 */
#define OBJECT_MAX  (UINT64_C(1) << 46)
#define SPAN_MAGIC  UINT64_C(0x6e6170732d706165)

struct free_object {
    uint64_t link, mark;
};

struct span {
    uint64_t magic;      /* SPAN_MAGIC ^ its own address */
    uint32_t owner;      /* core */
    uint32_t size_class; /* CLASS_COUNT: one large object */
    uint32_t object_bytes, object_first, object_count;
    uint32_t used_count, fresh_count; /* fresh: objects at the end that were never used */
    struct free_object *free;
    struct span *next, *prev; /* spans of this core and class with room */
    void *block;              /* large: what page_alloc() gave */
    uint64_t block_bytes;
};

struct heap_core {
    _Alignas(64) struct free_object *_Atomic inbox;   /* freed by other cores */
    _Alignas(64) struct span *with_room[CLASS_COUNT]; /* first is allocated from */
    _Atomic int64_t
        used_bytes; /* allocated minus freed by this core: only the sum over cores counts */
};

static struct heap_core heaps[CORE_MAX];
static uint64_t _Atomic heap_secret;

static uint64_t secret(void)
{
    uint64_t value = atomic_load_explicit(&heap_secret, memory_order_relaxed);
    if (value != 0)
        return value;
    random_bytes(&value, sizeof(value));
    value |= 1;
    uint64_t none = 0;
    return atomic_compare_exchange_strong(&heap_secret, &none, value) ? value : none;
}

/* ---- size classes ---- */

/* Objects of up to 256 bytes: (size - 1) / 16. Then each doubling in four steps. */
static unsigned class_of(size_t size_bytes)
{
    if (size_bytes <= 256)
        return size_bytes == 0 ? 0 : (unsigned)((size_bytes - 1) / 16);
    unsigned doubling = 63u - (unsigned)__builtin_clzll(size_bytes - 1); /* 8 for 257..512 */
    unsigned step = (unsigned)((size_bytes - 1) >> (doubling - 2)) & 3;
    return 16 + (doubling - 8) * 4 + step;
}

static uint32_t class_bytes(unsigned size_class)
{
    if (size_class < 16)
        return 16 * (size_class + 1);
    unsigned doubling = 8 + (size_class - 16) / 4, step = (size_class - 16) % 4;
    return (5 + step) << (doubling - 2);
}

/* ---- free objects ---- */

static uint64_t mark_of(const struct free_object *object)
{
    return ~secret() ^ (uint64_t)(uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t scramble(const struct free_object *object, uint64_t link)
{
    return link ^ secret() ^ (uint64_t)(uintptr_t)object << 16;
}

static struct free_object *object_at(const struct span *span, unsigned index)
{
    return (struct free_object *)((uint8_t *)span + span->object_first +
                                  (size_t)index * span->object_bytes);
}

/* The object must be one of the span's: in range, and at a whole number of objects from the first. */
static bool is_object_of(const struct span *span, const void *object)
{
    uint64_t offset = (uint64_t)(uintptr_t)object - (uint64_t)(uintptr_t)span;
    return offset >= span->object_first &&
           offset < span->object_first + (uint64_t)span->object_count * span->object_bytes &&
           (offset - span->object_first) % span->object_bytes == 0;
}

static void span_push(struct span *span, struct free_object *object)
{
    object->link = scramble(object, (uint64_t)(uintptr_t)span->free);
    object->mark = mark_of(object);
    span->free = object;
}

static void *span_pop(struct span *span)
{
    struct free_object *object = span->free;
    if (object == NULL) {
        object = object_at(span, span->object_count - span->fresh_count);
        span->fresh_count--;
    } else {
        struct free_object *next = (struct free_object *)(uintptr_t)scramble(object, object->link);
        if (object->mark != mark_of(object) || (next != NULL && !is_object_of(span, next)))
            panic("heap: free object %p of %u bytes was overwritten", (void *)object,
                  span->object_bytes);
        span->free = next;
    }
    /* Of a fresh one too: its page may have been such a span before. */
    object->link = object->mark = 0;
    return object;
}

/* ---- spans ---- */

/* Large objects with large alignment lie at a boundary themselves; their header is one span below. */
static struct span *header_of(const void *object)
{
    uint64_t address = (uint64_t)(uintptr_t)object;
    return (struct span *)(uintptr_t)align_down(address - 1, SPAN_BYTES);
}

static struct span *header_checked(const void *object)
{
    struct span *span = header_of(object);
    if ((uint64_t)(uintptr_t)object % 16 != 0 ||
        span->magic != (SPAN_MAGIC ^ (uint64_t)(uintptr_t)span))
        panic("heap: %p is not an object", object);
    return span;
}

static void list_add(struct heap_core *heap, struct span *span)
{
    struct span **first = &heap->with_room[span->size_class];
    span->prev = NULL;
    span->next = *first;
    if (*first != NULL)
        (*first)->prev = span;
    *first = span;
}

static void list_remove(struct heap_core *heap, struct span *span)
{
    if (span->prev != NULL)
        span->prev->next = span->next;
    else
        heap->with_room[span->size_class] = span->next;
    if (span->next != NULL)
        span->next->prev = span->prev;
}

static bool is_full(const struct span *span)
{
    return span->used_count == span->object_count;
}

static struct span *span_create(struct heap_core *heap, unsigned size_class)
{
    struct span *span = page_alloc_dirty(SPAN_BYTES, SPAN_BYTES);
    if (span == NULL)
        return NULL;
    uint32_t bytes = class_bytes(size_class);
    uint32_t first = (uint32_t)align_up(sizeof(*span), 64);
    uint32_t count = ((uint32_t)SPAN_BYTES - first) / bytes;
    *span = (struct span){.magic = SPAN_MAGIC ^ (uint64_t)(uintptr_t)span,
                          .owner = core_current(),
                          .size_class = size_class,
                          .object_bytes = bytes,
                          .object_first = first,
                          .object_count = count,
                          .fresh_count = count};
    list_add(heap, span);
    return span;
}

/* On the owner's core. */
static void span_free_object(struct heap_core *heap, struct span *span, struct free_object *object)
{
    if (is_full(span))
        list_add(heap, span);
    span_push(span, object);
    span->used_count--;
    /* Give back what is empty, but keep the last one with room, or a lone object would cost a span each time. */
    if (span->used_count == 0 && (span->next != NULL || span->prev != NULL)) {
        list_remove(heap, span);
        span->magic = 0;
        page_free(span, SPAN_BYTES);
    }
}

static void inbox_push(struct heap_core *owner, struct free_object *object)
{
    object->mark = mark_of(object);
    struct free_object *head = atomic_load_explicit(&owner->inbox, memory_order_relaxed);
    do {
        object->link = scramble(object, (uint64_t)(uintptr_t)head);
    } while (!atomic_compare_exchange_weak(&owner->inbox, &head, object));
}

static void inbox_empty(struct heap_core *heap)
{
    if (atomic_load_explicit(&heap->inbox, memory_order_relaxed) == NULL)
        return;
    struct free_object *object = atomic_exchange(&heap->inbox, NULL);
    while (object != NULL) {
        struct span *span = header_checked(object);
        if (object->mark != mark_of(object) || !is_object_of(span, object))
            panic("heap: free object %p was overwritten", (void *)object);
        struct free_object *next = (struct free_object *)(uintptr_t)scramble(object, object->link);
        span_free_object(heap, span, object);
        object = next;
    }
}

static struct heap_core *this_heap(void)
{
    struct heap_core *heap = &heaps[core_current()];
    inbox_empty(heap);
    return heap;
}

static void count_used(struct heap_core *heap, int64_t bytes)
{
    int64_t used = atomic_load_explicit(&heap->used_bytes, memory_order_relaxed);
    atomic_store_explicit(&heap->used_bytes, used + bytes, memory_order_relaxed);
}

static void *small_alloc(unsigned size_class)
{
    struct heap_core *heap = this_heap();
    struct span *span = heap->with_room[size_class];
    if (span == NULL && (span = span_create(heap, size_class)) == NULL)
        return NULL;
    void *object = span_pop(span);
    span->used_count++;
    if (is_full(span))
        list_remove(heap, span);
    count_used(heap, span->object_bytes);
    return object;
}

/* The object lies `align` (at least 64) past the start of the block, its header at the span boundary before it. */
static void *large_alloc(size_t size_bytes, size_t align, bool is_zeroed)
{
    if (size_bytes > OBJECT_MAX || align > OBJECT_MAX)
        return NULL;
    uint64_t offset = align < 128 ? 128 : align;
    uint64_t block_align = align < SPAN_BYTES ? SPAN_BYTES : align;
    uint64_t block_bytes = align_up(offset + size_bytes, PAGE_SIZE);
    uint8_t *block = is_zeroed ? page_alloc(block_bytes, block_align)
                               : page_alloc_dirty(block_bytes, block_align);
    if (block == NULL)
        return NULL;
    void *object = block + offset;
    struct span *span = header_of(object);
    *span = (struct span){.magic = SPAN_MAGIC ^ (uint64_t)(uintptr_t)span,
                          .size_class = CLASS_COUNT,
                          .block = block,
                          .block_bytes = block_bytes};
    count_used(this_heap(), (int64_t)block_bytes);
    return object;
}

static_assert(sizeof(struct span) <= 128, "large_alloc() leaves 128 bytes for the header");

static void large_free(struct span *span)
{
    void *block = span->block;
    uint64_t block_bytes = span->block_bytes;
    count_used(this_heap(), -(int64_t)block_bytes);
    span->magic = 0;
    page_free(block, block_bytes);
}

/* ---- the door ---- */

void *heap_alloc(size_t size_bytes)
{
    return size_bytes <= SMALL_MAX ? small_alloc(class_of(size_bytes))
                                   : large_alloc(size_bytes, 16, false);
}

void *heap_alloc_zeroed(size_t count, size_t size_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size_bytes, &bytes))
        return NULL;
    if (bytes > SMALL_MAX)
        return large_alloc(bytes, 16, true);
    void *object = small_alloc(class_of(bytes));
    if (object != NULL)
        memset(object, 0, bytes);
    return object;
}

void *heap_alloc_aligned(size_t align, size_t size_bytes)
{
    assert((align & (align - 1)) == 0);
    if (align <= 16)
        return heap_alloc(size_bytes);
    /* Objects begin at a multiple of 64 in the span, so a class whose size is a multiple of align keeps to it. */
    if (align <= 64 && size_bytes <= SMALL_MAX) {
        unsigned size_class = class_of(align_up(size_bytes, align));
        while (size_class < CLASS_COUNT && class_bytes(size_class) % align != 0)
            size_class++;
        if (size_class < CLASS_COUNT)
            return small_alloc(size_class);
    }
    return large_alloc(size_bytes, align, false);
}

size_t heap_size(const void *object)
{
    const struct span *span = header_checked(object);
    if (span->size_class < CLASS_COUNT)
        return span->object_bytes;
    return span->block_bytes - (size_t)((const uint8_t *)object - (const uint8_t *)span->block);
}

void *heap_resize(void *object, size_t size_bytes)
{
    if (object == NULL)
        return heap_alloc(size_bytes);
    size_t have = heap_size(object);
    /* Stay unless it is too small, or would waste more than half of it. */
    if (size_bytes <= have && size_bytes >= have / 2)
        return object;
    void *moved = heap_alloc(size_bytes);
    if (moved == NULL)
        return size_bytes <= have ? object : NULL;
    memcpy(moved, object, size_bytes < have ? size_bytes : have);
    heap_free(object);
    return moved;
}

void heap_free(void *pointer)
{
    if (pointer == NULL)
        return;
    struct span *span = header_checked(pointer);
    if (span->size_class == CLASS_COUNT) {
        large_free(span);
        return;
    }
    struct free_object *object = pointer;
    if (!is_object_of(span, object))
        panic("heap: %p lies inside an object of %u bytes", pointer, span->object_bytes);
    if (object->mark == mark_of(object))
        panic("heap: %p was freed already", pointer);
    struct heap_core *heap = this_heap();
    count_used(heap, -(int64_t)span->object_bytes);
    if (span->owner == core_current())
        span_free_object(heap, span, object);
    else
        inbox_push(&heaps[span->owner], object);
}

uint64_t heap_used_bytes(void)
{
    int64_t used = 0;
    for (unsigned i = 0; i < CORE_MAX; i++)
        used += atomic_load_explicit(&heaps[i].used_bytes, memory_order_relaxed);
    return used > 0 ? (uint64_t)used : 0;
}
