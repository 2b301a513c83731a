//! The reactor on the host's main loop.

use std::io;
use std::os::fd::RawFd;
use std::rc::Weak;

use super::Server;
use crate::host::core::{Core, Watch};
use crate::net::reactor::{Interest, Reactor, Registration};

/// Watches sockets through the host's core interface.
pub(super) struct MainReactor {
    core: Core,
    server: Weak<Server>,
}

/// A socket watched by the host.
pub(super) struct MainRegistration(Watch);

impl MainReactor {
    pub(super) fn new(core: Core, server: Weak<Server>) -> Self {
        Self { core, server }
    }
}

impl Reactor for MainReactor {
    type Registration = MainRegistration;

    fn register(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<MainRegistration> {
        let server = Weak::clone(&self.server);
        let ready = move |readable, writable| {
            if let Some(server) = server.upgrade() {
                server.handle_ready(key, readable, writable);
            }
        };
        self.core
            .watch(fd, interest.read, interest.write, ready)
            .map(MainRegistration)
            .ok_or_else(|| io::Error::other("the host refused to watch the socket"))
    }
}

impl Registration for MainRegistration {
    fn set_interest(&mut self, interest: Interest) {
        self.0.set_interest(interest.read, interest.write);
    }
}
