//! What a worker and the host's threads share: pending bits and the screen.

#![forbid(unsafe_code)]

use super::screen::{ClientMouse, Screen};
use std::sync::atomic::{AtomicBool, Ordering};

/// Called, on any thread, when what a device says about the pointer may have
/// changed. The main thread may be waiting for the worker that calls it, so it must
/// not wait for the main thread: it leaves a note there and returns.
pub type ChangeHook = Box<dyn Fn() + Send + Sync>;

/// See the module.
pub(super) struct Shared {
    pub(super) screen: Screen,
    wakeup: AtomicBool,
    oom: AtomicBool,
    changed: ChangeHook,
}

impl Shared {
    pub(super) fn new(changed: ChangeHook) -> Self {
        Self {
            screen: Screen::new(),
            wakeup: AtomicBool::new(false),
            oom: AtomicBool::new(false),
            changed,
        }
    }

    /// Whether a wakeup must be queued: not while one is.
    pub(super) fn want_wakeup(&self) -> bool {
        !self.wakeup.swap(true, Ordering::AcqRel)
    }

    /// The queued wakeup arrived. Called before the rings are looked into, so that a
    /// command which comes later queues a new one.
    pub(super) fn take_wakeup(&self) {
        self.wakeup.swap(false, Ordering::AcqRel);
    }

    /// As [`Self::want_wakeup`], for lack of memory.
    pub(super) fn want_oom(&self) -> bool {
        !self.oom.swap(true, Ordering::AcqRel)
    }

    /// As [`Self::take_wakeup`].
    pub(super) fn take_oom(&self) {
        self.oom.swap(false, Ordering::AcqRel);
    }

    /// The primary surface came or went.
    pub(super) fn set_primary(&self, primary: Option<ClientMouse>) {
        self.screen.set_primary(primary);
        (self.changed)();
    }

    /// The scanout came or went.
    pub(super) fn changed(&self) {
        (self.changed)();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("screen", &self.screen).finish_non_exhaustive()
    }
}
