/*
 * boot/entry.S: where the firmware enters the image (UEFI 2.10, 2.3.4: Microsoft calling convention, long mode, identity
 * mapping, interrupts on, 128 KiB of stack).
 *
 * 1. gather randomness and move the image to a random place   boot/move.c
 * 2. continue in the moved copy: give core 0 its FS base with a random stack-protector guard
 * 3. efi_main()
 */
    .section .text.entry, "ax"
    .globl  image_entry
    .type   image_entry, @function
image_entry:
    cld
    push    %rbx
    push    %rsi                    /* callee-saved for the firmware, not for our C code */
    push    %rdi
    push    %r12
    push    %r13                    /* five pushes: the stack is 16-byte aligned again */
    sub     $176, %rsp
    movaps  %xmm6, 0(%rsp)          /* so are xmm6 to xmm15 */
    movaps  %xmm7, 16(%rsp)
    movaps  %xmm8, 32(%rsp)
    movaps  %xmm9, 48(%rsp)
    movaps  %xmm10, 64(%rsp)
    movaps  %xmm11, 80(%rsp)
    movaps  %xmm12, 96(%rsp)
    movaps  %xmm13, 112(%rsp)
    movaps  %xmm14, 128(%rsp)
    movaps  %xmm15, 144(%rsp)
    mov     %rcx, %r12              /* EFI_HANDLE of the image */
    mov     %rdx, %r13              /* EFI_SYSTEM_TABLE * */

    mov     %r13, %rdi
    call    boot_image_move
    lea     image_base(%rip), %rcx
    lea     moved(%rip), %rdx
    sub     %rcx, %rdx
    add     %rax, %rdx
    jmp     *%rdx
moved:
    lea     boot_seed(%rip), %rdi
    mov     (%rdi), %rdi            /* the guard; its lowest byte becomes zero, which stops string overruns */
    call    core_area_start
    mov     %r12, %rdi
    mov     %r13, %rsi
    call    efi_main                /* returns only with an error, while boot services still run */

    movaps  0(%rsp), %xmm6
    movaps  16(%rsp), %xmm7
    movaps  32(%rsp), %xmm8
    movaps  48(%rsp), %xmm9
    movaps  64(%rsp), %xmm10
    movaps  80(%rsp), %xmm11
    movaps  96(%rsp), %xmm12
    movaps  112(%rsp), %xmm13
    movaps  128(%rsp), %xmm14
    movaps  144(%rsp), %xmm15
    add     $176, %rsp
    pop     %r13
    pop     %r12
    pop     %rdi
    pop     %rsi
    pop     %rbx
    ret
    .size   image_entry, . - image_entry

/* Gives the thread-local block the alignment of 64 bytes that kernel/cpu.c and kernel/ingot.ld count on. */
    .section .tdata, "awT", @progbits
    .balign 64
    .quad   0

    .section .note.GNU-stack, "", @progbits
