// SPDX-License-Identifier: GPL-2.0-only
/* The ABI as a C compiler sees it; src/capi/library.rs says the same of the library. */
#include <stddef.h>
#include <stubguard.h>

#define ASSERT(condition) _Static_assert(condition, #condition)
#define AT(type, member, offset) ASSERT(offsetof(struct type, member) == (offset))

ASSERT(sizeof(struct stubguard_config) == 136 && _Alignof(struct stubguard_config) == 8);
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

ASSERT(sizeof(struct stubguard_layout) == 80 && _Alignof(struct stubguard_layout) == 4);
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
AT(stubguard_layout, fp_size, 76);

ASSERT(sizeof(struct stubguard_stats) == 144 && _Alignof(struct stubguard_stats) == 8);
AT(stubguard_stats, served, 0);
AT(stubguard_stats, allowed, 8);
AT(stubguard_stats, denied, 16);
AT(stubguard_stats, resynchronised, 112);
AT(stubguard_stats, breaches, 120);
AT(stubguard_stats, stalls, 128);
AT(stubguard_stats, kills, 136);

ASSERT(STUBGUARD_DENIALS == 12);
ASSERT(STUBGUARD_REQUIRE == 1 && STUBGUARD_TIME_TRAVEL == 2 && STUBGUARD_MMAP2 == 4);
ASSERT(STUBGUARD_F_LISTENER == 1 && STUBGUARD_F_WATCHDOG == 2 && STUBGUARD_F_WAIT_KILLABLE == 4 &&
       STUBGUARD_F_SYNC_WAKE_UP == 8);
ASSERT(STUBGUARD_LOG_ERR == 3 && STUBGUARD_LOG_WARNING == 4 && STUBGUARD_LOG_INFO == 6);
ASSERT(STUBGUARD_LISTENER_FD == 1 && STUBGUARD_FILTER_MAX == 64 && STUBGUARD_MAX_CPUS == 64);
