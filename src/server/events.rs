//! What the host hears of connections (`channel_event`).
//!
//! The host gets one pointer a connection, the same in all its events, and only
//! on the main thread: QEMU would take its own lock twice otherwise. Events that
//! come up on another thread wait for the main loop.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::Server;
use crate::host::core::{EventInfo, Initialized};
use crate::net::io_thread::ConnectionId;
use crate::net::stream::Addresses;

/// Connections the host knows of, and what it is still to hear.
#[derive(Default)]
pub(super) struct Events {
    infos: RefCell<HashMap<ConnectionId, Rc<EventInfo>>>,
    /// In order; only DISCONNECTED can come up away from the main thread.
    late: RefCell<VecDeque<Rc<EventInfo>>>,
}

impl Events {
    /// Whether the host was told of this connection, and not of its end.
    pub(super) fn has(&self, id: ConnectionId) -> bool {
        self.infos.borrow().contains_key(&id)
    }
}

impl Server {
    pub(super) fn tell_connected(&self, id: ConnectionId, addresses: &Addresses) {
        let Some(core) = self.core.get() else {
            return;
        };
        let info = Rc::new(EventInfo::new(*core, &addresses.local, &addresses.peer));
        // Before the host hears of it: it may end the connection, or all of them, meanwhile.
        self.events.infos.borrow_mut().insert(id, Rc::clone(&info));
        info.connected();
    }

    pub(super) fn tell_initialized(&self, id: ConnectionId, channel: Initialized) {
        // The host may call back into the library.
        let info = self.events.infos.borrow().get(&id).cloned();
        if let Some(info) = info {
            info.initialized(channel);
        }
    }

    pub(super) fn tell_disconnected(&self, id: ConnectionId) {
        let Some(info) = self.events.infos.borrow_mut().remove(&id) else {
            return;
        };
        if self.on_main_thread() {
            info.disconnected();
        } else {
            self.events.late.borrow_mut().push_back(info);
            self.come_back_soon();
        }
    }

    /// Ends what is left when the server ends.
    pub(super) fn tell_all_disconnected(&self) {
        self.tell_late_events();
        let infos = std::mem::take(&mut *self.events.infos.borrow_mut());
        for (_, info) in infos {
            info.disconnected();
        }
    }

    /// Delivers what had to wait for the main thread.
    pub(super) fn tell_late_events(&self) {
        loop {
            let Some(info) = self.events.late.borrow_mut().pop_front() else {
                return;
            };
            info.disconnected();
        }
    }
}
