//! The panic boundary of every way into the library from C.
//!
//! A panic that leaves an `extern "C"` function aborts the process, which here
//! is somebody's VM. So each exported function, watch callback, timer callback
//! and thread body runs inside [`guard`].

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; if it panics, logs one line naming `entry` and returns `fallback`.
pub(crate) fn guard<T>(entry: &str, fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        crate::warning!("{entry}: internal error, call abandoned: {}", message_of(&*panic));
        fallback
    })
}

/// The text of a panic payload, for the log.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
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
    }
}
