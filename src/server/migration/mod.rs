//! The clients' way from host to host: who is told what, and when it is over.
//!
//! Runs under the host's serialisation. What the source decides is in `source`, what a
//! channel takes along and brings in `server::handover`.

mod source;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

pub use source::Destination;
use source::{Deed, Source, Who};

use super::Server;
use super::connection::{Connection, Passage, Role};
use super::deadlines::Due;
use crate::net::io_thread::ConnectionId;
use crate::wire::main::{MigrateAnswer as Answer, capability, to_client};
use crate::wire::migration::announcement::{VERSION, announcement};

/// A server's part in migrations, as source.
#[derive(Debug, Default)]
pub(super) struct Migrations {
    source: RefCell<Source>,
}

/// How a client that comes from another host goes on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has not said so yet. Its channels are linked, and silent.
    Undecided,
    /// It brings its channels' states.
    Seamless,
}

impl Server {
    /// The host announces where it goes. False without a migration interface or a
    /// destination.
    pub fn migrate_connect(self: &Rc<Self>, destination: Option<Destination>) -> bool {
        if self.migration.get().is_none() {
            return false;
        }
        let known = destination.is_some();
        let seamless = {
            let settings = self.settings.borrow();
            settings.seamless_migration && !settings.allow_multiple_clients
        };
        let all = self.migrants();
        self.act(|source, now| source.connect(destination, &all, seamless, now));
        known
    }

    /// Whether a destination is known.
    pub fn migrate_start(&self) -> bool {
        self.migrations.source.borrow().destination().is_some()
    }

    /// The host's migration has ended. False without a migration interface, or if clients
    /// were there and no destination.
    pub fn migrate_end(self: &Rc<Self>, completed: bool) -> bool {
        if self.migration.get().is_none() {
            return false;
        }
        let all = self.migrants();
        let mut announced = false;
        self.act(|source, now| {
            let (known, deeds) = source.end(completed, &all, now);
            announced = known;
            deeds
        });
        announced
    }

    /// The older way: the destination for [`Self::migrate_switch`]. False without one, or
    /// with a migration interface, which is the newer way.
    pub fn migrate_info(self: &Rc<Self>, destination: Option<Destination>) -> bool {
        match destination {
            Some(destination) if self.migration.get().is_none() => {
                self.migrations.source.borrow_mut().head_for(destination);
                true
            }
            _ => false,
        }
    }

    /// Sends all clients to the destination, to begin there.
    pub fn migrate_switch(self: &Rc<Self>) {
        let all = self.migrants();
        self.act(|source, _| source.switch(&all));
        self.migrations.source.borrow_mut().forget();
    }

    /// The time for answers, or for leaving, may be over.
    pub(super) fn handle_migration_timeout(self: &Rc<Self>, now: Instant) {
        let all = self.migrants();
        self.act(|source, _| source.handle_time(&all, now));
    }

    /// A client's answer about the other host.
    pub(super) fn handle_migration_answer(self: &Rc<Self>, id: ConnectionId, answer: Answer) {
        self.act(|source, _| source.handle_answer(id, answer));
    }

    /// A client has gone.
    pub(super) fn handle_migrant_gone(self: &Rc<Self>, id: ConnectionId) {
        let left = self.client_count();
        self.act(|source, _| source.handle_gone(id, left));
    }

    fn act(self: &Rc<Self>, step: impl FnOnce(&mut Source, Instant) -> Vec<Deed>) {
        let (destination, deeds) = {
            let mut source = self.migrations.source.borrow_mut();
            // An end forgets it, and clients are told of it last.
            let before = source.destination().cloned();
            let deeds = step(&mut source, Instant::now());
            (source.destination().cloned().or(before), deeds)
        };
        self.watch_migration();
        for deed in deeds {
            self.carry_out(deed, destination.as_ref());
        }
    }

    fn watch_migration(&self) {
        match self.migrations.source.borrow().deadline() {
            Some(when) => self.set_deadline(Due::Migration, when),
            None => self.cancel_deadline(Due::Migration),
        }
    }

    fn carry_out(self: &Rc<Self>, deed: Deed, destination: Option<&Destination>) {
        let main = |id| self.connections.borrow().get(&id).cloned();
        match deed {
            Deed::Begin { id, seamless } => {
                let kind = if seamless {
                    to_client::MIGRATE_BEGIN_SEAMLESS
                } else {
                    to_client::MIGRATE_BEGIN
                };
                self.announce_destination(id, kind, destination);
            }
            Deed::SwitchHost(id) => {
                self.announce_destination(id, to_client::MIGRATE_SWITCH_HOST, destination);
            }
            Deed::Cancel(id) => {
                if let Some(main) = main(id) {
                    self.send(&main, to_client::MIGRATE_CANCEL, &[]);
                }
            }
            Deed::End(id) => {
                if let Some(main) = main(id) {
                    self.send(&main, to_client::MIGRATE_END, &[]);
                }
            }
            Deed::SendOff(id) => {
                if let Some(main) = main(id) {
                    crate::info!(Connection about &*main; "client {} goes to the other host", main.peer);
                    self.cancel_deadline(Due::Liveness(id));
                    for connection in self.session_of(&main) {
                        self.send_off(&connection);
                    }
                }
            }
            Deed::Cut(id) => {
                if let Some(main) = main(id) {
                    self.close_connection(&main, "the VM has gone to another host");
                }
            }
            Deed::ConnectComplete => {
                if let Some(migration) = self.migration.get() {
                    migration.connect_complete();
                }
            }
            Deed::EndComplete => {
                if let Some(migration) = self.migration.get() {
                    migration.end_complete();
                }
            }
        }
    }

