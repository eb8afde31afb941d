/*
 * kernel/vectors.S: 256 entries for the interrupt descriptor table, 16 bytes each, and the two ways on from there.
 *
 * Every gate switches to a stack of its own (IST), so neither an overflown stack nor a red zone below the stack pointer is
 * ever touched. Interrupts stay off throughout. Frame: SDM 3A, 6.14.2.
 */
    .text
    .balign 16
    .globl  vector_entries
vector_entries:
    .set    vector, 0
    .rept   256
    .balign 16
    .if     vector >= 32
    pushq   $vector
    jmp     interrupt_common
    .else
    /* exceptions 8, 10 to 14, 17, 21, 29 and 30 push an error code themselves */
    .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq   $0
    .endif
    pushq   $vector
    jmp     exception_common
    .endif
    .set    vector, vector + 1
    .endr

    .type   exception_common, @function
exception_common:
    push    %rax
    push    %rcx
    push    %rdx
    push    %rbx
    push    %rbp
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    cld
    mov     %rsp, %rdi
    and     $-16, %rsp
    mov     %rdi, %rbx
    call    exception_handle
    mov     %rbx, %rsp              /* only after an NMI that meant nothing; it may have interrupted vector code */
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rbp
    pop     %rbx
    pop     %rdx
    pop     %rcx
    pop     %rax
    add     $16, %rsp
    iretq
    .size   exception_common, . - exception_common

/*
 * Device and inter-processor interrupts: save what C code may change. It is compiled for SSE2 and leaves the upper halves of
 * ymm and zmm alone, so sixteen bytes of each vector register are enough.
 */
    .type   interrupt_common, @function
interrupt_common:
    push    %rbp
    mov     %rsp, %rbp
    push    %rax
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    and     $-16, %rsp              /* for movaps */
    sub     $272, %rsp
    movaps  %xmm0, 0(%rsp)
    movaps  %xmm1, 16(%rsp)
    movaps  %xmm2, 32(%rsp)
    movaps  %xmm3, 48(%rsp)
    movaps  %xmm4, 64(%rsp)
    movaps  %xmm5, 80(%rsp)
    movaps  %xmm6, 96(%rsp)
    movaps  %xmm7, 112(%rsp)
    movaps  %xmm8, 128(%rsp)
    movaps  %xmm9, 144(%rsp)
    movaps  %xmm10, 160(%rsp)
    movaps  %xmm11, 176(%rsp)
    movaps  %xmm12, 192(%rsp)
    movaps  %xmm13, 208(%rsp)
    movaps  %xmm14, 224(%rsp)
    movaps  %xmm15, 240(%rsp)
    stmxcsr 256(%rsp)
    cld
    mov     8(%rbp), %rdi           /* the vector */
    call    interrupt_handle
    ldmxcsr 256(%rsp)
    movaps  0(%rsp), %xmm0
    movaps  16(%rsp), %xmm1
    movaps  32(%rsp), %xmm2
    movaps  48(%rsp), %xmm3
    movaps  64(%rsp), %xmm4
    movaps  80(%rsp), %xmm5
    movaps  96(%rsp), %xmm6
    movaps  112(%rsp), %xmm7
    movaps  128(%rsp), %xmm8
    movaps  144(%rsp), %xmm9
    movaps  160(%rsp), %xmm10
    movaps  176(%rsp), %xmm11
    movaps  192(%rsp), %xmm12
    movaps  208(%rsp), %xmm13
    movaps  224(%rsp), %xmm14
    movaps  240(%rsp), %xmm15
    lea     -72(%rbp), %rsp         /* the nine registers pushed behind rbp */
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rax
    pop     %rbp
    add     $8, %rsp
    iretq
    .size   interrupt_common, . - interrupt_common

    .section .note.GNU-stack, "", @progbits
