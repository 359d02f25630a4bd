// SPDX-License-Identifier: GPL-2.0-only
/* The ABI as a C compiler sees it; src/capi/library.rs says the same of the library. */
#include <stddef.h>
#include <stubguard.h>
#include <sys/user.h>

#define ASSERT(condition) _Static_assert(condition, #condition)
#define AT(type, member, offset) ASSERT(offsetof(struct type, member) == (offset))

ASSERT(sizeof(struct stubguard_config) == 160 && _Alignof(struct stubguard_config) == 8);
AT(stubguard_config, size, 0);
AT(stubguard_config, flags, 8);
AT(stubguard_config, cpus, 12);
AT(stubguard_config, stub_start, 16);
AT(stubguard_config, page_size, 24);
AT(stubguard_config, mmap_fd_first, 28);
AT(stubguard_config, mmap_fd_last, 32);
AT(stubguard_config, watchdog_tick_ms, 36);
AT(stubguard_config, watchdog_budget_ms, 40);
AT(stubguard_config, kick_signal, 44);
AT(stubguard_config, log, 48);
AT(stubguard_config, layout, 56);
AT(stubguard_config, pool_size, 144);
AT(stubguard_config, reserved, 148);
AT(stubguard_config, guest_end, 152);

ASSERT(sizeof(struct stubguard_layout) == 88 && _Alignof(struct stubguard_layout) == 4);
AT(stubguard_layout, size, 0);
AT(stubguard_layout, err, 4);
AT(stubguard_layout, calls_len, 8);
AT(stubguard_layout, calls, 12);
AT(stubguard_layout, call_size, 16);
AT(stubguard_layout, calls_max, 20);
AT(stubguard_layout, call_addr, 24);
AT(stubguard_layout, call_length, 28);
AT(stubguard_layout, call_offset, 32);
AT(stubguard_layout, call_prot, 36);
AT(stubguard_layout, call_fd, 40);
AT(stubguard_layout, call_type, 44);
AT(stubguard_layout, restart_wait, 48);
AT(stubguard_layout, futex, 52);
AT(stubguard_layout, signal, 56);
AT(stubguard_layout, si_offset, 60);
AT(stubguard_layout, mctx_offset, 64);
AT(stubguard_layout, arch_data, 68);
AT(stubguard_layout, arch_size, 72);
AT(stubguard_layout, sigstack, 76);
AT(stubguard_layout, sigstack_size, 80);
AT(stubguard_layout, fp_size, 84);

ASSERT(sizeof(struct stubguard_stats) == 152 && _Alignof(struct stubguard_stats) == 8);
AT(stubguard_stats, served, 0);
AT(stubguard_stats, allowed, 8);
AT(stubguard_stats, denied, 16);
AT(stubguard_stats, resynchronised, 112);
AT(stubguard_stats, breaches, 120);
AT(stubguard_stats, stalls, 128);
AT(stubguard_stats, kills, 136);
AT(stubguard_stats, recycled, 144);

ASSERT(sizeof(struct stubguard_stub) == 96 && _Alignof(struct stubguard_stub) == 8);
AT(stubguard_stub, pid, 0);
AT(stubguard_stub, listener, 4);
AT(stubguard_stub, state, 8);
AT(stubguard_stub, limit, 12);
AT(stubguard_stub, identity, 16);
AT(stubguard_stub, shared, 24);
AT(stubguard_stub, notification, 32);
AT(stubguard_stub, ticket, 40);
AT(stubguard_stub, fs_base, 48);
AT(stubguard_stub, gs_base, 56);
AT(stubguard_stub, xfeatures, 64);
AT(stubguard_stub, calls, 72);
AT(stubguard_stub, siginfo, 76);
AT(stubguard_stub, mcontext, 78);
AT(stubguard_stub, fpstate, 80);
AT(stubguard_stub, asked, 82);
AT(stubguard_stub, suspect, 84);
AT(stubguard_stub, call_ip, 88);

ASSERT(sizeof(struct stubguard_resume) == 40 && _Alignof(struct stubguard_resume) == 8);
AT(stubguard_resume, own, 0);
AT(stubguard_resume, calls, 8);
AT(stubguard_resume, reserved, 12);
AT(stubguard_resume, registers, 16);
AT(stubguard_resume, fp, 24);
AT(stubguard_resume, step, 32);
AT(stubguard_resume, trap, 36);

ASSERT(sizeof(struct stubguard_event) == 48 && _Alignof(struct stubguard_event) == 8);
AT(stubguard_event, signal, 0);
AT(stubguard_event, again, 4);
AT(stubguard_event, error, 8);
AT(stubguard_event, done, 12);
AT(stubguard_event, syscall, 16);
AT(stubguard_event, notified, 20);
AT(stubguard_event, error_code, 24);
AT(stubguard_event, address, 32);
AT(stubguard_event, trap, 40);

/* What PTRACE_GETREGS gives is what the library takes. */
ASSERT(sizeof(struct user_regs_struct) == STUBGUARD_REGISTERS * sizeof(uint64_t));

ASSERT(STUBGUARD_DENIALS == 12);
ASSERT(STUBGUARD_REQUIRE == 1 && STUBGUARD_TIME_TRAVEL == 2 && STUBGUARD_WINDOW == 4);
ASSERT(STUBGUARD_CALL_MMAP == 1 && STUBGUARD_CALL_MUNMAP == 2 && STUBGUARD_CALL_WRPROTECT == 3);
ASSERT(STUBGUARD_F_LISTENER == 1 && STUBGUARD_F_WATCHDOG == 2 && STUBGUARD_F_WAIT_KILLABLE == 4 &&
       STUBGUARD_F_SYNC_WAKE_UP == 8 && STUBGUARD_F_FSGSBASE == 16 &&
       STUBGUARD_F_RECEIVE_ENDS == 32 && STUBGUARD_F_DISPATCH == 64 &&
       STUBGUARD_F_UNFILTERED == 128 && STUBGUARD_SELECTOR == 4088);
ASSERT(STUBGUARD_LOG_ERR == 3 && STUBGUARD_LOG_WARNING == 4 && STUBGUARD_LOG_INFO == 6);
ASSERT(STUBGUARD_LISTENER_FD == 1 && STUBGUARD_FILTER_MAX == 192 && STUBGUARD_MAX_CPUS == 64);
ASSERT(STUBGUARD_REGISTERS == 27 && STUBGUARD_MEMORY_FD == 1 && STUBGUARD_POOL_MAX == 64);
