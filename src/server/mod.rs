//! The main-thread side: settings, sessions, devices, and the driver that lets
//! state machines and the host meet.
//!
//! Everything here runs under the host's serialisation: on the thread of
//! `spice_server_init`, or, in QEMU, on any thread that holds the big lock. The
//! host may call back into the library from inside its callbacks, so no borrow is
//! held across a call to it. What must not happen from inside such a call (closing
//! a connection that broke while a device was being read) is put off until the
//! main loop comes round.

mod agent;
pub mod audio;
pub mod char_device;
mod connection;
mod deadlines;
pub mod driver;
mod events;
mod handover;
mod inputs;
mod interfaces;
mod main_reactor;
pub mod migration;
mod mouse_mode;
mod outlet;
pub mod qxl;
mod qxl_cursor;
mod qxl_display;
mod registration;
mod served;
mod session;
pub mod settings;
mod smartcard;
pub mod spicevmc;
mod start;
mod stream_cursor;
mod stream_device;
mod stream_display;
pub mod tickets;
mod transfer_policy;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

use agent::Agent;
use audio::Sound;
use char_device::InService;
use connection::Connection;
use deadlines::{Deadlines, DeviceId, Due};
use driver::Timed;
use events::Events;
use inputs::Input;
use migration::Migrations;
use mouse_mode::MouseMode;
use qxl::QxlHandle;
use qxl_cursor::Cursors;
use qxl_display::QxlDisplay;
use registration::Draft;
use served::Served;
use session::Client;
use settings::Settings;
use transfer_policy::TransferPolicy;

use crate::channel::ending::Ending;
use crate::channel::outbox::Chunks;
use crate::channel::read_buffers::ReadBuffers;
use crate::config::home::HomeKind;
use crate::config::link::LinkPolicy;
use crate::config::registry::Registry;
use crate::config::statistics::StatisticsPolicy;
use crate::config::tls::TlsVersion;
use crate::guard::{completes, guard};
use crate::host::core::{Core, Timer, Watch};
use crate::host::migration::Migration;
use crate::net::io_thread::{ConnectionId, IoThread, Notice};
use crate::net::policy::SharedPolicy;
use crate::stats::ServerStatistics;

pub use interfaces::AddError;
pub use start::{ClientRefusal, InitError};

/// A SPICE server.
pub struct Server {
    /// What the setters of the C API set.
    pub settings: RefCell<Settings>,
    policy: Arc<SharedPolicy>,
    /// Where every connection is to live, if that is forced.
    home: Cell<Option<HomeKind>>,
    oldest_tls: Cell<TlsVersion>,
    link_policy: Cell<LinkPolicy>,
    registry: RefCell<Registry>,
    /// Until init.
    draft: RefCell<Option<Draft>>,
    /// Set when the configuration file could not be used.
    misconfigured: Cell<bool>,
    statistics_policy: RefCell<StatisticsPolicy>,
    /// What is counted, for readers on any thread.
    statistics: Arc<ServerStatistics>,
    /// Set by init.
    core: OnceCell<Core>,
    main_thread: Cell<Option<ThreadId>>,
    io: RefCell<Option<Rc<IoThread>>>,
    wake_watch: RefCell<Option<Watch>>,
    timer: RefCell<Option<Timer>>,
    deadlines: RefCell<Deadlines>,
    running: Cell<bool>,
    /// The host has said once that the VM runs. Before that it is taken to run, because
    /// some hosts never say.
    told_running: Cell<bool>,
    /// Newest first.
    clients: RefCell<Vec<Client>>,
    connections: RefCell<HashMap<ConnectionId, Rc<Connection>>>,
    /// What is sent lies in these.
    chunks: Arc<Chunks>,
    /// What sockets on the main loop are read into.
    buffers: Arc<ReadBuffers>,
    /// Connections that broke and are to be closed when the main loop comes round.
    doomed: RefCell<Vec<(ConnectionId, Ending)>>,
    events: Events,
    /// Channels other than main, newest first.
    channels: RefCell<Vec<Rc<dyn Served>>>,
    /// Newest first.
    devices: RefCell<Vec<Rc<dyn InService>>>,
    next_device: Cell<DeviceId>,
    /// Devices that may have deadlines.
    timed: RefCell<HashMap<DeviceId, Weak<dyn Timed>>>,
    /// Newest first.
    displays: RefCell<Vec<Arc<QxlHandle>>>,
    cursors: Cursors,
    /// The channels of graphics devices, for what their threads leave for the main loop.
    pictures: RefCell<Vec<Rc<QxlDisplay>>>,
    input: Input,
    mouse_mode: MouseMode,
    sound: Sound,
    migration: Cell<Option<Migration>>,
    migrations: Migrations,
    /// Made for the first agent and kept.
    agent: RefCell<Option<Rc<Agent>>>,
    /// What may pass between clients and agent, beyond what the settings say.
    transfer_policy: TransferPolicy,
    /// The graphics devices take the clients' monitors, so the agent does not get them.
    monitors_to_display: Cell<bool>,
}

impl Server {
    /// The socket of a connection on the main loop is ready.
    fn handle_ready(self: &Rc<Self>, id: ConnectionId, readable: bool, writable: bool) {
        let Some(connection) = self.connections.borrow().get(&id).cloned() else {
            return;
        };
        self.step(id, "socket event", || {
            if writable {
                match connection.handle_writable() {
                    Ok(drained) => {
                        if drained {
                            self.handle_drained(&connection);
                        }
                    }
                    Err(error) => self.doom(&connection, Ending::fault(error)),
                }
            }
            if readable {
                connection.handle_readable();
                self.pump(&connection);
            }
        });
        self.reap();
    }

