//! Giving back, exactly once: commands to the guest, completions to the host.
//!
//! Both are owned values that act when they are dropped. So whatever happens to a
//! command or a request (carried out, refused, abandoned by a panic, left over when
//! the worker ends) the other side hears of it once. Used by the worker thread.

#![forbid(unsafe_code)]

use crate::host::guest_memory::{CommandAddress, GuestRange};
use crate::host::qxl::QxlDevice;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A command whose memory the guest gets back when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    device: QxlDevice,
    address: CommandAddress,
    group: u32,
}

/// A cookie that is completed when this is dropped.
#[derive(Debug)]
pub(super) struct Completion {
    device: QxlDevice,
    cookie: u64,
}

/// How the one who made a request hears that it is done: when this is dropped.
#[derive(Debug)]
pub(super) enum Done {
    /// A thread waits.
    Reply { _reply: Reply },
    /// The host gets its cookie back.
    Cookie { _completion: Completion },
}

/// The worker's end of a waiting thread's rope.
#[derive(Debug)]
pub(super) struct Reply {
    _rope: Sender<()>,
}

/// The waiting thread's end.
#[derive(Debug)]
pub(super) struct Waiter {
    rope: Receiver<()>,
}

impl Held {
    /// Takes over a command that was just fetched.
    pub(super) fn new(device: &QxlDevice, command: &GuestRange<'_>, group: u32) -> Self {
        Self { device: device.clone(), address: command.command_address(), group }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.device.release_resource(self.address, self.group);
    }
}

impl Completion {
    pub(super) fn new(device: &QxlDevice, cookie: u64) -> Self {
        Self { device: device.clone(), cookie }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.device.async_complete(self.cookie);
    }
}

impl Done {
    /// For a request made with a cookie.
    pub(super) fn cookie(device: &QxlDevice, cookie: u64) -> Self {
        Self::Cookie { _completion: Completion::new(device, cookie) }
    }

    /// For a thread that waits.
    pub(super) fn reply() -> (Self, Waiter) {
        let (reply, rope) = channel();
        (Self::Reply { _reply: Reply { _rope: reply } }, Waiter { rope })
    }

    /// Whether the host passed a cookie.
    pub(super) fn is_cookie(&self) -> bool {
        matches!(self, Self::Cookie { .. })
    }
}

impl Waiter {
    /// Returns when the other end was dropped.
    pub(super) fn wait(self) {
        // Nothing is ever sent: the error is the answer.
        let _ = self.rope.recv();
    }
}
