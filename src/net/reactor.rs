//! What a connection needs from the loop that watches its socket.
//!
//! Two implementations: `server::main_reactor` on the host's main loop, and
//! [`IoReactor`] on the I/O thread. Both are level-triggered.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::poller::Poller;

/// What to wait for on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read, or the end.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Only reading.
    pub const READ: Self = Self { read: true, write: false };

    fn is_none(self) -> bool {
        !self.read && !self.write
    }
}

/// A loop that tells when sockets are ready.
pub trait Reactor {
    /// A watched socket; dropping it ends the watch.
    type Registration: Registration;

    /// Begins to watch `fd`; readiness is reported under `key`.
    fn register(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<Self::Registration>;
}

/// A watched socket.
pub trait Registration {
    /// Changes what is waited for.
    fn set_interest(&mut self, interest: Interest);
}

/// The I/O thread's loop.
#[derive(Clone, Debug)]
pub struct IoReactor {
    poller: Arc<Poller>,
}

/// A socket watched by the I/O thread.
#[derive(Debug)]
pub struct IoRegistration {
    poller: Arc<Poller>,
    fd: RawFd,
    key: u64,
    /// epoll reports a hang-up even to those who wait for nothing, again and
    /// again; so a socket of which nothing is wanted is taken out.
    added: bool,
}

impl IoReactor {
    /// On this poller.
    pub fn new(poller: Arc<Poller>) -> Self {
        Self { poller }
    }
}

impl Reactor for IoReactor {
    type Registration = IoRegistration;

    fn register(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<IoRegistration> {
        self.poller.add(fd, key, interest)?;
        Ok(IoRegistration { poller: Arc::clone(&self.poller), fd, key, added: true })
    }
}

impl Registration for IoRegistration {
    fn set_interest(&mut self, interest: Interest) {
        let changed = match (self.added, interest.is_none()) {
            (true, true) => self.poller.delete(self.fd),
            (true, false) => self.poller.modify(self.fd, self.key, interest),
            (false, true) => Ok(()),
            (false, false) => self.poller.add(self.fd, self.key, interest),
        };
        match changed {
            Ok(()) => self.added = !interest.is_none(),
            Err(error) => crate::warning!("cannot watch a socket: {error}"),
        }
    }
}

impl Drop for IoRegistration {
    fn drop(&mut self) {
        if self.added
            && let Err(error) = self.poller.delete(self.fd)
        {
            crate::warning!("cannot stop watching a socket: {error}");
        }
    }
}
