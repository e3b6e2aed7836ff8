; A guest of one sector for tests. It prints the text at offset 128 (up to a zero
; byte) on the serial line, then does what the byte at offset 127 says:
;   0 stand still     1 reset by triple fault   2 switch off        3 count
;   4 spin            5 print the text for ever 6 switch off at the power button
;   7 tell pvpanic
;
; Assembled by: nasm -f bin -o guest.bin guest.asm

COM1    equ 0x3f8
PMBASE  equ 0x600               ; where SeaBIOS puts the power management ports
TICKS   equ 0x46c               ; the BIOS' clock, 18.2 a second

        org 0x7c00
        bits 16
        jmp 0:begin

action  equ 0x7c00 + 127
text    equ 0x7c00 + 128

putc:   push dx
        push ax
        mov dx, COM1 + 5
.busy:  in al, dx
        test al, 0x20
        jz .busy
        pop ax
        mov dx, COM1
        out dx, al
        pop dx
        ret

print:  mov si, text
.next:  lodsb
        test al, al
        jz .end
        call putc
        jmp .next
.end:   ret

triple: lidt [nothing]
        int3
nothing: dw 0
        dd 0

        times 320 - ($ - $$) db 0               ; action and text, up to 191 bytes

begin:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        cld
        call print              ; before SeaBIOS may add a late character of its own
        sti
        mov al, [action]
        cmp al, 1
        je triple
        cmp al, 2
        je off
        cmp al, 3
        je count
        cmp al, 4
        je spin
        cmp al, 5
        je flood
        cmp al, 6
        je button
        cmp al, 7
        je panic
still:  hlt
        jmp still
spin:   jmp spin
flood:  call print
        jmp flood

panic:  mov dx, 0x505
        mov al, 1
        out dx, al
        jmp still

off:    mov dx, PMBASE + 4
        mov ax, 0x2000          ; sleep now, type 0: S5
        out dx, ax
        jmp still

button: mov dx, PMBASE + 2
        mov ax, 0x100           ; the power button shall be told
        out dx, ax
        mov dx, PMBASE
.wait:  hlt
        in ax, dx
        test ah, 1
        jz .wait
        jmp off

count:  mov bx, '00'            ; bl tens, bh ones
.again: mov al, bl
        call putc
        mov al, bh
        call putc
        mov al, 10
        call putc
        mov cx, [TICKS]
.tick:  hlt
        cmp cx, [TICKS]
        je .tick
        inc bh
        cmp bh, '9' + 1
        jne .again
        mov bh, '0'
        inc bl
        cmp bl, '9' + 1
        jne .again
        jmp still

        times 510 - ($ - $$) db 0
        dw 0xaa55
