// SPDX-License-Identifier: GPL-2.0-only
/*
 * A code page like UML's: a signal handler that reports, waits, runs the batch, and returns. It is
 * copied to another address, so it has no calls, no data and no stack protector.
 *
 * The code of the model's guests follows.
 */
#include "model.h"
#include "syscall6.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define STUB __attribute__((section("stub_code"), used, noinline))
#define ALWAYS static inline __attribute__((always_inline))

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002

void stub_signal_interrupt(int sig, siginfo_t *info, void *context);

ALWAYS long run_batch(volatile struct stub_data *data, const int *fds)
{
	int i;

	for (i = 0; i < data->syscall_data_len; i++) {
		volatile struct stub_syscall *call = &data->syscall_data[i];
		long ret, want = 0;

		if (call->syscall == STUB_SYSCALL_MMAP) {
			want = (long)call->mem.addr;
			ret = syscall6(SYS_mmap, want, (long)call->mem.length, call->mem.prot,
					MAP_SHARED | MAP_FIXED, fds[call->mem.fd],
					(long)call->mem.offset);
		} else if (call->syscall == STUB_SYSCALL_MUNMAP) {
			ret = syscall6(SYS_munmap, (long)call->mem.addr, (long)call->mem.length,
					0, 0, 0, 0);
		} else {
			ret = -95;
		}
		if (ret != want) {
			data->err = ret;
			data->syscall_data_len = i;
			return -1;
		}
	}
	data->err = 0;
	data->syscall_data_len = 0;
	return 0;
}

STUB void stub_signal_interrupt(int sig, siginfo_t *info, void *context)
{
	volatile struct stub_data *data = (void *)STUB_DATA;
	ucontext_t *uc = context;
	char byte;
	long control[CMSG_SPACE(sizeof(int)) / sizeof(long)];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message;
	long ret;
	int fds;

	data->signal = sig;
	data->si_offset = (unsigned short)((unsigned long)info - (unsigned long)data->sigstack);
	data->mctx_offset =
		(unsigned short)((unsigned long)&uc->uc_mcontext - (unsigned long)data->sigstack);

	for (;;) {
		data->futex = FUTEX_IN_KERN;
		syscall6(SYS_futex, (long)&data->futex, FUTEX_WAKE, 1, 0, 0, 0);
		do {
			syscall6(SYS_futex, (long)&data->futex, FUTEX_WAIT, FUTEX_IN_KERN, 0, 0,
				  0);
		} while (data->futex == FUTEX_IN_KERN);

		ret = 0;
		if (data->syscall_data_len) {
			message.msg_name = 0;
			message.msg_namelen = 0;
			message.msg_iov = &iov;
			message.msg_iovlen = 1;
			message.msg_control = control;
			message.msg_controllen = sizeof(control);
			message.msg_flags = 0;
			fds = 0;
			if (syscall6(SYS_recvmsg, 0, (long)&message, 0, 0, 0, 0) == 1 &&
			    message.msg_controllen > sizeof(struct cmsghdr))
				fds = 1;
			ret = run_batch(data, (int *)CMSG_DATA((struct cmsghdr *)control));
			if (fds)
				syscall6(SYS_close, *(int *)CMSG_DATA((struct cmsghdr *)control),
					  0, 0, 0, 0, 0);
		}
		if (ret == 0 && !data->restart_wait)
			break;
		data->signal = SIGSYS;
		data->restart_wait = 0;
	}
	if (data->arch_data.sync & STUB_SYNC_FS_BASE)
		syscall6(SYS_arch_prctl, ARCH_SET_FS, (long)data->arch_data.fs_base, 0, 0, 0, 0);
	if (data->arch_data.sync & STUB_SYNC_GS_BASE)
		syscall6(SYS_arch_prctl, ARCH_SET_GS, (long)data->arch_data.gs_base, 0, 0, 0, 0);
	data->arch_data.sync = 0;
}

/*
 * The guest reports rax by a call that no kernel has. It counts its rounds at the start of its stack
 * page.
 */
