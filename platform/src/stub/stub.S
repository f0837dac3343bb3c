# The stub: the only code of ours that runs in a guest's host process. Intel syntax, position-independent, copied to TEXT.
#
# It has no secrets and no rights: the guest can jump anywhere in it with any registers. Layouts are those of stub/mod.rs.
#
# Registers while in the stub: rbx = the signal frame, r12 = this thread's slot, rsp = rbx at every wait.

    .balign 4096
    .globl runsc_stub_start
runsc_stub_start:

# Signal handler: rdi = signal, rsi = siginfo, rdx = ucontext, rsp = rt_sigframe. All signals are blocked; the kernel has saved everything.
    .globl runsc_stub_handler
runsc_stub_handler:
    mov     rbx, rsp
    mov     rax, rsp
    movabs  rcx, {STACKS}
    sub     rax, rcx
    shr     rax, {STACK_SHIFT}
    shl     rax, 12
    movabs  r12, {SLOTS}
    add     r12, rax
    mov     r13, rdi
    cld
    # siginfo, first 48 bytes
    lea     rdi, [r12 + {SLOT_INFO}]
    mov     ecx, 6
    rep movsq
    # the sigcontext's 23 registers and the fpstate pointer
    lea     rsi, [rbx + {FRAME_REGS}]
    lea     rdi, [r12 + {SLOT_REGS}]
    mov     ecx, 24
    rep movsq
    # the host mask never mirrors a guest mask
    mov     qword ptr [rbx + {FRAME_MASK}], 0
    cmp     byte ptr [rip + runsc_stub_fsgsbase], 0
    je      2f
    rdfsbase rax
    mov     [r12 + {SLOT_FS}], rax
    rdgsbase rax
    mov     [r12 + {SLOT_GS}], rax
2:  mov     rdi, r13
    mov     rsi, rbx
    xor     edx, edx

# Rings the doorbell (rdi = kind, rsi and rdx by kind) and obeys the reply.
stub_wait:
    mov     eax, {DOORBELL}
    syscall
    .globl runsc_stub_doorbell_ip
runsc_stub_doorbell_ip:
    cmp     rax, {REPLY_RESUME}
    je      stub_resume
    cmp     rax, {REPLY_RESUME_EDITED}
    je      stub_resume_edited
    lea     r13, [r12 + {SLOT_ORDERS}]
    cmp     rax, {REPLY_ORDERS}
    je      stub_orders
    mov     r13, rbx
    and     r13, -{STACK_SIZE}
    cmp     rax, {REPLY_ORDERS_ON_STACK}
    je      stub_orders
    cmp     rax, {REPLY_PARK}
    je      stub_park
    # nobody is there any more (ENOSYS): die, all signals are blocked
    ud2

stub_resume_edited:
    lea     rsi, [r12 + {SLOT_REGS}]
    lea     rdi, [rbx + {FRAME_REGS}]
    mov     ecx, 24
    rep movsq
stub_resume:
    lea     rsp, [rbx + 8]
    mov     eax, 15
    syscall
    .globl runsc_stub_sigreturn_ip
runsc_stub_sigreturn_ip:
    ud2

# Waits on the slot's futex while it is 0, then rings with KIND_UNPARKED.
stub_park:
    lea     rdi, [r12 + {SLOT_PARK}]
    xor     esi, esi
    xor     edx, edx
    xor     r10d, r10d
    mov     eax, 202
    syscall
    .globl runsc_stub_futex_ip
runsc_stub_futex_ip:
    cmp     dword ptr [r12 + {SLOT_PARK}], 0
    je      stub_park
    mov     edi, {KIND_UNPARKED}
    mov     rsi, rbx
    xor     edx, edx
    jmp     stub_wait

# Executes the list at r13: a count, then from 64 bytes on entries of 8 words (number, six arguments, result), until one fails. With bit 32 of the
# count set, and if none has failed, the guest runs on with the slot's registers, else the doorbell is rung.
stub_orders:
    mov     rbp, [r13]
    lea     r15, [r13 + 64]
    xor     r13d, r13d
    xor     eax, eax
