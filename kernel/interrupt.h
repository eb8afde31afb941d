/*
 * kernel/interrupt.h: the interrupt descriptor table, exceptions, and what stops the machine.
 */
#ifndef INGOT_INTERRUPT_H
#define INGOT_INTERRUPT_H

#include "kernel/core.h"

/* What kernel/vectors.S pushes on an exception, lowest address first. */
struct exception_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error_code;
    uint64_t rip, cs, rflags, rsp, ss;
};

void interrupt_table_build(void); /* once */
void interrupt_table_load(void);  /* on every core */

/* From kernel/vectors.S. An exception that hands over a frame never returns, but for an NMI that was not for us. */
void exception_handle(struct exception_frame *frame);
void interrupt_handle(uint64_t vector);

/* Function that contains the address, and how far into it; NULL when none does. */
const char *symbol_find(uint64_t address, uint64_t *offset);

/*
 * While the machine goes down an exception does not panic but ends here: the firmware's way has failed, try the
 * next.
 */
extern _Atomic bool machine_is_going_down;
_Noreturn void machine_way_down_failed(void);
/* Restart without a word to anybody; the log counts as unfinished and is shown at the next boot. */
_Noreturn void machine_restart_hard(void);

#endif
