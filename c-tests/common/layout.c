// SPDX-License-Identifier: GPL-2.0-only
/* The ABI as a C compiler sees it; src/capi/library.rs has the same assertions. */
#include <stddef.h>
#include <stubguard.h>
#include <sys/user.h>

#define ASSERT(condition) _Static_assert(condition, #condition)
#define AT(type, member, offset) ASSERT(offsetof(struct type, member) == (offset))

ASSERT(sizeof(struct stubguard_config) == 152 && _Alignof(struct stubguard_config) == 8);
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
AT(stubguard_config, fp_size, 132);
AT(stubguard_config, pool_size, 136);
AT(stubguard_config, reserved, 140);
AT(stubguard_config, guest_end, 144);

ASSERT(sizeof(struct stubguard_layout) == 76 && _Alignof(struct stubguard_layout) == 4);
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
AT(stubguard_layout, restart_wait, 40);
AT(stubguard_layout, futex, 44);
AT(stubguard_layout, signal, 48);
AT(stubguard_layout, si_offset, 52);
AT(stubguard_layout, mctx_offset, 56);
AT(stubguard_layout, arch_data, 60);
AT(stubguard_layout, arch_size, 64);
AT(stubguard_layout, sigstack, 68);
AT(stubguard_layout, sigstack_size, 72);

ASSERT(sizeof(struct stubguard_stats) == 160 && _Alignof(struct stubguard_stats) == 8);
AT(stubguard_stats, served, 0);
AT(stubguard_stats, allowed, 8);
AT(stubguard_stats, denied, 16);
AT(stubguard_stats, resynchronised, 112);
AT(stubguard_stats, breaches, 120);
AT(stubguard_stats, stalls, 128);
AT(stubguard_stats, kills, 136);
AT(stubguard_stats, recycled, 144);
AT(stubguard_stats, killed_watchdog, 152);

ASSERT(sizeof(struct stubguard_stub) == 256 && _Alignof(struct stubguard_stub) == 8);

ASSERT(sizeof(struct stubguard_stub_info) == 32 && _Alignof(struct stubguard_stub_info) == 8);
AT(stubguard_stub_info, size, 0);
AT(stubguard_stub_info, shared, 8);
AT(stubguard_stub_info, identity, 16);
AT(stubguard_stub_info, pid, 24);
AT(stubguard_stub_info, listener, 28);

ASSERT(sizeof(struct stubguard_call) == 32 && _Alignof(struct stubguard_call) == 8);
AT(stubguard_call, addr, 0);
AT(stubguard_call, length, 8);
AT(stubguard_call, offset, 16);
AT(stubguard_call, prot, 24);
AT(stubguard_call, kind, 28);

ASSERT(sizeof(struct stubguard_resume) == 48 && _Alignof(struct stubguard_resume) == 8);
AT(stubguard_resume, size, 0);
AT(stubguard_resume, flags, 8);
AT(stubguard_resume, cpu, 12);
AT(stubguard_resume, calls, 16);
AT(stubguard_resume, calls_len, 24);
AT(stubguard_resume, reserved, 28);
AT(stubguard_resume, registers, 32);
AT(stubguard_resume, fp, 40);

ASSERT(sizeof(struct stubguard_event) == 56 && _Alignof(struct stubguard_event) == 8);
AT(stubguard_event, size, 0);
AT(stubguard_event, signal, 8);
AT(stubguard_event, again, 12);
AT(stubguard_event, error, 16);
AT(stubguard_event, done, 20);
AT(stubguard_event, syscall, 24);
AT(stubguard_event, notified, 28);
AT(stubguard_event, error_code, 32);
AT(stubguard_event, address, 40);
AT(stubguard_event, trap, 48);

/* The library takes the registers of PTRACE_GETREGS. */
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
ASSERT(STUBGUARD_RESUME_STEP == 1 && STUBGUARD_RESUME_WATCHED == 2 && STUBGUARD_RESUME_SHARED == 4);
ASSERT(STUBGUARD_CALLS_MAX == 104 && STUBGUARD_REGISTERS == 27 && STUBGUARD_MEMORY_FD == 1 && STUBGUARD_POOL_MAX == 64);