3:  cmp     r13d, ebp
    jae     4f
    mov     r14, [r15]
    mov     rdi, [r15 + 8]
    mov     rsi, [r15 + 16]
    mov     rdx, [r15 + 24]
    mov     r10, [r15 + 32]
    mov     r8, [r15 + 40]
    mov     r9, [r15 + 48]
    mov     rax, r14
    syscall
    .globl runsc_stub_order_ip
runsc_stub_order_ip:
    test    rax, rax
    jne     5f
    cmp     r14, 56
    je      stub_child
5:  mov     [r15 + 56], rax
    inc     r13
    add     r15, 64
    cmp     rax, -4096
    jbe     3b
    jmp     9f
4:  bt      rbp, 32
    jc      stub_resume_edited
9:  mov     edi, {KIND_DONE}
    mov     rsi, r13
    mov     rdx, rax
    jmp     stub_wait

# A clone's child: rsp = its frame, r9 = the nonce it must show. It touches no slot yet: a fork's child has none.
stub_child:
    mov     rbx, rsp
    mov     rax, rsp
    movabs  rcx, {STACKS}
    sub     rax, rcx
    shr     rax, {STACK_SHIFT}
    shl     rax, 12
    movabs  r12, {SLOTS}
    add     r12, rax
    mov     edi, {KIND_CHILD}
    mov     rsi, rbx
    mov     rdx, r9
    jmp     stub_wait

# The template. r13 = its control page. Unmaps what is left of the sentry's image, then makes a process per message.
    .globl runsc_stub_template
runsc_stub_template:
    lea     r15, [r13 + {CONTROL_BOOT}]
    lea     r12, [rip + template_loop]
    jmp     template_script
template_loop:
    mov     qword ptr [r13 + {CONTROL_MESSAGE} + 40], 24
    mov     edi, {CONTROL_FD}
    lea     rsi, [r13 + {CONTROL_MESSAGE}]
    xor     edx, edx
    mov     eax, 47
    syscall
    cmp     rax, 1
    jne     template_end
    lea     r15, [r13 + {CONTROL_PARENT}]
    lea     r12, [rip + template_loop]
# Executes the list at r15 to its end whatever the results, then jumps to r12.
template_script:
    mov     rbp, [r15]
    add     r15, 64
6:  test    rbp, rbp
    jne     7f
    jmp     r12
7:  mov     r14, [r15]
    mov     rdi, [r15 + 8]
    mov     rsi, [r15 + 16]
    mov     rdx, [r15 + 24]
    mov     r10, [r15 + 32]
    mov     r8, [r15 + 40]
    mov     r9, [r15 + 48]
    mov     rax, r14
    syscall
    test    rax, rax
    jne     8f
    cmp     r14, 56
    je      template_child
8:  mov     [r15 + 56], rax
    dec     rbp
    add     r15, 64
    jmp     6b
template_end:
    xor     edi, edi
    mov     eax, 231
    syscall
    ud2
template_child:
    lea     r15, [r13 + {CONTROL_CHILD}]
    lea     r12, [rip + template_child_ready]
    jmp     template_script
# The last call of the list was seccomp(2): its result is the listener's number. From here on every call is a notification but the futex.
template_child_ready:
    mov     eax, [r15 - 8]
    inc     eax
    movabs  r12, {SLOTS}
    mov     [r12 + {SLOT_READY}], eax
    mov     rbx, [r13 + {CONTROL_FRAME}]
    mov     rsp, rbx
    lea     rdi, [r12 + {SLOT_READY}]
    mov     esi, 1
    mov     edx, 1
    mov     eax, 202
    syscall
    .globl runsc_stub_ready_ip
runsc_stub_ready_ip:
    mov     edi, {KIND_CHILD}
    mov     rsi, rbx
    xor     edx, edx
    jmp     stub_wait

# Set to 1 in the copy when rdfsbase may be used (HWCAP2 bit 1).
    .globl runsc_stub_fsgsbase
runsc_stub_fsgsbase:
    .byte   0
    .globl runsc_stub_end
runsc_stub_end:
