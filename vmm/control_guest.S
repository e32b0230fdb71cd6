// The guest of control_test: it says S on the serial port when it starts, B when the power button's
// interrupt line was raised, and does what it is told there, one character each:
//
//   o  switches the machine off         p  says through pvpanic that it panicked
//   r  resets the machine               t  dies of a triple fault
//   f  sends 0123456789 for ever, and listens no more
//   d  writes the next 4 KiB of the disk in PCI slot 1, waits until that has ended, and sends the
//      status as a digit
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
        xorl    %esi, %esi              // where the next write goes, in sectors
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
        cmpb    $'d', %al
        je      disk
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

// The device is reset before each request, so that every one is the first of its ring.
        .set    REGISTERS, 0xc0000000   // the first BAR of the machine
        .set    DESCRIPTORS, 0x200000
        .set    AVAILABLE, 0x201000
        .set    USED, 0x202000
        .set    HEADER, 0x203000
        .set    STATUS, 0x203100
        .set    DATA, 0x204000
disk:
        movw    $0xcf8, %dx             // slot 1: memory and bus mastering
        movl    $0x80000804, %eax
        outl    %eax, %dx
        movw    $0xcfc, %dx
        movl    $6, %eax
        outl    %eax, %dx
        movl    $REGISTERS, %edi
        movb    $0, 0x14(%edi)          // reset; acknowledge, driver
        movb    $3, 0x14(%edi)
        movl    $1, 0x8(%edi)           // features: VERSION_1 alone
        movl    $1, 0xc(%edi)
        movb    $0xb, 0x14(%edi)
        movw    $0, 0x16(%edi)          // queue 0, with four entries
        movw    $4, 0x18(%edi)
        movl    $DESCRIPTORS, 0x20(%edi)
        movl    $0, 0x24(%edi)
        movl    $AVAILABLE, 0x28(%edi)
        movl    $0, 0x2c(%edi)
        movl    $USED, 0x30(%edi)
        movl    $0, 0x34(%edi)
        movl    $0, AVAILABLE
        movl    $0, USED
        movw    $1, 0x1c(%edi)
        movb    $0xf, 0x14(%edi)
        movl    $HEADER, DESCRIPTORS    // 16 bytes, goes on with 1
        movl    $16, DESCRIPTORS + 8
        movl    $0x00010001, DESCRIPTORS + 12
        movl    $DATA, DESCRIPTORS + 16 // 4 KiB, goes on with 2
        movl    $4096, DESCRIPTORS + 24
        movl    $0x00020001, DESCRIPTORS + 28
        movl    $STATUS, DESCRIPTORS + 32 // one byte for the device to write
        movl    $1, DESCRIPTORS + 40
        movl    $2, DESCRIPTORS + 44
        movl    $1, HEADER              // a write
        movl    %esi, HEADER + 8
        movl    %esi, DATA              // what it writes begins with where it goes
        addl    $8, %esi
        movw    $0, AVAILABLE + 4
        movw    $1, AVAILABLE + 2
        movw    $0, 0x3000(%edi)        // the doorbell
wait:
        pause
        cmpw    $1, USED + 2
        jne     wait
        movb    STATUS, %al
        addb    $'0', %al
        jmp     send

        .section .note.GNU-stack, "", @progbits
