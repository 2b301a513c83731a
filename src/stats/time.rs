//! The clock of the counters, and the host's time that the library takes.
//!
//! Counters ask for the time once a batch, which must cost next to nothing: the kernel's
//! coarse clock is a read of memory. It stands still for up to four milliseconds, so that a
//! single short wait counts as nothing or as a tick; over many the sum is right.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::host::clock;

/// A time of the monotonic clock, or a duration.
pub type Nanoseconds = u64;

/// Now, a few milliseconds ago at most.
pub fn now() -> Nanoseconds {
    clock::coarse_ns()
}

/// What threads of the host have spent in the library since the process began.
static HOST_TIME: AtomicU64 = AtomicU64::new(0);

/// Calls that are still to come before one is measured, of functions that are called too
/// often to look at the clock each time.
static TO_COME: AtomicU32 = AtomicU32::new(0);

/// One in so many of those is measured and counts for all. A prime: what the host does in
/// turns must not always meet the same call.
const ONE_IN: u32 = 61;

thread_local! {
    /// This thread is inside of a call that is measured.
    static MEASURED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` for the host and counts how long it takes, in ticks of the coarse clock. What
/// the host is asked for meanwhile is part of it, and calls that come of that are.
pub(crate) fn for_host<T>(body: impl FnOnce() -> T) -> T {
    measured(now, 1, body)
}

/// The same for calls that come by the million: a sample of them is measured.
pub(crate) fn often_for_host<T>(body: impl FnOnce() -> T) -> T {
    // Not one locked instruction: a call that gets lost between two threads is no harm.
    let to_come = TO_COME.load(Ordering::Relaxed);
    if to_come > 0 {
        TO_COME.store(to_come - 1, Ordering::Relaxed);
        return body();
    }
    TO_COME.store(ONE_IN - 1, Ordering::Relaxed);
    measured(clock::monotonic_ns, ONE_IN, body)
}

fn measured<T>(clock: fn() -> Nanoseconds, weight: u32, body: impl FnOnce() -> T) -> T {
    let outermost = MEASURED.try_with(|measured| !measured.replace(true)).unwrap_or(false);
    if !outermost {
        return body();
    }
    let _measure = Measure { clock, weight, begin: clock() };
    body()
}

/// Counts when it is dropped, after a panic too.
struct Measure {
    clock: fn() -> Nanoseconds,
    weight: u32,
    begin: Nanoseconds,
}

impl Drop for Measure {
    fn drop(&mut self) {
        let taken = (self.clock)().saturating_sub(self.begin);
        if taken > 0 {
            HOST_TIME.fetch_add(taken * u64::from(self.weight), Ordering::Relaxed);
        }
        let _ = MEASURED.try_with(|measured| measured.set(false));
    }
}

/// What threads of the host have spent in the library, in this process. Frequent calls are
/// estimated.
pub fn host_time() -> Nanoseconds {
    HOST_TIME.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A_WHILE: Duration = Duration::from_millis(20);

    #[test]
    fn a_call_counts_once_whatever_it_calls() {
        // Other tests may add to it too: a lower bound, and what one thread does.
        let before = host_time();
        for_host(|| for_host(|| std::thread::sleep(A_WHILE)));
        assert!(host_time() - before >= (A_WHILE / 2).as_nanos() as u64);
        assert!(!MEASURED.get());
        let caught = std::panic::catch_unwind(|| for_host(|| panic!("made on purpose")));
        assert!(caught.is_err() && !MEASURED.get());
    }

    #[test]
    fn one_in_so_many_frequent_calls_counts_for_all() {
        let measured = (0..10 * ONE_IN).filter(|_| often_for_host(|| MEASURED.get())).count();
        // Other tests' calls are among them.
        assert!((1..=10).contains(&measured), "{measured}");
    }

    #[test]
    fn the_coarse_clock_goes_on() {
        let before = now();
        std::thread::sleep(A_WHILE);
        assert!(now() > before);
    }
}
