//! Steps that a test makes panic, to show what a panic leaves behind.
//!
//! Every [`crate::guard::guard`] is such a step, under its entry's name; further ones are
//! named where a panic would hurt most, in the middle of a change. Any thread. Without the
//! cargo feature `fault-injection`, which no release build may have, nothing of this is
//! compiled (docs/containment.md).

/// Panics if the test wants this step to.
#[cfg(feature = "fault-injection")]
pub(crate) fn point(step: &str) {
    assert!(!crate::host::fault_hook::wants(step), "made on purpose in the step: {step}");
}

/// Nothing: this build cannot be told to panic.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub(crate) fn point(_step: &str) {}

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("the feature `fault-injection` is for tests and not for a release build");
