//! Clients and their channels: from an authenticated link to the end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::Server;
use super::agent::ClientSide;
use super::connection::{Connection, Next, Parts, Role};
use super::deadlines::Due;
use super::main_reactor::MainReactor;
use super::migration::Arrival;
use super::served::{DataTerms, Outcome, SMALL_CHUNK, Served, Terms};
use crate::channel::compressor::Compressor;
use crate::channel::decompressor::Decompressor;
use crate::channel::ending::Ending;
use crate::channel::framing::{Framer, Message};
use crate::channel::liveness::{Liveness, Verdict};
use crate::channel::outbox::Outbox;
use crate::channel::run::Parcel;
use crate::channels::main::{self as main_channel, Request};
use crate::config::home::HomeKind;
use crate::config::limits;
use crate::fault;
use crate::guard::{completes, guard};
use crate::host::clock;
use crate::host::core::Initialized;
use crate::log::Subject;
use crate::net::io_thread::{ConnectionId, Linked};
use crate::net::stream::Stream;
use crate::stats::{self, ConnectionLabel, Counters, EndingKind, Refusal};
use crate::wire::ChannelKey;
use crate::wire::common;
use crate::wire::header::HeaderForm;
use crate::wire::link::{CapSet, LinkError, common_cap};
use crate::wire::main::{self, Init, capability, to_client};
use crate::wire::spicevmc::CAP_LZ4;

/// A PING without the data behind its fields.
const PING_BYTES: usize = 12;
/// What spice-gtk reads at a time of a connection with a SASL layer.
const SASL_READ: usize = 8192;

/// One client: its main channel and everything else with the same session id.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) connection_id: u32,
    pub(super) main: ConnectionId,
    /// How it comes from another host, until it has come.
    pub(super) arrival: Option<Arrival>,
}

/// What a main channel remembers.
pub(super) struct MainState {
    /// The client has been sent the whole list of channels, so it is told of new ones.
    list_sent: bool,
    /// Not on unix sockets.
    liveness: Option<Liveness>,
    /// Bits a second that the network test has measured; `None` for many.
    bit_rate: Option<u64>,
    /// Its talk with the agent.
    pub(super) agent: ClientSide,
}

impl Server {
    /// A client proved that it may have a channel.
    pub(super) fn handle_linked(self: &Rc<Self>, id: ConnectionId, linked: Linked) {
        let channel = linked.request.channel;
        let peer = linked.peer.clone();
        // The host may have changed the rule since; it was told that nobody else comes in.
        let by_former_rule = linked.rule.is_some_and(|rule| rule != self.policy.snapshot().rule);
        let refused = if by_former_rule {
            send_result(linked.stream, LinkError::PermissionDenied);
            Err("who may come in has changed meanwhile".to_owned())
        } else if channel.is_main() {
            self.link_main(id, linked)
        } else {
            self.link_other(id, linked)
        };
        if let Err(reason) = refused {
            let subject = Subject::peer(&peer).on(channel);
            crate::warning!(
                Connection about &subject;
                "{peer}: link to channel {channel} refused: {reason}"
            );
            self.tell_disconnected(id);
        }
    }

    fn link_main(self: &Rc<Self>, id: ConnectionId, linked: Linked) -> Result<(), String> {
        // Another host has made the session, and the client comes from there.
        let brought = Some(linked.request.connection_id).filter(|id| *id != 0);
        if let Some(id) = brought
            && self.clients.borrow().iter().any(|client| client.connection_id == id)
        {
            send_result(linked.stream, LinkError::BadConnectionId);
            return Err(format!("session {id:#x} is here already"));
        }
        if !self.settings.borrow().allow_multiple_clients {
            self.disconnect_clients("another client takes over");
        }
        let devices = self.devices.borrow().clone();
        for device in devices {
            device.prepare_for_client();
        }
        let connection_id = brought.map_or_else(|| self.new_session_id(), Ok)?;
        let is_unix = linked.stream.is_unix();
        let security = linked.security.clone();
        let watch = if brought.is_some() { Liveness::without_test } else { Liveness::new };
        let state = MainState {
            list_sent: false,
            liveness: (!is_unix).then(|| watch(Instant::now(), connection_id)),
            bit_rate: None,
            agent: ClientSide::default(),
        };
        let role = Role::Main(Box::new(RefCell::new(state)));
        let arrival = brought.map(|_| Arrival::Undecided);
        let connection = self.establish(id, connection_id, linked, role, arrival)?;
        self.clients.borrow_mut().insert(0, Client { connection_id, main: id, arrival });
        self.statistics.add_client(connection_id, &connection.peer);
        self.publish_sessions();
        fault::point("beginning a session");
        let peer = &connection.peer;
        crate::info!(
            Connection about &*connection;
            "client {peer} connected: {security}, session {connection_id:#x}"
        );
        if arrival.is_some() {
            self.admit(&connection, arrival);
        } else {
            self.begin_session(&connection, false);
        }
        self.after_establishing(&connection);
        Ok(())
    }

