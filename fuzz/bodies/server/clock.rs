//! A monotonic clock that the script moves, on the thread that plays it.
//!
//! The library asks the C library for the time. The linker finds this function first, in
//! the same program; other threads get the kernel's time from it.

use std::cell::Cell;

use libc::{CLOCK_MONOTONIC, SYS_clock_gettime, c_int, clockid_t, timespec};

thread_local! {
    /// Nanoseconds; none while the kernel's time is wanted.
    static MADE_UP: Cell<Option<u64>> = const { Cell::new(None) };
    /// Where the next script begins: the library's notes of earlier ones are in the past.
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// Time stands still, and moves when it is told, as long as this lives.
pub(in crate::bodies) struct StoppedClock(());

impl StoppedClock {
    pub(in crate::bodies) fn new() -> Self {
        let begin = NEXT.get().max(real(CLOCK_MONOTONIC).1);
        MADE_UP.set(Some(begin));
        Self(())
    }

    /// Nanoseconds.
    pub(super) fn now() -> u64 {
        MADE_UP.get().unwrap_or_else(|| real(CLOCK_MONOTONIC).1)
    }

    /// The kernel's, which does not stand still. Nanoseconds.
    pub(super) fn kernel() -> u64 {
        real(CLOCK_MONOTONIC).1
    }

    pub(super) fn pass(nanoseconds: u64) {
        MADE_UP.set(MADE_UP.get().map(|now| now + nanoseconds));
    }
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        NEXT.set(Self::now());
        MADE_UP.set(None);
    }
}

/// What the kernel says: its answer, and the time in nanoseconds.
fn real(clock: clockid_t) -> (timespec, u64) {
    let mut at = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a structure of ours.
    unsafe { libc::syscall(SYS_clock_gettime, clock, &raw mut at) };
    (at, at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64)
}

/// Stands before the C library's function of the same name.
///
/// # Safety
/// `at` points to a structure that may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: clockid_t, at: *mut timespec) -> c_int {
    let time = match MADE_UP.get() {
        Some(now) if clock == CLOCK_MONOTONIC => {
            timespec { tv_sec: (now / 1_000_000_000) as i64, tv_nsec: (now % 1_000_000_000) as i64 }
        }
        _ => real(clock).0,
    };
    // SAFETY: the caller's promise.
    unsafe { at.write(time) };
    0
}
