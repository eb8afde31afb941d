/*
 * gpu/gpu_handle.c: the table of live handles, a chained hash table of pointers.
 *
 * The lock is held for a bucket's walk only. Nodes are allocated and freed outside it.
 */
#include "gpu/gpu_handle.h"

#include <stdlib.h>

#include "kernel/kernel.h"

#define BUCKET_COUNT 1024u /* a loaded model takes a handful of handles: chains stay short */

struct node {
    const void *handle;
    enum gpu_handle_kind kind;
    struct node *next;
};

static struct {
    struct spinlock lock;
    struct node *bucket[BUCKET_COUNT];
    unsigned count[GPU_HANDLE_TIMELINE + 1];
} table;

static unsigned bucket_of(const void *handle)
{
    /* Allocations are 16-byte aligned; the multiplier is 2^64 divided by the golden ratio (Fibonacci hashing). */
    return (unsigned)(((uintptr_t)handle >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54) % BUCKET_COUNT;
}

/* The link that points at the node of this handle, or at the chain's NULL end. Call with the lock held. */
static struct node **find(const void *handle, enum gpu_handle_kind kind)
{
    struct node **link = &table.bucket[bucket_of(handle)];
    while (*link != NULL && ((*link)->handle != handle || (*link)->kind != kind))
        link = &(*link)->next;
    return link;
}

int gpu_handle_add(const void *handle, enum gpu_handle_kind kind)
{
    struct node *node = malloc(sizeof(*node));
    if (node == NULL)
        return -ENOMEM;
    *node = (struct node){.handle = handle, .kind = kind};
    uint64_t flags = spin_lock(&table.lock);
    struct node **link = find(handle, kind);
    assert(*link == NULL);
    *link = node;
    table.count[kind]++;
    spin_unlock(&table.lock, flags);
    return 0;
}

bool gpu_handle_remove(const void *handle, enum gpu_handle_kind kind)
{
    uint64_t flags = spin_lock(&table.lock);
    struct node **link = find(handle, kind);
    struct node *node = *link;
    if (node != NULL) {
        *link = node->next;
        table.count[kind]--;
    }
    spin_unlock(&table.lock, flags);
    free(node);
    return node != NULL;
}

bool gpu_handle_is_live(const void *handle, enum gpu_handle_kind kind)
{
    if (handle == NULL)
        return false;
    uint64_t flags = spin_lock(&table.lock);
    bool is_live = *find(handle, kind) != NULL;
    spin_unlock(&table.lock, flags);
    return is_live;
}

unsigned gpu_handle_count(enum gpu_handle_kind kind)
{
    return table.count[kind];
}