    fn link_other(self: &Rc<Self>, id: ConnectionId, linked: Linked) -> Result<(), String> {
        let connection_id = linked.request.connection_id;
        let known =
            self.clients.borrow().iter().any(|client| client.connection_id == connection_id);
        if !known {
            send_result(linked.stream, LinkError::BadConnectionId);
            return Err(format!("no client has session {connection_id:#x}"));
        }
        let Some(served) = self.channel_of(linked.request.channel) else {
            send_result(linked.stream, LinkError::ChannelNotAvailable);
            return Err("the channel has just gone".to_owned());
        };
        let role = Role::Served(Rc::clone(&served));
        let security = linked.security.clone();
        let arrival = self.arrival(connection_id);
        let connection = self.establish(id, connection_id, linked, role, arrival)?;
        if arrival.is_some() {
            crate::info!(
                about &*connection;
                "{connection} opened, its client comes from another host: {security}"
            );
            self.admit(&connection, arrival);
            self.reap();
        } else if self.fits(&served, &connection) {
            crate::info!(about &*connection; "{connection} opened: {security}");
            served.attach(&connection);
            fault::point("attached to a channel");
            self.after_establishing(&connection);
        } else {
            self.statistics.refusals().count(Refusal::Busy);
            self.close_connection(&connection, "the channel cannot have it");
        }
        Ok(())
    }

    /// Whether the channel may have this connection.
    pub(super) fn fits(
        self: &Rc<Self>,
        served: &Rc<dyn Served>,
        connection: &Rc<Connection>,
    ) -> bool {
        let twice = served.is_shared() && self.is_linked_twice(connection);
        !twice && served.make_way(self, &connection.peer) && !connection.is_closed()
    }

    /// Sends the link result, tells the host, and gives the connection its home.
    fn establish(
        self: &Rc<Self>,
        id: ConnectionId,
        connection_id: u32,
        linked: Linked,
        role: Role,
        arrival: Option<Arrival>,
    ) -> Result<Rc<Connection>, String> {
        let Linked { stream, request, unsent, secured, wrapped, peer, security: _, rule: _ } =
            linked;
        let channel = request.channel;
        let Terms { rules, chunk, data, busy } = match &role {
            Role::Main(_) => {
                Terms { rules: main_channel::rules, chunk: SMALL_CHUNK, data: None, busy: false }
            }
            Role::Served(served) => served.terms(),
        };
        let form = header_form(&request.common_caps);
        let mut framer = Framer::new(form, rules);
        if arrival.is_some() {
            framer = framer.with_migration_data();
        }
        let mut outbox = Outbox::new(form, chunk).with_pool(Arc::clone(&self.chunks));
        let counters = Arc::<Counters>::default();
        if let Some(DataTerms { policy }) = data {
            framer = framer.with_counters(Arc::clone(&counters));
            if !policy.idle.is_zero() {
                stream.limit_absence(policy.idle);
            }
            if policy.compression {
                framer = framer.with_decompressor(Decompressor::new(Arc::clone(&counters)));
                // On one machine compression costs more than it saves.
                if request.channel_caps.has(CAP_LZ4) && !stream.is_unix() {
                    outbox = outbox.with_compressor(Compressor::new(Arc::clone(&counters)));
                }
            }
        }
        if let Role::Served(served) = &role {
            if let Some(packer) = served.packer(&request.channel_caps) {
                outbox = outbox.with_packer(packer);
            }
            if served.is_urgent() {
                stream.hurry();
            }
        }
        framer.input().extend_from_slice(&request.leftover);
        if !request.leftover.is_empty() {
            counters.received(request.leftover.len(), stats::now());
        }
        if !unsent.is_empty() {
            outbox.push_raw(&unsent);
        }
        outbox.push_raw(&LinkError::Ok.to_result());
        if wrapped {
            // spice-gtk unwraps what its socket has, 8 KiB at a time, takes the link result
            // and waits for its socket, whatever else it has unwrapped. So the first message
            // is longer than that: a PING, of which it can always still read a part.
            outbox.push(common::PING, &[0; PING_BYTES + SASL_READ]);
        }
        let home =
            self.home.get().unwrap_or(HomeKind::of(busy || outbox.packs() || stream.is_layered()));
        let parts = Parts {
            id,
            channel,
            session: connection_id,
            peer,
            caps: request.channel_caps,
            secured,
            local: stream.is_unix(),
            role,
            stream,
            framer,
            outbox,
            counters: Arc::clone(&counters),
        };
        fault::point("about to establish");
        let core = self.core.get().ok_or("the server is not initialised")?;
        let connection = match home {
            HomeKind::Main => {
                let reactor = MainReactor::new(*core, Rc::downgrade(self));
                Connection::on_main_loop(parts, &reactor, Arc::clone(&self.buffers))
            }
            HomeKind::Thread => {
                let io = self.io.borrow().clone().ok_or("the server is not initialised")?;
                Connection::on_io_thread(parts, io)
            }
        };
        let connection = Rc::new(connection.map_err(|error| error.to_string())?);
        self.connections.borrow_mut().insert(id, Rc::clone(&connection));
        let label = ConnectionLabel {
            id,
            session: connection_id,
            kind: channel.kind,
            channel_id: channel.id,
            secured,
            home: home.name(),
        };
        self.statistics.add_connection(label, counters);
        fault::point("establishing");
        connection.begin().unwrap_or_else(|error| self.doom(&connection, Ending::fault(error)));
        self.tell_initialized(
            id,
            Initialized { connection_id, kind: channel.kind, id: channel.id, secured },
        );
        Ok(connection)
    }

