/*
 * kernel/apic.h: the local interrupt controller of each core: end of interrupt, timer, messages between cores.
 */
#ifndef INGOT_APIC_H
#define INGOT_APIC_H

#include "kernel/core.h"

void apic_start(void);      /* first core: choose x2APIC or xAPIC, silence the old controllers */
void apic_start_core(void); /* every core, the first too */
uint32_t apic_id(void);
bool apic_is_x2(void);
void apic_end_of_interrupt(void);

void apic_send(uint32_t apic_id, unsigned vector);
void apic_send_nmi(uint32_t apic_id);
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint64_t page_pa);

/* Interrupt (VECTOR_TIMER) at deadline_ns or somewhat before, once; DEADLINE_NEVER: do not. */
void apic_timer_set(uint64_t deadline_ns);
/* How fast the timer counts: take a sample, and when at least 200 us have passed, the other. First core. */
void apic_timer_measure_begin(void);
void apic_timer_measure_end(void);

#endif
