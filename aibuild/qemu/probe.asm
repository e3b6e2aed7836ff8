; The boot sector with which Tool.Probe learns how fast a guest's kernel code
; runs: it enters 64-bit mode, turns a loop ten million times in ring 0, and ends
; QEMU with status 33 through the isa-debug-exit device at port 0xf4. It prints
; '<' on the serial line before the loop and '>' after it.
;
; Assembled by: nasm -f bin -o probe.bin probe.asm

COM1    equ 0x3f8
EXIT    equ 0xf4
TURNS   equ 10000000
TABLES  equ 0x10000             ; page tables, three pages
CODE32  equ 0x08
DATA    equ 0x10
CODE64  equ 0x18

        org 0x7c00
        bits 16
        jmp 0:begin
begin:  cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        lgdt [descriptors.register]
        mov eax, cr0
        or al, 1                ; protection on
        mov cr0, eax
        jmp CODE32:protected

        bits 32
protected:
        mov ax, DATA
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov edi, TABLES
        mov ecx, 3 * 1024
        xor eax, eax
        cld
        rep stosd
        ; one 2 MiB page at address 0 is all that is needed
        mov dword [TABLES], TABLES + 0x1000 + 3
        mov dword [TABLES + 0x1000], TABLES + 0x2000 + 3
        mov dword [TABLES + 0x2000], 0x83
        mov eax, TABLES
        mov cr3, eax
        mov eax, cr4
        or eax, 1 << 5          ; physical address extension
        mov cr4, eax
        mov ecx, 0xc0000080     ; EFER
        rdmsr
        or eax, 1 << 8          ; long mode
        wrmsr
        mov eax, cr0
        or eax, 1 << 31         ; paging
        mov cr0, eax
        jmp CODE64:wide

        bits 64
wide:   mov dx, COM1
        mov al, '<'
        out dx, al
        mov ecx, TURNS
turn:   dec ecx
        jnz turn
        mov al, '>'
        out dx, al
        mov al, 16              ; QEMU's status is 2 * 16 + 1
        out EXIT, al
stop:   hlt
        jmp stop

        align 8
descriptors:
        dq 0
        dq 0x00cf9a000000ffff   ; CODE32
        dq 0x00cf92000000ffff   ; DATA
        dq 0x00af9a000000ffff   ; CODE64
.register:
        dw $ - descriptors - 1
        dd descriptors

        times 510 - ($ - $$) db 0
        dw 0xaa55