    /// A step of one connection, or of what is to become one. If it panics, its state is
    /// suspect and it ends.
    fn step(&self, id: ConnectionId, name: &str, body: impl FnOnce()) {
        if completes(name, body) {
            return;
        }
        let connection = self.connections.borrow().get(&id).cloned();
        if let Some(connection) = connection {
            return self.doom(&connection, Ending::fault("internal error"));
        }
        // Its socket is gone with the step, or belongs to a link.
        if let Some(io) = &*self.io.borrow() {
            io.close(id);
        }
        self.tell_disconnected(id);
    }

    /// The I/O thread has news, or something was put off.
    fn handle_wake(self: &Rc<Self>) {
        let Some(io) = self.io.borrow().clone() else {
            return;
        };
        let notices: Vec<Notice> = io.notices().collect();
        guard("mouse mode", (), || self.settle_mouse_mode());
        guard("cursors", (), || self.settle_cursors());
        let displays = self.pictures.borrow().clone();
        for display in displays {
            guard("pictures", (), || display.pass_on());
        }
        for notice in notices {
            let id = notice.connection();
            self.step(id, "notice from the I/O thread", || self.handle_notice(notice));
        }
        self.reap();
    }

    fn handle_notice(self: &Rc<Self>, notice: Notice) {
        let find = |id: ConnectionId| self.connections.borrow().get(&id).cloned();
        match notice {
            Notice::Connected(id, addresses) => self.tell_connected(id, &addresses),
            Notice::LinkEnded(id) => self.tell_disconnected(id),
            // Unless telling the host of it has failed.
            Notice::Linked(id, linked) if self.events.has(id) => self.handle_linked(id, *linked),
            Notice::Linked(..) => {}
            Notice::Arrived(id) => {
                // A held message first needs room in its device.
                if let Some(connection) = find(id).filter(|connection| !connection.is_held()) {
                    self.pump(&connection);
                }
            }
            Notice::Drained(id) => {
                if let Some(connection) = find(id) {
                    self.handle_drained(&connection);
                }
            }
        }
    }

    /// The host's timer fired.
    fn handle_timer(self: &Rc<Self>) {
        let now = Instant::now();
        let due = self.deadlines.borrow_mut().expired(now);
        for due in due {
            match due {
                Due::Device(id) => {
                    let device = self.timed.borrow().get(&id).and_then(Weak::upgrade);
                    if let Some(device) = device {
                        guard("timer of a device", (), || device.handle_timeout(now));
                    }
                }
                Due::Liveness(id) => {
                    let connection = self.connections.borrow().get(&id).cloned();
                    if let Some(connection) = connection {
                        self.step(id, "liveness timer", || self.look_after(&connection, now));
                    }
                }
                Due::Locks => guard("locks timer", (), || self.handle_locks_timeout(now)),
                Due::Migration => {
                    guard("migration timer", (), || self.handle_migration_timeout(now));
                }
            }
        }
        self.arm_timer();
        self.reap();
    }

    fn set_deadline(&self, due: Due, when: Instant) {
        self.deadlines.borrow_mut().set(due, when);
        self.arm_timer();
    }

    fn cancel_deadline(&self, due: Due) {
        self.deadlines.borrow_mut().cancel(due);
        self.arm_timer();
    }

    fn arm_timer(&self) {
        let next = self.deadlines.borrow().next();
        if let Some(timer) = &*self.timer.borrow() {
            match next {
                Some(when) => timer.start(when.saturating_duration_since(Instant::now())),
                None => timer.cancel(),
            }
        }
    }

    /// Closes a connection when the main loop comes round: not now, because a
    /// device or a handler further up the stack may be using it.
    fn doom(&self, connection: &Connection, ending: Ending) {
        self.doomed.borrow_mut().push((connection.id, ending));
        self.come_back_soon();
    }

    /// Closes what is doomed. Only called from the main loop's callbacks.
    fn reap(self: &Rc<Self>) {
        loop {
            let doomed = std::mem::take(&mut *self.doomed.borrow_mut());
            if doomed.is_empty() {
                return;
            }
            for (id, ending) in doomed {
                let connection = self.connections.borrow().get(&id).cloned();
                if let Some(connection) = connection {
                    if ending != Ending::ByClient {
                        crate::warning!(about &*connection; "{connection}: {ending}");
                    }
                    self.close_as(&connection, ending.kind(), &ending.to_string());
                }
            }
        }
    }

    /// Makes the main loop call [`Server::handle_wake`].
    fn come_back_soon(&self) {
        if let Some(io) = &*self.io.borrow() {
            io.rouse_main();
        }
    }

    /// Whether this is the thread of init, where the host wants to hear of events.
    fn on_main_thread(&self) -> bool {
        self.main_thread.get().is_none_or(|main| main == std::thread::current().id())
    }

    /// Whether init has succeeded.
    pub fn is_initialised(&self) -> bool {
        self.core.get().is_some()
    }

    /// What is counted.
    pub fn statistics(&self) -> &Arc<ServerStatistics> {
        &self.statistics
    }

    /// Clients connected now.
    pub fn client_count(&self) -> usize {
        self.clients.borrow().len()
    }
}