    /// What arrived together with the link is handled now.
    fn after_establishing(self: &Rc<Self>, connection: &Rc<Connection>) {
        self.pump(connection);
        self.reap();
    }

    /// What a client is told first. One that comes from another host, `moved`, knows the
    /// VM's name.
    pub(super) fn begin_session(self: &Rc<Self>, connection: &Rc<Connection>, moved: bool) {
        let now = Instant::now();
        self.settle_mouse_mode();
        let mouse_mode = self.mouse_modes();
        let settings = self.settings.borrow();
        let displays = self.displays.borrow();
        let init = Init {
            session_id: connection.session,
            display_channels: displays.len() as u32,
            supported_mouse_modes: mouse_mode.supported().into(),
            current_mouse_mode: mouse_mode.current.into(),
            agent_connected: self.has_agent(),
            agent_tokens: limits::AGENT_WINDOW,
            multi_media_time: clock::monotonic_ms().wrapping_sub(limits::MULTIMEDIA_DELAY_MS),
            ram_hint: displays.first().map_or(0, |newest| newest.ram_size()),
        };
        let (name, uuid) = (settings.name.clone(), settings.uuid);
        drop((settings, displays));
        self.send(connection, to_client::INIT, &init.encode());
        if connection.caps.has(capability::NAME_AND_UUID) && !moved {
            if let Some(name) = name {
                self.send(connection, to_client::NAME, &main::name(&name));
            }
            if let Some(uuid) = uuid {
                self.send(connection, to_client::UUID, &uuid);
            }
        }
        self.look_after(connection, now);
    }

    /// Queues a message; a broken connection is closed soon after.
    pub(super) fn send(&self, connection: &Connection, kind: u16, body: &[u8]) {
        if let Err(error) = connection.send(kind, body) {
            self.doom(connection, Ending::fault(error));
        }
    }

    /// A connection's queue has shrunk: what had to wait for that goes on.
    pub(super) fn handle_drained(self: &Rc<Self>, connection: &Rc<Connection>) {
        connection.counters.unblock_out(stats::now());
        match &connection.role {
            Role::Main(_) => {
                if connection.is_held() {
                    connection.release();
                    self.pump(connection);
                }
                if let Some(agent) = self.attached_agent() {
                    agent.wakeup();
                }
            }
            Role::Served(served) => served.handle_drained(connection),
        }
    }

    /// Handles the messages that have arrived on a connection, until none is left
    /// or one has to wait.
    pub(super) fn pump(self: &Rc<Self>, connection: &Rc<Connection>) {
        if !connection.begin_pump() {
            return;
        }
        let sound = completes("channel step", || {
            while !connection.is_closed() {
                match connection.next() {
                    Next::Parcel(parcel) => {
                        if !self.handle_parcel(connection, parcel) {
                            break;
                        }
                    }
                    Next::Nothing => break,
                    Next::Ended(ending) => {
                        self.doom(connection, ending);
                        break;
                    }
                }
            }
        });
        connection.end_pump();
        if !sound {
            self.doom(connection, Ending::fault("internal error"));
        }
    }

