# SPDX-License-Identifier: GPL-2.0-only
#
# The code of a parked stub (x86-64). src/window/code.rs says what must hold of it, and passes the words in curly
# brackets: the members of the control page and of a call, the flags, the numbers of the host's ABI.
#
# The code is copied to the start of the stub's code page. The control page comes behind that page, so all
# addresses are relative to the code.

	.pushsection .rodata.stubguard_blob, "a", @progbits
	.balign 16

# Makes a system call. Its site is the address behind the instruction: the filters compare that.
	.macro stub_call nr:req, site:req
	movl	$\nr, %eax
	syscall
	.hidden	stubguard_at_\site
	.globl	stubguard_at_\site
stubguard_at_\site:
	.endm

	.hidden	stubguard_blob, stubguard_blob_end
	.globl	stubguard_blob, stubguard_blob_end
	.hidden	stubguard_at_iret, stubguard_at_nothing, stubguard_at_mask
	.globl	stubguard_at_iret, stubguard_at_nothing, stubguard_at_mask

	.set	.Lstub_control, .Lstub_park + {page}

stubguard_blob:

# ---- Park. The host enters here with each signal: rdi, rsi, rdx are the signal, its siginfo and its ucontext.
.Lstub_park:
	# The ticket of the last resume tells the monitor whether it has handled this park before.
	movq	.Lstub_control + {ticket}(%rip), %r10
	# The host holds the stub in this call until the monitor answers.
	stub_call {nr_park}, park
	# From here on rsp points to constants: there is no stack.
	leaq	.Lstub_eflags(%rip), %rsp
	# A guest that jumped here may have set NT (iretq would fault), TF (each step would), AC (loads would).
	popfq
	# Only the monitor gives this answer. Without a listener the host gives ENOSYS.
	cmpq	${answer}, %rax
	jne	.Lstub_kill

# ---- The batch: ebx counts the calls that are left, r12 points to the next one.
	movl	.Lstub_control + {calls}(%rip), %ebx
	testl	%ebx, %ebx
	jz	.Lstub_end_of_window
	leaq	.Lstub_control + {batch}(%rip), %r12
.Lstub_next_call:
	# All three calls take address and length; mmap and mprotect take the protection, too.
	movq	{addr}(%r12), %rdi
	movq	{length}(%r12), %rsi
	movl	{prot}(%r12), %edx
	# No protection: munmap. Else `maps` tells mmap from mprotect.
	testl	%edx, %edx
	jz	.Lstub_munmap
	cmpw	$0, {maps}(%r12)
	je	.Lstub_mprotect

	# mmap: of the guest's memory, shared, at exactly this address.
	movl	${map}, %r10d
	movl	${memory_fd}, %r8d
	movq	{offset}(%r12), %r9
	stub_call {nr_mmap}, mmap
	cmpq	%rdi, %rax
	jne	.Lstub_call_failed
	jmp	.Lstub_call_done

.Lstub_munmap:
	stub_call {nr_munmap}, munmap
	jmp	.Lstub_is_zero

.Lstub_mprotect:
	stub_call {nr_mprotect}, mprotect

.Lstub_is_zero:
	# munmap and mprotect return 0.
	testq	%rax, %rax
	jnz	.Lstub_call_failed

.Lstub_call_done:
	addq	${call_size}, %r12
	decl	%ebx
	jnz	.Lstub_next_call

# ---- The end of the window. Each batch gets here: with ebx = 0 if all calls are done, else after a failed call.
.Lstub_end_of_window:
	testl	${limit}, .Lstub_control + {flags}(%rip)
	jz	.Lstub_window_closed
	# prlimit(0, RLIMIT_AS, nothing, NULL): the host maps nothing from here on.
	xorl	%edi, %edi
	movl	${rlimit_as}, %esi
	leaq	stubguard_at_nothing(%rip), %rdx
	xorl	%r10d, %r10d
	stub_call {nr_prlimit}, limit
	# Without the limit no guest may run.
	testq	%rax, %rax
	jnz	.Lstub_kill

.Lstub_window_closed:
	testl	%ebx, %ebx
	jnz	.Lstub_park_failed
	testl	${guest}, .Lstub_control + {flags}(%rip)
	jnz	.Lstub_guest
	# There is no guest to run: park again, and say that the batch is done.
	movl	${done}, %edi
	jmp	.Lstub_park