    fn announce_destination(&self, id: ConnectionId, kind: u16, destination: Option<&Destination>) {
        let main = self.connections.borrow().get(&id).cloned();
        let (Some(main), Some(place)) = (main, destination) else {
            return;
        };
        let seamless = kind == to_client::MIGRATE_BEGIN_SEAMLESS;
        let Destination { host, port, secure_port, subject } = place;
        let body = announcement(host, *port, *secure_port, subject.as_deref(), seamless);
        self.send(&main, kind, &body);
    }

    /// The clients, newest first.
    fn migrants(&self) -> Vec<Who> {
        let connections = self.connections.borrow();
        let clients = self.clients.borrow();
        let who = |(id, arriving)| {
            let main: &Rc<Connection> = connections.get(&id)?;
            let semi = main.caps.has(capability::SEMI_SEAMLESS_MIGRATE);
            let seamless = main.caps.has(capability::SEAMLESS_MIGRATE)
                && main.caps.has(capability::AGENT_CONNECTED_TOKENS);
            Some(Who { id, semi, seamless, arriving })
        };
        clients.iter().filter_map(|client| who((client.main, client.arrival.is_some()))).collect()
    }

    /// A client's connections, the main channel's first.
    fn session_of(&self, main: &Rc<Connection>) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        let mut all: Vec<_> =
            connections.values().filter(|other| other.session == main.session).cloned().collect();
        all.sort_by_key(|other| (!other.channel.is_main(), other.id));
        all
    }

    // ---- the host that is reached ----

    /// How the client of this session arrives, while it does.
    pub(super) fn arrival(&self, session: u32) -> Option<Arrival> {
        let clients = self.clients.borrow();
        clients.iter().find(|client| client.connection_id == session)?.arrival
    }

    fn set_arrival(&self, session: u32, arrival: Option<Arrival>) {
        let mut clients = self.clients.borrow_mut();
        if let Some(client) = clients.iter_mut().find(|client| client.connection_id == session) {
            client.arrival = arrival;
        }
    }

    /// A client that arrives asks whether its session can go on here. `version` is that of
    /// what it would bring.
    pub(super) fn handle_seamless_question(
        self: &Rc<Self>,
        main: &Rc<Connection>,
        version: u32,
    ) -> Result<(), String> {
        if self.arrival(main.session) != Some(Arrival::Undecided) {
            return Err("it asks for a migration that is not under way".to_owned());
        }
        main.settle_down();
        if version > VERSION || self.settings.borrow().allow_multiple_clients {
            self.send(main, to_client::MIGRATE_DST_SEAMLESS_NACK, &[]);
            main.park();
            return Ok(());
        }
        self.await_vm();
        self.send(main, to_client::MIGRATE_DST_SEAMLESS_ACK, &[]);
        self.set_arrival(main.session, Some(Arrival::Seamless));
        for connection in self.session_of(main) {
            self.admit(&connection, Some(Arrival::Seamless));
        }
        Ok(())
    }

    /// A client that arrives begins here.
    pub(super) fn handle_migration_end(
        self: &Rc<Self>,
        main: &Rc<Connection>,
    ) -> Result<(), String> {
        match self.arrival(main.session) {
            Some(Arrival::Undecided) => {}
            Some(Arrival::Seamless) => return Err("it was to bring its session".to_owned()),
            None => {
                crate::debug!("{}: no migration to end", main.peer);
                return Ok(());
            }
        }
        self.set_arrival(main.session, None);
        main.settle_down();
        self.begin_session(main, true);
        for connection in self.session_of(main) {
            if !connection.channel.is_main() {
                self.admit(&connection, None);
            }
        }
        self.act(|source, _| source.handle_arrived(main.id));
        Ok(())
    }

    /// A channel of a client's that arrives has its connection, and nothing else yet.
    pub(super) fn admit(self: &Rc<Self>, connection: &Rc<Connection>, arrival: Option<Arrival>) {
        if arrival == Some(Arrival::Undecided) {
            connection.park();
            if !connection.channel.is_main() && self.is_linked_twice(connection) {
                self.close_connection(connection, "the channel has it already");
            }
            return;
        }
        if connection.passage() == Passage::Parked {
            connection.settle_down();
        }
        let fits = match &connection.role {
            Role::Main(_) => true,
            Role::Served(served) => self.fits(served, connection),
        };
        if !fits {
            self.close_connection(connection, "the channel cannot have it");
            return;
        }
        match (&connection.role, arrival) {
            (_, Some(_)) => self.receive(connection),
            (Role::Served(served), None) => served.attach(connection),
            (Role::Main(_), None) => {}
        }
        if connection.is_held() {
            connection.release();
        }
        self.pump(connection);
    }

    /// Something of a session that arrives has come, or is gone: it may be whole now.
    pub(super) fn settle_arrival(self: &Rc<Self>, session: u32) {
        if self.arrival(session) != Some(Arrival::Seamless) {
            return;
        }
        let waits = |other: &Rc<Connection>| {
            other.session == session && other.passage() == Passage::Awaited
        };
        if self.connections.borrow().values().any(waits) {
            return;
        }
        self.set_arrival(session, None);
        let clients = self.clients.borrow();
        let main = clients.iter().find(|client| client.connection_id == session);
        let main = main.and_then(|client| self.connections.borrow().get(&client.main).cloned());
        drop(clients);
        if let Some(main) = main {
            crate::info!(Connection about &*main; "client {} has come from another host", main.peer);
            self.look_after(&main, Instant::now());
            self.act(|source, _| source.handle_arrived(main.id));
        }
    }
}