    /// Returns whether what comes next may follow.
    fn handle_parcel(self: &Rc<Self>, connection: &Rc<Connection>, parcel: Parcel) -> bool {
        let parcel = match self.handle_passing(connection, parcel) {
            Ok(parcel) => parcel,
            Err(Outcome::Handled) => return true,
            Err(Outcome::Full(parcel)) => {
                connection.hold(parcel);
                return false;
            }
            Err(Outcome::Refused(reason)) => {
                self.doom(connection, Ending::Fault(reason));
                return false;
            }
        };
        let outcome = match (&connection.role, parcel) {
            // Whoever asks without reading the answers has to wait.
            (Role::Main(_), parcel) if connection.is_full() => Outcome::Full(parcel),
            (Role::Main(state), Parcel::Message(message)) => {
                match self.handle_main_message(connection, state, &message) {
                    Ok(()) => Outcome::Handled,
                    Err(reason) => Outcome::Refused(reason),
                }
            }
            (Role::Main(_), Parcel::Run(_)) => Outcome::Refused("data on main".to_owned()),
            (Role::Served(served), Parcel::Message(message)) => {
                served.handle_message(connection, message)
            }
            (Role::Served(served), Parcel::Run(run)) => served.handle_run(connection, run),
        };
        let refused = match outcome {
            Outcome::Handled => None,
            Outcome::Full(parcel) => {
                connection.hold(parcel);
                return false;
            }
            Outcome::Refused(reason) => Some(reason),
        };
        match refused {
            None => true,
            Some(reason) => {
                self.doom(connection, Ending::malformed(reason));
                false
            }
        }
    }

    fn handle_main_message(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        state: &RefCell<MainState>,
        message: &Message,
    ) -> Result<(), String> {
        fault::point("main message");
        let now = Instant::now();
        if let Some(liveness) = &mut state.borrow_mut().liveness {
            liveness.handle_traffic(now);
        }
        match main_channel::handle(message).map_err(|malformed| malformed.to_string())? {
            Request::ChannelsList => {
                let list = main::channels_list(&self.listed_channels());
                self.send(connection, to_client::CHANNELS_LIST, &list);
                state.borrow_mut().list_sent = true;
            }
            Request::MouseMode(mode) => self.handle_mouse_mode_request(connection, mode),
            Request::AgentStart(tokens) => self.handle_agent_start(connection, tokens)?,
            Request::AgentData => self.handle_agent_data(connection, &message.body)?,
            Request::AgentToken(tokens) => self.handle_agent_token(connection, tokens),
            Request::Nothing => {}
            Request::Pong(id, time) => {
                let measured = state
                    .borrow_mut()
                    .liveness
                    .as_mut()
                    .and_then(|liveness| liveness.handle_pong(id, time, now));
                if let Some(measured) = measured {
                    crate::debug!("{}: {measured:?}", connection.peer);
                    state.borrow_mut().bit_rate = measured.bitrate;
                }
                self.look_after(connection, now);
            }
            Request::MigrateAnswer(answer) => {
                self.handle_migration_answer(connection.id, answer);
            }
            Request::MigrateEnd => self.handle_migration_end(connection)?,
            Request::DoSeamless(version) => {
                self.handle_seamless_question(connection, version)?;
            }
        }
        Ok(())
    }

    /// The channels a client is shown, newest first. With several clients at a
    /// time those that one client may have belong to the first and are left out.
    fn listed_channels(&self) -> Vec<(u8, u8)> {
        let alone = self.clients.borrow().len() <= 1;
        self.channels
            .borrow()
            .iter()
            .filter(|served| alone || served.is_shared())
            .map(|served| (served.channel().kind, served.channel().id))
            .collect()
    }

    /// Tells clients that know the list of a new channel.
    pub(super) fn announce(&self, channel: ChannelKey) {
        let list = main::channels_list(&[(channel.kind, channel.id)]);
        for connection in self.main_connections() {
            if let Role::Main(state) = &connection.role
                && state.borrow().list_sent
            {
                self.send(&connection, to_client::CHANNELS_LIST, &list);
            }
        }
    }

