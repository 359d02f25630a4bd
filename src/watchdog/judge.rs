// SPDX-License-Identifier: GPL-2.0-only
//! When a stub that does not report back is to blame, and for how long it may be. Pure.
//!
//! A stub that runs the guest reports at the latest when the guest's timer signals it, a hundredth
//! of a second of its own time. One that does not, and has its time, has blocked that signal. Each
//! tick that a wait has lasted is charged by what the host says the stub did meanwhile:
//!
//! | stub                                   | charged |
//! |----------------------------------------|---------|
//! | has run                                | its CPU time: one that is starved gets its time first |
//! | sleeps                                 | the tick: no call that it may make sleeps by right |
//! | stopped, traced, frozen                | nothing: somebody holds it |
//! | uninterruptible                        | nothing: the host holds it |
//! | dying                                  | nothing: the listener reports the death |
//! | any, but the monitor itself cannot run | nothing yet: the report may be there already. If it is not, the stub's CPU time is charged later |

/// What a process or thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Runs or wants to run.
    Running,
    /// Sleeps, and a signal would wake it.
    Sleeping,
    /// Stopped, traced, frozen, in an uninterruptible sleep, or dead.
    Held,
}

/// A look at a stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The stub.
    pub stub: Doing,
    /// The monitor's thread.
    pub monitor: Doing,
    /// The CPU time that the stub has had, in nanoseconds.
    pub cpu_ns: u64,
}

/// What the watchdog must do; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// This is the first charge of the wait: count a stall.
    pub stall: bool,
    /// The stub has used up its budget: kill it.
    pub kill: bool,
}

/// The account of one wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    last_cpu_ns: u64,
    charged_ns: u64,
}

impl Account {
    /// Opens an account with a first look.
    #[must_use]
    pub fn open(look: &Look) -> Self {
        Self { last_cpu_ns: look.cpu_ns, charged_ns: 0 }
    }

    /// Charges the tick that has passed since the last look.
    pub fn charge(&mut self, look: &Look, tick_ns: u64, budget_ns: u64) -> Verdict {
        // A monitor that waits sleeps, or is awake for a moment. On a busy host it is often seen awake.
        if look.monitor != Doing::Sleeping {
            return Verdict::default();
        }
        let ran = look.cpu_ns.saturating_sub(self.last_cpu_ns);
        self.last_cpu_ns = look.cpu_ns;
        let charge = match look.stub {
            Doing::Held => 0,
            Doing::Running => ran,
            Doing::Sleeping => tick_ns.max(ran),
        };
        if charge == 0 {
            return Verdict::default();
        }
        let stall = self.charged_ns == 0;
        self.charged_ns = self.charged_ns.saturating_add(charge);
        Verdict { stall, kill: self.charged_ns >= budget_ns }
    }

    /// What has been charged, in nanoseconds.
    #[must_use]
    pub fn charged_ns(&self) -> u64 {
        self.charged_ns
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const WAIT: Verdict = Verdict { stall: false, kill: false };
    const STALL: Verdict = Verdict { stall: true, kill: false };
    const KILL: Verdict = Verdict { stall: false, kill: true };

    /// The tick, counted from 1, at which a stub is killed that does `stub` and gets so much of a CPU.
    fn killed_at(stub: Doing, monitor: Doing, percent: u64) -> Option<u64> {
        let look = |second: u64| Look { stub, monitor, cpu_ns: second * percent * SECOND / 100 };
        let mut account = Account::open(&look(0));
        (1..=1000).find(|second| account.charge(&look(*second), SECOND, 5 * SECOND).kill)
    }

    #[test]
    fn who_is_to_blame() {
        use Doing::{Held, Running, Sleeping};
        assert_eq!(killed_at(Running, Sleeping, 100), Some(5), "a spinner");
        assert_eq!(killed_at(Running, Sleeping, 10), Some(50), "a spinner on a busy host");
        assert_eq!(killed_at(Running, Sleeping, 0), None, "a starved stub");
        assert_eq!(killed_at(Sleeping, Sleeping, 0), Some(5), "a sleeper");
        assert_eq!(killed_at(Held, Sleeping, 0), None, "stopped, traced, frozen, uninterruptible");
        for stub in [Running, Sleeping, Held] {
            assert_eq!(killed_at(stub, Running, 100), None, "a starved monitor");
            assert_eq!(killed_at(stub, Held, 100), None, "a monitor that is held");
        }
    }

    #[test]
    fn a_stall_is_told_once() {
        let look = |cpu| Look { stub: Doing::Running, monitor: Doing::Sleeping, cpu_ns: cpu };
        let mut account = Account::open(&look(0));
        assert_eq!(account.charge(&look(0), SECOND, 5 * SECOND), WAIT);
        assert_eq!(account.charge(&look(1), SECOND, 5 * SECOND), STALL);
        assert_eq!(account.charge(&look(2), SECOND, 5 * SECOND), WAIT);
        assert_eq!(account.charge(&look(6 * SECOND), SECOND, 5 * SECOND), KILL);
    }

    #[test]
    fn a_kill_by_the_first_charge_is_a_stall_too() {
        // The watchdog was late.
        let look = |cpu| Look { stub: Doing::Running, monitor: Doing::Sleeping, cpu_ns: cpu };
        let mut account = Account::open(&look(0));
        assert_eq!(
            account.charge(&look(6 * SECOND), SECOND, 5 * SECOND),
            Verdict { stall: true, kill: true }
        );
    }

    #[test]
    fn time_before_a_monitor_could_run_is_charged_afterwards() {
        let look = |monitor, cpu| Look { stub: Doing::Running, monitor, cpu_ns: cpu };
        let mut account = Account::open(&look(Doing::Sleeping, 0));
        assert_eq!(account.charge(&look(Doing::Running, 3 * SECOND), SECOND, 5 * SECOND), WAIT);
        assert_eq!(account.charge(&look(Doing::Sleeping, 4 * SECOND), SECOND, 5 * SECOND), STALL);
        assert_eq!(account.charged_ns(), 4 * SECOND);
        assert_eq!(account.charge(&look(Doing::Held, 5 * SECOND), SECOND, 5 * SECOND), WAIT);
        assert_eq!(account.charge(&look(Doing::Sleeping, 5 * SECOND), SECOND, 5 * SECOND), KILL);
    }

    #[test]
    fn time_while_held_is_not_charged_afterwards() {
        let look = |stub, cpu| Look { stub, monitor: Doing::Sleeping, cpu_ns: cpu };
        let mut account = Account::open(&look(Doing::Running, 0));
        assert_eq!(account.charge(&look(Doing::Held, 100 * SECOND), SECOND, 5 * SECOND), WAIT);
        assert_eq!(account.charge(&look(Doing::Running, 101 * SECOND), SECOND, 5 * SECOND), STALL);
        assert_eq!(account.charged_ns(), SECOND);
    }
}
