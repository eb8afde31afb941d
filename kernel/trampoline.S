/*
 * kernel/trampoline.S: what a core runs between its start-up message and C. It starts in real mode at a page below 1 MiB to
 * which the code between trampoline_start and trampoline_end has been copied (SDM 3A, 9.4.4); the next page holds the
 * values that kernel/smp.c fills in (struct trampoline_values). Real mode -> protected mode with paging at once, which is
 * 64-bit mode already when EFER.LME is set (SDM 3A, 10.8.5).
 */
    .set VALUES, 4096
    .set VALUES_CR3, VALUES + 0
    .set VALUES_CR4, VALUES + 4
    .set VALUES_EFER, VALUES + 8
    .set VALUES_ENTRY, VALUES + 16
    .set VALUES_STACKS, VALUES + 24
    .set VALUES_TICKET, VALUES + 32
    .set VALUES_LIMIT, VALUES + 36
    .set VALUES_GDTR, VALUES + 40
    .set VALUES_FAR, VALUES + 48

    .section .rodata
    .balign 16
    .globl  trampoline_start, trampoline_end
    .code16
trampoline_start:
    cli
    cld
    mov     %cs, %ax
    mov     %ax, %ds                /* offsets from here on count from the page */
    lgdtl   VALUES_GDTR
    mov     VALUES_CR4, %eax
    mov     %eax, %cr4
    mov     VALUES_CR3, %eax
    mov     %eax, %cr3
    mov     $0xc0000080, %ecx       /* EFER: long mode and no-execute */
    rdmsr
    or      VALUES_EFER, %eax
    wrmsr
    mov     $0x80010023, %eax       /* CR0: paging, write protection, x87 as C expects it, protected mode; caches on */
    mov     %eax, %cr0
    ljmpl   *VALUES_FAR
    .code64
    .globl  trampoline_long
trampoline_long:
    xor     %eax, %eax              /* selectors are not needed, but must not be real-mode leftovers */
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     %eax, %fs
    mov     %eax, %gs
    lea     trampoline_start(%rip), %rbx
    mov     $1, %eax
    lock xaddl %eax, VALUES_TICKET(%rbx)
    cmp     VALUES_LIMIT(%rbx), %eax
    jae     out_of_stacks           /* started a second time after taking one */
    mov     VALUES_STACKS(%rbx), %rcx
    mov     (%rcx, %rax, 8), %rsp   /* each ticket has its stack */
    mov     %eax, %edi
    xor     %ebp, %ebp
    call    *VALUES_ENTRY(%rbx)
    ud2
out_of_stacks:
    cli
    hlt
    jmp     out_of_stacks
trampoline_end:
    .section .note.GNU-stack, "", @progbits