    /// Sends what the liveness watch wants sent, and sets its next deadline.
    pub(super) fn look_after(&self, connection: &Connection, now: Instant) {
        let Role::Main(state) = &connection.role else {
            return;
        };
        loop {
            let verdict = match &mut state.borrow_mut().liveness {
                Some(liveness) => liveness.poll(now),
                None => return,
            };
            match verdict {
                Verdict::Send(ping) => {
                    let body = common::ping(ping.id, ping.time, ping.padding);
                    self.send(connection, common::PING, &body);
                }
                Verdict::WaitUntil(when) => {
                    return self.set_deadline(Due::Liveness(connection.id), when);
                }
                Verdict::Dead => {
                    let silent = format!("silent for {} s", limits::CONNECTIVITY.as_secs());
                    return self.doom(connection, Ending::Fault(silent));
                }
            }
        }
    }

    /// Closes a connection and lets everybody know. The main channel takes its
    /// whole client with it.
    pub(super) fn close_connection(self: &Rc<Self>, connection: &Rc<Connection>, reason: &str) {
        self.close_as(connection, EndingKind::ByServer, reason);
    }

    /// The same, for an end of this kind.
    pub(super) fn close_as(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        kind: EndingKind,
        reason: &str,
    ) {
        if !connection.close() {
            return;
        }
        if connection.channel.is_main() {
            crate::info!(
                Connection about &**connection;
                "client {} left: {reason}",
                connection.peer
            );
        } else {
            crate::info!(about &**connection; "{connection} closed: {reason}");
        }
        self.connections.borrow_mut().remove(&connection.id);
        self.statistics.remove_connection(connection.id);
        self.statistics.count_ending(kind);
        // Whoever else is to be closed, and the host, must not suffer from a fault in this.
        guard("closing a channel", (), || match &connection.role {
            Role::Main(_) => self.end_session(connection),
            Role::Served(served) => served.detach(connection),
        });
        self.tell_disconnected(connection.id);
        self.settle_arrival(connection.session);
    }

    /// Tells the link phase which sessions there are.
    fn publish_sessions(&self) {
        let sessions = self.clients.borrow().iter().map(|client| client.connection_id).collect();
        self.policy.change(|policy| policy.sessions = sessions);
    }

    fn end_session(self: &Rc<Self>, main: &Rc<Connection>) {
        self.cancel_deadline(Due::Liveness(main.id));
        self.clients.borrow_mut().retain(|client| client.main != main.id);
        self.statistics.remove_client(main.session);
        self.publish_sessions();
        let others: Vec<_> = self
            .connections
            .borrow()
            .values()
            .filter(|other| other.session == main.session)
            .cloned()
            .collect();
        for other in others {
            self.close_connection(&other, "its main channel is gone");
        }
        self.leave_agent(main);
        self.handle_migrant_gone(main.id);
        if self.settings.borrow().exit_on_disconnect {
            crate::warning!("the client is gone and the host wants to end with it");
            std::process::exit(0);
        }
    }

    /// Ends all sessions.
    pub(super) fn disconnect_clients(self: &Rc<Self>, reason: &str) {
        for connection in self.main_connections() {
            self.close_connection(&connection, reason);
        }
    }

    /// What the network test of a session has measured, in bits a second; `None` for many,
    /// and as long as it is not over.
    pub(super) fn bit_rate(&self, session: u32) -> Option<u64> {
        let main = self.main_connections().into_iter().find(|main| main.session == session)?;
        match &main.role {
            Role::Main(state) => state.borrow().bit_rate,
            Role::Served(_) => None,
        }
    }

    pub(super) fn main_connections(&self) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        let clients = self.clients.borrow();
        clients.iter().filter_map(|client| connections.get(&client.main).cloned()).collect()
    }

    fn new_session_id(&self) -> Result<u32, String> {
        loop {
            let mut bytes = [0; 4];
            openssl::rand::rand_bytes(&mut bytes).map_err(|error| error.to_string())?;
            // 31 bits: the C API hands the id to the host as an int.
            let id = u32::from_le_bytes(bytes) & 0x7fff_ffff;
            let taken = self.clients.borrow().iter().any(|client| client.connection_id == id);
            if id != 0 && !taken {
                return Ok(id);
            }
        }
    }
}

fn header_form(common_caps: &CapSet) -> HeaderForm {
    if common_caps.has(common_cap::MINI_HEADER) { HeaderForm::Mini } else { HeaderForm::Full }
}

/// Sends a link result to a client that gets no channel. Four bytes always fit.
fn send_result(mut stream: Stream, error: LinkError) {
    let _ = stream.send(&[std::io::IoSlice::new(&error.to_result())]);
}
