/*
 * kernel/switch.S: change from one task's stack to another's (System V x86-64 ABI 1.0, 3.2.1 and 3.2.3).
 *
 * A switch is a function call, so the compiler has saved everything but the callee-saved registers, and those are rbx, rbp,
 * r12 to r15, and the control bits of MXCSR and of the x87 control word. Both builds use this file.
 */
    .text

/* void task_switch_stack(void **save_sp, void *load_sp) */
    .globl task_switch_stack
    .type task_switch_stack, @function
task_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size task_switch_stack, . - task_switch_stack

/*
 * Where the first switch to a new task returns to: its stack is 16-byte aligned here, as before a call, and rbp is 0, so
 * that a backtrace ends. task_first_run() does not return.
 */
    .globl task_first_entry
    .type task_first_entry, @function
task_first_entry:
    call task_first_run
    ud2
    .size task_first_entry, . - task_first_entry

    .section .note.GNU-stack, "", @progbits
