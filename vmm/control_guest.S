// The guest of control_test: it says S on the serial port when it starts, B when the power button's
// interrupt line was raised, and does what it is told there, one character each:
//
//   o  switches the machine off         p  says through pvpanic that it panicked
//   r  resets the machine               t  dies of a triple fault
//   f  sends 0123456789 for ever, and listens no more
//
// Any other character it sends back. Entered by PVH: 32 bits, no paging.

        .section .note.pvh, "a", @note
        .balign 4
        .long   4                       // size of the name
        .long   4                       // size of the value
        .long   18                      // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   start

        .text
        .code32
        .globl  start
start:
        xorl    %ebx, %ebx              // whether B has been said
        movb    $'S', %al
        jmp     send

look:
        movw    $0x3fd, %dx             // line status: a character has come
        inb     %dx, %al
        testb   $1, %al
        jnz     read
        testl   %ebx, %ebx
        jnz     look
        movb    $0x0a, %al              // second 8259: which lines have asked for an interrupt
        outb    %al, $0xa0
        inb     $0xa0, %al
        testb   $2, %al                 // line 9
        jz      look
        incl    %ebx
        movb    $'B', %al
        jmp     send

read:
        movw    $0x3f8, %dx
        inb     %dx, %al
        cmpb    $'o', %al
        je      off
        cmpb    $'r', %al
        je      reset
        cmpb    $'p', %al
        je      panic
        cmpb    $'t', %al
        je      die
        cmpb    $'f', %al
        je      flood
send:
        movw    $0x3f8, %dx
        outb    %al, %dx
        incl    %edx                    // the interrupt enable register: a write to it sends off what
        xorb    %al, %al                // the port holds back until a line is whole
        outb    %al, %dx
        jmp     look

off:
        movw    $0x600, %dx             // sleep control: enable, S5
        movb    $0x34, %al
        outb    %al, %dx
        jmp     look
reset:
        movw    $0x602, %dx
        movb    $1, %al
        outb    %al, %dx
        jmp     look
panic:
        movw    $0x505, %dx
        movb    $1, %al
        outb    %al, %dx
        jmp     look
flood:
        movb    $'0', %al
digit:
        outb    %al, %dx                // still the serial port's data
        incb    %al
        cmpb    $'9' + 1, %al
        jne     digit
        jmp     flood
die:
        ud2                             // there is no IDT

        .section .note.GNU-stack, "", @progbits
