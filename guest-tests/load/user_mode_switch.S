// The way into user mode, an iretq, and the way back, an undefined instruction: of all ways, the one
// that KVMs which emulate privileged code agree on.

        .text
        .globl  RunInUserMode
RunInUserMode:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, kernel_stack
        pushq   $0x1b                   // user data
        pushq   $user_stack_top
        pushq   $2                      // flags: no interrupts
        pushq   $0x23                   // user code
        pushq   $in_user_mode
        iretq
in_user_mode:
        call    *%rdi
leave_user_mode:
        ud2

        .globl  undefined_instruction   // the exception's entry
undefined_instruction:
        cmpq    $leave_user_mode, (%rsp)
        jne     interrupt_entries + 6 * 16
        movl    $0x10, %eax
        movl    %eax, %ss
        movq    kernel_stack, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

        .bss
        .balign 16
kernel_stack:
        .skip   8
        .balign 16
        .skip   16384
user_stack_top:

        .section .note.GNU-stack, "", @progbits