.Lstub_call_failed:
	# r13 keeps the result: the call that ends the window changes rax.
	movq	%rax, %r13
	jmp	.Lstub_end_of_window

.Lstub_park_failed:
	# Park again, and say the result, and how many calls are left.
	movl	${failed}, %edi
	movq	%r13, %rsi
	movl	%ebx, %edx
	jmp	.Lstub_park

# ---- The guest: segments first, as arch_prctl is a call, and no call is made once signals are open.
.Lstub_guest:
	testl	${set_any}, .Lstub_control + {flags}(%rip)
	jz	.Lstub_unblock
	testl	${selectors}, .Lstub_control + {flags}(%rip)
	jz	.Lstub_bases
	# The selectors of a new process. Loading them may change the bases, so the bases come later.
	xorl	%eax, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs

.Lstub_bases:
	testl	${by_call}, .Lstub_control + {flags}(%rip)
	jnz	.Lstub_fs_by_call
	# The host has FSGSBASE.
	testl	${set_fs}, .Lstub_control + {flags}(%rip)
	jz	.Lstub_gs
	movq	.Lstub_control + {fs_base}(%rip), %rsi
	wrfsbase %rsi
.Lstub_gs:
	testl	${set_gs}, .Lstub_control + {flags}(%rip)
	jz	.Lstub_unblock
	movq	.Lstub_control + {gs_base}(%rip), %rsi
	wrgsbase %rsi
	jmp	.Lstub_unblock

	# The host has no FSGSBASE: arch_prctl(ARCH_SET_FS, base), arch_prctl(ARCH_SET_GS, base).
.Lstub_fs_by_call:
	testl	${set_fs}, .Lstub_control + {flags}(%rip)
	jz	.Lstub_gs_by_call
	movl	${arch_set_fs}, %edi
	movq	.Lstub_control + {fs_base}(%rip), %rsi
	stub_call {nr_arch_prctl}, set_fs
.Lstub_gs_by_call:
	testl	${set_gs}, .Lstub_control + {flags}(%rip)
	jz	.Lstub_unblock
	movl	${arch_set_gs}, %edi
	movq	.Lstub_control + {gs_base}(%rip), %rsi
	stub_call {nr_arch_prctl}, set_gs

.Lstub_unblock:
	# rt_sigprocmask(SIG_SETMASK, none, NULL, 8). The handler was entered with all signals blocked.
	movl	${sig_setmask}, %edi
	leaq	stubguard_at_mask(%rip), %rsi
	xorl	%edx, %edx
	movl	${sigset_size}, %r10d
	stub_call {nr_sigprocmask}, unblock

# ---- Signals may come from here to the iretq. The monitor then makes the same resume again.

	# The floating-point state, from the start of the second data page.
	leaq	.Lstub_control + {fp}(%rip), %rdi
	testl	${fxsave}, .Lstub_control + {flags}(%rip)
	jnz	.Lstub_fxrstor
	movl	.Lstub_control + {xfeatures}(%rip), %eax
	movl	.Lstub_control + {xfeatures} + 4(%rip), %edx
	xrstor64 (%rdi)
	jmp	.Lstub_registers
.Lstub_fxrstor:
	fxrstor64 (%rdi)

.Lstub_registers:
	# In the order of Head::gp. From here on no register is ours.
	.set	.Lstub_word, {gp}
	.irp	register, r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx
	movq	.Lstub_control + .Lstub_word(%rip), %\register
	.set	.Lstub_word, .Lstub_word + 8
	.endr
	# iretq pops rip, cs, rflags, rsp and ss: the guest runs.
	leaq	.Lstub_control + {iret}(%rip), %rsp
stubguard_at_iret:
	iretq

# ---- The monitor is gone, or the host did not do what it must: no rule allows this call, so the filter ends
# the process. Should it return, it is made again.
.Lstub_kill:
	stub_call {nr_exit_group}, kill
	jmp	.Lstub_kill

# ---- Constants.
	.balign	8
stubguard_at_nothing:
	# A struct rlimit64. The soft limit is 0; write() stores the monitor's hard limit in the copy.
	.quad	0
	.quad	0
.Lstub_eflags:
	.quad	{eflags}
stubguard_at_mask:
	# The empty signal mask.
	.quad	0
stubguard_blob_end:

	.purgem	stub_call
	.popsection
