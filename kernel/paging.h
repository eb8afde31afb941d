/*
 * kernel/paging.h: the page tables. Four levels (SDM 3A, 4.5), or five whose top one has a single entry where
 * the firmware left five-level paging on. RAM is mapped at its physical address; stacks have a window of their
 * own with guard pages.
 */
#ifndef INGOT_PAGING_H
#define INGOT_PAGING_H

#include "kernel/machine.h"

/* Rights and cache mode of a mapping. All else: readable, not executable, write-back. */
#define PAGE_RIGHT_WRITE   0x1u
#define PAGE_RIGHT_EXECUTE 0x2u
#define PAGE_WRITE_COMBINE 0x4u
#define PAGE_UNCACHED      0x8u

/*
 * Build the tables from boot_info's ranges and load them on this core. Panics without memory: nothing works
 * without.
 */
void paging_start(void);
/* Load the same tables and cache modes on another core. */
void paging_start_core(void);
uint64_t paging_root(void); /* value of CR3, below 4 GiB */
/* From here on the tables themselves and what the boot loader handed over are read-only. */
void paging_seal(void);

/* Map (or change the mapping of) whole pages. 0, or -ENOMEM when the pool of table pages is empty. */
int paging_map(uint64_t va, uint64_t pa, uint64_t size_bytes, unsigned flags);
/* Unmap and make every core forget. */
void paging_unmap(uint64_t va, uint64_t size_bytes);
/*
 * The physical address behind va, or UINT64_MAX; *flags (may be NULL) gets the rights. Takes no lock: for
 * faults too.
 */
uint64_t paging_lookup(uint64_t va, unsigned *flags);

/* Every core drops [va, va + size_bytes) from its TLB; returns when all have. */
void tlb_drop_everywhere(uint64_t va, uint64_t size_bytes);
void tlb_drop_if_wanted(void);

/* ---- kernel/memory_map.c: RAM before there is an allocator ------------------------------------------------------- */

/*
 * Memory, not cleared, below 4 GiB from the largest free range; align is a power of two, at least a page.
 * Panics when out of it.
 */
void *early_alloc(uint64_t size_bytes, uint64_t align);
/*
 * Hand all the rest to the page allocator, the firmware's own memory too; early_alloc() is over. On our own
 * stack only.
 */
void memory_map_hand_over(void);
bool memory_map_is_ram(uint64_t pa, uint64_t size_bytes); /* any byte of it */
uint64_t memory_map_total(void);

/* ---- kernel/stack.c ---------------------------------------------------------------------------------------------- */

#define STACK_WINDOW_BYTES (UINT64_C(512) << 30)
extern uint64_t stack_window; /* first address, chosen at random at start */
void stack_window_choose(uint64_t random);
static inline bool stack_window_has(uint64_t va)
{
    return va - stack_window < STACK_WINDOW_BYTES;
}

#endif
