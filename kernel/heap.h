/*
 * kernel/heap.h: memory for objects of any size, under malloc() and its relatives (runtime/libc/malloc.c). What they
 * promise in C and POSIX holds for these. Task context only, any core; an object may be freed on another core than
 * it came from.
 */
#ifndef INGOT_HEAP_H
#define INGOT_HEAP_H

#include <stddef.h>
#include <stdint.h>

void *heap_alloc(size_t size_bytes);                       /* 16-byte aligned; NULL when there is no memory */
void *heap_alloc_zeroed(size_t count, size_t size_bytes);  /* NULL also when the product overflows */
void *heap_alloc_aligned(size_t align, size_t size_bytes); /* align: a power of two */
void *heap_resize(void *object, size_t size_bytes);
void heap_free(void *object);
size_t heap_size(const void *object); /* bytes that may be used, at least as many as asked for */

uint64_t heap_used_bytes(void); /* of all objects, in the sizes that were really taken */

#endif