__asm__(
	".pushsection stub_code, \"ax\", @progbits\n"
	".globl stub_signal_restorer\n"
	"stub_signal_restorer:\n"
	"	mov	$15, %eax\n"
	"	syscall\n"
	".popsection\n"

	".pushsection guest_code, \"ax\", @progbits\n"
	".globl guest_report, guest_call, guest_read, guest_write, guest_spin, guest_fault\n"
	".globl guest_dump, guest_forge, guest_read_fs, guest_read_gs, guest_nops\n"
	"guest_base:\n"
	"guest_call:\n"
	"	syscall\n"
	"guest_report:\n"
	"	mov	%rax, %rdi\n"
	"	mov	$9999, %eax\n"
	"	syscall\n"
	"	jmp	guest_report\n"
	"guest_read:\n"
	"	mov	(%rdi), %rax\n"
	"	jmp	guest_report\n"
	"guest_write:\n"
	"	mov	%rsi, (%rdi)\n"
	"	xor	%eax, %eax\n"
	"	jmp	guest_report\n"
	"guest_spin:\n"
	"	lock incq (%rdi)\n"
	"	pause\n"
	"	jmp	guest_spin\n"
	"guest_fault:\n"
	"	ud2\n"
	"guest_read_fs:\n"
	"	mov	%fs:0, %rax\n"
	"	jmp	guest_report\n"
	"guest_read_gs:\n"
	"	mov	%gs:0, %rax\n"
	"	jmp	guest_report\n"
	"guest_nops:\n"
	"	nop\n"
	"	nop\n"
	"	nop\n"
	"	jmp	guest_report\n"
	/* Stores all registers to the stack page, in the order of struct user_regs_struct. */
	".macro dump what, index\n"
	"	mov	\\what, guest_base + 4096 + 512 + 8 * \\index(%rip)\n"
	".endm\n"
	"guest_dump:\n"
	"	dump	%r15, 0\n"
	"	dump	%r14, 1\n"
	"	dump	%r13, 2\n"
	"	dump	%r12, 3\n"
	"	dump	%rbp, 4\n"
	"	dump	%rbx, 5\n"
	"	dump	%r11, 6\n"
	"	dump	%r10, 7\n"
	"	dump	%r9, 8\n"
	"	dump	%r8, 9\n"
	"	dump	%rax, 10\n"
	"	dump	%rcx, 11\n"
	"	dump	%rdx, 12\n"
	"	dump	%rsi, 13\n"
	"	dump	%rdi, 14\n"
	"	dump	%rsp, 19\n"
	"	dump	%cs, 17\n"
	"	dump	%ss, 20\n"
	"	lea	guest_base + 4096 + 504(%rip), %rsp\n"
	"	pushfq\n"
	"	pop	%rbx\n"
	"	dump	%rbx, 18\n"
	"	push	$2\n"
	"	popfq\n"
	"	mov	guest_base + 4096 + 504(%rip), %eax\n"
	"	mov	guest_base + 4096 + 508(%rip), %edx\n"
	"	xsave64	guest_base + 4096 + 1024(%rip)\n"
	"	mov	$1234, %eax\n"
	"	jmp	guest_report\n"
	/* Copies prepared bytes, and jumps to an address with prepared registers. */
	"guest_forge:\n"
	"	rep movsb\n"
	"	mov	guest_base + 4096 + 520(%rip), %rax\n"
	"	mov	guest_base + 4096 + 528(%rip), %rdi\n"
	"	mov	guest_base + 4096 + 536(%rip), %rsi\n"
	"	mov	guest_base + 4096 + 544(%rip), %rdx\n"
	"	mov	guest_base + 4096 + 552(%rip), %r10\n"
	"	mov	guest_base + 4096 + 560(%rip), %r8\n"
	"	mov	guest_base + 4096 + 568(%rip), %r9\n"
	"	jmp	*guest_base + 4096 + 512(%rip)\n"
	".popsection\n");
