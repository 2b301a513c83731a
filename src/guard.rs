//! The panic boundary of every way into the library from C.
//!
//! A panic that leaves an `extern "C"` function aborts the process, which here
//! is somebody's VM. So each exported function, watch callback, timer callback
//! and thread body runs inside [`guard`], and so does each step that may fail alone.

use std::cell::Cell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use crate::fault;
use crate::stats::time;

/// Runs `body`; if it panics, logs one line naming `entry` and returns `fallback`.
pub(crate) fn guard<T>(entry: &str, fallback: T, body: impl FnOnce() -> T) -> T {
    let step = || {
        fault::point(entry);
        body()
    };
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        let what = take_note().unwrap_or_else(|| message_of(&*panic).to_owned());
        crate::warning!("{entry}: internal error, step abandoned: {what}");
        fallback
    })
}

/// The same for what the host calls: counts the time that it takes.
pub(crate) fn guard_for_host<T>(entry: &str, fallback: T, body: impl FnOnce() -> T) -> T {
    time::for_host(|| guard(entry, fallback, body))
}

/// The same for what the host calls by the million: a sample of the calls is measured.
pub(crate) fn guard_often<T>(entry: &str, fallback: T, body: impl FnOnce() -> T) -> T {
    time::often_for_host(|| guard(entry, fallback, body))
}

/// Runs `body`; false if it panicked.
pub(crate) fn completes(entry: &str, body: impl FnOnce()) -> bool {
    guard(entry, false, || {
        body();
        true
    })
}

thread_local! {
    /// What this thread's last panic said, and where it began, until [`guard`] logs it.
    static NOTE: Cell<Option<String>> = const { Cell::new(None) };
}

/// From now on a panic of this library's is told of in the log, in one line, and not on
/// stderr beside it. Other Rust code in the process has panics of its own.
pub(crate) fn tell_panics_in_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(note)));
}

fn note(panic: &PanicHookInfo<'_>) {
    let mut note = message_of(panic.payload()).to_owned();
    if let Some(place) = panic.location() {
        let _ = write!(note, " (at {place})");
    }
    if let Some(first) = take_note() {
        // A panic while another one is cleaned up after, and perhaps the end of the process.
        crate::warning!("internal error: {first}, and then {note}");
    }
    let _ = NOTE.try_with(|kept| kept.set(Some(note)));
}

fn take_note() -> Option<String> {
    NOTE.try_with(Cell::take).ok().flatten()
}

/// The text of a panic payload, for the log.
fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_fallback() {
        assert_eq!(guard("test", -1, || panic!("made on purpose")), -1);
        assert_eq!(guard("test", -1, || 7), 7);
        assert!(!completes("test", || panic!("made on purpose")));
        assert!(completes("test", || ()));
    }

    #[test]
    fn a_panic_inside_another_s_cleanup_is_contained_too() {
        struct Careless;
        impl Drop for Careless {
            fn drop(&mut self) {
                assert!(!completes("cleanup", || panic!("in the cleanup")));
            }
        }
        let outer = completes("test", || {
            let _careless = Careless;
            panic!("made on purpose");
        });
        assert!(!outer);
    }
}
