// The first instructions of the guest: from the PVH entry (32-bit, paging off, EBX = address of the
// start info) to 64-bit C++ with the first 4 GiB mapped one to one, and the 256 interrupt entry
// points.

        .section .note.pvh, "a", @note
        .balign 4
        .long   4                       // size of the name
        .long   8                       // size of the value
        .long   18                      // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .quad   pvh_entry

        .section .text.boot, "ax"
        .code32
        .globl  pvh_entry
pvh_entry:
        cld
        movl    $stack_top, %esp
        movl    %ebx, %edi              // first argument of GuestMain
        movl    %cr4, %eax
        orl     $0x20, %eax             // PAE
        movl    %eax, %cr4
        movl    $page_map_level4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       // EFER
        rdmsr
        orl     $0x100, %eax            // LME
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax       // PG, PE
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $0x08, $long_mode

        .code64
long_mode:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        movl    $stack_top, %esp
        xorl    %ebp, %ebp
        movl    %edi, %edi
        call    GuestMain
1:      hlt
        jmp     1b

// Every entry point leaves the same frame: registers, vector, error code (0 where the CPU gives
// none), then what the CPU pushed. InterruptFrame in interrupts.cc is its C++ shape.
        .text
        .balign 16
        .globl  interrupt_entries
interrupt_entries:
        .set    vector, 0
        .rept   256
        .balign 16
        .if     (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
        .else
        pushq   $0
        .endif
        pushq   $vector
        jmp     interrupt_common
        .set    vector, vector + 1
        .endr

interrupt_common:
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        movq    %rsp, %rdi
        cld
        call    HandleInterrupt
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rax
        addq    $16, %rsp
        iretq

        .data
        .balign 8
gdt:
        .quad   0
        .quad   0x00af9b000000ffff      // 0x08: 64-bit code
        .quad   0x00cf93000000ffff      // 0x10: data
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt

// 4 GiB in 2 MiB pages; the last GiB (BARs, ECAM, APICs) uncached. MapMmio() adds to the first two
// levels.
        .balign 4096
        .globl  page_map_level4
page_map_level4:
        .quad   page_directory_pointers + 3
        .fill   511, 8, 0
page_directory_pointers:
        .quad   page_directories + 3
        .quad   page_directories + 0x1003
        .quad   page_directories + 0x2003
        .quad   page_directories + 0x3003
        .fill   508, 8, 0
page_directories:
        .set    frame, 0
        .rept   1536
        .quad   frame + 0x83
        .set    frame, frame + 0x200000
        .endr
        .rept   512
        .quad   frame + 0x9b
        .set    frame, frame + 0x200000
        .endr

        .bss
        .balign 4096
        .skip   65536
stack_top:

        .section .note.GNU-stack, "", @progbits
